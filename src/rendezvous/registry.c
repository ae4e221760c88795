/* rendezvous/registry.c - the server's machine: requests of members, and their deadlines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/registry_state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "rendezvous/offer.h"

#define MEMBERS_DEFAULT 200000
#define LIFETIME_DEFAULT KH_SECONDS(60)
#define NONCE_LIFETIME_DEFAULT KH_SECONDS(3600)
#define SIGNALS_DEFAULT 32 /* per second */
#define SIGNALS_BURST 4    /* seconds' worth */

/* ---- life ---- */

static void fill_defaults(struct kh_rendezvous_registry_config *config)
{
    if (config->members_max == 0)
        config->members_max = MEMBERS_DEFAULT;
    if (config->room_members_max == 0 || config->room_members_max > KH_RENDEZVOUS_MEMBERS_MAX)
        config->room_members_max = KH_RENDEZVOUS_MEMBERS_MAX;
    if (config->lifetime == 0)
        config->lifetime = LIFETIME_DEFAULT;
    if (config->nonce_lifetime == 0)
        config->nonce_lifetime = NONCE_LIFETIME_DEFAULT;
    if (config->signals_per_second == 0)
        config->signals_per_second = SIGNALS_DEFAULT;
}

enum kh_status kh_rendezvous_registry_new(struct kh_rendezvous_registry **out,
                                          const struct kh_rendezvous_registry_config *config)
{
    struct kh_rendezvous_registry *registry = calloc(1, sizeof *registry);
    uint8_t table_key[16];

    if (registry == NULL)
        return KH_ERR_MEMORY;
    registry->config = *config;
    fill_defaults(&registry->config);
    kh_rng_init(&registry->rng, config->seed);
    kh_rng_bytes(&registry->rng, registry->private_key.bytes, KH_KEY_LEN);
    kh_rng_bytes(&registry->rng, registry->nonces.secret.bytes, KH_KEY_LEN);
    kh_rng_bytes(&registry->rng, registry->hash_key, sizeof registry->hash_key);
    kh_rng_bytes(&registry->rng, table_key, sizeof table_key);
    kh_x25519_public(&registry->private_key, registry->public_key);
    registry->nonces.lifetime = registry->config.nonce_lifetime;
    if (kh_rendezvous_table_init(&registry->table, registry->config.members_max, table_key) !=
            KH_OK ||
        kh_rendezvous_departed_init(&registry->departed, registry->config.members_max,
                                    registry->config.nonce_lifetime) != KH_OK) {
        kh_rendezvous_registry_free(registry);
        return KH_ERR_MEMORY;
    }
    *out = registry;
    return KH_OK;
}

void kh_rendezvous_registry_free(struct kh_rendezvous_registry *registry)
{
    if (registry == NULL)
        return;
    kh_rendezvous_table_fini(&registry->table);
    kh_rendezvous_departed_fini(&registry->departed);
    kh_rng_fini(&registry->rng);
    kh_wipe(registry, sizeof *registry);
    free(registry);
}

static void assert_drained(const struct kh_rendezvous_registry *registry)
{
    assert(registry->answer.len == 0);
    assert(registry->table.dirty_first == NULL);
    assert(registry->fanout.next == NULL);
}

/* ---- answers ---- */

struct kh_stun_writer kh_rendezvous_answer_begin(struct kh_rendezvous_registry *registry,
                                                 const struct kh_rendezvous_request *request,
                                                 enum kh_stun_class class)
{
    return kh_stun_begin(registry->answer_data, sizeof registry->answer_data, class,
                         request->message->method, request->message->id);
}

void kh_rendezvous_answer_end(struct kh_rendezvous_registry *registry,
                              const struct kh_rendezvous_request *request,
                              struct kh_stun_writer *writer, const struct kh_secret *key)
{
    size_t len = kh_rendezvous_finish(writer, key);

    assert(len > 0);
    if (key == NULL && len > request->datagram->len) {
        registry->stats.dropped_unauthentic++;
        return;
    }
    registry->answer = (struct kh_datagram){.from = request->datagram->to,
                                            .to = request->datagram->from,
                                            .data = registry->answer_data,
                                            .len = len};
}

