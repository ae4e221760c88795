/* node/pump.c - takes steps until no machine inside has anything left to tell another.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

#define SIGNALS_WAITING_MAX                                                                        \
    128                       /* twice a full room: one each for everyone listed in one answer     \
                               */
#define FRAMES_WAITING_MAX 16 /* a member's, each of at most 64 KiB */

/* ---- events ---- */

struct kh_node_slot *kh_node_emit(struct kh_node *node, enum kh_node_event_kind kind,
                                  const struct kh_node_neighbour *who)
{
    const char *name = who == NULL ? node->name : who->card.name;
    struct kh_node_slot *slot;
    bool fits;
    size_t at;

    fits = kh_ring_push(&node->event_ring, EVENTS_MAX, &at);
    assert(fits);
    slot = &node->events[at];
    *slot = (struct kh_node_slot){.event = {.kind = kind}};
    slot->event.member = who == NULL ? node->id : who->id;
    memcpy(slot->event.identity, who == NULL ? node->identity : who->card.identity, KH_KEY_LEN);
    memcpy(slot->name, name, strlen(name) + 1);
    return slot;
}

static bool next_own_event(struct kh_node *node, struct kh_node_event *out)
{
    size_t at;

    if (!kh_ring_pop(&node->event_ring, EVENTS_MAX, &at))
        return false;
    node->shown = node->events[at];
    *out = node->shown.event;
    out->name = node->shown.name;
    if (node->shown.text[0] != '\0') {
        out->text = node->shown.text;
        out->text_len = strlen(node->shown.text);
    }
    return true;
}

static bool next_room_event(struct kh_node *node, struct kh_node_event *out)
{
    const struct kh_node_neighbour *neighbour;
    struct kh_room_event event;

    if (!kh_room_next_event(node->room, &event))
        return false;
    *out = (struct kh_node_event){.entry = event.entry};
    switch (event.kind) {
    case KH_ROOM_EVENT_MESSAGE:
        out->kind = KH_NODE_EVENT_MESSAGE;
        out->member = event.entry.log;
        memcpy(out->identity, event.entry.author, KH_KEY_LEN);
        out->text = event.text;
        out->text_len = event.text_len;
        out->time_ms = event.time_ms;
        out->via = event.via;
        break;
    case KH_ROOM_EVENT_PUNCH:
        kh_node_punch_hear(node, &event.member, event.data);
        return next_room_event(node, out);
    case KH_ROOM_EVENT_DELIVERED:
        out->kind = KH_NODE_EVENT_DELIVERED;
        out->member = event.member;
        break;
    }
    /* By id first: one key may be here twice, under two names. */
    neighbour = kh_node_find_neighbour(node, &out->member);
    if (neighbour != NULL)
        memcpy(out->identity, neighbour->card.identity, KH_KEY_LEN);
    out->name = neighbour != NULL ? neighbour->card.name : kh_node_name_of(node, out->identity);
    return true;
}

/* ---- frames ---- */

static bool put_away(struct kh_node *node, const struct kh_room_transmit *transmit)
{
    struct kh_node_neighbour *neighbour = kh_node_find_neighbour(node, &transmit->to);

    assert(neighbour != NULL);
    if (transmit->via == KH_ROOM_SIGNAL)
        return kh_node_mail_put(&node->mail, SIGNALS_WAITING_MAX, transmit);
    if (kh_node_mail_put(&neighbour->mail, FRAMES_WAITING_MAX, transmit))
        return true;
    /* Told at once, the room takes the frame back; it goes on when the mailbox is empty. */
    neighbour->room.blocked = true;
    kh_room_set_blocked(node->room, node->now, &neighbour->id, true);
    return false;
}

static bool step_frame(struct kh_node *node)
{
    struct kh_room_transmit transmit;

    if (!kh_room_next_transmit(node->room, &transmit))
        return false;
    if (!put_away(node, &transmit))
        node->frames_refused++;
    return true;
}

static bool step_room(struct kh_node *node)
{
    if (node->farewell_due) {
        node->farewell_due = false;
        kh_room_say_farewell(node->room, node->now);
        return true;
    }
    if (!node->room_timeout_due)
        return false;
    node->room_timeout_due = false;
    if (kh_room_timeout(node->room) <= node->now)
        kh_room_handle_timeout(node->room, node->now);
    return true;
}

/* ---- steps ---- */

/* The order drains the room before it is told anything, and everyone else before the server tells
 * of one more thing. */
static bool step(struct kh_node *node)
{
    if (step_frame(node) || step_room(node))
        return true;
    for (size_t i = 0; i < node->neighbour_count; i++)
        if (kh_node_step_neighbour(node, node->neighbours[i]))
            return true;
    return kh_node_classify_step(node) || kh_node_sockets_step(node) || kh_node_punch_step(node) ||
           kh_node_relayed_step(node) || kh_node_step_server(node) || kh_node_step_alert(node) ||
           kh_node_step_leave(node);
}

bool kh_node_next_event(struct kh_node *node, struct kh_node_event *out)
{
    do {
        if (next_own_event(node, out) || next_room_event(node, out))
            return true;
    } while (step(node));
    node->settled = true;
    return false;
}

/* ---- datagrams ---- */

void kh_node_stash_peer(struct kh_node *node, struct kh_peer *peer)
{
    struct kh_datagram datagram;

    while (kh_peer_next_transmit(peer, &datagram)) {
        if (!kh_node_relayed_send(node, &datagram))
            kh_outbox_push(&node->outbox, &datagram);
    }
}

void kh_node_stash_server(struct kh_node *node)
{
    struct kh_datagram datagram;

    while (kh_rendezvous_client_next_transmit(node->rendezvous, &datagram))
        kh_outbox_push(&node->outbox, &datagram);
}

bool kh_node_next_transmit(struct kh_node *node, struct kh_datagram *out)
{
    assert(node->settled);
    if (kh_outbox_next(&node->outbox, out) ||
        kh_stun_transaction_next_transmit(&node->reflexive.transaction, out) ||
        kh_stun_transaction_next_transmit(&node->tcp.transaction, out) ||
        kh_rendezvous_client_next_transmit(node->rendezvous, out))
        return true;
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_peer *peer = node->neighbours[i]->peer;

        while (peer != NULL && kh_peer_next_transmit(peer, out)) {
            if (!kh_node_relayed_send(node, out) || kh_outbox_next(&node->outbox, out))
                return true;
        }
    }
    return false;
}

kh_time kh_node_timeout(const struct kh_node *node)
{
    kh_time timeout = node->leave_by;

    if (node->life == LIFE_LEFT)
        return KH_NEVER;
    timeout = kh_time_min(timeout, kh_room_timeout(node->room));
    timeout = kh_time_min(timeout, kh_rendezvous_client_timeout(node->rendezvous));
    timeout = kh_time_min(timeout, kh_node_reflexive_timeout(node));
    timeout = kh_time_min(timeout, kh_node_tcp_timeout(node));
    timeout = kh_time_min(timeout, kh_node_relayed_timeout(node));
    timeout = kh_time_min(timeout, kh_node_classify_timeout(node));
    timeout = kh_time_min(timeout, kh_node_punch_timeout(node));
    for (size_t i = 0; i < node->neighbour_count; i++)
        timeout = kh_time_min(timeout, kh_node_peer_timeout(node, node->neighbours[i]));
    return timeout;
}
