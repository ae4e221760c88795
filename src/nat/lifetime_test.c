/* nat/lifetime_test.c - how long modelled NATs remember is found out, whatever kind they are.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "nat/lifetime.h"
#include "stun/stun.h"
#include "support/dice.h"
#include "support/nat.h"

#define DELAY KH_MILLISECONDS(25) /* one way */
#define START KH_SECONDS(1000)
#define FLYING_MAX 64

struct flying {
    kh_time arrives;
    struct kh_addr from, to;
    uint8_t data[160];
    size_t len;
};

static struct {
    struct nat *nat;
    struct kh_nat_lifetime *lifetime;
    struct dice dice;
    double loss;
    bool server_is_dead, server_is_plain; /* it knows no RESPONSE-PORT */
    kh_time now;
    struct flying flying[FLYING_MAX];
    size_t flying_count;
    size_t sent;
} world;

static struct kh_addr server(void)
{
    return kh_addr_ipv4(203, 0, 113, 1, 3478);
}

static void fly(const struct kh_datagram *datagram)
{
    struct flying *flying = &world.flying[world.flying_count];

    if (dice_chance(&world.dice, world.loss))
        return;
    assert_true(++world.flying_count <= FLYING_MAX && datagram->len <= sizeof flying->data);
    *flying = (struct flying){world.now + DELAY, datagram->from, datagram->to, {0}, datagram->len};
    memcpy(flying->data, datagram->data, datagram->len);
}

static void drain(void)
{
    struct kh_datagram out;

    while (kh_nat_lifetime_next_transmit(world.lifetime, &out)) {
        struct nat_flow flow = {out.from, out.to};

        world.sent++;
        assert_int_equal(nat_outbound(world.nat, world.now, &flow), NAT_FORWARD);
        out.from = flow.from;
        fly(&out);
    }
}

static void server_answers(const struct flying *in)
{
    uint8_t data[160];
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    struct kh_datagram answer = {.from = in->to, .to = in->from, .data = data};
    uint32_t port = 0;
    bool asks;

    assert_int_equal(kh_stun_parse(in->data, in->len, &message), KH_OK);
    asks = kh_stun_find_u32(&message, KH_STUN_RESPONSE_PORT, &port);
    writer = kh_stun_begin(data, sizeof data,
                           asks && world.server_is_plain ? KH_STUN_ERROR : KH_STUN_SUCCESS,
                           KH_STUN_BINDING, message.id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &in->from);
    answer.len = kh_stun_finish(&writer);
    assert_true(!asks || in->len >= answer.len + 24); /* room for OTHER-ADDRESS as well */
    if (asks && !world.server_is_plain)
        answer.to.port = (uint16_t)(port >> 16);
    if (!world.server_is_dead)
        fly(&answer);
}

static void arrive(const struct flying *in)
{
    struct kh_addr at = server();
    struct nat_flow flow = {in->from, in->to};
    struct kh_datagram datagram = {.from = in->from, .data = in->data, .len = in->len};

    if (kh_addr_equal(&in->to, &at)) {
        server_answers(in);
        return;
    }
    if (nat_inbound(world.nat, world.now, &flow) != NAT_FORWARD)
        return;
    datagram.to = flow.to;
    kh_nat_lifetime_handle_datagram(world.lifetime, world.now, &datagram);
}

static void step(void)
{
    kh_time next = kh_nat_lifetime_timeout(world.lifetime);
    size_t first = world.flying_count;

    for (size_t i = 0; i < world.flying_count; i++) {
        if (world.flying[i].arrives < next) {
            next = world.flying[i].arrives;
            first = i;
        }
    }
    assert_true(next != KH_NEVER && next >= world.now);
    world.now = next;
    if (first < world.flying_count) {
        struct flying in = world.flying[first];

        world.flying_count--;
        memmove(&world.flying[first], &world.flying[first + 1],
                (world.flying_count - first) * sizeof in);
        arrive(&in);
    } else {
        kh_nat_lifetime_handle_timeout(world.lifetime, world.now);
    }
    drain();
}

