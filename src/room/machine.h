/* room/machine.h - the state of a room, for the files that together are its machine.
 *
 * SPDX-License-Identifier: MIT
 *
 * Nothing waits in queues to be sent: what each member still lacks follows from a few numbers, and
 * next_transmit makes a message of it when it is asked.  DELIVERED events follow from two numbers
 * in the same way.  So no input can produce more than there is room for.
 */
#ifndef KH_ROOM_MACHINE_H
#define KH_ROOM_MACHINE_H

#include "room/frame.h"
#include "room/inbox.h"
#include "room/outlog.h"
#include "room/signal.h"

/* One channel message of ours: the largest entry with all framing, or many small ones. */
#define KH_ROOM_MESSAGE_MAX (KH_ROOM_TEXT_MAX + 1024)

/* Signals under way to one member: the server lets a burst of 128 through, for all members. */
#define KH_ROOM_SIGNALS_MAX 4

/* Entries under way on one channel; four megabytes at worst, and a second of typing for a machine.
 */
#define KH_ROOM_WINDOW_MAX 256

#define KH_ROOM_RETRY_MIN KH_MILLISECONDS(200)
#define KH_ROOM_RETRY_MAX KH_SECONDS(5)
#define KH_ROOM_STALL_MIN KH_SECONDS(10) /* a channel is reliable: this is a last resort */
#define KH_ROOM_STALL_MAX KH_SECONDS(60)
#define KH_ROOM_ACK_PAUSE KH_MILLISECONDS(100) /* between two signals that only acknowledge */

/* An open channel that brings no answer within a few of its round trips is doubted: words go by
 * signal too.  The floor covers one repetition by SCTP; nobody waits longer than the ceiling. */
#define KH_ROOM_DOUBT_ROUND_TRIPS 4
#define KH_ROOM_DOUBT_MIN KH_MILLISECONDS(400)
#define KH_ROOM_DOUBT_MAX KH_MILLISECONDS(1200)

/* Who leaves cannot answer repetitions any more, so it says so often what it has that one in a
 * thousand comes through nowhere if each line loses a third; on a good wire that takes no longer
 * than people notice.  An open channel says it itself: only a slow one gets help. */
#define KH_ROOM_FAREWELLS 8
#define KH_ROOM_FAREWELL_PAUSE KH_MILLISECONDS(12)
#define KH_ROOM_FAREWELL_CHANNEL KH_MILLISECONDS(150)
/* Whoever repeated nothing for this long has our acknowledgement. */
#define KH_ROOM_FAREWELL_FRESH (2 * KH_ROOM_RETRY_MAX)

/* An early signal answers for what it carried, for members that appear this soon after it, and for
 * this long: the time its way by the server and back may take.  Those who were there before us are
 * told of with the answer to the join; who appears later came later, and would wait in vain. */
#define KH_ROOM_EARLY_FRESH KH_MILLISECONDS(400)
#define KH_ROOM_EARLY_PATIENCE KH_MILLISECONDS(250)

#define KH_ROOM_PENNED_MAX 8 /* signals of members not yet added; a burst of newcomers */
#define KH_ROOM_PENNED_LIFE KH_SECONDS(5)

/* Members that left and may come back; each costs 64 bytes.  An older one starts anew. */
#define KH_ROOM_DEPARTED_MAX 256

/* The latest transmit for a channel, which may be refused, and what its peer was before it. */
struct kh_room_undo {
    struct kh_room_peer *peer; /* NULL: nothing can be taken back any more */
    bool head_due;
    bool have_due;
    uint64_t sent;
};

#define KH_ROOM_CARRIERS 2 /* the values of enum kh_room_carrier */

/* Our log on its way to one member by one carrier. */
struct kh_room_flight {
    uint64_t sent;        /* since the last time that repeating was due */
    kh_duration patience; /* for the next retry_at */
    kh_time retry_at;     /* repeat what is unacknowledged; KH_NEVER: nothing is under way */
};

/* Is the channel as alive as it is open?  Signals say what it says while we doubt it. */
struct kh_room_trust {
    bool is_doubted;
    kh_time doubt_at; /* unless something comes from there before; KH_NEVER: nothing has to */
    kh_time opened_at;
    kh_duration round_trip; /* smoothed, from entries to their acknowledgement; 0: never measured */
    uint64_t timed;         /* this entry's acknowledgement measures it next; 0: none … */
    kh_time timed_at;       /* … which left then */
};

struct kh_room_peer {
    struct kh_room_member_id id;
    uint8_t identity[KH_KEY_LEN];
    bool channel_open;
    bool blocked;

