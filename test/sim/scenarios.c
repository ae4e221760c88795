/* sim/scenarios.c - the stories.
 *
 * SPDX-License-Identifier: MIT
 *
 * Lines take 20 ms each way where nothing else is said, so a round trip to the server is 40 ms and
 * one between two sites 80.
 */
#include "sim/scenario.h"

#define SERVER_ROUND_TRIP KH_MILLISECONDS(40)
#define DIRECT_WITHIN KH_MILLISECONDS(350)
#define OPEN_WITHIN KH_MILLISECONDS(700)

/* Alice, then Bob a second later, each at a site of that kind; both must meet in time. */
static bool meet_at(struct sim *sim, int alice_realm, int bob_realm)
{
    int alice = sim_add_member(sim, "alice", alice_realm);
    int bob = sim_add_member(sim, "bob", bob_realm);

    sim_join(sim, alice);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(since_both(sim, alice, bob, sim_contact(sim, alice, bob)->path_at) <= DIRECT_WITHIN);
    CHECK(since_both(sim, alice, bob, sim_contact(sim, bob, alice)->path_at) <= DIRECT_WITHIN);
    CHECK(since_both(sim, alice, bob, sim_contact(sim, alice, bob)->open_at) <= OPEN_WITHIN);
    CHECK(since_both(sim, alice, bob, sim_contact(sim, bob, alice)->open_at) <= OPEN_WITHIN);
    CHECK(talk(sim, alice, bob));
    return true;
}

static bool kinds_meet(struct sim *sim, const char *kind_a, const char *kind_b)
{
    int alice = sim_add_site(sim, kind_a);

    return meet_at(sim, alice, sim_add_site(sim, kind_b));
}

SCENARIO(friends_behind_port_restricted_cones_talk_directly)
{
    return kinds_meet(sim, "port-restricted", "port-restricted-random");
}

SCENARIO(full_cone_meets_port_restricted)
{
    return kinds_meet(sim, "full-cone", "port-restricted");
}

SCENARIO(full_cone_meets_symmetric)
{
    return kinds_meet(sim, "full-cone", "symmetric-random");
}

SCENARIO(restricted_cone_meets_symmetric)
{
    return kinds_meet(sim, "symmetric-random", "restricted-cone");
}

SCENARIO(open_meets_symmetric)
{
    return kinds_meet(sim, "symmetric-random", "open");
}

SCENARIO(public_host_meets_symmetric)
{
    return meet_at(sim, NET_INTERNET, sim_add_site(sim, "symmetric-random"));
}

/* What passes Alice's box is no better than this; nor Bob's, if both are so closed. */
static bool meet_without_udp(struct sim *sim, enum kh_transport best, bool both)
{
    int a, b, alice, bob;

    sim_add_relay(sim);
    sim_add_streams(sim);
    a = sim_add_site(sim, "port-restricted");
    b = sim_add_site(sim, "symmetric-random");
    for (int better = KH_UDP; better < (int)best; better++) {
        net_set_box_passes(sim_net(sim), a, (enum kh_transport)better, false);
        net_set_box_passes(sim_net(sim), b, (enum kh_transport)better, !both);
    }
    alice = sim_add_member(sim, "alice", a);
    bob = sim_add_member(sim, "bob", b);
    sim_join(sim, alice);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, bob);
    sim_say(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(since_both(sim, alice, bob, sim_contact(sim, alice, bob)->first_heard_at) <=
          KH_SECONDS(2));
    CHECK(since_both(sim, alice, bob, sim_contact(sim, alice, bob)->path_at) <= KH_SECONDS(2));
    CHECK(since_both(sim, alice, bob, sim_contact(sim, bob, alice)->path_at) <= KH_SECONDS(2));
    CHECK(sim_contact(sim, alice, bob)->transport == best);
    CHECK(sim_contact(sim, alice, bob)->path.local_kind == KH_ICE_RELAYED);
    CHECK(!both || sim_contact(sim, bob, alice)->transport == best);
    CHECK(talk(sim, alice, bob));
    CHECK(sim_run(sim, KH_SECONDS(900)));
    return talk(sim, alice, bob);
}

SCENARIO(who_has_no_udp_is_relayed)
{
    return meet_without_udp(sim, KH_TCP, false);
}

SCENARIO(two_without_udp_are_relayed)
{
    return meet_without_udp(sim, KH_TCP, true);
}

SCENARIO(two_with_nothing_but_tls_are_relayed)
{
    return meet_without_udp(sim, KH_TLS, true);
}

