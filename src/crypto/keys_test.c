/* crypto/keys_test.c - Ed25519 and X25519 against RFC 8032 and RFC 7748.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/err.h>

#include "crypto/crypto.h"
#include "support/hex.h"

static struct kh_secret secret_of(const char *text)
{
    struct hex hex = hex_of(text);
    struct kh_secret secret;

    assert_int_equal(hex.len, sizeof secret.bytes);
    memcpy(secret.bytes, hex.bytes, sizeof secret.bytes);
    return secret;
}

static void ed25519_is_that_of_rfc_8032(void **state)
{
    struct kh_secret seed =
        secret_of("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    uint8_t public_key[KH_KEY_LEN];
    uint8_t signature[KH_SIGNATURE_LEN];

    (void)state;
    kh_ed25519_public(&seed, public_key);
    assert_hex_equal(public_key, sizeof public_key,
                     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    kh_ed25519_sign(&seed, (struct kh_span){NULL, 0}, signature);
    assert_hex_equal(signature, sizeof signature,
                     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
    assert_true(kh_ed25519_verify(public_key, (struct kh_span){NULL, 0}, signature));

    seed = secret_of("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
    kh_ed25519_public(&seed, public_key);
    kh_ed25519_sign(&seed, (struct kh_span){"\x72", 1}, signature);
    assert_hex_equal(signature, sizeof signature,
                     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    assert_true(kh_ed25519_verify(public_key, (struct kh_span){"\x72", 1}, signature));
}

static void an_altered_signature_message_or_key_does_not_verify(void **state)
{
    const struct kh_secret seed = {{5}};
    const struct kh_span message = {"Hi!", 3};
    uint8_t public_key[KH_KEY_LEN];
    uint8_t signature[KH_SIGNATURE_LEN];

    (void)state;
    kh_ed25519_public(&seed, public_key);
    kh_ed25519_sign(&seed, message, signature);
    assert_true(kh_ed25519_verify(public_key, message, signature));
    assert_false(kh_ed25519_verify(public_key, (struct kh_span){"HI!", 3}, signature));
    assert_false(kh_ed25519_verify(public_key, (struct kh_span){"Hi!", 2}, signature));
    for (size_t i = 0; i < sizeof signature; i++) {
        signature[i] ^= 1;
        assert_false(kh_ed25519_verify(public_key, message, signature));
        signature[i] ^= 1;
    }
    for (size_t i = 0; i < sizeof public_key; i++) {
        public_key[i] ^= 1; /* now and then no point on the curve at all */
        assert_false(kh_ed25519_verify(public_key, message, signature));
        public_key[i] ^= 1;
    }
}

static void x25519_is_that_of_rfc_7748(void **state)
{
    struct kh_secret alice =
        secret_of("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    struct kh_secret bob =
        secret_of("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    uint8_t alice_public[KH_KEY_LEN];
    uint8_t bob_public[KH_KEY_LEN];
    struct kh_secret shared;

    (void)state;
    kh_x25519_public(&alice, alice_public);
    kh_x25519_public(&bob, bob_public);
    assert_hex_equal(alice_public, sizeof alice_public,
                     "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
    assert_hex_equal(bob_public, sizeof bob_public,
                     "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert_true(kh_x25519_shared(&alice, bob_public, &shared));
    assert_hex_equal(shared.bytes, sizeof shared.bytes,
                     "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    memset(&shared, 0, sizeof shared);
    assert_true(kh_x25519_shared(&bob, alice_public, &shared));
    assert_hex_equal(shared.bytes, sizeof shared.bytes,
                     "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

/* RFC 7748 6.1: points of small order give a secret that everybody knows. */
static void x25519_refuses_points_of_small_order(void **state)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    const struct kh_secret alice = {{1, 2, 3}};
    const struct kh_secret zero = {{0}};

    (void)state;
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        struct hex point = hex_of(points[i]);
        struct kh_secret shared = {{0xff}};

        assert_false(kh_x25519_shared(&alice, point.bytes, &shared));
        assert_memory_equal(&shared, &zero, sizeof shared);
    }
}

/* TLS reads the same queue: an error left there by a stranger's bytes would end a good session. */
static void a_refusal_leaves_no_error_behind(void **state)
{
    const struct kh_secret secret = {{1}};
    const uint8_t zeros[KH_SIGNATURE_LEN] = {0};
    struct kh_secret shared;
    uint8_t opened[KH_SIGNATURE_LEN];

    (void)state;
    assert_false(kh_x25519_shared(&secret, zeros, &shared));
    assert_false(kh_ed25519_verify(secret.bytes, (struct kh_span){"x", 1}, zeros));
    assert_false(kh_aead_open(&secret, (struct kh_span){NULL, 0},
                              (struct kh_span){zeros, sizeof zeros}, opened));
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ed25519_is_that_of_rfc_8032),
        cmocka_unit_test(an_altered_signature_message_or_key_does_not_verify),
        cmocka_unit_test(x25519_is_that_of_rfc_7748),
        cmocka_unit_test(x25519_refuses_points_of_small_order),
        cmocka_unit_test(a_refusal_leaves_no_error_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
