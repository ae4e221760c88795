/* test/support/wire.h - two channels joined by hand, in virtual time.
 *
 * SPDX-License-Identifier: MIT
 *
 * The wire may delay, lose, repeat and reorder.  It checks at every step what must always hold: the
 * size and first byte of datagrams, and that numbered messages come in order and once.
 */
#ifndef KH_TEST_SUPPORT_WIRE_H
#define KH_TEST_SUPPORT_WIRE_H

#include "base/datagram.h"
#include "channel/channel.h"
#include "support/dice.h"

#define WIRE_FLYING_MAX 4096 /* a full window of both sides */

struct wire_flying {
    kh_time arrives;
    unsigned int to;
    uint8_t *data; /* owned */
    size_t len;
};

/* One end and what came out of it. */
struct wire_end {
    struct kh_channel *channel; /* NULL: datagrams to it vanish */
    kh_time opened_at;          /* KH_NEVER: not yet */
    kh_time ended_at;           /* closed or failed */
    bool closed;
    bool failed;
    enum kh_channel_failure failure;
    unsigned int writable;   /* events */
    uint32_t sent, received; /* numbered messages */
    size_t received_bytes;
    uint64_t datagrams, bytes; /* given to the wire */
};

struct wire {
    struct wire_end end[2];
    size_t datagram_max;
    kh_time now;
    struct dice dice;
    kh_duration delay;  /* one way */
    kh_duration jitter; /* added at random: reorders */
    unsigned int loss_percent;
    unsigned int repeat_percent;
    bool cut; /* everything is lost */
    struct wire_flying flying[WIRE_FLYING_MAX];
    size_t flying_count;
    struct kh_channel_certificate *certificate[2]; /* owned */
};

/* Two fresh channels, end 0 active, that know each other's fingerprints; 50 ms one way. */
struct wire *wire_new(uint64_t seed);
/* The same, but end `misled` expects a certificate that the other does not have; 2: neither. */
struct wire *wire_new_misled(uint64_t seed, unsigned int misled, size_t datagram_max);
void wire_free(struct wire *wire);

/* Starts both ends now. */
void wire_start(struct wire *wire);
/* Runs until `done` or until the duration has passed; true if done. */
bool wire_run_until(struct wire *wire, bool (*done)(const struct wire *), kh_duration longest);
void wire_run(struct wire *wire, kh_duration duration);
/* Takes what the channels want to send and say; after each call of theirs by hand. */
void wire_drain(struct wire *wire);
/* Gives a datagram to an end as if it had come along the wire. */
void wire_inject(struct wire *wire, unsigned int to, const void *data, size_t len);

/* Sends the next numbered message of this length (at least 4); the other end checks it. */
enum kh_status wire_send(struct wire *wire, unsigned int from, size_t len);

bool wire_both_open(const struct wire *wire);
bool wire_both_ended(const struct wire *wire);
bool wire_all_arrived(const struct wire *wire);      /* all numbered messages */
bool wire_all_acknowledged(const struct wire *wire); /* and nothing is left to do */

#endif
