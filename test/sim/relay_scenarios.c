/* sim/relay_scenarios.c - the stories of the relay: who uses it, who must, and who may not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/scenario.h"

/* What must hold for a relayed path: it is there this soon after the later start, at 20 ms. */
#define RELAYED_WITHIN KH_SECONDS(1)

struct pair {
    int alice, bob;
};

static struct pair add_pair(struct sim *sim, const char *kind_a, const char *kind_b)
{
    struct pair pair;

    pair.alice = sim_add_member(sim, "alice", sim_add_site(sim, kind_a));
    pair.bob = sim_add_member(sim, "bob", sim_add_site(sim, kind_b));
    return pair;
}

/* Alice, then Bob a second later. */
static bool join_both(struct sim *sim, const struct pair *pair)
{
    sim_join(sim, pair->alice);
    if (!sim_run(sim, KH_SECONDS(1)))
        return false;
    sim_join(sim, pair->bob);
    return true;
}

static bool is_relayed(struct sim *sim, int a, int b)
{
    const struct kh_ice_path *path = &sim_contact(sim, a, b)->path;

    return path->local_kind == KH_ICE_RELAYED || path->remote_kind == KH_ICE_RELAYED;
}

static bool is_open_by_relay(struct sim *sim, const struct pair *pair)
{
    int a = pair->alice, b = pair->bob;

    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(since_both(sim, a, b, sim_contact(sim, a, b)->path_at) <= RELAYED_WITHIN);
    CHECK(since_both(sim, a, b, sim_contact(sim, b, a)->path_at) <= RELAYED_WITHIN);
    CHECK(is_relayed(sim, a, b) && is_relayed(sim, b, a));
    return talk(sim, a, b);
}

static bool open_by_relay(struct sim *sim, const struct pair *pair)
{
    CHECK(join_both(sim, pair));
    return is_open_by_relay(sim, pair);
}

/* What no hole can be made through; and the relay sees no more of it than datagrams. */
SCENARIO(symmetric_pair_talks_through_the_relay)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    CHECK(open_by_relay(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(900))); /* longer than any permission, channel or allocation */
    return talk(sim, pair.alice, pair.bob);
}

SCENARIO(a_direct_path_is_better_than_the_relay)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted", "port-restricted");
    CHECK(join_both(sim, &pair));
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(5)));
    CHECK(!is_relayed(sim, pair.alice, pair.bob) && !is_relayed(sim, pair.bob, pair.alice));
    return talk(sim, pair.alice, pair.bob);
}

static bool is_relayed_again(struct sim *sim)
{
    return is_relayed(sim, 0, 1) || is_relayed(sim, 1, 0);
}

static bool is_direct_both_ways(struct sim *sim)
{
    return sim_all_direct(sim) && !is_relayed_again(sim);
}

/* An interface more or less, and all that a system says of its network, also while two are meeting:
 * a direct path that works stays. */
SCENARIO(news_that_change_nothing_do_not_move_a_good_path)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "restricted-cone", "symmetric-random");
    sim_add_ipv6(sim, pair.bob); /* and a relay of two families */
    CHECK(join_both(sim, &pair));
    for (int i = 0; i < 6; i++) {
        CHECK(sim_run(sim, dice_range(sim_dice(sim), 0, KH_MILLISECONDS(300))));
        sim_probe(sim, dice_chance(sim_dice(sim), 0.5) ? pair.alice : pair.bob);
    }
    CHECK(sim_run_until(sim, is_direct_both_ways, KH_SECONDS(2)));
    for (int i = 0; i < 6; i++) {
        sim_probe(sim, dice_chance(sim_dice(sim), 0.5) ? pair.alice : pair.bob);
        if (sim_run_until(sim, is_relayed_again,
                          dice_range(sim_dice(sim), KH_MILLISECONDS(10), KH_SECONDS(2))))
            return sim_fail(sim, "a direct path was left for the relay");
    }
    return talk(sim, pair.alice, pair.bob);
}

