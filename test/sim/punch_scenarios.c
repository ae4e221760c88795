/* sim/punch_scenarios.c - the stories of punching: what it reaches, keeps, gives back and never
 * does.
 *
 * SPDX-License-Identifier: MIT
 *
 * How long it takes, pair by pair, is measured in pairs.c; that it is no storm is watched at every
 * step of every run (watch.c).
 */
#include "sim/scenario.h"

#define PUNCHED_WITHIN                                                                             \
    KH_SECONDS(60) /* one birthday in three thousand fails, and is tried again                     \
                    */

struct pair {
    int alice, bob;
    int alice_box, bob_box;
};

static struct pair add_pair(struct sim *sim, const char *kind_a, const char *kind_b)
{
    struct pair pair;

    sim_add_relay(sim);
    pair.alice_box = sim_add_site(sim, kind_a);
    pair.bob_box = sim_add_site(sim, kind_b);
    pair.alice = sim_add_member(sim, "alice", pair.alice_box);
    pair.bob = sim_add_member(sim, "bob", pair.bob_box);
    return pair;
}

static bool is_direct_to(struct sim *sim, int a, int b)
{
    const struct kh_ice_path *path = &sim_contact(sim, a, b)->path;

    return sim_contact(sim, a, b)->path_at != KH_NEVER && path->local_kind != KH_ICE_RELAYED &&
           path->remote_kind != KH_ICE_RELAYED;
}

/* Of the first two members. */
static bool is_punched(struct sim *sim)
{
    return is_direct_to(sim, 0, 1) && is_direct_to(sim, 1, 0);
}

/* Talks all the while, by the relay and then directly: all of it arrives once (watch.c). */
static bool punch(struct sim *sim, const struct pair *pair)
{
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    for (int i = 0; i < 30 && !is_punched(sim); i++) {
        sim_say(sim, pair->alice);
        sim_say(sim, pair->bob);
        CHECK(sim_run(sim, KH_SECONDS(2)));
    }
    CHECK(is_punched(sim));
    return talk(sim, pair->alice, pair->bob);
}

static bool join_and_punch(struct sim *sim, const struct pair *pair)
{
    sim_join(sim, pair->alice);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, pair->bob);
    return punch(sim, pair);
}

/* A word by the server, openers, probes, checks and answers: each may be lost. */
SCENARIO(a_birthday_with_loss)
{
    struct pair pair;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(20),
                                         .jitter = KH_MILLISECONDS(10),
                                         .loss = 0.05,
                                         .duplication = 0.02});
    pair = add_pair(sim, "symmetric-random", "port-restricted");
    return join_and_punch(sim, &pair);
}

SCENARIO(a_prediction_with_loss)
{
    struct pair pair;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(20),
                                         .jitter = KH_MILLISECONDS(10),
                                         .loss = 0.05});
    pair = add_pair(sim, "symmetric-stride", "port-restricted-random");
    return join_and_punch(sim, &pair);
}

/* Samples go out of date when datagrams overtake each other; then fresh ones are taken. */
SCENARIO(two_that_count_with_jitter)
{
    struct pair pair;

    sim_set_line(sim,
                 &(struct net_line){.delay = KH_MILLISECONDS(20), .jitter = KH_MILLISECONDS(5)});
    pair = add_pair(sim, "symmetric-sequential", "symmetric-stride");
    return join_and_punch(sim, &pair);
}

/* One address cannot tell whether a mapping depends on the address: then it is guessed, or learned
 * from a peer. */
SCENARIO(with_a_server_of_one_address)
{
    static const char *const hard[] = {"symmetric-random", "symmetric-sequential",
                                       "symmetric-block", "address-dependent"};
    struct pair pair;

    sim_use_one_address(sim);
    pair = add_pair(sim, hard[dice_below(sim_dice(sim), 4)],
                    dice_chance(sim_dice(sim), 0.5) ? "port-restricted" : "port-restricted-random");
    return join_and_punch(sim, &pair);
}

