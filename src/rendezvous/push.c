/* rendezvous/push.c - tells each member what changed in its room, until it says it knows.
 *
 * SPDX-License-Identifier: MIT
 *
 * A push is the difference between two versions of the room.  While one is under way, the next
 * starts where it ended; what is not acknowledged in time starts over from what was.
 */
#include "rendezvous/registry_state.h"

#include <assert.h>
#include <string.h>

#define RETRY_FIRST KH_MILLISECONDS(150)
#define RETRIES_MAX 4        /* 150 ms .. 2.4 s; after that the member's next update repairs it */
#define FLIGHT_MAX 16        /* datagrams under way: a burst of 19 kB that small buffers survive */
#define REPEATS_MAX 2        /* acknowledgements without progress that mean loss, not reordering */
#define TRAILER_LEN (36 + 8) /* MESSAGE-INTEGRITY-SHA256 and FINGERPRINT */

/* Must this member hear of that entry at all? */
static bool concerns(const struct kh_rendezvous_member *member,
                     const struct kh_rendezvous_entry *entry)
{
    if (entry->member != NULL)
        return entry->member != member;
    return entry->version > member->joined;
}

/* The first entry to tell: the earliest change after what was sent. */
static struct kh_rendezvous_entry *first_untold(const struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_entry *entry = member->room->last;
    struct kh_rendezvous_entry *found = NULL;

    for (; entry != NULL && entry->version > member->push.sent; entry = entry->previous) {
        if (concerns(member, entry))
            found = entry;
    }
    return found;
}

static void mark(struct kh_rendezvous_registry *registry, struct kh_rendezvous_member *member)
{
    if (member->laggard || member->push.stalled)
        return;
    kh_rendezvous_table_mark(&registry->table, member);
}

void kh_rendezvous_push_room(struct kh_rendezvous_registry *registry,
                             struct kh_rendezvous_room *room)
{
    for (struct kh_rendezvous_entry *entry = room->first; entry != NULL; entry = entry->next) {
        if (entry->member != NULL)
            mark(registry, entry->member);
    }
}

/* All that was sent since the last acknowledgement counts as lost. */
static void start_over(struct kh_rendezvous_push *push)
{
    push->sent = push->acked;
    push->flight = 0;
    push->retry_at = KH_NEVER;
}

static void progressed(struct kh_rendezvous_push *push, kh_time now)
{
    push->attempts = 0;
    push->repeats = 0;
    push->flight -= push->flight > 0 ? 1 : 0;
    if (push->acked < push->sent) {
        push->retry_at = kh_time_add(now, RETRY_FIRST);
        return;
    }
    push->sent = push->acked;
    push->flight = 0;
    push->retry_at = KH_NEVER;
}

static void repeated(struct kh_rendezvous_push *push)
{
    push->repeats++;
    if (push->repeats < REPEATS_MAX || push->acked == push->sent || push->resent == push->acked)
        return;
    push->resent = push->acked;
    start_over(push);
}

void kh_rendezvous_push_acknowledged(struct kh_rendezvous_registry *registry,
                                     struct kh_rendezvous_member *member, uint64_t version,
                                     uint64_t sequence)
{
    struct kh_rendezvous_push *push = &member->push;

    if (version > member->room->version || member->laggard)
        return;
    push->sequence = sequence > 0 ? sequence : push->sequence;
    if (version > push->acked) {
        push->acked = version;
        progressed(push, registry->now);
    } else if (sequence > 0) {
        repeated(push);
    }
    if (push->stalled)
        start_over(push);
    push->stalled = false;
    kh_rendezvous_table_reschedule(&registry->table, member);
    if (first_untold(member) != NULL)
        mark(registry, member);
}

void kh_rendezvous_push_retry(struct kh_rendezvous_registry *registry,
                              struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_push *push = &member->push;

    push->attempts++;
    start_over(push);
    if (push->attempts <= RETRIES_MAX) {
        mark(registry, member);
    } else {
        push->stalled = true;
        push->attempts = 0;
        kh_rendezvous_table_unmark(&registry->table, member);
    }
    kh_rendezvous_table_reschedule(&registry->table, member);
}

static struct kh_rendezvous_change change_of(const struct kh_rendezvous_entry *entry)
{
    struct kh_rendezvous_change change = {.version = entry->version, .id = entry->id};

    if (entry->member == NULL)
        return change;
    change.present = true;
    change.public = entry->member->public;
    change.card = (struct kh_span){entry->member->card, entry->member->card_len};
    return change;
}

/* Adds as many entries as fit; returns the version up to which the member then knows all. */
static uint64_t add_changes(struct kh_stun_writer *writer,
                            const struct kh_rendezvous_member *member,
                            struct kh_rendezvous_entry *entry)
{
    uint64_t told = member->push.sent;

