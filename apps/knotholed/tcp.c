/* knotholed/tcp.c - clients that come by TCP or TLS: their frames are datagrams to the hub.
 *
 * SPDX-License-Identifier: MIT
 */
#include "tcp.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admission.h"
#include "crypto/crypto.h"
#include "io/entropy.h"
#include "io/tcp.h"
#include "io/udp.h"
#include "stun/stun.h"

#define BUCKETS 4096 /* a power of two */
#define EVENTS_MAX 64
#define ACCEPTS_MAX 32       /* of one listener before the others get a turn */
#define SHAKES_MAX 8         /* steps of handshakes before UDP gets its turn: a few milliseconds */
#define DESCRIPTORS_LEFT 128 /* for sockets of UDP and of relays, log, signals */
#define SWEEP_EVERY KH_SECONDS(1)
#define FRAME_PATIENCE KH_SECONDS(10) /* for the first frame, and for the rest of a begun one */
/* Longer than an allocation lives unless it is refreshed (RFC 8656 3.2). */
#define IDLE_PATIENCE KH_SECONDS(660)

/* What epoll knows: a listener or a connection. */
struct source {
    bool is_listener;
};

struct listener {
    struct source source;
    struct kh_io_tcp_listener tcp;
};

struct connection {
    struct source source;
    struct kh_io_tcp tcp;
    struct kh_stun_stream stream;
    struct connection *chain;      /* of its bucket */
    struct connection *ready_next; /* has something to receive */
    bool is_ready;
    bool was_read; /* since it became ready */
    bool is_armed; /* epoll tells when it can be written to */
    bool spoke;
    bool is_decided; /* whether it speaks TLS */
    bool is_shaking;
    kh_time active_at;
    kh_time partial_since; /* KH_NEVER: no frame is begun */
    size_t at;             /* in the list of all */
};

struct kh_knotholed_tcp {
    int epoll;
    struct listener listeners[KH_IO_SOCKETS_MAX];
    size_t listener_count;
    struct connection *list[KH_KNOTHOLED_TCP_MAX];
    size_t count;
    size_t max;
    struct connection *buckets[BUCKETS];
    uint8_t hash_key[16];
    struct kh_io_tls_context *tls; /* owned; NULL: none is spoken */
    struct kh_knotholed_admission admission;
    size_t shaking; /* connections */
    size_t shakes_left;
    struct connection *ready_first;
    struct connection *ready_last;
    kh_time sweep_at; /* KH_NEVER: nobody is there */
    bool is_deaf;     /* the system has no descriptors: listeners rest until the next sweep */
    struct {
        struct kh_addr remote, local;
    } gone[KH_KNOTHOLED_TCP_MAX]; /* to be told */
    size_t gone_count;
    struct kh_knotholed_tcp_stats stats;
};

/* ---- life ---- */

static size_t descriptors_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= DESCRIPTORS_LEFT)
        return 0;
    return limit.rlim_cur - DESCRIPTORS_LEFT;
}

struct kh_knotholed_tcp *kh_knotholed_tcp_new(void)
{
    struct kh_knotholed_tcp *tcp = calloc(1, sizeof *tcp);
    size_t max = descriptors_max();

    if (tcp == NULL)
        return NULL;
    tcp->epoll = epoll_create1(EPOLL_CLOEXEC);
    tcp->max = max < KH_KNOTHOLED_TCP_MAX ? max : KH_KNOTHOLED_TCP_MAX;
    tcp->sweep_at = KH_NEVER;
    kh_io_entropy_fill(tcp->hash_key, sizeof tcp->hash_key);
    kh_io_entropy_fill(tcp->admission.hash_key, sizeof tcp->admission.hash_key);
    if (tcp->epoll >= 0)
        return tcp;
    free(tcp);
    return NULL;
}

