/* runtime/peers.h - TCP connections with other members, made from and taken at our own port.
 *
 * SPDX-License-Identifier: MIT
 *
 * A connection is the two addresses of the datagrams that go along it.  One from our port is opened
 * when something is to be sent by it, and framed as RFC 4571 says; one to the server, which is made
 * to learn where it sees our port, carries STUN as it is (RFC 8489 6.2.2).
 *
 * Who connects to us is a stranger until the node has something to say to it, which it has to
 * authentic checks alone; strangers are few, and have little time and few bytes.
 */
#ifndef KH_RUNTIME_PEERS_H
#define KH_RUNTIME_PEERS_H

#include <uv.h>

#include "base/datagram.h"
#include "base/time.h"
#include "io/tcp.h"
#include "io/udp.h"
#include "node/node.h"

#define KH_RUNTIME_PEERS_MAX 192    /* three ways to each member of a full room */
#define KH_RUNTIME_STRANGERS_MAX 16 /* a newer one drives the oldest out */
#define KH_RUNTIME_STRANGER_BYTES 4096
#define KH_RUNTIME_LOST_MAX 32

struct kh_runtime_peer;

/* None of these may be called back into from the same set but send. */
struct kh_runtime_peers_owner {
    uv_loop_t *loop;
    void *context;
    void (*on_datagram)(void *context, const struct kh_datagram *datagram);
    /* The connection of these two is over, or could not be made. */
    void (*on_lost)(void *context, const struct kh_addr *local, const struct kh_addr *remote);
    void (*on_turn)(void *context);   /* after all datagrams and losses of a turn */
    void (*on_opened)(void *context); /* libuv knows one handle more … */
    void (*on_closed)(void *context); /* … and one less: not before the loop ran */
};

/* Zero means the default. */
struct kh_runtime_peers_limits {
    kh_duration stranger; /* until we have something to say to it; 5 s */
    kh_duration silence;  /* of the other end; 40 s: ICE asks every 15 s at least */
    kh_duration sweep;    /* between looks at these; 1 s */
};

struct kh_runtime_peers_listener {
    uv_poll_t poll; /* its data is the set */
    struct kh_io_tcp_listener listener;
    bool is_open;
};

struct kh_runtime_peers_way {
    struct kh_addr local;
    struct kh_addr remote;
};

struct kh_runtime_peers {
    struct kh_runtime_peers_owner owner;
    struct kh_runtime_peers_limits limits;
    struct kh_addr servers[KH_RENDEZVOUS_SERVERS_MAX]; /* where STUN goes as it is */
    size_t server_count;
    struct kh_runtime_peers_listener listeners[2]; /* IPv4, IPv6 */
    uv_timer_t timer;
    bool has_timer;
    struct kh_runtime_peer *list[KH_RUNTIME_PEERS_MAX + KH_RUNTIME_STRANGERS_MAX]; /* NULL: free */
    struct kh_runtime_peers_way lost[KH_RUNTIME_LOST_MAX]; /* not told yet */
    size_t lost_count;
};

/* Listens at the ports of these sockets where it can, and lets the node know; not for one that is
 * to be known by no address. */
void kh_runtime_peers_start(struct kh_runtime_peers *peers, const struct kh_io_udp_set *udp,
                            struct kh_node_config *config);
/* Listens at this port of one family; false if it is taken. */
bool kh_runtime_peers_listen(struct kh_runtime_peers *peers, enum kh_family family, uint16_t port);
/* Is it our port, by TCP? */
bool kh_runtime_peers_owns(const struct kh_runtime_peers *peers, const struct kh_addr *from);
/* Sends from our port; what cannot be sent is dropped, and told as lost in the next turn if there
 * is no connection for it. */
void kh_runtime_peers_send(struct kh_runtime_peers *peers, const struct kh_datagram *datagram);
void kh_runtime_peers_close_all(struct kh_runtime_peers *peers);

#endif
