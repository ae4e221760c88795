/* ice/tcp_test.c - TCP candidates: who connects to whom, when, and what a lost connection means.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ice/wire_test.h"

#include <string.h>

#include "ice/agent.h"

#define ALL (KH_ICE_TCP_ACTIVE | KH_ICE_TCP_PASSIVE | KH_ICE_TCP_SIMULTANEOUS)
#define HOME "198.51.100.10:4000"
#define AWAY "198.51.100.20:4000"

static struct wire wire;

/* Alice alone: what she sends goes nowhere, and the test answers for Bob. */
static int start(void **state)
{
    struct kh_ice_config config = {.role = KH_ICE_CONTROLLING};

    (void)state;
    wire_init(&wire, 1);
    wire.is_cut = true;
    wire_add_agent(&wire, ALICE, &config);
    wire_add_agent(&wire, BOB, &config);
    wire.hosts[ALICE].learns_at = wire.hosts[BOB].learns_at = KH_NEVER;
    wire_add_addr(&wire, ALICE, HOME);
    wire.hosts[ALICE].addrs[0].transport = KH_TCP;
    kh_ice_agent_set_remote(wire.hosts[ALICE].agent, wire.now, &wire.hosts[BOB].credentials);
    wire_drain(&wire, ALICE);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    wire_fini(&wire);
    return 0;
}

static struct kh_ice_agent *alice(void)
{
    return wire.hosts[ALICE].agent;
}

static struct kh_addr tcp_addr(const char *text)
{
    struct kh_addr addr = wire_addr(text);

    addr.transport = KH_TCP;
    return addr;
}

/* tcp: 0 means UDP. */
static struct kh_ice_candidate candidate_of(enum kh_ice_kind kind, const char *addr, unsigned tcp)
{
    struct kh_ice_candidate candidate = wire_candidate(kind, addr, addr);

    candidate.tcp = tcp;
    candidate.addr.transport = candidate.base.transport = tcp == 0 ? KH_UDP : KH_TCP;
    return candidate;
}

static enum kh_status add_local(const char *addr, unsigned tcp)
{
    struct kh_ice_candidate candidate = candidate_of(KH_ICE_HOST, addr, tcp);
    enum kh_status status = kh_ice_agent_add_local(alice(), wire.now, &candidate);

    wire_drain(&wire, ALICE);
    return status;
}

static enum kh_status add_remote(enum kh_ice_kind kind, const char *addr, unsigned tcp)
{
    struct kh_ice_candidate candidate = candidate_of(kind, addr, tcp);
    enum kh_status status = kh_ice_agent_add_remote(alice(), wire.now, &candidate);

    wire_drain(&wire, ALICE);
    return status;
}

static size_t count_pairs(void)
{
    size_t count = 0;

    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        count += alice()->pairs[i].is_used;
    return count;
}

static void lose(const char *local, const char *remote)
{
    struct kh_addr from = tcp_addr(local), to = tcp_addr(remote);

    kh_ice_agent_handle_lost(alice(), wire.now, &from, &to);
    wire_drain(&wire, ALICE);
}

/* Answers the latest check as if Bob had seen it come from where it left. */
static void answer(void)
{
    struct wire_packet check = wire.last_sent[ALICE];

    assert_true(wire_answer(&wire, ALICE, &check, &check.from));
}

/* Both have a TCP candidate, Alice's first check is on its way. */
static void connect_by_tcp(void)
{
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, KH_ICE_TCP_PASSIVE), KH_OK);
    wire_run(&wire, KH_ICE_TCP_HOLD + KH_MILLISECONDS(20));
    assert_int_equal(wire.hosts[ALICE].sent, 1);
    assert_int_equal(wire.last_sent[ALICE].to.transport, KH_TCP);
    assert_int_equal(wire.last_sent[ALICE].from.transport, KH_TCP);
}

