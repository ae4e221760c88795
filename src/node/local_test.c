/* node/local_test.c - which addresses become candidates, and which names come with which keys.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/inside.h"

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 4000, &addr), KH_OK);
    return addr;
}

static bool add(struct kh_node *node, const char *text)
{
    node->addrs[node->addr_count++] = addr_of(text);
    return kh_node_update_locals(node);
}

/* What the card would list is this, in this order. */
static void assert_hosts(const struct kh_node *node, size_t count, const char *const *texts)
{
    struct kh_room_candidate hosts[KH_ROOM_CANDIDATES_MAX];

    assert_int_equal(kh_node_list_hosts(node, hosts), count);
    for (size_t i = 0; i < count; i++) {
        struct kh_addr addr = addr_of(texts[i]);

        assert_true(kh_addr_equal(&hosts[i].addr, &addr));
        assert_int_equal(hosts[i].kind, KH_ROOM_CANDIDATE_HOST);
    }
}

static void loopback_counts_only_where_nothing_better_is(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);

    (void)state;
    assert_true(add(node, "127.0.0.1"));
    assert_true(add(node, "[::1]"));
    assert_hosts(node, 2, (const char *[]){"127.0.0.1", "[::1]"});
    assert_true(add(node, "10.0.0.5"));
    assert_hosts(node, 1, (const char *[]){"10.0.0.5"});
    assert_true(add(node, "[2001:db8::5]"));
    assert_false(add(node, "169.254.7.7"));
    node->addr_count = 2; /* both interfaces went away */
    assert_true(kh_node_update_locals(node));
    assert_hosts(node, 2, (const char *[]){"127.0.0.1", "[::1]"});
    free(node);
}

static void what_the_server_sees_is_a_candidate_and_in_the_card(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_room_candidate told[KH_ROOM_CANDIDATES_MAX];
    size_t reflexive = 0;

    (void)state;
    assert_true(add(node, "10.0.0.5"));
    node->mapped = addr_of("203.0.113.9:61000");
    node->mapped_base = addr_of("10.0.0.5");
    assert_false(kh_node_update_locals(node)); /* the server tells the others by itself … */
    assert_int_equal(kh_node_list_hosts(node, told), 2); /* … but a card is our own word */
    assert_int_equal(told[1].kind, KH_ROOM_CANDIDATE_REFLEXIVE);
    assert_true(kh_addr_equal(&told[1].addr, &node->mapped));
    for (size_t i = 0; i < LOCALS_MAX; i++)
        reflexive += node->locals[i].in_use &&
                     node->locals[i].candidate.kind == KH_ICE_SERVER_REFLEXIVE &&
                     kh_addr_equal(&node->locals[i].candidate.addr, &node->mapped);
    assert_int_equal(reflexive, 1);
    node->mapped = node->mapped_base; /* no NAT any more */
    assert_false(kh_node_update_locals(node));
    for (size_t i = 0; i < LOCALS_MAX; i++)
        assert_false(node->locals[i].in_use &&
                     node->locals[i].candidate.kind == KH_ICE_SERVER_REFLEXIVE);
    free(node);
}

static void a_name_is_told_instead_of_private_addresses(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_room_named named[KH_ROOM_NAMED_MAX];

    (void)state;
    assert_true(add(node, "10.0.0.5"));
    assert_true(add(node, "10.0.1.5")); /* another link, the same port */
    assert_true(add(node, "[fd00::5]"));
    assert_true(add(node, "[2001:db8::5]"));
    assert_int_equal(kh_node_names_list(node, named), 0);
    memcpy(node->local_name, "pc1.local", sizeof "pc1.local");
    assert_hosts(node, 1, (const char *[]){"[2001:db8::5]"});
    assert_int_equal(kh_node_names_list(node, named), 2);
    assert_string_equal(named[0].host, "pc1.local");
    assert_int_equal(named[0].family, KH_FAMILY_IPV4);
    assert_int_equal(named[0].port, addr_of("10.0.0.5").port);
    assert_int_equal(named[1].family, KH_FAMILY_IPV6);
    node->paths = KH_NODE_PATHS_RELAY;
    assert_int_equal(kh_node_names_list(node, named), 0);
    free(node);
}

