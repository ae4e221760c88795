/* ice/agent.c - the agent's life, its inputs, and what time does to it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/agent.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *kh_ice_state_name(enum kh_ice_state state)
{
    static const char *const names[] = {
        [KH_ICE_NEW] = "new",
        [KH_ICE_CHECKING] = "checking",
        [KH_ICE_CONNECTED] = "connected",
        [KH_ICE_FAILED] = "failed",
    };

    assert((size_t)state < sizeof names / sizeof names[0]);
    return names[state];
}

void kh_ice_agent_emit(struct kh_ice_agent *agent, const struct kh_ice_event *event)
{
    size_t at;
    bool has_room = kh_ring_push(&agent->event_ring, KH_ICE_EVENTS_MAX, &at);

    assert(has_room);
    agent->events[at] = *event;
}

void kh_ice_agent_enter(struct kh_ice_agent *agent, enum kh_ice_state state)
{
    struct kh_ice_event event = {.kind = KH_ICE_EVENT_STATE, .state = state};

    if (agent->state == state)
        return;
    kh_log_line(&agent->config.log, KH_LOG_INFO, "ice %.4s %s→%s", agent->remote.ufrag,
                kh_ice_state_name(agent->state), kh_ice_state_name(state));
    agent->state = state;
    kh_ice_agent_emit(agent, &event);
}

void kh_ice_agent_fail(struct kh_ice_agent *agent)
{
    assert(agent->selected == KH_ICE_NOWHERE);
    agent->is_restarting = false;
    agent->nominated = KH_ICE_NOWHERE;
    kh_ice_pairs_stop(agent);
    kh_ice_agent_enter(agent, KH_ICE_FAILED);
}

static void assert_drained(const struct kh_ice_agent *agent)
{
    assert(kh_outbox_is_empty(&agent->outbox));
    assert(agent->event_ring.count == 0);
}

static void set_default(kh_duration *duration, kh_duration value)
{
    if (*duration == 0)
        *duration = value;
}

/* Copies only what the texts say, so that equal credentials are equal in all bytes. */
static void copy_credentials(struct kh_ice_credentials *out, const struct kh_ice_credentials *from)
{
    kh_wipe(out, sizeof *out);
    memcpy(out->ufrag, from->ufrag, strlen(from->ufrag));
    memcpy(out->password, from->password, strlen(from->password));
}

enum kh_status kh_ice_agent_new(struct kh_ice_agent **out, const struct kh_ice_config *config)
{
    struct kh_ice_agent *agent = calloc(1, sizeof *agent);
    enum kh_status status;

    assert(kh_ice_credentials_are_valid(&config->local));
    if (agent == NULL)
        return KH_ERR_MEMORY;
    status = kh_outbox_init(&agent->outbox, KH_ICE_OUTBOX_MAX, KH_ICE_MESSAGE_MAX);
    if (status != KH_OK) {
        free(agent);
        return status;
    }
    agent->config = *config;
    copy_credentials(&agent->config.local, &config->local);
    set_default(&agent->config.pacing, KH_MILLISECONDS(20));
    set_default(&agent->config.check_rto, KH_MILLISECONDS(120));
    set_default(&agent->config.patience, KH_MILLISECONDS(39500));
    set_default(&agent->config.consent_period, KH_SECONDS(5));
    set_default(&agent->config.consent_expiry, KH_SECONDS(30));
    kh_rng_init(&agent->rng, config->seed);
    kh_wipe(agent->config.seed, sizeof agent->config.seed);
    agent->tie_breaker = kh_rng_u64(&agent->rng);
    agent->is_controlling = config->role == KH_ICE_CONTROLLING;
    agent->selected = KH_ICE_NOWHERE;
    agent->nominated = KH_ICE_NOWHERE;
    agent->deadline = KH_NEVER;
    *out = agent;
    return KH_OK;
}

void kh_ice_agent_free(struct kh_ice_agent *agent)
{
    if (agent == NULL)
        return;
    kh_outbox_fini(&agent->outbox);
    kh_rng_fini(&agent->rng);
    kh_wipe(agent, sizeof *agent);
    free(agent);
}

