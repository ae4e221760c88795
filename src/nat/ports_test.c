/* nat/ports_test.c - sequences are known for what they are, also where they begin again.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "nat/ports.h"

static struct kh_nat_behaviour classify(const uint16_t *ports, size_t count)
{
    struct kh_nat_samples samples = {.asked = count};
    struct kh_nat_behaviour out = {.reached = true};

    for (size_t i = 0; i < count; i++)
        kh_nat_samples_add(&samples, ports[i]);
    kh_nat_samples_classify(&samples, &out);
    return out;
}

#define CLASSIFY(...)                                                                              \
    classify((const uint16_t[]){__VA_ARGS__},                                                      \
             sizeof(const uint16_t[]){__VA_ARGS__} / sizeof(uint16_t))

static void a_sequence_may_begin_again(void **state)
{
    struct kh_nat_behaviour found = CLASSIFY(65533, 65534, 65535, 1024, 1025, 1026);

    (void)state;
    assert_int_equal(found.ports, KH_NAT_PORTS_SEQUENTIAL);
    assert_int_equal(found.stride, 1);
    /* In any order, by fours that do not meet the end, and with others in between. */
    found = CLASSIFY(1028, 65529, 1048, 65517, 1036, 65533, 1032);
    assert_int_equal(found.ports, KH_NAT_PORTS_SEQUENTIAL);
    assert_int_equal(found.stride, 4);
}

static void at_both_ends_by_chance_is_no_sequence(void **state)
{
    (void)state;
    assert_int_equal(CLASSIFY(1030, 65001, 2903, 64210, 1999, 65533).ports, KH_NAT_PORTS_RANDOM);
    assert_int_equal(CLASSIFY(20480, 20544, 20490, 20701, 20600, 20481).ports, KH_NAT_PORTS_BLOCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_may_begin_again),
        cmocka_unit_test(at_both_ends_by_chance_is_no_sequence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
