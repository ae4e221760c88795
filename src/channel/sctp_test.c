/* channel/sctp_test.c - the SCTP association by itself, where the wire can be read and rewritten.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/sctp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "support/virtual_clock.h"

#define STREAM 3
#define PACKET_MAX 1159
#define PACKETS_MAX 512

/* Where things lie in a packet (RFC 9260 3.1) and in a DATA chunk (3.3.1). */
#define CHECKSUM_AT 8
#define CHUNK_AT 12
#define FLAGS_AT 1
#define STREAM_AT 8
#define SEQUENCE_AT 10
#define PPID_AT 15 /* its last byte */

#define FLAG_END 1
#define FLAG_BEGIN 2

struct packet {
    int to;
    size_t len;
    uint8_t data[PACKET_MAX];
};

struct pair {
    struct kh_channel_sctp *sctp[2];
    kh_time now;
    void (*rewrite)(uint8_t *chunk); /* each DATA chunk that end 0 sends; NULL: none */
    struct packet *packets;
    size_t count;
    unsigned int messages[2], closed[2], failed[2];
    enum kh_channel_failure failure[2];
    size_t last_len;
    uint8_t last[16]; /* how the last message began */
};

static uint32_t crc32c(const uint8_t *data, size_t len)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    return ~crc;
}

static void sign(uint8_t *data, size_t len)
{
    uint32_t crc;

    memset(data + CHECKSUM_AT, 0, 4);
    crc = crc32c(data, len);
    for (int i = 0; i < 4; i++)
        data[CHECKSUM_AT + i] = (uint8_t)(crc >> 8 * i); /* RFC 9260 appendix A: little end first */
}

static void set_now(struct pair *pair, kh_time now)
{
    pair->now = now;
    virtual_clock_set(now);
}

static void pair_init(struct pair *pair)
{
    struct kh_channel_sctp_config config = {.packet_max = PACKET_MAX, .stream = STREAM};

    *pair = (struct pair){0};
    set_now(pair, KH_SECONDS(100));
    pair->packets = calloc(PACKETS_MAX, sizeof *pair->packets);
    assert_non_null(pair->packets);
    for (int i = 0; i < 2; i++)
        assert_int_equal(kh_channel_sctp_new(&pair->sctp[i], &config), KH_OK);
}

static void pair_fini(struct pair *pair)
{
    kh_channel_sctp_free(pair->sctp[0]);
    kh_channel_sctp_free(pair->sctp[1]);
    free(pair->packets);
}

static void take_events(struct pair *pair, int at)
{
    struct kh_channel_event event;

    while (kh_channel_sctp_next_event(pair->sctp[at], &event)) {
        if (event.kind == KH_CHANNEL_EVENT_MESSAGE) {
            pair->messages[at]++;
            pair->last_len = event.len;
            memcpy(pair->last, event.data, event.len < 16 ? event.len : 16);
        }
        pair->closed[at] += event.kind == KH_CHANNEL_EVENT_CLOSED;
        pair->failed[at] += event.kind == KH_CHANNEL_EVENT_FAILED;
        pair->failure[at] = event.failure;
    }
}

static void rewrite(struct pair *pair, uint8_t *data, size_t len)
{
    for (size_t at = CHUNK_AT, chunk_len; at < len; at += (chunk_len + 3) & ~(size_t)3) {
        chunk_len = (size_t)(data[at + 2] << 8 | data[at + 3]);
        if (data[at] == 0)
            pair->rewrite(data + at);
    }
    sign(data, len);
}

static void take_packets(struct pair *pair, int from)
{
    const uint8_t *data;
    size_t len;

    while (kh_channel_sctp_next_packet(pair->sctp[from], &data, &len)) {
        struct packet *packet = &pair->packets[pair->count++];

        assert_true(pair->count < PACKETS_MAX && len <= PACKET_MAX);
        packet->to = 1 - from;
        packet->len = len;
        memcpy(packet->data, data, len);
        if (from == 0 && pair->rewrite != NULL)
            rewrite(pair, packet->data, len);
    }
}

/* Delivers until both fall silent, at 1 ms a turn. */
static void settle(struct pair *pair)
{
    for (int turn = 0; turn < 2000; turn++) {
        size_t count;

        for (int i = 0; i < 2; i++) {
            take_events(pair, i);
            take_packets(pair, i);
        }
        count = pair->count;
        set_now(pair, pair->now + KH_MILLISECONDS(1));
        for (size_t i = 0; i < count; i++)
            kh_channel_sctp_handle_packet(pair->sctp[pair->packets[i].to], pair->now,
                                          pair->packets[i].data, pair->packets[i].len);
        memmove(pair->packets, pair->packets + count,
                (pair->count - count) * sizeof *pair->packets);
        pair->count -= count;
        for (int i = 0; i < 2; i++)
            if (kh_channel_sctp_timeout(pair->sctp[i]) <= pair->now)
                kh_channel_sctp_handle_timeout(pair->sctp[i], pair->now);
    }
}

