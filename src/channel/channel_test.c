/* channel/channel_test.c - two channels, face to face; built once for each implementation.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "support/wire.h"

static void opens_and_talks_both_ways(void **state)
{
    struct wire *wire = wire_new(1);

    (void)state;
    assert_int_equal(wire_send(wire, 0, 10), KH_ERR_FULL);
    wire_start(wire);
    assert_false(kh_channel_is_open(wire->end[0].channel));
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    assert_true(kh_channel_is_open(wire->end[0].channel));
    assert_true(kh_channel_is_open(wire->end[1].channel));
    assert_int_equal(wire->end[0].writable, 1);
    assert_int_equal(wire->end[1].writable, 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(wire_send(wire, 0, 4), KH_OK);
        assert_int_equal(wire_send(wire, 1, 1000), KH_OK);
    }
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(2)));
    assert_int_equal(kh_channel_stats(wire->end[0].channel).messages_sent, 10);
    assert_int_equal(kh_channel_stats(wire->end[0].channel).bytes_sent, 40);
    assert_int_equal(kh_channel_stats(wire->end[0].channel).messages_received, 10);
    assert_int_equal(kh_channel_stats(wire->end[0].channel).bytes_received, 10000);
    assert_int_equal(kh_channel_stats(wire->end[0].channel).dropped_malformed, 0);
    assert_int_equal(kh_channel_stats(wire->end[1].channel).dropped_outbox_full, 0);
    wire_free(wire);
}

static void opens_in_few_round_trips(void **state)
{
    struct wire *wire = wire_new(2);
    kh_time start = wire->now;
    kh_duration round_trip = 2 * wire->delay;

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    print_message("active %.1f, passive %.1f round trips; %u and %u datagrams\n",
                  (double)(wire->end[0].opened_at - start) / (double)round_trip,
                  (double)(wire->end[1].opened_at - start) / (double)round_trip,
                  (unsigned int)wire->end[0].datagrams, (unsigned int)wire->end[1].datagrams);
    assert_true(wire->end[0].opened_at - start <= 2 * round_trip);
    assert_true(wire->end[1].opened_at - start <= 3 * round_trip / 2);
    wire_free(wire);
}

static bool one_has_arrived(const struct wire *wire)
{
    return wire->end[0].received > 0;
}

static bool two_have_arrived(const struct wire *wire)
{
    return wire->end[1].received > 0;
}

static bool passive_is_open(const struct wire *wire)
{
    return wire->end[1].opened_at != KH_NEVER;
}

static void carries_the_first_words_early(void **state)
{
    struct wire *wire = wire_new(2);
    kh_time start = wire->now;
    kh_duration round_trip = 2 * wire->delay;

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, passive_is_open, KH_SECONDS(5)));
    assert_int_equal(wire_send(wire, 1, 500), KH_OK);
    assert_int_equal(wire_send(wire, 1, 500), KH_OK);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    assert_int_equal(wire_send(wire, 0, 500), KH_OK);
    assert_true(kh_channel_unacknowledged(wire->end[0].channel) >= 500);
    assert_true(wire_run_until(wire, one_has_arrived, KH_SECONDS(5)));
    print_message("from the passive side %.1f", (double)(wire->now - start) / (double)round_trip);
    assert_true(wire->now - start <= 3 * round_trip);
    assert_true(wire_run_until(wire, two_have_arrived, KH_SECONDS(5)));
    print_message(", from the active side %.1f\n",
                  (double)(wire->now - start) / (double)round_trip);
    assert_true(wire->now - start <= 7 * round_trip / 2);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(1)));
    wire_free(wire);
}

static void closes_after_words_sent_before_it_was_up(void **state)
{
    struct wire *wire = wire_new(18);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, passive_is_open, KH_SECONDS(5)));
    assert_int_equal(wire_send(wire, 1, 500), KH_OK);
    kh_channel_close(wire->end[1].channel, wire->now);
    wire_drain(wire);
    assert_int_equal(wire_send(wire, 1, 500), KH_ERR_FULL);
    assert_true(wire_run_until(wire, wire_both_ended, KH_SECONDS(5)));
    assert_true(wire->end[0].closed && wire->end[1].closed);
    assert_int_equal(wire->end[0].received, 1);
    wire_free(wire);
}

static void is_idle_when_idle(void **state)
{
    struct wire *wire = wire_new(3);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    wire_run(wire, KH_SECONDS(1));
    assert_int_equal(kh_channel_timeout(wire->end[0].channel), KH_NEVER);
    assert_int_equal(kh_channel_timeout(wire->end[1].channel), KH_NEVER);
    assert_int_equal(wire_send(wire, 0, 100), KH_OK);
    assert_true(kh_channel_unacknowledged(wire->end[0].channel) >= 100);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(1)));
    wire_run(wire, KH_SECONDS(1));
    assert_int_equal(kh_channel_timeout(wire->end[0].channel), KH_NEVER);
    assert_int_equal(kh_channel_timeout(wire->end[1].channel), KH_NEVER);
    wire_run(wire, KH_SECONDS(3600));
    assert_int_equal(wire_send(wire, 1, 100), KH_OK);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(1)));
    wire_free(wire);
}

/* Opens, and sends messages of all sizes both ways, over a wire that loses, repeats, reorders. */
static void talk_over(uint64_t seed, unsigned int loss_percent)
{
    static const size_t lens[] = {4, 100, 1100, 1200, 5000, 20000};
    struct wire *wire = wire_new(seed);

    wire->loss_percent = loss_percent;
    wire->repeat_percent = 10;
    wire->jitter = KH_MILLISECONDS(30);
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(60)));
    for (size_t i = 0; i < 60; i++) {
        assert_int_equal(wire_send(wire, i % 2, lens[i % 6]), KH_OK);
        wire_run(wire, KH_MILLISECONDS(20));
    }
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(600)));
    assert_int_equal(wire->end[0].received, 30);
    assert_int_equal(wire->end[1].received, 30);
    wire_free(wire);
}

