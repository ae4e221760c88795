/* lab/packet_test.c - rewritten packets carry the new addresses and right checksums.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lab/packet.h"

#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"

#define UDP 17
#define TCP 6
#define ICMP 1

static uint16_t sum_of(const uint8_t *data, size_t len, uint32_t sum)
{
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)(data[i] << 8 | data[i + 1]);
    if (len % 2 != 0)
        sum += (uint32_t)(data[len - 1] << 8);
    while (sum >> 16 != 0)
        sum = (sum & 0xffffu) + (sum >> 16);
    return (uint16_t)sum;
}

/* Sums pseudo-header and payload: 0xffff if the transport's checksum is right. */
static uint16_t transport_sum(const struct packet *packet)
{
    uint16_t len = (uint16_t)(packet->len - 20);
    uint32_t pseudo = 0;

    if (packet->protocol != ICMP)
        pseudo = (uint32_t)sum_of(packet->data + 12, 8, 0) + packet->protocol + len;
    return sum_of(packet->data + 20, len, pseudo);
}

/* 192.168.1.2:5000 to 203.0.113.1:3478 with an odd number of payload bytes. */
static struct packet packet_of(uint8_t protocol)
{
    struct packet packet = {.len = 20 + 20 + 5, .protocol = protocol};
    struct kh_writer writer = kh_writer_to(packet.data, sizeof(packet.data));
    size_t checksum_at = 20 + (protocol == TCP ? 16 : protocol == ICMP ? 2 : 6);

    kh_write_u16(&writer, 0x4500);
    kh_write_u16(&writer, (uint16_t)packet.len);
    kh_write_u32(&writer, 0x12344000);
    kh_write_u16(&writer, (uint16_t)(64 << 8 | protocol));
    kh_write_u16(&writer, 0);
    kh_write_bytes(&writer, (const uint8_t[]){192, 168, 1, 2, 203, 0, 113, 1}, 8);
    if (protocol == ICMP) {
        kh_write_u32(&writer, 0x08000000);
        kh_write_u32(&writer, 5000u << 16 | 1);
    } else {
        kh_write_u16(&writer, 5000);
        kh_write_u16(&writer, 3478);
        kh_write_u32(&writer, 25u << 16);
    }
    kh_write_bytes(&writer, "seventeen bytes..", 17);
    kh_write_u16_at(&writer, 10, (uint16_t)~sum_of(packet.data, 20, 0));
    kh_write_u16_at(&writer, checksum_at, 0);
    kh_write_u16_at(&writer, checksum_at, (uint16_t)~transport_sum(&packet));
    assert_int_equal(transport_sum(&packet), 0xffff);
    return packet;
}

static void addresses_are_rewritten_and_sums_stay_right(void **state)
{
    static const uint8_t protocols[] = {UDP, TCP, ICMP};

    (void)state;
    for (size_t i = 0; i < sizeof(protocols); i++) {
        struct packet packet = packet_of(protocols[i]);
        struct nat_flow flow;

        assert_true(packet_parse(&packet));
        assert_int_equal(packet.flow.from.port, 5000);
        assert_int_equal(packet.flow.to.port, protocols[i] == ICMP ? 0 : 3478);
        flow = packet.flow;
        flow.from = kh_addr_ipv4(198, 51, 100, 7, 61234);
        flow.from.transport = packet.flow.from.transport;
        packet_rewrite(&packet, &flow);
        assert_int_equal(sum_of(packet.data, 20, 0), 0xffff);
        assert_int_equal(transport_sum(&packet), 0xffff);
        assert_true(packet_parse(&packet));
        assert_true(kh_addr_equal(&packet.flow.from, &flow.from));
        assert_true(kh_addr_equal(&packet.flow.to, &flow.to));
    }
}

static void absent_udp_checksum_stays_absent(void **state)
{
    struct packet packet = packet_of(UDP);
    struct nat_flow flow;

    (void)state;
    packet.data[26] = packet.data[27] = 0;
    assert_true(packet_parse(&packet));
    flow = packet.flow;
    flow.to.port = 9;
    packet_rewrite(&packet, &flow);
    assert_int_equal(packet.data[26] | packet.data[27], 0);
}

static void echo_reply_names_the_asker_by_its_id(void **state)
{
    struct packet packet = packet_of(ICMP);

    (void)state;
    packet.data[20] = 0;
    assert_true(packet_parse(&packet));
    assert_int_equal(packet.flow.from.port, 0);
    assert_int_equal(packet.flow.to.port, 5000);
    packet.data[20] = 3; /* destination unreachable */
    assert_false(packet_parse(&packet));
}

static void what_is_cut_or_a_fragment_is_refused(void **state)
{
    struct packet whole = packet_of(TCP), packet = whole;

    (void)state;
    for (size_t len = 0; len < 40; len++) {
        packet = whole;
        packet.len = len;
        assert_false(packet_parse(&packet));
    }
    packet = whole;
    packet.data[6] = 0x20;
    assert_false(packet_parse(&packet));
    packet = whole;
    packet.data[7] = 1;
    assert_false(packet_parse(&packet));
    packet = whole;
    packet.data[0] = 0x4f; /* options longer than the packet's first 45 bytes */
    assert_false(packet_parse(&packet));
    packet.data[0] = 0x55;
    assert_false(packet_parse(&packet));
}

static void ipv6_ports_are_found(void **state)
{
    struct packet packet = {.len = 48};
    struct kh_addr expected;

    (void)state;
    packet.data[0] = 0x60;
    packet.data[6] = UDP;
    memcpy(packet.data + 8, (const uint8_t[]){0x20, 1, 0xd, 0xb8}, 4);
    packet.data[23] = 2;
    packet.data[40] = 5000 >> 8;
    packet.data[41] = 5000 & 255;
    assert_true(packet_parse(&packet));
    assert_int_equal(kh_addr_parse("[2001:db8::2]:5000", 0, &expected), KH_OK);
    assert_true(kh_addr_equal(&packet.flow.from, &expected));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_rewritten_and_sums_stay_right),
        cmocka_unit_test(absent_udp_checksum_stays_absent),
        cmocka_unit_test(echo_reply_names_the_asker_by_its_id),
        cmocka_unit_test(what_is_cut_or_a_fragment_is_refused),
        cmocka_unit_test(ipv6_ports_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
