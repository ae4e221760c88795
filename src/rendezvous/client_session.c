/* rendezvous/client_session.c - what a joined member says and hears under its session key.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/client_state.h"
#include "rendezvous/offer.h"

#include <assert.h>
#include <string.h>

#define SIGNAL_ATTEMPTS 6
#define SERVER_ATTEMPTS 3 /* unanswered updates, and other addresses of the server are tried … */
#define DOUBT_ATTEMPTS 2  /* … or after so many, if our owner has its doubts already */
#define ATTENTIVE_REFRESH KH_MILLISECONDS(1500)
#define LEAVE_PATIENCE KH_MILLISECONDS(1500) /* the owner promises to be gone within 2 s */
/* Signals repeat under one sequence number, so nothing may run too far ahead of the oldest. */
#define SEQUENCES_AHEAD_MAX (KH_RENDEZVOUS_WINDOW - 16)
#define DOUBT_EXTRA KH_SECONDS(5)

static const struct kh_rendezvous_patience update_patience = {KH_MILLISECONDS(200), KH_SECONDS(5)};
static const struct kh_rendezvous_patience quick_patience = {KH_MILLISECONDS(200), KH_SECONDS(1)};

/* ---- signals ---- */

static struct kh_rendezvous_outgoing *free_signal(struct kh_rendezvous_client *client)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        if (!client->signals[i].used)
            return &client->signals[i];
    }
    return NULL;
}

/* Queues behind those that wait; NULL if too many do. */
static struct kh_rendezvous_outgoing *queue_signal(struct kh_rendezvous_client *client,
                                                   struct kh_span sealed)
{
    struct kh_rendezvous_outgoing *signal = free_signal(client);

    assert(sealed.len > 0 && sealed.len <= KH_RENDEZVOUS_SIGNAL_MAX);
    if (signal == NULL)
        return NULL;
    *signal = (struct kh_rendezvous_outgoing){
        .used = true, .order = ++client->signal_order, .len = sealed.len};
    kh_rendezvous_ask_end(&signal->ask);
    memcpy(signal->sealed, sealed.data, sealed.len);
    return signal;
}

static void end_signal(struct kh_rendezvous_client *client, struct kh_rendezvous_outgoing *signal,
                       bool lost)
{
    if (lost)
        kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_SIGNAL_LOST)->token = signal->token;
    signal->used = false;
    kh_rendezvous_ask_end(&signal->ask);
}

static struct kh_rendezvous_outgoing *next_waiting(struct kh_rendezvous_client *client)
{
    struct kh_rendezvous_outgoing *found = NULL;

    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        struct kh_rendezvous_outgoing *signal = &client->signals[i];

        if (signal->used && !signal->ask.active && (found == NULL || signal->order < found->order))
            found = signal;
    }
    return found;
}

static uint64_t oldest_sequence(const struct kh_rendezvous_client *client)
{
    uint64_t oldest = client->session.send_sequence;

    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        const struct kh_rendezvous_outgoing *signal = &client->signals[i];

        if (signal->used && signal->ask.active && signal->sequence < oldest)
            oldest = signal->sequence;
    }
    return oldest;
}

static void start_signals(struct kh_rendezvous_client *client, kh_time now)
{
    struct kh_rendezvous_session *session = &client->session;
    struct kh_rendezvous_outgoing *signal;

    while (session->send_sequence - oldest_sequence(client) < SEQUENCES_AHEAD_MAX &&
           (signal = next_waiting(client)) != NULL) {
        kh_rendezvous_ask_start(client, now, &signal->ask);
        signal->sequence = ++session->send_sequence;
    }
}

enum kh_status kh_rendezvous_client_signal(struct kh_rendezvous_client *client, kh_time now,
                                           const struct kh_rendezvous_member_id *to,
                                           struct kh_span sealed, uint64_t token)
{
    struct kh_rendezvous_outgoing *signal = queue_signal(client, sealed);

    if (signal == NULL)
        return KH_ERR_FULL;
    signal->token = token;
    signal->has_target = to != NULL;
    if (to != NULL)
        signal->target = *to;
    kh_rendezvous_session_handle_timeout(client, now);
    return KH_OK;
}

/* ---- beginning and end ---- */

