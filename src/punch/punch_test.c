/* punch/punch_test.c - what leaves, when, how far, and never too much of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "punch/punch.h"

#define SHOTS_MAX 4096
#define START KH_SECONDS(5)

struct seen {
    struct kh_punch_shot shot;
    kh_time at;
};

static struct seen seen[SHOTS_MAX];
static size_t seen_count;

/* Lets it run until it is over, looked at only each `tick`, as a slow timer would. */
static kh_time run(struct kh_punch *punch, kh_duration tick)
{
    kh_time now = START;

    seen_count = 0;
    while (!kh_punch_is_over(punch, now)) {
        assert_true(kh_punch_timeout(punch) != KH_NEVER);
        while (kh_punch_next_shot(punch, now, &seen[seen_count].shot)) {
            seen[seen_count++].at = now;
            assert_true(seen_count < SHOTS_MAX);
        }
        assert_true(kh_punch_timeout(punch) > now);
        now = kh_punch_timeout(punch);
        now = (now + tick - 1) / tick * tick;
    }
    return now - START;
}

static size_t most_in_a_second(size_t from)
{
    size_t most = 0;

    for (size_t i = from; i < seen_count; i++) {
        size_t k = i;

        while (k < seen_count && seen[k].at - seen[i].at < KH_SECONDS(1))
            k++;
        if (k - i > most)
            most = k - i;
    }
    return most;
}

static struct kh_punch_plan everywhere(void)
{
    return (struct kh_punch_plan){.role = KH_PUNCH_PROBE,
                                  .aim = KH_PUNCH_ANYWHERE,
                                  .probes = KH_PUNCH_PROBES_MAX,
                                  .port_min = 1024,
                                  .port_max = 65535};
}

static void probes_keep_below_200_a_second_and_2048_in_all(void **state)
{
    static const kh_duration ticks[] = {1, KH_MILLISECONDS(1), KH_MILLISECONDS(7),
                                        KH_MILLISECONDS(300)};
    const struct kh_punch_message anything = {.word = KH_PUNCH_WORD_HOLD};
    struct kh_punch_plan plan = everywhere();
    struct kh_punch punch;

    (void)state;
    for (size_t i = 0; i < sizeof ticks / sizeof ticks[0]; i++) {
        kh_punch_probe(&punch, START, &plan, &anything, 77 + i);
        run(&punch, ticks[i]);
        assert_int_equal(seen_count, 2048);
        assert_true(most_in_a_second(0) <= 200);
        if (ticks[i] <= KH_MILLISECONDS(7)) /* on a timer that works, no slower than need be */
            assert_true(seen[2047].at - START < KH_SECONDS(11));
    }
}

static void no_port_is_probed_twice(void **state)
{
    const struct kh_punch_message anything = {.word = KH_PUNCH_WORD_HOLD};
    static uint8_t times[65536];
    struct kh_punch_plan plan = everywhere();
    struct kh_punch punch;

    (void)state;
    for (uint64_t seed = 1; seed < 40; seed++) {
        memset(times, 0, sizeof times);
        kh_punch_probe(&punch, START, &plan, &anything, seed * 0x9e3779b97f4a7c15u);
        run(&punch, 1);
        for (size_t i = 0; i < seen_count; i++) {
            assert_int_equal(seen[i].shot.socket, KH_PUNCH_MAIN);
            assert_true(seen[i].shot.port >= 1024);
            assert_int_equal(times[seen[i].shot.port]++, 0);
        }
    }
}

/* The whole block, each port as often as the other. */
static void a_block_is_searched_whole(void **state)
{
    const struct kh_punch_message anything = {.word = KH_PUNCH_WORD_HOLD};
    struct kh_punch_plan plan = everywhere();
    unsigned times[100] = {0};
    struct kh_punch punch;

    (void)state;
    plan.port_min = 5000;
    plan.port_max = 5099;
    plan.probes = 200;
    kh_punch_probe(&punch, START, &plan, &anything, 12345678912345u);
    run(&punch, 1);
    for (size_t i = 0; i < seen_count; i++)
        times[seen[i].shot.port - 5000]++;
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(times[i], 2);
}

