/* knothole/describe.c - events as sentences for a person.
 *
 * SPDX-License-Identifier: MIT
 */
#include "chat.h"

#include <stdio.h>

char *kh_chat_describe_path(const struct kh_runtime_path *path,
                            char out[static KH_CHAT_SENTENCE_MAX])
{
    (void)snprintf(out, KH_CHAT_SENTENCE_MAX, "%s %s %s -> %s (%s), %.*f ms",
                   path->relayed ? "relayed" : "direct", path->transport, path->local, path->remote,
                   path->candidate, path->rtt_ms < 10 ? 1 : 0, path->rtt_ms);
    return out;
}

bool kh_chat_describe(const struct kh_runtime_event *event, char out[static KH_CHAT_SENTENCE_MAX])
{
    char path[KH_CHAT_SENTENCE_MAX];
    const char *tail = NULL;

    switch (event->kind) {
    case KH_RUNTIME_EVENT_JOINED:
        (void)snprintf(out, KH_CHAT_SENTENCE_MAX, "joined%s%s",
                       event->path.remote[0] != '\0' ? "; the server sees us at " : "",
                       event->path.remote);
        return true;
    case KH_RUNTIME_EVENT_PATH:
        (void)snprintf(out, KH_CHAT_SENTENCE_MAX, "%s: %.600s", event->name,
                       kh_chat_describe_path(&event->path, path));
        return true;
    case KH_RUNTIME_EVENT_UNREACHABLE:
    case KH_RUNTIME_EVENT_WARNING:
    case KH_RUNTIME_EVENT_ERROR:
        (void)snprintf(out, KH_CHAT_SENTENCE_MAX, "%s", event->text);
        return true;
    case KH_RUNTIME_EVENT_MEMBER:
        tail = " is here";
        break;
    case KH_RUNTIME_EVENT_GONE:
        tail = " has left";
        break;
    case KH_RUNTIME_EVENT_PATH_LOST:
        tail = ": no way at present; still trying";
        break;
    case KH_RUNTIME_EVENT_OPEN:
        tail = ": the secure channel is open";
        break;
    case KH_RUNTIME_EVENT_SENT:
    case KH_RUNTIME_EVENT_MESSAGE:
    case KH_RUNTIME_EVENT_DELIVERED:
    case KH_RUNTIME_EVENT_LEFT:
        return false;
    }
    (void)snprintf(out, KH_CHAT_SENTENCE_MAX, "%s%s", event->name, tail);
    return true;
}
