/* sim/scenario.h - named stories about members, networks and what must come of them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TEST_SIM_SCENARIO_H
#define KH_TEST_SIM_SCENARIO_H

#include "sim/sim.h"

#define SCENARIO(name) static bool name(struct sim *sim)
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return sim_fail(sim, "line %d: %s", __LINE__, #condition);                             \
    } while (0)

struct scenario {
    const char *name;
    bool (*run)(struct sim *sim);
    /* Of a scenario that measures: called before and after all its seeds; NULL: nothing. */
    void (*prepare)(void);
    bool (*report)(void); /* false: what was measured is not good enough */
};

/* The n-th scenario; NULL past the last. */
const struct scenario *scenario_at(size_t n);

const struct scenario *scenario_of_outages(size_t n);  /* outage_scenarios.c */
const struct scenario *scenario_of_relays(size_t n);   /* relay_scenarios.c */
const struct scenario *scenario_of_nats(size_t n);     /* nat_scenarios.c */
const struct scenario *scenario_of_punching(size_t n); /* punch_scenarios.c */

/* Time from when the second of the two joined. */
static inline kh_duration since_both(struct sim *sim, int a, int b, kh_time at)
{
    kh_time later = sim_joined_at(sim, a) > sim_joined_at(sim, b) ? sim_joined_at(sim, a)
                                                                  : sim_joined_at(sim, b);

    return at == KH_NEVER ? KH_NEVER : kh_time_since(at, later);
}

static inline bool talk(struct sim *sim, int a, int b)
{
    sim_say(sim, a);
    sim_say(sim, b);
    return sim_run_until(sim, sim_all_delivered, KH_SECONDS(5));
}

/* Any members, any boxes, any troubles, drawn from the seed: nothing is lost, doubled or forged,
 * and all find the best paths there are. */
bool scenario_random(struct sim *sim);
/* The same where many boxes let no UDP through, and some nothing but TLS to the server. */
bool scenario_random_closed(struct sim *sim);

/* Every kind of site meets every kind; the seed says which (pairs.c). */
bool scenario_pairs(struct sim *sim);
void scenario_pairs_prepare(void);
bool scenario_pairs_report(void);

#endif
