/* knotholed/serve.c - one worker: sockets, a hub between them, signals.
 *
 * SPDX-License-Identifier: MIT
 */
#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "discovery.h"
#include "hub/hub.h"
#include "io/clock.h"
#include "io/entropy.h"
#include "io/ports.h"
#include "relaying.h"
#include "tcp.h"

#define ROUNDS_MAX                                                                                 \
    8 /* batches taken from one socket before the others and the timers get a turn                 \
       */
#define DRAIN_ROUNDS_MAX 64 /* batches of each socket still answered after the signal to end */
#define SAME_PORT_TRIES 16  /* until a port is free for TCP and UDP */

struct server {
    struct kh_io_udp_set udp;
    struct kh_knotholed_tcp *tcp;
    struct kh_io_ports *ports; /* of relayed addresses */
    struct kh_hub *hub;
    const struct kh_knotholed_options *options;
    size_t announced; /* the first ones of udp */
    int signals;      /* signalfd */
    bool ending;
};

static void write_log(void *context, enum kh_log_level level, const char *line)
{
    (void)context;
    (void)fprintf(stderr, "knotholed: %s: %s\n", kh_log_level_name(level), line);
}

static bool may_skip(const struct kh_knotholed_options *options, const struct kh_addr *addr,
                     int error)
{
    return options->listen_is_default && addr->family == KH_FAMILY_IPV6 &&
           (error == EAFNOSUPPORT || error == EADDRNOTAVAIL);
}

/* Both transports on one port number; where the system chooses it, TCP's choice counts. */
static int open_both(struct server *server, const struct kh_addr *addr)
{
    int error = 0;

    for (int i = 0; i < SAME_PORT_TRIES; i++) {
        struct kh_addr bound;

        error = kh_knotholed_tcp_listen(server->tcp, addr, &bound);
        if (error != 0)
            return error;
        bound.transport = KH_UDP;
        error = kh_io_udp_set_open(&server->udp, &bound);
        if (error == 0)
            return 0;
        kh_knotholed_tcp_unlisten(server->tcp);
        if (error != EADDRINUSE || addr->port != 0)
            return error;
    }
    return error;
}

static bool open_sockets(struct server *server, const struct kh_knotholed_options *options)
{
    for (size_t i = 0; i < options->listen_count; i++) {
        const struct kh_addr *addr = &options->listen[i];
        int error = open_both(server, addr);
        char text[KH_ADDR_TEXT_MAX];

        if (error == 0 || may_skip(options, addr, error))
            continue;
        (void)fprintf(stderr, "knotholed: cannot listen on %s: %s\n", kh_addr_text(addr, text),
                      error == EADDRINUSE ? "another program uses this port" : strerror(error));
        return false;
    }
    return true;
}

static bool open_signals(struct server *server)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
        server->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (server->signals < 0)
        (void)fprintf(stderr, "knotholed: cannot wait for signals: %s\n", strerror(errno));
    return server->signals >= 0;
}

/* Members are told of it when they join; nobody types it. */
static void open_second_port(struct server *server, const struct kh_knotholed_options *options,
                             struct kh_hub_discovery discovery[KH_HUB_FAMILIES])
{
    struct kh_knotholed_port_range range = {KH_RELAY_PORT_MIN, KH_RELAY_PORT_MAX};

    if (options->relay_port_min != 0)
        range = (struct kh_knotholed_port_range){options->relay_port_min, options->relay_port_max};
    kh_knotholed_discovery_open_second(&server->udp, &range, discovery);
}

/* What was served before goes on if the files are no good. */
static bool load_tls(struct server *server)
{
    const struct kh_knotholed_options *options = server->options;
    char why[KH_IO_TLS_WHY_SIZE];
    struct kh_io_tls_context *context;

    if (options->tls_cert_file == NULL)
        return true;
    context = kh_io_tls_server_new(options->tls_cert_file, options->tls_key_file, why);
    if (context == NULL) {
        (void)fprintf(stderr, "knotholed: cannot serve TLS: %s\n", why);
        return false;
    }
    kh_knotholed_tcp_set_tls(server->tcp, context);
    return true;
}

