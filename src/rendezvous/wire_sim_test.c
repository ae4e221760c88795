/* rendezvous/wire_sim_test.c - for tests: a registry, clients, and a wire between them in virtual
 * time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/wire_sim_test.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_start_server(struct sim *sim, uint8_t seed)
{
    enum kh_status status;

    assert(sim->registry == NULL);
    memset(sim->registry_config.seed, seed, sizeof sim->registry_config.seed);
    status = kh_rendezvous_registry_new(&sim->registry, &sim->registry_config);
    assert(status == KH_OK);
}

void sim_stop_server(struct sim *sim)
{
    kh_rendezvous_registry_free(sim->registry);
    sim->registry = NULL;
}

void sim_init(struct sim *sim, uint8_t seed)
{
    static const uint8_t server6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    uint8_t bytes[32];

    *sim = (struct sim){.now = KH_SECONDS(1000), .delay = KH_MILLISECONDS(20)};
    memset(bytes, seed, sizeof bytes);
    kh_rng_init(&sim->rng, bytes);
    kh_rng_bytes(&sim->rng, sim->room_seed.bytes, sizeof sim->room_seed.bytes);
    sim->servers[0] = kh_addr_ipv4(203, 0, 113, 1, 3478);
    sim->servers[1] = kh_addr_from_ip(KH_FAMILY_IPV6, server6, 3478);
    sim->packets = calloc(SIM_PACKETS_MAX, sizeof *sim->packets);
    sim->captured = calloc(SIM_CAPTURED_MAX, sizeof *sim->captured);
    assert(sim->packets != NULL && sim->captured != NULL);
    sim->registry_config.members_max = 1000;
}

void sim_fini(struct sim *sim)
{
    for (size_t i = 0; i < sim->host_count; i++)
        kh_rendezvous_client_free(sim->hosts[i].client);
    kh_rendezvous_registry_free(sim->registry);
    free(sim->packets);
    free(sim->captured);
    kh_rng_fini(&sim->rng);
}

/* ---- the wire ---- */

static void carry_once(struct sim *sim, const struct kh_datagram *datagram)
{
    struct sim_packet *packet = NULL;

    if (kh_rng_below(&sim->rng, 100) < sim->loss)
        return;
    for (size_t i = 0; i < SIM_PACKETS_MAX && packet == NULL; i++)
        packet = sim->packets[i].used ? NULL : &sim->packets[i];
    assert(packet != NULL);
    packet->used = true;
    packet->at = sim->now + sim->delay + kh_rng_below(&sim->rng, sim->jitter + 1);
    packet->from = datagram->from;
    packet->to = datagram->to;
    packet->len = datagram->len;
    memcpy(packet->data, datagram->data, datagram->len);
}

static bool is_blocked(const struct sim *sim, const struct kh_datagram *datagram)
{
    bool is_up = kh_addr_equal(&datagram->to, &sim->servers[0]) ||
                 kh_addr_equal(&datagram->to, &sim->servers[1]);

    if (datagram->to.transport == KH_TCP)
        return sim->tcp_down;
    return datagram->to.transport == KH_UDP && (sim->udp_down || (sim->udp_up_only && !is_up));
}

static void carry(struct sim *sim, const struct kh_datagram *datagram)
{
    assert(datagram->len <= KH_DATAGRAM_MAX);
    if (is_blocked(sim, datagram))
        return;
    if (sim->ipv4_down &&
        (datagram->from.family == KH_FAMILY_IPV4 || datagram->to.family == KH_FAMILY_IPV4))
        return;
    carry_once(sim, datagram);
    if (kh_rng_below(&sim->rng, 100) < sim->doubling)
        carry_once(sim, datagram);
}

static void capture(struct sim *sim, const struct kh_datagram *datagram)
{
    struct sim_packet *packet = &sim->captured[sim->captured_count];

    if (!sim->capturing || sim->captured_count == SIM_CAPTURED_MAX)
        return;
    sim->captured_count++;
    packet->from = datagram->from;
    packet->to = datagram->to;
    packet->len = datagram->len;
    memcpy(packet->data, datagram->data, datagram->len);
}

static size_t drain_server(struct sim *sim)
{
    struct kh_datagram out;
    size_t bytes = 0;

    while (kh_rendezvous_registry_next_transmit(sim->registry, &out)) {
        bytes += out.len;
        sim->to_clients++;
        carry(sim, &out);
    }
    return bytes;
}

static struct sim_member *member_of(struct sim_host *host, const struct kh_rendezvous_member_id *id)
{
    for (size_t i = 0; i < host->member_count; i++) {
        if (kh_rendezvous_member_equal(&host->members[i].id, id))
            return &host->members[i];
    }
    assert(host->member_count < sizeof host->members / sizeof host->members[0]);
    host->members[host->member_count].id = *id;
    return &host->members[host->member_count++];
}

static void note_signal(struct sim *sim, struct sim_host *host,
                        const struct kh_rendezvous_client_event *event)
{
    size_t at = host->signal_count;

    if (at == SIM_SIGNALS_MAX)
        return;
    snprintf(host->signals[at], sizeof host->signals[at], "%.*s", (int)event->len,
             (const char *)event->data);
    host->signal_from[at] = event->id;
    host->signal_at[at] = sim->now;
    host->signal_count++;
}

