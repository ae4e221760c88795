/* knothole/knothole.h - libknothole: be a member of a room, on your own libuv loop.
 *
 * SPDX-License-Identifier: MIT
 *
 *     char link[KH_RUNTIME_LINK_SIZE], why[KH_RUNTIME_WHY_SIZE];
 *     struct kh_runtime *runtime;
 *
 *     kh_runtime_make_link("example.org", link, why);
 *     struct kh_runtime_config config = {.loop = uv_default_loop(), .link = link,
 *                                        .name = "Alice", .wake = on_wake};
 *     kh_runtime_open(&runtime, &config, why);
 *     kh_runtime_say(runtime, "Hello", 5);
 *     uv_run(uv_default_loop(), UV_RUN_DEFAULT);
 *
 * where on_wake takes kh_runtime_next_event until it is false.  Nothing is called from inside a
 * call of yours.  All texts are UTF-8, ids are opaque words, and one thread does it all.
 */
#ifndef KNOTHOLE_KNOTHOLE_H
#define KNOTHOLE_KNOTHOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KH_RUNTIME_LINK_SIZE 320
#define KH_RUNTIME_NAME_MAX 48    /* bytes */
#define KH_RUNTIME_TEXT_MAX 16384 /* bytes of one message */
#define KH_RUNTIME_WHY_SIZE 512   /* one sentence for the user, without a full stop */
#define KH_RUNTIME_VERIFY_SIZE 48 /* eight groups of five digits */
#define KH_RUNTIME_ID_SIZE 96
#define KH_RUNTIME_ADDR_SIZE 64

struct uv_loop_s;
struct kh_runtime;

enum kh_runtime_result {
    KH_RUNTIME_OK,
    KH_RUNTIME_BAD_SERVER, /* not host, host:port, http://… or https://… */
    KH_RUNTIME_BAD_LINK,   /* not a link, or a mistyped or cut one */
    KH_RUNTIME_BAD_NAME,   /* empty, too long, or not fit to be shown; or no name under .local */
    KH_RUNTIME_BAD_TEXT,   /* empty, too long, or not UTF-8 fit to be shown */
    KH_RUNTIME_FULL,       /* too much is undelivered: say it again after a DELIVERED event */
    KH_RUNTIME_NO_STATE,   /* the state directory cannot be used */
    KH_RUNTIME_NO_SYSTEM,  /* the system refuses memory or sockets */
};

enum kh_runtime_log_level {
    KH_RUNTIME_LOG_ERROR,
    KH_RUNTIME_LOG_WARN,
    KH_RUNTIME_LOG_INFO,
    KH_RUNTIME_LOG_DEBUG,
};

enum kh_runtime_paths {
    KH_RUNTIME_PATHS_ALL,
    KH_RUNTIME_PATHS_DIRECT, /* never through a relay, ours or another member's */
    /* Through the server's relay only: nobody but the server learns an address of ours. */
    KH_RUNTIME_PATHS_RELAY,
};

/* Borrowed for kh_runtime_open only, except the loop and the context. */
struct kh_runtime_config {
    struct uv_loop_s *loop;
    const char *link;
    const char *name;      /* what others see; 1 .. KH_RUNTIME_NAME_MAX bytes */
    const char *state_dir; /* NULL: $XDG_STATE_HOME/knothole or ~/.local/state/knothole */
    enum kh_runtime_paths paths;
    bool server_udp_only;  /* no TCP to the server where UDP gets no answer */
    bool no_punching;      /* never guess the ports of a NAT: where that is needed, be relayed */
    /* This machine's name under .local, told to the others instead of its private addresses: who is
     * on the same link finds them by it (mDNS), nobody else learns them.  Something on this machine
     * must answer to it.  NULL: none. */
    const char *local_name;
    bool no_port_mapping;  /* do not ask the router for a port; _PATHS_RELAY never does */

    /* Events wait: take them all.  Called from the loop; every call, close too, is allowed in it.
     */
    void (*wake)(void *context);

    /* May be NULL.  Must not call back. */
    void (*log)(void *context, enum kh_runtime_log_level level, const char *line);
    enum kh_runtime_log_level log_level;
    bool log_addresses; /* else lines say only of what kind an address is */
    void *context;
};