/* RFC 6544 6.2: active with passive, simultaneous with its like; the passive side waits. */
static void directions_pair_as_the_table_says(void **state)
{
    static const struct {
        unsigned local, remote;
        size_t pairs;
    } table[] = {
        {KH_ICE_TCP_ACTIVE, KH_ICE_TCP_PASSIVE, 1},
        {KH_ICE_TCP_ACTIVE, KH_ICE_TCP_ACTIVE, 0},
        {KH_ICE_TCP_ACTIVE, KH_ICE_TCP_SIMULTANEOUS, 0},
        {KH_ICE_TCP_PASSIVE, KH_ICE_TCP_ACTIVE, 0},
        {KH_ICE_TCP_PASSIVE, KH_ICE_TCP_PASSIVE, 0},
        {KH_ICE_TCP_SIMULTANEOUS, KH_ICE_TCP_SIMULTANEOUS, 1},
        {KH_ICE_TCP_SIMULTANEOUS, KH_ICE_TCP_PASSIVE, 0},
        {ALL, ALL, 1},
        {0, ALL, 0},
        {ALL, 0, 0},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(add_local(HOME, table[i].local), KH_OK);
        assert_int_equal(add_remote(KH_ICE_HOST, AWAY, table[i].remote), KH_OK);
        assert_int_equal(count_pairs(), table[i].pairs);
        stop(state);
        start(state);
    }
}

/* Told again with another direction, a candidate is paired as it is now. */
static void a_direction_may_change(void **state)
{
    (void)state;
    assert_int_equal(add_local(HOME, KH_ICE_TCP_ACTIVE), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, KH_ICE_TCP_SIMULTANEOUS), KH_OK);
    assert_int_equal(count_pairs(), 0);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, KH_ICE_TCP_PASSIVE), KH_OK);
    assert_int_equal(count_pairs(), 1);
}

static void a_direction_belongs_to_tcp_alone(void **state)
{
    struct kh_ice_candidate candidate = candidate_of(KH_ICE_HOST, HOME, ALL);

    (void)state;
    candidate.tcp = 0;
    assert_int_equal(kh_ice_agent_add_local(alice(), wire.now, &candidate), KH_ERR_FORMAT);
    assert_int_equal(kh_ice_agent_add_remote(alice(), wire.now, &candidate), KH_ERR_FORMAT);
    candidate.tcp = 8;
    assert_int_equal(kh_ice_agent_add_remote(alice(), wire.now, &candidate), KH_ERR_FORMAT);
    candidate = candidate_of(KH_ICE_HOST, HOME, 0);
    candidate.tcp = KH_ICE_TCP_PASSIVE;
    assert_int_equal(kh_ice_agent_add_remote(alice(), wire.now, &candidate), KH_ERR_FORMAT);
    candidate = candidate_of(KH_ICE_HOST, HOME, ALL);
    candidate.base.transport = KH_UDP;
    assert_int_equal(kh_ice_agent_add_local(alice(), wire.now, &candidate), KH_ERR_FORMAT);
}

/* RFC 6544 4.2, and any direct TCP before any relay. */
static void udp_comes_before_tcp_and_tcp_before_relays(void **state)
{
    struct kh_addr udp = wire_addr(HOME), tcp = tcp_addr(HOME);

    (void)state;
    for (enum kh_ice_kind kind = KH_ICE_HOST; kind <= KH_ICE_MAPPED; kind++) {
        if (kind == KH_ICE_RELAYED)
            continue;
        assert_true(kh_ice_priority(KH_ICE_SERVER_REFLEXIVE, &udp) > kh_ice_priority(kind, &tcp));
        assert_true(kh_ice_priority(KH_ICE_RELAYED, &udp) < kh_ice_priority(kind, &tcp));
    }
    assert_true(kh_ice_priority(KH_ICE_HOST, &tcp) >
                kh_ice_priority(KH_ICE_SERVER_REFLEXIVE, &tcp));
}

