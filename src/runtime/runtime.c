/* runtime/runtime.c - libuv drives a node: sockets, timer, names, interfaces.
 *
 * SPDX-License-Identifier: MIT
 */
#include "knothole/knothole.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/text.h"
#include "runtime/events.h"
#include "io/clock.h"
#include "io/entropy.h"
#include "io/interfaces.h"
#include "io/udp.h"
#include "node/node.h"
#include "runtime/names.h"
#include "runtime/note.h"
#include "runtime/peers.h"
#include "runtime/portmap.h"
#include "runtime/prepare.h"
#include "runtime/resolve.h"
#include "runtime/spares.h"
#include "runtime/state.h"
#include "runtime/tcp.h"
#include "runtime/verify.h"

#define MAIN_SOCKETS_MAX 2       /* one of each family */
#define PENDING_MAX 64           /* messages kept while the server's name is looked up */
#define INTERFACES_SETTLE_MS 200 /* one change comes as a burst of news */
#define RESOLVE_PATIENCE_MS 3000
#define RESOLVE_RETRY_MS 1000
#define RESOLVE_RETRY_MAX_MS 30000
#define TIMEOUT_ROUNDS_MAX 8 /* what is due at once and again; then sockets get their turn */
#define RECEIVE_ROUNDS_MAX 8
#define SLEPT_MIN KH_SECONDS(1)

struct pending {
    char *text;
    size_t len;
};

struct kh_runtime {
    uv_loop_t *loop;
    uv_timer_t timer;            /* the node's deadline */
    uv_timer_t resolve_timer;    /* begin, lose patience, or try again */
    uv_timer_t interfaces_timer; /* let a burst of news pass */
    uv_async_t wake;
    uv_poll_t polls[MAIN_SOCKETS_MAX];
    uv_poll_t interfaces_poll;
    uv_getaddrinfo_t request;
    size_t held; /* handles and requests that libuv still knows */
    bool closing;

    void (*on_wake)(void *context);
    void (*on_log)(void *context, enum kh_runtime_log_level level, const char *line);
    void *context;

    struct kh_io_udp_set udp; /* the main sockets first, then spare ones */
    size_t main_count;
    struct kh_runtime_spares spares;
    struct kh_runtime_names names;
    struct kh_runtime_tcp_set tcp;
    struct kh_runtime_peers peers;
    bool server_udp_only;
    int interfaces; /* descriptor; -1: none */
    struct kh_addr addrs[KH_NODE_ADDRS_MAX];
    size_t addr_count;
    kh_duration slept;

    struct kh_runtime_state state;
    struct kh_room_server server;
    struct kh_node_config node_config; /* wiped once there is a node */
    struct kh_node *node;              /* NULL until the server's addresses are known */
    struct kh_runtime_note note;
    struct kh_runtime_portmap portmap;
    bool maps_ports;
    bool leaving;

    unsigned retry_ms;
    bool resolve_reported;
    struct pending pending[PENDING_MAX];
    size_t pending_count;
};

static void write_log(void *context, enum kh_log_level level, const char *line)
{
    struct kh_runtime *runtime = context;

    runtime->on_log(runtime->context, (enum kh_runtime_log_level)level, line);
}

/* ---- driving the node ---- */

static void drain(struct kh_runtime *runtime)
{
    struct kh_node_event event;
    struct kh_datagram datagram;
    bool moved = true;

    while (moved) {
        moved = false;
        while (kh_node_next_event(runtime->node, &event)) {
            if (kh_runtime_spares_handle_event(&runtime->spares, &event) ||
                kh_runtime_names_handle_event(&runtime->names, &event))
                continue;
            /* what is to be kept, before it is sent */
            kh_runtime_note_event(&runtime->note, runtime->node, &event);
        }
        while (kh_node_next_transmit(runtime->node, &datagram)) {
            if (kh_runtime_peers_owns(&runtime->peers, &datagram.from))
                kh_runtime_peers_send(&runtime->peers, &datagram);
            else if (datagram.to.transport != KH_UDP)
                kh_runtime_tcp_send(&runtime->tcp, &datagram);
            else
                kh_io_udp_set_send(&runtime->udp, &datagram);
            moved = true;
        }
        moved =
            kh_runtime_spares_answer(&runtime->spares, runtime->node, kh_io_clock_now()) || moved;
    }
}

