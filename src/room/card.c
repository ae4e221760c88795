/* room/card.c - cards: compact, signed by the member's identity, sealed for the room.
 *
 * SPDX-License-Identifier: MIT
 *
 *     version 1 · revision 4 · identity 32 · fingerprint 32 · nat 1 · abilities 4
 *     name, ufrag, password: length 1, bytes · candidates: count 1, each: what 1, ip 4|16, port 2
 *     extensions: type 1, length 1, bytes · signature 64
 */
#include "room/card.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"

#define CARD_VERSION 1
#define PLAIN_MAX (KH_ROOM_CARD_MAX - KH_AEAD_OVERHEAD)

/* RFC 8839 5.4; both empty: this member makes an ICE session for each peer by signals instead. */
#define UFRAG_MIN 4
#define PASSWORD_MIN 22

/* The byte that says what a candidate is: kind in the high nibble, transport, family. */
#define WHAT_KIND_SHIFT 4
#define WHAT_TRANSPORT_SHIFT 1
#define WHAT_TRANSPORT_MASK 7u
#define TRANSPORT_PASSIVE 1u
#define TRANSPORT_SIMULTANEOUS 3u
#define TRANSPORT_EITHER 4u
#define WHAT_IPV6 1u

#define EXTENSION_NAT 1   /* the numbers of nat/class.h */
#define EXTENSION_NAMED 2 /* what 1 · port 2 · name */

bool kh_room_name_is_valid(const char *name, size_t len)
{
    return len <= KH_ROOM_NAME_MAX && kh_text_is_name(name, len);
}

static bool is_ice_string(const char *text, size_t len, size_t min)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return len == 0 || len >= min;
}

static bool is_valid(const struct kh_room_card *card)
{
    return kh_room_name_is_valid(card->name, strlen(card->name)) &&
           is_ice_string(card->ufrag, strlen(card->ufrag), UFRAG_MIN) &&
           is_ice_string(card->password, strlen(card->password), PASSWORD_MIN);
}

/* ---- writing ---- */

static void write_string(struct kh_writer *writer, const char *text)
{
    size_t len = strlen(text);

    assert(len <= UINT8_MAX);
    kh_write_u8(writer, (uint8_t)len);
    kh_write_bytes(writer, text, len);
}

static unsigned transport_of(const struct kh_room_candidate *candidate)
{
    if (candidate->addr.transport != KH_TCP)
        return candidate->addr.transport;
    assert(candidate->tcp != 0);
    if (candidate->tcp == KH_ROOM_TCP_PASSIVE)
        return TRANSPORT_PASSIVE;
    return candidate->tcp == KH_ROOM_TCP_SIMULTANEOUS ? TRANSPORT_SIMULTANEOUS : TRANSPORT_EITHER;
}

static void write_candidate(struct kh_writer *writer, const struct kh_room_candidate *candidate)
{
    const struct kh_addr *addr = &candidate->addr;

    assert(!kh_addr_is_none(addr));
    kh_write_u8(writer, (uint8_t)((unsigned)candidate->kind << WHAT_KIND_SHIFT |
                                  transport_of(candidate) << WHAT_TRANSPORT_SHIFT |
                                  (addr->family == KH_FAMILY_IPV6 ? WHAT_IPV6 : 0u)));
    kh_write_bytes(writer, addr->ip, kh_addr_ip_len(addr));
    kh_write_u16(writer, addr->port);
}

/* Left out where the byte that every card has says all. */
static void write_nat(struct kh_writer *writer, const struct kh_nat_class *nat)
{
    struct kh_nat_class plain;
    uint8_t bytes[KH_NAT_CLASS_LEN];

    kh_nat_class_parse(kh_nat_class_byte(nat), NULL, 0, &plain);
    if (kh_nat_class_equal(&plain, nat))
        return;
    kh_nat_class_write(nat, bytes);
    kh_write_u8(writer, EXTENSION_NAT);
    kh_write_u8(writer, sizeof bytes);
    kh_write_bytes(writer, bytes, sizeof bytes);
}

static void write_named(struct kh_writer *writer, const struct kh_room_named *named)
{
    size_t len = strlen(named->host);

    assert(kh_text_is_local_name(named->host, len) && named->port != 0);
    kh_write_u8(writer, EXTENSION_NAMED);
    kh_write_u8(writer, (uint8_t)(3 + len));
    kh_write_u8(writer, named->family == KH_FAMILY_IPV6 ? WHAT_IPV6 : 0u);
    kh_write_u16(writer, named->port);
    kh_write_bytes(writer, named->host, len);
}

