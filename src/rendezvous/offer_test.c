/* rendezvous/offer_test.c - another relay's credentials: who can read them, and what is no offer.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/offer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "support/hex.h"

static struct kh_rendezvous_turn some(void)
{
    static const uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 5};

    return (struct kh_rendezvous_turn){
        .servers = {kh_addr_ipv4(192, 0, 2, 5, 3478), kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 443)},
        .username = "2000000000:alice",
        .password = "uoDL/AHil9mhKpZV8sTerU3VXBM=",
        .lifetime = 86400};
}

static void assert_same(const struct kh_rendezvous_turn *a, const struct kh_rendezvous_turn *b)
{
    assert_true(kh_addr_equal(&a->servers[0], &b->servers[0]));
    assert_true(kh_addr_equal(&a->servers[1], &b->servers[1]));
    assert_string_equal(a->username, b->username);
    assert_string_equal(a->password, b->password);
    assert_int_equal(a->lifetime, b->lifetime);
}

/* docs/protocol/rendezvous.md has these bytes. */
static void the_bytes_are_those_of_the_document(void **state)
{
    static const char expected[] = "000151800200c00002050d960120010db800000000000000000000000501bb"
                                   "10323030303030303030303a616c696365"
                                   "1c756f444c2f4148696c396d684b705a56387354657255335658424d3d";
    struct kh_rendezvous_turn turn = some(), back;
    uint8_t bytes[KH_RENDEZVOUS_OFFER_MAX];
    size_t len = kh_rendezvous_turn_write(&turn, bytes);

    (void)state;
    assert_hex_equal(bytes, len, expected);
    assert_true(kh_rendezvous_turn_parse((struct kh_span){bytes, len}, &back));
    assert_same(&turn, &back);
    bytes[len] = 0; /* of a later version */
    assert_true(kh_rendezvous_turn_parse((struct kh_span){bytes, len + 1}, &back));
    for (size_t cut = 0; cut < len; cut++) {
        assert_false(kh_rendezvous_turn_parse((struct kh_span){bytes, cut}, &back));
        assert_true(kh_addr_is_none(&back.servers[0]));
    }
}

static void what_is_no_offer_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {4, 0},  {4, 3},    /* no address, three */
        {5, 2},  {5, 0x80}, /* by TCP, or what nobody knows */
        {31, 0}, {31, 128}, /* no name, one too long */
        {33, 0},            /* a name with an end inside */
    };
    struct kh_rendezvous_turn turn = some(), back;
    uint8_t bytes[KH_RENDEZVOUS_OFFER_MAX];
    size_t len;

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        len = kh_rendezvous_turn_write(&turn, bytes);
        bytes[changes[i].at] = changes[i].value;
        assert_false(kh_rendezvous_turn_parse((struct kh_span){bytes, len}, &back));
    }
    len = kh_rendezvous_turn_write(&turn, bytes);
    bytes[10] = bytes[11] = 0; /* port 0 */
    assert_false(kh_rendezvous_turn_parse((struct kh_span){bytes, len}, &back));
}

static void it_opens_for_its_session_and_its_answer_only(void **state)
{
    static const uint8_t nonce[KH_AEAD_NONCE_LEN] = {1, 2, 3};
    const struct kh_rendezvous_keys keys = {.to_client.bytes = {7}},
                                    others = {.to_client.bytes = {8}};
    const uint8_t id[KH_STUN_ID_LEN] = {4}, other_id[KH_STUN_ID_LEN] = {5};
    const struct kh_rendezvous_offer_seal ours = {&keys, id};
    const struct kh_rendezvous_offer_seal another[] = {{&others, id}, {&keys, other_id}};
    struct kh_rendezvous_turn turn = some(), back;
    uint8_t sealed[KH_RENDEZVOUS_OFFER_MAX];
    size_t len = kh_rendezvous_offer_seal(&turn, &ours, nonce, sealed);

    (void)state;
    assert_true(kh_rendezvous_offer_open((struct kh_span){sealed, len}, &ours, &back));
    assert_same(&turn, &back);
    for (size_t i = 0; i < 2; i++)
        assert_false(kh_rendezvous_offer_open((struct kh_span){sealed, len}, &another[i], &back));
    for (size_t i = 0; i < len; i++) {
        sealed[i] ^= 1;
        assert_false(kh_rendezvous_offer_open((struct kh_span){sealed, len}, &ours, &back));
        assert_true(kh_addr_is_none(&back.servers[0]));
        sealed[i] ^= 1;
    }
    assert_false(kh_rendezvous_offer_open((struct kh_span){sealed, 27}, &ours, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_the_document),
        cmocka_unit_test(what_is_no_offer_is_refused),
        cmocka_unit_test(it_opens_for_its_session_and_its_answer_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
