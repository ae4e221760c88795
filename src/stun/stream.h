/* stun/stream.h - messages out of a byte stream: STUN and TURN over TCP and TLS.
 *
 * SPDX-License-Identifier: MIT
 *
 * STUN messages and ChannelData stand one behind the other and tell their own length (RFC 8489
 * 6.2.2, RFC 8656 12.5).  Where a message ends can be lost only once: what is neither breaks the
 * stream for good.  How long a sender may take is for the caller to limit.
 */
#ifndef KH_STUN_STREAM_H
#define KH_STUN_STREAM_H

#include "crypto/crypto.h"

#define KH_STUN_STREAM_MAX 2048 /* the longest frame with its padding: as long as a datagram */

struct kh_stun_stream {
    uint8_t data[KH_STUN_STREAM_MAX];
    size_t at;    /* of the next frame */
    size_t end;   /* of what was received */
    bool greeted; /* the line end after a greeting may follow late */
    bool broken;
};

/* Gives where the next bytes belong.  There is room, *max of it, once next returned false. */
uint8_t *kh_stun_stream_space(struct kh_stun_stream *stream, size_t *max);
void kh_stun_stream_received(struct kh_stun_stream *stream, size_t len);

/* Takes the next whole frame: a message, ChannelData without its padding, or the greeting `Hi!`.
 * It is borrowed until space is asked for.  False: none is whole, or the stream is broken. */
bool kh_stun_stream_next(struct kh_stun_stream *stream, struct kh_span *frame);
/* True while the beginning of a frame waits for its end. */
bool kh_stun_stream_is_partial(const struct kh_stun_stream *stream);

/* How many zeros must follow this frame in a stream: ChannelData is padded to four. */
size_t kh_stun_stream_padding(const uint8_t *frame, size_t len);

#endif
