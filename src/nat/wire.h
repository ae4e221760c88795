/* nat/wire.h - PCP's MAP (RFC 6887) and NAT-PMP (RFC 6886) to and from bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_WIRE_H
#define KH_NAT_WIRE_H

#include "base/datagram.h"

#define KH_NAT_NONCE_LEN 12
#define KH_NAT_PCP_MAP_LEN 60
#define KH_NAT_PMP_ADDRESS_LEN 2
#define KH_NAT_PMP_MAP_LEN 12

#define KH_NAT_PMP_VERSION 0
#define KH_NAT_PCP_VERSION 2

enum kh_nat_opcode { KH_NAT_ANNOUNCE = 0, KH_NAT_MAP = 1 }; /* PCP; in NAT-PMP 0 asks the address */

enum kh_nat_result {
    KH_NAT_SUCCESS = 0,
    KH_NAT_UNSUPP_VERSION = 1, /* the same number in both protocols */
};

struct kh_nat_map_request {
    struct kh_addr local;    /* who asks, and its port */
    struct kh_addr external; /* suggested; none if we have no wish */
    uint8_t nonce[KH_NAT_NONCE_LEN];
    uint32_t lifetime_s; /* 0 deletes */
};

/* An answer of either protocol.  Fields that it has not are zero. */
struct kh_nat_answer {
    uint8_t version;
    uint8_t opcode; /* without the response bit */
    uint16_t result;
    uint32_t lifetime_s; /* of the mapping, or of the error */
    bool has_epoch;
    uint32_t epoch_s;
    bool has_map;
    bool is_udp; /* NAT-PMP says it in the opcode: true there */
    uint8_t nonce[KH_NAT_NONCE_LEN];
    uint16_t internal_port;
    struct kh_addr external; /* NAT-PMP: the port without the IP, or the IP without the port */
};

void kh_nat_pcp_write_map(const struct kh_nat_map_request *request,
                          uint8_t out[static KH_NAT_PCP_MAP_LEN]);
void kh_nat_pmp_write_address(uint8_t out[static KH_NAT_PMP_ADDRESS_LEN]);
void kh_nat_pmp_write_map(const struct kh_nat_map_request *request,
                          uint8_t out[static KH_NAT_PMP_MAP_LEN]);

/* Reads what a gateway answered; false if it is no answer of PCP 2 or NAT-PMP. */
bool kh_nat_answer_parse(const uint8_t *data, size_t len, struct kh_nat_answer *out);

#endif
