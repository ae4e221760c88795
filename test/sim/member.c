/* sim/member.c - one member on its host: started, driven, drained, listened to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define SPARE_PORT_MIN 50000
#define UNIX_START_MS 1700000000000u

kh_time sim_member_now(const struct sim *sim, const struct member *member)
{
    return sim_now(sim) + member->clock_ahead;
}

static int find_member(const struct sim *sim, const struct kh_room_member_id *id)
{
    for (int i = 0; i < sim->member_count; i++)
        if (memcmp(&sim->members[i].id, id, sizeof(*id)) == 0)
            return i;
    return -1;
}

/* ---- what a member hears ---- */

static void note_message(struct sim *sim, int member, const struct kh_node_event *event)
{
    int author = find_member(sim, &event->entry.log);
    struct sim_contact *contact;

    sim_watch_message(sim, member, event);
    if (author < 0)
        return;
    contact = &sim->members[member].contacts[author];
    if (contact->first_heard_at == KH_NEVER) {
        contact->first_heard_at = sim_now(sim);
        contact->first_via = event->via;
    }
    sim_log(sim, "%s hears \"%.*s\" by %s", sim->members[member].name, (int)event->text_len,
            event->text, event->via == KH_ROOM_CHANNEL ? "channel" : "signal");
}

static void note_path(struct sim *sim, int member, int other, const struct kh_node_event *event)
{
    struct sim_contact *contact = &sim->members[member].contacts[other];
    char local[KH_ADDR_TEXT_MAX], remote[KH_ADDR_TEXT_MAX];

    contact->path_at = kh_time_min(contact->path_at, sim_now(sim));
    contact->path = event->path;
    contact->paths++;
    contact->transport = event->transport;
    sim_log(sim, "%s path to %s: %s %s > %s %s", sim->members[member].name,
            sim->members[other].name, kh_ice_kind_name(event->path.local_kind),
            kh_addr_text(&event->path.local, local), kh_ice_kind_name(event->path.remote_kind),
            kh_addr_text(&event->path.remote, remote));
}

static void note_of_other(struct sim *sim, int member, int other, const struct kh_node_event *event)
{
    struct sim_contact *contact = &sim->members[member].contacts[other];
    const char *name = sim->members[member].name, *whom = sim->members[other].name;

    if (event->kind == KH_NODE_EVENT_PATH) {
        note_path(sim, member, other, event);
    } else if (event->kind == KH_NODE_EVENT_OPEN) {
        contact->open_at = kh_time_min(contact->open_at, sim_now(sim));
        sim_log(sim, "%s channel to %s open", name, whom);
    } else if (event->kind == KH_NODE_EVENT_PATH_LOST) {
        sim_log(sim, "%s path to %s lost", name, whom);
    } else if (event->kind == KH_NODE_EVENT_DELIVERED) {
        sim_watch_delivered(sim, member, event);
        sim_log(sim, "%s knows %s has %llu", name, whom, (unsigned long long)event->entry.sequence);
    } else {
        sim_log(sim, "%s sees %s %s", name, whom,
                event->kind == KH_NODE_EVENT_GONE ? "go" : "come");
    }
}

static void note_question(struct member *at, const struct kh_node_event *event)
{
    struct question *question = &at->questions[at->question_count++];

    assert(at->question_count <= QUESTIONS_MAX);
    memcpy(question->name, event->text, event->text_len + 1);
    question->family = event->family;
}

static void note(struct sim *sim, int member, const struct kh_node_event *event)
{
    struct member *at = &sim->members[member];
    int other;

    sim->something_happened = true;
    switch (event->kind) {
    case KH_NODE_EVENT_JOINED:
        at->ticket = event->ticket;
        sim_log(sim, "%s joined", at->name);
        return;
    case KH_NODE_EVENT_MESSAGE:
        note_message(sim, member, event);
        return;
    case KH_NODE_EVENT_MEMBER:
    case KH_NODE_EVENT_GONE:
    case KH_NODE_EVENT_PATH:
    case KH_NODE_EVENT_OPEN:
    case KH_NODE_EVENT_PATH_LOST:
    case KH_NODE_EVENT_DELIVERED:
        other = find_member(sim, &event->member);
        if (other < 0)
            sim_fail(sim, "%s tells of a stranger", at->name);
        else
            note_of_other(sim, member, other, event);
        return;
    case KH_NODE_EVENT_UNREACHABLE:
        sim_log(sim, "%s cannot reach the server", at->name);
        return;
    case KH_NODE_EVENT_WARNING:
        at->warnings++;
        sim_log(sim, "%s is warned: %s: %.*s", at->name, event->code, (int)event->text_len,
                event->text);
        return;
    case KH_NODE_EVENT_ERROR:
        sim_fail(sim, "%s gives up: %s: %.*s", at->name, event->code, (int)event->text_len,
                 event->text);
        return;
    case KH_NODE_EVENT_NAME:
        sim_log(sim, "%s asks for %s", at->name, event->text);
        note_question(at, event);
        return;
    case KH_NODE_EVENT_SOCKETS:
        at->sockets_wanted = event->socket_count;
        return;
    case KH_NODE_EVENT_SOCKETS_SPENT:
        at->sockets_open -= event->socket_count;
        return;
    case KH_NODE_EVENT_LEFT:
        at->is_present = false;
        sim_log(sim, "%s left", at->name);
        return;
    }
}

