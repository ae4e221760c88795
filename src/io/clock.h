/* io/clock.h - the two clocks of the world.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_IO_CLOCK_H
#define KH_IO_CLOCK_H

#include "base/time.h"

/* Monotonic, and it goes on while the machine sleeps: what expired meanwhile is then seen to be. */
kh_time kh_io_clock_now(void);

/* How long the machine has slept so far; grows at each wake-up. */
kh_duration kh_io_clock_slept(void);

/* Milliseconds since 1970 by the wall clock, which may jump. */
uint64_t kh_io_clock_unix_ms(void);

#endif
