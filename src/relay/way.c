/* relay/way.c - relayed addresses: choosing their ports, asking for their sockets.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>

#include "relay/machine.h"

#define GUESSES_MAX 16 /* random ports tried before the range is walked through */

void kh_relay_event_push(struct kh_relay *relay, enum kh_relay_event_kind kind,
                         const struct kh_addr *addr)
{
    size_t at;
    bool fits = kh_ring_push(&relay->event_ring, KH_RELAY_EVENTS_MAX, &at);

    assert(fits);
    (void)fits;
    relay->events[at] = (struct kh_relay_event){kind, *addr};
}

static struct kh_addr with_port(const struct kh_addr *addr, uint16_t port)
{
    struct kh_addr with = *addr;

    with.port = port;
    return with;
}

struct kh_addr kh_relay_way_local(const struct kh_relay *relay, const struct kh_relay_way *way)
{
    return with_port(&relay->config.addresses[way->address].local, way->port);
}

struct kh_addr kh_relay_way_external(const struct kh_relay *relay, const struct kh_relay_way *way)
{
    return with_port(&relay->config.addresses[way->address].external, way->port);
}

struct kh_relay_way *kh_relay_way_find(struct kh_relay_allocation *allocation, uint8_t family)
{
    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        if (allocation->ways[i].state == KH_RELAY_WAY_OPEN && allocation->ways[i].family == family)
            return &allocation->ways[i];
    }
    return NULL;
}

static struct kh_relay_way *way_of_port(const struct kh_relay *relay, size_t address, uint16_t port,
                                        struct kh_relay_allocation **owner)
{
    struct kh_relay_allocation **slot = kh_relay_table_port(&relay->table, address, port);

    if (slot == NULL || *slot == NULL)
        return NULL;
    *owner = *slot;
    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        struct kh_relay_way *way = &(*owner)->ways[i];

        if ((way->state == KH_RELAY_WAY_OPENING || way->state == KH_RELAY_WAY_OPEN) &&
            way->address == address && way->port == port)
            return way;
    }
    return NULL;
}

struct kh_relay_way *kh_relay_way_at(const struct kh_relay *relay, const struct kh_addr *local,
                                     struct kh_relay_allocation **owner)
{
    if (local->transport != KH_UDP || local->port < relay->config.port_min ||
        local->port > relay->config.port_max)
        return NULL;
    for (size_t i = 0; i < relay->config.address_count; i++) {
        if (kh_addr_ip_equal(&relay->config.addresses[i].local, local))
            return way_of_port(relay, i, local->port, owner);
    }
    return NULL;
}

struct kh_relay_way *kh_relay_way_inside(const struct kh_relay *relay, const struct kh_addr *addr,
                                         struct kh_relay_allocation **owner)
{
    for (size_t i = 0; i < relay->config.address_count; i++) {
        const struct kh_relay_address *each = &relay->config.addresses[i];
        struct kh_relay_way *way;

        /* Several local addresses may hide behind one external. */
        if (!kh_addr_ip_equal(&each->local, addr) && !kh_addr_ip_equal(&each->external, addr))
            continue;
        way = way_of_port(relay, i, addr->port, owner);
        if (way != NULL && way->state == KH_RELAY_WAY_OPEN)
            return way;
    }
    return NULL;
}

static bool is_free(const struct kh_relay *relay, size_t address, uint32_t port)
{
    struct kh_relay_allocation **slot;

    if (port > UINT16_MAX)
        return false;
    slot = kh_relay_table_port(&relay->table, address, (uint16_t)port);
    return slot != NULL && *slot == NULL;
}

static bool suits(const struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                  size_t address, uint32_t port)
{
    if (!is_free(relay, address, port) || (allocation->wants_even && port % 2 != 0))
        return false;
    return !allocation->wants_pair || is_free(relay, address, port + 1);
}

/* Gives a free port at random (RFC 8656 7.2: not to be guessed from outside), or 0. */
static uint16_t pick_port(struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                          size_t address)
{
    size_t count = relay->table.port_count;
    uint32_t first = relay->config.port_min;
    uint64_t at = 0;

    for (int i = 0; i < GUESSES_MAX; i++) {
        at = kh_rng_below(&relay->rng, count);
        if (suits(relay, allocation, address, first + (uint32_t)at))
            return (uint16_t)(first + at);
    }
    for (size_t i = 0; i < count; i++) {
        at = (at + 1) % count;
        if (suits(relay, allocation, address, first + (uint32_t)at))
            return (uint16_t)(first + at);
    }
    return 0;
}

void kh_relay_way_open(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                       struct kh_relay_way *way)
{
    bool is_second = allocation->wants_pair && way == &allocation->ways[1];
    const struct kh_relay_way *first = &allocation->ways[0];
    struct kh_addr local;

    assert(way->state == KH_RELAY_WAY_WANTED);
    if (is_second)
        way->port =
            is_free(relay, way->address, first->port + 1u) ? (uint16_t)(first->port + 1) : 0;
    else
        way->port = pick_port(relay, allocation, way->address);
    if (way->port == 0) {
        way->state = KH_RELAY_WAY_FAILED;
        way->error = KH_RELAY_NO_CAPACITY;
        return;
    }
    way->state = KH_RELAY_WAY_OPENING;
    *kh_relay_table_port(&relay->table, way->address, way->port) = allocation;
    local = kh_relay_way_local(relay, way);
    kh_relay_event_push(relay, KH_RELAY_EVENT_OPEN, &local);
}

void kh_relay_way_release(struct kh_relay *relay, const struct kh_relay_way *way)
{
    *kh_relay_table_port(&relay->table, way->address, way->port) = NULL;
}

void kh_relay_way_close(struct kh_relay *relay, struct kh_relay_way *way)
{
    struct kh_addr local;

    if (way->state == KH_RELAY_WAY_OPENING || way->state == KH_RELAY_WAY_OPEN) {
        local = kh_relay_way_local(relay, way);
        kh_relay_event_push(relay, KH_RELAY_EVENT_CLOSE, &local);
        kh_relay_way_release(relay, way);
    }
    way->state = KH_RELAY_WAY_NONE;
}
