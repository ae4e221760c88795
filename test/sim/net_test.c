/* sim/net_test.c - the virtual network carries, delays, loses and translates as it is told.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/net.h"

#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#define SERVER kh_addr_ipv4(203, 0, 113, 1, 3478)
#define HOME_A kh_addr_ipv4(203, 0, 113, 10, 0)
#define HOME_B kh_addr_ipv4(203, 0, 113, 11, 0)
#define INSIDE kh_addr_ipv4(192, 168, 1, 2, 5000)
#define NEIGHBOUR kh_addr_ipv4(192, 168, 1, 3, 5000)

static const struct net_line fast;
static const struct net_line slow = {.delay = KH_MILLISECONDS(20)};

static int box_with(struct net *net, int realm, const char *kind, struct kh_addr external,
                    const struct net_line *line)
{
    struct nat_config config = nat_preset_find(kind)->config;

    config.external = external;
    return net_add_box(net, realm, &config, line);
}

static int host_at(struct net *net, int realm, struct kh_addr addr)
{
    int host = net_add_host(net);

    net_attach(net, host, realm, &addr, &fast);
    return host;
}

static void say(struct net *net, int host, struct kh_addr from, struct kh_addr to, const char *text)
{
    struct kh_datagram datagram = {
        .from = from, .to = to, .data = (const uint8_t *)text, .len = strlen(text)};

    net_send(net, host, &datagram);
}

/* Waits for an arrival at host and gives where it came from. */
static struct kh_addr hear(struct net *net, int host, const char *text)
{
    struct net_event event;

    assert_true(net_next(net, net_now(net) + KH_SECONDS(10), &event));
    assert_int_equal(event.kind, NET_ARRIVAL);
    assert_int_equal(event.host, host);
    assert_int_equal(event.datagram.len, strlen(text));
    assert_memory_equal(event.datagram.data, text, strlen(text));
    return event.datagram.from;
}

static void hear_nothing(struct net *net)
{
    struct net_event event;

    assert_false(net_next(net, net_now(net) + KH_SECONDS(10), &event));
}

static void lines_take_their_time(void **state)
{
    struct net *net = net_new(1);
    int server = host_at(net, NET_INTERNET, SERVER);
    int box = box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow);
    int alice = host_at(net, box, INSIDE);
    struct kh_addr seen;

    (void)state;
    say(net, alice, (struct kh_addr){0}, SERVER, "out");
    assert_int_equal(net_now(net), 0);
    seen = hear(net, server, "out");
    assert_int_equal(net_now(net), KH_MILLISECONDS(20));
    assert_true(kh_addr_ip_equal(&seen, &(struct kh_addr[]){HOME_A}[0]));
    say(net, server, SERVER, seen, "back");
    (void)hear(net, alice, "back");
    assert_int_equal(net_now(net), KH_MILLISECONDS(40));
    net_free(net);
}

static void strangers_do_not_get_in(void **state)
{
    struct net *net = net_new(1);
    int server = host_at(net, NET_INTERNET, SERVER);
    int a = box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow);
    int b = box_with(net, NET_INTERNET, "port-restricted", HOME_B, &slow);
    int alice = host_at(net, a, INSIDE), bob = host_at(net, b, INSIDE);
    struct kh_addr alice_seen, bob_seen;

    (void)state;
    say(net, alice, INSIDE, SERVER, "a");
    alice_seen = hear(net, server, "a");
    say(net, bob, INSIDE, SERVER, "b");
    bob_seen = hear(net, server, "b");
    say(net, alice, INSIDE, bob_seen, "knock");
    hear_nothing(net);
    say(net, bob, INSIDE, alice_seen, "punched");
    (void)hear(net, alice, "punched");
    say(net, alice, INSIDE, bob_seen, "through");
    (void)hear(net, bob, "through");
    assert_int_equal(net_stats(net).refused, 1);
    net_free(net);
}

static void neighbours_meet_inside(void **state)
{
    struct net *net = net_new(1);
    int box = box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow);
    int alice = host_at(net, box, INSIDE), carol = host_at(net, box, NEIGHBOUR);

    (void)state;
    say(net, alice, INSIDE, NEIGHBOUR, "over the fence");
    (void)hear(net, carol, "over the fence");
    assert_int_equal(net_now(net), 0);
    net_free(net);
}

