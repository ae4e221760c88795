/* sim/outage_scenarios.c - the stories of what breaks in mid-conversation, and comes back.
 *
 * SPDX-License-Identifier: MIT
 *
 * The watch at each step sees to it that nothing is heard twice or out of order.
 */
#include "sim/scenario.h"

#define PAUSE KH_MILLISECONDS(60) /* 1,000 messages a minute from each */
#define QUIET_PAUSE KH_MILLISECONDS(250)
#define BACK_WITHIN KH_SECONDS(3) /* after the server's return */
#define HEARD_WITHIN KH_SECONDS(2)

struct pair {
    int alice, bob;
    int alice_site, bob_site;
    kh_duration pause; /* between two words of each */
};

static struct pair add_pair(struct sim *sim, const char *kind)
{
    struct pair pair = {.pause = PAUSE};

    pair.alice_site = sim_add_site(sim, kind);
    pair.bob_site = sim_add_site(sim, kind);
    pair.alice = sim_add_member(sim, "alice", pair.alice_site);
    pair.bob = sim_add_member(sim, "bob", pair.bob_site);
    return pair;
}

static bool open_both(struct sim *sim, const struct pair *pair)
{
    sim_join(sim, pair->alice);
    if (!sim_run(sim, KH_SECONDS(1)))
        return false;
    sim_join(sim, pair->bob);
    return sim_run_until(sim, sim_all_open, KH_SECONDS(3));
}

/* What goes between the two sites alone is dropped. */
static void set_apart(struct sim *sim, const struct pair *pair, bool apart)
{
    static const struct kh_addr none;
    struct net *net = sim_net(sim);

    net_set_apart(net, apart ? &nat_config_of(net_nat(net, pair->alice_site))->external : &none,
                  apart ? &nat_config_of(net_nat(net, pair->bob_site))->external : &none);
}

/* Both talk all the time. */
static bool chat(struct sim *sim, const struct pair *pair, kh_duration duration)
{
    for (kh_duration passed = 0; passed < duration; passed += pair->pause) {
        sim_say(sim, pair->alice);
        sim_say(sim, pair->bob);
        if (!sim_run(sim, pair->pause))
            return false;
    }
    return true;
}

/* Both talk all the time, and whatever is said is heard in time. */
static bool chat_in_time(struct sim *sim, const struct pair *pair, kh_duration duration)
{
    kh_time end = kh_time_add(sim_now(sim), duration);

    while (sim_now(sim) < end) {
        unsigned said[2] = {sim_said(sim, pair->alice), sim_said(sim, pair->bob)};

        CHECK(chat(sim, pair, HEARD_WITHIN));
        CHECK(sim_contact(sim, pair->bob, pair->alice)->heard >= said[0]);
        CHECK(sim_contact(sim, pair->alice, pair->bob)->heard >= said[1]);
    }
    return true;
}

static kh_duration some_time(struct sim *sim, kh_duration from, kh_duration to)
{
    return dice_range(sim_dice(sim), from, to);
}

/* ---- the server of a relayed pair dies and comes back ---- */

static bool server_comes_back(struct sim *sim, bool is_chatting, kh_duration away)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "symmetric-random");
    CHECK(open_both(sim, &pair));
    CHECK(chat(sim, &pair, some_time(sim, 0, KH_SECONDS(3))));
    CHECK(sim_run(sim, some_time(sim, 0, KH_SECONDS(5))));
    sim_stop_server(sim);
    CHECK(is_chatting ? chat(sim, &pair, away) : sim_run(sim, away));
    sim_start_server(sim);
    CHECK(is_chatting ? chat(sim, &pair, BACK_WITHIN) : sim_run(sim, BACK_WITHIN));
    CHECK(sim_all_open(sim));
    sim_say(sim, pair.alice);
    sim_say(sim, pair.bob);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_MILLISECONDS(350))); /* four relayed ways */
    CHECK(chat_in_time(sim, &pair, KH_SECONDS(6)));
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(1));
}

SCENARIO(a_relayed_conversation_survives_a_quick_restart)
{
    return server_comes_back(sim, true, some_time(sim, KH_MILLISECONDS(10), KH_SECONDS(2)));
}

