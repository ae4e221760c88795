/* turn/relay_test.c - our TURN client face to face with our relay, over good wires and bad.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "relay/relay.h"
#include "support/cable.h"
#include "turn/turn.h"

#define SECRET "north"
#define USERNAME "2000000000:alice"
/* base64(HMAC-SHA1("north", "2000000000:alice")), by openssl(1) */
#define PASSWORD "uoDL/AHil9mhKpZV8sTerU3VXBM="
#define WALL 1900000000u
#define REALM "example.org"

struct member {
    struct kh_addr addr;
    struct kh_turn_client *turn;
    struct kh_addr relayed;
    struct kh_addr relayed6;
    unsigned allocated, lost, failed, released, refused;
    unsigned heard;
    char text[64];
    struct kh_addr heard_from;
};

/* Alice and Bob with a relay between them, and Carol, who has never heard of TURN. */
struct world {
    struct cable cable;
    struct kh_addr server;
    struct kh_addr server6;
    struct kh_relay *relay;
    struct member members[2];
    struct kh_addr carol;
    unsigned carol_heard;
    struct kh_addr carol_heard_from;
    struct kh_addr rebound; /* where the server sees Alice, if not at her address */
};

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 0, &addr), KH_OK);
    return addr;
}

static void start_relay(struct world *world, uint8_t seed)
{
    struct kh_relay_config config = {
        .seed = {seed}, .realm = REALM, .secret = {SECRET, strlen(SECRET)}, .address_count = 2};

    config.addresses[0].local = config.addresses[0].external = world->server;
    config.addresses[1].local = config.addresses[1].external = world->server6;
    kh_relay_free(world->relay);
    assert_int_equal(kh_relay_new(&world->relay, &config), KH_OK);
    kh_relay_set_wall_clock(world->relay, world->cable.now, WALL);
}

static void open_world(struct world *world, unsigned loss_percent, uint64_t dice)
{
    memset(world, 0, sizeof *world);
    world->cable.now = KH_SECONDS(1000);
    world->cable.delay = KH_MILLISECONDS(20);
    world->cable.loss_percent = loss_percent;
    world->cable.dice = dice;
    world->server = addr_of("203.0.113.1:3478");
    world->server6 = addr_of("[2001:db8:1::1]:3478");
    world->carol = addr_of("192.0.2.9:6000");
    start_relay(world, 1);
    for (size_t i = 0; i < 2; i++) {
        const struct kh_turn_config config = {.seed = {(uint8_t)(i + 1), (uint8_t)dice}};

        world->members[i].addr = addr_of(i == 0 ? "198.51.100.7:5000" : "198.51.100.8:5000");
        assert_int_equal(kh_turn_client_new(&world->members[i].turn, &config), KH_OK);
    }
}

static void close_world(struct world *world)
{
    for (size_t i = 0; i < 2; i++)
        kh_turn_client_free(world->members[i].turn);
    kh_relay_free(world->relay);
}

static void drain_member(struct world *world, struct member *member)
{
    struct kh_turn_event event;
    struct kh_datagram datagram;

    while (kh_turn_client_next_event(member->turn, &event)) {
        member->allocated += event.kind == KH_TURN_EVENT_ALLOCATED;
        member->lost += event.kind == KH_TURN_EVENT_LOST;
        member->failed += event.kind == KH_TURN_EVENT_FAILED;
        member->released += event.kind == KH_TURN_EVENT_RELEASED;
        member->refused += event.kind == KH_TURN_EVENT_PEER_REFUSED;
        if (event.kind == KH_TURN_EVENT_ALLOCATED) {
            member->relayed = event.allocated.relayed4;
            member->relayed6 = event.allocated.relayed6;
            assert_true(kh_addr_equal(&event.allocated.mapped, &member->addr));
        }
    }
    while (kh_turn_client_next_received(member->turn, &datagram)) {
        assert_true(datagram.len < sizeof member->text);
        memcpy(member->text, datagram.data, datagram.len);
        member->text[datagram.len] = '\0';
        member->heard_from = datagram.from;
        member->heard++;
    }
    while (kh_turn_client_next_transmit(member->turn, &datagram)) {
        if (member == &world->members[0] && !kh_addr_is_none(&world->rebound))
            datagram.from = world->rebound;
        cable_send(&world->cable, &datagram);
    }
}

