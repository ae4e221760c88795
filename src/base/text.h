/* base/text.h - bytes as text: hexadecimal, base64url, and UTF-8 that is safe to show.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_BASE_TEXT_H
#define KH_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KH_HEX_SIZE(len) (2 * (len) + 1)
#define KH_BASE64URL_SIZE(len) (((len)*4 + 2) / 3 + 1)

/* Writes lower-case digits and a terminator: KH_HEX_SIZE(len) characters.  Returns text. */
char *kh_hex_write(const uint8_t *data, size_t len, char *text);

/* Reads exactly len bytes from text_len digits; false, and out undefined, for all else. */
bool kh_hex_parse(const char *text, size_t text_len, uint8_t *out, size_t len);

/* RFC 4648 5 without padding: KH_BASE64URL_SIZE(len) characters with the terminator. */
char *kh_base64url_write(const uint8_t *data, size_t len, char *text);

/* Reads exactly len bytes; false for a wrong length, a wrong letter, or spare bits that are not
 * zero, so that one value has one spelling. */
bool kh_base64url_parse(const char *text, size_t text_len, uint8_t *out, size_t len);

/* True if the bytes are well-formed UTF-8 (RFC 3629: shortest form, no surrogates). */
bool kh_text_is_utf8(const char *text, size_t len);

/* True if well-formed and free of control characters (C0, DEL, C1) other than tab and, where
 * `lines` is true, newline: nothing in it can drive a terminal. */
bool kh_text_is_showable(const char *text, size_t len, bool lines);

/* True if showable in one line and without what cannot be seen: tabs, spaces at either end or other
 * than U+0020, and characters of no width.  Empty text is a name too. */
bool kh_text_is_name(const char *text, size_t len);

#define KH_TEXT_LOCAL_NAME_MAX 69 /* one label of 63 bytes and ".local" */

/* True for one label of letters, digits and hyphens, followed by ".local" (RFC 6762): what browsers
 * hide their addresses behind, and what machines call themselves. */
bool kh_text_is_local_name(const char *text, size_t len);

#endif
