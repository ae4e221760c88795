/* runtime/note.c - events of a node into events of the program.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/note.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

void kh_runtime_note_init(struct kh_runtime_note *note, const struct kh_runtime_state *state,
                          const struct kh_room_server *server, const struct kh_secret *identity)
{
    *note = (struct kh_runtime_note){.state = state, .server = server};
    kh_ed25519_public(identity, note->identity);
}

static void push_text(struct kh_runtime_note *note, enum kh_runtime_event_kind kind,
                      const char *code, const char *text)
{
    kh_runtime_queue_push(&note->queue,
                          &(struct kh_runtime_event){
                              .kind = kind, .code = code, .text = text, .text_len = strlen(text)});
}

void kh_runtime_note_warning(struct kh_runtime_note *note, const char *code, const char *text)
{
    push_text(note, KH_RUNTIME_EVENT_WARNING, code, text);
}

void kh_runtime_note_error(struct kh_runtime_note *note, const char *code, const char *text)
{
    push_text(note, KH_RUNTIME_EVENT_ERROR, code, text);
}

void kh_runtime_note_unreachable(struct kh_runtime_note *note, const char *text)
{
    push_text(note, KH_RUNTIME_EVENT_UNREACHABLE, "server-unreachable", text);
}

void kh_runtime_note_left(struct kh_runtime_note *note)
{
    note->left = true;
    push_text(note, KH_RUNTIME_EVENT_LEFT, "", "");
}

/* Author, stay and sequence: unique, and short enough to be read. */
static void write_entry_id(const struct kh_room_entry_id *entry,
                           char out[static KH_RUNTIME_ID_SIZE])
{
    char author[KH_HEX_SIZE(8)];
    char log[KH_HEX_SIZE(8)];

    (void)snprintf(out, KH_RUNTIME_ID_SIZE, "%s-%s-%" PRIu64,
                   kh_hex_write(entry->author, 8, author), kh_hex_write(entry->log.bytes, 8, log),
                   entry->sequence);
}

void kh_runtime_note_sent(struct kh_runtime_note *note, const struct kh_room_entry_id *entry,
                          const char *text, size_t len)
{
    char id[KH_RUNTIME_ID_SIZE];

    write_entry_id(entry, id);
    kh_runtime_queue_push(
        &note->queue, &(struct kh_runtime_event){
                          .kind = KH_RUNTIME_EVENT_SENT, .id = id, .text = text, .text_len = len});
}

void kh_runtime_note_path(const struct kh_ice_path *path, enum kh_transport transport,
                          struct kh_runtime_path *out)
{
    static const char *const transports[] = {"udp", "tcp", "tls"};

    static_assert(sizeof out->local == KH_ADDR_TEXT_MAX, "the public size is that of base");
    out->relayed = path->local_kind == KH_ICE_RELAYED || path->remote_kind == KH_ICE_RELAYED;
    kh_addr_text(&path->local, out->local);
    kh_addr_text(&path->remote, out->remote);
    (void)snprintf(out->local_candidate, sizeof out->local_candidate, "%s",
                   kh_ice_kind_name(path->local_kind));
    (void)snprintf(out->candidate, sizeof out->candidate, "%s",
                   kh_ice_kind_name(path->remote_kind));
    (void)snprintf(out->transport, sizeof out->transport, "%s", transports[transport]);
    out->rtt_ms = (double)path->rtt / 1000.0;
}

/* Compares the newcomer's key with the one its name had before. */
static void check_name(struct kh_runtime_note *note, const struct kh_node_event *event,
                       const char *member)
{
    char text[KH_RUNTIME_WHY_SIZE];

    note->name_warned =
        kh_runtime_state_pin(note->state, event->name, event->identity) == KH_RUNTIME_PIN_CHANGED;
    if (!note->name_warned)
        return;
    (void)snprintf(text, sizeof text,
                   "%s IS NOT THE %s YOU KNOW: the name comes with another key than before. "
                   "Compare /verify over another way before you trust it",
                   event->name, event->name);
    kh_runtime_queue_push(&note->queue, &(struct kh_runtime_event){.kind = KH_RUNTIME_EVENT_WARNING,
                                                                   .code = "name-changed-key",
                                                                   .member = member,
                                                                   .name = event->name,
                                                                   .text = text,
                                                                   .text_len = strlen(text)});
}

