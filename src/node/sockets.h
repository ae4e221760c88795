/* node/sockets.h - spare sockets: wished for, given by our owner, given back.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_SOCKETS_H
#define KH_NODE_SOCKETS_H

#include "node/node.h"

enum kh_node_socket_use { KH_NODE_FOR_NOTHING, KH_NODE_FOR_PUNCH, KH_NODE_FOR_SAMPLES };

/* See sockets.c. */
struct kh_node_sockets {
    enum kh_node_socket_use use; /* of the wish under way */
    size_t wanted;
    bool is_wish_due; /* our owner does not know of it yet */
    bool is_answered; /* but not taken */
    uint16_t given[KH_NODE_SOCKETS_MAX];
    size_t given_count;
    uint16_t spent[KH_NODE_SOCKETS_MAX];
    size_t spent_count;
    uint16_t shown[KH_NODE_SOCKETS_MAX]; /* what the event given last points to */
};

/* False while another wish is under way: ask again later. */
bool kh_node_sockets_want(struct kh_node *node, enum kh_node_socket_use use, size_t count);
/* True once: these are yours, as many as were wanted or fewer, down to none. */
bool kh_node_sockets_take(struct kh_node *node, enum kh_node_socket_use use, uint16_t *ports,
                          size_t *count);
void kh_node_sockets_spend(struct kh_node *node, uint16_t port); /* gives it back */
bool kh_node_sockets_step(struct kh_node *node);
void kh_node_sockets_answer(struct kh_node *node, const uint16_t *ports, size_t count);

#endif
