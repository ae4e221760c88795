/* relay/forward.c - data between clients and peers (RFC 8656 11 and 12).
 *
 * SPDX-License-Identifier: MIT
 *
 * One look-up each way: the 5-tuple gives the allocation with its channels, a relayed address is an
 * index to it.  No MAC, no memory, one copy.
 */
#include <assert.h>
#include <string.h>

#include "relay/machine.h"

#define CHANNEL_HEADER_LEN 4

/* Data is paid for with a moment of the allocation's time. */
static bool is_over_limit(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                          size_t len)
{
    uint64_t rate = relay->config.bytes_per_second;
    kh_time paid = allocation->paid_until > relay->now ? allocation->paid_until : relay->now;

    if (rate == 0)
        return false;
    paid += len * KH_SECONDS(1) / rate;
    if (paid > relay->now + KH_SECONDS(1)) {
        relay->stats.dropped_limited++;
        return true;
    }
    allocation->paid_until = paid;
    return false;
}

static void give_channel_data(struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                              uint16_t number, struct kh_span data)
{
    struct kh_writer writer = kh_writer_to(relay->data, sizeof relay->data);

    kh_write_u16(&writer, number);
    kh_write_u16(&writer, (uint16_t)data.len);
    kh_write_bytes(&writer, data.data, data.len);
    /* RFC 8656 12.5: padded on a stream, where the next message has to be found. */
    if (allocation->client.transport != KH_UDP)
        kh_write_zeros(&writer, (4 - data.len % 4) % 4);
    if (writer.failed) {
        relay->stats.dropped_malformed++;
        return;
    }
    relay->stats.to_clients++;
    kh_relay_transmit(relay, &allocation->server, &allocation->client, writer.len);
}

static struct kh_stun_writer begin_indication(struct kh_relay *relay, const struct kh_addr *peer)
{
    uint8_t id[KH_STUN_ID_LEN];
    struct kh_stun_writer writer;

    kh_rng_bytes(&relay->rng, id, sizeof id);
    writer = kh_stun_begin(relay->data, sizeof relay->data, KH_STUN_INDICATION, KH_STUN_DATA, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, peer);
    return writer;
}

static void give_indication(struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                            struct kh_stun_writer *writer)
{
    size_t len = kh_stun_finish(writer);

    if (len == 0) {
        relay->stats.dropped_malformed++; /* longer than what we carry */
        return;
    }
    relay->stats.to_clients++;
    kh_relay_transmit(relay, &allocation->server, &allocation->client, len);
}

void kh_relay_from_peer(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                        const struct kh_addr *peer, struct kh_span data)
{
    const struct kh_relay_channel *channel = kh_relay_peers_find_channel(&allocation->peers, peer);
    const struct kh_relay_permission *permission;
    struct kh_stun_writer writer;

    if (channel != NULL && channel->until > relay->now && channel->permitted_until > relay->now) {
        if (!is_over_limit(relay, allocation, data.len))
            give_channel_data(relay, allocation, channel->number, data);
        return;
    }
    permission = kh_relay_peers_find(&allocation->peers, peer);
    if (permission == NULL || permission->until <= relay->now) {
        relay->stats.dropped_forbidden++;
        return;
    }
    if (is_over_limit(relay, allocation, data.len))
        return;
    writer = begin_indication(relay, peer);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, data.data, data.len);
    give_indication(relay, allocation, &writer);
}

void kh_relay_tell_unreachable(struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                               const struct kh_relay_unreachable *error)
{
    const struct kh_relay_permission *permission =
        kh_relay_peers_find(&allocation->peers, &error->peer);
    uint8_t value[8];
    struct kh_writer inner = kh_writer_to(value, sizeof value);
    struct kh_stun_writer writer;

    if (permission == NULL || permission->until <= relay->now) {
        relay->stats.dropped_forbidden++;
        return;
    }
    /* RFC 8656 18.13: reserved, type in 7 bits, code in 9, data. */
    kh_write_u16(&inner, 0);
    kh_write_u16(&inner, (uint16_t)((error->type & 0x7fu) << 9 | error->code));
    kh_write_u32(&inner, error->data);
    writer = begin_indication(relay, &error->peer);
    kh_stun_add(&writer, KH_STUN_ICMP, value, sizeof value);
    give_indication(relay, allocation, &writer);
}

/* Reaches another allocation of ours without leaving the machine: no NAT in front of us has to
 * turn it back, and our own address need not be opened to anyone.  False if there is none. */
