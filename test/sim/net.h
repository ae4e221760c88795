/* sim/net.h - a virtual network: hosts, boxes in front of them, slow and lossy lines, one clock.
 *
 * SPDX-License-Identifier: MIT
 *
 * A realm is a set of addresses that reach each other directly: the internet, or the LAN inside a
 * box.  A box stands in a realm and has its own inside, so boxes nest.  Nothing happens by itself:
 * net_next moves the clock to the next event that concerns a host, and says what it is.
 * Everything is drawn from one seed.
 */
#ifndef KH_TEST_SIM_NET_H
#define KH_TEST_SIM_NET_H

#include "base/datagram.h"
#include "base/time.h"
#include "support/nat.h"

#define NET_INTERNET (-1)
#define NET_HOSTS_MAX 12
#define NET_BOXES_MAX 16
#define NET_ADDRS_MAX 4 /* of one host: two interfaces, two families */

/* One line, both directions alike.  A datagram suffers each line it crosses. */
struct net_line {
    kh_duration delay;  /* one way */
    kh_duration jitter; /* up to this much more, each datagram for itself: so they overtake */
    double loss;        /* each as a probability, 0 .. 1 */
    double duplication;
    double replay; /* a second copy comes up to 5 s later, as an attacker might send it */
    double garble; /* a second copy comes with one byte changed */
};

struct net_stats {
    uint64_t sent;
    uint64_t arrived;
    uint64_t lost;       /* by lines */
    uint64_t unroutable; /* no such place, or it is cut off */
    uint64_t refused;    /* by boxes */
    uint64_t extra;      /* copies made by lines */
    uint64_t calls;      /* TCP connections that somebody began to make */
    uint64_t expired;    /* their ttl was too low for the way */
};

enum net_event_kind {
    NET_ARRIVAL, /* host, datagram (its data is valid until the next net_next) */
    NET_TIMER,   /* host: the time set with net_set_timer has come */
    NET_LOST,    /* host, datagram's from and to: that TCP connection of its is over */
    NET_ALARM,   /* alarm: a time set with net_add_alarm has come */
};

struct net_event {
    enum net_event_kind kind;
    int host;
    int alarm;
    struct kh_datagram datagram;
};

struct net;

struct net *net_new(uint64_t seed);
void net_free(struct net *net);

/* Both return an index, from 0.  The box's index is also the name of the realm inside it. */
int net_add_box(struct net *net, int realm, const struct nat_config *config,
                const struct net_line *line);
int net_add_host(struct net *net);

/* Gives a host an address in a realm, over a line of its own. */
void net_attach(struct net *net, int host, int realm, const struct kh_addr *addr,
                const struct net_line *line);
void net_detach(struct net *net, int host, const struct kh_addr *addr);

void net_set_host_up(struct net *net, int host, bool up); /* down: it hears and says nothing */
void net_set_box_up(struct net *net, int box, bool up);   /* down: its outer line is cut */
void net_set_box_passes(struct net *net, int box, enum kh_transport transport, bool passes);
bool net_box_passes(const struct net *net, int box, enum kh_transport transport);
void net_set_box_line(struct net *net, int box, const struct net_line *line);
/* From now on nothing passes between these two on the internet; both none: all passes again. */
void net_set_apart(struct net *net, const struct kh_addr *a, const struct kh_addr *b);
bool net_box_passes(const struct net *net, int box, enum kh_transport transport);
int net_realm_of_box(const struct net *net, int box); /* that it stands in */
struct nat *net_nat(struct net *net, int box);        /* to rebind it or to look at it */

/* Sends from a host.  A `from` without an address is filled in: the host's first of that family.
 * What goes by TCP or TLS is a frame of a connection, which is made first if there is none, from a
 * port of the system's choice if `from` is none, from any of its addresses if only the port is
 * given: boxes must let a SYN pass, or two that cross.  Lines that lose delay it instead. */
void net_send(struct net *net, int host, const struct kh_datagram *datagram);
/* Who connects to this port of the host is let in; is_server: it never connects by itself. */
void net_listen(struct net *net, int host, uint16_t port, bool is_server);
/* The program there is gone: its connections end, as far as their other ends can be told. */
void net_drop_streams(struct net *net, int host);
void net_set_timer(struct net *net, int host, kh_time at); /* replaces the last; KH_NEVER: none */
void net_add_alarm(struct net *net, kh_time at, int alarm);

/* Moves the clock to the next event, at most to `until`.  False: nothing more up to then, and the
 * clock stands at `until`. */
bool net_next(struct net *net, kh_time until, struct net_event *out);
kh_time net_now(const struct net *net);
struct net_stats net_stats(const struct net *net);

#endif
