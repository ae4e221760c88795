/* sim/net_inside.h - what the files of the virtual network share: hosts, boxes, flights.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_TEST_SIM_NET_INSIDE_H
#define KH_TEST_SIM_NET_INSIDE_H

#include "crypto/crypto.h"
#include "sim/net.h"
#include "sim/stream.h"
#include "support/dice.h"

#define HOPS_USUAL 64

enum stage {
    STAGE_REALM, /* has crossed a line and is now in this realm */
    STAGE_OUT,   /* arrives at a box from inside */
    STAGE_IN,    /* arrives at a box from outside */
    STAGE_HOST,  /* arrives */
    STAGE_AGAIN, /* of a connection, and did not: its host sends it again */
    STAGE_LOST,  /* a host is to hear that a connection is over */
    STAGE_ALARM, /* not a datagram at all: `place` is the alarm */
};

/* What a flight is of a TCP connection; NONE of UDP. */
enum segment { SEGMENT_NONE, SEGMENT_SYN, SEGMENT_SYN_ACK, SEGMENT_FRAME, SEGMENT_RESET };

struct flight {
    kh_time due;
    uint64_t order; /* of departure: equal times keep it */
    enum stage stage;
    int place; /* realm, box, host or alarm */
    struct nat_flow flow;
    uint8_t *data; /* owned */
    size_t len;
    unsigned hops; /* that it may still pass */
    enum segment segment;
    int sender;            /* host of the segment … */
    struct nat_flow first; /* … and its flow as it left */
    uint64_t stream;       /* id of the sender's end; of a RESET the receiver's */
    uint64_t number;       /* of a FRAME in its connection */
    kh_time left_at;
    unsigned tries;
};

struct port { /* where a host is plugged in */
    struct kh_addr addr;
    int realm;
    struct net_line line;
};

struct host {
    struct port ports[NET_ADDRS_MAX];
    size_t port_count;
    kh_time timer;
    bool is_up;
    uint16_t listens; /* for TCP, at this port; 0: nowhere */
    bool is_server;   /* never connects by itself */
};

struct box {
    struct nat *nat; /* owned */
    int realm;       /* that it stands in */
    struct net_line line;
    bool is_up;
    bool stops[KH_TLS + 1]; /* by transport */
};

struct net {
    struct dice dice;
    kh_time now;
    struct host hosts[NET_HOSTS_MAX];
    int host_count;
    struct box boxes[NET_BOXES_MAX];
    int box_count;
    struct kh_addr apart[2]; /* nothing passes between these; none: all does */
    struct flight *heap;     /* owned; a binary heap, the earliest first */
    size_t heap_count, heap_max;
    uint64_t orders;
    uint8_t *arrived; /* owned: bytes of the last arrival */
    struct streams streams;
    struct net_stats stats;
};

/* ---- net.c ---- */
void net_push(struct net *net, struct flight flight);
/* Counts what does not arrive, and lets go of it. */
void net_discard(struct net *net, struct flight *flight, uint64_t *counter);
/* Sends a flight on over one line: to its next stage, or nowhere if the line loses it. */
void net_depart(struct net *net, struct flight flight, enum stage stage, int place,
                const struct net_line *line);
const struct port *net_port_for(const struct host *host, const struct kh_datagram *datagram);
/* Sends from a host; flow, hops and what it is of a connection are in `flight`. */
void net_fly(struct net *net, int host, struct flight flight, const struct kh_span *data);

/* ---- net_tcp.c ---- */
void net_send_by_stream(struct net *net, int host, const struct kh_datagram *datagram);
/* Takes a segment that did not arrive, to be sent again; false if it is not worth it. */
bool net_repeat(struct net *net, struct flight *flight);
void net_send_again(struct net *net, struct flight flight);
/* Takes a segment that arrived; true if it is a frame whose turn it is. */
bool net_take_segment(struct net *net, struct flight *flight);

#endif
