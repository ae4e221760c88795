/* stun/attribute_test.c - every kind of value, written and read (RFC 8489 14, RFC 8656 18).
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "stun/stun.h"
#include "stun/layout.h"
#include "support/hex.h"

/* Cookie and id 00 01 .. 0b, as they stand in every message here. */
#define REST "2112a442000102030405060708090a0b"

static const uint8_t id[KH_STUN_ID_LEN] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static struct kh_stun_message parsed(const char *text)
{
    static struct hex hex; /* the message borrows it */
    struct kh_stun_message message;

    hex = hex_of(text);
    assert_int_equal(kh_stun_parse(hex.bytes, hex.len, &message), KH_OK);
    return message;
}

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 0, &addr), KH_OK);
    return addr;
}

static void every_type_of_the_header_has_its_row(void **state)
{
    static const uint16_t types[] = {
        KH_STUN_MAPPED_ADDRESS,
        KH_STUN_USERNAME,
        KH_STUN_MESSAGE_INTEGRITY,
        KH_STUN_ERROR_CODE,
        KH_STUN_UNKNOWN_ATTRIBUTES,
        KH_STUN_LIFETIME,
        KH_STUN_XOR_PEER_ADDRESS,
        KH_STUN_DATA_ATTRIBUTE,
        KH_STUN_REALM,
        KH_STUN_NONCE,
        KH_STUN_MESSAGE_INTEGRITY_SHA256,
        KH_STUN_PASSWORD_ALGORITHM,
        KH_STUN_USERHASH,
        KH_STUN_XOR_MAPPED_ADDRESS,
        KH_STUN_PASSWORD_ALGORITHMS,
        KH_STUN_ALTERNATE_DOMAIN,
        KH_STUN_SOFTWARE,
        KH_STUN_ALTERNATE_SERVER,
        KH_STUN_FINGERPRINT,
        KH_STUN_RESPONSE_ORIGIN,
        KH_STUN_OTHER_ADDRESS,
        KH_STUN_ROOM,
        KH_STUN_MEMBER,
        KH_STUN_PUBLIC_KEY,
        KH_STUN_SIGNATURE,
        KH_STUN_SEALED,
        KH_STUN_SEQUENCE,
        KH_STUN_ROOM_VERSION,
        KH_STUN_CHANGE,
        KH_STUN_EARLY,
        KH_STUN_TARGET,
        KH_STUN_BASE_VERSION,
        KH_STUN_HIDDEN,
        KH_STUN_RELAY_NONCE,
        KH_STUN_RELAY,
    };
    static const uint16_t others[] = {
        KH_STUN_CHANGE_REQUEST,
        KH_STUN_CHANNEL_NUMBER,
        KH_STUN_XOR_RELAYED_ADDRESS,
        KH_STUN_REQUESTED_ADDRESS_FAMILY,
        KH_STUN_EVEN_PORT,
        KH_STUN_REQUESTED_TRANSPORT,
        KH_STUN_DONT_FRAGMENT,
        KH_STUN_RESERVATION_TOKEN,
        KH_STUN_PRIORITY,
        KH_STUN_USE_CANDIDATE,
        KH_STUN_PADDING,
        KH_STUN_RESPONSE_PORT,
        KH_STUN_ADDITIONAL_ADDRESS_FAMILY,
        KH_STUN_ADDRESS_ERROR_CODE,
        KH_STUN_ICMP,
        KH_STUN_ICE_CONTROLLED,
        KH_STUN_ICE_CONTROLLING,
        KH_STUN_MOBILITY_TICKET,
        KH_STUN_NOMINATION,
    };

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        assert_int_equal(kh_stun_attribute_place(types[i], KH_STUN_REQUEST, KH_STUN_JOIN),
                         KH_STUN_PLACE_EXPECTED);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(kh_stun_attribute_place(others[i], KH_STUN_REQUEST, KH_STUN_JOIN),
                         KH_STUN_PLACE_UNEXPECTED);
}

