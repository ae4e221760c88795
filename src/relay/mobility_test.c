/* relay/mobility_test.c - tickets: who may move an allocation, and when it has moved (RFC 8016).
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/client_test.h"

/* "2000000000:mallory" has this password by the same secret, by openssl(1). */
#define MALLORY "2000000000:mallory"
#define MALLORYS_PASSWORD "gU01cTI766XOp0TlQRTI3P0zaI0="
#define CHANNEL 0x4001

static uint8_t ticket[64];
static size_t ticket_len;
static struct kh_addr relayed, elsewhere;

static void take_ticket(void)
{
    struct kh_stun_attribute attribute;

    assert_true(kh_stun_find(&got, KH_STUN_MOBILITY_TICKET, &attribute));
    assert_true(attribute.len > 0 && attribute.len <= sizeof ticket);
    memcpy(ticket, attribute.value, attribute.len);
    ticket_len = attribute.len;
}

static void allocate_mobile(void)
{
    struct request *request = begin_allocate();

    kh_stun_add(&request->writer, KH_STUN_MOBILITY_TICKET, NULL, 0);
    assert_int_equal(send_signed(request), 0);
    assert_true(kh_stun_find_addr(&got, KH_STUN_XOR_RELAYED_ADDRESS, &relayed));
    take_ticket();
    assert_int_equal(permit(&bob), 0);
}

static int set_up_mobile(void **state)
{
    set_up(state);
    elsewhere = addr_of("192.0.2.77:7000");
    allocate_mobile();
    return 0;
}

static struct request *begin_move(const struct kh_addr *from)
{
    struct request *request = begin(KH_STUN_REFRESH);

    request->from = *from;
    kh_stun_add(&request->writer, KH_STUN_MOBILITY_TICKET, ticket, ticket_len);
    return request;
}

static unsigned move_to(const struct kh_addr *from)
{
    return send_signed(begin_move(from));
}

/* Where what Bob says arrives. */
static struct kh_addr heard_at(void)
{
    give(&bob, &relayed, "are you there?", 14);
    return answer.len == 0 ? (struct kh_addr){0} : answer.to;
}

static void assert_heard_at(const struct kh_addr *where)
{
    struct kh_addr at = heard_at();

    assert_true(kh_addr_equal(&at, where));
}

static void indicate_from(const struct kh_addr *from)
{
    struct kh_addr before = alice;

    alice = *from;
    indicate(&bob, "I am here");
    alice = before;
}

static void no_ticket_is_given_unasked(void **state)
{
    struct kh_stun_attribute attribute;

    (void)state;
    allocate();
    assert_false(kh_stun_find(&got, KH_STUN_MOBILITY_TICKET, &attribute));
}

/* RFC 8016 3.2.2: the old way stays until the client says something by the new one. */
static void an_allocation_moves_with_its_first_word(void **state)
{
    (void)state;
    assert_heard_at(&alice);
    assert_int_equal(move_to(&elsewhere), 0);
    assert_heard_at(&alice);
    indicate_from(&elsewhere);
    assert_int_equal(answer.len, 9); /* to Bob, by the permission of before */
    assert_heard_at(&elsewhere);
    assert_int_equal(kh_relay_stats(relay).allocations, 1);
    assert_int_equal(kh_relay_stats(relay).moves, 1);
    assert_int_equal(closes_seen, 0);
    assert_int_equal(refresh(600), 437); /* the old way is nobody's now */
    indicate(&bob, "by the old way");
    assert_int_equal(answer.len, 0);
}

static void the_old_way_carries_both_ways_until_then(void **state)
{
    (void)state;
    assert_int_equal(move_to(&elsewhere), 0);
    indicate(&bob, "still here");
    assert_int_equal(answer.len, 10);
    assert_heard_at(&alice);
    assert_int_equal(refresh(600), 0);
    assert_heard_at(&alice);
}

static void a_channel_moves_along_and_settles_it(void **state)
{
    static const uint8_t data[] = {CHANNEL >> 8, CHANNEL & 0xff, 0, 2, 'H', 'i', 0, 0};

    (void)state;
    assert_int_equal(bind_channel(CHANNEL, &bob), 0);
    assert_int_equal(move_to(&elsewhere), 0);
    give(&elsewhere, &server, data, sizeof data);
    assert_int_equal(answer.len, 2);
    assert_heard_at(&elsewhere);
    assert_int_equal(answer.len, 4 + 14); /* its channel moved along */
    alice = elsewhere;
    assert_int_equal(send_signed(begin_allocate()), 437); /* it has one there */
}

