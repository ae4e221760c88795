/* fuzz/frames.c - a byte stream gives the same datagrams however it is cut into pieces.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/frames.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t mix(uint64_t hash, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 0x100000001B3u;
    return (hash ^ len) * 0x100000001B3u;
}

/* Returns a hash of all datagrams; each is written again and must be what it was. */
static uint64_t play(const uint8_t *data, size_t len, size_t piece)
{
    static struct kh_frames frames;
    static uint8_t again[KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX];
    uint64_t hash = 0xCBF29CE484222325u;
    size_t at = 0;

    memset(&frames, 0, sizeof frames);
    while (at < len && !frames.broken) {
        const uint8_t *frame;
        size_t max, frame_len;
        uint8_t *space = kh_frames_space(&frames, &max);
        size_t take = len - at < piece ? len - at : piece;

        TEST(max > 0);
        take = take < max ? take : max;
        memcpy(space, data + at, take);
        kh_frames_received(&frames, take);
        at += take;
        while (kh_frames_next(&frames, &frame, &frame_len)) {
            TEST(frame_len > 0 && frame_len <= KH_FRAMES_MAX);
            TEST(kh_frames_write(frame, frame_len, again) == frame_len + KH_FRAMES_HEADER_LEN);
            TEST(memcmp(again, frame - KH_FRAMES_HEADER_LEN, frame_len) == 0);
            hash = mix(hash, frame, frame_len);
        }
    }
    return hash ^ (uint64_t)frames.broken;
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len > 1)
        TEST(play(data + 1, len - 1, 1 + (size_t)data[0]) == play(data + 1, len - 1, SIZE_MAX));
    return 0;
}
