/* knotholed/tls_test.c - TLS and plain TCP on one port, and how little a handshake may cost.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <cmocka.h>

#include "admission.h"
#include "io/tcp.h"
#include "support/certificate.h"
#include "tcp.h"

#define START KH_SECONDS(1000)
#define MANY 160 /* more than one prefix may begin at once, fewer than it may have */
#define FEW 20   /* more than may take a step in one turn */

static struct certificate_files files;
static struct kh_io_tls_context *client_context;
static struct kh_knotholed_tcp *server;
static struct kh_addr server_addr;
static struct kh_io_tcp alice;
static struct kh_io_tcp many[MANY];

static bool becomes(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};

    return poll(&pollfd, 1, 2000) == 1;
}

static void serve_tls(const char *name)
{
    char why[KH_IO_TLS_WHY_SIZE];
    struct kh_io_tls_context *context;

    certificate_write(&files, name, NULL);
    context = kh_io_tls_server_new(files.certificate, files.key, why);
    assert_non_null(context);
    kh_knotholed_tcp_set_tls(server, context);
}

static int set_up(void **state)
{
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);

    (void)state;
    certificate_folder(&files);
    client_context = kh_io_tls_client_new();
    server = kh_knotholed_tcp_new();
    assert_non_null(server);
    assert_int_equal(kh_knotholed_tcp_listen(server, &loopback, &server_addr), 0);
    serve_tls("first.example");
    alice.fd = -1;
    for (size_t i = 0; i < MANY; i++)
        many[i].fd = -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_io_tcp_close(&alice);
    for (size_t i = 0; i < MANY; i++)
        kh_io_tcp_close(&many[i]);
    kh_knotholed_tcp_free(server);
    kh_io_tls_context_free(client_context);
    certificate_clean(&files);
    return 0;
}

static void connect_to_server(struct kh_io_tcp *client)
{
    assert_int_equal(kh_io_tcp_connect(&server_addr, client), 0);
    assert_true(becomes(client->fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(client), 0);
}

/* One turn of the server: what came is taken, and what is a frame is given back along its way. */
static size_t turn(kh_time now)
{
    struct kh_datagram in;
    size_t count = 0;

    kh_knotholed_tcp_wake(server, now);
    while (kh_knotholed_tcp_next(server, now, &in)) {
        struct kh_datagram out = {.from = in.to, .to = in.from, .data = in.data, .len = in.len};

        assert_int_equal(in.from.transport, alice.remote.transport);
        kh_knotholed_tcp_send(server, now, &out);
        count++;
    }
    return count;
}

/* Sends the greeting and waits until it comes back. */
static void echo(struct kh_io_tcp *client)
{
    uint8_t data[8];
    size_t at = 0;

    assert_true(kh_io_tcp_send(client, (const uint8_t *)"Hi!", 3, 0));
    for (int tries = 0; at < 3 && tries < 2000; tries++) {
        size_t len = 0;
        struct pollfd pollfd = {.fd = client->fd, .events = POLLIN};
        int error;

        (void)turn(START);
        (void)poll(&pollfd, 1, 5);
        error = kh_io_tcp_receive(client, data + at, sizeof data - at, &len);
        assert_true(error == 0 || error == EAGAIN);
        at += len;
    }
    assert_int_equal(at, 3);
    assert_memory_equal(data, "Hi!", 3);
}

static void both_are_served_on_one_port(void **state)
{
    (void)state;
    connect_to_server(&alice);
    echo(&alice);
    kh_io_tcp_close(&alice);
    connect_to_server(&alice);
    assert_true(kh_io_tcp_start_tls(&alice, client_context, "first.example"));
    echo(&alice);
    echo(&alice);
    assert_int_equal(kh_knotholed_tcp_stats(server).tls, 1);
    assert_int_equal(kh_knotholed_tcp_stats(server).frames, 3);
}

static void a_reload_ends_no_connection(void **state)
{
    (void)state;
    connect_to_server(&alice);
    assert_true(kh_io_tcp_start_tls(&alice, client_context, NULL));
    echo(&alice);
    serve_tls("second.example");
    echo(&alice);
    kh_io_tcp_close(&alice);
    connect_to_server(&alice);
    assert_true(kh_io_tcp_start_tls(&alice, client_context, NULL));
    echo(&alice);
    assert_int_equal(kh_knotholed_tcp_stats(server).tls, 2);
}

static void without_a_certificate_it_is_no_frame(void **state)
{
    uint8_t byte;
    size_t len;

    (void)state;
    kh_knotholed_tcp_set_tls(server, NULL);
    connect_to_server(&alice);
    assert_true(kh_io_tcp_start_tls(&alice, client_context, NULL));
    assert_int_equal(kh_io_tcp_flush(&alice), 0);
    assert_true(becomes(kh_knotholed_tcp_fd(server), POLLIN));
    for (int tries = 0; kh_knotholed_tcp_stats(server).broken == 0 && tries < 100; tries++)
        assert_int_equal(turn(START), 0);
    assert_int_equal(kh_knotholed_tcp_stats(server).broken, 1);
    assert_true(becomes(alice.fd, POLLIN));
    assert_int_not_equal(kh_io_tcp_receive(&alice, &byte, 1, &len), EAGAIN);
}

static void garbage_after_the_first_byte_is_the_end(void **state)
{
    uint8_t byte;
    size_t len;
    int error = EAGAIN;

    (void)state;
    connect_to_server(&alice);
    assert_true(kh_io_tcp_send(&alice, (const uint8_t *)"\x16\x03\x01ten bytes.", 13, 0));
    for (int tries = 0; error != EPIPE && error != ECONNRESET && tries < 2000; tries++) {
        assert_int_equal(turn(START), 0);
        error = kh_io_tcp_receive(&alice, &byte, 1, &len); /* perhaps an alert first */
    }
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 0);
    assert_int_equal(kh_knotholed_tcp_stats(server).tls, 0);
}

