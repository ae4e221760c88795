/* base/log.c - making log lines.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

const char *kh_log_level_name(enum kh_log_level level)
{
    return level_names[level];
}

bool kh_log_level_parse(const char *text, enum kh_log_level *out)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (strcmp(level_names[i], text) == 0) {
            *out = (enum kh_log_level)i;
            return true;
        }
    }
    return false;
}

void kh_log_line(const struct kh_log *log, enum kh_log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;

    if (log->write == NULL || level > log->level)
        return;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log->write(log->context, level, line);
}

char *kh_log_addr(const struct kh_log *log, const struct kh_addr *addr,
                  char text[static KH_ADDR_TEXT_MAX])
{
    static const char *const reach[] = {
        [KH_REACH_UNSPECIFIED] = "unspecified", [KH_REACH_LOOPBACK] = "loopback",
        [KH_REACH_LINK_LOCAL] = "link-local",   [KH_REACH_PRIVATE] = "private",
        [KH_REACH_MULTICAST] = "multicast",     [KH_REACH_GLOBAL] = "global",
    };

    if (log->show_addresses)
        return kh_addr_text(addr, text);
    (void)snprintf(text, KH_ADDR_TEXT_MAX, "ipv%u:%s", addr->family, reach[kh_addr_reach(addr)]);
    return text;
}