    for (; entry != NULL; entry = entry->next) {
        struct kh_rendezvous_change change = change_of(entry);

        if (concerns(member, entry) &&
            !kh_rendezvous_change_add(writer, KH_DATAGRAM_MAX - TRAILER_LEN, &change))
            return told;
        told = entry->version;
    }
    return told;
}

static struct kh_stun_writer begin(struct kh_rendezvous_registry *registry,
                                   struct kh_rendezvous_member *member, uint8_t *data, bool is_push)
{
    uint8_t id[KH_STUN_ID_LEN];
    struct kh_stun_writer writer;

    kh_rng_bytes(&registry->rng, id, sizeof id);
    writer = kh_stun_begin(data, KH_DATAGRAM_MAX, is_push ? KH_STUN_REQUEST : KH_STUN_INDICATION,
                           is_push ? KH_STUN_PUSH : KH_STUN_SIGNAL, id);
    kh_stun_add_u64(&writer, KH_STUN_SEQUENCE, ++member->send_sequence);
    return writer;
}

static void note_sent(struct kh_rendezvous_registry *registry, struct kh_rendezvous_member *member,
                      uint64_t told)
{
    struct kh_rendezvous_push *push = &member->push;

    push->sent = told;
    push->flight++;
    registry->stats.pushes_sent++;
    if (push->retry_at != KH_NEVER)
        return;
    push->retry_at = kh_time_add(registry->now, RETRY_FIRST << push->attempts);
    kh_rendezvous_table_reschedule(&registry->table, member);
}

size_t kh_rendezvous_push_make(struct kh_rendezvous_registry *registry,
                               struct kh_rendezvous_member *member,
                               uint8_t data[static KH_DATAGRAM_MAX])
{
    struct kh_rendezvous_entry *entry = first_untold(member);
    struct kh_stun_writer writer;
    uint64_t told;
    size_t len;
    size_t version_at;

    if (entry == NULL || member->push.flight >= FLIGHT_MAX || member->push.stalled)
        return 0;
    writer = begin(registry, member, data, true);
    kh_stun_add_u64(&writer, KH_STUN_BASE_VERSION, member->push.sent);
    version_at = writer.bytes.len + KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD;
    kh_stun_add_u64(&writer, KH_STUN_ROOM_VERSION, 0);
    told = add_changes(&writer, member, entry);
    assert(told > member->push.sent);
    for (size_t i = 0; i < 8; i++)
        data[version_at + i] = (uint8_t)(told >> (56 - 8 * i));
    len = kh_rendezvous_finish(&writer, &member->keys.to_client);
    assert(len > 0);
    note_sent(registry, member, told);
    return len;
}

void kh_rendezvous_fanout_start(struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_member *from,
                                const struct kh_rendezvous_member_id *target, struct kh_span sealed)
{
    struct kh_rendezvous_fanout *fanout = &registry->fanout;

    assert(fanout->next == NULL && sealed.len <= sizeof fanout->sealed);
    fanout->next = from->room->first;
    fanout->from = from->entry->id;
    fanout->has_target = target != NULL;
    if (target != NULL)
        fanout->target = *target;
    memcpy(fanout->sealed, sealed.data, sealed.len);
    fanout->len = sealed.len;
}

static bool wants_signal(const struct kh_rendezvous_fanout *fanout,
                         const struct kh_rendezvous_entry *entry)
{
    if (entry->member == NULL || entry->member->laggard)
        return false;
    if (fanout->has_target)
        return kh_rendezvous_member_equal(&entry->id, &fanout->target);
    return !kh_rendezvous_member_equal(&entry->id, &fanout->from);
}

size_t kh_rendezvous_fanout_make(struct kh_rendezvous_registry *registry,
                                 uint8_t data[static KH_DATAGRAM_MAX],
                                 struct kh_rendezvous_member **to)
{
    struct kh_rendezvous_fanout *fanout = &registry->fanout;
    struct kh_stun_writer writer;
    size_t len;

    while (fanout->next != NULL && !wants_signal(fanout, fanout->next))
        fanout->next = fanout->next->next;
    if (fanout->next == NULL)
        return 0;
    *to = fanout->next->member;
    fanout->next = fanout->next->next;
    writer = begin(registry, *to, data, false);
    kh_stun_add(&writer, KH_STUN_MEMBER, fanout->from.bytes, sizeof fanout->from.bytes);
    kh_stun_add(&writer, KH_STUN_SEALED, fanout->sealed, fanout->len);
    len = kh_rendezvous_finish(&writer, &(*to)->keys.to_client);
    assert(len > 0);
    registry->stats.signals_forwarded++;
    return len;
}
