/* room/hostile_test.c - what a member of bad will, or the server, can send: it changes nothing.
 *
 * SPDX-License-Identifier: MIT
 *
 * Alice is honest, Bob listens, Mallory holds the link too and says whatever she likes.
 */
#include "room/frame.h"
#include "room/signal.h"
#include "room/wire_test.h"

enum { ALICE, BOB, MALLORY };

static struct wire *wire;
static struct kh_room_keys keys;

static int set_up(void **state)
{
    static const uint8_t secret[KH_ROOM_SECRET_LEN] = {1, 2, 3};

    (void)state;
    wire = wire_new(3, 1);
    wire->delay_min = wire->delay_max = KH_MILLISECONDS(20);
    kh_room_keys_derive(secret, &keys);
    wire_introduce_all(wire);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wire_free(wire);
    return 0;
}

static struct kh_secret identity_of(size_t who)
{
    return (struct kh_secret){{(uint8_t)(who + 1)}};
}

static struct kh_room_log_name log_of(size_t who)
{
    struct kh_room_log_name name = {.log = wire->parties[who].id};

    memcpy(name.author, wire->parties[who].identity, sizeof name.author);
    return name;
}

/* What Bob counted. */
static struct kh_room_stats counts(void)
{
    return kh_room_stats(wire->parties[BOB].room);
}

struct bytes {
    uint8_t data[4096];
    struct kh_writer writer;
};

static void begin(struct bytes *bytes)
{
    bytes->writer = kh_writer_to(bytes->data, sizeof bytes->data);
    kh_write_u8(&bytes->writer, KH_ROOM_FRAMES_VERSION);
}

static struct kh_span span_of(const struct bytes *bytes)
{
    assert_false(bytes->writer.failed);
    return (struct kh_span){bytes->data, bytes->writer.len};
}

/* Writes a frame with one entry of `log`, signed by `signer`, as the wire expects its text. */
static void write_entry(struct bytes *bytes, size_t log, size_t signer, uint64_t sequence)
{
    static char text[KH_ROOM_TEXT_MAX];
    struct kh_room_log_name name = log_of(log);
    struct kh_secret identity = identity_of(signer);
    struct kh_room_entry entry = {.sequence = sequence,
                                  .kind = KH_ROOM_ENTRY_TEXT,
                                  .time_ms = sequence + 1000,
                                  .body = (uint8_t *)text,
                                  .len = wire_text(wire, log, sequence, text)};
    size_t begin = kh_room_frame_entries_begin(&bytes->writer, &name, sequence);

    kh_room_entry_write(&entry, &name, &keys, &identity, &bytes->writer);
    kh_room_frame_entries_end(&bytes->writer, begin);
}

static void to_bob_by_channel(size_t from, struct kh_span data)
{
    kh_room_handle_channel(wire->parties[BOB].room, wire->now, &wire->parties[from].id, data);
    wire_drain(wire, BOB);
}

static void to_bob_by_signal(size_t from, struct kh_span sealed)
{
    kh_room_handle_signal(wire->parties[BOB].room, wire->now, &wire->parties[from].id, sealed);
    wire_drain(wire, BOB);
}

/* Seals frames as a signal that says it is from `from` for `to`, signed by `signer`. */
static struct kh_span seal(size_t from, size_t to, size_t signer, struct kh_span frames)
{
    static uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    struct kh_secret identity = identity_of(signer);
    struct kh_room_signal signal = {.keys = &keys,
                                    .from = &wire->parties[from].id,
                                    .to = to < 3 ? &wire->parties[to].id : NULL,
                                    .identity = &identity};

    return (struct kh_span){sealed, kh_room_signal_write(&signal, frames, sealed)};
}

static void mallory_cannot_speak_for_alice(void **state)
{
    struct bytes bytes;

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, MALLORY, 1); /* Alice's log, Mallory's pen, Mallory's channel */
    to_bob_by_channel(MALLORY, span_of(&bytes));
    assert_int_equal(counts().dropped_unauthentic, 1);
    to_bob_by_channel(ALICE, span_of(&bytes)); /* even if she had Alice's channel */
    assert_int_equal(counts().dropped_unauthentic, 2);
    to_bob_by_signal(ALICE, seal(ALICE, BOB, MALLORY, span_of(&bytes)));
    assert_int_equal(counts().dropped_unauthentic, 3);
    to_bob_by_signal(MALLORY, seal(ALICE, BOB, MALLORY, span_of(&bytes)));
    assert_int_equal(counts().dropped_unauthentic, 4);
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1); /* Alice's own words go by Alice only, so far */
    to_bob_by_channel(MALLORY, span_of(&bytes));
    assert_int_equal(counts().dropped_unauthentic, 5);
    assert_int_equal(wire->parties[BOB].heard[ALICE], 0);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
}

