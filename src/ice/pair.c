/* ice/pair.c - the checklist: forming, ordering, pruning and freezing pairs (RFC 8445 6.1.2).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/agent.h"

#include <assert.h>
#include <string.h>

struct kh_addr kh_ice_pair_from(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    assert(pair->is_used);
    return agent->locals[pair->local].base;
}

struct kh_addr kh_ice_pair_to(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    struct kh_addr to = agent->remotes[pair->remote].addr;

    assert(pair->is_used);
    to.scope = agent->locals[pair->local].base.scope; /* which link: only our side knows */
    return to;
}

struct kh_ice_path kh_ice_pair_path(const struct kh_ice_agent *agent,
                                    const struct kh_ice_pair *pair)
{
    enum kh_ice_kind kind = agent->locals[pair->local].kind;

    if (kind != KH_ICE_RELAYED) /* a relay is one whatever the peer saw */
        kind =
            pair->seen == KH_ICE_NOWHERE ? KH_ICE_PEER_REFLEXIVE : agent->locals[pair->seen].kind;
    return (struct kh_ice_path){
        .local = kh_ice_pair_from(agent, pair),
        .remote = kh_ice_pair_to(agent, pair),
        .local_kind = kind,
        .remote_kind = agent->remotes[pair->remote].kind,
        .rtt = pair->rtt,
    };
}

bool kh_ice_pair_is_tcp(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    assert(pair->is_used);
    return agent->locals[pair->local].base.transport != KH_UDP;
}

bool kh_ice_pair_is_mutual(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    const struct kh_ice_entry *remote = &agent->remotes[pair->remote];

    assert(pair->is_used);
    return (agent->locals[pair->local].tcp & remote->tcp & KH_ICE_TCP_SIMULTANEOUS) != 0 &&
           kh_addr_reach(&remote->addr) == KH_REACH_GLOBAL;
}

uint8_t kh_ice_pair_find(const struct kh_ice_agent *agent, const struct kh_addr *base,
                         uint8_t remote)
{
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->remote == remote &&
            kh_addr_equal(&agent->locals[pair->local].base, base))
            return i;
    }
    return KH_ICE_NOWHERE;
}

/* RFC 8445 6.1.2.3: 2^32 * MIN(G,D) + 2 * MAX(G,D) + (G > D), G being the controlling side's. */
static uint64_t priority_of(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    uint64_t mine = agent->locals[pair->local].priority;
    uint64_t theirs = agent->remotes[pair->remote].priority;
    uint64_t g = agent->is_controlling ? mine : theirs;
    uint64_t d = agent->is_controlling ? theirs : mine;

    return ((g < d ? g : d) << 32) + 2 * (g < d ? d : g) + (g > d ? 1 : 0);
}

void kh_ice_pairs_prioritise(struct kh_ice_agent *agent)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (agent->pairs[i].is_used)
            agent->pairs[i].priority = priority_of(agent, &agent->pairs[i]);
}

/* RFC 8445 5.1.1.3 and 6.1.2.6: same kinds, same base address, same remote address and transport;
 * ports differ. */
static bool share_foundation(const struct kh_ice_agent *agent, const struct kh_ice_pair *a,
                             const struct kh_ice_pair *b)
{
    const struct kh_ice_entry *local_a = &agent->locals[a->local];
    const struct kh_ice_entry *local_b = &agent->locals[b->local];
    const struct kh_ice_entry *remote_a = &agent->remotes[a->remote];
    const struct kh_ice_entry *remote_b = &agent->remotes[b->remote];

    return local_a->kind == local_b->kind && remote_a->kind == remote_b->kind &&
           local_a->base.transport == local_b->base.transport &&
           kh_addr_ip_equal(&local_a->base, &local_b->base) &&
           kh_addr_ip_equal(&remote_a->addr, &remote_b->addr);
}

/* RFC 8838 12: a trickled pair waits if none of its foundation is under way before it. */
static enum kh_ice_pair_state first_state(const struct kh_ice_agent *agent,
                                          const struct kh_ice_pair *pair)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *other = &agent->pairs[i];

        if (other != pair && other->is_used &&
            (other->state == KH_ICE_PAIR_WAITING || other->state == KH_ICE_PAIR_IN_PROGRESS) &&
            share_foundation(agent, pair, other))
            return KH_ICE_PAIR_FROZEN;
    }
    return KH_ICE_PAIR_WAITING;
}

/* An empty slot, or that of the least pair if it is below `priority` and nothing hangs on it. */
static uint8_t slot_for(struct kh_ice_agent *agent, uint64_t priority)
{
    uint8_t least = KH_ICE_NOWHERE;

    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (!pair->is_used)
            return i;
        if (pair->is_valid || i == agent->selected || i == agent->nominated ||
            pair->state == KH_ICE_PAIR_IN_PROGRESS || pair->priority >= priority)
            continue;
        if (least == KH_ICE_NOWHERE || pair->priority < agent->pairs[least].priority)
            least = i;
    }
    return least;
}

