/* channel/certificate.h - what a certificate is made of; for dtls.c only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_CHANNEL_CERTIFICATE_H
#define KH_CHANNEL_CERTIFICATE_H

#include <openssl/ssl.h>

#include "channel/channel.h"

struct kh_channel_certificate {
    EVP_PKEY *key;
    X509 *x509;
    uint8_t fingerprint[KH_CHANNEL_FINGERPRINT_LEN];
    /* What all channels of a member share lies here, so that a channel costs no context. */
    SSL_CTX *context;
    BIO_METHOD *bio_method;
};

/* SHA-256 over the certificate's DER form (RFC 8122 5). */
bool kh_channel_certificate_digest(const X509 *x509,
                                   uint8_t out[static KH_CHANNEL_FINGERPRINT_LEN]);

#endif
