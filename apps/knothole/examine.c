/* knothole/examine.c - the doctor's instruments: sockets, and machines that know what to ask.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <uv.h>

#include "io/clock.h"
#include "io/entropy.h"
#include "io/gateway.h"
#include "io/interfaces.h"
#include "io/tcp.h"
#include "io/udp.h"
#include "io/upnp.h"
#include "stun/stun.h"

#define TCP_PATIENCE KH_SECONDS(3) /* a lost SYN is sent again after one second */
#define ADDRS_MAX 64

/* One address of the server, asked by UDP and by TCP. */
struct visit {
    struct kh_io_udp_set udp;
    struct kh_nat_discovery *discovery; /* NULL: not by UDP */
    struct kh_io_tcp tcp;               /* fd -1: over */
    uint8_t answer[KH_DATAGRAM_MAX];
    size_t answer_len;
    uint8_t id[KH_STUN_ID_LEN]; /* of the request by TCP */
    enum kh_doctor_answer by_tcp;
    kh_time tcp_until;
};

/* Opens the sockets of one family, on ports the system chooses. */
static bool open_udp(struct visit *visit, enum kh_family family,
                     struct kh_nat_discovery_config *config)
{
    static const uint8_t zeros[16];
    struct kh_addr any = kh_addr_from_ip(family, zeros, 0);

    if (!kh_io_udp_set_init(&visit->udp))
        return false;
    for (size_t i = 0; i < KH_NAT_SOCKETS_MAX; i++) {
        if (kh_io_udp_set_open(&visit->udp, &any) != 0)
            return false;
        config->sockets[i] = visit->udp.sockets[i].addr;
    }
    config->socket_count = KH_NAT_SOCKETS_MAX;
    return true;
}

static void start_tcp(struct visit *visit, const struct kh_addr *server)
{
    uint8_t request[KH_STUN_HEADER_LEN];
    struct kh_stun_writer writer;
    struct kh_addr to = *server;

    to.transport = KH_TCP;
    kh_io_entropy_fill(visit->id, sizeof visit->id);
    writer = kh_stun_begin(request, sizeof request, KH_STUN_REQUEST, KH_STUN_BINDING, visit->id);
    if (kh_io_tcp_connect(&to, &visit->tcp) != 0) {
        visit->tcp.fd = -1;
        return;
    }
    visit->tcp_until = kh_time_add(kh_io_clock_now(), TCP_PATIENCE);
    (void)kh_io_tcp_send(&visit->tcp, request, kh_stun_finish(&writer), 0);
}

/* A family this machine does not have leaves the visit without UDP; false: no memory. */
static bool start(struct visit *visit, const struct kh_addr *server)
{
    struct kh_nat_discovery_config config = {.server = *server};

    visit->tcp.fd = -1;
    start_tcp(visit, server);
    if (!open_udp(visit, server->family, &config))
        return visit->udp.in != NULL;
    kh_io_entropy_fill(config.seed, sizeof config.seed);
    if (kh_nat_discovery_new(&visit->discovery, &config) != KH_OK)
        return false;
    kh_nat_discovery_start(visit->discovery, kh_io_clock_now());
    return true;
}

static void end_tcp(struct visit *visit, enum kh_doctor_answer found)
{
    visit->by_tcp = found;
    kh_io_tcp_close(&visit->tcp);
    visit->tcp.fd = -1;
}

static void end(struct visit *visit)
{
    kh_nat_discovery_free(visit->discovery);
    kh_io_udp_set_fini(&visit->udp);
    if (visit->tcp.fd >= 0)
        kh_io_tcp_close(&visit->tcp);
}

static void drain(struct visit *visit)
{
    struct kh_datagram out;

    while (kh_nat_discovery_next_transmit(visit->discovery, &out))
        kh_io_udp_set_send(&visit->udp, &out);
    kh_io_udp_set_flush(&visit->udp);
}

static void step_udp(struct visit *visit)
{
    for (size_t i = 0; i < visit->udp.count; i++) {
        size_t count = kh_io_udp_set_receive(&visit->udp, i);

        for (size_t j = 0; j < count; j++) {
            struct kh_datagram in;

            kh_io_udp_set_received(&visit->udp, j, &in);
            kh_nat_discovery_handle_datagram(visit->discovery, kh_io_clock_now(), &in);
            drain(visit);
        }
    }
    if (kh_nat_discovery_timeout(visit->discovery) <= kh_io_clock_now())
        kh_nat_discovery_handle_timeout(visit->discovery, kh_io_clock_now());
    drain(visit);
}

