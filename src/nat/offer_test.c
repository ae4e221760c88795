/* nat/offer_test.c - what a gateway's answers say of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "nat/offer.h"

#define NOW KH_SECONDS(5)

static struct kh_nat_offer offer;
static struct kh_addr local, gateway;

static int set_up(void **state)
{
    (void)state;
    local = kh_addr_ipv4(192, 168, 1, 2, 40000);
    gateway = kh_addr_ipv4(192, 168, 1, 1, 5351);
    kh_nat_offer_start(&offer, NOW, &local, &gateway);
    return 0;
}

static void assert_sent(const uint8_t *expected, size_t len)
{
    struct kh_datagram out;

    assert_true(kh_nat_offer_next_transmit(&offer, &out));
    assert_true(kh_addr_equal(&out.to, &gateway));
    assert_int_equal(out.len, len);
    assert_memory_equal(out.data, expected, len);
}

static void answer(const uint8_t *data, size_t len)
{
    struct kh_datagram in = {.from = gateway, .to = local, .data = data, .len = len};

    kh_nat_offer_handle_datagram(&offer, &in);
}

static const uint8_t announce[24] = {2, 0, [18] = 0xff, 0xff, 192, 168, 1, 2};
static const uint8_t announced[24] = {2, 0x80, [11] = 7};
static const uint8_t address[2] = {0, 0};
static const uint8_t addressed[12] = {0, 0x80, 0, 0, 0, 0, 0, 7, 198, 51, 100, 7};

static void both_are_asked_and_found(void **state)
{
    struct kh_datagram out;
    struct kh_addr external;

    (void)state;
    assert_sent(announce, sizeof announce);
    assert_sent(address, sizeof address);
    assert_false(kh_nat_offer_next_transmit(&offer, &out));
    answer(announced, sizeof announced);
    assert_false(kh_nat_offer_is_done(&offer));
    answer(addressed, sizeof addressed);
    assert_true(offer.pcp && offer.natpmp && kh_nat_offer_is_done(&offer));
    external = kh_addr_ipv4(198, 51, 100, 7, 0);
    assert_true(kh_addr_ip_equal(&offer.external, &external));
}

static void only_the_unanswered_one_is_repeated_for_a_second(void **state)
{
    struct kh_datagram out;
    unsigned sent = 0;

    (void)state;
    answer(addressed, sizeof addressed);
    while (kh_nat_offer_next_transmit(&offer, &out)) {
    }
    for (kh_time now = NOW; !kh_nat_offer_is_done(&offer);) {
        now = kh_nat_offer_timeout(&offer);
        assert_true(now <= NOW + KH_SECONDS(1));
        kh_nat_offer_handle_timeout(&offer, now);
        for (; kh_nat_offer_next_transmit(&offer, &out); sent++)
            assert_int_equal(out.len, sizeof announce);
    }
    assert_int_equal(sent, 3);
    assert_true(offer.natpmp && !offer.pcp);
}

static void strangers_and_refusals_prove_nothing(void **state)
{
    static const uint8_t unsupported[24] = {0, 0x80, 0, 1};
    static const uint8_t refused[24] = {2, 0x80, 0, 2};

    (void)state;
    answer(unsupported, 8);
    answer(refused, sizeof refused);
    answer(announce, sizeof announce);
    gateway.port++;
    answer(announced, sizeof announced);
    answer(addressed, sizeof addressed);
    assert_false(offer.pcp || offer.natpmp);
    assert_true(kh_addr_is_none(&offer.external));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(both_are_asked_and_found, set_up),
        cmocka_unit_test_setup(only_the_unanswered_one_is_repeated_for_a_second, set_up),
        cmocka_unit_test_setup(strangers_and_refusals_prove_nothing, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
