/* rendezvous/nonce.h - proofs of return routability that the server need not remember.
 *
 * SPDX-License-Identifier: MIT
 *
 * A nonce is the time it was made and a truncated HMAC over that time and the client's IP.  The
 * book of departed stays rests on it: a join can be replayed only while its nonce is valid.
 */
#ifndef KH_RENDEZVOUS_NONCE_H
#define KH_RENDEZVOUS_NONCE_H

#include "base/addr.h"
#include "base/time.h"
#include "crypto/crypto.h"

#define KH_RENDEZVOUS_NONCE_LEN 20 /* 4 of time in seconds, 16 of HMAC */

struct kh_rendezvous_nonces {
    struct kh_secret secret;
    kh_duration lifetime;
};

/* Bound to the IP but not to the port, so that it can be kept for the next run's socket. */
void kh_rendezvous_nonce_make(const struct kh_rendezvous_nonces *nonces, kh_time now,
                              const struct kh_addr *client,
                              uint8_t out[static KH_RENDEZVOUS_NONCE_LEN]);
bool kh_rendezvous_nonce_check(const struct kh_rendezvous_nonces *nonces, kh_time now,
                               const struct kh_addr *client, struct kh_span nonce);

#endif
