/* ice/check_test.c - checks and answers follow RFC 8445 7, to the message.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

#include <string.h>

#define PRFLX_PRIORITY 0x6e0000ffu

static struct wire wire;

static struct kh_ice_stats stats_of(int host)
{
    return kh_ice_agent_stats(wire.hosts[host].agent);
}

static void arrange_open(void)
{
    wire_init(&wire, 1);
    wire_add_addr(&wire, ALICE, "198.51.100.10:4000");
    wire_add_addr(&wire, BOB, "198.51.100.20:4000");
    wire_meet(&wire);
}

/* Alice alone, who knows Bob's one address; what she sends is lost. */
static void arrange_silent_bob(void)
{
    arrange_open();
    wire.is_cut = true;
    wire.hosts[BOB].learns_at = KH_NEVER;
}

static void two_hosts_meet_with_exactly_these_messages(void **state)
{
    struct wire_host *alice = &wire.hosts[ALICE];

    (void)state;
    arrange_open();
    wire_run(&wire, KH_MILLISECONDS(40) + 1);
    assert_int_equal(kh_ice_agent_state(alice->agent), KH_ICE_CONNECTED); /* one round trip */
    assert_int_equal(alice->path.rtt, KH_MILLISECONDS(40));
    wire_run(&wire, KH_SECONDS(1));
    /* Each: the first check and one triggered by the other's; Alice: one that nominates. */
    assert_int_equal(stats_of(ALICE).checks_sent, 3);
    assert_int_equal(stats_of(BOB).checks_sent, 2);
    assert_int_equal(stats_of(ALICE).requests_received, 2);
    assert_int_equal(stats_of(BOB).requests_received, 3);
    assert_int_equal(stats_of(ALICE).responses_received, 3);
    assert_int_equal(stats_of(BOB).responses_received, 2);
    assert_int_equal(stats_of(ALICE).checks_retransmitted + stats_of(BOB).checks_retransmitted, 0);
    assert_int_equal(alice->sent, 3 + 2);
    assert_int_equal(alice->strays + wire.hosts[BOB].strays, 0);
    /* NEW to CHECKING, VALID, to CONNECTED, PATH */
    assert_int_equal(alice->event_count, 4);
    assert_int_equal(alice->events[0].state, KH_ICE_CHECKING);
    assert_int_equal(alice->events[1].kind, KH_ICE_EVENT_VALID);
    assert_int_equal(alice->events[2].state, KH_ICE_CONNECTED);
    assert_int_equal(alice->events[3].kind, KH_ICE_EVENT_PATH);
    wire_fini(&wire);
}

/* A satellite away, answers come long after the first repetitions: they count all the same. */
static void a_long_way_takes_a_few_round_trips_only(void **state)
{
    (void)state;
    arrange_open();
    wire.delay = KH_MILLISECONDS(400);
    assert_true(wire_connect(&wire, KH_MILLISECONDS(801)));
    wire_run(&wire, KH_SECONDS(5));
    assert_int_equal(stats_of(ALICE).checks_sent, 3); /* the first, a triggered, a nominating one */
    assert_in_range(stats_of(ALICE).checks_retransmitted, 1, 6);
    wire_run(&wire, KH_SECONDS(60));
    assert_int_equal(wire.hosts[ALICE].paths, 1);
    wire_fini(&wire);
}

/* Both NATs open with the later side's first check: it is connected one round trip after it
 * started, the earlier side half a round trip later. */
static void a_punch_takes_one_round_trip_from_the_later_start(void **state)
{
    static const struct nat_config port_restricted = {.filtering = NAT_ADDRESS_AND_PORT_DEPENDENT};
    kh_time start;

    (void)state;
    wire_init(&wire, 1);
    wire_add_nat(&wire, ALICE, &port_restricted);
    wire_add_nat(&wire, BOB, &port_restricted);
    start = wire.hosts[BOB].learns_at += KH_MILLISECONDS(500);
    wire_meet(&wire);
    while (wire.hosts[BOB].paths == 0)
        wire_run(&wire, 1000);
    assert_in_range(wire.now - start, KH_MILLISECONDS(40), KH_MILLISECONDS(42));
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    assert_in_range(wire.now - start, KH_MILLISECONDS(60), KH_MILLISECONDS(62));
    wire_fini(&wire);
}

