/* ice/check.c - sending connectivity checks: order, pacing, retransmission (RFC 8445 6.1.4, 7.2).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/agent.h"

#include <assert.h>
#include <string.h>

static struct kh_span password_of(const struct kh_ice_credentials *credentials)
{
    return (struct kh_span){credentials->password, strlen(credentials->password)};
}

/* The peer will give a candidate it learns from this check that priority (RFC 8445 7.1.1).  One
 * learnt through a relay must not outrank direct ones before it is told what it is. */
static uint32_t priority_to_claim(const struct kh_ice_entry *local)
{
    if (local->kind == KH_ICE_RELAYED)
        return local->priority;
    return kh_ice_priority(KH_ICE_PEER_REFLEXIVE, &local->base);
}

size_t kh_ice_check_write(const struct kh_ice_agent *agent, const struct kh_ice_check *check,
                          uint32_t priority, uint8_t data[static KH_ICE_MESSAGE_MAX])
{
    char username[2 * KH_ICE_UFRAG_MAX + 1];
    size_t theirs = strlen(agent->remote.ufrag);
    size_t ours = strlen(agent->config.local.ufrag);
    struct kh_stun_writer writer =
        kh_stun_begin(data, KH_ICE_MESSAGE_MAX, KH_STUN_REQUEST, KH_STUN_BINDING, check->id);

    memcpy(username, agent->remote.ufrag, theirs);
    username[theirs] = ':';
    memcpy(username + theirs + 1, agent->config.local.ufrag, ours);
    kh_stun_add(&writer, KH_STUN_USERNAME, username, theirs + 1 + ours);
    kh_stun_add_u32(&writer, KH_STUN_PRIORITY, priority);
    kh_stun_add_u64(&writer,
                    check->is_controlling ? KH_STUN_ICE_CONTROLLING : KH_STUN_ICE_CONTROLLED,
                    check->tie_breaker);
    if (check->nomination != 0) {
        kh_stun_add_flag(&writer, KH_STUN_USE_CANDIDATE);
        kh_stun_add_u32(&writer, KH_STUN_NOMINATION, check->nomination);
    }
    kh_stun_add_integrity(&writer, password_of(&agent->remote));
    kh_stun_add_fingerprint(&writer);
    return kh_stun_finish(&writer);
}

static void transmit(struct kh_ice_agent *agent, kh_time now, struct kh_ice_pair *pair)
{
    struct kh_ice_check *check = &pair->check;
    uint32_t priority = priority_to_claim(&agent->locals[pair->local]);
    uint8_t data[KH_ICE_MESSAGE_MAX];
    struct kh_datagram datagram = {.from = kh_ice_pair_from(agent, pair),
                                   .to = kh_ice_pair_to(agent, pair),
                                   .data = data,
                                   .len = kh_ice_check_write(agent, check, priority, data)};

    assert(datagram.len != 0 && check->is_waiting);
    (void)kh_outbox_push(&agent->outbox, &datagram);
    if (check->attempts == 0)
        check->began_at = now;
    if (check->attempts++ == 0)
        agent->stats.checks_sent++;
    else
        agent->stats.checks_retransmitted++;
    check->sent_at = now;
    check->next_at = kh_time_add(now, check->rto);
    /* RFC 6544 7.1, RFC 8489 6.2.2: TCP repeats it by itself, and we wait once, for long. */
    if (kh_ice_pair_is_tcp(agent, pair) && !check->is_consent)
        check->next_at = kh_time_add(now, KH_ICE_TCP_WAIT);
    check->is_lost = false;
}

static bool has_room(const struct kh_ice_agent *agent)
{
    return agent->outbox.ring.count < KH_ICE_OUTBOX_MAX;
}

static struct kh_ice_check new_check(struct kh_ice_agent *agent, uint8_t index, kh_duration rto)
{
    struct kh_ice_check check = {.is_waiting = true,
                                 .is_controlling = agent->is_controlling,
                                 .tie_breaker = agent->tie_breaker,
                                 .rto = rto};

    if (agent->is_controlling && (index == agent->selected || index == agent->nominated))
        check.nomination = agent->pairs[index].nomination;
    kh_rng_bytes(&agent->rng, check.id, sizeof check.id);
    return check;
}

/* RFC 8445 14.3: the more is under way, the longer to wait, so that all of it stays one packet per
 * Ta.  Our floor is far below its 500 ms: the first packet to a NAT is usually lost. */
static kh_duration first_rto(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    kh_duration rto = 0;

    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *other = &agent->pairs[i];

        if (other->is_used &&
            (other->state == KH_ICE_PAIR_IN_PROGRESS ||
             (other->state == KH_ICE_PAIR_WAITING && kh_ice_is_wanted(agent, other))))
            rto += agent->config.pacing;
    }
    if (rto < 2 * pair->rtt)
        rto = 2 * pair->rtt;
    if (rto < agent->config.check_rto)
        rto = agent->config.check_rto;
    return rto < KH_ICE_RTO_MAX ? rto : KH_ICE_RTO_MAX;
}

