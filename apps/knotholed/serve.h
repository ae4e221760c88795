/* knotholed/serve.h - one hub behind real sockets, until a signal ends it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLED_SERVE_H
#define KH_KNOTHOLED_SERVE_H

#include "options.h"

/* Opens the sockets, says that it is ready, serves until SIGTERM or SIGINT.  Returns the program's
 * exit code, having said on stderr why if it is not 0. */
int kh_knotholed_serve(const struct kh_knotholed_options *options);

#endif
