/* knothole/lines.h - cuts what comes in into lines.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_LINES_H
#define KH_KNOTHOLE_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "knothole/knothole.h"

#define KH_LINES_MAX (KH_RUNTIME_TEXT_MAX + 2) /* a whole message, its escaping /, and a CR */

enum kh_lines_result {
    KH_LINES_MORE, /* no whole line yet, and all input is taken */
    KH_LINES_LINE,
    KH_LINES_TOO_LONG, /* a line that is skipped as a whole */
};

struct kh_lines {
    char buffer[KH_LINES_MAX];
    size_t len;
    bool skipping; /* the rest of a line that is too long */
    size_t number; /* of the line given last, from 1 */
};

/* Takes from *data, of which *left bytes are there, and moves both on.  A LINE, without its end (LF
 * or CR LF), is valid until the next call. */
enum kh_lines_result kh_lines_next(struct kh_lines *lines, const char **data, size_t *left,
                                   const char **line, size_t *len);

/* The end of input: is there a last line without an end? */
enum kh_lines_result kh_lines_end(struct kh_lines *lines, const char **line, size_t *len);

#endif
