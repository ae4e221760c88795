/* node/tcp.c - reaching the others by TCP: when it is worth it, and where our port is seen.
 *
 * SPDX-License-Identifier: MIT
 *
 * Our owner listens by TCP on the port numbers of our addresses and connects from them, so each
 * host candidate has a twin.  Twins are told only when somebody needs them: we joined by a stream,
 * so our UDP is blocked; somebody's card tells TCP candidates, so its is; or a direct path is not
 * found in time.  Then the server is asked, along a connection from that very port, where it sees
 * it: through most NATs others meet us there when both sides connect at once (RFC 6544 4.1).
 */
#include "node/inside.h"

#include <assert.h>

#define PATIENCE KH_SECONDS(3) /* to meet somebody directly by UDP */
#define PERIOD                                                                                     \
    KH_SECONDS(60) /* keeps the mapping: RFC 5382 REQ-5 has two hours, boxes have less             \
                    */
#define RETRY KH_SECONDS(5)

bool kh_node_tcp_is_base(const struct kh_node *node, const struct kh_addr *addr)
{
    struct kh_addr twin = *addr;
    bool can = addr->family == KH_FAMILY_IPV4 ? node->tcp.ipv4 : node->tcp.ipv6;

    twin.transport = KH_UDP;
    return addr->transport == KH_TCP && node->tcp.is_used && can && kh_node_is_host(node, &twin);
}

static bool may_use(const struct kh_node *node)
{
    return (node->tcp.ipv4 || node->tcp.ipv6) && node->paths != KH_NODE_PATHS_RELAY &&
           node->life <= LIFE_STAYING;
}

void kh_node_tcp_use(struct kh_node *node)
{
    if (node->tcp.is_used || !may_use(node))
        return;
    kh_log_line(&node->log, KH_LOG_INFO, "node tells its TCP candidates");
    node->tcp.is_used = true;
    node->tcp.ask_at = node->now;
    node->card_due = kh_node_update_locals(node) || node->card_due;
}

void kh_node_tcp_follow(struct kh_node *node, const struct kh_room_card *card)
{
    for (size_t i = 0; i < card->candidate_count; i++)
        if (card->candidates[i].addr.transport == KH_TCP)
            kh_node_tcp_use(node);
}

/* ---- who needs it ---- */

/* When we are tired of waiting for a direct path to it; KH_NEVER: there is one, by UDP. */
static kh_time patience_with(const struct kh_node_neighbour *neighbour)
{
    const struct kh_ice_path *path = neighbour->peer == NULL ? NULL : kh_peer_path(neighbour->peer);

    if (path != NULL && path->remote.transport == KH_UDP && path->local_kind != KH_ICE_RELAYED &&
        path->remote_kind != KH_ICE_RELAYED)
        return KH_NEVER;
    return kh_time_add(neighbour->met_at, PATIENCE);
}

static kh_time patience(const struct kh_node *node)
{
    kh_time at = KH_NEVER;

    for (size_t i = 0; i < node->neighbour_count; i++)
        at = kh_time_min(at, patience_with(node->neighbours[i]));
    return at;
}

/* Somebody may yet meet us there: nobody does by UDP, or this one does not. */
static bool is_needed(const struct kh_node *node)
{
    return node->mapped.transport != KH_UDP || patience(node) != KH_NEVER;
}

/* ---- where the server sees our port ---- */

static const struct kh_addr *find_server(const struct kh_node *node)
{
    for (size_t i = 0; i < node->server_count; i++)
        if (node->servers[i].transport == KH_TCP && node->servers[i].family == KH_FAMILY_IPV4)
            return &node->servers[i];
    return NULL;
}

/* Our IPv4 port, at whatever interface leads to the server. */
static bool find_port(const struct kh_node *node, struct kh_addr *out)
{
    for (size_t i = 0; i < node->addr_count; i++) {
        *out = node->addrs[i];
        out->transport = KH_TCP;
        if (out->family != KH_FAMILY_IPV4 || !kh_node_tcp_is_base(node, out))
            continue;
        *out = kh_addr_ipv4(0, 0, 0, 0, out->port);
        out->transport = KH_TCP;
        return true;
    }
    return false;
}

static void ask(struct kh_node *node)
{
    static const struct kh_stun_timing once = {
        .rto = KH_SECONDS(10), .attempts_max = 1, .last_wait = 1}; /* RFC 8489 6.2.2 */
    const struct kh_addr *server = find_server(node);
    struct kh_datagram way = {.data = NULL};

    node->tcp.ask_at = kh_time_add(node->now, PERIOD);
    if (server == NULL || !is_needed(node) || !find_port(node, &way.from))
        return;
    way.to = *server;
    kh_node_ask_mapped(node, &node->tcp.transaction, &once, way);
}

bool kh_node_tcp_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram)
{
    struct kh_node_tcp *tcp = &node->tcp;
    struct kh_stun_message message;
    struct kh_addr mapped;

    if (kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK ||
        !kh_stun_transaction_matches(&tcp->transaction, datagram, &message))
        return false;
    kh_stun_transaction_end(&tcp->transaction);
    if (message.class != KH_STUN_SUCCESS || node->life != LIFE_STAYING ||
        !kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped))
        return true;
    mapped.transport = KH_TCP;
    if (kh_addr_equal(&mapped, &tcp->mapped) && kh_addr_equal(&datagram->to, &tcp->base))
        return true;
    tcp->mapped = mapped;
    tcp->base = datagram->to;
    kh_node_update_locals(node);
    node->card_due = true;
    return true;
}

void kh_node_tcp_handle_lost(struct kh_node *node, const struct kh_addr *remote)
{
    const struct kh_addr *server = find_server(node);

    if (!node->tcp.is_used || server == NULL || !kh_addr_equal(server, remote))
        return;
    kh_stun_transaction_end(&node->tcp.transaction);
    if (!kh_addr_is_none(&node->tcp.mapped)) /* else it is in the way of TCP, and stays there */
        node->tcp.ask_at = kh_time_add(node->now, RETRY);
}

/* ---- time ---- */

void kh_node_tcp_handle_timeout(struct kh_node *node)
{
    struct kh_node_tcp *tcp = &node->tcp;

    if (node->life != LIFE_STAYING)
        return;
    if (!tcp->is_used && patience(node) <= node->now)
        kh_node_tcp_use(node);
    if (!tcp->is_used)
        return;
    if (kh_stun_transaction_timeout(&tcp->transaction) <= node->now)
        kh_stun_transaction_handle_timeout(&tcp->transaction, node->now);
    if (tcp->ask_at <= node->now)
        ask(node);
}

kh_time kh_node_tcp_timeout(const struct kh_node *node)
{
    if (node->life != LIFE_STAYING || !may_use(node))
        return KH_NEVER;
    if (!node->tcp.is_used)
        return patience(node);
    return kh_time_min(node->tcp.ask_at, kh_stun_transaction_timeout(&node->tcp.transaction));
}
