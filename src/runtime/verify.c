/* runtime/verify.c - a short authentication string of two identities.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/verify.h"

#include <stdio.h>
#include <string.h>

#define GROUPS 8

char *kh_runtime_verify_digits(const uint8_t a[static KH_KEY_LEN],
                               const uint8_t b[static KH_KEY_LEN],
                               char out[static KH_RUNTIME_VERIFY_SIZE])
{
    static const char label[] = "knothole verify 1";
    bool ordered = memcmp(a, b, KH_KEY_LEN) <= 0;
    const struct kh_span spans[] = {
        {label, sizeof label - 1}, {ordered ? a : b, KH_KEY_LEN}, {ordered ? b : a, KH_KEY_LEN}};
    uint8_t hash[KH_SHA256_LEN];
    char *at = out;

    kh_sha256(spans, 3, hash);
    for (size_t i = 0; i < GROUPS; i++) {
        uint32_t value = (uint32_t)hash[4 * i] << 24 | (uint32_t)hash[4 * i + 1] << 16 |
                         (uint32_t)hash[4 * i + 2] << 8 | hash[4 * i + 3];

        at += snprintf(at, 7, "%05u%s", value % 100000, i + 1 < GROUPS ? " " : "");
    }
    return out;
}
