/* support/dice.c - splitmix64 and what is drawn from it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support/dice.h"

#include <assert.h>

struct dice dice_of(uint64_t seed)
{
    return (struct dice){.state = seed};
}

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). */
uint64_t dice_u64(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t dice_below(struct dice *dice, uint64_t bound)
{
    assert(bound > 0);
    /* The bias of a modulo is far below what any test here could see: bounds are small. */
    return dice_u64(dice) % bound;
}

uint64_t dice_range(struct dice *dice, uint64_t min, uint64_t max)
{
    assert(min <= max);
    return min + dice_below(dice, max - min + 1);
}

bool dice_chance(struct dice *dice, double probability)
{
    return (double)(dice_u64(dice) >> 11) * 0x1.0p-53 < probability;
}

void dice_bytes(struct dice *dice, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)dice_u64(dice);
}
