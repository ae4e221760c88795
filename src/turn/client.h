/* turn/client.h - what the files of this folder know of one client.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TURN_CLIENT_H
#define KH_TURN_CLIENT_H

#include "base/ring.h"
#include "turn/turn.h"

#define KH_TURN_EVENTS_MAX 4 /* one input makes at most two */
#define KH_TURN_WRAPPED_MAX (KH_TURN_PAYLOAD_MAX + KH_TURN_OVERHEAD_MAX)
#define KH_TURN_LIST_MAX (4 * KH_TURN_ALGORITHMS_MAX)

#define KH_TURN_PERMISSION_REFRESH KH_SECONDS(240) /* RFC 8656 9: it lives 5 minutes */
#define KH_TURN_CHANNEL_REFRESH KH_SECONDS(540)
#define KH_TURN_CHANNEL_LIFETIME KH_SECONDS(600) /* RFC 8656 12 */
/* RFC 8656 12: 5 minutes after a binding expired neither number nor peer may be bound anew. */
#define KH_TURN_CHANNEL_HELD KH_SECONDS(900)

/* What a request proves itself with; the answer has to use the same. */
enum kh_turn_proof { KH_TURN_PROOF_NONE, KH_TURN_PROOF_SHA1, KH_TURN_PROOF_SHA256 };

/* One request and its repetitions.  It is written anew each time, with the same id: a nonce that
 * another answer brought meanwhile serves it too. */
struct kh_turn_ask {
    uint8_t id[KH_STUN_ID_LEN];
    bool active;
    bool due; /* waits in next_transmit */
    enum kh_turn_proof proof;
    unsigned attempts;   /* with those that are due */
    unsigned challenges; /* answered for this request */
    kh_time next_at;     /* of the next attempt, or of giving up */
};

struct kh_turn_text {
    uint8_t bytes[KH_TURN_USERNAME_MAX];
    size_t len;
};

struct kh_turn_auth {
    struct kh_turn_text username;
    struct kh_turn_text password;
    struct kh_turn_text realm;
    struct kh_turn_text nonce;      /* empty: the server has not told */
    uint8_t list[KH_TURN_LIST_MAX]; /* PASSWORD-ALGORITHMS, to be sent back as it came */
    size_t list_len;
    uint16_t algorithm; /* KH_STUN_ALGORITHM_*; 0: none was offered, which means MD5 */
    uint8_t key[KH_SHA256_LEN];
    size_t key_len;
    bool require_sha256;
    bool challenged; /* a 401 was answered: one more is final */
};

enum kh_turn_permission_state {
    KH_TURN_PERMISSION_ASKED,
    KH_TURN_PERMISSION_GRANTED,
    KH_TURN_PERMISSION_REFUSED, /* until refresh_at */
};

struct kh_turn_permission {
    struct kh_addr ip;   /* port 0; KH_FAMILY_NONE: this slot is free */
    struct kh_addr peer; /* there, to whom we last sent: see permission.c */
    enum kh_turn_permission_state state;
    struct kh_turn_ask ask;
    kh_time used_at; /* we last sent to that IP */
    kh_time refresh_at;
};

enum kh_turn_channel_state {
    KH_TURN_CHANNEL_UNBOUND,
    KH_TURN_CHANNEL_BOUND,
    KH_TURN_CHANNEL_REFUSED, /* Send indications do as well */
};

struct kh_turn_channel {
    struct kh_addr peer; /* KH_FAMILY_NONE: this slot is free */
    uint16_t number;     /* 0: never asked for */
    enum kh_turn_channel_state state;
    struct kh_turn_ask ask;
    kh_time used_at;
    kh_time refresh_at;
    kh_time expires_at;
    kh_time held_until; /* the slot belongs to this peer and number until here */
};

#define KH_TURN_TICKET_MAX 255 /* RFC 8016 sets no limit; a request with one fits a datagram */

struct kh_turn_client {
    struct kh_turn_config config;
    struct kh_rng rng;
    enum kh_turn_state state;
    struct kh_addr server;
    struct kh_addr local;
    enum kh_turn_families families;
    struct kh_turn_auth auth;

