/* ice/spare.c - bases learned from the peer's checks: the ports of a punch that were hit.
 *
 * SPDX-License-Identifier: MIT
 *
 * RFC 8445 has all bases known before checks begin.  A punch opens hundreds of ports and does not
 * know which of them the peer will find, so a port becomes a base when an authentic check arrives
 * there.  It is paired with where that check came from and nothing else: all other ways from there
 * are shut, or known already from the main port.
 */
#include "ice/agent.h"

#include <assert.h>

static unsigned count_spares(const struct kh_ice_agent *agent)
{
    unsigned count = 0;

    for (size_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++)
        count += agent->locals[i].is_used && agent->locals[i].is_spare;
    return count;
}

uint8_t kh_ice_spare_learn(struct kh_ice_agent *agent, const struct kh_addr *base)
{
    /* Of the one kind that is not paired with every remote candidate (see add_remote). */
    struct kh_ice_entry entry = {.is_used = true,
                                 .is_spare = true,
                                 .kind = KH_ICE_PEER_REFLEXIVE,
                                 .addr = *base,
                                 .base = *base,
                                 .priority = kh_ice_priority(KH_ICE_PEER_REFLEXIVE, base)};

    assert(kh_ice_local_find_base(agent, base) == KH_ICE_NOWHERE);
    if (kh_addr_is_none(&agent->spare) || !kh_addr_ip_equal(&agent->spare, base) ||
        agent->spare.transport != base->transport || count_spares(agent) >= KH_ICE_SPARES_MAX)
        return KH_ICE_NOWHERE;
    return kh_ice_local_store(agent, &entry);
}