static void open_both(struct pair *pair)
{
    kh_channel_sctp_connect(pair->sctp[0], pair->now);
    kh_channel_sctp_connect(pair->sctp[1], pair->now);
    settle(pair);
    assert_int_equal(kh_channel_sctp_state(pair->sctp[0]), KH_CHANNEL_SCTP_OPEN);
    assert_int_equal(kh_channel_sctp_state(pair->sctp[1]), KH_CHANNEL_SCTP_OPEN);
}

static void say(struct pair *pair, int from, size_t len, uint8_t first)
{
    uint8_t *data = calloc(1, len);

    assert_non_null(data);
    data[0] = first;
    assert_int_equal(kh_channel_sctp_send(pair->sctp[from], pair->now, data, len), KH_OK);
    free(data);
}

static void make_string(uint8_t *chunk)
{
    assert_int_equal(chunk[PPID_AT], 53);
    chunk[PPID_AT] = 51;
}

static void make_control(uint8_t *chunk)
{
    chunk[PPID_AT] = 50;
}

static void make_empty(uint8_t *chunk)
{
    chunk[PPID_AT] = 57;
}

static void change_stream(uint8_t *chunk)
{
    assert_int_equal(chunk[STREAM_AT + 1], STREAM);
    chunk[STREAM_AT + 1] = STREAM + 1;
}

static void takes_strings_and_binaries_of_its_stream_only(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    say(&pair, 0, 20, 1);
    settle(&pair);
    assert_int_equal(pair.messages[1], 1);
    pair.rewrite = make_string;
    say(&pair, 0, 20, 2);
    settle(&pair);
    assert_int_equal(pair.messages[1], 2);
    assert_int_equal(pair.last[0], 2);
    pair.rewrite = make_control;
    say(&pair, 0, 20, 3);
    settle(&pair);
    assert_int_equal(pair.messages[1], 2);
    assert_int_equal(kh_channel_sctp_dropped_malformed(pair.sctp[1]), 1);
    pair.rewrite = NULL;
    say(&pair, 0, 20, 4);
    settle(&pair);
    assert_int_equal(pair.messages[1], 3);
    assert_int_equal(pair.last[0], 4);
    pair_fini(&pair);
}

static void drops_what_comes_on_another_stream(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    pair.rewrite = change_stream;
    say(&pair, 0, 20, 1);
    settle(&pair);
    assert_int_equal(pair.messages[1], 0);
    assert_int_equal(kh_channel_sctp_dropped_malformed(pair.sctp[1]), 1);
    assert_int_equal(kh_channel_sctp_unacknowledged(pair.sctp[0]), 0);
    pair_fini(&pair);
}

/* RFC 8831 6.6: SCTP cannot carry nothing, so one byte under a PPID of its own stands for it. */
static void takes_an_empty_message(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    pair.rewrite = make_empty;
    pair.last_len = 9;
    say(&pair, 0, 1, 1);
    settle(&pair);
    assert_int_equal(pair.messages[1], 1);
    assert_int_equal(pair.last_len, 0);
    pair_fini(&pair);
}

/* Two messages become one of 120,000 bytes, which no honest peer sends. */
static void join_first_two(uint8_t *chunk)
{
    uint16_t sequence = (uint16_t)(chunk[SEQUENCE_AT] << 8 | chunk[SEQUENCE_AT + 1]);

    if (sequence == 0)
        chunk[FLAGS_AT] &= (uint8_t)~FLAG_END;
    if (sequence == 1)
        chunk[FLAGS_AT] &= (uint8_t)~FLAG_BEGIN;
    chunk[SEQUENCE_AT + 1] = (uint8_t)(sequence > 0 ? sequence - 1 : 0);
}

static void drops_a_message_that_is_too_long(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    pair.rewrite = join_first_two;
    say(&pair, 0, 60000, 1);
    say(&pair, 0, 60000, 2);
    say(&pair, 0, 100, 3);
    settle(&pair);
    settle(&pair);
    assert_int_equal(pair.messages[1], 1);
    assert_int_equal(pair.last_len, 100);
    assert_int_equal(pair.last[0], 3);
    assert_int_equal(kh_channel_sctp_dropped_malformed(pair.sctp[1]), 1);
    pair_fini(&pair);
}

