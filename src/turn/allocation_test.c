/* turn/allocation_test.c - an allocation is asked for, proved for, refreshed and given back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/wire_test.h"

static const struct kh_turn_config defaults;

static void expect_text(const struct kh_stun_message *message, uint16_t type, const char *text)
{
    struct kh_stun_attribute attribute;

    assert_true(kh_stun_find(message, type, &attribute));
    assert_int_equal(attribute.len, strlen(text));
    assert_memory_equal(attribute.value, text, attribute.len);
}

/* RFC 8656 7.1, RFC 8489 9.2.3.1: the first request carries no credentials. */
static void answers_the_401_with_what_it_asks(void **state)
{
    struct wire wire;
    struct kh_stun_message first, second;
    struct kh_turn_request request;
    struct kh_stun_attribute attribute;
    uint32_t transport;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    allocate(&wire, &request);
    assert_int_equal(wire.sent_count, 1);
    first = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_false(kh_stun_find(&first, KH_STUN_USERNAME, &attribute));
    assert_int_equal(first.integrity_at, 0);
    assert_true(kh_stun_find_u32(&first, KH_STUN_REQUESTED_TRANSPORT, &transport));
    assert_int_equal(transport, 17u << 24);

    challenge(&wire, &first, 401, "nonce 1");
    assert_int_equal(wire.sent_count, 1);
    second = request_at(&wire, 0, KH_STUN_ALLOCATE);
    expect_text(&second, KH_STUN_USERNAME, USERNAME);
    expect_text(&second, KH_STUN_REALM, REALM);
    expect_text(&second, KH_STUN_NONCE, "nonce 1");
    assert_true(kh_stun_check_integrity(&second, md5_key()));

    grant(&wire, &second, md5_key());
    assert_int_equal(wire.event_count, 1);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_ALLOCATED);
    assert_true(kh_addr_equal(&wire.events[0].allocated.relayed4, &wire.relayed));
    assert_true(kh_addr_is_none(&wire.events[0].allocated.relayed6));
    assert_true(kh_addr_equal(&wire.events[0].allocated.mapped, &wire.local));
    assert_true(wire.events[0].allocated.lifetime == KH_SECONDS(600));
    assert_true(kh_turn_client_is_relayed(wire.client, &wire.relayed));
    assert_int_equal(kh_turn_client_stats(wire.client).challenges, 1);
    kh_turn_client_free(wire.client);
}

static void needs_no_401_when_realm_and_nonce_are_known(void **state)
{
    struct wire wire;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    assert_int_equal(kh_turn_client_stats(wire.client).challenges, 0);
    kh_turn_client_free(wire.client);
}

/* A preset nonce may be of a server's former life: one 401 is answered, a second is final. */
static void takes_a_second_401_as_wrong_password(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.realm = text_span("elsewhere");
    request.nonce = text_span("old");
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    challenge(&wire, &message, 401, "nonce 1");
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    expect_text(&message, KH_STUN_REALM, REALM);
    challenge(&wire, &message, 401, "nonce 2");
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(wire.event_count, 1);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_FAILED);
    assert_int_equal(wire.events[0].code, 401);
    assert_int_equal(kh_turn_client_state(wire.client), KH_TURN_IDLE);
    kh_turn_client_free(wire.client);
}

/* RFC 8489 9.2.5: a stale nonce asks for the same with the new one, under a new id. */
static void follows_a_stale_nonce(void **state)
{
    struct wire wire;
    struct kh_stun_message old, new;
    uint8_t id[KH_STUN_ID_LEN];

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_probe(wire.client, wire.now);
    drain(&wire);
    old = request_at(&wire, 0, KH_STUN_REFRESH);
    memcpy(id, old.id, sizeof id);
    challenge(&wire, &old, 438, "nonce 2");
    new = request_at(&wire, 0, KH_STUN_REFRESH);
    expect_text(&new, KH_STUN_NONCE, "nonce 2");
    assert_memory_not_equal(id, new.id, sizeof id);
    answer_plainly(&wire, &new, 0);
    assert_int_equal(wire.event_count, 0);
    assert_int_equal(kh_turn_client_state(wire.client), KH_TURN_ALLOCATED);
    kh_turn_client_free(wire.client);
}