/* RFC 8863 4: what the peer has not yet told, or not yet been told, may still make a pair work. */
static void lose_patience(struct kh_ice_agent *agent, kh_time now)
{
    bool is_probing = agent->state == KH_ICE_CHECKING || agent->is_restarting;

    if (!is_probing || now < agent->patience_at || kh_ice_pairs_are_pending(agent))
        return;
    if (agent->selected == KH_ICE_NOWHERE) {
        kh_ice_agent_fail(agent);
        return;
    }
    agent->is_restarting = false; /* what we have is all there is: see whether it still works */
    agent->consent_at = now;
}

/* Does what is due, then notes when more will be. */
static void work(struct kh_ice_agent *agent, kh_time now)
{
    kh_ice_consent_work(agent, now);
    kh_ice_check_work(agent, now);
    lose_patience(agent, now);
    agent->deadline = kh_time_min(kh_ice_check_timeout(agent), kh_ice_consent_timeout(agent));
    if ((agent->state == KH_ICE_CHECKING || agent->is_restarting) && agent->patience_at > now)
        agent->deadline = kh_time_min(agent->deadline, agent->patience_at);
}

/* Checks all pairs from the start, with fresh patience. */
static void probe(struct kh_ice_agent *agent, kh_time now, bool keep_answers)
{
    assert(agent->has_remote);
    agent->tcp_at = kh_time_add(now, KH_ICE_TCP_HOLD);
    kh_ice_pairs_reset(agent, keep_answers);
    agent->nominated = KH_ICE_NOWHERE;
    agent->patience_at = kh_time_add(now, agent->config.patience);
    agent->is_restarting = agent->selected != KH_ICE_NOWHERE;
    if (!agent->is_restarting)
        kh_ice_agent_enter(agent, KH_ICE_CHECKING);
}

void kh_ice_agent_set_remote(struct kh_ice_agent *agent, kh_time now,
                             const struct kh_ice_credentials *remote)
{
    assert_drained(agent);
    if (!kh_ice_credentials_are_valid(remote)) {
        agent->stats.dropped_malformed++;
        return;
    }
    if (agent->has_remote && strcmp(agent->remote.ufrag, remote->ufrag) == 0 &&
        kh_equal(agent->remote.password, remote->password, strlen(remote->password) + 1))
        return;
    if (agent->has_remote) {
        agent->remote_before = agent->remote;
        agent->generation++;
        if (!agent->is_controlling)
            agent->nomination = 0; /* the peer may count from the start again */
    }
    copy_credentials(&agent->remote, remote);
    agent->has_remote = true;
    probe(agent, now, false);
    work(agent, now);
}

void kh_ice_agent_restart(struct kh_ice_agent *agent, kh_time now,
                          const struct kh_ice_credentials *local)
{
    assert_drained(agent);
    if (local != NULL) {
        assert(kh_ice_credentials_are_valid(local));
        agent->local_before = agent->config.local;
        copy_credentials(&agent->config.local, local);
    }
    if (agent->has_remote)
        probe(agent, now, local == NULL);
    work(agent, now);
}

/* Only what is TCP has a direction, and at least one. */
static bool is_tcp_sound(const struct kh_ice_candidate *candidate)
{
    const unsigned all = KH_ICE_TCP_ACTIVE | KH_ICE_TCP_PASSIVE | KH_ICE_TCP_SIMULTANEOUS;

    return (candidate->addr.transport == KH_TCP) == (candidate->tcp != 0) &&
           candidate->addr.transport <= KH_TCP && (candidate->tcp & ~all) == 0;
}

