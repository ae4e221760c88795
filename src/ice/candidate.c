/* ice/candidate.c - what a candidate is worth, and the two tables of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/agent.h"

#include <assert.h>
#include <string.h>

const char *kh_ice_kind_name(enum kh_ice_kind kind)
{
    static const char *const names[] = {
        [KH_ICE_HOST] = "host",     [KH_ICE_SERVER_REFLEXIVE] = "srflx",
        [KH_ICE_MAPPED] = "mapped", [KH_ICE_PEER_REFLEXIVE] = "prflx",
        [KH_ICE_RELAYED] = "relay",
    };

    assert((size_t)kind < sizeof names / sizeof names[0]);
    return names[kind];
}

/* RFC 8421 4 and RFC 6724 2.1: IPv6 before IPv4 where both are global, local scopes last. */
static uint32_t preference_of_place(const struct kh_addr *addr)
{
    bool is_ipv6 = addr->family == KH_FAMILY_IPV6;

    switch (kh_addr_reach(addr)) {
    case KH_REACH_GLOBAL:
        return is_ipv6 ? 7 : 5;
    case KH_REACH_PRIVATE:
        return is_ipv6 ? 6 : 4;
    case KH_REACH_LINK_LOCAL:
        return is_ipv6 ? 2 : 1;
    case KH_REACH_UNSPECIFIED:
    case KH_REACH_LOOPBACK:
    case KH_REACH_MULTICAST:
        break;
    }
    return 0;
}

/* RFC 8445 5.1.2.1: candidates of one kind must differ in preference.  A hash of the address is as
 * good as a list of interfaces, and the peer can compute it too. */
static uint32_t preference_of_identity(const struct kh_addr *addr)
{
    uint32_t hash = 2166136261u; /* FNV-1a: no defence needed, a collision only ties two pairs */

    for (size_t i = 0; i < sizeof addr->ip; i++)
        hash = (hash ^ addr->ip[i]) * 16777619u;
    hash = (hash ^ (addr->port & 0xffu)) * 16777619u;
    hash = (hash ^ (uint32_t)(addr->port >> 8)) * 16777619u;
    return (hash ^ (hash >> 16)) & 0x1fff;
}

/* RFC 6544 4.2: what is TCP is below the same by UDP.  Ours is below all direct UDP, and above what
 * is relayed.  Its direction preferences are left out: each of ours has all directions. */
uint32_t kh_ice_priority(enum kh_ice_kind kind, const struct kh_addr *addr)
{
    static const uint32_t by_udp[] = {
        [KH_ICE_HOST] = 126,   [KH_ICE_PEER_REFLEXIVE] = 110,   /* RFC 8445 5.1.2.2 */
        [KH_ICE_MAPPED] = 105, [KH_ICE_SERVER_REFLEXIVE] = 100, /* a mapping filters nothing */
        [KH_ICE_RELAYED] = 0,
    };
    static const uint32_t by_tcp[] = {
        [KH_ICE_HOST] = 90,   [KH_ICE_PEER_REFLEXIVE] = 80,
        [KH_ICE_MAPPED] = 75, [KH_ICE_SERVER_REFLEXIVE] = 70,
        [KH_ICE_RELAYED] = 0,
    };
    const uint32_t *type_preference = addr->transport == KH_UDP ? by_udp : by_tcp;
    uint32_t local_preference = preference_of_place(addr) << 13 | preference_of_identity(addr);

    assert((size_t)kind < sizeof by_udp / sizeof by_udp[0]);
    return type_preference[kind] << 24 | local_preference << 8 | (256 - 1); /* component 1 */
}

struct kh_addr kh_ice_unscoped(const struct kh_addr *addr)
{
    struct kh_addr bare = *addr;

    bare.scope = 0;
    return bare;
}

bool kh_ice_addr_is_usable(const struct kh_addr *addr)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);

    return (addr->family == KH_FAMILY_IPV4 || addr->family == KH_FAMILY_IPV6) && addr->port != 0 &&
           reach != KH_REACH_UNSPECIFIED && reach != KH_REACH_MULTICAST;
}

static bool is_ipv6_link_local(const struct kh_addr *addr)
{
    return addr->family == KH_FAMILY_IPV6 && kh_addr_reach(addr) == KH_REACH_LINK_LOCAL;
}

/* A relay on the internet reaches nobody's private network, and is not to hear what addresses it
 * has. */
static bool is_out_of_relay(const struct kh_ice_entry *local, const struct kh_addr *to)
{
    return local->kind == KH_ICE_RELAYED && kh_addr_reach(&local->base) == KH_REACH_GLOBAL &&
           kh_addr_reach(to) != KH_REACH_GLOBAL;
}

bool kh_ice_can_pair(const struct kh_ice_entry *local, const struct kh_ice_entry *remote)
{
    const struct kh_addr *from = &local->base;
    const struct kh_addr *to = &remote->addr;

    assert(local->is_used && remote->is_used);
    /* RFC 8445 6.1.2.2: one family; IPv6 link-local only with its like.  Loopback reaches nothing
     * but loopback, so other pairs with it would only cost time. */
    return from->family == to->family && from->transport == to->transport &&
           is_ipv6_link_local(from) == is_ipv6_link_local(to) && !is_out_of_relay(local, to) &&
           (kh_addr_reach(from) == KH_REACH_LOOPBACK) == (kh_addr_reach(to) == KH_REACH_LOOPBACK);
}