enum kh_runtime_event_kind {
    KH_RUNTIME_EVENT_JOINED,      /* member: our own id; remote: our public address */
    KH_RUNTIME_EVENT_MEMBER,      /* member, name: someone is present */
    KH_RUNTIME_EVENT_GONE,        /* member, name */
    KH_RUNTIME_EVENT_PATH,        /* member, name, path: at each change */
    KH_RUNTIME_EVENT_PATH_LOST,   /* member, name: no way at present; it is still being tried */
    KH_RUNTIME_EVENT_OPEN,        /* member, name: the secure channel is open */
    KH_RUNTIME_EVENT_SENT,        /* id, text: ours, accepted, in the order of the says */
    KH_RUNTIME_EVENT_MESSAGE,     /* id, member and name (of the author), text, time_ms, channel */
    KH_RUNTIME_EVENT_DELIVERED,   /* id (of ours), member, name: who has it now */
    KH_RUNTIME_EVENT_UNREACHABLE, /* text: the server does not answer; it is still being tried */
    KH_RUNTIME_EVENT_WARNING,     /* code, text; member and name if it is about one */
    KH_RUNTIME_EVENT_ERROR,       /* code, text: cannot go on; leave and close */
    KH_RUNTIME_EVENT_LEFT,        /* after leave: all is said */
};

struct kh_runtime_path {
    bool relayed;
    char local[KH_RUNTIME_ADDR_SIZE]; /* "192.0.2.1:3478" or "[2001:db8::1]:3478" */
    char remote[KH_RUNTIME_ADDR_SIZE];
    char local_candidate[8]; /* host, srflx, prflx, mapped or relay */
    char candidate[8];       /* the same of the remote side */
    char transport[4];       /* udp, tcp or tls; relayed: by which we reach the relay */
    double rtt_ms;
};

/* Pointers are never NULL and live until the next call of kh_runtime_next_event or _close. */
struct kh_runtime_event {
    enum kh_runtime_event_kind kind;
    const char *member; /* "" if it does not apply, as all texts here */
    const char *name;
    const char *id;
    const char *code; /* a word for programs, such as "name-changed-key" */
    const char *text;
    size_t text_len;
    uint64_t time_ms; /* Unix time that the author claims */
    bool channel;     /* came over the secure channel; else sealed, through the server */
    struct kh_runtime_path path;
};

struct kh_runtime_member {
    char id[KH_RUNTIME_ID_SIZE];
    char name[KH_RUNTIME_NAME_MAX + 1];
    char verify[KH_RUNTIME_VERIFY_SIZE]; /* the same digits at both ends, or someone interposes */
    bool open;                           /* the secure channel to it */
    bool has_path;
    struct kh_runtime_path path;
    size_t undelivered; /* messages of ours it does not have yet */
};

/* ---- links ---- */

/* Makes a link to a new room at this server ("host", "host:port", "http://…", "https://…").
 * BAD_SERVER with a sentence in why. */
enum kh_runtime_result kh_runtime_make_link(const char *server,
                                            char link[static KH_RUNTIME_LINK_SIZE],
                                            char why[static KH_RUNTIME_WHY_SIZE]);
/* Is it one?  BAD_LINK with a sentence in why that tells a mistyped link from no link. */
enum kh_runtime_result kh_runtime_check_link(const char *link,
                                             char why[static KH_RUNTIME_WHY_SIZE]);

/* ---- life ---- */

/* Becomes a member as soon as the loop runs; what is said before then travels with the joining.
 * Any result but OK leaves *out alone and puts a sentence into why. */
enum kh_runtime_result kh_runtime_open(struct kh_runtime **out,
                                       const struct kh_runtime_config *config,
                                       char why[static KH_RUNTIME_WHY_SIZE]);
/* Ends at once, without a goodbye unless LEFT was seen.  The memory is freed by the loop, which
 * must run on until nothing is left in it.  NULL is allowed. */
void kh_runtime_close(struct kh_runtime *runtime);

/* ---- what a member does ---- */

/* Says text to all members, present and future ones.  A SENT event tells its id.  OK, BAD_TEXT or
 * FULL. */
enum kh_runtime_result kh_runtime_say(struct kh_runtime *runtime, const char *text, size_t len);
/* Says goodbye; LEFT follows within two seconds. */
void kh_runtime_leave(struct kh_runtime *runtime);
bool kh_runtime_next_event(struct kh_runtime *runtime, struct kh_runtime_event *out);

/* ---- looking in ---- */

/* The n-th present member, from 0; false past the last. */
bool kh_runtime_member_at(const struct kh_runtime *runtime, size_t n,
                          struct kh_runtime_member *out);
/* Messages of ours that present members do not have yet, and those not yet accepted. */
size_t kh_runtime_undelivered(const struct kh_runtime *runtime);
/* How often messages came again so far.  While this grows someone lacks our acknowledgement, and
 * would take what we have for lost if we left. */
uint64_t kh_runtime_repeats(const struct kh_runtime *runtime);
/* True if a present member is known to have said more than has arrived. */
bool kh_runtime_is_lacking(const struct kh_runtime *runtime);

#endif
