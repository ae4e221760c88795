/* knothole/chat_screen.c - the conversation on a full screen.
 *
 * SPDX-License-Identifier: MIT
 *
 * What is said scrolls above; below it a bar with the room, the people and their paths, and the
 * line being typed.  Everything is drawn by curses from what is kept here, so nothing tears.
 */
#include "chat.h"

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "edit.h"
#include "scrollback.h"

#define ROWS_MAX 512
#define COLUMNS_MIN 10 /* below this nothing sensible can be drawn */
#define CONTROL(letter) ((wint_t)((letter)&0x1f))
#define COLOR_WARNING 1
#define COLOR_NAME 2

struct screen {
    struct kh_scrollback scrollback;
    struct kh_edit edit;
    size_t skip;  /* rows scrolled up */
    size_t total; /* rows there were at the last drawing, as far as they were counted */
    uv_poll_t keys;
    uv_signal_t resized;
    size_t handles; /* that libuv still knows */
    SCREEN *terminal;
    bool colors;
};

/* ---- drawing ---- */

static attr_t style_of(const struct screen *screen, enum kh_scrollback_style style)
{
    switch (style) {
    case KH_STYLE_NOTE:
        return A_DIM;
    case KH_STYLE_WARNING:
        return A_BOLD | (screen->colors ? (attr_t)COLOR_PAIR(COLOR_WARNING) : 0);
    case KH_STYLE_MESSAGE:
    case KH_STYLE_OWN:
        break;
    }
    return A_NORMAL;
}

static attr_t head_style(const struct screen *screen, enum kh_scrollback_style style)
{
    if (style == KH_STYLE_MESSAGE)
        return A_BOLD | (screen->colors ? (attr_t)COLOR_PAIR(COLOR_NAME) : 0);
    return style == KH_STYLE_OWN ? A_BOLD : style_of(screen, style);
}

static void draw_row(const struct screen *screen, int y, const struct kh_scrollback_row *row)
{
    const struct kh_scrollback_entry *entry = row->entry;
    size_t head = entry->head_len > row->start ? entry->head_len - row->start : 0;

    if (head > row->len)
        head = row->len;
    (void)move(y, 0);
    (void)attrset((int)head_style(screen, entry->style));
    (void)addnwstr(entry->text + row->start, (int)head);
    (void)attrset((int)style_of(screen, entry->style));
    (void)addnwstr(entry->text + row->start + head, (int)(row->len - head));
    (void)attrset(A_NORMAL);
}

static void draw_messages(struct screen *screen)
{
    static struct kh_scrollback_row rows[ROWS_MAX];
    size_t height = (size_t)(LINES > 2 ? LINES - 2 : 0);

    if (height > ROWS_MAX)
        height = ROWS_MAX;
    screen->total =
        kh_scrollback_fold(&screen->scrollback, (size_t)COLS, height, screen->skip, rows);
    if (screen->skip > 0 && screen->total < screen->skip + height) { /* scrolled past the top */
        screen->skip = screen->total > height ? screen->total - height : 0;
        (void)kh_scrollback_fold(&screen->scrollback, (size_t)COLS, height, screen->skip, rows);
    }
    for (size_t y = 0; y < height; y++) {
        if (rows[y].entry != NULL)
            draw_row(screen, (int)y, &rows[y]);
    }
}

static void describe_members(const struct kh_chat *chat, char *out, size_t max)
{
    struct kh_runtime_member member;
    size_t len = 0;

    out[0] = '\0';
    for (size_t n = 0; len < max && kh_runtime_member_at(chat->runtime, n, &member); n++) {
        int done =
            member.has_path
                ? snprintf(out + len, max - len, "%s%s (%s %.0f ms)", n > 0 ? ", " : "",
                           member.name, member.path.relayed ? "relayed" : "direct",
                           member.path.rtt_ms)
                : snprintf(out + len, max - len, "%s%s (...)", n > 0 ? ", " : "", member.name);

        len += done > 0 ? (size_t)done : 0;
    }
    if (len == 0)
        (void)snprintf(out, max, "nobody else is here");
}

