/* rendezvous/attentive_test.c - clients that depend on their server notice soon what befell it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rendezvous/wire_sim_test.h"

#define ROUND_TRIP (2 * sim.delay)
#define REFRESH KH_MILLISECONDS(1500)
#define RETRY KH_SECONDS(1)

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

/* One that knows the server by UDP and TCP. */
static struct sim_host *add_both(void)
{
    struct kh_rendezvous_client_config config = {.room_seed = sim.room_seed, .server_count = 2};

    config.servers[0] = config.servers[1] = sim.servers[0];
    config.servers[1].transport = KH_TCP;
    return sim_add_config(&sim, &config);
}

static struct sim_host *join(const char *card)
{
    struct sim_host *host = sim_add(&sim, NULL);

    sim_join(&sim, host, card, NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(host->joined, 1);
    return host;
}

static void who_depends_on_the_server_asks_it_often(void **state)
{
    struct sim_host *alice = join("a");
    uint64_t before;

    (void)state;
    before = sim.to_server;
    sim_run(&sim, KH_SECONDS(15));
    assert_int_equal(sim.to_server - before, 0);
    sim_attend(&sim, alice, true);
    before = sim.to_server;
    sim_run(&sim, KH_SECONDS(60));
    assert_in_range(sim.to_server - before, 40, 45);
    sim_attend(&sim, alice, false);
    before = sim.to_server;
    sim_run(&sim, KH_SECONDS(15));
    assert_int_equal(sim.to_server - before, 0);
    assert_int_equal(alice->joined, 1);
}

/* However short or long the server was away. */
static void a_restarted_server_is_joined_within_two_seconds(void **state)
{
    static const unsigned away[] = {0, 1, 5, 20, 300};

    (void)state;
    for (size_t i = 0; i < sizeof away / sizeof away[0]; i++) {
        struct sim_host *alice, *bob;

        sim_fini(&sim);
        sim_init(&sim, (uint8_t)(3 + i));
        sim_start_server(&sim, 7);
        alice = join("a");
        bob = join("b");
        sim_attend(&sim, alice, true);
        sim_attend(&sim, bob, true);
        sim_run(&sim, KH_SECONDS(10) + KH_MILLISECONDS(i * 300));
        sim_stop_server(&sim);
        sim_run(&sim, KH_SECONDS(away[i]));
        sim_start_server(&sim, 8);
        sim_run(&sim, REFRESH + 3 * ROUND_TRIP);
        assert_int_equal(alice->joined, 2);
        assert_int_equal(bob->joined, 2);
        assert_int_equal(alice->gone_events + bob->gone_events, 0);
    }
}

/* Each learns that the other is back, though nothing of it has changed. */
static void who_is_back_is_told(void **state)
{
    struct sim_host *alice = join("a");
    struct sim_host *bob = join("b");

    (void)state;
    assert_int_equal(alice->member_events, 1);
    assert_int_equal(alice->back_events, 0);
    sim_attend(&sim, alice, true);
    sim_stop_server(&sim);
    sim_start_server(&sim, 8);
    sim_run(&sim, KH_SECONDS(3));
    assert_int_equal(alice->joined, 2);
    assert_int_equal(alice->member_events, 1); /* Bob did not notice yet */
    sim_probe(&sim, bob);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->member_events, 2);
    assert_int_equal(alice->back_events, 1);
    assert_int_equal(bob->back_events, 1);
    sim_run(&sim, KH_SECONDS(60));
    assert_int_equal(alice->member_events, 2);
}

static void attention_comes_in_the_middle_of_a_long_silence(void **state)
{
    struct sim_host *alice = join("a");
    struct sim_host *bob;

    (void)state;
    sim_stop_server(&sim);
    bob = sim_add(&sim, NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(120));
    sim_attend(&sim, alice, true);
    sim_attend(&sim, bob, true);
    sim_start_server(&sim, 8);
    sim_run(&sim, RETRY + 3 * ROUND_TRIP);
    assert_int_equal(alice->joined, 2);
    assert_int_equal(bob->joined, 1);
}

static void a_silent_server_is_not_stormed(void **state)
{
    struct sim_host *alice = join("a");
    uint64_t before;

    (void)state;
    sim_attend(&sim, alice, true);
    sim_stop_server(&sim);
    sim_run(&sim, KH_SECONDS(60));
    before = sim.to_server;
    for (int i = 0; i < 600; i++) {
        sim_doubt(&sim, alice);
        sim_run(&sim, KH_MILLISECONDS(100));
    }
    assert_in_range(sim.to_server - before, 55, 70);
    assert_int_equal(alice->unreachable, 1);
}

/* The owner knows before us that nothing passes: TCP need not wait for a third attempt by UDP. */
static void doubt_finds_the_way_by_tcp_sooner(void **state)
{
    struct sim_host *alice = add_both();
    struct sim_host *bob = add_both();

    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(5));
    assert_int_equal(bob->mapped_addr.transport, KH_UDP);
    sim.udp_down = true;
    sim_say(&sim, alice, bob, "over the fence", 1);
    sim_doubt(&sim, alice);
    sim_doubt(&sim, bob);
    sim_run(&sim, KH_MILLISECONDS(700) + ROUND_TRIP);
    assert_int_equal(alice->mapped_addr.transport, KH_TCP);
    assert_int_equal(bob->mapped_addr.transport, KH_TCP);
    sim_run(&sim, ROUND_TRIP); /* what waited for an answer by UDP goes again at once */
    assert_string_equal(bob->signals[0], "over the fence");
    assert_int_equal(alice->joined, 1);
}

static void doubt_without_reason_costs_one_question(void **state)
{
    struct sim_host *alice = join("a");
    uint64_t before;

    (void)state;
    before = sim.to_server;
    for (int i = 0; i < 5; i++)
        sim_doubt(&sim, alice); /* the answer is under way */
    sim_run(&sim, KH_SECONDS(5));
    assert_int_equal(sim.to_server - before, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_depends_on_the_server_asks_it_often),
        TEST(a_restarted_server_is_joined_within_two_seconds),
        TEST(who_is_back_is_told),
        TEST(attention_comes_in_the_middle_of_a_long_silence),
        TEST(a_silent_server_is_not_stormed),
        TEST(doubt_finds_the_way_by_tcp_sooner),
        TEST(doubt_without_reason_costs_one_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
