/* io/ports_test.c - sockets of relayed addresses carry data and errors, and come and go.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "io/ports.h"

static struct kh_io_ports *ports;

static int set_up(void **state)
{
    (void)state;
    ports = kh_io_ports_new();
    return ports == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    kh_io_ports_free(ports);
    return 0;
}

static size_t wait_ready(void)
{
    struct pollfd pollfd = {.fd = kh_io_ports_fd(ports), .events = POLLIN};

    return poll(&pollfd, 1, 1000) == 1 ? kh_io_ports_ready(ports) : 0;
}

/* Opens a port that is free now, from `first` on. */
static struct kh_addr open_from(uint16_t first)
{
    struct kh_addr addr = kh_addr_ipv4(127, 0, 0, 1, first);

    while (kh_io_ports_open(ports, &addr) != 0)
        addr.port++;
    return addr;
}

static void send_text(const struct kh_addr *from, const struct kh_addr *to, const char *text)
{
    assert_true(kh_io_ports_send(
        ports,
        &(struct kh_datagram){
            .from = *from, .to = *to, .data = (const uint8_t *)text, .len = strlen(text)},
        false));
}

static void data_goes_from_one_to_another(void **state)
{
    struct kh_addr a = open_from(52000);
    struct kh_addr b = open_from((uint16_t)(a.port + 1));
    struct kh_datagram in;

    (void)state;
    send_text(&a, &b, "one");
    send_text(&a, &b, "two");
    kh_io_ports_flush(ports);
    assert_int_equal(wait_ready(), 1);
    assert_int_equal(kh_io_ports_receive(ports, 0), 2);
    kh_io_ports_received(ports, 1, &in);
    assert_int_equal(in.len, 3);
    assert_memory_equal(in.data, "two", 3);
    assert_true(kh_addr_equal(&in.from, &a));
    assert_true(kh_addr_equal(&in.to, &b));
    assert_int_equal(kh_io_ports_stats(ports).sent, 2);
}

static void port_in_use_is_said(void **state)
{
    struct kh_addr a = open_from(52000);

    (void)state;
    assert_int_equal(kh_io_ports_open(ports, &a), EADDRINUSE);
    kh_io_ports_close(ports, &a);
    assert_int_equal(kh_io_ports_open(ports, &a), 0);
}

static void closed_port_sends_nothing(void **state)
{
    struct kh_addr a = open_from(52000);
    struct kh_datagram out = {.from = a, .to = a, .data = (const uint8_t *)"x", .len = 1};

    (void)state;
    kh_io_ports_close(ports, &a);
    kh_io_ports_close(ports, &a);
    assert_false(kh_io_ports_send(ports, &out, false));
}

static void closing_one_that_is_ready_is_harmless(void **state)
{
    struct kh_addr a = open_from(52000);

    (void)state;
    send_text(&a, &a, "x");
    kh_io_ports_flush(ports);
    assert_int_equal(wait_ready(), 1);
    kh_io_ports_close(ports, &a);
    assert_int_equal(kh_io_ports_receive(ports, 0), 0);
}

static void icmp_error_is_told_and_costs_no_datagram(void **state)
{
    struct kh_addr a = open_from(52000);
    struct kh_addr nobody = open_from((uint16_t)(a.port + 1));
    struct kh_addr b = open_from((uint16_t)(nobody.port + 1));
    struct kh_io_ports_error error;

    (void)state;
    kh_io_ports_close(ports, &nobody);
    send_text(&a, &nobody, "x");
    kh_io_ports_flush(ports);
    assert_int_equal(wait_ready(), 1);
    assert_true(kh_io_ports_error(ports, 0, &error));
    assert_int_equal(error.type, 3);
    assert_int_equal(error.code, 3);
    assert_true(kh_addr_equal(&error.local, &a));
    assert_true(kh_addr_equal(&error.peer, &nobody));
    assert_false(kh_io_ports_error(ports, 0, &error));
    send_text(&a, &nobody, "x");
    kh_io_ports_flush(ports);
    send_text(&a, &b, "y");
    kh_io_ports_flush(ports);
    assert_int_equal(kh_io_ports_stats(ports).sent, 3);
}

static void many_ports_are_found_again(void **state)
{
    struct kh_addr addrs[200];

    (void)state;
    for (size_t i = 0; i < 200; i++)
        addrs[i] = open_from(i == 0 ? 53000 : (uint16_t)(addrs[i - 1].port + 1));
    for (size_t i = 0; i < 200; i += 2)
        kh_io_ports_close(ports, &addrs[i]);
    for (size_t i = 0; i < 200; i++) {
        struct kh_datagram out = {
            .from = addrs[i], .to = addrs[1], .data = (const uint8_t *)"x", .len = 1};

        assert_int_equal(kh_io_ports_send(ports, &out, false), i % 2 == 1);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(data_goes_from_one_to_another),
        TEST(port_in_use_is_said),
        TEST(closed_port_sends_nothing),
        TEST(closing_one_that_is_ready_is_harmless),
        TEST(icmp_error_is_told_and_costs_no_datagram),
        TEST(many_ports_are_found_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
