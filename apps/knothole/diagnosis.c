/* knothole/diagnosis.c - what the doctor found, for programs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

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

static json_t *rule_of(enum kh_nat_rule rule)
{
    return rule == KH_NAT_RULE_UNKNOWN ? json_null() : json_string(kh_nat_rule_name(rule));
}

static json_t *ports_of(enum kh_nat_ports ports)
{
    return ports == KH_NAT_PORTS_UNKNOWN ? json_null() : json_string(kh_nat_ports_name(ports));
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

static json_t *seconds_of(unsigned seconds)
{
    return seconds == 0 ? json_null() : json_integer((json_int_t)seconds);
}

json_t *kh_doctor_json(const struct kh_doctor_report *report)
{
    const struct kh_nat_behaviour *nat = &report->nat;
    char address[KH_ADDR_TEXT_MAX];

    json_t *object = json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "mapping", rule_of(nat->mapping),
        "filtering", rule_of(nat->filtering), "ports", ports_of(nat->ports), "hairpin",
        hairpin_of(nat->hairpin), "public",
        nat->reached ? json_string(kh_addr_ip_text(&nat->public_addr, address)) : json_null(),
        "udp", json_of(report->udp), "tcp", json_of(report->tcp), "tls", json_of(report->tls),
        "pcp", json_of(report->pcp), "natpmp", json_of(report->natpmp), "upnp",
        json_of(report->upnp), "ipv6", json_of(report->ipv6), "second_router",
        json_of(kh_doctor_has_second_router(report)));

    if (object != NULL && report->has_lifetime &&
        (json_object_set_new(object, "remembered_s", seconds_of(report->lifetime.remembered_s)) !=
             0 ||
         json_object_set_new(object, "forgotten_s", seconds_of(report->lifetime.forgotten_s)) !=
             0)) {
        json_decref(object);
        return NULL;
    }
    return object;
}
