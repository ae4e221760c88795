/* node/node.c - a whole member: its life, its inputs, and what can be asked of it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OUTBOX_MAX                                                                                 \
    128 /* what all children said before their second input in one round of steps                  \
         */
#define LEAVE_MAX KH_SECONDS(2)

static void begin_input(struct kh_node *node, kh_time now)
{
    assert(node->settled);
    assert(kh_outbox_is_empty(&node->outbox));
    node->now = now;
    node->settled = false;
}

/* ---- life ---- */

static enum kh_status make_room(struct kh_node *node, const struct kh_node_config *config)
{
    struct kh_room_config room = {
        .identity = config->identity, .member = node->id, .log = config->log};
    enum kh_status status;

    memcpy(room.secret, config->secret, sizeof room.secret);
    memcpy(room.name, config->name, sizeof room.name);
    kh_rng_bytes(&node->rng, room.seed, sizeof room.seed);
    status = kh_room_new(&node->room, &room);
    kh_wipe(&room, sizeof room);
    return status;
}

static enum kh_status make_rendezvous(struct kh_node *node, const struct kh_node_config *config)
{
    struct kh_rendezvous_client_config rendezvous = {.server_count = config->server_count,
                                                     .ticket = config->ticket,
                                                     .hidden = config->paths == KH_NODE_PATHS_RELAY,
                                                     .log = config->log};
    enum kh_status status;

    memcpy(rendezvous.servers, config->servers, sizeof rendezvous.servers);
    memcpy(rendezvous.member.bytes, node->id.bytes, sizeof rendezvous.member.bytes);
    kh_room_derive_seed(config->secret, &rendezvous.room_seed);
    kh_rng_bytes(&node->rng, rendezvous.seed, sizeof rendezvous.seed);
    status = kh_rendezvous_client_new(&node->rendezvous, &rendezvous);
    kh_wipe(&rendezvous, sizeof rendezvous);
    return status;
}

enum kh_status kh_node_new(struct kh_node **out, const struct kh_node_config *config)
{
    struct kh_node *node = calloc(1, sizeof *node);
    enum kh_status status;

    assert(config->server_count <= KH_RENDEZVOUS_SERVERS_MAX);
    assert(config->local_name[0] == '\0' ||
           kh_text_is_local_name(config->local_name, strlen(config->local_name)));
    if (node == NULL)
        return KH_ERR_MEMORY;
    node->paths = config->paths;
    node->punch.is_off = config->no_punching;
    node->server_count = config->server_count;
    node->log = config->log;
    node->settled = true;
    node->leave_by = KH_NEVER;
    node->reflexive.ask_at = KH_NEVER;
    node->tcp.ask_at = KH_NEVER;
    node->tcp.ipv4 = config->tcp_ipv4;
    node->tcp.ipv6 = config->tcp_ipv6;
    node->relayed.ask_at = KH_NEVER;
    memcpy(node->servers, config->servers, sizeof node->servers);
    memcpy(node->name, config->name, sizeof node->name);
    memcpy(node->local_name, config->local_name, sizeof node->local_name);
    kh_ed25519_public(&config->identity, node->identity);
    kh_rng_init(&node->rng, config->seed);
    kh_rng_bytes(&node->rng, node->id.bytes, sizeof node->id.bytes);
    kh_ice_credentials_make(&node->credentials, &node->rng);
    kh_node_pin_name(node, node->name, node->identity);
    status = kh_outbox_init(&node->outbox, OUTBOX_MAX, KH_DATAGRAM_MAX + KH_TURN_OVERHEAD_MAX);
    if (status == KH_OK)
        status = kh_channel_certificate_new(&node->certificate);
    if (status == KH_OK)
        status = make_room(node, config);
    if (status == KH_OK)
        status = make_rendezvous(node, config);
    if (status == KH_OK)
        status = kh_node_relayed_init(node);
    if (status == KH_OK)
        *out = node;
    else
        kh_node_free(node);
    return status;
}

