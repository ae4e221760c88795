/* mdns/mdns.c - questions that are asked three times in half a second, and given up after one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "mdns/mdns.h"

#include <assert.h>
#include <string.h>

#include "mdns/wire.h"

#define FAMILY_BIT(family) (1u << (unsigned)(family))
#define BOTH (FAMILY_BIT(KH_FAMILY_IPV4) | FAMILY_BIT(KH_FAMILY_IPV6))
#define PATIENCE KH_SECONDS(1)
#define CLASS_IN 1

/* Since the first; multicast is lost more often than anything else on a wireless link. */
static const kh_duration round_after[] = {0, KH_MILLISECONDS(200), KH_MILLISECONDS(500)};
#define ROUNDS (sizeof round_after / sizeof round_after[0])

struct kh_addr kh_mdns_group(enum kh_family family)
{
    static const uint8_t ipv6[16] = {[0] = 0xff, [1] = 0x02, [15] = 0xfb};

    return family == KH_FAMILY_IPV6 ? kh_addr_from_ip(KH_FAMILY_IPV6, ipv6, KH_MDNS_PORT)
                                    : kh_addr_ipv4(224, 0, 0, 251, KH_MDNS_PORT);
}

void kh_mdns_init(struct kh_mdns *mdns)
{
    memset(mdns, 0, sizeof *mdns);
}

static struct kh_mdns_question *find(struct kh_mdns *mdns, const char *name, enum kh_family family)
{
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];

        if (question->in_use && question->answer.family == family &&
            strcmp(question->answer.name, name) == 0)
            return question;
    }
    return NULL;
}

static kh_time next_at(const struct kh_mdns_question *question)
{
    return kh_time_add(question->asked_at,
                       question->rounds < ROUNDS ? round_after[question->rounds] : PATIENCE);
}

static void begin_round(struct kh_mdns_question *question)
{
    question->rounds++;
    question->due = BOTH;
}

static void end(struct kh_mdns_question *question)
{
    question->is_done = true;
    question->due = 0;
}

enum kh_status kh_mdns_ask(struct kh_mdns *mdns, kh_time now, const char *name,
                           enum kh_family family)
{
    assert(family == KH_FAMILY_IPV4 || family == KH_FAMILY_IPV6);
    if (!kh_text_is_local_name(name, strlen(name)))
        return KH_ERR_FORMAT;
    if (find(mdns, name, family) != NULL)
        return KH_OK;
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];

        if (question->in_use)
            continue;
        *question = (struct kh_mdns_question){.in_use = true, .asked_at = now};
        question->answer.family = family;
        memcpy(question->answer.name, name, strlen(name) + 1);
        begin_round(question);
        return KH_OK;
    }
    return KH_ERR_FULL;
}

/* ---- answers ---- */

static bool is_same_name(const char *asked, const char *small)
{
    for (; *asked != '\0'; asked++, small++) {
        char c = (char)(*asked >= 'A' && *asked <= 'Z' ? *asked - 'A' + 'a' : *asked);

        if (c != *small)
            return false;
    }
    return *small == '\0';
}

/* Who sends elsewhere would have us do it, too: a name is a machine on a link, and so is this. */
static bool is_possible(const struct kh_addr *addr)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);

    return reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL || reach == KH_REACH_LINK_LOCAL;
}

static void add_addr(struct kh_mdns_answer *answer, const struct kh_addr *addr)
{
    for (size_t i = 0; i < answer->addr_count; i++)
        if (kh_addr_equal(&answer->addrs[i], addr))
            return;
    if (answer->addr_count < KH_MDNS_ADDRS_MAX)
        answer->addrs[answer->addr_count++] = *addr;
}

static void take_record(struct kh_mdns *mdns, const struct kh_mdns_record *record)
{
    enum kh_family family = record->type == KH_MDNS_AAAA ? KH_FAMILY_IPV6 : KH_FAMILY_IPV4;
    struct kh_addr addr;

    /* RFC 6762 10.1: a lifetime of zero is a goodbye. */
    if (record->class != CLASS_IN || record->ttl == 0 ||
        !((record->type == KH_MDNS_A && record->len == 4) ||
          (record->type == KH_MDNS_AAAA && record->len == 16)))
        return;
    addr = kh_addr_from_ip(family, record->data, 0);
    if (!is_possible(&addr) || addr.family != family)
        return;
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];

        if (question->in_use && !question->is_done && question->answer.family == family &&
            is_same_name(question->answer.name, record->name))
            add_addr(&question->answer, &addr);
    }
}

void kh_mdns_handle_datagram(struct kh_mdns *mdns, const struct kh_datagram *datagram)
{
    struct kh_mdns_message message;
    struct kh_mdns_record record;

    /* RFC 6762 6: who answers from another port is to be ignored. */
    if (datagram->from.port != KH_MDNS_PORT)
        return;
    if (!kh_mdns_open(&message, datagram->data, datagram->len)) {
        mdns->dropped_malformed++;
        return;
    }
    while (kh_mdns_next_record(&message, &record))
        take_record(mdns, &record);
    mdns->dropped_malformed += message.left > 0;
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];

        if (question->in_use && question->answer.addr_count > 0)
            end(question);
    }
}

void kh_mdns_handle_timeout(struct kh_mdns *mdns, kh_time now)
{
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];

        if (!question->in_use || question->is_done || now < next_at(question))
            continue;
        if (question->rounds < ROUNDS)
            begin_round(question);
        else
            end(question);
    }
}

bool kh_mdns_next_transmit(struct kh_mdns *mdns, struct kh_datagram *out)
{
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];
        enum kh_family group =
            (question->due & FAMILY_BIT(KH_FAMILY_IPV4)) != 0 ? KH_FAMILY_IPV4 : KH_FAMILY_IPV6;

        if (question->due == 0)
            continue;
        question->due &= ~FAMILY_BIT(group);
        *out =
            (struct kh_datagram){.to = kh_mdns_group(group),
                                 .data = mdns->query,
                                 .len = kh_mdns_write_query(question->answer.name,
                                                            question->answer.family, mdns->query)};
        return true;
    }
    return false;
}

bool kh_mdns_next_answer(struct kh_mdns *mdns, struct kh_mdns_answer *out)
{
    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_question *question = &mdns->questions[i];

        if (!question->in_use || !question->is_done)
            continue;
        *out = question->answer;
        question->in_use = false;
        return true;
    }
    return false;
}

kh_time kh_mdns_timeout(const struct kh_mdns *mdns)
{
    kh_time at = KH_NEVER;

    for (size_t i = 0; i < KH_MDNS_QUESTIONS_MAX; i++)
        if (mdns->questions[i].in_use && !mdns->questions[i].is_done)
            at = kh_time_min(at, next_at(&mdns->questions[i]));
    return at;
}
