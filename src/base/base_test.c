/* base/base_test.c - queues, times, statuses and log lines behave as their headers say.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/outbox.h"
#include "base/time.h"

static unsigned allocations_left; /* before one fails; the linker sends calloc here */

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return allocations_left-- == 0 ? NULL : __real_calloc(count, size);
}

static void a_ring_keeps_order_and_its_bound(void **state)
{
    struct kh_ring ring = {0};
    int values[3];
    size_t at;

    (void)state;
    assert_false(kh_ring_pop(&ring, 3, &at));
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3; i++) {
            assert_true(kh_ring_push(&ring, 3, &at));
            values[at] = 10 * round + i;
        }
        assert_false(kh_ring_push(&ring, 3, &at));
        assert_int_equal(ring.count, 3);
        assert_true(kh_ring_pop(&ring, 3, &at));
        assert_int_equal(values[at], 10 * round);
        assert_true(kh_ring_push(&ring, 3, &at)); /* wraps at another place each round */
        values[at] = 10 * round + 3;
        for (int i = 1; i <= 3; i++) {
            assert_true(kh_ring_pop(&ring, 3, &at));
            assert_int_equal(values[at], 10 * round + i);
        }
        assert_false(kh_ring_pop(&ring, 3, &at));
    }
}

static void an_outbox_copies_and_keeps_order(void **state)
{
    struct kh_outbox box;
    struct kh_datagram out;
    uint8_t byte;

    (void)state;
    allocations_left = 2;
    assert_int_equal(kh_outbox_init(&box, 2, 4), KH_OK);
    assert_true(kh_outbox_is_empty(&box));
    assert_false(kh_outbox_next(&box, &out));
    for (uint8_t i = 0; i < 5; i++) {
        struct kh_datagram datagram = {.from = kh_addr_ipv4(10, 0, 0, 1, i),
                                       .to = kh_addr_ipv4(10, 0, 0, 2, i),
                                       .data = &byte,
                                       .len = 1,
                                       .ttl = i};

        byte = i;
        assert_true(kh_outbox_push(&box, &datagram));
        byte = 99; /* the outbox has its own copy */
        assert_false(kh_outbox_is_empty(&box));
        assert_true(kh_outbox_next(&box, &out));
        assert_int_equal(out.len, 1);
        assert_int_equal(out.ttl, i);
        assert_int_equal(out.data[0], i);
        assert_true(kh_addr_equal(&out.from, &datagram.from));
        assert_true(kh_addr_equal(&out.to, &datagram.to));
    }
    assert_false(kh_outbox_next(&box, &out));
    kh_outbox_fini(&box);
}

static void a_full_outbox_drops_the_newest_and_counts(void **state)
{
    static const uint8_t bytes[5] = {1, 2, 3, 4, 5};
    struct kh_datagram datagram = {.data = bytes, .len = 4};
    struct kh_outbox box;
    struct kh_datagram out;

    (void)state;
    allocations_left = 2;
    assert_int_equal(kh_outbox_init(&box, 2, 4), KH_OK);
    assert_true(kh_outbox_push(&box, &datagram));
    datagram.len = 5; /* one byte too long for any slot */
    assert_false(kh_outbox_push(&box, &datagram));
    assert_int_equal(box.dropped, 1);
    datagram = (struct kh_datagram){.data = NULL, .len = 0};
    assert_true(kh_outbox_push(&box, &datagram));
    assert_false(kh_outbox_push(&box, &datagram));
    assert_int_equal(box.dropped, 2);
    assert_true(kh_outbox_next(&box, &out));
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, bytes, 4);
    assert_true(kh_outbox_next(&box, &out));
    assert_int_equal(out.len, 0);
    assert_true(kh_outbox_is_empty(&box));
    kh_outbox_fini(&box);
}

static void an_outbox_without_memory_says_so_and_holds_none(void **state)
{
    struct kh_outbox box;

    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        allocations_left = n;
        assert_int_equal(kh_outbox_init(&box, 4, 1200), KH_ERR_MEMORY);
        assert_null(box.slots);
        assert_null(box.data);
    }
    kh_outbox_fini(&box);
}

