/* io/tls.c - TLS 1.2 and 1.3 under a connection of io/tcp.h, by OpenSSL.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/tls.h"

#include <assert.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct kh_io_tls_context {
    SSL_CTX *ctx;
};

struct kh_io_tls {
    SSL *ssl;
    int fd;
    int error; /* of the system, why it is over; 0: none yet */
    bool wants_to_write;
    bool is_broken; /* after that nothing may be asked of OpenSSL */
};

/* ---- the descriptor, without signals ----
 *
 * OpenSSL's own socket BIO calls write(), which would end a program whose peer has gone. */

static BIO_METHOD *method;
static CRYPTO_ONCE method_once = CRYPTO_ONCE_STATIC_INIT;

static bool is_for_now(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct kh_io_tls *tls = BIO_get_data(bio);
    ssize_t sent = send(tls->fd, data, (size_t)len, MSG_NOSIGNAL);

    BIO_clear_retry_flags(bio);
    if (sent >= 0)
        return (int)sent;
    if (is_for_now(errno))
        BIO_set_retry_write(bio);
    else
        tls->error = errno;
    return -1;
}

static int bio_read(BIO *bio, char *data, int max)
{
    struct kh_io_tls *tls = BIO_get_data(bio);
    ssize_t got = recv(tls->fd, data, (size_t)max, 0);

    BIO_clear_retry_flags(bio);
    if (got > 0)
        return (int)got;
    if (got < 0 && is_for_now(errno))
        BIO_set_retry_read(bio);
    else
        tls->error = got == 0 ? EPIPE : errno;
    return got == 0 ? 0 : -1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static void make_method(void)
{
    BIO_METHOD *made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "knothole");

    if (made != NULL && BIO_meth_set_write(made, bio_write) == 1 &&
        BIO_meth_set_read(made, bio_read) == 1 && BIO_meth_set_ctrl(made, bio_control) == 1)
        method = made;
    else
        BIO_meth_free(made);
}

/* ---- contexts ---- */

static struct kh_io_tls_context *new_context(const SSL_METHOD *role)
{
    struct kh_io_tls_context *context = calloc(1, sizeof *context);

    if (context == NULL || CRYPTO_THREAD_run_once(&method_once, make_method) != 1 ||
        method == NULL || (context->ctx = SSL_CTX_new(role)) == NULL ||
        SSL_CTX_set_min_proto_version(context->ctx, TLS1_2_VERSION) != 1) {
        kh_io_tls_context_free(context);
        return NULL;
    }
    (void)SSL_CTX_set_options(context->ctx,
                              SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_session_cache_mode(context->ctx, SSL_SESS_CACHE_OFF);
    /* Our queue moves, and takes what is not sent at once; thousands of connections are idle. */
    (void)SSL_CTX_set_mode(context->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                             SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                             SSL_MODE_RELEASE_BUFFERS);
    /* One call, one record: else a client that only ever changes its keys keeps us busy with them.
     */
    (void)SSL_CTX_clear_mode(context->ctx, SSL_MODE_AUTO_RETRY);
    return context;
}

struct kh_io_tls_context *kh_io_tls_client_new(void)
{
    struct kh_io_tls_context *context = new_context(TLS_client_method());

    if (context != NULL)
        SSL_CTX_set_verify(context->ctx, SSL_VERIFY_NONE, NULL);
    ERR_clear_error();
    return context;
}

void kh_io_tls_context_free(struct kh_io_tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ctx);
    free(context);
}

