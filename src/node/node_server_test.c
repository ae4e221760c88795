/* node/node_server_test.c - servers that die, return and lie; cards that are forged; goodbyes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/world_test.h"

#define LEG KH_MILLISECONDS(20)

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

static void leave(struct world *world, struct person *person)
{
    kh_node_leave(person->node, world->cable.now);
    world_drain(world);
}

/* ---- servers ---- */

static void the_conversation_outlives_the_server(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];
    kh_time begin;

    (void)state;
    world_stop_server(world);
    world_run(world, KH_SECONDS(300));
    assert_true(alice->count[KH_NODE_EVENT_UNREACHABLE] >= 1);
    assert_int_equal(alice->count[KH_NODE_EVENT_GONE], 0);
    world_say(world, alice, "on our own");
    assert_true(world_run_until_heard(world, bob, 1, LEG));
    begin = world->cable.now;
    leave(world, bob);
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_LEFT], 1, KH_SECONDS(2)));
    print_message("left after %u ms\n", (unsigned)((world->cable.now - begin) / 1000));
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_GONE], 1, KH_SECONDS(1)));
    world_free(world);
}

static void a_server_that_forgot_changes_nothing(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];
    struct person *carol;

    (void)state;
    world_stop_server(world);
    world_run(world, KH_SECONDS(20));
    world_start_server(world);
    world_run(world, KH_SECONDS(120));
    assert_int_equal(alice->count[KH_NODE_EVENT_MEMBER], 1);
    assert_int_equal(alice->count[KH_NODE_EVENT_GONE], 0);
    assert_int_equal(alice->count[KH_NODE_EVENT_OPEN], 1);
    carol = world_add(world, 2, "Carol", 3);
    world_join(world, carol);
    assert_true(world_run_until(world, &carol->count[KH_NODE_EVENT_OPEN], 2, KH_SECONDS(3)));
    assert_int_equal(bob->count[KH_NODE_EVENT_MEMBER], 2);
    world_free(world);
}

/* Without any path all goes by signals, and the server that carries them forgets everybody. */
static void a_server_that_forgot_loses_no_words(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    struct person *bob = world_add(world, 1, "Bob", 2);

    (void)state;
    world->cut_direct = true;
    world_join(world, alice);
    world_join(world, bob);
    world_say(world, alice, "one");
    world_run(world, KH_SECONDS(2));
    world_stop_server(world);
    world_say(world, alice, "two");
    world_say(world, bob, "three");
    world_run(world, KH_SECONDS(10));
    world_start_server(world);
    world_run(world, KH_SECONDS(60));
    assert_int_equal(bob->heard_count, 2);
    assert_int_equal(world_times_heard(bob, "one") + world_times_heard(bob, "two"), 2);
    assert_int_equal(alice->heard_count, 1);
    assert_int_equal(kh_node_undelivered(alice->node) + kh_node_undelivered(bob->node), 0);
    world_free(world);
}

/* As a server would that says Bob is gone while Alice hears him. */
static void who_is_talked_to_is_not_gone_whatever_the_server_says(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];

    (void)state;
    world->unserved = bob->addr;
    world_run(world, KH_SECONDS(200));
    assert_int_equal(world->registry != NULL, 1);
    assert_int_equal((int)kh_rendezvous_registry_stats(world->registry).members, 1);
    assert_int_equal(alice->count[KH_NODE_EVENT_GONE], 0);
    world_say(world, alice, "still here?");
    world_say(world, bob, "still here.");
    world_run(world, KH_SECONDS(1));
    assert_int_equal(alice->heard_count, 1);
    assert_int_equal(bob->heard_count, 1);
    world->cut = bob->addr; /* and now there is nothing that says he is here */
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_GONE], 1, KH_SECONDS(60)));
    world_free(world);
}

static void without_a_server_it_says_so_and_goes_on_trying(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice;

    (void)state;
    world_stop_server(world);
    alice = world_add(world, 0, "Alice", 1);
    world_join(world, alice);
    world_run(world, KH_SECONDS(4));
    assert_int_equal(alice->count[KH_NODE_EVENT_UNREACHABLE], 1);
    assert_int_equal(alice->count[KH_NODE_EVENT_JOINED], 0);
    world_run(world, KH_SECONDS(60));
    world_start_server(world);
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_JOINED], 1, KH_SECONDS(35)));
    world_free(world);
}

/* ---- goodbyes ---- */

