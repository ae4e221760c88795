/* rendezvous/client_state.h - what the files of the client share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RENDEZVOUS_CLIENT_STATE_H
#define KH_RENDEZVOUS_CLIENT_STATE_H

#include "base/ring.h"
#include "rendezvous/wire.h"

#define KH_RENDEZVOUS_SIGNALS_MAX 64 /* under way: one for each member of a full room */
/* One input yields at most: two events for each of the 33 changes a push can hold, a GONE for each
 * member of a full room, a SIGNAL_LOST for each signal, and a few about ourselves. */
#define KH_RENDEZVOUS_EVENTS_MAX 256

/* One request under way.  Its datagram is made anew each time it is due. */
struct kh_rendezvous_ask {
    bool active;
    bool due; /* waits in next_transmit */
    uint8_t id[KH_STUN_ID_LEN];
    unsigned attempts;
    kh_time next_at; /* of the next attempt */
};

/* How patient an ask is: attempts double from rto up to rto_max. */
struct kh_rendezvous_patience {
    kh_duration rto;
    kh_duration rto_max;
};

/* ---- joining: several addresses of the server are asked, the first to answer is joined ---- */

struct kh_rendezvous_target {
    struct kh_addr server;
    struct kh_rendezvous_ask ask;
    bool joining; /* asked to join with a nonce: its answer may make a session */
    uint8_t nonce[KH_RENDEZVOUS_NONCE_MAX];
    size_t nonce_len; /* 0: ask for one first */
    unsigned challenges;
};

#define KH_RENDEZVOUS_NOBODY SIZE_MAX

struct kh_rendezvous_race {
    bool active;
    struct kh_secret private_key; /* X25519, new for every stay */
    uint8_t public_key[KH_KEY_LEN];
    struct kh_rendezvous_target targets[KH_RENDEZVOUS_SERVERS_MAX];
    size_t elected;   /* answered first, the others pause; or KH_RENDEZVOUS_NOBODY */
    unsigned spread;  /* targets that were asked to join */
    unsigned refusal; /* 0, or what a target answered; believed at refuse_at */
    kh_time refuse_at;
    uint64_t card_revision; /* of `card` */
    uint8_t card[KH_RENDEZVOUS_CARD_MAX];
    size_t card_len; /* 0: not frozen yet */
};

/* ---- a session by TCP or TLS looks for a better way ---- */

struct kh_rendezvous_knock {
    bool due; /* waits in next_transmit */
    bool is_open;
    uint8_t id[KH_STUN_ID_LEN];
    size_t server_at; /* whom we ask */
    kh_time next_at;  /* KH_NEVER: we have UDP, or no session */
    kh_duration wait; /* until the one after that */
};

/* ---- the session ---- */

struct kh_rendezvous_session {
    bool active;
    struct kh_rendezvous_keys keys;
    struct kh_addr server;
    size_t server_at; /* its index in config.servers */
    struct kh_addr mapped;
    struct kh_addr other; /* another place of the server; none: it told of none */
    char realm[KH_RENDEZVOUS_REALM_MAX + 1]; /* of the server's relay; empty: none */
    uint8_t relay_nonce[KH_RENDEZVOUS_NONCE_MAX];
    size_t relay_nonce_len;
    struct kh_rendezvous_turn turn; /* another relay; no server: none … */
    kh_time turn_renew_at;          /* … whose credentials are asked for again then, */
    bool turn_due;                  /* which the update under way does */
    struct kh_addr local;
    uint64_t send_sequence;
    struct kh_rendezvous_window window;
    uint64_t version; /* of the room: we know all changes up to here */
    uint8_t nonce[KH_RENDEZVOUS_NONCE_MAX];
    size_t nonce_len;
    kh_duration refresh;
};

/* A push that arrived before what it builds on: all changes after base and not after version. */
struct kh_rendezvous_range {
    uint64_t base;
    uint64_t version;
};

#define KH_RENDEZVOUS_RANGES_MAX 16 /* as many pushes as the server has under way */
/* Besides those present, departures that may have overtaken what came before them. */
#define KH_RENDEZVOUS_KNOWN_MAX (2 * KH_RENDEZVOUS_MEMBERS_MAX)

