/* sim/sim.h - whole members and a whole server on the virtual network, watched at every step.
 *
 * SPDX-License-Identifier: MIT
 *
 * One seed decides everything.  After each step the simulator checks what must always hold (see
 * watch.h); the first breach ends the run with a sentence, and sim_failure tells it.
 */
#ifndef KH_TEST_SIM_SIM_H
#define KH_TEST_SIM_SIM_H

#include <stdbool.h>

#include "node/node.h"
#include "sim/net.h"
#include "support/dice.h"

#define SIM_MEMBERS_MAX 8
#define SIM_SAID_MAX 1024 /* messages of one member */
#define SIM_TEXT_MAX 80

struct sim;

struct sim_config {
    uint64_t seed;
    bool one_clock; /* all machines read the same clock: what usrsctp needs (channel/README.md) */
    kh_time clock_start; /* what that clock shows at first: usrsctp never forgets the time */
    bool is_loud;        /* print the log as it is made */
};

/* What one member found out about another, in simulated time; KH_NEVER: not yet. */
struct sim_contact {
    kh_time path_at; /* the first path */
    unsigned paths;  /* how often it was another one */
    kh_time open_at; /* the channel */
    kh_time first_heard_at;
    enum kh_room_carrier first_via;
    struct kh_ice_path path;     /* the latest … */
    enum kh_transport transport; /* … and by what it leaves us */
    unsigned heard;              /* messages of that member, which were all in order */
    unsigned delivered;          /* ours that it confirmed */
};

/* ---- life ---- */
struct sim *sim_new(const struct sim_config *config);
void sim_free(struct sim *sim);

/* ---- building ---- */

/* The line of every box added from now on; 20 ms at first. */
void sim_set_line(struct sim *sim, const struct net_line *line);
/* A box of a named kind (support/nat.h) in the internet or inside another box; returns its realm.
 */
int sim_add_site(struct sim *sim, const char *kind);
int sim_add_inner_site(struct sim *sim, int realm, const char *kind);
/* A host in a realm, or NET_INTERNET for a public address; returns the member's number. */
int sim_add_member(struct sim *sim, const char *name, int realm);
void sim_add_ipv6(struct sim *sim, int member);  /* a second address */
void sim_drop_ipv4(struct sim *sim, int member); /* then IPv6 is all it has */
/* Told instead of its private addresses, and known to its own realm only; before it joins. */
void sim_set_local_name(struct sim *sim, int member, const char *name);
void sim_set_paths(struct sim *sim, int member, enum kh_node_paths paths); /* before it joins */
void sim_forbid_punching(struct sim *sim, int member);                     /* likewise */
struct net *sim_net(struct sim *sim);
struct dice *sim_dice(struct sim *sim);

/* ---- acting ---- */
void sim_join(struct sim *sim, int member);
void sim_say(struct sim *sim, int member);    /* "between us: NAME N"; before the join too */
void sim_leave(struct sim *sim, int member);  /* with a goodbye */
void sim_vanish(struct sim *sim, int member); /* without: the program is gone */
/* The same person comes back, for a new stay with the ticket of the last: a new member's number. */
int sim_return(struct sim *sim, int member);
void sim_probe(struct sim *sim, int member);
/* Its router leads a port to it, and it knows: what PCP and UPnP come to.  After sim_join. */
void sim_map_port(struct sim *sim, int member);
void sim_disconnect(struct sim *sim, int member); /* its connection to the server breaks */
void sim_stop_server(struct sim *sim);
void sim_use_one_address(struct sim *sim); /* starts the server anew, with two ports only */
void sim_add_relay(struct sim *sim);    /* starts the server anew, as a relay too */
void sim_add_streams(struct sim *sim);  /* members that start later speak TCP, and TLS to it */
/* Starts a relay that is not the server's own, and the server anew, which tells of it. */
void sim_add_relay_elsewhere(struct sim *sim);
void sim_stop_relay_elsewhere(struct sim *sim);
void sim_start_server(struct sim *sim); /* with an empty memory and other keys */

/* ---- time ---- */
/* False if an invariant broke meanwhile. */
bool sim_run(struct sim *sim, kh_duration duration);
/* False if an invariant broke, or the answer was still no after `budget`. */
bool sim_run_until(struct sim *sim, bool (*question)(struct sim *), kh_duration budget);
kh_time sim_now(const struct sim *sim);

/* ---- questions ---- */
bool sim_all_met(struct sim *sim);       /* everyone present knows everyone present */
bool sim_all_direct(struct sim *sim);    /* and has a path to them */
bool sim_all_open(struct sim *sim);      /* and an open channel */
bool sim_all_heard(struct sim *sim);     /* everything said has been heard by all present */
bool sim_all_delivered(struct sim *sim); /* and the authors know it */
bool sim_best_paths(struct sim *sim);    /* direct and open wherever sim_must_be_direct */

bool sim_mappings_known(struct sim *sim); /* everyone has the mapping of all others' NATs … */
bool sim_nats_known(struct sim *sim);     /* … and all else of them, and it is right */

/* True where ICE alone is sure to find a direct path (DESIGN.md, the table of hard NATs); false
 * says nothing: luck with ports is allowed. */
bool sim_must_be_direct(const struct sim *sim, int a, int b);

/* ---- looking in ---- */
int sim_member_count(const struct sim *sim);
bool sim_is_present(const struct sim *sim, int member);
bool sim_has_joined(const struct sim *sim, int member);   /* ever */
bool sim_is_gone(const struct sim *sim, int member);      /* was there, and nothing of it runs */
kh_time sim_joined_at(const struct sim *sim, int member); /* when sim_join was called */
const struct sim_contact *sim_contact(const struct sim *sim, int member, int other);
unsigned sim_warnings(const struct sim *sim, int member); /* that it was given */
/* The address everyone would know it by: its own, or that of the outermost box before it. */
struct kh_addr sim_public_addr(const struct sim *sim, int member);
unsigned sim_said(const struct sim *sim, int member);
uint64_t sim_seed(const struct sim *sim);
uint64_t sim_sent_to_relayed(const struct sim *sim, int member); /* datagrams, as to a peer */
size_t sim_allocations_elsewhere(const struct sim *sim);
size_t sim_allocations(const struct sim *sim); /* at the server's relay, now */
uint64_t sim_allocated(const struct sim *sim); /* since it started */
struct kh_node_punch_stats sim_punches(const struct sim *sim, int member);
size_t sim_spare_sockets(const struct sim *sim, int member); /* open now */
unsigned sim_nat_probes(const struct sim *sim, int member);  /* that asked what its NAT does */
uint64_t sim_hash(const struct sim *sim);                    /* of all that happened */
uint64_t sim_steps(const struct sim *sim);

/* ---- failing ---- */
void sim_explain(struct sim *sim); /* logs how each stands to each */
bool sim_fail(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *sim_failure(const struct sim *sim); /* NULL: all is well */

#endif
