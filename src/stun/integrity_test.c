/* stun/integrity_test.c - what integrity and fingerprint cover, and what breaks them (RFC
 * 8489 14.5-14.7).
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "stun/stun.h"
#include "stun/layout.h"
#include "support/hex.h"

static const uint8_t id[KH_STUN_ID_LEN] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static const struct kh_span key = {"secret", 6};

struct made {
    uint8_t bytes[256];
    size_t len;
    struct kh_stun_writer writer;
};

/* Begins a Binding request with PRIORITY 1. */
static void begin(struct made *made)
{
    made->writer =
        kh_stun_begin(made->bytes, sizeof made->bytes, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add_u32(&made->writer, KH_STUN_PRIORITY, 1);
}

static struct kh_stun_message finish(struct made *made)
{
    struct kh_stun_message message;

    made->len = kh_stun_finish(&made->writer);
    assert_true(made->len > 0);
    assert_int_equal(kh_stun_parse(made->bytes, made->len, &message), KH_OK);
    return message;
}

static void rfc8489_14_5_every_covered_bit_counts(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_integrity(&made.writer, key);
    message = finish(&made);
    assert_true(kh_stun_check_integrity(&message, key));
    for (size_t bit = 0; bit < 8 * made.len; bit++) {
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (kh_stun_parse(made.bytes, made.len, &message) == KH_OK)
            assert_false(kh_stun_check_integrity(&message, key));
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void rfc8489_14_6_every_covered_bit_counts(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_integrity_sha256(&made.writer, key);
    message = finish(&made);
    assert_true(kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
    for (size_t bit = 0; bit < 8 * made.len; bit++) {
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (kh_stun_parse(made.bytes, made.len, &message) == KH_OK)
            assert_false(kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void another_key_or_none_does_not_fit(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_integrity(&made.writer, key);
    kh_stun_add_integrity_sha256(&made.writer, key);
    message = finish(&made);
    assert_true(kh_stun_check_integrity(&message, key));
    assert_true(kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
    assert_false(kh_stun_check_integrity(&message, (struct kh_span){"secreT", 6}));
    assert_false(kh_stun_check_integrity_sha256(&message, (struct kh_span){"secreT", 6}, 16));
    assert_false(kh_stun_check_integrity(&message, (struct kh_span){NULL, 0}));
    begin(&made);
    message = finish(&made);
    assert_false(kh_stun_check_integrity(&message, key));
    assert_false(kh_stun_check_integrity_sha256(&message, key, 16));
}

/* RFC 8489 14.5: the length field in the HMAC ends with the attribute, whatever follows later. */
static void rfc8489_14_5_what_follows_does_not_change_the_hmac(void **state)
{
    struct kh_stun_message message;
    struct made alone;
    struct made followed;

    (void)state;
    begin(&alone);
    kh_stun_add_integrity(&alone.writer, key);
    (void)finish(&alone);
    begin(&followed);
    kh_stun_add_integrity(&followed.writer, key);
    kh_stun_add_integrity_sha256(&followed.writer, key);
    kh_stun_add_fingerprint(&followed.writer);
    message = finish(&followed);
    assert_memory_equal(followed.bytes + 28, alone.bytes + 28, 24);
    assert_int_equal(message.integrity_at, 28);
    assert_int_equal(message.integrity_sha256_at, 52);
    assert_true(message.has_fingerprint);
    assert_true(kh_stun_check_integrity(&message, key));
    assert_true(kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
}

static void rfc8489_14_6_nothing_after_sha256_is_seen_but_the_fingerprint(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_integrity_sha256(&made.writer, key);
    kh_stun_add_flag(&made.writer, KH_STUN_USE_CANDIDATE);
    kh_stun_add_u32(&made.writer, 0x0050, 0);
    kh_stun_add_integrity(&made.writer, key);
    kh_stun_add_fingerprint(&made.writer);
    message = finish(&made);
    assert_false(kh_stun_find_flag(&message, KH_STUN_USE_CANDIDATE));
    assert_int_equal(message.unknown_count, 0);
    assert_int_equal(message.integrity_at, 0); /* it must come first, if it comes at all */
    assert_true(message.has_fingerprint);
    assert_true(kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
}

/* What stands between the two is covered by SHA256 only, but MESSAGE-INTEGRITY hides it. */
static void rfc8489_14_5_between_both_is_not_seen(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_integrity(&made.writer, key);
    kh_stun_add_flag(&made.writer, KH_STUN_USE_CANDIDATE);
    kh_stun_add_integrity_sha256(&made.writer, key);
    message = finish(&made);
    assert_false(kh_stun_find_flag(&message, KH_STUN_USE_CANDIDATE));
    assert_true(kh_stun_check_integrity(&message, key));
    assert_true(kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
}

static void the_first_of_two_integrities_counts(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_integrity(&made.writer, (struct kh_span){"forged", 6});
    kh_stun_add_integrity(&made.writer, key);
    message = finish(&made);
    assert_false(kh_stun_check_integrity(&message, key));
    begin(&made);
    kh_stun_add_integrity_sha256(&made.writer, (struct kh_span){"forged", 6});
    kh_stun_add_integrity_sha256(&made.writer, key);
    message = finish(&made);
    assert_false(kh_stun_check_integrity_sha256(&message, key, 16));
}

/* Writes SHA256 integrity cut to len bytes, as its sender would compute it. */
static size_t make_truncated(struct made *made, size_t len)
{
    uint8_t mac[KH_SHA256_LEN];
    uint8_t counted[2] = {0, (uint8_t)(8 + 4 + len)};
    struct kh_span spans[3];

    begin(made);
    spans[0] = (struct kh_span){made->bytes, 2};
    spans[1] = (struct kh_span){counted, 2};
    spans[2] = (struct kh_span){made->bytes + 4, 24};
    kh_hmac_sha256(key, spans, 3, mac);
    kh_stun_add(&made->writer, KH_STUN_MESSAGE_INTEGRITY_SHA256, mac, len);
    return kh_stun_finish(&made->writer);
}

/* RFC 8489 14.6: at least 16 bytes, in steps of four; the usage says how many it wants. */
static void rfc8489_14_6_truncated(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    for (size_t len = 16; len <= 32; len += 4) {
        size_t made_len = make_truncated(&made, len);

        assert_int_equal(kh_stun_parse(made.bytes, made_len, &message), KH_OK);
        assert_true(kh_stun_check_integrity_sha256(&message, key, 16));
        assert_true(kh_stun_check_integrity_sha256(&message, key, len));
        assert_false(kh_stun_check_integrity_sha256(&message, key, len + 1));
        made.bytes[28 + 4 + len - 1] ^= 1;
        assert_false(kh_stun_check_integrity_sha256(&message, key, 16));
    }
}

static void rfc8489_14_5_and_14_6_other_lengths_do_not_parse(void **state)
{
    static const uint8_t zeros[64];
    static const size_t bad_sha256[] = {0, 4, 12, 15, 17, 30, 33, 36};
    static const size_t bad_sha1[] = {0, 16, 19, 21, 24, 32};
    struct kh_stun_message message;
    struct made made;

    (void)state;
    for (size_t i = 0; i < sizeof bad_sha256 / sizeof *bad_sha256; i++) {
        begin(&made);
        kh_stun_add(&made.writer, KH_STUN_MESSAGE_INTEGRITY_SHA256, zeros, bad_sha256[i]);
        made.len = kh_stun_finish(&made.writer);
        assert_int_equal(kh_stun_parse(made.bytes, made.len, &message), KH_ERR_FORMAT);
    }
    for (size_t i = 0; i < sizeof bad_sha1 / sizeof *bad_sha1; i++) {
        begin(&made);
        kh_stun_add(&made.writer, KH_STUN_MESSAGE_INTEGRITY, zeros, bad_sha1[i]);
        made.len = kh_stun_finish(&made.writer);
        assert_int_equal(kh_stun_parse(made.bytes, made.len, &message), KH_ERR_FORMAT);
    }
}

static void rfc8489_14_7_a_wrong_fingerprint_does_not_parse(void **state)
{
    struct kh_stun_message message;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_fingerprint(&made.writer);
    message = finish(&made);
    assert_true(message.has_fingerprint);
    for (size_t bit = 0; bit < 8 * made.len; bit++) {
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* one flip in a type or a length can hide the attribute, but none can pass for right */
        if (kh_stun_parse(made.bytes, made.len, &message) == KH_OK)
            assert_false(message.has_fingerprint);
        made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* RFC 8489 14.7: it MUST be the last attribute, even if its value is right. */
static void rfc8489_14_7_a_fingerprint_in_the_middle_does_not_parse(void **state)
{
    struct kh_stun_message message;
    struct kh_writer value;
    struct made made;

    (void)state;
    begin(&made);
    kh_stun_add_u32(&made.writer, KH_STUN_FINGERPRINT, 0);
    kh_stun_add_flag(&made.writer, KH_STUN_USE_CANDIDATE);
    made.len = kh_stun_finish(&made.writer);
    value = kh_writer_to(made.bytes + 32, 4);
    kh_write_u32(&value, kh_stun_fingerprint(made.bytes, 28));
    assert_int_equal(kh_stun_parse(made.bytes, made.len, &message), KH_ERR_FORMAT);
    begin(&made);
    kh_stun_add_fingerprint(&made.writer);
    kh_stun_add_fingerprint(&made.writer);
    made.len = kh_stun_finish(&made.writer);
    assert_int_equal(kh_stun_parse(made.bytes, made.len, &message), KH_ERR_FORMAT);
}

static void a_fingerprint_of_another_length_does_not_parse(void **state)
{
    static const uint8_t zeros[8];
    struct kh_stun_message message;
    struct made made;

    (void)state;
    for (size_t len = 0; len <= sizeof zeros; len++) {
        begin(&made);
        kh_stun_add(&made.writer, KH_STUN_FINGERPRINT, zeros, len);
        made.len = kh_stun_finish(&made.writer);
        assert_int_equal(kh_stun_parse(made.bytes, made.len, &message), KH_ERR_FORMAT);
    }
}

/* RFC 8489 9.2.2: colons join the parts, so that no two triples run into one. */
static void rfc8489_9_2_2_long_term_keys(void **state)
{
    const struct kh_span user = {"user", 4};
    const struct kh_span realm = {"realm", 5};
    const struct kh_span pass = {"pass", 4};
    uint8_t md5[KH_MD5_LEN];
    uint8_t sha256[KH_SHA256_LEN];

    (void)state;
    kh_stun_long_term_key_md5(user, realm, pass, md5);
    assert_hex_equal(md5, sizeof md5, "8493fbc53ba582fb4c044c456bdc40eb"); /* printed in 9.2.2 */
    kh_stun_long_term_key_sha256(user, realm, pass, sha256);
    assert_hex_equal(sha256, sizeof sha256,
                     "07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b");
    kh_stun_userhash(user, realm, sha256);
    assert_hex_equal(sha256, sizeof sha256,
                     "6a3029116b47aa98bcaa325399733dc1a23cd57e26b81bef3ff6531ce624e2da");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc8489_14_5_every_covered_bit_counts),
        cmocka_unit_test(rfc8489_14_6_every_covered_bit_counts),
        cmocka_unit_test(another_key_or_none_does_not_fit),
        cmocka_unit_test(rfc8489_14_5_what_follows_does_not_change_the_hmac),
        cmocka_unit_test(rfc8489_14_6_nothing_after_sha256_is_seen_but_the_fingerprint),
        cmocka_unit_test(rfc8489_14_5_between_both_is_not_seen),
        cmocka_unit_test(the_first_of_two_integrities_counts),
        cmocka_unit_test(rfc8489_14_6_truncated),
        cmocka_unit_test(rfc8489_14_5_and_14_6_other_lengths_do_not_parse),
        cmocka_unit_test(rfc8489_14_7_a_wrong_fingerprint_does_not_parse),
        cmocka_unit_test(rfc8489_14_7_a_fingerprint_in_the_middle_does_not_parse),
        cmocka_unit_test(a_fingerprint_of_another_length_does_not_parse),
        cmocka_unit_test(rfc8489_9_2_2_long_term_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