/* sim/watch.c sees every datagram: hers go to the server alone, and nobody sends her any. */
SCENARIO(who_wants_only_relays_is_known_to_nobody)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "full-cone", "port-restricted");
    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_RELAY);
    CHECK(open_by_relay(sim, &pair));
    CHECK(sim_contact(sim, pair.alice, pair.bob)->path.local_kind == KH_ICE_RELAYED);
    CHECK(sim_contact(sim, pair.bob, pair.alice)->path.remote_kind == KH_ICE_RELAYED);
    sim_probe(sim, pair.alice);
    CHECK(sim_run(sim, KH_SECONDS(700)));
    CHECK(sim_warnings(sim, pair.alice) == 0 && sim_warnings(sim, pair.bob) == 0);
    return talk(sim, pair.alice, pair.bob);
}

/* Neither where she moved to is told, nor anything by a server that forgot her. */
SCENARIO(who_wants_only_relays_stays_hidden_through_trouble)
{
    int alice, bob;

    sim_add_relay(sim);
    alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted-random"));
    bob = sim_add_member(sim, "bob", NET_INTERNET);
    sim_set_paths(sim, alice, KH_NODE_PATHS_RELAY);
    CHECK(join_both(sim, &(struct pair){alice, bob}));
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    sim_stop_server(sim);
    CHECK(sim_run(sim, KH_SECONDS(3)));
    sim_start_server(sim);
    CHECK(sim_run(sim, KH_SECONDS(120)));
    sim_say(sim, alice);
    sim_say(sim, bob);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(60)));
    return true;
}

SCENARIO(two_who_want_only_relays_meet_in_the_server)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted", "port-restricted");
    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_RELAY);
    sim_set_paths(sim, pair.bob, KH_NODE_PATHS_RELAY);
    CHECK(open_by_relay(sim, &pair));
    /* Nonce, join, allocation, card, half a check and the other half: seven round trips to the
     * server, and no 401 among them. */
    CHECK(since_both(sim, pair.alice, pair.bob, sim_contact(sim, pair.bob, pair.alice)->path_at) <=
          KH_MILLISECONDS(285));
    return true;
}

/* Along the one connection to the server, and by no other. */
SCENARIO(who_wants_only_relays_and_has_no_udp_is_relayed_too)
{
    struct pair pair;

    sim_add_relay(sim);
    sim_add_streams(sim);
    pair = add_pair(sim, "port-restricted", "full-cone");
    net_set_box_passes(sim_net(sim), 0, KH_UDP, false);
    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_RELAY);
    CHECK(join_both(sim, &pair));
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(since_both(sim, pair.alice, pair.bob, sim_contact(sim, pair.bob, pair.alice)->path_at) <=
          KH_SECONDS(2));
    CHECK(is_relayed(sim, pair.alice, pair.bob) && is_relayed(sim, pair.bob, pair.alice));
    CHECK(sim_contact(sim, pair.alice, pair.bob)->transport == KH_TCP);
    CHECK(sim_warnings(sim, pair.alice) == 0);
    CHECK(sim_run(sim, KH_SECONDS(700)));
    return talk(sim, pair.alice, pair.bob);
}

SCENARIO(who_wants_a_relay_where_none_is_is_told_once_and_heard)
{
    struct pair pair = add_pair(sim, "full-cone", "full-cone");

    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_RELAY);
    CHECK(join_both(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(10)));
    CHECK(talk(sim, pair.alice, pair.bob));
    CHECK(sim_run(sim, KH_SECONDS(100)));
    CHECK(sim_warnings(sim, pair.alice) == 1 && sim_warnings(sim, pair.bob) == 0);
    CHECK(sim_contact(sim, pair.bob, pair.alice)->path_at == KH_NEVER);
    return talk(sim, pair.alice, pair.bob);
}

