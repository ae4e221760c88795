/* knotholed/discovery.h - the sockets that NAT behaviour discovery needs besides those asked for.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_DISCOVERY_H
#define KH_KNOTHOLED_DISCOVERY_H

#include "hub/hub.h"
#include "io/udp.h"

/* Where two addresses of one family are served on the same port, opens the next port on both and
 * fills in `out`.  Where that cannot be, it says why on stderr and the server does without. */
void kh_knotholed_discovery_open(struct kh_io_udp_set *udp,
                                 struct kh_hub_discovery out[KH_HUB_FAMILIES]);

#endif
