/* io/io_test.c - sockets carry both addresses exactly, and clocks go forward.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/gateway.h"
#include "io/clock.h"
#include "io/entropy.h"
#include "io/interfaces.h"
#include "io/sockaddr.h"
#include "io/udp.h"

static size_t receive(struct kh_io_udp_set *set, size_t socket)
{
    struct pollfd pollfd = {.fd = set->sockets[socket].fd, .events = POLLIN};

    return poll(&pollfd, 1, 1000) == 1 ? kh_io_udp_set_receive(set, socket) : 0;
}

static void wildcard_socket_tells_and_uses_local_address(void **state)
{
    struct kh_io_udp_set ours;
    struct kh_io_udp_set other;
    struct kh_addr peer = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_datagram in;

    (void)state;
    assert_true(kh_io_udp_set_init(&ours));
    assert_true(kh_io_udp_set_init(&other));
    assert_int_equal(kh_io_udp_set_open_any(&ours), 0);
    assert_int_equal(kh_io_udp_set_open(&other, &peer), 0);
    peer = other.sockets[0].addr;
    assert_int_not_equal(peer.port, 0);

    /* from 127.0.0.9, which the wildcard socket owns as much as any */
    kh_io_udp_set_send(
        &ours, &(struct kh_datagram){
                   .from = kh_addr_ipv4(127, 0, 0, 9, kh_io_udp_set_port(&ours, KH_FAMILY_IPV4)),
                   .to = peer,
                   .data = (const uint8_t *)"knock",
                   .len = 5});
    kh_io_udp_set_flush(&ours);
    assert_int_equal(receive(&other, 0), 1);
    kh_io_udp_set_received(&other, 0, &in);
    assert_int_equal(in.len, 5);
    assert_memory_equal(in.data, "knock", 5);
    assert_int_equal(in.from.ip[3], 9);
    assert_true(kh_addr_equal(&in.to, &peer));

    /* the answer arrives at that very address */
    kh_io_udp_set_send(&other, &(struct kh_datagram){
                                   .from = in.to, .to = in.from, .data = in.data, .len = in.len});
    kh_io_udp_set_flush(&other);
    assert_int_equal(receive(&ours, 0), 1);
    kh_io_udp_set_received(&ours, 0, &in);
    assert_int_equal(in.to.ip[3], 9);
    assert_true(kh_addr_equal(&in.from, &peer));
    kh_io_udp_set_fini(&ours);
    kh_io_udp_set_fini(&other);
}

static void both_families_share_a_port(void **state)
{
    struct kh_io_udp_set set;

    (void)state;
    assert_true(kh_io_udp_set_init(&set));
    assert_int_equal(kh_io_udp_set_open_any(&set), 0);
    if (set.count == 2)
        assert_int_equal(kh_io_udp_set_port(&set, KH_FAMILY_IPV4),
                         kh_io_udp_set_port(&set, KH_FAMILY_IPV6));
    kh_io_udp_set_fini(&set);
}

static void busy_port_is_an_error(void **state)
{
    struct kh_addr addr = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_io_udp_set set;

    (void)state;
    assert_true(kh_io_udp_set_init(&set));
    assert_int_equal(kh_io_udp_set_open(&set, &addr), 0);
    addr = set.sockets[0].addr;
    assert_int_equal(kh_io_udp_set_open(&set, &addr), EADDRINUSE);
    addr = kh_addr_ipv4(192, 0, 2, 1, 0);
    assert_int_equal(kh_io_udp_set_open(&set, &addr), EADDRNOTAVAIL);
    assert_int_equal(set.count, 1);
    kh_io_udp_set_fini(&set);
}

static void many_datagrams_one_flush(void **state)
{
    struct kh_addr addr = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_io_udp_set set;
    struct kh_datagram datagram = {.data = (const uint8_t *)"x", .len = 1};
    size_t got = 0;

    (void)state;
    assert_true(kh_io_udp_set_init(&set));
    assert_int_equal(kh_io_udp_set_open(&set, &addr), 0);
    datagram.to = datagram.from = set.sockets[0].addr;
    for (size_t i = 0; i < KH_IO_BATCH + 3; i++)
        kh_io_udp_set_send(&set, &datagram);
    kh_io_udp_set_flush(&set);
    assert_int_equal(set.sent, KH_IO_BATCH + 3);
    while (got < KH_IO_BATCH + 3) {
        size_t n = receive(&set, 0);

        assert_true(n > 0);
        got += n;
    }
    datagram.from.port ^= 1;
    kh_io_udp_set_send(&set, &datagram);
    assert_int_equal(set.send_homeless, 1);
    kh_io_udp_set_fini(&set);
}

static void spare_sockets_come_and_go(void **state)
{
    struct kh_io_udp_set set;
    uint16_t ports[3];

    (void)state;
    assert_true(kh_io_udp_set_init_for(&set, 3));
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kh_io_udp_set_open_spare(&set, KH_FAMILY_IPV4), 0);
        ports[i] = set.sockets[i].addr.port;
        assert_int_equal(kh_io_udp_set_find(&set, KH_FAMILY_IPV4, ports[i]), i);
        assert_int_equal(kh_io_udp_set_find(&set, KH_FAMILY_IPV6, ports[i]), i + 1);
    }
    assert_int_equal(kh_io_udp_set_open_spare(&set, KH_FAMILY_IPV4), ENOSPC);
    kh_io_udp_set_close(&set, 0);
    assert_int_equal(set.count, 2);
    assert_int_equal(kh_io_udp_set_find(&set, KH_FAMILY_IPV4, ports[0]), 2);
    assert_int_equal(kh_io_udp_set_find(&set, KH_FAMILY_IPV4, ports[2]), 0);
    kh_io_udp_set_fini(&set);
}

