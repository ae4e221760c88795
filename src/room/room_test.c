/* room/room_test.c - the machine step by step: when what is sent, kept, given back and refused.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/wire_test.h"

#define RTT_HALF KH_MILLISECONDS(20)

static struct wire *make_wire(size_t count)
{
    struct wire *wire = wire_new(count, 1);

    wire->delay_min = wire->delay_max = RTT_HALF;
    return wire;
}

static struct kh_room_stats stats_of(const struct wire *wire, size_t who)
{
    return kh_room_stats(wire->parties[who].room);
}

static enum kh_status say_text(struct wire *wire, size_t who, const char *text, size_t len)
{
    struct kh_room_entry_id id;

    return kh_room_say(wire->parties[who].room, wire->now, 1, text, len, &id);
}

static void a_word_goes_by_signal_and_comes_back_as_delivered(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire_say(wire, 0);
    assert_int_equal(wire->signals, 1);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), 1);
    wire_run(wire, RTT_HALF);
    assert_int_equal(wire->parties[1].heard[0], 1);
    assert_int_equal(wire->parties[1].heard_by_signal, 1);
    assert_int_equal(wire->signals, 2);
    wire_run(wire, RTT_HALF);
    assert_int_equal(wire->parties[0].delivered[1], 1);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->signals, 2);
    assert_int_equal(stats_of(wire, 0).said, 1);
    assert_int_equal(stats_of(wire, 1).heard, 1);
    assert_int_equal(stats_of(wire, 1).duplicates, 0);
    wire_free(wire);
}

/* What was said before anyone came goes in as few signals as hold it. */
static void several_words_ride_in_one_signal(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    for (unsigned i = 0; i < 6; i++)
        wire_say(wire, 0);
    assert_int_equal(wire->signals, 0);
    wire_introduce(wire, 1, 0);
    wire_introduce(wire, 0, 1);
    assert_int_equal(wire->signals, 1);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->signals, 2);
    wire_free(wire);
}

/* 200 ms, doubling, never above 5 s. */
static void what_is_not_acknowledged_is_repeated_ever_slower(void **state)
{
    static const unsigned sent_at_ms[] = {0, 200, 600, 1400, 3000, 6200, 11200, 16200};
    struct wire *wire = make_wire(2);
    kh_time start = wire->now;

    (void)state;
    wire->loss = 100;
    wire_introduce_all(wire);
    wire_say(wire, 0);
    for (size_t i = 1; i < sizeof sent_at_ms / sizeof sent_at_ms[0]; i++) {
        assert_int_equal(wire->signals, i);
        assert_int_equal(kh_room_timeout(wire->parties[0].room),
                         start + KH_MILLISECONDS(sent_at_ms[i]));
        wire_step(wire, KH_NEVER);
    }
    wire->loss = 0;
    assert_true(wire_settle(wire));
    wire_free(wire);
}

static void signals_under_way_are_few(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire->loss = 100;
    wire_introduce_all(wire);
    for (unsigned i = 0; i < 50; i++)
        wire_say(wire, 0);
    assert_int_equal(wire->signals, 4);
    wire->loss = 0;
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* ---- the early signal ---- */

static size_t send_early(struct wire *wire, size_t from, size_t to)
{
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    size_t len = kh_room_early_signal(wire->parties[from].room, sealed);

    if (len > 0) {
        kh_room_handle_signal(wire->parties[to].room, wire->now, &wire->parties[from].id,
                              (struct kh_span){sealed, len});
        wire_drain(wire, to);
    }
    return len;
}

static void the_early_signal_is_not_repeated_needlessly(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce(wire, 1, 0);
    assert_int_equal(send_early(wire, 0, 1), 0);
    wire_say(wire, 0);
    wire_say(wire, 0);
    assert_true(send_early(wire, 0, 1) > 0);
    assert_int_equal(wire->parties[1].heard[0], 2);
    wire_run(wire, RTT_HALF / 2);
    wire_introduce(wire, 0, 1);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->signals, 1); /* the acknowledgement */
    assert_int_equal(stats_of(wire, 1).duplicates, 0);
    wire_free(wire);
}

