/* peer/peer_test.c - two peers face to face on a cable.
 *
 * SPDX-License-Identifier: MIT
 */
#include "peer/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/cable.h"

#define ADDRS 2

struct side {
    struct kh_peer *peer;
    struct kh_channel_certificate *certificate;
    struct kh_ice_credentials credentials;
    struct kh_addr addrs[ADDRS];
    uint8_t seed;
    int paths, opens, messages, writables, losts, closeds, faileds, resets;
    enum kh_channel_failure failure;
    struct kh_ice_path path;
    size_t bytes;
    char last[64];
    kh_time open_at;
};

struct pair {
    struct cable cable;
    struct side a; /* controlling */
    struct side b;
    bool cut[ADDRS]; /* all that runs between the n-th addresses */
    bool cut_all;
    bool slow_answers;             /* A's answers to checks come 150 ms late */
    struct cable_packet replay[2]; /* the latest check from A and from B, while `records` */
    bool records;
};

/* RFC 8489 5: a Binding request. */
static bool is_check(const struct kh_datagram *datagram)
{
    return datagram->len > 1 && datagram->data[0] == 0 && datagram->data[1] == 1;
}

static void record(struct pair *pair, const struct kh_datagram *datagram)
{
    struct cable_packet *replay =
        &pair->replay[kh_addr_equal(&datagram->from, &pair->a.addrs[0]) ? 0 : 1];

    if (!pair->records || !is_check(datagram))
        return;
    replay->from = datagram->from;
    replay->to = datagram->to;
    replay->len = datagram->len;
    memcpy(replay->data, datagram->data, datagram->len);
}

static kh_duration judge(void *context, const struct kh_datagram *datagram)
{
    struct pair *pair = context;

    record(pair, datagram);
    for (size_t i = 0; i < ADDRS; i++)
        if (pair->cut[i] && (kh_addr_equal(&datagram->from, &pair->a.addrs[i]) ||
                             kh_addr_equal(&datagram->to, &pair->a.addrs[i])))
            return KH_NEVER;
    if (pair->cut_all)
        return KH_NEVER;
    if (pair->slow_answers && kh_addr_equal(&datagram->from, &pair->a.addrs[0]) &&
        datagram->len > 1 && datagram->data[0] == 1 && datagram->data[1] == 1)
        return KH_MILLISECONDS(150);
    return 0;
}

static void note(struct side *side, const struct kh_peer_event *event, kh_time now)
{
    switch (event->kind) {
    case KH_PEER_EVENT_PATH:
        side->paths++;
        side->path = event->path;
        break;
    case KH_PEER_EVENT_OPEN:
        side->opens++;
        side->open_at = now;
        break;
    case KH_PEER_EVENT_MESSAGE:
        side->messages++;
        side->bytes += event->len;
        memset(side->last, 0, sizeof side->last);
        memcpy(side->last, event->data,
               event->len < sizeof side->last ? event->len : sizeof side->last - 1);
        break;
    case KH_PEER_EVENT_WRITABLE:
        side->writables++;
        break;
    case KH_PEER_EVENT_LOST:
        side->losts++;
        break;
    case KH_PEER_EVENT_CLOSED:
        side->closeds++;
        break;
    case KH_PEER_EVENT_RESET:
        side->resets++;
        break;
    case KH_PEER_EVENT_FAILED:
        side->faileds++;
        side->failure = event->failure;
        break;
    }
}

static void drain(struct pair *pair, struct side *side)
{
    struct kh_peer_event event;
    struct kh_datagram datagram;

    while (kh_peer_next_event(side->peer, &event))
        note(side, &event, pair->cable.now);
    while (kh_peer_next_transmit(side->peer, &datagram))
        cable_send(&pair->cable, &datagram);
}

/* One machine's input can leave output in the other: all associations share one clock. */
static void drain_both(struct pair *pair)
{
    drain(pair, &pair->a);
    drain(pair, &pair->b);
}

static void deliver(struct pair *pair, const struct cable_packet *packet)
{
    struct kh_datagram datagram = cable_datagram(packet);

    for (size_t i = 0; i < ADDRS; i++) {
        if (kh_addr_equal(&datagram.to, &pair->a.addrs[i]))
            kh_peer_handle_datagram(pair->a.peer, pair->cable.now, &datagram);
        else if (kh_addr_equal(&datagram.to, &pair->b.addrs[i]))
            kh_peer_handle_datagram(pair->b.peer, pair->cable.now, &datagram);
        drain_both(pair);
    }
}

