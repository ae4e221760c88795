/* relay/mobility.c - allocations that outlive their client's address (RFC 8016).
 *
 * SPDX-License-Identifier: MIT
 *
 * A ticket is a sealed pointer to its allocation: which relayed address, and a serial number that
 * is never used twice.  It opens nothing by itself: the Refresh that brings it has to prove the
 * credentials that made the allocation, with a nonce for the address it comes from.
 */
#include <assert.h>
#include <string.h>

#include "relay/machine.h"

#define PLAIN_LEN 3 /* index of the address, port */

static void seal(const struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                 uint8_t out[static KH_RELAY_TICKET_LEN])
{
    const struct kh_relay_way *way = &allocation->ways[0];
    uint8_t nonce[KH_AEAD_NONCE_LEN] = {0};
    uint8_t plain[PLAIN_LEN];

    if (way->state != KH_RELAY_WAY_OPEN)
        way = &allocation->ways[1];
    plain[0] = way->address;
    plain[1] = (uint8_t)(way->port >> 8);
    plain[2] = (uint8_t)way->port;
    memcpy(nonce, &allocation->serial, sizeof allocation->serial);
    kh_aead_seal(&relay->ticket_key, nonce, (struct kh_span){0},
                 (struct kh_span){plain, sizeof plain}, out);
}

static struct kh_relay_allocation *open_ticket(const struct kh_relay *relay, struct kh_span ticket)
{
    struct kh_relay_allocation **slot;
    uint8_t plain[PLAIN_LEN];
    uint64_t serial;

    if (ticket.len != KH_RELAY_TICKET_LEN ||
        !kh_aead_open(&relay->ticket_key, (struct kh_span){0}, ticket, plain))
        return NULL;
    assert(plain[0] < relay->config.address_count); /* it was us who sealed it */
    memcpy(&serial, ticket.data, sizeof serial);
    slot = kh_relay_table_port(&relay->table, plain[0], (uint16_t)(plain[1] << 8 | plain[2]));
    /* Its place may be another's by now, and it may have been used. */
    return slot != NULL && *slot != NULL && (*slot)->serial == serial ? *slot : NULL;
}

struct kh_relay_allocation *kh_relay_ticket_find(struct kh_relay *relay,
                                                 const struct kh_stun_message *message)
{
    struct kh_relay_allocation *allocation;
    struct kh_stun_attribute ticket;

    if (message->method != KH_STUN_REFRESH ||
        !kh_stun_find(message, KH_STUN_MOBILITY_TICKET, &ticket))
        return NULL;
    allocation = open_ticket(relay, (struct kh_span){ticket.value, ticket.len});
    return allocation != NULL && allocation->state == KH_RELAY_LIVE ? allocation : NULL;
}

void kh_relay_ticket_renew(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    allocation->serial = ++relay->serial;
}

void kh_relay_ticket_add(const struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                         struct kh_stun_writer *writer)
{
    uint8_t ticket[KH_RELAY_TICKET_LEN];

    if (allocation->serial == 0)
        return;
    seal(relay, allocation, ticket);
    kh_stun_add(writer, KH_STUN_MOBILITY_TICKET, ticket, sizeof ticket);
}

/* Counts the allocation for where its client is now; false if there are too many. */
static bool recount(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                    const struct kh_addr *client)
{
    uint64_t prefix = kh_relay_prefix_of(relay, client);

    if (prefix == allocation->prefix)
        return true;
    if (kh_relay_tally_count(&relay->prefixes, prefix) >= relay->config.prefix_max ||
        !kh_relay_tally_add(&relay->prefixes, prefix))
        return false;
    kh_relay_tally_remove(&relay->prefixes, allocation->prefix);
    allocation->prefix = prefix;
    return true;
}

unsigned kh_relay_move(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    struct kh_relay_allocation *allocation = caller->allocation;

    assert(allocation != NULL && allocation->serial != 0);
    /* The move before was never settled, and its client has gone on meanwhile. */
    if (allocation->is_moving)
        kh_relay_table_end_move(&relay->table, allocation, false);
    if (!recount(relay, allocation, &caller->client))
        return KH_RELAY_QUOTA_REACHED;
    if (!kh_relay_table_begin_move(&relay->table, allocation, &caller->client, &caller->server))
        return KH_RELAY_NO_CAPACITY;
    memcpy(allocation->move_id, caller->id, sizeof allocation->move_id);
    kh_relay_ticket_renew(relay, allocation);
    relay->stats.moves++;
    return 0;
}

void kh_relay_settle_move(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                          const struct kh_addr *client, const struct kh_addr *server)
{
    if (allocation->is_moving && kh_addr_equal(&allocation->next_client, client) &&
        kh_addr_equal(&allocation->next_server, server))
        kh_relay_table_end_move(&relay->table, allocation, true);
}
