/* test/fuzz/channel_play.h - two channels on a hostile wire, as the input tells.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TEST_FUZZ_CHANNEL_PLAY_H
#define KH_TEST_FUZZ_CHANNEL_PLAY_H

#include <stddef.h>
#include <stdint.h>

/* Reads the input as a sequence of deliveries, losses, alterations, forgeries, waits and calls.
 * Works with whichever implementation of channel.h the program links. */
void channel_play(const uint8_t *data, size_t len);

#endif