static void a_goodbye_is_quick_and_heard(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];
    kh_time begin = world->cable.now;
    struct kh_node_member member;

    (void)state;
    leave(world, bob);
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_LEFT], 1, KH_SECONDS(2)));
    assert_true(world->cable.now - begin <= 4 * LEG);
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_GONE], 1, 4 * LEG));
    assert_int_equal(kh_node_timeout(bob->node), KH_NEVER);
    world_kill(bob);
    assert_false(kh_node_member_at(alice->node, 0, &member));
    world_run(world, KH_SECONDS(120));
    assert_int_equal(alice->count[KH_NODE_EVENT_MEMBER], 1);
    assert_int_equal(alice->count[KH_NODE_EVENT_GONE], 1);
    world_free(world);
}

/* The server hears the goodbye first, but Alice can only hear it from Bob, and not the first time.
 */
static void a_goodbye_is_repeated_until_it_is_heard(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];

    (void)state;
    world->unserved = alice->addr;
    world->cut_direct = true;
    leave(world, bob);
    world_run(world, KH_MILLISECONDS(100));
    world->cut_direct = false;
    assert_int_equal(bob->count[KH_NODE_EVENT_LEFT], 0);
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_LEFT], 1, KH_SECONDS(2)));
    world_kill(bob);
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_GONE], 1, 2 * LEG));
    world_free(world);
}

static void a_goodbye_that_nobody_hears_ends_after_two_seconds(void **state)
{
    struct world *world = world_of_two();
    struct person *bob = &world->people[1];
    kh_time begin = world->cable.now;

    (void)state;
    world->cut = bob->addr;
    leave(world, bob);
    assert_true(world_run_until(world, &bob->count[KH_NODE_EVENT_LEFT], 1, KH_SECONDS(3)));
    assert_true(world->cable.now - begin <= KH_SECONDS(2));
    world_free(world);
}

static void who_never_joined_leaves_at_once(void **state)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);

    (void)state;
    leave(world, alice);
    assert_int_equal(alice->count[KH_NODE_EVENT_LEFT], 1);
    leave(world, alice);
    assert_int_equal(alice->count[KH_NODE_EVENT_LEFT], 1);
    world_free(world);
}

static void who_falls_silent_is_gone_in_the_end(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];

    (void)state;
    world_kill(&world->people[1]);
    world_run(world, KH_SECONDS(20));
    assert_int_equal(alice->count[KH_NODE_EVENT_GONE], 0);
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_GONE], 1, KH_SECONDS(80)));
    assert_int_equal(alice->count[KH_NODE_EVENT_PATH_LOST], 1);
    world_free(world);
}

/* With words for it under way, which wait for a path. */
static void who_falls_silent_costs_no_haste(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    uint64_t before;

    (void)state;
    world_kill(&world->people[1]);
    world_stop_server(world);
    world_say(world, alice, "are you there?");
    assert_true(world_run_until(world, &alice->count[KH_NODE_EVENT_PATH_LOST], 1, KH_SECONDS(60)));
    world_run(world, KH_SECONDS(1));
    before = alice->wakes;
    world_run(world, KH_SECONDS(600));
    assert_int_equal(kh_node_undelivered(alice->node), 1);
    assert_in_range(alice->wakes - before, 1, 600 * 5);
    world_free(world);
}

/* ---- names and cards ---- */

static void a_known_name_with_another_key_is_a_warning(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    struct person *bob = &world->people[1];

    (void)state;
    leave(world, bob);
    world_run(world, KH_SECONDS(1));
    world_kill(bob);
    world_join(world, world_add(world, 1, "Bob", 2)); /* the same key */
    world_run(world, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_WARNING], 0);
    world_join(world, world_add(world, 2, "Bob", 66));
    world_run(world, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_WARNING], 1);
    assert_string_equal(alice->code, "name-changed-key");
    world_join(world, world_add(world, 3, "Alice", 67)); /* our own name is taken too */
    world_run(world, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_WARNING], 2);
    world_free(world);
}

/* A member that speaks to the server itself, and gives it whatever card it likes. */
struct mallory {
    struct kh_rendezvous_client *client;
    struct kh_room *room;
    struct kh_room_card card;
    struct kh_rendezvous_member_id id;
    struct kh_addr addr;
};

static void drain_mallory(struct world *world, struct mallory *mallory)
{
    struct kh_rendezvous_client_event event;
    struct kh_datagram datagram;

    while (kh_rendezvous_client_next_event(mallory->client, &event))
        continue;
    while (kh_rendezvous_client_next_transmit(mallory->client, &datagram)) {
        datagram.from = mallory->addr;
        cable_send(&world->cable, &datagram);
    }
}

