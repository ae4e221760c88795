/* relay/allocate_test.c - Allocate and Refresh as RFC 8656 sections 7 and 8 have them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/client_test.h"

static uint32_t lifetime_of_answer(void)
{
    uint32_t lifetime = 0;

    assert_true(kh_stun_find_u32(&got, KH_STUN_LIFETIME, &lifetime));
    return lifetime;
}

static unsigned allocate_with_byte(uint16_t type, uint8_t value)
{
    struct request *request = begin_allocate();
    uint8_t bytes[4] = {value};

    kh_stun_add(&request->writer, type, bytes, type == KH_STUN_EVEN_PORT ? 1 : 4);
    return send_signed(request);
}

static void success_names_relayed_and_mapped_address_and_lifetime(void **state)
{
    struct kh_addr relayed, mapped;

    (void)state;
    relayed = allocate();
    assert_true(kh_addr_ip_equal(&relayed, &server));
    assert_true(relayed.port >= 49152);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_MAPPED_ADDRESS, &mapped));
    assert_true(kh_addr_equal(&mapped, &alice));
    assert_int_equal(lifetime_of_answer(), 600);
    assert_int_equal(opened_count, 1);
    assert_true(kh_addr_equal(&opened[0], &relayed));
    assert_int_equal(kh_relay_stats(relay).allocations, 1);
}

static void behind_a_nat_the_external_address_is_told(void **state)
{
    struct kh_addr relayed;

    (void)state;
    config.addresses[0].external = addr_of("203.0.113.77");
    start_relay();
    relayed = allocate();
    assert_int_equal(relayed.ip[3], 77);
    assert_int_equal(opened[0].ip[3], 1);
    assert_int_equal(opened[0].port, relayed.port);
}

static void answer_waits_for_the_socket(void **state)
{
    struct request *request = begin_allocate();
    struct kh_datagram datagram = {.from = alice, .to = server, .data = request->data};
    struct kh_stun_message message;
    struct kh_relay_event event;
    struct kh_datagram out;

    (void)state;
    add_credentials(request);
    datagram.len = kh_stun_finish(&request->writer);
    assert_int_equal(kh_stun_parse(datagram.data, datagram.len, &message), KH_OK);
    kh_relay_handle_message(relay, now, &datagram, &message, NULL);
    assert_false(kh_relay_next_transmit(relay, &out));
    assert_true(kh_relay_next_event(relay, &event));
    assert_int_equal(event.kind, KH_RELAY_EVENT_OPEN);
    assert_false(kh_relay_next_event(relay, &event));
    /* Its retransmission neither opens another nor is answered before the time. */
    kh_relay_handle_message(relay, now, &datagram, &message, NULL);
    assert_false(kh_relay_next_transmit(relay, &out));
    assert_false(kh_relay_next_event(relay, &event));
    kh_relay_opened(relay, now, &event.addr, true);
    assert_true(kh_relay_next_transmit(relay, &out));
}

static void owner_that_never_answers_costs_the_allocation(void **state)
{
    struct request *request = begin_allocate();
    struct kh_datagram datagram = {.from = alice, .to = server, .data = request->data};
    struct kh_stun_message message;
    struct kh_relay_event event;

    (void)state;
    add_credentials(request);
    datagram.len = kh_stun_finish(&request->writer);
    assert_int_equal(kh_stun_parse(datagram.data, datagram.len, &message), KH_OK);
    kh_relay_handle_message(relay, now, &datagram, &message, NULL);
    assert_true(kh_relay_next_event(relay, &event));
    pass_time(KH_SECONDS(5));
    assert_int_equal(closes_seen, 1);
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    kh_relay_opened(relay, now, &event.addr, true);
    drain();
    assert_int_equal(answer.len, 0);
}

static void refused_port_is_replaced(void **state)
{
    (void)state;
    refusals_left = 3;
    allocate();
    assert_int_equal(opens_seen, 4);
    assert_int_equal(closes_seen, 0);
}

static void too_many_refused_ports_are_508(void **state)
{
    (void)state;
    refusals_left = 1000;
    assert_int_equal(send_signed(begin_allocate()), 508);
    assert_int_equal(opens_seen, 16);
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    assert_int_equal(kh_relay_timeout(relay), KH_NEVER);
}

static void range_without_free_port_is_508(void **state)
{
    (void)state;
    config.port_min = config.port_max = 50000;
    config.allocations_max = 10;
    start_relay();
    assert_int_equal(allocate().port, 50000);
    alice.port++;
    assert_int_equal(send_signed(begin_allocate()), 508);
}