/* RFC 7443: who offers TURN gets it.  Who offers other protocols only is served all the same: what
 * they speak is seen soon enough. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned int in_len, void *context)
{
    static const char *const ours[] = {"stun.turn", "stun.nat-discovery"};

    (void)ssl;
    (void)context;
    for (unsigned at = 0; at < in_len && in_len - at > in[at]; at += 1u + in[at]) {
        for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
            if (in[at] != strlen(ours[i]) || memcmp(in + at + 1, ours[i], in[at]) != 0)
                continue;
            *out = in + at + 1;
            *out_len = in[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *out, int max, int writing, void *asked)
{
    (void)out;
    (void)max;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static bool cannot_read(const char *file, char why[static KH_IO_TLS_WHY_SIZE])
{
    FILE *stream = fopen(file, "re");
    int error = errno;

    if (stream != NULL && fgetc(stream) != EOF) {
        (void)fclose(stream);
        return false;
    }
    if (stream != NULL && ferror(stream) == 0)
        (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "%.150s is empty", file);
    else
        (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "cannot read %.150s: %s", file,
                       strerror(stream == NULL ? error : errno));
    if (stream != NULL)
        (void)fclose(stream);
    return true;
}

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text == NULL ? "no reason given" : text;
}

static bool load_certificate(SSL_CTX *ctx, const char *file, char why[static KH_IO_TLS_WHY_SIZE])
{
    if (cannot_read(file, why))
        return false;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, file) == 1)
        return true;
    (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "%.120s holds no certificate in PEM form (%.80s)", file,
                   reason());
    return false;
}

static bool load_key(SSL_CTX *ctx, const char *file, char why[static KH_IO_TLS_WHY_SIZE])
{
    bool asked = false;
    bool done;
    bool fits;

    if (cannot_read(file, why))
        return false;
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    ERR_clear_error();
    done = SSL_CTX_use_PrivateKey_file(ctx, file, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    fits = done ? SSL_CTX_check_private_key(ctx) == 1
                : ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH;
    if (done && fits)
        return true;
    if (asked)
        (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "the key in %.150s is encrypted", file);
    else if (!fits)
        (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "the key in %.150s is not that of the certificate",
                       file);
    else
        (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "%.120s holds no private key in PEM form (%.80s)",
                       file, reason());
    return false;
}

struct kh_io_tls_context *kh_io_tls_server_new(const char *certificate_file, const char *key_file,
                                               char why[static KH_IO_TLS_WHY_SIZE])
{
    struct kh_io_tls_context *context = new_context(TLS_server_method());

    if (context == NULL) {
        (void)snprintf(why, KH_IO_TLS_WHY_SIZE, "out of memory");
    } else if (!load_certificate(context->ctx, certificate_file, why) ||
               !load_key(context->ctx, key_file, why)) {
        kh_io_tls_context_free(context);
        context = NULL;
    } else {
        SSL_CTX_set_alpn_select_cb(context->ctx, choose_protocol, NULL);
        (void)SSL_CTX_set_num_tickets(context->ctx, 0);
    }
    ERR_clear_error();
    return context;
}

/* ---- connections ---- */

static bool set_name(SSL *ssl, const char *name)
{
    return name == NULL || SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct kh_io_tls *kh_io_tls_new(const struct kh_io_tls_context *context, int fd, const char *name)
{
    struct kh_io_tls *tls = calloc(1, sizeof *tls);
    BIO *bio = NULL;

    if (tls == NULL)
        return NULL;
    tls->fd = fd;
    tls->ssl = SSL_new(context->ctx);
    bio = BIO_new(method);
    if (tls->ssl == NULL || bio == NULL || !set_name(tls->ssl, name)) {
        BIO_free(bio);
        SSL_free(tls->ssl);
        free(tls);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (SSL_is_server(tls->ssl))
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    return tls;
}

void kh_io_tls_free(struct kh_io_tls *tls)
{
    if (tls == NULL)
        return;
    ERR_clear_error();
    if (!tls->is_broken && kh_io_tls_is_open(tls))
        (void)SSL_shutdown(tls->ssl);
    SSL_free(tls->ssl);
    ERR_clear_error();
    free(tls);
}

/* What became of an operation that gave this result. */
static int outcome(struct kh_io_tls *tls, int result)
{
    switch (result > 0 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_NONE:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        tls->wants_to_write = true;
        return EAGAIN;
    case SSL_ERROR_WANT_READ:
        return EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return EPIPE;
    default:
        tls->is_broken = true;
        ERR_clear_error();
        return tls->error != 0 ? tls->error : EPROTO;
    }
}

int kh_io_tls_shake(struct kh_io_tls *tls)
{
    if (tls->is_broken)
        return tls->error != 0 ? tls->error : EPROTO;
    ERR_clear_error();
    if (kh_io_tls_is_open(tls))
        return 0;
    tls->wants_to_write = false;
    return outcome(tls, SSL_do_handshake(tls->ssl));
}

int kh_io_tls_read(struct kh_io_tls *tls, uint8_t *data, size_t max, size_t *len)
{
    int error = kh_io_tls_shake(tls);

    assert(max > 0);
    *len = 0;
    if (error != 0)
        return error;
    return outcome(tls, SSL_read_ex(tls->ssl, data, max, len));
}

int kh_io_tls_write(struct kh_io_tls *tls, const uint8_t *data, size_t len, size_t *taken)
{
    int error = kh_io_tls_shake(tls);

    assert(len > 0);
    *taken = 0;
    if (error != 0)
        return error;
    tls->wants_to_write = false;
    return outcome(tls, SSL_write_ex(tls->ssl, data, len, taken));
}

bool kh_io_tls_is_open(const struct kh_io_tls *tls)
{
    return SSL_is_init_finished(tls->ssl) == 1;
}

bool kh_io_tls_wants_to_write(const struct kh_io_tls *tls)
{
    return tls->wants_to_write;
}

bool kh_io_tls_has_pending(const struct kh_io_tls *tls)
{
    return SSL_pending(tls->ssl) > 0;
}
