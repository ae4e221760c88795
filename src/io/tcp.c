/* io/tcp.c - TCP connections that carry whole frames or none, and listeners for them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/tcp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define BACKLOG 128
/* A connection into a network that is gone looks alive for a quarter of an hour otherwise. */
#define UNANSWERED_MAX_MS 10000
#define STALLED_MIN 3 /* retransmissions without an answer */

static int set_value(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int set_option(int fd, int level, int name)
{
    return set_value(fd, level, name, 1);
}

static bool read_name(const struct sockaddr_storage *name, struct kh_addr *out)
{
    if (!kh_io_sockaddr_read((const struct sockaddr *)name, out))
        return false;
    out->transport = KH_TCP;
    return true;
}

static bool local_addr(int fd, struct kh_addr *out)
{
    struct sockaddr_storage name = {0};
    socklen_t len = sizeof name;

    return getsockname(fd, (struct sockaddr *)&name, &len) == 0 && read_name(&name, out);
}

/* ---- listeners ---- */

static int listen_at(const struct kh_addr *addr, bool is_shared, struct kh_io_tcp_listener *out)
{
    struct sockaddr_storage name = {0};
    socklen_t len = kh_io_sockaddr_write(addr, &name);
    bool ipv6 = addr->family == KH_FAMILY_IPV6;
    int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return errno;
    /* Connections of the run before, which the system still remembers, are no hindrance. */
    if (set_option(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
        (!is_shared || set_option(fd, SOL_SOCKET, SO_REUSEPORT) == 0) &&
        (!ipv6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
        bind(fd, (const struct sockaddr *)&name, len) == 0 && listen(fd, BACKLOG) == 0 &&
        local_addr(fd, &out->addr)) {
        out->fd = fd;
        return 0;
    }
    error = errno;
    close(fd);
    return error;
}

int kh_io_tcp_listen(const struct kh_addr *addr, struct kh_io_tcp_listener *out)
{
    return listen_at(addr, false, out);
}

int kh_io_tcp_listen_shared(const struct kh_addr *addr, struct kh_io_tcp_listener *out)
{
    return listen_at(addr, true, out);
}

void kh_io_tcp_listener_close(struct kh_io_tcp_listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
}

/* ---- connections ---- */

int kh_io_tcp_accept(const struct kh_io_tcp_listener *listener, struct kh_io_tcp *out)
{
    struct sockaddr_storage name = {0};
    socklen_t len = sizeof name;
    int fd = accept4(listener->fd, (struct sockaddr *)&name, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    *out = (struct kh_io_tcp){.fd = fd};
    if (fd < 0)
        return errno;
    /* A frame is a whole thought: never wait for more to send with it. */
    (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    if (read_name(&name, &out->remote) && local_addr(fd, &out->local))
        return 0;
    kh_io_tcp_close(out);
    return ECONNABORTED;
}

/* RFC 6544 4.1 needs one port for all: SO_REUSEPORT lets us bind beside the listener, and
 * SO_REUSEADDR beside connections that are over. */
static bool bind_shared(int fd, const struct kh_addr *from)
{
    struct sockaddr_storage name = {0};
    socklen_t len = kh_io_sockaddr_write(from, &name);

    return set_option(fd, SOL_SOCKET, SO_REUSEADDR) == 0 &&
           set_option(fd, SOL_SOCKET, SO_REUSEPORT) == 0 &&
           bind(fd, (const struct sockaddr *)&name, len) == 0;
}

int kh_io_tcp_connect(const struct kh_addr *to, struct kh_io_tcp *out)
{
    return kh_io_tcp_connect_from(NULL, to, out);
}

int kh_io_tcp_connect_from(const struct kh_addr *from, const struct kh_addr *to,
                           struct kh_io_tcp *out)
{
    struct sockaddr_storage name = {0};
    socklen_t len = kh_io_sockaddr_write(to, &name);
    int fd = socket(to->family == KH_FAMILY_IPV6 ? AF_INET6 : AF_INET,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    *out = (struct kh_io_tcp){.fd = fd, .remote = *to, .is_connecting = true};
    out->remote.transport = KH_TCP;
    if (fd < 0)
        return errno;
    (void)set_option(fd, IPPROTO_TCP, TCP_NODELAY);
    (void)set_value(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNANSWERED_MAX_MS);
    if ((from == NULL || bind_shared(fd, from)) &&
        (connect(fd, (const struct sockaddr *)&name, len) == 0 || errno == EINPROGRESS) &&
        local_addr(fd, &out->local))
        return 0;
    error = errno;
    kh_io_tcp_close(out);
    return error;
}

void kh_io_tcp_keep_short(struct kh_io_tcp *tcp)
{
    (void)set_value(tcp->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, KH_IO_TCP_QUEUE_MAX);
}

void kh_io_tcp_abort(struct kh_io_tcp *tcp)
{
    const struct linger at_once = {.l_onoff = 1};

    if (tcp->fd >= 0)
        (void)setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    kh_io_tcp_close(tcp);
}

static void drop_queue(struct kh_io_tcp *tcp)
{
    free(tcp->queue);
    tcp->queue = NULL;
    tcp->queue_at = 0;
    tcp->queue_end = 0;
}

bool kh_io_tcp_start_tls(struct kh_io_tcp *tcp, const struct kh_io_tls_context *context,
                         const char *name)
{
    assert(tcp->tls == NULL && tcp->queue == NULL);
    tcp->tls = kh_io_tls_new(context, tcp->fd, name);
    if (tcp->tls == NULL)
        return false;
    tcp->local.transport = tcp->remote.transport = KH_TLS;
    return true;
}

void kh_io_tcp_close(struct kh_io_tcp *tcp)
{
    drop_queue(tcp);
    kh_io_tls_free(tcp->tls);
    tcp->tls = NULL;
    if (tcp->fd >= 0)
        close(tcp->fd);
    tcp->fd = -1;
}

static bool is_for_now(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static int receive_plain(const struct kh_io_tcp *tcp, uint8_t *data, size_t max, int flags,
                         size_t *len)
{
    ssize_t got = recv(tcp->fd, data, max, flags);

    *len = got > 0 ? (size_t)got : 0;
    if (got > 0)
        return 0;
    if (got == 0)
        return EPIPE;
    return is_for_now(errno) ? EAGAIN : errno;
}

int kh_io_tcp_receive(struct kh_io_tcp *tcp, uint8_t *data, size_t max, size_t *len)
{
    int error;

    assert(max > 0);
    if (tcp->tls == NULL)
        return receive_plain(tcp, data, max, 0, len);
    error = kh_io_tls_read(tcp->tls, data, max, len);
    /* What waited for the handshake goes now; if that fails, so will the next receive. */
    if ((error == 0 || error == EAGAIN) && tcp->queue != NULL)
        (void)kh_io_tcp_flush(tcp);
    return error;
}

bool kh_io_tcp_has_pending(const struct kh_io_tcp *tcp)
{
    return tcp->tls != NULL && kh_io_tls_has_pending(tcp->tls);
}

bool kh_io_tcp_is_stalled(const struct kh_io_tcp *tcp)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    return getsockopt(tcp->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_retransmits >= STALLED_MIN;
}

int kh_io_tcp_peek(const struct kh_io_tcp *tcp, uint8_t *byte)
{
    size_t len;

    assert(tcp->tls == NULL);
    return receive_plain(tcp, byte, 1, MSG_PEEK, &len);
}

/* ---- sending ---- */

/* Returns how much the system took now; nothing as well if the connection is dead, of which the
 * next receive or flush tells.  TLS takes only from the queue: what it could not finish it must be
 * given again. */
static size_t send_now(const struct kh_io_tcp *tcp, const uint8_t *data, size_t len)
{
    ssize_t sent =
        tcp->is_connecting || tcp->tls != NULL ? 0 : send(tcp->fd, data, len, MSG_NOSIGNAL);

    return sent > 0 ? (size_t)sent : 0;
}

static bool make_room(struct kh_io_tcp *tcp, size_t len)
{
    if (tcp->queue == NULL)
        tcp->queue = malloc(KH_IO_TCP_QUEUE_MAX);
    if (tcp->queue == NULL || tcp->queue_end - tcp->queue_at + len > KH_IO_TCP_QUEUE_MAX)
        return false;
    if (tcp->queue_end + len > KH_IO_TCP_QUEUE_MAX) {
        memmove(tcp->queue, tcp->queue + tcp->queue_at, tcp->queue_end - tcp->queue_at);
        tcp->queue_end -= tcp->queue_at;
        tcp->queue_at = 0;
    }
    return true;
}

static void put(struct kh_io_tcp *tcp, const uint8_t *data, size_t len)
{
    memcpy(tcp->queue + tcp->queue_end, data, len);
    tcp->queue_end += len;
}

bool kh_io_tcp_send(struct kh_io_tcp *tcp, const uint8_t *frame, size_t len, size_t padding)
{
    static const uint8_t zeros[KH_IO_TCP_PADDING_MAX];
    size_t sent = tcp->queue_at == tcp->queue_end ? send_now(tcp, frame, len) : 0;

    assert(padding <= sizeof zeros);
    if (sent == len && padding == 0)
        return true;
    if (!make_room(tcp, len + padding)) {
        tcp->dropped_full++;
        /* Out of memory in the middle of a frame, whose rest must follow: nothing more can. */
        if (sent > 0)
            (void)shutdown(tcp->fd, SHUT_RDWR);
        return false;
    }
    put(tcp, frame + sent, len - sent);
    put(tcp, zeros, padding);
    if (sent == len || (tcp->tls != NULL && !tcp->is_connecting))
        (void)kh_io_tcp_flush(tcp);
    return true;
}

bool kh_io_tcp_is_waiting(const struct kh_io_tcp *tcp)
{
    if (tcp->is_connecting || tcp->tls == NULL)
        return tcp->is_connecting || tcp->queue_at < tcp->queue_end;
    return kh_io_tls_wants_to_write(tcp->tls);
}

static int finish_connect(struct kh_io_tcp *tcp)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (getsockopt(tcp->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return errno;
    tcp->is_connecting = error != 0;
    return error;
}

/* As kh_io_tls_write. */
static int write_some(const struct kh_io_tcp *tcp, const uint8_t *data, size_t len, size_t *taken)
{
    ssize_t sent;

    if (tcp->tls != NULL)
        return kh_io_tls_write(tcp->tls, data, len, taken);
    sent = send(tcp->fd, data, len, MSG_NOSIGNAL);
    *taken = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0)
        return 0;
    return is_for_now(errno) ? EAGAIN : errno;
}

int kh_io_tcp_flush(struct kh_io_tcp *tcp)
{
    int error = tcp->is_connecting ? finish_connect(tcp) : 0;

    if (error == 0 && tcp->tls != NULL)
        error = kh_io_tls_shake(tcp->tls);
    while (error == 0 && tcp->queue_at < tcp->queue_end) {
        size_t taken;

        error = write_some(tcp, tcp->queue + tcp->queue_at, tcp->queue_end - tcp->queue_at, &taken);
        tcp->queue_at += taken;
    }
    if (error == 0)
        drop_queue(tcp);
    return error == EAGAIN ? 0 : error;
}