static void on_timer(uv_timer_t *timer);

static void arm_timer(struct kh_runtime *runtime)
{
    kh_time at =
        runtime->node == NULL || runtime->note.left ? KH_NEVER : kh_node_timeout(runtime->node);
    kh_duration wait = kh_time_since(at, kh_io_clock_now());

    if (at == KH_NEVER) {
        uv_timer_stop(&runtime->timer);
        return;
    }
    /* At least one millisecond: whatever the node asks for, the loop never spins. */
    uv_update_time(runtime->loop);
    uv_timer_start(&runtime->timer, on_timer, wait == 0 ? 1 : (wait + 999) / 1000, 0);
}

/* Ends every turn: what was gathered goes out, the next deadline is set, the program hears of it.
 */
static void settle(struct kh_runtime *runtime)
{
    kh_runtime_tcp_bury(&runtime->tcp);
    kh_io_udp_set_flush(&runtime->udp);
    if (runtime->note.ticket_is_new) {
        kh_runtime_state_save_ticket(&runtime->state, &runtime->server, &runtime->note.ticket);
        runtime->note.ticket_is_new = false;
    }
    if (runtime->note.left)
        kh_runtime_portmap_stop(&runtime->portmap); /* the goodbyes are said */
    arm_timer(runtime);
    if (runtime->note.queue.first != NULL)
        uv_async_send(&runtime->wake);
}

static void probe_after_sleep(struct kh_runtime *runtime)
{
    kh_duration slept = kh_io_clock_slept();

    if (kh_time_since(slept, runtime->slept) < SLEPT_MIN)
        return;
    runtime->slept = slept;
    kh_node_probe(runtime->node, kh_io_clock_now());
    drain(runtime);
}

static void on_timer(uv_timer_t *timer)
{
    struct kh_runtime *runtime = timer->data;

    probe_after_sleep(runtime);
    for (int round = 0; round < TIMEOUT_ROUNDS_MAX; round++) {
        kh_time now = kh_io_clock_now();

        if (kh_node_timeout(runtime->node) > now)
            break;
        kh_node_handle_timeout(runtime->node, now);
        drain(runtime);
    }
    settle(runtime);
}

static void receive(void *context, size_t socket)
{
    struct kh_runtime *runtime = context;
    uint16_t port = runtime->udp.sockets[socket].addr.port;
    size_t count = KH_IO_BATCH;

    for (int round = 0; round < RECEIVE_ROUNDS_MAX && count == KH_IO_BATCH; round++) {
        /* What was received may have let this one go, and another be in its place. */
        if (socket >= runtime->udp.count || runtime->udp.sockets[socket].addr.port != port)
            break;
        count = kh_io_udp_set_receive(&runtime->udp, socket);
        for (size_t i = 0; i < count && runtime->node != NULL; i++) {
            struct kh_datagram in;

            kh_io_udp_set_received(&runtime->udp, i, &in);
            if (kh_runtime_portmap_handle_datagram(&runtime->portmap, &in))
                continue;
            kh_node_handle_datagram(runtime->node, kh_io_clock_now(), &in);
            drain(runtime);
        }
    }
    settle(runtime);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime *runtime = poll->data;

    (void)status;
    (void)events;
    receive(runtime, (size_t)(poll - runtime->polls));
}

static void on_wake(uv_async_t *wake)
{
    struct kh_runtime *runtime = wake->data;

    if (!runtime->closing)
        runtime->on_wake(runtime->context);
}

/* ---- TCP and TLS to the server ---- */

static void on_tcp_datagram(void *context, const struct kh_datagram *datagram)
{
    struct kh_runtime *runtime = context;

    kh_node_handle_datagram(runtime->node, kh_io_clock_now(), datagram);
    drain(runtime);
}

