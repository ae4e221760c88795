/* room/inbox.h - what was heard of one member's log: each entry once, in its author's order.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_ROOM_INBOX_H
#define KH_ROOM_INBOX_H

#include "room/entry.h"

/* Entries ahead of their turn: as many as a sender has under way in signals at once, twice over. */
#define KH_ROOM_EARLY_MAX 128
#define KH_ROOM_EARLY_BYTES_MAX (64u << 10)

/* An entry that was verified, on its way to an event. */
struct kh_room_heard {
    struct kh_room_heard *next;
    struct kh_room_log_name name;
    struct kh_room_member_id from;
    enum kh_room_carrier via;
    uint64_t sequence;
    uint64_t time_ms;
    uint8_t kind;
    size_t len;
    uint8_t body[];
};

struct kh_room_inbox {
    uint64_t have;               /* all up to here were taken */
    struct kh_room_heard *early; /* owned; sorted, all above have, no two alike */
    size_t early_count;
    size_t early_bytes;
};

void kh_room_inbox_fini(struct kh_room_inbox *inbox); /* leaves `have` */

/* True if this entry is new, in its turn or not too far ahead of it. */
bool kh_room_inbox_wants(const struct kh_room_inbox *inbox, uint64_t sequence, size_t len);
bool kh_room_inbox_has(const struct kh_room_inbox *inbox, uint64_t sequence);

/* Takes ownership of an entry that it wants. */
void kh_room_inbox_put(struct kh_room_inbox *inbox, struct kh_room_heard *heard);
/* Gives the entry whose turn it is, NULL if that one is missing.  The caller frees it. */
struct kh_room_heard *kh_room_inbox_take(struct kh_room_inbox *inbox);
/* The author has nothing before `first` any more: do not wait for it. */
void kh_room_inbox_skip_to(struct kh_room_inbox *inbox, uint64_t first);

#endif
