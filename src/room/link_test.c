/* room/link_test.c - links and servers: what is one, what is not, and which slips are noticed.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "room/room.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
#define TOKEN_LEN 24

static struct kh_room_link make_link(unsigned salt)
{
    struct kh_room_link link = {.server = {.host = "knothole.example", .port = 443, .tls = true}};

    for (unsigned i = 0; i < sizeof link.secret; i++)
        link.secret[i] = (uint8_t)(i * 37 + salt * 101);
    return link;
}

static void links_survive_text(void **state)
{
    static const struct {
        struct kh_room_server server;
        const char *begin;
    } cases[] = {
        {{"knothole.example", 443, true}, "https://knothole.example/#"},
        {{"knothole.example", 80, false}, "http://knothole.example/#"},
        {{"knothole.example", 3478, false}, "http://knothole.example:3478/#"},
        {{"knothole.example", 80, true}, "https://knothole.example:80/#"},
        {{"192.0.2.7", 3478, false}, "http://192.0.2.7:3478/#"},
        {{"2001:db8::1", 3478, false}, "http://[2001:db8::1]:3478/#"},
        {{"2001:db8::1", 443, true}, "https://[2001:db8::1]/#"},
    };
    char text[KH_ROOM_LINK_MAX];
    struct kh_room_link link = make_link(1);
    struct kh_room_link back;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        link.server = cases[i].server;
        assert_ptr_equal(kh_room_link_write(&link, text), text);
        assert_memory_equal(text, cases[i].begin, strlen(cases[i].begin));
        assert_int_equal(strlen(text), strlen(cases[i].begin) + TOKEN_LEN);
        assert_int_equal(kh_room_link_parse(text, &back), KH_OK);
        assert_string_equal(back.server.host, cases[i].server.host);
        assert_int_equal(back.server.port, cases[i].server.port);
        assert_int_equal(back.server.tls, cases[i].server.tls);
        assert_memory_equal(back.secret, link.secret, sizeof link.secret);
    }
}

/* No single wrong letter, and no two neighbours swapped, may open another, empty room. */
static void every_slip_in_the_secret_is_noticed(void **state)
{
    char text[KH_ROOM_LINK_MAX];
    struct kh_room_link back;

    (void)state;
    for (unsigned salt = 0; salt < 20; salt++) {
        struct kh_room_link link = make_link(salt);
        char *token = strchr(kh_room_link_write(&link, text), '#') + 1;

        for (size_t at = 0; at < TOKEN_LEN; at++) {
            char right = token[at];

            for (const char *letter = LETTERS; *letter != '\0'; letter++) {
                token[at] = *letter;
                assert_int_equal(kh_room_link_parse(text, &back),
                                 *letter == right ? KH_OK : KH_ERR_AUTH);
            }
            token[at] = right;
            if (at == 0 || token[at - 1] == right)
                continue;
            token[at] = token[at - 1];
            token[at - 1] = right;
            assert_int_equal(kh_room_link_parse(text, &back), KH_ERR_AUTH);
            token[at - 1] = token[at];
            token[at] = right;
        }
    }
}

static void every_other_character_in_the_secret_is_noticed(void **state)
{
    char text[KH_ROOM_LINK_MAX];
    struct kh_room_link link = make_link(3);
    struct kh_room_link back;
    char *token = strchr(kh_room_link_write(&link, text), '#') + 1;

    (void)state;
    for (int c = 1; c < 256; c++) {
        for (size_t at = 0; at < TOKEN_LEN; at++) {
            char right = token[at];

            token[at] = (char)c;
            assert_int_equal(kh_room_link_parse(text, &back),
                             token[at] == right ? KH_OK : KH_ERR_AUTH);
            token[at] = right;
        }
    }
}

static void cut_and_prolonged_links_are_noticed(void **state)
{
    char text[KH_ROOM_LINK_MAX];
    struct kh_room_link link = make_link(4);
    struct kh_room_link back;
    size_t len = strlen(kh_room_link_write(&link, text));
    size_t hash_at = (size_t)(strchr(text, '#') - text);

    (void)state;
    text[len] = 'A';
    text[len + 1] = '\0';
    assert_int_equal(kh_room_link_parse(text, &back), KH_ERR_AUTH);
    while (len > 0) {
        text[len] = '\0';
        if (len != hash_at + 1 + TOKEN_LEN)
            assert_int_equal(kh_room_link_parse(text, &back),
                             len > hash_at ? KH_ERR_AUTH : KH_ERR_FORMAT);
        len--;
    }
}

