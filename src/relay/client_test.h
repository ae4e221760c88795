/* relay/client_test.h - a relay, its owner and a client for the tests: asks, answers, reads back.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RELAY_CLIENT_TEST_H
#define KH_RELAY_CLIENT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "relay/relay.h"

#define REALM "example.org"
#define SECRET "north"
#define USERNAME "2000000000:alice"
/* base64(HMAC-SHA1("north", "2000000000:alice")), by openssl(1) */
#define PASSWORD "uoDL/AHil9mhKpZV8sTerU3VXBM="
#define WALL 1900000000u
#define OPENED_MAX 8

static struct kh_relay *relay;
static struct kh_relay_config config;
static kh_time now;
static struct kh_addr alice, server, server6, bob, bob6;

/* What the owner saw and does. */
static struct kh_addr opened[OPENED_MAX]; /* still open */
static size_t opened_count;
static size_t refusals_left; /* of the next OPENs */
static size_t opens_seen, closes_seen;

/* The newest answer. */
static uint8_t answer_data[KH_RELAY_DATA_MAX];
static struct kh_datagram answer; /* len 0: none */
static struct kh_stun_message got;
static char nonce[KH_RELAY_NONCE_LEN];

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 0, &addr), KH_OK);
    return addr;
}

static void forget_open(const struct kh_addr *addr)
{
    for (size_t i = 0; i < opened_count; i++) {
        if (kh_addr_equal(&opened[i], addr)) {
            opened[i] = opened[--opened_count];
            return;
        }
    }
}

/* Takes the one datagram there may be. */
static void take_transmit(void)
{
    struct kh_datagram out;

    while (kh_relay_next_transmit(relay, &out)) {
        assert_int_equal(answer.len, 0);
        assert_true(out.len > 0 && out.len <= sizeof answer_data);
        memcpy(answer_data, out.data, out.len);
        answer = out;
        answer.data = answer_data;
    }
}

static void drain(void)
{
    struct kh_relay_event event;

    take_transmit();
    while (kh_relay_next_event(relay, &event)) {
        if (event.kind == KH_RELAY_EVENT_CLOSE) {
            closes_seen++;
            forget_open(&event.addr);
            continue;
        }
        opens_seen++;
        if (refusals_left > 0) {
            refusals_left--;
            kh_relay_opened(relay, now, &event.addr, false);
        } else {
            assert_true(opened_count < OPENED_MAX);
            opened[opened_count++] = event.addr;
            kh_relay_opened(relay, now, &event.addr, true);
        }
        take_transmit();
    }
}

static void start_relay(void)
{
    kh_relay_free(relay);
    assert_int_equal(kh_relay_new(&relay, &config), KH_OK);
    kh_relay_set_wall_clock(relay, now, WALL);
    opened_count = opens_seen = closes_seen = refusals_left = 0;
}

static int set_up(void **state)
{
    (void)state;
    now = KH_SECONDS(1000);
    alice = addr_of("198.51.100.7:5000");
    bob = addr_of("192.0.2.9:6000");
    bob6 = addr_of("[2001:db8::9]:6000");
    server = addr_of("203.0.113.1:3478");
    server6 = addr_of("[2001:db8:1::1]:3478");
    config = (struct kh_relay_config){
        .seed = {1}, .realm = REALM, .secret = {SECRET, strlen(SECRET)}, .address_count = 2};
    config.addresses[0].local = config.addresses[0].external = addr_of("203.0.113.1");
    config.addresses[1].local = config.addresses[1].external = addr_of("[2001:db8:1::1]");
    relay = NULL;
    start_relay();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_relay_free(relay);
    relay = NULL;
    return 0;
}

/* Gives the relay these bytes; the answer, if any, is in `answer`. */
static void give(const struct kh_addr *from, const struct kh_addr *to, const void *data, size_t len)
{
    struct kh_datagram datagram = {.from = *from, .to = *to, .data = data, .len = len};
    struct kh_stun_message message;

    answer.len = 0;
    if (!kh_relay_handle_datagram(relay, now, &datagram)) {
        assert_int_equal(kh_stun_parse(data, len, &message), KH_OK);
        assert_true(kh_relay_handle_message(relay, now, &datagram, &message, NULL));
    }
    drain();
}

static inline void pass_time(kh_duration duration)
{
    answer.len = 0;
    now += duration;
    while (kh_relay_timeout(relay) <= now) {
        kh_relay_handle_timeout(relay, now);
        drain();
    }
}

/* ---- requests ---- */

