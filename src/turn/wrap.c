/* turn/wrap.c - datagrams of peers inside datagrams of the server, both ways (RFC 8656 11, 12).
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/client.h"

#include <assert.h>
#include <string.h>

#define CHANNEL_HEADER_LEN 4

static size_t padding(size_t len)
{
    return (4 - len % 4) % 4;
}

static void wrap_channel_data(struct kh_turn_client *client, uint16_t number,
                              const struct kh_datagram *datagram)
{
    struct kh_writer writer = kh_writer_to(client->wrapped, sizeof client->wrapped);

    kh_write_u16(&writer, number);
    kh_write_u16(&writer, (uint16_t)datagram->len);
    kh_write_bytes(&writer, datagram->data, datagram->len);
    if (client->server.transport != KH_UDP)
        kh_write_zeros(&writer, padding(datagram->len)); /* RFC 8656 12.5: streams need it */
    assert(!writer.failed);
    client->wrapped_len = writer.len;
    client->stats.sent_channel_data++;
}

static void wrap_indication(struct kh_turn_client *client, const struct kh_datagram *datagram)
{
    struct kh_stun_writer writer;
    uint8_t id[KH_STUN_ID_LEN];

    kh_rng_bytes(&client->rng, id, sizeof id);
    writer = kh_stun_begin(client->wrapped, sizeof client->wrapped, KH_STUN_INDICATION,
                           KH_STUN_SEND, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &datagram->to);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, datagram->data, datagram->len);
    client->wrapped_len = kh_stun_finish(&writer);
    assert(client->wrapped_len > 0);
    client->stats.sent_indications++;
}

void kh_turn_wrap(struct kh_turn_client *client, const struct kh_turn_channel *channel,
                  const struct kh_datagram *datagram)
{
    assert(datagram->len <= KH_TURN_PAYLOAD_MAX && client->wrapped_len == 0);
    if (channel != NULL && channel->state == KH_TURN_CHANNEL_BOUND)
        wrap_channel_data(client, channel->number, datagram);
    else
        wrap_indication(client, datagram);
}

static bool receive(struct kh_turn_client *client, const struct kh_addr *peer, struct kh_span data)
{
    if (data.len > sizeof client->received) {
        client->stats.dropped_malformed++;
        return false;
    }
    if (data.len > 0)
        memcpy(client->received, data.data, data.len);
    client->received_len = data.len;
    client->received_from = *peer;
    client->has_received = true;
    return true;
}

void kh_turn_unwrap_channel_data(struct kh_turn_client *client, kh_time now,
                                 const struct kh_datagram *datagram)
{
    struct kh_reader reader = kh_reader_of(datagram->data, datagram->len);
    uint16_t number = kh_read_u16(&reader);
    size_t len = kh_read_u16(&reader);
    const uint8_t *data = kh_read_bytes(&reader, len);
    const struct kh_turn_channel *channel = kh_turn_channel_of_number(client, now, number);

    /* RFC 8656 12.6: what claims more than there is is dropped; padding is allowed over UDP too. */
    if (reader.failed || reader.left > padding(len)) {
        client->stats.dropped_malformed++;
        return;
    }
    if (channel == NULL) {
        client->stats.dropped_stray++;
        return;
    }
    if (receive(client, &channel->peer, (struct kh_span){data, len}))
        client->stats.received_channel_data++;
}

void kh_turn_unwrap_indication(struct kh_turn_client *client, kh_time now,
                               const struct kh_stun_message *message)
{
    struct kh_addr peer;
    struct kh_stun_attribute data;

    if (!kh_stun_find_addr(message, KH_STUN_XOR_PEER_ADDRESS, &peer) ||
        message->unknown_count > 0) {
        client->stats.dropped_malformed++;
        return;
    }
    /* RFC 8656 11.4: only peers we asked for.  This also keeps the server from inventing some. */
    if (kh_turn_permission_find(client, &peer) == NULL) {
        client->stats.dropped_stray++;
        return;
    }
    if (kh_stun_find(message, KH_STUN_ICMP, &data)) {
        client->stats.icmp++; /* ICE finds out by itself, and errors are easily forged */
        return;
    }
    if (!kh_stun_find(message, KH_STUN_DATA_ATTRIBUTE, &data)) {
        client->stats.dropped_malformed++;
        return;
    }
    if (receive(client, &peer, (struct kh_span){data.value, data.len})) {
        client->stats.received_indications++;
        kh_turn_channel_heard(client, now, &peer);
    }
}