/* A refused link leaves nothing behind in what the caller passed. */
static void what_is_no_link_is_refused(void **state)
{
    static const char *const heads[] = {
        "",           "knothole.example/#",   "ftp://a.example/#",     "https//a.example/#",
        "https:/a/#", "https:///#",           "https://a.example#",    "https://a.example/x#",
        "://a/#",     "https://a.example/?#", "https://u@a.example/#", " https://a.example/#",
    };
    char text[KH_ROOM_LINK_MAX];
    char whole[2 * KH_ROOM_LINK_MAX];
    struct kh_room_link link = make_link(5);
    struct kh_room_link back;
    struct kh_room_link before;

    (void)state;
    memset(&back, 0x5a, sizeof back);
    before = back;
    kh_room_link_write(&link, text);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        snprintf(whole, sizeof whole, "%s%s", heads[i], strchr(text, '#') + 1);
        assert_int_equal(kh_room_link_parse(whole, &back), KH_ERR_FORMAT);
        assert_memory_equal(&back, &before, sizeof back);
    }
}

static void servers_are_read(void **state)
{
    static const struct {
        const char *text;
        struct kh_room_server server;
    } cases[] = {
        {"knothole.example", {"knothole.example", 3478, false}},
        {"Knothole.Example:99", {"knothole.example", 99, false}},
        {"localhost", {"localhost", 3478, false}},
        {"192.0.2.7", {"192.0.2.7", 3478, false}},
        {"192.0.2.7:65535", {"192.0.2.7", 65535, false}},
        {"[2001:DB8:0::1]", {"2001:db8::1", 3478, false}},
        {"[2001:db8::1]:5", {"2001:db8::1", 5, false}},
        {"2001:db8::1", {"2001:db8::1", 3478, false}},
        {"[::ffff:192.0.2.7]:5", {"192.0.2.7", 5, false}},
        {"http://a.example", {"a.example", 80, false}},
        {"HTTPS://a.example/", {"a.example", 443, true}},
        {"https://a.example:3478/", {"a.example", 3478, true}},
        {"http://[::1]:8080", {"::1", 8080, false}},
        {"a_b.example", {"a_b.example", 3478, false}},
    };
    struct kh_room_server server;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(kh_room_server_parse(cases[i].text, &server), KH_OK);
        assert_string_equal(server.host, cases[i].server.host);
        assert_int_equal(server.port, cases[i].server.port);
        assert_int_equal(server.tls, cases[i].server.tls);
    }
}

static void hostile_servers_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        ":3478",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:03478",
        "a.example:+1",
        "a.example:1:2",
        "a.example/",
        "a.example/x",
        "http://",
        "http:///",
        "http://a.example//",
        "http://a.example/#x",
        "http://a.example:80:80",
        "ftp://a.example",
        "a..example",
        ".example",
        "a.example.",
        "-a.example",
        "a-.example",
        "a b.example",
        "a.example\n",
        "a.example\x1b[2J",
        "a@b.example",
        "user:pw@b.example",
        "a%41.example",
        "z\xc3\xbcrich.example",
        "$(id).example",
        "'a'.example",
        "256.0.0.1",
        "010.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "1.2.3",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]3478",
        "[2001:db8::g]",
        "[192.0.2.7]",
        "[]",
        "[a.example]",
        "[fe80::1%eth0]",
        "fe80::1%1",
        "[[::1]]",
        "1234567890123456789012345678901234567890123456789012345678901234.example",
    };
    struct kh_room_server server = {.host = "untouched"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (kh_room_server_parse(cases[i], &server) != KH_ERR_FORMAT)
            fail_msg("accepted: %s", cases[i]);
        assert_string_equal(server.host, "untouched");
    }
}

static void the_longest_host_fits_and_one_more_does_not(void **state)
{
    char host[KH_ROOM_HOST_MAX + 2];
    char text[KH_ROOM_LINK_MAX];
    struct kh_room_link link = make_link(6);
    struct kh_room_link back;

    (void)state;
    for (size_t i = 0; i < sizeof host - 1; i++)
        host[i] = i % 50 == 49 ? '.' : 'a';
    host[KH_ROOM_HOST_MAX + 1] = '\0';
    assert_int_equal(kh_room_server_parse(host, &back.server), KH_ERR_FORMAT);
    host[KH_ROOM_HOST_MAX] = '\0';
    assert_int_equal(kh_room_server_parse(host, &link.server), KH_OK);
    link.server.tls = true;
    link.server.port = 65535;
    kh_room_link_write(&link, text);
    assert_int_equal(kh_room_link_parse(text, &back), KH_OK);
    assert_string_equal(back.server.host, host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_survive_text),
        cmocka_unit_test(every_slip_in_the_secret_is_noticed),
        cmocka_unit_test(every_other_character_in_the_secret_is_noticed),
        cmocka_unit_test(cut_and_prolonged_links_are_noticed),
        cmocka_unit_test(what_is_no_link_is_refused),
        cmocka_unit_test(servers_are_read),
        cmocka_unit_test(hostile_servers_are_refused),
        cmocka_unit_test(the_longest_host_fits_and_one_more_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