bool kh_ice_can_open(const struct kh_ice_entry *local, const struct kh_ice_entry *remote)
{
    assert(local->is_used && remote->is_used);
    if (local->base.transport == KH_UDP)
        return true;
    return ((local->tcp & KH_ICE_TCP_ACTIVE) != 0 && (remote->tcp & KH_ICE_TCP_PASSIVE) != 0) ||
           (local->tcp & remote->tcp & KH_ICE_TCP_SIMULTANEOUS) != 0;
}

uint8_t kh_ice_local_find_base(const struct kh_ice_agent *agent, const struct kh_addr *base)
{
    uint8_t found = KH_ICE_NOWHERE;

    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++) {
        const struct kh_ice_entry *entry = &agent->locals[i];

        if (!entry->is_used || !kh_addr_equal(&entry->base, base))
            continue;
        if (kh_addr_equal(&entry->addr, base))
            return i;
        if (found == KH_ICE_NOWHERE && entry->kind != KH_ICE_PEER_REFLEXIVE)
            found = i;
    }
    return found;
}

uint8_t kh_ice_local_find(const struct kh_ice_agent *agent, const struct kh_addr *addr,
                          const struct kh_addr *base)
{
    struct kh_addr bare = kh_ice_unscoped(addr);

    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++) {
        const struct kh_ice_entry *entry = &agent->locals[i];
        struct kh_addr mine = kh_ice_unscoped(&entry->addr);

        if (entry->is_used && kh_addr_equal(&mine, &bare) && kh_addr_equal(&entry->base, base))
            return i;
    }
    return KH_ICE_NOWHERE;
}

uint8_t kh_ice_remote_find(const struct kh_ice_agent *agent, const struct kh_addr *addr)
{
    struct kh_addr bare = kh_ice_unscoped(addr);

    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++)
        if (agent->remotes[i].is_used && kh_addr_equal(&agent->remotes[i].addr, &bare))
            return i;
    return KH_ICE_NOWHERE;
}

static uint8_t free_slot(const struct kh_ice_entry *entries)
{
    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++)
        if (!entries[i].is_used)
            return i;
    return KH_ICE_NOWHERE;
}

/* A local peer-reflexive candidate that no valid pair tells of any more: an old NAT mapping. */
static uint8_t spent_local(const struct kh_ice_agent *agent)
{
    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++) {
        bool is_seen = false;

        for (size_t k = 0; k < KH_ICE_PAIRS_MAX; k++)
            if (agent->pairs[k].is_used && agent->pairs[k].seen == i)
                is_seen = is_seen || agent->pairs[k].is_valid;
        if (agent->locals[i].kind == KH_ICE_PEER_REFLEXIVE && !agent->locals[i].is_spare &&
            !is_seen)
            return i;
    }
    return KH_ICE_NOWHERE;
}

uint8_t kh_ice_local_store(struct kh_ice_agent *agent, const struct kh_ice_entry *entry)
{
    uint8_t at = free_slot(agent->locals);

    assert(entry->is_used);
    if (at == KH_ICE_NOWHERE)
        at = spent_local(agent);
    if (at == KH_ICE_NOWHERE)
        return at;
    for (size_t k = 0; k < KH_ICE_PAIRS_MAX; k++)
        if (agent->pairs[k].is_used && agent->pairs[k].seen == at)
            agent->pairs[k].seen = KH_ICE_NOWHERE;
    agent->locals[at] = *entry;
    return at;
}

/* A remote candidate without a valid pair or one being nominated, that is of an earlier generation
 * or only overheard, not told. */
static bool is_spent_remote(const struct kh_ice_agent *agent, uint8_t remote)
{
    const struct kh_ice_entry *entry = &agent->remotes[remote];

    if (entry->generation == agent->generation && entry->kind != KH_ICE_PEER_REFLEXIVE)
        return false;
    for (uint8_t k = 0; k < KH_ICE_PAIRS_MAX; k++) {
        const struct kh_ice_pair *pair = &agent->pairs[k];

        if (pair->is_used && pair->remote == remote &&
            (pair->is_valid || k == agent->selected || k == agent->nominated))
            return false;
    }
    return true;
}

static uint8_t empty_spent_remote(struct kh_ice_agent *agent)
{
    uint8_t at = 0;

    while (at < KH_ICE_CANDIDATES_MAX && !is_spent_remote(agent, at))
        at++;
    if (at == KH_ICE_CANDIDATES_MAX)
        return KH_ICE_NOWHERE;
    for (uint8_t k = 0; k < KH_ICE_PAIRS_MAX; k++)
        if (agent->pairs[k].is_used && agent->pairs[k].remote == at)
            kh_ice_pair_remove(agent, k);
    agent->remotes[at].is_used = false;
    return at;
}

uint8_t kh_ice_remote_store(struct kh_ice_agent *agent, const struct kh_ice_entry *entry)
{
    uint8_t at = free_slot(agent->remotes);

    assert(entry->is_used && entry->addr.scope == 0);
    if (at == KH_ICE_NOWHERE)
        at = empty_spent_remote(agent);
    if (at != KH_ICE_NOWHERE)
        agent->remotes[at] = *entry;
    return at;
}

bool kh_ice_may_store(kh_time *until, kh_time now, unsigned burst)
{
    kh_time from = *until > now ? *until : now;

    if (kh_time_since(from, now) >= burst * KH_ICE_LEARN_PERIOD)
        return false;
    *until = kh_time_add(from, KH_ICE_LEARN_PERIOD);
    return true;
}
