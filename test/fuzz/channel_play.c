/* test/fuzz/channel_play.c - two channels on a hostile wire, as the input tells.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz/channel_play.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/datagram.h"
#include "channel/channel.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define FLYING_MAX 64 /* beyond it datagrams are lost */
#define STEPS_MAX 200 /* timeouts handled in one wait */

enum move { DELIVER, LOSE, ALTER, CUT, FORGE, WAIT, SEND, START, CLOSE, MOVES };

struct flying {
    unsigned int to;
    size_t len;
    uint8_t data[KH_DATAGRAM_MAX];
};

struct play {
    struct kh_channel *channel[2];
    bool opened[2], ended[2];
    kh_time now;
    struct flying flying[FLYING_MAX];
    size_t count;
};

static void drain_one(struct play *play, unsigned int at)
{
    struct kh_channel_event event;
    const uint8_t *data;
    size_t len;

    while (kh_channel_next_event(play->channel[at], &event)) {
        TEST(!play->ended[at]);
        TEST(event.kind != KH_CHANNEL_EVENT_OPEN || !play->opened[at]);
        TEST(event.kind != KH_CHANNEL_EVENT_MESSAGE ||
             (play->opened[at] && event.len <= KH_CHANNEL_MESSAGE_MAX));
        play->opened[at] = play->opened[at] || event.kind == KH_CHANNEL_EVENT_OPEN;
        play->ended[at] =
            event.kind == KH_CHANNEL_EVENT_CLOSED || event.kind == KH_CHANNEL_EVENT_FAILED;
    }
    while (kh_channel_next_transmit(play->channel[at], &data, &len)) {
        TEST(len > 0 && len <= KH_DATAGRAM_MAX && data[0] >= 20 && data[0] <= 63);
        if (play->count == FLYING_MAX)
            continue;
        play->flying[play->count].to = 1 - at;
        play->flying[play->count].len = len;
        memcpy(play->flying[play->count].data, data, len);
        play->count++;
    }
}

static void drain(struct play *play)
{
    drain_one(play, 0);
    drain_one(play, 1);
}

static void give(struct play *play, unsigned int to, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1); /* exactly sized, for the sanitizer */

    TEST(copy != NULL);
    memcpy(copy, data, len);
    (void)kh_channel_handle_datagram(play->channel[to], play->now, copy, len);
    free(copy);
    drain(play);
}

/* Takes the oldest datagram off the wire and, unless it is lost, gives it on, changed or not. */
static void move_datagram(struct play *play, enum move move, struct kh_reader *reader)
{
    struct flying flying = play->flying[0];
    uint16_t at = move == ALTER || move == CUT ? kh_read_u16(reader) : 0;
    uint8_t change = move == ALTER ? kh_read_u8(reader) : 0;

    if (play->count == 0)
        return;
    play->count--;
    memmove(&play->flying[0], &play->flying[1], play->count * sizeof flying);
    flying.data[at % flying.len] ^= change;
    if (move == CUT)
        flying.len = at % flying.len;
    if (move != LOSE)
        give(play, flying.to, flying.data, flying.len);
}

static void wait_for(struct play *play, kh_duration duration)
{
    kh_time until = play->now + duration;

    for (int step = 0; step < STEPS_MAX; step++) {
        kh_time due =
            kh_time_min(kh_channel_timeout(play->channel[0]), kh_channel_timeout(play->channel[1]));

        if (due > until)
            break;
        play->now = due > play->now ? due : play->now;
        for (unsigned int i = 0; i < 2; i++)
            if (kh_channel_timeout(play->channel[i]) <= play->now)
                kh_channel_handle_timeout(play->channel[i], play->now);
        drain(play);
    }
    play->now = until;
}

static void make_move(struct play *play, struct kh_reader *reader)
{
    static const uint8_t message[2000];
    uint8_t first = kh_read_u8(reader);
    enum move move = (enum move)(first / 2 % MOVES);
    unsigned int at = first % 2;
    struct kh_channel *channel = play->channel[at];

    if (move <= CUT) {
        move_datagram(play, move, reader);
    } else if (move == FORGE) {
        size_t len = kh_read_u8(reader);

        len = len < reader->left ? len : reader->left;
        give(play, at, kh_read_bytes(reader, len), len);
    } else if (move == WAIT) {
        wait_for(play, KH_MILLISECONDS(kh_read_u8(reader)) * kh_read_u8(reader));
    } else if (move == SEND) {
        size_t len = 1 + 7 * (size_t)kh_read_u8(reader);

        if (kh_channel_send(channel, play->now, message, len) == KH_OK)
            TEST(play->opened[at]);
    } else if (move == START) {
        kh_channel_start(channel, play->now);
    } else {
        kh_channel_close(channel, play->now);
    }
    drain(play);
}

void channel_play(const uint8_t *data, size_t len)
{
    /* Making keys is slow, so one certificate serves both ends of every play. */
    static struct kh_channel_certificate *certificate;
    struct kh_reader reader = kh_reader_of(data, len);
    struct play *play = calloc(1, sizeof *play);

    TEST(play != NULL);
    TEST(certificate != NULL || kh_channel_certificate_new(&certificate) == KH_OK);
    play->now = KH_SECONDS(1000);
    for (unsigned int i = 0; i < 2; i++) {
        struct kh_channel_config config = {.role = i == 0 ? KH_CHANNEL_ACTIVE : KH_CHANNEL_PASSIVE,
                                           .certificate = certificate};

        kh_channel_certificate_fingerprint(certificate, config.remote_fingerprint);
        config.seed[0] = (uint8_t)(i + 1);
        TEST(kh_channel_new(&play->channel[i], &config) == KH_OK);
    }
    while (reader.left > 0 && !reader.failed)
        make_move(play, &reader);
    kh_channel_free(play->channel[0]);
    kh_channel_free(play->channel[1]);
    free(play);
}
