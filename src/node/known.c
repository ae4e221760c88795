/* node/known.c - which name came with which key, and who said goodbye.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

void kh_node_remember_departed(struct kh_node *node, const struct kh_room_member_id *id)
{
    if (kh_node_is_departed(node, id))
        return;
    node->departed[node->departed_next] = *id;
    node->departed_next = (node->departed_next + 1) % DEPARTED_MAX;
}

bool kh_node_is_departed(const struct kh_node *node, const struct kh_room_member_id *id)
{
    for (size_t i = 0; i < DEPARTED_MAX; i++)
        if (memcmp(&node->departed[i], id, sizeof *id) == 0)
            return true;
    return false;
}

bool kh_node_pin_name(struct kh_node *node, const char *name,
                      const uint8_t identity[static KH_KEY_LEN])
{
    bool is_taken = false;
    struct kh_node_known *known;

    assert(strlen(name) <= KH_ROOM_NAME_MAX);
    if (name[0] == '\0')
        return false;
    for (size_t i = 0; i < KNOWN_MAX; i++) {
        if (strcmp(node->known[i].name, name) != 0)
            continue;
        if (memcmp(node->known[i].identity, identity, KH_KEY_LEN) == 0)
            return false;
        is_taken = true;
    }
    known = &node->known[node->known_next];
    node->known_next = (node->known_next + 1) % KNOWN_MAX;
    memcpy(known->name, name, strlen(name) + 1);
    memcpy(known->identity, identity, KH_KEY_LEN);
    return is_taken;
}

const char *kh_node_name_of(const struct kh_node *node, const uint8_t identity[static KH_KEY_LEN])
{
    for (size_t i = 1; i <= KNOWN_MAX; i++) {
        size_t at = (node->known_next + KNOWN_MAX - i) % KNOWN_MAX; /* the latest first */

        if (node->known[at].name[0] != '\0' &&
            memcmp(node->known[at].identity, identity, KH_KEY_LEN) == 0)
            return node->known[at].name;
    }
    return "";
}
