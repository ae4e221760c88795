/* knotholed/relaying.h - what the relay is told about this machine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_RELAYING_H
#define KH_KNOTHOLED_RELAYING_H

#include "hub/hub.h"
#include "io/udp.h"
#include "options.h"

/* Fills in the relay's configuration from the options and the addresses of this machine, of which
 * those that `udp` listens at are relayed from.  A secret in a file is read into `secret`.  False,
 * having said why on stderr, if that fails or there is no address to relay from. */
bool kh_knotholed_relaying_configure(const struct kh_knotholed_options *options,
                                     const struct kh_io_udp_set *udp,
                                     char secret[static KH_RELAY_SECRET_MAX + 2],
                                     struct kh_relay_config *out);

/* The same for a relay elsewhere, if the options name one. */
bool kh_knotholed_relaying_elsewhere(const struct kh_knotholed_options *options,
                                     char secret[static KH_RELAY_SECRET_MAX + 2],
                                     struct kh_hub_turn *out);

#endif
