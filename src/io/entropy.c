/* io/entropy.c - random bytes by getrandom(2).
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/entropy.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

void kh_io_entropy_fill(void *out, size_t len)
{
    uint8_t *at = out;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        /* Nothing secret can be made without entropy, so there is no going on without it. */
        assert(got > 0 || errno == EINTR);
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}
