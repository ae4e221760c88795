/* base/datagram.h - the one value that crosses the border, the same in both directions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_BASE_DATAGRAM_H
#define KH_BASE_DATAGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* The largest we send: fits the 1280 bytes every IPv6 link carries, with room for a relay's
 * framing (RFC 8200 5; 40 IPv6 + 8 UDP + 36 TURN Send indication over IPv6). */
#define KH_DATAGRAM_MAX 1196

/* `from` is always the sender and `to` the receiver, whichever way it travels.  Outgoing, an
 * unspecified `from` (KH_FAMILY_NONE) lets the system choose the interface.  `data` is borrowed:
 * valid only for the call, or until the next call that changes the machine it came out of. */
struct kh_datagram {
    struct kh_addr from;
    struct kh_addr to;
    const uint8_t *data;
    size_t len;
    uint8_t ttl; /* outgoing: after so many hops it shall be dropped; 0: it is to arrive */
};

#endif