/* A server whose nonces are always stale is not asked for ever. */
static void gives_up_after_a_few_stale_nonces(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    unsigned asked = 0;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    allocate(&wire, &request);
    while (wire.sent_count > 0) {
        struct kh_stun_message message = request_at(&wire, 0, KH_STUN_ALLOCATE);

        challenge(&wire, &message, 438, "nonce 2");
        asked++;
    }
    assert_int_equal(asked, 5);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_FAILED);
    assert_int_equal(wire.events[0].code, 438);
    kh_turn_client_free(wire.client);
}

static void offer(struct wire *wire, const struct kh_stun_message *request, const char *nonce,
                  bool with_list)
{
    static const uint16_t numbers[] = {KH_STUN_ALGORITHM_MD5, KH_STUN_ALGORITHM_SHA256};
    struct answer answer;

    answer_begin(&answer, request, 401);
    kh_stun_add(&answer.writer, KH_STUN_REALM, REALM, strlen(REALM));
    kh_stun_add(&answer.writer, KH_STUN_NONCE, nonce, strlen(nonce));
    if (with_list)
        kh_stun_add_algorithms(&answer.writer, KH_STUN_PASSWORD_ALGORITHMS, numbers, 2);
    answer_send(wire, &answer, no_key);
}

#define COOKIE_NONCE "obMatJos2AAAB and more"

/* RFC 8489 9.2.3.2 and 9.2.5: the better algorithm, its number, and the list as it came. */
static void proves_with_sha256_where_it_is_offered(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    struct kh_stun_attribute attribute;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    offer(&wire, &message, COOKIE_NONCE, true);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_true(kh_stun_check_integrity_sha256(&message, sha256_key(), KH_SHA256_LEN));
    assert_int_equal(message.integrity_at, 0);
    assert_true(kh_stun_find(&message, KH_STUN_PASSWORD_ALGORITHM, &attribute));
    assert_memory_equal(attribute.value, "\0\2\0\0", 4);
    assert_true(kh_stun_find(&message, KH_STUN_PASSWORD_ALGORITHMS, &attribute));
    assert_int_equal(attribute.len, 8);
    assert_memory_equal(attribute.value, "\0\1\0\0\0\2\0\0", 8);

    grant(&wire, &message, md5_key()); /* the weaker integrity is none */
    assert_int_equal(wire.event_count, 0);
    grant(&wire, &message, sha256_key());
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_ALLOCATED);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unauthentic, 1);
    kh_turn_client_free(wire.client);
}

static void proves_with_sha256_from_the_start_when_preset(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.realm = text_span(REALM);
    request.nonce = text_span(COOKIE_NONCE);
    request.algorithms[0] = KH_STUN_ALGORITHM_SHA256;
    request.algorithm_count = 1;
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_true(kh_stun_check_integrity_sha256(&message, sha256_key(), KH_SHA256_LEN));
    kh_turn_client_free(wire.client);
}

/* RFC 8489 9.2.1: the nonce says there is a list, so somebody took it out. */
static void ignores_a_downgrade(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    offer(&wire, &message, COOKIE_NONCE, false);
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unauthentic, 1);
    offer(&wire, &message, COOKIE_NONCE, true); /* the true answer is still waited for */
    assert_int_equal(wire.sent_count, 1);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    challenge(&wire, &message, 438, "no cookie"); /* nor is one believed later */
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unauthentic, 2);
    kh_turn_client_free(wire.client);
}

static void believes_no_answer_without_integrity(void **state)
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
    grant(&wire, &message, no_key);
    grant(&wire, &message, (struct kh_span){"sixteen bytes ok", 16});
    answer_begin(&answer, &message, 486);
    answer_send(&wire, &answer, no_key);
    assert_int_equal(wire.event_count, 0);
    assert_int_equal(kh_turn_client_stats(wire.client).dropped_unauthentic, 3);
    grant(&wire, &message, md5_key());
    assert_int_equal(wire.event_count, 1);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 7.4 */