static void equal_private_addresses_are_different_places(void **state)
{
    struct net *net = net_new(1);
    int a = box_with(net, NET_INTERNET, "full-cone", HOME_A, &slow);
    int b = box_with(net, NET_INTERNET, "full-cone", HOME_B, &slow);
    int alice = host_at(net, a, INSIDE);

    (void)state;
    (void)host_at(net, b, NEIGHBOUR);
    say(net, alice, INSIDE, NEIGHBOUR, "nobody here");
    hear_nothing(net);
    assert_int_equal(net_stats(net).unroutable, 1);
    net_free(net);
}

static void boxes_nest(void **state)
{
    struct kh_addr shared = kh_addr_ipv4(100, 64, 0, 2, 0);
    struct net *net = net_new(1);
    int server = host_at(net, NET_INTERNET, SERVER);
    int outer = box_with(net, NET_INTERNET, "cgn", HOME_A, &slow);
    int inner = box_with(net, outer, "port-restricted", shared, &slow);
    int alice = host_at(net, inner, INSIDE);
    struct kh_addr seen;

    (void)state;
    say(net, alice, INSIDE, SERVER, "out");
    seen = hear(net, server, "out");
    assert_true(kh_addr_ip_equal(&seen, &(struct kh_addr[]){HOME_A}[0]));
    say(net, server, SERVER, seen, "back");
    (void)hear(net, alice, "back");
    assert_int_equal(net_now(net), KH_MILLISECONDS(80));
    net_free(net);
}

static void firewalls_leave_addresses_alone(void **state)
{
    struct net *net = net_new(1);
    int server = host_at(net, NET_INTERNET, SERVER);
    int box = box_with(net, NET_INTERNET, "firewall", (struct kh_addr){0}, &slow);
    struct kh_addr own = kh_addr_ipv4(198, 51, 100, 2, 5000);
    int alice = host_at(net, box, own);
    struct kh_addr seen;

    (void)state;
    say(net, server, SERVER, own, "unasked");
    hear_nothing(net);
    say(net, alice, own, SERVER, "out");
    seen = hear(net, server, "out");
    assert_true(kh_addr_equal(&seen, &own));
    say(net, server, SERVER, own, "answer");
    (void)hear(net, alice, "answer");
    net_free(net);
}

static struct net_stats send_many(uint64_t seed, struct net_line line, int count)
{
    struct net *net = net_new(seed);
    int box = box_with(net, NET_INTERNET, "open", (struct kh_addr){0}, &line);
    struct kh_addr own = kh_addr_ipv4(198, 51, 100, 2, 5000);
    int alice = host_at(net, box, own);
    struct net_event event;
    struct net_stats stats;

    (void)host_at(net, NET_INTERNET, SERVER);
    for (int i = 0; i < count; i++)
        say(net, alice, own, SERVER, "x");
    while (net_next(net, KH_SECONDS(60), &event))
        assert_int_equal(event.kind, NET_ARRIVAL);
    stats = net_stats(net);
    net_free(net);
    return stats;
}

/* A low ttl opens the box it leaves by and dies before it comes to the other one. */
static void a_low_ttl_opens_the_own_box_only(void **state)
{
    struct net *net = net_new(1);
    int a = box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow);
    int b = box_with(net, NET_INTERNET, "full-cone", HOME_B, &slow);
    int host_a = host_at(net, a, INSIDE), host_b = host_at(net, b, INSIDE);
    struct kh_addr outside_a = HOME_A, outside_b = HOME_B;
    struct kh_datagram opener = {.from = INSIDE, .data = (const uint8_t *)"o", .len = 1, .ttl = 4};

    (void)state;
    outside_a.port = outside_b.port = INSIDE.port;
    opener.to = outside_b;
    net_send(net, host_a, &opener);
    hear_nothing(net);
    assert_int_equal(net_stats(net).expired, 1);
    say(net, host_b, INSIDE, outside_a, "in");
    assert_int_equal(hear(net, host_a, "in").port, outside_b.port);
    net_free(net);
}