    struct kh_turn_ask ask; /* Allocate or Refresh, as the state says */
    bool clearing;          /* while ALLOCATING: taking away an allocation that is in the way */
    bool cleared;           /* that was tried */
    struct kh_addr relayed4;
    struct kh_addr relayed6;
    kh_time refresh_at;
    kh_time expires_at;
    kh_time keepalive_at;
    bool keepalive_due;
    bool mobile; /* a ticket is asked for */
    bool moving; /* the Refresh brings it, since we are elsewhere */
    uint8_t ticket[KH_TURN_TICKET_MAX];
    size_t ticket_len; /* 0: none */

    struct kh_turn_permission permissions[KH_TURN_PERMISSIONS_MAX];
    struct kh_turn_channel channels[KH_TURN_CHANNELS_MAX];
    uint16_t channel_next; /* the number the next new channel tries */

    struct kh_turn_event events[KH_TURN_EVENTS_MAX];
    struct kh_ring event_ring;
    uint8_t out[KH_DATAGRAM_MAX]; /* the request that next_transmit gave last */
    uint8_t wrapped[KH_TURN_WRAPPED_MAX];
    size_t wrapped_len; /* 0: none waits */
    uint8_t received[KH_TURN_PAYLOAD_MAX];
    size_t received_len;
    struct kh_addr received_from;
    bool has_received;
    struct kh_turn_stats stats;
};

/* ---- client.c ---- */

/* Adds an event to be filled in. */
struct kh_turn_event *kh_turn_client_tell(struct kh_turn_client *client,
                                          enum kh_turn_event_kind kind);
void kh_turn_client_enter(struct kh_turn_client *client, enum kh_turn_state state);

/* Our relayed address of the peer's family, which may be KH_FAMILY_NONE. */
const struct kh_addr *kh_turn_client_relayed_for(const struct kh_turn_client *client,
                                                 const struct kh_addr *peer);

/* ---- ask.c ---- */

void kh_turn_ask_start(struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask);
/* The same request under a new id, after a challenge. */
void kh_turn_ask_retry(struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask);
/* A server that was silent for a while may be back: begins to repeat the request from the start. */
void kh_turn_ask_hurry(const struct kh_turn_client *client, kh_time now, struct kh_turn_ask *ask);
void kh_turn_ask_end(struct kh_turn_ask *ask);
/* True, once, if nobody answered and it has ended. */
bool kh_turn_ask_handle_timeout(struct kh_turn_client *client, kh_time now,
                                struct kh_turn_ask *ask);
kh_time kh_turn_ask_timeout(const struct kh_turn_ask *ask);
bool kh_turn_ask_matches(const struct kh_turn_ask *ask, const struct kh_stun_message *message);

/* Begins the request if it is due, and takes it off. */
bool kh_turn_ask_begin(struct kh_turn_client *client, struct kh_turn_ask *ask, uint16_t method,
                       struct kh_stun_writer *writer);
/* Proves who we are and gives the finished request. */
void kh_turn_ask_finish(struct kh_turn_client *client, struct kh_turn_ask *ask,
                        struct kh_stun_writer *writer, struct kh_datagram *out);

/* What an answer to an ask amounts to. */
enum kh_turn_verdict {
    KH_TURN_DROPPED, /* as if it had not come */
    KH_TURN_RETRIED, /* the ask goes on under another id */
    KH_TURN_SUCCESS, /* the ask has ended */
    KH_TURN_ERROR,   /* the ask has ended */
};

/* Judges the answer, and ends or retries the ask accordingly; code is that of an error. */
enum kh_turn_verdict kh_turn_ask_judge(struct kh_turn_client *client, kh_time now,
                                       struct kh_turn_ask *ask,
                                       const struct kh_stun_message *message, unsigned *code);

/* ---- auth.c ---- */

enum kh_status kh_turn_auth_init(struct kh_turn_auth *auth, const struct kh_turn_request *request);
void kh_turn_auth_fini(struct kh_turn_auth *auth);
/* Adds credentials and integrity if the server told a nonce. */
enum kh_turn_proof kh_turn_auth_sign(const struct kh_turn_auth *auth,
                                     struct kh_stun_writer *writer);
bool kh_turn_auth_check(const struct kh_turn_auth *auth, enum kh_turn_proof proof,
                        const struct kh_stun_message *message);
/* Takes realm, nonce and algorithms of a 401 or 438; KH_ERR_FORMAT or KH_ERR_AUTH (a downgrade),
 * and nothing changed, if they must not be used. */
