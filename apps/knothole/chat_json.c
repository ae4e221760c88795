/* knothole/chat_json.c - the conversation as one JSON object a line on stdout.
 *
 * SPDX-License-Identifier: MIT
 */
#include "chat.h"

#include <stdio.h>

#include "json.h"

/* Prints and frees the object; each line is flushed, since a program waits for it. */
static void print(struct kh_chat *chat, json_t *object)
{
    if (object == NULL)
        return;
    if (json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 ||
        putchar('\n') == EOF || fflush(stdout) != 0)
        kh_chat_output_broke(chat);
    json_decref(object);
}

static bool open_json(struct kh_chat *chat)
{
    (void)chat;
    return true;
}

static void show_event(struct kh_chat *chat, const struct kh_runtime_event *event)
{
    print(chat, kh_json_event(event, chat->link));
}

static void show_note(struct kh_chat *chat, const struct kh_chat_note *note)
{
    print(chat, kh_json_note(note));
}

static void show_members(struct kh_chat *chat, bool verify)
{
    struct kh_runtime_member member;
    json_t *list = json_array();

    (void)verify; /* the digits are always there */
    for (size_t n = 0; kh_runtime_member_at(chat->runtime, n, &member); n++)
        (void)json_array_append_new(list, kh_json_member(&member));
    print(chat, json_pack("{s:s, s:o}", "event", "peers", "members", list));
}

static void close_json(struct kh_chat *chat)
{
    (void)chat;
}

const struct kh_chat_view kh_chat_view_json = {.open = open_json,
                                               .event = show_event,
                                               .note = show_note,
                                               .members = show_members,
                                               .close = close_json};
