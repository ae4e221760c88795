/* io/tls_test.c - TLS to ourselves: frames both ways, full queues, every way to fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "io/tcp.h"
#include "support/certificate.h"

static struct certificate_files files;
static struct kh_io_tls_context *server_context;
static struct kh_io_tls_context *client_context;
static struct kh_io_tcp_listener listener;
static struct kh_io_tcp ours;
static struct kh_io_tcp theirs;
static char why[KH_IO_TLS_WHY_SIZE];

static int set_up_files(void **state)
{
    (void)state;
    certificate_folder(&files);
    return 0;
}

static int clean_files(void **state)
{
    (void)state;
    certificate_clean(&files);
    return 0;
}

static bool becomes(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};

    return poll(&pollfd, 1, 2000) == 1;
}

/* Theirs has not seen a byte yet. */
static int open_pair(void **state)
{
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);

    (void)state;
    certificate_write(&files, "example.org", NULL);
    server_context = kh_io_tls_server_new(files.certificate, files.key, why);
    client_context = kh_io_tls_client_new();
    assert_non_null(server_context);
    assert_non_null(client_context);
    assert_int_equal(kh_io_tcp_listen(&loopback, &listener), 0);
    assert_int_equal(kh_io_tcp_connect(&listener.addr, &ours), 0);
    assert_true(becomes(listener.fd, POLLIN));
    assert_int_equal(kh_io_tcp_accept(&listener, &theirs), 0);
    return 0;
}

static int close_pair(void **state)
{
    (void)state;
    kh_io_tcp_close(&ours);
    kh_io_tcp_close(&theirs);
    kh_io_tcp_listener_close(&listener);
    kh_io_tls_context_free(server_context);
    kh_io_tls_context_free(client_context);
    return 0;
}

static void start_both(void)
{
    assert_true(kh_io_tcp_start_tls(&ours, client_context, "example.org"));
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
}

/* Lets both do what they can until `tcp` has `len` bytes; what else comes is an error. */
static void receive(struct kh_io_tcp *tcp, uint8_t *out, size_t len)
{
    struct kh_io_tcp *other = tcp == &ours ? &theirs : &ours;
    size_t at = 0;

    for (int turn = 0; at < len; turn++) {
        size_t got = 0;
        size_t none = 0;
        uint8_t byte;
        int error = kh_io_tcp_receive(tcp, out + at, len - at, &got);

        at += got;
        assert_true(error == 0 || error == EAGAIN);
        assert_int_equal(kh_io_tcp_flush(tcp), 0);
        assert_int_equal(kh_io_tcp_receive(other, &byte, 1, &none), EAGAIN);
        assert_int_equal(kh_io_tcp_flush(other), 0);
        assert_true(turn < 10000000);
    }
}

static void frames_sent_before_the_handshake_follow(void **state)
{
    uint8_t data[11];

    (void)state;
    assert_true(kh_io_tcp_start_tls(&ours, client_context, "example.org"));
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"knock", 5, 0));
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"who", 3, 3));
    assert_true(kh_io_tcp_is_waiting(&ours));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    assert_false(kh_io_tcp_is_waiting(&ours)); /* it waits for the server, not for the system */

    assert_true(becomes(theirs.fd, POLLIN));
    assert_int_equal(kh_io_tcp_peek(&theirs, data), 0);
    assert_int_equal(data[0], KH_IO_TLS_FIRST_BYTE);
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
    assert_int_equal(theirs.remote.transport, KH_TLS);
    assert_int_equal(theirs.local.transport, KH_TLS);
    receive(&theirs, data, sizeof data);
    assert_memory_equal(data, "knockwho\0\0\0", sizeof data);
    assert_null(ours.queue);
    assert_true(kh_io_tcp_send(&theirs, (const uint8_t *)"there", 5, 3));
    assert_null(theirs.queue);
    receive(&ours, data, 8);
    assert_memory_equal(data, "there\0\0\0", 8);
}

/* A peer that reads nothing loses whole frames; what was taken arrives uncut and in order. */
static void full_queue_drops_whole_frames(void **state)
{
    static uint8_t frame[1000];
    uint32_t taken = 0;
    uint8_t byte;

    (void)state;
    start_both();
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"!", 1, 0));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    receive(&theirs, &byte, 1);
    for (uint32_t i = 0; theirs.dropped_full < 3; i++) {
        memset(frame, (int)(taken & 0xFF), sizeof frame);
        taken += kh_io_tcp_send(&theirs, frame, sizeof frame, 0) ? 1 : 0;
        assert_true(i < 100000);
    }
    assert_true(kh_io_tcp_is_waiting(&theirs));
    assert_true(theirs.queue_end - theirs.queue_at <= KH_IO_TCP_QUEUE_MAX);
    for (uint32_t i = 0; i < taken; i++) {
        uint8_t expected[sizeof frame];

        memset(expected, (int)(i & 0xFF), sizeof expected);
        receive(&ours, frame, sizeof frame);
        assert_memory_equal(frame, expected, sizeof frame);
    }
    assert_null(theirs.queue);
    assert_false(kh_io_tcp_is_waiting(&theirs));
}

