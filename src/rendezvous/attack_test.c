/* rendezvous/attack_test.c - strangers, replays, alterations and forgeries change nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "rendezvous/nonce.h"
#include "rendezvous/wire.h"
#include "rendezvous/wire_sim_test.h"

static struct sim sim;
static struct sim_host *alice, *bob;

static int set_up(void **state)
{
    (void)state;
    sim_init(&sim, 3);
    sim_start_server(&sim, 7);
    sim.capturing = true;
    alice = sim_add(&sim, NULL);
    bob = sim_add(&sim, NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sim_fini(&sim);
    return 0;
}

/* Joins, says, changes and updates, so that every kind of message was captured but LEAVE. */
static void live(void)
{
    sim_join(&sim, alice, "a", "early");
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_say(&sim, alice, bob, "to bob", 1);
    sim_card(&sim, alice, "a2");
    sim_run(&sim, KH_SECONDS(25));
    sim_card(&sim, alice, "a3");
    sim_run(&sim, KH_SECONDS(1));
}

/* What a change of anything would show in. */
struct picture {
    struct kh_rendezvous_registry_stats stats;
    size_t signals;
    unsigned member_events, gone_events;
    struct kh_addr public;
};

static struct picture picture(void)
{
    struct picture now = {.stats = sim_stats(&sim),
                          .signals = bob->signal_count + alice->signal_count,
                          .member_events = bob->member_events + alice->member_events,
                          .gone_events = bob->gone_events + alice->gone_events};

    if (sim_known(bob, alice) != NULL)
        now.public = sim_known(bob, alice)->public;
    return now;
}

static void assert_unchanged(const struct picture *before)
{
    struct picture now = picture();

    assert_int_equal(now.stats.members, before->stats.members);
    assert_int_equal(now.stats.rooms, before->stats.rooms);
    assert_int_equal(now.stats.joins, before->stats.joins);
    assert_int_equal(now.stats.updates, before->stats.updates);
    assert_int_equal(now.stats.leaves, before->stats.leaves);
    assert_int_equal(now.stats.signals_forwarded, before->stats.signals_forwarded);
    assert_int_equal(now.stats.pushes_sent, before->stats.pushes_sent);
    assert_int_equal(now.signals, before->signals);
    assert_int_equal(now.member_events, before->member_events);
    assert_int_equal(now.gone_events, before->gone_events);
    assert_true(kh_addr_equal(&now.public, &before->public));
}

static void replay_all(const struct kh_addr *from)
{
    size_t count = sim.captured_count;

    sim.capturing = false;
    for (size_t i = 0; i < count; i++) {
        const struct sim_packet *packet = &sim.captured[i];
        struct kh_span data = {packet->data, packet->len};

        sim_inject(&sim, from == NULL ? &packet->from : from, &packet->to, data);
    }
    sim_run(&sim, KH_MILLISECONDS(100));
}

static void replay_from_the_same_address_changes_nothing(void **state)
{
    struct picture before;

    (void)state;
    live();
    before = picture();
    replay_all(NULL);
    assert_unchanged(&before);
    assert_int_equal(sim_stats(&sim).members, 2);
}

static void replay_from_another_port_changes_nothing(void **state)
{
    struct kh_addr other;
    struct picture before;

    (void)state;
    live();
    before = picture();
    other = alice->addr[0];
    other.port = 6666;
    replay_all(&other);
    assert_unchanged(&before);
}

static void replay_from_another_ip_changes_nothing(void **state)
{
    struct kh_addr other = kh_addr_ipv4(192, 0, 2, 66, 6666);
    struct picture before;

    (void)state;
    live();
    before = picture();
    replay_all(&other);
    assert_unchanged(&before);
}

