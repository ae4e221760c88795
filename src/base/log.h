/* base/log.h - a write-only sink for lines; the one function pointer that crosses the border.
 *
 * SPDX-License-Identifier: MIT
 *
 * error: someone must act · warn: degraded · info: state changes, at most ten lines a connection ·
 * debug: every datagram.  Format: `ice 3f2a checking→connected path=host/reflexive rtt=41ms`.
 * The sink must not call back into the machine that logs.
 */
#ifndef KH_BASE_LOG_H
#define KH_BASE_LOG_H

#include "base/addr.h"

enum kh_log_level { KH_LOG_ERROR, KH_LOG_WARN, KH_LOG_INFO, KH_LOG_DEBUG };

/* A zeroed log is silent. */
struct kh_log {
    void (*write)(void *context, enum kh_log_level level, const char *line);
    void *context;
    enum kh_log_level level; /* lines above this level are not made */
    bool show_addresses;     /* else kh_log_addr redacts */
};

const char *kh_log_level_name(enum kh_log_level level);
/* False if the text is no name of a level. */
bool kh_log_level_parse(const char *text, enum kh_log_level *out);

/* Makes one line; what does not fit 512 bytes is cut. */
void kh_log_line(const struct kh_log *log, enum kh_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Writes the address as this log may show it: whole, or family and reach only ("ipv4:private"). */
char *kh_log_addr(const struct kh_log *log, const struct kh_addr *addr,
                  char text[static KH_ADDR_TEXT_MAX]);

#endif
