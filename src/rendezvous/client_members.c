/* rendezvous/client_members.c - what the client knows of the others in its room.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rendezvous/client_state.h"

#include <assert.h>
#include <string.h>

static struct kh_rendezvous_known *find(struct kh_rendezvous_client *client,
                                        const struct kh_rendezvous_member_id *id)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX; i++) {
        struct kh_rendezvous_known *known = &client->known[i];

        if (known->used && kh_rendezvous_member_equal(&known->id, id))
            return known;
    }
    return NULL;
}

static void tell_gone(struct kh_rendezvous_client *client, const struct kh_rendezvous_known *known)
{
    kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_GONE)->id = known->id;
}

static size_t free_places(const struct kh_rendezvous_client *client)
{
    size_t count = 0;

    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX; i++)
        count += client->known[i].used ? 0 : 1;
    return count;
}

/* Gives a place for a new member; one from an old session, not confirmed yet, makes way. */
static struct kh_rendezvous_known *place(struct kh_rendezvous_client *client,
                                         const struct kh_rendezvous_member_id *id)
{
    struct kh_rendezvous_known *found = NULL;

    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX && found == NULL; i++)
        found = client->known[i].used ? NULL : &client->known[i];
    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX && found == NULL; i++) {
        if (client->known[i].stale_until == KH_NEVER)
            continue;
        found = &client->known[i];
        tell_gone(client, found);
    }
    if (found == NULL)
        return NULL;
    found->used = true;
    found->gone = true;
    found->id = *id;
    found->version = 0;
    found->stale_until = KH_NEVER;
    return found;
}

static bool is_same(const struct kh_rendezvous_known *known,
                    const struct kh_rendezvous_change *change)
{
    return !known->gone && kh_addr_equal(&known->public, &change->public) &&
           known->card_len == change->card.len &&
           memcmp(known->card, change->card.data, change->card.len) == 0;
}

static void apply_present(struct kh_rendezvous_client *client, struct kh_rendezvous_known *known,
                          const struct kh_rendezvous_change *change)
{
    struct kh_rendezvous_client_event *event;
    bool is_back = known->stale_until != KH_NEVER;

    known->stale_until = KH_NEVER;
    if (is_same(known, change) && !is_back)
        return;
    known->gone = false;
    known->public = change->public;
    known->card_len = change->card.len;
    memcpy(known->card, change->card.data, change->card.len);
    event = kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_MEMBER);
    event->id = known->id;
    event->public = known->public;
    event->is_back = is_back;
    event->data = known->card;
    event->len = known->card_len;
}

/* The newest change of a member counts, in whatever order they come. */
static void apply(struct kh_rendezvous_client *client, const struct kh_rendezvous_change *change)
{
    struct kh_rendezvous_known *known = find(client, &change->id);

    if (kh_rendezvous_member_equal(&change->id, &client->config.member))
        return;
    if (known == NULL)
        known = place(client, &change->id);
    if (known == NULL || change->version <= known->version)
        return;
    known->version = change->version;
    if (change->present) {
        apply_present(client, known, change);
        return;
    }
    if (!known->gone)
        tell_gone(client, known);
    known->gone = true;
    known->stale_until = KH_NEVER;
}

static size_t apply_all(struct kh_rendezvous_client *client, const struct kh_stun_message *message,
                        bool count_only)
{
    struct kh_rendezvous_change change;
    struct kh_stun_attribute attribute;
    size_t count = 0;
    size_t at = 0;

    while (kh_stun_next(message, &at, &attribute)) {
        struct kh_span value = {attribute.value, attribute.len};

        if (attribute.type != KH_STUN_CHANGE)
            continue;
        count++;
        if (count_only)
            continue;
        if (!kh_rendezvous_change_parse(value, &change))
            client->stats.dropped_malformed++;
        else if (change.version > client->session.version)
            apply(client, &change);
    }
    return count;
}

/* Closes the gaps that the new version reaches over, and forgets departures nothing can undo. */
static void advance(struct kh_rendezvous_client *client, uint64_t version)
{
    uint64_t *known_to = &client->session.version;
    size_t i = 0;

    *known_to = version;
    while (i < client->range_count) {
        struct kh_rendezvous_range range = client->ranges[i];

        if (range.base > *known_to) {
            i++;
            continue;
        }
        *known_to = range.version > *known_to ? range.version : *known_to;
        client->ranges[i] = client->ranges[--client->range_count];
        i = 0; /* it may reach one that was looked at already */
    }
    for (i = 0; i < KH_RENDEZVOUS_KNOWN_MAX; i++) {
        if (client->known[i].used && client->known[i].gone && client->known[i].version <= *known_to)
            client->known[i].used = false;
    }
}

/* A push that overtook another: what it says is true, but not all we need to know before it. */
static void keep_range(struct kh_rendezvous_client *client, const struct kh_stun_message *message,
                       struct kh_rendezvous_range range)
{
    for (size_t i = 0; i < client->range_count; i++) {
        if (client->ranges[i].base <= range.base && client->ranges[i].version >= range.version)
            return;
    }
    if (client->range_count == KH_RENDEZVOUS_RANGES_MAX ||
        apply_all(client, message, true) > free_places(client))
        return; /* as if it had been lost */
    client->ranges[client->range_count++] = range;
    apply_all(client, message, false);
}

void kh_rendezvous_members_handle_push(struct kh_rendezvous_client *client,
                                       const struct kh_stun_message *message)
{
    struct kh_rendezvous_range range;

    if (!kh_stun_find_u64(message, KH_STUN_BASE_VERSION, &range.base) ||
        !kh_stun_find_u64(message, KH_STUN_ROOM_VERSION, &range.version)) {
        client->stats.dropped_malformed++;
        return;
    }
    client->stats.pushes_received++;
    if (range.version <= client->session.version || range.version <= range.base)
        return;
    if (range.base > client->session.version) {
        keep_range(client, message, range);
        return;
    }
    apply_all(client, message, false);
    advance(client, range.version);
}

uint64_t kh_rendezvous_members_hole_end(const struct kh_rendezvous_client *client)
{
    uint64_t end = 0;

    for (size_t i = 0; i < client->range_count; i++) {
        if (end == 0 || client->ranges[i].base < end)
            end = client->ranges[i].base;
    }
    return end;
}

void kh_rendezvous_members_doubt(struct kh_rendezvous_client *client, kh_time until)
{
    client->range_count = 0;
    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX; i++) {
        struct kh_rendezvous_known *known = &client->known[i];

        known->used = known->used && !known->gone;
        known->version = 0;
        known->stale_until = known->used ? until : KH_NEVER;
    }
}

void kh_rendezvous_members_handle_timeout(struct kh_rendezvous_client *client, kh_time now)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX; i++) {
        struct kh_rendezvous_known *known = &client->known[i];

        if (!known->used || known->stale_until > now)
            continue;
        tell_gone(client, known);
        known->used = false;
    }
}

kh_time kh_rendezvous_members_timeout(const struct kh_rendezvous_client *client)
{
    kh_time timeout = KH_NEVER;

    for (size_t i = 0; i < KH_RENDEZVOUS_KNOWN_MAX; i++) {
        if (client->known[i].used)
            timeout = kh_time_min(timeout, client->known[i].stale_until);
    }
    return timeout;
}
