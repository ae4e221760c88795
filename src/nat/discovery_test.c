/* nat/discovery_test.c - every modelled NAT is recognised, also on a lossy path.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "nat/discovery.h"
#include "stun/stun.h"
#include "support/dice.h"
#include "support/nat.h"

#define SEEDS 100
#define DELAY KH_MILLISECONDS(25) /* one way */
#define FLYING_MAX 512
#define START KH_SECONDS(1000)
#define LONGEST KH_SECONDS(4)

enum server {
    SERVER_FULL,
    SERVER_ONE_PORT,
    SERVER_TWO_PORTS,
    SERVER_HALF_DEAF,
    SERVER_OTHER_DEAD,
    SERVER_LYING, /* tells another port each time, from 0 on */
    SERVER_DEAD
};

struct flying {
    kh_time arrives;
    struct kh_addr from, to;
    uint8_t data[128];
    size_t len;
};

/* A host, its NAT, a server with four places, and datagrams on the way between. */
struct world {
    struct nat *nat;
    struct kh_nat_discovery *discovery;
    struct dice dice;
    double loss;
    enum server server;
    bool is_place_secret;
    kh_time now, unmapped_at; /* latest time at which it was not known */
    struct flying flying[FLYING_MAX];
    size_t flying_count;
    size_t sent;
    unsigned lies;
};

static struct kh_addr place(size_t n)
{
    return kh_addr_ipv4(203, 0, 113, n < 2 ? 1 : 2, (uint16_t)(3478 + (n & 1)));
}

static void fly(struct world *world, const struct kh_datagram *datagram)
{
    struct flying *flying;

    if (dice_chance(&world->dice, world->loss))
        return;
    assert_true(world->flying_count < FLYING_MAX && datagram->len <= sizeof flying->data);
    flying = &world->flying[world->flying_count++];
    *flying = (struct flying){world->now + DELAY, datagram->from, datagram->to, {0}, datagram->len};
    memcpy(flying->data, datagram->data, datagram->len);
}

/* The host sends: through the NAT outwards, or back inside. */
static void host_sends(struct world *world, const struct kh_datagram *datagram)
{
    struct nat_flow flow = {datagram->from, datagram->to};
    struct kh_datagram moved = *datagram;
    enum nat_verdict verdict = nat_outbound(world->nat, world->now, &flow);

    world->sent++;
    moved.from = flow.from;
    moved.to = flow.to;
    if (verdict != NAT_DROP)
        fly(world, &moved);
}

static void server_answers(struct world *world, size_t at, const struct flying *in)
{
    uint8_t data[128];
    struct kh_stun_message message;
    struct kh_stun_writer writer;
    struct kh_addr mapped = in->from;
    struct kh_addr origin, other = place(at ^ (world->server == SERVER_TWO_PORTS ? 1 : 3));
    struct kh_datagram answer;
    uint32_t change = 0;
    bool asks, refuses;

    if ((world->server == SERVER_TWO_PORTS && at > 1) || world->server == SERVER_DEAD ||
        (world->server == SERVER_OTHER_DEAD && at != 0) ||
        (world->server == SERVER_HALF_DEAF && at != 0 && at != 1))
        return;
    assert_int_equal(kh_stun_parse(in->data, in->len, &message), KH_OK);
    asks = kh_stun_find_u32(&message, KH_STUN_CHANGE_REQUEST, &change);
    refuses = asks && (world->server == SERVER_ONE_PORT ||
                       (world->server == SERVER_TWO_PORTS && (change & 4) != 0));
    writer = kh_stun_begin(data, sizeof data, refuses ? KH_STUN_ERROR : KH_STUN_SUCCESS,
                           KH_STUN_BINDING, message.id);
    if (refuses)
        change = 0;
    else if (world->server != SERVER_ONE_PORT && (asks || world->server != SERVER_TWO_PORTS))
        kh_stun_add_addr(&writer, KH_STUN_OTHER_ADDRESS, &other);
    if (world->server == SERVER_LYING)
        mapped.port = (uint16_t)(world->lies++ * 1021 % 4000);
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &mapped);
    at ^= change >> 1; /* its bits are those of a place's number, one higher */
    origin = place(at);
    if ((world->server == SERVER_OTHER_DEAD && at != 0) ||
        (world->server == SERVER_HALF_DEAF && at > 1))
        return;
    answer = (struct kh_datagram){
        .from = origin, .to = in->to, .data = data, .len = kh_stun_finish(&writer)};
    answer.to = in->from;
    fly(world, &answer);
}

