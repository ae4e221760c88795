/* node/punch.c - with whom to punch, and when: the guards.
 *
 * SPDX-License-Identifier: MIT
 *
 * One punch at a time, a rest after each, and after failures a longer and longer wait for that
 * neighbour.  The holder begins, since it is the one who asks for datagrams: the prober sends none
 * to ports that were not asked for by a sealed word of the neighbour they belong to.
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

#define GUESS_AFTER KH_SECONDS(2)   /* ordinary checks have found by then what they can */
#define TURNED_AFTER KH_SECONDS(20) /* the other side's guess is over by then */
#define GUESSES_MAX 2               /* more of the same teaches nothing */
/* The filter is not known: should it be an open one, ordinary checks are faster than this. */
#define UNSURE_AFTER KH_MILLISECONDS(150)
/* So much may be sent in advance: eight full punches in a row, some forty of usual length. */
#define CREDIT (7 * KH_PUNCH_PROBES_MAX * KH_NODE_PUNCH_COST)
#define PROOFS_MAX 20 /* asked for: at each of the five words of four punches */
#define LAST_FOR KH_SECONDS(2)
#define WORD_GOOD_FOR KH_SECONDS(10) /* then the holder is about to close */
/* A busy NAT counted on: take a new sample at once.  Or the prober had few probes: they cost its
 * block nothing more when they are repeated, and meet new mappings. */
#define RETRY_SOON KH_MILLISECONDS(300)
#define SOON_MAX 3
#define RETRY_FIRST KH_SECONDS(30) /* what was drawn by chance is likely to have been possible */
#define RETRY_DOUBLINGS 5          /* to a quarter of an hour */

static bool is_direct(const struct kh_node_neighbour *neighbour)
{
    const struct kh_ice_path *path = neighbour->peer == NULL ? NULL : kh_peer_path(neighbour->peer);

    return path != NULL && path->local_kind != KH_ICE_RELAYED &&
           path->remote_kind != KH_ICE_RELAYED;
}

static bool is_there(const struct kh_node_neighbour *neighbour)
{
    return neighbour->peer != NULL && neighbour->given.credentials && neighbour->room.present;
}

static struct kh_punch_plan plan_with(const struct kh_node *node,
                                      const struct kh_node_neighbour *neighbour)
{
    struct kh_punch_plan plan;

    kh_punch_plan(&node->nat, &neighbour->card.nat,
                  memcmp(&node->id, &neighbour->id, sizeof node->id) > 0, &plan);
    return plan;
}

static bool is_asked(const struct kh_node *node, const struct kh_node_neighbour *neighbour,
                     enum kh_punch_word word)
{
    const struct kh_node_punch_view *view = &neighbour->punch;

    return view->asked_at != 0 && view->asked.word == word &&
           kh_time_since(node->now, view->asked_at) < WORD_GOOD_FOR;
}

/* ---- when ---- */

static kh_time later(kh_time a, kh_time b)
{
    return a > b ? a : b;
}

static kh_duration delay_of(const struct kh_node_neighbour *neighbour,
                            const struct kh_punch_plan *plan)
{
    if (plan->is_guess)
        return plan->is_turned ? TURNED_AFTER : GUESS_AFTER;
    if (plan->role == KH_PUNCH_HOLD && neighbour->card.nat.filtering == KH_NAT_RULE_UNKNOWN &&
        neighbour->card.nat.mapping == KH_NAT_ENDPOINT_INDEPENDENT)
        return UNSURE_AFTER;
    return 0;
}

/* When we may begin with this neighbour of our own accord; KH_NEVER: not as things are. */
static kh_time ready_at(const struct kh_node_neighbour *neighbour, const struct kh_punch_plan *plan)
{
    kh_time at;

    if (plan->role != KH_PUNCH_HOLD && plan->role != KH_PUNCH_MEET)
        return KH_NEVER;
    if (plan->is_guess && neighbour->punch.failures >= GUESSES_MAX)
        return KH_NEVER;
    at = kh_time_add(neighbour->punch.since, delay_of(neighbour, plan));
    return later(at, neighbour->punch.not_before);
}