static void make_mallory(struct world *world, struct mallory *mallory, uint8_t room_id)
{
    struct kh_node_config node = world_config(world, "Mallory", 9);
    struct kh_rendezvous_client_config client = {.server_count = 1, .seed = {77}};
    struct kh_room_config room = {.identity = node.identity, .seed = {78}};

    *mallory = (struct mallory){.id = {.bytes = {0x55}}};
    mallory->addr = kh_addr_ipv4(198, 51, 100, 66, 6666);
    world->stranger = mallory->addr;
    client.servers[0] = world->server_addr;
    client.member = mallory->id;
    kh_room_derive_seed(node.secret, &client.room_seed);
    assert_int_equal(kh_rendezvous_client_new(&mallory->client, &client), KH_OK);
    memcpy(room.secret, node.secret, sizeof room.secret);
    memcpy(room.name, "Mallory", 8);
    room.member.bytes[0] = room_id;
    assert_int_equal(kh_room_new(&mallory->room, &room), KH_OK);
    memcpy(mallory->card.ufrag, "mall", 5);
    memcpy(mallory->card.password, "abcdefghijklmnopqrstuvwx", 25);
    mallory->card.revision = 5;
}

static void free_mallory(struct mallory *mallory)
{
    kh_rendezvous_client_free(mallory->client);
    kh_room_free(mallory->room);
}

static void run_mallory(struct world *world, struct mallory *mallory, kh_duration duration)
{
    kh_time until = world->cable.now + duration;

    while (world->cable.now < until) {
        world_run(world, KH_MILLISECONDS(1));
        for (size_t i = 0; i < world->letter_count; i++) {
            struct kh_datagram datagram = cable_datagram(&world->letters[i]);

            kh_rendezvous_client_handle_datagram(mallory->client, world->cable.now, &datagram);
            drain_mallory(world, mallory);
        }
        world->letter_count = 0;
    }
}

static struct kh_span seal(struct mallory *mallory, uint8_t out[static KH_ROOM_CARD_MAX])
{
    size_t len = kh_room_seal_card(mallory->room, &mallory->card, out);

    assert_true(len > 0);
    return (struct kh_span){out, len};
}

static void a_card_that_was_sealed_for_another_is_refused(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    uint8_t card[KH_ROOM_CARD_MAX];
    struct mallory mallory;

    (void)state;
    make_mallory(world, &mallory, 0x99); /* sealed for this member, put before that one */
    kh_rendezvous_client_join(mallory.client, world->cable.now, seal(&mallory, card),
                              (struct kh_span){NULL, 0});
    drain_mallory(world, &mallory);
    run_mallory(world, &mallory, KH_SECONDS(1));
    assert_int_equal((int)kh_rendezvous_registry_stats(world->registry).members, 3);
    assert_int_equal(alice->count[KH_NODE_EVENT_MEMBER], 1);
    assert_true(kh_node_stats(alice->node).cards_refused >= 1);
    free_mallory(&mallory);
    world_free(world);
}

static void an_old_card_does_not_replace_a_new_one(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    uint8_t card[KH_ROOM_CARD_MAX];
    struct mallory mallory;

    (void)state;
    make_mallory(world, &mallory, 0x55);
    kh_rendezvous_client_join(mallory.client, world->cable.now, seal(&mallory, card),
                              (struct kh_span){NULL, 0});
    drain_mallory(world, &mallory);
    run_mallory(world, &mallory, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_MEMBER], 2);
    assert_int_equal((int)kh_node_stats(alice->node).cards_refused, 0);
    mallory.card.revision = 4;
    kh_rendezvous_client_set_card(mallory.client, world->cable.now, seal(&mallory, card));
    drain_mallory(world, &mallory);
    run_mallory(world, &mallory, KH_SECONDS(1));
    assert_int_equal((int)kh_node_stats(alice->node).cards_refused, 1);
    free_mallory(&mallory);
    world_free(world);
}

/* Gives Mallory another name, with the same identity in the same stay. */
static void rename_mallory(struct mallory *mallory, const struct world *world, const char *name)
{
    struct kh_node_config node = world_config(world, name, 9);
    struct kh_room_config room = {
        .identity = node.identity, .seed = {79}, .member = {.bytes = {0x55}}};

    memcpy(room.secret, node.secret, sizeof room.secret);
    memcpy(room.name, name, strlen(name) + 1);
    kh_room_free(mallory->room);
    assert_int_equal(kh_room_new(&mallory->room, &room), KH_OK);
    mallory->card.revision++;
}

static void who_takes_a_known_name_later_is_a_warning_too(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    uint8_t card[KH_ROOM_CARD_MAX];
    struct mallory mallory;

    (void)state;
    make_mallory(world, &mallory, 0x55);
    kh_rendezvous_client_join(mallory.client, world->cable.now, seal(&mallory, card),
                              (struct kh_span){NULL, 0});
    drain_mallory(world, &mallory);
    run_mallory(world, &mallory, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_WARNING], 0);
    rename_mallory(&mallory, world, "Bob");
    kh_rendezvous_client_set_card(mallory.client, world->cable.now, seal(&mallory, card));
    drain_mallory(world, &mallory);
    run_mallory(world, &mallory, KH_SECONDS(1));
    assert_int_equal(alice->count[KH_NODE_EVENT_MEMBER], 3);
    assert_int_equal(alice->count[KH_NODE_EVENT_WARNING], 1);
    assert_string_equal(alice->code, "name-changed-key");
    free_mallory(&mallory);
    world_free(world);
}

