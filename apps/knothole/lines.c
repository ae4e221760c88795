/* knothole/lines.c - cuts what comes in into lines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lines.h"

#include <string.h>

static enum kh_lines_result give(struct kh_lines *lines, const char **line, size_t *len)
{
    bool too_long = lines->skipping;

    *line = lines->buffer;
    *len = lines->len;
    if (*len > 0 && lines->buffer[*len - 1] == '\r')
        (*len)--;
    lines->number++;
    lines->len = 0;
    lines->skipping = false;
    return too_long ? KH_LINES_TOO_LONG : KH_LINES_LINE;
}

enum kh_lines_result kh_lines_next(struct kh_lines *lines, const char **data, size_t *left,
                                   const char **line, size_t *len)
{
    const char *end = *left == 0 ? NULL : memchr(*data, '\n', *left);
    size_t take = end == NULL ? *left : (size_t)(end - *data);

    if (take > KH_LINES_MAX - lines->len)
        lines->skipping = true;
    else if (!lines->skipping && take > 0)
        memcpy(lines->buffer + lines->len, *data, take);
    lines->len = lines->skipping ? 0 : lines->len + take;
    *data += take + (end != NULL);
    *left -= take + (end != NULL);
    return end == NULL ? KH_LINES_MORE : give(lines, line, len);
}

enum kh_lines_result kh_lines_end(struct kh_lines *lines, const char **line, size_t *len)
{
    return lines->len == 0 && !lines->skipping ? KH_LINES_MORE : give(lines, line, len);
}