static void foretold_ports_go_first_and_what_may_follow_them_next(void **state)
{
    const struct kh_punch_message message = {
        .word = KH_PUNCH_WORD_HOLD, .step = 4, .ports = {40004, 40008}, .port_count = 2};
    struct kh_punch_plan plan = everywhere();
    struct kh_punch punch;

    (void)state;
    kh_punch_probe(&punch, START, &plan, &message, 1);
    run(&punch, 1);
    assert_int_equal(seen_count, 128);
    for (size_t i = 0; i < 128; i++)
        assert_int_equal(seen[i].shot.port, 40004 + 4 * (i % 64));
}

static void ports_without_a_step_are_all_there_is(void **state)
{
    const struct kh_punch_message message = {
        .word = KH_PUNCH_WORD_HOLD, .ports = {40004, 31000, 52000}, .port_count = 3};
    struct kh_punch_plan plan = everywhere();
    struct kh_punch punch;

    (void)state;
    kh_punch_probe(&punch, START, &plan, &message, 1);
    run(&punch, 1);
    assert_int_equal(seen_count, 6);
    assert_int_equal(seen[4].shot.port, 31000);
}

/* At first no further than our own NAT, all within a few moments; then a little further, slowly. */
static void openers_die_near_us(void **state)
{
    const struct kh_punch_plan plan = {.aim = KH_PUNCH_ANYWHERE, .probes = 2048};
    struct kh_punch punch;
    kh_time took;

    (void)state;
    kh_punch_open(&punch, START, &plan, 256);
    took = run(&punch, 1);
    assert_int_equal(seen_count, 512);
    for (size_t i = 0; i < 512; i++) {
        assert_int_equal(seen[i].shot.socket, i % 256);
        assert_int_equal(seen[i].shot.port, 0);
        assert_int_equal(seen[i].shot.ttl, i < 256 ? 2 : 5);
    }
    assert_true(seen[255].at - START < KH_MILLISECONDS(100));
    assert_true(most_in_a_second(256) <= 200);
    assert_true(took >= 2048 * KH_PUNCH_PACE + KH_SECONDS(3)); /* longer than the prober needs */
}

/* Whose prober may send few probes closes soon, to come again with new mappings in time. */
static void a_holder_waits_as_long_as_probes_take(void **state)
{
    const struct kh_punch_plan plan = {.aim = KH_PUNCH_ANYWHERE, .probes = 256, .is_scarce = true};
    struct kh_punch punch;
    kh_time took;

    (void)state;
    kh_punch_open(&punch, START, &plan, KH_PUNCH_SOCKETS_SCARCE);
    took = run(&punch, 1);
    assert_int_equal(seen_count, 2 * KH_PUNCH_SOCKETS_SCARCE);
    assert_true(took >= 256 * KH_PUNCH_PACE + KH_SECONDS(3));
    assert_true(took <= KH_SECONDS(6));
}

/* What a prober may not add to it may repeat. */
static void the_same_seed_probes_the_same_ports(void **state)
{
    const struct kh_punch_plan plan = {.role = KH_PUNCH_PROBE,
                                       .aim = KH_PUNCH_ANYWHERE,
                                       .probes = 256,
                                       .port_min = 1024,
                                       .port_max = 65535};
    const struct kh_punch_message word = {.word = KH_PUNCH_WORD_HOLD};
    uint16_t ports[256];
    struct kh_punch punch;

    (void)state;
    for (int round = 0; round < 2; round++) {
        kh_punch_probe(&punch, START, &plan, &word, 0x1234567890abcdef);
        run(&punch, 1);
        assert_int_equal(seen_count, 256);
        for (size_t i = 0; i < 256; i++) {
            if (round == 1)
                assert_int_equal(seen[i].shot.port, ports[i]);
            ports[i] = seen[i].shot.port;
        }
    }
}

