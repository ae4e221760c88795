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

static int set_up_with(const struct kh_hub_turn *elsewhere)
{
    struct kh_hub_config config = {.seed = {1}, .registry.members_max = 4, .turn = *elsewhere};
    struct kh_rendezvous_client_config member = {.server_count = 1, .seed = {2}};
    const struct kh_turn_config relayed = {.seed = {3}};

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

static int set_up(void **state)
{
    const struct kh_hub_turn none = {.lifetime = 0};

    (void)state;
    return set_up_with(&none);
}

static int set_up_elsewhere(void **state)
{
    const struct kh_hub_turn elsewhere = {.servers = {kh_addr_ipv4(192, 0, 2, 5, 3478)},
                                          .secret = {"north", 5},
                                          .lifetime = KH_SECONDS(100)};

    (void)state;
    return set_up_with(&elsewhere);
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
    assert_false(kh_rendezvous_client_relay(client, 0, &relay));
    join();
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    assert_string_equal(relay.realm, REALM);
    assert_string_equal(relay.username, "07070707070707070707070707070707");
    assert_int_equal(strlen(relay.password), 32);
    allocate(relay.username, relay.password);
    assert_int_equal(events, 1);
    assert_int_equal(last, KH_TURN_EVENT_ALLOCATED);
    assert_int_equal(kh_hub_stats(hub).relay.allocations, 1);
}

/* What the answer to the join told spares the 401. */
static void the_first_allocate_is_answered(void **state)
{
    struct kh_rendezvous_relay relay;
    struct kh_turn_request request = {
        .server = server,
        .local = alice,
        .algorithms = {KH_STUN_ALGORITHM_SHA256, KH_STUN_ALGORITHM_MD5},
        .algorithm_count = 2,
        .require_sha256 = true};

    (void)state;
    join();
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    request.username = (struct kh_span){relay.username, 32};
    request.password = (struct kh_span){relay.password, 32};
    request.realm = (struct kh_span){relay.realm, strlen(relay.realm)};
    request.nonce = (struct kh_span){relay.nonce, relay.nonce_len};
    assert_int_equal(kh_turn_client_allocate(turn, now, &request), KH_OK);
    drain_events();
    settle();
    assert_int_equal(last, KH_TURN_EVENT_ALLOCATED);
    assert_int_equal(kh_turn_client_stats(turn).challenges, 0);
    assert_int_equal(kh_hub_stats(hub).relay.challenges, 0);
}

/* Lets time pass, and the client refresh its session meanwhile. */
static void pass(kh_duration duration)
{
    for (kh_time end = now + duration; now < end; now += KH_SECONDS(1)) {
        kh_rendezvous_client_handle_timeout(client, now);
        drain_events();
        settle();
    }
}

/* The calendar tells when they end; docs/protocol/relay.md has the password for 2000000000. */
static void a_relay_elsewhere_is_told_and_its_credentials_are_renewed(void **state)
{
    static const char name[] = "2000000000:07070707070707070707070707070707";
    struct kh_rendezvous_relay relay;
    char password[KH_RELAY_PASSWORD_LEN + 1] = "";

    (void)state;
    kh_hub_set_wall_clock(hub, now - KH_SECONDS(10), 2000000000 - 100 - 10);
    join();
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    assert_int_equal(relay.servers[0].port, 3478);
    assert_int_equal(relay.servers[0].ip[3], 5);
    assert_string_equal(relay.username, name);
    kh_relay_write_password((struct kh_span){"north", 5}, (struct kh_span){name, strlen(name)},
                            password);
    assert_string_equal(relay.password, password);
    assert_int_equal(relay.nonce_len, 0);
    assert_true(kh_rendezvous_client_relay(client, 1, &relay)); /* and the server's own */
    assert_string_equal(relay.realm, REALM);
    assert_false(kh_rendezvous_client_relay(client, 2, &relay));
    pass(KH_SECONDS(45)); /* less than half of what they are good for */
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    assert_string_equal(relay.username, name);
    pass(KH_SECONDS(30));
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    assert_true(strcmp(relay.username, "2000000050") > 0);
}

static void without_a_calendar_no_relay_elsewhere_is_told(void **state)
{
    struct kh_rendezvous_relay relay;

    (void)state;
    join();
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    assert_true(kh_addr_is_none(&relay.servers[0]));
    assert_false(kh_rendezvous_client_relay(client, 1, &relay));
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
    assert_true(kh_rendezvous_client_relay(client, 0, &relay));
    kh_rendezvous_client_leave(client, now);
    drain_events();
    settle();
    allocate(relay.username, relay.password);
    assert_int_equal(last, KH_TURN_EVENT_FAILED);
    assert_int_equal(code, 401);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_member_allocates_with_what_its_session_gives_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_first_allocate_is_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_relay_elsewhere_is_told_and_its_credentials_are_renewed,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(without_a_calendar_no_relay_elsewhere_is_told,
                                        set_up_elsewhere, tear_down),
        cmocka_unit_test_setup_teardown(a_strangers_guess_gets_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_has_left_gets_no_new_allocation, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
