/* sim/net_tcp.c - TCP connections of the virtual network: made, kept in order, repeated, lost.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/net_inside.h"

#define SYN_AGAIN KH_SECONDS(1) /* doubled each time */
#define FRAME_AGAIN KH_MILLISECONDS(300)
#define AGAIN_MAX KH_SECONDS(8)
#define TRIES_MAX 6                  /* then the connection is over */
#define OVERTAKEN KH_MILLISECONDS(1) /* a frame looks so often for the one before it … */
#define OVERTAKEN_MAX KH_SECONDS(60) /* … and so long */

void net_listen(struct net *net, int host, uint16_t port, bool is_server)
{
    net->hosts[host].listens = port;
    net->hosts[host].is_server = is_server;
}

static void send_segment(struct net *net, struct stream *stream, enum segment segment,
                         const struct kh_span *data)
{
    struct flight flight = {.flow = {stream->local, stream->remote},
                            .hops = HOPS_USUAL,
                            .segment = segment,
                            .stream = stream->id};

    if (segment == SEGMENT_FRAME)
        flight.number = stream->next_out++;
    else if (segment == SEGMENT_SYN_ACK)
        flight.number = stream->peer_id;
    net_fly(net, stream->host, flight, data);
}

static void send_reset(struct net *net, int host, const struct nat_flow *flow, uint64_t to)
{
    struct flight flight = {
        .flow = *flow, .hops = HOPS_USUAL, .segment = SEGMENT_RESET, .stream = to};

    net_fly(net, host, flight, &(struct kh_span){"", 0});
}

static void tell_lost(struct net *net, int host, const struct kh_addr *local,
                      const struct kh_addr *remote)
{
    net_push(net,
             (struct flight){
                 .due = net->now, .stage = STAGE_LOST, .place = host, .flow = {*remote, *local}});
}

static void lose(struct net *net, struct stream *stream)
{
    tell_lost(net, stream->host, &stream->local, &stream->remote);
    streams_remove(&net->streams, stream);
}

void net_drop_streams(struct net *net, int host)
{
    for (size_t i = 0; i < net->streams.count;) {
        struct stream *stream = &net->streams.list[i];

        if (stream->host != host) {
            i++;
            continue;
        }
        if (stream->peer_id != 0)
            send_reset(net, host, &(struct nat_flow){stream->local, stream->remote},
                       stream->peer_id);
        streams_remove(&net->streams, stream);
    }
}

/* The answer to a call is lost: the caller calls again, which also opens boxes that forgot it. */
static void call_again(struct net *net, uint64_t caller)
{
    struct stream *stream = streams_find_id(&net->streams, caller);
    struct flight flight = {
        .stage = STAGE_AGAIN, .hops = HOPS_USUAL, .segment = SEGMENT_SYN, .stream = caller};

    if (stream == NULL || stream->is_open)
        return;
    if (stream->calls == TRIES_MAX) {
        lose(net, stream);
        return;
    }
    flight.due = net->now + kh_time_min(SYN_AGAIN << stream->calls++, AGAIN_MAX);
    flight.sender = stream->host;
    flight.flow = flight.first = (struct nat_flow){stream->local, stream->remote};
    flight.data = malloc(1);
    if (flight.data == NULL)
        abort();
    net_push(net, flight);
}

bool net_repeat(struct net *net, struct flight *flight)
{
    struct stream *stream =
        streams_find(&net->streams, flight->sender, &flight->first.from, &flight->first.to);
    kh_duration wait = flight->segment == SEGMENT_SYN ? SYN_AGAIN : FRAME_AGAIN;

    if (flight->segment == SEGMENT_SYN_ACK)
        call_again(net, flight->number);
    if (stream == NULL || stream->id != flight->stream ||
        (flight->segment != SEGMENT_FRAME && (flight->segment != SEGMENT_SYN || stream->is_open)))
        return false;
    if (flight->tries == TRIES_MAX) {
        lose(net, stream);
        return false;
    }
    wait = kh_time_min(wait << flight->tries++, AGAIN_MAX);
    flight->flow = flight->first;
    flight->hops = HOPS_USUAL;
    flight->stage = STAGE_AGAIN;
    flight->due = net->now + wait;
    net_push(net, *flight);
    return true;
}

void net_send_again(struct net *net, struct flight flight)
{
    struct stream *stream =
        streams_find(&net->streams, flight.sender, &flight.flow.from, &flight.flow.to);
    const struct port *port =
        net_port_for(&net->hosts[flight.sender],
                     &(struct kh_datagram){.from = flight.flow.from, .to = flight.flow.to});

    if (stream == NULL || stream->id != flight.stream || port == NULL ||
        !net->hosts[flight.sender].is_up || (flight.segment == SEGMENT_SYN && stream->is_open))
        free(flight.data);
    else
        net_depart(net, flight, STAGE_REALM, port->realm, &port->line);
}

