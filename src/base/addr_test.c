/* base/addr_test.c - addresses are canonical values, and hostile text is no address.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/addr.h"

static struct kh_addr parsed(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 9, &addr), KH_OK);
    return addr;
}

static void addresses_survive_text(void **state)
{
    static const char *const same[] = {
        "192.0.2.7:0", "192.0.2.7:65535", "[2001:db8::1]:3478",
        "[::]:0",      "[fe80::1:2]:9",   "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"};
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct kh_addr addr = parsed(same[i]);

        assert_string_equal(kh_addr_text(&addr, text), same[i]);
    }
}

static void a_missing_port_is_the_default(void **state)
{
    static const char *const texts[] = {"192.0.2.7", "[2001:db8::1]", "2001:db8::1", "::"};
    static const char *const ips[] = {"192.0.2.7", "2001:db8::1", "2001:db8::1", "::"};
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct kh_addr addr = parsed(texts[i]);

        assert_int_equal(addr.port, 9);
        assert_string_equal(kh_addr_ip_text(&addr, text), ips[i]);
    }
}

static void what_is_no_address_does_not_parse(void **state)
{
    static const char *const texts[] = {
        "",
        ":",
        "::1:",
        "[",
        "]",
        "[]",
        "[]:1",
        "[:1",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:",
        "[::1]:x",
        "[::1]:65536",
        "[::1]:99999999999999999999",
        "[::1]:-1",
        "[::1]: 1",
        "[::1]]:1",
        "[[::1]]:1",
        "[192.0.2.1]:1",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:+1",
        "192.0.2.1: 1",
        "192.0.2.1:1 ",
        " 192.0.2.1",
        "192.0.2.1\n",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1.1",
        "192.0.2.01",
        "0x7f.0.0.1",
        "2130706433",
        "localhost",
        "example.org:3478",
        "fe80::1%eth0",
        "[fe80::1%1]:1",
        "2001:db8::1::2",
        "2001:db8:::1",
        "12345::",
        "1:2:3:4:5:6:7:8:9",
        "1111111111111111111111111111111111111111111111111111111111111111:1",
        "[1111111111111111111111111111111111111111111111111111111111111111]:1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct kh_addr addr = kh_addr_ipv4(1, 2, 3, 4, 5);
        struct kh_addr before = addr;

        assert_int_equal(kh_addr_parse(texts[i], 9, &addr), KH_ERR_FORMAT);
        assert_true(kh_addr_equal(&addr, &before));
    }
}

static void an_ipv4_mapped_address_is_the_ipv4_address(void **state)
{
    static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 7};
    static const uint8_t almost[16] = {[9] = 1, [10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 7};
    struct kh_addr ipv4 = kh_addr_ipv4(192, 0, 2, 7, 80);
    struct kh_addr addr = kh_addr_from_ip(KH_FAMILY_IPV6, mapped, 80);

    (void)state;
    assert_true(kh_addr_equal(&addr, &ipv4));
    assert_int_equal(kh_addr_compare(&addr, &ipv4), 0);
    assert_memory_equal(&addr, &ipv4, sizeof addr); /* unused bytes are zero in both */
    addr = parsed("[::ffff:192.0.2.7]:80");
    assert_true(kh_addr_equal(&addr, &ipv4));
    addr = parsed("::FFFF:c000:0207");
    assert_true(kh_addr_ip_equal(&addr, &ipv4));
    addr = kh_addr_from_ip(KH_FAMILY_IPV6, almost, 80);
    assert_int_equal(addr.family, KH_FAMILY_IPV6);
}

