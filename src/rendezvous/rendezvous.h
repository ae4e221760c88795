/* rendezvous/rendezvous.h - how members of a room find each other through a server.
 *
 * SPDX-License-Identifier: MIT
 *
 * Two machines that speak docs/protocol/rendezvous.md to each other: the client, one per member and
 * server, and the registry, the server's memory of who is in which room.  Both are pure.
 */
#ifndef KH_RENDEZVOUS_RENDEZVOUS_H
#define KH_RENDEZVOUS_RENDEZVOUS_H

#include "base/datagram.h"
#include "base/log.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "stun/stun.h"

#define KH_RENDEZVOUS_ROOM_LEN KH_KEY_LEN /* a room's name is its Ed25519 public key */
#define KH_RENDEZVOUS_MEMBER_LEN 16       /* random, new for every stay */
#define KH_RENDEZVOUS_CARD_MAX 800        /* sealed; one push with one card fits one datagram */
#define KH_RENDEZVOUS_SIGNAL_MAX 960      /* sealed; fits one datagram with all its framing */
#define KH_RENDEZVOUS_NONCE_MAX 64
#define KH_RENDEZVOUS_SERVERS_MAX 12 /* of one server: two families, two each, UDP, TCP, TLS */
#define KH_RENDEZVOUS_MEMBERS_MAX 64 /* of one room */

struct kh_rendezvous_member_id {
    uint8_t bytes[KH_RENDEZVOUS_MEMBER_LEN];
};

#define KH_RENDEZVOUS_REALM_MAX 127

/* Long-term credentials at the relay of the same server, as long as the session lasts; both sides
 * derive them from its key (docs/protocol/rendezvous.md). */
struct kh_rendezvous_credentials {
    char username[2 * KH_RENDEZVOUS_MEMBER_LEN + 1]; /* the member id in hexadecimal digits */
    char password[33];
};

#define KH_RENDEZVOUS_RELAY_TEXT_MAX 127 /* of a username or password at another relay */

/* Another relay that a server sends its members to, and who a member is there. */
struct kh_rendezvous_turn {
    struct kh_addr servers[2]; /* one of each family, or one; both none: there is no such relay */
    char username[KH_RENDEZVOUS_RELAY_TEXT_MAX + 1];
    char password[KH_RENDEZVOUS_RELAY_TEXT_MAX + 1];
    uint32_t lifetime; /* seconds that these are good for a new allocation */
};

/* What a member may use of a relay. */
struct kh_rendezvous_relay {
    struct kh_addr servers[2]; /* as above; both none: where we joined, along the same way */
    char username[KH_RENDEZVOUS_RELAY_TEXT_MAX + 1];
    char password[KH_RENDEZVOUS_RELAY_TEXT_MAX + 1];
    char realm[KH_RENDEZVOUS_REALM_MAX + 1]; /* empty: the relay will tell */
    uint8_t nonce[KH_RENDEZVOUS_NONCE_MAX];  /* good for a first request, for a while */
    size_t nonce_len;                        /* 0: the relay will tell */
};

/* ERROR-CODE values of the rendezvous methods. */
enum kh_rendezvous_error {
    KH_RENDEZVOUS_ERROR_MALFORMED = 400,
    KH_RENDEZVOUS_ERROR_NONCE_MISSING = 401, /* ask again with the NONCE of this answer */
    KH_RENDEZVOUS_ERROR_SIGNATURE = 403,     /* not signed with the room's key */
    KH_RENDEZVOUS_ERROR_NO_TARGET = 404,     /* the signal's member is not in the room */
    KH_RENDEZVOUS_ERROR_CONFLICT = 409,      /* the member id is present with another key */
    KH_RENDEZVOUS_ERROR_KEY_USED = 410,      /* this stay is over: join with a new key */
    KH_RENDEZVOUS_ERROR_UNKNOWN_ATTRIBUTE = 420,
    KH_RENDEZVOUS_ERROR_NONCE_STALE = 438, /* as 401 */
    KH_RENDEZVOUS_ERROR_NO_SESSION = 481,  /* join again */
    KH_RENDEZVOUS_ERROR_ROOM_FULL = 486,
    KH_RENDEZVOUS_ERROR_SERVER_FULL = 508,
};

/* What is worth remembering between runs: saves the first round trip of the next join. */
struct kh_rendezvous_ticket {
    struct kh_addr server; /* KH_FAMILY_NONE: no ticket */
    uint8_t nonce[KH_RENDEZVOUS_NONCE_MAX];
    size_t nonce_len;
};

/* Who joins here is told of another place of this server, to find out what its NAT does with the
 * same socket (discovery.md).  An unspecified ip of `at` stands for all of ours, of `other` for the
 * same one. */
struct kh_rendezvous_alternate {
    struct kh_addr at;
    struct kh_addr other;
};

/* ================================ client ================================ */

struct kh_rendezvous_client;