void kh_node_free(struct kh_node *node)
{
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->neighbour_count; i++)
        kh_node_free_neighbour(node->neighbours[i]);
    kh_node_mail_clear(&node->mail);
    kh_turn_client_free(node->relayed.turn);
    kh_nat_discovery_free(node->classify.discovery);
    kh_rendezvous_client_free(node->rendezvous);
    kh_room_free(node->room);
    kh_channel_certificate_free(node->certificate);
    kh_outbox_fini(&node->outbox);
    kh_rng_fini(&node->rng);
    kh_wipe(node, sizeof *node);
    free(node);
}

/* ---- inputs: the network around us ---- */

static void addrs_changed(struct kh_node *node)
{
    if (!kh_node_update_locals(node) || node->life != LIFE_STAYING)
        return;
    node->card_due = true;
    node->probe_due = true;
    kh_node_reflexive_hurry(node);
}

enum kh_status kh_node_add_addr(struct kh_node *node, kh_time now, const struct kh_addr *addr)
{
    assert(node->settled && addr->port != 0);
    for (size_t i = 0; i < node->addr_count; i++)
        if (kh_addr_equal(&node->addrs[i], addr))
            return KH_OK;
    if (node->addr_count == KH_NODE_ADDRS_MAX)
        return KH_ERR_FULL;
    begin_input(node, now);
    node->addrs[node->addr_count++] = *addr;
    addrs_changed(node);
    return KH_OK;
}

void kh_node_remove_addr(struct kh_node *node, kh_time now, const struct kh_addr *addr)
{
    begin_input(node, now);
    for (size_t i = 0; i < node->addr_count; i++) {
        if (!kh_addr_equal(&node->addrs[i], addr))
            continue;
        node->addrs[i] = node->addrs[--node->addr_count];
        addrs_changed(node);
        return;
    }
}

static void ports_changed(struct kh_node *node)
{
    if (kh_node_update_locals(node) && node->life == LIFE_STAYING)
        node->card_due = true;
}

enum kh_status kh_node_add_mapped(struct kh_node *node, kh_time now, const struct kh_addr *base,
                                  const struct kh_addr *mapped)
{
    struct kh_node_port *place = NULL;

    for (size_t i = 0; i < KH_NODE_MAPPED_MAX; i++) {
        struct kh_node_port *port = &node->ports[i];

        if (kh_addr_equal(&port->mapped, mapped) && kh_addr_equal(&port->base, base))
            return KH_OK;
        if (place == NULL && kh_addr_is_none(&port->mapped))
            place = port;
    }
    if (place == NULL)
        return KH_ERR_FULL;
    begin_input(node, now);
    *place = (struct kh_node_port){.base = *base, .mapped = *mapped};
    ports_changed(node);
    return KH_OK;
}

void kh_node_remove_mapped(struct kh_node *node, kh_time now, const struct kh_addr *mapped)
{
    begin_input(node, now);
    for (size_t i = 0; i < KH_NODE_MAPPED_MAX; i++)
        if (kh_addr_equal(&node->ports[i].mapped, mapped))
            node->ports[i] = (struct kh_node_port){0};
    ports_changed(node);
}

void kh_node_named(struct kh_node *node, kh_time now, const char *name, enum kh_family family,
                   const struct kh_addr *addrs, size_t count)
{
    begin_input(node, now);
    kh_node_names_answer(node, name, family, addrs, count);
}

void kh_node_add_sockets(struct kh_node *node, kh_time now, const uint16_t *ports, size_t count)
{
    begin_input(node, now);
    kh_node_sockets_answer(node, ports, count);
}

void kh_node_probe(struct kh_node *node, kh_time now)
{
    begin_input(node, now);
    if (node->life != LIFE_STAYING)
        return;
    node->probe_due = true;
    kh_node_reflexive_hurry(node);
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];
        const struct kh_ice_path *path =
            neighbour->peer == NULL ? NULL : kh_peer_path(neighbour->peer);

        /* Most news change nothing, and a restart takes what answers first: a direct path is asked
         * about at once, and left if it is silent. */
        if (path != NULL && path->local_kind != KH_ICE_RELAYED &&
            path->remote_kind != KH_ICE_RELAYED)
            neighbour->doubt_due = neighbour->reconsider_due = true;
        else
            neighbour->restart_due = true;
    }
}

