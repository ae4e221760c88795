/* rendezvous/wire_test.c - entries of a push, signatures, and the replay window.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rendezvous/wire.h"

static const uint8_t transaction[KH_STUN_ID_LEN] = "transaction";

static struct kh_stun_writer begin(uint8_t *data)
{
    return kh_stun_begin(data, KH_DATAGRAM_MAX, KH_STUN_REQUEST, KH_STUN_PUSH, transaction);
}

static void assert_survives(const struct kh_rendezvous_change *change)
{
    uint8_t data[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer = begin(data);
    struct kh_rendezvous_change read;
    struct kh_stun_message message;
    struct kh_stun_attribute attribute;

    assert_true(kh_rendezvous_change_add(&writer, KH_DATAGRAM_MAX, change));
    assert_int_equal(kh_stun_parse(data, kh_stun_finish(&writer), &message), KH_OK);
    assert_true(kh_stun_find(&message, KH_STUN_CHANGE, &attribute));
    assert_true(
        kh_rendezvous_change_parse((struct kh_span){attribute.value, attribute.len}, &read));
    assert_int_equal(read.version, change->version);
    assert_true(kh_rendezvous_member_equal(&read.id, &change->id));
    assert_int_equal(read.present, change->present);
    assert_true(kh_addr_equal(&read.public, &change->public));
    assert_int_equal(read.card.len, change->card.len);
    if (change->card.len > 0)
        assert_memory_equal(read.card.data, change->card.data, change->card.len);
}

static void changes_survive_the_wire(void **state)
{
    static const uint8_t card[KH_RENDEZVOUS_CARD_MAX] = {1, 2, 3};
    static const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
    struct kh_rendezvous_change change = {.version = 0x0102030405060708, .id = {{9, 8, 7}}};

    (void)state;
    assert_survives(&change);
    change.present = true;
    change.public = kh_addr_ipv4(192, 0, 2, 1, 4000);
    change.card = (struct kh_span){card, 5};
    assert_survives(&change);
    change.public = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 4000);
    change.card.len = sizeof card;
    assert_survives(&change);
}

static void changes_are_added_only_where_they_fit(void **state)
{
    uint8_t data[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer = begin(data);
    struct kh_rendezvous_change change = {.version = 1};

    (void)state;
    assert_false(kh_rendezvous_change_add(&writer, KH_STUN_HEADER_LEN + 31, &change));
    assert_int_equal(writer.bytes.len, KH_STUN_HEADER_LEN);
    assert_true(kh_rendezvous_change_add(&writer, KH_STUN_HEADER_LEN + 32, &change));
    assert_int_equal(writer.bytes.len, KH_STUN_HEADER_LEN + 32);
}

static bool parses(const uint8_t *value, size_t len)
{
    struct kh_rendezvous_change change;

    return kh_rendezvous_change_parse((struct kh_span){value, len}, &change);
}

static void malformed_changes_do_not_parse(void **state)
{
    uint8_t value[25 + 7 + KH_RENDEZVOUS_CARD_MAX + 1] = {0};

    (void)state;
    assert_true(parses(value, 25)); /* gone */
    assert_false(parses(value, 24));
    assert_false(parses(value, 26));
    value[24] = 1; /* present */
    value[25] = KH_FAMILY_IPV4;
    assert_true(parses(value, 25 + 7 + 1));
    assert_false(parses(value, 25 + 7)); /* no card */
    assert_true(parses(value, 25 + 7 + KH_RENDEZVOUS_CARD_MAX));
    assert_false(parses(value, 25 + 7 + KH_RENDEZVOUS_CARD_MAX + 1));
    value[25] = 5; /* no family */
    assert_false(parses(value, 25 + 7 + 1));
    value[24] = 2; /* no kind */
    assert_false(parses(value, 25));
}

