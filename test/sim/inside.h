/* sim/inside.h - what the simulator's files share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TEST_SIM_INSIDE_H
#define KH_TEST_SIM_INSIDE_H

#include "hub/hub.h"
#include "sim/sim.h"

/* Pairs of addresses one member has checked: to symmetric NATs there are many. */
#define CONSENTS_MAX 1024
#define AIMS_MAX 512 /* of the latest second; twice what is allowed */
#define FAILURE_MAX 240
#define SIM_UNIX_START 1700000000u /* what calendars show when a run begins */

/* The far side answered a check on this pair of addresses. */
struct consent {
    struct kh_addr local, remote;
    kh_time at;
};

#define QUESTIONS_MAX 8

/* Who on the link has this name? */
struct question {
    char name[KH_TEXT_LOCAL_NAME_MAX + 1];
    enum kh_family family;
};

/* Where a member sent a check. */
struct aim {
    struct kh_addr to;
    kh_time at;
};

struct said {
    struct kh_room_entry_id entry;
    char text[SIM_TEXT_MAX];
};

/* One stay of somebody in the room. */
struct member {
    char name[KH_ROOM_NAME_MAX + 1];
    int host;
    int realm;
    struct kh_addr addrs[NET_ADDRS_MAX];
    size_t addr_count;
    struct kh_secret identity;
    uint8_t public_key[KH_KEY_LEN];
    struct kh_rendezvous_ticket ticket; /* of the last JOINED */
    enum kh_node_paths paths;
    unsigned warnings;
    uint64_t to_relayed;     /* datagrams sent to relayed addresses, of whomever */
    kh_duration clock_ahead; /* its clock shows this much more than the simulation's */
    struct kh_node *node;    /* owned; NULL: not started or gone */
    bool is_present;         /* joined and not gone */
    bool has_joined;         /* ever */
    kh_time joined_at;
    struct kh_room_member_id id;
    unsigned nat_probes; /* plain Binding requests */
    struct said said[SIM_SAID_MAX];
    unsigned said_count;
    size_t sockets_wanted, sockets_open; /* spare ones */
    char local_name[KH_TEXT_LOCAL_NAME_MAX + 1];
    struct question questions[QUESTIONS_MAX]; /* for its link, not asked yet */
    size_t question_count;
    uint16_t last_socket;
    struct sim_contact contacts[SIM_MEMBERS_MAX];
    struct consent consents[CONSENTS_MAX];
    bool no_punching;
    struct aim aims[AIMS_MAX]; /* a ring: each place once a second */
    size_t aim_next;
};

/* A relay that is not the server's own. */
struct sim_elsewhere {
    bool is_told; /* of by the server */
    int host;
    struct kh_addr addr;
    struct kh_hub *hub; /* owned; NULL: stopped */
    kh_duration ahead;
};

struct sim {
    struct sim_config config;
    struct dice dice;
    struct net *net; /* owned */
    struct net_line line;
    int site_count;
    struct member members[SIM_MEMBERS_MAX];
    int member_count;
    int members_of_realm[NET_BOXES_MAX + 1]; /* the last one: of the internet */
    int owner_of_host[NET_HOSTS_MAX];        /* the member that runs there now, -1: none */
    uint8_t secret[KH_ROOM_SECRET_LEN];
    int server; /* its host */
    struct kh_addr server_addr, server_addr6;
    struct kh_addr server_second; /* another one for NAT behaviour discovery */
    struct kh_hub *hub;           /* owned; NULL: stopped */
    struct sim_elsewhere elsewhere;
    bool has_one_address; /* the server: half of a discovery */
    bool has_relay;       /* and its server is a relay too */
    bool has_streams;
    kh_duration hub_ahead;
    uint64_t hash;
    uint64_t steps;
    uint64_t steps_at_once; /* without time passing */
    kh_time last_step;
    bool something_happened; /* since a question was asked */
    char failure[FAILURE_MAX];
};

/* ---- sim.c ---- */
void sim_log(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *sim, const char *who, const char *way,
               const struct kh_datagram *datagram);
void sim_hash_bytes(struct sim *sim, const void *data, size_t len);
struct kh_log sim_log_sink(struct sim *sim);

/* ---- elsewhere.c ---- */
void sim_elsewhere_configure(const struct sim *sim, struct kh_hub_turn *out);
void sim_elsewhere_step(struct sim *sim, const struct net_event *event);

/* ---- member.c ---- */
void sim_member_drain(struct sim *sim, int member);
/* Its connection from datagram->to to datagram->from is over. */
void sim_member_lose(struct sim *sim, int member, const struct kh_datagram *datagram);
kh_time sim_member_now(const struct sim *sim, const struct member *member);

/* ---- watch.c: what must hold at every step ---- */
void sim_watch_arrival(struct sim *sim, struct member *member, const struct kh_datagram *datagram);
void sim_watch_departure(struct sim *sim, struct member *member,
                         const struct kh_datagram *datagram);
void sim_watch_message(struct sim *sim, int member, const struct kh_node_event *event);
void sim_watch_delivered(struct sim *sim, int member, const struct kh_node_event *event);

#endif