void kh_node_disconnected(struct kh_node *node, kh_time now, const struct kh_addr *server)
{
    begin_input(node, now);
    kh_node_relayed_disconnected(node, server);
    if (node->life == LIFE_STAYING)
        node->probe_due = true;
}

/* ---- inputs: coming, speaking, going ---- */

void kh_node_join(struct kh_node *node, kh_time now)
{
    uint8_t card[KH_ROOM_CARD_MAX];
    uint8_t early[KH_ROOM_SIGNAL_MAX];
    size_t card_len;
    size_t early_len;

    assert(node->life == LIFE_NEW);
    begin_input(node, now);
    kh_node_enter(node, LIFE_STAYING);
    card_len = kh_node_write_card(node, card);
    early_len = kh_room_early_signal(node->room, early);
    kh_rendezvous_client_join(node->rendezvous, now, (struct kh_span){card, card_len},
                              (struct kh_span){early, early_len});
}

enum kh_status kh_node_say(struct kh_node *node, kh_time now, uint64_t time_ms, const char *text,
                           size_t len, struct kh_room_entry_id *out)
{
    enum kh_status status;

    begin_input(node, now);
    status = kh_room_say(node->room, now, time_ms, text, len, out);
    node->settled = status != KH_OK; /* nothing has changed then */
    return status;
}

void kh_node_leave(struct kh_node *node, kh_time now)
{
    begin_input(node, now);
    if (node->life >= LIFE_LEAVING)
        return;
    node->farewell_due = node->life == LIFE_STAYING;
    node->leave_due = node->life == LIFE_STAYING;
    node->server_left = node->life == LIFE_NEW;
    node->leave_by = kh_time_add(now, LEAVE_MAX);
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];

        neighbour->close_due = true;
        neighbour->farewell = neighbour->peer != NULL && kh_peer_is_open(neighbour->peer);
    }
    kh_node_enter(node, LIFE_LEAVING);
}

/* ---- inputs: datagrams and time ---- */

static bool is_on_way(const struct kh_node_neighbour *neighbour, const struct kh_datagram *datagram)
{
    return kh_addr_equal(&neighbour->way.from, &datagram->from) &&
           kh_addr_equal(&neighbour->way.to, &datagram->to);
}

static bool offer(struct kh_node *node, struct kh_node_neighbour *neighbour,
                  const struct kh_datagram *datagram)
{
    if (neighbour->peer == NULL || !kh_peer_handle_datagram(neighbour->peer, node->now, datagram))
        return false;
    /* The way is this one's now: a member that came back in another stay, on the same addresses,
     * must not lose its DTLS to the peer of the stay before. */
    for (size_t i = 0; i < node->neighbour_count; i++)
        if (is_on_way(node->neighbours[i], datagram))
            node->neighbours[i]->way.from = node->neighbours[i]->way.to = (struct kh_addr){0};
    neighbour->way.from = datagram->from;
    neighbour->way.to = datagram->to;
    return true;
}

/* Asks first whoever the latest datagram of this way was for, then the others: two members behind
 * one address are told apart by their credentials alone. */
static bool offer_to_peers(struct kh_node *node, const struct kh_datagram *datagram)
{
    size_t first = node->neighbour_count;

    for (size_t i = 0; i < node->neighbour_count && first == node->neighbour_count; i++)
        if (is_on_way(node->neighbours[i], datagram))
            first = i;
    if (first < node->neighbour_count && offer(node, node->neighbours[first], datagram))
        return true;
    for (size_t i = 0; i < node->neighbour_count; i++)
        if (i != first && offer(node, node->neighbours[i], datagram))
            return true;
    return false;
}

static bool is_from_server(const struct kh_node *node, const struct kh_datagram *datagram)
{
    for (size_t i = 0; i < node->server_count; i++)
        if (kh_addr_equal(&node->servers[i], &datagram->from))
            return true;
    return false;
}