static void rfc8445_16_1_check_attributes_belong_into_binding_requests(void **state)
{
    static const uint16_t types[] = {KH_STUN_PRIORITY, KH_STUN_USE_CANDIDATE,
                                     KH_STUN_ICE_CONTROLLED, KH_STUN_ICE_CONTROLLING,
                                     KH_STUN_NOMINATION};

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(kh_stun_attribute_place(types[i], KH_STUN_REQUEST, KH_STUN_BINDING),
                         KH_STUN_PLACE_EXPECTED);
        assert_int_equal(kh_stun_attribute_place(types[i], KH_STUN_SUCCESS, KH_STUN_BINDING),
                         KH_STUN_PLACE_UNEXPECTED);
        assert_int_equal(kh_stun_attribute_place(types[i], KH_STUN_REQUEST, KH_STUN_ALLOCATE),
                         KH_STUN_PLACE_UNEXPECTED);
    }
}

/* RFC 8489 14.1: the first byte MUST be ignored; the family decides the length. */
static void rfc8489_14_1_mapped_address(void **state)
{
    struct kh_stun_message message = parsed("0101000c" REST "000100080001"
                                            "1f90"
                                            "c0000207");
    struct kh_addr addr;
    struct kh_addr expected = addr_of("192.0.2.7:8080");

    (void)state;
    assert_true(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &expected));
    message = parsed("0101000c" REST "00010008ff01"
                     "1f90"
                     "c0000207");
    assert_true(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    message = parsed("0101000c" REST "000100080003"
                     "1f90"
                     "c0000207");
    assert_false(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    message = parsed("0101000c" REST "000100080000"
                     "1f90"
                     "c0000207");
    assert_false(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    message = parsed("0101000c" REST "000100080002"
                     "1f90"
                     "c0000207"); /* IPv6, too short */
    assert_false(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    message = parsed("01010018" REST "000100140001"
                     "1f90"
                     "c0000207000000000000000000000000");
    assert_false(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr)); /* IPv4, too long */
    message = parsed("0101000c" REST "000100070001"
                     "1f90"
                     "c0000200");
    assert_false(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    message = parsed("01010004" REST "00010000");
    assert_false(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
}

/* RFC 8489 14.2: port with the cookie's upper half, IPv6 with cookie and id. */
static void rfc8489_14_2_xor_mapped_address(void **state)
{
    struct kh_addr ipv4 = addr_of("192.0.2.7:8080");
    struct kh_addr ipv6 = addr_of("[2001:db8::7]:8080");
    struct kh_addr addr;
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    uint8_t out[64];

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_SUCCESS, KH_STUN_BINDING, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &ipv4);
    assert_hex_equal(out, kh_stun_finish(&writer),
                     "0101000c" REST "002000080001"
                     "3e82"
                     "e112a645");
    assert_int_equal(kh_stun_parse(out, 32, &message), KH_OK);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &ipv4));

    writer = kh_stun_begin(out, sizeof out, KH_STUN_SUCCESS, KH_STUN_BINDING, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &ipv6);
    assert_hex_equal(out, kh_stun_finish(&writer),
                     "01010018" REST "002000140002"
                     "3e82"
                     "0113a9fa000102030405060708090a0c");
    assert_int_equal(kh_stun_parse(out, 44, &message), KH_OK);
    assert_true(kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &ipv6));
}

static void plain_and_xored_addresses_keep_to_their_types(void **state)
{
    struct kh_addr written = addr_of("198.51.100.1:3478");
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    struct kh_addr addr;
    uint8_t out[64];

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_SUCCESS, KH_STUN_BINDING, id);
    kh_stun_add_addr(&writer, KH_STUN_OTHER_ADDRESS, &written);
    kh_stun_add_addr(&writer, KH_STUN_RESPONSE_ORIGIN, &written);
    assert_hex_equal(out, kh_stun_finish(&writer),
                     "01010018" REST "802c000800010d96c6336401"
                     "802b000800010d96c6336401");
    assert_int_equal(kh_stun_parse(out, 44, &message), KH_OK);
    assert_true(kh_stun_find_addr(&message, KH_STUN_OTHER_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &written));
    message = parsed("0101000c" REST "8022000800010d96c6336401");
    assert_false(kh_stun_find_addr(&message, KH_STUN_SOFTWARE, &addr)); /* looks like one */
}

