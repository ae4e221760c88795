/* turn/auth.c - long-term credentials: what we prove, what we believe (RFC 8489 9.2).
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/client.h"

#include <assert.h>
#include <string.h>

#define COOKIE "obMatJos2" /* RFC 8489 9.2: a nonce that says what its server can do */
#define COOKIE_LEN 9
#define FEATURES_LEN 4 /* base64 of 24 bits */

/* RFC 8489 18.1 numbers the bits without saying from which end; B.1 counts from the right.  Both
 * readings mean a server that offers algorithms. */
#define PASSWORD_ALGORITHMS 0x800001u

static struct kh_span span_of(const struct kh_turn_text *text)
{
    return (struct kh_span){text->bytes, text->len};
}

static bool set(struct kh_turn_text *text, struct kh_span value)
{
    if (value.len > sizeof text->bytes)
        return false;
    if (value.len > 0)
        memcpy(text->bytes, value.data, value.len);
    text->len = value.len;
    return true;
}

static void make_key(struct kh_turn_auth *auth)
{
    struct kh_span username = span_of(&auth->username);
    struct kh_span password = span_of(&auth->password);

    if (auth->algorithm == KH_STUN_ALGORITHM_SHA256) {
        kh_stun_long_term_key_sha256(username, span_of(&auth->realm), password, auth->key);
        auth->key_len = KH_SHA256_LEN;
    } else {
        kh_stun_long_term_key_md5(username, span_of(&auth->realm), password, auth->key);
        auth->key_len = KH_MD5_LEN;
    }
}

/* The strongest of a list; 0 if there is none that we know. */
static uint16_t choose(const uint8_t *list, size_t len)
{
    const struct kh_stun_attribute attribute = {
        .type = KH_STUN_PASSWORD_ALGORITHMS, .value = list, .len = len};
    struct kh_stun_algorithm algorithm;
    uint16_t best = 0;
    size_t at = 0;

    while (len > 0 && kh_stun_next_algorithm(&attribute, &at, &algorithm)) {
        bool known = algorithm.number == KH_STUN_ALGORITHM_MD5 ||
                     algorithm.number == KH_STUN_ALGORITHM_SHA256;

        if (known && algorithm.number > best)
            best = algorithm.number;
    }
    return best;
}

static bool is_enough(const struct kh_turn_auth *auth, uint16_t algorithm, size_t list_len)
{
    if (list_len > 0 && algorithm == 0)
        return false;
    return !auth->require_sha256 || algorithm == KH_STUN_ALGORITHM_SHA256;
}

enum kh_status kh_turn_auth_init(struct kh_turn_auth *auth, const struct kh_turn_request *request)
{
    struct kh_writer list = kh_writer_to(auth->list, sizeof auth->list);
    bool fits;

    assert(request->algorithm_count <= KH_TURN_ALGORITHMS_MAX);
    memset(auth, 0, sizeof *auth);
    auth->require_sha256 = request->require_sha256;
    fits = set(&auth->username, request->username) && set(&auth->password, request->password) &&
           set(&auth->realm, request->realm) && set(&auth->nonce, request->nonce);
    if (!fits || auth->username.len == 0 || (auth->nonce.len > 0 && auth->realm.len == 0)) {
        kh_turn_auth_fini(auth);
        return KH_ERR_FORMAT;
    }
    for (size_t i = 0; i < request->algorithm_count; i++) {
        kh_write_u16(&list, request->algorithms[i]);
        kh_write_u16(&list, 0); /* RFC 8489 18.5.1: no parameters */
    }
    auth->list_len = list.len;
    auth->algorithm = choose(auth->list, auth->list_len);
    if (!is_enough(auth, auth->algorithm, auth->list_len))
        auth->nonce.len = 0; /* what was preset is of no use; ask the server */
    make_key(auth);
    return KH_OK;
}

void kh_turn_auth_fini(struct kh_turn_auth *auth)
{
    kh_wipe(auth, sizeof *auth);
}

enum kh_turn_proof kh_turn_auth_sign(const struct kh_turn_auth *auth, struct kh_stun_writer *writer)
{
    struct kh_span key = {auth->key, auth->key_len};

