/* turn/turn.h - a TURN client: one allocation on one server (RFC 8656), and what flows through it.
 *
 * SPDX-License-Identifier: MIT
 *
 * No I/O, no clock.  As with every machine: ONE input, then drain next_event, next_received and
 * next_transmit until false, then ask for timeout.
 *
 * The owner sends datagrams `from` the relayed address `to` a peer, and gets those of peers handed
 * out the same way round, as if the relayed address were a socket of its own.  Permissions and
 * channels come about by themselves: a permission with the first datagram to an IP, a channel as
 * soon as a peer has answered.  Like UDP, sending cannot fail, only lose.
 *
 * Over TCP and TLS (`transport` of the server's address) the owner gives and gets one whole STUN
 * message or ChannelData at a time; ChannelData is then padded to four bytes.
 */
#ifndef KH_TURN_TURN_H
#define KH_TURN_TURN_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "stun/stun.h"

/* Together with eight attributes of our own these fit one request into KH_DATAGRAM_MAX; RFC 8489
 * allows more, nobody uses more. */
#define KH_TURN_USERNAME_MAX 255
#define KH_TURN_PASSWORD_MAX 255
#define KH_TURN_REALM_MAX 255
#define KH_TURN_NONCE_MAX 255
#define KH_TURN_ALGORITHMS_MAX 8 /* entries of PASSWORD-ALGORITHMS; two numbers are assigned */

#define KH_TURN_PERMISSIONS_MAX 256 /* peer IPs: 64 members with four each */
#define KH_TURN_CHANNELS_MAX 128    /* peer addresses that flow: two for each of 64 members */

/* What a Send indication to an IPv6 peer adds: 20 header, 24 address, 4 data, 3 padding. */
#define KH_TURN_OVERHEAD_MAX 51
#define KH_TURN_PAYLOAD_MAX 1500 /* largest peer datagram either way: what an Ethernet carries */

struct kh_turn_client;

enum kh_turn_families { KH_TURN_IPV4, KH_TURN_IPV6, KH_TURN_BOTH };

/* Everything about one allocation.  The spans are copied. */
struct kh_turn_request {
    struct kh_addr server;
    struct kh_addr local; /* what we send from; KH_FAMILY_NONE lets the system choose */
    enum kh_turn_families families;
    struct kh_span username;
    struct kh_span password;
    /* Realm and nonce known beforehand spare the 401 round trip; empty: the server tells. */
    struct kh_span realm;
    struct kh_span nonce;
    /* With them, what the server would offer in PASSWORD-ALGORITHMS; none: MD5 and SHA-1. */
    uint16_t algorithms[KH_TURN_ALGORITHMS_MAX];
    size_t algorithm_count;
    bool require_sha256; /* refuse a server that offers MD5 only */
    bool mobile;         /* ask for a ticket, to keep the allocation when our address changes */
};

/* Zero means the default. */
struct kh_turn_config {
    uint8_t seed[32];
    struct kh_stun_timing timing; /* of every request over UDP; RFC 8489 6.2.1 */
    kh_duration stream_wait;      /* for an answer over TCP or TLS; 39.5 s (RFC 8489 6.2.2) */
    kh_duration keepalive;        /* silence towards the server is broken after this; 20 s */
    struct kh_log log;
};

enum kh_turn_state {
    KH_TURN_IDLE, /* nothing asked, or it ended */
    KH_TURN_ALLOCATING,
    KH_TURN_ALLOCATED,
    KH_TURN_RELEASING, /* until the server confirms, or nobody does */
};

enum kh_turn_event_kind {
    KH_TURN_EVENT_ALLOCATED,
    /* The rest but PEER_REFUSED say that there is no allocation now: allocate may be called again.
     */
    KH_TURN_EVENT_FAILED,    /* refused with `code`; 0: no answer, or none we may believe */
    KH_TURN_EVENT_MISMATCH,  /* 437: this 5-tuple has an allocation of another; use another `local`
                              */
    KH_TURN_EVENT_ALTERNATE, /* 300: try the server at `addr` */
    KH_TURN_EVENT_LOST,      /* the server forgot the allocation, or fell silent until it expired */
    KH_TURN_EVENT_RELEASED,
    KH_TURN_EVENT_PEER_REFUSED, /* no permission for `addr`: 403, 443, … in `code` */
};

