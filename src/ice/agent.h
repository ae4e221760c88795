/* ice/agent.h - the agent's insides, shared by the files of this folder only.
 *
 * SPDX-License-Identifier: MIT
 *
 * Candidates and pairs live in fixed tables and refer to each other by index; an index stays true
 * until its slot is emptied, and whoever empties a slot also forgets the indices that point to it.
 */
#ifndef KH_ICE_AGENT_H
#define KH_ICE_AGENT_H

#include "base/outbox.h"
#include "base/ring.h"
#include "ice/ice.h"

#define KH_ICE_NOWHERE 0xffu   /* no index; both tables are shorter */
#define KH_ICE_EVENTS_MAX 8    /* one input gives at most a VALID, two PATHs and two STATEs */
#define KH_ICE_OUTBOX_MAX 16   /* one answer, a burst of new checks, retransmissions due at once */
#define KH_ICE_MESSAGE_MAX 256 /* our longest check has 168 bytes, with fragments of 32 */
#define KH_ICE_ATTEMPTS_MAX 7  /* RFC 8489 6.2.1: Rc */
#define KH_ICE_RTO_MAX                                                                             \
    KH_MILLISECONDS(1600) /* doubling stops: a late peer should not wait long                      \
                           */
#define KH_ICE_RETRY                                                                               \
    KH_SECONDS(5) /* failed pairs again while patience lasts: the peer may be late */
/* Checks that may leave at once before pacing holds them back.  RFC 8445 14.2 spaces all of them;
 * a handful of 100-byte packets is less than one TCP flight (RFC 6928), and it halves the time
 * until a reflexive pair behind a few host pairs is tried. */
#define KH_ICE_BURST_ORDINARY 5
#define KH_ICE_BURST_TRIGGERED 10
/* Addresses learned from checks: a burst, then one each period.  Between two NATs that give a new
 * port to each destination and let in whom they like, each check teaches an address, and each
 * address asks for a check, without end. */
#define KH_ICE_LEARN_PERIOD KH_SECONDS(5)
#define KH_ICE_LEARN_BURST 16
/* Addresses told: those of two cards, then likewise.  It may be anybody's that the peer names. */
#define KH_ICE_TOLD_BURST (2 * KH_ICE_CANDIDATES_MAX)
#define KH_ICE_REST KH_MILLISECONDS(500) /* doubled with each stray answer, to half a minute */
#define KH_ICE_REST_DOUBLINGS 6
#define KH_ICE_INSTANCES_MAX 8 /* a peer begins anew now and then; older ones are forgotten */
/* How long a path is, queues and jitter aside, is what the shortest of some round trips says. After
 * two runs of so many an old shortest one is forgotten: paths grow longer, too. */
#define KH_ICE_MEASURES 16
#define KH_ICE_HURRY_STRANGER                                                                      \
    KH_SECONDS(1) /* so often at most a stranger's replayed check makes us ask */
#define KH_ICE_HURRY_OWNER KH_MILLISECONDS(200) /* so often at most our owner's doubts do */
#define KH_ICE_SUSPECT 2    /* unanswered consent checks in a row before we look for another path */
#define KH_ICE_SPARES_MAX 4 /* a punch that succeeds may be hit more than once */
#define KH_ICE_WARM_MAX 2
#define KH_ICE_WARM_PERIOD KH_SECONDS(13) /* sent along with a consent check: 15 s on average */

/* RFC 6544 6.2 leaves the order to priorities; ours starts no connection in the time in which UDP
 * usually answers. */
#define KH_ICE_TCP_HOLD KH_MILLISECONDS(500)
#define KH_ICE_TCP_LASTING                                                                         \
    KH_SECONDS(5) /* a connection that lasted so long is made anew at once                         \
                   */
/* Two NATs that answer an early SYN with a reset let two in that pass each other: each side tries
 * about three times a second, so that with 40 ms between the NATs the median is a second. */
#define KH_ICE_TCP_MUTUAL_PAUSE KH_MILLISECONDS(50)
#define KH_ICE_TCP_MUTUAL_SPREAD KH_MILLISECONDS(400)
/* As many pairs are tried so often; more share the same number of calls, for a card may name whom
 * it likes. */
