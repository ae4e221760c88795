/* turn/flow_test.c - permissions, channels, and the datagrams that travel by them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/wire_test.h"

static const struct kh_turn_config defaults;

/* What was sent as the n-th has to be ChannelData of this number with this text. */
static void expect_channel_data(const struct wire *wire, size_t n, unsigned number,
                                const char *text)
{
    const uint8_t *data = wire->sent[n].data;

    assert_true(n < wire->sent_count);
    assert_int_equal(wire->sent[n].len, 4 + strlen(text));
    assert_int_equal(data[0] << 8 | data[1], number);
    assert_int_equal(data[2] << 8 | data[3], strlen(text));
    assert_memory_equal(data + 4, text, strlen(text));
}

static void expect_indication(const struct wire *wire, size_t n, const struct kh_addr *peer,
                              const char *text)
{
    struct kh_stun_message message;
    struct kh_stun_attribute data;
    struct kh_addr addr;

    assert_true(n < wire->sent_count);
    assert_int_equal(kh_stun_parse(wire->sent[n].data, wire->sent[n].len, &message), KH_OK);
    assert_int_equal(message.class, KH_STUN_INDICATION);
    assert_int_equal(message.method, KH_STUN_SEND);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_PEER_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, peer));
    assert_true(kh_stun_find(&message, KH_STUN_DATA_ATTRIBUTE, &data));
    assert_int_equal(data.len, strlen(text));
    assert_memory_equal(data.value, text, data.len);
}

static void expect_received(const struct wire *wire, const struct kh_addr *peer, const char *text)
{
    assert_non_null(wire->received.data);
    assert_int_equal(wire->received.len, strlen(text));
    assert_memory_equal(wire->received.data, text, wire->received.len);
    assert_true(kh_addr_equal(&wire->received.from, peer));
    assert_true(kh_addr_equal(&wire->received.to, &wire->relayed));
}

static void give_channel_data(struct wire *wire, unsigned number, const char *text, size_t padding)
{
    uint8_t data[1700] = {(uint8_t)(number >> 8), (uint8_t)number, (uint8_t)(strlen(text) >> 8),
                          (uint8_t)strlen(text)};

    memcpy(data + 4, text, strlen(text));
    give(wire, data, 4 + strlen(text) + padding);
}

/* Alice has spoken to the peer and the server lets it answer. */
static void have_permission(struct wire *wire)
{
    struct kh_stun_message message;

    setup(wire, &defaults);
    have_allocation(wire);
    send_text(wire, &wire->peer, "hello");
    message = request_at(wire, 0, KH_STUN_CREATE_PERMISSION);
    answer_plainly(wire, &message, 0);
}

static void have_channel(struct wire *wire)
{
    struct kh_stun_message message;

    have_permission(wire);
    give_indication(wire, &wire->peer, "hello to you");
    message = request_at(wire, 0, KH_STUN_CHANNEL_BIND);
    answer_plainly(wire, &message, 0);
    assert_true(kh_turn_client_has_channel(wire->client, &wire->peer));
}

/* RFC 8656 10.1: the permission is for the IP, whatever port the request names. */
static void asks_for_a_permission_ahead_of_the_first_datagram(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    struct kh_addr addr;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    send_text(&wire, &wire.peer, "hello");
    assert_int_equal(wire.sent_count, 2);
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    assert_true(kh_stun_check_integrity(&message, md5_key()));
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_PEER_ADDRESS, &addr));
    assert_true(kh_addr_ip_equal(&addr, &wire.peer));
    expect_indication(&wire, 1, &wire.peer, "hello");

    send_text(&wire, &wire.peer, "hello again"); /* asked once only */
    assert_int_equal(wire.sent_count, 1);
    expect_indication(&wire, 0, &wire.peer, "hello again");
    wire.peer.port++; /* another port of the same IP needs no other */
    send_text(&wire, &wire.peer, "and you");
    assert_int_equal(wire.sent_count, 1);
    kh_turn_client_free(wire.client);
}

