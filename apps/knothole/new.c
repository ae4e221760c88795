/* knothole/new.c - `knothole new SERVER` prints a link to a new room.
 *
 * SPDX-License-Identifier: MIT
 */
#include "command.h"

#include <stdio.h>
#include <string.h>

#include "knothole/knothole.h"

static const char help[] =
    "usage: knothole new SERVER\n"
    "\n"
    "Prints one link to a new room at SERVER, which is HOST, HOST:PORT, http://... or https://...\n"
    "The part after # is the secret of the room; the server never sees it.\n";

int kh_command_new(int argc, char **argv)
{
    char link[KH_RUNTIME_LINK_SIZE];
    char why[KH_RUNTIME_WHY_SIZE];

    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        (void)fputs(help, stdout);
        return KH_EXIT_OK;
    }
    if (argc > 1 && argv[1][0] == '-') {
        (void)fprintf(stderr, "knothole new: there is no option %.80s (see knothole new --help)\n",
                      argv[1]);
        return KH_EXIT_USAGE;
    }
    if (argc != 2) {
        (void)fprintf(stderr, "knothole new: give one SERVER (see knothole new --help)\n");
        return KH_EXIT_USAGE;
    }
    if (kh_runtime_make_link(argv[1], link, why) != KH_RUNTIME_OK) {
        (void)fprintf(stderr, "knothole new: %s\n", why);
        return KH_EXIT_USAGE;
    }
    if (puts(link) < 0 || fflush(stdout) != 0) {
        (void)fprintf(stderr, "knothole new: cannot write the link\n");
        return KH_EXIT_FAILED;
    }
    return KH_EXIT_OK;
}
