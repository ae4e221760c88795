/* ice/candidate_test.c - candidates, priorities and the checklist follow RFC 8445 5 and 6.1.2.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

#include <stdio.h>
#include <string.h>

#include "ice/agent.h"

static struct wire wire;

static void arrange_alone(void)
{
    struct kh_ice_config config = {.role = KH_ICE_CONTROLLING};

    wire_init(&wire, 1);
    wire.is_cut = true;
    wire_add_agent(&wire, ALICE, &config);
    wire_add_agent(&wire, BOB, &config);
    wire.hosts[ALICE].learns_at = wire.hosts[BOB].learns_at = KH_NEVER;
}

static enum kh_status add(bool is_local, enum kh_ice_kind kind, const char *addr, const char *base)
{
    struct kh_ice_candidate candidate = wire_candidate(kind, addr, base);
    struct kh_ice_agent *agent = wire.hosts[ALICE].agent;
    enum kh_status status = is_local ? kh_ice_agent_add_local(agent, wire.now, &candidate)
                                     : kh_ice_agent_add_remote(agent, wire.now, &candidate);

    wire_drain(&wire, ALICE);
    return status;
}

static void must_add(bool is_local, enum kh_ice_kind kind, const char *addr, const char *base)
{
    assert_int_equal(add(is_local, kind, addr, base), KH_OK);
}

static size_t count_pairs(void)
{
    size_t count = 0;

    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        count += wire.hosts[ALICE].agent->pairs[i].is_used;
    return count;
}

/* RFC 8445 5.1.2.1 and 5.1.2.2: the type decides, then the place; component 1. */
static void priorities_order_kinds_before_places(void **state)
{
    static const enum kh_ice_kind order[] = {KH_ICE_HOST, KH_ICE_PEER_REFLEXIVE, KH_ICE_MAPPED,
                                             KH_ICE_SERVER_REFLEXIVE, KH_ICE_RELAYED};
    struct kh_addr ipv4 = wire_addr("198.51.100.10:4000");
    struct kh_addr ipv6 = wire_addr("[2001:db8::a]:4000");

    (void)state;
    for (size_t i = 0; i + 1 < sizeof order / sizeof order[0]; i++)
        assert_true(kh_ice_priority(order[i], &ipv4) > kh_ice_priority(order[i + 1], &ipv6));
    assert_true(kh_ice_priority(KH_ICE_HOST, &ipv6) > kh_ice_priority(KH_ICE_HOST, &ipv4));
    assert_int_equal(kh_ice_priority(KH_ICE_HOST, &ipv4) >> 24, 126);
    assert_int_equal(kh_ice_priority(KH_ICE_SERVER_REFLEXIVE, &ipv4) >> 24, 100);
    assert_int_equal(kh_ice_priority(KH_ICE_HOST, &ipv4) & 0xff, 255);
}

/* RFC 8445 6.1.2.3, and both sides must come to the same. */
static void a_pair_has_the_priority_of_the_formula(void **state)
{
    struct kh_ice_agent *agent;
    struct kh_ice_pair *pair;
    uint64_t g, d;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    must_add(true, KH_ICE_HOST, "198.51.100.10:4000", "198.51.100.10:4000");
    must_add(false, KH_ICE_SERVER_REFLEXIVE, "198.51.100.20:4000", "198.51.100.20:4000");
    pair = &agent->pairs[0];
    g = agent->locals[0].priority;
    d = agent->remotes[0].priority;
    assert_true(g > d);
    assert_true(pair->priority == (d << 32) + 2 * g + 1);
    kh_ice_role_set(agent, false);
    assert_true(pair->priority == (d << 32) + 2 * g);
    wire_fini(&wire);
}

/* RFC 8445 6.1.2.2. */
static void only_what_can_reach_each_other_is_paired(void **state)
{
    (void)state;
    arrange_alone();
    must_add(true, KH_ICE_HOST, "192.168.1.5:4000", "192.168.1.5:4000");
    must_add(true, KH_ICE_HOST, "[2001:db8::a]:4000", "[2001:db8::a]:4000");
    must_add(true, KH_ICE_HOST, "[fe80::a]:4000", "[fe80::a]:4000");
    must_add(true, KH_ICE_HOST, "127.0.0.1:4000", "127.0.0.1:4000");
    must_add(false, KH_ICE_HOST, "198.51.100.20:4000", "198.51.100.20:4000");
    assert_int_equal(count_pairs(), 1);
    must_add(false, KH_ICE_HOST, "[2001:db8::b]:4000", "[2001:db8::b]:4000");
    assert_int_equal(count_pairs(), 2);
    must_add(false, KH_ICE_HOST, "[fe80::b]:4000", "[fe80::b]:4000");
    assert_int_equal(count_pairs(), 3);
    must_add(false, KH_ICE_HOST, "127.0.0.1:4001", "127.0.0.1:4001");
    assert_int_equal(count_pairs(), 4);
    wire_fini(&wire);
}

