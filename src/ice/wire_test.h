/* ice/wire_test.h - two agents, the NATs between them and a hand-held wire, for the tests here.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_ICE_WIRE_TEST_H
#define KH_ICE_WIRE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/datagram.h"
#include "ice/ice.h"
#include "support/dice.h"
#include "support/nat.h"

#define WIRE_PACKETS_MAX 512
#define WIRE_ADDRS_MAX 4
#define WIRE_EVENTS_MAX 64

enum { ALICE, BOB };

struct wire_packet {
    bool is_used;
    kh_time at;
    int to_host;
    struct kh_addr from;
    struct kh_addr to;
    uint8_t data[300];
    size_t len;
};

struct wire_host {
    struct kh_ice_agent *agent;
    struct kh_ice_credentials credentials;
    struct nat *nat; /* NULL: on the open internet */
    struct kh_addr addrs[WIRE_ADDRS_MAX];
    size_t addr_count;
    struct kh_addr relay; /* a relayed address whose datagrams the wire brings; none by default */
    kh_time learns_at;    /* when it hears of the other; KH_NEVER: by hand */
    struct kh_ice_event events[WIRE_EVENTS_MAX];
    size_t event_count;
    unsigned valids, paths;
    struct kh_ice_path path;
    uint64_t sent;
    uint64_t strays;
    uint64_t wakes; /* handle_timeout calls */
};

struct wire {
    kh_time now;
    struct dice dice;
    struct wire_host hosts[2];
    struct wire_packet packets[WIRE_PACKETS_MAX];
    bool same_site; /* both behind hosts[ALICE].nat on one network */
    kh_duration delay, jitter;
    double loss, duplication;
    bool is_cut; /* nothing arrives */
    /* May change or drop (false) what a host sends, before NAT and wire; NULL: no. */
    bool (*tamper)(struct wire *wire, int host, struct kh_datagram *datagram, uint8_t *copy);
    struct wire_packet last[2];      /* the last datagram delivered to each */
    struct wire_packet last_sent[2]; /* the last one each sent */
};

void wire_init(struct wire *wire, uint64_t seed);
void wire_fini(struct wire *wire);
/* Puts the host behind a NAT with these rules; addresses are given by the wire. */
void wire_add_nat(struct wire *wire, int host, const struct nat_config *config);
void wire_add_addr(struct wire *wire, int host, const char *addr);
/* Makes the agent; zero config fields mean defaults. */
void wire_add_agent(struct wire *wire, int host, const struct kh_ice_config *config);
/* Gives the agent its own candidates: hosts, reflexive if behind a NAT, relayed if there is one. */
void wire_gather(struct wire *wire, int host);
/* Tells `host` the other one's credentials and candidates. */
void wire_tell(struct wire *wire, int host);
/* Both of the above for both, agents included; each hears of the other at its learns_at. */
void wire_meet(struct wire *wire);
void wire_run(struct wire *wire, kh_duration time);
/* Runs until both are connected; false after `limit`. */
bool wire_connect(struct wire *wire, kh_duration limit);
/* Delivers these bytes to a host now. */
bool wire_inject(struct wire *wire, int host, const struct kh_datagram *datagram);
void wire_drain(struct wire *wire, int host);
struct kh_addr wire_mapped(struct wire *wire, int host, size_t addr);
struct kh_addr wire_addr(const char *text);
struct kh_ice_candidate wire_candidate(enum kh_ice_kind kind, const char *addr, const char *base);

/* A request that claims to come from the other host's agent; zero leaves an attribute out. */
struct wire_request {
    uint32_t priority;
    uint16_t role; /* KH_STUN_ICE_CONTROLLING, KH_STUN_ICE_CONTROLLED or none */
    uint64_t tie_breaker;
    bool use_candidate;
    uint32_t nomination;
    uint16_t unknown;     /* type of an attribute nobody knows */
    const char *password; /* NULL: the right one */
    const char *username; /* NULL: the right one */
    uint8_t id;           /* the first byte of the transaction id */
};

/* Gives such a request to the host, as if it came from `from` to its first address. */
bool wire_ask(struct wire *wire, int host, const char *from, const struct wire_request *request);
/* Answers that check of the host as its peer would, having seen it come from `mapped`. */
bool wire_answer(struct wire *wire, int host, const struct wire_packet *check,
                 const struct kh_addr *mapped);
/* The last message the host sent, parsed. */
void wire_parse_sent(struct wire *wire, int host, struct kh_stun_message *out);

/* Both send along the same pair of addresses, each seen from its side. */
bool wire_agrees(struct wire *wire);

#endif
