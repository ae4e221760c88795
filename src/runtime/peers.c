/* runtime/peers.c - TCP connections with other members, made from and taken at our own port.
 *
 * SPDX-License-Identifier: MIT
 */
#include "runtime/peers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/frames.h"
#include "io/clock.h"
#include "stun/stun.h"

#define LIST_MAX (KH_RUNTIME_PEERS_MAX + KH_RUNTIME_STRANGERS_MAX)
#define RECEIVE_ROUNDS_MAX 32
#define ACCEPT_ROUNDS_MAX 16
#define STRANGER KH_SECONDS(5)
#define SILENCE KH_SECONDS(40)
#define SERVER_SILENCE 4 /* times that: the node asks there once a minute */
#define SWEEP KH_SECONDS(1)
#define WAITING_MAX                                                                                \
    2097152 /* bytes: more than a channel has under way, so that none is lost here */

/* Data that waits its turn; checks do not. */
struct waiting {
    struct waiting *next;
    size_t len;
    uint8_t data[]; /* framed */
};

struct kh_runtime_peer {
    uv_poll_t poll; /* its data is this */
    struct kh_runtime_peers *set;
    struct kh_io_tcp tcp;
    bool is_to_server;
    bool is_stranger;
    size_t stranger_bytes;
    kh_time heard_at;             /* or begun at */
    struct waiting *first, *last; /* owned */
    size_t waiting_bytes;
    union {
        struct kh_frames frames;
        struct kh_stun_stream stream; /* is_to_server */
    };
};

static void on_event(uv_poll_t *poll, int status, int events);
static void on_sweep(uv_timer_t *timer);

/* ---- data that waits ---- */

static void drop_first(struct kh_runtime_peer *peer)
{
    struct waiting *first = peer->first;

    peer->first = first->next;
    peer->waiting_bytes -= first->len;
    free(first);
}

/* False if there is too much already. */
static bool wait_in_turn(struct kh_runtime_peer *peer, const uint8_t *framed, size_t len)
{
    struct waiting *waiting =
        peer->waiting_bytes + len <= WAITING_MAX ? malloc(sizeof *waiting + len) : NULL;

    if (waiting == NULL)
        return false;
    waiting->next = NULL;
    waiting->len = len;
    memcpy(waiting->data, framed, len);
    if (peer->first == NULL)
        peer->first = waiting;
    else
        peer->last->next = waiting;
    peer->last = waiting;
    peer->waiting_bytes += len;
    return true;
}

/* Gives the connection as much as it takes at once, or all it can keep. */
static void send_waiting(struct kh_runtime_peer *peer, bool is_last)
{
    while (peer->first != NULL && (is_last || !kh_io_tcp_is_waiting(&peer->tcp))) {
        (void)kh_io_tcp_send(&peer->tcp, peer->first->data, peer->first->len, 0);
        drop_first(peer);
    }
}

/* ---- life of one ---- */

static void on_closed(uv_handle_t *handle)
{
    struct kh_runtime_peer *peer = handle->data;
    struct kh_runtime_peers_owner owner = peer->set->owner;

    free(peer);
    owner.on_closed(owner.context);
}

/* What is on its way still goes if the close is gentle; but the two ports cannot be connected again
 * for a minute then. */
static void close_at(struct kh_runtime_peers *peers, size_t at, bool is_gentle)
{
    struct kh_runtime_peer *peer = peers->list[at];

    peers->list[at] = NULL;
    uv_close((uv_handle_t *)&peer->poll, on_closed);
    if (is_gentle)
        send_waiting(peer, true);
    while (peer->first != NULL)
        drop_first(peer);
    if (is_gentle)
        kh_io_tcp_close(&peer->tcp);
    else
        kh_io_tcp_abort(&peer->tcp);
}

static size_t place_of(const struct kh_runtime_peer *peer)
{
    size_t at = 0;

    while (at < LIST_MAX && peer->set->list[at] != peer)
        at++;
    assert(at < LIST_MAX);
    return at;
}

/* Notes a loss for the next turn: we may be inside the node. */
static void note_lost(struct kh_runtime_peers *peers, const struct kh_addr *local,
                      const struct kh_addr *remote)
{
    if (peers->lost_count == KH_RUNTIME_LOST_MAX)
        return; /* its check waits in vain then */
    peers->lost[peers->lost_count++] = (struct kh_runtime_peers_way){*local, *remote};
    uv_timer_start(&peers->timer, on_sweep, 0, 0);
}

/* Nobody knows of a stranger, so nobody misses it. */
static void give_up(struct kh_runtime_peers *peers, size_t at)
{
    struct kh_runtime_peer *peer = peers->list[at];

    if (!peer->is_stranger)
        note_lost(peers, &peer->tcp.local, &peer->tcp.remote);
    close_at(peers, at, false);
}

