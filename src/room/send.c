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

static void start_over(struct kh_room_peer *peer, enum kh_room_carrier via)
{
    struct kh_room_flight *flight = &peer->flights[via];

    flight->sent = peer->acked;
    flight->retry_at = KH_NEVER;
    if (via == KH_ROOM_SIGNAL)
        peer->credit = KH_ROOM_SIGNALS_MAX;
}

static void forget_failures(struct kh_room_peer *peer, enum kh_room_carrier via)
{
    peer->flights[via].patience = via == KH_ROOM_CHANNEL ? KH_ROOM_STALL_MIN : KH_ROOM_RETRY_MIN;
    if (via == KH_ROOM_SIGNAL)
        peer->credit = KH_ROOM_SIGNALS_MAX;
}

static void begin_flights(struct kh_room_peer *peer)
{
    for (int via = 0; via < KH_ROOM_CARRIERS; via++) {
        start_over(peer, (enum kh_room_carrier)via);
        forget_failures(peer, (enum kh_room_carrier)via);
    }
    peer->trust.is_doubted = false;
    peer->trust.doubt_at = KH_NEVER;
    peer->trust.timed = 0;
}

void kh_room_peer_start(struct kh_room *room, struct kh_room_peer *peer, uint64_t acked)
{
    uint64_t forgotten = room->outlog.first - 1;
    struct kh_room_flight *flight = &peer->flights[KH_ROOM_SIGNAL];

    assert(acked <= room->outlog.last);
    peer->base = acked > forgotten ? acked : forgotten;
    peer->reported = peer->base;
    peer->acked = peer->base;
    begin_flights(peer);
    if (room->early > peer->acked &&
        kh_time_since(room->now, room->early_at) < KH_ROOM_EARLY_FRESH) {
        flight->sent = room->early;
        flight->retry_at = kh_time_add(room->now, KH_ROOM_EARLY_PATIENCE);
    }
}

/* True if this carrier is for use now. */
static bool carries(const struct kh_room_peer *peer, enum kh_room_carrier via)
{
    if (via == KH_ROOM_CHANNEL)
        return peer->channel_open;
    return !peer->channel_open || peer->trust.is_doubted;
}

/* True if the next entry may go now.  One too large for a signal waits for a channel, and what was
 * said after it waits behind it. */
static bool may_send_entry(const struct kh_room *room, const struct kh_room_peer *peer,
                           enum kh_room_carrier via)
{
    uint64_t sent = peer->flights[via].sent;

    if (sent == room->outlog.last || !carries(peer, via))
        return false;
    if (via == KH_ROOM_CHANNEL)
        return !peer->blocked && sent - peer->acked < KH_ROOM_WINDOW_MAX;
    return peer->credit > 0 && kh_room_outlog_at(&room->outlog, sent + 1).len <= SIGNAL_ENTRY_MAX;
}

/* A newcomer has to be told where our log begins, or it waits for what was forgotten.  And who gets
 * an acknowledgement while entries are under way to it learns that there are more, and does not
 * take their loss for silence. */
static bool needs_head(const struct kh_room *room, const struct kh_room_peer *peer,
                       enum kh_room_carrier via)
{
    if (via == KH_ROOM_CHANNEL)
        return peer->head_due;
    return (peer->base > 0 && peer->acked == peer->base) ||
           (peer->have_due[via] && peer->acked < room->outlog.last &&
            !may_send_entry(room, peer, via));
}

static bool is_farewell_due(const struct kh_room *room, const struct kh_room_peer *peer)
{
    return peer->farewells > 0 && room->now >= peer->farewell_at;
}

static bool has_for_channel(const struct kh_room *room, const struct kh_room_peer *peer)
{
    return peer->channel_open && !peer->blocked &&
           (peer->head_due || peer->have_due[KH_ROOM_CHANNEL] ||
            may_send_entry(room, peer, KH_ROOM_CHANNEL));
}

static bool has_for_signal(const struct kh_room *room, const struct kh_room_peer *peer)
{
    return may_send_entry(room, peer, KH_ROOM_SIGNAL) ||
           (peer->have_due[KH_ROOM_SIGNAL] && room->now >= peer->have_at);
}

