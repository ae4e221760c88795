/* knothole/edit.c - editing one line of code points.
 *
 * SPDX-License-Identifier: MIT
 */
#include "edit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void kh_edit_fini(struct kh_edit *edit)
{
    for (size_t i = 0; i < edit->history_len; i++)
        free(edit->history[i]);
    edit->history_len = 0;
}

static void copy_line(struct kh_edit_line *to, const struct kh_edit_line *from)
{
    to->len = from->len;
    memcpy(to->text, from->text, from->len * sizeof from->text[0]);
}

/* Takes the code points from `start` up to `end` out and leaves the cursor there. */
static void cut(struct kh_edit *edit, size_t start, size_t end)
{
    struct kh_edit_line *line = &edit->line;

    assert(start <= end && end <= line->len);
    memmove(line->text + start, line->text + end, (line->len - end) * sizeof line->text[0]);
    line->len -= end - start;
    edit->cursor = start;
}

void kh_edit_insert(struct kh_edit *edit, uint32_t code)
{
    struct kh_edit_line *line = &edit->line;
    bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool is_surrogate = code >= 0xd800 && code < 0xe000;

    if (is_control || is_surrogate || code > 0x10ffff || line->len == KH_EDIT_MAX)
        return;
    memmove(line->text + edit->cursor + 1, line->text + edit->cursor,
            (line->len - edit->cursor) * sizeof line->text[0]);
    line->text[edit->cursor++] = code;
    line->len++;
}

static size_t word_start(const struct kh_edit *edit)
{
    size_t at = edit->cursor;

    while (at > 0 && edit->line.text[at - 1] == ' ')
        at--;
    while (at > 0 && edit->line.text[at - 1] != ' ')
        at--;
    return at;
}

static void go_back_to(struct kh_edit *edit, size_t back)
{
    if (back > edit->history_len || back == edit->back)
        return;
    if (edit->back == 0)
        copy_line(&edit->draft, &edit->line);
    edit->back = back;
    copy_line(&edit->line, back == 0 ? &edit->draft : edit->history[edit->history_len - back]);
    edit->cursor = edit->line.len;
}

void kh_edit_press(struct kh_edit *edit, enum kh_edit_key key)
{
    size_t cursor = edit->cursor;
    size_t len = edit->line.len;

    switch (key) {
    case KH_EDIT_LEFT:
        edit->cursor -= cursor > 0;
        break;
    case KH_EDIT_RIGHT:
        edit->cursor += cursor < len;
        break;
    case KH_EDIT_HOME:
        edit->cursor = 0;
        break;
    case KH_EDIT_END:
        edit->cursor = len;
        break;
    case KH_EDIT_BACKSPACE:
        cut(edit, cursor - (cursor > 0), cursor);
        break;
    case KH_EDIT_DELETE:
        cut(edit, cursor, cursor + (cursor < len));
        break;
    case KH_EDIT_CUT_TO_END:
        cut(edit, cursor, len);
        break;
    case KH_EDIT_CUT_TO_START:
        cut(edit, 0, cursor);
        break;
    case KH_EDIT_CUT_WORD:
        cut(edit, word_start(edit), cursor);
        break;
    case KH_EDIT_OLDER:
        go_back_to(edit, edit->back + 1);
        break;
    case KH_EDIT_NEWER:
        if (edit->back > 0)
            go_back_to(edit, edit->back - 1);
        break;
    }
}

/* RFC 3629 3. */
static size_t write_utf8(uint32_t code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

size_t kh_edit_text(const struct kh_edit *edit, char out[static KH_EDIT_UTF8_MAX])
{
    size_t len = 0;

    for (size_t i = 0; i < edit->line.len; i++)
        len += write_utf8(edit->line.text[i], out + len);
    out[len] = '\0';
    return len;
}

static void remember(struct kh_edit *edit)
{
    struct kh_edit_line *copy = malloc(sizeof *copy);

    if (copy == NULL)
        return; /* history is a comfort */
    copy_line(copy, &edit->line);
    if (edit->history_len == KH_EDIT_HISTORY_MAX) {
        free(edit->history[0]);
        memmove(edit->history, edit->history + 1, --edit->history_len * sizeof edit->history[0]);
    }
    edit->history[edit->history_len++] = copy;
}

void kh_edit_accept(struct kh_edit *edit)
{
    if (edit->line.len > 0)
        remember(edit);
    edit->line.len = 0;
    edit->cursor = 0;
    edit->back = 0;
}