/* A host of this network hears at any port, so a socket is a number that was not given before. */
static void open_sockets(struct sim *sim, struct member *member)
{
    uint16_t ports[KH_NODE_SOCKETS_MAX];
    size_t count = member->sockets_wanted;

    for (size_t i = 0; i < count; i++) {
        member->last_socket =
            member->last_socket < SPARE_PORT_MIN ? UINT16_MAX : member->last_socket;
        ports[i] = member->last_socket--;
    }
    member->sockets_wanted = 0;
    member->sockets_open += count;
    kh_node_add_sockets(member->node, sim_member_now(sim, member), ports, count);
}

/* A Binding request without credentials, which checks of ICE have. */
static bool is_nat_probe(const struct kh_datagram *datagram)
{
    return datagram->len >= 20 && datagram->len <= 28 && datagram->data[0] == 0 &&
           datagram->data[1] == 1;
}

/* What the hosts of its link say; nobody else hears the question. */
static void ask_link(struct sim *sim, struct member *at)
{
    struct kh_addr found[SIM_MEMBERS_MAX * NET_ADDRS_MAX];
    struct question question = at->questions[--at->question_count];
    size_t count = 0;

    for (int i = 0; i < sim->member_count; i++) {
        const struct member *other = &sim->members[i];

        for (size_t n = 0; n < other->addr_count; n++)
            if (other->realm == at->realm && strcmp(other->local_name, question.name) == 0 &&
                other->addrs[n].family == question.family)
                found[count++] = other->addrs[n];
    }
    kh_node_named(at->node, sim_member_now(sim, at), question.name, question.family, found, count);
}

void sim_member_drain(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];
    struct kh_node_event event;
    struct kh_datagram datagram;
    bool has_left = false;
    kh_time timeout;

    while (kh_node_next_event(at->node, &event)) {
        has_left = has_left || event.kind == KH_NODE_EVENT_LEFT;
        note(sim, member, &event);
    }
    while (kh_node_next_transmit(at->node, &datagram)) {
        sim_trace(sim, at->name, ">", &datagram);
        sim_watch_departure(sim, at, &datagram);
        at->nat_probes += is_nat_probe(&datagram);
        sim_hash_bytes(sim, &datagram.to, sizeof(datagram.to));
        sim_hash_bytes(sim, datagram.data, datagram.len);
        net_send(sim->net, at->host, &datagram);
    }
    if (at->question_count > 0) {
        ask_link(sim, at);
        sim_member_drain(sim, member);
        return;
    }
    if (at->sockets_wanted > 0) {
        open_sockets(sim, at);
        sim_member_drain(sim, member);
        return;
    }
    timeout = kh_node_timeout(at->node);
    if (has_left)
        sim_vanish(sim, member);
    else if (timeout == KH_NEVER)
        net_set_timer(sim->net, at->host, KH_NEVER);
    else
        net_set_timer(sim->net, at->host, kh_time_since(timeout, at->clock_ahead));
}

void sim_member_lose(struct sim *sim, int member, const struct kh_datagram *datagram)
{
    struct member *at = &sim->members[member];

    if (datagram->to.port == at->addrs[0].port)
        kh_node_handle_lost(at->node, sim_member_now(sim, at), &datagram->to, &datagram->from);
    else
        kh_node_disconnected(at->node, sim_member_now(sim, at), &datagram->from);
}

/* ---- what a member does ---- */

