/* base/frames_test.c - datagrams come out of a stream as they went in, in whatever pieces.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/frames.h"

static struct kh_frames frames;

static int start(void **state)
{
    (void)state;
    memset(&frames, 0, sizeof frames);
    return 0;
}

static void receive(const void *data, size_t len)
{
    size_t max;
    uint8_t *space = kh_frames_space(&frames, &max);

    assert_true(len <= max);
    memcpy(space, data, len);
    kh_frames_received(&frames, len);
}

static void expect(const char *text)
{
    const uint8_t *data;
    size_t len;

    assert_true(kh_frames_next(&frames, &data, &len));
    assert_int_equal(len, strlen(text));
    assert_memory_equal(data, text, len);
}

static void expect_none(void)
{
    const uint8_t *data;
    size_t len;

    assert_false(kh_frames_next(&frames, &data, &len));
    assert_false(frames.broken);
}

static void frames_stand_one_behind_the_other(void **state)
{
    (void)state;
    expect_none();
    receive("\0\2hi\0\0\0\0\0\5there\0\3he", 19);
    expect("hi");
    expect("there");
    expect_none();
    receive("y", 1);
    expect("hey");
    expect_none();
}

static void frames_come_byte_by_byte(void **state)
{
    static const char bytes[] = "\0\4once\0\5again";

    (void)state;
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        receive(&bytes[i], 1);
        if (i == 5)
            expect("once");
        if (i < sizeof bytes - 2)
            expect_none();
    }
    expect("again");
}

static void what_is_written_is_read(void **state)
{
    static uint8_t longest[KH_FRAMES_MAX];
    static uint8_t out[KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX];
    const uint8_t *data;
    size_t len;

    (void)state;
    memset(longest, 7, sizeof longest);
    assert_int_equal(kh_frames_write(longest, sizeof longest, out), sizeof out);
    receive(out, sizeof out);
    assert_true(kh_frames_next(&frames, &data, &len));
    assert_int_equal(len, sizeof longest);
    assert_memory_equal(data, longest, len);
    assert_int_equal(kh_frames_write((const uint8_t *)"x", 1, out), 3);
    assert_memory_equal(out, "\0\1x", 3);
}

/* Nobody may make us wait for more than we can hold. */
static void a_longer_frame_breaks_the_stream_at_once(void **state)
{
    const uint8_t header[] = {(KH_FRAMES_MAX + 1) >> 8, (KH_FRAMES_MAX + 1) & 0xff};
    const uint8_t *data;
    size_t len;

    (void)state;
    receive("\0\2hi", 4);
    receive(header, sizeof header);
    expect("hi");
    assert_false(kh_frames_next(&frames, &data, &len));
    assert_true(frames.broken);
    receive("\0\2hi", 4);
    assert_false(kh_frames_next(&frames, &data, &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(frames_stand_one_behind_the_other, start),
        cmocka_unit_test_setup(frames_come_byte_by_byte, start),
        cmocka_unit_test_setup(what_is_written_is_read, start),
        cmocka_unit_test_setup(a_longer_frame_breaks_the_stream_at_once, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
