/* io/ports.h - thousands of UDP sockets, each at an address of its own, behind one descriptor.
 *
 * SPDX-License-Identifier: MIT
 *
 * For a relay: sockets come and go while others are being read.  Sending is gathered as in udp.h.
 */
#ifndef KH_IO_PORTS_H
#define KH_IO_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/datagram.h"

struct kh_io_ports;

struct kh_io_ports_stats {
    uint64_t sent;
    uint64_t send_refused;
    uint64_t received;
    uint64_t dropped_truncated;
};

/* An ICMP error, or the system's own word that a datagram is too big. */
struct kh_io_ports_error {
    struct kh_addr local;
    struct kh_addr peer;
    uint8_t type;
    uint8_t code;
    uint32_t data;
};

/* NULL if memory or descriptors are refused.  Raises the limit of open files as far as it may. */
struct kh_io_ports *kh_io_ports_new(void);
void kh_io_ports_free(struct kh_io_ports *ports);

/* Readable when one of the sockets is. */
int kh_io_ports_fd(const struct kh_io_ports *ports);

/* Binds one more socket to this address; 0 or an errno value. */
int kh_io_ports_open(struct kh_io_ports *ports, const struct kh_addr *addr);
/* Closes it; none has that address: nothing happens. */
void kh_io_ports_close(struct kh_io_ports *ports, const struct kh_addr *addr);

/* Looks which sockets have something; returns how many. */
size_t kh_io_ports_ready(struct kh_io_ports *ports);
/* Takes up to a batch of datagrams from the n-th of these; 0 if it was closed meanwhile. */
size_t kh_io_ports_receive(struct kh_io_ports *ports, size_t n);
void kh_io_ports_received(const struct kh_io_ports *ports, size_t index, struct kh_datagram *out);
/* Takes one error of the n-th; false if there is none. */
bool kh_io_ports_error(struct kh_io_ports *ports, size_t n, struct kh_io_ports_error *out);

/* Copies a datagram to be sent by the next flush at the latest; false if its `from` is none of the
 * sockets. */
bool kh_io_ports_send(struct kh_io_ports *ports, const struct kh_datagram *datagram,
                      bool dont_fragment);
void kh_io_ports_flush(struct kh_io_ports *ports);

struct kh_io_ports_stats kh_io_ports_stats(const struct kh_io_ports *ports);

#endif