static void permits_before_sending_when_asked_to(void **state)
{
    struct wire wire;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_permit(wire.client, wire.now, &wire.peer);
    drain(&wire);
    assert_int_equal(wire.sent_count, 1);
    (void)request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    give_indication(&wire, &wire.peer, "first");
    expect_received(&wire, &wire.peer, "first");
    kh_turn_client_free(wire.client);
}

static void repeats_the_request_for_a_permission(void **state)
{
    struct wire wire;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    send_text(&wire, &wire.peer, "hello");
    pass(&wire, KH_MILLISECONDS(500));
    assert_int_equal(wire.sent_count, 1);
    (void)request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 9: it lives for five minutes. */
static void refreshes_the_permission_of_a_peer_in_use(void **state)
{
    struct wire wire;
    unsigned requests = 0;

    (void)state;
    have_permission(&wire);
    for (unsigned i = 1; i <= 48; i++) {
        pass(&wire, KH_SECONDS(5));
        for (size_t n = 0; n < wire.sent_count; n++)
            requests += wire.sent[n].len > 40; /* a keepalive is shorter */
        if (i < 48)
            send_text(&wire, &wire.peer, "still here");
    }
    assert_int_equal(requests, 1);
    (void)request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    kh_turn_client_free(wire.client);
}

static void forgets_the_permission_of_a_peer_not_in_use(void **state)
{
    struct wire wire;

    (void)state;
    have_permission(&wire);
    pass(&wire, KH_SECONDS(240));
    for (size_t n = 0; n < wire.sent_count; n++)
        assert_int_equal(wire.sent[n].len, KH_STUN_HEADER_LEN);
    give_indication(&wire, &wire.peer, "are you there");
    assert_null(wire.received.data);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 9.3: 403 */
static void tells_of_a_refused_peer_and_sends_it_nothing(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    struct kh_addr addr;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    send_text(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    answer_plainly(&wire, &message, 403);
    assert_int_equal(wire.event_count, 1);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_PEER_REFUSED);
    assert_int_equal(wire.events[0].code, 403);
    assert_true(kh_addr_ip_equal(&wire.events[0].addr, &wire.peer));
    send_text(&wire, &wire.peer, "hello");
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unsent, 1);
    wire.peer.port++; /* a relay may refuse its own port and allow one that it relays for */
    send_text(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_PEER_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &wire.peer));
    answer_plainly(&wire, &message, 403);
    pass(&wire, KH_SECONDS(60));
    send_text(&wire, &wire.peer, "hello"); /* perhaps its mind has changed */
    (void)request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 9.3 and 12.3: a server that does not know the allocation says so to any request. */
static void is_lost_when_a_permission_meets_437(void **state)
{
    struct wire wire;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    send_text(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    answer_plainly(&wire, &message, 437);
    assert_int_equal(wire.event_count, 1);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_LOST);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 12.1 */
static void binds_a_channel_once_the_peer_has_answered(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    struct kh_addr addr;
    uint32_t number;

    (void)state;
    have_permission(&wire);
    give_indication(&wire, &wire.peer, "hello to you");
    expect_received(&wire, &wire.peer, "hello to you");
    assert_int_equal(wire.sent_count, 1);
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    assert_true(kh_stun_find_u32(&message, KH_STUN_CHANNEL_NUMBER, &number));
    assert_int_equal(number, 0x40000000);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_PEER_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &wire.peer));

    send_text(&wire, &wire.peer, "meanwhile");
    expect_indication(&wire, 0, &wire.peer, "meanwhile");
    give_channel_data(&wire, 0x4000, "bound, the answer is on its way", 0);
    expect_received(&wire, &wire.peer, "bound, the answer is on its way");
    answer_plainly(&wire, &message, 0);
    send_text(&wire, &wire.peer, "now");
    assert_int_equal(wire.sent_count, 1);
    expect_channel_data(&wire, 0, 0x4000, "now");
    assert_int_equal(kh_turn_client_stats(wire.client).sent_channel_data, 1);
    assert_int_equal(kh_turn_client_stats(wire.client).sent_indications, 2);
    assert_int_equal(kh_turn_client_stats(wire.client).received_channel_data, 1);
    assert_int_equal(kh_turn_client_stats(wire.client).received_indications, 1);
    kh_turn_client_free(wire.client);
}

