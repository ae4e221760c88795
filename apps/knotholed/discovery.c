/* knotholed/discovery.c - opens the other ports that tell clients what their NATs do (RFC 5780 6).
 *
 * SPDX-License-Identifier: MIT
 */
#include "discovery.h"

#include <stdio.h>
#include <string.h>

#define RANGE_MIN 64 /* ports: a relay with fewer needs each of them */
#define TRIES_MAX 16 /* as many as a relay tries */

static const enum kh_family families[KH_HUB_FAMILIES] = {KH_FAMILY_IPV4, KH_FAMILY_IPV6};

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
    for (size_t i = 0; i < KH_HUB_FAMILIES; i++) {
        if (!find_two(udp, families[i], &out[i]))
            continue;
        if (!open_next(udp, &out[i], 0) || !open_next(udp, &out[i], KH_HUB_OTHER_IP))
            out[i] = (struct kh_hub_discovery){0};
    }
}

static const struct kh_addr *first_of(const struct kh_io_udp_set *udp, enum kh_family family)
{
    for (size_t i = 0; i < udp->count; i++) {
        if (udp->sockets[i].addr.family == family)
            return &udp->sockets[i].addr;
    }
    return NULL;
}

void kh_knotholed_discovery_open_second(struct kh_io_udp_set *udp,
                                        const struct kh_knotholed_port_range *range,
                                        struct kh_hub_discovery out[KH_HUB_FAMILIES])
{
    for (size_t i = 0; i < KH_HUB_FAMILIES; i++) {
        const struct kh_addr *first = first_of(udp, families[i]);
        struct kh_addr second;

        if (first == NULL || !kh_addr_is_none(&out[i].places[0]) ||
            range->max - range->min + 1 < RANGE_MIN)
            continue;
        out[i].places[0] = second = *first;
        for (uint16_t tries = 0; tries < TRIES_MAX; tries++) {
            second.port = (uint16_t)(range->max - tries);
            if (!has_socket(udp, &second) && kh_io_udp_set_open(udp, &second) == 0) {
                out[i].places[KH_HUB_OTHER_PORT] = second;
                break;
            }
        }
        if (kh_addr_is_none(&out[i].places[KH_HUB_OTHER_PORT]))
            out[i] = (struct kh_hub_discovery){0};
    }
}
