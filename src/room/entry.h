/* room/entry.h - one signed entry of a log, as bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_ROOM_ENTRY_H
#define KH_ROOM_ENTRY_H

#include "base/bytes.h"
#include "room/keys.h"

#define KH_ROOM_ENTRY_TEXT 1 /* the kind of a message; others are reserved, and skipped if met */

/* kind 1 · time 8 · length 2 · body · signature 64 */
#define KH_ROOM_ENTRY_OVERHEAD (1 + 8 + 2 + KH_SIGNATURE_LEN)

/* Sequence numbers stay below 2^53, so that a program in a browser can count them exactly. */
#define KH_ROOM_SEQUENCE_MAX ((UINT64_C(1) << 53) - 1)

/* Names a log: an author may write one for each of its stays. */
struct kh_room_log_name {
    uint8_t author[KH_KEY_LEN];
    struct kh_room_member_id log;
};

bool kh_room_log_name_equal(const struct kh_room_log_name *a, const struct kh_room_log_name *b);
void kh_room_log_name_write(struct kh_writer *writer, const struct kh_room_log_name *name);
void kh_room_log_name_read(struct kh_reader *reader, struct kh_room_log_name *out);

struct kh_room_entry {
    uint64_t sequence; /* not in the bytes: it follows from the place in a run of entries */
    uint8_t kind;
    uint64_t time_ms;
    const uint8_t *body; /* borrowed */
    size_t len;          /* at most UINT16_MAX */
    const uint8_t *signature;
};

/* Signs the entry as this log's author and writes it; entry->signature is not looked at. */
void kh_room_entry_write(const struct kh_room_entry *entry, const struct kh_room_log_name *name,
                         const struct kh_room_keys *keys, const struct kh_secret *identity,
                         struct kh_writer *writer);

/* Reads all but the sequence; what is malformed fails the reader. */
void kh_room_entry_read(struct kh_reader *reader, struct kh_room_entry *out);
bool kh_room_entry_verify(const struct kh_room_entry *entry, const struct kh_room_log_name *name,
                          const struct kh_room_keys *keys);

#endif
