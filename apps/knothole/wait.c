/* knothole/wait.c - the doctor stays silent, to see how long the router remembers.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

#include <poll.h>

#include "io/clock.h"
#include "io/entropy.h"
#include "io/udp.h"

static bool open_sockets(struct kh_io_udp_set *udp, struct kh_nat_lifetime_config *config)
{
    static const uint8_t zeros[16];
    struct kh_addr any = kh_addr_from_ip((enum kh_family)config->server.family, zeros, 0);

    if (!kh_io_udp_set_init(udp))
        return false;
    for (size_t i = 0; i < KH_NAT_LIFETIME_SOCKETS; i++) {
        if (kh_io_udp_set_open(udp, &any) != 0)
            return false;
        config->sockets[i] = udp->sockets[i].addr;
    }
    return true;
}

static void drain(struct kh_io_udp_set *udp, struct kh_nat_lifetime *lifetime)
{
    struct kh_datagram out;

    while (kh_nat_lifetime_next_transmit(lifetime, &out))
        kh_io_udp_set_send(udp, &out);
    kh_io_udp_set_flush(udp);
}

static void step(struct kh_io_udp_set *udp, struct kh_nat_lifetime *lifetime)
{
    struct pollfd polls[KH_NAT_LIFETIME_SOCKETS];
    kh_duration left = kh_time_since(kh_nat_lifetime_timeout(lifetime), kh_io_clock_now());

    for (size_t i = 0; i < KH_NAT_LIFETIME_SOCKETS; i++)
        polls[i] = (struct pollfd){.fd = udp->sockets[i].fd, .events = POLLIN};
    (void)poll(polls, KH_NAT_LIFETIME_SOCKETS, (int)((left + 999) / 1000));
    for (size_t i = 0; i < KH_NAT_LIFETIME_SOCKETS; i++) {
        size_t count = kh_io_udp_set_receive(udp, i);

        for (size_t j = 0; j < count; j++) {
            struct kh_datagram in;

            kh_io_udp_set_received(udp, j, &in);
            kh_nat_lifetime_handle_datagram(lifetime, kh_io_clock_now(), &in);
            drain(udp, lifetime);
        }
    }
    if (kh_nat_lifetime_timeout(lifetime) <= kh_io_clock_now())
        kh_nat_lifetime_handle_timeout(lifetime, kh_io_clock_now());
    drain(udp, lifetime);
}

bool kh_doctor_wait(const struct kh_addr *server, struct kh_nat_lifetime_result *out)
{
    struct kh_nat_lifetime_config config = {.server = *server};
    struct kh_nat_lifetime *lifetime = NULL;
    struct kh_io_udp_set udp;
    bool ok = open_sockets(&udp, &config);
    unsigned told_s = 0;

    kh_io_entropy_fill(config.seed, sizeof config.seed);
    ok = ok && kh_nat_lifetime_new(&lifetime, &config) == KH_OK;
    if (ok) {
        (void)fprintf(stderr, "Staying silent, to see how long the router remembers: up to five "
                              "minutes.\n");
        kh_nat_lifetime_start(lifetime, kh_io_clock_now());
        drain(&udp, lifetime);
    }
    while (ok && !kh_nat_lifetime_is_done(lifetime)) {
        step(&udp, lifetime);
        *out = kh_nat_lifetime_result(lifetime);
        if (out->remembered_s > told_s)
            (void)fprintf(stderr, "It remembers after %u s.\n", out->remembered_s);
        told_s = out->remembered_s;
    }
    if (ok)
        *out = kh_nat_lifetime_result(lifetime);
    else
        (void)fprintf(stderr, "knothole doctor: cannot open enough sockets\n");
    kh_nat_lifetime_free(lifetime);
    kh_io_udp_set_fini(&udp);
    return ok;
}
