/* base/status.c - names of statuses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/status.h"

const char *kh_status_name(enum kh_status status)
{
    switch (status) {
    case KH_OK:
        return "ok";
    case KH_ERR_FORMAT:
        return "format";
    case KH_ERR_AUTH:
        return "auth";
    case KH_ERR_FULL:
        return "full";
    case KH_ERR_MEMORY:
        return "memory";
    }
    return "?";
}
