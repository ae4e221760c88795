/* knothole/json.h - what happens in a room as JSON objects.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_JSON_H
#define KH_KNOTHOLE_JSON_H

#include <jansson.h>

#include "chat.h"

/* A new object, or NULL if the event is not for programs.  link goes into `joined`. */
json_t *kh_json_event(const struct kh_runtime_event *event, const char *link);
json_t *kh_json_note(const struct kh_chat_note *note);
json_t *kh_json_member(const struct kh_runtime_member *member);

#endif
