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
/* A wire that loses a third loses half of all round trips: eight quick attempts fail once in 250.
 * After that the member is rather gone than unlucky, and expires if it stays silent. */
#define RETRY_QUICK 8
#define RETRY_QUICK_DOUBLINGS 2 /* 600 ms */
#define RETRY_DOUBLINGS 4       /* 2.4 s */
#define FLIGHT_MAX 16        /* datagrams under way: a burst of 19 kB that small buffers survive */
#define FLIGHT_RETRY 4       /* as much to one that was silent before */
#define TRAILER_LEN (36 + 8) /* MESSAGE-INTEGRITY-SHA256 and FINGERPRINT */

/* Must this member hear of that entry at all? */
static bool concerns(const struct kh_rendezvous_member *member,
                     const struct kh_rendezvous_entry *entry)
{
    if (entry->member != NULL)
        return entry->member != member;
    return entry->version > member->joined;
}

/* The earliest change after that version which this member must hear of. */
static struct kh_rendezvous_entry *first_after(const struct kh_rendezvous_member *member,
                                               uint64_t version)
{
    struct kh_rendezvous_entry *entry = member->room->last;
    struct kh_rendezvous_entry *found = NULL;

    for (; entry != NULL && entry->version > version; entry = entry->previous) {
        if (concerns(member, entry))
            found = entry;
    }
    return found;
}

static struct kh_rendezvous_entry *first_untold(const struct kh_rendezvous_member *member)
{
    return first_after(member, member->push.sent);
}

static void mark(struct kh_rendezvous_registry *registry, struct kh_rendezvous_member *member)
{
    if (member->laggard)
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

static void progressed(struct kh_rendezvous_push *push, kh_time now)
{
    push->attempts = 0;
    push->flight -= push->flight > 0 ? 1 : 0;
    if (push->acked < push->sent) {
        push->retry_at = kh_time_add(now, RETRY_FIRST);
        return;
    }
    push->sent = push->acked;
    push->flight = 0;
    push->retry_at = KH_NEVER;
}

/* A hole that shows in two acknowledgements, or that opens behind one just filled, is a loss and
 * no mere overtaking. */
static void repair(struct kh_rendezvous_push *push, uint64_t hole_end)
{
    if (push->repaired == push->acked)
        return;
    push->repaired = push->acked;
    push->repair_to = hole_end;
}

void kh_rendezvous_push_acknowledged(struct kh_rendezvous_registry *registry,
                                     struct kh_rendezvous_member *member,
                                     const struct kh_rendezvous_knowledge *knowledge)
{
    struct kh_rendezvous_push *push = &member->push;
    bool was_hole = push->hole_end > 0;

    if (knowledge->version > member->room->version || knowledge->hole_end > member->room->version)
        return;
    if (knowledge->sequence > 0) {
        push->sequence = knowledge->sequence;
        push->hole_end = knowledge->hole_end > knowledge->version ? knowledge->hole_end : 0;
    }
    if (knowledge->version > push->acked) {
        push->acked = knowledge->version;
        progressed(push, registry->now);
    }
    if (was_hole && push->hole_end > push->acked)
        repair(push, push->hole_end);
    kh_rendezvous_table_reschedule(&registry->table, member);
    if (push->repair_to > push->acked || first_untold(member) != NULL)
        mark(registry, member);
}

void kh_rendezvous_push_retry(struct kh_rendezvous_registry *registry,
                              struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_push *push = &member->push;

    push->attempts++;
    push->sent = push->acked;
    push->flight = 0;
    push->retry_at = KH_NEVER;
    kh_rendezvous_table_reschedule(&registry->table, member);
    mark(registry, member);
}

static struct kh_rendezvous_change change_of(const struct kh_rendezvous_entry *entry)
{
    struct kh_rendezvous_change change = {.version = entry->version, .id = entry->id};

    if (entry->member == NULL)
        return change;
    change.present = true;
    /* Nobody can send to TCP but we, along its connection. */
    if (entry->member->public.transport == KH_UDP && !entry->member->hidden)
        change.public = entry->member->public;
    change.card = (struct kh_span){entry->member->card, entry->member->card_len};
    return change;
}

/* Adds the changes after `base` and not after `limit`, as many as fit; returns the version up to
 * which the member then knows all. */
static uint64_t add_changes(struct kh_stun_writer *writer,
                            const struct kh_rendezvous_member *member, uint64_t base,
                            uint64_t limit)
{
    struct kh_rendezvous_entry *entry = first_after(member, base);
    uint64_t told = base;

    for (; entry != NULL && entry->version <= limit; entry = entry->next) {
        struct kh_rendezvous_change change = change_of(entry);

        if (concerns(member, entry) &&
            !kh_rendezvous_change_add(writer, KH_DATAGRAM_MAX - TRAILER_LEN, &change))
            return told;
        told = entry->version;
    }
    /* What changed again since then stands later in the list. */
    return entry == NULL ? member->room->version : limit;
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

static void note_sent(struct kh_rendezvous_registry *registry, struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_push *push = &member->push;
    unsigned max = push->attempts < RETRY_QUICK ? RETRY_QUICK_DOUBLINGS : RETRY_DOUBLINGS;
    unsigned doublings = push->attempts < max ? push->attempts : max;

    registry->stats.pushes_sent++;
    if (push->retry_at != KH_NEVER)
        return;
    push->retry_at = kh_time_add(registry->now, RETRY_FIRST << doublings);
    kh_rendezvous_table_reschedule(&registry->table, member);
}

/* Writes the push that tells all after `base` and not after `limit`; moves *told to where it ends.
 */
static size_t write_push(struct kh_rendezvous_registry *registry,
                         struct kh_rendezvous_member *member, uint64_t limit, uint64_t *told,
                         uint8_t data[static KH_DATAGRAM_MAX])
{
    struct kh_stun_writer writer = begin(registry, member, data, true);
    uint64_t base = *told;
    size_t version_at;
    size_t len;

    kh_stun_add_u64(&writer, KH_STUN_BASE_VERSION, base);
    version_at = writer.bytes.len + KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD;
    kh_stun_add_u64(&writer, KH_STUN_ROOM_VERSION, 0);
    *told = add_changes(&writer, member, base, limit);
    assert(*told > base);
    for (size_t i = 0; i < sizeof *told; i++)
        data[version_at + i] = (uint8_t)(*told >> (56 - 8 * i));
    len = kh_rendezvous_finish(&writer, &member->keys.to_client);
    assert(len > 0);
    note_sent(registry, member);
    return len;
}

size_t kh_rendezvous_push_make(struct kh_rendezvous_registry *registry,
                               struct kh_rendezvous_member *member,
                               uint8_t data[static KH_DATAGRAM_MAX])
{
    struct kh_rendezvous_push *push = &member->push;
    unsigned flight_max = push->attempts == 0 ? FLIGHT_MAX : FLIGHT_RETRY;
    uint64_t told = push->acked;
    uint64_t limit = push->repair_to;

    push->repair_to = 0;
    if (limit > push->acked)
        return write_push(registry, member, limit, &told, data);
    if (first_untold(member) == NULL || push->flight >= flight_max)
        return 0;
    push->flight++;
    return write_push(registry, member, UINT64_MAX, &push->sent, data);
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
