/* knothole/ending.h - when to leave after the end of input, and with which exit code.
 *
 * SPDX-License-Identifier: MIT
 *
 * Told what happens, it knows which of our messages nobody has yet, and says when waiting makes no
 * more sense.  Times are milliseconds of any clock that only goes forward.
 */
#ifndef KH_KNOTHOLE_ENDING_H
#define KH_KNOTHOLE_ENDING_H

#include "knothole/knothole.h"

/* After the last delivery it waits this long in silence: the other side may have just arrived with
 * something to say, as two scripts that greet each other do. */
#define KH_ENDING_QUIET_MS 500
/* Those present are told of a little after the join, so that long even --linger 0 waits for them.
 */
#define KH_ENDING_ARRIVAL_MS 300
/* A server has this long to answer the first time, and members to show progress, before a short
 * --linger gives up: a lossy path needs that. */
#define KH_ENDING_ANSWER_MS 5000
#define KH_ENDING_PROGRESS_MS 10000

struct kh_ending_message;

/* Zeroed, with linger_ms filled in, it is ready. */
struct kh_ending {
    uint64_t linger_ms;
    bool joined;      /* a server was reached */
    bool unreachable; /* it was reported that none is */
    bool failed;      /* it cannot go on: the server refused us, or the machine did */
    bool met;         /* a member was present at some time */
    bool input_over;  /* ended, or it cannot be read on because too much is undelivered */
    uint64_t over_at;
    uint64_t progress_at;            /* the last time something went forward */
    uint64_t words_at;               /* the last message, theirs or ours arriving */
    uint64_t repeats;                /* kh_runtime_repeats when last looked at */
    uint64_t unsettled_at;           /* the last time it had grown, or words were to come */
    size_t skipped;                  /* lines that could not be sent */
    size_t left_undelivered;         /* of present members, when leaving began */
    struct kh_ending_message *first; /* said, and nobody has it; oldest first */
    struct kh_ending_message *last;
};

void kh_ending_fini(struct kh_ending *ending);
void kh_ending_note(struct kh_ending *ending, uint64_t now, const struct kh_runtime_event *event);
void kh_ending_set_input_over(struct kh_ending *ending, uint64_t now, bool over);
/* Takes kh_runtime_repeats and kh_runtime_is_lacking as they are now. */
void kh_ending_set_flow(struct kh_ending *ending, uint64_t now, uint64_t repeats, bool lacking);

/* How things stand in the room at this moment. */
struct kh_ending_room {
    bool has_members;
    size_t undelivered; /* kh_runtime_undelivered */
};

bool kh_ending_is_due(const struct kh_ending *ending, uint64_t now,
                      const struct kh_ending_room *room);

/* The exit code as things stand; the count of messages nobody or not everybody has, in *missing. */
int kh_ending_exit_code(const struct kh_ending *ending, size_t *missing);

#endif
