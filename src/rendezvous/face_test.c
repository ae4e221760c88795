/* rendezvous/face_test.c - clients and a registry face to face: the ways of every day.
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

static struct sim sim;

static int set_up(void **state)
{
    (void)state;
    sim_init(&sim, 1);
    sim_start_server(&sim, 7);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_fini(&sim);
    return 0;
}

static void two_members_see_each_other(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "card of alice", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined, 1);
    assert_true(kh_addr_equal(&alice->mapped_addr, &alice->addr[0]));
    sim_join(&sim, bob, "card of bob", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_true(sim_sees(alice, bob, "card of bob"));
    assert_true(sim_sees(bob, alice, "card of alice"));
    assert_true(kh_addr_equal(&sim_known(bob, alice)->public, &alice->addr[0]));
    assert_int_equal(alice->member_events, 1);
    assert_int_equal(bob->member_events, 1);
    assert_int_equal(sim_stats(&sim).members, 2);
    assert_int_equal(sim_stats(&sim).rooms, 1);
    assert_int_equal(sim.amplified, 0);
}

static void first_visit_takes_two_round_trips(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);
    kh_time start;

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    start = sim.now;
    sim_join(&sim, bob, "b", "first words");
    sim_run(&sim, 2 * ROUND_TRIP - 1);
    assert_int_equal(alice->signal_count, 0);
    sim_run(&sim, 1);
    assert_true(sim_sees(alice, bob, "b"));
    assert_true(sim_sees(bob, alice, "a"));
    assert_int_equal(alice->signal_count, 1);
    assert_string_equal(alice->signals[0], "first words");
    assert_true(kh_rendezvous_member_equal(&alice->signal_from[0], &bob->id));
    assert_int_equal(alice->signal_at[0] - start, 2 * ROUND_TRIP);
}

static void remembered_ticket_takes_one_round_trip(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob;
    kh_time start;

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    /* A nonce is bound to the IP, not to the port: the next run has another socket. */
    bob = sim_add(&sim, &alice->ticket);
    bob->addr[0] = alice->addr[0];
    bob->addr[0].port++;
    start = sim.now;
    sim_join(&sim, bob, "b", "first words");
    sim_run(&sim, ROUND_TRIP);
    assert_true(sim_sees(alice, bob, "b"));
    assert_string_equal(alice->signals[0], "first words");
    assert_int_equal(alice->signal_at[0] - start, ROUND_TRIP);
    assert_int_equal(bob->joined, 1);
    assert_int_equal(sim_stats(&sim).challenges, 1);
}

static void stale_ticket_costs_one_round_trip_more(void **state)
{
    struct kh_rendezvous_ticket ticket = {.nonce = {1, 2, 3}, .nonce_len = 20};
    struct sim_host *bob;

    (void)state;
    ticket.server = sim.servers[0];
    bob = sim_add(&sim, &ticket);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, 2 * ROUND_TRIP);
    assert_int_equal(bob->joined, 1);
}

static void signals_reach_one_or_all_but_never_oneself(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);
    struct sim_host *carol = sim_add(&sim, NULL);

    (void)state;
    sim_say(&sim, alice, NULL, "before joined", 1);
    sim_join(&sim, bob, "b", NULL);
    sim_join(&sim, carol, "c", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_string_equal(bob->signals[0], "before joined");
    assert_string_equal(carol->signals[0], "before joined");
    sim_say(&sim, alice, bob, "for bob", 2);
    sim_run(&sim, KH_SECONDS(1));
    assert_string_equal(bob->signals[1], "for bob");
    assert_int_equal(bob->signal_count, 2);
    assert_int_equal(carol->signal_count, 1);
    assert_int_equal(alice->signal_count, 0);
    assert_int_equal(alice->lost, 0);
    sim_say(&sim, alice, alice, "for nobody", 3);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->lost, 1);
    assert_int_equal(alice->lost_token, 3);
}

