/* relay/peers.h - whom one allocation may talk to: permissions by IP, channels by number.
 *
 * SPDX-License-Identifier: MIT
 *
 * Entries lie in arrays that grow; open-addressing indices find them.  An index is rebuilt at each
 * change, which happens at the pace of requests, so that nothing is ever marked as removed.
 */
#ifndef KH_RELAY_PEERS_H
#define KH_RELAY_PEERS_H

#include "base/addr.h"
#include "base/time.h"

#define KH_RELAY_PEERS_MAX 256 /* four addresses of each member of a full room; a power of two */

/* RFC 8656 12 ends at 0x4fff, for RFC 7983's sake.  Clients of its predecessor RFC 5766, coturn's
 * among them, take any up to 0x7fff, and nothing else at our port begins with these bytes. */
#define KH_RELAY_CHANNEL_MIN 0x4000
#define KH_RELAY_CHANNEL_MAX 0x7fff

struct kh_relay_permission {
    struct kh_addr peer; /* its port is 0: RFC 8656 9 */
    bool inside;         /* one of our own relayed addresses: never handed to the system */
    kh_time until;
};

struct kh_relay_channel {
    struct kh_addr peer;
    uint16_t number;
    bool inside;
    kh_time until;
    kh_time permitted_until; /* as the permission for this IP, so that one look-up tells both */
};

struct kh_relay_peers {
    const uint8_t *hash_key;                 /* borrowed: 16 bytes */
    struct kh_relay_permission *permissions; /* owned */
    uint16_t *by_ip;                         /* owned; index + 1, or 0; twice as many as entries */
    size_t permission_count;
    size_t permission_max;
    struct kh_relay_channel *channels; /* owned */
    uint16_t *by_peer;                 /* owned */
    uint16_t *by_number;               /* owned */
    size_t channel_count;
    size_t channel_max;
};

void kh_relay_peers_fini(struct kh_relay_peers *peers);

/* Finds a permission, living or expired, for this IP. */
struct kh_relay_permission *kh_relay_peers_find(const struct kh_relay_peers *peers,
                                                const struct kh_addr *peer);
struct kh_relay_channel *kh_relay_peers_find_channel(const struct kh_relay_peers *peers,
                                                     const struct kh_addr *peer);
struct kh_relay_channel *kh_relay_peers_find_number(const struct kh_relay_peers *peers,
                                                    uint16_t number);

/* Makes room for that many more, dropping what expired.  False if the limit or memory forbids. */
bool kh_relay_peers_make_room(struct kh_relay_peers *peers, kh_time now, size_t permissions,
                              size_t channels);

/* Both need the room made before, and renew what is there.  entry->peer is the key; a channel
 * renews the permission of its IP too. */
void kh_relay_peers_permit(struct kh_relay_peers *peers, const struct kh_relay_permission *entry);
void kh_relay_peers_bind(struct kh_relay_peers *peers, const struct kh_relay_channel *entry);

#endif
