/* room/card.h - a card to and from its sealed bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_ROOM_CARD_H
#define KH_ROOM_CARD_H

#include "room/keys.h"

struct kh_room_card_seal {
    const struct kh_room_keys *keys;
    const struct kh_secret *identity; /* signs; its public key is card->identity */
    const struct kh_room_member_id *member;
    uint8_t nonce[KH_AEAD_NONCE_LEN];
};

/* Returns the length of the sealed card; 0 if a string in it may not be shown or it does not fit.
 */
size_t kh_room_card_write(const struct kh_room_card *card, const struct kh_room_card_seal *seal,
                          uint8_t out[static KH_ROOM_CARD_MAX]);

KH_MUST_USE enum kh_status kh_room_card_parse(const struct kh_room_keys *keys,
                                              const struct kh_room_member_id *member,
                                              struct kh_span sealed, struct kh_room_card *out);

bool kh_room_name_is_valid(const char *name, size_t len);

#endif
