/* stun/attribute.c - which attribute may stand in which message, and how long it may be.
 *
 * SPDX-License-Identifier: MIT
 */
#include "stun/stun.h"

#include "stun/layout.h"

/* Methods as bits, so that a row can name several. */
enum {
    BINDING = 1 << 0,
    ALLOCATE = 1 << 1,
    REFRESH = 1 << 2,
    SEND = 1 << 3,
    DATA = 1 << 4,
    PERMISSION = 1 << 5,
    CHANNEL = 1 << 6,
    OWN = 1 << 7, /* the rendezvous methods, which use the standard attributes as they need */
    ANY = 0xff,
};

/* Classes as bits. */
enum {
    Q = 1 << KH_STUN_REQUEST,
    I = 1 << KH_STUN_INDICATION,
    S = 1 << KH_STUN_SUCCESS,
    E = 1 << KH_STUN_ERROR,
    ALL = Q | I | S | E,
};

#define LEN_MAX 0xffff /* what the length field can say */
#define TEXT_MAX 763   /* RFC 8489 14.8 to 14.14: 127 characters of UTF-8, as SASLprep grew them */
#define USERNAME_MAX 508 /* RFC 8489 14.3: less than 509 bytes */
#define ADDRESS_MIN 8
#define ADDRESS_MAX 20

struct row {
    uint16_t type;
    uint8_t methods;
    uint8_t classes;
    uint16_t len_min;
    uint16_t len_max;
};

static const struct row rows[] = {
    /* RFC 8489 14 */
    {KH_STUN_MAPPED_ADDRESS, BINDING | OWN, S, ADDRESS_MIN, ADDRESS_MAX},
    {KH_STUN_XOR_MAPPED_ADDRESS, BINDING | ALLOCATE | OWN, S, ADDRESS_MIN, ADDRESS_MAX},
    {KH_STUN_USERNAME, ANY, Q | I, 0, USERNAME_MAX},
    {KH_STUN_USERHASH, ANY, Q, KH_SHA256_LEN, KH_SHA256_LEN},
    {KH_STUN_MESSAGE_INTEGRITY, ANY, ALL, KH_SHA1_LEN, KH_SHA1_LEN},
    {KH_STUN_MESSAGE_INTEGRITY_SHA256, ANY, ALL, 16, KH_SHA256_LEN},
    {KH_STUN_FINGERPRINT, ANY, ALL, 4, 4},
    {KH_STUN_ERROR_CODE, ANY, E, 4, 4 + TEXT_MAX},
    {KH_STUN_REALM, ANY, Q | E, 0, TEXT_MAX},
    {KH_STUN_NONCE, ANY, Q | S | E, 0, TEXT_MAX}, /* S: a success may bring the next one */
    {KH_STUN_PASSWORD_ALGORITHMS, ANY, Q | E, 0, LEN_MAX},
    {KH_STUN_PASSWORD_ALGORITHM, ANY, Q, 4, LEN_MAX},
    {KH_STUN_UNKNOWN_ATTRIBUTES, ANY, E, 0, LEN_MAX},
    {KH_STUN_SOFTWARE, ANY, ALL, 0, TEXT_MAX},
    {KH_STUN_ALTERNATE_SERVER, ANY, E, ADDRESS_MIN, ADDRESS_MAX},
    {KH_STUN_ALTERNATE_DOMAIN, ANY, E, 0, 255},
    /* RFC 8656 18 */
    {KH_STUN_CHANNEL_NUMBER, CHANNEL, Q, 4, 4},
    {KH_STUN_LIFETIME, ALLOCATE | REFRESH | OWN, Q | S, 4, 4},
    {KH_STUN_XOR_PEER_ADDRESS, SEND | DATA | PERMISSION | CHANNEL | OWN, Q | I, ADDRESS_MIN,
     ADDRESS_MAX},
    {KH_STUN_DATA_ATTRIBUTE, SEND | DATA | OWN, I, 0, LEN_MAX},
    {KH_STUN_XOR_RELAYED_ADDRESS, ALLOCATE, S, ADDRESS_MIN, ADDRESS_MAX},
    {KH_STUN_REQUESTED_ADDRESS_FAMILY, ALLOCATE | REFRESH, Q, 4, 4},
    {KH_STUN_ADDITIONAL_ADDRESS_FAMILY, ALLOCATE, Q, 4, 4},
    {KH_STUN_EVEN_PORT, ALLOCATE, Q, 1, 1},
    {KH_STUN_REQUESTED_TRANSPORT, ALLOCATE, Q, 4, 4},
    {KH_STUN_DONT_FRAGMENT, ALLOCATE | SEND, Q | I, 0, 0},
    {KH_STUN_RESERVATION_TOKEN, ALLOCATE, Q | S, 8, 8},
    {KH_STUN_ADDRESS_ERROR_CODE, ALLOCATE, S, 4, 4 + TEXT_MAX},
    {KH_STUN_ICMP, DATA, I, 8, 8},
    {KH_STUN_MOBILITY_TICKET, ALLOCATE | REFRESH, Q | S, 0, LEN_MAX}, /* RFC 8016 3 */
    /* RFC 8445 16.1, and draft-thatcher-ice-renomination */
    {KH_STUN_PRIORITY, BINDING, Q, 4, 4},
    {KH_STUN_USE_CANDIDATE, BINDING, Q, 0, 0},
    {KH_STUN_ICE_CONTROLLED, BINDING, Q, 8, 8},
    {KH_STUN_ICE_CONTROLLING, BINDING, Q, 8, 8},
    {KH_STUN_NOMINATION, BINDING, Q, 4, 4},
    /* RFC 5780 7 */
    {KH_STUN_CHANGE_REQUEST, BINDING, Q, 4, 4},
    {KH_STUN_RESPONSE_PORT, BINDING, Q, 4, 4},
    {KH_STUN_PADDING, BINDING, Q | S, 0, LEN_MAX},
    {KH_STUN_RESPONSE_ORIGIN, BINDING | OWN, S, ADDRESS_MIN, ADDRESS_MAX},
    {KH_STUN_OTHER_ADDRESS, BINDING | OWN, S, ADDRESS_MIN, ADDRESS_MAX},
    /* ours */
    {KH_STUN_ROOM, OWN, ALL, KH_KEY_LEN, KH_KEY_LEN},
    {KH_STUN_MEMBER, OWN, ALL, 16, 16},
    {KH_STUN_PUBLIC_KEY, OWN, ALL, KH_KEY_LEN, KH_KEY_LEN},
    {KH_STUN_SIGNATURE, OWN, ALL, KH_SIGNATURE_LEN, KH_SIGNATURE_LEN},
    {KH_STUN_SEALED, OWN, ALL, 0, LEN_MAX},
    {KH_STUN_SEQUENCE, OWN, ALL, 8, 8},
    {KH_STUN_ROOM_VERSION, OWN, ALL, 8, 8},
    {KH_STUN_CHANGE, OWN, ALL, 0, LEN_MAX},
    {KH_STUN_EARLY, OWN, ALL, 0, LEN_MAX},
    {KH_STUN_TARGET, OWN, ALL, 16, 16},
    {KH_STUN_BASE_VERSION, OWN, ALL, 8, 8},
    {KH_STUN_HIDDEN, OWN, Q, 0, 0},
    {KH_STUN_RELAY_NONCE, OWN, S, 0, LEN_MAX},
    {KH_STUN_RELAY, OWN, Q | S, 0, LEN_MAX},
};