#define KH_ICE_TCP_MUTUAL_PAIRS 4
#define KH_ICE_TCP_MUTUAL_FOR KH_SECONDS(12)
#define KH_ICE_TCP_WAIT KH_SECONDS(10) /* for an answer: SYNs after 0, 1, 3 and 7 s (RFC 6298) */

/* A better path that once worked is tried again after this, doubling: networks come back. */
#define KH_ICE_REVIVAL KH_SECONDS(20)
#define KH_ICE_REVIVALS_MAX 3 /* so many times at most: to 80 s, for a relay serves meanwhile */

enum kh_ice_pair_state {
    KH_ICE_PAIR_FROZEN, /* RFC 8445 6.1.2.6 */
    KH_ICE_PAIR_WAITING,
    KH_ICE_PAIR_IN_PROGRESS,
    KH_ICE_PAIR_SUCCEEDED,
    KH_ICE_PAIR_FAILED,
};

struct kh_ice_entry {
    bool is_used;
    enum kh_ice_kind kind;
    struct kh_addr addr;
    struct kh_addr base;
    unsigned tcp; /* of enum kh_ice_tcp */
    uint32_t priority;
    uint32_t generation; /* remote: of the credentials it was last told with */
    bool is_spare;       /* local: a base learned from a check that arrived there */
};

/* One Binding request on its way.  Its bytes are made again for each retransmission, so what they
 * are made of is kept here. */
struct kh_ice_check {
    bool is_waiting;   /* for an answer */
    bool is_consent;   /* RFC 7675 5.1: never retransmitted, the next one has a new id */
    bool is_triggered; /* pursued to its end whatever else is found meanwhile */
    bool is_lost;      /* its TCP connection is gone; next_at is when to open another */
    bool is_controlling;
    uint8_t id[KH_STUN_ID_LEN];
    uint64_t tie_breaker;
    uint32_t nomination; /* 0: does not nominate */
    unsigned attempts;
    kh_duration rto;
    kh_time began_at;
    kh_time sent_at; /* the last time */
    kh_time next_at; /* to send again, or to give up */
};

struct kh_ice_pair {
    bool is_used;
    enum kh_ice_pair_state state;
    uint8_t local;
    uint8_t remote;
    /* RFC 8445 7.2.5.3.2 makes a second, valid pair with the local candidate the answer tells of.
     * It has the same base and the same remote address, so it is the same path: we note its local
     * candidate here instead. */
    uint8_t seen;
    bool is_valid;     /* an answer came within the consent time; outlives a restart until then */
    bool rtt_is_sure;  /* the check was sent once only (Karn) */
    kh_duration rtt;   /* the latest */
    unsigned measured; /* so often surely … */
    kh_duration shortest[2]; /* … the least of this KH_ICE_MEASURES, and of those before; 0: none */
    uint64_t priority;
    uint64_t turn; /* in the triggered-check queue, which is first in, first out; 0: not in it */
    uint32_t nomination; /* controlling: the value our checks on it carry once it is nominated */
    unsigned missed;     /* consent checks unanswered in a row */
    kh_time valid_at;    /* since when */
    kh_time consent_until;
    kh_time failed_at;
    unsigned failures;  /* since it last worked; pairs that never did are not counted */
    unsigned strays;    /* answers that came from elsewhere: a symmetric NAT, which stays one … */
    kh_time rest_until; /* … so checks of the peer do not make us check back before this */
    struct kh_ice_check check;
    struct kh_ice_check older; /* cancelled by a newer one, but its answer still counts */
};

struct kh_ice_agent {
    struct kh_ice_config config; /* with defaults filled in; .local is current */
    struct kh_rng rng;
    enum kh_ice_state state;
    bool is_controlling;
    bool has_remote;
    bool is_restarting; /* the selected path is of the time before; the next valid pair replaces it
                         */
    uint64_t tie_breaker;
    struct kh_ice_credentials remote;
    struct kh_ice_credentials local_before;  /* of before the last restart: the peer may not know */
    struct kh_ice_credentials remote_before; /* likewise */
    uint32_t generation;                     /* counts remote credentials */

    struct kh_addr spare; /* other ports of this address may become bases; none: they may not */
    struct kh_ice_entry locals[KH_ICE_CANDIDATES_MAX];
    struct kh_ice_entry remotes[KH_ICE_CANDIDATES_MAX];
    struct kh_ice_pair pairs[KH_ICE_PAIRS_MAX];

