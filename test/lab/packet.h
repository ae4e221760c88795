/* lab/packet.h - the addresses of an IP packet, read and rewritten in place.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TEST_LAB_PACKET_H
#define KH_TEST_LAB_PACKET_H

#include "support/nat.h"

#define PACKET_MAX 2048 /* above the MTU of 1500 that the lab's devices have */

/* An ICMP echo's id takes the place of a port, in a port space of its own beside enum kh_transport.
 */
#define PACKET_TRANSPORT_ECHO 3

struct packet {
    uint8_t data[PACKET_MAX];
    size_t len;
    size_t transport_at; /* offset of the UDP, TCP or ICMP header */
    uint8_t protocol;    /* IP protocol number */
    struct nat_flow flow;
};

/* Reads the addresses out of data and len.  False for what a NAT box would not carry: fragments,
 * ICMP other than echo, truncated or unknown packets. */
bool packet_parse(struct packet *packet);

/* Writes other addresses into it, keeping the checksums right (RFC 1624). */
void packet_rewrite(struct packet *packet, const struct nat_flow *flow);

#endif
