/* node/need.c - who needs our place at the relay: nobody does for a while, and it is given back.
 *
 * SPDX-License-Identifier: MIT
 *
 * It is asked for with the join, before anyone is known to need it, so that a relayed path comes
 * with the first checks.  Once all who are here have had paths without it for UNNEEDED_MAX, or
 * nobody is here for as long, it is withdrawn from our candidates and our card, and given back when
 * the others had time to hear of that.  It is taken again as soon as somebody comes, or a path is
 * lost or doubted: an allocation is one round trip, and words go through the server meanwhile.
 */
#include "node/inside.h"

#include <assert.h>

#define UNNEEDED_MAX KH_SECONDS(30)
#define WITHDRAWAL KH_SECONDS(2) /* what is under way to the relayed address still arrives */

void kh_node_need_init(struct kh_node_relayed *relayed)
{
    relayed->unneeded_since = KH_NEVER;
    relayed->release_at = KH_NEVER;
}

static bool is_needed_by(const struct kh_node_neighbour *neighbour)
{
    const struct kh_ice_path *path = neighbour->peer == NULL ? NULL : kh_peer_path(neighbour->peer);

    if (neighbour->card.abilities & KH_ROOM_ABILITY_DIRECT_ONLY)
        return false;
    return path == NULL || path->local_kind == KH_ICE_RELAYED || neighbour->doubted;
}

bool kh_node_need_lasts(const struct kh_node *node)
{
    kh_time since = node->relayed.unneeded_since;

    return since == KH_NEVER || kh_time_since(node->now, since) < UNNEEDED_MAX;
}

void kh_node_need_weigh(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;
    bool needed = false;

    for (size_t i = 0; i < node->neighbour_count && !needed; i++)
        needed = is_needed_by(node->neighbours[i]);
    if (needed)
        relayed->unneeded_since = KH_NEVER;
    else if (relayed->unneeded_since == KH_NEVER)
        relayed->unneeded_since = node->now;
}

static bool is_told(const struct kh_node_relayed *relayed)
{
    return !kh_addr_is_none(&relayed->addr4) || !kh_addr_is_none(&relayed->addr6);
}

bool kh_node_need_withdraw(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    if (!is_told(relayed))
        return false;
    assert(relayed->release_at == KH_NEVER);
    relayed->kept4 = relayed->addr4;
    relayed->kept6 = relayed->addr6;
    relayed->addr4 = relayed->addr6 = (struct kh_addr){0};
    relayed->release_at = kh_time_add(node->now, WITHDRAWAL);
    relayed->changed = true;
    return true;
}

bool kh_node_need_restore(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    if (relayed->release_at == KH_NEVER)
        return false;
    relayed->addr4 = relayed->kept4;
    relayed->addr6 = relayed->kept6;
    relayed->release_at = KH_NEVER;
    relayed->changed = true;
    return true;
}

kh_time kh_node_need_timeout(const struct kh_node *node)
{
    const struct kh_node_relayed *relayed = &node->relayed;

    if (relayed->unneeded_since == KH_NEVER || !is_told(relayed))
        return relayed->release_at;
    return kh_time_add(relayed->unneeded_since, UNNEEDED_MAX);
}
