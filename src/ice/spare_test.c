/* ice/spare_test.c - checks that nobody waits for, and the ports they find.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "ice/ice.h"

#define ALICE_MAIN kh_addr_ipv4(192, 168, 1, 2, 5000)
#define ALICE_SPARE kh_addr_ipv4(192, 168, 1, 2, 6000)
#define ALICE_RELAY kh_addr_ipv4(203, 0, 113, 1, 7000)
#define BOB kh_addr_ipv4(203, 0, 113, 20, 5000)
#define BOB_RELAY kh_addr_ipv4(203, 0, 113, 1, 7001)
#define MILLISECOND KH_MILLISECONDS(1)

enum { A, B };

/* Two agents: Alice behind a NAT that shows each of her ports to Bob as that port of .10. */
struct play {
    kh_time now;
    struct kh_ice_agent *agents[2];
    struct kh_ice_credentials credentials[2];
    struct kh_ice_path paths[2];
    unsigned path_count[2];
    uint64_t shut; /* datagrams to a port of Alice's main NAT mapping, which Bob may not use */
};

static struct kh_addr outside(const struct kh_addr *inside)
{
    return kh_addr_ipv4(203, 0, 113, 10, inside->port);
}

static bool is_relay(const struct kh_addr *addr)
{
    return addr->ip[3] == 1;
}

static void give(struct play *play, int to, const struct kh_datagram *datagram);

static void drain(struct play *play, int who)
{
    struct kh_datagram sent[32], out;
    uint8_t bytes[32][256];
    struct kh_ice_event event;
    size_t count = 0;

    while (kh_ice_agent_next_event(play->agents[who], &event)) {
        if (event.kind != KH_ICE_EVENT_PATH)
            continue;
        play->paths[who] = event.path;
        play->path_count[who]++;
    }
    while (kh_ice_agent_next_transmit(play->agents[who], &out)) {
        assert_true(count < 32);
        memcpy(bytes[count], out.data, out.len);
        sent[count] = out;
        sent[count].data = bytes[count];
        count++;
    }
    for (size_t i = 0; i < count; i++)
        give(play, 1 - who, &sent[i]);
}

/* Relayed addresses reach each other; Bob's main port reaches no port of Alice but the spare. */
static void give(struct play *play, int to, const struct kh_datagram *datagram)
{
    struct kh_datagram in = *datagram;

    if (is_relay(&in.from) != is_relay(&in.to))
        return;
    if (!is_relay(&in.from) && in.from.port != ALICE_SPARE.port && in.to.port != ALICE_SPARE.port) {
        play->shut++;
        return;
    }
    if (to == B && !is_relay(&in.from))
        in.from = outside(&in.from);
    if (to == A && !is_relay(&in.to))
        in.to = kh_addr_ipv4(192, 168, 1, 2, in.to.port);
    kh_ice_agent_handle_datagram(play->agents[to], play->now, &in);
    drain(play, to);
}

static void add_local(struct play *play, int who, enum kh_ice_kind kind, struct kh_addr addr)
{
    struct kh_ice_candidate candidate = {.kind = kind, .addr = addr, .base = addr};

    assert_int_equal(kh_ice_agent_add_local(play->agents[who], play->now, &candidate), KH_OK);
    drain(play, who);
}

static void add_remote(struct play *play, int who, enum kh_ice_kind kind, struct kh_addr addr)
{
    struct kh_ice_candidate candidate = {.kind = kind, .addr = addr};

    assert_int_equal(kh_ice_agent_add_remote(play->agents[who], play->now, &candidate), KH_OK);
    drain(play, who);
}

static void run(struct play *play, kh_duration duration)
{
    kh_time end = play->now + duration;

    for (; play->now < end; play->now += MILLISECOND)
        for (int who = A; who <= B; who++)
            if (kh_ice_agent_timeout(play->agents[who]) <= play->now) {
                kh_ice_agent_handle_timeout(play->agents[who], play->now);
                drain(play, who);
            }
}

