/* turn/wire_test.h - a client and, on the other end of its wire, a server held by hand.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TURN_WIRE_TEST_H
#define KH_TURN_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "turn/turn.h"

#define SENT_MAX 8

struct wire {
    struct kh_turn_client *client;
    kh_time now;
    struct kh_addr server, local, relayed, peer;
    struct kh_datagram sent[SENT_MAX]; /* since the last input */
    uint8_t sent_data[SENT_MAX][1600];
    size_t sent_count;
    struct kh_turn_event events[4];
    size_t event_count;
    struct kh_datagram received; /* data NULL: nothing */
    uint8_t received_data[1600];
    bool was_mine;
};

/* Who Alice is to the servers of these tests. */
#define USERNAME "alice"
#define PASSWORD "knock knock"
#define REALM "example.org"

static inline struct kh_span text_span(const char *text)
{
    return (struct kh_span){text, strlen(text)};
}

static inline struct kh_span md5_key(void)
{
    static uint8_t key[KH_MD5_LEN];

    kh_stun_long_term_key_md5(text_span(USERNAME), text_span(REALM), text_span(PASSWORD), key);
    return (struct kh_span){key, sizeof key};
}

static inline struct kh_span sha256_key(void)
{
    static uint8_t key[KH_SHA256_LEN];

    kh_stun_long_term_key_sha256(text_span(USERNAME), text_span(REALM), text_span(PASSWORD), key);
    return (struct kh_span){key, sizeof key};
}

static inline void drain(struct wire *wire)
{
    struct kh_datagram datagram;

    wire->sent_count = 0;
    wire->event_count = 0;
    wire->received.data = NULL;
    while (kh_turn_client_next_event(wire->client, &wire->events[wire->event_count]))
        assert_true(++wire->event_count < 4);
    while (kh_turn_client_next_received(wire->client, &wire->received)) {
        memcpy(wire->received_data, wire->received.data, wire->received.len);
        wire->received.data = wire->received_data;
    }
    while (kh_turn_client_next_transmit(wire->client, &datagram)) {
        assert_true(wire->sent_count < SENT_MAX);
        memcpy(wire->sent_data[wire->sent_count], datagram.data, datagram.len);
        datagram.data = wire->sent_data[wire->sent_count];
        wire->sent[wire->sent_count++] = datagram;
        assert_true(kh_addr_equal(&datagram.to, &wire->server));
        assert_true(kh_addr_equal(&datagram.from, &wire->local));
    }
}

static inline void setup(struct wire *wire, const struct kh_turn_config *config)
{
    memset(wire, 0, sizeof *wire);
    wire->now = KH_SECONDS(1000);
    wire->server = kh_addr_ipv4(192, 0, 2, 1, 3478);
    wire->local = kh_addr_ipv4(198, 51, 100, 7, 40000);
    wire->relayed = kh_addr_ipv4(192, 0, 2, 1, 50000);
    wire->peer = kh_addr_ipv4(203, 0, 113, 5, 6000);
    assert_int_equal(kh_turn_client_new(&wire->client, config), KH_OK);
}

static inline struct kh_turn_request request_of(const struct wire *wire)
{
    return (struct kh_turn_request){.server = wire->server,
                                    .local = wire->local,
                                    .username = text_span(USERNAME),
                                    .password = text_span(PASSWORD)};
}

static inline void allocate(struct wire *wire, const struct kh_turn_request *request)
{
    assert_int_equal(kh_turn_client_allocate(wire->client, wire->now, request), KH_OK);
    drain(wire);
}

static inline void pass(struct wire *wire, kh_duration duration)
{
    wire->now += duration;
    kh_turn_client_handle_timeout(wire->client, wire->now);
    drain(wire);
}

static inline void give(struct wire *wire, const void *data, size_t len)
{
    const struct kh_datagram datagram = {
        .from = wire->server, .to = wire->local, .data = data, .len = len};

    wire->was_mine = kh_turn_client_handle_datagram(wire->client, wire->now, &datagram);
    drain(wire);
}