    uint8_t selected;    /* carries data */
    uint8_t nominated;   /* will be selected as soon as an answer confirms it */
    uint32_t nomination; /* the highest value used or seen */
    uint64_t instances[KH_ICE_INSTANCES_MAX]; /* tie-breakers of the peer's agents; a ring */
    size_t instance_at;                       /* of the latest */
    uint64_t turns;                           /* given out by the triggered-check queue */
    kh_time pace_at;       /* when the checks sent so far would all have been due at one per Ta */
    kh_time learned_until; /* see KH_ICE_LEARN_PERIOD */
    kh_time told_until;    /* likewise */
    kh_time patience_at;
    kh_time tcp_at;     /* no ordinary check opens a TCP connection before */
    kh_time consent_at; /* of the next consent check on the selected pair */
    kh_time deadline;

    struct kh_outbox outbox;
    struct kh_ring event_ring;
    struct kh_ice_event events[KH_ICE_EVENTS_MAX];
    struct kh_ice_stats stats;
};

/* ---- agent.c ---- */
void kh_ice_agent_enter(struct kh_ice_agent *agent, enum kh_ice_state state);
void kh_ice_agent_emit(struct kh_ice_agent *agent, const struct kh_ice_event *event);
void kh_ice_agent_fail(struct kh_ice_agent *agent);

/* ---- candidate.c ---- */
/* A function of kind and address alone, so that both sides agree without telling each other. */
uint32_t kh_ice_priority(enum kh_ice_kind kind, const struct kh_addr *addr);
/* Without its scope, which means something on our side of the link only. */
struct kh_addr kh_ice_unscoped(const struct kh_addr *addr);
bool kh_ice_addr_is_usable(const struct kh_addr *addr);
bool kh_ice_can_pair(const struct kh_ice_entry *local, const struct kh_ice_entry *remote);
/* False if only the peer can open the TCP connection between them (RFC 6544 6.2). */
bool kh_ice_can_open(const struct kh_ice_entry *local, const struct kh_ice_entry *remote);
/* The local candidate to check from for datagrams that came to `base`; NOWHERE if none. */
uint8_t kh_ice_local_find_base(const struct kh_ice_agent *agent, const struct kh_addr *base);
uint8_t kh_ice_local_find(const struct kh_ice_agent *agent, const struct kh_addr *addr,
                          const struct kh_addr *base);
uint8_t kh_ice_remote_find(const struct kh_ice_agent *agent, const struct kh_addr *addr);
/* Stores it, giving up something of no use if the table is full; NOWHERE if all is of use. */
uint8_t kh_ice_local_store(struct kh_ice_agent *agent, const struct kh_ice_entry *entry);
uint8_t kh_ice_remote_store(struct kh_ice_agent *agent, const struct kh_ice_entry *entry);
/* Takes one of a burst that is had again, one each KH_ICE_LEARN_PERIOD; false if none is left. */
bool kh_ice_may_store(kh_time *until, kh_time now, unsigned burst);

/* ---- pair.c ---- */
struct kh_addr kh_ice_pair_from(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair);
struct kh_addr kh_ice_pair_to(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair);
struct kh_ice_path kh_ice_pair_path(const struct kh_ice_agent *agent,
                                    const struct kh_ice_pair *pair);
uint8_t kh_ice_pair_find(const struct kh_ice_agent *agent, const struct kh_addr *base,
                         uint8_t remote);
bool kh_ice_pair_is_tcp(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair);
/* Both sides connect (RFC 6544 4.5: simultaneous open), across the internet: who refuses a call in
 * our own network has no NAT that could change its mind. */
bool kh_ice_pair_is_mutual(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair);
/* Makes or finds the pair of both; NOWHERE if they do not fit or the table holds better ones.  That
 * of a TCP candidate we cannot connect to exists only as long as a connection of the peer's. */
