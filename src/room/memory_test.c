/* room/memory_test.c - each allocation fails in turn: nothing breaks, and nothing is lost for good.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/wire_test.h"

static bool is_armed;
static bool has_failed;
static unsigned countdown; /* allocations until the one that fails */

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);

static bool fails(void)
{
    if (!is_armed || has_failed)
        return false;
    has_failed = countdown-- == 0;
    return has_failed;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

static void arm(unsigned allocations)
{
    is_armed = true;
    has_failed = false;
    countdown = allocations;
}

/* True if the allocation that was to fail was reached. */
static bool disarm(void)
{
    is_armed = false;
    return has_failed;
}

static void a_room_without_memory_is_not_made(void **state)
{
    struct kh_room_config config = {.name = "Alice"};
    struct kh_room *room = NULL;

    (void)state;
    arm(0);
    assert_int_equal(kh_room_new(&room, &config), KH_ERR_MEMORY);
    assert_true(disarm());
    assert_null(room);
}

static void a_member_without_memory_is_not_added(void **state)
{
    struct wire *wire = wire_new(2, 1);

    (void)state;
    arm(0);
    assert_int_equal(kh_room_add_member(wire->parties[0].room, wire->now, &wire->parties[1].id,
                                        wire->parties[1].identity),
                     KH_ERR_MEMORY);
    assert_true(disarm());
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), 0);
    wire_introduce_all(wire);
    wire_say(wire, 0);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

static void a_word_without_memory_is_not_said(void **state)
{
    struct wire *wire = wire_new(2, 1);

    (void)state;
    wire_introduce_all(wire);
    arm(0);
    assert_int_equal(wire_try_say(wire, 0), KH_ERR_MEMORY);
    assert_true(disarm());
    assert_int_equal(kh_room_stats(wire->parties[0].room).said, 0);
    wire_say(wire, 0);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* Takes what has arrived at Bob; every allocation in there is an entry's. */
static void a_word_that_finds_no_memory_comes_again(void **state)
{
    (void)state;
    for (unsigned failing = 0; failing < 5; failing++) {
        struct wire *wire = wire_new(2, failing);
        uint8_t sealed[KH_ROOM_SIGNAL_MAX];
        size_t len;

        for (unsigned i = 0; i < 5; i++)
            wire_say(wire, 0);
        len = kh_room_early_signal(wire->parties[0].room, sealed);
        wire_introduce(wire, 1, 0);
        arm(failing);
        kh_room_handle_signal(wire->parties[1].room, wire->now, &wire->parties[0].id,
                              (struct kh_span){sealed, len});
        assert_true(disarm());
        wire_drain(wire, 1);
        assert_int_equal(wire->parties[1].heard[0], failing);
        assert_int_equal(kh_room_stats(wire->parties[1].room).dropped_outbox_full, 1);
        wire_introduce(wire, 0, 1);
        assert_true(wire_settle(wire));
        wire_free(wire);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_room_without_memory_is_not_made),
        cmocka_unit_test(a_member_without_memory_is_not_added),
        cmocka_unit_test(a_word_without_memory_is_not_said),
        cmocka_unit_test(a_word_that_finds_no_memory_comes_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