struct kh_rendezvous_known {
    bool used;
    bool gone;        /* kept until all before its version is known */
    uint64_t version; /* of the room, at the change that told us this */
    struct kh_rendezvous_member_id id;
    struct kh_addr public;
    uint8_t card[KH_RENDEZVOUS_CARD_MAX];
    size_t card_len;
    kh_time stale_until; /* from a session that is over: gone if not confirmed by then */
};

/* A datagram that overtook the answer to our join: without the session's keys it says nothing. */
struct kh_rendezvous_held {
    struct kh_addr from;
    struct kh_addr to;
    uint8_t data[KH_DATAGRAM_MAX];
    size_t len;
};

#define KH_RENDEZVOUS_HELD_MAX 8 /* what a small room sends with the answer */

struct kh_rendezvous_outgoing {
    struct kh_rendezvous_ask ask; /* inactive: not sent in this session yet */
    bool used;
    uint64_t order; /* they leave in this order */
    uint64_t token;
    uint64_t sequence;
    bool has_target;
    struct kh_rendezvous_member_id target;
    uint8_t sealed[KH_RENDEZVOUS_SIGNAL_MAX];
    size_t len;
};

struct kh_rendezvous_client {
    struct kh_rendezvous_client_config config; /* defaults filled in */
    enum kh_rendezvous_client_state state;
    uint8_t room[KH_RENDEZVOUS_ROOM_LEN];
    struct kh_rng rng;

    uint8_t card[KH_RENDEZVOUS_CARD_MAX];
    size_t card_len;
    uint64_t card_revision;  /* counts our cards … */
    uint64_t card_confirmed; /* … and the one the server has */
    uint8_t early[KH_RENDEZVOUS_SIGNAL_MAX];
    size_t early_len;
    bool early_sent; /* it travels in the join */

    struct kh_rendezvous_race race;
    struct kh_rendezvous_session session;
    struct kh_rendezvous_knock knock;
    struct kh_rendezvous_known known[KH_RENDEZVOUS_KNOWN_MAX];
    struct kh_rendezvous_range ranges[KH_RENDEZVOUS_RANGES_MAX];
    size_t range_count;
    struct kh_rendezvous_held held[KH_RENDEZVOUS_HELD_MAX];
    size_t held_count;

    struct kh_rendezvous_ask update;
    uint64_t update_revision; /* of the card the update carries */
    kh_time refresh_at;
    struct kh_rendezvous_ask leave;
    kh_time leave_until;
    struct kh_rendezvous_outgoing signals[KH_RENDEZVOUS_SIGNALS_MAX];
    uint64_t signal_order;

    bool ack_due; /* a push waits to be acknowledged */
    uint8_t ack_id[KH_STUN_ID_LEN];
    uint64_t ack_sequence;

    bool is_attentive;    /* somebody depends on the server */
    bool is_doubted;      /* our owner believes it silent; until it is heard */
    kh_time silent_since; /* first unanswered attempt; KH_NEVER: none */
    bool silence_told;

    struct kh_rendezvous_client_event events[KH_RENDEZVOUS_EVENTS_MAX];
    struct kh_ring event_ring;
    uint8_t received[KH_RENDEZVOUS_SIGNAL_MAX]; /* the signal of the newest event */
    uint8_t data[KH_DATAGRAM_MAX];              /* of the datagram fetched last */
    struct kh_rendezvous_client_stats stats;
};

/* One datagram from the server being handled. */
struct kh_rendezvous_input {
    kh_time now;
    const struct kh_datagram *datagram;
    const struct kh_stun_message *message;
    bool is_held; /* the bytes are ours and stay until the next input */
};

/* ---- client.c ---- */

void kh_rendezvous_client_enter(struct kh_rendezvous_client *client,
                                enum kh_rendezvous_client_state state);
struct kh_rendezvous_client_event *
kh_rendezvous_client_tell(struct kh_rendezvous_client *client,
                          enum kh_rendezvous_client_event_kind kind);
void kh_rendezvous_ask_start(struct kh_rendezvous_client *client, kh_time at,
                             struct kh_rendezvous_ask *ask);
