/* rendezvous/offer.c - another relay and credentials there, sealed for one member's session.
 *
 * SPDX-License-Identifier: MIT
 *
 *     lifetime 4 · addresses: count 1, each: what 1, ip 4|16, port 2
 *     username, password: length 1, bytes
 */
#include "rendezvous/offer.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define WHAT_IPV6 1u /* as in a card; the transport above it is UDP, 0 */

bool kh_rendezvous_wants_offer(const struct kh_stun_message *message,
                               struct kh_rendezvous_member_id *out)
{
    /* A join without NONCE gets nothing but one. */
    uint16_t needed = message->method == KH_STUN_JOIN ? KH_STUN_NONCE : KH_STUN_RELAY;
    struct kh_stun_attribute attribute;

    return message->class == KH_STUN_REQUEST &&
           (message->method == KH_STUN_JOIN || message->method == KH_STUN_UPDATE) &&
           kh_stun_find(message, needed, &attribute) &&
           kh_rendezvous_find_id(message, KH_STUN_MEMBER, out);
}

static void derive_key(const struct kh_rendezvous_keys *keys, struct kh_secret *out)
{
    struct kh_span from = {keys->to_client.bytes, sizeof keys->to_client.bytes};

    kh_hkdf(from, (struct kh_span){0}, "knothole relay offer", out->bytes, sizeof out->bytes);
}

static void write_text(struct kh_writer *writer, const char *text)
{
    size_t len = strlen(text);

    assert(len > 0 && len <= KH_RENDEZVOUS_RELAY_TEXT_MAX);
    kh_write_u8(writer, (uint8_t)len);
    kh_write_bytes(writer, text, len);
}

static void write_server(struct kh_writer *writer, const struct kh_addr *addr)
{
    assert(addr->transport == KH_UDP && addr->port != 0);
    kh_write_u8(writer, addr->family == KH_FAMILY_IPV6 ? WHAT_IPV6 : 0);
    kh_write_bytes(writer, addr->ip, kh_addr_ip_len(addr));
    kh_write_u16(writer, addr->port);
}

size_t kh_rendezvous_turn_write(const struct kh_rendezvous_turn *turn,
                                uint8_t out[static KH_RENDEZVOUS_OFFER_MAX])
{
    struct kh_writer writer = kh_writer_to(out, KH_RENDEZVOUS_OFFER_MAX);
    size_t count = kh_addr_is_none(&turn->servers[1]) ? 1 : 2;

    assert(!kh_addr_is_none(&turn->servers[0]));
    kh_write_u32(&writer, turn->lifetime);
    kh_write_u8(&writer, (uint8_t)count);
    for (size_t i = 0; i < count; i++)
        write_server(&writer, &turn->servers[i]);
    write_text(&writer, turn->username);
    write_text(&writer, turn->password);
    assert(!writer.failed && writer.len <= KH_RENDEZVOUS_OFFER_MAX - KH_AEAD_OVERHEAD);
    return writer.len;
}

size_t kh_rendezvous_offer_seal(const struct kh_rendezvous_turn *turn,
                                const struct kh_rendezvous_offer_seal *seal,
                                const uint8_t nonce[static KH_AEAD_NONCE_LEN],
                                uint8_t out[static KH_RENDEZVOUS_OFFER_MAX])
{
    uint8_t plain[KH_RENDEZVOUS_OFFER_MAX];
    size_t len = kh_rendezvous_turn_write(turn, plain);
    struct kh_secret key;

    derive_key(seal->keys, &key);
    kh_aead_seal(&key, nonce, (struct kh_span){seal->id, KH_STUN_ID_LEN},
                 (struct kh_span){plain, len}, out);
    kh_wipe(&key, sizeof key);
    kh_wipe(plain, sizeof plain);
    return len + KH_AEAD_OVERHEAD;
}

/* Reads 1 to KH_RENDEZVOUS_RELAY_TEXT_MAX bytes of text into zeros. */
static bool read_text(struct kh_reader *reader, char *out)
{
    size_t len = kh_read_u8(reader);
    const uint8_t *text = kh_read_bytes(reader, len);

    if (reader->failed || len == 0 || len > KH_RENDEZVOUS_RELAY_TEXT_MAX ||
        memchr(text, '\0', len) != NULL)
        return false;
    memcpy(out, text, len);
    return true;
}

static bool read_server(struct kh_reader *reader, struct kh_addr *out)
{
    uint8_t what = kh_read_u8(reader);
    bool is_ipv6 = (what & WHAT_IPV6) != 0;
    const uint8_t *ip = kh_read_bytes(reader, is_ipv6 ? 16 : 4);
    uint16_t port = kh_read_u16(reader);

    if (reader->failed || (what & ~WHAT_IPV6) != 0 || port == 0)
        return false;
    *out = kh_addr_from_ip(is_ipv6 ? KH_FAMILY_IPV6 : KH_FAMILY_IPV4, ip, port);
    return true;
}

static bool parse(struct kh_reader *reader, struct kh_rendezvous_turn *out)
{
    size_t count;

    out->lifetime = kh_read_u32(reader);
    count = kh_read_u8(reader);
    if (reader->failed || count == 0 || count > 2)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!read_server(reader, &out->servers[i]))
            return false;
    /* What follows is of a later version. */
    return read_text(reader, out->username) && read_text(reader, out->password);
}

bool kh_rendezvous_turn_parse(struct kh_span plain, struct kh_rendezvous_turn *out)
{
    struct kh_reader reader = kh_reader_of(plain.data, plain.len);

    *out = (struct kh_rendezvous_turn){0};
    if (parse(&reader, out))
        return true;
    kh_wipe(out, sizeof *out);
    return false;
}

bool kh_rendezvous_offer_open(struct kh_span sealed, const struct kh_rendezvous_offer_seal *seal,
                              struct kh_rendezvous_turn *out)
{
    uint8_t plain[KH_RENDEZVOUS_OFFER_MAX];
    struct kh_secret key;
    bool opened;

    *out = (struct kh_rendezvous_turn){0};
    if (sealed.len < KH_AEAD_OVERHEAD || sealed.len > KH_RENDEZVOUS_OFFER_MAX)
        return false;
    derive_key(seal->keys, &key);
    opened = kh_aead_open(&key, (struct kh_span){seal->id, KH_STUN_ID_LEN}, sealed, plain) &&
             kh_rendezvous_turn_parse((struct kh_span){plain, sealed.len - KH_AEAD_OVERHEAD}, out);
    kh_wipe(&key, sizeof key);
    kh_wipe(plain, sizeof plain);
    return opened;
}