/* RFC 8445 6.1.2.4: a reflexive candidate's checks leave from its base; whichever comes first. */
static void reflexive_pairs_are_pruned_to_their_base(void **state)
{
    struct kh_ice_agent *agent;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    must_add(false, KH_ICE_HOST, "198.51.100.20:4000", "198.51.100.20:4000");
    must_add(true, KH_ICE_SERVER_REFLEXIVE, "203.0.113.1:900", "192.168.1.5:4000");
    must_add(true, KH_ICE_HOST, "192.168.1.5:4000", "192.168.1.5:4000");
    must_add(true, KH_ICE_MAPPED, "203.0.113.1:4000", "192.168.1.5:4000");
    assert_int_equal(count_pairs(), 1);
    assert_int_equal(agent->locals[agent->pairs[0].local].kind, KH_ICE_HOST);
    must_add(true, KH_ICE_RELAYED, "198.51.100.1:50000", "198.51.100.1:50000");
    assert_int_equal(count_pairs(), 2);
    wire_fini(&wire);
}

/* RFC 8445 6.1.2.6 and 6.1.4.2: of one foundation, one pair is checked at a time. */
static void pairs_of_one_foundation_wait_for_the_first(void **state)
{
    struct kh_ice_agent *agent;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    must_add(true, KH_ICE_HOST, "198.51.100.10:4000", "198.51.100.10:4000");
    must_add(false, KH_ICE_SERVER_REFLEXIVE, "198.51.100.20:4000", "198.51.100.20:4000");
    must_add(false, KH_ICE_SERVER_REFLEXIVE, "198.51.100.20:4001", "198.51.100.20:4001");
    assert_int_equal(agent->pairs[0].state, KH_ICE_PAIR_WAITING);
    assert_int_equal(agent->pairs[1].state, KH_ICE_PAIR_FROZEN);
    kh_ice_agent_set_remote(agent, wire.now, &wire.hosts[BOB].credentials);
    wire_drain(&wire, ALICE);
    wire_run(&wire, KH_SECONDS(6));
    assert_int_equal(agent->stats.checks_sent, 1);
    wire_run(&wire, KH_SECONDS(1));
    assert_int_equal(agent->stats.checks_sent, 2);
    wire_fini(&wire);
}

static void duplicates_change_nothing(void **state)
{
    (void)state;
    arrange_alone();
    for (int i = 0; i < 3; i++) {
        must_add(true, KH_ICE_HOST, "198.51.100.10:4000", "198.51.100.10:4000");
        must_add(false, KH_ICE_HOST, "198.51.100.20:4000", "198.51.100.20:4000");
    }
    assert_int_equal(count_pairs(), 1);
    wire_fini(&wire);
}

static void addresses_nobody_can_reach_are_refused(void **state)
{
    (void)state;
    arrange_alone();
    assert_int_equal(add(false, KH_ICE_HOST, "0.0.0.0:4000", "0.0.0.0:4000"), KH_ERR_FORMAT);
    assert_int_equal(add(false, KH_ICE_HOST, "224.0.0.1:4000", "224.0.0.1:4000"), KH_ERR_FORMAT);
    assert_int_equal(add(false, KH_ICE_HOST, "198.51.100.20:0", "198.51.100.20:0"), KH_ERR_FORMAT);
    assert_int_equal(add(true, KH_ICE_SERVER_REFLEXIVE, "198.51.100.20:1", "[2001:db8::a]:1"),
                     KH_ERR_FORMAT);
    assert_int_equal(count_pairs(), 0);
    wire_fini(&wire);
}

static void add_many(bool is_local, unsigned first, unsigned count, enum kh_status expected)
{
    char text[64];

    for (unsigned i = first; i < first + count; i++) {
        (void)snprintf(text, sizeof text, "198.51.100.%u:4000", i);
        assert_int_equal(add(is_local, KH_ICE_HOST, text, text), expected);
    }
}

