/* stun/stun.h - STUN messages to and from bytes (RFC 8489), and one client transaction.
 *
 * SPDX-License-Identifier: MIT
 *
 * Reading is in place: kh_stun_parse checks the whole structure once, after which attributes are
 * looked up in the original bytes.  Writing fills a buffer of the caller.  Which attributes may
 * stand in which message, and which of them we understand, is the table in attribute.c.
 */
#ifndef KH_STUN_STUN_H
#define KH_STUN_STUN_H

#include "base/bytes.h"
#include "base/datagram.h"
#include "base/time.h"
#include "crypto/crypto.h"

#define KH_STUN_MAGIC 0x2112A442u
#define KH_STUN_HEADER_LEN 20
#define KH_STUN_ID_LEN 12
#define KH_STUN_UNKNOWN_MAX 8 /* unknown comprehension-required attributes we name in a 420 */

enum kh_stun_class {
    KH_STUN_REQUEST = 0,
    KH_STUN_INDICATION = 1,
    KH_STUN_SUCCESS = 2,
    KH_STUN_ERROR = 3,
};

enum kh_stun_method {
    KH_STUN_BINDING = 0x001,
    KH_STUN_ALLOCATE = 0x003, /* RFC 8656 17 */
    KH_STUN_REFRESH = 0x004,
    KH_STUN_SEND = 0x006,
    KH_STUN_DATA = 0x007,
    KH_STUN_CREATE_PERMISSION = 0x008,
    KH_STUN_CHANNEL_BIND = 0x009,
    KH_STUN_JOIN = 0xF00, /* ours, from the range nobody is assigned: docs/protocol/rendezvous.md */
    KH_STUN_UPDATE = 0xF01,
    KH_STUN_LEAVE = 0xF02,
    KH_STUN_SIGNAL = 0xF03,
    KH_STUN_PUSH = 0xF04,
};

enum kh_stun_attribute_type {
    KH_STUN_MAPPED_ADDRESS = 0x0001,
    KH_STUN_CHANGE_REQUEST = 0x0003, /* RFC 5780 7.2 */
    KH_STUN_USERNAME = 0x0006,
    KH_STUN_MESSAGE_INTEGRITY = 0x0008,
    KH_STUN_ERROR_CODE = 0x0009,
    KH_STUN_UNKNOWN_ATTRIBUTES = 0x000A,
    KH_STUN_CHANNEL_NUMBER = 0x000C, /* RFC 8656 18 from here … */
    KH_STUN_LIFETIME = 0x000D,
    KH_STUN_XOR_PEER_ADDRESS = 0x0012,
    KH_STUN_DATA_ATTRIBUTE = 0x0013,
    KH_STUN_REALM = 0x0014,
    KH_STUN_NONCE = 0x0015,
    KH_STUN_XOR_RELAYED_ADDRESS = 0x0016,
    KH_STUN_REQUESTED_ADDRESS_FAMILY = 0x0017,
    KH_STUN_EVEN_PORT = 0x0018,
    KH_STUN_REQUESTED_TRANSPORT = 0x0019,
    KH_STUN_DONT_FRAGMENT = 0x001A,
    KH_STUN_MESSAGE_INTEGRITY_SHA256 = 0x001C,
    KH_STUN_PASSWORD_ALGORITHM = 0x001D,
    KH_STUN_USERHASH = 0x001E,
    KH_STUN_XOR_MAPPED_ADDRESS = 0x0020,
    KH_STUN_RESERVATION_TOKEN = 0x0022, /* … to here */
    KH_STUN_PRIORITY = 0x0024,          /* RFC 8445 16.1 */
    KH_STUN_USE_CANDIDATE = 0x0025,
    KH_STUN_PADDING = 0x0026, /* RFC 5780 7.6 */
    KH_STUN_RESPONSE_PORT = 0x0027,
    KH_STUN_ADDITIONAL_ADDRESS_FAMILY = 0x8000, /* RFC 8656 18.11 */
    KH_STUN_ADDRESS_ERROR_CODE = 0x8001,
    KH_STUN_PASSWORD_ALGORITHMS = 0x8002,
    KH_STUN_ALTERNATE_DOMAIN = 0x8003,
    KH_STUN_ICMP = 0x8004,
    KH_STUN_SOFTWARE = 0x8022,
    KH_STUN_ALTERNATE_SERVER = 0x8023,
    KH_STUN_FINGERPRINT = 0x8028,
    KH_STUN_ICE_CONTROLLED = 0x8029,
    KH_STUN_ICE_CONTROLLING = 0x802A,
    KH_STUN_RESPONSE_ORIGIN = 0x802B, /* RFC 5780 7.3 */
    KH_STUN_OTHER_ADDRESS = 0x802C,
    KH_STUN_MOBILITY_TICKET = 0x8030, /* RFC 8016 */
    KH_STUN_NOMINATION = 0xC001,      /* draft-thatcher-ice-renomination: a u32 that grows */
    /* ours; comprehension-required, since our methods mean nothing without them; a new one needs
     * its row in attribute.c too */
    KH_STUN_ROOM = 0x7F00,      /* 32 bytes: the room's Ed25519 public key */
    KH_STUN_MEMBER = 0x7F01,    /* 16 bytes: a member id */
    KH_STUN_PUBLIC_KEY = 0x7F02, /* 32 bytes: X25519 */
    KH_STUN_SIGNATURE = 0x7F03, /* 64 bytes: Ed25519 over all that stands before it */
    KH_STUN_SEALED = 0x7F04,    /* a sealed card or signal; opaque to the server */
    KH_STUN_SEQUENCE = 0x7F05,  /* u64: grows with each authenticated message of one direction */
    KH_STUN_ROOM_VERSION = 0x7F06, /* u64 */
    KH_STUN_CHANGE = 0x7F07,    /* one entry of a push: see rendezvous.md */
    KH_STUN_EARLY = 0x7F08,     /* in a join: a sealed signal to all members */
    KH_STUN_TARGET = 0x7F09,    /* 16 bytes: the member a signal is for; absent: all */
    KH_STUN_BASE_VERSION = 0x7F0A, /* u64: a push tells what changed after this version */
    KH_STUN_HIDDEN = 0x7F0B,       /* empty, in a join: tell the others no address */
    KH_STUN_RELAY_NONCE = 0x7F0C,  /* in its answer: a first NONCE for the relay at this address */
    KH_STUN_RELAY = 0x7F0D,        /* another relay and credentials there, sealed; empty: please */
};