/* RFC 8489 6.2.1 with our times: 120 ms doubling up to 1.6 s, seven times, the same id. */
static void a_check_is_repeated_with_the_same_id_and_then_fails(void **state)
{
    static const unsigned at_ms[] = {0, 120, 360, 840, 1800, 3400, 5000};
    kh_time start;
    uint8_t id[KH_STUN_ID_LEN];

    (void)state;
    arrange_silent_bob();
    start = wire.now;
    for (size_t i = 0; i < 7; i++) {
        wire_run(&wire, start + KH_MILLISECONDS(at_ms[i]) + 1 - wire.now);
        assert_int_equal(wire.hosts[ALICE].sent, i + 1);
        if (i == 0)
            memcpy(id, wire.last_sent[ALICE].data + 8, sizeof id);
        assert_memory_equal(id, wire.last_sent[ALICE].data + 8, sizeof id);
    }
    wire_run(&wire, start + KH_MILLISECONDS(11600) - wire.now);
    assert_int_equal(wire.hosts[ALICE].sent, 7);
    wire_run(&wire, 2); /* five seconds after it failed, as nothing else works: again */
    assert_int_equal(stats_of(ALICE).checks_sent, 2);
    assert_int_equal(stats_of(ALICE).checks_retransmitted, 6);
    assert_memory_not_equal(id, wire.last_sent[ALICE].data + 8, sizeof id);
    wire_fini(&wire);
}

/* RFC 8863 4: no failure before the patience timer, even with nothing left to do. */
static void failure_waits_for_patience(void **state)
{
    (void)state;
    arrange_silent_bob();
    wire_run(&wire, KH_MILLISECONDS(39500));
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_CHECKING);
    wire_run(&wire, KH_SECONDS(2)); /* the check under way ends at 41.4 s */
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_FAILED);
    assert_int_equal(stats_of(ALICE).checks_sent, 4);
    assert_int_equal(stats_of(ALICE).checks_retransmitted, 24);
    assert_true(kh_ice_agent_timeout(wire.hosts[ALICE].agent) == KH_NEVER);
    wire_fini(&wire);
}

/* RFC 8445 14.2: five at once, then one each 20 ms. */
static void new_checks_are_paced(void **state)
{
    struct kh_ice_candidate candidate = {.kind = KH_ICE_HOST};

    (void)state;
    arrange_silent_bob();
    for (uint16_t i = 0; i < 8; i++) {
        candidate.addr = kh_addr_ipv4(192, 0, 2, (uint8_t)(i + 1), 4000);
        assert_int_equal(kh_ice_agent_add_remote(wire.hosts[ALICE].agent, wire.now, &candidate),
                         KH_OK);
        wire_drain(&wire, ALICE);
    }
    assert_int_equal(stats_of(ALICE).checks_sent, 0); /* no credentials yet */
    wire_run(&wire, 1);
    assert_int_equal(stats_of(ALICE).checks_sent, 5);
    wire_run(&wire, KH_MILLISECONDS(20));
    assert_int_equal(stats_of(ALICE).checks_sent, 6);
    wire_run(&wire, KH_MILLISECONDS(40));
    assert_int_equal(stats_of(ALICE).checks_sent, 8);
    wire_run(&wire, KH_MILLISECONDS(80));
    assert_int_equal(stats_of(ALICE).checks_sent, 9);
    /* RFC 8445 14.3: nine pairs under way, so the first repetition comes after 180 ms. */
    assert_int_equal(stats_of(ALICE).checks_retransmitted, 0);
    wire_run(&wire, KH_MILLISECONDS(40));
    assert_int_equal(stats_of(ALICE).checks_retransmitted, 5);
    wire_fini(&wire);
}

