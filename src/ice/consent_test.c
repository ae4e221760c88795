/* ice/consent_test.c - a path that works is kept cheaply, one that does not is left (RFC 7675).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

static struct wire wire;

static const struct nat_config port_restricted = {.filtering = NAT_ADDRESS_AND_PORT_DEPENDENT};

static struct kh_ice_stats stats_of(int host)
{
    return kh_ice_agent_stats(wire.hosts[host].agent);
}

static enum kh_ice_state state_of(int host)
{
    return kh_ice_agent_state(wire.hosts[host].agent);
}

static void add_ipv4(void)
{
    wire_add_addr(&wire, ALICE, "198.51.100.10:4000");
    wire_add_addr(&wire, BOB, "198.51.100.20:4000");
}

static void add_ipv6(void)
{
    wire_add_addr(&wire, ALICE, "[2001:db8::a]:4000");
    wire_add_addr(&wire, BOB, "[2001:db8::b]:4000");
}

static void connect_all(void)
{
    wire_meet(&wire);
    assert_true(wire_connect(&wire, KH_SECONDS(2)));
    wire_run(&wire, KH_SECONDS(2));
    assert_true(wire_agrees(&wire));
}

static void connect_open(void)
{
    wire_init(&wire, 1);
    add_ipv4();
    connect_all();
}

/* RFC 7675 5.1: one check each 4 to 6 s, and no other reason to wake. */
static void an_idle_agent_wakes_for_consent_only(void **state)
{
    struct kh_ice_stats before;

    (void)state;
    connect_open();
    before = stats_of(ALICE);
    wire.hosts[ALICE].wakes = 0;
    wire_run(&wire, KH_SECONDS(600));
    assert_in_range(wire.hosts[ALICE].wakes, 100, 150);
    assert_int_equal(stats_of(ALICE).checks_sent - before.checks_sent, wire.hosts[ALICE].wakes);
    assert_int_equal(stats_of(ALICE).checks_retransmitted, before.checks_retransmitted);
    assert_int_equal(wire.hosts[ALICE].strays + wire.hosts[BOB].strays, 0);
    wire_fini(&wire);
}

/* RFC 7675 5.1: 30 s after the last answer nothing may be sent any more. */
static void consent_ends_thirty_seconds_after_the_last_answer(void **state)
{
    kh_time cut;

    (void)state;
    connect_open();
    cut = wire.now;
    wire.is_cut = true;
    while (state_of(ALICE) == KH_ICE_CONNECTED)
        wire_run(&wire, KH_MILLISECONDS(10));
    assert_in_range(wire.now - cut, KH_SECONDS(24), KH_SECONDS(30));
    assert_int_equal(state_of(ALICE), KH_ICE_FAILED);
    assert_false(kh_ice_agent_is_valid(wire.hosts[ALICE].agent, &wire.hosts[ALICE].path.local,
                                       &wire.hosts[ALICE].path.remote));
    wire_run(&wire, KH_SECONDS(10));
    wire.hosts[ALICE].sent = 0;
    wire.is_cut = false;
    wire_run(&wire, KH_SECONDS(100));
    assert_int_equal(wire.hosts[ALICE].sent, 0); /* only a restart leaves FAILED */
    wire_fini(&wire);
}

/* A silent path is asked once a second, not more. */
static void a_suspect_path_is_asked_once_a_second(void **state)
{
    uint64_t before;

    (void)state;
    connect_open();
    wire.is_cut = true;
    wire_run(&wire, KH_SECONDS(12));
    before = wire.hosts[ALICE].sent;
    wire_run(&wire, KH_SECONDS(10));
    assert_in_range(wire.hosts[ALICE].sent - before, 9, 11);
    wire_fini(&wire);
}

static void a_short_cut_is_survived_on_the_same_path(void **state)
{
    (void)state;
    connect_open();
    wire.is_cut = true;
    wire_run(&wire, KH_SECONDS(20));
    wire.is_cut = false;
    wire_run(&wire, KH_SECONDS(20));
    assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
    assert_int_equal(state_of(BOB), KH_ICE_CONNECTED);
    assert_int_equal(wire.hosts[ALICE].paths, 1);
    wire_fini(&wire);
}

static uint8_t dead_family;

