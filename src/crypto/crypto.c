/* crypto/crypto.c - hashes, sealing, signatures and key agreement by libcrypto.
 *
 * SPDX-License-Identifier: MIT
 *
 * libcrypto keeps a queue of errors for each thread, in which TLS later finds what is not its own:
 * whatever a stranger's bytes can make fail here runs between ERR_set_mark and ERR_pop_to_mark.
 */
#include "crypto/crypto.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define AEAD_TAG_LEN (KH_AEAD_OVERHEAD - KH_AEAD_NONCE_LEN)

/* With valid arguments libcrypto fails only for want of memory, and nobody goes on without it. */
static void must(bool done)
{
    assert(done);
    (void)done;
}

void kh_wipe(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}

bool kh_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

#define HMAC_BLOCK 64 /* of MD5, SHA-1 and SHA-256 alike */

static void digest(const EVP_MD *kind, const struct kh_span *spans, size_t count, uint8_t *out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    must(context != NULL && EVP_DigestInit_ex(context, kind, NULL) == 1);
    for (size_t i = 0; i < count; i++)
        must(EVP_DigestUpdate(context, spans[i].data, spans[i].len) == 1);
    must(EVP_DigestFinal_ex(context, out, NULL) == 1);
    EVP_MD_CTX_free(context);
}

void kh_sha256(const struct kh_span *spans, size_t count, uint8_t out[static KH_SHA256_LEN])
{
    digest(EVP_sha256(), spans, count, out);
}

void kh_md5(const struct kh_span *spans, size_t count, uint8_t out[static KH_MD5_LEN])
{
    digest(EVP_md5(), spans, count, out);
}

/* Begins a hash with the key, padded with zeros to a block, each of its bytes turned by `turn`. */
static void begin_block(EVP_MD_CTX *context, const uint8_t key[static HMAC_BLOCK], uint8_t turn)
{
    uint8_t block[HMAC_BLOCK];

    for (size_t i = 0; i < sizeof block; i++)
        block[i] = key[i] ^ turn;
    must(EVP_DigestUpdate(context, block, sizeof block) == 1);
    kh_wipe(block, sizeof block);
}

/* RFC 2104 over libcrypto's hash: its own HMAC has to be fetched by name each time, which costs
 * twice what the hashing does, and STUN has an HMAC in each message. */
static void hmac(const EVP_MD *kind, struct kh_span key, const struct kh_span *spans, size_t count,
                 struct kh_span out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t block[HMAC_BLOCK] = {0};
    uint8_t inner[EVP_MAX_MD_SIZE];

    must(context != NULL && EVP_DigestInit_ex(context, kind, NULL) == 1);
    if (key.len > sizeof block)
        digest(kind, &key, 1, block);
    else if (key.len > 0)
        memcpy(block, key.data, key.len);
    begin_block(context, block, 0x36);
    for (size_t i = 0; i < count; i++)
        must(EVP_DigestUpdate(context, spans[i].data, spans[i].len) == 1);
    must(EVP_DigestFinal_ex(context, inner, NULL) == 1);
    must(EVP_DigestInit_ex(context, NULL, NULL) == 1); /* the same kind again */
    begin_block(context, block, 0x5c);
    must(EVP_DigestUpdate(context, inner, out.len) == 1);
    must(EVP_DigestFinal_ex(context, (uint8_t *)(uintptr_t)out.data, NULL) == 1);
    EVP_MD_CTX_free(context);
    kh_wipe(block, sizeof block);
    kh_wipe(inner, sizeof inner);
}

void kh_hmac_sha1(struct kh_span key, const struct kh_span *spans, size_t count,
                  uint8_t out[static KH_SHA1_LEN])
{
    hmac(EVP_sha1(), key, spans, count, (struct kh_span){out, KH_SHA1_LEN});
}

void kh_hmac_sha256(struct kh_span key, const struct kh_span *spans, size_t count,
                    uint8_t out[static KH_SHA256_LEN])
{
    hmac(EVP_sha256(), key, spans, count, (struct kh_span){out, KH_SHA256_LEN});
}

/* A dozen lines over HMAC, where libcrypto's KDF wants a fetched object and a parameter list. */
void kh_hkdf(struct kh_span key, struct kh_span salt, const char *label, uint8_t *out,
             size_t out_len)
{
    uint8_t extracted[KH_SHA256_LEN];
    uint8_t block[KH_SHA256_LEN];
    uint8_t counter = 0;
    const struct kh_span inner = {extracted, sizeof extracted};
    struct kh_span spans[] = {{block, 0}, {label, strlen(label)}, {&counter, 1}};
    size_t take;

    assert(out_len <= 255 * KH_SHA256_LEN);
    kh_hmac_sha256(salt, &key, 1, extracted);
    for (size_t done = 0; done < out_len; done += take) {
        counter++;
        kh_hmac_sha256(inner, spans, 3, block);
        spans[0].len = sizeof block;
        take = out_len - done < sizeof block ? out_len - done : sizeof block;
        memcpy(out + done, block, take);
    }
    kh_wipe(extracted, sizeof extracted);
    kh_wipe(block, sizeof block);
}

