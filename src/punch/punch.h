/* punch/punch.h - how two members behind hard NATs open a way to each other, and how fast.
 *
 * SPDX-License-Identifier: MIT
 *
 * Three values, none of which knows a socket, a credential or a member: the plan says what two
 * classes of NAT allow; the message is what the sides tell each other; the machine says which
 * datagram leaves next, by which socket, for which port.  The arithmetic behind every number is in
 * docs/protocol/punching.md.
 */
#ifndef KH_PUNCH_PUNCH_H
#define KH_PUNCH_PUNCH_H

#include "base/bytes.h"
#include "base/time.h"
#include "crypto/crypto.h"
#include "nat/nat.h"

/* ================================ the plan ================================ */

#define KH_PUNCH_PORT_MIN 1024 /* below it are services, which nobody's punch should knock at */

enum kh_punch_role {
    KH_PUNCH_NONE,    /* ordinary checks find what there is */
    KH_PUNCH_HOLD,    /* open many mappings of our NAT towards the peer, and let it find one */
    KH_PUNCH_PROBE,   /* wait to be told, then look for a mapping the peer holds */
    KH_PUNCH_MEET,    /* both foretell their next mappings and aim at each other's */
    KH_PUNCH_HOPELESS /* no number of datagrams that is decent would do: the relay */
};

enum kh_punch_aim {
    KH_PUNCH_FORETOLD, /* the holder can say which ports it gets */
    KH_PUNCH_IN_BLOCK, /* they lie in a narrow range */
    KH_PUNCH_ANYWHERE,
};

#define KH_PUNCH_SOCKETS_ANYWHERE 256
#define KH_PUNCH_SOCKETS_BLOCK 64 /* at most; never more than a quarter of the block */
#define KH_PUNCH_SOCKETS_FORETOLD                                                                  \
    8                                /* in a row, so that a busy NAT's steps between do not matter \
                                      */
#define KH_PUNCH_SOCKETS_SCARCE 1024 /* where the prober's own block allows it few probes */
#define KH_PUNCH_SOCKETS_MAX KH_PUNCH_SOCKETS_SCARCE
#define KH_PUNCH_PROBES_MAX 2048

struct kh_punch_plan {
    enum kh_punch_role role;
    bool is_guess;  /* the classes do not say: only after ordinary checks had their chance */
    bool is_turned; /* of a guess: the other side holds first */
    enum kh_punch_aim aim;
    bool is_scarce; /* the prober's block allows few probes: it may repeat them, not add to them */
    unsigned sockets;            /* HOLD, MEET: to be opened */
    unsigned probes;             /* PROBE and, of the peer, HOLD: at most */
    uint16_t port_min, port_max; /* likewise: where they go */
};

/* Both sides reach plans that fit, from the same two classes; is_larger: our member id is, which
 * decides between equals. */
void kh_punch_plan(const struct kh_nat_class *ours, const struct kh_nat_class *theirs,
                   bool is_larger, struct kh_punch_plan *out);

const char *kh_punch_role_name(enum kh_punch_role role);

/* Of a plan that is a guess, or the other way round: the peer holds and we are to look. */
void kh_punch_plan_probe(const struct kh_nat_class *ours, const struct kh_nat_class *theirs,
                         struct kh_punch_plan *out);

/* ================================ the message ================================ */

#define KH_PUNCH_PORTS_MAX 16
#define KH_PUNCH_MESSAGE_MAX (4 + 2 * KH_PUNCH_PORTS_MAX)

enum kh_punch_word {
    KH_PUNCH_WORD_HOLD = 1, /* I hold mappings towards you: find one */
    KH_PUNCH_WORD_MEET = 2, /* my next mappings will be these: tell me yours, and aim */
};

struct kh_punch_message {
    enum kh_punch_word word;
    int16_t step;                       /* how ports may go on after the last one; 0: unknown */
    uint16_t ports[KH_PUNCH_PORTS_MAX]; /* HOLD: none, if they cannot be foretold */
    size_t port_count;
};

size_t kh_punch_message_write(const struct kh_punch_message *message,
                              uint8_t out[static KH_PUNCH_MESSAGE_MAX]);
KH_MUST_USE enum kh_status kh_punch_message_parse(struct kh_span bytes,
                                                  struct kh_punch_message *out);

/* Foretells what mappings come after this one: fills ports[0..count). */
void kh_punch_foretell(uint16_t port, int16_t step, uint16_t *ports, size_t count);

/* ================================ the machine ================================ */

#define KH_PUNCH_MAIN SIZE_MAX /* the socket that everything else uses */
#define KH_PUNCH_TTL_NEAR 2    /* beyond the NAT at home, and no further */
#define KH_PUNCH_TTL_FAR 5     /* beyond a carrier's too, but hardly to the peer's */
#define KH_PUNCH_PACE 5100     /* microseconds: 196 datagrams a second, below 200 with a burst */
#define KH_PUNCH_BURST 4       /* may be made good after a late timer */

struct kh_punch_shot {
    size_t socket; /* the n-th spare one, or KH_PUNCH_MAIN */
    uint16_t port; /* of the peer; 0: where it is known to be */
    uint8_t ttl;   /* 0: as usual */
};

enum kh_punch_kind { KH_PUNCH_IDLE, KH_PUNCH_OPENING, KH_PUNCH_PROBING, KH_PUNCH_MEETING };

struct kh_punch {
    enum kh_punch_kind kind;
    kh_time began_at;
    kh_time next_at; /* of the next shot */
    kh_time over_at; /* nothing is waited for any longer */
    size_t shots;
    size_t at;      /* of them in this round */
    unsigned round; /* of openers and meetings */
    size_t count;   /* shots of a round, or probes in all */
    uint16_t ports[KH_PUNCH_PORTS_MAX];
    size_t port_count;
    int16_t step;
    uint32_t base, span;    /* the range that is walked in an order drawn by chance … */
    uint32_t start, stride; /* … which is an arithmetic progression: nothing comes twice in it */
};

/* The holder: sockets 0 to count - 1 each send to where the peer is, then wait for it. */
void kh_punch_open(struct kh_punch *punch, kh_time now, const struct kh_punch_plan *plan,
                   size_t count);
/* The prober: the ports it was told, and those that may follow them; or any of the plan's, the same
 * ones for the same seed. */
void kh_punch_probe(struct kh_punch *punch, kh_time now, const struct kh_punch_plan *plan,
                    const struct kh_punch_message *message, uint64_t seed);
/* Socket 0 sends to each of these ports, again and again. */
void kh_punch_meet(struct kh_punch *punch, kh_time now, const struct kh_punch_message *message);
void kh_punch_stop(struct kh_punch *punch);

/* Gives what is due; false if nothing is. */
bool kh_punch_next_shot(struct kh_punch *punch, kh_time now, struct kh_punch_shot *out);
/* When to ask again, or when all is over; KH_NEVER if idle. */
kh_time kh_punch_timeout(const struct kh_punch *punch);
bool kh_punch_is_over(const struct kh_punch *punch, kh_time now);

#endif
