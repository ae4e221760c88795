/* node/place.c - where we are and where a neighbour is, as the internet sees it by IPv4 and UDP.
 *
 * SPDX-License-Identifier: MIT
 *
 * A punch sends to ports nobody named, so the address has to be beyond doubt: a sealed and signed
 * card names it, and the server sees that member there.  Neither alone could point us at anybody.
 */
#include "node/inside.h"

static bool is_place(const struct kh_addr *addr)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);

    return addr->family == KH_FAMILY_IPV4 && addr->transport == KH_UDP && addr->port != 0 &&
           (reach == KH_REACH_GLOBAL || reach == KH_REACH_PRIVATE);
}

bool kh_node_own_place(const struct kh_node *node, struct kh_addr *base, struct kh_addr *mapped)
{
    if (is_place(&node->mapped) && is_place(&node->mapped_base)) {
        *base = node->mapped_base;
        *mapped = node->mapped;
        return true;
    }
    *base = node->reflexive.base;
    *mapped = node->reflexive.mapped;
    return is_place(base) && is_place(mapped);
}

/* Who joined by IPv6 or TCP is seen elsewhere by the server, which then can confirm nothing; but
 * neither did the one that we would be made to shoot at write that card. */
bool kh_node_place_of(const struct kh_node_neighbour *neighbour, struct kh_addr *out)
{
    const struct kh_room_card *card = &neighbour->card;
    bool is_seen = neighbour->public.family == KH_FAMILY_IPV4;

    for (size_t i = 0; i < card->candidate_count; i++) {
        const struct kh_room_candidate *candidate = &card->candidates[i];

        if (candidate->kind == KH_ROOM_CANDIDATE_RELAYED || !is_place(&candidate->addr))
            continue;
        if (is_seen && kh_addr_ip_equal(&candidate->addr, &neighbour->public)) {
            *out = is_place(&neighbour->public) ? neighbour->public : candidate->addr;
            return true;
        }
        if (!is_seen && candidate->kind == KH_ROOM_CANDIDATE_REFLEXIVE) {
            *out = candidate->addr;
            return true;
        }
    }
    return false;
}
