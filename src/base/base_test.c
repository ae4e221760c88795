/* base/base_test.c - values behave as their headers say.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/addr.h"

static void addresses_survive_text(void **state)
{
    struct kh_addr addr;
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    assert_int_equal(kh_addr_parse("[2001:db8::1]:3478", 1, &addr), KH_OK);
    assert_string_equal(kh_addr_text(&addr, text), "[2001:db8::1]:3478");
    assert_int_equal(kh_addr_parse("192.0.2.7", 9, &addr), KH_OK);
    assert_string_equal(kh_addr_text(&addr, text), "192.0.2.7:9");
    assert_int_equal(kh_addr_parse("192.0.2.7:65536", 9, &addr), KH_ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_survive_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
