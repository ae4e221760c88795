/* knothole/edit.h - one line of text that is being typed, and those typed before.
 *
 * SPDX-License-Identifier: MIT
 *
 * It knows no terminal: keys go in, code points and a cursor are there to be drawn.
 */
#ifndef KH_KNOTHOLE_EDIT_H
#define KH_KNOTHOLE_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KH_EDIT_MAX 4000 /* code points; as UTF-8 they fit a message */
#define KH_EDIT_UTF8_MAX (4 * KH_EDIT_MAX + 1)
#define KH_EDIT_HISTORY_MAX 50

enum kh_edit_key {
    KH_EDIT_LEFT,
    KH_EDIT_RIGHT,
    KH_EDIT_HOME,
    KH_EDIT_END,
    KH_EDIT_BACKSPACE,
    KH_EDIT_DELETE,
    KH_EDIT_CUT_TO_END,
    KH_EDIT_CUT_TO_START,
    KH_EDIT_CUT_WORD, /* the one before the cursor */
    KH_EDIT_OLDER,    /* the line typed before */
    KH_EDIT_NEWER,
};

struct kh_edit_line {
    uint32_t text[KH_EDIT_MAX];
    size_t len;
};

/* Zeroed, it is ready. */
struct kh_edit {
    struct kh_edit_line line;
    size_t cursor;             /* 0 .. line.len */
    struct kh_edit_line draft; /* what was being typed when history was entered */
    struct kh_edit_line *history[KH_EDIT_HISTORY_MAX]; /* oldest first */
    size_t history_len;
    size_t back; /* how many lines back in history we are; 0: at the draft */
};

void kh_edit_fini(struct kh_edit *edit);

/* Inserts at the cursor; control characters are ignored. */
void kh_edit_insert(struct kh_edit *edit, uint32_t code);
void kh_edit_press(struct kh_edit *edit, enum kh_edit_key key);

/* Writes the line as UTF-8, terminated, and returns its length. */
size_t kh_edit_text(const struct kh_edit *edit, char out[static KH_EDIT_UTF8_MAX]);

/* The line was used: remembers it and begins a new one. */
void kh_edit_accept(struct kh_edit *edit);

#endif
