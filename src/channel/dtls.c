/* channel/dtls.c - OpenSSL's DTLS between two memory queues, on our time.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/dtls.h"

#include <assert.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/bytes.h"
#include "base/outbox.h"
#include "channel/certificate.h"

#define DATAGRAM_MAX 2048 /* more than any path outside a laboratory carries */
#define OUTBOX_MAX 8      /* a flight is one or two datagrams; repeats of it may wait behind it */

#define CIPHERS "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"
#define GROUPS "X25519:P-256"

#define RECORD_HEADER_LEN 13 /* type, version, epoch, sequence number, length (RFC 6347 4.1) */
#define RECORD_ALERT 21
#define RECORD_APPLICATION_DATA 23

/* When to repeat a flight, in ms after the time before.  RFC 6347 4.2.4.1 says 1 s and doubling,
 * written before hole punching: here ICE has just measured the path, 150 ms is the round trip of
 * nearly all of them, and slow growth helps where much is lost.  OpenSSL gives up after 12. */
static const unsigned int waits_ms[] = {150,  225,  340,  500,  750,   1100,
                                        1700, 3400, 6800, 9000, 12000, 12000};
#define REPEATS_MAX (sizeof waits_ms / sizeof *waits_ms)
#define PATIENCE                                                                                   \
    KH_SECONDS(60) /* a browser's ICE takes up to 30 s to notice a dead path itself                \
                    */

#define GOODBYE_LEN_MAX 64 /* a close_notify: 2 bytes and KH_CHANNEL_DTLS_OVERHEAD */
#define GOODBYES_MAX 16    /* one gets through even if half of them are lost */

#define FAR_AWAY_US 4000000000u /* more than an hour; see handle_timeout */

struct kh_channel_dtls {
    enum kh_channel_dtls_state state;
    enum kh_channel_failure failure;
    bool active;
    uint8_t remote_fingerprint[KH_CHANNEL_FINGERPRINT_LEN];
    SSL *ssl;
    struct kh_reader in; /* the datagram being handled, borrowed; empty between inputs */
    bool fed;            /* the datagram being handled has given something to OpenSSL or to us */
    struct kh_outbox outbox;
    uint8_t staged[DATAGRAM_MAX]; /* the datagram that records are being added to */
    size_t staged_len;
    struct timeval *openssl_due; /* OpenSSL's own timer, inside ssl; NULL until it was first set */
    kh_time repeat_at;           /* KH_NEVER: OpenSSL waits for nothing */
    unsigned int repeats;        /* of the flight sent last */
    kh_time deadline;            /* the handshake is given up then; KH_NEVER: not begun, or done */
    bool leaving;                /* what is written now is our close_notify */
    uint8_t goodbye[GOODBYE_LEN_MAX]; /* our close_notify, to repeat */
    size_t goodbye_len;
    unsigned int goodbyes; /* repeated so far */
    uint64_t dropped_malformed;
};

static void enter(struct kh_channel_dtls *dtls, enum kh_channel_dtls_state state)
{
    assert(state >= dtls->state);
    dtls->state = state;
    if (state != KH_CHANNEL_DTLS_HANDSHAKING) {
        dtls->repeat_at = KH_NEVER;
        dtls->deadline = KH_NEVER;
    }
}

static void fail(struct kh_channel_dtls *dtls, enum kh_channel_failure failure)
{
    /* The first reason stays: that OpenSSL gave up follows from a wrong fingerprint. */
    if (dtls->failure == KH_CHANNEL_FAILURE_NONE)
        dtls->failure = failure;
    enter(dtls, KH_CHANNEL_DTLS_FAILED);
}

/* ---- the BIO: one datagram in, many out ---- */

/* Takes the next record off the datagram.  Handing OpenSSL one record at a time instead of the
 * datagram lets us drop those that only harm: whoever knows our addresses could end a handshake
 * with a forged alert, as nothing in epoch 0 is authentic (RFC 6347 4.1.2.7 lets us ignore it). */
