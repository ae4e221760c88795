/* sim/net.c - datagrams in flight: which way they go, what befalls them, when they arrive.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/net_inside.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "support/dice.h"

#define REPLAY_MAX KH_SECONDS(5)
#define FLIGHTS_MIN 64
#define RECOVERY KH_MILLISECONDS(200) /* what a lost segment costs its connection (RFC 6298) */
#define HOPS_OF_BOX 1
#define HOPS_OF_INTERNET 8 /* between two boxes that stand in it, or a box and the server */

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

struct net *net_new(uint64_t seed)
{
    struct net *net = must(calloc(1, sizeof(*net)));

    net->dice = dice_of(seed);
    net->heap_max = FLIGHTS_MIN;
    net->heap = must(calloc(net->heap_max, sizeof(*net->heap)));
    return net;
}

void net_free(struct net *net)
{
    if (net == NULL)
        return;
    for (size_t i = 0; i < net->heap_count; i++)
        free(net->heap[i].data);
    for (int i = 0; i < net->box_count; i++)
        nat_free(net->boxes[i].nat);
    streams_fini(&net->streams);
    free(net->arrived);
    free(net->heap);
    free(net);
}

/* ---- building ---- */

int net_add_box(struct net *net, int realm, const struct nat_config *config,
                const struct net_line *line)
{
    struct box *box = &net->boxes[net->box_count];
    struct nat_config seeded = *config;

    assert(net->box_count < NET_BOXES_MAX && realm < net->box_count);
    seeded.seed = dice_u64(&net->dice);
    *box = (struct box){.realm = realm, .line = *line, .is_up = true};
    if (nat_new(&box->nat, &seeded) != KH_OK)
        abort();
    return net->box_count++;
}

int net_add_host(struct net *net)
{
    assert(net->host_count < NET_HOSTS_MAX);
    net->hosts[net->host_count] = (struct host){.timer = KH_NEVER, .is_up = true};
    return net->host_count++;
}

void net_attach(struct net *net, int host, int realm, const struct kh_addr *addr,
                const struct net_line *line)
{
    struct host *at = &net->hosts[host];

    assert(at->port_count < NET_ADDRS_MAX && realm < net->box_count);
    at->ports[at->port_count++] = (struct port){.addr = *addr, .realm = realm, .line = *line};
}

void net_detach(struct net *net, int host, const struct kh_addr *addr)
{
    struct host *at = &net->hosts[host];

    for (size_t i = 0; i < at->port_count; i++) {
        if (!kh_addr_ip_equal(&at->ports[i].addr, addr))
            continue;
        at->ports[i] = at->ports[--at->port_count];
        return;
    }
}

void net_set_host_up(struct net *net, int host, bool up)
{
    if (!up)
        net_drop_streams(net, host);
    net->hosts[host].is_up = up;
}

void net_set_box_up(struct net *net, int box, bool up)
{
    net->boxes[box].is_up = up;
}

void net_set_box_passes(struct net *net, int box, enum kh_transport transport, bool passes)
{
    net->boxes[box].stops[transport] = !passes;
}

bool net_box_passes(const struct net *net, int box, enum kh_transport transport)
{
    return !net->boxes[box].stops[transport];
}

void net_set_box_line(struct net *net, int box, const struct net_line *line)
{
    net->boxes[box].line = *line;
}

void net_set_apart(struct net *net, const struct kh_addr *a, const struct kh_addr *b)
{
    net->apart[0] = *a;
    net->apart[1] = *b;
}

int net_realm_of_box(const struct net *net, int box)
{
    return net->boxes[box].realm;
}

struct nat *net_nat(struct net *net, int box)
{
    return net->boxes[box].nat;
}

/* ---- the heap of flights ---- */

