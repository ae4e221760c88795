/* room/keys.h - what derives from the secret of a link, and what members sign with it in mind.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_ROOM_KEYS_H
#define KH_ROOM_KEYS_H

#include "room/room.h"

/* HKDF infos, one for each key. */
#define KH_ROOM_LABEL_SIGN "knothole/1 room signing key"
#define KH_ROOM_LABEL_CARD_KEY "knothole/1 card sealing key"
#define KH_ROOM_LABEL_SIGNAL_KEY "knothole/1 signal sealing key"
#define KH_ROOM_LABEL_NONCE_SEED "knothole/1 nonce seed"

/* Begin what is signed, and the associated data of what is sealed; none begins another. */
#define KH_ROOM_LABEL_CARD "knothole/1 card"
#define KH_ROOM_LABEL_SIGNAL "knothole/1 signal"
#define KH_ROOM_LABEL_ENTRY "knothole/1 entry"

struct kh_room_keys {
    uint8_t room[KH_KEY_LEN]; /* the room's public key: its name */
    struct kh_secret card;
    struct kh_secret signal;
};

void kh_room_keys_derive(const uint8_t secret[static KH_ROOM_SECRET_LEN], struct kh_room_keys *out);

/* What a signature is about: always this room, then a fixed-length context, then the body. */
struct kh_room_claim {
    const char *label;
    const struct kh_room_keys *keys;
    struct kh_span context;
    struct kh_span body;
};

void kh_room_claim_sign(const struct kh_room_claim *claim, const struct kh_secret *identity,
                        uint8_t out[static KH_SIGNATURE_LEN]);
bool kh_room_claim_verify(const struct kh_room_claim *claim,
                          const uint8_t identity[static KH_KEY_LEN],
                          const uint8_t signature[static KH_SIGNATURE_LEN]);

/* The associated data of a seal: a label and the id of the member that sealed. */
#define KH_ROOM_ASSOCIATED_MAX 48
struct kh_span kh_room_associated(const char *label, const struct kh_room_member_id *member,
                                  uint8_t out[static KH_ROOM_ASSOCIATED_MAX]);

#endif
