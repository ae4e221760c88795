/* relay/data_test.c - permissions, channels and data as RFC 8656 sections 9 to 12 have them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/client_test.h"

static struct kh_addr relayed;

static int set_up_allocated(void **state)
{
    set_up(state);
    relayed = allocate();
    return 0;
}

/* A peer sends to the relayed address. */
static void hear(const struct kh_addr *from, const char *text)
{
    give(from, &opened[0], text, strlen(text));
}

static void assert_sent_to_peer(const struct kh_addr *peer, const char *text)
{
    assert_int_equal(answer.len, strlen(text));
    assert_memory_equal(answer.data, text, answer.len);
    assert_true(kh_addr_equal(&answer.from, &opened[0]));
    assert_true(kh_addr_equal(&answer.to, peer));
}

static void assert_indicated(const struct kh_addr *peer, const char *text)
{
    struct kh_addr from;
    struct kh_stun_attribute data;

    assert_true(answer.len > 0);
    assert_true(kh_addr_equal(&answer.to, &alice));
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &got), KH_OK);
    assert_int_equal(got.class, KH_STUN_INDICATION);
    assert_int_equal(got.method, KH_STUN_DATA);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_PEER_ADDRESS, &from));
    assert_true(kh_addr_equal(&from, peer));
    assert_true(kh_stun_find(&got, KH_STUN_DATA_ATTRIBUTE, &data));
    assert_int_equal(data.len, strlen(text));
    assert_memory_equal(data.value, text, data.len);
}

static void data_needs_a_permission_both_ways(void **state)
{
    (void)state;
    indicate(&bob, "hello");
    assert_int_equal(answer.len, 0);
    hear(&bob, "hello");
    assert_int_equal(answer.len, 0);
    assert_int_equal(kh_relay_stats(relay).dropped_forbidden, 2);
    assert_int_equal(permit(&bob), 0);
    indicate(&bob, "hello");
    assert_sent_to_peer(&bob, "hello");
    hear(&bob, "world");
    assert_indicated(&bob, "world");
}

/* RFC 8656 9: a permission is for an IP, whatever the port. */
static void permission_is_for_all_ports(void **state)
{
    struct kh_addr other = bob;

    (void)state;
    assert_int_equal(permit(&bob), 0);
    other.port++;
    indicate(&other, "x");
    assert_sent_to_peer(&other, "x");
    other.ip[3]++;
    indicate(&other, "x");
    assert_int_equal(answer.len, 0);
}

static void permission_lasts_300_seconds(void **state)
{
    (void)state;
    assert_int_equal(permit(&bob), 0);
    pass_time(KH_SECONDS(299));
    hear(&bob, "x");
    assert_indicated(&bob, "x");
    indicate(&bob, "x"); /* RFC 8656 9: data does not prolong it */
    pass_time(KH_SECONDS(1));
    hear(&bob, "x");
    assert_int_equal(answer.len, 0);
    indicate(&bob, "x");
    assert_int_equal(answer.len, 0);
    assert_int_equal(permit(&bob), 0);
    indicate(&bob, "x");
    assert_sent_to_peer(&bob, "x");
}

static void several_peers_in_one_request(void **state)
{
    struct request *request = begin(KH_STUN_CREATE_PERMISSION);
    struct kh_addr peer = bob;

    (void)state;
    for (peer.ip[3] = 10; peer.ip[3] < 20; peer.ip[3]++)
        add_peer(request, &peer);
    assert_int_equal(send_signed(request), 0);
    for (peer.ip[3] = 10; peer.ip[3] < 20; peer.ip[3]++) {
        indicate(&peer, "x");
        assert_sent_to_peer(&peer, "x");
    }
}

/* RFC 8656 10.2: all or none. */
static void one_bad_peer_spoils_the_request(void **state)
{
    struct request *request = begin(KH_STUN_CREATE_PERMISSION);
    struct kh_addr private = addr_of("10.0.0.1:5");

    (void)state;
    add_peer(request, &bob);
    add_peer(request, &private);
    assert_int_equal(send_signed(request), 403);
    indicate(&bob, "x");
    assert_int_equal(answer.len, 0);
}

