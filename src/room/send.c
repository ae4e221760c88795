/* room/send.c - what one member still lacks of our log, made into messages when asked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/machine.h"

#include <assert.h>
#include <string.h>

/* A signal has to hold this much: so every entry that fits one fits any. */
#define SIGNAL_ENTRY_MAX                                                                           \
    (KH_ROOM_SIGNAL_FRAMES_MAX - 1 - KH_ROOM_FRAME_HEAD_LEN - KH_ROOM_FRAME_ENTRIES_LEN)

static void start_over(struct kh_room_peer *peer)
{
    peer->sent = peer->acked;
    peer->credit = KH_ROOM_SIGNALS_MAX;
    peer->retry_at = KH_NEVER;
}

static void forget_failures(struct kh_room_peer *peer)
{
    peer->credit = KH_ROOM_SIGNALS_MAX;
    peer->patience = peer->channel_open ? KH_ROOM_STALL_MIN : KH_ROOM_RETRY_MIN;
}

void kh_room_peer_start(struct kh_room *room, struct kh_room_peer *peer, uint64_t acked)
{
    uint64_t forgotten = room->outlog.first - 1;

    assert(acked <= room->outlog.last);
    peer->base = acked > forgotten ? acked : forgotten;
    peer->reported = peer->base;
    peer->acked = peer->base;
    start_over(peer);
    forget_failures(peer);
    if (room->early > peer->acked &&
        kh_time_since(room->now, room->early_at) < KH_ROOM_EARLY_FRESH) {
        peer->sent = room->early;
        peer->retry_at = kh_time_add(room->now, KH_ROOM_EARLY_PATIENCE);
    }
}

/* True if the next entry may go now.  One too large for a signal waits for a channel, and what was
 * said after it waits behind it. */
static bool may_send_entry(const struct kh_room *room, const struct kh_room_peer *peer)
{
    if (peer->sent == room->outlog.last)
        return false;
    if (peer->channel_open)
        return !peer->blocked && peer->sent - peer->acked < KH_ROOM_WINDOW_MAX;
    return peer->credit > 0 &&
           kh_room_outlog_at(&room->outlog, peer->sent + 1).len <= SIGNAL_ENTRY_MAX;
}

/* A newcomer has to be told where our log begins, or it waits for what was forgotten.  And who gets
 * an acknowledgement while entries are under way to it learns that there are more, and does not
 * take their loss for silence. */
static bool needs_head(const struct kh_room *room, const struct kh_room_peer *peer)
{
    if (peer->head_due)
        return true;
    if (peer->channel_open)
        return false;
    return (peer->base > 0 && peer->acked == peer->base) ||
           (peer->have_due && peer->acked < room->outlog.last && !may_send_entry(room, peer));
}

static bool is_farewell_due(const struct kh_room *room, const struct kh_room_peer *peer)
{
    return peer->farewells > 0 && room->now >= peer->farewell_at;
}

bool kh_room_peer_has_transmit(const struct kh_room *room, const struct kh_room_peer *peer)
{
    if (is_farewell_due(room, peer))
        return true;
    if (may_send_entry(room, peer))
        return true;
    if (peer->channel_open)
        return !peer->blocked && (peer->head_due || peer->have_due);
    return peer->have_due && room->now >= peer->have_at;
}

/* Writes as many entries as fit and may go. */
static void write_entries(const struct kh_room *room, struct kh_room_peer *peer,
                          struct kh_writer *writer)
{
    size_t begin = 0;
    struct kh_span entry;
    bool is_open = false;

    while (may_send_entry(room, peer)) {
        entry = kh_room_outlog_at(&room->outlog, peer->sent + 1);
        if (writer->max - writer->len < entry.len + (is_open ? 0 : KH_ROOM_FRAME_ENTRIES_LEN))
            break;
        if (!is_open)
            begin = kh_room_frame_entries_begin(writer, &room->name, peer->sent + 1);
        is_open = true;
        kh_write_bytes(writer, entry.data, entry.len);
        peer->sent++;
    }
    if (is_open)
        kh_room_frame_entries_end(writer, begin);
}

