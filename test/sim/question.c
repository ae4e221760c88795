/* sim/question.c - what a scenario asks of the world: who knows, reaches and has heard whom.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "sim/inside.h"

struct kh_node_punch_stats sim_punches(const struct sim *sim, int member)
{
    return kh_node_stats(sim->members[member].node).punch;
}

int sim_member_count(const struct sim *sim)
{
    return sim->member_count;
}

bool sim_is_present(const struct sim *sim, int member)
{
    return sim->members[member].is_present;
}

bool sim_is_gone(const struct sim *sim, int member)
{
    return sim->members[member].node == NULL && sim->members[member].has_joined;
}

bool sim_has_joined(const struct sim *sim, int member)
{
    return sim->members[member].has_joined;
}

kh_time sim_joined_at(const struct sim *sim, int member)
{
    return sim->members[member].joined_at;
}

const struct sim_contact *sim_contact(const struct sim *sim, int member, int other)
{
    return &sim->members[member].contacts[other];
}

unsigned sim_warnings(const struct sim *sim, int member)
{
    return sim->members[member].warnings;
}

uint64_t sim_sent_to_relayed(const struct sim *sim, int member)
{
    return sim->members[member].to_relayed;
}

size_t sim_allocations(const struct sim *sim)
{
    return sim->hub == NULL ? 0 : kh_hub_stats(sim->hub).relay.allocations;
}

uint64_t sim_allocated(const struct sim *sim)
{
    return sim->hub == NULL ? 0 : kh_hub_stats(sim->hub).relay.allocated;
}

unsigned sim_said(const struct sim *sim, int member)
{
    return sim->members[member].said_count;
}

/* ---- what the nodes say themselves ---- */

static bool find(const struct sim *sim, int member, int other, struct kh_node_member *out)
{
    for (size_t n = 0; kh_node_member_at(sim->members[member].node, n, out); n++)
        if (memcmp(&out->id, &sim->members[other].id, sizeof(out->id)) == 0)
            return true;
    return false;
}

/* Asks about each ordered pair of members who are present. */
static bool for_all(struct sim *sim, bool (*question)(struct sim *, int, int))
{
    for (int a = 0; a < sim->member_count; a++)
        for (int b = 0; b < sim->member_count; b++)
            if (a != b && sim->members[a].is_present && sim->members[b].is_present &&
                !question(sim, a, b))
                return false;
    return true;
}

static bool has_met(struct sim *sim, int a, int b)
{
    struct kh_node_member member;

    return find(sim, a, b, &member);
}

static bool is_direct(struct sim *sim, int a, int b)
{
    struct kh_node_member member;

    return find(sim, a, b, &member) && member.has_path &&
           member.path.local_kind != KH_ICE_RELAYED && member.path.remote_kind != KH_ICE_RELAYED;
}

static bool is_open(struct sim *sim, int a, int b)
{
    struct kh_node_member member;

    return find(sim, a, b, &member) && member.has_path && member.open;
}

static bool is_at_its_best(struct sim *sim, int a, int b)
{
    return !sim_must_be_direct(sim, a, b) || (is_direct(sim, a, b) && is_open(sim, a, b));
}

static bool has_heard(struct sim *sim, int a, int b)
{
    return sim->members[a].contacts[b].heard == sim->members[b].said_count;
}

static bool has_delivered(struct sim *sim, int a, int b)
{
    struct kh_node_member member;

    return sim->members[a].contacts[b].delivered == sim->members[a].said_count &&
           find(sim, a, b, &member) && member.undelivered == 0;
}

bool sim_all_met(struct sim *sim)
{
    return for_all(sim, has_met);
}

bool sim_all_direct(struct sim *sim)
{
    return for_all(sim, is_direct);
}

bool sim_all_open(struct sim *sim)
{
    return for_all(sim, is_open);
}

bool sim_best_paths(struct sim *sim)
{
    return for_all(sim, is_at_its_best);
}

bool sim_all_heard(struct sim *sim)
{
    return for_all(sim, has_heard);
}

bool sim_all_delivered(struct sim *sim)
{
    return for_all(sim, has_heard) && for_all(sim, has_delivered);
}

void sim_explain(struct sim *sim)
{
    for (int a = 0; a < sim->member_count; a++) {
        for (int b = 0; b < sim->member_count; b++) {
            if (a == b || !sim->members[a].is_present || !sim->members[b].is_present)
                continue;
            sim_log(sim, "? %s to %s:%s%s%s%s%s%s", sim->members[a].name, sim->members[b].name,
                    has_met(sim, a, b) ? " met" : "", is_direct(sim, a, b) ? " direct" : "",
                    is_open(sim, a, b) ? " open" : "",
                    sim_must_be_direct(sim, a, b) ? " (must be)" : "",
                    has_heard(sim, a, b) ? "" : " has not heard all",
                    has_delivered(sim, a, b) ? "" : " has not delivered all");
        }
    }
}

/* ---- what physics allows ---- */

/* All boxes between a host and a realm further out, taken together. */
struct chain {
    bool is_empty;
    bool stops_udp;
    enum nat_rule mapping, filtering; /* the strictest of each */
};

static int realm_outside(const struct sim *sim, int realm)
{
    return net_realm_of_box(sim->net, realm);
}

static bool is_inside(const struct sim *sim, int realm, int ancestor)
{
    for (; realm != NET_INTERNET; realm = realm_outside(sim, realm))
        if (realm == ancestor)
            return true;
    return ancestor == NET_INTERNET;
}

