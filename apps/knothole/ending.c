/* knothole/ending.c - when to leave, and with which exit code.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ending.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"

struct kh_ending_message {
    struct kh_ending_message *next;
    char id[KH_RUNTIME_ID_SIZE];
};

void kh_ending_fini(struct kh_ending *ending)
{
    while (ending->first != NULL) {
        struct kh_ending_message *message = ending->first;

        ending->first = message->next;
        free(message);
    }
    ending->last = NULL;
}

static void add_unheard(struct kh_ending *ending, const char *id)
{
    struct kh_ending_message *message = calloc(1, sizeof *message);

    assert(message != NULL); /* else the exit code would claim a delivery */
    (void)snprintf(message->id, sizeof message->id, "%s", id);
    if (ending->last != NULL)
        ending->last->next = message;
    else
        ending->first = message;
    ending->last = message;
}

/* Deliveries to the first member come in order, so the search nearly always ends at once. */
static void remove_unheard(struct kh_ending *ending, const char *id)
{
    struct kh_ending_message *before = NULL;
    struct kh_ending_message *at = ending->first;

    while (at != NULL && strcmp(at->id, id) != 0) {
        before = at;
        at = at->next;
    }
    if (at == NULL)
        return;
    if (before != NULL)
        before->next = at->next;
    else
        ending->first = at->next;
    if (ending->last == at)
        ending->last = before;
    free(at);
}

void kh_ending_note(struct kh_ending *ending, uint64_t now, const struct kh_runtime_event *event)
{
    switch (event->kind) {
    case KH_RUNTIME_EVENT_JOINED:
        ending->joined = true;
        ending->progress_at = now;
        break;
    case KH_RUNTIME_EVENT_UNREACHABLE:
        ending->unreachable = true;
        break;
    case KH_RUNTIME_EVENT_MEMBER:
        ending->met = true;
        ending->progress_at = now;
        break;
    case KH_RUNTIME_EVENT_PATH:
    case KH_RUNTIME_EVENT_OPEN:
        ending->progress_at = now;
        break;
    case KH_RUNTIME_EVENT_MESSAGE:
        ending->words_at = now;
        break;
    case KH_RUNTIME_EVENT_SENT:
        add_unheard(ending, event->id);
        break;
    case KH_RUNTIME_EVENT_DELIVERED:
        remove_unheard(ending, event->id);
        ending->progress_at = now;
        ending->words_at = now;
        if (ending->left_undelivered > 0)
            ending->left_undelivered--;
        break;
    case KH_RUNTIME_EVENT_ERROR:
        ending->failed = true;
        break;
    case KH_RUNTIME_EVENT_GONE:
    case KH_RUNTIME_EVENT_PATH_LOST:
    case KH_RUNTIME_EVENT_WARNING:
    case KH_RUNTIME_EVENT_LEFT:
        break;
    }
}

void kh_ending_set_input_over(struct kh_ending *ending, uint64_t now, bool over)
{
    if (over && !ending->input_over)
        ending->over_at = now;
    ending->input_over = over;
}

void kh_ending_set_flow(struct kh_ending *ending, uint64_t now, uint64_t repeats, bool lacking)
{
    if (repeats > ending->repeats || lacking)
        ending->unsettled_at = now;
    ending->repeats = repeats;
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* How long nothing was said.  A message that comes again counts too: its author waits for our
 * acknowledgement, which must not be the one that a departure cuts off.  So does one that we know
 * of and lack.  But neither counts for ever. */
static uint64_t silence(const struct kh_ending *ending, uint64_t now, uint64_t since)
{
    uint64_t words_at = later(since, ending->words_at);

    if (now - words_at >= KH_ENDING_PROGRESS_MS)
        return now - words_at;
    return now - later(words_at, ending->unsettled_at);
}

bool kh_ending_is_due(const struct kh_ending *ending, uint64_t now,
                      const struct kh_ending_room *room)
{
    uint64_t since = later(ending->over_at, ending->progress_at);
    uint64_t patience;

    if (!ending->input_over)
        return false;
    if (!ending->joined) {
        patience = ending->unreachable ? 0 : KH_ENDING_ANSWER_MS;
        return now - ending->over_at >= later(ending->linger_ms, patience);
    }
    if (ending->met && ending->first == NULL && room->undelivered == 0)
        return silence(ending, now, since) >= KH_ENDING_QUIET_MS;
    patience = room->has_members ? KH_ENDING_PROGRESS_MS : KH_ENDING_ARRIVAL_MS;
    return now - since >= later(ending->linger_ms, patience);
}

int kh_ending_exit_code(const struct kh_ending *ending, size_t *missing)
{
    size_t unheard = 0;

    for (const struct kh_ending_message *at = ending->first; at != NULL; at = at->next)
        unheard++;
    *missing = unheard > ending->left_undelivered ? unheard : ending->left_undelivered;
    if (!ending->joined && !ending->failed)
        return KH_EXIT_NO_SERVER;
    if (*missing > 0 || ending->skipped > 0)
        return KH_EXIT_UNDELIVERED;
    return ending->failed ? KH_EXIT_FAILED : KH_EXIT_OK;
}
