/* io/sockaddr.h - addresses as the system spells them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_IO_SOCKADDR_H
#define KH_IO_SOCKADDR_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/addr.h"

/* False for families other than IPv4 and IPv6. */
bool kh_io_sockaddr_read(const struct sockaddr *sockaddr, struct kh_addr *out);

/* Returns the length used; 0 for no address. */
socklen_t kh_io_sockaddr_write(const struct kh_addr *addr, struct sockaddr_storage *out);

#endif
