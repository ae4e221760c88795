/* hub/discovery_test.c - which of its four places a server answers from, and to whom.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "hub/hub.h"
#include "stun/stun.h"

#define IP_AND_PORT 6 /* CHANGE-REQUEST, RFC 5780 7.2 */
#define IP 4
#define PORT 2

static const uint8_t transaction[KH_STUN_ID_LEN] = "transaction";

static struct kh_hub *hub;
static struct kh_hub_config config;
static struct kh_addr client;
static uint8_t request[2048];
static struct kh_datagram out;
static struct kh_stun_message message;

static int set_up(void **state)
{
    (void)state;
    config = (struct kh_hub_config){.seed = {1}, .software = "Knothole"};
    config.registry.members_max = 10;
    for (uint16_t i = 0; i < KH_HUB_PLACES; i++)
        config.discovery[0].places[i] = kh_addr_ipv4(203, 0, 113, i < 2 ? 1 : 2, 3478 + (i & 1));
    client = kh_addr_ipv4(192, 0, 2, 1, 5000);
    return kh_hub_new(&hub, &config) == KH_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kh_hub_free(hub);
    return 0;
}

static const struct kh_addr *place(size_t n)
{
    return &config.discovery[0].places[n];
}

static struct kh_stun_writer begin(void)
{
    return kh_stun_begin(request, sizeof request, KH_STUN_REQUEST, KH_STUN_BINDING, transaction);
}

/* Sends the request to a local address; the one answer is in `out` and `message`. */
static void ask(struct kh_stun_writer *writer, const struct kh_addr *to)
{
    struct kh_datagram in = {
        .from = client, .to = *to, .data = request, .len = kh_stun_finish(writer)};
    struct kh_datagram more;

    assert_true(in.len > 0);
    kh_hub_handle_datagram(hub, KH_SECONDS(1), &in);
    assert_true(kh_hub_next_transmit(hub, &out));
    assert_true(kh_addr_equal(&out.to, &client));
    assert_int_equal(kh_stun_parse(out.data, out.len, &message), KH_OK);
    assert_false(kh_hub_next_transmit(hub, &more));
}

static void assert_named(uint16_t type, const struct kh_addr *expected)
{
    struct kh_addr addr;

    assert_true(kh_stun_find_addr(&message, type, &addr));
    assert_true(kh_addr_equal(&addr, expected));
}

static void assert_way(size_t asked, uint32_t change, size_t answers)
{
    struct kh_stun_writer writer = begin();

    kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, change);
    ask(&writer, place(asked));
    assert_int_equal(message.class, KH_STUN_SUCCESS);
    assert_true(kh_addr_equal(&out.from, place(answers)));
    assert_named(KH_STUN_RESPONSE_ORIGIN, place(answers));
    assert_named(KH_STUN_OTHER_ADDRESS, place(asked ^ 3));
    assert_named(KH_STUN_XOR_MAPPED_ADDRESS, &client);
}

static void rfc5780_6_1_table_1(void **state)
{
    (void)state;
    for (size_t asked = 0; asked < KH_HUB_PLACES; asked++) {
        assert_way(asked, 0, asked);
        assert_way(asked, PORT, asked ^ 1);
        assert_way(asked, IP, asked ^ 2);
        assert_way(asked, IP_AND_PORT, asked ^ 3);
    }
    assert_int_equal(kh_hub_stats(hub).changes, 12);
    assert_int_equal(kh_hub_stats(hub).bindings, 16);
}

static void a_plain_request_learns_of_the_other_address(void **state)
{
    struct kh_stun_writer writer = begin();

    (void)state;
    ask(&writer, place(0));
    assert_named(KH_STUN_OTHER_ADDRESS, place(3));
    assert_named(KH_STUN_RESPONSE_ORIGIN, place(0));
    assert_int_equal(out.len, 56);
}

static void without_another_address_a_change_is_refused(void **state)
{
    struct kh_addr elsewhere = kh_addr_ipv4(203, 0, 113, 9, 3478);
    struct kh_stun_writer writer = begin();
    unsigned code;
    uint16_t unknown;

    (void)state;
    kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, IP_AND_PORT);
    ask(&writer, &elsewhere);
    assert_true(kh_stun_find_error(&message, &code, NULL));
    assert_int_equal(code, 420);
    assert_true(kh_stun_find_unknown(&message, 0, &unknown));
    assert_int_equal(unknown, KH_STUN_CHANGE_REQUEST);
    assert_true(kh_addr_equal(&out.from, &elsewhere));
}

