/* turn/allocation.c - the allocation itself: asked for, refreshed, given back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/client.h"

#include <assert.h>
#include <string.h>

#define TRANSPORT_UDP (17u << 24) /* RFC 8656 18.7 */
#define FAMILY_IPV6 (2u << 24)    /* RFC 8656 18.6 and 18.11 */
#define LIFETIME_DEFAULT 600      /* s; RFC 8656 3.2 */
#define LIFETIME_MIN 20           /* s; a server that says less gets no more requests for it */
#define LIFETIME_MAX 86400        /* s; nor is one believed for longer than this */
#define RETRY KH_SECONDS(10)      /* after a Refresh met an error that may pass */

bool kh_turn_allocation_is_gone(unsigned code)
{
    return code == 401 || code == 437 || code == 441;
}

void kh_turn_allocation_forget(struct kh_turn_client *client)
{
    assert(client->state != KH_TURN_IDLE);
    kh_turn_client_enter(client, KH_TURN_IDLE);
    kh_turn_ask_end(&client->ask);
    client->clearing = client->moving = false;
    client->ticket_len = 0;
    memset(client->permissions, 0, sizeof client->permissions);
    memset(client->channels, 0, sizeof client->channels);
    client->relayed4 = client->relayed6 = (struct kh_addr){0};
    client->keepalive_due = false;
    client->wrapped_len = 0;
}

struct kh_turn_event *kh_turn_allocation_end(struct kh_turn_client *client,
                                             enum kh_turn_event_kind kind)
{
    kh_turn_allocation_forget(client);
    return kh_turn_client_tell(client, kind);
}

/* Takes the lifetime an answer grants.  Refreshes when a fifth of it is left: that is time for two
 * whole requests of RFC 8489 6.2.1 out of the usual ten minutes. */
static kh_duration take_lifetime(struct kh_turn_client *client, kh_time now,
                                 const struct kh_stun_message *message)
{
    uint32_t seconds = LIFETIME_DEFAULT;
    kh_duration lifetime;

    (void)kh_stun_find_u32(message, KH_STUN_LIFETIME, &seconds);
    if (seconds < LIFETIME_MIN)
        seconds = LIFETIME_MIN;
    if (seconds > LIFETIME_MAX)
        seconds = LIFETIME_MAX;
    lifetime = KH_SECONDS(seconds);
    client->expires_at = kh_time_add(now, lifetime);
    client->refresh_at = kh_time_add(now, lifetime / 5 * 4);
    return lifetime;
}

static void take_ticket(struct kh_turn_client *client, const struct kh_stun_message *message)
{
    struct kh_stun_attribute ticket;

    client->ticket_len = 0;
    if (!kh_stun_find(message, KH_STUN_MOBILITY_TICKET, &ticket) ||
        ticket.len > sizeof client->ticket)
        return;
    memcpy(client->ticket, ticket.value, ticket.len);
    client->ticket_len = ticket.len;
}

static bool is_wished(const struct kh_turn_client *client, const struct kh_addr *relayed)
{
    if (relayed->port == 0)
        return false;
    return client->families == KH_TURN_BOTH ||
           (relayed->family == KH_FAMILY_IPV4) == (client->families == KH_TURN_IPV4);
}

static void take_allocated(struct kh_turn_client *client, kh_time now,
                           const struct kh_stun_message *message)
{
    struct kh_turn_event *event;
    struct kh_addr relayed4 = {0}, relayed6 = {0}, relayed;

    for (size_t n = 0;
         n < 2 && kh_stun_find_addr_nth(message, KH_STUN_XOR_RELAYED_ADDRESS, n, &relayed); n++) {
        if (is_wished(client, &relayed))
            *(relayed.family == KH_FAMILY_IPV4 ? &relayed4 : &relayed6) = relayed;
    }
    if (kh_addr_is_none(&relayed4) && kh_addr_is_none(&relayed6)) {
        client->stats.dropped_malformed++;
        kh_turn_allocation_end(client, KH_TURN_EVENT_FAILED);
        return;
    }
    client->relayed4 = relayed4;
    client->relayed6 = relayed6;
    take_ticket(client, message);
    kh_turn_client_enter(client, KH_TURN_ALLOCATED);
    event = kh_turn_client_tell(client, KH_TURN_EVENT_ALLOCATED);
    event->allocated.relayed4 = relayed4;
    event->allocated.relayed6 = relayed6;
    (void)kh_stun_find_addr(message, KH_STUN_XOR_MAPPED_ADDRESS, &event->allocated.mapped);
    event->allocated.lifetime = take_lifetime(client, now, message);
}