static const uint8_t *next_record(struct kh_channel_dtls *dtls, size_t *len)
{
    while (dtls->in.left > 0) {
        const uint8_t *record = dtls->in.data;
        uint8_t type = kh_read_u8(&dtls->in);
        uint8_t major = kh_read_u8(&dtls->in);
        uint16_t epoch;
        uint16_t body_len;

        (void)kh_read_u8(&dtls->in);
        epoch = kh_read_u16(&dtls->in);
        (void)kh_read_bytes(&dtls->in, 6);
        body_len = kh_read_u16(&dtls->in);
        (void)kh_read_bytes(&dtls->in, body_len);
        if (dtls->in.failed || major != 0xfe) {
            dtls->in = kh_reader_of(NULL, 0);
            dtls->dropped_malformed++;
            dtls->fed = true; /* counted here already */
            return NULL;
        }
        if (epoch == 0 && (type == RECORD_ALERT || type == RECORD_APPLICATION_DATA)) {
            dtls->dropped_malformed++;
            dtls->fed = true;
            continue;
        }
        *len = RECORD_HEADER_LEN + (size_t)body_len;
        return record;
    }
    return NULL;
}

static int bio_read(BIO *bio, char *out, int max)
{
    struct kh_channel_dtls *dtls = BIO_get_data(bio);
    size_t len = 0;
    const uint8_t *record = next_record(dtls, &len);

    BIO_clear_retry_flags(bio);
    if (record == NULL || max <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (len > (size_t)max)
        len = (size_t)max; /* longer than any record may be; OpenSSL drops it as truncated */
    memcpy(out, record, len);
    return (int)len;
}

static void stage(struct kh_channel_dtls *dtls, const uint8_t *data, size_t len)
{
    struct kh_datagram full = {.data = dtls->staged, .len = dtls->staged_len};

    if (len > dtls->outbox.len_max) {
        dtls->outbox.dropped++;
        return;
    }
    if (dtls->staged_len + len > dtls->outbox.len_max) {
        (void)kh_outbox_push(&dtls->outbox, &full); /* no room: lost like on any network */
        dtls->staged_len = 0;
    }
    memcpy(dtls->staged + dtls->staged_len, data, len);
    dtls->staged_len += len;
}

/* Gathers records into datagrams: OpenSSL does so with a fresh flight, but sends each message of a
 * repeated one by itself, and the peer's chance to get all of them would shrink with each. */
static int bio_write(BIO *bio, const char *data, int len)
{
    struct kh_channel_dtls *dtls = BIO_get_data(bio);
    size_t record_len = (size_t)len;

    BIO_clear_retry_flags(bio);
    if (dtls->leaving && record_len <= sizeof dtls->goodbye) {
        memcpy(dtls->goodbye, data, record_len);
        dtls->goodbye_len = record_len;
    }
    stage(dtls, (const uint8_t *)data, record_len);
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct kh_channel_dtls *dtls = BIO_get_data(bio);

    (void)number;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    if (command == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT) {
        dtls->openssl_due = pointer;
        /* Zero: a whole flight of the peer has come, and OpenSSL counts from nought as well. */
        if (dtls->openssl_due->tv_sec == 0 && dtls->openssl_due->tv_usec == 0)
            dtls->repeats = 0;
    }
    return 0;
}

/* ---- what all sessions of a certificate share ---- */

/* Lets OpenSSL's verification say yes exactly if the fingerprint is the expected one.  Done here,
 * in mid-handshake, so that nothing is ever finished with a stranger; that the peer also has the
 * certificate's key, its CertificateVerify or ServerKeyExchange proves next. */
static int verify(X509_STORE_CTX *store, void *context)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct kh_channel_dtls *dtls = SSL_get_app_data(ssl);
    const X509 *x509 = X509_STORE_CTX_get0_cert(store);
    uint8_t fingerprint[KH_CHANNEL_FINGERPRINT_LEN];

    (void)context;
    if (x509 != NULL && kh_channel_certificate_digest(x509, fingerprint) &&
        kh_equal(fingerprint, dtls->remote_fingerprint, sizeof fingerprint)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    dtls->failure = KH_CHANNEL_FAILURE_FINGERPRINT;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

static bool bio_method_init(struct kh_channel_certificate *certificate)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "datagrams");

    certificate->bio_method = method;
    return method != NULL && BIO_meth_set_read(method, bio_read) == 1 &&
           BIO_meth_set_write(method, bio_write) == 1 && BIO_meth_set_ctrl(method, bio_ctrl) == 1;
}