/* The first words that did not fit the join, if any, go out right after it. */
static void send_late_early(struct kh_rendezvous_client *client)
{
    struct kh_span early = {client->early, client->early_len};

    /* A full queue drops it: the room repeats all it says until it is acknowledged. */
    if (client->early_len > 0 && !client->early_sent)
        queue_signal(client, early);
    client->early_len = 0;
}

static void tell_mapped(struct kh_rendezvous_client *client,
                        enum kh_rendezvous_client_event_kind kind)
{
    const struct kh_rendezvous_session *session = &client->session;
    struct kh_rendezvous_client_event *event = kh_rendezvous_client_tell(client, kind);

    event->id = client->config.member;
    event->mapped = session->mapped;
    event->local = session->local;
    event->server = session->server;
    event->other = session->other;
    event->ticket.server = session->server;
    event->ticket.nonce_len = session->nonce_len;
    memcpy(event->ticket.nonce, session->nonce, session->nonce_len);
}

static void schedule_refresh(struct kh_rendezvous_client *client, kh_time now)
{
    kh_duration refresh = client->session.refresh;
    kh_duration jitter;

    if (client->is_attentive)
        refresh = kh_time_min(refresh, ATTENTIVE_REFRESH);
    jitter = kh_rng_below(&client->rng, refresh / 10 + 1);
    client->refresh_at = kh_time_add(now, refresh - jitter);
}

void kh_rendezvous_session_reschedule(struct kh_rendezvous_client *client, kh_time now)
{
    assert(client->session.active && !client->update.active);
    schedule_refresh(client, now);
}

void kh_rendezvous_session_begin(struct kh_rendezvous_client *client, kh_time now)
{
    kh_rendezvous_client_heard(client);
    kh_rendezvous_client_enter(client, KH_RENDEZVOUS_JOINED);
    tell_mapped(client, KH_RENDEZVOUS_EVENT_JOINED);
    kh_rendezvous_ask_end(&client->update);
    kh_rendezvous_members_doubt(client, kh_time_add(now, 2 * client->config.refresh + DOUBT_EXTRA));
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++)
        kh_rendezvous_ask_end(&client->signals[i].ask);
    send_late_early(client);
    schedule_refresh(client, now);
    if (client->card_revision != client->card_confirmed)
        kh_rendezvous_session_update(client, now);
}

void kh_rendezvous_session_update(struct kh_rendezvous_client *client, kh_time now)
{
    assert(client->session.active);
    kh_rendezvous_ask_start(client, now, &client->update);
    client->update_revision = client->card_revision;
    client->session.turn_due =
        !kh_addr_is_none(&client->session.turn.servers[0]) && now >= client->session.turn_renew_at;
}

void kh_rendezvous_session_leave(struct kh_rendezvous_client *client, kh_time now)
{
    kh_rendezvous_ask_end(&client->update);
    client->refresh_at = KH_NEVER;
    kh_rendezvous_ask_start(client, now, &client->leave);
    client->leave_until = kh_time_add(now, LEAVE_PATIENCE);
}

static void finish_leaving(struct kh_rendezvous_client *client)
{
    kh_rendezvous_ask_end(&client->leave);
    client->leave_until = KH_NEVER;
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        if (client->signals[i].used)
            end_signal(client, &client->signals[i], true);
    }
    client->session.active = false;
    kh_rendezvous_client_enter(client, KH_RENDEZVOUS_LEFT);
    kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_LEFT);
}

/* ---- what the server says of itself ---- */

static bool is_authentic(struct kh_rendezvous_client *client, const struct kh_stun_message *message)
{
    if (client->session.active &&
        kh_stun_check_integrity_sha256(
            message, kh_rendezvous_key_span(&client->session.keys.to_client), KH_SHA256_LEN))
        return true;
    client->stats.dropped_unauthentic++;
    return false;
}

static bool is_fresh(struct kh_rendezvous_client *client, const struct kh_stun_message *message,
                     uint64_t *sequence)
{
    struct kh_rendezvous_window *window = &client->session.window;
    enum kh_rendezvous_freshness freshness;

    if (!kh_stun_find_u64(message, KH_STUN_SEQUENCE, sequence)) {
        client->stats.dropped_malformed++;
        return false;
    }
    freshness = kh_rendezvous_window_check(window, *sequence);
    if (freshness != KH_RENDEZVOUS_NEWEST && freshness != KH_RENDEZVOUS_LATE) {
        client->stats.dropped_replayed++;
        return false;
    }
    kh_rendezvous_window_take(window, *sequence);
    return true;
}

