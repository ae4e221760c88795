/* relay/auth.c - nonces, credentials, and who a request is from (RFC 8489 9.2).
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "relay/machine.h"

/* RFC 8489 9.2 and 18.1: the cookie, then 24 bits in base64 of which the leftmost says that we
 * know PASSWORD-ALGORITHMS.  USERHASH is not offered: a shared secret knows no list of users. */
#define COOKIE "obMatJos2gAAA"
#define COOKIE_LEN 13
#define NONCE_TIME_LEN 3 /* seconds; the bits above are guessed from the clock */
#define NONCE_MAC_LEN 6  /* it proves an address for an hour; the password is checked besides */
#define NONCE_BODY_LEN (NONCE_TIME_LEN + NONCE_MAC_LEN)
#define NONCE_TIME_MASK 0xffffffu

static uint64_t seconds(kh_time time)
{
    return time / KH_SECONDS(1);
}

/* Bound to the port as well, so that a stolen one serves nobody behind the same NAT. */
static void nonce_at(const struct kh_relay *relay, uint64_t made, const struct kh_addr *client,
                     char out[static KH_RELAY_NONCE_LEN])
{
    struct kh_span key = {relay->nonce_key.bytes, sizeof relay->nonce_key.bytes};
    struct kh_span spans[] = {{&made, sizeof made}, {client, sizeof *client}};
    char text[KH_BASE64URL_SIZE(NONCE_BODY_LEN)];
    uint8_t mac[KH_SHA256_LEN];
    uint8_t body[NONCE_BODY_LEN] = {(uint8_t)(made >> 16), (uint8_t)(made >> 8), (uint8_t)made};

    kh_hmac_sha256(key, spans, 2, mac);
    memcpy(body + NONCE_TIME_LEN, mac, NONCE_MAC_LEN);
    kh_base64url_write(body, sizeof body, text);
    assert(COOKIE_LEN + strlen(text) == KH_RELAY_NONCE_LEN);
    memcpy(out, COOKIE, COOKIE_LEN);
    memcpy(out + COOKIE_LEN, text, KH_RELAY_NONCE_LEN - COOKIE_LEN);
}

void kh_relay_make_nonce(const struct kh_relay *relay, kh_time now, const struct kh_addr *client,
                         char out[static KH_RELAY_NONCE_LEN])
{
    nonce_at(relay, seconds(now), client, out);
}

static bool is_nonce_fresh(const struct kh_relay *relay, const struct kh_addr *client,
                           const struct kh_stun_attribute *nonce)
{
    uint64_t now = seconds(relay->now);
    uint8_t body[NONCE_BODY_LEN];
    char expected[KH_RELAY_NONCE_LEN];
    uint64_t age;

    if (nonce->len != KH_RELAY_NONCE_LEN ||
        !kh_base64url_parse((const char *)nonce->value + COOKIE_LEN,
                            KH_RELAY_NONCE_LEN - COOKIE_LEN, body, sizeof body))
        return false;
    age = (now - ((uint64_t)body[0] << 16 | (uint64_t)body[1] << 8 | body[2])) & NONCE_TIME_MASK;
    if (age > now || age >= seconds(relay->config.nonce_lifetime))
        return false;
    nonce_at(relay, now - age, client, expected);
    return kh_equal(expected, nonce->value, sizeof expected);
}

uint64_t kh_relay_prefix_of(const struct kh_relay *relay, const struct kh_addr *addr)
{
    size_t len = addr->family == KH_FAMILY_IPV4 ? 3 : 6;
    uint8_t bytes[7] = {addr->family};

    memcpy(bytes + 1, addr->ip, len);
    return kh_siphash(relay->table.hash_key, bytes, 1 + len);
}

/* ---- the shared secret ---- */

