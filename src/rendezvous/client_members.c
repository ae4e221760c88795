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
    for (size_t i = 0; i < KH_RENDEZVOUS_MEMBERS_MAX; i++) {
        struct kh_rendezvous_known *known = &client->known[i];

        if (known->used && kh_rendezvous_member_equal(&known->id, id))
            return known;
    }
    return NULL;
}

static void forget(struct kh_rendezvous_client *client, struct kh_rendezvous_known *known)
{
    kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_GONE)->id = known->id;
    known->used = false;
}

/* Gives a place for a new member; one from an old session, not confirmed yet, makes way. */
static struct kh_rendezvous_known *place(struct kh_rendezvous_client *client)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_MEMBERS_MAX; i++) {
        if (!client->known[i].used)
            return &client->known[i];
    }
    for (size_t i = 0; i < KH_RENDEZVOUS_MEMBERS_MAX; i++) {
        if (client->known[i].stale_until != KH_NEVER) {
            forget(client, &client->known[i]);
            return &client->known[i];
        }
    }
    return NULL;
}

static bool is_same(const struct kh_rendezvous_known *known,
                    const struct kh_rendezvous_change *change)
{
    return kh_addr_equal(&known->public, &change->public) && known->card_len == change->card.len &&
           memcmp(known->card, change->card.data, change->card.len) == 0;
}

static void apply_present(struct kh_rendezvous_client *client,
                          const struct kh_rendezvous_change *change)
{
    struct kh_rendezvous_known *known = find(client, &change->id);
    struct kh_rendezvous_client_event *event;

    if (known != NULL && is_same(known, change)) {
        known->stale_until = KH_NEVER;
        return;
    }
    if (known == NULL)
        known = place(client);
    if (known == NULL)
        return;
    known->used = true;
    known->id = change->id;
    known->public = change->public;
    known->stale_until = KH_NEVER;
    known->card_len = change->card.len;
    memcpy(known->card, change->card.data, change->card.len);
    event = kh_rendezvous_client_tell(client, KH_RENDEZVOUS_EVENT_MEMBER);
    event->id = known->id;
    event->public = known->public;
    event->data = known->card;
    event->len = known->card_len;
}

static void apply(struct kh_rendezvous_client *client, const struct kh_rendezvous_change *change)
{
    struct kh_rendezvous_known *known;

    if (kh_rendezvous_member_equal(&change->id, &client->config.member))
        return;
    if (change->present) {
        apply_present(client, change);
        return;
    }
    known = find(client, &change->id);
    if (known != NULL)
        forget(client, known);
}

void kh_rendezvous_members_handle_push(struct kh_rendezvous_client *client,
                                       const struct kh_stun_message *message)
{
    struct kh_rendezvous_change change;
    struct kh_stun_attribute attribute;
    uint64_t base;
    uint64_t version;
    size_t at = 0;

    if (!kh_stun_find_u64(message, KH_STUN_BASE_VERSION, &base) ||
        !kh_stun_find_u64(message, KH_STUN_ROOM_VERSION, &version)) {
        client->stats.dropped_malformed++;
        return;
    }
    client->stats.pushes_received++;
    /* A gap lies before it: our acknowledgement tells the server where we really are. */
    if (base > client->session.version || version <= client->session.version)
        return;
    while (kh_stun_next(message, &at, &attribute)) {
        struct kh_span value = {attribute.value, attribute.len};

        if (attribute.type != KH_STUN_CHANGE)
            continue;
        if (!kh_rendezvous_change_parse(value, &change))
            client->stats.dropped_malformed++;
        else if (change.version > client->session.version)
            apply(client, &change);
    }
    client->session.version = version;
}

void kh_rendezvous_members_doubt(struct kh_rendezvous_client *client, kh_time until)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_MEMBERS_MAX; i++)
        client->known[i].stale_until = until;
}

void kh_rendezvous_members_handle_timeout(struct kh_rendezvous_client *client, kh_time now)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_MEMBERS_MAX; i++) {
        struct kh_rendezvous_known *known = &client->known[i];

        if (known->used && known->stale_until <= now)
            forget(client, known);
    }
}

kh_time kh_rendezvous_members_timeout(const struct kh_rendezvous_client *client)
{
    kh_time timeout = KH_NEVER;

    for (size_t i = 0; i < KH_RENDEZVOUS_MEMBERS_MAX; i++) {
        if (client->known[i].used)
            timeout = kh_time_min(timeout, client->known[i].stale_until);
    }
    return timeout;
}
