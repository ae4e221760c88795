/* node/relayed.h - our place at the relay: what is kept of it, and who may ask for what.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_RELAYED_H
#define KH_NODE_RELAYED_H

#include "node/node.h"
#include "turn/turn.h"

/* See relayed.c. */
struct kh_node_relayed {
    struct kh_turn_client *turn; /* NULL: never through a relay */
    struct kh_addr server;       /* the rendezvous', as we speak with it now … */
    struct kh_addr local;        /* … from here */
    size_t choice;               /* which of the relays it tells of we ask */
    struct kh_addr at;           /* where that one is */
    kh_time give_up_at;          /* waiting for its answer, and ask the next; KH_NEVER: no need */
    enum kh_turn_families families;
    struct kh_addr addr4; /* what we hold there now; none: nothing */
    struct kh_addr addr6;
    bool changed;     /* and our candidates do not know yet */
    bool warning_due; /* that there is none, if nothing else is allowed: said once */
    bool has_warned;
    bool timeout_due;
    bool probe_due;
    bool release_due;
    kh_time ask_at; /* for an allocation, if there is none */
    kh_duration backoff;
    kh_time unneeded_since; /* KH_NEVER: somebody needs it */
    kh_time release_at;     /* told to nobody any more, and given back then; KH_NEVER: not so … */
    struct kh_addr kept4;   /* … else the addresses we still hold */
    struct kh_addr kept6;
};

/* ---- relayed.c ---- */
enum kh_status kh_node_relayed_init(struct kh_node *node);
/* The server saw us along this way: at a join, and whenever the way changed. */
void kh_node_relayed_met(struct kh_node *node, const struct kh_rendezvous_client_event *event);
/* Our connection to this address of the server is lost. */
void kh_node_relayed_disconnected(struct kh_node *node, const struct kh_addr *server);
/* What the path's datagrams travel by when they leave us: through a relay, by what we reach it. */
enum kh_transport kh_node_transport_of(const struct kh_node *node, const struct kh_ice_path *path);
bool kh_node_relayed_step(struct kh_node *node);
/* Takes what leaves from our relayed address, and puts it into the outbox as it leaves us. */
bool kh_node_relayed_send(struct kh_node *node, const struct kh_datagram *datagram);
/* Takes what the relay sends; *out is what a peer said in it, or empty. */
bool kh_node_relayed_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram,
                                     struct kh_datagram *out);
kh_time kh_node_relayed_timeout(const struct kh_node *node);

/* ---- need.c ---- */
void kh_node_need_init(struct kh_node_relayed *relayed);
void kh_node_need_weigh(struct kh_node *node); /* does anybody need our place at the relay now? */
bool kh_node_need_lasts(const struct kh_node *node); /* or did a moment ago? */
/* Withdraws what we hold from our candidates, or gives it back to them.  True: `changed`. */
bool kh_node_need_withdraw(struct kh_node *node);
bool kh_node_need_restore(struct kh_node *node);
kh_time kh_node_need_timeout(const struct kh_node *node);

#endif
