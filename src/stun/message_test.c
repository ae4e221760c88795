/* stun/message_test.c - what parses, and what look-ups see (RFC 8489 5, 6.3, 14).
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "stun/stun.h"
#include "support/hex.h"

/* Cookie and id 00 01 .. 0b, as they stand in every message here. */
#define REST "2112a442000102030405060708090a0b"

static const uint8_t id[KH_STUN_ID_LEN] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static enum kh_status parse(const char *text, struct kh_stun_message *out)
{
    static struct hex hex; /* the message borrows it */

    hex = hex_of(text);
    return kh_stun_parse(hex.bytes, hex.len, out);
}

static struct kh_stun_message parsed(const char *text)
{
    struct kh_stun_message message;

    assert_int_equal(parse(text, &message), KH_OK);
    return message;
}

static void assert_malformed(const char *text)
{
    struct kh_stun_message message;

    assert_int_equal(parse(text, &message), KH_ERR_FORMAT);
}

static void rfc8489_5_header_is_checked(void **state)
{
    struct hex hex = hex_of("00010000" REST);

    (void)state;
    assert_true(kh_stun_is_stun(hex.bytes, hex.len));
    for (size_t len = 0; len < hex.len; len++)
        assert_false(kh_stun_is_stun(hex.bytes, len));
    assert_malformed("");
    assert_malformed("00010000" REST "00");    /* more than the length field says */
    assert_malformed("00010004" REST);         /* less */
    assert_malformed("00010001" REST "00");    /* not in whole words */
    assert_malformed("000100002112a443" REST); /* cookie of somebody else */
    assert_malformed("40010000" REST);         /* the two top bits MUST be zero */
    assert_malformed("80010000" REST);
    assert_malformed("0001fffc" REST);
}

static void rfc8489_5_class_and_method_interleave(void **state)
{
    static const char *const texts[] = {
        "00010000" REST, "00110000" REST, "01010000" REST, "01110000" REST, "00160000" REST,
        "01130000" REST, "3c000000" REST, "3d140000" REST, "3fff0000" REST,
    };
    static const enum kh_stun_class classes[] = {
        KH_STUN_REQUEST, KH_STUN_INDICATION, KH_STUN_SUCCESS, KH_STUN_ERROR, KH_STUN_INDICATION,
        KH_STUN_ERROR,   KH_STUN_REQUEST,    KH_STUN_ERROR,   KH_STUN_ERROR,
    };
    static const uint16_t methods[] = {KH_STUN_BINDING, KH_STUN_BINDING, KH_STUN_BINDING,
                                       KH_STUN_BINDING, KH_STUN_SEND,    KH_STUN_ALLOCATE,
                                       KH_STUN_JOIN,    KH_STUN_PUSH,    0xfff};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct kh_stun_message message = parsed(texts[i]);
        uint8_t out[KH_STUN_HEADER_LEN];
        struct kh_stun_writer writer;

        assert_int_equal(message.class, classes[i]);
        assert_int_equal(message.method, methods[i]);
        assert_memory_equal(message.id, id, sizeof id);
        writer = kh_stun_begin(out, sizeof out, message.class, message.method, message.id);
        assert_int_equal(kh_stun_finish(&writer), sizeof out);
        assert_hex_equal(out, sizeof out, texts[i]);
    }
}

static void rfc8489_5_every_method_and_class_survives(void **state)
{
    uint8_t out[KH_STUN_HEADER_LEN];

    (void)state;
    for (unsigned i = 0; i < 4 * 0x1000; i++) {
        struct kh_stun_writer writer =
            kh_stun_begin(out, sizeof out, (enum kh_stun_class)(i & 3), (uint16_t)(i >> 2), id);
        struct kh_stun_message message;

        assert_int_equal(kh_stun_finish(&writer), sizeof out);
        assert_int_equal(kh_stun_parse(out, sizeof out, &message), KH_OK);
        assert_int_equal(message.class, i & 3);
        assert_int_equal(message.method, i >> 2);
    }
}

