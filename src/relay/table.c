/* relay/table.c - all allocations: by 5-tuple, by relayed address, by deadline.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_FIRST 64 /* doubled as allocations come */

enum kh_status kh_relay_table_init(struct kh_relay_table *table,
                                   const struct kh_relay_config *config,
                                   const uint8_t hash_key[static 16])
{
    assert(config->port_min > 0 && config->port_min <= config->port_max);
    *table = (struct kh_relay_table){.tuple_size = SIZE_FIRST,
                                     .heap_size = SIZE_FIRST,
                                     .address_count = config->address_count,
                                     .port_min = config->port_min};
    table->port_count = (size_t)config->port_max - config->port_min + 1;
    memcpy(table->hash_key, hash_key, sizeof table->hash_key);
    table->tuples = calloc(table->tuple_size, sizeof *table->tuples);
    table->heap = calloc(table->heap_size, sizeof *table->heap);
    table->ports = calloc(table->address_count * table->port_count, sizeof *table->ports);
    if (table->tuples != NULL && table->heap != NULL && table->ports != NULL)
        return KH_OK;
    kh_relay_table_fini(table);
    return KH_ERR_MEMORY;
}

static void free_allocation(struct kh_relay_allocation *allocation)
{
    kh_relay_peers_fini(&allocation->peers);
    kh_wipe(allocation, sizeof *allocation);
    free(allocation);
}

void kh_relay_table_fini(struct kh_relay_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free_allocation(table->heap[i]);
    free(table->tuples);
    free(table->heap);
    free(table->ports);
    kh_wipe(table, sizeof *table);
}

/* ---- by 5-tuple ---- */

static uint64_t hash_of(const struct kh_relay_table *table, const struct kh_addr *client,
                        const struct kh_addr *server)
{
    struct kh_addr both[2] = {*client, *server};

    return kh_siphash(table->hash_key, both, sizeof both);
}

static bool is_known_by(const struct kh_relay_allocation *allocation, const struct kh_addr *client,
                        const struct kh_addr *server)
{
    if (kh_addr_equal(&allocation->client, client) && kh_addr_equal(&allocation->server, server))
        return true;
    return allocation->is_moving && kh_addr_equal(&allocation->next_client, client) &&
           kh_addr_equal(&allocation->next_server, server);
}

struct kh_relay_allocation *kh_relay_table_find(const struct kh_relay_table *table,
                                                const struct kh_addr *client,
                                                const struct kh_addr *server)
{
    uint64_t hash = hash_of(table, client, server);
    size_t mask = table->tuple_size - 1;

    for (size_t at = hash & mask; table->tuples[at].allocation != NULL; at = (at + 1) & mask) {
        struct kh_relay_allocation *found = table->tuples[at].allocation;

        if (table->tuples[at].hash == hash && is_known_by(found, client, server))
            return found;
    }
    return NULL;
}

static void put_tuple(struct kh_relay_tuple *tuples, size_t mask, struct kh_relay_tuple tuple)
{
    size_t at = tuple.hash & mask;

    while (tuples[at].allocation != NULL)
        at = (at + 1) & mask;
    tuples[at] = tuple;
}

/* Makes room for one more tuple than there may be now: one for each allocation, connected or not,
 * and a second one for those that move. */
static bool tuples_have_room(struct kh_relay_table *table)
{
    size_t size = 2 * table->tuple_size;
    struct kh_relay_tuple *larger;

    if (2 * (table->count + table->moving_count + 1) <= table->tuple_size)
        return true;
    larger = calloc(size, sizeof *larger);
    if (larger == NULL)
        return false;
    for (size_t i = 0; i < table->tuple_size; i++) {
        if (table->tuples[i].allocation != NULL)
            put_tuple(larger, size - 1, table->tuples[i]);
    }
    free(table->tuples);
    table->tuples = larger;
    table->tuple_size = size;
    return true;
}

static void enter(struct kh_relay_table *table, struct kh_relay_allocation *allocation,
                  uint64_t hash)
{
    assert(2 * (table->tuple_count + 1) <= table->tuple_size);
    put_tuple(table->tuples, table->tuple_size - 1, (struct kh_relay_tuple){hash, allocation});
    table->tuple_count++;
}

void kh_relay_table_connect(struct kh_relay_table *table, struct kh_relay_allocation *allocation)
{
    enter(table, allocation, hash_of(table, &allocation->client, &allocation->server));
}

/* Closes the gap at `hole` by what lies behind it, so that no look-up stops too early. */
static void close_gap(struct kh_relay_table *table, size_t hole)
{
    size_t mask = table->tuple_size - 1;

    for (size_t at = (hole + 1) & mask; table->tuples[at].allocation != NULL;
         at = (at + 1) & mask) {
        size_t home = table->tuples[at].hash & mask;

        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        table->tuples[hole] = table->tuples[at];
        hole = at;
    }
    table->tuples[hole] = (struct kh_relay_tuple){0};
}

static void leave(struct kh_relay_table *table, const struct kh_relay_allocation *allocation,
                  uint64_t hash)
{
    size_t mask = table->tuple_size - 1;

    for (size_t at = hash & mask; table->tuples[at].allocation != NULL; at = (at + 1) & mask) {
        if (table->tuples[at].allocation == allocation && table->tuples[at].hash == hash) {
            close_gap(table, at);
            table->tuple_count--;
            return;
        }
    }
}