static bool may_punch(const struct kh_node *node)
{
    return !node->punch.is_off && node->paths != KH_NODE_PATHS_RELAY && node->life == LIFE_STAYING;
}

/* True if it asked for something that we should do now; then the plan is to do that. */
static bool follow(const struct kh_node *node, const struct kh_node_neighbour *neighbour,
                   struct kh_punch_plan *plan)
{
    if (is_asked(node, neighbour, KH_PUNCH_WORD_MEET))
        return plan->role == KH_PUNCH_MEET;
    if (!is_asked(node, neighbour, KH_PUNCH_WORD_HOLD) ||
        (plan->role != KH_PUNCH_PROBE && !plan->is_guess))
        return false;
    kh_punch_plan_probe(&node->nat, &neighbour->card.nat, plan);
    return true;
}

/* Neighbours come and go, and one may be many: what all of them make us send has a limit, too. */
static kh_time affordable_at(const struct kh_node *node)
{
    kh_time paid = node->punch.paid_until;

    return paid > CREDIT ? paid - CREDIT : 0;
}

/* When a punch with this neighbour is due, by its wish or ours; KH_NEVER: not as things are. */
static kh_time due_at(const struct kh_node *node, const struct kh_node_neighbour *neighbour,
                      struct kh_punch_plan *plan, struct kh_addr *target)
{
    struct kh_addr base, ours;
    kh_time at;
    bool is_sure = kh_node_place_of(neighbour, target);

    if (neighbour->punch.since == 0 || !is_there(neighbour) || is_direct(neighbour) ||
        !kh_node_own_place(node, &base, &ours))
        return KH_NEVER;
    *plan = plan_with(node, neighbour);
    /* Who holds sends where the card says and nowhere else, as any check does. */
    if (!is_sure && (plan->role != KH_PUNCH_HOLD || !kh_node_named_place_of(neighbour, target)))
        return KH_NEVER;
    if (kh_addr_ip_equal(&ours, target))
        return KH_NEVER; /* behind one NAT: whatever we hold there, it would have to come back in */
    if (!is_sure || !follow(node, neighbour, plan))
        at = ready_at(neighbour, plan);
    else /* who holds in good faith waits after a failure as long as we do, and is here first */
        at = plan->role == KH_PUNCH_PROBE ? neighbour->punch.not_before : node->now;
    return later(at, later(node->punch.rest_until, affordable_at(node)));
}

/* ---- what is told ---- */

void kh_node_punch_joined(struct kh_node *node, const struct kh_addr *server)
{
    struct kh_addr *ours = &node->punch.server;

    if (server->family == KH_FAMILY_IPV4 && server->transport == KH_UDP) {
        *ours = *server;
        return;
    }
    for (size_t i = 0; i < node->server_count && kh_addr_is_none(ours); i++)
        if (node->servers[i].family == KH_FAMILY_IPV4 && node->servers[i].transport == KH_UDP)
            *ours = node->servers[i];
}

void kh_node_punch_hear(struct kh_node *node, const struct kh_room_member_id *from,
                        struct kh_span word)
{
    struct kh_node_neighbour *neighbour = kh_node_find_neighbour(node, from);
    struct kh_punch_message message;

    if (neighbour == NULL || kh_punch_message_parse(word, &message) != KH_OK)
        return;
    if (node->punch.phase == PUNCH_RUNS && memcmp(&node->punch.with, from, sizeof *from) == 0)
        return; /* said again; we do it already */
    neighbour->punch.asked = message;
    neighbour->punch.asked_at = node->now;
    neighbour->punch.proof_due = true;
}

/* ---- one after the other ---- */

