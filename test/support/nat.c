/* support/nat.c - sessions of the modelled NAT: who talks to whom under which external port.
 *
 * SPDX-License-Identifier: MIT
 *
 * There is one table, of sessions: (inside, outside, external).  A mapping is the set of sessions
 * that share an external address, and lives as long as any of them; a filter looks at the outside
 * addresses in that set.
 */
#include "support/nat.h"

#include <assert.h>
#include <stdlib.h>

#include "support/dice.h"

#define HOSTS_MAX 64       /* inside hosts that can own a block of ports: more than any lab has */
#define FORWARDS_MAX 8     /* ports led inside by hand: tests need one or two */
#define RANDOM_TRIES 64    /* then a linear search: a table this full is rare and must not loop */
#define REBIND_SHIFT 20000 /* how far a port-preserving box moves its ports in a rebinding */

struct session {
    struct kh_addr inside;
    struct kh_addr outside;
    struct kh_addr external; /* equals inside where nothing is translated */
    kh_time until;
};

struct block {
    struct kh_addr host;
    uint16_t port_min;
};

/* A port somebody asked to be led inside. */
struct forward {
    struct kh_addr inside;
    struct kh_addr external;
};

struct nat {
    struct nat_config config;
    struct dice dice;
    struct session *sessions; /* dense: the first session_count are live */
    size_t session_count;
    struct block blocks[HOSTS_MAX];
    size_t block_count;
    struct forward forwards[FORWARDS_MAX];
    size_t forward_count;
    uint16_t last_port; /* the last one given out in sequence; 0: none yet */
    uint16_t shift;     /* added to ports we would preserve */
    kh_time expire_at;  /* nothing expires before */
    struct nat_stats stats;
};

static void fill_defaults(struct nat_config *config)
{
    if (config->port_min == 0)
        config->port_min = 1024;
    if (config->port_max == 0)
        config->port_max = UINT16_MAX;
    if (config->stride == 0)
        config->stride = 1;
    if (config->block == 0)
        config->block = 64;
    if (config->lifetime == 0)
        config->lifetime = KH_SECONDS(120);
    if (config->sessions_max == 0)
        config->sessions_max = 4096;
}

enum kh_status nat_new(struct nat **out, const struct nat_config *config)
{
    struct nat *nat = calloc(1, sizeof(*nat));

    if (nat == NULL)
        return KH_ERR_MEMORY;
    nat->config = *config;
    fill_defaults(&nat->config);
    assert(nat->config.port_min <= nat->config.port_max);
    nat->dice = dice_of(config->seed);
    nat->expire_at = KH_NEVER;
    nat->sessions = calloc(nat->config.sessions_max, sizeof(*nat->sessions));
    if (nat->sessions == NULL) {
        free(nat);
        return KH_ERR_MEMORY;
    }
    *out = nat;
    return KH_OK;
}

void nat_free(struct nat *nat)
{
    if (nat == NULL)
        return;
    free(nat->sessions);
    free(nat);
}

static void expire(struct nat *nat, kh_time now)
{
    size_t kept = 0;

    if (now < nat->expire_at)
        return;
    nat->expire_at = KH_NEVER;
    for (size_t i = 0; i < nat->session_count; i++) {
        if (nat->sessions[i].until <= now)
            continue;
        nat->expire_at = kh_time_min(nat->expire_at, nat->sessions[i].until);
        nat->sessions[kept++] = nat->sessions[i];
    }
    nat->session_count = kept;
}

static void refresh(struct nat *nat, kh_time now, struct session *session)
{
    session->until = kh_time_add(now, nat->config.lifetime);
    /* A bound is enough: it may be early, then expire looks once for nothing. */
    nat->expire_at = kh_time_min(nat->expire_at, session->until);
}

/* Does a rule treat these two outside addresses alike? */
static bool same_under(enum nat_rule rule, const struct kh_addr *a, const struct kh_addr *b)
{
    switch (rule) {
    case NAT_ENDPOINT_INDEPENDENT:
        return true;
    case NAT_ADDRESS_DEPENDENT:
        return kh_addr_ip_equal(a, b);
    case NAT_ADDRESS_AND_PORT_DEPENDENT:
        return kh_addr_equal(a, b);
    }
    return false;
}

static bool translates(const struct nat *nat, const struct kh_addr *inside)
{
    return nat->config.kind == NAT_KIND_TRANSLATOR && inside->family == KH_FAMILY_IPV4;
}

/* ---- ports ---- */

static bool port_is_taken(const struct nat *nat, const struct kh_addr *external)
{
    for (size_t i = 0; i < nat->forward_count; i++)
        if (kh_addr_equal(&nat->forwards[i].external, external))
            return true;
    for (size_t i = 0; i < nat->session_count; i++)
        if (kh_addr_equal(&nat->sessions[i].external, external))
            return true;
    return false;
}

