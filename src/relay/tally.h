/* relay/tally.h - how many allocations each user and each prefix has.
 *
 * SPDX-License-Identifier: MIT
 *
 * Keys are 64 bits of SipHash under a key of ours: two that collide share a quota.
 */
#ifndef KH_RELAY_TALLY_H
#define KH_RELAY_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kh_relay_tally_entry {
    uint64_t key;
    size_t count; /* 0: free */
};

struct kh_relay_tally {
    struct kh_relay_tally_entry *entries; /* owned; open addressing, at most half full */
    size_t size;                          /* a power of two, or 0 */
    size_t used;
};

void kh_relay_tally_fini(struct kh_relay_tally *tally);
size_t kh_relay_tally_count(const struct kh_relay_tally *tally, uint64_t key);
/* False if memory is refused; nothing is counted then. */
bool kh_relay_tally_add(struct kh_relay_tally *tally, uint64_t key);
void kh_relay_tally_remove(struct kh_relay_tally *tally, uint64_t key); /* was added before */

#endif
