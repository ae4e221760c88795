/* io/udp.c - UDP sockets by recvmmsg(2) and sendmmsg(2) with packet information.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define BUFFER_BYTES (4 << 20) /* a burst of 3,000 datagrams; the system may grant less */
#define FILES_SPARED 128       /* that spare sockets leave to the rest of the program */
#define SAME_PORT_TRIES 16     /* until a port is free in both families */

union control {
    size_t align; /* as struct cmsghdr needs it */
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)) +
               CMSG_SPACE(sizeof(int))];
};

/* The value of one item of control data. */
struct item {
    const void *data;
    size_t len;
};

struct kh_io_batch {
    struct mmsghdr headers[KH_IO_BATCH];
    struct iovec vectors[KH_IO_BATCH];
    struct sockaddr_storage names[KH_IO_BATCH];
    union control controls[KH_IO_BATCH];
    uint8_t data[KH_IO_BATCH][KH_IO_RECEIVE_MAX];
    struct kh_datagram datagrams[KH_IO_BATCH];
    size_t count;
};

bool kh_io_udp_set_init_for(struct kh_io_udp_set *set, size_t sockets_max)
{
    *set = (struct kh_io_udp_set){.sockets_max = sockets_max};
    set->sockets = calloc(sockets_max, sizeof *set->sockets);
    set->in = calloc(1, sizeof *set->in);
    set->out = calloc(1, sizeof *set->out);
    if (set->sockets != NULL && set->in != NULL && set->out != NULL)
        return true;
    kh_io_udp_set_fini(set);
    return false;
}

bool kh_io_udp_set_init(struct kh_io_udp_set *set)
{
    return kh_io_udp_set_init_for(set, KH_IO_SOCKETS_MAX);
}

void kh_io_udp_set_fini(struct kh_io_udp_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        close(set->sockets[i].fd);
    free(set->sockets);
    free(set->in);
    free(set->out);
    *set = (struct kh_io_udp_set){0};
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int configure(int fd, bool ipv6)
{
    int failed = 0;

    if (ipv6) {
        failed |= set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        failed |= set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
        (void)set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
    } else {
        failed |= set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
        /* What we send fits 1280 bytes; on a narrower link fragments are better than nothing. */
        (void)set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    }
    (void)set_option(fd, SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES);
    (void)set_option(fd, SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES);
    return failed;
}

static int open_socket(const struct kh_addr *addr, struct kh_io_udp *out)
{
    struct sockaddr_storage name = {0};
    socklen_t len = kh_io_sockaddr_write(addr, &name);
    bool ipv6 = addr->family == KH_FAMILY_IPV6;
    int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return errno;
    if (configure(fd, ipv6) != 0 || bind(fd, (const struct sockaddr *)&name, len) != 0)
        goto fail;
    len = sizeof name;
    if (getsockname(fd, (struct sockaddr *)&name, &len) != 0)
        goto fail;
    out->fd = fd;
    return kh_io_sockaddr_read((const struct sockaddr *)&name, &out->addr) ? 0 : EAFNOSUPPORT;

fail:
    error = errno;
    close(fd);
    return error;
}

int kh_io_udp_set_open(struct kh_io_udp_set *set, const struct kh_addr *addr)
{
    int error;

    assert(!kh_addr_is_none(addr));
    if (set->count == set->sockets_max)
        return ENOSPC;
    error = open_socket(addr, &set->sockets[set->count]);
    if (error == 0)
        set->count++;
    return error;
}

/* The system gives the lowest free number, so a high one says that few are left. */
static bool are_files_scarce(int fd)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           (rlim_t)fd + FILES_SPARED >= limit.rlim_cur;
}

int kh_io_udp_set_open_spare(struct kh_io_udp_set *set, enum kh_family family)
{
    static const uint8_t zeros[16];
    struct kh_addr any = kh_addr_from_ip(family, zeros, 0);
    int error = kh_io_udp_set_open(set, &any);

    if (error != 0 || !are_files_scarce(set->sockets[set->count - 1].fd))
        return error;
    close(set->sockets[--set->count].fd);
    return EMFILE;
}

void kh_io_udp_set_close(struct kh_io_udp_set *set, size_t socket)
{
    assert(socket < set->count);
    kh_io_udp_set_flush(set); /* what waits there names sockets by their place */
    close(set->sockets[socket].fd);
    set->sockets[socket] = set->sockets[--set->count];
}