static void no_connection_is_made_while_udp_may_answer(void **state)
{
    (void)state;
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    assert_int_equal(add_local(HOME, 0), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, ALL), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, 0), KH_OK);
    wire_run(&wire, KH_MILLISECONDS(100));
    assert_int_equal(wire.hosts[ALICE].sent, 1);
    assert_int_equal(wire.last_sent[ALICE].to.transport, KH_UDP);
    answer();
    wire_run(&wire, KH_MILLISECONDS(100));
    answer(); /* to the nomination */
    wire_run(&wire, KH_SECONDS(4));
    assert_int_equal(wire.hosts[ALICE].path.remote.transport, KH_UDP);
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (alice()->pairs[i].is_used && kh_ice_pair_is_tcp(alice(), &alice()->pairs[i]))
            assert_int_equal(alice()->pairs[i].check.attempts, 0);
}

/* RFC 8489 6.2.2: TCP repeats by itself.  A check that is not answered fails once. */
static void checks_are_not_repeated(void **state)
{
    (void)state;
    connect_by_tcp();
    wire_run(&wire, KH_ICE_TCP_WAIT - KH_MILLISECONDS(100));
    assert_int_equal(wire.hosts[ALICE].sent, 1);
    assert_int_equal(alice()->pairs[0].state, KH_ICE_PAIR_IN_PROGRESS);
    wire_run(&wire, KH_MILLISECONDS(200));
    assert_int_equal(wire.hosts[ALICE].sent, 1);
    assert_int_equal(alice()->pairs[0].state, KH_ICE_PAIR_FAILED);
}

static void an_answer_selects_the_connection(void **state)
{
    (void)state;
    connect_by_tcp();
    answer();
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
    assert_int_equal(wire.hosts[ALICE].path.remote.transport, KH_TCP);
    assert_int_equal(wire.hosts[ALICE].path.local_kind, KH_ICE_HOST);
    assert_true(kh_ice_agent_is_valid(alice(), &wire.hosts[ALICE].path.local,
                                      &wire.hosts[ALICE].path.remote));
}

/* A connection that is refused is tried again, with pauses, and not for ever. */
static void a_refused_connection_is_tried_again(void **state)
{
    kh_time from;

    (void)state;
    connect_by_tcp();
    from = wire.now;
    for (unsigned i = 1; i < KH_ICE_ATTEMPTS_MAX; i++) {
        lose(HOME, AWAY);
        lose(HOME, AWAY); /* once is enough */
        assert_int_equal(wire.hosts[ALICE].sent, i);
        wire_run(&wire, KH_MILLISECONDS(2500));
        assert_int_equal(wire.hosts[ALICE].sent, i + 1);
    }
    lose(HOME, AWAY);
    wire_run(&wire, KH_MILLISECONDS(2500));
    assert_int_equal(wire.hosts[ALICE].sent, KH_ICE_ATTEMPTS_MAX);
    assert_int_equal(alice()->pairs[0].state, KH_ICE_PAIR_FAILED);
    assert_true(kh_time_since(wire.now, from) < KH_SECONDS(20));
}