enum kh_status kh_ice_agent_add_local(struct kh_ice_agent *agent, kh_time now,
                                      const struct kh_ice_candidate *candidate)
{
    struct kh_ice_entry entry = {.is_used = true,
                                 .kind = candidate->kind,
                                 .addr = candidate->addr,
                                 .base = candidate->base,
                                 .tcp = candidate->tcp,
                                 .priority = kh_ice_priority(candidate->kind, &candidate->addr)};
    uint8_t at;

    assert_drained(agent);
    if (!kh_ice_addr_is_usable(&entry.addr) || !kh_ice_addr_is_usable(&entry.base) ||
        entry.addr.family != entry.base.family || entry.addr.transport != entry.base.transport ||
        !is_tcp_sound(candidate))
        return KH_ERR_FORMAT;
    at = kh_ice_local_find(agent, &entry.addr, &entry.base);
    if (at != KH_ICE_NOWHERE) {
        /* RFC 8445 5.1.3: redundant; but what a peer saw before the server told is known now. */
        if (agent->locals[at].kind == KH_ICE_PEER_REFLEXIVE)
            agent->locals[at] = entry;
    } else {
        at = kh_ice_local_store(agent, &entry);
    }
    if (at == KH_ICE_NOWHERE)
        return KH_ERR_FULL;
    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++)
        if (agent->remotes[i].is_used && kh_ice_can_open(&agent->locals[at], &agent->remotes[i]))
            (void)kh_ice_pair_add(agent, at, i);
    work(agent, now);
    return KH_OK;
}

static void told_again(const struct kh_ice_agent *agent, struct kh_ice_entry *known,
                       const struct kh_ice_entry *entry)
{
    known->generation = agent->generation;
    known->tcp = entry->tcp;
}

enum kh_status kh_ice_agent_add_remote(struct kh_ice_agent *agent, kh_time now,
                                       const struct kh_ice_candidate *candidate)
{
    struct kh_ice_entry entry = {.is_used = true,
                                 .kind = candidate->kind,
                                 .addr = kh_ice_unscoped(&candidate->addr),
                                 .tcp = candidate->tcp,
                                 .priority = kh_ice_priority(candidate->kind, &candidate->addr),
                                 .generation = agent->generation};
    uint8_t at;

    assert_drained(agent);
    if (!kh_ice_addr_is_usable(&entry.addr) || !is_tcp_sound(candidate))
        return KH_ERR_FORMAT;
    at = kh_ice_remote_find(agent, &entry.addr);
    if (at == KH_ICE_NOWHERE && kh_ice_may_store(&agent->told_until, now, KH_ICE_TOLD_BURST))
        at = kh_ice_remote_store(agent, &entry);
    else if (at == KH_ICE_NOWHERE)
        return KH_ERR_FULL;
    else if (agent->remotes[at].kind == KH_ICE_PEER_REFLEXIVE)
        agent->remotes[at] = entry; /* RFC 8838 11.4: now we know what it is */
    else
        told_again(agent, &agent->remotes[at], &entry);
    if (at == KH_ICE_NOWHERE)
        return KH_ERR_FULL;
    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++)
        if (agent->locals[i].is_used && agent->locals[i].kind != KH_ICE_PEER_REFLEXIVE &&
            kh_ice_can_open(&agent->locals[i], &agent->remotes[at]))
            (void)kh_ice_pair_add(agent, i, at);
    work(agent, now);
    return KH_OK;
}

/* The path in use went with pairs that were removed: another takes its place, or is looked for. */
static void mend(struct kh_ice_agent *agent, kh_time now, bool had_path)
{
    if (had_path && agent->selected == KH_ICE_NOWHERE && !kh_ice_replace_selected(agent, now))
        probe(agent, now, true); /* something else may be about to come */
    work(agent, now);
}

void kh_ice_agent_remove_remote(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *addr)
{
    bool had_path = agent->selected != KH_ICE_NOWHERE;
    uint8_t remote = kh_ice_remote_find(agent, addr);

    assert_drained(agent);
    if (remote == KH_ICE_NOWHERE)
        return;
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (agent->pairs[i].is_used && agent->pairs[i].remote == remote)
            kh_ice_pair_remove(agent, i);
    agent->remotes[remote] = (struct kh_ice_entry){0};
    mend(agent, now, had_path);
}