/* Alice is seen by the server at her IPv6 address, and Bob has none: it is her answer to a check of
 * his relay that proves where she is. */
SCENARIO(who_joins_by_ipv6_is_punched_too)
{
    bool is_hard = dice_chance(sim_dice(sim), 0.5);
    struct pair pair = add_pair(sim, is_hard ? "symmetric-random" : "port-restricted",
                                is_hard ? "port-restricted" : "symmetric-random");
    struct kh_addr none = {0}, server = kh_addr_ipv4(203, 0, 113, 1, 0);
    struct kh_addr outside = sim_public_addr(sim, pair.alice);

    sim_add_ipv6(sim, pair.alice);
    net_set_apart(sim_net(sim), &outside, &server);
    sim_join(sim, pair.alice);
    CHECK(sim_run(sim, KH_MILLISECONDS(300)));
    net_set_apart(sim_net(sim), &none, &none);
    sim_join(sim, pair.bob);
    return punch(sim, &pair);
}

/* The sockets that did not win are closed. */
SCENARIO(spare_sockets_are_given_back)
{
    struct pair pair = add_pair(sim, "symmetric-random", "port-restricted");

    CHECK(join_and_punch(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(5)));
    CHECK(sim_spare_sockets(sim, pair.alice) <= 1); /* the one that won, if not the main one did */
    CHECK(sim_spare_sockets(sim, pair.bob) == 0);
    return true;
}

SCENARIO(a_punched_path_is_kept_through_a_quiet_hour)
{
    struct pair pair = add_pair(sim, "port-restricted", "symmetric-random");
    uint64_t begun;

    CHECK(join_and_punch(sim, &pair));
    begun = sim_punches(sim, pair.alice).begun + sim_punches(sim, pair.bob).begun;
    CHECK(sim_run(sim, KH_SECONDS(3600)));
    CHECK(is_punched(sim));
    CHECK(sim_punches(sim, pair.alice).begun + sim_punches(sim, pair.bob).begun == begun);
    return talk(sim, pair.alice, pair.bob);
}

/* The NAT of either forgets all its mappings: the relay carries on, and the hole is made anew. */
SCENARIO(a_forgotten_hole_is_punched_again)
{
    struct pair pair = add_pair(sim, "symmetric-random", "port-restricted-random");

    CHECK(join_and_punch(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(5))); /* until the punch is over */
    nat_rebind(
        net_nat(sim_net(sim), dice_chance(sim_dice(sim), 0.5) ? pair.alice_box : pair.bob_box));
    sim_say(sim, pair.alice);
    sim_say(sim, pair.bob);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(20)));
    CHECK(sim_run(sim, KH_SECONDS(90)));
    CHECK(is_punched(sim));
    CHECK(sim_punches(sim, pair.alice).begun >= 2);
    CHECK(sim_run(sim, KH_SECONDS(45)));
    CHECK(sim_spare_sockets(sim, pair.alice) <= 1);
    return talk(sim, pair.alice, pair.bob);
}

/* Three who draw ports and one who does not: he is asked by all three at once, and takes them one
 * after the other; among themselves they use the relay. */
SCENARIO(many_hard_ones_around_a_shy_one)
{
    int bob;

    sim_add_relay(sim);
    bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));
    for (int i = 0; i < 3; i++)
        sim_add_member(sim, (const char *[]){"ann", "cid", "dee"}[i],
                       sim_add_site(sim, "symmetric-random"));
    for (int i = 0; i < 4; i++)
        sim_join(sim, i);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(5)));
    CHECK(sim_run(sim, KH_SECONDS(120)));
    for (int i = 1; i < 4; i++)
        CHECK(is_direct_to(sim, bob, i) && is_direct_to(sim, i, bob));
    for (int i = 0; i < 4; i++)
        sim_say(sim, i);
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(5));
}

