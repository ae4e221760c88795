/* ice/path_test.c - agents find the path each pair of NATs allows, whatever the seed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

#define SEEDS 200

static const struct nat_config port_restricted = {
    .mapping = NAT_ENDPOINT_INDEPENDENT,
    .filtering = NAT_ADDRESS_AND_PORT_DEPENDENT,
};
static const struct nat_config full_cone = {.ports = NAT_PORTS_RANDOM};
static const struct nat_config symmetric = {
    .mapping = NAT_ADDRESS_AND_PORT_DEPENDENT,
    .filtering = NAT_ADDRESS_AND_PORT_DEPENDENT,
    .ports = NAT_PORTS_RANDOM,
};

/* A way to set two hosts up, and what must come of it. */
struct scenario {
    void (*arrange)(struct wire *wire);
    enum kh_ice_kind local_kind, remote_kind; /* of Alice's path in the end */
    kh_duration limit;                        /* to be connected within, without loss */
};

static void arrange_open(struct wire *wire)
{
    wire_add_addr(wire, ALICE, "198.51.100.10:4000");
    wire_add_addr(wire, BOB, "198.51.100.20:4000");
}

static void arrange_port_restricted(struct wire *wire)
{
    wire_add_nat(wire, ALICE, &port_restricted);
    wire_add_nat(wire, BOB, &port_restricted);
}

static void arrange_symmetric_and_cone(struct wire *wire)
{
    wire_add_nat(wire, ALICE, &symmetric);
    wire_add_nat(wire, BOB, &full_cone);
}

static void arrange_open_and_symmetric(struct wire *wire)
{
    wire_add_addr(wire, ALICE, "198.51.100.10:4000");
    wire_add_nat(wire, BOB, &symmetric);
}

static void arrange_same_site(struct wire *wire)
{
    wire_add_nat(wire, ALICE, &port_restricted);
    wire->hosts[BOB].nat = wire->hosts[ALICE].nat;
    wire_add_addr(wire, BOB, "192.168.1.6:4000");
    wire->same_site = true;
}

static void arrange_same_site_with_hairpin(struct wire *wire)
{
    static const struct nat_config hairpin = {.hairpin = NAT_HAIRPIN_EXTERNAL};

    wire_add_nat(wire, ALICE, &hairpin);
    wire->hosts[BOB].nat = wire->hosts[ALICE].nat;
    wire_add_addr(wire, BOB, "192.168.1.6:4001");
    wire->same_site = true;
}

static void arrange_ipv6(struct wire *wire)
{
    arrange_port_restricted(wire);
    wire_add_addr(wire, ALICE, "[2001:db8::a]:4000");
    wire_add_addr(wire, BOB, "[2001:db8::b]:4000");
}

static void arrange_relay_only(struct wire *wire)
{
    wire_add_nat(wire, ALICE, &symmetric);
    wire_add_nat(wire, BOB, &symmetric);
    wire->hosts[BOB].relay = wire_addr("198.51.100.1:50000");
}

static void check_path(struct wire *wire, const struct scenario *scenario)
{
    struct wire_host *alice = &wire->hosts[ALICE];
    struct wire_host *bob = &wire->hosts[BOB];

    assert_true(wire_agrees(wire));
    assert_true(kh_ice_agent_is_valid(alice->agent, &alice->path.local, &alice->path.remote));
    assert_true(kh_ice_agent_is_valid(bob->agent, &bob->path.local, &bob->path.remote));
    assert_int_equal(alice->path.local_kind, scenario->local_kind);
    if (scenario->remote_kind != KH_ICE_SERVER_REFLEXIVE ||
        alice->path.remote_kind != KH_ICE_PEER_REFLEXIVE) /* a check may come before the news */
        assert_int_equal(alice->path.remote_kind, scenario->remote_kind);
    assert_int_equal(kh_ice_agent_stats(alice->agent).dropped_outbox_full, 0);
    assert_int_equal(kh_ice_agent_stats(bob->agent).dropped_outbox_full, 0);
}

