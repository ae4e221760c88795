/* room/room.c - the machine: who is present, what we say, and what comes out.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/room.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "room/card.h"
#include "room/machine.h"

/* ---- looking for members ---- */

static bool is_same(const struct kh_room_member_id *a, const struct kh_room_member_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Returns the index of the peer, peer_count if there is none. */
static size_t index_of(const struct kh_room *room, const struct kh_room_member_id *id)
{
    size_t i = 0;

    while (i < room->peer_count && !is_same(&room->peers[i]->id, id))
        i++;
    return i;
}

static struct kh_room_peer *find(const struct kh_room *room, const struct kh_room_member_id *id)
{
    size_t i = index_of(room, id);

    return i < room->peer_count ? room->peers[i] : NULL;
}

/* ---- drain contract ---- */

static bool has_event(const struct kh_room *room)
{
    for (size_t i = 0; i < room->peer_count; i++) {
        if (room->peers[i]->reported < room->peers[i]->acked)
            return true;
    }
    return room->heard != NULL;
}

static bool has_transmit(const struct kh_room *room)
{
    for (size_t i = 0; i < room->peer_count; i++) {
        if (kh_room_peer_has_transmit(room, room->peers[i]))
            return true;
    }
    return false;
}

static void free_list(struct kh_room_heard **list)
{
    while (*list != NULL) {
        struct kh_room_heard *heard = *list;

        *list = heard->next;
        free(heard);
    }
}

/* Begins every input. */
static void begin(struct kh_room *room, kh_time now)
{
    assert(!has_event(room));
    assert(!has_transmit(room));
    room->undo.peer = NULL;
    free_list(&room->spent);
    if (now > room->now)
        room->now = now;
}

/* ---- life ---- */

/* Two members that were given one seed must still never use one nonce twice. */
static void seed_rng(struct kh_room *room, const struct kh_room_config *config)
{
    uint8_t seed[32];

    kh_hkdf((struct kh_span){config->seed, sizeof config->seed},
            (struct kh_span){config->member.bytes, sizeof config->member.bytes},
            KH_ROOM_LABEL_NONCE_SEED, seed, sizeof seed);
    kh_rng_init(&room->rng, seed);
    kh_wipe(seed, sizeof seed);
}

enum kh_status kh_room_new(struct kh_room **out, const struct kh_room_config *config)
{
    struct kh_room *room;
    size_t name_len = strnlen(config->name, sizeof config->name);

    if (!kh_room_name_is_valid(config->name, name_len))
        return KH_ERR_FORMAT;
    room = calloc(1, sizeof *room);
    if (room == NULL)
        return KH_ERR_MEMORY;
    kh_room_keys_derive(config->secret, &room->keys);
    room->identity = config->identity;
    kh_ed25519_public(&room->identity, room->name.author);
    room->name.log = config->member;
    memcpy(room->display, config->name, name_len);
    room->log = config->log;
    room->heard_end = &room->heard;
    seed_rng(room, config);
    kh_room_outlog_init(&room->outlog);
    *out = room;
    return KH_OK;
}

static void free_peer(struct kh_room_peer *peer)
{
    kh_room_inbox_fini(&peer->inbox);
    free(peer);
}

void kh_room_free(struct kh_room *room)
{
    if (room == NULL)
        return;
    for (size_t i = 0; i < room->peer_count; i++)
        free_peer(room->peers[i]);
    free_list(&room->heard);
    free_list(&room->spent);
    kh_room_outlog_fini(&room->outlog);
    kh_rng_fini(&room->rng);
    kh_wipe(room, sizeof *room);
    free(room);
}

/* ---- cards ---- */

size_t kh_room_seal_card(struct kh_room *room, const struct kh_room_card *card,
                         uint8_t out[static KH_ROOM_CARD_MAX])
{
    struct kh_room_card full = *card;
    struct kh_room_card_seal seal = {
        .keys = &room->keys, .identity = &room->identity, .member = &room->name.log};

    memcpy(full.identity, room->name.author, sizeof full.identity);
    memcpy(full.name, room->display, sizeof full.name);
    kh_rng_bytes(&room->rng, seal.nonce, sizeof seal.nonce);
    return kh_room_card_write(&full, &seal, out);
}

enum kh_status kh_room_open_card(const struct kh_room *room, const struct kh_room_member_id *member,
                                 struct kh_span sealed, struct kh_room_card *out)
{
    return kh_room_card_parse(&room->keys, member, sealed, out);
}

/* ---- members ---- */

/* Returns what is remembered of a member that left; NULL: nothing. */
static struct kh_room_departed *find_departed(struct kh_room *room,
                                              const struct kh_room_member_id *id)
{
    for (size_t i = 0; i < room->departed_count && i < KH_ROOM_DEPARTED_MAX; i++) {
        if (is_same(&room->departed[i].id, id))
            return &room->departed[i];
    }
    return NULL;
}

static void remember_departed(struct kh_room *room, const struct kh_room_peer *peer)
{
    struct kh_room_departed *departed = find_departed(room, &peer->id);

    if (departed == NULL)
        departed = &room->departed[room->departed_count++ % KH_ROOM_DEPARTED_MAX];
    departed->id = peer->id;
    memcpy(departed->identity, peer->identity, sizeof departed->identity);
    departed->acked = peer->acked;
    departed->have = peer->inbox.have;
}

/* Takes in the signals that came before their sender was known. */
static void release_penned(struct kh_room *room, struct kh_room_peer *peer)
{
    for (size_t i = 0; i < KH_ROOM_PENNED_MAX; i++) {
        struct kh_room_penned *penned = &room->penned[i];

        if (penned->until == 0 || !is_same(&penned->from, &peer->id))
            continue;
        if (penned->until > room->now)
            kh_room_receive_signal(room, peer, (struct kh_span){penned->plain, penned->len});
        penned->until = 0;
    }
}

enum kh_status kh_room_add_member(struct kh_room *room, kh_time now,
                                  const struct kh_room_member_id *member,
                                  const uint8_t identity[static KH_KEY_LEN])
{
    struct kh_room_peer *peer = find(room, member);
    const struct kh_room_departed *departed = find_departed(room, member);

    begin(room, now);
    if (is_same(member, &room->name.log))
        return KH_ERR_AUTH;
    if (peer != NULL)
        return memcmp(peer->identity, identity, KH_KEY_LEN) == 0 ? KH_OK : KH_ERR_AUTH;
    if (departed != NULL && memcmp(departed->identity, identity, KH_KEY_LEN) != 0)
        return KH_ERR_AUTH;
    if (room->peer_count == KH_ROOM_MEMBERS_MAX)
        return KH_ERR_FULL;
    peer = calloc(1, sizeof *peer);
    if (peer == NULL)
        return KH_ERR_MEMORY;
    peer->id = *member;
    memcpy(peer->identity, identity, KH_KEY_LEN);
    peer->inbox.have = departed == NULL ? 0 : departed->have;
    kh_room_peer_start(room, peer, departed == NULL ? 0 : departed->acked);
    room->peers[room->peer_count++] = peer;
    release_penned(room, peer);
    return KH_OK;
}

void kh_room_remove_member(struct kh_room *room, kh_time now,
                           const struct kh_room_member_id *member)
{
    size_t i = index_of(room, member);

    begin(room, now);
    if (i == room->peer_count)
        return;
    remember_departed(room, room->peers[i]);
    free_peer(room->peers[i]);
    room->peers[i] = room->peers[--room->peer_count];
}

void kh_room_set_channel(struct kh_room *room, kh_time now, const struct kh_room_member_id *member,
                         bool open)
{
    struct kh_room_peer *peer = find(room, member);

    begin(room, now);
    if (peer != NULL)
        kh_room_peer_set_channel(room, peer, open);
}

void kh_room_set_blocked(struct kh_room *room, kh_time now, const struct kh_room_member_id *member,
                         bool blocked)
{
    struct kh_room_peer *peer = find(room, member);

    /* Blocking comes in the middle of a drain: it only takes outputs away. */
    if (!blocked)
        begin(room, now);
    if (peer != NULL)
        kh_room_peer_set_blocked(room, peer, blocked);
    room->undo.peer = NULL;
}

void kh_room_hurry(struct kh_room *room, kh_time now, const struct kh_room_member_id *member)
{
    struct kh_room_peer *peer = find(room, member);

    begin(room, now);
    if (peer != NULL)
        kh_room_peer_hurry(peer);
}

bool kh_room_is_doubted(const struct kh_room *room, const struct kh_room_member_id *member)
{
    const struct kh_room_peer *peer = find(room, member);

    return peer != NULL && peer->trust.is_doubted;
}

size_t kh_room_doubts(const struct kh_room *room)
{
    size_t count = 0;

    for (size_t i = 0; i < room->peer_count; i++)
        count += room->peers[i]->trust.is_doubted;
    return count;
}

/* ---- saying ---- */

/* Returns up to where our log may be forgotten: everyone present has it; with nobody present,
 * somebody had it. */
static uint64_t expendable(const struct kh_room *room)
{
    uint64_t least = room->settled;

    for (size_t i = 0; i < room->peer_count; i++) {
        if (i == 0 || room->peers[i]->acked < least)
            least = room->peers[i]->acked;
    }
    return least;
}

enum kh_status kh_room_say(struct kh_room *room, kh_time now, uint64_t time_ms, const char *text,
                           size_t len, struct kh_room_entry_id *out)
{
    struct kh_room_entry entry = {.sequence = room->outlog.last + 1,
                                  .kind = KH_ROOM_ENTRY_TEXT,
                                  .time_ms = time_ms,
                                  .body = (const uint8_t *)text,
                                  .len = len};
    struct kh_writer writer;
    uint8_t *bytes;

    begin(room, now);
    if (len == 0 || len > KH_ROOM_TEXT_MAX || !kh_text_is_showable(text, len, true))
        return KH_ERR_FORMAT;
    bytes = malloc(len + KH_ROOM_ENTRY_OVERHEAD);
    if (bytes == NULL)
        return KH_ERR_MEMORY;
    if (!kh_room_outlog_make_room(&room->outlog, len + KH_ROOM_ENTRY_OVERHEAD, expendable(room))) {
        free(bytes);
        return KH_ERR_FULL;
    }
    writer = kh_writer_to(bytes, len + KH_ROOM_ENTRY_OVERHEAD);
    kh_room_entry_write(&entry, &room->name, &room->keys, &room->identity, &writer);
    assert(!writer.failed);
    kh_room_outlog_append(&room->outlog, bytes);
    room->stats.said++;
    memcpy(out->author, room->name.author, sizeof out->author);
    out->log = room->name.log;
    out->sequence = entry.sequence;
    return KH_OK;
}

/* ---- hearing ---- */

void kh_room_handle_channel(struct kh_room *room, kh_time now, const struct kh_room_member_id *from,
                            struct kh_span data)
{
    struct kh_room_peer *peer = find(room, from);

    begin(room, now);
    if (peer == NULL)
        room->stats.dropped_unauthentic++;
    else
        kh_room_receive(room, peer, data, KH_ROOM_CHANNEL);
}

/* Keeps a signal whose sender is not known yet, if there is a free place.  Only members of the room
 * can seal one, so the server cannot fill the places with rubbish. */
static void pen(struct kh_room *room, const struct kh_room_member_id *from, struct kh_span plain)
{
    for (size_t i = 0; i < KH_ROOM_PENNED_MAX; i++) {
        struct kh_room_penned *penned = &room->penned[i];

        if (penned->until > room->now)
            continue;
        penned->from = *from;
        penned->until = kh_time_add(room->now, KH_ROOM_PENNED_LIFE);
        penned->len = plain.len;
        memcpy(penned->plain, plain.data, plain.len);
        return;
    }
    room->stats.dropped_outbox_full++;
}

void kh_room_handle_signal(struct kh_room *room, kh_time now, const struct kh_room_member_id *from,
                           struct kh_span sealed)
{
    struct kh_room_peer *peer = find(room, from);
    uint8_t plain[KH_ROOM_SIGNAL_PLAIN_MAX];
    size_t len;

    begin(room, now);
    len = kh_room_signal_open(&room->keys, from, sealed, plain);
    if (len == 0)
        room->stats.dropped_unauthentic++;
    else if (peer == NULL)
        pen(room, from, (struct kh_span){plain, len});
    else
        kh_room_receive_signal(room, peer, (struct kh_span){plain, len});
    kh_wipe(plain, sizeof plain);
}

/* ---- leaving ---- */

void kh_room_say_farewell(struct kh_room *room, kh_time now)
{
    begin(room, now);
    for (size_t i = 0; i < room->peer_count; i++)
        kh_room_peer_farewell(room, room->peers[i]);
}

bool kh_room_is_farewell_said(const struct kh_room *room, const struct kh_room_member_id *member)
{
    const struct kh_room_peer *peer = find(room, member);

    return peer == NULL || peer->farewells == 0;
}

/* ---- time and outputs ---- */

void kh_room_handle_timeout(struct kh_room *room, kh_time now)
{
    begin(room, now);
    for (size_t i = 0; i < room->peer_count; i++)
        kh_room_peer_handle_timeout(room, room->peers[i]);
}

kh_time kh_room_timeout(const struct kh_room *room)
{
    kh_time at = KH_NEVER;

    for (size_t i = 0; i < room->peer_count; i++)
        at = kh_time_min(at, kh_room_peer_timeout(room->peers[i]));
    return at;
}

bool kh_room_next_transmit(struct kh_room *room, struct kh_room_transmit *out)
{
    room->undo.peer = NULL; /* the one before was not refused */
    for (size_t i = 0; i < room->peer_count; i++) {
        struct kh_room_peer *peer = room->peers[(room->turn + i) % room->peer_count];

        if (!kh_room_peer_has_transmit(room, peer))
            continue;
        room->turn = (room->turn + i + 1) % room->peer_count; /* nobody waits behind a long log */
        kh_room_peer_transmit(room, peer, out);
        return true;
    }
    return false;
}

static void give_message(struct kh_room *room, struct kh_room_event *out)
{
    struct kh_room_heard *heard = room->heard;

    room->heard = heard->next;
    if (room->heard == NULL)
        room->heard_end = &room->heard;
    heard->next = room->spent;
    room->spent = heard;
    room->stats.heard++;
    *out = (struct kh_room_event){.kind = KH_ROOM_EVENT_MESSAGE,
                                  .entry = {.log = heard->name.log, .sequence = heard->sequence},
                                  .member = heard->from,
                                  .time_ms = heard->time_ms,
                                  .text = (const char *)heard->body,
                                  .text_len = heard->len,
                                  .via = heard->via};
    memcpy(out->entry.author, heard->name.author, sizeof out->entry.author);
}

static void give_delivered(struct kh_room *room, struct kh_room_peer *peer,
                           struct kh_room_event *out)
{
    peer->reported++;
    *out = (struct kh_room_event){.kind = KH_ROOM_EVENT_DELIVERED,
                                  .entry = {.log = room->name.log, .sequence = peer->reported},
                                  .member = peer->id,
                                  .via = peer->channel_open ? KH_ROOM_CHANNEL : KH_ROOM_SIGNAL};
    memcpy(out->entry.author, room->name.author, sizeof out->entry.author);
}

static void give_punch(struct kh_room_peer *peer, struct kh_room_event *out)
{
    *out = (struct kh_room_event){
        .kind = KH_ROOM_EVENT_PUNCH, .member = peer->id, .data = {peer->punch, peer->punch_len}};
    peer->punch_len = 0;
}

bool kh_room_next_event(struct kh_room *room, struct kh_room_event *out)
{
    if (room->heard != NULL) {
        give_message(room, out);
        return true;
    }
    for (size_t i = 0; i < room->peer_count; i++) {
        if (room->peers[i]->reported < room->peers[i]->acked) {
            give_delivered(room, room->peers[i], out);
            return true;
        }
        if (room->peers[i]->punch_len > 0) {
            give_punch(room->peers[i], out);
            return true;
        }
    }
    return false;
}

size_t kh_room_undelivered(const struct kh_room *room, const struct kh_room_member_id *member)
{
    size_t count = 0;

    for (size_t i = 0; i < room->peer_count; i++) {
        if (member == NULL || is_same(&room->peers[i]->id, member))
            count += (size_t)(room->outlog.last - room->peers[i]->acked);
    }
    return count;
}

bool kh_room_is_lacking(const struct kh_room *room)
{
    for (size_t i = 0; i < room->peer_count; i++) {
        if (room->peers[i]->promised > room->peers[i]->inbox.have)
            return true;
    }
    return false;
}

struct kh_room_stats kh_room_stats(const struct kh_room *room)
{
    return room->stats;
}
