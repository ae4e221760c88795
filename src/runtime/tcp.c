/* runtime/tcp.c - TCP and TLS connections to the server, opened when something is to be sent.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/clock.h"
#include "io/tcp.h"
#include "stun/stun.h"

#define RECEIVE_ROUNDS_MAX 32
/* Where nothing comes back, a connection is taken for dead long before the system gives it up: … */
#define STALLED_PATIENCE KH_SECONDS(2) /* … when its bytes are not even acknowledged, */
#define CONNECT_PATIENCE KH_SECONDS(4) /* when it is not made (a new call knocks at once), */
#define FIRST_PATIENCE KH_SECONDS(10)  /* when a box let it be made and swallows what comes, */
#define PATIENCE KH_SECONDS(30)        /* or forgot it: a live one hears each refresh, in 20 s */

struct kh_runtime_tcp {
    uv_poll_t poll; /* its data is this */
    struct kh_runtime_tcp_set *set;
    struct kh_io_tcp tcp;
    struct kh_stun_stream stream;
    bool was_heard;
    kh_time waiting_since; /* what was sent then has had no answer; KH_NEVER: nothing */
};

static void on_closed(uv_handle_t *handle)
{
    struct kh_runtime_tcp *connection = handle->data;
    struct kh_runtime_tcp_owner owner = connection->set->owner;

    free(connection);
    owner.on_closed(owner.context);
}

static void close_at(struct kh_runtime_tcp_set *set, size_t at)
{
    struct kh_runtime_tcp *connection = set->list[at];

    set->list[at] = NULL;
    uv_close((uv_handle_t *)&connection->poll, on_closed);
    kh_io_tcp_close(&connection->tcp);
}

void kh_runtime_tcp_close_all(struct kh_runtime_tcp_set *set)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++) {
        if (set->list[i] != NULL)
            close_at(set, i);
    }
    kh_io_tls_context_free(set->tls);
    set->tls = NULL;
}

/* It is over.  The owner hears of it unless it never worked: then whoever sends tries again. */
static void lose_at(struct kh_runtime_tcp_set *set, size_t at)
{
    struct kh_addr server = set->list[at]->tcp.remote;
    bool was_heard = set->list[at]->was_heard;

    close_at(set, at);
    if (was_heard)
        set->owner.on_lost(set->owner.context, &server);
}

static void lose(const struct kh_runtime_tcp *connection)
{
    struct kh_runtime_tcp_set *set = connection->set;

    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++) {
        if (set->list[i] == connection) {
            lose_at(set, i);
            return;
        }
    }
}

void kh_runtime_tcp_leave(struct kh_runtime_tcp_set *set, const struct kh_addr *local)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++) {
        if (set->list[i] != NULL && kh_addr_ip_equal(&set->list[i]->tcp.local, local))
            lose_at(set, i);
    }
}

static bool is_dead(const struct kh_runtime_tcp *connection)
{
    kh_duration waiting = kh_time_since(kh_io_clock_now(), connection->waiting_since);

    if (waiting < STALLED_PATIENCE)
        return false;
    if (connection->tcp.is_connecting)
        return waiting >= CONNECT_PATIENCE;
    return waiting >= (connection->was_heard ? PATIENCE : FIRST_PATIENCE) ||
           kh_io_tcp_is_stalled(&connection->tcp);
}

void kh_runtime_tcp_bury(struct kh_runtime_tcp_set *set)
{
    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++) {
        if (set->list[i] != NULL && is_dead(set->list[i]))
            lose_at(set, i);
    }
}

static void on_event(uv_poll_t *poll, int status, int events);

static void watch(struct kh_runtime_tcp *connection)
{
    int events = UV_READABLE | (kh_io_tcp_is_waiting(&connection->tcp) ? UV_WRITABLE : 0);

    uv_poll_start(&connection->poll, events, on_event);
}

/* ---- receiving ---- */