    /* Our log on its way there: base <= reported <= acked <= any sent <= last. */
    uint64_t base;     /* up to here it was forgotten before this member came */
    uint64_t reported; /* DELIVERED events were given up to here */
    uint64_t acked;
    struct kh_room_flight flights[KH_ROOM_CARRIERS];
    unsigned credit; /* signals that may go before an acknowledgement or a repetition */
    bool head_due;
    struct kh_room_trust trust;

    /* Its log on its way here. */
    struct kh_room_inbox inbox;
    uint64_t promised;               /* its log goes on up to here, as it says; 0: not told */
    bool have_due[KH_ROOM_CARRIERS]; /* answered as asked: the other way may be dead */
    kh_time have_at;                 /* no signal only to acknowledge before this */
    kh_time heard_at;                /* of the latest entries, new or not */
    size_t punch_len; /* of the latest PUNCH, which waits to become an event; 0: none does */
    uint8_t punch[KH_ROOM_PUNCH_MAX];
    unsigned farewells;  /* signals still to be sent that say what we have, before we leave */
    kh_time farewell_at; /* the next one of them */
};

struct kh_room_departed {
    struct kh_room_member_id id;
    uint8_t identity[KH_KEY_LEN];
    uint64_t acked;
    uint64_t have;
};

/* A signal whose seal was good, of a member not yet added. */
struct kh_room_penned {
    struct kh_room_member_id from;
    kh_time until; /* 0: free */
    size_t len;
    uint8_t plain[KH_ROOM_SIGNAL_PLAIN_MAX];
};

struct kh_room {
    struct kh_room_keys keys;
    struct kh_secret identity;
    struct kh_room_log_name name; /* of our log: our public key and our id */
    char display[KH_ROOM_NAME_MAX + 1];
    struct kh_rng rng;
    struct kh_log log;
    kh_time now; /* of the latest input */

    struct kh_room_outlog outlog;
    uint64_t settled; /* some member had all of our log up to here */
    uint64_t early;   /* an early signal carried our log up to here */
    kh_time early_at;

    struct kh_room_peer *peers[KH_ROOM_MEMBERS_MAX]; /* owned */
    size_t peer_count;
    size_t turn; /* the peer to be asked first by next_transmit */

    struct kh_room_heard *heard; /* owned; MESSAGE events to come, oldest first */
    struct kh_room_heard **heard_end;
    struct kh_room_heard *spent; /* owned; given out, freed by the next input */

    struct kh_room_penned penned[KH_ROOM_PENNED_MAX];
    struct kh_room_departed departed[KH_ROOM_DEPARTED_MAX]; /* a ring */
    size_t departed_count;                                  /* ever */

    uint8_t out[KH_ROOM_MESSAGE_MAX];
    struct kh_room_undo undo;
    struct kh_room_stats stats;
};

/* ---- send.c: our log and our acknowledgements to one member ---- */

void kh_room_peer_start(struct kh_room *room, struct kh_room_peer *peer, uint64_t acked);
bool kh_room_peer_has_transmit(const struct kh_room *room, const struct kh_room_peer *peer);
void kh_room_peer_transmit(struct kh_room *room, struct kh_room_peer *peer,
                           struct kh_room_transmit *out);
void kh_room_peer_set_channel(struct kh_room *room, struct kh_room_peer *peer, bool open);
void kh_room_peer_set_blocked(struct kh_room *room, struct kh_room_peer *peer, bool blocked);
/* The member says it has our log up to `have`, which is within it. */
void kh_room_peer_acknowledge(struct kh_room *room, struct kh_room_peer *peer, uint64_t have,
                              enum kh_room_carrier via);
/* Its channel brought something. */
void kh_room_peer_trust(const struct kh_room *room, struct kh_room_peer *peer);
/* It repeats by signal what its channel should have brought. */
void kh_room_peer_take_hint(const struct kh_room *room, struct kh_room_peer *peer);
void kh_room_peer_hurry(struct kh_room_peer *peer);
void kh_room_peer_handle_timeout(struct kh_room *room, struct kh_room_peer *peer);
void kh_room_peer_farewell(struct kh_room *room, struct kh_room_peer *peer);
kh_time kh_room_peer_timeout(const struct kh_room_peer *peer);

/* ---- receive.c: frames of one member ---- */

void kh_room_receive(struct kh_room *room, struct kh_room_peer *peer, struct kh_span frames,
                     enum kh_room_carrier via);
/* What a signal of this member holds, its seal being open. */
void kh_room_receive_signal(struct kh_room *room, struct kh_room_peer *peer, struct kh_span plain);

#endif
