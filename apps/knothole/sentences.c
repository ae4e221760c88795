/* knothole/sentences.c - what the doctor found, for people who need not know the words.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

#include <stdarg.h>
#include <string.h>

#define COLUMNS 76
#define KEEPALIVE_S 20u /* docs/protocol/rendezvous.md, 4 */
#define PARAGRAPH_MAX 1024

/* How this machine stands to others: the columns of the table in docs/protocol/punching.md, 1. */
enum standing {
    EASY,     /* one port for all, and lenient */
    USUAL,    /* one port for all, but strict */
    BY_HOST,  /* a port for each address, which may answer from any port of its own */
    COUNTING, /* a port for each one, but predictable */
    RANDOM,
    NOT_KNOWN,
};

static bool is_symmetric(const struct kh_nat_behaviour *nat)
{
    return nat->mapping == KH_NAT_ADDRESS_DEPENDENT ||
           nat->mapping == KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
}

/* Lets in whoever was spoken to, from any port. */
static bool is_lenient(const struct kh_nat_behaviour *nat)
{
    return nat->filtering == KH_NAT_ENDPOINT_INDEPENDENT ||
           nat->filtering == KH_NAT_ADDRESS_DEPENDENT || nat->filter_not_by_port;
}

/* A server with one address leaves open whether the mapping depends on that. */
static bool is_guess(const struct kh_nat_behaviour *nat)
{
    return nat->translated && nat->mapping == KH_NAT_RULE_UNKNOWN && nat->mapping_not_by_port;
}

static enum standing standing_of(const struct kh_nat_behaviour *nat)
{
    bool is_predictable =
        nat->ports == KH_NAT_PORTS_SEQUENTIAL || nat->ports == KH_NAT_PORTS_PRESERVED;

    if (nat->mapping == KH_NAT_ADDRESS_DEPENDENT &&
        nat->filtering != KH_NAT_ADDRESS_AND_PORT_DEPENDENT)
        return BY_HOST;
    if (is_symmetric(nat))
        return is_predictable ? COUNTING : RANDOM;
    if (nat->translated && nat->mapping == KH_NAT_RULE_UNKNOWN && !is_guess(nat))
        return NOT_KNOWN;
    return is_lenient(nat) ? EASY : USUAL;
}

/* Words of a paragraph, broken into lines. */
__attribute__((format(printf, 2, 3))) static void say(FILE *out, const char *format, ...)
{
    char text[PARAGRAPH_MAX];
    size_t column = 0;
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (const char *word = text; *word != '\0';) {
        size_t len = strcspn(word, " ");

        if (column > 0 && column + 1 + len > COLUMNS) {
            (void)fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column > 0 ? " " : "", (int)len, word);
        word += len + strspn(word + len, " ");
    }
    (void)fputc('\n', out);
}

/* ---- what stands in between ---- */

