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
#define MEETING KH_SECONDS(1)     /* to hear how the server sees us after a connection was lost */
#define ANSWER_MAX KH_SECONDS(2)  /* if there is another relay to ask */
#define SILENCE_MAX KH_SECONDS(5) /* of one that was asked whether it still knows us, likewise */
#define FAMILY_UNSUPPORTED 440    /* RFC 8656 19: the relay has no IPv4 */

enum kh_status kh_node_relayed_init(struct kh_node *node)
{
    struct kh_turn_config config = {.log = node->log};
    enum kh_status status;

    node->relayed.ask_at = KH_NEVER;
    node->relayed.give_up_at = KH_NEVER;
    kh_node_need_init(&node->relayed);
    if (node->paths == KH_NODE_PATHS_DIRECT)
        return KH_OK;
    node->relayed.families = KH_TURN_BOTH;
    kh_rng_bytes(&node->rng, config.seed, sizeof config.seed);
    status = kh_turn_client_new(&node->relayed.turn, &config);
    kh_wipe(&config, sizeof config);
    return status;
}

/* ---- which relay ---- */

static bool has_family(const struct kh_node *node, uint8_t family)
{
    for (size_t i = 0; i < node->addr_count; i++)
        if (node->addrs[i].family == family)
            return true;
    return false;
}

/* Can and may we go there?  Nobody is sent to nearer places than where the server itself is: it
 * could make us knock at doors inside our own network. */
static bool is_open_to_us(const struct kh_node *node, const struct kh_addr *server)
{
    enum kh_addr_reach reach = kh_addr_reach(server);

    return !kh_addr_is_none(server) && has_family(node, server->family) &&
           (reach == KH_REACH_GLOBAL || reach == kh_addr_reach(&node->relayed.server));
}

/* Where is it?  A relay elsewhere is asked by UDP only, so it is none for who has no UDP. */
static bool locate(const struct kh_node *node, const struct kh_rendezvous_relay *relay,
                   struct kh_addr *out)
{
    *out = node->relayed.server;
    if (kh_addr_is_none(&relay->servers[0]))
        return true;
    for (size_t i = 0; i < 2 && node->relayed.server.transport == KH_UDP; i++) {
        *out = relay->servers[i];
        if (is_open_to_us(node, out))
            return true;
    }
    return false;
}

/* Gives the first relay from the n-th on that is one for us, and where; moves *n to it. */
static bool find(const struct kh_node *node, size_t *n, struct kh_rendezvous_relay *out,
                 struct kh_addr *at)
{
    for (; kh_rendezvous_client_relay(node->rendezvous, *n, out); ++*n)
        if (locate(node, out, at))
            return true;
    return false;
}

static bool has_another(const struct kh_node *node)
{
    size_t n = node->relayed.choice + 1;
    struct kh_rendezvous_relay relay;
    struct kh_addr at;
    bool found = find(node, &n, &relay, &at);

    kh_wipe(&relay, sizeof relay);
    return found;
}

/* ---- what it says ---- */

static void lose(struct kh_node_relayed *relayed)
{
    relayed->addr4 = relayed->addr6 = (struct kh_addr){0};
    relayed->release_at = KH_NEVER;
    relayed->give_up_at = KH_NEVER;
    relayed->changed = true;
}

static void retry_later(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    relayed->backoff = relayed->backoff == 0 ? RETRY_FIRST : relayed->backoff * 2;
    relayed->backoff = kh_time_min(relayed->backoff, RETRY_MAX);
    relayed->ask_at = kh_time_add(node->now, relayed->backoff);
}

/* The relay asked is none for us: on to the next, and after the last one it takes some time. */
static void fail(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    relayed->families = KH_TURN_BOTH;
    relayed->give_up_at = KH_NEVER;
    if (has_another(node)) {
        relayed->choice++;
        relayed->ask_at = node->now;
        return;
    }
    relayed->choice = 0;
    relayed->warning_due = true;
    retry_later(node);
}