static void full_tables_refuse_and_keep_what_they_have(void **state)
{
    (void)state;
    arrange_alone();
    add_many(true, 1, KH_ICE_CANDIDATES_MAX, KH_OK);
    add_many(true, 101, 1, KH_ERR_FULL);
    add_many(false, 1, KH_ICE_CANDIDATES_MAX, KH_OK);
    add_many(false, 101, 1, KH_ERR_FULL);
    assert_int_equal(count_pairs(), KH_ICE_PAIRS_MAX);
    wire_fini(&wire);
}

static void a_relay_is_not_asked_for_private_addresses(void **state)
{
    (void)state;
    arrange_alone();
    must_add(true, KH_ICE_RELAYED, "192.0.2.1:50000", "192.0.2.1:50000");
    must_add(false, KH_ICE_HOST, "10.0.0.7:4000", "10.0.0.7:4000");
    assert_int_equal(count_pairs(), 0);
    must_add(false, KH_ICE_HOST, "198.51.100.7:4000", "198.51.100.7:4000");
    assert_int_equal(count_pairs(), 1);
    must_add(true, KH_ICE_RELAYED, "10.0.0.1:50000", "10.0.0.1:50000"); /* a lab's */
    assert_int_equal(count_pairs(), 3);
    wire_fini(&wire);
}

static void what_the_peer_gave_up_makes_no_pairs(void **state)
{
    struct kh_addr gone = kh_addr_ipv4(198, 51, 100, 8, 4000);
    struct kh_addr unknown = kh_addr_ipv4(198, 51, 100, 9, 4000);
    struct kh_ice_agent *agent;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    must_add(true, KH_ICE_HOST, "192.0.2.1:4000", "192.0.2.1:4000");
    must_add(false, KH_ICE_HOST, "198.51.100.7:4000", "198.51.100.7:4000");
    must_add(false, KH_ICE_RELAYED, "198.51.100.8:4000", "198.51.100.8:4000");
    assert_int_equal(count_pairs(), 2);
    kh_ice_agent_remove_remote(agent, wire.now, &unknown);
    assert_int_equal(count_pairs(), 2);
    kh_ice_agent_remove_remote(agent, wire.now, &gone);
    assert_int_equal(count_pairs(), 1);
    assert_int_equal(kh_ice_remote_find(agent, &gone), KH_ICE_NOWHERE);
    must_add(true, KH_ICE_HOST, "192.0.2.2:4000", "192.0.2.2:4000");
    assert_int_equal(count_pairs(), 2);
    wire_fini(&wire);
}

/* A pair of a better kind takes the place of the least one (RFC 8445 6.1.2.5). */
static void a_full_checklist_gives_up_its_least_pair(void **state)
{
    struct kh_ice_agent *agent;
    uint64_t least = UINT64_MAX;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    add_many(true, 1, 12, KH_OK);
    for (uint16_t i = 0; i < 12; i++) {
        struct kh_ice_candidate relayed = {.kind = KH_ICE_RELAYED,
                                           .addr = kh_addr_ipv4(192, 0, 2, 1, (uint16_t)(i + 1))};

        assert_int_equal(kh_ice_agent_add_remote(agent, wire.now, &relayed), KH_OK);
    }
    assert_int_equal(count_pairs(), KH_ICE_PAIRS_MAX);
    must_add(false, KH_ICE_HOST, "198.51.100.200:4000", "198.51.100.200:4000");
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        least = agent->pairs[i].priority < least ? agent->pairs[i].priority : least;
    assert_int_equal(count_pairs(), KH_ICE_PAIRS_MAX);
    for (uint8_t i = 0; i < 12; i++)
        assert_int_not_equal(kh_ice_pair_find(agent, &agent->locals[i].base, 12), KH_ICE_NOWHERE);
    assert_true(least > 0);
    wire_fini(&wire);
}

/* Candidates of credentials gone by make room, those of now do not. */
static void old_remote_candidates_make_room_after_a_restart(void **state)
{
    struct kh_ice_credentials again = {.ufrag = "again", .password = "0123456789abcdefghijkl"};
    struct kh_ice_agent *agent;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    kh_ice_agent_set_remote(agent, wire.now, &wire.hosts[BOB].credentials);
    wire_drain(&wire, ALICE);
    add_many(false, 1, KH_ICE_CANDIDATES_MAX, KH_OK);
    kh_ice_agent_set_remote(agent, wire.now, &again);
    wire_drain(&wire, ALICE);
    add_many(false, 101, KH_ICE_CANDIDATES_MAX, KH_OK);
    add_many(false, 1, 1, KH_ERR_FULL);
    wire_fini(&wire);
}

