/* io/tcp.h - TCP connections that carry whole frames or none, and listeners for them.
 *
 * SPDX-License-Identifier: MIT
 *
 * Nothing waits.  What the peer does not take at once is kept in a queue of its own; a frame that
 * does not fit into the queue is dropped and counted, as a full socket drops a datagram, so frames
 * never arrive cut.  What frames are is the caller's business.  All addresses have the transport
 * KH_TCP, or KH_TLS once a connection speaks it.
 */
#ifndef KH_IO_TCP_H
#define KH_IO_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "io/tls.h"

#define KH_IO_TCP_QUEUE_MAX 32768 /* bytes: some thirty of our longest datagrams */
#define KH_IO_TCP_PADDING_MAX 3   /* zeros that may follow a frame */

struct kh_io_tcp_listener {
    int fd;
    struct kh_addr addr; /* bound to, with the port the system chose if it was 0 */
};

struct kh_io_tcp {
    int fd; /* -1: closed */
    struct kh_addr local;
    struct kh_addr remote;
    bool is_connecting;
    struct kh_io_tls *tls; /* owned; NULL: what is sent goes as it is */
    uint8_t *queue;        /* owned; NULL while nothing waits */
    size_t queue_at;
    size_t queue_end;
    uint64_t dropped_full;
};

/* Listens on one family at addr, whose transport is ignored.  Returns 0 or an errno value. */
int kh_io_tcp_listen(const struct kh_addr *addr, struct kh_io_tcp_listener *out);
/* The same, and connections may be made from the port meanwhile, with connect_from; by other
 * programs of this user too. */
int kh_io_tcp_listen_shared(const struct kh_addr *addr, struct kh_io_tcp_listener *out);
void kh_io_tcp_listener_close(struct kh_io_tcp_listener *listener);

/* Returns 0 or an errno value: EAGAIN if nobody waits, EMFILE, ENFILE … */
int kh_io_tcp_accept(const struct kh_io_tcp_listener *listener, struct kh_io_tcp *out);
/* Begins to connect; frames may be sent at once.  Returns 0 or an errno value. */
int kh_io_tcp_connect(const struct kh_addr *to, struct kh_io_tcp *out);
/* The same from this port, though it is listened at; `from` may leave the IP unspecified.
 * EADDRINUSE or EADDRNOTAVAIL: there is such a connection already. */
int kh_io_tcp_connect_from(const struct kh_addr *from, const struct kh_addr *to,
                           struct kh_io_tcp *out);
/* From now on all goes through TLS, before anything was sent or received.  `name`: see tls.h.
 * False without memory. */
bool kh_io_tcp_start_tls(struct kh_io_tcp *tcp, const struct kh_io_tls_context *context,
                         const char *name);
/* Looks at the first byte that came and leaves it there.  Returns 0 or as receive does. */
int kh_io_tcp_peek(const struct kh_io_tcp *tcp, uint8_t *byte);
/* The system too keeps little that it has not sent yet: megabytes that wait there on a slow line
 * would hold up whatever comes behind them for many seconds. */
void kh_io_tcp_keep_short(struct kh_io_tcp *tcp);
void kh_io_tcp_close(struct kh_io_tcp *tcp); /* what is still queued is lost */
/* The same, and the system forgets it too: the same two ports can be connected again at once.  What
 * is on its way may be lost. */
void kh_io_tcp_abort(struct kh_io_tcp *tcp);

/* Receives what has come.  Returns 0 and *len > 0; EAGAIN if nothing did; or why the connection is
 * over, EPIPE if the peer ended it. */
int kh_io_tcp_receive(struct kh_io_tcp *tcp, uint8_t *data, size_t max, size_t *len);
/* There is more to receive, and the descriptor does not tell. */
bool kh_io_tcp_has_pending(const struct kh_io_tcp *tcp);

/* What was sent goes unacknowledged, though it was sent again and again: three times, ever slower.
 */
bool kh_io_tcp_is_stalled(const struct kh_io_tcp *tcp);

/* Sends or queues one frame and the zeros behind it; false if it was dropped, whole. */
bool kh_io_tcp_send(struct kh_io_tcp *tcp, const uint8_t *frame, size_t len, size_t padding);
/* True if flush is to be called once the descriptor is writable. */
bool kh_io_tcp_is_waiting(const struct kh_io_tcp *tcp);
/* Returns 0, or an errno value: why the connection is over, or was never made. */
int kh_io_tcp_flush(struct kh_io_tcp *tcp);

#endif
