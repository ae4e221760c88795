/* knothole/diagnosis.c - what the doctor found, for programs and for people.
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
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "mapping",
        text_or_null(rule_names[nat->mapping]), "filtering",
        text_or_null(rule_names[nat->filtering]), "ports", text_or_null(ports_names[nat->ports]),
        "hairpin", hairpin_of(nat->hairpin), "public",
        nat->reached ? json_string(kh_addr_ip_text(&nat->public_addr, address)) : json_null(),
        "udp", json_of(report->udp), "tcp", json_of(report->tcp), "tls", json_of(report->tls),
        "pcp", json_of(report->pcp), "natpmp", json_of(report->natpmp), "upnp",
        json_of(report->upnp), "ipv6", json_of(report->ipv6));
}

/* ---- for people ---- */

/* How hard it is for others to reach this machine (the table in docs/protocol/discovery.md). */
enum difficulty { EASY, USUAL, HARD, NOT_KNOWN };

static enum difficulty difficulty_of(const struct kh_nat_behaviour *nat)
{
    if (nat->mapping == KH_NAT_ADDRESS_DEPENDENT ||
        nat->mapping == KH_NAT_ADDRESS_AND_PORT_DEPENDENT)
        return HARD;
    if (nat->mapping != KH_NAT_ENDPOINT_INDEPENDENT || nat->filtering == KH_NAT_RULE_UNKNOWN)
        return NOT_KNOWN;
    return nat->filtering == KH_NAT_ADDRESS_AND_PORT_DEPENDENT ? USUAL : EASY;
}

static const char *what_filters(enum kh_nat_rule filtering)
{
    switch (filtering) {
    case KH_NAT_ENDPOINT_INDEPENDENT:
        return "From outside, anyone may send to a port that is open";
    case KH_NAT_ADDRESS_DEPENDENT:
        return "From outside, whoever you sent something to may send back, from any port of theirs";
    case KH_NAT_ADDRESS_AND_PORT_DEPENDENT:
        return "From outside, only answers to what you sent come in";
    case KH_NAT_RULE_UNKNOWN:
        break;
    }
    return "What it lets in from outside could not be found out";
}

static const char *what_ports(enum kh_nat_ports ports)
{
    switch (ports) {
    case KH_NAT_PORTS_PRESERVED:
        return "It keeps the port numbers that programs chose";
    case KH_NAT_PORTS_SEQUENTIAL:
        return "It counts port numbers up, so the next one can be guessed";
    case KH_NAT_PORTS_BLOCK:
        return "It draws port numbers from a small range, as providers do that share one address";
    case KH_NAT_PORTS_RANDOM:
        return "It draws port numbers at random";
    case KH_NAT_PORTS_UNKNOWN:
        break;
    }
    return "How it chooses port numbers could not be found out";
}

static void say_what(const struct kh_nat_behaviour *nat, FILE *out)
{
    char address[KH_ADDR_TEXT_MAX];

    kh_addr_ip_text(&nat->public_addr, address);
    if (kh_addr_reach(&nat->public_addr) != KH_REACH_GLOBAL) {
        (void)fprintf(out,
                      "The server is in your own network, where you appear as %s. It cannot\n"
                      "tell what stands between you and the internet: ask a server outside.\n"
                      "As far as it sees:\n\n",
                      address);
    }
    if (!nat->translated && nat->filtering == KH_NAT_ENDPOINT_INDEPENDENT) {
        (void)fprintf(out,
                      "No router translates addresses: this machine is %s for everybody, and\n"
                      "nothing keeps others from sending to it.\n",
                      address);
        return;
    }
    if (!nat->translated) {
        (void)fprintf(out,
                      "No router translates addresses: this machine is %s for everybody.\n"
                      "%s.\n",
                      address, what_filters(nat->filtering));
        return;
    }
    (void)fprintf(out, "A router stands in front of this machine; outside you appear as %s.\n",
                  address);
    if (nat->mapping == KH_NAT_ENDPOINT_INDEPENDENT)
        (void)fprintf(out, "It gives a program one port number for everybody it talks to: good.\n");
    else if (nat->mapping != KH_NAT_RULE_UNKNOWN)
        (void)fprintf(out,
                      "It gives a program another port number for each one it talks to (people\n"
                      "call that a symmetric NAT), so others cannot know where to send.\n");
    (void)fprintf(out, "%s.\n%s.\n", what_filters(nat->filtering), what_ports(nat->ports));
}