static void drain_relay(struct world *world)
{
    struct kh_relay_event event;
    struct kh_datagram datagram;

    while (kh_relay_next_transmit(world->relay, &datagram))
        cable_send(&world->cable, &datagram);
    while (kh_relay_next_event(world->relay, &event)) {
        if (event.kind == KH_RELAY_EVENT_OPEN)
            kh_relay_opened(world->relay, world->cable.now, &event.addr, true);
        while (kh_relay_next_transmit(world->relay, &datagram))
            cable_send(&world->cable, &datagram);
    }
}

static void deliver(struct world *world, const struct kh_datagram *sent)
{
    struct kh_datagram in = *sent;
    const struct kh_datagram *datagram = &in;
    struct kh_stun_message message;

    if (!kh_addr_is_none(&world->rebound)) {
        if (kh_addr_equal(&in.to, &world->members[0].addr))
            return; /* the mapping of before */
        if (kh_addr_equal(&in.to, &world->rebound))
            in.to = world->members[0].addr;
    }

    for (size_t i = 0; i < 2; i++) {
        struct member *member = &world->members[i];

        if (kh_addr_equal(&datagram->to, &member->addr)) {
            assert_true(kh_turn_client_handle_datagram(member->turn, world->cable.now, datagram));
            drain_member(world, member);
            return;
        }
    }
    if (kh_addr_equal(&datagram->to, &world->carol)) {
        world->carol_heard++;
        world->carol_heard_from = datagram->from;
        return;
    }
    if (!kh_relay_handle_datagram(world->relay, world->cable.now, datagram) &&
        kh_stun_parse(datagram->data, datagram->len, &message) == KH_OK)
        (void)kh_relay_handle_message(world->relay, world->cable.now, datagram, &message, NULL);
    drain_relay(world);
}

static void run_timers(struct world *world)
{
    for (size_t i = 0; i < 2; i++) {
        if (kh_turn_client_timeout(world->members[i].turn) <= world->cable.now) {
            kh_turn_client_handle_timeout(world->members[i].turn, world->cable.now);
            drain_member(world, &world->members[i]);
        }
    }
    if (kh_relay_timeout(world->relay) <= world->cable.now) {
        kh_relay_handle_timeout(world->relay, world->cable.now);
        drain_relay(world);
    }
}

static void pass(struct world *world, kh_duration duration)
{
    kh_time until = world->cable.now + duration;

    for (;;) {
        kh_time next = cable_next_at(&world->cable);
        struct cable_packet packet;

        for (size_t i = 0; i < 2; i++)
            next = kh_time_min(next, kh_turn_client_timeout(world->members[i].turn));
        next = kh_time_min(next, kh_relay_timeout(world->relay));
        if (next > until)
            break;
        world->cable.now = next > world->cable.now ? next : world->cable.now;
        while (cable_take(&world->cable, &packet)) {
            const struct kh_datagram datagram = cable_datagram(&packet);

            deliver(world, &datagram);
        }
        run_timers(world);
    }
    world->cable.now = until;
}

static struct kh_turn_request request_of(const struct world *world, const struct member *member)
{
    return (struct kh_turn_request){.server = world->server,
                                    .local = member->addr,
                                    .username = {USERNAME, strlen(USERNAME)},
                                    .password = {PASSWORD, strlen(PASSWORD)}};
}

static void allocate(struct world *world, struct member *member,
                     const struct kh_turn_request *request)
{
    assert_int_equal(kh_turn_client_allocate(member->turn, world->cable.now, request), KH_OK);
    drain_member(world, member);
}

static void both_allocate(struct world *world)
{
    for (size_t i = 0; i < 2; i++) {
        const struct kh_turn_request request = request_of(world, &world->members[i]);

        allocate(world, &world->members[i], &request);
    }
}

static void say(struct world *world, struct member *member, const struct kh_addr *to,
                const char *text)
{
    const struct kh_datagram datagram = {.from = to->family == KH_FAMILY_IPV6 ? member->relayed6
                                                                              : member->relayed,
                                         .to = *to,
                                         .data = (const uint8_t *)text,
                                         .len = strlen(text)};

    kh_turn_client_send(member->turn, world->cable.now, &datagram);
    drain_member(world, member);
}

