/* io/entropy.h - random bytes from the system.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_IO_ENTROPY_H
#define KH_IO_ENTROPY_H

#include <stddef.h>

/* Fills out with unpredictable bytes; waits, once after boot, until the system has any. */
void kh_io_entropy_fill(void *out, size_t len);

#endif
