/* room/doubt_test.c - words by signal too, while an open channel is silent.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/wire_test.h"

#define RTT_HALF KH_MILLISECONDS(20)
#define DOUBT_FIRST KH_MILLISECONDS(1200) /* before the channel was ever measured */
#define DOUBT_MIN KH_MILLISECONDS(400)

/* Two whose channel is open, and was used for a while. */
static struct wire *make_talk(kh_duration one_way)
{
    struct wire *wire = wire_new(2, 1);

    wire->delay_min = wire->delay_max = one_way;
    wire_introduce_all(wire);
    wire_set_channel(wire, 0, 1, true);
    for (unsigned i = 0; i < 10; i++) {
        wire_say(wire, 0);
        wire_say(wire, 1);
        wire_run(wire, KH_MILLISECONDS(500));
    }
    assert_int_equal(wire->signals, 0);
    return wire;
}

static bool is_doubted(const struct wire *wire, size_t me)
{
    return kh_room_is_doubted(wire->parties[me].room, &wire->parties[1 - me].id);
}

static void a_silent_channel_is_doubted_after_four_round_trips(void **state)
{
    struct wire *wire = make_talk(KH_MILLISECONDS(75));

    (void)state;
    wire_cut(wire);
    wire_say(wire, 0);
    wire_run(wire, KH_MILLISECONDS(600) - 1);
    assert_false(is_doubted(wire, 0));
    assert_int_equal(wire->signals, 0);
    wire_run(wire, 1);
    assert_true(is_doubted(wire, 0));
    assert_int_equal(wire->signals, 1);
    wire_run(wire, KH_MILLISECONDS(75));
    assert_int_equal(wire->parties[1].heard[0], 11);
    assert_int_equal(wire->parties[1].heard_by_signal, 1);
    wire_run(wire, KH_MILLISECONDS(75));
    assert_int_equal(wire->parties[0].delivered[1], 11);
    wire_free(wire);
}

static void a_channel_never_heard_is_doubted_after_the_longest_time(void **state)
{
    struct wire *wire = wire_new(2, 1);

    (void)state;
    wire_introduce_all(wire);
    wire_set_channel(wire, 0, 1, true);
    wire_cut(wire);
    wire_say(wire, 0);
    wire_run(wire, DOUBT_FIRST - 1);
    assert_int_equal(wire->signals, 0);
    wire_run(wire, 1);
    assert_int_equal(wire->signals, 2); /* the word, and that it was heard */
    assert_int_equal(wire->parties[0].delivered[1], 1);
    wire_free(wire);
}

/* The other side doubts too, at once: it hears by signal what its channel should have brought. */
static void while_doubted_words_wait_for_nothing(void **state)
{
    struct wire *wire = make_talk(RTT_HALF);

    (void)state;
    wire_cut(wire);
    wire_say(wire, 0);
    wire_run(wire, DOUBT_MIN + RTT_HALF);
    assert_true(is_doubted(wire, 0));
    assert_true(is_doubted(wire, 1));
    wire_say(wire, 1);
    wire_run(wire, RTT_HALF);
    assert_int_equal(wire->parties[0].heard[1], 11);
    for (unsigned i = 0; i < 60; i++) {
        wire_say(wire, i % 2);
        wire_run(wire, 2 * RTT_HALF);
        assert_int_equal(wire->parties[1 - i % 2].heard[i % 2], 11 + i / 2 + 1);
    }
    wire_free(wire);
}

static void a_channel_that_speaks_again_is_trusted_again(void **state)
{
    struct wire *wire = make_talk(RTT_HALF);
    uint64_t signals;

    (void)state;
    wire_cut(wire);
    for (unsigned i = 0; i < 10; i++) {
        wire_say(wire, 0);
        wire_say(wire, 1);
        wire_run(wire, KH_MILLISECONDS(300));
    }
    wire_mend(wire);
    wire_run(wire, 4 * RTT_HALF);
    assert_false(is_doubted(wire, 0));
    assert_false(is_doubted(wire, 1));
    assert_true(wire_settle(wire)); /* the wire itself checks that nothing comes twice */
    assert_true(kh_room_stats(wire->parties[1].room).duplicates > 0);
    signals = wire->signals;
    wire_say(wire, 0);
    wire_say(wire, 1);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->signals, signals);
    wire_free(wire);
}