static bool watch(const struct kh_knotholed_tcp *tcp, int fd, struct source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

    return epoll_ctl(tcp->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

int kh_knotholed_tcp_listen(struct kh_knotholed_tcp *tcp, const struct kh_addr *addr,
                            struct kh_addr *bound)
{
    struct listener *listener = &tcp->listeners[tcp->listener_count];
    int error;

    assert(tcp->listener_count < KH_IO_SOCKETS_MAX);
    listener->source.is_listener = true;
    error = kh_io_tcp_listen(addr, &listener->tcp);
    if (error != 0)
        return error;
    *bound = listener->tcp.addr;
    if (watch(tcp, listener->tcp.fd, &listener->source)) {
        tcp->listener_count++;
        return 0;
    }
    error = errno;
    kh_io_tcp_listener_close(&listener->tcp);
    return error;
}

void kh_knotholed_tcp_unlisten(struct kh_knotholed_tcp *tcp)
{
    assert(tcp->listener_count > 0);
    kh_io_tcp_listener_close(&tcp->listeners[--tcp->listener_count].tcp);
}

int kh_knotholed_tcp_fd(const struct kh_knotholed_tcp *tcp)
{
    return tcp->epoll;
}

/* ---- connections ---- */

static struct connection **bucket_of(struct kh_knotholed_tcp *tcp, const struct kh_addr *remote)
{
    uint8_t key[18];

    memcpy(key, remote->ip, sizeof remote->ip);
    key[16] = (uint8_t)(remote->port >> 8);
    key[17] = (uint8_t)remote->port;
    return &tcp->buckets[kh_siphash(tcp->hash_key, key, sizeof key) & (BUCKETS - 1)];
}

static struct connection *find(struct kh_knotholed_tcp *tcp, const struct kh_datagram *datagram)
{
    struct connection *at = *bucket_of(tcp, &datagram->to);

    while (at != NULL && (!kh_addr_equal(&at->tcp.remote, &datagram->to) ||
                          !kh_addr_equal(&at->tcp.local, &datagram->from)))
        at = at->chain;
    return at;
}

static bool is_same_prefix(const struct kh_addr *a, const struct kh_addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, a->family == KH_FAMILY_IPV4 ? 4 : 8) == 0;
}

static bool is_welcome(const struct kh_knotholed_tcp *tcp, const struct kh_addr *remote)
{
    size_t neighbours = 0;

    for (size_t i = 0; i < tcp->count; i++)
        neighbours += is_same_prefix(&tcp->list[i]->tcp.remote, remote) ? 1 : 0;
    return tcp->count < tcp->max && neighbours < KH_KNOTHOLED_TCP_PREFIX_MAX;
}

/* Takes over the connection; false if it is not to be. */
static bool admit(struct kh_knotholed_tcp *tcp, kh_time now, const struct kh_io_tcp *accepted)
{
    struct connection *connection;
    struct connection **bucket;

    if (!is_welcome(tcp, &accepted->remote))
        return false;
    connection = calloc(1, sizeof *connection);
    if (connection == NULL || !watch(tcp, accepted->fd, &connection->source)) {
        free(connection);
        return false;
    }
    connection->tcp = *accepted;
    connection->active_at = now;
    connection->partial_since = KH_NEVER;
    connection->at = tcp->count;
    tcp->list[tcp->count++] = connection;
    bucket = bucket_of(tcp, &accepted->remote);
    connection->chain = *bucket;
    *bucket = connection;
    tcp->stats.accepted++;
    if (tcp->sweep_at == KH_NEVER)
        tcp->sweep_at = kh_time_add(now, SWEEP_EVERY);
    return true;
}

/* Not while it is ready, except the first that is. */
static void drop(struct kh_knotholed_tcp *tcp, struct connection *connection)
{
    struct connection **link = bucket_of(tcp, &connection->tcp.remote);

    if (tcp->gone_count < KH_KNOTHOLED_TCP_MAX) {
        tcp->gone[tcp->gone_count].remote = connection->tcp.remote;
        tcp->gone[tcp->gone_count++].local = connection->tcp.local;
    }
    while (*link != connection)
        link = &(*link)->chain;
    *link = connection->chain;
    tcp->list[connection->at] = tcp->list[--tcp->count];
    tcp->list[connection->at]->at = connection->at;
    tcp->stats.dropped_full += connection->tcp.dropped_full;
    tcp->shaking -= connection->is_shaking ? 1 : 0;
    kh_io_tcp_close(&connection->tcp);
    free(connection);
}

void kh_knotholed_tcp_free(struct kh_knotholed_tcp *tcp)
{
    if (tcp == NULL)
        return;
    while (tcp->listener_count > 0)
        kh_knotholed_tcp_unlisten(tcp);
    while (tcp->count > 0)
        drop(tcp, tcp->list[tcp->count - 1]);
    close(tcp->epoll);
    kh_io_tls_context_free(tcp->tls);
    free(tcp);
}

void kh_knotholed_tcp_set_tls(struct kh_knotholed_tcp *tcp, struct kh_io_tls_context *context)
{
    kh_io_tls_context_free(tcp->tls);
    tcp->tls = context;
}

/* ---- what happens ---- */

static void listen_again(struct kh_knotholed_tcp *tcp, bool deaf)
{
    tcp->is_deaf = deaf;
    for (size_t i = 0; i < tcp->listener_count; i++) {
        struct listener *listener = &tcp->listeners[i];
        struct epoll_event event = {.events = deaf ? 0 : EPOLLIN, .data.ptr = &listener->source};

        (void)epoll_ctl(tcp->epoll, EPOLL_CTL_MOD, listener->tcp.fd, &event);
    }
}

static void accept_some(struct kh_knotholed_tcp *tcp, kh_time now, const struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct kh_io_tcp accepted;
        int error = kh_io_tcp_accept(&listener->tcp, &accepted);

        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            /* It would be told again and again: let it wait in the backlog. */
            listen_again(tcp, true);
            tcp->sweep_at = kh_time_min(tcp->sweep_at, kh_time_add(now, SWEEP_EVERY));
            return;
        }
        if (error == EAGAIN)
            return;
        if (error == 0 && !admit(tcp, now, &accepted)) {
            tcp->stats.refused++;
            kh_io_tcp_close(&accepted);
        }
    }
}

