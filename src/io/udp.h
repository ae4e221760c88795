/* io/udp.h - UDP sockets that know at which of our addresses a datagram arrived.
 *
 * SPDX-License-Identifier: MIT
 *
 * A set is some sockets that serve as one: a datagram to send goes out by the socket its `from`
 * belongs to, also when that socket is bound to the wildcard address.  Sending is gathered into as
 * few system calls as possible, so it ends with a flush.  What the network or a full buffer refuses
 * is lost and counted, as on the way.
 */
#ifndef KH_IO_UDP_H
#define KH_IO_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/datagram.h"

#define KH_IO_SOCKETS_MAX 16 /* of one set: what a server may be told to listen on */
#define KH_IO_BATCH 32       /* datagrams of one system call */
#define KH_IO_RECEIVE_MAX                                                                          \
    2048 /* longer datagrams are dropped: no peer of ours sends above 1500                         \
          */

struct kh_io_batch;

struct kh_io_udp {
    int fd;
    struct kh_addr addr; /* bound to, with the port the system chose if it was 0 */
};

struct kh_io_udp_set {
    struct kh_io_udp *sockets; /* owned */
    size_t count;
    size_t sockets_max;
    struct kh_io_batch *in;
    struct kh_io_batch *out;
    size_t out_socket; /* all datagrams gathered in `out` leave by this one */
    uint64_t sent;
    uint64_t send_refused;  /* by the system: no route, no buffer, address gone */
    uint64_t send_homeless; /* no socket has that `from` */
    uint64_t received;
    uint64_t dropped_truncated;
};

/* False if memory is refused.  Without a number: KH_IO_SOCKETS_MAX. */
bool kh_io_udp_set_init(struct kh_io_udp_set *set);
bool kh_io_udp_set_init_for(struct kh_io_udp_set *set, size_t sockets_max);
void kh_io_udp_set_fini(struct kh_io_udp_set *set);

/* Opens one more socket, bound to addr, whose ip may be unspecified and whose port may be 0.
 * Returns 0 or an errno value: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EACCES, ENFILE …;
 * ENOSPC past the set's maximum. */
int kh_io_udp_set_open(struct kh_io_udp_set *set, const struct kh_addr *addr);

/* One that the program can do without: a wildcard on a port the system chooses.  Refused with
 * EMFILE while the program may still open some files, so that it never lacks one for this. */
int kh_io_udp_set_open_spare(struct kh_io_udp_set *set, enum kh_family family);
/* Closes one; the last one takes its place. */
void kh_io_udp_set_close(struct kh_io_udp_set *set, size_t socket);

/* Opens the wildcard of both families on one port that the system chooses, or of the one family
 * that exists here.  Returns 0 or an errno value. */
int kh_io_udp_set_open_any(struct kh_io_udp_set *set);

/* Takes up to KH_IO_BATCH datagrams that wait in one socket.  Returns how many; look at each with
 * kh_io_udp_set_received.  They stay valid until the next receive of this set. */
size_t kh_io_udp_set_receive(struct kh_io_udp_set *set, size_t socket);
void kh_io_udp_set_received(const struct kh_io_udp_set *set, size_t index, struct kh_datagram *out);

/* Gives the place of the socket with this port; set->count if there is none. */
size_t kh_io_udp_set_find(const struct kh_io_udp_set *set, enum kh_family family, uint16_t port);

/* Copies a datagram to be sent by the next flush at the latest. */
void kh_io_udp_set_send(struct kh_io_udp_set *set, const struct kh_datagram *datagram);
void kh_io_udp_set_flush(struct kh_io_udp_set *set);

/* Gives the port of the socket of this family; 0 if there is none. */
uint16_t kh_io_udp_set_port(const struct kh_io_udp_set *set, enum kh_family family);

#endif
