/* punch/plan_test.c - the plan is the table of hard NATs, seen from both sides.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "punch/punch.h"

enum { OPEN, CONE, ADDRESS, COUNTING, BLOCK, RANDOM, KINDS };

static const struct kh_nat_class kinds[KINDS] = {
    [OPEN] = {.mapping = KH_NAT_ENDPOINT_INDEPENDENT, .filtering = KH_NAT_ADDRESS_DEPENDENT},
    [CONE] = {.mapping = KH_NAT_ENDPOINT_INDEPENDENT,
              .filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT},
    [ADDRESS] = {.mapping = KH_NAT_ADDRESS_DEPENDENT,
                 .filtering = KH_NAT_ADDRESS_DEPENDENT,
                 .ports = KH_NAT_PORTS_RANDOM},
    [COUNTING] = {.mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                  .ports = KH_NAT_PORTS_SEQUENTIAL,
                  .stride = 1},
    [BLOCK] = {.mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
               .ports = KH_NAT_PORTS_BLOCK,
               .port_min = 20480,
               .port_max = 20991},
    [RANDOM] = {.mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT, .ports = KH_NAT_PORTS_RANDOM},
};

static struct kh_punch_plan plan(int us, int them, bool is_larger)
{
    struct kh_punch_plan out;

    kh_punch_plan(&kinds[us], &kinds[them], is_larger, &out);
    return out;
}

/* i: ordinary checks; b, p: one holds and one probes, by chance or by prediction; m: prediction
 * both ways; r: the relay.  As in the table of docs/protocol/punching.md. */
static const char table[KINDS][KINDS + 1] = {
    "iiiiii", "iibpbb", "ibbbbb", "ipbmrr", "ibbrrr", "ibbrrr",
};

static char letter_of(const struct kh_punch_plan *a, const struct kh_punch_plan *b)
{
    const struct kh_punch_plan *holder = a->role == KH_PUNCH_HOLD ? a : b;
    const struct kh_punch_plan *prober = holder == a ? b : a;

    if (a->is_guess && b->is_guess)
        return 'i';
    assert_false(a->is_guess || b->is_guess);
    if (a->role == KH_PUNCH_HOPELESS && b->role == KH_PUNCH_HOPELESS)
        return 'r';
    if (a->role == KH_PUNCH_MEET && b->role == KH_PUNCH_MEET)
        return 'm';
    assert_int_equal(holder->role, KH_PUNCH_HOLD);
    assert_int_equal(prober->role, KH_PUNCH_PROBE);
    assert_int_equal(holder->aim, prober->aim);
    assert_true(holder->sockets > 0 && prober->probes > 0);
    assert_int_equal(holder->probes, prober->probes);
    assert_int_equal(holder->is_scarce, prober->is_scarce);
    return holder->aim == KH_PUNCH_FORETOLD ? 'p' : 'b';
}

static void both_sides_agree_with_the_table(void **state)
{
    (void)state;
    for (int us = 0; us < KINDS; us++)
        for (int them = 0; them < KINDS; them++)
            for (int larger = 0; larger < 2; larger++) {
                struct kh_punch_plan a = plan(us, them, larger != 0);
                struct kh_punch_plan b = plan(them, us, larger == 0);

                assert_int_equal(letter_of(&a, &b), table[us][them]);
            }
}

static void sockets_and_probes_are_as_many_as_the_arithmetic_says(void **state)
{
    struct kh_punch_plan hold;

    (void)state;
    assert_int_equal(plan(RANDOM, CONE, true).sockets, 256);
    assert_int_equal(plan(CONE, RANDOM, true).probes, 2048);
    assert_int_equal(plan(CONE, RANDOM, true).port_min, 1024);
    assert_int_equal(plan(CONE, RANDOM, true).port_max, 65535);
    /* In a block: a quarter of it at most, and only its ports are probed. */
    hold = plan(BLOCK, CONE, true);
    assert_int_equal(hold.aim, KH_PUNCH_IN_BLOCK);
    assert_int_equal(hold.sockets, 64);
    assert_int_equal(plan(CONE, BLOCK, true).port_min, 20480);
    assert_int_equal(plan(CONE, BLOCK, true).port_max, 20991);
    /* Each probe of this one costs it a mapping: half of its block at most. */
    assert_int_equal(plan(BLOCK, ADDRESS, true).probes, 256);
    assert_int_equal(plan(ADDRESS, BLOCK, true).sockets, 1024);
}

static void a_tiny_block_is_not_emptied(void **state)
{
    struct kh_nat_class tiny = kinds[BLOCK];
    struct kh_punch_plan out;

    (void)state;
    for (unsigned size = 1; size <= 256; size++) {
        tiny.port_max = (uint16_t)(tiny.port_min + size - 1);
        kh_punch_plan(&tiny, &kinds[CONE], true, &out);
        assert_true(out.sockets >= 1 && (size < 2 || out.sockets <= size / 2));
        kh_punch_plan(&tiny, &kinds[ADDRESS], true, &out);
        assert_true(out.probes >= 1 && (size < 2 || out.probes <= size / 2));
    }
}

