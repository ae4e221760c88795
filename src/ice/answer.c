/* ice/answer.c - what an answer to one of our checks means (RFC 8445 7.2.5).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/agent.h"

#include <assert.h>
#include <string.h>

static bool is_answer_to(const struct kh_ice_check *check, const struct kh_stun_message *message)
{
    return check->is_waiting && kh_equal(check->id, message->id, KH_STUN_ID_LEN);
}

static uint8_t find_pair(const struct kh_ice_agent *agent, const struct kh_stun_message *message)
{
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used &&
            (is_answer_to(&pair->check, message) || is_answer_to(&pair->older, message)))
            return i;
    }
    return KH_ICE_NOWHERE;
}

/* RFC 8445 7.2.5.3.1: the address the peer saw is a candidate of ours, a new one if need be. */
static uint8_t local_seen_as(struct kh_ice_agent *agent, const struct kh_ice_pair *pair,
                             const struct kh_addr *mapped)
{
    struct kh_addr base = kh_ice_pair_from(agent, pair);
    struct kh_ice_entry entry = {.is_used = true,
                                 .kind = KH_ICE_PEER_REFLEXIVE,
                                 .addr = *mapped,
                                 .base = base,
                                 .priority = kh_ice_priority(KH_ICE_PEER_REFLEXIVE, &base)};
    uint8_t found = kh_ice_local_find(agent, mapped, &base);

    if (found != KH_ICE_NOWHERE || !kh_ice_addr_is_usable(mapped))
        return found;
    return kh_ice_local_store(agent, &entry); /* not paired: its checks would leave from the base */
}

/* is_plain: the check did not wait for a connection to be made. */
static void measure(struct kh_ice_pair *pair, const struct kh_ice_check *check, kh_time now,
                    bool is_plain)
{
    if (check->attempts > 1 && pair->rtt_is_sure)
        return; /* Karn: we cannot know which transmission this answers */
    pair->rtt = kh_time_since(now, check->sent_at);
    pair->rtt_is_sure = check->attempts == 1 && is_plain;
    if (!pair->rtt_is_sure)
        return;
    if (pair->measured++ % KH_ICE_MEASURES == 0) {
        pair->shortest[1] = pair->shortest[0];
        pair->shortest[0] = pair->rtt;
    }
    pair->shortest[0] = kh_time_min(pair->shortest[0], pair->rtt);
}

/* Ends what this answer ends: its check, and one that was sent only to learn the same.  A check
 * that nominates stands for itself: an answer to an earlier one says nothing about it. */
static void settle_checks(struct kh_ice_pair *pair, bool is_current)
{
    if (is_current) {
        pair->check.is_waiting = false;
    } else {
        pair->older.is_waiting = false;
        if (pair->check.nomination == 0)
            kh_ice_pair_cancel(pair);
    }
    if (!pair->check.is_waiting || pair->check.is_consent)
        pair->state = KH_ICE_PAIR_SUCCEEDED;
}

static void succeed(struct kh_ice_agent *agent, kh_time now, uint8_t index,
                    const struct kh_ice_check *check, const struct kh_addr *mapped)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    struct kh_ice_event event = {.kind = KH_ICE_EVENT_VALID};
    bool is_new = !pair->is_valid;

    pair->is_valid = true;
    if (is_new)
        pair->valid_at = now;
    pair->seen = local_seen_as(agent, pair, mapped);
    kh_ice_consent_renew(agent, now, index);
    if (is_new) {
        event.path = kh_ice_pair_path(agent, pair);
        kh_ice_agent_emit(agent, &event);
    }
    kh_ice_pairs_thaw(agent, pair);
    kh_ice_consider(agent, now, index, check->nomination != 0);
}

static void handle_error(struct kh_ice_agent *agent, kh_time now, uint8_t index,
                         const struct kh_ice_check *check, unsigned code)
{
    struct kh_ice_pair *pair = &agent->pairs[index];

    if (code != 487) {
        kh_ice_pair_fail(agent, now, index);
        return;
    }
    /* RFC 8445 7.2.5.1: take the other role, unless that happened since, and check again. */
    agent->stats.role_conflicts++;
    if (agent->is_controlling == check->is_controlling) {
        agent->tie_breaker = kh_rng_u64(&agent->rng);
        kh_ice_role_set(agent, !check->is_controlling);
    }
    pair->check.is_waiting = false;
    pair->older.is_waiting = false;
    pair->state = KH_ICE_PAIR_WAITING;
    kh_ice_check_trigger(agent, index);
}

/* Where both NATs give a new port to each destination, each check would bring one back for ever. */
static void rest(struct kh_ice_pair *pair, kh_time now)
{
    pair->rest_until = kh_time_add(now, KH_ICE_REST << pair->strays);
    if (pair->strays < KH_ICE_REST_DOUBLINGS)
        pair->strays++;
}

static void handle_authentic(struct kh_ice_agent *agent, kh_time now, uint8_t index,
                             const struct kh_datagram *datagram,
                             const struct kh_stun_message *message)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    bool is_current = is_answer_to(&pair->check, message);
    struct kh_ice_check check = is_current ? pair->check : pair->older;
    struct kh_addr to = kh_ice_pair_to(agent, pair);
    struct kh_addr from = kh_ice_pair_from(agent, pair);
    struct kh_addr mapped = {0};
    unsigned code = 0;

    if (message->class == KH_STUN_SUCCESS
            ? !kh_stun_find_addr(message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped)
            : !kh_stun_find_error(message, &code, NULL)) {
        agent->stats.dropped_malformed++;
        return;
    }
    mapped.transport = datagram->from.transport; /* STUN does not say (RFC 8489 14.2) */
    agent->stats.responses_received++;
    /* RFC 8445 7.2.5.2.1: an answer must come back the way the check went.  RFC 8489 6.3.3: one
     * with attributes we would have to understand is a failure too. */
    if (!kh_addr_equal(&datagram->from, &to) || !kh_addr_equal(&datagram->to, &from)) {
        kh_ice_pair_fail(agent, now, index);
        rest(pair, now);
    } else if (message->unknown_count != 0) {
        kh_ice_pair_fail(agent, now, index);
    } else if (message->class == KH_STUN_ERROR) {
        handle_error(agent, now, index, &check, code);
    } else {
        measure(pair, &check, now, pair->is_valid || !kh_ice_pair_is_tcp(agent, pair));
        settle_checks(pair, is_current);
        succeed(agent, now, index, &check, &mapped);
    }
}

bool kh_ice_answer_handle(struct kh_ice_agent *agent, kh_time now,
                          const struct kh_datagram *datagram, const struct kh_stun_message *message)
{
    const char *password = agent->remote.password;
    uint8_t index = find_pair(agent, message);

    if (index == KH_ICE_NOWHERE)
        return false;
    assert(agent->has_remote);
    if (kh_stun_check_integrity(message, (struct kh_span){password, strlen(password)}))
        handle_authentic(agent, now, index, datagram, message);
    else
        agent->stats.dropped_unauthentic++;
    return true;
}
