/* node/node_test.c - whole members meet, talk, and go.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/inside.h"
#include "node/world_test.h"

#define LEG KH_MILLISECONDS(20)
#define ROUND (2 * LEG)

static unsigned ms_since(kh_time since, kh_time at)
{
    return (unsigned)((at - since) / 1000);
}

/* Two members whose channel is open. */
static struct world *world_of_two(void)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob = world_add(world, 1, "Bob", 2);

    world_join(world, alice);
    world_join(world, bob);
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_OPEN], 1, KH_SECONDS(3)));
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_OPEN], 1, KH_SECONDS(3)));
    return world;
}

static void first_words_come_before_the_path(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob = world_add(world, 1, "Bob", 2);
    kh_time begin;

    (void)state;
    world_join(world, alice);
    world_run(world, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_JOINED], 1);
    begin = world->cable.now;
    world_say(world, bob, "hello?");
    world_join(world, bob);
    assert_true(world_run_until_heard(world, alice, 1, KH_SECONDS(2)));
    assert_string_equal(alice->heard[0].text, "hello?");
    assert_string_equal(alice->heard[0].name, "Bob");
    assert_int_equal(alice->heard[0].via, KH_ROOM_SIGNAL);
    assert_int_equal(alice->count[KH_NODE_EVENT_PATH], 0);
    assert_true(alice->heard[0].at - begin <= 3 * ROUND);
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_OPEN], 1, KH_SECONDS(2)));
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_OPEN], 1, KH_SECONDS(2)));
    print_message("heard %u, path %u, open %u ms after the start, round trip 40\n",
                  ms_since(begin, alice->heard[0].at),
                  ms_since(begin, bob->last[KH_NODE_EVENT_PATH]),
                  ms_since(begin, alice->last[KH_NODE_EVENT_OPEN]));
    assert_true(bob->last[KH_NODE_EVENT_PATH] - begin <= KH_MILLISECONDS(350));
    assert_true(alice->last[KH_NODE_EVENT_OPEN] - begin <= KH_MILLISECONDS(700));
    assert_int_equal(bob->count[KH_NODE_EVENT_DELIVERED], 1);
    world_say(world, alice, "hi Bob");
    assert_true(world_run_until_heard(world, bob, 1, 3 * LEG));
    assert_int_equal(bob->heard[0].via, KH_ROOM_CHANNEL);
    world_run(world, KH_SECONDS(30));
    assert_int_equal(alice->heard_count + bob->heard_count, 2);
    assert_int_equal(alice->count[KH_NODE_EVENT_DELIVERED], 1);
    assert_int_equal(kh_node_undelivered(alice->node) + kh_node_undelivered(bob->node), 0);
    world_free(world);
}

/* Bob speaks, Alice hears it and leaves; her acknowledgement so far was lost.  True if he knows. */
static bool leave_unacknowledged(unsigned seed)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob = world_add(world, 1, "Bob", 2);
    bool knows;

    world->cut_direct = true;
    world_join(world, alice);
    world_join(world, bob);
    world_run(world, KH_SECONDS(3));
    world_say(world, bob, "do you hear me?");
    assert_true(world_run_until_heard(world, alice, 1, 3 * LEG));
    memset(world->cable.packets, 0, sizeof world->cable.packets); /* here they are lost */
    world->cable.dice = seed;
    world->cable.loss_percent = 30;
    kh_node_leave(alice->node, world->cable.now);
    world_drain(world);
    world_run(world, KH_SECONDS(2));
    assert_int_equal(alice->count[KH_NODE_EVENT_LEFT], 1);
    knows = bob->count[KH_NODE_EVENT_DELIVERED] == 1;
    world_free(world);
    return knows;
}

static void who_leaves_says_often_what_it_has(void **state)
{
    int ignorant = 0;

    (void)state;
    for (unsigned seed = 1; seed <= 100; seed++)
        ignorant += !leave_unacknowledged(seed);
    print_message("%d of 100 left in the dark\n", ignorant);
    assert_true(ignorant <= 2);
}