/* RFC 8445 7.3.1.3, 7.3.1.4: an unknown source is a candidate and is checked at once. */
static void a_check_from_nowhere_makes_a_peer_reflexive_candidate(void **state)
{
    const struct wire_request request = {.priority = PRFLX_PRIORITY,
                                         .role = KH_STUN_ICE_CONTROLLED};
    struct kh_stun_message sent;
    struct kh_addr seen, stranger = wire_addr("192.0.2.99:777");

    (void)state;
    arrange_silent_bob();
    wire_run(&wire, KH_SECONDS(1));
    wire.hosts[ALICE].sent = 0;
    assert_true(wire_ask(&wire, ALICE, "192.0.2.99:777", &request));
    assert_int_equal(wire.hosts[ALICE].sent, 2); /* the answer and the triggered check */
    wire_parse_sent(&wire, ALICE, &sent);
    assert_int_equal(sent.class, KH_STUN_REQUEST);
    assert_true(kh_addr_equal(&wire.last_sent[ALICE].to, &stranger));
    assert_false(kh_stun_find_addr(&sent, KH_STUN_XOR_MAPPED_ADDRESS, &seen));
    assert_false(
        kh_ice_agent_is_valid(wire.hosts[ALICE].agent, &wire.hosts[ALICE].addrs[0], &stranger));
    wire_fini(&wire);
}

/* What must be dropped is answered with nothing and changes nothing but a counter. */
static void forged_requests_are_dropped_in_silence(void **state)
{
    struct wire_request request = {.priority = PRFLX_PRIORITY, .role = KH_STUN_ICE_CONTROLLED};

    (void)state;
    arrange_silent_bob();
    assert_false(wire_ask(&wire, ALICE, "192.0.2.99:777", &request)); /* no credentials yet */
    wire_run(&wire, KH_SECONDS(1));
    wire.hosts[ALICE].sent = 0;
    request.password = "wrongwrongwrongwrongwrong";
    assert_true(wire_ask(&wire, ALICE, "192.0.2.99:777", &request));
    assert_int_equal(stats_of(ALICE).dropped_unauthentic, 1);
    request.password = NULL;
    request.username = "some:body";
    assert_false(wire_ask(&wire, ALICE, "192.0.2.99:777", &request));
    request.username = wire.hosts[ALICE].credentials.ufrag; /* ours, but not to this peer */
    assert_false(wire_ask(&wire, ALICE, "192.0.2.99:777", &request));
    assert_int_equal(wire.hosts[ALICE].sent, 0);
    assert_int_equal(stats_of(ALICE).requests_received, 0);
    wire_fini(&wire);
}

static void expect_error(const struct wire_request *request, unsigned expected)
{
    struct kh_stun_message sent;
    const char *password = wire.hosts[ALICE].credentials.password;
    unsigned code;

    assert_true(wire_ask(&wire, ALICE, "192.0.2.99:777", request));
    wire_parse_sent(&wire, ALICE, &sent);
    assert_int_equal(sent.class, KH_STUN_ERROR);
    assert_true(kh_stun_find_error(&sent, &code, NULL));
    assert_int_equal(code, expected);
    assert_true(kh_stun_check_integrity(&sent, (struct kh_span){password, strlen(password)}));
    assert_true(sent.has_fingerprint);
}

/* RFC 8489 6.3.1 and RFC 8445 7.1.1, but only for those who know the password. */
static void authentic_but_wrong_requests_get_an_error(void **state)
{
    const struct wire_request unknown = {.priority = 1, .unknown = 0x7abc};
    const struct wire_request no_priority = {.role = KH_STUN_ICE_CONTROLLED};

    (void)state;
    arrange_silent_bob();
    wire_run(&wire, 1);
    expect_error(&unknown, 420);
    expect_error(&no_priority, 400);
    wire_fini(&wire);
}

/* Writes an answer from Bob to the last check of Alice. */
static void answer_alice(const char *from, const char *password, enum kh_stun_class class,
                         unsigned code)
{
    struct wire_packet *check = &wire.last_sent[ALICE];
    uint8_t data[300];
    struct kh_datagram datagram = {.from = wire_addr(from), .to = check->from, .data = data};
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, class, KH_STUN_BINDING, check->data + 8);

    if (class == KH_STUN_SUCCESS)
        kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &check->from);
    else
        kh_stun_add_error(&writer, code, "");
    kh_stun_add_integrity(&writer, (struct kh_span){password, strlen(password)});
    datagram.len = kh_stun_finish(&writer);
    assert_true(wire_inject(&wire, ALICE, &datagram));
}

