/* rendezvous/trouble_test.c - clients and a registry face to face: bad networks and bad days.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "rendezvous/wire_sim_test.h"

static struct sim sim;

static int set_up(void **state)
{
    (void)state;
    sim_init(&sim, 2);
    sim_start_server(&sim, 7);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_fini(&sim);
    return 0;
}

static bool all_see_all(struct sim *of)
{
    for (size_t i = 0; i < of->host_count; i++) {
        for (size_t j = 0; j < of->host_count; j++) {
            const struct sim_member *known = sim_known(&of->hosts[i], &of->hosts[j]);

            if (i != j && (known == NULL || known->gone))
                return false;
        }
    }
    return true;
}

static void full_room_sees_itself_through_a_bad_wire(void **state)
{
    (void)state;
    sim.loss = 30;
    sim.doubling = 10;
    sim.jitter = KH_MILLISECONDS(60);
    for (size_t i = 0; i < SIM_HOSTS_MAX; i++) {
        char card[16];

        snprintf(card, sizeof card, "card %zu", i);
        sim_join(&sim, sim_add(&sim, NULL), card, "hello");
    }
    assert_true(sim_run_until(&sim, all_see_all, KH_SECONDS(20)));
    sim_run(&sim, KH_SECONDS(30));
    for (size_t i = 0; i < SIM_HOSTS_MAX; i++) {
        assert_int_equal(sim.hosts[i].joined, 1);
        assert_int_equal(sim.hosts[i].gone_events, 0);
        assert_int_equal(sim.hosts[i].member_events, SIM_HOSTS_MAX - 1);
    }
    assert_int_equal(sim.amplified, 0);
}

static void overtaking_costs_no_timer(void **state)
{
    (void)state;
    sim.jitter = KH_MILLISECONDS(10);
    for (size_t i = 0; i < 8; i++)
        sim_join(&sim, sim_add(&sim, NULL), "card", NULL);
    /* Nonce and join: two round trips of at most 60 ms, whatever overtakes whatever. */
    assert_true(sim_run_until(&sim, all_see_all, 4 * (sim.delay + sim.jitter)));
}

static void room_of_cards_that_fill_a_datagram_is_told_whole(void **state)
{
    static char big[KH_RENDEZVOUS_CARD_MAX + 1];

    (void)state;
    memset(big, 'x', KH_RENDEZVOUS_CARD_MAX);
    sim.loss = 20;
    for (size_t i = 0; i < 32; i++)
        sim_join(&sim, sim_add(&sim, NULL), big, big);
    assert_true(sim_run_until(&sim, all_see_all, KH_SECONDS(30)));
}

static void signals_arrive_once_through_a_bad_wire(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim.doubling = 100;
    sim.jitter = KH_MILLISECONDS(200);
    sim_say(&sim, alice, bob, "one", 1);
    sim_say(&sim, alice, NULL, "two", 2);
    sim_run(&sim, KH_SECONDS(10));
    assert_int_equal(bob->signal_count, 2);
    assert_int_equal(sim_stats(&sim).signals_forwarded, 2);
    assert_true(sim_stats(&sim).dropped_replayed > 0);
}

static void server_restart_is_survived(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_stop_server(&sim);
    sim_run(&sim, KH_SECONDS(60));
    assert_int_equal(alice->unreachable, 1);
    sim_start_server(&sim, 8);
    sim_run(&sim, KH_SECONDS(10));
    assert_int_equal(alice->joined, 2);
    assert_int_equal(bob->joined, 2);
    assert_int_equal(sim_stats(&sim).members, 2);
    sim_card(&sim, bob, "b2");
    sim_run(&sim, KH_SECONDS(1));
    assert_true(sim_sees(alice, bob, "b2"));
    assert_int_equal(alice->gone_events, 0); /* nobody left: the server only forgot */
    sim_run(&sim, KH_SECONDS(60));
    assert_int_equal(alice->gone_events, 0);
    assert_int_equal(alice->unreachable, 1);
}

static void member_that_does_not_come_back_after_a_restart_is_gone(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_stop_server(&sim);
    sim_leave(&sim, bob);
    sim_run(&sim, KH_SECONDS(10));
    assert_int_equal(bob->left, 1);
    sim_start_server(&sim, 8);
    sim_run(&sim, KH_SECONDS(30));
    assert_int_equal(alice->joined, 2);
    sim_run(&sim, KH_SECONDS(60));
    assert_int_equal(alice->gone_events, 1);
}

