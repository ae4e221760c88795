/* hub/hub_test.c - what a server's port answers, and to whom it is silent.
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

static const uint8_t transaction[KH_STUN_ID_LEN] = "transaction";

static struct kh_hub *hub;
static struct kh_addr client, client6, server;

static int set_up(void **state)
{
    static const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
    struct kh_hub_config config = {.seed = {1}, .software = "Knothole"};

    (void)state;
    config.registry.members_max = 10;
    client = kh_addr_ipv4(192, 0, 2, 1, 5000);
    client6 = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 5000);
    server = kh_addr_ipv4(203, 0, 113, 1, 3478);
    return kh_hub_new(&hub, &config) == KH_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kh_hub_free(hub);
    return 0;
}

/* Gives the hub these bytes; returns the length of its one answer, 0 if it is silent. */
static size_t ask(const struct kh_addr *from, const void *data, size_t len, uint8_t *answer)
{
    struct kh_datagram datagram = {.from = *from, .to = server, .data = data, .len = len};
    struct kh_datagram out;
    size_t answer_len;

    kh_hub_handle_datagram(hub, KH_SECONDS(1), &datagram);
    if (!kh_hub_next_transmit(hub, &out))
        return 0;
    assert_true(kh_addr_equal(&out.from, &server));
    assert_true(kh_addr_equal(&out.to, from));
    memcpy(answer, out.data, out.len);
    answer_len = out.len;
    assert_false(kh_hub_next_transmit(hub, &out));
    return answer_len;
}

static void assert_greeted(const char *question, const char *expected)
{
    uint8_t answer[KH_DATAGRAM_MAX];
    size_t len = ask(&client, question, strlen(question), answer);

    assert_int_equal(len, strlen(expected));
    assert_memory_equal(answer, expected, len);
}

static void greeting_is_returned_in_kind(void **state)
{
    (void)state;
    assert_greeted("Hi!", "HI!");
    assert_greeted("Hi!\n", "HI!\n");
    assert_greeted("Hi!\r\n", "HI!\r\n");
    assert_int_equal(kh_hub_stats(hub).greetings, 3);
}

static void everything_else_is_dropped(void **state)
{
    static const char *const strange[] = {"Hi",           "hi!",
                                          "HI!",          "Hi!\r",
                                          "Hi! there",    "GET / HTTP/1.1",
                                          "\x16\xfe\xfd", "\x40\x01\x00\x04tail"};
    uint8_t answer[KH_DATAGRAM_MAX];
    size_t count = sizeof strange / sizeof strange[0];

    (void)state;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ask(&client, strange[i], strlen(strange[i]), answer), 0);
    assert_int_equal(ask(&client, "", 0, answer), 0);
    assert_int_equal(kh_hub_stats(hub).dropped_malformed, count + 1);
}

static size_t binding(uint8_t *data, enum kh_stun_class class, size_t padding, bool fingerprint)
{
    static const uint8_t zeros[64];
    struct kh_stun_writer writer =
        kh_stun_begin(data, KH_DATAGRAM_MAX, class, KH_STUN_BINDING, transaction);

    if (padding > 0)
        kh_stun_add(&writer, KH_STUN_SOFTWARE, zeros, padding);
    if (fingerprint)
        kh_stun_add_fingerprint(&writer);
    return kh_stun_finish(&writer);
}

static void assert_binding(const struct kh_addr *from, size_t padding, bool fingerprint,
                           size_t expected_len)
{
    uint8_t data[KH_DATAGRAM_MAX], answer[KH_DATAGRAM_MAX];
    size_t len = binding(data, KH_STUN_REQUEST, padding, fingerprint);
    struct kh_stun_message message;
    struct kh_addr mapped;

    len = ask(from, data, len, answer);
    assert_int_equal(len, expected_len);
    assert_int_equal(kh_stun_parse(answer, len, &message), KH_OK);
    assert_int_equal(message.class, KH_STUN_SUCCESS);
    assert_int_equal(message.method, KH_STUN_BINDING);
    assert_memory_equal(message.id, transaction, sizeof transaction);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped));
    assert_true(kh_addr_equal(&mapped, from));
    assert_int_equal(message.has_fingerprint, fingerprint);
}