static void write_body(struct kh_writer *writer, const struct kh_room_card *card)
{
    kh_write_u8(writer, CARD_VERSION);
    kh_write_u32(writer, card->revision);
    kh_write_bytes(writer, card->identity, sizeof card->identity);
    kh_write_bytes(writer, card->fingerprint, sizeof card->fingerprint);
    kh_write_u8(writer, kh_nat_class_byte(&card->nat));
    kh_write_u32(writer, card->abilities);
    write_string(writer, card->name);
    write_string(writer, card->ufrag);
    write_string(writer, card->password);
    kh_write_u8(writer, (uint8_t)card->candidate_count);
    for (size_t i = 0; i < card->candidate_count; i++)
        write_candidate(writer, &card->candidates[i]);
    write_nat(writer, &card->nat);
    for (size_t i = 0; i < card->named_count; i++)
        write_named(writer, &card->named[i]);
}

static struct kh_room_claim claim_of(const struct kh_room_keys *keys,
                                     const struct kh_room_member_id *member, const uint8_t *body,
                                     size_t len)
{
    return (struct kh_room_claim){.label = KH_ROOM_LABEL_CARD,
                                  .keys = keys,
                                  .context = {member->bytes, sizeof member->bytes},
                                  .body = {body, len}};
}

size_t kh_room_card_write(const struct kh_room_card *card, const struct kh_room_card_seal *seal,
                          uint8_t out[static KH_ROOM_CARD_MAX])
{
    uint8_t plain[PLAIN_MAX];
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];
    struct kh_writer writer = kh_writer_to(plain, sizeof plain - KH_SIGNATURE_LEN);
    struct kh_room_claim claim;
    size_t len;

    assert(card->candidate_count <= KH_ROOM_CANDIDATES_MAX);
    if (!is_valid(card))
        return 0;
    write_body(&writer, card);
    if (writer.failed)
        return 0;
    claim = claim_of(seal->keys, seal->member, plain, writer.len);
    kh_room_claim_sign(&claim, seal->identity, plain + writer.len);
    len = writer.len + KH_SIGNATURE_LEN;
    kh_aead_seal(&seal->keys->card, seal->nonce,
                 kh_room_associated(KH_ROOM_LABEL_CARD, seal->member, associated),
                 (struct kh_span){plain, len}, out);
    kh_wipe(plain, sizeof plain);
    return len + KH_AEAD_OVERHEAD;
}

/* ---- reading ---- */

/* Copies a string with its terminator; one that is too long or holds a NUL fails the reader. */
static void read_string(struct kh_reader *reader, char *out, size_t out_size)
{
    size_t len = kh_read_u8(reader);
    const uint8_t *bytes = kh_read_bytes(reader, len);

    out[0] = '\0';
    if (bytes == NULL || len >= out_size || memchr(bytes, '\0', len) != NULL) {
        reader->failed = true;
        return;
    }
    memcpy(out, bytes, len);
    out[len] = '\0';
}

/* Kinds and transports of a later version, and addresses nobody can be asked to send to, are
 * skipped, not refused: the rest of the card is still good. */
static bool is_usable(unsigned kind, const struct kh_addr *addr, unsigned transport)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);

    return kind <= KH_ROOM_CANDIDATE_MAPPED && transport <= TRANSPORT_EITHER && addr->port != 0 &&
           reach != KH_REACH_UNSPECIFIED && reach != KH_REACH_MULTICAST;
}

static void read_transport(unsigned transport, struct kh_room_candidate *out)
{
    static const unsigned tcp[] = {
        [TRANSPORT_PASSIVE] = KH_ROOM_TCP_PASSIVE,
        [TRANSPORT_SIMULTANEOUS] = KH_ROOM_TCP_SIMULTANEOUS,
        [TRANSPORT_EITHER] = KH_ROOM_TCP_PASSIVE | KH_ROOM_TCP_SIMULTANEOUS,
    };

    assert(transport < sizeof tcp / sizeof tcp[0]);
    out->tcp = tcp[transport];
    out->addr.transport = (uint8_t)(out->tcp != 0 ? (unsigned)KH_TCP : transport);
}

static void read_candidate(struct kh_reader *reader, struct kh_room_card *card)
{
    unsigned what = kh_read_u8(reader);
    unsigned transport = what >> WHAT_TRANSPORT_SHIFT & WHAT_TRANSPORT_MASK;
    enum kh_family family = (what & WHAT_IPV6) != 0 ? KH_FAMILY_IPV6 : KH_FAMILY_IPV4;
    const uint8_t *ip = kh_read_bytes(reader, family == KH_FAMILY_IPV6 ? 16 : 4);
    uint16_t port = kh_read_u16(reader);
    struct kh_addr addr;
    struct kh_room_candidate *candidate;

    if (reader->failed || card->candidate_count == KH_ROOM_CANDIDATES_MAX)
        return;
    addr = kh_addr_from_ip(family, ip, port);
    if (!is_usable(what >> WHAT_KIND_SHIFT, &addr, transport))
        return;
    candidate = &card->candidates[card->candidate_count++];
    *candidate = (struct kh_room_candidate){
        .kind = (enum kh_room_candidate_kind)(what >> WHAT_KIND_SHIFT), .addr = addr};
    read_transport(transport, candidate);
}

