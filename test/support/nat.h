/* support/nat.h - a NAT box or firewall as RFC 4787 describes them: a pure model.
 *
 * SPDX-License-Identifier: MIT
 *
 * Time is an argument and randomness comes from a seed.  The box sees flows, not packets: it
 * rewrites addresses or drops; whoever owns it moves the bytes.  The simulator and the lab's natbox
 * use the same model.  An address's transport keeps UDP and TCP ports apart.
 *
 * IPv4 is translated by KIND_TRANSLATOR only; IPv6 never is: there a translator is a firewall with
 * the same filtering (RFC 4864, RFC 6092).
 */
#ifndef KH_TEST_SUPPORT_NAT_H
#define KH_TEST_SUPPORT_NAT_H

#include "base/addr.h"
#include "base/time.h"

enum nat_kind {
    NAT_KIND_TRANSLATOR,
    NAT_KIND_FIREWALL, /* filters, translates nothing */
    NAT_KIND_OPEN,     /* a router: neither */
};

/* What a mapping (RFC 4787 4.1) or a filter (5) depends on. */
enum nat_rule {
    NAT_ENDPOINT_INDEPENDENT,
    NAT_ADDRESS_DEPENDENT,
    NAT_ADDRESS_AND_PORT_DEPENDENT,
};

/* Which external port a new mapping gets (RFC 4787 4.2). */
enum nat_ports {
    NAT_PORTS_PRESERVED,  /* the inside port, the next free one if that is taken */
    NAT_PORTS_SEQUENTIAL, /* the last one given plus `stride` */
    NAT_PORTS_RANDOM,     /* any */
    NAT_PORTS_BLOCK,      /* any within `block` ports that belong to this inside host */
};

/* A datagram from inside to our own external address (RFC 4787 6). */
enum nat_hairpin {
    NAT_HAIRPIN_NONE,
    NAT_HAIRPIN_EXTERNAL, /* arrives from the sender's external address: the right way, REQ-9a */
    NAT_HAIRPIN_INTERNAL, /* arrives from the sender's internal address */
};

/* Zero means the default. */
struct nat_config {
    enum nat_kind kind;
    enum nat_rule mapping;
    enum nat_rule filtering;
    enum nat_ports ports;
    enum nat_hairpin hairpin;
    struct kh_addr external;     /* the port is ignored; none for what does not translate */
    uint16_t port_min, port_max; /* external ports given out; 1024 .. 65535 */
    uint16_t stride;             /* NAT_PORTS_SEQUENTIAL; 1 */
    uint16_t block;              /* NAT_PORTS_BLOCK; 64 */
    kh_duration lifetime;        /* of a silent mapping; 120 s, the least REQ-5 allows */
    bool inbound_refresh;        /* RFC 4787 REQ-6b: inbound datagrams keep a mapping, too */
    size_t sessions_max;         /* pairs of inside and outside address remembered; 4096 */
    uint64_t seed;
};

/* From and to of one datagram, rewritten in place. */
struct nat_flow {
    struct kh_addr from;
    struct kh_addr to;
};

enum nat_verdict {
    NAT_DROP,
    NAT_FORWARD, /* to the other side */
    NAT_TURN,    /* hairpin: back to the side it came from */
};

struct nat_stats {
    uint64_t forwarded;
    uint64_t turned; /* hairpinned */
    uint64_t sessions_made;
    uint64_t mappings_made;    /* external ports given out */
    uint64_t dropped_filtered; /* a mapping, but the filter said no */
    uint64_t dropped_unmapped; /* inbound to a port that nobody has */
    uint64_t dropped_hairpin;  /* to ourselves, and we do not hairpin */
    uint64_t dropped_full;     /* no session or no port left */
};

struct nat;

KH_MUST_USE enum kh_status nat_new(struct nat **out, const struct nat_config *config);
void nat_free(struct nat *nat); /* NULL is allowed */

/* A datagram from inside.  FORWARD: `from` is now our external address.  TURN: both are rewritten,
 * and it goes back inside. */
enum nat_verdict nat_outbound(struct nat *nat, kh_time now, struct nat_flow *flow);
/* A datagram from outside.  FORWARD: `to` is now the inside address. */
enum nat_verdict nat_inbound(struct nat *nat, kh_time now, struct nat_flow *flow);

/* Leads our external port to this inside address, for everyone, as PCP and UPnP ask a router to;
 * what leaves from there gets that port.  False if the port is taken. */
KH_MUST_USE bool nat_forward(struct nat *nat, const struct kh_addr *inside, uint16_t port);

/* Forgets everything, as after a restart; even a box that preserves ports gives new ones. */
void nat_rebind(struct nat *nat);
/* The same, and with another external address: the provider's nightly disconnect. */
void nat_readdress(struct nat *nat, const struct kh_addr *external);

const struct nat_config *nat_config_of(const struct nat *nat); /* defaults filled in */
struct nat_stats nat_stats(const struct nat *nat);

/* ---- named boxes ---- */

/* One per line: the name, what it does, and a sentence; walk with n = 0, 1, … until NULL. */
struct nat_preset {
    const char *name;
    struct nat_config config; /* external and seed are for the caller to set */
    const char *means;
};

const struct nat_preset *nat_preset_at(size_t n);
const struct nat_preset *nat_preset_find(const char *name); /* NULL: no such name */

const char *nat_rule_name(enum nat_rule rule);    /* as `knothole doctor` spells it */
const char *nat_ports_name(enum nat_ports ports); /* likewise */

#endif
