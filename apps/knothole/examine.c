/* knothole/examine.c - the doctor's instruments: sockets, and machines that know what to ask.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

#include <poll.h>
#include <string.h>
#include <uv.h>

#include "call.h"
#include "io/clock.h"
#include "io/entropy.h"
#include "io/gateway.h"
#include "io/interfaces.h"
#include "io/udp.h"
#include "io/upnp.h"

#define LONGEST KH_MILLISECONDS(3800) /* as long as the server is asked at most */
#define ROUTER_POLL_MS 10
#define ADDRS_MAX 64
#define PORT_OF_THE_WEB 443

enum { CALL_TCP, CALL_TLS, CALL_TLS_443, CALLS_MAX };

/* One address of the server, asked by UDP, by TCP, and by TLS at its port and at that of the web.
 */
struct visit {
    struct kh_io_udp_set udp;
    struct kh_nat_discovery *discovery; /* NULL: not by UDP */
    struct kh_doctor_call calls[CALLS_MAX];
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

/* The name goes into TLS as a browser would have it, an address does not. */
static void start_calls(struct visit *visit, const struct kh_addr *server,
                        const struct kh_room_server *named, const struct kh_io_tls_context *tls)
{
    struct kh_addr to = *server;
    bool is_addr = strchr(named->host, ':') != NULL || kh_addr_parse(named->host, 0, &to) == KH_OK;
    const char *name = is_addr ? NULL : named->host;

    to = *server;
    for (size_t i = 0; i < CALLS_MAX; i++)
        visit->calls[i].tcp.fd = -1;
    kh_doctor_call_start(&visit->calls[CALL_TCP], &to, NULL, NULL);
    if (tls == NULL)
        return;
    kh_doctor_call_start(&visit->calls[CALL_TLS], &to, tls, name);
    to.port = PORT_OF_THE_WEB;
    if (server->port != PORT_OF_THE_WEB && !named->tls)
        kh_doctor_call_start(&visit->calls[CALL_TLS_443], &to, tls, name);
}

/* A family this machine does not have leaves the visit without UDP; false: no memory. */
static bool start(struct visit *visit, const struct kh_addr *server)
{
    struct kh_nat_discovery_config config = {.server = *server};

    if (!open_udp(visit, server->family, &config))
        return visit->udp.in != NULL;
    kh_io_entropy_fill(config.seed, sizeof config.seed);
    if (kh_nat_discovery_new(&visit->discovery, &config) != KH_OK)
        return false;
    kh_nat_discovery_start(visit->discovery, kh_io_clock_now());
    return true;
}

static void end(struct visit *visit)
{
    kh_nat_discovery_free(visit->discovery);
    kh_io_udp_set_fini(&visit->udp);
    for (size_t i = 0; i < CALLS_MAX; i++)
        kh_doctor_call_end(&visit->calls[i]);
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

static bool is_over(const struct visit *visit)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (!kh_doctor_call_is_over(&visit->calls[i]))
            return false;
    }
    return visit->discovery == NULL || kh_nat_discovery_is_done(visit->discovery);
}

/* Adds what this visit waits for; returns until when. */
static kh_time add_polls(const struct visit *visit, struct pollfd *polls, nfds_t *count)
{
    kh_time until = KH_NEVER;

    for (size_t i = 0; i < CALLS_MAX; i++) {
        const struct kh_doctor_call *call = &visit->calls[i];

        if (kh_doctor_call_is_over(call))
            continue;
        polls[(*count)++] =
            (struct pollfd){.fd = call->tcp.fd,
                            .events = kh_io_tcp_is_waiting(&call->tcp) ? POLLIN | POLLOUT : POLLIN};
        until = kh_time_min(until, call->until);
    }
    if (visit->discovery == NULL || kh_nat_discovery_is_done(visit->discovery))
        return until;
    for (size_t i = 0; i < visit->udp.count; i++)
        polls[(*count)++] = (struct pollfd){.fd = visit->udp.sockets[i].fd, .events = POLLIN};
    return kh_time_min(until, kh_nat_discovery_timeout(visit->discovery));
}

static void step(struct visit *visits, size_t count)
{
    struct pollfd polls[2 * (KH_NAT_SOCKETS_MAX + CALLS_MAX)];
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
        for (size_t j = 0; j < CALLS_MAX; j++) {
            if (!kh_doctor_call_is_over(&visits[i].calls[j]))
                kh_doctor_call_step(&visits[i].calls[j]);
        }
    }
}

/* ---- the router ---- */

/* The router is asked in a thread of its own, at the same time as the server.  UPnP is HTTP, and a
 * router that hangs may take any time for that: then it is left behind, which is why it is static;
 * the program ends soon. */
