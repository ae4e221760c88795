/* knothole/scrollback.h - what was said, folded to the width of a screen.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_SCROLLBACK_H
#define KH_KNOTHOLE_SCROLLBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

#define KH_SCROLLBACK_MAX 2000 /* entries; older ones are forgotten */

enum kh_scrollback_style { KH_STYLE_MESSAGE, KH_STYLE_OWN, KH_STYLE_NOTE, KH_STYLE_WARNING };

struct kh_scrollback_entry {
    enum kh_scrollback_style style;
    size_t head_len; /* wide characters of the time and name in front */
    size_t len;
    wchar_t *text; /* owned */
};

/* Zeroed, it is empty. */
struct kh_scrollback {
    struct kh_scrollback_entry entries[KH_SCROLLBACK_MAX];
    size_t first;
    size_t count;
};

/* One row of the screen: a part of an entry. */
struct kh_scrollback_row {
    const struct kh_scrollback_entry *entry;
    size_t start; /* in wide characters */
    size_t len;
};

void kh_scrollback_fini(struct kh_scrollback *scrollback);

/* Adds head and text, both UTF-8 in the locale; line breaks become spaces. */
void kh_scrollback_add(struct kh_scrollback *scrollback, enum kh_scrollback_style style,
                       const char *head, const char *text);

/* Fills rows[0 .. height) from the bottom up, after skipping `skip` rows at the bottom; rows that
 * stay empty have no entry.  Returns how many rows there are in all, at most skip + height. */
size_t kh_scrollback_fold(const struct kh_scrollback *scrollback, size_t width, size_t height,
                          size_t skip, struct kh_scrollback_row *rows);

/* Columns that the first len characters take; those a terminal cannot show take none. */
size_t kh_scrollback_columns(const wchar_t *text, size_t len);

#endif
