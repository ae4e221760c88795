/* rendezvous/tcp_test.c - a client whose server can be had by TCP too: when it is, and when not.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rendezvous/wire_sim_test.h"

#define ROUND_TRIP KH_MILLISECONDS(40)
#define TCP_DELAY KH_MILLISECONDS(300)
#define TLS_DELAY KH_MILLISECONDS(600)

static struct sim sim;

static int set_up(void **state)
{
    (void)state;
    sim_init(&sim, 1);
    sim_start_server(&sim, 7);
    sim.capturing = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_fini(&sim);
    return 0;
}

static struct sim_host *add_by(enum kh_transport first, enum kh_transport last,
                               const struct kh_rendezvous_ticket *ticket)
{
    struct kh_rendezvous_client_config config = {.room_seed = sim.room_seed};

    for (int transport = (int)first; transport <= (int)last; transport++) {
        config.servers[config.server_count] = sim.servers[0];
        config.servers[config.server_count++].transport = (uint8_t)transport;
    }
    if (ticket != NULL)
        config.ticket = *ticket;
    return sim_add_config(&sim, &config);
}

static struct sim_host *add(bool with_udp, const struct kh_rendezvous_ticket *ticket)
{
    return add_by(with_udp ? KH_UDP : KH_TCP, KH_TCP, ticket);
}

/* How many datagrams went to the server by this transport. */
static size_t sent_by(enum kh_transport transport)
{
    size_t count = 0;

    for (size_t i = 0; i < sim.captured_count; i++)
        count += sim.captured[i].to.transport == transport ? 1 : 0;
    return count;
}

static void working_udp_leaves_tcp_alone(void **state)
{
    struct sim_host *alice = add(true, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_probe(&sim, alice);
    sim_run(&sim, KH_SECONDS(90));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->mapped_addr.transport, KH_UDP);
    assert_int_equal(sent_by(KH_TCP), 0);
}

/* TCP was asked meanwhile, and then left alone. */
static void slow_udp_is_not_overtaken(void **state)
{
    struct sim_host *alice = add(true, NULL);
    kh_time start = sim.now;

    (void)state;
    sim.delay = KH_MILLISECONDS(200);
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(5));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->joined_at - start, KH_MILLISECONDS(800));
    assert_int_equal(alice->mapped_addr.transport, KH_UDP);
    assert_int_equal(sent_by(KH_TCP), 1);
}

static void blocked_udp_costs_a_moment(void **state)
{
    struct sim_host *alice = add(true, NULL);
    struct sim_host *bob = add(true, NULL);
    kh_time start = sim.now;

    (void)state;
    sim.udp_down = true;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", "first words");
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->joined_at - start, TCP_DELAY + 2 * ROUND_TRIP);
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    assert_int_equal(alice->unreachable, 0);
    assert_int_equal(alice->signal_count, 1);
    assert_string_equal(alice->signals[0], "first words");
    sim_say(&sim, alice, bob, "an answer", 1);
    sim_run(&sim, ROUND_TRIP);
    assert_int_equal(bob->signal_count, 1);
    assert_int_equal(sim.amplified, 0);
}

/* Only the server can send along a connection, so its address is nobody else's business. */
static void address_of_tcp_is_not_told(void **state)
{
    struct sim_host *alice = add(true, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim.udp_down = true;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_MILLISECONDS(500));
    assert_int_equal(alice->joined, 1);
    sim.udp_down = false;
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, 3 * ROUND_TRIP);
    assert_true(sim_sees(bob, alice, "a"));
    assert_true(sim_sees(alice, bob, "b"));
    assert_true(kh_addr_is_none(&sim_known(bob, alice)->public));
    assert_true(kh_addr_equal(&sim_known(alice, bob)->public, &bob->addr[0]));
}

static void udp_that_comes_late_wins(void **state)
{
    struct sim_host *alice = add(true, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim.udp_down = true;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_MILLISECONDS(500));
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    sim.udp_down = false;
    sim_run(&sim, KH_MILLISECONDS(500));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->mapped_addr.transport, KH_UDP);
    assert_true(kh_addr_equal(&sim_known(bob, alice)->public, &alice->addr[0]));
    sim.captured_count = 0;
    sim_run(&sim, KH_SECONDS(90));
    assert_int_equal(sent_by(KH_TCP), 0);
    assert_int_equal(sim_stats(&sim).members, 2);
}

static void udp_that_does_not_come_back_is_no_way(void **state)
{
    struct sim_host *alice = add(true, NULL);
    struct sim_host *bob = add(true, NULL);

    (void)state;
    sim.udp_up_only = true;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(90));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    assert_int_equal(sim_stats(&sim).members, 2);
    sim_say(&sim, alice, bob, "still here", 1);
    sim_run(&sim, ROUND_TRIP);
    assert_string_equal(bob->signals[0], "still here");
}

