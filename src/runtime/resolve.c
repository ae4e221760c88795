/* runtime/resolve.c - server names to addresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/resolve.h"

#include <netdb.h>
#include <stdio.h>

#include "io/sockaddr.h"

#define PER_FAMILY_MAX (KH_RENDEZVOUS_SERVERS_MAX / KH_RUNTIME_WAYS_MAX / 2)
#define PORT_OF_THE_WEB 443 /* where a network that is closed has its last door, if any */

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

size_t kh_runtime_resolve_ways(const struct kh_room_server *server, const struct kh_addr *addr,
                               bool udp_only, struct kh_addr out[static KH_RUNTIME_WAYS_MAX])
{
    for (size_t i = 0; i < KH_RUNTIME_WAYS_MAX; i++) {
        out[i] = *addr;
        out[i].transport = (uint8_t)i;
    }
    if (!server->tls)
        out[KH_TLS].port = PORT_OF_THE_WEB;
    return udp_only ? 1 : KH_RUNTIME_WAYS_MAX;
}