static void on_tcp_turn(void *context)
{
    settle(context);
}

/* The server knows us by a connection that is gone: an update along a new one moves us there. */
static void on_tcp_lost(void *context, const struct kh_addr *server)
{
    struct kh_runtime *runtime = context;

    kh_node_disconnected(runtime->node, kh_io_clock_now(), server);
    drain(runtime);
}

static void on_peer_lost(void *context, const struct kh_addr *local, const struct kh_addr *remote)
{
    struct kh_runtime *runtime = context;

    kh_node_handle_lost(runtime->node, kh_io_clock_now(), local, remote);
    drain(runtime);
}

static void release(struct kh_runtime *runtime);

static void on_handle_opened(void *context)
{
    struct kh_runtime *runtime = context;

    runtime->held++;
}

static void on_handle_closed(void *context)
{
    release(context);
}

static void on_name_answered(void *context, const struct kh_mdns_answer *answer)
{
    struct kh_runtime *runtime = context;

    if (runtime->note.left)
        return;
    kh_node_named(runtime->node, kh_io_clock_now(), answer->name, answer->family, answer->addrs,
                  answer->addr_count);
    drain(runtime);
    settle(runtime);
}

/* ---- interfaces ---- */

static bool contains(const struct kh_addr *list, size_t count, const struct kh_addr *addr)
{
    for (size_t i = 0; i < count; i++) {
        if (kh_addr_equal(&list[i], addr))
            return true;
    }
    return false;
}

/* Lists our addresses with the port of the socket of their family; those without one are left out.
 */
static size_t list_addrs(const struct kh_runtime *runtime, struct kh_addr *out)
{
    struct kh_addr found[2 * KH_NODE_ADDRS_MAX];
    size_t found_count = kh_io_interfaces_list(found, 2 * KH_NODE_ADDRS_MAX);
    size_t count = 0;

    for (size_t i = 0; i < found_count && count < KH_NODE_ADDRS_MAX; i++) {
        found[i].port = kh_io_udp_set_port(&runtime->udp, (enum kh_family)found[i].family);
        if (found[i].port != 0)
            out[count++] = found[i];
    }
    return count;
}

static void update_addrs(struct kh_runtime *runtime)
{
    struct kh_addr now_there[KH_NODE_ADDRS_MAX];
    size_t count = list_addrs(runtime, now_there);

    for (size_t i = 0; i < runtime->addr_count; i++) {
        if (contains(now_there, count, &runtime->addrs[i]))
            continue;
        kh_runtime_tcp_leave(&runtime->tcp, &runtime->addrs[i]);
        kh_node_remove_addr(runtime->node, kh_io_clock_now(), &runtime->addrs[i]);
        drain(runtime);
    }
    for (size_t i = 0; i < count; i++) {
        if (contains(runtime->addrs, runtime->addr_count, &now_there[i]))
            continue;
        /* There is room: no more are listed than the node holds, and those gone are removed. */
        if (kh_node_add_addr(runtime->node, kh_io_clock_now(), &now_there[i]) != KH_OK)
            assert(false);
        drain(runtime);
    }
    memcpy(runtime->addrs, now_there, count * sizeof now_there[0]);
    runtime->addr_count = count;
}

static void on_interfaces_settled(uv_timer_t *timer)
{
    struct kh_runtime *runtime = timer->data;

    if (runtime->node == NULL || runtime->note.left)
        return;
    update_addrs(runtime);
    kh_runtime_portmap_update(&runtime->portmap);
    kh_node_probe(runtime->node, kh_io_clock_now());
    drain(runtime);
    settle(runtime);
}

static void on_interfaces(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime *runtime = poll->data;

    (void)status;
    (void)events;
    if (kh_io_interfaces_changed(runtime->interfaces) &&
        !uv_is_active((const uv_handle_t *)&runtime->interfaces_timer))
        uv_timer_start(&runtime->interfaces_timer, on_interfaces_settled, INTERFACES_SETTLE_MS, 0);
}

/* ---- ports of the router ---- */

