/* node/sockets.c - spare sockets: wished for, given by our owner, given back.
 *
 * SPDX-License-Identifier: MIT
 *
 * To us a spare socket is an IPv4 port of our own beside the main one.  One wish at a time: who
 * wants some asks, finds them in a later step, and is theirs until it gives each of them back.
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

bool kh_node_sockets_want(struct kh_node *node, enum kh_node_socket_use use, size_t count)
{
    struct kh_node_sockets *sockets = &node->sockets;

    assert(count > 0 && count <= KH_NODE_SOCKETS_MAX);
    if (sockets->use != KH_NODE_FOR_NOTHING)
        return false;
    sockets->use = use;
    sockets->wanted = count;
    sockets->is_wish_due = true;
    sockets->is_answered = false;
    return true;
}

bool kh_node_sockets_take(struct kh_node *node, enum kh_node_socket_use use, uint16_t *ports,
                          size_t *count)
{
    struct kh_node_sockets *sockets = &node->sockets;

    if (sockets->use != use || !sockets->is_answered)
        return false;
    memcpy(ports, sockets->given, sockets->given_count * sizeof *ports);
    *count = sockets->given_count;
    sockets->use = KH_NODE_FOR_NOTHING;
    return true;
}

void kh_node_sockets_spend(struct kh_node *node, uint16_t port)
{
    struct kh_node_sockets *sockets = &node->sockets;

    assert(port != 0 && sockets->spent_count < KH_NODE_SOCKETS_MAX);
    sockets->spent[sockets->spent_count++] = port;
}

bool kh_node_sockets_step(struct kh_node *node)
{
    struct kh_node_sockets *sockets = &node->sockets;
    struct kh_node_event *event;

    if (sockets->spent_count > 0) {
        event = &kh_node_emit(node, KH_NODE_EVENT_SOCKETS_SPENT, NULL)->event;
        memcpy(sockets->shown, sockets->spent, sockets->spent_count * sizeof sockets->spent[0]);
        event->ports = sockets->shown;
        event->socket_count = sockets->spent_count;
        sockets->spent_count = 0;
    } else if (sockets->is_wish_due) {
        sockets->is_wish_due = false;
        kh_node_emit(node, KH_NODE_EVENT_SOCKETS, NULL)->event.socket_count = sockets->wanted;
    } else {
        return false;
    }
    return true;
}

void kh_node_sockets_answer(struct kh_node *node, const uint16_t *ports, size_t count)
{
    struct kh_node_sockets *sockets = &node->sockets;

    assert(sockets->use != KH_NODE_FOR_NOTHING && !sockets->is_answered);
    assert(count <= sockets->wanted);
    memcpy(sockets->given, ports, count * sizeof *ports);
    sockets->given_count = count;
    sockets->is_answered = true;
}