static void arm(const struct kh_knotholed_tcp *tcp, struct connection *connection)
{
    bool is_waiting = kh_io_tcp_is_waiting(&connection->tcp);
    struct epoll_event event = {.events = is_waiting ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = &connection->source};

    if (connection->is_armed == is_waiting)
        return;
    connection->is_armed = is_waiting;
    (void)epoll_ctl(tcp->epoll, EPOLL_CTL_MOD, connection->tcp.fd, &event);
}

static void make_ready(struct kh_knotholed_tcp *tcp, struct connection *connection)
{
    if (connection->is_ready)
        return;
    connection->is_ready = true;
    connection->was_read = false;
    connection->ready_next = NULL;
    if (tcp->ready_first == NULL)
        tcp->ready_first = connection;
    else
        tcp->ready_last->ready_next = connection;
    tcp->ready_last = connection;
}

void kh_knotholed_tcp_wake(struct kh_knotholed_tcp *tcp, kh_time now)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(tcp->epoll, events, EVENTS_MAX, 0);

    tcp->shakes_left = SHAKES_MAX;
    for (int i = 0; i < count; i++) {
        struct source *source = events[i].data.ptr;

        if (source->is_listener) {
            accept_some(tcp, now, (const struct listener *)source);
            continue;
        }
        if ((events[i].events & EPOLLOUT) != 0) {
            /* If that fails, so does receiving, and there the connection ends. */
            (void)kh_io_tcp_flush(&((struct connection *)source)->tcp);
            arm(tcp, (struct connection *)source);
        }
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            make_ready(tcp, (struct connection *)source);
    }
}

/* False if that is one too many. */
static bool begin_tls(struct kh_knotholed_tcp *tcp, kh_time now, struct connection *connection)
{
    if (tcp->shaking == KH_KNOTHOLED_TCP_SHAKING_MAX ||
        !kh_knotholed_admission_take(&tcp->admission, now, &connection->tcp.remote) ||
        !kh_io_tcp_start_tls(&connection->tcp, tcp->tls, NULL)) {
        tcp->stats.refused++;
        return false;
    }
    connection->is_shaking = true;
    tcp->shaking++;
    return true;
}

/* Looks how the client begins; false if it has not, or is over. */
static bool decide(struct kh_knotholed_tcp *tcp, kh_time now, struct connection *connection,
                   bool *over)
{
    uint8_t byte = 0;
    int error = tcp->tls == NULL ? 0 : kh_io_tcp_peek(&connection->tcp, &byte);

    connection->is_decided = error == 0;
    *over = (error != 0 && error != EAGAIN) ||
            (byte == KH_IO_TLS_FIRST_BYTE && !begin_tls(tcp, now, connection));
    return connection->is_decided && !*over;
}

/* A handshake takes a step; false if others had too many already: it is told again. */
static bool may_shake(struct kh_knotholed_tcp *tcp)
{
    if (tcp->shakes_left == 0)
        return false;
    tcp->shakes_left--;
    return true;
}

static void note_shaken(struct kh_knotholed_tcp *tcp, struct connection *connection)
{
    if (!connection->is_shaking || !kh_io_tls_is_open(connection->tcp.tls))
        return;
    connection->is_shaking = false;
    tcp->shaking--;
    tcp->stats.tls++;
}

/* Receives once for each time it is ready, so that nobody keeps the others waiting; true if
 * something came.  Sets *over if the connection is. */