uint8_t kh_ice_pair_add(struct kh_ice_agent *agent, uint8_t local, uint8_t remote);
void kh_ice_pair_remove(struct kh_ice_agent *agent, uint8_t index);
void kh_ice_pair_fail(struct kh_ice_agent *agent, kh_time now, uint8_t index);
/* Makes an answer to the check in progress welcome, but waits for none (RFC 8445 7.3.1.4). */
void kh_ice_pair_cancel(struct kh_ice_pair *pair);
void kh_ice_pairs_prioritise(struct kh_ice_agent *agent); /* after a change of role */
/* All are to be checked again; keep_answers: those to checks on their way still count. */
void kh_ice_pairs_reset(struct kh_ice_agent *agent, bool keep_answers);
void kh_ice_pairs_stop(struct kh_ice_agent *agent); /* no answer is welcome any more */
/* RFC 8445 7.2.5.3.3: what is alike in kind and place is likely to succeed too. */
void kh_ice_pairs_thaw(struct kh_ice_agent *agent, const struct kh_ice_pair *like);
/* The one an ordinary check should go to next (RFC 8445 6.1.4.2); NOWHERE if none. */
uint8_t kh_ice_pair_next(const struct kh_ice_agent *agent, bool with_tcp);
bool kh_ice_pairs_are_pending(const struct kh_ice_agent *agent);

/* ---- spare.c ---- */
/* The base that an authentic check arrived at, if it may become one; NOWHERE otherwise. */
uint8_t kh_ice_spare_learn(struct kh_ice_agent *agent, const struct kh_addr *base);

/* ---- check.c ---- */
/* Writes a Binding request to the peer; returns its length. */
size_t kh_ice_check_write(const struct kh_ice_agent *agent, const struct kh_ice_check *check,
                          uint32_t priority, uint8_t data[static KH_ICE_MESSAGE_MAX]);
void kh_ice_check_trigger(struct kh_ice_agent *agent, uint8_t index);
/* False if the outbox is full. */
bool kh_ice_check_send_consent(struct kh_ice_agent *agent, kh_time now, uint8_t index,
                               kh_duration wait);
/* Sends what is due: retransmissions, then triggered, then ordinary checks. */
void kh_ice_check_work(struct kh_ice_agent *agent, kh_time now);
kh_time kh_ice_check_timeout(const struct kh_ice_agent *agent);

/* ---- answer.c ---- */
/* False if it answers none of our checks. */
bool kh_ice_answer_handle(struct kh_ice_agent *agent, kh_time now,
                          const struct kh_datagram *datagram,
                          const struct kh_stun_message *message);

/* ---- request.c ---- */
bool kh_ice_request_handle(struct kh_ice_agent *agent, kh_time now,
                           const struct kh_datagram *datagram,
                           const struct kh_stun_message *message);
void kh_ice_role_set(struct kh_ice_agent *agent, bool is_controlling);

/* ---- nominate.c ---- */
bool kh_ice_is_suspect(const struct kh_ice_agent *agent); /* the selected path does not answer */
/* Is it still worth checking, given what we have? */
bool kh_ice_is_wanted(const struct kh_ice_agent *agent, const struct kh_ice_pair *pair);
/* Controlling: tells the peer that this pair is to carry the data from now on. */
void kh_ice_nominate(struct kh_ice_agent *agent, uint8_t index);
void kh_ice_select(struct kh_ice_agent *agent, kh_time now, uint8_t index);
/* Decides what an answer on this pair means for the selected path; confirms: it was the answer to
 * a check that nominated. */
void kh_ice_consider(struct kh_ice_agent *agent, kh_time now, uint8_t index, bool confirms);
/* Controlled: the peer nominated this pair; 0: without saying how much it means it. */
void kh_ice_follow(struct kh_ice_agent *agent, kh_time now, uint8_t index, uint32_t nomination);
/* The selected path is gone: takes the best valid one left; false if there is none. */
bool kh_ice_replace_selected(struct kh_ice_agent *agent, kh_time now);

/* ---- consent.c ---- */
/* The next consent check goes out a period from now. */
void kh_ice_consent_schedule(struct kh_ice_agent *agent, kh_time now);
void kh_ice_consent_renew(struct kh_ice_agent *agent, kh_time now, uint8_t index);
/* Asks whether the selected path still works: at once, or this long after it was asked last. */
void kh_ice_consent_hurry(struct kh_ice_agent *agent, kh_time now, kh_duration pause);
void kh_ice_consent_work(struct kh_ice_agent *agent, kh_time now);
kh_time kh_ice_consent_timeout(const struct kh_ice_agent *agent);

#endif