/* The peer tells of them again with its new credentials: then they stay. */
static void remote_candidates_told_again_are_of_now(void **state)
{
    struct kh_ice_credentials again = {.ufrag = "again", .password = "0123456789abcdefghijkl"};
    struct kh_ice_agent *agent;

    (void)state;
    arrange_alone();
    agent = wire.hosts[ALICE].agent;
    kh_ice_agent_set_remote(agent, wire.now, &wire.hosts[BOB].credentials);
    wire_drain(&wire, ALICE);
    add_many(false, 1, KH_ICE_CANDIDATES_MAX, KH_OK);
    kh_ice_agent_set_remote(agent, wire.now, &again);
    wire_drain(&wire, ALICE);
    add_many(false, 1, KH_ICE_CANDIDATES_MAX, KH_OK);
    add_many(false, 101, 1, KH_ERR_FULL);
    wire_fini(&wire);
}

/* Alice with one host candidate and the credentials of Bob. */
static void arrange_told(void)
{
    arrange_alone();
    wire_add_addr(&wire, ALICE, "192.168.1.5:4000");
    must_add(true, KH_ICE_HOST, "192.168.1.5:4000", "192.168.1.5:4000");
    kh_ice_agent_set_remote(wire.hosts[ALICE].agent, wire.now, &wire.hosts[BOB].credentials);
    wire_drain(&wire, ALICE);
}

static void overhear(unsigned n)
{
    const struct wire_request request = {.priority = 0x6e0000ff, .role = KH_STUN_ICE_CONTROLLED};
    char text[64];

    (void)snprintf(text, sizeof text, "198.51.100.%u:4000", n);
    assert_true(wire_ask(&wire, ALICE, text, &request));
}

static void what_was_only_overheard_makes_room_for_what_is_told(void **state)
{
    (void)state;
    arrange_told();
    for (unsigned i = 1; i <= 2 * KH_ICE_CANDIDATES_MAX; i++)
        overhear(i);
    add_many(false, 101, KH_ICE_CANDIDATES_MAX, KH_OK);
    add_many(false, 201, 1, KH_ERR_FULL);
    wire_fini(&wire);
}

/* RFC 8838 11.4: the news may come after the check. */
static void an_overheard_candidate_becomes_what_it_is_told_to_be(void **state)
{
    const struct kh_ice_entry *entry;

    (void)state;
    arrange_told();
    overhear(7);
    entry = &wire.hosts[ALICE].agent->remotes[0];
    assert_int_equal(entry->kind, KH_ICE_PEER_REFLEXIVE);
    assert_int_equal(entry->priority, 0x6e0000ff);
    must_add(false, KH_ICE_RELAYED, "198.51.100.7:4000", "198.51.100.7:4000");
    assert_int_equal(entry->kind, KH_ICE_RELAYED);
    assert_int_equal(entry->priority >> 24, 0);
    assert_int_equal(count_pairs(), 1);
    wire_fini(&wire);
}

/* RFC 8445 7.2.5.3.1: each new NAT mapping is a candidate; those no longer in use are forgotten. */
static void local_candidates_seen_by_the_peer_come_and_go(void **state)
{
    struct kh_ice_agent *agent;
    struct wire_packet check;
    struct kh_addr mapped;

    (void)state;
    arrange_told();
    agent = wire.hosts[ALICE].agent;
    overhear(7);
    for (uint16_t i = 1; i <= 2 * KH_ICE_CANDIDATES_MAX; i++) {
        mapped = kh_addr_ipv4(203, 0, 113, 1, i);
        check = wire.last_sent[ALICE];
        assert_true(wire_answer(&wire, ALICE, &check, &mapped));
        check = wire.last_sent[ALICE];
        if (i == 1) /* answers the nomination, so that only consent is left */
            assert_true(wire_answer(&wire, ALICE, &check, &mapped));
        wire_run(&wire, KH_SECONDS(6));
    }
    assert_true(kh_addr_equal(&agent->locals[agent->pairs[0].seen].addr, &mapped));
    assert_int_equal(agent->locals[agent->pairs[0].seen].kind, KH_ICE_PEER_REFLEXIVE);
    must_add(true, KH_ICE_SERVER_REFLEXIVE, "203.0.113.1:48", "192.168.1.5:4000");
    assert_int_equal(agent->locals[agent->pairs[0].seen].kind, KH_ICE_SERVER_REFLEXIVE);
    wire_fini(&wire);
}

