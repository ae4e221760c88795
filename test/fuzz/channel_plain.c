/* test/fuzz/channel_plain.c - the simulator's channel under the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fuzz/channel_play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    channel_play(data, len);
    return 0;
}
