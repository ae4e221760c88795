/* relay/tally.c - how many allocations each user and each prefix has.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/tally.h"

#include <assert.h>
#include <stdlib.h>

#define SIZE_FIRST 16

void kh_relay_tally_fini(struct kh_relay_tally *tally)
{
    free(tally->entries);
    *tally = (struct kh_relay_tally){0};
}

/* Gives where the key is or would be. */
static size_t place_of(const struct kh_relay_tally *tally, uint64_t key)
{
    size_t at = key & (tally->size - 1);

    while (tally->entries[at].count != 0 && tally->entries[at].key != key)
        at = (at + 1) & (tally->size - 1);
    return at;
}

size_t kh_relay_tally_count(const struct kh_relay_tally *tally, uint64_t key)
{
    return tally->size == 0 ? 0 : tally->entries[place_of(tally, key)].count;
}

static bool has_room(struct kh_relay_tally *tally)
{
    struct kh_relay_tally larger = {.size = tally->size == 0 ? SIZE_FIRST : 2 * tally->size,
                                    .used = tally->used};

    if (2 * (tally->used + 1) <= tally->size)
        return true;
    larger.entries = calloc(larger.size, sizeof *larger.entries);
    if (larger.entries == NULL)
        return false;
    for (size_t i = 0; i < tally->size; i++) {
        if (tally->entries[i].count != 0)
            larger.entries[place_of(&larger, tally->entries[i].key)] = tally->entries[i];
    }
    free(tally->entries);
    *tally = larger;
    return true;
}

bool kh_relay_tally_add(struct kh_relay_tally *tally, uint64_t key)
{
    struct kh_relay_tally_entry *entry;

    if (!has_room(tally))
        return false;
    entry = &tally->entries[place_of(tally, key)];
    if (entry->count++ == 0) {
        entry->key = key;
        tally->used++;
    }
    return true;
}

void kh_relay_tally_remove(struct kh_relay_tally *tally, uint64_t key)
{
    size_t mask = tally->size - 1;
    size_t hole = place_of(tally, key);

    assert(tally->entries[hole].count > 0);
    if (--tally->entries[hole].count > 0)
        return;
    tally->used--;
    for (size_t at = (hole + 1) & mask; tally->entries[at].count != 0; at = (at + 1) & mask) {
        size_t home = tally->entries[at].key & mask;

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        tally->entries[hole] = tally->entries[at];
        tally->entries[at].count = 0;
        hole = at;
    }
}
