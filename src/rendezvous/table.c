/* rendezvous/table.c - who is in which room.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HEAP_FIRST 64 /* doubled as members come */

enum kh_status kh_rendezvous_table_init(struct kh_rendezvous_table *table, size_t members_max,
                                        const uint8_t hash_key[static 16])
{
    size_t buckets = 16;

    assert(members_max > 0);
    while (buckets < members_max)
        buckets *= 2;
    *table = (struct kh_rendezvous_table){.buckets = buckets, .members_max = members_max};
    memcpy(table->hash_key, hash_key, sizeof table->hash_key);
    table->members = calloc(buckets, sizeof *table->members);
    table->rooms = calloc(buckets, sizeof *table->rooms);
    table->heap = calloc(HEAP_FIRST, sizeof *table->heap);
    table->heap_size = HEAP_FIRST;
    if (table->members != NULL && table->rooms != NULL && table->heap != NULL)
        return KH_OK;
    kh_rendezvous_table_fini(table);
    return KH_ERR_MEMORY;
}

static void free_member(struct kh_rendezvous_member *member)
{
    free(member->card);
    kh_wipe(member, sizeof *member);
    free(member);
}

static void free_room(struct kh_rendezvous_room *room)
{
    while (room->first != NULL) {
        struct kh_rendezvous_entry *entry = room->first;

        room->first = entry->next;
        if (entry->member != NULL)
            free_member(entry->member);
        free(entry);
    }
    free(room);
}

void kh_rendezvous_table_fini(struct kh_rendezvous_table *table)
{
    for (size_t i = 0; table->rooms != NULL && i < table->buckets; i++) {
        while (table->rooms[i] != NULL) {
            struct kh_rendezvous_room *room = table->rooms[i];

            table->rooms[i] = room->chain;
            free_room(room);
        }
    }
    free(table->members);
    free(table->rooms);
    free(table->heap);
    kh_wipe(table, sizeof *table);
}

static struct kh_rendezvous_member **member_bucket(const struct kh_rendezvous_table *table,
                                                   const struct kh_rendezvous_member_id *id)
{
    uint64_t hash = kh_siphash(table->hash_key, id->bytes, sizeof id->bytes);

    return &table->members[hash & (table->buckets - 1)];
}

static struct kh_rendezvous_room **room_bucket(const struct kh_rendezvous_table *table,
                                               const uint8_t *name)
{
    uint64_t hash = kh_siphash(table->hash_key, name, KH_RENDEZVOUS_ROOM_LEN);

    return &table->rooms[hash & (table->buckets - 1)];
}

struct kh_rendezvous_member *kh_rendezvous_table_find(const struct kh_rendezvous_table *table,
                                                      const struct kh_rendezvous_member_id *id)
{
    struct kh_rendezvous_member *member = *member_bucket(table, id);

    while (member != NULL && !kh_rendezvous_member_equal(&member->entry->id, id))
        member = member->chain;
    return member;
}

struct kh_rendezvous_room *
kh_rendezvous_table_find_room(const struct kh_rendezvous_table *table,
                              const uint8_t name[static KH_RENDEZVOUS_ROOM_LEN])
{
    struct kh_rendezvous_room *room = *room_bucket(table, name);

    while (room != NULL && memcmp(room->name, name, sizeof room->name) != 0)
        room = room->chain;
    return room;
}

/* ---- the heap of deadlines ---- */

kh_time kh_rendezvous_member_deadline(const struct kh_rendezvous_member *member)
{
    return kh_time_min(member->expires_at, member->push.retry_at);
}

static void heap_put(struct kh_rendezvous_table *table, size_t at,
                     struct kh_rendezvous_member *member)
{
    table->heap[at] = member;
    member->heap_at = at;
}

static void heap_up(struct kh_rendezvous_table *table, struct kh_rendezvous_member *member)
{
    kh_time deadline = kh_rendezvous_member_deadline(member);
    size_t at = member->heap_at;

    while (at > 0) {
        struct kh_rendezvous_member *parent = table->heap[(at - 1) / 2];

        if (kh_rendezvous_member_deadline(parent) <= deadline)
            break;
        heap_put(table, at, parent);
        at = (at - 1) / 2;
    }
    heap_put(table, at, member);
}