static void an_answer_with_the_wrong_password_is_no_answer(void **state)
{
    (void)state;
    arrange_silent_bob();
    wire_run(&wire, 1);
    answer_alice("198.51.100.20:4000", "wrongwrongwrongwrongwrong", KH_STUN_SUCCESS, 0);
    assert_int_equal(stats_of(ALICE).dropped_unauthentic, 1);
    answer_alice("198.51.100.20:4000", "wrongwrongwrongwrongwrong", KH_STUN_ERROR, 487);
    assert_int_equal(stats_of(ALICE).role_conflicts, 0);
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_CHECKING);
    answer_alice("198.51.100.20:4000", wire.hosts[BOB].credentials.password, KH_STUN_SUCCESS, 0);
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_CONNECTED);
    wire_fini(&wire);
}

/* RFC 8445 7.2.5.2.1: an answer from elsewhere fails the pair. */
static void an_answer_must_come_from_where_the_check_went(void **state)
{
    (void)state;
    arrange_silent_bob();
    wire_run(&wire, 1);
    answer_alice("198.51.100.20:4001", wire.hosts[BOB].credentials.password, KH_STUN_SUCCESS, 0);
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_CHECKING);
    assert_int_equal(wire.hosts[ALICE].valids, 0);
    wire_run(&wire, KH_SECONDS(4)); /* no retransmission: it failed */
    assert_int_equal(stats_of(ALICE).checks_retransmitted, 0);
    wire_fini(&wire);
}

/* RFC 8445 7.2.5.2.4: any error but a role conflict fails the pair. */
static void an_error_fails_the_pair(void **state)
{
    (void)state;
    arrange_silent_bob();
    wire_run(&wire, 1);
    answer_alice("198.51.100.20:4000", wire.hosts[BOB].credentials.password, KH_STUN_ERROR, 400);
    wire_run(&wire, KH_SECONDS(4));
    assert_int_equal(stats_of(ALICE).checks_retransmitted, 0);
    assert_int_equal(stats_of(ALICE).responses_received, 1);
    wire_fini(&wire);
}

/* RFC 8445 7.3: an answer says what address it saw, or it says nothing. */
static void an_answer_without_an_address_is_dropped(void **state)
{
    const char *password;
    struct wire_packet *check = &wire.last_sent[ALICE];
    uint8_t data[300];
    struct kh_datagram datagram = {.data = data};
    struct kh_stun_writer writer;

    (void)state;
    arrange_silent_bob();
    wire_run(&wire, 1);
    password = wire.hosts[BOB].credentials.password;
    datagram.from = check->to;
    datagram.to = check->from;
    writer = kh_stun_begin(data, sizeof data, KH_STUN_SUCCESS, KH_STUN_BINDING, check->data + 8);
    kh_stun_add_integrity(&writer, (struct kh_span){password, strlen(password)});
    datagram.len = kh_stun_finish(&writer);
    assert_true(wire_inject(&wire, ALICE, &datagram));
    assert_int_equal(stats_of(ALICE).dropped_malformed, 1);
    assert_int_equal(kh_ice_agent_state(wire.hosts[ALICE].agent), KH_ICE_CHECKING);
    wire_fini(&wire);
}

static void what_is_no_check_is_for_someone_else(void **state)
{
    uint8_t data[300] = "Hi!";
    uint8_t id[KH_STUN_ID_LEN] = {1};
    struct kh_datagram datagram = {.data = data, .len = 3};
    struct kh_stun_writer writer;

    (void)state;
    arrange_open();
    datagram.from = wire.hosts[BOB].addrs[0];
    datagram.to = wire.hosts[ALICE].addrs[0];
    assert_false(wire_inject(&wire, ALICE, &datagram));
    writer = kh_stun_begin(data, sizeof data, KH_STUN_INDICATION, KH_STUN_BINDING, id);
    datagram.len = kh_stun_finish(&writer);
    assert_false(wire_inject(&wire, ALICE, &datagram));
    writer = kh_stun_begin(data, sizeof data, KH_STUN_SUCCESS, KH_STUN_ALLOCATE, id);
    datagram.len = kh_stun_finish(&writer);
    assert_false(wire_inject(&wire, ALICE, &datagram));
    wire_fini(&wire);
}