static void a_lost_early_signal_is_made_good(void **state)
{
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    struct wire *wire = make_wire(2);

    (void)state;
    wire_say(wire, 0);
    assert_true(kh_room_early_signal(wire->parties[0].room, sealed) > 0);
    wire_introduce(wire, 1, 0);
    wire_introduce(wire, 0, 1);
    assert_int_equal(wire->signals, 0);
    wire_run(wire, KH_MILLISECONDS(249));
    assert_int_equal(wire->signals, 0);
    wire_run(wire, KH_MILLISECONDS(1));
    assert_int_equal(wire->signals, 1);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* Who comes long after the early signal was not there to hear it. */
static void late_members_do_not_wait_for_the_early_signal(void **state)
{
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    struct wire *wire = make_wire(2);

    (void)state;
    wire_say(wire, 0);
    assert_true(kh_room_early_signal(wire->parties[0].room, sealed) > 0);
    wire_run(wire, KH_SECONDS(3));
    wire_introduce(wire, 1, 0);
    wire_introduce(wire, 0, 1);
    assert_int_equal(wire->signals, 1);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* ---- signals of someone not added yet ---- */

static void signals_wait_for_the_card_of_their_sender(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce(wire, 0, 1);
    wire_say(wire, 0);
    wire_run(wire, RTT_HALF);
    assert_int_equal(wire->parties[1].heard[0], 0);
    wire_introduce(wire, 1, 0);
    assert_int_equal(wire->parties[1].heard[0], 1);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

static void few_signals_wait_and_not_for_long(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire->loss = 100;
    wire_say(wire, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_true(send_early(wire, 0, 1) > 0);
    assert_int_equal(stats_of(wire, 1).dropped_outbox_full, 2);
    wire_run(wire, KH_SECONDS(5));
    kh_room_handle_timeout(wire->parties[1].room, wire->now);
    wire_introduce(wire, 1, 0);
    assert_int_equal(wire->parties[1].heard[0], 0);
    assert_true(send_early(wire, 0, 1) > 0);
    assert_int_equal(wire->parties[1].heard[0], 1);
    assert_int_equal(stats_of(wire, 1).dropped_outbox_full, 2);
    wire_free(wire);
}

/* ---- channel ---- */

static void what_no_signal_holds_waits_for_the_channel(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire->large = 100;
    wire_say(wire, 0);
    wire->large = 0;
    wire->parties[0].said++; /* the next is checked by hand: its text is not of the series */
    assert_int_equal(say_text(wire, 0, "behind", 6), KH_OK);
    wire_drain(wire, 0);
    wire_run(wire, KH_SECONDS(30));
    assert_int_equal(wire->signals, 0);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), 2);
    assert_int_equal(kh_room_timeout(wire->parties[0].room), KH_NEVER);
    wire_free(wire);
}

/* The number that docs/protocol/room.md gives. */
static void a_signal_holds_650_bytes_of_text(void **state)
{
    static char text[651];
    struct wire *wire = make_wire(2);

    (void)state;
    wire->loss = 100;
    wire_introduce_all(wire);
    memset(text, 'x', sizeof text);
    assert_int_equal(say_text(wire, 0, text, 650), KH_OK);
    wire_drain(wire, 0);
    assert_int_equal(wire->signals, 1);
    assert_int_equal(say_text(wire, 0, text, 651), KH_OK);
    wire_drain(wire, 0);
    assert_int_equal(wire->signals, 1);
    wire_free(wire);
}

static void once_per_channel_everything_unacknowledged_goes_again(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire->loss = 100;
    for (unsigned i = 0; i < 10; i++)
        wire_say(wire, 0);
    wire->loss = 0;
    wire_set_channel(wire, 0, 1, true);
    assert_int_equal(wire->channel_messages, 1);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->channel_messages, 2);
    assert_int_equal(wire->parties[1].heard_by_signal, 0);
    wire_say(wire, 0);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->channel_messages, 4);
    wire_free(wire);
}