/* With few files allowed, spare sockets stop before the program has none left for other things. */
static void spare_sockets_leave_files_for_others(void **state)
{
    struct rlimit before, few;
    struct kh_io_udp_set set;
    int error = 0;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 200;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_true(kh_io_udp_set_init_for(&set, 256));
    while (error == 0)
        error = kh_io_udp_set_open_spare(&set, KH_FAMILY_IPV4);
    assert_int_equal(error, EMFILE);
    assert_true(set.count > 0 && set.count < 100);
    kh_io_udp_set_fini(&set);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* How far it may go travels with the datagram, and only with that one. */
static void ttl_is_of_one_datagram(void **state)
{
    struct kh_addr addr = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_io_udp_set set;
    struct kh_datagram datagram = {.data = (const uint8_t *)"x", .len = 1, .ttl = 3};
    char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
    int on = 1;

    (void)state;
    assert_true(kh_io_udp_set_init(&set));
    assert_int_equal(kh_io_udp_set_open(&set, &addr), 0);
    assert_int_equal(setsockopt(set.sockets[0].fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on), 0);
    datagram.to = datagram.from = set.sockets[0].addr;
    for (int i = 0; i < 2; i++) {
        char byte;
        struct iovec vector = {&byte, 1};
        struct msghdr header = {.msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = control,
                                .msg_controllen = sizeof control};
        int ttl = 0;

        kh_io_udp_set_send(&set, &datagram);
        kh_io_udp_set_flush(&set);
        assert_int_equal(recvmsg(set.sockets[0].fd, &header, 0), 1);
        for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at != NULL; at = CMSG_NXTHDR(&header, at))
            if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_TTL)
                memcpy(&ttl, CMSG_DATA(at), sizeof ttl);
        if (i == 0)
            assert_int_equal(ttl, 3);
        else
            assert_true(ttl > 3);
        datagram.ttl = 0;
    }
    kh_io_udp_set_fini(&set);
}

static void refused_datagram_does_not_take_others_along(void **state)
{
    struct kh_addr addr = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_io_udp_set set;
    struct kh_datagram datagram = {.data = (const uint8_t *)"x", .len = 1};

    (void)state;
    assert_true(kh_io_udp_set_init(&set));
    assert_int_equal(kh_io_udp_set_open(&set, &addr), 0);
    datagram.from = set.sockets[0].addr;
    datagram.to = kh_addr_ipv4(192, 0, 2, 1, 9); /* not from a loopback address */
    kh_io_udp_set_send(&set, &datagram);
    datagram.to = datagram.from;
    kh_io_udp_set_send(&set, &datagram);
    kh_io_udp_set_flush(&set);
    assert_int_equal(set.send_refused, 1);
    assert_int_equal(receive(&set, 0), 1);
    kh_io_udp_set_fini(&set);
}

static void addresses_survive_the_system(void **state)
{
    static const char *const texts[] = {"192.0.2.1:65535", "[2001:db8::1]:3478", "[fe80::1]:1"};
    struct sockaddr_storage name;
    struct kh_addr addr;
    struct kh_addr back;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(kh_addr_parse(texts[i], 1, &addr), KH_OK);
        addr.scope = i == 2 ? 7 : 0;
        assert_true(kh_io_sockaddr_write(&addr, &name) > 0);
        assert_true(kh_io_sockaddr_read((const struct sockaddr *)&name, &back));
        assert_true(kh_addr_equal(&addr, &back));
        assert_int_equal(back.scope, addr.scope);
    }
}

static void interfaces_end_with_loopback(void **state)
{
    struct kh_addr addrs[64];
    size_t count = kh_io_interfaces_list(addrs, 64);
    int watch = kh_io_interfaces_watch();

    (void)state;
    for (size_t i = 1; i < count; i++) {
        if (kh_addr_reach(&addrs[i - 1]) == KH_REACH_LOOPBACK)
            assert_int_equal(kh_addr_reach(&addrs[i]), KH_REACH_LOOPBACK);
    }
    assert_int_equal(kh_io_interfaces_list(addrs, 0), 0);
    if (watch >= 0)
        close(watch);
}

static void a_gateway_is_found_with_our_side_of_it(void **state)
{
    struct kh_io_gateway way;

    (void)state;
    if (!kh_io_gateway_find(&way))
        skip(); /* this machine has none */
    assert_int_equal(way.gateway.family, KH_FAMILY_IPV4);
    assert_int_equal(way.local.family, KH_FAMILY_IPV4);
    assert_int_equal(way.gateway.port + way.local.port, 0);
    assert_false(kh_addr_equal(&way.gateway, &way.local));
}

static void clocks_and_entropy_work(void **state)
{
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    kh_time before = kh_io_clock_now();

    (void)state;
    kh_io_entropy_fill(a, sizeof a);
    kh_io_entropy_fill(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_true(kh_io_clock_now() >= before);
    assert_true(kh_io_clock_unix_ms() > UINT64_C(1700000000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wildcard_socket_tells_and_uses_local_address),
        cmocka_unit_test(both_families_share_a_port),
        cmocka_unit_test(busy_port_is_an_error),
        cmocka_unit_test(many_datagrams_one_flush),
        cmocka_unit_test(spare_sockets_come_and_go),
        cmocka_unit_test(spare_sockets_leave_files_for_others),
        cmocka_unit_test(ttl_is_of_one_datagram),
        cmocka_unit_test(refused_datagram_does_not_take_others_along),
        cmocka_unit_test(addresses_survive_the_system),
        cmocka_unit_test(interfaces_end_with_loopback),
        cmocka_unit_test(a_gateway_is_found_with_our_side_of_it),
        cmocka_unit_test(clocks_and_entropy_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