static void on_port_mapped(void *context, const struct kh_addr *base, const struct kh_addr *mapped)
{
    struct kh_runtime *runtime = context;

    if (kh_node_add_mapped(runtime->node, kh_io_clock_now(), base, mapped) != KH_OK)
        return; /* there are two already */
    drain(runtime);
    settle(runtime);
}

static void on_port_lost(void *context, const struct kh_addr *mapped)
{
    struct kh_runtime *runtime = context;

    kh_node_remove_mapped(runtime->node, kh_io_clock_now(), mapped);
    drain(runtime);
    settle(runtime);
}

/* ---- finding the server, becoming a member ---- */

static void report_unresolved(struct kh_runtime *runtime, const char *reason)
{
    char text[KH_RUNTIME_WHY_SIZE];

    if (runtime->resolve_reported)
        return;
    runtime->resolve_reported = true;
    (void)snprintf(text, sizeof text, "the address of %s is not found (%s); still trying",
                   runtime->server.host, reason);
    kh_runtime_note_unreachable(&runtime->note, text);
    settle(runtime);
}

static void say_pending(struct kh_runtime *runtime)
{
    for (size_t i = 0; i < runtime->pending_count; i++) {
        struct pending *pending = &runtime->pending[i];
        struct kh_room_entry_id entry;

        if (kh_node_say(runtime->node, kh_io_clock_now(), kh_io_clock_unix_ms(), pending->text,
                        pending->len, &entry) == KH_OK)
            kh_runtime_note_sent(&runtime->note, &entry, pending->text, pending->len);
        else
            kh_runtime_note_warning(&runtime->note, "not-sent", "a message could not be taken");
        drain(runtime);
        free(pending->text);
    }
    runtime->pending_count = 0;
}

static void start_node(struct kh_runtime *runtime, const struct kh_runtime_addrs *found)
{
    struct kh_node_config *config = &runtime->node_config;

    for (size_t i = 0; i < found->count; i++) {
        if (kh_io_udp_set_port(&runtime->udp, (enum kh_family)found->list[i].family) != 0)
            config->server_count +=
                kh_runtime_resolve_ways(&runtime->server, &found->list[i], runtime->server_udp_only,
                                        config->servers + config->server_count);
    }
    if (config->server_count == 0) {
        report_unresolved(runtime, "this machine does not speak its IP version");
        return;
    }
    kh_runtime_peers_start(&runtime->peers, &runtime->udp, config);
    if (kh_node_new(&runtime->node, config) != KH_OK) {
        kh_runtime_note_error(&runtime->note, "memory", "out of memory");
        settle(runtime);
        return;
    }
    kh_wipe(config, sizeof *config);
    runtime->slept = kh_io_clock_slept();
    update_addrs(runtime);
    say_pending(runtime);
    kh_node_join(runtime->node, kh_io_clock_now());
    drain(runtime);
    settle(runtime);
    kh_runtime_portmap_update(&runtime->portmap);
}

static void resolve(struct kh_runtime *runtime);

static void on_resolve_again(uv_timer_t *timer)
{
    resolve(timer->data);
}

static void on_resolve_slow(uv_timer_t *timer)
{
    report_unresolved(timer->data, "no answer");
}

static void retry_resolve(struct kh_runtime *runtime)
{
    uv_timer_start(&runtime->resolve_timer, on_resolve_again, runtime->retry_ms, 0);
    runtime->retry_ms *= 2;
    if (runtime->retry_ms > RESOLVE_RETRY_MAX_MS)
        runtime->retry_ms = RESOLVE_RETRY_MAX_MS;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct kh_runtime *runtime = request->data;
    struct kh_runtime_addrs found;

    kh_runtime_resolve_choose(list, &found);
    uv_freeaddrinfo(list);
    if (!runtime->closing && !runtime->leaving) {
        uv_timer_stop(&runtime->resolve_timer);
        if (status == 0 && found.count > 0) {
            start_node(runtime, &found);
        } else {
            report_unresolved(runtime, status == 0 ? "it has none" : uv_strerror(status));
            retry_resolve(runtime);
        }
    }
    release(runtime);
}