static void a_refused_message_is_taken_back(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire_set_channel(wire, 0, 1, true);
    wire->refusal = 100;
    wire->loss = 100;
    wire_say(wire, 0);
    assert_int_equal(wire->channel_messages, 1);
    wire_say(wire, 0);
    wire_say(wire, 0);
    assert_int_equal(wire->channel_messages, 1); /* nothing more while blocked */
    wire_run(wire, KH_SECONDS(100));
    assert_int_equal(wire->parties[1].heard[0], 0);
    wire->refusal = 0;
    wire_unblock(wire, 0, 1);
    assert_int_equal(wire->channel_messages, 2);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->channel_messages, 3);
    assert_int_equal(stats_of(wire, 1).duplicates, 0);
    wire_free(wire);
}

/* Told after the drain, it is no refusal: nothing is repeated. */
static void a_channel_may_be_blocked_without_a_refusal(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire_set_channel(wire, 0, 1, true);
    wire_say(wire, 0);
    kh_room_set_blocked(wire->parties[0].room, wire->now, &wire->parties[1].id, true);
    wire->parties[0].blocked[1] = true;
    wire_drain(wire, 0);
    wire_unblock(wire, 0, 1);
    assert_true(wire_settle(wire));
    assert_int_equal(wire->channel_messages, 2);
    assert_int_equal(stats_of(wire, 1).duplicates, 0);
    wire_free(wire);
}

/* ---- members ---- */

static void members_are_who_they_were(void **state)
{
    struct wire *wire = make_wire(2);
    struct wire_party *alice = &wire->parties[0];
    struct kh_room_member_id id = {{0x77}};
    uint8_t identity[KH_KEY_LEN] = {1};

    (void)state;
    wire_introduce(wire, 0, 1);
    wire_introduce(wire, 0, 1);
    assert_int_equal(kh_room_add_member(alice->room, wire->now, &wire->parties[1].id, identity),
                     KH_ERR_AUTH);
    assert_int_equal(kh_room_add_member(alice->room, wire->now, &alice->id, alice->identity),
                     KH_ERR_AUTH);
    kh_room_remove_member(alice->room, wire->now, &wire->parties[1].id);
    kh_room_remove_member(alice->room, wire->now, &wire->parties[1].id);
    assert_int_equal(kh_room_add_member(alice->room, wire->now, &wire->parties[1].id, identity),
                     KH_ERR_AUTH);
    for (unsigned i = 0; i < KH_ROOM_MEMBERS_MAX; i++) {
        id.bytes[1] = (uint8_t)i;
        assert_int_equal(kh_room_add_member(alice->room, wire->now, &id, identity), KH_OK);
    }
    id.bytes[1] = 0xee;
    assert_int_equal(kh_room_add_member(alice->room, wire->now, &id, identity), KH_ERR_FULL);
    wire_free(wire);
}

static void who_was_away_goes_on_where_it_stopped(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    for (unsigned i = 0; i < 5; i++) {
        wire_say(wire, 0);
        wire_say(wire, 1);
    }
    assert_true(wire_settle(wire));
    kh_room_remove_member(wire->parties[0].room, wire->now, &wire->parties[1].id);
    kh_room_remove_member(wire->parties[1].room, wire->now, &wire->parties[0].id);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), 0);
    wire_say(wire, 0);
    wire_introduce_all(wire);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), 1);
    assert_true(wire_settle(wire)); /* the wire itself checks that nothing comes twice */
    assert_int_equal(wire->parties[1].heard[0], 6);
    wire_free(wire);
}