static void loses_nothing_at_no_loss(void **state)
{
    (void)state;
    talk_over(10, 0);
}

static void loses_nothing_at_5_percent_loss(void **state)
{
    (void)state;
    for (uint64_t seed = 20; seed < 24; seed++)
        talk_over(seed, 5);
}

static void loses_nothing_at_30_percent_loss(void **state)
{
    (void)state;
    for (uint64_t seed = 30; seed < 38; seed++)
        talk_over(seed, 30);
}

static void carries_the_largest_message(void **state)
{
    struct wire *wire = wire_new(4);

    (void)state;
    wire->loss_percent = 2;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(20)));
    assert_int_equal(wire_send(wire, 0, KH_CHANNEL_MESSAGE_MAX), KH_OK);
    assert_int_equal(wire_send(wire, 0, KH_CHANNEL_MESSAGE_MAX), KH_OK);
    assert_int_equal(wire_send(wire, 1, KH_CHANNEL_MESSAGE_MAX), KH_OK);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(60)));
    assert_int_equal(wire->end[1].received_bytes, 2 * KH_CHANNEL_MESSAGE_MAX);
    wire_free(wire);
}

static void fills_up_and_goes_on(void **state)
{
    struct wire *wire = wire_new(5);
    unsigned int refused = 0;

    (void)state;
    wire->delay = KH_MILLISECONDS(10);
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    for (int sent = 0; sent < 200;) {
        unsigned int writable = wire->end[0].writable;

        if (wire_send(wire, 0, 20000) == KH_OK) {
            sent++;
            continue;
        }
        refused++;
        for (int i = 0; i < 10000 && wire->end[0].writable == writable; i++)
            wire_run(wire, KH_MILLISECONDS(1));
        assert_int_equal(wire->end[0].writable, writable + 1);
    }
    assert_true(refused > 0);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(60)));
    assert_int_equal(wire->end[1].received_bytes, 200 * 20000);
    assert_int_equal(kh_channel_stats(wire->end[0].channel).dropped_outbox_full, 0);
    wire_free(wire);
}

static void takes_many_short_messages_at_once(void **state)
{
    struct wire *wire = wire_new(6);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    for (int i = 0; i < 2000; i++)
        assert_int_equal(wire_send(wire, 0, 20), KH_OK);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(30)));
    wire_free(wire);
}

static void survives_a_blackout(void **state)
{
    struct wire *wire = wire_new(7);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    for (int i = 0; i < 20; i++)
        assert_int_equal(wire_send(wire, 0, 2000), KH_OK);
    wire->cut = true;
    for (int i = 0; i < 20; i++)
        assert_int_equal(wire_send(wire, 1, 2000), KH_OK);
    wire_run(wire, KH_SECONDS(60));
    assert_false(wire_all_arrived(wire));
    assert_true(kh_channel_unacknowledged(wire->end[1].channel) >= 40000);
    wire->cut = false;
    kh_channel_start(wire->end[0].channel, wire->now);
    kh_channel_start(wire->end[1].channel, wire->now);
    wire_drain(wire);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(3)));
    wire_free(wire);
}

static void opens_after_a_blackout_at_any_moment(void **state)
{
    (void)state;
    for (kh_duration moment = 0; moment <= KH_MILLISECONDS(450); moment += KH_MILLISECONDS(25)) {
        struct wire *wire = wire_new(8);

        wire_start(wire);
        wire_run(wire, moment);
        wire->cut = true;
        wire_run(wire, KH_SECONDS(20));
        wire->cut = false;
        kh_channel_start(wire->end[0].channel, wire->now);
        kh_channel_start(wire->end[1].channel, wire->now);
        wire_drain(wire);
        assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(4)));
        wire_free(wire);
    }
}