static void say_whom(enum difficulty difficulty, FILE *out)
{
    static const char *const whom[] = {
        [EASY] = "Directly you reach everyone whose network lets UDP through.\n"
                 "Through a server or relay: nobody, but for networks that block UDP.\n",
        [USUAL] =
            "Directly you reach everyone with a public address, and everyone behind a router\n"
            "that keeps one port number for a program, as most at home do.\n"
            "Through a server or relay you reach those whose router takes another port number\n"
            "for each one they talk to, as in many mobile and company networks.\n",
        [HARD] = "Directly you reach those with a public address, or with a router that lets in\n"
                 "whoever they sent something to.\n"
                 "Through a server or relay you reach all others.\n",
        [NOT_KNOWN] =
            "Whom you reach directly cannot be said: the server has only one address, or the\n"
            "other one does not answer. Ask a server that serves two (knotholed(8), --listen).\n",
    };

    (void)fprintf(out, "\n%s", whom[difficulty]);
}

static bool gives_ports(const struct kh_doctor_report *report)
{
    return report->pcp == KH_DOCTOR_YES || report->natpmp == KH_DOCTOR_YES ||
           report->upnp == KH_DOCTOR_YES;
}

/* Where a router translates, asking it for a port helps more than all else. */
static void say_how_to_be_reached(const struct kh_doctor_report *report, enum difficulty difficulty,
                                  FILE *out)
{
    if (difficulty == EASY || !report->nat.translated || difficulty == NOT_KNOWN)
        return;
    if (gives_ports(report))
        (void)fprintf(out,
                      "Your router gives ports to programs that ask (%s). Knothole asks;\n"
                      "if no other router stands behind yours, everyone reaches you directly.\n",
                      report->pcp == KH_DOCTOR_YES      ? "PCP"
                      : report->natpmp == KH_DOCTOR_YES ? "NAT-PMP"
                                                        : "UPnP");
    else if (difficulty == USUAL)
        (void)fprintf(out, "Nothing needs to change for most. To be reachable for the others as\n"
                           "well, switch on UPnP, NAT-PMP or PCP in the router.\n");
    else
        (void)fprintf(out,
                      "To change that: if the router is yours, switch on UPnP, NAT-PMP or PCP\n"
                      "in it, or a \"full cone\" or \"gaming\" setting; if it is your\n"
                      "provider's, ask for IPv6 or a public address, or use another network.\n");
}

static void say_what_to_change(const struct kh_doctor_report *report, enum difficulty difficulty,
                               FILE *out)
{
    if (difficulty != NOT_KNOWN)
        (void)fputc('\n', out);
    if (difficulty == EASY)
        (void)fprintf(out, "Nothing needs to change.\n");
    else if (difficulty == USUAL && !report->nat.translated)
        (void)fprintf(out, "Nothing needs to change; letting UDP in through the firewall would\n"
                           "make you reachable for those as well.\n");
    say_how_to_be_reached(report, difficulty, out);
    if (report->ipv6 == KH_DOCTOR_NO && difficulty != EASY)
        (void)fprintf(out, "IPv6 does not work here; where both sides have it, no router needs to\n"
                           "share an address, and more people meet directly.\n");
    if (report->nat.hairpin == KH_NAT_HAIRPIN_NONE)
        (void)fprintf(out, "Machines behind the same router meet at their inside addresses: the\n"
                           "router does not turn back what goes to its own public address.\n");
}

static void say_without_udp(const struct kh_doctor_report *report, FILE *out)
{
    if (report->tcp == KH_DOCTOR_YES)
        (void)fprintf(out,
                      "UDP does not get through to the server, TCP does: a firewall blocks it, as\n"
                      "in many companies and hotels.\n");
    else
        (void)fprintf(out,
                      "Neither UDP nor TCP gets through to the server, TLS does: a firewall lets\n"
                      "only the web through, as in many companies and hotels.\n");
    (void)fprintf(out, "\n"
                       "Directly you reach nobody; through a server or relay, everyone.\n"
                       "\n"
                       "To change that, let outgoing UDP through the firewall, or use another\n"
                       "network.\n");
}

/* What the server could do for networks like this one or worse. */
static void say_of_tls(const struct kh_doctor_report *report, FILE *out)
{
    if (report->tls == KH_DOCTOR_UNKNOWN)
        (void)fprintf(out, "\nThe server serves no TLS: from networks that let only the web\n"
                           "through it cannot be reached (knotholed(8), --tls-cert).\n");
    else if (report->tls == KH_DOCTOR_NO)
        (void)fprintf(out, "\nTLS does not get through to the server; it would be needed only if\n"
                           "UDP and TCP were blocked as well.\n");
}

void kh_doctor_say(const struct kh_doctor_report *report, FILE *out)
{
    enum difficulty difficulty = difficulty_of(&report->nat);

    if (report->udp != KH_DOCTOR_YES) {
        say_without_udp(report, out);
    } else {
        say_what(&report->nat, out);
        say_whom(difficulty, out);
        say_what_to_change(report, difficulty, out);
    }
    say_of_tls(report, out);
}