static void draw_bar(const struct kh_chat *chat, const struct screen *screen)
{
    char members[512];
    char bar[768];

    describe_members(chat, members, sizeof members);
    (void)snprintf(bar, sizeof bar, " %.48s | %.500s%s", chat->options->name, members,
                   screen->skip > 0 ? " | PageDown for newer" : "");
    (void)attrset(A_REVERSE);
    (void)mvhline(LINES - 2, 0, ' ', COLS);
    (void)mvaddnstr(LINES - 2, 0, bar, -1);
    (void)attrset(A_NORMAL);
}

/* Draws the part of the line that has the cursor in it. */
static void draw_input(const struct screen *screen)
{
    const struct kh_edit *edit = &screen->edit;
    wchar_t text[KH_EDIT_MAX];
    size_t width = (size_t)COLS - 3; /* the prompt, and a place for the cursor at the end */
    size_t start = 0;
    size_t end = edit->cursor;
    size_t before; /* columns from start to the cursor */
    size_t columns;

    for (size_t i = 0; i < edit->line.len; i++)
        text[i] = (wchar_t)edit->line.text[i];
    before = kh_scrollback_columns(text, edit->cursor);
    while (before > width)
        before -= kh_scrollback_columns(&text[start++], 1);
    columns = before;
    while (end < edit->line.len && columns <= width)
        columns += kh_scrollback_columns(&text[end++], 1);
    if (columns > width + 1) /* a wide one at the edge */
        end--;
    (void)mvaddstr(LINES - 1, 0, "> ");
    (void)addnwstr(text + start, (int)(end - start));
    (void)move(LINES - 1, 2 + (int)before);
}

static void draw(struct kh_chat *chat)
{
    struct screen *screen = chat->screen;

    (void)erase();
    if (LINES >= 3 && COLS >= COLUMNS_MIN) {
        draw_messages(screen);
        draw_bar(chat, screen);
        draw_input(screen);
    }
    (void)refresh();
}

/* ---- what is shown ---- */

static void add(struct screen *screen, enum kh_scrollback_style style, const char *name,
                const char *text)
{
    char head[KH_RUNTIME_NAME_MAX + 32];
    char clock[16];
    time_t now = time(NULL);
    struct tm local;

    (void)strftime(clock, sizeof clock, "%H:%M", localtime_r(&now, &local));
    (void)snprintf(head, sizeof head, "%s %s%s", clock, name,
                   style == KH_STYLE_MESSAGE || style == KH_STYLE_OWN ? ": " : "");
    kh_scrollback_add(&screen->scrollback, style, head, text);
}

static void show_event(struct kh_chat *chat, const struct kh_runtime_event *event)
{
    struct screen *screen = chat->screen;
    char sentence[KH_CHAT_SENTENCE_MAX];

    if (screen == NULL)
        return;
    if (event->kind == KH_RUNTIME_EVENT_MESSAGE)
        add(screen, KH_STYLE_MESSAGE, event->name, event->text);
    else if (event->kind == KH_RUNTIME_EVENT_SENT)
        add(screen, KH_STYLE_OWN, chat->options->name, event->text);
    else if (kh_chat_describe(event, sentence))
        add(screen,
            event->kind == KH_RUNTIME_EVENT_WARNING || event->kind == KH_RUNTIME_EVENT_ERROR
                ? KH_STYLE_WARNING
                : KH_STYLE_NOTE,
            "", sentence);
    draw(chat);
}

static void show_note(struct kh_chat *chat, const struct kh_chat_note *note)
{
    if (chat->screen == NULL) /* a log line before or after */
        return;
    add(chat->screen, note->tone == KH_CHAT_INFO ? KH_STYLE_NOTE : KH_STYLE_WARNING, "",
        note->text);
    draw(chat);
}

static void show_members(struct kh_chat *chat, bool verify)
{
    struct kh_runtime_member member;
    char path[KH_CHAT_SENTENCE_MAX];
    char line[KH_CHAT_SENTENCE_MAX];
    size_t n = 0;

    for (; kh_runtime_member_at(chat->runtime, n, &member); n++) {
        (void)snprintf(line, sizeof line, "%s: %.600s", member.name,
                       verify            ? member.verify
                       : member.has_path ? kh_chat_describe_path(&member.path, path)
                                         : "no path yet");
        add(chat->screen, KH_STYLE_NOTE, "", line);
    }
    if (n == 0)
        add(chat->screen, KH_STYLE_NOTE, "", "nobody else is here");
    draw(chat);
}

/* ---- keys ---- */

