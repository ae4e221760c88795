/* nat/portmap.h - asks the default gateway to map a port of its public address to our socket.
 *
 * SPDX-License-Identifier: MIT
 *
 * Speaks PCP (RFC 6887) and NAT-PMP (RFC 6886), IPv4 and UDP, from the very socket that is to be
 * mapped.  PCP goes first, NAT-PMP a little later or as soon as PCP is refused; whoever grants
 * first holds the mapping.  It is renewed from half of its lifetime on, and asked for anew if the
 * gateway lost it.  Nobody has to wait: without an answer within a second NONE says so, and a later
 * answer is still welcome.  One input, then next_event and next_transmit until false, then timeout.
 */
#ifndef KH_NAT_PORTMAP_H
#define KH_NAT_PORTMAP_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"

#define KH_NAT_PORTMAP_PORT 5351 /* of the gateway, for both protocols */

struct kh_nat_portmap;

struct kh_nat_portmap_config {
    struct kh_addr local;   /* IPv4 address and port of our socket */
    struct kh_addr gateway; /* IPv4; the port is not looked at */
    uint8_t seed[32];
    kh_duration lifetime; /* to ask for, in whole seconds; 0: ten minutes */
    struct kh_log log;
};

enum kh_nat_portmap_event_kind {
    KH_NAT_PORTMAP_EVENT_MAPPED,   /* external, lifetime; again only if external changes */
    KH_NAT_PORTMAP_EVENT_LOST,     /* external is ours no more; a new one is asked for */
    KH_NAT_PORTMAP_EVENT_NONE,     /* nobody grants one; asked again later */
    KH_NAT_PORTMAP_EVENT_RELEASED, /* after release: deleted, or given up */
};

struct kh_nat_portmap_event {
    enum kh_nat_portmap_event_kind kind;
    struct kh_addr external;
    kh_duration lifetime;
};

struct kh_nat_portmap_stats {
    uint64_t requests;
    uint64_t grants;            /* first ones and renewals */
    uint64_t refusals;          /* errors the gateway answered with */
    uint64_t dropped_malformed; /* nor asked for: another nonce, port or protocol */
};

KH_MUST_USE enum kh_status kh_nat_portmap_new(struct kh_nat_portmap **out,
                                              const struct kh_nat_portmap_config *config);
void kh_nat_portmap_free(struct kh_nat_portmap *map); /* NULL is allowed */

/* Begins to ask; once. */
void kh_nat_portmap_start(struct kh_nat_portmap *map, kh_time now);
/* Deletes the mapping; RELEASED follows within a second.  The deletion is sent at once, so who
 * cannot wait may free the machine after the next drain. */
void kh_nat_portmap_release(struct kh_nat_portmap *map, kh_time now);
/* False if it does not come from the gateway's port: somebody else's. */
bool kh_nat_portmap_handle_datagram(struct kh_nat_portmap *map, kh_time now,
                                    const struct kh_datagram *datagram);
void kh_nat_portmap_handle_timeout(struct kh_nat_portmap *map, kh_time now);

bool kh_nat_portmap_next_event(struct kh_nat_portmap *map, struct kh_nat_portmap_event *out);
bool kh_nat_portmap_next_transmit(struct kh_nat_portmap *map, struct kh_datagram *out);
kh_time kh_nat_portmap_timeout(const struct kh_nat_portmap *map);

struct kh_nat_portmap_stats kh_nat_portmap_stats(const struct kh_nat_portmap *map);

#endif