/* Half of a block at most, whatever happens: Alice holds, or each probe costs Bob a mapping. */
SCENARIO(a_block_is_not_emptied)
{
    bool holds = dice_chance(sim_dice(sim), 0.5);
    struct pair pair =
        add_pair(sim, "symmetric-block", holds ? "port-restricted" : "address-dependent");
    const struct nat *nat = net_nat(sim_net(sim), pair.alice_box);

    sim_join(sim, pair.alice);
    sim_join(sim, pair.bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(25)));
    CHECK(nat_stats(nat).mappings_made <= nat_config_of(nat)->block / 2u + 40u);
    CHECK(!holds || is_punched(sim));
    return talk(sim, pair.alice, pair.bob);
}

/* New mappings of the holder against the same ones of the prober, whose block loses no more. */
SCENARIO(few_probes_are_repeated_at_once)
{
    struct pair pair = add_pair(sim, "symmetric-block", "address-dependent");
    struct kh_addr a = sim_public_addr(sim, pair.alice), b = sim_public_addr(sim, pair.bob);
    const struct nat *nat = net_nat(sim_net(sim), pair.alice_box);

    net_set_apart(sim_net(sim), &a, &b); /* so that none of them hits */
    sim_join(sim, pair.alice);
    sim_join(sim, pair.bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(30)));
    CHECK(sim_punches(sim, pair.alice).begun >= 4 && sim_punches(sim, pair.bob).begun >= 4);
    CHECK(nat_stats(nat).mappings_made <= nat_config_of(nat)->block / 2u + 40u);
    return talk(sim, pair.alice, pair.bob);
}

SCENARIO(who_forbids_punching_is_relayed)
{
    struct pair pair = add_pair(sim, "symmetric-random", "port-restricted");
    bool alice_forbids = dice_chance(sim_dice(sim), 0.5);

    sim_forbid_punching(sim, alice_forbids ? pair.alice : pair.bob);
    sim_join(sim, pair.alice);
    sim_join(sim, pair.bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(!is_punched(sim));
    CHECK(sim_punches(sim, alice_forbids ? pair.alice : pair.bob).begun == 0);
    CHECK(sim_punches(sim, pair.bob).probes == 0);
    return talk(sim, pair.alice, pair.bob);
}

/* It pauses longer and longer, and each time sends no more than is allowed. */
SCENARIO(a_hopeless_punch_is_tried_ever_more_rarely)
{
    struct pair pair = add_pair(sim, "symmetric-random", "port-restricted");
    struct kh_addr a = sim_public_addr(sim, pair.alice), b = sim_public_addr(sim, pair.bob);
    struct kh_node_punch_stats bob;

    net_set_apart(sim_net(sim), &a, &b); /* nothing passes between them but what a relay carries */
    sim_join(sim, pair.alice);
    sim_join(sim, pair.bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(900)));
    bob = sim_punches(sim, pair.bob);
    CHECK(bob.begun >= 3 && bob.begun <= 6);
    CHECK(bob.probes <= bob.begun * 2048);
    CHECK(bob.succeeded == 0 && !is_punched(sim));
    return talk(sim, pair.alice, pair.bob);
}

/* clang-format off */
#define NAMED(name) {#name, name, NULL, NULL}
static const struct scenario scenarios[] = {
    NAMED(a_birthday_with_loss),
    NAMED(a_prediction_with_loss),
    NAMED(two_that_count_with_jitter),
    NAMED(with_a_server_of_one_address),
    NAMED(who_joins_by_ipv6_is_punched_too),
    NAMED(spare_sockets_are_given_back),
    NAMED(a_punched_path_is_kept_through_a_quiet_hour),
    NAMED(a_forgotten_hole_is_punched_again),
    NAMED(many_hard_ones_around_a_shy_one),
    NAMED(a_block_is_not_emptied),
    NAMED(few_probes_are_repeated_at_once),
    NAMED(who_forbids_punching_is_relayed),
    NAMED(a_hopeless_punch_is_tried_ever_more_rarely),
};
/* clang-format on */

const struct scenario *scenario_of_punching(size_t n)
{
    return n < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[n] : NULL;
}
