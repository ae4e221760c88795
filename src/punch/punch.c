/* punch/punch.c - which datagram of a punch leaves next, and when.
 *
 * SPDX-License-Identifier: MIT
 */
#include "punch/punch.h"

#include <assert.h>
#include <string.h>

#define FORETOLD_MAX 64  /* probes for ports that were foretold, and those that may follow them */
#define FORETOLD_TURNS 2 /* each is probed twice: a datagram may be lost */
#define AFTERWARDS KH_SECONDS(2) /* the last probe's answer may take so long to become a path */

#define FAR_AFTER KH_MILLISECONDS(400) /* openers go out again, further: is our NAT a deep one? */
#define OPEN_BURST 8                   /* openers that die near us leave in handfuls … */
#define OPEN_PAUSE KH_MILLISECONDS(2)

#define PROBER_LATE KH_MILLISECONDS(4500) /* at most: our word is said five times in 2.25 s */

static kh_duration open_for(const struct kh_punch_plan *plan)
{
    switch (plan->aim) {
    case KH_PUNCH_FORETOLD:
        return KH_MILLISECONDS(2500);
    case KH_PUNCH_IN_BLOCK:
        return KH_SECONDS(8);
    case KH_PUNCH_ANYWHERE:
        break;
    }
    return plan->probes * KH_PUNCH_PACE + PROBER_LATE;
}

/* The first two rounds of a meeting open our own NAT; before the others' mapping is there, nothing
 * of ours should arrive. */
static const struct {
    kh_duration after;
    uint8_t ttl;
} meet_rounds[] = {{0, KH_PUNCH_TTL_NEAR},
                   {KH_MILLISECONDS(60), KH_PUNCH_TTL_FAR},
                   {KH_MILLISECONDS(150), 0},
                   {KH_MILLISECONDS(350), 0},
                   {KH_MILLISECONDS(700), 0}};

#define MEET_ROUNDS (sizeof meet_rounds / sizeof meet_rounds[0])
#define MEET_FOR KH_MILLISECONDS(1100)

void kh_punch_stop(struct kh_punch *punch)
{
    *punch = (struct kh_punch){.kind = KH_PUNCH_IDLE};
}

static void begin(struct kh_punch *punch, kh_time now, enum kh_punch_kind kind)
{
    *punch = (struct kh_punch){.kind = kind, .began_at = now, .next_at = now, .over_at = KH_NEVER};
}

void kh_punch_open(struct kh_punch *punch, kh_time now, const struct kh_punch_plan *plan,
                   size_t count)
{
    assert(count > 0);
    begin(punch, now, KH_PUNCH_OPENING);
    punch->count = count;
    punch->over_at = kh_time_add(now, open_for(plan));
}