static void a_meeting_aims_at_each_port_in_turn(void **state)
{
    const struct kh_punch_message message = {
        .word = KH_PUNCH_WORD_MEET, .ports = {2000, 2001, 2002}, .port_count = 3};
    struct kh_punch punch;

    (void)state;
    kh_punch_meet(&punch, START, &message);
    run(&punch, 1);
    assert_int_equal(seen_count, 15);
    for (size_t i = 0; i < 15; i++) {
        assert_int_equal(seen[i].shot.socket, 0);
        assert_int_equal(seen[i].shot.port, 2000 + i % 3);
        assert_true((seen[i].shot.ttl == 0) == (i >= 6));
    }
}

/* The odds that the numbers were chosen by: 256 of 64512 ports are held, how many probes hit one?
 */
static void the_birthday_is_as_likely_as_it_is_said(void **state)
{
    const struct kh_punch_message anything = {.word = KH_PUNCH_WORD_HOLD};
    struct kh_punch_plan plan = everywhere();
    enum { TRIES = 2000 };
    static size_t needed[TRIES];
    static uint8_t held[65536];
    size_t within_174 = 0, within_1024 = 0, never = 0;
    uint64_t random = 88172645463325252u;

    (void)state;
    for (size_t try = 0; try < TRIES; try++) {
        struct kh_punch punch;
        struct kh_punch_shot shot;
        kh_time now = START;

        memset(held, 0, sizeof held);
        for (unsigned i = 0; i < 256;) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            i += held[1024 + random % 64512] == 0;
            held[1024 + random % 64512] = 1;
        }
        kh_punch_probe(&punch, START, &plan, &anything, random * 0x2545f4914f6cdd1du);
        needed[try] = 0;
        while (!kh_punch_is_over(&punch, now) && needed[try] == 0) {
            if (kh_punch_next_shot(&punch, now, &shot) && held[shot.port])
                needed[try] = punch.at;
            now = kh_punch_timeout(&punch) > now ? kh_punch_timeout(&punch) : now;
        }
        within_174 += needed[try] != 0 && needed[try] <= 174;
        within_1024 += needed[try] != 0 && needed[try] <= 1024;
        never += needed[try] == 0;
    }
    print_message("174: %.1f %%, 1024: %.1f %%, 2048: %.2f %%\n",
                  100.0 * (double)within_174 / TRIES, 100.0 * (double)within_1024 / TRIES,
                  100.0 * (double)(TRIES - never) / TRIES);
    assert_true(within_174 > TRIES * 47 / 100 && within_174 < TRIES * 53 / 100);
    assert_true(within_1024 > TRIES * 97 / 100);
    assert_true(never < TRIES / 200);
}

static void a_stopped_punch_is_silent(void **state)
{
    const struct kh_punch_plan plan = {.aim = KH_PUNCH_FORETOLD};
    struct kh_punch punch;
    struct kh_punch_shot shot;

    (void)state;
    kh_punch_open(&punch, START, &plan, 8);
    kh_punch_stop(&punch);
    assert_false(kh_punch_next_shot(&punch, START, &shot));
    assert_true(kh_punch_timeout(&punch) == KH_NEVER);
    assert_false(kh_punch_is_over(&punch, KH_SECONDS(1000)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probes_keep_below_200_a_second_and_2048_in_all),
        cmocka_unit_test(no_port_is_probed_twice),
        cmocka_unit_test(a_block_is_searched_whole),
        cmocka_unit_test(foretold_ports_go_first_and_what_may_follow_them_next),
        cmocka_unit_test(ports_without_a_step_are_all_there_is),
        cmocka_unit_test(openers_die_near_us),
        cmocka_unit_test(a_holder_waits_as_long_as_probes_take),
        cmocka_unit_test(the_same_seed_probes_the_same_ports),
        cmocka_unit_test(a_meeting_aims_at_each_port_in_turn),
        cmocka_unit_test(the_birthday_is_as_likely_as_it_is_said),
        cmocka_unit_test(a_stopped_punch_is_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
