/* node/inside.h - what the files of this folder share: the node, its neighbours, its mail.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every machine in here takes one input and must be drained before the next, but one event of one
 * machine often means inputs for several others.  So nothing is passed on at once.  Handlers only
 * write down what is so (a card, a candidate, a flag), and steps compare that with what each child
 * was told and make the difference good: one input per step, and all children drained between two
 * steps.  kh_node_next_event takes steps until none is left.
 */
#ifndef KH_NODE_INSIDE_H
#define KH_NODE_INSIDE_H

#include "base/outbox.h"
#include "base/ring.h"
#include "node/classify.h"
#include "node/names.h"
#include "node/node.h"
#include "node/punch.h"
#include "node/relayed.h"
#include "node/sockets.h"
#include "node/tcp.h"

#define LOCALS_MAX 64   /* KH_NODE_ADDRS_MAX by UDP and TCP, some more, and as many just replaced */
#define EVENTS_MAX 8    /* one step makes at most three, and they are taken before the next step */
#define DEPARTED_MAX 16 /* goodbyes that outran the server's; it repeats no older ones */
#define KNOWN_MAX 64    /* names remembered: as many as a room has members */
#define WARNING_MAX 160 /* one sentence with a name in it */

/* A frame of the room on its way to whom it is for. */
struct kh_node_mail {
    struct kh_node_mail *next;
    struct kh_room_member_id to;
    size_t len;
    uint8_t data[];
};

struct kh_node_mailbox {
    struct kh_node_mail *first;
    struct kh_node_mail *last;
    size_t count;
};

struct kh_node_local {
    bool in_use; /* false: going, or free once no neighbour was given it */
    struct kh_ice_candidate candidate;
};

/* See reflexive.c. */
struct kh_node_reflexive {
    struct kh_addr server; /* of the family we did not join by; none: it has no such address */
    struct kh_stun_transaction transaction;
    kh_time ask_at;
    struct kh_addr mapped; /* where it sees us … */
    struct kh_addr base;   /* … when we send from here */
};

/* One other member, as we know it. */
struct kh_node_neighbour {
    struct kh_room_member_id id;
    struct kh_room_card card;
    struct kh_addr public; /* where the server sees it; none: not told */
    kh_time met_at;
    struct kh_addr lost_local; /* of a connection that ended, until the peer is told; none */
    struct kh_addr lost_remote;
    bool listed;          /* at the server */
    bool gone;            /* to be forgotten in the next step */
    bool blocked;         /* its channel is full */
    bool warned;          /* of its certificate */
    bool warned_apart;    /* that what it allows and what we allow leaves no path */
    struct kh_peer *peer; /* NULL before the first step, and until rebuild_at after a failure */
    kh_time rebuild_at;
    kh_duration rebuild_backoff;
    struct kh_addr withdrawn[KH_ROOM_CANDIDATES_MAX]; /* relayed ones of cards before this one */
    size_t withdrawn_count;
    struct kh_node_mailbox mail; /* for the channel */
    struct kh_datagram way;      /* addresses of the latest datagram from it; without data */
    struct {                     /* what the room was told */
        bool present;
        bool channel;
        bool blocked;
    } room;
    struct {              /* what the peer was told */
        uint64_t locals;  /* bit i: locals[i] of the node */
        uint32_t remotes; /* bit i: see remote_candidate */
        bool credentials;
    } given;
    bool is_renewed;        /* other credentials, or another certificate, than the peer was given */
    kh_time renewals_until; /* see peering.c */
    struct kh_node_punch_view punch;
    bool doubted; /* its channel or path is silent: see alert.c */
    bool timeout_due;
    bool restart_due;
    bool reconsider_due;
    bool doubt_due;
    bool hurry_due; /* the server has it again: signals reach it */
    bool close_due;
    bool farewell; /* its channel was open when we began to leave */

    struct kh_node_name names[KH_ROOM_NAMED_MAX]; /* as in its card */
    unsigned names_asked;                         /* in all */
};