/* Whether Bob's copy of the other's card has this mapped candidate. */
static bool is_told(const struct person *bob, const struct kh_addr *mapped)
{
    const struct kh_room_card *card = &bob->node->neighbours[0]->card;

    for (size_t i = 0; i < card->candidate_count; i++)
        if (card->candidates[i].kind == KH_ROOM_CANDIDATE_MAPPED &&
            kh_addr_equal(&card->candidates[i].addr, mapped))
            return true;
    return false;
}

static void a_mapped_port_is_told_to_who_is_here_already(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];
    const struct kh_addr mapped = kh_addr_ipv4(203, 0, 113, 77, 4444);

    (void)state;
    assert_int_equal(kh_node_add_mapped(alice->node, world->cable.now, &alice->addr, &mapped),
                     KH_OK);
    world_drain(world);
    assert_false(is_told(bob, &mapped));
    world_run(world, KH_SECONDS(1));
    assert_true(is_told(bob, &mapped));
    kh_node_remove_mapped(alice->node, world->cable.now, &mapped);
    world_drain(world);
    world_run(world, KH_SECONDS(1));
    assert_false(is_told(bob, &mapped));
    world_free(world);
}

static void a_ticket_saves_the_first_round_trip(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob = world_add(world, 1, "Bob", 2);
    kh_time begin;

    (void)state;
    world_join(world, alice);
    world_join(world, bob);
    world_run(world, KH_SECONDS(3));
    kh_node_leave(bob->node, world->cable.now);
    world_drain(world);
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_LEFT], 1, KH_SECONDS(2)));
    world_kill(bob);
    bob = world_add(world, 1, "Bob", 2);
    begin = world->cable.now;
    world_say(world, bob, "back again");
    world_join(world, bob);
    assert_true(world_run_until_heard(world, alice, 1, KH_SECONDS(2)));
    print_message("heard after %u ms\n", ms_since(begin, alice->heard[0].at));
    assert_true(alice->heard[0].at - begin <= 2 * ROUND);
    assert_int_equal(alice->count[KH_NODE_EVENT_WARNING], 0); /* the same name, the same key */
    world_free(world);
}

static void three_members_are_a_mesh(void **state)
{
    struct world *world = world_new(LEG);
    static const char *const names[] = {"Alice", "Bob", "Carol"};
    struct kh_node_member member;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        world_join(world, world_add(world, i, names[i], (uint8_t)(i + 1)));
    world_run(world, KH_SECONDS(3));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(world->people[i].count[KH_NODE_EVENT_OPEN], 2);
        assert_true(kh_node_member_at(world->people[i].node, 1, &member));
        assert_true(member.open && member.has_path);
        assert_false(kh_node_member_at(world->people[i].node, 2, &member));
        world_say(world, &world->people[i], names[i]);
    }
    world_run(world, KH_SECONDS(3));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(world->people[i].heard_count, 2);
        assert_int_equal(world->people[i].count[KH_NODE_EVENT_DELIVERED], 2);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(world_times_heard(&world->people[i], names[k]), i != k);
    }
    world_free(world);
}

static void who_comes_late_hears_what_was_said(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob;
    char text[32];

    (void)state;
    world_join(world, alice);
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "number %d", i);
        world_say(world, alice, text);
        world_run(world, KH_MILLISECONDS(100));
    }
    bob = world_add(world, 1, "Bob", 2);
    world_join(world, bob);
    assert_true(world_run_until_heard(world, bob, 50, KH_SECONDS(3)));
    world_run(world, KH_SECONDS(3));
    assert_int_equal(bob->heard_count, 50);
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof text, "number %d", i);
        assert_string_equal(bob->heard[i].text, text);
    }
    assert_int_equal(kh_node_undelivered(alice->node), 0);
    world_free(world);
}

static void a_long_speech_arrives_whole(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];
    static char text[KH_ROOM_TEXT_MAX + 1];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    world->cable.loss_percent = 1;
    for (int i = 0; i < 200; i++) {
        memcpy(text, (char[]){(char)('A' + i % 26)}, 1);
        world_say(world, alice, text);
    }
    assert_true(world_run_until_heard(world, bob, 200, KH_SECONDS(120)));
    for (int i = 0; i < 200; i++) {
        assert_int_equal(bob->heard[i].text[0], 'A' + i % 26);
        assert_int_equal(bob->heard[i].len, KH_ROOM_TEXT_MAX);
    }
    print_message("%u refused frames, %u datagrams dropped at a full outbox\n",
                  (unsigned)kh_node_stats(alice->node).frames_refused,
                  (unsigned)kh_node_stats(alice->node).dropped_outbox_full);
    world_run(world, KH_SECONDS(20));
    assert_int_equal(bob->heard_count, 200);
    assert_int_equal(kh_node_undelivered(alice->node), 0);
    world_free(world);
}