static void drops_what_fails_the_checksum(void **state)
{
    const uint8_t *data;
    uint8_t packet[PACKET_MAX];
    struct pair pair;
    size_t len;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    say(&pair, 0, 20, 1);
    assert_true(kh_channel_sctp_next_packet(pair.sctp[0], &data, &len));
    memcpy(packet, data, len);
    for (size_t i = 0; i < len; i++) {
        packet[i] ^= 1;
        kh_channel_sctp_handle_packet(pair.sctp[1], pair.now, packet, len);
        packet[i] ^= 1;
        take_events(&pair, 1);
        assert_int_equal(pair.messages[1], 0);
    }
    kh_channel_sctp_handle_packet(pair.sctp[1], pair.now, packet, len);
    take_events(&pair, 1);
    assert_int_equal(pair.messages[1], 1);
    pair_fini(&pair);
}

/* Turns the packet into one ABORT chunk with one error cause (RFC 9260 3.3.7). */
static void abort_with(struct pair *pair, uint8_t cause)
{
    const uint8_t *data;
    uint8_t packet[20];
    size_t len;

    say(pair, 0, 20, 1);
    assert_true(kh_channel_sctp_next_packet(pair->sctp[0], &data, &len));
    memcpy(packet, data, CHUNK_AT);
    memcpy(packet + CHUNK_AT, (const uint8_t[]){6, 0, 0, 8, 0, cause, 0, 4}, 8);
    sign(packet, sizeof packet);
    kh_channel_sctp_handle_packet(pair->sctp[1], pair->now, packet, sizeof packet);
    take_events(pair, 1);
}

static void tells_an_abort_from_a_browser_leaving(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    abort_with(&pair, 13); /* protocol violation */
    assert_int_equal(pair.failed[1], 1);
    assert_int_equal(pair.failure[1], KH_CHANNEL_FAILURE_ABORTED);
    assert_int_equal(pair.closed[1], 0);
    pair_fini(&pair);

    pair_init(&pair);
    open_both(&pair);
    abort_with(&pair, 12); /* user initiated */
    assert_int_equal(pair.failed[1], 0);
    assert_int_equal(pair.closed[1], 1);
    pair_fini(&pair);
}

static void falls_silent_when_all_has_arrived(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    say(&pair, 0, 20, 1);
    assert_int_equal(kh_channel_sctp_timeout(pair.sctp[0]), pair.now);
    take_packets(&pair, 0);
    assert_int_equal(kh_channel_sctp_timeout(pair.sctp[0]), pair.now + KH_MILLISECONDS(10));
    settle(&pair);
    assert_int_equal(kh_channel_sctp_timeout(pair.sctp[0]), KH_NEVER);
    assert_int_equal(kh_channel_sctp_timeout(pair.sctp[1]), KH_NEVER);
    pair_fini(&pair);
}

/* What this end says is lost from now on; returns how often it wakes until it is closed. */
static unsigned wakes_until_closed(struct pair *pair, int end)
{
    unsigned wakes = 0;

    for (; pair->closed[end] == 0; wakes++) {
        take_packets(pair, end);
        pair->count = 0;
        set_now(pair, kh_channel_sctp_timeout(pair->sctp[end]));
        kh_channel_sctp_handle_timeout(pair->sctp[end], pair->now);
        take_events(pair, end);
        assert_true(wakes < 1000);
    }
    return wakes;
}

/* The peer vanishes in the middle of the goodbye: patience ends, and costs little until then. */
static void wakes_seldom_while_nothing_comes_back(void **state)
{
    struct pair pair;
    kh_time start;

    (void)state;
    pair_init(&pair);
    open_both(&pair);
    kh_channel_sctp_close(pair.sctp[0], pair.now);
    take_packets(&pair, 0);
    assert_int_equal(pair.count, 1); /* SHUTDOWN */
    kh_channel_sctp_handle_packet(pair.sctp[1], pair.now, pair.packets[0].data,
                                  pair.packets[0].len);
    take_events(&pair, 1);
    start = pair.now;
    assert_in_range(wakes_until_closed(&pair, 1), 200, 500);
    assert_int_equal(pair.now - start, KH_SECONDS(20));
    pair_fini(&pair);
}

static void is_gone_without_a_trace_and_begins_anew(void **state)
{
    struct pair pair;

    (void)state;
    for (int round = 0; round < 5; round++) {
        pair_init(&pair);
        open_both(&pair);
        say(&pair, 1, 30000, 5);
        pair_fini(&pair); /* in mid-flight */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_strings_and_binaries_of_its_stream_only),
        cmocka_unit_test(drops_what_comes_on_another_stream),
        cmocka_unit_test(takes_an_empty_message),
        cmocka_unit_test(drops_a_message_that_is_too_long),
        cmocka_unit_test(drops_what_fails_the_checksum),
        cmocka_unit_test(tells_an_abort_from_a_browser_leaving),
        cmocka_unit_test(falls_silent_when_all_has_arrived),
        cmocka_unit_test(wakes_seldom_while_nothing_comes_back),
        cmocka_unit_test(is_gone_without_a_trace_and_begins_anew),
    };

    return cmocka_run_group_tests_name("channel sctp", tests, NULL, NULL);
}
