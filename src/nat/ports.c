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

#define PORT_FIRST 1024u
#define PORT_SPAN (65536u - PORT_FIRST)
#define SAMPLES_MIN 5 /* with fewer everything looks like a sequence */
/* Fourteen random ports lie this close together once in 10^14 times; providers' blocks are
 * narrower (RFC 7422 expects 500 to 2,000 ports a customer). */
#define BLOCK_MAX 4096
#define BLOCK_LEAST 64 /* the smallest that anyone gives a customer */
/* Strides between neighbours, on average.  Five ports of a block of 64 look so once in a hundred
 * times, of 256 once in five thousand; a sequence of which others take as much as we always does.
 */
#define CLOSE 3

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

/* Counted, but others take ports in between, or we do for other peers: all lie on the steps of one
 * stride, closer together than a block would leave them.  Returns the stride, 0 if it is not so. */
static uint16_t stride_of_disturbed(const uint16_t *ports, size_t count, size_t wraps_at)
{
    unsigned common = 0;

    for (size_t i = 1; i < count; i++) {
        unsigned gap = i == wraps_at ? 0 : (unsigned)(ports[i] - ports[i - 1]);

        while (gap != 0) {
            unsigned rest = common % gap;

            common = gap;
            gap = rest;
        }
    }
    return ports[count - 1] - ports[0] <= CLOSE * (int)(count - 1) * (int)common ? (uint16_t)common
                                                                                 : 0;
}

/* Where a NAT counts beyond the last port it begins again at PORT_FIRST: what lies there comes
 * after what lies before the widest gap.  Fills out with distances from the first one, in order;
 * returns which of them begins again, 0 if none does: the gap before it is of any length. */
static size_t unwrap(const uint16_t *ports, size_t count, uint16_t *out)
{
    unsigned widest = 0;
    size_t first = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned before = ports[(i + count - 1) % count];
        unsigned gap = (ports[i] + PORT_SPAN - before) % PORT_SPAN;

        if (gap > widest) {
            widest = gap;
            first = i;
        }
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (uint16_t)((ports[(first + i) % count] + PORT_SPAN - ports[first]) % PORT_SPAN);
    return first == 0 ? 0 : count - first;
}

static uint16_t stride_of(const uint16_t *seen, size_t count)
{
    uint16_t ports[KH_NAT_SAMPLES_MAX];
    size_t wraps_at = unwrap(seen, count, ports);
    uint16_t gap = 0;

    /* A quarter of the gaps may be anything, such as one before which time has passed. */
    if (most_common_gap(ports, count, &gap) * 4 >= (count - 1) * 3)
        return gap;
    return stride_of_disturbed(ports, count, wraps_at);
}

void kh_nat_samples_classify(const struct kh_nat_samples *samples, struct kh_nat_behaviour *out)
{
    uint16_t ports[KH_NAT_SAMPLES_MAX];

    if (samples->count == 0)
        return;
    out->port_count = samples->count;
    memcpy(ports, samples->ports, sizeof ports);
    sort(ports, samples->count);
    out->port_min = ports[0];
    out->port_max = ports[samples->count - 1];
    /* Some may be taken already, so not all have to be preserved. */
    if (samples->preserved * 2 > samples->asked)
        out->ports = KH_NAT_PORTS_PRESERVED;
    else if (samples->count < SAMPLES_MIN)
        out->ports = KH_NAT_PORTS_UNKNOWN;
    else if ((out->stride = stride_of(ports, samples->count)) != 0)
        out->ports = KH_NAT_PORTS_SEQUENTIAL;
    else if (out->port_max - out->port_min < BLOCK_MAX)
        out->ports = KH_NAT_PORTS_BLOCK;
    else
        out->ports = KH_NAT_PORTS_RANDOM;
}

/* Blocks are mostly cut at multiples of their size, a power of two, so the smallest such block
 * around what was seen is a good guess.  Where it is far larger than what chance would
 * leave unseen at both ends, the cut is elsewhere. */
void kh_nat_block_guess(const struct kh_nat_behaviour *behaviour, uint16_t *port_min,
                        uint16_t *port_max)
{
    unsigned min = behaviour->port_min, max = behaviour->port_max, size = BLOCK_LEAST;
    unsigned unseen;

    assert(min > 0 && min <= max && behaviour->port_count > 1);
    unseen = (max - min) / (unsigned)(behaviour->port_count - 1) + 1;
    while (min / size != max / size)
        size *= 2;
    if (size * 2 <= (max - min + 1 + 2 * unseen) * 3) {
        *port_min = (uint16_t)(min / size * size);
        *port_max = (uint16_t)(min / size * size + size - 1);
    } else {
        *port_min = (uint16_t)(min > unseen ? min - unseen : 1);
        *port_max = (uint16_t)(max + unseen < UINT16_MAX ? max + unseen : UINT16_MAX);
    }
    if (*port_min == 0)
        *port_min = 1;
}