/* Plays it to its end; *took is how long that was. */
static struct kh_nat_lifetime_result measure(const char *kind, kh_duration lifetime, uint64_t seed,
                                             kh_duration *took)
{
    struct nat_config box = nat_preset_find(kind)->config;
    struct kh_nat_lifetime_config config = {.server = server(), .seed = {(uint8_t)seed}};
    bool is_translator = box.kind == NAT_KIND_TRANSLATOR;
    struct kh_nat_lifetime_result result;

    world.dice = dice_of(seed);
    world.now = START;
    world.flying_count = world.sent = 0;
    box.external = kh_addr_ipv4(198, 51, 100, 7, 0);
    box.seed = seed;
    box.lifetime = lifetime;
    for (uint16_t i = 0; i < KH_NAT_LIFETIME_SOCKETS; i++)
        config.sockets[i] = is_translator ? kh_addr_ipv4(192, 168, 1, 2, (uint16_t)(40000 + i))
                                          : kh_addr_ipv4(198, 51, 100, 18, (uint16_t)(40000 + i));
    assert_int_equal(nat_new(&world.nat, &box), KH_OK);
    assert_int_equal(kh_nat_lifetime_new(&world.lifetime, &config), KH_OK);
    kh_nat_lifetime_start(world.lifetime, world.now);
    drain();
    while (!kh_nat_lifetime_is_done(world.lifetime))
        step();
    assert_int_equal(kh_nat_lifetime_timeout(world.lifetime), KH_NEVER);
    result = kh_nat_lifetime_result(world.lifetime);
    *took = world.now - START;
    kh_nat_lifetime_free(world.lifetime);
    nat_free(world.nat);
    return result;
}

struct row {
    unsigned lifetime, remembered, forgotten; /* in seconds */
};

static void assert_measured(const struct nat_preset *preset, const struct row *row, uint64_t seed)
{
    kh_duration took;
    struct kh_nat_lifetime_result result =
        measure(preset->name, KH_SECONDS(row->lifetime), seed, &took);

    assert_true(result.reached && !result.refused);
    if (result.remembered_s != row->remembered || result.forgotten_s != row->forgotten)
        fail_msg("%s, %u s: between %u and %u", preset->name, row->lifetime, result.remembered_s,
                 result.forgotten_s);
    assert_true(took <= KH_SECONDS(row->forgotten == 0 ? 302 : row->forgotten + 4));
}

static const struct row rows[] = {
    {3, 0, 5},       {20, 12, 22},    {30, 28, 58},  {60, 58, 88},
    {120, 118, 178}, {180, 178, 238}, {300, 298, 0},
};

static void assert_rows_measured(const struct nat_preset *preset, uint64_t seed)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_measured(preset, &rows[i], seed + i + 1);
}

static void every_kind_is_measured(double loss)
{
    const struct nat_preset *preset;

    world.loss = loss;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        if (preset->config.kind != NAT_KIND_OPEN)
            assert_rows_measured(preset, n);
    }
    world.loss = 0;
}

static void every_kind_is_measured_on_a_clean_path(void **state)
{
    (void)state;
    every_kind_is_measured(0);
}

static void every_kind_is_measured_with_ten_percent_lost(void **state)
{
    (void)state;
    every_kind_is_measured(0.1);
}

static void where_nothing_is_forgotten_it_ends_after_five_minutes(void **state)
{
    kh_duration took;
    struct kh_nat_lifetime_result result = measure("open", 0, 1, &took);

    (void)state;
    assert_int_equal(result.remembered_s, KH_NAT_LIFETIME_LONGEST / KH_SECONDS(1));
    assert_int_equal(result.forgotten_s, 0);
    assert_int_equal(took, KH_NAT_LIFETIME_LONGEST + 2 * DELAY);
    assert_int_equal(world.sent, 2 * KH_NAT_LIFETIME_STEPS);
}

static void a_server_that_cannot_is_told_from_a_nat_that_forgets(void **state)
{
    struct kh_nat_lifetime_result result;
    kh_duration took;

    (void)state;
    world.server_is_plain = true;
    result = measure("port-restricted", KH_SECONDS(120), 1, &took);
    world.server_is_plain = false;
    assert_true(result.reached && result.refused);
    assert_int_equal(result.remembered_s + result.forgotten_s, 0);
    assert_true(took < KH_SECONDS(6));
}

static void a_dead_server_is_given_up(void **state)
{
    struct kh_nat_lifetime_result result;
    kh_duration took;

    (void)state;
    world.server_is_dead = true;
    result = measure("port-restricted", KH_SECONDS(120), 1, &took);
    world.server_is_dead = false;
    assert_false(result.reached);
    assert_true(took <= KH_MILLISECONDS(2250));
    assert_int_equal(world.sent, 6 * KH_NAT_LIFETIME_STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_measured_on_a_clean_path),
        cmocka_unit_test(every_kind_is_measured_with_ten_percent_lost),
        cmocka_unit_test(where_nothing_is_forgotten_it_ends_after_five_minutes),
        cmocka_unit_test(a_server_that_cannot_is_told_from_a_nat_that_forgets),
        cmocka_unit_test(a_dead_server_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