/* Where services are nobody knocks, whatever a card says. */
static void low_ports_are_left_alone(void **state)
{
    struct kh_nat_class odd = kinds[BLOCK];
    struct kh_punch_plan out;

    (void)state;
    odd.port_min = 20;
    odd.port_max = 80;
    kh_punch_plan(&kinds[CONE], &odd, true, &out);
    assert_int_equal(out.port_min, 1024);
}

/* What is not known is tried after ordinary checks, and by both in turn where neither is. */
static void unknown_classes_are_guesses(void **state)
{
    struct kh_nat_class unknown = {0};
    struct kh_punch_plan a, b;

    (void)state;
    kh_punch_plan(&unknown, &unknown, true, &a);
    kh_punch_plan(&unknown, &unknown, false, &b);
    assert_true(a.is_guess && b.is_guess);
    assert_true(a.role == KH_PUNCH_HOLD && b.role == KH_PUNCH_HOLD);
    assert_true(!a.is_turned && b.is_turned);
    kh_punch_plan(&unknown, &kinds[CONE], false, &a);
    kh_punch_plan(&kinds[CONE], &unknown, true, &b);
    assert_true(a.is_guess && b.is_guess);
    assert_true(a.role == KH_PUNCH_HOLD && b.role == KH_PUNCH_PROBE);
    kh_punch_plan(&unknown, &kinds[RANDOM], true, &a);
    kh_punch_plan(&kinds[RANDOM], &unknown, false, &b);
    assert_true(a.is_guess && b.is_guess);
    assert_true(a.role == KH_PUNCH_PROBE && b.role == KH_PUNCH_HOLD);
    assert_false(b.is_turned && a.is_turned);
}

static void messages_survive(void **state)
{
    struct kh_punch_message message = {
        .word = KH_PUNCH_WORD_MEET, .step = -4, .ports = {1024, 65535}, .port_count = 2};
    static const uint8_t golden[] = {2, 0xff, 0xfc, 2, 0x04, 0x00, 0xff, 0xff};
    struct kh_punch_message back;
    uint8_t bytes[KH_PUNCH_MESSAGE_MAX];
    size_t len = kh_punch_message_write(&message, bytes);

    (void)state;
    assert_int_equal(len, sizeof golden);
    assert_memory_equal(bytes, golden, len);
    assert_int_equal(kh_punch_message_parse((struct kh_span){bytes, len}, &back), KH_OK);
    assert_memory_equal(&back, &message, sizeof back);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(kh_punch_message_parse((struct kh_span){bytes, cut}, &back),
                         KH_ERR_FORMAT);
}

static void senseless_messages_are_refused(void **state)
{
    static const struct {
        uint8_t bytes[9];
        size_t len;
    } bad[] = {
        {{0, 0, 1, 1, 0x10, 0}, 6},    /* no such word */
        {{3, 0, 1, 1, 0x10, 0}, 6},    /* likewise */
        {{2, 0, 1, 0}, 4},             /* meets nowhere */
        {{1, 0, 1, 17, 0x10, 0}, 6},   /* too many ports */
        {{1, 0, 1, 1, 0x03, 0xff}, 6}, /* a service */
        {{1, 0, 1, 1, 0, 0}, 6},
    };
    struct kh_punch_message out;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(kh_punch_message_parse((struct kh_span){bad[i].bytes, bad[i].len}, &out),
                         KH_ERR_FORMAT);
    assert_int_equal(kh_punch_message_parse((struct kh_span){bad[2].bytes, 3}, &out),
                     KH_ERR_FORMAT);
}

static void what_is_foretold_stays_among_ports(void **state)
{
    uint16_t ports[3];

    (void)state;
    kh_punch_foretell(40000, 4, ports, 3);
    assert_int_equal(ports[0], 40004);
    assert_int_equal(ports[2], 40012);
    kh_punch_foretell(65534, 1, ports, 3);
    assert_int_equal(ports[0], 65535);
    assert_int_equal(ports[1], 1024);
    assert_int_equal(ports[2], 1025);
    kh_punch_foretell(1025, -1, ports, 2);
    assert_int_equal(ports[0], 1024);
    assert_int_equal(ports[1], 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_agree_with_the_table),
        cmocka_unit_test(sockets_and_probes_are_as_many_as_the_arithmetic_says),
        cmocka_unit_test(a_tiny_block_is_not_emptied),
        cmocka_unit_test(low_ports_are_left_alone),
        cmocka_unit_test(unknown_classes_are_guesses),
        cmocka_unit_test(messages_survive),
        cmocka_unit_test(senseless_messages_are_refused),
        cmocka_unit_test(what_is_foretold_stays_among_ports),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