static void open_stream(struct net *net, struct stream *stream, uint64_t peer)
{
    stream->peer_id = peer;
    stream->is_open = true;
    for (size_t i = 0; i < stream->waiting_count; i++) {
        send_segment(net, stream, SEGMENT_FRAME,
                     &(struct kh_span){stream->waiting[i].data, stream->waiting[i].len});
        free(stream->waiting[i].data);
    }
    stream->waiting_count = 0;
}

/* A call; both may call at once, and are connected then. */
static void answer_syn(struct net *net, struct flight *flight, struct stream *stream)
{
    const struct host *host = &net->hosts[flight->place];
    const struct nat_flow back = {flight->flow.to, flight->flow.from};

    if (stream != NULL && stream->peer_id != 0 && stream->peer_id != flight->stream) {
        lose(net, stream); /* the other end began anew, and calls again */
        net_discard(net, flight, &net->stats.refused);
        return;
    }
    if (stream == NULL && host->listens == flight->flow.to.port)
        stream = streams_add(&net->streams, flight->place, &back.from, &back.to);
    if (stream == NULL) {
        send_reset(net, flight->place, &back, flight->stream);
    } else {
        stream->peer_id = flight->stream;
        send_segment(net, stream, SEGMENT_SYN_ACK, &(struct kh_span){"", 0});
        open_stream(net, stream, flight->stream);
    }
    free(flight->data);
}

/* True if the frame is to be given to the host now. */
static bool take_frame(struct net *net, struct flight *flight, struct stream *stream)
{
    if (stream == NULL || (stream->peer_id != 0 && stream->peer_id != flight->stream)) {
        send_reset(net, flight->place, &(struct nat_flow){flight->flow.to, flight->flow.from},
                   flight->stream);
        free(flight->data);
        return false;
    }
    if (!stream->is_open)
        open_stream(net, stream, flight->stream);
    if (flight->number == stream->next_in) {
        stream->next_in++;
        return true;
    }
    if (flight->number < stream->next_in || net->now - flight->left_at > OVERTAKEN_MAX) {
        free(flight->data);
        return false;
    }
    flight->due = net->now + OVERTAKEN;
    net_push(net, *flight);
    return false;
}

bool net_take_segment(struct net *net, struct flight *flight)
{
    struct stream *stream =
        streams_find(&net->streams, flight->place, &flight->flow.to, &flight->flow.from);

    switch (flight->segment) {
    case SEGMENT_FRAME:
        return take_frame(net, flight, stream);
    case SEGMENT_SYN:
        answer_syn(net, flight, stream);
        return false;
    case SEGMENT_SYN_ACK:
        if (stream != NULL && stream->peer_id == 0)
            open_stream(net, stream, flight->stream);
        break;
    case SEGMENT_RESET:
        if (stream != NULL && stream->id == flight->stream)
            lose(net, stream);
        break;
    case SEGMENT_NONE:
        break;
    }
    free(flight->data);
    return false;
}

void net_send_by_stream(struct net *net, int host, const struct kh_datagram *datagram)
{
    struct kh_span data = {datagram->data, datagram->len};
    bool is_anonymous = kh_addr_is_none(&datagram->from);
    const struct port *port = net_port_for(&net->hosts[host], datagram);
    struct kh_addr local = datagram->from;
    struct stream *stream = NULL;

    if (port == NULL)
        return;
    if (is_anonymous)
        stream = streams_find_anonymous(&net->streams, host, &datagram->to);
    if (is_anonymous || kh_addr_reach(&local) == KH_REACH_UNSPECIFIED) {
        local = port->addr;
        local.port = is_anonymous ? streams_take_port(&net->streams) : datagram->from.port;
    }
    local.transport = datagram->to.transport;
    if (!is_anonymous)
        stream = streams_find(&net->streams, host, &local, &datagram->to);
    if (stream == NULL && net->hosts[host].is_server)
        return; /* to one that is gone */
    if (stream == NULL) {
        stream = streams_add(&net->streams, host, &local, &datagram->to);
        stream->is_anonymous = is_anonymous;
        net->stats.calls++;
        send_segment(net, stream, SEGMENT_SYN, &(struct kh_span){"", 0});
    }
    if (stream->is_open)
        send_segment(net, stream, SEGMENT_FRAME, &data);
    else
        (void)stream_wait(stream, data.data, data.len);
}
