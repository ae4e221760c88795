/* ice/wire_test.c - carries datagrams between two agents through modelled NATs, in virtual time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

#include <stdio.h>
#include <string.h>

static const char *const server = "198.51.100.1:3478";

struct kh_addr wire_addr(const char *text)
{
    struct kh_addr addr;

    assert_int_equal(kh_addr_parse(text, 0, &addr), KH_OK);
    return addr;
}

struct kh_ice_candidate wire_candidate(enum kh_ice_kind kind, const char *addr, const char *base)
{
    return (struct kh_ice_candidate){
        .kind = kind, .addr = wire_addr(addr), .base = wire_addr(base)};
}

void wire_init(struct wire *wire, uint64_t seed)
{
    memset(wire, 0, sizeof *wire);
    wire->now = KH_SECONDS(1000);
    wire->dice = dice_of(seed);
    wire->delay = KH_MILLISECONDS(20);
    for (int i = 0; i < 2; i++)
        wire->hosts[i].learns_at = wire->now;
}

void wire_fini(struct wire *wire)
{
    for (int i = 0; i < 2; i++) {
        kh_ice_agent_free(wire->hosts[i].agent);
        if (i == ALICE || !wire->same_site)
            nat_free(wire->hosts[i].nat);
    }
}

void wire_add_addr(struct wire *wire, int host, const char *addr)
{
    struct wire_host *it = &wire->hosts[host];

    assert_true(it->addr_count < WIRE_ADDRS_MAX);
    it->addrs[it->addr_count++] = wire_addr(addr);
}

void wire_add_nat(struct wire *wire, int host, const struct nat_config *config)
{
    struct nat_config mine = *config;

    mine.external = wire_addr(host == ALICE ? "203.0.113.1:1" : "203.0.113.2:1");
    mine.seed = dice_u64(&wire->dice);
    assert_int_equal(nat_new(&wire->hosts[host].nat, &mine), KH_OK);
    wire_add_addr(wire, host, host == ALICE ? "192.168.1.5:4000" : "10.0.0.7:4000");
}

void wire_add_agent(struct wire *wire, int host, const struct kh_ice_config *config)
{
    struct wire_host *it = &wire->hosts[host];
    struct kh_ice_config mine = *config;
    struct kh_rng rng;
    uint8_t seed[32];

    dice_bytes(&wire->dice, seed, sizeof seed);
    kh_rng_init(&rng, seed);
    kh_ice_credentials_make(&it->credentials, &rng);
    kh_rng_fini(&rng);
    mine.local = it->credentials;
    dice_bytes(&wire->dice, mine.seed, sizeof mine.seed);
    assert_int_equal(kh_ice_agent_new(&it->agent, &mine), KH_OK);
}

static bool is_public(const struct kh_addr *addr)
{
    return kh_addr_reach(addr) == KH_REACH_GLOBAL;
}

struct kh_addr wire_mapped(struct wire *wire, int host, size_t addr)
{
    struct wire_host *it = &wire->hosts[host];
    struct nat_flow flow = {it->addrs[addr], wire_addr(server)};

    if (it->nat == NULL || flow.from.family != flow.to.family)
        return flow.from;
    assert_int_equal(nat_outbound(it->nat, wire->now, &flow), NAT_FORWARD);
    return flow.from;
}

static void add_local(struct wire *wire, int host, enum kh_ice_kind kind, struct kh_addr addr,
                      struct kh_addr base)
{
    struct kh_ice_candidate candidate = {.kind = kind, .addr = addr, .base = base};

    assert_int_equal(kh_ice_agent_add_local(wire->hosts[host].agent, wire->now, &candidate), KH_OK);
    wire_drain(wire, host);
}

void wire_gather(struct wire *wire, int host)
{
    struct wire_host *it = &wire->hosts[host];

    for (size_t i = 0; i < it->addr_count; i++) {
        struct kh_addr mapped = wire_mapped(wire, host, i);

        add_local(wire, host, KH_ICE_HOST, it->addrs[i], it->addrs[i]);
        if (!kh_addr_equal(&mapped, &it->addrs[i]))
            add_local(wire, host, KH_ICE_SERVER_REFLEXIVE, mapped, it->addrs[i]);
    }
    if (!kh_addr_is_none(&it->relay))
        add_local(wire, host, KH_ICE_RELAYED, it->relay, it->relay);
}

static void add_remote(struct wire *wire, int host, enum kh_ice_kind kind, struct kh_addr addr)
{
    struct kh_ice_candidate candidate = {.kind = kind, .addr = addr};

    candidate.addr.scope = 0;
    assert_int_equal(kh_ice_agent_add_remote(wire->hosts[host].agent, wire->now, &candidate),
                     KH_OK);
    wire_drain(wire, host);
}

void wire_tell(struct wire *wire, int host)
{
    struct wire_host *peer = &wire->hosts[!host];

    kh_ice_agent_set_remote(wire->hosts[host].agent, wire->now, &peer->credentials);
    wire_drain(wire, host);
    for (size_t i = 0; i < peer->addr_count; i++) {
        struct kh_addr mapped = wire_mapped(wire, !host, i);

        add_remote(wire, host, KH_ICE_HOST, peer->addrs[i]);
        if (!kh_addr_equal(&mapped, &peer->addrs[i]))
            add_remote(wire, host, KH_ICE_SERVER_REFLEXIVE, mapped);
    }
    if (!kh_addr_is_none(&peer->relay))
        add_remote(wire, host, KH_ICE_RELAYED, peer->relay);
    wire->hosts[host].learns_at = KH_NEVER;
}

void wire_meet(struct wire *wire)
{
    for (int i = 0; i < 2; i++) {
        struct kh_ice_config config = {.role = i == ALICE ? KH_ICE_CONTROLLING : KH_ICE_CONTROLLED};

        if (wire->hosts[i].agent == NULL)
            wire_add_agent(wire, i, &config);
        wire_gather(wire, i);
    }
}

static int host_at(const struct wire *wire, const struct kh_addr *addr)
{
    for (int i = 0; i < 2; i++) {
        const struct wire_host *it = &wire->hosts[i];

        for (size_t k = 0; k < it->addr_count; k++)
            if (kh_addr_equal(&it->addrs[k], addr))
                return i;
        if (kh_addr_equal(&it->relay, addr))
            return i;
    }
    return -1;
}

static void deliver(struct wire *wire, int to_host, const struct nat_flow *flow,
                    const struct kh_datagram *datagram)
{
    size_t i = 0;

    while (i < WIRE_PACKETS_MAX && wire->packets[i].is_used)
        i++;
    assert_true(i < WIRE_PACKETS_MAX && datagram->len <= sizeof wire->packets[i].data);
    wire->packets[i] = (struct wire_packet){
        .is_used = true,
        .at = wire->now + wire->delay + dice_below(&wire->dice, wire->jitter + 1),
        .to_host = to_host,
        .from = flow->from,
        .to = flow->to,
        .len = datagram->len,
    };
    memcpy(wire->packets[i].data, datagram->data, datagram->len);
}

/* Where a datagram ends up after its sender's NAT, the internet, and the receiver's NAT; -1: lost.
 */
