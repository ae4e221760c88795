/* base/addr.h - a transport address as a value: family, IP, port and transport.
 *
 * SPDX-License-Identifier: MIT
 *
 * Always canonical: an IPv4-mapped IPv6 address is stored as the IPv4 address it stands for, so
 * equal places compare equal.  Bytes that do not belong to the family are zero.
 */
#ifndef KH_BASE_ADDR_H
#define KH_BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum kh_family { KH_FAMILY_NONE = 0, KH_FAMILY_IPV4 = 4, KH_FAMILY_IPV6 = 6 };

enum kh_transport { KH_UDP = 0, KH_TCP = 1, KH_TLS = 2 };

struct kh_addr {
    uint8_t family;    /* enum kh_family; KH_FAMILY_NONE: no address */
    uint8_t transport; /* enum kh_transport; 0 is UDP */
    uint16_t port;     /* host byte order */
    uint32_t scope;    /* interface index of a link-local IPv6 address, else 0 */
    uint8_t ip[16];    /* network byte order; IPv4 uses the first four */
};

/* What an IP address is good for (RFC 6890); decides which candidates are worth telling. */
enum kh_addr_reach {
    KH_REACH_UNSPECIFIED,
    KH_REACH_LOOPBACK,
    KH_REACH_LINK_LOCAL,
    KH_REACH_PRIVATE,   /* RFC 1918, RFC 6598 shared, RFC 4193 unique local */
    KH_REACH_MULTICAST, /* and broadcast */
    KH_REACH_GLOBAL,
};

#define KH_ADDR_TEXT_MAX 64 /* "[" + 45 + "%" + 10 digits + "]:65535" and a terminator */

struct kh_addr kh_addr_ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port);

/* ip has 4 bytes for KH_FAMILY_IPV4 and 16 for KH_FAMILY_IPV6; the result is canonical. */
struct kh_addr kh_addr_from_ip(enum kh_family family, const uint8_t *ip, uint16_t port);

bool kh_addr_is_none(const struct kh_addr *addr);
bool kh_addr_equal(const struct kh_addr *a, const struct kh_addr *b);
bool kh_addr_ip_equal(const struct kh_addr *a, const struct kh_addr *b); /* ports may differ */
int kh_addr_compare(const struct kh_addr *a, const struct kh_addr *b);   /* a total order */
enum kh_addr_reach kh_addr_reach(const struct kh_addr *addr);
size_t kh_addr_ip_len(const struct kh_addr *addr); /* 4, 16, or 0 for no address */

/* Reads "192.0.2.1:3478", "[2001:db8::1]:3478" or either without its port, which is then
 * port_default.  KH_ERR_FORMAT for all else, names included. */
KH_MUST_USE enum kh_status kh_addr_parse(const char *text, uint16_t port_default,
                                         struct kh_addr *out);

/* Writes "192.0.2.1:3478" or "[2001:db8::1]:3478" for a person to read; returns text.  What goes
 * into a log goes through kh_log_addr instead, which redacts. */
char *kh_addr_text(const struct kh_addr *addr, char text[static KH_ADDR_TEXT_MAX]);

/* The same without the port and without brackets. */
char *kh_addr_ip_text(const struct kh_addr *addr, char text[static KH_ADDR_TEXT_MAX]);

#endif
