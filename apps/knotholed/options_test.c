/* knotholed/options_test.c - the server's command line.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "options.h"
#include "turnserver.h"

static struct kh_knotholed_options options;
static char why[KH_KNOTHOLED_WHY_MAX];

/* One to three arguments after the program's name; NULL ends them. */
static bool parse(char *a, char *b, char *c)
{
    char name[] = "knotholed";
    char *argv[] = {name, a, b, c, NULL};
    int argc = 1;

    while (argv[argc] != NULL)
        argc++;
    why[0] = '\0';
    return kh_knotholed_options_parse(&options, argc, argv, why);
}

#define ARG(text) ((char[]){text})

static void default_is_both_wildcards(void **state)
{
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    assert_true(parse(NULL, NULL, NULL));
    assert_int_equal(options.action, KH_KNOTHOLED_SERVE);
    assert_int_equal(options.listen_count, 2);
    assert_true(options.listen_is_default);
    assert_string_equal(kh_addr_text(&options.listen[0], text), "[::]:3478");
    assert_string_equal(kh_addr_text(&options.listen[1], text), "0.0.0.0:3478");
    assert_int_equal(options.log_level, KH_LOG_WARN);
}

static void listen_replaces_the_default(void **state)
{
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    assert_true(parse(ARG("--listen"), ARG("127.0.0.1:0"), ARG("--listen=[::1]")));
    assert_false(options.listen_is_default);
    assert_int_equal(options.listen_count, 2);
    assert_string_equal(kh_addr_text(&options.listen[0], text), "127.0.0.1:0");
    assert_string_equal(kh_addr_text(&options.listen[1], text), "[::1]:3478");
}

static void turn_servers_are_named_as_elsewhere(void **state)
{
    static const char *const bad[] = {"turn:",        "turn:a:0",    "turn:a:65536",
                                      "turn:a:x",     "stun:a",      "example.org",
                                      "turns:a",      "turn:a b",    "turn:a?transport=tcp",
                                      "turn:[::1",    "turn:a:",     "turn:[::1]x",
                                      "turn:[]:3478", "turn:[::1]:0"};
    struct kh_addr addrs[2];
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    assert_true(
        parse(ARG("--turn-server=turn:turn.example.org"), ARG("--turn-server-secret=north"), NULL));
    assert_string_equal(options.turn_server, "turn:turn.example.org");
    assert_false(parse(ARG("--turn-server=turn:turn.example.org"), NULL, NULL));
    assert_string_equal(why,
                        "--turn-server and its secret (--turn-server-secret-file) need each other");
    assert_false(parse(ARG("--turn-server-secret-file=x"), NULL, NULL));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(kh_knotholed_turn_server_check(bad[i], why));
    assert_true(kh_knotholed_turn_server_check("turn:a:1?transport=udp", why));
    assert_true(kh_knotholed_turn_server_resolve("turn:192.0.2.5:443?transport=udp", addrs));
    assert_string_equal(kh_addr_text(&addrs[0], text), "192.0.2.5:443");
    assert_true(kh_addr_is_none(&addrs[1]));
    assert_true(kh_knotholed_turn_server_resolve("turn:[2001:db8::5]", addrs));
    assert_string_equal(kh_addr_text(&addrs[0], text), "[2001:db8::5]:3478");
}

static void log_options_are_read(void **state)
{
    (void)state;
    assert_true(parse(ARG("--log-level"), ARG("debug"), ARG("--log-addresses")));
    assert_int_equal(options.log_level, KH_LOG_DEBUG);
    assert_true(options.log_addresses);
    assert_true(parse(ARG("-v"), NULL, NULL));
    assert_int_equal(options.log_level, KH_LOG_INFO);
    assert_true(parse(ARG("-vv"), NULL, NULL));
    assert_int_equal(options.log_level, KH_LOG_DEBUG);
}

