/* hub/member_test.c - who is joined may use the relay, and nobody by its name.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hub/hub.h"
#include "turn/turn.h"

#define REALM "example.org"

static struct kh_hub *hub;
static struct kh_rendezvous_client *client;
static struct kh_turn_client *turn;
static struct kh_addr alice, server;
static kh_time now;
static enum kh_turn_event_kind last; /* event of the TURN client */
static unsigned code;
static unsigned events;

static int set_up(void **state)
{
    struct kh_hub_config config = {.seed = {1}, .registry.members_max = 4};
    struct kh_rendezvous_client_config member = {.server_count = 1, .seed = {2}};
    const struct kh_turn_config relayed = {.seed = {3}};

    (void)state;
    now = KH_SECONDS(1000);
    events = 0;
    alice = kh_addr_ipv4(198, 51, 100, 7, 5000);
    server = kh_addr_ipv4(203, 0, 113, 1, 3478);
    member.servers[0] = server;
    memset(member.member.bytes, 7, sizeof member.member.bytes);
    config.relay.realm = REALM;
    config.relay.addresses[0].local = config.relay.addresses[0].external = server;
    config.relay.address_count = 1;
    return kh_hub_new(&hub, &config) == KH_OK &&
                   kh_rendezvous_client_new(&client, &member) == KH_OK &&
                   kh_turn_client_new(&turn, &relayed) == KH_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kh_turn_client_free(turn);
    kh_rendezvous_client_free(client);
    kh_hub_free(hub);
    return 0;
}

static void drain_events(void)
{
    struct kh_rendezvous_client_event joined;
    struct kh_turn_event event;

    while (kh_rendezvous_client_next_event(client, &joined))
        ;
    while (kh_turn_client_next_event(turn, &event)) {
        events++;
        last = event.kind;
        code = event.code;
    }
}

/* Gives the hub what was sent, and back what it answers. */
static void to_hub(const struct kh_datagram *datagram)
{
    struct kh_relay_event event;
    struct kh_datagram sent = *datagram, out;
    uint8_t copy[KH_DATAGRAM_MAX];

    sent.from = alice;
    kh_hub_handle_datagram(hub, now, &sent);
    while (kh_hub_next_event(hub, &event)) {
        if (event.kind == KH_RELAY_EVENT_OPEN)
            kh_hub_opened(hub, now, &event.addr, true);
    }
    while (kh_hub_next_transmit(hub, &out)) {
        memcpy(copy, out.data, out.len);
        out.data = copy;
        if (!kh_turn_client_handle_datagram(turn, now, &out))
            (void)kh_rendezvous_client_handle_datagram(client, now, &out);
        drain_events();
    }
}

/* Goes on until nobody has anything to say. */
static void settle(void)
{
    struct kh_datagram out;
    uint8_t copy[KH_DATAGRAM_MAX];
    bool moved = true;

    while (moved) {
        moved = false;
        while (kh_rendezvous_client_next_transmit(client, &out) ||
               kh_turn_client_next_transmit(turn, &out)) {
            memcpy(copy, out.data, out.len);
            out.data = copy;
            moved = true;
            to_hub(&out);
        }
    }
}

static void join(void)
{
    kh_rendezvous_client_join(client, now, (struct kh_span){"card", 4}, (struct kh_span){0});
    drain_events();
    settle();
    assert_int_equal(kh_rendezvous_client_state(client), KH_RENDEZVOUS_JOINED);
}

static void allocate(const char *username, const char *password)
{
    const struct kh_turn_request request = {.server = server,
                                            .local = alice,
                                            .username = {username, strlen(username)},
                                            .password = {password, strlen(password)},
                                            .require_sha256 = true};

    assert_int_equal(kh_turn_client_allocate(turn, now, &request), KH_OK);
    drain_events();
    settle();
}

static void a_member_allocates_with_what_its_session_gives_it(void **state)
{
    struct kh_rendezvous_relay relay;

    (void)state;
    assert_false(kh_rendezvous_client_relay(client, &relay));
    join();
    assert_true(kh_rendezvous_client_relay(client, &relay));
    assert_string_equal(relay.realm, REALM);
    assert_string_equal(relay.credentials.username, "07070707070707070707070707070707");
    assert_int_equal(strlen(relay.credentials.password), 32);
    allocate(relay.credentials.username, relay.credentials.password);
    assert_int_equal(events, 1);
    assert_int_equal(last, KH_TURN_EVENT_ALLOCATED);
    assert_int_equal(kh_hub_stats(hub).relay.allocations, 1);
}

/* What the answer to the join told spares the 401. */
static void the_first_allocate_is_answered(void **state)
{
    struct kh_rendezvous_relay relay;
    struct kh_turn_request request = {.server = server,
                                      .local = alice,
                                      .algorithms = {KH_STUN_ALGORITHM_SHA256,
                                                     KH_STUN_ALGORITHM_MD5},
                                      .algorithm_count = 2,
                                      .require_sha256 = true};

    (void)state;
    join();
    assert_true(kh_rendezvous_client_relay(client, &relay));
    request.username = (struct kh_span){relay.credentials.username, 32};
    request.password = (struct kh_span){relay.credentials.password, 32};
    request.realm = (struct kh_span){relay.realm, strlen(relay.realm)};
    request.nonce = (struct kh_span){relay.nonce, relay.nonce_len};
    assert_int_equal(kh_turn_client_allocate(turn, now, &request), KH_OK);
    drain_events();
    settle();
    assert_int_equal(last, KH_TURN_EVENT_ALLOCATED);
    assert_int_equal(kh_turn_client_stats(turn).challenges, 0);
    assert_int_equal(kh_hub_stats(hub).relay.challenges, 0);
}

static void a_strangers_guess_gets_nothing(void **state)
{
    (void)state;
    join();
    allocate("07070707070707070707070707070707", "00000000000000000000000000000000");
    assert_int_equal(last, KH_TURN_EVENT_FAILED);
    assert_int_equal(code, 401);
    allocate("08080808080808080808080808080808", "00000000000000000000000000000000");
    assert_int_equal(events, 2);
    assert_int_equal(code, 401);
    assert_int_equal(kh_hub_stats(hub).relay.allocations, 0);
}

static void who_has_left_gets_no_new_allocation(void **state)
{
    struct kh_rendezvous_relay relay;

    (void)state;
    join();
    assert_true(kh_rendezvous_client_relay(client, &relay));
    kh_rendezvous_client_leave(client, now);
    drain_events();
    settle();
    allocate(relay.credentials.username, relay.credentials.password);
    assert_int_equal(last, KH_TURN_EVENT_FAILED);
    assert_int_equal(code, 401);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_member_allocates_with_what_its_session_gives_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_first_allocate_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_strangers_guess_gets_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_has_left_gets_no_new_allocation, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
