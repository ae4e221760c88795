/* test/support/wire.c - two channels joined by hand, in virtual time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support/wire.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "support/virtual_clock.h"

#define STEPS_WITHOUT_TIME_MAX 100000 /* more means that two machines keep each other busy */

static uint8_t pattern(uint32_t number, size_t at)
{
    return (uint8_t)(number * 31u + at * 7u + (at >> 8));
}

static void set_now(struct wire *wire, kh_time now)
{
    wire->now = now;
    virtual_clock_set(now);
}

static void make_channel(struct wire *wire, unsigned int at, bool misled)
{
    struct kh_channel_config config = {.role = at == 0 ? KH_CHANNEL_ACTIVE : KH_CHANNEL_PASSIVE,
                                       .certificate = wire->certificate[at],
                                       .datagram_max = wire->datagram_max};
    enum kh_status status;

    kh_channel_certificate_fingerprint(wire->certificate[1 - at], config.remote_fingerprint);
    if (misled)
        config.remote_fingerprint[KH_CHANNEL_FINGERPRINT_LEN - 1] ^= 1;
    dice_bytes(&wire->dice, config.seed, sizeof config.seed);
    status = kh_channel_new(&wire->end[at].channel, &config);
    assert(status == KH_OK);
    wire->end[at].opened_at = KH_NEVER;
    wire->end[at].ended_at = KH_NEVER;
}

struct wire *wire_new_misled(uint64_t seed, unsigned int misled, size_t datagram_max)
{
    struct wire *wire = calloc(1, sizeof *wire);
    enum kh_status status;

    assert(wire != NULL);
    wire->dice = dice_of(seed);
    set_now(wire, KH_SECONDS(1000));
    wire->delay = KH_MILLISECONDS(50);
    wire->datagram_max = datagram_max;
    for (unsigned int i = 0; i < 2; i++) {
        status = kh_channel_certificate_new(&wire->certificate[i]);
        assert(status == KH_OK);
    }
    for (unsigned int i = 0; i < 2; i++)
        make_channel(wire, i, i == misled);
    return wire;
}

struct wire *wire_new(uint64_t seed)
{
    return wire_new_misled(seed, 2, 0);
}

void wire_free(struct wire *wire)
{
    for (unsigned int i = 0; i < 2; i++)
        kh_channel_free(wire->end[i].channel);
    for (unsigned int i = 0; i < 2; i++)
        kh_channel_certificate_free(wire->certificate[i]);
    for (size_t i = 0; i < wire->flying_count; i++)
        free(wire->flying[i].data);
    free(wire);
}

static void fly(struct wire *wire, unsigned int to, const uint8_t *data, size_t len)
{
    kh_time arrives = wire->now + wire->delay;
    size_t at = wire->flying_count;

    if (wire->jitter > 0)
        arrives += dice_below(&wire->dice, wire->jitter);
    assert(wire->flying_count < WIRE_FLYING_MAX);
    while (at > 0 && wire->flying[at - 1].arrives > arrives)
        at--;
    memmove(&wire->flying[at + 1], &wire->flying[at],
            (wire->flying_count - at) * sizeof *wire->flying);
    wire->flying[at] = (struct wire_flying){arrives, to, malloc(len), len};
    assert(wire->flying[at].data != NULL);
    memcpy(wire->flying[at].data, data, len);
    wire->flying_count++;
}

static void transmit(struct wire *wire, unsigned int from, const uint8_t *data, size_t len)
{
    assert(len > 0 && len <= (wire->datagram_max != 0 ? wire->datagram_max : KH_DATAGRAM_MAX));
    assert(data[0] >= 20 && data[0] <= 63);
    wire->end[from].datagrams++;
    wire->end[from].bytes += len;
    if (wire->cut || dice_below(&wire->dice, 100) < wire->loss_percent)
        return;
    fly(wire, 1 - from, data, len);
    if (dice_below(&wire->dice, 100) < wire->repeat_percent)
        fly(wire, 1 - from, data, len);
}

static void take_message(struct wire *wire, unsigned int at, const uint8_t *data, size_t len)
{
    struct wire_end *end = &wire->end[at];
    uint32_t number;

    assert(end->opened_at != KH_NEVER && !end->closed && !end->failed);
    assert(len >= sizeof number);
    memcpy(&number, data, sizeof number);
    assert(number == end->received);
    for (size_t i = sizeof number; i < len; i++)
        assert(data[i] == pattern(number, i));
    end->received++;
    end->received_bytes += len;
}

static void take_event(struct wire *wire, unsigned int at, const struct kh_channel_event *event)
{
    struct wire_end *end = &wire->end[at];

    assert(!end->closed && !end->failed);
    switch (event->kind) {
    case KH_CHANNEL_EVENT_OPEN:
        assert(end->opened_at == KH_NEVER);
        end->opened_at = wire->now;
        break;
    case KH_CHANNEL_EVENT_MESSAGE:
        take_message(wire, at, event->data, event->len);
        break;
    case KH_CHANNEL_EVENT_WRITABLE:
        end->writable++;
        break;
    case KH_CHANNEL_EVENT_CLOSED:
        end->closed = true;
        end->ended_at = wire->now;
        break;
    case KH_CHANNEL_EVENT_FAILED:
        end->failed = true;
        end->failure = event->failure;
        end->ended_at = wire->now;
        break;
    }
}

