/* room/keys.c - derives the keys of a room and makes signatures that hold in that room only.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/keys.h"

#include <assert.h>
#include <string.h>

#define CLAIM_MAX (48 + KH_SHA256_LEN) /* the longest label and a digest */

static void derive(const uint8_t secret[static KH_ROOM_SECRET_LEN], const char *label,
                   struct kh_secret *out)
{
    kh_hkdf((struct kh_span){secret, KH_ROOM_SECRET_LEN}, (struct kh_span){NULL, 0}, label,
            out->bytes, sizeof out->bytes);
}

void kh_room_derive_seed(const uint8_t secret[static KH_ROOM_SECRET_LEN], struct kh_secret *out)
{
    derive(secret, KH_ROOM_LABEL_SIGN, out);
}

void kh_room_keys_derive(const uint8_t secret[static KH_ROOM_SECRET_LEN], struct kh_room_keys *out)
{
    struct kh_secret seed;

    kh_room_derive_seed(secret, &seed);
    kh_ed25519_public(&seed, out->room);
    kh_wipe(&seed, sizeof seed);
    derive(secret, KH_ROOM_LABEL_CARD_KEY, &out->card);
    derive(secret, KH_ROOM_LABEL_SIGNAL_KEY, &out->signal);
}

/* Writes what is really signed: the label and a digest of the rest, so that neither side needs the
 * whole text in one piece. */
static struct kh_span write_claim(const struct kh_room_claim *claim, uint8_t out[static CLAIM_MAX])
{
    const struct kh_span parts[] = {
        {claim->keys->room, sizeof claim->keys->room}, claim->context, claim->body};
    size_t label_len = strlen(claim->label);

    assert(label_len + KH_SHA256_LEN <= CLAIM_MAX);
    memcpy(out, claim->label, label_len);
    kh_sha256(parts, sizeof parts / sizeof parts[0], out + label_len);
    return (struct kh_span){out, label_len + KH_SHA256_LEN};
}

void kh_room_claim_sign(const struct kh_room_claim *claim, const struct kh_secret *identity,
                        uint8_t out[static KH_SIGNATURE_LEN])
{
    uint8_t text[CLAIM_MAX];

    kh_ed25519_sign(identity, write_claim(claim, text), out);
}

bool kh_room_claim_verify(const struct kh_room_claim *claim,
                          const uint8_t identity[static KH_KEY_LEN],
                          const uint8_t signature[static KH_SIGNATURE_LEN])
{
    uint8_t text[CLAIM_MAX];

    return kh_ed25519_verify(identity, write_claim(claim, text), signature);
}

struct kh_span kh_room_associated(const char *label, const struct kh_room_member_id *member,
                                  uint8_t out[static KH_ROOM_ASSOCIATED_MAX])
{
    size_t label_len = strlen(label);

    assert(label_len + KH_ROOM_MEMBER_LEN <= KH_ROOM_ASSOCIATED_MAX);
    memcpy(out, label, label_len);
    memcpy(out + label_len, member->bytes, KH_ROOM_MEMBER_LEN);
    return (struct kh_span){out, label_len + KH_ROOM_MEMBER_LEN};
}