static void heap_down(struct kh_rendezvous_table *table, struct kh_rendezvous_member *member)
{
    kh_time deadline = kh_rendezvous_member_deadline(member);
    size_t at = member->heap_at;

    for (size_t child = 2 * at + 1; child < table->member_count; child = 2 * at + 1) {
        if (child + 1 < table->member_count &&
            kh_rendezvous_member_deadline(table->heap[child + 1]) <
                kh_rendezvous_member_deadline(table->heap[child]))
            child++;
        if (deadline <= kh_rendezvous_member_deadline(table->heap[child]))
            break;
        heap_put(table, at, table->heap[child]);
        at = child;
    }
    heap_put(table, at, member);
}

void kh_rendezvous_table_reschedule(struct kh_rendezvous_table *table,
                                    struct kh_rendezvous_member *member)
{
    assert(table->heap[member->heap_at] == member);
    heap_up(table, member);
    heap_down(table, member);
}

struct kh_rendezvous_member *kh_rendezvous_table_first(const struct kh_rendezvous_table *table)
{
    return table->member_count == 0 ? NULL : table->heap[0];
}

static bool heap_has_room(struct kh_rendezvous_table *table)
{
    struct kh_rendezvous_member **larger;

    if (table->member_count < table->heap_size)
        return true;
    larger = realloc(table->heap, 2 * table->heap_size * sizeof(struct kh_rendezvous_member *));
    if (larger == NULL)
        return false;
    table->heap = larger;
    table->heap_size *= 2;
    return true;
}

static void heap_remove(struct kh_rendezvous_table *table, struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_member *last = table->heap[table->member_count - 1];

    table->member_count--;
    if (last == member)
        return;
    heap_put(table, member->heap_at, last);
    kh_rendezvous_table_reschedule(table, last);
}

/* ---- the queue of members to be told something ---- */

void kh_rendezvous_table_mark(struct kh_rendezvous_table *table,
                              struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_push *push = &member->push;

    if (push->dirty)
        return;
    push->dirty = true;
    push->dirty_next = NULL;
    push->dirty_previous = table->dirty_last;
    if (table->dirty_last != NULL)
        table->dirty_last->push.dirty_next = member;
    else
        table->dirty_first = member;
    table->dirty_last = member;
}

void kh_rendezvous_table_unmark(struct kh_rendezvous_table *table,
                                struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_push *push = &member->push;

    if (!push->dirty)
        return;
    push->dirty = false;
    if (push->dirty_previous != NULL)
        push->dirty_previous->push.dirty_next = push->dirty_next;
    else
        table->dirty_first = push->dirty_next;
    if (push->dirty_next != NULL)
        push->dirty_next->push.dirty_previous = push->dirty_previous;
    else
        table->dirty_last = push->dirty_previous;
}

/* ---- rooms and their entries ---- */

static void entry_unlink(struct kh_rendezvous_room *room, struct kh_rendezvous_entry *entry)
{
    if (entry->previous != NULL)
        entry->previous->next = entry->next;
    else
        room->first = entry->next;
    if (entry->next != NULL)
        entry->next->previous = entry->previous;
    else
        room->last = entry->previous;
}

static void entry_append(struct kh_rendezvous_room *room, struct kh_rendezvous_entry *entry)
{
    entry->version = ++room->version;
    entry->next = NULL;
    entry->previous = room->last;
    if (room->last != NULL)
        room->last->next = entry;
    else
        room->first = entry;
    room->last = entry;
}

void kh_rendezvous_table_touch(struct kh_rendezvous_member *member)
{
    entry_unlink(member->room, member->entry);
    entry_append(member->room, member->entry);
}

static struct kh_rendezvous_room *room_of(struct kh_rendezvous_table *table, const uint8_t *name)
{
    struct kh_rendezvous_room *room = kh_rendezvous_table_find_room(table, name);
    struct kh_rendezvous_room **bucket = room_bucket(table, name);

    if (room != NULL)
        return room;
    room = calloc(1, sizeof *room);
    if (room == NULL)
        return NULL;
    memcpy(room->name, name, sizeof room->name);
    room->chain = *bucket;
    *bucket = room;
    table->room_count++;
    return room;
}

static void remove_room_if_empty(struct kh_rendezvous_table *table, struct kh_rendezvous_room *room)
{
    struct kh_rendezvous_room **link = room_bucket(table, room->name);

    if (room->present > 0)
        return;
    while (*link != room)
        link = &(*link)->chain;
    *link = room->chain;
    table->room_count--;
    free_room(room);
}

/* Up to which version of its room does this member need to hear nothing any more? */
static uint64_t heard(const struct kh_rendezvous_member *member)
{
    return member->push.acked > member->joined ? member->push.acked : member->joined;
}

