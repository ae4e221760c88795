/* runtime/tcp_test.c - connections to a server of the test's own: made, heard, lost, given up.
 *
 * SPDX-License-Identifier: MIT
 *
 * Linked with --wrap, so that patience is a number and nobody waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/tcp.h"

#include "io/clock.h"
#include "io/tcp.h"
#include "stun/stun.h"
#include "support/certificate.h"

#define TURNS_MAX 200000 /* of the loop, until something must have come */

static uv_loop_t loop;
static struct kh_runtime_tcp_set set;
static struct kh_io_tcp_listener listener;
static struct kh_io_tcp theirs;
static struct kh_addr server; /* as the node knows it */
static kh_duration later;     /* what the clock is ahead */

static struct {
    unsigned heard, lost, turns;
    size_t handles;
    struct kh_addr from, to, lost_server;
    uint8_t data[64];
    size_t len;
} seen;

kh_time __real_kh_io_clock_now(void);
kh_time __wrap_kh_io_clock_now(void);

kh_time __wrap_kh_io_clock_now(void)
{
    return __real_kh_io_clock_now() + later;
}

static void on_datagram(void *context, const struct kh_datagram *datagram)
{
    (void)context;
    seen.heard++;
    seen.from = datagram->from;
    seen.to = datagram->to;
    seen.len = datagram->len < sizeof seen.data ? datagram->len : sizeof seen.data;
    memcpy(seen.data, datagram->data, seen.len);
}

static void on_turn(void *context)
{
    (void)context;
    seen.turns++;
}

static void on_lost(void *context, const struct kh_addr *lost)
{
    (void)context;
    seen.lost++;
    seen.lost_server = *lost;
}

static void on_opened(void *context)
{
    (void)context;
    seen.handles++;
}

static void on_closed(void *context)
{
    (void)context;
    seen.handles--;
}

static int start(void **state)
{
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);

    (void)state;
    later = 0;
    memset(&seen, 0, sizeof seen);
    theirs.fd = -1;
    assert_int_equal(uv_loop_init(&loop), 0);
    set = (struct kh_runtime_tcp_set){.owner = {.loop = &loop,
                                                .server_name = "server.example.org",
                                                .on_datagram = on_datagram,
                                                .on_turn = on_turn,
                                                .on_lost = on_lost,
                                                .on_opened = on_opened,
                                                .on_closed = on_closed}};
    assert_int_equal(kh_io_tcp_listen(&loopback, &listener), 0);
    server = listener.addr;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kh_runtime_tcp_close_all(&set);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(seen.handles, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    kh_io_tcp_close(&theirs);
    kh_io_tcp_listener_close(&listener);
    return 0;
}

/* A message, which is a frame as it is. */
static void say(void)
{
    static const uint8_t id[KH_STUN_ID_LEN] = "alice's id.";
    uint8_t data[KH_STUN_HEADER_LEN];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    struct kh_datagram datagram = {.to = server, .data = data, .len = kh_stun_finish(&writer)};

    kh_runtime_tcp_send(&set, &datagram);
}

static void accept_one(void)
{
    int error = EAGAIN;

    for (int i = 0; error == EAGAIN && i < TURNS_MAX; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        error = kh_io_tcp_accept(&listener, &theirs);
    }
    assert_int_equal(error, 0);
}

/* Waits for one frame at the server, and sends it back. */
static void echo(void)
{
    uint8_t data[64];
    size_t at = 0;

    for (int i = 0; at < KH_STUN_HEADER_LEN && i < TURNS_MAX; i++) {
        size_t len = 0;
        int error;

        uv_run(&loop, UV_RUN_NOWAIT);
        error = kh_io_tcp_receive(&theirs, data + at, sizeof data - at, &len);
        assert_true(error == 0 || error == EAGAIN);
        at += len;
    }
    assert_int_equal(at, KH_STUN_HEADER_LEN);
    assert_true(kh_io_tcp_send(&theirs, data, at, 0));
}

static void await(const unsigned *count, unsigned wanted)
{
    for (int i = 0; *count < wanted && i < TURNS_MAX; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(*count, wanted);
}

static size_t connections(void)
{
    size_t count = 0;

    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++)
        count += set.list[i] != NULL ? 1 : 0;
    return count;
}

static void what_comes_back_is_a_datagram_from_there(void **state)
{
    (void)state;
    say();
    accept_one();
    echo();
    await(&seen.heard, 1);
    assert_true(kh_addr_equal(&seen.from, &server));
    assert_true(kh_addr_equal(&seen.to, &theirs.remote));
    assert_int_equal(seen.len, KH_STUN_HEADER_LEN);
    say();
    echo();
    await(&seen.heard, 2);
    assert_int_equal(connections(), 1);
    assert_int_equal(seen.lost, 0);
}

static void an_end_is_told_if_it_had_worked(void **state)
{
    (void)state;
    say();
    accept_one();
    echo();
    await(&seen.heard, 1);
    kh_io_tcp_close(&theirs);
    await(&seen.lost, 1);
    assert_true(kh_addr_equal(&seen.lost_server, &server));
    assert_int_equal(connections(), 0);
    say(); /* by another one */
    accept_one();
    echo();
    await(&seen.heard, 2);
}

