/* nat/nat.h - the face of this folder: asking our own NAT for a port.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_NAT_H
#define KH_NAT_NAT_H

#include "nat/portmap.h"

#endif