static void note_member(struct sim_host *host, const struct kh_rendezvous_client_event *event)
{
    struct sim_member *member = member_of(host, &event->id);

    host->member_events++;
    host->back_events += event->is_back;
    member->gone = false;
    member->public = event->public;
    snprintf(member->card, sizeof member->card, "%.*s", (int)event->len, (const char *)event->data);
}

static void note(struct sim *sim, struct sim_host *host,
                 const struct kh_rendezvous_client_event *event)
{
    switch (event->kind) {
    case KH_RENDEZVOUS_EVENT_JOINED:
        host->joined++;
        host->joined_at = sim->now;
        host->ticket = event->ticket;
        host->mapped_addr = event->mapped;
        host->other = event->other;
        return;
    case KH_RENDEZVOUS_EVENT_MAPPED:
        host->mapped++;
        host->mapped_addr = event->mapped;
        return;
    case KH_RENDEZVOUS_EVENT_MEMBER:
        note_member(host, event);
        return;
    case KH_RENDEZVOUS_EVENT_GONE:
        host->gone_events++;
        member_of(host, &event->id)->gone = true;
        return;
    case KH_RENDEZVOUS_EVENT_SIGNAL:
        note_signal(sim, host, event);
        return;
    case KH_RENDEZVOUS_EVENT_SIGNAL_LOST:
        host->lost++;
        host->lost_token = event->token;
        return;
    case KH_RENDEZVOUS_EVENT_UNREACHABLE:
        host->unreachable++;
        return;
    case KH_RENDEZVOUS_EVENT_REFUSED:
        host->refused = event->code;
        return;
    case KH_RENDEZVOUS_EVENT_LEFT:
        host->left++;
        return;
    }
}

static void drain_host(struct sim *sim, struct sim_host *host)
{
    struct kh_rendezvous_client_event event;
    struct kh_datagram out;

    while (kh_rendezvous_client_next_event(host->client, &event))
        note(sim, host, &event);
    while (kh_rendezvous_client_next_transmit(host->client, &out)) {
        out.from = host->addr[out.to.family == KH_FAMILY_IPV6];
        out.from.transport = out.to.transport;
        sim->to_server++;
        capture(sim, &out);
        carry(sim, &out);
    }
}

/* Is the sender known to receive where it sends from? */
static bool is_proven(const struct kh_stun_message *message)
{
    struct kh_stun_attribute attribute;

    return message->method != KH_STUN_JOIN || kh_stun_find(message, KH_STUN_NONCE, &attribute);
}

static void deliver_to_server(struct sim *sim, const struct kh_datagram *datagram)
{
    struct kh_stun_message message;
    size_t asked = datagram->len;
    bool proven;

    if (sim->registry == NULL || kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK)
        return;
    proven = is_proven(&message);
    kh_rendezvous_registry_handle_message(sim->registry, sim->now, datagram, &message);
    if (drain_server(sim) > asked && !proven)
        sim->amplified++;
}

static void deliver(struct sim *sim, struct sim_packet *packet)
{
    struct kh_datagram datagram = {
        .from = packet->from, .to = packet->to, .data = packet->data, .len = packet->len};

    packet->used = false;
    packet->to.transport = KH_UDP;
    if (kh_addr_equal(&packet->to, &sim->servers[0]) ||
        kh_addr_equal(&packet->to, &sim->servers[1])) {
        deliver_to_server(sim, &datagram);
        return;
    }
    for (size_t i = 0; i < sim->host_count; i++) {
        struct sim_host *host = &sim->hosts[i];

        if (kh_addr_equal(&packet->to, &host->addr[0]) ||
            kh_addr_equal(&packet->to, &host->addr[1])) {
            kh_rendezvous_client_handle_datagram(host->client, sim->now, &datagram);
            drain_host(sim, host);
            return;
        }
    }
}

void sim_inject(struct sim *sim, const struct kh_addr *from, const struct kh_addr *to,
                struct kh_span data)
{
    struct kh_datagram datagram = {.from = *from, .to = *to, .data = data.data, .len = data.len};

    deliver_to_server(sim, &datagram);
}

/* ---- time ---- */

static struct sim_packet *first_packet(struct sim *sim)
{
    struct sim_packet *first = NULL;

    for (size_t i = 0; i < SIM_PACKETS_MAX; i++) {
        if (sim->packets[i].used && (first == NULL || sim->packets[i].at < first->at))
            first = &sim->packets[i];
    }
    return first;
}

static void handle_timeouts(struct sim *sim)
{
    if (sim->registry != NULL && kh_rendezvous_registry_timeout(sim->registry) <= sim->now) {
        kh_rendezvous_registry_handle_timeout(sim->registry, sim->now);
        drain_server(sim);
    }
    for (size_t i = 0; i < sim->host_count; i++) {
        if (kh_rendezvous_client_timeout(sim->hosts[i].client) > sim->now)
            continue;
        kh_rendezvous_client_handle_timeout(sim->hosts[i].client, sim->now);
        drain_host(sim, &sim->hosts[i]);
    }
}

