/* hub/hub.h - a whole server without its sockets: STUN answers, `Hi!`, and the registry.
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
#include "rendezvous/rendezvous.h"

struct kh_hub;

struct kh_hub_config {
    uint8_t seed[32];
    struct kh_rendezvous_registry_config registry; /* its seed and log are taken from here */
    const char *software; /* SOFTWARE attribute of Binding answers; NULL: none */
    struct kh_log log;
};

struct kh_hub_stats {
    uint64_t datagrams;
    uint64_t greetings; /* Hi! */
    uint64_t bindings;
    uint64_t dropped_malformed; /* neither of the above nor the registry's */
    uint64_t dropped_outbox_full;
    struct kh_rendezvous_registry_stats registry;
};

KH_MUST_USE enum kh_status kh_hub_new(struct kh_hub **out, const struct kh_hub_config *config);
void kh_hub_free(struct kh_hub *hub);

/* Datagram's `to` is the local address it arrived at: answers leave from there. */
void kh_hub_handle_datagram(struct kh_hub *hub, kh_time now, const struct kh_datagram *datagram);
void kh_hub_handle_timeout(struct kh_hub *hub, kh_time now);
bool kh_hub_next_transmit(struct kh_hub *hub, struct kh_datagram *out);
kh_time kh_hub_timeout(const struct kh_hub *hub);
struct kh_hub_stats kh_hub_stats(const struct kh_hub *hub);

#endif
