/* turn/ask.c - one request to the server: repeated, challenged, answered.
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/client.h"

#include <assert.h>
#include <string.h>

#define RTO KH_MILLISECONDS(500) /* RFC 8489 6.2.1 recommends these three */
#define ATTEMPTS_MAX 7
#define LAST_WAIT 16
#define STREAM_WAIT KH_MILLISECONDS(39500) /* RFC 8489 6.2.2: Ti */
#define CHALLENGES_MAX                                                                             \
    4 /* a 401, then a nonce that grew stale; a server at odds with itself ends */

static bool is_stream(const struct kh_turn_client *client)
{
    return client->server.transport != KH_UDP;
}

static unsigned attempts_max(const struct kh_turn_client *client)
{
    unsigned wished = client->config.timing.attempts_max;

    if (is_stream(client))
        return 1;
    return wished != 0 ? wished : ATTEMPTS_MAX;
}

/* How long to wait after the attempt of this number, from 1. */
static kh_duration wait_after(const struct kh_turn_client *client, unsigned attempt)
{
    const struct kh_stun_timing *timing = &client->config.timing;
    kh_duration rto = timing->rto != 0 ? timing->rto : RTO;
    kh_duration wait = rto;

    if (is_stream(client))
        return client->config.stream_wait != 0 ? client->config.stream_wait : STREAM_WAIT;
    if (attempt >= attempts_max(client))
        return rto * (timing->last_wait != 0 ? timing->last_wait : LAST_WAIT);
    for (unsigned i = 1; i < attempt; i++)
        wait = kh_time_add(wait, wait);
    return timing->rto_max != 0 && wait > timing->rto_max ? timing->rto_max : wait;
}

static void try_now(struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask)
{
    ask->due = true;
    ask->attempts++;
    ask->next_at = kh_time_add(now, wait_after(client, ask->attempts));
}

void kh_turn_ask_start(struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask)
{
    *ask = (struct kh_turn_ask){.active = true};
    kh_rng_bytes(&client->rng, ask->id, sizeof ask->id);
    try_now(client, now, ask);
}

void kh_turn_ask_retry(struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask)
{
    unsigned challenges = ask->challenges + 1;

    assert(ask->active);
    kh_turn_ask_start(client, now, ask);
    ask->challenges = challenges;
}

void kh_turn_ask_hurry(const struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask)
{
    if (!ask->active || ask->attempts < 2 || is_stream(client))
        return;
    ask->attempts = 0;
    ask->next_at = now;
}

void kh_turn_ask_end(struct kh_turn_ask *ask)
{
    *ask = (struct kh_turn_ask){0};
}

bool kh_turn_ask_handle_timeout(struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask)
{
    if (!ask->active || now < ask->next_at)
        return false;
    assert(!ask->due);
    if (ask->attempts < attempts_max(client)) {
        try_now(client, now, ask);
        return false;
    }
    kh_turn_ask_end(ask);
    return true;
}

kh_time kh_turn_ask_timeout(const struct kh_turn_ask *ask)
{
    return ask->active ? ask->next_at : KH_NEVER;
}

bool kh_turn_ask_matches(const struct kh_turn_ask *ask, const struct kh_stun_message *message)
{
    return ask->active && memcmp(ask->id, message->id, sizeof ask->id) == 0;
}

bool kh_turn_ask_begin(struct kh_turn_client *client, struct kh_turn_ask *ask, uint16_t method,
                       struct kh_stun_writer *writer)
{
    if (!ask->due)
        return false;
    ask->due = false;
    *writer = kh_stun_begin(client->out, sizeof client->out, KH_STUN_REQUEST, method, ask->id);
    return true;
}

void kh_turn_ask_finish(struct kh_turn_client *client, struct kh_turn_ask *ask,
                        struct kh_stun_writer *writer, struct kh_datagram *out)
{
    size_t len;

    ask->proof = kh_turn_auth_sign(&client->auth, writer);
    len = kh_stun_finish(writer);
    assert(len > 0); /* the limits in turn.h see to it */
    *out = (struct kh_datagram){
        .from = client->local, .to = client->server, .data = client->out, .len = len};
}

/* RFC 8489 9.2.5: the only answers that need no integrity, since they ask for credentials. */
static enum kh_turn_verdict take_challenge(struct kh_turn_client *client, kh_time now,
                                           struct kh_turn_ask *ask,
                                           const struct kh_stun_message *message, unsigned code)
{
    enum kh_status status;

    if (code == 438 && ask->proof == KH_TURN_PROOF_NONE) {
        client->stats.dropped_stray++; /* no nonce was sent that could be stale */
        return KH_TURN_DROPPED;
    }
    if ((code == 401 && ask->proof != KH_TURN_PROOF_NONE && client->auth.challenged) ||
        ask->challenges >= CHALLENGES_MAX) {
        kh_turn_ask_end(ask);
        return KH_TURN_ERROR;
    }
    status = kh_turn_auth_challenge(&client->auth, message);
    if (status != KH_OK) {
        if (status == KH_ERR_AUTH)
            client->stats.dropped_unauthentic++;
        else
            client->stats.dropped_malformed++;
        return KH_TURN_DROPPED;
    }
    client->auth.challenged = client->auth.challenged || code == 401;
    client->stats.challenges++;
    kh_turn_ask_retry(client, now, ask);
    return KH_TURN_RETRIED;
}

enum kh_turn_verdict kh_turn_ask_judge(struct kh_turn_client *client, kh_time now,
                                       struct kh_turn_ask *ask,
                                       const struct kh_stun_message *message, unsigned *code)
{
    bool is_error = message->class == KH_STUN_ERROR;

    *code = 0;
    if (is_error && !kh_stun_find_error(message, code, NULL)) {
        client->stats.dropped_malformed++;
        return KH_TURN_DROPPED;
    }
    if (*code == 401 || *code == 438)
        return take_challenge(client, now, ask, message, *code);
    if (ask->proof == KH_TURN_PROOF_NONE
            ? !is_error
            : !kh_turn_auth_check(&client->auth, ask->proof, message)) {
        /* A success without our having proved anything would be an allocation that anybody on the
         * way could have promised. */
        client->stats.dropped_unauthentic++;
        return KH_TURN_DROPPED;
    }
    if (message->unknown_count > 0) {
        client->stats.dropped_malformed++; /* RFC 8489 6.3.3 and 6.3.4 */
        return KH_TURN_DROPPED;
    }
    if (ask->proof != KH_TURN_PROOF_NONE)
        kh_turn_auth_next_nonce(&client->auth, message);
    kh_turn_ask_end(ask);
    return is_error ? KH_TURN_ERROR : KH_TURN_SUCCESS;
}
