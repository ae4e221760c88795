/* nat/class.h - what a member tells the others of the NAT in front of it.
 *
 * SPDX-License-Identifier: MIT
 *
 * A small value that travels in the member's card (docs/protocol/room.md 3): one byte that every
 * card has, and an extension with the numbers.  Zeroed, nothing is known.
 */
#ifndef KH_NAT_CLASS_H
#define KH_NAT_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a mapping (RFC 4787 4.1) or a filter (5) depends on. */
enum kh_nat_rule {
    KH_NAT_RULE_UNKNOWN,
    KH_NAT_ENDPOINT_INDEPENDENT,
    KH_NAT_ADDRESS_DEPENDENT,
    KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
};

/* Which external ports new mappings get. */
enum kh_nat_ports {
    KH_NAT_PORTS_UNKNOWN,
    KH_NAT_PORTS_PRESERVED,  /* the inside port */
    KH_NAT_PORTS_SEQUENTIAL, /* each the one before plus a stride */
    KH_NAT_PORTS_BLOCK,      /* any within a narrow range */
    KH_NAT_PORTS_RANDOM,
};

enum kh_nat_hairpin {
    KH_NAT_HAIRPIN_UNKNOWN,
    KH_NAT_HAIRPIN_NONE,     /* what we sent to our own public address did not come back */
    KH_NAT_HAIRPIN_EXTERNAL, /* it came, from our public address: the right way */
    KH_NAT_HAIRPIN_INTERNAL, /* it came, from our private address */
};

struct kh_nat_class {
    enum kh_nat_rule mapping;
    enum kh_nat_rule filtering; /* unknown: assume the strictest */
    enum kh_nat_ports ports;
    enum kh_nat_hairpin hairpin;
    int16_t stride;              /* of sequential ports, negative if they count down; else 0 */
    uint16_t port_min, port_max; /* block: where it may lie; else what was seen; 0: nothing */
    uint16_t last_port;          /* of the newest mapping that was seen; 0: none */
    bool translated;             /* the server sees another address than the member has */
    /* The mapping does not depend on the port; on the address it may, while `mapping` is unknown:
     * all that a server with one address can tell. */
    bool not_by_port;
};

#define KH_NAT_CLASS_LEN 9 /* of the extension */

/* Returns the byte that every card has. */
uint8_t kh_nat_class_byte(const struct kh_nat_class *nat);
void kh_nat_class_write(const struct kh_nat_class *nat, uint8_t out[static KH_NAT_CLASS_LEN]);

/* Reads the byte, and the extension unless it is too short (or NULL).  What makes no sense becomes
 * unknown: a card of a later version must not be lost for it. */
void kh_nat_class_parse(uint8_t byte, const uint8_t *extension, size_t len,
                        struct kh_nat_class *out);

const char *kh_nat_rule_name(enum kh_nat_rule rule);    /* as `knothole doctor --json` has it … */
const char *kh_nat_ports_name(enum kh_nat_ports ports); /* … but "unknown" where that is null */

bool kh_nat_class_equal(const struct kh_nat_class *a, const struct kh_nat_class *b);

#endif