/* RFC 8445 7.1.1 would make a relay look like a direct way until the peer is told what it is. */
static void checks_through_a_relay_claim_its_priority(void **state)
{
    struct kh_stun_message sent;
    uint32_t priority;

    (void)state;
    arrange_told();
    must_add(false, KH_ICE_HOST, "198.51.100.20:4000", "198.51.100.20:4000");
    wire_parse_sent(&wire, ALICE, &sent);
    assert_true(kh_stun_find_u32(&sent, KH_STUN_PRIORITY, &priority));
    assert_int_equal(priority >> 24, 110);
    must_add(true, KH_ICE_RELAYED, "198.51.100.1:50000", "198.51.100.1:50000");
    wire_parse_sent(&wire, ALICE, &sent);
    assert_true(kh_stun_find_u32(&sent, KH_STUN_PRIORITY, &priority));
    assert_int_equal(priority >> 24, 0);
    wire_fini(&wire);
}

/* RFC 8445 7.2.5.3.3: success of one speaks for all of its foundation. */
static void success_thaws_the_foundation(void **state)
{
    struct wire_packet check;

    (void)state;
    arrange_told();
    must_add(false, KH_ICE_HOST, "198.51.100.20:4000", "198.51.100.20:4000");
    must_add(false, KH_ICE_HOST, "198.51.100.20:4001", "198.51.100.20:4001");
    assert_int_equal(wire.hosts[ALICE].agent->pairs[1].state, KH_ICE_PAIR_FROZEN);
    check = wire.last_sent[ALICE];
    assert_true(wire_answer(&wire, ALICE, &check, &check.from));
    assert_int_not_equal(wire.hosts[ALICE].agent->pairs[1].state, KH_ICE_PAIR_FROZEN);
    wire_fini(&wire);
}

static void credentials_are_made_of_ice_chars(void **state)
{
    struct kh_ice_credentials made, bad;
    struct kh_rng rng;

    (void)state;
    kh_rng_init(&rng, (const uint8_t[32]){1});
    kh_ice_credentials_make(&made, &rng);
    kh_rng_fini(&rng);
    assert_int_equal(strlen(made.ufrag), 8);
    assert_int_equal(strlen(made.password), 24);
    assert_true(kh_ice_credentials_are_valid(&made));
    bad = made;
    bad.ufrag[3] = ':';
    assert_false(kh_ice_credentials_are_valid(&bad));
    bad = made;
    bad.ufrag[3] = '\0';
    assert_false(kh_ice_credentials_are_valid(&bad));
    bad = made;
    memset(bad.password, 'a', sizeof bad.password); /* no terminator */
    assert_false(kh_ice_credentials_are_valid(&bad));
    memset(&bad, 0, sizeof bad);
    assert_false(kh_ice_credentials_are_valid(&bad));
}

static void bad_remote_credentials_are_dropped(void **state)
{
    struct kh_ice_credentials bad = {.ufrag = "a"};

    (void)state;
    arrange_alone();
    kh_ice_agent_set_remote(wire.hosts[ALICE].agent, wire.now, &bad);
    wire_drain(&wire, ALICE);
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_NEW);
    assert_int_equal(kh_ice_agent_stats(wire.hosts[ALICE].agent).dropped_malformed, 1);
    wire_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(priorities_order_kinds_before_places),
        cmocka_unit_test(a_pair_has_the_priority_of_the_formula),
        cmocka_unit_test(only_what_can_reach_each_other_is_paired),
        cmocka_unit_test(reflexive_pairs_are_pruned_to_their_base),
        cmocka_unit_test(pairs_of_one_foundation_wait_for_the_first),
        cmocka_unit_test(duplicates_change_nothing),
        cmocka_unit_test(addresses_nobody_can_reach_are_refused),
        cmocka_unit_test(full_tables_refuse_and_keep_what_they_have),
        cmocka_unit_test(a_relay_is_not_asked_for_private_addresses),
        cmocka_unit_test(what_the_peer_gave_up_makes_no_pairs),
        cmocka_unit_test(a_full_checklist_gives_up_its_least_pair),
        cmocka_unit_test(old_remote_candidates_make_room_after_a_restart),
        cmocka_unit_test(remote_candidates_told_again_are_of_now),
        cmocka_unit_test(what_was_only_overheard_makes_room_for_what_is_told),
        cmocka_unit_test(an_overheard_candidate_becomes_what_it_is_told_to_be),
        cmocka_unit_test(local_candidates_seen_by_the_peer_come_and_go),
        cmocka_unit_test(checks_through_a_relay_claim_its_priority),
        cmocka_unit_test(success_thaws_the_foundation),
        cmocka_unit_test(credentials_are_made_of_ice_chars),
        cmocka_unit_test(bad_remote_credentials_are_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