struct kh_stun_message {
    enum kh_stun_class class;
    uint16_t method;
    uint8_t id[KH_STUN_ID_LEN];
    const uint8_t *data; /* borrowed: the whole message with its header */
    size_t len;
    size_t integrity_at;        /* offset of MESSAGE-INTEGRITY, 0 if none */
    size_t integrity_sha256_at; /* offset of MESSAGE-INTEGRITY-SHA256, 0 if none */
    bool has_fingerprint;       /* and it is right: a wrong one does not parse */
    uint16_t unknown[KH_STUN_UNKNOWN_MAX]; /* comprehension-required, unknown to us here */
    size_t unknown_count;
};

struct kh_stun_attribute {
    uint16_t type;
    const uint8_t *value; /* borrowed from the message */
    size_t len;           /* without padding */
};

/* One entry of PASSWORD-ALGORITHMS, or the whole of PASSWORD-ALGORITHM (RFC 8489 14.11, 18.5). */
struct kh_stun_algorithm {
    uint16_t number;
    struct kh_span parameters; /* borrowed; empty for both numbers assigned so far */
};

#define KH_STUN_ALGORITHM_MD5 1
#define KH_STUN_ALGORITHM_SHA256 2

/* ---- reading ---- */

/* A look at the first bytes only (RFC 7983): could this be STUN at all? */
bool kh_stun_is_stun(const uint8_t *data, size_t len);

/* Checks header, magic, all attribute lengths and the fingerprint if there is one.  What follows
 * an integrity attribute is ignored as RFC 8489 14.5 says, except SHA256 integrity and FINGERPRINT.
 * KH_ERR_FORMAT and an undefined *out for anything else.  data is borrowed for the life of *out. */
KH_MUST_USE enum kh_status kh_stun_parse(const uint8_t *data, size_t len,
                                         struct kh_stun_message *out);

/* Finds the first attribute of that type that integrity, where present, covers.  False as well if
 * the table does not expect it in such a message or its length is impossible. */
bool kh_stun_find(const struct kh_stun_message *message, uint16_t type,
                  struct kh_stun_attribute *out);

