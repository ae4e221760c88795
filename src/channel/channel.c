/* channel/channel.c - SCTP inside DTLS: the conductor of the two.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/channel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/datagram.h"
#include "channel/dtls.h"
#include "channel/sctp.h"

enum state {
    NEW,
    SECURING, /* DTLS handshake */
    JOINING,  /* SCTP handshake */
    OPEN,
    CLOSING, /* SCTP shutdown */
    CLOSED,
    FAILED,
};

struct kh_channel {
    enum state state;
    struct kh_channel_dtls *dtls;
    struct kh_channel_sctp *sctp;
    struct kh_log log;
    kh_time now;       /* of the last input */
    bool owes_goodbye; /* close_notify follows the last SCTP packet */
    bool owes_end;     /* a CLOSED or FAILED event is to be given */
    enum kh_channel_failure failure;
    struct kh_channel_stats stats; /* those that the parts do not count */
};

static void enter(struct kh_channel *channel, enum state state)
{
    static const char *const names[] = {"new",     "securing", "joining", "open",
                                        "closing", "closed",   "failed"};

    assert(state > channel->state);
    kh_log_line(&channel->log, KH_LOG_INFO, "channel %s→%s", names[channel->state], names[state]);
    channel->state = state;
}

enum kh_status kh_channel_new(struct kh_channel **out, const struct kh_channel_config *config)
{
    size_t datagram_max = config->datagram_max != 0 ? config->datagram_max : KH_DATAGRAM_MAX;
    struct kh_channel_sctp_config sctp = {.packet_max = datagram_max - KH_CHANNEL_DTLS_OVERHEAD,
                                          .stream = config->stream};
    struct kh_channel *channel = calloc(1, sizeof *channel);

    assert(out != NULL && config->certificate != NULL);
    if (channel == NULL)
        return KH_ERR_MEMORY;
    channel->log = config->log;
    if (kh_channel_dtls_new(&channel->dtls, config) != KH_OK ||
        kh_channel_sctp_new(&channel->sctp, &sctp) != KH_OK) {
        kh_channel_free(channel);
        return KH_ERR_MEMORY;
    }
    *out = channel;
    return KH_OK;
}

void kh_channel_free(struct kh_channel *channel)
{
    if (channel == NULL)
        return;
    kh_channel_sctp_free(channel->sctp);
    kh_channel_dtls_free(channel->dtls);
    free(channel);
}

/* Ends the channel; the event comes when all messages have been read. */
static void end(struct kh_channel *channel, enum state state, enum kh_channel_failure failure)
{
    if (channel->state >= CLOSED)
        return;
    enter(channel, state);
    channel->failure = failure;
    channel->owes_end = true;
    /* Who fails begins anew: to the peer a goodbye would mean that we left for good. */
    channel->owes_goodbye = state == CLOSED;
}

static void encrypt(struct kh_channel *channel)
{
    const uint8_t *packet;
    size_t len;

    while (kh_channel_sctp_next_packet(channel->sctp, &packet, &len))
        kh_channel_dtls_send(channel->dtls, packet, len);
}

/* Carries what DTLS has for SCTP, and lets each know what became of the other. */
static void exchange(struct kh_channel *channel)
{
    uint8_t packet[KH_CHANNEL_DTLS_PLAIN_MAX];
    size_t len;

    if (channel->state < SECURING && kh_channel_dtls_state(channel->dtls) != KH_CHANNEL_DTLS_NEW)
        enter(channel, SECURING);
    if (channel->state < JOINING && kh_channel_dtls_state(channel->dtls) == KH_CHANNEL_DTLS_OPEN) {
        enter(channel, JOINING);
        kh_channel_sctp_connect(channel->sctp, channel->now);
        /* Into the datagram that ends the handshake: they arrive together or not at all. */
        encrypt(channel);
    }
    while ((len = kh_channel_dtls_read(channel->dtls, packet)) > 0)
        kh_channel_sctp_handle_packet(channel->sctp, channel->now, packet, len);
}

void kh_channel_start(struct kh_channel *channel, kh_time now)
{
    channel->now = now;
    kh_channel_dtls_start(channel->dtls, now);
    kh_channel_sctp_repeat(channel->sctp, now);
    exchange(channel);
}

bool kh_channel_handle_datagram(struct kh_channel *channel, kh_time now, const uint8_t *data,
                                size_t len)
{
    if (len == 0 || data[0] < 20 || data[0] > 63) /* RFC 7983 7 */
        return false;
    channel->now = now;
    kh_channel_dtls_handle_datagram(channel->dtls, now, data, len);
    exchange(channel);
    return true;
}

void kh_channel_handle_timeout(struct kh_channel *channel, kh_time now)
{
    channel->now = now;
    kh_channel_dtls_handle_timeout(channel->dtls, now);
    kh_channel_sctp_handle_timeout(channel->sctp, now);
}