static void signature_covers_all_before_it(void **state)
{
    static const struct kh_secret seed = {{1}};
    uint8_t room[KH_KEY_LEN];
    uint8_t data[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer = begin(data);
    struct kh_stun_message message;
    size_t len;

    (void)state;
    kh_ed25519_public(&seed, room);
    kh_stun_add(&writer, KH_STUN_ROOM, room, sizeof room);
    len = kh_rendezvous_finish_signed(&writer, &seed);
    assert_int_equal(len, KH_STUN_HEADER_LEN + 36 + 68 + 8);
    assert_int_equal(kh_stun_parse(data, len, &message), KH_OK);
    assert_true(kh_rendezvous_check_signature(&message, room));
    for (size_t at = 8; at < len - 8; at++) {
        data[at] ^= 0x10;
        if (at < 20 + 36 - 32 || at >= 20 + 36 + 4)
            assert_false(kh_rendezvous_check_signature(&message, room));
        data[at] ^= 0x10;
    }
    room[0] ^= 1;
    assert_false(kh_rendezvous_check_signature(&message, room));
}

static void directions_and_stays_have_keys_of_their_own(void **state)
{
    static const uint8_t room[KH_KEY_LEN] = {1};
    static const uint8_t client[KH_KEY_LEN] = {2};
    static const uint8_t server[KH_KEY_LEN] = {3};
    struct kh_rendezvous_member_id member = {{4}};
    struct kh_rendezvous_binding binding = {room, &member, client, server};
    struct kh_secret shared = {{5}};
    struct kh_rendezvous_keys first, second;

    (void)state;
    kh_rendezvous_keys_derive(&shared, &binding, &first);
    assert_memory_not_equal(first.to_server.bytes, first.to_client.bytes, KH_KEY_LEN);
    member.bytes[15] = 1;
    kh_rendezvous_keys_derive(&shared, &binding, &second);
    assert_memory_not_equal(first.to_server.bytes, second.to_server.bytes, KH_KEY_LEN);
}

static void window_takes_each_number_once(void **state)
{
    struct kh_rendezvous_window window = {0};

    (void)state;
    assert_int_equal(kh_rendezvous_window_check(&window, 0), KH_RENDEZVOUS_OLD);
    assert_int_equal(kh_rendezvous_window_check(&window, 1), KH_RENDEZVOUS_NEWEST);
    kh_rendezvous_window_take(&window, 1);
    assert_int_equal(kh_rendezvous_window_check(&window, 1), KH_RENDEZVOUS_SEEN);
    kh_rendezvous_window_take(&window, 64);
    assert_int_equal(kh_rendezvous_window_check(&window, 1), KH_RENDEZVOUS_SEEN);
    assert_int_equal(kh_rendezvous_window_check(&window, 2), KH_RENDEZVOUS_LATE);
    kh_rendezvous_window_take(&window, 2);
    assert_int_equal(kh_rendezvous_window_check(&window, 2), KH_RENDEZVOUS_SEEN);
    kh_rendezvous_window_take(&window, 65);
    assert_int_equal(kh_rendezvous_window_check(&window, 1), KH_RENDEZVOUS_OLD);
    assert_int_equal(kh_rendezvous_window_check(&window, 2), KH_RENDEZVOUS_SEEN);
    assert_int_equal(kh_rendezvous_window_check(&window, 3), KH_RENDEZVOUS_LATE);
    kh_rendezvous_window_take(&window, UINT64_MAX);
    assert_int_equal(kh_rendezvous_window_check(&window, 65), KH_RENDEZVOUS_OLD);
    assert_int_equal(kh_rendezvous_window_check(&window, UINT64_MAX - 1), KH_RENDEZVOUS_LATE);
    assert_int_equal(kh_rendezvous_window_check(&window, UINT64_MAX), KH_RENDEZVOUS_SEEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_survive_the_wire),
        cmocka_unit_test(changes_are_added_only_where_they_fit),
        cmocka_unit_test(malformed_changes_do_not_parse),
        cmocka_unit_test(signature_covers_all_before_it),
        cmocka_unit_test(directions_and_stays_have_keys_of_their_own),
        cmocka_unit_test(window_takes_each_number_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
