/* room/frame.c - frames to and from bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/frame.h"

#include <assert.h>

static void write_header(struct kh_writer *writer, enum kh_room_frame_type type, size_t len)
{
    assert(len <= UINT16_MAX);
    kh_write_u8(writer, (uint8_t)type);
    kh_write_u16(writer, (uint16_t)len);
}

void kh_room_frame_head_write(struct kh_writer *writer, const struct kh_room_log_name *name,
                              uint64_t first, uint64_t last)
{
    write_header(writer, KH_ROOM_FRAME_HEAD, KH_ROOM_FRAME_HEAD_LEN - KH_ROOM_FRAME_HEADER_LEN);
    kh_room_log_name_write(writer, name);
    kh_write_u64(writer, first);
    kh_write_u64(writer, last);
}

void kh_room_frame_have_write(struct kh_writer *writer, const struct kh_room_log_name *name,
                              uint64_t have)
{
    write_header(writer, KH_ROOM_FRAME_HAVE, KH_ROOM_FRAME_HAVE_LEN - KH_ROOM_FRAME_HEADER_LEN);
    kh_room_log_name_write(writer, name);
    kh_write_u64(writer, have);
}

size_t kh_room_frame_entries_begin(struct kh_writer *writer, const struct kh_room_log_name *name,
                                   uint64_t first)
{
    size_t begin = writer->len;

    write_header(writer, KH_ROOM_FRAME_ENTRIES, 0);
    kh_room_log_name_write(writer, name);
    kh_write_u64(writer, first);
    return begin;
}

void kh_room_frame_entries_end(struct kh_writer *writer, size_t begin)
{
    size_t len = writer->len - begin - KH_ROOM_FRAME_HEADER_LEN;

    assert(!writer->failed && len <= UINT16_MAX);
    kh_write_u16_at(writer, begin + 1, (uint16_t)len);
}

void kh_room_frame_punch_write(struct kh_writer *writer, struct kh_span body)
{
    write_header(writer, KH_ROOM_FRAME_PUNCH, body.len);
    kh_write_bytes(writer, body.data, body.len);
}

bool kh_room_frame_read(struct kh_reader *reader, struct kh_room_frame *out)
{
    size_t len;
    const uint8_t *body;

    if (reader->failed || reader->left == 0)
        return false;
    out->type = kh_read_u8(reader);
    len = kh_read_u16(reader);
    body = kh_read_bytes(reader, len);
    out->body = kh_reader_of(body, len);
    return !reader->failed;
}
