/* room/signal.c - seals and opens signals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/signal.h"

#include <assert.h>
#include <string.h>

static const struct kh_room_member_id everyone;

static struct kh_room_claim claim_of(const struct kh_room_keys *keys,
                                     const struct kh_room_member_id *from, const uint8_t *body,
                                     size_t len)
{
    return (struct kh_room_claim){.label = KH_ROOM_LABEL_SIGNAL,
                                  .keys = keys,
                                  .context = {from->bytes, sizeof from->bytes},
                                  .body = {body, len}};
}

size_t kh_room_signal_write(const struct kh_room_signal *signal, struct kh_span frames,
                            uint8_t out[static KH_ROOM_SIGNAL_MAX])
{
    uint8_t plain[KH_ROOM_SIGNAL_PLAIN_MAX];
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];
    const struct kh_room_member_id *to = signal->to == NULL ? &everyone : signal->to;
    size_t len = sizeof to->bytes + frames.len;
    struct kh_room_claim claim = claim_of(signal->keys, signal->from, plain, len);

    assert(frames.len > 0 && frames.len <= KH_ROOM_SIGNAL_FRAMES_MAX);
    memcpy(plain, to->bytes, sizeof to->bytes);
    memcpy(plain + sizeof to->bytes, frames.data, frames.len);
    kh_room_claim_sign(&claim, signal->identity, plain + len);
    len += KH_SIGNATURE_LEN;
    kh_aead_seal(&signal->keys->signal, signal->nonce,
                 kh_room_associated(KH_ROOM_LABEL_SIGNAL, signal->from, associated),
                 (struct kh_span){plain, len}, out);
    return len + KH_AEAD_OVERHEAD;
}

size_t kh_room_signal_open(const struct kh_room_keys *keys, const struct kh_room_member_id *from,
                           struct kh_span sealed, uint8_t plain[static KH_ROOM_SIGNAL_PLAIN_MAX])
{
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];

    if (sealed.len > KH_ROOM_SIGNAL_MAX ||
        sealed.len < KH_AEAD_OVERHEAD + KH_ROOM_MEMBER_LEN + KH_SIGNATURE_LEN)
        return 0;
    if (!kh_aead_open(&keys->signal, kh_room_associated(KH_ROOM_LABEL_SIGNAL, from, associated),
                      sealed, plain))
        return 0;
    return sealed.len - KH_AEAD_OVERHEAD;
}

bool kh_room_signal_verify(const struct kh_room_signal_check *check, struct kh_span plain,
                           struct kh_span *frames)
{
    const uint8_t *bytes = plain.data;
    struct kh_room_claim claim;
    size_t body_len;

    assert(plain.len >= KH_ROOM_MEMBER_LEN + KH_SIGNATURE_LEN);
    body_len = plain.len - KH_SIGNATURE_LEN;
    if (memcmp(bytes, check->me->bytes, KH_ROOM_MEMBER_LEN) != 0 &&
        memcmp(bytes, everyone.bytes, KH_ROOM_MEMBER_LEN) != 0)
        return false;
    claim = claim_of(check->keys, check->from, bytes, body_len);
    if (!kh_room_claim_verify(&claim, check->identity, bytes + body_len))
        return false;
    *frames = (struct kh_span){bytes + KH_ROOM_MEMBER_LEN, body_len - KH_ROOM_MEMBER_LEN};
    return true;
}