/* RFC 8016: the first that a NAT's new port is noticed by, and the Refresh with the ticket gets no
 * answer for a while: nothing is due before it is repeated. */
static void a_channel_refused_because_we_moved_waits_for_the_move(void **state)
{
    static const struct kh_turn_config config = {.seed = {1}};
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    struct kh_stun_attribute ticket;
    struct answer answer;

    (void)state;
    setup(&wire, &config);
    request = request_of(&wire);
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    request.mobile = true;
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_true(kh_stun_find(&message, KH_STUN_MOBILITY_TICKET, &ticket));
    assert_int_equal(ticket.len, 0);
    answer_begin(&answer, &message, 0);
    kh_stun_add_addr(&answer.writer, KH_STUN_XOR_RELAYED_ADDRESS, &wire.relayed);
    kh_stun_add(&answer.writer, KH_STUN_MOBILITY_TICKET, "the ticket", 10);
    answer_send(&wire, &answer, md5_key());
    send_text(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    answer_plainly(&wire, &message, 0);
    give_indication(&wire, &wire.peer, "hello to you");
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    answer_plainly(&wire, &message, 437);
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    assert_true(kh_stun_find(&message, KH_STUN_MOBILITY_TICKET, &ticket));
    assert_int_equal(ticket.len, 10);
    assert_memory_equal(ticket.value, "the ticket", 10);
    while (kh_turn_client_state(wire.client) == KH_TURN_ALLOCATED) {
        kh_time due = kh_turn_client_timeout(wire.client);

        assert_true(due > wire.now);
        pass(&wire, kh_time_since(due, wire.now));
    }
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_LOST); /* there was no answer at all */
    kh_turn_client_free(wire.client);
}

static void mobility_forbidden_is_done_without(void **state)
{
    static const struct kh_turn_config config = {.seed = {1}};
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    struct kh_stun_attribute ticket;

    (void)state;
    setup(&wire, &config);
    request = request_of(&wire);
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    request.mobile = true;
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    answer_plainly(&wire, &message, 405);
    assert_int_equal(wire.event_count, 0);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_false(kh_stun_find(&message, KH_STUN_MOBILITY_TICKET, &ticket));
    grant(&wire, &message, md5_key());
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_ALLOCATED);
    assert_false(kh_turn_client_move(wire.client, wire.now, &wire.local));
    kh_turn_client_free(wire.client);
}

static void goes_on_with_indications_when_a_channel_is_refused(void **state)
{
    struct wire wire;
    struct kh_stun_message message;

    (void)state;
    have_permission(&wire);
    give_indication(&wire, &wire.peer, "hello to you");
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    answer_plainly(&wire, &message, 400);
    assert_int_equal(wire.event_count, 0);
    give_indication(&wire, &wire.peer, "hello?");
    assert_int_equal(wire.sent_count, 0);
    send_text(&wire, &wire.peer, "yes");
    expect_indication(&wire, 0, &wire.peer, "yes");
    kh_turn_client_free(wire.client);
}