void kh_rendezvous_answer_error(struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_request *request, unsigned code,
                                const struct kh_secret *key)
{
    struct kh_stun_writer writer = kh_rendezvous_answer_begin(registry, request, KH_STUN_ERROR);

    kh_stun_add_error(&writer, code, "");
    if (code == KH_RENDEZVOUS_ERROR_UNKNOWN_ATTRIBUTE)
        kh_stun_add_unknown(&writer, request->message);
    if (code == KH_RENDEZVOUS_ERROR_NO_SESSION || code == KH_RENDEZVOUS_ERROR_NONCE_STALE)
        kh_rendezvous_answer_nonce(registry, request, &writer);
    kh_rendezvous_answer_end(registry, request, &writer, key);
}

void kh_rendezvous_answer_nonce(struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_request *request,
                                struct kh_stun_writer *writer)
{
    uint8_t nonce[KH_RENDEZVOUS_NONCE_LEN];

    kh_rendezvous_nonce_make(&registry->nonces, registry->now, &request->datagram->from, nonce);
    kh_stun_add(writer, KH_STUN_NONCE, nonce, sizeof nonce);
}

/* Another place of ours, so that the member can compare what its NAT does; by UDP only. */
static void add_alternate(const struct kh_rendezvous_registry *registry, const struct kh_addr *at,
                          struct kh_stun_writer *writer)
{
    for (size_t i = 0; i < registry->config.alternate_count; i++) {
        const struct kh_rendezvous_alternate *each = &registry->config.alternates[i];
        bool any = kh_addr_reach(&each->at) == KH_REACH_UNSPECIFIED;
        struct kh_addr other = *at;

        if (each->at.family != at->family || each->at.port != at->port || at->transport != KH_UDP ||
            (!any && !kh_addr_ip_equal(&each->at, at)))
            continue;
        if (kh_addr_reach(&each->other) != KH_REACH_UNSPECIFIED)
            other = each->other;
        other.port = each->other.port;
        kh_stun_add_addr(writer, KH_STUN_OTHER_ADDRESS, &other);
        return;
    }
}

/* The relay at our address, which is there for the whole stay, and the other one, whose credentials
 * are renewed by whoever asks. */
static void add_relays(struct kh_rendezvous_registry *registry,
                       const struct kh_rendezvous_request *request, struct kh_stun_writer *writer,
                       const struct kh_rendezvous_member *member)
{
    const struct kh_rendezvous_offer_seal seal = {&member->keys, request->message->id};
    const char *realm = registry->config.realm;
    uint8_t nonce[KH_AEAD_NONCE_LEN];
    uint8_t sealed[KH_RENDEZVOUS_OFFER_MAX];
    size_t len;

    if (realm != NULL && request->message->method == KH_STUN_JOIN) {
        kh_stun_add(writer, KH_STUN_REALM, realm, strlen(realm));
        if (registry->relay_nonce_len > 0)
            kh_stun_add(writer, KH_STUN_RELAY_NONCE, registry->relay_nonce,
                        registry->relay_nonce_len);
    }
    if (kh_addr_is_none(&registry->turn.servers[0]))
        return;
    kh_rng_bytes(&registry->rng, nonce, sizeof nonce);
    len = kh_rendezvous_offer_seal(&registry->turn, &seal, nonce, sealed);
    kh_stun_add(writer, KH_STUN_RELAY, sealed, len);
}

void kh_rendezvous_answer_session(struct kh_rendezvous_registry *registry,
                                  const struct kh_rendezvous_request *request,
                                  struct kh_stun_writer *writer,
                                  const struct kh_rendezvous_member *member)
{
    kh_stun_add_addr(writer, KH_STUN_XOR_MAPPED_ADDRESS, &request->datagram->from);
    kh_stun_add_u32(writer, KH_STUN_LIFETIME,
                    (uint32_t)(registry->config.lifetime / KH_SECONDS(1)));
    kh_stun_add_u64(writer, KH_STUN_ROOM_VERSION, member->room->version);
    kh_rendezvous_answer_nonce(registry, request, writer);
    if (request->message->method == KH_STUN_JOIN)
        add_alternate(registry, &request->datagram->to, writer);
    add_relays(registry, request, writer, member);
}

void kh_rendezvous_registry_offer(struct kh_rendezvous_registry *registry,
                                  const struct kh_rendezvous_offer *offer)
{
    assert(offer->nonce.len <= sizeof registry->relay_nonce);
    if (offer->nonce.len > 0)
        memcpy(registry->relay_nonce, offer->nonce.data, offer->nonce.len);
    registry->relay_nonce_len = offer->nonce.len;
    if (offer->turn != NULL)
        registry->turn = *offer->turn;
}

static void forget_offer(struct kh_rendezvous_registry *registry)
{
    registry->relay_nonce_len = 0;
    kh_wipe(&registry->turn, sizeof registry->turn);
}

