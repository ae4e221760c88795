/* runtime/prepare.h - from what a program asks for to what a node is made of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RUNTIME_PREPARE_H
#define KH_RUNTIME_PREPARE_H

#include "knothole/knothole.h"
#include "node/node.h"
#include "runtime/state.h"

/* Opens the state directory and fills in all but the servers' addresses and the log.  The caller
 * wipes *node, also after a failure, which is one sentence in why. */
enum kh_runtime_result kh_runtime_prepare(const struct kh_runtime_config *config,
                                          struct kh_runtime_state *state,
                                          struct kh_room_server *server,
                                          struct kh_node_config *node, char *why);

#endif
