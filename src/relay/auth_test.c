/* relay/auth_test.c - credentials and challenges as RFC 8489 section 9.2 has them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/client_test.h"

static void assert_challenged(unsigned code)
{
    struct kh_stun_attribute attribute;
    struct kh_stun_algorithm algorithm;
    unsigned given = 0;
    size_t at = 0;

    assert_true(kh_stun_find_error(&got, &given, NULL));
    assert_int_equal(given, code);
    assert_true(kh_stun_find(&got, KH_STUN_REALM, &attribute));
    assert_int_equal(attribute.len, strlen(REALM));
    assert_memory_equal(attribute.value, REALM, attribute.len);
    assert_true(kh_stun_find(&got, KH_STUN_NONCE, &attribute));
    assert_int_equal(attribute.len, KH_RELAY_NONCE_LEN);
    /* RFC 8489 9.2 and 18.1: the cookie and the bit for password algorithms */
    assert_memory_equal(attribute.value, "obMatJos2gAAA", 13);
    memcpy(nonce, attribute.value, sizeof nonce);
    assert_true(kh_stun_find(&got, KH_STUN_PASSWORD_ALGORITHMS, &attribute));
    assert_true(kh_stun_next_algorithm(&attribute, &at, &algorithm));
    assert_int_equal(algorithm.number, KH_STUN_ALGORITHM_SHA256);
    assert_true(kh_stun_next_algorithm(&attribute, &at, &algorithm));
    assert_int_equal(algorithm.number, KH_STUN_ALGORITHM_MD5);
    assert_int_equal(got.integrity_at, 0);
    assert_int_equal(got.integrity_sha256_at, 0);
}

static void bare_allocate_is_challenged_and_costs_nothing(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    assert_int_equal(send_bare(request), 401);
    assert_challenged(401);
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    assert_int_equal(kh_relay_timeout(relay), KH_NEVER);
}

/* Adds what the four arguments say, in RFC 8489's order. */
static void add_identity(struct request *request, const char *username, const char *used_nonce,
                         size_t nonce_len)
{
    if (username != NULL)
        kh_stun_add(&request->writer, KH_STUN_USERNAME, username, strlen(username));
    kh_stun_add(&request->writer, KH_STUN_REALM, REALM, strlen(REALM));
    if (used_nonce != NULL)
        kh_stun_add(&request->writer, KH_STUN_NONCE, used_nonce, nonce_len);
}

static void sign_md5(struct request *request)
{
    uint8_t key[KH_MD5_LEN];

    kh_stun_long_term_key_md5(span_of(USERNAME), span_of(REALM), span_of(PASSWORD), key);
    kh_stun_add_integrity(&request->writer, (struct kh_span){key, sizeof key});
}

static void challenge_can_be_met(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    assert_int_equal(send_bare(request), 401);
    assert_challenged(401);
    request = begin_allocate();
    add_identity(request, USERNAME, nonce, sizeof nonce);
    sign_md5(request);
    assert_int_equal(send_bare(request), 0);
}

static void what_is_missing_is_400(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    kh_relay_make_nonce(relay, now, &alice, nonce);
    add_identity(request, NULL, nonce, sizeof nonce);
    sign_md5(request);
    assert_int_equal(send_bare(request), 400);
    request = begin_allocate();
    add_identity(request, USERNAME, NULL, 0);
    sign_md5(request);
    assert_int_equal(send_bare(request), 400);
}

static void sign_sha256(struct request *request, struct kh_span *key, uint8_t *bytes)
{
    kh_stun_long_term_key_sha256(span_of(USERNAME), span_of(REALM), span_of(PASSWORD), bytes);
    *key = (struct kh_span){bytes, KH_SHA256_LEN};
    kh_stun_add_integrity_sha256(&request->writer, *key);
}

