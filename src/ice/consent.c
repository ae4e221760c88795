/* ice/consent.c - leave to keep sending, and noticing early when a path dies (RFC 7675).
 *
 * SPDX-License-Identifier: MIT
 *
 * RFC 7675 5.1 asks every 5 s and gives up after 30.  We keep both, but ask again soon after an
 * unanswered check, with a new id each time, and look for another path after two: so a dead path
 * is left within about 10 s.  Consent checks also keep NAT mappings alive (RFC 8445 11).
 */
#include "ice/agent.h"

#include <assert.h>

#define WAIT_MIN KH_MILLISECONDS(400)
#define WAIT_MAX KH_SECONDS(2)
/* Once a path is suspect.  25 of these before consent ends: a loss of 30 % each way never does. */
#define WAIT_SUSPECT KH_SECONDS(1)

/* RFC 7675 5.1: 0.8 to 1.2 of the period, so that checks do not fall into step. */
static kh_duration randomised_period(struct kh_ice_agent *agent)
{
    kh_duration period = agent->config.consent_period;

    return period * 8 / 10 + kh_rng_below(&agent->rng, period * 4 / 10 + 1);
}

void kh_ice_consent_schedule(struct kh_ice_agent *agent, kh_time now)
{
    agent->consent_at = kh_time_add(now, randomised_period(agent));
}

void kh_ice_consent_renew(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];

    assert(pair->is_used && pair->is_valid);
    pair->missed = 0;
    pair->failures = 0;
    pair->consent_until = kh_time_add(now, agent->config.consent_expiry);
    if (index == agent->selected)
        kh_ice_consent_schedule(agent, now);
}

void kh_ice_consent_hurry(struct kh_ice_agent *agent, kh_time now, kh_duration pause)
{
    const struct kh_ice_pair *pair;
    kh_time earliest;

    if (agent->selected == KH_ICE_NOWHERE)
        return;
    pair = &agent->pairs[agent->selected];
    earliest = kh_time_add(pair->check.sent_at, pause);
    if (!pair->check.is_waiting)
        agent->consent_at = kh_time_min(agent->consent_at, earliest > now ? earliest : now);
}

/* How long an answer may take before we count it missing and ask again. */
static kh_duration patience_with(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    kh_duration wait = 4 * pair->rtt;

    if (wait < WAIT_MIN)
        wait = WAIT_MIN;
    if (wait > WAIT_MAX)
        wait = WAIT_MAX;
    if (pair->missed > KH_ICE_SUSPECT && wait < WAIT_SUSPECT)
        wait = WAIT_SUSPECT;
    return wait < agent->config.consent_period ? wait : agent->config.consent_period;
}

/* The selected path is silent: every other one is asked again, the valid ones first. */
static void look_elsewhere(struct kh_ice_agent *agent)
{
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        if (!pair->is_used || i == agent->selected)
            continue;
        if (pair->is_valid && !pair->check.is_waiting)
            kh_ice_check_trigger(agent, i);
        else if (pair->state == KH_ICE_PAIR_FAILED)
            pair->state = KH_ICE_PAIR_WAITING;
    }
}

/* The best valid pair that is not selected and not yet asked this time round. */
static uint8_t next_to_warm(const struct kh_ice_agent *agent, uint8_t after)
{
    uint8_t best = KH_ICE_NOWHERE;

    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (!pair->is_used || !pair->is_valid || i == agent->selected || i == after)
            continue;
        if (best == KH_ICE_NOWHERE || pair->priority > agent->pairs[best].priority)
            best = i;
    }
    return best;
}

/* A better path that fell silent a moment ago is asked with each consent check: it may be back. */
static kh_duration warm_period(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    return kh_ice_is_wanted(agent, pair) && pair->missed > 0 ? 0 : KH_ICE_WARM_PERIOD;
}

/* Keeps the NAT mappings of a few spare paths open, so that there is something to change to.  Goes
 * along with a consent check: an idle agent wakes for one timer only. */
static void warm_spares(struct kh_ice_agent *agent, kh_time now)
{
    uint8_t index = KH_ICE_NOWHERE;

    for (unsigned i = 0; i < KH_ICE_WARM_MAX; i++) {
        index = next_to_warm(agent, index);
        if (index == KH_ICE_NOWHERE)
            return;
        if (!agent->pairs[index].check.is_waiting &&
            kh_time_since(now, agent->pairs[index].check.sent_at) >=
                warm_period(agent, &agent->pairs[index]))
            kh_ice_check_trigger(agent, index);
    }
}

/* What was better and broke may work again. */
static void revive_failed(struct kh_ice_agent *agent, kh_time now)
{
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->state == KH_ICE_PAIR_FAILED && pair->failures > 0 &&
            kh_ice_is_wanted(agent, pair) &&
            kh_time_since(now, pair->failed_at) >= KH_ICE_REVIVAL << (pair->failures - 1))
            kh_ice_check_trigger(agent, i);
    }
}

static void ask(struct kh_ice_agent *agent, kh_time now)
{
    struct kh_ice_pair *pair = &agent->pairs[agent->selected];

    if (pair->check.is_waiting && !pair->check.is_consent)
        return; /* a check is being sent there anyway, and its answer means the same */
    if (pair->check.is_waiting && pair->check.next_at <= now) {
        pair->missed++;
        if (kh_ice_is_suspect(agent))
            look_elsewhere(agent);
        kh_ice_pair_cancel(pair);
        agent->consent_at = now;
    }
    if (agent->consent_at > now || pair->check.is_waiting)
        return;
    if (!kh_ice_check_send_consent(agent, now, agent->selected, patience_with(agent, pair)))
        return;
    agent->consent_at = KH_NEVER; /* now the check's own timer runs */
    warm_spares(agent, now);
    revive_failed(agent, now);
}

/* Returns true if the selected pair is among those that ended. */
static bool expire(struct kh_ice_agent *agent, kh_time now)
{
    uint8_t selected = agent->selected;

    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        if (!pair->is_used || !pair->is_valid || pair->consent_until > now)
            continue;
        if (i == agent->selected)
            agent->selected = KH_ICE_NOWHERE;
        if (pair->state == KH_ICE_PAIR_SUCCEEDED)
            kh_ice_pair_fail(agent, now, i);
        pair->is_valid = false;
        if (pair->failures == 0)
            pair->failures = 1; /* a check on it is still under way */
    }
    return selected != agent->selected;
}

void kh_ice_consent_work(struct kh_ice_agent *agent, kh_time now)
{
    if (expire(agent, now) && !kh_ice_replace_selected(agent, now)) {
        if (agent->is_restarting)
            kh_ice_agent_enter(agent, KH_ICE_CHECKING);
        else
            kh_ice_agent_fail(agent);
        agent->is_restarting = false;
    }
    /* While restarting all pairs are checked, this one too, with the credentials of now. */
    if (agent->selected != KH_ICE_NOWHERE && !agent->is_restarting)
        ask(agent, now);
}

kh_time kh_ice_consent_timeout(const struct kh_ice_agent *agent)
{
    const struct kh_ice_pair *selected;
    kh_time at = KH_NEVER;

    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (agent->pairs[i].is_used && agent->pairs[i].is_valid)
            at = kh_time_min(at, agent->pairs[i].consent_until);
    if (agent->selected == KH_ICE_NOWHERE || agent->is_restarting)
        return at;
    selected = &agent->pairs[agent->selected];
    if (!selected->check.is_waiting)
        return kh_time_min(at, agent->consent_at);
    return selected->check.is_consent ? kh_time_min(at, selected->check.next_at) : at;
}
