/* turn/client.c - the machine: its state, its inputs and its outputs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/client.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define KEEPALIVE KH_SECONDS(20) /* RFC 4787 REQ-5: some NATs forget after 30 s already */
#define CHANNEL_DATA_MIN 4

static const char *state_name(enum kh_turn_state state)
{
    static const char *const names[] = {"idle", "allocating", "allocated", "releasing"};

    return names[state];
}

void kh_turn_client_enter(struct kh_turn_client *client, enum kh_turn_state state)
{
    assert(client->state != state);
    kh_log_line(&client->config.log, KH_LOG_INFO, "turn %s→%s", state_name(client->state),
                state_name(state));
    client->state = state;
}

struct kh_turn_event *kh_turn_client_tell(struct kh_turn_client *client,
                                          enum kh_turn_event_kind kind)
{
    size_t at;
    bool fits = kh_ring_push(&client->event_ring, KH_TURN_EVENTS_MAX, &at);

    assert(fits);
    client->events[at] = (struct kh_turn_event){.kind = kind};
    return &client->events[at];
}

const struct kh_addr *kh_turn_client_relayed_for(const struct kh_turn_client *client,
                                                 const struct kh_addr *peer)
{
    return peer->family == KH_FAMILY_IPV6 ? &client->relayed6 : &client->relayed4;
}

/* ---- life ---- */

enum kh_status kh_turn_client_new(struct kh_turn_client **out, const struct kh_turn_config *config)
{
    struct kh_turn_client *client = calloc(1, sizeof *client);

    if (client == NULL)
        return KH_ERR_MEMORY;
    client->config = *config;
    if (client->config.keepalive == 0)
        client->config.keepalive = KEEPALIVE;
    kh_rng_init(&client->rng, config->seed);
    *out = client;
    return KH_OK;
}

void kh_turn_client_free(struct kh_turn_client *client)
{
    if (client == NULL)
        return;
    kh_rng_fini(&client->rng);
    kh_turn_auth_fini(&client->auth);
    kh_wipe(client, sizeof *client);
    free(client);
}

static bool has_transmit(const struct kh_turn_client *client)
{
    bool due = client->ask.due || client->keepalive_due || client->wrapped_len > 0;

    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++)
        due = due || client->permissions[i].ask.due;
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++)
        due = due || client->channels[i].ask.due;
    return due;
}

static void assert_drained(const struct kh_turn_client *client)
{
    assert(client->event_ring.count == 0 && !client->has_received);
    assert(!has_transmit(client));
}

/* Does what is due; every input ends with it, so that nothing waits for a timer of zero. */
static void run(struct kh_turn_client *client, kh_time now)
{
    kh_turn_allocation_handle_timeout(client, now);
    if (client->state == KH_TURN_ALLOCATED) {
        kh_turn_permission_handle_timeout(client, now);
        kh_turn_channel_handle_timeout(client, now);
    }
    if (has_transmit(client)) {
        client->keepalive_at = kh_time_add(now, client->config.keepalive);
    } else if (client->state == KH_TURN_ALLOCATED && now >= client->keepalive_at) {
        client->keepalive_due = true;
        client->keepalive_at = kh_time_add(now, client->config.keepalive);
    }
}

/* ---- inputs ---- */

enum kh_status kh_turn_client_allocate(struct kh_turn_client *client, kh_time now,
                                       const struct kh_turn_request *request)
{
    enum kh_status status;

    assert_drained(client);
    assert(client->state == KH_TURN_IDLE && !kh_addr_is_none(&request->server));
    status = kh_turn_auth_init(&client->auth, request);
    if (status != KH_OK)
        return status;
    client->server = request->server;
    client->local = request->local;
    client->families = request->families;
    client->clearing = client->cleared = false;
    client->mobile = request->mobile;
    kh_turn_client_enter(client, KH_TURN_ALLOCATING);
    kh_turn_ask_start(client, now, &client->ask);
    run(client, now);
    return KH_OK;
}

