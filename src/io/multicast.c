/* io/multicast.c - multicast on every link, and who is on them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/multicast.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define LINKS_MAX 32
#define HOPS 255 /* RFC 6762 11: so that some can see that it never crossed a router */

enum { ASK_IPV4, ASK_IPV6, HEAR_IPV4, HEAR_IPV6 };

/* One address of an interface, and which others are on the same link. */
struct link {
    unsigned index;
    struct kh_addr addr;
    struct kh_addr mask;
};

static bool is_usable(const struct ifaddrs *at)
{
    const unsigned wanted = IFF_UP | IFF_MULTICAST;

    return at->ifa_addr != NULL && at->ifa_netmask != NULL && (at->ifa_flags & wanted) == wanted &&
           (at->ifa_flags & IFF_LOOPBACK) == 0;
}

static size_t list_links(struct link links[static LINKS_MAX])
{
    struct ifaddrs *list = NULL;
    size_t count = 0;

    if (getifaddrs(&list) != 0)
        return 0;
    for (const struct ifaddrs *at = list; at != NULL && count < LINKS_MAX; at = at->ifa_next) {
        struct link *link = &links[count];

        if (!is_usable(at) || !kh_io_sockaddr_read(at->ifa_addr, &link->addr) ||
            !kh_io_sockaddr_read(at->ifa_netmask, &link->mask))
            continue;
        link->index = if_nametoindex(at->ifa_name);
        count += link->index != 0;
    }
    freeifaddrs(list);
    return count;
}

static bool is_same_link(const struct link *link, const struct kh_addr *addr)
{
    if (link->addr.family != addr->family || link->mask.family != addr->family)
        return false;
    for (size_t i = 0; i < kh_addr_ip_len(addr); i++)
        if (((link->addr.ip[i] ^ addr->ip[i]) & link->mask.ip[i]) != 0)
            return false;
    return true;
}

static bool is_on_link(const struct kh_addr *addr)
{
    struct link links[LINKS_MAX];
    size_t count = list_links(links);

    for (size_t i = 0; i < count; i++)
        if (is_same_link(&links[i], addr))
            return true;
    return false;
}

/* ---- opening ---- */

static bool set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

static bool bind_to(int fd, const struct kh_addr *addr)
{
    struct sockaddr_storage storage;
    socklen_t len = kh_io_sockaddr_write(addr, &storage);

    return bind(fd, (const struct sockaddr *)&storage, len) == 0;
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd >= 0 && family == AF_INET6 && !set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int open_asking(int family)
{
    int fd = open_socket(family);
    bool is_set;

    if (fd < 0)
        return -1;
    if (family == AF_INET)
        is_set =
            set(fd, IPPROTO_IP, IP_MULTICAST_TTL, HOPS) && set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    else
        is_set = set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, HOPS);
    if (is_set)
        return fd;
    close(fd);
    return -1;
}

/* Bound to the group itself, it takes nothing that is sent to this machine alone. */
static int open_hearing(int family, const struct kh_addr *group)
{
    int fd = open_socket(family);

    if (fd < 0)
        return -1;
    if (set(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set(fd, SOL_SOCKET, SO_REUSEPORT, 1) &&
        bind_to(fd, group))
        return fd;
    close(fd);
    return -1;
}

/* Refused where we are a member already, and where the link knows no such thing. */
static void join(int fd, const struct kh_addr *group, unsigned index)
{
    if (group->family == KH_FAMILY_IPV4) {
        struct ip_mreqn request = {.imr_ifindex = (int)index};

        memcpy(&request.imr_multiaddr, group->ip, 4);
        (void)setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request);
    } else {
        struct ipv6_mreq request = {.ipv6mr_interface = index};

        memcpy(&request.ipv6mr_multiaddr, group->ip, 16);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request);
    }
}

bool kh_io_multicast_open(struct kh_io_multicast *multicast, const struct kh_addr *group4,
                          const struct kh_addr *group6)
{
    *multicast = (struct kh_io_multicast){.groups = {*group4, *group6}};
    multicast->fds[ASK_IPV4] = open_asking(AF_INET);
    multicast->fds[ASK_IPV6] = open_asking(AF_INET6);
    multicast->fds[HEAR_IPV4] = open_hearing(AF_INET, group4);
    multicast->fds[HEAR_IPV6] = open_hearing(AF_INET6, group6);
    return multicast->fds[ASK_IPV4] >= 0 || multicast->fds[ASK_IPV6] >= 0;
}

void kh_io_multicast_drop(struct kh_io_multicast *multicast, size_t socket)
{
    if (multicast->fds[socket] >= 0)
        close(multicast->fds[socket]);
    multicast->fds[socket] = -1;
}

void kh_io_multicast_close(struct kh_io_multicast *multicast)
{
    for (size_t i = 0; i < KH_IO_MULTICAST_SOCKETS; i++)
        kh_io_multicast_drop(multicast, i);
}

/* ---- sending and receiving ---- */

/* Lost like any datagram where the link refuses it. */
static void send_on(int fd, const struct kh_datagram *datagram, unsigned index)
{
    struct sockaddr_storage storage;
    socklen_t len = kh_io_sockaddr_write(&datagram->to, &storage);

    if (datagram->to.family == KH_FAMILY_IPV4) {
        struct ip_mreqn out = {.imr_ifindex = (int)index};

        (void)setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out);
    } else {
        ((struct sockaddr_in6 *)&storage)->sin6_scope_id = index;
    }
    (void)!sendto(fd, datagram->data, datagram->len, MSG_NOSIGNAL,
                  (const struct sockaddr *)&storage, len);
}

static bool comes_later(const struct link *links, size_t count, size_t at)
{
    for (size_t i = at + 1; i < count; i++)
        if (links[i].index == links[at].index && links[i].addr.family == links[at].addr.family)
            return true;
    return false;
}

void kh_io_multicast_send(struct kh_io_multicast *multicast, const struct kh_datagram *datagram)
{
    bool is_ipv4 = datagram->to.family == KH_FAMILY_IPV4;
    int ask = multicast->fds[is_ipv4 ? ASK_IPV4 : ASK_IPV6];
    int hear = multicast->fds[is_ipv4 ? HEAR_IPV4 : HEAR_IPV6];
    struct link links[LINKS_MAX];
    size_t count = list_links(links);

    for (size_t i = 0; i < count; i++) {
        if (links[i].addr.family != datagram->to.family || comes_later(links, count, i))
            continue; /* an interface with several addresses is asked once */
        if (hear >= 0)
            join(hear, &multicast->groups[is_ipv4 ? 0 : 1], links[i].index);
        if (ask >= 0)
            send_on(ask, datagram, links[i].index);
    }
}

bool kh_io_multicast_receive(struct kh_io_multicast *multicast, size_t socket,
                             uint8_t buffer[static KH_IO_MULTICAST_MAX], struct kh_datagram *out)
{
    for (;;) {
        struct sockaddr_storage storage;
        socklen_t storage_len = sizeof storage;
        ssize_t len = recvfrom(multicast->fds[socket], buffer, KH_IO_MULTICAST_MAX, 0,
                               (struct sockaddr *)&storage, &storage_len);

        if (len < 0)
            return false;
        *out = (struct kh_datagram){.data = buffer, .len = (size_t)len};
        if (kh_io_sockaddr_read((const struct sockaddr *)&storage, &out->from) &&
            is_on_link(&out->from))
            return true;
        multicast->dropped_off_link++;
    }
}