/* Both are connected through the relay. */
static void begin(struct play *play, enum kh_ice_role role)
{
    *play = (struct play){.now = KH_SECONDS(1)};
    for (int who = A; who <= B; who++) {
        struct kh_ice_config config = {.role = who == A ? role : (enum kh_ice_role)(1 - (int)role)};
        struct kh_rng rng;

        memset(config.seed, 1 + who, sizeof config.seed);
        kh_rng_init(&rng, config.seed);
        kh_ice_credentials_make(&config.local, &rng);
        kh_rng_fini(&rng);
        play->credentials[who] = config.local;
        assert_int_equal(kh_ice_agent_new(&play->agents[who], &config), KH_OK);
    }
    add_local(play, A, KH_ICE_HOST, ALICE_MAIN);
    add_local(play, A, KH_ICE_RELAYED, ALICE_RELAY);
    add_local(play, B, KH_ICE_HOST, BOB);
    add_local(play, B, KH_ICE_RELAYED, BOB_RELAY);
    for (int who = A; who <= B; who++) {
        kh_ice_agent_set_remote(play->agents[who], play->now, &play->credentials[1 - who]);
        drain(play, who);
    }
    add_remote(play, A, KH_ICE_HOST, BOB);
    add_remote(play, A, KH_ICE_RELAYED, BOB_RELAY);
    add_remote(play, B, KH_ICE_RELAYED, ALICE_RELAY);
    run(play, KH_SECONDS(15)); /* until the checks that cannot arrive are over */
    assert_int_equal(play->paths[A].local_kind, KH_ICE_RELAYED);
    assert_int_equal(play->paths[B].local_kind, KH_ICE_RELAYED);
}

static void end(struct play *play)
{
    kh_ice_agent_free(play->agents[A]);
    kh_ice_agent_free(play->agents[B]);
}

static bool probe(struct play *play, int who, struct kh_addr from, struct kh_addr to)
{
    struct kh_datagram way = {.from = from, .to = to};
    bool sent = kh_ice_agent_probe(play->agents[who], play->now, &way);

    drain(play, who);
    return sent;
}

static void hit(struct play *play)
{
    struct kh_addr spare = ALICE_SPARE;

    assert_true(probe(play, B, BOB, outside(&spare)));
    run(play, KH_SECONDS(1));
}

static void a_probe_that_hits_makes_the_path(struct play *play)
{
    struct kh_addr main = ALICE_MAIN, spare = ALICE_SPARE, bob = BOB, seen = outside(&spare);

    kh_ice_agent_set_spare(play->agents[A], play->now, &main);
    drain(play, A);
    hit(play);
    assert_true(kh_addr_equal(&play->paths[A].local, &spare));
    assert_true(kh_addr_equal(&play->paths[A].remote, &bob));
    assert_true(kh_addr_equal(&play->paths[B].local, &bob));
    assert_true(kh_addr_equal(&play->paths[B].remote, &seen));
    assert_int_equal(play->paths[B].remote_kind, KH_ICE_PEER_REFLEXIVE);
    /* And it is kept by consent, without the punch. */
    kh_ice_agent_set_spare(play->agents[A], play->now, NULL);
    drain(play, A);
    run(play, KH_SECONDS(60));
    assert_true(kh_addr_equal(&play->paths[A].local, &spare));
    assert_true(kh_ice_agent_is_valid(play->agents[A], &spare, &bob));
}

static void whoever_controls_a_hit_makes_the_path(void **state)
{
    struct play play;

    (void)state;
    for (int role = KH_ICE_CONTROLLED; role <= KH_ICE_CONTROLLING; role++) {
        begin(&play, (enum kh_ice_role)role);
        a_probe_that_hits_makes_the_path(&play);
        end(&play);
    }
}

/* The one who holds the ports opens; that opener may be what arrives. */
static void an_opener_that_arrives_makes_the_path_too(void **state)
{
    struct play play;
    struct kh_addr main = ALICE_MAIN, spare = ALICE_SPARE;

    (void)state;
    begin(&play, KH_ICE_CONTROLLING);
    kh_ice_agent_set_spare(play.agents[A], play.now, &main);
    drain(&play, A);
    assert_true(probe(&play, A, spare, BOB));
    run(&play, KH_SECONDS(1));
    assert_true(kh_addr_equal(&play.paths[A].local, &spare));
    end(&play);
}

static void without_leave_a_port_stays_nobodys(void **state)
{
    struct play play;
    uint64_t answered;

    (void)state;
    begin(&play, KH_ICE_CONTROLLING);
    answered = kh_ice_agent_stats(play.agents[A]).requests_received;
    hit(&play);
    assert_true(kh_ice_agent_stats(play.agents[A]).requests_received > answered);
    assert_int_equal(play.paths[A].local_kind, KH_ICE_RELAYED);
    end(&play);
}