static void write_have(const struct kh_room_peer *peer, struct kh_writer *writer)
{
    struct kh_room_log_name theirs = {.log = peer->id};

    memcpy(theirs.author, peer->identity, sizeof theirs.author);
    kh_room_frame_have_write(writer, &theirs, peer->inbox.have);
}

static void write_frames(const struct kh_room *room, struct kh_room_peer *peer,
                         struct kh_writer *writer)
{
    kh_write_u8(writer, KH_ROOM_FRAMES_VERSION);
    if (needs_head(room, peer))
        kh_room_frame_head_write(writer, &room->name, room->outlog.first, room->outlog.last);
    peer->head_due = false;
    write_entries(room, peer, writer);
    if (peer->have_due && writer->max - writer->len >= KH_ROOM_FRAME_HAVE_LEN) {
        write_have(peer, writer);
        peer->have_due = false;
    }
    assert(!writer->failed);
}

static size_t seal(struct kh_room *room, const struct kh_room_member_id *to, struct kh_span frames,
                   uint8_t out[static KH_ROOM_SIGNAL_MAX])
{
    struct kh_room_signal signal = {
        .keys = &room->keys, .from = &room->name.log, .to = to, .identity = &room->identity};

    kh_rng_bytes(&room->rng, signal.nonce, sizeof signal.nonce);
    return kh_room_signal_write(&signal, frames, out);
}

static void transmit_signal(struct kh_room *room, struct kh_room_peer *peer,
                            struct kh_room_transmit *out)
{
    uint8_t frames[KH_ROOM_SIGNAL_FRAMES_MAX];
    struct kh_writer writer = kh_writer_to(frames, sizeof frames);
    uint64_t sent_before = peer->sent;
    bool have_before = peer->have_due;

    write_frames(room, peer, &writer);
    if (peer->sent > sent_before)
        peer->credit--;
    if (have_before && !peer->have_due)
        peer->have_at = kh_time_add(room->now, KH_ROOM_ACK_PAUSE);
    out->via = KH_ROOM_SIGNAL;
    out->data = room->out;
    out->len = seal(room, &peer->id, (struct kh_span){frames, writer.len}, room->out);
}

static void transmit_channel(struct kh_room *room, struct kh_room_peer *peer,
                             struct kh_room_transmit *out)
{
    struct kh_writer writer = kh_writer_to(room->out, sizeof room->out);

    room->undo = (struct kh_room_undo){
        .peer = peer, .head_due = peer->head_due, .have_due = peer->have_due, .sent = peer->sent};
    write_frames(room, peer, &writer);
    out->via = KH_ROOM_CHANNEL;
    out->data = room->out;
    out->len = writer.len;
}

/* By signal also past an open channel: its acknowledgement may be stuck on the way. */
static void transmit_farewell(struct kh_room *room, struct kh_room_peer *peer,
                              struct kh_room_transmit *out)
{
    uint8_t frames[KH_ROOM_SIGNAL_FRAMES_MAX];
    struct kh_writer writer = kh_writer_to(frames, sizeof frames);

    kh_write_u8(&writer, KH_ROOM_FRAMES_VERSION);
    write_have(peer, &writer);
    assert(!writer.failed);
    peer->farewells--;
    peer->farewell_at = kh_time_add(room->now, KH_ROOM_FAREWELL_PAUSE);
    out->via = KH_ROOM_SIGNAL;
    out->data = room->out;
    out->len = seal(room, &peer->id, (struct kh_span){frames, writer.len}, room->out);
}

void kh_room_peer_farewell(struct kh_room *room, struct kh_room_peer *peer)
{
    if (peer->inbox.have == 0 || kh_time_since(room->now, peer->heard_at) >= KH_ROOM_FAREWELL_FRESH)
        return;
    peer->farewells = KH_ROOM_FAREWELLS;
    peer->farewell_at = kh_time_add(room->now, peer->channel_open ? KH_ROOM_FAREWELL_CHANNEL : 0);
}

