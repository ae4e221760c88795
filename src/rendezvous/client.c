/* rendezvous/client.c - the member's machine: its state, its inputs and its outputs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/client_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define REFRESH_DEFAULT KH_SECONDS(20)
#define UNREACHABLE_DEFAULT KH_SECONDS(3)
/* A bad wire loses half of all round trips, a dead one all of them: for some seconds nobody can
 * tell them apart, so that long the wait grows no further. */
#define QUICK_ATTEMPTS 12
#define QUICK_DOUBLINGS 2
#define DOUBT_DOUBLINGS 1                   /* others wait: rather one datagram more */
#define ATTENTIVE_WAIT KH_MILLISECONDS(900) /* below a second with its jitter */

static const char *state_name(enum kh_rendezvous_client_state state)
{
    static const char *const names[] = {"joining", "joined", "leaving", "left"};

    return names[state];
}

void kh_rendezvous_client_enter(struct kh_rendezvous_client *client,
                                enum kh_rendezvous_client_state state)
{
    if (client->state == state)
        return;
    kh_log_line(&client->config.log, KH_LOG_INFO, "rendezvous %02x%02x %s→%s",
                client->config.member.bytes[0], client->config.member.bytes[1],
                state_name(client->state), state_name(state));
    client->state = state;
    if (state == KH_RENDEZVOUS_LEFT)
        kh_rendezvous_client_heard(client); /* nobody waits for an answer any more */
}

struct kh_rendezvous_client_event *
kh_rendezvous_client_tell(struct kh_rendezvous_client *client,
                          enum kh_rendezvous_client_event_kind kind)
{
    size_t at;
    bool fits = kh_ring_push(&client->event_ring, KH_RENDEZVOUS_EVENTS_MAX, &at);

    assert(fits);
    client->events[at] = (struct kh_rendezvous_client_event){.kind = kind};
    return &client->events[at];
}

/* ---- asks ---- */

void kh_rendezvous_ask_start(struct kh_rendezvous_client *client, kh_time at,
                             struct kh_rendezvous_ask *ask)
{
    *ask = (struct kh_rendezvous_ask){.active = true, .next_at = at};
    kh_rng_bytes(&client->rng, ask->id, sizeof ask->id);
}

void kh_rendezvous_ask_end(struct kh_rendezvous_ask *ask)
{
    *ask = (struct kh_rendezvous_ask){.next_at = KH_NEVER};
}

static kh_duration longest_wait(const struct kh_rendezvous_client *client,
                                const struct kh_rendezvous_ask *ask,
                                const struct kh_rendezvous_patience *patience)
{
    unsigned doublings = client->is_doubted ? DOUBT_DOUBLINGS : QUICK_DOUBLINGS;
    kh_duration max = patience->rto_max;

    if (ask->attempts <= QUICK_ATTEMPTS)
        max = kh_time_min(max, patience->rto << doublings);
    return client->is_attentive ? kh_time_min(max, ATTENTIVE_WAIT) : max;
}

/* Ten per cent of jitter, so that clients that lost the server together do not return together. */
static kh_duration wait_of(struct kh_rendezvous_client *client, const struct kh_rendezvous_ask *ask,
                           const struct kh_rendezvous_patience *patience)
{
    kh_duration max = longest_wait(client, ask, patience);
    kh_duration wait = patience->rto;

    for (unsigned i = 1; i < ask->attempts && wait < max; i++)
        wait *= 2;
    if (wait > max)
        wait = max;
    return wait + kh_rng_below(&client->rng, wait / 10 + 1);
}

void kh_rendezvous_ask_hasten(struct kh_rendezvous_ask *ask, kh_time now)
{
    if (ask->active)
        ask->next_at = kh_time_min(ask->next_at, kh_time_add(now, ATTENTIVE_WAIT));
}