/* Moves to the next thing that happens, at most to `until`. */
static void step(struct pair *pair, kh_time until)
{
    kh_time next = kh_time_min(kh_peer_timeout(pair->a.peer), kh_peer_timeout(pair->b.peer));
    struct cable_packet packet;

    next = kh_time_min(kh_time_min(next, cable_next_at(&pair->cable)), until);
    if (next > pair->cable.now)
        pair->cable.now = next;
    while (cable_take(&pair->cable, &packet))
        deliver(pair, &packet);
    if (kh_peer_timeout(pair->a.peer) <= pair->cable.now) {
        kh_peer_handle_timeout(pair->a.peer, pair->cable.now);
        drain_both(pair);
    }
    if (kh_peer_timeout(pair->b.peer) <= pair->cable.now) {
        kh_peer_handle_timeout(pair->b.peer, pair->cable.now);
        drain_both(pair);
    }
}

static void run(struct pair *pair, kh_duration duration)
{
    kh_time until = pair->cable.now + duration;

    while (pair->cable.now < until)
        step(pair, until);
}

static bool run_until(struct pair *pair, const int *count, int least, kh_duration duration)
{
    kh_time until = pair->cable.now + duration;

    while (*count < least && pair->cable.now < until)
        step(pair, until);
    return *count >= least;
}

static void make_side(struct side *side, uint8_t host)
{
    uint8_t seed[32] = {host};
    struct kh_rng rng;

    kh_rng_init(&rng, seed);
    kh_ice_credentials_make(&side->credentials, &rng);
    kh_rng_fini(&rng);
    assert_int_equal(kh_channel_certificate_new(&side->certificate), KH_OK);
    side->addrs[0] = kh_addr_ipv4(192, 0, 2, host, 4000);
    side->addrs[1] = kh_addr_ipv4(198, 51, 100, host, 4000);
}

static void make_peer(struct side *side, const struct side *other, bool controlling)
{
    struct kh_peer_config config = {.controlling = controlling,
                                    .local = side->credentials,
                                    .certificate = side->certificate,
                                    .seed = {side->addrs[0].ip[3], side->seed}};

    if (other != NULL) /* else a fingerprint that nobody has */
        kh_channel_certificate_fingerprint(other->certificate, config.remote_fingerprint);
    assert_int_equal(kh_peer_new(&side->peer, &config), KH_OK);
}

static struct pair *make_pair(kh_duration delay)
{
    struct pair *pair = calloc(1, sizeof *pair);

    assert_non_null(pair);
    pair->cable.now = KH_SECONDS(1000);
    pair->cable.delay = delay;
    pair->cable.judge = judge;
    pair->cable.context = pair;
    make_side(&pair->a, 1);
    make_side(&pair->b, 2);
    make_peer(&pair->a, &pair->b, true);
    make_peer(&pair->b, &pair->a, false);
    return pair;
}

static void free_pair(struct pair *pair)
{
    kh_peer_free(pair->a.peer);
    kh_peer_free(pair->b.peer);
    kh_channel_certificate_free(pair->a.certificate);
    kh_channel_certificate_free(pair->b.certificate);
    free(pair);
}

static void introduce(struct pair *pair, struct side *side, const struct side *other, size_t addrs)
{
    kh_time now = pair->cable.now;

    for (size_t i = 0; i < addrs; i++) {
        struct kh_ice_candidate local = {
            .kind = KH_ICE_HOST, .addr = side->addrs[i], .base = side->addrs[i]};
        struct kh_ice_candidate remote = {.kind = KH_ICE_HOST, .addr = other->addrs[i]};

        assert_int_equal(kh_peer_add_local(side->peer, now, &local), KH_OK);
        drain_both(pair);
        assert_int_equal(kh_peer_add_remote(side->peer, now, &remote), KH_OK);
        drain_both(pair);
    }
    kh_peer_set_remote(side->peer, now, &other->credentials);
    drain_both(pair);
}

static void meet(struct pair *pair, size_t addrs)
{
    introduce(pair, &pair->a, &pair->b, addrs);
    introduce(pair, &pair->b, &pair->a, addrs);
}

static void say(struct pair *pair, struct side *side, const char *text)
{
    assert_int_equal(kh_peer_send(side->peer, pair->cable.now, (const uint8_t *)text, strlen(text)),
                     KH_OK);
    drain_both(pair);
}

/* ---- tests ---- */

