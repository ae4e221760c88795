/* node/server.c - what the server tells us, and what we tell it: card, signals, goodbye.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- card ---- */

size_t kh_node_write_card(struct kh_node *node, uint8_t out[static KH_ROOM_CARD_MAX])
{
    struct kh_room_card card = {.revision = ++node->revision, .nat = node->nat};
    size_t len;

    if (node->paths == KH_NODE_PATHS_DIRECT)
        card.abilities = KH_ROOM_ABILITY_DIRECT_ONLY;
    if (node->paths == KH_NODE_PATHS_RELAY) {
        card.abilities = KH_ROOM_ABILITY_RELAY_ONLY;
        card.nat = (struct kh_nat_class){0}; /* nobody's business either */
    }
    kh_channel_certificate_fingerprint(node->certificate, card.fingerprint);
    memcpy(card.ufrag, node->credentials.ufrag, sizeof node->credentials.ufrag);
    memcpy(card.password, node->credentials.password, sizeof node->credentials.password);
    card.candidate_count = kh_node_list_hosts(node, card.candidates);
    card.named_count = kh_node_names_list(node, card.named);
    do
        len = kh_room_seal_card(node->room, &card, out);
    while (len == 0 && card.candidate_count-- > 0);
    assert(len > 0);
    kh_wipe(&card, sizeof card);
    return len;
}

/* ---- what it tells us ---- */

static struct kh_room_member_id member_of(const struct kh_rendezvous_member_id *id)
{
    struct kh_room_member_id member;

    memcpy(member.bytes, id->bytes, sizeof member.bytes);
    return member;
}

/* Our place in the network is new, and may be better: everyone without a path checks all again, the
 * others what failed. */
static void look_around(struct kh_node *node)
{
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];

        if (neighbour->peer != NULL && kh_peer_path(neighbour->peer) == NULL)
            neighbour->restart_due = true;
        else
            neighbour->reconsider_due = true;
    }
}

static void handle_mapped(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    if (kh_addr_equal(&node->mapped, &event->mapped) &&
        kh_addr_equal(&node->mapped_base, &event->local))
        return;
    node->mapped = event->mapped;
    node->mapped_base = event->local;
    if (event->server.transport != KH_UDP)
        kh_node_tcp_use(node); /* our UDP is blocked, or we would not be here */
    kh_node_update_locals(node);
    node->card_due = true;
    look_around(node);
}

static void look_at(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    const struct kh_node_view view = {
        .server = event->server,
        .local = event->local,
        .mapped = event->mapped,
        .other = event->other,
    };

    kh_node_classify_aim(node, &view);
}

static void handle_joined(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_node_slot *slot = kh_node_emit(node, KH_NODE_EVENT_JOINED, NULL);

    slot->event.mapped = event->mapped;
    slot->event.ticket = event->ticket;
    handle_mapped(node, event);
    look_at(node, event);
    if (node->paths != KH_NODE_PATHS_RELAY)
        kh_node_reflexive_aim(node, &event->server);
    kh_node_relayed_met(node, event);
    kh_node_punch_joined(node, &event->server);
}

/* Takes the card if it is newer than what we have and from the same person; a server may replay an
 * old one, but cannot make one. */
static void take_newer_card(struct kh_node *node, struct kh_node_neighbour *neighbour,
                            const struct kh_room_card *card)
{
    const struct kh_room_card *old = &neighbour->card;

    if (card->revision < old->revision || memcmp(card->identity, old->identity, KH_KEY_LEN) != 0)
        node->cards_refused++;
    else if (card->revision > old->revision)
        kh_node_take_card(node, neighbour, card);
}

/* The server lists it, at this address. */
static void see(struct kh_node_neighbour *neighbour, const struct kh_addr *public)
{
    neighbour->listed = true;
    if (kh_addr_equal(&neighbour->public, public))
        return;
    neighbour->public = *public;
    neighbour->given.remotes = 0; /* what is given twice changes nothing */
}

static void handle_member(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_room_member_id id = member_of(&event->id);
    struct kh_node_neighbour *neighbour = kh_node_find_neighbour(node, &id);
    struct kh_room_card card;
    enum kh_status status;

    if (memcmp(&id, &node->id, sizeof id) == 0 || kh_node_is_departed(node, &id))
        return;
    status = kh_room_open_card(node->room, &id, (struct kh_span){event->data, event->len}, &card);
    if (status != KH_OK) {
        node->cards_refused++;
        kh_log_line(&node->log, KH_LOG_DEBUG, "node card refused: %s", kh_status_name(status));
    } else if (neighbour != NULL) {
        take_newer_card(node, neighbour, &card);
    } else {
        neighbour = kh_node_add_neighbour(node, &id);
        if (neighbour != NULL)
            kh_node_take_card(node, neighbour, &card);
    }
    kh_wipe(&card, sizeof card);
    if (neighbour == NULL)
        return;
    see(neighbour, &event->public);
    neighbour->hurry_due = neighbour->hurry_due || event->is_back;
}

static void handle_gone(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_room_member_id id = member_of(&event->id);
    struct kh_node_neighbour *neighbour = kh_node_find_neighbour(node, &id);

    if (neighbour != NULL)
        neighbour->listed = false;
}

static void handle_refused(struct kh_node *node, unsigned code)
{
    struct kh_node_slot *slot = kh_node_emit(node, KH_NODE_EVENT_ERROR, NULL);

    slot->event.code = "refused";
    if (code == KH_RENDEZVOUS_ERROR_UNKNOWN_ATTRIBUTE && node->paths == KH_NODE_PATHS_RELAY)
        snprintf(slot->text, sizeof slot->text,
                 "this server cannot keep our address from the others (%u)", code);
    else
        snprintf(slot->text, sizeof slot->text, "the server does not let us in (%u)", code);
}

