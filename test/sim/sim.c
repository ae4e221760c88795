/* sim/sim.c - building the world, moving its clock, and saying what went wrong in it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/inside.h"
#include "support/virtual_clock.h"

#define AHEAD_MAX KH_SECONDS(30u * 24u * 3600u) /* clocks are up to a month apart */
#define STEPS_AT_ONCE_MAX 20000                 /* more without time passing is a loop */
#define LOG_LINE_MAX 400

static struct kh_addr addr_of(const char *text)
{
    struct kh_addr addr;

    if (kh_addr_parse(text, KH_ROOM_PORT_DEFAULT, &addr) != KH_OK)
        abort();
    return addr;
}

struct sim *sim_new(const struct sim_config *config)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    static const struct net_line none;

    if (sim == NULL)
        abort();
    sim->config = *config;
    sim->dice = dice_of(config->seed);
    sim->hash = 0xcbf29ce484222325u;
    sim->line.delay = KH_MILLISECONDS(20);
    sim->net = net_new(dice_u64(&sim->dice));
    dice_bytes(&sim->dice, sim->secret, sizeof(sim->secret));
    sim->server_addr = addr_of("203.0.113.1");
    sim->server_second = addr_of("203.0.113.2");
    sim->server_addr6 = addr_of("2001:db8:ffff::1");
    sim->server = net_add_host(sim->net);
    net_attach(sim->net, sim->server, NET_INTERNET, &sim->server_addr, &none);
    net_attach(sim->net, sim->server, NET_INTERNET, &sim->server_second, &none);
    net_attach(sim->net, sim->server, NET_INTERNET, &sim->server_addr6, &none);
    net_listen(sim->net, sim->server, sim->server_addr.port, true);
    for (int i = 0; i < NET_HOSTS_MAX; i++)
        sim->owner_of_host[i] = -1;
    sim_start_server(sim);
    return sim;
}

void sim_free(struct sim *sim)
{
    if (sim == NULL)
        return;
    for (int i = 0; i < sim->member_count; i++)
        kh_node_free(sim->members[i].node);
    kh_hub_free(sim->hub);
    kh_hub_free(sim->elsewhere.hub);
    net_free(sim->net);
    free(sim);
}

/* ---- log ---- */

/* FNV-1a: the same log has the same hash, and that is all it is for. */
void sim_hash_bytes(struct sim *sim, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        sim->hash = (sim->hash ^ bytes[i]) * 0x100000001b3u;
}

static void log_line(struct sim *sim, const char *line)
{
    kh_time now = sim_now(sim);

    sim_hash_bytes(sim, &now, sizeof(now));
    sim_hash_bytes(sim, line, strlen(line));
    if (sim->config.is_loud)
        printf("%9.4f  %s\n", (double)now / 1e6, line);
}

void sim_log(struct sim *sim, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_line(sim, line);
}

/* Only for the eye: the hash takes the bytes themselves. */
void sim_trace(struct sim *sim, const char *who, const char *way,
               const struct kh_datagram *datagram)
{
    char from[KH_ADDR_TEXT_MAX], to[KH_ADDR_TEXT_MAX];

    if (sim->config.is_loud)
        printf("%9.4f    %s %s %s > %s %02x%02x %zu\n", (double)sim_now(sim) / 1e6, who, way,
               kh_addr_text(&datagram->from, from), kh_addr_text(&datagram->to, to),
               datagram->len > 0 ? datagram->data[0] : 0, datagram->len > 1 ? datagram->data[1] : 0,
               datagram->len);
}

static void write_log(void *context, enum kh_log_level level, const char *line)
{
    (void)level;
    log_line(context, line);
}

struct kh_log sim_log_sink(struct sim *sim)
{
    return (struct kh_log){.write = write_log,
                           .context = sim,
                           .level = sim->config.is_loud ? KH_LOG_DEBUG : KH_LOG_INFO,
                           .show_addresses = true};
}

bool sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;

    if (sim->failure[0] == 0) {
        va_start(args, format);
        vsnprintf(sim->failure, sizeof(sim->failure), format, args);
        va_end(args);
        sim_log(sim, "FAIL %s", sim->failure);
    }
    return false;
}