/* One who forbids relays has none to offer, and is sent nothing by that of the other. */
SCENARIO(who_forbids_relays_is_reached_through_none)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_DIRECT);
    CHECK(join_both(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(talk(sim, pair.alice, pair.bob));
    CHECK(sim_contact(sim, pair.alice, pair.bob)->path_at == KH_NEVER ||
          !is_relayed(sim, pair.alice, pair.bob));
    CHECK(sim_contact(sim, pair.bob, pair.alice)->path_at == KH_NEVER ||
          !is_relayed(sim, pair.bob, pair.alice));
    return true;
}

SCENARIO(only_relays_and_no_relays_talk_by_signals)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "full-cone", "full-cone");
    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_DIRECT);
    sim_set_paths(sim, pair.bob, KH_NODE_PATHS_RELAY);
    CHECK(join_both(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(sim_warnings(sim, pair.alice) == 1 && sim_warnings(sim, pair.bob) == 1);
    CHECK(sim_contact(sim, pair.alice, pair.bob)->path_at == KH_NEVER);
    return talk(sim, pair.alice, pair.bob);
}

/* RFC 8016: new ports, the same place at the relay, and nobody else has to know. */
SCENARIO(a_nat_that_forgets_costs_no_place_at_the_relay)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    sim_set_paths(sim, pair.alice, KH_NODE_PATHS_RELAY); /* so that both need theirs */
    sim_set_paths(sim, pair.bob, KH_NODE_PATHS_RELAY);
    CHECK(open_by_relay(sim, &pair));
    for (int i = 0; i < 5; i++) {
        nat_rebind(net_nat(sim_net(sim), i % 2));
        CHECK(talk(sim, pair.alice, pair.bob));
        CHECK(sim_run(sim, KH_SECONDS(100)));
        CHECK(is_relayed(sim, pair.alice, pair.bob));
    }
    CHECK(sim_allocated(sim) == 2);
    return talk(sim, pair.alice, pair.bob);
}

/* ---- a relay elsewhere ---- */

SCENARIO(a_relay_elsewhere_is_used_where_the_server_has_none)
{
    struct pair pair;

    sim_add_relay_elsewhere(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    CHECK(open_by_relay(sim, &pair));
    CHECK(sim_allocations_elsewhere(sim) == 2);
    CHECK(sim_run(sim, KH_SECONDS(900)));
    CHECK(sim_allocations_elsewhere(sim) >= 1);
    return talk(sim, pair.alice, pair.bob);
}

/* After two hours the credentials of the join are over, for they are good for one. */
SCENARIO(a_relay_elsewhere_is_taken_again_with_fresh_credentials)
{
    const struct kh_addr none = {0};
    struct kh_addr a, b;
    struct pair pair;

    sim_add_relay_elsewhere(sim);
    pair = add_pair(sim, "full-cone", "full-cone");
    CHECK(join_both(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(7200)));
    CHECK(sim_allocations_elsewhere(sim) == 0);
    a = sim_public_addr(sim, pair.alice);
    b = sim_public_addr(sim, pair.bob);
    net_set_apart(sim_net(sim), &a, &b);
    CHECK(talk(sim, pair.alice, pair.bob));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(is_relayed(sim, pair.alice, pair.bob) && is_relayed(sim, pair.bob, pair.alice));
    CHECK(sim_allocations_elsewhere(sim) >= 1);
    net_set_apart(sim_net(sim), &none, &none);
    return talk(sim, pair.alice, pair.bob);
}

/* The server's own is there too, for those the other does not answer. */
SCENARIO(a_dead_relay_elsewhere_is_replaced_by_the_servers_own)
{
    struct pair pair;

    sim_add_relay(sim);
    sim_add_relay_elsewhere(sim);
    sim_stop_relay_elsewhere(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    CHECK(join_both(sim, &pair));
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(4)));
    CHECK(is_relayed(sim, pair.alice, pair.bob) && is_relayed(sim, pair.bob, pair.alice));
    CHECK(sim_run(sim, KH_SECONDS(3)));
    CHECK(sim_allocations(sim) == 2);
    return talk(sim, pair.alice, pair.bob);
}

