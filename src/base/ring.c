/* base/ring.c - the indices of a bounded queue.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/ring.h"

#include <assert.h>

bool kh_ring_push(struct kh_ring *ring, size_t max, size_t *at)
{
    assert(ring->count <= max);
    if (ring->count == max)
        return false;
    *at = (ring->head + ring->count) % max;
    ring->count++;
    return true;
}

bool kh_ring_pop(struct kh_ring *ring, size_t max, size_t *at)
{
    assert(ring->count <= max);
    if (ring->count == 0)
        return false;
    *at = ring->head;
    ring->head = (ring->head + 1) % max;
    ring->count--;
    return true;
}
