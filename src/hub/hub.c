/* hub/hub.c - tells apart what arrives at a server's port, and answers it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "hub/hub.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hub/discovery.h"
#include "hub/turns.h"
#include "stun/stun.h"

#define GREETING "Hi!"
#define GREETING_LEN 3
#define ANSWER "HI!"

#define REALM_DEFAULT "knothole"

struct kh_hub {
    struct kh_rendezvous_registry *registry; /* owned */
    struct kh_relay *relay;                  /* owned; NULL: none */
    struct kh_datagram answer;               /* the hub's own; len 0: none */
    uint8_t data[KH_DATAGRAM_MAX];
    struct kh_hub_discovery discovery[KH_HUB_FAMILIES];
    bool dont_fragment;                      /* the datagram given last */
    char realm[KH_RENDEZVOUS_REALM_MAX + 1]; /* of the relay; empty: there is none */
    char software[128]; /* RFC 8489 14.14: fewer than 128 characters; empty: none */
    struct kh_hub_turns turns;
    struct kh_log log;
    struct kh_hub_stats stats;
};

/* False if memory is refused. */
static bool make_relay(struct kh_hub *hub, const struct kh_hub_config *config)
{
    struct kh_relay_config relay = config->relay;
    bool ok;

    relay.realm = hub->realm;
    if (relay.address_count == 0)
        return true;
    kh_hkdf((struct kh_span){config->seed, sizeof config->seed}, (struct kh_span){0},
            "knothole hub relay", relay.seed, sizeof relay.seed);
    relay.log = config->log;
    ok = kh_relay_new(&hub->relay, &relay) == KH_OK;
    kh_wipe(&relay, sizeof relay);
    return ok;
}

static void set_realm(struct kh_hub *hub, const char *wished)
{
    const char *realm = wished != NULL ? wished : REALM_DEFAULT;
    size_t len = strlen(realm);

    assert(len > 0 && len < sizeof hub->realm);
    memcpy(hub->realm, realm, len);
}

enum kh_status kh_hub_new(struct kh_hub **out, const struct kh_hub_config *config)
{
    struct kh_rendezvous_registry_config registry = config->registry;
    struct kh_hub *hub = calloc(1, sizeof *hub);
    size_t len = config->software == NULL ? 0 : strlen(config->software);

    if (hub == NULL)
        return KH_ERR_MEMORY;
    assert(len < sizeof hub->software);
    if (len > 0)
        memcpy(hub->software, config->software, len);
    memcpy(hub->discovery, config->discovery, sizeof hub->discovery);
    kh_hub_turns_init(&hub->turns, &config->turn);
    hub->log = config->log;
    memcpy(registry.seed, config->seed, sizeof registry.seed);
    registry.log = config->log;
    registry.alternate_count = kh_hub_alternates(hub->discovery, registry.alternates);
    if (config->relay.address_count > 0) {
        set_realm(hub, config->relay.realm);
        registry.realm = hub->realm;
    }
    if (kh_rendezvous_registry_new(&hub->registry, &registry) != KH_OK ||
        !make_relay(hub, config)) {
        kh_hub_free(hub);
        return KH_ERR_MEMORY;
    }
    *out = hub;
    return KH_OK;
}

void kh_hub_free(struct kh_hub *hub)
{
    if (hub == NULL)
        return;
    kh_rendezvous_registry_free(hub->registry);
    kh_relay_free(hub->relay);
    kh_wipe(&hub->turns, sizeof hub->turns);
    free(hub);
}

static void answer(struct kh_hub *hub, const struct kh_datagram *datagram, size_t len)
{
    assert(len > 0 && len <= sizeof hub->data);
    hub->answer = (struct kh_datagram){
        .from = datagram->to, .to = datagram->from, .data = hub->data, .len = len};
}

/* The oldest handshake: `Hi!`, as a person types it or as a program sends it. */
static bool is_greeting(const struct kh_datagram *datagram)
{
    const uint8_t *end = datagram->data + GREETING_LEN;
    size_t more = datagram->len - GREETING_LEN;

    if (datagram->len < GREETING_LEN || memcmp(datagram->data, GREETING, GREETING_LEN) != 0)
        return false;
    return more == 0 || (more == 1 && end[0] == '\n') ||
           (more == 2 && end[0] == '\r' && end[1] == '\n');
}

