/* relay/answer.c - answers to requests: success, error, challenge.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <string.h>

#include "relay/machine.h"

#define CHALLENGE_BURST 8 /* seconds of the rate at once: everyone comes when a server restarts */

void kh_relay_transmit(struct kh_relay *relay, const struct kh_addr *from, const struct kh_addr *to,
                       size_t len)
{
    assert(!relay->has_transmit && len <= sizeof relay->data);
    relay->transmit =
        (struct kh_datagram){.from = *from, .to = *to, .data = relay->data, .len = len};
    relay->has_transmit = true;
    relay->dont_fragment = false;
}

struct kh_stun_writer kh_relay_answer_begin(struct kh_relay *relay,
                                            const struct kh_relay_caller *caller,
                                            enum kh_stun_class class)
{
    return kh_stun_begin(relay->data, sizeof relay->data, class, caller->method, caller->id);
}

void kh_relay_answer_end(struct kh_relay *relay, const struct kh_relay_caller *caller,
                         struct kh_stun_writer *writer)
{
    struct kh_span key = {caller->key.bytes, caller->key.len};
    size_t len;

    if (key.len > 0 && caller->key.is_sha256)
        kh_stun_add_integrity_sha256(writer, key);
    else if (key.len > 0)
        kh_stun_add_integrity(writer, key);
    if (caller->has_fingerprint)
        kh_stun_add_fingerprint(writer);
    len = kh_stun_finish(writer);
    assert(len > 0);
    kh_relay_transmit(relay, &caller->server, &caller->client, len);
}

void kh_relay_refuse(struct kh_relay *relay, const struct kh_relay_caller *caller, unsigned code)
{
    struct kh_stun_writer writer = kh_relay_answer_begin(relay, caller, KH_STUN_ERROR);

    relay->stats.refused++;
    kh_stun_add_error(&writer, code, "");
    if (code == KH_RELAY_UNKNOWN_ATTRIBUTE)
        kh_stun_add_unknown(&writer, caller->message);
    kh_relay_answer_end(relay, caller, &writer);
}

/* A challenge is paid for with a moment of its prefix's time. */
static bool is_over_limit(struct kh_relay *relay, const struct kh_addr *client)
{
    kh_time *until = &relay->challenged_until[kh_relay_prefix_of(relay, client) % KH_RELAY_BUCKETS];
    kh_duration price = KH_SECONDS(1) / relay->config.challenges_per_second;
    kh_time paid = *until > relay->now ? *until : relay->now;

    if (paid + price > relay->now + KH_SECONDS(CHALLENGE_BURST))
        return true;
    *until = paid + price;
    return false;
}

/* RFC 8489 9.2.4 wants realm, nonce and algorithms in the answer, so that it outgrows the 28 bytes
 * of a first Allocate threefold.  No reason phrase, no SOFTWARE, the shortest nonce that does, and
 * a rate keep that of no use to anyone; a request as long as the answer is always answered. */
void kh_relay_challenge(struct kh_relay *relay, const struct kh_relay_caller *caller, unsigned code)
{
    static const uint16_t algorithms[] = {KH_STUN_ALGORITHM_SHA256, KH_STUN_ALGORITHM_MD5};
    struct kh_stun_writer writer = kh_relay_answer_begin(relay, caller, KH_STUN_ERROR);
    struct kh_relay_caller stranger = *caller;
    char nonce[KH_RELAY_NONCE_LEN];

    stranger.key.len = 0; /* RFC 8489 9.2.4: no integrity in these */
    kh_relay_make_nonce(relay, relay->now, &caller->client, nonce);
    kh_stun_add_error(&writer, code, "");
    kh_stun_add(&writer, KH_STUN_REALM, relay->realm, strlen(relay->realm));
    kh_stun_add(&writer, KH_STUN_NONCE, nonce, sizeof nonce);
    kh_stun_add_algorithms(&writer, KH_STUN_PASSWORD_ALGORITHMS, algorithms, 2);
    if (writer.bytes.len > caller->request_len && is_over_limit(relay, &caller->client)) {
        relay->stats.dropped_limited++;
        return;
    }
    relay->stats.challenges++;
    kh_relay_answer_end(relay, &stranger, &writer);
}
