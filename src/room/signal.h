/* room/signal.h - frames sealed for the room and signed by their sender, to travel by the server.
 *
 * SPDX-License-Identifier: MIT
 *
 *     nonce 12 · AES-256-GCM( to 16 · frames · signature 64 ) with its tag 16
 */
#ifndef KH_ROOM_SIGNAL_H
#define KH_ROOM_SIGNAL_H

#include "room/keys.h"

#define KH_ROOM_SIGNAL_PLAIN_MAX (KH_ROOM_SIGNAL_MAX - KH_AEAD_OVERHEAD)
#define KH_ROOM_SIGNAL_FRAMES_MAX (KH_ROOM_SIGNAL_PLAIN_MAX - KH_ROOM_MEMBER_LEN - KH_SIGNATURE_LEN)

struct kh_room_signal {
    const struct kh_room_keys *keys;
    const struct kh_room_member_id *from;
    const struct kh_room_member_id *to; /* NULL: all members, written as zeros */
    const struct kh_secret *identity;   /* of the sender */
    uint8_t nonce[KH_AEAD_NONCE_LEN];
};

/* Returns the length of the sealed signal; frames are at most KH_ROOM_SIGNAL_FRAMES_MAX. */
size_t kh_room_signal_write(const struct kh_room_signal *signal, struct kh_span frames,
                            uint8_t out[static KH_ROOM_SIGNAL_MAX]);

/* Opens the seal: after that it is known that some member of the room made it, and for this `from`.
 * Returns the length at plain; 0: refused. */
size_t kh_room_signal_open(const struct kh_room_keys *keys, const struct kh_room_member_id *from,
                           struct kh_span sealed, uint8_t plain[static KH_ROOM_SIGNAL_PLAIN_MAX]);

struct kh_room_signal_check {
    const struct kh_room_keys *keys;
    const struct kh_room_member_id *from;
    const struct kh_room_member_id *me;
    const uint8_t *identity; /* of the sender; KH_KEY_LEN bytes */
};

/* Gives the frames inside what _open gave, if the sender signed them and meant us. */
bool kh_room_signal_verify(const struct kh_room_signal_check *check, struct kh_span plain,
                           struct kh_span *frames);

#endif
