/* knotholed/config.c - options of the server in a file, one a line.
 *
 * SPDX-License-Identifier: MIT
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BLANKS " \t\r"

bool kh_knotholed_config_read(const char *path, char out[static KH_KNOTHOLED_CONFIG_MAX + 1],
                              char *why, size_t why_size)
{
    FILE *file = fopen(path, "r");
    size_t len = 0;
    bool failed;

    if (file != NULL)
        len = fread(out, 1, KH_KNOTHOLED_CONFIG_MAX + 1, file);
    failed = file == NULL || ferror(file) != 0;
    if (failed)
        (void)snprintf(why, why_size, "cannot read %.80s: %s", path, strerror(errno));
    if (file != NULL)
        (void)fclose(file);
    if (failed)
        return false;
    if (len > KH_KNOTHOLED_CONFIG_MAX || memchr(out, 0, len) != NULL) {
        (void)snprintf(why, why_size, "%.80s is not a text of at most %d bytes", path,
                       KH_KNOTHOLED_CONFIG_MAX);
        return false;
    }
    out[len] = '\0';
    return true;
}

static char *trim(char *text)
{
    size_t len;

    text += strspn(text, BLANKS);
    len = strlen(text);
    while (len > 0 && strchr(BLANKS, text[len - 1]) != NULL)
        len--;
    text[len] = '\0';
    return text;
}

static void split(char *text, struct kh_knotholed_setting *out)
{
    char *value = text + strcspn(text, BLANKS "=");
    char *rest = value + strspn(value, BLANKS);

    if (*rest == '=')
        rest++;
    *value = '\0';
    out->name = text;
    out->value = value == rest ? value : trim(rest);
}

bool kh_knotholed_config_next(char **at, unsigned *line, struct kh_knotholed_setting *out)
{
    while (**at != '\0') {
        char *text = *at;
        size_t len = strcspn(text, "\n");

        *at += text[len] == '\n' ? len + 1 : len;
        text[len] = '\0';
        ++*line;
        text = trim(text);
        if (*text == '\0' || *text == '#')
            continue;
        *out = (struct kh_knotholed_setting){.line = *line};
        split(text, out);
        return true;
    }
    return false;
}
