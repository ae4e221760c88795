/* hub/discovery.c - NAT behaviour discovery, the server's half (RFC 5780 6.1).
 *
 * SPDX-License-Identifier: MIT
 */
#include "hub/discovery.h"

#define CHANGE_IP 0x4u /* RFC 5780 7.2 */
#define CHANGE_PORT 0x2u

#define OTHER (KH_HUB_OTHER_IP | KH_HUB_OTHER_PORT)

static bool has_two_addresses(const struct kh_hub_discovery *discovery)
{
    return !kh_addr_is_none(&discovery->places[KH_HUB_OTHER_IP]);
}

/* The place in which all may differ that this server can vary. */
static size_t place_beside(const struct kh_hub_discovery *discovery, size_t place)
{
    return place ^ (has_two_addresses(discovery) ? OTHER : KH_HUB_OTHER_PORT);
}

static bool is_place(const struct kh_addr *place, const struct kh_addr *addr)
{
    return kh_addr_equal(place, addr) ||
           (kh_addr_reach(place) == KH_REACH_UNSPECIFIED && place->family == addr->family &&
            place->port == addr->port && place->transport == addr->transport);
}

/* Finds the family whose places hold this address, and the place's index in *place. */
static const struct kh_hub_discovery *
find_place(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES], const struct kh_addr *addr,
           size_t *place)
{
    for (size_t family = 0; family < KH_HUB_FAMILIES; family++) {
        for (size_t i = 0; i < KH_HUB_PLACES; i++) {
            if (!kh_addr_is_none(&discovery[family].places[i]) &&
                is_place(&discovery[family].places[i], addr)) {
                *place = i;
                return &discovery[family];
            }
        }
    }
    return NULL;
}

/* The place's address, seen from one where the ip is known. */
static struct kh_addr address_of(const struct kh_addr *place, const struct kh_addr *arrived_at)
{
    struct kh_addr addr = *place;

    if (kh_addr_reach(place) != KH_REACH_UNSPECIFIED)
        return addr;
    addr = *arrived_at;
    addr.port = place->port;
    return addr;
}

struct kh_hub_way kh_hub_way_of(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES],
                                const struct kh_addr *arrived_at, struct kh_stun_message *message)
{
    struct kh_hub_way way = {.origin = *arrived_at};
    const struct kh_hub_discovery *found;
    uint32_t change = 0;
    bool asks;
    size_t place;

    if (kh_addr_is_none(arrived_at))
        return way;
    found = find_place(discovery, arrived_at, &place);
    if (found == NULL)
        return way;
    asks = kh_stun_find_u32(message, KH_STUN_CHANGE_REQUEST, &change);
    if (!has_two_addresses(found) && (!asks || (change & CHANGE_IP) != 0))
        return way;
    kh_stun_accept(message, KH_STUN_CHANGE_REQUEST);
    kh_stun_accept(message, KH_STUN_PADDING);
    way.other = address_of(&found->places[place_beside(found, place)], arrived_at);
    if ((change & CHANGE_IP) != 0)
        place ^= KH_HUB_OTHER_IP;
    if ((change & CHANGE_PORT) != 0)
        place ^= KH_HUB_OTHER_PORT;
    way.origin = address_of(&found->places[place], arrived_at);
    return way;
}

/* Header and XOR-MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS, FINGERPRINT. */
static size_t answer_len(const struct kh_hub_way *way, const struct kh_stun_message *message,
                         const struct kh_addr *asker)
{
    size_t address_len = 8 + kh_addr_ip_len(asker);
    size_t count = kh_addr_is_none(&way->other) ? 1 : 3;

    return KH_STUN_HEADER_LEN + count * address_len + (message->has_fingerprint ? 8 : 0);
}

/* Nobody is reached that the asker could not reach without us: a datagram of its own length, at its
 * own address.  RFC 5780 has a client find out in this way how long its NAT remembers. */
void kh_hub_way_turn(struct kh_hub_way *way, const struct kh_datagram *datagram,
                     struct kh_stun_message *message)
{
    uint32_t value = 0;

    if (datagram->from.transport != KH_UDP ||
        !kh_stun_find_u32(message, KH_STUN_RESPONSE_PORT, &value) || value >> 16 == 0 ||
        answer_len(way, message, &datagram->from) > datagram->len)
        return;
    kh_stun_accept(message, KH_STUN_RESPONSE_PORT);
    way->port = (uint16_t)(value >> 16);
}

size_t kh_hub_alternates(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES],
                         struct kh_rendezvous_alternate out[static KH_RENDEZVOUS_ALTERNATES_MAX])
{
    size_t count = 0;

    for (size_t family = 0; family < KH_HUB_FAMILIES; family++) {
        const struct kh_addr *places = discovery[family].places;

        for (size_t i = 0; i < KH_HUB_PLACES; i++) {
            if (kh_addr_is_none(&places[i]))
                continue;
            out[count++] = (struct kh_rendezvous_alternate){
                .at = places[i], .other = places[place_beside(&discovery[family], i)]};
        }
    }
    return count;
}

void kh_hub_way_write(const struct kh_hub_way *way, struct kh_stun_writer *writer)
{
    if (kh_addr_is_none(&way->other))
        return;
    kh_stun_add_addr(writer, KH_STUN_RESPONSE_ORIGIN, &way->origin);
    kh_stun_add_addr(writer, KH_STUN_OTHER_ADDRESS, &way->other);
}

void kh_hub_padding_write(const struct kh_stun_message *request, struct kh_stun_writer *writer,
                          size_t len_max)
{
    static const uint8_t zeros[KH_DATAGRAM_MAX];
    struct kh_stun_attribute padding;
    size_t used = writer->bytes.len + 4; /* with the attribute's header */
    size_t len;

    if (!kh_stun_find(request, KH_STUN_PADDING, &padding) || used >= len_max)
        return;
    len = padding.len < len_max - used ? padding.len : len_max - used;
    len &= ~(size_t)3; /* RFC 5780 7.6: a multiple of four */
    if (len > 0 && len <= sizeof zeros)
        kh_stun_add(writer, KH_STUN_PADDING, zeros, len);
}
