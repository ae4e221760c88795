/* stun/vectors_test.c - the messages of RFC 5769 and of RFC 8489 B.1, read and written.
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

#define PASSWORD "VOkJxbRl1RmTxUk/WvJxBt"
#define MATRIX "\u30de\u30c8\u30ea\u30c3\u30af\u30b9" /* RFC 5769 2.4 */

static const char request_2_1[] = "000100582112a442b7e7a701bc34d686fa87dfae"
                                  "802200105354554e207465737420636c69656e74"
                                  "002400046e0001ff"
                                  "80290008932ff9b151263b36"
                                  "000600096576746a3a68367659202020"
                                  "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
                                  "80280004e57a3bcf";
static const char response_2_2[] = "0101003c2112a442b7e7a701bc34d686fa87dfae"
                                   "8022000b7465737420766563746f7220"
                                   "002000080001a147e112a643"
                                   "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
                                   "80280004c07d4c96";
static const char response_2_3[] = "010100482112a442b7e7a701bc34d686fa87dfae"
                                   "8022000b7465737420766563746f7220"
                                   "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
                                   "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
                                   "80280004c8fb0b4c";
static const char request_2_4[] = "000100602112a44278ad3433c6ad72c029da412e"
                                  "00060012e3839ee38388e383aae38383e382afe382b90000"
                                  "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
                                  "0014000b6578616d706c652e6f726700"
                                  "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666";

/* RFC 8489 B.1 as erratum 6268 corrects it: the printed one counts its own header in the length
 * field, and lacks the PASSWORD-ALGORITHM without which its key would be another. */
static const char request_b_1[] =
    "000100902112a44278ad3433c6ad72c029da412e"
    "001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
    "001500296f624d61744a6f7332414141"
    "43662f2f3439396b39353464364f4c33346f4c39465354767936347341000000"
    "0014000b6578616d706c652e6f726700"
    "001d000400020000"
    "001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

static struct kh_span text(const char *text)
{
    return (struct kh_span){text, strlen(text)};
}

static struct kh_stun_message parsed(const struct hex *hex)
{
    struct kh_stun_message message;

    assert_true(kh_stun_is_stun(hex->bytes, hex->len));
    assert_int_equal(kh_stun_parse(hex->bytes, hex->len, &message), KH_OK);
    return message;
}

static void assert_text(const struct kh_stun_message *message, uint16_t type, const char *expected)
{
    struct kh_stun_attribute attribute;

    assert_true(kh_stun_find(message, type, &attribute));
    assert_int_equal(attribute.len, strlen(expected));
    assert_memory_equal(attribute.value, expected, attribute.len);
}

static void sample_request_reads(void **state)
{
    struct hex hex = hex_of(request_2_1);
    struct kh_stun_message message = parsed(&hex);
    uint32_t priority;
    uint64_t tie_breaker;

    (void)state;
    assert_int_equal(message.class, KH_STUN_REQUEST);
    assert_int_equal(message.method, KH_STUN_BINDING);
    assert_true(message.has_fingerprint);
    assert_int_equal(message.unknown_count, 0);
    assert_text(&message, KH_STUN_SOFTWARE, "STUN test client");
    assert_text(&message, KH_STUN_USERNAME, "evtj:h6vY");
    assert_true(kh_stun_find_u32(&message, KH_STUN_PRIORITY, &priority));
    assert_int_equal(priority, 0x6e0001ff);
    assert_true(kh_stun_find_u64(&message, KH_STUN_ICE_CONTROLLED, &tie_breaker));
    assert_true(tie_breaker == 0x932ff9b151263b36);
    assert_true(kh_stun_check_integrity(&message, text(PASSWORD)));
    assert_false(kh_stun_check_integrity(&message, text("VOkJxbRl1RmTxUk/WvJxBT")));
    assert_false(kh_stun_check_integrity_sha256(&message, text(PASSWORD), 16));
}

static void sample_responses_read(void **state)
{
    struct hex hex = hex_of(response_2_2);
    struct kh_stun_message message = parsed(&hex);
    char addr_text[KH_ADDR_TEXT_MAX];
    struct kh_addr addr;

    (void)state;
    assert_int_equal(message.class, KH_STUN_SUCCESS);
    assert_text(&message, KH_STUN_SOFTWARE, "test vector");
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &addr));
    assert_string_equal(kh_addr_text(&addr, addr_text), "192.0.2.1:32853");
    assert_true(kh_stun_check_integrity(&message, text(PASSWORD)));

    hex = hex_of(response_2_3);
    message = parsed(&hex);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &addr));
    assert_string_equal(kh_addr_text(&addr, addr_text),
                        "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
    assert_true(kh_stun_check_integrity(&message, text(PASSWORD)));
    assert_true(message.has_fingerprint);
}

