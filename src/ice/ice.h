/* ice/ice.h - one ICE agent: finds and keeps the best working path to one peer (RFC 8445).
 *
 * SPDX-License-Identifier: MIT
 *
 * The agent does no I/O, reads no clock, allocates nothing after _new.  Its owner
 *
 *   1. gives it ONE input:  handle_datagram, handle_lost, handle_timeout, add_*, set_*, restart
 *   2. drains its outputs:  next_transmit until false, next_event until false
 *   3. asks when to return: timeout
 *
 * in that order, every time.  Two inputs without a drain between them is a bug.
 *
 * Candidates are given, never gathered: host addresses by io/, reflexive and relayed ones by the
 * server's answers.  To this agent they are only addresses.  One component, one data stream.
 */
#ifndef KH_ICE_ICE_H
#define KH_ICE_ICE_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "stun/stun.h"

#define KH_ICE_CANDIDATES_MAX 24 /* of each side: four interfaces with two families, all kinds */
#define KH_ICE_PAIRS_MAX 128     /* RFC 8445 6.1.2.5 asks for a limit and suggests 100 */
#define KH_ICE_UFRAG_MAX 32
#define KH_ICE_PASSWORD_MAX 64

struct kh_ice_agent;

enum kh_ice_role { KH_ICE_CONTROLLED, KH_ICE_CONTROLLING };

enum kh_ice_state {
    KH_ICE_NEW,       /* no remote credentials yet */
    KH_ICE_CHECKING,  /* probing pairs, none works yet */
    KH_ICE_CONNECTED, /* a path is selected; better ones may still replace it */
    KH_ICE_FAILED,    /* every pair failed and the patience timer ran out (RFC 8863); or consent
                         was lost on all paths.  Only restart leaves this state */
};

enum kh_ice_kind {
    KH_ICE_HOST,
    KH_ICE_SERVER_REFLEXIVE,
    KH_ICE_PEER_REFLEXIVE,
    KH_ICE_RELAYED,
    KH_ICE_MAPPED, /* by PCP, NAT-PMP or UPnP: preferred like a host candidate's NAT twin */
};

/* What can be done at a TCP candidate (RFC 6544 4.5 has one of them each); several at once: ours
 * listen at the very port they connect from.  0 for UDP. */
enum kh_ice_tcp {
    KH_ICE_TCP_ACTIVE = 1,       /* connects to passive ones */
    KH_ICE_TCP_PASSIVE = 2,      /* takes connections */
    KH_ICE_TCP_SIMULTANEOUS = 4, /* both sides connect at once */
};

/* A TCP connection is named by its two addresses, whose transport is KH_TCP: what we send from a
 * base to an address opens one if there is none, and what comes along it came from there. */
struct kh_ice_candidate {
    enum kh_ice_kind kind;
    struct kh_addr addr; /* what the peer sends to */
    struct kh_addr base; /* what we send from; equals addr for host and relayed; unused if remote */
    unsigned tcp;        /* of enum kh_ice_tcp */
};

/* ice-chars only (RFC 8839 5.4); 4..32 and 22..64 characters, zero-terminated. */
struct kh_ice_credentials {
    char ufrag[KH_ICE_UFRAG_MAX + 1];
    char password[KH_ICE_PASSWORD_MAX + 1];
};

/* Zero means the default for every duration. */
struct kh_ice_config {
    enum kh_ice_role role;
    struct kh_ice_credentials local;
    uint8_t seed[32];           /* all randomness of this agent */
    kh_duration pacing;         /* Ta between new checks, 20 ms (RFC 8445 14.2 allows down to 5) */
    kh_duration check_rto;      /* first retransmission of a check, 120 ms, then doubling */
    kh_duration patience;       /* give up no earlier than this after start, 39.5 s (RFC 8863 4) */
    kh_duration consent_period; /* 5 s, randomised by 0.8..1.2 (RFC 7675 5.1) */
    kh_duration consent_expiry; /* 30 s without an answer revokes it (RFC 7675 5.1) */
    struct kh_log log;
};

enum kh_ice_event_kind {
    KH_ICE_EVENT_STATE,
    KH_ICE_EVENT_VALID, /* a first or further pair became valid: data received on it is the peer's
                         */
    KH_ICE_EVENT_PATH,  /* send along this from now on; may come again */
};

struct kh_ice_path {
    struct kh_addr local;  /* the base to send from */
    struct kh_addr remote; /* where to */
    enum kh_ice_kind local_kind;
    enum kh_ice_kind remote_kind;
    kh_duration rtt; /* of the check that validated it */
};

struct kh_ice_event {
    enum kh_ice_event_kind kind;
    union {
        enum kh_ice_state state; /* KH_ICE_EVENT_STATE */
        struct kh_ice_path path; /* KH_ICE_EVENT_VALID, KH_ICE_EVENT_PATH */
    };
};

struct kh_ice_stats {
    uint64_t checks_sent; /* first transmissions */
    uint64_t checks_retransmitted;
    uint64_t probes_sent;        /* by kh_ice_agent_probe */
    uint64_t requests_received;  /* authentic ones */
    uint64_t responses_received; /* that ended a check */
    uint64_t role_conflicts;
    uint64_t dropped_malformed;
    uint64_t dropped_unauthentic;
    uint64_t dropped_outbox_full;
};

/* ---- life ---- */
KH_MUST_USE enum kh_status kh_ice_agent_new(struct kh_ice_agent **out,
                                            const struct kh_ice_config *config);
void kh_ice_agent_free(struct kh_ice_agent *agent); /* NULL is allowed */

