/* support/hex.h - test vectors written as hexadecimal text.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_HEX_H
#define SUPPORT_HEX_H

#include <string.h>

#include "base/text.h"

/* The bytes that text spells; a mistake in the vector fails the test that holds it. */
struct hex {
    uint8_t bytes[1024];
    size_t len;
};

static inline struct hex hex_of(const char *text)
{
    struct hex out = {.len = strlen(text) / 2};

    assert_true(out.len <= sizeof out.bytes);
    assert_true(kh_hex_parse(text, strlen(text), out.bytes, out.len));
    return out;
}

#define assert_hex_equal(data, data_len, text)                                                     \
    do {                                                                                           \
        struct hex expected_ = hex_of(text);                                                       \
        assert_int_equal(data_len, expected_.len);                                                 \
        assert_memory_equal(data, expected_.bytes, expected_.len);                                 \
    } while (0)

#endif