static void note_joined(struct kh_runtime_note *note, const struct kh_node *node,
                        const struct kh_node_event *event)
{
    struct kh_runtime_event out = {.kind = KH_RUNTIME_EVENT_JOINED};
    char member[KH_RUNTIME_ID_SIZE];

    out.member = kh_hex_write(kh_node_id(node)->bytes, KH_ROOM_MEMBER_LEN, member);
    if (!kh_addr_is_none(&event->mapped))
        kh_addr_text(&event->mapped, out.path.remote);
    note->ticket = event->ticket;
    note->ticket_is_new = true;
    kh_runtime_queue_push(&note->queue, &out);
}

static void note_unreachable(struct kh_runtime_note *note)
{
    char text[KH_RUNTIME_WHY_SIZE];

    (void)snprintf(text, sizeof text, "the server %s (port %u) does not answer; still trying",
                   note->server->host, note->server->port);
    kh_runtime_note_unreachable(note, text);
}

/* The node knows the names of this run, the file those of all runs: once is enough. */
static bool is_told_already(const struct kh_runtime_note *note, const struct kh_node_event *event)
{
    return event->kind == KH_NODE_EVENT_WARNING && note->name_warned &&
           strcmp(event->code, "name-changed-key") == 0;
}

/* The public kind of an event that needs no more than its fields copied. */
static enum kh_runtime_event_kind plain_kind(enum kh_node_event_kind kind)
{
    static const enum kh_runtime_event_kind kinds[] = {
        [KH_NODE_EVENT_JOINED] = KH_RUNTIME_EVENT_JOINED,
        [KH_NODE_EVENT_MEMBER] = KH_RUNTIME_EVENT_MEMBER,
        [KH_NODE_EVENT_GONE] = KH_RUNTIME_EVENT_GONE,
        [KH_NODE_EVENT_PATH] = KH_RUNTIME_EVENT_PATH,
        [KH_NODE_EVENT_OPEN] = KH_RUNTIME_EVENT_OPEN,
        [KH_NODE_EVENT_PATH_LOST] = KH_RUNTIME_EVENT_PATH_LOST,
        [KH_NODE_EVENT_MESSAGE] = KH_RUNTIME_EVENT_MESSAGE,
        [KH_NODE_EVENT_DELIVERED] = KH_RUNTIME_EVENT_DELIVERED,
        [KH_NODE_EVENT_UNREACHABLE] = KH_RUNTIME_EVENT_UNREACHABLE,
        [KH_NODE_EVENT_WARNING] = KH_RUNTIME_EVENT_WARNING,
        [KH_NODE_EVENT_ERROR] = KH_RUNTIME_EVENT_ERROR,
        [KH_NODE_EVENT_LEFT] = KH_RUNTIME_EVENT_LEFT,
    };

    return kinds[kind];
}

void kh_runtime_note_event(struct kh_runtime_note *note, const struct kh_node *node,
                           const struct kh_node_event *event)
{
    struct kh_runtime_event out = {.kind = plain_kind(event->kind),
                                   .name = event->name,
                                   .code = event->code,
                                   .time_ms = event->time_ms,
                                   .channel = event->via == KH_ROOM_CHANNEL};
    char member[KH_RUNTIME_ID_SIZE];
    char id[KH_RUNTIME_ID_SIZE];

    if (event->kind == KH_NODE_EVENT_JOINED) {
        note_joined(note, node, event);
        return;
    }
    if (event->kind == KH_NODE_EVENT_UNREACHABLE) {
        note_unreachable(note);
        return;
    }
    if (is_told_already(note, event))
        return;
    out.member = kh_hex_write(event->member.bytes, sizeof event->member.bytes, member);
    if (event->kind == KH_NODE_EVENT_PATH)
        kh_runtime_note_path(&event->path, event->transport, &out.path);
    if (event->kind == KH_NODE_EVENT_MESSAGE || event->kind == KH_NODE_EVENT_DELIVERED) {
        write_entry_id(&event->entry, id);
        out.id = id;
    }
    if (event->text != NULL) {
        out.text = event->text;
        out.text_len = event->kind == KH_NODE_EVENT_MESSAGE ? event->text_len : strlen(event->text);
    }
    if (event->kind == KH_NODE_EVENT_LEFT)
        note->left = true;
    kh_runtime_queue_push(&note->queue, &out);
    if (event->kind == KH_NODE_EVENT_MEMBER)
        check_name(note, event, member);
}
