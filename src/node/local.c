/* node/local.c - our addresses as candidates: which of them, and what the server sees of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

static bool is_far(const struct kh_addr *addr)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);

    return reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL;
}

/* RFC 8445 5.1.1.1: loopback is no candidate, and link-local rarely a good one; but where nothing
 * else is, they are what two members on one machine or one wire have. */
static bool is_usable(const struct kh_node *node, const struct kh_addr *addr)
{
    if (is_far(addr))
        return true;
    for (size_t i = 0; i < node->addr_count; i++)
        if (is_far(&node->addrs[i]))
            return false;
    return true;
}

bool kh_node_is_host(const struct kh_node *node, const struct kh_addr *addr)
{
    if (node->paths == KH_NODE_PATHS_RELAY)
        return false; /* whatever we have, it is nobody's business */
    for (size_t i = 0; i < node->addr_count; i++)
        if (kh_addr_equal(&node->addrs[i], addr))
            return is_usable(node, addr);
    return false;
}

/* Is it the reflexive one of the other family (reflexive.c)? */
static bool is_asked_for(const struct kh_node *node, const struct kh_ice_candidate *candidate)
{
    return candidate->kind == KH_ICE_SERVER_REFLEXIVE &&
           kh_addr_equal(&candidate->addr, &node->reflexive.mapped) &&
           kh_addr_equal(&candidate->base, &node->reflexive.base);
}

static bool is_port_mapped(const struct kh_node *node, const struct kh_ice_candidate *candidate)
{
    for (size_t i = 0; i < KH_NODE_MAPPED_MAX; i++)
        if (kh_addr_equal(&candidate->addr, &node->ports[i].mapped) &&
            kh_addr_equal(&candidate->base, &node->ports[i].base))
            return true;
    return false;
}

static bool is_by_tcp(const struct kh_ice_candidate *candidate)
{
    return candidate->base.transport == KH_TCP;
}

static bool is_wanted_by_tcp(const struct kh_node *node, const struct kh_ice_candidate *candidate)
{
    if (!kh_node_tcp_is_base(node, &candidate->base))
        return false;
    return candidate->kind == KH_ICE_HOST || (kh_addr_equal(&candidate->addr, &node->tcp.mapped) &&
                                              kh_addr_equal(&candidate->base, &node->tcp.base));
}

static bool is_wanted(const struct kh_node *node, const struct kh_ice_candidate *candidate)
{
    if (is_by_tcp(candidate))
        return is_wanted_by_tcp(node, candidate);
    if (candidate->kind == KH_ICE_RELAYED)
        return kh_addr_equal(&candidate->addr, &node->relayed.addr4) ||
               kh_addr_equal(&candidate->addr, &node->relayed.addr6);
    if (!kh_node_is_host(node, &candidate->base))
        return false;
    if (candidate->kind == KH_ICE_MAPPED)
        return is_port_mapped(node, candidate);
    if (candidate->kind == KH_ICE_HOST || is_asked_for(node, candidate))
        return true;
    return kh_addr_equal(&candidate->addr, &node->mapped) &&
           kh_addr_equal(&candidate->base, &node->mapped_base);
}

/* A slot that a neighbour still believes to hold its old candidate must not hold another. */
static bool is_free(const struct kh_node *node, size_t slot)
{
    if (node->locals[slot].in_use)
        return false;
    for (size_t i = 0; i < node->neighbour_count; i++)
        if (node->neighbours[i]->given.locals & (UINT64_C(1) << slot))
            return false;
    return true;
}

/* Neighbours' addresses that are only for who has such a one too may be for us now (peering.c). */
static void reconsider_remotes(struct kh_node *node)
{
    for (size_t i = 0; i < node->neighbour_count; i++)
        node->neighbours[i]->given.remotes = 0; /* what is given twice changes nothing */
}

/* Returns true if it was not there yet. */
static bool want(struct kh_node *node, const struct kh_ice_candidate *candidate)
{
    size_t slot = LOCALS_MAX;

    for (size_t i = 0; i < LOCALS_MAX; i++) {
        const struct kh_node_local *local = &node->locals[i];

        if (local->in_use && local->candidate.kind == candidate->kind &&
            kh_addr_equal(&local->candidate.addr, &candidate->addr) &&
            kh_addr_equal(&local->candidate.base, &candidate->base))
            return false;
        if (slot == LOCALS_MAX && is_free(node, i))
            slot = i;
    }
    assert(slot < LOCALS_MAX);
    node->locals[slot] = (struct kh_node_local){.in_use = true, .candidate = *candidate};
    if (!is_far(&candidate->base))
        reconsider_remotes(node);
    return true;
}

/* Seen as we are: no NAT between us and the server, so nothing to add (RFC 8445 5.1.3). */
static void want_reflexive(struct kh_node *node, const struct kh_addr *mapped,
                           const struct kh_addr *base)
{
    struct kh_ice_candidate reflexive = {
        .kind = KH_ICE_SERVER_REFLEXIVE, .addr = *mapped, .base = *base};

    if (kh_node_is_host(node, base) && !kh_addr_equal(mapped, base))
        want(node, &reflexive);
}

