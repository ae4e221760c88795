/* knotholed/discovery.c - opens the other port of two addresses (RFC 5780 6).
 *
 * SPDX-License-Identifier: MIT
 */
#include "discovery.h"

#include <stdio.h>
#include <string.h>

static bool has_socket(const struct kh_io_udp_set *udp, const struct kh_addr *addr)
{
    for (size_t i = 0; i < udp->count; i++) {
        if (kh_addr_equal(&udp->sockets[i].addr, addr))
            return true;
    }
    return false;
}

/* Finds two addresses of this family with one port; false if there are none. */
static bool find_two(const struct kh_io_udp_set *udp, enum kh_family family,
                     struct kh_hub_discovery *out)
{
    for (size_t i = 0; i < udp->count; i++) {
        const struct kh_addr *one = &udp->sockets[i].addr;

        if (one->family != family || kh_addr_reach(one) == KH_REACH_UNSPECIFIED)
            continue;
        for (size_t j = i + 1; j < udp->count; j++) {
            const struct kh_addr *two = &udp->sockets[j].addr;

            if (two->family != family || kh_addr_ip_equal(one, two) || one->port != two->port ||
                kh_addr_reach(two) == KH_REACH_UNSPECIFIED)
                continue;
            out->places[0] = *one;
            out->places[KH_HUB_OTHER_IP] = *two;
            return true;
        }
    }
    return false;
}

/* Opens the next port beside a place, unless it is served already. */
static bool open_next(struct kh_io_udp_set *udp, struct kh_hub_discovery *discovery, size_t place)
{
    struct kh_addr *addr = &discovery->places[place | KH_HUB_OTHER_PORT];
    char text[KH_ADDR_TEXT_MAX];
    int error;

    *addr = discovery->places[place];
    if (addr->port == UINT16_MAX)
        return false;
    addr->port++;
    error = has_socket(udp, addr) ? 0 : kh_io_udp_set_open(udp, addr);
    if (error != 0)
        (void)fprintf(stderr, "knotholed: no NAT behaviour discovery: cannot listen on %s: %s\n",
                      kh_addr_text(addr, text), strerror(error));
    return error == 0;
}

void kh_knotholed_discovery_open(struct kh_io_udp_set *udp,
                                 struct kh_hub_discovery out[KH_HUB_FAMILIES])
{
    static const enum kh_family families[KH_HUB_FAMILIES] = {KH_FAMILY_IPV4, KH_FAMILY_IPV6};

    for (size_t i = 0; i < KH_HUB_FAMILIES; i++) {
        if (!find_two(udp, families[i], &out[i]))
            continue;
        if (!open_next(udp, &out[i], 0) || !open_next(udp, &out[i], KH_HUB_OTHER_IP))
            out[i] = (struct kh_hub_discovery){0};
    }
}
