/* relay/relay.c - a TURN server as a machine: its life, what comes in, what goes out.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/relay.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "relay/machine.h"

#define REALM_DEFAULT "knothole"
#define OF_ONE_DEFAULT 4096 /* a quarter of the ports of one address */
#define CHALLENGES_DEFAULT 256
#define HOUR KH_SECONDS(3600)
#define CLOSES_OF_ONE KH_RELAY_WAYS /* events of one expiry */

static void assert_drained(const struct kh_relay *relay)
{
    assert(!relay->has_transmit);
    assert(relay->event_ring.count == 0);
}

static size_t or_default(size_t value, size_t otherwise)
{
    return value == 0 ? otherwise : value;
}

static void fill_defaults(struct kh_relay *relay, const struct kh_relay_config *config)
{
    struct kh_relay_config *filled = &relay->config;
    const char *realm = config->realm == NULL ? REALM_DEFAULT : config->realm;

    *filled = *config;
    assert(strlen(realm) <= KH_RELAY_REALM_MAX && config->secret.len <= KH_RELAY_SECRET_MAX);
    memcpy(relay->realm, realm, strlen(realm));
    if (config->secret.len > 0)
        memcpy(relay->secret, config->secret.data, config->secret.len);
    filled->realm = relay->realm;
    filled->secret.data = relay->secret;
    filled->port_min = (uint16_t)or_default(config->port_min, KH_RELAY_PORT_MIN);
    filled->port_max = (uint16_t)or_default(config->port_max, KH_RELAY_PORT_MAX);
    assert(filled->port_min <= filled->port_max);
    filled->allocations_max =
        or_default(config->allocations_max,
                   config->address_count * ((size_t)filled->port_max - filled->port_min + 1));
    filled->user_max = or_default(config->user_max, OF_ONE_DEFAULT);
    filled->prefix_max = or_default(config->prefix_max, OF_ONE_DEFAULT);
    filled->challenges_per_second = or_default(config->challenges_per_second, CHALLENGES_DEFAULT);
    filled->lifetime_max = or_default(config->lifetime_max, HOUR);
    filled->nonce_lifetime = or_default(config->nonce_lifetime, HOUR);
}

static void check_addresses(const struct kh_relay_config *config)
{
    assert(config->address_count >= 1 && config->address_count <= KH_RELAY_ADDRESSES_MAX);
    assert(config->own_count <= KH_RELAY_OWN_MAX);
    for (size_t i = 0; i < config->address_count; i++) {
        const struct kh_relay_address *each = &config->addresses[i];

        assert(kh_addr_reach(&each->local) != KH_REACH_UNSPECIFIED);
        assert(each->local.family == each->external.family);
    }
}

enum kh_status kh_relay_new(struct kh_relay **out, const struct kh_relay_config *config)
{
    struct kh_relay *relay = calloc(1, sizeof *relay);
    uint8_t hash_key[16];

    check_addresses(config);
    if (relay == NULL)
        return KH_ERR_MEMORY;
    fill_defaults(relay, config);
    kh_rng_init(&relay->rng, config->seed);
    kh_wipe(relay->config.seed, sizeof relay->config.seed);
    kh_rng_bytes(&relay->rng, relay->nonce_key.bytes, sizeof relay->nonce_key.bytes);
    kh_rng_bytes(&relay->rng, relay->ticket_key.bytes, sizeof relay->ticket_key.bytes);
    kh_rng_bytes(&relay->rng, hash_key, sizeof hash_key);
    if (kh_relay_table_init(&relay->table, &relay->config, hash_key) != KH_OK) {
        kh_relay_free(relay);
        return KH_ERR_MEMORY;
    }
    *out = relay;
    return KH_OK;
}

void kh_relay_free(struct kh_relay *relay)
{
    if (relay == NULL)
        return;
    kh_relay_table_fini(&relay->table);
    kh_relay_tally_fini(&relay->users);
    kh_relay_tally_fini(&relay->prefixes);
    kh_rng_fini(&relay->rng);
    kh_wipe(relay, sizeof *relay);
    free(relay);
}

/* ---- inputs ---- */

/* RFC 7983: channels have the first bytes 64 to 79; so has `Hi!`, which claims more than it holds.
 */
static bool is_channel_data(const struct kh_datagram *datagram)
{
    struct kh_reader reader = kh_reader_of(datagram->data, datagram->len);
    uint16_t number = kh_read_u16(&reader);
    size_t len = kh_read_u16(&reader);

    return !reader.failed && number >= KH_RELAY_CHANNEL_MIN && number <= KH_RELAY_CHANNEL_MAX &&
           len <= reader.left;
}

bool kh_relay_handle_datagram(struct kh_relay *relay, kh_time now,
                              const struct kh_datagram *datagram)
{
    struct kh_relay_allocation *allocation = NULL;
    const struct kh_relay_way *way = kh_relay_way_at(relay, &datagram->to, &allocation);

    assert_drained(relay);
    relay->now = now;
    if (way != NULL) {
        if (allocation->state == KH_RELAY_LIVE && way->state == KH_RELAY_WAY_OPEN)
            kh_relay_from_peer(relay, allocation, &datagram->from,
                               (struct kh_span){datagram->data, datagram->len});
        else
            relay->stats.dropped_forbidden++;
        return true;
    }
    if (!is_channel_data(datagram))
        return false;
    kh_relay_channel_data(relay, datagram);
    return true;
}

static void perform_on_allocation(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    kh_relay_settle_move(relay, caller->allocation, &caller->client, &caller->server);
    if (caller->method == KH_STUN_CREATE_PERMISSION)
        kh_relay_create_permission(relay, caller);
    else
        kh_relay_channel_bind(relay, caller);
}

