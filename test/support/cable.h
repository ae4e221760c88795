/* support/cable.h - a hand-held cable for unit tests: delay, loss, and cuts, in virtual time.
 *
 * SPDX-License-Identifier: MIT
 *
 * For two or three machines face to face; whole networks with their boxes are sim/net.h.
 */
#ifndef KH_TEST_SUPPORT_CABLE_H
#define KH_TEST_SUPPORT_CABLE_H

#include <string.h>

#include "base/datagram.h"
#include "base/time.h"

#define CABLE_PACKETS_MAX 1024
#define CABLE_LEN_MAX 1500

struct cable_packet {
    kh_time at; /* of arrival; 0: free */
    uint64_t order;
    struct kh_addr from;
    struct kh_addr to;
    size_t len;
    uint8_t data[CABLE_LEN_MAX];
};

struct cable {
    kh_time now;
    kh_duration delay; /* one way */
    unsigned loss_percent;
    uint64_t dice;
    /* How much later than others this datagram comes; KH_NEVER: not at all.  NULL: all alike. */
    kh_duration (*judge)(void *context, const struct kh_datagram *datagram);
    void *context;
    uint64_t sent;
    uint64_t lost;
    struct cable_packet packets[CABLE_PACKETS_MAX];
};

static inline unsigned cable_roll(struct cable *cable)
{
    uint64_t z = cable->dice += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (unsigned)((z ^ (z >> 31)) % 100);
}

static inline void cable_send(struct cable *cable, const struct kh_datagram *datagram)
{
    kh_duration extra = cable->judge == NULL ? 0 : cable->judge(cable->context, datagram);
    struct cable_packet *packet = cable->packets;

    cable->sent++;
    if (extra == KH_NEVER || cable_roll(cable) < cable->loss_percent ||
        datagram->len > CABLE_LEN_MAX) {
        cable->lost++;
        return;
    }
    while (packet < cable->packets + CABLE_PACKETS_MAX && packet->at != 0)
        packet++;
    if (packet == cable->packets + CABLE_PACKETS_MAX) {
        cable->lost++;
        return;
    }
    packet->at = cable->now + cable->delay + extra;
    packet->order = cable->sent;
    packet->from = datagram->from;
    packet->to = datagram->to;
    packet->len = datagram->len;
    memcpy(packet->data, datagram->data, datagram->len);
}

static inline struct cable_packet *cable_first(struct cable *cable)
{
    struct cable_packet *first = NULL;

    for (size_t i = 0; i < CABLE_PACKETS_MAX; i++) {
        struct cable_packet *packet = &cable->packets[i];

        if (packet->at != 0 && (first == NULL || packet->at < first->at ||
                                (packet->at == first->at && packet->order < first->order)))
            first = packet;
    }
    return first;
}

static inline kh_time cable_next_at(struct cable *cable)
{
    const struct cable_packet *first = cable_first(cable);

    return first == NULL ? KH_NEVER : first->at;
}

/* Copies out what has arrived by now, in order; false if nothing more has. */
static inline bool cable_take(struct cable *cable, struct cable_packet *out)
{
    struct cable_packet *first = cable_first(cable);

    if (first == NULL || first->at > cable->now)
        return false;
    *out = *first;
    first->at = 0;
    return true;
}

static inline struct kh_datagram cable_datagram(const struct cable_packet *packet)
{
    return (struct kh_datagram){
        .from = packet->from, .to = packet->to, .data = packet->data, .len = packet->len};
}

#endif
