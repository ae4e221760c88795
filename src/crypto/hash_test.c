/* crypto/hash_test.c - hashes, HMAC, HKDF and SipHash against published vectors.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "crypto/crypto.h"
#include "support/hex.h"

static struct kh_span text_span(const char *text)
{
    return (struct kh_span){text, strlen(text)};
}

static struct kh_span hex_span(const struct hex *hex)
{
    return (struct kh_span){hex->bytes, hex->len};
}

static void digests_are_those_of_fips_180_and_rfc_1321(void **state)
{
    const struct kh_span abc = text_span("abc");
    uint8_t sha256[KH_SHA256_LEN];
    uint8_t md5[KH_MD5_LEN];

    (void)state;
    kh_sha256(&abc, 1, sha256);
    assert_hex_equal(sha256, sizeof sha256,
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    kh_sha256(NULL, 0, sha256);
    assert_hex_equal(sha256, sizeof sha256,
                     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    kh_md5(&abc, 1, md5);
    assert_hex_equal(md5, sizeof md5, "900150983cd24fb0d6963f7d28e17f72");
}

static void spans_hash_as_if_they_stood_in_one_piece(void **state)
{
    const struct kh_span whole = text_span("abcdef");
    const struct kh_span parts[] = {text_span("ab"), {NULL, 0}, text_span("cdef")};
    uint8_t of_whole[KH_SHA256_LEN];
    uint8_t of_parts[KH_SHA256_LEN];

    (void)state;
    kh_sha256(&whole, 1, of_whole);
    kh_sha256(parts, 3, of_parts);
    assert_memory_equal(of_parts, of_whole, sizeof of_whole);
    kh_hmac_sha256(text_span("key"), &whole, 1, of_whole);
    kh_hmac_sha256(text_span("key"), parts, 3, of_parts);
    assert_memory_equal(of_parts, of_whole, sizeof of_whole);
}

static void hmac_sha1_is_that_of_rfc_2202(void **state)
{
    struct hex key = {.len = 20};
    struct kh_span message = text_span("Hi There");
    uint8_t mac[KH_SHA1_LEN];

    (void)state;
    memset(key.bytes, 0x0b, key.len);
    kh_hmac_sha1(hex_span(&key), &message, 1, mac);
    assert_hex_equal(mac, sizeof mac, "b617318655057264e28bc0b6fb378c8ef146be00");
    message = text_span("what do ya want for nothing?");
    kh_hmac_sha1(text_span("Jefe"), &message, 1, mac);
    assert_hex_equal(mac, sizeof mac, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    key.len = 80;
    memset(key.bytes, 0xaa, key.len);
    message = text_span("Test Using Larger Than Block-Size Key - Hash Key First");
    kh_hmac_sha1(hex_span(&key), &message, 1, mac);
    assert_hex_equal(mac, sizeof mac, "aa4ae5e15272d00e95705637ce8a3b55ed402112");
}

static void hmac_sha256_is_that_of_rfc_4231(void **state)
{
    struct hex key = {.len = 20};
    struct kh_span message = text_span("Hi There");
    uint8_t mac[KH_SHA256_LEN];

    (void)state;
    memset(key.bytes, 0x0b, key.len);
    kh_hmac_sha256(hex_span(&key), &message, 1, mac);
    assert_hex_equal(mac, sizeof mac,
                     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    message = text_span("what do ya want for nothing?");
    kh_hmac_sha256(text_span("Jefe"), &message, 1, mac);
    assert_hex_equal(mac, sizeof mac,
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    key.len = 131;
    memset(key.bytes, 0xaa, key.len);
    message = text_span("Test Using Larger Than Block-Size Key - Hash Key First");
    kh_hmac_sha256(hex_span(&key), &message, 1, mac);
    assert_hex_equal(mac, sizeof mac,
                     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void hmac_takes_an_empty_key_and_an_empty_message(void **state)
{
    uint8_t mac[KH_SHA256_LEN];

    (void)state;
    kh_hmac_sha256((struct kh_span){NULL, 0}, NULL, 0, mac);
    assert_hex_equal(mac, sizeof mac,
                     "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void hkdf_is_that_of_rfc_5869(void **state)
{
    struct hex key = hex_of("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b");
    struct hex salt = hex_of("000102030405060708090a0b0c");
    uint8_t out[82];
    char info[81] = {0};

    (void)state;
    kh_hkdf(hex_span(&key), hex_span(&salt), "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", out, 42);
    assert_hex_equal(out, 42,
                     "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                     "34007208d5b887185865");
    kh_hkdf(hex_span(&key), (struct kh_span){NULL, 0}, "", out, 42);
    assert_hex_equal(out, 42,
                     "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
                     "9d201395faa4b61a96c8");
    for (size_t i = 0; i < 80; i++) {
        key.bytes[i] = (uint8_t)i;
        salt.bytes[i] = (uint8_t)(0x60 + i);
        info[i] = (char)(uint8_t)(0xb0 + i);
    }
    key.len = salt.len = 80;
    kh_hkdf(hex_span(&key), hex_span(&salt), info, out, 82);
    assert_hex_equal(out, 82,
                     "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                     "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                     "cc30c58179ec3e87c14c01d5c1f3434f1d87");
}

static void siphash_is_that_of_its_reference(void **state)
{
    static const size_t lens[] = {0, 1, 2, 7, 8, 15};
    static const uint64_t hashes[] = {0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a,
                                      0xab0200f58b01d137, 0x93f5f5799a932462, 0xa129ca6149be45e5};
    uint8_t bytes[16];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        assert_true(kh_siphash(bytes, bytes, lens[i]) == hashes[i]);
    assert_true(kh_siphash(bytes, NULL, 0) == hashes[0]);
}

static void equal_compares_every_byte(void **state)
{
    (void)state;
    assert_true(kh_equal("abcd", "abcd", 4));
    assert_false(kh_equal("abcd", "abce", 4));
    assert_false(kh_equal("abcd", "bbcd", 4));
    assert_true(kh_equal("abcd", "abce", 3));
    assert_true(kh_equal("a", "b", 0));
}

static void wipe_leaves_zeros_and_no_more(void **state)
{
    uint8_t bytes[4] = {1, 2, 3, 4};

    (void)state;
    kh_wipe(bytes, 3);
    assert_hex_equal(bytes, sizeof bytes, "00000004");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_fips_180_and_rfc_1321),
        cmocka_unit_test(spans_hash_as_if_they_stood_in_one_piece),
        cmocka_unit_test(hmac_sha1_is_that_of_rfc_2202),
        cmocka_unit_test(hmac_sha256_is_that_of_rfc_4231),
        cmocka_unit_test(hmac_takes_an_empty_key_and_an_empty_message),
        cmocka_unit_test(hkdf_is_that_of_rfc_5869),
        cmocka_unit_test(siphash_is_that_of_its_reference),
        cmocka_unit_test(equal_compares_every_byte),
        cmocka_unit_test(wipe_leaves_zeros_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
