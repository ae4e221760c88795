/* test/support/virtual_clock.c - a time of day that stands still until it is set.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support/virtual_clock.h"

#include <sys/time.h>

static kh_time virtual_now = KH_SECONDS(1000);

void virtual_clock_set(kh_time now)
{
    virtual_now = now;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    (void)zone;
    out->tv_sec = (time_t)(virtual_now / 1000000);
    out->tv_usec = (suseconds_t)(virtual_now % 1000000);
    return 0;
}
