/* crypto/crypto.h - the primitives the protocols stand on, thin over OpenSSL's libcrypto.
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything here is a function of its arguments: no clock, no entropy.  Randomness comes from a
 * struct kh_rng that its owner seeded.  Failure of OpenSSL itself (out of memory) is an assertion
 * inside: none of these operations can fail on valid arguments otherwise.
 */
#ifndef KH_CRYPTO_CRYPTO_H
#define KH_CRYPTO_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define KH_SHA1_LEN 20
#define KH_SHA256_LEN 32
#define KH_MD5_LEN 16
#define KH_KEY_LEN 32       /* AES-256; Ed25519 seed and public key; X25519 private and public */
#define KH_SIGNATURE_LEN 64 /* Ed25519 */
#define KH_AEAD_NONCE_LEN 12
#define KH_AEAD_OVERHEAD (KH_AEAD_NONCE_LEN + 16) /* nonce in front, tag behind */

/* 32 secret bytes.  There is no way to turn one into text, so none can be logged. */
struct kh_secret {
    uint8_t bytes[KH_KEY_LEN];
};

/* A run of bytes; the hash functions take several, so that nobody concatenates by hand. */
struct kh_span {
    const void *data;
    size_t len;
};

void kh_wipe(void *data, size_t len);
bool kh_equal(const void *a, const void *b, size_t len); /* constant time */

void kh_sha256(const struct kh_span *spans, size_t count, uint8_t out[static KH_SHA256_LEN]);
void kh_md5(const struct kh_span *spans, size_t count, uint8_t out[static KH_MD5_LEN]);
void kh_hmac_sha1(struct kh_span key, const struct kh_span *spans, size_t count,
                  uint8_t out[static KH_SHA1_LEN]);
void kh_hmac_sha256(struct kh_span key, const struct kh_span *spans, size_t count,
                    uint8_t out[static KH_SHA256_LEN]);

/* HKDF-SHA256 (RFC 5869) with an empty salt unless one is given; label is the info string.  out_len
 * is at most 255 * 32. */
void kh_hkdf(struct kh_span key, struct kh_span salt, const char *label, uint8_t *out,
             size_t out_len);

/* AES-256-GCM.  Writes nonce, ciphertext, tag: plain_len + KH_AEAD_OVERHEAD bytes at out, which may
 * not overlap plain.  The nonce must never repeat under one key. */
void kh_aead_seal(const struct kh_secret *key, const uint8_t nonce[static KH_AEAD_NONCE_LEN],
                  struct kh_span associated, struct kh_span plain, uint8_t *out);
/* Writes sealed.len - KH_AEAD_OVERHEAD bytes; false, and nothing useful at out, if it was altered,
 * is too short, or was sealed with another key or other associated data. */
bool kh_aead_open(const struct kh_secret *key, struct kh_span associated, struct kh_span sealed,
                  uint8_t *out);

void kh_ed25519_public(const struct kh_secret *seed, uint8_t out[static KH_KEY_LEN]);
void kh_ed25519_sign(const struct kh_secret *seed, struct kh_span message,
                     uint8_t out[static KH_SIGNATURE_LEN]);
bool kh_ed25519_verify(const uint8_t public_key[static KH_KEY_LEN], struct kh_span message,
                       const uint8_t signature[static KH_SIGNATURE_LEN]);

void kh_x25519_public(const struct kh_secret *private_key, uint8_t out[static KH_KEY_LEN]);
/* False if the shared secret is all zero: the peer's key was of small order (RFC 7748 6.1). */
bool kh_x25519_shared(const struct kh_secret *private_key, const uint8_t peer[static KH_KEY_LEN],
                      struct kh_secret *out);

/* A ChaCha20 keystream, re-keyed from itself at each refill, so that a captured state says nothing
 * about the past.  The same seed gives the same bytes. */
struct kh_rng {
    struct kh_secret key;
    uint8_t block[480];
    size_t used; /* bytes of block already handed out; they are wiped */
};

void kh_rng_init(struct kh_rng *rng, const uint8_t seed[static 32]);
void kh_rng_fini(struct kh_rng *rng);
void kh_rng_bytes(struct kh_rng *rng, void *out, size_t len);
uint64_t kh_rng_u64(struct kh_rng *rng);
/* Uniform in 0 .. bound-1, without modulo bias; bound is at least 1. */
uint64_t kh_rng_below(struct kh_rng *rng, uint64_t bound);

/* SipHash-2-4: a hash for tables whose keys strangers choose. */
uint64_t kh_siphash(const uint8_t key[static 16], const void *data, size_t len);

#endif
