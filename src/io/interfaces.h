/* io/interfaces.h - the addresses this machine has, and news of their change.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_IO_INTERFACES_H
#define KH_IO_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"

/* Lists the unicast addresses of all interfaces that are up, with port 0, those of the widest reach
 * first and loopback last.  Returns how many, at most max. */
size_t kh_io_interfaces_list(struct kh_addr *out, size_t max);

/* Opens a file descriptor that becomes readable when addresses, links or routes change; -1 if the
 * system refuses.  Close it with close(2). */
int kh_io_interfaces_watch(void);

/* Reads all news; true if there was any that may change the list or the way out. */
bool kh_io_interfaces_changed(int watch);

#endif
