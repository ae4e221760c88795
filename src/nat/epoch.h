/* nat/epoch.h - did the gateway forget our mapping since it spoke last?
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NAT_EPOCH_H
#define KH_NAT_EPOCH_H

#include <stdbool.h>

#include "base/time.h"

/* A zeroed one has heard nothing yet. */
struct kh_nat_epoch {
    bool known;
    uint32_t server_s;
    kh_time at;
};

/* Takes the seconds since start that an answer tells; false if the gateway has lost its state in
 * between.  The first is PCP's rule (RFC 6887 8.5), the second NAT-PMP's (RFC 6886 3.6). */
bool kh_nat_epoch_take_pcp(struct kh_nat_epoch *epoch, kh_time now, uint32_t server_s);
bool kh_nat_epoch_take_pmp(struct kh_nat_epoch *epoch, kh_time now, uint32_t server_s);

#endif