static void rfc8489_14_attributes_must_lie_within_the_message(void **state)
{
    (void)state;
    (void)parsed("00010008" REST "8022000374686900");
    assert_malformed("00010008" REST "8022000574686900"); /* value runs over */
    assert_malformed("00010008" REST "8022ffff74686900");
    assert_malformed("0001000c" REST "802200037468690080220001"); /* nothing behind the header */
    assert_malformed("00010004" REST "80220004");
    (void)parsed("00010004" REST "80220000");
}

static void rfc8489_14_padding_may_hold_anything(void **state)
{
    struct kh_stun_message message = parsed("00010008" REST "80220001"
                                            "61ffffff");
    struct kh_stun_attribute attribute;

    (void)state;
    assert_true(kh_stun_find(&message, KH_STUN_SOFTWARE, &attribute));
    assert_int_equal(attribute.len, 1);
    assert_memory_equal(attribute.value, "a", 1);
}

static void rfc8489_14_first_of_two_counts(void **state)
{
    struct kh_stun_message message = parsed("00010010" REST "0024000400000001"
                                            "0024000400000002");
    uint32_t priority;

    (void)state;
    assert_true(kh_stun_find_u32(&message, KH_STUN_PRIORITY, &priority));
    assert_int_equal(priority, 1);
    message = parsed("00010014" REST "0024000500000001ff000000"
                     "0024000400000002");
    assert_false(kh_stun_find_u32(&message, KH_STUN_PRIORITY, &priority)); /* also a broken one */
}

static void a_walk_sees_every_attribute_in_order(void **state)
{
    struct kh_stun_message message = parsed("00010014" REST "00250000"
                                            "7fff0002abcd0000"
                                            "8022000361626300");
    struct kh_stun_attribute attribute;
    size_t at = 0;

    (void)state;
    assert_true(kh_stun_next(&message, &at, &attribute));
    assert_int_equal(attribute.type, KH_STUN_USE_CANDIDATE);
    assert_int_equal(attribute.len, 0);
    assert_true(kh_stun_next(&message, &at, &attribute));
    assert_int_equal(attribute.type, 0x7fff);
    assert_hex_equal(attribute.value, attribute.len, "abcd");
    assert_true(kh_stun_next(&message, &at, &attribute));
    assert_int_equal(attribute.type, KH_STUN_SOFTWARE);
    assert_hex_equal(attribute.value, attribute.len, "616263");
    assert_false(kh_stun_next(&message, &at, &attribute));
    assert_false(kh_stun_next(&message, &at, &attribute));
    message = parsed("00010000" REST);
    at = 0;
    assert_false(kh_stun_next(&message, &at, &attribute));
}

static void rfc8489_6_3_unknown_required_attributes_are_named_once_each(void **state)
{
    struct kh_stun_message message = parsed("0001001c" REST "00500000"
                                            "00510004ffffffff"
                                            "00500000"
                                            "80500000"
                                            "ffff0000"
                                            "7fff0000");

    (void)state;
    assert_int_equal(message.unknown_count, 3);
    assert_int_equal(message.unknown[0], 0x0050);
    assert_int_equal(message.unknown[1], 0x0051);
    assert_int_equal(message.unknown[2], 0x7fff);
}

static void rfc8489_6_3_more_unknown_ones_than_fit_are_cut(void **state)
{
    struct kh_stun_message message =
        parsed("00010028" REST "0050000000510000005200000053000000540000"
               "0055000000560000005700000058000000590000");

    (void)state;
    assert_int_equal(message.unknown_count, KH_STUN_UNKNOWN_MAX);
    assert_int_equal(message.unknown[7], 0x0057);
}

/* LIFETIME and ERROR-CODE have no business in a Binding request, but we know them. */
static void rfc8489_6_3_known_but_unexpected_attributes_are_ignored(void **state)
{
    struct kh_stun_message message = parsed("00010010" REST "000d000400000258"
                                            "0009000400000400");
    struct kh_stun_attribute attribute;
    uint32_t lifetime;
    unsigned code;

    (void)state;
    assert_int_equal(message.unknown_count, 0);
    assert_false(kh_stun_find(&message, KH_STUN_LIFETIME, &attribute));
    assert_false(kh_stun_find_error(&message, &code, NULL));
    message = parsed("00030008" REST "000d000400000258");
    assert_true(kh_stun_find_u32(&message, KH_STUN_LIFETIME, &lifetime));
    assert_int_equal(lifetime, 600);
}

