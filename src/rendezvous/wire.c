/* rendezvous/wire.c - keys, signatures, entries and sequence numbers of the rendezvous protocol.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/wire.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"

#define BINDING_LEN (KH_RENDEZVOUS_ROOM_LEN + KH_RENDEZVOUS_MEMBER_LEN + 2 * KH_KEY_LEN)
#define SIGNED_CONTEXT                                                                             \
    "KHJ1" /* stands in for type and length, which the signature cannot cover                      \
            */
#define SIGNED_CONTEXT_LEN 4
#define ADDR_LEN_MAX (1 + 2 + 16)
#define CHANGE_FIXED_LEN (8 + KH_RENDEZVOUS_MEMBER_LEN + 1)

enum { KIND_GONE = 0, KIND_PRESENT = 1 };

bool kh_rendezvous_member_equal(const struct kh_rendezvous_member_id *a,
                                const struct kh_rendezvous_member_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void kh_rendezvous_keys_derive(const struct kh_secret *shared,
                               const struct kh_rendezvous_binding *binding,
                               struct kh_rendezvous_keys *out)
{
    uint8_t bound[BINDING_LEN];
    struct kh_writer writer = kh_writer_to(bound, sizeof bound);
    struct kh_span key = {shared->bytes, sizeof shared->bytes};
    struct kh_span salt = {bound, sizeof bound};

    kh_write_bytes(&writer, binding->room, KH_RENDEZVOUS_ROOM_LEN);
    kh_write_bytes(&writer, binding->member->bytes, KH_RENDEZVOUS_MEMBER_LEN);
    kh_write_bytes(&writer, binding->client_key, KH_KEY_LEN);
    kh_write_bytes(&writer, binding->server_key, KH_KEY_LEN);
    assert(!writer.failed && writer.len == BINDING_LEN);
    kh_hkdf(key, salt, "knothole rendezvous to server", out->to_server.bytes, KH_KEY_LEN);
    kh_hkdf(key, salt, "knothole rendezvous to client", out->to_client.bytes, KH_KEY_LEN);
    kh_hkdf(key, salt, "knothole relay", out->relay.bytes, KH_KEY_LEN);
}

void kh_rendezvous_write_credentials(const struct kh_rendezvous_member_id *member,
                                     const struct kh_rendezvous_keys *keys,
                                     struct kh_rendezvous_credentials *out)
{
    (void)kh_hex_write(member->bytes, sizeof member->bytes, out->username);
    (void)kh_hex_write(keys->relay.bytes, KH_RENDEZVOUS_MEMBER_LEN, out->password);
}

struct kh_span kh_rendezvous_key_span(const struct kh_secret *key)
{
    return (struct kh_span){key->bytes, sizeof key->bytes};
}

/* Writes what is signed: the message before SIGNATURE, its type and length replaced by a context,
 * since the length is not known before the message is complete. */
static struct kh_span signed_bytes(const uint8_t *message, size_t len,
                                   uint8_t out[static KH_DATAGRAM_MAX])
{
    assert(len >= KH_STUN_HEADER_LEN && len <= KH_DATAGRAM_MAX);
    memcpy(out, message, len);
    memcpy(out, SIGNED_CONTEXT, SIGNED_CONTEXT_LEN);
    return (struct kh_span){out, len};
}

size_t kh_rendezvous_finish_signed(struct kh_stun_writer *writer, const struct kh_secret *room_seed)
{
    uint8_t bytes[KH_DATAGRAM_MAX];
    uint8_t signature[KH_SIGNATURE_LEN];

    if (writer->bytes.failed)
        return 0;
    kh_ed25519_sign(room_seed, signed_bytes(writer->bytes.data, writer->bytes.len, bytes),
                    signature);
    kh_stun_add(writer, KH_STUN_SIGNATURE, signature, sizeof signature);
    kh_stun_add_fingerprint(writer);
    return kh_stun_finish(writer);
}

bool kh_rendezvous_check_signature(const struct kh_stun_message *message,
                                   const uint8_t room[static KH_RENDEZVOUS_ROOM_LEN])
{
    uint8_t bytes[KH_DATAGRAM_MAX];
    const uint8_t *signature;
    size_t before;

    if (!kh_stun_find_bytes(message, KH_STUN_SIGNATURE, KH_SIGNATURE_LEN, &signature))
        return false;
    before = (size_t)(signature - message->data) - KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD;
    if (before > sizeof bytes)
        return false;
    return kh_ed25519_verify(room, signed_bytes(message->data, before, bytes), signature);
}

size_t kh_rendezvous_finish(struct kh_stun_writer *writer, const struct kh_secret *key)
{
    if (key != NULL)
        kh_stun_add_integrity_sha256(writer, kh_rendezvous_key_span(key));
    kh_stun_add_fingerprint(writer);
    return kh_stun_finish(writer);
}

bool kh_rendezvous_find_span(const struct kh_stun_message *message, uint16_t type, size_t max,
                             struct kh_span *out)
{
    struct kh_stun_attribute attribute;

    if (!kh_stun_find(message, type, &attribute) || attribute.len == 0 || attribute.len > max)
        return false;
    *out = (struct kh_span){attribute.value, attribute.len};
    return true;
}

bool kh_rendezvous_find_id(const struct kh_stun_message *message, uint16_t type,
                           struct kh_rendezvous_member_id *out)
{
    const uint8_t *bytes;

    if (!kh_stun_find_bytes(message, type, sizeof out->bytes, &bytes))
        return false;
    memcpy(out->bytes, bytes, sizeof out->bytes);
    return true;
}

/* Hides the address from NATs that rewrite what looks like one (RFC 8489 14.2). */
static void mask_ip(uint8_t *ip, size_t len)
{
    static const uint8_t magic[4] = {0x21, 0x12, 0xA4, 0x42};

    for (size_t i = 0; i < len; i++)
        ip[i] ^= magic[i % sizeof magic];
}

static void write_addr(struct kh_writer *writer, const struct kh_addr *addr)
{
    size_t len = kh_addr_ip_len(addr);
    uint8_t ip[16];

    memcpy(ip, addr->ip, sizeof ip);
    mask_ip(ip, len);
    kh_write_u8(writer, addr->family);
    if (kh_addr_is_none(addr))
        return;
    kh_write_u16(writer, (uint16_t)(addr->port ^ (KH_STUN_MAGIC >> 16)));
    kh_write_bytes(writer, ip, len);
}

static bool read_addr(struct kh_reader *reader, struct kh_addr *out)
{
    uint8_t family = kh_read_u8(reader);
    uint16_t port;
    uint8_t ip[16];

    *out = (struct kh_addr){0};
    if (family == KH_FAMILY_NONE)
        return !reader->failed;
    port = (uint16_t)(kh_read_u16(reader) ^ (KH_STUN_MAGIC >> 16));
    if (family != KH_FAMILY_IPV4 && family != KH_FAMILY_IPV6)
        return false;
    kh_read_copy(reader, ip, family == KH_FAMILY_IPV4 ? 4 : 16);
    mask_ip(ip, sizeof ip);
    *out = kh_addr_from_ip((enum kh_family)family, ip, port);
    return !reader->failed;
}

bool kh_rendezvous_change_add(struct kh_stun_writer *writer, size_t limit,
                              const struct kh_rendezvous_change *change)
{
    uint8_t value[CHANGE_FIXED_LEN + ADDR_LEN_MAX + KH_RENDEZVOUS_CARD_MAX];
    struct kh_writer bytes = kh_writer_to(value, sizeof value);
    size_t padded;

    kh_write_u64(&bytes, change->version);
    kh_write_bytes(&bytes, change->id.bytes, sizeof change->id.bytes);
    kh_write_u8(&bytes, change->present ? KIND_PRESENT : KIND_GONE);
    if (change->present) {
        write_addr(&bytes, &change->public);
        kh_write_bytes(&bytes, change->card.data, change->card.len);
    }
    assert(!bytes.failed);
    padded = (bytes.len + 3) & ~(size_t)3;
    if (writer->bytes.len + KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD + padded > limit)
        return false;
    kh_stun_add(writer, KH_STUN_CHANGE, value, bytes.len);
    return true;
}

bool kh_rendezvous_change_parse(struct kh_span value, struct kh_rendezvous_change *out)
{
    struct kh_reader reader = kh_reader_of(value.data, value.len);
    uint8_t kind;

    *out = (struct kh_rendezvous_change){0};
    out->version = kh_read_u64(&reader);
    kh_read_copy(&reader, out->id.bytes, sizeof out->id.bytes);
    kind = kh_read_u8(&reader);
    if (kind == KIND_GONE)
        return kh_reader_is_done(&reader);
    if (kind != KIND_PRESENT || !read_addr(&reader, &out->public))
        return false;
    if (reader.left == 0 || reader.left > KH_RENDEZVOUS_CARD_MAX)
        return false;
    out->present = true;
    out->card = (struct kh_span){reader.data, reader.left};
    return true;
}

enum kh_rendezvous_freshness kh_rendezvous_window_check(const struct kh_rendezvous_window *window,
                                                        uint64_t sequence)
{
    uint64_t behind;

    if (sequence > window->top)
        return KH_RENDEZVOUS_NEWEST;
    behind = window->top - sequence;
    if (sequence == 0 || behind >= KH_RENDEZVOUS_WINDOW)
        return KH_RENDEZVOUS_OLD;
    return (window->seen >> behind & 1) != 0 ? KH_RENDEZVOUS_SEEN : KH_RENDEZVOUS_LATE;
}

void kh_rendezvous_window_take(struct kh_rendezvous_window *window, uint64_t sequence)
{
    uint64_t ahead;

    if (sequence <= window->top) {
        assert(kh_rendezvous_window_check(window, sequence) == KH_RENDEZVOUS_LATE);
        window->seen |= (uint64_t)1 << (window->top - sequence);
        return;
    }
    ahead = sequence - window->top;
    window->seen = ahead >= KH_RENDEZVOUS_WINDOW ? 0 : window->seen << ahead;
    window->seen |= 1;
    window->top = sequence;
}
