/* node/relayed.c - our place at the server's relay: asked for after the join, kept, spoken through.
 *
 * SPDX-License-Identifier: MIT
 *
 * To a peer's machine a relayed address is a base like any other.  What it sends from there goes
 * into the TURN client and leaves as a datagram to the server; what the server brings from there
 * comes out and is offered to the peers.  Every input of the TURN client is drained at once: its
 * events only leave notes here, and its datagrams go to the outbox.
 *
 * The allocation belongs to the way we speak with the server, by UDP or along one connection.  When
 * that way changes, so must the allocation: the old one is forgotten and a new one asked for.
 */
#include "node/inside.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define RETRY_FIRST KH_SECONDS(5)
#define RETRY_MAX KH_SECONDS(60)
#define MEETING KH_SECONDS(1)  /* to hear how the server sees us after a connection was lost */
#define FAMILY_UNSUPPORTED 440 /* RFC 8656 19: the relay has no IPv4 */

enum kh_status kh_node_relayed_init(struct kh_node *node)
{
    struct kh_turn_config config = {.log = node->log};
    enum kh_status status;

    node->relayed.ask_at = KH_NEVER;
    kh_node_need_init(&node->relayed);
    if (node->paths == KH_NODE_PATHS_DIRECT)
        return KH_OK;
    node->relayed.families = KH_TURN_BOTH;
    kh_rng_bytes(&node->rng, config.seed, sizeof config.seed);
    status = kh_turn_client_new(&node->relayed.turn, &config);
    kh_wipe(&config, sizeof config);
    return status;
}

/* ---- what it says ---- */

static void lose(struct kh_node_relayed *relayed)
{
    relayed->addr4 = relayed->addr6 = (struct kh_addr){0};
    relayed->release_at = KH_NEVER;
    relayed->changed = true;
}

static void retry_later(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    relayed->backoff = relayed->backoff == 0 ? RETRY_FIRST : relayed->backoff * 2;
    relayed->backoff = kh_time_min(relayed->backoff, RETRY_MAX);
    relayed->ask_at = kh_time_add(node->now, relayed->backoff);
}

static void handle_event(struct kh_node *node, const struct kh_turn_event *event)
{
    struct kh_node_relayed *relayed = &node->relayed;

    switch (event->kind) {
    case KH_TURN_EVENT_ALLOCATED:
        relayed->addr4 = event->allocated.relayed4;
        relayed->addr6 = event->allocated.relayed6;
        relayed->release_at = KH_NEVER;
        relayed->changed = true;
        relayed->backoff = 0;
        break;
    case KH_TURN_EVENT_LOST:
        lose(relayed);
        relayed->ask_at = node->now;
        break;
    case KH_TURN_EVENT_FAILED:
        if (event->code == FAMILY_UNSUPPORTED)
            relayed->families = KH_TURN_IPV6;
        else
            relayed->warning_due = true;
        retry_later(node);
        break;
    case KH_TURN_EVENT_MISMATCH:
    case KH_TURN_EVENT_ALTERNATE:
        retry_later(node);
        break;
    case KH_TURN_EVENT_RELEASED:
        lose(relayed);
        relayed->ask_at = node->now; /* when somebody needs it */
        break;
    case KH_TURN_EVENT_PEER_REFUSED:
        break; /* the pairs of that address fail, and others are there */
    }
}

static void take_outputs(struct kh_node *node)
{
    struct kh_turn_event event;
    struct kh_datagram datagram;

    while (kh_turn_client_next_event(node->relayed.turn, &event))
        handle_event(node, &event);
    while (kh_turn_client_next_transmit(node->relayed.turn, &datagram))
        kh_outbox_push(&node->outbox, &datagram);
}

/* ---- what it is told ---- */

static void warn(struct kh_node *node)
{
    struct kh_node_slot *slot = kh_node_emit(node, KH_NODE_EVENT_WARNING, NULL);

    node->relayed.has_warned = true;
    slot->event.code = "no-relay";
    snprintf(slot->text, sizeof slot->text,
             "the server gives us no relay, and no other path is allowed: words go through the "
             "server itself, sealed");
}

static void abandon(struct kh_node *node, bool with_goodbye)
{
    struct kh_node_relayed *relayed = &node->relayed;

    kh_turn_client_abandon(relayed->turn, node->now, with_goodbye);
    take_outputs(node);
    if (!kh_addr_is_none(&relayed->addr4) || !kh_addr_is_none(&relayed->addr6) ||
        relayed->release_at != KH_NEVER)
        lose(relayed);
}

void kh_node_relayed_met(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_node_relayed *relayed = &node->relayed;
    bool is_same = kh_addr_equal(&relayed->server, &event->server) &&
                   kh_addr_equal(&relayed->local, &event->local);

    if (relayed->turn == NULL)
        return;
    if (!is_same)
        abandon(node, true);
    else if (kh_turn_client_state(relayed->turn) == KH_TURN_ALLOCATING)
        abandon(node, false); /* what is asked of the server before may be lost with it */
    relayed->server = event->server;
    relayed->local = event->local;
    relayed->ask_at = node->now;
    /* Perhaps the server has forgotten all, or sees us elsewhere now. */
    relayed->probe_due = is_same;
}

