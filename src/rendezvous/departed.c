/* rendezvous/departed.c - the book of stays that are over.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/departed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum kh_status kh_rendezvous_departed_init(struct kh_rendezvous_departed *book, size_t stays_max,
                                           kh_duration lifetime)
{
    size_t slots = 16;

    assert(stays_max > 0 && lifetime > 0);
    while (slots < 2 * stays_max)
        slots *= 2;
    *book = (struct kh_rendezvous_departed){.slots = slots, .lifetime = lifetime};
    book->current = calloc(slots, sizeof *book->current);
    book->previous = calloc(slots, sizeof *book->previous);
    if (book->current != NULL && book->previous != NULL)
        return KH_OK;
    kh_rendezvous_departed_fini(book);
    return KH_ERR_MEMORY;
}

void kh_rendezvous_departed_fini(struct kh_rendezvous_departed *book)
{
    free(book->current);
    free(book->previous);
    *book = (struct kh_rendezvous_departed){0};
}

/* Gives the slot that holds the hash, or the empty one where it would go. */
static size_t slot_of(const struct kh_rendezvous_departed *book, const uint64_t *slots,
                      uint64_t hash)
{
    size_t at = (size_t)hash & (book->slots - 1);

    while (slots[at] != 0 && slots[at] != hash)
        at = (at + 1) & (book->slots - 1);
    return at;
}

static uint64_t not_empty(uint64_t hash)
{
    return hash == 0 ? 1 : hash;
}

static void turn(struct kh_rendezvous_departed *book, kh_time now)
{
    uint64_t *oldest = book->previous;

    book->previous = book->current;
    book->current = oldest;
    memset(book->current, 0, book->slots * sizeof *book->current);
    book->count = 0;
    book->turn_at = kh_time_add(now, book->lifetime);
}

bool kh_rendezvous_departed_add(struct kh_rendezvous_departed *book, kh_time now, uint64_t hash)
{
    size_t at;

    if (now >= book->turn_at)
        turn(book, now);
    hash = not_empty(hash);
    at = slot_of(book, book->current, hash);
    if (book->current[at] == hash)
        return true;
    if (2 * (book->count + 1) > book->slots)
        return false;
    book->current[at] = hash;
    book->count++;
    return true;
}

bool kh_rendezvous_departed_has(const struct kh_rendezvous_departed *book, uint64_t hash)
{
    hash = not_empty(hash);
    return book->current[slot_of(book, book->current, hash)] == hash ||
           book->previous[slot_of(book, book->previous, hash)] == hash;
}

void kh_rendezvous_departed_clear(struct kh_rendezvous_departed *book, kh_time now)
{
    turn(book, now);
    turn(book, now);
}
