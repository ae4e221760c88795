/* relay/guard.h - to which addresses nobody may be relayed.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RELAY_GUARD_H
#define KH_RELAY_GUARD_H

#include "relay/relay.h"

enum kh_relay_verdict {
    KH_RELAY_PEER_FINE,
    KH_RELAY_PEER_OWN,    /* an address of this host: fine if relayed, or in a lab */
    KH_RELAY_PEER_DENIED, /* 403 */
};

/* Judges a peer for an allocation whose relayed address is `relayed`.  An IPv4 address inside an
 * IPv6 one counts as well, in whichever way it is written. */
enum kh_relay_verdict kh_relay_guard_judge(const struct kh_relay_config *config,
                                           const struct kh_addr *relayed,
                                           const struct kh_addr *peer);

#endif
