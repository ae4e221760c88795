/* io/interfaces_linux.c - addresses by getifaddrs(3), their changes by rtnetlink(7).
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define FOUND_MAX 64 /* more than any member tells of; sorted before it is cut */

static int preference(const struct kh_addr *addr)
{
    switch (kh_addr_reach(addr)) {
    case KH_REACH_GLOBAL:
        return 0;
    case KH_REACH_PRIVATE:
        return 1;
    case KH_REACH_LINK_LOCAL:
        return 2;
    case KH_REACH_LOOPBACK:
        return 3;
    case KH_REACH_UNSPECIFIED:
    case KH_REACH_MULTICAST:
        break;
    }
    return 4;
}

static int compare(const void *a, const void *b)
{
    int order = preference(a) - preference(b);

    return order != 0 ? order : kh_addr_compare(a, b);
}

size_t kh_io_interfaces_list(struct kh_addr *out, size_t max)
{
    struct kh_addr found[FOUND_MAX];
    struct ifaddrs *list = NULL;
    size_t count = 0;

    if (getifaddrs(&list) != 0)
        return 0;
    for (const struct ifaddrs *at = list; at != NULL && count < FOUND_MAX; at = at->ifa_next) {
        if (at->ifa_addr == NULL || (at->ifa_flags & IFF_UP) == 0)
            continue;
        if (kh_io_sockaddr_read(at->ifa_addr, &found[count]) && preference(&found[count]) < 4)
            count++;
    }
    freeifaddrs(list);
    qsort(found, count, sizeof found[0], compare);
    if (count > max)
        count = max;
    memcpy(out, found, count * sizeof found[0]);
    return count;
}

int kh_io_interfaces_watch(void)
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK,
                               .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                                            RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd >= 0 && bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool is_news(const struct nlmsghdr *header)
{
    switch (header->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return true;
    default:
        return false;
    }
}

bool kh_io_interfaces_changed(int watch)
{
    _Alignas(struct nlmsghdr) char buffer[8192];
    bool changed = false;

    for (;;) {
        ssize_t len = recv(watch, buffer, sizeof buffer, 0);
        const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;

        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0 && errno == ENOBUFS) { /* so much news that some was lost */
            changed = true;
            continue;
        }
        if (len <= 0)
            return changed;
        for (size_t left = (size_t)len; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
            changed = is_news(header) || changed;
    }
}