static void sha256_is_spoken(void **state)
{
    static const uint16_t ours[] = {KH_STUN_ALGORITHM_SHA256, KH_STUN_ALGORITHM_MD5};
    struct request *request = begin_allocate();
    uint8_t bytes[KH_SHA256_LEN];
    struct kh_span key;

    (void)state;
    kh_relay_make_nonce(relay, now, &alice, nonce);
    add_identity(request, USERNAME, nonce, sizeof nonce);
    kh_stun_add_algorithms(&request->writer, KH_STUN_PASSWORD_ALGORITHMS, ours, 2);
    kh_stun_add_algorithms(&request->writer, KH_STUN_PASSWORD_ALGORITHM, ours, 1);
    sign_sha256(request, &key, bytes);
    assert_int_equal(send_bare(request), 0);
    assert_int_equal(got.integrity_at, 0);
    assert_true(kh_stun_check_integrity_sha256(&got, key, KH_SHA256_LEN));
}

static const uint16_t altered_lists[][2] = {{2, 1}, {1, 2}, {1, 1}, {3, 1}};
static const struct {
    size_t list, list_len;
    uint16_t chosen; /* 0: none */
} altered[] = {{0, 2, 0}, {0, 0, 2}, {0, 1, 2}, {1, 2, 2}, {2, 2, 1}, {0, 2, 3}, {3, 2, 1}};

/* RFC 8489 9.2.4: whoever takes the better algorithm out of the list is found out. */
static void altered_algorithms_are_400(void **state)
{
    (void)state;
    kh_relay_make_nonce(relay, now, &alice, nonce);
    for (size_t i = 0; i < sizeof altered / sizeof *altered; i++) {
        struct request *request = begin_allocate();
        uint8_t bytes[KH_SHA256_LEN];
        struct kh_span key;

        add_identity(request, USERNAME, nonce, sizeof nonce);
        if (altered[i].list_len > 0)
            kh_stun_add_algorithms(&request->writer, KH_STUN_PASSWORD_ALGORITHMS,
                                   altered_lists[altered[i].list], altered[i].list_len);
        if (altered[i].chosen != 0)
            kh_stun_add_algorithms(&request->writer, KH_STUN_PASSWORD_ALGORITHM, &altered[i].chosen,
                                   1);
        sign_sha256(request, &key, bytes);
        assert_int_equal(send_bare(request), 400);
    }
}

static void wrong_password_gets_nothing(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    request->password = "wrong";
    assert_int_equal(send_signed(request), 401);
    assert_challenged(401);
    assert_int_equal(kh_relay_stats(relay).dropped_unauthentic, 1);
    allocate();
    request = begin(KH_STUN_REFRESH);
    request->password = "wrong";
    kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, 0);
    assert_int_equal(send_signed(request), 401);
    assert_int_equal(opened_count, 1);
}

static void expired_credentials_get_nothing_new(void **state)
{
    (void)state;
    kh_relay_set_wall_clock(relay, now, 2000000000u - 10);
    allocate();
    pass_time(KH_SECONDS(10));
    assert_int_equal(refresh(600), 0); /* what they got while they were good stays theirs */
    alice.port++;
    assert_int_equal(send_signed(begin_allocate()), 401);
}

static void nothing_is_valid_before_the_calendar_is_known(void **state)
{
    (void)state;
    kh_relay_set_wall_clock(relay, now, 0);
    assert_int_equal(send_signed(begin_allocate()), 401);
}

static void strange_usernames_get_nothing(void **state)
{
    static const char *const names[] = {"",
                                        "alice",
                                        ":alice",
                                        "2000000000x:alice",
                                        "-1:alice",
                                        "1899999999:alice",
                                        "99999999999999999999:alice"};

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct request *request = begin_allocate();

        request->username = names[i];
        assert_int_equal(send_signed(request), 401);
    }
    config.secret.len = 0;
    start_relay();
    assert_int_equal(send_signed(begin_allocate()), 401);
}

/* A name without an end is good as well: "EXPIRY" alone. */
static void username_may_be_the_expiry_alone(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    request->username = "2000000000";
    request->password = "rHOekxyNYYCZwlA474oxR+lT0Eg=";
    assert_int_equal(send_signed(request), 0);
}