static bool pass_inside(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                        const struct kh_addr *peer, struct kh_span data)
{
    struct kh_relay_allocation *owner = NULL;
    const struct kh_relay_way *from = kh_relay_way_find(allocation, peer->family);
    const struct kh_relay_way *to = kh_relay_way_inside(relay, peer, &owner);
    struct kh_addr relayed;

    if (to == NULL)
        return false;
    relayed = kh_relay_way_external(relay, from);
    relay->stats.to_peers++;
    if (owner->state == KH_RELAY_LIVE)
        kh_relay_from_peer(relay, owner, &relayed, data);
    return true;
}

/* Is this address of our own one that the system may carry data to?  In a lab only. */
static bool may_leave(const struct kh_relay *relay, const struct kh_addr *relayed,
                      const struct kh_addr *peer)
{
    return relay->config.allow_private_peers &&
           kh_relay_guard_judge(&relay->config, relayed, peer) != KH_RELAY_PEER_DENIED;
}

/* Sends data to a peer that is permitted; true if it left towards the system. */
static bool to_peer(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                    const struct kh_relay_permission *peer, struct kh_span data)
{
    const struct kh_relay_way *way = kh_relay_way_find(allocation, peer->peer.family);
    struct kh_addr local;

    if (way == NULL || data.len > sizeof relay->data) {
        relay->stats.dropped_forbidden++; /* that family's time is over */
        return false;
    }
    if (is_over_limit(relay, allocation, data.len))
        return false;
    if (peer->inside && pass_inside(relay, allocation, &peer->peer, data))
        return false;
    local = kh_relay_way_local(relay, way);
    if (peer->inside && !may_leave(relay, &local, &peer->peer)) {
        relay->stats.dropped_forbidden++;
        return false;
    }
    relay->stats.to_peers++;
    memcpy(relay->data, data.data, data.len);
    kh_relay_transmit(relay, &local, &peer->peer, data.len);
    return true;
}

void kh_relay_channel_data(struct kh_relay *relay, const struct kh_datagram *datagram)
{
    struct kh_relay_allocation *allocation =
        kh_relay_table_find(&relay->table, &datagram->from, &datagram->to);
    struct kh_reader reader = kh_reader_of(datagram->data, datagram->len);
    uint16_t number = kh_read_u16(&reader);
    size_t len = kh_read_u16(&reader);
    const uint8_t *data = kh_read_bytes(&reader, len);
    const struct kh_relay_channel *channel = NULL;
    struct kh_relay_permission peer;

    assert(!reader.failed);
    /* RFC 8656 12.6: over UDP what stands behind the data is padding or nothing to us. */
    if (allocation != NULL) {
        kh_relay_settle_move(relay, allocation, &datagram->from, &datagram->to);
        channel = kh_relay_peers_find_number(&allocation->peers, number);
    }
    if (channel == NULL || channel->until <= relay->now) {
        relay->stats.dropped_forbidden++;
        return;
    }
    peer = (struct kh_relay_permission){.peer = channel->peer, .inside = channel->inside};
    (void)to_peer(relay, allocation, &peer, (struct kh_span){data, len});
}

void kh_relay_send(struct kh_relay *relay, const struct kh_datagram *datagram,
                   const struct kh_stun_message *message)
{
    struct kh_relay_allocation *allocation =
        kh_relay_table_find(&relay->table, &datagram->from, &datagram->to);
    struct kh_stun_attribute data;
    struct kh_relay_permission peer;
    const struct kh_relay_permission *permission = NULL;

    /* RFC 8656 11.2: DATA may be empty, but not missing. */
    if (message->unknown_count > 0 ||
        !kh_stun_find_addr(message, KH_STUN_XOR_PEER_ADDRESS, &peer.peer) ||
        !kh_stun_find(message, KH_STUN_DATA_ATTRIBUTE, &data)) {
        relay->stats.dropped_malformed++;
        return;
    }
    if (allocation != NULL) {
        kh_relay_settle_move(relay, allocation, &datagram->from, &datagram->to);
        permission = kh_relay_peers_find(&allocation->peers, &peer.peer);
    }
    if (permission == NULL || permission->until <= relay->now) {
        relay->stats.dropped_forbidden++;
        return;
    }
    peer.inside = permission->inside;
    if (to_peer(relay, allocation, &peer, (struct kh_span){data.value, data.len}))
        relay->dont_fragment = kh_stun_find_flag(message, KH_STUN_DONT_FRAGMENT);
}
