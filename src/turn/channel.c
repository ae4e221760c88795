/* turn/channel.c - the peers whose datagrams travel with four bytes in front (RFC 8656 12).
 *
 * SPDX-License-Identifier: MIT
 */
#include "turn/client.h"

#include <assert.h>

#define NUMBER_MIN 0x4000 /* RFC 8656 12 */
#define NUMBER_MAX 0x4FFF

struct kh_turn_channel *kh_turn_channel_find(struct kh_turn_client *client,
                                             const struct kh_addr *peer)
{
    assert(!kh_addr_is_none(peer));
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        if (kh_addr_equal(&client->channels[i].peer, peer))
            return &client->channels[i];
    }
    return NULL;
}

struct kh_turn_channel *kh_turn_channel_of_number(struct kh_turn_client *client, kh_time now,
                                                  uint16_t number)
{
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        struct kh_turn_channel *channel = &client->channels[i];

        /* What is asked for and not confirmed may be bound already, its answer lost. */
        if (channel->number == number && now < channel->held_until)
            return channel;
    }
    return NULL;
}

static void enter(struct kh_turn_channel *channel, enum kh_turn_channel_state state)
{
    channel->state = state;
    channel->refresh_at = KH_NEVER;
    channel->expires_at = KH_NEVER;
}

/* A free slot, or that of the peer not used for longest among those the server forgot as well. */
static struct kh_turn_channel *find_room(struct kh_turn_client *client, kh_time now)
{
    struct kh_turn_channel *oldest = NULL;

    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        struct kh_turn_channel *channel = &client->channels[i];

        if (kh_addr_is_none(&channel->peer))
            return channel;
        if (now >= channel->held_until && (oldest == NULL || channel->used_at < oldest->used_at))
            oldest = channel;
    }
    return oldest;
}

struct kh_turn_channel *kh_turn_channel_use(struct kh_turn_client *client, kh_time now,
                                            const struct kh_addr *peer)
{
    struct kh_turn_channel *channel = kh_turn_channel_find(client, peer);

    if (channel == NULL) {
        channel = find_room(client, now);
        if (channel == NULL)
            return NULL;
        *channel = (struct kh_turn_channel){.peer = *peer};
        enter(channel, KH_TURN_CHANNEL_UNBOUND);
    }
    channel->used_at = now;
    return channel;
}

static bool is_taken(const struct kh_turn_client *client, uint16_t number)
{
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        if (client->channels[i].number == number)
            return true;
    }
    return false;
}

/* Goes round all numbers, so that one comes back long after its last binding has expired. */
static uint16_t next_number(struct kh_turn_client *client)
{
    uint16_t number;

    do {
        number = (uint16_t)(NUMBER_MIN + client->channel_next);
        client->channel_next =
            (uint16_t)((client->channel_next + 1) % (NUMBER_MAX - NUMBER_MIN + 1));
    } while (is_taken(client, number));
    return number;
}

static void bind_now(struct kh_turn_client *client, kh_time now, struct kh_turn_channel *channel)
{
    if (channel->number == 0)
        channel->number = next_number(client);
    channel->held_until = kh_time_add(now, KH_TURN_CHANNEL_HELD);
    kh_turn_ask_start(client, now, &channel->ask);
}

void kh_turn_channel_heard(struct kh_turn_client *client, kh_time now, const struct kh_addr *peer)
{
    struct kh_turn_channel *channel = kh_turn_channel_find(client, peer);

    if (channel != NULL && channel->state == KH_TURN_CHANNEL_UNBOUND && !channel->ask.active)
        bind_now(client, now, channel);
}

static void take(struct kh_turn_client *client, kh_time now, struct kh_turn_channel *channel,
                 const struct kh_stun_message *message)
{
    unsigned code;
    enum kh_turn_verdict verdict = kh_turn_ask_judge(client, now, &channel->ask, message, &code);

    if (verdict == KH_TURN_SUCCESS) {
        enter(channel, KH_TURN_CHANNEL_BOUND);
        channel->refresh_at = kh_time_add(now, KH_TURN_CHANNEL_REFRESH);
        channel->expires_at = kh_time_add(now, KH_TURN_CHANNEL_LIFETIME);
        channel->held_until = kh_time_add(now, KH_TURN_CHANNEL_HELD);
        kh_turn_permission_refreshed(client, now, &channel->peer);
    } else if (verdict == KH_TURN_ERROR && kh_turn_allocation_is_gone(code)) {
        bool was_bound = channel->state == KH_TURN_CHANNEL_BOUND;

        /* One that never was is bound when the peer is heard again. */
        if (kh_turn_allocation_missed(client, now, code) && was_bound)
            channel->refresh_at = kh_time_add(now, KH_TURN_MOVE_TIME);
    } else if (verdict == KH_TURN_ERROR) {
        enter(channel, KH_TURN_CHANNEL_REFUSED);
    }
}

bool kh_turn_channel_take(struct kh_turn_client *client, kh_time now,
                          const struct kh_stun_message *message)
{
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        if (kh_turn_ask_matches(&client->channels[i].ask, message)) {
            take(client, now, &client->channels[i], message);
            return true;
        }
    }
    return false;
}

static void handle_timeout(struct kh_turn_client *client, kh_time now,
                           struct kh_turn_channel *channel)
{
    bool silent = kh_turn_ask_handle_timeout(client, now, &channel->ask);
    bool wanted = kh_time_since(now, channel->used_at) < KH_TURN_CHANNEL_REFRESH;

    if (channel->state != KH_TURN_CHANNEL_BOUND)
        return; /* unbound and unanswered: the peer's next datagram asks anew */
    if (now >= channel->expires_at) {
        kh_turn_ask_end(&channel->ask);
        enter(channel, KH_TURN_CHANNEL_UNBOUND);
    } else if (silent || now >= channel->refresh_at) {
        channel->refresh_at = KH_NEVER;
        if (wanted)
            bind_now(client, now, channel);
    }
}

void kh_turn_channel_handle_timeout(struct kh_turn_client *client, kh_time now)
{
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        if (!kh_addr_is_none(&client->channels[i].peer))
            handle_timeout(client, now, &client->channels[i]);
    }
}

bool kh_turn_channel_next_transmit(struct kh_turn_client *client, struct kh_datagram *out)
{
    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        struct kh_turn_channel *channel = &client->channels[i];
        struct kh_stun_writer writer;

        if (kh_turn_ask_begin(client, &channel->ask, KH_STUN_CHANNEL_BIND, &writer)) {
            kh_stun_add_u32(&writer, KH_STUN_CHANNEL_NUMBER, (uint32_t)channel->number << 16);
            kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &channel->peer);
            kh_turn_ask_finish(client, &channel->ask, &writer, out);
            return true;
        }
    }
    return false;
}

kh_time kh_turn_channel_timeout(const struct kh_turn_client *client)
{
    kh_time due = KH_NEVER;

    for (size_t i = 0; i < KH_TURN_CHANNELS_MAX; i++) {
        const struct kh_turn_channel *channel = &client->channels[i];

        if (kh_addr_is_none(&channel->peer))
            continue;
        due = kh_time_min(due, kh_turn_ask_timeout(&channel->ask));
        due = kh_time_min(due, kh_time_min(channel->refresh_at, channel->expires_at));
    }
    return due;
}
