/* runtime/portmap.c - gets a port of the router for our socket, keeps it, and gives it back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/portmap.h"

#include <stddef.h>

#include "io/clock.h"
#include "io/entropy.h"

#define UPNP_AFTER_MS 300 /* a gateway that speaks PCP or NAT-PMP has answered by then */
#define UPNP_LIFETIME_S 600
#define UPNP_RENEW_MS 300000
#define UPNP_RETRY_MS 600000

static void arm_upnp(struct kh_runtime_portmap *portmap, uint64_t wait_ms);

/* Replaces what was told by what is so; either may be none. */
static void tell(struct kh_runtime_portmap *portmap, struct kh_addr *told,
                 const struct kh_addr *base, const struct kh_addr *mapped)
{
    const struct kh_runtime_portmap_config *config = &portmap->config;
    struct kh_addr old = *told;

    if (portmap->stopped || kh_addr_equal(&old, mapped))
        return;
    *told = *mapped;
    if (!kh_addr_is_none(&old))
        config->lost(config->context, &old);
    if (!kh_addr_is_none(mapped))
        config->mapped(config->context, base, mapped);
}

static void tell_none(struct kh_runtime_portmap *portmap, struct kh_addr *told)
{
    const struct kh_addr none = {0};

    tell(portmap, told, &none, &none);
}

/* ---- the machine ---- */

static void handle_event(struct kh_runtime_portmap *portmap,
                         const struct kh_nat_portmap_event *event)
{
    struct kh_addr base = portmap->way.local;

    switch (event->kind) {
    case KH_NAT_PORTMAP_EVENT_MAPPED:
        base.port = kh_io_udp_set_port(portmap->config.udp, KH_FAMILY_IPV4);
        tell(portmap, &portmap->mapped, &base, &event->external);
        break;
    case KH_NAT_PORTMAP_EVENT_LOST:
        tell_none(portmap, &portmap->mapped);
        break;
    case KH_NAT_PORTMAP_EVENT_NONE:
    case KH_NAT_PORTMAP_EVENT_RELEASED:
        break;
    }
}

static void on_timer(uv_timer_t *timer);

