/* room/room.h - what the members of a room share: the link, cards, and signed logs of messages.
 *
 * SPDX-License-Identifier: MIT
 *
 * The room machine knows no network.  It is told which members are present and whether a channel
 * to each is open; it gives out frames for each of them, either plain for the channel or sealed for
 * a signal through the server, and takes in theirs.  docs/protocol/room.md has every byte.
 *
 * A message is an entry of its author's log: (author, log, sequence), time, text, signature.  It
 * is repeated to each member until that member acknowledges it, over whatever carries, and
 * duplicates are harmless, so it arrives once and in the author's order.
 */
#ifndef KH_ROOM_ROOM_H
#define KH_ROOM_ROOM_H

#include "base/text.h"
#include "base/addr.h"
#include "base/log.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "nat/nat.h"

/* ================================ the link ================================ */

#define KH_ROOM_SECRET_LEN 16
#define KH_ROOM_HOST_MAX 253 /* RFC 1035 2.3.4 as text */
#define KH_ROOM_LINK_MAX 320
#define KH_ROOM_PORT_DEFAULT 3478

struct kh_room_server {
    char host[KH_ROOM_HOST_MAX + 1]; /* a name, or an IP address without brackets */
    uint16_t port;
    bool tls; /* the server has a certificate: https */
};

struct kh_room_link {
    struct kh_room_server server;
    uint8_t secret[KH_ROOM_SECRET_LEN];
};

/* "host", "host:port", "[v6]:port", "http://host[:port][/]", "https://…".  Without a scheme the
 * port is KH_ROOM_PORT_DEFAULT, with one it is the scheme's. */
KH_MUST_USE enum kh_status kh_room_server_parse(const char *text, struct kh_room_server *out);
/* KH_ERR_FORMAT: not a link.  KH_ERR_AUTH: a link whose check value is wrong: mistyped or cut. */
KH_MUST_USE enum kh_status kh_room_link_parse(const char *text, struct kh_room_link *out);
char *kh_room_link_write(const struct kh_room_link *link, char text[static KH_ROOM_LINK_MAX]);

/* ================================ keys and ids ================================ */

#define KH_ROOM_MEMBER_LEN 16

struct kh_room_member_id {
    uint8_t bytes[KH_ROOM_MEMBER_LEN];
};

/* The seed of the room's Ed25519 key pair, whose public key is the room's name at the server. */
void kh_room_derive_seed(const uint8_t secret[static KH_ROOM_SECRET_LEN], struct kh_secret *out);

/* ================================ cards ================================ */

#define KH_ROOM_NAME_MAX 48 /* bytes of UTF-8 */
#define KH_ROOM_CANDIDATES_MAX 16
#define KH_ROOM_CARD_MAX 800 /* sealed */
#define KH_ROOM_SIGNAL_MAX 960
#define KH_ROOM_PUNCH_MAX 64

enum kh_room_candidate_kind {
    KH_ROOM_CANDIDATE_HOST,
    KH_ROOM_CANDIDATE_REFLEXIVE,
    KH_ROOM_CANDIDATE_RELAYED,
    KH_ROOM_CANDIDATE_MAPPED,
};

/* What a TCP candidate is good for (RFC 6544 4.5). */
enum kh_room_tcp {
    KH_ROOM_TCP_PASSIVE = 1,      /* connect to it */
    KH_ROOM_TCP_SIMULTANEOUS = 2, /* both connect at once */
};

struct kh_room_candidate {
    enum kh_room_candidate_kind kind;
    struct kh_addr addr;
    unsigned tcp; /* of enum kh_room_tcp; 0 for other transports */
};

/* What a member does not do, so that nobody tries in vain. */
#define KH_ROOM_ABILITY_DIRECT_ONLY 1u /* it talks through no relay, its own or another's */
#define KH_ROOM_ABILITY_RELAY_ONLY 2u  /* it tells no address of its own, and answers at none */

#define KH_ROOM_NAMED_MAX 4

/* A host candidate whose address is a name that only its link knows (RFC 6762). */
struct kh_room_named {
    char host[KH_TEXT_LOCAL_NAME_MAX + 1];
    enum kh_family family; /* of the address it stands for */
    uint16_t port;
};