static void client_without_server_keeps_trying(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);

    (void)state;
    sim_stop_server(&sim);
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(3) - 1);
    assert_int_equal(alice->unreachable, 0);
    sim_run(&sim, KH_SECONDS(300));
    assert_int_equal(alice->unreachable, 1);
    assert_in_range(sim.to_server, 55, 75); /* one each 5 s, and a few quick ones */
    sim_start_server(&sim, 8);
    sim_run(&sim, KH_SECONDS(6));
    assert_int_equal(alice->joined, 1);
}

static void nat_rebinding_moves_the_member(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    alice->addr[0].port = 50000;
    sim_run(&sim, KH_SECONDS(21));
    assert_int_equal(alice->mapped, 1);
    assert_true(kh_addr_equal(&alice->mapped_addr, &alice->addr[0]));
    assert_true(kh_addr_equal(&sim_known(bob, alice)->public, &alice->addr[0]));
    assert_int_equal(alice->joined, 1);
}

static void new_network_moves_the_member_after_one_challenge(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    alice->addr[0] = kh_addr_ipv4(192, 0, 2, 99, 1234);
    sim_probe(&sim, alice);
    sim_run(&sim, KH_MILLISECONDS(60));
    assert_true(kh_addr_equal(&sim_known(bob, alice)->public, &bob->addr[0]) == false);
    assert_int_equal(alice->mapped, 0);
    sim_run(&sim, KH_MILLISECONDS(60));
    assert_int_equal(alice->mapped, 1);
    assert_true(kh_addr_equal(&sim_known(bob, alice)->public, &alice->addr[0]));
    sim_say(&sim, bob, alice, "found you", 1);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->signal_count, 1);
}

static void signal_from_a_new_network_arrives_too(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    alice->addr[0] = kh_addr_ipv4(192, 0, 2, 99, 1234);
    sim_say(&sim, alice, NULL, "from a train", 1);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(bob->signal_count, 1);
    assert_int_equal(alice->lost, 0);
    sim_leave(&sim, alice);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(bob->gone_events, 1);
}

static void expired_member_joins_again_by_itself(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim.loss = 100; /* the lid of the laptop is closed */
    sim_run(&sim, KH_SECONDS(90));
    assert_int_equal(sim_stats(&sim).expiries, 2);
    sim.loss = 0;
    sim_run(&sim, KH_SECONDS(10));
    assert_int_equal(alice->joined, 2);
    assert_true(sim_sees(bob, alice, "a"));
    assert_true(sim_sees(alice, bob, "b"));
}

static struct sim_host *add_with_two_families(void)
{
    struct kh_rendezvous_client_config config = {
        .servers = {sim.servers[1], sim.servers[0]}, .server_count = 2, .room_seed = sim.room_seed};

    return sim_add_config(&sim, &config);
}

static void dead_family_costs_a_moment_only(void **state)
{
    struct kh_rendezvous_client_config config = {.server_count = 2, .room_seed = sim.room_seed};
    struct sim_host *alice;
    kh_time start = sim.now;

    (void)state;
    sim.ipv4_down = true;
    config.servers[0] = sim.servers[0];
    config.servers[1] = sim.servers[1];
    alice = sim_add_config(&sim, &config);
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->joined_at - start, KH_MILLISECONDS(75 + 80));
}

static void member_moves_to_the_family_that_still_works(void **state)
{
    struct kh_rendezvous_client_config config = {
        .servers = {sim.servers[0], sim.servers[1]}, .server_count = 2, .room_seed = sim.room_seed};
    struct sim_host *alice = sim_add_config(&sim, &config);
    struct sim_host *bob = add_with_two_families();

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(sim_known(bob, alice)->public.family, KH_FAMILY_IPV4);
    sim.ipv4_down = true;
    sim_run(&sim, KH_SECONDS(40));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(sim_known(bob, alice)->public.family, KH_FAMILY_IPV6);
    assert_int_equal(sim_stats(&sim).members, 2);
}

static void early_words_that_do_not_fit_the_join_follow_it(void **state)
{
    static char card[KH_RENDEZVOUS_CARD_MAX + 1];
    static char early[501];
    struct sim_host *alice = sim_add(&sim, NULL);
    struct sim_host *bob = sim_add(&sim, NULL);

    (void)state;
    memset(card, 'c', sizeof card - 1);
    memset(early, 'e', sizeof early - 1);
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_join(&sim, bob, card, early);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->signal_count, 1);
    assert_memory_equal(alice->signals[0], early, 31);
}

static void goodbye_to_a_silent_server_ends(void **state)
{
    struct sim_host *alice = sim_add(&sim, NULL);

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_stop_server(&sim);
    sim_leave(&sim, alice);
    sim_run(&sim, KH_MILLISECONDS(1499));
    assert_int_equal(alice->left, 0);
    sim_run(&sim, KH_MILLISECONDS(1));
    assert_int_equal(alice->left, 1);
    assert_int_equal(kh_rendezvous_client_state(alice->client), KH_RENDEZVOUS_LEFT);
    assert_int_equal(kh_rendezvous_client_timeout(alice->client), KH_NEVER);
}

