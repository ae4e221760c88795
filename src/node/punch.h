/* node/punch.h - the state of punching: one punch at a time, and what it left behind.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_PUNCH_H
#define KH_NODE_PUNCH_H

#include "node/node.h"
#include "punch/punch.h"
#include "stun/stun.h"

/* In the long run, whoever asks: four datagrams a second, 14,400 in an hour. */
#define KH_NODE_PUNCH_COST KH_MILLISECONDS(250)
/* What the path uses, and what it used before: it may go back there. */
#define KH_NODE_KEPT_EACH 2
#define KH_NODE_KEPT_MAX                                                                           \
    (KH_NODE_KEPT_EACH * KH_ROOM_MEMBERS_MAX) /* sockets that won a punch, old and new */

enum kh_node_punch_phase {
    PUNCH_RESTS,
    PUNCH_WISHES,  /* sockets are asked for */
    PUNCH_SAMPLES, /* the server is asked which port a fresh one got */
    PUNCH_WAITS,   /* for the peer's sample */
    PUNCH_RUNS,
};

struct kh_node_punch {
    bool is_off; /* by option */
    enum kh_node_punch_phase phase;
    struct kh_room_member_id with; /* whom, unless it rests */
    struct kh_punch_plan plan;
    struct kh_punch machine;
    uint16_t sockets[KH_PUNCH_SOCKETS_MAX];
    size_t socket_count;
    size_t first;          /* of those the machine uses: one may be for the sample */
    struct kh_addr base;   /* ours, with the main port */
    struct kh_addr target; /* the peer's, as far as it is known */
    struct kh_addr server; /* for samples */
    struct kh_stun_transaction sample;
    struct kh_punch_message
        word;       /* the server brings it once, or not at all: so it is said again */
    kh_time say_at; /* KH_NEVER: it has been said often enough */
    unsigned times_said;
    bool is_wished;        /* for sockets */
    uint16_t sampled_port; /* 0: not yet */
    kh_time wait_until;    /* for the sample, or the peer's */
    kh_time rest_until;    /* no other punch before this */
    kh_time paid_until;    /* all datagrams so far would have left, one each KH_NODE_PUNCH_COST */
    kh_time direct_since;  /* the path to whom we punch with; 0: it is not direct */
    struct {
        uint16_t port; /* 0: none */
        kh_time kept_at;
        kh_time idle_at; /* since then it carries nothing; 0: it does */
        struct kh_room_member_id by;
    } kept[KH_NODE_KEPT_MAX];
    struct kh_node_punch_stats stats;
};

/* What a neighbour means to us as one to punch with. */
struct kh_node_punch_view {
    kh_time since;      /* it is here, and no direct path; KH_NEVER: not so */
    kh_time not_before; /* after failures */
    unsigned failures;  /* in a row */
    kh_time asked_at;   /* when it last said a word; 0: it said none, or we did as it said */
    struct kh_punch_message asked;
    uint64_t walk;   /* the seed of the ports of it that we probe; 0: not drawn yet */
    unsigned proofs; /* asked for so far */
    bool proof_due;  /* of where it is: our relay is to let its checks in, and ask back */
};

struct kh_node_neighbour;

/* ---- place.c ---- */
/* Where the server sees us by IPv4 and UDP, and from which address of ours; false: nowhere. */
bool kh_node_own_place(const struct kh_node *node, struct kh_addr *base, struct kh_addr *mapped);
/* The server does not see us by IPv4: sends a check to this neighbour's relay, which shows it. */
void kh_node_prove_place(struct kh_node *node, struct kh_node_neighbour *neighbour);
/* Lets such a check of the neighbour in at our relay, if the server does not see it by IPv4; false
 * if that cannot be, or is done already. */
bool kh_node_ask_for_proof(struct kh_node *node, struct kh_node_neighbour *neighbour);
/* Where it is: an address that its sealed card names, and that the server or an answered check
 * confirms. */
bool kh_node_place_of(const struct kh_node_neighbour *neighbour, struct kh_addr *out);
/* Where its card alone says that it is. */
bool kh_node_named_place_of(const struct kh_node_neighbour *neighbour, struct kh_addr *out);

/* ---- punch.c ---- */
void kh_node_punch_joined(struct kh_node *node, const struct kh_addr *server);
/* The neighbour's word, as the room brought it. */
void kh_node_punch_hear(struct kh_node *node, const struct kh_room_member_id *from,
                        struct kh_span word);
bool kh_node_punch_step(struct kh_node *node);
kh_time kh_node_punch_timeout(const struct kh_node *node);

/* ---- knock.c: one punch, from its wish for sockets to its end ---- */
void kh_node_knock_begin(struct kh_node *node, struct kh_node_neighbour *neighbour,
                         const struct kh_punch_plan *plan, const struct kh_addr *target);
/* The server's answer to a sample. */
bool kh_node_knock_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram);
bool kh_node_knock_step(struct kh_node *node, struct kh_node_neighbour *neighbour);
/* Nothing can be done, nor ended, before our owner has answered. */
bool kh_node_knock_is_waiting_for_sockets(const struct kh_node *node);
/* True if nothing came of it. */
bool kh_node_knock_is_over(const struct kh_node *node);
/* neighbour may be NULL: it is gone. */
void kh_node_knock_end(struct kh_node *node, struct kh_node_neighbour *neighbour);
kh_time kh_node_knock_timeout(const struct kh_node *node);
/* Keeps this one open, for the path to this neighbour. */
void kh_node_knock_keep(struct kh_node *node, const struct kh_room_member_id *by, uint16_t port);
/* Gives back sockets that won a punch and carry nothing any more. */
bool kh_node_knock_sweep(struct kh_node *node);
kh_time kh_node_knock_sweep_at(const struct kh_node *node);

#endif