/* A relay must see through other spellings of an IPv4 address before it judges it. */
static void an_ipv4_address_in_ipv6_spelling_reads_as_ipv4(void **state)
{
    struct kh_stun_message message = parsed("01010018" REST "000100140002"
                                            "1f90"
                                            "00000000000000000000ffff7f000001");
    struct kh_addr expected = addr_of("127.0.0.1:8080");
    struct kh_addr addr;

    (void)state;
    assert_true(kh_stun_find_addr(&message, KH_STUN_MAPPED_ADDRESS, &addr));
    assert_true(kh_addr_equal(&addr, &expected));
    assert_int_equal(kh_addr_reach(&addr), KH_REACH_LOOPBACK);
}

/* RFC 8656 9.1: a CreatePermission may name several peers, whose ports are not looked at. */
static void rfc8656_9_1_several_peers(void **state)
{
    const struct kh_addr peers[] = {addr_of("192.0.2.1:0"), addr_of("[2001:db8::1]:5"),
                                    addr_of("192.0.2.3:65535")};
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    struct kh_addr addr;
    uint8_t out[96];
    size_t len;

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_CREATE_PERMISSION, id);
    for (size_t i = 0; i < 3; i++)
        kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &peers[i]);
    len = kh_stun_finish(&writer);
    assert_int_equal(kh_stun_parse(out, len, &message), KH_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_true(kh_stun_find_addr_nth(&message, KH_STUN_XOR_PEER_ADDRESS, i, &addr));
        assert_true(kh_addr_equal(&addr, &peers[i]));
    }
    assert_false(kh_stun_find_addr_nth(&message, KH_STUN_XOR_PEER_ADDRESS, 3, &addr));
}

/* RFC 8489 14.8: class 3 to 6, number 0 to 99. */
static void rfc8489_14_8_error_code(void **state)
{
    struct kh_stun_message message = parsed("01110010" REST "0009000b00000426"
                                            "5374616c6520"
                                            "2100");
    struct kh_span reason;
    unsigned code;

    (void)state;
    assert_true(kh_stun_find_error(&message, &code, &reason));
    assert_int_equal(code, 438);
    assert_int_equal(reason.len, 7);
    assert_memory_equal(reason.data, "Stale !", 7);
    message = parsed("01110008" REST "00090004fffffb63"); /* reserved bits are not looked at */
    assert_true(kh_stun_find_error(&message, &code, &reason));
    assert_int_equal(code, 399);
    assert_int_equal(reason.len, 0);
    assert_true(kh_stun_find_error(&message, &code, NULL));
    message = parsed("01110008" REST "0009000400000200");
    assert_false(kh_stun_find_error(&message, &code, NULL));
    message = parsed("01110008" REST "0009000400000700");
    assert_false(kh_stun_find_error(&message, &code, NULL));
    message = parsed("01110008" REST "0009000400000464");
    assert_false(kh_stun_find_error(&message, &code, NULL));
    message = parsed("01110008" REST "0009000300000400");
    assert_false(kh_stun_find_error(&message, &code, NULL));
}

static void rfc8489_14_8_error_code_is_written(void **state)
{
    struct kh_stun_writer writer;
    uint8_t out[64];

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_ERROR, KH_STUN_BINDING, id);
    kh_stun_add_error(&writer, 487, "Role");
    kh_stun_add_error(&writer, 300, "");
    kh_stun_add_error(&writer, 699, "xyz");
    assert_hex_equal(out, kh_stun_finish(&writer),
                     "01110020" REST "000900080000045"
                     "7526f6c65"
                     "0009000400000300"
                     "00090007000006637"
                     "8797a00");
}

/* RFC 8489 14.13, and 6.3.1.1: a 420 names what was not understood. */
static void rfc8489_14_13_unknown_attributes(void **state)
{
    struct kh_stun_message request = parsed("0001000c" REST "00500000"
                                            "00510000"
                                            "00520000");
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    uint16_t type;
    uint8_t out[64];

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_ERROR, KH_STUN_BINDING, id);
    kh_stun_add_unknown(&writer, &request);
    assert_hex_equal(out, kh_stun_finish(&writer),
                     "0111000c" REST "000a0006005000510052"
                     "0000");
    assert_int_equal(kh_stun_parse(out, 32, &message), KH_OK);
    assert_true(kh_stun_find_unknown(&message, 2, &type));
    assert_int_equal(type, 0x52);
    assert_false(kh_stun_find_unknown(&message, 3, &type));
    message = parsed("01110008" REST "000a000300500000");
    assert_false(kh_stun_find_unknown(&message, 0, &type));
}