/* A refusal says that this server has no TCP, not that TCP is blocked. */
static void step_tcp(struct visit *visit)
{
    struct kh_stun_message message;
    size_t len = 0;
    int error = kh_io_tcp_flush(&visit->tcp);

    if (error == 0)
        error = kh_io_tcp_receive(&visit->tcp, visit->answer + visit->answer_len,
                                  sizeof visit->answer - visit->answer_len, &len);
    visit->answer_len += len;
    if (visit->answer_len > 0 && kh_stun_parse(visit->answer, visit->answer_len, &message) == KH_OK)
        end_tcp(visit, memcmp(message.id, visit->id, sizeof visit->id) == 0 ? KH_DOCTOR_YES
                                                                            : KH_DOCTOR_UNKNOWN);
    else if ((error != 0 && error != EAGAIN) || visit->answer_len == sizeof visit->answer)
        end_tcp(visit, KH_DOCTOR_UNKNOWN);
    else if (kh_io_clock_now() >= visit->tcp_until)
        end_tcp(visit, KH_DOCTOR_NO);
}

static bool is_over(const struct visit *visit)
{
    return visit->tcp.fd < 0 &&
           (visit->discovery == NULL || kh_nat_discovery_is_done(visit->discovery));
}

/* Adds what this visit waits for; returns until when. */
static kh_time add_polls(const struct visit *visit, struct pollfd *polls, nfds_t *count)
{
    kh_time until = KH_NEVER;

    if (visit->tcp.fd >= 0) {
        short events = kh_io_tcp_is_waiting(&visit->tcp) ? POLLIN | POLLOUT : POLLIN;

        polls[(*count)++] = (struct pollfd){.fd = visit->tcp.fd, .events = events};
        until = visit->tcp_until;
    }
    if (visit->discovery == NULL || kh_nat_discovery_is_done(visit->discovery))
        return until;
    for (size_t i = 0; i < visit->udp.count; i++)
        polls[(*count)++] = (struct pollfd){.fd = visit->udp.sockets[i].fd, .events = POLLIN};
    return kh_time_min(until, kh_nat_discovery_timeout(visit->discovery));
}

static void step(struct visit *visits, size_t count)
{
    struct pollfd polls[2 * (KH_NAT_SOCKETS_MAX + 1)];
    nfds_t poll_count = 0;
    kh_time until = KH_NEVER;
    kh_duration left;

    for (size_t i = 0; i < count; i++)
        until = kh_time_min(until, add_polls(&visits[i], polls, &poll_count));
    left = kh_time_since(until, kh_io_clock_now());
    (void)poll(polls, poll_count, (int)((left + 999) / 1000));
    for (size_t i = 0; i < count; i++) {
        if (visits[i].discovery != NULL)
            step_udp(&visits[i]);
        if (visits[i].tcp.fd >= 0)
            step_tcp(&visits[i]);
    }
}

/* ---- the router ---- */

/* The router is asked in a thread of its own, at the same time as the server. */
struct router {
    uv_thread_t thread;
    bool is_asked;
    enum kh_doctor_answer pcp;
    enum kh_doctor_answer natpmp;
    enum kh_doctor_answer upnp;
};

static enum kh_doctor_answer answer_of(bool yes)
{
    return yes ? KH_DOCTOR_YES : KH_DOCTOR_NO;
}

static void exchange(struct kh_io_udp_set *udp, struct kh_nat_offer *offer)
{
    struct pollfd polled = {.fd = udp->sockets[0].fd, .events = POLLIN};
    struct kh_datagram datagram;
    kh_duration left;

    while (kh_nat_offer_next_transmit(offer, &datagram))
        kh_io_udp_set_send(udp, &datagram);
    kh_io_udp_set_flush(udp);
    left = kh_time_since(kh_nat_offer_timeout(offer), kh_io_clock_now());
    (void)poll(&polled, 1, (int)((left + 999) / 1000));
    for (size_t i = 0, count = kh_io_udp_set_receive(udp, 0); i < count; i++) {
        kh_io_udp_set_received(udp, i, &datagram);
        kh_nat_offer_handle_datagram(offer, &datagram);
    }
    kh_nat_offer_handle_timeout(offer, kh_io_clock_now());
}