static void reach_is_that_of_rfc_6890(void **state)
{
    static const char *const texts[] = {
        "0.0.0.0",
        "0.255.255.255",
        "::",
        "127.0.0.1",
        "127.255.255.255",
        "::1",
        "169.254.0.1",
        "fe80::1",
        "febf::1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "fc00::1",
        "fdff::1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "169.253.0.1",
        "192.167.0.1",
        "223.255.255.255",
        "2001:db8::1",
        "fec0::1",
        "fbff::1",
        "::2",
    };
    static const enum kh_addr_reach reaches[] = {
        KH_REACH_UNSPECIFIED, KH_REACH_UNSPECIFIED, KH_REACH_UNSPECIFIED, KH_REACH_LOOPBACK,
        KH_REACH_LOOPBACK,    KH_REACH_LOOPBACK,    KH_REACH_LINK_LOCAL,  KH_REACH_LINK_LOCAL,
        KH_REACH_LINK_LOCAL,  KH_REACH_PRIVATE,     KH_REACH_PRIVATE,     KH_REACH_PRIVATE,
        KH_REACH_PRIVATE,     KH_REACH_PRIVATE,     KH_REACH_PRIVATE,     KH_REACH_PRIVATE,
        KH_REACH_PRIVATE,     KH_REACH_MULTICAST,   KH_REACH_MULTICAST,   KH_REACH_MULTICAST,
        KH_REACH_MULTICAST,   KH_REACH_MULTICAST,   KH_REACH_GLOBAL,      KH_REACH_GLOBAL,
        KH_REACH_GLOBAL,      KH_REACH_GLOBAL,      KH_REACH_GLOBAL,      KH_REACH_GLOBAL,
        KH_REACH_GLOBAL,      KH_REACH_GLOBAL,      KH_REACH_GLOBAL,      KH_REACH_GLOBAL,
        KH_REACH_GLOBAL,      KH_REACH_GLOBAL,
    };
    const struct kh_addr none = {0};

    (void)state;
    assert_int_equal(sizeof texts / sizeof *texts, sizeof reaches / sizeof *reaches);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct kh_addr addr = parsed(texts[i]);

        assert_int_equal(kh_addr_reach(&addr), reaches[i]);
    }
    assert_int_equal(kh_addr_reach(&none), KH_REACH_UNSPECIFIED);
}

static void every_field_tells_addresses_apart(void **state)
{
    const struct kh_addr addr = parsed("[fe80::1]:80");
    struct kh_addr others[5];

    (void)state;
    for (size_t i = 0; i < 5; i++)
        others[i] = addr;
    others[0].port = 81;
    others[1].transport = KH_TCP;
    others[2].scope = 2;
    others[3].ip[15] = 2;
    others[4] = kh_addr_ipv4(192, 0, 2, 1, 80);
    for (size_t i = 0; i < 5; i++) {
        assert_false(kh_addr_equal(&addr, &others[i]));
        assert_int_not_equal(kh_addr_compare(&addr, &others[i]), 0);
        assert_int_equal(kh_addr_compare(&addr, &others[i]) < 0,
                         kh_addr_compare(&others[i], &addr) > 0);
        assert_int_equal(kh_addr_ip_equal(&addr, &others[i]), i < 2); /* port and transport may */
    }
    assert_true(kh_addr_equal(&addr, &addr));
    assert_int_equal(kh_addr_compare(&addr, &addr), 0);
}

static void compare_is_a_total_order(void **state)
{
    static const char *const rising[] = {"1.2.3.4:5", "1.2.3.4:6", "1.2.3.5:1",
                                         "2.0.0.0:0", "[::1]:9",   "[2001:db8::]:1"};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        for (size_t j = 0; j < 6; j++) {
            struct kh_addr a = parsed(rising[i]);
            struct kh_addr b = parsed(rising[j]);
            int order = kh_addr_compare(&a, &b);

            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
}

static void no_address_is_none(void **state)
{
    struct kh_addr none = {0};
    struct kh_addr addr = kh_addr_ipv4(0, 0, 0, 0, 0);
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    assert_true(kh_addr_is_none(&none));
    assert_false(kh_addr_is_none(&addr));
    assert_false(kh_addr_equal(&none, &addr));
    assert_string_equal(kh_addr_ip_text(&none, text), "none");
    assert_int_equal(kh_addr_ip_len(&none), 0);
    assert_int_equal(kh_addr_ip_len(&addr), 4);
    addr = parsed("::1");
    assert_int_equal(kh_addr_ip_len(&addr), 16);
}

static void the_longest_text_fits(void **state)
{
    struct kh_addr addr = parsed("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    addr.scope = UINT32_MAX;
    assert_string_equal(kh_addr_text(&addr, text),
                        "[2001:db8:1111:2222:3333:4444:5555:6666%4294967295]:65535");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_survive_text),
        cmocka_unit_test(a_missing_port_is_the_default),
        cmocka_unit_test(what_is_no_address_does_not_parse),
        cmocka_unit_test(an_ipv4_mapped_address_is_the_ipv4_address),
        cmocka_unit_test(reach_is_that_of_rfc_6890),
        cmocka_unit_test(every_field_tells_addresses_apart),
        cmocka_unit_test(compare_is_a_total_order),
        cmocka_unit_test(no_address_is_none),
        cmocka_unit_test(the_longest_text_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