static kh_time next_time(struct sim *sim, const struct sim_packet *packet)
{
    kh_time at = packet == NULL ? KH_NEVER : packet->at;

    if (sim->registry != NULL)
        at = kh_time_min(at, kh_rendezvous_registry_timeout(sim->registry));
    for (size_t i = 0; i < sim->host_count; i++)
        at = kh_time_min(at, kh_rendezvous_client_timeout(sim->hosts[i].client));
    return at;
}

/* Does what comes next, unless that is after `end`. */
static bool step(struct sim *sim, kh_time end)
{
    struct sim_packet *packet = first_packet(sim);
    kh_time at = next_time(sim, packet);

    if (at > end)
        return false;
    if (at > sim->now)
        sim->now = at;
    if (packet != NULL && packet->at <= sim->now)
        deliver(sim, packet);
    else
        handle_timeouts(sim);
    return true;
}

void sim_run(struct sim *sim, kh_duration duration)
{
    kh_time end = sim->now + duration;

    while (step(sim, end))
        ;
    sim->now = end;
}

bool sim_run_until(struct sim *sim, bool (*done)(struct sim *), kh_duration limit)
{
    kh_time end = sim->now + limit;

    while (!done(sim)) {
        if (!step(sim, end))
            return false;
    }
    return true;
}

/* ---- hosts ---- */

struct sim_host *sim_add_config(struct sim *sim, struct kh_rendezvous_client_config *config)
{
    struct sim_host *host = &sim->hosts[sim->host_count];
    uint8_t n = (uint8_t)(sim->host_count + 1);
    uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8, 1, [15] = n};
    enum kh_status status;

    assert(sim->host_count < SIM_HOSTS_MAX);
    sim->host_count++;
    *host = (struct sim_host){0};
    host->addr[0] = kh_addr_ipv4(198, 51, 100, n, (uint16_t)(40000 + n));
    host->addr[1] = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, (uint16_t)(40000 + n));
    kh_rng_bytes(&sim->rng, host->id.bytes, sizeof host->id.bytes);
    kh_rng_bytes(&sim->rng, config->seed, sizeof config->seed);
    config->member = host->id;
    status = kh_rendezvous_client_new(&host->client, config);
    assert(status == KH_OK);
    return host;
}

struct sim_host *sim_add(struct sim *sim, const struct kh_rendezvous_ticket *ticket)
{
    struct kh_rendezvous_client_config config = {
        .servers = {sim->servers[0]}, .server_count = 1, .room_seed = sim->room_seed};

    if (ticket != NULL)
        config.ticket = *ticket;
    return sim_add_config(sim, &config);
}

static struct kh_span span_of(const char *text)
{
    return (struct kh_span){text, text == NULL ? 0 : strlen(text)};
}

void sim_join(struct sim *sim, struct sim_host *host, const char *card, const char *early)
{
    kh_rendezvous_client_join(host->client, sim->now, span_of(card), span_of(early));
    drain_host(sim, host);
}

void sim_card(struct sim *sim, struct sim_host *host, const char *card)
{
    kh_rendezvous_client_set_card(host->client, sim->now, span_of(card));
    drain_host(sim, host);
}

void sim_say(struct sim *sim, struct sim_host *from, const struct sim_host *to, const char *text,
             uint64_t token)
{
    enum kh_status status = kh_rendezvous_client_signal(
        from->client, sim->now, to == NULL ? NULL : &to->id, span_of(text), token);

    assert(status == KH_OK);
    drain_host(sim, from);
}

void sim_leave(struct sim *sim, struct sim_host *host)
{
    kh_rendezvous_client_leave(host->client, sim->now);
    drain_host(sim, host);
}

void sim_probe(struct sim *sim, struct sim_host *host)
{
    kh_rendezvous_client_probe(host->client, sim->now);
    drain_host(sim, host);
}

void sim_doubt(struct sim *sim, struct sim_host *host)
{
    kh_rendezvous_client_doubt(host->client, sim->now);
    drain_host(sim, host);
}

void sim_attend(struct sim *sim, struct sim_host *host, bool attentive)
{
    kh_rendezvous_client_set_attentive(host->client, sim->now, attentive);
    drain_host(sim, host);
}

/* ---- looking in ---- */

const struct sim_member *sim_known(const struct sim_host *host, const struct sim_host *other)
{
    for (size_t i = 0; i < host->member_count; i++) {
        if (kh_rendezvous_member_equal(&host->members[i].id, &other->id))
            return &host->members[i];
    }
    return NULL;
}

bool sim_sees(const struct sim_host *host, const struct sim_host *other, const char *card)
{
    const struct sim_member *member = sim_known(host, other);

    return member != NULL && !member->gone && strcmp(member->card, card) == 0;
}

struct kh_rendezvous_registry_stats sim_stats(const struct sim *sim)
{
    return kh_rendezvous_registry_stats(sim->registry);
}
