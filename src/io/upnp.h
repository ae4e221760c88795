/* io/upnp.h - a port of the router by UPnP-IGD, through miniupnpc.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every call blocks: a second to find the router, then a few short HTTP requests.  Call it from a
 * thread that may wait; nothing here is shared between two routers.
 */
#ifndef KH_IO_UPNP_H
#define KH_IO_UPNP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

struct kh_io_upnp;

/* Searches for a second; NULL if no connected router answers.  Free it with kh_io_upnp_free. */
struct kh_io_upnp *kh_io_upnp_find(void);
/* Gives the address that the router has outside; false if it does not say. */
bool kh_io_upnp_external(const struct kh_io_upnp *upnp, struct kh_addr *out);
void kh_io_upnp_free(struct kh_io_upnp *upnp); /* NULL is allowed; the mapping stays */

/* Maps a port of the router to UDP port `port` of ours, or renews it; local gets our address as the
 * router sees it, mapped the one that others see.  It ends after lifetime_s unless renewed, but a
 * router that knows permanent mappings only keeps it until it is removed. */
bool kh_io_upnp_map(struct kh_io_upnp *upnp, uint16_t port, uint32_t lifetime_s,
                    struct kh_addr *local, struct kh_addr *mapped);
void kh_io_upnp_unmap(struct kh_io_upnp *upnp);

#endif