bool kh_channel_dtls_context_init(struct kh_channel_certificate *certificate)
{
    SSL_CTX *context = SSL_CTX_new(DTLS_method());

    certificate->context = context;
    if (context == NULL || !bio_method_init(certificate))
        return false;
    SSL_CTX_set_options(context, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, verify, NULL);
    /* Our datagrams are small; without this each session holds 16 KiB to write from. */
    (void)SSL_CTX_set_max_send_fragment(context, DATAGRAM_MAX);
    return SSL_CTX_set_min_proto_version(context, DTLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, DTLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(context, CIPHERS) == 1 &&
           SSL_CTX_set1_groups_list(context, GROUPS) == 1 &&
           SSL_CTX_use_certificate(context, certificate->x509) == 1 &&
           SSL_CTX_use_PrivateKey(context, certificate->key) == 1;
}

void kh_channel_dtls_context_fini(struct kh_channel_certificate *certificate)
{
    SSL_CTX_free(certificate->context);
    BIO_meth_free(certificate->bio_method);
}

/* ---- life ---- */

/* Keeps OpenSSL's timer from ever running out by itself; see repeat_flight. */
static unsigned int never_due(SSL *ssl, unsigned int previous_us)
{
    (void)ssl;
    (void)previous_us;
    return FAR_AWAY_US;
}

static bool make_session(struct kh_channel_dtls *dtls,
                         const struct kh_channel_certificate *certificate, size_t datagram_max)
{
    BIO *bio;

    dtls->ssl = SSL_new(certificate->context);
    bio = BIO_new(certificate->bio_method);
    if (dtls->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        return false;
    }
    BIO_set_data(bio, dtls);
    BIO_set_init(bio, 1);
    SSL_set_bio(dtls->ssl, bio, bio);
    SSL_set_app_data(dtls->ssl, dtls);
    (void)SSL_set_mtu(dtls->ssl, (long)datagram_max);
    DTLS_set_timer_cb(dtls->ssl, never_due);
    if (dtls->active)
        SSL_set_connect_state(dtls->ssl);
    else
        SSL_set_accept_state(dtls->ssl);
    return true;
}

enum kh_status kh_channel_dtls_new(struct kh_channel_dtls **out,
                                   const struct kh_channel_config *config)
{
    struct kh_channel_dtls *dtls = calloc(1, sizeof *dtls);
    size_t datagram_max = config->datagram_max != 0 ? config->datagram_max : KH_DATAGRAM_MAX;

    assert(config->certificate != NULL);
    assert(datagram_max >= 512 && datagram_max <= DATAGRAM_MAX);
    if (dtls == NULL)
        return KH_ERR_MEMORY;
    dtls->active = config->role == KH_CHANNEL_ACTIVE;
    dtls->repeat_at = KH_NEVER;
    dtls->deadline = KH_NEVER;
    memcpy(dtls->remote_fingerprint, config->remote_fingerprint, sizeof dtls->remote_fingerprint);
    ERR_clear_error();
    if (kh_outbox_init(&dtls->outbox, OUTBOX_MAX, datagram_max) != KH_OK ||
        !make_session(dtls, config->certificate, datagram_max)) {
        ERR_clear_error();
        kh_channel_dtls_free(dtls);
        return KH_ERR_MEMORY;
    }
    *out = dtls;
    return KH_OK;
}

void kh_channel_dtls_free(struct kh_channel_dtls *dtls)
{
    if (dtls == NULL)
        return;
    SSL_free(dtls->ssl);
    kh_outbox_fini(&dtls->outbox);
    free(dtls);
}

/* ---- the handshake ---- */

static void set_repeat(struct kh_channel_dtls *dtls, kh_time now)
{
    struct timeval left;
    bool waits = DTLSv1_get_timeout(dtls->ssl, &left) == 1;

    dtls->repeat_at = waits && dtls->repeats < REPEATS_MAX
                          ? kh_time_add(now, KH_MILLISECONDS(waits_ms[dtls->repeats]))
                          : KH_NEVER;
}

static void proceed(struct kh_channel_dtls *dtls, kh_time now)
{
    OSSL_HANDSHAKE_STATE before = SSL_get_state(dtls->ssl);
    int result;

    assert(dtls->state == KH_CHANNEL_DTLS_HANDSHAKING);
    ERR_clear_error();
    result = SSL_do_handshake(dtls->ssl);
    if (result == 1) {
        dtls->fed = true;
        enter(dtls, KH_CHANNEL_DTLS_OPEN);
    } else if (SSL_get_error(dtls->ssl, result) != SSL_ERROR_WANT_READ) {
        fail(dtls, KH_CHANNEL_FAILURE_HANDSHAKE);
    } else if (SSL_get_state(dtls->ssl) != before) {
        dtls->fed = true;
        set_repeat(dtls, now);
    }
    ERR_clear_error();
}

/* Makes OpenSSL send its last flight again.
 *
 * OpenSSL looks at the real clock, both when asked to repeat and whenever a read finds nothing, and
 * then repeats by itself.  So its timer is always set an hour ahead (never_due), and dated back
 * here, through the pointer it shows to the BIO, for the length of this one call. */
static void repeat_flight(struct kh_channel_dtls *dtls, kh_time now)
{
    struct timeval left;

    if (dtls->openssl_due == NULL || DTLSv1_get_timeout(dtls->ssl, &left) != 1 ||
        dtls->repeats >= REPEATS_MAX)
        return;
    *dtls->openssl_due = (struct timeval){.tv_sec = 1};
    dtls->repeats++;
    ERR_clear_error();
    if (DTLSv1_handle_timeout(dtls->ssl) < 0)
        fail(dtls, KH_CHANNEL_FAILURE_TIMEOUT);
    else
        set_repeat(dtls, now);
    ERR_clear_error();
}

static void begin(struct kh_channel_dtls *dtls, kh_time now)
{
    enter(dtls, KH_CHANNEL_DTLS_HANDSHAKING);
    dtls->deadline = kh_time_add(now, PATIENCE);
}

void kh_channel_dtls_start(struct kh_channel_dtls *dtls, kh_time now)
{
    if (dtls->state == KH_CHANNEL_DTLS_NEW) {
        begin(dtls, now);
        proceed(dtls, now);
    } else if (dtls->state == KH_CHANNEL_DTLS_HANDSHAKING) {
        dtls->deadline = kh_time_add(now, PATIENCE);
        repeat_flight(dtls, now);
    }
}

/* Says goodbye again to a peer that goes on talking, so it missed the first.  The record is the
 * same to the bit, which the peer's replay window lets through if, and only if, it never came. */
static void repeat_goodbye(struct kh_channel_dtls *dtls)
{
    if (dtls->goodbye_len == 0 || dtls->goodbyes >= GOODBYES_MAX)
        return;
    dtls->goodbyes++;
    stage(dtls, dtls->goodbye, dtls->goodbye_len);
}

void kh_channel_dtls_handle_datagram(struct kh_channel_dtls *dtls, kh_time now, const uint8_t *data,
                                     size_t len)
{
    assert(dtls->in.left == 0);
    if (dtls->state == KH_CHANNEL_DTLS_NEW && !dtls->active)
        begin(dtls, now); /* the peer's path was valid before ours */
    if (dtls->state != KH_CHANNEL_DTLS_HANDSHAKING && dtls->state != KH_CHANNEL_DTLS_OPEN) {
        dtls->dropped_malformed++;
        repeat_goodbye(dtls);
        return;
    }
    dtls->in = kh_reader_of(data, len);
    dtls->fed = false;
    if (dtls->state == KH_CHANNEL_DTLS_HANDSHAKING)
        proceed(dtls, now);
}

void kh_channel_dtls_handle_timeout(struct kh_channel_dtls *dtls, kh_time now)
{
    if (dtls->state != KH_CHANNEL_DTLS_HANDSHAKING)
        return;
    if (now >= dtls->deadline)
        fail(dtls, KH_CHANNEL_FAILURE_TIMEOUT);
    else if (now >= dtls->repeat_at)
        repeat_flight(dtls, now);
}

/* ---- data ---- */

size_t kh_channel_dtls_read(struct kh_channel_dtls *dtls,
                            uint8_t out[static KH_CHANNEL_DTLS_PLAIN_MAX])
{
    int len;

    if (dtls->state == KH_CHANNEL_DTLS_OPEN) {
        ERR_clear_error();
        len = SSL_read(dtls->ssl, out, KH_CHANNEL_DTLS_PLAIN_MAX);
        if (len > 0) {
            dtls->fed = true;
            return (size_t)len;
        }
        if (SSL_get_error(dtls->ssl, len) == SSL_ERROR_ZERO_RETURN)
            enter(dtls, KH_CHANNEL_DTLS_CLOSED);
        else if (SSL_get_error(dtls->ssl, len) != SSL_ERROR_WANT_READ)
            fail(dtls, KH_CHANNEL_FAILURE_ABORTED); /* an authentic fatal alert */
        else if (!dtls->fed)
            dtls->dropped_malformed++; /* altered, replayed, or of another session */
        dtls->fed = true;
        ERR_clear_error();
    }
    dtls->in = kh_reader_of(NULL, 0);
    return 0;
}

void kh_channel_dtls_send(struct kh_channel_dtls *dtls, const uint8_t *data, size_t len)
{
    assert(len > 0 && len + KH_CHANNEL_DTLS_OVERHEAD <= dtls->outbox.len_max);
    if (dtls->state != KH_CHANNEL_DTLS_OPEN)
        return;
    ERR_clear_error();
    (void)SSL_write(dtls->ssl, data, (int)len);
    ERR_clear_error();
}

void kh_channel_dtls_close(struct kh_channel_dtls *dtls)
{
    if (dtls->state == KH_CHANNEL_DTLS_OPEN) {
        ERR_clear_error();
        dtls->leaving = true;
        (void)SSL_shutdown(dtls->ssl);
        ERR_clear_error();
    }
    if (dtls->state != KH_CHANNEL_DTLS_FAILED)
        enter(dtls, KH_CHANNEL_DTLS_CLOSED);
}

/* ---- outputs ---- */

bool kh_channel_dtls_next_transmit(struct kh_channel_dtls *dtls, const uint8_t **data, size_t *len)
{
    struct kh_datagram datagram;

    if (kh_outbox_next(&dtls->outbox, &datagram)) {
        *data = datagram.data;
        *len = datagram.len;
        return true;
    }
    *data = dtls->staged;
    *len = dtls->staged_len;
    dtls->staged_len = 0;
    return *len > 0;
}

bool kh_channel_dtls_has_transmit(const struct kh_channel_dtls *dtls)
{
    return !kh_outbox_is_empty(&dtls->outbox) || dtls->staged_len > 0;
}

kh_time kh_channel_dtls_timeout(const struct kh_channel_dtls *dtls)
{
    return kh_time_min(dtls->repeat_at, dtls->deadline);
}

enum kh_channel_dtls_state kh_channel_dtls_state(const struct kh_channel_dtls *dtls)
{
    return dtls->state;
}

enum kh_channel_failure kh_channel_dtls_failure(const struct kh_channel_dtls *dtls)
{
    return dtls->failure;
}

uint64_t kh_channel_dtls_dropped_malformed(const struct kh_channel_dtls *dtls)
{
    return dtls->dropped_malformed;
}

uint64_t kh_channel_dtls_dropped_outbox_full(const struct kh_channel_dtls *dtls)
{
    return dtls->outbox.dropped;
}
