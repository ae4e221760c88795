/* runtime/tcp.h - TCP and TLS connections to the server, opened when something is to be sent.
 *
 * SPDX-License-Identifier: MIT
 *
 * The node knows addresses only: a datagram to one whose transport is KH_TCP or KH_TLS opens a
 * connection there if there is none, and what comes back along it are datagrams from there.
 */
#ifndef KH_RUNTIME_TCP_H
#define KH_RUNTIME_TCP_H

#include <uv.h>

#include "base/datagram.h"
#include "rendezvous/rendezvous.h"

struct kh_runtime_tcp;

/* None of these may be called back into from the same set but send. */
struct kh_runtime_tcp_owner {
    uv_loop_t *loop;
    const char *server_name; /* as in the link: what TLS asks for, unless it is an address */
    void *context;
    void (*on_datagram)(void *context, const struct kh_datagram *datagram);
    void (*on_turn)(void *context); /* after all datagrams of a turn */
    void (*on_lost)(void *context, const struct kh_addr *server); /* one that had worked is over */
    void (*on_opened)(void *context); /* libuv knows one handle more … */
    void (*on_closed)(void *context); /* … and one less: not before the loop ran */
};

struct kh_runtime_tcp_set {
    struct kh_runtime_tcp_owner owner;
    struct kh_io_tls_context *tls;                          /* owned; NULL until it is needed */
    struct kh_runtime_tcp *list[KH_RENDEZVOUS_SERVERS_MAX]; /* NULL: free */
};

/* Drops what cannot be sent. */
void kh_runtime_tcp_send(struct kh_runtime_tcp_set *set, const struct kh_datagram *datagram);
/* This address of ours is gone, and with it what was opened from there. */
void kh_runtime_tcp_leave(struct kh_runtime_tcp_set *set, const struct kh_addr *local);
/* Ends connections along which nothing comes any more. */
void kh_runtime_tcp_bury(struct kh_runtime_tcp_set *set);
void kh_runtime_tcp_close_all(struct kh_runtime_tcp_set *set);

#endif