static void permission_errors(void **state)
{
    struct request *request = begin(KH_STUN_CREATE_PERMISSION);

    (void)state;
    assert_int_equal(send_signed(request), 400); /* nobody named */
    assert_int_equal(permit(&bob6), 443);
    alice.port++;
    assert_int_equal(permit(&bob), 437);
}

static void permissions_have_a_limit(void **state)
{
    struct kh_addr peer = bob;

    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        peer.ip[3] = (uint8_t)i;
        assert_int_equal(permit(&peer), 0);
    }
    peer.ip[2]++;
    assert_int_equal(permit(&peer), 508);
    pass_time(KH_SECONDS(300));
    assert_int_equal(permit(&peer), 0);
    indicate(&peer, "x");
    assert_sent_to_peer(&peer, "x");
    peer.ip[2]--;
    indicate(&peer, "x");
    assert_int_equal(answer.len, 0);
}

static void give_channel(uint16_t number, const char *text, size_t behind)
{
    uint8_t data[100] = {(uint8_t)(number >> 8), (uint8_t)number, 0, (uint8_t)strlen(text)};

    memcpy(data + 4, text, strlen(text));
    give(&alice, &server, data, 4 + strlen(text) + behind);
}

static void channel_carries_both_ways(void **state)
{
    static const uint8_t expected[] = {0x40, 0x01, 0, 5, 'w', 'o', 'r', 'l', 'd'};

    (void)state;
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    give_channel(0x4001, "hello", 0);
    assert_sent_to_peer(&bob, "hello");
    give_channel(0x4001, "hello", 3); /* RFC 8656 12.5: padding may be there over UDP */
    assert_sent_to_peer(&bob, "hello");
    hear(&bob, "world");
    assert_int_equal(answer.len, sizeof expected); /* and need not */
    assert_memory_equal(answer.data, expected, sizeof expected);
    assert_true(kh_addr_equal(&answer.from, &server));
    assert_int_equal(kh_relay_stats(relay).to_peers, 2);
    assert_int_equal(kh_relay_stats(relay).to_clients, 1);
}

static void on_a_stream_channel_data_is_padded(void **state)
{
    static const uint8_t expected[] = {0x40, 0x01, 0, 1, 'w', 0, 0, 0};

    (void)state;
    alice.transport = server.transport = KH_TCP;
    allocate();
    opened[0] = opened[1];
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    hear(&bob, "w");
    assert_int_equal(answer.len, sizeof expected);
    assert_memory_equal(answer.data, expected, sizeof expected);
    assert_int_equal(answer.to.transport, KH_TCP);
}

/* RFC 8656 3.2 */
static void allocation_ends_with_its_stream(void **state)
{
    (void)state;
    alice.transport = server.transport = KH_TCP;
    allocate();
    assert_int_equal(opened_count, 2);
    kh_relay_disconnected(relay, now, &alice, &server);
    drain();
    assert_int_equal(opened_count, 1);
    kh_relay_disconnected(relay, now, &alice, &server);
    drain();
    assert_int_equal(opened_count, 1);
}

/* RFC 8656 9: a channel brings a permission for the IP. */
static void channel_brings_a_permission(void **state)
{
    struct kh_addr other = bob;

    (void)state;
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    other.port++;
    hear(&other, "x");
    assert_indicated(&other, "x");
}

static void channel_outlives_its_permission(void **state)
{
    (void)state;
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    pass_time(KH_SECONDS(300));
    hear(&bob, "x"); /* RFC 8656 11.3: from the peer, the permission counts */
    assert_int_equal(answer.len, 0);
    give_channel(0x4001, "x", 0);
    assert_sent_to_peer(&bob, "x");
    assert_int_equal(permit(&bob), 0);
    hear(&bob, "x");
    assert_int_equal(answer.len, 5); /* as ChannelData again */
    refresh(600);
    pass_time(KH_SECONDS(300));
    give_channel(0x4001, "x", 0); /* 600 s after the binding */
    assert_int_equal(answer.len, 0);
}