static void disconnect(struct kh_relay_table *table, struct kh_relay_allocation *allocation)
{
    if (allocation->is_moving)
        kh_relay_table_end_move(table, allocation, false);
    leave(table, allocation, hash_of(table, &allocation->client, &allocation->server));
}

bool kh_relay_table_begin_move(struct kh_relay_table *table, struct kh_relay_allocation *allocation,
                               const struct kh_addr *client, const struct kh_addr *server)
{
    assert(!allocation->is_moving && kh_relay_table_find(table, client, server) == NULL);
    if (!tuples_have_room(table))
        return false;
    allocation->next_client = *client;
    allocation->next_server = *server;
    allocation->is_moving = true;
    table->moving_count++;
    enter(table, allocation, hash_of(table, client, server));
    return true;
}

void kh_relay_table_end_move(struct kh_relay_table *table, struct kh_relay_allocation *allocation,
                             bool moved)
{
    const struct kh_addr *client = moved ? &allocation->client : &allocation->next_client;
    const struct kh_addr *server = moved ? &allocation->server : &allocation->next_server;

    assert(allocation->is_moving && table->moving_count > 0);
    leave(table, allocation, hash_of(table, client, server));
    allocation->is_moving = false;
    table->moving_count--;
    if (!moved)
        return;
    allocation->client = allocation->next_client;
    allocation->server = allocation->next_server;
}

/* ---- by relayed address ---- */

struct kh_relay_allocation **kh_relay_table_port(const struct kh_relay_table *table, size_t address,
                                                 uint16_t port)
{
    size_t at = (size_t)port - table->port_min;

    assert(address < table->address_count);
    if (port < table->port_min || at >= table->port_count)
        return NULL;
    return &table->ports[address * table->port_count + at];
}

/* ---- by deadline ---- */

kh_time kh_relay_allocation_deadline(const struct kh_relay_allocation *allocation)
{
    kh_time first = KH_NEVER;

    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        if (allocation->ways[i].state != KH_RELAY_WAY_NONE &&
            allocation->ways[i].state != KH_RELAY_WAY_FAILED)
            first = kh_time_min(first, allocation->ways[i].until);
    }
    return first;
}

static void heap_put(struct kh_relay_table *table, size_t at,
                     struct kh_relay_allocation *allocation)
{
    table->heap[at] = allocation;
    allocation->heap_at = at;
}

static void heap_up(struct kh_relay_table *table, struct kh_relay_allocation *allocation)
{
    kh_time deadline = kh_relay_allocation_deadline(allocation);
    size_t at = allocation->heap_at;

    while (at > 0) {
        struct kh_relay_allocation *parent = table->heap[(at - 1) / 2];

        if (kh_relay_allocation_deadline(parent) <= deadline)
            break;
        heap_put(table, at, parent);
        at = (at - 1) / 2;
    }
    heap_put(table, at, allocation);
}

static void heap_down(struct kh_relay_table *table, struct kh_relay_allocation *allocation)
{
    kh_time deadline = kh_relay_allocation_deadline(allocation);
    size_t at = allocation->heap_at;

    for (size_t child = 2 * at + 1; child < table->count; child = 2 * at + 1) {
        if (child + 1 < table->count && kh_relay_allocation_deadline(table->heap[child + 1]) <
                                            kh_relay_allocation_deadline(table->heap[child]))
            child++;
        if (deadline <= kh_relay_allocation_deadline(table->heap[child]))
            break;
        heap_put(table, at, table->heap[child]);
        at = child;
    }
    heap_put(table, at, allocation);
}

void kh_relay_table_reschedule(struct kh_relay_table *table, struct kh_relay_allocation *allocation)
{
    assert(table->heap[allocation->heap_at] == allocation);
    heap_up(table, allocation);
    heap_down(table, allocation);
}

struct kh_relay_allocation *kh_relay_table_first(const struct kh_relay_table *table)
{
    return table->count == 0 ? NULL : table->heap[0];
}

static bool heap_has_room(struct kh_relay_table *table)
{
    struct kh_relay_allocation **larger;

    if (table->count < table->heap_size)
        return true;
    larger = realloc(table->heap, 2 * table->heap_size * sizeof(struct kh_relay_allocation *));
    if (larger == NULL)
        return false;
    table->heap = larger;
    table->heap_size *= 2;
    return true;
}

/* ---- life ---- */

struct kh_relay_allocation *kh_relay_table_add(struct kh_relay_table *table, kh_time until)
{
    struct kh_relay_allocation *allocation;

    if (!heap_has_room(table) || !tuples_have_room(table))
        return NULL;
    allocation = calloc(1, sizeof *allocation);
    if (allocation == NULL)
        return NULL;
    allocation->peers.hash_key = table->hash_key;
    allocation->ways[0] = (struct kh_relay_way){.state = KH_RELAY_WAY_WANTED, .until = until};
    table->count++;
    heap_put(table, table->count - 1, allocation);
    heap_up(table, allocation);
    return allocation;
}

void kh_relay_table_remove(struct kh_relay_table *table, struct kh_relay_allocation *allocation)
{
    struct kh_relay_allocation *last = table->heap[table->count - 1];

    assert(table->heap[allocation->heap_at] == allocation);
    disconnect(table, allocation);
    table->count--;
    if (last != allocation) {
        heap_put(table, allocation->heap_at, last);
        kh_relay_table_reschedule(table, last);
    }
    free_allocation(allocation);
}
