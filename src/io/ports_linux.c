/* io/ports_linux.c - thousands of UDP sockets behind one epoll(7) descriptor.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/ports.h"

#include <assert.h>
#include <errno.h>
#include <time.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define BATCH 32
#define READY_MAX 64 /* sockets looked at before others get a turn */
#define LEN_MAX 2048 /* longer datagrams are dropped: a relay's framing would not fit either */
#define NOBODY UINT32_MAX
#define FIRST 64
#define PORTS 65536

struct place {
    int fd; /* -1: free */
    struct kh_addr addr;
    uint32_t next;      /* with the same port at another address, or free */
    bool dont_fragment; /* as the socket is set now */
};

struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_storage names[BATCH];
    uint8_t data[BATCH][LEN_MAX];
    size_t count;
};

struct kh_io_ports {
    int epoll;
    struct place *places; /* owned */
    size_t place_count;
    uint32_t free_first;
    uint32_t by_port[PORTS];
    struct epoll_event ready[READY_MAX];
    size_t ready_count;
    struct batch in;
    uint32_t in_place;
    struct batch out;
    uint32_t out_place; /* all of `out` leave by this one */
    struct kh_io_ports_stats stats;
};

/* A relayed address each is a descriptor each, and the usual 1024 are gone soon. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

struct kh_io_ports *kh_io_ports_new(void)
{
    struct kh_io_ports *ports = calloc(1, sizeof *ports);

    if (ports == NULL)
        return NULL;
    memset(ports->by_port, 0xff, sizeof ports->by_port);
    ports->free_first = NOBODY;
    ports->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (ports->epoll < 0) {
        free(ports);
        return NULL;
    }
    raise_limit();
    return ports;
}

void kh_io_ports_free(struct kh_io_ports *ports)
{
    if (ports == NULL)
        return;
    for (size_t i = 0; i < ports->place_count; i++) {
        if (ports->places[i].fd >= 0)
            close(ports->places[i].fd);
    }
    close(ports->epoll);
    free(ports->places);
    free(ports);
}

int kh_io_ports_fd(const struct kh_io_ports *ports)
{
    return ports->epoll;
}

/* ---- opening and closing ---- */

static bool has_room(struct kh_io_ports *ports)
{
    size_t count = ports->place_count == 0 ? FIRST : 2 * ports->place_count;
    struct place *larger;

    if (ports->free_first != NOBODY)
        return true;
    larger = realloc(ports->places, count * sizeof *larger);
    if (larger == NULL)
        return false;
    for (size_t i = ports->place_count; i < count; i++)
        larger[i] = (struct place){.fd = -1, .next = i + 1 < count ? (uint32_t)(i + 1) : NOBODY};
    ports->places = larger;
    ports->free_first = (uint32_t)ports->place_count;
    ports->place_count = count;
    return true;
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
        (void)set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
        (void)set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT);
    } else {
        (void)set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
        (void)set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
    }
    return failed;
}

static int open_socket(const struct kh_addr *addr, int *out)
{
    struct sockaddr_storage name = {0};
    socklen_t len = kh_io_sockaddr_write(addr, &name);
    bool ipv6 = addr->family == KH_FAMILY_IPV6;
    int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0)
        return errno;
    if (configure(fd, ipv6) != 0 || bind(fd, (const struct sockaddr *)&name, len) != 0) {
        error = errno;
        close(fd);
        return error;
    }
    *out = fd;
    return 0;
}