/* A name and the key it came with. */
struct kh_node_known {
    char name[KH_ROOM_NAME_MAX + 1];
    uint8_t identity[KH_KEY_LEN];
};

struct kh_node_slot {
    struct kh_node_event event;
    char name[KH_ROOM_NAME_MAX + 1];
    char text[WARNING_MAX];
};

/* A port of our NAT that is mapped to one of our addresses; zeroed: none. */
struct kh_node_port {
    struct kh_addr base;
    struct kh_addr mapped;
};

enum kh_node_life { LIFE_NEW, LIFE_STAYING, LIFE_LEAVING, LIFE_LEFT };

struct kh_node {
    enum kh_node_life life;
    enum kh_node_paths paths;
    struct kh_room_member_id id;
    uint8_t identity[KH_KEY_LEN];
    char name[KH_ROOM_NAME_MAX + 1];
    char local_name[KH_TEXT_LOCAL_NAME_MAX + 1];
    struct kh_node_question questions[KH_NODE_QUESTIONS_MAX];
    kh_time names_until; /* see names.c */
    struct kh_addr servers[KH_RENDEZVOUS_SERVERS_MAX];
    size_t server_count;
    struct kh_ice_credentials credentials; /* one pair for all neighbours: it stands in the card */
    struct kh_channel_certificate *certificate;
    struct kh_room *room;
    struct kh_rendezvous_client *rendezvous;
    struct kh_rng rng;
    struct kh_log log;

    kh_time now;  /* of the latest input: events are pulled without a time */
    bool settled; /* no step is left: the next input may come */
    struct kh_outbox outbox;
    struct kh_node_slot events[EVENTS_MAX];
    struct kh_ring event_ring;
    struct kh_node_slot shown; /* the event given last, whose pointers are still good */

    struct kh_addr addrs[KH_NODE_ADDRS_MAX];
    size_t addr_count;
    struct kh_node_port ports[KH_NODE_MAPPED_MAX];
    struct kh_node_local locals[LOCALS_MAX];
    struct kh_addr mapped;      /* where the server sees us … */
    struct kh_addr mapped_base; /* … when we send from here */
    struct kh_node_reflexive reflexive;
    struct kh_node_tcp tcp;
    struct kh_node_relayed relayed;
    struct kh_node_sockets sockets;
    struct kh_node_classify classify;
    struct kh_node_punch punch;
    struct kh_nat_class nat; /* ours, as the card tells it; a neighbour's is in its card */

    struct kh_node_neighbour *neighbours[KH_ROOM_MEMBERS_MAX]; /* no gaps: count of them */
    size_t neighbour_count;
    struct kh_room_member_id departed[DEPARTED_MAX];
    size_t departed_next;
    struct kh_node_known known[KNOWN_MAX];
    size_t known_next;

    struct kh_node_mailbox mail; /* for the server: sealed signals */
    uint32_t revision;           /* of our card */
    bool room_timeout_due;
    bool server_timeout_due;
    bool probe_due;
    bool doubt_due;
    bool attentive;   /* the rendezvous client was told so */
    kh_time alert_at; /* server and relay are not asked about a doubt before */
    bool card_due;
    bool farewell_due;
    bool leave_due;
    bool server_left;
    kh_time leave_by; /* KH_NEVER unless leaving */
    uint64_t datagrams;
    uint64_t dropped_stray;
    uint64_t cards_refused;
    uint64_t frames_refused;
};

/* ---- pump.c ---- */
/* Adds an event with this neighbour's id and name, or our own if it is NULL. */
struct kh_node_slot *kh_node_emit(struct kh_node *node, enum kh_node_event_kind kind,
                                  const struct kh_node_neighbour *who);
/* Moves what the child wants to send to the outbox, so that it can take its next input. */
void kh_node_stash_peer(struct kh_node *node, struct kh_peer *peer);
void kh_node_stash_server(struct kh_node *node);

/* ---- mail.c ---- */
/* False past `max` or without memory: the frame is not taken, and the room repeats it. */
bool kh_node_mail_put(struct kh_node_mailbox *box, size_t max,
                      const struct kh_room_transmit *transmit);
