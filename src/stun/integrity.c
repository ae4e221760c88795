/* stun/integrity.c - MESSAGE-INTEGRITY, its SHA256 sister, and the keys for both.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include <assert.h>

#include "stun/layout.h"

/* RFC 8489 14.5: the HMAC sees a length field that ends with the integrity attribute, whatever
 * comes after it; nobody writes that field, it is fed in place of the real one. */
struct patched {
    uint8_t counted[2];
    struct kh_span spans[3];
};

static void patch(struct patched *patched, struct kh_span data, uint16_t counted)
{
    const uint8_t *bytes = data.data;

    assert(data.len >= KH_STUN_HEADER_LEN);
    patched->counted[0] = (uint8_t)(counted >> 8);
    patched->counted[1] = (uint8_t)counted;
    patched->spans[0] = (struct kh_span){bytes, 2};
    patched->spans[1] = (struct kh_span){patched->counted, 2};
    patched->spans[2] = (struct kh_span){bytes + 4, data.len - 4};
}

void kh_stun_hmac_sha1(struct kh_span key, struct kh_span data, uint16_t counted,
                       uint8_t out[static KH_SHA1_LEN])
{
    struct patched patched;

    patch(&patched, data, counted);
    kh_hmac_sha1(key, patched.spans, 3, out);
}

void kh_stun_hmac_sha256(struct kh_span key, struct kh_span data, uint16_t counted,
                         uint8_t out[static KH_SHA256_LEN])
{
    struct patched patched;

    patch(&patched, data, counted);
    kh_hmac_sha256(key, patched.spans, 3, out);
}

/* The attribute that begins at `at`, and what the length field says up to its end. */
static uint16_t attribute_at(const struct kh_stun_message *message, size_t at,
                             struct kh_stun_attribute *out)
{
    size_t end = at;
    bool found = kh_stun_next(message, &end, out);

    assert(found);
    (void)found;
    return (uint16_t)(end - KH_STUN_HEADER_LEN);
}

bool kh_stun_check_integrity(const struct kh_stun_message *message, struct kh_span key)
{
    struct kh_stun_attribute attribute;
    uint8_t expected[KH_SHA1_LEN];
    uint16_t counted;

    if (message->integrity_at == 0)
        return false;
    counted = attribute_at(message, message->integrity_at, &attribute);
    kh_stun_hmac_sha1(key, (struct kh_span){message->data, message->integrity_at}, counted,
                      expected);
    return attribute.len == sizeof expected && kh_equal(attribute.value, expected, sizeof expected);
}

bool kh_stun_check_integrity_sha256(const struct kh_stun_message *message, struct kh_span key,
                                    size_t len_min)
{
    struct kh_stun_attribute attribute;
    uint8_t expected[KH_SHA256_LEN];
    uint16_t counted;

    if (message->integrity_sha256_at == 0)
        return false;
    counted = attribute_at(message, message->integrity_sha256_at, &attribute);
    if (attribute.len < len_min || !kh_stun_attribute_fits(attribute.type, attribute.len))
        return false;
    kh_stun_hmac_sha256(key, (struct kh_span){message->data, message->integrity_sha256_at}, counted,
                        expected);
    return kh_equal(attribute.value, expected, attribute.len);
}

void kh_stun_long_term_key_md5(struct kh_span username, struct kh_span realm,
                               struct kh_span password, uint8_t out[static KH_MD5_LEN])
{
    const struct kh_span spans[] = {username, {":", 1}, realm, {":", 1}, password};

    kh_md5(spans, 5, out);
}

void kh_stun_long_term_key_sha256(struct kh_span username, struct kh_span realm,
                                  struct kh_span password, uint8_t out[static KH_SHA256_LEN])
{
    const struct kh_span spans[] = {username, {":", 1}, realm, {":", 1}, password};

    kh_sha256(spans, 5, out);
}

void kh_stun_userhash(struct kh_span username, struct kh_span realm,
                      uint8_t out[static KH_SHA256_LEN])
{
    const struct kh_span spans[] = {username, {":", 1}, realm};

    kh_sha256(spans, 3, out);
}
