/* rendezvous/client_knock.c - a session by TCP or TLS looks for a better way: by UDP, or by TCP.
 *
 * SPDX-License-Identifier: MIT
 *
 * It may have lost the race by bad luck, or come back with another network, and only by UDP does
 * the server see where others may meet us.  A knock is the request for a nonce, which changes
 * nothing at the server: where UDP passes in one direction only, we must not move there.
 */
#include "rendezvous/client_state.h"

#include <string.h>

#define WAIT_FIRST KH_MILLISECONDS(500) /* doubles */
#define WAIT_MAX KH_SECONDS(60)

static bool is_wanted(const struct kh_rendezvous_client *client)
{
    return client->session.active && client->state == KH_RENDEZVOUS_JOINED &&
           client->session.server.transport != KH_UDP;
}

/* The next better one after that; false if there is none. */
static bool choose_server(const struct kh_rendezvous_client *client, size_t *at)
{
    for (size_t i = 1; i <= client->config.server_count; i++) {
        size_t next = (*at + i) % client->config.server_count;

        if (client->config.servers[next].transport < client->session.server.transport) {
            *at = next;
            return true;
        }
    }
    return false;
}

void kh_rendezvous_knock_handle_timeout(struct kh_rendezvous_client *client, kh_time now)
{
    struct kh_rendezvous_knock *knock = &client->knock;

    if (!is_wanted(client)) {
        *knock = (struct kh_rendezvous_knock){.next_at = KH_NEVER};
    } else if (knock->next_at == KH_NEVER) {
        knock->server_at = client->config.server_count - 1;
        knock->wait = WAIT_FIRST;
        knock->next_at = kh_time_add(now, WAIT_FIRST);
    } else if (knock->next_at <= now) {
        knock->wait = knock->wait < WAIT_MAX / 2 ? 2 * knock->wait : WAIT_MAX;
        knock->next_at = kh_time_add(now, knock->wait);
        knock->due = choose_server(client, &knock->server_at);
        knock->is_open = knock->due;
        kh_rng_bytes(&client->rng, knock->id, sizeof knock->id);
    }
}

bool kh_rendezvous_knock_next_transmit(struct kh_rendezvous_client *client, struct kh_datagram *out)
{
    struct kh_rendezvous_knock *knock = &client->knock;

    if (!knock->due)
        return false;
    knock->due = false;
    *out =
        (struct kh_datagram){.to = client->config.servers[knock->server_at], .data = client->data};
    out->len = kh_rendezvous_write_challenge_request(knock->id, client->data);
    return true;
}

/* The answer is not authentic, so it decides only where the next update goes first; that one is,
 * and goes back to where we are if nobody answers. */
bool kh_rendezvous_knock_handle_answer(struct kh_rendezvous_client *client,
                                       const struct kh_rendezvous_input *input)
{
    struct kh_rendezvous_knock *knock = &client->knock;

    if (!knock->is_open || memcmp(knock->id, input->message->id, sizeof knock->id) != 0 ||
        !kh_addr_equal(&input->datagram->from, &client->config.servers[knock->server_at]))
        return false;
    knock->is_open = false;
    client->session.server_at = knock->server_at;
    kh_rendezvous_session_update(client, input->now);
    return true;
}

kh_time kh_rendezvous_knock_timeout(const struct kh_rendezvous_client *client)
{
    return client->knock.next_at;
}
