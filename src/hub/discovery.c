/* hub/discovery.c - NAT behaviour discovery, the server's half (RFC 5780 6.1).
 *
 * SPDX-License-Identifier: MIT
 */
#include "hub/discovery.h"

#define CHANGE_IP 0x4u /* RFC 5780 7.2 */
#define CHANGE_PORT 0x2u

/* Finds the family whose places hold this address, and the place's index in *place. */
static const struct kh_hub_discovery *
find_place(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES], const struct kh_addr *addr,
           size_t *place)
{
    for (size_t family = 0; family < KH_HUB_FAMILIES; family++) {
        for (size_t i = 0; i < KH_HUB_PLACES; i++) {
            if (kh_addr_equal(&discovery[family].places[i], addr)) {
                *place = i;
                return &discovery[family];
            }
        }
    }
    return NULL;
}

struct kh_hub_way kh_hub_way_of(const struct kh_hub_discovery discovery[KH_HUB_FAMILIES],
                                const struct kh_addr *arrived_at, struct kh_stun_message *message)
{
    struct kh_hub_way way = {.origin = *arrived_at};
    const struct kh_hub_discovery *found;
    size_t place;
    uint32_t change = 0;

    if (kh_addr_is_none(arrived_at))
        return way;
    found = find_place(discovery, arrived_at, &place);
    if (found == NULL)
        return way;
    kh_stun_accept(message, KH_STUN_CHANGE_REQUEST);
    kh_stun_accept(message, KH_STUN_PADDING);
    (void)kh_stun_find_u32(message, KH_STUN_CHANGE_REQUEST, &change);
    way.other = found->places[place ^ KH_HUB_OTHER_IP ^ KH_HUB_OTHER_PORT];
    if ((change & CHANGE_IP) != 0)
        place ^= KH_HUB_OTHER_IP;
    if ((change & CHANGE_PORT) != 0)
        place ^= KH_HUB_OTHER_PORT;
    way.origin = found->places[place];
    return way;
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
