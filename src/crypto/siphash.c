/* crypto/siphash.c - SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF").
 *
 * SPDX-License-Identifier: MIT
 *
 * libcrypto has it too, but behind two allocations for each call; tables look up for each datagram.
 */
#include "crypto/crypto.h"

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t read_little_endian(const uint8_t *at, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static void mix(uint64_t v[static 4], unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void absorb(uint64_t v[static 4], uint64_t word)
{
    v[3] ^= word;
    mix(v, 2);
    v[0] ^= word;
}

uint64_t kh_siphash(const uint8_t key[static 16], const void *data, size_t len)
{
    uint64_t low = read_little_endian(key, 8);
    uint64_t high = read_little_endian(key + 8, 8);
    uint64_t v[4] = {low ^ 0x736f6d6570736575u, high ^ 0x646f72616e646f6du,
                     low ^ 0x6c7967656e657261u, high ^ 0x7465646279746573u};
    const uint8_t *at = data;
    size_t whole = len - len % 8;

    for (size_t i = 0; i < whole; i += 8)
        absorb(v, read_little_endian(at + i, 8));
    absorb(v,
           (uint64_t)len << 56 | (len > whole ? read_little_endian(at + whole, len - whole) : 0));
    v[2] ^= 0xff;
    mix(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