static void time_saturates(void **state)
{
    (void)state;
    assert_true(kh_time_add(5, 6) == 11);
    assert_true(kh_time_add(KH_NEVER, 0) == KH_NEVER);
    assert_true(kh_time_add(KH_NEVER, 1) == KH_NEVER);
    assert_true(kh_time_add(KH_NEVER - 1, 1) == KH_NEVER);
    assert_true(kh_time_add(KH_NEVER - 2, 1) == KH_NEVER - 1);
    assert_true(kh_time_add(1, KH_NEVER) == KH_NEVER);
    assert_true(kh_time_since(11, 5) == 6);
    assert_true(kh_time_since(5, 5) == 0);
    assert_true(kh_time_since(5, 11) == 0);
    assert_true(kh_time_since(KH_NEVER, 0) == KH_NEVER);
    assert_true(kh_time_min(3, KH_NEVER) == 3);
    assert_true(kh_time_min(KH_NEVER, 3) == 3);
    assert_true(KH_SECONDS(2) == KH_MILLISECONDS(2000));
    assert_true(KH_SECONDS(10000000) == 10000000000000u); /* no 32-bit overflow on the way */
}

static void every_status_has_its_name(void **state)
{
    static const char *const names[] = {"ok", "format", "auth", "full", "memory"};

    (void)state;
    for (int i = KH_OK; i <= KH_ERR_MEMORY; i++)
        assert_string_equal(kh_status_name((enum kh_status)i), names[i]);
    assert_string_equal(kh_status_name((enum kh_status)77), "?");
}

struct sink {
    unsigned lines;
    enum kh_log_level level;
    char line[600];
};

static void keep(void *context, enum kh_log_level level, const char *line)
{
    struct sink *sink = context;

    sink->lines++;
    sink->level = level;
    assert_true(strlen(line) < sizeof sink->line);
    memcpy(sink->line, line, strlen(line) + 1);
}

static void levels_have_names(void **state)
{
    (void)state;
    for (int i = KH_LOG_ERROR; i <= KH_LOG_DEBUG; i++) {
        enum kh_log_level level;

        assert_true(kh_log_level_parse(kh_log_level_name((enum kh_log_level)i), &level));
        assert_int_equal(level, i);
        assert_false(kh_log_level_parse("warning", &level));
    }
    assert_string_equal(kh_log_level_name(KH_LOG_WARN), "warn");
}

static void a_log_makes_the_lines_of_its_level(void **state)
{
    struct sink sink = {0};
    struct kh_log log = {.write = keep, .context = &sink, .level = KH_LOG_INFO};

    (void)state;
    kh_log_line(&log, KH_LOG_INFO, "ice %04x %s", 0x3f2au, "checking");
    assert_int_equal(sink.lines, 1);
    assert_int_equal(sink.level, KH_LOG_INFO);
    assert_string_equal(sink.line, "ice 3f2a checking");
    kh_log_line(&log, KH_LOG_DEBUG, "datagram");
    assert_int_equal(sink.lines, 1);
    kh_log_line(&log, KH_LOG_ERROR, "stop");
    assert_int_equal(sink.lines, 2);
    assert_int_equal(sink.level, KH_LOG_ERROR);
}

static void a_long_line_is_cut(void **state)
{
    struct sink sink = {0};
    struct kh_log log = {.write = keep, .context = &sink, .level = KH_LOG_INFO};

    (void)state;
    kh_log_line(&log, KH_LOG_INFO, "%01000d", 7);
    assert_int_equal(strlen(sink.line), 511);
}

static void a_zeroed_log_is_silent(void **state)
{
    struct kh_log log = {0};

    (void)state;
    kh_log_line(&log, KH_LOG_ERROR, "nobody hears this");
}

static void a_log_shows_addresses_only_if_told(void **state)
{
    static const char *const texts[] = {"192.0.2.7:80", "10.1.2.3:80",  "[fe80::1]:80",
                                        "[::1]:80",     "224.0.0.1:80", "0.0.0.0:80"};
    static const char *const redacted[] = {"ipv4:global",   "ipv4:private",   "ipv6:link-local",
                                           "ipv6:loopback", "ipv4:multicast", "ipv4:unspecified"};
    struct kh_log closed = {.write = keep};
    struct kh_log open = {.write = keep, .show_addresses = true};
    char text[KH_ADDR_TEXT_MAX];
    struct kh_addr addr;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(kh_addr_parse(texts[i], 0, &addr), KH_OK);
        assert_string_equal(kh_log_addr(&closed, &addr, text), redacted[i]);
        assert_string_equal(kh_log_addr(&open, &addr, text), texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_keeps_order_and_its_bound),
        cmocka_unit_test(an_outbox_copies_and_keeps_order),
        cmocka_unit_test(a_full_outbox_drops_the_newest_and_counts),
        cmocka_unit_test(an_outbox_without_memory_says_so_and_holds_none),
        cmocka_unit_test(time_saturates),
        cmocka_unit_test(every_status_has_its_name),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(a_log_makes_the_lines_of_its_level),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(a_zeroed_log_is_silent),
        cmocka_unit_test(a_log_shows_addresses_only_if_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
