/* nat/class.c - the class of a NAT to and from the bytes of a card.
 *
 * SPDX-License-Identifier: MIT
 *
 *     byte: mapping 0x03, filtering 0x0c, ports 0x70, translated 0x80
 *     extension: flags 1 (hairpin 0x03, not by port 0x04) · stride 2 · lowest port 2 ·
 *     highest port 2 · last port 2
 */
#include "nat/class.h"

#include "base/bytes.h"

#define RULE_MASK 3u
#define FILTERING_SHIFT 2
#define PORTS_SHIFT 4
#define PORTS_MASK 7u
#define TRANSLATED 0x80u

#define HAIRPIN_MASK 3u
#define NOT_BY_PORT 4u

uint8_t kh_nat_class_byte(const struct kh_nat_class *nat)
{
    return (uint8_t)((unsigned)nat->mapping | (unsigned)nat->filtering << FILTERING_SHIFT |
                     (unsigned)nat->ports << PORTS_SHIFT | (nat->translated ? TRANSLATED : 0u));
}

void kh_nat_class_write(const struct kh_nat_class *nat, uint8_t out[static KH_NAT_CLASS_LEN])
{
    struct kh_writer writer = kh_writer_to(out, KH_NAT_CLASS_LEN);

    kh_write_u8(&writer, (uint8_t)((unsigned)nat->hairpin | (nat->not_by_port ? NOT_BY_PORT : 0u)));
    kh_write_u16(&writer, (uint16_t)nat->stride);
    kh_write_u16(&writer, nat->port_min);
    kh_write_u16(&writer, nat->port_max);
    kh_write_u16(&writer, nat->last_port);
}

static void read_numbers(const uint8_t *extension, size_t len, struct kh_nat_class *out)
{
    struct kh_reader reader = kh_reader_of(extension, len);
    unsigned flags = kh_read_u8(&reader);
    uint16_t stride = kh_read_u16(&reader);

    out->hairpin = (enum kh_nat_hairpin)(flags & HAIRPIN_MASK);
    out->not_by_port = (flags & NOT_BY_PORT) != 0;
    out->stride = (int16_t)(stride > INT16_MAX ? (int)stride - 0x10000 : (int)stride);
    out->port_min = kh_read_u16(&reader);
    out->port_max = kh_read_u16(&reader);
    out->last_port = kh_read_u16(&reader);
}

/* What follows from one another must do so, whoever wrote it: users of a class rely on that. */
static void straighten(struct kh_nat_class *nat)
{
    if (nat->ports > KH_NAT_PORTS_RANDOM)
        nat->ports = KH_NAT_PORTS_UNKNOWN;
    if (nat->port_min == 0 || nat->port_min > nat->port_max)
        nat->port_min = nat->port_max = 0;
    if (nat->ports != KH_NAT_PORTS_SEQUENTIAL)
        nat->stride = 0;
    else if (nat->stride == 0)
        nat->ports = KH_NAT_PORTS_RANDOM;
    if (nat->ports == KH_NAT_PORTS_BLOCK && nat->port_min == 0)
        nat->ports = KH_NAT_PORTS_RANDOM;
    if (nat->mapping == KH_NAT_ADDRESS_AND_PORT_DEPENDENT)
        nat->not_by_port = false;
}

void kh_nat_class_parse(uint8_t byte, const uint8_t *extension, size_t len,
                        struct kh_nat_class *out)
{
    *out = (struct kh_nat_class){
        .translated = (byte & TRANSLATED) != 0,
        .mapping = (enum kh_nat_rule)(byte & RULE_MASK),
        .filtering = (enum kh_nat_rule)(byte >> FILTERING_SHIFT & RULE_MASK),
        .ports = (enum kh_nat_ports)(byte >> PORTS_SHIFT & PORTS_MASK),
    };
    if (extension != NULL && len >= KH_NAT_CLASS_LEN)
        read_numbers(extension, len, out);
    straighten(out);
}

bool kh_nat_class_equal(const struct kh_nat_class *a, const struct kh_nat_class *b)
{
    return a->translated == b->translated && a->mapping == b->mapping &&
           a->not_by_port == b->not_by_port && a->filtering == b->filtering &&
           a->ports == b->ports && a->hairpin == b->hairpin && a->stride == b->stride &&
           a->port_min == b->port_min && a->port_max == b->port_max && a->last_port == b->last_port;
}

const char *kh_nat_rule_name(enum kh_nat_rule rule)
{
    static const char *const names[] = {
        [KH_NAT_RULE_UNKNOWN] = "unknown",
        [KH_NAT_ENDPOINT_INDEPENDENT] = "endpoint-independent",
        [KH_NAT_ADDRESS_DEPENDENT] = "address-dependent",
        [KH_NAT_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
    };

    return names[rule];
}

const char *kh_nat_ports_name(enum kh_nat_ports ports)
{
    static const char *const names[] = {
        [KH_NAT_PORTS_UNKNOWN] = "unknown",       [KH_NAT_PORTS_PRESERVED] = "preserved",
        [KH_NAT_PORTS_SEQUENTIAL] = "sequential", [KH_NAT_PORTS_BLOCK] = "block",
        [KH_NAT_PORTS_RANDOM] = "random",
    };

    return names[ports];
}