/* Wherever she is and moves to; and what is not told costs no push. */
static void who_hides_is_told_without_an_address(void **state)
{
    struct kh_rendezvous_client_config config = {.hidden = true, .room_seed = sim.room_seed};
    struct sim_host *bob = sim_add(&sim, NULL);
    struct sim_host *alice;
    uint64_t pushes;

    (void)state;
    config.servers[config.server_count++] = sim.servers[0];
    alice = sim_add_config(&sim, &config);
    sim_join(&sim, bob, "b", NULL);
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_true(sim_sees(bob, alice, "a"));
    assert_true(kh_addr_is_none(&sim_known(bob, alice)->public));
    assert_true(kh_addr_equal(&sim_known(alice, bob)->public, &bob->addr[0]));
    pushes = sim_stats(&sim).pushes_sent;
    alice->addr[0].port++;
    sim_probe(&sim, alice);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->mapped, 1);
    assert_int_equal(sim_stats(&sim).pushes_sent, pushes);
    sim_card(&sim, alice, "a2");
    sim_run(&sim, KH_SECONDS(1));
    assert_true(sim_sees(bob, alice, "a2"));
    assert_true(kh_addr_is_none(&sim_known(bob, alice)->public));
}

static void leaving_is_told_at_once(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_leave(&sim, bob);
    sim_run(&sim, ROUND_TRIP);
    assert_int_equal(bob->left, 1);
    assert_true(sim_known(alice, bob)->gone);
    assert_int_equal(sim_stats(&sim).members, 1);
    assert_int_equal(sim_stats(&sim).leaves, 1);
    sim_leave(&sim, alice);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(sim_stats(&sim).rooms, 0);
}

static void new_cards_are_pushed(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a1", NULL);
    sim_join(&sim, bob, "b1", NULL);
    sim_card(&sim, alice, "a2"); /* while joining */
    sim_run(&sim, KH_SECONDS(1));
    assert_true(sim_sees(bob, alice, "a2"));
    sim_card(&sim, alice, "a3");
    sim_run(&sim, ROUND_TRIP);
    assert_true(sim_sees(bob, alice, "a3"));
}

static void silent_member_expires(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(120));
    assert_int_equal(sim_stats(&sim).members, 2); /* updates keep them */
    sim.host_count = 1;                           /* Bob's machine dies */
    kh_rendezvous_client_free(bob->client);
    bob->client = NULL;
    sim_run(&sim, KH_SECONDS(61));
    assert_int_equal(sim_stats(&sim).expiries, 1);
    assert_int_equal(alice->gone_events, 1);
    assert_true(sim_known(alice, bob)->gone);
}

/* Joins and gives the other place of the server that the member was told of. */
static struct kh_addr told_of(const struct kh_addr *at, const struct kh_addr *other)
{
    struct sim_host *host;

    sim_stop_server(&sim);
    sim.registry_config.alternates[0] = (struct kh_rendezvous_alternate){*at, *other};
    sim.registry_config.alternate_count = 1;
    sim_start_server(&sim, 7);
    host = sim_add(&sim, NULL);
    sim_join(&sim, host, "card", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(host->joined, 1);
    return host->other;
}

static void members_are_told_of_another_place_of_the_server(void **state)
{
    const struct kh_addr joined = kh_addr_ipv4(203, 0, 113, 1, 3478);
    const struct kh_addr second = kh_addr_ipv4(203, 0, 113, 2, 3479);
    const struct kh_addr inside = kh_addr_ipv4(10, 0, 0, 2, 3479);
    const struct kh_addr any = kh_addr_ipv4(0, 0, 0, 0, 3478);
    const struct kh_addr any_second = kh_addr_ipv4(0, 0, 0, 0, 65535);
    const struct kh_addr same = kh_addr_ipv4(203, 0, 113, 1, 65535);
    const struct kh_addr own_port = kh_addr_ipv4(203, 0, 113, 1, 3479);
    struct kh_addr told;

    (void)state;
    told = told_of(&joined, &second);
    assert_true(kh_addr_equal(&told, &second));
    told = told_of(&any, &any_second);
    assert_true(kh_addr_equal(&told, &same));
    /* It does not know its outside address, or lies: only the port is believed. */
    told = told_of(&joined, &inside);
    assert_true(kh_addr_equal(&told, &own_port));
    /* Nothing to compare with, and nothing for who joined elsewhere. */
    told = told_of(&joined, &joined);
    assert_true(kh_addr_is_none(&told));
    told = told_of(&second, &joined);
    assert_true(kh_addr_is_none(&told));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_members_see_each_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(first_visit_takes_two_round_trips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(remembered_ticket_takes_one_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stale_ticket_costs_one_round_trip_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signals_reach_one_or_all_but_never_oneself, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(members_are_told_of_another_place_of_the_server, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_hides_is_told_without_an_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaving_is_told_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(new_cards_are_pushed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silent_member_expires, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
