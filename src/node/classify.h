/* node/classify.h - finding out what the NAT in front of us does.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_CLASSIFY_H
#define KH_NODE_CLASSIFY_H

#include "node/node.h"

/* How a server sees our main socket. */
struct kh_node_view {
    struct kh_addr server;
    struct kh_addr local;
    struct kh_addr mapped;
    struct kh_addr other; /* another place of this server; none: not told */
};

struct kh_node_classify {
    struct kh_nat_discovery *discovery;   /* NULL: none under way */
    struct kh_node_view view;             /* what is or was looked at */
    uint16_t spares[KH_NODE_SOCKETS_MAX]; /* as many as anyone may be given */
    size_t spare_count;
    enum kh_nat_rule shown; /* the mapping, as peers show it in this network */
    bool is_due;
    bool has_wished; /* for spare sockets, and waits for them */
    bool is_mapping_told;
    kh_time not_before;
};

/* Nothing happens if it shows the network that was looked at already. */
void kh_node_classify_aim(struct kh_node *node, const struct kh_node_view *view);
/* A path to a peer shows what a server with one address cannot: another address sees us, too. */
void kh_node_classify_learn(struct kh_node *node, const struct kh_ice_path *path);
bool kh_node_classify_step(struct kh_node *node);
bool kh_node_classify_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram);
void kh_node_classify_handle_timeout(struct kh_node *node);
kh_time kh_node_classify_timeout(const struct kh_node *node);

#endif