static bool is_direct_by_tcp(struct sim *sim)
{
    const struct sim_contact *there = sim_contact(sim, 0, 1), *back = sim_contact(sim, 1, 0);

    return there->transport == KH_TCP && back->transport == KH_TCP &&
           there->path.local_kind != KH_ICE_RELAYED && there->path.remote_kind != KH_ICE_RELAYED &&
           back->path.local_kind != KH_ICE_RELAYED && back->path.remote_kind != KH_ICE_RELAYED;
}

/* Two sites of these kinds whose boxes stop UDP, the second one's if it says so: relayed at first,
 * and directly by TCP soon after. */
static bool meet_by_tcp(struct sim *sim, const char *kind_a, const char *kind_b, bool both)
{
    int a, b;

    sim_add_relay(sim);
    sim_add_streams(sim);
    a = sim_add_site(sim, kind_a);
    b = sim_add_site(sim, kind_b);
    net_set_box_passes(sim_net(sim), a, KH_UDP, false);
    net_set_box_passes(sim_net(sim), b, KH_UDP, !both);
    sim_add_member(sim, "alice", a);
    sim_add_member(sim, "bob", b);
    sim_join(sim, 0);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, 1);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(since_both(sim, 0, 1, sim_contact(sim, 0, 1)->path_at) <= KH_SECONDS(2));
    for (int i = 0; i < 10; i++) {
        sim_say(sim, 0);
        sim_say(sim, 1);
        CHECK(sim_run(sim, KH_MILLISECONDS(200)));
    }
    CHECK(sim_run_until(sim, is_direct_by_tcp, KH_SECONDS(3)));
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(600)));
    CHECK(is_direct_by_tcp(sim) && sim_all_open(sim));
    return talk(sim, 0, 1);
}

SCENARIO(who_has_no_udp_connects_to_an_open_host)
{
    return meet_by_tcp(sim, "port-restricted", "open", false);
}

SCENARIO(a_symmetric_nat_without_udp_connects_to_an_open_host)
{
    return meet_by_tcp(sim, "symmetric-random", "full-cone", false);
}

/* Each knows where the server sees the other's port, and their SYNs cross. */
SCENARIO(two_without_udp_connect_at_once)
{
    return meet_by_tcp(sim, "port-restricted-random", "port-restricted", true);
}

static bool is_direct_by_udp(struct sim *sim)
{
    const struct sim_contact *there = sim_contact(sim, 0, 1), *back = sim_contact(sim, 1, 0);

    return there->transport == KH_UDP && back->transport == KH_UDP &&
           there->path.local_kind != KH_ICE_RELAYED && there->path.remote_kind != KH_ICE_RELAYED &&
           back->path.local_kind != KH_ICE_RELAYED && back->path.remote_kind != KH_ICE_RELAYED;
}

/* It is looked for at the server once a minute, and what failed without it gets another chance. */
SCENARIO(udp_that_comes_back_is_better_than_tcp)
{
    CHECK(meet_by_tcp(sim, "port-restricted-random", "port-restricted", true));
    for (int box = 0; box < 2; box++)
        net_set_box_passes(sim_net(sim), box, KH_UDP, true);
    CHECK(sim_run_until(sim, is_direct_by_udp, KH_SECONDS(90)));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(is_direct_by_udp(sim));
    return talk(sim, 0, 1);
}

/* What can be reached by no call is not called for ever. */
SCENARIO(calls_in_vain_end)
{
    uint64_t calls;

    CHECK(meet_without_udp(sim, KH_TCP, true));
    calls = net_stats(sim_net(sim)).calls;
    CHECK(calls < 60);
    CHECK(sim_run(sim, KH_SECONDS(600)));
    CHECK(net_stats(sim_net(sim)).calls == calls);
    CHECK(sim_contact(sim, 0, 1)->path.local_kind == KH_ICE_RELAYED);
    return talk(sim, 0, 1);
}

SCENARIO(nobody_calls_where_udp_passes)
{
    sim_add_relay(sim);
    sim_add_streams(sim);
    CHECK(kinds_meet(sim, "port-restricted", "port-restricted"));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(net_stats(sim_net(sim)).calls == 0);
    return talk(sim, 0, 1);
}

/* The end of the connection is heard of, not waited for: the relay takes over, then another call.
 */
