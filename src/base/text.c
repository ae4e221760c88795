/* base/text.c - hexadecimal, base64url and UTF-8.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/text.h"

#include <assert.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";
static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *kh_hex_write(const uint8_t *data, size_t len, char *text)
{
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = hex_digits[data[i] >> 4];
        text[2 * i + 1] = hex_digits[data[i] & 15];
    }
    text[2 * len] = '\0';
    return text;
}

static int digit_value(const char *digits, char digit)
{
    const char *at = digit == '\0' ? NULL : strchr(digits, digit);

    return at == NULL ? -1 : (int)(at - digits);
}

bool kh_hex_parse(const char *text, size_t text_len, uint8_t *out, size_t len)
{
    if (text_len != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = digit_value(hex_digits, text[2 * i]);
        int low = digit_value(hex_digits, text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

char *kh_base64url_write(const uint8_t *data, size_t len, char *text)
{
    uint32_t bits = 0;
    unsigned held = 0;
    char *at = text;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | data[i];
        for (held += 8; held >= 6; held -= 6)
            *at++ = base64url_digits[bits >> (held - 6) & 63];
    }
    if (held > 0)
        *at++ = base64url_digits[bits << (6 - held) & 63];
    *at = '\0';
    return text;
}

bool kh_base64url_parse(const char *text, size_t text_len, uint8_t *out, size_t len)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t done = 0;

    if (text_len != KH_BASE64URL_SIZE(len) - 1)
        return false;
    for (size_t i = 0; i < text_len; i++) {
        int value = digit_value(base64url_digits, text[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[done++] = (uint8_t)(bits >> held);
        }
    }
    assert(done == len);
    return (bits & ((1u << held) - 1)) == 0;
}

/* Returns the length of the well-formed character at text, and its code point; 0 if malformed. */
static size_t read_utf8(const uint8_t *text, size_t len, uint32_t *code)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;

    if (size == 1) {
        *code = text[0];
        return 1;
    }
    if (text[0] < 0xc2 || text[0] > 0xf4 || size > len)
        return 0;
    *code = text[0] & (0x7fu >> size);
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (text[i] & 0x3f);
    }
    if (*code < least[size] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
        return 0;
    return size;
}

/* Bidirectional overrides can make a line read as something else (Unicode TR 36 2.10). */
static bool is_control(uint32_t code, bool lines)
{
    if (code == '\t' || (code == '\n' && lines))
        return false;
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x202a && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0x2028 || code == 0x2029;
}

bool kh_text_is_utf8(const char *text, size_t len)
{
    uint32_t code;
    size_t size;

    for (size_t i = 0; i < len; i += size) {
        size = read_utf8((const uint8_t *)text + i, len - i, &code);
        if (size == 0)
            return false;
    }
    return true;
}

bool kh_text_is_showable(const char *text, size_t len, bool lines)
{
    uint32_t code;
    size_t size;

    for (size_t i = 0; i < len; i += size) {
        size = read_utf8((const uint8_t *)text + i, len - i, &code);
        if (size == 0 || is_control(code, lines))
            return false;
    }
    return true;
}

/* What takes no room, or the room of a space, but is not one: a name with such a letter is another
 * name that looks the same (Unicode TR 36 2.10.2, the default ignorable ones and separators). */
static const uint32_t deceptive[][2] = {
    {'\t', '\t'},       {0xa0, 0xa0},       {0xad, 0xad},     {0x34f, 0x34f},   {0x61c, 0x61c},
    {0x115f, 0x1160},   {0x1680, 0x1680},   {0x17b4, 0x17b5}, {0x180b, 0x180f}, {0x2000, 0x200f},
    {0x202f, 0x202f},   {0x205f, 0x206f},   {0x2800, 0x2800}, {0x3000, 0x3000}, {0x3164, 0x3164},
    {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0}, {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3},
    {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
};

static bool is_deceptive(uint32_t code)
{
    for (size_t i = 0; i < sizeof deceptive / sizeof deceptive[0]; i++)
        if (code >= deceptive[i][0] && code <= deceptive[i][1])
            return true;
    return false;
}

bool kh_text_is_name(const char *text, size_t len)
{
    uint32_t code;
    size_t size;

    if (!kh_text_is_showable(text, len, false) ||
        (len > 0 && (text[0] == ' ' || text[len - 1] == ' ')))
        return false;
    for (size_t i = 0; i < len; i += size) {
        size = read_utf8((const uint8_t *)text + i, len - i, &code);
        if (is_deceptive(code))
            return false;
    }
    return true;
}

bool kh_text_is_local_name(const char *text, size_t len)
{
    static const char domain[] = ".local";
    const size_t domain_len = sizeof domain - 1;

    if (len <= domain_len || len > KH_TEXT_LOCAL_NAME_MAX ||
        memcmp(text + len - domain_len, domain, domain_len) != 0)
        return false;
    for (size_t i = 0; i < len - domain_len; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-'))
            return false;
    }
    return true;
}