static void replay_after_leaving_revives_nobody(void **state)
{
    struct picture before;

    (void)state;
    live();
    sim_leave(&sim, alice);
    sim_leave(&sim, bob);
    sim_run(&sim, KH_SECONDS(5));
    assert_int_equal(sim_stats(&sim).members, 0);
    before = picture();
    replay_all(NULL);
    assert_unchanged(&before);
    sim_run(&sim, KH_SECONDS(1800));
    replay_all(NULL);
    assert_unchanged(&before);
    /* By now the nonces are over too. */
    sim_run(&sim, KH_SECONDS(3600));
    replay_all(NULL);
    assert_unchanged(&before);
}

static void replay_after_expiry_and_return_changes_nothing(void **state)
{
    struct picture before;

    (void)state;
    live();
    sim.loss = 100;
    sim_run(&sim, KH_SECONDS(100));
    assert_int_equal(sim_stats(&sim).expiries, 2);
    sim.loss = 0;
    sim_run(&sim, KH_SECONDS(20));
    assert_int_equal(sim_stats(&sim).members, 2);
    assert_int_equal(sim_stats(&sim).joins, 4);
    before = picture();
    replay_all(NULL);
    assert_unchanged(&before);
}

static void replay_to_a_restarted_server_changes_nothing(void **state)
{
    struct picture before;

    (void)state;
    live();
    sim_stop_server(&sim);
    sim_start_server(&sim, 99);
    before = picture();
    replay_all(NULL);
    before.stats.challenges = sim_stats(&sim).challenges;
    assert_unchanged(&before);
}

static void full_book_of_the_departed_turns_all_nonces_invalid(void **state)
{
    struct kh_rendezvous_ticket ticket;
    struct picture before;

    (void)state;
    sim_stop_server(&sim);
    sim.registry_config.members_max = 8; /* a book of 8 stays */
    sim_start_server(&sim, 9);
    for (size_t i = 0; i < 8; i++) {
        sim_join(&sim, alice, "a", NULL);
        sim_run(&sim, KH_SECONDS(1));
        ticket = alice->ticket;
        sim_leave(&sim, alice);
        sim_run(&sim, KH_SECONDS(1));
    }
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    sim_leave(&sim, bob); /* the ninth: the book is cleared, and the nonce secret with it */
    sim_run(&sim, KH_SECONDS(1));
    before = picture();
    replay_all(NULL);
    assert_unchanged(&before);
    bob = sim_add(&sim, &ticket);
    bob->addr[0] = alice->addr[0];
    bob->addr[0].port++;
    sim_join(&sim, bob, "b", NULL);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(bob->joined, 1); /* one round trip later */
}

static void altered_datagrams_change_nothing(void **state)
{
    struct picture before;

    (void)state;
    live();
    before = picture();
    for (size_t i = 0; i < sim.captured_count; i++) {
        for (size_t at = 0; at < sim.captured[i].len; at++) {
            uint8_t data[KH_DATAGRAM_MAX];

            memcpy(data, sim.captured[i].data, sim.captured[i].len);
            data[at] ^= (uint8_t)(1 << (at % 8));
            sim_inject(&sim, &sim.captured[i].from, &sim.captured[i].to,
                       (struct kh_span){data, sim.captured[i].len});
        }
    }
    sim_run(&sim, KH_SECONDS(1));
    assert_unchanged(&before);
}

/* The same with the fingerprint made right again: now integrity has to stop it. */
static void altered_datagrams_with_a_right_fingerprint_change_nothing(void **state)
{
    struct picture before;

    (void)state;
    live();
    before = picture();
    for (size_t i = 0; i < sim.captured_count; i++) {
        for (size_t at = 8; at + 8 < sim.captured[i].len; at++) {
            uint8_t data[KH_DATAGRAM_MAX];
            struct kh_stun_writer writer;
            size_t len = sim.captured[i].len - 8;

            memcpy(data, sim.captured[i].data, len);
            data[at] ^= (uint8_t)(1 << (at % 8));
            writer.bytes = kh_writer_to(data, sizeof data);
            writer.bytes.len = len;
            kh_stun_add_fingerprint(&writer);
            sim_inject(&sim, &sim.captured[i].from, &sim.captured[i].to,
                       (struct kh_span){data, kh_stun_finish(&writer)});
        }
    }
    sim_run(&sim, KH_SECONDS(1));
    assert_unchanged(&before);
}

