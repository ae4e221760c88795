/* rendezvous/offer.h - another relay and credentials there, sealed for one member's session.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RENDEZVOUS_OFFER_H
#define KH_RENDEZVOUS_OFFER_H

#include "rendezvous/wire.h"

/* Two addresses of 19 bytes, two texts, their counts and the lifetime; and the seal. */
#define KH_RENDEZVOUS_OFFER_MAX                                                                    \
    (4 + 1 + 2 * 19 + 2 * (1 + KH_RENDEZVOUS_RELAY_TEXT_MAX) + KH_AEAD_OVERHEAD)

/* What is sealed.  Returns the length. */
size_t kh_rendezvous_turn_write(const struct kh_rendezvous_turn *turn,
                                uint8_t out[static KH_RENDEZVOUS_OFFER_MAX]);
/* False, and *out is empty, if it is malformed. */
bool kh_rendezvous_turn_parse(struct kh_span plain, struct kh_rendezvous_turn *out);

/* The answer that an offer travels in: it opens nowhere else. */
struct kh_rendezvous_offer_seal {
    const struct kh_rendezvous_keys *keys;
    const uint8_t *id; /* KH_STUN_ID_LEN bytes */
};

/* Returns the length. */
size_t kh_rendezvous_offer_seal(const struct kh_rendezvous_turn *turn,
                                const struct kh_rendezvous_offer_seal *seal,
                                const uint8_t nonce[static KH_AEAD_NONCE_LEN],
                                uint8_t out[static KH_RENDEZVOUS_OFFER_MAX]);
/* False, and *out is empty, if it was not sealed for this answer, or is malformed. */
bool kh_rendezvous_offer_open(struct kh_span sealed, const struct kh_rendezvous_offer_seal *seal,
                              struct kh_rendezvous_turn *out);

#endif