static void tells_why_it_was_refused(void **state)
{
    static const struct {
        unsigned code;
        enum kh_turn_event_kind kind;
    } cases[] = {{441, KH_TURN_EVENT_FAILED}, {442, KH_TURN_EVENT_FAILED},
                 {440, KH_TURN_EVENT_FAILED}, {486, KH_TURN_EVENT_FAILED},
                 {508, KH_TURN_EVENT_FAILED}, {300, KH_TURN_EVENT_FAILED} /* without an address */};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wire wire;
        struct kh_turn_request request;
        struct kh_stun_message message;

        setup(&wire, &defaults);
        request = request_of(&wire);
        request.realm = text_span(REALM);
        request.nonce = text_span("nonce 1");
        allocate(&wire, &request);
        message = request_at(&wire, 0, KH_STUN_ALLOCATE);
        answer_plainly(&wire, &message, cases[i].code);
        assert_int_equal(wire.event_count, 1);
        assert_int_equal(wire.events[0].kind, cases[i].kind);
        assert_int_equal(wire.events[0].code, cases[i].code);
        assert_true(kh_turn_client_timeout(wire.client) == KH_NEVER);
        allocate(&wire, &request); /* and it may be tried again */
        assert_int_equal(wire.sent_count, 1);
        kh_turn_client_free(wire.client);
    }
}

/* RFC 8656 7.4, and a little more: the allocation in the way may be our own. */
static void clears_its_own_allocation_out_of_the_way(void **state)
{
    static const unsigned answers[] = {0, 441};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct wire wire;
        struct kh_turn_request request;
        struct kh_stun_message message;
        uint32_t lifetime = 1;

        setup(&wire, &defaults);
        request = request_of(&wire);
        request.realm = text_span(REALM);
        request.nonce = text_span("nonce 1");
        allocate(&wire, &request);
        message = request_at(&wire, 0, KH_STUN_ALLOCATE);
        answer_plainly(&wire, &message, 437);
        assert_int_equal(wire.event_count, 0);
        message = request_at(&wire, 0, KH_STUN_REFRESH);
        assert_true(kh_stun_find_u32(&message, KH_STUN_LIFETIME, &lifetime));
        assert_int_equal(lifetime, 0);
        answer_plainly(&wire, &message, answers[i]);
        message = request_at(&wire, 0, KH_STUN_ALLOCATE);
        if (answers[i] == 0) {
            grant(&wire, &message, md5_key());
            assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_ALLOCATED);
        } else {
            answer_plainly(&wire, &message, 437); /* it was another's */
            assert_int_equal(wire.event_count, 1);
            assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_MISMATCH);
            assert_int_equal(wire.events[0].code, 437);
        }
        kh_turn_client_free(wire.client);
    }
}

static void tells_of_another_server(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    struct kh_addr other = kh_addr_ipv4(192, 0, 2, 2, 3478);
    struct answer answer;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    answer_begin(&answer, &message, 300);
    kh_stun_add_addr(&answer.writer, KH_STUN_ALTERNATE_SERVER, &other);
    answer_send(&wire, &answer, md5_key());
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_ALTERNATE);
    assert_true(kh_addr_equal(&wire.events[0].addr, &other));
    kh_turn_client_free(wire.client);
}

/* RFC 8656 7.1 and 18.11 */
static void asks_for_both_families(void **state)
{
    static const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    struct kh_addr relayed6 = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 50001);
    struct answer answer;
    uint32_t family;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.families = KH_TURN_BOTH;
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_true(kh_stun_find_u32(&message, KH_STUN_ADDITIONAL_ADDRESS_FAMILY, &family));
    assert_int_equal(family, 2u << 24);
    assert_false(kh_stun_find_u32(&message, KH_STUN_REQUESTED_ADDRESS_FAMILY, &family));
    answer_begin(&answer, &message, 0);
    kh_stun_add_addr(&answer.writer, KH_STUN_XOR_RELAYED_ADDRESS, &relayed6);
    kh_stun_add_addr(&answer.writer, KH_STUN_XOR_RELAYED_ADDRESS, &wire.relayed);
    answer_send(&wire, &answer, md5_key());
    assert_true(kh_addr_equal(&wire.events[0].allocated.relayed4, &wire.relayed));
    assert_true(kh_addr_equal(&wire.events[0].allocated.relayed6, &relayed6));
    assert_true(wire.events[0].allocated.lifetime == KH_SECONDS(600)); /* RFC 8656 3.2 */
    assert_true(kh_turn_client_is_relayed(wire.client, &relayed6));
    kh_turn_client_free(wire.client);
}