static void resolve(struct kh_runtime *runtime)
{
    struct kh_runtime_addrs found;

    if (kh_runtime_resolve_numeric(&runtime->server, &found)) {
        start_node(runtime, &found);
        return;
    }
    runtime->request.data = runtime;
    if (kh_runtime_resolve_start(runtime->loop, &runtime->request, &runtime->server, on_resolved) !=
        0) {
        retry_resolve(runtime);
        return;
    }
    runtime->held++;
    uv_timer_start(&runtime->resolve_timer, on_resolve_slow, RESOLVE_PATIENCE_MS, 0);
}

/* ---- life ---- */

static void free_all(struct kh_runtime *runtime)
{
    for (size_t i = 0; i < runtime->pending_count; i++)
        free(runtime->pending[i].text);
    kh_node_free(runtime->node);
    kh_runtime_queue_fini(&runtime->note.queue);
    kh_io_udp_set_fini(&runtime->udp);
    if (runtime->interfaces >= 0)
        close(runtime->interfaces);
    kh_wipe(runtime, sizeof *runtime);
    free(runtime);
}

/* One handle or request less; the last one frees all. */
static void release(struct kh_runtime *runtime)
{
    assert(runtime->held > 0);
    if (--runtime->held == 0)
        free_all(runtime);
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void release_one(void *runtime)
{
    release(runtime);
}

static void prepare_ports(struct kh_runtime *runtime)
{
    const struct kh_runtime_portmap_config config = {.loop = runtime->loop,
                                                     .udp = &runtime->udp,
                                                     .log = runtime->node_config.log,
                                                     .held = &runtime->held,
                                                     .release = release_one,
                                                     .mapped = on_port_mapped,
                                                     .lost = on_port_lost,
                                                     .context = runtime};

    if (runtime->maps_ports)
        kh_runtime_portmap_init(&runtime->portmap, &config);
}

static void hold(struct kh_runtime *runtime, uv_handle_t *handle)
{
    handle->data = runtime;
    runtime->held++;
}

static bool open_sockets(struct kh_runtime *runtime, char *why)
{
    int error = kh_io_udp_set_init_for(&runtime->udp, MAIN_SOCKETS_MAX + KH_NODE_SOCKETS_MAX)
                    ? kh_io_udp_set_open_any(&runtime->udp)
                    : ENOMEM;

    if (error != 0) {
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE, "cannot open a UDP socket: %s", strerror(error));
        return false;
    }
    runtime->main_count = runtime->udp.count;
    runtime->interfaces = kh_io_interfaces_watch();
    return true;
}

/* From here on the memory belongs to the loop. */
static void open_handles(struct kh_runtime *runtime)
{
    uv_timer_init(runtime->loop, &runtime->timer);
    uv_timer_init(runtime->loop, &runtime->resolve_timer);
    uv_timer_init(runtime->loop, &runtime->interfaces_timer);
    uv_async_init(runtime->loop, &runtime->wake, on_wake);
    hold(runtime, (uv_handle_t *)&runtime->timer);
    hold(runtime, (uv_handle_t *)&runtime->resolve_timer);
    hold(runtime, (uv_handle_t *)&runtime->interfaces_timer);
    hold(runtime, (uv_handle_t *)&runtime->wake);
    for (size_t i = 0; i < runtime->main_count; i++) {
        uv_poll_init(runtime->loop, &runtime->polls[i], runtime->udp.sockets[i].fd);
        hold(runtime, (uv_handle_t *)&runtime->polls[i]);
        uv_poll_start(&runtime->polls[i], UV_READABLE, on_readable);
    }
    if (runtime->interfaces >= 0) {
        uv_poll_init(runtime->loop, &runtime->interfaces_poll, runtime->interfaces);
        hold(runtime, (uv_handle_t *)&runtime->interfaces_poll);
        uv_poll_start(&runtime->interfaces_poll, UV_READABLE, on_interfaces);
    }
    prepare_ports(runtime);
    uv_timer_start(&runtime->resolve_timer, on_resolve_again, 0, 0);
}

