/* nat/wire_test.c - the bytes of both protocols, and when a gateway has forgotten.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "nat/epoch.h"
#include "nat/wire.h"

static struct kh_nat_map_request request_of(uint32_t lifetime_s)
{
    struct kh_nat_map_request request = {.local = kh_addr_ipv4(192, 168, 1, 2, 0x1234),
                                         .external = kh_addr_ipv4(0, 0, 0, 0, 0),
                                         .lifetime_s = lifetime_s};

    memset(request.nonce, 0xAB, sizeof request.nonce);
    return request;
}

static void pcp_map_is_sixty_bytes_as_in_rfc_6887(void **state)
{
    static const uint8_t expected[KH_NAT_PCP_MAP_LEN] = {
        2,    1,    0,    0,    0,    0,    2,   0x58, 0, 0,    0,    0,    0,    0,    0,
        0,    0,    0,    0xFF, 0xFF, 192,  168, 1,    2, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB,
        0xAB, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB, 17,  0,    0, 0,    0x12, 0x34, 0,    0,    0,
        0,    0,    0,    0,    0,    0,    0,   0,    0, 0xFF, 0xFF, 0,    0,    0,    0};
    struct kh_nat_map_request request = request_of(600);
    uint8_t out[KH_NAT_PCP_MAP_LEN];

    (void)state;
    kh_nat_pcp_write_map(&request, out);
    assert_memory_equal(out, expected, sizeof out);
    request.external = kh_addr_ipv4(11, 0, 0, 1, 0x4321); /* suggested, on renewal */
    kh_nat_pcp_write_map(&request, out);
    assert_memory_equal(out, expected, 42);
    assert_memory_equal(out + 42, ((uint8_t[]){0x43, 0x21}), 2);
    assert_memory_equal(out + 56, ((uint8_t[]){11, 0, 0, 1}), 4);
}

static void nat_pmp_requests_are_as_in_rfc_6886(void **state)
{
    static const uint8_t expected[] = {0, 1, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 2, 0x58};
    struct kh_nat_map_request request = request_of(600);
    uint8_t out[KH_NAT_PMP_MAP_LEN];

    (void)state;
    kh_nat_pmp_write_map(&request, out);
    assert_memory_equal(out, expected, sizeof out);
    kh_nat_pmp_write_address(out);
    assert_memory_equal(out, ((uint8_t[]){0, 0}), 2);
}

static bool parse(const uint8_t *data, size_t len, struct kh_nat_answer *answer)
{
    return kh_nat_answer_parse(data, len, answer);
}

static void pcp_answers_are_read_strictly(void **state)
{
    struct kh_nat_map_request request = request_of(600);
    struct kh_nat_answer answer;
    uint8_t data[1104] = {0};

    (void)state;
    kh_nat_pcp_write_map(&request, data);
    assert_false(parse(data, 60, &answer)); /* RFC 6887 8.3: the R bit must be set */
    data[1] |= 0x80;
    memset(data + 8, 0, 16);
    data[11] = 9;
    memcpy(data + 42, ((uint8_t[]){0x43, 0x21}), 2);
    memcpy(data + 56, ((uint8_t[]){11, 0, 0, 1}), 4);
    assert_true(parse(data, 60, &answer));
    assert_int_equal(answer.result, KH_NAT_SUCCESS);
    assert_int_equal(answer.lifetime_s, 600);
    assert_int_equal(answer.epoch_s, 9);
    assert_true(answer.has_map && answer.is_udp);
    assert_int_equal(answer.internal_port, 0x1234);
    assert_true(kh_addr_equal(
        &answer.external,
        &(struct kh_addr){.family = KH_FAMILY_IPV4, .port = 0x4321, .ip = {11, 0, 0, 1}}));
    for (size_t len = 0; len < 60; len++)
        assert_false(parse(data, len, &answer));
    assert_false(parse(data, 62, &answer));  /* no multiple of four */
    assert_true(parse(data, 1100, &answer)); /* options are not asked for, and may be there */
    assert_false(parse(data, 1104, &answer));
    data[1] = 0x82; /* PEER */
    assert_false(parse(data, 60, &answer));
    data[0] = 1; /* another version says nothing … */
    assert_false(parse(data, 60, &answer));
    data[3] = KH_NAT_UNSUPP_VERSION; /* … but that it is another */
    assert_true(parse(data, 24, &answer));
    assert_int_equal(answer.version, 1);
}

