/* runtime/peers_test.c - connections with members and strangers, by the real loopback.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "runtime/peers.h"

#include "base/frames.h"
#include "io/clock.h"

#define PATIENCE KH_SECONDS(10)

struct side {
    struct kh_runtime_peers peers;
    struct kh_addr addr;
    size_t handles;
    unsigned heard, lost;
    unsigned check_heard;      /* how many had been heard when one came that begins like STUN */
    struct kh_datagram latest; /* its data is in `data` */
    uint8_t data[KH_FRAMES_MAX];
    struct kh_runtime_peers_way lost_way;
    const char *answer; /* to all that is heard; NULL: none */
};

static uv_loop_t loop;
static struct side alice, bob;

static void say(struct side *side, const struct kh_addr *to, const char *text)
{
    struct kh_datagram datagram = {
        .from = side->addr, .to = *to, .data = (const uint8_t *)text, .len = strlen(text)};

    kh_runtime_peers_send(&side->peers, &datagram);
}

static void on_datagram(void *context, const struct kh_datagram *datagram)
{
    struct side *side = context;

    side->heard++;
    if (datagram->data[0] < 4)
        side->check_heard = side->heard;
    side->latest = *datagram;
    memcpy(side->data, datagram->data, datagram->len);
    if (side->answer != NULL)
        say(side, &datagram->from, side->answer);
}

static void on_lost(void *context, const struct kh_addr *local, const struct kh_addr *remote)
{
    struct side *side = context;

    side->lost++;
    side->lost_way = (struct kh_runtime_peers_way){*local, *remote};
}

static void on_turn(void *context)
{
    (void)context;
}

static void on_opened(void *context)
{
    ((struct side *)context)->handles++;
}

static void on_closed(void *context)
{
    ((struct side *)context)->handles--;
}

static void open_side(struct side *side)
{
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_io_tcp_listener probe;
    bool listens = false;

    memset(side, 0, sizeof *side);
    side->peers.owner = (struct kh_runtime_peers_owner){.loop = &loop,
                                                        .context = side,
                                                        .on_datagram = on_datagram,
                                                        .on_lost = on_lost,
                                                        .on_turn = on_turn,
                                                        .on_opened = on_opened,
                                                        .on_closed = on_closed};
    for (int i = 0; i < 10 && !listens; i++) { /* somebody may take the port in between */
        assert_int_equal(kh_io_tcp_listen(&loopback, &probe), 0);
        side->addr = probe.addr;
        kh_io_tcp_listener_close(&probe);
        listens = kh_runtime_peers_listen(&side->peers, KH_FAMILY_IPV4, side->addr.port);
    }
    assert_true(listens);
}