/* Answers in kind, line end included: never longer than what was asked. */
static void greet(struct kh_hub *hub, const struct kh_datagram *datagram)
{
    memcpy(hub->data, datagram->data, datagram->len);
    memcpy(hub->data, ANSWER, GREETING_LEN);
    hub->stats.greetings++;
    answer(hub, datagram, datagram->len);
}

static void refuse_binding(struct kh_hub *hub, const struct kh_datagram *datagram,
                           const struct kh_stun_message *message)
{
    struct kh_stun_writer writer =
        kh_stun_begin(hub->data, sizeof hub->data, KH_STUN_ERROR, KH_STUN_BINDING, message->id);

    /* RFC 8489 6.3.1: say what we do not understand. */
    kh_stun_add_error(&writer, 420, "");
    kh_stun_add_unknown(&writer, message);
    if (message->has_fingerprint)
        kh_stun_add_fingerprint(&writer);
    answer(hub, datagram, kh_stun_finish(&writer));
}

/* RFC 8489 requires an answer to a request of 20 bytes, which must name an address and so is
 * longer: the one unauthenticated answer that is.  It carries PADDING and SOFTWARE only where the
 * request left room. */
static void answer_binding(struct kh_hub *hub, const struct kh_datagram *datagram,
                           const struct kh_stun_message *message, const struct kh_hub_way *way)
{
    struct kh_stun_writer writer =
        kh_stun_begin(hub->data, sizeof hub->data, KH_STUN_SUCCESS, KH_STUN_BINDING, message->id);
    size_t software_len = strlen(hub->software);
    size_t fingerprint_len = message->has_fingerprint ? 8 : 0;
    size_t len_max = datagram->len < sizeof hub->data ? datagram->len : sizeof hub->data;
    size_t len;

    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &datagram->from);
    kh_hub_way_write(way, &writer);
    if (len_max > fingerprint_len)
        kh_hub_padding_write(message, &writer, len_max - fingerprint_len);
    len = writer.bytes.len + fingerprint_len + 4 + ((software_len + 3) & ~(size_t)3);
    if (software_len > 0 && len <= len_max)
        kh_stun_add(&writer, KH_STUN_SOFTWARE, hub->software, software_len);
    if (message->has_fingerprint)
        kh_stun_add_fingerprint(&writer);
    answer(hub, datagram, kh_stun_finish(&writer));
    if (!kh_addr_equal(&way->origin, &datagram->to)) {
        hub->stats.changes++;
        hub->answer.from = way->origin; /* to the asker all the same */
    }
    if (way->port != 0) {
        hub->stats.turns++;
        hub->answer.to.port = way->port;
    }
}

static void handle_binding(struct kh_hub *hub, const struct kh_datagram *datagram,
                           struct kh_stun_message *message)
{
    struct kh_hub_way way;

    if (message->class == KH_STUN_INDICATION)
        return; /* RFC 8489 6.3.2: a keepalive, never answered */
    if (message->class != KH_STUN_REQUEST) {
        hub->stats.dropped_malformed++;
        return;
    }
    hub->stats.bindings++;
    way = kh_hub_way_of(hub->discovery, &datagram->to, message);
    kh_hub_way_turn(&way, datagram, message);
    if (message->unknown_count > 0)
        refuse_binding(hub, datagram, message);
    else
        answer_binding(hub, datagram, message, &way);
}

/* Whoever is joined may use the relay, with credentials of its session; all others need those of
 * the shared secret. */
static bool handle_turn(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram,
                        const struct kh_stun_message *message)
{
    struct kh_rendezvous_credentials credentials;
    struct kh_stun_attribute username;
    struct kh_span password = {credentials.password, sizeof credentials.password - 1};
    bool is_member =
        kh_stun_find(message, KH_STUN_USERNAME, &username) &&
        kh_rendezvous_registry_relay(hub->registry, (struct kh_span){username.value, username.len},
                                     &credentials);
    bool taken =
        kh_relay_handle_message(hub->relay, now, datagram, message, is_member ? &password : NULL);

    kh_wipe(&credentials, sizeof credentials);
    return taken;
}

/* What spares who joins the 401 of its first Allocate here, and who it is at a relay elsewhere. */
static void prepare_offer(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram,
                          const struct kh_stun_message *message)
{
    struct kh_rendezvous_offer offer = {.turn = NULL};
    struct kh_rendezvous_member_id member;
    struct kh_rendezvous_turn turn;
    char nonce[KH_RELAY_NONCE_LEN];

    if (!kh_rendezvous_wants_offer(message, &member))
        return;
    if (hub->relay != NULL) {
        kh_relay_make_nonce(hub->relay, now, &datagram->from, nonce);
        offer.nonce = (struct kh_span){nonce, sizeof nonce};
    }
    if (kh_hub_turns_make(&hub->turns, now, &member, &turn))
        offer.turn = &turn;
    kh_rendezvous_registry_offer(hub->registry, &offer);
    kh_wipe(&turn, sizeof turn);
}

