/* base/bytes.c - bounds-checked readers and writers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/bytes.h"

#include <assert.h>
#include <string.h>

struct kh_reader kh_reader_of(const uint8_t *data, size_t len)
{
    return (struct kh_reader){.data = data, .left = len};
}

const uint8_t *kh_read_bytes(struct kh_reader *reader, size_t len)
{
    const uint8_t *at = reader->data;

    if (reader->failed || reader->left < len) {
        reader->failed = true;
        return NULL;
    }
    reader->data += len;
    reader->left -= len;
    return at;
}

static uint64_t read_big_endian(struct kh_reader *reader, size_t len)
{
    const uint8_t *at = kh_read_bytes(reader, len);
    uint64_t value = 0;

    for (size_t i = 0; at != NULL && i < len; i++)
        value = value << 8 | at[i];
    return value;
}

uint8_t kh_read_u8(struct kh_reader *reader)
{
    return (uint8_t)read_big_endian(reader, 1);
}

uint16_t kh_read_u16(struct kh_reader *reader)
{
    return (uint16_t)read_big_endian(reader, 2);
}

uint32_t kh_read_u32(struct kh_reader *reader)
{
    return (uint32_t)read_big_endian(reader, 4);
}

uint64_t kh_read_u64(struct kh_reader *reader)
{
    return read_big_endian(reader, 8);
}

void kh_read_copy(struct kh_reader *reader, uint8_t *out, size_t len)
{
    const uint8_t *at = kh_read_bytes(reader, len);

    if (at != NULL)
        memcpy(out, at, len);
    else
        memset(out, 0, len);
}

bool kh_reader_is_done(const struct kh_reader *reader)
{
    return !reader->failed && reader->left == 0;
}

struct kh_writer kh_writer_to(uint8_t *data, size_t max)
{
    return (struct kh_writer){.data = data, .max = max};
}

/* Returns where the next len bytes go, or NULL if they do not fit. */
static uint8_t *reserve(struct kh_writer *writer, size_t len)
{
    uint8_t *at = writer->data + writer->len;

    if (writer->failed || writer->max - writer->len < len) {
        writer->failed = true;
        return NULL;
    }
    writer->len += len;
    return at;
}

static void write_big_endian(struct kh_writer *writer, uint64_t value, size_t len)
{
    uint8_t *at = reserve(writer, len);

    for (size_t i = 0; at != NULL && i < len; i++)
        at[i] = (uint8_t)(value >> (8 * (len - 1 - i)));
}

void kh_write_u8(struct kh_writer *writer, uint8_t value)
{
    write_big_endian(writer, value, 1);
}

void kh_write_u16(struct kh_writer *writer, uint16_t value)
{
    write_big_endian(writer, value, 2);
}

void kh_write_u32(struct kh_writer *writer, uint32_t value)
{
    write_big_endian(writer, value, 4);
}

void kh_write_u64(struct kh_writer *writer, uint64_t value)
{
    write_big_endian(writer, value, 8);
}

void kh_write_bytes(struct kh_writer *writer, const void *data, size_t len)
{
    uint8_t *at = reserve(writer, len);

    if (at != NULL && len > 0)
        memcpy(at, data, len);
}

void kh_write_zeros(struct kh_writer *writer, size_t len)
{
    uint8_t *at = reserve(writer, len);

    if (at != NULL)
        memset(at, 0, len);
}

void kh_write_u16_at(struct kh_writer *writer, size_t at, uint16_t value)
{
    if (writer->failed)
        return;
    assert(at + 2 <= writer->len);
    writer->data[at] = (uint8_t)(value >> 8);
    writer->data[at + 1] = (uint8_t)value;
}
