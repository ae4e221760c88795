/* node/classify.c - finds out what the NAT in front of us does, for the others to know.
 *
 * SPDX-License-Identifier: MIT
 *
 * Where the server sees us anew, in an address it has not seen us in before, a quick discovery
 * (nat/discovery.h) asks it from the main socket and a few spare ones.  What it finds goes into our
 * card: once when mapping and ports are known, one round trip later, and once when the filter is.
 */
#include "node/inside.h"

#include <assert.h>

#define PAUSE KH_SECONDS(10) /* between two, whatever the network does */
#define SPARES (KH_NAT_SOCKETS_QUICK - 1)

static bool is_same_network(const struct kh_node_view *a, const struct kh_node_view *b)
{
    return kh_addr_ip_equal(&a->mapped, &b->mapped) && kh_addr_equal(&a->local, &b->local);
}

void kh_node_classify_aim(struct kh_node *node, const struct kh_node_view *view)
{
    struct kh_node_classify *classify = &node->classify;

    if (node->paths == KH_NODE_PATHS_RELAY || view->server.transport != KH_UDP ||
        view->server.family != KH_FAMILY_IPV4 || view->mapped.port == 0 ||
        is_same_network(&classify->view, view))
        return;
    classify->view = *view;
    classify->shown = KH_NAT_RULE_UNKNOWN;
    classify->is_due = true;
}

/* Did what passes along this path cross our NAT, from the main socket to another address? */
static bool shows_mapping(const struct kh_node *node, const struct kh_ice_path *path)
{
    const struct kh_node_view *view = &node->classify.view;

    return kh_addr_equal(&path->local, &view->local) && path->remote.transport == KH_UDP &&
           path->remote.family == KH_FAMILY_IPV4 &&
           kh_addr_reach(&path->remote) == KH_REACH_GLOBAL &&
           !kh_addr_ip_equal(&path->remote, &view->server) &&
           !kh_addr_ip_equal(&path->remote, &view->mapped);
}

void kh_node_classify_learn(struct kh_node *node, const struct kh_ice_path *path)
{
    struct kh_nat_class *nat = &node->nat;

    if (!nat->translated || nat->mapping != KH_NAT_RULE_UNKNOWN || !nat->not_by_port ||
        !shows_mapping(node, path))
        return;
    /* The peer sees us where the server does, or elsewhere. */
    if (path->local_kind == KH_ICE_SERVER_REFLEXIVE)
        nat->mapping = KH_NAT_ENDPOINT_INDEPENDENT;
    else if (path->local_kind == KH_ICE_PEER_REFLEXIVE)
        nat->mapping = KH_NAT_ADDRESS_DEPENDENT;
    else
        return;
    node->classify.shown = nat->mapping;
    node->card_due = true;
    kh_log_line(&node->log, KH_LOG_INFO, "node nat mapping=%s, as a peer sees it",
                kh_nat_rule_name(nat->mapping));
}

/* ---- one discovery ---- */

static void end(struct kh_node *node)
{
    struct kh_node_classify *classify = &node->classify;

    kh_nat_discovery_free(classify->discovery);
    classify->discovery = NULL;
    for (size_t i = 0; i < classify->spare_count; i++)
        kh_node_sockets_spend(node, classify->spares[i]);
    classify->spare_count = 0;
}

static void tell(struct kh_node *node)
{
    struct kh_nat_class found;

    kh_nat_discovery_class(node->classify.discovery, &found);
    if (found.mapping == KH_NAT_RULE_UNKNOWN && found.not_by_port)
        found.mapping = node->classify.shown;
    if (kh_nat_class_equal(&found, &node->nat))
        return;
    node->nat = found;
    node->card_due = true;
    kh_log_line(&node->log, KH_LOG_INFO, "node nat translated=%d mapping=%s filtering=%s ports=%s",
                found.translated, kh_nat_rule_name(found.mapping),
                kh_nat_rule_name(found.filtering), kh_nat_ports_name(found.ports));
}

static void take_outputs(struct kh_node *node)
{
    struct kh_node_classify *classify = &node->classify;
    struct kh_datagram datagram;

    while (kh_nat_discovery_next_transmit(classify->discovery, &datagram))
        kh_outbox_push(&node->outbox, &datagram);
    if (!classify->is_mapping_told && kh_nat_discovery_has_mapping(classify->discovery)) {
        classify->is_mapping_told = true;
        tell(node);
    }
    if (kh_nat_discovery_is_done(classify->discovery)) {
        tell(node);
        end(node);
    }
}

static void begin(struct kh_node *node)
{
    struct kh_node_classify *classify = &node->classify;
    struct kh_nat_discovery_config config = {.server = classify->view.server,
                                             .quick = true,
                                             .mapped = classify->view.mapped,
                                             .other = classify->view.other,
                                             .socket_count = 1 + classify->spare_count};

    for (size_t i = 0; i < config.socket_count; i++) {
        config.sockets[i] = classify->view.local;
        if (i > 0)
            config.sockets[i].port = classify->spares[i - 1];
    }
    kh_rng_bytes(&node->rng, config.seed, sizeof config.seed);
    classify->is_mapping_told = false;
    classify->not_before = kh_time_add(node->now, PAUSE);
    if (kh_nat_discovery_new(&classify->discovery, &config) == KH_OK) {
        kh_nat_discovery_start(classify->discovery, node->now);
        take_outputs(node);
    } else {
        classify->discovery = NULL;
        end(node);
    }
    kh_wipe(&config, sizeof config);
}

/* ---- the node's steps ---- */

static bool is_free_to_begin(const struct kh_node *node)
{
    return node->classify.is_due && node->life == LIFE_STAYING && node->classify.discovery == NULL;
}

bool kh_node_classify_step(struct kh_node *node)
{
    struct kh_node_classify *classify = &node->classify;

    if (classify->discovery != NULL && node->life != LIFE_STAYING) {
        end(node);
        return true;
    }
    if (classify->has_wished) {
        if (!kh_node_sockets_take(node, KH_NODE_FOR_SAMPLES, classify->spares,
                                  &classify->spare_count))
            return false;
        classify->has_wished = false;
        if (node->life == LIFE_STAYING)
            begin(node);
        else
            end(node);
        return true;
    }
    if (!is_free_to_begin(node) || node->now < classify->not_before ||
        !kh_node_sockets_want(node, KH_NODE_FOR_SAMPLES, SPARES))
        return false;
    classify->is_due = false;
    classify->has_wished = true;
    return true;
}

bool kh_node_classify_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram)
{
    struct kh_node_classify *classify = &node->classify;

    if (classify->discovery == NULL ||
        !kh_nat_discovery_handle_datagram(classify->discovery, node->now, datagram))
        return false;
    take_outputs(node);
    return true;
}

void kh_node_classify_handle_timeout(struct kh_node *node)
{
    struct kh_node_classify *classify = &node->classify;

    if (classify->discovery == NULL || kh_nat_discovery_timeout(classify->discovery) > node->now)
        return;
    kh_nat_discovery_handle_timeout(classify->discovery, node->now);
    take_outputs(node);
}

kh_time kh_node_classify_timeout(const struct kh_node *node)
{
    const struct kh_node_classify *classify = &node->classify;

    if (classify->discovery != NULL)
        return kh_nat_discovery_timeout(classify->discovery);
    return is_free_to_begin(node) && !classify->has_wished && node->now < classify->not_before
               ? classify->not_before
               : KH_NEVER;
}