enum kh_rendezvous_client_state {
    KH_RENDEZVOUS_JOINING, /* asking all addresses of the server, again and again, ever slower */
    KH_RENDEZVOUS_JOINED,
    KH_RENDEZVOUS_LEAVING, /* the goodbye is on its way */
    KH_RENDEZVOUS_LEFT,
};

struct kh_rendezvous_client_config {
    /* Raced; the first answer decides.  TCP gets no start before UDP had time to answer, nor TLS
     * before TCP had, and the better one is preferred though it answers later.  One that falls
     * silent is followed by the next. */
    struct kh_addr servers[KH_RENDEZVOUS_SERVERS_MAX];
    size_t server_count;
    struct kh_secret room_seed; /* of the room's Ed25519 key pair */
    struct kh_rendezvous_member_id member;
    struct kh_rendezvous_ticket ticket;
    /* Join only a server that tells the others no address of ours; another one refuses with 420. */
    bool hidden;
    uint8_t seed[32];
    kh_duration refresh;     /* between updates while all is well; 0: 20 s, under NATs' 30 s */
    kh_duration unreachable; /* report UNREACHABLE after this long without an answer; 0: 3 s */
    struct kh_log log;
};

enum kh_rendezvous_client_event_kind {
    KH_RENDEZVOUS_EVENT_JOINED, /* mapped, local, server, other, ticket; also after a rejoin */
    KH_RENDEZVOUS_EVENT_MAPPED, /* our public address changed: mapped, local */
    KH_RENDEZVOUS_EVENT_MEMBER, /* id, public, card: new, changed in any of these, or is_back */
    KH_RENDEZVOUS_EVENT_GONE,   /* id: left, or its lifetime ended */
    KH_RENDEZVOUS_EVENT_SIGNAL, /* id of the sender, data: a sealed signal for us */
    KH_RENDEZVOUS_EVENT_SIGNAL_LOST, /* token: the server took it not or did not answer */
    KH_RENDEZVOUS_EVENT_UNREACHABLE, /* once per silence; the client keeps trying */
    KH_RENDEZVOUS_EVENT_REFUSED,     /* code: the server said no for good; see error codes */
    KH_RENDEZVOUS_EVENT_LEFT,        /* the goodbye was heard or given up */
};

struct kh_rendezvous_client_event {
    enum kh_rendezvous_client_event_kind kind;
    struct kh_rendezvous_member_id id;
    struct kh_addr public; /* MEMBER: where the server sees this member; none if not by UDP */
    struct kh_addr mapped; /* where the server sees us, by the transport we use */
    struct kh_addr local;  /* the local address its answer arrived at */
    struct kh_addr server;
    struct kh_addr other; /* JOINED: another place of this server (discovery.md); none: not told */
    struct kh_rendezvous_ticket ticket;
    bool is_back; /* MEMBER: known from our session before, and the server of this one has it too */
    const uint8_t *data; /* card or signal; valid until the next input */
    size_t len;
    unsigned code;
    uint64_t token;
};

struct kh_rendezvous_client_stats {
    uint64_t joins_sent;
    uint64_t updates_sent;
    uint64_t signals_sent;
    uint64_t pushes_received;
    uint64_t dropped_malformed;
    uint64_t dropped_unauthentic;
    uint64_t dropped_replayed;
    uint64_t dropped_outbox_full;
};

KH_MUST_USE enum kh_status
kh_rendezvous_client_new(struct kh_rendezvous_client **out,
                         const struct kh_rendezvous_client_config *config);
void kh_rendezvous_client_free(struct kh_rendezvous_client *client);

/* Starts to join with this sealed card (copied).  `early`, which may be empty, is one sealed signal
 * to all members that travels in the joining flight itself. */
void kh_rendezvous_client_join(struct kh_rendezvous_client *client, kh_time now,
                               struct kh_span card, struct kh_span early);
/* Replaces the card that others see. */
void kh_rendezvous_client_set_card(struct kh_rendezvous_client *client, kh_time now,
                                   struct kh_span card);
/* Sends a sealed signal to one member, or to all if `to` is NULL.  KH_ERR_FULL while too many are
 * under way (before JOINED they wait).  token comes back in SIGNAL_LOST. */
KH_MUST_USE enum kh_status kh_rendezvous_client_signal(struct kh_rendezvous_client *client,
                                                       kh_time now,
                                                       const struct kh_rendezvous_member_id *to,
                                                       struct kh_span sealed, uint64_t token);
/* The network changed or may have: ask the server now where it sees us. */
void kh_rendezvous_client_probe(struct kh_rendezvous_client *client, kh_time now);
/* What went through the server was not acknowledged: asks it now, unless that is under way, and its
 * other addresses sooner than after ordinary silence. */
void kh_rendezvous_client_doubt(struct kh_rendezvous_client *client, kh_time now);
/* While somebody depends on the server: it is asked every 1.5 s whether it still knows us, and a
 * silent one is tried each second for as long as it takes. */
