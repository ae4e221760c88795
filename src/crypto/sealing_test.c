/* crypto/sealing_test.c - AES-256-GCM against published vectors and against meddling.
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

static const struct kh_span nothing = {NULL, 0};

static void an_empty_text_seals_to_nonce_and_tag(void **state)
{
    const struct kh_secret key = {{0}};
    const uint8_t nonce[KH_AEAD_NONCE_LEN] = {0};
    uint8_t sealed[KH_AEAD_OVERHEAD];
    uint8_t plain[1] = {7};

    (void)state;
    kh_aead_seal(&key, nonce, nothing, nothing, sealed);
    assert_hex_equal(sealed, sizeof sealed,
                     "000000000000000000000000"
                     "530f8afbc74536b9a963b4f1c4cb738b");
    assert_true(kh_aead_open(&key, nothing, (struct kh_span){sealed, sizeof sealed}, plain));
    assert_int_equal(plain[0], 7);
}

static void a_text_with_associated_data_seals_as_published(void **state)
{
    struct hex key_hex = hex_of("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    struct hex nonce = hex_of("cafebabefacedbaddecaf888");
    struct hex plain = hex_of("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                              "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    struct hex associated = hex_of("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    struct kh_secret key;
    uint8_t sealed[60 + KH_AEAD_OVERHEAD];
    uint8_t opened[60];

    (void)state;
    memcpy(key.bytes, key_hex.bytes, sizeof key.bytes);
    kh_aead_seal(&key, nonce.bytes, (struct kh_span){associated.bytes, associated.len},
                 (struct kh_span){plain.bytes, plain.len}, sealed);
    assert_hex_equal(sealed, sizeof sealed,
                     "cafebabefacedbaddecaf888"
                     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
                     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
                     "76fc6ece0f4e1768cddf8853bb2d551b");
    assert_true(kh_aead_open(&key, (struct kh_span){associated.bytes, associated.len},
                             (struct kh_span){sealed, sizeof sealed}, opened));
    assert_memory_equal(opened, plain.bytes, plain.len);
}

static void every_altered_bit_is_noticed_and_nothing_comes_out(void **state)
{
    static const uint8_t zeros[5];
    const struct kh_secret key = {{1, 2, 3}};
    const uint8_t nonce[KH_AEAD_NONCE_LEN] = {9};
    uint8_t sealed[5 + KH_AEAD_OVERHEAD];
    uint8_t opened[5];

    (void)state;
    kh_aead_seal(&key, nonce, (struct kh_span){"card", 4}, (struct kh_span){"Alice", 5}, sealed);
    for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memset(opened, 0xff, sizeof opened);
        assert_false(kh_aead_open(&key, (struct kh_span){"card", 4},
                                  (struct kh_span){sealed, sizeof sealed}, opened));
        assert_memory_equal(opened, zeros, sizeof opened);
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(kh_aead_open(&key, (struct kh_span){"card", 4},
                             (struct kh_span){sealed, sizeof sealed}, opened));
    assert_memory_equal(opened, "Alice", 5);
}

static void other_keys_other_data_and_cut_texts_do_not_open(void **state)
{
    const struct kh_secret key = {{1}};
    const struct kh_secret other = {{2}};
    const uint8_t nonce[KH_AEAD_NONCE_LEN] = {9};
    const struct kh_span card = {"card", 4};
    uint8_t sealed[3 + KH_AEAD_OVERHEAD];
    uint8_t opened[3 + KH_AEAD_OVERHEAD];

    (void)state;
    kh_aead_seal(&key, nonce, card, (struct kh_span){"Bob", 3}, sealed);
    assert_false(kh_aead_open(&other, card, (struct kh_span){sealed, sizeof sealed}, opened));
    assert_false(kh_aead_open(&key, (struct kh_span){"signal", 6},
                              (struct kh_span){sealed, sizeof sealed}, opened));
    assert_false(kh_aead_open(&key, nothing, (struct kh_span){sealed, sizeof sealed}, opened));
    for (size_t len = 0; len < sizeof sealed; len++)
        assert_false(kh_aead_open(&key, card, (struct kh_span){sealed, len}, opened));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_text_seals_to_nonce_and_tag),
        cmocka_unit_test(a_text_with_associated_data_seals_as_published),
        cmocka_unit_test(every_altered_bit_is_noticed_and_nothing_comes_out),
        cmocka_unit_test(other_keys_other_data_and_cut_texts_do_not_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
