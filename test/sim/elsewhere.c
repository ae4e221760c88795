/* sim/elsewhere.c - a relay that is not the server's own, as an operator may have one already.
 *
 * SPDX-License-Identifier: MIT
 *
 * It is a hub that nobody joins; what it has in common with the server is a secret.
 */
#include <assert.h>
#include <stdlib.h>

#include "sim/inside.h"

static const struct kh_span secret = {"between two servers", 19};

static kh_time hub_now(const struct sim *sim)
{
    return sim_now(sim) + sim->elsewhere.ahead;
}

static void drain(struct sim *sim)
{
    struct sim_elsewhere *at = &sim->elsewhere;
    struct kh_datagram datagram;
    struct kh_relay_event event;
    kh_time timeout;

    while (kh_hub_next_event(at->hub, &event))
        if (event.kind == KH_RELAY_EVENT_OPEN)
            kh_hub_opened(at->hub, hub_now(sim), &event.addr, true);
    while (kh_hub_next_transmit(at->hub, &datagram)) {
        sim_hash_bytes(sim, datagram.data, datagram.len);
        net_send(sim->net, at->host, &datagram);
    }
    timeout = kh_hub_timeout(at->hub);
    net_set_timer(sim->net, at->host,
                  timeout == KH_NEVER ? KH_NEVER : kh_time_since(timeout, at->ahead));
}

void sim_elsewhere_configure(const struct sim *sim, struct kh_hub_turn *out)
{
    if (!sim->elsewhere.is_told)
        return;
    out->servers[0] = sim->elsewhere.addr;
    out->secret = secret;
    out->lifetime = KH_SECONDS(3600);
}

void sim_elsewhere_step(struct sim *sim, const struct net_event *event)
{
    struct sim_elsewhere *at = &sim->elsewhere;

    if (at->hub == NULL)
        return;
    if (event->kind == NET_ARRIVAL)
        kh_hub_handle_datagram(at->hub, hub_now(sim), &event->datagram);
    else
        kh_hub_handle_timeout(at->hub, hub_now(sim));
    drain(sim);
}

void sim_add_relay_elsewhere(struct sim *sim)
{
    struct sim_elsewhere *at = &sim->elsewhere;
    struct kh_hub_config config = {.log = sim_log_sink(sim)};
    static const struct net_line none;

    assert(!at->is_told);
    at->is_told = true;
    at->addr = kh_addr_ipv4(203, 0, 113, 3, 3478);
    at->host = net_add_host(sim->net);
    net_attach(sim->net, at->host, NET_INTERNET, &at->addr, &none);
    at->ahead = sim->config.one_clock ? sim->config.clock_start : 0;
    config.relay.secret = secret;
    config.relay.realm = "elsewhere";
    config.relay.addresses[0].local = config.relay.addresses[0].external = at->addr;
    config.relay.address_count = 1;
    dice_bytes(&sim->dice, config.seed, sizeof(config.seed));
    if (kh_hub_new(&at->hub, &config) != KH_OK)
        abort();
    kh_hub_set_wall_clock(at->hub, hub_now(sim), SIM_UNIX_START);
    drain(sim);
    sim_stop_server(sim);
    sim_start_server(sim);
}

void sim_stop_relay_elsewhere(struct sim *sim)
{
    sim_log(sim, "+ the relay elsewhere dies");
    kh_hub_free(sim->elsewhere.hub);
    sim->elsewhere.hub = NULL;
    net_set_host_up(sim->net, sim->elsewhere.host, false);
    net_set_timer(sim->net, sim->elsewhere.host, KH_NEVER);
}

size_t sim_allocations_elsewhere(const struct sim *sim)
{
    return sim->elsewhere.hub == NULL ? 0 : kh_hub_stats(sim->elsewhere.hub).relay.allocations;
}
