/* knothole/scrollback.c - entries of text, folded into rows.
 *
 * SPDX-License-Identifier: MIT
 */
#include "scrollback.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_OF_ENTRY_MAX 512 /* a message of 16 KiB on forty columns */

void kh_scrollback_fini(struct kh_scrollback *scrollback)
{
    for (size_t i = 0; i < KH_SCROLLBACK_MAX; i++)
        free(scrollback->entries[i].text);
    *scrollback = (struct kh_scrollback){0};
}

/* Appends UTF-8 as wide characters; what the locale cannot read becomes a question mark. */
static size_t append(wchar_t *out, const char *text)
{
    size_t left = strlen(text);
    size_t len = 0;
    mbstate_t state = {0};

    while (left > 0) {
        size_t used = mbrtowc(&out[len], text, left, &state);

        if (used == (size_t)-1 || used == (size_t)-2 || used == 0) {
            out[len] = L'?';
            used = 1;
            state = (mbstate_t){0};
        }
        if (out[len] < L' ')
            out[len] = L' ';
        len++;
        text += used;
        left -= used;
    }
    return len;
}

void kh_scrollback_add(struct kh_scrollback *scrollback, enum kh_scrollback_style style,
                       const char *head, const char *text)
{
    size_t at = (scrollback->first + scrollback->count) % KH_SCROLLBACK_MAX;
    struct kh_scrollback_entry *entry = &scrollback->entries[at];
    wchar_t *copy = calloc(strlen(head) + strlen(text) + 1, sizeof *copy);

    if (copy == NULL)
        return;
    if (scrollback->count == KH_SCROLLBACK_MAX) {
        scrollback->first = (scrollback->first + 1) % KH_SCROLLBACK_MAX;
        scrollback->count--;
    }
    free(entry->text);
    entry->style = style;
    entry->text = copy;
    entry->head_len = append(copy, head);
    entry->len = entry->head_len + append(copy + entry->head_len, text);
    scrollback->count++;
}

size_t kh_scrollback_columns(const wchar_t *text, size_t len)
{
    size_t columns = 0;

    for (size_t i = 0; i < len; i++) {
        int width = wcwidth(text[i]);

        columns += width > 0 ? (size_t)width : 0;
    }
    return columns;
}

/* How many characters of the text fit the width: up to a space if there is one, at least one. */
static size_t fit(const wchar_t *text, size_t len, size_t width)
{
    size_t columns = 0;
    size_t space = 0;

    for (size_t i = 0; i < len; i++) {
        columns += kh_scrollback_columns(&text[i], 1);
        if (columns > width)
            return space > 0 ? space : i > 0 ? i : 1;
        if (text[i] == L' ')
            space = i + 1;
    }
    return len;
}

size_t kh_scrollback_fold(const struct kh_scrollback *scrollback, size_t width, size_t height,
                          size_t skip, struct kh_scrollback_row *rows)
{
    size_t total = 0;

    memset(rows, 0, height * sizeof rows[0]);
    for (size_t n = scrollback->count; n-- > 0 && total < skip + height;) {
        const struct kh_scrollback_entry *entry =
            &scrollback->entries[(scrollback->first + n) % KH_SCROLLBACK_MAX];
        size_t ends[ROWS_OF_ENTRY_MAX];
        size_t count = 0;

        for (size_t at = 0; at < entry->len && count < ROWS_OF_ENTRY_MAX;) {
            at += fit(entry->text + at, entry->len - at, width);
            ends[count++] = at;
        }
        for (; count > 0 && total < skip + height; count--, total++) {
            size_t start = count > 1 ? ends[count - 2] : 0;

            if (total >= skip)
                rows[height - 1 - (total - skip)] =
                    (struct kh_scrollback_row){entry, start, ends[count - 1] - start};
        }
    }
    return total;
}