static void permit_each_other(struct world *world)
{
    for (size_t i = 0; i < 2; i++) {
        kh_turn_client_permit(world->members[i].turn, world->cable.now,
                              &world->members[1 - i].relayed);
        drain_member(world, &world->members[i]);
    }
}

static void talks_through_the_relay_without_loss(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0], *bob = &world.members[1];
    char text[64];

    (void)state;
    open_world(&world, 0, 1);
    both_allocate(&world);
    pass(&world, KH_MILLISECONDS(80)); /* a 401 and the answer: two round trips */
    assert_int_equal(alice->allocated + bob->allocated, 2);
    permit_each_other(&world);
    for (unsigned i = 1; i <= 200; i++) {
        snprintf(text, sizeof text, "message %u", i);
        say(&world, alice, &bob->relayed, text);
        pass(&world, KH_MILLISECONDS(100));
        say(&world, bob, &alice->relayed, text);
        pass(&world, KH_MILLISECONDS(100));
        assert_int_equal(alice->heard, i);
        assert_string_equal(alice->text, text);
        assert_true(kh_addr_equal(&alice->heard_from, &bob->relayed));
        assert_int_equal(bob->heard, i);
    }
    assert_true(kh_turn_client_has_channel(alice->turn, &bob->relayed));
    assert_true(kh_turn_client_has_channel(bob->turn, &alice->relayed));
    assert_true(kh_turn_client_stats(alice->turn).sent_indications <= 3);
    assert_int_equal(kh_turn_client_stats(alice->turn).dropped_unauthentic, 0);
    assert_int_equal(kh_relay_stats(world.relay).dropped_unauthentic, 0);
    close_world(&world);
}

/* DESIGN's one round trip: realm and nonce came with the join. */
static void allocates_in_one_round_trip_with_a_nonce_told_beforehand(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];
    struct kh_turn_request request;
    char nonce[KH_RELAY_NONCE_LEN];

    (void)state;
    open_world(&world, 0, 1);
    kh_relay_make_nonce(world.relay, world.cable.now, &alice->addr, nonce);
    request = request_of(&world, alice);
    request.realm = (struct kh_span){REALM, strlen(REALM)};
    request.nonce = (struct kh_span){nonce, sizeof nonce};
    request.algorithms[0] = KH_STUN_ALGORITHM_SHA256;
    request.algorithms[1] = KH_STUN_ALGORITHM_MD5;
    request.algorithm_count = 2;
    request.require_sha256 = true;
    allocate(&world, alice, &request);
    pass(&world, KH_MILLISECONDS(40));
    assert_int_equal(alice->allocated, 1);
    assert_int_equal(kh_relay_stats(world.relay).challenges, 0);
    close_world(&world);
}

static void reaches_a_peer_that_knows_no_turn_over_both_families(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];
    struct kh_turn_request request;
    struct kh_datagram back = {.data = (const uint8_t *)"back", .len = 4};

    (void)state;
    for (unsigned family = 0; family < 2; family++) {
        open_world(&world, 0, 1);
        if (family == 1)
            world.carol = addr_of("[2001:db8:9::9]:6000");
        request = request_of(&world, alice);
        request.families = KH_TURN_BOTH;
        allocate(&world, alice, &request);
        pass(&world, KH_MILLISECONDS(80));
        say(&world, alice, &world.carol, "hello");
        pass(&world, KH_MILLISECONDS(40));
        assert_int_equal(world.carol_heard, 1);
        back.from = world.carol;
        back.to = family == 1 ? alice->relayed6 : alice->relayed;
        assert_true(kh_addr_equal(&world.carol_heard_from, &back.to));
        cable_send(&world.cable, &back);
        pass(&world, KH_MILLISECONDS(40));
        assert_string_equal(alice->text, "back");
        assert_true(kh_addr_equal(&alice->heard_from, &world.carol));
        close_world(&world);
    }
}

/* One request in a hundred dies of seven losses in a row; its owner asks again. */
static void allocate_in_spite_of_loss(struct world *world, struct member *member)
{
    const struct kh_turn_request request = request_of(world, member);

    for (unsigned tries = 0; tries < 3 && member->allocated == 0; tries++) {
        allocate(world, member, &request);
        while (kh_turn_client_state(member->turn) == KH_TURN_ALLOCATING)
            pass(world, KH_SECONDS(1));
    }
    assert_int_equal(member->allocated, 1);
}

