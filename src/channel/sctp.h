/* channel/sctp.h - one SCTP association over a channel of packets, by usrsctp (RFC 8261, 8831).
 *
 * SPDX-License-Identifier: MIT
 *
 * The usual verbs, except that inputs do not ask for drained outputs: usrsctp has one timer wheel
 * for all associations of the process, so any association's input may make packets here.  For the
 * same reason all associations belong to one thread.
 */
#ifndef KH_CHANNEL_SCTP_H
#define KH_CHANNEL_SCTP_H

#include "channel/channel.h"

struct kh_channel_sctp;

struct kh_channel_sctp_config {
    size_t packet_max; /* largest packet to produce */
    uint16_t stream;   /* the only stream in use */
};

enum kh_channel_sctp_state {
    KH_CHANNEL_SCTP_NEW,
    KH_CHANNEL_SCTP_CONNECTING, /* until `deadline` */
    KH_CHANNEL_SCTP_OPEN,
    KH_CHANNEL_SCTP_CLOSING, /* our shutdown waits for what was sent before it */
    KH_CHANNEL_SCTP_CLOSED,
    KH_CHANNEL_SCTP_FAILED,
};

KH_MUST_USE enum kh_status kh_channel_sctp_new(struct kh_channel_sctp **out,
                                               const struct kh_channel_sctp_config *config);
/* Sends nothing: a peer that should know was told by close. */
void kh_channel_sctp_free(struct kh_channel_sctp *sctp);

/* Sends INIT.  Both sides do so, and the two attempts become one association (RFC 9260 5.2.1). */
void kh_channel_sctp_connect(struct kh_channel_sctp *sctp, kh_time now);
void kh_channel_sctp_handle_packet(struct kh_channel_sctp *sctp, kh_time now, const uint8_t *data,
                                   size_t len);
/* Sends the latest packet with data once more, because its path has gone.  That brings an answer
 * and gets the window going, where usrsctp would wait out a timer that doubled during the outage.
 */
void kh_channel_sctp_repeat(struct kh_channel_sctp *sctp, kh_time now);
void kh_channel_sctp_handle_timeout(struct kh_channel_sctp *sctp, kh_time now);
KH_MUST_USE enum kh_status kh_channel_sctp_send(struct kh_channel_sctp *sctp, kh_time now,
                                                const uint8_t *data, size_t len);
void kh_channel_sctp_close(struct kh_channel_sctp *sctp, kh_time now);

/* Gives OPEN, MESSAGE, WRITABLE, CLOSED and FAILED as the channel does. */
bool kh_channel_sctp_next_event(struct kh_channel_sctp *sctp, struct kh_channel_event *out);
bool kh_channel_sctp_next_packet(struct kh_channel_sctp *sctp, const uint8_t **data, size_t *len);
bool kh_channel_sctp_has_packet(const struct kh_channel_sctp *sctp);
/* KH_NEVER while nothing is under way. */
kh_time kh_channel_sctp_timeout(const struct kh_channel_sctp *sctp);

enum kh_channel_sctp_state kh_channel_sctp_state(const struct kh_channel_sctp *sctp);
size_t kh_channel_sctp_unacknowledged(const struct kh_channel_sctp *sctp);
uint64_t kh_channel_sctp_dropped_malformed(const struct kh_channel_sctp *sctp);
uint64_t kh_channel_sctp_dropped_outbox_full(const struct kh_channel_sctp *sctp);

#endif