void kh_rendezvous_client_set_attentive(struct kh_rendezvous_client *client, kh_time now,
                                        bool attentive);
void kh_rendezvous_client_leave(struct kh_rendezvous_client *client, kh_time now);

bool kh_rendezvous_client_handle_datagram(struct kh_rendezvous_client *client, kh_time now,
                                          const struct kh_datagram *datagram);
void kh_rendezvous_client_handle_timeout(struct kh_rendezvous_client *client, kh_time now);
bool kh_rendezvous_client_next_transmit(struct kh_rendezvous_client *client,
                                        struct kh_datagram *out);
bool kh_rendezvous_client_next_event(struct kh_rendezvous_client *client,
                                     struct kh_rendezvous_client_event *out);
kh_time kh_rendezvous_client_timeout(const struct kh_rendezvous_client *client);

/* Gives the n-th relay we may use, the preferred one first; false past the last one, and if we are
 * not joined. */
KH_MUST_USE bool kh_rendezvous_client_relay(const struct kh_rendezvous_client *client, size_t n,
                                            struct kh_rendezvous_relay *out);

enum kh_rendezvous_client_state
kh_rendezvous_client_state(const struct kh_rendezvous_client *client);
struct kh_rendezvous_client_stats
kh_rendezvous_client_stats(const struct kh_rendezvous_client *client);

/* ================================ registry ================================ */

struct kh_rendezvous_registry;

#define KH_RENDEZVOUS_ALTERNATES_MAX 8 /* two families, two addresses, two ports */

/* Zero means the default. */
struct kh_rendezvous_registry_config {
    uint8_t seed[32];
    size_t members_max;         /* in all rooms; 200,000 */
    size_t room_members_max;    /* KH_RENDEZVOUS_MEMBERS_MAX at most, and by default */
    kh_duration lifetime;       /* a silent member is gone after this; 60 s */
    kh_duration nonce_lifetime; /* 1 h */
    const char *realm;          /* of the relay at the same address; NULL: there is none */
    struct kh_rendezvous_alternate alternates[KH_RENDEZVOUS_ALTERNATES_MAX];
    size_t alternate_count;
    unsigned signals_per_second; /* of one member, with a burst of four times as many; 32 */
    struct kh_log log;
};

struct kh_rendezvous_registry_stats {
    size_t members;
    size_t rooms;
    uint64_t joins;
    uint64_t challenges; /* joins answered with a nonce */
    uint64_t updates;
    uint64_t leaves;
    uint64_t expiries;
    uint64_t signals_forwarded;
    uint64_t pushes_sent;
    uint64_t dropped_malformed;
    uint64_t dropped_unauthentic;
    uint64_t dropped_replayed;
    uint64_t dropped_limited;
    uint64_t dropped_outbox_full;
};

KH_MUST_USE enum kh_status
kh_rendezvous_registry_new(struct kh_rendezvous_registry **out,
                           const struct kh_rendezvous_registry_config *config);
void kh_rendezvous_registry_free(struct kh_rendezvous_registry *registry);

/* Takes a STUN message of one of the rendezvous methods; false if it is of another method. */
bool kh_rendezvous_registry_handle_message(struct kh_rendezvous_registry *registry, kh_time now,
                                           const struct kh_datagram *datagram,
                                           const struct kh_stun_message *message);
void kh_rendezvous_registry_handle_timeout(struct kh_rendezvous_registry *registry, kh_time now);
bool kh_rendezvous_registry_next_transmit(struct kh_rendezvous_registry *registry,
                                          struct kh_datagram *out);
/* What the next message is answered about relays, if it is an admitted join, or asks for that. */
struct kh_rendezvous_offer {
    struct kh_span nonce;                  /* for the relay of config.realm; empty: it will tell */
    const struct kh_rendezvous_turn *turn; /* NULL: no other relay */
};
void kh_rendezvous_registry_offer(struct kh_rendezvous_registry *registry,
                                  const struct kh_rendezvous_offer *offer);
/* Does the next message want an offer?  If so, *out is who asks. */
KH_MUST_USE bool kh_rendezvous_wants_offer(const struct kh_stun_message *message,
                                           struct kh_rendezvous_member_id *out);
/* Gives the credentials of the member with this relay username; false if it is not present. */
KH_MUST_USE bool kh_rendezvous_registry_relay(const struct kh_rendezvous_registry *registry,
                                              struct kh_span username,
                                              struct kh_rendezvous_credentials *out);
kh_time kh_rendezvous_registry_timeout(const struct kh_rendezvous_registry *registry);
struct kh_rendezvous_registry_stats
kh_rendezvous_registry_stats(const struct kh_rendezvous_registry *registry);

bool kh_rendezvous_member_equal(const struct kh_rendezvous_member_id *a,
                                const struct kh_rendezvous_member_id *b);

#endif
