/* io/clock.c - reads the clocks of the system.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/clock.h"

#include <assert.h>
#include <time.h>

static kh_time read_clock(clockid_t clock)
{
    struct timespec spec;
    int result = clock_gettime(clock, &spec);

    assert(result == 0);
    return KH_SECONDS(spec.tv_sec) + (kh_time)spec.tv_nsec / 1000;
}

kh_time kh_io_clock_now(void)
{
    return read_clock(CLOCK_BOOTTIME);
}

kh_duration kh_io_clock_slept(void)
{
    kh_time awake = read_clock(CLOCK_MONOTONIC);

    return kh_time_since(read_clock(CLOCK_BOOTTIME), awake);
}

uint64_t kh_io_clock_unix_ms(void)
{
    return read_clock(CLOCK_REALTIME) / 1000;
}
