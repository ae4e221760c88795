/* io/gateway.h - the router that leads from here to everywhere else.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_IO_GATEWAY_H
#define KH_IO_GATEWAY_H

#include <stdbool.h>

#include "base/addr.h"

struct kh_io_gateway {
    struct kh_addr gateway; /* port 0, as the local one */
    struct kh_addr local;   /* our address on the way to it */
};

/* Finds the IPv4 default gateway of the lowest metric; false if there is none, as on a line between
 * two points. */
bool kh_io_gateway_find(struct kh_io_gateway *out);

#endif
