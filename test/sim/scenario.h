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
};

/* The n-th scenario; NULL past the last. */
const struct scenario *scenario_at(size_t n);

/* Any members, any boxes, any troubles, drawn from the seed: nothing is lost, doubled or forged,
 * and all find the best paths there are. */
bool scenario_random(struct sim *sim);

#endif
