/* knothole/chat_plain.c - the conversation as `name: text` lines on stdout, all else on stderr.
 *
 * SPDX-License-Identifier: MIT
 */
#include "chat.h"

#include <stdio.h>
#include <string.h>

static bool open_plain(struct kh_chat *chat)
{
    if (chat->link_is_new)
        (void)fprintf(stderr, "link: %s\n", chat->link);
    return true;
}

/* Each line of a message begins with the name, so that no one speaks in another's name by a line
 * break. */
static void print_message(struct kh_chat *chat, const struct kh_runtime_event *event)
{
    const char *at = event->text;

    for (;;) {
        int len = (int)strcspn(at, "\n");

        (void)printf("%s: %.*s\n", event->name, len, at);
        if (at[len] == '\0')
            break;
        at += len + 1;
    }
    if (fflush(stdout) != 0)
        kh_chat_output_broke(chat);
}

static void show_event(struct kh_chat *chat, const struct kh_runtime_event *event)
{
    char sentence[KH_CHAT_SENTENCE_MAX];

    if (event->kind == KH_RUNTIME_EVENT_MESSAGE)
        print_message(chat, event);
    else if (kh_chat_describe(event, sentence))
        (void)fprintf(stderr, "%s%s\n", event->kind == KH_RUNTIME_EVENT_WARNING ? "WARNING: " : "",
                      sentence);
}

static void show_note(struct kh_chat *chat, const struct kh_chat_note *note)
{
    (void)chat;
    (void)fprintf(stderr, "%s\n", note->text);
}

static void show_members(struct kh_chat *chat, bool verify)
{
    struct kh_runtime_member member;
    char path[KH_CHAT_SENTENCE_MAX];
    size_t n = 0;

    for (; kh_runtime_member_at(chat->runtime, n, &member); n++) {
        if (verify)
            (void)fprintf(stderr, "%s: %s\n", member.name, member.verify);
        else
            (void)fprintf(stderr, "%s: %s; %zu undelivered\n", member.name,
                          member.has_path ? kh_chat_describe_path(&member.path, path)
                                          : "no path yet",
                          member.undelivered);
    }
    if (n == 0)
        (void)fprintf(stderr, "nobody else is here\n");
}

static void close_plain(struct kh_chat *chat)
{
    (void)chat;
}

const struct kh_chat_view kh_chat_view_plain = {.open = open_plain,
                                                .event = show_event,
                                                .note = show_note,
                                                .members = show_members,
                                                .close = close_plain};