static void a_mapped_port_is_told_while_its_base_is_ours(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_room_candidate told[KH_ROOM_CANDIDATES_MAX];

    (void)state;
    assert_true(add(node, "10.0.0.5"));
    node->ports[1].base = addr_of("10.0.0.5");
    node->ports[1].mapped = addr_of("203.0.113.9:4000");
    node->mapped = node->ports[1].mapped; /* the server sees the same: told for both reasons */
    node->mapped_base = node->ports[1].base;
    assert_true(kh_node_update_locals(node));
    assert_false(kh_node_update_locals(node));
    assert_int_equal(kh_node_list_hosts(node, told), 3);
    assert_int_equal(told[1].kind, KH_ROOM_CANDIDATE_REFLEXIVE);
    assert_int_equal(told[2].kind, KH_ROOM_CANDIDATE_MAPPED);
    assert_true(kh_addr_equal(&told[2].addr, &node->ports[1].mapped));
    node->addrs[0] = addr_of("10.0.0.6");
    assert_true(kh_node_update_locals(node));
    assert_hosts(node, 1, (const char *[]){"10.0.0.6"});
    node->addrs[0] = addr_of("10.0.0.5");
    assert_true(kh_node_update_locals(node));
    assert_int_equal(kh_node_list_hosts(node, told), 3);
    node->mapped = node->mapped_base = (struct kh_addr){0};
    node->ports[1] = (struct kh_node_port){0};
    assert_true(kh_node_update_locals(node));
    assert_hosts(node, 1, (const char *[]){"10.0.0.5"});
    free(node);
}

/* Twins of the hosts, and the port as the server sees it, behind all that goes by UDP. */
static void tcp_is_told_once_somebody_needs_it(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_room_candidate told[KH_ROOM_CANDIDATES_MAX];
    struct kh_addr twin = addr_of("10.0.0.5");

    (void)state;
    twin.transport = KH_TCP;
    node->tcp.ipv4 = true;
    assert_true(add(node, "10.0.0.5"));
    assert_true(add(node, "[2001:db8::5]"));
    assert_int_equal(kh_node_list_hosts(node, told), 2);
    kh_node_tcp_use(node);
    assert_true(node->tcp.is_used && node->card_due);
    assert_int_equal(kh_node_list_hosts(node, told), 3);
    assert_true(kh_addr_equal(&told[2].addr, &twin));
    assert_int_equal(told[2].tcp, KH_ROOM_TCP_PASSIVE | KH_ROOM_TCP_SIMULTANEOUS);
    node->tcp.base = twin;
    node->tcp.mapped = addr_of("203.0.113.9:4001");
    node->tcp.mapped.transport = KH_TCP;
    assert_true(kh_node_update_locals(node));
    assert_int_equal(kh_node_list_hosts(node, told), 4);
    assert_int_equal(told[3].kind, KH_ROOM_CANDIDATE_REFLEXIVE);
    assert_true(kh_addr_equal(&told[3].addr, &node->tcp.mapped));
    node->addrs[0] = addr_of("10.0.0.6");
    assert_true(kh_node_update_locals(node));
    twin = addr_of("10.0.0.6");
    twin.transport = KH_TCP;
    assert_int_equal(kh_node_list_hosts(node, told), 3);
    assert_true(kh_addr_equal(&told[2].addr, &twin));
    free(node);
}

static void who_hides_tells_no_tcp_either(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_room_candidate told[KH_ROOM_CANDIDATES_MAX];

    (void)state;
    node->tcp.ipv4 = node->tcp.ipv6 = true;
    node->paths = KH_NODE_PATHS_RELAY;
    assert_false(add(node, "10.0.0.5"));
    kh_node_tcp_use(node);
    assert_false(node->tcp.is_used);
    assert_int_equal(kh_node_list_hosts(node, told), 0);
    assert_true(kh_node_tcp_timeout(node) == KH_NEVER);
    free(node);
}