/* The server knows us by another address just then: the allocation moves, nothing else waits. */
static void a_channel_not_yet_bound_does_not_hold_a_moving_allocation_up(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    struct answer answer;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    answer_begin(&answer, &message, 0);
    kh_stun_add_addr(&answer.writer, KH_STUN_XOR_RELAYED_ADDRESS, &wire.relayed);
    kh_stun_add_u32(&answer.writer, KH_STUN_LIFETIME, 600);
    kh_stun_add(&answer.writer, KH_STUN_MOBILITY_TICKET, "ticket", 6);
    answer_send(&wire, &answer, md5_key());
    send_text(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    answer_plainly(&wire, &message, 0);
    give_indication(&wire, &wire.peer, "hello to you");
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    answer_plainly(&wire, &message, 437);
    (void)request_at(&wire, 0, KH_STUN_REFRESH);
    for (int i = 0; i < 8; i++) {
        assert_true(kh_turn_client_timeout(wire.client) > wire.now);
        pass(&wire, kh_turn_client_timeout(wire.client) - wire.now);
    }
    kh_turn_client_free(wire.client);
}

/* RFC 8656 12: a binding lives for ten minutes, and refreshes the permission too. */
static void refreshes_a_channel_in_use(void **state)
{
    struct wire wire;
    unsigned binds = 0;

    (void)state;
    have_channel(&wire);
    for (unsigned i = 1; i <= 108; i++) {
        pass(&wire, KH_SECONDS(5));
        for (size_t n = 0; n < wire.sent_count; n++) {
            struct kh_stun_message message;

            if (kh_stun_parse(wire.sent[n].data, wire.sent[n].len, &message) != KH_OK)
                continue;
            binds += message.method == KH_STUN_CHANNEL_BIND;
            assert_true(message.method != KH_STUN_CHANNEL_BIND || i == 108);
            if (message.method == KH_STUN_REFRESH || message.method == KH_STUN_CREATE_PERMISSION) {
                answer_plainly(&wire, &message, 0);
                break;
            }
        }
        send_text(&wire, &wire.peer, "still here");
        expect_channel_data(&wire, wire.sent_count - 1, 0x4000, "still here");
    }
    assert_int_equal(binds, 1);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 12: after it expired, the number still belongs to this peer for five minutes. */
static void lets_an_unused_channel_expire(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    kh_time bound_at;
    uint32_t number;

    (void)state;
    have_channel(&wire);
    bound_at = wire.now;
    while (wire.now < bound_at + KH_SECONDS(600)) {
        pass(&wire, kh_turn_client_timeout(wire.client) - wire.now);
        if (wire.sent_count > 0 &&
            kh_stun_parse(wire.sent[0].data, wire.sent[0].len, &message) == KH_OK &&
            message.class == KH_STUN_REQUEST) {
            assert_int_equal(message.method, KH_STUN_REFRESH);
            answer_plainly(&wire, &message, 0);
        }
    }
    assert_false(kh_turn_client_has_channel(wire.client, &wire.peer));
    send_text(&wire, &wire.peer, "again");
    expect_indication(&wire, wire.sent_count - 1, &wire.peer, "again");
    give_indication(&wire, &wire.peer, "oh");
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    assert_true(kh_stun_find_u32(&message, KH_STUN_CHANNEL_NUMBER, &number));
    assert_int_equal(number, 0x40000000);
    kh_turn_client_free(wire.client);
}

static void gives_each_peer_a_number_of_its_own(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    struct kh_addr other;
    uint32_t number;

    (void)state;
    have_channel(&wire);
    other = wire.peer;
    other.port++;
    send_text(&wire, &other, "hello");
    give_indication(&wire, &other, "hello");
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    assert_true(kh_stun_find_u32(&message, KH_STUN_CHANNEL_NUMBER, &number));
    assert_int_equal(number, 0x40010000);
    answer_plainly(&wire, &message, 0);
    give_channel_data(&wire, 0x4000, "one", 0);
    expect_received(&wire, &wire.peer, "one");
    give_channel_data(&wire, 0x4001, "other", 0);
    expect_received(&wire, &other, "other");
    kh_turn_client_free(wire.client);
}

/* RFC 8656 12.5: over a stream ChannelData is padded, and its length does not count that. */
static void pads_channel_data_on_a_stream(void **state)
{
    struct wire wire;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    wire.server.transport = wire.local.transport = KH_TLS;
    have_allocation(&wire);
    send_text(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
    answer_plainly(&wire, &message, 0);
    give_indication(&wire, &wire.peer, "hello");
    message = request_at(&wire, 0, KH_STUN_CHANNEL_BIND);
    answer_plainly(&wire, &message, 0);
    send_text(&wire, &wire.peer, "hello");
    assert_int_equal(wire.sent_count, 1);
    assert_int_equal(wire.sent[0].len, 12);
    assert_memory_equal(wire.sent[0].data, "\x40\0\0\5hello\0\0\0", 12);
    give_channel_data(&wire, 0x4000, "hello", 3);
    expect_received(&wire, &wire.peer, "hello");
    kh_turn_client_free(wire.client);
}

static void drops_what_it_cannot_place(void **state)
{
    static const uint8_t id[KH_STUN_ID_LEN] = "some id";
    struct wire wire;
    struct kh_turn_stats stats;
    struct kh_addr stranger = kh_addr_ipv4(203, 0, 113, 66, 6000);
    uint8_t data[64];
    struct kh_stun_writer writer;

    (void)state;
    have_channel(&wire);
    give_indication(&wire, &stranger, "let me in");
    give_channel_data(&wire, 0x4001, "no such channel", 0);
    writer = kh_stun_begin(data, sizeof data, KH_STUN_SUCCESS, KH_STUN_REFRESH, id);
    give(&wire, data, kh_stun_finish(&writer));
    assert_true(wire.was_mine);
    assert_null(wire.received.data);
    stats = kh_turn_client_stats(wire.client);
    assert_int_equal(stats.dropped_stray, 3);

    give(&wire, "\x40\0\0\5four", 8); /* claims more than there is */
    give(&wire, "\x40\0\0\0extra", 9);
    writer = kh_stun_begin(data, sizeof data, KH_STUN_INDICATION, KH_STUN_DATA, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &wire.peer);
    give(&wire, data, kh_stun_finish(&writer)); /* without data */
    assert_null(wire.received.data);
    stats = kh_turn_client_stats(wire.client);
    assert_int_equal(stats.dropped_malformed, 3);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 11.4 and 18.13 */
static void counts_icmp_and_nothing_else(void **state)
{
    static const uint8_t id[KH_STUN_ID_LEN] = "some id";
    struct wire wire;
    uint8_t data[64];
    struct kh_stun_writer writer;

    (void)state;
    have_permission(&wire);
    writer = kh_stun_begin(data, sizeof data, KH_STUN_INDICATION, KH_STUN_DATA, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &wire.peer);
    kh_stun_add_u64(&writer, KH_STUN_ICMP, 3);
    give(&wire, data, kh_stun_finish(&writer));
    assert_null(wire.received.data);
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).icmp, 1);
    kh_turn_client_free(wire.client);
}

static void leaves_to_others_what_is_not_its_own(void **state)
{
    static const uint8_t id[KH_STUN_ID_LEN] = "some id";
    struct wire wire;
    struct kh_addr server;
    uint8_t data[64];
    struct kh_stun_writer writer;

    (void)state;
    have_channel(&wire);
    writer = kh_stun_begin(data, sizeof data, KH_STUN_SUCCESS, KH_STUN_BINDING, id);
    give(&wire, data, kh_stun_finish(&writer));
    assert_false(wire.was_mine);
    give(&wire, "HI!", 3);
    assert_false(wire.was_mine);
    give(&wire, "\x40", 1);
    assert_false(wire.was_mine);
    give(&wire, "", 0);
    assert_false(wire.was_mine);
    server = wire.server;
    wire.server.port++; /* from elsewhere */
    give(&wire, "\x40\0\0\4four", 8);
    assert_false(wire.was_mine);
    wire.server = server;
    wire.local.port++; /* for another socket of ours */
    give(&wire, "\x40\0\0\4four", 8);
    assert_false(wire.was_mine);
    kh_turn_client_free(wire.client);
}

static void sends_nothing_it_cannot(void **state)
{
    static const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 5};
    static const uint8_t bytes[KH_TURN_PAYLOAD_MAX + 1];
    struct wire wire;
    struct kh_addr peer6 = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 6000);
    struct kh_datagram datagram;

    (void)state;
    setup(&wire, &defaults);
    send_text(&wire, &wire.peer, "no allocation yet");
    assert_int_equal(wire.sent_count, 0);
    have_allocation(&wire);
    send_text(&wire, &peer6, "no relayed address of that family");
    assert_int_equal(wire.sent_count, 0);
    datagram = (struct kh_datagram){
        .from = wire.local, .to = wire.peer, .data = bytes, .len = 5}; /* not our relayed address */
    kh_turn_client_send(wire.client, wire.now, &datagram);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0);
    datagram.from = wire.relayed;
    datagram.len = sizeof bytes;
    kh_turn_client_send(wire.client, wire.now, &datagram);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unsent, 4);
    datagram.len--;
    kh_turn_client_send(wire.client, wire.now, &datagram);
    drain(&wire);
    assert_int_equal(wire.sent_count, 2);
    assert_true(wire.sent[1].len <= KH_TURN_PAYLOAD_MAX + KH_TURN_OVERHEAD_MAX);
    kh_turn_client_free(wire.client);
}