static void reload(struct server *server)
{
    if (server->options->tls_cert_file == NULL)
        (void)fprintf(stderr, "knotholed: nothing to read again: there is no --tls-cert\n");
    else if (load_tls(server))
        (void)fprintf(stderr, "knotholed: new connections get the certificate of %s\n",
                      server->options->tls_cert_file);
    else
        (void)fprintf(stderr, "knotholed: the certificate stays as it was\n");
}

static void warn_of_readers(const char *path)
{
    struct stat about;

    if (path != NULL && stat(path, &about) == 0 && S_ISREG(about.st_mode) &&
        (about.st_mode & S_IROTH) != 0)
        (void)fprintf(stderr,
                      "knotholed: warning: %s holds a secret, and everyone on this machine may "
                      "read it\n",
                      path);
}

static void warn_of_secrets(const struct kh_knotholed_options *options)
{
    warn_of_readers(options->tls_key_file);
    warn_of_readers(options->turn_secret_file);
    warn_of_readers(options->turn_server_secret_file);
    if (options->turn_secret != NULL || options->turn_server_secret != NULL)
        warn_of_readers(options->config_file);
}

static bool open_hub(struct server *server, const struct kh_knotholed_options *options)
{
    static char secret[KH_RELAY_SECRET_MAX + 2], secret_elsewhere[KH_RELAY_SECRET_MAX + 2];
    struct kh_hub_config config = {
        .software = "Knothole " KH_VERSION,
        .log = {.write = write_log,
                .level = options->log_level,
                .show_addresses = options->log_addresses},
    };

    kh_knotholed_discovery_open(&server->udp, config.discovery);
    server->announced = server->udp.count;
    open_second_port(server, options, config.discovery);
    kh_io_entropy_fill(config.seed, sizeof config.seed);
    if (!kh_knotholed_relaying_configure(options, &server->udp, secret, &config.relay) ||
        !kh_knotholed_relaying_elsewhere(options, secret_elsewhere, &config.turn))
        return false;
    server->ports = kh_io_ports_new();
    if (server->ports != NULL && kh_hub_new(&server->hub, &config) == KH_OK)
        return true;
    (void)fprintf(stderr, "knotholed: out of memory\n");
    return false;
}

static void say_ready(const struct server *server)
{
    char text[KH_ADDR_TEXT_MAX];

    (void)fprintf(stderr, "knotholed ready on");
    for (size_t i = 0; i < server->announced; i++)
        (void)fprintf(stderr, " %s", kh_addr_text(&server->udp.sockets[i].addr, text));
    (void)fprintf(stderr, "\n");
}

static void print_tcp_stats(const struct server *server)
{
    struct kh_knotholed_tcp_stats stats = kh_knotholed_tcp_stats(server->tcp);

    (void)fprintf(stderr,
                  "knotholed: tcp-connections=%zu accepted=%" PRIu64 " tls=%" PRIu64
                  " refused=%" PRIu64 " broken=%" PRIu64 " idle=%" PRIu64 " frames=%" PRIu64
                  " full=%" PRIu64 " gone=%" PRIu64 "\n",
                  stats.connections, stats.accepted, stats.tls, stats.refused, stats.broken,
                  stats.idle, stats.frames, stats.dropped_full, stats.dropped_gone);
}

static void print_relay_stats(const struct server *server)
{
    struct kh_relay_stats stats = kh_hub_stats(server->hub).relay;
    struct kh_io_ports_stats ports = {0};

    if (server->ports == NULL)
        return;
    ports = kh_io_ports_stats(server->ports);
    (void)fprintf(stderr,
                  "knotholed: relay allocations=%zu allocated=%" PRIu64 " expiries=%" PRIu64
                  " moves=%" PRIu64 " refused=%" PRIu64 " challenges=%" PRIu64 " to-peers=%" PRIu64
                  " to-clients=%" PRIu64 " malformed=%" PRIu64 " unauthentic=%" PRIu64
                  " limited=%" PRIu64 " forbidden=%" PRIu64 " received=%" PRIu64 " sent=%" PRIu64
                  " send-refused=%" PRIu64 "\n",
                  stats.allocations, stats.allocated, stats.expiries, stats.moves, stats.refused,
                  stats.challenges, stats.to_peers, stats.to_clients, stats.dropped_malformed,
                  stats.dropped_unauthentic, stats.dropped_limited, stats.dropped_forbidden,
                  ports.received, ports.sent, ports.send_refused);
}