static void gives_up_a_handshake_nobody_answers(void **state)
{
    struct wire *wire = wire_new(9);
    kh_time start = wire->now;

    (void)state;
    wire->cut = true;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_ended, KH_SECONDS(61)));
    assert_int_equal(wire->now, start + KH_SECONDS(60));
    for (int i = 0; i < 2; i++) {
        assert_true(wire->end[i].failed);
        assert_int_equal(wire->end[i].failure, KH_CHANNEL_FAILURE_TIMEOUT);
        assert_int_equal(kh_channel_timeout(wire->end[i].channel), KH_NEVER);
    }
    assert_int_equal(wire_send(wire, 0, 10), KH_ERR_FULL);
    wire_free(wire);
}

static void refuses_another_certificate(void **state)
{
    (void)state;
    for (unsigned int misled = 0; misled < 2; misled++) {
        struct wire *wire = wire_new_misled(11 + misled, misled, 0);

        wire_start(wire);
        wire_run(wire, KH_SECONDS(70));
        assert_true(wire->end[misled].failed);
        assert_int_equal(wire->end[misled].failure, KH_CHANNEL_FAILURE_FINGERPRINT);
        assert_int_equal(wire->end[misled].opened_at, KH_NEVER);
        assert_int_equal(wire->end[1 - misled].opened_at, KH_NEVER);
        assert_true(wire->end[1 - misled].failed);
        wire_free(wire);
    }
}

static void closes_after_what_was_sent(void **state)
{
    for (unsigned int closer = 0; closer < 2; closer++) {
        struct wire *wire = wire_new(13);

        (void)state;
        wire->loss_percent = 10;
        wire_start(wire);
        assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(30)));
        for (int i = 0; i < 10; i++)
            assert_int_equal(wire_send(wire, closer, 3000), KH_OK);
        kh_channel_close(wire->end[closer].channel, wire->now);
        wire_drain(wire);
        assert_false(kh_channel_is_open(wire->end[closer].channel));
        assert_int_equal(wire_send(wire, closer, 10), KH_ERR_FULL);
        assert_true(wire_run_until(wire, wire_both_ended, KH_SECONDS(60)));
        assert_true(wire->end[0].closed && wire->end[1].closed);
        assert_int_equal(wire->end[1 - closer].received, 10);
        wire_run(wire, KH_SECONDS(1));
        assert_int_equal(kh_channel_timeout(wire->end[0].channel), KH_NEVER);
        assert_int_equal(kh_channel_timeout(wire->end[1].channel), KH_NEVER);
        wire_free(wire);
    }
}

static void closes_before_it_is_open(void **state)
{
    struct wire *wire = wire_new(14);

    (void)state;
    kh_channel_close(wire->end[0].channel, wire->now);
    wire_drain(wire);
    assert_true(wire->end[0].closed);
    assert_int_equal(wire->end[0].datagrams, 0);
    wire_start(wire);
    assert_int_equal(wire->end[0].datagrams, 0);
    wire_free(wire);
}

/* A goodbye right after OPEN, into a wire that is cut, must still be heard later. */
static void closes_at_once_but_not_unheard(void **state)
{
    struct wire *wire = wire_new(19);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    wire->cut = true;
    kh_channel_close(wire->end[0].channel, wire->now);
    wire_drain(wire);
    wire_run(wire, KH_SECONDS(2));
    assert_false(wire->end[0].closed || wire->end[1].closed);
    wire->cut = false;
    assert_true(wire_run_until(wire, wire_both_ended, KH_SECONDS(10)));
    assert_true(wire->end[0].closed && wire->end[1].closed);
    wire_free(wire);
}

static void gives_up_a_goodbye_nobody_hears(void **state)
{
    struct wire *wire = wire_new(20);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    wire->cut = true;
    kh_channel_close(wire->end[0].channel, wire->now);
    wire_drain(wire);
    wire_run(wire, KH_SECONDS(21));
    assert_true(wire->end[0].closed);
    assert_int_equal(kh_channel_timeout(wire->end[0].channel), KH_NEVER);
    wire_free(wire);
}

/* Who gives a channel up means to begin anew; only who leaves says goodbye. */
static void failure_is_no_goodbye(void **state)
{
    struct wire *wire = wire_new(22);

    (void)state;
    wire_start(wire);
    while (wire->end[0].opened_at == KH_NEVER)
        wire_run(wire, KH_MILLISECONDS(1));
    wire->cut = true;
    wire_run(wire, KH_SECONDS(100));
    kh_channel_start(wire->end[1].channel, wire->now); /* a new path, to this side only */
    wire_drain(wire);
    wire_run(wire, KH_SECONDS(90)); /* an association that never came up is given up after 180 s */
    assert_false(wire->end[0].closed);
    wire->cut = false;
    wire_run(wire, KH_SECONDS(5));
    assert_false(wire->end[1].closed);
    wire_free(wire);
}