static void nat_pmp_answers_are_read_strictly(void **state)
{
    static const uint8_t address[] = {0, 128, 0, 0, 0, 0, 0, 7, 11, 0, 0, 1};
    static const uint8_t map[] = {0, 129, 0, 0, 0, 0, 0, 7, 0x12, 0x34, 0x43, 0x21, 0, 0, 2, 0x58};
    static const uint8_t error[] = {0, 129, 0, 2};
    struct kh_nat_answer answer;

    (void)state;
    assert_true(parse(address, sizeof address, &answer));
    assert_true(!answer.has_map && answer.epoch_s == 7 && answer.external.ip[0] == 11);
    assert_true(parse(map, sizeof map, &answer));
    assert_true(answer.has_map && answer.is_udp);
    assert_int_equal(answer.internal_port, 0x1234);
    assert_int_equal(answer.external.port, 0x4321);
    assert_int_equal(answer.lifetime_s, 600);
    for (size_t len = 0; len < sizeof map; len++) {
        assert_false(parse(map, len, &answer));
        if (len < sizeof address)
            assert_false(parse(address, len, &answer));
    }
    assert_true(parse(error, sizeof error, &answer));
    assert_int_equal(answer.result, 2);
    assert_false(answer.has_epoch);
    assert_false(parse(error, 3, &answer));
    assert_false(parse((const uint8_t[]){0, 130, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0}, 16,
                       &answer)); /* TCP was not asked for */
}

/* RFC 6887 8.5 */
static void pcp_epoch_tells_a_restart(void **state)
{
    struct kh_nat_epoch epoch = {0};
    kh_time now = KH_SECONDS(1000);

    (void)state;
    assert_true(kh_nat_epoch_take_pcp(&epoch, now, 500));
    assert_true(kh_nat_epoch_take_pcp(&epoch, now, 499)); /* reordered */
    assert_true(kh_nat_epoch_take_pcp(&epoch, now + KH_SECONDS(100), 599));
    assert_false(kh_nat_epoch_take_pcp(&epoch, now + KH_SECONDS(101), 3)); /* started over */
    assert_true(kh_nat_epoch_take_pcp(&epoch, now + KH_SECONDS(102), 4));
    /* Restarted, and counted past where it was: too slow for our clock. */
    assert_false(kh_nat_epoch_take_pcp(&epoch, now + KH_SECONDS(302), 30));
    assert_false(kh_nat_epoch_take_pcp(&epoch, now + KH_SECONDS(312), 130)); /* too fast */
    assert_true(kh_nat_epoch_take_pcp(&epoch, now + KH_SECONDS(472), 282));
}

/* RFC 6886 3.6 */
static void nat_pmp_epoch_tells_a_restart(void **state)
{
    struct kh_nat_epoch epoch = {0};
    kh_time now = KH_SECONDS(1000);

    (void)state;
    assert_true(kh_nat_epoch_take_pmp(&epoch, now, 500));
    assert_true(kh_nat_epoch_take_pmp(&epoch, now + KH_SECONDS(80), 568)); /* 7/8, less two */
    assert_false(kh_nat_epoch_take_pmp(&epoch, now + KH_SECONDS(160), 635));
    assert_true(kh_nat_epoch_take_pmp(&epoch, now + KH_SECONDS(170), 100000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pcp_map_is_sixty_bytes_as_in_rfc_6887),
        cmocka_unit_test(nat_pmp_requests_are_as_in_rfc_6886),
        cmocka_unit_test(pcp_answers_are_read_strictly),
        cmocka_unit_test(nat_pmp_answers_are_read_strictly),
        cmocka_unit_test(pcp_epoch_tells_a_restart),
        cmocka_unit_test(nat_pmp_epoch_tells_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