SCENARIO(a_relay_elsewhere_that_dies_is_replaced_by_the_servers_own)
{
    struct pair pair;

    sim_add_relay(sim);
    sim_add_relay_elsewhere(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    CHECK(open_by_relay(sim, &pair));
    CHECK(sim_allocations_elsewhere(sim) == 2 && sim_allocations(sim) == 0);
    sim_stop_relay_elsewhere(sim);
    CHECK(talk(sim, pair.alice, pair.bob));
    CHECK(sim_run(sim, KH_SECONDS(20)));
    CHECK(sim_all_open(sim));
    CHECK(is_relayed(sim, pair.alice, pair.bob) && is_relayed(sim, pair.bob, pair.alice));
    CHECK(sim_allocations(sim) >= 1);
    return talk(sim, pair.alice, pair.bob);
}

/* ---- giving back and taking again ---- */

#define GIVEN_BACK_WITHIN KH_SECONDS(40) /* half a minute, and a moment to hear of it */

static bool has_two_allocations(struct sim *sim)
{
    return sim_allocations(sim) == 2;
}

/* A pair that needs the relay for a moment at most, and does not any more. */
static bool make_unneeded(struct sim *sim, const struct pair *pair)
{
    CHECK(join_both(sim, pair));
    CHECK(sim_run_until(sim, has_two_allocations, KH_SECONDS(1)));
    CHECK(sim_run(sim, GIVEN_BACK_WITHIN));
    CHECK(sim_allocations(sim) == 0);
    return talk(sim, pair->alice, pair->bob);
}

SCENARIO(a_relay_that_nobody_needs_is_given_back)
{
    uint64_t alices, bobs;
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted", "port-restricted");
    CHECK(make_unneeded(sim, &pair));
    alices = sim_sent_to_relayed(sim, pair.alice);
    bobs = sim_sent_to_relayed(sim, pair.bob);
    CHECK(alices + bobs > 0);
    sim_probe(sim, pair.alice);
    CHECK(sim_run(sim, KH_SECONDS(900)));
    CHECK(sim_allocated(sim) == 2);
    CHECK(sim_sent_to_relayed(sim, pair.alice) == alices); /* they may be anybody's now */
    CHECK(sim_sent_to_relayed(sim, pair.bob) == bobs);
    return talk(sim, pair.alice, pair.bob);
}

/* Of two relayed addresses a relayed path may use one; the other is not kept for nothing. */
SCENARIO(a_relayed_pair_keeps_what_it_uses)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    CHECK(open_by_relay(sim, &pair));
    CHECK(sim_run(sim, GIVEN_BACK_WITHIN));
    CHECK(sim_allocations(sim) >= 1);
    CHECK(is_relayed(sim, pair.alice, pair.bob));
    CHECK(sim_run(sim, KH_SECONDS(300)));
    CHECK(sim_allocated(sim) == 2);
    return talk(sim, pair.alice, pair.bob);
}

SCENARIO(who_waits_alone_holds_no_relay_and_takes_one_when_needed)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "symmetric-random", "symmetric-random");
    sim_join(sim, pair.alice);
    CHECK(sim_run(sim, GIVEN_BACK_WITHIN));
    CHECK(sim_allocated(sim) == 1 && sim_allocations(sim) == 0);
    sim_join(sim, pair.bob);
    return is_open_by_relay(sim, &pair);
}

/* A third member needs the relay; when it has gone nobody does. */
SCENARIO(a_newcomer_makes_the_relay_needed_again)
{
    struct pair pair;
    int carol;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted-random", "port-restricted-random");
    CHECK(make_unneeded(sim, &pair));
    carol = sim_add_member(sim, "carol", sim_add_site(sim, "symmetric-random"));
    sim_set_paths(sim, carol, KH_NODE_PATHS_RELAY);
    sim_join(sim, carol);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(since_both(sim, pair.alice, carol, sim_contact(sim, pair.alice, carol)->path_at) <=
          RELAYED_WITHIN);
    CHECK(sim_allocations(sim) >= 1);
    CHECK(talk(sim, pair.alice, carol));
    sim_leave(sim, carol);
    CHECK(sim_run(sim, GIVEN_BACK_WITHIN));
    CHECK(sim_allocations(sim) == 0);
    return talk(sim, pair.alice, pair.bob);
}