bool kh_rendezvous_registry_relay(const struct kh_rendezvous_registry *registry,
                                  struct kh_span username, struct kh_rendezvous_credentials *out)
{
    struct kh_rendezvous_member_id id;
    const struct kh_rendezvous_member *member;

    if (!kh_hex_parse(username.data, username.len, id.bytes, sizeof id.bytes))
        return false;
    member = kh_rendezvous_table_find(&registry->table, &id);
    if (member == NULL)
        return false;
    kh_rendezvous_write_credentials(&id, &member->keys, out);
    return true;
}

/* ---- requests of members ---- */

static void answer_success(struct kh_rendezvous_registry *registry,
                           const struct kh_rendezvous_request *request,
                           const struct kh_rendezvous_member *member)
{
    struct kh_stun_writer writer = kh_rendezvous_answer_begin(registry, request, KH_STUN_SUCCESS);

    if (request->message->method == KH_STUN_UPDATE)
        kh_rendezvous_answer_session(registry, request, &writer, member);
    kh_rendezvous_answer_end(registry, request, &writer, &member->keys.to_client);
}

static void update(struct kh_rendezvous_registry *registry,
                   const struct kh_rendezvous_request *request, struct kh_rendezvous_member *member,
                   uint64_t sequence)
{
    struct kh_rendezvous_knowledge knowledge = {0};
    struct kh_span card;

    member->expires_at = kh_time_add(registry->now, registry->config.lifetime);
    kh_rendezvous_table_reschedule(&registry->table, member);
    registry->stats.updates++;
    if (kh_rendezvous_find_span(request->message, KH_STUN_SEALED, KH_RENDEZVOUS_CARD_MAX, &card) &&
        sequence > member->card_sequence) {
        member->card_sequence = sequence;
        if (kh_rendezvous_table_set_card(member, card)) {
            kh_rendezvous_table_touch(member);
            kh_rendezvous_push_room(registry, member->room);
        }
    }
    answer_success(registry, request, member);
    if (kh_stun_find_u64(request->message, KH_STUN_ROOM_VERSION, &knowledge.version))
        kh_rendezvous_push_acknowledged(registry, member, &knowledge);
}

static void signal_members(struct kh_rendezvous_registry *registry,
                           const struct kh_rendezvous_request *request,
                           const struct kh_rendezvous_member *member)
{
    bool has_target;
    struct kh_rendezvous_member_id target;
    const struct kh_rendezvous_member *to;
    struct kh_stun_attribute attribute;
    struct kh_span sealed;

    has_target = kh_stun_find(request->message, KH_STUN_TARGET, &attribute);
    if (!kh_rendezvous_find_span(request->message, KH_STUN_SEALED, KH_RENDEZVOUS_SIGNAL_MAX,
                                 &sealed) ||
        (has_target && !kh_rendezvous_find_id(request->message, KH_STUN_TARGET, &target))) {
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_MALFORMED,
                                   &member->keys.to_client);
        return;
    }
    to = has_target ? kh_rendezvous_table_find(&registry->table, &target) : NULL;
    if (has_target && (to == NULL || to == member || to->room != member->room)) {
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_NO_TARGET,
                                   &member->keys.to_client);
        return;
    }
    answer_success(registry, request, member);
    kh_rendezvous_fanout_start(registry, member, has_target ? &target : NULL, sealed);
}

/* Is the whole room told of it?  That one leaves, it hears only once. */
static bool tells_others(const struct kh_rendezvous_request *request,
                         const struct kh_rendezvous_member *member)
{
    struct kh_stun_attribute sealed;

    return request->message->method != KH_STUN_LEAVE &&
           (kh_stun_find(request->message, KH_STUN_SEALED, &sealed) ||
            !kh_addr_equal(&member->public, &request->datagram->from));
}

/* Whatever the others are told is paid for with a moment of the sender's time; being ahead of the
 * clock by more than the burst means too much.  Silence makes the client repeat it later. */
static bool is_over_limit(struct kh_rendezvous_registry *registry,
                          struct kh_rendezvous_member *member)
{
    kh_duration price = KH_SECONDS(1) / registry->config.signals_per_second;
    kh_time paid = member->signals_until > registry->now ? member->signals_until : registry->now;

    if (paid + price > registry->now + KH_SECONDS(SIGNALS_BURST)) {
        registry->stats.dropped_limited++;
        return true;
    }
    member->signals_until = paid + price;
    return false;
}

