/* knotholed/turnserver.h - a TURN server elsewhere, as its operator names it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_TURNSERVER_H
#define KH_KNOTHOLED_TURNSERVER_H

#include <stdbool.h>

#include "hub/hub.h"
#include "options.h"

/* Is it "turn:HOST[:PORT][?transport=udp]" (RFC 7065)?  HOST may be an IPv6 address in brackets. */
bool kh_knotholed_turn_server_check(const char *uri, char why[static KH_KNOTHOLED_WHY_MAX]);

/* Looks up its addresses, the first of each family.  False if it has none. */
bool kh_knotholed_turn_server_resolve(const char *uri, struct kh_addr out[static 2]);

#endif
