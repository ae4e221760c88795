/* crypto/rng.c - random bytes as a function of a seed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "crypto/crypto.h"

#include <assert.h>
#include <string.h>

#include <openssl/evp.h>

/* Draws the next key and the next block from one keystream, and forgets the key they came from. */
static void refill(struct kh_rng *rng)
{
    static const uint8_t zeros[KH_KEY_LEN + sizeof rng->block];
    static const uint8_t iv[16]; /* counter and nonce zero: no key is used for a second stream */
    uint8_t stream[sizeof zeros];
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int len = 0;
    bool done;

    done = context != NULL &&
           EVP_EncryptInit_ex(context, EVP_chacha20(), NULL, rng->key.bytes, iv) == 1 &&
           EVP_EncryptUpdate(context, stream, &len, zeros, (int)sizeof zeros) == 1;
    EVP_CIPHER_CTX_free(context);
    assert(done && len == (int)sizeof stream);
    memcpy(rng->key.bytes, stream, KH_KEY_LEN);
    memcpy(rng->block, stream + KH_KEY_LEN, sizeof rng->block);
    rng->used = 0;
    kh_wipe(stream, sizeof stream);
}

void kh_rng_init(struct kh_rng *rng, const uint8_t seed[static 32])
{
    memset(rng, 0, sizeof *rng);
    memcpy(rng->key.bytes, seed, KH_KEY_LEN);
    rng->used = sizeof rng->block;
}

void kh_rng_fini(struct kh_rng *rng)
{
    kh_wipe(rng, sizeof *rng);
}

void kh_rng_bytes(struct kh_rng *rng, void *out, size_t len)
{
    uint8_t *at = out;
    size_t take;

    for (; len > 0; len -= take, at += take) {
        if (rng->used == sizeof rng->block)
            refill(rng);
        take = sizeof rng->block - rng->used;
        if (take > len)
            take = len;
        memcpy(at, rng->block + rng->used, take);
        memset(rng->block + rng->used, 0, take);
        rng->used += take;
    }
}

uint64_t kh_rng_u64(struct kh_rng *rng)
{
    uint8_t bytes[8];
    uint64_t value = 0;

    kh_rng_bytes(rng, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        value = value << 8 | bytes[i]; /* the same number on every machine */
    return value;
}

uint64_t kh_rng_below(struct kh_rng *rng, uint64_t bound)
{
    uint64_t least;
    uint64_t value;

    assert(bound >= 1);
    least = (0 - bound) % bound; /* 2^64 mod bound: what remains is a whole number of rounds */
    do
        value = kh_rng_u64(rng);
    while (value < least);
    return value % bound;
}