static const char *what_filters(const struct kh_nat_behaviour *nat)
{
    switch (nat->filtering) {
    case KH_NAT_ENDPOINT_INDEPENDENT:
        return "From outside, anyone may send to a port that is open";
    case KH_NAT_ADDRESS_DEPENDENT:
        return "From outside, whoever you sent something to may send back, from any port of theirs";
    case KH_NAT_ADDRESS_AND_PORT_DEPENDENT:
        return "From outside, only answers to what you sent come in";
    case KH_NAT_RULE_UNKNOWN:
        break;
    }
    return nat->filter_not_by_port
               ? "From outside, at least whoever you sent something to may send back"
               : "What it lets in from outside could not be found out";
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

static const char *what_maps(const struct kh_nat_behaviour *nat)
{
    if (nat->mapping == KH_NAT_ENDPOINT_INDEPENDENT || is_guess(nat))
        return "It gives a program one port number for everybody it talks to: good. ";
    if (is_symmetric(nat))
        return "It gives a program another port number for each one it talks to (people call that "
               "a symmetric NAT), so others cannot know where to send. ";
    return "";
}

static bool stands_behind_another(const struct kh_doctor_report *report)
{
    return kh_doctor_has_second_router(report) == KH_DOCTOR_YES;
}

static void say_verdict(enum standing standing, FILE *out)
{
    static const char *const verdicts[] = {
        [EASY] = "Your network is as good for this as they come.",
        [USUAL] = "Your network is fine.",
        [BY_HOST] = "Your network is fine.",
        [COUNTING] = "Your network makes it hard to be found, but everyone can be reached.",
        [RANDOM] = "Your network makes it hard to be found, but everyone can be reached.",
        [NOT_KNOWN] = "This server cannot tell all about your network, but everyone can be "
                      "reached.",
    };

    say(out, "%s", verdicts[standing]);
    (void)fputc('\n', out);
}

static void say_what(const struct kh_doctor_report *report, FILE *out)
{
    const struct kh_nat_behaviour *nat = &report->nat;
    char address[KH_ADDR_TEXT_MAX];

    kh_addr_ip_text(&nat->public_addr, address);
    if (kh_addr_reach(&nat->public_addr) != KH_REACH_GLOBAL)
        say(out,
            "But the server is in your own network, where you appear as %s. It cannot tell what "
            "stands between you and the internet: ask a server outside. As far as it sees:",
            address);
    if (!nat->translated) {
        say(out, "No router translates addresses: this machine is %s for everybody. %s.", address,
            nat->filtering == KH_NAT_ENDPOINT_INDEPENDENT
                ? "Nothing keeps others from sending to it"
                : what_filters(nat));
        return;
    }
    say(out, "A router stands in front of this machine; outside you appear as %s.%s %s%s. %s.",
        address,
        stands_behind_another(report)
            ? " Behind that router stands another one, mostly your provider's, whose address you "
              "share with others. What both do together:"
            : "",
        what_maps(nat), what_filters(nat), what_ports(nat->ports));
}

/* ---- whom one reaches ---- */

static void say_whom(enum standing standing, bool guess, FILE *out)
{
    static const char *const directly[] = {
        [EASY] = "Directly you reach everyone whose network lets UDP through, at once.",
        [USUAL] = "Directly you reach everyone whose network lets UDP through: most at once, and "
                  "after some seconds those whose router takes another port number for each one "
                  "they talk to, as in many mobile and company networks.",
        [BY_HOST] = "Directly you reach everyone whose network lets UDP through: at once those "
                    "with a public address or a lenient router, the others after some seconds.",
        [COUNTING] = "Directly you reach, at once, those with a public address or a lenient "
                     "router, and after some seconds the usual routers at home and those that "
                     "count like yours.",
        [RANDOM] = "Directly you reach, at once, those with a public address or a lenient router, "
                   "and after some seconds the usual routers at home.",
        [NOT_KNOWN] = "Whom you reach directly cannot be said. Ask a server that serves two "
                      "addresses (knotholed(8), --listen).",
    };
    static const char *const by_relay[] = {
        [EASY] = "those without UDP whom TCP does not reach either",
        [USUAL] = "those without UDP whom TCP does not reach either, and the slow ones meanwhile",
        [BY_HOST] = "those without UDP whom TCP does not reach either, and the slow ones meanwhile",
        [COUNTING] = "those whose router draws another port number for each one they talk to",
        [RANDOM] = "those whose router, like yours, takes another port number for each one they "
                   "talk to",
        [NOT_KNOWN] = "all others",
    };

    (void)fputc('\n', out);
    say(out, "%s", directly[standing]);
    if (guess)
        say(out, "That is a guess: the server has one address only. One that serves two can tell "
                 "for sure (knotholed(8), --listen).");
    say(out, "Through the server's relay, which passes on what it cannot read, you reach %s.",
        by_relay[standing]);
}

/* ---- what to change ---- */

static const char *how_ports_are_given(const struct kh_doctor_report *report)
{
    if (report->pcp == KH_DOCTOR_YES)
        return "PCP";
    if (report->natpmp == KH_DOCTOR_YES)
        return "NAT-PMP";
    return report->upnp == KH_DOCTOR_YES ? "UPnP" : NULL;
}

static void say_what_helps_behind_a_router(const struct kh_doctor_report *report,
                                           enum standing standing, FILE *out)
{
    const char *by = how_ports_are_given(report);

    if (by != NULL && stands_behind_another(report))
        say(out,
            "Your router gives ports to programs that ask (%s), but that helps with your "
            "provider's other customers only. Ask your provider for a public address or for IPv6.",
            by);
    else if (by != NULL)
        say(out,
            "Nothing needs to change: your router gives ports to programs that ask (%s), and "
            "Knothole asks. Unless another router stands behind yours, everyone reaches you "
            "directly, at once.",
            by);
    else if (standing == USUAL || standing == BY_HOST)
        say(out,
            "Nothing needs to change. To be reached by all at once, switch on UPnP, NAT-PMP or "
            "PCP in the settings of the router, if it is yours.");
    else
        say(out, "To change that: if the router is yours, switch on UPnP, NAT-PMP or PCP in its "
                 "settings, or what is called \"full cone\" or \"gaming\"; if it is your "
                 "provider's, ask for IPv6 or a public address, or use another network.");
}

static void say_what_to_change(const struct kh_doctor_report *report, enum standing standing,
                               FILE *out)
{
    (void)fputc('\n', out);
    if (standing == EASY)
        say(out, "Nothing needs to change.");
    else if (report->nat.translated && standing != NOT_KNOWN)
        say_what_helps_behind_a_router(report, standing, out);
    else if (standing == USUAL)
        say(out, "Nothing needs to change. To be reached by all at once, let UDP in through the "
                 "firewall.");
    if (report->ipv6 == KH_DOCTOR_YES && report->nat.translated)
        say(out, "IPv6 works here: whoever has it too you meet directly at once, whatever the "
                 "routers do.");
    if (report->ipv6 == KH_DOCTOR_NO && standing != EASY)
        say(out, "IPv6 does not work here; where both sides have it, no router needs to share an "
                 "address, and more people meet directly.");
    if (report->nat.hairpin == KH_NAT_HAIRPIN_NONE)
        say(out, "Machines behind the same router meet at their inside addresses: the router does "
                 "not turn back what goes to its own public address.");
}

/* TLS alone is good for the server and nobody else. */
static void say_without_udp(const struct kh_doctor_report *report, FILE *out)
{
    bool by_tcp = report->tcp == KH_DOCTOR_YES;

    say(out, "Your network keeps people from talking directly, but everyone can be reached.");
    (void)fputc('\n', out);
    say(out,
        "%s a firewall lets %s through, as in many companies and hotels. %s; through the "
        "server's relay, which passes on what it cannot read, you reach everyone.",
        by_tcp ? "UDP does not get through to the server, TCP does:"
               : "Neither UDP nor TCP gets through to the server, TLS does:",
        by_tcp ? "no UDP" : "only the web",
        by_tcp ? "Directly, by TCP, you reach those whose network lets TCP in, and often those "
                 "behind a usual router at home"
               : "Directly you reach nobody");
    (void)fputc('\n', out);
    say(out, "To change that, let outgoing UDP through the firewall, or use another network.");
}

/* What the server could do for networks like this one or worse. */
static void say_of_tls(const struct kh_doctor_report *report, FILE *out)
{
    if (report->tls == KH_DOCTOR_UNKNOWN)
        say(out, "The server serves no TLS: from networks that let only the web through it cannot "
                 "be reached (knotholed(8), --tls-cert).");
    else if (report->tls == KH_DOCTOR_NO)
        say(out, "TLS does not get through to the server; it would be needed only if UDP and TCP "
                 "were blocked as well.");
}

void kh_doctor_say(const struct kh_doctor_report *report, FILE *out)
{
    enum standing standing = standing_of(&report->nat);

    if (report->udp != KH_DOCTOR_YES) {
        say_without_udp(report, out);
    } else {
        say_verdict(standing, out);
        say_what(report, out);
        say_whom(standing, is_guess(&report->nat), out);
        say_what_to_change(report, standing, out);
    }
    if (report->tls != KH_DOCTOR_YES)
        (void)fputc('\n', out);
    say_of_tls(report, out);
}

void kh_doctor_say_lifetime(const struct kh_nat_lifetime_result *lifetime, FILE *out)
{
    (void)fputc('\n', out);
    if (!lifetime->reached || lifetime->refused)
        say(out, "How long it remembers who is silent cannot be found out: the server does not "
                 "help with that.");
    else if (lifetime->forgotten_s == 0)
        say(out, "Who is silent is still remembered after %u s: nothing needs to change.",
            lifetime->remembered_s);
    else if (lifetime->remembered_s >= KEEPALIVE_S)
        say(out,
            "Who is silent is remembered for %u s and forgotten before %u s. Knothole speaks "
            "up every %u s: nothing needs to change.",
            lifetime->remembered_s, lifetime->forgotten_s, KEEPALIVE_S);
    else
        say(out,
            "Who is silent is forgotten before %u s, and Knothole speaks up every %u s only: "
            "others may find you late. If the router has a setting called UDP timeout, raise "
            "it to 60 s.",
            lifetime->forgotten_s, KEEPALIVE_S);
}