    if (auth->nonce.len == 0)
        return KH_TURN_PROOF_NONE;
    kh_stun_add(writer, KH_STUN_USERNAME, auth->username.bytes, auth->username.len);
    kh_stun_add(writer, KH_STUN_REALM, auth->realm.bytes, auth->realm.len);
    kh_stun_add(writer, KH_STUN_NONCE, auth->nonce.bytes, auth->nonce.len);
    if (auth->list_len == 0) {
        kh_stun_add_integrity(writer, key);
        return KH_TURN_PROOF_SHA1;
    }
    /* RFC 8489 9.2.3.2: the list goes back as it came, so that the server sees who tampered. */
    kh_stun_add_algorithms(writer, KH_STUN_PASSWORD_ALGORITHM, &auth->algorithm, 1);
    kh_stun_add(writer, KH_STUN_PASSWORD_ALGORITHMS, auth->list, auth->list_len);
    kh_stun_add_integrity_sha256(writer, key);
    return KH_TURN_PROOF_SHA256;
}

bool kh_turn_auth_check(const struct kh_turn_auth *auth, enum kh_turn_proof proof,
                        const struct kh_stun_message *message)
{
    struct kh_span key = {auth->key, auth->key_len};

    if (proof == KH_TURN_PROOF_SHA256)
        return kh_stun_check_integrity_sha256(message, key, KH_SHA256_LEN);
    return proof == KH_TURN_PROOF_SHA1 && kh_stun_check_integrity(message, key);
}

/* The value of a base64 digit (RFC 4648 4), or 64. */
static unsigned digit(uint8_t letter)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = letter != 0 ? strchr(digits, letter) : NULL;

    return found != NULL ? (unsigned)(found - digits) : 64;
}

/* Does this nonce say that its server offers algorithms? */
static bool promises_algorithms(const struct kh_stun_attribute *nonce)
{
    uint32_t features = 0;

    if (nonce->len < COOKIE_LEN + FEATURES_LEN || memcmp(nonce->value, COOKIE, COOKIE_LEN) != 0)
        return false;
    for (size_t i = 0; i < FEATURES_LEN; i++) {
        unsigned value = digit(nonce->value[COOKIE_LEN + i]);

        if (value > 63)
            return false;
        features = features << 6 | value;
    }
    return (features & PASSWORD_ALGORITHMS) != 0;
}

enum kh_status kh_turn_auth_challenge(struct kh_turn_auth *auth,
                                      const struct kh_stun_message *message)
{
    struct kh_stun_attribute realm, nonce;
    struct kh_stun_attribute list = {.len = 0};
    uint16_t algorithm;

    if (!kh_stun_find(message, KH_STUN_NONCE, &nonce) ||
        !kh_stun_find(message, KH_STUN_REALM, &realm) || nonce.len == 0 || realm.len == 0 ||
        nonce.len > KH_TURN_NONCE_MAX || realm.len > KH_TURN_REALM_MAX)
        return KH_ERR_FORMAT;
    if (kh_stun_find(message, KH_STUN_PASSWORD_ALGORITHMS, &list) && list.len > sizeof auth->list)
        return KH_ERR_FORMAT;
    /* RFC 8489 9.2.1: whoever takes the list out of the answer, to be given a weaker proof, cannot
     * take it out of the nonce too, since the server will not know that nonce.  And a server that
     * once offered algorithms does not stop. */
    if (list.len == 0 && (promises_algorithms(&nonce) || auth->list_len > 0))
        return KH_ERR_AUTH;
    algorithm = choose(list.value, list.len);
    if (!is_enough(auth, algorithm, list.len) || algorithm < auth->algorithm)
        return KH_ERR_AUTH;
    (void)set(&auth->realm, (struct kh_span){realm.value, realm.len});
    (void)set(&auth->nonce, (struct kh_span){nonce.value, nonce.len});
    if (list.len > 0)
        memcpy(auth->list, list.value, list.len);
    auth->list_len = list.len;
    auth->algorithm = algorithm;
    make_key(auth);
    return KH_OK;
}

void kh_turn_auth_next_nonce(struct kh_turn_auth *auth, const struct kh_stun_message *message)
{
    struct kh_stun_attribute nonce;

    if (kh_stun_find(message, KH_STUN_NONCE, &nonce) && nonce.len > 0 &&
        nonce.len <= KH_TURN_NONCE_MAX)
        (void)set(&auth->nonce, (struct kh_span){nonce.value, nonce.len});
}
