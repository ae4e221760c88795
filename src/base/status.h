/* base/status.h - the five ways a call that its caller may rightly make can end.
 *
 * SPDX-License-Identifier: MIT
 *
 * On anything but KH_OK nothing has changed.  A mistake of ours is an assertion, a mistake of the
 * network is a drop and a counter; neither is a status.
 */
#ifndef KH_BASE_STATUS_H
#define KH_BASE_STATUS_H

#define KH_MUST_USE __attribute__((warn_unused_result))

enum kh_status {
    KH_OK,
    KH_ERR_FORMAT, /* text or bytes that do not parse */
    KH_ERR_AUTH,   /* well-formed, but not from whom it says */
    KH_ERR_FULL,   /* a documented limit is reached */
    KH_ERR_MEMORY, /* allocation failed */
};

/* Returns a static string such as "full". */
const char *kh_status_name(enum kh_status status);

#endif