static void handle_push(struct kh_rendezvous_client *client,
                        const struct kh_rendezvous_input *input)
{
    uint64_t sequence;

    if (!is_authentic(client, input->message) || !is_fresh(client, input->message, &sequence))
        return;
    kh_rendezvous_client_heard(client);
    kh_rendezvous_members_handle_push(client, input->message);
    if (client->state != KH_RENDEZVOUS_JOINED ||
        (client->ack_due && sequence < client->ack_sequence))
        return; /* one answer to the newest says it for all */
    client->ack_due = true;
    client->ack_sequence = sequence;
    memcpy(client->ack_id, input->message->id, sizeof client->ack_id);
}

static void handle_signal(struct kh_rendezvous_client *client,
                          const struct kh_rendezvous_input *input)
{
    struct kh_rendezvous_client_event *event;
    struct kh_rendezvous_member_id from;
    struct kh_span sealed;
    uint64_t sequence;

    if (!is_authentic(client, input->message) || !is_fresh(client, input->message, &sequence))
        return;
    kh_rendezvous_client_heard(client);
    if (!kh_rendezvous_find_id(input->message, KH_STUN_MEMBER, &from) ||
        !kh_rendezvous_find_span(input->message, KH_STUN_SEALED, KH_RENDEZVOUS_SIGNAL_MAX,
                                 &sealed)) {
        client->stats.dropped_malformed++;
        return;
    }
    event = kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_SIGNAL);
    event->id = from;
    event->data = sealed.data;
    if (!input->is_held) {
        memcpy(client->received, sealed.data, sealed.len);
        event->data = client->received;
    }
    event->len = sealed.len;
}

/* ---- answers ---- */

static void take_nonce(struct kh_rendezvous_client *client, const struct kh_stun_message *message)
{
    struct kh_span nonce;

    if (!kh_rendezvous_find_span(message, KH_STUN_NONCE, KH_RENDEZVOUS_NONCE_MAX, &nonce))
        return;
    memcpy(client->session.nonce, nonce.data, nonce.len);
    client->session.nonce_len = nonce.len;
}

static void take_server(struct kh_rendezvous_client *client,
                        const struct kh_rendezvous_input *input)
{
    for (size_t i = 0; i < client->config.server_count; i++) {
        if (kh_addr_equal(&client->config.servers[i], &input->datagram->from))
            client->session.server_at = i;
    }
    client->session.server = input->datagram->from;
    client->session.local = input->datagram->to;
}

/* We moved to another address of the server: what waits for the old one need not wait on. */
static void hasten_signals(struct kh_rendezvous_client *client, kh_time now)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        struct kh_rendezvous_outgoing *signal = &client->signals[i];

        if (signal->used && signal->ask.active)
            signal->ask.next_at = now;
    }
}

void kh_rendezvous_session_take_turn(struct kh_rendezvous_session *session,
                                     const struct kh_rendezvous_input *input)
{
    const struct kh_rendezvous_offer_seal seal = {&session->keys, input->message->id};
    struct kh_rendezvous_turn turn;
    struct kh_span sealed;

    if (!kh_rendezvous_find_span(input->message, KH_STUN_RELAY, KH_RENDEZVOUS_OFFER_MAX, &sealed) ||
        !kh_rendezvous_offer_open(sealed, &seal, &turn))
        return;
    session->turn = turn;
    session->turn_renew_at = kh_time_add(input->now, KH_SECONDS(turn.lifetime) / 2);
    kh_wipe(&turn, sizeof turn);
}

static void update_done(struct kh_rendezvous_client *client,
                        const struct kh_rendezvous_input *input)
{
    struct kh_rendezvous_session *session = &client->session;
    struct kh_addr local = session->local;
    bool moved = !kh_addr_equal(&session->server, &input->datagram->from);
    struct kh_addr mapped;

    kh_rendezvous_ask_end(&client->update);
    take_nonce(client, input->message);
    take_server(client, input);
    if (moved)
        hasten_signals(client, input->now);
    kh_rendezvous_session_take_turn(session, input);
    client->card_confirmed = client->update_revision;
    schedule_refresh(client, input->now);
    if (!kh_stun_find_addr(input->message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped)) {
        client->stats.dropped_malformed++;
        return;
    }
    mapped.transport = input->datagram->from.transport;
    if (kh_addr_equal(&mapped, &session->mapped) && kh_addr_equal(&local, &session->local))
        return;
    session->mapped = mapped;
    tell_mapped(client, KH_RENDEZVOUS_EVENT_MAPPED);
}