/* One side alone saw the other go: what it repeats is recognised. */
static void repeating_to_one_that_never_left_is_harmless(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire->loss = 100;
    wire_say(wire, 0);
    wire->loss = 0;
    kh_room_remove_member(wire->parties[0].room, wire->now, &wire->parties[1].id);
    wire_introduce(wire, 0, 1);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

/* ---- saying ---- */

static void only_showable_text_is_said(void **state)
{
    static char large[KH_ROOM_TEXT_MAX + 1];
    struct wire *wire = make_wire(2);

    (void)state;
    memset(large, 'x', sizeof large);
    assert_int_equal(say_text(wire, 0, "", 0), KH_ERR_FORMAT);
    assert_int_equal(say_text(wire, 0, "\x1b[2J", 4), KH_ERR_FORMAT);
    assert_int_equal(say_text(wire, 0, "a\0b", 3), KH_ERR_FORMAT);
    assert_int_equal(say_text(wire, 0, "\xc3", 1), KH_ERR_FORMAT);
    assert_int_equal(say_text(wire, 0, large, sizeof large), KH_ERR_FORMAT);
    assert_int_equal(say_text(wire, 0, large, sizeof large - 1), KH_OK);
    assert_int_equal(say_text(wire, 0, "two\nlines\t\xc3\xa4", 12), KH_OK);
    assert_int_equal(stats_of(wire, 0).said, 2);
    wire_free(wire);
}

/* A member that acknowledges nothing holds the log; it is never cut behind its back. */
static void a_full_log_refuses_until_it_is_delivered(void **state)
{
    struct wire *wire = make_wire(2);

    (void)state;
    wire_introduce_all(wire);
    wire->loss = 100;
    for (unsigned i = 0; i < KH_ROOM_LOG_MAX; i++)
        wire_say(wire, 0);
    assert_int_equal(wire_try_say(wire, 0), KH_ERR_FULL);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), KH_ROOM_LOG_MAX);
    wire->loss = 0;
    wire_set_channel(wire, 0, 1, true);
    assert_true(wire_settle(wire));
    wire_say(wire, 0);
    assert_true(wire_settle(wire));
    wire_free(wire);
}

static void nobody_there_fills_the_log_too(void **state)
{
    static char large[KH_ROOM_TEXT_MAX];
    struct wire *wire = make_wire(2);
    unsigned said = 0;

    (void)state;
    memset(large, 'x', sizeof large);
    while (say_text(wire, 0, large, sizeof large) == KH_OK)
        said++;
    assert_int_equal(said, KH_ROOM_LOG_BYTES_MAX / (KH_ROOM_TEXT_MAX + 75));
    assert_int_equal(say_text(wire, 0, large, sizeof large), KH_ERR_FULL);
    assert_int_equal(say_text(wire, 0, "short", 5), KH_OK);
    wire_free(wire);
}

/* What everyone had may be forgotten; who comes later is told where the log begins. */
static void newcomers_do_not_wait_for_what_was_forgotten(void **state)
{
    enum { MORE = 10 };
    bool by_channel = *state != NULL;
    struct wire *wire = make_wire(3);

    wire_introduce(wire, 0, 1);
    wire_introduce(wire, 1, 0);
    wire_set_channel(wire, 0, 1, true);
    for (unsigned i = 0; i < KH_ROOM_LOG_MAX + MORE; i++) {
        wire_say(wire, 0);
        wire_run(wire, KH_MILLISECONDS(1));
    }
    wire_run(wire, KH_SECONDS(1));
    assert_int_equal(wire->parties[1].heard[0], KH_ROOM_LOG_MAX + MORE);
    wire->parties[2].heard[0] = MORE; /* the wire expects the eleventh next */
    wire->parties[0].delivered[2] = MORE;
    wire_introduce(wire, 2, 0);
    wire_introduce(wire, 0, 2);
    assert_int_equal(kh_room_undelivered(wire->parties[0].room, NULL), KH_ROOM_LOG_MAX);
    if (by_channel)
        wire_set_channel(wire, 0, 2, true);
    wire_run(wire, KH_SECONDS(100));
    assert_int_equal(wire->parties[2].heard[0], KH_ROOM_LOG_MAX + MORE);
    assert_int_equal(wire->parties[0].delivered[2], KH_ROOM_LOG_MAX + MORE);
    wire_free(wire);
}