static void a_permission_settles_a_move_too(void **state)
{
    struct kh_addr carol = addr_of("192.0.2.10:6000");

    (void)state;
    assert_int_equal(move_to(&elsewhere), 0);
    alice = elsewhere;
    assert_int_equal(permit(&carol), 0);
    assert_heard_at(&elsewhere);
}

static void a_plain_refresh_settles_a_move_too(void **state)
{
    (void)state;
    assert_int_equal(move_to(&elsewhere), 0);
    alice = elsewhere;
    assert_int_equal(refresh(600), 0);
    assert_heard_at(&elsewhere);
}

static void each_move_has_its_own_ticket(void **state)
{
    uint8_t first[sizeof ticket];
    struct kh_addr third = addr_of("192.0.2.78:7000");

    (void)state;
    memcpy(first, ticket, ticket_len);
    assert_int_equal(move_to(&elsewhere), 0);
    take_ticket();
    assert_memory_not_equal(first, ticket, ticket_len);
    indicate_from(&elsewhere);
    assert_int_equal(move_to(&third), 0);
    take_ticket();
    indicate_from(&third);
    assert_heard_at(&third);
    memcpy(ticket, first, ticket_len); /* used already */
    assert_int_equal(move_to(&alice), 400);
    assert_heard_at(&third);
}

/* RFC 8016 3.2.2: the old ticket is good for retransmissions, and they are answered alike. */
static void a_repeated_move_is_answered_again(void **state)
{
    struct request *request = begin_move(&elsewhere);
    uint8_t first[256];
    size_t len;

    (void)state;
    assert_int_equal(send_signed(request), 0);
    len = answer.len;
    memcpy(first, answer.data, len);
    give(&elsewhere, &server, request->data, kh_stun_finish(&request->writer));
    assert_int_equal(answer.len, len);
    assert_memory_equal(answer.data, first, len);
    assert_int_equal(kh_relay_stats(relay).moves, 1);
}

static void a_ticket_is_nothing_without_the_credentials(void **state)
{
    struct request *request;

    (void)state;
    assert_int_equal(send_bare(begin_move(&elsewhere)), 401);
    request = begin_move(&elsewhere);
    request->password = "wrong";
    assert_int_equal(send_signed(request), 401);
    request = begin_move(&elsewhere);
    request->username = MALLORY;
    request->password = MALLORYS_PASSWORD;
    assert_int_equal(send_signed(request), 441); /* RFC 8656 5 */
    indicate_from(&elsewhere);
    assert_int_equal(answer.len, 0);
    assert_heard_at(&alice);
    assert_int_equal(kh_relay_stats(relay).moves, 0);
}

/* As somebody on the way could who saw it: the nonce is good where it came from only. */
static void a_recorded_move_moves_nothing_elsewhere(void **state)
{
    struct request *request = begin_move(&elsewhere);
    struct kh_addr mallory = addr_of("198.51.100.66:6666");
    uint8_t recorded[sizeof request->data];
    unsigned code;
    size_t len;

    (void)state;
    assert_int_equal(send_signed(request), 0);
    len = kh_stun_finish(&request->writer);
    memcpy(recorded, request->data, len);
    indicate_from(&elsewhere);
    give(&mallory, &server, recorded, len);
    assert_true(answer.len > 0);
    assert_int_equal(kh_stun_parse(answer.data, answer.len, &got), KH_OK);
    assert_true(kh_stun_find_error(&got, &code, NULL));
    assert_int_equal(code, 438);
    give(&alice, &server, recorded, len);
    assert_heard_at(&elsewhere);
    assert_int_equal(kh_relay_stats(relay).moves, 1);
}

static void what_is_no_ticket_is_400(void **state)
{
    struct request *request = begin_allocate();

    (void)state;
    request->from = elsewhere;
    kh_stun_add(&request->writer, KH_STUN_MOBILITY_TICKET, ticket, ticket_len);
    assert_int_equal(send_signed(request), 400); /* RFC 8016 3.1.1: none can be brought to it */
    for (size_t i = 0; i < ticket_len; i++) {
        ticket[i] ^= 1;
        assert_int_equal(move_to(&elsewhere), 400);
        ticket[i] ^= 1;
    }
    ticket_len--;
    assert_int_equal(move_to(&elsewhere), 400);
    ticket_len = 0;
    assert_int_equal(move_to(&elsewhere), 400);
    assert_heard_at(&alice);
}

/* RFC 8016 3.2.2: from where it is there is nothing to move. */
static void a_ticket_from_the_old_way_is_400(void **state)
{
    (void)state;
    assert_int_equal(move_to(&alice), 400);
    assert_int_equal(refresh(600), 0);
}

