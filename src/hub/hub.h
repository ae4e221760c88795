/* hub/hub.h - a whole server without its sockets: STUN answers, `Hi!`, the registry, the relay.
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything behind one port, told apart by the first bytes (RFC 7983).
 */
#ifndef KH_HUB_HUB_H
#define KH_HUB_HUB_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"
#include "relay/relay.h"
#include "rendezvous/rendezvous.h"

struct kh_hub;

/* A server with two addresses of a family and two ports on each can tell a client what its NAT
 * does (RFC 5780); one with a second port only, the half of it.  The bits of an index say in what a
 * place differs from the first one. */
#define KH_HUB_OTHER_PORT 1u
#define KH_HUB_OTHER_IP 2u
#define KH_HUB_PLACES 4
#define KH_HUB_FAMILIES 2

struct kh_hub_discovery {
    /* All none: not offered.  The latter two none: one address, whose ip may be unspecified, which
     * stands for each of our addresses. */
    struct kh_addr places[KH_HUB_PLACES];
};

/* A relay elsewhere that members are sent to, with credentials by its shared secret. */
struct kh_hub_turn {
    struct kh_addr servers[2]; /* one of each family, or one; both none: there is no such relay */
    struct kh_span secret;     /* at most KH_RELAY_SECRET_MAX bytes; copied */
    kh_duration lifetime;      /* that credentials are good for a new allocation; 0: a day */
};

struct kh_hub_config {
    uint8_t seed[32];
    struct kh_hub_discovery discovery[KH_HUB_FAMILIES]; /* one of each family, in any order */
    struct kh_rendezvous_registry_config registry;      /* its seed and log are taken from here */
    /* The relay, likewise; without an address (the default) there is none, and TURN is dropped. */
    struct kh_relay_config relay;
    struct kh_hub_turn turn; /* preferred to it by members who reach it */
    const char *software;    /* SOFTWARE attribute of Binding answers; NULL: none */
    struct kh_log log;
};

struct kh_hub_stats {
    uint64_t datagrams;
    uint64_t greetings; /* Hi! */
    uint64_t bindings;
    uint64_t changes;           /* of these, answered from another place … */
    uint64_t turns;             /* … or to another port of the asker's address */
    uint64_t dropped_malformed; /* neither of the above nor the registry's */
    uint64_t dropped_outbox_full;
    struct kh_rendezvous_registry_stats registry;
    struct kh_relay_stats relay;
};

KH_MUST_USE enum kh_status kh_hub_new(struct kh_hub **out, const struct kh_hub_config *config);
void kh_hub_free(struct kh_hub *hub);

/* Datagram's `to` is the local address it arrived at: answers leave from there, or from another
 * place of `discovery` if CHANGE-REQUEST asks for that. */
void kh_hub_handle_datagram(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram);
void kh_hub_handle_timeout(struct kh_hub *hub, kh_time now);

/* What the owner of relayed sockets has to tell and to do: see relay.h, which these hand on to. */
void kh_hub_opened(struct kh_hub *hub, kh_time now, const struct kh_addr *addr, bool ok);
void kh_hub_handle_unreachable(struct kh_hub *hub, kh_time now,
                               const struct kh_relay_unreachable *error);
void kh_hub_disconnected(struct kh_hub *hub, kh_time now, const struct kh_addr *client,
                         const struct kh_addr *server);
void kh_hub_set_wall_clock(struct kh_hub *hub, kh_time now, uint64_t unix_seconds);
bool kh_hub_next_event(struct kh_hub *hub, struct kh_relay_event *out);

bool kh_hub_next_transmit(struct kh_hub *hub, struct kh_datagram *out);
bool kh_hub_dont_fragment(const struct kh_hub *hub); /* the datagram given last: send it with DF */
kh_time kh_hub_timeout(const struct kh_hub *hub);
struct kh_hub_stats kh_hub_stats(const struct kh_hub *hub);

#endif
