/* hub/relay_test.c - what a hub hands to its relay, and what it keeps.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "hub/hub.h"
#include "stun/stun.h"

/* docs/protocol/relay.md has these credentials. */
#define USERNAME "2000000000:alice"
#define PASSWORD "uoDL/AHil9mhKpZV8sTerU3VXBM="
#define REALM "knothole"

static struct kh_hub *hub;
static struct kh_addr alice, bob, server, relayed;
static uint8_t data[KH_RELAY_DATA_MAX];
static struct kh_datagram answer; /* len 0: none */

static int set_up(void **state)
{
    struct kh_hub_config config = {.seed = {1}};

    (void)state;
    alice = kh_addr_ipv4(198, 51, 100, 7, 5000);
    bob = kh_addr_ipv4(192, 0, 2, 9, 6000);
    server = kh_addr_ipv4(203, 0, 113, 1, 3478);
    config.relay.secret = (struct kh_span){"north", 5};
    config.relay.address_count = 1;
    config.relay.addresses[0].local = config.relay.addresses[0].external = server;
    assert_int_equal(kh_hub_new(&hub, &config), KH_OK);
    kh_hub_set_wall_clock(hub, KH_SECONDS(1), 1900000000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_hub_free(hub);
    return 0;
}

static void take_answer(void)
{
    struct kh_datagram out;

    while (kh_hub_next_transmit(hub, &out)) {
        assert_int_equal(answer.len, 0);
        memcpy(data, out.data, out.len);
        answer = out;
        answer.data = data;
    }
}

static void give(const struct kh_addr *from, const struct kh_addr *to, const void *bytes,
                 size_t len)
{
    struct kh_relay_event event;

    answer.len = 0;
    kh_hub_handle_datagram(
        hub, KH_SECONDS(1),
        &(struct kh_datagram){.from = *from, .to = *to, .data = bytes, .len = len});
    take_answer();
    while (kh_hub_next_event(hub, &event)) {
        assert_int_equal(event.kind, KH_RELAY_EVENT_OPEN);
        relayed = event.addr;
        kh_hub_opened(hub, KH_SECONDS(1), &event.addr, true);
        take_answer();
    }
}

static void ask(uint16_t method, const void *attributes, size_t len)
{
    static uint8_t id[KH_STUN_ID_LEN];
    static uint8_t nonce[KH_RELAY_NONCE_LEN];
    uint8_t bytes[512];
    uint8_t key[KH_MD5_LEN];
    struct kh_stun_writer writer;
    struct kh_stun_message message;
    struct kh_stun_attribute found;

    id[0]++;
    writer = kh_stun_begin(bytes, sizeof bytes, KH_STUN_REQUEST, method, id);
    give(&alice, &server, bytes, kh_stun_finish(&writer));
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &message), KH_OK);
    assert_true(kh_stun_find(&message, KH_STUN_NONCE, &found));
    memcpy(nonce, found.value, sizeof nonce);
    kh_write_bytes(&writer.bytes, attributes, len);
    kh_stun_add(&writer, KH_STUN_USERNAME, USERNAME, strlen(USERNAME));
    kh_stun_add(&writer, KH_STUN_REALM, REALM, strlen(REALM));
    kh_stun_add(&writer, KH_STUN_NONCE, nonce, sizeof nonce);
    kh_stun_long_term_key_md5((struct kh_span){USERNAME, strlen(USERNAME)},
                              (struct kh_span){REALM, strlen(REALM)},
                              (struct kh_span){PASSWORD, strlen(PASSWORD)}, key);
    kh_stun_add_integrity(&writer, (struct kh_span){key, sizeof key});
    give(&alice, &server, bytes, kh_stun_finish(&writer));
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &message), KH_OK);
    assert_int_equal(message.class, KH_STUN_SUCCESS);
}