static enum kh_runtime_result prepare_node(struct kh_runtime *runtime,
                                           const struct kh_runtime_config *config, char *why)
{
    struct kh_node_config *node = &runtime->node_config;
    enum kh_runtime_result result =
        kh_runtime_prepare(config, &runtime->state, &runtime->server, node, why);

    if (result != KH_RUNTIME_OK)
        return result;
    if (config->log != NULL)
        node->log = (struct kh_log){.write = write_log,
                                    .context = runtime,
                                    .level = (enum kh_log_level)config->log_level,
                                    .show_addresses = config->log_addresses};
    kh_runtime_note_init(&runtime->note, &runtime->state, &runtime->server, &node->identity);
    return KH_RUNTIME_OK;
}

enum kh_runtime_result kh_runtime_open(struct kh_runtime **out,
                                       const struct kh_runtime_config *config,
                                       char why[static KH_RUNTIME_WHY_SIZE])
{
    struct kh_runtime *runtime;
    enum kh_runtime_result result;

    assert(config->loop != NULL && config->wake != NULL);
    runtime = calloc(1, sizeof *runtime);
    if (runtime == NULL) {
        (void)snprintf(why, KH_RUNTIME_WHY_SIZE, "out of memory");
        return KH_RUNTIME_NO_SYSTEM;
    }
    runtime->loop = config->loop;
    runtime->on_wake = config->wake;
    runtime->on_log = config->log;
    runtime->context = config->context;
    runtime->server_udp_only = config->server_udp_only;
    runtime->tcp.owner = (struct kh_runtime_tcp_owner){.loop = config->loop,
                                                       .server_name = runtime->server.host,
                                                       .context = runtime,
                                                       .on_datagram = on_tcp_datagram,
                                                       .on_turn = on_tcp_turn,
                                                       .on_lost = on_tcp_lost,
                                                       .on_opened = on_handle_opened,
                                                       .on_closed = on_handle_closed};
    runtime->peers.owner = (struct kh_runtime_peers_owner){.loop = config->loop,
                                                           .context = runtime,
                                                           .on_datagram = on_tcp_datagram,
                                                           .on_lost = on_peer_lost,
                                                           .on_turn = on_tcp_turn,
                                                           .on_opened = on_handle_opened,
                                                           .on_closed = on_handle_closed};
    runtime->spares = (struct kh_runtime_spares){.loop = config->loop,
                                                 .udp = &runtime->udp,
                                                 .context = runtime,
                                                 .on_readable = receive,
                                                 .on_opened = on_handle_opened,
                                                 .on_closed = on_handle_closed};
    runtime->names = (struct kh_runtime_names){.loop = config->loop,
                                               .context = runtime,
                                               .answered = on_name_answered,
                                               .on_opened = on_handle_opened,
                                               .on_closed = on_handle_closed};
    runtime->interfaces = -1;
    runtime->retry_ms = RESOLVE_RETRY_MS;
    runtime->maps_ports = !config->no_port_mapping && config->paths != KH_RUNTIME_PATHS_RELAY;
    result = prepare_node(runtime, config, why);
    if (result == KH_RUNTIME_OK && !open_sockets(runtime, why))
        result = KH_RUNTIME_NO_SYSTEM;
    if (result != KH_RUNTIME_OK) {
        free_all(runtime);
        return result;
    }
    open_handles(runtime);
    *out = runtime;
    return KH_RUNTIME_OK;
}

