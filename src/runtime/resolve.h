/* runtime/resolve.h - the addresses of a server's name, without waiting for them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RUNTIME_RESOLVE_H
#define KH_RUNTIME_RESOLVE_H

#include <uv.h>

#include "rendezvous/rendezvous.h"
#include "room/room.h"

struct kh_runtime_addrs {
    struct kh_addr list[KH_RENDEZVOUS_SERVERS_MAX];
    size_t count;
};

/* Reads an IP address; false if the host is a name. */
bool kh_runtime_resolve_numeric(const struct kh_room_server *server, struct kh_runtime_addrs *out);

/* Asks the system in another thread; the callback must end with uv_freeaddrinfo.  0 or an error. */
int kh_runtime_resolve_start(uv_loop_t *loop, uv_getaddrinfo_t *request,
                             const struct kh_room_server *server, uv_getaddrinfo_cb callback);

/* Chooses from an answer: two of each family, in the order of the answer (RFC 6724), so that a
 * family that does not work here never crowds out the other. */
void kh_runtime_resolve_choose(const struct addrinfo *list, struct kh_runtime_addrs *out);

#define KH_RUNTIME_WAYS_MAX (KH_TLS + 1) /* one by each transport */

/* Lists how the server may be reached at this address: UDP and TCP at its port, and TLS there if
 * its link begins with https, else at port 443.  Returns how many these are. */
size_t kh_runtime_resolve_ways(const struct kh_room_server *server, const struct kh_addr *addr,
                               bool udp_only, struct kh_addr out[static KH_RUNTIME_WAYS_MAX]);

#endif
