/* ice/credentials.c - user fragments and passwords (RFC 8445 5.3).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/ice.h"

#include <assert.h>
#include <string.h>

#define UFRAG_MIN 4 /* RFC 8839 5.4 */
#define PASSWORD_MIN 22
#define UFRAG_MADE 8     /* 48 random bits */
#define PASSWORD_MADE 24 /* 144 random bits */

static const char ice_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void make_text(char *out, size_t len, struct kh_rng *rng)
{
    for (size_t i = 0; i < len; i++)
        out[i] = ice_chars[kh_rng_below(rng, 64)];
    out[len] = '\0';
}

void kh_ice_credentials_make(struct kh_ice_credentials *out, struct kh_rng *rng)
{
    *out = (struct kh_ice_credentials){0};
    make_text(out->ufrag, UFRAG_MADE, rng);
    make_text(out->password, PASSWORD_MADE, rng);
    assert(kh_ice_credentials_are_valid(out));
}

/* size counts the terminator's place, which must hold one if nothing before it does. */
static bool is_ice_text(const char *text, size_t size, size_t len_min)
{
    const char *end = memchr(text, '\0', size);
    size_t len;

    if (end == NULL)
        return false;
    len = (size_t)(end - text);
    return len >= len_min && strspn(text, ice_chars) == len;
}

bool kh_ice_credentials_are_valid(const struct kh_ice_credentials *credentials)
{
    return is_ice_text(credentials->ufrag, sizeof credentials->ufrag, UFRAG_MIN) &&
           is_ice_text(credentials->password, sizeof credentials->password, PASSWORD_MIN);
}