/* The n-th thing sent has to be a request of this method. */
static inline struct kh_stun_message request_at(const struct wire *wire, size_t n, uint16_t method)
{
    struct kh_stun_message message;

    assert_true(n < wire->sent_count);
    assert_int_equal(kh_stun_parse(wire->sent[n].data, wire->sent[n].len, &message), KH_OK);
    assert_int_equal(message.class, KH_STUN_REQUEST);
    assert_int_equal(message.method, method);
    return message;
}

/* An answer being written. */
struct answer {
    struct kh_stun_writer writer;
    uint8_t data[1200];
};

static inline void answer_begin(struct answer *answer, const struct kh_stun_message *request,
                                unsigned code)
{
    answer->writer =
        kh_stun_begin(answer->data, sizeof answer->data,
                      code == 0 ? KH_STUN_SUCCESS : KH_STUN_ERROR, request->method, request->id);
    if (code != 0)
        kh_stun_add_error(&answer->writer, code, "");
}

/* Sends it with SHA-1 integrity, SHA-256 integrity, or none, as the key's length says. */
static inline void answer_send(struct wire *wire, struct answer *answer, struct kh_span key)
{
    size_t len;

    if (key.len == KH_MD5_LEN)
        kh_stun_add_integrity(&answer->writer, key);
    else if (key.len == KH_SHA256_LEN)
        kh_stun_add_integrity_sha256(&answer->writer, key);
    len = kh_stun_finish(&answer->writer);
    assert_true(len > 0);
    give(wire, answer->data, len);
}

static const struct kh_span no_key = {NULL, 0};

static inline void answer_plainly(struct wire *wire, const struct kh_stun_message *request,
                                  unsigned code)
{
    struct answer answer;

    answer_begin(&answer, request, code);
    answer_send(wire, &answer, md5_key());
}

static inline void challenge(struct wire *wire, const struct kh_stun_message *request,
                             unsigned code, const char *nonce)
{
    struct answer answer;

    answer_begin(&answer, request, code);
    kh_stun_add(&answer.writer, KH_STUN_REALM, REALM, strlen(REALM));
    kh_stun_add(&answer.writer, KH_STUN_NONCE, nonce, strlen(nonce));
    answer_send(wire, &answer, no_key);
}

static inline void grant(struct wire *wire, const struct kh_stun_message *request,
                         struct kh_span key)
{
    struct answer answer;

    answer_begin(&answer, request, 0);
    kh_stun_add_addr(&answer.writer, KH_STUN_XOR_RELAYED_ADDRESS, &wire->relayed);
    kh_stun_add_addr(&answer.writer, KH_STUN_XOR_MAPPED_ADDRESS, &wire->local);
    kh_stun_add_u32(&answer.writer, KH_STUN_LIFETIME, 600);
    answer_send(wire, &answer, key);
}

/* An allocation without more ado: realm and nonce are known. */
static inline void have_allocation(struct wire *wire)
{
    struct kh_turn_request request = request_of(wire);
    struct kh_stun_message message;

    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    allocate(wire, &request);
    message = request_at(wire, 0, KH_STUN_ALLOCATE);
    grant(wire, &message, md5_key());
    assert_int_equal(wire->event_count, 1);
    assert_int_equal(wire->events[0].kind, KH_TURN_EVENT_ALLOCATED);
}

static inline void send_text(struct wire *wire, const struct kh_addr *peer, const char *text)
{
    const struct kh_datagram datagram = {
        .from = wire->relayed, .to = *peer, .data = (const uint8_t *)text, .len = strlen(text)};

    kh_turn_client_send(wire->client, wire->now, &datagram);
    drain(wire);
}

/* The peer's words, as the server brings them before there is a channel. */
static inline void give_indication(struct wire *wire, const struct kh_addr *peer, const char *text)
{
    static const uint8_t id[KH_STUN_ID_LEN] = "indication";
    uint8_t data[1700];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_INDICATION, KH_STUN_DATA, id);

    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, peer);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, text, strlen(text));
    give(wire, data, kh_stun_finish(&writer));
}

#endif