bool kh_node_handle_datagram(struct kh_node *node, kh_time now, const struct kh_datagram *datagram)
{
    struct kh_datagram inner;

    begin_input(node, now);
    node->datagrams++;
    if (is_from_server(node, datagram) &&
        (kh_rendezvous_client_handle_datagram(node->rendezvous, now, datagram) ||
         kh_node_reflexive_handle_datagram(node, datagram) ||
         kh_node_tcp_handle_datagram(node, datagram) ||
         kh_node_knock_handle_datagram(node, datagram)))
        return true;
    if (kh_node_relayed_handle_datagram(node, datagram, &inner)) {
        if (inner.data != NULL && !offer_to_peers(node, &inner))
            node->dropped_stray++;
        return true;
    }
    if (kh_node_classify_handle_datagram(node, datagram) ||
        (node->paths != KH_NODE_PATHS_RELAY && offer_to_peers(node, datagram)))
        return true;
    node->dropped_stray++;
    return false;
}

void kh_node_handle_lost(struct kh_node *node, kh_time now, const struct kh_addr *local,
                         const struct kh_addr *remote)
{
    begin_input(node, now);
    kh_node_tcp_handle_lost(node, remote);
    for (size_t i = 0; i < node->neighbour_count; i++) {
        node->neighbours[i]->lost_local = *local;
        node->neighbours[i]->lost_remote = *remote;
    }
}

void kh_node_handle_timeout(struct kh_node *node, kh_time now)
{
    begin_input(node, now);
    if (node->life == LIFE_LEFT)
        return;
    node->room_timeout_due = true;
    node->server_timeout_due = true;
    node->relayed.timeout_due = true;
    kh_node_reflexive_handle_timeout(node);
    kh_node_tcp_handle_timeout(node);
    kh_node_classify_handle_timeout(node);
    for (size_t i = 0; i < node->neighbour_count; i++)
        node->neighbours[i]->timeout_due = true;
}

/* ---- looking in ---- */

const struct kh_nat_class *kh_node_nat(const struct kh_node *node)
{
    return &node->nat;
}

const struct kh_room_member_id *kh_node_id(const struct kh_node *node)
{
    return &node->id;
}

static void describe(const struct kh_node *node, const struct kh_node_neighbour *neighbour,
                     struct kh_node_member *out)
{
    const struct kh_ice_path *path = neighbour->peer == NULL ? NULL : kh_peer_path(neighbour->peer);

    *out = (struct kh_node_member){.id = neighbour->id, .nat = neighbour->card.nat};
    memcpy(out->name, neighbour->card.name, sizeof out->name);
    memcpy(out->identity, neighbour->card.identity, sizeof out->identity);
    out->open = neighbour->peer != NULL && kh_peer_is_open(neighbour->peer);
    out->has_path = path != NULL;
    if (path != NULL) {
        out->path = *path;
        out->transport = kh_node_transport_of(node, path);
    }
    out->undelivered = kh_room_undelivered(node->room, &neighbour->id);
}

bool kh_node_member_at(const struct kh_node *node, size_t n, struct kh_node_member *out)
{
    for (size_t i = 0; i < node->neighbour_count; i++) {
        if (!node->neighbours[i]->room.present || n-- > 0)
            continue;
        describe(node, node->neighbours[i], out);
        return true;
    }
    return false;
}

size_t kh_node_undelivered(const struct kh_node *node)
{
    return kh_room_undelivered(node->room, NULL);
}

bool kh_node_is_lacking(const struct kh_node *node)
{
    return kh_room_is_lacking(node->room);
}

struct kh_node_stats kh_node_stats(const struct kh_node *node)
{
    return (struct kh_node_stats){
        .punch = node->punch.stats,
        .datagrams = node->datagrams,
        .dropped_stray = node->dropped_stray,
        .dropped_outbox_full = node->outbox.dropped,
        .cards_refused = node->cards_refused,
        .frames_refused = node->frames_refused,
        .rendezvous = kh_rendezvous_client_stats(node->rendezvous),
        .room = kh_room_stats(node->room),
    };
}