/* Where both sides connect, SYNs must pass each other: often, at random, and for so long. */
static void calls_that_should_cross_are_tried_often(void **state)
{
    uint64_t sent = 1;
    kh_time from, until;

    (void)state;
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, "192.168.1.9:4000", ALL), KH_OK);
    assert_false(kh_ice_pair_is_mutual(alice(), &alice()->pairs[0])); /* a neighbour of ours */
    stop(state);
    start(state);
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, KH_ICE_TCP_SIMULTANEOUS), KH_OK);
    wire_run(&wire, KH_ICE_TCP_HOLD + KH_MILLISECONDS(20));
    assert_int_equal(wire.hosts[ALICE].sent, sent);
    from = wire.now;
    while (alice()->pairs[0].state == KH_ICE_PAIR_IN_PROGRESS) {
        lose(HOME, AWAY);
        until = wire.now + KH_ICE_TCP_MUTUAL_PAUSE + KH_ICE_TCP_MUTUAL_SPREAD;
        while (wire.hosts[ALICE].sent == sent && wire.now < until)
            wire_run(&wire, KH_MILLISECONDS(10));
        sent = wire.hosts[ALICE].sent;
    }
    assert_in_range(sent, 30, 80);
    assert_in_range(wire.now - from, KH_ICE_TCP_MUTUAL_FOR - KH_SECONDS(1),
                    KH_ICE_TCP_MUTUAL_FOR + KH_SECONDS(1));
    assert_int_equal(alice()->pairs[0].state, KH_ICE_PAIR_FAILED);
}

/* All that is refused, at once. */
static void refuse_all(void)
{
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++) {
        const struct kh_ice_pair *pair = &alice()->pairs[i];
        struct kh_addr from, to;

        if (!pair->is_used || !pair->check.is_waiting || pair->check.is_lost)
            continue;
        from = kh_ice_pair_from(alice(), pair);
        to = kh_ice_pair_to(alice(), pair);
        kh_ice_agent_handle_lost(alice(), wire.now, &from, &to);
        wire_drain(&wire, ALICE);
    }
}

/* A card can name twenty who never heard of us, and whose hosts refuse each call. */
static void many_that_should_cross_are_no_storm(void **state)
{
    uint64_t sent;

    (void)state;
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    for (int i = 0; i < 20; i++) {
        char text[] = "198.51.100.200:4000";

        text[12] = (char)('0' + i / 10);
        text[13] = (char)('0' + i % 10);
        assert_int_equal(add_remote(KH_ICE_SERVER_REFLEXIVE, text, KH_ICE_TCP_SIMULTANEOUS), KH_OK);
    }
    for (int i = 0; i < 300; i++) {
        wire_run(&wire, KH_MILLISECONDS(10));
        refuse_all();
    }
    sent = wire.hosts[ALICE].sent;
    for (int i = 0; i < 800; i++) {
        wire_run(&wire, KH_MILLISECONDS(10));
        refuse_all();
    }
    assert_in_range(wire.hosts[ALICE].sent - sent, 80, 160); /* in eight seconds */
}

/* The network seems to be another: what would be better gets another chance, and no more. */
static void what_failed_is_reconsidered(void **state)
{
    struct kh_ice_pair *pair = NULL;
    uint64_t sent;

    (void)state;
    connect_by_tcp();
    answer();
    wire_run(&wire, KH_MILLISECONDS(30));
    answer();
    assert_int_equal(add_local(HOME, 0), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, 0), KH_OK);
    assert_int_equal(add_remote(KH_ICE_RELAYED, "203.0.113.9:5000", 0), KH_OK);
    wire_run(&wire, KH_MILLISECONDS(6800)); /* before consent makes it look elsewhere */
    for (size_t i = 0; i < KH_ICE_PAIRS_MAX; i++)
        if (alice()->pairs[i].is_used && alice()->pairs[i].state == KH_ICE_PAIR_FAILED)
            pair = &alice()->pairs[i];
    assert_non_null(pair);
    assert_int_equal(alice()->remotes[pair->remote].addr.transport, KH_UDP);
    assert_int_equal(alice()->remotes[pair->remote].kind, KH_ICE_HOST);
    sent = alice()->stats.checks_sent;
    kh_ice_agent_reconsider(alice(), wire.now);
    wire_drain(&wire, ALICE);
    assert_int_equal(alice()->stats.checks_sent, sent + 1);
    assert_true(kh_addr_equal(&wire.last_sent[ALICE].to, &alice()->remotes[pair->remote].addr));
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
    assert_int_equal(wire.hosts[ALICE].path.remote.transport, KH_TCP);
}