static bool receive(struct kh_knotholed_tcp *tcp, kh_time now, struct connection *connection,
                    bool *over)
{
    size_t max;
    uint8_t *space = kh_stun_stream_space(&connection->stream, &max);
    size_t len;
    int error;

    if (connection->was_read && !kh_io_tcp_has_pending(&connection->tcp))
        return false;
    connection->was_read = true;
    if (!connection->is_decided && !decide(tcp, now, connection, over))
        return false;
    if (connection->is_shaking && !may_shake(tcp))
        return false;
    error = kh_io_tcp_receive(&connection->tcp, space, max, &len);
    note_shaken(tcp, connection);
    arm(tcp, connection);
    kh_stun_stream_received(&connection->stream, len);
    *over = error != 0 && error != EAGAIN;
    return error == 0;
}

static void note_partial(struct connection *connection, kh_time now)
{
    if (!kh_stun_stream_is_partial(&connection->stream))
        connection->partial_since = KH_NEVER;
    else if (connection->partial_since == KH_NEVER)
        connection->partial_since = now;
}

static void take_frame(struct kh_knotholed_tcp *tcp, kh_time now, const struct kh_span *frame,
                       struct kh_datagram *out)
{
    struct connection *connection = tcp->ready_first;

    connection->spoke = true;
    connection->active_at = now;
    connection->partial_since = KH_NEVER;
    tcp->stats.frames++;
    *out = (struct kh_datagram){.from = connection->tcp.remote,
                                .to = connection->tcp.local,
                                .data = frame->data,
                                .len = frame->len};
}

bool kh_knotholed_tcp_next(struct kh_knotholed_tcp *tcp, kh_time now, struct kh_datagram *out)
{
    while (tcp->ready_first != NULL) {
        struct connection *connection = tcp->ready_first;
        struct kh_span frame;
        bool over = false;

        if (kh_stun_stream_next(&connection->stream, &frame)) {
            take_frame(tcp, now, &frame, out);
            return true;
        }
        tcp->stats.broken += connection->stream.broken ? 1 : 0;
        if (!connection->stream.broken && receive(tcp, now, connection, &over))
            continue;
        note_partial(connection, now);
        connection->is_ready = false;
        tcp->ready_first = connection->ready_next;
        if (connection->stream.broken || over)
            drop(tcp, connection);
    }
    return false;
}

bool kh_knotholed_tcp_next_gone(struct kh_knotholed_tcp *tcp, struct kh_addr *remote,
                                struct kh_addr *local)
{
    if (tcp->gone_count == 0)
        return false;
    tcp->gone_count--;
    *remote = tcp->gone[tcp->gone_count].remote;
    *local = tcp->gone[tcp->gone_count].local;
    return true;
}

void kh_knotholed_tcp_send(struct kh_knotholed_tcp *tcp, kh_time now,
                           const struct kh_datagram *datagram)
{
    struct connection *connection = find(tcp, datagram);

    if (connection == NULL) {
        tcp->stats.dropped_gone++;
        return;
    }
    if (kh_io_tcp_send(&connection->tcp, datagram->data, datagram->len,
                       kh_stun_stream_padding(datagram->data, datagram->len)))
        connection->active_at = now;
    arm(tcp, connection);
}

/* ---- time ---- */

static bool is_late(const struct connection *connection, kh_time now)
{
    kh_duration patience = connection->spoke ? IDLE_PATIENCE : FRAME_PATIENCE;

    return kh_time_since(now, connection->active_at) >= patience ||
           kh_time_since(now, connection->partial_since) >= FRAME_PATIENCE;
}

void kh_knotholed_tcp_handle_timeout(struct kh_knotholed_tcp *tcp, kh_time now)
{
    if (tcp->sweep_at > now)
        return;
    assert(tcp->ready_first == NULL);
    for (size_t i = tcp->count; i > 0; i--) {
        if (!is_late(tcp->list[i - 1], now))
            continue;
        tcp->stats.idle++;
        drop(tcp, tcp->list[i - 1]);
    }
    if (tcp->is_deaf)
        listen_again(tcp, false);
    tcp->sweep_at = tcp->count > 0 ? kh_time_add(now, SWEEP_EVERY) : KH_NEVER;
}

kh_time kh_knotholed_tcp_timeout(const struct kh_knotholed_tcp *tcp)
{
    return tcp->sweep_at;
}

struct kh_knotholed_tcp_stats kh_knotholed_tcp_stats(const struct kh_knotholed_tcp *tcp)
{
    struct kh_knotholed_tcp_stats stats = tcp->stats;

    stats.connections = tcp->count;
    for (size_t i = 0; i < tcp->count; i++)
        stats.dropped_full += tcp->list[i]->tcp.dropped_full;
    return stats;
}