/* RFC 8656 7.4: this 5-tuple has an allocation, and we should use another.  But who has one socket
 * for everything has no other; and when the answers to an earlier Allocate were lost, or we began
 * anew on the same port, it is our own and can be given back. */
static void clear(struct kh_turn_client *client, kh_time now)
{
    client->clearing = client->cleared = true;
    kh_turn_ask_start(client, now, &client->ask);
}

static void take_cleared(struct kh_turn_client *client, kh_time now)
{
    client->clearing = false;
    kh_turn_ask_start(client, now, &client->ask); /* it tells if the way is free */
}

/* RFC 8016 3.1.2: "Mobility Forbidden", and so it is. */
static void forgo_ticket(struct kh_turn_client *client, kh_time now)
{
    client->mobile = false;
    kh_turn_ask_start(client, now, &client->ask);
}

static void take_refusal(struct kh_turn_client *client, const struct kh_stun_message *message,
                         unsigned code)
{
    struct kh_addr other;

    /* RFC 8489 10 wants another address of the same family. */
    if (code == 300 && kh_stun_find_addr(message, KH_STUN_ALTERNATE_SERVER, &other) &&
        other.family == client->server.family && other.port != 0) {
        other.transport = client->server.transport;
        if (!kh_addr_equal(&other, &client->server)) {
            kh_turn_allocation_end(client, KH_TURN_EVENT_ALTERNATE)->addr = other;
            return;
        }
    }
    kh_turn_allocation_end(client, code == 437 ? KH_TURN_EVENT_MISMATCH : KH_TURN_EVENT_FAILED)
        ->code = code;
}

bool kh_turn_allocation_move(struct kh_turn_client *client, kh_time now)
{
    if (client->state != KH_TURN_ALLOCATED || client->ticket_len == 0)
        return false;
    client->moving = true;
    kh_turn_ask_start(client, now, &client->ask);
    return true;
}

bool kh_turn_allocation_missed(struct kh_turn_client *client, kh_time now, unsigned code)
{
    /* 437: perhaps it only knows us by another address, since a NAT gave us a new one. */
    if (code == 437 && (client->moving || kh_turn_allocation_move(client, now)))
        return true;
    kh_turn_allocation_end(client, KH_TURN_EVENT_LOST)->code = code;
    return false;
}

/* RFC 8016 3.2.3: there is a new ticket.  The server keeps to the old way until it hears us by the
 * new one, so something is said at once. */
static void take_moved(struct kh_turn_client *client, kh_time now,
                       const struct kh_stun_message *message)
{
    client->moving = false;
    client->stats.moves++;
    take_ticket(client, message);
    client->refresh_at = now;
}

/* RFC 8656 8.3 */
static void take_refreshed(struct kh_turn_client *client, kh_time now,
                           const struct kh_stun_message *message)
{
    uint32_t seconds;

    if (kh_stun_find_u32(message, KH_STUN_LIFETIME, &seconds) && seconds == 0) {
        kh_turn_allocation_end(client, KH_TURN_EVENT_LOST);
        return;
    }
    (void)take_lifetime(client, now, message);
    if (client->moving)
        take_moved(client, now, message);
}

void kh_turn_allocation_take(struct kh_turn_client *client, kh_time now,
                             const struct kh_stun_message *message)
{
    unsigned code;
    enum kh_turn_verdict verdict = kh_turn_ask_judge(client, now, &client->ask, message, &code);

    if (verdict == KH_TURN_DROPPED || verdict == KH_TURN_RETRIED)
        return;
    if (client->state == KH_TURN_RELEASING) {
        kh_turn_allocation_end(client, KH_TURN_EVENT_RELEASED); /* an error means it is gone too */
    } else if (client->state == KH_TURN_ALLOCATING) {
        if (client->clearing)
            take_cleared(client, now);
        else if (verdict == KH_TURN_SUCCESS)
            take_allocated(client, now, message);
        else if (code == 437 && !client->cleared)
            clear(client, now);
        else if (code == 405 && client->mobile)
            forgo_ticket(client, now);
        else
            take_refusal(client, message, code);
    } else if (verdict == KH_TURN_SUCCESS) {
        take_refreshed(client, now, message);
    } else if (code < 500 && client->moving) {
        kh_turn_allocation_end(client, KH_TURN_EVENT_LOST)->code = code;
    } else if (code < 500) {
        (void)kh_turn_allocation_missed(client, now, code);
    } else {
        client->refresh_at = kh_time_add(now, RETRY);
    }
}