bool kh_rendezvous_ask_handle_timeout(struct kh_rendezvous_client *client, kh_time now,
                                      struct kh_rendezvous_ask *ask,
                                      const struct kh_rendezvous_patience *patience)
{
    if (!ask->active || ask->next_at > now)
        return false;
    ask->due = true;
    ask->attempts++;
    ask->next_at = kh_time_add(now, wait_of(client, ask, patience));
    if (client->silent_since == KH_NEVER)
        client->silent_since = now;
    return true;
}

bool kh_rendezvous_ask_matches(const struct kh_rendezvous_ask *ask,
                               const struct kh_stun_message *message)
{
    return ask->active && ask->attempts > 0 && memcmp(ask->id, message->id, sizeof ask->id) == 0;
}

void kh_rendezvous_client_heard(struct kh_rendezvous_client *client)
{
    client->silent_since = KH_NEVER;
    client->silence_told = false;
    client->is_doubted = false;
}

/* ---- life ---- */

enum kh_status kh_rendezvous_client_new(struct kh_rendezvous_client **out,
                                        const struct kh_rendezvous_client_config *config)
{
    struct kh_rendezvous_client *client = calloc(1, sizeof *client);

    assert(config->server_count > 0 && config->server_count <= KH_RENDEZVOUS_SERVERS_MAX);
    if (client == NULL)
        return KH_ERR_MEMORY;
    client->config = *config;
    if (client->config.refresh == 0)
        client->config.refresh = REFRESH_DEFAULT;
    if (client->config.unreachable == 0)
        client->config.unreachable = UNREACHABLE_DEFAULT;
    client->state = KH_RENDEZVOUS_LEFT;
    client->silent_since = KH_NEVER;
    client->refresh_at = KH_NEVER;
    client->leave_until = KH_NEVER;
    client->knock.next_at = KH_NEVER;
    kh_rng_init(&client->rng, config->seed);
    kh_ed25519_public(&config->room_seed, client->room);
    *out = client;
    return KH_OK;
}

void kh_rendezvous_client_free(struct kh_rendezvous_client *client)
{
    if (client == NULL)
        return;
    kh_rng_fini(&client->rng);
    kh_wipe(client, sizeof *client);
    free(client);
}

static bool has_transmit(const struct kh_rendezvous_client *client)
{
    bool due = client->ack_due || client->update.due || client->leave.due || client->knock.due;

    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++)
        due = due || client->race.targets[i].ask.due;
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++)
        due = due || client->signals[i].ask.due;
    return due;
}

static void assert_drained(const struct kh_rendezvous_client *client)
{
    assert(client->event_ring.count == 0);
    assert(!has_transmit(client));
}

/* Does what is due; every input ends with it, so that nothing waits for a timer of zero. */
static void run(struct kh_rendezvous_client *client, kh_time now)
{
    kh_rendezvous_race_handle_timeout(client, now);
    kh_rendezvous_session_handle_timeout(client, now);
    kh_rendezvous_members_handle_timeout(client, now);
    kh_rendezvous_knock_handle_timeout(client, now);
    if (client->silence_told || client->silent_since == KH_NEVER ||
        kh_time_since(now, client->silent_since) < client->config.unreachable)
        return;
    client->silence_told = true;
    if (client->state == KH_RENDEZVOUS_JOINING || client->state == KH_RENDEZVOUS_JOINED)
        kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_UNREACHABLE);
}

/* ---- inputs ---- */

static void take_card(struct kh_rendezvous_client *client, struct kh_span card)
{
    assert(card.len > 0 && card.len <= KH_RENDEZVOUS_CARD_MAX);
    memcpy(client->card, card.data, card.len);
    client->card_len = card.len;
    client->card_revision++;
}

void kh_rendezvous_client_join(struct kh_rendezvous_client *client, kh_time now,
                               struct kh_span card, struct kh_span early)
{
    assert_drained(client);
    assert(client->state == KH_RENDEZVOUS_LEFT);
    assert(early.len <= KH_RENDEZVOUS_SIGNAL_MAX);
    take_card(client, card);
    client->early_len = early.len;
    if (early.len > 0)
        memcpy(client->early, early.data, early.len);
    kh_rendezvous_client_enter(client, KH_RENDEZVOUS_JOINING);
    kh_rendezvous_race_start(client, now, &client->config.ticket);
    run(client, now);
}

