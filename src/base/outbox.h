/* base/outbox.h - the datagrams a machine wants sent, copied into a ring of fixed size.
 *
 * SPDX-License-Identifier: MIT
 *
 * A full outbox drops and counts: it stands in for a network that may lose anything anyway.
 */
#ifndef KH_BASE_OUTBOX_H
#define KH_BASE_OUTBOX_H

#include "base/datagram.h"
#include "base/ring.h"

struct kh_outbox_slot;

struct kh_outbox {
    struct kh_outbox_slot *slots; /* owned */
    uint8_t *data;                /* owned; slot_max * len_max bytes */
    struct kh_ring ring;
    size_t slots_max;
    size_t len_max;
    uint64_t dropped; /* datagrams refused because all slots were taken or they were too long */
};

/* Holds up to slots_max datagrams of up to len_max bytes each. */
KH_MUST_USE enum kh_status kh_outbox_init(struct kh_outbox *box, size_t slots_max, size_t len_max);
void kh_outbox_fini(struct kh_outbox *box); /* a zeroed one is allowed */

/* Copies the datagram.  False, and counted, if it had to be dropped. */
bool kh_outbox_push(struct kh_outbox *box, const struct kh_datagram *datagram);

/* Gives the oldest; out->data stays valid until the next push. */
bool kh_outbox_next(struct kh_outbox *box, struct kh_datagram *out);

bool kh_outbox_is_empty(const struct kh_outbox *box);

#endif
