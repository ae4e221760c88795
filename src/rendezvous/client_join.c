/* rendezvous/client_join.c - gets a session: asks every address of the server, takes the first.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/client_state.h"

#include <assert.h>
#include <string.h>

#define STAGGER KH_MILLISECONDS(75) /* a broken family costs no more than this (RFC 8305 5) */
/* Of a transport before the next worse one is tried: what works has answered by then, nearly
 * always. */
#define TRANSPORT_DELAY KH_MILLISECONDS(300)
#define ELECTED_ATTEMPTS 3 /* unanswered, and the others are asked again */
#define CHALLENGES_MAX 3   /* in a row; more, and we ask slowly */
#define REFUSE_DELAY                                                                               \
    KH_MILLISECONDS(400) /* a refusal is not authenticated: a welcome may follow                   \
                          */

/* A join without its card and early signal, with the longest nonce there may be. */
#define JOIN_FIXED_LEN                                                                             \
    (KH_STUN_HEADER_LEN + 7 * KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD + KH_RENDEZVOUS_NONCE_MAX +         \
     KH_RENDEZVOUS_ROOM_LEN + KH_RENDEZVOUS_MEMBER_LEN + KH_KEY_LEN + KH_SIGNATURE_LEN + 8)

static const struct kh_rendezvous_patience patience = {KH_MILLISECONDS(200), KH_SECONDS(5)};

static void new_key(struct kh_rendezvous_client *client)
{
    struct kh_rendezvous_race *race = &client->race;

    kh_rng_bytes(&client->rng, race->private_key.bytes, KH_KEY_LEN);
    kh_x25519_public(&race->private_key, race->public_key);
}

/* By whatever transport and port of the server: a nonce stands for our IP address. */
static bool is_ticket_for(const struct kh_rendezvous_ticket *ticket, const struct kh_addr *server)
{
    return ticket->nonce_len > 0 && ticket->nonce_len <= KH_RENDEZVOUS_NONCE_MAX &&
           kh_addr_ip_equal(&ticket->server, server);
}

static void set_nonce(struct kh_rendezvous_target *target, const uint8_t *nonce, size_t len)
{
    assert(len <= sizeof target->nonce);
    memcpy(target->nonce, nonce, len);
    target->nonce_len = len;
}

/* Starts the asks of one transport, those with a ticket first; true if there are any. */
static bool start_asks(struct kh_rendezvous_client *client, kh_time start,
                       enum kh_transport transport)
{
    struct kh_rendezvous_race *race = &client->race;
    kh_time at = start;

    for (int with_ticket = 1; with_ticket >= 0; with_ticket--) {
        for (size_t i = 0; i < client->config.server_count; i++) {
            struct kh_rendezvous_target *target = &race->targets[i];

            if (target->server.transport != transport ||
                (target->nonce_len > 0) != (with_ticket == 1))
                continue;
            kh_rendezvous_ask_start(client, at, &target->ask);
            at = kh_time_add(at, STAGGER);
        }
    }
    return at > start;
}

void kh_rendezvous_race_start(struct kh_rendezvous_client *client, kh_time now,
                              const struct kh_rendezvous_ticket *ticket)
{
    struct kh_rendezvous_race *race = &client->race;
    kh_time at = now;

    *race = (struct kh_rendezvous_race){
        .active = true, .elected = KH_RENDEZVOUS_NOBODY, .refuse_at = KH_NEVER};
    client->held_count = 0;
    new_key(client);
    for (size_t i = 0; i < client->config.server_count; i++) {
        race->targets[i].server = client->config.servers[i];
        if (is_ticket_for(ticket, &client->config.servers[i]))
            set_nonce(&race->targets[i], ticket->nonce, ticket->nonce_len);
    }
    for (int transport = KH_UDP; transport <= KH_TLS; transport++) {
        if (start_asks(client, at, (enum kh_transport)transport))
            at = kh_time_add(at, TRANSPORT_DELAY);
    }
}

void kh_rendezvous_race_stop(struct kh_rendezvous_client *client)
{
    kh_wipe(&client->race, sizeof client->race);
    client->race.refuse_at = KH_NEVER;
}

/* ---- requests ---- */

