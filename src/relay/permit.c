/* relay/permit.c - CreatePermission and ChannelBind (RFC 8656 9, 10 and 12).
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/machine.h"

#define PERMISSION_LIFETIME KH_SECONDS(300) /* RFC 8656 9 */
#define CHANNEL_LIFETIME KH_SECONDS(600)    /* RFC 8656 12 */

/* Judges a peer that a client names; 0 or an error.  *inside: it is one of our own. */
static unsigned check_peer(const struct kh_relay *relay, struct kh_relay_allocation *allocation,
                           const struct kh_addr *peer, bool *inside)
{
    struct kh_relay_way *way = kh_relay_way_find(allocation, peer->family);
    struct kh_relay_allocation *owner = NULL;
    struct kh_addr relayed = {0};
    enum kh_relay_verdict verdict;

    if (way != NULL)
        relayed = kh_relay_way_external(relay, way);
    verdict = kh_relay_guard_judge(&relay->config, &relayed, peer);
    *inside = verdict == KH_RELAY_PEER_OWN;
    if (verdict == KH_RELAY_PEER_DENIED)
        return KH_RELAY_FORBIDDEN;
    /* Of our own addresses only relayed ones can be talked to, and not one's own. */
    if (*inside && !relay->config.allow_private_peers &&
        (kh_relay_way_inside(relay, peer, &owner) == NULL || owner == allocation))
        return KH_RELAY_FORBIDDEN;
    return way == NULL ? KH_RELAY_FAMILY_MISMATCH : 0;
}

static void answer_success(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    struct kh_stun_writer writer = kh_relay_answer_begin(relay, caller, KH_STUN_SUCCESS);

    kh_relay_answer_end(relay, caller, &writer);
}

/* Counts the peers, all of which must be fine: RFC 8656 10.2 installs all or none.  0 or an error.
 */
static unsigned check_peers(const struct kh_relay *relay, const struct kh_relay_caller *caller,
                            size_t *count)
{
    struct kh_stun_attribute attribute;
    struct kh_addr peer;
    size_t at = 0;
    bool inside;

    *count = 0;
    while (kh_stun_next(caller->message, &at, &attribute)) {
        unsigned error;

        if (attribute.type != KH_STUN_XOR_PEER_ADDRESS)
            continue;
        /* Not found: malformed, or behind the integrity that would have to cover it. */
        if (!kh_stun_find_addr_nth(caller->message, KH_STUN_XOR_PEER_ADDRESS, *count, &peer))
            return KH_RELAY_BAD_REQUEST;
        error = check_peer(relay, caller->allocation, &peer, &inside);
        if (error != 0)
            return error;
        if (++*count > KH_RELAY_PEERS_MAX)
            return KH_RELAY_NO_CAPACITY;
    }
    return *count == 0 ? KH_RELAY_BAD_REQUEST : 0;
}

void kh_relay_create_permission(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    struct kh_relay_permission permission = {.until = relay->now + PERMISSION_LIFETIME};
    size_t count = 0;
    unsigned error = check_peers(relay, caller, &count);

    if (error == 0 && !kh_relay_peers_make_room(&caller->allocation->peers, relay->now, count, 0))
        error = KH_RELAY_NO_CAPACITY;
    if (error != 0) {
        kh_relay_refuse(relay, caller, error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!kh_stun_find_addr_nth(caller->message, KH_STUN_XOR_PEER_ADDRESS, i, &permission.peer))
            break;
        (void)check_peer(relay, caller->allocation, &permission.peer, &permission.inside);
        kh_relay_peers_permit(&caller->allocation->peers, &permission);
    }
    answer_success(relay, caller);
}

/* Reads number and peer; 0 or an error. */
static unsigned read_binding(const struct kh_relay *relay, const struct kh_relay_caller *caller,
                             struct kh_relay_channel *out)
{
    uint32_t number;

    if (!kh_stun_find_u32(caller->message, KH_STUN_CHANNEL_NUMBER, &number) ||
        !kh_stun_find_addr(caller->message, KH_STUN_XOR_PEER_ADDRESS, &out->peer))
        return KH_RELAY_BAD_REQUEST;
    out->number = (uint16_t)(number >> 16);
    if (out->number < KH_RELAY_CHANNEL_MIN || out->number > KH_RELAY_CHANNEL_MAX)
        return KH_RELAY_BAD_REQUEST;
    return check_peer(relay, caller->allocation, &out->peer, &out->inside);
}

void kh_relay_channel_bind(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    struct kh_relay_peers *peers = &caller->allocation->peers;
    struct kh_relay_channel channel = {.until = relay->now + CHANNEL_LIFETIME,
                                       .permitted_until = relay->now + PERMISSION_LIFETIME};
    unsigned error = read_binding(relay, caller, &channel);
    const struct kh_relay_channel *by_number;
    const struct kh_relay_channel *by_peer;

    if (error == 0 && !kh_relay_peers_make_room(peers, relay->now, 1, 1))
        error = KH_RELAY_NO_CAPACITY;
    if (error != 0) {
        kh_relay_refuse(relay, caller, error);
        return;
    }
    by_number = kh_relay_peers_find_number(peers, channel.number);
    by_peer = kh_relay_peers_find_channel(peers, &channel.peer);
    /* RFC 8656 12.2: number and peer are bound to each other or both are free. */
    if (by_number != by_peer) {
        kh_relay_refuse(relay, caller, KH_RELAY_BAD_REQUEST);
        return;
    }
    kh_relay_peers_bind(peers, &channel);
    answer_success(relay, caller);
}