/* RFC 8656 7.2: a retransmission gets the same answer, bit by bit. */
static void retransmission_is_answered_alike(void **state)
{
    struct request *request = begin_allocate();
    struct request copy;
    uint8_t first[KH_RELAY_DATA_MAX];
    size_t len;

    (void)state;
    assert_int_equal(send_signed(request), 0);
    copy = *request;
    copy.writer.bytes.data = copy.data;
    len = answer.len;
    memcpy(first, answer.data, len);
    now += KH_SECONDS(1);
    assert_int_equal(send_bare(&copy), 0);
    assert_int_equal(answer.len, len);
    assert_memory_equal(answer.data, first, len);
    assert_int_equal(opens_seen, 1);
}

/* RFC 8656 7.2, step 2 */
static void second_allocate_on_the_5_tuple_is_437(void **state)
{
    (void)state;
    allocate();
    assert_int_equal(send_signed(begin_allocate()), 437);
}

/* Steps 3 and 4 */
static void transport_has_to_be_udp(void **state)
{
    struct request *request = begin(KH_STUN_ALLOCATE);

    (void)state;
    assert_int_equal(send_signed(request), 400);
    request = begin(KH_STUN_ALLOCATE);
    kh_stun_add_u32(&request->writer, KH_STUN_REQUESTED_TRANSPORT, 6u << 24);
    assert_int_equal(send_signed(request), 442);
}

static void dont_fragment_is_understood(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    kh_stun_add_flag(&request->writer, KH_STUN_DONT_FRAGMENT);
    assert_int_equal(send_signed(request), 0);
}

static void unknown_attribute_is_420_and_named(void **state)
{
    struct request *request = begin_allocate();
    uint16_t type = 0;

    (void)state;
    kh_stun_add_u32(&request->writer, 0x7eee, 0);
    assert_int_equal(send_signed(request), 420);
    assert_true(kh_stun_find_unknown(&got, 0, &type));
    assert_int_equal(type, 0x7eee);
}

static void family_is_chosen(void **state)
{
    struct kh_addr relayed;

    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_REQUESTED_ADDRESS_FAMILY, 2), 0);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_RELAYED_ADDRESS, &relayed));
    assert_true(kh_addr_ip_equal(&relayed, &server6));
}

static void family_that_is_not_served_is_440(void **state)
{
    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_REQUESTED_ADDRESS_FAMILY, 3), 440);
    config.address_count = 1;
    start_relay();
    assert_int_equal(allocate_with_byte(KH_STUN_REQUESTED_ADDRESS_FAMILY, 2), 440);
}

static void both_families_in_one_allocate(void **state)
{
    struct kh_stun_attribute attribute;
    size_t at = 0, relayed = 0;

    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_ADDITIONAL_ADDRESS_FAMILY, 2), 0);
    while (kh_stun_next(&got, &at, &attribute))
        relayed += attribute.type == KH_STUN_XOR_RELAYED_ADDRESS;
    assert_int_equal(relayed, 2);
    assert_int_equal(opened_count, 2);
    assert_false(kh_stun_find(&got, KH_STUN_ADDRESS_ERROR_CODE, &attribute));
    assert_int_equal(kh_relay_stats(relay).allocations, 1);
}

/* RFC 8656 7.2: the family that cannot be had is named, the other is given. */
static void half_of_both_families_comes_with_an_error(void **state)
{
    static const uint8_t expected[4] = {2, 0, 4, 40};
    const uint8_t *value;
    struct kh_addr relayed;

    (void)state;
    config.address_count = 1;
    start_relay();
    assert_int_equal(allocate_with_byte(KH_STUN_ADDITIONAL_ADDRESS_FAMILY, 2), 0);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_RELAYED_ADDRESS, &relayed));
    assert_int_equal(relayed.family, KH_FAMILY_IPV4);
    assert_true(kh_stun_find_bytes(&got, KH_STUN_ADDRESS_ERROR_CODE, 4, &value));
    assert_memory_equal(value, expected, 4);
    pass_time(KH_SECONDS(600));
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
}

static void additional_family_is_ipv6_or_400(void **state)
{
    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_ADDITIONAL_ADDRESS_FAMILY, 1), 400);
}

static const uint8_t wish_ipv6[4] = {2}, wish_reserve[1] = {0x80}, wish_token[8] = {0};
static const struct {
    uint16_t type;
    const uint8_t *value;
    size_t len;
} contradictions[][2] = {
    {{KH_STUN_REQUESTED_ADDRESS_FAMILY, wish_ipv6, 4},
     {KH_STUN_ADDITIONAL_ADDRESS_FAMILY, wish_ipv6, 4}},
    {{KH_STUN_RESERVATION_TOKEN, wish_token, 8}, {KH_STUN_EVEN_PORT, wish_reserve, 1}},
    {{KH_STUN_RESERVATION_TOKEN, wish_token, 8}, {KH_STUN_REQUESTED_ADDRESS_FAMILY, wish_ipv6, 4}},
    {{KH_STUN_RESERVATION_TOKEN, wish_token, 8}, {KH_STUN_ADDITIONAL_ADDRESS_FAMILY, wish_ipv6, 4}},
    {{KH_STUN_EVEN_PORT, wish_reserve, 1}, {KH_STUN_ADDITIONAL_ADDRESS_FAMILY, wish_ipv6, 4}},
};

