/* support/certificate.h - certificates and keys as files, for what serves TLS.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TEST_SUPPORT_CERTIFICATE_H
#define KH_TEST_SUPPORT_CERTIFICATE_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define CERTIFICATE_PATH_SIZE 64

/* A folder of its own, and two files in it. */
struct certificate_files {
    char folder[32];
    char certificate[CERTIFICATE_PATH_SIZE];
    char key[CERTIFICATE_PATH_SIZE];
};

static inline void certificate_folder(struct certificate_files *files)
{
    memcpy(files->folder, "/tmp/knothole-XXXXXX", sizeof "/tmp/knothole-XXXXXX");
    if (mkdtemp(files->folder) == NULL)
        abort();
    snprintf(files->certificate, CERTIFICATE_PATH_SIZE, "%s/certificate.pem", files->folder);
    snprintf(files->key, CERTIFICATE_PATH_SIZE, "%s/key.pem", files->folder);
}

static inline void certificate_clean(const struct certificate_files *files)
{
    (void)unlink(files->certificate);
    (void)unlink(files->key);
    (void)rmdir(files->folder);
}

static inline void certificate_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

static inline X509 *certificate_make(EVP_PKEY *key, const char *name)
{
    X509 *x509 = X509_new();

    if (x509 == NULL || X509_set_version(x509, 2) != 1 ||
        ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(x509), -3600) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(x509), 3600) == NULL ||
        X509_set_pubkey(x509, key) != 1 ||
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
                                   (const unsigned char *)name, -1, -1, 0) != 1 ||
        X509_set_issuer_name(x509, X509_get_subject_name(x509)) != 1 ||
        X509_sign(x509, key, EVP_sha256()) == 0)
        abort();
    return x509;
}

/* Writes both files anew: self-signed, on curve P-256; the key sealed with a passphrase if there is
 * one. */
static inline void certificate_write(const struct certificate_files *files, const char *name,
                                     const char *passphrase)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = certificate_make(key, name);
    FILE *certificate = fopen(files->certificate, "w");
    FILE *secret = fopen(files->key, "w");
    const EVP_CIPHER *cipher = passphrase == NULL ? NULL : EVP_aes_128_cbc();

    if (certificate == NULL || secret == NULL || PEM_write_X509(certificate, x509) != 1 ||
        PEM_write_PrivateKey(secret, key, cipher, NULL, 0, NULL, (void *)(size_t)passphrase) != 1 ||
        fclose(certificate) != 0 || fclose(secret) != 0)
        abort();
    X509_free(x509);
    EVP_PKEY_free(key);
}

#endif