static void a_member_without_a_path_is_talked_to_by_signals(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob = world_add(world, 1, "Bob", 2);
    char text[32];

    (void)state;
    world->cut_direct = true;
    world_join(world, alice);
    world_join(world, bob);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "number %d", i);
        world_say(world, alice, text);
        world_run(world, KH_SECONDS(3));
    }
    assert_int_equal(bob->heard_count, 20);
    assert_int_equal(alice->count[KH_NODE_EVENT_PATH], 0);
    assert_int_equal(alice->count[KH_NODE_EVENT_PATH_LOST], 1);
    assert_int_equal(alice->count[KH_NODE_EVENT_DELIVERED], 20);
    world->cut_direct = false;
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_OPEN], 1, KH_SECONDS(35)));
    world_say(world, alice, "directly");
    world_run(world, KH_SECONDS(1));
    assert_int_equal(bob->heard[20].via, KH_ROOM_CHANNEL);
    assert_int_equal(bob->heard_count, 21);
    world_free(world);
}

static void a_path_lost_for_a_while_loses_no_words(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];

    (void)state;
    world->cut = alice->addr;
    world_say(world, alice, "into the dark");
    world_run(world, KH_SECONDS(50));
    assert_int_equal(bob->heard_count, 0);
    assert_int_equal(alice->count[KH_NODE_EVENT_PATH_LOST], 1);
    world->cut = (struct kh_addr){0};
    assert_true(world_run_until_heard(world, bob, 1, KH_SECONDS(40)));
    world_run(world, KH_SECONDS(60));
    assert_int_equal(bob->heard_count, 1);
    assert_int_equal(kh_node_undelivered(alice->node), 0);
    world_say(world, bob, "and light");
    world_run(world, KH_SECONDS(1));
    assert_int_equal(world_times_heard(alice, "and light"), 1);
    assert_int_equal(alice->heard[0].via, KH_ROOM_CHANNEL);
    world_free(world);
}

/* The one asleep remembers a channel that the others gave up: they begin anew, and it follows. */
static void who_slept_finds_its_place_again(void **state)
{
    (void)state;
    for (int sleeper = 0; sleeper < 2; sleeper++) {
        struct world *world = world_of_two();
        struct person *asleep = &world->people[sleeper];
        struct person *awake = &world->people[1 - sleeper];
        struct kh_node *node = asleep->node;

        asleep->node = NULL;
        world_say(world, awake, "asleep?");
        world_run(world, KH_SECONDS(900));
        assert_int_equal(awake->count[KH_NODE_EVENT_GONE], 1);
        asleep->node = node;
        assert_true(world_run_until_heard(world, asleep, 1, KH_SECONDS(10)));
        world_say(world, asleep, "no more");
        assert_true(world_run_until_heard(world, awake, 1, KH_SECONDS(10)));
        assert_true(world_run_until(world, &asleep->count[KH_NODE_EVENT_OPEN], 2, KH_SECONDS(40)));
        assert_true(world_run_until(world, &awake->count[KH_NODE_EVENT_OPEN], 2, KH_SECONDS(1)));
        world_say(world, asleep, "directly");
        assert_true(world_run_until_heard(world, awake, 2, 3 * LEG));
        assert_int_equal(awake->heard[1].via, KH_ROOM_CHANNEL);
        world_run(world, KH_SECONDS(60));
        assert_int_equal(asleep->heard_count + awake->heard_count, 3);
        world_free(world);
    }
}