void wire_drain(struct wire *wire)
{
    struct kh_channel_event event;
    const uint8_t *data;
    size_t len;

    for (unsigned int i = 0; i < 2; i++) {
        if (wire->end[i].channel == NULL)
            continue;
        while (kh_channel_next_event(wire->end[i].channel, &event))
            take_event(wire, i, &event);
        while (kh_channel_next_transmit(wire->end[i].channel, &data, &len))
            transmit(wire, i, data, len);
    }
}

void wire_inject(struct wire *wire, unsigned int to, const void *data, size_t len)
{
    /* A copy of exact size, so that a sanitizer sees any read beyond its end. */
    uint8_t *copy = malloc(len);

    assert(copy != NULL || len == 0);
    memcpy(copy, data, len);
    (void)kh_channel_handle_datagram(wire->end[to].channel, wire->now, copy, len);
    wire_drain(wire);
    free(copy);
}

void wire_start(struct wire *wire)
{
    for (unsigned int i = 0; i < 2; i++)
        kh_channel_start(wire->end[i].channel, wire->now);
    wire_drain(wire);
}

static void arrive(struct wire *wire)
{
    struct wire_flying first = wire->flying[0];

    wire->flying_count--;
    memmove(&wire->flying[0], &wire->flying[1], wire->flying_count * sizeof *wire->flying);
    if (wire->end[first.to].channel != NULL)
        (void)kh_channel_handle_datagram(wire->end[first.to].channel, wire->now, first.data,
                                         first.len);
    free(first.data);
}

static kh_time timeout_of(const struct wire *wire, unsigned int at)
{
    return wire->end[at].channel == NULL ? KH_NEVER : kh_channel_timeout(wire->end[at].channel);
}

/* Does the next thing that happens before the deadline; false if nothing does. */
static bool step(struct wire *wire, kh_time deadline)
{
    kh_time arrives = wire->flying_count > 0 ? wire->flying[0].arrives : KH_NEVER;
    kh_time due = kh_time_min(timeout_of(wire, 0), timeout_of(wire, 1));
    kh_time next = kh_time_min(arrives, due);

    if (next == KH_NEVER || next > deadline)
        return false;
    if (next > wire->now)
        set_now(wire, next);
    if (arrives <= due) {
        arrive(wire);
    } else {
        for (unsigned int i = 0; i < 2; i++)
            if (timeout_of(wire, i) <= wire->now)
                kh_channel_handle_timeout(wire->end[i].channel, wire->now);
    }
    wire_drain(wire);
    return true;
}

bool wire_run_until(struct wire *wire, bool (*done)(const struct wire *), kh_duration longest)
{
    kh_time deadline = wire->now + longest;
    kh_time before = wire->now;
    unsigned int stuck = 0;

    virtual_clock_set(wire->now); /* another wire may have set its own */
    while (!done(wire)) {
        if (!step(wire, deadline)) {
            set_now(wire, deadline);
            return done(wire);
        }
        stuck = wire->now == before ? stuck + 1 : 0;
        before = wire->now;
        assert(stuck < STEPS_WITHOUT_TIME_MAX);
    }
    return true;
}

static bool never(const struct wire *wire)
{
    (void)wire;
    return false;
}

void wire_run(struct wire *wire, kh_duration duration)
{
    (void)wire_run_until(wire, never, duration);
}

enum kh_status wire_send(struct wire *wire, unsigned int from, size_t len)
{
    uint32_t number = wire->end[from].sent;
    uint8_t *data = malloc(len);
    enum kh_status status;

    assert(data != NULL && len >= sizeof number);
    memcpy(data, &number, sizeof number);
    for (size_t i = sizeof number; i < len; i++)
        data[i] = pattern(number, i);
    status = kh_channel_send(wire->end[from].channel, wire->now, data, len);
    if (status == KH_OK)
        wire->end[from].sent++;
    free(data);
    wire_drain(wire);
    return status;
}

bool wire_both_open(const struct wire *wire)
{
    return wire->end[0].opened_at != KH_NEVER && wire->end[1].opened_at != KH_NEVER;
}

bool wire_both_ended(const struct wire *wire)
{
    return wire->end[0].ended_at != KH_NEVER && wire->end[1].ended_at != KH_NEVER;
}

bool wire_all_arrived(const struct wire *wire)
{
    return wire->end[0].sent == wire->end[1].received && wire->end[1].sent == wire->end[0].received;
}

bool wire_all_acknowledged(const struct wire *wire)
{
    return wire_all_arrived(wire) && kh_channel_unacknowledged(wire->end[0].channel) == 0 &&
           kh_channel_unacknowledged(wire->end[1].channel) == 0;
}