static void the_first_pair_opens_the_channel(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(20));
    kh_time begin = pair->cable.now;

    (void)state;
    meet(pair, 1);
    assert_true(run_until(pair, &pair->b.opens, 1, KH_SECONDS(2)));
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
    print_message("open after %u and %u ms\n", (unsigned)((pair->a.open_at - begin) / 1000),
                  (unsigned)((pair->b.open_at - begin) / 1000));
    assert_true(pair->a.open_at - begin <= KH_MILLISECONDS(400));
    assert_true(kh_peer_is_open(pair->a.peer) && kh_peer_is_open(pair->b.peer));
    assert_true(kh_addr_equal(&pair->a.path.local, &pair->a.addrs[0]));
    assert_true(kh_addr_equal(&pair->a.path.remote, &pair->b.addrs[0]));
    assert_true(kh_addr_equal(&kh_peer_path(pair->b.peer)->remote, &pair->a.addrs[0]));
    say(pair, &pair->a, "hello");
    say(pair, &pair->b, "hi");
    run(pair, KH_MILLISECONDS(61)); /* SCTP's handshake ends after OPEN */
    assert_string_equal(pair->b.last, "hello");
    assert_string_equal(pair->a.last, "hi");
    run(pair, KH_SECONDS(60));
    assert_int_equal(pair->a.paths, 1);
    assert_int_equal(pair->b.paths, 1);
    assert_int_equal(pair->a.losts + pair->b.losts, 0);
    assert_int_equal(kh_peer_unacknowledged(pair->a.peer), 0);
    free_pair(pair);
}

static void dtls_from_a_stranger_is_dropped_and_counted(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(1));
    static const uint8_t record[] = {22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    struct kh_datagram datagram = {.from = kh_addr_ipv4(203, 0, 113, 9, 9),
                                   .to = pair->a.addrs[0],
                                   .data = record,
                                   .len = sizeof record};

    (void)state;
    meet(pair, 1);
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
    assert_false(kh_peer_handle_datagram(pair->a.peer, pair->cable.now, &datagram));
    drain_both(pair);
    assert_int_equal(kh_peer_stats(pair->a.peer).dropped_unvalidated, 1);
    assert_int_equal(kh_peer_stats(pair->a.peer).channel.dropped_malformed, 0);
    datagram.data = (const uint8_t *)"Hi!";
    datagram.len = 3;
    assert_false(kh_peer_handle_datagram(pair->a.peer, pair->cable.now, &datagram));
    drain_both(pair);
    datagram.len = 0;
    assert_false(kh_peer_handle_datagram(pair->a.peer, pair->cable.now, &datagram));
    assert_int_equal(kh_peer_stats(pair->a.peer).dropped_unvalidated, 1);
    free_pair(pair);
}

/* A answers B's checks late, so B cannot know yet that the way is good when A's flight arrives. */
static void a_flight_ahead_of_our_check_is_held_not_lost(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(5));
    kh_time begin = pair->cable.now;

    (void)state;
    pair->slow_answers = true;
    meet(pair, 1);
    run(pair, KH_MILLISECONDS(100));
    assert_int_equal(pair->a.paths, 1);
    assert_int_equal(pair->b.paths, 0);
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
    assert_int_equal(kh_peer_stats(pair->b.peer).dropped_unvalidated, 0);
    /* A repeated flight would have cost a second (RFC 6347 4.2.4.1). */
    assert_true(pair->a.open_at - begin < KH_MILLISECONDS(500));
    free_pair(pair);
}

static void the_channel_moves_to_another_path_unnoticed(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(10));
    size_t used;

    (void)state;
    meet(pair, 2);
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
    run(pair, KH_SECONDS(5));
    used = kh_addr_equal(&pair->a.path.local, &pair->a.addrs[0]) ? 0 : 1;
    pair->cut[used] = true;
    say(pair, &pair->a, "over the other one");
    assert_true(run_until(pair, &pair->b.messages, 1, KH_SECONDS(40)));
    assert_string_equal(pair->b.last, "over the other one");
    assert_true(kh_addr_equal(&kh_peer_path(pair->a.peer)->local, &pair->a.addrs[1 - used]));
    say(pair, &pair->b, "and back");
    assert_true(run_until(pair, &pair->a.messages, 1, KH_SECONDS(40)));
    assert_int_equal(pair->a.opens, 1);
    assert_int_equal(pair->a.faileds + pair->b.faileds + pair->a.losts, 0);
    free_pair(pair);
}

static void a_lost_path_is_looked_for_until_it_returns(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(10));

    (void)state;
    meet(pair, 1);
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
    pair->cut_all = true;
    say(pair, &pair->a, "meanwhile");
    run(pair, KH_SECONDS(60));
    assert_int_equal(pair->a.losts, 1);
    assert_int_equal(pair->b.losts, 1);
    assert_null(kh_peer_path(pair->a.peer));
    assert_true(kh_peer_stats(pair->a.peer).retries >= 2);
    pair->cut_all = false;
    assert_true(run_until(pair, &pair->b.messages, 1, KH_SECONDS(35)));
    assert_string_equal(pair->b.last, "meanwhile");
    assert_int_equal(pair->a.paths, 2);
    assert_int_equal(pair->a.opens, 1);
    assert_int_equal(pair->a.faileds + pair->b.faileds, 0);
    free_pair(pair);
}

