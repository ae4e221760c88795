/* base/bytes.h - reading and writing byte strings that may be shorter than they claim.
 *
 * SPDX-License-Identifier: MIT
 *
 * Both are sticky: after one read or write that does not fit, `failed` is true, every later call
 * does nothing, reads give zero, and the caller checks once at the end.  Big-endian throughout.
 */
#ifndef KH_BASE_BYTES_H
#define KH_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kh_reader {
    const uint8_t *data; /* the next byte */
    size_t left;
    bool failed;
};

struct kh_reader kh_reader_of(const uint8_t *data, size_t len);
uint8_t kh_read_u8(struct kh_reader *reader);
uint16_t kh_read_u16(struct kh_reader *reader);
uint32_t kh_read_u32(struct kh_reader *reader);
uint64_t kh_read_u64(struct kh_reader *reader);
/* Returns the next len bytes in place, or NULL. */
const uint8_t *kh_read_bytes(struct kh_reader *reader, size_t len);
/* Copies the next len bytes to out; zeroes it on failure. */
void kh_read_copy(struct kh_reader *reader, uint8_t *out, size_t len);
/* True if nothing failed and nothing is left over. */
bool kh_reader_is_done(const struct kh_reader *reader);

struct kh_writer {
    uint8_t *data;
    size_t max;
    size_t len; /* written so far */
    bool failed;
};

struct kh_writer kh_writer_to(uint8_t *data, size_t max);
void kh_write_u8(struct kh_writer *writer, uint8_t value);
void kh_write_u16(struct kh_writer *writer, uint16_t value);
void kh_write_u32(struct kh_writer *writer, uint32_t value);
void kh_write_u64(struct kh_writer *writer, uint64_t value);
void kh_write_bytes(struct kh_writer *writer, const void *data, size_t len);
void kh_write_zeros(struct kh_writer *writer, size_t len);
/* Overwrites two bytes already written, at offset `at`: for lengths known only afterwards. */
void kh_write_u16_at(struct kh_writer *writer, size_t at, uint16_t value);

#endif
