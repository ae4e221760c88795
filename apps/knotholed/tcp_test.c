/* knotholed/tcp_test.c - frames in and out of connections, and every reason to end one.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <string.h>
#include <cmocka.h>

#include "io/tcp.h"
#include "stun/stun.h"
#include "tcp.h"

#define START KH_SECONDS(1000)

static struct kh_knotholed_tcp *server;
static struct kh_addr server_addr;
static struct kh_io_tcp alice;
static struct kh_io_tcp bob;

static bool becomes(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};

    return poll(&pollfd, 1, 2000) == 1;
}

static int set_up(void **state)
{
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);

    (void)state;
    server = kh_knotholed_tcp_new();
    assert_non_null(server);
    assert_int_equal(kh_knotholed_tcp_listen(server, &loopback, &server_addr), 0);
    alice.fd = -1;
    bob.fd = -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_io_tcp_close(&alice);
    kh_io_tcp_close(&bob);
    kh_knotholed_tcp_free(server);
    return 0;
}

static void wake(kh_time now)
{
    assert_true(becomes(kh_knotholed_tcp_fd(server), POLLIN));
    kh_knotholed_tcp_wake(server, now);
}

static void connect_to_server(struct kh_io_tcp *client)
{
    struct kh_datagram none;

    assert_int_equal(kh_io_tcp_connect(&server_addr, client), 0);
    assert_true(becomes(client->fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(client), 0);
    wake(START);
    assert_false(kh_knotholed_tcp_next(server, START, &none));
}

static void say(struct kh_io_tcp *client, const char *data, size_t len)
{
    assert_true(kh_io_tcp_send(client, (const uint8_t *)data, len, 0));
}

static void expect_frame(const struct kh_io_tcp *from, const char *data, size_t len)
{
    struct kh_datagram in;

    assert_true(kh_knotholed_tcp_next(server, START, &in));
    assert_int_equal(in.len, len);
    assert_memory_equal(in.data, data, len);
    assert_true(kh_addr_equal(&in.from, &from->local));
    assert_true(kh_addr_equal(&in.to, &server_addr));
    assert_int_equal(in.from.transport, KH_TCP);
}

static void expect_end(struct kh_io_tcp *client)
{
    uint8_t byte;
    size_t len;

    assert_true(becomes(client->fd, POLLIN));
    assert_int_not_equal(kh_io_tcp_receive(client, &byte, 1, &len), 0);
}

static void expect_quiet(kh_time now)
{
    struct kh_datagram none;

    assert_false(kh_knotholed_tcp_next(server, now, &none));
}

static void answers_find_their_connection(void **state)
{
    struct kh_datagram in;
    uint8_t data[8];
    size_t len;

    (void)state;
    connect_to_server(&alice);
    connect_to_server(&bob);
    say(&bob, "Hi!\nHi!", 7);
    wake(START);
    assert_true(kh_knotholed_tcp_next(server, START, &in));
    assert_int_equal(in.len, 4);
    kh_knotholed_tcp_send(
        server, START,
        &(struct kh_datagram){.from = in.to, .to = in.from, .data = in.data, .len = in.len});
    expect_frame(&bob, "Hi!", 3);
    expect_quiet(START);
    assert_true(becomes(bob.fd, POLLIN));
    assert_int_equal(kh_io_tcp_receive(&bob, data, sizeof data, &len), 0);
    assert_int_equal(len, 4);
    assert_memory_equal(data, "Hi!\n", 4);
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 2);
    assert_int_equal(kh_knotholed_tcp_stats(server).frames, 2);
}

/* Nobody waits for the rest of another's frame. */
static void frames_in_pieces_wait_for_their_rest(void **state)
{
    static const char binding[] = "\x00\x01\x00\x00\x21\x12\xA4\x42"
                                  "abcdefghijkl";

    (void)state;
    connect_to_server(&alice);
    connect_to_server(&bob);
    say(&alice, binding, 9);
    wake(START);
    expect_quiet(START);
    say(&bob, binding, KH_STUN_HEADER_LEN);
    wake(START);
    expect_frame(&bob, binding, KH_STUN_HEADER_LEN);
    expect_quiet(START);
    say(&alice, binding + 9, KH_STUN_HEADER_LEN - 9);
    wake(START);
    expect_frame(&alice, binding, KH_STUN_HEADER_LEN);
    expect_quiet(START);
}