static int by_channel(void **state)
{
    static bool yes;

    *state = &yes;
    return 0;
}

static void a_room_is_made_with_a_name_that_may_be_shown(void **state)
{
    struct kh_room_config config = {.name = "Al\nice"};
    struct kh_room *room = NULL;

    (void)state;
    assert_int_equal(kh_room_new(&room, &config), KH_ERR_FORMAT);
    memset(config.name, 'a', sizeof config.name); /* no terminator */
    assert_int_equal(kh_room_new(&room, &config), KH_ERR_FORMAT);
    assert_null(room);
    kh_room_free(NULL);
}

static void a_card_carries_name_and_identity_of_its_room(void **state)
{
    struct wire *wire = make_wire(2);
    struct kh_room_card card = {.revision = 3, .ufrag = "abcd"};
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    uint8_t again[KH_ROOM_CARD_MAX];
    size_t len = kh_room_seal_card(wire->parties[0].room, &card, sealed);

    (void)state;
    assert_int_equal(kh_room_open_card(wire->parties[1].room, &wire->parties[0].id,
                                       (struct kh_span){sealed, len}, &back),
                     KH_OK);
    assert_string_equal(back.name, "someone");
    assert_memory_equal(back.identity, wire->parties[0].identity, KH_KEY_LEN);
    assert_int_equal(back.revision, 3);
    assert_int_equal(kh_room_seal_card(wire->parties[0].room, &card, again), len);
    assert_memory_not_equal(again, sealed, KH_AEAD_NONCE_LEN);
    /* One seed for two rooms, as the wire has it, must not mean one nonce for both. */
    assert_int_equal(kh_room_seal_card(wire->parties[1].room, &card, again), len);
    assert_memory_not_equal(again, sealed, KH_AEAD_NONCE_LEN);
    card.ufrag[0] = '"';
    assert_int_equal(kh_room_seal_card(wire->parties[0].room, &card, sealed), 0);
    wire_free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_goes_by_signal_and_comes_back_as_delivered),
        cmocka_unit_test(several_words_ride_in_one_signal),
        cmocka_unit_test(what_is_not_acknowledged_is_repeated_ever_slower),
        cmocka_unit_test(signals_under_way_are_few),
        cmocka_unit_test(the_early_signal_is_not_repeated_needlessly),
        cmocka_unit_test(a_lost_early_signal_is_made_good),
        cmocka_unit_test(late_members_do_not_wait_for_the_early_signal),
        cmocka_unit_test(signals_wait_for_the_card_of_their_sender),
        cmocka_unit_test(few_signals_wait_and_not_for_long),
        cmocka_unit_test(what_no_signal_holds_waits_for_the_channel),
        cmocka_unit_test(a_signal_holds_650_bytes_of_text),
        cmocka_unit_test(once_per_channel_everything_unacknowledged_goes_again),
        cmocka_unit_test(a_refused_message_is_taken_back),
        cmocka_unit_test(a_channel_may_be_blocked_without_a_refusal),
        cmocka_unit_test(members_are_who_they_were),
        cmocka_unit_test(who_was_away_goes_on_where_it_stopped),
        cmocka_unit_test(repeating_to_one_that_never_left_is_harmless),
        cmocka_unit_test(only_showable_text_is_said),
        cmocka_unit_test(a_full_log_refuses_until_it_is_delivered),
        cmocka_unit_test(nobody_there_fills_the_log_too),
        cmocka_unit_test(newcomers_do_not_wait_for_what_was_forgotten),
        cmocka_unit_test_setup(newcomers_do_not_wait_for_what_was_forgotten, by_channel),
        cmocka_unit_test(a_room_is_made_with_a_name_that_may_be_shown),
        cmocka_unit_test(a_card_carries_name_and_identity_of_its_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
