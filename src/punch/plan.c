/* punch/plan.c - what two NATs allow, as a table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "punch/punch.h"

#include <assert.h>
#include <string.h>

/* The columns of the table of hard NATs (docs/protocol/punching.md 1). */
enum kind {
    EASY,     /* mapping independent of the destination, filter open or by address */
    SHY,      /* the same, and a filter by address and port */
    BY_HOST,  /* one mapping for each address, which may answer from any port */
    COUNTING, /* a mapping for each destination, whose port can be foretold */
    BOXED,    /* … or lies in a block */
    DRAWING,  /* … or anywhere */
    KIND_COUNT,
    UNKNOWN = KIND_COUNT,
};

static bool is_countable(const struct kh_nat_class *class)
{
    return class->ports == KH_NAT_PORTS_PRESERVED || class->ports == KH_NAT_PORTS_SEQUENTIAL;
}

static enum kind kind_of(const struct kh_nat_class *class)
{
    bool lets_ports_in = class->filtering == KH_NAT_ENDPOINT_INDEPENDENT ||
                         class->filtering == KH_NAT_ADDRESS_DEPENDENT;

    if (class->mapping == KH_NAT_RULE_UNKNOWN)
        return UNKNOWN;
    if (class->mapping == KH_NAT_ENDPOINT_INDEPENDENT)
        return lets_ports_in ? EASY : SHY;
    /* Where the filter is not known, one that maps by address most likely filters so too. */
    if (class->mapping == KH_NAT_ADDRESS_DEPENDENT &&
        class->filtering != KH_NAT_ADDRESS_AND_PORT_DEPENDENT)
        return BY_HOST;
    if (is_countable(class))
        return COUNTING;
    return class->ports == KH_NAT_PORTS_BLOCK ? BOXED : DRAWING;
}

#define ICE KH_PUNCH_NONE
#define HOLD KH_PUNCH_HOLD
#define PROBE KH_PUNCH_PROBE
#define MEET KH_PUNCH_MEET
#define RELAY KH_PUNCH_HOPELESS

/* Rows: us; columns: the peer.  A holder needs a prober whose endpoint it knows (SHY), or has to
 * let any port of its address in and answer from the same mapping (BY_HOST). */
/* clang-format off */
static const enum kh_punch_role table[KIND_COUNT][KIND_COUNT] = {
    /*            EASY   SHY    BY_HOST COUNTING BOXED  DRAWING */
    [EASY]     = {ICE,   ICE,   ICE,    ICE,     ICE,   ICE},
    [SHY]      = {ICE,   ICE,   PROBE,  PROBE,   PROBE, PROBE},
    [BY_HOST]  = {ICE,   HOLD,  HOLD,   HOLD,    HOLD,  HOLD},
    [COUNTING] = {ICE,   HOLD,  PROBE,  MEET,    RELAY, RELAY},
    [BOXED]    = {ICE,   HOLD,  PROBE,  RELAY,   RELAY, RELAY},
    [DRAWING]  = {ICE,   HOLD,  PROBE,  RELAY,   RELAY, RELAY},
};
/* clang-format on */

/* The classes do not say.  A NAT that is not known may be the hard one: against a known hard one it
 * is taken for a shy one, against a shy one for a hard one.  Between two that are not known, or two
 * whose ordinary checks should have found a way and did not, they take turns. */
static enum kh_punch_role guess(enum kind ours, enum kind theirs)
{
    bool ours_is_hard = ours != UNKNOWN && ours >= BY_HOST;
    bool theirs_is_hard = theirs != UNKNOWN && theirs >= BY_HOST;

    if (ours_is_hard != theirs_is_hard)
        return ours_is_hard ? HOLD : PROBE;
    if (ours == UNKNOWN && theirs != UNKNOWN)
        return HOLD;
    return ours != UNKNOWN && theirs == UNKNOWN ? PROBE : HOLD;
}

static enum kh_punch_aim aim_at(const struct kh_nat_class *holder)
{
    if (holder->mapping != KH_NAT_RULE_UNKNOWN && is_countable(holder))
        return KH_PUNCH_FORETOLD;
    return holder->ports == KH_NAT_PORTS_BLOCK && holder->port_min >= KH_PUNCH_PORT_MIN
               ? KH_PUNCH_IN_BLOCK
               : KH_PUNCH_ANYWHERE;
}