/* Searches upwards from external->port by `step`, round the range min..max once. */
static bool take_next_free(const struct nat *nat, struct kh_addr *external, uint32_t step,
                           uint32_t min, uint32_t max)
{
    uint32_t span = max - min + 1;
    uint32_t at = (external->port - min) % span;

    for (uint32_t tries = 0; tries < span; tries++) {
        external->port = (uint16_t)(min + at);
        if (!port_is_taken(nat, external))
            return true;
        at = (at + step) % span;
    }
    return false;
}

static bool take_random(struct nat *nat, struct kh_addr *external, uint16_t min, uint16_t max)
{
    for (int tries = 0; tries < RANDOM_TRIES; tries++) {
        external->port = (uint16_t)dice_range(&nat->dice, min, max);
        if (!port_is_taken(nat, external))
            return true;
    }
    return take_next_free(nat, external, 1, min, max);
}

static bool block_is_taken(const struct nat *nat, uint16_t port_min)
{
    for (size_t i = 0; i < nat->block_count; i++)
        if (nat->blocks[i].port_min == port_min)
            return true;
    return false;
}

/* Returns the block of this inside host, giving it one first if it has none; NULL if none is left.
 */
static const struct block *block_of(struct nat *nat, const struct kh_addr *inside)
{
    uint32_t size = nat->config.block;
    uint32_t count = (nat->config.port_max - nat->config.port_min + 1u) / size;
    uint16_t port_min;
    struct block *block;

    for (size_t i = 0; i < nat->block_count; i++)
        if (kh_addr_ip_equal(&nat->blocks[i].host, inside))
            return &nat->blocks[i];
    if (nat->block_count == HOSTS_MAX || nat->block_count >= count)
        return NULL;
    do {
        port_min = (uint16_t)(nat->config.port_min + size * dice_below(&nat->dice, count));
    } while (block_is_taken(nat, port_min));
    block = &nat->blocks[nat->block_count++];
    block->host = *inside;
    block->port_min = port_min;
    return block;
}

static bool take_from_block(struct nat *nat, const struct kh_addr *inside, struct kh_addr *external)
{
    const struct block *block = block_of(nat, inside);

    if (block == NULL)
        return false;
    return take_random(nat, external, block->port_min,
                       (uint16_t)(block->port_min + nat->config.block - 1));
}

static bool take_in_sequence(struct nat *nat, struct kh_addr *external)
{
    const struct nat_config *config = &nat->config;

    if (nat->last_port == 0)
        external->port = (uint16_t)dice_range(&nat->dice, config->port_min, config->port_max);
    else
        external->port = (uint16_t)(nat->last_port + config->stride);
    if (external->port < config->port_min || external->port > config->port_max)
        external->port = config->port_min;
    if (!take_next_free(nat, external, config->stride, config->port_min, config->port_max))
        return false;
    nat->last_port = external->port;
    return true;
}

static bool take_preserved(struct nat *nat, const struct kh_addr *inside, struct kh_addr *external)
{
    const struct nat_config *config = &nat->config;
    uint32_t span = config->port_max - config->port_min + 1u;

    if (inside->port < config->port_min || inside->port > config->port_max)
        return take_random(nat, external, config->port_min, config->port_max);
    external->port = (uint16_t)(config->port_min +
                                (uint32_t)(inside->port - config->port_min + nat->shift) % span);
    return take_next_free(nat, external, 1, config->port_min, config->port_max);
}

/* Gives a port of ours that no other mapping has. */
static bool take_port(struct nat *nat, const struct kh_addr *inside, struct kh_addr *external)
{
    *external = nat->config.external;
    external->transport = inside->transport;
    switch (nat->config.ports) {
    case NAT_PORTS_PRESERVED:
        return take_preserved(nat, inside, external);
    case NAT_PORTS_SEQUENTIAL:
        return take_in_sequence(nat, external);
    case NAT_PORTS_RANDOM:
        return take_random(nat, external, nat->config.port_min, nat->config.port_max);
    case NAT_PORTS_BLOCK:
        return take_from_block(nat, inside, external);
    }
    return false;
}

/* ---- sessions ---- */

static struct session *find_session(struct nat *nat, const struct nat_flow *flow)
{
    for (size_t i = 0; i < nat->session_count; i++) {
        struct session *session = &nat->sessions[i];

        if (kh_addr_equal(&session->inside, &flow->from) &&
            kh_addr_equal(&session->outside, &flow->to))
            return session;
    }
    return NULL;
}

/* Finds the external address that a new session of this flow shares with older ones. */
static bool find_mapping(const struct nat *nat, const struct nat_flow *flow,
                         struct kh_addr *external)
{
    for (size_t i = 0; i < nat->forward_count; i++) {
        if (kh_addr_equal(&nat->forwards[i].inside, &flow->from)) {
            *external = nat->forwards[i].external;
            return true;
        }
    }
    for (size_t i = 0; i < nat->session_count; i++) {
        const struct session *session = &nat->sessions[i];

        if (kh_addr_equal(&session->inside, &flow->from) &&
            same_under(nat->config.mapping, &session->outside, &flow->to)) {
            *external = session->external;
            return true;
        }
    }
    return false;
}