static void every_altered_byte_of_an_entry_is_noticed(void **state)
{
    struct bytes bytes;

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    for (size_t i = 0; i < bytes.writer.len; i++) {
        struct kh_room_stats before = counts();

        bytes.data[i] ^= 0x80;
        to_bob_by_channel(ALICE, span_of(&bytes));
        bytes.data[i] ^= 0x80;
        if (i == 1) /* a frame of another type is skipped */
            continue;
        assert_true(counts().dropped_unauthentic + counts().dropped_malformed >
                    before.dropped_unauthentic + before.dropped_malformed);
    }
    assert_int_equal(wire->parties[BOB].heard[ALICE], 0);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
}

static void every_cut_is_noticed(void **state)
{
    struct bytes bytes;
    struct kh_room_log_name name = log_of(BOB);

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    kh_room_frame_have_write(&bytes.writer, &name, 0);
    for (size_t len = 0; len < bytes.writer.len - KH_ROOM_FRAME_HAVE_LEN; len++) {
        uint8_t *exact = malloc(len + 1); /* a sanitizer sees a read past the end */

        memcpy(exact, bytes.data, len);
        to_bob_by_channel(ALICE, (struct kh_span){exact, len});
        free(exact);
        assert_int_equal(wire->parties[BOB].heard[ALICE], 0);
    }
    assert_int_equal(counts().dropped_malformed, bytes.writer.len - KH_ROOM_FRAME_HAVE_LEN - 1);
}

/* A word about punching is an event for whom it is meant, and only if it is its sender's. */
static void a_word_about_punching_is_its_senders(void **state)
{
    static const uint8_t word[] = {1, 0, 0, 0};
    struct wire_party *bob = &wire->parties[BOB];
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    struct bytes bytes;
    size_t len;

    (void)state;
    len = kh_room_seal_punch(wire->parties[ALICE].room, &bob->id,
                             (struct kh_span){word, sizeof word}, sealed);
    to_bob_by_signal(ALICE, (struct kh_span){sealed, len});
    assert_int_equal(bob->punches, 1);
    assert_int_equal(bob->punch_len, sizeof word);
    assert_memory_equal(bob->punch, word, sizeof word);
    to_bob_by_signal(MALLORY, (struct kh_span){sealed, len});
    begin(&bytes);
    kh_room_frame_punch_write(&bytes.writer, (struct kh_span){word, sizeof word});
    to_bob_by_signal(ALICE, seal(ALICE, BOB, MALLORY, span_of(&bytes)));
    to_bob_by_signal(ALICE, seal(ALICE, ALICE, ALICE, span_of(&bytes))); /* for another */
    assert_int_equal(bob->punches, 1);
    assert_int_equal(counts().dropped_unauthentic, 3);
}

static void a_word_about_punching_has_a_length(void **state)
{
    static const uint8_t longer[KH_ROOM_PUNCH_MAX + 1] = {1};
    struct bytes bytes;

    (void)state;
    for (size_t len = 0; len <= sizeof longer; len += sizeof longer) {
        begin(&bytes);
        kh_room_frame_punch_write(&bytes.writer, (struct kh_span){longer, len});
        to_bob_by_signal(ALICE, seal(ALICE, BOB, ALICE, span_of(&bytes)));
    }
    assert_int_equal(wire->parties[BOB].punches, 0);
    assert_int_equal(counts().dropped_malformed, 2);
}

static void altered_and_cut_signals_are_dropped(void **state)
{
    struct bytes bytes;
    uint8_t copy[KH_ROOM_SIGNAL_MAX + 1];
    struct kh_span sealed;
    uint64_t dropped = 0;

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    sealed = seal(ALICE, BOB, ALICE, span_of(&bytes));
    memcpy(copy, sealed.data, sealed.len);
    for (size_t i = 0; i < sealed.len; i++) {
        copy[i] ^= 1;
        to_bob_by_signal(ALICE, (struct kh_span){copy, sealed.len});
        copy[i] ^= 1;
        to_bob_by_signal(ALICE, (struct kh_span){copy, i});
        dropped += 2;
        assert_int_equal(counts().dropped_unauthentic, dropped);
    }
    to_bob_by_signal(ALICE, (struct kh_span){copy, sizeof copy});
    assert_int_equal(counts().dropped_unauthentic, dropped + 1);
    to_bob_by_signal(ALICE, sealed);
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
}

