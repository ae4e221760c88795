/* nat/lifetime.h - finds out how long the NAT in front of us remembers who is silent (RFC
 * 5780 4.6).
 *
 * SPDX-License-Identifier: MIT
 *
 * Several sockets make the server known to the NAT at once, and each stays silent for another time.
 * Then one more socket asks the server to answer to the silent one's public port: what arrives was
 * remembered.  All at once take as long as the longest silence that is survived, not the sum.
 */
#ifndef KH_NAT_LIFETIME_H
#define KH_NAT_LIFETIME_H

#include "base/datagram.h"
#include "base/time.h"

#define KH_NAT_LIFETIME_STEPS 10
#define KH_NAT_LIFETIME_SOCKETS (KH_NAT_LIFETIME_STEPS + 1)
#define KH_NAT_LIFETIME_LONGEST KH_SECONDS(298)

struct kh_nat_lifetime;

struct kh_nat_lifetime_config {
    uint8_t seed[32];
    struct kh_addr server;
    /* Ours, of the server's family, not used before; the ports must be known. */
    struct kh_addr sockets[KH_NAT_LIFETIME_SOCKETS];
};

struct kh_nat_lifetime_result {
    bool reached;          /* the server answered at all */
    bool refused;          /* but it does not answer to another port */
    unsigned remembered_s; /* a silence as long was survived; 0: none */
    unsigned forgotten_s;  /* one as long was not; 0: none yet */
};

KH_MUST_USE enum kh_status kh_nat_lifetime_new(struct kh_nat_lifetime **out,
                                               const struct kh_nat_lifetime_config *config);
void kh_nat_lifetime_free(struct kh_nat_lifetime *lifetime); /* NULL is allowed */

void kh_nat_lifetime_start(struct kh_nat_lifetime *lifetime, kh_time now);
void kh_nat_lifetime_handle_datagram(struct kh_nat_lifetime *lifetime, kh_time now,
                                     const struct kh_datagram *datagram);
void kh_nat_lifetime_handle_timeout(struct kh_nat_lifetime *lifetime, kh_time now);
bool kh_nat_lifetime_next_transmit(struct kh_nat_lifetime *lifetime, struct kh_datagram *out);
kh_time kh_nat_lifetime_timeout(const struct kh_nat_lifetime *lifetime);

/* True when a silence was too long, or none was. */
bool kh_nat_lifetime_is_done(const struct kh_nat_lifetime *lifetime);
struct kh_nat_lifetime_result kh_nat_lifetime_result(const struct kh_nat_lifetime *lifetime);

#endif
