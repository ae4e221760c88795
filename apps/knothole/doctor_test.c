/* knothole/doctor_test.c - what the doctor tells programs and people.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "doctor.h"

static struct kh_doctor_report home_router(void)
{
    return (struct kh_doctor_report){
        .nat = {.reached = true,
                .translated = true,
                .public_addr = kh_addr_ipv4(198, 51, 100, 7, 40000),
                .mapping = KH_NAT_ENDPOINT_INDEPENDENT,
                .filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                .ports = KH_NAT_PORTS_PRESERVED,
                .hairpin = KH_NAT_HAIRPIN_NONE},
        .udp = KH_DOCTOR_YES,
        .tcp = KH_DOCTOR_YES,
        .tls = KH_DOCTOR_YES,
        .ipv6 = KH_DOCTOR_NO,
    };
}

static void assert_json(const struct kh_doctor_report *report, const char *expected)
{
    json_t *object = kh_doctor_json(report);
    char *text = json_dumps(object, JSON_COMPACT);

    assert_string_equal(text, expected);
    free(text);
    json_decref(object);
}

static void json_has_every_key(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    assert_json(
        &report,
        "{\"mapping\":\"endpoint-independent\",\"filtering\":\"address-and-port-dependent\","
        "\"ports\":\"preserved\",\"hairpin\":false,\"public\":\"198.51.100.7\","
        "\"udp\":true,\"tcp\":true,\"tls\":true,\"pcp\":null,\"natpmp\":null,"
        "\"upnp\":null,\"ipv6\":false,\"second_router\":null}");
}

static void what_is_unknown_is_null(void **state)
{
    struct kh_doctor_report report = {.udp = KH_DOCTOR_NO, .tcp = KH_DOCTOR_YES};

    (void)state;
    assert_true(kh_doctor_has_diagnosis(&report));
    assert_json(&report, "{\"mapping\":null,\"filtering\":null,\"ports\":null,\"hairpin\":null,"
                         "\"public\":null,\"udp\":false,\"tcp\":true,\"tls\":null,\"pcp\":null,"
                         "\"natpmp\":null,\"upnp\":null,\"ipv6\":null,"
                         "\"second_router\":null}");
    report.tcp = KH_DOCTOR_UNKNOWN;
    assert_false(kh_doctor_has_diagnosis(&report));
    report.tls = KH_DOCTOR_YES;
    assert_true(kh_doctor_has_diagnosis(&report));
}

/* What it says, in one line; it had no line too long for a terminal.  To be freed. */
static char *sentences(const struct kh_doctor_report *report)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    kh_doctor_say(report, out);
    (void)fclose(out);
    for (const char *at = text; *at != '\0';) {
        size_t line = strcspn(at, "\n");

        if (line > 80)
            fail_msg("too long: %.*s", (int)line, at);
        at += line + (at[line] != '\0');
    }
    for (char *at = text; *at != '\0'; at++)
        *at = *at == '\n' ? ' ' : *at;
    return text;
}

static void assert_says(const struct kh_doctor_report *report, const char *words)
{
    char *text = sentences(report);

    if (strstr(text, words) == NULL)
        fail_msg("\"%s\" is not in:\n%s", words, text);
    free(text);
}

static void assert_says_not(const struct kh_doctor_report *report, const char *words)
{
    char *text = sentences(report);

    if (strstr(text, words) != NULL)
        fail_msg("\"%s\" is in:\n%s", words, text);
    free(text);
}

static void a_home_router_reaches_all(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    assert_says(&report, "outside you appear as 198.51.100.7");
    assert_says(&report,
                "Directly you reach everyone whose network lets UDP through: most at once");
    assert_says(&report, "switch on UPnP, NAT-PMP or PCP in the settings");
    assert_says(&report, "IPv6 does not work here");
    assert_says(&report, "inside addresses");
    assert_says_not(&report, "guess");
    report.ipv6 = KH_DOCTOR_YES;
    assert_says(&report, "whoever has it too you meet directly at once");
    report.nat.filtering = KH_NAT_ADDRESS_DEPENDENT;
    assert_says(&report, "you reach everyone whose network lets UDP through, at once.");
    assert_says(&report, "Nothing needs to change.");
    assert_says_not(&report, "switch on");
}

/* The rows of the table in docs/protocol/punching.md, 1. */
static void symmetric_routers_differ(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    report.nat.mapping = KH_NAT_ADDRESS_DEPENDENT;
    report.nat.filtering = KH_NAT_ADDRESS_DEPENDENT;
    assert_says(&report, "symmetric NAT");
    assert_says(&report, "you reach everyone whose network lets UDP through: at once those with");
    /* What comes in by one port is answered by another: a lenient filter does not help. */
    report.nat.mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
    assert_says_not(&report, "you reach everyone");
    report.nat.filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
    report.nat.ports = KH_NAT_PORTS_SEQUENTIAL;
    assert_says(&report, "those that count like yours");
    assert_says(&report, "you reach those whose router draws");
    report.nat.ports = KH_NAT_PORTS_PRESERVED;
    assert_says(&report, "those that count like yours");
    report.nat.ports = KH_NAT_PORTS_RANDOM;
    assert_says(&report, "you reach those whose router, like yours");
    assert_says(&report, "\"full cone\" or \"gaming\"");
    report.nat.ports = KH_NAT_PORTS_BLOCK;
    assert_says(&report, "from a small range");
    assert_says(&report, "you reach those whose router, like yours");
}