static bool one_family_is_dead(struct wire *at, int host, struct kh_datagram *datagram,
                               uint8_t *copy)
{
    (void)at;
    (void)host;
    (void)copy;
    return datagram->to.family != dead_family;
}

static void a_dead_path_is_left_within_ten_seconds(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        wire_init(&wire, seed);
        add_ipv4();
        add_ipv6();
        connect_all();
        wire_run(&wire, KH_MILLISECONDS(100 * seed));
        dead_family = wire.hosts[ALICE].path.local.family;
        wire.tamper = one_family_is_dead;
        wire_run(&wire, KH_SECONDS(10));
        assert_int_not_equal(wire.hosts[ALICE].path.local.family, dead_family);
        assert_int_not_equal(wire.hosts[BOB].path.local.family, dead_family);
        assert_true(wire_agrees(&wire));
        wire_run(&wire, KH_SECONDS(100));
        assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
        assert_int_equal(state_of(BOB), KH_ICE_CONNECTED);
        wire_fini(&wire);
    }
}

static void doubt(int host)
{
    kh_ice_agent_doubt(wire.hosts[host].agent, wire.now);
    wire_drain(&wire, host);
}

/* The owner knows by what is not acknowledged long before consent asks again. */
static void a_doubted_dead_path_is_left_within_a_second_and_a_half(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        wire_init(&wire, seed);
        add_ipv4();
        add_ipv6();
        connect_all();
        wire_run(&wire, KH_MILLISECONDS(100 * seed));
        dead_family = wire.hosts[ALICE].path.local.family;
        wire.tamper = one_family_is_dead;
        wire_run(&wire, KH_MILLISECONDS(400));
        doubt(ALICE);
        doubt(BOB);
        wire_run(&wire, KH_MILLISECONDS(1500));
        assert_int_not_equal(wire.hosts[ALICE].path.local.family, dead_family);
        assert_int_not_equal(wire.hosts[BOB].path.local.family, dead_family);
        assert_true(wire_agrees(&wire));
        wire_fini(&wire);
    }
}

static bool only_the_relay_passes(struct wire *at, int host, struct kh_datagram *datagram,
                                  uint8_t *copy)
{
    const struct kh_addr *relay = &at->hosts[BOB].relay;

    (void)host;
    (void)copy;
    return kh_addr_equal(&datagram->from, relay) || kh_addr_equal(&datagram->to, relay);
}

static bool is_relayed(int host)
{
    const struct kh_ice_path *path = &wire.hosts[host].path;

    return path->local_kind == KH_ICE_RELAYED || path->remote_kind == KH_ICE_RELAYED;
}

/* What is better and was silent for a moment is asked again with every consent check. */
static void a_better_path_that_was_silent_for_a_moment_is_back_soon(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        wire_init(&wire, seed);
        add_ipv4();
        wire.hosts[BOB].relay = wire_addr("198.51.100.1:50000");
        connect_all();
        wire_run(&wire, KH_MILLISECONDS(100 * seed));
        assert_false(is_relayed(ALICE) || is_relayed(BOB));
        wire.tamper = only_the_relay_passes;
        wire_run(&wire, KH_MILLISECONDS(400));
        doubt(ALICE);
        doubt(BOB);
        wire_run(&wire, KH_SECONDS(2));
        assert_true(is_relayed(ALICE) && is_relayed(BOB));
        wire.tamper = NULL;
        wire_run(&wire, KH_SECONDS(7));
        assert_false(is_relayed(ALICE) || is_relayed(BOB));
        assert_true(wire_agrees(&wire));
        wire_fini(&wire);
    }
}

static void doubts_without_reason_cost_one_check_and_seldom(void **state)
{
    uint64_t before;

    (void)state;
    connect_open();
    wire_run(&wire, KH_SECONDS(1));
    before = stats_of(ALICE).checks_sent;
    for (int i = 0; i < 200; i++) {
        doubt(ALICE);
        wire_run(&wire, KH_MILLISECONDS(10));
    }
    assert_in_range(stats_of(ALICE).checks_sent - before, 8, 11); /* one each 200 ms */
    assert_int_equal(wire.hosts[ALICE].paths, 1);
    wire_fini(&wire);
    wire_init(&wire, 1);
    wire_add_agent(&wire, ALICE, &(struct kh_ice_config){.role = KH_ICE_CONTROLLING});
    doubt(ALICE); /* no path to doubt */
    assert_int_equal(stats_of(ALICE).checks_sent, 0);
    wire_fini(&wire);
}