static int route(struct wire *wire, int from_host, struct nat_flow *flow)
{
    struct wire_host *sender = &wire->hosts[from_host];
    bool is_relayed = kh_addr_equal(&flow->from, &sender->relay);
    int to_host = host_at(wire, &flow->to);

    if (wire->same_site && to_host >= 0 && !is_public(&flow->to))
        return to_host;
    if (sender->nat != NULL && !is_relayed) {
        switch (nat_outbound(sender->nat, wire->now, flow)) {
        case NAT_DROP:
            return -1;
        case NAT_TURN:
            return host_at(wire, &flow->to);
        case NAT_FORWARD:
            break;
        }
    }
    if (to_host == !from_host && kh_addr_equal(&flow->to, &wire->hosts[to_host].relay))
        return to_host;
    if (flow->to.family == KH_FAMILY_IPV6)
        return to_host == !from_host ? to_host : -1;
    if (!is_public(&flow->to))
        return -1;
    for (int i = 0; i < 2; i++) {
        struct nat *nat = wire->hosts[i].nat;

        if (nat != NULL && kh_addr_ip_equal(&nat_config_of(nat)->external, &flow->to))
            return nat_inbound(nat, wire->now, flow) == NAT_FORWARD ? host_at(wire, &flow->to) : -1;
    }
    return to_host;
}