static void takes_no_address_of_a_family_not_asked_for(void **state)
{
    struct wire wire;
    struct kh_turn_request request;
    struct kh_stun_message message;
    uint32_t family;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.families = KH_TURN_IPV6;
    request.realm = text_span(REALM);
    request.nonce = text_span("nonce 1");
    allocate(&wire, &request);
    message = request_at(&wire, 0, KH_STUN_ALLOCATE);
    assert_true(kh_stun_find_u32(&message, KH_STUN_REQUESTED_ADDRESS_FAMILY, &family));
    assert_int_equal(family, 2u << 24);
    grant(&wire, &message, md5_key()); /* an IPv4 address */
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_FAILED);
    assert_int_equal(wire.events[0].code, 0);
    kh_turn_client_free(wire.client);
}

/* RFC 8489 6.2.1: seven times within 39.5 s, then it is over. */
static void fails_when_nobody_answers(void **state)
{
    static const unsigned at_ms[] = {500, 1500, 3500, 7500, 15500, 31500, 39500};
    struct wire wire;
    struct kh_turn_request request;
    kh_time start;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    allocate(&wire, &request);
    start = wire.now;
    for (size_t i = 0; i < 7; i++) {
        assert_true(kh_turn_client_timeout(wire.client) == start + KH_MILLISECONDS(at_ms[i]));
        wire.now = start + KH_MILLISECONDS(at_ms[i]) - 1;
        pass(&wire, 0);
        assert_int_equal(wire.sent_count + wire.event_count, 0);
        pass(&wire, 1);
        assert_int_equal(wire.sent_count, i < 6 ? 1 : 0);
    }
    assert_int_equal(wire.event_count, 1);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_FAILED);
    assert_int_equal(wire.events[0].code, 0);
    assert_true(kh_turn_client_timeout(wire.client) == KH_NEVER);
    kh_turn_client_free(wire.client);
}

/* RFC 8489 6.2.2: a stream repeats nothing, and waits as long. */
static void sends_once_over_a_stream(void **state)
{
    struct wire wire;
    struct kh_turn_request request;

    (void)state;
    setup(&wire, &defaults);
    wire.server.transport = KH_TCP;
    wire.local.transport = KH_TCP;
    request = request_of(&wire);
    allocate(&wire, &request);
    assert_true(kh_turn_client_timeout(wire.client) == wire.now + KH_MILLISECONDS(39500));
    pass(&wire, KH_MILLISECONDS(39500));
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_FAILED);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 8: in good time, and the answer's lifetime counts. */
static void refreshes_before_it_expires(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    struct answer answer;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    for (unsigned i = 0; i < 24; i++) {
        pass(&wire, KH_SECONDS(20)); /* the way is kept open meanwhile */
        assert_int_equal(wire.sent_count, 1);
    }
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    assert_true(kh_stun_check_integrity(&message, md5_key()));
    answer_begin(&answer, &message, 0);
    kh_stun_add_u32(&answer.writer, KH_STUN_LIFETIME, 100);
    answer_send(&wire, &answer, md5_key());
    for (unsigned i = 0; i < 4; i++)
        pass(&wire, KH_SECONDS(20));
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    kh_turn_client_free(wire.client);
}

static void breaks_its_silence_every_twenty_seconds(void **state)
{
    struct wire wire;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    pass(&wire, KH_SECONDS(20));
    assert_int_equal(wire.sent_count, 1);
    assert_int_equal(kh_stun_parse(wire.sent[0].data, wire.sent[0].len, &message), KH_OK);
    assert_int_equal(message.class, KH_STUN_INDICATION);
    assert_int_equal(message.method, KH_STUN_BINDING);
    pass(&wire, KH_SECONDS(10));
    send_text(&wire, &wire.peer, "not silent");
    pass(&wire, KH_SECONDS(10));
    for (size_t i = 0; i < wire.sent_count; i++) {
        assert_int_equal(kh_stun_parse(wire.sent[i].data, wire.sent[i].len, &message), KH_OK);
        assert_int_not_equal(message.method, KH_STUN_BINDING);
    }
    kh_turn_client_free(wire.client);
}

static void is_lost_when_the_server_forgot_it(void **state)
{
    struct wire wire;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_probe(wire.client, wire.now);
    drain(&wire);
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    answer_plainly(&wire, &message, 437);
    assert_int_equal(wire.event_count, 1);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_LOST);
    assert_int_equal(wire.events[0].code, 437);
    assert_false(kh_turn_client_is_relayed(wire.client, &wire.relayed));
    assert_true(kh_turn_client_timeout(wire.client) == KH_NEVER);
    kh_turn_client_free(wire.client);
}