/* One record holds more than was asked for: the descriptor is silent about the rest. */
static void what_is_left_of_a_record_is_told(void **state)
{
    uint8_t data[64] = "sixty-four bytes in one record";
    uint8_t part[16];

    (void)state;
    start_both();
    assert_true(kh_io_tcp_send(&ours, data, sizeof data, 0));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    receive(&theirs, part, sizeof part);
    assert_true(kh_io_tcp_has_pending(&theirs));
    for (int i = 0; i < 3; i++)
        receive(&theirs, part, sizeof part);
    assert_false(kh_io_tcp_has_pending(&theirs));
}

static void ends_are_told(void **state)
{
    uint8_t byte;
    size_t len;
    int error = EAGAIN;

    (void)state;
    start_both();
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"!", 1, 0));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    receive(&theirs, &byte, 1);
    kh_io_tcp_close(&ours);
    while (error == EAGAIN && becomes(theirs.fd, POLLIN))
        error = kh_io_tcp_receive(&theirs, &byte, 1, &len);
    assert_int_equal(error, EPIPE);
}

static int receive_error(struct kh_io_tcp *tcp)
{
    uint8_t byte;
    size_t len;
    int error = EAGAIN;

    for (int turn = 0; error == EAGAIN && turn < 1000 && becomes(tcp->fd, POLLIN); turn++)
        error = kh_io_tcp_receive(tcp, &byte, 1, &len);
    return error;
}

static void what_is_no_tls_is_told(void **state)
{
    (void)state;
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"\x16 is not all of it, by far", 26, 0));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    assert_int_equal(receive_error(&theirs), EPROTO);
    assert_int_equal(receive_error(&theirs), EPROTO); /* and stays so */
    assert_true(kh_io_tcp_send(&theirs, (const uint8_t *)"!", 1, 0));
    assert_int_equal(kh_io_tcp_flush(&theirs), EPROTO);
}

/* The client of another program. */
static SSL *foreign_client(SSL_CTX *ctx, int fd)
{
    SSL *ssl = SSL_new(ctx);

    assert_non_null(ssl);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    SSL_set_connect_state(ssl);
    return ssl;
}

/* Returns how the server's handshake ends. */
static int shake(SSL *ssl)
{
    int error = EAGAIN;

    for (int turn = 0; error == EAGAIN && turn < 1000; turn++) {
        uint8_t byte;
        size_t len;

        (void)SSL_do_handshake(ssl);
        error = kh_io_tcp_receive(&theirs, &byte, 1, &len);
        if (error == EAGAIN && kh_io_tls_is_open(theirs.tls) && SSL_is_init_finished(ssl))
            return 0;
    }
    return error;
}

