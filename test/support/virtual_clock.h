/* test/support/virtual_clock.h - makes libraries that ask for the time of day hear virtual time.
 *
 * SPDX-License-Identifier: MIT
 *
 * Our machines get the time as an argument, but usrsctp measures round trips with gettimeofday()
 * and retransmits only what it finds old by it.  A program linked with virtual_clock.c replaces
 * that function, so that simulated hours are hours for usrsctp, too.
 */
#ifndef KH_TEST_SUPPORT_VIRTUAL_CLOCK_H
#define KH_TEST_SUPPORT_VIRTUAL_CLOCK_H

#include "base/time.h"

void virtual_clock_set(kh_time now);

#endif
