/* support/nat_test.c - every behaviour of the modelled NAT, seen from both sides.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support/nat.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include "support/dice.h"

#define ALICE kh_addr_ipv4(192, 168, 1, 2, 5000)
#define CAROL kh_addr_ipv4(192, 168, 1, 3, 5000)
#define SERVER kh_addr_ipv4(203, 0, 113, 1, 3478)
#define SERVER_OTHER_PORT kh_addr_ipv4(203, 0, 113, 1, 3479)
#define STRANGER kh_addr_ipv4(198, 51, 100, 9, 3478)
#define OUTSIDE kh_addr_ipv4(203, 0, 113, 77, 0)

static struct nat *box_of(struct nat_config config)
{
    struct nat *nat;

    config.external = OUTSIDE;
    if (config.seed == 0)
        config.seed = 7;
    assert_int_equal(nat_new(&nat, &config), KH_OK);
    return nat;
}

static struct nat *named(const char *name)
{
    const struct nat_preset *preset = nat_preset_find(name);

    assert_non_null(preset);
    return box_of(preset->config);
}

/* Sends one datagram out and returns the address the outside sees. */
static struct kh_addr out(struct nat *nat, kh_time now, struct kh_addr from, struct kh_addr to)
{
    struct nat_flow flow = {from, to};

    assert_int_equal(nat_outbound(nat, now, &flow), NAT_FORWARD);
    assert_true(kh_addr_equal(&flow.to, &to));
    return flow.from;
}

/* Does a datagram from `from` to our external address `to` reach `inside`? */
static bool in(struct nat *nat, kh_time now, struct kh_addr from, struct kh_addr to,
               struct kh_addr inside)
{
    struct nat_flow flow = {from, to};
    enum nat_verdict verdict = nat_inbound(nat, now, &flow);

    assert_int_not_equal(verdict, NAT_TURN);
    if (verdict == NAT_FORWARD) {
        assert_true(kh_addr_equal(&flow.to, &inside));
        assert_true(kh_addr_equal(&flow.from, &from));
    }
    return verdict == NAT_FORWARD;
}

