/* room/receive.c - takes in the frames of one member.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/machine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void drop_malformed(struct kh_room *room, const char *what)
{
    room->stats.dropped_malformed++;
    kh_log_line(&room->log, KH_LOG_DEBUG, "room dropped malformed %s", what);
}

static void drop_unauthentic(struct kh_room *room, const char *what)
{
    room->stats.dropped_unauthentic++;
    kh_log_line(&room->log, KH_LOG_DEBUG, "room dropped unauthentic %s", what);
}

/* True if this names the log that the member itself writes in this stay.  Logs of others will
 * travel in the same frames once they are stored; until then nobody hands them on. */
static bool is_own_log(const struct kh_room_peer *peer, const struct kh_room_log_name *name)
{
    return memcmp(name->author, peer->identity, sizeof name->author) == 0 &&
           memcmp(name->log.bytes, peer->id.bytes, sizeof name->log.bytes) == 0;
}

/* Hands on what is in turn now.  An entry of a kind not known here, or a text that may not be
 * shown, counts as had: waiting for a better one would stop this author for ever. */
static void release(struct kh_room *room, struct kh_room_peer *peer)
{
    struct kh_room_heard *heard;

    while ((heard = kh_room_inbox_take(&peer->inbox)) != NULL) {
        bool is_text = heard->kind == KH_ROOM_ENTRY_TEXT;

        if (is_text && heard->len > 0 && heard->len <= KH_ROOM_TEXT_MAX &&
            kh_text_is_showable((const char *)heard->body, heard->len, true)) {
            *room->heard_end = heard;
            room->heard_end = &heard->next;
            continue;
        }
        if (is_text)
            drop_malformed(room, "text");
        free(heard);
    }
}

static void receive_head(struct kh_room *room, struct kh_room_peer *peer, struct kh_reader *body)
{
    struct kh_room_log_name name;
    uint64_t first;
    uint64_t last;

    kh_room_log_name_read(body, &name);
    first = kh_read_u64(body);
    last = kh_read_u64(body);
    if (body->failed || first == 0 || last > KH_ROOM_SEQUENCE_MAX || first > last + 1) {
        drop_malformed(room, "head");
    } else if (is_own_log(peer, &name)) {
        if (peer->promised < last)
            peer->promised = last;
        kh_room_inbox_skip_to(&peer->inbox, first);
        release(room, peer);
    }
}

static void receive_have(struct kh_room *room, struct kh_room_peer *peer, struct kh_reader *body,
                         enum kh_room_carrier via)
{
    struct kh_room_log_name name;
    uint64_t have;

    while (body->left > 0) {
        kh_room_log_name_read(body, &name);
        have = kh_read_u64(body);
        if (body->failed) {
            drop_malformed(room, "have");
            return;
        }
        if (!kh_room_log_name_equal(&name, &room->name))
            continue;
        if (have <= room->outlog.last)
            kh_room_peer_acknowledge(room, peer, have, via);
        else
            drop_malformed(room, "have");
    }
}

/* Copies a verified entry; NULL if there is no memory: then it is not acknowledged, and comes
 * again. */
static struct kh_room_heard *copy_entry(const struct kh_room_peer *peer,
                                        const struct kh_room_entry *entry, enum kh_room_carrier via)
{
    struct kh_room_heard *heard = malloc(sizeof *heard + entry->len);

    if (heard == NULL)
        return NULL;
    *heard = (struct kh_room_heard){.from = peer->id,
                                    .via = via,
                                    .sequence = entry->sequence,
                                    .time_ms = entry->time_ms,
                                    .kind = entry->kind,
                                    .len = entry->len};
    memcpy(heard->name.author, peer->identity, sizeof heard->name.author);
    heard->name.log = peer->id;
    if (entry->len > 0)
        memcpy(heard->body, entry->body, entry->len);
    return heard;
}