static void a_refusal_is_not_told(void **state)
{
    (void)state;
    kh_io_tcp_listener_close(&listener);
    say();
    for (int i = 0; connections() > 0 && i < TURNS_MAX; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(connections(), 0);
    assert_int_equal(seen.lost, 0);
}

static void silence_is_given_up(void **state)
{
    (void)state;
    say();
    accept_one();
    later = KH_SECONDS(9);
    kh_runtime_tcp_bury(&set);
    assert_int_equal(connections(), 1);
    later = KH_SECONDS(11);
    kh_runtime_tcp_bury(&set);
    assert_int_equal(connections(), 0);
    assert_int_equal(seen.lost, 0); /* it never worked */
}

static void what_worked_has_more_time_and_is_told(void **state)
{
    (void)state;
    say();
    accept_one();
    echo();
    await(&seen.heard, 1);
    later = KH_SECONDS(3600); /* nothing was asked: nothing is missing */
    kh_runtime_tcp_bury(&set);
    assert_int_equal(connections(), 1);
    say();
    later += KH_SECONDS(29);
    kh_runtime_tcp_bury(&set);
    assert_int_equal(connections(), 1);
    later += KH_SECONDS(2);
    kh_runtime_tcp_bury(&set);
    assert_int_equal(connections(), 0);
    assert_int_equal(seen.lost, 1);
}

static void connections_of_an_address_go_with_it(void **state)
{
    const struct kh_addr ours = kh_addr_ipv4(127, 0, 0, 1, 5);
    const struct kh_addr other = kh_addr_ipv4(127, 0, 0, 2, 5);

    (void)state;
    say();
    accept_one();
    echo();
    await(&seen.heard, 1);
    kh_runtime_tcp_leave(&set, &other);
    assert_int_equal(connections(), 1);
    kh_runtime_tcp_leave(&set, &ours);
    assert_int_equal(connections(), 0);
    assert_int_equal(seen.lost, 1);
}

/* ---- TLS ---- */

/* Takes the name that the client asks for. */
static int note_name(SSL *ssl, int *alert, void *name)
{
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    (void)alert;
    (void)snprintf(name, 64, "%s", asked == NULL ? "none" : asked);
    return SSL_TLSEXT_ERR_OK;
}

/* Says by TLS, to a server of OpenSSL's own, and returns what name it was asked for. */
static const char *asked_name(const char *server_name)
{
    static char name[64];
    struct certificate_files files;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL *ssl;

    certificate_folder(&files);
    certificate_write(&files, "somebody.else.example", NULL);
    assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, files.certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, files.key, SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_tlsext_servername_callback(ctx, note_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, name);
    set.owner.server_name = server_name;
    server.transport = KH_TLS;
    name[0] = '\0';
    say();
    accept_one();
    ssl = SSL_new(ctx);
    assert_int_equal(SSL_set_fd(ssl, theirs.fd), 1);
    for (int i = 0; SSL_accept(ssl) != 1 && i < TURNS_MAX; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(SSL_is_init_finished(ssl));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    certificate_clean(&files);
    return name;
}

static void tls_asks_for_the_name_of_the_link(void **state)
{
    (void)state;
    assert_string_equal(asked_name("server.example.org"), "server.example.org");
}

static void tls_asks_for_no_address(void **state)
{
    (void)state;
    assert_string_equal(asked_name("127.0.0.1"), "none");
}

static void tls_asks_for_no_ipv6_address(void **state)
{
    (void)state;
    assert_string_equal(asked_name("2001:db8::1"), "none");
}

static void tls_takes_any_certificate(void **state)
{
    struct certificate_files files;
    struct kh_io_tls_context *context;
    char why[KH_IO_TLS_WHY_SIZE];

    (void)state;
    certificate_folder(&files);
    certificate_write(&files, "somebody.else.example", NULL);
    context = kh_io_tls_server_new(files.certificate, files.key, why);
    assert_non_null(context);
    server.transport = KH_TLS;
    say();
    accept_one();
    assert_true(kh_io_tcp_start_tls(&theirs, context, NULL));
    echo();
    await(&seen.heard, 1);
    assert_true(kh_addr_equal(&seen.from, &server));
    assert_int_equal(seen.to.transport, KH_TLS);
    kh_io_tls_context_free(context);
    certificate_clean(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_comes_back_is_a_datagram_from_there, start, stop),
        cmocka_unit_test_setup_teardown(an_end_is_told_if_it_had_worked, start, stop),
        cmocka_unit_test_setup_teardown(a_refusal_is_not_told, start, stop),
        cmocka_unit_test_setup_teardown(silence_is_given_up, start, stop),
        cmocka_unit_test_setup_teardown(what_worked_has_more_time_and_is_told, start, stop),
        cmocka_unit_test_setup_teardown(connections_of_an_address_go_with_it, start, stop),
        cmocka_unit_test_setup_teardown(tls_asks_for_the_name_of_the_link, start, stop),
        cmocka_unit_test_setup_teardown(tls_asks_for_no_address, start, stop),
        cmocka_unit_test_setup_teardown(tls_asks_for_no_ipv6_address, start, stop),
        cmocka_unit_test_setup_teardown(tls_takes_any_certificate, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