/* The server may hand a signal to whom it is not for, or say it came from another. */
static void signals_are_bound_to_sender_and_recipient(void **state)
{
    struct bytes bytes;
    struct kh_span sealed;

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    to_bob_by_signal(ALICE, seal(ALICE, MALLORY, ALICE, span_of(&bytes)));
    assert_int_equal(counts().dropped_unauthentic, 1);
    sealed = seal(ALICE, BOB, ALICE, span_of(&bytes));
    to_bob_by_signal(MALLORY, sealed);
    assert_int_equal(counts().dropped_unauthentic, 2);
    assert_int_equal(wire->parties[BOB].heard[ALICE], 0);
    to_bob_by_signal(ALICE, seal(ALICE, 3, ALICE, span_of(&bytes)));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
}

static void replayed_signals_change_nothing(void **state)
{
    struct bytes bytes;
    struct kh_span sealed;

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    sealed = seal(ALICE, BOB, ALICE, span_of(&bytes));
    for (unsigned i = 0; i < 10; i++)
        to_bob_by_signal(ALICE, sealed);
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
    assert_int_equal(counts().duplicates, 9);
    assert_int_equal(wire->signals, 1); /* acknowledgements keep a pause */
}

static void words_of_another_room_are_refused(void **state)
{
    static const uint8_t other_secret[KH_ROOM_SECRET_LEN] = {99};
    struct bytes bytes;

    (void)state;
    kh_room_keys_derive(other_secret, &keys);
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(counts().dropped_unauthentic, 1);
    to_bob_by_signal(ALICE, seal(ALICE, BOB, ALICE, span_of(&bytes)));
    assert_int_equal(counts().dropped_unauthentic, 2);
    assert_int_equal(wire->parties[BOB].heard[ALICE], 0);
}

/* Nobody can make Bob believe that others have what they have not. */
static void acknowledgements_are_ones_own(void **state)
{
    struct bytes bytes;
    struct kh_room_log_name name = log_of(BOB);

    (void)state;
    wire->loss = 100;
    wire_say(wire, BOB);
    begin(&bytes);
    kh_room_frame_have_write(&bytes.writer, &name, 1);
    to_bob_by_signal(ALICE, seal(ALICE, BOB, MALLORY, span_of(&bytes)));
    assert_int_equal(kh_room_undelivered(wire->parties[BOB].room, NULL), 2);
    begin(&bytes);
    kh_room_frame_have_write(&bytes.writer, &name, 2); /* more than Bob ever said */
    to_bob_by_channel(MALLORY, span_of(&bytes));
    assert_int_equal(kh_room_undelivered(wire->parties[BOB].room, NULL), 2);
    assert_int_equal(counts().dropped_malformed, 1);
    begin(&bytes);
    name.log.bytes[5] ^= 1; /* a log of an earlier stay */
    kh_room_frame_have_write(&bytes.writer, &name, 1);
    to_bob_by_channel(MALLORY, span_of(&bytes));
    assert_int_equal(kh_room_undelivered(wire->parties[BOB].room, NULL), 2);
}

static void heads_speak_for_their_own_log_only(void **state)
{
    struct bytes bytes;
    struct kh_room_log_name name = log_of(ALICE);

    (void)state;
    begin(&bytes);
    kh_room_frame_head_write(&bytes.writer, &name, 100, 200);
    to_bob_by_channel(MALLORY, span_of(&bytes));
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
    begin(&bytes);
    kh_room_frame_head_write(&bytes.writer, &name, 0, 5);
    kh_room_frame_head_write(&bytes.writer, &name, 7, 5);
    kh_room_frame_head_write(&bytes.writer, &name, 5, UINT64_MAX);
    kh_room_frame_head_write(&bytes.writer, &name, 1, 5); /* one that is older changes nothing */
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(counts().dropped_malformed, 3);
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 2);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 2);
}

