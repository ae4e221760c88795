/* mdns/wire.h - questions to bytes, and the records of an answer one by one (RFC 1035 4).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_MDNS_WIRE_H
#define KH_MDNS_WIRE_H

#include "mdns/mdns.h"

enum kh_mdns_type { KH_MDNS_A = 1, KH_MDNS_AAAA = 28 };

struct kh_mdns_record {
    char name[KH_MDNS_NAME_MAX + 1]; /* in small letters; empty if it is longer, or odd */
    uint16_t type;
    uint16_t class; /* without the bit that asks to forget older ones */
    uint32_t ttl;
    const uint8_t *data; /* inside the message */
    size_t len;
};

/* A message that is being read. */
struct kh_mdns_message {
    const uint8_t *data;
    size_t len;
    size_t at;
    unsigned left; /* records */
};

/* Returns the length. */
size_t kh_mdns_write_query(const char *name, enum kh_family family,
                           uint8_t out[static KH_MDNS_QUERY_MAX]);

/* False if it is no answer, or cut before its records. */
bool kh_mdns_open(struct kh_mdns_message *message, const uint8_t *data, size_t len);
/* False behind the last record, or where the rest makes no sense: then left is not 0. */
bool kh_mdns_next_record(struct kh_mdns_message *message, struct kh_mdns_record *out);

#endif
