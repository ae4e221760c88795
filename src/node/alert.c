/* node/alert.c - who is silent, and who depends on the server.
 *
 * SPDX-License-Identifier: MIT
 *
 * The room sees first that a path is dead: what it said is not acknowledged.  If it said nothing,
 * ICE sees it some seconds later.  Then everything on that path is asked at once, the path itself,
 * the relay and the server, which now carries the words as well.  And while anybody is reached only
 * with the server's help, by its relay or by signals, the server is watched closely: one that
 * restarts has to be joined and a new place at its relay to be had before anything passes again.
 */
#include "node/inside.h"

#define ALERT_PAUSE KH_SECONDS(1) /* a member can make us doubt as often as it likes */

/* Also where the peer's check came before its card: then ICE does not know that it is a relay. */
static bool is_relayed(const struct kh_node_neighbour *neighbour, const struct kh_ice_path *path)
{
    const struct kh_room_card *card = &neighbour->card;

    if (path->local_kind == KH_ICE_RELAYED || path->remote_kind == KH_ICE_RELAYED)
        return true;
    for (size_t i = 0; i < card->candidate_count; i++)
        if (card->candidates[i].kind == KH_ROOM_CANDIDATE_RELAYED &&
            kh_addr_equal(&card->candidates[i].addr, &path->remote))
            return true;
    return false;
}

static bool needs_server(const struct kh_node_neighbour *neighbour)
{
    if (!neighbour->room.present)
        return false;
    return !kh_node_is_talking(neighbour) || neighbour->doubted ||
           is_relayed(neighbour, kh_peer_path(neighbour->peer));
}

/* The room says so of its channel, or ICE of its path: who only listens has nothing unanswered. */
static bool is_silent(const struct kh_node *node, const struct kh_node_neighbour *neighbour,
                      size_t doubts)
{
    if (doubts > 0 && kh_room_is_doubted(node->room, &neighbour->id))
        return true;
    return neighbour->peer != NULL && kh_peer_is_suspect(neighbour->peer);
}

/* True if that is news. */
static bool follow_doubt(struct kh_node *node, struct kh_node_neighbour *neighbour, bool doubted)
{
    if (neighbour->doubted == doubted)
        return false;
    neighbour->doubted = doubted;
    if (!doubted)
        return true;
    neighbour->doubt_due = true;
    if (node->now < node->alert_at)
        return true;
    node->alert_at = kh_time_add(node->now, ALERT_PAUSE);
    node->doubt_due = true;
    node->relayed.probe_due = node->relayed.turn != NULL;
    return true;
}

bool kh_node_step_alert(struct kh_node *node)
{
    bool attentive = false;
    size_t doubts = kh_room_doubts(node->room);

    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];

        if (follow_doubt(node, neighbour, is_silent(node, neighbour, doubts)))
            return true;
        attentive = attentive || needs_server(neighbour);
    }
    attentive = attentive && node->life == LIFE_STAYING;
    if (node->attentive == attentive)
        return false;
    node->attentive = attentive;
    kh_node_stash_server(node);
    kh_rendezvous_client_set_attentive(node->rendezvous, node->now, attentive);
    return true;
}