static void full_room_refuses_the_next(void **state)
{
    struct sim_host *alice, *bob, *carol;

    (void)state;
    sim_stop_server(&sim);
    sim.registry_config.room_members_max = 2;
    sim_start_server(&sim, 9);
    alice = sim_add(&sim, NULL);
    bob = sim_add(&sim, NULL);
    carol = sim_add(&sim, NULL);
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_join(&sim, carol, "c", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(carol->refused, KH_RENDEZVOUS_ERROR_ROOM_FULL);
    assert_int_equal(sim_stats(&sim).members, 2);
}

static void full_server_refuses_the_next(void **state)
{
    struct sim_host *alice, *bob;

    (void)state;
    sim_stop_server(&sim);
    sim.registry_config.members_max = 1;
    sim_start_server(&sim, 9);
    alice = sim_add(&sim, NULL);
    bob = sim_add(&sim, NULL);
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(bob->refused, KH_RENDEZVOUS_ERROR_SERVER_FULL);
}

static void flood_of_signals_is_limited_but_arrives(void **state)
{
    struct sim_host *alice, *bob;

    (void)state;
    sim_stop_server(&sim);
    sim.registry_config.signals_per_second = 2; /* a burst of 8 */
    sim_start_server(&sim, 9);
    alice = sim_add(&sim, NULL);
    bob = sim_add(&sim, NULL);
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    for (uint64_t i = 0; i < 12; i++)
        sim_say(&sim, alice, NULL, "flood", i);
    sim_run(&sim, KH_MILLISECONDS(100));
    assert_int_equal(bob->signal_count, 8);
    assert_int_equal(sim_stats(&sim).dropped_limited, 4);
    sim_run(&sim, KH_SECONDS(10));
    assert_int_equal(bob->signal_count, 12);
    assert_int_equal(alice->lost, 0);
}

/* Everyone in the room is told of each card: they cost as much as signals. */
static void flood_of_cards_is_limited_but_the_last_one_arrives(void **state)
{
    struct sim_host *alice, *bob;
    char card[8] = "a00";

    (void)state;
    sim_stop_server(&sim);
    sim.registry_config.signals_per_second = 2; /* a burst of 8 */
    sim_start_server(&sim, 9);
    alice = sim_add(&sim, NULL);
    bob = sim_add(&sim, NULL);
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    for (int i = 0; i < 40; i++) {
        snprintf(card, sizeof card, "a%02d", i);
        sim_card(&sim, alice, card);
        sim_run(&sim, KH_MILLISECONDS(10));
    }
    assert_int_equal(sim_stats(&sim).updates, 8);
    sim_run(&sim, KH_SECONDS(15));
    assert_true(sim_sees(bob, alice, "a39"));
}

static void equal_seeds_give_equal_runs(void **state)
{
    uint64_t sent[2];

    (void)state;
    for (size_t run = 0; run < 2; run++) {
        sim_fini(&sim);
        sim_init(&sim, 5);
        sim_start_server(&sim, 7);
        sim.loss = 20;
        sim.jitter = KH_MILLISECONDS(30);
        for (size_t i = 0; i < 8; i++)
            sim_join(&sim, sim_add(&sim, NULL), "card", NULL);
        sim_run(&sim, KH_SECONDS(60));
        sent[run] = sim.to_server * 1000000 + sim.to_clients;
    }
    assert_int_equal(sent[0], sent[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(full_room_sees_itself_through_a_bad_wire),
        TEST(overtaking_costs_no_timer),
        TEST(room_of_cards_that_fill_a_datagram_is_told_whole),
        TEST(signals_arrive_once_through_a_bad_wire),
        TEST(server_restart_is_survived),
        TEST(member_that_does_not_come_back_after_a_restart_is_gone),
        TEST(client_without_server_keeps_trying),
        TEST(nat_rebinding_moves_the_member),
        TEST(new_network_moves_the_member_after_one_challenge),
        TEST(signal_from_a_new_network_arrives_too),
        TEST(expired_member_joins_again_by_itself),
        TEST(dead_family_costs_a_moment_only),
        TEST(member_moves_to_the_family_that_still_works),
        TEST(early_words_that_do_not_fit_the_join_follow_it),
        TEST(goodbye_to_a_silent_server_ends),
        TEST(full_room_refuses_the_next),
        TEST(full_server_refuses_the_next),
        TEST(flood_of_signals_is_limited_but_arrives),
        TEST(flood_of_cards_is_limited_but_the_last_one_arrives),
        TEST(equal_seeds_give_equal_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
