/* channel/certificate.c - a self-signed P-256 certificate that its fingerprint alone vouches for.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/certificate.h"

#include <assert.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "channel/dtls.h"

/* Fixed, because nobody may look at a clock here and nobody checks: trust comes from the
 * fingerprint (RFC 8827 6.5). */
#define NOT_BEFORE "20240101000000Z"
#define NOT_AFTER "21240101000000Z"

#define SERIAL_BITS 63 /* random, so that two certificates of one name differ; always positive */

bool kh_channel_certificate_digest(const X509 *x509, uint8_t out[static KH_CHANNEL_FINGERPRINT_LEN])
{
    unsigned int len = 0;

    if (X509_digest(x509, EVP_sha256(), out, &len) != 1)
        return false;
    assert(len == KH_CHANNEL_FINGERPRINT_LEN);
    return true;
}

static bool set_serial(X509 *x509)
{
    BIGNUM *number = BN_new();
    bool done = number != NULL && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, 0) == 1 &&
                BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL;

    BN_free(number);
    return done;
}

static bool set_names(X509 *x509)
{
    X509_NAME *name = X509_get_subject_name(x509);

    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"Knothole",
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(x509, name) == 1;
}

static bool make(struct kh_channel_certificate *certificate)
{
    X509 *x509;

    certificate->key = EVP_EC_gen("P-256");
    certificate->x509 = x509 = X509_new();
    return certificate->key != NULL && x509 != NULL &&
           X509_set_version(x509, X509_VERSION_3) == 1 && set_serial(x509) && set_names(x509) &&
           ASN1_TIME_set_string_X509(X509_getm_notBefore(x509), NOT_BEFORE) == 1 &&
           ASN1_TIME_set_string_X509(X509_getm_notAfter(x509), NOT_AFTER) == 1 &&
           X509_set_pubkey(x509, certificate->key) == 1 &&
           X509_sign(x509, certificate->key, EVP_sha256()) > 0 &&
           kh_channel_certificate_digest(x509, certificate->fingerprint);
}

enum kh_status kh_channel_certificate_new(struct kh_channel_certificate **out)
{
    struct kh_channel_certificate *certificate = calloc(1, sizeof *certificate);

    assert(out != NULL);
    if (certificate == NULL)
        return KH_ERR_MEMORY;
    ERR_clear_error();
    if (!make(certificate) || !kh_channel_dtls_context_init(certificate)) {
        ERR_clear_error();
        kh_channel_certificate_free(certificate);
        return KH_ERR_MEMORY;
    }
    *out = certificate;
    return KH_OK;
}

void kh_channel_certificate_free(struct kh_channel_certificate *certificate)
{
    if (certificate == NULL)
        return;
    kh_channel_dtls_context_fini(certificate);
    X509_free(certificate->x509);
    EVP_PKEY_free(certificate->key);
    free(certificate);
}

void kh_channel_certificate_fingerprint(const struct kh_channel_certificate *certificate,
                                        uint8_t out[static KH_CHANNEL_FINGERPRINT_LEN])
{
    assert(certificate != NULL);
    memcpy(out, certificate->fingerprint, KH_CHANNEL_FINGERPRINT_LEN);
}
