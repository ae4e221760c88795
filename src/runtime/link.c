/* runtime/link.c - links for programs that need not know what is in them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "knothole/knothole.h"

#include <assert.h>
#include <stdio.h>

#include "io/entropy.h"
#include "room/room.h"

static_assert(KH_RUNTIME_LINK_SIZE == KH_ROOM_LINK_MAX, "the public sizes are the room's");
static_assert(KH_RUNTIME_NAME_MAX == KH_ROOM_NAME_MAX, "the public sizes are the room's");
static_assert(KH_RUNTIME_TEXT_MAX == KH_ROOM_TEXT_MAX, "the public sizes are the room's");

enum kh_runtime_result kh_runtime_make_link(const char *server,
                                            char link[static KH_RUNTIME_LINK_SIZE],
                                            char why[static KH_RUNTIME_WHY_SIZE])
{
    struct kh_room_link parts;

    if (kh_room_server_parse(server, &parts.server) != KH_OK) {
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE,
                       "\"%.200s\" is not a server: give HOST, HOST:PORT or https://HOST", server);
        return KH_RUNTIME_BAD_SERVER;
    }
    kh_io_entropy_fill(parts.secret, sizeof parts.secret);
    kh_room_link_write(&parts, link);
    kh_wipe(parts.secret, sizeof parts.secret);
    return KH_RUNTIME_OK;
}

enum kh_runtime_result kh_runtime_check_link(const char *link, char why[static KH_RUNTIME_WHY_SIZE])
{
    struct kh_room_link parts;
    enum kh_status status = kh_room_link_parse(link, &parts);

    kh_wipe(parts.secret, sizeof parts.secret);
    if (status == KH_OK)
        return KH_RUNTIME_OK;
    if (status == KH_ERR_AUTH)
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE,
                       "this link is mistyped or cut: what follows # does not check");
    else
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE,
                       "this is not a whole link: one looks like https://HOST/#SECRET");
    return KH_RUNTIME_BAD_LINK;
}