const char *sim_failure(const struct sim *sim)
{
    return sim->failure[0] == 0 ? NULL : sim->failure;
}

/* ---- building ---- */

void sim_set_line(struct sim *sim, const struct net_line *line)
{
    sim->line = *line;
}

static int add_site(struct sim *sim, int realm, const char *kind, struct kh_addr external)
{
    const struct nat_preset *preset = nat_preset_find(kind);
    struct nat_config config;

    if (preset == NULL)
        abort();
    config = preset->config;
    config.external = external;
    sim_log(sim, "+ site %d in realm %d: %s", sim->site_count, realm, kind);
    return net_add_box(sim->net, realm, &config, &sim->line);
}

int sim_add_site(struct sim *sim, const char *kind)
{
    return add_site(sim, NET_INTERNET, kind,
                    kh_addr_ipv4(203, 0, 113, (uint8_t)(10 + sim->site_count++), 0));
}

int sim_add_inner_site(struct sim *sim, int realm, const char *kind)
{
    return add_site(sim, realm, kind,
                    kh_addr_ipv4(100, 64, 2, (uint8_t)(10 + sim->site_count++), 0));
}

/* Homes all look alike inside.  What is not translated, or has boxes in it, has its own addresses.
 */
static struct kh_addr next_addr(struct sim *sim, int realm)
{
    int *count = &sim->members_of_realm[realm == NET_INTERNET ? NET_BOXES_MAX : realm];
    uint8_t last = (uint8_t)(2 + (*count)++);
    uint16_t port = (uint16_t)dice_range(&sim->dice, 10000, 60000);
    const struct nat_config *config;

    if (realm == NET_INTERNET)
        return kh_addr_ipv4(203, 0, 114, last, port);
    config = nat_config_of(net_nat(sim->net, realm));
    if (config->kind != NAT_KIND_TRANSLATOR)
        return kh_addr_ipv4(198, 51, 100, (uint8_t)(16 * realm + last), port);
    if (config->external.ip[0] == 203 && config->ports == NAT_PORTS_BLOCK)
        return kh_addr_ipv4(100, 64, 1, last, port);
    return kh_addr_ipv4(192, 168, 1, last, port);
}

int sim_add_member(struct sim *sim, const char *name, int realm)
{
    struct member *member = &sim->members[sim->member_count];
    static const struct net_line none;

    assert(sim->member_count < SIM_MEMBERS_MAX);
    snprintf(member->name, sizeof(member->name), "%s", name);
    member->realm = realm;
    member->host = net_add_host(sim->net);
    member->addrs[member->addr_count++] = next_addr(sim, realm);
    net_attach(sim->net, member->host, realm, &member->addrs[0],
               realm == NET_INTERNET ? &sim->line : &none);
    dice_bytes(&sim->dice, member->identity.bytes, sizeof(member->identity.bytes));
    kh_ed25519_public(&member->identity, member->public_key);
    member->clock_ahead = sim->config.one_clock ? sim->config.clock_start + KH_SECONDS(1)
                                                : dice_range(&sim->dice, 1, AHEAD_MAX);
    for (int i = 0; i < SIM_MEMBERS_MAX; i++)
        member->contacts[i] = (struct sim_contact){
            .path_at = KH_NEVER, .open_at = KH_NEVER, .first_heard_at = KH_NEVER};
    return sim->member_count++;
}

int sim_return(struct sim *sim, int member)
{
    struct member *old = &sim->members[member];
    struct member *back = &sim->members[sim->member_count];

    assert(sim->member_count < SIM_MEMBERS_MAX && old->node == NULL);
    *back = *old;
    back->said_count = 0;
    back->is_present = back->has_joined = false;
    back->joined_at = 0;
    memset(&back->id, 0, sizeof(back->id));
    memset(back->consents, 0, sizeof(back->consents));
    for (int i = 0; i < SIM_MEMBERS_MAX; i++)
        back->contacts[i] = (struct sim_contact){
            .path_at = KH_NEVER, .open_at = KH_NEVER, .first_heard_at = KH_NEVER};
    return sim->member_count++;
}

