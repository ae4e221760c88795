/* runtime/prepare.c - reads the link and the names, and finds out who we are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/prepare.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "io/entropy.h"

static enum kh_runtime_result check_names(const struct kh_runtime_config *config, char *why)
{
    size_t len = strlen(config->name);

    if (len == 0 || len > KH_RUNTIME_NAME_MAX || !kh_text_is_name(config->name, len)) {
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE,
                       "a name is 1 to %d bytes of UTF-8 without characters that cannot be seen",
                       KH_RUNTIME_NAME_MAX);
        return KH_RUNTIME_BAD_NAME;
    }
    if (config->local_name != NULL &&
        !kh_text_is_local_name(config->local_name, strlen(config->local_name))) {
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE, "a local name looks like my-machine.local");
        return KH_RUNTIME_BAD_NAME;
    }
    return KH_RUNTIME_OK;
}

enum kh_runtime_result kh_runtime_prepare(const struct kh_runtime_config *config,
                                          struct kh_runtime_state *state,
                                          struct kh_room_server *server,
                                          struct kh_node_config *node, char *why)
{
    struct kh_room_link link;
    struct kh_secret fresh;
    bool done;

    if (check_names(config, why) != KH_RUNTIME_OK)
        return KH_RUNTIME_BAD_NAME;
    if (kh_runtime_check_link(config->link, why) != KH_RUNTIME_OK ||
        kh_room_link_parse(config->link, &link) != KH_OK)
        return KH_RUNTIME_BAD_LINK;
    *server = link.server;
    memcpy(node->secret, link.secret, sizeof node->secret);
    kh_wipe(&link, sizeof link);
    (void)snprintf(node->name, sizeof node->name, "%s", config->name);
    if (config->local_name != NULL)
        (void)snprintf(node->local_name, sizeof node->local_name, "%s", config->local_name);
    static_assert((int)KH_RUNTIME_PATHS_DIRECT == (int)KH_NODE_PATHS_DIRECT &&
                      (int)KH_RUNTIME_PATHS_RELAY == (int)KH_NODE_PATHS_RELAY,
                  "the public words are those of node");
    node->paths = (enum kh_node_paths)config->paths;
    node->no_punching = config->no_punching;
    kh_io_entropy_fill(node->seed, sizeof node->seed);
    kh_io_entropy_fill(fresh.bytes, sizeof fresh.bytes);
    done = kh_runtime_state_open(state, config->state_dir, why) &&
           kh_runtime_state_identity(state, &fresh, &node->identity, why);
    kh_wipe(&fresh, sizeof fresh);
    if (!done)
        return KH_RUNTIME_NO_STATE;
    kh_runtime_state_load_ticket(state, server, &node->ticket);
    return KH_RUNTIME_OK;
}
