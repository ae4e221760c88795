/* stun/writer.c - writing messages.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include <assert.h>
#include <string.h>

#include "stun/layout.h"

#define LENGTH_AT 2 /* offset of the header's length field */
#define ID_AT 8

struct kh_stun_writer kh_stun_begin(uint8_t *data, size_t max, enum kh_stun_class class,
                                    uint16_t method, const uint8_t id[static KH_STUN_ID_LEN])
{
    struct kh_stun_writer writer = {.bytes = kh_writer_to(data, max)};
    unsigned type = (method & 0x00fu) | (method & 0x070u) << 1 | (method & 0xf80u) << 2;

    assert(method <= 0xfff);
    type |= ((unsigned)class & 1) << 4 | ((unsigned)class & 2) << 7; /* RFC 8489 5 */
    kh_write_u16(&writer.bytes, (uint16_t)type);
    kh_write_u16(&writer.bytes, 0);
    kh_write_u32(&writer.bytes, KH_STUN_MAGIC);
    kh_write_bytes(&writer.bytes, id, KH_STUN_ID_LEN);
    return writer;
}

void kh_stun_add(struct kh_stun_writer *writer, uint16_t type, const void *value, size_t len)
{
    /* A value too long for its length field makes the message too long as well: see finish. */
    kh_write_u16(&writer->bytes, type);
    kh_write_u16(&writer->bytes, (uint16_t)len);
    kh_write_bytes(&writer->bytes, value, len);
    kh_write_zeros(&writer->bytes, (4 - len % 4) % 4);
}

void kh_stun_add_u32(struct kh_stun_writer *writer, uint16_t type, uint32_t value)
{
    uint8_t bytes[4];
    struct kh_writer inner = kh_writer_to(bytes, sizeof bytes);

    kh_write_u32(&inner, value);
    kh_stun_add(writer, type, bytes, sizeof bytes);
}

void kh_stun_add_u64(struct kh_stun_writer *writer, uint16_t type, uint64_t value)
{
    uint8_t bytes[8];
    struct kh_writer inner = kh_writer_to(bytes, sizeof bytes);

    kh_write_u64(&inner, value);
    kh_stun_add(writer, type, bytes, sizeof bytes);
}

void kh_stun_add_flag(struct kh_stun_writer *writer, uint16_t type)
{
    kh_stun_add(writer, type, NULL, 0);
}

void kh_stun_add_addr(struct kh_stun_writer *writer, uint16_t type, const struct kh_addr *addr)
{
    bool xored = kh_stun_attribute_is_xored(type);
    size_t ip_len = kh_addr_ip_len(addr);
    uint8_t bytes[20];
    struct kh_writer inner = kh_writer_to(bytes, sizeof bytes);

    assert(kh_stun_attribute_is_address(type));
    assert(!kh_addr_is_none(addr));
    if (writer->bytes.failed)
        return; /* the id to XOR with may be missing */
    kh_write_u16(&inner, addr->family == KH_FAMILY_IPV4 ? 1 : 2);
    kh_write_u16(&inner, xored ? addr->port ^ KH_STUN_MAGIC >> 16 : addr->port);
    kh_write_bytes(&inner, addr->ip, ip_len);
    if (xored)
        kh_stun_mask_ip(bytes + 4, ip_len, writer->bytes.data + ID_AT);
    kh_stun_add(writer, type, bytes, inner.len);
}

void kh_stun_add_error(struct kh_stun_writer *writer, unsigned code, const char *reason)
{
    size_t reason_len = strlen(reason);

    assert(code >= 300 && code <= 699 && reason_len <= 763); /* RFC 8489 14.8 */
    kh_write_u16(&writer->bytes, KH_STUN_ERROR_CODE);
    kh_write_u16(&writer->bytes, (uint16_t)(4 + reason_len));
    kh_write_u16(&writer->bytes, 0);
    kh_write_u8(&writer->bytes, (uint8_t)(code / 100));
    kh_write_u8(&writer->bytes, (uint8_t)(code % 100));
    kh_write_bytes(&writer->bytes, reason, reason_len);
    kh_write_zeros(&writer->bytes, (4 - reason_len % 4) % 4);
}

void kh_stun_add_unknown(struct kh_stun_writer *writer, const struct kh_stun_message *request)
{
    uint8_t bytes[2 * KH_STUN_UNKNOWN_MAX];
    struct kh_writer inner = kh_writer_to(bytes, sizeof bytes);

    for (size_t i = 0; i < request->unknown_count; i++)
        kh_write_u16(&inner, request->unknown[i]);
    kh_stun_add(writer, KH_STUN_UNKNOWN_ATTRIBUTES, bytes, inner.len);
}

void kh_stun_add_algorithms(struct kh_stun_writer *writer, uint16_t type, const uint16_t *numbers,
                            size_t count)
{
    assert(type == KH_STUN_PASSWORD_ALGORITHM || type == KH_STUN_PASSWORD_ALGORITHMS);
    assert(type == KH_STUN_PASSWORD_ALGORITHMS || count == 1);
    kh_write_u16(&writer->bytes, type);
    kh_write_u16(&writer->bytes, (uint16_t)(4 * count));
    for (size_t i = 0; i < count; i++) {
        kh_write_u16(&writer->bytes, numbers[i]);
        kh_write_u16(&writer->bytes, 0); /* RFC 8489 18.5.1: neither algorithm has parameters */
    }
}

/* What the length field says once an attribute of value_len stands behind what is there. */
static uint16_t counted_with(const struct kh_stun_writer *writer, size_t value_len)
{
    return (uint16_t)(writer->bytes.len + KH_STUN_ATTRIBUTE_HEADER_LEN + value_len -
                      KH_STUN_HEADER_LEN);
}

void kh_stun_add_integrity(struct kh_stun_writer *writer, struct kh_span key)
{
    uint8_t mac[KH_SHA1_LEN];

    if (writer->bytes.failed)
        return;
    kh_stun_hmac_sha1(key, (struct kh_span){writer->bytes.data, writer->bytes.len},
                      counted_with(writer, sizeof mac), mac);
    kh_stun_add(writer, KH_STUN_MESSAGE_INTEGRITY, mac, sizeof mac);
}

void kh_stun_add_integrity_sha256(struct kh_stun_writer *writer, struct kh_span key)
{
    uint8_t mac[KH_SHA256_LEN];

    if (writer->bytes.failed)
        return;
    kh_stun_hmac_sha256(key, (struct kh_span){writer->bytes.data, writer->bytes.len},
                        counted_with(writer, sizeof mac), mac);
    kh_stun_add(writer, KH_STUN_MESSAGE_INTEGRITY_SHA256, mac, sizeof mac);
}

void kh_stun_add_fingerprint(struct kh_stun_writer *writer)
{
    if (writer->bytes.failed)
        return;
    /* RFC 8489 14.7: the length field counts the fingerprint before it is computed. */
    kh_write_u16_at(&writer->bytes, LENGTH_AT, counted_with(writer, 4));
    kh_stun_add_u32(writer, KH_STUN_FINGERPRINT,
                    kh_stun_fingerprint(writer->bytes.data, writer->bytes.len));
}

size_t kh_stun_finish(struct kh_stun_writer *writer)
{
    if (writer->bytes.failed || writer->bytes.len - KH_STUN_HEADER_LEN > UINT16_MAX)
        return 0;
    kh_write_u16_at(&writer->bytes, LENGTH_AT, (uint16_t)(writer->bytes.len - KH_STUN_HEADER_LEN));
    return writer->bytes.len;
}