void kh_rendezvous_ask_end(struct kh_rendezvous_ask *ask);
/* The next attempt comes no later than the longest wait there may be now. */
void kh_rendezvous_ask_hasten(struct kh_rendezvous_ask *ask, kh_time now);
/* True if an attempt is due now; it is counted and the next one is scheduled. */
bool kh_rendezvous_ask_handle_timeout(struct kh_rendezvous_client *client, kh_time now,
                                      struct kh_rendezvous_ask *ask,
                                      const struct kh_rendezvous_patience *patience);
bool kh_rendezvous_ask_matches(const struct kh_rendezvous_ask *ask,
                               const struct kh_stun_message *message);
/* The server answered: we are not alone. */
void kh_rendezvous_client_heard(struct kh_rendezvous_client *client);

/* Takes another relay, if the answer tells of one, in the place of the one known. */
void kh_rendezvous_session_take_turn(struct kh_rendezvous_session *session,
                                     const struct kh_rendezvous_input *input);

/* ---- client_join.c ---- */

/* With a nonce for one of the servers, if there is one. */
void kh_rendezvous_race_start(struct kh_rendezvous_client *client, kh_time now,
                              const struct kh_rendezvous_ticket *ticket);
/* Forgets all that joining needed, its key included. */
void kh_rendezvous_race_stop(struct kh_rendezvous_client *client);
void kh_rendezvous_race_handle_answer(struct kh_rendezvous_client *client,
                                      const struct kh_rendezvous_input *input);
void kh_rendezvous_race_handle_timeout(struct kh_rendezvous_client *client, kh_time now);
bool kh_rendezvous_race_next_transmit(struct kh_rendezvous_client *client, struct kh_datagram *out);
kh_time kh_rendezvous_race_timeout(const struct kh_rendezvous_client *client);

/* Writes the request that asks for a nonce only; returns its length. */
size_t kh_rendezvous_write_challenge_request(const uint8_t id[static KH_STUN_ID_LEN],
                                             uint8_t data[static KH_DATAGRAM_MAX]);

/* ---- client_knock.c ---- */

void kh_rendezvous_knock_handle_timeout(struct kh_rendezvous_client *client, kh_time now);
bool kh_rendezvous_knock_next_transmit(struct kh_rendezvous_client *client,
                                       struct kh_datagram *out);
/* True if it was the answer to a knock. */
bool kh_rendezvous_knock_handle_answer(struct kh_rendezvous_client *client,
                                       const struct kh_rendezvous_input *input);
kh_time kh_rendezvous_knock_timeout(const struct kh_rendezvous_client *client);

/* ---- client_session.c ---- */

void kh_rendezvous_session_begin(struct kh_rendezvous_client *client, kh_time now);
/* Takes what overtook the answer that began this session. */
void kh_rendezvous_session_release(struct kh_rendezvous_client *client, kh_time now);
void kh_rendezvous_session_update(struct kh_rendezvous_client *client, kh_time now);
/* The time between refreshes is another now. */
void kh_rendezvous_session_reschedule(struct kh_rendezvous_client *client, kh_time now);
void kh_rendezvous_session_handle_message(struct kh_rendezvous_client *client,
                                          const struct kh_rendezvous_input *input);
void kh_rendezvous_session_handle_timeout(struct kh_rendezvous_client *client, kh_time now);
bool kh_rendezvous_session_next_transmit(struct kh_rendezvous_client *client,
                                         struct kh_datagram *out);
kh_time kh_rendezvous_session_timeout(const struct kh_rendezvous_client *client);
/* Says goodbye. */
void kh_rendezvous_session_leave(struct kh_rendezvous_client *client, kh_time now);

/* ---- client_members.c ---- */

void kh_rendezvous_members_handle_push(struct kh_rendezvous_client *client,
                                       const struct kh_stun_message *message);
/* The end of the first gap in what we know, 0 if there is none. */
uint64_t kh_rendezvous_members_hole_end(const struct kh_rendezvous_client *client);
/* What was known from an old session must be confirmed until then. */
void kh_rendezvous_members_doubt(struct kh_rendezvous_client *client, kh_time until);
void kh_rendezvous_members_handle_timeout(struct kh_rendezvous_client *client, kh_time now);
kh_time kh_rendezvous_members_timeout(const struct kh_rendezvous_client *client);

#endif
