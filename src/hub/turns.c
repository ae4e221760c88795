/* hub/turns.c - credentials for the relay elsewhere that members are sent to.
 *
 * SPDX-License-Identifier: MIT
 *
 * By the convention that coturn calls use-auth-secret and XMPP and Matrix servers use as well (the
 * draft "A REST API For Access To TURN Services"): the username says until when it is good.
 */
#include "hub/turns.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define LIFETIME_DEFAULT KH_SECONDS(86400)

void kh_hub_turns_init(struct kh_hub_turns *turns, const struct kh_hub_turn *config)
{
    kh_duration lifetime = config->lifetime != 0 ? config->lifetime : LIFETIME_DEFAULT;
    bool first = !kh_addr_is_none(&config->servers[0]);

    assert(config->secret.len <= sizeof turns->secret);
    assert((config->secret.len > 0) == first);
    assert(first || kh_addr_is_none(&config->servers[1]));
    *turns = (struct kh_hub_turns){.secret_len = config->secret.len,
                                   .lifetime = (uint32_t)(lifetime / KH_SECONDS(1))};
    memcpy(turns->servers, config->servers, sizeof turns->servers);
    if (config->secret.len > 0)
        memcpy(turns->secret, config->secret.data, config->secret.len);
}

void kh_hub_turns_set_wall_clock(struct kh_hub_turns *turns, kh_time now, uint64_t unix_seconds)
{
    turns->wall_at = now;
    turns->wall_seconds = unix_seconds;
}

bool kh_hub_turns_make(const struct kh_hub_turns *turns, kh_time now,
                       const struct kh_rendezvous_member_id *member, struct kh_rendezvous_turn *out)
{
    struct kh_span secret = {turns->secret, turns->secret_len};
    char id[2 * KH_RENDEZVOUS_MEMBER_LEN + 1];
    uint64_t expiry;

    *out = (struct kh_rendezvous_turn){.lifetime = turns->lifetime};
    if (kh_addr_is_none(&turns->servers[0]) || turns->wall_seconds == 0)
        return false;
    memcpy(out->servers, turns->servers, sizeof out->servers);
    expiry =
        turns->wall_seconds + kh_time_since(now, turns->wall_at) / KH_SECONDS(1) + turns->lifetime;
    (void)snprintf(out->username, sizeof out->username, "%llu:%s", (unsigned long long)expiry,
                   kh_hex_write(member->bytes, sizeof member->bytes, id));
    kh_relay_write_password(secret, (struct kh_span){out->username, strlen(out->username)},
                            out->password);
    return true;
}
