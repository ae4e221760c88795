/* room/mesh_test.c - two and three rooms over a bad network: nothing lost, nothing twice, in order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/wire_test.h"

#define SEEDS 200

/* Only signals, ever: 30 % lost, 20 % doubled, order at random. */
static void signals_alone_carry_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct wire *wire = wire_new(2 + seed % 2, seed);

        wire->loss = 30;
        wire->duplication = 20;
        wire->delay_min = KH_MILLISECONDS(5);
        wire->delay_max = KH_MILLISECONDS(150);
        wire_introduce_all(wire);
        for (unsigned i = 0; i < 8; i++) {
            wire_say(wire, kh_rng_below(&wire->rng, wire->count));
            wire_run(wire, KH_MILLISECONDS(kh_rng_below(&wire->rng, 80)));
        }
        if (!wire_settle(wire))
            fail_msg("seed %u: not settled", (unsigned)seed);
        wire_free(wire);
    }
}

static void toggle_some_channel(struct wire *wire)
{
    size_t a = kh_rng_below(&wire->rng, wire->count);
    size_t b = (a + 1 + kh_rng_below(&wire->rng, wire->count - 1)) % wire->count;

    wire_set_channel(wire, a, b, wire->parties[a].channel[b] == 0);
}

static void open_all_channels(struct wire *wire)
{
    for (size_t i = 0; i < wire->count; i++) {
        for (size_t j = i + 1; j < wire->count; j++) {
            if (wire->parties[i].channel[j] == 0)
                wire_set_channel(wire, i, j, true);
        }
    }
}

static void unblock_some(struct wire *wire, unsigned percent)
{
    for (size_t i = 0; i < wire->count; i++) {
        for (size_t j = 0; j < wire->count; j++) {
            if (i != j && wire_chance(wire, percent))
                wire_unblock(wire, i, j);
        }
    }
}

/* Channels come, refuse, and go with all that is in them, while everybody talks. */
static void nothing_is_lost_when_channels_come_and_go(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct wire *wire = wire_new(2 + seed % 2, seed);

        wire->loss = 20;
        wire->duplication = 10;
        wire->refusal = 20;
        wire->large = 5;
        wire->delay_min = KH_MILLISECONDS(5);
        wire->delay_max = KH_MILLISECONDS(100);
        wire_introduce_all(wire);
        for (unsigned i = 0; i < 16; i++) {
            wire_say(wire, kh_rng_below(&wire->rng, wire->count));
            if (wire_chance(wire, 20))
                toggle_some_channel(wire);
            unblock_some(wire, 30);
            wire_run(wire, KH_MILLISECONDS(kh_rng_below(&wire->rng, 100)));
        }
        wire->refusal = 0;
        open_all_channels(wire);
        unblock_some(wire, 100);
        if (!wire_settle(wire))
            fail_msg("seed %u: not settled", (unsigned)seed);
        wire_free(wire);
    }
}

/* The other way round: what went by channel and was lost with it comes again by signal. */
static void signals_take_over_when_a_channel_dies(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS / 4; seed++) {
        struct wire *wire = wire_new(2, seed);

        wire->delay_min = KH_MILLISECONDS(20);
        wire->delay_max = KH_MILLISECONDS(60);
        wire_introduce_all(wire);
        wire_set_channel(wire, 0, 1, true);
        for (unsigned i = 0; i < 30; i++)
            wire_say(wire, i % 2);
        wire_run(wire, KH_MILLISECONDS(kh_rng_below(&wire->rng, 100)));
        wire_set_channel(wire, 0, 1, false);
        assert_true(wire_settle(wire));
        wire_free(wire);
    }
}

/* Newcomers get all that was said before they came. */
static void late_members_get_the_log_from_its_beginning(void **state)
{
    struct wire *wire = wire_new(3, 1);

    (void)state;
    wire->delay_min = wire->delay_max = KH_MILLISECONDS(20);
    wire_introduce(wire, 0, 1);
    wire_introduce(wire, 1, 0);
    for (unsigned i = 0; i < 50; i++)
        wire_say(wire, 0);
    wire_run(wire, KH_SECONDS(5));
    assert_int_equal(wire->parties[1].heard[0], 50);
    wire_introduce(wire, 2, 0);
    wire_introduce(wire, 2, 1);
    wire_introduce(wire, 1, 2);
    wire_introduce(wire, 0, 2);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), 50);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, &wire->parties[1].id), 0);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* 64 KiB of text a message would be slow as signals: the channel takes it in few messages. */
static void a_burst_fills_few_channel_messages(void **state)
{
    struct wire *wire = wire_new(2, 1);

    (void)state;
    wire->delay_min = wire->delay_max = KH_MILLISECONDS(20);
    wire_introduce_all(wire);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(wire_try_say(wire, 0), KH_OK);
    wire_run(wire, KH_MILLISECONDS(30));
    wire->channel_messages = 0;
    wire_set_channel(wire, 0, 1, true);
    assert_true(wire_settle(wire));
    assert_true(wire->channel_messages < 30);
    wire_free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_alone_carry_everything),
        cmocka_unit_test(nothing_is_lost_when_channels_come_and_go),
        cmocka_unit_test(signals_take_over_when_a_channel_dies),
        cmocka_unit_test(late_members_get_the_log_from_its_beginning),
        cmocka_unit_test(a_burst_fills_few_channel_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