static void nothing_is_lost_or_doubled_with_a_third_of_all_datagrams_gone(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct world *world = world_new(LEG);
        struct person *alice = world_add(world, 0, "Alice", 1);
        struct person *bob = world_add(world, 1, "Bob", 2);
        char text[32];

        world->cable.loss_percent = 30;
        world->cable.dice = seed;
        world_join(world, alice);
        world_join(world, bob);
        for (int i = 0; i < 30; i++) {
            snprintf(text, sizeof text, "number %d", i);
            world_say(world, i % 2 == 0 ? alice : bob, text);
            world_run(world, KH_MILLISECONDS(200));
        }
        assert_true(world_run_until_heard(world, alice, 15, KH_SECONDS(120)));
        assert_true(world_run_until_heard(world, bob, 15, KH_SECONDS(120)));
        world_run(world, KH_SECONDS(20));
        assert_int_equal(alice->heard_count, 15);
        assert_int_equal(bob->heard_count, 15);
        for (int i = 0; i < 15; i++) {
            snprintf(text, sizeof text, "number %d", 2 * i);
            assert_string_equal(bob->heard[i].text, text);
        }
        world_free(world);
    }
}

static void a_move_to_another_address_keeps_the_conversation(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];
    struct kh_addr old = alice->addr;

    (void)state;
    alice->second = kh_addr_ipv4(198, 51, 100, 9, 4000);
    kh_node_remove_addr(alice->node, world->cable.now, &old);
    world_drain(world);
    world->cut = old;
    world_run(world, KH_MILLISECONDS(500));
    assert_int_equal(kh_node_add_addr(alice->node, world->cable.now, &alice->second), KH_OK);
    world_drain(world);
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_PATH], 2, KH_SECONDS(5)));
    world_say(world, bob, "still there?");
    world_say(world, alice, "yes");
    world_run(world, KH_SECONDS(30));
    assert_int_equal(world_times_heard(alice, "still there?"), 1);
    assert_int_equal(world_times_heard(bob, "yes"), 1);
    assert_true(kh_addr_equal(&alice->path.local, &alice->second));
    assert_int_equal(alice->count[KH_NODE_EVENT_OPEN], 1); /* the same channel */
    assert_int_equal(alice->count[KH_NODE_EVENT_GONE] + bob->count[KH_NODE_EVENT_GONE], 0);
    world_free(world);
}

static void an_idle_member_rarely_wakes(void **state)
{
    struct world *world = world_of_two();
    uint64_t sent;

    (void)state;
    world_run(world, KH_SECONDS(10));
    world->people[0].wakes = 0;
    sent = world->cable.sent;
    world_run(world, KH_SECONDS(300));
    print_message("%u wakes and %u datagrams in all in 5 minutes\n",
                  (unsigned)world->people[0].wakes, (unsigned)(world->cable.sent - sent));
    assert_true(world->people[0].wakes <= 300);
    world_free(world);
}

static void what_is_nobodys_is_counted(void **state)
{
    struct world *world = world_of_two();
    struct kh_node *node = world->people[0].node;
    uint64_t before = kh_node_stats(node).dropped_stray;
    struct kh_datagram datagram = {.from = kh_addr_ipv4(198, 51, 100, 66, 6),
                                   .to = world->people[0].addr,
                                   .data = (const uint8_t *)"HI!",
                                   .len = 3};

    (void)state;
    assert_false(kh_node_handle_datagram(node, world->cable.now, &datagram));
    world_drain(world);
    datagram.from = world->server_addr;
    assert_false(kh_node_handle_datagram(node, world->cable.now, &datagram));
    world_drain(world);
    assert_int_equal(kh_node_stats(node).dropped_stray, before + 2);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_words_come_before_the_path),
        cmocka_unit_test(a_mapped_port_is_told_to_who_is_here_already),
        cmocka_unit_test(a_ticket_saves_the_first_round_trip),
        cmocka_unit_test(three_members_are_a_mesh),
        cmocka_unit_test(who_comes_late_hears_what_was_said),
        cmocka_unit_test(a_long_speech_arrives_whole),
        cmocka_unit_test(a_member_without_a_path_is_talked_to_by_signals),
        cmocka_unit_test(a_path_lost_for_a_while_loses_no_words),
        cmocka_unit_test(who_slept_finds_its_place_again),
        cmocka_unit_test(nothing_is_lost_or_doubled_with_a_third_of_all_datagrams_gone),
        cmocka_unit_test(a_move_to_another_address_keeps_the_conversation),
        cmocka_unit_test(an_idle_member_rarely_wakes),
        cmocka_unit_test(who_leaves_says_often_what_it_has),
        cmocka_unit_test(what_is_nobodys_is_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