static void handle_event(struct kh_node *node, const struct kh_turn_event *event)
{
    struct kh_node_relayed *relayed = &node->relayed;

    switch (event->kind) {
    case KH_TURN_EVENT_ALLOCATED:
        relayed->addr4 = event->allocated.relayed4;
        relayed->addr6 = event->allocated.relayed6;
        relayed->release_at = KH_NEVER;
        relayed->give_up_at = KH_NEVER;
        relayed->changed = true;
        relayed->backoff = 0;
        break;
    case KH_TURN_EVENT_LOST:
        lose(relayed);
        relayed->choice = 0;
        relayed->ask_at = node->now;
        break;
    case KH_TURN_EVENT_FAILED:
        if (event->code == FAMILY_UNSUPPORTED && relayed->families != KH_TURN_IPV6) {
            relayed->families = KH_TURN_IPV6;
            relayed->ask_at = node->now;
            break;
        }
        fail(node);
        break;
    case KH_TURN_EVENT_MISMATCH:
    case KH_TURN_EVENT_ALTERNATE:
        fail(node);
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

/* We are elsewhere, but speak with the same relay by UDP: it may keep our place for us. */
static bool follow(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_node_relayed *relayed = &node->relayed;
    bool moved = kh_addr_equal(&relayed->at, &event->server) &&
                 kh_turn_client_move(relayed->turn, node->now, &event->local);

    take_outputs(node);
    return moved;
}

void kh_node_relayed_met(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_node_relayed *relayed = &node->relayed;
    bool is_same = kh_addr_equal(&relayed->server, &event->server) &&
                   kh_addr_equal(&relayed->local, &event->local);

    if (relayed->turn == NULL)
        return;
    if (!is_same && !follow(node, event)) {
        abandon(node, true);
        relayed->choice = 0;
    } else if (kh_turn_client_state(relayed->turn) == KH_TURN_ALLOCATING) {
        abandon(node, false); /* what is asked of the server before may be lost with it */
    }
    relayed->server = event->server;
    relayed->local = event->local;
    relayed->ask_at = node->now;
    /* Perhaps the server has forgotten all, or sees us elsewhere now. */
    relayed->probe_due = is_same;
}

void kh_node_relayed_disconnected(struct kh_node *node, const struct kh_addr *server)
{
    struct kh_node_relayed *relayed = &node->relayed;

    if (relayed->turn == NULL || !kh_addr_equal(&relayed->at, server))
        return;
    abandon(node, false); /* the server does the same */
    relayed->local = (struct kh_addr){0};
    relayed->ask_at = kh_time_add(node->now, MEETING);
}

static struct kh_span span_of(const char *text)
{
    return (struct kh_span){text, strlen(text)};
}

/* The relay at the server's own address is of our kind, and what it would answer is known: so the
 * first request needs no second one, and no weaker proof will do. */
static void expect_our_own(const struct kh_rendezvous_relay *relay, struct kh_turn_request *request)
{
    request->realm = span_of(relay->realm);
    request->nonce = (struct kh_span){relay->nonce, relay->nonce_len};
    request->algorithms[0] = KH_STUN_ALGORITHM_SHA256;
    request->algorithms[1] = KH_STUN_ALGORITHM_MD5;
    request->algorithm_count = 2;
    request->require_sha256 = true;
    request->mobile = true;
}

static void ask(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;
    struct kh_rendezvous_relay relay;
    struct kh_turn_request request = {.families = relayed->families};

    relayed->ask_at = KH_NEVER;
    if (!find(node, &relayed->choice, &relay, &relayed->at)) {
        relayed->warning_due = true;
        return; /* it is asked for again after the next join */
    }
    request.server = relayed->at;
    if (relayed->at.family == relayed->local.family)
        request.local = relayed->local;
    request.username = span_of(relay.username);
    request.password = span_of(relay.password);
    if (kh_addr_is_none(&relay.servers[0]))
        expect_our_own(&relay, &request);
    relayed->give_up_at = has_another(node) ? kh_time_add(node->now, ANSWER_MAX) : KH_NEVER;
    if (kh_turn_client_allocate(relayed->turn, node->now, &request) != KH_OK)
        fail(node);
    take_outputs(node);
    kh_wipe(&relay, sizeof relay);
}

/* Asks whether it still knows us.  One that is silent is given up when there is another to ask. */
static void probe(struct kh_node *node)
{
    struct kh_node_relayed *relayed = &node->relayed;

    kh_turn_client_probe(relayed->turn, node->now);
    take_outputs(node);
    if (relayed->give_up_at == KH_NEVER && has_another(node) &&
        kh_turn_client_state(relayed->turn) == KH_TURN_ALLOCATED)
        relayed->give_up_at = kh_time_add(node->now, SILENCE_MAX);
}

/* It does not answer, and there is another one. */
static void give_up(struct kh_node *node)
{
    abandon(node, false);
    fail(node);
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
    if (node->now >= relayed->give_up_at) {
        give_up(node);
        return true;
    }
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
        probe(node);
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
    if (relayed->turn == NULL || !kh_addr_equal(&relayed->at, &datagram->from) ||
        !kh_turn_client_handle_datagram(relayed->turn, node->now, datagram))
        return false;
    if (kh_turn_client_state(relayed->turn) == KH_TURN_ALLOCATED)
        relayed->give_up_at = KH_NEVER;
    (void)kh_turn_client_next_received(relayed->turn, out);
    take_outputs(node);
    return true;
}

enum kh_transport kh_node_transport_of(const struct kh_node *node, const struct kh_ice_path *path)
{
    return path->local_kind == KH_ICE_RELAYED ? node->relayed.at.transport : path->remote.transport;
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
    if (kh_node_need_lasts(node))
        timeout = kh_time_min(timeout, relayed->give_up_at);
    return kh_time_min(timeout, kh_node_need_timeout(node));
}