/* A source that cannot be anyone's is not answered, whoever vouches for it. */
static void a_check_from_an_impossible_address_is_dropped(void **state)
{
    const struct wire_request request = {.priority = 1, .role = KH_STUN_ICE_CONTROLLED};

    (void)state;
    arrange_silent_bob();
    wire_run(&wire, 1);
    wire.hosts[ALICE].sent = 0;
    assert_true(wire_ask(&wire, ALICE, "192.0.2.99:0", &request));
    assert_true(wire_ask(&wire, ALICE, "224.0.0.1:4000", &request));
    assert_int_equal(wire.hosts[ALICE].sent, 0);
    assert_int_equal(stats_of(ALICE).dropped_malformed, 2);
    wire_fini(&wire);
}

/* The card comes again with each new version: credentials that stay are no restart. */
static void the_same_credentials_again_change_nothing(void **state)
{
    (void)state;
    arrange_open();
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_SECONDS(1));
    wire.hosts[ALICE].sent = 0;
    wire_tell(&wire, ALICE);
    assert_int_equal(wire.hosts[ALICE].sent, 0);
    assert_int_equal(wire.hosts[ALICE].event_count, 4);
    wire_fini(&wire);
}

/* Karn: an answer to a repeated check may be to either, so a sure measure beats it. */
static void round_trips_are_measured_from_the_last_transmission(void **state)
{
    struct wire_packet check;

    (void)state;
    arrange_silent_bob();
    wire_run(&wire, KH_MILLISECONDS(150)); /* sent at 0 and at 120 ms */
    check = wire.last_sent[ALICE];
    assert_true(wire_answer(&wire, ALICE, &check, &check.from));
    assert_int_equal(wire.hosts[ALICE].path.rtt, KH_MILLISECONDS(30));
    wire_fini(&wire);
}

static void an_answer_counts_once(void **state)
{
    struct kh_datagram replay;
    struct wire_packet old;
    struct kh_ice_stats before;

    (void)state;
    arrange_open();
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_SECONDS(20));
    old = wire.last[BOB];
    assert_int_equal(old.data[0] & 1, 1); /* an answer: consent of late */
    before = stats_of(BOB);
    replay = (struct kh_datagram){.from = old.from, .to = old.to, .data = old.data, .len = old.len};
    assert_false(wire_inject(&wire, BOB, &replay));
    assert_int_equal(stats_of(BOB).responses_received, before.responses_received);
    wire_fini(&wire);
}

static unsigned sent_to_nobody;

static bool count_to_nobody(struct wire *at, int host, struct kh_datagram *datagram, uint8_t *copy)
{
    (void)at;
    (void)host;
    (void)copy;
    sent_to_nobody += datagram->to.ip[0] == 192;
    return true;
}

/* RFC 8445 8.1.2: with a path selected, checks of lesser pairs stop. */
static void lesser_pairs_are_left_alone_once_connected(void **state)
{
    struct kh_ice_candidate nobody =
        wire_candidate(KH_ICE_SERVER_REFLEXIVE, "192.0.2.1:4000", "192.0.2.1:4000");

    (void)state;
    arrange_open();
    sent_to_nobody = 0;
    wire.tamper = count_to_nobody;
    assert_int_equal(kh_ice_agent_add_remote(wire.hosts[ALICE].agent, wire.now, &nobody), KH_OK);
    wire_drain(&wire, ALICE);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    wire_run(&wire, KH_SECONDS(20));
    assert_int_equal(sent_to_nobody, 1);
    wire_fini(&wire);
}

/* RFC 8445 9: until signalling has told it, the peer asks with the credentials of before; it gets
 * its answers, but they start nothing. */
