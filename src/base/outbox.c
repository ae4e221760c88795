/* base/outbox.c - a ring of outgoing datagrams.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/outbox.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kh_outbox_slot {
    struct kh_addr from;
    struct kh_addr to;
    size_t len;
    uint8_t ttl;
};

enum kh_status kh_outbox_init(struct kh_outbox *box, size_t slots_max, size_t len_max)
{
    assert(slots_max > 0 && len_max > 0);
    *box = (struct kh_outbox){.slots_max = slots_max, .len_max = len_max};
    box->slots = calloc(slots_max, sizeof *box->slots);
    box->data = calloc(slots_max, len_max);
    if (box->slots != NULL && box->data != NULL)
        return KH_OK;
    kh_outbox_fini(box);
    return KH_ERR_MEMORY;
}

void kh_outbox_fini(struct kh_outbox *box)
{
    free(box->slots);
    free(box->data);
    *box = (struct kh_outbox){0};
}

bool kh_outbox_push(struct kh_outbox *box, const struct kh_datagram *datagram)
{
    size_t at;

    assert(box->slots != NULL);
    if (datagram->len > box->len_max || !kh_ring_push(&box->ring, box->slots_max, &at)) {
        box->dropped++;
        return false;
    }
    box->slots[at] = (struct kh_outbox_slot){
        .from = datagram->from, .to = datagram->to, .len = datagram->len, .ttl = datagram->ttl};
    if (datagram->len > 0)
        memcpy(box->data + at * box->len_max, datagram->data, datagram->len);
    return true;
}

bool kh_outbox_next(struct kh_outbox *box, struct kh_datagram *out)
{
    size_t at;

    if (!kh_ring_pop(&box->ring, box->slots_max, &at))
        return false;
    *out = (struct kh_datagram){.from = box->slots[at].from,
                                .to = box->slots[at].to,
                                .data = box->data + at * box->len_max,
                                .len = box->slots[at].len,
                                .ttl = box->slots[at].ttl};
    return true;
}

bool kh_outbox_is_empty(const struct kh_outbox *box)
{
    return box->ring.count == 0;
}
