/* node/tcp.h - reaching the others by TCP: when it is worth it, and where our port is seen.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_TCP_H
#define KH_NODE_TCP_H

#include "node/node.h"

struct kh_node_tcp {
    bool ipv4, ipv6; /* our owner listens there */
    bool is_used;    /* and our candidates say so; stays */
    struct kh_stun_transaction transaction;
    kh_time ask_at;
    struct kh_addr mapped; /* where the server sees our port … */
    struct kh_addr base;   /* … when we connect from here */
};

/* Somebody needs it: our TCP candidates are told from now on. */
void kh_node_tcp_use(struct kh_node *node);
void kh_node_tcp_follow(struct kh_node *node, const struct kh_room_card *card); /* if it does */
/* The TCP twin of a host candidate, in use. */
bool kh_node_tcp_is_base(const struct kh_node *node, const struct kh_addr *addr);
bool kh_node_tcp_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram);
void kh_node_tcp_handle_lost(struct kh_node *node, const struct kh_addr *remote);
void kh_node_tcp_handle_timeout(struct kh_node *node);
kh_time kh_node_tcp_timeout(const struct kh_node *node);

#endif
