/* base/bytes_test.c - readers and writers stop for good at the first thing that does not fit.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"

static void numbers_are_big_endian(void **state)
{
    static const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint8_t out[sizeof expected];
    struct kh_writer writer = kh_writer_to(out, sizeof out);
    struct kh_reader reader = kh_reader_of(expected, sizeof expected);

    (void)state;
    kh_write_u8(&writer, 0x01);
    kh_write_u16(&writer, 0x0203);
    kh_write_u32(&writer, 0x04050607);
    kh_write_u64(&writer, 0x08090a0b0c0d0e0f);
    assert_false(writer.failed);
    assert_int_equal(writer.len, sizeof expected);
    assert_memory_equal(out, expected, sizeof expected);
    assert_int_equal(kh_read_u8(&reader), 0x01);
    assert_int_equal(kh_read_u16(&reader), 0x0203);
    assert_int_equal(kh_read_u32(&reader), 0x04050607);
    assert_true(kh_read_u64(&reader) == 0x08090a0b0c0d0e0f);
    assert_true(kh_reader_is_done(&reader));
}

static void a_failed_reader_gives_zeros_ever_after(void **state)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    static const uint8_t zeros[3];
    struct kh_reader reader = kh_reader_of(bytes, sizeof bytes);
    uint8_t out[3] = {9, 9, 9};

    (void)state;
    assert_int_equal(kh_read_u8(&reader), 1);
    assert_int_equal(kh_read_u32(&reader), 0); /* one byte short */
    assert_true(reader.failed);
    assert_int_equal(kh_read_u8(&reader), 0); /* would fit, but is not to be trusted */
    assert_int_equal(kh_read_u16(&reader), 0);
    assert_true(kh_read_u64(&reader) == 0);
    assert_null(kh_read_bytes(&reader, 0));
    kh_read_copy(&reader, out, sizeof out);
    assert_memory_equal(out, zeros, sizeof out);
    assert_false(kh_reader_is_done(&reader));
}

static void bytes_are_read_in_place_or_copied(void **state)
{
    static const uint8_t bytes[5] = {1, 2, 3, 4, 5};
    struct kh_reader reader = kh_reader_of(bytes, sizeof bytes);
    uint8_t out[2];

    (void)state;
    assert_ptr_equal(kh_read_bytes(&reader, 2), bytes);
    assert_ptr_equal(kh_read_bytes(&reader, 0), bytes + 2);
    kh_read_copy(&reader, out, 2);
    assert_memory_equal(out, bytes + 2, 2);
    assert_false(kh_reader_is_done(&reader)); /* one is left over */
    assert_null(kh_read_bytes(&reader, SIZE_MAX));
}

static void an_empty_reader_is_done_and_gives_nothing(void **state)
{
    struct kh_reader reader = kh_reader_of((const uint8_t *)"", 0);

    (void)state;
    assert_true(kh_reader_is_done(&reader));
    assert_int_equal(kh_read_u8(&reader), 0);
    assert_true(reader.failed);
}

static void a_failed_writer_writes_nothing_ever_after(void **state)
{
    uint8_t out[6] = {9, 9, 9, 9, 9, 9};
    static const uint8_t expected[6] = {1, 9, 9, 9, 9, 9};
    struct kh_writer writer = kh_writer_to(out, 4);

    (void)state;
    kh_write_u8(&writer, 1);
    kh_write_u32(&writer, 0x02030405); /* one byte too long */
    assert_true(writer.failed);
    kh_write_u8(&writer, 2); /* would fit */
    kh_write_u16(&writer, 2);
    kh_write_u64(&writer, 2);
    kh_write_bytes(&writer, "abc", 1);
    kh_write_zeros(&writer, 1);
    kh_write_u16_at(&writer, 0, 0x0202);
    assert_int_equal(writer.len, 1);
    assert_memory_equal(out, expected, sizeof out);
}

static void bytes_zeros_and_corrections_are_written(void **state)
{
    static const uint8_t expected[7] = {0, 5, 'a', 'b', 0, 0, 0};
    uint8_t out[7];
    struct kh_writer writer = kh_writer_to(out, sizeof out);

    (void)state;
    memset(out, 9, sizeof out);
    kh_write_u16(&writer, 0xffff);
    kh_write_bytes(&writer, "ab", 2);
    kh_write_bytes(&writer, NULL, 0);
    kh_write_zeros(&writer, 3);
    kh_write_u16_at(&writer, 0, 5);
    assert_false(writer.failed);
    assert_memory_equal(out, expected, sizeof out);
    kh_write_bytes(&writer, NULL, 0); /* nothing fits into a full buffer */
    assert_false(writer.failed);
    kh_write_zeros(&writer, SIZE_MAX);
    assert_true(writer.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_big_endian),
        cmocka_unit_test(a_failed_reader_gives_zeros_ever_after),
        cmocka_unit_test(bytes_are_read_in_place_or_copied),
        cmocka_unit_test(an_empty_reader_is_done_and_gives_nothing),
        cmocka_unit_test(a_failed_writer_writes_nothing_ever_after),
        cmocka_unit_test(bytes_zeros_and_corrections_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
