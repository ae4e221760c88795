/* node/place.c - where we are and where a neighbour is, as the internet sees it by IPv4 and UDP.
 *
 * SPDX-License-Identifier: MIT
 *
 * A punch sends to ports nobody named, so the address has to be beyond doubt: a sealed and signed
 * card names it, and the server sees that member there.  Neither alone can point us at anybody.
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

static void check(struct kh_node *node, struct kh_node_neighbour *neighbour,
                  const struct kh_addr *from, const struct kh_addr *to)
{
    struct kh_datagram way = {.from = *from, .to = *to};

    kh_node_stash_peer(node, neighbour->peer);
    (void)kh_peer_probe(neighbour->peer, node->now, &way);
}

void kh_node_prove_place(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    const struct kh_room_card *card = &neighbour->card;
    struct kh_addr base, mapped;

    if (node->mapped.family == KH_FAMILY_IPV4 || !kh_node_own_place(node, &base, &mapped))
        return;
    for (size_t i = 0; i < card->candidate_count; i++)
        if (card->candidates[i].kind == KH_ROOM_CANDIDATE_RELAYED &&
            is_place(&card->candidates[i].addr))
            check(node, neighbour, &base, &card->candidates[i].addr);
}

/* A relay lets in whom something was sent to through it (RFC 8656 9). */
void kh_node_ask_for_proof(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    const struct kh_room_card *card = &neighbour->card;
    struct kh_addr there;

    if (!is_place(&node->relayed.addr4) || kh_node_place_of(neighbour, &there))
        return;
    for (size_t i = 0; i < card->candidate_count; i++)
        if (card->candidates[i].kind == KH_ROOM_CANDIDATE_REFLEXIVE &&
            is_place(&card->candidates[i].addr))
            check(node, neighbour, &node->relayed.addr4, &card->candidates[i].addr);
}
