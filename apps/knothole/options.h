/* knothole/options.h - the command line of `knothole chat`.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_OPTIONS_H
#define KH_KNOTHOLE_OPTIONS_H

#include "knothole/knothole.h"

enum kh_options_view { KH_OPTIONS_SCREEN, KH_OPTIONS_PLAIN, KH_OPTIONS_JSON };

struct kh_options {
    bool help;
    const char *target; /* a link or a server */
    char name[KH_RUNTIME_NAME_MAX + 1];
    enum kh_options_view view; /* SCREEN: nothing was asked for */
    const char *state_dir;     /* NULL: the default */
    enum kh_runtime_paths paths;
    bool server_udp_only;
    bool no_port_mapping;
    bool no_punching;
    const char *local_name; /* NULL: none */
    uint64_t linger_ms;
    enum kh_runtime_log_level log_level;
    bool log_addresses;
};

extern const char kh_options_help[];

/* Reads the command line; user is the default name, may be NULL.  False with one sentence in why.
 */
bool kh_options_parse(struct kh_options *out, int argc, char **argv, const char *user,
                      char why[static KH_RUNTIME_WHY_SIZE]);

#endif