static void a_ticket_ends_with_its_allocation(void **state)
{
    (void)state;
    assert_int_equal(refresh(0), 0);
    assert_int_equal(move_to(&elsewhere), 400);
    allocate_mobile();
    pass_time(KH_SECONDS(601));
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    assert_int_equal(move_to(&elsewhere), 400);
}

static void a_move_can_be_the_end_of_it(void **state)
{
    struct request *request = begin_move(&elsewhere);

    (void)state;
    kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, 0);
    assert_int_equal(send_signed(request), 0);
    assert_int_equal(kh_relay_stats(relay).allocations, 0);
    assert_int_equal(closes_seen, 1);
    allocate(); /* and nothing is left of it under its 5-tuples */
}

static void who_moves_before_it_settled_is_where_it_came_last(void **state)
{
    struct kh_addr third = addr_of("192.0.2.78:7000");

    (void)state;
    assert_int_equal(move_to(&elsewhere), 0);
    take_ticket();
    assert_int_equal(move_to(&third), 0);
    indicate_from(&elsewhere);
    assert_int_equal(answer.len, 0);
    assert_heard_at(&alice);
    indicate_from(&third);
    assert_heard_at(&third);
}

static void a_move_counts_where_it_goes(void **state)
{
    struct request *request;

    (void)state;
    config.prefix_max = 1;
    start_relay();
    allocate_mobile();
    request = begin_allocate();
    request->from = addr_of("192.0.2.76:7000");
    assert_int_equal(send_signed(request), 0);
    assert_int_equal(move_to(&elsewhere), 486); /* its prefix is full */
    assert_heard_at(&alice);
    elsewhere = addr_of("192.0.3.77:7000");
    assert_int_equal(move_to(&elsewhere), 0);
    request = begin_allocate();
    request->from = addr_of("198.51.100.9:5000"); /* and where it came from there is room again */
    assert_int_equal(send_signed(request), 0);
}

static void many_that_move_keep_the_table_whole(void **state)
{
    struct kh_addr from = addr_of("198.51.101.1:1000"), to = addr_of("192.0.2.77:1000");
    uint8_t tickets[100][64];

    (void)state;
    config.prefix_max = 200;
    for (size_t i = 0; i < 100; i++) {
        struct request *request = begin_allocate();

        opened_count = 0;
        request->from = from;
        request->from.port = (uint16_t)(from.port + i);
        kh_stun_add(&request->writer, KH_STUN_MOBILITY_TICKET, NULL, 0);
        assert_int_equal(send_signed(request), 0);
        take_ticket();
        memcpy(tickets[i], ticket, ticket_len);
    }
    for (size_t i = 0; i < 100; i++) {
        struct kh_addr there = to;

        there.port = (uint16_t)(to.port + i);
        memcpy(ticket, tickets[i], ticket_len);
        assert_int_equal(move_to(&there), 0);
    }
    for (size_t i = 0; i < 100; i++) {
        struct request *request = begin(KH_STUN_REFRESH);

        request->from = i % 2 == 0 ? from : to;
        request->from.port = (uint16_t)(request->from.port + i);
        kh_stun_add_u32(&request->writer, KH_STUN_LIFETIME, 0);
        assert_int_equal(send_signed(request), 0);
    }
    assert_int_equal(kh_relay_stats(relay).allocations, 1); /* of the set-up */
    assert_heard_at(&alice);
}

static void the_end_of_the_old_connection_settles_a_move(void **state)
{
    (void)state;
    assert_int_equal(move_to(&elsewhere), 0);
    answer.len = 0;
    kh_relay_disconnected(relay, now, &alice, &server);
    drain();
    assert_heard_at(&elsewhere);
    assert_int_equal(kh_relay_stats(relay).allocations, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_mobile, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_ticket_is_given_unasked, set_up, tear_down),
        TEST(an_allocation_moves_with_its_first_word),
        TEST(the_old_way_carries_both_ways_until_then),
        TEST(a_channel_moves_along_and_settles_it),
        TEST(a_permission_settles_a_move_too),
        TEST(a_plain_refresh_settles_a_move_too),
        TEST(each_move_has_its_own_ticket),
        TEST(a_repeated_move_is_answered_again),
        TEST(a_ticket_is_nothing_without_the_credentials),
        TEST(a_recorded_move_moves_nothing_elsewhere),
        TEST(what_is_no_ticket_is_400),
        TEST(a_ticket_from_the_old_way_is_400),
        TEST(a_ticket_ends_with_its_allocation),
        TEST(a_move_can_be_the_end_of_it),
        TEST(who_moves_before_it_settled_is_where_it_came_last),
        TEST(a_move_counts_where_it_goes),
        TEST(many_that_move_keep_the_table_whole),
        TEST(the_end_of_the_old_connection_settles_a_move),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
