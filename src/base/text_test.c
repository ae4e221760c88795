/* base/text_test.c - one value has one spelling, and what is shown cannot drive a terminal.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"

static void hex_survives(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x0f, 0xf0, 0xff, 0xa5};
    char text[KH_HEX_SIZE(sizeof bytes)];
    uint8_t out[sizeof bytes];

    (void)state;
    assert_string_equal(kh_hex_write(bytes, sizeof bytes, text), "000ff0ffa5");
    assert_true(kh_hex_parse(text, strlen(text), out, sizeof out));
    assert_memory_equal(out, bytes, sizeof bytes);
    assert_string_equal(kh_hex_write(bytes, 0, text), "");
    assert_true(kh_hex_parse("", 0, out, 0));
}

static void hostile_hex_does_not_parse(void **state)
{
    uint8_t out[2];

    (void)state;
    assert_false(kh_hex_parse("000", 3, out, 2));
    assert_false(kh_hex_parse("00000", 5, out, 2));
    assert_false(kh_hex_parse("000g", 4, out, 2));
    assert_false(kh_hex_parse("00 0", 4, out, 2));
    assert_false(kh_hex_parse("00AB", 4, out, 2)); /* one spelling */
    assert_false(kh_hex_parse("0\0ab", 4, out, 2));
    assert_false(kh_hex_parse("\xff\xff\xff\xff", 4, out, 2));
}

/* RFC 4648 10, without the padding. */
static void base64url_is_that_of_rfc_4648(void **state)
{
    static const char *const texts[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    uint8_t out[6];
    char text[KH_BASE64URL_SIZE(6)];

    (void)state;
    for (size_t len = 0; len <= 6; len++) {
        assert_string_equal(kh_base64url_write((const uint8_t *)"foobar", len, text), texts[len]);
        assert_int_equal(strlen(texts[len]) + 1, KH_BASE64URL_SIZE(len));
        assert_true(kh_base64url_parse(texts[len], strlen(texts[len]), out, len));
        assert_memory_equal(out, "foobar", len);
    }
    assert_string_equal(kh_base64url_write((const uint8_t *)"\xfb\xff\xfe", 3, text), "-__-");
}

static void every_byte_survives_base64url(void **state)
{
    uint8_t bytes[256];
    uint8_t out[256];
    char text[KH_BASE64URL_SIZE(256)];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t len = 0; len <= sizeof bytes; len++) {
        kh_base64url_write(bytes, len, text);
        assert_true(kh_base64url_parse(text, strlen(text), out, len));
        assert_memory_equal(out, bytes, len);
    }
}

static void one_value_has_one_base64url_spelling(void **state)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t out[2];
    char two[3] = "Zx";
    char three[4] = "Zmx";
    size_t good_two = 0;
    size_t good_three = 0;

    (void)state;
    for (size_t i = 0; i < 64; i++) {
        two[1] = three[2] = letters[i];
        good_two += kh_base64url_parse(two, 2, out, 1);
        good_three += kh_base64url_parse(three, 3, out, 2);
    }
    assert_int_equal(good_two, 4); /* two bits of the last letter count, four are spare */
    assert_int_equal(good_three, 16);
    assert_false(kh_base64url_parse("Zh", 2, out, 1)); /* "f", but with a spare bit set */
}

static void hostile_base64url_does_not_parse(void **state)
{
    uint8_t out[3];

    (void)state;
    assert_false(kh_base64url_parse("Zm9", 3, out, 3));   /* too short */
    assert_false(kh_base64url_parse("Zm9vv", 5, out, 3)); /* too long */
    assert_false(kh_base64url_parse("Z", 1, out, 0));
    assert_false(kh_base64url_parse("Zg==", 4, out, 1));
    assert_false(kh_base64url_parse("Zg==", 4, out, 3));
    assert_false(kh_base64url_parse("Zm+v", 4, out, 3)); /* the other alphabet */
    assert_false(kh_base64url_parse("Zm/v", 4, out, 3));
    assert_false(kh_base64url_parse("Zm v", 4, out, 3));
    assert_false(kh_base64url_parse("Zm\0v", 4, out, 3));
    assert_false(kh_base64url_parse("Zm\xffv", 4, out, 3));
}

static void assert_utf8(const char *text, bool expected)
{
    assert_int_equal(kh_text_is_utf8(text, strlen(text)), expected);
}

static void utf8_is_that_of_rfc_3629(void **state)
{
    (void)state;
    assert_true(kh_text_is_utf8("", 0));
    assert_true(kh_text_is_utf8("a\0b", 3));
    assert_utf8("z\xc3\xa4hlt", true);
    assert_utf8("\xc2\x80", true);
    assert_utf8("\xdf\xbf", true);
    assert_utf8("\xe0\xa0\x80", true);
    assert_utf8("\xed\x9f\xbf", true);
    assert_utf8("\xee\x80\x80", true);
    assert_utf8("\xf0\x90\x80\x80", true);
    assert_utf8("\xf4\x8f\xbf\xbf", true);
}

