/* io/tcp_test.c - connections to ourselves: addresses, order, full queues, every way to end.
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

#include "io/tcp.h"

static struct kh_io_tcp_listener listener;
static struct kh_io_tcp ours;
static struct kh_io_tcp theirs;

static bool becomes(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};

    return poll(&pollfd, 1, 2000) == 1;
}

static int open_pair(void **state)
{
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);

    (void)state;
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
    return 0;
}

/* Receives exactly len bytes. */
static void receive(struct kh_io_tcp *tcp, uint8_t *out, size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t got = 0;

        assert_true(becomes(tcp->fd, POLLIN));
        assert_int_equal(kh_io_tcp_receive(tcp, out + at, len - at, &got), 0);
        at += got;
    }
}

static void both_ends_know_both_addresses(void **state)
{
    (void)state;
    assert_int_equal(listener.addr.transport, KH_TCP);
    assert_int_not_equal(listener.addr.port, 0);
    assert_true(kh_addr_equal(&ours.remote, &listener.addr));
    assert_true(kh_addr_equal(&theirs.local, &listener.addr));
    assert_true(kh_addr_equal(&theirs.remote, &ours.local));
    assert_int_equal(ours.local.transport, KH_TCP);
}

static void frames_sent_while_connecting_follow(void **state)
{
    uint8_t data[11];

    (void)state;
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"knock", 5, 0));
    assert_true(kh_io_tcp_send(&ours, (const uint8_t *)"who", 3, 3));
    assert_true(kh_io_tcp_is_waiting(&ours));
    assert_true(becomes(ours.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&ours), 0);
    assert_false(kh_io_tcp_is_waiting(&ours));
    assert_null(ours.queue);
    receive(&theirs, data, sizeof data);
    assert_memory_equal(data, "knockwho\0\0\0", sizeof data);
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

    (void)state;
    for (uint32_t i = 0; theirs.dropped_full < 3; i++) {
        memset(frame, (int)(taken & 0xFF), sizeof frame);
        taken += kh_io_tcp_send(&theirs, frame, sizeof frame, 0) ? 1 : 0;
        assert_true(i < 100000);
    }
    assert_true(theirs.queue_end - theirs.queue_at <= KH_IO_TCP_QUEUE_MAX);
    for (uint32_t i = 0; i < taken; i++) {
        uint8_t expected[sizeof frame];

        memset(expected, (int)(i & 0xFF), sizeof expected);
        assert_int_equal(kh_io_tcp_flush(&theirs), 0);
        receive(&ours, frame, sizeof frame);
        assert_memory_equal(frame, expected, sizeof frame);
    }
    assert_null(theirs.queue);
}

/* What the system and the queue take from us until something is dropped, unread by the other end.
 */
static size_t fill(void)
{
    static uint8_t frame[1000];
    size_t taken = 0;

    while (theirs.dropped_full == 0 && taken < 100000000)
        taken += kh_io_tcp_send(&theirs, frame, sizeof frame, 0) ? sizeof frame : 0;
    return taken;
}

static void a_short_queue_is_short_in_the_system_too(void **state)
{
    size_t usual, kept;

    (void)state;
    assert_int_equal(open_pair(state), 0);
    usual = fill();
    close_pair(state);
    assert_int_equal(open_pair(state), 0);
    kh_io_tcp_keep_short(&theirs);
    kept = fill();
    close_pair(state);
    assert_true(kept < usual / 2);
}

static void ends_are_told(void **state)
{
    uint8_t data[4];
    size_t len;

    (void)state;
    assert_int_equal(kh_io_tcp_receive(&theirs, data, sizeof data, &len), EAGAIN);
    kh_io_tcp_close(&ours);
    assert_true(becomes(theirs.fd, POLLIN));
    assert_int_equal(kh_io_tcp_receive(&theirs, data, sizeof data, &len), EPIPE);
    assert_int_equal(len, 0);
}

static void refusals_are_told(void **state)
{
    struct kh_io_tcp third;
    struct kh_io_tcp nobody;

    (void)state;
    assert_int_equal(kh_io_tcp_accept(&listener, &nobody), EAGAIN);
    kh_io_tcp_listener_close(&listener);
    assert_int_equal(kh_io_tcp_connect(&theirs.local, &third), 0);
    assert_true(becomes(third.fd, POLLOUT));
    assert_int_equal(kh_io_tcp_flush(&third), ECONNREFUSED);
    kh_io_tcp_close(&third);
}

static void taken_port_is_told(void **state)
{
    struct kh_io_tcp_listener second;

    (void)state;
    assert_int_equal(kh_io_tcp_listen(&listener.addr, &second), EADDRINUSE);
}

/* RFC 6544 4.1: the port that is listened at, and whose NAT mapping is known, connects too. */
static void one_port_listens_and_connects(void **state)
{
    /* Everywhere, or somebody may have the port at another address of this machine. */
    const struct kh_addr anywhere = kh_addr_ipv4(0, 0, 0, 0, 0);
    struct kh_io_tcp_listener home, away;
    struct kh_addr home_addr = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_addr away_addr = home_addr;
    struct kh_io_tcp again;

    (void)state;
    assert_int_equal(kh_io_tcp_listen_shared(&anywhere, &home), 0);
    assert_int_equal(kh_io_tcp_listen_shared(&anywhere, &away), 0);
    home_addr.transport = away_addr.transport = KH_TCP;
    home_addr.port = home.addr.port;
    away_addr.port = away.addr.port;
    assert_int_equal(kh_io_tcp_connect_from(&home_addr, &away_addr, &ours), 0);
    assert_true(kh_addr_equal(&ours.local, &home_addr));
    assert_true(becomes(away.fd, POLLIN));
    assert_int_equal(kh_io_tcp_accept(&away, &theirs), 0);
    assert_true(kh_addr_equal(&theirs.remote, &home_addr));
    /* There is one connection between two ports. */
    assert_true(kh_io_tcp_connect_from(&away_addr, &home_addr, &again) != 0);
    /* Aborted, not even the system remembers it; and the interface may be the system's choice. */
    kh_io_tcp_abort(&ours);
    kh_io_tcp_abort(&theirs);
    assert_int_equal(kh_io_tcp_connect_from(&home.addr, &away_addr, &again), 0);
    assert_true(kh_addr_equal(&again.local, &home_addr));
    assert_true(becomes(away.fd, POLLIN));
    assert_int_equal(kh_io_tcp_accept(&away, &theirs), 0);
    kh_io_tcp_close(&again);
    kh_io_tcp_close(&theirs);
    kh_io_tcp_listener_close(&home);
    kh_io_tcp_listener_close(&away);
}

static void a_port_of_another_owner_is_not_shared(void **state)
{
    struct kh_io_tcp_listener second;

    (void)state;
    assert_int_equal(open_pair(state), 0); /* whose listener does not share */
    assert_int_equal(kh_io_tcp_listen_shared(&listener.addr, &second), EADDRINUSE);
    close_pair(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_ends_know_both_addresses, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(frames_sent_while_connecting_follow, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(full_queue_drops_whole_frames, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(ends_are_told, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(refusals_are_told, open_pair, close_pair),
        cmocka_unit_test_setup_teardown(taken_port_is_told, open_pair, close_pair),
        cmocka_unit_test(a_short_queue_is_short_in_the_system_too),
        cmocka_unit_test(one_port_listens_and_connects),
        cmocka_unit_test(a_port_of_another_owner_is_not_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
