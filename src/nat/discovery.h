/* nat/discovery.h - finds out what the NAT in front of us does (RFC 5780).
 *
 * SPDX-License-Identifier: MIT
 *
 * The machine asks one server through several local sockets that its owner has opened, all at once,
 * and is over after four seconds at most, whatever is lost.  What the server cannot tell, because
 * it has one address only or does not answer, stays unknown.
 */
#ifndef KH_NAT_DISCOVERY_H
#define KH_NAT_DISCOVERY_H

#include "base/datagram.h"
#include "base/time.h"
#include "nat/class.h"

#define KH_NAT_SOCKETS_MAX 12 /* samples enough to tell a block of 256 ports from a sequence */
#define KH_NAT_SOCKETS_MIN 4  /* one for the filter, one for the mapping, two for the hairpin */

struct kh_nat_behaviour {
    bool reached;               /* the server answered at all; else nothing below is known */
    bool translated;            /* the server sees another address than we have */
    struct kh_addr public_addr; /* as the server sees one of our sockets */
    enum kh_nat_rule mapping;
    enum kh_nat_rule filtering;
    enum kh_nat_ports ports;
    uint16_t stride;             /* of sequential ports, else 0 */
    uint16_t port_min, port_max; /* the range that was seen */
    enum kh_nat_hairpin hairpin; /* unknown where nothing is translated */
};

struct kh_nat_discovery;

struct kh_nat_discovery_config {
    uint8_t seed[32];
    struct kh_addr server;
    /* Ours, of the server's family: the ports must be known, the ip may be unspecified.  They must
     * not have been used before: a NAT remembers whom they spoke to. */
    struct kh_addr sockets[KH_NAT_SOCKETS_MAX];
    size_t socket_count;
};

KH_MUST_USE enum kh_status kh_nat_discovery_new(struct kh_nat_discovery **out,
                                                const struct kh_nat_discovery_config *config);
void kh_nat_discovery_free(struct kh_nat_discovery *discovery); /* NULL is allowed */

/* Asks everything that can be asked before the first answer. */
void kh_nat_discovery_start(struct kh_nat_discovery *discovery, kh_time now);
/* Datagram's `to` is the local address it arrived at; its port tells the socket. */
void kh_nat_discovery_handle_datagram(struct kh_nat_discovery *discovery, kh_time now,
                                      const struct kh_datagram *datagram);
void kh_nat_discovery_handle_timeout(struct kh_nat_discovery *discovery, kh_time now);
/* Out's `from` is the local address of the socket to send it by. */
bool kh_nat_discovery_next_transmit(struct kh_nat_discovery *discovery, struct kh_datagram *out);
kh_time kh_nat_discovery_timeout(const struct kh_nat_discovery *discovery);

/* True when no answer is waited for any more. */
bool kh_nat_discovery_is_done(const struct kh_nat_discovery *discovery);
/* What is known so far; all that can be known when done. */
void kh_nat_discovery_result(const struct kh_nat_discovery *discovery,
                             struct kh_nat_behaviour *out);

#endif