enum kh_status kh_turn_auth_challenge(struct kh_turn_auth *auth,
                                      const struct kh_stun_message *message);
/* Takes the nonce that an authentic answer may bring along. */
void kh_turn_auth_next_nonce(struct kh_turn_auth *auth, const struct kh_stun_message *message);

/* ---- allocation.c ---- */

/* Enters IDLE, and nothing is known any more. */
void kh_turn_allocation_forget(struct kh_turn_client *client);
void kh_turn_allocation_take(struct kh_turn_client *client, kh_time now,
                             const struct kh_stun_message *message);
void kh_turn_allocation_handle_timeout(struct kh_turn_client *client, kh_time now);
bool kh_turn_allocation_next_transmit(struct kh_turn_client *client, struct kh_datagram *out);
kh_time kh_turn_allocation_timeout(const struct kh_turn_client *client);
/* Brings the ticket by a Refresh; false if there is none. */
bool kh_turn_allocation_move(struct kh_turn_client *client, kh_time now);
/* A request was refused because the server knows no allocation of ours where we are: it moves, and
 * what was asked can be asked again in a moment; or, false, it is LOST. */
bool kh_turn_allocation_missed(struct kh_turn_client *client, kh_time now, unsigned code);
#define KH_TURN_MOVE_TIME KH_MILLISECONDS(500)
/* Ends the allocation with this event. */
struct kh_turn_event *kh_turn_allocation_end(struct kh_turn_client *client,
                                             enum kh_turn_event_kind kind);
/* Does this error to any request mean that there is no allocation (any more)? */
bool kh_turn_allocation_is_gone(unsigned code);

/* ---- permission.c ---- */

struct kh_turn_permission *kh_turn_permission_find(struct kh_turn_client *client,
                                                   const struct kh_addr *peer);
/* Finds or makes the permission because we send there; NULL if there is no room. */
struct kh_turn_permission *kh_turn_permission_use(struct kh_turn_client *client, kh_time now,
                                                  const struct kh_addr *peer);
/* RFC 8656 12.2: binding a channel installs or refreshes the permission as well. */
void kh_turn_permission_refreshed(struct kh_turn_client *client, kh_time now,
                                  const struct kh_addr *peer);
/* True if the message answers a request of this kind. */
bool kh_turn_permission_take(struct kh_turn_client *client, kh_time now,
                             const struct kh_stun_message *message);
void kh_turn_permission_handle_timeout(struct kh_turn_client *client, kh_time now);
bool kh_turn_permission_next_transmit(struct kh_turn_client *client, struct kh_datagram *out);
kh_time kh_turn_permission_timeout(const struct kh_turn_client *client);

/* ---- channel.c ---- */

struct kh_turn_channel *kh_turn_channel_find(struct kh_turn_client *client,
                                             const struct kh_addr *peer);
/* The channel of that number, if it may still be bound. */
struct kh_turn_channel *kh_turn_channel_of_number(struct kh_turn_client *client, kh_time now,
                                                  uint16_t number);
/* Finds or makes the channel because we send there; NULL if there is no room. */
struct kh_turn_channel *kh_turn_channel_use(struct kh_turn_client *client, kh_time now,
                                            const struct kh_addr *peer);
/* The peer answers, so the channel is worth its binding. */
void kh_turn_channel_heard(struct kh_turn_client *client, kh_time now, const struct kh_addr *peer);
bool kh_turn_channel_take(struct kh_turn_client *client, kh_time now,
                          const struct kh_stun_message *message);
void kh_turn_channel_handle_timeout(struct kh_turn_client *client, kh_time now);
bool kh_turn_channel_next_transmit(struct kh_turn_client *client, struct kh_datagram *out);
kh_time kh_turn_channel_timeout(const struct kh_turn_client *client);

/* ---- wrap.c ---- */

/* Writes ChannelData or a Send indication into client->wrapped. */
void kh_turn_wrap(struct kh_turn_client *client, const struct kh_turn_channel *channel,
                  const struct kh_datagram *datagram);
void kh_turn_unwrap_channel_data(struct kh_turn_client *client, kh_time now,
                                 const struct kh_datagram *datagram);
void kh_turn_unwrap_indication(struct kh_turn_client *client, kh_time now,
                               const struct kh_stun_message *message);

#endif
