/* io/multicast.h - asks all hosts of the links we are on, and hears what they answer.
 *
 * SPDX-License-Identifier: MIT
 *
 * Up to four sockets: for each family one that asks, and gets answers meant for us, and one that
 * hears what is said to the group.  Others may listen to the same group on this machine; what is
 * sent to them alone stays theirs.  Datagrams from beyond our links are dropped (RFC 6762 11).
 */
#ifndef KH_IO_MULTICAST_H
#define KH_IO_MULTICAST_H

#include "base/datagram.h"

#define KH_IO_MULTICAST_SOCKETS 4
#define KH_IO_MULTICAST_MAX 9000 /* RFC 6762 17: the longest message there is */

struct kh_io_multicast {
    int fds[KH_IO_MULTICAST_SOCKETS]; /* -1: the system did not grant it */
    struct kh_addr groups[2];         /* IPv4 and IPv6, with one port */
    uint64_t dropped_off_link;
};

/* True if at least one socket can ask.  To be closed in any case. */
bool kh_io_multicast_open(struct kh_io_multicast *multicast, const struct kh_addr *group4,
                          const struct kh_addr *group6);
void kh_io_multicast_drop(struct kh_io_multicast *multicast, size_t socket); /* closes one */
void kh_io_multicast_close(struct kh_io_multicast *multicast);

/* Sends to the group in `to`, on each link that is up; one after another is fine, too. */
void kh_io_multicast_send(struct kh_io_multicast *multicast, const struct kh_datagram *datagram);

/* Takes what waits in one of the sockets; false if nothing does.  `to` is not filled in. */
bool kh_io_multicast_receive(struct kh_io_multicast *multicast, size_t socket,
                             uint8_t buffer[static KH_IO_MULTICAST_MAX], struct kh_datagram *out);

#endif
