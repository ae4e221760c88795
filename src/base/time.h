/* base/time.h - time as a value: microseconds on a monotonic clock that someone else reads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_BASE_TIME_H
#define KH_BASE_TIME_H

#include <stdint.h>

typedef uint64_t kh_time;     /* µs since an arbitrary start; only differences mean something */
typedef uint64_t kh_duration; /* µs */

#define KH_NEVER UINT64_MAX
#define KH_MILLISECONDS(n) ((kh_duration)(n)*1000u)
#define KH_SECONDS(n) ((kh_duration)(n)*1000000u)

/* Adds without wrapping: anything past the end of time is KH_NEVER. */
kh_time kh_time_add(kh_time time, kh_duration duration);

/* The time that has passed from `since` to `now`; 0 if `since` lies ahead. */
kh_duration kh_time_since(kh_time now, kh_time since);

kh_time kh_time_min(kh_time a, kh_time b);

#endif