static void lines_lose_and_double(void **state)
{
    struct net_stats stats = send_many(1, (struct net_line){.loss = 0.3}, 10000);

    (void)state;
    assert_in_range(stats.lost, 2800, 3200);
    assert_int_equal(stats.arrived + stats.lost, 10000);
    stats =
        send_many(1, (struct net_line){.duplication = 0.05, .replay = 0.03, .garble = 0.02}, 10000);
    assert_in_range(stats.extra, 900, 1100);
    assert_int_equal(stats.arrived, 10000 + stats.extra);
}

static void jitter_lets_datagrams_overtake(void **state)
{
    struct net *net = net_new(1);
    struct net_line line = {.delay = 1000, .jitter = 1000};
    int box = box_with(net, NET_INTERNET, "open", (struct kh_addr){0}, &line);
    struct kh_addr own = kh_addr_ipv4(198, 51, 100, 2, 5000);
    int alice = host_at(net, box, own), overtaken = 0;
    char last = 0;
    struct net_event event;

    (void)state;
    (void)host_at(net, NET_INTERNET, SERVER);
    for (char c = 1; c < 100; c++)
        say(net, alice, own, SERVER, (char[]){c, 0});
    while (net_next(net, KH_SECONDS(1), &event)) {
        overtaken += (char)event.datagram.data[0] < last;
        last = (char)event.datagram.data[0];
        assert_in_range(net_now(net), 1000, 2000);
    }
    assert_true(overtaken > 10);
    net_free(net);
}

static void equal_seeds_repeat(void **state)
{
    struct net_line line = {.loss = 0.3, .duplication = 0.2};

    (void)state;
    assert_int_equal(send_many(3, line, 100).arrived, send_many(3, line, 100).arrived);
    assert_int_not_equal(send_many(3, line, 1000).arrived, send_many(4, line, 1000).arrived);
}

static void what_is_down_is_silent(void **state)
{
    struct net *net = net_new(1);
    int server = host_at(net, NET_INTERNET, SERVER);
    int box = box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow);
    int alice = host_at(net, box, INSIDE);

    (void)state;
    net_set_box_up(net, box, false);
    say(net, alice, INSIDE, SERVER, "cut off");
    hear_nothing(net);
    net_set_box_up(net, box, true);
    net_set_host_up(net, server, false);
    say(net, alice, INSIDE, SERVER, "nobody home");
    hear_nothing(net);
    net_set_host_up(net, server, true);
    say(net, alice, INSIDE, SERVER, "again");
    (void)hear(net, server, "again");
    net_detach(net, alice, &(struct kh_addr[]){INSIDE}[0]);
    say(net, alice, INSIDE, SERVER, "no address");
    hear_nothing(net);
    net_free(net);
}

static void timers_and_alarms_come_when_due(void **state)
{
    struct net *net = net_new(1);
    int server = host_at(net, NET_INTERNET, SERVER);
    struct net_event event;

    (void)state;
    net_set_timer(net, server, 500);
    net_add_alarm(net, 300, 7);
    assert_true(net_next(net, 1000, &event));
    assert_int_equal(event.kind, NET_ALARM);
    assert_int_equal(event.alarm, 7);
    assert_true(net_next(net, 1000, &event));
    assert_int_equal(event.kind, NET_TIMER);
    assert_int_equal(net_now(net), 500);
    net_set_timer(net, server, 100); /* in the past: at once, and the clock does not go back */
    assert_true(net_next(net, 1000, &event));
    assert_int_equal(net_now(net), 500);
    assert_false(net_next(net, 1000, &event));
    assert_int_equal(net_now(net), 1000);
    net_free(net);
}

/* ---- TCP ---- */

static struct kh_addr by_tcp(struct kh_addr addr)
{
    addr.transport = KH_TCP;
    return addr;
}

static struct kh_addr with_port(struct kh_addr addr, uint16_t port)
{
    addr.port = port;
    return by_tcp(addr);
}

static void expect_lost(struct net *net, int host, struct kh_addr remote)
{
    struct net_event event;

    assert_true(net_next(net, net_now(net) + KH_SECONDS(60), &event));
    assert_int_equal(event.kind, NET_LOST);
    assert_int_equal(event.host, host);
    assert_true(kh_addr_equal(&event.datagram.from, &remote));
}