static void handle_signal(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    struct kh_room_member_id from = member_of(&event->id);

    /* Also from someone whose card is still on its way: the room keeps a few such signals. */
    kh_room_handle_signal(node->room, node->now, &from, (struct kh_span){event->data, event->len});
}

static void handle_event(struct kh_node *node, const struct kh_rendezvous_client_event *event)
{
    switch (event->kind) {
    case KH_RENDEZVOUS_EVENT_JOINED:
        handle_joined(node, event);
        break;
    case KH_RENDEZVOUS_EVENT_MAPPED:
        handle_mapped(node, event);
        look_at(node, event);
        kh_node_relayed_met(node, event);
        break;
    case KH_RENDEZVOUS_EVENT_MEMBER:
        handle_member(node, event);
        break;
    case KH_RENDEZVOUS_EVENT_GONE:
        handle_gone(node, event);
        break;
    case KH_RENDEZVOUS_EVENT_SIGNAL:
        handle_signal(node, event);
        break;
    case KH_RENDEZVOUS_EVENT_SIGNAL_LOST:
        break; /* the room repeats what is not acknowledged */
    case KH_RENDEZVOUS_EVENT_UNREACHABLE:
        kh_node_emit(node, KH_NODE_EVENT_UNREACHABLE, NULL);
        break;
    case KH_RENDEZVOUS_EVENT_REFUSED:
        handle_refused(node, event->code);
        break;
    case KH_RENDEZVOUS_EVENT_LEFT:
        node->server_left = true;
        break;
    }
}

static bool step_event(struct kh_node *node)
{
    struct kh_rendezvous_client_event event;

    if (!kh_rendezvous_client_next_event(node->rendezvous, &event))
        return false;
    handle_event(node, &event);
    return true;
}

/* ---- what we tell it ---- */

static void send_card(struct kh_node *node)
{
    uint8_t card[KH_ROOM_CARD_MAX];
    size_t len = kh_node_write_card(node, card);

    kh_node_stash_server(node);
    kh_rendezvous_client_set_card(node->rendezvous, node->now, (struct kh_span){card, len});
}

static void send_mail(struct kh_node *node)
{
    const struct kh_node_mail *mail = node->mail.first;
    struct kh_rendezvous_member_id to;

    memcpy(to.bytes, mail->to.bytes, sizeof to.bytes);
    kh_node_stash_server(node);
    if (kh_rendezvous_client_signal(node->rendezvous, node->now, &to,
                                    (struct kh_span){mail->data, mail->len}, 0) != KH_OK)
        node->frames_refused++;
    kh_node_mail_drop(&node->mail);
}

static void take_time(struct kh_node *node)
{
    if (kh_rendezvous_client_timeout(node->rendezvous) > node->now)
        return;
    kh_node_stash_server(node);
    kh_rendezvous_client_handle_timeout(node->rendezvous, node->now);
}

/* Returns whether a note was waiting, and tears it off. */
static bool take_note(bool *note)
{
    bool was = *note;

    *note = false;
    return was;
}

/* True once everyone knows what we have, as far as we can help it: a channel that said goodbye, or
 * our last signals to it, took care of that.  The server passes nothing on for us after our leave.
 */
static bool is_farewell_said(const struct kh_node *node)
{
    for (size_t i = 0; i < node->neighbour_count; i++) {
        const struct kh_node_neighbour *neighbour = node->neighbours[i];
        bool is_closed = neighbour->farewell && neighbour->peer == NULL;

        if (!is_closed && !kh_room_is_farewell_said(node->room, &neighbour->id))
            return false;
    }
    return true;
}

bool kh_node_step_server(struct kh_node *node)
{
    if (step_event(node))
        return true;
    if (take_note(&node->server_timeout_due)) {
        take_time(node);
    } else if (node->mail.first != NULL) {
        send_mail(node);
    } else if (take_note(&node->card_due)) {
        if (node->life == LIFE_STAYING)
            send_card(node);
    } else if (take_note(&node->probe_due)) {
        kh_node_stash_server(node);
        if (node->life == LIFE_STAYING)
            kh_rendezvous_client_probe(node->rendezvous, node->now);
    } else if (take_note(&node->doubt_due)) {
        kh_node_stash_server(node);
        if (node->life == LIFE_STAYING)
            kh_rendezvous_client_doubt(node->rendezvous, node->now);
    } else if (is_farewell_said(node) && take_note(&node->leave_due)) {
        kh_node_stash_server(node);
        kh_rendezvous_client_leave(node->rendezvous, node->now);
    } else {
        return false;
    }
    return true;
}

/* ---- goodbye ---- */

void kh_node_enter(struct kh_node *node, enum kh_node_life life)
{
    static const char *const names[] = {"new", "staying", "leaving", "left"};

    assert(life > node->life);
    kh_log_line(&node->log, KH_LOG_INFO, "node %s→%s", names[node->life], names[life]);
    node->life = life;
}

/* A channel without a path cannot say goodbye, and one that said it is no more. */
static bool is_farewell_due(const struct kh_node_neighbour *neighbour)
{
    return neighbour->farewell && neighbour->peer != NULL && kh_peer_path(neighbour->peer) != NULL;
}

bool kh_node_step_leave(struct kh_node *node)
{
    bool done = node->server_left;

    if (node->life != LIFE_LEAVING)
        return false;
    for (size_t i = 0; i < node->neighbour_count; i++)
        done = done && !is_farewell_due(node->neighbours[i]);
    if (!done && node->now < node->leave_by)
        return false;
    kh_node_enter(node, LIFE_LEFT);
    node->relayed.release_due = true; /* only now: goodbyes may have gone through it */
    kh_node_emit(node, KH_NODE_EVENT_LEFT, NULL);
    return true;
}
