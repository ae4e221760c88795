/* rendezvous/admission.c - who may enter a room, and how a stay ends.
 *
 * SPDX-License-Identifier: MIT
 *
 * The checks stand in the order of their cost: nonce, form, signature, key exchange.  Nothing is
 * remembered of anyone who has not passed them all.
 */
#include "rendezvous/registry_state.h"

#include <assert.h>
#include <string.h>

struct join {
    const uint8_t *room;
    struct kh_rendezvous_member_id id;
    const uint8_t *public_key;
    struct kh_span card;
    struct kh_span early; /* len 0: none */
    bool hidden;
};

/* Names a stay: the member together with the key it joined with.  A member that comes back brings a
 * new key, so only replays bring the old one. */
static uint64_t stay_hash(const struct kh_rendezvous_registry *registry,
                          const struct kh_rendezvous_member_id *id, const uint8_t *public_key)
{
    uint8_t stay[KH_RENDEZVOUS_MEMBER_LEN + KH_KEY_LEN];

    memcpy(stay, id->bytes, KH_RENDEZVOUS_MEMBER_LEN);
    memcpy(stay + KH_RENDEZVOUS_MEMBER_LEN, public_key, KH_KEY_LEN);
    return kh_siphash(registry->hash_key, stay, sizeof stay);
}

static void remember_stay(struct kh_rendezvous_registry *registry,
                          const struct kh_rendezvous_member *member)
{
    uint64_t hash = stay_hash(registry, &member->entry->id, member->public_key);

    if (kh_rendezvous_departed_add(&registry->departed, registry->now, hash))
        return;
    /* The book is full: new nonces make every recorded join worthless at once, at the price of one
     * more round trip for those who remembered one. */
    kh_rng_bytes(&registry->rng, registry->nonces.secret.bytes, KH_KEY_LEN);
    kh_rendezvous_departed_clear(&registry->departed, registry->now);
}

void kh_rendezvous_registry_depart(struct kh_rendezvous_registry *registry,
                                   struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_room *room = member->room;
    bool last = room->present == 1;

    remember_stay(registry, member);
    kh_rendezvous_table_remove(&registry->table, member);
    if (!last)
        kh_rendezvous_push_room(registry, room);
}

static void challenge(struct kh_rendezvous_registry *registry,
                      const struct kh_rendezvous_request *request, unsigned code)
{
    struct kh_stun_writer writer = kh_rendezvous_answer_begin(registry, request, KH_STUN_ERROR);

    kh_stun_add_error(&writer, code, "");
    kh_rendezvous_answer_nonce(registry, request, &writer);
    kh_rendezvous_answer_end(registry, request, &writer, NULL);
    registry->stats.challenges++;
}

static bool has_valid_nonce(struct kh_rendezvous_registry *registry,
                            const struct kh_rendezvous_request *request)
{
    struct kh_span nonce;

    if (!kh_rendezvous_find_span(request->message, KH_STUN_NONCE, KH_RENDEZVOUS_NONCE_MAX,
                                 &nonce)) {
        challenge(registry, request, KH_RENDEZVOUS_ERROR_NONCE_MISSING);
        return false;
    }
    if (!kh_rendezvous_nonce_check(&registry->nonces, registry->now, &request->datagram->from,
                                   nonce)) {
        challenge(registry, request, KH_RENDEZVOUS_ERROR_NONCE_STALE);
        return false;
    }
    return true;
}

static bool parse_join(const struct kh_stun_message *message, struct join *out)
{
    struct kh_stun_attribute attribute;

    *out = (struct join){.hidden = kh_stun_find(message, KH_STUN_HIDDEN, &attribute)};
    if (kh_stun_find(message, KH_STUN_EARLY, &attribute) &&
        !kh_rendezvous_find_span(message, KH_STUN_EARLY, KH_RENDEZVOUS_SIGNAL_MAX, &out->early))
        return false;
    return kh_stun_find_bytes(message, KH_STUN_ROOM, KH_RENDEZVOUS_ROOM_LEN, &out->room) &&
           kh_rendezvous_find_id(message, KH_STUN_MEMBER, &out->id) &&
           kh_stun_find_bytes(message, KH_STUN_PUBLIC_KEY, KH_KEY_LEN, &out->public_key) &&
           kh_rendezvous_find_span(message, KH_STUN_SEALED, KH_RENDEZVOUS_CARD_MAX, &out->card);
}

