/* knothole/input.c - reads standard input as the loop allows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define FIRST_WAIT_MS 5   /* for the writer of a pipe that was started along with us */
#define FIRST_READS_MAX 8 /* chunks taken before the loop starts */

static void listen_to(struct kh_input *input);

static void stop_listening(struct kh_input *input)
{
    if (!input->open)
        return;
    if (input->is_file)
        uv_idle_stop(&input->handle.idle);
    else
        uv_poll_stop(&input->handle.poll);
}

/* Gives one line to the owner; false if it was not taken. */
static bool offer(struct kh_input *input, const char *line, size_t len)
{
    if (input->on_line(input->context, line, len))
        return true;
    input->refused = line;
    input->refused_len = len;
    input->paused = true;
    stop_listening(input);
    return false;
}

static void cut(struct kh_input *input)
{
    const char *line;
    size_t len;

    while (!input->paused) {
        switch (kh_lines_next(&input->lines, &input->rest, &input->rest_len, &line, &len)) {
        case KH_LINES_MORE:
            return;
        case KH_LINES_LINE:
            (void)offer(input, line, len);
            break;
        case KH_LINES_TOO_LONG:
            input->on_too_long(input->context);
            break;
        }
    }
}

static void end(struct kh_input *input)
{
    const char *line;
    size_t len;

    stop_listening(input);
    input->ended = true;
    switch (kh_lines_end(&input->lines, &line, &len)) {
    case KH_LINES_MORE:
        break;
    case KH_LINES_LINE:
        if (!offer(input, line, len))
            return;
        break;
    case KH_LINES_TOO_LONG:
        input->on_too_long(input->context);
        break;
    }
    input->on_end(input->context);
}

/* Reads once, which does not wait: somebody just said that there is something. */
static void read_chunk(struct kh_input *input)
{
    ssize_t got = read(STDIN_FILENO, input->chunk, sizeof input->chunk);

    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (got <= 0) {
        end(input);
        return;
    }
    input->rest = input->chunk;
    input->rest_len = (size_t)got;
    cut(input);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    read_chunk(poll->data);
}

static void on_idle(uv_idle_t *idle)
{
    read_chunk(idle->data);
}

static void listen_to(struct kh_input *input)
{
    if (!input->open || input->paused || input->ended)
        return;
    if (input->is_file)
        uv_idle_start(&input->handle.idle, on_idle);
    else
        uv_poll_start(&input->handle.poll, UV_READABLE | UV_DISCONNECT, on_readable);
}

static void read_first(struct kh_input *input)
{
    struct pollfd pollfd = {.fd = STDIN_FILENO, .events = POLLIN};
    int wait = FIRST_WAIT_MS;

    for (int i = 0; i < FIRST_READS_MAX && !input->ended && !input->paused; i++) {
        if (poll(&pollfd, 1, wait) <= 0)
            return;
        wait = 0;
        read_chunk(input);
    }
}

void kh_input_open(struct kh_input *input, uv_loop_t *loop)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);

    if (!isatty(STDIN_FILENO))
        read_first(input);
    input->is_file = uv_poll_init(loop, &input->handle.poll, STDIN_FILENO) != 0;
    if (input->is_file)
        uv_idle_init(loop, &input->handle.idle);
    else if (flags >= 0)
        /* libuv made it non-blocking, for everyone who shares it: our own stdout on a terminal, and
         * the shell after us.  We read only when told, so there is no need. */
        (void)fcntl(STDIN_FILENO, F_SETFL, flags);
    input->handle.poll.data = input; /* data comes first in every handle */
    input->open = true;
    listen_to(input);
}

void kh_input_resume(struct kh_input *input)
{
    if (!input->paused)
        return;
    input->paused = false;
    if (!offer(input, input->refused, input->refused_len))
        return;
    if (input->ended) {
        input->on_end(input->context);
        return;
    }
    cut(input);
    listen_to(input);
}

void kh_input_close(struct kh_input *input)
{
    if (!input->open)
        return;
    input->open = false;
    uv_close((uv_handle_t *)&input->handle, NULL);
}
