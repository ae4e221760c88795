/* knothole/input.h - lines of standard input, be it a terminal, a pipe or a file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_INPUT_H
#define KH_KNOTHOLE_INPUT_H

#include <uv.h>

#include "lines.h"

/* Zeroed, with the callbacks filled in, it is ready for kh_input_open. */
struct kh_input {
    /* Returns false if the line cannot be taken now: it is offered again after resume. */
    bool (*on_line)(void *context, const char *line, size_t len);
    void (*on_too_long)(void *context);
    void (*on_end)(void *context);
    void *context;

    struct kh_lines lines;
    union {
        uv_poll_t poll;
        uv_idle_t idle; /* files are always readable, and epoll refuses them */
    } handle;
    bool is_file;
    bool open;
    bool paused;
    bool ended;
    char chunk[2048]; /* small: between two of them the network gets its turn */
    const char *rest; /* of chunk, not yet cut */
    size_t rest_len;
    const char *refused; /* a line not taken */
    size_t refused_len;
};

/* Takes what is there already, waiting a few milliseconds for the first of it, unless standard
 * input is a terminal; then goes on as the loop runs. */
void kh_input_open(struct kh_input *input, uv_loop_t *loop);
/* Offers the refused line again and goes on if it is taken. */
void kh_input_resume(struct kh_input *input);
/* Stops for good; the loop must run once more. */
void kh_input_close(struct kh_input *input);

#endif