static bool is_before(const struct flight *a, const struct flight *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void swap(struct flight *a, struct flight *b)
{
    struct flight kept = *a;

    *a = *b;
    *b = kept;
}

void net_push(struct net *net, struct flight flight)
{
    size_t at = net->heap_count++;

    if (net->heap_count > net->heap_max) {
        net->heap_max *= 2;
        net->heap = must(realloc(net->heap, net->heap_max * sizeof(*net->heap)));
    }
    flight.order = net->orders++;
    net->heap[at] = flight;
    for (; at > 0 && is_before(&net->heap[at], &net->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&net->heap[at], &net->heap[(at - 1) / 2]);
}

static struct flight pop(struct net *net)
{
    struct flight first = net->heap[0];
    size_t at = 0, child;

    net->heap[0] = net->heap[--net->heap_count];
    while ((child = 2 * at + 1) < net->heap_count) {
        if (child + 1 < net->heap_count && is_before(&net->heap[child + 1], &net->heap[child]))
            child++;
        if (!is_before(&net->heap[child], &net->heap[at]))
            break;
        swap(&net->heap[child], &net->heap[at]);
        at = child;
    }
    return first;
}

/* ---- lines ---- */

static struct flight copy_of(const struct flight *flight)
{
    struct flight copy = *flight;

    copy.data = must(malloc(flight->len + 1));
    memcpy(copy.data, flight->data, flight->len);
    return copy;
}

/* Changes a byte of STUN and of text; DTLS has no checksum in the plain channel that could tell. */
static void garble(struct net *net, struct flight *flight)
{
    if (flight->len > 0 && (flight->data[0] < 20 || flight->data[0] > 63))
        flight->data[dice_below(&net->dice, flight->len)] ^=
            (uint8_t)dice_range(&net->dice, 1, 255);
}

/* Lets a flight suffer a line; false if it is lost.  Copies the line makes depart by themselves. */
static bool cross(struct net *net, struct flight *flight, const struct net_line *line)
{
    struct flight copy;

    if (flight->segment != SEGMENT_NONE) {
        flight->due += line->delay + dice_below(&net->dice, line->jitter + 1);
        if (dice_chance(&net->dice, line->loss))
            flight->due += RECOVERY;
        return true;
    }
    if (dice_chance(&net->dice, line->loss)) {
        net->stats.lost++;
        return false;
    }
    if (dice_chance(&net->dice, line->duplication + line->replay + line->garble)) {
        double which = line->duplication + line->replay + line->garble;

        copy = copy_of(flight);
        copy.due += line->delay + dice_below(&net->dice, line->jitter + 1);
        if (dice_chance(&net->dice, line->garble / which))
            garble(net, &copy);
        else if (dice_chance(&net->dice, line->replay / which))
            copy.due += dice_below(&net->dice, REPLAY_MAX);
        net->stats.extra++;
        net_push(net, copy);
    }
    flight->due += line->delay;
    if (line->jitter > 0)
        flight->due += dice_below(&net->dice, line->jitter);
    return true;
}

/* ---- ways ---- */

static bool is_within(const struct net *net, int realm, int box)
{
    for (; realm != NET_INTERNET; realm = net->boxes[realm].realm)
        if (realm == box)
            return true;
    return false;
}

/* Does the way to this address, from outside, lead through this box? */
static bool leads_through(const struct net *net, int box, const struct kh_addr *addr)
{
    const struct nat_config *config = nat_config_of(net->boxes[box].nat);

    if (config->kind == NAT_KIND_TRANSLATOR && addr->family == KH_FAMILY_IPV4)
        return kh_addr_ip_equal(&config->external, addr);
    for (int i = 0; i < net->host_count; i++)
        for (size_t p = 0; p < net->hosts[i].port_count; p++)
            if (kh_addr_ip_equal(&net->hosts[i].ports[p].addr, addr) &&
                is_within(net, net->hosts[i].ports[p].realm, box))
                return true;
    return false;
}

void net_discard(struct net *net, struct flight *flight, uint64_t *counter)
{
    (*counter)++;
    if (flight->segment == SEGMENT_NONE || !net_repeat(net, flight))
        free(flight->data);
}

/* Sends a flight on over one line: to its next stage, or nowhere if the line loses it. */
void net_depart(struct net *net, struct flight flight, enum stage stage, int place,
                const struct net_line *line)
{
    flight.stage = stage;
    flight.place = place;
    if (cross(net, &flight, line))
        net_push(net, flight);
    else
        free(flight.data);
}

/* Takes hops from a flight; false if it has come as far as it may. */
static bool pass_hops(struct net *net, struct flight *flight, unsigned hops)
{
    if (flight->hops <= hops) {
        net_discard(net, flight, &net->stats.expired);
        return false;
    }
    flight->hops -= hops;
    return true;
}

static bool is_between(const struct nat_flow *flow, const struct kh_addr *a,
                       const struct kh_addr *b)
{
    return kh_addr_ip_equal(&flow->from, a) && kh_addr_ip_equal(&flow->to, b);
}

static bool is_cut(const struct net *net, const struct nat_flow *flow)
{
    return is_between(flow, &net->apart[0], &net->apart[1]) ||
           is_between(flow, &net->apart[1], &net->apart[0]);
}

/* Finds the next stage of a flight that is in this realm. */
static void route(struct net *net, int realm, struct flight flight)
{
    static const struct net_line none; /* inside a box: nothing happens */

    if (realm == NET_INTERNET && !pass_hops(net, &flight, HOPS_OF_INTERNET))
        return;
    if (realm == NET_INTERNET && is_cut(net, &flight.flow)) {
        net_discard(net, &flight, &net->stats.unroutable);
        return;
    }
    for (int i = 0; i < net->host_count; i++) {
        const struct host *host = &net->hosts[i];

        for (size_t p = 0; p < host->port_count; p++) {
            if (host->ports[p].realm == realm &&
                kh_addr_ip_equal(&host->ports[p].addr, &flight.flow.to)) {
                net_depart(net, flight, STAGE_HOST, i, &host->ports[p].line);
                return;
            }
        }
    }
    for (int i = 0; i < net->box_count; i++) {
        if (net->boxes[i].realm == realm && leads_through(net, i, &flight.flow.to)) {
            net_depart(net, flight, STAGE_IN, i, &net->boxes[i].line);
            return;
        }
    }
    if (realm == NET_INTERNET)
        net_discard(net, &flight, &net->stats.unroutable);
    else
        net_depart(net, flight, STAGE_OUT, realm, &none);
}

static void leave_box(struct net *net, struct flight flight)
{
    struct box *box = &net->boxes[flight.place];

    if (!pass_hops(net, &flight, HOPS_OF_BOX))
        return;
    switch (nat_outbound(box->nat, net->now, &flight.flow)) {
    case NAT_DROP:
        net_discard(net, &flight, &net->stats.refused);
        return;
    case NAT_TURN:
        route(net, flight.place, flight);
        return;
    case NAT_FORWARD:
        if (!box->is_up || box->stops[flight.flow.to.transport])
            net_discard(net, &flight, &net->stats.unroutable);
        else
            net_depart(net, flight, STAGE_REALM, box->realm, &box->line);
        return;
    }
}

static void enter_box(struct net *net, struct flight flight)
{
    struct box *box = &net->boxes[flight.place];

    if (!pass_hops(net, &flight, HOPS_OF_BOX))
        return;
    if (!box->is_up || box->stops[flight.flow.to.transport])
        net_discard(net, &flight, &net->stats.unroutable);
    else if (nat_inbound(box->nat, net->now, &flight.flow) == NAT_DROP)
        net_discard(net, &flight, &net->stats.refused);
    else
        route(net, flight.place, flight);
}

const struct port *net_port_for(const struct host *host, const struct kh_datagram *datagram)
{
    for (size_t p = 0; p < host->port_count; p++) {
        const struct port *port = &host->ports[p];

        if (datagram->from.family == KH_FAMILY_NONE ||
                    kh_addr_reach(&datagram->from) == KH_REACH_UNSPECIFIED
                ? port->addr.family == datagram->to.family
                : kh_addr_ip_equal(&port->addr, &datagram->from))
            return port;
    }
    return NULL;
}

void net_fly(struct net *net, int host, struct flight flight, const struct kh_span *data)
{
    const struct port *port = net_port_for(
        &net->hosts[host], &(struct kh_datagram){.from = flight.flow.from, .to = flight.flow.to});

    net->stats.sent++;
    if (port == NULL || !net->hosts[host].is_up) {
        net->stats.unroutable++;
        return;
    }
    if (kh_addr_is_none(&flight.flow.from))
        flight.flow.from = port->addr;
    flight.due = flight.left_at = net->now;
    flight.first = flight.flow;
    flight.sender = host;
    flight.len = data->len;
    flight.data = must(malloc(data->len + 1)); /* one more: a datagram may be empty */
    memcpy(flight.data, data->data, data->len);
    net_depart(net, flight, STAGE_REALM, port->realm, &port->line);
}

void net_send(struct net *net, int host, const struct kh_datagram *datagram)
{
    struct flight flight = {.flow = {datagram->from, datagram->to},
                            .hops = datagram->ttl == 0 ? HOPS_USUAL : datagram->ttl};

    if (datagram->to.transport == KH_UDP)
        net_fly(net, host, flight, &(struct kh_span){datagram->data, datagram->len});
    else
        net_send_by_stream(net, host, datagram);
}

/* ---- events ---- */

void net_set_timer(struct net *net, int host, kh_time at)
{
    net->hosts[host].timer = at;
}

void net_add_alarm(struct net *net, kh_time at, int alarm)
{
    net_push(net, (struct flight){.due = at, .stage = STAGE_ALARM, .place = alarm});
}

static int first_timer(const struct net *net)
{
    int first = 0;

    for (int i = 1; i < net->host_count; i++)
        if (net->hosts[i].timer < net->hosts[first].timer)
            first = i;
    return first;
}

static bool arrive(struct net *net, struct flight *flight, struct net_event *out)
{
    if (!net->hosts[flight->place].is_up) {
        net_discard(net, flight, &net->stats.unroutable);
        return false;
    }
    if (flight->segment != SEGMENT_NONE && !net_take_segment(net, flight))
        return false;
    net->stats.arrived++;
    free(net->arrived);
    net->arrived = flight->data;
    *out = (struct net_event){.kind = NET_ARRIVAL, .host = flight->place};
    out->datagram = (struct kh_datagram){
        .from = flight->flow.from, .to = flight->flow.to, .data = flight->data, .len = flight->len};
    return true;
}

/* True if the flight became an event of a host. */
static bool land(struct net *net, struct flight flight, struct net_event *out)
{
    switch (flight.stage) {
    case STAGE_REALM:
        route(net, flight.place, flight);
        return false;
    case STAGE_OUT:
        leave_box(net, flight);
        return false;
    case STAGE_IN:
        enter_box(net, flight);
        return false;
    case STAGE_HOST:
        return arrive(net, &flight, out);
    case STAGE_AGAIN:
        net_send_again(net, flight);
        return false;
    case STAGE_LOST:
        *out = (struct net_event){.kind = NET_LOST,
                                  .host = flight.place,
                                  .datagram = {.from = flight.flow.from, .to = flight.flow.to}};
        return net->hosts[flight.place].is_up;
    case STAGE_ALARM:
        *out = (struct net_event){.kind = NET_ALARM, .alarm = flight.place};
        return true;
    }
    return false;
}

bool net_next(struct net *net, kh_time until, struct net_event *out)
{
    for (;;) {
        int timer_host = first_timer(net);
        kh_time timer = net->host_count > 0 ? net->hosts[timer_host].timer : KH_NEVER;
        kh_time flight = net->heap_count > 0 ? net->heap[0].due : KH_NEVER;
        kh_time next = kh_time_min(timer, flight);

        if (next > until) {
            net->now = until > net->now ? until : net->now;
            return false;
        }
        net->now = next > net->now ? next : net->now; /* a timer may have been set in the past */
        if (timer <= flight) {
            net->hosts[timer_host].timer = KH_NEVER;
            *out = (struct net_event){.kind = NET_TIMER, .host = timer_host};
            return true;
        }
        if (land(net, pop(net), out))
            return true;
    }
}

kh_time net_now(const struct net *net)
{
    return net->now;
}

struct net_stats net_stats(const struct net *net)
{
    return net->stats;
}