static void welcome(struct kh_rendezvous_registry *registry,
                    const struct kh_rendezvous_request *request,
                    const struct kh_rendezvous_member *member)
{
    struct kh_stun_writer writer = kh_rendezvous_answer_begin(registry, request, KH_STUN_SUCCESS);

    kh_stun_add(&writer, KH_STUN_PUBLIC_KEY, registry->public_key, KH_KEY_LEN);
    kh_rendezvous_answer_session(registry, request, &writer, member);
    kh_rendezvous_answer_end(registry, request, &writer, &member->keys.to_client);
}

/* Returns 0, or the error that keeps this stay from beginning. */
static unsigned refusal(const struct kh_rendezvous_registry *registry, const struct join *join)
{
    const struct kh_rendezvous_table *table = &registry->table;
    const struct kh_rendezvous_room *room = kh_rendezvous_table_find_room(table, join->room);
    uint64_t hash = stay_hash(registry, &join->id, join->public_key);

    if (kh_rendezvous_departed_has(&registry->departed, hash))
        return KH_RENDEZVOUS_ERROR_KEY_USED;
    if (room != NULL && room->present >= registry->config.room_members_max)
        return KH_RENDEZVOUS_ERROR_ROOM_FULL;
    if (table->member_count >= registry->config.members_max)
        return KH_RENDEZVOUS_ERROR_SERVER_FULL;
    return 0;
}

/* Returns 0 and the new member, or an error. */
static unsigned admit(struct kh_rendezvous_registry *registry, const struct join *join,
                      struct kh_rendezvous_member **out)
{
    unsigned error = refusal(registry, join);
    struct kh_rendezvous_binding binding = {join->room, &join->id, join->public_key,
                                            registry->public_key};
    struct kh_rendezvous_member *member;
    struct kh_secret shared;

    if (error != 0)
        return error;
    if (!kh_x25519_shared(&registry->private_key, join->public_key, &shared))
        return KH_RENDEZVOUS_ERROR_MALFORMED;
    if (kh_rendezvous_table_add(&registry->table, join->room, &join->id, join->card, &member) !=
        KH_OK) {
        kh_wipe(&shared, sizeof shared);
        return KH_RENDEZVOUS_ERROR_SERVER_FULL;
    }
    memcpy(member->public_key, join->public_key, KH_KEY_LEN);
    kh_rendezvous_keys_derive(&shared, &binding, &member->keys);
    kh_wipe(&shared, sizeof shared);
    *out = member;
    return 0;
}

static void enter_room(struct kh_rendezvous_registry *registry,
                       const struct kh_rendezvous_request *request, const struct join *join)
{
    struct kh_rendezvous_member *member = NULL;
    unsigned error = admit(registry, join, &member);

    if (error != 0) {
        kh_rendezvous_answer_error(registry, request, error, NULL);
        return;
    }
    member->public = request->datagram->from;
    member->local = request->datagram->to;
    member->hidden = join->hidden;
    member->expires_at = kh_time_add(registry->now, registry->config.lifetime);
    kh_rendezvous_table_reschedule(&registry->table, member);
    registry->stats.joins++;
    welcome(registry, request, member);
    kh_rendezvous_push_room(registry, member->room);
    if (join->early.len > 0)
        kh_rendezvous_fanout_start(registry, member, NULL, join->early);
}

void kh_rendezvous_registry_join(struct kh_rendezvous_registry *registry,
                                 const struct kh_rendezvous_request *request)
{
    struct kh_rendezvous_member *present;
    struct join join;

    if (!has_valid_nonce(registry, request))
        return;
    if (!parse_join(request->message, &join)) {
        registry->stats.dropped_malformed++;
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_MALFORMED, NULL);
        return;
    }
    if (!kh_rendezvous_check_signature(request->message, join.room)) {
        registry->stats.dropped_unauthentic++;
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_SIGNATURE, NULL);
        return;
    }
    if (request->message->unknown_count > 0) {
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_UNKNOWN_ATTRIBUTE, NULL);
        return;
    }
    present = kh_rendezvous_table_find(&registry->table, &join.id);
    if (present == NULL) {
        enter_room(registry, request, &join);
        return;
    }
    /* Its answer was lost, or someone replays it: the same answer, and nothing else happens. */
    if (kh_equal(present->public_key, join.public_key, KH_KEY_LEN) &&
        kh_equal(present->room->name, join.room, KH_RENDEZVOUS_ROOM_LEN))
        welcome(registry, request, present);
    else
        kh_rendezvous_answer_error(registry, request, KH_RENDEZVOUS_ERROR_CONFLICT, NULL);
}
