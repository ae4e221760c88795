/* nat/epoch.c - did the gateway forget our mapping since it spoke last?
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/epoch.h"

/* Returns the seconds since the last answer and notes this one. */
static uint64_t advance(struct kh_nat_epoch *epoch, kh_time now, uint32_t server_s)
{
    uint64_t passed_s = kh_time_since(now, epoch->at) / KH_SECONDS(1);

    epoch->known = true;
    epoch->server_s = server_s;
    epoch->at = now;
    return passed_s;
}

bool kh_nat_epoch_take_pcp(struct kh_nat_epoch *epoch, kh_time now, uint32_t server_s)
{
    bool known = epoch->known;
    uint64_t before_s = epoch->server_s;
    uint64_t client = advance(epoch, now, server_s);
    uint64_t server;

    if (!known)
        return true;
    if ((uint64_t)server_s + 1 < before_s)
        return false;
    server = server_s < before_s ? 0 : server_s - before_s;
    /* Both clocks may be off by a sixteenth and two seconds. */
    return client + 2 >= server - server / 16 && server + 2 >= client - client / 16;
}

bool kh_nat_epoch_take_pmp(struct kh_nat_epoch *epoch, kh_time now, uint32_t server_s)
{
    bool known = epoch->known;
    uint64_t before_s = epoch->server_s;
    uint64_t client = advance(epoch, now, server_s);

    /* The slowest gateway counts seven seconds for our eight. */
    return !known || (uint64_t)server_s + 2 >= before_s + client - client / 8;
}
