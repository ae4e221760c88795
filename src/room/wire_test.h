/* room/wire_test.h - rooms face to face: a hand-held wire that may lose, double and reorder.
 *
 * SPDX-License-Identifier: MIT
 *
 * Signals cross a network that keeps no promises, channels one that keeps all of them.  Whatever a
 * party hears is checked at once: the right author, the right text, the next in order, never twice.
 */
#ifndef KH_ROOM_WIRE_TEST_H
#define KH_ROOM_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "room/room.h"

#define WIRE_PARTIES 3
#define WIRE_PACKETS 8192

struct wire_packet {
    kh_time at;
    uint64_t order; /* ties are first come, first served */
    size_t from;
    size_t to;
    enum kh_room_carrier via;
    unsigned channel; /* the generation it was sent on */
    size_t len;
    uint8_t *data;
};

struct wire_party {
    struct kh_room *room;
    struct kh_room_member_id id;
    uint8_t identity[KH_KEY_LEN];
    uint64_t said;
    uint64_t heard[WIRE_PARTIES];
    uint64_t heard_by_signal;
    uint64_t delivered[WIRE_PARTIES];
    uint64_t punches;
    uint8_t punch[KH_ROOM_PUNCH_MAX]; /* the latest */
    size_t punch_len;
    unsigned channel[WIRE_PARTIES]; /* 0: closed */
    bool blocked[WIRE_PARTIES];
    kh_time in_order[WIRE_PARTIES]; /* no channel packet may arrive before the one ahead of it */
};

struct wire {
    struct wire_party parties[WIRE_PARTIES];
    size_t count;
    kh_time now;
    struct kh_rng rng;
    unsigned loss; /* of signals, percent; likewise the next two */
    unsigned duplication;
    unsigned refusal; /* of channel messages: the buffer is full */
    bool cut;         /* channels keep what they are given to themselves until they are mended */
    kh_duration delay_min;
    kh_duration delay_max;
    unsigned large; /* percent of messages that no signal holds */
    unsigned generation;
    uint64_t order;
    struct wire_packet packets[WIRE_PACKETS];
    size_t packet_count;
    uint64_t signals;
    uint64_t channel_messages;
};

bool wire_chance(struct wire *wire, unsigned percent);
/* What a party says is a function of who and when, so that any listener can check it. */
size_t wire_text(const struct wire *wire, size_t author, uint64_t sequence,
                 char out[static KH_ROOM_TEXT_MAX]);
void wire_drain(struct wire *wire, size_t me);
struct wire *wire_new(size_t count, uint64_t seed);
void wire_free(struct wire *wire);
/* One learns of the other. */
void wire_introduce(struct wire *wire, size_t me, size_t other);
void wire_introduce_all(struct wire *wire);
enum kh_status wire_try_say(struct wire *wire, size_t me);
void wire_say(struct wire *wire, size_t me);
void wire_set_channel(struct wire *wire, size_t a, size_t b, bool open);
void wire_cut(struct wire *wire);
void wire_mend(struct wire *wire);
void wire_unblock(struct wire *wire, size_t me, size_t other);
/* Goes on to whatever happens next, not beyond `until`; false if nothing does. */
bool wire_step(struct wire *wire, kh_time until);
void wire_run(struct wire *wire, kh_duration duration);
/* Goes on until everyone has all, and then for a while: nothing more may come of it. */
bool wire_settle(struct wire *wire);

#endif