void kh_room_peer_transmit(struct kh_room *room, struct kh_room_peer *peer,
                           struct kh_room_transmit *out)
{
    assert(kh_room_peer_has_transmit(room, peer));
    out->to = peer->id;
    if (is_farewell_due(room, peer)) {
        transmit_farewell(room, peer, out);
        return;
    }
    if (peer->channel_open)
        transmit_channel(room, peer, out);
    else
        transmit_signal(room, peer, out);
    if (peer->sent > peer->acked && peer->retry_at == KH_NEVER)
        peer->retry_at = kh_time_add(room->now, peer->patience);
}

void kh_room_peer_set_channel(struct kh_room *room, struct kh_room_peer *peer, bool open)
{
    if (peer->channel_open == open)
        return;
    peer->channel_open = open;
    peer->blocked = false;
    peer->head_due = open && room->outlog.last > 0;
    /* The signals that acknowledged may be lost: say it again where nothing is. */
    peer->have_due = peer->have_due || (open && peer->inbox.have > 0);
    start_over(peer);
    forget_failures(peer);
}

static void take_back(struct kh_room_peer *peer, const struct kh_room_undo *undo)
{
    peer->sent = undo->sent;
    peer->head_due = undo->head_due;
    peer->have_due = undo->have_due;
}

void kh_room_peer_set_blocked(struct kh_room *room, struct kh_room_peer *peer, bool blocked)
{
    if (!peer->channel_open)
        return;
    peer->blocked = blocked;
    if (blocked && room->undo.peer == peer)
        take_back(peer, &room->undo);
    /* What waits in buffers on our side cannot be acknowledged yet. */
    peer->retry_at =
        !blocked && peer->sent > peer->acked ? kh_time_add(room->now, peer->patience) : KH_NEVER;
}

void kh_room_peer_acknowledge(struct kh_room *room, struct kh_room_peer *peer, uint64_t have)
{
    assert(have <= room->outlog.last);
    if (have <= peer->acked)
        return;
    peer->acked = have;
    if (peer->sent < have)
        peer->sent = have;
    if (room->settled < have)
        room->settled = have;
    forget_failures(peer);
    peer->retry_at = peer->sent > peer->acked && !peer->blocked
                         ? kh_time_add(room->now, peer->patience)
                         : KH_NEVER;
}

void kh_room_peer_handle_timeout(struct kh_room *room, struct kh_room_peer *peer)
{
    kh_duration longest = peer->channel_open ? KH_ROOM_STALL_MAX : KH_ROOM_RETRY_MAX;

    if (peer->retry_at > room->now)
        return;
    start_over(peer);
    peer->patience = peer->patience * 2 < longest ? peer->patience * 2 : longest;
}

kh_time kh_room_peer_timeout(const struct kh_room_peer *peer)
{
    kh_time at = peer->retry_at;

    if (peer->have_due && !peer->channel_open)
        at = kh_time_min(at, peer->have_at);
    if (peer->farewells > 0)
        at = kh_time_min(at, peer->farewell_at);
    return at;
}

size_t kh_room_early_signal(struct kh_room *room, uint8_t out[static KH_ROOM_SIGNAL_MAX])
{
    uint8_t frames[KH_ROOM_SIGNAL_FRAMES_MAX];
    struct kh_writer writer = kh_writer_to(frames, sizeof frames);
    struct kh_room_peer anyone = {.base = room->outlog.first - 1, .credit = 1};

    anyone.acked = anyone.base;
    anyone.sent = anyone.base;
    if (!may_send_entry(room, &anyone))
        return 0;
    write_frames(room, &anyone, &writer);
    room->early = anyone.sent;
    room->early_at = room->now;
    return seal(room, NULL, (struct kh_span){frames, writer.len}, out);
}
