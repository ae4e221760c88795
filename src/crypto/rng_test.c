/* crypto/rng_test.c - random bytes are a function of the seed, and of nothing else.
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

/* RFC 8439 A.1, vectors 1 and 2: the first 32 bytes of the stream become the next key and are
 * never seen, the rest is what we hand out. */
static void the_first_bytes_are_the_chacha20_stream(void **state)
{
    const uint8_t seed[32] = {0};
    struct kh_rng rng;
    uint8_t out[96];

    (void)state;
    kh_rng_init(&rng, seed);
    kh_rng_bytes(&rng, out, sizeof out);
    assert_hex_equal(out, sizeof out,
                     "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
                     "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                     "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
    kh_rng_fini(&rng);
}

static void a_refill_takes_its_key_from_the_stream_before(void **state)
{
    struct hex first = hex_of("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7");
    const uint8_t seed[32] = {0};
    struct kh_rng rng;
    struct kh_rng heir;
    uint8_t skipped[480];
    uint8_t a[64];
    uint8_t b[64];

    (void)state;
    kh_rng_init(&rng, seed);
    kh_rng_bytes(&rng, skipped, sizeof skipped);
    kh_rng_bytes(&rng, a, sizeof a);
    kh_rng_init(&heir, first.bytes);
    kh_rng_bytes(&heir, b, sizeof b);
    assert_memory_equal(a, b, sizeof a);
}

static void the_same_seed_gives_the_same_bytes_however_they_are_asked_for(void **state)
{
    const uint8_t seed[32] = {1, 2, 3};
    struct kh_rng whole;
    struct kh_rng pieces;
    uint8_t a[2000];
    uint8_t b[2000];

    (void)state;
    kh_rng_init(&whole, seed);
    kh_rng_init(&pieces, seed);
    kh_rng_bytes(&whole, a, sizeof a);
    for (size_t at = 0, take = 0; at < sizeof b; at += take) {
        take = (take + 7) % 97;
        if (take > sizeof b - at)
            take = sizeof b - at;
        kh_rng_bytes(&pieces, b + at, take);
    }
    assert_memory_equal(a, b, sizeof a);
}

static void seeds_that_differ_in_one_bit_give_other_bytes(void **state)
{
    const uint8_t seed_a[32] = {0};
    const uint8_t seed_b[32] = {[31] = 1};
    struct kh_rng a;
    struct kh_rng b;

    (void)state;
    kh_rng_init(&a, seed_a);
    kh_rng_init(&b, seed_b);
    assert_true(kh_rng_u64(&a) != kh_rng_u64(&b));
}

static void what_was_handed_out_is_gone_from_the_state(void **state)
{
    static const uint8_t zeros[sizeof(struct kh_rng)];
    const uint8_t seed[32] = {4};
    struct kh_rng rng;
    uint8_t out[100];

    (void)state;
    kh_rng_init(&rng, seed);
    kh_rng_bytes(&rng, out, sizeof out);
    assert_memory_equal(rng.block, zeros, sizeof out);
    assert_memory_not_equal(rng.key.bytes, seed, sizeof seed);
    kh_rng_fini(&rng);
    assert_memory_equal(&rng, zeros, sizeof rng);
}

static void below_stays_below_and_reaches_everything(void **state)
{
    const uint8_t seed[32] = {5};
    unsigned counts[6] = {0};
    struct kh_rng rng;

    (void)state;
    kh_rng_init(&rng, seed);
    for (int i = 0; i < 6000; i++)
        counts[kh_rng_below(&rng, 6)]++;
    for (size_t i = 0; i < 6; i++)
        assert_in_range(counts[i], 850, 1150);
    assert_true(kh_rng_below(&rng, 1) == 0);
    for (int i = 0; i < 100; i++)
        assert_true(kh_rng_below(&rng, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

/* A bare modulo would hit the lowest third of this range every second time. */
static void below_has_no_modulo_bias(void **state)
{
    const uint64_t third = UINT64_C(1) << 62;
    const uint8_t seed[32] = {6};
    unsigned low = 0;
    struct kh_rng rng;

    (void)state;
    kh_rng_init(&rng, seed);
    for (int i = 0; i < 3000; i++)
        low += kh_rng_below(&rng, 3 * third) < third;
    assert_in_range(low, 900, 1100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_bytes_are_the_chacha20_stream),
        cmocka_unit_test(a_refill_takes_its_key_from_the_stream_before),
        cmocka_unit_test(the_same_seed_gives_the_same_bytes_however_they_are_asked_for),
        cmocka_unit_test(seeds_that_differ_in_one_bit_give_other_bytes),
        cmocka_unit_test(what_was_handed_out_is_gone_from_the_state),
        cmocka_unit_test(below_stays_below_and_reaches_everything),
        cmocka_unit_test(below_has_no_modulo_bias),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