/* By UDP and of kind host, as there are no others; what a later version makes of it is skipped. */
static void read_named(const uint8_t *bytes, size_t len, struct kh_room_card *card)
{
    struct kh_reader reader = kh_reader_of(bytes, len);
    uint8_t what = kh_read_u8(&reader);
    uint16_t port = kh_read_u16(&reader);
    size_t host_len = reader.left;
    const uint8_t *host = kh_read_bytes(&reader, host_len);
    struct kh_room_named *named = &card->named[card->named_count];

    if (reader.failed || (what & ~WHAT_IPV6) != 0 || port == 0 ||
        card->named_count == KH_ROOM_NAMED_MAX ||
        !kh_text_is_local_name((const char *)host, host_len))
        return;
    *named = (struct kh_room_named){
        .family = (what & WHAT_IPV6) != 0 ? KH_FAMILY_IPV6 : KH_FAMILY_IPV4, .port = port};
    memcpy(named->host, host, host_len);
    card->named_count++;
}

/* Unknown ones are skipped. */
static void read_extension(struct kh_reader *reader, uint8_t nat, struct kh_room_card *card)
{
    unsigned type = kh_read_u8(reader);
    size_t len = kh_read_u8(reader);
    const uint8_t *bytes = kh_read_bytes(reader, len);

    if (type == EXTENSION_NAT && bytes != NULL)
        kh_nat_class_parse(nat, bytes, len, &card->nat);
    else if (type == EXTENSION_NAMED && bytes != NULL)
        read_named(bytes, len, card);
}

static bool read_body(struct kh_reader *reader, struct kh_room_card *card)
{
    uint8_t version = kh_read_u8(reader);
    uint8_t nat;
    unsigned count;

    card->revision = kh_read_u32(reader);
    kh_read_copy(reader, card->identity, sizeof card->identity);
    kh_read_copy(reader, card->fingerprint, sizeof card->fingerprint);
    nat = kh_read_u8(reader);
    card->abilities = kh_read_u32(reader);
    read_string(reader, card->name, sizeof card->name);
    read_string(reader, card->ufrag, sizeof card->ufrag);
    read_string(reader, card->password, sizeof card->password);
    count = kh_read_u8(reader);
    for (unsigned i = 0; i < count && !reader->failed; i++)
        read_candidate(reader, card);
    kh_nat_class_parse(nat, NULL, 0, &card->nat);
    while (!reader->failed && reader->left > 0)
        read_extension(reader, nat, card);
    return !reader->failed && version == CARD_VERSION && is_valid(card);
}

/* Reads a card whose seal is good already. */
static enum kh_status read_plain(const struct kh_room_keys *keys,
                                 const struct kh_room_member_id *member, struct kh_span plain,
                                 struct kh_room_card *card)
{
    struct kh_reader reader;
    struct kh_room_claim claim;
    size_t body_len;

    if (plain.len < KH_SIGNATURE_LEN)
        return KH_ERR_FORMAT;
    body_len = plain.len - KH_SIGNATURE_LEN;
    reader = kh_reader_of(plain.data, body_len);
    if (!read_body(&reader, card))
        return KH_ERR_FORMAT;
    claim = claim_of(keys, member, plain.data, body_len);
    if (!kh_room_claim_verify(&claim, card->identity, (const uint8_t *)plain.data + body_len))
        return KH_ERR_AUTH;
    return KH_OK;
}

enum kh_status kh_room_card_parse(const struct kh_room_keys *keys,
                                  const struct kh_room_member_id *member, struct kh_span sealed,
                                  struct kh_room_card *out)
{
    uint8_t plain[PLAIN_MAX];
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];
    struct kh_room_card card = {0};
    enum kh_status status;

    if (sealed.len > KH_ROOM_CARD_MAX)
        return KH_ERR_FORMAT;
    if (sealed.len < KH_AEAD_OVERHEAD ||
        !kh_aead_open(&keys->card, kh_room_associated(KH_ROOM_LABEL_CARD, member, associated),
                      sealed, plain))
        return KH_ERR_AUTH;
    status =
        read_plain(keys, member, (struct kh_span){plain, sealed.len - KH_AEAD_OVERHEAD}, &card);
    if (status == KH_OK)
        *out = card;
    kh_wipe(plain, sizeof plain);
    kh_wipe(&card, sizeof card);
    return status;
}