/* RFC 7675 5.1 holds however often we ask. */
static void doubt_does_not_prolong_consent(void **state)
{
    kh_time cut;

    (void)state;
    connect_open();
    cut = wire.now;
    wire.is_cut = true;
    while (state_of(ALICE) == KH_ICE_CONNECTED) {
        doubt(ALICE);
        wire_run(&wire, KH_MILLISECONDS(300));
    }
    assert_in_range(wire.now - cut, KH_SECONDS(24), KH_SECONDS(31));
    assert_int_equal(state_of(ALICE), KH_ICE_FAILED);
    wire_fini(&wire);
}

/* When what we use dies, even what failed long ago is tried again. */
static void a_path_that_never_worked_gets_another_chance(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_ipv4();
    add_ipv6();
    dead_family = KH_FAMILY_IPV6;
    wire.tamper = one_family_is_dead;
    connect_all();
    wire_run(&wire, KH_SECONDS(60));
    assert_int_equal(wire.hosts[ALICE].path.local.family, KH_FAMILY_IPV4);
    dead_family = KH_FAMILY_IPV4;
    wire_run(&wire, KH_SECONDS(12));
    assert_int_equal(wire.hosts[ALICE].path.local.family, KH_FAMILY_IPV6);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

/* A spare path stays valid by checks of its own, along with those of consent. */
static void a_spare_path_is_kept_warm(void **state)
{
    struct kh_ice_path spare = {0};

    (void)state;
    wire_init(&wire, 1);
    add_ipv4();
    add_ipv6();
    connect_all();
    for (size_t i = 0; i < wire.hosts[ALICE].event_count; i++)
        if (wire.hosts[ALICE].events[i].kind == KH_ICE_EVENT_VALID &&
            wire.hosts[ALICE].events[i].path.local.family != wire.hosts[ALICE].path.local.family)
            spare = wire.hosts[ALICE].events[i].path;
    wire.hosts[ALICE].wakes = 0;
    for (int i = 0; i < 300; i++) {
        wire_run(&wire, KH_SECONDS(1));
        assert_true(kh_ice_agent_is_valid(wire.hosts[ALICE].agent, &spare.local, &spare.remote));
    }
    assert_in_range(wire.hosts[ALICE].wakes, 50, 80);
    assert_int_equal(wire.hosts[ALICE].valids, 2);
    wire_fini(&wire);
}

static kh_time private_again_at;

static bool private_is_dead(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    (void)host;
    (void)copy;
    return at->now >= private_again_at || kh_addr_reach(&datagram->to) != KH_REACH_PRIVATE;
}

/* The short way between neighbours breaks, the NAT's hairpin carries on, the short way returns. */
static void a_better_path_that_comes_back_is_taken_again(void **state)
{
    static const struct nat_config hairpin = {.hairpin = NAT_HAIRPIN_EXTERNAL};

    (void)state;
    wire_init(&wire, 1);
    wire_add_nat(&wire, ALICE, &hairpin);
    wire.hosts[BOB].nat = wire.hosts[ALICE].nat;
    wire_add_addr(&wire, BOB, "192.168.1.6:4001");
    wire.same_site = true;
    connect_all();
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_HOST);
    private_again_at = wire.now + KH_SECONDS(100);
    wire.tamper = private_is_dead;
    wire_run(&wire, KH_SECONDS(12));
    assert_int_not_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_HOST);
    wire_run(&wire, KH_SECONDS(240));
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_HOST);
    assert_int_equal(wire.hosts[BOB].path.remote_kind, KH_ICE_HOST);
    assert_int_equal(wire.hosts[ALICE].paths, 3);
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

/* Whichever side's NAT forgets its mapping, and whichever controls: both find the new one. */
static void rebind(int host)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        static const struct nat_config cone = {.filtering = NAT_ENDPOINT_INDEPENDENT};

        wire_init(&wire, seed);
        wire_add_nat(&wire, host, &port_restricted);
        wire_add_nat(&wire, !host, &cone);
        connect_all();
        wire_run(&wire, KH_MILLISECONDS(100 * seed));
        nat_rebind(wire.hosts[host].nat);
        wire_run(&wire, KH_SECONDS(12));
        assert_true(wire_agrees(&wire));
        wire_run(&wire, KH_SECONDS(60));
        assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
        assert_int_equal(state_of(BOB), KH_ICE_CONNECTED);
        assert_true(wire_agrees(&wire));
        wire_fini(&wire);
    }
}