/* Alice's channel 0x4869 to Bob: the one that `Hi!` begins with. */
static void bind_channel(void)
{
    static const uint8_t udp[] = {0, 0x19, 0, 4, 17, 0, 0, 0};
    static const uint8_t binding[] = {
        0, 0x0c, 0, 4, 0x48,        0x69,        0,          0,    0,        0x12,
        0, 8,    0, 1, 0x17 ^ 0x21, 0x70 ^ 0x12, 192 ^ 0x21, 0x12, 2 ^ 0xa4, 9 ^ 0x42};

    ask(KH_STUN_ALLOCATE, udp, sizeof udp);
    ask(KH_STUN_CHANNEL_BIND, binding, sizeof binding);
}

static void channel_data_is_relayed_and_hi_is_greeted(void **state)
{
    (void)state;
    bind_channel();
    give(&alice, &server, "Hi\0\1x", 5);
    assert_int_equal(answer.len, 1);
    assert_true(kh_addr_equal(&answer.from, &relayed));
    assert_true(kh_addr_equal(&answer.to, &bob));
    give(&alice, &server, "Hi!\n", 4);
    assert_int_equal(answer.len, 4);
    assert_memory_equal(answer.data, "HI!\n", 4);
    assert_true(kh_addr_equal(&answer.to, &alice));
}

/* What arrives at a relayed address is Alice's, whatever it looks like. */
static void nothing_at_a_relayed_address_is_the_hubs(void **state)
{
    uint8_t bytes[KH_STUN_HEADER_LEN];
    struct kh_stun_writer writer = kh_stun_begin(bytes, sizeof bytes, KH_STUN_REQUEST,
                                                 KH_STUN_BINDING, (const uint8_t *)"transaction");

    (void)state;
    bind_channel();
    give(&bob, &relayed, "Hi!", 3);
    assert_int_equal(answer.len, 7);
    assert_true(kh_addr_equal(&answer.to, &alice));
    give(&bob, &relayed, bytes, kh_stun_finish(&writer));
    assert_int_equal(answer.len, 4 + sizeof bytes);
    assert_true(kh_addr_equal(&answer.to, &alice));
    assert_int_equal(kh_hub_stats(hub).bindings, 0);
    assert_int_equal(kh_hub_stats(hub).relay.to_clients, 2);
}

static void time_and_streams_end_allocations(void **state)
{
    struct kh_relay_event event;

    (void)state;
    bind_channel();
    assert_int_equal(kh_hub_timeout(hub), KH_SECONDS(601));
    kh_hub_disconnected(hub, KH_SECONDS(2), &alice, &server);
    assert_true(kh_hub_next_event(hub, &event));
    assert_int_equal(event.kind, KH_RELAY_EVENT_CLOSE);
    assert_int_equal(kh_hub_timeout(hub), KH_NEVER);
    bind_channel();
    kh_hub_handle_timeout(hub, KH_SECONDS(601));
    assert_true(kh_hub_next_event(hub, &event));
    assert_int_equal(kh_hub_stats(hub).relay.allocations, 0);
}

static void without_a_relay_turn_is_dropped(void **state)
{
    struct kh_hub_config config = {.seed = {1}};
    uint8_t bytes[KH_STUN_HEADER_LEN];
    struct kh_stun_writer writer = kh_stun_begin(bytes, sizeof bytes, KH_STUN_REQUEST,
                                                 KH_STUN_ALLOCATE, (const uint8_t *)"transaction");

    (void)state;
    kh_hub_free(hub);
    assert_int_equal(kh_hub_new(&hub, &config), KH_OK);
    give(&alice, &server, bytes, kh_stun_finish(&writer));
    assert_int_equal(answer.len, 0);
    give(&alice, &server, "\x40\x01\0\0", 4);
    assert_int_equal(answer.len, 0);
    assert_int_equal(kh_hub_stats(hub).dropped_malformed, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(channel_data_is_relayed_and_hi_is_greeted),
        TEST(nothing_at_a_relayed_address_is_the_hubs),
        TEST(time_and_streams_end_allocations),
        TEST(without_a_relay_turn_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
