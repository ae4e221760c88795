/* relay/peers.c - whom one allocation may talk to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/peers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"

#define PERMISSIONS_FIRST 4 /* most clients talk to the few addresses of one peer */
#define CHANNELS_FIRST 2

void kh_relay_peers_fini(struct kh_relay_peers *peers)
{
    free(peers->permissions);
    free(peers->by_ip);
    free(peers->channels);
    free(peers->by_peer);
    free(peers->by_number);
    *peers = (struct kh_relay_peers){0};
}

static struct kh_addr ip_of(const struct kh_addr *addr)
{
    struct kh_addr ip = *addr;

    ip.port = 0;
    return ip;
}

static size_t hash_of(const struct kh_relay_peers *peers, const struct kh_addr *addr, size_t max)
{
    return (size_t)kh_siphash(peers->hash_key, addr, sizeof *addr) & (2 * max - 1);
}

static void index_add(uint16_t *slots, size_t max, size_t at, size_t entry)
{
    while (slots[at] != 0)
        at = (at + 1) & (2 * max - 1);
    slots[at] = (uint16_t)(entry + 1);
}

static void index_permissions(struct kh_relay_peers *peers)
{
    memset(peers->by_ip, 0, 2 * peers->permission_max * sizeof *peers->by_ip);
    for (size_t i = 0; i < peers->permission_count; i++)
        index_add(peers->by_ip, peers->permission_max,
                  hash_of(peers, &peers->permissions[i].peer, peers->permission_max), i);
}

static void index_channels(struct kh_relay_peers *peers)
{
    size_t max = peers->channel_max;

    memset(peers->by_peer, 0, 2 * max * sizeof *peers->by_peer);
    memset(peers->by_number, 0, 2 * max * sizeof *peers->by_number);
    for (size_t i = 0; i < peers->channel_count; i++) {
        index_add(peers->by_peer, max, hash_of(peers, &peers->channels[i].peer, max), i);
        index_add(peers->by_number, max, peers->channels[i].number & (2 * max - 1), i);
    }
}

struct kh_relay_permission *kh_relay_peers_find(const struct kh_relay_peers *peers,
                                                const struct kh_addr *peer)
{
    struct kh_addr ip = ip_of(peer);
    size_t mask = 2 * peers->permission_max - 1;

    if (peers->permission_count == 0)
        return NULL;
    for (size_t at = hash_of(peers, &ip, peers->permission_max); peers->by_ip[at] != 0;
         at = (at + 1) & mask) {
        struct kh_relay_permission *found = &peers->permissions[peers->by_ip[at] - 1];

        if (kh_addr_equal(&found->peer, &ip))
            return found;
    }
    return NULL;
}

struct kh_relay_channel *kh_relay_peers_find_channel(const struct kh_relay_peers *peers,
                                                     const struct kh_addr *peer)
{
    size_t mask = 2 * peers->channel_max - 1;

    if (peers->channel_count == 0)
        return NULL;
    for (size_t at = hash_of(peers, peer, peers->channel_max); peers->by_peer[at] != 0;
         at = (at + 1) & mask) {
        struct kh_relay_channel *found = &peers->channels[peers->by_peer[at] - 1];

        if (kh_addr_equal(&found->peer, peer))
            return found;
    }
    return NULL;
}

struct kh_relay_channel *kh_relay_peers_find_number(const struct kh_relay_peers *peers,
                                                    uint16_t number)
{
    size_t mask = 2 * peers->channel_max - 1;

    if (peers->channel_count == 0)
        return NULL;
    for (size_t at = number & mask; peers->by_number[at] != 0; at = (at + 1) & mask) {
        struct kh_relay_channel *found = &peers->channels[peers->by_number[at] - 1];

        if (found->number == number)
            return found;
    }
    return NULL;
}