/* After a minute of silence requests are far apart: a server that is back should not wait. */
static void asks_again_at_once_when_probed_in_a_long_wait(void **state)
{
    struct wire wire;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_probe(wire.client, wire.now);
    drain(&wire);
    assert_int_equal(wire.sent_count, 1);
    kh_turn_client_probe(wire.client, wire.now);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0); /* its answer is under way */
    for (unsigned i = 0; i < 4; i++)
        pass(&wire, kh_turn_client_timeout(wire.client) - wire.now);
    kh_turn_client_probe(wire.client, wire.now);
    drain(&wire);
    (void)request_at(&wire, 0, KH_STUN_REFRESH);
    assert_int_equal(kh_turn_client_timeout(wire.client) - wire.now, KH_MILLISECONDS(500));
    kh_turn_client_free(wire.client);
}

static void is_lost_at_its_end_when_the_server_is_silent(void **state)
{
    struct wire wire;
    kh_time start;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    start = wire.now;
    for (unsigned i = 0; i < 1000 && kh_turn_client_state(wire.client) != KH_TURN_IDLE; i++)
        pass(&wire, kh_turn_client_timeout(wire.client) - wire.now);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_LOST);
    assert_true(wire.now == start + KH_SECONDS(600));
    kh_turn_client_free(wire.client);
}

static void survives_a_refresh_that_met_trouble(void **state)
{
    struct wire wire;
    struct kh_stun_message message;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_probe(wire.client, wire.now);
    drain(&wire);
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    answer_plainly(&wire, &message, 500);
    assert_int_equal(wire.event_count, 0);
    pass(&wire, KH_SECONDS(10));
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    kh_turn_client_free(wire.client);
}

/* RFC 8656 8.1: a lifetime of zero. */
static void gives_it_back(void **state)
{
    struct wire wire;
    struct kh_stun_message message;
    uint32_t lifetime = 1;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_release(wire.client, wire.now);
    drain(&wire);
    message = request_at(&wire, 0, KH_STUN_REFRESH);
    assert_true(kh_stun_find_u32(&message, KH_STUN_LIFETIME, &lifetime));
    assert_int_equal(lifetime, 0);
    assert_false(kh_turn_client_is_relayed(wire.client, &wire.relayed));
    send_text(&wire, &wire.peer, "too late");
    assert_int_equal(wire.sent_count, 0);
    answer_plainly(&wire, &message, 0);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_RELEASED);
    kh_turn_client_free(wire.client);
}

/* The way to the server changed: the old allocation gets a goodbye that nobody waits for. */
static void abandons_for_another_way(void **state)
{
    struct wire wire;
    struct kh_stun_message goodbye;
    uint32_t lifetime;

    (void)state;
    setup(&wire, &defaults);
    have_allocation(&wire);
    kh_turn_client_abandon(wire.client, wire.now, true);
    drain(&wire);
    assert_int_equal(wire.event_count, 0);
    assert_int_equal(wire.sent_count, 1);
    goodbye = request_at(&wire, 0, KH_STUN_REFRESH);
    assert_true(kh_stun_find_u32(&goodbye, KH_STUN_LIFETIME, &lifetime));
    assert_int_equal(lifetime, 0);
    assert_true(kh_stun_check_integrity(&goodbye, md5_key()));
    assert_int_equal(kh_turn_client_state(wire.client), KH_TURN_IDLE);
    assert_false(kh_turn_client_is_relayed(wire.client, &wire.relayed));
    assert_true(kh_turn_client_timeout(wire.client) == KH_NEVER);

    wire.server.transport = wire.local.transport = KH_TCP;
    have_allocation(&wire);
    kh_turn_client_abandon(wire.client, wire.now, false);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_state(wire.client), KH_TURN_IDLE);
    kh_turn_client_free(wire.client);
}

/* Without credentials only a 401 can have been made, and without a request not even that. */
static void abandons_what_was_never_there(void **state)
{
    struct wire wire;
    struct kh_turn_request request;

    (void)state;
    setup(&wire, &defaults);
    kh_turn_client_abandon(wire.client, wire.now, true);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0);
    request = request_of(&wire);
    allocate(&wire, &request);
    kh_turn_client_abandon(wire.client, wire.now, true);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0);
    assert_int_equal(kh_turn_client_state(wire.client), KH_TURN_IDLE);
    kh_turn_client_free(wire.client);
}