void kh_rendezvous_client_set_card(struct kh_rendezvous_client *client, kh_time now,
                                   struct kh_span card)
{
    assert_drained(client);
    if (client->card_len == card.len && memcmp(client->card, card.data, card.len) == 0)
        return;
    take_card(client, card);
    if (client->state == KH_RENDEZVOUS_JOINED)
        kh_rendezvous_session_update(client, now);
    run(client, now);
}

void kh_rendezvous_client_probe(struct kh_rendezvous_client *client, kh_time now)
{
    assert_drained(client);
    if (client->state == KH_RENDEZVOUS_JOINED)
        kh_rendezvous_session_update(client, now);
    for (size_t i = 0; client->race.active && i < client->config.server_count; i++) {
        struct kh_rendezvous_target *target = &client->race.targets[i];

        if (target->server.transport == KH_UDP || target->ask.attempts > 0)
            target->ask.next_at = now; /* else a better one is to answer first */
    }
    run(client, now);
}

void kh_rendezvous_client_doubt(struct kh_rendezvous_client *client, kh_time now)
{
    assert_drained(client);
    client->is_doubted = true;
    if (client->state == KH_RENDEZVOUS_JOINED && !client->update.active && !client->race.active)
        kh_rendezvous_session_update(client, now);
    run(client, now);
}

void kh_rendezvous_client_set_attentive(struct kh_rendezvous_client *client, kh_time now,
                                        bool attentive)
{
    assert_drained(client);
    if (client->is_attentive == attentive)
        return;
    client->is_attentive = attentive;
    if (client->state == KH_RENDEZVOUS_JOINED && !client->update.active)
        kh_rendezvous_session_reschedule(client, now);
    if (attentive) {
        kh_rendezvous_ask_hasten(&client->update, now);
        for (size_t i = 0; client->race.active && i < client->config.server_count; i++)
            kh_rendezvous_ask_hasten(&client->race.targets[i].ask, now);
    }
    run(client, now);
}

void kh_rendezvous_client_leave(struct kh_rendezvous_client *client, kh_time now)
{
    assert_drained(client);
    if (client->state == KH_RENDEZVOUS_LEAVING || client->state == KH_RENDEZVOUS_LEFT)
        return;
    kh_rendezvous_race_stop(client);
    if (client->session.active) {
        kh_rendezvous_client_enter(client, KH_RENDEZVOUS_LEAVING);
        kh_rendezvous_session_leave(client, now);
    } else {
        kh_rendezvous_client_enter(client, KH_RENDEZVOUS_LEFT);
        kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_LEFT);
    }
    run(client, now);
}

static bool is_server(const struct kh_rendezvous_client *client, const struct kh_addr *addr)
{
    for (size_t i = 0; i < client->config.server_count; i++) {
        if (kh_addr_equal(&client->config.servers[i], addr))
            return true;
    }
    return false;
}

static void handle_join_answer(struct kh_rendezvous_client *client,
                               const struct kh_rendezvous_input *input)
{
    if (!kh_rendezvous_knock_handle_answer(client, input))
        kh_rendezvous_race_handle_answer(client, input);
}

static void handle_message(struct kh_rendezvous_client *client,
                           const struct kh_rendezvous_input *input)
{
    const struct kh_stun_message *message = input->message;
    bool is_answer = message->class == KH_STUN_SUCCESS || message->class == KH_STUN_ERROR;

    if (!message->has_fingerprint || message->unknown_count > 0)
        client->stats.dropped_malformed++;
    else if (message->method == KH_STUN_JOIN && is_answer)
        handle_join_answer(client, input);
    else
        kh_rendezvous_session_handle_message(client, input);
}