static void a_peer_that_cannot_be_reached_is_reported_once(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(10));

    (void)state;
    pair->cut_all = true;
    meet(pair, 1);
    run(pair, KH_SECONDS(20));
    assert_int_equal(pair->a.losts, 0);
    run(pair, KH_SECONDS(100));
    assert_int_equal(pair->a.losts, 1);
    pair->cut_all = false;
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(35)));
    free_pair(pair);
}

static void a_peer_that_begins_anew_is_followed(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        struct pair *pair = make_pair(KH_MILLISECONDS(10));
        struct side *anew = side == 0 ? &pair->a : &pair->b;
        struct side *other = side == 0 ? &pair->b : &pair->a;

        struct kh_datagram replay;

        pair->records = true;
        meet(pair, 1);
        assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
        assert_true(run_until(pair, &pair->b.opens, 1, KH_SECONDS(2)));
        pair->records = false;
        kh_peer_free(anew->peer);
        anew->seed++;
        make_peer(anew, other, side == 0);
        introduce(pair, anew, other, 1);
        assert_true(run_until(pair, &anew->opens, 2, KH_SECONDS(1)));
        assert_true(run_until(pair, &other->opens, 2, KH_SECONDS(1)));
        assert_int_equal(other->resets, 1);
        assert_int_equal(anew->resets, 0);
        replay = cable_datagram(&pair->replay[side]); /* of the one that is no more */
        assert_true(kh_peer_handle_datagram(other->peer, pair->cable.now, &replay));
        drain_both(pair);
        say(pair, other, "new keys");
        assert_true(run_until(pair, &anew->messages, 1, KH_SECONDS(1)));
        run(pair, KH_SECONDS(100));
        assert_int_equal(other->resets, 1);
        assert_int_equal(anew->losts + other->losts + anew->faileds + other->faileds, 0);
        free_pair(pair);
    }
}

static void nothing_is_lost_or_doubled_with_a_third_of_all_datagrams_gone(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 5; seed++) {
        struct pair *pair = make_pair(KH_MILLISECONDS(20));
        char text[32];

        pair->cable.loss_percent = 30;
        pair->cable.dice = seed;
        meet(pair, 1);
        assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(60)));
        for (int i = 1; i <= 20; i++) {
            snprintf(text, sizeof text, "number %d", i);
            say(pair, &pair->a, text);
        }
        assert_true(run_until(pair, &pair->b.messages, 20, KH_SECONDS(120)));
        run(pair, KH_SECONDS(5));
        assert_int_equal(pair->b.messages, 20);
        assert_string_equal(pair->b.last, "number 20");
        free_pair(pair);
    }
}

static void goodbye_is_heard(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(10));

    (void)state;
    meet(pair, 1);
    assert_true(run_until(pair, &pair->a.opens, 1, KH_SECONDS(2)));
    say(pair, &pair->a, "goodbye");
    kh_peer_close(pair->a.peer, pair->cable.now);
    drain_both(pair);
    assert_true(run_until(pair, &pair->b.closeds, 1, KH_SECONDS(1)));
    assert_string_equal(pair->b.last, "goodbye");
    assert_true(run_until(pair, &pair->a.closeds, 1, KH_SECONDS(1)));
    assert_false(kh_peer_is_open(pair->b.peer));
    assert_int_equal(kh_peer_send(pair->b.peer, pair->cable.now, (const uint8_t *)"too late", 8),
                     KH_ERR_FULL);
    drain_both(pair);
    run(pair, KH_SECONDS(20));
    assert_int_equal(pair->a.faileds + pair->b.faileds, 0);
    free_pair(pair);
}

static void another_certificate_than_the_cards_fails(void **state)
{
    struct pair *pair = make_pair(KH_MILLISECONDS(10));

    (void)state;
    kh_peer_free(pair->a.peer);
    make_peer(&pair->a, NULL, true);
    meet(pair, 1);
    assert_true(run_until(pair, &pair->a.faileds, 1, KH_SECONDS(5)));
    assert_int_equal(pair->a.failure, KH_CHANNEL_FAILURE_FINGERPRINT);
    assert_int_equal(pair->a.opens, 0);
    free_pair(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_pair_opens_the_channel),
        cmocka_unit_test(dtls_from_a_stranger_is_dropped_and_counted),
        cmocka_unit_test(a_flight_ahead_of_our_check_is_held_not_lost),
        cmocka_unit_test(the_channel_moves_to_another_path_unnoticed),
        cmocka_unit_test(a_lost_path_is_looked_for_until_it_returns),
        cmocka_unit_test(a_peer_that_cannot_be_reached_is_reported_once),
        cmocka_unit_test(a_peer_that_begins_anew_is_followed),
        cmocka_unit_test(nothing_is_lost_or_doubled_with_a_third_of_all_datagrams_gone),
        cmocka_unit_test(goodbye_is_heard),
        cmocka_unit_test(another_certificate_than_the_cards_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
