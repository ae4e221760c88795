/* room/inbox.c - sorts what was heard of one log, and holds back what came too early.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/inbox.h"

#include <assert.h>
#include <stdlib.h>

static struct kh_room_heard *pop(struct kh_room_inbox *inbox)
{
    struct kh_room_heard *heard = inbox->early;

    inbox->early = heard->next;
    inbox->early_count--;
    inbox->early_bytes -= heard->len;
    heard->next = NULL;
    return heard;
}

void kh_room_inbox_fini(struct kh_room_inbox *inbox)
{
    while (inbox->early != NULL)
        free(pop(inbox));
}

bool kh_room_inbox_has(const struct kh_room_inbox *inbox, uint64_t sequence)
{
    const struct kh_room_heard *at = inbox->early;

    while (at != NULL && at->sequence < sequence)
        at = at->next;
    return sequence <= inbox->have || (at != NULL && at->sequence == sequence);
}

bool kh_room_inbox_wants(const struct kh_room_inbox *inbox, uint64_t sequence, size_t len)
{
    if (kh_room_inbox_has(inbox, sequence))
        return false;
    /* The one whose turn it is always finds room: it leaves at once, and lets others follow. */
    return sequence == inbox->have + 1 || (inbox->early_count < KH_ROOM_EARLY_MAX &&
                                           inbox->early_bytes + len <= KH_ROOM_EARLY_BYTES_MAX);
}

void kh_room_inbox_put(struct kh_room_inbox *inbox, struct kh_room_heard *heard)
{
    struct kh_room_heard **at = &inbox->early;

    assert(kh_room_inbox_wants(inbox, heard->sequence, heard->len));
    while (*at != NULL && (*at)->sequence < heard->sequence)
        at = &(*at)->next;
    heard->next = *at;
    *at = heard;
    inbox->early_count++;
    inbox->early_bytes += heard->len;
}

struct kh_room_heard *kh_room_inbox_take(struct kh_room_inbox *inbox)
{
    if (inbox->early == NULL || inbox->early->sequence != inbox->have + 1)
        return NULL;
    inbox->have++;
    return pop(inbox);
}

void kh_room_inbox_skip_to(struct kh_room_inbox *inbox, uint64_t first)
{
    if (first <= inbox->have + 1)
        return;
    inbox->have = first - 1;
    while (inbox->early != NULL && inbox->early->sequence < first)
        free(pop(inbox));
}
