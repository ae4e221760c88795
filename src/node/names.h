/* node/names.h - candidates of others whose address is a name that only their link knows.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_NAMES_H
#define KH_NODE_NAMES_H

#include "base/text.h"
#include "ice/ice.h"
#include "room/room.h"

struct kh_node;
struct kh_node_neighbour;

#define KH_NODE_NAME_ADDRS_MAX 2 /* of one name: a machine on two links has two */
#define KH_NODE_QUESTIONS_MAX 4  /* about names at a time */

struct kh_node_name {
    bool is_asked;
    struct kh_addr addrs[KH_NODE_NAME_ADDRS_MAX];
    size_t count;
    size_t given; /* of them, to the peer */
};

struct kh_node_question {
    bool in_use;
    char name[KH_TEXT_LOCAL_NAME_MAX + 1];
    enum kh_family family;
};

/* A newer card is about to replace the neighbour's. */
void kh_node_names_follow(struct kh_node_neighbour *neighbour, const struct kh_room_card *card);
void kh_node_names_repeat(struct kh_node_neighbour *neighbour); /* its peer knows none of them */
bool kh_node_names_step(struct kh_node *node, struct kh_node_neighbour *neighbour);
void kh_node_names_answer(struct kh_node *node, const char *name, enum kh_family family,
                          const struct kh_addr *addrs, size_t count);
bool kh_node_names_give(struct kh_node *node, struct kh_node_neighbour *neighbour);
/* Is our name told instead of this candidate? */
bool kh_node_names_hide(const struct kh_node *node, const struct kh_ice_candidate *candidate);
size_t kh_node_names_list(const struct kh_node *node,
                          struct kh_room_named out[static KH_ROOM_NAMED_MAX]);

#endif