/* A server on the wildcard address with a second port: half of the table. */
static void one_address_with_two_ports_answers_from_either(void **state)
{
    const struct kh_addr first = kh_addr_ipv4(203, 0, 113, 9, 3478);
    const struct kh_addr second = kh_addr_ipv4(203, 0, 113, 9, 65535);
    struct kh_stun_writer writer;
    unsigned code;

    (void)state;
    kh_hub_free(hub);
    config.discovery[0] = (struct kh_hub_discovery){
        .places = {kh_addr_ipv4(0, 0, 0, 0, 3478), kh_addr_ipv4(0, 0, 0, 0, 65535)}};
    assert_int_equal(kh_hub_new(&hub, &config), KH_OK);
    for (uint32_t change = 0; change <= PORT; change += PORT) {
        writer = begin();
        kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, change);
        ask(&writer, &first);
        assert_int_equal(message.class, KH_STUN_SUCCESS);
        assert_true(kh_addr_equal(&out.from, change == 0 ? &first : &second));
        assert_named(KH_STUN_OTHER_ADDRESS, &second);
        writer = begin();
        kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, change);
        ask(&writer, &second);
        assert_true(kh_addr_equal(&out.from, change == 0 ? &second : &first));
        assert_named(KH_STUN_OTHER_ADDRESS, &first);
    }
    for (uint32_t change = IP; change <= IP_AND_PORT; change += PORT) {
        writer = begin();
        kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, change);
        ask(&writer, &first);
        assert_true(kh_stun_find_error(&message, &code, NULL));
        assert_int_equal(code, 420);
    }
    /* Other software takes OTHER-ADDRESS for a second address: it is only told who asks for it. */
    writer = begin();
    ask(&writer, &first);
    assert_int_equal(out.len, 32);
}

static void assert_not_turned(uint32_t value, size_t more, const struct kh_addr *at)
{
    static const uint8_t software[64];
    struct kh_stun_writer writer = begin();
    unsigned code;

    kh_stun_add_u32(&writer, KH_STUN_RESPONSE_PORT, value);
    if (more > 0)
        kh_stun_add(&writer, KH_STUN_SOFTWARE, software, more);
    ask(&writer, at);
    assert_true(kh_stun_find_error(&message, &code, NULL));
    assert_int_equal(code, 420);
}

/* Only as much as the asker paid for. */
static void an_answer_goes_to_another_port_of_the_asker_if_it_is_not_longer(void **state)
{
    static const uint8_t software[64];
    const struct kh_addr elsewhere = kh_addr_ipv4(203, 0, 113, 9, 3478);
    const struct kh_addr home = client;

    (void)state;
    assert_not_turned(5001u << 16, 0, place(0));
    assert_not_turned(5001u << 16, 20, place(0)); /* 52 bytes; the answer has 56 */
    assert_not_turned(5001u << 16, 0, &elsewhere);
    assert_not_turned(5001, 64, place(0)); /* port 0 */
    client.transport = KH_TCP;
    assert_not_turned(5001u << 16, 64, place(0));
    client = home;
    for (size_t more = 24; more <= 64; more += 4) {
        struct kh_datagram in = {.from = client, .to = *place(0), .data = request};
        struct kh_stun_writer writer = begin();

        kh_stun_add_u32(&writer, KH_STUN_RESPONSE_PORT, 5001u << 16);
        kh_stun_add(&writer, KH_STUN_SOFTWARE, software, more);
        if (more >= 32)
            kh_stun_add_fingerprint(&writer);
        in.len = kh_stun_finish(&writer);
        kh_hub_handle_datagram(hub, KH_SECONDS(1), &in);
        assert_true(kh_hub_next_transmit(hub, &out));
        assert_true(kh_addr_ip_equal(&out.to, &client));
        assert_int_equal(out.to.port, 5001);
        assert_true(out.len <= in.len);
        assert_int_equal(kh_stun_parse(out.data, out.len, &message), KH_OK);
        assert_named(KH_STUN_XOR_MAPPED_ADDRESS, &client);
    }
    assert_int_equal(kh_hub_stats(hub).turns, 11);
}

static void padding_is_returned_and_never_makes_the_answer_longer(void **state)
{
    static const uint8_t zeros[1600];
    static const size_t lens[] = {4, 36, 40, 64, 1000, 1500};

    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct kh_stun_writer writer = begin();
        struct kh_stun_attribute padding;
        size_t asked;

        kh_stun_add(&writer, KH_STUN_PADDING, zeros, lens[i]);
        kh_stun_add_fingerprint(&writer);
        asked = writer.bytes.len;
        ask(&writer, place(0));
        assert_int_equal(message.class, KH_STUN_SUCCESS);
        assert_true(out.len <= (asked > 64 ? asked : 64));
        assert_true(out.len <= KH_DATAGRAM_MAX);
        assert_int_equal(kh_stun_find(&message, KH_STUN_PADDING, &padding), lens[i] > 36);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rfc5780_6_1_table_1, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_plain_request_learns_of_the_other_address, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_another_address_a_change_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_address_with_two_ports_answers_from_either, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            an_answer_goes_to_another_port_of_the_asker_if_it_is_not_longer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(padding_is_returned_and_never_makes_the_answer_longer,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
