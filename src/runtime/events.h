/* runtime/events.h - what the program has not heard yet.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RUNTIME_EVENTS_H
#define KH_RUNTIME_EVENTS_H

#include "knothole/knothole.h"

struct kh_runtime_item;

/* A zeroed queue is empty. */
struct kh_runtime_queue {
    struct kh_runtime_item *first;
    struct kh_runtime_item *last;
    struct kh_runtime_item *given; /* the texts of the event handed out last live in it */
};

/* Copies the event and its texts, of which NULL ones become "". */
void kh_runtime_queue_push(struct kh_runtime_queue *queue, const struct kh_runtime_event *event);
bool kh_runtime_queue_next(struct kh_runtime_queue *queue, struct kh_runtime_event *out);
void kh_runtime_queue_fini(struct kh_runtime_queue *queue);

#endif
