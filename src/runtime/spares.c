/* runtime/spares.c - opens, polls and closes spare sockets.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/spares.h"

#include <assert.h>
#include <stdlib.h>

struct kh_runtime_spare {
    uv_poll_t poll;
    struct kh_runtime_spares *owner;
    struct kh_runtime_spare *next;
    uint16_t port;
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime_spare *spare = poll->data;
    struct kh_runtime_spares *owner = spare->owner;
    size_t socket = kh_io_udp_set_find(owner->udp, KH_FAMILY_IPV4, spare->port);

    (void)status;
    (void)events;
    assert(socket < owner->udp->count);
    owner->on_readable(owner->context, socket);
}

static void on_closed(uv_handle_t *handle)
{
    struct kh_runtime_spare *spare = handle->data;
    struct kh_runtime_spares *owner = spare->owner;

    free(spare);
    owner->on_closed(owner->context);
}

/* Gives the port of a new spare socket; 0 if the system grants none. */
static uint16_t open_one(struct kh_runtime_spares *spares)
{
    struct kh_runtime_spare *spare = calloc(1, sizeof *spare);
    struct kh_io_udp_set *udp = spares->udp;

    if (spare == NULL)
        return 0;
    if (kh_io_udp_set_open_spare(udp, KH_FAMILY_IPV4) != 0) {
        free(spare);
        return 0;
    }
    if (uv_poll_init(spares->loop, &spare->poll, udp->sockets[udp->count - 1].fd) != 0) {
        kh_io_udp_set_close(udp, udp->count - 1);
        free(spare);
        return 0;
    }
    spare->owner = spares;
    spare->port = udp->sockets[udp->count - 1].addr.port;
    spare->poll.data = spare;
    spare->next = spares->first;
    spares->first = spare;
    spares->on_opened(spares->context);
    uv_poll_start(&spare->poll, UV_READABLE, on_readable);
    return spare->port;
}

/* The descriptor may be closed once libuv does not poll it any more; its handle lives a little. */
static void close_one(struct kh_runtime_spares *spares, struct kh_runtime_spare **at)
{
    struct kh_runtime_spare *spare = *at;

    *at = spare->next;
    uv_close((uv_handle_t *)&spare->poll, on_closed);
    kh_io_udp_set_close(spares->udp, kh_io_udp_set_find(spares->udp, KH_FAMILY_IPV4, spare->port));
}

static void close_port(struct kh_runtime_spares *spares, uint16_t port)
{
    struct kh_runtime_spare **at = &spares->first;

    while (*at != NULL && (*at)->port != port)
        at = &(*at)->next;
    assert(*at != NULL);
    close_one(spares, at);
}

bool kh_runtime_spares_handle_event(struct kh_runtime_spares *spares,
                                    const struct kh_node_event *event)
{
    if (event->kind == KH_NODE_EVENT_SOCKETS) {
        spares->wanted = event->socket_count;
        return true;
    }
    if (event->kind != KH_NODE_EVENT_SOCKETS_SPENT)
        return false;
    for (size_t i = 0; i < event->socket_count; i++)
        close_port(spares, event->ports[i]);
    return true;
}

bool kh_runtime_spares_answer(struct kh_runtime_spares *spares, struct kh_node *node, kh_time now)
{
    uint16_t ports[KH_NODE_SOCKETS_MAX];
    size_t count = 0;

    if (spares->wanted == 0)
        return false;
    assert(spares->wanted <= KH_NODE_SOCKETS_MAX);
    while (count < spares->wanted && (ports[count] = open_one(spares)) != 0)
        count++;
    spares->wanted = 0;
    kh_node_add_sockets(node, now, ports, count);
    return true;
}

void kh_runtime_spares_close_all(struct kh_runtime_spares *spares)
{
    while (spares->first != NULL)
        close_one(spares, &spares->first);
}
