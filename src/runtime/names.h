/* runtime/names.h - asks our links who has a name, when the node wants to know.
 *
 * SPDX-License-Identifier: MIT
 *
 * Drives src/mdns's machine from the loop.  Its sockets are opened at the first question and heard
 * only while one is asked: what a link talks about otherwise does not wake us.
 */
#ifndef KH_RUNTIME_NAMES_H
#define KH_RUNTIME_NAMES_H

#include <uv.h>

#include "io/multicast.h"
#include "mdns/mdns.h"
#include "node/node.h"

struct kh_runtime_names {
    uv_loop_t *loop;
    void *context;
    void (*answered)(void *context, const struct kh_mdns_answer *answer);
    void (*on_opened)(void *context); /* libuv knows one handle more … */
    void (*on_closed)(void *context); /* … and one less: not before the loop ran */
    bool is_open;
    struct kh_mdns mdns;
    struct kh_io_multicast sockets;
    uv_timer_t timer;
    uv_poll_t polls[KH_IO_MULTICAST_SOCKETS];
};

/* True if this event of the node was for us.  The answer comes from the loop, within a second. */
bool kh_runtime_names_handle_event(struct kh_runtime_names *names,
                                   const struct kh_node_event *event);
void kh_runtime_names_close(struct kh_runtime_names *names);

#endif
