/* node/peering.c - the peer machine of one neighbour: what it says, and what it should be told.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define REBUILD_FIRST KH_SECONDS(1)
#define REBUILD_MAX KH_SECONDS(30)
#define TCP_PORT_MIN 1024
/* A member keeps its credentials and its certificate as long as it stays.  Each time they are
 * others all its candidates are checked anew, so whom they name should not depend on how often it
 * says so: a few times at once, then one each period. */
#define RENEWALS_MAX 3
#define RENEWAL_PERIOD KH_SECONDS(300)

/* ---- what it says ---- */

static void handle_failure(struct kh_node *node, struct kh_node_neighbour *neighbour,
                           enum kh_channel_failure failure)
{
    bool had_path = kh_peer_path(neighbour->peer) != NULL;
    kh_duration wait = neighbour->rebuild_backoff;

    if (wait == 0)
        wait = REBUILD_FIRST;
    neighbour->farewell = false;
    kh_node_drop_peer(node, neighbour);
    neighbour->rebuild_at = kh_time_add(node->now, wait);
    neighbour->rebuild_backoff = kh_time_min(wait * 2, REBUILD_MAX);
    if (had_path)
        kh_node_emit(node, KH_NODE_EVENT_PATH_LOST, neighbour);
    if (failure == KH_CHANNEL_FAILURE_FINGERPRINT && !neighbour->warned) {
        struct kh_node_slot *slot = kh_node_emit(node, KH_NODE_EVENT_WARNING, neighbour);

        neighbour->warned = true;
        slot->event.code = "wrong-certificate";
        snprintf(slot->text, sizeof slot->text,
                 "someone answers for %s with a certificate that is not in its card",
                 neighbour->card.name);
    }
}

static void handle_goodbye(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (node->life == LIFE_STAYING) {
        neighbour->gone = true;
        kh_node_remember_departed(node, &neighbour->id);
    } else {
        kh_node_drop_peer(node, neighbour); /* our own goodbye is complete */
    }
}

static void handle_event(struct kh_node *node, struct kh_node_neighbour *neighbour,
                         const struct kh_peer_event *event)
{
    struct kh_node_slot *slot;

    switch (event->kind) {
    case KH_PEER_EVENT_PATH:
        kh_node_classify_learn(node, &event->path);
        slot = kh_node_emit(node, KH_NODE_EVENT_PATH, neighbour);
        slot->event.path = event->path;
        slot->event.transport = kh_node_transport_of(node, &event->path);
        break;
    case KH_PEER_EVENT_OPEN:
        neighbour->rebuild_backoff = 0;
        kh_node_emit(node, KH_NODE_EVENT_OPEN, neighbour);
        break;
    case KH_PEER_EVENT_MESSAGE:
        if (neighbour->room.present)
            kh_room_handle_channel(node->room, node->now, &neighbour->id,
                                   (struct kh_span){event->data, event->len});
        break;
    case KH_PEER_EVENT_WRITABLE:
        neighbour->blocked = false;
        break;
    case KH_PEER_EVENT_LOST:
        kh_node_emit(node, KH_NODE_EVENT_PATH_LOST, neighbour);
        break;
    case KH_PEER_EVENT_CLOSED:
        handle_goodbye(node, neighbour);
        break;
    case KH_PEER_EVENT_RESET:
        neighbour->blocked = false;
        kh_node_mail_clear(&neighbour->mail);
        break;
    case KH_PEER_EVENT_FAILED:
        handle_failure(node, neighbour, event->failure);
        break;
    }
}

bool kh_node_step_peer_event(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_peer_event event;

    if (neighbour->peer == NULL || !kh_peer_next_event(neighbour->peer, &event))
        return false;
    handle_event(node, neighbour, &event);
    return true;
}

/* ---- what it should be told ---- */

static bool create(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_peer_config config = {
        .controlling = memcmp(&node->id, &neighbour->id, sizeof node->id) > 0,
        .local = node->credentials,
        .certificate = node->certificate,
        .log = node->log,
    };

    if (node->life != LIFE_STAYING || neighbour->rebuild_at > node->now)
        return false;
    memcpy(config.remote_fingerprint, neighbour->card.fingerprint, KH_SHA256_LEN);
    kh_rng_bytes(&node->rng, config.seed, sizeof config.seed);
    neighbour->restart_due = false;
    neighbour->reconsider_due = false;
    if (kh_peer_new(&neighbour->peer, &config) != KH_OK) {
        neighbour->peer = NULL;
        neighbour->rebuild_at = kh_time_add(node->now, REBUILD_FIRST);
    }
    kh_wipe(&config, sizeof config);
    return true;
}