static void owner_may_know_the_password(void **state)
{
    struct request *request = begin_allocate();
    struct kh_span password = span_of("swordfish");
    struct kh_datagram datagram = {.from = alice, .to = server, .data = request->data};
    struct kh_stun_message message;

    (void)state;
    request->username = "member";
    request->password = "swordfish";
    add_credentials(request);
    datagram.len = kh_stun_finish(&request->writer);
    assert_int_equal(kh_stun_parse(datagram.data, datagram.len, &message), KH_OK);
    answer.len = 0;
    kh_relay_handle_message(relay, now, &datagram, &message, &password);
    drain();
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &got), KH_OK);
    assert_int_equal(got.class, KH_STUN_SUCCESS);
}

/* A nonce is for one client, and for an hour. */
static void stolen_or_old_nonce_is_438(void **state)
{
    struct request *request;
    struct kh_addr thief = alice;

    (void)state;
    thief.port++;
    kh_relay_make_nonce(relay, now, &thief, nonce);
    request = begin_allocate();
    add_identity(request, USERNAME, nonce, sizeof nonce);
    sign_md5(request);
    assert_int_equal(send_bare(request), 438);
    assert_challenged(438);
    kh_relay_make_nonce(relay, now, &alice, nonce);
    pass_time(KH_SECONDS(3600));
    request = begin_allocate();
    add_identity(request, USERNAME, nonce, sizeof nonce);
    sign_md5(request);
    assert_int_equal(send_bare(request), 438);
    kh_relay_make_nonce(relay, now + KH_SECONDS(2), &alice, nonce); /* from what is to come */
    request = begin_allocate();
    add_identity(request, USERNAME, nonce, sizeof nonce);
    sign_md5(request);
    assert_int_equal(send_bare(request), 438);
}

/* Whoever saw them on the way has password, nonce and all, but not the address. */
static void recorded_requests_get_nothing_from_elsewhere(void **state)
{
    static const uint16_t methods[] = {KH_STUN_ALLOCATE, KH_STUN_CREATE_PERMISSION,
                                       KH_STUN_CHANNEL_BIND, KH_STUN_REFRESH};
    struct kh_addr thief = addr_of("198.51.100.7:5001"); /* the same NAT */

    (void)state;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        struct request *request = begin(methods[i]);
        unsigned code;

        if (methods[i] == KH_STUN_ALLOCATE)
            kh_stun_add_u32(&request->writer, KH_STUN_REQUESTED_TRANSPORT, 17u << 24);
        if (methods[i] == KH_STUN_CHANNEL_BIND)
            kh_stun_add_u32(&request->writer, KH_STUN_CHANNEL_NUMBER, 0x40010000);
        if (methods[i] == KH_STUN_CREATE_PERMISSION || methods[i] == KH_STUN_CHANNEL_BIND)
            add_peer(request, &bob);
        assert_int_equal(send_signed(request), 0);
        give(&thief, &server, request->data, kh_stun_finish(&request->writer));
        assert_true(answer.len > 0);
        assert_int_equal(kh_stun_parse(answer.data, answer.len, &got), KH_OK);
        assert_true(kh_stun_find_error(&got, &code, NULL));
        assert_int_equal(code, 438);
    }
    assert_int_equal(kh_relay_stats(relay).allocated, 1);
    assert_int_equal(opened_count, 1);
}

static void each_letter_of_the_nonce_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nonce; i++) {
        struct request *request = begin_allocate();

        kh_relay_make_nonce(relay, now, &alice, nonce);
        nonce[i] = nonce[i] == 'A' ? 'B' : 'A';
        add_identity(request, USERNAME, nonce, sizeof nonce);
        sign_md5(request);
        assert_int_equal(send_bare(request), 438);
    }
}

/* RFC 8656 5: the user of an allocation may not change. */
static void other_user_on_the_allocation_is_441(void **state)
{
    struct request *request;

    (void)state;
    allocate();
    request = begin(KH_STUN_REFRESH);
    request->username = "2000000000";
    request->password = "rHOekxyNYYCZwlA474oxR+lT0Eg=";
    kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, 0);
    assert_int_equal(send_signed(request), 441);
    assert_int_equal(opened_count, 1);
}