/* Walks all attributes in order: start with *at = 0; false at the end. */
bool kh_stun_next(const struct kh_stun_message *message, size_t *at,
                  struct kh_stun_attribute *out);

/* Typed look-ups: false if the attribute is absent or its value malformed. */
bool kh_stun_find_u32(const struct kh_stun_message *message, uint16_t type, uint32_t *out);
bool kh_stun_find_u64(const struct kh_stun_message *message, uint16_t type, uint64_t *out);
bool kh_stun_find_flag(const struct kh_stun_message *message, uint16_t type); /* empty value */
bool kh_stun_find_bytes(const struct kh_stun_message *message, uint16_t type, size_t len,
                        const uint8_t **out); /* exactly len bytes */
bool kh_stun_find_addr(const struct kh_stun_message *message, uint16_t type,
                       struct kh_addr *out); /* plain, or XORed where the type says so */
/* The same for the n-th attribute of that type, from 0: a CreatePermission names several peers. */
bool kh_stun_find_addr_nth(const struct kh_stun_message *message, uint16_t type, size_t n,
                           struct kh_addr *out);
/* code is 300..699; reason, if not NULL, is borrowed. */
bool kh_stun_find_error(const struct kh_stun_message *message, unsigned *code,
                        struct kh_span *reason);

/* Gives the n-th type that an error response names in UNKNOWN-ATTRIBUTES, from 0. */
bool kh_stun_find_unknown(const struct kh_stun_message *message, size_t n, uint16_t *out);
/* Walks the algorithms in such an attribute: start with *at = 0; false at the end, or where the
 * list is malformed. */
bool kh_stun_next_algorithm(const struct kh_stun_attribute *list, size_t *at,
                            struct kh_stun_algorithm *out);

/* Takes a type out of the unknown ones, for an agent that offers what it asks.  CHANGE-REQUEST,
 * RESPONSE-PORT and PADDING in a request count as unknown until then (RFC 5780 6.1). */
void kh_stun_accept(struct kh_stun_message *message, uint16_t type);

/* Does the message carry this integrity, made with this key?  Constant time.  For SHA256 truncated
 * values of 16..32 bytes in steps of 4 pass the length check (RFC 8489 14.6), but only with
 * len_min bytes or more are they believed. */
bool kh_stun_check_integrity(const struct kh_stun_message *message, struct kh_span key);
bool kh_stun_check_integrity_sha256(const struct kh_stun_message *message, struct kh_span key,
                                    size_t len_min);

/* ---- credentials (RFC 8489 9.2.2, 18.5) ---- */

/* The long-term key; the short-term key is the password itself.  OpaqueString preparation
 * (RFC 8265) is the caller's; ASCII needs none. */
void kh_stun_long_term_key_md5(struct kh_span username, struct kh_span realm,
                               struct kh_span password, uint8_t out[static KH_MD5_LEN]);
void kh_stun_long_term_key_sha256(struct kh_span username, struct kh_span realm,
                                  struct kh_span password, uint8_t out[static KH_SHA256_LEN]);
void kh_stun_userhash(struct kh_span username, struct kh_span realm,
                      uint8_t out[static KH_SHA256_LEN]);

/* ---- writing ---- */

/* Sticky like kh_writer: check once, in kh_stun_finish. */
struct kh_stun_writer {
    struct kh_writer bytes;
};

struct kh_stun_writer kh_stun_begin(uint8_t *data, size_t max, enum kh_stun_class class,
                                    uint16_t method, const uint8_t id[static KH_STUN_ID_LEN]);
void kh_stun_add(struct kh_stun_writer *writer, uint16_t type, const void *value, size_t len);
void kh_stun_add_u32(struct kh_stun_writer *writer, uint16_t type, uint32_t value);
void kh_stun_add_u64(struct kh_stun_writer *writer, uint16_t type, uint64_t value);
void kh_stun_add_flag(struct kh_stun_writer *writer, uint16_t type);
void kh_stun_add_addr(struct kh_stun_writer *writer, uint16_t type, const struct kh_addr *addr);
void kh_stun_add_error(struct kh_stun_writer *writer, unsigned code, const char *reason);
void kh_stun_add_unknown(struct kh_stun_writer *writer, const struct kh_stun_message *request);
/* One number for PASSWORD-ALGORITHM, any count for PASSWORD-ALGORITHMS. */
void kh_stun_add_algorithms(struct kh_stun_writer *writer, uint16_t type, const uint16_t *numbers,
                            size_t count);