static void arrive(struct world *world, const struct flying *in)
{
    struct kh_datagram datagram = {
        .from = in->from, .to = in->to, .data = in->data, .len = in->len};
    struct nat_flow flow = {in->from, in->to};

    for (size_t at = 0; at < 4; at++) {
        struct kh_addr addr = place(at);

        if (kh_addr_equal(&addr, &in->to)) {
            server_answers(world, at, in);
            return;
        }
    }
    if (kh_addr_reach(&in->to) != KH_REACH_PRIVATE) {
        if (nat_inbound(world->nat, world->now, &flow) != NAT_FORWARD)
            return;
        datagram.from = flow.from;
        datagram.to = flow.to;
    }
    kh_nat_discovery_handle_datagram(world->discovery, world->now, &datagram);
}

static void drain(struct world *world)
{
    struct kh_datagram out;

    while (kh_nat_discovery_next_transmit(world->discovery, &out))
        host_sends(world, &out);
}

/* Moves to the next thing that happens. */
static void step(struct world *world)
{
    kh_time next = kh_nat_discovery_timeout(world->discovery);
    size_t first = world->flying_count;

    for (size_t i = 0; i < world->flying_count; i++) {
        if (world->flying[i].arrives < next) {
            next = world->flying[i].arrives;
            first = i;
        }
    }
    assert_true(next != KH_NEVER && next >= world->now);
    world->now = next;
    if (first < world->flying_count) {
        struct flying in = world->flying[first];

        world->flying_count--;
        memmove(&world->flying[first], &world->flying[first + 1],
                (world->flying_count - first) * sizeof in);
        arrive(world, &in);
    } else {
        kh_nat_discovery_handle_timeout(world->discovery, world->now);
    }
    drain(world);
}

/* The main socket has spoken to the server, which told where it saw it and where else to ask. */
static void join(struct world *world, struct kh_nat_discovery_config *config)
{
    struct nat_flow flow = {config->sockets[0], config->server};

    assert_int_equal(nat_outbound(world->nat, world->now, &flow), NAT_FORWARD);
    config->mapped = flow.from;
    if (!world->is_place_secret)
        config->other = place(world->server == SERVER_TWO_PORTS ? 1 : 3);
}

/* Sets the stage: everything up to the first questions. */
static void begin(struct world *world, const struct nat_config *kind, uint64_t seed,
                  struct kh_nat_discovery_config *config)
{
    struct nat_config box = *kind;
    bool is_translator = box.kind == NAT_KIND_TRANSLATOR;

    world->dice = dice_of(seed);
    world->now = START;
    world->flying_count = 0;
    world->sent = 0;
    box.external = kh_addr_ipv4(198, 51, 100, 7, 0);
    box.seed = seed;
    config->server = place(0);
    dice_bytes(&world->dice, config->seed, sizeof config->seed);
    for (size_t i = 0; i < KH_NAT_SOCKETS_MAX; i++) {
        uint16_t port = (uint16_t)(32768 + 2000 * i + dice_below(&world->dice, 2000));

        config->sockets[i] = is_translator ? kh_addr_ipv4(192, 168, 1, 2, port)
                                           : kh_addr_ipv4(198, 51, 100, 18, port);
    }
    assert_int_equal(nat_new(&world->nat, &box), KH_OK);
    if (config->quick)
        join(world, config);
    assert_int_equal(kh_nat_discovery_new(&world->discovery, config), KH_OK);
    kh_nat_discovery_start(world->discovery, world->now);
    drain(world);
}

/* Plays a whole discovery; returns how long it took. */
static kh_duration discover(struct world *world, const struct nat_config *kind, uint64_t seed,
                            struct kh_nat_behaviour *out)
{
    struct kh_nat_discovery_config config = {.socket_count = KH_NAT_SOCKETS_MAX};

    begin(world, kind, seed, &config);
    while (!kh_nat_discovery_is_done(world->discovery))
        step(world);
    assert_int_equal(kh_nat_discovery_timeout(world->discovery), KH_NEVER);
    kh_nat_discovery_result(world->discovery, out);
    kh_nat_discovery_free(world->discovery);
    nat_free(world->nat);
    assert_true(world->now - START <= LONGEST);
    return world->now - START;
}

