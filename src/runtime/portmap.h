/* runtime/portmap.h - gets a port of the router for our socket, keeps it, and gives it back.
 *
 * SPDX-License-Identifier: MIT
 *
 * Drives src/nat's machine from the loop, and UPnP, which blocks, in libuv's thread pool.  UPnP is
 * asked only if the gateway granted nothing soon.  Nothing else waits for any of it.
 */
#ifndef KH_RUNTIME_PORTMAP_H
#define KH_RUNTIME_PORTMAP_H

#include <uv.h>

#include "base/log.h"
#include "base/time.h"
#include "io/gateway.h"
#include "io/udp.h"
#include "io/upnp.h"
#include "nat/nat.h"

struct kh_runtime_portmap_config {
    uv_loop_t *loop;
    struct kh_io_udp_set *udp; /* borrowed */
    struct kh_log log;
    size_t *held; /* counts handles and requests that libuv still knows; release takes one off */
    void (*release)(void *context);
    /* A port is ours, or is no more.  Not called after _stop. */
    void (*mapped)(void *context, const struct kh_addr *base, const struct kh_addr *mapped);
    void (*lost)(void *context, const struct kh_addr *mapped);
    void *context;
};

struct kh_runtime_portmap_upnp {
    uv_work_t work;
    bool busy;              /* a thread has what is below */
    bool is_stale;          /* we moved to another network meanwhile */
    struct kh_io_upnp *igd; /* NULL: not found yet */
    uint16_t port;
    bool granted;
    struct kh_addr base;
    struct kh_addr mapped;
};

struct kh_runtime_portmap {
    struct kh_runtime_portmap_config config;
    uv_timer_t timer;      /* the machine's deadline */
    uv_timer_t upnp_timer; /* begin, renew, try again */
    bool started;
    bool stopped;
    bool closed;
    struct kh_io_gateway way;
    struct kh_nat_portmap *machine; /* NULL: no gateway */
    struct kh_addr mapped;          /* told, by the machine; none: nothing */
    struct kh_addr upnp_mapped;     /* told, by UPnP */
    struct kh_runtime_portmap_upnp upnp;
};

void kh_runtime_portmap_init(struct kh_runtime_portmap *portmap,
                             const struct kh_runtime_portmap_config *config);
/* Begins, or begins anew if the way out has changed. */
void kh_runtime_portmap_update(struct kh_runtime_portmap *portmap);
/* False if it is somebody else's. */
bool kh_runtime_portmap_handle_datagram(struct kh_runtime_portmap *portmap,
                                        const struct kh_datagram *datagram);
/* Gives the ports back, for good; may be called again. */
void kh_runtime_portmap_stop(struct kh_runtime_portmap *portmap);
/* Stops, and closes the handles; the memory may go when `held` says so. */
void kh_runtime_portmap_close(struct kh_runtime_portmap *portmap);

#endif