bool kh_rendezvous_client_handle_datagram(struct kh_rendezvous_client *client, kh_time now,
                                          const struct kh_datagram *datagram)
{
    struct kh_stun_message message;
    struct kh_rendezvous_input input = {now, datagram, &message, false};

    assert_drained(client);
    if (!is_server(client, &datagram->from) || !kh_stun_is_stun(datagram->data, datagram->len) ||
        kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK)
        return false;
    if (message.method < KH_STUN_JOIN || message.method > KH_STUN_PUSH)
        return false;
    handle_message(client, &input);
    run(client, now);
    return true;
}

void kh_rendezvous_client_handle_timeout(struct kh_rendezvous_client *client, kh_time now)
{
    assert_drained(client);
    run(client, now);
}

/* ---- outputs ---- */

bool kh_rendezvous_client_next_transmit(struct kh_rendezvous_client *client,
                                        struct kh_datagram *out)
{
    return kh_rendezvous_session_next_transmit(client, out) ||
           kh_rendezvous_knock_next_transmit(client, out) ||
           kh_rendezvous_race_next_transmit(client, out);
}

bool kh_rendezvous_client_next_event(struct kh_rendezvous_client *client,
                                     struct kh_rendezvous_client_event *out)
{
    size_t at;

    if (!kh_ring_pop(&client->event_ring, KH_RENDEZVOUS_EVENTS_MAX, &at))
        return false;
    *out = client->events[at];
    return true;
}

kh_time kh_rendezvous_client_timeout(const struct kh_rendezvous_client *client)
{
    kh_time timeout = kh_rendezvous_race_timeout(client);

    timeout = kh_time_min(timeout, kh_rendezvous_session_timeout(client));
    timeout = kh_time_min(timeout, kh_rendezvous_members_timeout(client));
    timeout = kh_time_min(timeout, kh_rendezvous_knock_timeout(client));
    if (client->silent_since != KH_NEVER && !client->silence_told)
        timeout =
            kh_time_min(timeout, kh_time_add(client->silent_since, client->config.unreachable));
    return timeout;
}

static void give_turn(const struct kh_rendezvous_turn *turn, struct kh_rendezvous_relay *out)
{
    memcpy(out->servers, turn->servers, sizeof out->servers);
    memcpy(out->username, turn->username, sizeof out->username);
    memcpy(out->password, turn->password, sizeof out->password);
}

static void give_own(const struct kh_rendezvous_client *client, struct kh_rendezvous_relay *out)
{
    const struct kh_rendezvous_session *session = &client->session;
    struct kh_rendezvous_credentials credentials;

    kh_rendezvous_write_credentials(&client->config.member, &session->keys, &credentials);
    memcpy(out->username, credentials.username, sizeof credentials.username);
    memcpy(out->password, credentials.password, sizeof credentials.password);
    kh_wipe(&credentials, sizeof credentials);
    memcpy(out->realm, session->realm, sizeof out->realm);
    memcpy(out->nonce, session->relay_nonce, session->relay_nonce_len);
    out->nonce_len = session->relay_nonce_len;
}

bool kh_rendezvous_client_relay(const struct kh_rendezvous_client *client, size_t n,
                                struct kh_rendezvous_relay *out)
{
    const struct kh_rendezvous_session *session = &client->session;
    bool has_turn = !kh_addr_is_none(&session->turn.servers[0]);

    *out = (struct kh_rendezvous_relay){0};
    if (client->state != KH_RENDEZVOUS_JOINED)
        return false;
    if (has_turn && n == 0)
        give_turn(&session->turn, out);
    else if (n == (has_turn ? 1 : 0) && session->realm[0] != '\0')
        give_own(client, out);
    else
        return false;
    return true;
}

enum kh_rendezvous_client_state
kh_rendezvous_client_state(const struct kh_rendezvous_client *client)
{
    return client->state;
}

struct kh_rendezvous_client_stats
kh_rendezvous_client_stats(const struct kh_rendezvous_client *client)
{
    return client->stats;
}