static void handle_rendezvous(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram,
                              const struct kh_stun_message *message)
{
    prepare_offer(hub, now, datagram, message);
    if (!kh_rendezvous_registry_handle_message(hub->registry, now, datagram, message))
        hub->stats.dropped_malformed++;
}

static void handle_stun(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram)
{
    struct kh_stun_message message;

    if (kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK)
        hub->stats.dropped_malformed++;
    else if (message.method == KH_STUN_BINDING)
        handle_binding(hub, datagram, &message);
    else if (hub->relay != NULL && handle_turn(hub, now, datagram, &message))
        return;
    else
        handle_rendezvous(hub, now, datagram, &message);
}

void kh_hub_handle_datagram(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram)
{
    assert(hub->answer.len == 0);
    hub->stats.datagrams++;
    /* First of all: what arrives at a relayed address is the client's, whatever it looks like. */
    if (hub->relay != NULL && kh_relay_handle_datagram(hub->relay, now, datagram))
        return;
    if (datagram->len == 0)
        hub->stats.dropped_malformed++;
    else if (is_greeting(datagram))
        greet(hub, datagram);
    else if (kh_stun_is_stun(datagram->data, datagram->len))
        handle_stun(hub, now, datagram);
    else
        hub->stats.dropped_malformed++;
}

void kh_hub_handle_timeout(struct kh_hub *hub, kh_time now)
{
    assert(hub->answer.len == 0);
    kh_rendezvous_registry_handle_timeout(hub->registry, now);
    if (hub->relay != NULL)
        kh_relay_handle_timeout(hub->relay, now);
}

void kh_hub_opened(struct kh_hub *hub, kh_time now, const struct kh_addr *addr, bool ok)
{
    assert(hub->relay != NULL);
    kh_relay_opened(hub->relay, now, addr, ok);
}

void kh_hub_handle_unreachable(struct kh_hub *hub, kh_time now,
                               const struct kh_relay_unreachable *error)
{
    assert(hub->relay != NULL);
    kh_relay_handle_unreachable(hub->relay, now, error);
}

void kh_hub_disconnected(struct kh_hub *hub, kh_time now, const struct kh_addr *client,
                         const struct kh_addr *server)
{
    if (hub->relay != NULL)
        kh_relay_disconnected(hub->relay, now, client, server);
}

void kh_hub_set_wall_clock(struct kh_hub *hub, kh_time now, uint64_t unix_seconds)
{
    kh_hub_turns_set_wall_clock(&hub->turns, now, unix_seconds);
    if (hub->relay != NULL)
        kh_relay_set_wall_clock(hub->relay, now, unix_seconds);
}

bool kh_hub_next_event(struct kh_hub *hub, struct kh_relay_event *out)
{
    return hub->relay != NULL && kh_relay_next_event(hub->relay, out);
}

bool kh_hub_next_transmit(struct kh_hub *hub, struct kh_datagram *out)
{
    hub->dont_fragment = false;
    if (hub->answer.len > 0) {
        *out = hub->answer;
        hub->answer.len = 0;
        return true;
    }
    if (hub->relay != NULL && kh_relay_next_transmit(hub->relay, out)) {
        hub->dont_fragment = kh_relay_dont_fragment(hub->relay);
        return true;
    }
    return kh_rendezvous_registry_next_transmit(hub->registry, out);
}

bool kh_hub_dont_fragment(const struct kh_hub *hub)
{
    return hub->dont_fragment;
}

kh_time kh_hub_timeout(const struct kh_hub *hub)
{
    kh_time registry = kh_rendezvous_registry_timeout(hub->registry);

    return hub->relay == NULL ? registry : kh_time_min(registry, kh_relay_timeout(hub->relay));
}

struct kh_hub_stats kh_hub_stats(const struct kh_hub *hub)
{
    struct kh_hub_stats stats = hub->stats;

    stats.registry = kh_rendezvous_registry_stats(hub->registry);
    if (hub->relay != NULL)
        stats.relay = kh_relay_stats(hub->relay);
    stats.dropped_outbox_full = stats.registry.dropped_outbox_full;
    return stats;
}