/* The tables are bounded: the least used peer makes room, but not one that may still answer. */
static void makes_room_for_more_peers_than_it_holds(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    struct kh_addr peer;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    for (unsigned i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        peer = kh_addr_ipv4(203, 0, (uint8_t)(i >> 8), (uint8_t)i, 6000);
        send_text(&wire, &peer, "hello");
        assert_int_equal(wire.sent_count, 2);
        message = request_at(&wire, 0, KH_STUN_CREATE_PERMISSION);
        answer_plainly(&wire, &message, 0);
    }
    peer = kh_addr_ipv4(203, 1, 0, 0, 6000);
    send_text(&wire, &peer, "hello");
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unsent, 1);
    wire.now += KH_SECONDS(30); /* the first of them has been silent for long enough */
    send_text(&wire, &peer, "hello");
    assert_int_equal(wire.sent_count, 2);
    kh_turn_client_free(wire.client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_for_a_permission_ahead_of_the_first_datagram),
        cmocka_unit_test(permits_before_sending_when_asked_to),
        cmocka_unit_test(repeats_the_request_for_a_permission),
        cmocka_unit_test(refreshes_the_permission_of_a_peer_in_use),
        cmocka_unit_test(forgets_the_permission_of_a_peer_not_in_use),
        cmocka_unit_test(tells_of_a_refused_peer_and_sends_it_nothing),
        cmocka_unit_test(is_lost_when_a_permission_meets_437),
        cmocka_unit_test(binds_a_channel_once_the_peer_has_answered),
        cmocka_unit_test(a_channel_refused_because_we_moved_waits_for_the_move),
        cmocka_unit_test(mobility_forbidden_is_done_without),
        cmocka_unit_test(goes_on_with_indications_when_a_channel_is_refused),
        cmocka_unit_test(a_channel_not_yet_bound_does_not_hold_a_moving_allocation_up),
        cmocka_unit_test(refreshes_a_channel_in_use),
        cmocka_unit_test(lets_an_unused_channel_expire),
        cmocka_unit_test(gives_each_peer_a_number_of_its_own),
        cmocka_unit_test(pads_channel_data_on_a_stream),
        cmocka_unit_test(drops_what_it_cannot_place),
        cmocka_unit_test(counts_icmp_and_nothing_else),
        cmocka_unit_test(leaves_to_others_what_is_not_its_own),
        cmocka_unit_test(sends_nothing_it_cannot),
        cmocka_unit_test(makes_room_for_more_peers_than_it_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