static void print_stats(const struct server *server)
{
    struct kh_hub_stats stats = kh_hub_stats(server->hub);
    const struct kh_rendezvous_registry_stats *registry = &stats.registry;

    (void)fprintf(stderr,
                  "knotholed: rooms=%zu members=%zu joins=%" PRIu64 " challenges=%" PRIu64
                  " updates=%" PRIu64 " leaves=%" PRIu64 " expiries=%" PRIu64 " signals=%" PRIu64
                  " pushes=%" PRIu64 "\n",
                  registry->rooms, registry->members, registry->joins, registry->challenges,
                  registry->updates, registry->leaves, registry->expiries,
                  registry->signals_forwarded, registry->pushes_sent);
    (void)fprintf(stderr,
                  "knotholed: received=%" PRIu64 " sent=%" PRIu64 " greetings=%" PRIu64
                  " bindings=%" PRIu64 " changes=%" PRIu64 " turns=%" PRIu64 " malformed=%" PRIu64
                  " unauthentic=%" PRIu64 " replayed=%" PRIu64 " limited=%" PRIu64
                  " outbox-full=%" PRIu64 " send-refused=%" PRIu64 "\n",
                  server->udp.received, server->udp.sent, stats.greetings, stats.bindings,
                  stats.changes, stats.turns, stats.dropped_malformed + registry->dropped_malformed,
                  registry->dropped_unauthentic, registry->dropped_replayed,
                  registry->dropped_limited,
                  stats.dropped_outbox_full + registry->dropped_outbox_full,
                  server->udp.send_refused + server->udp.send_homeless);
    print_tcp_stats(server);
    print_relay_stats(server);
}

static void send_one(struct server *server, kh_time now, const struct kh_datagram *out)
{
    if (out->to.transport != KH_UDP)
        kh_knotholed_tcp_send(server->tcp, now, out);
    else if (server->ports == NULL ||
             !kh_io_ports_send(server->ports, out, kh_hub_dont_fragment(server->hub)))
        kh_io_udp_set_send(&server->udp, out);
}

static void handle_event(struct server *server, kh_time now, const struct kh_relay_event *event)
{
    if (event->kind == KH_RELAY_EVENT_CLOSE)
        kh_io_ports_close(server->ports, &event->addr);
    else
        kh_hub_opened(server->hub, now, &event->addr,
                      kh_io_ports_open(server->ports, &event->addr) == 0);
}

static void drain(struct server *server, kh_time now)
{
    struct kh_relay_event event;
    struct kh_datagram out;

    do {
        while (kh_hub_next_transmit(server->hub, &out))
            send_one(server, now, &out);
        if (!kh_hub_next_event(server->hub, &event))
            return;
        handle_event(server, now, &event);
    } while (true);
}

static void flush(struct server *server)
{
    kh_io_udp_set_flush(&server->udp);
    if (server->ports != NULL)
        kh_io_ports_flush(server->ports);
}

/* Handles what waits in one socket, at most `rounds` batches of it. */
static void handle_socket(struct server *server, size_t socket, int rounds)
{
    size_t count = KH_IO_BATCH;

    for (int round = 0; round < rounds && count == KH_IO_BATCH; round++) {
        kh_time now = kh_io_clock_now();

        count = kh_io_udp_set_receive(&server->udp, socket);
        for (size_t i = 0; i < count; i++) {
            struct kh_datagram in;

            kh_io_udp_set_received(&server->udp, i, &in);
            kh_hub_handle_datagram(server->hub, now, &in);
            drain(server, now);
        }
        flush(server);
    }
}

static void tell_gone(struct server *server, kh_time now)
{
    struct kh_addr client;
    struct kh_addr local;

    while (kh_knotholed_tcp_next_gone(server->tcp, &client, &local)) {
        kh_hub_disconnected(server->hub, now, &client, &local);
        drain(server, now);
    }
}

static void handle_tcp(struct server *server)
{
    kh_time now = kh_io_clock_now();
    struct kh_datagram in;

    kh_knotholed_tcp_wake(server->tcp, now);
    while (kh_knotholed_tcp_next(server->tcp, now, &in)) {
        kh_hub_handle_datagram(server->hub, now, &in);
        drain(server, now);
    }
    tell_gone(server, now);
    flush(server);
}