SCENARIO(a_relayed_conversation_survives_a_slow_restart)
{
    return server_comes_back(sim, true, some_time(sim, KH_SECONDS(2), KH_SECONDS(25)));
}

SCENARIO(a_silent_relayed_pair_survives_a_quick_restart)
{
    return server_comes_back(sim, false, some_time(sim, KH_MILLISECONDS(10), KH_SECONDS(2)));
}

SCENARIO(a_silent_relayed_pair_survives_a_long_outage)
{
    return server_comes_back(sim, false, some_time(sim, KH_SECONDS(2), KH_SECONDS(300)));
}

/* ---- from the relay to something better, and back ---- */

SCENARIO(a_conversation_moves_from_the_relay_to_a_direct_path)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted");
    set_apart(sim, &pair, true);
    CHECK(open_both(sim, &pair));
    CHECK(!sim_all_direct(sim));
    CHECK(chat_in_time(sim, &pair, some_time(sim, KH_SECONDS(1), KH_SECONDS(9))));
    set_apart(sim, &pair, false);
    sim_probe(sim, pair.alice); /* the laptop came home, say */
    sim_probe(sim, pair.bob);
    CHECK(chat_in_time(sim, &pair, KH_SECONDS(3)));
    CHECK(sim_all_direct(sim));
    CHECK(chat_in_time(sim, &pair, KH_SECONDS(20)));
    CHECK(sim_all_direct(sim));
    /* To the relay, to the direct path, and no way but up; each end may see a pair come up. */
    CHECK(sim_contact(sim, pair.alice, pair.bob)->paths <= 4);
    CHECK(sim_contact(sim, pair.bob, pair.alice)->paths <= 4);
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(1));
}

/* Two ways of equal worth, whose round trips are seldom the same twice. */
SCENARIO(a_restless_line_does_not_make_the_path_flap)
{
    struct pair pair;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(15),
                                         .jitter = some_time(sim, 0, KH_MILLISECONDS(30))});
    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted");
    sim_add_ipv6(sim, pair.alice);
    sim_add_ipv6(sim, pair.bob);
    CHECK(open_both(sim, &pair));
    CHECK(sim_run(sim, KH_SECONDS(600)));
    CHECK(sim_all_direct(sim));
    CHECK(sim_contact(sim, pair.alice, pair.bob)->paths <= 8);
    CHECK(sim_contact(sim, pair.bob, pair.alice)->paths <= 8);
    sim_say(sim, pair.alice);
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(3));
}

/* The relay takes over, and gives way again. */
SCENARIO(a_direct_path_dies_and_the_relay_takes_over)
{
    struct pair pair;

    sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted");
    CHECK(open_both(sim, &pair));
    CHECK(chat_in_time(sim, &pair, some_time(sim, KH_SECONDS(1), KH_SECONDS(9))));
    CHECK(sim_all_direct(sim));
    set_apart(sim, &pair, true);
    CHECK(chat(sim, &pair, KH_SECONDS(2)));
    CHECK(sim_all_open(sim));
    CHECK(!sim_all_direct(sim));
    CHECK(chat_in_time(sim, &pair, KH_SECONDS(2)));
    set_apart(sim, &pair, false);
    CHECK(sim_run_until(sim, sim_all_direct, KH_SECONDS(12)));
    return chat_in_time(sim, &pair, KH_SECONDS(3)) &&
           sim_run_until(sim, sim_all_delivered, KH_SECONDS(1));
}

/* ---- no way but through the server ---- */

SCENARIO(words_go_through_the_server_while_the_direct_path_is_cut)
{
    struct pair pair = add_pair(sim, "port-restricted");
    kh_duration cut = some_time(sim, KH_SECONDS(2), KH_SECONDS(40));

    pair.pause = QUIET_PAUSE;
    CHECK(open_both(sim, &pair));
    CHECK(chat_in_time(sim, &pair, some_time(sim, KH_SECONDS(1), KH_SECONDS(9))));
    set_apart(sim, &pair, true);
    CHECK(chat_in_time(sim, &pair, cut));
    set_apart(sim, &pair, false);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(60)));
    CHECK(chat_in_time(sim, &pair, KH_SECONDS(3)));
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(1));
}

