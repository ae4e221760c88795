/* stun/fingerprint.c - the CRC-32 of FINGERPRINT, and the XOR of addresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include "stun/layout.h"

/* ITU V.42's polynomial, reflected, four bits at a time: 64 bytes of table stay in the cache. */
uint32_t kh_stun_fingerprint(const uint8_t *data, size_t len)
{
    static const uint32_t steps[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        crc = crc >> 4 ^ steps[(crc ^ data[i]) & 15];
        crc = crc >> 4 ^ steps[(crc ^ (uint32_t)data[i] >> 4) & 15];
    }
    return ~crc ^ KH_STUN_FINGERPRINT_XOR;
}

/* RFC 8489 14.2: IPv4 with the cookie, IPv6 with the cookie and the transaction id behind it. */
void kh_stun_mask_ip(uint8_t *ip, size_t len, const uint8_t id[static KH_STUN_ID_LEN])
{
    for (size_t i = 0; i < len; i++)
        ip[i] = (uint8_t)(ip[i] ^ (i < 4 ? KH_STUN_MAGIC >> (24 - 8 * i) : id[i - 4]));
}
