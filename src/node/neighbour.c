/* node/neighbour.c - one other member: what we know of it, and what the room should know.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kh_node_neighbour *kh_node_find_neighbour(const struct kh_node *node,
                                                 const struct kh_room_member_id *id)
{
    for (size_t i = 0; i < node->neighbour_count; i++)
        if (memcmp(&node->neighbours[i]->id, id, sizeof *id) == 0)
            return node->neighbours[i];
    return NULL;
}

struct kh_node_neighbour *kh_node_add_neighbour(struct kh_node *node,
                                                const struct kh_room_member_id *id)
{
    struct kh_node_neighbour *neighbour;

    assert(kh_node_find_neighbour(node, id) == NULL);
    assert(memcmp(&node->id, id, sizeof *id) != 0);
    if (node->neighbour_count == KH_ROOM_MEMBERS_MAX)
        return NULL;
    neighbour = calloc(1, sizeof *neighbour);
    if (neighbour == NULL)
        return NULL;
    neighbour->id = *id;
    neighbour->listed = true;
    neighbour->met_at = node->now;
    node->neighbours[node->neighbour_count++] = neighbour;
    return neighbour;
}

void kh_node_free_neighbour(struct kh_node_neighbour *neighbour)
{
    kh_peer_free(neighbour->peer);
    kh_node_mail_clear(&neighbour->mail);
    kh_wipe(neighbour, sizeof *neighbour);
    free(neighbour);
}

static void forget(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    size_t at = 0;

    while (node->neighbours[at] != neighbour)
        at++;
    assert(at < node->neighbour_count && !neighbour->room.present);
    kh_node_drop_peer(node, neighbour);
    node->neighbours[at] = node->neighbours[--node->neighbour_count];
    kh_node_free_neighbour(neighbour);
}

void kh_node_drop_peer(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (neighbour->peer != NULL)
        kh_node_stash_peer(node, neighbour->peer);
    kh_peer_free(neighbour->peer);
    neighbour->peer = NULL;
    neighbour->blocked = false;
    neighbour->rebuild_at = node->now;
    neighbour->way = (struct kh_datagram){.len = 0};
    neighbour->given.locals = 0;
    neighbour->given.remotes = 0;
    neighbour->given.credentials = false;
    kh_node_names_repeat(neighbour);
    neighbour->withdrawn_count = 0;
    kh_node_mail_clear(&neighbour->mail);
}

/* One of us talks through relays only, the other through none. */
static bool are_apart(const struct kh_node *node, const struct kh_node_neighbour *neighbour)
{
    uint32_t abilities = neighbour->card.abilities;

    return (node->paths == KH_NODE_PATHS_RELAY && (abilities & KH_ROOM_ABILITY_DIRECT_ONLY)) ||
           (node->paths == KH_NODE_PATHS_DIRECT && (abilities & KH_ROOM_ABILITY_RELAY_ONLY));
}

static void warn_apart(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_node_slot *slot;

    if (neighbour->warned_apart || !are_apart(node, neighbour))
        return;
    neighbour->warned_apart = true;
    slot = kh_node_emit(node, KH_NODE_EVENT_WARNING, neighbour);
    slot->event.code = "no-path";
    snprintf(slot->text, sizeof slot->text,
             "%s allows %s and we do not: words between us go through the server, sealed",
             neighbour->card.name,
             node->paths == KH_NODE_PATHS_RELAY ? "direct paths only" : "relays only");
}

/* Says who is here, and if the name was someone else's so far. */
static void introduce(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_node_slot *slot;

    kh_node_emit(node, KH_NODE_EVENT_MEMBER, neighbour);
    warn_apart(node, neighbour);
    if (!kh_node_pin_name(node, neighbour->card.name, neighbour->card.identity))
        return;
    slot = kh_node_emit(node, KH_NODE_EVENT_WARNING, neighbour);
    slot->event.code = "name-changed-key";
    snprintf(slot->text, sizeof slot->text,
             "the name %s comes with another key than before: this may be someone else",
             neighbour->card.name);
}

static bool has_candidate(const struct kh_room_card *card, const struct kh_addr *addr)
{
    for (size_t i = 0; i < card->candidate_count; i++)
        if (kh_addr_equal(&card->candidates[i].addr, addr))
            return true;
    return false;
}

