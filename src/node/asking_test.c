/* node/asking_test.c - names of the link: asked for once, a few at a time, and not for ever.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/inside.h"

static struct kh_node *node;
static struct kh_node_neighbour *alice, *bob;

static int set_up(void **state)
{
    (void)state;
    node = calloc(1, sizeof *node);
    node->settled = true;
    alice = kh_node_add_neighbour(node, &(struct kh_room_member_id){{0xa1}});
    bob = kh_node_add_neighbour(node, &(struct kh_room_member_id){{0xb0}});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_node_free_neighbour(alice);
    kh_node_free_neighbour(bob);
    free(node);
    return 0;
}

/* A newer card with `count` names, numbered from `first`. */
static void show_card(struct kh_node_neighbour *neighbour, unsigned first, size_t count)
{
    struct kh_room_card card = neighbour->card;

    card.named_count = count;
    for (size_t i = 0; i < count; i++) {
        card.named[i] = (struct kh_room_named){.family = KH_FAMILY_IPV4, .port = 4000};
        (void)snprintf(card.named[i].host, sizeof card.named[i].host, "n%u.local",
                       first + (unsigned)i);
    }
    kh_node_names_follow(neighbour, &card);
    neighbour->card = card;
}

/* Takes all steps there are; returns how many names are asked for by that. */
static unsigned questions(struct kh_node_neighbour *neighbour)
{
    unsigned count = 0;
    size_t at;

    while (kh_node_names_step(node, neighbour))
        ;
    while (kh_ring_pop(&node->event_ring, EVENTS_MAX, &at)) {
        assert_int_equal(node->events[at].event.kind, KH_NODE_EVENT_NAME);
        assert_int_equal(node->events[at].event.family, KH_FAMILY_IPV4);
        count++;
    }
    return count;
}

static void answer(const char *name, size_t count)
{
    const struct kh_addr addrs[] = {kh_addr_ipv4(192, 168, 1, 7, 0), kh_addr_ipv4(10, 0, 0, 7, 0),
                                    kh_addr_ipv4(10, 1, 0, 7, 0)};

    kh_node_names_answer(node, name, KH_FAMILY_IPV4, addrs, count);
}

static void one_question_serves_all_who_have_the_name(void **state)
{
    (void)state;
    show_card(alice, 1, 2);
    show_card(bob, 2, 1);
    assert_int_equal(questions(alice), 2);
    assert_int_equal(questions(bob), 0);
    answer("n2.local", 3);
    assert_int_equal(alice->names[1].count, 2); /* of three */
    assert_int_equal(bob->names[0].count, 2);
    assert_int_equal(alice->names[0].count, 0);
    answer("n1.local", 0);
    assert_int_equal(alice->names[0].count, 0);
    assert_int_equal(questions(alice) + questions(bob), 0); /* asked once */
}

static void four_are_asked_for_at_a_time(void **state)
{
    (void)state;
    show_card(alice, 1, 4);
    show_card(bob, 5, 3);
    assert_int_equal(questions(alice), 4);
    assert_int_equal(questions(bob), 0);
    answer("n3.local", 1);
    assert_int_equal(questions(bob), 1);
    answer("n1.local", 0);
    answer("n2.local", 0);
    assert_int_equal(questions(bob), 2);
}

static void a_new_card_keeps_what_is_known_and_asks_for_the_rest(void **state)
{
    (void)state;
    show_card(alice, 1, 2);
    assert_int_equal(questions(alice), 2);
    answer("n1.local", 1);
    answer("n2.local", 1);
    alice->names[0].given = 1;
    show_card(alice, 1, 3);
    assert_int_equal(alice->names[0].count, 1);
    assert_int_equal(alice->names[0].given, 0); /* what is given twice changes nothing */
    assert_int_equal(questions(alice), 1);
    show_card(alice, 7, 1);
    assert_int_equal(alice->names[0].count, 0);
    assert_int_equal(questions(alice), 1);
    answer("n3.local", 1); /* of nobody any more */
    assert_int_equal(alice->names[0].count, 0);
}

static void nobody_is_asked_about_for_ever(void **state)
{
    unsigned asked = 0;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        char name[16];

        show_card(alice, i, 1);
        if (questions(alice) == 0)
            continue;
        asked++;
        (void)snprintf(name, sizeof name, "n%u.local", i);
        answer(name, 1);
    }
    assert_int_equal(asked, 16);
}

static void who_goes_through_relays_only_asks_for_none(void **state)
{
    (void)state;
    node->paths = KH_NODE_PATHS_RELAY;
    show_card(alice, 1, 4);
    assert_int_equal(questions(alice), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_question_serves_all_who_have_the_name, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(four_are_asked_for_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_card_keeps_what_is_known_and_asks_for_the_rest,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_is_asked_about_for_ever, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_goes_through_relays_only_asks_for_none, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
