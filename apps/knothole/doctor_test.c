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
        "\"upnp\":null,\"ipv6\":false}");
}

static void what_is_unknown_is_null(void **state)
{
    struct kh_doctor_report report = {.udp = KH_DOCTOR_NO, .tcp = KH_DOCTOR_YES};

    (void)state;
    assert_true(kh_doctor_has_diagnosis(&report));
    assert_json(&report, "{\"mapping\":null,\"filtering\":null,\"ports\":null,\"hairpin\":null,"
                         "\"public\":null,\"udp\":false,\"tcp\":true,\"tls\":null,\"pcp\":null,"
                         "\"natpmp\":null,\"upnp\":null,\"ipv6\":null}");
    report.tcp = KH_DOCTOR_UNKNOWN;
    assert_false(kh_doctor_has_diagnosis(&report));
    report.tls = KH_DOCTOR_YES;
    assert_true(kh_doctor_has_diagnosis(&report));
}

/* The words are there, and no line is too long for a terminal. */
static void assert_says(const struct kh_doctor_report *report, const char *words)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    kh_doctor_say(report, out);
    (void)fclose(out);
    if (strstr(text, words) == NULL)
        fail_msg("\"%s\" is not in:\n%s", words, text);
    for (const char *at = text; *at != '\0';) {
        size_t line = strcspn(at, "\n");

        if (line > 90)
            fail_msg("too long: %.*s", (int)line, at);
        at += line + (at[line] != '\0');
    }
    free(text);
}

static void a_home_router_reaches_most(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    assert_says(&report, "outside you appear as 198.51.100.7");
    assert_says(&report, "Directly you reach everyone with a public address, and everyone behind");
    assert_says(&report, "switch on UPnP, NAT-PMP or PCP in the router");
    assert_says(&report, "IPv6 does not work here");
    assert_says(&report, "inside addresses");
}

static void every_behaviour_has_its_sentence(void **state)
{
    struct kh_doctor_report report = home_router();

    (void)state;
    report.nat.filtering = KH_NAT_ADDRESS_DEPENDENT;
    assert_says(&report, "Nothing needs to change.");
    report.nat.mapping = KH_NAT_ADDRESS_DEPENDENT;
    assert_says(&report, "symmetric NAT");
    assert_says(&report, "Through a server or relay you reach all others");
    report.nat.mapping = KH_NAT_RULE_UNKNOWN;
    assert_says(&report, "cannot be said: the server has only one address");
    report.nat.public_addr = kh_addr_ipv4(192, 168, 1, 7, 40000);
    assert_says(&report, "ask a server outside");
    report = home_router();
    report.upnp = KH_DOCTOR_YES;
    assert_says(&report, "Your router gives ports to programs that ask (UPnP)");
    report.pcp = KH_DOCTOR_NO;
    report.nat.translated = false;
    assert_says(&report, "letting UDP in through the firewall");
    report.udp = KH_DOCTOR_NO;
    assert_says(&report, "UDP does not get through to the server, TCP does");
    report.tcp = KH_DOCTOR_NO;
    assert_says(&report, "Neither UDP nor TCP gets through to the server, TLS does");
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
        cmocka_unit_test(a_home_router_reaches_most),
        cmocka_unit_test(every_behaviour_has_its_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