void sim_add_ipv6(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];
    struct kh_addr addr = addr_of("2001:db8::2");
    static const struct net_line none;

    addr.ip[5] = (uint8_t)(at->realm + 1);
    addr.ip[15] = (uint8_t)(2 + member);
    addr.port = at->addrs[0].port;
    at->addrs[at->addr_count++] = addr;
    net_attach(sim->net, at->host, at->realm, &addr,
               at->realm == NET_INTERNET ? &sim->line : &none);
}

void sim_drop_ipv4(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];

    assert(at->addr_count == 2 && at->node == NULL);
    net_detach(sim->net, at->host, &at->addrs[0]);
    at->addrs[0] = at->addrs[1];
    at->addr_count = 1;
}

void sim_set_paths(struct sim *sim, int member, enum kh_node_paths paths)
{
    assert(sim->members[member].node == NULL);
    sim->members[member].paths = paths;
}

void sim_set_local_name(struct sim *sim, int member, const char *name)
{
    struct member *at = &sim->members[member];

    assert(at->node == NULL && strlen(name) < sizeof(at->local_name));
    memcpy(at->local_name, name, strlen(name) + 1);
}

void sim_forbid_punching(struct sim *sim, int member)
{
    assert(sim->members[member].node == NULL);
    sim->members[member].no_punching = true;
}

struct kh_addr sim_public_addr(const struct sim *sim, int member)
{
    const struct member *at = &sim->members[member];
    struct kh_addr addr = at->addrs[0];

    for (int realm = at->realm; realm != NET_INTERNET; realm = net_realm_of_box(sim->net, realm)) {
        const struct nat_config *box = nat_config_of(net_nat(sim->net, realm));

        if (box->kind == NAT_KIND_TRANSLATOR)
            addr = box->external;
    }
    return addr;
}

struct net *sim_net(struct sim *sim)
{
    return sim->net;
}

struct dice *sim_dice(struct sim *sim)
{
    return &sim->dice;
}

/* ---- the server ---- */

static kh_time hub_now(const struct sim *sim)
{
    return sim_now(sim) + sim->hub_ahead;
}

static void drain_hub(struct sim *sim)
{
    struct kh_datagram datagram;
    struct kh_relay_event event;
    kh_time timeout;

    /* A host of the simulator hears all its ports: relayed sockets need not be opened. */
    while (kh_hub_next_event(sim->hub, &event)) {
        if (event.kind == KH_RELAY_EVENT_OPEN)
            kh_hub_opened(sim->hub, hub_now(sim), &event.addr, true);
    }
    while (kh_hub_next_transmit(sim->hub, &datagram)) {
        sim_hash_bytes(sim, &datagram.to, sizeof(datagram.to));
        sim_hash_bytes(sim, datagram.data, datagram.len);
        net_send(sim->net, sim->server, &datagram);
    }
    timeout = kh_hub_timeout(sim->hub);
    net_set_timer(sim->net, sim->server,
                  timeout == KH_NEVER ? KH_NEVER : kh_time_since(timeout, sim->hub_ahead));
}

void sim_stop_server(struct sim *sim)
{
    sim_log(sim, "+ the server dies");
    kh_hub_free(sim->hub);
    sim->hub = NULL;
    net_set_host_up(sim->net, sim->server, false);
    net_set_timer(sim->net, sim->server, KH_NEVER);
}

void sim_start_server(struct sim *sim)
{
    struct kh_hub_config config = {.registry.members_max = 64, .log = sim_log_sink(sim)};

    for (size_t i = 0; i < (sim->has_one_address ? KH_HUB_OTHER_IP : KH_HUB_PLACES); i++) {
        config.discovery[0].places[i] =
            (i & KH_HUB_OTHER_IP) != 0 ? sim->server_second : sim->server_addr;
        if ((i & KH_HUB_OTHER_PORT) != 0)
            config.discovery[0].places[i].port++;
    }
    if (sim->has_relay) {
        config.relay.addresses[0].local = config.relay.addresses[0].external = sim->server_addr;
        config.relay.addresses[1].local = config.relay.addresses[1].external = sim->server_addr6;
        config.relay.address_count = 2;
    }
    sim_elsewhere_configure(sim, &config.turn);
    assert(sim->hub == NULL);
    dice_bytes(&sim->dice, config.seed, sizeof(config.seed));
    sim->hub_ahead = sim->config.one_clock ? sim->config.clock_start + KH_SECONDS(1)
                                           : dice_range(&sim->dice, 1, AHEAD_MAX);
    if (kh_hub_new(&sim->hub, &config) != KH_OK)
        abort();
    kh_hub_set_wall_clock(sim->hub, hub_now(sim), SIM_UNIX_START + sim_now(sim) / KH_SECONDS(1));
    net_set_host_up(sim->net, sim->server, true);
    sim_log(sim, "+ the server starts");
    drain_hub(sim);
}

