/* relay/mobility.c - allocations that outlive their client's address (RFC 8016).
 *
 * SPDX-License-Identifier: MIT
 *
 * A ticket points to its allocation: which relayed address, a serial number that is never used
 * twice, and a MAC over both.  It opens nothing by itself: the Refresh that brings it has to prove
 * the credentials that made the allocation, with a nonce for the address it comes from.  RFC 8016
 * 3.3 has it encrypted; what ours says stands beside it in the same answer.  It is text, since
 * there are clients that take it for a C string, of 32 characters at most.
 */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "relay/machine.h"

#define SERIAL_LEN 5
#define HEAD_LEN (SERIAL_LEN + 3) /* and index of the address, port */
#define MAC_LEN 16
#define BODY_LEN (HEAD_LEN + MAC_LEN)

static void write_mac(const struct kh_relay *relay, const uint8_t head[static HEAD_LEN],
                      uint8_t out[static MAC_LEN])
{
    struct kh_span key = {relay->ticket_key.bytes, sizeof relay->ticket_key.bytes};
    struct kh_span span = {head, HEAD_LEN};
    uint8_t mac[KH_SHA256_LEN];

    kh_hmac_sha256(key, &span, 1, mac);
    memcpy(out, mac, MAC_LEN);
}

static void write_ticket(const struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                         char out[static KH_RELAY_TICKET_LEN + 1])
{
    const struct kh_relay_way *way = &allocation->ways[0];
    uint8_t body[BODY_LEN];
    struct kh_writer writer = kh_writer_to(body, sizeof body);

    if (way->state != KH_RELAY_WAY_OPEN)
        way = &allocation->ways[1];
    kh_write_u8(&writer, (uint8_t)(allocation->serial >> 32));
    kh_write_u32(&writer, (uint32_t)allocation->serial);
    kh_write_u8(&writer, way->address);
    kh_write_u16(&writer, way->port);
    assert(writer.len == HEAD_LEN);
    write_mac(relay, body, body + HEAD_LEN);
    kh_base64url_write(body, sizeof body, out);
}

static struct kh_relay_allocation *open_ticket(const struct kh_relay *relay, struct kh_span ticket)
{
    struct kh_relay_allocation **slot;
    uint8_t body[BODY_LEN], mac[MAC_LEN];
    struct kh_reader reader = kh_reader_of(body, HEAD_LEN);
    uint64_t serial;
    size_t address;

    if (ticket.len != KH_RELAY_TICKET_LEN ||
        !kh_base64url_parse(ticket.data, ticket.len, body, sizeof body))
        return NULL;
    write_mac(relay, body, mac);
    if (!kh_equal(mac, body + HEAD_LEN, sizeof mac))
        return NULL;
    serial = (uint64_t)kh_read_u8(&reader) << 32;
    serial |= kh_read_u32(&reader);
    address = kh_read_u8(&reader);
    assert(address < relay->config.address_count); /* it was us who wrote it */
    slot = kh_relay_table_port(&relay->table, address, kh_read_u16(&reader));
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
    char ticket[KH_RELAY_TICKET_LEN + 1];

    if (allocation->serial == 0)
        return;
    write_ticket(relay, allocation, ticket);
    kh_stun_add(writer, KH_STUN_MOBILITY_TICKET, ticket, KH_RELAY_TICKET_LEN);
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