/* It may be accepted at last. */
static void a_second_connection_carries(void **state)
{
    (void)state;
    connect_by_tcp();
    lose(HOME, AWAY);
    wire_run(&wire, KH_MILLISECONDS(500));
    assert_int_equal(wire.hosts[ALICE].sent, 2);
    answer();
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
}

/* With nothing else, the path is lost at once, and looked for by a new connection at once. */
static void the_end_of_the_connection_ends_the_path(void **state)
{
    uint64_t sent;

    (void)state;
    connect_by_tcp();
    answer();
    wire_run(&wire, KH_SECONDS(1));
    sent = wire.hosts[ALICE].sent;
    lose(HOME, AWAY);
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CHECKING);
    wire_run(&wire, KH_ICE_TCP_HOLD + KH_MILLISECONDS(20));
    assert_int_equal(wire.hosts[ALICE].sent, sent + 1);
    answer();
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
}

static void another_path_takes_over_at_once(void **state)
{
    struct kh_addr relayed;

    (void)state;
    assert_int_equal(add_local(HOME, 0), KH_OK);
    assert_int_equal(add_remote(KH_ICE_RELAYED, "203.0.113.9:5000", 0), KH_OK);
    answer();
    wire_run(&wire, KH_MILLISECONDS(30));
    relayed = wire.hosts[ALICE].path.remote;
    assert_int_equal(relayed.transport, KH_UDP);
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    assert_int_equal(add_remote(KH_ICE_HOST, AWAY, KH_ICE_TCP_PASSIVE), KH_OK);
    for (int i = 0; i < 100 && wire.last_sent[ALICE].to.transport != KH_TCP; i++)
        wire_run(&wire, KH_MILLISECONDS(10));
    answer(); /* it is valid, and better than a relay: Alice nominates it … */
    wire_run(&wire, KH_MILLISECONDS(30));
    assert_int_equal(wire.last_sent[ALICE].to.transport, KH_TCP);
    answer(); /* … and Bob agrees */
    assert_int_equal(wire.hosts[ALICE].path.remote.transport, KH_TCP);
    lose(HOME, AWAY);
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
    assert_true(kh_addr_equal(&wire.hosts[ALICE].path.remote, &relayed));
}

static const struct kh_ice_pair *tcp_pair(void)
{
    size_t i = 0;

    while (!alice()->pairs[i].is_used || !kh_ice_pair_is_tcp(alice(), &alice()->pairs[i]))
        i++;
    return &alice()->pairs[i];
}

/* One that lasted is made anew at once; one that did not gets the pause of any path that failed. */
static void a_connection_that_lasted_is_made_anew(void **state)
{
    for (int lasts = 0; lasts <= 1; lasts++) {
        assert_int_equal(add_local(HOME, 0), KH_OK);
        assert_int_equal(add_remote(KH_ICE_RELAYED, "203.0.113.9:5000", 0), KH_OK);
        answer();
        wire_run(&wire, KH_MILLISECONDS(30));
        answer();
        assert_int_equal(add_local(HOME, ALL), KH_OK);
        assert_int_equal(add_remote(KH_ICE_HOST, AWAY, KH_ICE_TCP_PASSIVE), KH_OK);
        for (int i = 0; i < 100 && wire.last_sent[ALICE].to.transport != KH_TCP; i++)
            wire_run(&wire, KH_MILLISECONDS(10));
        answer();
        wire_run(&wire, lasts ? KH_ICE_TCP_LASTING : KH_SECONDS(1));
        lose(HOME, AWAY);
        wire_run(&wire, KH_MILLISECONDS(100));
        assert_int_equal(tcp_pair()->state, lasts ? KH_ICE_PAIR_IN_PROGRESS : KH_ICE_PAIR_FAILED);
        stop(state);
        start(state);
    }
}

/* RFC 6544 7.2: a connection of the peer's from a port nobody told is a candidate while it lasts,
 * and never one to connect to. */