static void watch(struct kh_runtime_peer *peer)
{
    bool is_waiting = kh_io_tcp_is_waiting(&peer->tcp) || peer->first != NULL;
    int events = UV_READABLE | (is_waiting ? UV_WRITABLE : 0);

    uv_poll_start(&peer->poll, events, on_event);
}

static uint64_t to_ms(kh_duration duration)
{
    return (duration + 999) / 1000;
}

/* Takes over the connection; false without memory or place, and it is closed. */
static struct kh_runtime_peer *add(struct kh_runtime_peers *peers, size_t at, struct kh_io_tcp *tcp)
{
    struct kh_runtime_peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL || uv_poll_init(peers->owner.loop, &peer->poll, tcp->fd) != 0) {
        kh_io_tcp_abort(tcp);
        free(peer);
        return NULL;
    }
    peer->poll.data = peer;
    peer->set = peers;
    peer->tcp = *tcp;
    kh_io_tcp_keep_short(&peer->tcp);
    peer->heard_at = kh_io_clock_now();
    peers->list[at] = peer;
    peers->owner.on_opened(peers->owner.context);
    if (!uv_is_active((const uv_handle_t *)&peers->timer))
        uv_timer_start(&peers->timer, on_sweep, to_ms(peers->limits.sweep), 0);
    return peer;
}

/* ---- strangers ---- */

/* Gives a free place for one more, driving the oldest out if there are too many. */
static size_t place_for_stranger(struct kh_runtime_peers *peers)
{
    size_t free_at = LIST_MAX, oldest = LIST_MAX, count = 0;

    for (size_t i = 0; i < LIST_MAX; i++) {
        const struct kh_runtime_peer *peer = peers->list[i];

        if (peer == NULL)
            free_at = i;
        if (peer == NULL || !peer->is_stranger)
            continue;
        count++;
        if (oldest == LIST_MAX || peer->heard_at < peers->list[oldest]->heard_at)
            oldest = i;
    }
    if (oldest == LIST_MAX || (free_at < LIST_MAX && count < KH_RUNTIME_STRANGERS_MAX))
        return free_at;
    give_up(peers, oldest);
    return oldest;
}

static void on_call(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime_peers *peers = poll->data;
    size_t which = poll == &peers->listeners[0].poll ? 0 : 1;

    (void)events;
    for (int round = 0; round < ACCEPT_ROUNDS_MAX && status == 0; round++) {
        struct kh_runtime_peer *peer;
        struct kh_io_tcp tcp;
        size_t at;

        if (kh_io_tcp_accept(&peers->listeners[which].listener, &tcp) != 0)
            return;
        at = place_for_stranger(peers);
        if (at == LIST_MAX) {
            kh_io_tcp_abort(&tcp);
            continue;
        }
        peer = add(peers, at, &tcp);
        if (peer == NULL)
            continue;
        peer->is_stranger = true;
        watch(peer);
    }
}

/* ---- receiving ---- */

static uint8_t *space_of(struct kh_runtime_peer *peer, size_t *max)
{
    return peer->is_to_server ? kh_stun_stream_space(&peer->stream, max)
                              : kh_frames_space(&peer->frames, max);
}

static void received(struct kh_runtime_peer *peer, size_t len)
{
    if (peer->is_to_server)
        kh_stun_stream_received(&peer->stream, len);
    else
        kh_frames_received(&peer->frames, len);
}

static bool next_frame(struct kh_runtime_peer *peer, struct kh_datagram *out)
{
    struct kh_span frame;

    if (!peer->is_to_server)
        return kh_frames_next(&peer->frames, &out->data, &out->len);
    if (!kh_stun_stream_next(&peer->stream, &frame))
        return false;
    out->data = frame.data;
    out->len = frame.len;
    return true;
}

static bool is_broken(const struct kh_runtime_peer *peer)
{
    return peer->is_to_server ? peer->stream.broken : peer->frames.broken;
}