/* Returns true if the card should tell it. */
static bool want_port_mapped(struct kh_node *node, const struct kh_node_port *port)
{
    struct kh_ice_candidate mapped = {
        .kind = KH_ICE_MAPPED, .addr = port->mapped, .base = port->base};

    return kh_node_is_host(node, &port->base) && want(node, &mapped);
}

static bool want_relayed(struct kh_node *node, const struct kh_addr *addr)
{
    struct kh_ice_candidate relayed = {.kind = KH_ICE_RELAYED, .addr = *addr, .base = *addr};

    return !kh_addr_is_none(addr) && want(node, &relayed);
}

/* The twins of our host candidates, and where the server sees their port.  Returns true if the card
 * should tell one. */
static bool want_by_tcp(struct kh_node *node)
{
    const unsigned all = KH_ICE_TCP_ACTIVE | KH_ICE_TCP_PASSIVE | KH_ICE_TCP_SIMULTANEOUS;
    struct kh_ice_candidate reflexive = {.kind = KH_ICE_SERVER_REFLEXIVE,
                                         .addr = node->tcp.mapped,
                                         .base = node->tcp.base,
                                         .tcp = all};
    bool changed = false;

    for (size_t i = 0; i < node->addr_count; i++) {
        struct kh_ice_candidate host = {.kind = KH_ICE_HOST, .addr = node->addrs[i], .tcp = all};

        host.addr.transport = KH_TCP;
        host.base = host.addr;
        if (kh_node_tcp_is_base(node, &host.base) && want(node, &host))
            changed = true;
    }
    if (kh_node_tcp_is_base(node, &reflexive.base) &&
        !kh_addr_equal(&reflexive.addr, &reflexive.base) && want(node, &reflexive))
        changed = true;
    return changed;
}

bool kh_node_update_locals(struct kh_node *node)
{
    bool changed = false;

    for (size_t i = 0; i < LOCALS_MAX; i++) {
        struct kh_node_local *local = &node->locals[i];

        if (!local->in_use || is_wanted(node, &local->candidate))
            continue;
        local->in_use = false;
        changed = changed || local->candidate.kind != KH_ICE_SERVER_REFLEXIVE;
    }
    for (size_t i = 0; i < node->addr_count; i++) {
        struct kh_ice_candidate host = {
            .kind = KH_ICE_HOST, .addr = node->addrs[i], .base = node->addrs[i]};

        if (kh_node_is_host(node, &node->addrs[i]) && want(node, &host))
            changed = true;
    }
    want_reflexive(node, &node->mapped, &node->mapped_base);
    want_reflexive(node, &node->reflexive.mapped, &node->reflexive.base);
    for (size_t i = 0; i < KH_NODE_MAPPED_MAX; i++)
        if (want_port_mapped(node, &node->ports[i]))
            changed = true;
    changed = want_by_tcp(node) || changed;
    changed = want_relayed(node, &node->relayed.addr4) || changed;
    return want_relayed(node, &node->relayed.addr6) || changed;
}

/* What the card says of it.  Of the one we joined by the server tells too, and sooner; but it is
 * our own word that lets others send to ports there which nobody named (punch.c). */
static struct kh_room_candidate told(const struct kh_ice_candidate *candidate)
{
    static const enum kh_room_candidate_kind kinds[] = {
        [KH_ICE_HOST] = KH_ROOM_CANDIDATE_HOST,
        [KH_ICE_SERVER_REFLEXIVE] = KH_ROOM_CANDIDATE_REFLEXIVE,
        [KH_ICE_RELAYED] = KH_ROOM_CANDIDATE_RELAYED,
        [KH_ICE_MAPPED] = KH_ROOM_CANDIDATE_MAPPED,
    };
    struct kh_room_candidate out = {.kind = kinds[candidate->kind], .addr = candidate->addr};

    assert(candidate->kind != KH_ICE_PEER_REFLEXIVE);
    if (is_by_tcp(candidate))
        out.tcp = KH_ROOM_TCP_PASSIVE | KH_ROOM_TCP_SIMULTANEOUS;
    return out;
}

size_t kh_node_list_hosts(const struct kh_node *node,
                          struct kh_room_candidate out[static KH_ROOM_CANDIDATES_MAX])
{
    size_t count = 0;

    /* TCP comes last: a card may be full before. */
    for (int by_tcp = 0; by_tcp <= 1; by_tcp++) {
        for (size_t i = 0; i < LOCALS_MAX && count < KH_ROOM_CANDIDATES_MAX; i++) {
            const struct kh_node_local *local = &node->locals[i];

            if (local->in_use && is_by_tcp(&local->candidate) == (by_tcp == 1) &&
                !kh_node_names_hide(node, &local->candidate))
                out[count++] = told(&local->candidate);
        }
    }
    return count;
}
