/* room/wire_test.c - the wire between rooms under test.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/wire_test.h"

bool wire_chance(struct wire *wire, unsigned percent)
{
    return kh_rng_below(&wire->rng, 100) < percent;
}

size_t wire_text(const struct wire *wire, size_t author, uint64_t sequence,
                 char out[static KH_ROOM_TEXT_MAX])
{
    uint64_t mix = (author + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ sequence * UINT64_C(0x2545f491);
    size_t len = 1 + mix % 60;

    if (mix / 64 % 100 < wire->large)
        len = mix / 7 % 3 == 0 ? KH_ROOM_TEXT_MAX : 600 + mix / 64 % 3000;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('a' + (mix + i * (sequence + 3)) % 26);
    return len;
}

static void wire_take_event(struct wire *wire, size_t me, const struct kh_room_event *event)
{
    static char text[KH_ROOM_TEXT_MAX];
    struct wire_party *party = &wire->parties[me];
    size_t other = event->member.bytes[0];

    assert_true(other < wire->count && other != me);
    if (event->kind == KH_ROOM_EVENT_DELIVERED) {
        assert_memory_equal(event->entry.author, party->identity, KH_KEY_LEN);
        assert_int_equal(event->entry.log.bytes[0], me);
        assert_int_equal(event->entry.sequence, party->delivered[other] + 1);
        party->delivered[other]++;
        assert_true(party->delivered[other] <= wire->parties[other].heard[me]);
        return;
    }
    if (event->kind == KH_ROOM_EVENT_PUNCH) {
        party->punches++;
        party->punch_len = event->data.len;
        memcpy(party->punch, event->data.data, event->data.len);
        return;
    }
    assert_int_equal(event->kind, KH_ROOM_EVENT_MESSAGE);
    assert_memory_equal(event->entry.author, wire->parties[other].identity, KH_KEY_LEN);
    assert_int_equal(event->entry.log.bytes[0], other);
    assert_int_equal(event->entry.sequence, party->heard[other] + 1);
    assert_int_equal(event->time_ms, event->entry.sequence + 1000);
    party->heard[other]++;
    party->heard_by_signal += event->via == KH_ROOM_SIGNAL;
    assert_int_equal(event->text_len, wire_text(wire, other, event->entry.sequence, text));
    assert_memory_equal(event->text, text, event->text_len);
}

static void wire_push(struct wire *wire, size_t from, size_t to, kh_time at,
                      const struct kh_room_transmit *transmit)
{
    struct wire_packet *packet = &wire->packets[wire->packet_count++];

    assert_true(wire->packet_count <= WIRE_PACKETS);
    *packet = (struct wire_packet){.at = at,
                                   .order = wire->order++,
                                   .from = from,
                                   .to = to,
                                   .via = transmit->via,
                                   .channel = wire->parties[from].channel[to],
                                   .len = transmit->len,
                                   .data = malloc(transmit->len)};
    assert_non_null(packet->data);
    memcpy(packet->data, transmit->data, transmit->len);
}

static kh_duration wire_delay(struct wire *wire)
{
    return wire->delay_min + kh_rng_below(&wire->rng, wire->delay_max - wire->delay_min + 1);
}

static void wire_carry_signal(struct wire *wire, size_t from, size_t to,
                              const struct kh_room_transmit *transmit)
{
    assert_true(transmit->len <= KH_ROOM_SIGNAL_MAX);
    wire->signals++;
    if (!wire_chance(wire, wire->loss))
        wire_push(wire, from, to, wire->now + wire_delay(wire), transmit);
    if (wire_chance(wire, wire->duplication))
        wire_push(wire, from, to, wire->now + wire_delay(wire), transmit);
}

static void wire_carry_channel(struct wire *wire, size_t from, size_t to,
                               const struct kh_room_transmit *transmit)
{
    struct wire_party *party = &wire->parties[from];
    kh_time at = wire->now + wire_delay(wire);

    assert_true(party->channel[to] != 0);
    assert_false(party->blocked[to]);
    assert_true(transmit->len <= 65536);
    wire->channel_messages++;
    if (wire_chance(wire, wire->refusal)) {
        party->blocked[to] = true;
        kh_room_set_blocked(party->room, wire->now, &transmit->to, true);
        return;
    }
    if (wire->cut) {
        wire_push(wire, from, to, KH_NEVER, transmit);
        return;
    }
    if (at < party->in_order[to])
        at = party->in_order[to];
    party->in_order[to] = at;
    wire_push(wire, from, to, at, transmit);
}

void wire_drain(struct wire *wire, size_t me)
{
    struct kh_room *room = wire->parties[me].room;
    struct kh_room_event event;
    struct kh_room_transmit transmit;

    while (kh_room_next_event(room, &event))
        wire_take_event(wire, me, &event);
    while (kh_room_next_transmit(room, &transmit)) {
        size_t to = transmit.to.bytes[0];

        assert_true(to < wire->count && to != me);
        if (transmit.via == KH_ROOM_SIGNAL)
            wire_carry_signal(wire, me, to, &transmit);
        else
            wire_carry_channel(wire, me, to, &transmit);
    }
}

static void wire_add_party(struct wire *wire)
{
    static const uint8_t secret[KH_ROOM_SECRET_LEN] = {1, 2, 3};
    size_t me = wire->count++;
    struct wire_party *party = &wire->parties[me];
    struct kh_room_config config = {.name = "someone", .seed = {7}};

    assert_true(wire->count <= WIRE_PARTIES);
    memcpy(config.secret, secret, sizeof secret);
    config.identity.bytes[0] = (uint8_t)(me + 1);
    config.member.bytes[0] = (uint8_t)me;
    config.member.bytes[1] = 0xff; /* no id is all zeros */
    *party = (struct wire_party){.id = config.member};
    kh_ed25519_public(&config.identity, party->identity);
    assert_int_equal(kh_room_new(&party->room, &config), KH_OK);
}

