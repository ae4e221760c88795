/* sim/stream.h - the ends of TCP connections that hosts of the virtual network know of.
 *
 * SPDX-License-Identifier: MIT
 *
 * As little of TCP as decides who reaches whom: an end opens when a SYN or its answer comes, frames
 * wait for that and arrive in order.  What travels, and what befalls it, is the network's business.
 */
#ifndef KH_TEST_SIM_STREAM_H
#define KH_TEST_SIM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define STREAMS_MAX 256
#define STREAM_WAITING_MAX 64 /* frames; more are dropped, as from any full queue */

struct stream {
    int host;
    struct kh_addr local, remote;
    uint64_t id;      /* no other end ever has it */
    uint64_t peer_id; /* of the other end; 0: not heard of yet */
    bool is_open;
    bool is_anonymous; /* its port is the system's choice */
    unsigned calls;    /* repeated, for want of an answer */
    uint64_t next_out, next_in;
    struct {
        uint8_t *data; /* owned */
        size_t len;
    } waiting[STREAM_WAITING_MAX];
    size_t waiting_count;
};

struct streams {
    struct stream list[STREAMS_MAX]; /* no gaps: count of them */
    size_t count;
    uint64_t ids;
    uint16_t last_port;
};

void streams_fini(struct streams *streams);
/* All are valid until the next add or remove. */
struct stream *streams_find(struct streams *streams, int host, const struct kh_addr *local,
                            const struct kh_addr *remote);
struct stream *streams_find_id(struct streams *streams, uint64_t id);
struct stream *streams_find_anonymous(struct streams *streams, int host,
                                      const struct kh_addr *remote);
struct stream *streams_add(struct streams *streams, int host, const struct kh_addr *local,
                           const struct kh_addr *remote);
void streams_remove(struct streams *streams, struct stream *stream);
uint16_t streams_take_port(struct streams *streams);
/* False if it is full. */
bool stream_wait(struct stream *stream, const uint8_t *data, size_t len);

#endif