static void rfc8489_14_11_password_algorithms(void **state)
{
    static const uint16_t numbers[] = {KH_STUN_ALGORITHM_SHA256, KH_STUN_ALGORITHM_MD5};
    struct kh_stun_algorithm algorithm;
    struct kh_stun_attribute list;
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    uint8_t out[64];
    size_t at = 0;

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add_algorithms(&writer, KH_STUN_PASSWORD_ALGORITHMS, numbers, 2);
    kh_stun_add_algorithms(&writer, KH_STUN_PASSWORD_ALGORITHM, numbers, 1);
    assert_hex_equal(out, kh_stun_finish(&writer),
                     "00010014" REST "800200080002000000010000"
                     "001d000400020000");
    assert_int_equal(kh_stun_parse(out, 40, &message), KH_OK);
    assert_true(kh_stun_find(&message, KH_STUN_PASSWORD_ALGORITHMS, &list));
    assert_true(kh_stun_next_algorithm(&list, &at, &algorithm));
    assert_int_equal(algorithm.number, KH_STUN_ALGORITHM_SHA256);
    assert_true(kh_stun_next_algorithm(&list, &at, &algorithm));
    assert_int_equal(algorithm.number, KH_STUN_ALGORITHM_MD5);
    assert_int_equal(algorithm.parameters.len, 0);
    assert_false(kh_stun_next_algorithm(&list, &at, &algorithm));
}

/* RFC 8489 14.11: parameters are padded to whole words, and their length is before padding. */
static void rfc8489_14_11_algorithm_parameters(void **state)
{
    struct kh_stun_message message = parsed("00010010" REST "8002000c"
                                            "00070001aa000000"
                                            "00020000");
    struct kh_stun_algorithm algorithm;
    struct kh_stun_attribute list;
    size_t at = 0;

    (void)state;
    assert_true(kh_stun_find(&message, KH_STUN_PASSWORD_ALGORITHMS, &list));
    assert_true(kh_stun_next_algorithm(&list, &at, &algorithm));
    assert_int_equal(algorithm.number, 7);
    assert_hex_equal(algorithm.parameters.data, algorithm.parameters.len, "aa");
    assert_true(kh_stun_next_algorithm(&list, &at, &algorithm));
    assert_int_equal(algorithm.number, KH_STUN_ALGORITHM_SHA256);
    message = parsed("00010008" REST "80020004"
                     "00070009"); /* parameters beyond the attribute */
    at = 0;
    assert_true(kh_stun_find(&message, KH_STUN_PASSWORD_ALGORITHMS, &list));
    assert_false(kh_stun_next_algorithm(&list, &at, &algorithm));
}

static void lengths_that_cannot_be_are_not_found(void **state)
{
    struct kh_stun_message message;
    struct kh_stun_attribute attribute;
    const uint8_t *bytes;
    uint32_t u32;
    uint64_t u64;

    (void)state;
    message = parsed("00010008" REST "0025000400000000");
    assert_false(kh_stun_find_flag(&message, KH_STUN_USE_CANDIDATE));
    message = parsed("00010008" REST "0024000300000000");
    assert_false(kh_stun_find_u32(&message, KH_STUN_PRIORITY, &u32));
    message = parsed("0001000c" REST "8029000700000000"
                     "00000000");
    assert_false(kh_stun_find_u64(&message, KH_STUN_ICE_CONTROLLED, &u64));
    message = parsed("3c000008" REST "7f00000400000000");
    assert_false(kh_stun_find(&message, KH_STUN_ROOM, &attribute));
    assert_false(kh_stun_find_bytes(&message, KH_STUN_ROOM, 4, &bytes));
    assert_false(kh_stun_find_bytes(&message, KH_STUN_MEMBER, 16, &bytes));
    message = parsed("00030008" REST "0018000180000000");
    assert_true(kh_stun_find_bytes(&message, KH_STUN_EVEN_PORT, 1, &bytes));
    assert_int_equal(bytes[0], 0x80);
}