/* Notes who is here without a direct path, since when; and begins anew with whoever lost one. */
static void watch(struct kh_node *node)
{
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];
        struct kh_node_punch_view *view = &neighbour->punch;

        if (!is_there(neighbour) || is_direct(neighbour))
            *view =
                (struct kh_node_punch_view){.asked = view->asked,
                                            .asked_at = is_there(neighbour) ? 0 : view->asked_at,
                                            .walk = view->walk};
        else if (view->since == 0)
            view->since = node->now;
    }
}

static void fail(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    const struct kh_punch_plan *plan = &node->punch.plan;
    struct kh_node_punch_view *view = &neighbour->punch;
    bool is_soon = view->failures < SOON_MAX && (plan->aim == KH_PUNCH_FORETOLD || plan->is_scarce);
    unsigned doublings = view->failures < RETRY_DOUBLINGS ? view->failures : RETRY_DOUBLINGS;

    view->failures++;
    view->not_before = kh_time_add(node->now, is_soon ? RETRY_SOON : RETRY_FIRST << doublings);
}

/* For a moment the two sides may disagree: one has a direct path, the other nominates a relayed
 * one, and its check of the direct one is still on its way to a socket of ours. */
static bool has_lasted(const struct kh_node *node)
{
    return node->punch.direct_since != 0 &&
           kh_time_since(node->now, node->punch.direct_since) >= LAST_FOR;
}

/* Goes on with the punch under way, or ends it if there is nothing left to be won. */
static bool step_running(struct kh_node *node)
{
    struct kh_node_neighbour *neighbour = kh_node_find_neighbour(node, &node->punch.with);

    if (node->punch.phase == PUNCH_RESTS || kh_node_knock_is_waiting_for_sockets(node))
        return false;
    if (neighbour == NULL || !is_direct(neighbour))
        node->punch.direct_since = 0;
    else if (node->punch.direct_since == 0)
        node->punch.direct_since = node->now;
    if (neighbour == NULL || !is_there(neighbour) || !may_punch(node)) {
        kh_node_knock_end(node, neighbour);
    } else if (is_direct(neighbour)) {
        if (!has_lasted(node))
            return false;
        node->punch.stats.succeeded++;
        kh_node_knock_end(node, neighbour);
    } else if (kh_node_knock_is_over(node)) {
        fail(node, neighbour);
        kh_node_knock_end(node, neighbour);
    } else {
        return kh_node_knock_step(node, neighbour);
    }
    return true;
}

static bool step_begin(struct kh_node *node)
{
    if (node->punch.phase != PUNCH_RESTS || !may_punch(node))
        return false;
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];
        struct kh_punch_plan plan;
        struct kh_addr target;

        if (due_at(node, neighbour, &plan, &target) > node->now)
            continue;
        kh_node_knock_begin(node, neighbour, &plan, &target);
        return true;
    }
    return false;
}

static bool step_proof(struct kh_node *node)
{
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_node_neighbour *neighbour = node->neighbours[i];

        if (!neighbour->punch.proof_due || !is_there(neighbour))
            continue;
        neighbour->punch.proof_due = false;
        if (may_punch(node) && !is_direct(neighbour) && neighbour->punch.proofs < PROOFS_MAX &&
            kh_node_ask_for_proof(node, neighbour))
            neighbour->punch.proofs++;
        return true;
    }
    return false;
}

bool kh_node_punch_step(struct kh_node *node)
{
    watch(node);
    return step_proof(node) || step_running(node) || kh_node_knock_sweep(node) || step_begin(node);
}

kh_time kh_node_punch_timeout(const struct kh_node *node)
{
    kh_time at = KH_NEVER;

    if (node->punch.phase != PUNCH_RESTS)
        return node->punch.direct_since != 0 ? kh_time_add(node->punch.direct_since, LAST_FOR)
                                             : kh_node_knock_timeout(node);
    at = kh_node_knock_sweep_at(node);
    if (!may_punch(node))
        return at;
    for (size_t i = 0; i < node->neighbour_count; i++) {
        struct kh_punch_plan plan;
        struct kh_addr target;

        at = kh_time_min(at, due_at(node, node->neighbours[i], &plan, &target));
    }
    return at;
}
