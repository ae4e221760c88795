/* room/entry.c - entries: written and signed by their author, checked by everyone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/entry.h"

#include <assert.h>
#include <string.h>

/* author 32 · log 16 · sequence 8 · kind 1 · time 8 */
#define CONTEXT_LEN (KH_KEY_LEN + KH_ROOM_MEMBER_LEN + 8 + 1 + 8)

bool kh_room_log_name_equal(const struct kh_room_log_name *a, const struct kh_room_log_name *b)
{
    return memcmp(a->author, b->author, sizeof a->author) == 0 &&
           memcmp(a->log.bytes, b->log.bytes, sizeof a->log.bytes) == 0;
}

void kh_room_log_name_write(struct kh_writer *writer, const struct kh_room_log_name *name)
{
    kh_write_bytes(writer, name->author, sizeof name->author);
    kh_write_bytes(writer, name->log.bytes, sizeof name->log.bytes);
}

void kh_room_log_name_read(struct kh_reader *reader, struct kh_room_log_name *out)
{
    kh_read_copy(reader, out->author, sizeof out->author);
    kh_read_copy(reader, out->log.bytes, sizeof out->log.bytes);
}

static struct kh_room_claim claim_of(const struct kh_room_entry *entry,
                                     const struct kh_room_log_name *name,
                                     const struct kh_room_keys *keys,
                                     uint8_t context[static CONTEXT_LEN])
{
    struct kh_writer writer = kh_writer_to(context, CONTEXT_LEN);

    kh_room_log_name_write(&writer, name);
    kh_write_u64(&writer, entry->sequence);
    kh_write_u8(&writer, entry->kind);
    kh_write_u64(&writer, entry->time_ms);
    assert(!writer.failed && writer.len == CONTEXT_LEN);
    return (struct kh_room_claim){.label = KH_ROOM_LABEL_ENTRY,
                                  .keys = keys,
                                  .context = {context, CONTEXT_LEN},
                                  .body = {entry->body, entry->len}};
}

void kh_room_entry_write(const struct kh_room_entry *entry, const struct kh_room_log_name *name,
                         const struct kh_room_keys *keys, const struct kh_secret *identity,
                         struct kh_writer *writer)
{
    uint8_t context[CONTEXT_LEN];
    uint8_t signature[KH_SIGNATURE_LEN];
    struct kh_room_claim claim = claim_of(entry, name, keys, context);

    assert(entry->len <= UINT16_MAX);
    kh_room_claim_sign(&claim, identity, signature);
    kh_write_u8(writer, entry->kind);
    kh_write_u64(writer, entry->time_ms);
    kh_write_u16(writer, (uint16_t)entry->len);
    kh_write_bytes(writer, entry->body, entry->len);
    kh_write_bytes(writer, signature, sizeof signature);
}

void kh_room_entry_read(struct kh_reader *reader, struct kh_room_entry *out)
{
    *out = (struct kh_room_entry){.kind = kh_read_u8(reader)};
    out->time_ms = kh_read_u64(reader);
    out->len = kh_read_u16(reader);
    out->body = kh_read_bytes(reader, out->len);
    out->signature = kh_read_bytes(reader, KH_SIGNATURE_LEN);
}

bool kh_room_entry_verify(const struct kh_room_entry *entry, const struct kh_room_log_name *name,
                          const struct kh_room_keys *keys)
{
    uint8_t context[CONTEXT_LEN];
    struct kh_room_claim claim = claim_of(entry, name, keys, context);

    return kh_room_claim_verify(&claim, name->author, entry->signature);
}