struct request {
    uint8_t data[1024];
    struct kh_stun_writer writer;
    struct kh_addr from;
    const char *username;
    const char *password;
};

static uint32_t request_number; /* makes every transaction id another one */

static struct request *begin(uint16_t method)
{
    static struct request request;
    uint8_t id[KH_STUN_ID_LEN] = {0};

    request_number++;
    memcpy(id, &request_number, sizeof request_number);
    request.from = alice;
    request.username = USERNAME;
    request.password = PASSWORD;
    request.writer = kh_stun_begin(request.data, sizeof request.data, KH_STUN_REQUEST, method, id);
    return &request;
}

static struct request *begin_allocate(void)
{
    struct request *request = begin(KH_STUN_ALLOCATE);

    kh_stun_add_u32(&request->writer, KH_STUN_REQUESTED_TRANSPORT, 17u << 24);
    return request;
}

/* Sends it as it is; returns the error code, 0 for success, 1 if there is no answer. */
static unsigned send_bare(struct request *request)
{
    size_t len = kh_stun_finish(&request->writer);
    unsigned code = 0;

    assert_true(len > 0);
    give(&request->from, &server, request->data, len);
    if (answer.len == 0)
        return 1;
    assert_true(kh_addr_equal(&answer.from, &server));
    assert_true(kh_addr_equal(&answer.to, &request->from));
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &got), KH_OK);
    assert_memory_equal(got.id, request->data + 8, KH_STUN_ID_LEN);
    if (got.class == KH_STUN_ERROR)
        assert_true(kh_stun_find_error(&got, &code, NULL));
    return code;
}

static struct kh_span span_of(const char *text)
{
    return (struct kh_span){text, strlen(text)};
}

static void add_credentials(struct request *request)
{
    uint8_t key[KH_MD5_LEN];

    kh_relay_make_nonce(relay, now, &request->from, nonce);
    kh_stun_add(&request->writer, KH_STUN_USERNAME, request->username, strlen(request->username));
    kh_stun_add(&request->writer, KH_STUN_REALM, REALM, strlen(REALM));
    kh_stun_add(&request->writer, KH_STUN_NONCE, nonce, sizeof nonce);
    kh_stun_long_term_key_md5(span_of(request->username), span_of(REALM),
                              span_of(request->password), key);
    kh_stun_add_integrity(&request->writer, (struct kh_span){key, sizeof key});
}

/* Sends it with credentials, and checks those of the answer. */
static unsigned send_signed(struct request *request)
{
    uint8_t key[KH_MD5_LEN];
    unsigned code;

    add_credentials(request);
    code = send_bare(request);
    if (answer.len == 0 || code == 401 || code == 438)
        return code;
    kh_stun_long_term_key_md5(span_of(request->username), span_of(REALM),
                              span_of(request->password), key);
    assert_true(kh_stun_check_integrity(&got, (struct kh_span){key, sizeof key}));
    return code;
}

static inline struct kh_addr allocate(void)
{
    struct kh_addr relayed;

    assert_int_equal(send_signed(begin_allocate()), 0);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_RELAYED_ADDRESS, &relayed));
    return relayed;
}

static inline void add_peer(struct request *request, const struct kh_addr *peer)
{
    kh_stun_add_addr(&request->writer, KH_STUN_XOR_PEER_ADDRESS, peer);
}

static inline unsigned permit(const struct kh_addr *peer)
{
    struct request *request = begin(KH_STUN_CREATE_PERMISSION);

    add_peer(request, peer);
    return send_signed(request);
}

static inline unsigned bind_channel(uint16_t number, const struct kh_addr *peer)
{
    struct request *request = begin(KH_STUN_CHANNEL_BIND);

    kh_stun_add_u32(&request->writer, KH_STUN_CHANNEL_NUMBER, (uint32_t)number << 16);
    add_peer(request, peer);
    return send_signed(request);
}

static inline unsigned refresh(uint32_t lifetime)
{
    struct request *request = begin(KH_STUN_REFRESH);

    kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, lifetime);
    return send_signed(request);
}

/* Sends data by a Send indication. */
static inline void indicate(const struct kh_addr *peer, const char *text)
{
    struct request *request = begin(KH_STUN_SEND);

    request->writer = kh_stun_begin(request->data, sizeof request->data, KH_STUN_INDICATION,
                                    KH_STUN_SEND, (const uint8_t *)"identity-abc");
    add_peer(request, peer);
    kh_stun_add(&request->writer, KH_STUN_DATA_ATTRIBUTE, text, strlen(text));
    give(&alice, &server, request->data, kh_stun_finish(&request->writer));
}

#endif