static void session_moves_to_tcp_when_udp_dies(void **state)
{
    struct sim_host *alice = add(true, NULL);
    struct sim_host *bob = add(true, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim.udp_down = true;
    sim_say(&sim, alice, bob, "over the fence", 1);
    sim_probe(&sim, alice);
    sim_probe(&sim, bob);
    sim_run(&sim, KH_SECONDS(4));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    assert_int_equal(bob->mapped_addr.transport, KH_TCP);
    assert_string_equal(bob->signals[0], "over the fence");
    assert_true(kh_addr_is_none(&sim_known(bob, alice)->public));
}

static void tcp_alone_does_not_wait(void **state)
{
    struct sim_host *alice = add(false, NULL);
    kh_time start = sim.now;

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined_at - start, 2 * ROUND_TRIP);
    sim.captured_count = 0;
    sim_run(&sim, KH_SECONDS(60));
    assert_int_equal(sent_by(KH_UDP), 0);
}

static void working_tcp_leaves_tls_alone(void **state)
{
    struct sim_host *alice = add_by(KH_UDP, KH_TLS, NULL);

    (void)state;
    sim.udp_down = true;
    sim_join(&sim, alice, "a", NULL);
    sim_probe(&sim, alice);
    sim_run(&sim, KH_SECONDS(90));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    assert_int_equal(sent_by(KH_TLS), 0);
}

static void where_only_tls_passes_it_costs_two_moments(void **state)
{
    struct sim_host *alice = add_by(KH_UDP, KH_TLS, NULL);
    struct sim_host *bob = add_by(KH_UDP, KH_TLS, NULL);
    kh_time start = sim.now;

    (void)state;
    sim.udp_down = sim.tcp_down = true;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", "first words");
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined_at - start, TLS_DELAY + 2 * ROUND_TRIP);
    assert_int_equal(alice->mapped_addr.transport, KH_TLS);
    assert_int_equal(alice->unreachable, 0);
    assert_int_equal(alice->signal_count, 1);
    assert_true(kh_addr_is_none(&sim_known(bob, alice)->public));
}

/* Each better way takes the place of the one before, as soon as it passes. */
static void better_ways_are_looked_for(void **state)
{
    struct sim_host *alice = add_by(KH_UDP, KH_TLS, NULL);

    (void)state;
    sim.udp_down = sim.tcp_down = true;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->mapped_addr.transport, KH_TLS);
    sim.tcp_down = false;
    sim_run(&sim, KH_SECONDS(3));
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    sim.udp_down = false;
    sim_run(&sim, KH_SECONDS(6));
    assert_int_equal(alice->mapped_addr.transport, KH_UDP);
    assert_int_equal(alice->joined, 1);
    sim.captured_count = 0;
    sim_run(&sim, KH_SECONDS(90));
    assert_int_equal(sent_by(KH_TCP) + sent_by(KH_TLS), 0);
    assert_int_equal(sim_stats(&sim).members, 1);
}

static void session_moves_to_tls_when_all_else_dies(void **state)
{
    struct sim_host *alice = add_by(KH_UDP, KH_TLS, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim.udp_down = sim.tcp_down = true;
    sim_probe(&sim, alice);
    sim_run(&sim, KH_SECONDS(6));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->mapped_addr.transport, KH_TLS);
}

static void ticket_is_good_for_both_transports(void **state)
{
    struct sim_host *alice = add(true, NULL);
    struct kh_rendezvous_ticket ticket;
    kh_time start;

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    ticket = alice->ticket;
    assert_int_equal(ticket.server.transport, KH_UDP);
    sim_leave(&sim, alice);
    sim_run(&sim, KH_SECONDS(1));

    sim.udp_down = true;
    start = sim.now;
    alice = add(true, &ticket);
    alice->addr[0] = sim.hosts[0].addr[0];
    sim.hosts[0].addr[0] = (struct kh_addr){0};
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined_at - start, TCP_DELAY + ROUND_TRIP);
}

/* The other place answers by UDP, and about a NAT's mappings for UDP. */
static void nobody_is_told_of_another_place(void **state)
{
    struct sim_host *alice, *bob;

    (void)state;
    sim_stop_server(&sim);
    sim.registry_config.alternates[0] = (struct kh_rendezvous_alternate){
        kh_addr_ipv4(0, 0, 0, 0, 3478), kh_addr_ipv4(0, 0, 0, 0, 65535)};
    sim.registry_config.alternate_count = 1;
    sim_start_server(&sim, 7);
    alice = add(true, NULL);
    sim_join(&sim, alice, "a", NULL);
    bob = add(false, NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->other.port, 65535);
    assert_int_equal(bob->joined, 1);
    assert_true(kh_addr_is_none(&bob->other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_is_told_of_another_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(working_udp_leaves_tcp_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(slow_udp_is_not_overtaken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocked_udp_costs_a_moment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(address_of_tcp_is_not_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(udp_that_comes_late_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(udp_that_does_not_come_back_is_no_way, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_moves_to_tcp_when_udp_dies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tcp_alone_does_not_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(working_tcp_leaves_tls_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_only_tls_passes_it_costs_two_moments, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(better_ways_are_looked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(session_moves_to_tls_when_all_else_dies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ticket_is_good_for_both_transports, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
