/* room/outlog.c - a ring of own entries, bounded in number and bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/outlog.h"

#include <assert.h>
#include <stdlib.h>

/* Where the length of an entry's body stands: after its kind and time. */
#define LENGTH_AT 9

static size_t entry_len(const uint8_t *entry)
{
    return (size_t)(entry[LENGTH_AT] << 8 | entry[LENGTH_AT + 1]) + KH_ROOM_ENTRY_OVERHEAD;
}

static uint8_t **slot_of(struct kh_room_outlog *log, uint64_t sequence)
{
    return &log->entries[sequence % KH_ROOM_LOG_MAX];
}

static void forget_first(struct kh_room_outlog *log)
{
    uint8_t **slot = slot_of(log, log->first);

    log->bytes -= entry_len(*slot);
    free(*slot);
    *slot = NULL;
    log->first++;
}

void kh_room_outlog_init(struct kh_room_outlog *log)
{
    *log = (struct kh_room_outlog){.first = 1};
}

void kh_room_outlog_fini(struct kh_room_outlog *log)
{
    while (log->first <= log->last)
        forget_first(log);
}

bool kh_room_outlog_make_room(struct kh_room_outlog *log, size_t len, uint64_t expendable)
{
    uint64_t first = log->first;
    size_t bytes = log->bytes + len;

    /* Nothing may be forgotten before it is sure to be enough. */
    while (log->last - first + 1 >= KH_ROOM_LOG_MAX || bytes > KH_ROOM_LOG_BYTES_MAX) {
        if (first > log->last || first > expendable)
            return false;
        bytes -= entry_len(*slot_of(log, first));
        first++;
    }
    while (log->first < first)
        forget_first(log);
    return true;
}

void kh_room_outlog_append(struct kh_room_outlog *log, uint8_t *entry)
{
    assert(log->last - log->first + 1 < KH_ROOM_LOG_MAX);
    log->last++;
    *slot_of(log, log->last) = entry;
    log->bytes += entry_len(entry);
}

struct kh_span kh_room_outlog_at(const struct kh_room_outlog *log, uint64_t sequence)
{
    const uint8_t *entry = log->entries[sequence % KH_ROOM_LOG_MAX];

    assert(sequence >= log->first && sequence <= log->last);
    return (struct kh_span){entry, entry_len(entry)};
}