static const struct row *find_row(uint16_t type)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].type == type)
            return &rows[i];
    }
    return NULL;
}

static unsigned method_bit(uint16_t method)
{
    switch (method) {
    case KH_STUN_BINDING:
        return BINDING;
    case KH_STUN_ALLOCATE:
        return ALLOCATE;
    case KH_STUN_REFRESH:
        return REFRESH;
    case KH_STUN_SEND:
        return SEND;
    case KH_STUN_DATA:
        return DATA;
    case KH_STUN_CREATE_PERMISSION:
        return PERMISSION;
    case KH_STUN_CHANNEL_BIND:
        return CHANNEL;
    case KH_STUN_JOIN:
    case KH_STUN_UPDATE:
    case KH_STUN_LEAVE:
    case KH_STUN_SIGNAL:
    case KH_STUN_PUSH:
        return OWN;
    default:
        return 0;
    }
}

enum kh_stun_place kh_stun_attribute_place(uint16_t type, enum kh_stun_class class, uint16_t method)
{
    const struct row *row = find_row(type);
    unsigned bit = method_bit(method);

    if (row == NULL || (row->methods == OWN && bit != OWN))
        return KH_STUN_PLACE_UNKNOWN;
    if ((row->methods & bit) == 0)
        return KH_STUN_PLACE_UNEXPECTED;
    /* Our methods are free to use what they name in any class. */
    if (bit != OWN && (row->classes & 1u << class) == 0)
        return KH_STUN_PLACE_UNEXPECTED;
    /* RFC 5780 6.1 and 7.5: a server that cannot do these must say so, or its client would take an
     * answer from the wrong address for a property of its NAT. */
    if (class == KH_STUN_REQUEST && (type == KH_STUN_CHANGE_REQUEST ||
                                     type == KH_STUN_RESPONSE_PORT || type == KH_STUN_PADDING))
        return KH_STUN_PLACE_OPTIONAL;
    return KH_STUN_PLACE_EXPECTED;
}

bool kh_stun_attribute_fits(uint16_t type, size_t len)
{
    const struct row *row = find_row(type);

    if (type == KH_STUN_MESSAGE_INTEGRITY_SHA256 && len % 4 != 0)
        return false; /* RFC 8489 14.6: truncated only by whole words */
    return row == NULL || (len >= row->len_min && len <= row->len_max);
}

bool kh_stun_attribute_is_required(uint16_t type)
{
    return type < 0x8000;
}

bool kh_stun_attribute_is_xored(uint16_t type)
{
    return type == KH_STUN_XOR_MAPPED_ADDRESS || type == KH_STUN_XOR_PEER_ADDRESS ||
           type == KH_STUN_XOR_RELAYED_ADDRESS;
}

bool kh_stun_attribute_is_address(uint16_t type)
{
    return kh_stun_attribute_is_xored(type) || type == KH_STUN_MAPPED_ADDRESS ||
           type == KH_STUN_ALTERNATE_SERVER || type == KH_STUN_RESPONSE_ORIGIN ||
           type == KH_STUN_OTHER_ADDRESS;
}
