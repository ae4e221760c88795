/* knotholed/admission.h - how many TLS handshakes may begin: they cost more than all else we do.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_ADMISSION_H
#define KH_KNOTHOLED_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/time.h"

/* A second, and at once.  One takes 0.5 ms with a key on P-256 and 0.9 with one of RSA, 2048 bits:
 * all together leave four fifths of a processor to those who are connected.  A prefix may be an
 * office that comes back. */
#define KH_KNOTHOLED_HANDSHAKES_RATE 250
#define KH_KNOTHOLED_HANDSHAKES_BURST 500
#define KH_KNOTHOLED_HANDSHAKES_PREFIX_RATE 32
#define KH_KNOTHOLED_HANDSHAKES_PREFIX_BURST 128

#define KH_KNOTHOLED_ADMISSION_SLOTS 1024 /* a power of two; prefixes that meet in one share it */

struct kh_knotholed_allowance {
    kh_duration used; /* in time that it takes to be granted again */
    kh_time at;
};

struct kh_knotholed_admission {
    uint8_t hash_key[16]; /* filled in by the owner at random: no one chooses whom they crowd out */
    struct kh_knotholed_allowance all;
    struct kh_knotholed_allowance prefixes[KH_KNOTHOLED_ADMISSION_SLOTS];
};

/* True, and counted, if this client may begin one now.  Prefix: an IPv4 address, an IPv6 /64. */
bool kh_knotholed_admission_take(struct kh_knotholed_admission *admission, kh_time now,
                                 const struct kh_addr *client);

#endif
