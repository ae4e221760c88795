/* node/neighbour_test.c - what one member can make us send by telling ever new cards.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct kh_node *node;
static struct kh_node_neighbour *mallory;
static struct kh_room_card card;
static uint64_t sent;

static int set_up(void **state)
{
    struct kh_node_config config = {
        .name = "alice", .servers = {kh_addr_ipv4(203, 0, 113, 1, 3478)}, .server_count = 1};
    struct kh_addr home = kh_addr_ipv4(192, 168, 1, 5, 4000);
    struct kh_room_member_id id = {.bytes = {7}};
    struct kh_node_event event;

    (void)state;
    sent = 0;
    assert_int_equal(kh_node_new(&node, &config), KH_OK);
    assert_int_equal(kh_node_add_addr(node, KH_SECONDS(1), &home), KH_OK);
    while (kh_node_next_event(node, &event))
        continue;
    node->life = LIFE_STAYING;
    mallory = kh_node_add_neighbour(node, &id);
    assert_non_null(mallory);
    card = (struct kh_room_card){.name = "mallory", .identity = {9}};
    memcpy(card.password, "abcdefghijklmnopqrstuv", 23);
    card.candidate_count = KH_ROOM_CANDIDATES_MAX;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_node_free(node);
    return 0;
}

static void settle(void)
{
    struct kh_ring none = {0};
    struct kh_datagram datagram;

    do {
        node->event_ring = none; /* the owner has heard it */
        if (mallory->peer != NULL)
            kh_node_stash_peer(node, mallory->peer);
        while (kh_outbox_next(&node->outbox, &datagram))
            sent++;
    } while (kh_node_step_neighbour(node, mallory));
}

/* Lets this time pass. */
static void run(kh_duration duration)
{
    kh_time end = kh_time_add(node->now, duration);

    settle();
    while (node->now < end) {
        kh_time at = kh_node_peer_timeout(node, mallory);

        assert_true(at > node->now);
        node->now = kh_time_min(at, end);
        mallory->timeout_due = true;
        settle();
    }
}

/* A version of the card that names the n-th ports of 24 others. */
static void tell(unsigned n, enum kh_room_candidate_kind kind)
{
    card.revision = n + 1;
    for (size_t i = 0; i < card.candidate_count; i++) {
        card.candidates[i] = (struct kh_room_candidate){
            .kind = kind, .addr = kh_addr_ipv4(198, 51, 100, (uint8_t)i, (uint16_t)(4000 + n))};
    }
    kh_node_take_card(node, mallory, &card);
}

/* What a member makes us send in half an hour that is listed, not there, and says nothing more. */
static uint64_t sent_for_one_card(void)
{
    static uint64_t once;

    (void)snprintf(card.ufrag, sizeof card.ufrag, "ufrag");
    tell(0, KH_ROOM_CANDIDATE_HOST);
    if (once == 0) {
        run(KH_SECONDS(1800));
        once = sent;
        tear_down(NULL);
        set_up(NULL);
        (void)sent_for_one_card();
    }
    return once;
}

static void new_credentials_make_us_send_no_more(void **state)
{
    uint64_t once = sent_for_one_card();

    (void)state;
    for (unsigned n = 1; n <= 1800; n++) {
        (void)snprintf(card.ufrag, sizeof card.ufrag, "ufrag%u", n);
        tell(n, KH_ROOM_CANDIDATE_HOST);
        run(KH_SECONDS(1));
    }
    assert_true(sent <= once + once / 2);
}

static void nor_does_a_new_certificate(void **state)
{
    uint64_t once = sent_for_one_card();

    (void)state;
    for (unsigned n = 1; n <= 1800; n++) {
        card.fingerprint[0] = (uint8_t)n;
        tell(n, KH_ROOM_CANDIDATE_HOST);
        run(KH_SECONDS(1));
    }
    assert_true(sent <= once + once / 2);
}

/* A relayed address that is named no longer makes room for others. */
static void nor_do_new_candidates(void **state)
{
    uint64_t once = sent_for_one_card();

    (void)state;
    card.candidate_count = 0;
    for (unsigned n = 1; n <= 1800; n++) {
        tell(n, n % 2 == 0 ? KH_ROOM_CANDIDATE_RELAYED : KH_ROOM_CANDIDATE_MAPPED);
        card.candidate_count = KH_ROOM_CANDIDATES_MAX;
        run(KH_SECONDS(1));
    }
    assert_true(sent <= once + once / 2);
}

static void nor_does_the_same_card_again(void **state)
{
    uint64_t once = sent_for_one_card();

    (void)state;
    for (unsigned n = 1; n <= 1800; n++) {
        card.revision++;
        kh_node_take_card(node, mallory, &card);
        run(KH_SECONDS(1));
    }
    assert_true(sent <= once + once / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(new_credentials_make_us_send_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nor_does_a_new_certificate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nor_do_new_candidates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nor_does_the_same_card_again, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