void kh_runtime_close(struct kh_runtime *runtime)
{
    if (runtime == NULL || runtime->closing)
        return;
    runtime->closing = true;
    kh_runtime_portmap_close(&runtime->portmap);
    (void)uv_cancel((uv_req_t *)&runtime->request);
    uv_close((uv_handle_t *)&runtime->timer, on_closed);
    uv_close((uv_handle_t *)&runtime->resolve_timer, on_closed);
    uv_close((uv_handle_t *)&runtime->interfaces_timer, on_closed);
    uv_close((uv_handle_t *)&runtime->wake, on_closed);
    for (size_t i = 0; i < runtime->main_count; i++)
        uv_close((uv_handle_t *)&runtime->polls[i], on_closed);
    kh_runtime_names_close(&runtime->names);
    kh_runtime_spares_close_all(&runtime->spares);
    kh_runtime_tcp_close_all(&runtime->tcp);
    kh_runtime_peers_close_all(&runtime->peers);
    if (runtime->interfaces >= 0)
        uv_close((uv_handle_t *)&runtime->interfaces_poll, on_closed);
}

/* ---- what a member does ---- */

static enum kh_runtime_result keep_pending(struct kh_runtime *runtime, const char *text, size_t len)
{
    struct pending *pending = &runtime->pending[runtime->pending_count];

    if (runtime->pending_count == PENDING_MAX)
        return KH_RUNTIME_FULL;
    pending->text = malloc(len);
    if (pending->text == NULL)
        return KH_RUNTIME_FULL;
    memcpy(pending->text, text, len);
    pending->len = len;
    runtime->pending_count++;
    return KH_RUNTIME_OK;
}

enum kh_runtime_result kh_runtime_say(struct kh_runtime *runtime, const char *text, size_t len)
{
    struct kh_room_entry_id entry;
    enum kh_status status;

    if (len == 0 || len > KH_RUNTIME_TEXT_MAX || !kh_text_is_showable(text, len, true))
        return KH_RUNTIME_BAD_TEXT;
    if (runtime->leaving)
        return KH_RUNTIME_FULL;
    if (runtime->node == NULL)
        return keep_pending(runtime, text, len);
    status =
        kh_node_say(runtime->node, kh_io_clock_now(), kh_io_clock_unix_ms(), text, len, &entry);
    if (status == KH_OK)
        kh_runtime_note_sent(&runtime->note, &entry, text, len);
    drain(runtime);
    settle(runtime);
    if (status == KH_OK)
        return KH_RUNTIME_OK;
    return status == KH_ERR_FORMAT ? KH_RUNTIME_BAD_TEXT : KH_RUNTIME_FULL;
}

void kh_runtime_leave(struct kh_runtime *runtime)
{
    if (runtime->leaving)
        return;
    runtime->leaving = true;
    uv_timer_stop(&runtime->resolve_timer);
    if (runtime->node != NULL) {
        kh_node_leave(runtime->node, kh_io_clock_now());
        drain(runtime);
    } else {
        kh_runtime_note_left(&runtime->note);
    }
    settle(runtime);
}

bool kh_runtime_next_event(struct kh_runtime *runtime, struct kh_runtime_event *out)
{
    return kh_runtime_queue_next(&runtime->note.queue, out);
}

/* ---- looking in ---- */

bool kh_runtime_member_at(const struct kh_runtime *runtime, size_t n, struct kh_runtime_member *out)
{
    struct kh_node_member member;

    if (runtime->node == NULL || !kh_node_member_at(runtime->node, n, &member))
        return false;
    *out = (struct kh_runtime_member){
        .open = member.open, .has_path = member.has_path, .undelivered = member.undelivered};
    kh_hex_write(member.id.bytes, sizeof member.id.bytes, out->id);
    memcpy(out->name, member.name, sizeof out->name);
    kh_runtime_verify_digits(runtime->note.identity, member.identity, out->verify);
    if (member.has_path)
        kh_runtime_note_path(&member.path, member.transport, &out->path);
    return true;
}

size_t kh_runtime_undelivered(const struct kh_runtime *runtime)
{
    return runtime->pending_count +
           (runtime->node == NULL ? 0 : kh_node_undelivered(runtime->node));
}

uint64_t kh_runtime_repeats(const struct kh_runtime *runtime)
{
    return runtime->node == NULL ? 0 : kh_node_stats(runtime->node).room.duplicates;
}

bool kh_runtime_is_lacking(const struct kh_runtime *runtime)
{
    return runtime->node != NULL && kh_node_is_lacking(runtime->node);
}
