/* nat/ports.h - how a NAT chooses external ports, from some that it chose.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_PORTS_H
#define KH_NAT_PORTS_H

#include "nat/discovery.h"

/* And three more where they depend on whom, and one that only a liar makes differ. */
#define KH_NAT_SAMPLES_MAX (KH_NAT_SOCKETS_MAX + 4)

struct kh_nat_samples {
    uint16_t ports[KH_NAT_SAMPLES_MAX]; /* external ones, no two alike */
    size_t count;
    size_t asked;     /* sockets whose first mapping is known … */
    size_t preserved; /* … and of these with the external port equal to the inside port */
};

/* Adds the external port unless it is there already. */
void kh_nat_samples_add(struct kh_nat_samples *samples, uint16_t port);

/* Fills in ports, stride, port_min, port_max and port_count. */
void kh_nat_samples_classify(const struct kh_nat_samples *samples, struct kh_nat_behaviour *out);

/* Gives the range that a block which showed these ports may cover. */
void kh_nat_block_guess(const struct kh_nat_behaviour *behaviour, uint16_t *port_min,
                        uint16_t *port_max);

#endif
