/* io/multicast_test.c - the link is heard, and nobody beyond it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/interfaces.h"
#include "io/multicast.h"
#include "io/sockaddr.h"

#define ADDRS_MAX 16
#define ASK_IPV4 0

static struct kh_io_multicast multicast;
static uint8_t buffer[KH_IO_MULTICAST_MAX];

static int set_up(void **state)
{
    /* Not the group of mDNS: whoever answers there on this machine is not disturbed. */
    const uint8_t ip6[16] = {[0] = 0xff, [1] = 0x02, [14] = 0x6b, [15] = 0x68};
    struct kh_addr group4 = kh_addr_ipv4(224, 0, 0, 199, 45353);
    struct kh_addr group6 = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 45353);

    (void)state;
    return kh_io_multicast_open(&multicast, &group4, &group6) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kh_io_multicast_close(&multicast);
    return 0;
}

/* An address of ours on a link with others; none if this machine has no such link. */
static struct kh_addr find_link(void)
{
    struct kh_addr addrs[ADDRS_MAX], none = {0};
    size_t count = kh_io_interfaces_list(addrs, ADDRS_MAX);

    for (size_t i = 0; i < count; i++) {
        enum kh_addr_reach reach = kh_addr_reach(&addrs[i]);

        if (addrs[i].family == KH_FAMILY_IPV4 &&
            (reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL))
            return addrs[i];
    }
    return none;
}

/* Sends from one of our addresses to the socket that asks, which a question gives a port. */
static void send_from(const struct kh_addr *from)
{
    const struct kh_datagram question = {
        .to = multicast.groups[0], .data = (const uint8_t *)"?", .len = 1};
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    struct kh_addr to;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    kh_io_multicast_send(&multicast, &question);
    assert_int_equal(getsockname(multicast.fds[ASK_IPV4], (struct sockaddr *)&storage, &len), 0);
    assert_true(kh_io_sockaddr_read((const struct sockaddr *)&storage, &to));
    if (to.port == 0)
        skip(); /* no link to ask on */
    memcpy(to.ip, from->ip, sizeof to.ip);
    len = kh_io_sockaddr_write(from, &storage);
    assert_int_equal(bind(fd, (const struct sockaddr *)&storage, len), 0);
    len = kh_io_sockaddr_write(&to, &storage);
    assert_int_equal(sendto(fd, "!", 1, 0, (const struct sockaddr *)&storage, len), 1);
    close(fd);
}

static bool is_heard(struct kh_datagram *out)
{
    struct pollfd pollfd = {.fd = multicast.fds[ASK_IPV4], .events = POLLIN};

    assert_int_equal(poll(&pollfd, 1, 2000), 1);
    return kh_io_multicast_receive(&multicast, ASK_IPV4, buffer, out);
}

static void a_neighbour_is_heard(void **state)
{
    struct kh_addr ours = find_link();
    struct kh_datagram in;

    (void)state;
    if (kh_addr_is_none(&ours))
        skip();
    send_from(&ours);
    assert_true(is_heard(&in));
    assert_true(kh_addr_ip_equal(&in.from, &ours));
    assert_int_equal(in.len, 1);
    assert_int_equal(in.data[0], '!');
    assert_int_equal(multicast.dropped_off_link, 0);
}

static void who_is_on_none_of_our_links_is_not(void **state)
{
    struct kh_addr loopback = kh_addr_ipv4(127, 0, 0, 1, 0);
    struct kh_datagram in;

    (void)state;
    send_from(&loopback);
    assert_false(is_heard(&in));
    assert_int_equal(multicast.dropped_off_link, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_neighbour_is_heard, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_on_none_of_our_links_is_not, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