/* Finds or makes the session of an outbound flow; NULL if the box is full. */
static struct session *open_session(struct nat *nat, kh_time now, const struct nat_flow *flow)
{
    struct session *session = find_session(nat, flow);
    struct kh_addr external = flow->from;

    if (session != NULL)
        return session;
    if (nat->session_count == nat->config.sessions_max)
        return NULL;
    if (translates(nat, &flow->from) && !find_mapping(nat, flow, &external)) {
        if (!take_port(nat, &flow->from, &external))
            return NULL;
        nat->stats.mappings_made++;
    }
    session = &nat->sessions[nat->session_count++];
    *session = (struct session){
        .inside = flow->from, .outside = flow->to, .external = external, .until = now};
    nat->stats.sessions_made++;
    return session;
}

static enum nat_verdict turn_back(struct nat *nat, kh_time now, const struct kh_addr *inside,
                                  struct nat_flow *flow)
{
    enum nat_verdict verdict;

    if (nat->config.hairpin == NAT_HAIRPIN_NONE) {
        nat->stats.dropped_hairpin++;
        return NAT_DROP;
    }
    /* The filter of the receiving mapping sees the sender as the outside would. */
    verdict = nat_inbound(nat, now, flow);
    if (verdict != NAT_FORWARD)
        return verdict;
    if (nat->config.hairpin == NAT_HAIRPIN_INTERNAL)
        flow->from = *inside;
    nat->stats.forwarded--; /* it was not: it never left */
    nat->stats.turned++;
    return NAT_TURN;
}

enum nat_verdict nat_outbound(struct nat *nat, kh_time now, struct nat_flow *flow)
{
    struct kh_addr inside = flow->from;
    struct session *session;

    expire(nat, now);
    if (nat->config.kind == NAT_KIND_OPEN) {
        nat->stats.forwarded++;
        return NAT_FORWARD;
    }
    session = open_session(nat, now, flow);
    if (session == NULL) {
        nat->stats.dropped_full++;
        return NAT_DROP;
    }
    refresh(nat, now, session);
    flow->from = session->external;
    if (translates(nat, &inside) && kh_addr_ip_equal(&flow->to, &nat->config.external))
        return turn_back(nat, now, &inside, flow);
    nat->stats.forwarded++;
    return NAT_FORWARD;
}

/* To a forwarded port; then `to` is the address inside. */
static bool is_led_inside(const struct nat *nat, struct nat_flow *flow)
{
    for (size_t i = 0; i < nat->forward_count; i++) {
        if (!kh_addr_equal(&nat->forwards[i].external, &flow->to))
            continue;
        flow->to = nat->forwards[i].inside;
        return true;
    }
    return false;
}

enum nat_verdict nat_inbound(struct nat *nat, kh_time now, struct nat_flow *flow)
{
    bool is_mapped = false;

    expire(nat, now);
    for (size_t i = 0; i < nat->session_count && nat->config.kind != NAT_KIND_OPEN; i++) {
        struct session *session = &nat->sessions[i];

        if (!kh_addr_equal(&session->external, &flow->to))
            continue;
        is_mapped = true;
        if (!same_under(nat->config.filtering, &session->outside, &flow->from))
            continue;
        if (nat->config.inbound_refresh)
            refresh(nat, now, session);
        flow->to = session->inside;
        nat->stats.forwarded++;
        return NAT_FORWARD;
    }
    if (nat->config.kind == NAT_KIND_OPEN || is_led_inside(nat, flow)) {
        nat->stats.forwarded++;
        return NAT_FORWARD;
    }
    if (is_mapped)
        nat->stats.dropped_filtered++;
    else
        nat->stats.dropped_unmapped++;
    return NAT_DROP;
}

bool nat_forward(struct nat *nat, const struct kh_addr *inside, uint16_t port)
{
    struct kh_addr external = nat->config.external;

    external.port = port;
    external.transport = inside->transport;
    if (nat->forward_count == FORWARDS_MAX || port_is_taken(nat, &external))
        return false;
    nat->forwards[nat->forward_count++] =
        (struct forward){.inside = *inside, .external = external};
    return true;
}

void nat_rebind(struct nat *nat)
{
    nat->forward_count = 0;
    nat->session_count = 0;
    nat->block_count = 0;
    nat->last_port = 0;
    nat->expire_at = KH_NEVER;
    /* A box that preserves ports would come back as it was, and the test would test nothing. */
    nat->shift = (uint16_t)dice_range(&nat->dice, 1, REBIND_SHIFT);
}

void nat_readdress(struct nat *nat, const struct kh_addr *external)
{
    nat_rebind(nat);
    nat->config.external = *external;
}

const struct nat_config *nat_config_of(const struct nat *nat)
{
    return &nat->config;
}

struct nat_stats nat_stats(const struct nat *nat)
{
    return nat->stats;
}