static void evict_laggards(struct kh_rendezvous_table *table, struct kh_rendezvous_room *room,
                           uint64_t forgotten)
{
    for (struct kh_rendezvous_entry *entry = room->first; entry != NULL; entry = entry->next) {
        struct kh_rendezvous_member *member = entry->member;

        if (member == NULL || heard(member) >= forgotten)
            continue;
        member->laggard = true;
        member->expires_at = 0;
        kh_rendezvous_table_unmark(table, member);
        kh_rendezvous_table_reschedule(table, member);
    }
}

/* Forgets departures that every present member has heard of, and beyond the bound the oldest. */
static void forget_departures(struct kh_rendezvous_table *table, struct kh_rendezvous_room *room)
{
    uint64_t all_heard = UINT64_MAX;
    struct kh_rendezvous_entry *next;

    for (struct kh_rendezvous_entry *entry = room->first; entry != NULL; entry = entry->next) {
        if (entry->member != NULL && heard(entry->member) < all_heard)
            all_heard = heard(entry->member);
    }
    for (struct kh_rendezvous_entry *entry = room->first; entry != NULL; entry = next) {
        next = entry->next;
        if (entry->member != NULL)
            continue;
        if (entry->version > all_heard && room->gone <= KH_RENDEZVOUS_GONE_MAX)
            return;
        if (entry->version > all_heard)
            evict_laggards(table, room, entry->version);
        entry_unlink(room, entry);
        free(entry);
        room->gone--;
    }
}

/* ---- members ---- */

bool kh_rendezvous_table_set_card(struct kh_rendezvous_member *member, struct kh_span card)
{
    uint8_t *copy;

    assert(card.len > 0 && card.len <= KH_RENDEZVOUS_CARD_MAX);
    if (member->card_len == card.len && memcmp(member->card, card.data, card.len) == 0)
        return false;
    copy = malloc(card.len);
    if (copy == NULL)
        return false;
    memcpy(copy, card.data, card.len);
    free(member->card);
    member->card = copy;
    member->card_len = card.len;
    return true;
}

/* Allocates all a member needs, its future departure included, so that leaving cannot fail. */
static struct kh_rendezvous_member *new_member(const struct kh_rendezvous_member_id *id,
                                               struct kh_span card)
{
    struct kh_rendezvous_member *member = calloc(1, sizeof *member);
    struct kh_rendezvous_entry *entry = calloc(1, sizeof *entry);

    if (member == NULL || entry == NULL || !kh_rendezvous_table_set_card(member, card)) {
        free(member);
        free(entry);
        return NULL;
    }
    entry->id = *id;
    entry->member = member;
    member->entry = entry;
    member->expires_at = KH_NEVER;
    member->push.retry_at = KH_NEVER;
    member->push.repaired = UINT64_MAX;
    return member;
}

enum kh_status kh_rendezvous_table_add(struct kh_rendezvous_table *table,
                                       const uint8_t room_name[static KH_RENDEZVOUS_ROOM_LEN],
                                       const struct kh_rendezvous_member_id *id,
                                       struct kh_span card, struct kh_rendezvous_member **out)
{
    struct kh_rendezvous_member **bucket = member_bucket(table, id);
    struct kh_rendezvous_member *member;
    struct kh_rendezvous_room *room;

    assert(kh_rendezvous_table_find(table, id) == NULL);
    if (table->member_count >= table->members_max)
        return KH_ERR_FULL;
    if (!heap_has_room(table))
        return KH_ERR_MEMORY;
    member = new_member(id, card);
    room = member == NULL ? NULL : room_of(table, room_name);
    if (room == NULL) {
        if (member != NULL) {
            free(member->entry);
            free_member(member);
        }
        return KH_ERR_MEMORY;
    }
    member->room = room;
    member->chain = *bucket;
    *bucket = member;
    room->present++;
    entry_append(room, member->entry);
    member->joined = room->version;
    heap_put(table, table->member_count++, member);
    heap_up(table, member);
    *out = member;
    return KH_OK;
}

void kh_rendezvous_table_remove(struct kh_rendezvous_table *table,
                                struct kh_rendezvous_member *member)
{
    struct kh_rendezvous_member **link = member_bucket(table, &member->entry->id);
    struct kh_rendezvous_room *room = member->room;

    while (*link != member)
        link = &(*link)->chain;
    *link = member->chain;
    kh_rendezvous_table_unmark(table, member);
    heap_remove(table, member);
    kh_rendezvous_table_touch(member);
    member->entry->member = NULL;
    free_member(member);
    room->present--;
    room->gone++;
    forget_departures(table, room);
    remove_room_if_empty(table, room);
}
