/* runtime/events.c - a queue of events with their texts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/events.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct kh_runtime_item {
    struct kh_runtime_item *next;
    struct kh_runtime_event event;
    char texts[]; /* what the event points to */
};

static size_t size_of(const char *text)
{
    return text == NULL ? 1 : strlen(text) + 1;
}

/* Copies len bytes and a terminator to *at, moves it on, and returns the copy. */
static const char *keep(char **at, const char *text, size_t len)
{
    char *copy = *at;

    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    *at += len + 1;
    return copy;
}

void kh_runtime_queue_push(struct kh_runtime_queue *queue, const struct kh_runtime_event *event)
{
    size_t size = size_of(event->member) + size_of(event->name) + size_of(event->id) +
                  size_of(event->code) + event->text_len + 1;
    struct kh_runtime_item *item = malloc(sizeof *item + size);
    char *at;

    /* The event may be a message that was already acknowledged: it must not be lost quietly. */
    assert(item != NULL);
    at = item->texts;
    item->next = NULL;
    item->event = *event;
    item->event.member = keep(&at, event->member, size_of(event->member) - 1);
    item->event.name = keep(&at, event->name, size_of(event->name) - 1);
    item->event.id = keep(&at, event->id, size_of(event->id) - 1);
    item->event.code = keep(&at, event->code, size_of(event->code) - 1);
    item->event.text = keep(&at, event->text, event->text_len);
    if (queue->last != NULL)
        queue->last->next = item;
    else
        queue->first = item;
    queue->last = item;
}

bool kh_runtime_queue_next(struct kh_runtime_queue *queue, struct kh_runtime_event *out)
{
    free(queue->given);
    queue->given = queue->first;
    if (queue->given == NULL)
        return false;
    queue->first = queue->given->next;
    if (queue->first == NULL)
        queue->last = NULL;
    *out = queue->given->event;
    return true;
}

void kh_runtime_queue_fini(struct kh_runtime_queue *queue)
{
    struct kh_runtime_event event;

    while (kh_runtime_queue_next(queue, &event))
        continue;
}