static void send_line(struct kh_chat *chat, struct screen *screen)
{
    char text[KH_EDIT_UTF8_MAX];
    size_t len = kh_edit_text(&screen->edit, text);

    if (kh_chat_line(chat, text, len) == KH_CHAT_HOLD) {
        kh_chat_say_note(chat, KH_CHAT_WARNING, "full",
                         "not sent yet: too much is undelivered; press Enter again later");
        return;
    }
    kh_edit_accept(&screen->edit);
    screen->skip = 0;
}

static void scroll_by(struct screen *screen, int pages)
{
    size_t page = (size_t)(LINES > 3 ? LINES - 3 : 1);

    if (pages > 0)
        screen->skip += page; /* draw_messages stops at the top */
    else
        screen->skip -= screen->skip < page ? screen->skip : page;
}

/* True if the key edits the line. */
static bool find_edit_key(int status, wint_t key, enum kh_edit_key *out)
{
    static const struct {
        bool function; /* a KEY_ of curses */
        wint_t key;
        enum kh_edit_key edit;
    } table[] = {
        {true, KEY_LEFT, KH_EDIT_LEFT},
        {true, KEY_RIGHT, KH_EDIT_RIGHT},
        {true, KEY_HOME, KH_EDIT_HOME},
        {true, KEY_END, KH_EDIT_END},
        {true, KEY_BACKSPACE, KH_EDIT_BACKSPACE},
        {true, KEY_DC, KH_EDIT_DELETE},
        {true, KEY_UP, KH_EDIT_OLDER},
        {true, KEY_DOWN, KH_EDIT_NEWER},
        {false, CONTROL('B'), KH_EDIT_LEFT},
        {false, CONTROL('F'), KH_EDIT_RIGHT},
        {false, CONTROL('A'), KH_EDIT_HOME},
        {false, CONTROL('E'), KH_EDIT_END},
        {false, CONTROL('H'), KH_EDIT_BACKSPACE},
        {false, 0x7f, KH_EDIT_BACKSPACE},
        {false, CONTROL('K'), KH_EDIT_CUT_TO_END},
        {false, CONTROL('U'), KH_EDIT_CUT_TO_START},
        {false, CONTROL('W'), KH_EDIT_CUT_WORD},
        {false, CONTROL('P'), KH_EDIT_OLDER},
        {false, CONTROL('N'), KH_EDIT_NEWER},
    };

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].function == (status == KEY_CODE_YES) && table[i].key == key) {
            *out = table[i].edit;
            return true;
        }
    }
    return false;
}

/* Takes the rest of a sequence that curses does not know, so that no part of it is typed. */
static void skip_sequence(void)
{
    wint_t key;

    if (get_wch(&key) == ERR || (key != L'[' && key != L'O'))
        return;
    while (get_wch(&key) == OK && (key < 0x40 || key > 0x7e))
        continue;
}

static void handle_key(struct kh_chat *chat, struct screen *screen, int status, wint_t key)
{
    bool function = status == KEY_CODE_YES;
    enum kh_edit_key edit_key;

    if (find_edit_key(status, key, &edit_key))
        kh_edit_press(&screen->edit, edit_key);
    else if (function && (key == KEY_PPAGE || key == KEY_NPAGE))
        scroll_by(screen, key == KEY_PPAGE ? 1 : -1);
    else if ((function && key == KEY_ENTER) || (!function && (key == L'\r' || key == L'\n')))
        send_line(chat, screen);
    else if (!function && key == CONTROL('D') && screen->edit.line.len == 0)
        kh_chat_leave(chat);
    else if (!function && key == CONTROL('D'))
        kh_edit_press(&screen->edit, KH_EDIT_DELETE);
    else if (!function && key == CONTROL('L'))
        (void)clearok(stdscr, TRUE);
    else if (!function && key == CONTROL('['))
        skip_sequence();
    else if (!function)
        kh_edit_insert(&screen->edit, (uint32_t)key);
}

/* No key may also mean the first byte of one. */
static bool is_gone(void)
{
    struct pollfd pollfd = {.fd = STDIN_FILENO};

    return poll(&pollfd, 1, 0) > 0;
}