/* Ends all pairs of a base, and what it is a base of. */
static void forget_base(struct kh_ice_agent *agent, const struct kh_addr *base)
{
    for (uint8_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (agent->pairs[i].is_used &&
            kh_addr_equal(&agent->locals[agent->pairs[i].local].base, base))
            kh_ice_pair_remove(agent, i);
    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX; i++)
        if (kh_addr_equal(&agent->locals[i].base, base))
            agent->locals[i] = (struct kh_ice_entry){0};
}

void kh_ice_agent_remove_local(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *base)
{
    struct kh_addr gone = *base; /* it may be one of ours */
    bool had_path = agent->selected != KH_ICE_NOWHERE;

    assert_drained(agent);
    forget_base(agent, &gone);
    mend(agent, now, had_path);
}

void kh_ice_agent_reconsider(struct kh_ice_agent *agent, kh_time now)
{
    assert_drained(agent);
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->state == KH_ICE_PAIR_FAILED && kh_ice_is_wanted(agent, pair))
            pair->state = KH_ICE_PAIR_WAITING;
    }
    work(agent, now);
}

void kh_ice_agent_doubt(struct kh_ice_agent *agent, kh_time now)
{
    assert_drained(agent);
    kh_ice_consent_hurry(agent, now, KH_ICE_HURRY_OWNER);
    work(agent, now);
}

bool kh_ice_agent_probe(struct kh_ice_agent *agent, kh_time now, const struct kh_datagram *way)
{
    struct kh_ice_check check = {.is_controlling = agent->is_controlling,
                                 .tie_breaker = agent->tie_breaker};
    uint8_t data[KH_ICE_MESSAGE_MAX];
    struct kh_datagram datagram = {.from = way->from, .to = way->to, .data = data, .ttl = way->ttl};

    assert(kh_ice_addr_is_usable(&way->from) && kh_ice_addr_is_usable(&way->to));
    (void)now;
    if (!agent->has_remote)
        return false;
    kh_rng_bytes(&agent->rng, check.id, sizeof check.id);
    datagram.len =
        kh_ice_check_write(agent, &check, kh_ice_priority(KH_ICE_PEER_REFLEXIVE, &way->from), data);
    assert(datagram.len != 0);
    if (!kh_outbox_push(&agent->outbox, &datagram))
        return false;
    agent->stats.probes_sent++;
    return true;
}

void kh_ice_agent_set_spare(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *base)
{
    const struct kh_ice_pair *selected =
        agent->selected == KH_ICE_NOWHERE ? NULL : &agent->pairs[agent->selected];

    assert_drained(agent);
    agent->spare = base == NULL ? (struct kh_addr){0} : *base;
    for (uint8_t i = 0; i < KH_ICE_CANDIDATES_MAX && base == NULL; i++) {
        struct kh_ice_entry entry = agent->locals[i];

        if (entry.is_spare && (selected == NULL || selected->local != i))
            forget_base(agent, &entry.base);
    }
    work(agent, now);
}

bool kh_ice_agent_handle_datagram(struct kh_ice_agent *agent, kh_time now,
                                  const struct kh_datagram *datagram)
{
    struct kh_stun_message message;
    bool is_ours = false;

    assert_drained(agent);
    if (!kh_stun_is_stun(datagram->data, datagram->len) ||
        kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK ||
        message.method != KH_STUN_BINDING)
        return false;
    if (message.class == KH_STUN_REQUEST)
        is_ours = kh_ice_request_handle(agent, now, datagram, &message);
    else if (message.class == KH_STUN_SUCCESS || message.class == KH_STUN_ERROR)
        is_ours = kh_ice_answer_handle(agent, now, datagram, &message);
    if (is_ours)
        work(agent, now);
    return is_ours;
}

static kh_duration mutual_pause(struct kh_ice_agent *agent)
{
    kh_duration pause =
        KH_ICE_TCP_MUTUAL_PAUSE + kh_rng_below(&agent->rng, KH_ICE_TCP_MUTUAL_SPREAD);
    unsigned count = 0;

    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        count += pair->is_used && pair->check.is_waiting && kh_ice_pair_is_mutual(agent, pair);
    }
    return count > KH_ICE_TCP_MUTUAL_PAIRS ? pause * count / KH_ICE_TCP_MUTUAL_PAIRS : pause;
}