static void requests_without_allocation_are_challenged_first(void **state)
{
    static const uint16_t methods[] = {KH_STUN_REFRESH, KH_STUN_CREATE_PERMISSION,
                                       KH_STUN_CHANNEL_BIND};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(send_bare(begin(methods[i])), 401);
        assert_int_equal(send_signed(begin(methods[i])), 437);
    }
}

/* Answers longer than their requests have a rate; those that are not have none. */
static void challenges_of_a_prefix_have_a_rate(void **state)
{
    static const uint8_t padding[80];
    struct request *request;
    size_t answered = 0;

    (void)state;
    config.challenges_per_second = 4;
    start_relay();
    for (int i = 0; i < 100; i++)
        answered += send_bare(begin_allocate()) == 401;
    assert_int_equal(answered, 32);
    assert_int_equal(kh_relay_stats(relay).dropped_limited, 68);
    request = begin_allocate();
    kh_stun_add(&request->writer, KH_STUN_SOFTWARE, padding, sizeof padding);
    assert_int_equal(send_bare(request), 401);
    assert_true(answer.len <= request->writer.bytes.len);
    alice.ip[2]++;
    assert_int_equal(send_bare(begin_allocate()), 401);
    alice.ip[2]--;
    pass_time(KH_SECONDS(1));
    answered = 0;
    for (int i = 0; i < 10; i++)
        answered += send_bare(begin_allocate()) == 401;
    assert_int_equal(answered, 4);
}

static void challenge_is_as_short_as_it_can_be(void **state)
{
    (void)state;
    config.realm = NULL;
    start_relay();
    assert_int_equal(send_bare(begin_allocate()), 401);
    assert_int_equal(answer.len, 84);
}

static void responses_and_other_methods(void **state)
{
    uint8_t data[KH_STUN_HEADER_LEN];
    struct kh_datagram datagram = {.from = alice, .to = server, .data = data, .len = sizeof data};
    struct kh_stun_writer writer;
    struct kh_stun_message message;

    (void)state;
    writer = kh_stun_begin(data, sizeof data, KH_STUN_SUCCESS, KH_STUN_ALLOCATE,
                           (const uint8_t *)"identity-abc");
    give(&alice, &server, data, kh_stun_finish(&writer));
    assert_int_equal(answer.len, 0);
    assert_int_equal(kh_relay_stats(relay).dropped_malformed, 1);
    writer = kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING,
                           (const uint8_t *)"identity-abc");
    assert_int_equal(kh_stun_finish(&writer), sizeof data);
    assert_int_equal(kh_stun_parse(data, sizeof data, &message), KH_OK);
    assert_false(kh_relay_handle_message(relay, now, &datagram, &message, NULL));
    assert_false(kh_relay_handle_datagram(relay, now, &datagram));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(bare_allocate_is_challenged_and_costs_nothing),
        TEST(challenge_can_be_met),
        TEST(what_is_missing_is_400),
        TEST(sha256_is_spoken),
        TEST(altered_algorithms_are_400),
        TEST(wrong_password_gets_nothing),
        TEST(expired_credentials_get_nothing_new),
        TEST(nothing_is_valid_before_the_calendar_is_known),
        TEST(strange_usernames_get_nothing),
        TEST(username_may_be_the_expiry_alone),
        TEST(owner_may_know_the_password),
        TEST(stolen_or_old_nonce_is_438),
        TEST(recorded_requests_get_nothing_from_elsewhere),
        TEST(each_letter_of_the_nonce_counts),
        TEST(other_user_on_the_allocation_is_441),
        TEST(requests_without_allocation_are_challenged_first),
        TEST(challenges_of_a_prefix_have_a_rate),
        TEST(challenge_is_as_short_as_it_can_be),
        TEST(responses_and_other_methods),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