static void our_attributes_are_unknown_outside_our_methods(void **state)
{
    struct kh_stun_message message = parsed("0001000c" REST "7f0500080000000000000007");
    uint64_t sequence;

    (void)state;
    assert_int_equal(message.unknown_count, 1);
    assert_int_equal(message.unknown[0], KH_STUN_SEQUENCE);
    assert_false(kh_stun_find_u64(&message, KH_STUN_SEQUENCE, &sequence));
    message = parsed("3c01000c" REST "7f0500080000000000000007");
    assert_int_equal(message.method, KH_STUN_UPDATE);
    assert_int_equal(message.unknown_count, 0);
    assert_true(kh_stun_find_u64(&message, KH_STUN_SEQUENCE, &sequence));
    assert_true(sequence == 7);
    message = parsed("3c01000c" REST "7fee00080000000000000007");
    assert_int_equal(message.unknown_count, 1);
}

static void rfc5780_6_1_discovery_attributes_are_unknown_until_accepted(void **state)
{
    struct kh_stun_message message = parsed("0001001c" REST "0003000400000006"
                                            "00500000"
                                            "0027000412340000"
                                            "0026000400000000");
    uint32_t flags;

    (void)state;
    assert_int_equal(message.unknown_count, 4);
    assert_int_equal(message.unknown[0], KH_STUN_CHANGE_REQUEST);
    kh_stun_accept(&message, KH_STUN_CHANGE_REQUEST);
    kh_stun_accept(&message, KH_STUN_RESPONSE_PORT);
    kh_stun_accept(&message, KH_STUN_USE_CANDIDATE);
    assert_int_equal(message.unknown_count, 2);
    assert_int_equal(message.unknown[0], 0x0050);
    assert_int_equal(message.unknown[1], KH_STUN_PADDING);
    assert_true(kh_stun_find_u32(&message, KH_STUN_CHANGE_REQUEST, &flags));
    assert_int_equal(flags, 6);
}

/* RFC 8489 14.5: what follows the integrity attribute was added by anybody. */
static void rfc8489_14_5_nothing_after_integrity_is_seen(void **state)
{
    const char *text = "00010028" REST "00080014"
                       "0000000000000000000000000000000000000000"
                       "00250000"
                       "00500000"
                       "00240004000000ff";
    struct kh_stun_message message = parsed(text);
    struct kh_stun_attribute attribute;
    uint32_t priority;
    size_t count = 0;

    (void)state;
    assert_int_equal(message.integrity_at, 20);
    assert_int_equal(message.unknown_count, 0);
    assert_false(kh_stun_find_flag(&message, KH_STUN_USE_CANDIDATE));
    assert_false(kh_stun_find_u32(&message, KH_STUN_PRIORITY, &priority));
    for (size_t at = 0; kh_stun_next(&message, &at, &attribute);)
        count++;
    assert_int_equal(count, 4); /* a walk still sees them */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc8489_5_header_is_checked),
        cmocka_unit_test(rfc8489_5_class_and_method_interleave),
        cmocka_unit_test(rfc8489_5_every_method_and_class_survives),
        cmocka_unit_test(rfc8489_14_attributes_must_lie_within_the_message),
        cmocka_unit_test(rfc8489_14_padding_may_hold_anything),
        cmocka_unit_test(rfc8489_14_first_of_two_counts),
        cmocka_unit_test(a_walk_sees_every_attribute_in_order),
        cmocka_unit_test(rfc8489_6_3_unknown_required_attributes_are_named_once_each),
        cmocka_unit_test(rfc8489_6_3_more_unknown_ones_than_fit_are_cut),
        cmocka_unit_test(rfc8489_6_3_known_but_unexpected_attributes_are_ignored),
        cmocka_unit_test(our_attributes_are_unknown_outside_our_methods),
        cmocka_unit_test(rfc5780_6_1_discovery_attributes_are_unknown_until_accepted),
        cmocka_unit_test(rfc8489_14_5_nothing_after_integrity_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