static void binding_tells_the_mapped_address_in_the_fewest_bytes(void **state)
{
    (void)state;
    assert_binding(&client, 0, false, 32);
    assert_binding(&client6, 0, false, 44);
    assert_binding(&client, 0, true, 40);
    assert_int_equal(kh_hub_stats(hub).bindings, 3);
}

static void software_is_told_where_the_request_paid_for_it(void **state)
{
    (void)state;
    assert_binding(&client, 16, false, 32);
    assert_binding(&client, 20, false, 44);
    assert_binding(&client, 20, true, 52);
}

static void rfc8489_6_3_2_indications_and_answers_are_not_answered(void **state)
{
    uint8_t data[KH_DATAGRAM_MAX], answer[KH_DATAGRAM_MAX];

    (void)state;
    assert_int_equal(ask(&client, data, binding(data, KH_STUN_INDICATION, 0, true), answer), 0);
    assert_int_equal(kh_hub_stats(hub).dropped_malformed, 0);
    assert_int_equal(ask(&client, data, binding(data, KH_STUN_SUCCESS, 0, true), answer), 0);
    assert_int_equal(ask(&client, data, binding(data, KH_STUN_ERROR, 0, true), answer), 0);
    assert_int_equal(kh_hub_stats(hub).dropped_malformed, 2);
}

static void rfc8489_6_3_1_unknown_attributes_are_named(void **state)
{
    uint8_t data[KH_DATAGRAM_MAX], answer[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING, transaction);
    struct kh_stun_message message;
    struct kh_stun_attribute unknown;
    unsigned code;
    size_t len;

    (void)state;
    kh_stun_add_u32(&writer, 0x7abc, 0);
    len = ask(&client, data, kh_stun_finish(&writer), answer);
    assert_int_equal(kh_stun_parse(answer, len, &message), KH_OK);
    assert_int_equal(message.class, KH_STUN_ERROR);
    assert_true(kh_stun_find_error(&message, &code, NULL));
    assert_int_equal(code, 420);
    assert_true(kh_stun_find(&message, KH_STUN_UNKNOWN_ATTRIBUTES, &unknown));
    assert_int_equal(unknown.len, 2);
    assert_memory_equal(unknown.value, "\x7a\xbc", 2);
}

static void methods_of_nobody_here_are_dropped(void **state)
{
    uint8_t data[KH_DATAGRAM_MAX], answer[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_ALLOCATE, transaction);

    (void)state;
    assert_int_equal(ask(&client, data, kh_stun_finish(&writer), answer), 0);
    assert_int_equal(kh_hub_stats(hub).dropped_malformed, 1);
}

static void join_is_challenged_through_the_hub(void **state)
{
    static const uint8_t zeros[72];
    uint8_t data[KH_DATAGRAM_MAX], answer[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_JOIN, transaction);
    size_t asked;
    size_t len;

    (void)state;
    kh_stun_add(&writer, KH_STUN_PADDING, zeros, sizeof zeros);
    kh_stun_add_fingerprint(&writer);
    asked = kh_stun_finish(&writer);
    len = ask(&client, data, asked, answer);
    assert_in_range(len, 1, asked);
    assert_int_equal(kh_hub_stats(hub).registry.challenges, 1);
    assert_int_equal(kh_hub_stats(hub).registry.members, 0);
    assert_int_equal(kh_hub_timeout(hub), KH_NEVER);
}

static void short_join_is_not_answered_with_a_longer_challenge(void **state)
{
    uint8_t data[KH_DATAGRAM_MAX], answer[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_JOIN, transaction);

    (void)state;
    kh_stun_add_fingerprint(&writer);
    assert_int_equal(ask(&client, data, kh_stun_finish(&writer), answer), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(greeting_is_returned_in_kind),
        TEST(everything_else_is_dropped),
        TEST(binding_tells_the_mapped_address_in_the_fewest_bytes),
        TEST(software_is_told_where_the_request_paid_for_it),
        TEST(rfc8489_6_3_2_indications_and_answers_are_not_answered),
        TEST(rfc8489_6_3_1_unknown_attributes_are_named),
        TEST(methods_of_nobody_here_are_dropped),
        TEST(join_is_challenged_through_the_hub),
        TEST(short_join_is_not_answered_with_a_longer_challenge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
