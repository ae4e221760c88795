/* runtime/state.h - what a member keeps between runs: identity, tickets, and known names.
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything lies in one directory that only its owner can read, in small text files that are
 * replaced as a whole.
 */
#ifndef KH_RUNTIME_STATE_H
#define KH_RUNTIME_STATE_H

#include <limits.h>
#include <stdbool.h>

#include "crypto/crypto.h"
#include "knothole/knothole.h"
#include "rendezvous/rendezvous.h"
#include "room/room.h"

struct kh_runtime_state {
    char dir[PATH_MAX - 320]; /* leaves room for the longest file name in it */
};

enum kh_runtime_pin {
    KH_RUNTIME_PIN_KNOWN,   /* this name had this key before */
    KH_RUNTIME_PIN_NEW,     /* first use: remembered from now on */
    KH_RUNTIME_PIN_CHANGED, /* this name had another key: not remembered */
};

/* Finds and if need be makes the directory; dir may be NULL for the default.  False with a sentence
 * in why. */
bool kh_runtime_state_open(struct kh_runtime_state *state, const char *dir,
                           char why[static KH_RUNTIME_WHY_SIZE]);

/* Reads the seed of our identity, which is made from `fresh` at the first use.  False with a
 * sentence in why if it cannot be read or is damaged: a new one would make us a stranger to our
 * friends. */
bool kh_runtime_state_identity(const struct kh_runtime_state *state, const struct kh_secret *fresh,
                               struct kh_secret *out, char why[static KH_RUNTIME_WHY_SIZE]);

/* A ticket is a shortcut: one that is missing or damaged is none, one not written is no harm. */
void kh_runtime_state_load_ticket(const struct kh_runtime_state *state,
                                  const struct kh_room_server *server,
                                  struct kh_rendezvous_ticket *out);
void kh_runtime_state_save_ticket(const struct kh_runtime_state *state,
                                  const struct kh_room_server *server,
                                  const struct kh_rendezvous_ticket *ticket);

/* Compares with what was seen under this name before: trust on first use. */
enum kh_runtime_pin kh_runtime_state_pin(const struct kh_runtime_state *state, const char *name,
                                         const uint8_t identity[static KH_KEY_LEN]);

#endif