static void perform(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    if (caller->message->unknown_count > 0)
        kh_relay_refuse(relay, caller, KH_RELAY_UNKNOWN_ATTRIBUTE);
    else if (caller->method == KH_STUN_ALLOCATE)
        kh_relay_allocate(relay, caller);
    else if (caller->method == KH_STUN_REFRESH)
        kh_relay_refresh(relay, caller);
    else if (caller->allocation == NULL || caller->allocation->state != KH_RELAY_LIVE)
        kh_relay_refuse(relay, caller, KH_RELAY_MISMATCH);
    else
        perform_on_allocation(relay, caller);
}

static void handle_request(struct kh_relay *relay, const struct kh_datagram *datagram,
                           const struct kh_stun_message *message, const struct kh_span *password)
{
    struct kh_relay_caller caller = {
        .client = datagram->from,
        .server = datagram->to,
        .id = message->id,
        .method = message->method,
        .has_fingerprint = message->has_fingerprint,
        .request_len = message->len,
        .message = message,
        .allocation = kh_relay_table_find(&relay->table, &datagram->from, &datagram->to),
    };

    if (caller.allocation == NULL) {
        caller.allocation = kh_relay_ticket_find(relay, message);
        caller.by_ticket = caller.allocation != NULL;
    }

    if (kh_relay_authenticate(relay, &caller, password))
        perform(relay, &caller);
    kh_wipe(&caller.key, sizeof caller.key);
}

static bool is_request_method(uint16_t method)
{
    return method == KH_STUN_ALLOCATE || method == KH_STUN_REFRESH ||
           method == KH_STUN_CREATE_PERMISSION || method == KH_STUN_CHANNEL_BIND;
}

bool kh_relay_handle_message(struct kh_relay *relay, kh_time now,
                             const struct kh_datagram *datagram,
                             const struct kh_stun_message *message, const struct kh_span *password)
{
    bool is_indication = message->method == KH_STUN_SEND || message->method == KH_STUN_DATA;

    assert_drained(relay);
    if (!is_indication && !is_request_method(message->method))
        return false;
    relay->now = now;
    if (message->class == KH_STUN_REQUEST && !is_indication)
        handle_request(relay, datagram, message, password);
    else if (message->class == KH_STUN_INDICATION && message->method == KH_STUN_SEND)
        kh_relay_send(relay, datagram, message);
    else
        relay->stats.dropped_malformed++;
    return true;
}

void kh_relay_opened(struct kh_relay *relay, kh_time now, const struct kh_addr *addr, bool ok)
{
    assert_drained(relay);
    relay->now = now;
    kh_relay_allocation_opened(relay, addr, ok);
}

void kh_relay_handle_unreachable(struct kh_relay *relay, kh_time now,
                                 const struct kh_relay_unreachable *error)
{
    struct kh_relay_allocation *allocation = NULL;
    const struct kh_relay_way *way = kh_relay_way_at(relay, &error->local, &allocation);

    assert_drained(relay);
    relay->now = now;
    if (way != NULL && allocation->state == KH_RELAY_LIVE)
        kh_relay_tell_unreachable(relay, allocation, error);
}

void kh_relay_disconnected(struct kh_relay *relay, kh_time now, const struct kh_addr *client,
                           const struct kh_addr *server)
{
    struct kh_relay_allocation *allocation = kh_relay_table_find(&relay->table, client, server);

    assert_drained(relay);
    relay->now = now;
    if (allocation == NULL)
        return;
    /* RFC 8016 3.2.2: the end of the old connection says as much as a word by the new one; the end
     * of the new one leaves it where it was. */
    if (allocation->is_moving)
        kh_relay_table_end_move(&relay->table, allocation,
                                kh_addr_equal(&allocation->client, client) &&
                                    kh_addr_equal(&allocation->server, server));
    else
        kh_relay_allocation_forget(relay, allocation);
}

void kh_relay_handle_timeout(struct kh_relay *relay, kh_time now)
{
    struct kh_relay_allocation *allocation;

    assert_drained(relay);
    relay->now = now;
    while (relay->event_ring.count + CLOSES_OF_ONE <= KH_RELAY_EVENTS_MAX &&
           (allocation = kh_relay_table_first(&relay->table)) != NULL &&
           kh_relay_allocation_deadline(allocation) <= now)
        kh_relay_allocation_expire(relay, allocation);
}

void kh_relay_set_wall_clock(struct kh_relay *relay, kh_time now, uint64_t unix_seconds)
{
    relay->wall_at = now;
    relay->wall_seconds = unix_seconds;
}

/* ---- outputs ---- */

bool kh_relay_next_transmit(struct kh_relay *relay, struct kh_datagram *out)
{
    if (!relay->has_transmit)
        return false;
    *out = relay->transmit;
    relay->has_transmit = false;
    return true;
}

bool kh_relay_dont_fragment(const struct kh_relay *relay)
{
    return relay->dont_fragment;
}

bool kh_relay_next_event(struct kh_relay *relay, struct kh_relay_event *out)
{
    size_t at;

    if (!kh_ring_pop(&relay->event_ring, KH_RELAY_EVENTS_MAX, &at))
        return false;
    *out = relay->events[at];
    return true;
}

kh_time kh_relay_timeout(const struct kh_relay *relay)
{
    const struct kh_relay_allocation *first = kh_relay_table_first(&relay->table);

    return first == NULL ? KH_NEVER : kh_relay_allocation_deadline(first);
}

struct kh_relay_stats kh_relay_stats(const struct kh_relay *relay)
{
    struct kh_relay_stats stats = relay->stats;

    stats.allocations = relay->table.count;
    return stats;
}
