/* rendezvous/table.h - who is in which room: the registry's memory, without any cryptography.
 *
 * SPDX-License-Identifier: MIT
 *
 * Look-ups take constant time.  Deadlines lie in a heap.  The entries of a room, present members
 * and remembered departures alike, are a list in the order of their last change, so what changed
 * after a version is the tail of that list.
 */
#ifndef KH_RENDEZVOUS_TABLE_H
#define KH_RENDEZVOUS_TABLE_H

#include "rendezvous/wire.h"

/* Departures a room remembers for members that have not acknowledged them: twice a full room. */
#define KH_RENDEZVOUS_GONE_MAX 128

struct kh_rendezvous_entry {
    struct kh_rendezvous_entry *previous; /* changed earlier */
    struct kh_rendezvous_entry *next;     /* changed later */
    uint64_t version;                     /* of the room at its last change */
    struct kh_rendezvous_member_id id;
    struct kh_rendezvous_member *member; /* owned; NULL: it departed */
};

struct kh_rendezvous_room {
    struct kh_rendezvous_room *chain;
    uint8_t name[KH_RENDEZVOUS_ROOM_LEN];
    uint64_t version;
    struct kh_rendezvous_entry *first; /* versions grow from here … */
    struct kh_rendezvous_entry *last;  /* … to here */
    size_t present;
    size_t gone;
};

/* What this member has been told of its room; push.c moves it. */
struct kh_rendezvous_push {
    uint64_t acked;     /* it knows all changes up to here */
    uint64_t sent;      /* it was told all up to here */
    uint64_t sequence;  /* of the newest acknowledgement */
    uint64_t hole_end;  /* the newest acknowledgement misses what lies before here; 0: nothing */
    uint64_t repair_to; /* it misses what lies between acked and here; 0: nothing to repair */
    uint64_t repaired; /* `acked` when that was last done: once for each, the timer does the rest */
    kh_time retry_at;  /* KH_NEVER: nothing is under way */
    unsigned attempts;
    unsigned flight; /* datagrams under way */
    bool dirty;      /* in the queue of members to be told something */
    struct kh_rendezvous_member *dirty_previous;
    struct kh_rendezvous_member *dirty_next;
};

struct kh_rendezvous_member {
    struct kh_rendezvous_member *chain;
    struct kh_rendezvous_entry *entry; /* has the id */
    struct kh_rendezvous_room *room;
    uint8_t public_key[KH_KEY_LEN];
    struct kh_rendezvous_keys keys;
    struct kh_rendezvous_window window;
    uint64_t send_sequence;
    struct kh_addr public; /* where it is */
    struct kh_addr local;  /* our address it talks to */
    uint8_t *card;         /* owned */
    size_t card_len;
    uint64_t card_sequence; /* of the request the card came with */
    uint64_t joined;        /* version of the room when it joined */
    kh_time signals_until;  /* the signals it sent so far are paid for until here */
    kh_time expires_at;
    struct kh_rendezvous_push push;
    size_t heap_at;
    bool hidden;  /* the others are told no address of it */
    bool laggard; /* departures it never heard of are forgotten: it must join again */
};

struct kh_rendezvous_table {
    uint8_t hash_key[16];
    struct kh_rendezvous_member **members; /* owned; buckets of chains */
    struct kh_rendezvous_room **rooms;
    struct kh_rendezvous_member **heap; /* owned; earliest deadline first */
    size_t buckets;                     /* a power of two */
    size_t heap_size;                   /* allocated */
    size_t member_count;                /* also those in the heap */
    size_t room_count;
    size_t members_max;
    struct kh_rendezvous_member *dirty_first;
    struct kh_rendezvous_member *dirty_last;
};

KH_MUST_USE enum kh_status kh_rendezvous_table_init(struct kh_rendezvous_table *table,
                                                    size_t members_max,
                                                    const uint8_t hash_key[static 16]);
void kh_rendezvous_table_fini(struct kh_rendezvous_table *table);

struct kh_rendezvous_member *kh_rendezvous_table_find(const struct kh_rendezvous_table *table,
                                                      const struct kh_rendezvous_member_id *id);
struct kh_rendezvous_room *
kh_rendezvous_table_find_room(const struct kh_rendezvous_table *table,
                              const uint8_t name[static KH_RENDEZVOUS_ROOM_LEN]);

/* Adds a member, and its room if it is the first there; it never expires until told.  The id must
 * not be present.  KH_ERR_FULL at members_max. */
KH_MUST_USE enum kh_status
kh_rendezvous_table_add(struct kh_rendezvous_table *table,
                        const uint8_t room[static KH_RENDEZVOUS_ROOM_LEN],
                        const struct kh_rendezvous_member_id *id, struct kh_span card,
                        struct kh_rendezvous_member **out);
/* Removes and frees the member, remembers its departure, and frees its room if it was the last.
 * Members that thereby miss departures become laggards and expire at once. */
void kh_rendezvous_table_remove(struct kh_rendezvous_table *table,
                                struct kh_rendezvous_member *member);
/* Gives the member a new card: true if it differs from the old one.  Unchanged out of memory. */
bool kh_rendezvous_table_set_card(struct kh_rendezvous_member *member, struct kh_span card);
/* Something others must know changed: gives it the room's next version. */
void kh_rendezvous_table_touch(struct kh_rendezvous_member *member);

/* To be called after changing expires_at or push.retry_at. */
void kh_rendezvous_table_reschedule(struct kh_rendezvous_table *table,
                                    struct kh_rendezvous_member *member);
kh_time kh_rendezvous_member_deadline(const struct kh_rendezvous_member *member);
/* The member with the earliest deadline, or NULL. */
struct kh_rendezvous_member *kh_rendezvous_table_first(const struct kh_rendezvous_table *table);

void kh_rendezvous_table_mark(struct kh_rendezvous_table *table,
                              struct kh_rendezvous_member *member);
void kh_rendezvous_table_unmark(struct kh_rendezvous_table *table,
                                struct kh_rendezvous_member *member);

#endif