/* RFC 6544 7.1 has the check fail.  Ours tries again: SYNs must cross to open both NATs, and one
 * that came first is often refused.  Chance keeps two such sides out of step. */
static void open_again(struct kh_ice_agent *agent, kh_time now, struct kh_ice_pair *pair)
{
    kh_duration rto = pair->check.rto;
    kh_duration wait;

    if (!pair->check.is_waiting || pair->check.is_lost)
        return;
    if (kh_ice_pair_is_mutual(agent, pair))
        wait = mutual_pause(agent);
    else
        wait = rto / 2 + kh_rng_below(&agent->rng, rto);
    pair->check.is_lost = true;
    pair->check.next_at = kh_time_add(now, wait);
}

/* The end of a connection says at once what silence says after seconds. */
static void lose(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    bool can_open = kh_ice_can_open(&agent->locals[pair->local], &agent->remotes[pair->remote]);
    bool was_selected = agent->selected == index;
    bool has_lasted = pair->is_valid && kh_time_since(now, pair->valid_at) >= KH_ICE_TCP_LASTING;

    if (can_open && !pair->is_valid) {
        open_again(agent, now, pair);
        return;
    }
    if (was_selected)
        agent->selected = KH_ICE_NOWHERE;
    if (can_open)
        kh_ice_pair_fail(agent, now, index);
    else
        kh_ice_pair_remove(agent, index);
    if (can_open && has_lasted)
        pair->state = KH_ICE_PAIR_WAITING; /* a router forgot it: no reason to stay away */
    if (was_selected && !kh_ice_replace_selected(agent, now))
        probe(agent, now, true);
}

void kh_ice_agent_handle_lost(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *local,
                              const struct kh_addr *remote)
{
    uint8_t index = kh_ice_pair_find(agent, local, kh_ice_remote_find(agent, remote));

    assert_drained(agent);
    assert(local->transport != KH_UDP);
    if (index != KH_ICE_NOWHERE)
        lose(agent, now, index);
    work(agent, now);
}

void kh_ice_agent_handle_timeout(struct kh_ice_agent *agent, kh_time now)
{
    assert_drained(agent);
    work(agent, now);
}

bool kh_ice_agent_next_transmit(struct kh_ice_agent *agent, struct kh_datagram *out)
{
    return kh_outbox_next(&agent->outbox, out);
}

bool kh_ice_agent_next_event(struct kh_ice_agent *agent, struct kh_ice_event *out)
{
    size_t at;

    if (!kh_ring_pop(&agent->event_ring, KH_ICE_EVENTS_MAX, &at))
        return false;
    *out = agent->events[at];
    return true;
}

kh_time kh_ice_agent_timeout(const struct kh_ice_agent *agent)
{
    return agent->deadline;
}

enum kh_ice_state kh_ice_agent_state(const struct kh_ice_agent *agent)
{
    return agent->state;
}

bool kh_ice_agent_is_suspect(const struct kh_ice_agent *agent)
{
    return kh_ice_is_suspect(agent);
}

bool kh_ice_agent_is_valid(const struct kh_ice_agent *agent, const struct kh_addr *local,
                           const struct kh_addr *remote)
{
    uint8_t index = kh_ice_pair_find(agent, local, kh_ice_remote_find(agent, remote));

    return index != KH_ICE_NOWHERE && agent->pairs[index].is_valid;
}

bool kh_ice_agent_is_at(const struct kh_ice_agent *agent, const struct kh_addr *ip)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &agent->pairs[i];

        if (pair->is_used && pair->is_valid &&
            kh_addr_ip_equal(&agent->remotes[pair->remote].addr, ip))
            return true;
    }
    return false;
}

struct kh_ice_stats kh_ice_agent_stats(const struct kh_ice_agent *agent)
{
    struct kh_ice_stats stats = agent->stats;

    stats.dropped_outbox_full = agent->outbox.dropped;
    return stats;
}