/* False if the connection is over. */
static bool receive(struct kh_runtime_peer *peer)
{
    const struct kh_runtime_peers_owner *owner = &peer->set->owner;
    struct kh_datagram datagram = {.from = peer->tcp.remote, .to = peer->tcp.local};
    int error = 0;

    for (int round = 0; round < RECEIVE_ROUNDS_MAX && error == 0; round++) {
        size_t max, len;
        uint8_t *space = space_of(peer, &max);

        error = kh_io_tcp_receive(&peer->tcp, space, max, &len);
        received(peer, len);
        if (len > 0 && !peer->is_stranger)
            peer->heard_at = kh_io_clock_now();
        peer->stranger_bytes += peer->is_stranger ? len : 0;
        while (next_frame(peer, &datagram))
            owner->on_datagram(owner->context, &datagram);
        if (is_broken(peer) ||
            (peer->is_stranger && peer->stranger_bytes > KH_RUNTIME_STRANGER_BYTES))
            return false;
    }
    return error == 0 || error == EAGAIN;
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    struct kh_runtime_peer *peer = poll->data;
    struct kh_runtime_peers *peers = peer->set;
    bool lives = status == 0;

    if (lives && (events & UV_WRITABLE) != 0)
        lives = kh_io_tcp_flush(&peer->tcp) == 0;
    if (lives)
        send_waiting(peer, false);
    if (lives && (events & UV_READABLE) != 0)
        lives = receive(peer);
    if (lives)
        watch(peer);
    else
        give_up(peers, place_of(peer));
    peers->owner.on_turn(peers->owner.context);
}

/* ---- sending ---- */

static bool is_server(const struct kh_runtime_peers *peers, const struct kh_addr *addr)
{
    for (size_t i = 0; i < peers->server_count; i++) {
        if (kh_addr_equal(&peers->servers[i], addr))
            return true;
    }
    return false;
}

/* Only the port is asked for where the sender leaves the interface to the system. */
static bool is_from(const struct kh_addr *local, const struct kh_addr *from)
{
    return kh_addr_reach(from) == KH_REACH_UNSPECIFIED ? local->port == from->port
                                                       : kh_addr_equal(local, from);
}

static struct kh_runtime_peer *open_one(struct kh_runtime_peers *peers, size_t at,
                                        const struct kh_datagram *datagram)
{
    struct kh_runtime_peer *peer;
    struct kh_io_tcp tcp;

    if (kh_io_tcp_connect_from(&datagram->from, &datagram->to, &tcp) != 0)
        return NULL;
    peer = add(peers, at, &tcp);
    if (peer != NULL)
        peer->is_to_server = is_server(peers, &datagram->to);
    return peer;
}

static struct kh_runtime_peer *find_or_open(struct kh_runtime_peers *peers,
                                            const struct kh_datagram *datagram)
{
    size_t free_at = LIST_MAX, count = 0;

    for (size_t i = 0; i < LIST_MAX; i++) {
        struct kh_runtime_peer *peer = peers->list[i];

        if (peer == NULL)
            free_at = i;
        else if (kh_addr_equal(&peer->tcp.remote, &datagram->to) &&
                 is_from(&peer->tcp.local, &datagram->from))
            return peer;
        count += peer != NULL && !peer->is_stranger;
    }
    return count < KH_RUNTIME_PEERS_MAX && free_at < LIST_MAX ? open_one(peers, free_at, datagram)
                                                              : NULL;
}

/* RFC 7983 7.  Checks go before the data that waits: behind it they would come too late to tell
 * that the path is good. */
static bool is_check(const struct kh_datagram *datagram)
{
    return datagram->data[0] < 4;
}

static void send_framed(struct kh_runtime_peer *peer, const struct kh_datagram *datagram)
{
    uint8_t framed[KH_FRAMES_HEADER_LEN + KH_FRAMES_MAX];
    size_t len = kh_frames_write(datagram->data, datagram->len, framed);

    if (is_check(datagram) || (peer->first == NULL && !kh_io_tcp_is_waiting(&peer->tcp)))
        (void)kh_io_tcp_send(&peer->tcp, framed, len, 0);
    else
        (void)wait_in_turn(peer, framed, len);
}

bool kh_runtime_peers_owns(const struct kh_runtime_peers *peers, const struct kh_addr *from)
{
    for (size_t i = 0; i < 2; i++) {
        const struct kh_runtime_peers_listener *listener = &peers->listeners[i];

        if (listener->is_open && from->transport == KH_TCP &&
            listener->listener.addr.family == from->family &&
            listener->listener.addr.port == from->port)
            return true;
    }
    return false;
}

void kh_runtime_peers_send(struct kh_runtime_peers *peers, const struct kh_datagram *datagram)
{
    struct kh_runtime_peer *peer = find_or_open(peers, datagram);

    assert(datagram->len > 0 && datagram->len <= KH_FRAMES_MAX);
    if (peer == NULL) {
        note_lost(peers, &datagram->from, &datagram->to);
        return;
    }
    if (peer->is_stranger)
        peer->heard_at = kh_io_clock_now();
    peer->is_stranger = false; /* the node knows who it is */
    if (peer->is_to_server)
        (void)kh_io_tcp_send(&peer->tcp, datagram->data, datagram->len, 0);
    else
        send_framed(peer, datagram);
    watch(peer);
}

/* ---- time ---- */