/* A member that speaks from another IP must show that it receives there; another port is only its
 * NAT, and nobody else can sign for it. */
static bool may_speak_from_here(const struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_request *request,
                                const struct kh_rendezvous_member *member)
{
    struct kh_span nonce;

    if (kh_addr_ip_equal(&member->public, &request->datagram->from))
        return true;
    return kh_rendezvous_find_span(request->message, KH_STUN_NONCE, KH_RENDEZVOUS_NONCE_MAX,
                                   &nonce) &&
           kh_rendezvous_nonce_check(&registry->nonces, registry->now, &request->datagram->from,
                                     nonce);
}

static void move_member(struct kh_rendezvous_registry *registry,
                        struct kh_rendezvous_member *member, const struct kh_datagram *datagram)
{
    member->local = datagram->to;
    if (kh_addr_equal(&member->public, &datagram->from))
        return;
    member->public = datagram->from;
    if (member->hidden)
        return; /* not even that it moved is anyone's business */
    kh_rendezvous_table_touch(member);
    kh_rendezvous_push_room(registry, member->room);
}

static void perform(struct kh_rendezvous_registry *registry,
                    const struct kh_rendezvous_request *request,
                    struct kh_rendezvous_member *member, uint64_t sequence)
{
    switch (request->message->method) {
    case KH_STUN_UPDATE:
        update(registry, request, member, sequence);
        return;
    case KH_STUN_SIGNAL:
        signal_members(registry, request, member);
        return;
    default:
        assert(request->message->method == KH_STUN_LEAVE);
        answer_success(registry, request, member);
        registry->stats.leaves++;
        kh_rendezvous_registry_depart(registry, member);
    }
}

static void handle_fresh(struct kh_rendezvous_registry *registry,
                         const struct kh_rendezvous_request *request,
                         struct kh_rendezvous_member *member, uint64_t sequence)
{
    bool newest = kh_rendezvous_window_check(&member->window, sequence) == KH_RENDEZVOUS_NEWEST;

    if (!may_speak_from_here(registry, request, member)) {
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_NONCE_STALE,
                                   &member->keys.to_client);
        return;
    }
    if (tells_others(request, member) && is_over_limit(registry, member))
        return;
    kh_rendezvous_window_take(&member->window, sequence);
    /* What was overtaken must not move the member back to where it was. */
    if (newest)
        move_member(registry, member, request->datagram);
    perform(registry, request, member, sequence);
}

static void handle_sequence(struct kh_rendezvous_registry *registry,
                            const struct kh_rendezvous_request *request,
                            struct kh_rendezvous_member *member)
{
    enum kh_rendezvous_freshness freshness;
    uint64_t sequence;

    if (!kh_stun_find_u64(request->message, KH_STUN_SEQUENCE, &sequence)) {
        registry->stats.dropped_malformed++;
        return;
    }
    freshness = kh_rendezvous_window_check(&member->window, sequence);
    if (freshness == KH_RENDEZVOUS_NEWEST || freshness == KH_RENDEZVOUS_LATE) {
        handle_fresh(registry, request, member, sequence);
        return;
    }
    registry->stats.dropped_replayed++;
    /* Its answer was lost: answer again, but only to where the member is known to be. */
    if (freshness == KH_RENDEZVOUS_SEEN && kh_addr_equal(&member->public, &request->datagram->from))
        answer_success(registry, request, member);
}

/* Gives the member that signed this message, or NULL. */
static struct kh_rendezvous_member *find_sender(struct kh_rendezvous_registry *registry,
                                                const struct kh_rendezvous_request *request)
{
    struct kh_rendezvous_member_id id;
    struct kh_rendezvous_member *member;

    if (!kh_rendezvous_find_id(request->message, KH_STUN_MEMBER, &id)) {
        registry->stats.dropped_malformed++;
        return NULL;
    }
    member = kh_rendezvous_table_find(&registry->table, &id);
    if (member == NULL || member->laggard) {
        registry->stats.dropped_unauthentic++;
        if (request->message->class == KH_STUN_REQUEST)
            kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_NO_SESSION, NULL);
        return NULL;
    }
    if (!kh_stun_check_integrity_sha256(
            request->message, kh_rendezvous_key_span(&member->keys.to_server), KH_SHA256_LEN)) {
        registry->stats.dropped_unauthentic++;
        return NULL;
    }
    return member;
}

