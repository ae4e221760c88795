/* base/frames.c - datagrams along a byte stream, each behind its length (RFC 4571 2).
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/frames.h"

#include <assert.h>
#include <string.h>

uint8_t *kh_frames_space(struct kh_frames *frames, size_t *max)
{
    assert(frames->at <= frames->end && frames->end <= sizeof frames->data);
    memmove(frames->data, frames->data + frames->at, frames->end - frames->at);
    frames->end -= frames->at;
    frames->at = 0;
    *max = sizeof frames->data - frames->end;
    return frames->data + frames->end;
}

void kh_frames_received(struct kh_frames *frames, size_t len)
{
    assert(len <= sizeof frames->data - frames->end);
    frames->end += len;
}

bool kh_frames_next(struct kh_frames *frames, const uint8_t **data, size_t *len)
{
    while (!frames->broken && frames->end - frames->at >= KH_FRAMES_HEADER_LEN) {
        const uint8_t *frame = frames->data + frames->at;

        *len = (size_t)(frame[0] << 8 | frame[1]);
        frames->broken = *len > KH_FRAMES_MAX;
        if (frames->broken || frames->end - frames->at < KH_FRAMES_HEADER_LEN + *len)
            return false;
        frames->at += KH_FRAMES_HEADER_LEN + *len;
        *data = frame + KH_FRAMES_HEADER_LEN;
        if (*len > 0)
            return true;
    }
    return false;
}

size_t kh_frames_write(const uint8_t *data, size_t len,
                       uint8_t out[static KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX])
{
    assert(len > 0 && len <= KH_FRAMES_MAX);
    out[0] = (uint8_t)(len >> 8);
    out[1] = (uint8_t)len;
    memcpy(out + KH_FRAMES_HEADER_LEN, data, len);
    return KH_FRAMES_HEADER_LEN + len;
}