/* After each input of the machine. */
static void drain(struct kh_runtime_portmap *portmap)
{
    struct kh_nat_portmap_event event;
    struct kh_datagram datagram;
    kh_time at;

    while (kh_nat_portmap_next_event(portmap->machine, &event))
        handle_event(portmap, &event);
    while (kh_nat_portmap_next_transmit(portmap->machine, &datagram))
        kh_io_udp_set_send(portmap->config.udp, &datagram);
    kh_io_udp_set_flush(portmap->config.udp);
    at = kh_nat_portmap_timeout(portmap->machine);
    if (at == KH_NEVER || portmap->closed)
        uv_timer_stop(&portmap->timer);
    else
        uv_timer_start(&portmap->timer, on_timer,
                       kh_time_since(at, kh_io_clock_now()) / KH_MILLISECONDS(1) + 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct kh_runtime_portmap *portmap = timer->data;

    if (portmap->machine == NULL)
        return;
    kh_nat_portmap_handle_timeout(portmap->machine, kh_io_clock_now());
    drain(portmap);
}

static void start_machine(struct kh_runtime_portmap *portmap)
{
    struct kh_nat_portmap_config config = {
        .local = portmap->way.local, .gateway = portmap->way.gateway, .log = portmap->config.log};

    config.local.port = kh_io_udp_set_port(portmap->config.udp, KH_FAMILY_IPV4);
    if (config.local.port == 0)
        return;
    kh_io_entropy_fill(config.seed, sizeof config.seed);
    if (kh_nat_portmap_new(&portmap->machine, &config) != KH_OK) {
        portmap->machine = NULL;
        return;
    }
    kh_nat_portmap_start(portmap->machine, kh_io_clock_now());
    drain(portmap);
    arm_upnp(portmap, UPNP_AFTER_MS);
}

/* What can still be sent is: the deletion. */
static void stop_machine(struct kh_runtime_portmap *portmap)
{
    if (portmap->machine == NULL)
        return;
    kh_nat_portmap_release(portmap->machine, kh_io_clock_now());
    drain(portmap);
}

bool kh_runtime_portmap_handle_datagram(struct kh_runtime_portmap *portmap,
                                        const struct kh_datagram *datagram)
{
    if (portmap->machine == NULL ||
        !kh_nat_portmap_handle_datagram(portmap->machine, kh_io_clock_now(), datagram))
        return false;
    drain(portmap);
    return true;
}

/* ---- UPnP ---- */

static void work_map(uv_work_t *work)
{
    struct kh_runtime_portmap_upnp *upnp = work->data;

    if (upnp->igd == NULL)
        upnp->igd = kh_io_upnp_find();
    upnp->granted = upnp->igd != NULL && kh_io_upnp_map(upnp->igd, upnp->port, UPNP_LIFETIME_S,
                                                        &upnp->base, &upnp->mapped);
}

static void work_unmap(uv_work_t *work)
{
    struct kh_runtime_portmap_upnp *upnp = work->data;

    kh_io_upnp_unmap(upnp->igd);
    kh_io_upnp_free(upnp->igd);
    upnp->igd = NULL;
    upnp->granted = false;
}

static struct kh_runtime_portmap *owner_of(uv_work_t *work)
{
    return (struct kh_runtime_portmap *)(void *)((char *)work -
                                                 offsetof(struct kh_runtime_portmap, upnp.work));
}

static void on_unmapped(uv_work_t *work, int status)
{
    struct kh_runtime_portmap *portmap = owner_of(work);

    (void)status;
    if (!portmap->stopped)
        arm_upnp(portmap, portmap->upnp.is_stale ? 0 : UPNP_RETRY_MS);
    portmap->upnp.busy = portmap->upnp.is_stale = false;
    portmap->config.release(portmap->config.context);
}

static void queue(struct kh_runtime_portmap *portmap, uv_work_cb work, uv_after_work_cb after)
{
    portmap->upnp.work.data = &portmap->upnp;
    if (uv_queue_work(portmap->config.loop, &portmap->upnp.work, work, after) != 0)
        return;
    portmap->upnp.busy = true;
    ++*portmap->config.held;
}

static void on_mapped(uv_work_t *work, int status)
{
    struct kh_runtime_portmap *portmap = owner_of(work);
    struct kh_runtime_portmap_upnp *upnp = &portmap->upnp;

    (void)status;
    upnp->busy = false;
    if (upnp->igd != NULL && (portmap->stopped || upnp->is_stale || !upnp->granted)) {
        queue(portmap, work_unmap, on_unmapped); /* also what was lost halfway */
        if (!portmap->stopped)
            tell_none(portmap, &portmap->upnp_mapped);
    } else if (!portmap->stopped) {
        kh_log_line(&portmap->config.log, KH_LOG_INFO, "portmap upnp %s",
                    upnp->granted ? "granted" : "not found");
        if (upnp->granted)
            tell(portmap, &portmap->upnp_mapped, &upnp->base, &upnp->mapped);
        arm_upnp(portmap, upnp->is_stale ? 0 : upnp->granted ? UPNP_RENEW_MS : UPNP_RETRY_MS);
        upnp->is_stale = false;
    }
    portmap->config.release(portmap->config.context);
}

static void on_upnp_timer(uv_timer_t *timer)
{
    struct kh_runtime_portmap *portmap = timer->data;

    if (portmap->stopped || portmap->upnp.busy)
        return;
    if (!kh_addr_is_none(&portmap->mapped) && portmap->upnp.igd == NULL) {
        arm_upnp(portmap, UPNP_RETRY_MS); /* one port is enough */
        return;
    }
    portmap->upnp.port = kh_io_udp_set_port(portmap->config.udp, KH_FAMILY_IPV4);
    queue(portmap, work_map, on_mapped);
}

static void arm_upnp(struct kh_runtime_portmap *portmap, uint64_t wait_ms)
{
    uv_timer_start(&portmap->upnp_timer, on_upnp_timer, wait_ms, 0);
}

static void stop_upnp(struct kh_runtime_portmap *portmap)
{
    struct kh_runtime_portmap_upnp *upnp = &portmap->upnp;

    uv_timer_stop(&portmap->upnp_timer);
    if (upnp->busy)
        upnp->is_stale = true; /* on_mapped gives it back */
    else if (upnp->igd != NULL)
        queue(portmap, work_unmap, on_unmapped);
}

/* ---- life ---- */

static void on_closed(uv_handle_t *handle)
{
    struct kh_runtime_portmap *portmap = handle->data;

    portmap->config.release(portmap->config.context);
}

void kh_runtime_portmap_init(struct kh_runtime_portmap *portmap,
                             const struct kh_runtime_portmap_config *config)
{
    portmap->config = *config;
    uv_timer_init(config->loop, &portmap->timer);
    uv_timer_init(config->loop, &portmap->upnp_timer);
    portmap->timer.data = portmap->upnp_timer.data = portmap;
    *config->held += 2;
    portmap->started = true;
}

static bool is_same_way(const struct kh_io_gateway *a, const struct kh_io_gateway *b)
{
    return kh_addr_equal(&a->gateway, &b->gateway) && kh_addr_equal(&a->local, &b->local);
}

void kh_runtime_portmap_update(struct kh_runtime_portmap *portmap)
{
    struct kh_io_gateway way = {0};

    if (!portmap->started || portmap->stopped)
        return;
    if (!kh_io_gateway_find(&way))
        way = (struct kh_io_gateway){0};
    if (is_same_way(&way, &portmap->way))
        return;
    stop_machine(portmap);
    stop_upnp(portmap);
    kh_nat_portmap_free(portmap->machine);
    portmap->machine = NULL;
    tell_none(portmap, &portmap->mapped);
    tell_none(portmap, &portmap->upnp_mapped);
    portmap->way = way;
    if (!kh_addr_is_none(&way.gateway))
        start_machine(portmap);
}

void kh_runtime_portmap_stop(struct kh_runtime_portmap *portmap)
{
    if (!portmap->started || portmap->stopped)
        return;
    portmap->stopped = true;
    stop_machine(portmap);
    stop_upnp(portmap);
}

void kh_runtime_portmap_close(struct kh_runtime_portmap *portmap)
{
    if (!portmap->started || portmap->closed)
        return;
    kh_runtime_portmap_stop(portmap);
    portmap->closed = true;
    kh_nat_portmap_free(portmap->machine);
    portmap->machine = NULL;
    uv_close((uv_handle_t *)&portmap->timer, on_closed);
    uv_close((uv_handle_t *)&portmap->upnp_timer, on_closed);
}