static void malformed_utf8_is_refused(void **state)
{
    (void)state;
    assert_utf8("\x80", false); /* begins in the middle */
    assert_utf8("\xbf", false);
    assert_utf8("\xc0\x80", false); /* longer than needed */
    assert_utf8("\xc1\xbf", false);
    assert_utf8("\xe0\x9f\xbf", false);
    assert_utf8("\xf0\x8f\xbf\xbf", false);
    assert_utf8("\xed\xa0\x80", false); /* surrogates */
    assert_utf8("\xed\xbf\xbf", false);
    assert_utf8("\xf4\x90\x80\x80", false); /* beyond U+10FFFF */
    assert_utf8("\xf5\x80\x80\x80", false);
    assert_utf8("\xff", false);
    assert_utf8("\xc3", false); /* ends in the middle */
    assert_utf8("\xe2\x82", false);
    assert_utf8("\xf0\x9f\x98", false);
    assert_utf8("\xc3(", false);
    assert_utf8("\xe2\x28\xa1", false);
    assert_utf8("\xf0\x9f\x98(", false);
    assert_false(kh_text_is_utf8("\xe2\x82\xac", 2)); /* what follows the text is not looked at */
}

static void assert_showable(const char *text, bool expected)
{
    assert_int_equal(kh_text_is_showable(text, strlen(text), false), expected);
}

static void what_drives_a_terminal_is_not_showable(void **state)
{
    (void)state;
    assert_showable("Alice \xf0\x9f\x98\x80\ttab", true);
    assert_showable("\x1b[2J", false);
    assert_showable("\x07", false);
    assert_showable("\r", false);
    assert_showable("\x7f", false);
    assert_showable("\xc2\x9b"
                    "2J",
                    false);            /* C1's one-letter CSI */
    assert_showable("\xc2\xa0", true); /* just behind C1 */
    assert_showable("\xe2\x80\xae"
                    "exe",
                    false);                 /* right-to-left override */
    assert_showable("\xe2\x81\xa6", false); /* isolate */
    assert_showable("\xe2\x80\xa8", false); /* line separator */
    assert_showable("\xff", false);
    assert_false(kh_text_is_showable("a\0b", 3, true));
    assert_false(kh_text_is_showable("a\nb", 3, false));
    assert_true(kh_text_is_showable("a\nb", 3, true));
    assert_false(kh_text_is_showable("a\r\nb", 4, true));
}

static void names_that_look_alike_are_refused(void **state)
{
    static const char *const good[] = {
        "",    "Alice",           "Mary Ann", "\xc3\x84nne", "\xe5\xb1\xb1\xe7\x94\xb0",
        "a:b", "\xf0\x9f\x98\x80"};
    static const char *const bad[] = {
        " Alice",
        "Alice ",
        " ",
        "Mary\tAnn",
        "Mary\nAnn",
        "Mary\xc2\xa0"
        "Ann",                   /* no-break space */
        "Alice\xe2\x80\x8b",     /* zero width space */
        "Al\xe2\x80\x8dice",     /* zero width joiner */
        "Alice\xef\xbb\xbf",     /* byte order mark */
        "Al\xc2\xadice",         /* soft hyphen */
        "Alice\xe3\x85\xa4",     /* Hangul filler */
        "Alice\xef\xb8\x8f",     /* variation selector */
        "Alice\xf3\xa0\x81\x81", /* tag */
        "Alice\xe2\x80\xae",     /* right-to-left override */
        "Alice\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(kh_text_is_name(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kh_text_is_name(bad[i], strlen(bad[i])));
}

static void local_names_are_one_label(void **state)
{
    static const char *const good[] = {"0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.local", "pc1.local",
                                       "A-9.local"};
    static const char *const bad[] = {
        "",
        ".local",
        "local",
        "a.b.local",
        "pc1.local.",
        "pc 1.local",
        "pc1.lan",
        "pc1.LOCAL",
        "p\xc3\xa4.local",
        "a123456789a123456789a123456789a123456789a123456789a1234567890123.local"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(kh_text_is_local_name(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kh_text_is_local_name(bad[i], strlen(bad[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_names_are_one_label),
        cmocka_unit_test(hex_survives),
        cmocka_unit_test(hostile_hex_does_not_parse),
        cmocka_unit_test(base64url_is_that_of_rfc_4648),
        cmocka_unit_test(every_byte_survives_base64url),
        cmocka_unit_test(one_value_has_one_base64url_spelling),
        cmocka_unit_test(hostile_base64url_does_not_parse),
        cmocka_unit_test(utf8_is_that_of_rfc_3629),
        cmocka_unit_test(malformed_utf8_is_refused),
        cmocka_unit_test(what_drives_a_terminal_is_not_showable),
        cmocka_unit_test(names_that_look_alike_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
