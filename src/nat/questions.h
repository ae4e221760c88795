/* nat/questions.h - what a discovery asks, and what came back: shared by its two files.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_QUESTIONS_H
#define KH_NAT_QUESTIONS_H

#include "crypto/crypto.h"
#include "nat/discovery.h"
#include "stun/stun.h"

/* What each local socket is for; all of them give a sample.  The filter's one speaks to the
 * server's first address only, else an answer from another one would prove nothing. */
enum { SOCKET_MAPPING, SOCKET_FILTER, SOCKET_HAIRPIN, SOCKET_HAIRPIN_BACK };

enum aim {
    AIM_SAMPLE,      /* where does the server see this socket? */
    AIM_PLACES,      /* and what other place has it? */
    AIM_CHANGE_PORT, /* does an answer from its other port arrive? */
    AIM_CHANGE_BOTH, /* and one from another address? */
    AIM_OTHER_PORT,  /* where does its other port see us? */
    AIM_OTHER_IP,
    AIM_OTHER_BOTH,
    AIM_HAIRPIN, /* does what we send to our public address come back? */
};

struct probe {
    enum aim aim;
    size_t socket;
    uint8_t id[KH_STUN_ID_LEN];
    struct kh_addr to;
    unsigned attempts;
    unsigned attempts_max;
    kh_time next_at; /* of the next attempt, or of giving up */
    bool due;
    bool over;             /* answered, refused or given up */
    bool answered;         /* as it should be */
    bool refused;          /* the server cannot do that */
    struct kh_addr mapped; /* of AIM_HAIRPIN: where it came from */
};

#define PROBES_MAX (KH_NAT_SOCKETS_MAX + 8)

enum state { STATE_IDLE, STATE_ASKING, STATE_DONE };

struct kh_nat_discovery {
    enum state state;
    struct kh_nat_discovery_config config;
    struct kh_rng rng;
    kh_time end_at;
    struct kh_addr local; /* the ip that answers arrive at */
    struct kh_addr other; /* another place of the server; none until told */
    struct probe probes[PROBES_MAX];
    size_t probe_count;
    size_t attempts;     /* of all probes together */
    uint16_t last_port;  /* that we were seen from */
    uint8_t request[32]; /* a header and CHANGE-REQUEST */
    uint64_t dropped;    /* datagrams that answered nothing we asked */
};

/* ---- conclude.c ---- */

const struct probe *kh_nat_probe_find(const struct kh_nat_discovery *discovery, enum aim aim,
                                      size_t socket);
/* Where the server sees this socket; NULL if that is not known. */
const struct kh_addr *kh_nat_probe_mapped(const struct kh_nat_discovery *discovery, enum aim aim,
                                          size_t socket);
/* Does a NAT stand before this socket?  Its probe must be answered. */
bool kh_nat_probe_is_translated(const struct kh_nat_discovery *discovery,
                                const struct probe *probe);

#endif