SCENARIO(a_direct_connection_that_breaks_is_made_again)
{
    CHECK(meet_by_tcp(sim, "port-restricted", "open", false));
    net_drop_streams(sim_net(sim), 2); /* Bob's host, and with the connection all he had */
    sim_say(sim, 0);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(2)));
    CHECK(sim_run_until(sim, is_direct_by_tcp, KH_SECONDS(60)));
    return talk(sim, 0, 1);
}

/* The allocation along the connection is left, and the one by UDP takes its place. */
SCENARIO(udp_that_comes_back_is_relayed_by_udp)
{
    CHECK(meet_without_udp(sim, KH_TCP, true));
    net_set_box_passes(sim_net(sim), 0, KH_UDP, true);
    CHECK(sim_run(sim, KH_SECONDS(80))); /* UDP is looked for once a minute */
    CHECK(talk(sim, 0, 1));
    CHECK(sim_contact(sim, 0, 1)->transport == KH_UDP);
    CHECK(sim_contact(sim, 1, 0)->transport == KH_TCP);
    net_set_box_passes(sim_net(sim), 0, KH_UDP, false);
    sim_probe(sim, 0);
    CHECK(sim_run(sim, KH_SECONDS(45))); /* consent ends after 30 s */
    CHECK(sim_contact(sim, 0, 1)->transport == KH_TCP);
    return talk(sim, 0, 1);
}

/* The next connection may look like the one before, and the server may not know yet. */
SCENARIO(a_broken_connection_is_made_again_with_its_allocation)
{
    CHECK(meet_without_udp(sim, KH_TCP, true));
    sim_disconnect(sim, 0);
    sim_say(sim, 0);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(10)));
    CHECK(sim_all_open(sim));
    CHECK(sim_contact(sim, 0, 1)->path.local_kind == KH_ICE_RELAYED);
    return talk(sim, 0, 1);
}

SCENARIO(firewalls_meet)
{
    return kinds_meet(sim, "firewall", "firewall");
}

SCENARIO(behind_one_nat_without_hairpin_they_meet_inside)
{
    int home = sim_add_site(sim, "port-restricted");

    CHECK(meet_at(sim, home, home));
    CHECK(sim_contact(sim, 0, 1)->path.remote.ip[0] == 192);
    CHECK(sim_contact(sim, 1, 0)->path.remote.ip[0] == 192);
    return true;
}

/* Alice and Bob hide their private addresses behind names, and find each other out: their router
 * does not hairpin, so nothing else leads from one to the other.  Carol needs no name. */
SCENARIO(a_local_name_leads_to_who_is_on_the_link)
{
    int home = sim_add_site(sim, "port-restricted");
    int alice = sim_add_member(sim, "alice", home);
    int bob = sim_add_member(sim, "bob", home);
    int carol = sim_add_member(sim, "carol", sim_add_site(sim, "port-restricted"));

    sim_set_local_name(sim, alice, "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.local");
    sim_set_local_name(sim, bob, "bobs-laptop.local");
    sim_join(sim, alice);
    sim_join(sim, carol);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_contact(sim, bob, alice)->path.remote.ip[0] == 192);
    CHECK(sim_contact(sim, alice, bob)->path.remote.ip[0] == 192);
    CHECK(sim_contact(sim, carol, alice)->path.remote.ip[0] == 203);
    CHECK(talk(sim, alice, bob));
    return talk(sim, alice, carol);
}

SCENARIO(behind_one_symmetric_nat_they_meet_inside)
{
    int home = sim_add_site(sim, "symmetric-random");

    return meet_at(sim, home, home);
}

SCENARIO(double_nat)
{
    int provider, home;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(10)});
    provider = sim_add_site(sim, "cgn");
    home = sim_add_inner_site(sim, provider, "port-restricted");
    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(20)});
    return meet_at(sim, home, sim_add_site(sim, "port-restricted"));
}

SCENARIO(two_homes_of_one_provider_meet_by_its_hairpin)
{
    int provider, home;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(10)});
    provider = sim_add_site(sim, "cgn");
    home = sim_add_inner_site(sim, provider, "port-restricted");
    return meet_at(sim, home, sim_add_inner_site(sim, provider, "port-restricted"));
}

/* What the server sees leads nowhere inside; what the home routers grant does, since the provider's
 * inside routes between homes. */