static enum kh_nat_rule rule_of(enum nat_rule rule)
{
    return (enum kh_nat_rule)(rule + 1); /* both list the three of RFC 4787 in its order */
}

static enum kh_nat_ports ports_of(const struct nat_config *kind)
{
    switch (kind->ports) {
    case NAT_PORTS_PRESERVED:
        return KH_NAT_PORTS_PRESERVED;
    case NAT_PORTS_SEQUENTIAL:
        return KH_NAT_PORTS_SEQUENTIAL;
    case NAT_PORTS_RANDOM:
        return KH_NAT_PORTS_RANDOM;
    case NAT_PORTS_BLOCK:
        return KH_NAT_PORTS_BLOCK;
    }
    return KH_NAT_PORTS_UNKNOWN;
}

static enum kh_nat_hairpin hairpin_of(const struct nat_config *kind)
{
    if (kind->kind != NAT_KIND_TRANSLATOR)
        return KH_NAT_HAIRPIN_UNKNOWN;
    switch (kind->hairpin) {
    case NAT_HAIRPIN_NONE:
        return KH_NAT_HAIRPIN_NONE;
    case NAT_HAIRPIN_EXTERNAL:
        return KH_NAT_HAIRPIN_EXTERNAL;
    case NAT_HAIRPIN_INTERNAL:
        return KH_NAT_HAIRPIN_INTERNAL;
    }
    return KH_NAT_HAIRPIN_UNKNOWN;
}

static void assert_recognised(const struct nat_preset *preset, uint64_t seed,
                              const struct kh_nat_behaviour *found)
{
    const struct nat_config *kind = &preset->config;
    bool right = found->reached && found->translated == (kind->kind == NAT_KIND_TRANSLATOR) &&
                 found->mapping == rule_of(kind->mapping) &&
                 found->filtering == rule_of(kind->filtering) && found->ports == ports_of(kind) &&
                 found->hairpin == hairpin_of(kind);

    if (!right)
        fail_msg("%s, seed %u: mapping %d, filtering %d, ports %d, hairpin %d", preset->name,
                 (unsigned)seed, found->mapping, found->filtering, found->ports, found->hairpin);
    if (found->ports == KH_NAT_PORTS_SEQUENTIAL)
        assert_int_equal(found->stride, kind->stride == 0 ? 1 : kind->stride);
    if (found->ports == KH_NAT_PORTS_BLOCK)
        assert_true(found->port_max - found->port_min < kind->block);
}

static void every_kind_is_recognised(double loss)
{
    struct world world = {.loss = loss};
    const struct nat_preset *preset;
    struct kh_nat_behaviour found;

    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            (void)discover(&world, &preset->config, seed, &found);
            assert_recognised(preset, seed, &found);
        }
    }
}

static void every_kind_is_recognised_on_a_clean_path(void **state)
{
    (void)state;
    every_kind_is_recognised(0);
}

static void every_kind_is_recognised_with_ten_percent_lost(void **state)
{
    (void)state;
    every_kind_is_recognised(0.1);
}

/* A few may be taken for stricter than they are; nothing is invented, and it takes no longer. */
static void almost_every_kind_is_recognised_with_half_lost_each_way(void **state)
{
    struct world world = {.loss = 0.5};
    const struct nat_preset *preset;
    struct kh_nat_behaviour found;
    unsigned right = 0, all = 0;

    (void)state;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        const struct nat_config *kind = &preset->config;

        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            (void)discover(&world, kind, seed, &found);
            all++;
            right += found.mapping == rule_of(kind->mapping) &&
                     found.filtering == rule_of(kind->filtering) && found.ports == ports_of(kind);
            if (found.mapping != KH_NAT_RULE_UNKNOWN)
                assert_int_equal(found.mapping, rule_of(kind->mapping));
            assert_true(found.filtering == KH_NAT_RULE_UNKNOWN ||
                        found.filtering >= rule_of(kind->filtering));
        }
    }
    assert_true(right * 100 >= all * 98);
}

static void an_open_path_takes_two_round_trips(void **state)
{
    struct world world = {0};
    struct kh_nat_behaviour found;

    (void)state;
    assert_int_equal(discover(&world, &nat_preset_find("open")->config, 1, &found), 4 * DELAY);
    /* Twelve samples, where else to ask, two changes, two other places: none repeated. */
    assert_int_equal(world.sent, 17);
}

