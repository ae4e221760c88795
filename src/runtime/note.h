/* runtime/note.h - writes down what happened in a node as events for the program.
 *
 * SPDX-License-Identifier: MIT
 *
 * It never calls back into the node: what should follow from an event is somebody's next input.
 */
#ifndef KH_RUNTIME_NOTE_H
#define KH_RUNTIME_NOTE_H

#include "runtime/events.h"
#include "node/node.h"
#include "runtime/state.h"

struct kh_runtime_note {
    struct kh_runtime_queue queue;
    const struct kh_runtime_state *state; /* borrowed, as the server */
    const struct kh_room_server *server;
    uint8_t identity[KH_KEY_LEN];
    struct kh_rendezvous_ticket ticket;
    bool ticket_is_new; /* to be kept in the state directory */
    bool left;
    bool name_warned; /* of the latest member: the node may find the same */
};

void kh_runtime_note_init(struct kh_runtime_note *note, const struct kh_runtime_state *state,
                          const struct kh_room_server *server, const struct kh_secret *identity);
void kh_runtime_note_event(struct kh_runtime_note *note, const struct kh_node *node,
                           const struct kh_node_event *event);
void kh_runtime_note_sent(struct kh_runtime_note *note, const struct kh_room_entry_id *entry,
                          const char *text, size_t len);
void kh_runtime_note_warning(struct kh_runtime_note *note, const char *code, const char *text);
void kh_runtime_note_error(struct kh_runtime_note *note, const char *code, const char *text);
void kh_runtime_note_unreachable(struct kh_runtime_note *note, const char *text);
void kh_runtime_note_left(struct kh_runtime_note *note);

/* Turns a path into its public form. */
void kh_runtime_note_path(const struct kh_ice_path *path, enum kh_transport transport,
                          struct kh_runtime_path *out);

#endif