static void help_and_version_are_actions(void **state)
{
    (void)state;
    assert_true(parse(ARG("--help"), ARG("--nonsense"), NULL));
    assert_int_equal(options.action, KH_KNOTHOLED_HELP);
    assert_true(parse(ARG("--version"), NULL, NULL));
    assert_int_equal(options.action, KH_KNOTHOLED_SHOW_VERSION);
}

static void tls_takes_both_files(void **state)
{
    (void)state;
    assert_true(parse(ARG("--tls-cert=chain.pem"), ARG("--tls-key=key.pem"), NULL));
    assert_string_equal(options.tls_cert_file, "chain.pem");
    assert_string_equal(options.tls_key_file, "key.pem");
    assert_false(parse(ARG("--tls-cert=chain.pem"), NULL, NULL));
    assert_string_equal(why, "--tls-cert needs --tls-key beside it");
    assert_false(parse(ARG("--tls-key=key.pem"), NULL, NULL));
    assert_string_equal(why, "--tls-key needs --tls-cert beside it");
}

static void wrong_usage_gets_a_sentence(void **state)
{
    (void)state;
    assert_false(parse(ARG("--listen"), ARG("localhost:3478"), NULL));
    assert_string_equal(why, "--listen needs an address such as 192.0.2.1:3478 or "
                             "[2001:db8::1]:3478, not \"localhost:3478\"");
    assert_false(parse(ARG("--listen"), NULL, NULL));
    assert_string_equal(why, "--listen needs a value");
    assert_false(parse(ARG("--nonsense"), NULL, NULL));
    assert_string_equal(why, "there is no option --nonsense");
    assert_false(parse(ARG("3478"), NULL, NULL));
    assert_string_equal(why, "\"3478\" is not an option");
    assert_false(parse(ARG("--log-level"), ARG("loud"), NULL));
    assert_string_equal(why, "--log-level is error, warn, info or debug, not \"loud\"");
    assert_false(parse(ARG("--allow-private-peers"), ARG("-xv"), NULL));
    assert_string_equal(why, "there is no option -x");
    assert_false(parse(ARG("--verbose=2"), NULL, NULL));
    assert_string_equal(why, "--verbose=2 takes no value");
    assert_false(parse(ARG("--tls-key="), NULL, NULL));
    assert_string_equal(why, "--tls-key needs the name of a file");
    assert_false(parse(ARG("--turn-secret=a"), ARG("--turn-secret-file=b"), NULL));
    assert_string_equal(why, "--turn-secret and --turn-secret-file exclude each other");
}

/* Parses with one more argument, for a file that says this. */
static bool parse_file(const char *text, size_t len, char *more)
{
    char path[] = "/tmp/knotholed-test-XXXXXX";
    int fd = mkstemp(path);
    bool is_good;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), len);
    assert_int_equal(close(fd), 0);
    is_good = parse(ARG("--config"), path, more);
    assert_int_equal(unlink(path), 0);
    return is_good;
}

static void options_may_stand_in_a_file(void **state)
{
    static const char text[] = "# both addresses\n\n  listen 127.0.0.1:1\nlisten=127.0.0.1:2\r\n"
                               "log-addresses\nrealm =\ta b \nturn-secret = =north=";
    static const char *const bad[][2] = {
        {"realm a\n\nlissen 1", ", line 3: there is no option \"lissen\""},
        {"config x", ", line 1: there is no option \"config\""},
        {"version", ", line 1: there is no option \"version\""},
        {"realm", ", line 1: realm needs a value"},
        {"verbose 2", ", line 1: verbose takes no value"},
        {"= 2", ", line 1: there is no option \"\""},
        {"log-level loud", ", line 1: --log-level is error, warn, info or debug, not \"loud\""}};
    static char large[KH_KNOTHOLED_CONFIG_MAX + 1];

    (void)state;
    assert_true(parse_file(text, sizeof text - 1, ARG("--realm=mine")));
    assert_int_equal(options.listen_count, 2);
    assert_int_equal(options.listen[1].port, 2);
    assert_true(options.log_addresses);
    assert_string_equal(options.turn_secret, "=north=");
    assert_string_equal(options.realm, "mine"); /* the last word counts */
    assert_true(parse_file("realm a b", 9, NULL));
    assert_string_equal(options.realm, "a b");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(parse_file(bad[i][0], strlen(bad[i][0]), NULL));
        assert_non_null(strstr(why, bad[i][1]));
    }
    assert_false(parse_file("realm a\0b", 9, NULL));
    memset(large, '\n', sizeof large);
    assert_true(parse_file(large, sizeof large - 1, NULL));
    assert_false(parse_file(large, sizeof large, NULL));
    assert_false(parse(ARG("--config=/nowhere/at/all"), NULL, NULL));
    assert_string_equal(why, "cannot read /nowhere/at/all: No such file or directory");
    assert_false(parse_file("realm a", 7, ARG("--config=/dev/null")));
    assert_string_equal(why, "--config can be given once");
}