static void the_public_address_is_told(void **state)
{
    struct world world = {0};
    struct kh_nat_behaviour found;
    struct kh_addr expected = kh_addr_ipv4(198, 51, 100, 7, 0);

    (void)state;
    (void)discover(&world, &nat_preset_find("port-restricted")->config, 1, &found);
    assert_true(kh_addr_ip_equal(&found.public_addr, &expected));
}

static void a_server_with_one_port_cannot_tell(void **state)
{
    struct world world = {.server = SERVER_ONE_PORT};
    struct kh_nat_behaviour found;

    (void)state;
    (void)discover(&world, &nat_preset_find("port-restricted-hairpin")->config, 1, &found);
    assert_true(found.reached && found.translated);
    assert_int_equal(found.mapping, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.filtering, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.ports, KH_NAT_PORTS_PRESERVED);
    assert_int_equal(found.hairpin, KH_NAT_HAIRPIN_EXTERNAL);
}

/* An unreachable second address must not look like a filter of ours. */
static void silence_of_a_dead_address_proves_nothing(void **state)
{
    struct world world = {.server = SERVER_OTHER_DEAD};
    struct kh_nat_behaviour found;

    (void)state;
    (void)discover(&world, &nat_preset_find("full-cone")->config, 1, &found);
    assert_int_equal(found.mapping, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.filtering, KH_NAT_RULE_UNKNOWN);
    world.server = SERVER_HALF_DEAF;
    (void)discover(&world, &nat_preset_find("full-cone")->config, 1, &found);
    assert_int_equal(found.mapping, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.filtering, KH_NAT_RULE_UNKNOWN);
    (void)discover(&world, &nat_preset_find("symmetric-random")->config, 1, &found);
    assert_int_equal(found.mapping, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(found.filtering, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
}

static void a_dead_server_is_given_up_soon(void **state)
{
    struct world world = {.server = SERVER_DEAD};
    struct kh_nat_behaviour found;

    (void)state;
    assert_int_equal(discover(&world, &nat_preset_find("open")->config, 1, &found),
                     KH_MILLISECONDS(2300));
    assert_false(found.reached);
    assert_int_equal(found.mapping, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.ports, KH_NAT_PORTS_UNKNOWN);
    assert_int_equal(world.sent, 300); /* in 1.9 s: far from a storm */
}

/* Half of what two addresses tell; and never more than is so. */
static void a_server_with_two_ports_tells_half(void **state)
{
    struct world world = {.server = SERVER_TWO_PORTS};
    const struct nat_preset *preset;
    struct kh_nat_behaviour found;

    (void)state;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        const struct nat_config *kind = &preset->config;
        bool by_port = kind->mapping == NAT_ADDRESS_AND_PORT_DEPENDENT;
        bool filters_port =
            kind->kind != NAT_KIND_OPEN && kind->filtering == NAT_ADDRESS_AND_PORT_DEPENDENT;

        (void)discover(&world, kind, 1, &found);
        assert_int_equal(found.mapping,
                         by_port ? KH_NAT_ADDRESS_AND_PORT_DEPENDENT : KH_NAT_RULE_UNKNOWN);
        assert_int_equal(found.mapping_not_by_port, !by_port);
        assert_int_equal(found.filtering,
                         filters_port ? KH_NAT_ADDRESS_AND_PORT_DEPENDENT : KH_NAT_RULE_UNKNOWN);
        assert_int_equal(found.filter_not_by_port, !filters_port);
        assert_int_equal(found.ports, ports_of(kind));
    }
}

/* Or somebody on the way: nothing proves these answers. */
static void a_server_may_lie(void **state)
{
    struct world world = {.server = SERVER_LYING};
    const struct nat_preset *preset;
    struct kh_nat_behaviour found;

    (void)state;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        world.lies = 0;
        (void)discover(&world, &preset->config, n, &found);
        assert_true(found.port_min > 0 && found.port_min <= found.port_max);
    }
}

/* ---- quick ---- */

/* Plays a quick one; *out is the class when it was over, *early the class one round trip after the
 * start. */
static void discover_quickly(struct world *world, const struct nat_config *kind, uint64_t seed,
                             struct kh_nat_class *early, struct kh_nat_class *out)
{
    struct kh_nat_discovery_config config = {.quick = true, .socket_count = KH_NAT_SOCKETS_QUICK};

