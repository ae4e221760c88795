/* runtime/verify.h - digits two people compare to know that nobody stands between them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RUNTIME_VERIFY_H
#define KH_RUNTIME_VERIFY_H

#include "crypto/crypto.h"
#include "knothole/knothole.h"

/* Writes eight groups of five digits, the same whichever key comes first: 132 bits, so that no one
 * finds two pairs of keys with the same digits.  Returns out. */
char *kh_runtime_verify_digits(const uint8_t a[static KH_KEY_LEN],
                               const uint8_t b[static KH_KEY_LEN],
                               char out[static KH_RUNTIME_VERIFY_SIZE]);

#endif
