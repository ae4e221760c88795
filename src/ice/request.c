/* ice/request.c - the peer's checks: answers, role conflicts, triggered checks (RFC 8445 7.3).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/agent.h"

#include <assert.h>
#include <string.h>

/* What is needed to answer one request. */
struct request {
    const struct kh_datagram *datagram;
    const struct kh_stun_message *message;
    const struct kh_ice_credentials *local; /* the ones the peer used */
    bool is_current; /* with the credentials of now, not those of before a restart */
};

static bool is_username(const struct kh_stun_attribute *username,
                        const struct kh_ice_credentials *local,
                        const struct kh_ice_credentials *remote)
{
    size_t ours = strlen(local->ufrag);
    size_t theirs = strlen(remote->ufrag);

    return ours != 0 && theirs != 0 && username->len == ours + 1 + theirs &&
           memcmp(username->value, local->ufrag, ours) == 0 && username->value[ours] == ':' &&
           memcmp(username->value + ours + 1, remote->ufrag, theirs) == 0;
}

/* Finds which of our credentials the request means; false if it is not for this agent. */
static bool match(const struct kh_ice_agent *agent, struct request *request)
{
    const struct kh_ice_credentials *locals[] = {&agent->config.local, &agent->local_before};
    const struct kh_ice_credentials *remotes[] = {&agent->remote, &agent->remote_before};
    struct kh_stun_attribute username;

    if (!agent->has_remote || !kh_stun_find(request->message, KH_STUN_USERNAME, &username))
        return false;
    for (size_t i = 0; i < 4; i++) {
        if (!is_username(&username, locals[i / 2], remotes[i % 2]))
            continue;
        request->local = locals[i / 2];
        request->is_current = i == 0;
        return true;
    }
    return false;
}

static struct kh_stun_writer begin_answer(const struct request *request, uint8_t *data,
                                          enum kh_stun_class class)
{
    return kh_stun_begin(data, KH_ICE_MESSAGE_MAX, class, KH_STUN_BINDING, request->message->id);
}

static void send_answer(struct kh_ice_agent *agent, const struct request *request,
                        struct kh_stun_writer *writer)
{
    const char *password = request->local->password;
    struct kh_datagram answer = {
        .from = request->datagram->to, .to = request->datagram->from, .data = writer->bytes.data};

    kh_stun_add_integrity(writer, (struct kh_span){password, strlen(password)});
    kh_stun_add_fingerprint(writer);
    answer.len = kh_stun_finish(writer);
    assert(answer.len != 0);
    (void)kh_outbox_push(&agent->outbox, &answer);
}

static void send_success(struct kh_ice_agent *agent, const struct request *request)
{
    uint8_t data[KH_ICE_MESSAGE_MAX];
    struct kh_stun_writer writer = begin_answer(request, data, KH_STUN_SUCCESS);
    struct kh_addr seen = kh_ice_unscoped(&request->datagram->from);

    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &seen);
    send_answer(agent, request, &writer);
}

static void send_error(struct kh_ice_agent *agent, const struct request *request, unsigned code)
{
    uint8_t data[KH_ICE_MESSAGE_MAX];
    struct kh_stun_writer writer = begin_answer(request, data, KH_STUN_ERROR);

    kh_stun_add_error(&writer, code, "");
    if (code == 420)
        kh_stun_add_unknown(&writer, request->message);
    send_answer(agent, request, &writer);
}

void kh_ice_role_set(struct kh_ice_agent *agent, bool is_controlling)
{
    if (agent->is_controlling == is_controlling)
        return;
    agent->is_controlling = is_controlling;
    agent->nominated = KH_ICE_NOWHERE;
    kh_ice_pairs_prioritise(agent);
    kh_log_line(&agent->config.log, KH_LOG_INFO, "ice %.4s is now %s", agent->remote.ufrag,
                is_controlling ? "controlling" : "controlled");
    if (is_controlling && agent->selected != KH_ICE_NOWHERE)
        kh_ice_nominate(agent, agent->selected);
}

/* RFC 8445 7.3.1.1: equal roles are settled by the tie-breakers.  False if the peer must yield. */
static bool settle_roles(struct kh_ice_agent *agent, const struct kh_stun_message *message)
{
    uint16_t same = agent->is_controlling ? KH_STUN_ICE_CONTROLLING : KH_STUN_ICE_CONTROLLED;
    bool is_ours_larger;
    uint64_t theirs;

    if (!kh_stun_find_u64(message, same, &theirs))
        return true;
    agent->stats.role_conflicts++;
    is_ours_larger = agent->tie_breaker >= theirs;
    if (agent->is_controlling == is_ours_larger)
        return false;
    kh_ice_role_set(agent, !agent->is_controlling);
    return true;
}

/* RFC 8445 7.3.1.3: an address we were not told of is a candidate all the same. */
static uint8_t learn_remote(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *from,
                            uint32_t priority)
{
    struct kh_ice_entry entry = {.is_used = true,
                                 .kind = KH_ICE_PEER_REFLEXIVE,
                                 .addr = kh_ice_unscoped(from),
                                 .tcp = from->transport == KH_UDP ? 0u : KH_ICE_TCP_ACTIVE,
                                 .priority = priority,
                                 .generation = agent->generation};
    uint8_t found = kh_ice_remote_find(agent, from);

    if (found != KH_ICE_NOWHERE ||
        !kh_ice_may_store(&agent->learned_until, now, KH_ICE_LEARN_BURST))
        return found;
    /* The peer may have moved, or its NAT forgotten it: is the path we use still good? */
    kh_ice_consent_hurry(agent, now, KH_ICE_HURRY_STRANGER);
    return kh_ice_remote_store(agent, &entry);
}