/* Nothing passes between them any more, and each word finds its way all the same. */
SCENARIO(a_direct_path_that_dies_is_replaced_by_the_relay)
{
    const struct kh_addr none = {0};
    struct kh_addr a, b;
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted", "full-cone");
    CHECK(make_unneeded(sim, &pair));
    a = sim_public_addr(sim, pair.alice);
    b = sim_public_addr(sim, pair.bob);
    net_set_apart(sim_net(sim), &a, &b);
    for (int i = 0; i < 20; i++) {
        sim_say(sim, i % 2 == 0 ? pair.alice : pair.bob);
        CHECK(sim_run(sim, KH_SECONDS(1)));
    }
    CHECK(sim_run(sim, KH_SECONDS(30)));
    CHECK(is_relayed(sim, pair.alice, pair.bob) && is_relayed(sim, pair.bob, pair.alice));
    CHECK(sim_allocations(sim) >= 1);
    CHECK(talk(sim, pair.alice, pair.bob));
    net_set_apart(sim_net(sim), &none, &none);
    CHECK(sim_run(sim, KH_SECONDS(300)));
    CHECK(!is_relayed(sim, pair.alice, pair.bob) && !is_relayed(sim, pair.bob, pair.alice));
    CHECK(sim_allocations(sim) == 0);
    return talk(sim, pair.alice, pair.bob);
}

/* Each time has a new relayed address. */
SCENARIO(many_turns_of_giving_and_taking_wear_nothing_out)
{
    const struct kh_addr none = {0};
    struct kh_addr a, b;
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "full-cone", "full-cone");
    CHECK(make_unneeded(sim, &pair));
    a = sim_public_addr(sim, pair.alice);
    b = sim_public_addr(sim, pair.bob);
    for (int i = 0; i < 20; i++) {
        net_set_apart(sim_net(sim), &a, &b);
        CHECK(talk(sim, pair.alice, pair.bob));
        CHECK(sim_run(sim, KH_SECONDS(60)));
        CHECK(is_relayed(sim, pair.alice, pair.bob) && is_relayed(sim, pair.bob, pair.alice));
        net_set_apart(sim_net(sim), &none, &none);
        CHECK(sim_run(sim, KH_SECONDS(300)));
        CHECK(sim_allocations(sim) == 0);
        CHECK(talk(sim, pair.alice, pair.bob));
    }
    return true;
}

/* clang-format off */
#define NAMED(name) {#name, name, NULL, NULL}
static const struct scenario scenarios[] = {
    NAMED(symmetric_pair_talks_through_the_relay),
    NAMED(a_direct_path_is_better_than_the_relay),
    NAMED(news_that_change_nothing_do_not_move_a_good_path),
    NAMED(who_wants_only_relays_is_known_to_nobody),
    NAMED(who_wants_only_relays_stays_hidden_through_trouble),
    NAMED(two_who_want_only_relays_meet_in_the_server),
    NAMED(who_wants_only_relays_and_has_no_udp_is_relayed_too),
    NAMED(who_wants_a_relay_where_none_is_is_told_once_and_heard),
    NAMED(who_forbids_relays_is_reached_through_none),
    NAMED(only_relays_and_no_relays_talk_by_signals),
    NAMED(a_nat_that_forgets_costs_no_place_at_the_relay),
    NAMED(a_relay_elsewhere_is_used_where_the_server_has_none),
    NAMED(a_relay_elsewhere_is_taken_again_with_fresh_credentials),
    NAMED(a_dead_relay_elsewhere_is_replaced_by_the_servers_own),
    NAMED(a_relay_elsewhere_that_dies_is_replaced_by_the_servers_own),
    NAMED(a_relay_that_nobody_needs_is_given_back),
    NAMED(a_relayed_pair_keeps_what_it_uses),
    NAMED(who_waits_alone_holds_no_relay_and_takes_one_when_needed),
    NAMED(a_newcomer_makes_the_relay_needed_again),
    NAMED(a_direct_path_that_dies_is_replaced_by_the_relay),
    NAMED(many_turns_of_giving_and_taking_wear_nothing_out),
};
/* clang-format on */

const struct scenario *scenario_of_relays(size_t n)
{
    return n < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[n] : NULL;
}
