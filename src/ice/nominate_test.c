/* ice/nominate_test.c - roles and the choice of the path (RFC 8445 7.3.1.1, 7.2.5.1, 8).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

#include <string.h>

#define PRFLX_PRIORITY 0x6e0000ffu

static struct wire wire;

static struct kh_ice_stats stats_of(int host)
{
    return kh_ice_agent_stats(wire.hosts[host].agent);
}

static void add_open_addrs(void)
{
    wire_add_addr(&wire, ALICE, "198.51.100.10:4000");
    wire_add_addr(&wire, BOB, "198.51.100.20:4000");
}

/* RFC 8445 7.3.1.1, 7.2.5.1: whoever has the larger tie-breaker is right. */
static void settle_conflict(enum kh_ice_role role)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kh_ice_config config = {.role = role};
        struct kh_stun_message sent;
        bool alice_controls;
        uint64_t tie;

        wire_init(&wire, seed);
        wire.jitter = KH_MILLISECONDS(seed % 30);
        wire.hosts[BOB].learns_at += KH_MILLISECONDS(seed % 50);
        add_open_addrs();
        wire_add_agent(&wire, ALICE, &config);
        wire_add_agent(&wire, BOB, &config);
        wire_meet(&wire);
        assert_true(wire_connect(&wire, KH_SECONDS(1)));
        wire_run(&wire, KH_SECONDS(20));
        assert_true(wire_agrees(&wire));
        assert_true(stats_of(ALICE).role_conflicts + stats_of(BOB).role_conflicts > 0);
        /* Both have asked for consent since: with opposite roles, and one that nominates. */
        for (int i = 0; i < 2; i++) {
            do
                wire_run(&wire, KH_MILLISECONDS(1));
            while (wire.last_sent[i].data[0] != 0);
            wire_parse_sent(&wire, i, &sent);
            if (i == ALICE)
                alice_controls = kh_stun_find_u64(&sent, KH_STUN_ICE_CONTROLLING, &tie);
            else
                assert_true(alice_controls !=
                            kh_stun_find_u64(&sent, KH_STUN_ICE_CONTROLLING, &tie));
            assert_true(kh_stun_find_u64(&sent, KH_STUN_ICE_CONTROLLING, &tie) ==
                        kh_stun_find_flag(&sent, KH_STUN_USE_CANDIDATE));
        }
        wire_fini(&wire);
    }
}

static void two_controlling_agents_settle_their_roles(void **state)
{
    (void)state;
    settle_conflict(KH_ICE_CONTROLLING);
}

static void two_controlled_agents_settle_their_roles(void **state)
{
    (void)state;
    settle_conflict(KH_ICE_CONTROLLED);
}

/* Asks Alice with a tie-breaker of our choice; returns the class of her last word but one. */
static void ask_alice(uint16_t role, uint64_t tie_breaker, unsigned expected_error)
{
    const struct wire_request request = {
        .priority = PRFLX_PRIORITY, .role = role, .tie_breaker = tie_breaker};
    struct kh_stun_message sent;
    unsigned code = 0;

    assert_true(wire_ask(&wire, ALICE, "198.51.100.20:4000", &request));
    wire_parse_sent(&wire, ALICE, &sent);
    (void)kh_stun_find_error(&sent, &code, NULL);
    assert_int_equal(code, expected_error);
}

static void arrange_silent_bob(enum kh_ice_role role)
{
    struct kh_ice_config config = {.role = role};

    wire_init(&wire, 1);
    add_open_addrs();
    wire_add_agent(&wire, ALICE, &config);
    wire_meet(&wire);
    wire.is_cut = true;
    wire.hosts[BOB].learns_at = KH_NEVER;
    wire_run(&wire, KH_SECONDS(1));
}

static void the_larger_tie_breaker_keeps_its_role(void **state)
{
    (void)state;
    arrange_silent_bob(KH_ICE_CONTROLLING);
    ask_alice(KH_STUN_ICE_CONTROLLING, 0, 487);
    ask_alice(KH_STUN_ICE_CONTROLLING, UINT64_MAX, 0); /* Alice is controlled from here … */
    ask_alice(KH_STUN_ICE_CONTROLLED, UINT64_MAX, 487);
    ask_alice(KH_STUN_ICE_CONTROLLED, 0, 0); /* … to here */
    ask_alice(KH_STUN_ICE_CONTROLLING, 0, 487);
    assert_int_equal(stats_of(ALICE).role_conflicts, 5);
    wire_fini(&wire);
}