/* Feeds one span through the cipher; an empty one would read as "finish". */
static void cipher_update(EVP_CIPHER_CTX *context, uint8_t *out, struct kh_span in)
{
    int len = 0;

    assert(in.len <= INT_MAX);
    if (in.len > 0)
        must(EVP_CipherUpdate(context, out, &len, in.data, (int)in.len) == 1);
}

static EVP_CIPHER_CTX *cipher_begin(const struct kh_secret *key, const uint8_t *nonce, int sealing)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    must(context != NULL &&
         EVP_CipherInit_ex(context, EVP_aes_256_gcm(), NULL, key->bytes, nonce, sealing) == 1);
    return context;
}

void kh_aead_seal(const struct kh_secret *key, const uint8_t nonce[static KH_AEAD_NONCE_LEN],
                  struct kh_span associated, struct kh_span plain, uint8_t *out)
{
    EVP_CIPHER_CTX *context = cipher_begin(key, nonce, 1);
    uint8_t *tag = out + KH_AEAD_NONCE_LEN + plain.len;
    int len = 0;

    memcpy(out, nonce, KH_AEAD_NONCE_LEN);
    cipher_update(context, NULL, associated);
    cipher_update(context, out + KH_AEAD_NONCE_LEN, plain);
    must(EVP_CipherFinal_ex(context, tag, &len) == 1);
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, tag) == 1);
    EVP_CIPHER_CTX_free(context);
}

bool kh_aead_open(const struct kh_secret *key, struct kh_span associated, struct kh_span sealed,
                  uint8_t *out)
{
    uint8_t tag[AEAD_TAG_LEN];
    uint8_t unused[AEAD_TAG_LEN];
    const uint8_t *nonce = sealed.data;
    EVP_CIPHER_CTX *context;
    size_t plain_len;
    int len = 0;
    bool genuine;

    if (sealed.len < KH_AEAD_OVERHEAD || sealed.len > INT_MAX)
        return false;
    plain_len = sealed.len - KH_AEAD_OVERHEAD;
    memcpy(tag, nonce + KH_AEAD_NONCE_LEN + plain_len, sizeof tag);
    context = cipher_begin(key, nonce, 0);
    cipher_update(context, NULL, associated);
    cipher_update(context, out, (struct kh_span){nonce + KH_AEAD_NONCE_LEN, plain_len});
    must(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, tag) == 1);
    ERR_set_mark();
    genuine = EVP_CipherFinal_ex(context, unused, &len) == 1;
    ERR_pop_to_mark();
    EVP_CIPHER_CTX_free(context);
    if (!genuine && plain_len > 0)
        kh_wipe(out, plain_len); /* nobody shall act on text that nobody vouches for */
    return genuine;
}

static void public_of(int kind, const struct kh_secret *secret, uint8_t *out)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(kind, NULL, secret->bytes, KH_KEY_LEN);
    size_t len = KH_KEY_LEN;

    must(key != NULL && EVP_PKEY_get_raw_public_key(key, out, &len) == 1);
    EVP_PKEY_free(key);
}

void kh_ed25519_public(const struct kh_secret *seed, uint8_t out[static KH_KEY_LEN])
{
    public_of(EVP_PKEY_ED25519, seed, out);
}

/* libcrypto wants an address even of nothing. */
static const void *address_of(struct kh_span span)
{
    return span.len == 0 ? "" : span.data;
}

void kh_ed25519_sign(const struct kh_secret *seed, struct kh_span message,
                     uint8_t out[static KH_SIGNATURE_LEN])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed->bytes, KH_KEY_LEN);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t len = KH_SIGNATURE_LEN;

    must(key != NULL && context != NULL);
    must(EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1);
    must(EVP_DigestSign(context, out, &len, address_of(message), message.len) == 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
}

bool kh_ed25519_verify(const uint8_t public_key[static KH_KEY_LEN], struct kh_span message,
                       const uint8_t signature[static KH_SIGNATURE_LEN])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, KH_KEY_LEN);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool genuine;

    must(key != NULL && context != NULL);
    must(EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1);
    ERR_set_mark();
    genuine = EVP_DigestVerify(context, signature, KH_SIGNATURE_LEN, address_of(message),
                               message.len) == 1;
    ERR_pop_to_mark();
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return genuine;
}

void kh_x25519_public(const struct kh_secret *private_key, uint8_t out[static KH_KEY_LEN])
{
    public_of(EVP_PKEY_X25519, private_key, out);
}

bool kh_x25519_shared(const struct kh_secret *private_key, const uint8_t peer[static KH_KEY_LEN],
                      struct kh_secret *out)
{
    EVP_PKEY *ours =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key->bytes, KH_KEY_LEN);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, KH_KEY_LEN);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(ours, NULL);
    size_t len = sizeof out->bytes;
    bool shared;

    must(theirs != NULL && context != NULL);
    must(EVP_PKEY_derive_init(context) == 1);
    ERR_set_mark();
    shared = EVP_PKEY_derive_set_peer(context, theirs) == 1 &&
             EVP_PKEY_derive(context, out->bytes, &len) == 1; /* refuses the all-zero result */
    ERR_pop_to_mark();
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(ours);
    if (!shared)
        kh_wipe(out, sizeof *out);
    return shared;
}