static void old_versions_are_refused(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl;

    (void)state;
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
    SSL_CTX_set_security_level(ctx, 0);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION), 1);
    ssl = foreign_client(ctx, ours.fd);
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(shake(ssl), EPROTO);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void turn_is_chosen_where_it_is_offered(void **state)
{
    static const unsigned char offers[] = "\x02h2\x09stun.turn\x08http/1.1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    const unsigned char *chosen = NULL;
    unsigned int len = 0;
    SSL *ssl;

    (void)state;
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
    assert_int_equal(SSL_CTX_set_alpn_protos(ctx, offers, sizeof offers - 1), 0);
    ssl = foreign_client(ctx, ours.fd);
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(shake(ssl), 0);
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    assert_int_equal(len, 9);
    assert_memory_equal(chosen, "stun.turn", 9);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static void who_offers_something_else_is_served_too(void **state)
{
    static const unsigned char offers[] = "\x02h2";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    const unsigned char *chosen = NULL;
    unsigned int len = 0;
    SSL *ssl;

    (void)state;
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
    assert_int_equal(SSL_CTX_set_alpn_protos(ctx, offers, sizeof offers - 1), 0);
    assert_int_equal(SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION), 1);
    ssl = foreign_client(ctx, ours.fd);
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(shake(ssl), 0);
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    assert_int_equal(len, 0);
    assert_int_equal(SSL_renegotiate(ssl), 1);
    assert_int_not_equal(SSL_do_handshake(ssl), 1);
    for (int turn = 0; turn < 100 && SSL_renegotiate_pending(ssl); turn++) {
        uint8_t byte;

        (void)kh_io_tcp_receive(&theirs, &byte, 1, &(size_t){0});
        if (SSL_get_error(ssl, SSL_do_handshake(ssl)) == SSL_ERROR_SSL)
            break;
    }
    assert_int_equal(SSL_get_error(ssl, -1), SSL_ERROR_SSL); /* it is refused */
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

/* Self-signed, of nobody asked for, over since an hour, and with a key that is much too short. */
static void a_client_takes_the_worst_certificate(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_RSA_gen(1024);
    X509 *x509 = certificate_make(key, "somebody.else.example");
    int error = EAGAIN;
    SSL *ssl;

    (void)state;
    SSL_CTX_set_security_level(ctx, 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), -3600);
    assert_int_not_equal(X509_sign(x509, key, EVP_sha256()), 0);
    assert_int_equal(SSL_CTX_use_certificate(ctx, x509), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
    ssl = SSL_new(ctx);
    assert_int_equal(SSL_set_fd(ssl, theirs.fd), 1);
    assert_true(kh_io_tcp_start_tls(&ours, client_context, "example.org"));
    assert_true(becomes(ours.fd, POLLOUT));
    for (int turn = 0; error == EAGAIN && !kh_io_tls_is_open(ours.tls) && turn < 1000; turn++) {
        uint8_t byte;
        size_t len;

        assert_int_equal(kh_io_tcp_flush(&ours), 0);
        (void)SSL_accept(ssl);
        error = kh_io_tcp_receive(&ours, &byte, 1, &len);
    }
    assert_int_equal(error, EAGAIN);
    assert_true(kh_io_tls_is_open(ours.tls));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    X509_free(x509);
    EVP_PKEY_free(key);
}

/* Each costs us keys anew and the client nothing: whoever sends them by the thousand must not keep
 * all others waiting, so one call takes few of them. */
static void changes_of_keys_take_turns(void **state)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    size_t len = 0;
    uint8_t byte = 0;
    int calls = 0;
    SSL *ssl;

    (void)state;
    assert_true(kh_io_tcp_start_tls(&theirs, server_context, NULL));
    ssl = foreign_client(ctx, ours.fd);
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(shake(ssl), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ssl), 1);
    }
    assert_int_equal(SSL_write(ssl, "!", 1), 1);
    for (int error = EAGAIN; error == EAGAIN && becomes(theirs.fd, POLLIN); calls++)
        error = kh_io_tcp_receive(&theirs, &byte, 1, &len);
    assert_int_equal(byte, '!');
    assert_true(calls > 50);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

/* A connection outlives the context it was made from: that is what a reload is. */
static void a_connection_outlives_its_context(void **state)
{
    uint8_t data[5];

    (void)state;
    start_both();
    kh_io_tls_context_free(server_context);
    server_context = NULL;
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"later", 5, 0));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    receive(&theirs, data, sizeof data);
    assert_memory_equal(data, "later", 5);
}

/* ---- files ---- */

static void refused_because(const char *certificate, const char *key, const char *text)
{
    struct kh_io_tls_context *context = kh_io_tls_server_new(certificate, key, why);

    assert_null(context);
    if (strstr(why, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, text);
}

static void bad_files_get_a_sentence(void **state)
{
    struct certificate_files other;

    (void)state;
    certificate_folder(&other);
    certificate_write(&files, "example.org", NULL);
    certificate_write(&other, "example.org", NULL);
    refused_because("/nowhere/at/all", files.key, "cannot read /nowhere/at/all: No such file");
    refused_because(files.folder, files.key, "Is a directory");
    refused_because(files.certificate, "/nowhere/at/all", "cannot read /nowhere/at/all");
    refused_because(files.key, files.key, "holds no certificate in PEM form");
    refused_because(files.certificate, files.certificate, "holds no private key in PEM form");
    refused_because(files.certificate, other.key, "is not that of the certificate");
    certificate_write(&other, "example.org", "sesame");
    refused_because(other.certificate, other.key, "is encrypted");
    certificate_text(other.key, "");
    refused_because(files.certificate, other.key, "is empty");
    certificate_text(other.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n");
    refused_because(other.certificate, files.key, "holds no certificate in PEM form");
    certificate_clean(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_sent_before_the_handshake_follow, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(full_queue_drops_whole_frames, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(what_is_left_of_a_record_is_told, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(ends_are_told, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(what_is_no_tls_is_told, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(old_versions_are_refused, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(turn_is_chosen_where_it_is_offered, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(who_offers_something_else_is_served_too, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(a_client_takes_the_worst_certificate, open_pair,
                                        close_pair),
        cmocka_unit_test_setup_teardown(changes_of_keys_take_turns, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(a_connection_outlives_its_context, open_pair, close_pair),
        cmocka_unit_test(bad_files_get_a_sentence),
    };

    return cmocka_run_group_tests(tests, set_up_files, clean_files);
}