static void mapping_depends_on_what_its_rule_says(void **state)
{
    static const struct {
        enum nat_rule rule;
        bool same_for_port, same_for_address;
    } cases[] = {
        {NAT_ENDPOINT_INDEPENDENT, true, true},
        {NAT_ADDRESS_DEPENDENT, true, false},
        {NAT_ADDRESS_AND_PORT_DEPENDENT, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct nat *nat =
            box_of((struct nat_config){.mapping = cases[i].rule, .ports = NAT_PORTS_RANDOM});
        struct kh_addr first = out(nat, 0, ALICE, SERVER);
        struct kh_addr other_port = out(nat, 0, ALICE, SERVER_OTHER_PORT);
        struct kh_addr other_address = out(nat, 0, ALICE, STRANGER);
        struct kh_addr again = out(nat, 1, ALICE, SERVER);

        assert_true(kh_addr_ip_equal(&first, &other_address));
        assert_int_equal(kh_addr_equal(&first, &other_port), cases[i].same_for_port);
        assert_int_equal(kh_addr_equal(&first, &other_address), cases[i].same_for_address);
        assert_true(kh_addr_equal(&first, &again));
        nat_free(nat);
    }
}

static void filter_admits_whom_its_rule_says(void **state)
{
    static const struct {
        enum nat_rule rule;
        bool other_port, stranger;
    } cases[] = {
        {NAT_ENDPOINT_INDEPENDENT, true, true},
        {NAT_ADDRESS_DEPENDENT, true, false},
        {NAT_ADDRESS_AND_PORT_DEPENDENT, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct nat *nat = box_of((struct nat_config){.filtering = cases[i].rule});
        struct kh_addr hole = out(nat, 0, ALICE, SERVER);
        struct kh_addr unused = hole;

        unused.port++;
        assert_true(in(nat, 1, SERVER, hole, ALICE));
        assert_int_equal(in(nat, 1, SERVER_OTHER_PORT, hole, ALICE), cases[i].other_port);
        assert_int_equal(in(nat, 1, STRANGER, hole, ALICE), cases[i].stranger);
        assert_false(in(nat, 1, SERVER, unused, ALICE));
        assert_int_equal(nat_stats(nat).dropped_unmapped, 1);
        assert_int_equal(nat_stats(nat).dropped_filtered,
                         !cases[i].other_port + !cases[i].stranger);
        nat_free(nat);
    }
}

static void preserved_ports_are_kept_unless_taken(void **state)
{
    struct nat *nat = named("port-restricted");

    (void)state;
    assert_int_equal(out(nat, 0, ALICE, SERVER).port, 5000);
    assert_int_equal(out(nat, 0, CAROL, SERVER).port, 5001);
    assert_int_equal(out(nat, 0, CAROL, STRANGER).port, 5001);
    nat_free(nat);
}

static void tcp_and_udp_ports_are_apart(void **state)
{
    struct nat *nat = named("port-restricted");
    struct kh_addr alice = ALICE, server = SERVER;

    (void)state;
    alice.transport = server.transport = KH_TCP;
    assert_int_equal(out(nat, 0, CAROL, SERVER).port, 5000);
    assert_int_equal(out(nat, 0, alice, server).port, 5000);
    nat_free(nat);
}

static void sequential_ports_go_by_the_stride(void **state)
{
    struct nat *nat = named("symmetric-stride");
    uint16_t first = out(nat, 0, ALICE, SERVER).port;

    (void)state;
    assert_int_equal(out(nat, 0, ALICE, SERVER_OTHER_PORT).port, first + 4);
    assert_int_equal(out(nat, 0, CAROL, SERVER).port, first + 8);
    assert_int_equal(out(nat, 0, ALICE, SERVER).port, first);
    nat_free(nat);
}

static void sequence_wraps_at_the_end_of_the_range(void **state)
{
    struct nat *nat = box_of((struct nat_config){.mapping = NAT_ADDRESS_AND_PORT_DEPENDENT,
                                                 .ports = NAT_PORTS_SEQUENTIAL,
                                                 .port_min = 2000,
                                                 .port_max = 2002});
    uint32_t seen = 0;

    (void)state;
    for (uint16_t i = 0; i < 3; i++) {
        struct kh_addr to = SERVER;

        to.port = (uint16_t)(to.port + i);
        seen |= 1u << (out(nat, 0, ALICE, to).port - 2000);
    }
    assert_int_equal(seen, 7);
    nat_free(nat);
}

static void random_ports_are_spread(void **state)
{
    struct nat *nat = named("symmetric-random");
    uint16_t low = UINT16_MAX, high = 0;

    (void)state;
    for (uint16_t i = 0; i < 100; i++) {
        struct kh_addr to = SERVER;
        uint16_t port;

        to.port = (uint16_t)(to.port + i);
        port = out(nat, 0, ALICE, to).port;
        low = port < low ? port : low;
        high = port > high ? port : high;
    }
    assert_true(low >= 1024 && low < 8000);
    assert_true(high > 58000);
    nat_free(nat);
}

static void each_host_stays_in_its_block(void **state)
{
    struct nat *nat = named("symmetric-block");
    uint16_t alice = out(nat, 0, ALICE, SERVER).port;
    uint16_t carol = out(nat, 0, CAROL, SERVER).port;
    unsigned alice_block = (alice - 1024u) / 512, carol_block = (carol - 1024u) / 512;
    struct kh_addr to = SERVER;

    (void)state;
    assert_int_not_equal(alice_block, carol_block);
    for (int i = 0; i < 511; i++) {
        to.port++;
        assert_int_equal((out(nat, 0, ALICE, to).port - 1024u) / 512, alice_block);
    }
    to.port++; /* the 513th: the block is full */
    assert_int_equal(nat_outbound(nat, 0, &(struct nat_flow){ALICE, to}), NAT_DROP);
    assert_int_equal(nat_stats(nat).dropped_full, 1);
    nat_free(nat);
}

static void a_forwarded_port_is_open_to_everyone_and_used_to_leave(void **state)
{
    struct nat *nat = named("symmetric-random");
    struct kh_addr external = OUTSIDE, alice = ALICE, carol = CAROL, other = ALICE, seen;

    (void)state;
    external.port = 4000;
    other.port = 5001;
    assert_true(nat_forward(nat, &alice, 4000));
    assert_false(nat_forward(nat, &carol, 4000));
    assert_true(in(nat, 0, STRANGER, external, ALICE));
    seen = out(nat, 0, ALICE, SERVER);
    assert_true(kh_addr_equal(&seen, &external));
    seen = out(nat, 0, ALICE, STRANGER);
    assert_true(kh_addr_equal(&seen, &external));
    assert_int_not_equal(out(nat, 0, other, SERVER).port, 4000);
    nat_rebind(nat);
    assert_false(in(nat, 0, STRANGER, external, ALICE));
    nat_free(nat);
}

static void mapping_dies_of_silence(void **state)
{
    struct nat *nat = box_of((struct nat_config){.ports = NAT_PORTS_RANDOM});
    struct kh_addr hole = out(nat, 0, ALICE, SERVER), later;

    (void)state;
    assert_true(in(nat, KH_SECONDS(119), SERVER, hole, ALICE)); /* and does not refresh */
    assert_false(in(nat, KH_SECONDS(120), SERVER, hole, ALICE));
    later = out(nat, KH_SECONDS(121), ALICE, SERVER);
    assert_false(kh_addr_equal(&hole, &later));
    nat_free(nat);
}

static void mapping_lives_by_what_goes_out_or_by_both(void **state)
{
    struct nat *nat = box_of((struct nat_config){.lifetime = KH_SECONDS(30)});
    struct nat *both =
        box_of((struct nat_config){.lifetime = KH_SECONDS(30), .inbound_refresh = true});
    struct kh_addr hole = out(nat, 0, ALICE, SERVER);
    struct kh_addr hole_both = out(both, 0, ALICE, SERVER);

    (void)state;
    (void)out(nat, KH_SECONDS(20), ALICE, SERVER);
    assert_true(in(nat, KH_SECONDS(45), SERVER, hole, ALICE));
    assert_false(in(nat, KH_SECONDS(55), SERVER, hole, ALICE));
    assert_true(in(both, KH_SECONDS(20), SERVER, hole_both, ALICE));
    assert_true(in(both, KH_SECONDS(45), SERVER, hole_both, ALICE));
    nat_free(nat);
    nat_free(both);
}

static enum nat_verdict hairpin(enum nat_hairpin kind, struct nat_flow *flow)
{
    struct nat *nat = box_of((struct nat_config){.ports = NAT_PORTS_RANDOM, .hairpin = kind});
    struct kh_addr carol_hole = out(nat, 0, CAROL, SERVER);
    struct kh_addr alice_hole = out(nat, 0, ALICE, SERVER);
    enum nat_verdict verdict;

    *flow = (struct nat_flow){ALICE, carol_hole};
    verdict = nat_outbound(nat, 0, flow);
    if (kind == NAT_HAIRPIN_EXTERNAL)
        assert_true(kh_addr_equal(&flow->from, &alice_hole));
    nat_free(nat);
    return verdict;
}

static void hairpin_turns_back_or_not(void **state)
{
    struct nat_flow flow;
    struct kh_addr alice = ALICE, carol = CAROL;

    (void)state;
    assert_int_equal(hairpin(NAT_HAIRPIN_NONE, &flow), NAT_DROP);
    assert_int_equal(hairpin(NAT_HAIRPIN_EXTERNAL, &flow), NAT_TURN);
    assert_true(kh_addr_equal(&flow.to, &carol));
    assert_int_equal(hairpin(NAT_HAIRPIN_INTERNAL, &flow), NAT_TURN);
    assert_true(kh_addr_equal(&flow.to, &carol));
    assert_true(kh_addr_equal(&flow.from, &alice));
}

static void hairpin_obeys_the_filter(void **state)
{
    struct nat *nat = named("port-restricted-hairpin");
    struct kh_addr carol_hole = out(nat, 0, CAROL, SERVER);
    struct kh_addr alice_hole = out(nat, 0, ALICE, SERVER);

    (void)state;
    assert_int_equal(nat_outbound(nat, 0, &(struct nat_flow){ALICE, carol_hole}), NAT_DROP);
    assert_int_equal(nat_outbound(nat, 0, &(struct nat_flow){CAROL, alice_hole}), NAT_TURN);
    assert_int_equal(nat_outbound(nat, 0, &(struct nat_flow){ALICE, carol_hole}), NAT_TURN);
    nat_free(nat);
}

static void rebinding_forgets_and_gives_new_ports(void **state)
{
    static const char *const names[] = {"port-restricted", "port-restricted-random", "cgn"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct nat *nat = named(names[i]);
        struct kh_addr before = out(nat, 0, ALICE, SERVER), after;

        nat_rebind(nat);
        assert_false(in(nat, 0, SERVER, before, ALICE));
        after = out(nat, 0, ALICE, SERVER);
        assert_false(kh_addr_equal(&before, &after));
        assert_true(kh_addr_ip_equal(&before, &after));
        nat_free(nat);
    }
}

static void readdressing_changes_the_external_address(void **state)
{
    struct nat *nat = named("full-cone");
    struct kh_addr fresh = kh_addr_ipv4(203, 0, 113, 99, 0);
    struct kh_addr before = out(nat, 0, ALICE, SERVER), after;

    (void)state;
    nat_readdress(nat, &fresh);
    after = out(nat, 0, ALICE, SERVER);
    assert_true(kh_addr_ip_equal(&after, &fresh));
    assert_false(in(nat, 0, STRANGER, before, ALICE));
    assert_true(in(nat, 0, STRANGER, after, ALICE));
    nat_free(nat);
}

static void full_table_drops_and_recovers(void **state)
{
    struct nat *nat = box_of((struct nat_config){.sessions_max = 1});

    (void)state;
    (void)out(nat, 0, ALICE, SERVER);
    assert_int_equal(nat_outbound(nat, 0, &(struct nat_flow){CAROL, SERVER}), NAT_DROP);
    assert_int_equal(nat_stats(nat).dropped_full, 1);
    (void)out(nat, KH_SECONDS(200), CAROL, SERVER);
    nat_free(nat);
}

static void firewall_translates_nothing_and_admits_answers(void **state)
{
    struct nat *nat = named("firewall");
    struct kh_addr alice, server, stranger, seen;

    (void)state;
    assert_int_equal(kh_addr_parse("[2001:db8::2]:5000", 0, &alice), KH_OK);
    assert_int_equal(kh_addr_parse("[2001:db8:ffff::1]:3478", 0, &server), KH_OK);
    assert_int_equal(kh_addr_parse("[2001:db8:ffff::9]:3478", 0, &stranger), KH_OK);
    seen = out(nat, 0, alice, server);
    assert_true(kh_addr_equal(&seen, &alice));
    assert_true(in(nat, 0, server, alice, alice));
    assert_false(in(nat, 0, stranger, alice, alice));
    seen = out(nat, 0, ALICE, SERVER);
    assert_int_equal(seen.port, 5000);
    assert_false(in(nat, 0, STRANGER, ALICE, ALICE));
    nat_free(nat);
}

static void ipv6_through_a_translator_is_only_filtered(void **state)
{
    struct nat *nat = named("port-restricted-random");
    struct kh_addr alice, server, seen;

    (void)state;
    assert_int_equal(kh_addr_parse("[2001:db8::2]:5000", 0, &alice), KH_OK);
    assert_int_equal(kh_addr_parse("[2001:db8:ffff::1]:3478", 0, &server), KH_OK);
    assert_false(in(nat, 0, server, alice, alice));
    seen = out(nat, 0, alice, server);
    assert_true(kh_addr_equal(&seen, &alice));
    assert_true(in(nat, 0, server, alice, alice));
    nat_free(nat);
}

static void open_lets_everything_through(void **state)
{
    struct nat *nat = named("open");

    (void)state;
    assert_true(in(nat, 0, STRANGER, ALICE, ALICE));
    assert_int_equal(out(nat, 0, ALICE, SERVER).port, 5000);
    nat_free(nat);
}

static void equal_seeds_give_equal_ports(void **state)
{
    struct nat_config config = {.mapping = NAT_ADDRESS_AND_PORT_DEPENDENT,
                                .ports = NAT_PORTS_RANDOM};
    struct nat *a = box_of(config), *b = box_of(config), *c;
    bool differs = false;

    (void)state;
    config.seed = 8;
    c = box_of(config);
    for (uint16_t i = 0; i < 10; i++) {
        struct kh_addr to = SERVER;
        uint16_t port;

        to.port = (uint16_t)(to.port + i);
        port = out(a, 0, ALICE, to).port;
        assert_int_equal(port, out(b, 0, ALICE, to).port);
        differs = differs || port != out(c, 0, ALICE, to).port;
    }
    assert_true(differs);
    nat_free(a);
    nat_free(b);
    nat_free(c);
}

static void presets_are_found_by_name(void **state)
{
    (void)state;
    assert_null(nat_preset_find("no such box"));
    assert_null(nat_preset_at(1000));
    assert_int_equal(nat_preset_find("symmetric-random")->config.ports, NAT_PORTS_RANDOM);
    assert_string_equal(nat_rule_name(NAT_ADDRESS_DEPENDENT), "address-dependent");
    assert_string_equal(nat_ports_name(NAT_PORTS_BLOCK), "block");
}

static void dice_are_fair_enough(void **state)
{
    struct dice dice = dice_of(1);
    int hits = 0;

    (void)state;
    for (int i = 0; i < 10000; i++)
        hits += dice_chance(&dice, 0.3);
    assert_in_range(hits, 2800, 3200);
    assert_false(dice_chance(&dice, 0.0));
    assert_true(dice_chance(&dice, 1.0));
    for (int i = 0; i < 100; i++)
        assert_in_range(dice_range(&dice, 3, 5), 3, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapping_depends_on_what_its_rule_says),
        cmocka_unit_test(filter_admits_whom_its_rule_says),
        cmocka_unit_test(preserved_ports_are_kept_unless_taken),
        cmocka_unit_test(tcp_and_udp_ports_are_apart),
        cmocka_unit_test(sequential_ports_go_by_the_stride),
        cmocka_unit_test(sequence_wraps_at_the_end_of_the_range),
        cmocka_unit_test(random_ports_are_spread),
        cmocka_unit_test(each_host_stays_in_its_block),
        cmocka_unit_test(a_forwarded_port_is_open_to_everyone_and_used_to_leave),
        cmocka_unit_test(mapping_dies_of_silence),
        cmocka_unit_test(mapping_lives_by_what_goes_out_or_by_both),
        cmocka_unit_test(hairpin_turns_back_or_not),
        cmocka_unit_test(hairpin_obeys_the_filter),
        cmocka_unit_test(rebinding_forgets_and_gives_new_ports),
        cmocka_unit_test(readdressing_changes_the_external_address),
        cmocka_unit_test(full_table_drops_and_recovers),
        cmocka_unit_test(firewall_translates_nothing_and_admits_answers),
        cmocka_unit_test(ipv6_through_a_translator_is_only_filtered),
        cmocka_unit_test(open_lets_everything_through),
        cmocka_unit_test(equal_seeds_give_equal_ports),
        cmocka_unit_test(presets_are_found_by_name),
        cmocka_unit_test(dice_are_fair_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
