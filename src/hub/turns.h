/* hub/turns.h - credentials for the relay elsewhere that members are sent to.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_HUB_TURNS_H
#define KH_HUB_TURNS_H

#include "hub/hub.h"

struct kh_hub_turns {
    struct kh_addr servers[2]; /* both none: there is no such relay */
    uint8_t secret[KH_RELAY_SECRET_MAX];
    size_t secret_len;
    uint32_t lifetime;     /* seconds */
    kh_time wall_at;       /* the calendar said … */
    uint64_t wall_seconds; /* … this then; 0: not told yet */
};

void kh_hub_turns_init(struct kh_hub_turns *turns, const struct kh_hub_turn *config);
void kh_hub_turns_set_wall_clock(struct kh_hub_turns *turns, kh_time now, uint64_t unix_seconds);
/* False if there is no such relay, or the calendar is not known. */
bool kh_hub_turns_make(const struct kh_hub_turns *turns, kh_time now,
                       const struct kh_rendezvous_member_id *member,
                       struct kh_rendezvous_turn *out);

#endif