/* RFC 8656 12.2 */
static void binding_is_one_to_one(void **state)
{
    struct kh_addr other = bob;

    (void)state;
    other.port++;
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    assert_int_equal(bind_channel(0x4001, &bob), 0); /* renewed */
    assert_int_equal(bind_channel(0x4001, &other), 400);
    assert_int_equal(bind_channel(0x4002, &bob), 400);
    assert_int_equal(bind_channel(0x4002, &other), 0);
    assert_int_equal(bind_channel(0x4001, &other), 400);
    refresh(3600);
    pass_time(KH_SECONDS(600));
    assert_int_equal(bind_channel(0x4001, &other), 0);
}

static void binding_errors(void **state)
{
    struct request *request = begin(KH_STUN_CHANNEL_BIND);

    (void)state;
    add_peer(request, &bob);
    assert_int_equal(send_signed(request), 400);
    request = begin(KH_STUN_CHANNEL_BIND);
    kh_stun_add_u32(&request->writer, KH_STUN_CHANNEL_NUMBER, 0x4001u << 16);
    assert_int_equal(send_signed(request), 400);
    assert_int_equal(bind_channel(0x3fff, &bob), 400);
    assert_int_equal(bind_channel(0x8000, &bob), 400);
    assert_int_equal(bind_channel(0x7fff, &bob), 0);
    assert_int_equal(bind_channel(0x4001, &bob6), 443);
    alice.port++;
    assert_int_equal(bind_channel(0x4001, &bob), 437);
}

static void channels_have_a_limit(void **state)
{
    struct kh_addr peer = bob;

    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        peer.port = (uint16_t)(1000 + i);
        assert_int_equal(bind_channel((uint16_t)(0x4000 + i), &peer), 0);
    }
    assert_int_equal(bind_channel(0x4100, &bob), 508);
    for (unsigned i = 0; i < 256; i++) {
        peer.port = (uint16_t)(1000 + i);
        give_channel((uint16_t)(0x4000 + i), "x", 0);
        assert_sent_to_peer(&peer, "x");
        hear(&peer, "y");
        assert_int_equal(answer.data[1], i);
    }
}

static void malformed_data_is_dropped(void **state)
{
    static const uint8_t longer[] = {0x40, 0x01, 0, 9, 'x'};
    static const uint8_t header[] = {0x40, 0x01, 0};
    struct request *request = begin(KH_STUN_SEND);

    (void)state;
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    assert_false(kh_relay_handle_datagram(
        relay, now,
        &(struct kh_datagram){.from = alice, .to = server, .data = longer, .len = sizeof longer}));
    assert_false(kh_relay_handle_datagram(
        relay, now,
        &(struct kh_datagram){.from = alice, .to = server, .data = header, .len = sizeof header}));
    request->writer = kh_stun_begin(request->data, sizeof request->data, KH_STUN_INDICATION,
                                    KH_STUN_SEND, (const uint8_t *)"identity-abc");
    add_peer(request, &bob); /* RFC 8656 11.2: no DATA */
    give(&alice, &server, request->data, kh_stun_finish(&request->writer));
    assert_int_equal(answer.len, 0);
    assert_int_equal(kh_relay_stats(relay).dropped_malformed, 1);
}

static void datagram_too_long_to_frame_is_dropped(void **state)
{
    static uint8_t data[KH_RELAY_DATA_MAX];

    (void)state;
    assert_int_equal(permit(&bob), 0);
    give(&bob, &opened[0], data, sizeof data);
    assert_int_equal(answer.len, 0);
    assert_int_equal(bind_channel(0x4001, &bob), 0);
    give(&bob, &opened[0], data, sizeof data - 3);
    assert_int_equal(answer.len, 0);
    give(&bob, &opened[0], data, sizeof data - 4);
    assert_int_equal(answer.len, sizeof data);
}

