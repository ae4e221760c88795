/* relay/guard.c - to which addresses nobody may be relayed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/guard.h"

#include <string.h>

#define EMBEDDED_MAX 2 /* Teredo holds its server and its client */

/* How an IPv6 prefix embeds IPv4 addresses: at which bytes. */
struct embedding {
    uint8_t prefix[6];
    uint8_t prefix_len; /* in bytes */
    uint8_t at;
    uint8_t flip; /* XORed to each byte */
};

/* IPv4-mapped addresses are IPv4 already (base/addr.h). */
static const struct embedding embeddings[] = {
    {{0x20, 0x02}, 2, 2, 0},                          /* 6to4, RFC 3056 2 */
    {{0x00, 0x64, 0xff, 0x9b, 0, 0}, 6, 12, 0},       /* NAT64, RFC 6052 2.1 */
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 6, 12, 0}, /* RFC 8215, by a /96 of its /48 */
    {{0x20, 0x01, 0x00, 0x00}, 4, 4, 0},              /* Teredo's server, RFC 4380 4 */
    {{0x20, 0x01, 0x00, 0x00}, 4, 12, 0xff},          /* Teredo's client */
};

static size_t find_embedded(const struct kh_addr *addr, struct kh_addr out[static EMBEDDED_MAX])
{
    static const uint8_t isatap[4] = {0x00, 0x00, 0x5e, 0xfe}; /* RFC 5214 6.1 */
    size_t count = 0;

    for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++) {
        const struct embedding *each = &embeddings[i];
        uint8_t ip[4];

        if (memcmp(addr->ip, each->prefix, each->prefix_len) != 0)
            continue;
        for (size_t byte = 0; byte < sizeof ip; byte++)
            ip[byte] = addr->ip[each->at + byte] ^ each->flip;
        out[count++] = kh_addr_from_ip(KH_FAMILY_IPV4, ip, addr->port);
    }
    /* The bit that says "global" may be set in ISATAP's identifier. */
    if (count == 0 && (addr->ip[8] & 0xfd) == 0 && memcmp(addr->ip + 9, isatap + 1, 3) == 0)
        out[count++] = kh_addr_from_ip(KH_FAMILY_IPV4, addr->ip + 12, addr->port);
    return count;
}

/* What base/ calls global but no peer in the Internet has. */
static enum kh_addr_reach reach_of(const struct kh_addr *addr)
{
    static const uint8_t local_nat64[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01};
    enum kh_addr_reach reach = kh_addr_reach(addr);

    if (reach != KH_REACH_GLOBAL)
        return reach;
    if (addr->family == KH_FAMILY_IPV4) /* RFC 6890: 192.0.0.0/24 is for a network's own use */
        return addr->ip[0] == 192 && addr->ip[1] == 0 && addr->ip[2] == 0 ? KH_REACH_PRIVATE
                                                                          : reach;
    if (addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0xc0)
        return KH_REACH_PRIVATE; /* RFC 3879: site-local, deprecated and perhaps still in use */
    if (memcmp(addr->ip, local_nat64, sizeof local_nat64) == 0)
        return KH_REACH_PRIVATE; /* RFC 8215: translates to whatever the network wishes */
    /* RFC 4291 2.4 reserves ::/8.  IPv4-compatible (::a.b.c.d) and IPv4-translated
     * (::ffff:0:a.b.c.d) addresses lie there, and nobody lives there but NAT64. */
    if (addr->ip[0] == 0 && !(addr->ip[1] == 0x64 && addr->ip[2] == 0xff && addr->ip[3] == 0x9b))
        return KH_REACH_UNSPECIFIED;
    return reach;
}

static bool is_reach_denied(const struct kh_relay_config *config, const struct kh_addr *relayed,
                            const struct kh_addr *peer)
{
    switch (reach_of(peer)) {
    case KH_REACH_GLOBAL:
        return false;
    case KH_REACH_PRIVATE:
        return !config->allow_private_peers;
    case KH_REACH_LOOPBACK:
        /* A lab on one machine; on a private network loopback stays this host's own. */
        return !config->allow_private_peers || kh_addr_reach(relayed) != KH_REACH_LOOPBACK;
    case KH_REACH_UNSPECIFIED:
    case KH_REACH_LINK_LOCAL:
    case KH_REACH_MULTICAST:
        return true;
    }
    return true;
}

static bool is_own(const struct kh_relay_config *config, const struct kh_addr *peer)
{
    for (size_t i = 0; i < config->address_count; i++) {
        if (kh_addr_ip_equal(peer, &config->addresses[i].local) ||
            kh_addr_ip_equal(peer, &config->addresses[i].external))
            return true;
    }
    for (size_t i = 0; i < config->own_count; i++) {
        if (kh_addr_ip_equal(peer, &config->own[i]))
            return true;
    }
    return false;
}

static bool is_own_port(const struct kh_relay_config *config, const struct kh_addr *peer)
{
    for (size_t i = 0; i < config->own_count; i++) {
        if (kh_addr_equal(peer, &config->own[i]))
            return true;
    }
    return false;
}

enum kh_relay_verdict kh_relay_guard_judge(const struct kh_relay_config *config,
                                           const struct kh_addr *relayed,
                                           const struct kh_addr *peer)
{
    struct kh_addr embedded[EMBEDDED_MAX];
    size_t count = 0;

    if (peer->family == KH_FAMILY_IPV6)
        count = find_embedded(peer, embedded);
    for (size_t i = 0; i < count; i++) {
        if (is_reach_denied(config, relayed, &embedded[i]) || is_own(config, &embedded[i]))
            return KH_RELAY_PEER_DENIED;
    }
    if (is_reach_denied(config, relayed, peer) || is_own_port(config, peer))
        return KH_RELAY_PEER_DENIED;
    return is_own(config, peer) ? KH_RELAY_PEER_OWN : KH_RELAY_PEER_FINE;
}
