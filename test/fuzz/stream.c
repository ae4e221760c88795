/* fuzz/stream.c - a byte stream gives the same frames however it is cut into pieces.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "stun/stun.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint64_t mix(uint64_t hash, const struct kh_span *frame)
{
    const uint8_t *bytes = frame->data;
    size_t len = frame->len;

    /* A greeting's line end comes along only if it came in time. */
    if (len >= 3 && len <= 5 && memcmp(bytes, "Hi!", 3) == 0)
        len = 3;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return (hash ^ len) * 0x100000001B3u;
}

/* Returns a hash of all frames. */
static uint64_t play(const uint8_t *data, size_t len, size_t piece)
{
    static struct kh_stun_stream stream;
    uint64_t hash = 0xCBF29CE484222325u;
    size_t at = 0;

    stream = (struct kh_stun_stream){0};
    while (at < len && !stream.broken) {
        struct kh_span frame;
        size_t max;
        uint8_t *space = kh_stun_stream_space(&stream, &max);
        size_t take = len - at < piece ? len - at : piece;

        TEST(max > 0);
        take = take < max ? take : max;
        memcpy(space, data + at, take);
        kh_stun_stream_received(&stream, take);
        at += take;
        while (kh_stun_stream_next(&stream, &frame)) {
            TEST(frame.len > 0 && frame.len <= KH_STUN_STREAM_MAX);
            TEST(kh_stun_stream_padding(frame.data, frame.len) < 4);
            hash = mix(hash, &frame);
        }
    }
    return hash ^ (uint64_t)stream.broken;
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len > 1)
        TEST(play(data + 1, len - 1, 1 + (size_t)data[0]) == play(data + 1, len - 1, SIZE_MAX));
    return 0;
}
