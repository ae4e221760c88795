/* hub/discovery.h - the four places a server can answer from (RFC 5780 6).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_HUB_DISCOVERY_H
#define KH_HUB_DISCOVERY_H

#include "hub/hub.h"
#include "stun/stun.h"

/* Where a request arrived, and where from its answer leaves. */
struct kh_hub_way {
    struct kh_addr origin; /* the answer's source */
    struct kh_addr other;  /* OTHER-ADDRESS; none where the answer says nothing of it */
    uint16_t port; /* of the asker's address, that it goes to; 0: where the request came from */
};

/* Finds the way of an answer to this request.  Takes CHANGE-REQUEST and PADDING out of what the
 * request names and we do not know, if it arrived at one of the places and we can do it. */
struct kh_hub_way kh_hub_way_of(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES],
                                const struct kh_addr *arrived_at, struct kh_stun_message *message);

/* Sets the port of an answer to this datagram if it asks for another one of its own address
 * (RESPONSE-PORT), and if the answer is not longer than the question. */
void kh_hub_way_turn(struct kh_hub_way *way, const struct kh_datagram *datagram,
                     struct kh_stun_message *message);

/* What members who join at these places are told of others; returns how many entries. */
size_t kh_hub_alternates(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES],
                         struct kh_rendezvous_alternate out[static KH_RENDEZVOUS_ALTERNATES_MAX]);

/* Adds RESPONSE-ORIGIN and OTHER-ADDRESS, if there is another address. */
void kh_hub_way_write(const struct kh_hub_way *way, struct kh_stun_writer *writer);

/* Adds as much PADDING as the request has and as keeps the whole answer within len_max bytes. */
void kh_hub_padding_write(const struct kh_stun_message *request, struct kh_stun_writer *writer,
                          size_t len_max);

#endif
