/* base/frames.h - datagrams along a byte stream, each behind its length (RFC 4571 2).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_BASE_FRAMES_H
#define KH_BASE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KH_FRAMES_MAX 1500 /* of one datagram: as long as any that comes by UDP */
#define KH_FRAMES_HEADER_LEN 2

/* Zeroed: nothing received yet. */
struct kh_frames {
    uint8_t data[KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX];
    size_t at;   /* of the next frame */
    size_t end;  /* of what was received */
    bool broken; /* a longer one came: nothing more can be read */
};

/* Gives where the next bytes belong.  There is room, *max of it, once next returned false. */
uint8_t *kh_frames_space(struct kh_frames *frames, size_t *max);
void kh_frames_received(struct kh_frames *frames, size_t len);

/* Takes the next whole datagram, borrowed until space is asked for; empty ones are skipped.  False:
 * none is whole, or the stream is broken. */
bool kh_frames_next(struct kh_frames *frames, const uint8_t **data, size_t *len);

/* Writes one datagram of 1 to KH_FRAMES_MAX bytes with its length before it; returns how much. */
size_t kh_frames_write(const uint8_t *data, size_t len,
                       uint8_t out[static KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX]);

#endif