static void relay_options_are_read(void **state)
{
    (void)state;
    assert_true(parse(ARG("--turn-secret=north"), ARG("--realm=example.org"),
                      ARG("--allow-private-peers")));
    assert_string_equal(options.turn_secret, "north");
    assert_string_equal(options.realm, "example.org");
    assert_true(options.allow_private_peers);
    assert_true(parse(ARG("--relay-ports=5000-6000"), ARG("--external-ip=203.0.113.1"),
                      ARG("--external-ip=2001:db8::1")));
    assert_int_equal(options.relay_port_min, 5000);
    assert_int_equal(options.relay_port_max, 6000);
    assert_int_equal(options.external_count, 2);
    assert_int_equal(options.external[1].family, KH_FAMILY_IPV6);
    assert_false(options.allow_private_peers);
    assert_null(options.turn_secret);
    assert_true(parse(ARG("--turn-secret-file=secret"), NULL, NULL));
    assert_string_equal(options.turn_secret_file, "secret");
}

static void wrong_relay_options_get_a_sentence(void **state)
{
    static char *const ranges[] = {"", "5000", "6000-5000", "0-5", "5-65536", "5-6x", "-5"};

    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        assert_false(parse(ARG("--relay-ports"), ranges[i], NULL));
    assert_string_equal(why, "--relay-ports needs a range such as 49152-65535, not \"-5\"");
    assert_false(parse(ARG("--external-ip"), ARG("0.0.0.0"), NULL));
    assert_false(parse(ARG("--external-ip"), ARG("203.0.113.1:80"), NULL));
    assert_string_equal(why, "--external-ip needs an address such as 203.0.113.1 or 2001:db8::1, "
                             "not \"203.0.113.1:80\"");
    assert_false(parse(ARG("--turn-secret"), ARG(""), NULL));
    assert_string_equal(why, "--turn-secret takes 1 to 256 characters");
}

static void listen_has_a_limit(void **state)
{
    char listen[] = "--listen=127.0.0.1:0";
    char *argv[1 + KH_IO_SOCKETS_MAX + 2] = {ARG("knotholed")};

    (void)state;
    for (int i = 1; i <= KH_IO_SOCKETS_MAX + 1; i++)
        argv[i] = listen;
    assert_true(kh_knotholed_options_parse(&options, 1 + KH_IO_SOCKETS_MAX, argv, why));
    assert_false(kh_knotholed_options_parse(&options, 2 + KH_IO_SOCKETS_MAX, argv, why));
    assert_string_equal(why, "--listen can be given 16 times at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_is_both_wildcards),
        cmocka_unit_test(listen_replaces_the_default),
        cmocka_unit_test(turn_servers_are_named_as_elsewhere),
        cmocka_unit_test(log_options_are_read),
        cmocka_unit_test(help_and_version_are_actions),
        cmocka_unit_test(tls_takes_both_files),
        cmocka_unit_test(wrong_usage_gets_a_sentence),
        cmocka_unit_test(options_may_stand_in_a_file),
        cmocka_unit_test(relay_options_are_read),
        cmocka_unit_test(wrong_relay_options_get_a_sentence),
        cmocka_unit_test(listen_has_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