static int start(void **state)
{
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    open_side(&alice);
    open_side(&bob);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    kh_runtime_peers_close_all(&alice.peers);
    kh_runtime_peers_close_all(&bob.peers);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(alice.handles + bob.handles, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* Runs the loop until there are so many. */
static void await(const unsigned *count, unsigned wanted)
{
    kh_time end = kh_time_add(kh_io_clock_now(), PATIENCE);

    while (*count < wanted && kh_io_clock_now() < end)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(*count, wanted);
}

static void run_for(kh_duration duration)
{
    kh_time end = kh_time_add(kh_io_clock_now(), duration);

    while (kh_io_clock_now() < end)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static size_t connections(const struct side *side)
{
    size_t count = 0;

    for (size_t i = 0; i < sizeof side->peers.list / sizeof side->peers.list[0]; i++)
        count += side->peers.list[i] != NULL;
    return count;
}

/* Waits until this end of a connection of nobody's is closed by the other. */
static bool is_closed_soon(struct kh_io_tcp *tcp)
{
    kh_time end = kh_time_add(kh_io_clock_now(), PATIENCE);
    uint8_t byte;
    size_t len;

    while (kh_io_clock_now() < end) {
        int error = kh_io_tcp_receive(tcp, &byte, 1, &len);

        if (error != EAGAIN)
            return error != 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    return false;
}

static void call(struct kh_io_tcp *out, const struct side *side)
{
    assert_int_equal(kh_io_tcp_connect(&side->addr, out), 0);
    run_for(KH_MILLISECONDS(5));
    assert_int_equal(kh_io_tcp_flush(out), 0);
}

static void datagrams_go_both_ways_along_one_connection(void **state)
{
    (void)state;
    bob.answer = "and you";
    say(&alice, &bob.addr, "hello");
    say(&alice, &bob.addr, "again");
    await(&bob.heard, 2);
    assert_memory_equal(bob.data, "again", 5);
    assert_int_equal(bob.latest.len, 5);
    assert_true(kh_addr_equal(&bob.latest.from, &alice.addr));
    assert_true(kh_addr_equal(&bob.latest.to, &bob.addr));
    await(&alice.heard, 2);
    assert_memory_equal(alice.data, "and you", 7);
    assert_true(kh_addr_equal(&alice.latest.from, &bob.addr));
    say(&bob, &alice.addr, "by the same way");
    await(&alice.heard, 3);
    assert_int_equal(connections(&alice), 1);
    assert_int_equal(connections(&bob), 1);
    assert_true(kh_runtime_peers_owns(&alice.peers, &alice.addr));
    assert_false(kh_runtime_peers_owns(&alice.peers, &bob.addr));
}

static void the_end_is_told_to_the_other_side(void **state)
{
    (void)state;
    bob.answer = "yes";
    say(&alice, &bob.addr, "there?");
    await(&alice.heard, 1);
    kh_runtime_peers_close_all(&bob.peers);
    await(&alice.lost, 1);
    assert_true(kh_addr_equal(&alice.lost_way.local, &alice.addr));
    assert_true(kh_addr_equal(&alice.lost_way.remote, &bob.addr));
    assert_int_equal(connections(&alice), 0);
}

static void a_refused_call_is_told(void **state)
{
    (void)state;
    kh_runtime_peers_close_all(&bob.peers);
    say(&alice, &bob.addr, "there?");
    await(&alice.lost, 1);
    assert_true(kh_addr_equal(&alice.lost_way.local, &alice.addr));
    assert_true(kh_addr_equal(&alice.lost_way.remote, &bob.addr));
}

/* Nobody connects to many: the system says so at once, while we are inside the call. */
static void a_call_that_cannot_be_made_is_told_later(void **state)
{
    struct kh_addr nowhere = kh_addr_ipv4(224, 0, 0, 1, 9);

    (void)state;
    nowhere.transport = KH_TCP;
    say(&alice, &nowhere, "there?");
    assert_int_equal(alice.lost, 0);
    await(&alice.lost, 1);
    assert_true(kh_addr_equal(&alice.lost_way.remote, &nowhere));
}

static void a_silent_stranger_is_closed(void **state)
{
    struct kh_io_tcp stranger;

    (void)state;
    bob.peers.limits.stranger = bob.peers.limits.sweep = KH_MILLISECONDS(20);
    call(&stranger, &bob);
    assert_true(is_closed_soon(&stranger));
    kh_io_tcp_close(&stranger);
    assert_int_equal(bob.lost + bob.heard, 0); /* nobody knew of it */
}

static void who_is_answered_is_no_stranger(void **state)
{
    (void)state;
    alice.peers.limits.sweep = bob.peers.limits.sweep = KH_MILLISECONDS(10);
    bob.peers.limits.stranger = KH_MILLISECONDS(20);
    bob.answer = "welcome";
    say(&alice, &bob.addr, "it is me");
    await(&alice.heard, 1);
    run_for(KH_MILLISECONDS(100));
    assert_int_equal(alice.lost, 0);
    assert_int_equal(connections(&bob), 1);
}

static void a_stranger_has_few_bytes(void **state)
{
    struct kh_io_tcp stranger;
    uint8_t framed[KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX];
    size_t len = kh_frames_write((const uint8_t *)"let me in", 9, framed);

    (void)state;
    call(&stranger, &bob);
    for (size_t sent = 0; sent <= KH_RUNTIME_STRANGER_BYTES; sent += len)
        (void)kh_io_tcp_send(&stranger, framed, len, 0);
    assert_true(is_closed_soon(&stranger));
    kh_io_tcp_close(&stranger);
    assert_int_equal(connections(&bob), 0);
}

static void what_is_no_frame_closes_at_once(void **state)
{
    struct kh_io_tcp stranger;

    (void)state;
    call(&stranger, &bob);
    assert_true(kh_io_tcp_send(&stranger, (const uint8_t *)"GET / HTTP/1.1\r\n", 16, 0));
    assert_true(is_closed_soon(&stranger));
    kh_io_tcp_close(&stranger);
    assert_int_equal(bob.heard, 0);
}

static void the_oldest_of_many_strangers_gives_way(void **state)
{
    struct kh_io_tcp strangers[KH_RUNTIME_STRANGERS_MAX + 1];

    (void)state;
    for (size_t i = 0; i <= KH_RUNTIME_STRANGERS_MAX; i++)
        call(&strangers[i], &bob);
    assert_true(is_closed_soon(&strangers[0]));
    assert_int_equal(connections(&bob), KH_RUNTIME_STRANGERS_MAX);
    for (size_t i = 0; i <= KH_RUNTIME_STRANGERS_MAX; i++)
        kh_io_tcp_close(&strangers[i]);
}

static void silence_ends_a_connection(void **state)
{
    (void)state;
    bob.answer = "yes";
    say(&alice, &bob.addr, "there?");
    await(&alice.heard, 1);
    alice.peers.limits.silence = KH_MILLISECONDS(20);
    await(&alice.lost, 1);
    await(&bob.lost, 1);
    assert_int_equal(connections(&alice) + connections(&bob), 0);
}

/* On a slow line the data of seconds waits; whether the path is good must be known before. */
static void checks_go_before_data_that_waits(void **state)
{
    static char data[1001];
    const unsigned count = 1500;

    (void)state;
    memset(data, 'x', sizeof data - 1);
    bob.answer = "yes";
    say(&alice, &bob.addr, "there?");
    await(&alice.heard, 1);
    bob.answer = NULL;
    for (unsigned i = 0; i < count; i++)
        say(&alice, &bob.addr, data);
    say(&alice, &bob.addr, "\1 a check");
    await(&bob.heard, 1 + count + 1); /* nothing was dropped */
    assert_true(bob.check_heard > 1 && bob.check_heard < 1 + count / 2);
}

/* Our port calls the server, any interface will do, and STUN has no length before it. */
static void to_the_server_stun_goes_as_it_is(void **state)
{
    static const char request[] = "\0\1\0\0\x21\x12\xa4\x42"
                                  "abcdefghijkl";
    const struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_datagram datagram = {.from = kh_addr_ipv4(0, 0, 0, 0, alice.addr.port),
                                   .data = (const uint8_t *)request,
                                   .len = 20};
    struct kh_io_tcp_listener server;
    struct kh_io_tcp tcp;
    uint8_t got[40];
    size_t len = 0;

    (void)state;
    assert_int_equal(kh_io_tcp_listen(&loopback, &server), 0);
    alice.peers.servers[0] = datagram.to = server.addr;
    alice.peers.server_count = 1;
    datagram.from.transport = KH_TCP;
    kh_runtime_peers_send(&alice.peers, &datagram);
    run_for(KH_MILLISECONDS(20));
    kh_runtime_peers_send(&alice.peers, &datagram); /* along the same one */
    run_for(KH_MILLISECONDS(20));
    assert_int_equal(connections(&alice), 1);
    assert_int_equal(kh_io_tcp_accept(&server, &tcp), 0);
    assert_true(kh_addr_equal(&tcp.remote, &alice.addr));
    assert_int_equal(kh_io_tcp_receive(&tcp, got, sizeof got, &len), 0);
    assert_int_equal(len, 40);
    assert_memory_equal(got, request, 20);
    assert_true(kh_io_tcp_send(&tcp, got, 20, 0));
    await(&alice.heard, 1);
    assert_int_equal(alice.latest.len, 20);
    assert_true(kh_addr_equal(&alice.latest.to, &alice.addr));
    kh_io_tcp_close(&tcp);
    kh_io_tcp_listener_close(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(datagrams_go_both_ways_along_one_connection, start, stop),
        cmocka_unit_test_setup_teardown(the_end_is_told_to_the_other_side, start, stop),
        cmocka_unit_test_setup_teardown(a_refused_call_is_told, start, stop),
        cmocka_unit_test_setup_teardown(a_call_that_cannot_be_made_is_told_later, start, stop),
        cmocka_unit_test_setup_teardown(a_silent_stranger_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(who_is_answered_is_no_stranger, start, stop),
        cmocka_unit_test_setup_teardown(a_stranger_has_few_bytes, start, stop),
        cmocka_unit_test_setup_teardown(what_is_no_frame_closes_at_once, start, stop),
        cmocka_unit_test_setup_teardown(the_oldest_of_many_strangers_gives_way, start, stop),
        cmocka_unit_test_setup_teardown(silence_ends_a_connection, start, stop),
        cmocka_unit_test_setup_teardown(checks_go_before_data_that_waits, start, stop),
        cmocka_unit_test_setup_teardown(to_the_server_stun_goes_as_it_is, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
