/* knothole/diagnosis.c - what the doctor found, for programs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

static const char *const rule_names[] = {
    [KH_NAT_ENDPOINT_INDEPENDENT] = "endpoint-independent",
    [KH_NAT_ADDRESS_DEPENDENT] = "address-dependent",
    [KH_NAT_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
};

static const char *const ports_names[] = {
    [KH_NAT_PORTS_PRESERVED] = "preserved",
    [KH_NAT_PORTS_SEQUENTIAL] = "sequential",
    [KH_NAT_PORTS_BLOCK] = "block",
    [KH_NAT_PORTS_RANDOM] = "random",
};

bool kh_doctor_has_diagnosis(const struct kh_doctor_report *report)
{
    return report->udp == KH_DOCTOR_YES || report->tcp == KH_DOCTOR_YES ||
           report->tls == KH_DOCTOR_YES;
}

enum kh_doctor_answer kh_doctor_has_second_router(const struct kh_doctor_report *report)
{
    const struct kh_addr *outside = &report->router_public;

    if (kh_addr_is_none(outside) || !report->nat.translated ||
        kh_addr_reach(&report->nat.public_addr) != KH_REACH_GLOBAL ||
        outside->family != report->nat.public_addr.family)
        return KH_DOCTOR_UNKNOWN;
    return kh_addr_ip_equal(outside, &report->nat.public_addr) ? KH_DOCTOR_NO : KH_DOCTOR_YES;
}

static json_t *text_or_null(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

static json_t *json_of(enum kh_doctor_answer answer)
{
    return answer == KH_DOCTOR_UNKNOWN ? json_null() : json_boolean(answer == KH_DOCTOR_YES);
}

static json_t *hairpin_of(enum kh_nat_hairpin hairpin)
{
    if (hairpin == KH_NAT_HAIRPIN_UNKNOWN)
        return json_null();
    return json_boolean(hairpin != KH_NAT_HAIRPIN_NONE);
}

json_t *kh_doctor_json(const struct kh_doctor_report *report)
{
    const struct kh_nat_behaviour *nat = &report->nat;
    char address[KH_ADDR_TEXT_MAX];

    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "mapping",
        text_or_null(rule_names[nat->mapping]), "filtering",
        text_or_null(rule_names[nat->filtering]), "ports", text_or_null(ports_names[nat->ports]),
        "hairpin", hairpin_of(nat->hairpin), "public",
        nat->reached ? json_string(kh_addr_ip_text(&nat->public_addr, address)) : json_null(),
        "udp", json_of(report->udp), "tcp", json_of(report->tcp), "tls", json_of(report->tls),
        "pcp", json_of(report->pcp), "natpmp", json_of(report->natpmp), "upnp",
        json_of(report->upnp), "ipv6", json_of(report->ipv6), "second_router",
        json_of(kh_doctor_has_second_router(report)));
}