static void take_frames(struct kh_runtime_tcp *connection)
{
    const struct kh_runtime_tcp_owner *owner = &connection->set->owner;
    struct kh_span frame;

    while (kh_stun_stream_next(&connection->stream, &frame)) {
        struct kh_datagram datagram = {.from = connection->tcp.remote,
                                       .to = connection->tcp.local,
                                       .data = frame.data,
                                       .len = frame.len};

        connection->was_heard = true;
        connection->waiting_since = KH_NEVER;
        owner->on_datagram(owner->context, &datagram);
    }
}

/* False if the connection is over. */
static bool receive(struct kh_runtime_tcp *connection)
{
    int error = 0;

    for (int round = 0;
         error == 0 && (round < RECEIVE_ROUNDS_MAX || kh_io_tcp_has_pending(&connection->tcp));
         round++) {
        size_t max;
        uint8_t *space = kh_stun_stream_space(&connection->stream, &max);
        size_t len;

        error = kh_io_tcp_receive(&connection->tcp, space, max, &len);
        kh_stun_stream_received(&connection->stream, len);
        take_frames(connection);
        if (connection->stream.broken)
            return false;
    }
    return error == 0 || error == EAGAIN;
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime_tcp *connection = poll->data;
    struct kh_runtime_tcp_owner owner = connection->set->owner;
    bool lives = status == 0;

    if (lives && (events & UV_WRITABLE) != 0)
        lives = kh_io_tcp_flush(&connection->tcp) == 0;
    if (lives && (events & UV_READABLE) != 0)
        lives = receive(connection);
    if (lives)
        watch(connection);
    else
        lose(connection);
    owner.on_turn(owner.context);
}

/* ---- sending ---- */

/* A name, or NULL for an address, which TLS does not ask for (RFC 6066 3). */
static const char *server_name(const struct kh_runtime_tcp_set *set)
{
    struct kh_addr addr;
    bool is_addr = strchr(set->owner.server_name, ':') != NULL ||
                   kh_addr_parse(set->owner.server_name, 0, &addr) == KH_OK;

    return is_addr ? NULL : set->owner.server_name;
}

static bool start_tls(struct kh_runtime_tcp_set *set, struct kh_io_tcp *tcp)
{
    if (set->tls == NULL)
        set->tls = kh_io_tls_client_new();
    return set->tls != NULL && kh_io_tcp_start_tls(tcp, set->tls, server_name(set));
}

static struct kh_runtime_tcp *open_at(struct kh_runtime_tcp_set *set, size_t at,
                                      const struct kh_addr *to)
{
    struct kh_runtime_tcp *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return NULL;
    connection->set = set;
    connection->waiting_since = KH_NEVER;
    if (kh_io_tcp_connect(to, &connection->tcp) != 0) {
        free(connection);
        return NULL;
    }
    if ((to->transport == KH_TLS && !start_tls(set, &connection->tcp)) ||
        uv_poll_init(set->owner.loop, &connection->poll, connection->tcp.fd) != 0) {
        kh_io_tcp_close(&connection->tcp);
        free(connection);
        return NULL;
    }
    connection->poll.data = connection;
    set->list[at] = connection;
    set->owner.on_opened(set->owner.context);
    return connection;
}

static struct kh_runtime_tcp *find_or_open(struct kh_runtime_tcp_set *set, const struct kh_addr *to)
{
    size_t free_at = KH_RENDEZVOUS_SERVERS_MAX;

    for (size_t i = 0; i < KH_RENDEZVOUS_SERVERS_MAX; i++) {
        if (set->list[i] == NULL)
            free_at = i;
        else if (kh_addr_equal(&set->list[i]->tcp.remote, to))
            return set->list[i];
    }
    return free_at < KH_RENDEZVOUS_SERVERS_MAX ? open_at(set, free_at, to) : NULL;
}

void kh_runtime_tcp_send(struct kh_runtime_tcp_set *set, const struct kh_datagram *datagram)
{
    struct kh_runtime_tcp *connection = find_or_open(set, &datagram->to);

    if (connection == NULL)
        return;
    connection->waiting_since = kh_time_min(connection->waiting_since, kh_io_clock_now());
    (void)kh_io_tcp_send(&connection->tcp, datagram->data, datagram->len,
                         kh_stun_stream_padding(datagram->data, datagram->len));
    watch(connection);
}