static void contradictory_wishes_are_400(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof contradictions / sizeof *contradictions; i++) {
        struct request *request = begin_allocate();

        for (size_t j = 0; j < 2; j++)
            kh_stun_add(&request->writer, contradictions[i][j].type, contradictions[i][j].value,
                        contradictions[i][j].len);
        assert_int_equal(send_signed(request), 400);
    }
    assert_int_equal(opens_seen, 0);
}

static void even_port_is_even(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(allocate_with_byte(KH_STUN_EVEN_PORT, 0), 0);
        assert_int_equal(opened[opened_count - 1].port % 2, 0);
        alice.port++;
    }
}

static unsigned allocate_by_token(const uint8_t *token)
{
    struct request *request = begin_allocate();

    kh_stun_add(&request->writer, KH_STUN_RESERVATION_TOKEN, token, 8);
    return send_signed(request);
}

/* RFC 8656 7.2: the next port is held for 30 seconds for whoever brings the token. */
static void reserved_port_is_had_for_the_token(void **state)
{
    struct kh_addr first, second;
    const uint8_t *value;
    uint8_t token[8];

    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_EVEN_PORT, 0x80), 0);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_RELAYED_ADDRESS, &first));
    assert_true(kh_stun_find_bytes(&got, KH_STUN_RESERVATION_TOKEN, 8, &value));
    memcpy(token, value, 8);
    assert_int_equal(first.port % 2, 0);
    assert_int_equal(opened_count, 2);
    alice.port++;
    pass_time(KH_SECONDS(29));
    assert_int_equal(allocate_by_token(token), 0);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_RELAYED_ADDRESS, &second));
    assert_int_equal(second.port, first.port + 1);
    alice.port++;
    assert_int_equal(allocate_by_token(token), 508); /* once */
    pass_time(KH_SECONDS(2));
    assert_int_equal(kh_relay_stats(relay).allocations, 2);
}

static void reserved_port_is_given_up_after_30_seconds(void **state)
{
    const uint8_t *value;
    uint8_t token[8];

    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_EVEN_PORT, 0x80), 0);
    assert_true(kh_stun_find_bytes(&got, KH_STUN_RESERVATION_TOKEN, 8, &value));
    memcpy(token, value, 8);
    pass_time(KH_SECONDS(30));
    assert_int_equal(opened_count, 1);
    alice.port++;
    assert_int_equal(allocate_by_token(token), 508);
}

static void pair_moves_on_when_its_second_port_is_refused(void **state)
{
    struct request *request = begin_allocate();
    uint8_t reserve = 0x80;
    struct kh_datagram datagram = {.from = alice, .to = server, .data = request->data};
    struct kh_stun_message message;
    struct kh_relay_event event;
    uint16_t port;

    (void)state;
    kh_stun_add(&request->writer, KH_STUN_EVEN_PORT, &reserve, 1);
    add_credentials(request);
    datagram.len = kh_stun_finish(&request->writer);
    assert_int_equal(kh_stun_parse(datagram.data, datagram.len, &message), KH_OK);
    kh_relay_handle_message(relay, now, &datagram, &message, NULL);
    assert_true(kh_relay_next_event(relay, &event));
    port = event.addr.port;
    kh_relay_opened(relay, now, &event.addr, true);
    assert_true(kh_relay_next_event(relay, &event));
    assert_int_equal(event.addr.port, port + 1);
    kh_relay_opened(relay, now, &event.addr, false);
    answer.len = 0;
    drain();
    assert_int_equal(closes_seen, 1);
    assert_int_equal(opened_count, 2);
    assert_int_equal(opened[1].port, opened[0].port + 1);
    assert_true(answer.len > 0);
}

static const uint32_t lifetimes[][2] = {{0, 600}, {1, 600}, {700, 700}, {999999, 3600}};

static void lifetime_has_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lifetimes / sizeof *lifetimes; i++) {
        struct request *request = begin_allocate();

        kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, lifetimes[i][0]);
        assert_int_equal(send_signed(request), 0);
        assert_int_equal(lifetime_of_answer(), lifetimes[i][1]);
        alice.port++;
    }
}

static void allocation_ends_with_its_lifetime(void **state)
{
    (void)state;
    allocate();
    pass_time(KH_SECONDS(599));
    assert_int_equal(opened_count, 1);
    pass_time(KH_SECONDS(1));
    assert_int_equal(opened_count, 0);
    assert_int_equal(kh_relay_stats(relay).expiries, 1);
    assert_int_equal(refresh(600), 437);
    allocate();
}

