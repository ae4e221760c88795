/* base/time.c - arithmetic on times that saturates instead of wrapping.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/time.h"

kh_time kh_time_add(kh_time time, kh_duration duration)
{
    return time > KH_NEVER - duration ? KH_NEVER : time + duration;
}

kh_duration kh_time_since(kh_time now, kh_time since)
{
    return now > since ? now - since : 0;
}

kh_time kh_time_min(kh_time a, kh_time b)
{
    return a < b ? a : b;
}
