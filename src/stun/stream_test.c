/* stun/stream_test.c - frames out of streams that come in any pieces, from anyone.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "stun/stun.h"

static struct kh_stun_stream stream;

static int start(void **state)
{
    (void)state;
    stream = (struct kh_stun_stream){0};
    return 0;
}

/* A Binding request whose attributes have this length. */
static size_t message(uint8_t *out, size_t attributes_len)
{
    static const uint8_t header[8] = {0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42};

    memset(out, 0x55, KH_STUN_HEADER_LEN + attributes_len);
    memcpy(out, header, sizeof header);
    out[2] = (uint8_t)(attributes_len >> 8);
    out[3] = (uint8_t)attributes_len;
    return KH_STUN_HEADER_LEN + attributes_len;
}

/* ChannelData without padding. */
static size_t channel_data(uint8_t *out, size_t len)
{
    memset(out, 0xAA, 4 + len);
    out[0] = 0x40;
    out[1] = 0x01;
    out[2] = (uint8_t)(len >> 8);
    out[3] = (uint8_t)len;
    return 4 + len;
}

static void receive(const void *data, size_t len)
{
    size_t max;
    uint8_t *space = kh_stun_stream_space(&stream, &max);

    assert_true(len <= max);
    memcpy(space, data, len);
    kh_stun_stream_received(&stream, len);
}

static void expect(const void *data, size_t len)
{
    struct kh_span frame;

    assert_true(kh_stun_stream_next(&stream, &frame));
    assert_int_equal(frame.len, len);
    assert_memory_equal(frame.data, data, len);
}

static void expect_none(bool partial)
{
    struct kh_span frame;

    assert_false(kh_stun_stream_next(&stream, &frame));
    assert_false(stream.broken);
    assert_int_equal(kh_stun_stream_is_partial(&stream), partial);
}

static void expect_broken(const void *data, size_t len)
{
    struct kh_span frame;

    stream = (struct kh_stun_stream){0};
    receive(data, len);
    assert_false(kh_stun_stream_next(&stream, &frame));
    assert_true(stream.broken);
    receive("Hi!", 3);
    assert_false(kh_stun_stream_next(&stream, &frame));
}

static void messages_stand_one_behind_the_other(void **state)
{
    uint8_t data[256];
    size_t first = message(data, 0);
    size_t second = message(data + first, 36);
    size_t third = channel_data(data + first + second, 8);

    (void)state;
    expect_none(false);
    receive(data, first + second + third);
    expect(data, first);
    expect(data + first, second);
    expect(data + first + second, third);
    expect_none(false);
}

static void frames_come_byte_by_byte(void **state)
{
    uint8_t data[64];
    size_t len = message(data, 12);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        expect_none(i > 0);
        receive(data + i, 1);
    }
    expect(data, len);
    expect_none(false);
}

/* RFC 8656 12.5: over a stream ChannelData is padded to four, and the length does not say so. */
static void channel_data_is_padded(void **state)
{
    uint8_t data[32] = {0};
    uint8_t after[KH_STUN_HEADER_LEN];

    (void)state;
    for (size_t len = 0; len <= 8; len++) {
        size_t frame_len = channel_data(data, len);
        size_t padding = kh_stun_stream_padding(data, frame_len);

        assert_int_equal((frame_len + padding) % 4, 0);
        assert_true(padding < 4);
        receive(data, frame_len);
        if (padding > 0)
            expect_none(true);
        receive("\0\0\0", padding);
        receive(after, message(after, 0));
        expect(data, frame_len);
        expect(after, sizeof after);
    }
}

static void only_channel_data_needs_padding(void **state)
{
    uint8_t data[64];

    (void)state;
    assert_int_equal(kh_stun_stream_padding(data, message(data, 4)), 0);
    assert_int_equal(kh_stun_stream_padding((const uint8_t *)"HI!", 3), 0);
    assert_int_equal(kh_stun_stream_padding((const uint8_t *)"HI!\r\n", 5), 0);
    assert_int_equal(kh_stun_stream_padding(data, 0), 0);
}

static void greetings_take_their_line_end_along(void **state)
{
    uint8_t data[KH_STUN_HEADER_LEN];

    (void)state;
    receive("Hi!Hi!\nHi!\r\nHi!", 15);
    expect("Hi!", 3);
    expect("Hi!\n", 4);
    expect("Hi!\r\n", 5);
    expect("Hi!", 3);
    receive("\r", 1);
    expect_none(false);
    receive("\n", 1);
    expect_none(false);
    receive(data, message(data, 0));
    expect(data, sizeof data);
}

static void longest_frames_pass_and_longer_ones_break(void **state)
{
    static uint8_t data[KH_STUN_STREAM_MAX + 8];
    size_t len = message(data, KH_STUN_STREAM_MAX - KH_STUN_HEADER_LEN);

    (void)state;
    receive(data, len);
    expect(data, len);
    len = channel_data(data, KH_STUN_STREAM_MAX - 4);
    receive(data, len);
    expect(data, len);
    (void)message(data, KH_STUN_STREAM_MAX - KH_STUN_HEADER_LEN + 4);
    expect_broken(data, 4);
    (void)channel_data(data, KH_STUN_STREAM_MAX - 3);
    expect_broken(data, 4);
}

static void garbage_breaks_the_stream_at_once(void **state)
{
    uint8_t data[32];

    (void)state;
    expect_broken("GET / HTTP/1.1\r\n", 16);
    expect_broken("\x16\x03\x01\x02\x00\x01", 6); /* TLS where none is expected */
    expect_broken("\x80", 1);
    expect_broken("\xC0", 1);
    (void)message(data, 0);
    data[4] = 0x20; /* not the magic cookie: known with its first byte */
    expect_broken(data, 5);
    (void)message(data, 2); /* not a multiple of four */
    expect_broken(data, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_stand_one_behind_the_other, start),
        cmocka_unit_test_setup(frames_come_byte_by_byte, start),
        cmocka_unit_test_setup(channel_data_is_padded, start),
        cmocka_unit_test_setup(only_channel_data_needs_padding, start),
        cmocka_unit_test_setup(greetings_take_their_line_end_along, start),
        cmocka_unit_test_setup(longest_frames_pass_and_longer_ones_break, start),
        cmocka_unit_test_setup(garbage_breaks_the_stream_at_once, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