void kh_node_mail_drop(struct kh_node_mailbox *box); /* the first one */
void kh_node_mail_clear(struct kh_node_mailbox *box);

/* ---- local.c ---- */
/* Makes the candidates what addresses and mapped address say; true if the card should follow. */
bool kh_node_update_locals(struct kh_node *node);
/* One of our UDP addresses that others may know. */
bool kh_node_is_host(const struct kh_node *node, const struct kh_addr *addr);
size_t kh_node_list_hosts(const struct kh_node *node,
                          struct kh_room_candidate out[static KH_ROOM_CANDIDATES_MAX]);

/* ---- reflexive.c ---- */
/* We joined by this address of the server: is there one of the other family to ask? */
void kh_node_reflexive_aim(struct kh_node *node, const struct kh_addr *joined);
void kh_node_reflexive_hurry(struct kh_node *node); /* our addresses may have changed */
void kh_node_reflexive_handle_timeout(struct kh_node *node);
bool kh_node_reflexive_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram);
kh_time kh_node_reflexive_timeout(const struct kh_node *node);
/* Asks, from where and whom `way` says, where we are seen. */
void kh_node_ask_mapped(struct kh_node *node, struct kh_stun_transaction *transaction,
                        const struct kh_stun_timing *timing, struct kh_datagram way);

/* ---- neighbour.c ---- */
struct kh_node_neighbour *kh_node_find_neighbour(const struct kh_node *node,
                                                 const struct kh_room_member_id *id);
/* NULL at the limit or without memory. */
struct kh_node_neighbour *kh_node_add_neighbour(struct kh_node *node,
                                                const struct kh_room_member_id *id);
/* Takes a newer card; the same identity, if there was one before. */
void kh_node_take_card(struct kh_node *node, struct kh_node_neighbour *neighbour,
                       const struct kh_room_card *card);
void kh_node_drop_peer(struct kh_node *node, struct kh_node_neighbour *neighbour);
void kh_node_free_neighbour(struct kh_node_neighbour *neighbour);
/* True if messages pass between us and it without the server. */
bool kh_node_is_talking(const struct kh_node_neighbour *neighbour);
/* Gives one neighbour's machines one input, if one waits. */
bool kh_node_step_neighbour(struct kh_node *node, struct kh_node_neighbour *neighbour);

/* ---- peering.c ---- */
bool kh_node_step_peer_event(struct kh_node *node, struct kh_node_neighbour *neighbour);
bool kh_node_step_peer(struct kh_node *node, struct kh_node_neighbour *neighbour);
kh_time kh_node_peer_timeout(const struct kh_node *node, const struct kh_node_neighbour *neighbour);

/* False for addresses that nobody can have, and those that would make us talk to ourselves or into
 * a wire we are not on, because a card, a name or the server says so. */
bool kh_node_make_reachable(const struct kh_node *node, struct kh_addr *addr);

/* ---- alert.c ---- */
bool kh_node_step_alert(struct kh_node *node);

/* ---- known.c ---- */
void kh_node_remember_departed(struct kh_node *node, const struct kh_room_member_id *id);
bool kh_node_is_departed(const struct kh_node *node, const struct kh_room_member_id *id);
/* Pins the name to the key; true if it came with another key before, said once for each key. */
bool kh_node_pin_name(struct kh_node *node, const char *name,
                      const uint8_t identity[static KH_KEY_LEN]);
/* The latest name of this key; "" if we never met it. */
const char *kh_node_name_of(const struct kh_node *node, const uint8_t identity[static KH_KEY_LEN]);

/* ---- server.c ---- */
void kh_node_enter(struct kh_node *node, enum kh_node_life life);
/* Seals our card as it is now; returns its length. */
size_t kh_node_write_card(struct kh_node *node, uint8_t out[static KH_ROOM_CARD_MAX]);
bool kh_node_step_server(struct kh_node *node);
bool kh_node_step_leave(struct kh_node *node);

#endif