/* RFC 4648 4, which base/ has no other use for. */
static void base64_of_sha1(const uint8_t in[static KH_SHA1_LEN],
                           char out[static KH_RELAY_PASSWORD_LEN])
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < KH_RELAY_PASSWORD_LEN / 4; i++) {
        uint32_t third = 3 * i + 2 < KH_SHA1_LEN ? in[3 * i + 2] : 0;
        uint32_t bits = (uint32_t)in[3 * i] << 16 | (uint32_t)in[3 * i + 1] << 8 | third;

        for (size_t j = 0; j < 4; j++)
            out[4 * i + j] = letters[bits >> (18 - 6 * j) & 63];
    }
    out[KH_RELAY_PASSWORD_LEN - 1] = '='; /* 20 bytes leave one place empty */
}

void kh_relay_write_password(struct kh_span secret, struct kh_span username,
                             char out[static KH_RELAY_PASSWORD_LEN])
{
    uint8_t mac[KH_SHA1_LEN];

    kh_hmac_sha1(secret, &username, 1, mac);
    base64_of_sha1(mac, out);
    kh_wipe(mac, sizeof mac);
}

/* Reads "EXPIRY" or "EXPIRY:name"; false for another form.  *name is the name with its colon, or
 * all if there is none. */
static bool read_username(struct kh_span username, uint64_t *expiry, struct kh_span *name)
{
    const uint8_t *text = username.data;
    size_t at = 0;

    *expiry = 0;
    while (at < username.len && text[at] >= '0' && text[at] <= '9' && at < 18)
        *expiry = *expiry * 10 + (uint64_t)(text[at++] - '0');
    if (at == 0 || (at < username.len && text[at] != ':'))
        return false;
    *name = at < username.len ? (struct kh_span){text + at, username.len - at} : username;
    return true;
}

static bool is_expired(const struct kh_relay *relay, uint64_t expiry)
{
    return relay->wall_seconds == 0 ||
           relay->wall_seconds + seconds(kh_time_since(relay->now, relay->wall_at)) >= expiry;
}

/* Gives the password for this user by the shared secret.  Credentials that expired are good for an
 * allocation made while they were not: a call does not end because its ticket was only valid at the
 * door. */
static bool find_password(const struct kh_relay *relay, struct kh_relay_caller *caller,
                          struct kh_span username, char password[static KH_RELAY_PASSWORD_LEN])
{
    const struct kh_relay_allocation *allocation = caller->allocation;
    struct kh_span name;
    uint64_t expiry;

    if (relay->config.secret.len == 0 || !read_username(username, &expiry, &name))
        return false;
    if (is_expired(relay, expiry) &&
        (allocation == NULL || allocation->username != caller->username))
        return false;
    caller->user = kh_siphash(relay->table.hash_key, name.data, name.len);
    kh_relay_write_password(relay->config.secret, username, password);
    return true;
}

/* ---- a request ---- */

struct credentials {
    struct kh_span username;
    struct kh_stun_attribute nonce;
    unsigned algorithm;
};

/* RFC 8489 9.2.4: PASSWORD-ALGORITHMS comes back as we sent it, and names what was chosen; so that
 * nobody on the way can take the better one out. */
static bool read_algorithm(const struct kh_stun_message *message, unsigned *algorithm)
{
    static const uint16_t ours[] = {KH_STUN_ALGORITHM_SHA256, KH_STUN_ALGORITHM_MD5};
    struct kh_stun_attribute list;
    struct kh_stun_attribute chosen;
    bool has_list = kh_stun_find(message, KH_STUN_PASSWORD_ALGORITHMS, &list);
    struct kh_stun_algorithm each;
    size_t at = 0;

    *algorithm = KH_STUN_ALGORITHM_MD5;
    if (has_list != kh_stun_find(message, KH_STUN_PASSWORD_ALGORITHM, &chosen))
        return false;
    if (!has_list)
        return true;
    for (size_t i = 0; i < 2; i++) {
        if (!kh_stun_next_algorithm(&list, &at, &each) || each.number != ours[i] ||
            each.parameters.len != 0)
            return false;
    }
    if (kh_stun_next_algorithm(&list, &at, &each))
        return false;
    at = 0;
    if (!kh_stun_next_algorithm(&chosen, &at, &each) || each.parameters.len != 0)
        return false;
    *algorithm = each.number;
    return each.number == ours[0] || each.number == ours[1];
}