void kh_turn_client_probe(struct kh_turn_client *client, kh_time now)
{
    assert_drained(client);
    if (client->state == KH_TURN_ALLOCATED) {
        client->refresh_at = now;
        kh_turn_ask_hurry(client, now, &client->ask);
    }
    run(client, now);
}

void kh_turn_client_release(struct kh_turn_client *client, kh_time now)
{
    assert_drained(client);
    if (client->state != KH_TURN_ALLOCATED && client->state != KH_TURN_ALLOCATING)
        return;
    if (client->state == KH_TURN_ALLOCATING && client->auth.nonce.len == 0) {
        kh_turn_allocation_end(client, KH_TURN_EVENT_RELEASED); /* only a 401 can have been made */
        return;
    }
    memset(client->permissions, 0, sizeof client->permissions);
    memset(client->channels, 0, sizeof client->channels);
    client->relayed4 = client->relayed6 = (struct kh_addr){0};
    kh_turn_client_enter(client, KH_TURN_RELEASING);
    kh_turn_ask_start(client, now, &client->ask);
    run(client, now);
}

void kh_turn_client_abandon(struct kh_turn_client *client, kh_time now, bool with_goodbye)
{
    bool can_prove = client->auth.nonce.len > 0; /* else only a 401 can have been made */

    assert_drained(client);
    if (client->state == KH_TURN_IDLE)
        return;
    kh_turn_allocation_forget(client);
    if (!with_goodbye || !can_prove)
        return;
    kh_turn_ask_start(client, now, &client->ask);
    client->ask.active = false; /* once, and whatever is answered is nobody's */
}

bool kh_turn_client_move(struct kh_turn_client *client, kh_time now, const struct kh_addr *local)
{
    assert_drained(client);
    if (client->server.transport != KH_UDP || !kh_turn_allocation_move(client, now))
        return false;
    client->local = *local;
    run(client, now);
    return true;
}

void kh_turn_client_permit(struct kh_turn_client *client, kh_time now, const struct kh_addr *peer)
{
    assert_drained(client);
    if (client->state == KH_TURN_ALLOCATED && !kh_addr_is_none(peer) &&
        !kh_addr_is_none(kh_turn_client_relayed_for(client, peer)))
        (void)kh_turn_permission_use(client, now, peer);
    run(client, now);
}

static bool send_wrapped(struct kh_turn_client *client, kh_time now,
                         const struct kh_datagram *datagram)
{
    const struct kh_turn_permission *permission;

    if (client->state != KH_TURN_ALLOCATED || datagram->len > KH_TURN_PAYLOAD_MAX ||
        kh_addr_is_none(&datagram->to) ||
        !kh_addr_equal(&datagram->from, kh_turn_client_relayed_for(client, &datagram->to)))
        return false;
    permission = kh_turn_permission_use(client, now, &datagram->to);
    if (permission == NULL || permission->state == KH_TURN_PERMISSION_REFUSED)
        return false;
    /* Nothing waits for a permission: it travels ahead of the datagram, and seldom do two that
     * leave together arrive the other way round. */
    kh_turn_wrap(client, kh_turn_channel_use(client, now, &datagram->to), datagram);
    return true;
}

void kh_turn_client_send(struct kh_turn_client *client, kh_time now,
                         const struct kh_datagram *datagram)
{
    assert_drained(client);
    if (!send_wrapped(client, now, datagram))
        client->stats.dropped_unsent++;
    run(client, now);
}

static bool is_ours(uint16_t method)
{
    return method == KH_STUN_ALLOCATE || method == KH_STUN_REFRESH ||
           method == KH_STUN_CREATE_PERMISSION || method == KH_STUN_CHANNEL_BIND;
}

static bool take_message(struct kh_turn_client *client, kh_time now,
                         const struct kh_stun_message *message)
{
    if (message->class == KH_STUN_INDICATION && message->method == KH_STUN_DATA) {
        kh_turn_unwrap_indication(client, now, message);
        return true;
    }
    if (message->class == KH_STUN_REQUEST || message->class == KH_STUN_INDICATION ||
        !is_ours(message->method))
        return false;
    if (kh_turn_ask_matches(&client->ask, message))
        kh_turn_allocation_take(client, now, message);
    else if (!kh_turn_permission_take(client, now, message) &&
             !kh_turn_channel_take(client, now, message))
        client->stats.dropped_stray++;
    return true;
}