/* Thirty per cent of everything is lost each way, for forty minutes. */
static void holds_on_while_much_is_lost(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0], *bob = &world.members[1];

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        open_world(&world, 30, seed);
        allocate_in_spite_of_loss(&world, alice);
        allocate_in_spite_of_loss(&world, bob);
        for (unsigned minute = 0; minute < 40; minute++) {
            unsigned alice_heard = alice->heard, bob_heard = bob->heard;

            for (unsigned i = 0; i < 30; i++) {
                say(&world, alice, &bob->relayed, "are you there");
                say(&world, bob, &alice->relayed, "yes");
                pass(&world, KH_SECONDS(2));
            }
            assert_true(alice->heard > alice_heard + 4 && bob->heard > bob_heard + 4);
        }
        assert_int_equal(alice->lost + bob->lost + alice->refused + bob->refused, 0);
        assert_true(kh_turn_client_has_channel(alice->turn, &bob->relayed));
        close_world(&world);
    }
}

static void notices_that_the_relay_began_anew(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];
    struct kh_turn_request request;

    (void)state;
    open_world(&world, 0, 1);
    both_allocate(&world);
    pass(&world, KH_SECONDS(1));
    start_relay(&world, 2);
    kh_turn_client_probe(alice->turn, world.cable.now);
    drain_member(&world, alice);
    pass(&world, KH_MILLISECONDS(80)); /* a stale nonce, then no such allocation */
    assert_int_equal(alice->lost, 1);
    request = request_of(&world, alice);
    allocate(&world, alice, &request);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(alice->allocated, 2);
    close_world(&world);
}

static void gives_the_allocation_back(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];

    (void)state;
    open_world(&world, 0, 1);
    both_allocate(&world);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(kh_relay_stats(world.relay).allocations, 2);
    kh_turn_client_release(alice->turn, world.cable.now);
    drain_member(&world, alice);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(alice->released, 1);
    assert_int_equal(kh_relay_stats(world.relay).allocations, 1);
    close_world(&world);
}

static void is_told_of_peers_that_are_forbidden(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];
    struct kh_addr inside = addr_of("127.0.0.1:6000");

    (void)state;
    open_world(&world, 0, 1);
    both_allocate(&world);
    pass(&world, KH_SECONDS(1));
    say(&world, alice, &inside, "let me in");
    pass(&world, KH_SECONDS(1));
    assert_int_equal(alice->refused, 1);
    assert_int_equal(kh_relay_stats(world.relay).to_peers, 0);
    close_world(&world);
}

static void fails_with_the_wrong_password(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];
    struct kh_turn_request request;

    (void)state;
    open_world(&world, 0, 1);
    request = request_of(&world, alice);
    request.password = (struct kh_span){"guess", 5};
    allocate(&world, alice, &request);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(alice->failed, 1);
    assert_int_equal(kh_relay_stats(world.relay).allocations, 0);
    close_world(&world);
}

/* ---- RFC 8016 ---- */

static void both_allocate_mobile(struct world *world)
{
    for (size_t i = 0; i < 2; i++) {
        struct kh_turn_request request = request_of(world, &world->members[i]);

        request.mobile = true;
        allocate(world, &world->members[i], &request);
    }
    pass(world, KH_SECONDS(1));
    permit_each_other(world);
    pass(world, KH_SECONDS(1));
}

/* Each says one thing, and hears that of the other. */
static void talk_both_ways(struct world *world)
{
    struct member *alice = &world->members[0], *bob = &world->members[1];
    unsigned alices = alice->heard, bobs = bob->heard;

    say(world, alice, &bob->relayed, "hello Bob");
    pass(world, KH_MILLISECONDS(200));
    say(world, bob, &alice->relayed, "hello Alice");
    pass(world, KH_MILLISECONDS(200));
    assert_int_equal(alice->heard, alices + 1);
    assert_int_equal(bob->heard, bobs + 1);
}