/* RFC 8489 14.3: USERNAME is shorter than 509 bytes. */
static void rfc8489_14_3_username_has_a_longest_length(void **state)
{
    static const uint8_t zeros[509];
    uint8_t out[1024];

    (void)state;
    for (size_t len = 508; len <= 509; len++) {
        struct kh_stun_writer writer =
            kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_BINDING, id);
        struct kh_stun_attribute attribute;
        struct kh_stun_message message;
        size_t message_len;

        kh_stun_add(&writer, KH_STUN_USERNAME, zeros, len);
        message_len = kh_stun_finish(&writer);
        assert_int_equal(kh_stun_parse(out, message_len, &message), KH_OK);
        assert_int_equal(kh_stun_find(&message, KH_STUN_USERNAME, &attribute), len == 508);
    }
}

static void numbers_and_flags_survive(void **state)
{
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    uint8_t out[64];
    uint32_t u32;
    uint64_t u64;
    size_t len;

    (void)state;
    writer = kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add_u32(&writer, KH_STUN_NOMINATION, 0x01020304);
    kh_stun_add_u64(&writer, KH_STUN_ICE_CONTROLLING, UINT64_MAX - 1);
    kh_stun_add_flag(&writer, KH_STUN_USE_CANDIDATE);
    len = kh_stun_finish(&writer);
    assert_hex_equal(out, len,
                     "00010018" REST "c001000401020304"
                     "802a0008fffffffffffffffe"
                     "00250000");
    assert_int_equal(kh_stun_parse(out, len, &message), KH_OK);
    assert_true(kh_stun_find_u32(&message, KH_STUN_NOMINATION, &u32) && u32 == 0x01020304);
    assert_true(kh_stun_find_u64(&message, KH_STUN_ICE_CONTROLLING, &u64) && u64 == UINT64_MAX - 1);
    assert_true(kh_stun_find_flag(&message, KH_STUN_USE_CANDIDATE));
}

static void what_does_not_fit_is_said_once_at_the_end(void **state)
{
    static const uint8_t big[0x10000];
    static uint8_t out[0x11000];
    const struct kh_span key = {"k", 1};
    struct kh_addr addr = addr_of("192.0.2.1:1");
    struct kh_stun_writer writer;

    (void)state;
    writer = kh_stun_begin(out, 19, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &addr);
    kh_stun_add_integrity(&writer, key);
    kh_stun_add_integrity_sha256(&writer, key);
    kh_stun_add_fingerprint(&writer);
    assert_int_equal(kh_stun_finish(&writer), 0);
    writer = kh_stun_begin(out, 27, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add(&writer, KH_STUN_SOFTWARE, "a", 1); /* the padding counts */
    assert_int_equal(kh_stun_finish(&writer), 0);
    writer = kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, big, sizeof big);
    assert_int_equal(kh_stun_finish(&writer), 0);
    writer = kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, big, sizeof big - 1);
    assert_int_equal(kh_stun_finish(&writer),
                     0); /* the attribute's length fits, the message's not */
    writer = kh_stun_begin(out, sizeof out, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, big, 0xfff8);
    assert_int_equal(kh_stun_finish(&writer), 0xfffc + KH_STUN_HEADER_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_of_the_header_has_its_row),
        cmocka_unit_test(rfc8445_16_1_check_attributes_belong_into_binding_requests),
        cmocka_unit_test(rfc8489_14_1_mapped_address),
        cmocka_unit_test(rfc8489_14_2_xor_mapped_address),
        cmocka_unit_test(plain_and_xored_addresses_keep_to_their_types),
        cmocka_unit_test(an_ipv4_address_in_ipv6_spelling_reads_as_ipv4),
        cmocka_unit_test(rfc8656_9_1_several_peers),
        cmocka_unit_test(rfc8489_14_8_error_code),
        cmocka_unit_test(rfc8489_14_8_error_code_is_written),
        cmocka_unit_test(rfc8489_14_13_unknown_attributes),
        cmocka_unit_test(rfc8489_14_11_password_algorithms),
        cmocka_unit_test(rfc8489_14_11_algorithm_parameters),
        cmocka_unit_test(lengths_that_cannot_be_are_not_found),
        cmocka_unit_test(rfc8489_14_3_username_has_a_longest_length),
        cmocka_unit_test(numbers_and_flags_survive),
        cmocka_unit_test(what_does_not_fit_is_said_once_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
