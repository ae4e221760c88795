/* relay/machine.h - what the files of the relay share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RELAY_MACHINE_H
#define KH_RELAY_MACHINE_H

#include "base/ring.h"
#include "relay/guard.h"
#include "relay/table.h"
#include "relay/tally.h"

/* One input yields two CLOSE at most, or a CLOSE and an OPEN; a timeout stops while four fit. */
#define KH_RELAY_EVENTS_MAX 8
#define KH_RELAY_BUCKETS 4096 /* of the challenge rate: prefixes that collide share theirs */

/* RFC 8489 and RFC 8656 19 */
enum kh_relay_error {
    KH_RELAY_BAD_REQUEST = 400,
    KH_RELAY_UNAUTHENTICATED = 401,
    KH_RELAY_FORBIDDEN = 403,
    KH_RELAY_UNKNOWN_ATTRIBUTE = 420,
    KH_RELAY_MISMATCH = 437,
    KH_RELAY_STALE_NONCE = 438,
    KH_RELAY_UNSUPPORTED_FAMILY = 440,
    KH_RELAY_WRONG_CREDENTIALS = 441,
    KH_RELAY_UNSUPPORTED_TRANSPORT = 442,
    KH_RELAY_FAMILY_MISMATCH = 443,
    KH_RELAY_QUOTA_REACHED = 486,
    KH_RELAY_NO_CAPACITY = 508,
};

struct kh_relay {
    struct kh_relay_config config; /* defaults filled in; realm and secret point below */
    char realm[KH_RELAY_REALM_MAX + 1];
    uint8_t secret[KH_RELAY_SECRET_MAX];
    struct kh_rng rng;
    struct kh_secret nonce_key;
    struct kh_secret ticket_key;
    uint64_t serial; /* of the ticket made last */
    struct kh_relay_table table;
    struct kh_relay_tally users;
    struct kh_relay_tally prefixes;
    kh_time challenged_until[KH_RELAY_BUCKETS]; /* paid for by the challenges so far */
    kh_time wall_at;                            /* when the calendar said … */
    uint64_t wall_seconds;                      /* … this; 0: never told */
    kh_time now;                                /* of the input being handled */
    struct kh_relay_event events[KH_RELAY_EVENTS_MAX];
    struct kh_ring event_ring;
    struct kh_datagram transmit; /* len 0: none; an input yields one at most */
    bool has_transmit;           /* an empty datagram is one too */
    bool dont_fragment;
    uint8_t data[KH_RELAY_DATA_MAX];
    struct kh_relay_stats stats;
};

/* Who asked, and what makes them believe the answer. */
struct kh_relay_caller {
    struct kh_addr client;
    struct kh_addr server;
    const uint8_t *id;
    uint16_t method;
    bool has_fingerprint;
    struct kh_relay_key key; /* len 0: not authenticated */
    uint64_t username;       /* hashes, as in the allocation */
    uint64_t user;
    size_t request_len;
    const struct kh_stun_message *message;  /* NULL where a stored request is answered */
    struct kh_relay_allocation *allocation; /* of this 5-tuple, or by its ticket; or NULL */
    bool by_ticket;
};

/* ---- answer.c ---- */

struct kh_stun_writer kh_relay_answer_begin(struct kh_relay *relay,
                                            const struct kh_relay_caller *caller,
                                            enum kh_stun_class class);
void kh_relay_answer_end(struct kh_relay *relay, const struct kh_relay_caller *caller,
                         struct kh_stun_writer *writer);
/* Answers with this error; 401 and 438 are for kh_relay_challenge. */
void kh_relay_refuse(struct kh_relay *relay, const struct kh_relay_caller *caller, unsigned code);
/* Answers 401 or 438 with what the client needs to try again, or not at all where that is longer
 * than the request and the client's prefix got too many of them already. */
void kh_relay_challenge(struct kh_relay *relay, const struct kh_relay_caller *caller,
                        unsigned code);
/* Queues the first len bytes of relay->data. */
void kh_relay_transmit(struct kh_relay *relay, const struct kh_addr *from, const struct kh_addr *to,
                       size_t len);

/* ---- auth.c ---- */

/* Checks the request's credentials (RFC 8489 9.2.4) and fills in caller's; answers itself and
 * returns false if they are not good. */
bool kh_relay_authenticate(struct kh_relay *relay, struct kh_relay_caller *caller,
                           const struct kh_span *password);