static void send(struct wire *wire, int from_host, const struct kh_datagram *datagram)
{
    struct nat_flow flow = {datagram->from, datagram->to};
    int to_host = route(wire, from_host, &flow);

    if (to_host < 0 || wire->is_cut || dice_chance(&wire->dice, wire->loss))
        return;
    deliver(wire, to_host, &flow, datagram);
    if (dice_chance(&wire->dice, wire->duplication))
        deliver(wire, to_host, &flow, datagram);
}

void wire_drain(struct wire *wire, int host)
{
    struct wire_host *it = &wire->hosts[host];
    struct kh_ice_event event;
    struct kh_datagram datagram;
    uint8_t copy[300];

    while (kh_ice_agent_next_event(it->agent, &event)) {
        it->valids += event.kind == KH_ICE_EVENT_VALID;
        it->paths += event.kind == KH_ICE_EVENT_PATH;
        if (event.kind == KH_ICE_EVENT_PATH)
            it->path = event.path;
        if (it->event_count < WIRE_EVENTS_MAX)
            it->events[it->event_count++] = event;
    }
    while (kh_ice_agent_next_transmit(it->agent, &datagram)) {
        it->sent++;
        wire->last_sent[host] = (struct wire_packet){
            .at = wire->now, .from = datagram.from, .to = datagram.to, .len = datagram.len};
        memcpy(wire->last_sent[host].data, datagram.data, datagram.len);
        memcpy(copy, datagram.data, datagram.len);
        datagram.data = copy;
        if (wire->tamper == NULL || wire->tamper(wire, host, &datagram, copy))
            send(wire, host, &datagram);
    }
}

bool wire_inject(struct wire *wire, int host, const struct kh_datagram *datagram)
{
    bool is_ours = kh_ice_agent_handle_datagram(wire->hosts[host].agent, wire->now, datagram);

    wire_drain(wire, host);
    return is_ours;
}

bool wire_ask(struct wire *wire, int host, const char *from, const struct wire_request *request)
{
    const struct kh_ice_credentials *local = &wire->hosts[host].credentials;
    const struct kh_ice_credentials *remote = &wire->hosts[!host].credentials;
    const char *password = request->password != NULL ? request->password : local->password;
    uint8_t id[KH_STUN_ID_LEN] = {request->id};
    uint8_t data[300];
    char username[80];
    struct kh_datagram datagram = {
        .from = wire_addr(from), .to = wire->hosts[host].addrs[0], .data = data, .len = 0};
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING, id);

    (void)snprintf(username, sizeof username, "%s:%s", local->ufrag, remote->ufrag);
    if (request->username != NULL)
        (void)snprintf(username, sizeof username, "%s", request->username);
    kh_stun_add(&writer, KH_STUN_USERNAME, username, strlen(username));
    if (request->priority != 0)
        kh_stun_add_u32(&writer, KH_STUN_PRIORITY, request->priority);
    if (request->role != 0)
        kh_stun_add_u64(&writer, request->role, request->tie_breaker);
    if (request->use_candidate)
        kh_stun_add_flag(&writer, KH_STUN_USE_CANDIDATE);
    if (request->nomination != 0)
        kh_stun_add_u32(&writer, KH_STUN_NOMINATION, request->nomination);
    if (request->unknown != 0)
        kh_stun_add_u32(&writer, request->unknown, 1);
    kh_stun_add_integrity(&writer, (struct kh_span){password, strlen(password)});
    kh_stun_add_fingerprint(&writer);
    datagram.len = kh_stun_finish(&writer);
    assert_int_not_equal(datagram.len, 0);
    return wire_inject(wire, host, &datagram);
}