static void an_allocation_follows_its_client(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];

    (void)state;
    open_world(&world, 0, 1);
    both_allocate_mobile(&world);
    talk_both_ways(&world);
    alice->addr = addr_of("192.0.2.77:7000");
    assert_true(kh_turn_client_move(alice->turn, world.cable.now, &alice->addr));
    drain_member(&world, alice);
    pass(&world, KH_MILLISECONDS(120)); /* a nonce for there, the ticket, a word by the new way */
    assert_int_equal(kh_turn_client_stats(alice->turn).moves, 1);
    for (int i = 0; i < 20; i++) {
        talk_both_ways(&world);
        pass(&world, KH_SECONDS(60));
    }
    assert_int_equal(alice->allocated, 1);
    assert_int_equal(alice->lost, 0);
    assert_int_equal(kh_relay_stats(world.relay).allocated, 2);
    close_world(&world);
}

/* The client sends on from where it was, and only the server sees it elsewhere. */
static void a_new_mapping_of_a_nat_is_followed(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0];

    (void)state;
    open_world(&world, 0, 1);
    both_allocate_mobile(&world);
    talk_both_ways(&world);
    world.rebound = addr_of("192.0.2.77:7000");
    kh_turn_client_probe(alice->turn, world.cable.now);
    drain_member(&world, alice);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(kh_turn_client_stats(alice->turn).moves, 1);
    talk_both_ways(&world);
    assert_int_equal(alice->lost, 0);
    assert_int_equal(kh_relay_stats(world.relay).allocated, 2);
    close_world(&world);
}

/* Also if the first to be refused is a permission, some minutes later, and datagrams get lost. */
static void a_new_mapping_is_followed_over_a_bad_wire(void **state)
{
    (void)state;
    for (uint64_t dice = 1; dice <= 30; dice++) {
        static struct world world;
        struct member *alice = &world.members[0];

        open_world(&world, 0, dice);
        both_allocate_mobile(&world);
        talk_both_ways(&world);
        world.cable.loss_percent = 30;
        world.rebound = addr_of("192.0.2.77:7000");
        for (int i = 0; i < 60; i++) {
            say(&world, alice, &world.members[1].relayed, "still there");
            say(&world, &world.members[1], &alice->relayed, "so am I"); /* or it forgets Alice */
            pass(&world, KH_SECONDS(10));
        }
        world.cable.loss_percent = 0;
        pass(&world, KH_SECONDS(20));
        talk_both_ways(&world);
        assert_int_equal(alice->lost, 0);
        assert_true(kh_turn_client_stats(alice->turn).moves >= 1);
        close_world(&world);
    }
}

static void who_cannot_move_is_told_that_all_is_lost(void **state)
{
    static struct world world;
    struct member *alice = &world.members[0], *bob = &world.members[1];

    (void)state;
    open_world(&world, 0, 1);
    both_allocate(&world); /* without tickets */
    pass(&world, KH_SECONDS(1));
    assert_false(kh_turn_client_move(alice->turn, world.cable.now, &alice->addr));
    kh_turn_client_probe(alice->turn, world.cable.now); /* which changed nothing */
    drain_member(&world, alice);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(alice->lost, 0);
    close_world(&world);
    open_world(&world, 0, 1);
    both_allocate_mobile(&world);
    start_relay(&world, 2); /* a server that has forgotten all: no ticket opens there */
    bob->addr = addr_of("192.0.2.78:7000");
    assert_true(kh_turn_client_move(bob->turn, world.cable.now, &bob->addr));
    drain_member(&world, bob);
    pass(&world, KH_SECONDS(1));
    assert_int_equal(bob->lost, 1);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talks_through_the_relay_without_loss),
        cmocka_unit_test(allocates_in_one_round_trip_with_a_nonce_told_beforehand),
        cmocka_unit_test(reaches_a_peer_that_knows_no_turn_over_both_families),
        cmocka_unit_test(holds_on_while_much_is_lost),
        cmocka_unit_test(notices_that_the_relay_began_anew),
        cmocka_unit_test(gives_the_allocation_back),
        cmocka_unit_test(is_told_of_peers_that_are_forbidden),
        cmocka_unit_test(fails_with_the_wrong_password),
        cmocka_unit_test(an_allocation_follows_its_client),
        cmocka_unit_test(a_new_mapping_of_a_nat_is_followed),
        cmocka_unit_test(a_new_mapping_is_followed_over_a_bad_wire),
        cmocka_unit_test(who_cannot_move_is_told_that_all_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
