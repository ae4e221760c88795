/* ice/nominate.c - which valid pair carries the data (RFC 8445 8, draft-thatcher-ice-renomination).
 *
 * SPDX-License-Identifier: MIT
 *
 * RFC 8445 8.1.1 lets the controlling side wait for a good pair and nominate it once.  Ours
 * nominates the first valid pair at once and a clearly better one later, with a growing value, so
 * that people talk as soon as anything works.  Data may flow on any valid pair meanwhile.
 */
#include "ice/agent.h"

#include <assert.h>

/* What no speed makes up for: a relay costs others, and is never the shorter way for long; TCP
 * waits for what was lost, and so does all behind it. */
static int class_of(const struct kh_ice_path *path)
{
    if (path->local_kind == KH_ICE_RELAYED || path->remote_kind == KH_ICE_RELAYED)
        return 0;
    return path->local.transport == KH_UDP ? 2 : 1;
}

static bool is_near(const struct kh_ice_path *path)
{
    return path->local_kind == KH_ICE_HOST && path->remote_kind == KH_ICE_HOST;
}

static kh_duration length_of(const struct kh_ice_pair *pair)
{
    return pair->shortest[1] == 0 ? pair->shortest[0]
                                  : kh_time_min(pair->shortest[0], pair->shortest[1]);
}

static bool is_notably_faster(const struct kh_ice_pair *a, const struct kh_ice_pair *b)
{
    return a->measured > 0 && b->measured > 0 &&
           length_of(a) + KH_MILLISECONDS(10) < length_of(b) &&
           length_of(a) * 10 < length_of(b) * 7;
}

static bool is_clearly_better(const struct kh_ice_agent *agent, const struct kh_ice_pair *a,
                              const struct kh_ice_pair *b)
{
    struct kh_ice_path path_a = kh_ice_pair_path(agent, a);
    struct kh_ice_path path_b = kh_ice_pair_path(agent, b);

    if (class_of(&path_a) != class_of(&path_b))
        return class_of(&path_a) > class_of(&path_b);
    if (is_notably_faster(a, b))
        return true;
    return class_of(&path_a) > 0 && is_near(&path_a) && !is_near(&path_b) &&
           !is_notably_faster(b, a);
}

bool kh_ice_is_suspect(const struct kh_ice_agent *agent)
{
    return agent->selected != KH_ICE_NOWHERE &&
           agent->pairs[agent->selected].missed >= KH_ICE_SUSPECT;
}

/* True if any other valid pair would do better than what we have. */
static bool is_replaceable(const struct kh_ice_agent *agent)
{
    return agent->selected == KH_ICE_NOWHERE || agent->is_restarting || kh_ice_is_suspect(agent);
}

bool kh_ice_is_wanted(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair)
{
    return is_replaceable(agent) || pair->priority > agent->pairs[agent->selected].priority;
}

void kh_ice_nominate(struct kh_ice_agent *agent, uint8_t index)
{
    assert(agent->is_controlling && agent->pairs[index].is_valid);
    agent->pairs[index].nomination = ++agent->nomination;
    agent->nominated = index;
    kh_ice_check_trigger(agent, index);
}

void kh_ice_select(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    const struct kh_log *log = &agent->config.log;
    struct kh_ice_event event = {.kind = KH_ICE_EVENT_PATH};
    struct kh_ice_pair *pair = &agent->pairs[index];

    assert(pair->is_used && pair->is_valid);
    if (agent->selected == index && !agent->is_restarting)
        return;
    if (agent->selected != KH_ICE_NOWHERE && agent->pairs[agent->selected].check.is_consent)
        kh_ice_pair_cancel(&agent->pairs[agent->selected]); /* its time runs out no more */
    agent->selected = index;
    agent->is_restarting = false;
    pair->missed = 0;
    kh_ice_consent_schedule(agent, now);
    event.path = kh_ice_pair_path(agent, pair);
    kh_ice_agent_enter(agent, KH_ICE_CONNECTED);
    kh_log_line(log, KH_LOG_INFO, "ice %.4s path=%s/%s rtt=%ums", agent->remote.ufrag,
                kh_ice_kind_name(event.path.local_kind), kh_ice_kind_name(event.path.remote_kind),
                (unsigned)(pair->rtt / 1000));
    kh_ice_agent_emit(agent, &event);
}

static void consider_controlling(struct kh_ice_agent *agent, kh_time now, uint8_t index,
                                 bool confirms)
{
    uint8_t best = agent->nominated != KH_ICE_NOWHERE ? agent->nominated : agent->selected;

    if (confirms && agent->nominated == index) {
        agent->nominated = KH_ICE_NOWHERE;
        kh_ice_select(agent, now, index);
    } else if (is_replaceable(agent)) {
        kh_ice_select(agent, now, index);
        kh_ice_nominate(agent, index);
    } else if (index != best &&
               is_clearly_better(agent, &agent->pairs[index], &agent->pairs[best])) {
        kh_ice_nominate(agent, index); /* selected once the peer has confirmed to know */
    }
}

void kh_ice_consider(struct kh_ice_agent *agent, kh_time now, uint8_t index, bool confirms)
{
    assert(agent->pairs[index].is_valid);
    if (agent->is_controlling) {
        consider_controlling(agent, now, index, confirms);
        return;
    }
    if (index == agent->nominated || is_replaceable(agent)) {
        kh_ice_select(agent, now, index);
        return;
    }
    /* Nobody nominated yet: RFC 8445 12.1 lets us send on any valid pair, so on the best. */
    if (agent->nomination == 0 && agent->nominated == KH_ICE_NOWHERE && index != agent->selected &&
        is_clearly_better(agent, &agent->pairs[index], &agent->pairs[agent->selected]))
        kh_ice_select(agent, now, index);
}

void kh_ice_follow(struct kh_ice_agent *agent, kh_time now, uint8_t index, uint32_t nomination)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    uint8_t before = agent->nominated != KH_ICE_NOWHERE ? agent->nominated : agent->selected;

    assert(!agent->is_controlling && pair->is_used);
    if (nomination != 0 ? nomination < agent->nomination : agent->nomination != 0)
        return;
    /* Without values the peer may nominate several, as RFC 5245 allowed: the best of them wins. */
    if (nomination == 0 && before != KH_ICE_NOWHERE && before != index && !is_replaceable(agent) &&
        agent->pairs[before].nomination != 0 && agent->pairs[before].priority > pair->priority)
        return;
    agent->nomination = nomination;
    agent->nominated = index;
    pair->nomination = 1;
    if (pair->state == KH_ICE_PAIR_SUCCEEDED && pair->missed < KH_ICE_SUSPECT)
        kh_ice_select(agent, now, index);
}

bool kh_ice_replace_selected(struct kh_ice_agent *agent, kh_time now)
{
    uint8_t best = KH_ICE_NOWHERE;

    assert(agent->selected == KH_ICE_NOWHERE);
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->is_valid &&
            (best == KH_ICE_NOWHERE || is_clearly_better(agent, pair, &agent->pairs[best])))
            best = i;
    }
    if (best == KH_ICE_NOWHERE)
        return false;
    kh_ice_select(agent, now, best);
    agent->consent_at = now; /* its last answer may be long ago */
    if (agent->is_controlling)
        kh_ice_nominate(agent, best);
    return true;
}