static bool is_overdue(const struct kh_runtime_peer *peer, kh_time now)
{
    const struct kh_runtime_peers_limits *limits = &peer->set->limits;
    kh_duration limit = peer->is_stranger    ? limits->stranger
                        : peer->is_to_server ? limits->silence * SERVER_SILENCE
                                             : limits->silence;

    return kh_time_since(now, peer->heard_at) >= limit;
}

static void tell_lost(struct kh_runtime_peers *peers)
{
    struct kh_runtime_peers_way lost[KH_RUNTIME_LOST_MAX];
    size_t count = peers->lost_count;

    memcpy(lost, peers->lost, count * sizeof lost[0]);
    peers->lost_count = 0; /* the node may try again at once, and fail at once */
    for (size_t i = 0; i < count; i++)
        peers->owner.on_lost(peers->owner.context, &lost[i].local, &lost[i].remote);
}

static void on_sweep(uv_timer_t *timer)
{
    struct kh_runtime_peers *peers = timer->data;
    kh_time now = kh_io_clock_now();
    bool is_empty = true;

    for (size_t i = 0; i < LIST_MAX; i++) {
        if (peers->list[i] != NULL && is_overdue(peers->list[i], now))
            give_up(peers, i);
    }
    uv_timer_stop(timer); /* the losses just noted are told now */
    tell_lost(peers);
    for (size_t i = 0; i < LIST_MAX; i++)
        is_empty = is_empty && peers->list[i] == NULL;
    if (!is_empty && !uv_is_active((const uv_handle_t *)timer))
        uv_timer_start(timer, on_sweep, to_ms(peers->limits.sweep), 0);
    peers->owner.on_turn(peers->owner.context);
}

/* ---- life of all ---- */

static void set_default(kh_duration *limit, kh_duration value)
{
    if (*limit == 0)
        *limit = value;
}

static void on_set_handle_closed(uv_handle_t *handle)
{
    const struct kh_runtime_peers *peers = handle->data;

    peers->owner.on_closed(peers->owner.context);
}

bool kh_runtime_peers_listen(struct kh_runtime_peers *peers, enum kh_family family, uint16_t port)
{
    static const uint8_t anywhere[16];
    struct kh_runtime_peers_listener *listener =
        &peers->listeners[family == KH_FAMILY_IPV4 ? 0 : 1];
    struct kh_addr addr = kh_addr_from_ip(family, anywhere, port);

    assert(!listener->is_open && port != 0);
    if (kh_io_tcp_listen_shared(&addr, &listener->listener) != 0)
        return false;
    if (uv_poll_init(peers->owner.loop, &listener->poll, listener->listener.fd) != 0) {
        kh_io_tcp_listener_close(&listener->listener);
        return false;
    }
    listener->is_open = true;
    listener->poll.data = peers;
    peers->owner.on_opened(peers->owner.context);
    uv_poll_start(&listener->poll, UV_READABLE, on_call);
    if (peers->has_timer)
        return true;
    set_default(&peers->limits.stranger, STRANGER);
    set_default(&peers->limits.silence, SILENCE);
    set_default(&peers->limits.sweep, SWEEP);
    peers->has_timer = true;
    uv_timer_init(peers->owner.loop, &peers->timer);
    peers->timer.data = peers;
    peers->owner.on_opened(peers->owner.context);
    return true;
}

void kh_runtime_peers_start(struct kh_runtime_peers *peers, const struct kh_io_udp_set *udp,
                            struct kh_node_config *config)
{
    uint16_t port4 = kh_io_udp_set_port(udp, KH_FAMILY_IPV4);
    uint16_t port6 = kh_io_udp_set_port(udp, KH_FAMILY_IPV6);

    if (config->paths == KH_NODE_PATHS_RELAY)
        return;
    memcpy(peers->servers, config->servers, sizeof peers->servers);
    peers->server_count = config->server_count;
    config->tcp_ipv4 = port4 != 0 && kh_runtime_peers_listen(peers, KH_FAMILY_IPV4, port4);
    config->tcp_ipv6 = port6 != 0 && kh_runtime_peers_listen(peers, KH_FAMILY_IPV6, port6);
}

void kh_runtime_peers_close_all(struct kh_runtime_peers *peers)
{
    for (size_t i = 0; i < LIST_MAX; i++) {
        if (peers->list[i] != NULL)
            close_at(peers, i, true);
    }
    for (size_t i = 0; i < 2; i++) {
        struct kh_runtime_peers_listener *listener = &peers->listeners[i];

        if (!listener->is_open)
            continue;
        listener->is_open = false;
        uv_close((uv_handle_t *)&listener->poll, on_set_handle_closed);
        kh_io_tcp_listener_close(&listener->listener);
    }
    if (peers->has_timer)
        uv_close((uv_handle_t *)&peers->timer, on_set_handle_closed);
    peers->has_timer = false;
    peers->lost_count = 0;
}
