/* node/node.h - a whole member without its sockets: its server, its room, many peers.
 *
 * SPDX-License-Identifier: MIT
 *
 * The composite that forwards: rendezvous tells who is there, peers find paths and carry channels,
 * the room decides what to say on them.  The owner tells it the local addresses its socket has,
 * feeds datagrams and time, and after each input drains the events first, until there are none, and
 * then the datagrams: an event that is taken may set off more of both.
 */
#ifndef KH_NODE_NODE_H
#define KH_NODE_NODE_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"
#include "peer/peer.h"
#include "rendezvous/rendezvous.h"
#include "room/room.h"

#define KH_NODE_ADDRS_MAX 12     /* local addresses used as host candidates */
#define KH_NODE_MAPPED_MAX 2     /* one by PCP or NAT-PMP, one by UPnP */
#define KH_NODE_SOCKETS_MAX 1104 /* spare ones: a punch, those that won one, and a few samples */

struct kh_node;

enum kh_node_paths {
    KH_NODE_PATHS_ALL,
    KH_NODE_PATHS_DIRECT, /* never through a relay, ours or the other side's */
    KH_NODE_PATHS_RELAY,  /* through ours only: nobody but the server is told an address of us */
};

struct kh_node_config {
    uint8_t secret[KH_ROOM_SECRET_LEN]; /* of the link */
    struct kh_addr servers[KH_RENDEZVOUS_SERVERS_MAX];
    size_t server_count;
    struct kh_secret identity;
    char name[KH_ROOM_NAME_MAX + 1];
    /* Ours under .local: told instead of our private addresses; empty: none. */
    char local_name[KH_TEXT_LOCAL_NAME_MAX + 1];
    struct kh_rendezvous_ticket ticket;
    enum kh_node_paths paths;
    bool tcp_ipv4, tcp_ipv6; /* TCP is listened for on the port numbers of our UDP addresses, too */
    bool no_punching;        /* neither prediction nor birthdays: ordinary checks only */
    uint8_t seed[32];
    struct kh_log log;
};

enum kh_node_event_kind {
    KH_NODE_EVENT_JOINED,      /* member: our own id; mapped; ticket: worth keeping */
    KH_NODE_EVENT_MEMBER,      /* member, name, identity: someone is present (again) */
    KH_NODE_EVENT_GONE,        /* member, name */
    KH_NODE_EVENT_PATH,        /* member, name, path: at each change */
    KH_NODE_EVENT_OPEN,        /* member, name: the channel to it is open */
    KH_NODE_EVENT_PATH_LOST,   /* member, name: no way at present; still trying */
    KH_NODE_EVENT_MESSAGE,     /* entry, member (author's stay), name, text, time_ms, via */
    KH_NODE_EVENT_DELIVERED,   /* entry, member (who has it), name */
    KH_NODE_EVENT_UNREACHABLE, /* the server does not answer; still trying */
    KH_NODE_EVENT_WARNING,     /* code, text */
    KH_NODE_EVENT_ERROR,       /* code, text: cannot go on */
    KH_NODE_EVENT_SOCKETS,     /* socket_count: how many spare ones to open, kh_node_add_sockets */
    KH_NODE_EVENT_SOCKETS_SPENT, /* ports, socket_count: spare ones to close */
    KH_NODE_EVENT_NAME,          /* text, family: who has this name on our links? kh_node_named */
    KH_NODE_EVENT_LEFT,          /* after leave: all is said, the node may be freed */
};

/* Pointers in it are valid until the next event is asked for. */
struct kh_node_event {
    enum kh_node_event_kind kind;
    struct kh_room_member_id member;
    const char *name; /* terminated */
    uint8_t identity[KH_KEY_LEN];
    struct kh_ice_path path;
    enum kh_transport transport; /* of the path; through a relay: by which we reach it */
    struct kh_addr mapped;
    struct kh_rendezvous_ticket ticket;
    struct kh_room_entry_id entry;
    const char *text; /* MESSAGE: not terminated; WARNING, ERROR and NAME: terminated too */
    size_t text_len;
    uint64_t time_ms;
    enum kh_room_carrier via;
    const uint16_t *ports;
    size_t socket_count;
    enum kh_family family;
    const char *code; /* WARNING and ERROR: a word for programs, such as "name-changed-key" */
};

struct kh_node_member {
    struct kh_room_member_id id;
    char name[KH_ROOM_NAME_MAX + 1];
    uint8_t identity[KH_KEY_LEN];
    bool open; /* the channel */
    bool has_path;
    struct kh_ice_path path;
    enum kh_transport transport; /* as in the event */
    size_t undelivered;          /* entries of ours it does not have yet */
    struct kh_nat_class nat;     /* as its card tells it */
};