static bool only_relayed(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    struct kh_addr relay = at->hosts[BOB].relay;

    (void)host;
    (void)copy;
    return kh_addr_equal(&datagram->from, &relay) || kh_addr_equal(&datagram->to, &relay);
}

/* The relay works first; when the direct way opens, the data moves there, on both sides. */
static void a_direct_pair_replaces_a_relayed_one(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_open_addrs();
    wire.hosts[BOB].relay = wire_addr("198.51.100.1:50000");
    wire.tamper = only_relayed;
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_SECONDS(1));
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_RELAYED);
    assert_int_equal(wire.hosts[BOB].path.local_kind, KH_ICE_RELAYED);
    wire.tamper = NULL;
    wire_run(&wire, KH_SECONDS(3)); /* the checks of the better pair have not ended yet */
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_HOST);
    assert_int_equal(wire.hosts[ALICE].paths, 2);
    assert_int_equal(wire.hosts[BOB].path.local_kind, KH_ICE_HOST);
    assert_int_equal(wire.hosts[BOB].paths, 2);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

static bool ipv4_is_slow(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    (void)host;
    (void)copy;
    at->delay = datagram->to.family == KH_FAMILY_IPV4 ? KH_MILLISECONDS(20) : KH_MILLISECONDS(90);
    return true;
}

/* The faster IPv4 answers first and stays: IPv6 works too, but is no improvement. */
static void a_slower_pair_does_not_replace_a_faster_one(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_open_addrs();
    wire_add_addr(&wire, ALICE, "[2001:db8::a]:4000");
    wire_add_addr(&wire, BOB, "[2001:db8::b]:4000");
    wire.tamper = ipv4_is_slow;
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_SECONDS(60));
    assert_int_equal(wire.hosts[ALICE].valids, 2);
    assert_int_equal(wire.hosts[ALICE].paths, 1);
    assert_int_equal(wire.hosts[ALICE].path.local.family, KH_FAMILY_IPV4);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

static bool relay_is_fast(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    bool is_relayed = only_relayed(at, host, datagram, copy);

    at->delay = is_relayed ? KH_MILLISECONDS(5) : KH_MILLISECONDS(100);
    return true;
}

/* However good the relay: it costs others, and it is one more party to depend on. */
static void a_slow_direct_pair_replaces_a_fast_relayed_one(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_open_addrs();
    wire.hosts[BOB].relay = wire_addr("198.51.100.1:50000");
    wire.tamper = relay_is_fast;
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_RELAYED);
    wire_run(&wire, KH_SECONDS(60));
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_HOST);
    assert_int_equal(wire.hosts[ALICE].paths, 2);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

static bool private_is_slow(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    bool is_private = kh_addr_reach(&datagram->to) == KH_REACH_PRIVATE;

    (void)host;
    (void)copy;
    at->delay = is_private ? KH_MILLISECONDS(80) : KH_MILLISECONDS(10);
    return true;
}

/* Two host candidates may be the ends of a slow tunnel: kind alone is no reason to change. */
static void a_slower_host_pair_does_not_replace_a_reflexive_one(void **state)
{
    static const struct nat_config hairpin = {.hairpin = NAT_HAIRPIN_EXTERNAL};

    (void)state;
    wire_init(&wire, 1);
    wire_add_nat(&wire, ALICE, &hairpin);
    wire.hosts[BOB].nat = wire.hosts[ALICE].nat;
    wire_add_addr(&wire, BOB, "192.168.1.6:4001");
    wire.same_site = true;
    wire.tamper = private_is_slow;
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_SECONDS(60));
    assert_int_not_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_HOST);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

static kh_time fast_from;