/* All a member tells the others about how to reach it and who it is. */
struct kh_room_card {
    uint32_t revision;            /* grows; an older one never replaces a newer one */
    uint8_t identity[KH_KEY_LEN]; /* Ed25519 public key */
    char name[KH_ROOM_NAME_MAX + 1];
    uint8_t fingerprint[KH_SHA256_LEN]; /* of the DTLS certificate */
    char ufrag[33];
    char password[65];
    struct kh_room_candidate candidates[KH_ROOM_CANDIDATES_MAX];
    size_t candidate_count;
    struct kh_room_named named[KH_ROOM_NAMED_MAX];
    size_t named_count;
    struct kh_nat_class nat;
    uint32_t abilities; /* KH_ROOM_ABILITY_…; unknown bits are ignored */
};

/* ================================ the machine ================================ */

#define KH_ROOM_MEMBERS_MAX 64
#define KH_ROOM_TEXT_MAX 16384 /* bytes of one message */
#define KH_ROOM_LOG_MAX 4096   /* own entries kept for members that come later */
#define KH_ROOM_LOG_BYTES_MAX (8u << 20)

struct kh_room;

struct kh_room_config {
    uint8_t secret[KH_ROOM_SECRET_LEN];
    struct kh_secret identity; /* seed of our Ed25519 key */
    char name[KH_ROOM_NAME_MAX + 1];
    struct kh_room_member_id member; /* our id for this stay; also names our log of this stay */
    uint8_t seed[32];
    struct kh_log log;
};

enum kh_room_carrier { KH_ROOM_SIGNAL, KH_ROOM_CHANNEL };

struct kh_room_entry_id {
    uint8_t author[KH_KEY_LEN];
    struct kh_room_member_id log;
    uint64_t sequence; /* from 1 */
};

enum kh_room_event_kind {
    KH_ROOM_EVENT_MESSAGE,   /* entry, from, time_ms, text, via: a message, once, in order */
    KH_ROOM_EVENT_DELIVERED, /* entry, to: that member has this entry of ours */
    KH_ROOM_EVENT_PUNCH,     /* member, data: how it means to reach us; only the latest is kept */
};

struct kh_room_event {
    enum kh_room_event_kind kind;
    struct kh_room_entry_id entry;
    struct kh_room_member_id member; /* MESSAGE: who handed it over; DELIVERED: who has it now */
    uint64_t time_ms;                /* Unix time the author claims */
    const char *text; /* not terminated; showable UTF-8; valid until the next input */
    size_t text_len;
    enum kh_room_carrier via;
    struct kh_span data; /* valid until the next input */
};

/* One message for one member.  CHANNEL: plain frames for its channel, at most 64 KiB.  SIGNAL:
 * sealed, at most KH_ROOM_SIGNAL_MAX. */
struct kh_room_transmit {
    struct kh_room_member_id to;
    enum kh_room_carrier via;
    const uint8_t *data; /* valid until the next call that is not const */
    size_t len;
};

struct kh_room_stats {
    uint64_t said;
    uint64_t heard;
    uint64_t duplicates;
    uint64_t dropped_malformed;
    uint64_t dropped_unauthentic;
    uint64_t dropped_outbox_full;
};

KH_MUST_USE enum kh_status kh_room_new(struct kh_room **out, const struct kh_room_config *config);
void kh_room_free(struct kh_room *room);

/* Fills name and identity in from the config, signs with our identity and seals for the room.
 * Returns the length, 0 if it does not fit.  out has KH_ROOM_CARD_MAX bytes. */
size_t kh_room_seal_card(struct kh_room *room, const struct kh_room_card *card,
                         uint8_t out[static KH_ROOM_CARD_MAX]);
/* KH_ERR_AUTH: not sealed with this room's key for this member, or not signed by its identity. */
KH_MUST_USE enum kh_status kh_room_open_card(const struct kh_room *room,
                                             const struct kh_room_member_id *member,
                                             struct kh_span sealed, struct kh_room_card *out);

/* A member is present: what it lacks of our log will be sent to it.  The same one again changes
 * nothing; one that was removed goes on where it stopped.  KH_ERR_FULL past KH_ROOM_MEMBERS_MAX.
 * KH_ERR_AUTH if this id is ours or already came with another identity.  KH_ERR_MEMORY. */