void kh_node_relayed_disconnected(struct kh_node *node, const struct kh_addr *server)
{
    struct kh_node_relayed *relayed = &node->relayed;

    if (relayed->turn == NULL || !kh_addr_equal(&relayed->server, server))
        return;
    abandon(node, false); /* the server does the same */
    relayed->local = (struct kh_addr){0};
    relayed->ask_at = kh_time_add(node->now, MEETING);
}

static struct kh_span span_of(const char *text)
{
    return (struct kh_span){text, strlen(text)};
}

static void ask(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;
    struct kh_rendezvous_relay at;
    struct kh_turn_request request = {
        .server = relayed->server,
        .local = relayed->local,
        .families = relayed->families,
        /* What our own relay offers: known beforehand, as realm and nonce are. */
        .algorithms = {KH_STUN_ALGORITHM_SHA256, KH_STUN_ALGORITHM_MD5},
        .algorithm_count = 2,
        .require_sha256 = true};

    relayed->ask_at = KH_NEVER;
    if (!kh_rendezvous_client_relay(node->rendezvous, &at)) {
        relayed->warning_due = true;
        return; /* it is asked for again after the next join */
    }
    request.username = span_of(at.credentials.username);
    request.password = span_of(at.credentials.password);
    request.realm = span_of(at.realm);
    request.nonce = (struct kh_span){at.nonce, at.nonce_len};
    if (kh_turn_client_allocate(relayed->turn, node->now, &request) != KH_OK)
        retry_later(node);
    take_outputs(node);
    kh_wipe(&at, sizeof at);
}

static bool is_idle(const struct kh_node_relayed *relayed)
{
    return kh_turn_client_state(relayed->turn) == KH_TURN_IDLE;
}

/* Takes, keeps or gives back our place, as it is needed. */
static bool step_need(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;
    bool wanted;

    kh_node_need_weigh(node);
    wanted = kh_node_need_lasts(node);
    if (node->life != LIFE_STAYING)
        return false;
    if (!wanted && node->now < relayed->release_at)
        return kh_node_need_withdraw(node);
    if (!wanted) {
        relayed->release_at = KH_NEVER;
        kh_turn_client_release(relayed->turn, node->now);
        take_outputs(node);
        return true;
    }
    if (kh_node_need_restore(node))
        return true;
    if (node->now < relayed->ask_at || !is_idle(relayed))
        return false;
    ask(node);
    return true;
}

bool kh_node_relayed_step(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    if (relayed->turn == NULL)
        return false;
    if (relayed->warning_due) {
        relayed->warning_due = false;
        if (node->paths == KH_NODE_PATHS_RELAY && !relayed->has_warned)
            warn(node);
    } else if (relayed->changed) {
        relayed->changed = false;
        node->card_due = kh_node_update_locals(node) || node->card_due;
    } else if (relayed->timeout_due) {
        relayed->timeout_due = false;
        kh_turn_client_handle_timeout(relayed->turn, node->now);
        take_outputs(node);
    } else if (relayed->probe_due) {
        relayed->probe_due = false;
        kh_turn_client_probe(relayed->turn, node->now);
        take_outputs(node);
    } else if (relayed->release_due) {
        relayed->release_due = false;
        kh_turn_client_release(relayed->turn, node->now);
        take_outputs(node);
    } else {
        return step_need(node);
    }
    return true;
}

/* Is it an address at the relay, held or lost?  A peer may not know yet that it was lost. */
static bool is_relayed(const struct kh_node *node, const struct kh_addr *addr)
{
    if (node->paths == KH_NODE_PATHS_RELAY)
        return true; /* nothing may leave any other way */
    for (size_t i = 0; i < LOCALS_MAX; i++)
        if (node->locals[i].candidate.kind == KH_ICE_RELAYED &&
            kh_addr_equal(&node->locals[i].candidate.base, addr))
            return true;
    return false;
}

bool kh_node_relayed_send(struct kh_node *node, const struct kh_datagram *datagram)
{
    const struct kh_node_relayed *relayed = &node->relayed;

    if (relayed->turn == NULL || !is_relayed(node, &datagram->from))
        return false;
    kh_turn_client_send(relayed->turn, node->now, datagram);
    take_outputs(node);
    return true;
}

bool kh_node_relayed_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram,
                                     struct kh_datagram *out)
{
    struct kh_node_relayed *relayed = &node->relayed;

    *out = (struct kh_datagram){0};
    if (relayed->turn == NULL ||
        !kh_turn_client_handle_datagram(relayed->turn, node->now, datagram))
        return false;
    (void)kh_turn_client_next_received(relayed->turn, out);
    take_outputs(node);
    return true;
}

enum kh_transport kh_node_transport_of(const struct kh_node *node, const struct kh_ice_path *path)
{
    return path->local_kind == KH_ICE_RELAYED ? node->relayed.server.transport
                                              : path->remote.transport;
}

kh_time kh_node_relayed_timeout(const struct kh_node *node)
{
    const struct kh_node_relayed *relayed = &node->relayed;
    kh_time timeout;

    if (relayed->turn == NULL)
        return KH_NEVER;
    if (relayed->changed || relayed->warning_due)
        return node->now; /* noted while datagrams were fetched */
    timeout = kh_turn_client_timeout(relayed->turn);
    if (node->life != LIFE_STAYING)
        return timeout;
    if (is_idle(relayed) && kh_node_need_lasts(node))
        timeout = kh_time_min(timeout, relayed->ask_at);
    return kh_time_min(timeout, kh_node_need_timeout(node));
}
