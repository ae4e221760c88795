/* node/names.c - candidates of others whose address is a name that only their link knows.
 *
 * SPDX-License-Identifier: MIT
 *
 * Our owner asks the link, a few names at a time, and tells us what it heard; from then on these
 * are host candidates like others.  Whoever is not on the link learns nothing, and loses nothing.
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

#define ASKED_MAX 16 /* for one member in one stay: a card may change, but not for ever */
/* For all members, who may come again as others: each question is heard by the whole link. */
#define BURST 64
#define PERIOD KH_SECONDS(5)

static bool is_same(const struct kh_room_named *a, const struct kh_room_named *b)
{
    return a->family == b->family && a->port == b->port && strcmp(a->host, b->host) == 0;
}

void kh_node_names_follow(struct kh_node_neighbour *neighbour, const struct kh_room_card *card)
{
    for (size_t i = 0; i < KH_ROOM_NAMED_MAX; i++)
        if (i >= card->named_count || i >= neighbour->card.named_count ||
            !is_same(&card->named[i], &neighbour->card.named[i]))
            neighbour->names[i] = (struct kh_node_name){.is_asked = false};
    kh_node_names_repeat(neighbour);
}

void kh_node_names_repeat(struct kh_node_neighbour *neighbour)
{
    for (size_t i = 0; i < KH_ROOM_NAMED_MAX; i++)
        neighbour->names[i].given = 0;
}

/* ---- asking ---- */

static struct kh_node_question *find_question(struct kh_node *node, const char *name,
                                              enum kh_family family)
{
    for (size_t i = 0; i < KH_NODE_QUESTIONS_MAX; i++) {
        struct kh_node_question *question = &node->questions[i];

        if (question->in_use && question->family == family && strcmp(question->name, name) == 0)
            return question;
    }
    return NULL;
}

static bool may_ask(struct kh_node *node)
{
    kh_time from = node->names_until > node->now ? node->names_until : node->now;

    if (kh_time_since(from, node->now) >= BURST * PERIOD)
        return false;
    node->names_until = kh_time_add(from, PERIOD);
    return true;
}

/* False if as many as we may ask at a time, or lately, are asked; one question serves all who have
 * the name. */
static bool ask(struct kh_node *node, const struct kh_room_named *named)
{
    if (find_question(node, named->host, named->family) != NULL)
        return true;
    for (size_t i = 0; i < KH_NODE_QUESTIONS_MAX; i++) {
        struct kh_node_question *question = &node->questions[i];
        struct kh_node_slot *slot;

        if (question->in_use)
            continue;
        if (!may_ask(node))
            return false;
        *question = (struct kh_node_question){.in_use = true, .family = named->family};
        memcpy(question->name, named->host, sizeof question->name);
        slot = kh_node_emit(node, KH_NODE_EVENT_NAME, NULL);
        slot->event.family = named->family;
        memcpy(slot->text, named->host, sizeof named->host);
        return true;
    }
    return false;
}

bool kh_node_names_step(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    static_assert(WARNING_MAX > KH_TEXT_LOCAL_NAME_MAX, "a name fits where a warning does");
    if (node->paths == KH_NODE_PATHS_RELAY)
        return false; /* asking would tell the link whom we talk to, for nothing */
    for (size_t i = 0; i < neighbour->card.named_count; i++) {
        struct kh_node_name *name = &neighbour->names[i];

        if (name->is_asked || neighbour->names_asked == ASKED_MAX)
            continue;
        if (!ask(node, &neighbour->card.named[i]))
            return false; /* again when one is answered, or something else happens later */
        name->is_asked = true;
        neighbour->names_asked++;
        return true;
    }
    return false;
}

void kh_node_names_answer(struct kh_node *node, const char *name, enum kh_family family,
                          const struct kh_addr *addrs, size_t count)
{
    struct kh_node_question *question = find_question(node, name, family);

    assert(question != NULL);
    question->in_use = false;
    for (size_t n = 0; n < node->neighbour_count; n++) {
        struct kh_node_neighbour *neighbour = node->neighbours[n];

        for (size_t i = 0; i < neighbour->card.named_count; i++) {
            const struct kh_room_named *named = &neighbour->card.named[i];
            struct kh_node_name *found = &neighbour->names[i];

            if (!found->is_asked || named->family != family || strcmp(named->host, name) != 0)
                continue;
            found->count = count < KH_NODE_NAME_ADDRS_MAX ? count : KH_NODE_NAME_ADDRS_MAX;
            for (size_t a = 0; a < found->count; a++) /* memcpy wants an address even of nothing */
                found->addrs[a] = addrs[a];
            found->given = 0; /* who has the same name may have asked later, and heard another */
        }
    }
}

/* ---- using ---- */

bool kh_node_names_give(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    for (size_t i = 0; i < neighbour->card.named_count; i++) {
        struct kh_node_name *name = &neighbour->names[i];
        struct kh_ice_candidate candidate = {.kind = KH_ICE_HOST};

        if (name->given == name->count)
            continue;
        candidate.addr = name->addrs[name->given++];
        candidate.addr.port = neighbour->card.named[i].port;
        if (!kh_node_make_reachable(node, &candidate.addr))
            return true;
        kh_node_stash_peer(node, neighbour->peer);
        if (kh_peer_add_remote(neighbour->peer, node->now, &candidate) != KH_OK)
            kh_log_line(&node->log, KH_LOG_DEBUG, "node candidate refused");
        return true;
    }
    return false;
}

/* ---- our own ---- */

bool kh_node_names_hide(const struct kh_node *node, const struct kh_ice_candidate *candidate)
{
    return node->local_name[0] != '\0' && candidate->kind == KH_ICE_HOST &&
           kh_addr_reach(&candidate->addr) == KH_REACH_PRIVATE;
}

/* One for each family: a name stands for all addresses of the machine, behind which is one port. */
size_t kh_node_names_list(const struct kh_node *node,
                          struct kh_room_named out[static KH_ROOM_NAMED_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < LOCALS_MAX; i++) {
        const struct kh_ice_candidate *candidate = &node->locals[i].candidate;
        struct kh_room_named named = {.family = candidate->addr.family,
                                      .port = candidate->addr.port};

        memcpy(named.host, node->local_name, sizeof named.host);
        if (!node->locals[i].in_use || candidate->addr.transport != KH_UDP ||
            !kh_node_names_hide(node, candidate) || node->paths == KH_NODE_PATHS_RELAY ||
            (count > 0 && is_same(&out[count - 1], &named)) || count == KH_ROOM_NAMED_MAX)
            continue;
        out[count++] = named;
    }
    return count;
}