static void sample_long_term_request_reads(void **state)
{
    struct hex hex = hex_of(request_2_4);
    struct kh_stun_message message = parsed(&hex);
    uint8_t key[KH_MD5_LEN];

    (void)state;
    assert_false(message.has_fingerprint);
    assert_text(&message, KH_STUN_USERNAME, MATRIX);
    assert_text(&message, KH_STUN_NONCE, "f//499k954d6OL34oL9FSTvy64sA");
    assert_text(&message, KH_STUN_REALM, "example.org");
    kh_stun_long_term_key_md5(text(MATRIX), text("example.org"), text("TheMatrIX"), key);
    assert_true(kh_stun_check_integrity(&message, (struct kh_span){key, sizeof key}));
}

static void b_1_request_reads(void **state)
{
    struct hex hex = hex_of(request_b_1);
    struct kh_stun_message message = parsed(&hex);
    struct kh_stun_algorithm algorithm;
    struct kh_stun_attribute attribute;
    uint8_t expected[KH_SHA256_LEN];
    uint8_t key[KH_SHA256_LEN];
    const uint8_t *userhash;
    size_t at = 0;

    (void)state;
    kh_stun_userhash(text(MATRIX), text("example.org"), expected);
    assert_true(kh_stun_find_bytes(&message, KH_STUN_USERHASH, KH_SHA256_LEN, &userhash));
    assert_memory_equal(userhash, expected, sizeof expected);
    assert_text(&message, KH_STUN_NONCE, "obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    assert_text(&message, KH_STUN_REALM, "example.org");
    assert_true(kh_stun_find(&message, KH_STUN_PASSWORD_ALGORITHM, &attribute));
    assert_true(kh_stun_next_algorithm(&attribute, &at, &algorithm));
    assert_int_equal(algorithm.number, KH_STUN_ALGORITHM_SHA256);
    kh_stun_long_term_key_sha256(text(MATRIX), text("example.org"), text("TheMatrIX"), key);
    assert_true(
        kh_stun_check_integrity_sha256(&message, (struct kh_span){key, sizeof key}, KH_SHA256_LEN));
    assert_false(kh_stun_check_integrity(&message, (struct kh_span){key, sizeof key}));
}

/* Padding may hold anything (RFC 8489 14) and the integrity covers it; RFC 5769 has spaces where
 * we write zeros.  So each message is written twice: once as the vector without its integrity and
 * padding, and once with the vector's padding put in before the integrity is added. */
static size_t rewrite(const struct kh_stun_message *message, struct kh_span key, bool keep_padding,
                      uint8_t *out, size_t max)
{
    struct kh_stun_writer writer =
        kh_stun_begin(out, max, message->class, message->method, message->id);
    struct kh_stun_attribute attribute;
    size_t at = 0;

    while (kh_stun_next(message, &at, &attribute)) {
        if (attribute.type == KH_STUN_MESSAGE_INTEGRITY)
            kh_stun_add_integrity(&writer, key);
        else if (attribute.type == KH_STUN_MESSAGE_INTEGRITY_SHA256)
            kh_stun_add_integrity_sha256(&writer, key);
        else if (attribute.type == KH_STUN_FINGERPRINT)
            kh_stun_add_fingerprint(&writer);
        else
            kh_stun_add(&writer, attribute.type, attribute.value, attribute.len);
        if (keep_padding && !writer.bytes.failed)
            memcpy(out + writer.bytes.len - (4 - attribute.len % 4) % 4,
                   attribute.value + attribute.len, (4 - attribute.len % 4) % 4);
    }
    return kh_stun_finish(&writer);
}

static void assert_rewrites(const char *vector, struct kh_span key)
{
    struct hex hex = hex_of(vector);
    struct kh_stun_message message = parsed(&hex);
    uint8_t out[256];
    size_t len = rewrite(&message, key, true, out, sizeof out);

    assert_int_equal(len, hex.len);
    assert_memory_equal(out, hex.bytes, len);
    for (size_t max = 0; max < hex.len; max++)
        assert_int_equal(rewrite(&message, key, false, out, max), 0);
    len = rewrite(&message, key, false, out, sizeof out);
    assert_int_equal(len, hex.len);
    assert_int_equal(kh_stun_parse(out, len, &message), KH_OK);
    assert_true(kh_stun_check_integrity(&message, key) ||
                kh_stun_check_integrity_sha256(&message, key, KH_SHA256_LEN));
}

static void sample_messages_write(void **state)
{
    uint8_t sha256_key[KH_SHA256_LEN];
    uint8_t key[KH_MD5_LEN];

    (void)state;
    kh_stun_long_term_key_md5(text(MATRIX), text("example.org"), text("TheMatrIX"), key);
    assert_rewrites(request_2_1, text(PASSWORD));
    assert_rewrites(response_2_2, text(PASSWORD));
    assert_rewrites(response_2_3, text(PASSWORD));
    assert_rewrites(request_2_4, (struct kh_span){key, sizeof key});
    kh_stun_long_term_key_sha256(text(MATRIX), text("example.org"), text("TheMatrIX"), sha256_key);
    assert_rewrites(request_b_1, (struct kh_span){sha256_key, sizeof sha256_key});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sample_request_reads),           cmocka_unit_test(sample_responses_read),
        cmocka_unit_test(sample_long_term_request_reads), cmocka_unit_test(b_1_request_reads),
        cmocka_unit_test(sample_messages_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
