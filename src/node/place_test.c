/* node/place_test.c - nobody is punched at who was not named by a card and seen by the server.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 4000, &addr), KH_OK);
    return addr;
}

static void name(struct kh_node_neighbour *neighbour, enum kh_room_candidate_kind kind,
                 const char *text)
{
    neighbour->card.candidates[neighbour->card.candidate_count++] =
        (struct kh_room_candidate){.kind = kind, .addr = addr_of(text)};
}

/* Where this neighbour may be punched at; "" if nowhere. */
static void assert_place(const struct kh_node_neighbour *neighbour, const char *text)
{
    struct kh_addr found = {0}, wanted = {0};
    bool is_found = kh_node_place_of(neighbour, &found);

    assert_int_equal(is_found, *text != '\0');
    if (!is_found)
        return;
    wanted = addr_of(text);
    assert_true(kh_addr_equal(&found, &wanted));
}

static void card_and_server_must_agree(void **state)
{
    struct kh_node_neighbour neighbour = {.listed = true};

    (void)state;
    assert_place(&neighbour, "");
    neighbour.public = addr_of("203.0.113.9:61000");
    assert_place(&neighbour, ""); /* a server that lies points us at nobody */
    name(&neighbour, KH_ROOM_CANDIDATE_HOST, "192.168.1.5");
    name(&neighbour, KH_ROOM_CANDIDATE_REFLEXIVE, "198.51.100.7:80");
    assert_place(&neighbour, ""); /* nor a member that does */
    name(&neighbour, KH_ROOM_CANDIDATE_REFLEXIVE, "203.0.113.9:60000");
    assert_place(&neighbour, "203.0.113.9:61000"); /* the port is newer there */
}

static void a_relay_is_nobodys_place(void **state)
{
    struct kh_node_neighbour neighbour = {.public = addr_of("203.0.113.1:61000")};

    (void)state;
    name(&neighbour, KH_ROOM_CANDIDATE_RELAYED, "203.0.113.1:61000");
    assert_place(&neighbour, "");
}

/* By another family the server sees another place (the simulator has the proof by an answer), by
 * TCP another port. */
static void who_joined_otherwise_must_be_seen_too(void **state)
{
    struct kh_node_neighbour neighbour = {.public = addr_of("[2001:db8::9]:4000")};
    struct kh_addr named;

    (void)state;
    name(&neighbour, KH_ROOM_CANDIDATE_HOST, "[2001:db8::9]:4000");
    name(&neighbour, KH_ROOM_CANDIDATE_HOST, "203.0.113.77:4000");
    assert_false(kh_node_named_place_of(&neighbour, &named));
    name(&neighbour, KH_ROOM_CANDIDATE_REFLEXIVE, "203.0.113.9:60000");
    assert_place(&neighbour, "");
    assert_true(kh_node_named_place_of(&neighbour, &named)); /* where one opens towards it */
    neighbour.public = addr_of("203.0.113.9:443");
    neighbour.public.transport = KH_TCP;
    assert_place(&neighbour, "203.0.113.9:60000");
    neighbour.public = addr_of("203.0.113.8:443");
    neighbour.public.transport = KH_TCP;
    assert_place(&neighbour, "");
}

static void places_beyond_this_machine_only(void **state)
{
    static const char *const nowhere[] = {"127.0.0.1:4000", "169.254.1.1:4000"};

    (void)state;
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        struct kh_node_neighbour neighbour = {.public = addr_of(nowhere[i])};

        name(&neighbour, KH_ROOM_CANDIDATE_REFLEXIVE, nowhere[i]);
        assert_place(&neighbour, "");
    }
}

static void our_own_place_is_of_either_source(void **state)
{
    struct kh_node *node = calloc(1, sizeof *node);
    struct kh_addr base, mapped, wanted = addr_of("203.0.113.9:60000");

    (void)state;
    assert_false(kh_node_own_place(node, &base, &mapped));
    node->mapped = addr_of("[2001:db8::9]:4000");
    node->mapped_base = node->mapped;
    assert_false(kh_node_own_place(node, &base, &mapped));
    node->reflexive.mapped = wanted;
    node->reflexive.base = addr_of("192.168.1.5:4000");
    assert_true(kh_node_own_place(node, &base, &mapped));
    assert_true(kh_addr_equal(&mapped, &wanted));
    assert_true(kh_addr_equal(&base, &node->reflexive.base));
    free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(card_and_server_must_agree),
        cmocka_unit_test(a_relay_is_nobodys_place),
        cmocka_unit_test(who_joined_otherwise_must_be_seen_too),
        cmocka_unit_test(places_beyond_this_machine_only),
        cmocka_unit_test(our_own_place_is_of_either_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
