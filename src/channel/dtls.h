/* channel/dtls.h - a DTLS 1.2 session with one peer as a machine (RFC 6347).
 *
 * SPDX-License-Identifier: MIT
 *
 * The usual verbs, with one more: after handle_datagram the owner calls read until it answers 0,
 * because OpenSSL decrypts on demand and the datagram is only borrowed until then.
 */
#ifndef KH_CHANNEL_DTLS_H
#define KH_CHANNEL_DTLS_H

#include "channel/channel.h"

struct kh_channel_dtls;

#define KH_CHANNEL_DTLS_PLAIN_MAX 16384 /* of one record (RFC 5246 6.2.1) */

/* Record header, explicit nonce and tag of AES-GCM, the larger of our two ciphers (RFC 5288 3). */
#define KH_CHANNEL_DTLS_OVERHEAD (13 + 8 + 16)

enum kh_channel_dtls_state {
    KH_CHANNEL_DTLS_NEW,         /* no path yet; the passive side answers even so */
    KH_CHANNEL_DTLS_HANDSHAKING, /* until `deadline` */
    KH_CHANNEL_DTLS_OPEN,        /* the peer has the key of the certificate we expect */
    KH_CHANNEL_DTLS_CLOSED,      /* close_notify came or went */
    KH_CHANNEL_DTLS_FAILED,
};

/* Fills in the parts of a certificate that sessions share; false when memory ran out. */
bool kh_channel_dtls_context_init(struct kh_channel_certificate *certificate);
void kh_channel_dtls_context_fini(struct kh_channel_certificate *certificate);

KH_MUST_USE enum kh_status kh_channel_dtls_new(struct kh_channel_dtls **out,
                                               const struct kh_channel_config *config);
void kh_channel_dtls_free(struct kh_channel_dtls *dtls);

/* Begins the handshake; once begun, repeats our last flight. */
void kh_channel_dtls_start(struct kh_channel_dtls *dtls, kh_time now);
void kh_channel_dtls_handle_datagram(struct kh_channel_dtls *dtls, kh_time now, const uint8_t *data,
                                     size_t len);
void kh_channel_dtls_handle_timeout(struct kh_channel_dtls *dtls, kh_time now);

/* Decrypts the next packet of the datagram given last into out; 0 if there is none (any more). */
size_t kh_channel_dtls_read(struct kh_channel_dtls *dtls,
                            uint8_t out[static KH_CHANNEL_DTLS_PLAIN_MAX]);

/* Encrypts one packet into the datagram that next_transmit gives next, if it has room, else into
 * one of its own. */
void kh_channel_dtls_send(struct kh_channel_dtls *dtls, const uint8_t *data, size_t len);
void kh_channel_dtls_close(struct kh_channel_dtls *dtls);

bool kh_channel_dtls_next_transmit(struct kh_channel_dtls *dtls, const uint8_t **data, size_t *len);
bool kh_channel_dtls_has_transmit(const struct kh_channel_dtls *dtls);
kh_time kh_channel_dtls_timeout(const struct kh_channel_dtls *dtls);

enum kh_channel_dtls_state kh_channel_dtls_state(const struct kh_channel_dtls *dtls);
/* Why the state is FAILED. */
enum kh_channel_failure kh_channel_dtls_failure(const struct kh_channel_dtls *dtls);
/* Records, or rests of datagrams, that were not DTLS, not authentic or not acceptable. */
uint64_t kh_channel_dtls_dropped_malformed(const struct kh_channel_dtls *dtls);
uint64_t kh_channel_dtls_dropped_outbox_full(const struct kh_channel_dtls *dtls);

#endif