/* All UDP of one is cut, to the server too: it has to find the way by TCP first. */
SCENARIO(words_go_by_tcp_while_udp_is_cut)
{
    kh_duration cut = some_time(sim, KH_SECONDS(5), KH_SECONDS(40));
    struct pair pair;

    sim_add_streams(sim);
    pair = add_pair(sim, "port-restricted");
    pair.pause = QUIET_PAUSE;
    CHECK(open_both(sim, &pair));
    CHECK(chat_in_time(sim, &pair, some_time(sim, KH_SECONDS(1), KH_SECONDS(9))));
    net_set_box_passes(sim_net(sim), pair.alice_site, KH_UDP, false);
    CHECK(chat_in_time(sim, &pair, cut));
    net_set_box_passes(sim_net(sim), pair.alice_site, KH_UDP, true);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(90)));
    CHECK(sim_run_until(sim, sim_all_direct, KH_SECONDS(90)));
    CHECK(chat_in_time(sim, &pair, KH_SECONDS(3)));
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(1));
}

/* The server forgot both while nobody needed it; then they do, and one of them has nothing to say
 * that could tell it so. */
SCENARIO(who_only_listens_notices_too)
{
    bool has_relay = dice_chance(sim_dice(sim), 0.5);
    struct pair pair;
    unsigned said;

    if (has_relay)
        sim_add_relay(sim);
    pair = add_pair(sim, "port-restricted");
    CHECK(open_both(sim, &pair));
    CHECK(sim_run(sim, some_time(sim, KH_SECONDS(60), KH_SECONDS(90))));
    sim_stop_server(sim);
    sim_start_server(sim);
    set_apart(sim, &pair, true);
    for (said = 0; said < 20; said++) {
        sim_say(sim, pair.alice);
        CHECK(sim_run(sim, KH_MILLISECONDS(500)));
    }
    /* A consent check, two that are missed, a refresh, and the way by the server. */
    CHECK(sim_contact(sim, pair.bob, pair.alice)->heard > 0);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(1)));
    CHECK(!has_relay || sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    return true;
}

/* Everything of one goes to four others by signals at once: more than the server takes of one if
 * each word cost what it may. */
SCENARIO(one_of_five_loses_udp)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave", "erin"};
    int sites[5];

    sim_add_streams(sim);
    for (int i = 0; i < 5; i++) {
        sites[i] = sim_add_site(sim, "port-restricted");
        sim_join(sim, sim_add_member(sim, names[i], sites[i]));
    }
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(5)));
    CHECK(sim_run(sim, some_time(sim, KH_SECONDS(1), KH_SECONDS(6))));
    net_set_box_passes(sim_net(sim), sites[0], KH_UDP, false);
    for (int second = 0; second < 12; second++) {
        for (int i = 0; i < 5; i++)
            sim_say(sim, i);
        CHECK(sim_run(sim, KH_SECONDS(1)));
    }
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(3)));
    net_set_box_passes(sim_net(sim), sites[0], KH_UDP, true);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(90)));
    sim_say(sim, 0);
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(2));
}

/* clang-format off */
#define NAMED(name) {#name, name, NULL, NULL}
static const struct scenario scenarios[] = {
    NAMED(a_relayed_conversation_survives_a_quick_restart),
    NAMED(a_relayed_conversation_survives_a_slow_restart),
    NAMED(a_silent_relayed_pair_survives_a_quick_restart),
    NAMED(a_silent_relayed_pair_survives_a_long_outage),
    NAMED(a_conversation_moves_from_the_relay_to_a_direct_path),
    NAMED(a_restless_line_does_not_make_the_path_flap),
    NAMED(a_direct_path_dies_and_the_relay_takes_over),
    NAMED(words_go_through_the_server_while_the_direct_path_is_cut),
    NAMED(words_go_by_tcp_while_udp_is_cut),
    NAMED(who_only_listens_notices_too),
    NAMED(one_of_five_loses_udp),
};
/* clang-format on */

const struct scenario *scenario_of_outages(size_t n)
{
    return n < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[n] : NULL;
}