/* We speak from an address the server has no proof of: an update with its new nonce moves us. */
static void move(struct kh_rendezvous_client *client, const struct kh_rendezvous_input *input)
{
    bool again = client->update.active && client->update.attempts <= 1;

    take_nonce(client, input->message);
    take_server(client, input);
    if (client->state == KH_RENDEZVOUS_LEAVING) {
        client->leave.next_at = client->leave.attempts <= 2 ? input->now : client->leave.next_at;
        return;
    }
    if (!client->update.active || again)
        kh_rendezvous_session_update(client, input->now);
    /* Not at once when it happens again and again: then something between us changes addresses. */
    if (again)
        client->update.attempts = 1;
}

/* Anyone between us could say so: the session goes on until a new one takes its place. */
static void session_unknown(struct kh_rendezvous_client *client,
                            const struct kh_rendezvous_input *input)
{
    struct kh_rendezvous_ticket ticket = {.server = input->datagram->from};
    struct kh_span nonce;

    if (client->state == KH_RENDEZVOUS_LEAVING) {
        finish_leaving(client);
        return;
    }
    if (client->race.active)
        return;
    if (kh_rendezvous_find_span(input->message, KH_STUN_NONCE, KH_RENDEZVOUS_NONCE_MAX, &nonce)) {
        memcpy(ticket.nonce, nonce.data, nonce.len);
        ticket.nonce_len = nonce.len;
    }
    kh_rendezvous_race_start(client, input->now, &ticket);
}

static void handle_error(struct kh_rendezvous_client *client,
                         const struct kh_rendezvous_input *input,
                         struct kh_rendezvous_outgoing *signal)
{
    unsigned code;

    if (!kh_stun_find_error(input->message, &code, NULL)) {
        client->stats.dropped_malformed++;
        return;
    }
    if (input->message->integrity_sha256_at == 0 && code == KH_RENDEZVOUS_ERROR_NO_SESSION) {
        session_unknown(client, input);
        return;
    }
    if (!is_authentic(client, input->message))
        return;
    kh_rendezvous_client_heard(client);
    if (code == KH_RENDEZVOUS_ERROR_NONCE_STALE)
        move(client, input);
    else if (signal != NULL)
        end_signal(client, signal, true);
}

static struct kh_rendezvous_outgoing *signal_of(struct kh_rendezvous_client *client,
                                                const struct kh_stun_message *message)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        struct kh_rendezvous_outgoing *signal = &client->signals[i];

        if (signal->used && kh_rendezvous_ask_matches(&signal->ask, message))
            return signal;
    }
    return NULL;
}

static void handle_answer(struct kh_rendezvous_client *client,
                          const struct kh_rendezvous_input *input)
{
    const struct kh_stun_message *message = input->message;
    struct kh_rendezvous_outgoing *signal = signal_of(client, message);
    bool is_update = kh_rendezvous_ask_matches(&client->update, message);
    bool is_leave = kh_rendezvous_ask_matches(&client->leave, message);

    if (signal == NULL && !is_update && !is_leave) {
        client->stats.dropped_replayed++;
        return;
    }
    if (message->class == KH_STUN_ERROR) {
        handle_error(client, input, signal);
        return;
    }
    if (!is_authentic(client, message))
        return;
    kh_rendezvous_client_heard(client);
    if (is_update)
        update_done(client, input);
    else if (is_leave)
        finish_leaving(client);
    else
        end_signal(client, signal, false);
}

/* While we join, what we cannot read may be what the server sent right behind its answer. */
static bool hold(struct kh_rendezvous_client *client, const struct kh_rendezvous_input *input)
{
    const struct kh_datagram *datagram = input->datagram;
    struct kh_rendezvous_held *held = &client->held[client->held_count];

    if (client->session.active || !client->race.active || datagram->len > sizeof held->data ||
        client->held_count == KH_RENDEZVOUS_HELD_MAX)
        return false;
    held->from = datagram->from;
    held->to = datagram->to;
    held->len = datagram->len;
    memcpy(held->data, datagram->data, datagram->len);
    client->held_count++;
    return true;
}