static struct kh_addr wildcard(enum kh_family family, uint16_t port)
{
    static const uint8_t zeros[16];

    return kh_addr_from_ip(family, zeros, port);
}

int kh_io_udp_set_open_any(struct kh_io_udp_set *set)
{
    struct kh_addr ipv4 = wildcard(KH_FAMILY_IPV4, 0);
    int error = 0;

    assert(set->count == 0);
    for (int i = 0; i < SAME_PORT_TRIES; i++) {
        struct kh_addr ipv6;

        error = kh_io_udp_set_open(set, &ipv4);
        ipv6 = wildcard(KH_FAMILY_IPV6, error == 0 ? set->sockets[0].addr.port : 0);
        if (error != 0)
            return kh_io_udp_set_open(set, &ipv6) == 0 ? 0 : error;
        /* One number for both families; where that is taken, look for another. */
        if (kh_io_udp_set_open(set, &ipv6) != EADDRINUSE)
            return 0;
        close(set->sockets[--set->count].fd);
    }
    return kh_io_udp_set_open(set, &ipv4);
}

static void prepare_receive(struct kh_io_batch *batch)
{
    for (size_t i = 0; i < KH_IO_BATCH; i++) {
        batch->vectors[i] = (struct iovec){batch->data[i], KH_IO_RECEIVE_MAX};
        batch->headers[i].msg_hdr = (struct msghdr){.msg_name = &batch->names[i],
                                                    .msg_namelen = sizeof batch->names[i],
                                                    .msg_iov = &batch->vectors[i],
                                                    .msg_iovlen = 1,
                                                    .msg_control = &batch->controls[i],
                                                    .msg_controllen = sizeof batch->controls[i]};
    }
}

/* Where it arrived: the socket's port, and the ip the packet information names. */
static struct kh_addr arrived_at(struct msghdr *header, const struct kh_addr *bound)
{
    struct kh_addr to = *bound;

    for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at != NULL; at = CMSG_NXTHDR(header, at)) {
        if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(at), sizeof info);
            to = kh_addr_from_ip(KH_FAMILY_IPV4, (const uint8_t *)&info.ipi_addr, bound->port);
        } else if (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;

            memcpy(&info, CMSG_DATA(at), sizeof info);
            to = kh_addr_from_ip(KH_FAMILY_IPV6, info.ipi6_addr.s6_addr, bound->port);
            if (kh_addr_reach(&to) == KH_REACH_LINK_LOCAL)
                to.scope = info.ipi6_ifindex;
        }
    }
    return to;
}

size_t kh_io_udp_set_find(const struct kh_io_udp_set *set, enum kh_family family, uint16_t port)
{
    size_t at = 0;

    while (at < set->count &&
           (set->sockets[at].addr.family != family || set->sockets[at].addr.port != port))
        at++;
    return at;
}

size_t kh_io_udp_set_receive(struct kh_io_udp_set *set, size_t socket)
{
    struct kh_io_batch *batch = set->in;
    const struct kh_io_udp *udp = &set->sockets[socket];
    int got;

    assert(socket < set->count);
    prepare_receive(batch);
    batch->count = 0;
    got = recvmmsg(udp->fd, batch->headers, KH_IO_BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++) {
        struct msghdr *header = &batch->headers[i].msg_hdr;
        struct kh_datagram *datagram = &batch->datagrams[batch->count];

        if ((header->msg_flags & MSG_TRUNC) != 0 ||
            !kh_io_sockaddr_read(header->msg_name, &datagram->from)) {
            set->dropped_truncated++;
            continue;
        }
        datagram->to = arrived_at(header, &udp->addr);
        datagram->data = batch->data[i];
        datagram->len = batch->headers[i].msg_len;
        batch->count++;
    }
    set->received += batch->count;
    return batch->count;
}

void kh_io_udp_set_received(const struct kh_io_udp_set *set, size_t index, struct kh_datagram *out)
{
    assert(index < set->in->count);
    *out = set->in->datagrams[index];
}

static bool is_unspecified(const struct kh_addr *addr)
{
    return kh_addr_reach(addr) == KH_REACH_UNSPECIFIED;
}