int kh_io_ports_open(struct kh_io_ports *ports, const struct kh_addr *addr)
{
    uint32_t at;
    struct place *place;
    struct epoll_event event = {.events = EPOLLIN};
    int fd = -1;
    int error;

    assert(addr->port != 0);
    if (!has_room(ports))
        return ENOMEM;
    error = open_socket(addr, &fd);
    if (error != 0)
        return error;
    at = ports->free_first;
    event.data.u32 = at;
    if (epoll_ctl(ports->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        error = errno;
        close(fd);
        return error;
    }
    place = &ports->places[at];
    ports->free_first = place->next;
    *place = (struct place){.fd = fd, .addr = *addr, .next = ports->by_port[addr->port]};
    ports->by_port[addr->port] = at;
    return 0;
}

/* Gives where the index of this socket is kept; what it holds is NOBODY if there is none. */
static uint32_t *find(struct kh_io_ports *ports, const struct kh_addr *addr)
{
    uint32_t *at = &ports->by_port[addr->port];

    while (*at != NOBODY && !kh_addr_ip_equal(&ports->places[*at].addr, addr))
        at = &ports->places[*at].next;
    return at;
}

void kh_io_ports_close(struct kh_io_ports *ports, const struct kh_addr *addr)
{
    uint32_t *link = find(ports, addr);
    uint32_t at = *link;

    if (at == NOBODY)
        return;
    if (ports->out.count > 0 && ports->out_place == at)
        kh_io_ports_flush(ports);
    *link = ports->places[at].next;
    close(ports->places[at].fd); /* which takes it out of the epoll set */
    ports->places[at] = (struct place){.fd = -1, .next = ports->free_first};
    ports->free_first = at;
}

/* ---- receiving ---- */

size_t kh_io_ports_ready(struct kh_io_ports *ports)
{
    int count = epoll_wait(ports->epoll, ports->ready, READY_MAX, 0);

    ports->ready_count = count < 0 ? 0 : (size_t)count;
    return ports->ready_count;
}

size_t kh_io_ports_receive(struct kh_io_ports *ports, size_t n)
{
    struct batch *batch = &ports->in;
    const struct place *place;
    int got;

    assert(n < ports->ready_count);
    ports->in_place = ports->ready[n].data.u32;
    place = &ports->places[ports->in_place];
    batch->count = 0;
    if (place->fd < 0)
        return 0;
    for (size_t i = 0; i < BATCH; i++) {
        batch->vectors[i] = (struct iovec){batch->data[i], LEN_MAX};
        batch->headers[i].msg_hdr = (struct msghdr){.msg_name = &batch->names[i],
                                                    .msg_namelen = sizeof batch->names[i],
                                                    .msg_iov = &batch->vectors[i],
                                                    .msg_iovlen = 1};
    }
    got = recvmmsg(place->fd, batch->headers, BATCH, MSG_DONTWAIT, NULL);
    batch->count = got < 0 ? 0 : (size_t)got;
    ports->stats.received += batch->count;
    return batch->count;
}

void kh_io_ports_received(const struct kh_io_ports *ports, size_t index, struct kh_datagram *out)
{
    const struct batch *batch = &ports->in;

    assert(index < batch->count);
    *out = (struct kh_datagram){.to = ports->places[ports->in_place].addr,
                                .data = batch->data[index],
                                .len = batch->headers[index].msg_len};
    /* What was cut is too long to be relayed; its full length makes the relay drop and count it. */
    if ((batch->headers[index].msg_hdr.msg_flags & MSG_TRUNC) != 0 ||
        !kh_io_sockaddr_read((const struct sockaddr *)&batch->names[index], &out->from))
        out->len = LEN_MAX;
}

static bool read_error(const struct cmsghdr *at, struct kh_io_ports_error *out)
{
    struct sock_extended_err error;

    memcpy(&error, CMSG_DATA(at), sizeof error);
    out->type = error.ee_type;
    out->code = error.ee_code;
    out->data = error.ee_errno == EMSGSIZE ? error.ee_info : 0;
    if (error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6)
        return true;
    if (error.ee_origin != SO_EE_ORIGIN_LOCAL || error.ee_errno != EMSGSIZE)
        return false;
    /* Our own link is too narrow: said as a router on the way would (RFC 792, RFC 4443 3.2). */
    out->type = at->cmsg_level == IPPROTO_IP ? 3 : 2;
    out->code = at->cmsg_level == IPPROTO_IP ? 4 : 0;
    return true;
}

bool kh_io_ports_error(struct kh_io_ports *ports, size_t n, struct kh_io_ports_error *out)
{
    const struct place *place = &ports->places[ports->ready[n].data.u32];
    struct sockaddr_storage name = {0};
    uint8_t control[512];
    struct msghdr header = {.msg_name = &name,
                            .msg_namelen = sizeof name,
                            .msg_control = control,
                            .msg_controllen = sizeof control};

    assert(n < ports->ready_count);
    if (place->fd < 0 || (ports->ready[n].events & EPOLLERR) == 0)
        return false;
    while (recvmsg(place->fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0) {
        struct cmsghdr *at = CMSG_FIRSTHDR(&header);

        for (; at != NULL; at = CMSG_NXTHDR(&header, at)) {
            bool is_error = (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_RECVERR) ||
                            (at->cmsg_level == IPPROTO_IPV6 && at->cmsg_type == IPV6_RECVERR);

            if (is_error && read_error(at, out) &&
                kh_io_sockaddr_read((const struct sockaddr *)&name, &out->peer)) {
                out->local = place->addr;
                return true;
            }
        }
        header.msg_namelen = sizeof name;
        header.msg_controllen = sizeof control;
    }
    return false;
}

/* ---- sending ---- */

static void set_dont_fragment(struct place *place, bool dont_fragment)
{
    if (place->dont_fragment == dont_fragment)
        return;
    place->dont_fragment = dont_fragment;
    if (place->addr.family == KH_FAMILY_IPV4)
        (void)set_option(place->fd, IPPROTO_IP, IP_MTU_DISCOVER,
                         dont_fragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
    else
        (void)set_option(place->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
                         dont_fragment ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
}

bool kh_io_ports_send(struct kh_io_ports *ports, const struct kh_datagram *datagram,
                      bool dont_fragment)
{
    struct batch *batch = &ports->out;
    uint32_t place = *find(ports, &datagram->from);
    size_t at;

    if (place == NOBODY)
        return false;
    assert(datagram->len <= LEN_MAX);
    if (batch->count == BATCH || (batch->count > 0 && ports->out_place != place) ||
        ports->places[place].dont_fragment != dont_fragment)
        kh_io_ports_flush(ports);
    set_dont_fragment(&ports->places[place], dont_fragment);
    ports->out_place = place;
    at = batch->count++;
    memcpy(batch->data[at], datagram->data, datagram->len);
    batch->vectors[at] = (struct iovec){batch->data[at], datagram->len};
    batch->headers[at].msg_hdr = (struct msghdr){
        .msg_name = &batch->names[at], .msg_iov = &batch->vectors[at], .msg_iovlen = 1};
    batch->headers[at].msg_hdr.msg_namelen = kh_io_sockaddr_write(&datagram->to, &batch->names[at]);
    return true;
}

void kh_io_ports_flush(struct kh_io_ports *ports)
{
    struct batch *batch = &ports->out;
    bool is_second_try = false;
    size_t done = 0;

    while (done < batch->count) {
        int sent = sendmmsg(ports->places[ports->out_place].fd, batch->headers + done,
                            (unsigned)(batch->count - done), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent > 0) {
            ports->stats.sent += (uint64_t)sent;
            done += (size_t)sent;
            is_second_try = false;
        } else if (!is_second_try) {
            is_second_try = true; /* with IP_RECVERR this may be about an earlier datagram */
        } else {
            ports->stats.send_refused++;
            done++;
            is_second_try = false;
        }
    }
    batch->count = 0;
}

struct kh_io_ports_stats kh_io_ports_stats(const struct kh_io_ports *ports)
{
    return ports->stats;
}