static void a_connection_needs_somebody_who_listens(void **state)
{
    struct net *net = net_new(1);
    int a = host_at(net, box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow), INSIDE);
    int server = host_at(net, NET_INTERNET, SERVER);
    struct kh_addr from;

    (void)state;
    say(net, a, by_tcp(INSIDE), by_tcp(SERVER), "hello?");
    expect_lost(net, a, by_tcp(SERVER));
    net_listen(net, server, SERVER.port, true);
    say(net, a, by_tcp(INSIDE), by_tcp(SERVER), "hello");
    from = hear(net, server, "hello");
    assert_true(kh_addr_equal(&from, &(struct kh_addr){.family = 4,
                                                       .transport = KH_TCP,
                                                       .port = INSIDE.port,
                                                       .ip = {203, 0, 113, 10}}));
    say(net, server, by_tcp(SERVER), from, "yes");
    (void)hear(net, a, "yes");
    say(net, server, by_tcp(SERVER), with_port(HOME_A, 9), "to nobody"); /* a server calls none */
    hear_nothing(net);
    net_drop_streams(net, a);
    expect_lost(net, server, from);
    net_free(net);
}

static void a_box_lets_no_call_in(void **state)
{
    struct net *net = net_new(1);
    int a = host_at(net, box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow), INSIDE);
    int b = host_at(net, NET_INTERNET, SERVER);
    struct kh_addr outside = with_port(HOME_A, INSIDE.port);

    (void)state;
    net_listen(net, a, INSIDE.port, false);
    say(net, b, by_tcp(SERVER), outside, "let me in");
    expect_lost(net, b, outside);
    net_free(net);
}

static void calls_that_cross_open_both_boxes(void **state)
{
    struct net *net = net_new(1);
    int a = host_at(net, box_with(net, NET_INTERNET, "port-restricted", HOME_A, &slow), INSIDE);
    int b = host_at(net, box_with(net, NET_INTERNET, "port-restricted", HOME_B, &slow), INSIDE);
    struct kh_addr outside_a = with_port(HOME_A, INSIDE.port);
    struct kh_addr outside_b = with_port(HOME_B, INSIDE.port);

    (void)state;
    say(net, a, by_tcp(INSIDE), outside_b, "one");
    say(net, a, by_tcp(INSIDE), outside_b, "two");
    say(net, b, by_tcp(INSIDE), outside_a, "three");
    (void)hear(net, a, "three");
    (void)hear(net, b, "one");
    (void)hear(net, b, "two");
    net_free(net);
}

/* Nothing is lost or overtaken: it only comes later. */
static void lines_that_lose_delay_connections(void **state)
{
    struct net *net = net_new(1);
    struct net_line bad = {
        .delay = KH_MILLISECONDS(20), .jitter = KH_MILLISECONDS(50), .loss = 0.3, .replay = 0.3};
    int a = host_at(net, box_with(net, NET_INTERNET, "open", HOME_A, &bad), SERVER);
    int b = host_at(net, NET_INTERNET, NEIGHBOUR);

    (void)state;
    net_listen(net, b, NEIGHBOUR.port, false);
    for (char c[] = "a"; c[0] <= 'z'; c[0]++)
        say(net, a, by_tcp(SERVER), by_tcp(NEIGHBOUR), c);
    for (char c[] = "a"; c[0] <= 'z'; c[0]++)
        (void)hear(net, b, c);
    hear_nothing(net);
    net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_take_their_time),
        cmocka_unit_test(strangers_do_not_get_in),
        cmocka_unit_test(neighbours_meet_inside),
        cmocka_unit_test(equal_private_addresses_are_different_places),
        cmocka_unit_test(boxes_nest),
        cmocka_unit_test(firewalls_leave_addresses_alone),
        cmocka_unit_test(a_low_ttl_opens_the_own_box_only),
        cmocka_unit_test(lines_lose_and_double),
        cmocka_unit_test(jitter_lets_datagrams_overtake),
        cmocka_unit_test(equal_seeds_repeat),
        cmocka_unit_test(what_is_down_is_silent),
        cmocka_unit_test(timers_and_alarms_come_when_due),
        cmocka_unit_test(a_connection_needs_somebody_who_listens),
        cmocka_unit_test(a_box_lets_no_call_in),
        cmocka_unit_test(calls_that_cross_open_both_boxes),
        cmocka_unit_test(lines_that_lose_delay_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