SCENARIO(two_homes_of_one_provider_meet_by_granted_ports)
{
    int provider, alice, bob;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(10)});
    sim_add_relay(sim);
    provider = sim_add_site(sim, "symmetric-random");
    alice = sim_add_member(sim, "alice", sim_add_inner_site(sim, provider, "port-restricted"));
    bob = sim_add_member(sim, "bob", sim_add_inner_site(sim, provider, "port-restricted"));
    sim_join(sim, alice);
    sim_map_port(sim, alice);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, bob);
    sim_map_port(sim, bob);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    CHECK(sim_contact(sim, alice, bob)->path.remote.ip[0] == 100);
    CHECK(sim_contact(sim, bob, alice)->path.remote.ip[0] == 100);
    return talk(sim, alice, bob);
}

SCENARIO(ipv6_only_pair)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "symmetric-random"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "symmetric-random"));

    for (int i = alice; i <= bob; i++) {
        sim_add_ipv6(sim, i);
        sim_drop_ipv4(sim, i);
        sim_join(sim, i);
    }
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_contact(sim, alice, bob)->path.remote.family == KH_FAMILY_IPV6);
    return talk(sim, alice, bob);
}

SCENARIO(ipv6_helps_symmetric_nats)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "symmetric-random"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "symmetric-random"));

    sim_add_ipv6(sim, alice);
    sim_add_ipv6(sim, bob);
    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    return talk(sim, alice, bob);
}

/* Alice may join by IPv6, but what Bob needs is where her IPv4 comes out. */
SCENARIO(both_families_meet_ipv4_alone)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted-random"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted-random"));

    sim_add_ipv6(sim, alice);
    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    return talk(sim, alice, bob);
}

SCENARIO(symmetric_pair_talks_by_signals)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "symmetric-random"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "symmetric-random"));

    sim_join(sim, alice);
    sim_join(sim, bob);
    for (int i = 0; i < 10; i++) {
        sim_say(sim, alice);
        sim_say(sim, bob);
        CHECK(sim_run(sim, KH_SECONDS(1)));
    }
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(10)));
    CHECK(sim_contact(sim, alice, bob)->path_at == KH_NEVER);
    CHECK(sim_contact(sim, alice, bob)->first_via == KH_ROOM_SIGNAL);
    return true;
}

/* Each check comes from a new port, which asks for a check, from a new port … */
SCENARIO(lenient_symmetric_nats_do_not_storm)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "symmetric-open"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "symmetric-address-filter"));
    uint64_t sent;

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run(sim, KH_SECONDS(60)));
    sent = net_stats(sim_net(sim)).sent;
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(net_stats(sim_net(sim)).sent - sent < 1500);
    return talk(sim, alice, bob);
}

/* Nonce, join, delivery: three round trips to the server, and the last is two half ones. */
SCENARIO(first_words_take_three_round_trips)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));
    const struct sim_contact *contact = sim_contact(sim, alice, bob);

    sim_join(sim, alice);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_say(sim, bob);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_heard, KH_SECONDS(2)));
    CHECK(contact->first_via == KH_ROOM_SIGNAL);
    CHECK(since_both(sim, alice, bob, contact->first_heard_at) <= 3 * SERVER_ROUND_TRIP);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(2)));
    return true;
}

SCENARIO(first_words_with_a_ticket_take_two_round_trips)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));
    int back;

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(2)));
    sim_leave(sim, bob);
    CHECK(sim_run(sim, KH_SECONDS(3)));
    back = sim_return(sim, bob);
    sim_say(sim, back);
    sim_join(sim, back);
    CHECK(sim_run_until(sim, sim_all_heard, KH_SECONDS(2)));
    CHECK(since_both(sim, alice, back, sim_contact(sim, alice, back)->first_heard_at) <=
          2 * SERVER_ROUND_TRIP);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(2)));
    return true;
}

SCENARIO(words_before_anyone_is_there_arrive)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));

    sim_join(sim, alice);
    for (int i = 0; i < 20; i++)
        sim_say(sim, alice);
    CHECK(sim_run(sim, KH_SECONDS(5)));
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(3)));
    return true;
}

SCENARIO(words_said_before_joining_wait_for_nobody)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));

    sim_say(sim, alice);
    sim_join(sim, alice);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_heard, KH_SECONDS(2)));
    CHECK(since_both(sim, alice, bob, sim_contact(sim, bob, alice)->first_heard_at) <=
          3 * SERVER_ROUND_TRIP);
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(2));
}

SCENARIO(three_in_three_sites)
{
    static const char *const names[] = {"alice", "bob", "carol"};

    for (int i = 0; i < 3; i++) {
        sim_add_member(sim, names[i], sim_add_site(sim, "port-restricted-random"));
        sim_join(sim, i);
        sim_say(sim, i);
    }
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(2)));
    for (int i = 0; i < 3; i++)
        sim_say(sim, i);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(3)));
    return true;
}