/* Handles what waits at relayed addresses. */
static void handle_relayed(struct server *server)
{
    size_t ready = kh_io_ports_ready(server->ports);
    kh_time now = kh_io_clock_now();

    for (size_t n = 0; n < ready; n++) {
        struct kh_io_ports_error error;
        size_t count;

        while (kh_io_ports_error(server->ports, n, &error)) {
            kh_hub_handle_unreachable(server->hub, now,
                                      &(struct kh_relay_unreachable){error.local, error.peer,
                                                                     error.type, error.code,
                                                                     error.data});
            drain(server, now);
        }
        count = kh_io_ports_receive(server->ports, n);
        for (size_t i = 0; i < count; i++) {
            struct kh_datagram in;

            kh_io_ports_received(server->ports, i, &in);
            kh_hub_handle_datagram(server->hub, now, &in);
            drain(server, now);
        }
    }
    flush(server);
}

static void handle_timeouts(struct server *server)
{
    kh_time now = kh_io_clock_now();

    if (kh_hub_timeout(server->hub) <= now) {
        kh_hub_handle_timeout(server->hub, now);
        drain(server, now);
        flush(server);
    }
    kh_knotholed_tcp_handle_timeout(server->tcp, now);
    tell_gone(server, now);
}

static void handle_signals(struct server *server)
{
    struct signalfd_siginfo info;

    while (read(server->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGUSR1)
            print_stats(server);
        else if (info.ssi_signo == SIGHUP)
            reload(server);
        else
            server->ending = true;
    }
}

/* Rounded up, so that what was due is due when poll returns. */
static int wait_ms(kh_time until)
{
    kh_duration left = kh_time_since(until, kh_io_clock_now());

    if (until == KH_NEVER)
        return -1;
    return left > KH_SECONDS(3600) ? 3600 * 1000 : (int)((left + 999) / 1000);
}

static void step(struct server *server)
{
    struct pollfd polls[KH_IO_SOCKETS_MAX + 3] = {
        {.fd = server->signals, .events = POLLIN},
        {.fd = kh_knotholed_tcp_fd(server->tcp), .events = POLLIN},
        {.fd = server->ports == NULL ? -1 : kh_io_ports_fd(server->ports), .events = POLLIN}};
    kh_time until = kh_time_min(kh_hub_timeout(server->hub), kh_knotholed_tcp_timeout(server->tcp));
    nfds_t count = 3;

    for (size_t i = 0; i < server->udp.count; i++)
        polls[count++] = (struct pollfd){.fd = server->udp.sockets[i].fd, .events = POLLIN};
    if (poll(polls, count, wait_ms(until)) < 0)
        return;
    kh_hub_set_wall_clock(server->hub, kh_io_clock_now(), kh_io_clock_unix_ms() / 1000);
    for (size_t i = 0; i < server->udp.count; i++) {
        if (polls[i + 3].revents != 0)
            handle_socket(server, i, ROUNDS_MAX);
    }
    if (polls[1].revents != 0)
        handle_tcp(server);
    if (polls[2].revents != 0)
        handle_relayed(server);
    handle_timeouts(server);
    if (polls[0].revents != 0)
        handle_signals(server);
}

int kh_knotholed_serve(const struct kh_knotholed_options *options)
{
    struct server server = {.options = options, .signals = -1};
    int code = 1;

    server.tcp = kh_knotholed_tcp_new();
    if (!kh_io_udp_set_init(&server.udp) || server.tcp == NULL) {
        (void)fprintf(stderr, "knotholed: out of memory\n");
        goto out;
    }
    if (!load_tls(&server) || !open_sockets(&server, options) || !open_signals(&server) ||
        !open_hub(&server, options))
        goto out;
    warn_of_secrets(options);
    say_ready(&server);
    while (!server.ending)
        step(&server);
    for (size_t i = 0; i < server.udp.count; i++)
        handle_socket(&server, i, DRAIN_ROUNDS_MAX);
    for (int round = 0; round < DRAIN_ROUNDS_MAX; round++)
        handle_tcp(&server);
    if (options->log_level >= KH_LOG_INFO)
        print_stats(&server);
    code = 0;

out:
    kh_hub_free(server.hub);
    kh_io_ports_free(server.ports);
    kh_knotholed_tcp_free(server.tcp);
    if (server.signals >= 0)
        close(server.signals);
    kh_io_udp_set_fini(&server.udp);
    return code;
}