bool kh_room_peer_has_transmit(const struct kh_room *room, const struct kh_room_peer *peer)
{
    return is_farewell_due(room, peer) || has_for_channel(room, peer) || has_for_signal(room, peer);
}

/* Writes as many entries as fit and may go. */
static void write_entries(const struct kh_room *room, struct kh_room_peer *peer,
                          enum kh_room_carrier via, struct kh_writer *writer)
{
    struct kh_room_flight *flight = &peer->flights[via];
    size_t begin = 0;
    struct kh_span entry;
    bool is_open = false;

    while (may_send_entry(room, peer, via)) {
        entry = kh_room_outlog_at(&room->outlog, flight->sent + 1);
        if (writer->max - writer->len < entry.len + (is_open ? 0 : KH_ROOM_FRAME_ENTRIES_LEN))
            break;
        if (!is_open)
            begin = kh_room_frame_entries_begin(writer, &room->name, flight->sent + 1);
        is_open = true;
        kh_write_bytes(writer, entry.data, entry.len);
        flight->sent++;
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
                         enum kh_room_carrier via, struct kh_writer *writer)
{
    kh_write_u8(writer, KH_ROOM_FRAMES_VERSION);
    if (needs_head(room, peer, via))
        kh_room_frame_head_write(writer, &room->name, room->outlog.first, room->outlog.last);
    if (via == KH_ROOM_CHANNEL)
        peer->head_due = false;
    write_entries(room, peer, via, writer);
    if (peer->have_due[via] && writer->max - writer->len >= KH_ROOM_FRAME_HAVE_LEN) {
        write_have(peer, writer);
        peer->have_due[via] = false;
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
    const struct kh_room_flight *flight = &peer->flights[KH_ROOM_SIGNAL];
    uint8_t frames[KH_ROOM_SIGNAL_FRAMES_MAX];
    struct kh_writer writer = kh_writer_to(frames, sizeof frames);
    uint64_t sent_before = flight->sent;
    bool have_before = peer->have_due[KH_ROOM_SIGNAL];

    write_frames(room, peer, KH_ROOM_SIGNAL, &writer);
    if (flight->sent > sent_before)
        peer->credit--;
    if (have_before && !peer->have_due[KH_ROOM_SIGNAL])
        peer->have_at = kh_time_add(room->now, KH_ROOM_ACK_PAUSE);
    out->via = KH_ROOM_SIGNAL;
    out->data = room->out;
    out->len = seal(room, &peer->id, (struct kh_span){frames, writer.len}, room->out);
}

static kh_duration doubt_after(const struct kh_room_trust *trust)
{
    kh_duration wait = KH_ROOM_DOUBT_ROUND_TRIPS * trust->round_trip;

    if (trust->round_trip == 0 || wait > KH_ROOM_DOUBT_MAX)
        return KH_ROOM_DOUBT_MAX;
    return wait < KH_ROOM_DOUBT_MIN ? KH_ROOM_DOUBT_MIN : wait;
}

/* Entries left by the channel: an answer should come from there. */
static void expect_answer(const struct kh_room *room, struct kh_room_peer *peer)
{
    struct kh_room_trust *trust = &peer->trust;

    if (trust->doubt_at == KH_NEVER && !trust->is_doubted)
        trust->doubt_at = kh_time_add(room->now, doubt_after(trust));
    if (trust->timed != 0)
        return;
    trust->timed = peer->flights[KH_ROOM_CHANNEL].sent;
    trust->timed_at = room->now;
}

static void transmit_channel(struct kh_room *room, struct kh_room_peer *peer,
                             struct kh_room_transmit *out)
{
    const struct kh_room_flight *flight = &peer->flights[KH_ROOM_CHANNEL];
    struct kh_writer writer = kh_writer_to(room->out, sizeof room->out);

    room->undo = (struct kh_room_undo){.peer = peer,
                                       .head_due = peer->head_due,
                                       .have_due = peer->have_due[KH_ROOM_CHANNEL],
                                       .sent = flight->sent};
    write_frames(room, peer, KH_ROOM_CHANNEL, &writer);
    if (flight->sent > room->undo.sent)
        expect_answer(room, peer);
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
    struct kh_room_flight *flight;