static bool read_credentials(const struct kh_stun_message *message, struct credentials *out)
{
    struct kh_stun_attribute username;
    struct kh_stun_attribute realm;

    if (!kh_stun_find(message, KH_STUN_USERNAME, &username) ||
        !kh_stun_find(message, KH_STUN_REALM, &realm) ||
        !kh_stun_find(message, KH_STUN_NONCE, &out->nonce))
        return false;
    out->username = (struct kh_span){username.value, username.len};
    return read_algorithm(message, &out->algorithm);
}

static void derive_key(const struct kh_relay *relay, const struct credentials *credentials,
                       struct kh_span password, struct kh_relay_key *key)
{
    struct kh_span realm = {relay->realm, strlen(relay->realm)};

    if (credentials->algorithm == KH_STUN_ALGORITHM_SHA256) {
        kh_stun_long_term_key_sha256(credentials->username, realm, password, key->bytes);
        key->len = KH_SHA256_LEN;
    } else {
        kh_stun_long_term_key_md5(credentials->username, realm, password, key->bytes);
        key->len = KH_MD5_LEN;
    }
}

/* Finds the key that this user and algorithm have; false if the user is nobody. */
static bool find_key(const struct kh_relay *relay, struct kh_relay_caller *caller,
                     const struct credentials *credentials, const struct kh_span *password)
{
    const struct kh_relay_allocation *allocation = caller->allocation;
    size_t len = credentials->algorithm == KH_STUN_ALGORITHM_SHA256 ? KH_SHA256_LEN : KH_MD5_LEN;
    char text[KH_RELAY_PASSWORD_LEN];

    if (allocation != NULL && allocation->username == caller->username &&
        allocation->key.len == len) {
        caller->key = allocation->key;
        return true;
    }
    caller->user = caller->username;
    if (password != NULL) {
        derive_key(relay, credentials, *password, &caller->key);
        return true;
    }
    if (!find_password(relay, caller, credentials->username, text))
        return false;
    derive_key(relay, credentials, (struct kh_span){text, sizeof text}, &caller->key);
    kh_wipe(text, sizeof text);
    return true;
}

static bool is_integrity_right(struct kh_relay_caller *caller)
{
    struct kh_span key = {caller->key.bytes, caller->key.len};

    caller->key.is_sha256 = caller->message->integrity_sha256_at != 0;
    if (caller->key.is_sha256)
        return kh_stun_check_integrity_sha256(caller->message, key, KH_SHA256_LEN);
    return kh_stun_check_integrity(caller->message, key);
}

bool kh_relay_authenticate(struct kh_relay *relay, struct kh_relay_caller *caller,
                           const struct kh_span *password)
{
    const struct kh_stun_message *message = caller->message;
    struct credentials credentials;

    caller->key.len = 0;
    if (message->integrity_at == 0 && message->integrity_sha256_at == 0) {
        kh_relay_challenge(relay, caller, KH_RELAY_UNAUTHENTICATED);
        return false;
    }
    if (!read_credentials(message, &credentials)) {
        kh_relay_refuse(relay, caller, KH_RELAY_BAD_REQUEST);
        return false;
    }
    if (!is_nonce_fresh(relay, &caller->client, &credentials.nonce)) {
        kh_relay_challenge(relay, caller, KH_RELAY_STALE_NONCE);
        return false;
    }
    caller->username =
        kh_siphash(relay->table.hash_key, credentials.username.data, credentials.username.len);
    if (!find_key(relay, caller, &credentials, password) || !is_integrity_right(caller)) {
        relay->stats.dropped_unauthentic++;
        kh_relay_challenge(relay, caller, KH_RELAY_UNAUTHENTICATED);
        return false;
    }
    /* RFC 8656 5: whoever made the allocation asks about it. */
    if (caller->allocation != NULL && caller->allocation->username != caller->username) {
        kh_relay_refuse(relay, caller, KH_RELAY_WRONG_CREDENTIALS);
        return false;
    }
    return true;
}
