/* nat/discovery.h - finds out what the NAT in front of us does (RFC 5780).
 *
 * SPDX-License-Identifier: MIT
 *
 * The machine asks one server through several local sockets that its owner has opened, all at once,
 * and is over after four seconds at most, whatever is lost: a thorough one for a person who wants
 * to know, and a quick one for a member that has just joined.  What the server cannot tell, because
 * it has one address only or does not answer, stays unknown.
 */
#ifndef KH_NAT_DISCOVERY_H
#define KH_NAT_DISCOVERY_H

#include "base/datagram.h"
#include "base/time.h"
#include "nat/class.h"

#define KH_NAT_SOCKETS_MAX 12  /* samples enough to tell a block of 256 ports from a sequence */
#define KH_NAT_SOCKETS_MIN 4   /* one for the mapping, one for the filter, two for the hairpin */
#define KH_NAT_SOCKETS_QUICK 5 /* as many as a quick one uses */

struct kh_nat_behaviour {
    bool reached;               /* the server answered at all; else nothing below is known */
    bool translated;            /* the server sees another address than we have */
    struct kh_addr public_addr; /* as the server sees one of our sockets */
    enum kh_nat_rule mapping;
    enum kh_nat_rule filtering;
    enum kh_nat_ports ports;
    uint16_t stride;             /* of sequential ports, else 0 */
    uint16_t port_min, port_max; /* the range that was seen */
    size_t port_count;           /* how many different ones */
    enum kh_nat_hairpin hairpin; /* unknown where nothing is translated */
    /* The server's other port saw, and was let in, like the first one: all that one address can
     * tell. */
    bool mapping_not_by_port;
    bool filter_not_by_port;
};

struct kh_nat_discovery;

struct kh_nat_discovery_config {
    uint8_t seed[32];
    struct kh_addr server;
    /* Ours, of the server's family: the ports must be known, the ip may be unspecified.  They must
     * not have been used before: a NAT remembers whom they spoke to. */
    struct kh_addr sockets[KH_NAT_SOCKETS_MAX];
    size_t socket_count;
    /* Twenty datagrams at most, over in 1.5 s.  The first socket is in use and the server sees it
     * at `mapped`; the others, which may be missing, are fresh. */
    bool quick;
    struct kh_addr mapped;
    struct kh_addr other; /* another place of the server as told, or none: it is asked for then */
};

KH_MUST_USE enum kh_status kh_nat_discovery_new(struct kh_nat_discovery **out,
                                                const struct kh_nat_discovery_config *config);
void kh_nat_discovery_free(struct kh_nat_discovery *discovery); /* NULL is allowed */

/* Asks everything that can be asked before the first answer. */
void kh_nat_discovery_start(struct kh_nat_discovery *discovery, kh_time now);
/* Datagram's `to` is the local address it arrived at; its port tells the socket.  False if it has
 * nothing to do with us. */
bool kh_nat_discovery_handle_datagram(struct kh_nat_discovery *discovery, kh_time now,
                                      const struct kh_datagram *datagram);
void kh_nat_discovery_handle_timeout(struct kh_nat_discovery *discovery, kh_time now);
/* Out's `from` is the local address of the socket to send it by. */
bool kh_nat_discovery_next_transmit(struct kh_nat_discovery *discovery, struct kh_datagram *out);
kh_time kh_nat_discovery_timeout(const struct kh_nat_discovery *discovery);

/* True when the mapping is known, if it will be, and ports from all sockets: one round trip in a
 * quick one.  The filter takes longer. */
bool kh_nat_discovery_has_mapping(const struct kh_nat_discovery *discovery);
/* True when no answer is waited for any more. */
bool kh_nat_discovery_is_done(const struct kh_nat_discovery *discovery);
/* What is known so far; all that can be known when done. */
void kh_nat_discovery_result(const struct kh_nat_discovery *discovery,
                             struct kh_nat_behaviour *out);
/* The same as a member tells it to others. */
void kh_nat_discovery_class(const struct kh_nat_discovery *discovery, struct kh_nat_class *out);

#endif
