/* rendezvous/wire.h - the bytes of the rendezvous protocol that both ends must agree on.
 *
 * SPDX-License-Identifier: MIT
 *
 * docs/protocol/rendezvous.md describes each of these; wire_test.c holds its vectors.
 */
#ifndef KH_RENDEZVOUS_WIRE_H
#define KH_RENDEZVOUS_WIRE_H

#include "rendezvous/rendezvous.h"

#define KH_RENDEZVOUS_ATTRIBUTE_OVERHEAD 4 /* type and length */

/* A first JOIN carries this much padding, so that the challenge, which carries a nonce of at most
 * KH_RENDEZVOUS_NONCE_MAX bytes, is never the longer of the two. */
#define KH_RENDEZVOUS_CHALLENGE_PADDING 72

/* Each direction has its own key, so no message can be reflected to its sender. */
struct kh_rendezvous_keys {
    struct kh_secret to_server;
    struct kh_secret to_client;
    struct kh_secret relay; /* the password at the server's relay */
};

/* Everything the session is bound to. */
struct kh_rendezvous_binding {
    const uint8_t *room;
    const struct kh_rendezvous_member_id *member;
    const uint8_t *client_key; /* public, 32 bytes each */
    const uint8_t *server_key;
};

void kh_rendezvous_keys_derive(const struct kh_secret *shared,
                               const struct kh_rendezvous_binding *binding,
                               struct kh_rendezvous_keys *out);

/* What this member is to the server's relay. */
void kh_rendezvous_write_credentials(const struct kh_rendezvous_member_id *member,
                                     const struct kh_rendezvous_keys *keys,
                                     struct kh_rendezvous_credentials *out);

/* The session key of one direction as the key of an HMAC. */
struct kh_span kh_rendezvous_key_span(const struct kh_secret *key);

/* Adds SIGNATURE over all that was written so far, and FINGERPRINT; returns the length. */
size_t kh_rendezvous_finish_signed(struct kh_stun_writer *writer,
                                   const struct kh_secret *room_seed);
bool kh_rendezvous_check_signature(const struct kh_stun_message *message,
                                   const uint8_t room[static KH_RENDEZVOUS_ROOM_LEN]);

/* Adds MESSAGE-INTEGRITY-SHA256, unless key is NULL, and FINGERPRINT; returns the length. */
size_t kh_rendezvous_finish(struct kh_stun_writer *writer, const struct kh_secret *key);

/* Finds a value of min..max bytes. */
bool kh_rendezvous_find_span(const struct kh_stun_message *message, uint16_t type, size_t max,
                             struct kh_span *out);
bool kh_rendezvous_find_id(const struct kh_stun_message *message, uint16_t type,
                           struct kh_rendezvous_member_id *out);

/* One entry of a push. */
struct kh_rendezvous_change {
    uint64_t version; /* of the room, when this happened */
    struct kh_rendezvous_member_id id;
    bool present;          /* else it is gone, and what follows is empty */
    struct kh_addr public; /* where the server sees it */
    struct kh_span card;
};

/* Adds a CHANGE attribute; false, and nothing written, if it does not fit before `limit`. */
bool kh_rendezvous_change_add(struct kh_stun_writer *writer, size_t limit,
                              const struct kh_rendezvous_change *change);
/* False if malformed.  The card is borrowed from value. */
bool kh_rendezvous_change_parse(struct kh_span value, struct kh_rendezvous_change *out);

/* ---- replay ---- */

#define KH_RENDEZVOUS_WINDOW 64 /* messages may overtake one another by this many */

/* The sequence numbers already taken of one direction; a zeroed one has taken none. */
struct kh_rendezvous_window {
    uint64_t top;  /* the largest taken */
    uint64_t seen; /* bit i: top - i was taken */
};

enum kh_rendezvous_freshness {
    KH_RENDEZVOUS_NEWEST, /* larger than all before */
    KH_RENDEZVOUS_LATE,   /* overtaken by others, but not taken yet */
    KH_RENDEZVOUS_SEEN,
    KH_RENDEZVOUS_OLD, /* too far back to know */
};

enum kh_rendezvous_freshness kh_rendezvous_window_check(const struct kh_rendezvous_window *window,
                                                        uint64_t sequence);
/* The sequence must be NEWEST or LATE. */
void kh_rendezvous_window_take(struct kh_rendezvous_window *window, uint64_t sequence);

#endif