/* IPv6 is the faster way, but opens only later. */
static bool ipv6_is_late(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    (void)host;
    (void)copy;
    at->delay = datagram->to.family == KH_FAMILY_IPV6 ? KH_MILLISECONDS(20) : KH_MILLISECONDS(50);
    return datagram->to.family == KH_FAMILY_IPV4 || at->now >= fast_from;
}

static void a_notably_faster_pair_replaces_a_slower_one(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_open_addrs();
    wire_add_addr(&wire, ALICE, "[2001:db8::a]:4000");
    wire_add_addr(&wire, BOB, "[2001:db8::b]:4000");
    wire.tamper = ipv6_is_late;
    fast_from = wire.now + KH_MILLISECONDS(300);
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    assert_int_equal(wire.hosts[ALICE].path.local.family, KH_FAMILY_IPV4);
    wire_run(&wire, KH_SECONDS(20));
    assert_int_equal(wire.hosts[ALICE].path.local.family, KH_FAMILY_IPV6);
    assert_int_equal(wire.hosts[ALICE].paths, 2);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

static bool answers_and_nominations_are_lost(struct wire *at, int host,
                                             struct kh_datagram *datagram, uint8_t *copy)
{
    struct kh_addr relay = at->hosts[BOB].relay;
    bool is_relayed =
        kh_addr_equal(&datagram->from, &relay) || kh_addr_equal(&datagram->to, &relay);

    (void)copy;
    /* Alice hears one answer on the direct way, and then never again. */
    return is_relayed || host == ALICE || at->hosts[ALICE].valids < 2;
}

/* Bob followed the nomination, but Alice never hears so: she calls him back with a higher value. */
static void a_nomination_without_answer_is_called_back(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_open_addrs();
    wire.hosts[BOB].relay = wire_addr("198.51.100.1:50000");
    wire.tamper = only_relayed;
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_MILLISECONDS(500));
    wire.tamper = answers_and_nominations_are_lost;
    wire_run(&wire, KH_SECONDS(3));
    assert_int_equal(wire.hosts[ALICE].valids, 2);
    assert_int_equal(wire.hosts[BOB].path.local_kind, KH_ICE_HOST); /* he moved */
    wire_run(&wire, KH_SECONDS(20));
    assert_int_equal(wire.hosts[ALICE].paths, 1); /* she never did */
    assert_int_equal(wire.hosts[BOB].path.local_kind, KH_ICE_RELAYED);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

/* Lets Bob's checks of Alice come from two addresses that both answer; Bob is the wire itself. */
static void answer_checks_of_alice(void)
{
    struct wire_packet check = wire.last_sent[ALICE];

    assert_true(wire_answer(&wire, ALICE, &check, &check.from));
}

static void nominate_to_alice(const char *from, uint32_t nomination)
{
    /* Bob's addresses differ in what he says they are worth: port 6000 least, 7000 most. */
    const struct wire_request request = {.priority = PRFLX_PRIORITY + (from[14] == '5') * 256u +
                                                     (from[14] == '7') * 512u,
                                         .role = KH_STUN_ICE_CONTROLLING,
                                         .use_candidate = true,
                                         .nomination = nomination};

    assert_true(wire_ask(&wire, ALICE, from, &request));
}

static bool alice_uses(const char *remote)
{
    struct kh_addr addr = wire_addr(remote);

    return kh_addr_equal(&wire.hosts[ALICE].path.remote, &addr);
}

/* Makes both addresses of Bob valid to Alice, who is controlled. */
static void arrange_two_valid(uint32_t first, uint32_t second)
{
    arrange_silent_bob(KH_ICE_CONTROLLED);
    nominate_to_alice("198.51.100.20:5000", first);
    answer_checks_of_alice();
    nominate_to_alice("198.51.100.20:6000", second);
    answer_checks_of_alice();
    assert_int_equal(wire.hosts[ALICE].valids, 2);
}

/* draft-thatcher-ice-renomination 3: the highest value counts, whatever order they come in. */
static void the_highest_nomination_wins(void **state)
{
    (void)state;
    arrange_two_valid(1, 2);
    assert_true(alice_uses("198.51.100.20:6000"));
    nominate_to_alice("198.51.100.20:5000", 1); /* late */
    assert_true(alice_uses("198.51.100.20:6000"));
    nominate_to_alice("198.51.100.20:5000", 0); /* and one without value says less */
    assert_true(alice_uses("198.51.100.20:6000"));
    nominate_to_alice("198.51.100.20:5000", 3);
    assert_true(alice_uses("198.51.100.20:5000"));
    wire_fini(&wire);
}

/* RFC 8445 7.3.1.1: who becomes controlling has to nominate. */
static void a_new_controlling_agent_nominates_what_it_uses(void **state)
{
    const struct wire_request yield = {
        .priority = PRFLX_PRIORITY, .role = KH_STUN_ICE_CONTROLLED, .tie_breaker = 0};
    struct kh_stun_message sent;
    uint32_t nomination;

    (void)state;
    arrange_two_valid(1, 2);
    assert_true(wire_ask(&wire, ALICE, "198.51.100.20:6000", &yield));
    wire_parse_sent(&wire, ALICE, &sent);
    assert_int_equal(sent.class, KH_STUN_REQUEST);
    assert_true(kh_stun_find_flag(&sent, KH_STUN_USE_CANDIDATE));
    assert_true(kh_stun_find_u32(&sent, KH_STUN_NOMINATION, &nomination));
    assert_int_equal(nomination, 3);
    wire_fini(&wire);
}

static void a_lower_nomination_does_not_move_the_path(void **state)
{
    (void)state;
    arrange_two_valid(7, 2);
    assert_true(alice_uses("198.51.100.20:5000"));
    wire_fini(&wire);
}

/* RFC 8445 8.1.1 nominates one pair; RFC 5245 8.1.1.2 all, of which the best counts. */
static void nominations_without_a_value_are_followed(void **state)
{
    (void)state;
    arrange_two_valid(0, 0);
    assert_true(alice_uses("198.51.100.20:5000"));
    nominate_to_alice("198.51.100.20:7000", 0);
    answer_checks_of_alice();
    assert_true(alice_uses("198.51.100.20:7000"));
    assert_int_equal(wire.hosts[ALICE].paths, 2);
    wire_fini(&wire);
}

/* Alice is controlled and told of a relay and of a direct address of Bob; the relay works first. */
static void arrange_relay_then_direct(uint32_t nomination)
{
    struct wire_request request = {.priority = PRFLX_PRIORITY,
                                   .role = KH_STUN_ICE_CONTROLLING,
                                   .use_candidate = nomination != 0,
                                   .nomination = nomination};
    struct kh_ice_candidate relay =
        wire_candidate(KH_ICE_RELAYED, "198.51.100.1:50000", "198.51.100.1:50000");

    arrange_silent_bob(KH_ICE_CONTROLLED);
    assert_int_equal(kh_ice_agent_add_remote(wire.hosts[ALICE].agent, wire.now, &relay), KH_OK);
    wire_drain(&wire, ALICE);
    answer_checks_of_alice(); /* the last one went to the relay */
    assert_true(alice_uses("198.51.100.1:50000"));
    assert_true(wire_ask(&wire, ALICE, "198.51.100.1:50000", &request));
    wire_run(&wire, KH_SECONDS(1)); /* a repeated check of the direct address */
    answer_checks_of_alice();
    assert_int_equal(wire.hosts[ALICE].valids, 2);
}

/* RFC 8445 12.1: before a nomination any valid pair will do, so the better one. */
static void the_controlled_side_uses_the_better_pair_until_told(void **state)
{
    (void)state;
    arrange_relay_then_direct(0);
    assert_true(alice_uses("198.51.100.20:4000"));
    wire_fini(&wire);
}

static void the_controlled_side_stays_on_what_is_nominated(void **state)
{
    (void)state;
    arrange_relay_then_direct(1);
    assert_true(alice_uses("198.51.100.1:50000"));
    wire_fini(&wire);
}

/* A late answer to a plain check must not stand for that to a nominating one. */
static void an_earlier_answer_does_not_end_a_nomination(void **state)
{
    const struct wire_request request = {.priority = PRFLX_PRIORITY,
                                         .role = KH_STUN_ICE_CONTROLLED};
    struct wire_packet first, second;

    (void)state;
    arrange_silent_bob(KH_ICE_CONTROLLING);
    first = wire.last_sent[ALICE];
    assert_true(wire_ask(&wire, ALICE, "198.51.100.20:4000", &request));
    second = wire.last_sent[ALICE]; /* triggered: another check */
    assert_memory_not_equal(first.data + 8, second.data + 8, KH_STUN_ID_LEN);
    assert_true(wire_answer(&wire, ALICE, &second, &second.from)); /* now she nominates */
    assert_int_equal(wire.hosts[ALICE].paths, 1);
    assert_true(wire_answer(&wire, ALICE, &first, &first.from));
    wire.hosts[ALICE].sent = 0;
    wire_run(&wire, KH_SECONDS(3));
    assert_true(wire.hosts[ALICE].sent >= 2); /* and goes on doing so */
    wire_fini(&wire);
}

static void the_values_of_a_new_peer_count_from_the_start(void **state)
{
    struct kh_ice_credentials fresh = {"fresh", "abcdefghijabcdefghijabcd"};

    (void)state;
    arrange_two_valid(1, 7);
    wire.hosts[BOB].credentials = fresh;
    kh_ice_agent_set_remote(wire.hosts[ALICE].agent, wire.now, &fresh);
    wire_drain(&wire, ALICE);
    wire_run(&wire, KH_SECONDS(1));
    nominate_to_alice("198.51.100.20:5000", 1);
    wire_run(&wire, KH_SECONDS(1));
    for (int i = 0; i < 3 && !alice_uses("198.51.100.20:5000"); i++) {
        if (wire.last_sent[ALICE].to.port == 5000)
            answer_checks_of_alice();
        wire_run(&wire, KH_MILLISECONDS(500));
    }
    assert_true(alice_uses("198.51.100.20:5000"));
    nominate_to_alice("198.51.100.20:6000", 2);
    for (int i = 0; i < 3 && !alice_uses("198.51.100.20:6000"); i++) {
        if (wire.last_sent[ALICE].to.port == 6000 && wire.last_sent[ALICE].data[0] == 0)
            answer_checks_of_alice();
        wire_run(&wire, KH_MILLISECONDS(500));
    }
    assert_true(alice_uses("198.51.100.20:6000"));
    wire_fini(&wire);
}

/* RFC 8445 7.3.1.5: a nomination of a pair not yet valid waits for its check. */
static void a_nominated_pair_is_used_once_it_is_valid(void **state)
{
    (void)state;
    arrange_silent_bob(KH_ICE_CONTROLLED);
    nominate_to_alice("198.51.100.20:5000", 1);
    assert_int_equal(wire.hosts[ALICE].paths, 0);
    answer_checks_of_alice();
    assert_true(alice_uses("198.51.100.20:5000"));
    wire_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_controlling_agents_settle_their_roles),
        cmocka_unit_test(two_controlled_agents_settle_their_roles),
        cmocka_unit_test(the_larger_tie_breaker_keeps_its_role),
        cmocka_unit_test(a_direct_pair_replaces_a_relayed_one),
        cmocka_unit_test(a_slower_pair_does_not_replace_a_faster_one),
        cmocka_unit_test(a_slow_direct_pair_replaces_a_fast_relayed_one),
        cmocka_unit_test(a_slower_host_pair_does_not_replace_a_reflexive_one),
        cmocka_unit_test(the_controlled_side_uses_the_better_pair_until_told),
        cmocka_unit_test(the_controlled_side_stays_on_what_is_nominated),
        cmocka_unit_test(an_earlier_answer_does_not_end_a_nomination),
        cmocka_unit_test(the_values_of_a_new_peer_count_from_the_start),
        cmocka_unit_test(a_notably_faster_pair_replaces_a_slower_one),
        cmocka_unit_test(a_nomination_without_answer_is_called_back),
        cmocka_unit_test(the_highest_nomination_wins),
        cmocka_unit_test(a_new_controlling_agent_nominates_what_it_uses),
        cmocka_unit_test(a_lower_nomination_does_not_move_the_path),
        cmocka_unit_test(nominations_without_a_value_are_followed),
        cmocka_unit_test(a_nominated_pair_is_used_once_it_is_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