static void handle_silence(struct kh_turn_client *client, kh_time now)
{
    switch (client->state) {
    case KH_TURN_ALLOCATING:
        kh_turn_allocation_end(client, KH_TURN_EVENT_FAILED);
        break;
    case KH_TURN_RELEASING:
        kh_turn_allocation_end(client, KH_TURN_EVENT_RELEASED);
        break;
    case KH_TURN_ALLOCATED:
        if (client->moving) {
            kh_turn_allocation_end(client, KH_TURN_EVENT_LOST);
            break;
        }
        client->refresh_at = now; /* a server that restarts may still be in time */
        break;
    case KH_TURN_IDLE:
        break;
    }
}

void kh_turn_allocation_handle_timeout(struct kh_turn_client *client, kh_time now)
{
    if (kh_turn_ask_handle_timeout(client, now, &client->ask))
        handle_silence(client, now);
    if (client->state != KH_TURN_ALLOCATED)
        return;
    if (now >= client->expires_at) {
        kh_turn_allocation_end(client, KH_TURN_EVENT_LOST);
        return;
    }
    if (now >= client->refresh_at && !client->ask.active)
        kh_turn_ask_start(client, now, &client->ask);
}

/* A Binding indication: nobody answers it, and no NAT on the way forgets us (RFC 8489 6.1). */
static bool next_keepalive(struct kh_turn_client *client, struct kh_datagram *out)
{
    struct kh_stun_writer writer;
    uint8_t id[KH_STUN_ID_LEN];

    if (!client->keepalive_due)
        return false;
    client->keepalive_due = false;
    kh_rng_bytes(&client->rng, id, sizeof id);
    writer =
        kh_stun_begin(client->out, sizeof client->out, KH_STUN_INDICATION, KH_STUN_BINDING, id);
    *out = (struct kh_datagram){.from = client->local,
                                .to = client->server,
                                .data = client->out,
                                .len = kh_stun_finish(&writer)};
    return true;
}

bool kh_turn_allocation_next_transmit(struct kh_turn_client *client, struct kh_datagram *out)
{
    struct kh_stun_writer writer;
    bool allocating = client->state == KH_TURN_ALLOCATING && !client->clearing;

    if (!kh_turn_ask_begin(client, &client->ask, allocating ? KH_STUN_ALLOCATE : KH_STUN_REFRESH,
                           &writer))
        return next_keepalive(client, out);
    if (allocating) {
        kh_stun_add_u32(&writer, KH_STUN_REQUESTED_TRANSPORT, TRANSPORT_UDP);
        if (client->families == KH_TURN_IPV6)
            kh_stun_add_u32(&writer, KH_STUN_REQUESTED_ADDRESS_FAMILY, FAMILY_IPV6);
        if (client->families == KH_TURN_BOTH)
            kh_stun_add_u32(&writer, KH_STUN_ADDITIONAL_ADDRESS_FAMILY, FAMILY_IPV6);
        if (client->mobile)
            kh_stun_add(&writer, KH_STUN_MOBILITY_TICKET, NULL, 0);
    } else if (client->state != KH_TURN_ALLOCATED) {   /* given back, cleared away or abandoned */
        kh_stun_add_u32(&writer, KH_STUN_LIFETIME, 0); /* RFC 8656 8.1 */
    } else if (client->moving) {
        kh_stun_add(&writer, KH_STUN_MOBILITY_TICKET, client->ticket, client->ticket_len);
    }
    kh_turn_ask_finish(client, &client->ask, &writer, out);
    return true;
}

kh_time kh_turn_allocation_timeout(const struct kh_turn_client *client)
{
    kh_time due = kh_turn_ask_timeout(&client->ask);

    if (client->state != KH_TURN_ALLOCATED)
        return due;
    due = kh_time_min(due, kh_time_min(client->expires_at, client->keepalive_at));
    return client->ask.active ? due : kh_time_min(due, client->refresh_at);
}
