/* knotholed/config.h - options of the server in a file, one a line.
 *
 * A line is the name of an option without its dashes, then its value, with spaces or one = between.
 * Empty lines and those that begin with # say nothing.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_CONFIG_H
#define KH_KNOTHOLED_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#define KH_KNOTHOLED_CONFIG_MAX 16384 /* bytes of a file, hundreds of lines with comments */

struct kh_knotholed_setting {
    const char *name;
    const char *value; /* "" if there is none */
    unsigned line;     /* from 1 */
};

/* Reads the file as text ending in a zero.  False with one sentence in `why` (of `why_size` bytes)
 * if it cannot be read, is longer, or holds a zero. */
bool kh_knotholed_config_read(const char *path, char out[static KH_KNOTHOLED_CONFIG_MAX + 1],
                              char *why, size_t why_size);

/* Takes the next setting off the text, which it cuts in place; *at and *line are where it stands.
 * False at the end. */
bool kh_knotholed_config_next(char **at, unsigned *line, struct kh_knotholed_setting *out);

#endif
