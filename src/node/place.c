/* node/place.c - where we are and where a neighbour is, as the internet sees it by IPv4 and UDP.
 *
 * SPDX-License-Identifier: MIT
 *
 * A punch sends to ports nobody named, so the address has to be beyond doubt: a sealed and signed
 * card names it, and the server sees that member there.  Neither alone can point us at anybody.
 */
#include "node/inside.h"

#define CHECKED_MAX                                                                                \
    2 /* places of a card for a proof: nobody is at more relays, or behind more NATs */

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

/* Who joined by IPv6 the server sees elsewhere.  Then the peer itself has to prove that it is
 * there: by an answer to a check that our relay sent. */
static bool is_confirmed(const struct kh_node_neighbour *neighbour, const struct kh_addr *addr)
{
    return kh_addr_ip_equal(addr, &neighbour->public) ||
           (neighbour->peer != NULL && kh_peer_is_at(neighbour->peer, addr));
}

bool kh_node_place_of(const struct kh_node_neighbour *neighbour, struct kh_addr *out)
{
    const struct kh_room_card *card = &neighbour->card;

    for (size_t i = 0; i < card->candidate_count; i++) {
        const struct kh_room_candidate *candidate = &card->candidates[i];

        if (candidate->kind == KH_ROOM_CANDIDATE_RELAYED || !is_place(&candidate->addr) ||
            !is_confirmed(neighbour, &candidate->addr))
            continue;
        *out = candidate->addr;
        if (is_place(&neighbour->public) && kh_addr_ip_equal(out, &neighbour->public))
            *out = neighbour->public; /* its port is newer there */
        return true;
    }
    return false;
}

bool kh_node_named_place_of(const struct kh_node_neighbour *neighbour, struct kh_addr *out)
{
    const struct kh_room_card *card = &neighbour->card;

    for (size_t i = 0; i < card->candidate_count; i++) {
        if (card->candidates[i].kind != KH_ROOM_CANDIDATE_REFLEXIVE ||
            !is_place(&card->candidates[i].addr))
            continue;
        *out = card->candidates[i].addr;
        return true;
    }
    return false;
}

/* Checks the first places of this kind that its card names, from here; false if there is none. */
static bool check_places(struct kh_node *node, struct kh_node_neighbour *neighbour,
                         const struct kh_addr *from, enum kh_room_candidate_kind kind)
{
    const struct kh_room_card *card = &neighbour->card;
    unsigned count = 0;

    for (size_t i = 0; i < card->candidate_count && count < CHECKED_MAX; i++) {
        struct kh_datagram way = {.from = *from, .to = card->candidates[i].addr};

        if (card->candidates[i].kind != kind || !is_place(&way.to))
            continue;
        kh_node_stash_peer(node, neighbour->peer);
        (void)kh_peer_probe(neighbour->peer, node->now, &way);
        count++;
    }
    return count > 0;
}

void kh_node_prove_place(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_addr base, mapped;

    if (node->mapped.family != KH_FAMILY_IPV4 && kh_node_own_place(node, &base, &mapped))
        (void)check_places(node, neighbour, &base, KH_ROOM_CANDIDATE_RELAYED);
}

/* A relay lets in whom something was sent to through it (RFC 8656 9). */
bool kh_node_ask_for_proof(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_addr there;

    if (!is_place(&node->relayed.addr4) || kh_node_place_of(neighbour, &there))
        return false;
    return check_places(node, neighbour, &node->relayed.addr4, KH_ROOM_CANDIDATE_REFLEXIVE);
}
