/* io/sockaddr.c - struct sockaddr to struct kh_addr and back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/sockaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

bool kh_io_sockaddr_read(const struct sockaddr *sockaddr, struct kh_addr *out)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    switch (sockaddr->sa_family) {
    case AF_INET:
        memcpy(&in, sockaddr, sizeof in);
        *out = kh_addr_from_ip(KH_FAMILY_IPV4, (const uint8_t *)&in.sin_addr, ntohs(in.sin_port));
        return true;
    case AF_INET6:
        memcpy(&in6, sockaddr, sizeof in6);
        *out = kh_addr_from_ip(KH_FAMILY_IPV6, in6.sin6_addr.s6_addr, ntohs(in6.sin6_port));
        if (kh_addr_reach(out) == KH_REACH_LINK_LOCAL && out->family == KH_FAMILY_IPV6)
            out->scope = in6.sin6_scope_id;
        return true;
    default:
        return false;
    }
}

socklen_t kh_io_sockaddr_write(const struct kh_addr *addr, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(addr->port), .sin6_scope_id = addr->scope};

    switch (addr->family) {
    case KH_FAMILY_IPV4:
        memcpy(&in.sin_addr, addr->ip, sizeof in.sin_addr);
        memcpy(out, &in, sizeof in);
        return sizeof in;
    case KH_FAMILY_IPV6:
        memcpy(&in6.sin6_addr, addr->ip, sizeof in6.sin6_addr);
        memcpy(out, &in6, sizeof in6);
        return sizeof in6;
    default:
        return 0;
    }
}