/* A place in the table is not taken again before every neighbour knows that its owner is gone. */
static void a_place_is_free_when_all_neighbours_know(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_node_neighbour *neighbour = calloc(1, sizeof *neighbour);

    (void)state;
    node->neighbours[node->neighbour_count++] = neighbour;
    assert_true(add(node, "10.0.0.5"));
    assert_true(node->locals[0].in_use);
    neighbour->given.locals = 1;
    node->addrs[0] = addr_of("10.0.0.6");
    assert_true(kh_node_update_locals(node));
    assert_false(node->locals[0].in_use);
    assert_true(node->locals[1].in_use);
    neighbour->given.locals = 2;
    node->addrs[0] = addr_of("10.0.0.7");
    assert_true(kh_node_update_locals(node));
    assert_true(node->locals[0].in_use);
    free(neighbour);
    free(node);
}

/* Loopback in a card is for members on loopback: who learns only later that it is one, by its place
 * at the relay for example, must not have passed over it for good. */
static void remotes_are_given_again_to_who_gets_such_an_address(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_node_neighbour *neighbour = calloc(1, sizeof *neighbour);
    struct kh_addr theirs = addr_of("127.0.0.1:5000");

    (void)state;
    node->neighbours[node->neighbour_count++] = neighbour;
    node->paths = KH_NODE_PATHS_RELAY;
    neighbour->given.remotes = 3; /* looked at, and passed over */
    assert_false(kh_node_make_reachable(node, &theirs));
    node->relayed.addr6 = addr_of("[2001:db8::5]:6000");
    assert_true(kh_node_update_locals(node));
    assert_int_equal(neighbour->given.remotes, 3);
    node->relayed.addr4 = addr_of("127.0.0.1:6000");
    assert_true(kh_node_update_locals(node));
    assert_true(kh_node_make_reachable(node, &theirs));
    assert_int_equal(neighbour->given.remotes, 0);
    free(neighbour);
    free(node);
}

static void a_name_is_pinned_to_its_first_key(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    static const uint8_t one[KH_KEY_LEN] = {1};
    static const uint8_t two[KH_KEY_LEN] = {2};

    (void)state;
    assert_false(kh_node_pin_name(node, "Alice", one));
    assert_false(kh_node_pin_name(node, "Alice", one));
    assert_true(kh_node_pin_name(node, "Alice", two));
    assert_false(kh_node_pin_name(node, "Alice", two)); /* said once */
    assert_false(kh_node_pin_name(node, "Bob", two));
    assert_false(kh_node_pin_name(node, "", one));
    assert_false(kh_node_pin_name(node, "", two)); /* no name is nobody's */
    assert_string_equal(kh_node_name_of(node, one), "Alice");
    assert_string_equal(kh_node_name_of(node, two), "Bob");
    assert_string_equal(kh_node_name_of(node, (uint8_t[KH_KEY_LEN]){3}), "");
    free(node);
}

static void a_place_without_a_port_is_not_looked_into(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_node_view view = {.server = addr_of("203.0.113.1:3478"),
                                .local = addr_of("10.0.0.5"),
                                .mapped = addr_of("203.0.113.9:61000")};

    (void)state;
    view.mapped.port = 0; /* only a liar says so */
    kh_node_classify_aim(node, &view);
    assert_false(node->classify.is_due);
    view.mapped.port = 61000;
    kh_node_classify_aim(node, &view);
    assert_true(node->classify.is_due);
    free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_counts_only_where_nothing_better_is),
        cmocka_unit_test(a_place_without_a_port_is_not_looked_into),
        cmocka_unit_test(what_the_server_sees_is_a_candidate_and_in_the_card),
        cmocka_unit_test(a_name_is_told_instead_of_private_addresses),
        cmocka_unit_test(a_mapped_port_is_told_while_its_base_is_ours),
        cmocka_unit_test(tcp_is_told_once_somebody_needs_it),
        cmocka_unit_test(who_hides_tells_no_tcp_either),
        cmocka_unit_test(a_place_is_free_when_all_neighbours_know),
        cmocka_unit_test(remotes_are_given_again_to_who_gets_such_an_address),
        cmocka_unit_test(a_name_is_pinned_to_its_first_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