static void handle_request(struct kh_rendezvous_registry *registry,
                           const struct kh_rendezvous_request *request)
{
    struct kh_rendezvous_member *member = find_sender(registry, request);

    if (member == NULL)
        return;
    if (request->message->unknown_count > 0) {
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_UNKNOWN_ATTRIBUTE,
                                   &member->keys.to_client);
        return;
    }
    handle_sequence(registry, request, member);
}

static void handle_acknowledgement(struct kh_rendezvous_registry *registry,
                                   const struct kh_rendezvous_request *request)
{
    struct kh_rendezvous_member *member = find_sender(registry, request);
    struct kh_rendezvous_knowledge knowledge = {0};

    if (member == NULL)
        return;
    if (!kh_stun_find_u64(request->message, KH_STUN_SEQUENCE, &knowledge.sequence) ||
        !kh_stun_find_u64(request->message, KH_STUN_ROOM_VERSION, &knowledge.version)) {
        registry->stats.dropped_malformed++;
        return;
    }
    if (knowledge.sequence <= member->push.sequence || knowledge.sequence > member->send_sequence) {
        registry->stats.dropped_replayed++;
        return;
    }
    if (!kh_stun_find_u64(request->message, KH_STUN_BASE_VERSION, &knowledge.hole_end))
        knowledge.hole_end = 0;
    kh_rendezvous_push_acknowledged(registry, member, &knowledge);
}

bool kh_rendezvous_registry_handle_message(struct kh_rendezvous_registry *registry, kh_time now,
                                           const struct kh_datagram *datagram,
                                           const struct kh_stun_message *message)
{
    struct kh_rendezvous_request request = {datagram, message};
    bool is_request = message->class == KH_STUN_REQUEST;

    assert_drained(registry);
    if (message->method < KH_STUN_JOIN || message->method > KH_STUN_PUSH)
        return false;
    registry->now = now;
    if (!message->has_fingerprint)
        registry->stats.dropped_malformed++;
    else if (message->method == KH_STUN_PUSH && message->class == KH_STUN_SUCCESS)
        handle_acknowledgement(registry, &request);
    else if (!is_request || message->method == KH_STUN_PUSH)
        registry->stats.dropped_malformed++;
    else if (message->method == KH_STUN_JOIN)
        kh_rendezvous_registry_join(registry, &request);
    else
        handle_request(registry, &request);
    forget_offer(registry);
    return true;
}

/* ---- time and outputs ---- */

void kh_rendezvous_registry_handle_timeout(struct kh_rendezvous_registry *registry, kh_time now)
{
    struct kh_rendezvous_member *member;

    assert_drained(registry);
    registry->now = now;
    while ((member = kh_rendezvous_table_first(&registry->table)) != NULL &&
           kh_rendezvous_member_deadline(member) <= now) {
        if (member->expires_at > now) {
            kh_rendezvous_push_retry(registry, member);
            continue;
        }
        registry->stats.expiries++;
        kh_rendezvous_registry_depart(registry, member);
    }
}

static void give(struct kh_rendezvous_registry *registry, const struct kh_rendezvous_member *member,
                 size_t len, struct kh_datagram *out)
{
    *out = (struct kh_datagram){
        .from = member->local, .to = member->public, .data = registry->data, .len = len};
}

bool kh_rendezvous_registry_next_transmit(struct kh_rendezvous_registry *registry,
                                          struct kh_datagram *out)
{
    struct kh_rendezvous_member *member;
    size_t len;

    if (registry->answer.len > 0) {
        *out = registry->answer;
        registry->answer.len = 0;
        return true;
    }
    while ((member = registry->table.dirty_first) != NULL) {
        len = kh_rendezvous_push_make(registry, member, registry->data);
        if (len > 0) {
            give(registry, member, len, out);
            return true;
        }
        kh_rendezvous_table_unmark(&registry->table, member);
    }
    len = kh_rendezvous_fanout_make(registry, registry->data, &member);
    if (len == 0)
        return false;
    give(registry, member, len, out);
    return true;
}

kh_time kh_rendezvous_registry_timeout(const struct kh_rendezvous_registry *registry)
{
    const struct kh_rendezvous_member *member = kh_rendezvous_table_first(&registry->table);

    return member == NULL ? KH_NEVER : kh_rendezvous_member_deadline(member);
}

struct kh_rendezvous_registry_stats
kh_rendezvous_registry_stats(const struct kh_rendezvous_registry *registry)
{
    struct kh_rendezvous_registry_stats stats = registry->stats;

    stats.members = registry->table.member_count;
    stats.rooms = registry->table.room_count;
    return stats;
}