/* Finds the socket a datagram leaves by; set->count if none does. */
static size_t find_socket(const struct kh_io_udp_set *set, const struct kh_datagram *datagram)
{
    const struct kh_addr *from = &datagram->from;
    size_t found = set->count;

    for (size_t i = 0; i < set->count; i++) {
        const struct kh_addr *bound = &set->sockets[i].addr;

        if (bound->family != datagram->to.family)
            continue;
        if (kh_addr_is_none(from))
            return i;
        if (from->family != bound->family || from->port != bound->port)
            continue;
        if (kh_addr_ip_equal(from, bound))
            return i;
        if (is_unspecified(bound))
            found = i;
    }
    return found;
}

/* Appends one item; header->msg_controllen says how long the control data is so far. */
static void add_control(struct msghdr *header, union control *control, int level, int type,
                        struct item item)
{
    struct cmsghdr *at = (struct cmsghdr *)(void *)(control->bytes + header->msg_controllen);

    assert(header->msg_controllen + CMSG_SPACE(item.len) <= sizeof *control);
    at->cmsg_level = level;
    at->cmsg_type = type;
    at->cmsg_len = CMSG_LEN(item.len);
    memcpy(CMSG_DATA(at), item.data, item.len);
    header->msg_controllen += CMSG_SPACE(item.len);
}

/* Tells the system which of our addresses to send from, and how far. */
static void write_control(struct msghdr *header, union control *control,
                          const struct kh_datagram *datagram)
{
    const struct kh_addr *from = &datagram->from;
    bool is_ipv4 = datagram->to.family == KH_FAMILY_IPV4;
    int ttl = datagram->ttl;

    memset(control, 0, sizeof *control);
    header->msg_controllen = 0;
    if (!kh_addr_is_none(from) && !is_unspecified(from) && is_ipv4) {
        struct in_pktinfo info = {0};

        memcpy(&info.ipi_spec_dst, from->ip, sizeof info.ipi_spec_dst);
        add_control(header, control, IPPROTO_IP, IP_PKTINFO, (struct item){&info, sizeof info});
    } else if (!kh_addr_is_none(from) && !is_unspecified(from)) {
        struct in6_pktinfo info = {.ipi6_ifindex = from->scope};

        memcpy(&info.ipi6_addr, from->ip, sizeof info.ipi6_addr);
        add_control(header, control, IPPROTO_IPV6, IPV6_PKTINFO, (struct item){&info, sizeof info});
    }
    if (ttl != 0)
        add_control(header, control, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6,
                    is_ipv4 ? IP_TTL : IPV6_HOPLIMIT, (struct item){&ttl, sizeof ttl});
    header->msg_control = header->msg_controllen > 0 ? control : NULL;
}

void kh_io_udp_set_send(struct kh_io_udp_set *set, const struct kh_datagram *datagram)
{
    struct kh_io_batch *batch = set->out;
    size_t socket = find_socket(set, datagram);
    size_t at;

    if (socket == set->count || datagram->len > KH_IO_RECEIVE_MAX) {
        set->send_homeless++;
        return;
    }
    if (batch->count == KH_IO_BATCH || (batch->count > 0 && set->out_socket != socket))
        kh_io_udp_set_flush(set);
    set->out_socket = socket;
    at = batch->count++;
    memcpy(batch->data[at], datagram->data, datagram->len);
    batch->vectors[at] = (struct iovec){batch->data[at], datagram->len};
    batch->headers[at].msg_hdr = (struct msghdr){
        .msg_name = &batch->names[at], .msg_iov = &batch->vectors[at], .msg_iovlen = 1};
    batch->headers[at].msg_hdr.msg_namelen = kh_io_sockaddr_write(&datagram->to, &batch->names[at]);
    write_control(&batch->headers[at].msg_hdr, &batch->controls[at], datagram);
}

void kh_io_udp_set_flush(struct kh_io_udp_set *set)
{
    struct kh_io_batch *batch = set->out;
    size_t done = 0;

    while (done < batch->count) {
        int sent = sendmmsg(set->sockets[set->out_socket].fd, batch->headers + done,
                            (unsigned)(batch->count - done), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent > 0) {
            set->sent += (uint64_t)sent;
            done += (size_t)sent;
        } else if (errno != EINTR) {
            /* The first one was refused, for a reason of its own (no route, EMSGSIZE, an old
             * ECONNREFUSED, buffer full): it is lost, the others are not. */
            set->send_refused++;
            done++;
        }
    }
    batch->count = 0;
}

uint16_t kh_io_udp_set_port(const struct kh_io_udp_set *set, enum kh_family family)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->sockets[i].addr.family == family)
            return set->sockets[i].addr.port;
    }
    return 0;
}