static void keeps_to_a_smaller_datagram(void **state)
{
    struct wire *wire = wire_new_misled(15, 2, 600);

    (void)state;
    wire_start(wire);
    assert_true(wire_run_until(wire, wire_both_open, KH_SECONDS(5)));
    assert_int_equal(wire_send(wire, 0, 10000), KH_OK);
    assert_int_equal(wire_send(wire, 1, 10000), KH_OK);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(5)));
    assert_int_equal(kh_channel_stats(wire->end[0].channel).dropped_outbox_full, 0);
    assert_int_equal(kh_channel_stats(wire->end[1].channel).dropped_outbox_full, 0);
    wire_free(wire);
}

static void lives_beside_many_others(void **state)
{
    enum { WIRES = 24 };
    struct wire *wires[WIRES];

    (void)state;
    for (int i = 0; i < WIRES; i++) {
        wires[i] = wire_new((uint64_t)(100 + i));
        wire_start(wires[i]);
    }
    for (int ms = 0; ms < 2000; ms += 5)
        for (int i = 0; i < WIRES; i++)
            wire_run(wires[i], KH_MILLISECONDS(5));
    for (int i = 0; i < WIRES; i++) {
        assert_true(wire_both_open(wires[i]));
        assert_int_equal(wire_send(wires[i], 0, 5000), KH_OK);
        assert_int_equal(wire_send(wires[i], 1, 5000), KH_OK);
    }
    for (int ms = 0; ms < 2000; ms += 5)
        for (int i = 0; i < WIRES; i++)
            wire_run(wires[i], KH_MILLISECONDS(5));
    for (int i = 0; i < WIRES; i++) {
        assert_true(wire_all_acknowledged(wires[i]));
        wire_free(wires[i]);
    }
}

static void takes_only_dtls(void **state)
{
    static const uint8_t firsts[] = {0, 3, 19, 64, 128, 255};
    struct wire *wire = wire_new(16);
    uint8_t datagram[20] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof firsts; i++) {
        datagram[0] = firsts[i];
        assert_false(kh_channel_handle_datagram(wire->end[1].channel, wire->now, datagram, 20));
    }
    assert_false(kh_channel_handle_datagram(wire->end[1].channel, wire->now, datagram, 0));
    wire_free(wire);
}

static void shrugs_off_noise(void **state)
{
    struct wire *wire = wire_new(17);
    uint8_t noise[200];

    (void)state;
    wire_start(wire);
    for (int round = 0; round < 400; round++) {
        size_t len = 1 + (size_t)dice_below(&wire->dice, sizeof noise);

        dice_bytes(&wire->dice, noise, sizeof noise);
        noise[0] = (uint8_t)(20 + round % 44);
        wire_inject(wire, (unsigned int)round % 2, noise, len);
        wire_run(wire, KH_MILLISECONDS(3));
    }
    assert_true(wire_both_open(wire));
    assert_true(kh_channel_stats(wire->end[0].channel).dropped_malformed > 100);
    assert_int_equal(wire_send(wire, 0, 100), KH_OK);
    assert_true(wire_run_until(wire, wire_all_acknowledged, KH_SECONDS(5)));
    wire_free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_talks_both_ways),
        cmocka_unit_test(opens_in_few_round_trips),
        cmocka_unit_test(carries_the_first_words_early),
        cmocka_unit_test(closes_after_words_sent_before_it_was_up),
        cmocka_unit_test(is_idle_when_idle),
        cmocka_unit_test(loses_nothing_at_no_loss),
        cmocka_unit_test(loses_nothing_at_5_percent_loss),
        cmocka_unit_test(loses_nothing_at_30_percent_loss),
        cmocka_unit_test(carries_the_largest_message),
        cmocka_unit_test(fills_up_and_goes_on),
        cmocka_unit_test(takes_many_short_messages_at_once),
        cmocka_unit_test(survives_a_blackout),
        cmocka_unit_test(opens_after_a_blackout_at_any_moment),
        cmocka_unit_test(gives_up_a_handshake_nobody_answers),
        cmocka_unit_test(refuses_another_certificate),
        cmocka_unit_test(closes_after_what_was_sent),
        cmocka_unit_test(closes_before_it_is_open),
        cmocka_unit_test(closes_at_once_but_not_unheard),
        cmocka_unit_test(gives_up_a_goodbye_nobody_hears),
        cmocka_unit_test(failure_is_no_goodbye),
        cmocka_unit_test(keeps_to_a_smaller_datagram),
        cmocka_unit_test(lives_beside_many_others),
        cmocka_unit_test(takes_only_dtls),
        cmocka_unit_test(shrugs_off_noise),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
