/* sim/nat_scenarios.c - the stories of finding out what stands in front of oneself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/scenario.h"

/* One round trip after the join for the mapping, half a trip to the server and half one on. */
#define MAPPING_WITHIN KH_MILLISECONDS(500)
#define ALL_WITHIN KH_SECONDS(2)

/* Four members behind any boxes, all at once: each of them checks the others meanwhile, and takes
 * ports of its NAT for that. */
SCENARIO(everyone_learns_what_nat_the_others_have)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave"};
    size_t count = 0;

    while (nat_preset_at(count) != NULL)
        count++;
    for (size_t i = 0; i < 4; i++) {
        const char *kind = nat_preset_at(dice_below(sim_dice(sim), count))->name;

        sim_add_member(sim, names[i], sim_add_site(sim, kind));
    }
    for (int i = 0; i < 4; i++)
        sim_join(sim, i);
    CHECK(sim_run(sim, MAPPING_WITHIN));
    CHECK(sim_mappings_known(sim));
    CHECK(sim_run(sim, ALL_WITHIN));
    CHECK(sim_nats_known(sim));
    CHECK(sim_run(sim, KH_SECONDS(30)));
    CHECK(sim_nats_known(sim)); /* and it stays so */
    return true;
}

SCENARIO(another_network_is_classified_anew)
{
    int home = sim_add_site(sim, "symmetric-random");
    struct kh_addr moved = kh_addr_ipv4(203, 0, 113, 99, 0);

    sim_add_member(sim, "alice", home);
    sim_add_member(sim, "bob", NET_INTERNET);
    sim_join(sim, 0);
    sim_join(sim, 1);
    CHECK(sim_run(sim, ALL_WITHIN));
    CHECK(sim_nats_known(sim));
    CHECK(sim_nat_probes(sim, 0) <= 20);
    CHECK(sim_run(sim, KH_SECONDS(60)));
    CHECK(sim_nat_probes(sim, 0) <= 20); /* nothing changed, so nothing is asked */
    nat_readdress(net_nat(sim_net(sim), home), &moved);
    sim_probe(sim, 0);
    CHECK(sim_run(sim, KH_SECONDS(5)));
    CHECK(sim_nats_known(sim));
    CHECK(sim_spare_sockets(sim, 0) == 0);
    CHECK(sim_nat_probes(sim, 0) > 5);
    CHECK(sim_nat_probes(sim, 0) <= 40);
    return true;
}

/* A server with one address leaves open whether mappings depend on it; who meets Bob, who is
 * public, sees it and says so. */
SCENARIO(a_peer_shows_what_one_address_cannot)
{
    sim_use_one_address(sim);
    sim_add_member(sim, "alice", sim_add_site(sim, "address-dependent"));
    sim_add_member(sim, "bob", NET_INTERNET);
    sim_add_member(sim, "carol", sim_add_site(sim, "restricted-cone"));
    sim_join(sim, 0);
    sim_join(sim, 1);
    CHECK(sim_run(sim, MAPPING_WITHIN));
    CHECK(sim_mappings_known(sim));
    sim_join(sim, 2);
    CHECK(sim_run(sim, ALL_WITHIN));
    CHECK(sim_mappings_known(sim)); /* and what is found out later does not undo it */
    return true;
}

/* Whoever goes in the middle of it takes nothing along. */
SCENARIO(leaving_gives_the_spare_sockets_back)
{
    sim_add_member(sim, "alice", sim_add_site(sim, "port-restricted"));
    sim_join(sim, 0);
    CHECK(sim_run(sim, KH_MILLISECONDS(dice_range(sim_dice(sim), 60, 300))));
    sim_leave(sim, 0);
    CHECK(sim_run(sim, KH_SECONDS(3)));
    CHECK(sim_is_gone(sim, 0));
    CHECK(sim_spare_sockets(sim, 0) == 0);
    return true;
}

/* clang-format off */
#define NAMED(name) {#name, name, NULL, NULL}
static const struct scenario scenarios[] = {
    NAMED(everyone_learns_what_nat_the_others_have),
    NAMED(a_peer_shows_what_one_address_cannot),
    NAMED(leaving_gives_the_spare_sockets_back),
    NAMED(another_network_is_classified_anew),
};
/* clang-format on */

const struct scenario *scenario_of_nats(size_t n)
{
    return n < sizeof(scenarios) / sizeof(scenarios[0]) ? &scenarios[n] : NULL;
}
