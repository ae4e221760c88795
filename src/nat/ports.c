/* nat/ports.c - preserved, sequential, from a block or random.
 *
 * SPDX-License-Identifier: MIT
 *
 * The order of the samples is not looked at: datagrams sent at once arrive in any order, and a lost
 * one makes its mapping later.
 */
#include "nat/ports.h"

#include <assert.h>
#include <string.h>

#define SAMPLES_MIN 5 /* with fewer everything looks like a sequence */
/* Fourteen random ports lie this close together once in 10^14 times; providers' blocks are
 * narrower (RFC 7422 expects 500 to 2,000 ports a customer). */
#define BLOCK_MAX 4096

void kh_nat_samples_add(struct kh_nat_samples *samples, uint16_t port)
{
    for (size_t i = 0; i < samples->count; i++) {
        if (samples->ports[i] == port)
            return;
    }
    assert(samples->count < KH_NAT_SAMPLES_MAX);
    samples->ports[samples->count++] = port;
}

static void sort(uint16_t *ports, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint16_t port = ports[i];
        size_t at = i;

        for (; at > 0 && ports[at - 1] > port; at--)
            ports[at] = ports[at - 1];
        ports[at] = port;
    }
}

/* Finds the gap that most neighbours have, and how many have it. */
static size_t most_common_gap(const uint16_t *ports, size_t count, uint16_t *gap)
{
    size_t most = 0;

    for (size_t i = 1; i < count; i++) {
        size_t same = 0;

        for (size_t j = 1; j < count; j++)
            same += ports[j] - ports[j - 1] == ports[i] - ports[i - 1];
        if (same > most) {
            most = same;
            *gap = (uint16_t)(ports[i] - ports[i - 1]);
        }
    }
    return most;
}

void kh_nat_samples_classify(const struct kh_nat_samples *samples, struct kh_nat_behaviour *out)
{
    uint16_t ports[KH_NAT_SAMPLES_MAX];
    size_t gaps = samples->count - 1;
    uint16_t gap = 0;

    if (samples->count == 0)
        return;
    memcpy(ports, samples->ports, sizeof ports);
    sort(ports, samples->count);
    out->port_min = ports[0];
    out->port_max = ports[samples->count - 1];
    /* Some may be taken already, so not all have to be preserved. */
    if (samples->preserved * 2 > samples->asked)
        out->ports = KH_NAT_PORTS_PRESERVED;
    else if (samples->count < SAMPLES_MIN)
        out->ports = KH_NAT_PORTS_UNKNOWN;
    else if (most_common_gap(ports, samples->count, &gap) * 4 >= gaps * 3)
        out->ports = KH_NAT_PORTS_SEQUENTIAL; /* a quarter may be disturbed by other hosts */
    else if (out->port_max - out->port_min < BLOCK_MAX)
        out->ports = KH_NAT_PORTS_BLOCK;
    else
        out->ports = KH_NAT_PORTS_RANDOM;
    out->stride = out->ports == KH_NAT_PORTS_SEQUENTIAL ? gap : 0;
}