/* Should the neighbour's peer have this candidate? */
static bool is_for(const struct kh_node_local *local, const struct kh_node_neighbour *neighbour)
{
    bool no_relay = neighbour->card.abilities & KH_ROOM_ABILITY_DIRECT_ONLY;

    return local->in_use && !(no_relay && local->candidate.kind == KH_ICE_RELAYED);
}

static bool give_local(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    for (size_t i = 0; i < LOCALS_MAX; i++) {
        const struct kh_node_local *local = &node->locals[i];
        uint64_t bit = UINT64_C(1) << i;
        bool wanted = is_for(local, neighbour);

        if (wanted == ((neighbour->given.locals & bit) != 0))
            continue;
        neighbour->given.locals ^= bit;
        kh_node_stash_peer(node, neighbour->peer);
        /* Full past its limit: the first ones were the best we had.  A reflexive one that was
         * replaced may stay: it is only a name for the same base. */
        if (!wanted &&
            (local->candidate.kind == KH_ICE_HOST || local->candidate.kind == KH_ICE_RELAYED))
            kh_peer_remove_local(neighbour->peer, node->now, &local->candidate.base);
        else if (wanted &&
                 kh_peer_add_local(neighbour->peer, node->now, &local->candidate) != KH_OK)
            kh_log_line(&node->log, KH_LOG_DEBUG, "node candidate refused");
        return true;
    }
    return false;
}

/* Gives our own address of the same reach that is in use, or NULL. */
static const struct kh_addr *find_local(const struct kh_node *node, enum kh_addr_reach reach,
                                        uint8_t family)
{
    for (size_t i = 0; i < LOCALS_MAX; i++) {
        const struct kh_addr *base = &node->locals[i].candidate.base;

        if (node->locals[i].in_use && base->family == family && kh_addr_reach(base) == reach)
            return base;
    }
    return NULL;
}

bool kh_node_make_reachable(const struct kh_node *node, struct kh_addr *addr)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);
    const struct kh_addr *local;

    /* Members listen at ports of their system's choice; below, other services do, and a card must
     * not make us call them. */
    if (addr->port == 0 || addr->transport > KH_TCP ||
        (addr->transport == KH_TCP && addr->port < TCP_PORT_MIN))
        return false;
    if (reach == KH_REACH_GLOBAL || reach == KH_REACH_PRIVATE)
        return true;
    if (reach != KH_REACH_LOOPBACK && reach != KH_REACH_LINK_LOCAL)
        return false;
    local = find_local(node, reach, addr->family);
    if (local == NULL)
        return false;
    addr->scope = local->scope; /* the peer's own index means nothing here (RFC 4007 11) */
    return true;
}

static unsigned tcp_of(const struct kh_room_candidate *candidate)
{
    return ((candidate->tcp & KH_ROOM_TCP_PASSIVE) != 0 ? KH_ICE_TCP_PASSIVE : 0u) |
           ((candidate->tcp & KH_ROOM_TCP_SIMULTANEOUS) != 0 ? KH_ICE_TCP_SIMULTANEOUS : 0u);
}

/* The candidates of its card, and behind them where the server sees it. */
static bool remote_candidate(const struct kh_node *node, const struct kh_node_neighbour *neighbour,
                             size_t at, struct kh_ice_candidate *out)
{
    static const enum kh_ice_kind kinds[] = {
        [KH_ROOM_CANDIDATE_HOST] = KH_ICE_HOST,
        [KH_ROOM_CANDIDATE_REFLEXIVE] = KH_ICE_SERVER_REFLEXIVE,
        [KH_ROOM_CANDIDATE_RELAYED] = KH_ICE_RELAYED,
        [KH_ROOM_CANDIDATE_MAPPED] = KH_ICE_MAPPED,
    };
    const struct kh_room_card *card = &neighbour->card;

    if (at < card->candidate_count) {
        assert(card->candidates[at].kind <= KH_ROOM_CANDIDATE_MAPPED);
        *out = (struct kh_ice_candidate){.kind = kinds[card->candidates[at].kind],
                                         .addr = card->candidates[at].addr,
                                         .tcp = tcp_of(&card->candidates[at])};
    } else {
        *out =
            (struct kh_ice_candidate){.kind = KH_ICE_SERVER_REFLEXIVE, .addr = neighbour->public};
    }
    if (out->kind == KH_ICE_RELAYED && node->paths == KH_NODE_PATHS_DIRECT)
        return false;
    return !kh_addr_is_none(&out->addr) && kh_node_make_reachable(node, &out->addr);
}

static bool take_remote(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (neighbour->withdrawn_count == 0)
        return false;
    kh_node_stash_peer(node, neighbour->peer);
    kh_peer_remove_remote(neighbour->peer, node->now,
                          &neighbour->withdrawn[--neighbour->withdrawn_count]);
    return true;
}

