/* stun/layout.h - what the files of this folder know of each other.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_STUN_LAYOUT_H
#define KH_STUN_LAYOUT_H

#include "stun/stun.h"

#define KH_STUN_ATTRIBUTE_HEADER_LEN 4
#define KH_STUN_FINGERPRINT_XOR                                                                    \
    0x5354554Eu /* RFC 8489 14.7: tells us from protocols with a CRC                               \
                 */

/* The method within a message's first two bytes. */
uint16_t kh_stun_method_of(uint16_t type);

/* What an attribute is to a message of some method and class. */
enum kh_stun_place {
    KH_STUN_PLACE_UNKNOWN,    /* means nothing to us there */
    KH_STUN_PLACE_UNEXPECTED, /* known, but of no use there: RFC 8489 6.3 has it ignored */
    KH_STUN_PLACE_OPTIONAL,   /* useful to an agent that offers it, unknown to all others */
    KH_STUN_PLACE_EXPECTED,
};

enum kh_stun_place kh_stun_attribute_place(uint16_t type, enum kh_stun_class class,
                                           uint16_t method);

/* Is this a length that a value of this type can have?  True for types we do not know. */
bool kh_stun_attribute_fits(uint16_t type, size_t len);

/* RFC 8489 14: types below 0x8000 must be understood by who acts on the message. */
bool kh_stun_attribute_is_required(uint16_t type);

/* Is an address of this type XORed with cookie and id (RFC 8489 14.2)? */
bool kh_stun_attribute_is_xored(uint16_t type);
bool kh_stun_attribute_is_address(uint16_t type);

/* XORs (or plain: the same again) an IP of len bytes in place; id is that of the message. */
void kh_stun_mask_ip(uint8_t *ip, size_t len, const uint8_t id[static KH_STUN_ID_LEN]);

/* The value of FINGERPRINT after these bytes, whose length field already counts it. */
uint32_t kh_stun_fingerprint(const uint8_t *data, size_t len);

/* The HMAC over data[0..len), as if its length field said `counted` bytes after the header. */
void kh_stun_hmac_sha1(struct kh_span key, struct kh_span data, uint16_t counted,
                       uint8_t out[static KH_SHA1_LEN]);
void kh_stun_hmac_sha256(struct kh_span key, struct kh_span data, uint16_t counted,
                         uint8_t out[static KH_SHA256_LEN]);

#endif
