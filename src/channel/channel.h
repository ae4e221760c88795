/* channel/channel.h - secure, reliable, ordered messages to one peer over any path.
 *
 * SPDX-License-Identifier: MIT
 *
 * A WebRTC data channel: DTLS 1.2 (RFC 8261, 8831) with certificates that both sides know by their
 * SHA-256 fingerprint, SCTP on top, one negotiated stream (no DCEP).  The channel knows no
 * addresses: what comes out of next_transmit goes along whatever path is best at that moment, and
 * what arrives on any validated path goes in.  So the path may change at any time unnoticed.
 *
 * The same verbs as every machine: one input, drain outputs, ask for the timeout.
 */
#ifndef KH_CHANNEL_CHANNEL_H
#define KH_CHANNEL_CHANNEL_H

#include "base/log.h"
#include "base/time.h"
#include "crypto/crypto.h"

#define KH_CHANNEL_MESSAGE_MAX 65536 /* what a browser is sure to accept (RFC 8841 6.1) */
#define KH_CHANNEL_FINGERPRINT_LEN KH_SHA256_LEN

struct kh_channel;
struct kh_channel_certificate; /* an ECDSA P-256 key and its self-signed certificate */

/* ---- certificate: one for all channels of a member ---- */
KH_MUST_USE enum kh_status kh_channel_certificate_new(struct kh_channel_certificate **out);
void kh_channel_certificate_free(struct kh_channel_certificate *certificate);
void kh_channel_certificate_fingerprint(const struct kh_channel_certificate *certificate,
                                        uint8_t out[static KH_CHANNEL_FINGERPRINT_LEN]);

/* ---- channel ---- */

/* Which side opens the DTLS handshake ("setup:active"); the other waits for it. */
enum kh_channel_role { KH_CHANNEL_PASSIVE, KH_CHANNEL_ACTIVE };

struct kh_channel_config {
    enum kh_channel_role role;
    const struct kh_channel_certificate *certificate; /* borrowed for the channel's life */
    uint8_t remote_fingerprint[KH_CHANNEL_FINGERPRINT_LEN];
    uint8_t seed[32];
    size_t datagram_max; /* largest datagram to produce; 0: KH_DATAGRAM_MAX */
    uint16_t stream;     /* the negotiated stream's id */
    struct kh_log log;
};

enum kh_channel_event_kind {
    KH_CHANNEL_EVENT_OPEN,     /* messages flow both ways from now on */
    KH_CHANNEL_EVENT_MESSAGE,  /* one whole message; `data` is valid until the next input */
    KH_CHANNEL_EVENT_WRITABLE, /* send answered KH_ERR_FULL before and has room again */
    KH_CHANNEL_EVENT_CLOSED,   /* by the peer, in order; nothing more will come */
    KH_CHANNEL_EVENT_FAILED,   /* wrong fingerprint, handshake or association given up */
};

enum kh_channel_failure {
    KH_CHANNEL_FAILURE_NONE,
    KH_CHANNEL_FAILURE_FINGERPRINT, /* the peer's certificate is not the one its card names */
    KH_CHANNEL_FAILURE_HANDSHAKE,
    KH_CHANNEL_FAILURE_TIMEOUT,
    KH_CHANNEL_FAILURE_ABORTED, /* by the peer's SCTP */
};

struct kh_channel_event {
    enum kh_channel_event_kind kind;
    enum kh_channel_failure failure; /* KH_CHANNEL_EVENT_FAILED */
    const uint8_t *data;             /* KH_CHANNEL_EVENT_MESSAGE */
    size_t len;
};

struct kh_channel_stats {
    uint64_t messages_sent;
    uint64_t messages_received;
    uint64_t bytes_sent; /* of messages */
    uint64_t bytes_received;
    uint64_t dropped_malformed; /* datagrams that neither DTLS nor SCTP took */
    uint64_t dropped_outbox_full;
};

KH_MUST_USE enum kh_status kh_channel_new(struct kh_channel **out,
                                          const struct kh_channel_config *config);
void kh_channel_free(struct kh_channel *channel);

/* A path exists: the handshake may begin (the active side's first flight goes out now).  Calling it
 * again, when the path changed, repeats at once what was lost with the old one. */
void kh_channel_start(struct kh_channel *channel, kh_time now);

/* One datagram from a validated path.  False if its first byte is not DTLS (RFC 7983: 20..63). */
bool kh_channel_handle_datagram(struct kh_channel *channel, kh_time now, const uint8_t *data,
                                size_t len);
void kh_channel_handle_timeout(struct kh_channel *channel, kh_time now);

/* Takes all of the message (1..KH_CHANNEL_MESSAGE_MAX bytes, copied) or nothing: KH_ERR_FULL until
 * a WRITABLE event, also before OPEN. */
KH_MUST_USE enum kh_status kh_channel_send(struct kh_channel *channel, kh_time now,
                                           const uint8_t *data, size_t len);

/* Says goodbye: SCTP shutdown after what was sent has arrived, and DTLS close_notify. */
void kh_channel_close(struct kh_channel *channel, kh_time now);

/* The bytes of the next outgoing datagram, valid until the next call that is not const. */
bool kh_channel_next_transmit(struct kh_channel *channel, const uint8_t **data, size_t *len);
bool kh_channel_next_event(struct kh_channel *channel, struct kh_channel_event *out);
/* May lie in the past when something waits to be drained: usrsctp drives all associations of a
 * process with one clock, so another channel's input may have produced output here. */
kh_time kh_channel_timeout(const struct kh_channel *channel);

bool kh_channel_is_open(const struct kh_channel *channel);
/* Bytes accepted by send that the peer's SCTP has not acknowledged yet. */
size_t kh_channel_unacknowledged(const struct kh_channel *channel);
struct kh_channel_stats kh_channel_stats(const struct kh_channel *channel);

#endif
