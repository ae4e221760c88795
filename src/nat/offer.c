/* nat/offer.c - ANNOUNCE by PCP (RFC 6887 14.1) and the address request of NAT-PMP (RFC 6886 3.2).
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/offer.h"

#include <assert.h>

#include "base/bytes.h"
#include "nat/portmap.h"
#include "nat/wire.h"

#define ATTEMPTS_MAX 4
#define INTERVAL KH_MILLISECONDS(250) /* one hop away: RFC 6886 3.1 begins with that, too */
#define ANNOUNCE_LEN 24
#define UNSUPP_OPCODE 4 /* RFC 6887 7.4: PCP all the same */

static void end(struct kh_nat_offer *offer)
{
    offer->next_at = 0;
    offer->pcp_due = false;
    offer->natpmp_due = false;
}

void kh_nat_offer_start(struct kh_nat_offer *offer, kh_time now, const struct kh_addr *local,
                        const struct kh_addr *gateway)
{
    assert(local->family == KH_FAMILY_IPV4 && gateway->family == KH_FAMILY_IPV4 && now > 0);
    *offer = (struct kh_nat_offer){
        .local = *local, .gateway = *gateway, .attempts_left = ATTEMPTS_MAX, .next_at = now};
    offer->gateway.port = KH_NAT_PORTMAP_PORT;
    kh_nat_offer_handle_timeout(offer, now);
}

void kh_nat_offer_handle_datagram(struct kh_nat_offer *offer, const struct kh_datagram *datagram)
{
    struct kh_nat_answer answer;

    if (offer->next_at == 0 || !kh_addr_equal(&datagram->from, &offer->gateway) ||
        !kh_nat_answer_parse(datagram->data, datagram->len, &answer) ||
        answer.opcode != KH_NAT_ANNOUNCE)
        return;
    if (answer.version == KH_NAT_PCP_VERSION) {
        offer->pcp =
            offer->pcp || answer.result == KH_NAT_SUCCESS || answer.result == UNSUPP_OPCODE;
    } else if (answer.version == KH_NAT_PMP_VERSION && answer.result == KH_NAT_SUCCESS) {
        offer->natpmp = true;
        offer->external = answer.external;
    }
    if (offer->pcp && offer->natpmp)
        end(offer);
}

void kh_nat_offer_handle_timeout(struct kh_nat_offer *offer, kh_time now)
{
    if (offer->next_at == 0 || now < offer->next_at)
        return;
    if (offer->attempts_left == 0) {
        end(offer);
        return;
    }
    offer->attempts_left--;
    offer->next_at = kh_time_add(now, INTERVAL);
    offer->pcp_due = !offer->pcp;
    offer->natpmp_due = !offer->natpmp;
}

/* RFC 6887 7.1: a header alone, with our address as an IPv4-mapped one. */
static size_t write_announce(struct kh_nat_offer *offer)
{
    struct kh_writer writer = kh_writer_to(offer->request, sizeof offer->request);

    kh_write_u8(&writer, KH_NAT_PCP_VERSION);
    kh_write_u8(&writer, KH_NAT_ANNOUNCE);
    kh_write_zeros(&writer, 6 + 10);
    kh_write_u16(&writer, 0xffff);
    kh_write_bytes(&writer, offer->local.ip, 4);
    assert(!writer.failed && writer.len == ANNOUNCE_LEN);
    return writer.len;
}

bool kh_nat_offer_next_transmit(struct kh_nat_offer *offer, struct kh_datagram *out)
{
    if (!offer->pcp_due && !offer->natpmp_due)
        return false;
    *out = (struct kh_datagram){.from = offer->local, .to = offer->gateway, .data = offer->request};
    if (offer->pcp_due) {
        offer->pcp_due = false;
        out->len = write_announce(offer);
        return true;
    }
    offer->natpmp_due = false;
    kh_nat_pmp_write_address(offer->request);
    out->len = KH_NAT_PMP_ADDRESS_LEN;
    return true;
}

kh_time kh_nat_offer_timeout(const struct kh_nat_offer *offer)
{
    return offer->next_at == 0 ? KH_NEVER : offer->next_at;
}

bool kh_nat_offer_is_done(const struct kh_nat_offer *offer)
{
    return offer->next_at == 0;
}
