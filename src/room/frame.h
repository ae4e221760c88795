/* room/frame.h - frames: what members say to each other, in a channel message or in a signal.
 *
 * SPDX-License-Identifier: MIT
 *
 *     version 1 · then frames, each: type 1 · length 2 · body
 *
 * A frame of a type not known here is skipped; so is what follows the known part of a HEAD.
 */
#ifndef KH_ROOM_FRAME_H
#define KH_ROOM_FRAME_H

#include "room/entry.h"

#define KH_ROOM_FRAMES_VERSION 1

enum kh_room_frame_type {
    KH_ROOM_FRAME_HEAD = 1,    /* log name · first 8 · last 8: what I can give of this log */
    KH_ROOM_FRAME_HAVE = 2,    /* any number of: log name · sequence 8: I have it up to here */
    KH_ROOM_FRAME_ENTRIES = 3, /* log name · first 8 · entries in sequence */
    KH_ROOM_FRAME_PUNCH = 4,   /* what punch/ says: not the room's matter */
};

#define KH_ROOM_FRAME_HEADER_LEN 3
#define KH_ROOM_LOG_NAME_LEN (KH_KEY_LEN + KH_ROOM_MEMBER_LEN)
#define KH_ROOM_FRAME_HEAD_LEN (KH_ROOM_FRAME_HEADER_LEN + KH_ROOM_LOG_NAME_LEN + 16)
#define KH_ROOM_FRAME_HAVE_LEN (KH_ROOM_FRAME_HEADER_LEN + KH_ROOM_LOG_NAME_LEN + 8)
#define KH_ROOM_FRAME_ENTRIES_LEN (KH_ROOM_FRAME_HEADER_LEN + KH_ROOM_LOG_NAME_LEN + 8)

void kh_room_frame_head_write(struct kh_writer *writer, const struct kh_room_log_name *name,
                              uint64_t first, uint64_t last);
void kh_room_frame_have_write(struct kh_writer *writer, const struct kh_room_log_name *name,
                              uint64_t have);

/* Begins a frame of entries; returns what _end needs.  Between the two, entries are written. */
size_t kh_room_frame_entries_begin(struct kh_writer *writer, const struct kh_room_log_name *name,
                                   uint64_t first);
void kh_room_frame_entries_end(struct kh_writer *writer, size_t begin);

void kh_room_frame_punch_write(struct kh_writer *writer, struct kh_span body);

struct kh_room_frame {
    uint8_t type; /* enum kh_room_frame_type, or one of a later version */
    struct kh_reader body;
};

/* Gives the next frame; false at the end, and with reader->failed if it is cut. */
bool kh_room_frame_read(struct kh_reader *reader, struct kh_room_frame *out);

#endif
