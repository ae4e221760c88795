/* turn/permission.c - whose datagrams the server lets through to us (RFC 8656 9, 10).
 *
 * SPDX-License-Identifier: MIT
 *
 * One request for each IP, though one could name several: a server that refuses one of them would
 * refuse all, and not say which.  Only sending keeps a permission alive; whom we no longer speak
 * to cannot keep speaking to us.
 *
 * RFC 8656 9 has servers ignore the port, yet of its own IP a server may let us reach only the
 * ports it relays for.  So requests name a peer we mean, and a refusal holds for that port only.
 */
#include "turn/client.h"

#include <assert.h>

#define REFUSED_PAUSE KH_SECONDS(60)   /* before a refused IP may be asked for again */
#define EVICTABLE_AFTER KH_SECONDS(30) /* longer than ICE is silent towards a pair that lives */

static struct kh_addr ip_of(const struct kh_addr *peer)
{
    struct kh_addr ip = *peer;

    ip.port = 0;
    ip.scope = 0;
    ip.transport = KH_UDP;
    return ip;
}

struct kh_turn_permission *kh_turn_permission_find(struct kh_turn_client *client,
                                                   const struct kh_addr *peer)
{
    struct kh_addr ip = ip_of(peer);

    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        if (kh_addr_equal(&client->permissions[i].ip, &ip))
            return &client->permissions[i];
    }
    return NULL;
}

/* A free slot, or that of the IP not used for longest. */
static struct kh_turn_permission *find_room(struct kh_turn_client *client, kh_time now)
{
    struct kh_turn_permission *oldest = &client->permissions[0];

    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        struct kh_turn_permission *permission = &client->permissions[i];

        if (kh_addr_is_none(&permission->ip))
            return permission;
        if (permission->used_at < oldest->used_at)
            oldest = permission;
    }
    return kh_time_since(now, oldest->used_at) >= EVICTABLE_AFTER ? oldest : NULL;
}

static void enter(struct kh_turn_permission *permission, enum kh_turn_permission_state state,
                  kh_time refresh_at)
{
    permission->state = state;
    permission->refresh_at = refresh_at;
}

static void forget(struct kh_turn_permission *permission)
{
    *permission = (struct kh_turn_permission){0};
}

static void ask_for(struct kh_turn_client *client, kh_time now,
                    struct kh_turn_permission *permission, const struct kh_addr *peer)
{
    permission->peer = *peer;
    enter(permission, KH_TURN_PERMISSION_ASKED, KH_NEVER);
    kh_turn_ask_start(client, now, &permission->ask);
}

struct kh_turn_permission *kh_turn_permission_use(struct kh_turn_client *client, kh_time now,
                                                  const struct kh_addr *peer)
{
    struct kh_turn_permission *permission = kh_turn_permission_find(client, peer);

    assert(!kh_addr_is_none(peer));
    if (permission == NULL) {
        permission = find_room(client, now);
        if (permission == NULL)
            return NULL;
        *permission = (struct kh_turn_permission){.ip = ip_of(peer)};
        ask_for(client, now, permission, peer);
    } else if (permission->state == KH_TURN_PERMISSION_REFUSED &&
               permission->peer.port != peer->port) {
        ask_for(client, now, permission, peer);
    }
    if (permission->state == KH_TURN_PERMISSION_GRANTED)
        permission->peer = *peer; /* the one to name in the next refresh */
    permission->used_at = now;
    return permission;
}

void kh_turn_permission_refreshed(struct kh_turn_client *client, kh_time now,
                                  const struct kh_addr *peer)
{
    struct kh_turn_permission *permission = kh_turn_permission_find(client, peer);

    if (permission == NULL)
        return;
    kh_turn_ask_end(&permission->ask);
    enter(permission, KH_TURN_PERMISSION_GRANTED, kh_time_add(now, KH_TURN_PERMISSION_REFRESH));
}

static void take(struct kh_turn_client *client, kh_time now, struct kh_turn_permission *permission,
                 const struct kh_stun_message *message)
{
    struct kh_turn_event *event;
    unsigned code;
    enum kh_turn_verdict verdict = kh_turn_ask_judge(client, now, &permission->ask, message, &code);

    if (verdict == KH_TURN_SUCCESS) {
        enter(permission, KH_TURN_PERMISSION_GRANTED, kh_time_add(now, KH_TURN_PERMISSION_REFRESH));
    } else if (verdict == KH_TURN_ERROR && kh_turn_allocation_is_gone(code)) {
        if (kh_turn_allocation_missed(client, now, code))
            enter(permission, KH_TURN_PERMISSION_GRANTED, kh_time_add(now, KH_TURN_MOVE_TIME));
    } else if (verdict == KH_TURN_ERROR) {
        enter(permission, KH_TURN_PERMISSION_REFUSED, kh_time_add(now, REFUSED_PAUSE));
        event = kh_turn_client_tell(client, KH_TURN_EVENT_PEER_REFUSED);
        event->addr = permission->peer;
        event->code = code;
    }
}

bool kh_turn_permission_take(struct kh_turn_client *client, kh_time now,
                             const struct kh_stun_message *message)
{
    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        if (kh_turn_ask_matches(&client->permissions[i].ask, message)) {
            take(client, now, &client->permissions[i], message);
            return true;
        }
    }
    return false;
}

static void handle_timeout(struct kh_turn_client *client, kh_time now,
                           struct kh_turn_permission *permission)
{
    bool wanted = kh_time_since(now, permission->used_at) < KH_TURN_PERMISSION_REFRESH;
    bool silent = kh_turn_ask_handle_timeout(client, now, &permission->ask);

    if (!silent && (permission->ask.active || now < permission->refresh_at))
        return;
    if (wanted && permission->state != KH_TURN_PERMISSION_REFUSED)
        kh_turn_ask_start(client, now, &permission->ask);
    else
        forget(permission); /* the next datagram to it asks anew */
}

void kh_turn_permission_handle_timeout(struct kh_turn_client *client, kh_time now)
{
    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        if (!kh_addr_is_none(&client->permissions[i].ip))
            handle_timeout(client, now, &client->permissions[i]);
    }
}

bool kh_turn_permission_next_transmit(struct kh_turn_client *client, struct kh_datagram *out)
{
    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        struct kh_turn_permission *permission = &client->permissions[i];
        struct kh_stun_writer writer;

        if (kh_turn_ask_begin(client, &permission->ask, KH_STUN_CREATE_PERMISSION, &writer)) {
            kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &permission->peer);
            kh_turn_ask_finish(client, &permission->ask, &writer, out);
            return true;
        }
    }
    return false;
}

kh_time kh_turn_permission_timeout(const struct kh_turn_client *client)
{
    kh_time due = KH_NEVER;

    for (size_t i = 0; i < KH_TURN_PERMISSIONS_MAX; i++) {
        const struct kh_turn_permission *permission = &client->permissions[i];

        if (permission->ask.active)
            due = kh_time_min(due, kh_turn_ask_timeout(&permission->ask));
        else if (!kh_addr_is_none(&permission->ip))
            due = kh_time_min(due, permission->refresh_at);
    }
    return due;
}
