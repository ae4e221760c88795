/* runtime/names.c - the loop around questions to our links.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/names.h"

#include <assert.h>

#include "io/clock.h"

#define RECEIVE_MAX 64 /* in one turn: a link may talk without end */

static void on_timer(uv_timer_t *timer);
static void on_readable(uv_poll_t *poll, int status, int events);

static void hear(struct kh_runtime_names *names, bool is_asking)
{
    for (size_t i = 0; i < KH_IO_MULTICAST_SOCKETS; i++) {
        if (names->sockets.fds[i] < 0)
            continue;
        if (is_asking)
            uv_poll_start(&names->polls[i], UV_READABLE, on_readable);
        else
            uv_poll_stop(&names->polls[i]);
    }
}

/* After each input of the machine.  An answer may lead to the next question at once. */
static void drain(struct kh_runtime_names *names)
{
    struct kh_mdns_answer answer;
    struct kh_datagram datagram;
    kh_time at;

    while (kh_mdns_next_answer(&names->mdns, &answer))
        names->answered(names->context, &answer);
    if (!names->is_open)
        return; /* closed meanwhile */
    while (kh_mdns_next_transmit(&names->mdns, &datagram))
        kh_io_multicast_send(&names->sockets, &datagram);
    at = kh_mdns_timeout(&names->mdns);
    hear(names, at != KH_NEVER);
    if (at == KH_NEVER)
        uv_timer_stop(&names->timer);
    else
        uv_timer_start(&names->timer, on_timer,
                       kh_time_since(at, kh_io_clock_now()) / KH_MILLISECONDS(1) + 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct kh_runtime_names *names = timer->data;

    kh_mdns_handle_timeout(&names->mdns, kh_io_clock_now());
    drain(names);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime_names *names = poll->data;
    uint8_t buffer[KH_IO_MULTICAST_MAX];
    struct kh_datagram in;

    (void)status;
    (void)events;
    for (int n = 0; n < RECEIVE_MAX && kh_io_multicast_receive(&names->sockets,
                                                               (size_t)(poll - names->polls),
                                                               buffer, &in);
         n++)
        kh_mdns_handle_datagram(&names->mdns, &in);
    drain(names);
}

/* Without sockets a question is asked in vain, and answered so after a second. */
static void open_once(struct kh_runtime_names *names)
{
    struct kh_addr group4 = kh_mdns_group(KH_FAMILY_IPV4), group6 = kh_mdns_group(KH_FAMILY_IPV6);

    if (names->is_open)
        return;
    names->is_open = true;
    kh_mdns_init(&names->mdns);
    (void)kh_io_multicast_open(&names->sockets, &group4, &group6);
    uv_timer_init(names->loop, &names->timer);
    names->timer.data = names;
    names->on_opened(names->context);
    for (size_t i = 0; i < KH_IO_MULTICAST_SOCKETS; i++) {
        int *fd = &names->sockets.fds[i];

        if (*fd < 0)
            continue;
        if (uv_poll_init(names->loop, &names->polls[i], *fd) != 0) {
            kh_io_multicast_drop(&names->sockets, i);
            continue;
        }
        names->polls[i].data = names;
        names->on_opened(names->context);
    }
}

bool kh_runtime_names_handle_event(struct kh_runtime_names *names,
                                   const struct kh_node_event *event)
{
    if (event->kind != KH_NODE_EVENT_NAME)
        return false;
    open_once(names);
    /* The node asks for fewer at a time than we do, and only for names that are well-formed. */
    if (kh_mdns_ask(&names->mdns, kh_io_clock_now(), event->text, event->family) != KH_OK)
        assert(false);
    /* The node is in the middle of its events: answers wait for the loop, and there is none yet. */
    uv_timer_start(&names->timer, on_timer, 0, 0);
    return true;
}

static void on_closed(uv_handle_t *handle)
{
    struct kh_runtime_names *names = handle->data;

    names->on_closed(names->context);
}

void kh_runtime_names_close(struct kh_runtime_names *names)
{
    if (!names->is_open)
        return;
    names->is_open = false;
    uv_close((uv_handle_t *)&names->timer, on_closed);
    for (size_t i = 0; i < KH_IO_MULTICAST_SOCKETS; i++)
        if (names->sockets.fds[i] >= 0)
            uv_close((uv_handle_t *)&names->polls[i], on_closed);
    kh_io_multicast_close(&names->sockets);
}
