/* rendezvous/departed.h - the book of stays that are over, so that no replayed join revives one.
 *
 * SPDX-License-Identifier: MIT
 *
 * Two generations of keyed 8-byte hashes.  A stay is kept for at least one nonce lifetime after it
 * ended, longer than any nonce its join can have used.
 */
#ifndef KH_RENDEZVOUS_DEPARTED_H
#define KH_RENDEZVOUS_DEPARTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/time.h"

struct kh_rendezvous_departed {
    uint64_t *current; /* owned; open addressing, 0 is an empty slot */
    uint64_t *previous;
    size_t slots; /* a power of two */
    size_t count; /* in current; kept under half of the slots */
    kh_time turn_at;
    kh_duration lifetime;
};

/* Holds at least stays_max of one generation. */
KH_MUST_USE enum kh_status kh_rendezvous_departed_init(struct kh_rendezvous_departed *book,
                                                       size_t stays_max, kh_duration lifetime);
void kh_rendezvous_departed_fini(struct kh_rendezvous_departed *book);

/* hash is a keyed hash of the stay.  False if the book is full: then all nonces must be made
 * invalid and the book cleared. */
KH_MUST_USE bool kh_rendezvous_departed_add(struct kh_rendezvous_departed *book, kh_time now,
                                            uint64_t hash);
bool kh_rendezvous_departed_has(const struct kh_rendezvous_departed *book, uint64_t hash);
void kh_rendezvous_departed_clear(struct kh_rendezvous_departed *book, kh_time now);

#endif
