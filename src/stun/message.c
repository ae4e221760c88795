/* stun/message.c - reading messages in place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include <string.h>

#include "base/bytes.h"
#include "stun/layout.h"

/* RFC 7983 7 gives STUN the first bytes 0..3; the methods of ours that lie beyond still have the
 * two top bits clear, and the cookie tells them from DTLS. */
bool kh_stun_is_stun(const uint8_t *data, size_t len)
{
    struct kh_reader reader = kh_reader_of(data, len);
    uint16_t type = kh_read_u16(&reader);
    uint16_t counted = kh_read_u16(&reader);
    uint32_t magic = kh_read_u32(&reader);

    return len >= KH_STUN_HEADER_LEN && type < 0x4000 && counted % 4 == 0 && magic == KH_STUN_MAGIC;
}

/* RFC 8489 5: the class's two bits stand between the method's twelve, as bits 4 and 8. */
static enum kh_stun_class class_of(uint16_t type)
{
    return (enum kh_stun_class)((type >> 4 & 1) | (type >> 7 & 2));
}

uint16_t kh_stun_method_of(uint16_t type)
{
    return (uint16_t)((type & 0x000f) | (type & 0x00e0) >> 1 | (type & 0x3e00) >> 2);
}

bool kh_stun_next(const struct kh_stun_message *message, size_t *at, struct kh_stun_attribute *out)
{
    size_t start = *at == 0 ? KH_STUN_HEADER_LEN : *at;
    struct kh_reader reader = kh_reader_of(message->data + start, message->len - start);

    out->type = kh_read_u16(&reader);
    out->len = kh_read_u16(&reader);
    out->value = kh_read_bytes(&reader, out->len);
    (void)kh_read_bytes(&reader, (4 - out->len % 4) % 4);
    if (reader.failed)
        return false;
    *at = message->len - reader.left;
    return true;
}

/* Where the attribute that kh_stun_next has just given begins. */
static size_t start_of(const struct kh_stun_message *message,
                       const struct kh_stun_attribute *attribute)
{
    return (size_t)(attribute->value - message->data) - KH_STUN_ATTRIBUTE_HEADER_LEN;
}

static bool is_covered(const struct kh_stun_message *message, size_t at)
{
    return (message->integrity_at == 0 || at < message->integrity_at) &&
           (message->integrity_sha256_at == 0 || at < message->integrity_sha256_at);
}

static bool is_fingerprint_right(const struct kh_stun_message *message,
                                 const struct kh_stun_attribute *attribute)
{
    struct kh_reader reader = kh_reader_of(attribute->value, attribute->len);
    size_t at = start_of(message, attribute);

    /* RFC 8489 14.7: it MUST be the last attribute. */
    return attribute->value + attribute->len == message->data + message->len &&
           kh_read_u32(&reader) == kh_stun_fingerprint(message->data, at);
}

static void note_unknown(struct kh_stun_message *message, uint16_t type)
{
    for (size_t i = 0; i < message->unknown_count; i++) {
        if (message->unknown[i] == type)
            return;
    }
    if (message->unknown_count < KH_STUN_UNKNOWN_MAX)
        message->unknown[message->unknown_count++] = type;
}

/* Takes in one attribute on the way through the message; false if the whole is malformed. */
static bool note_attribute(struct kh_stun_message *message,
                           const struct kh_stun_attribute *attribute)
{
    size_t at = start_of(message, attribute);
    bool covered = is_covered(message, at);
    enum kh_stun_place place =
        kh_stun_attribute_place(attribute->type, message->class, message->method);

    switch (attribute->type) {
    case KH_STUN_MESSAGE_INTEGRITY:
        if (covered)
            message->integrity_at = at;
        return !covered || kh_stun_attribute_fits(attribute->type, attribute->len);
    case KH_STUN_MESSAGE_INTEGRITY_SHA256:
        if (message->integrity_sha256_at != 0)
            return true;
        message->integrity_sha256_at = at;
        return kh_stun_attribute_fits(attribute->type, attribute->len);
    case KH_STUN_FINGERPRINT:
        message->has_fingerprint = true;
        return kh_stun_attribute_fits(attribute->type, attribute->len) &&
               is_fingerprint_right(message, attribute);
    default:
        break;
    }
    if (covered && kh_stun_attribute_is_required(attribute->type) &&
        (place == KH_STUN_PLACE_UNKNOWN || place == KH_STUN_PLACE_OPTIONAL))
        note_unknown(message, attribute->type);
    return true;
}

enum kh_status kh_stun_parse(const uint8_t *data, size_t len, struct kh_stun_message *out)
{
    struct kh_stun_attribute attribute;
    struct kh_reader reader = kh_reader_of(data, len);
    size_t at = KH_STUN_HEADER_LEN;
    uint16_t type;

    *out = (struct kh_stun_message){.data = data, .len = len};
    if (!kh_stun_is_stun(data, len))
        return KH_ERR_FORMAT;
    type = kh_read_u16(&reader);
    out->class = class_of(type);
    out->method = kh_stun_method_of(type);
    if (kh_read_u16(&reader) != len - KH_STUN_HEADER_LEN)
        return KH_ERR_FORMAT;
    (void)kh_read_u32(&reader);
    kh_read_copy(&reader, out->id, sizeof out->id);
    while (at < len) {
        if (!kh_stun_next(out, &at, &attribute) || !note_attribute(out, &attribute))
            return KH_ERR_FORMAT;
    }
    return KH_OK;
}