/* ---- inputs ---- */

/* The peer's credentials; checks may start.  The same ones again change nothing; other ones are the
 * peer's restart: pairs start over while the selected path keeps carrying data (RFC 8445 9). */
void kh_ice_agent_set_remote(struct kh_ice_agent *agent, kh_time now,
                             const struct kh_ice_credentials *remote);

/* Our own restart.  local may be NULL to keep our credentials: between Knothole members a restart
 * without new ones means "check all pairs again". */
void kh_ice_agent_restart(struct kh_ice_agent *agent, kh_time now,
                          const struct kh_ice_credentials *local);

/* Duplicates are KH_OK and change nothing; KH_ERR_FULL past KH_ICE_CANDIDATES_MAX, once nothing
 * that was only overheard or told before a restart can make room, and for a remote one if too many
 * were told lately; KH_ERR_FORMAT for an address that
 * can be nobody's: without port, unspecified, multicast, or of another family than its base; and
 * for TCP with which nothing can be done. */
KH_MUST_USE enum kh_status kh_ice_agent_add_local(struct kh_ice_agent *agent, kh_time now,
                                                  const struct kh_ice_candidate *candidate);
KH_MUST_USE enum kh_status kh_ice_agent_add_remote(struct kh_ice_agent *agent, kh_time now,
                                                   const struct kh_ice_candidate *candidate);
/* An interface went away: its candidates and pairs end, the selected path too if it used it. */
void kh_ice_agent_remove_local(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *base);
/* What was sent along the selected path is not acknowledged: asks now whether it still works, and
 * looks for another one if no answer comes.  Often is harmless. */
void kh_ice_agent_doubt(struct kh_ice_agent *agent, kh_time now);
/* Our place in the network is new, or so it seems: what failed before and would be better than what
 * is selected is checked again, and the selected path stays meanwhile. */
void kh_ice_agent_reconsider(struct kh_ice_agent *agent, kh_time now);
/* The peer gave this address up, and somebody else may have it next. */
void kh_ice_agent_remove_remote(struct kh_ice_agent *agent, kh_time now,
                                const struct kh_addr *addr);
/* Sends one check that nobody waits for, from any port of ours to any place: it opens the way for
 * the peer's, or is answered by one, which then makes a pair (docs/protocol/punching.md).  False
 * before the peer's credentials are known, or with the outbox full: then nothing was sent. */
bool kh_ice_agent_probe(struct kh_ice_agent *agent, kh_time now, const struct kh_datagram *way);
/* From now on the peer's authentic checks may arrive at other ports of this address of ours: the
 * port becomes a base, paired only with where that check came from.  NULL: no more; such bases are
 * forgotten, but for that of the selected pair. */
void kh_ice_agent_set_spare(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *base);

/* Returns false if the datagram is not STUN for this agent: offer it to the next owner.  A request
 * is ours if its USERNAME is "local:remote" of our fragments; an answer if we wait for its id.
 * True says nothing about its validity, only that no one else should see it. */
bool kh_ice_agent_handle_datagram(struct kh_ice_agent *agent, kh_time now,
                                  const struct kh_datagram *datagram);

/* The TCP connection of these two addresses ended, or could not be made. */
void kh_ice_agent_handle_lost(struct kh_ice_agent *agent, kh_time now, const struct kh_addr *local,
                              const struct kh_addr *remote);

/* Harmless when early: only what is due at `now` happens. */
void kh_ice_agent_handle_timeout(struct kh_ice_agent *agent, kh_time now);

/* ---- outputs ---- */
/* out->data stays valid until the next call that is not const. */
bool kh_ice_agent_next_transmit(struct kh_ice_agent *agent, struct kh_datagram *out);
bool kh_ice_agent_next_event(struct kh_ice_agent *agent, struct kh_ice_event *out);
kh_time kh_ice_agent_timeout(const struct kh_ice_agent *agent); /* KH_NEVER: nothing scheduled */

/* ---- looking in ---- */
enum kh_ice_state kh_ice_agent_state(const struct kh_ice_agent *agent);
/* True while the selected path leaves our checks unanswered: another one is looked for. */
bool kh_ice_agent_is_suspect(const struct kh_ice_agent *agent);
/* True if a datagram that came from `remote` to `local` travelled a pair that a check validated:
 * only then may what it carries be taken for the peer's. */
bool kh_ice_agent_is_valid(const struct kh_ice_agent *agent, const struct kh_addr *local,
                           const struct kh_addr *remote);
/* True if the peer lately answered a check that was sent to this IP address, at any port. */
bool kh_ice_agent_is_at(const struct kh_ice_agent *agent, const struct kh_addr *ip);
/* A number that each agent of the peer draws anew (its tie-breaker), from its latest authentic
 * check; 0 before the first.  Another one later means that the peer began anew, with an agent that
 * knows nothing of what was before; numbers seen earlier do not come again. */
uint64_t kh_ice_agent_remote_instance(const struct kh_ice_agent *agent);
struct kh_ice_stats kh_ice_agent_stats(const struct kh_ice_agent *agent);

/* ---- values ---- */
/* Fills fresh credentials: 8 and 24 characters (RFC 8445 5.3 asks for 24 and 128 bits at least). */
void kh_ice_credentials_make(struct kh_ice_credentials *out, struct kh_rng *rng);
bool kh_ice_credentials_are_valid(const struct kh_ice_credentials *credentials);
const char *kh_ice_kind_name(enum kh_ice_kind kind); /* "host" "srflx" "prflx" "relay" "mapped" */
const char *kh_ice_state_name(enum kh_ice_state state);

#endif