KH_MUST_USE enum kh_status kh_room_add_member(struct kh_room *room, kh_time now,
                                              const struct kh_room_member_id *member,
                                              const uint8_t identity[static KH_KEY_LEN]);
void kh_room_remove_member(struct kh_room *room, kh_time now,
                           const struct kh_room_member_id *member);
/* Channel open: frames go there, beginning with all that is unacknowledged.  Closed: signals. */
void kh_room_set_channel(struct kh_room *room, kh_time now, const struct kh_room_member_id *member,
                         bool open);
/* True: the channel refused the transmit just drained (KH_ERR_FULL).  Say so at once, before
 * draining on: that one is taken back, and nothing more comes for this channel until it is
 * writable: false. */
void kh_room_set_blocked(struct kh_room *room, kh_time now, const struct kh_room_member_id *member,
                         bool blocked);
/* Signals reach this member again, or better: what waits to be repeated by signal goes at once. */
void kh_room_hurry(struct kh_room *room, kh_time now, const struct kh_room_member_id *member);
/* True while its channel is open but silent: words go by signal too, until it brings something. */
bool kh_room_is_doubted(const struct kh_room *room, const struct kh_room_member_id *member);
size_t kh_room_doubts(const struct kh_room *room); /* members whose channel is doubted */

/* Appends to our log.  KH_ERR_FORMAT: not showable UTF-8 (newlines allowed), empty or longer than
 * KH_ROOM_TEXT_MAX.  KH_ERR_FULL: KH_ROOM_LOG_MAX entries or KH_ROOM_LOG_BYTES_MAX are kept and the
 * oldest is still undelivered to a present member (or to everyone, with none present); say it again
 * later.  KH_ERR_MEMORY. */
KH_MUST_USE enum kh_status kh_room_say(struct kh_room *room, kh_time now, uint64_t time_ms,
                                       const char *text, size_t len, struct kh_room_entry_id *out);

/* Seals what we said so far for all members, known or not, as far as it fits one signal, to travel
 * with the join itself.  Returns its length, 0 if there is nothing to say. */
size_t kh_room_early_signal(struct kh_room *room, uint8_t out[static KH_ROOM_SIGNAL_MAX]);

/* Seals a word about punching for one member: at most KH_ROOM_PUNCH_MAX bytes, which it gets as an
 * event if it gets the signal.  Returns the length. */
size_t kh_room_seal_punch(struct kh_room *room, const struct kh_room_member_id *to,
                          struct kh_span body, uint8_t out[static KH_ROOM_SIGNAL_MAX]);

/* A message from this member's channel, or a sealed signal from it.  Malformed or unauthentic ones
 * are dropped and counted.  A few signals of members not yet added wait some seconds for them: the
 * push that tells of a member can be lost or late. */
void kh_room_handle_channel(struct kh_room *room, kh_time now, const struct kh_room_member_id *from,
                            struct kh_span data);
void kh_room_handle_signal(struct kh_room *room, kh_time now, const struct kh_room_member_id *from,
                           struct kh_span sealed);
void kh_room_handle_timeout(struct kh_room *room, kh_time now);
bool kh_room_next_transmit(struct kh_room *room, struct kh_room_transmit *out);
bool kh_room_next_event(struct kh_room *room, struct kh_room_event *out);
kh_time kh_room_timeout(const struct kh_room *room);

/* We leave soon, and answer no repetition after that: each member that lately sent entries is told
 * by a few signals what we have; one with an open channel only if we are still here 150 ms later.
 */
void kh_room_say_farewell(struct kh_room *room, kh_time now);
/* True if nothing of that is left to be said to this member. */
bool kh_room_is_farewell_said(const struct kh_room *room, const struct kh_room_member_id *member);

/* Entries of ours that this member has not acknowledged; all present members if NULL. */
size_t kh_room_undelivered(const struct kh_room *room, const struct kh_room_member_id *member);
/* True if a present member has said more than has arrived, as far as we were told. */
bool kh_room_is_lacking(const struct kh_room *room);
struct kh_room_stats kh_room_stats(const struct kh_room *room);

#endif