/* The hash of an IPv4 /24 or IPv6 /48. */
uint64_t kh_relay_prefix_of(const struct kh_relay *relay, const struct kh_addr *addr);

/* ---- allocate.c ---- */

void kh_relay_allocate(struct kh_relay *relay, const struct kh_relay_caller *caller);
void kh_relay_refresh(struct kh_relay *relay, const struct kh_relay_caller *caller);
void kh_relay_allocation_opened(struct kh_relay *relay, const struct kh_addr *addr, bool ok);
/* Closes all its ways, and it is no more. */
void kh_relay_allocation_forget(struct kh_relay *relay, struct kh_relay_allocation *allocation);
/* Closes the ways whose time is over, and forgets the allocation with the last of them. */
void kh_relay_allocation_expire(struct kh_relay *relay, struct kh_relay_allocation *allocation);

/* ---- mobility.c ---- */

#define KH_RELAY_TICKET_LEN 32 /* base64url of 24 bytes */

/* Gives the allocation that a Refresh from elsewhere brings the ticket of, or NULL. */
struct kh_relay_allocation *kh_relay_ticket_find(struct kh_relay *relay,
                                                 const struct kh_stun_message *message);
/* Makes the allocation's ticket a new one. */
void kh_relay_ticket_renew(struct kh_relay *relay, struct kh_relay_allocation *allocation);
/* Adds its ticket, if it has one; the same one always the same way. */
void kh_relay_ticket_add(const struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                         struct kh_stun_writer *writer);
/* The caller's Refresh came by another 5-tuple than its allocation has: moves it there, or begins
 * to.  Returns 0 or an error. */
unsigned kh_relay_move(struct kh_relay *relay, const struct kh_relay_caller *caller);
/* The client says something by this 5-tuple: if it was moving there, it has. */
void kh_relay_settle_move(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                          const struct kh_addr *client, const struct kh_addr *server);

/* ---- way.c ---- */

struct kh_addr kh_relay_way_local(const struct kh_relay *relay, const struct kh_relay_way *way);
struct kh_addr kh_relay_way_external(const struct kh_relay *relay, const struct kh_relay_way *way);
/* Gives the open way of that family, or NULL. */
struct kh_relay_way *kh_relay_way_find(struct kh_relay_allocation *allocation, uint8_t family);
/* Gives the way bound to that local address in whichever state, and whose it is; or NULL. */
struct kh_relay_way *kh_relay_way_at(const struct kh_relay *relay, const struct kh_addr *local,
                                     struct kh_relay_allocation **owner);
/* Gives the open way that peers know by this external or local address, and whose it is; or NULL.
 * Ports held in reserve count, so that their peers can be named before they are taken. */
struct kh_relay_way *kh_relay_way_inside(const struct kh_relay *relay, const struct kh_addr *addr,
                                         struct kh_relay_allocation **owner);
/* Picks a free port and asks the owner to bind it; fails the way if there is none. */
void kh_relay_way_open(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                       struct kh_relay_way *way);
/* Asks the owner to close it, if it has a socket, and frees the port. */
void kh_relay_way_close(struct kh_relay *relay, struct kh_relay_way *way);
/* Frees the port of a way that could not be bound. */
void kh_relay_way_release(struct kh_relay *relay, const struct kh_relay_way *way);
void kh_relay_event_push(struct kh_relay *relay, enum kh_relay_event_kind kind,
                         const struct kh_addr *addr);

/* ---- permit.c ---- */

void kh_relay_create_permission(struct kh_relay *relay, const struct kh_relay_caller *caller);
void kh_relay_channel_bind(struct kh_relay *relay, const struct kh_relay_caller *caller);

/* ---- forward.c ---- */

/* Takes a Send indication. */
void kh_relay_send(struct kh_relay *relay, const struct kh_datagram *datagram,
                   const struct kh_stun_message *message);
/* Takes ChannelData that holds as much as it claims. */
void kh_relay_channel_data(struct kh_relay *relay, const struct kh_datagram *datagram);
/* Takes what a peer sent to an open way. */
void kh_relay_from_peer(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                        const struct kh_addr *peer, struct kh_span data);
/* Tells the client of an ICMP error. */
void kh_relay_tell_unreachable(struct kh_relay *relay, const struct kh_relay_allocation *allocation,
                               const struct kh_relay_unreachable *error);

#endif