    begin(world, kind, seed, &config);
    *early = (struct kh_nat_class){0};
    while (!kh_nat_discovery_is_done(world->discovery)) {
        step(world);
        if (!kh_nat_discovery_has_mapping(world->discovery))
            world->unmapped_at = world->now;
        if (world->now <= START + 2 * DELAY)
            kh_nat_discovery_class(world->discovery, early);
    }
    kh_nat_discovery_class(world->discovery, out);
    kh_nat_discovery_free(world->discovery);
    nat_free(world->nat);
    assert_true(world->now - START <= KH_MILLISECONDS(1500));
    assert_true(world->sent <= 20);
}

static bool is_untranslated(const struct nat_config *kind)
{
    return kind->kind != NAT_KIND_TRANSLATOR;
}

static void assert_class(const struct nat_preset *preset, uint64_t seed,
                         const struct kh_nat_class *found)
{
    const struct nat_config *kind = &preset->config;
    bool right = found->translated == !is_untranslated(kind) &&
                 found->mapping == rule_of(kind->mapping) &&
                 found->filtering == rule_of(kind->filtering) && found->ports == ports_of(kind) &&
                 found->hairpin == hairpin_of(kind);

    if (!right)
        fail_msg("%s, seed %u: mapping %d, filtering %d, ports %d, hairpin %d", preset->name,
                 (unsigned)seed, found->mapping, found->filtering, found->ports, found->hairpin);
    if (found->ports == KH_NAT_PORTS_SEQUENTIAL)
        assert_int_equal(found->stride, kind->stride == 0 ? 1 : kind->stride);
    else
        assert_int_equal(found->stride, 0);
    assert_int_not_equal(found->last_port, 0);
}

static void a_quick_one_recognises_every_kind(void **state)
{
    struct world world = {0};
    const struct nat_preset *preset;
    struct kh_nat_class early, found;

    (void)state;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            discover_quickly(&world, &preset->config, seed, &early, &found);
            assert_class(preset, seed, &found);
            /* What a punch needs first of all takes one round trip. */
            assert_int_equal(early.mapping, rule_of(preset->config.mapping));
            assert_int_equal(early.translated, found.translated);
            assert_int_equal(early.ports, found.ports);
            assert_true(world.unmapped_at <= START + 2 * DELAY);
        }
    }
}

/* Of the newest port a sequence can be guessed on; and a block covers what it shows. */
static void a_quick_one_tells_where_ports_lie(void **state)
{
    struct world world = {0};
    const struct nat_preset *block = nat_preset_find("symmetric-block");
    struct kh_nat_class early, found;
    unsigned whole = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        discover_quickly(&world, &block->config, seed, &early, &found);
        assert_true(found.port_min <= found.last_port && found.last_port <= found.port_max);
        assert_true(found.port_max - found.port_min < 2 * block->config.block);
        whole += found.port_max - found.port_min + 1 == block->config.block;
    }
    assert_true(whole >= SEEDS * 9 / 10);
    discover_quickly(&world, &nat_preset_find("symmetric-stride")->config, 1, &early, &found);
    assert_int_equal(found.last_port, found.port_max);
    assert_int_equal((found.port_max - found.port_min) % 4, 0);
}

/* With much lost it may know less, and take a filter for stricter than it is; it invents nothing.
 */
static void a_quick_one_on_a_lossy_path_errs_to_the_careful_side(void **state)
{
    struct world world = {.loss = 0.1};
    const struct nat_preset *preset;
    struct kh_nat_class early, found;
    unsigned known = 0, strict = 0, all = 0;

    (void)state;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            discover_quickly(&world, &preset->config, seed, &early, &found);
            all++;
            if (found.mapping != KH_NAT_RULE_UNKNOWN)
                assert_int_equal(found.mapping, rule_of(preset->config.mapping));
            if (found.filtering != KH_NAT_RULE_UNKNOWN)
                assert_true(found.filtering >= rule_of(preset->config.filtering));
            known += found.mapping != KH_NAT_RULE_UNKNOWN;
            strict += found.filtering != rule_of(preset->config.filtering);
        }
    }
    assert_true(known * 100 >= all * 95);
    assert_true(strict * 100 <= all * 5);
}