struct calls {
    unsigned to_member, to_service;
};

static kh_duration count_calls(void *context, const struct kh_datagram *datagram)
{
    struct calls *calls = context;

    calls->to_member += datagram->to.transport == KH_TCP && datagram->to.port == 6667;
    calls->to_service += datagram->to.transport == KH_TCP && datagram->to.port == 80;
    return 0;
}

/* Members listen at ports of their system's choice, so where services do nobody is called. */
static void a_card_makes_us_call_no_service(void **state)
{
    struct world *world = world_of_two();
    struct person *alice = &world->people[0];
    uint8_t card[KH_ROOM_CARD_MAX];
    struct mallory mallory;
    struct calls calls = {0};

    (void)state;
    alice->node->tcp.ipv4 = true;
    world->cable.judge = count_calls;
    world->cable.context = &calls;
    make_mallory(world, &mallory, 0x55);
    for (size_t i = 0; i < 2; i++) {
        mallory.card.candidates[i].addr = kh_addr_ipv4(198, 51, 100, 66, i == 0 ? 6667 : 80);
        mallory.card.candidates[i].addr.transport = KH_TCP;
        mallory.card.candidates[i].tcp = KH_ROOM_TCP_PASSIVE;
    }
    mallory.card.candidate_count = 2;
    kh_rendezvous_client_join(mallory.client, world->cable.now, seal(&mallory, card),
                              (struct kh_span){NULL, 0});
    drain_mallory(world, &mallory);
    run_mallory(world, &mallory, KH_SECONDS(20));
    assert_true(alice->node->tcp.is_used);
    assert_true(calls.to_member > 0);
    assert_int_equal(calls.to_service, 0);
    free_mallory(&mallory);
    world_free(world);
}

/* How many datagrams a member sends to a relay that its server names. */
static size_t sent_to_relay_at(const char *text)
{
    struct world *world = world_new(LEG);
    struct person *alice = world_add(world, 0, "Alice", 1);
    size_t count;

    assert_int_equal(kh_addr_parse(text, 3478, &world->elsewhere), KH_OK);
    world->stranger = world->elsewhere;
    world_join(world, alice);
    world_run(world, KH_SECONDS(3));
    assert_int_equal(alice->count[KH_NODE_EVENT_JOINED], 1);
    count = world->letter_count;
    world_free(world);
    return count;
}

/* Nor is anyone's own network a place that a server can send its members to. */
static void a_server_names_no_relay_nearer_than_itself(void **state)
{
    (void)state;
    assert_true(sent_to_relay_at("192.0.2.99") > 0);
    assert_int_equal(sent_to_relay_at("127.0.0.1:22"), 0);
    assert_int_equal(sent_to_relay_at("10.0.0.1:80"), 0);
    assert_int_equal(sent_to_relay_at("192.168.1.1:80"), 0);
    assert_int_equal(sent_to_relay_at("169.254.169.254:80"), 0);
    assert_int_equal(sent_to_relay_at("0.0.0.0:80"), 0);
    assert_int_equal(sent_to_relay_at("224.0.0.1:5353"), 0);
    assert_int_equal(sent_to_relay_at("[2001:db8::5]:80"), 0); /* she has no IPv6 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_conversation_outlives_the_server),
        cmocka_unit_test(a_server_names_no_relay_nearer_than_itself),
        cmocka_unit_test(a_server_that_forgot_changes_nothing),
        cmocka_unit_test(a_server_that_forgot_loses_no_words),
        cmocka_unit_test(who_is_talked_to_is_not_gone_whatever_the_server_says),
        cmocka_unit_test(without_a_server_it_says_so_and_goes_on_trying),
        cmocka_unit_test(a_goodbye_is_quick_and_heard),
        cmocka_unit_test(a_goodbye_is_repeated_until_it_is_heard),
        cmocka_unit_test(a_goodbye_that_nobody_hears_ends_after_two_seconds),
        cmocka_unit_test(who_never_joined_leaves_at_once),
        cmocka_unit_test(who_falls_silent_is_gone_in_the_end),
        cmocka_unit_test(who_falls_silent_costs_no_haste),
        cmocka_unit_test(a_known_name_with_another_key_is_a_warning),
        cmocka_unit_test(a_card_that_was_sealed_for_another_is_refused),
        cmocka_unit_test(an_old_card_does_not_replace_a_new_one),
        cmocka_unit_test(who_takes_a_known_name_later_is_a_warning_too),
        cmocka_unit_test(a_card_makes_us_call_no_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