void kh_stun_add_integrity(struct kh_stun_writer *writer, struct kh_span key);
void kh_stun_add_integrity_sha256(struct kh_stun_writer *writer, struct kh_span key);
void kh_stun_add_fingerprint(struct kh_stun_writer *writer);
/* Returns the message's length, or 0 if something did not fit. */
size_t kh_stun_finish(struct kh_stun_writer *writer);

/* ---- one client transaction over UDP (RFC 8489 6.2.1) ---- */

/* Zero means the default. */
struct kh_stun_timing {
    kh_duration rto;         /* first retransmission after this; 500 ms; doubles each time */
    kh_duration rto_max;     /* the doubling stops here; no cap */
    unsigned attempts_max;   /* Rc, 7 */
    unsigned last_wait;      /* Rm, 16: the last attempt waits this many times the first rto */
};

enum kh_stun_transaction_state {
    KH_STUN_TRANSACTION_IDLE,    /* never started, or answered */
    KH_STUN_TRANSACTION_WAITING, /* for an answer */
    KH_STUN_TRANSACTION_EXPIRED, /* nobody answered */
};

struct kh_stun_transaction {
    enum kh_stun_transaction_state state;
    struct kh_stun_timing timing;
    struct kh_addr from;
    struct kh_addr to;
    uint8_t request[KH_DATAGRAM_MAX];
    size_t request_len;
    unsigned attempts;   /* sent so far */
    bool due;            /* the next one waits in next_transmit */
    kh_time first_sent;  /* 0 until the first attempt is due */
    kh_time next_at;     /* of the next attempt, or of giving up */
};

/* Starts over with this complete request (its id is bytes 8..19), to be sent at once. */
void kh_stun_transaction_start(struct kh_stun_transaction *transaction, kh_time now,
                               const struct kh_stun_timing *timing,
                               const struct kh_datagram *request);
/* Is this the answer (success or error with our id, from where we asked)?  Does not end the
 * transaction: the caller checks its integrity first, then calls end. */
bool kh_stun_transaction_matches(const struct kh_stun_transaction *transaction,
                                 const struct kh_datagram *datagram,
                                 const struct kh_stun_message *message);
void kh_stun_transaction_end(struct kh_stun_transaction *transaction); /* back to IDLE */
void kh_stun_transaction_handle_timeout(struct kh_stun_transaction *transaction, kh_time now);
bool kh_stun_transaction_next_transmit(struct kh_stun_transaction *transaction,
                                       struct kh_datagram *out);
kh_time kh_stun_transaction_timeout(const struct kh_stun_transaction *transaction);

/* ---- frames out of a byte stream: STUN and TURN over TCP and TLS ---- */

/* Messages and ChannelData stand one behind the other and tell their own length (RFC 8489 6.2.2,
 * RFC 8656 12.5).  What is neither breaks the stream for good.  How long a sender may take is for
 * the caller to limit. */
#define KH_STUN_STREAM_MAX 2048 /* the longest frame with its padding: as long as a datagram */

struct kh_stun_stream {
    uint8_t data[KH_STUN_STREAM_MAX];
    size_t at;    /* of the next frame */
    size_t end;   /* of what was received */
    bool greeted; /* the line end after a greeting may follow late */
    bool broken;
};

/* Gives where the next bytes belong.  There is room, *max of it, once next returned false. */
uint8_t *kh_stun_stream_space(struct kh_stun_stream *stream, size_t *max);
void kh_stun_stream_received(struct kh_stun_stream *stream, size_t len);

/* Takes the next whole frame: a message, ChannelData without its padding, or the greeting `Hi!`.
 * It is borrowed until space is asked for.  False: none is whole, or the stream is broken. */
bool kh_stun_stream_next(struct kh_stun_stream *stream, struct kh_span *frame);
/* True while the beginning of a frame waits for its end. */
bool kh_stun_stream_is_partial(const struct kh_stun_stream *stream);

/* How many zeros must follow this frame in a stream: ChannelData is padded to four. */
size_t kh_stun_stream_padding(const uint8_t *frame, size_t len);

#endif