struct kh_node_punch_stats {
    uint64_t begun;     /* of any kind */
    uint64_t succeeded; /* a direct path came while it ran */
    uint64_t probes;    /* to ports that were guessed or foretold */
    uint64_t openers;   /* to where the peer is, from spare sockets */
};

struct kh_node_stats {
    struct kh_node_punch_stats punch;
    uint64_t datagrams;
    uint64_t dropped_stray; /* nobody's */
    uint64_t dropped_outbox_full;
    uint64_t cards_refused;  /* forged, malformed, or older than what we have */
    uint64_t frames_refused; /* of the room, that nobody could take; it repeats them */
    struct kh_rendezvous_client_stats rendezvous;
    struct kh_room_stats room;
};

KH_MUST_USE enum kh_status kh_node_new(struct kh_node **out, const struct kh_node_config *config);
void kh_node_free(struct kh_node *node);

/* An address of our socket, with its port.  Loopback counts too: the node tells others of loopback
 * and link-local addresses only if it has no better ones.  KH_ERR_FULL past KH_NODE_ADDRS_MAX. */
KH_MUST_USE enum kh_status kh_node_add_addr(struct kh_node *node, kh_time now,
                                            const struct kh_addr *addr);
void kh_node_remove_addr(struct kh_node *node, kh_time now, const struct kh_addr *addr);
/* A port of our NAT, got by PCP, NAT-PMP or UPnP, leads to this address of ours: the card tells it,
 * now or, after a join, in its next version.  KH_ERR_FULL past KH_NODE_MAPPED_MAX. */
KH_MUST_USE enum kh_status kh_node_add_mapped(struct kh_node *node, kh_time now,
                                              const struct kh_addr *base,
                                              const struct kh_addr *mapped);
void kh_node_remove_mapped(struct kh_node *node, kh_time now, const struct kh_addr *mapped);
/* Answers SOCKETS, once: the ports of so many new UDP sockets for IPv4, bound to all our addresses.
 * Fewer than asked for, or none, is an answer too. */
void kh_node_add_sockets(struct kh_node *node, kh_time now, const uint16_t *ports, size_t count);
/* Answers NAME: the addresses that were found, of which the first two are used; none, too. */
void kh_node_named(struct kh_node *node, kh_time now, const char *name, enum kh_family family,
                   const struct kh_addr *addrs, size_t count);
/* Joins the room; call after the addresses are added.  What was said before goes with the join. */
void kh_node_join(struct kh_node *node, kh_time now);
/* See kh_room_say for the errors.  time_ms is Unix time. */
KH_MUST_USE enum kh_status kh_node_say(struct kh_node *node, kh_time now, uint64_t time_ms,
                                       const char *text, size_t len, struct kh_room_entry_id *out);
/* The system woke up or a network changed in a way not told by add and remove. */
void kh_node_probe(struct kh_node *node, kh_time now);
/* The connection to this address of the server is lost: another is to be found.  Of the paths to
 * peers only those through the server's relay depend on it. */
void kh_node_disconnected(struct kh_node *node, kh_time now, const struct kh_addr *server);
/* Says goodbye to server and peers; LEFT comes within 2 s whatever the network does. */
void kh_node_leave(struct kh_node *node, kh_time now);

/* A TCP connection between a port of ours and a peer or the server ended, or could not be made.
 * What goes by TCP from one of our addresses opens one from there if there is none; a `from` with a
 * port and no IP leaves the interface to the system. */
void kh_node_handle_lost(struct kh_node *node, kh_time now, const struct kh_addr *local,
                         const struct kh_addr *remote);
bool kh_node_handle_datagram(struct kh_node *node, kh_time now, const struct kh_datagram *datagram);
void kh_node_handle_timeout(struct kh_node *node, kh_time now);
bool kh_node_next_transmit(struct kh_node *node, struct kh_datagram *out);
bool kh_node_next_event(struct kh_node *node, struct kh_node_event *out);
kh_time kh_node_timeout(const struct kh_node *node);

/* What is known of the NAT in front of us; zeroed: nothing (yet). */
const struct kh_nat_class *kh_node_nat(const struct kh_node *node);
const struct kh_room_member_id *kh_node_id(const struct kh_node *node);
/* The n-th present member, from 0; false past the last. */
bool kh_node_member_at(const struct kh_node *node, size_t n, struct kh_node_member *out);
size_t kh_node_undelivered(const struct kh_node *node); /* to all present members together */
bool kh_node_is_lacking(const struct kh_node *node);    /* see kh_room_is_lacking */
struct kh_node_stats kh_node_stats(const struct kh_node *node);

#endif
