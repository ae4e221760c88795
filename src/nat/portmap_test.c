/* nat/portmap_test.c - a mapping is asked for, kept, lost, found again and given back.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "nat/portmap.h"
#include "nat/wire.h"

#define LOCAL_PORT 0x1234
#define EXTERNAL_PORT 0x4321

static struct kh_nat_portmap *map;
static kh_time now;
static uint8_t nonce[KH_NAT_NONCE_LEN]; /* of the latest PCP request */
static unsigned pcp_count, pmp_address_count, pmp_map_count;
static uint32_t asked_lifetime_s;
static uint16_t asked_external_port;

static int set_up(void **state)
{
    const struct kh_nat_portmap_config config = {.local = kh_addr_ipv4(192, 168, 1, 2, LOCAL_PORT),
                                                 .gateway = kh_addr_ipv4(192, 168, 1, 1, 0),
                                                 .seed = {7}};

    (void)state;
    now = KH_SECONDS(1000);
    return kh_nat_portmap_new(&map, &config) == KH_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kh_nat_portmap_free(map);
    return 0;
}

static uint32_t u32_at(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

/* Takes what it sends and counts it. */
static void drain_requests(void)
{
    struct kh_datagram out;

    pcp_count = pmp_address_count = pmp_map_count = 0;
    while (kh_nat_portmap_next_transmit(map, &out)) {
        assert_int_equal(out.to.port, KH_NAT_PORTMAP_PORT);
        assert_int_equal(out.from.port, LOCAL_PORT);
        if (out.len == KH_NAT_PCP_MAP_LEN) {
            pcp_count++;
            memcpy(nonce, out.data + 24, sizeof nonce);
            asked_lifetime_s = u32_at(out.data + 4);
            asked_external_port = (uint16_t)(u32_at(out.data + 40) & 0xFFFF);
        } else if (out.len == KH_NAT_PMP_MAP_LEN) {
            pmp_map_count++;
            asked_lifetime_s = u32_at(out.data + 8);
        } else {
            assert_int_equal(out.len, KH_NAT_PMP_ADDRESS_LEN);
            pmp_address_count++;
        }
    }
}

static void expect_requests(unsigned pcp_maps, unsigned pmp_maps)
{
    drain_requests();
    assert_int_equal(pcp_count, pcp_maps);
    assert_int_equal(pmp_map_count, pmp_maps);
}

static void expect_event(enum kh_nat_portmap_event_kind kind)
{
    struct kh_nat_portmap_event event;

    assert_true(kh_nat_portmap_next_event(map, &event));
    assert_int_equal(event.kind, kind);
}

static void expect_no_event(void)
{
    struct kh_nat_portmap_event event;

    assert_false(kh_nat_portmap_next_event(map, &event));
}

static void expect_mapped(uint8_t last, uint16_t port, unsigned lifetime_s)
{
    const struct kh_addr external = kh_addr_ipv4(11, 0, 0, last, port);
    struct kh_nat_portmap_event event;

    assert_true(kh_nat_portmap_next_event(map, &event));
    assert_int_equal(event.kind, KH_NAT_PORTMAP_EVENT_MAPPED);
    assert_true(kh_addr_equal(&event.external, &external));
    assert_int_equal(event.lifetime, KH_SECONDS((kh_duration)lifetime_s));
}

static void receive(const uint8_t *data, size_t len)
{
    const struct kh_datagram in = {.from = kh_addr_ipv4(192, 168, 1, 1, KH_NAT_PORTMAP_PORT),
                                   .to = kh_addr_ipv4(192, 168, 1, 2, LOCAL_PORT),
                                   .data = data,
                                   .len = len};

    assert_true(kh_nat_portmap_handle_datagram(map, now, &in));
}

struct answer {
    uint8_t result;
    uint32_t lifetime_s;
    uint32_t epoch_s;
    uint8_t last; /* of the external address 11.0.0.x */
    uint16_t external_port;
};

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void answer_pcp(struct answer answer)
{
    uint8_t data[KH_NAT_PCP_MAP_LEN] = {2, 0x81, 0, answer.result};

    put_u32(data + 4, answer.lifetime_s);
    put_u32(data + 8, answer.epoch_s);
    memcpy(data + 24, nonce, sizeof nonce);
    data[36] = 17;
    put_u32(data + 40, (uint32_t)LOCAL_PORT << 16 | answer.external_port);
    put_u32(data + 52, 0xFFFF);
    put_u32(data + 56, UINT32_C(11) << 24 | answer.last);
    receive(data, sizeof data);
}

static void answer_pmp(struct answer answer)
{
    uint8_t address[12] = {0, 128, 0, answer.result};
    uint8_t data[16] = {0, 129, 0, answer.result};

    put_u32(address + 4, answer.epoch_s);
    put_u32(address + 8, UINT32_C(11) << 24 | answer.last);
    receive(address, sizeof address);
    drain_requests();
    put_u32(data + 4, answer.epoch_s);
    put_u32(data + 8, (uint32_t)LOCAL_PORT << 16 | answer.external_port);
    put_u32(data + 12, answer.lifetime_s);
    receive(data, sizeof data);
}

static void pass_to_timeout(void)
{
    assert_true(kh_nat_portmap_timeout(map) != KH_NEVER);
    now = kh_nat_portmap_timeout(map);
    kh_nat_portmap_handle_timeout(map, now);
}

/* A mapping by PCP of ten minutes, granted at epoch 100. */
static void hold(void)
{
    kh_nat_portmap_start(map, now);
    expect_requests(1, 0);
    answer_pcp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
    expect_no_event();
    expect_requests(0, 0);
}

static void pcp_maps_at_the_first_answer(void **state)
{
    (void)state;
    hold();
    assert_int_equal(asked_lifetime_s, 600);
    assert_int_equal(asked_external_port, 0);
    assert_int_equal(kh_nat_portmap_stats(map).grants, 1);
}

static void nat_pmp_follows_where_pcp_is_dropped(void **state)
{
    (void)state;
    kh_nat_portmap_start(map, now);
    expect_requests(1, 0);
    pass_to_timeout();
    assert_int_equal(now, KH_SECONDS(1000) + KH_MILLISECONDS(250));
    expect_requests(1, 1);
    answer_pmp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
}

/* RFC 6887 appendix A, RFC 6886 3.5 */
static void nat_pmp_follows_at_once_where_pcp_is_refused(void **state)
{
    static const uint8_t unsupported[] = {0, 129, 0, 1, 0, 0, 0, 9};

    (void)state;
    kh_nat_portmap_start(map, now);
    drain_requests();
    receive(unsupported, sizeof unsupported);
    expect_requests(0, 1);
    pass_to_timeout();
    expect_requests(0, 1); /* and PCP is asked no more */
    answer_pmp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
}

/* A PCP server that does not know NAT-PMP names its own version: RFC 6887 9. */
static void a_refusal_of_nat_pmp_leaves_pcp_alone(void **state)
{
    uint8_t unsupported[24] = {2, 0x81, 0, 1};

    (void)state;
    kh_nat_portmap_start(map, now);
    drain_requests();
    pass_to_timeout();
    expect_requests(1, 1);
    receive(unsupported, sizeof unsupported);
    expect_no_event();
    pass_to_timeout();
    expect_requests(1, 0);
    answer_pcp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
}

static void silence_is_reported_within_a_second_and_late_answers_count(void **state)
{
    (void)state;
    kh_nat_portmap_start(map, now);
    drain_requests();
    for (int i = 0; i < 3; i++) {
        expect_no_event();
        pass_to_timeout();
        drain_requests();
    }
    assert_int_equal(now, KH_SECONDS(1001));
    expect_event(KH_NAT_PORTMAP_EVENT_NONE);
    now += KH_SECONDS(1);
    answer_pcp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
}

/* RFC 6887 7.4: the lifetime of an error is when to ask again; NAT-PMP has none. */
static void errors_of_both_end_the_search_until_later(void **state)
{
    static const uint8_t no_resources[] = {0, 129, 0, 4, 0, 0, 0, 1};

    (void)state;
    kh_nat_portmap_start(map, now);
    drain_requests();
    answer_pcp((struct answer){.result = 8, .lifetime_s = 90, .epoch_s = 1}); /* NO_RESOURCES */
    expect_no_event();
    expect_requests(0, 1);
    receive(no_resources, sizeof no_resources);
    expect_event(KH_NAT_PORTMAP_EVENT_NONE);
    expect_no_event();
    assert_int_equal(kh_nat_portmap_timeout(map), now + KH_SECONDS(90));
    pass_to_timeout();
    expect_requests(1, 0);
}

/* RFC 6887 11.2.1: between 1/2 and 5/8 of what is left, again and again, with the same nonce. */
static void renewal_comes_at_half_life_and_repeats(void **state)
{
    uint8_t first[KH_NAT_NONCE_LEN];
    kh_time granted = now;

    (void)state;
    hold();
    memcpy(first, nonce, sizeof first);
    pass_to_timeout();
    assert_in_range(now - granted, KH_SECONDS(300), KH_SECONDS(375));
    expect_requests(1, 0);
    assert_memory_equal(nonce, first, sizeof first);
    assert_int_equal(asked_external_port, EXTERNAL_PORT);
    pass_to_timeout();
    assert_in_range(now - granted, KH_SECONDS(412), KH_SECONDS(516));
    expect_requests(1, 0);
    answer_pcp((struct answer){0, 600, 100 + (uint32_t)((now - granted) / KH_SECONDS(1)), 1,
                               EXTERNAL_PORT});
    expect_no_event(); /* it is the same */
    assert_in_range(kh_nat_portmap_timeout(map) - now, KH_SECONDS(300), KH_SECONDS(375));
}

static void another_address_is_told(void **state)
{
    (void)state;
    hold();
    pass_to_timeout();
    drain_requests();
    answer_pcp((struct answer){0, 600, 430, 9, EXTERNAL_PORT + 1});
    expect_mapped(9, EXTERNAL_PORT + 1, 600);
    expect_no_event();
}

static void an_unrenewed_mapping_is_lost_and_sought_anew(void **state)
{
    kh_time granted = now;
    int rounds = 0;

    (void)state;
    hold();
    while (now < granted + KH_SECONDS(600)) {
        expect_no_event();
        pass_to_timeout();
        if (now < granted + KH_SECONDS(600))
            expect_requests(1, 0);
        assert_true(rounds++ < 10); /* never more often than every four seconds */
    }
    expect_event(KH_NAT_PORTMAP_EVENT_LOST);
    expect_no_event();
    expect_requests(1, 0);
    answer_pcp((struct answer){0, 600, 5, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
}

/* RFC 6887 8.5 and 14.1: the gateway started over. */
static void lost_state_is_recovered_at_once(void **state)
{
    uint8_t announce[24] = {2, 0x80};

    (void)state;
    hold();
    now += KH_SECONDS(60);
    announce[11] = 160; /* as it should be */
    receive(announce, sizeof announce);
    expect_requests(0, 0);
    announce[11] = 1;
    receive(announce, sizeof announce);
    expect_requests(1, 0);
    announce[11] = 0; /* again and again: no storm */
    for (int i = 0; i < 100; i++) {
        announce[11] = i % 2 ? 0 : 200;
        receive(announce, sizeof announce);
        expect_requests(0, 0);
    }
    expect_no_event();
}

static void the_mapping_is_deleted_on_release(void **state)
{
    (void)state;
    hold();
    kh_nat_portmap_release(map, now);
    expect_requests(1, 0);
    assert_int_equal(asked_lifetime_s, 0);
    assert_int_equal(asked_external_port, 0); /* RFC 6887 15.1 */
    expect_no_event();
    answer_pcp((struct answer){0, 600, 100, 1, EXTERNAL_PORT}); /* late, to an earlier request */
    expect_no_event();
    pass_to_timeout();
    expect_requests(1, 0); /* sent again */
    answer_pcp((struct answer){0, 0, 100, 1, 0});
    expect_event(KH_NAT_PORTMAP_EVENT_RELEASED);
    assert_int_equal(kh_nat_portmap_timeout(map), KH_NEVER);
}

static void release_waits_a_second_at_most(void **state)
{
    kh_time begin;

    (void)state;
    hold();
    begin = now;
    kh_nat_portmap_release(map, now);
    drain_requests();
    while (kh_nat_portmap_timeout(map) != KH_NEVER) {
        pass_to_timeout();
        drain_requests();
    }
    assert_int_equal(now - begin, KH_SECONDS(1));
    expect_event(KH_NAT_PORTMAP_EVENT_RELEASED);
}

/* Asked, but not answered yet: what may have been granted is taken back. */
static void release_while_asking_deletes_too(void **state)
{
    (void)state;
    kh_nat_portmap_start(map, now);
    drain_requests();
    kh_nat_portmap_release(map, now);
    expect_requests(1, 0);
    assert_int_equal(asked_lifetime_s, 0);
    expect_event(KH_NAT_PORTMAP_EVENT_RELEASED);
}

static void what_others_send_is_not_taken(void **state)
{
    const struct kh_datagram foreign = {.from = kh_addr_ipv4(192, 168, 1, 9, KH_NAT_PORTMAP_PORT),
                                        .to = kh_addr_ipv4(192, 168, 1, 2, LOCAL_PORT),
                                        .data = (const uint8_t[]){0, 129},
                                        .len = 2};

    (void)state;
    kh_nat_portmap_start(map, now);
    drain_requests();
    assert_false(kh_nat_portmap_handle_datagram(map, now, &foreign));
    nonce[0] ^= 1;
    answer_pcp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_no_event();
    nonce[0] ^= 1;
    answer_pcp((struct answer){0, 600, 100, 1, 0});           /* no port */
    answer_pcp((struct answer){0, 1, 100, 1, EXTERNAL_PORT}); /* too short to be kept */
    expect_no_event();
    assert_int_equal(kh_nat_portmap_stats(map).dropped_malformed, 1);
    answer_pcp((struct answer){0, 600, 100, 1, EXTERNAL_PORT});
    expect_mapped(1, EXTERNAL_PORT, 600);
    for (uint8_t i = 2; i < 200; i++) { /* a flood that nobody asked for */
        answer_pcp((struct answer){0, 600, 100, i, EXTERNAL_PORT});
        expect_no_event();
        expect_requests(0, 0);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(pcp_maps_at_the_first_answer),
        CASE(nat_pmp_follows_where_pcp_is_dropped),
        CASE(nat_pmp_follows_at_once_where_pcp_is_refused),
        CASE(a_refusal_of_nat_pmp_leaves_pcp_alone),
        CASE(silence_is_reported_within_a_second_and_late_answers_count),
        CASE(errors_of_both_end_the_search_until_later),
        CASE(renewal_comes_at_half_life_and_repeats),
        CASE(another_address_is_told),
        CASE(an_unrenewed_mapping_is_lost_and_sought_anew),
        CASE(lost_state_is_recovered_at_once),
        CASE(the_mapping_is_deleted_on_release),
        CASE(release_waits_a_second_at_most),
        CASE(release_while_asking_deletes_too),
        CASE(what_others_send_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
