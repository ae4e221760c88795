/* node/names_test.c - names of the link: each answer is used, and nothing beyond it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NAME "6f0c9d7e.local"

static struct kh_node *node;

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 4000, &addr), KH_OK);
    return addr;
}

static int set_up(void **state)
{
    struct kh_node_config config = {
        .name = "alice", .servers = {kh_addr_ipv4(203, 0, 113, 1, 3478)}, .server_count = 1};

    (void)state;
    assert_int_equal(kh_node_new(&node, &config), KH_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_node_free(node);
    return 0;
}

/* A member whose card has that name in it, and a peer machine to hear of its addresses. */
static struct kh_node_neighbour *add_named(uint8_t id)
{
    struct kh_room_member_id member = {.bytes = {id}};
    struct kh_node_neighbour *neighbour = kh_node_add_neighbour(node, &member);
    struct kh_peer_config config = {.local = node->credentials, .certificate = node->certificate};

    assert_non_null(neighbour);
    neighbour->card.named_count = 1;
    neighbour->card.named[0] = (struct kh_room_named){.family = KH_FAMILY_IPV4, .port = 4000};
    memcpy(neighbour->card.named[0].host, NAME, sizeof NAME);
    assert_int_equal(kh_peer_new(&neighbour->peer, &config), KH_OK);
    return neighbour;
}

static void ask_for(struct kh_node_neighbour *neighbour)
{
    struct kh_ring none = {0};

    assert_true(kh_node_names_step(node, neighbour));
    node->event_ring = none; /* the owner has heard it */
}

static size_t count_given(struct kh_node_neighbour *neighbour)
{
    size_t count = 0;

    while (count <= 2 * KH_NODE_NAME_ADDRS_MAX && kh_node_names_give(node, neighbour))
        count++;
    return count;
}

/* Bob's machine was found; then Carol's card tells his name, and nobody answers to it any more. */
static void a_later_answer_may_be_shorter(void **state)
{
    struct kh_addr addrs[] = {addr_of("192.168.1.7"), addr_of("192.168.1.8")};
    struct kh_node_neighbour *bob = add_named(1);
    struct kh_node_neighbour *carol;

    (void)state;
    ask_for(bob);
    kh_node_names_answer(node, NAME, KH_FAMILY_IPV4, addrs, 2);
    assert_int_equal(count_given(bob), 2);
    carol = add_named(2);
    ask_for(carol);
    kh_node_names_answer(node, NAME, KH_FAMILY_IPV4, addrs, 0);
    assert_int_equal(count_given(bob), 0);
    assert_int_equal(count_given(carol), 0);
}

static void a_later_answer_is_given_too(void **state)
{
    struct kh_addr before = addr_of("192.168.1.7"), after = addr_of("192.168.1.9");
    struct kh_node_neighbour *bob = add_named(1);
    struct kh_node_neighbour *carol;

    (void)state;
    ask_for(bob);
    kh_node_names_answer(node, NAME, KH_FAMILY_IPV4, &before, 1);
    assert_int_equal(count_given(bob), 1);
    carol = add_named(2);
    ask_for(carol);
    kh_node_names_answer(node, NAME, KH_FAMILY_IPV4, &after, 1);
    assert_int_equal(count_given(bob), 1);
    assert_int_equal(count_given(carol), 1);
}

/* For ten minutes somebody comes as somebody new each second, with another name. */
static void who_comes_as_others_has_few_names_asked_for(void **state)
{
    unsigned asked = 0;

    (void)state;
    for (unsigned i = 0; i < 600; i++) {
        struct kh_node_neighbour *neighbour = add_named(1);
        struct kh_ring none = {0};

        node->now = kh_time_add(node->now, KH_SECONDS(1));
        neighbour->card.named[0].host[0] = (char)('a' + i % 26);
        neighbour->card.named[0].host[1] = (char)('a' + i / 26);
        if (kh_node_names_step(node, neighbour)) {
            asked++;
            kh_node_names_answer(node, neighbour->card.named[0].host, KH_FAMILY_IPV4, NULL, 0);
        }
        node->event_ring = none;
        node->neighbour_count = 0;
        kh_node_free_neighbour(neighbour);
    }
    assert_in_range(asked, 64, 64 + 600 / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_later_answer_may_be_shorter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_later_answer_is_given_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_comes_as_others_has_few_names_asked_for, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