static void credentials_of_before_a_restart_get_answers_only(void **state)
{
    const struct kh_ice_credentials fresh = {"fresh", "abcdefghijabcdefghijabcd"};
    const struct wire_request request = {.priority = PRFLX_PRIORITY,
                                         .role = KH_STUN_ICE_CONTROLLED};
    struct kh_stun_message sent;

    (void)state;
    for (int i = 0; i < 2; i++) {
        arrange_silent_bob();
        wire_run(&wire, KH_SECONDS(1));
        if (i == 0)
            kh_ice_agent_restart(wire.hosts[ALICE].agent, wire.now, &fresh);
        else
            kh_ice_agent_set_remote(wire.hosts[ALICE].agent, wire.now, &fresh);
        wire_drain(&wire, ALICE);
        wire.hosts[ALICE].sent = 0;
        assert_true(wire_ask(&wire, ALICE, "192.0.2.99:777", &request));
        assert_int_equal(wire.hosts[ALICE].sent, 1);
        wire_parse_sent(&wire, ALICE, &sent);
        assert_int_equal(sent.class, KH_STUN_SUCCESS);
        wire_fini(&wire);
    }
}

/* RFC 8838: candidates may come at any time, credentials first or last. */
static void late_candidates_are_checked_too(void **state)
{
    struct kh_ice_candidate bob = {.kind = KH_ICE_HOST};
    struct wire_host *alice = &wire.hosts[ALICE];

    (void)state;
    wire_init(&wire, 1);
    wire_add_addr(&wire, ALICE, "198.51.100.10:4000");
    wire_add_addr(&wire, BOB, "198.51.100.20:4000");
    alice->learns_at = wire.hosts[BOB].learns_at = KH_NEVER;
    wire_meet(&wire);
    kh_ice_agent_set_remote(alice->agent, wire.now, &wire.hosts[BOB].credentials);
    wire_drain(&wire, ALICE);
    kh_ice_agent_set_remote(wire.hosts[BOB].agent, wire.now, &alice->credentials);
    wire_drain(&wire, BOB);
    wire_run(&wire, KH_SECONDS(30));
    assert_int_equal(alice->sent, 0);
    bob.addr = wire.hosts[BOB].addrs[0];
    assert_int_equal(kh_ice_agent_add_remote(alice->agent, wire.now, &bob), KH_OK);
    wire_drain(&wire, ALICE);
    assert_int_equal(alice->sent, 1);
    assert_true(wire_connect(&wire, KH_SECONDS(1)));
    assert_int_equal(wire.hosts[BOB].path.remote_kind, KH_ICE_PEER_REFLEXIVE);
    wire_fini(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hosts_meet_with_exactly_these_messages),
        cmocka_unit_test(a_long_way_takes_a_few_round_trips_only),
        cmocka_unit_test(a_punch_takes_one_round_trip_from_the_later_start),
        cmocka_unit_test(a_check_is_repeated_with_the_same_id_and_then_fails),
        cmocka_unit_test(failure_waits_for_patience),
        cmocka_unit_test(new_checks_are_paced),
        cmocka_unit_test(a_check_from_nowhere_makes_a_peer_reflexive_candidate),
        cmocka_unit_test(forged_requests_are_dropped_in_silence),
        cmocka_unit_test(authentic_but_wrong_requests_get_an_error),
        cmocka_unit_test(an_answer_with_the_wrong_password_is_no_answer),
        cmocka_unit_test(an_answer_must_come_from_where_the_check_went),
        cmocka_unit_test(an_error_fails_the_pair),
        cmocka_unit_test(an_answer_without_an_address_is_dropped),
        cmocka_unit_test(what_is_no_check_is_for_someone_else),
        cmocka_unit_test(a_check_from_an_impossible_address_is_dropped),
        cmocka_unit_test(the_same_credentials_again_change_nothing),
        cmocka_unit_test(round_trips_are_measured_from_the_last_transmission),
        cmocka_unit_test(an_answer_counts_once),
        cmocka_unit_test(lesser_pairs_are_left_alone_once_connected),
        cmocka_unit_test(credentials_of_before_a_restart_get_answers_only),
        cmocka_unit_test(late_candidates_are_checked_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