/* ---- strangers ---- */

/* Knows the room's public name, but not the secret: signs with a key of its own. */
static size_t strangers_join(uint8_t *data, const struct kh_rendezvous_ticket *ticket,
                             const struct kh_secret *signer)
{
    static const uint8_t id[KH_STUN_ID_LEN] = {1};
    static const uint8_t member[KH_RENDEZVOUS_MEMBER_LEN] = {2};
    static const struct kh_secret private_key = {{3}};
    uint8_t room[KH_KEY_LEN];
    uint8_t public_key[KH_KEY_LEN];
    struct kh_stun_writer writer =
        kh_stun_begin(data, KH_DATAGRAM_MAX, KH_STUN_REQUEST, KH_STUN_JOIN, id);

    kh_ed25519_public(&sim.room_seed, room);
    kh_x25519_public(&private_key, public_key);
    kh_stun_add(&writer, KH_STUN_NONCE, ticket->nonce, ticket->nonce_len);
    kh_stun_add(&writer, KH_STUN_ROOM, room, sizeof room);
    kh_stun_add(&writer, KH_STUN_MEMBER, member, sizeof member);
    kh_stun_add(&writer, KH_STUN_PUBLIC_KEY, public_key, sizeof public_key);
    kh_stun_add(&writer, KH_STUN_SEALED, "card", 4);
    return kh_rendezvous_finish_signed(&writer, signer);
}

static void stranger_with_the_rooms_name_cannot_join(void **state)
{
    static const struct kh_secret other = {{9}};
    uint8_t data[KH_DATAGRAM_MAX];
    struct picture before;
    struct kh_span join = {data, 0};

    (void)state;
    live();
    before = picture();
    join.len = strangers_join(data, &alice->ticket, &other);
    sim_inject(&sim, &alice->addr[0], &sim.servers[0], join);
    assert_unchanged(&before);
    assert_int_equal(sim_stats(&sim).dropped_unauthentic, before.stats.dropped_unauthentic + 1);
    /* With the room's key the same message is a join: the test tests what it says. */
    join.len = strangers_join(data, &alice->ticket, &sim.room_seed);
    sim_inject(&sim, &alice->addr[0], &sim.servers[0], join);
    assert_int_equal(sim_stats(&sim).joins, before.stats.joins + 1);
}

static void nonce_of_another_ip_is_worth_nothing(void **state)
{
    uint8_t data[KH_DATAGRAM_MAX];
    struct picture before;
    struct kh_span join = {data, 0};
    struct kh_addr other = kh_addr_ipv4(192, 0, 2, 66, 6666);

    (void)state;
    live();
    before = picture();
    join.len = strangers_join(data, &alice->ticket, &sim.room_seed);
    sim_inject(&sim, &other, &sim.servers[0], join);
    assert_unchanged(&before);
    assert_int_equal(sim_stats(&sim).challenges, before.stats.challenges + 1);
}

/* ---- what the client must not believe ---- */

static void forge(unsigned code, uint16_t method, const uint8_t *id)
{
    uint8_t data[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer = kh_stun_begin(data, sizeof data, KH_STUN_ERROR, method, id);
    struct kh_datagram datagram = {
        .from = sim.servers[0], .to = alice->addr[0], .data = data, .len = 0};
    struct kh_rendezvous_client_event event;
    struct kh_datagram out;

    kh_stun_add_error(&writer, code, "");
    datagram.len = kh_rendezvous_finish(&writer, NULL);
    kh_rendezvous_client_handle_datagram(alice->client, sim.now, &datagram);
    assert_false(kh_rendezvous_client_next_event(alice->client, &event));
    while (kh_rendezvous_client_next_transmit(alice->client, &out)) {
        out.from = alice->addr[0];
        sim_inject(&sim, &out.from, &out.to, (struct kh_span){out.data, out.len});
    }
}

static void forged_refusal_loses_against_the_true_welcome(void **state)
{
    (void)state;
    sim_join(&sim, alice, "a", NULL);
    sim_run(&sim, KH_MILLISECONDS(41)); /* the join is under way */
    assert_int_equal(sim.captured_count, 2);
    forge(KH_RENDEZVOUS_ERROR_SIGNATURE, KH_STUN_JOIN, sim.captured[1].data + 8);
    sim_run(&sim, KH_SECONDS(1));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->refused, 0);
}

