/* nat/offer.h - which mapping protocols the gateway speaks, found out without a mapping.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_OFFER_H
#define KH_NAT_OFFER_H

#include "base/datagram.h"
#include "base/time.h"

/* Zeroed, it is over before it began and nothing is offered. */
struct kh_nat_offer {
    bool pcp;                /* it answered by PCP (RFC 6887) … */
    bool natpmp;             /* … and by NAT-PMP (RFC 6886) … */
    struct kh_addr external; /* … by which it told its outside address; else none */
    struct kh_addr local;
    struct kh_addr gateway;
    unsigned attempts_left;
    kh_time next_at; /* of the next attempt, or of the end; 0: over */
    bool pcp_due;
    bool natpmp_due;
    uint8_t request[24];
};

/* Local is our IPv4 address and port, gateway the router's address, whose port is not looked at.
 * It takes a second at most. */
void kh_nat_offer_start(struct kh_nat_offer *offer, kh_time now, const struct kh_addr *local,
                        const struct kh_addr *gateway);
void kh_nat_offer_handle_datagram(struct kh_nat_offer *offer, const struct kh_datagram *datagram);
void kh_nat_offer_handle_timeout(struct kh_nat_offer *offer, kh_time now);
bool kh_nat_offer_next_transmit(struct kh_nat_offer *offer, struct kh_datagram *out);
kh_time kh_nat_offer_timeout(const struct kh_nat_offer *offer);
bool kh_nat_offer_is_done(const struct kh_nat_offer *offer);

#endif