static void a_controlling_peers_new_mapping_is_followed(void **state)
{
    (void)state;
    rebind(ALICE);
}

static void a_controlled_peers_new_mapping_is_followed(void **state)
{
    (void)state;
    rebind(BOB);
}

static void a_removed_interface_ends_its_path(void **state)
{
    struct kh_addr unused = wire_addr("192.0.2.50:1");
    struct kh_addr first;
    struct wire_host *alice = &wire.hosts[ALICE];

    (void)state;
    wire_init(&wire, 1);
    add_ipv4();
    add_ipv6();
    connect_all();
    first = alice->path.local;
    kh_ice_agent_remove_local(alice->agent, wire.now, &first);
    wire_drain(&wire, ALICE);
    assert_int_not_equal(alice->path.local.family, first.family); /* at once: it was warm */
    assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
    wire_run(&wire, KH_SECONDS(1));
    assert_true(wire_agrees(&wire)); /* and Bob was told by a nomination */
    wire.hosts[BOB].sent = 0;
    kh_ice_agent_remove_local(wire.hosts[BOB].agent, wire.now, &unused);
    wire_drain(&wire, BOB);
    assert_int_equal(wire.hosts[BOB].sent, 0); /* of no concern to the path in use */
    kh_ice_agent_remove_local(alice->agent, wire.now, &alice->path.local);
    wire_drain(&wire, ALICE);
    assert_int_equal(state_of(ALICE), KH_ICE_CHECKING);
    wire_gather(&wire, ALICE);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_fini(&wire);
}

static void restart(int host, bool with_new)
{
    struct kh_ice_credentials fresh = {.ufrag = "fresh", .password = "abcdefghijabcdefghijabcd"};
    struct wire_host *it = &wire.hosts[host];

    if (with_new)
        it->credentials = fresh;
    kh_ice_agent_restart(it->agent, wire.now, with_new ? &fresh : NULL);
    wire_drain(&wire, host);
}

/* RFC 8445 9: data goes on along the old path until the new one is found. */
static void a_restart_keeps_the_path_until_a_new_one_is_found(void **state)
{
    (void)state;
    for (int host = ALICE; host <= BOB; host++) {
        connect_open();
        restart(host, true);
        wire_run(&wire, KH_SECONDS(5)); /* signalling is slow; checks of now are not understood */
        assert_int_equal(state_of(host), KH_ICE_CONNECTED);
        assert_int_equal(wire.hosts[host].paths, 1);
        wire_tell(&wire, !host);
        wire_run(&wire, KH_SECONDS(5));
        assert_int_equal(wire.hosts[ALICE].paths, 2);
        assert_int_equal(wire.hosts[BOB].paths, 2);
        assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
        wire_run(&wire, KH_SECONDS(60));
        assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
        assert_int_equal(state_of(BOB), KH_ICE_CONNECTED);
        wire_fini(&wire);
    }
}

/* A restart that finds nothing new goes back to what worked, if it still does. */
static void a_fruitless_restart_returns_to_the_old_path(void **state)
{
    struct kh_ice_config impatient = {.role = KH_ICE_CONTROLLING, .patience = KH_SECONDS(5)};

    (void)state;
    wire_init(&wire, 1);
    add_ipv4();
    wire_add_agent(&wire, ALICE, &impatient);
    connect_all();
    wire.is_cut = true;
    restart(ALICE, false);
    wire_run(&wire, KH_SECONDS(12));
    assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
    wire.is_cut = false;
    wire_run(&wire, KH_SECONDS(60));
    assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
    assert_int_equal(state_of(BOB), KH_ICE_CONNECTED);
    assert_int_equal(wire.hosts[ALICE].paths, 1);
    wire_fini(&wire);
}