/* Asks for a nonce only, and is padded so that the answer is no longer. */
size_t kh_rendezvous_write_challenge_request(const uint8_t id[static KH_STUN_ID_LEN],
                                             uint8_t data[static KH_DATAGRAM_MAX])
{
    static const uint8_t padding[KH_RENDEZVOUS_CHALLENGE_PADDING];
    struct kh_stun_writer writer =
        kh_stun_begin(data, KH_DATAGRAM_MAX, KH_STUN_REQUEST, KH_STUN_JOIN, id);

    kh_stun_add(&writer, KH_STUN_PADDING, padding, sizeof padding);
    return kh_rendezvous_finish(&writer, NULL);
}

static size_t padded(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

/* The server answers a repeated join without looking at its card, so the card must stay what it
 * was in the first one; a newer one follows in an update. */
static void freeze_card(struct kh_rendezvous_client *client)
{
    struct kh_rendezvous_race *race = &client->race;

    if (race->card_len > 0)
        return;
    memcpy(race->card, client->card, client->card_len);
    race->card_len = client->card_len;
    race->card_revision = client->card_revision;
    client->early_sent = JOIN_FIXED_LEN + padded(client->card_len) +
                             KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD + padded(client->early_len) <=
                         KH_DATAGRAM_MAX;
}

static struct kh_stun_writer begin_join(const struct kh_rendezvous_client *client,
                                        const struct kh_rendezvous_target *target, uint8_t *data)
{
    const struct kh_rendezvous_race *race = &client->race;
    const struct kh_rendezvous_member_id *member = &client->config.member;
    struct kh_stun_writer writer =
        kh_stun_begin(data, KH_DATAGRAM_MAX, KH_STUN_REQUEST, KH_STUN_JOIN, target->ask.id);

    kh_stun_add(&writer, KH_STUN_NONCE, target->nonce, target->nonce_len);
    kh_stun_add(&writer, KH_STUN_ROOM, client->room, sizeof client->room);
    kh_stun_add(&writer, KH_STUN_MEMBER, member->bytes, sizeof member->bytes);
    kh_stun_add(&writer, KH_STUN_PUBLIC_KEY, race->public_key, sizeof race->public_key);
    kh_stun_add(&writer, KH_STUN_SEALED, race->card, race->card_len);
    if (client->config.hidden)
        kh_stun_add(&writer, KH_STUN_HIDDEN, NULL, 0);
    return writer;
}

static size_t write_join(struct kh_rendezvous_client *client,
                         const struct kh_rendezvous_target *target, uint8_t *data)
{
    struct kh_stun_writer writer;
    size_t len;

    freeze_card(client);
    writer = begin_join(client, target, data);
    if (client->early_len > 0 && client->early_sent)
        kh_stun_add(&writer, KH_STUN_EARLY, client->early, client->early_len);
    len = kh_rendezvous_finish_signed(&writer, &client->config.room_seed);
    assert(len > 0);
    return len;
}

bool kh_rendezvous_race_next_transmit(struct kh_rendezvous_client *client, struct kh_datagram *out)
{
    struct kh_rendezvous_race *race = &client->race;

    for (size_t i = 0; race->active && i < client->config.server_count; i++) {
        struct kh_rendezvous_target *target = &race->targets[i];

        if (!target->ask.due)
            continue;
        target->ask.due = false;
        *out = (struct kh_datagram){.to = target->server, .data = client->data};
        if (target->nonce_len == 0) {
            out->len = kh_rendezvous_write_challenge_request(target->ask.id, client->data);
        } else {
            out->len = write_join(client, target, client->data);
            race->spread += target->joining ? 0 : 1;
            target->joining = true;
        }
        client->stats.joins_sent++;
        return true;
    }
    return false;
}

/* ---- answers ---- */

/* TCP that answers late, or at all, is no reason to leave UDP that answered first. */
static bool is_worse_than_elected(const struct kh_rendezvous_race *race,
                                  const struct kh_rendezvous_target *target)
{
    return race->elected != KH_RENDEZVOUS_NOBODY &&
           target->server.transport > race->targets[race->elected].server.transport;
}

static void accept_nonce(struct kh_rendezvous_client *client,
                         const struct kh_rendezvous_input *input,
                         struct kh_rendezvous_target *target)
{
    kh_time at = input->now;
    struct kh_span nonce;

    if (!kh_rendezvous_find_span(input->message, KH_STUN_NONCE, KH_RENDEZVOUS_NONCE_MAX, &nonce)) {
        client->stats.dropped_malformed++;
        return;
    }
    set_nonce(target, nonce.data, nonce.len);
    target->challenges++;
    if (target->challenges > CHALLENGES_MAX)
        at = kh_time_add(at, patience.rto_max);
    kh_rendezvous_ask_start(client, at, &target->ask);
    if (!is_worse_than_elected(&client->race, target))
        client->race.elected = (size_t)(target - client->race.targets);
}

static void accept_error(struct kh_rendezvous_client *client,
                         const struct kh_rendezvous_input *input,
                         struct kh_rendezvous_target *target)
{
    struct kh_rendezvous_race *race = &client->race;
    unsigned code;

    if (!kh_stun_find_error(input->message, &code, NULL)) {
        client->stats.dropped_malformed++;
        return;
    }
    if (code == KH_RENDEZVOUS_ERROR_NONCE_MISSING || code == KH_RENDEZVOUS_ERROR_NONCE_STALE) {
        accept_nonce(client, input, target);
        return;
    }
    if (race->refusal != 0)
        return;
    race->refusal = code;
    race->refuse_at = kh_time_add(input->now, REFUSE_DELAY);
}

/* Derives the keys of the session this answer offers; false if the answer is not signed with them:
 * then it did not come from the server that has the other half. */
static bool derive(const struct kh_rendezvous_client *client,
                   const struct kh_rendezvous_input *input, struct kh_rendezvous_keys *out)
{
    struct kh_rendezvous_binding binding = {client->room, &client->config.member,
                                            client->race.public_key, NULL};
    struct kh_secret shared;

    if (!kh_stun_find_bytes(input->message, KH_STUN_PUBLIC_KEY, KH_KEY_LEN, &binding.server_key) ||
        !kh_x25519_shared(&client->race.private_key, binding.server_key, &shared))
        return false;
    kh_rendezvous_keys_derive(&shared, &binding, out);
    kh_wipe(&shared, sizeof shared);
    return kh_stun_check_integrity_sha256(input->message, kh_rendezvous_key_span(&out->to_client),
                                          KH_SHA256_LEN);
}

/* A server with a relay says its realm; one too long for us is as good as none. */
static void read_relay(const struct kh_stun_message *message, struct kh_rendezvous_session *out)
{
    struct kh_span realm;
    struct kh_span nonce;

    if (kh_rendezvous_find_span(message, KH_STUN_REALM, KH_RENDEZVOUS_REALM_MAX, &realm) &&
        memchr(realm.data, '\0', realm.len) == NULL)
        memcpy(out->realm, realm.data, realm.len); /* the rest is zero already */
    if (!kh_rendezvous_find_span(message, KH_STUN_RELAY_NONCE, sizeof out->relay_nonce, &nonce))
        return;
    memcpy(out->relay_nonce, nonce.data, nonce.len);
    out->relay_nonce_len = nonce.len;
}

/* Another place of the server we joined, so one that is of its kind.  A server behind a NAT knows
 * only its inside address, but its ports are the same on both sides. */
static void read_other(const struct kh_rendezvous_input *input, struct kh_addr *out)
{
    const struct kh_addr *server = &input->datagram->from;
    struct kh_addr other;

    if (server->transport != KH_UDP ||
        !kh_stun_find_addr(input->message, KH_STUN_OTHER_ADDRESS, &other) ||
        other.family != server->family || other.port == 0 || other.port == server->port)
        return;
    *out = *server;
    out->port = other.port;
    if (kh_addr_reach(&other) == kh_addr_reach(server))
        memcpy(out->ip, other.ip, sizeof out->ip);
}

static bool read_session(const struct kh_rendezvous_client *client,
                         const struct kh_rendezvous_input *input, struct kh_rendezvous_session *out)
{
    struct kh_span nonce;
    uint32_t lifetime;
    kh_duration third;

    if (!kh_stun_find_addr(input->message, KH_STUN_XOR_MAPPED_ADDRESS, &out->mapped) ||
        !kh_stun_find_u32(input->message, KH_STUN_LIFETIME, &lifetime) || lifetime == 0 ||
        !kh_rendezvous_find_span(input->message, KH_STUN_NONCE, KH_RENDEZVOUS_NONCE_MAX, &nonce))
        return false;
    memcpy(out->nonce, nonce.data, nonce.len);
    out->nonce_len = nonce.len;
    read_relay(input->message, out);
    kh_rendezvous_session_take_turn(out, input);
    read_other(input, &out->other);
    third = KH_SECONDS(lifetime) / 3;
    out->refresh = client->config.refresh < third ? client->config.refresh : third;
    out->mapped.transport = input->datagram->from.transport;
    out->server = input->datagram->from;
    out->local = input->datagram->to;
    out->active = true;
    return true;
}

static void accept_welcome(struct kh_rendezvous_client *client,
                           const struct kh_rendezvous_input *input, size_t target_at)
{
    struct kh_rendezvous_session session = {.server_at = target_at};
    bool spread = client->race.spread > 1;

    if (!derive(client, input, &session.keys)) {
        client->stats.dropped_unauthentic++;
    } else if (!read_session(client, input, &session)) {
        client->stats.dropped_malformed++;
    } else {
        client->session = session;
        client->card_confirmed = client->race.card_revision;
        kh_rendezvous_race_stop(client);
        kh_rendezvous_session_begin(client, input->now);
        /* Another address may have been joined first, and then that is where pushes go. */
        if (spread && !client->update.active)
            kh_rendezvous_session_update(client, input->now);
        kh_rendezvous_session_release(client, input->now);
    }
    kh_wipe(&session, sizeof session);
}

void kh_rendezvous_race_handle_answer(struct kh_rendezvous_client *client,
                                      const struct kh_rendezvous_input *input)
{
    struct kh_rendezvous_race *race = &client->race;

    for (size_t i = 0; race->active && i < client->config.server_count; i++) {
        struct kh_rendezvous_target *target = &race->targets[i];

        if (!kh_rendezvous_ask_matches(&target->ask, input->message) ||
            !kh_addr_equal(&target->server, &input->datagram->from))
            continue;
        kh_rendezvous_client_heard(client);
        if (input->message->class == KH_STUN_ERROR)
            accept_error(client, input, target);
        else
            accept_welcome(client, input, i);
        return;
    }
    client->stats.dropped_unauthentic++;
}

/* ---- time ---- */

static bool is_paused(const struct kh_rendezvous_race *race, size_t at)
{
    return race->elected != KH_RENDEZVOUS_NOBODY && race->elected != at;
}

/* Nothing better than the refusal came in time. */
static void believe_refusal(struct kh_rendezvous_client *client, kh_time now)
{
    unsigned code = client->race.refusal;
    struct kh_rendezvous_ticket none = {0};

    kh_rendezvous_race_stop(client);
    if (code == KH_RENDEZVOUS_ERROR_KEY_USED) {
        kh_rendezvous_race_start(client, now, &none);
        return;
    }
    /* Neither the loss of our session nor this is authentic: it lives until another takes its
     * place, and the next update shows whether the server knows it. */
    if (client->session.active)
        return;
    kh_rendezvous_client_enter(client, KH_RENDEZVOUS_LEFT);
    kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_REFUSED)->code = code;
}

void kh_rendezvous_race_handle_timeout(struct kh_rendezvous_client *client, kh_time now)
{
    struct kh_rendezvous_race *race = &client->race;

    if (race->active && race->refuse_at <= now)
        believe_refusal(client, now);
    for (size_t i = 0; race->active && i < client->config.server_count; i++) {
        if (is_paused(race, i) ||
            !kh_rendezvous_ask_handle_timeout(client, now, &race->targets[i].ask, &patience))
            continue;
        if (race->elected == i && race->targets[i].ask.attempts > ELECTED_ATTEMPTS)
            race->elected = KH_RENDEZVOUS_NOBODY;
    }
}

kh_time kh_rendezvous_race_timeout(const struct kh_rendezvous_client *client)
{
    const struct kh_rendezvous_race *race = &client->race;
    kh_time timeout = race->active ? race->refuse_at : KH_NEVER;

    for (size_t i = 0; race->active && i < client->config.server_count; i++) {
        if (!is_paused(race, i))
            timeout = kh_time_min(timeout, race->targets[i].ask.next_at);
    }
    return timeout;
}