/* Several clients may use one server from different addresses: channel numbers would collide. */
static bool is_from_server(const struct kh_turn_client *client, const struct kh_datagram *datagram)
{
    return kh_addr_equal(&datagram->from, &client->server) &&
           (kh_addr_is_none(&client->local) || kh_addr_is_none(&datagram->to) ||
            kh_addr_equal(&datagram->to, &client->local));
}

bool kh_turn_client_handle_datagram(struct kh_turn_client *client, kh_time now,
                                    const struct kh_datagram *datagram)
{
    struct kh_stun_message message;
    bool mine = true;

    assert_drained(client);
    if (client->state == KH_TURN_IDLE || !is_from_server(client, datagram))
        return false;
    /* RFC 7983 7; but the same first byte has HI!, shorter than any ChannelData. */
    if (datagram->len >= CHANNEL_DATA_MIN && datagram->data[0] >= 64 && datagram->data[0] < 80)
        kh_turn_unwrap_channel_data(client, now, datagram);
    else
        mine = kh_stun_parse(datagram->data, datagram->len, &message) == KH_OK &&
               take_message(client, now, &message);
    run(client, now);
    return mine;
}

void kh_turn_client_handle_timeout(struct kh_turn_client *client, kh_time now)
{
    assert_drained(client);
    run(client, now);
}

/* ---- outputs ---- */

bool kh_turn_client_next_event(struct kh_turn_client *client, struct kh_turn_event *out)
{
    size_t at;

    if (!kh_ring_pop(&client->event_ring, KH_TURN_EVENTS_MAX, &at))
        return false;
    *out = client->events[at];
    return true;
}

bool kh_turn_client_next_received(struct kh_turn_client *client, struct kh_datagram *out)
{
    if (!client->has_received)
        return false;
    client->has_received = false;
    *out = (struct kh_datagram){.from = client->received_from,
                                .to = *kh_turn_client_relayed_for(client, &client->received_from),
                                .data = client->received,
                                .len = client->received_len};
    return true;
}

bool kh_turn_client_next_transmit(struct kh_turn_client *client, struct kh_datagram *out)
{
    if (kh_turn_allocation_next_transmit(client, out) ||
        kh_turn_permission_next_transmit(client, out) || kh_turn_channel_next_transmit(client, out))
        return true;
    if (client->wrapped_len == 0)
        return false;
    *out = (struct kh_datagram){.from = client->local,
                                .to = client->server,
                                .data = client->wrapped,
                                .len = client->wrapped_len};
    client->wrapped_len = 0;
    return true;
}

kh_time kh_turn_client_timeout(const struct kh_turn_client *client)
{
    kh_time due = kh_turn_allocation_timeout(client);

    if (client->state != KH_TURN_ALLOCATED)
        return due;
    due = kh_time_min(due, kh_turn_permission_timeout(client));
    return kh_time_min(due, kh_turn_channel_timeout(client));
}

/* ---- looking in ---- */

enum kh_turn_state kh_turn_client_state(const struct kh_turn_client *client)
{
    return client->state;
}

bool kh_turn_client_is_relayed(const struct kh_turn_client *client, const struct kh_addr *addr)
{
    return !kh_addr_is_none(addr) &&
           (kh_addr_equal(addr, &client->relayed4) || kh_addr_equal(addr, &client->relayed6));
}

bool kh_turn_client_has_channel(const struct kh_turn_client *client, const struct kh_addr *peer)
{
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        if (kh_addr_equal(&client->channels[i].peer, peer))
            return client->channels[i].state == KH_TURN_CHANNEL_BOUND;
    }
    return false;
}

struct kh_turn_stats kh_turn_client_stats(const struct kh_turn_client *client)
{
    return client->stats;
}