void kh_rendezvous_session_release(struct kh_rendezvous_client *client, kh_time now)
{
    for (size_t i = 0; i < client->held_count; i++) {
        const struct kh_rendezvous_held *held = &client->held[i];
        struct kh_datagram datagram = {
            .from = held->from, .to = held->to, .data = held->data, .len = held->len};
        struct kh_stun_message message;
        struct kh_rendezvous_input input = {now, &datagram, &message, true};

        if (kh_stun_parse(held->data, held->len, &message) == KH_OK)
            kh_rendezvous_session_handle_message(client, &input);
    }
    client->held_count = 0;
}

void kh_rendezvous_session_handle_message(struct kh_rendezvous_client *client,
                                          const struct kh_rendezvous_input *input)
{
    const struct kh_stun_message *message = input->message;
    bool is_push = message->class == KH_STUN_REQUEST && message->method == KH_STUN_PUSH;
    bool is_signal = message->class == KH_STUN_INDICATION && message->method == KH_STUN_SIGNAL;

    if ((is_push || is_signal) && hold(client, input))
        return;
    if (is_push)
        handle_push(client, input);
    else if (is_signal)
        handle_signal(client, input);
    else if (message->class == KH_STUN_SUCCESS || message->class == KH_STUN_ERROR)
        handle_answer(client, input);
    else
        client->stats.dropped_malformed++;
}

/* ---- time ---- */

static void repeat_signals(struct kh_rendezvous_client *client, kh_time now)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        struct kh_rendezvous_outgoing *signal = &client->signals[i];
        struct kh_rendezvous_ask *ask = &signal->ask;

        if (!signal->used || !ask->active || ask->next_at > now)
            continue;
        if (ask->attempts >= SIGNAL_ATTEMPTS) {
            end_signal(client, signal, true);
            continue;
        }
        kh_rendezvous_ask_handle_timeout(client, now, ask, &quick_patience);
        /* Perhaps our address changed and the answers go to the old one: an update tells. */
        if (ask->attempts == 3 && client->state == KH_RENDEZVOUS_JOINED && !client->update.active)
            kh_rendezvous_session_update(client, now);
    }
}

void kh_rendezvous_session_handle_timeout(struct kh_rendezvous_client *client, kh_time now)
{
    if (!client->session.active)
        return;
    if (client->state == KH_RENDEZVOUS_LEAVING && client->leave_until <= now) {
        finish_leaving(client);
        return;
    }
    start_signals(client, now);
    repeat_signals(client, now);
    if (client->refresh_at <= now) {
        client->refresh_at = KH_NEVER;
        if (!client->update.active)
            kh_rendezvous_session_update(client, now);
    }
    kh_rendezvous_ask_handle_timeout(client, now, &client->update, &update_patience);
    kh_rendezvous_ask_handle_timeout(client, now, &client->leave, &quick_patience);
}

kh_time kh_rendezvous_session_timeout(const struct kh_rendezvous_client *client)
{
    kh_time timeout = kh_time_min(client->refresh_at, client->leave_until);

    if (!client->session.active)
        return KH_NEVER;
    if (client->update.active)
        timeout = kh_time_min(timeout, client->update.next_at);
    if (client->leave.active)
        timeout = kh_time_min(timeout, client->leave.next_at);
    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        if (client->signals[i].used && client->signals[i].ask.active)
            timeout = kh_time_min(timeout, client->signals[i].ask.next_at);
    }
    return timeout;
}

/* ---- datagrams ---- */

static struct kh_stun_writer begin(struct kh_rendezvous_client *client,
                                   const struct kh_rendezvous_ask *ask, uint16_t method,
                                   uint64_t sequence)
{
    const struct kh_rendezvous_session *session = &client->session;
    const struct kh_rendezvous_member_id *member = &client->config.member;
    struct kh_stun_writer writer = kh_stun_begin(client->data, sizeof client->data, KH_STUN_REQUEST,
                                                 (uint16_t)method, ask->id);

    kh_stun_add(&writer, KH_STUN_MEMBER, member->bytes, sizeof member->bytes);
    kh_stun_add_u64(&writer, KH_STUN_SEQUENCE, sequence);
    kh_stun_add(&writer, KH_STUN_NONCE, session->nonce, session->nonce_len);
    return writer;
}