uint8_t kh_ice_pair_add(struct kh_ice_agent *agent, uint8_t local, uint8_t remote)
{
    const struct kh_ice_entry *mine = &agent->locals[local];
    struct kh_ice_pair pair = {
        .is_used = true, .local = local, .remote = remote, .seen = KH_ICE_NOWHERE};
    uint8_t at;

    if (!kh_ice_can_pair(mine, &agent->remotes[remote]))
        return KH_ICE_NOWHERE;
    at = kh_ice_pair_find(agent, &mine->base, remote);
    if (at != KH_ICE_NOWHERE) {
        /* RFC 8445 6.1.2.4: a reflexive candidate's checks leave from its base, so its pair is
         * the base's pair, which is the one to keep. */
        if (kh_addr_equal(&mine->addr, &mine->base))
            agent->pairs[at].local = local;
        agent->pairs[at].priority = priority_of(agent, &agent->pairs[at]);
        return at;
    }
    pair.priority = priority_of(agent, &pair);
    at = slot_for(agent, pair.priority);
    if (at == KH_ICE_NOWHERE)
        return at;
    pair.state = first_state(agent, &pair);
    agent->pairs[at] = pair;
    return at;
}

void kh_ice_pair_remove(struct kh_ice_agent *agent, uint8_t index)
{
    assert(index < KH_ICE_PAIRS_MAX);
    if (agent->selected == index)
        agent->selected = KH_ICE_NOWHERE;
    if (agent->nominated == index)
        agent->nominated = KH_ICE_NOWHERE;
    agent->pairs[index] = (struct kh_ice_pair){0};
}

/* The peer may have followed a nomination whose answer we never saw: call it back. */
static void withdraw_nomination(struct kh_ice_agent *agent)
{
    agent->nominated = KH_ICE_NOWHERE;
    if (agent->is_controlling && agent->selected != KH_ICE_NOWHERE)
        agent->pairs[agent->selected].nomination = ++agent->nomination;
}

void kh_ice_pair_fail(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];

    assert(pair->is_used);
    pair->state = KH_ICE_PAIR_FAILED;
    pair->failed_at = now;
    if (pair->is_valid || (pair->failures > 0 && pair->failures < KH_ICE_REVIVALS_MAX))
        pair->failures++;
    pair->turn = 0;
    pair->check.is_waiting = false;
    pair->older.is_waiting = false;
    if (agent->nominated == index)
        withdraw_nomination(agent);
    if (agent->selected != index) {
        pair->is_valid = false;
        return;
    }
    /* One failed check does not take the path from the data that may still pass: only the end of
     * consent does (RFC 7675 5.1).  But it is asked about at once. */
    pair->missed = pair->missed < KH_ICE_SUSPECT ? KH_ICE_SUSPECT : pair->missed;
    agent->consent_at = now;
}

void kh_ice_pair_cancel(struct kh_ice_pair *pair)
{
    if (!pair->check.is_waiting)
        return;
    pair->older = pair->check;
    pair->check.is_waiting = false;
}

void kh_ice_pairs_reset(struct kh_ice_agent *agent, bool keep_answers)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        pair->state = KH_ICE_PAIR_FROZEN;
        pair->turn = 0;
        pair->missed = 0;
        kh_ice_pair_cancel(pair);
        pair->older.is_waiting = pair->older.is_waiting && keep_answers;
    }
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (agent->pairs[i].is_used)
            agent->pairs[i].state = first_state(agent, &agent->pairs[i]);
}

void kh_ice_pairs_stop(struct kh_ice_agent *agent)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        pair->is_valid = false;
        pair->turn = 0;
        pair->check.is_waiting = false;
        pair->older.is_waiting = false;
    }
}

void kh_ice_pairs_thaw(struct kh_ice_agent *agent, const struct kh_ice_pair *like)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->state == KH_ICE_PAIR_FROZEN &&
            share_foundation(agent, pair, like))
            pair->state = KH_ICE_PAIR_WAITING;
    }
}

bool kh_ice_pairs_are_pending(const struct kh_ice_agent *agent)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (agent->pairs[i].is_used && agent->pairs[i].state <= KH_ICE_PAIR_IN_PROGRESS)
            return true;
    return false;
}

/* RFC 8445 6.1.4.2: a frozen pair's turn comes once nothing of its foundation is under way. */
static bool may_thaw(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *other = &agent->pairs[i];

        if (other->is_used && other->state == KH_ICE_PAIR_IN_PROGRESS &&
            share_foundation(agent, pair, other))
            return false;
    }
    return true;
}

static uint8_t best_in(const struct kh_ice_agent *agent, enum kh_ice_pair_state state,
                       bool with_tcp)
{
    uint8_t best = KH_ICE_NOWHERE;

    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (!pair->is_used || pair->state != state ||
            (best != KH_ICE_NOWHERE && pair->priority <= agent->pairs[best].priority))
            continue;
        if (kh_ice_is_wanted(agent, pair) && (with_tcp || !kh_ice_pair_is_tcp(agent, pair)) &&
            (state == KH_ICE_PAIR_WAITING || may_thaw(agent, pair)))
            best = i;
    }
    return best;
}

uint8_t kh_ice_pair_next(const struct kh_ice_agent *agent, bool with_tcp)
{
    uint8_t next = best_in(agent, KH_ICE_PAIR_WAITING, with_tcp);

    return next != KH_ICE_NOWHERE ? next : best_in(agent, KH_ICE_PAIR_FROZEN, with_tcp);
}