static void forget_expired(struct kh_relay_peers *peers, kh_time now)
{
    size_t kept = 0;

    for (size_t i = 0; i < peers->permission_count; i++) {
        if (peers->permissions[i].until > now)
            peers->permissions[kept++] = peers->permissions[i];
    }
    peers->permission_count = kept;
    kept = 0;
    for (size_t i = 0; i < peers->channel_count; i++) {
        if (peers->channels[i].until > now)
            peers->channels[kept++] = peers->channels[i];
    }
    peers->channel_count = kept;
}

/* Gives the smallest power of two from `max` on that holds `need`. */
static size_t grown(size_t max, size_t first, size_t need)
{
    if (max == 0)
        max = first;
    while (max < need)
        max *= 2;
    return max;
}

/* What is here already counts as well, though it may only have grown in part. */
static bool grow_permissions(struct kh_relay_peers *peers, size_t need)
{
    size_t max = grown(peers->permission_max, PERMISSIONS_FIRST, need);
    struct kh_relay_permission *entries;
    uint16_t *by_ip;

    if (max == peers->permission_max)
        return true;
    entries = realloc(peers->permissions, max * sizeof *entries);
    if (entries == NULL)
        return false;
    peers->permissions = entries;
    by_ip = realloc(peers->by_ip, 2 * max * sizeof *by_ip);
    if (by_ip == NULL)
        return false;
    peers->by_ip = by_ip;
    peers->permission_max = max;
    return true;
}

static bool grow_channels(struct kh_relay_peers *peers, size_t need)
{
    size_t max = grown(peers->channel_max, CHANNELS_FIRST, need);
    struct kh_relay_channel *entries;
    uint16_t *slots;

    if (max == peers->channel_max)
        return true;
    entries = realloc(peers->channels, max * sizeof *entries);
    if (entries == NULL)
        return false;
    peers->channels = entries;
    slots = realloc(peers->by_peer, 2 * max * sizeof *slots);
    if (slots == NULL)
        return false;
    peers->by_peer = slots;
    slots = realloc(peers->by_number, 2 * max * sizeof *slots);
    if (slots == NULL)
        return false;
    peers->by_number = slots;
    peers->channel_max = max;
    return true;
}

bool kh_relay_peers_make_room(struct kh_relay_peers *peers, kh_time now, size_t permissions,
                              size_t channels)
{
    bool ok;

    forget_expired(peers, now);
    permissions += peers->permission_count;
    channels += peers->channel_count;
    ok = permissions <= KH_RELAY_PEERS_MAX && channels <= KH_RELAY_PEERS_MAX &&
         (permissions == 0 || grow_permissions(peers, permissions)) &&
         (channels == 0 || grow_channels(peers, channels));
    if (peers->permission_max > 0)
        index_permissions(peers);
    if (peers->channel_max > 0)
        index_channels(peers);
    return ok;
}

void kh_relay_peers_permit(struct kh_relay_peers *peers, const struct kh_relay_permission *entry)
{
    struct kh_relay_permission *found = kh_relay_peers_find(peers, &entry->peer);

    if (found == NULL) {
        assert(peers->permission_count < peers->permission_max);
        found = &peers->permissions[peers->permission_count++];
        *found = *entry;
        found->peer = ip_of(&entry->peer);
        index_permissions(peers);
    }
    found->inside = entry->inside;
    found->until = entry->until;
    for (size_t i = 0; i < peers->channel_count; i++) {
        if (kh_addr_ip_equal(&peers->channels[i].peer, &entry->peer))
            peers->channels[i].permitted_until = entry->until;
    }
}

void kh_relay_peers_bind(struct kh_relay_peers *peers, const struct kh_relay_channel *entry)
{
    struct kh_relay_channel *found = kh_relay_peers_find_number(peers, entry->number);
    struct kh_relay_permission permission = {entry->peer, entry->inside, entry->permitted_until};

    assert(found == NULL || kh_addr_equal(&found->peer, &entry->peer));
    if (found == NULL) {
        assert(peers->channel_count < peers->channel_max);
        peers->channels[peers->channel_count++] = *entry;
        index_channels(peers);
    } else {
        *found = *entry;
    }
    kh_relay_peers_permit(peers, &permission);
}
