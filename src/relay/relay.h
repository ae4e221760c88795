/* relay/relay.h - a TURN server as a machine (RFC 8656): allocations, permissions, channels.
 *
 * SPDX-License-Identifier: MIT
 *
 * No I/O, no clock.  The owner opens the relayed sockets: an Allocate becomes an OPEN event, the
 * owner binds that address and says kh_relay_opened, and only then the client gets its answer.  As
 * with every machine: ONE input, then drain next_event and next_transmit, then ask for timeout.
 *
 * A client is its 5-tuple, whatever its transport: what came over a stream is given as one whole
 * message or ChannelData at a time, with `transport` in its addresses.
 */
#ifndef KH_RELAY_RELAY_H
#define KH_RELAY_RELAY_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "stun/stun.h"

#define KH_RELAY_ADDRESSES_MAX 16 /* as many as a server may be told to listen on */
#define KH_RELAY_PORT_MIN 49152   /* RFC 8656 7.2: the dynamic ports of RFC 6335 */
#define KH_RELAY_PORT_MAX 65535
#define KH_RELAY_OWN_MAX 256 /* addresses of this host that nobody may be relayed to */
#define KH_RELAY_SECRET_MAX 256
#define KH_RELAY_PASSWORD_LEN 28 /* base64 of a SHA-1 */
#define KH_RELAY_REALM_MAX 127 /* RFC 8489 14.9: fewer than 128 characters */
#define KH_RELAY_DATA_MAX 2048 /* of one relayed datagram with its framing; larger are dropped */
#define KH_RELAY_NONCE_LEN 25  /* RFC 8489 9.2: "obMatJos2", 4 of feature bits; 12 of our own */

struct kh_relay;

/* An address of this host that relayed sockets are bound to.  Ports are ignored. */
struct kh_relay_address {
    struct kh_addr local;    /* what the owner binds; never the wildcard */
    struct kh_addr external; /* what clients and peers are told; the same unless behind a NAT */
};

/* Zero means the default. */
struct kh_relay_config {
    uint8_t seed[32];
    const char *realm; /* "knothole" */
    /* The secret shared with whoever hands out credentials: username "EXPIRY[:name]", password
     * base64(HMAC-SHA1(secret, username)), as coturn's use-auth-secret.  Empty: none is valid. */
    struct kh_span secret;
    /* A client gets the address it came in by, or else the first of the family it wishes. */
    struct kh_relay_address addresses[KH_RELAY_ADDRESSES_MAX];
    size_t address_count; /* at least 1 */
    /* Addresses of this host, refused as peers as those above are.  Only relayed addresses in use
     * can be reached there, and these inside the machine. */
    struct kh_addr own[KH_RELAY_OWN_MAX];
    size_t own_count;
    uint16_t port_min;            /* KH_RELAY_PORT_MIN */
    uint16_t port_max;            /* KH_RELAY_PORT_MAX */
    size_t allocations_max;       /* in all; as many as there are ports */
    size_t user_max;              /* allocations of one user; 4096 */
    size_t prefix_max;            /* allocations of one IPv4 /24 or IPv6 /48; 4096 */
    size_t challenges_per_second; /* 401 and 438 longer than their request, to one prefix; 256 */
    uint64_t bytes_per_second;    /* of one allocation, both ways together; 0: no limit */
    kh_duration lifetime_max;     /* 1 h */
    kh_duration nonce_lifetime;   /* 1 h */
    /* Lets peers have private addresses, loopback if the relayed address is loopback too, and this
     * host's own addresses except at the ports that `own` names.  For labs. */
    bool allow_private_peers;
    struct kh_log log;
};

enum kh_relay_event_kind {
    KH_RELAY_EVENT_OPEN,  /* bind `addr`, then kh_relay_opened; no other event waits behind it */
    KH_RELAY_EVENT_CLOSE, /* close it */
};

struct kh_relay_event {
    enum kh_relay_event_kind kind;
    struct kh_addr addr; /* a local address with its port */
};

struct kh_relay_stats {
    size_t allocations; /* now, with those being opened and ports held in reserve */
    uint64_t allocated; /* ever */
    uint64_t expiries;
    uint64_t moves;   /* of clients that came with a ticket by another way (RFC 8016) */
    uint64_t refused; /* requests of users answered with an error */
    uint64_t challenges;
    uint64_t to_peers; /* datagrams relayed */
    uint64_t to_clients;
    uint64_t dropped_malformed;
    uint64_t dropped_unauthentic; /* wrong password, unknown or expired user; they got a 401 */
    uint64_t dropped_limited;     /* challenges and data above the rate */
    uint64_t dropped_forbidden;   /* data without allocation, channel or permission */
};

KH_MUST_USE enum kh_status kh_relay_new(struct kh_relay **out,
                                        const struct kh_relay_config *config);
void kh_relay_free(struct kh_relay *relay); /* NULL is allowed; closes nothing */

/* ---- inputs ---- */

/* Takes what arrived at a relayed address, and ChannelData of clients.  False if it is neither. */
bool kh_relay_handle_datagram(struct kh_relay *relay, kh_time now,
                              const struct kh_datagram *datagram);

/* Takes a STUN message of one of TURN's methods; false if it is of another.  `password` is that of
 * the message's USERNAME where the owner knows it; NULL: only the shared secret counts. */
bool kh_relay_handle_message(struct kh_relay *relay, kh_time now,
                             const struct kh_datagram *datagram,
                             const struct kh_stun_message *message, const struct kh_span *password);

/* What became of an OPEN.  A refused port is tried again with another one, a few times. */
void kh_relay_opened(struct kh_relay *relay, kh_time now, const struct kh_addr *addr, bool ok);

/* An ICMP error about what was sent from a relayed address to a peer (RFC 8656 11.5). */
struct kh_relay_unreachable {
    struct kh_addr local;
    struct kh_addr peer;
    uint8_t type;
    uint8_t code;
    uint32_t data; /* the MTU of "too big", else 0 */
};
void kh_relay_handle_unreachable(struct kh_relay *relay, kh_time now,
                                 const struct kh_relay_unreachable *error);

/* A client's stream ended: so does its allocation (RFC 8656 3.2), if it has one. */
void kh_relay_disconnected(struct kh_relay *relay, kh_time now, const struct kh_addr *client,
                           const struct kh_addr *server);

void kh_relay_handle_timeout(struct kh_relay *relay, kh_time now);

/* Tells what the calendar says at `now`, in seconds since 1970: shared-secret credentials expire by
 * it, and none is valid before this was called.  May be called at any time. */
void kh_relay_set_wall_clock(struct kh_relay *relay, kh_time now, uint64_t unix_seconds);

/* ---- outputs ---- */

bool kh_relay_next_transmit(struct kh_relay *relay, struct kh_datagram *out);
/* Is the datagram that next_transmit gave last to be sent with DF (RFC 8656 15)? */
bool kh_relay_dont_fragment(const struct kh_relay *relay);
bool kh_relay_next_event(struct kh_relay *relay, struct kh_relay_event *out);
kh_time kh_relay_timeout(const struct kh_relay *relay);

/* ---- looking in ---- */

/* Writes the password of a username by the convention of the shared secret, here or elsewhere. */
void kh_relay_write_password(struct kh_span secret, struct kh_span username,
                             char out[static KH_RELAY_PASSWORD_LEN]);

/* Writes a nonce that lets this client skip the 401. */
void kh_relay_make_nonce(const struct kh_relay *relay, kh_time now, const struct kh_addr *client,
                         char out[static KH_RELAY_NONCE_LEN]);
struct kh_relay_stats kh_relay_stats(const struct kh_relay *relay);

#endif