static void what_one_address_cannot_tell_is_a_guess(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    report.nat.mapping = report.nat.filtering = KH_NAT_RULE_UNKNOWN;
    assert_says(&report, "Whom you reach directly cannot be said");
    report.nat.mapping_not_by_port = true;
    assert_says(&report, "most at once");
    assert_says(&report, "That is a guess: the server has one address only");
    report.nat.filter_not_by_port = true;
    assert_says(&report, "at least whoever you sent something to");
    assert_says(&report, "lets UDP through, at once.");
    report.nat.public_addr = kh_addr_ipv4(192, 168, 1, 7, 40000);
    assert_says(&report, "ask a server outside");
}

static void ports_of_the_router_help_where_it_is_the_last_one(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    report.upnp = KH_DOCTOR_YES;
    assert_says(&report, "your router gives ports to programs that ask (UPnP), and Knothole asks");
    report.router_public = report.nat.public_addr;
    assert_int_equal(kh_doctor_has_second_router(&report), KH_DOCTOR_NO);
    assert_says_not(&report, "Behind that router stands another one");
    report.router_public = kh_addr_ipv4(100, 64, 3, 2, 0);
    assert_int_equal(kh_doctor_has_second_router(&report), KH_DOCTOR_YES);
    assert_says(&report, "Behind that router stands another one");
    assert_says(&report, "Ask your provider for a public address");
    /* A server in one's own network sees a private address, whatever the router has outside. */
    report.nat.public_addr = kh_addr_ipv4(192, 168, 1, 7, 40000);
    assert_int_equal(kh_doctor_has_second_router(&report), KH_DOCTOR_UNKNOWN);
}

static void assert_says_of_lifetime(struct kh_nat_lifetime_result lifetime, const char *words)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    kh_doctor_say_lifetime(&lifetime, out);
    (void)fclose(out);
    for (char *at = text; *at != '\0'; at++)
        *at = *at == '\n' ? ' ' : *at;
    if (strstr(text, words) == NULL)
        fail_msg("\"%s\" is not in:\n%s", words, text);
    free(text);
}

static void how_long_it_remembers_is_said_if_it_was_asked(void **state)
{
    struct kh_doctor_report report = {
        .udp = KH_DOCTOR_YES, .has_lifetime = true, .lifetime = {true, false, 28, 58}};

    (void)state;
    assert_json(&report, "{\"mapping\":null,\"filtering\":null,\"ports\":null,\"hairpin\":null,"
                         "\"public\":null,\"udp\":true,\"tcp\":null,\"tls\":null,\"pcp\":null,"
                         "\"natpmp\":null,\"upnp\":null,\"ipv6\":null,\"second_router\":null,"
                         "\"remembered_s\":28,\"forgotten_s\":58}");
    assert_says_of_lifetime(report.lifetime, "remembered for 28 s and forgotten before 58 s");
    report.lifetime = (struct kh_nat_lifetime_result){true, false, 12, 22};
    assert_says_of_lifetime(report.lifetime, "others may find you late");
    report.lifetime = (struct kh_nat_lifetime_result){true, false, 298, 0};
    assert_says_of_lifetime(report.lifetime, "still remembered after 298 s");
    report.lifetime = (struct kh_nat_lifetime_result){true, true, 0, 0};
    assert_says_of_lifetime(report.lifetime, "the server does not help with that");
}

static void without_a_router_only_a_firewall_is_in_the_way(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    report.nat.translated = false;
    assert_says(&report, "No router translates addresses");
    assert_says(&report, "let UDP in through the firewall");
    report.nat.filtering = KH_NAT_ENDPOINT_INDEPENDENT;
    assert_says(&report, "Nothing keeps others from sending to it");
    assert_says(&report, "at once.");
    report.udp = KH_DOCTOR_NO;
    assert_says(&report, "UDP does not get through to the server, TCP does");
    assert_says(&report, "Directly, by TCP, you reach those whose network lets TCP in");
    report.tcp = KH_DOCTOR_NO;
    assert_says(&report, "Neither UDP nor TCP gets through to the server, TLS does");
    assert_says(&report, "Directly you reach nobody");
    report.tls = KH_DOCTOR_NO;
    assert_says(&report, "TLS does not get through to the server");
    report.tls = KH_DOCTOR_UNKNOWN;
    assert_says(&report, "The server serves no TLS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_every_key),
        cmocka_unit_test(what_is_unknown_is_null),
        cmocka_unit_test(a_home_router_reaches_all),
        cmocka_unit_test(symmetric_routers_differ),
        cmocka_unit_test(what_one_address_cannot_tell_is_a_guess),
        cmocka_unit_test(ports_of_the_router_help_where_it_is_the_last_one),
        cmocka_unit_test(how_long_it_remembers_is_said_if_it_was_asked),
        cmocka_unit_test(without_a_router_only_a_firewall_is_in_the_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
