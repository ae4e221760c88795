/* rendezvous/registry_state.h - what the files of the registry share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RENDEZVOUS_REGISTRY_STATE_H
#define KH_RENDEZVOUS_REGISTRY_STATE_H

#include "rendezvous/departed.h"
#include "rendezvous/nonce.h"
#include "rendezvous/table.h"

/* A signal on its way to the members of a room, one copy of it for all of them: the datagrams are
 * made one by one as they are fetched, so no queue can overflow. */
struct kh_rendezvous_fanout {
    struct kh_rendezvous_entry *next; /* of the room's list; NULL: done */
    struct kh_rendezvous_member_id from;
    bool has_target;
    struct kh_rendezvous_member_id target;
    uint8_t sealed[KH_RENDEZVOUS_SIGNAL_MAX];
    size_t len;
};

struct kh_rendezvous_registry {
    struct kh_rendezvous_registry_config config; /* defaults filled in */
    struct kh_rng rng;
    struct kh_secret private_key;
    uint8_t public_key[KH_KEY_LEN];
    uint8_t hash_key[16];
    struct kh_rendezvous_nonces nonces;
    struct kh_rendezvous_departed departed;
    struct kh_rendezvous_table table;
    /* for the message being handled, or about to be */
    uint8_t relay_nonce[KH_RENDEZVOUS_NONCE_MAX];
    size_t relay_nonce_len;
    struct kh_rendezvous_turn turn; /* no server: none */
    kh_time now; /* of the last input, for timers of what next_transmit makes */

    /* outputs, in the order they leave: the answer, pushes to the table's dirty members, the
     * fan-out; a newcomer is thus known before its early signal arrives */
    struct kh_datagram answer; /* len 0: none */
    uint8_t answer_data[KH_DATAGRAM_MAX];
    struct kh_rendezvous_fanout fanout;
    uint8_t data[KH_DATAGRAM_MAX]; /* of the datagram fetched last */
    struct kh_rendezvous_registry_stats stats;
};

/* One request being handled. */
struct kh_rendezvous_request {
    const struct kh_datagram *datagram;
    const struct kh_stun_message *message;
};

/* ---- answers ---- */

struct kh_stun_writer kh_rendezvous_answer_begin(struct kh_rendezvous_registry *registry,
                                                 const struct kh_rendezvous_request *request,
                                                 enum kh_stun_class class);
/* Signs with key, unless it is NULL, and queues.  An answer without a key that would be longer than
 * its question is dropped. */
void kh_rendezvous_answer_end(struct kh_rendezvous_registry *registry,
                              const struct kh_rendezvous_request *request,
                              struct kh_stun_writer *writer, const struct kh_secret *key);
void kh_rendezvous_answer_error(struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_request *request, unsigned code,
                                const struct kh_secret *key);
/* Adds a nonce for the sender of the request. */
void kh_rendezvous_answer_nonce(struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_request *request,
                                struct kh_stun_writer *writer);
/* Adds mapped address, lifetime, room version and a fresh nonce; to a join what the server is
 * besides. */
void kh_rendezvous_answer_session(struct kh_rendezvous_registry *registry,
                                  const struct kh_rendezvous_request *request,
                                  struct kh_stun_writer *writer,
                                  const struct kh_rendezvous_member *member);

/* ---- joining: admission.c ---- */

void kh_rendezvous_registry_join(struct kh_rendezvous_registry *registry,
                                 const struct kh_rendezvous_request *request);
/* Forgets the member, remembers that its stay is over, and tells the others. */
void kh_rendezvous_registry_depart(struct kh_rendezvous_registry *registry,
                                   struct kh_rendezvous_member *member);

/* ---- telling: push.c ---- */

/* Everyone else in the room has something to hear. */
void kh_rendezvous_push_room(struct kh_rendezvous_registry *registry,
                             struct kh_rendezvous_room *room);
/* What a member says it knows. */
struct kh_rendezvous_knowledge {
    uint64_t version;  /* all up to here */
    uint64_t hole_end; /* and something after here, but nothing between; 0: no more */
    uint64_t sequence; /* of the push that this acknowledges; 0: it is an update */
};

void kh_rendezvous_push_acknowledged(struct kh_rendezvous_registry *registry,
                                     struct kh_rendezvous_member *member,
                                     const struct kh_rendezvous_knowledge *knowledge);
void kh_rendezvous_push_retry(struct kh_rendezvous_registry *registry,
                              struct kh_rendezvous_member *member);
/* Makes the next push to this member; 0 if there is nothing to tell it now. */
size_t kh_rendezvous_push_make(struct kh_rendezvous_registry *registry,
                               struct kh_rendezvous_member *member,
                               uint8_t data[static KH_DATAGRAM_MAX]);
/* Makes the next copy of the signal under way; 0 if all are made. */
size_t kh_rendezvous_fanout_make(struct kh_rendezvous_registry *registry,
                                 uint8_t data[static KH_DATAGRAM_MAX],
                                 struct kh_rendezvous_member **to);
void kh_rendezvous_fanout_start(struct kh_rendezvous_registry *registry,
                                const struct kh_rendezvous_member *from,
                                const struct kh_rendezvous_member_id *target,
                                struct kh_span sealed);

#endif
