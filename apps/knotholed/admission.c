/* knotholed/admission.c - how many TLS handshakes may begin: they cost more than all else we do.
 *
 * SPDX-License-Identifier: MIT
 */
#include "admission.h"

#include <string.h>

#include "crypto/crypto.h"

struct rate {
    kh_duration each; /* until one is granted again */
    kh_duration most; /* all that may be used at once */
};

static const struct rate rate_of_all = {
    KH_SECONDS(1) / KH_KNOTHOLED_HANDSHAKES_RATE,
    KH_SECONDS(1) / KH_KNOTHOLED_HANDSHAKES_RATE *KH_KNOTHOLED_HANDSHAKES_BURST};
static const struct rate rate_of_prefix = {
    KH_SECONDS(1) / KH_KNOTHOLED_HANDSHAKES_PREFIX_RATE,
    KH_SECONDS(1) / KH_KNOTHOLED_HANDSHAKES_PREFIX_RATE *KH_KNOTHOLED_HANDSHAKES_PREFIX_BURST};

/* A leaky bucket. */
static void leak(struct kh_knotholed_allowance *allowance, kh_time now)
{
    kh_duration passed = kh_time_since(now, allowance->at);

    allowance->used = allowance->used > passed ? allowance->used - passed : 0;
    allowance->at = now;
}

static bool has_room(const struct kh_knotholed_allowance *allowance, const struct rate *rate)
{
    return allowance->used + rate->each <= rate->most;
}

static struct kh_knotholed_allowance *slot_of(struct kh_knotholed_admission *admission,
                                              const struct kh_addr *client)
{
    uint8_t key[9] = {client->family};
    uint64_t hash;

    memcpy(key + 1, client->ip, client->family == KH_FAMILY_IPV4 ? 4 : 8);
    hash = kh_siphash(admission->hash_key, key, sizeof key);
    return &admission->prefixes[hash & (KH_KNOTHOLED_ADMISSION_SLOTS - 1)];
}

bool kh_knotholed_admission_take(struct kh_knotholed_admission *admission, kh_time now,
                                 const struct kh_addr *client)
{
    struct kh_knotholed_allowance *prefix = slot_of(admission, client);

    leak(&admission->all, now);
    leak(prefix, now);
    if (!has_room(&admission->all, &rate_of_all) || !has_room(prefix, &rate_of_prefix))
        return false;
    admission->all.used += rate_of_all.each;
    prefix->used += rate_of_prefix.each;
    return true;
}
