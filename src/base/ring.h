/* base/ring.h - the indices of a bounded queue; the array of values belongs to its owner.
 *
 * SPDX-License-Identifier: MIT
 *
 *     size_t at;
 *     if (kh_ring_push(&agent->event_ring, EVENTS_MAX, &at))
 *         agent->events[at] = event;
 */
#ifndef KH_BASE_RING_H
#define KH_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

struct kh_ring {
    size_t head;  /* index of the oldest value */
    size_t count; /* values held */
};

/* Gives the index to write the newest value at; false if max values are held already. */
bool kh_ring_push(struct kh_ring *ring, size_t max, size_t *at);

/* Gives the index of the oldest value and forgets it; false if there is none.  The value itself
 * stays in the array until pushes come round to it. */
bool kh_ring_pop(struct kh_ring *ring, size_t max, size_t *at);

#endif