static bool find_nth(const struct kh_stun_message *message, uint16_t type, size_t n,
                     struct kh_stun_attribute *out)
{
    enum kh_stun_place place = kh_stun_attribute_place(type, message->class, message->method);
    size_t at = 0;

    if (place != KH_STUN_PLACE_EXPECTED && place != KH_STUN_PLACE_OPTIONAL)
        return false;
    while (kh_stun_next(message, &at, out) && is_covered(message, start_of(message, out))) {
        if (out->type == type && n-- == 0)
            return kh_stun_attribute_fits(type, out->len);
    }
    return false;
}

bool kh_stun_find(const struct kh_stun_message *message, uint16_t type,
                  struct kh_stun_attribute *out)
{
    return find_nth(message, type, 0, out);
}

bool kh_stun_find_bytes(const struct kh_stun_message *message, uint16_t type, size_t len,
                        const uint8_t **out)
{
    struct kh_stun_attribute attribute;

    if (!kh_stun_find(message, type, &attribute) || attribute.len != len)
        return false;
    *out = attribute.value;
    return true;
}

bool kh_stun_find_u64(const struct kh_stun_message *message, uint16_t type, uint64_t *out)
{
    const uint8_t *value;
    struct kh_reader reader;

    if (!kh_stun_find_bytes(message, type, 8, &value))
        return false;
    reader = kh_reader_of(value, 8);
    *out = kh_read_u64(&reader);
    return true;
}

bool kh_stun_find_u32(const struct kh_stun_message *message, uint16_t type, uint32_t *out)
{
    const uint8_t *value;
    struct kh_reader reader;

    if (!kh_stun_find_bytes(message, type, 4, &value))
        return false;
    reader = kh_reader_of(value, 4);
    *out = kh_read_u32(&reader);
    return true;
}

bool kh_stun_find_flag(const struct kh_stun_message *message, uint16_t type)
{
    const uint8_t *value;

    return kh_stun_find_bytes(message, type, 0, &value);
}

/* RFC 8489 14.1: the first byte is for alignment and MUST be ignored. */
static bool read_address(const struct kh_stun_message *message,
                         const struct kh_stun_attribute *attribute, struct kh_addr *out)
{
    struct kh_reader reader = kh_reader_of(attribute->value, attribute->len);
    uint8_t family = (uint8_t)(kh_read_u16(&reader) & 0xff);
    uint16_t port = kh_read_u16(&reader);
    size_t ip_len = family == 1 ? 4 : 16;
    uint8_t ip[16];

    if (family != 1 && family != 2)
        return false;
    kh_read_copy(&reader, ip, ip_len);
    if (!kh_reader_is_done(&reader))
        return false;
    if (kh_stun_attribute_is_xored(attribute->type)) {
        port ^= KH_STUN_MAGIC >> 16;
        kh_stun_mask_ip(ip, ip_len, message->id);
    }
    *out = kh_addr_from_ip(family == 1 ? KH_FAMILY_IPV4 : KH_FAMILY_IPV6, ip, port);
    return true;
}

bool kh_stun_find_addr_nth(const struct kh_stun_message *message, uint16_t type, size_t n,
                           struct kh_addr *out)
{
    struct kh_stun_attribute attribute;

    return kh_stun_attribute_is_address(type) && find_nth(message, type, n, &attribute) &&
           read_address(message, &attribute, out);
}

bool kh_stun_find_addr(const struct kh_stun_message *message, uint16_t type, struct kh_addr *out)
{
    return kh_stun_find_addr_nth(message, type, 0, out);
}

bool kh_stun_find_error(const struct kh_stun_message *message, unsigned *code,
                        struct kh_span *reason)
{
    struct kh_stun_attribute attribute;
    unsigned hundreds;
    unsigned number;

    if (!kh_stun_find(message, KH_STUN_ERROR_CODE, &attribute))
        return false;
    hundreds = attribute.value[2] & 7; /* the length is at least 4, says the table */
    number = attribute.value[3];
    if (hundreds < 3 || hundreds > 6 || number > 99)
        return false; /* RFC 8489 14.8 */
    *code = hundreds * 100 + number;
    if (reason != NULL)
        *reason = (struct kh_span){attribute.value + 4, attribute.len - 4};
    return true;
}

bool kh_stun_find_unknown(const struct kh_stun_message *message, size_t n, uint16_t *out)
{
    struct kh_stun_attribute attribute;
    struct kh_reader reader;

    if (!kh_stun_find(message, KH_STUN_UNKNOWN_ATTRIBUTES, &attribute) || attribute.len % 2 != 0 ||
        n >= attribute.len / 2)
        return false;
    reader = kh_reader_of(attribute.value + 2 * n, 2);
    *out = kh_read_u16(&reader);
    return true;
}

bool kh_stun_next_algorithm(const struct kh_stun_attribute *list, size_t *at,
                            struct kh_stun_algorithm *out)
{
    struct kh_reader reader = kh_reader_of(list->value + *at, list->len - *at);

    out->number = kh_read_u16(&reader);
    out->parameters.len = kh_read_u16(&reader);
    out->parameters.data = kh_read_bytes(&reader, out->parameters.len);
    (void)kh_read_bytes(&reader, (4 - out->parameters.len % 4) % 4);
    if (reader.failed)
        return false;
    *at = list->len - reader.left;
    return true;
}

void kh_stun_accept(struct kh_stun_message *message, uint16_t type)
{
    size_t kept = 0;

    for (size_t i = 0; i < message->unknown_count; i++) {
        if (message->unknown[i] != type)
            message->unknown[kept++] = message->unknown[i];
    }
    message->unknown_count = kept;
}
