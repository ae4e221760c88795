/* fuzz/stun.c - whatever parses can be walked, looked into, and written again bit for bit.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "stun/stun.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* All typed look-ups of one type: none may read outside the message or give what is not there. */
static void look_up(const struct kh_stun_message *message, uint16_t type)
{
    struct kh_stun_attribute attribute;
    struct kh_addr addr;
    const uint8_t *bytes;
    uint32_t u32;
    uint64_t u64;

    if (!kh_stun_find(message, type, &attribute)) {
        TEST(!kh_stun_find_u32(message, type, &u32) && !kh_stun_find_u64(message, type, &u64));
        TEST(!kh_stun_find_flag(message, type) && !kh_stun_find_addr(message, type, &addr));
        return;
    }
    TEST(attribute.value >= message->data + KH_STUN_HEADER_LEN &&
         attribute.value + attribute.len <= message->data + message->len);
    TEST(message->integrity_at == 0 ||
         attribute.value + attribute.len <= message->data + message->integrity_at);
    TEST(kh_stun_find_u32(message, type, &u32) == (attribute.len == 4));
    TEST(kh_stun_find_u64(message, type, &u64) == (attribute.len == 8));
    TEST(kh_stun_find_flag(message, type) == (attribute.len == 0));
    TEST(kh_stun_find_bytes(message, type, attribute.len, &bytes) && bytes == attribute.value);
    for (size_t n = 0; n < 4 && kh_stun_find_addr_nth(message, type, n, &addr); n++)
        TEST(!kh_addr_is_none(&addr));
}

static void look_into(const struct kh_stun_message *message)
{
    struct kh_stun_algorithm algorithm;
    struct kh_stun_attribute attribute;
    struct kh_span reason;
    uint16_t type;
    unsigned code;

    for (size_t at = 0; kh_stun_next(message, &at, &attribute);) {
        look_up(message, attribute.type);
        for (size_t inner = 0; kh_stun_next_algorithm(&attribute, &inner, &algorithm);)
            TEST(inner <= attribute.len);
    }
    look_up(message, KH_STUN_XOR_MAPPED_ADDRESS);
    if (kh_stun_find_error(message, &code, &reason))
        TEST(code >= 300 && code <= 699);
    for (size_t n = 0; kh_stun_find_unknown(message, n, &type); n++)
        TEST(n < message->len);
    TEST(message->unknown_count <= KH_STUN_UNKNOWN_MAX);
}

/* A key nobody told us fits nothing. */
static void check(const struct kh_stun_message *message)
{
    const struct kh_span key = {"b5c7bf005b6c52a21c51c5e892f81924", 32};

    TEST(!kh_stun_check_integrity(message, key));
    TEST(!kh_stun_check_integrity_sha256(message, key, 16));
}

/* Writes the same attributes again; padding, which may hold anything, is taken over. */
static void rewrite(const struct kh_stun_message *message)
{
    static uint8_t out[1 << 16];
    struct kh_stun_writer writer =
        kh_stun_begin(out, sizeof out, message->class, message->method, message->id);
    struct kh_stun_attribute attribute;

    for (size_t at = 0; kh_stun_next(message, &at, &attribute);) {
        size_t padding = (4 - attribute.len % 4) % 4;

        kh_stun_add(&writer, attribute.type, attribute.value, attribute.len);
        if (!writer.bytes.failed)
            memcpy(out + writer.bytes.len - padding, attribute.value + attribute.len, padding);
    }
    TEST(kh_stun_finish(&writer) == message->len);
    TEST(memcmp(out, message->data, message->len) == 0);
}

/* Signed and sealed by us, any attributes that fit read back as genuine. */
static void sign(const struct kh_stun_message *message)
{
    static uint8_t out[1 << 16];
    const struct kh_span key = {"k", 1};
    struct kh_stun_writer writer =
        kh_stun_begin(out, sizeof out, message->class, message->method, message->id);
    struct kh_stun_attribute attribute;
    struct kh_stun_message again;
    size_t len;

    for (size_t at = 0; kh_stun_next(message, &at, &attribute);) {
        if (attribute.type != KH_STUN_MESSAGE_INTEGRITY && attribute.type != KH_STUN_FINGERPRINT &&
            attribute.type != KH_STUN_MESSAGE_INTEGRITY_SHA256)
            kh_stun_add(&writer, attribute.type, attribute.value, attribute.len);
    }
    kh_stun_add_integrity(&writer, key);
    kh_stun_add_integrity_sha256(&writer, key);
    kh_stun_add_fingerprint(&writer);
    len = kh_stun_finish(&writer);
    if (len == 0)
        return; /* no room for what we added */
    TEST(kh_stun_parse(out, len, &again) == KH_OK && again.has_fingerprint);
    TEST(kh_stun_check_integrity(&again, key));
    TEST(kh_stun_check_integrity_sha256(&again, key, KH_SHA256_LEN));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct kh_stun_message message;

    if (kh_stun_parse(data, len, &message) != KH_OK)
        return 0;
    TEST(kh_stun_is_stun(data, len));
    look_into(&message);
    check(&message);
    rewrite(&message);
    sign(&message);
    return 0;
}