SCENARIO(late_member_hears_what_was_said)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "full-cone"));
    int carol;

    sim_join(sim, alice);
    sim_join(sim, bob);
    for (int i = 0; i < 10; i++) {
        CHECK(sim_run(sim, KH_SECONDS(6)));
        CHECK(talk(sim, alice, bob));
    }
    carol = sim_add_member(sim, "carol", sim_add_site(sim, "restricted-cone"));
    sim_join(sim, carol);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(3)));
    CHECK(sim_contact(sim, carol, alice)->heard == 10);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    return true;
}

/* 30 % of what either of them sends is lost on the way to the other, and so is 16 % to the server.
 */
SCENARIO(thirty_percent_loss_loses_nothing)
{
    int alice, bob;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(20), .loss = 0.163});
    alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));
    sim_join(sim, alice);
    sim_join(sim, bob);
    for (int i = 0; i < 20; i++) {
        sim_say(sim, alice);
        sim_say(sim, bob);
        CHECK(sim_run(sim, KH_MILLISECONDS(300)));
    }
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(30)));
    CHECK(sim_run_until(sim, sim_best_paths, KH_SECONDS(30)));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    return talk(sim, alice, bob) || sim_run_until(sim, sim_all_delivered, KH_SECONDS(30));
}

SCENARIO(replayed_and_altered_datagrams_change_nothing)
{
    int alice, bob;

    sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(20),
                                         .jitter = KH_MILLISECONDS(10),
                                         .replay = 0.3,
                                         .garble = 0.3});
    alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));
    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    for (int i = 0; i < 10; i++) {
        CHECK(talk(sim, alice, bob));
        CHECK(sim_run(sim, KH_SECONDS(5)));
        CHECK(sim_all_open(sim));
    }
    return true;
}

SCENARIO(nat_rebinding_mid_conversation)
{
    int home = sim_add_site(sim, "port-restricted-random");
    int alice = sim_add_member(sim, "alice", home);
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(talk(sim, alice, bob));
    nat_rebind(net_nat(sim_net(sim), home));
    sim_say(sim, alice);
    sim_say(sim, bob);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(60)));
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(10)));
    return talk(sim, alice, bob);
}

SCENARIO(a_cut_line_is_mended_and_nothing_is_lost)
{
    int home = sim_add_site(sim, "port-restricted");
    int alice = sim_add_member(sim, "alice", home);
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    net_set_box_up(sim_net(sim), home, false);
    sim_say(sim, alice);
    sim_say(sim, bob);
    CHECK(sim_run(sim, KH_SECONDS(45)));
    CHECK(!sim_all_heard(sim));
    net_set_box_up(sim_net(sim), home, true);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(60)));
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(60)));
    return talk(sim, alice, bob);
}

SCENARIO(server_dies_conversation_goes_on)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    sim_stop_server(sim);
    for (int i = 0; i < 20; i++) {
        CHECK(talk(sim, alice, bob));
        CHECK(sim_all_open(sim));
        CHECK(sim_run(sim, KH_SECONDS(10)));
    }
    return true;
}

SCENARIO(server_restart)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "symmetric-random"));
    int carol = sim_add_member(sim, "carol", sim_add_site(sim, "symmetric-random"));
    int late;

    sim_join(sim, alice);
    sim_join(sim, bob);
    sim_join(sim, carol);
    CHECK(sim_run(sim, KH_SECONDS(3)));
    sim_stop_server(sim);
    CHECK(sim_run(sim, KH_SECONDS(10)));
    sim_start_server(sim);
    sim_say(sim, bob);
    CHECK(sim_run_until(sim, sim_all_delivered, KH_SECONDS(60)));
    late = sim_add_member(sim, "dave", sim_add_site(sim, "full-cone"));
    sim_join(sim, late);
    CHECK(sim_run_until(sim, sim_best_paths, KH_SECONDS(10)));
    CHECK(talk(sim, late, alice));
    return true;
}

SCENARIO(no_server_at_first)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));

    sim_stop_server(sim);
    sim_join(sim, alice);
    sim_say(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run(sim, KH_SECONDS(20)));
    sim_start_server(sim);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(60)));
    return talk(sim, alice, bob);
}