static bool give_remote(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    for (size_t i = 0; i <= neighbour->card.candidate_count; i++) {
        struct kh_ice_candidate candidate;
        uint32_t bit = 1u << i;

        if (neighbour->given.remotes & bit)
            continue;
        neighbour->given.remotes |= bit;
        if (!remote_candidate(node, neighbour, i, &candidate))
            continue;
        kh_node_stash_peer(node, neighbour->peer);
        if (kh_peer_add_remote(neighbour->peer, node->now, &candidate) != KH_OK)
            kh_log_line(&node->log, KH_LOG_DEBUG, "node candidate refused");
        return true;
    }
    return false;
}

/* When it may be given what its card says. */
static kh_time renewal_at(const struct kh_node_neighbour *neighbour)
{
    kh_duration credit = (RENEWALS_MAX - 1) * RENEWAL_PERIOD;

    return neighbour->is_renewed && neighbour->renewals_until > credit
               ? neighbour->renewals_until - credit
               : 0;
}

static void pay_renewal(const struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (!neighbour->is_renewed)
        return;
    neighbour->is_renewed = false;
    if (neighbour->renewals_until < node->now)
        neighbour->renewals_until = node->now;
    neighbour->renewals_until = kh_time_add(neighbour->renewals_until, RENEWAL_PERIOD);
}

static bool give_credentials(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_ice_credentials remote = {.ufrag = ""};

    if (neighbour->given.credentials || renewal_at(neighbour) > node->now)
        return false;
    neighbour->given.credentials = true;
    pay_renewal(node, neighbour);
    memcpy(remote.ufrag, neighbour->card.ufrag, sizeof remote.ufrag);
    memcpy(remote.password, neighbour->card.password, sizeof remote.password);
    if (!kh_ice_credentials_are_valid(&remote)) {
        node->cards_refused++;
        return true;
    }
    kh_node_stash_peer(node, neighbour->peer);
    kh_peer_set_remote(neighbour->peer, node->now, &remote);
    kh_wipe(&remote, sizeof remote);
    return true;
}

static bool give_mail(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    const struct kh_node_mail *mail = neighbour->mail.first;

    if (mail == NULL || neighbour->blocked)
        return false;
    kh_node_stash_peer(node, neighbour->peer);
    if (kh_peer_send(neighbour->peer, node->now, mail->data, mail->len) == KH_OK)
        kh_node_mail_drop(&neighbour->mail);
    else
        neighbour->blocked = true;
    return true;
}

/* Time, a lost connection, a wish to check again, a goodbye: what was noted for it meanwhile. */
static bool give_notes(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_peer *peer = neighbour->peer;

    if (!kh_addr_is_none(&neighbour->lost_local)) {
        struct kh_addr local = neighbour->lost_local;

        neighbour->lost_local = (struct kh_addr){0};
        kh_node_stash_peer(node, peer);
        kh_peer_handle_lost(peer, node->now, &local, &neighbour->lost_remote);
        return true;
    }
    if (neighbour->timeout_due) {
        neighbour->timeout_due = false;
        if (kh_peer_timeout(peer) > node->now)
            return true;
        kh_node_stash_peer(node, peer);
        kh_peer_handle_timeout(peer, node->now);
        return true;
    }
    if (neighbour->reconsider_due) {
        neighbour->reconsider_due = false;
        kh_node_stash_peer(node, peer);
        kh_peer_reconsider(peer, node->now);
        return true;
    }
    if (neighbour->restart_due && neighbour->given.credentials) {
        neighbour->restart_due = false;
        kh_node_stash_peer(node, peer);
        kh_peer_restart(peer, node->now, NULL);
        return true;
    }
    if (neighbour->doubt_due) {
        neighbour->doubt_due = false;
        kh_node_stash_peer(node, peer);
        kh_peer_doubt(peer, node->now);
        return true;
    }
    if (!neighbour->close_due)
        return false;
    neighbour->close_due = false;
    kh_node_stash_peer(node, peer);
    kh_peer_close(peer, node->now);
    return true;
}

bool kh_node_step_peer(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (neighbour->peer == NULL)
        return create(node, neighbour);
    return give_local(node, neighbour) || take_remote(node, neighbour) ||
           give_remote(node, neighbour) || kh_node_names_give(node, neighbour) ||
           give_credentials(node, neighbour) || give_mail(node, neighbour) ||
           give_notes(node, neighbour);
}

kh_time kh_node_peer_timeout(const struct kh_node *node, const struct kh_node_neighbour *neighbour)
{
    if (neighbour->peer != NULL && neighbour->given.credentials)
        return kh_peer_timeout(neighbour->peer);
    if (neighbour->peer != NULL)
        return kh_time_min(kh_peer_timeout(neighbour->peer), renewal_at(neighbour));
    return node->life == LIFE_STAYING ? neighbour->rebuild_at : KH_NEVER;
}