static void refresh_prolongs(void **state)
{
    (void)state;
    allocate();
    pass_time(KH_SECONDS(500));
    assert_int_equal(refresh(1000), 0);
    assert_int_equal(lifetime_of_answer(), 1000);
    pass_time(KH_SECONDS(999));
    assert_int_equal(opened_count, 1);
    pass_time(KH_SECONDS(1));
    assert_int_equal(opened_count, 0);
}

static void refresh_with_zero_gives_back(void **state)
{
    (void)state;
    allocate();
    assert_int_equal(refresh(0), 0);
    assert_int_equal(lifetime_of_answer(), 0);
    assert_int_equal(opened_count, 0);
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    assert_int_equal(refresh(0), 437);
    allocate();
}

/* RFC 8656 8.2: each family has its own lifetime. */
static void refresh_of_one_family(void **state)
{
    struct request *request;
    uint8_t ipv6[4] = {2}, ipv4[4] = {1};

    (void)state;
    assert_int_equal(allocate_with_byte(KH_STUN_ADDITIONAL_ADDRESS_FAMILY, 2), 0);
    request = begin(KH_STUN_REFRESH);
    kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, 0);
    kh_stun_add(&request->writer, KH_STUN_REQUESTED_ADDRESS_FAMILY, ipv6, 4);
    assert_int_equal(send_signed(request), 0);
    assert_int_equal(opened_count, 1);
    assert_int_equal(opened[0].family, KH_FAMILY_IPV4);
    request = begin(KH_STUN_REFRESH);
    kh_stun_add(&request->writer, KH_STUN_REQUESTED_ADDRESS_FAMILY, ipv6, 4);
    assert_int_equal(send_signed(request), 443);
    request = begin(KH_STUN_REFRESH);
    kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, 0);
    kh_stun_add(&request->writer, KH_STUN_REQUESTED_ADDRESS_FAMILY, ipv4, 4);
    assert_int_equal(send_signed(request), 0);
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
}

static void quotas_of_user_prefix_and_all(void **state)
{
    (void)state;
    config.user_max = 1;
    start_relay();
    allocate();
    alice.port++;
    assert_int_equal(send_signed(begin_allocate()), 486);
    config.user_max = 10;
    config.prefix_max = 1;
    start_relay();
    allocate();
    alice.ip[3]++; /* the same /24 */
    assert_int_equal(send_signed(begin_allocate()), 486);
    alice.ip[2]++;
    allocate();
    config.prefix_max = 10;
    config.allocations_max = 1;
    start_relay();
    allocate();
    alice.port++;
    assert_int_equal(send_signed(begin_allocate()), 508);
}

static void many_come_and_go(void **state)
{
    struct kh_relay_event event;

    (void)state;
    for (uint16_t i = 0; i < 500; i++) {
        alice.port = (uint16_t)(1000 + i);
        allocate();
        opened_count = 0;
        if (i % 3 == 0)
            assert_int_equal(refresh(0), 0);
    }
    assert_int_equal(kh_relay_stats(relay).allocations, 333);
    pass_time(KH_SECONDS(600));
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    assert_int_equal(closes_seen, 500);
    assert_false(kh_relay_next_event(relay, &event));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(success_names_relayed_and_mapped_address_and_lifetime),
        TEST(behind_a_nat_the_external_address_is_told),
        TEST(answer_waits_for_the_socket),
        TEST(owner_that_never_answers_costs_the_allocation),
        TEST(refused_port_is_replaced),
        TEST(too_many_refused_ports_are_508),
        TEST(range_without_free_port_is_508),
        TEST(retransmission_is_answered_alike),
        TEST(second_allocate_on_the_5_tuple_is_437),
        TEST(transport_has_to_be_udp),
        TEST(dont_fragment_is_understood),
        TEST(unknown_attribute_is_420_and_named),
        TEST(family_is_chosen),
        TEST(family_that_is_not_served_is_440),
        TEST(both_families_in_one_allocate),
        TEST(half_of_both_families_comes_with_an_error),
        TEST(additional_family_is_ipv6_or_400),
        TEST(contradictory_wishes_are_400),
        TEST(even_port_is_even),
        TEST(reserved_port_is_had_for_the_token),
        TEST(reserved_port_is_given_up_after_30_seconds),
        TEST(pair_moves_on_when_its_second_port_is_refused),
        TEST(lifetime_has_limits),
        TEST(allocation_ends_with_its_lifetime),
        TEST(refresh_prolongs),
        TEST(refresh_with_zero_gives_back),
        TEST(refresh_of_one_family),
        TEST(quotas_of_user_prefix_and_all),
        TEST(many_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
