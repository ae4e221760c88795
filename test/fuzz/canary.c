/* fuzz/canary.c - a target with a known fault, which a working fuzzer must find.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len >= 4 && data[0] == 'h' && data[1] == 'o' && data[2] == 'l' && data[3] == 'e')
        abort();
    return 0;
}