/* A relayed address that a new card does not name was given back, and may be anybody's soon. */
static void note_withdrawn(struct kh_node_neighbour *neighbour, const struct kh_room_card *card)
{
    const struct kh_room_card *old = &neighbour->card;

    for (size_t i = 0; i < old->candidate_count; i++) {
        const struct kh_room_candidate *candidate = &old->candidates[i];

        if (candidate->kind == KH_ROOM_CANDIDATE_RELAYED && neighbour->peer != NULL &&
            !has_candidate(card, &candidate->addr) &&
            neighbour->withdrawn_count < KH_ROOM_CANDIDATES_MAX)
            neighbour->withdrawn[neighbour->withdrawn_count++] = candidate->addr;
    }
}

void kh_node_take_card(struct kh_node *node, struct kh_node_neighbour *neighbour,
                       const struct kh_room_card *card)
{
    const struct kh_room_card *old = &neighbour->card;
    bool renamed = strcmp(old->name, card->name) != 0;
    bool is_other = memcmp(old->fingerprint, card->fingerprint, KH_SHA256_LEN) != 0;
    bool is_anew =
        strcmp(old->ufrag, card->ufrag) != 0 || strcmp(old->password, card->password) != 0;

    neighbour->is_renewed =
        neighbour->is_renewed || (neighbour->given.credentials && (is_other || is_anew));
    if (neighbour->peer != NULL && is_other)
        kh_node_drop_peer(node, neighbour);
    if (is_anew)
        neighbour->given.credentials = false;
    neighbour->given.remotes = 0; /* what is given twice changes nothing */
    note_withdrawn(neighbour, card);
    kh_node_names_follow(neighbour, card);
    neighbour->card = *card;
    kh_node_tcp_follow(node, card);
    if (renamed && neighbour->room.present)
        introduce(node, neighbour);
}

bool kh_node_is_talking(const struct kh_node_neighbour *neighbour)
{
    return neighbour->peer != NULL && kh_peer_is_open(neighbour->peer) &&
           kh_peer_path(neighbour->peer) != NULL;
}

/* ---- the room's view ---- */

static void enter_room(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (kh_room_add_member(node->room, node->now, &neighbour->id, neighbour->card.identity) !=
        KH_OK) {
        neighbour->gone = true;
        node->cards_refused++;
        return;
    }
    neighbour->room.present = true;
    introduce(node, neighbour);
}

static void leave_room(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    kh_room_remove_member(node->room, node->now, &neighbour->id);
    neighbour->room.present = false;
    kh_node_emit(node, KH_NODE_EVENT_GONE, neighbour);
}

static bool step_presence(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    /* The server may be wrong, lying or dead: whoever we talk to is here, whatever it says. */
    if (!neighbour->listed && !kh_node_is_talking(neighbour))
        neighbour->gone = true;
    if (neighbour->gone && neighbour->room.present)
        leave_room(node, neighbour);
    else if (neighbour->gone)
        forget(node, neighbour);
    else if (!neighbour->room.present)
        enter_room(node, neighbour);
    else
        return false;
    return true;
}

static bool step_room(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    bool talking = kh_node_is_talking(neighbour);

    if (neighbour->room.channel != talking) {
        neighbour->room.channel = talking;
        if (!talking)
            kh_node_mail_clear(&neighbour->mail); /* the room gives it out again, as signals */
        kh_room_set_channel(node->room, node->now, &neighbour->id, talking);
        return true;
    }
    if (neighbour->hurry_due) {
        neighbour->hurry_due = false;
        kh_room_hurry(node->room, node->now, &neighbour->id);
        return true;
    }
    if (neighbour->room.blocked == neighbour->blocked)
        return false;
    if (!neighbour->blocked && neighbour->mail.count > 0)
        return false; /* what waits goes first */
    neighbour->room.blocked = neighbour->blocked;
    kh_room_set_blocked(node->room, node->now, &neighbour->id, neighbour->blocked);
    return true;
}

bool kh_node_step_neighbour(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    return kh_node_step_peer_event(node, neighbour) || step_presence(node, neighbour) ||
           step_room(node, neighbour) || kh_node_names_step(node, neighbour) ||
           kh_node_step_peer(node, neighbour);
}