static void entries_far_ahead_fill_no_memory(void **state)
{
    struct bytes bytes;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        begin(&bytes);
        write_entry(&bytes, MALLORY, MALLORY, 2 + i);
        to_bob_by_channel(MALLORY, span_of(&bytes));
    }
    assert_int_equal(counts().dropped_outbox_full, 1000 - 128);
    begin(&bytes);
    write_entry(&bytes, MALLORY, MALLORY, 1);
    to_bob_by_channel(MALLORY, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[MALLORY], 129);
}

/* Writes an entry of any kind and body, well signed by Alice. */
static void write_odd_entry(struct bytes *bytes, uint64_t sequence, uint8_t kind,
                            struct kh_span body)
{
    struct kh_room_log_name name = log_of(ALICE);
    struct kh_secret identity = identity_of(ALICE);
    struct kh_room_entry entry = {
        .sequence = sequence, .kind = kind, .body = body.data, .len = body.len};
    size_t begin = kh_room_frame_entries_begin(&bytes->writer, &name, sequence);

    kh_room_entry_write(&entry, &name, &keys, &identity, &bytes->writer);
    kh_room_frame_entries_end(&bytes->writer, begin);
}

static void odd_entries_are_skipped_and_do_not_stop_their_author(void **state)
{
    struct bytes bytes;

    (void)state;
    begin(&bytes);
    write_odd_entry(&bytes, 1, KH_ROOM_ENTRY_TEXT, (struct kh_span){"\x1b[2J", 4});
    write_odd_entry(&bytes, 2, KH_ROOM_ENTRY_TEXT, (struct kh_span){NULL, 0});
    write_odd_entry(&bytes, 3, 77, (struct kh_span){"of a later version", 18});
    wire->parties[BOB].heard[ALICE] = 3;
    write_entry(&bytes, ALICE, ALICE, 4);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 4);
    assert_int_equal(counts().dropped_malformed, 2);
}

static void frames_of_later_versions_are_skipped(void **state)
{
    struct bytes bytes;

    (void)state;
    begin(&bytes);
    kh_write_bytes(&bytes.writer, "\x63\x00\x05hello", 8);
    write_entry(&bytes, ALICE, ALICE, 1);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(wire->parties[BOB].heard[ALICE], 1);
    assert_int_equal(counts().dropped_malformed, 0);
    bytes.data[0]++;
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(counts().dropped_malformed, 1);
}

static void sequences_end_before_they_wrap(void **state)
{
    struct bytes bytes;

    (void)state;
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, UINT64_MAX);
    write_entry(&bytes, ALICE, ALICE, KH_ROOM_SEQUENCE_MAX + 1);
    write_entry(&bytes, ALICE, ALICE, 0);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(counts().dropped_malformed, 3);
}

static void strangers_are_not_heard(void **state)
{
    struct bytes bytes;

    (void)state;
    kh_room_remove_member(wire->parties[BOB].room, wire->now, &wire->parties[ALICE].id);
    wire_drain(wire, BOB);
    begin(&bytes);
    write_entry(&bytes, ALICE, ALICE, 1);
    to_bob_by_channel(ALICE, span_of(&bytes));
    assert_int_equal(counts().dropped_unauthentic, 1);
    /* A penned signal is checked like any other once its sender is known. */
    to_bob_by_signal(ALICE, seal(ALICE, BOB, MALLORY, span_of(&bytes)));
    wire_introduce(wire, BOB, ALICE);
    assert_int_equal(counts().dropped_unauthentic, 2);
    assert_int_equal(wire->parties[BOB].heard[ALICE], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(mallory_cannot_speak_for_alice),
        TEST(every_altered_byte_of_an_entry_is_noticed),
        TEST(every_cut_is_noticed),
        TEST(altered_and_cut_signals_are_dropped),
        TEST(a_word_about_punching_is_its_senders),
        TEST(a_word_about_punching_has_a_length),
        TEST(signals_are_bound_to_sender_and_recipient),
        TEST(replayed_signals_change_nothing),
        TEST(words_of_another_room_are_refused),
        TEST(acknowledgements_are_ones_own),
        TEST(heads_speak_for_their_own_log_only),
        TEST(entries_far_ahead_fill_no_memory),
        TEST(odd_entries_are_skipped_and_do_not_stop_their_author),
        TEST(frames_of_later_versions_are_skipped),
        TEST(sequences_end_before_they_wrap),
        TEST(strangers_are_not_heard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
