/* runtime/spares.h - UDP sockets beside the main ones, opened when the node wants some.
 *
 * SPDX-License-Identifier: MIT
 *
 * They belong to the same set as the main sockets, so sending needs no choice; what arrives at one
 * is told to the owner by the socket's place in the set, which changes when another is closed.
 */
#ifndef KH_RUNTIME_SPARES_H
#define KH_RUNTIME_SPARES_H

#include <uv.h>

#include "io/udp.h"
#include "node/node.h"

struct kh_runtime_spare;

struct kh_runtime_spares {
    uv_loop_t *loop;
    struct kh_io_udp_set *udp;
    void *context;
    void (*on_readable)(void *context, size_t socket);
    void (*on_opened)(void *context); /* libuv knows one handle more … */
    void (*on_closed)(void *context); /* … and one less: not before the loop ran */
    struct kh_runtime_spare *first;   /* owned */
    size_t wanted;                    /* as many as the node asked for, and has no answer yet */
};

/* True if this event of the node was for us. */
bool kh_runtime_spares_handle_event(struct kh_runtime_spares *spares,
                                    const struct kh_node_event *event);
/* Opens what is wanted and tells the node; true if it did. */
bool kh_runtime_spares_answer(struct kh_runtime_spares *spares, struct kh_node *node, kh_time now);
void kh_runtime_spares_close_all(struct kh_runtime_spares *spares);

#endif