static void receive_entry(struct kh_room *room, struct kh_room_peer *peer,
                          const struct kh_room_log_name *name, const struct kh_room_entry *entry,
                          enum kh_room_carrier via)
{
    struct kh_room_heard *heard;

    if (kh_room_inbox_has(&peer->inbox, entry->sequence)) {
        room->stats.duplicates++;
        return;
    }
    if (!kh_room_inbox_wants(&peer->inbox, entry->sequence, entry->len)) {
        room->stats.dropped_outbox_full++;
        return;
    }
    if (!kh_room_entry_verify(entry, name, &room->keys)) {
        drop_unauthentic(room, "entry");
        return;
    }
    heard = copy_entry(peer, entry, via);
    if (heard == NULL) {
        room->stats.dropped_outbox_full++;
        return;
    }
    kh_room_inbox_put(&peer->inbox, heard);
    release(room, peer);
    if (via == KH_ROOM_SIGNAL)
        kh_room_peer_take_hint(room, peer);
}

static void receive_entries(struct kh_room *room, struct kh_room_peer *peer, struct kh_reader *body,
                            enum kh_room_carrier via)
{
    struct kh_room_log_name name;
    struct kh_room_entry entry;
    uint64_t sequence;

    kh_room_log_name_read(body, &name);
    sequence = kh_read_u64(body);
    if (body->failed || sequence == 0) {
        drop_malformed(room, "entries");
        return;
    }
    if (!is_own_log(peer, &name)) {
        drop_unauthentic(room, "entries");
        return;
    }
    peer->heard_at = room->now;
    /* Also for duplicates: the last acknowledgement was lost. */
    peer->have_due[peer->channel_open ? via : KH_ROOM_SIGNAL] = true;
    for (; body->left > 0; sequence++) {
        kh_room_entry_read(body, &entry);
        entry.sequence = sequence;
        if (body->failed || sequence > KH_ROOM_SEQUENCE_MAX) {
            drop_malformed(room, "entry");
            return;
        }
        receive_entry(room, peer, &name, &entry, via);
    }
}

static void receive_punch(struct kh_room *room, struct kh_room_peer *peer, struct kh_reader *body)
{
    size_t len = body->left;

    if (len == 0 || len > sizeof peer->punch) {
        drop_malformed(room, "punch");
        return;
    }
    kh_read_copy(body, peer->punch, len);
    peer->punch_len = len;
}

void kh_room_receive(struct kh_room *room, struct kh_room_peer *peer, struct kh_span frames,
                     enum kh_room_carrier via)
{
    struct kh_reader reader = kh_reader_of(frames.data, frames.len);
    struct kh_room_frame frame;

    if (kh_read_u8(&reader) != KH_ROOM_FRAMES_VERSION) {
        drop_malformed(room, "version");
        return;
    }
    while (kh_room_frame_read(&reader, &frame)) {
        if (frame.type == KH_ROOM_FRAME_HEAD)
            receive_head(room, peer, &frame.body);
        else if (frame.type == KH_ROOM_FRAME_HAVE)
            receive_have(room, peer, &frame.body, via);
        else if (frame.type == KH_ROOM_FRAME_ENTRIES)
            receive_entries(room, peer, &frame.body, via);
        else if (frame.type == KH_ROOM_FRAME_PUNCH)
            receive_punch(room, peer, &frame.body);
    }
    if (reader.failed)
        drop_malformed(room, "frame");
    if (via == KH_ROOM_CHANNEL)
        kh_room_peer_trust(room, peer);
}

void kh_room_receive_signal(struct kh_room *room, struct kh_room_peer *peer, struct kh_span plain)
{
    struct kh_room_signal_check check = {
        .keys = &room->keys, .from = &peer->id, .me = &room->name.log, .identity = peer->identity};
    struct kh_span frames;

    if (kh_room_signal_verify(&check, plain, &frames))
        kh_room_receive(room, peer, frames, KH_ROOM_SIGNAL);
    else
        drop_unauthentic(room, "signal");
}