enum kh_status kh_channel_send(struct kh_channel *channel, kh_time now, const uint8_t *data,
                               size_t len)
{
    enum kh_status status;

    assert(len > 0 && len <= KH_CHANNEL_MESSAGE_MAX);
    channel->now = now;
    status = kh_channel_sctp_send(channel->sctp, now, data, len);
    if (status == KH_OK) {
        channel->stats.messages_sent++;
        channel->stats.bytes_sent += len;
    }
    return status;
}

void kh_channel_close(struct kh_channel *channel, kh_time now)
{
    channel->now = now;
    if (channel->state >= CLOSING)
        return;
    if (channel->state == OPEN)
        enter(channel, CLOSING);
    else
        end(channel, CLOSED, KH_CHANNEL_FAILURE_NONE);
    kh_channel_sctp_close(channel->sctp, now);
}

/* ---- outputs ---- */

bool kh_channel_next_transmit(struct kh_channel *channel, const uint8_t **data, size_t *len)
{
    const uint8_t *packet;
    size_t packet_len;

    if (kh_channel_dtls_next_transmit(channel->dtls, data, len))
        return true;
    while (kh_channel_sctp_next_packet(channel->sctp, &packet, &packet_len)) {
        kh_channel_dtls_send(channel->dtls, packet, packet_len);
        if (kh_channel_dtls_next_transmit(channel->dtls, data, len))
            return true;
    }
    if (!channel->owes_goodbye)
        return false;
    channel->owes_goodbye = false;
    kh_channel_dtls_close(channel->dtls);
    return kh_channel_dtls_next_transmit(channel->dtls, data, len);
}

/* Follows what SCTP says; true if our user should hear of it. */
static bool follow(struct kh_channel *channel, const struct kh_channel_event *event)
{
    switch (event->kind) {
    case KH_CHANNEL_EVENT_OPEN:
        enter(channel, OPEN);
        return true;
    case KH_CHANNEL_EVENT_MESSAGE:
        channel->stats.messages_received++;
        channel->stats.bytes_received += event->len;
        return true;
    case KH_CHANNEL_EVENT_WRITABLE:
        return true;
    case KH_CHANNEL_EVENT_CLOSED:
        end(channel, CLOSED, KH_CHANNEL_FAILURE_NONE);
        return false;
    case KH_CHANNEL_EVENT_FAILED:
        end(channel, FAILED, event->failure);
        return false;
    }
    return false;
}

bool kh_channel_next_event(struct kh_channel *channel, struct kh_channel_event *out)
{
    enum kh_channel_dtls_state dtls = kh_channel_dtls_state(channel->dtls);

    while (kh_channel_sctp_next_event(channel->sctp, out))
        if (follow(channel, out))
            return true;
    if (dtls == KH_CHANNEL_DTLS_FAILED)
        end(channel, FAILED, kh_channel_dtls_failure(channel->dtls));
    else if (dtls == KH_CHANNEL_DTLS_CLOSED)
        end(channel, CLOSED, KH_CHANNEL_FAILURE_NONE);
    if (!channel->owes_end)
        return false;
    channel->owes_end = false;
    *out = (struct kh_channel_event){.kind = channel->state == FAILED ? KH_CHANNEL_EVENT_FAILED
                                                                      : KH_CHANNEL_EVENT_CLOSED,
                                     .failure = channel->failure};
    return true;
}

kh_time kh_channel_timeout(const struct kh_channel *channel)
{
    enum kh_channel_dtls_state dtls = kh_channel_dtls_state(channel->dtls);
    bool ended = dtls == KH_CHANNEL_DTLS_FAILED || dtls == KH_CHANNEL_DTLS_CLOSED;

    if (channel->owes_goodbye || channel->owes_end || (ended && channel->state < CLOSED) ||
        kh_channel_dtls_has_transmit(channel->dtls))
        return channel->now;
    if (channel->state >= CLOSED)
        return kh_channel_sctp_has_packet(channel->sctp) ? channel->now : KH_NEVER;
    return kh_time_min(kh_channel_dtls_timeout(channel->dtls),
                       kh_channel_sctp_timeout(channel->sctp));
}

bool kh_channel_is_open(const struct kh_channel *channel)
{
    return channel->state == OPEN;
}

size_t kh_channel_unacknowledged(const struct kh_channel *channel)
{
    return kh_channel_sctp_unacknowledged(channel->sctp);
}

struct kh_channel_stats kh_channel_stats(const struct kh_channel *channel)
{
    struct kh_channel_stats stats = channel->stats;

    stats.dropped_malformed = kh_channel_dtls_dropped_malformed(channel->dtls) +
                              kh_channel_sctp_dropped_malformed(channel->sctp);
    stats.dropped_outbox_full = kh_channel_dtls_dropped_outbox_full(channel->dtls) +
                                kh_channel_sctp_dropped_outbox_full(channel->sctp);
    return stats;
}
