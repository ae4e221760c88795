/* nat/nat.h - the face of this folder: what our own NAT is, and asking it for a port.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_NAT_H
#define KH_NAT_NAT_H

#include "nat/class.h"
#include "nat/discovery.h"
#include "nat/lifetime.h"
#include "nat/offer.h"
#include "nat/portmap.h"

#endif
