/* nat/wire.c - PCP's MAP (RFC 6887) and NAT-PMP (RFC 6886) to and from bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/wire.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define RESPONSE 0x80
#define PROTOCOL_UDP 17
#define PCP_HEADER_LEN 24
#define PCP_MAX 1100 /* RFC 6887 7 */
#define IPV6_LEN 16

enum { PMP_ADDRESS = 0, PMP_MAP_UDP = 1 };

/* ---- to bytes ---- */

/* RFC 6887 5: IPv4 as ::ffff:a.b.c.d, "any" as ::ffff:0.0.0.0. */
static void write_ip(struct kh_writer *writer, const struct kh_addr *addr)
{
    kh_write_zeros(writer, 10);
    kh_write_u16(writer, 0xffff);
    kh_write_bytes(writer, addr->ip, 4);
}

/* RFC 6887 7.1, 11.1 */
void kh_nat_pcp_write_map(const struct kh_nat_map_request *request,
                          uint8_t out[static KH_NAT_PCP_MAP_LEN])
{
    struct kh_writer writer = kh_writer_to(out, KH_NAT_PCP_MAP_LEN);

    kh_write_u8(&writer, KH_NAT_PCP_VERSION);
    kh_write_u8(&writer, KH_NAT_MAP);
    kh_write_u16(&writer, 0);
    kh_write_u32(&writer, request->lifetime_s);
    write_ip(&writer, &request->local);
    kh_write_bytes(&writer, request->nonce, sizeof request->nonce);
    kh_write_u8(&writer, PROTOCOL_UDP);
    kh_write_zeros(&writer, 3);
    kh_write_u16(&writer, request->local.port);
    kh_write_u16(&writer, request->external.port);
    write_ip(&writer, &request->external);
    assert(!writer.failed && writer.len == KH_NAT_PCP_MAP_LEN);
}

void kh_nat_pmp_write_address(uint8_t out[static KH_NAT_PMP_ADDRESS_LEN])
{
    out[0] = KH_NAT_PMP_VERSION;
    out[1] = PMP_ADDRESS;
}

/* RFC 6886 3.3 */
void kh_nat_pmp_write_map(const struct kh_nat_map_request *request,
                          uint8_t out[static KH_NAT_PMP_MAP_LEN])
{
    struct kh_writer writer = kh_writer_to(out, KH_NAT_PMP_MAP_LEN);

    kh_write_u8(&writer, KH_NAT_PMP_VERSION);
    kh_write_u8(&writer, PMP_MAP_UDP);
    kh_write_u16(&writer, 0);
    kh_write_u16(&writer, request->local.port);
    kh_write_u16(&writer, request->external.port);
    kh_write_u32(&writer, request->lifetime_s);
    assert(!writer.failed && writer.len == KH_NAT_PMP_MAP_LEN);
}

/* ---- from bytes ---- */

static void read_pcp_map(struct kh_reader *reader, struct kh_nat_answer *out)
{
    const uint8_t *ip;
    uint16_t port;

    kh_read_copy(reader, out->nonce, sizeof out->nonce);
    out->is_udp = kh_read_u8(reader) == PROTOCOL_UDP;
    (void)kh_read_bytes(reader, 3);
    out->internal_port = kh_read_u16(reader);
    port = kh_read_u16(reader);
    ip = kh_read_bytes(reader, IPV6_LEN);
    out->has_map = !reader->failed;
    if (out->has_map)
        out->external = kh_addr_from_ip(KH_FAMILY_IPV6, ip, port);
}

/* RFC 6887 7.2 and 8.3: what is too short, too long or no multiple of four is dropped.  Another
 * version than ours is read only as far as it says that ours is not known there. */
static bool parse_pcp(struct kh_reader *reader, size_t len, struct kh_nat_answer *out)
{
    if (len < PCP_HEADER_LEN || len > PCP_MAX || len % 4 != 0)
        return false;
    (void)kh_read_u8(reader);
    out->result = kh_read_u8(reader);
    out->lifetime_s = kh_read_u32(reader);
    out->epoch_s = kh_read_u32(reader);
    out->has_epoch = true;
    (void)kh_read_bytes(reader, 12);
    if (out->version != KH_NAT_PCP_VERSION)
        return out->result == KH_NAT_UNSUPP_VERSION;
    if (out->opcode != KH_NAT_MAP)
        return out->opcode == KH_NAT_ANNOUNCE;
    read_pcp_map(reader, out);
    /* An error about a version, from a server that read too little to copy the rest, has no map. */
    return out->has_map || out->result == KH_NAT_UNSUPP_VERSION;
}

/* RFC 6886 3.2, 3.3, 3.5.  An answer that says "unsupported version" may end after the result. */
static bool parse_pmp(struct kh_reader *reader, struct kh_nat_answer *out)
{
    out->result = kh_read_u16(reader);
    if (reader->failed)
        return false;
    out->has_epoch = reader->left >= 4;
    out->epoch_s = kh_read_u32(reader);
    if (out->result != KH_NAT_SUCCESS)
        return true;
    if (out->opcode == PMP_ADDRESS) {
        const uint8_t *ip = kh_read_bytes(reader, 4);

        if (ip != NULL)
            out->external = kh_addr_from_ip(KH_FAMILY_IPV4, ip, 0);
    } else if (out->opcode == PMP_MAP_UDP) {
        out->internal_port = kh_read_u16(reader);
        out->external.port = kh_read_u16(reader);
        out->lifetime_s = kh_read_u32(reader);
        out->has_map = true;
        out->is_udp = true;
    } else {
        return false;
    }
    return !reader->failed;
}

bool kh_nat_answer_parse(const uint8_t *data, size_t len, struct kh_nat_answer *out)
{
    struct kh_reader reader = kh_reader_of(data, len);
    uint8_t opcode;

    *out = (struct kh_nat_answer){.version = kh_read_u8(&reader)};
    opcode = kh_read_u8(&reader);
    if (reader.failed || (opcode & RESPONSE) == 0)
        return false; /* a request, or nothing */
    out->opcode = opcode & (RESPONSE - 1);
    return out->version == KH_NAT_PMP_VERSION ? parse_pmp(&reader, out)
                                              : parse_pcp(&reader, len, out);
}