bool wire_answer(struct wire *wire, int host, const struct wire_packet *check,
                 const struct kh_addr *mapped)
{
    const char *password = wire->hosts[!host].credentials.password;
    uint8_t data[300];
    struct kh_datagram datagram = {.from = check->to, .to = check->from, .data = data, .len = 0};
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_SUCCESS, KH_STUN_BINDING, check->data + 8);

    assert_int_equal(check->data[0], 0); /* a request */
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, mapped);
    kh_stun_add_integrity(&writer, (struct kh_span){password, strlen(password)});
    datagram.len = kh_stun_finish(&writer);
    return wire_inject(wire, host, &datagram);
}

void wire_parse_sent(struct wire *wire, int host, struct kh_stun_message *out)
{
    assert_int_equal(kh_stun_parse(wire->last_sent[host].data, wire->last_sent[host].len, out),
                     KH_OK);
}

static struct wire_packet *next_packet(struct wire *wire)
{
    struct wire_packet *next = NULL;

    for (size_t i = 0; i < WIRE_PACKETS_MAX; i++)
        if (wire->packets[i].is_used && (next == NULL || wire->packets[i].at < next->at))
            next = &wire->packets[i];
    return next;
}

static void receive(struct wire *wire, struct wire_packet *packet)
{
    struct wire_packet *last = &wire->last[packet->to_host];
    struct kh_datagram datagram;

    *last = *packet;
    packet->is_used = false;
    datagram = (struct kh_datagram){
        .from = last->from, .to = last->to, .data = last->data, .len = last->len};
    if (!wire_inject(wire, last->to_host, &datagram))
        wire->hosts[last->to_host].strays++;
}

/* Does the one thing that comes next, if it comes before `until`. */
static bool step(struct wire *wire, kh_time until)
{
    struct wire_packet *packet = next_packet(wire);
    kh_time at = packet != NULL ? packet->at : KH_NEVER;
    int due = -1;

    for (int i = 0; i < 2; i++) {
        struct wire_host *it = &wire->hosts[i];
        kh_time own = kh_time_min(kh_ice_agent_timeout(it->agent), it->learns_at);

        if (own < at) {
            at = own;
            due = i;
        }
    }
    if (at >= until)
        return false;
    wire->now = at > wire->now ? at : wire->now;
    if (due < 0) {
        receive(wire, packet);
    } else if (wire->hosts[due].learns_at <= wire->now) {
        wire_tell(wire, due);
    } else {
        wire->hosts[due].wakes++;
        kh_ice_agent_handle_timeout(wire->hosts[due].agent, wire->now);
        wire_drain(wire, due);
    }
    return true;
}

void wire_run(struct wire *wire, kh_duration time)
{
    kh_time until = wire->now + time;

    while (step(wire, until))
        continue;
    wire->now = until;
}

bool wire_connect(struct wire *wire, kh_duration limit)
{
    kh_time until = wire->now + limit;

    do {
        if (kh_ice_agent_state(wire->hosts[ALICE].agent) == KH_ICE_CONNECTED &&
            kh_ice_agent_state(wire->hosts[BOB].agent) == KH_ICE_CONNECTED)
            return true;
    } while (step(wire, until));
    return false;
}

/* The address a path's remote end goes to, once it has passed the NATs. */
static bool arrives(struct wire *wire, int host)
{
    struct wire_host *it = &wire->hosts[host];
    struct nat_flow flow = {it->path.local, it->path.remote};
    int to_host = route(wire, host, &flow);
    struct kh_addr unscoped = wire->hosts[!host].path.remote;

    flow.from.scope = unscoped.scope;
    return to_host == !host && kh_addr_ip_equal(&flow.to, &wire->hosts[!host].path.local) &&
           kh_addr_equal(&flow.from, &unscoped);
}

bool wire_agrees(struct wire *wire)
{
    return arrives(wire, ALICE) && arrives(wire, BOB);
}
