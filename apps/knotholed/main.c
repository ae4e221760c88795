/* knotholed/main.c - the server program.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "options.h"
#include "serve.h"

#define EXIT_USAGE 2

int main(int argc, char **argv)
{
    static struct kh_knotholed_options options;
    char why[KH_KNOTHOLED_WHY_MAX] = "";

    if (!kh_knotholed_options_parse(&options, argc, argv, why)) {
        (void)fprintf(stderr, "knotholed: %s (see knotholed --help)\n", why);
        return EXIT_USAGE;
    }
    switch (options.action) {
    case KH_KNOTHOLED_HELP:
        (void)fputs(kh_knotholed_help, stdout);
        return 0;
    case KH_KNOTHOLED_SHOW_VERSION:
        (void)puts("knotholed " KH_VERSION);
        return 0;
    case KH_KNOTHOLED_SERVE:
        break;
    }
    return kh_knotholed_serve(&options);
}