struct router {
    uv_thread_t thread;
    uv_sem_t done;
    bool is_asked;
    enum kh_doctor_answer pcp;
    enum kh_doctor_answer natpmp;
    enum kh_doctor_answer upnp;
    struct kh_addr external;
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

static void ask_by_upnp(struct router *router)
{
    struct kh_io_upnp *upnp = kh_io_upnp_find();

    router->upnp = answer_of(upnp != NULL);
    if (upnp != NULL && kh_addr_is_none(&router->external) &&
        !kh_io_upnp_external(upnp, &router->external))
        router->external = (struct kh_addr){0};
    kh_io_upnp_free(upnp);
}

static void ask_by_udp(struct router *router, const struct kh_io_gateway *way)
{
    struct kh_nat_offer offer = {0};
    struct kh_addr local = way->local;
    struct kh_io_udp_set udp;

    if (!kh_io_udp_set_init(&udp))
        return;
    if (kh_io_udp_set_open(&udp, &local) == 0) {
        local.port = udp.sockets[0].addr.port;
        kh_nat_offer_start(&offer, kh_io_clock_now(), &local, &way->gateway);
        while (!kh_nat_offer_is_done(&offer))
            exchange(&udp, &offer);
        router->pcp = answer_of(offer.pcp);
        router->natpmp = answer_of(offer.natpmp);
        router->external = offer.external;
    }
    kh_io_udp_set_fini(&udp);
}

/* Takes two seconds: one for PCP and NAT-PMP together, one for UPnP. */
static void ask_router(void *context)
{
    struct router *router = context;
    struct kh_io_gateway way;

    if (kh_io_gateway_find(&way)) {
        ask_by_udp(router, &way);
        ask_by_upnp(router);
    }
    uv_sem_post(&router->done);
}

static void start_router(struct router *router)
{
    router->is_asked = uv_sem_init(&router->done, 0) == 0 &&
                       uv_thread_create(&router->thread, ask_router, router) == 0;
}

static void learn_of_router(struct router *router, kh_time until, struct kh_doctor_report *out)
{
    if (!router->is_asked)
        return;
    while (uv_sem_trywait(&router->done) != 0) {
        if (kh_io_clock_now() >= until)
            return;
        uv_sleep(ROUTER_POLL_MS);
    }
    (void)uv_thread_join(&router->thread);
    out->router_public = router->external;
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

/* Silence at the server's own port says that TLS is blocked; at 443 it may as well be the server's
 * own firewall. */
static enum kh_doctor_answer by_tls(const struct visit *visit)
{
    if (visit->calls[CALL_TLS_443].found == KH_DOCTOR_YES)
        return KH_DOCTOR_YES;
    return visit->calls[CALL_TLS].found;
}

static void conclude(const struct visit *visit, enum kh_family family, struct kh_doctor_report *out)
{
    struct kh_nat_behaviour found = {0};
    enum kh_doctor_answer by_tcp = visit->calls[CALL_TCP].found;

    if (visit->discovery != NULL)
        kh_nat_discovery_result(visit->discovery, &found);
    if (found.reached) {
        out->udp = KH_DOCTOR_YES;
        if (!out->nat.reached || family == KH_FAMILY_IPV4)
            out->nat = found;
    }
    if (by_tcp == KH_DOCTOR_YES || out->tcp == KH_DOCTOR_UNKNOWN)
        out->tcp = by_tcp;
    if (by_tls(visit) == KH_DOCTOR_YES || out->tls == KH_DOCTOR_UNKNOWN)
        out->tls = by_tls(visit);
    if (family == KH_FAMILY_IPV6)
        out->ipv6 = found.reached || by_tcp == KH_DOCTOR_YES || by_tls(visit) == KH_DOCTOR_YES
                        ? KH_DOCTOR_YES
                        : KH_DOCTOR_NO;
}

bool kh_doctor_examine(const struct kh_room_server *named, const struct kh_addr *servers,
                       size_t count, struct kh_doctor_report *out)
{
    static struct visit visits[2];
    struct kh_io_tls_context *tls = kh_io_tls_client_new();
    static struct router router;
    kh_time until = kh_time_add(kh_io_clock_now(), LONGEST);
    enum kh_family families[2];
    size_t visit_count = 0;
    bool ok = true;

    *out = (struct kh_doctor_report){.udp = KH_DOCTOR_NO,
                                     .ipv6 = has_global_ipv6() ? KH_DOCTOR_UNKNOWN : KH_DOCTOR_NO};
    start_router(&router);
    for (size_t i = 0; i < count && visit_count < 2 && ok; i++) {
        if (visit_count == 1 && families[0] == servers[i].family)
            continue;
        families[visit_count] = servers[i].family;
        start_calls(&visits[visit_count], &servers[i], named, tls);
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
    kh_io_tls_context_free(tls);
    learn_of_router(&router, until, out);
    if (!ok)
        (void)fprintf(stderr, "knothole doctor: out of memory\n");
    return ok;
}