static void run_seeds(const struct scenario *scenario, double loss, double duplication)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        static struct wire wire;

        wire_init(&wire, seed);
        wire.loss = loss;
        wire.duplication = duplication;
        wire.delay = KH_MILLISECONDS(1) + dice_below(&wire.dice, KH_MILLISECONDS(60));
        wire.jitter = dice_below(&wire.dice, KH_MILLISECONDS(5));
        wire.hosts[ALICE].learns_at += dice_below(&wire.dice, KH_MILLISECONDS(300));
        wire.hosts[BOB].learns_at += dice_below(&wire.dice, KH_MILLISECONDS(300));
        scenario->arrange(&wire);
        wire_meet(&wire);
        if (!wire_connect(&wire, loss > 0 ? KH_SECONDS(30) : scenario->limit))
            fail_msg("seed %u did not connect", (unsigned)seed);
        wire_run(&wire, KH_SECONDS(30));
        wire.loss = 0;
        wire_run(&wire, KH_SECONDS(60)); /* what loss took for dead has time to come back */
        assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_CONNECTED);
        check_path(&wire, scenario);
        wire_fini(&wire);
    }
}

static const struct scenario open_hosts = {arrange_open, KH_ICE_HOST, KH_ICE_HOST,
                                           KH_MILLISECONDS(600)};
static const struct scenario port_restricted_both = {arrange_port_restricted,
                                                     KH_ICE_SERVER_REFLEXIVE,
                                                     KH_ICE_SERVER_REFLEXIVE, KH_MILLISECONDS(900)};
static const struct scenario symmetric_and_cone = {arrange_symmetric_and_cone,
                                                   KH_ICE_PEER_REFLEXIVE, KH_ICE_SERVER_REFLEXIVE,
                                                   KH_MILLISECONDS(900)};
static const struct scenario open_and_symmetric = {arrange_open_and_symmetric, KH_ICE_HOST,
                                                   KH_ICE_PEER_REFLEXIVE, KH_MILLISECONDS(900)};
static const struct scenario same_site = {arrange_same_site, KH_ICE_HOST, KH_ICE_HOST,
                                          KH_MILLISECONDS(600)};
static const struct scenario hairpin = {arrange_same_site_with_hairpin, KH_ICE_HOST, KH_ICE_HOST,
                                        KH_MILLISECONDS(700)};
static const struct scenario both_families = {arrange_ipv6, KH_ICE_HOST, KH_ICE_HOST,
                                              KH_MILLISECONDS(600)};
static const struct scenario relay_only = {arrange_relay_only, KH_ICE_PEER_REFLEXIVE,
                                           KH_ICE_RELAYED, KH_SECONDS(2)};

static void open_hosts_connect(void **state)
{
    (void)state;
    run_seeds(&open_hosts, 0, 0);
}

static void two_port_restricted_nats_connect(void **state)
{
    (void)state;
    run_seeds(&port_restricted_both, 0, 0);
}

static void symmetric_and_full_cone_connect_by_a_peer_reflexive_candidate(void **state)
{
    (void)state;
    run_seeds(&symmetric_and_cone, 0, 0);
}

static void open_and_symmetric_connect(void **state)
{
    (void)state;
    run_seeds(&open_and_symmetric, 0, 0);
}

static void neighbours_behind_a_nat_without_hairpin_meet_on_private_addresses(void **state)
{
    (void)state;
    run_seeds(&same_site, 0, 0);
}

static void neighbours_prefer_private_addresses_to_hairpin(void **state)
{
    (void)state;
    run_seeds(&hairpin, 0, 0);
    run_seeds(&hairpin, 0.3, 0.1);
}

static void ipv6_is_taken_where_both_have_it(void **state)
{
    (void)state;
    run_seeds(&both_families, 0, 0);
}

static void symmetric_nats_connect_through_a_relay(void **state)
{
    (void)state;
    run_seeds(&relay_only, 0, 0);
}

static void all_connect_through_loss_and_duplication(void **state)
{
    (void)state;
    run_seeds(&open_hosts, 0.3, 0.1);
    run_seeds(&port_restricted_both, 0.3, 0.1);
    run_seeds(&symmetric_and_cone, 0.3, 0.1);
    run_seeds(&same_site, 0.3, 0.1);
    run_seeds(&relay_only, 0.3, 0.1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_hosts_connect),
        cmocka_unit_test(two_port_restricted_nats_connect),
        cmocka_unit_test(symmetric_and_full_cone_connect_by_a_peer_reflexive_candidate),
        cmocka_unit_test(open_and_symmetric_connect),
        cmocka_unit_test(neighbours_behind_a_nat_without_hairpin_meet_on_private_addresses),
        cmocka_unit_test(neighbours_prefer_private_addresses_to_hairpin),
        cmocka_unit_test(ipv6_is_taken_where_both_have_it),
        cmocka_unit_test(symmetric_nats_connect_through_a_relay),
        cmocka_unit_test(all_connect_through_loss_and_duplication),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