static void a_quick_one_asks_a_server_with_two_ports(void **state)
{
    struct world world = {.server = SERVER_TWO_PORTS};
    struct kh_nat_class early, found;

    (void)state;
    discover_quickly(&world, &nat_preset_find("symmetric-random")->config, 1, &early, &found);
    assert_int_equal(early.mapping, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(found.filtering, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(found.ports, KH_NAT_PORTS_RANDOM);
    assert_false(found.not_by_port);
    discover_quickly(&world, &nat_preset_find("address-dependent")->config, 1, &early, &found);
    assert_int_equal(found.mapping, KH_NAT_RULE_UNKNOWN);
    assert_true(found.not_by_port);
    assert_int_equal(found.filtering, KH_NAT_ADDRESS_DEPENDENT);
    discover_quickly(&world, &nat_preset_find("full-cone")->config, 1, &early, &found);
    assert_int_equal(found.filtering, KH_NAT_ADDRESS_DEPENDENT); /* at worst */
    discover_quickly(&world, &nat_preset_find("open")->config, 1, &early, &found);
    assert_int_equal(found.mapping, KH_NAT_ENDPOINT_INDEPENDENT); /* there is nothing to map */
}

/* The other place was not told at the join: one round trip more. */
static void a_quick_one_asks_for_the_other_place(void **state)
{
    struct world world = {.server = SERVER_TWO_PORTS, .is_place_secret = true};
    struct kh_nat_class early, found;

    (void)state;
    discover_quickly(&world, &nat_preset_find("symmetric-random")->config, 1, &early, &found);
    assert_int_equal(early.mapping, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.mapping, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(found.filtering, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
}

static void a_quick_one_makes_do_with_the_main_socket(void **state)
{
    struct world world = {0};
    struct kh_nat_discovery_config config = {.quick = true, .socket_count = 1};
    struct kh_nat_class found;

    (void)state;
    begin(&world, &nat_preset_find("symmetric-sequential")->config, 1, &config);
    while (!kh_nat_discovery_is_done(world.discovery))
        step(&world);
    kh_nat_discovery_class(world.discovery, &found);
    kh_nat_discovery_free(world.discovery);
    nat_free(world.nat);
    assert_int_equal(found.mapping, KH_NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(found.filtering, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.hairpin, KH_NAT_HAIRPIN_UNKNOWN);
    assert_int_equal(world.sent, 3);
    assert_int_equal(world.now - START, 4 * DELAY);
}

static void a_quick_one_may_be_lied_to(void **state)
{
    struct world world = {.server = SERVER_LYING};
    const struct nat_preset *preset;
    struct kh_nat_class early, found;

    (void)state;
    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++) {
        world.lies = 0;
        discover_quickly(&world, &preset->config, n, &early, &found);
        assert_true(found.port_min > 0 && found.port_min <= found.port_max);
    }
}

/* Nothing answers: no storm, and what the join told is all that is known. */
static void a_quick_one_gives_up_soon(void **state)
{
    struct world world = {.server = SERVER_DEAD};
    struct kh_nat_class early, found;

    (void)state;
    discover_quickly(&world, &nat_preset_find("full-cone")->config, 1, &early, &found);
    assert_true(found.translated);
    assert_int_equal(found.mapping, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(found.filtering, KH_NAT_RULE_UNKNOWN);
    assert_int_equal(world.sent, 20);
    assert_int_equal(world.now - START, KH_MILLISECONDS(300) + KH_MILLISECONDS(500));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_recognised_on_a_clean_path),
        cmocka_unit_test(every_kind_is_recognised_with_ten_percent_lost),
        cmocka_unit_test(almost_every_kind_is_recognised_with_half_lost_each_way),
        cmocka_unit_test(an_open_path_takes_two_round_trips),
        cmocka_unit_test(the_public_address_is_told),
        cmocka_unit_test(a_server_with_one_port_cannot_tell),
        cmocka_unit_test(silence_of_a_dead_address_proves_nothing),
        cmocka_unit_test(a_server_with_two_ports_tells_half),
        cmocka_unit_test(a_server_may_lie),
        cmocka_unit_test(a_quick_one_may_be_lied_to),
        cmocka_unit_test(a_quick_one_recognises_every_kind),
        cmocka_unit_test(a_quick_one_tells_where_ports_lie),
        cmocka_unit_test(a_quick_one_on_a_lossy_path_errs_to_the_careful_side),
        cmocka_unit_test(a_quick_one_asks_a_server_with_two_ports),
        cmocka_unit_test(a_quick_one_asks_for_the_other_place),
        cmocka_unit_test(a_quick_one_makes_do_with_the_main_socket),
        cmocka_unit_test(a_quick_one_gives_up_soon),
        cmocka_unit_test(a_dead_server_is_given_up_soon),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
