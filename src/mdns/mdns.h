/* mdns/mdns.h - asks the link who has a name under .local (RFC 6762, one-shot queries).
 *
 * SPDX-License-Identifier: MIT
 *
 * A few names at a time, each for a second at most.  The owner sends what comes out to all hosts of
 * each link it is on, and lets in only what comes from those links.  One input, then next_answer
 * and next_transmit until false, then timeout.  Nothing is allocated.
 */
#ifndef KH_MDNS_MDNS_H
#define KH_MDNS_MDNS_H

#include "base/datagram.h"
#include "base/text.h"
#include "base/time.h"

#define KH_MDNS_PORT 5353
#define KH_MDNS_NAME_MAX KH_TEXT_LOCAL_NAME_MAX
#define KH_MDNS_QUESTIONS_MAX 8 /* at the same time */
#define KH_MDNS_ADDRS_MAX 4     /* of one name that are told */
#define KH_MDNS_QUERY_MAX 96

/* The groups that all who answer have joined. */
struct kh_addr kh_mdns_group(enum kh_family family);

struct kh_mdns_answer {
    char name[KH_MDNS_NAME_MAX + 1]; /* as it was asked for */
    enum kh_family family;
    struct kh_addr addrs[KH_MDNS_ADDRS_MAX]; /* with port 0 */
    size_t addr_count;                       /* 0: nobody here has that name */
};

struct kh_mdns_question {
    bool in_use;
    bool is_done;     /* waits to be told */
    unsigned due;     /* families whose group is still to be asked in this round, as bits */
    unsigned rounds;  /* begun so far */
    kh_time asked_at; /* for the first time */
    struct kh_mdns_answer answer;
};

struct kh_mdns {
    struct kh_mdns_question questions[KH_MDNS_QUESTIONS_MAX];
    uint8_t query[KH_MDNS_QUERY_MAX];
    uint64_t dropped_malformed;
};

/* Zeroed it is ready. */
void kh_mdns_init(struct kh_mdns *mdns);

/* A question that is asked already is not asked twice: one answer comes.  KH_ERR_FORMAT: not a
 * kh_text_is_local_name.  KH_ERR_FULL: wait for an answer first. */
KH_MUST_USE enum kh_status kh_mdns_ask(struct kh_mdns *mdns, kh_time now, const char *name,
                                       enum kh_family family);
void kh_mdns_handle_datagram(struct kh_mdns *mdns, const struct kh_datagram *datagram);
void kh_mdns_handle_timeout(struct kh_mdns *mdns, kh_time now);

/* `to` is the group of one family; `from` is none. */
bool kh_mdns_next_transmit(struct kh_mdns *mdns, struct kh_datagram *out);
bool kh_mdns_next_answer(struct kh_mdns *mdns, struct kh_mdns_answer *out);
kh_time kh_mdns_timeout(const struct kh_mdns *mdns);

#endif
