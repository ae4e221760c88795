/* support/dice.h - small, fast, repeatable randomness for the models tests are made of.
 *
 * SPDX-License-Identifier: MIT
 *
 * Not for keys: what the machines under test need comes from crypto/.
 */
#ifndef KH_TEST_SUPPORT_DICE_H
#define KH_TEST_SUPPORT_DICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dice {
    uint64_t state; /* any value is a good seed */
};

struct dice dice_of(uint64_t seed);
uint64_t dice_u64(struct dice *dice);
uint64_t dice_below(struct dice *dice, uint64_t bound); /* 0 .. bound-1; bound at least 1 */
uint64_t dice_range(struct dice *dice, uint64_t min, uint64_t max); /* min .. max, both included */
bool dice_chance(struct dice *dice, double probability);
void dice_bytes(struct dice *dice, uint8_t *out, size_t len);

#endif