struct wire *wire_new(size_t count, uint64_t seed)
{
    struct wire *wire = calloc(1, sizeof *wire);
    uint8_t rng_seed[32] = {0};

    assert_non_null(wire);
    memcpy(rng_seed, &seed, sizeof seed);
    kh_rng_init(&wire->rng, rng_seed);
    wire->now = KH_SECONDS(1000);
    while (wire->count < count)
        wire_add_party(wire);
    return wire;
}

void wire_free(struct wire *wire)
{
    for (size_t i = 0; i < wire->count; i++)
        kh_room_free(wire->parties[i].room);
    for (size_t i = 0; i < wire->packet_count; i++)
        free(wire->packets[i].data);
    free(wire);
}

void wire_introduce(struct wire *wire, size_t me, size_t other)
{
    assert_int_equal(kh_room_add_member(wire->parties[me].room, wire->now, &wire->parties[other].id,
                                        wire->parties[other].identity),
                     KH_OK);
    wire_drain(wire, me);
}

void wire_introduce_all(struct wire *wire)
{
    for (size_t i = 0; i < wire->count; i++) {
        for (size_t j = 0; j < wire->count; j++) {
            if (i != j)
                wire_introduce(wire, i, j);
        }
    }
}

enum kh_status wire_try_say(struct wire *wire, size_t me)
{
    static char text[KH_ROOM_TEXT_MAX];
    struct wire_party *party = &wire->parties[me];
    struct kh_room_entry_id id;
    size_t len = wire_text(wire, me, party->said + 1, text);
    enum kh_status status = kh_room_say(party->room, wire->now, party->said + 1001, text, len, &id);

    if (status == KH_OK) {
        party->said++;
        assert_int_equal(id.sequence, party->said);
        assert_memory_equal(id.author, party->identity, KH_KEY_LEN);
        assert_memory_equal(&id.log, &party->id, sizeof id.log);
    }
    wire_drain(wire, me);
    return status;
}

void wire_say(struct wire *wire, size_t me)
{
    assert_int_equal(wire_try_say(wire, me), KH_OK);
}