static void garbage_ends_the_connection(void **state)
{
    (void)state;
    connect_to_server(&alice);
    say(&alice, "GET / HTTP/1.1\r\n\r\n", 18);
    wake(START);
    expect_quiet(START);
    expect_end(&alice);
    assert_int_equal(kh_knotholed_tcp_stats(server).broken, 1);
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 0);
}

static void frames_for_the_gone_are_dropped(void **state)
{
    struct kh_datagram out = {.data = (const uint8_t *)"HI!", .len = 3};

    (void)state;
    connect_to_server(&alice);
    out.from = server_addr;
    out.to = alice.local;
    kh_io_tcp_close(&alice);
    wake(START);
    expect_quiet(START);
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 0);
    kh_knotholed_tcp_send(server, START, &out);
    assert_int_equal(kh_knotholed_tcp_stats(server).dropped_gone, 1);
}

static void silent_and_slow_ones_are_ended(void **state)
{
    (void)state;
    assert_true(kh_knotholed_tcp_timeout(server) == KH_NEVER);
    connect_to_server(&alice);
    connect_to_server(&bob);
    say(&bob, "Hi!", 3);
    wake(START);
    expect_frame(&bob, "Hi!", 3);
    expect_quiet(START);

    /* alice never says anything */
    assert_true(kh_knotholed_tcp_timeout(server) == START + KH_SECONDS(1));
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(9));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 2);
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(10));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 1);
    expect_end(&alice);

    /* bob may be silent for minutes, but not in the middle of a frame */
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(300));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 1);
    say(&bob, "\x00\x01", 2);
    wake(START + KH_SECONDS(300));
    expect_quiet(START + KH_SECONDS(300));
    say(&bob, "\x00\x00", 2); /* one more byte now and then makes it no faster */
    wake(START + KH_SECONDS(309));
    expect_quiet(START + KH_SECONDS(309));
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(309));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 1);
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(310));
    assert_int_equal(kh_knotholed_tcp_stats(server).idle, 2);
    expect_end(&bob);
    assert_true(kh_knotholed_tcp_timeout(server) == KH_NEVER);
}

static void idle_ones_are_ended(void **state)
{
    (void)state;
    connect_to_server(&bob);
    say(&bob, "Hi!", 3);
    wake(START);
    expect_frame(&bob, "Hi!", 3);
    expect_quiet(START);
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(659));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 1);
    kh_knotholed_tcp_handle_timeout(server, START + KH_SECONDS(660));
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, 0);
}

static void one_source_has_a_limit(void **state)
{
    static struct kh_io_tcp crowd[KH_KNOTHOLED_TCP_PREFIX_MAX + 1];

    (void)state;
    for (size_t i = 0; i <= KH_KNOTHOLED_TCP_PREFIX_MAX; i++)
        connect_to_server(&crowd[i]);
    assert_int_equal(kh_knotholed_tcp_stats(server).connections, KH_KNOTHOLED_TCP_PREFIX_MAX);
    assert_int_equal(kh_knotholed_tcp_stats(server).refused, 1);
    expect_end(&crowd[KH_KNOTHOLED_TCP_PREFIX_MAX]);
    for (size_t i = 0; i <= KH_KNOTHOLED_TCP_PREFIX_MAX; i++)
        kh_io_tcp_close(&crowd[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_find_their_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frames_in_pieces_wait_for_their_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_ends_the_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(frames_for_the_gone_are_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silent_and_slow_ones_are_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(idle_ones_are_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_source_has_a_limit, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