/* Neither who says one byte and waits nor who has shaken hands and then says nothing. */
static void silence_is_not_waited_for(void **state)
{
    uint8_t byte;
    size_t len;

    (void)state;
    connect_to_server(&many[0]);
    assert_true(kh_io_tcp_send(&many[0], (const uint8_t *)"\x16", 1, 0));
    connect_to_server(&alice);
    assert_true(kh_io_tcp_start_tls(&alice, client_context, NULL));
    assert_int_equal(kh_io_tcp_flush(&alice), 0);
    for (int tries = 0; kh_knotholed_tcp_stats(server).tls == 0 && tries < 2000; tries++) {
        struct pollfd pollfd = {.fd = alice.fd, .events = POLLIN};

        assert_int_equal(turn(START), 0);
        (void)poll(&pollfd, 1, 5);
        (void)kh_io_tcp_receive(&alice, &byte, 1, &len);
    }
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 2);
    assert_int_equal(kh_knotholed_tcp_stats(server).tls, 1);
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(9));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 2);
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(11));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 0);
    assert_int_equal(kh_knotholed_tcp_stats(server).idle, 2);
}

static void a_flood_of_handshakes_is_refused_cheaply(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        connect_to_server(&many[i]);
        (void)turn(START);
        assert_true(kh_io_tcp_send(&many[i], (const uint8_t *)"\x16", 1, 0));
    }
    for (int tries = 0;
         kh_knotholed_tcp_stats(server).refused < MANY - KH_KNOTHOLED_HANDSHAKES_PREFIX_BURST &&
         tries < 2000;
         tries++)
        (void)turn(START);
    assert_int_equal(kh_knotholed_tcp_stats(server).refused,
                     MANY - KH_KNOTHOLED_HANDSHAKES_PREFIX_BURST);
    assert_int_equal(kh_knotholed_tcp_stats(server).connections,
                     KH_KNOTHOLED_HANDSHAKES_PREFIX_BURST);
    /* Who speaks plainly is served all the same. */
    connect_to_server(&alice);
    echo(&alice);
}

/* The rest is told again, after UDP had its turn. */
static void a_turn_takes_few_steps(void **state)
{
    size_t answered = 0;

    (void)state;
    for (size_t i = 0; i < FEW; i++) {
        connect_to_server(&many[i]);
        (void)turn(START);
    }
    for (size_t i = 0; i < FEW; i++) {
        assert_true(kh_io_tcp_start_tls(&many[i], client_context, NULL));
        assert_int_equal(kh_io_tcp_flush(&many[i]), 0);
    }
    (void)turn(START);
    for (size_t i = 0; i < FEW; i++)
        answered += poll(&(struct pollfd){.fd = many[i].fd, .events = POLLIN}, 1, 0) == 1 ? 1 : 0;
    assert_in_range(answered, 1, 8);
    for (int tries = 0; tries < 10; tries++)
        (void)turn(START);
    for (size_t i = 0; i < FEW; i++)
        assert_true(becomes(many[i].fd, POLLIN));
}

/* ---- admission ---- */

static void a_prefix_has_its_own_share(void **state)
{
    static struct kh_knotholed_admission admission;
    struct kh_addr office = kh_addr_ipv4(192, 0, 2, 1, 1);
    struct kh_addr other = kh_addr_ipv4(192, 0, 2, 2, 1);
    kh_time now = START;
    unsigned count = 0;

    (void)state;
    memset(&admission, 0, sizeof admission);
    while (kh_knotholed_admission_take(&admission, now, &office))
        office.port = (uint16_t)(++count + 1);
    assert_int_equal(count, KH_KNOTHOLED_HANDSHAKES_PREFIX_BURST);
    assert_true(kh_knotholed_admission_take(&admission, now, &other));
    now += KH_SECONDS(1);
    for (count = 0; kh_knotholed_admission_take(&admission, now, &office);)
        count++;
    assert_int_equal(count, KH_KNOTHOLED_HANDSHAKES_PREFIX_RATE);
}

static void all_together_have_a_limit(void **state)
{
    static struct kh_knotholed_admission admission;
    uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8};
    unsigned count = 0;

    (void)state;
    memset(&admission, 0, sizeof admission);
    for (unsigned i = 0; i < 5000; i++) {
        struct kh_addr client;

        ip[6] = (uint8_t)(i >> 8);
        ip[7] = (uint8_t)i;
        client = kh_addr_from_ip(KH_FAMILY_IPV6, ip, 1);
        count += kh_knotholed_admission_take(&admission, START, &client) ? 1 : 0;
    }
    assert_int_equal(count, KH_KNOTHOLED_HANDSHAKES_BURST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_are_served_on_one_port, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_reload_ends_no_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_certificate_it_is_no_frame, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_after_the_first_byte_is_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silence_is_not_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flood_of_handshakes_is_refused_cheaply, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_turn_takes_few_steps, set_up, tear_down),
        cmocka_unit_test(a_prefix_has_its_own_share),
        cmocka_unit_test(all_together_have_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