static void a_connection_of_the_peer_is_checked_back_along_itself(void **state)
{
    const char *from = "203.0.113.7:50123";
    const char *password = wire.hosts[ALICE].credentials.password;
    uint8_t id[KH_STUN_ID_LEN] = {7}, data[300];
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    struct kh_datagram request = {.from = tcp_addr(from), .to = tcp_addr(HOME), .data = data};
    char username[80];
    uint64_t sent;

    (void)state;
    assert_int_equal(add_local(HOME, ALL), KH_OK);
    strcpy(username, wire.hosts[ALICE].credentials.ufrag);
    strcat(username, ":");
    strcat(username, wire.hosts[BOB].credentials.ufrag);
    kh_stun_add(&writer, KH_STUN_USERNAME, username, strlen(username));
    kh_stun_add_u32(&writer, KH_STUN_PRIORITY, 80u << 24);
    kh_stun_add_integrity(&writer, (struct kh_span){password, strlen(password)});
    request.len = kh_stun_finish(&writer);
    assert_true(wire_inject(&wire, ALICE, &request));
    assert_int_equal(wire.hosts[ALICE].sent, 2); /* the answer, and a check of her own */
    assert_true(kh_addr_equal(&wire.last_sent[ALICE].to, &request.from));
    assert_int_equal(count_pairs(), 1);
    answer();
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
    assert_int_equal(wire.hosts[ALICE].path.remote_kind, KH_ICE_PEER_REFLEXIVE);
    lose(HOME, from);
    assert_int_equal(count_pairs(), 0);
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CHECKING);
    sent = wire.hosts[ALICE].sent;
    wire_run(&wire, KH_SECONDS(30));
    assert_int_equal(wire.hosts[ALICE].sent, sent);
}

/* What is lost that we never had changes nothing. */
static void a_stranger_connection_is_none_of_ours(void **state)
{
    (void)state;
    connect_by_tcp();
    lose(HOME, "203.0.113.7:50123");
    lose("198.51.100.11:4000", AWAY);
    answer();
    lose(HOME, "203.0.113.7:50123");
    assert_int_equal(kh_ice_agent_state(alice()), KH_ICE_CONNECTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(directions_pair_as_the_table_says, start, stop),
        cmocka_unit_test_setup_teardown(a_direction_may_change, start, stop),
        cmocka_unit_test_setup_teardown(a_direction_belongs_to_tcp_alone, start, stop),
        cmocka_unit_test_setup_teardown(udp_comes_before_tcp_and_tcp_before_relays, start, stop),
        cmocka_unit_test_setup_teardown(no_connection_is_made_while_udp_may_answer, start, stop),
        cmocka_unit_test_setup_teardown(checks_are_not_repeated, start, stop),
        cmocka_unit_test_setup_teardown(an_answer_selects_the_connection, start, stop),
        cmocka_unit_test_setup_teardown(a_refused_connection_is_tried_again, start, stop),
        cmocka_unit_test_setup_teardown(calls_that_should_cross_are_tried_often, start, stop),
        cmocka_unit_test_setup_teardown(many_that_should_cross_are_no_storm, start, stop),
        cmocka_unit_test_setup_teardown(what_failed_is_reconsidered, start, stop),
        cmocka_unit_test_setup_teardown(a_second_connection_carries, start, stop),
        cmocka_unit_test_setup_teardown(the_end_of_the_connection_ends_the_path, start, stop),
        cmocka_unit_test_setup_teardown(another_path_takes_over_at_once, start, stop),
        cmocka_unit_test_setup_teardown(a_connection_that_lasted_is_made_anew, start, stop),
        cmocka_unit_test_setup_teardown(a_connection_of_the_peer_is_checked_back_along_itself,
                                        start, stop),
        cmocka_unit_test_setup_teardown(a_stranger_connection_is_none_of_ours, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
