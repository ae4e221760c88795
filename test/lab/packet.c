/* lab/packet.c - reading and rewriting IPv4 and IPv6 headers with UDP, TCP or ICMP echo inside.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lab/packet.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMP6 58

#define IPV4_HEADER_LEN 20
#define IPV6_HEADER_LEN 40

#define ECHO_REPLY 0
#define ECHO_REQUEST 8
#define ECHO6_REQUEST 128
#define ECHO6_REPLY 129

static uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* The echo's id stands for the port of whoever asks; the other side has port 0. */
static bool parse_echo(struct packet *packet)
{
    const uint8_t *icmp = packet->data + packet->transport_at;
    bool asks = icmp[0] == ECHO_REQUEST || icmp[0] == ECHO6_REQUEST;
    uint16_t id = get_u16(icmp + 4);

    if (packet->protocol == PROTOCOL_ICMP && icmp[0] != ECHO_REQUEST && icmp[0] != ECHO_REPLY)
        return false;
    if (packet->protocol == PROTOCOL_ICMP6 && icmp[0] != ECHO6_REQUEST && icmp[0] != ECHO6_REPLY)
        return false;
    packet->flow.from.port = asks ? id : 0;
    packet->flow.to.port = asks ? 0 : id;
    packet->flow.from.transport = packet->flow.to.transport = PACKET_TRANSPORT_ECHO;
    return true;
}

static bool parse_transport(struct packet *packet)
{
    const uint8_t *header = packet->data + packet->transport_at;
    size_t left = packet->len - packet->transport_at;
    bool is_tcp = packet->protocol == PROTOCOL_TCP;

    if (left < (is_tcp ? 20u : 8u))
        return false;
    if (packet->protocol == PROTOCOL_ICMP || packet->protocol == PROTOCOL_ICMP6)
        return parse_echo(packet);
    if (!is_tcp && packet->protocol != PROTOCOL_UDP)
        return false;
    packet->flow.from.port = get_u16(header);
    packet->flow.to.port = get_u16(header + 2);
    packet->flow.from.transport = packet->flow.to.transport = is_tcp ? KH_TCP : KH_UDP;
    return true;
}

static bool parse_ipv4(struct packet *packet)
{
    const uint8_t *ip = packet->data;
    size_t header_len = (ip[0] & 15u) * 4u;

    if (packet->len < IPV4_HEADER_LEN || header_len < IPV4_HEADER_LEN || packet->len < header_len)
        return false;
    if ((get_u16(ip + 6) & 0x3fffu) != 0) /* a fragment: more to come, or an offset */
        return false;
    packet->protocol = ip[9];
    packet->transport_at = header_len;
    packet->flow.from = kh_addr_from_ip(KH_FAMILY_IPV4, ip + 12, 0);
    packet->flow.to = kh_addr_from_ip(KH_FAMILY_IPV4, ip + 16, 0);
    return parse_transport(packet);
}

static bool parse_ipv6(struct packet *packet)
{
    const uint8_t *ip = packet->data;

    if (packet->len < IPV6_HEADER_LEN)
        return false;
    packet->protocol = ip[6]; /* extension headers do not occur in the lab */
    packet->transport_at = IPV6_HEADER_LEN;
    packet->flow.from = kh_addr_from_ip(KH_FAMILY_IPV6, ip + 8, 0);
    packet->flow.to = kh_addr_from_ip(KH_FAMILY_IPV6, ip + 24, 0);
    return parse_transport(packet);
}

bool packet_parse(struct packet *packet)
{
    if (packet->len == 0)
        return false;
    switch (packet->data[0] >> 4) {
    case 4:
        return parse_ipv4(packet);
    case 6:
        return parse_ipv6(packet);
    default:
        return false;
    }
}

/* Replaces len bytes (an even number) and mends the checksum over them (RFC 1624, equation 3). */
static void replace(uint8_t *at, const uint8_t *with, size_t len, uint8_t *checksum)
{
    uint32_t sum = (uint16_t)~get_u16(checksum);

    for (size_t i = 0; i < len; i += 2) {
        sum += (uint16_t)~get_u16(at + i);
        sum += get_u16(with + i);
    }
    while (sum >> 16 != 0)
        sum = (sum & 0xffffu) + (sum >> 16);
    put_u16(checksum, (uint16_t)~sum);
}

/* Replaces bytes that two checksums cover: the IPv4 header's and the transport's. */
static void replace_ip(struct packet *packet, size_t at, const uint8_t *ip, uint8_t *checksum)
{
    uint8_t unused[2] = {0, 0};
    uint8_t before[4];

    memcpy(before, packet->data + at, sizeof(before));
    replace(packet->data + at, ip, 4, packet->data + 10);
    /* ICMP's checksum has no pseudo-header, so it does not cover addresses. */
    replace(before, ip, 4, packet->protocol == PROTOCOL_ICMP ? unused : checksum);
    memcpy(packet->data + at, ip, 4);
}

static void rewrite_port(struct packet *packet, size_t at, uint16_t port, uint8_t *checksum)
{
    uint8_t with[2];

    put_u16(with, port);
    replace(packet->data + at, with, sizeof(with), checksum);
    memcpy(packet->data + at, with, sizeof(with));
}

void packet_rewrite(struct packet *packet, const struct nat_flow *flow)
{
    uint8_t *transport = packet->data + packet->transport_at;
    bool is_icmp = packet->protocol == PROTOCOL_ICMP || packet->protocol == PROTOCOL_ICMP6;
    size_t checksum_at = packet->protocol == PROTOCOL_TCP ? 16 : is_icmp ? 2 : 6;
    uint8_t *checksum = transport + checksum_at;
    bool is_unsummed = packet->protocol == PROTOCOL_UDP && get_u16(checksum) == 0;

    if (packet->flow.from.family == KH_FAMILY_IPV4) {
        replace_ip(packet, 12, flow->from.ip, checksum);
        replace_ip(packet, 16, flow->to.ip, checksum);
    }
    if (is_icmp) {
        rewrite_port(packet, packet->transport_at + 4, (uint16_t)(flow->from.port + flow->to.port),
                     checksum);
    } else {
        rewrite_port(packet, packet->transport_at, flow->from.port, checksum);
        rewrite_port(packet, packet->transport_at + 2, flow->to.port, checksum);
    }
    if (is_unsummed)
        put_u16(checksum, 0); /* RFC 768: zero says there is none, and there still is none */
    else if (packet->protocol == PROTOCOL_UDP && get_u16(checksum) == 0)
        put_u16(checksum, 0xffff);
    packet->flow = *flow;
}