SCENARIO(who_vanishes_can_come_back)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted"));
    int back;

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    sim_vanish(sim, bob);
    CHECK(sim_run(sim, KH_SECONDS(2)));
    back = sim_return(sim, bob);
    sim_join(sim, back);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(talk(sim, alice, back));
    CHECK(sim_run(sim, KH_SECONDS(120)));
    return talk(sim, alice, back);
}

SCENARIO(a_quiet_hour_keeps_the_path)
{
    int alice = sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    int bob = sim_add_member(sim, "bob", sim_add_site(sim, "port-restricted-random"));

    sim_join(sim, alice);
    sim_join(sim, bob);
    CHECK(sim_run_until(sim, sim_all_open, KH_SECONDS(3)));
    CHECK(sim_run(sim, KH_SECONDS(3600)));
    CHECK(sim_all_open(sim));
    CHECK(talk(sim, alice, bob));
    CHECK(sim_contact(sim, alice, bob)->path_at < KH_SECONDS(1));
    return true;
}

/* clang-format off */
#define NAMED(name) {#name, name, NULL, NULL}
static const struct scenario scenarios[] = {
    {"random", scenario_random, NULL, NULL},
    {"random_closed", scenario_random_closed, NULL, NULL},
    {"pairs", scenario_pairs, scenario_pairs_prepare, scenario_pairs_report},
    NAMED(friends_behind_port_restricted_cones_talk_directly),
    NAMED(full_cone_meets_port_restricted),
    NAMED(full_cone_meets_symmetric),
    NAMED(restricted_cone_meets_symmetric),
    NAMED(open_meets_symmetric),
    NAMED(public_host_meets_symmetric),
    NAMED(who_has_no_udp_is_relayed),
    NAMED(two_without_udp_are_relayed),
    NAMED(two_with_nothing_but_tls_are_relayed),
    NAMED(who_has_no_udp_connects_to_an_open_host),
    NAMED(a_symmetric_nat_without_udp_connects_to_an_open_host),
    NAMED(two_without_udp_connect_at_once),
    NAMED(udp_that_comes_back_is_better_than_tcp),
    NAMED(calls_in_vain_end),
    NAMED(nobody_calls_where_udp_passes),
    NAMED(a_direct_connection_that_breaks_is_made_again),
    NAMED(udp_that_comes_back_is_relayed_by_udp),
    NAMED(a_broken_connection_is_made_again_with_its_allocation),
    NAMED(firewalls_meet),
    NAMED(behind_one_nat_without_hairpin_they_meet_inside),
    NAMED(a_local_name_leads_to_who_is_on_the_link),
    NAMED(behind_one_symmetric_nat_they_meet_inside),
    NAMED(double_nat),
    NAMED(two_homes_of_one_provider_meet_by_its_hairpin),
    NAMED(two_homes_of_one_provider_meet_by_granted_ports),
    NAMED(ipv6_only_pair),
    NAMED(ipv6_helps_symmetric_nats),
    NAMED(both_families_meet_ipv4_alone),
    NAMED(symmetric_pair_talks_by_signals),
    NAMED(lenient_symmetric_nats_do_not_storm),
    NAMED(first_words_take_three_round_trips),
    NAMED(first_words_with_a_ticket_take_two_round_trips),
    NAMED(words_before_anyone_is_there_arrive),
    NAMED(words_said_before_joining_wait_for_nobody),
    NAMED(three_in_three_sites),
    NAMED(late_member_hears_what_was_said),
    NAMED(thirty_percent_loss_loses_nothing),
    NAMED(replayed_and_altered_datagrams_change_nothing),
    NAMED(nat_rebinding_mid_conversation),
    NAMED(a_cut_line_is_mended_and_nothing_is_lost),
    NAMED(server_dies_conversation_goes_on),
    NAMED(server_restart),
    NAMED(no_server_at_first),
    NAMED(who_vanishes_can_come_back),
    NAMED(a_quiet_hour_keeps_the_path),
};
/* clang-format on */

static const struct scenario *scenario_of_here(size_t n)
{
    return n < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[n] : NULL;
}

const struct scenario *scenario_at(size_t n)
{
    static const struct scenario *(*const files[])(size_t) = {scenario_of_here, scenario_of_relays,
                                                              scenario_of_nats, scenario_of_outages,
                                                              scenario_of_punching};

    for (size_t file = 0; file < sizeof(files) / sizeof(files[0]); file++)
        for (size_t i = 0; files[file](i) != NULL; i++)
            if (n-- == 0)
                return files[file](i);
    return NULL;
}
