/* knotholed/options.h - what the server was told on its command line and in a file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_OPTIONS_H
#define KH_KNOTHOLED_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/log.h"
#include "config.h"
#include "io/udp.h"

enum kh_knotholed_action { KH_KNOTHOLED_SERVE, KH_KNOTHOLED_HELP, KH_KNOTHOLED_SHOW_VERSION };

#define KH_KNOTHOLED_EXTERNAL_MAX 8

struct kh_knotholed_options {
    enum kh_knotholed_action action;
    struct kh_addr listen[KH_IO_SOCKETS_MAX]; /* as told, or the default addresses */
    size_t listen_count;
    bool listen_is_default; /* nobody asked for these: one that cannot be had is left out */
    enum kh_log_level log_level;
    bool log_addresses;
    const char *turn_secret;             /* NULL: only members are relayed for, or there is … */
    const char *turn_secret_file;        /* … a file whose first line it is */
    const char *turn_server;             /* "turn:HOST…" of a relay elsewhere; NULL: none … */
    const char *turn_server_secret;      /* … else its secret, or … */
    const char *turn_server_secret_file; /* … a file whose first line that is */
    const char *realm;                   /* NULL: the relay's default */
    struct kh_addr external[KH_KNOTHOLED_EXTERNAL_MAX];
    size_t external_count;
    uint16_t relay_port_min;
    uint16_t relay_port_max;
    bool allow_private_peers;
    const char *tls_cert_file;                /* NULL: no TLS; else there is … */
    const char *tls_key_file;                 /* … this too */
    const char *config_file;                  /* NULL: none was read */
    char config[KH_KNOTHOLED_CONFIG_MAX + 1]; /* its text, which the strings above point into */
};

#define KH_KNOTHOLED_WHY_MAX 256

/* Reads the command line.  False with one sentence in `why` if it is wrong. */
bool kh_knotholed_options_parse(struct kh_knotholed_options *out, int argc, char **argv,
                                char why[static KH_KNOTHOLED_WHY_MAX]);

extern const char kh_knotholed_help[];

#endif