static unsigned block_of(const struct kh_nat_class *class)
{
    assert(class->port_min <= class->port_max);
    return (unsigned)class->port_max - class->port_min + 1;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned part_of(unsigned whole, unsigned parts)
{
    return whole < parts ? 1 : whole / parts;
}

/* Of a prober whose NAT makes a mapping for each probe, never more than half of its block. */
static bool is_scarce(const struct kh_nat_class *prober)
{
    return prober->mapping != KH_NAT_ENDPOINT_INDEPENDENT && prober->ports == KH_NAT_PORTS_BLOCK;
}

static void count_sockets(const struct kh_nat_class *ours, const struct kh_nat_class *theirs,
                          struct kh_punch_plan *plan)
{
    if (plan->aim == KH_PUNCH_FORETOLD)
        plan->sockets = KH_PUNCH_SOCKETS_FORETOLD;
    else if (plan->aim == KH_PUNCH_IN_BLOCK)
        plan->sockets = least(KH_PUNCH_SOCKETS_BLOCK, part_of(block_of(ours), 4));
    else
        plan->sockets = is_scarce(theirs) ? KH_PUNCH_SOCKETS_SCARCE : KH_PUNCH_SOCKETS_ANYWHERE;
}

static void count_probes(const struct kh_nat_class *prober, const struct kh_nat_class *holder,
                         struct kh_punch_plan *plan)
{
    plan->port_min = KH_PUNCH_PORT_MIN;
    plan->port_max = UINT16_MAX;
    plan->probes = KH_PUNCH_PROBES_MAX;
    if (plan->aim == KH_PUNCH_IN_BLOCK) {
        plan->port_min = holder->port_min;
        plan->port_max = holder->port_max;
        plan->probes = least(plan->probes, 2 * block_of(holder));
    }
    plan->is_scarce = is_scarce(prober);
    if (plan->is_scarce)
        plan->probes = least(plan->probes, part_of(block_of(prober), 2));
}

void kh_punch_plan_probe(const struct kh_nat_class *ours, const struct kh_nat_class *theirs,
                         struct kh_punch_plan *out)
{
    *out = (struct kh_punch_plan){.role = PROBE, .aim = aim_at(theirs)};
    count_probes(ours, theirs, out);
}

void kh_punch_plan(const struct kh_nat_class *ours, const struct kh_nat_class *theirs,
                   bool is_larger, struct kh_punch_plan *out)
{
    enum kind us = kind_of(ours), them = kind_of(theirs);
    struct kh_punch_plan plan = {0};

    plan.is_guess = us == UNKNOWN || them == UNKNOWN || table[us][them] == ICE;
    plan.role = plan.is_guess ? guess(us, them) : table[us][them];
    /* Between equals the larger id holds; of a guess, first. */
    if (plan.role == HOLD && !is_larger && us == them && !plan.is_guess)
        plan.role = PROBE;
    plan.is_turned = plan.is_guess && plan.role == HOLD && !is_larger;
    if (plan.role == HOLD || plan.role == PROBE)
        plan.aim = aim_at(plan.role == HOLD ? ours : theirs);
    if (plan.role == HOLD) {
        count_sockets(ours, theirs, &plan);
        count_probes(theirs, ours, &plan);
    } else if (plan.role == PROBE) {
        count_probes(ours, theirs, &plan);
    } else if (plan.role == MEET) {
        plan.sockets = 2; /* one for a sample, one to meet with */
    }
    *out = plan;
}

const char *kh_punch_role_name(enum kh_punch_role role)
{
    switch (role) {
    case KH_PUNCH_NONE:
        return "checks";
    case KH_PUNCH_HOLD:
        return "holds ports for";
    case KH_PUNCH_PROBE:
        return "probes ports of";
    case KH_PUNCH_MEET:
        return "meets";
    case KH_PUNCH_HOPELESS:
        return "is relayed to";
    }
    return "?";
}