static void start(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    kh_time pace_from = agent->pace_at > now ? agent->pace_at : now;

    assert(agent->has_remote && has_room(agent));
    kh_ice_pair_cancel(pair);
    pair->check = new_check(agent, index, first_rto(agent, pair));
    pair->check.is_triggered = pair->turn != 0;
    pair->turn = 0;
    pair->state = KH_ICE_PAIR_IN_PROGRESS;
    agent->pace_at = kh_time_add(pace_from, agent->config.pacing);
    transmit(agent, now, pair);
}

void kh_ice_check_trigger(struct kh_ice_agent *agent, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];

    assert(pair->is_used);
    if (pair->turn == 0)
        pair->turn = ++agent->turns;
}

bool kh_ice_check_send_consent(struct kh_ice_agent *agent, kh_time now, uint8_t index,
                               kh_duration wait)
{
    struct kh_ice_pair *pair = &agent->pairs[index];

    assert(pair->is_used && pair->is_valid);
    if (!has_room(agent))
        return false;
    kh_ice_pair_cancel(pair);
    pair->check = new_check(agent, index, wait);
    pair->check.is_consent = true;
    transmit(agent, now, pair);
    return true;
}

static bool is_under_way(const struct kh_ice_pair *pair)
{
    return pair->is_used && pair->check.is_waiting && !pair->check.is_consent;
}

static bool is_spent(const struct kh_ice_agent *agent, kh_time now, const struct kh_ice_pair *pair)
{
    const struct kh_ice_check *check = &pair->check;

    if (kh_ice_pair_is_tcp(agent, pair) && !check->is_lost)
        return true;
    if (kh_ice_pair_is_mutual(agent, pair))
        return kh_time_since(now, check->began_at) >= KH_ICE_TCP_MUTUAL_FOR;
    return check->attempts >= KH_ICE_ATTEMPTS_MAX;
}

static void retransmit(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    struct kh_ice_check *check = &pair->check;

    if (!check->is_triggered && !kh_ice_is_wanted(agent, pair)) {
        /* RFC 8445 8.1.2: what is worse than the selected pair need not be known any more. */
        kh_ice_pair_cancel(pair);
        pair->state = KH_ICE_PAIR_WAITING;
        return;
    }
    if (is_spent(agent, now, pair)) {
        kh_ice_pair_fail(agent, now, index);
        return;
    }
    if (!has_room(agent))
        return;
    check->rto = 2 * check->rto < KH_ICE_RTO_MAX ? 2 * check->rto : KH_ICE_RTO_MAX;
    transmit(agent, now, pair);
}

static bool is_retry_due(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    return agent->state == KH_ICE_CHECKING && pair->is_used && pair->state == KH_ICE_PAIR_FAILED &&
           kh_time_add(pair->failed_at, KH_ICE_RETRY) < agent->patience_at;
}

static uint8_t next_triggered(const struct kh_ice_agent *agent)
{
    uint8_t next = KH_ICE_NOWHERE;

    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->turn != 0 &&
            (next == KH_ICE_NOWHERE || pair->turn < agent->pairs[next].turn))
            next = i;
    }
    return next;
}

static kh_time pace_from(const struct kh_ice_agent *agent, kh_duration burst)
{
    kh_duration ahead = (burst - 1) * agent->config.pacing;

    return agent->pace_at > ahead ? agent->pace_at - ahead : 0;
}

static bool may_check(const struct kh_ice_agent *agent)
{
    return agent->has_remote && agent->state != KH_ICE_FAILED;
}

void kh_ice_check_work(struct kh_ice_agent *agent, kh_time now)
{
    uint8_t next;

    if (!may_check(agent))
        return;
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        if (is_under_way(pair) && pair->check.next_at <= now)
            retransmit(agent, now, i);
        if (is_retry_due(agent, pair) && kh_time_add(pair->failed_at, KH_ICE_RETRY) <= now)
            pair->state = KH_ICE_PAIR_WAITING;
    }
    while (has_room(agent) && pace_from(agent, KH_ICE_BURST_TRIGGERED) <= now &&
           (next = next_triggered(agent)) != KH_ICE_NOWHERE)
        start(agent, now, next);
    while (has_room(agent) && pace_from(agent, KH_ICE_BURST_ORDINARY) <= now &&
           (next = kh_ice_pair_next(agent, agent->tcp_at <= now)) != KH_ICE_NOWHERE)
        start(agent, now, next);
}

static kh_time later(kh_time a, kh_time b)
{
    return a > b ? a : b;
}

kh_time kh_ice_check_timeout(const struct kh_ice_agent *agent)
{
    kh_time at = KH_NEVER;

    if (!may_check(agent))
        return at;
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (is_under_way(pair))
            at = kh_time_min(at, pair->check.next_at);
        if (is_retry_due(agent, pair))
            at = kh_time_min(at, kh_time_add(pair->failed_at, KH_ICE_RETRY));
    }
    if (next_triggered(agent) != KH_ICE_NOWHERE)
        at = kh_time_min(at, pace_from(agent, KH_ICE_BURST_TRIGGERED));
    if (kh_ice_pair_next(agent, false) != KH_ICE_NOWHERE)
        at = kh_time_min(at, pace_from(agent, KH_ICE_BURST_ORDINARY));
    else if (kh_ice_pair_next(agent, true) != KH_ICE_NOWHERE)
        at = kh_time_min(at, later(agent->tcp_at, pace_from(agent, KH_ICE_BURST_ORDINARY)));
    return at;
}
