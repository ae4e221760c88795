/* node/punch_test.c - what a member can make us send by asking for punches, in an hour.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define HOUR KH_SECONDS(3600)

static struct kh_node *node;
static struct kh_node_neighbour *mallory;

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 4000, &addr), KH_OK);
    return addr;
}

/* Mallory says that her NAT draws ports, so she holds and we probe. */
static void add_mallory(void)
{
    struct kh_room_member_id id = {.bytes = {7}};
    struct kh_ice_credentials remote = {.ufrag = "mallory", .password = "abcdefghijklmnopqrstuv"};
    struct kh_peer_config config = {.local = node->credentials, .certificate = node->certificate};

    mallory = kh_node_add_neighbour(node, &id);
    assert_non_null(mallory);
    mallory->public = addr_of("198.51.100.7:61000");
    mallory->card.nat = (struct kh_nat_class){.translated = true,
                                              .mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                                              .filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                                              .ports = KH_NAT_PORTS_RANDOM};
    mallory->card.candidate_count = 1;
    mallory->card.candidates[0] =
        (struct kh_room_candidate){.kind = KH_ROOM_CANDIDATE_REFLEXIVE, .addr = mallory->public};
    assert_int_equal(kh_peer_new(&mallory->peer, &config), KH_OK);
    kh_peer_set_remote(mallory->peer, node->now, &remote);
    mallory->given.credentials = true;
    mallory->room.present = true;
}

static int set_up(void **state)
{
    struct kh_node_config config = {
        .name = "alice", .servers = {kh_addr_ipv4(203, 0, 113, 1, 3478)}, .server_count = 1};

    (void)state;
    assert_int_equal(kh_node_new(&node, &config), KH_OK);
    node->now = KH_SECONDS(1);
    node->life = LIFE_STAYING;
    node->mapped = addr_of("203.0.113.9:60000");
    node->mapped_base = addr_of("192.168.1.5:4000");
    node->nat = (struct kh_nat_class){.translated = true,
                                      .mapping = KH_NAT_ENDPOINT_INDEPENDENT,
                                      .filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                                      .ports = KH_NAT_PORTS_PRESERVED};
    add_mallory();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_node_free(node);
    return 0;
}

/* Returns how many there were. */
static unsigned send_all(void)
{
    struct kh_datagram datagram;
    unsigned count = 0;

    kh_node_stash_peer(node, mallory->peer);
    while (kh_outbox_next(&node->outbox, &datagram))
        count++;
    return count;
}

static void say_hold(void)
{
    static const uint8_t hold[] = {KH_PUNCH_WORD_HOLD, 0, 0, 0};

    kh_node_punch_hear(node, &mallory->id, (struct kh_span){hold, sizeof hold});
}

/* She says it each second; is_new: and is somebody else each time, who never failed. */
static void ask_for_an_hour(bool is_new)
{
    kh_time end = kh_time_add(node->now, HOUR), word_at = node->now;

    while (node->now < end) {
        if (word_at <= node->now) {
            if (is_new && node->punch.phase == PUNCH_RESTS) {
                mallory->id.bytes[1]++;
                mallory->punch = (struct kh_node_punch_view){0};
            }
            say_hold();
            word_at = kh_time_add(node->now, KH_SECONDS(1));
        }
        do
            (void)send_all();
        while (kh_node_punch_step(node));
        assert_true(kh_node_punch_timeout(node) > node->now);
        node->now = kh_time_min(word_at, kh_node_punch_timeout(node));
    }
}

/* As rarely as who holds in good faith asks again. */
static void who_asks_in_vain_is_served_ever_more_rarely(void **state)
{
    (void)state;
    ask_for_an_hour(false);
    assert_in_range(node->punch.stats.begun, 5, 9);
    assert_true(node->punch.stats.probes <= node->punch.stats.begun * KH_PUNCH_PROBES_MAX);
}

static void who_comes_as_another_each_time_is_no_better_off(void **state)
{
    uint64_t before;

    (void)state;
    ask_for_an_hour(true);
    assert_true(node->punch.stats.probes >= 2 * KH_PUNCH_PROBES_MAX);
    assert_true(node->punch.stats.probes <= 8 * KH_PUNCH_PROBES_MAX + 4 * 3600);
    before = node->punch.stats.probes;
    ask_for_an_hour(true);
    assert_true(node->punch.stats.probes - before <= KH_PUNCH_PROBES_MAX + 4 * 3600);
}

/* The server sees her nowhere, so each word has us ask for a proof, where her card says. */
static void who_is_nowhere_has_few_checks_sent_for_her(void **state)
{
    unsigned sent = 0;

    (void)state;
    mallory->public = (struct kh_addr){0};
    node->relayed.addr4 = addr_of("203.0.113.1:50000");
    while (mallory->card.candidate_count < KH_ROOM_CANDIDATES_MAX) {
        struct kh_room_candidate *next = &mallory->card.candidates[mallory->card.candidate_count];

        *next = mallory->card.candidates[0];
        next->addr.port = (uint16_t)(4000 + mallory->card.candidate_count++);
    }
    (void)send_all();
    for (int i = 0; i < 10000; i++) {
        node->now = kh_time_add(node->now, KH_MILLISECONDS(10));
        say_hold();
        while (kh_node_punch_step(node))
            sent += send_all();
    }
    assert_in_range(sent, 10, 40);
    assert_int_equal(node->punch.stats.begun, 0);
}

static size_t count_kept(void)
{
    size_t count = 0;

    for (size_t i = 0; i < KH_NODE_KEPT_MAX; i++)
        count += node->punch.kept[i].port != 0;
    return count;
}

/* She lets a path that was punched die, and another, and so on; as herself, then as others. */
static void paths_that_come_and_go_keep_no_sockets(void **state)
{
    struct kh_room_member_id id = mallory->id;

    (void)state;
    for (uint16_t i = 1; i <= 500; i++) {
        node->now++;
        kh_node_knock_keep(node, &id, (uint16_t)(40000 + i));
    }
    assert_int_equal(count_kept(), KH_NODE_KEPT_EACH);
    assert_int_equal(node->sockets.spent_count, 500 - KH_NODE_KEPT_EACH);
    assert_int_equal(node->sockets.spent[0], 40001);
    assert_int_equal(node->sockets.spent[1], 40002);
    for (uint16_t i = 1; i <= 500; i++) {
        id.bytes[1] = (uint8_t)i;
        id.bytes[2] = (uint8_t)(i >> 8);
        kh_node_knock_keep(node, &id, (uint16_t)(50000 + i));
    }
    assert_int_equal(count_kept(), KH_NODE_KEPT_MAX);
    assert_int_equal(node->sockets.spent_count, 1000 - KH_NODE_KEPT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_asks_in_vain_is_served_ever_more_rarely, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_comes_as_another_each_time_is_no_better_off, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_is_nowhere_has_few_checks_sent_for_her, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(paths_that_come_and_go_keep_no_sockets, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