static void dont_fragment_reaches_the_owner(void **state)
{
    struct request *request = begin(KH_STUN_SEND);

    (void)state;
    assert_int_equal(permit(&bob), 0);
    request->writer = kh_stun_begin(request->data, sizeof request->data, KH_STUN_INDICATION,
                                    KH_STUN_SEND, (const uint8_t *)"identity-abc");
    add_peer(request, &bob);
    kh_stun_add_flag(&request->writer, KH_STUN_DONT_FRAGMENT);
    kh_stun_add(&request->writer, KH_STUN_DATA_ATTRIBUTE, "x", 1);
    give(&alice, &server, request->data, kh_stun_finish(&request->writer));
    assert_sent_to_peer(&bob, "x");
    assert_true(kh_relay_dont_fragment(relay));
    indicate(&bob, "x");
    assert_false(kh_relay_dont_fragment(relay));
}

/* RFC 8656 11.5 and 18.13 */
static void icmp_error_reaches_the_client(void **state)
{
    static const uint8_t expected[8] = {0, 0, 3 << 1, 4, 0, 0, 5, 0};
    struct kh_relay_unreachable error = {
        .local = opened[0], .peer = bob, .type = 3, .code = 4, .data = 1280};
    struct kh_stun_attribute data;
    const uint8_t *value;

    (void)state;
    answer.len = 0;
    kh_relay_handle_unreachable(relay, now, &error);
    drain();
    assert_int_equal(answer.len, 0); /* no permission */
    assert_int_equal(permit(&bob), 0);
    answer.len = 0;
    kh_relay_handle_unreachable(relay, now, &error);
    drain();
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &got), KH_OK);
    assert_int_equal(got.method, KH_STUN_DATA);
    assert_true(kh_stun_find_bytes(&got, KH_STUN_ICMP, 8, &value));
    assert_memory_equal(value, expected, 8);
    assert_false(kh_stun_find(&got, KH_STUN_DATA_ATTRIBUTE, &data));
}

/* Two clients of this relay reach each other without a packet leaving it. */
static void clients_talk_inside(void **state)
{
    struct kh_addr first = alice, carol = addr_of("198.51.100.8:7000"), of_carol;

    (void)state;
    assert_int_equal(permit(&relayed), 403); /* oneself */
    alice = carol;
    of_carol = allocate();
    assert_int_equal(permit(&relayed), 0);
    alice = first;
    assert_int_equal(permit(&of_carol), 0);
    indicate(&of_carol, "hello");
    alice = carol;
    assert_indicated(&relayed, "hello");
    assert_int_equal(refresh(0), 0);
    alice = first;
    indicate(&of_carol, "hello"); /* nobody there: it does not leave */
    assert_int_equal(answer.len, 0);
    of_carol.port = 22;
    indicate(&of_carol, "hello");
    assert_int_equal(answer.len, 0);
    assert_int_equal(permit(&of_carol), 403);
}

static void bytes_have_a_rate(void **state)
{
    char text[101] = {0};
    size_t sent = 0;

    (void)state;
    config.bytes_per_second = 1000;
    start_relay();
    allocate();
    memset(text, 'x', 100);
    assert_int_equal(permit(&bob), 0);
    for (int i = 0; i < 50; i++) {
        indicate(&bob, text);
        sent += answer.len;
    }
    assert_int_equal(sent, 1000);
    pass_time(KH_SECONDS(1));
    indicate(&bob, text);
    assert_int_equal(answer.len, 100);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_allocated, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(data_needs_a_permission_both_ways),
        TEST(permission_is_for_all_ports),
        TEST(permission_lasts_300_seconds),
        TEST(several_peers_in_one_request),
        TEST(one_bad_peer_spoils_the_request),
        TEST(permission_errors),
        TEST(permissions_have_a_limit),
        TEST(channel_carries_both_ways),
        TEST(on_a_stream_channel_data_is_padded),
        TEST(allocation_ends_with_its_stream),
        TEST(channel_brings_a_permission),
        TEST(channel_outlives_its_permission),
        TEST(binding_is_one_to_one),
        TEST(binding_errors),
        TEST(channels_have_a_limit),
        TEST(malformed_data_is_dropped),
        TEST(datagram_too_long_to_frame_is_dropped),
        TEST(dont_fragment_reaches_the_owner),
        TEST(icmp_error_reaches_the_client),
        TEST(clients_talk_inside),
        TEST(bytes_have_a_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
