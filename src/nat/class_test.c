/* nat/class_test.c - a class comes back from a card as it went, and nonsense becomes unknown.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "nat/class.h"

static const struct kh_nat_class symmetric = {.mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                                              .filtering = KH_NAT_ADDRESS_DEPENDENT,
                                              .ports = KH_NAT_PORTS_SEQUENTIAL,
                                              .hairpin = KH_NAT_HAIRPIN_INTERNAL,
                                              .stride = -4,
                                              .port_min = 0x0401,
                                              .port_max = 0xfffe,
                                              .last_port = 0x9c40,
                                              .translated = true};

static void bytes_are_as_documented(void **state)
{
    static const uint8_t expected[] = {0x03, 0xff, 0xfc, 0x04, 0x01, 0xff, 0xfe, 0x9c, 0x40};
    struct kh_nat_class back;
    uint8_t bytes[KH_NAT_CLASS_LEN];

    (void)state;
    assert_int_equal(kh_nat_class_byte(&symmetric), 0x80 | 2 << 4 | 2 << 2 | 3);
    kh_nat_class_write(&symmetric, bytes);
    assert_int_equal(sizeof expected, sizeof bytes);
    assert_memory_equal(bytes, expected, sizeof bytes);
    kh_nat_class_parse(0xab, bytes, sizeof bytes, &back);
    assert_true(kh_nat_class_equal(&back, &symmetric));
}

static void all_that_one_address_can_tell(void **state)
{
    struct kh_nat_class class = {.not_by_port = true, .translated = true};
    struct kh_nat_class back;
    uint8_t bytes[KH_NAT_CLASS_LEN];

    (void)state;
    kh_nat_class_write(&class, bytes);
    assert_int_equal(bytes[0], 4);
    kh_nat_class_parse(kh_nat_class_byte(&class), bytes, sizeof bytes, &back);
    assert_true(kh_nat_class_equal(&back, &class));
    class.not_by_port = false;
    assert_false(kh_nat_class_equal(&back, &class));
}

static void nothing_known_is_zero(void **state)
{
    struct kh_nat_class class = {0};
    struct kh_nat_class back;

    (void)state;
    assert_int_equal(kh_nat_class_byte(&class), 0);
    kh_nat_class_parse(0, NULL, 0, &back);
    assert_true(kh_nat_class_equal(&back, &class));
}

/* Whatever a member writes: what comes out fits together and is written the same again. */
static void nonsense_becomes_unknown(void **state)
{
    uint8_t bytes[KH_NAT_CLASS_LEN + 1];
    uint8_t again[KH_NAT_CLASS_LEN];
    struct kh_nat_class class;
    struct kh_nat_class back;

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        for (unsigned fill = 0; fill < 256; fill++) {
            for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (uint8_t)(fill * (i + 1) + byte);
            kh_nat_class_parse((uint8_t)byte, bytes, sizeof bytes, &class);
            assert_true(class.ports <= KH_NAT_PORTS_RANDOM);
            assert_true(class.port_min <= class.port_max);
            assert_true((class.stride != 0) == (class.ports == KH_NAT_PORTS_SEQUENTIAL));
            assert_true(class.ports != KH_NAT_PORTS_BLOCK || class.port_min > 0);
            kh_nat_class_write(&class, again);
            kh_nat_class_parse(kh_nat_class_byte(&class), again, sizeof again, &back);
            assert_true(kh_nat_class_equal(&back, &class));
        }
    }
}

static void a_short_extension_is_not_read(void **state)
{
    uint8_t bytes[KH_NAT_CLASS_LEN];
    struct kh_nat_class class;

    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    kh_nat_class_parse(0x4d, bytes, sizeof bytes - 1, &class);
    assert_int_equal(class.mapping, KH_NAT_ENDPOINT_INDEPENDENT);
    assert_int_equal(class.filtering, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(class.ports, KH_NAT_PORTS_RANDOM);
    assert_int_equal(class.last_port, 0);
    /* A stride is not in the byte, nor is a block: without them there is no more to know. */
    kh_nat_class_parse(0x2f, NULL, 0, &class);
    assert_int_equal(class.ports, KH_NAT_PORTS_RANDOM);
    kh_nat_class_parse(0x3f, NULL, 0, &class);
    assert_int_equal(class.ports, KH_NAT_PORTS_RANDOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_as_documented),       cmocka_unit_test(nothing_known_is_zero),
        cmocka_unit_test(all_that_one_address_can_tell), cmocka_unit_test(nonsense_becomes_unknown),
        cmocka_unit_test(a_short_extension_is_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
