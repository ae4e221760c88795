/* room/outlog.h - our own log: what we said, kept for those who lack it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_ROOM_OUTLOG_H
#define KH_ROOM_OUTLOG_H

#include "room/entry.h"

struct kh_room_outlog {
    uint8_t *entries[KH_ROOM_LOG_MAX]; /* owned; as kh_room_entry_write made them */
    uint64_t first;                    /* kept are first .. last; none if last is first - 1 */
    uint64_t last;                     /* 0: nothing was ever said */
    size_t bytes;
};

void kh_room_outlog_init(struct kh_room_outlog *log);
void kh_room_outlog_fini(struct kh_room_outlog *log);

/* Forgets the oldest entries, of those up to `expendable`, until one of len bytes fits. */
bool kh_room_outlog_make_room(struct kh_room_outlog *log, size_t len, uint64_t expendable);

/* Takes ownership of the bytes of the entry numbered last + 1; there has to be room. */
void kh_room_outlog_append(struct kh_room_outlog *log, uint8_t *entry);

/* The bytes of one entry that is kept. */
struct kh_span kh_room_outlog_at(const struct kh_room_outlog *log, uint64_t sequence);

#endif