    assert(kh_room_peer_has_transmit(room, peer));
    out->to = peer->id;
    if (is_farewell_due(room, peer)) {
        transmit_farewell(room, peer, out);
        return;
    }
    if (has_for_channel(room, peer))
        transmit_channel(room, peer, out);
    else
        transmit_signal(room, peer, out);
    flight = &peer->flights[out->via];
    if (flight->sent > peer->acked && flight->retry_at == KH_NEVER)
        flight->retry_at = kh_time_add(room->now, flight->patience);
}

void kh_room_peer_set_channel(struct kh_room *room, struct kh_room_peer *peer, bool open)
{
    enum kh_room_carrier via = open ? KH_ROOM_CHANNEL : KH_ROOM_SIGNAL;
    bool have_due = peer->have_due[KH_ROOM_SIGNAL] || peer->have_due[KH_ROOM_CHANNEL];

    if (peer->channel_open == open)
        return;
    peer->channel_open = open;
    peer->blocked = false;
    peer->head_due = open && room->outlog.last > 0;
    /* The signals that acknowledged may be lost: say it again where nothing is. */
    peer->have_due[KH_ROOM_SIGNAL] = peer->have_due[KH_ROOM_CHANNEL] = false;
    peer->have_due[via] = have_due || (open && peer->inbox.have > 0);
    begin_flights(peer);
    peer->trust.opened_at = room->now;
}

static void take_back(struct kh_room_peer *peer, const struct kh_room_undo *undo)
{
    peer->flights[KH_ROOM_CHANNEL].sent = undo->sent;
    peer->head_due = undo->head_due;
    peer->have_due[KH_ROOM_CHANNEL] = undo->have_due;
}

void kh_room_peer_set_blocked(struct kh_room *room, struct kh_room_peer *peer, bool blocked)
{
    struct kh_room_flight *flight = &peer->flights[KH_ROOM_CHANNEL];

    if (!peer->channel_open)
        return;
    peer->blocked = blocked;
    if (blocked && room->undo.peer == peer)
        take_back(peer, &room->undo);
    /* What waits in buffers on our side cannot be acknowledged yet. */
    flight->retry_at = !blocked && flight->sent > peer->acked
                           ? kh_time_add(room->now, flight->patience)
                           : KH_NEVER;
}

/* ---- trust in an open channel ---- */

static void measure(const struct kh_room *room, struct kh_room_peer *peer)
{
    struct kh_room_trust *trust = &peer->trust;
    kh_duration sample;

    if (trust->timed == 0 || peer->acked < trust->timed)
        return;
    sample = kh_time_since(room->now, trust->timed_at);
    trust->round_trip = trust->round_trip == 0 ? sample : (7 * trust->round_trip + sample) / 8;
    trust->timed = 0;
}

static void doubt(const struct kh_room *room, struct kh_room_peer *peer)
{
    assert(peer->channel_open);
    kh_log_line(&room->log, KH_LOG_INFO, "room doubts a channel: signals too");
    peer->trust.is_doubted = true;
    peer->trust.doubt_at = KH_NEVER;
    peer->trust.timed = 0;
    start_over(peer, KH_ROOM_SIGNAL);
    forget_failures(peer, KH_ROOM_SIGNAL);
}

void kh_room_peer_trust(const struct kh_room *room, struct kh_room_peer *peer)
{
    struct kh_room_trust *trust = &peer->trust;

    if (!peer->channel_open)
        return; /* a last word */
    trust->is_doubted = false;
    trust->doubt_at = peer->flights[KH_ROOM_CHANNEL].sent > peer->acked
                          ? kh_time_add(room->now, doubt_after(trust))
                          : KH_NEVER;
    peer->flights[KH_ROOM_SIGNAL].retry_at = KH_NEVER;
}

void kh_room_peer_take_hint(const struct kh_room *room, struct kh_room_peer *peer)
{
    if (!peer->channel_open || peer->trust.is_doubted)
        return;
    /* A signal that left before the channel opened may arrive a little after that. */
    if (kh_time_since(room->now, peer->trust.opened_at) >= KH_ROOM_DOUBT_MAX)
        doubt(room, peer);
}

void kh_room_peer_hurry(struct kh_room_peer *peer)
{
    if (!carries(peer, KH_ROOM_SIGNAL))
        return;
    start_over(peer, KH_ROOM_SIGNAL);
    forget_failures(peer, KH_ROOM_SIGNAL);
}

/* ---- acknowledgements and time ---- */

void kh_room_peer_acknowledge(struct kh_room *room, struct kh_room_peer *peer, uint64_t have,
                              enum kh_room_carrier via)
{
    assert(have <= room->outlog.last);
    if (have <= peer->acked)
        return;
    peer->acked = have;
    if (room->settled < have)
        room->settled = have;
    for (int i = 0; i < KH_ROOM_CARRIERS; i++) {
        struct kh_room_flight *flight = &peer->flights[i];
        bool waits = i == KH_ROOM_CHANNEL && peer->blocked;

        if (flight->sent < have)
            flight->sent = have;
        forget_failures(peer, (enum kh_room_carrier)i);
        flight->retry_at =
            flight->sent > have && !waits ? kh_time_add(room->now, flight->patience) : KH_NEVER;
    }
    if (via == KH_ROOM_CHANNEL)
        measure(room, peer);
    else if (peer->flights[KH_ROOM_CHANNEL].sent == have)
        peer->trust.doubt_at = KH_NEVER;
}

void kh_room_peer_handle_timeout(struct kh_room *room, struct kh_room_peer *peer)
{
    static const kh_duration longest[KH_ROOM_CARRIERS] = {
        [KH_ROOM_SIGNAL] = KH_ROOM_RETRY_MAX, [KH_ROOM_CHANNEL] = KH_ROOM_STALL_MAX};

    if (peer->trust.doubt_at <= room->now)
        doubt(room, peer);
    for (int via = 0; via < KH_ROOM_CARRIERS; via++) {
        struct kh_room_flight *flight = &peer->flights[via];

        if (flight->retry_at > room->now)
            continue;
        start_over(peer, (enum kh_room_carrier)via);
        flight->patience = kh_time_min(flight->patience * 2, longest[via]);
    }
}

kh_time kh_room_peer_timeout(const struct kh_room_peer *peer)
{
    kh_time at = kh_time_min(peer->flights[KH_ROOM_SIGNAL].retry_at,
                             peer->flights[KH_ROOM_CHANNEL].retry_at);

    at = kh_time_min(at, peer->trust.doubt_at);
    if (peer->have_due[KH_ROOM_SIGNAL])
        at = kh_time_min(at, peer->have_at);
    if (peer->farewells > 0)
        at = kh_time_min(at, peer->farewell_at);
    return at;
}

size_t kh_room_seal_punch(struct kh_room *room, const struct kh_room_member_id *to,
                          struct kh_span body, uint8_t out[static KH_ROOM_SIGNAL_MAX])
{
    uint8_t frames[1 + KH_ROOM_FRAME_HEADER_LEN + KH_ROOM_PUNCH_MAX];
    struct kh_writer writer = kh_writer_to(frames, sizeof frames);

    kh_write_u8(&writer, KH_ROOM_FRAMES_VERSION);
    kh_room_frame_punch_write(&writer, body);
    assert(!writer.failed && body.len > 0);
    return seal(room, to, (struct kh_span){frames, writer.len}, out);
}

size_t kh_room_early_signal(struct kh_room *room, uint8_t out[static KH_ROOM_SIGNAL_MAX])
{
    uint8_t frames[KH_ROOM_SIGNAL_FRAMES_MAX];
    struct kh_writer writer = kh_writer_to(frames, sizeof frames);
    struct kh_room_peer anyone = {.base = room->outlog.first - 1, .credit = 1};
    struct kh_room_flight *flight = &anyone.flights[KH_ROOM_SIGNAL];

    anyone.acked = anyone.base;
    flight->sent = anyone.base;
    if (!may_send_entry(room, &anyone, KH_ROOM_SIGNAL))
        return 0;
    write_frames(room, &anyone, KH_ROOM_SIGNAL, &writer);
    room->early = flight->sent;
    room->early_at = room->now;
    return seal(room, NULL, (struct kh_span){frames, writer.len}, out);
}
