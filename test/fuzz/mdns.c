/* fuzz/mdns.c - whatever a link says, questions end within a second and addresses are possible.
 *
 * SPDX-License-Identifier: MIT
 *
 * Records: one byte of time to pass (in 4 ms), two of length, so many bytes of answer.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "mdns/mdns.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define TICK KH_MILLISECONDS(4)
#define QUERIES_MAX 12 /* three rounds, two groups, two families */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned queries, answers;

static void drain(struct kh_mdns *mdns)
{
    struct kh_mdns_answer answer;
    struct kh_datagram out;

    while (kh_mdns_next_answer(mdns, &answer)) {
        answers++;
        TEST(strcmp(answer.name, "pc1.local") == 0 && answer.addr_count <= KH_MDNS_ADDRS_MAX);
        for (size_t i = 0; i < answer.addr_count; i++) {
            enum kh_addr_reach reach = kh_addr_reach(&answer.addrs[i]);

            TEST(answer.addrs[i].family == answer.family);
            TEST(reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL ||
                 reach == KH_REACH_LINK_LOCAL);
        }
    }
    while (kh_mdns_next_transmit(mdns, &out))
        queries++;
}

static void pass(struct kh_mdns *mdns, kh_time *now, kh_duration duration)
{
    kh_time until = *now + duration;

    while (kh_mdns_timeout(mdns) <= until) {
        *now = kh_mdns_timeout(mdns);
        kh_mdns_handle_timeout(mdns, *now);
        drain(mdns);
    }
    *now = until;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct kh_reader reader = kh_reader_of(data, len);
    struct kh_mdns mdns;
    kh_time now = KH_SECONDS(1);

    kh_mdns_init(&mdns);
    queries = answers = 0;
    TEST(kh_mdns_ask(&mdns, now, "pc1.local", KH_FAMILY_IPV4) == KH_OK);
    TEST(kh_mdns_ask(&mdns, now, "pc1.local", KH_FAMILY_IPV6) == KH_OK);
    drain(&mdns);
    while (reader.left > 3) {
        struct kh_datagram in = {.from = kh_addr_ipv4(192, 168, 1, 9, KH_MDNS_PORT)};

        pass(&mdns, &now, kh_read_u8(&reader) * TICK);
        in.len = kh_read_u16(&reader);
        if (in.len > reader.left)
            in.len = reader.left;
        in.data = kh_read_bytes(&reader, in.len);
        kh_mdns_handle_datagram(&mdns, &in);
        drain(&mdns);
    }
    pass(&mdns, &now, KH_SECONDS(1));
    TEST(answers == 2 && queries <= QUERIES_MAX && kh_mdns_timeout(&mdns) == KH_NEVER);
    return 0;
}
