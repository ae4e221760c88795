/* stun/stream.c - messages out of a byte stream: STUN and TURN over TCP and TLS.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include <assert.h>
#include <string.h>

#define CHANNEL_HEADER_LEN 4
#define MAGIC_END 8 /* of the magic cookie in a message */

/* Begins like ChannelData, but of a length that no frame may have: nothing else means it. */
#define GREETING "Hi!"
#define GREETING_LEN 3

enum found { FOUND_NOTHING, FOUND_PART, FOUND_FRAME };

struct shape {
    size_t len;     /* of the frame */
    size_t padding; /* behind it */
};

uint8_t *kh_stun_stream_space(struct kh_stun_stream *stream, size_t *max)
{
    memmove(stream->data, stream->data + stream->at, stream->end - stream->at);
    stream->end -= stream->at;
    stream->at = 0;
    *max = sizeof stream->data - stream->end;
    return stream->data + stream->end;
}

void kh_stun_stream_received(struct kh_stun_stream *stream, size_t len)
{
    assert(len <= sizeof stream->data - stream->end);
    stream->end += len;
}

static uint16_t u16_at(const uint8_t *data)
{
    return (uint16_t)(data[0] << 8 | data[1]);
}

static enum found whole_or_part(const struct shape *shape, size_t len)
{
    if (shape->len + shape->padding > KH_STUN_STREAM_MAX)
        return FOUND_NOTHING;
    return shape->len + shape->padding <= len ? FOUND_FRAME : FOUND_PART;
}

static enum found find_message(const uint8_t *data, size_t len, struct shape *out)
{
    static const uint8_t magic[] = {0x21, 0x12, 0xA4, 0x42};
    size_t seen = len < MAGIC_END ? len : MAGIC_END;

    /* As soon as it is not the magic cookie: garbage gets no time. */
    if (seen > CHANNEL_HEADER_LEN &&
        memcmp(data + CHANNEL_HEADER_LEN, magic, seen - CHANNEL_HEADER_LEN) != 0)
        return FOUND_NOTHING;
    if (len < CHANNEL_HEADER_LEN)
        return FOUND_PART;
    *out = (struct shape){.len = KH_STUN_HEADER_LEN + (size_t)u16_at(data + 2)};
    return out->len % 4 == 0 ? whole_or_part(out, len) : FOUND_NOTHING;
}

static enum found find_channel_data(const uint8_t *data, size_t len, struct shape *out)
{
    if (len < CHANNEL_HEADER_LEN)
        return FOUND_PART;
    out->len = CHANNEL_HEADER_LEN + (size_t)u16_at(data + 2);
    out->padding = (4 - out->len % 4) % 4;
    return whole_or_part(out, len);
}

/* With its line end, as far as that has come. */
static struct shape greeting(const uint8_t *data, size_t len)
{
    size_t at = GREETING_LEN;

    if (len > at + 1 && data[at] == '\r' && data[at + 1] == '\n')
        at += 2;
    else if (len > at && data[at] == '\n')
        at++;
    return (struct shape){.len = at};
}

static enum found find(const struct kh_stun_stream *stream, struct shape *out)
{
    const uint8_t *data = stream->data + stream->at;
    size_t len = stream->end - stream->at;

    *out = (struct shape){0};
    if (len == 0)
        return FOUND_PART;
    if (len >= GREETING_LEN && memcmp(data, GREETING, GREETING_LEN) == 0) {
        *out = greeting(data, len);
        return FOUND_FRAME;
    }
    /* RFC 7983 7: 0..3 is STUN, and 64..79 TURN channels (RFC 8656 12).  Our methods fill the
     * whole of what two zero bits leave, and the channels of RFC 5766 clients go up to 127. */
    if (data[0] < 0x40)
        return find_message(data, len, out);
    if (data[0] < 0x80)
        return find_channel_data(data, len, out);
    return FOUND_NOTHING;
}

static void skip_line_end(struct kh_stun_stream *stream)
{
    while (stream->greeted && stream->at < stream->end) {
        uint8_t byte = stream->data[stream->at];

        if (byte == '\r' || byte == '\n')
            stream->at++;
        stream->greeted = byte == '\r';
    }
}

bool kh_stun_stream_next(struct kh_stun_stream *stream, struct kh_span *frame)
{
    struct shape shape;
    enum found found;

    if (stream->broken)
        return false;
    skip_line_end(stream);
    found = find(stream, &shape);
    stream->broken = found == FOUND_NOTHING;
    if (found != FOUND_FRAME)
        return false;
    *frame = (struct kh_span){stream->data + stream->at, shape.len};
    stream->at += shape.len + shape.padding;
    stream->greeted = shape.len == GREETING_LEN;
    return true;
}

bool kh_stun_stream_is_partial(const struct kh_stun_stream *stream)
{
    return stream->at < stream->end;
}

size_t kh_stun_stream_padding(const uint8_t *frame, size_t len)
{
    bool is_channel_data = len >= CHANNEL_HEADER_LEN && (frame[0] & 0xC0) == 0x40 &&
                           CHANNEL_HEADER_LEN + (size_t)u16_at(frame + 2) == len;

    return is_channel_data ? (4 - len % 4) % 4 : 0;
}