static void on_keys(uv_poll_t *poll, int uv_status, int events)
{
    struct kh_chat *chat = poll->data;
    bool any = false;
    wint_t key;
    int status;

    (void)uv_status;
    (void)events;
    while (chat->screen != NULL && (status = get_wch(&key)) != ERR) {
        handle_key(chat, chat->screen, status, key);
        any = true;
    }
    if (chat->screen == NULL)
        return;
    if (!any && is_gone()) {
        uv_poll_stop(poll);
        kh_chat_leave(chat);
        return;
    }
    draw(chat);
}

static void on_resized(uv_signal_t *signal, int number)
{
    struct winsize size;

    (void)number;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0)
        (void)resizeterm(size.ws_row, size.ws_col);
    draw(signal->data);
}

/* ---- life ---- */

/* Messages are UTF-8 whatever the locale; one that is not would show them as question marks. */
static void choose_locale(void)
{
    (void)setlocale(LC_ALL, "");
    (void)setlocale(LC_NUMERIC, "C");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* Many terminals send these whatever mode their description says they are in. */
static const struct {
    const char *sequence;
    int key;
} key_sequences[] = {
    {"\033[A", KEY_UP},   {"\033[B", KEY_DOWN}, {"\033[C", KEY_RIGHT}, {"\033[D", KEY_LEFT},
    {"\033[H", KEY_HOME}, {"\033[F", KEY_END},  {"\033[1~", KEY_HOME}, {"\033[4~", KEY_END},
    {"\033OA", KEY_UP},   {"\033OB", KEY_DOWN}, {"\033OC", KEY_RIGHT}, {"\033OD", KEY_LEFT},
};

static void define_keys(void)
{
    for (size_t i = 0; i < sizeof key_sequences / sizeof key_sequences[0]; i++)
        (void)define_key(key_sequences[i].sequence, key_sequences[i].key);
}

static void prepare_terminal(struct screen *screen)
{
    const char *no_color = getenv("NO_COLOR");

    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(25);
    define_keys();
    screen->colors = (no_color == NULL || no_color[0] == '\0') && has_colors() == TRUE;
    if (screen->colors) {
        (void)start_color();
        (void)use_default_colors();
        (void)init_pair(COLOR_WARNING, COLOR_RED, -1);
        (void)init_pair(COLOR_NAME, COLOR_CYAN, -1);
    }
}

static bool open_screen(struct kh_chat *chat)
{
    struct screen *screen = calloc(1, sizeof *screen);
    int flags;

    if (screen == NULL)
        return false;
    choose_locale();
    screen->terminal = newterm(NULL, stdout, stdin);
    if (screen->terminal == NULL) { /* a terminal that curses does not know */
        free(screen);
        return false;
    }
    prepare_terminal(screen);
    chat->screen = screen;
    flags = fcntl(STDIN_FILENO, F_GETFL);
    uv_poll_init(&chat->loop, &screen->keys, STDIN_FILENO);
    (void)fcntl(STDIN_FILENO, F_SETFL, flags); /* libuv changed it for our output as well */
    screen->keys.data = chat;
    uv_poll_start(&screen->keys, UV_READABLE | UV_DISCONNECT, on_keys);
    uv_signal_init(&chat->loop, &screen->resized);
    screen->resized.data = chat;
    uv_signal_start(&screen->resized, on_resized, SIGWINCH);
    if (chat->link_is_new) {
        add(screen, KH_STYLE_NOTE, "", "give this link to those you want to talk with:");
        add(screen, KH_STYLE_NOTE, "", chat->link);
    }
    add(screen, KH_STYLE_NOTE, "", "/help lists the commands, Ctrl-D leaves");
    draw(chat);
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    struct screen *screen = handle->data;

    if (--screen->handles == 0)
        free(screen);
}

static void close_screen(struct kh_chat *chat)
{
    struct screen *screen = chat->screen;

    chat->screen = NULL;
    (void)endwin();
    delscreen(screen->terminal);
    kh_scrollback_fini(&screen->scrollback);
    kh_edit_fini(&screen->edit);
    screen->handles = 2;
    screen->keys.data = screen;
    screen->resized.data = screen;
    uv_close((uv_handle_t *)&screen->resized, on_closed);
    uv_close((uv_handle_t *)&screen->keys, on_closed);
}

const struct kh_chat_view kh_chat_view_screen = {.open = open_screen,
                                                 .event = show_event,
                                                 .note = show_note,
                                                 .members = show_members,
                                                 .close = close_screen,
                                                 .reads_input = true};