/* Takes two seconds: one for PCP and NAT-PMP together, one for UPnP. */
static void ask_router(void *context)
{
    struct router *router = context;
    struct kh_io_upnp *upnp = kh_io_upnp_find();
    struct kh_nat_offer offer = {0};
    struct kh_io_gateway way;
    struct kh_io_udp_set udp;

    router->upnp = answer_of(upnp != NULL);
    kh_io_upnp_free(upnp);
    if (!kh_io_gateway_find(&way) || !kh_io_udp_set_init(&udp))
        return;
    if (kh_io_udp_set_open(&udp, &way.local) == 0) {
        way.local.port = udp.sockets[0].addr.port;
        kh_nat_offer_start(&offer, kh_io_clock_now(), &way.local, &way.gateway);
        while (!kh_nat_offer_is_done(&offer))
            exchange(&udp, &offer);
        router->pcp = answer_of(offer.pcp);
        router->natpmp = answer_of(offer.natpmp);
    }
    kh_io_udp_set_fini(&udp);
}

static void learn_of_router(struct router *router, struct kh_doctor_report *out)
{
    if (!router->is_asked || uv_thread_join(&router->thread) != 0)
        return;
    out->pcp = router->pcp;
    out->natpmp = router->natpmp;
    out->upnp = router->upnp;
}

/* ---- the whole ---- */

static bool has_global_ipv6(void)
{
    struct kh_addr addrs[ADDRS_MAX];
    size_t count = kh_io_interfaces_list(addrs, ADDRS_MAX);

    for (size_t i = 0; i < count; i++) {
        if (addrs[i].family == KH_FAMILY_IPV6 && kh_addr_reach(&addrs[i]) == KH_REACH_GLOBAL)
            return true;
    }
    return false;
}

static void conclude(const struct visit *visit, enum kh_family family, struct kh_doctor_report *out)
{
    struct kh_nat_behaviour found = {0};

    if (visit->discovery != NULL)
        kh_nat_discovery_result(visit->discovery, &found);
    if (found.reached) {
        out->udp = KH_DOCTOR_YES;
        if (!out->nat.reached || family == KH_FAMILY_IPV4)
            out->nat = found;
    }
    if (visit->by_tcp == KH_DOCTOR_YES || out->tcp == KH_DOCTOR_UNKNOWN)
        out->tcp = visit->by_tcp;
    if (family == KH_FAMILY_IPV6)
        out->ipv6 = found.reached || visit->by_tcp == KH_DOCTOR_YES ? KH_DOCTOR_YES : KH_DOCTOR_NO;
}

bool kh_doctor_examine(const struct kh_addr *servers, size_t count, struct kh_doctor_report *out)
{
    static struct visit visits[2];
    struct router router = {0};
    enum kh_family families[2];
    size_t visit_count = 0;
    bool ok = true;

    *out = (struct kh_doctor_report){.udp = KH_DOCTOR_NO,
                                     .ipv6 = has_global_ipv6() ? KH_DOCTOR_UNKNOWN : KH_DOCTOR_NO};
    router.is_asked = uv_thread_create(&router.thread, ask_router, &router) == 0;
    for (size_t i = 0; i < count && visit_count < 2 && ok; i++) {
        if (visit_count == 1 && families[0] == servers[i].family)
            continue;
        families[visit_count] = servers[i].family;
        ok = start(&visits[visit_count++], &servers[i]);
    }
    for (size_t i = 0; i < visit_count && ok; i++) {
        if (visits[i].discovery != NULL)
            drain(&visits[i]);
    }
    while (ok && !(is_over(&visits[0]) && (visit_count < 2 || is_over(&visits[1]))))
        step(visits, visit_count);
    for (size_t i = 0; i < visit_count; i++) {
        if (ok)
            conclude(&visits[i], families[i], out);
        end(&visits[i]);
    }
    learn_of_router(&router, out);
    if (!ok)
        (void)fprintf(stderr, "knothole doctor: out of memory\n");
    return ok;
}
