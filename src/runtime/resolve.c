/* runtime/resolve.c - server names to addresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/resolve.h"

#include <netdb.h>
#include <stdio.h>

#include "io/sockaddr.h"

#define PER_FAMILY_MAX (KH_RENDEZVOUS_SERVERS_MAX / 4) /* each by UDP and by TCP */

static const struct addrinfo datagram_hints = {.ai_socktype = SOCK_DGRAM};

bool kh_runtime_resolve_numeric(const struct kh_room_server *server, struct kh_runtime_addrs *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char port[8];

    (void)snprintf(port, sizeof port, "%u", server->port);
    if (getaddrinfo(server->host, port, &hints, &list) != 0)
        return false;
    kh_runtime_resolve_choose(list, out);
    freeaddrinfo(list);
    return out->count > 0;
}

int kh_runtime_resolve_start(uv_loop_t *loop, uv_getaddrinfo_t *request,
                             const struct kh_room_server *server, uv_getaddrinfo_cb callback)
{
    char port[8];

    (void)snprintf(port, sizeof port, "%u", server->port);
    return uv_getaddrinfo(loop, request, callback, server->host, port, &datagram_hints);
}

void kh_runtime_resolve_choose(const struct addrinfo *list, struct kh_runtime_addrs *out)
{
    size_t ipv4 = 0;
    size_t ipv6 = 0;

    out->count = 0;
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        struct kh_addr addr;
        size_t *taken;

        if (!kh_io_sockaddr_read(at->ai_addr, &addr))
            continue;
        taken = addr.family == KH_FAMILY_IPV4 ? &ipv4 : &ipv6;
        if (*taken < PER_FAMILY_MAX) {
            (*taken)++;
            out->list[out->count++] = addr;
        }
    }
}