/* The peer's relayed address is no more, and it said so. */
static void a_removed_remote_candidate_ends_its_path(void **state)
{
    struct kh_addr gone;

    (void)state;
    wire_init(&wire, 1);
    add_ipv4();
    add_ipv6();
    connect_all();
    gone = wire.hosts[ALICE].path.remote;
    kh_ice_agent_remove_remote(wire.hosts[ALICE].agent, wire.now, &gone);
    wire_drain(&wire, ALICE);
    assert_false(kh_addr_equal(&wire.hosts[ALICE].path.remote, &gone));
    assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED);
    kh_ice_agent_remove_remote(wire.hosts[ALICE].agent, wire.now, &gone); /* once is enough */
    wire_drain(&wire, ALICE);
    gone = wire.hosts[ALICE].path.remote;
    kh_ice_agent_remove_remote(wire.hosts[ALICE].agent, wire.now, &gone);
    wire_drain(&wire, ALICE);
    assert_int_equal(state_of(ALICE), KH_ICE_CHECKING); /* that was the last one */
    wire_fini(&wire);
}

/* RFC 7675 5.1 holds while restarting too; but then it is not the end. */
static void consent_may_end_while_restarting(void **state)
{
    (void)state;
    connect_open();
    restart(ALICE, true); /* and Bob never hears of it */
    wire_run(&wire, KH_SECONDS(31));
    assert_int_equal(state_of(ALICE), KH_ICE_CHECKING);
    wire_run(&wire, KH_SECONDS(20));
    assert_int_equal(state_of(ALICE), KH_ICE_FAILED);
    wire_fini(&wire);
}

/* Between Knothole members credentials may stay: everything is checked again. */
static void a_restart_leaves_failure(void **state)
{
    (void)state;
    connect_open();
    wire.is_cut = true;
    wire_run(&wire, KH_SECONDS(60));
    assert_int_equal(state_of(ALICE), KH_ICE_FAILED);
    assert_int_equal(state_of(BOB), KH_ICE_FAILED);
    wire.is_cut = false;
    restart(ALICE, false);
    wire_run(&wire, KH_SECONDS(2));
    assert_int_equal(state_of(ALICE), KH_ICE_CONNECTED); /* Bob answers, but asks nothing */
    restart(BOB, false);
    assert_true(wire_connect(&wire, KH_SECONDS(2)));
    assert_true(wire_agrees(&wire));
    wire_fini(&wire);
}

/* All valid pairs may run out in one moment, as after a sleep: at most a few events come of it. */
static void waking_from_sleep_ends_everything_at_once(void **state)
{
    (void)state;
    wire_init(&wire, 1);
    add_ipv4();
    add_ipv6();
    connect_all();
    wire.hosts[ALICE].event_count = 0;
    wire.now += KH_SECONDS(3600);
    kh_ice_agent_handle_timeout(wire.hosts[ALICE].agent, wire.now);
    wire_drain(&wire, ALICE);
    assert_int_equal(wire.hosts[ALICE].event_count, 1);
    assert_int_equal(state_of(ALICE), KH_ICE_FAILED);
    wire_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_agent_wakes_for_consent_only),
        cmocka_unit_test(consent_ends_thirty_seconds_after_the_last_answer),
        cmocka_unit_test(a_suspect_path_is_asked_once_a_second),
        cmocka_unit_test(a_path_that_never_worked_gets_another_chance),
        cmocka_unit_test(a_short_cut_is_survived_on_the_same_path),
        cmocka_unit_test(a_dead_path_is_left_within_ten_seconds),
        cmocka_unit_test(a_doubted_dead_path_is_left_within_a_second_and_a_half),
        cmocka_unit_test(a_better_path_that_was_silent_for_a_moment_is_back_soon),
        cmocka_unit_test(doubts_without_reason_cost_one_check_and_seldom),
        cmocka_unit_test(doubt_does_not_prolong_consent),
        cmocka_unit_test(a_spare_path_is_kept_warm),
        cmocka_unit_test(a_better_path_that_comes_back_is_taken_again),
        cmocka_unit_test(a_controlling_peers_new_mapping_is_followed),
        cmocka_unit_test(a_controlled_peers_new_mapping_is_followed),
        cmocka_unit_test(a_removed_interface_ends_its_path),
        cmocka_unit_test(a_restart_keeps_the_path_until_a_new_one_is_found),
        cmocka_unit_test(a_fruitless_restart_returns_to_the_old_path),
        cmocka_unit_test(a_removed_remote_candidate_ends_its_path),
        cmocka_unit_test(consent_may_end_while_restarting),
        cmocka_unit_test(a_restart_leaves_failure),
        cmocka_unit_test(waking_from_sleep_ends_everything_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