static struct chain chain_to(const struct sim *sim, int realm, int ancestor)
{
    struct chain chain = {.is_empty = true};

    for (; realm != ancestor; realm = realm_outside(sim, realm)) {
        const struct nat_config *box = nat_config_of(net_nat(sim->net, realm));

        chain.is_empty = chain.is_empty && box->kind == NAT_KIND_OPEN;
        chain.stops_udp = chain.stops_udp || !net_box_passes(sim->net, realm, KH_UDP);
        if (box->mapping > chain.mapping)
            chain.mapping = box->mapping;
        if (box->filtering > chain.filtering)
            chain.filtering = box->filtering;
    }
    return chain;
}

/* Can the box that both are behind carry datagrams from one external address of it to another? */
static bool turns_well(const struct sim *sim, int realm)
{
    const struct nat_config *box = nat_config_of(net_nat(sim->net, realm));

    return box->kind != NAT_KIND_TRANSLATOR ||
           (box->hairpin == NAT_HAIRPIN_EXTERNAL && box->mapping == NAT_ENDPOINT_INDEPENDENT);
}

static bool has_family(const struct member *member, uint8_t family)
{
    for (size_t i = 0; i < member->addr_count; i++)
        if (member->addrs[i].family == family)
            return true;
    return false;
}

/* ---- what is known of NATs ---- */

/* What a card should say of the box before this member, if it is the only one. */
static bool is_right(const struct sim *sim, const struct member *member,
                     const struct kh_nat_class *class, bool all)
{
    static const enum kh_nat_ports ports[] = {[NAT_PORTS_PRESERVED] = KH_NAT_PORTS_PRESERVED,
                                              [NAT_PORTS_SEQUENTIAL] = KH_NAT_PORTS_SEQUENTIAL,
                                              [NAT_PORTS_RANDOM] = KH_NAT_PORTS_RANDOM,
                                              [NAT_PORTS_BLOCK] = KH_NAT_PORTS_BLOCK};
    const struct nat_config open = {.kind = NAT_KIND_OPEN};
    const struct nat_config *box =
        member->realm == NET_INTERNET ? &open : nat_config_of(net_nat(sim->net, member->realm));

    /* Both sides list the rules of RFC 4787 in its order, the node behind "unknown". */
    if ((unsigned)class->mapping != (unsigned)box->mapping + 1 ||
        class->translated != (box->kind == NAT_KIND_TRANSLATOR))
        return false;
    if (box->mapping != NAT_ENDPOINT_INDEPENDENT &&
        (class->ports != ports[box->ports] ||
         class->stride != (box->ports == NAT_PORTS_SEQUENTIAL ? (int)box->stride : 0)))
        return false;
    return !all || (unsigned)class->filtering == (unsigned)box->filtering + 1;
}

static bool are_known(struct sim *sim, bool all)
{
    for (int i = 0; i < sim->member_count; i++) {
        struct kh_node_member other;

        for (size_t n = 0;
             sim->members[i].node != NULL && kh_node_member_at(sim->members[i].node, n, &other);
             n++)
            for (int j = 0; j < sim->member_count; j++)
                if (memcmp(&other.id, &sim->members[j].id, sizeof other.id) == 0 &&
                    !is_right(sim, &sim->members[j], &other.nat, all))
                    return false;
    }
    return sim_all_met(sim);
}

bool sim_mappings_known(struct sim *sim)
{
    return are_known(sim, false);
}

bool sim_nats_known(struct sim *sim)
{
    return are_known(sim, true);
}

size_t sim_spare_sockets(const struct sim *sim, int member)
{
    return sim->members[member].sockets_open;
}

unsigned sim_nat_probes(const struct sim *sim, int member)
{
    return sim->members[member].nat_probes;
}

bool sim_must_be_direct(const struct sim *sim, int a, int b)
{
    const struct member *one = &sim->members[a], *two = &sim->members[b];
    int ancestor = one->realm;
    struct chain x, y;

    if (one->paths == KH_NODE_PATHS_RELAY || two->paths == KH_NODE_PATHS_RELAY)
        return false; /* may not, rather */
    while (!is_inside(sim, two->realm, ancestor))
        ancestor = realm_outside(sim, ancestor);
    x = chain_to(sim, one->realm, ancestor);
    y = chain_to(sim, two->realm, ancestor);
    if (x.stops_udp || y.stops_udp)
        return false; /* TCP may do, and may not */
    if (has_family(one, KH_FAMILY_IPV6) && has_family(two, KH_FAMILY_IPV6))
        return true; /* nothing is translated there, and any filter can be opened from inside */
    if (!has_family(one, KH_FAMILY_IPV4) || !has_family(two, KH_FAMILY_IPV4))
        return false;
    if (x.is_empty || y.is_empty)
        return true;
    if (ancestor != NET_INTERNET && !turns_well(sim, ancestor))
        return false;
    if (x.mapping == NAT_ENDPOINT_INDEPENDENT && y.mapping == NAT_ENDPOINT_INDEPENDENT)
        return true;
    /* The other side's port is a surprise: it must be allowed in, and is then peer-reflexive. */
    if (ancestor != NET_INTERNET)
        return false;
    return (x.mapping == NAT_ENDPOINT_INDEPENDENT && x.filtering <= NAT_ADDRESS_DEPENDENT) ||
           (y.mapping == NAT_ENDPOINT_INDEPENDENT && y.filtering <= NAT_ADDRESS_DEPENDENT);
}