static void start(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];
    struct kh_node_config config = {.identity = at->identity,
                                    .ticket = at->ticket,
                                    .paths = at->paths,
                                    .no_punching = at->no_punching,
                                    .log = sim_log_sink(sim)};

    if (at->node != NULL)
        return;
    for (size_t i = 0; i < at->addr_count; i++) {
        const struct kh_addr *server =
            at->addrs[i].family == KH_FAMILY_IPV4 ? &sim->server_addr : &sim->server_addr6;

        config.servers[config.server_count++] = *server;
        for (int transport = KH_TCP; sim->has_streams && transport <= KH_TLS; transport++) {
            config.servers[config.server_count] = *server;
            config.servers[config.server_count++].transport = (uint8_t)transport;
        }
    }
    config.tcp_ipv4 = config.tcp_ipv6 = sim->has_streams;
    memcpy(config.secret, sim->secret, sizeof(config.secret));
    memcpy(config.name, at->name, sizeof(config.name));
    memcpy(config.local_name, at->local_name, sizeof(config.local_name));
    dice_bytes(&sim->dice, config.seed, sizeof(config.seed));
    if (kh_node_new(&at->node, &config) != KH_OK)
        abort();
    sim->owner_of_host[at->host] = member;
    if (sim->has_streams)
        net_listen(sim->net, at->host, at->addrs[0].port, false);
    at->id = *kh_node_id(at->node);
    for (size_t i = 0; i < at->addr_count; i++) {
        if (kh_node_add_addr(at->node, sim_member_now(sim, at), &at->addrs[i]) != KH_OK)
            abort();
        sim_member_drain(sim, member);
    }
}

void sim_join(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];

    start(sim, member);
    sim_log(sim, "+ %s joins in realm %d", at->name, at->realm);
    at->is_present = at->has_joined = true;
    at->joined_at = sim_now(sim);
    kh_node_join(at->node, sim_member_now(sim, at));
    sim_member_drain(sim, member);
}

void sim_say(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];
    struct said *said = &at->said[at->said_count];
    char text[SIM_TEXT_MAX];
    kh_time now;

    assert(at->said_count < SIM_SAID_MAX);
    start(sim, member);
    now = sim_member_now(sim, at);
    snprintf(text, sizeof(text), "between us: %s %u", at->name, ++at->said_count);
    memcpy(said->text, text, sizeof(text));
    sim_log(sim, "+ %s says \"%s\"", at->name, said->text);
    if (kh_node_say(at->node, now, UNIX_START_MS + now / 1000, said->text, strlen(said->text),
                    &said->entry) != KH_OK)
        sim_fail(sim, "%s cannot say \"%s\"", at->name, said->text);
    else if (said->entry.sequence != at->said_count)
        sim_fail(sim, "%s numbers its message %u as %llu", at->name, at->said_count,
                 (unsigned long long)said->entry.sequence);
    sim_member_drain(sim, member);
}

void sim_leave(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];

    sim_log(sim, "+ %s leaves", at->name);
    at->is_present = false;
    kh_node_leave(at->node, sim_member_now(sim, at));
    sim_member_drain(sim, member);
}

void sim_vanish(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];

    sim_log(sim, "+ %s is gone", at->name);
    kh_node_free(at->node);
    at->node = NULL;
    at->is_present = false;
    sim->owner_of_host[at->host] = -1;
    net_drop_streams(sim->net, at->host);
    net_set_timer(sim->net, at->host, KH_NEVER);
}

void sim_disconnect(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];
    struct kh_addr server = sim->server_addr;

    server.transport = KH_TCP;
    kh_node_disconnected(at->node, sim_member_now(sim, at), &server);
    sim_member_drain(sim, member);
}

void sim_probe(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];

    kh_node_probe(at->node, sim_member_now(sim, at));
    sim_member_drain(sim, member);
}

void sim_map_port(struct sim *sim, int member)
{
    struct member *at = &sim->members[member];
    struct nat *nat = net_nat(sim->net, at->realm);
    struct kh_addr mapped = nat_config_of(nat)->external;

    mapped.port = (uint16_t)dice_range(&sim->dice, 1024, 65535);
    if (!nat_forward(nat, &at->addrs[0], mapped.port) ||
        kh_node_add_mapped(at->node, sim_member_now(sim, at), &at->addrs[0], &mapped) != KH_OK)
        sim_fail(sim, "%s gets no port of its router", at->name);
    sim_member_drain(sim, member);
}