void sim_use_one_address(struct sim *sim)
{
    sim->has_one_address = true;
    sim_stop_server(sim);
    sim_start_server(sim);
}

void sim_add_relay(struct sim *sim)
{
    sim->has_relay = true;
    sim_stop_server(sim);
    sim_start_server(sim);
}

void sim_add_streams(struct sim *sim)
{
    sim->has_streams = true;
}

/* ---- time ---- */

static void step_hub(struct sim *sim, const struct net_event *event)
{
    if (event->kind == NET_ARRIVAL)
        kh_hub_handle_datagram(sim->hub, hub_now(sim), &event->datagram);
    else if (event->kind == NET_LOST)
        kh_hub_disconnected(sim->hub, hub_now(sim), &event->datagram.from, &event->datagram.to);
    else
        kh_hub_handle_timeout(sim->hub, hub_now(sim));
    drain_hub(sim);
}

static void step_member(struct sim *sim, int member, const struct net_event *event)
{
    struct member *at = &sim->members[member];

    if (event->kind == NET_ARRIVAL) {
        sim_trace(sim, at->name, "<", &event->datagram);
        sim_watch_arrival(sim, at, &event->datagram);
        (void)kh_node_handle_datagram(at->node, sim_member_now(sim, at), &event->datagram);
    } else if (event->kind == NET_LOST) {
        sim_member_lose(sim, member, &event->datagram);
    } else {
        kh_node_handle_timeout(at->node, sim_member_now(sim, at));
    }
    sim_member_drain(sim, member);
}

static void step(struct sim *sim, const struct net_event *event)
{
    kh_time now = sim_now(sim);
    int member;

    assert(event->kind != NET_ALARM);
    virtual_clock_set(KH_SECONDS(1000) + sim->config.clock_start + now);
    sim->steps++;
    sim->steps_at_once = now == sim->last_step ? sim->steps_at_once + 1 : 0;
    sim->last_step = now;
    if (sim->steps_at_once > STEPS_AT_ONCE_MAX)
        sim_fail(sim, "no time passes: host %d goes in a circle", event->host);
    if (event->host == sim->server) {
        if (sim->hub != NULL)
            step_hub(sim, event);
        return;
    }
    if (sim->elsewhere.is_told && event->host == sim->elsewhere.host) {
        sim_elsewhere_step(sim, event);
        return;
    }
    member = sim->owner_of_host[event->host];
    if (member >= 0)
        step_member(sim, member, event);
}

bool sim_run_until(struct sim *sim, bool (*question)(struct sim *), kh_duration budget)
{
    kh_time end = kh_time_add(sim_now(sim), budget);
    struct net_event event;

    if (question != NULL && question(sim))
        return sim_failure(sim) == NULL;
    while (sim_failure(sim) == NULL && net_next(sim->net, end, &event)) {
        sim->something_happened = false;
        step(sim, &event);
        if (question != NULL && sim->something_happened && question(sim))
            return sim_failure(sim) == NULL;
    }
    return sim_failure(sim) == NULL && question == NULL;
}

bool sim_run(struct sim *sim, kh_duration duration)
{
    return sim_run_until(sim, NULL, duration);
}

kh_time sim_now(const struct sim *sim)
{
    return net_now(sim->net);
}

uint64_t sim_seed(const struct sim *sim)
{
    return sim->config.seed;
}

uint64_t sim_hash(const struct sim *sim)
{
    return sim->hash;
}

uint64_t sim_steps(const struct sim *sim)
{
    return sim->steps;
}