struct kh_turn_event {
    enum kh_turn_event_kind kind;
    unsigned code;
    struct kh_addr addr;
    struct {
        struct kh_addr relayed4; /* KH_FAMILY_NONE: none of this family */
        struct kh_addr relayed6;
        struct kh_addr mapped; /* our address as the server sees it; may be KH_FAMILY_NONE */
        kh_duration lifetime;
    } allocated;
};

struct kh_turn_stats {
    uint64_t sent_indications;
    uint64_t sent_channel_data;
    uint64_t received_indications;
    uint64_t received_channel_data;
    uint64_t icmp;       /* Data indications that tell of an ICMP error instead (RFC 8656 11.5) */
    uint64_t challenges; /* 401 and 438 answered */
    uint64_t moves;      /* of the allocation to another address of ours */
    uint64_t dropped_unsent; /* of the owner: no allocation, refused peer, too long, no room */
    uint64_t dropped_malformed;
    uint64_t dropped_unauthentic; /* answers without or with wrong integrity, downgrades */
    uint64_t dropped_stray;       /* answers to nothing, peers without permission or channel */
};

/* ---- life ---- */

KH_MUST_USE enum kh_status kh_turn_client_new(struct kh_turn_client **out,
                                              const struct kh_turn_config *config);
/* NULL is allowed.  Tells the server nothing: its allocation expires unless released before. */
void kh_turn_client_free(struct kh_turn_client *client);

/* ---- inputs ---- */

/* Asks for an allocation; only while IDLE.  KH_ERR_FORMAT if a credential is too long or empty. */
KH_MUST_USE enum kh_status kh_turn_client_allocate(struct kh_turn_client *client, kh_time now,
                                                   const struct kh_turn_request *request);

/* Asks at once whether the allocation still lives, because the owner has reason to doubt it: LOST
 * follows if not.  What is asked already, and had to be repeated, is asked from the start, so that
 * a server that is back is not kept waiting.  Does nothing unless ALLOCATED. */
void kh_turn_client_probe(struct kh_turn_client *client, kh_time now);

/* Gives the allocation back; RELEASED follows, or nothing if there is nothing to give back. */
void kh_turn_client_release(struct kh_turn_client *client, kh_time now);

/* Forgets the allocation, of which no event tells: we speak to the server by another way now, and
 * may allocate there as soon as next_transmit is drained.  With a goodbye that nobody waits for, if
 * the old way may still lead there. */
void kh_turn_client_abandon(struct kh_turn_client *client, kh_time now, bool with_goodbye);

/* We send from `local` now: moves the allocation there (RFC 8016); LOST follows if that fails.
 * False if it cannot be tried, and nothing has changed: there is none, or no ticket, or it is a
 * stream's.  An address that only the server sees changing, a NAT's, is noticed and treated the
 * same way. */
KH_MUST_USE bool kh_turn_client_move(struct kh_turn_client *client, kh_time now,
                                     const struct kh_addr *local);

/* Makes the server let datagrams of this IP through before we sent it any. */
void kh_turn_client_permit(struct kh_turn_client *client, kh_time now, const struct kh_addr *peer);

/* Sends datagram->data from our relayed address to the peer datagram->to. */
void kh_turn_client_send(struct kh_turn_client *client, kh_time now,
                         const struct kh_datagram *datagram);

/* Returns false if the datagram is not TURN for this client: offer it to the next owner. */
bool kh_turn_client_handle_datagram(struct kh_turn_client *client, kh_time now,
                                    const struct kh_datagram *datagram);

/* Harmless when early: only what is due at `now` happens. */
void kh_turn_client_handle_timeout(struct kh_turn_client *client, kh_time now);

/* ---- outputs ---- */

bool kh_turn_client_next_event(struct kh_turn_client *client, struct kh_turn_event *out);
/* What a peer sent: `from` the peer, `to` our relayed address. */
bool kh_turn_client_next_received(struct kh_turn_client *client, struct kh_datagram *out);
bool kh_turn_client_next_transmit(struct kh_turn_client *client, struct kh_datagram *out);
kh_time kh_turn_client_timeout(const struct kh_turn_client *client);

/* ---- looking in ---- */

enum kh_turn_state kh_turn_client_state(const struct kh_turn_client *client);
/* Is this one of the relayed addresses we hold now? */
bool kh_turn_client_is_relayed(const struct kh_turn_client *client, const struct kh_addr *addr);
/* Does a channel carry what we send to this peer? */
bool kh_turn_client_has_channel(const struct kh_turn_client *client, const struct kh_addr *peer);
struct kh_turn_stats kh_turn_client_stats(const struct kh_turn_client *client);

#endif