/* RFC 8445 7.3.1.4: a check from the peer has opened its NAT now; ours should pass at once. */
static void check_back(struct kh_ice_agent *agent, kh_time now, uint8_t index)
{
    struct kh_ice_pair *pair = &agent->pairs[index];
    kh_time soon;

    if (pair->state == KH_ICE_PAIR_SUCCEEDED)
        return;
    if (pair->is_valid && pair->check.is_waiting && !agent->is_restarting)
        return; /* one that keeps or nominates it is under way and is repeated if lost */
    if (pair->state == KH_ICE_PAIR_IN_PROGRESS && kh_ice_pair_is_tcp(agent, pair) &&
        pair->check.is_waiting && !pair->check.is_lost) {
        /* RFC 6544 7.2: ours goes along the connection this one came by, which loses nothing. */
        pair->check.is_triggered = true;
        return;
    }
    if (pair->state == KH_ICE_PAIR_IN_PROGRESS &&
        kh_time_since(now, pair->check.sent_at) < agent->config.pacing) {
        /* Ours left so lately that it passes too: both sides' checks met on the way.  Should it be
         * lost, sending it again soon is as good as a new one. */
        soon = kh_time_add(pair->check.sent_at, agent->config.pacing);
        pair->check.next_at = kh_time_min(pair->check.next_at, soon);
        pair->check.is_triggered = true;
        return;
    }
    if (now < pair->rest_until)
        return;
    /* One triggered check is enough, and is repeated if lost.  A new one for each check of the peer
     * would be answered by a check each, and on a long way nobody would wait for any answer. */
    if (pair->state == KH_ICE_PAIR_IN_PROGRESS && pair->check.is_triggered && !pair->check.is_lost)
        return;
    kh_ice_pair_cancel(pair);
    pair->state = KH_ICE_PAIR_WAITING;
    kh_ice_check_trigger(agent, index);
}

static void handle_check(struct kh_ice_agent *agent, kh_time now, const struct request *request,
                         uint32_t priority)
{
    const struct kh_stun_message *message = request->message;
    uint8_t local = kh_ice_local_find_base(agent, &request->datagram->to);
    uint8_t remote = learn_remote(agent, now, &request->datagram->from, priority);
    uint8_t index;
    uint32_t nomination;

    if (local == KH_ICE_NOWHERE && remote != KH_ICE_NOWHERE)
        local = kh_ice_spare_learn(agent, &request->datagram->to);
    if (local == KH_ICE_NOWHERE || remote == KH_ICE_NOWHERE)
        return;
    index = kh_ice_pair_add(agent, local, remote);
    if (index == KH_ICE_NOWHERE)
        return;
    check_back(agent, now, index);
    if (agent->is_controlling || !kh_stun_find_flag(message, KH_STUN_USE_CANDIDATE))
        return;
    if (!kh_stun_find_u32(message, KH_STUN_NOMINATION, &nomination))
        nomination = 0;
    kh_ice_follow(agent, now, index, nomination);
}

/* Notes whose check this is.  A replayed check of an agent that is no more changes nothing. */
static void note_instance(struct kh_ice_agent *agent, const struct kh_stun_message *message)
{
    uint64_t instance;

    if (!kh_stun_find_u64(message, KH_STUN_ICE_CONTROLLING, &instance) &&
        !kh_stun_find_u64(message, KH_STUN_ICE_CONTROLLED, &instance))
        return;
    for (size_t i = 0; i < KH_ICE_INSTANCES_MAX; i++)
        if (agent->instances[i] == instance)
            return;
    agent->instance_at = (agent->instance_at + 1) % KH_ICE_INSTANCES_MAX;
    agent->instances[agent->instance_at] = instance;
    if (!agent->is_controlling)
        agent->nomination = 0; /* a new agent counts from the start again */
}

uint64_t kh_ice_agent_remote_instance(const struct kh_ice_agent *agent)
{
    return agent->instances[agent->instance_at];
}

static void handle_authentic(struct kh_ice_agent *agent, kh_time now, const struct request *request)
{
    uint32_t priority;

    agent->stats.requests_received++;
    if (request->message->unknown_count != 0) {
        send_error(agent, request, 420); /* RFC 8489 6.3.1 */
    } else if (!kh_stun_find_u32(request->message, KH_STUN_PRIORITY, &priority)) {
        send_error(agent, request, 400); /* RFC 8445 7.1.1: it MUST be there */
    } else if (!settle_roles(agent, request->message)) {
        send_error(agent, request, 487);
    } else {
        send_success(agent, request);
        note_instance(agent, request->message);
        /* After a failure only a restart checks again; the peer may still need our consent. */
        if (request->is_current && agent->state != KH_ICE_FAILED)
            handle_check(agent, now, request, priority);
    }
}

bool kh_ice_request_handle(struct kh_ice_agent *agent, kh_time now,
                           const struct kh_datagram *datagram,
                           const struct kh_stun_message *message)
{
    struct request request = {.datagram = datagram, .message = message};
    const char *password;

    if (!match(agent, &request))
        return false;
    if (!kh_ice_addr_is_usable(&datagram->from)) {
        agent->stats.dropped_malformed++; /* nobody can be there: a relay may claim anything */
        return true;
    }
    password = request.local->password;
    /* RFC 8489 9.1.3 asks for a 401; without a valid request we stay silent, so that nobody can
     * make us send to an address of his choice. */
    if (kh_stun_check_integrity(message, (struct kh_span){password, strlen(password)}))
        handle_authentic(agent, now, &request);
    else
        agent->stats.dropped_unauthentic++;
    return true;
}