static void forged_loss_of_the_session_changes_nothing(void **state)
{
    (void)state;
    live();
    sim_probe(&sim, alice);
    forge(KH_RENDEZVOUS_ERROR_NO_SESSION, KH_STUN_UPDATE,
          sim.captured[sim.captured_count - 1].data + 8);
    sim_run(&sim, KH_SECONDS(5));
    assert_int_equal(alice->joined, 1);
    assert_int_equal(alice->refused, 0);
    assert_int_equal(sim_stats(&sim).joins, 2);
    sim_say(&sim, alice, bob, "still here", 2);
    sim_run(&sim, KH_SECONDS(1));
    assert_string_equal(bob->signals[bob->signal_count - 1], "still here");
}

/* A reader of our datagrams who can add some of his own, but take none away. */
static void forged_loss_and_refusal_do_not_end_a_session(void **state)
{
    (void)state;
    live();
    sim_probe(&sim, alice);
    forge(KH_RENDEZVOUS_ERROR_NO_SESSION, KH_STUN_UPDATE,
          sim.captured[sim.captured_count - 1].data + 8);
    sim_run(&sim, KH_MILLISECONDS(41)); /* the challenge is answered, and the join under way */
    forge(KH_RENDEZVOUS_ERROR_SIGNATURE, KH_STUN_JOIN,
          sim.captured[sim.captured_count - 1].data + 8);
    sim_run(&sim, KH_SECONDS(5));
    assert_int_equal(alice->refused, 0);
    sim_say(&sim, alice, bob, "still here", 2);
    sim_run(&sim, KH_SECONDS(1));
    assert_string_equal(bob->signals[bob->signal_count - 1], "still here");
}

static void pushes_do_not_pass_as_anything_else(void **state)
{
    struct picture before;

    (void)state;
    live();
    before = picture();
    /* What Alice sent, back to her: her own key does not open the other direction. */
    for (size_t i = 0; i < sim.captured_count; i++) {
        struct kh_datagram back = {.from = sim.servers[0],
                                   .to = alice->addr[0],
                                   .data = sim.captured[i].data,
                                   .len = sim.captured[i].len};
        struct kh_rendezvous_client_event event;

        kh_rendezvous_client_handle_datagram(alice->client, sim.now, &back);
        assert_false(kh_rendezvous_client_next_event(alice->client, &event));
    }
    assert_unchanged(&before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replay_from_the_same_address_changes_nothing),
        TEST(replay_from_another_port_changes_nothing),
        TEST(replay_from_another_ip_changes_nothing),
        TEST(replay_after_leaving_revives_nobody),
        TEST(replay_after_expiry_and_return_changes_nothing),
        TEST(replay_to_a_restarted_server_changes_nothing),
        TEST(full_book_of_the_departed_turns_all_nonces_invalid),
        TEST(altered_datagrams_change_nothing),
        TEST(altered_datagrams_with_a_right_fingerprint_change_nothing),
        TEST(stranger_with_the_rooms_name_cannot_join),
        TEST(nonce_of_another_ip_is_worth_nothing),
        TEST(forged_refusal_loses_against_the_true_welcome),
        TEST(forged_loss_of_the_session_changes_nothing),
        TEST(forged_loss_and_refusal_do_not_end_a_session),
        TEST(pushes_do_not_pass_as_anything_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