/* A stranger knows fragments, which travel openly, but no password. */
static void only_authentic_checks_make_a_base(void **state)
{
    struct kh_addr main = ALICE_MAIN;
    struct kh_datagram out, way = {.from = BOB, .to = ALICE_SPARE};
    struct kh_ice_config config = {.role = KH_ICE_CONTROLLED};
    struct kh_ice_credentials guess;
    struct kh_ice_agent *stranger;
    struct kh_ice_stats stats;
    struct play play;

    (void)state;
    begin(&play, KH_ICE_CONTROLLING);
    kh_ice_agent_set_spare(play.agents[A], play.now, &main);
    drain(&play, A);
    config.local = play.credentials[B];
    guess = play.credentials[A];
    guess.password[0] ^= 1;
    assert_int_equal(kh_ice_agent_new(&stranger, &config), KH_OK);
    kh_ice_agent_set_remote(stranger, play.now, &guess);
    assert_true(kh_ice_agent_probe(stranger, play.now, &way));
    assert_true(kh_ice_agent_next_transmit(stranger, &out));
    stats = kh_ice_agent_stats(play.agents[A]);
    assert_true(kh_ice_agent_handle_datagram(play.agents[A], play.now, &out));
    assert_int_equal(kh_ice_agent_stats(play.agents[A]).dropped_unauthentic,
                     stats.dropped_unauthentic + 1);
    assert_false(kh_ice_agent_next_transmit(play.agents[A], &out));
    kh_ice_agent_free(stranger);
    end(&play);
}

/* However many hit, few become bases, and the end of the punch leaves the one in use. */
static void bases_are_few_and_go(void **state)
{
    struct kh_addr main = ALICE_MAIN;
    struct play play;
    struct kh_ice_stats before, after;

    (void)state;
    begin(&play, KH_ICE_CONTROLLING);
    kh_ice_agent_set_spare(play.agents[A], play.now, &main);
    drain(&play, A);
    before = kh_ice_agent_stats(play.agents[A]);
    for (uint16_t i = 0; i < 40; i++) {
        struct kh_datagram way = {.from = BOB, .to = kh_addr_ipv4(203, 0, 113, 10, 6100)}, out, in;
        uint8_t bytes[256];

        way.to.port = (uint16_t)(6100 + i);
        assert_true(kh_ice_agent_probe(play.agents[B], play.now, &way));
        assert_true(kh_ice_agent_next_transmit(play.agents[B], &out));
        memcpy(bytes, out.data, out.len);
        in = out;
        in.data = bytes;
        in.to = kh_addr_ipv4(192, 168, 1, 2, way.to.port);
        kh_ice_agent_handle_datagram(play.agents[A], play.now, &in);
        while (kh_ice_agent_next_transmit(play.agents[A], &out))
            continue;
    }
    after = kh_ice_agent_stats(play.agents[A]);
    assert_int_equal(after.requests_received - before.requests_received, 40);
    assert_int_equal(after.checks_sent - before.checks_sent, 4);
    kh_ice_agent_set_spare(play.agents[A], play.now, NULL);
    drain(&play, A);
    before = kh_ice_agent_stats(play.agents[A]);
    run(&play, KH_SECONDS(2));
    after = kh_ice_agent_stats(play.agents[A]);
    assert_int_equal(after.checks_retransmitted - before.checks_retransmitted, 0);
    end(&play);
}

static void nobody_is_probed_before_its_credentials_are_known(void **state)
{
    struct kh_ice_config config = {.role = KH_ICE_CONTROLLED,
                                   .local = {"abcd", "abcdefghijklmnopqrstuv"}};
    struct kh_datagram way = {.from = BOB, .to = ALICE_RELAY, .ttl = 4}, out;
    struct kh_ice_credentials remote = {"efgh", "abcdefghijklmnopqrstuw"};
    struct kh_ice_agent *agent;

    (void)state;
    assert_int_equal(kh_ice_agent_new(&agent, &config), KH_OK);
    assert_false(kh_ice_agent_probe(agent, 1, &way));
    kh_ice_agent_set_remote(agent, 1, &remote);
    while (kh_ice_agent_next_transmit(agent, &out))
        continue;
    assert_true(kh_ice_agent_probe(agent, 1, &way));
    assert_true(kh_ice_agent_next_transmit(agent, &out));
    assert_int_equal(out.ttl, 4);
    assert_true(kh_addr_equal(&out.from, &way.from) && kh_addr_equal(&out.to, &way.to));
    kh_ice_agent_free(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_controls_a_hit_makes_the_path),
        cmocka_unit_test(an_opener_that_arrives_makes_the_path_too),
        cmocka_unit_test(without_leave_a_port_stays_nobodys),
        cmocka_unit_test(only_authentic_checks_make_a_base),
        cmocka_unit_test(bases_are_few_and_go),
        cmocka_unit_test(nobody_is_probed_before_its_credentials_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