static void a_slow_channel_is_not_doubted(void **state)
{
    struct wire *wire = make_talk(KH_MILLISECONDS(150));

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        wire->delay_max = KH_MILLISECONDS(150 + i);
        wire_say(wire, i % 2);
        wire_run(wire, KH_MILLISECONDS(40));
    }
    assert_true(wire_settle(wire));
    assert_int_equal(wire->signals, 0);
    wire_free(wire);
}

/* Nobody hears: what waits is repeated ever slower, however much is said. */
static void signals_beside_a_channel_are_few(void **state)
{
    struct wire *wire = make_talk(RTT_HALF);

    (void)state;
    wire_cut(wire);
    wire->loss = 100;
    for (unsigned i = 0; i < 600; i++) {
        wire_say(wire, 0);
        wire_run(wire, KH_MILLISECONDS(50));
    }
    assert_in_range(wire->signals, 20, 45); /* 4 each time: 200 ms, 400 … then every 5 s */
    wire->loss = 0;
    wire_mend(wire);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* As the channel opens, signals that left before it are still under way. */
static void late_signals_beside_a_young_channel_are_no_hint(void **state)
{
    struct wire *wire = wire_new(2, 1);

    (void)state;
    wire->delay_min = wire->delay_max = RTT_HALF;
    wire_introduce_all(wire);
    wire_say(wire, 0);
    wire_set_channel(wire, 0, 1, true);
    wire_run(wire, RTT_HALF);
    assert_int_equal(wire->parties[1].heard_by_signal, 1);
    assert_false(is_doubted(wire, 1));
    assert_true(wire_settle(wire));
    wire_free(wire);
}

static void doubt_ends_with_the_channel(void **state)
{
    struct wire *wire = make_talk(RTT_HALF);

    (void)state;
    wire_cut(wire);
    wire_say(wire, 0);
    wire_run(wire, KH_SECONDS(1));
    assert_true(is_doubted(wire, 0));
    wire_set_channel(wire, 0, 1, false);
    assert_false(is_doubted(wire, 0));
    wire->cut = false; /* what was in that channel is lost with it */
    wire_say(wire, 0);
    wire_set_channel(wire, 0, 1, true);
    assert_true(wire_settle(wire));
    assert_false(is_doubted(wire, 0));
    wire_free(wire);
}

static void a_hurried_word_does_not_wait_for_its_turn(void **state)
{
    struct wire *wire = wire_new(2, 1);

    (void)state;
    wire->delay_min = wire->delay_max = RTT_HALF;
    wire_introduce_all(wire);
    wire->loss = 100;
    wire_say(wire, 0);
    wire_run(wire, KH_SECONDS(30));
    wire->loss = 0;
    kh_room_hurry(wire->parties[0].room, wire->now, &wire->parties[1].id);
    wire_drain(wire, 0);
    wire_run(wire, 2 * RTT_HALF);
    assert_int_equal(wire->parties[0].delivered[1], 1);
    kh_room_hurry(wire->parties[0].room, wire->now, &wire->parties[0].id); /* nobody */
    assert_true(wire_settle(wire));
    wire_free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_channel_is_doubted_after_four_round_trips),
        cmocka_unit_test(a_channel_never_heard_is_doubted_after_the_longest_time),
        cmocka_unit_test(while_doubted_words_wait_for_nothing),
        cmocka_unit_test(a_channel_that_speaks_again_is_trusted_again),
        cmocka_unit_test(a_slow_channel_is_not_doubted),
        cmocka_unit_test(signals_beside_a_channel_are_few),
        cmocka_unit_test(late_signals_beside_a_young_channel_are_no_hint),
        cmocka_unit_test(doubt_ends_with_the_channel),
        cmocka_unit_test(a_hurried_word_does_not_wait_for_its_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
