/* knothole/json.c - the JSON events of `knothole chat --json`.
 *
 * SPDX-License-Identifier: MIT
 */
#include "json.h"

#include <math.h>

static json_t *path_object(const struct kh_runtime_path *path)
{
    /* Whole microseconds: the decimals beyond are noise. */
    double rtt_ms = round(path->rtt_ms * 1000) / 1000;

    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f}", "kind",
                     path->relayed ? "relayed" : "direct", "local", path->local, "remote",
                     path->remote, "candidate", path->candidate, "local_candidate",
                     path->local_candidate, "transport", path->transport, "rtt_ms", rtt_ms);
}

static json_t *path_event(const struct kh_runtime_event *event)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s}", "event", "path", "id", event->member, "name", event->name);
    json_t *path = path_object(&event->path);

    (void)json_object_update(object, path);
    json_decref(path);
    return object;
}

static json_t *warning(const char *tone, const struct kh_runtime_event *event, const char *code,
                       const char *text)
{
    json_t *object = json_pack("{s:s, s:s, s:s}", "event", tone, "code", code, "text", text);

    if (event->member[0] != '\0') {
        (void)json_object_set_new(object, "id", json_string(event->member));
        (void)json_object_set_new(object, "name", json_string(event->name));
    }
    return object;
}

json_t *kh_json_event(const struct kh_runtime_event *event, const char *link)
{
    switch (event->kind) {
    case KH_RUNTIME_EVENT_JOINED:
        return json_pack("{s:s, s:s, s:s, s:s}", "event", "joined", "link", link, "member",
                         event->member, "public", event->path.remote);
    case KH_RUNTIME_EVENT_MEMBER:
    case KH_RUNTIME_EVENT_GONE:
        return json_pack("{s:s, s:s, s:s, s:s}", "event", "member", "id", event->member, "name",
                         event->name, "state",
                         event->kind == KH_RUNTIME_EVENT_GONE ? "gone" : "present");
    case KH_RUNTIME_EVENT_PATH:
        return path_event(event);
    case KH_RUNTIME_EVENT_PATH_LOST:
        return warning("warning", event, "path-lost", "no way to this member at present");
    case KH_RUNTIME_EVENT_OPEN:
        return json_pack("{s:s, s:s, s:s}", "event", "open", "id", event->member, "name",
                         event->name);
    case KH_RUNTIME_EVENT_SENT:
        return json_pack("{s:s, s:s, s:s%}", "event", "sent", "id", event->id, "text", event->text,
                         event->text_len);
    case KH_RUNTIME_EVENT_MESSAGE:
        return json_pack("{s:s, s:s, s:s, s:s, s:s%, s:I, s:s}", "event", "message", "id",
                         event->id, "from", event->member, "name", event->name, "text", event->text,
                         event->text_len, "time", (json_int_t)event->time_ms, "via",
                         event->channel ? "channel" : "signal");
    case KH_RUNTIME_EVENT_DELIVERED:
        return json_pack("{s:s, s:s, s:s, s:s}", "event", "delivered", "id", event->id, "to",
                         event->member, "name", event->name);
    case KH_RUNTIME_EVENT_UNREACHABLE:
        return warning("warning", event, "server-unreachable", event->text);
    case KH_RUNTIME_EVENT_WARNING:
        return warning("warning", event, event->code, event->text);
    case KH_RUNTIME_EVENT_ERROR:
        return warning("error", event, event->code, event->text);
    case KH_RUNTIME_EVENT_LEFT:
        return json_pack("{s:s}", "event", "left");
    }
    return NULL;
}

json_t *kh_json_note(const struct kh_chat_note *note)
{
    static const char *const tones[] = {"info", "warning", "error"};

    return json_pack("{s:s, s:s, s:s}", "event", tones[note->tone], "code", note->code, "text",
                     note->text);
}

json_t *kh_json_member(const struct kh_runtime_member *member)
{
    json_t *object = json_pack("{s:s, s:s, s:b, s:I, s:s}", "id", member->id, "name", member->name,
                               "open", member->open, "undelivered", (json_int_t)member->undelivered,
                               "verify", member->verify);

    if (member->has_path)
        (void)json_object_set_new(object, "path", path_object(&member->path));
    return object;
}