void kh_punch_meet(struct kh_punch *punch, kh_time now, const struct kh_punch_message *message)
{
    assert(message->port_count > 0 && message->port_count <= KH_PUNCH_PORTS_MAX);
    begin(punch, now, KH_PUNCH_MEETING);
    punch->count = message->port_count;
    memcpy(punch->ports, message->ports, sizeof punch->ports);
    punch->over_at = kh_time_add(now, MEET_FOR);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* A walk through the whole range that comes nowhere twice, as long as its step shares no divisor
 * with the range; any such step will do, for the holder's ports are drawn by chance. */
static void draw_walk(struct kh_punch *punch, const struct kh_punch_plan *plan, uint64_t seed)
{
    punch->base = plan->port_min;
    punch->span = (uint32_t)plan->port_max - plan->port_min + 1;
    punch->start = (uint32_t)(seed % punch->span);
    punch->stride = 1 + (uint32_t)((seed >> 32) % punch->span);
    while (common_divisor(punch->stride, punch->span) != 1)
        punch->stride++;
}

void kh_punch_probe(struct kh_punch *punch, kh_time now, const struct kh_punch_plan *plan,
                    const struct kh_punch_message *message, uint64_t seed)
{
    assert(plan->probes > 0 && plan->port_min <= plan->port_max && plan->port_min > 0);
    begin(punch, now, KH_PUNCH_PROBING);
    punch->count = plan->probes;
    if (message->port_count > 0) {
        memcpy(punch->ports, message->ports, sizeof punch->ports);
        punch->port_count = message->port_count;
        punch->step = message->step;
        punch->span = message->step == 0 ? (uint32_t)message->port_count : (uint32_t)FORETOLD_MAX;
        if (punch->count > FORETOLD_TURNS * punch->span)
            punch->count = FORETOLD_TURNS * punch->span;
    } else {
        draw_walk(punch, plan, seed);
    }
}

/* ---- shots ---- */

static void end_with(struct kh_punch *punch, kh_time now)
{
    punch->next_at = KH_NEVER;
    punch->over_at = kh_time_add(now, AFTERWARDS);
}

/* At most 200 a second: one every 5.1 ms, and a late timer makes good four at most. */
static void keep_pace(struct kh_punch *punch, kh_time now)
{
    kh_duration behind = (KH_PUNCH_BURST - 1) * KH_PUNCH_PACE;

    punch->next_at = kh_time_add(punch->next_at, KH_PUNCH_PACE);
    if (kh_time_add(punch->next_at, behind) < now)
        punch->next_at = now - behind;
}

static uint16_t foretold_port(const struct kh_punch *punch, size_t at)
{
    uint16_t followers[FORETOLD_MAX];

    if (at < punch->port_count)
        return punch->ports[at];
    at -= punch->port_count;
    kh_punch_foretell(punch->ports[punch->port_count - 1], punch->step, followers, at + 1);
    return followers[at];
}

static void probe(struct kh_punch *punch, kh_time now, struct kh_punch_shot *out)
{
    uint32_t at = (uint32_t)punch->at++ % punch->span;

    *out = (struct kh_punch_shot){.socket = KH_PUNCH_MAIN};
    if (punch->port_count > 0)
        out->port = foretold_port(punch, at);
    else
        out->port =
            (uint16_t)(punch->base + (punch->start + (uint64_t)at * punch->stride) % punch->span);
    keep_pace(punch, now);
    if (punch->at == punch->count)
        end_with(punch, now);
}

/* The openers of the second round are paced like probes: they may come nearer to others. */
static void open_one(struct kh_punch *punch, kh_time now, struct kh_punch_shot *out)
{
    *out = (struct kh_punch_shot){.socket = punch->at++,
                                  .ttl = punch->round == 0 ? KH_PUNCH_TTL_NEAR : KH_PUNCH_TTL_FAR};
    if (punch->round > 0)
        keep_pace(punch, now);
    else if (punch->at % OPEN_BURST == 0)
        punch->next_at = kh_time_add(now, OPEN_PAUSE);
    if (punch->at < punch->count)
        return;
    punch->at = 0;
    punch->next_at = punch->round++ == 0 ? kh_time_add(punch->began_at, FAR_AFTER) : KH_NEVER;
}

static void meet(struct kh_punch *punch, struct kh_punch_shot *out)
{
    *out = (struct kh_punch_shot){.port = punch->ports[punch->at++],
                                  .ttl = meet_rounds[punch->round].ttl};
    if (punch->at < punch->count)
        return;
    punch->at = 0;
    punch->next_at = ++punch->round < MEET_ROUNDS
                         ? kh_time_add(punch->began_at, meet_rounds[punch->round].after)
                         : KH_NEVER;
}

bool kh_punch_next_shot(struct kh_punch *punch, kh_time now, struct kh_punch_shot *out)
{
    if (punch->kind == KH_PUNCH_IDLE || punch->next_at > now || kh_punch_is_over(punch, now))
        return false;
    switch (punch->kind) {
    case KH_PUNCH_IDLE:
        return false;
    case KH_PUNCH_OPENING:
        open_one(punch, now, out);
        break;
    case KH_PUNCH_PROBING:
        probe(punch, now, out);
        break;
    case KH_PUNCH_MEETING:
        meet(punch, out);
        break;
    }
    punch->shots++;
    return true;
}

kh_time kh_punch_timeout(const struct kh_punch *punch)
{
    if (punch->kind == KH_PUNCH_IDLE)
        return KH_NEVER;
    return kh_time_min(punch->next_at, punch->over_at);
}

bool kh_punch_is_over(const struct kh_punch *punch, kh_time now)
{
    return punch->kind != KH_PUNCH_IDLE && punch->over_at <= now;
}
