/* fuzz/nat.c - a gateway that says anything at any time grants no nonsense and causes no storm.
 *
 * SPDX-License-Identifier: MIT
 *
 * Records: two bytes of time to pass (in 16 ms), one byte of length, so many bytes of answer.  A
 * first byte of the answer with its high bit set asks us to put in the nonce that was sent.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "nat/nat.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define NONCE_AT 24
#define NONCE_LEN 12
#define PCP_LEN 60
#define TICK KH_MILLISECONDS(16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t nonce[NONCE_LEN];
static uint64_t requests;
static bool mapped;

static void drain(struct kh_nat_portmap *map)
{
    struct kh_nat_portmap_event event;
    struct kh_datagram out;

    while (kh_nat_portmap_next_event(map, &event)) {
        if (event.kind == KH_NAT_PORTMAP_EVENT_MAPPED) {
            enum kh_addr_reach reach = kh_addr_reach(&event.external);

            TEST(event.external.port != 0 && event.lifetime >= KH_SECONDS(8));
            TEST(reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL);
            mapped = true;
        } else if (event.kind == KH_NAT_PORTMAP_EVENT_LOST) {
            TEST(mapped);
            mapped = false;
        }
    }
    while (kh_nat_portmap_next_transmit(map, &out)) {
        requests++;
        if (out.len == PCP_LEN)
            memcpy(nonce, out.data + NONCE_AT, NONCE_LEN);
    }
}

static void pass(struct kh_nat_portmap *map, kh_time *now, kh_duration duration)
{
    kh_time until = *now + duration;

    while (kh_nat_portmap_timeout(map) <= until) {
        kh_time at = kh_nat_portmap_timeout(map);

        *now = at > *now ? at : *now;
        kh_nat_portmap_handle_timeout(map, *now);
        drain(map);
        TEST(kh_nat_portmap_timeout(map) > *now);
    }
    *now = until;
}

static void receive(struct kh_nat_portmap *map, kh_time now, const uint8_t *bytes, size_t len)
{
    uint8_t answer[256];
    const struct kh_datagram in = {.from = kh_addr_ipv4(10, 0, 0, 1, KH_NAT_PORTMAP_PORT),
                                   .to = kh_addr_ipv4(10, 0, 0, 2, 4000),
                                   .data = answer,
                                   .len = len};

    memcpy(answer, bytes, len);
    if (len >= NONCE_AT + NONCE_LEN && (answer[0] & 0x80) != 0) {
        answer[0] &= 0x7F;
        memcpy(answer + NONCE_AT, nonce, NONCE_LEN);
    }
    TEST(kh_nat_portmap_handle_datagram(map, now, &in));
    drain(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct kh_nat_portmap_config config = {.local = kh_addr_ipv4(10, 0, 0, 2, 4000),
                                                 .gateway = kh_addr_ipv4(10, 0, 0, 1, 0)};
    struct kh_reader reader = kh_reader_of(data, len);
    struct kh_nat_portmap *map;
    kh_time begin = KH_SECONDS(1000);
    kh_time now = begin;

    if (kh_nat_portmap_new(&map, &config) != KH_OK)
        return 0;
    requests = 0;
    mapped = false;
    kh_nat_portmap_start(map, now);
    drain(map);
    while (reader.left > 3) {
        kh_duration wait = kh_read_u16(&reader) * TICK;
        size_t answer_len = kh_read_u8(&reader);
        const uint8_t *answer;

        if (answer_len > reader.left)
            answer_len = reader.left;
        answer = kh_read_bytes(&reader, answer_len);
        pass(map, &now, wait);
        receive(map, now, answer, answer_len);
    }
    /* A round is nine datagrams in a second; all else comes four seconds apart. */
    TEST(requests <= 16 + 4 * (now - begin) / KH_SECONDS(1));
    kh_nat_portmap_release(map, now);
    drain(map);
    pass(map, &now, KH_SECONDS(2));
    TEST(kh_nat_portmap_timeout(map) == KH_NEVER);
    kh_nat_portmap_free(map);
    return 0;
}
