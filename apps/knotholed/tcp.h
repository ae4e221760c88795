/* knotholed/tcp.h - clients that come by TCP or TLS: their frames are datagrams to the hub.
 *
 * SPDX-License-Identifier: MIT
 *
 * Both come to the same ports; the first byte tells them apart (RFC 7983).
 *
 * One descriptor tells that something happened at any of the listeners and connections.  A
 * connection ends when its client ends it, breaks the framing, begins a frame and does not finish
 * it, says nothing at first, or is idle for long; past the limits new ones are closed at once.
 */
#ifndef KH_KNOTHOLED_TCP_H
#define KH_KNOTHOLED_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/datagram.h"
#include "base/time.h"
#include "io/tls.h"

/* Also bounded by the descriptors the system grants us. */
#define KH_KNOTHOLED_TCP_MAX 4096
/* From one IPv4 address or one IPv6 /64: an office behind one address still fits. */
#define KH_KNOTHOLED_TCP_PREFIX_MAX 256
/* Of them all, in the middle of a handshake: each holds 47 KB then, and 14 KB later. */
#define KH_KNOTHOLED_TCP_SHAKING_MAX 512

struct kh_knotholed_tcp;

struct kh_knotholed_tcp_stats {
    size_t connections;
    uint64_t accepted;
    uint64_t refused; /* past a limit */
    uint64_t tls;     /* handshakes that were finished */
    uint64_t broken;  /* closed for what they sent */
    uint64_t idle;    /* closed for what they did not send */
    uint64_t frames;
    uint64_t dropped_full; /* frames for a client that does not read */
    uint64_t dropped_gone; /* frames for one that is gone */
};

/* NULL without memory or descriptors. */
struct kh_knotholed_tcp *kh_knotholed_tcp_new(void);
/* Ends all connections. */
void kh_knotholed_tcp_free(struct kh_knotholed_tcp *tcp);

/* From now on connections may begin with TLS; those that have go on as they began.  Takes the
 * context over. */
void kh_knotholed_tcp_set_tls(struct kh_knotholed_tcp *tcp, struct kh_io_tls_context *context);

/* Listens at addr too, and tells where if its port is 0.  Returns 0 or an errno value. */
int kh_knotholed_tcp_listen(struct kh_knotholed_tcp *tcp, const struct kh_addr *addr,
                            struct kh_addr *bound);
/* Takes back the latest listen. */
void kh_knotholed_tcp_unlisten(struct kh_knotholed_tcp *tcp);

/* Readable when wake should be called. */
int kh_knotholed_tcp_fd(const struct kh_knotholed_tcp *tcp);
/* Sees what happened; then next must be called until it is false. */
void kh_knotholed_tcp_wake(struct kh_knotholed_tcp *tcp, kh_time now);
/* Gives the next frame that came, with the addresses of its connection; valid until the next call.
 */
bool kh_knotholed_tcp_next(struct kh_knotholed_tcp *tcp, kh_time now, struct kh_datagram *out);
/* Gives the addresses of a connection that ended, each once; false when all are told.  To be called
 * until then after next and handle_timeout. */
bool kh_knotholed_tcp_next_gone(struct kh_knotholed_tcp *tcp, struct kh_addr *remote,
                                struct kh_addr *local);
/* Sends along the connection that has these addresses; drops it if there is none any more. */
void kh_knotholed_tcp_send(struct kh_knotholed_tcp *tcp, kh_time now,
                           const struct kh_datagram *datagram);

void kh_knotholed_tcp_handle_timeout(struct kh_knotholed_tcp *tcp, kh_time now);
kh_time kh_knotholed_tcp_timeout(const struct kh_knotholed_tcp *tcp);
struct kh_knotholed_tcp_stats kh_knotholed_tcp_stats(const struct kh_knotholed_tcp *tcp);

#endif
