/* knotholed/discovery.h - the sockets that NAT behaviour discovery needs besides those asked for.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_DISCOVERY_H
#define KH_KNOTHOLED_DISCOVERY_H

#include "hub/hub.h"
#include "io/udp.h"

/* Ports that are open to the world besides those that clients are told. */
struct kh_knotholed_port_range {
    uint16_t min;
    uint16_t max;
};

/* Where two addresses of one family are served on the same port, opens the next port on both and
 * fills in `out`.  Where that cannot be, it says why on stderr and the server does without. */
void kh_knotholed_discovery_open(struct kh_io_udp_set *udp,
                                 struct kh_hub_discovery out[KH_HUB_FAMILIES]);

/* Where a family has no such places, opens a second port for its first address: the highest one of
 * the range that is free, since whoever opened the firewall for relayed data opened it for that.
 * Without one, and from a range that can hardly spare one, the server does without. */
void kh_knotholed_discovery_open_second(struct kh_io_udp_set *udp,
                                        const struct kh_knotholed_port_range *range,
                                        struct kh_hub_discovery out[KH_HUB_FAMILIES]);

#endif