void wire_set_channel(struct wire *wire, size_t a, size_t b, bool open)
{
    unsigned generation = open ? ++wire->generation : 0;
    size_t ends[2] = {a, b};

    for (size_t i = 0; i < 2; i++) {
        struct wire_party *party = &wire->parties[ends[i]];

        party->channel[ends[1 - i]] = generation;
        party->blocked[ends[1 - i]] = false;
        party->in_order[ends[1 - i]] = 0;
    }
    for (size_t i = 0; i < 2; i++) {
        kh_room_set_channel(wire->parties[ends[i]].room, wire->now, &wire->parties[ends[1 - i]].id,
                            open);
        wire_drain(wire, ends[i]);
    }
}

void wire_cut(struct wire *wire)
{
    wire->cut = true;
}

void wire_mend(struct wire *wire)
{
    wire->cut = false;
    for (size_t i = 0; i < wire->packet_count; i++)
        wire->packets[i].at = kh_time_min(wire->packets[i].at, wire->now);
}

void wire_unblock(struct wire *wire, size_t me, size_t other)
{
    struct wire_party *party = &wire->parties[me];

    if (!party->blocked[other])
        return;
    party->blocked[other] = false;
    kh_room_set_blocked(party->room, wire->now, &wire->parties[other].id, false);
    wire_drain(wire, me);
}

static void wire_arrive(struct wire *wire, const struct wire_packet *packet)
{
    struct wire_party *to = &wire->parties[packet->to];
    const struct kh_room_member_id *from = &wire->parties[packet->from].id;
    struct kh_span data = {packet->data, packet->len};

    if (packet->via == KH_ROOM_SIGNAL)
        kh_room_handle_signal(to->room, wire->now, from, data);
    else if (packet->channel == to->channel[packet->from])
        kh_room_handle_channel(to->room, wire->now, from, data);
    wire_drain(wire, packet->to);
}

/* Returns the index of the packet that is next, packet_count if none is under way. */
static size_t wire_next(const struct wire *wire)
{
    size_t best = wire->packet_count;

    for (size_t i = 0; i < wire->packet_count; i++) {
        const struct wire_packet *packet = &wire->packets[i];

        if (best == wire->packet_count || packet->at < wire->packets[best].at ||
            (packet->at == wire->packets[best].at && packet->order < wire->packets[best].order))
            best = i;
    }
    return best;
}

bool wire_step(struct wire *wire, kh_time until)
{
    size_t next = wire_next(wire);
    kh_time at = next < wire->packet_count ? wire->packets[next].at : KH_NEVER;
    size_t who = wire->count;

    for (size_t i = 0; i < wire->count; i++) {
        kh_time due = kh_room_timeout(wire->parties[i].room);

        assert_true(due >= wire->now);
        if (due < at) {
            at = due;
            who = i;
        }
    }
    if (at > until) {
        wire->now = until;
        return false;
    }
    wire->now = at;
    if (who < wire->count) {
        kh_room_handle_timeout(wire->parties[who].room, wire->now);
        wire_drain(wire, who);
    } else {
        struct wire_packet packet = wire->packets[next];

        wire->packets[next] = wire->packets[--wire->packet_count];
        wire_arrive(wire, &packet);
        free(packet.data);
    }
    return true;
}

void wire_run(struct wire *wire, kh_duration duration)
{
    kh_time until = kh_time_add(wire->now, duration);

    while (wire_step(wire, until))
        continue;
}

/* True if everyone has all and everyone knows it. */
static bool wire_is_settled(const struct wire *wire)
{
    for (size_t i = 0; i < wire->count; i++) {
        const struct wire_party *party = &wire->parties[i];

        if (kh_room_undelivered(party->room, NULL) != 0)
            return false;
        for (size_t j = 0; j < wire->count; j++) {
            if (i != j &&
                (party->delivered[j] != party->said || wire->parties[j].heard[i] != party->said))
                return false;
        }
    }
    return true;
}

bool wire_settle(struct wire *wire)
{
    kh_time until = kh_time_add(wire->now, KH_SECONDS(600));

    while (!wire_is_settled(wire)) {
        if (!wire_step(wire, until))
            return false;
    }
    wire_run(wire, KH_SECONDS(20));
    for (size_t i = 0; i < wire->count; i++)
        assert_int_equal(kh_room_timeout(wire->parties[i].room), KH_NEVER);
    return wire_is_settled(wire);
}
