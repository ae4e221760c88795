/* rendezvous/nonce.c - proofs of return routability that the server need not remember.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/nonce.h"

#include <string.h>

#include "base/bytes.h"

#define TIME_LEN 4

static uint32_t seconds(kh_time time)
{
    return (uint32_t)(time / KH_SECONDS(1));
}

static void make_at(const struct kh_rendezvous_nonces *nonces, uint32_t time,
                    const struct kh_addr *client, uint8_t out[static KH_RENDEZVOUS_NONCE_LEN])
{
    struct kh_writer writer = kh_writer_to(out, KH_RENDEZVOUS_NONCE_LEN);
    uint8_t mac[KH_SHA256_LEN];
    struct kh_span spans[] = {
        {out, TIME_LEN},
        {&client->family, sizeof client->family},
        {client->ip, sizeof client->ip},
    };

    kh_write_u32(&writer, time);
    kh_hmac_sha256((struct kh_span){nonces->secret.bytes, sizeof nonces->secret.bytes}, spans,
                   sizeof spans / sizeof spans[0], mac);
    kh_write_bytes(&writer, mac, KH_RENDEZVOUS_NONCE_LEN - TIME_LEN);
}

void kh_rendezvous_nonce_make(const struct kh_rendezvous_nonces *nonces, kh_time now,
                              const struct kh_addr *client,
                              uint8_t out[static KH_RENDEZVOUS_NONCE_LEN])
{
    make_at(nonces, seconds(now), client, out);
}

bool kh_rendezvous_nonce_check(const struct kh_rendezvous_nonces *nonces, kh_time now,
                               const struct kh_addr *client, struct kh_span nonce)
{
    struct kh_reader reader = kh_reader_of(nonce.data, nonce.len);
    uint8_t expected[KH_RENDEZVOUS_NONCE_LEN];
    uint32_t made = kh_read_u32(&reader);

    if (nonce.len != KH_RENDEZVOUS_NONCE_LEN || made > seconds(now))
        return false;
    if (seconds(now) - made >= seconds(nonces->lifetime))
        return false;
    make_at(nonces, made, client, expected);
    return kh_equal(expected, nonce.data, sizeof expected);
}