static void releases_what_was_never_there(void **state)
{
    struct wire wire;
    struct kh_turn_request request;

    (void)state;
    setup(&wire, &defaults);
    kh_turn_client_release(wire.client, wire.now);
    drain(&wire);
    assert_int_equal(wire.sent_count + wire.event_count, 0);
    request = request_of(&wire);
    allocate(&wire, &request);
    kh_turn_client_release(wire.client, wire.now);
    drain(&wire);
    assert_int_equal(wire.events[0].kind, KH_TURN_EVENT_RELEASED);
    assert_int_equal(wire.sent_count, 0);
    kh_turn_client_free(wire.client);
}

static void refuses_credentials_that_do_not_fit(void **state)
{
    static const char letters[256];
    struct wire wire;
    struct kh_turn_request request;

    (void)state;
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.username.len = 0;
    assert_int_equal(kh_turn_client_allocate(wire.client, wire.now, &request), KH_ERR_FORMAT);
    request = request_of(&wire);
    request.password = (struct kh_span){letters, sizeof letters};
    assert_int_equal(kh_turn_client_allocate(wire.client, wire.now, &request), KH_ERR_FORMAT);
    request = request_of(&wire);
    request.nonce = text_span("without a realm");
    assert_int_equal(kh_turn_client_allocate(wire.client, wire.now, &request), KH_ERR_FORMAT);
    drain(&wire);
    assert_int_equal(wire.sent_count, 0);
    kh_turn_client_free(wire.client);
}

/* The largest request of all: every text as long as may be. */
static void fits_the_longest_credentials_into_one_datagram(void **state)
{
    static uint8_t letters[KH_TURN_NONCE_MAX];
    struct wire wire;
    struct kh_turn_request request;

    (void)state;
    memset(letters, 'x', sizeof letters);
    setup(&wire, &defaults);
    request = request_of(&wire);
    request.families = KH_TURN_BOTH;
    request.username = request.realm = request.nonce = (struct kh_span){letters, sizeof letters};
    for (size_t i = 0; i < KH_TURN_ALGORITHMS_MAX; i++)
        request.algorithms[i] = KH_STUN_ALGORITHM_SHA256;
    request.algorithm_count = KH_TURN_ALGORITHMS_MAX;
    allocate(&wire, &request);
    (void)request_at(&wire, 0, KH_STUN_ALLOCATE);
    kh_turn_client_free(wire.client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_the_401_with_what_it_asks),
        cmocka_unit_test(needs_no_401_when_realm_and_nonce_are_known),
        cmocka_unit_test(takes_a_second_401_as_wrong_password),
        cmocka_unit_test(follows_a_stale_nonce),
        cmocka_unit_test(gives_up_after_a_few_stale_nonces),
        cmocka_unit_test(proves_with_sha256_where_it_is_offered),
        cmocka_unit_test(proves_with_sha256_from_the_start_when_preset),
        cmocka_unit_test(ignores_a_downgrade),
        cmocka_unit_test(believes_no_answer_without_integrity),
        cmocka_unit_test(tells_why_it_was_refused),
        cmocka_unit_test(clears_its_own_allocation_out_of_the_way),
        cmocka_unit_test(tells_of_another_server),
        cmocka_unit_test(asks_for_both_families),
        cmocka_unit_test(takes_no_address_of_a_family_not_asked_for),
        cmocka_unit_test(fails_when_nobody_answers),
        cmocka_unit_test(sends_once_over_a_stream),
        cmocka_unit_test(refreshes_before_it_expires),
        cmocka_unit_test(breaks_its_silence_every_twenty_seconds),
        cmocka_unit_test(is_lost_when_the_server_forgot_it),
        cmocka_unit_test(is_lost_at_its_end_when_the_server_is_silent),
        cmocka_unit_test(survives_a_refresh_that_met_trouble),
        cmocka_unit_test(gives_it_back),
        cmocka_unit_test(releases_what_was_never_there),
        cmocka_unit_test(abandons_for_another_way),
        cmocka_unit_test(abandons_what_was_never_there),
        cmocka_unit_test(asks_again_at_once_when_probed_in_a_long_wait),
        cmocka_unit_test(refuses_credentials_that_do_not_fit),
        cmocka_unit_test(fits_the_longest_credentials_into_one_datagram),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
