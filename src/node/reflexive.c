/* node/reflexive.c - where the server sees us by the family that we do not speak with it.
 *
 * SPDX-License-Identifier: MIT
 *
 * The join tells one mapped address: of the family it went by.  A member with both families needs
 * the other one too, or it and a member that has only that one behind a NAT cannot meet.  A plain
 * Binding request (RFC 8489) to another address of the server asks for it, and asking again keeps
 * the mapping alive.
 */
#include "node/inside.h"

#include <assert.h>

#define PERIOD KH_SECONDS(20) /* under NATs' 30 s, as the rendezvous has it */

static bool has_family(const struct kh_node *node, uint8_t family)
{
    for (size_t i = 0; i < node->addr_count; i++)
        if (node->addrs[i].family == family)
            return true;
    return false;
}

void kh_node_reflexive_aim(struct kh_node *node, const struct kh_addr *joined)
{
    struct kh_node_reflexive *reflexive = &node->reflexive;
    struct kh_addr other = {0};

    for (size_t i = node->server_count; i > 0; i--)
        if (node->servers[i - 1].family != joined->family &&
            node->servers[i - 1].transport == KH_UDP)
            other = node->servers[i - 1];
    reflexive->ask_at = kh_addr_is_none(&other) ? KH_NEVER : node->now;
    if (kh_addr_equal(&reflexive->server, &other))
        return;
    kh_stun_transaction_end(&reflexive->transaction);
    reflexive->server = other;
    reflexive->mapped = reflexive->base = (struct kh_addr){0};
}

void kh_node_reflexive_hurry(struct kh_node *node)
{
    if (!kh_addr_is_none(&node->reflexive.server))
        node->reflexive.ask_at = node->now;
}

void kh_node_ask_mapped(struct kh_node *node, struct kh_stun_transaction *transaction,
                        const struct kh_stun_timing *timing, struct kh_datagram way)
{
    uint8_t id[KH_STUN_ID_LEN], data[64]; /* a header and a fingerprint */
    struct kh_stun_writer writer;

    kh_rng_bytes(&node->rng, id, sizeof id);
    writer = kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    kh_stun_add_fingerprint(&writer);
    way.data = data;
    way.len = kh_stun_finish(&writer);
    assert(way.len > 0);
    kh_stun_transaction_start(transaction, node->now, timing, &way);
}

static void ask(struct kh_node *node)
{
    struct kh_node_reflexive *reflexive = &node->reflexive;

    reflexive->ask_at = kh_time_add(node->now, PERIOD);
    if (!has_family(node, reflexive->server.family))
        return;
    kh_node_ask_mapped(node, &reflexive->transaction, NULL,
                       (struct kh_datagram){.to = reflexive->server});
}

void kh_node_reflexive_handle_timeout(struct kh_node *node)
{
    struct kh_node_reflexive *reflexive = &node->reflexive;

    if (node->life != LIFE_STAYING)
        return;
    if (kh_stun_transaction_timeout(&reflexive->transaction) <= node->now)
        kh_stun_transaction_handle_timeout(&reflexive->transaction, node->now);
    if (reflexive->ask_at <= node->now)
        ask(node);
}

/* A server with two addresses names it in each answer. */
static struct kh_addr other_place(const struct kh_stun_message *message)
{
    struct kh_addr other;

    return kh_stun_find_addr(message, KH_STUN_OTHER_ADDRESS, &other) ? other : (struct kh_addr){0};
}

bool kh_node_reflexive_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram)
{
    struct kh_node_reflexive *reflexive = &node->reflexive;
    struct kh_stun_message message;
    struct kh_addr mapped;

    if (kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK ||
        !kh_stun_transaction_matches(&reflexive->transaction, datagram, &message))
        return false;
    kh_stun_transaction_end(&reflexive->transaction);
    if (message.class != KH_STUN_SUCCESS || node->life != LIFE_STAYING ||
        !kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped) ||
        (kh_addr_equal(&mapped, &reflexive->mapped) &&
         kh_addr_equal(&datagram->to, &reflexive->base)))
        return true;
    reflexive->mapped = mapped;
    reflexive->base = datagram->to;
    kh_node_update_locals(node);
    node->card_due = true;
    kh_node_classify_aim(node, &(struct kh_node_view){.server = reflexive->server,
                                                      .local = reflexive->base,
                                                      .mapped = mapped,
                                                      .other = other_place(&message)});
    return true;
}

kh_time kh_node_reflexive_timeout(const struct kh_node *node)
{
    if (node->life != LIFE_STAYING)
        return KH_NEVER;
    return kh_time_min(node->reflexive.ask_at,
                       kh_stun_transaction_timeout(&node->reflexive.transaction));
}
