/* knothole/chat.c - `knothole chat`: joins a room, says what is typed, shows what is heard.
 *
 * SPDX-License-Identifier: MIT
 */
#include "chat.h"

#include <assert.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "command.h"

#define TICK_MS 50

/* ---- telling ---- */

void kh_chat_say_note(struct kh_chat *chat, enum kh_chat_tone tone, const char *code,
                      const char *format, ...)
{
    char text[KH_CHAT_SENTENCE_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    chat->view->note(chat, &(struct kh_chat_note){.tone = tone, .code = code, .text = text});
}

static void on_log(void *context, enum kh_runtime_log_level level, const char *line)
{
    struct kh_chat *chat = context;
    const char *name = kh_log_level_name((enum kh_log_level)level);

    if (chat->view == &kh_chat_view_screen && isatty(STDERR_FILENO))
        kh_chat_say_note(chat, KH_CHAT_INFO, "log", "%s: %s", name, line);
    else
        (void)fprintf(stderr, "knothole: %s: %s\n", name, line);
}

/* ---- ending ---- */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void close_loop(struct kh_chat *chat)
{
    uv_close((uv_handle_t *)&chat->timer, NULL);
    for (size_t i = 0; i < sizeof chat->signals / sizeof chat->signals[0]; i++)
        uv_close((uv_handle_t *)&chat->signals[i], NULL);
}

static void close_all(struct kh_chat *chat)
{
    if (chat->over)
        return;
    chat->over = true;
    chat->view->close(chat);
    kh_runtime_close(chat->runtime);
    kh_input_close(&chat->input);
    close_loop(chat);
}

void kh_chat_leave(struct kh_chat *chat)
{
    if (chat->leaving)
        return;
    chat->leaving = true;
    chat->ending.left_undelivered = kh_runtime_undelivered(chat->runtime);
    kh_runtime_leave(chat->runtime);
}

void kh_chat_output_broke(struct kh_chat *chat)
{
    if (!chat->leaving)
        (void)fprintf(stderr, "knothole chat: nothing more can be written to standard output\n");
    kh_chat_leave(chat);
}

static void on_tick(uv_timer_t *timer)
{
    struct kh_chat *chat = timer->data;
    struct kh_runtime_member member;
    struct kh_ending_room room;

    if (chat->input.paused)
        kh_input_resume(&chat->input);
    if (!chat->interactive && chat->input.paused)
        kh_ending_set_input_over(&chat->ending, now_ms(), true);
    room = (struct kh_ending_room){
        .has_members = kh_runtime_member_at(chat->runtime, 0, &member),
        .undelivered = kh_runtime_undelivered(chat->runtime),
    };
    kh_ending_set_flow(&chat->ending, now_ms(), kh_runtime_repeats(chat->runtime),
                       kh_runtime_is_lacking(chat->runtime));
    if (kh_ending_is_due(&chat->ending, now_ms(), &room))
        kh_chat_leave(chat);
    if (chat->leaving || (!chat->ending.input_over && !chat->input.paused))
        uv_timer_stop(&chat->timer);
}

static void start_ticking(struct kh_chat *chat)
{
    if (!chat->over && !uv_is_active((const uv_handle_t *)&chat->timer))
        uv_timer_start(&chat->timer, on_tick, TICK_MS, TICK_MS);
}

void kh_chat_input_ended(struct kh_chat *chat)
{
    kh_ending_set_input_over(&chat->ending, now_ms(), true);
    start_ticking(chat);
}

/* The first signal says goodbye; the second one does not wait for it. */
static void on_signal(uv_signal_t *signal, int number)
{
    struct kh_chat *chat = signal->data;

    (void)number;
    if (chat->leaving)
        close_all(chat);
    else
        kh_chat_leave(chat);
}

/* ---- input ---- */

static void show_help(struct kh_chat *chat)
{
    static const char *const lines[] = {
        "/peers    who is here, and by which path",
        "/verify   digits to compare with the others, by voice, to know that nobody interposes",
        "/quit     leave",
        "//text    say a line that begins with /",
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        kh_chat_say_note(chat, KH_CHAT_INFO, "help", "%s", lines[i]);
}

static bool is_command(const char *line, size_t len, const char *name)
{
    while (len > 0 && line[len - 1] == ' ')
        len--;
    return len == strlen(name) && memcmp(line, name, len) == 0;
}

static void run_command(struct kh_chat *chat, const char *line, size_t len)
{
    if (is_command(line, len, "/quit"))
        kh_chat_leave(chat);
    else if (is_command(line, len, "/peers"))
        chat->view->members(chat, false);
    else if (is_command(line, len, "/verify"))
        chat->view->members(chat, true);
    else if (is_command(line, len, "/help"))
        show_help(chat);
    else
        kh_chat_say_note(chat, KH_CHAT_WARNING, "unknown-command",
                         "there is no such command, so nothing was sent: /help lists them, and // "
                         "begins a message with /");
}

static void note_skipped(struct kh_chat *chat)
{
    chat->ending.skipped++;
    kh_chat_say_note(chat, KH_CHAT_WARNING, "line-skipped",
                     "a line was not sent: messages are at most %d bytes of UTF-8 without control "
                     "characters",
                     KH_RUNTIME_TEXT_MAX);
}

enum kh_chat_taken kh_chat_line(struct kh_chat *chat, const char *line, size_t len)
{
    if (chat->leaving || len == 0)
        return KH_CHAT_TAKEN;
    if (line[0] == '/' && (len == 1 || line[1] != '/')) {
        run_command(chat, line, len);
        return KH_CHAT_TAKEN;
    }
    if (line[0] == '/') {
        line++;
        len--;
    }
    switch (kh_runtime_say(chat->runtime, line, len)) {
    case KH_RUNTIME_OK:
        return KH_CHAT_TAKEN;
    case KH_RUNTIME_FULL:
        start_ticking(chat);
        return KH_CHAT_HOLD;
    case KH_RUNTIME_BAD_TEXT:
    case KH_RUNTIME_BAD_SERVER:
    case KH_RUNTIME_BAD_LINK:
    case KH_RUNTIME_BAD_NAME:
    case KH_RUNTIME_NO_STATE:
    case KH_RUNTIME_NO_SYSTEM:
        break;
    }
    note_skipped(chat);
    return KH_CHAT_TAKEN;
}

static bool on_line(void *context, const char *line, size_t len)
{
    struct kh_chat *chat = context;

    if (kh_chat_line(chat, line, len) == KH_CHAT_HOLD)
        return false;
    if (!chat->input.ended) /* it was over only for want of room */
        kh_ending_set_input_over(&chat->ending, now_ms(), false);
    return true;
}

static void on_too_long(void *context)
{
    note_skipped(context);
}

static void on_input_end(void *context)
{
    kh_chat_input_ended(context);
}

/* ---- events ---- */

static void on_event(struct kh_chat *chat, const struct kh_runtime_event *event)
{
    kh_ending_note(&chat->ending, now_ms(), event);
    chat->view->event(chat, event);
    if (event->kind == KH_RUNTIME_EVENT_ERROR)
        kh_chat_leave(chat);
    if (event->kind == KH_RUNTIME_EVENT_LEFT)
        close_all(chat);
}

static void on_wake(void *context)
{
    struct kh_chat *chat = context;
    struct kh_runtime_event event;

    while (!chat->over && kh_runtime_next_event(chat->runtime, &event))
        on_event(chat, &event);
    if (!chat->over && chat->input.paused)
        kh_input_resume(&chat->input);
}

/* ---- life ---- */

static const struct kh_chat_view *choose_view(const struct kh_options *options)
{
    if (options->view == KH_OPTIONS_JSON)
        return &kh_chat_view_json;
    if (options->view == KH_OPTIONS_PLAIN || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return &kh_chat_view_plain;
    return &kh_chat_view_screen;
}

static void open_loop(struct kh_chat *chat)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    int error = uv_loop_init(&chat->loop);

    assert(error == 0);
    uv_timer_init(&chat->loop, &chat->timer);
    chat->timer.data = chat;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uv_signal_init(&chat->loop, &chat->signals[i]);
        chat->signals[i].data = chat;
        uv_signal_start(&chat->signals[i], on_signal, numbers[i]);
    }
}

/* Finds or makes the link. */
static bool find_link(struct kh_chat *chat, const char *target, char *why)
{
    if (strchr(target, '#') == NULL) {
        chat->link_is_new = true;
        return kh_runtime_make_link(target, chat->link, why) == KH_RUNTIME_OK;
    }
    if (kh_runtime_check_link(target, why) != KH_RUNTIME_OK)
        return false;
    (void)snprintf(chat->link, sizeof chat->link, "%s", target);
    return true;
}

static int finish(struct kh_chat *chat)
{
    size_t missing = 0;
    int code = kh_ending_exit_code(&chat->ending, &missing);

    if (code == KH_EXIT_NO_SERVER)
        (void)fprintf(stderr, "knothole chat: no server could be reached\n");
    else if (missing > 0)
        (void)fprintf(stderr, "knothole chat: %zu message%s not delivered to everyone\n", missing,
                      missing == 1 ? " was" : "s were");
    kh_ending_fini(&chat->ending);
    return code;
}

static int run(struct kh_chat *chat)
{
    const struct kh_options *options = chat->options;
    const struct kh_runtime_config config = {.loop = &chat->loop,
                                             .link = chat->link,
                                             .name = options->name,
                                             .state_dir = options->state_dir,
                                             .paths = options->paths,
                                             .local_name = options->local_name,
                                             .server_udp_only = options->server_udp_only,
                                             .no_port_mapping = options->no_port_mapping,
                                             .no_punching = options->no_punching,
                                             .wake = on_wake,
                                             .log = on_log,
                                             .log_level = options->log_level,
                                             .log_addresses = options->log_addresses,
                                             .context = chat};
    char why[KH_RUNTIME_WHY_SIZE];

    open_loop(chat);
    if (kh_runtime_open(&chat->runtime, &config, why) != KH_RUNTIME_OK) {
        (void)fprintf(stderr, "knothole chat: %s\n", why);
        close_loop(chat);
        uv_run(&chat->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&chat->loop);
        return KH_EXIT_FAILED;
    }
    if (!chat->view->open(chat)) {
        chat->view = &kh_chat_view_plain;
        (void)chat->view->open(chat);
    }
    chat->input = (struct kh_input){
        .on_line = on_line, .on_too_long = on_too_long, .on_end = on_input_end, .context = chat};
    if (!chat->view->reads_input)
        kh_input_open(&chat->input, &chat->loop);
    uv_run(&chat->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&chat->loop);
    return finish(chat);
}

int kh_command_chat(int argc, char **argv)
{
    struct kh_options options;
    char why[KH_RUNTIME_WHY_SIZE];
    struct kh_chat *chat = calloc(1, sizeof *chat);
    int code = KH_EXIT_USAGE;

    assert(chat != NULL);
    if (!kh_options_parse(&options, argc, argv, getenv("USER"), why)) {
        (void)fprintf(stderr, "knothole chat: %s (see knothole chat --help)\n", why);
        goto out;
    }
    if (options.help) {
        (void)fputs(kh_options_help, stdout);
        code = KH_EXIT_OK;
        goto out;
    }
    if (!find_link(chat, options.target, why)) {
        (void)fprintf(stderr, "knothole chat: %s\n", why);
        goto out;
    }
    chat->options = &options;
    chat->view = choose_view(&options);
    chat->interactive = isatty(STDIN_FILENO) != 0;
    chat->ending.linger_ms = options.linger_ms;
    code = run(chat);

out:
    free(chat);
    return code;
}