static void end(struct kh_rendezvous_client *client, struct kh_stun_writer *writer,
                struct kh_datagram *out)
{
    size_t len = kh_rendezvous_finish(writer, &client->session.keys.to_server);

    assert(len > 0);
    *out = (struct kh_datagram){.to = client->session.server, .data = client->data, .len = len};
}

static void write_acknowledgement(struct kh_rendezvous_client *client, struct kh_datagram *out)
{
    const struct kh_rendezvous_member_id *member = &client->config.member;
    struct kh_stun_writer writer = kh_stun_begin(client->data, sizeof client->data, KH_STUN_SUCCESS,
                                                 KH_STUN_PUSH, client->ack_id);
    uint64_t hole_end = kh_rendezvous_members_hole_end(client);

    client->ack_due = false;
    kh_stun_add(&writer, KH_STUN_MEMBER, member->bytes, sizeof member->bytes);
    kh_stun_add_u64(&writer, KH_STUN_SEQUENCE, client->ack_sequence);
    kh_stun_add_u64(&writer, KH_STUN_ROOM_VERSION, client->session.version);
    if (hole_end > 0)
        kh_stun_add_u64(&writer, KH_STUN_BASE_VERSION, hole_end);
    end(client, &writer, out);
}

/* The address we use, for a few attempts; then all of them in turn, since nobody knows which way is
 * closed. */
static const struct kh_addr *address_for_update(const struct kh_rendezvous_client *client)
{
    unsigned loyal = client->is_doubted ? DOUBT_ATTEMPTS : SERVER_ATTEMPTS;
    unsigned attempts = client->update.attempts;
    size_t turns = attempts <= loyal ? 0 : attempts - loyal;

    return &client->config
                .servers[(client->session.server_at + turns) % client->config.server_count];
}

/* Each attempt has its own sequence number: the newest one moves us if our address changed. */
static void write_update(struct kh_rendezvous_client *client, struct kh_datagram *out)
{
    struct kh_rendezvous_session *session = &client->session;
    struct kh_stun_writer writer =
        begin(client, &client->update, KH_STUN_UPDATE, ++session->send_sequence);

    client->update.due = false;
    kh_stun_add_u64(&writer, KH_STUN_ROOM_VERSION, session->version);
    if (client->card_confirmed != client->card_revision)
        kh_stun_add(&writer, KH_STUN_SEALED, client->card, client->card_len);
    if (session->turn_due)
        kh_stun_add(&writer, KH_STUN_RELAY, NULL, 0);
    end(client, &writer, out);
    out->to = *address_for_update(client);
    client->stats.updates_sent++;
}

static void write_signal(struct kh_rendezvous_client *client, struct kh_rendezvous_outgoing *signal,
                         struct kh_datagram *out)
{
    struct kh_stun_writer writer = begin(client, &signal->ask, KH_STUN_SIGNAL, signal->sequence);

    signal->ask.due = false;
    if (signal->has_target)
        kh_stun_add(&writer, KH_STUN_TARGET, signal->target.bytes, sizeof signal->target.bytes);
    kh_stun_add(&writer, KH_STUN_SEALED, signal->sealed, signal->len);
    end(client, &writer, out);
    client->stats.signals_sent++;
}

static struct kh_rendezvous_outgoing *next_due(struct kh_rendezvous_client *client)
{
    struct kh_rendezvous_outgoing *found = NULL;

    for (size_t i = 0; i < KH_RENDEZVOUS_SIGNALS_MAX; i++) {
        struct kh_rendezvous_outgoing *signal = &client->signals[i];

        if (signal->ask.due && (found == NULL || signal->order < found->order))
            found = signal;
    }
    return found;
}

bool kh_rendezvous_session_next_transmit(struct kh_rendezvous_client *client,
                                         struct kh_datagram *out)
{
    struct kh_rendezvous_outgoing *signal = next_due(client);
    struct kh_stun_writer writer;

    if (client->ack_due) {
        write_acknowledgement(client, out);
    } else if (client->update.due) {
        write_update(client, out);
    } else if (signal != NULL) {
        write_signal(client, signal, out);
    } else if (client->leave.due) {
        client->leave.due = false;
        writer = begin(client, &client->leave, KH_STUN_LEAVE, ++client->session.send_sequence);
        end(client, &writer, out);
    } else {
        return false;
    }
    return true;
}
