/* knothole/chat.h - one conversation: what its parts share.
 *
 * SPDX-License-Identifier: MIT
 *
 * chat.c runs it, a view shows it: one of the const tables below.  Views may call kh_chat_line and
 * kh_chat_leave, and look at what is in here.
 */
#ifndef KH_KNOTHOLE_CHAT_H
#define KH_KNOTHOLE_CHAT_H

#include <uv.h>

#include "ending.h"
#include "input.h"
#include "knothole/knothole.h"
#include "options.h"

struct kh_chat;

enum kh_chat_tone { KH_CHAT_INFO, KH_CHAT_WARNING, KH_CHAT_ERROR };

/* Something to tell the user that is no event of the room. */
struct kh_chat_note {
    enum kh_chat_tone tone;
    const char *code; /* a word for programs */
    const char *text;
};

struct kh_chat_view {
    /* Takes over the terminal or whatever it needs; false: use the plain view instead. */
    bool (*open)(struct kh_chat *chat);
    void (*event)(struct kh_chat *chat, const struct kh_runtime_event *event);
    void (*note)(struct kh_chat *chat, const struct kh_chat_note *note);
    /* Shows who is here; with the digits to compare if verify is true. */
    void (*members)(struct kh_chat *chat, bool verify);
    void (*close)(struct kh_chat *chat);
    bool reads_input; /* itself; else lines of standard input are read for it */
};

extern const struct kh_chat_view kh_chat_view_plain;
extern const struct kh_chat_view kh_chat_view_json;
extern const struct kh_chat_view kh_chat_view_screen;

struct kh_chat {
    const struct kh_options *options;
    const struct kh_chat_view *view;
    struct kh_runtime *runtime;
    char link[KH_RUNTIME_LINK_SIZE];
    bool link_is_new;
    bool interactive; /* a person types: no giving up while input may come */
    uv_loop_t loop;
    uv_timer_t timer; /* runs from the end of input on, and while input is held back */
    uv_signal_t signals[3];
    struct kh_input input;
    struct kh_ending ending;
    void *screen; /* of the screen view */
    bool leaving;
    bool over; /* everything is closing */
};

enum kh_chat_taken {
    KH_CHAT_TAKEN,
    KH_CHAT_HOLD, /* too much is undelivered: offer it again */
};

/* A line from the user: a command, or a message.  What is wrong with it is told by a note. */
enum kh_chat_taken kh_chat_line(struct kh_chat *chat, const char *line, size_t len);

/* No more input will come. */
void kh_chat_input_ended(struct kh_chat *chat);

/* Leaves now, whatever is undelivered. */
void kh_chat_leave(struct kh_chat *chat);

/* Nobody reads our output any more, or the file system is full: there is no point in going on. */
void kh_chat_output_broke(struct kh_chat *chat);

void kh_chat_say_note(struct kh_chat *chat, enum kh_chat_tone tone, const char *code,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));

#define KH_CHAT_SENTENCE_MAX 768

/* Writes the event as a sentence for a person; false if it is not for that: a message, or nothing
 * one would want to be told. */
bool kh_chat_describe(const struct kh_runtime_event *event, char out[static KH_CHAT_SENTENCE_MAX]);
char *kh_chat_describe_path(const struct kh_runtime_path *path,
                            char out[static KH_CHAT_SENTENCE_MAX]);

#endif
