/* io/tls.h - TLS 1.2 and 1.3 under a connection of io/tcp.h, by OpenSSL.
 *
 * SPDX-License-Identifier: MIT
 *
 * It hides our frames from boxes that let nothing else through; it proves nothing, for what we say
 * is sealed and a server is never trusted (docs/decisions/0010).  So a client takes every
 * certificate, and asks for none of a name it does not send.
 */
#ifndef KH_IO_TLS_H
#define KH_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KH_IO_TLS_FIRST_BYTE 22 /* of a ClientHello (RFC 7983 7): tells TLS from our frames */
#define KH_IO_TLS_WHY_SIZE 256

/* What connections of one role share; they outlive it. */
struct kh_io_tls_context;

/* For servers: certificate chain and private key, both in PEM form.  NULL with one sentence in why,
 * without a full stop. */
struct kh_io_tls_context *kh_io_tls_server_new(const char *certificate_file, const char *key_file,
                                               char why[static KH_IO_TLS_WHY_SIZE]);
struct kh_io_tls_context *kh_io_tls_client_new(void);           /* NULL without memory */
void kh_io_tls_context_free(struct kh_io_tls_context *context); /* NULL is allowed */

/* ---- one connection; for io/tcp.c ---- */

struct kh_io_tls;

/* On a descriptor that does not wait.  `name` is what a client calls the server, NULL for a server
 * and where there is no name.  NULL without memory. */
struct kh_io_tls *kh_io_tls_new(const struct kh_io_tls_context *context, int fd, const char *name);
/* Says goodbye if the connection takes it at once. */
void kh_io_tls_free(struct kh_io_tls *tls);

/* These three return 0, EAGAIN while the peer or the system is waited for, or why it is over: EPIPE
 * if the peer ended it, EPROTO if what it said was no TLS.  The handshake takes place in them. */
int kh_io_tls_shake(struct kh_io_tls *tls);
int kh_io_tls_read(struct kh_io_tls *tls, uint8_t *data, size_t max, size_t *len);
/* Takes a part, of at least one byte, or nothing: then the same has to be given again, and there
 * may be more behind it. */
int kh_io_tls_write(struct kh_io_tls *tls, const uint8_t *data, size_t len, size_t *taken);

bool kh_io_tls_is_open(const struct kh_io_tls *tls); /* the handshake is done */
/* The latest EAGAIN waits until the descriptor can be written to. */
bool kh_io_tls_wants_to_write(const struct kh_io_tls *tls);
/* There is more to read, of which the system knows nothing any more. */
bool kh_io_tls_has_pending(const struct kh_io_tls *tls);

#endif
