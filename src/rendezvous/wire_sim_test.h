/* rendezvous/wire_sim_test.h - for tests: a registry, clients, and a wire between them in virtual
 * time.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every datagram is delayed, and may be lost, doubled or overtaken; the same seed gives the same
 * run.  All that was sent can be captured and played again.
 */
#ifndef KH_RENDEZVOUS_WIRE_SIM_H
#define KH_RENDEZVOUS_WIRE_SIM_H

#include "rendezvous/rendezvous.h"

#define SIM_HOSTS_MAX 64
#define SIM_SIGNALS_MAX 16
#define SIM_PACKETS_MAX 8192
#define SIM_CAPTURED_MAX 4096

/* What one client has been told. */
struct sim_member {
    struct kh_rendezvous_member_id id;
    struct kh_addr public;
    char card[32];
    bool gone;
};

struct sim_host {
    struct kh_rendezvous_client *client; /* owned */
    struct kh_addr addr[2];              /* as the server sees us: IPv4, IPv6; TCP alike */
    struct kh_rendezvous_member_id id;
    unsigned joined, mapped, left, unreachable, lost, member_events, gone_events;
    unsigned back_events; /* MEMBER, is_back */
    unsigned refused;     /* code */
    uint64_t lost_token;
    kh_time joined_at;
    struct kh_addr mapped_addr;
    struct kh_addr other; /* place of the server */
    struct kh_rendezvous_ticket ticket;
    struct sim_member members[SIM_HOSTS_MAX * 2];
    size_t member_count;
    char signals[SIM_SIGNALS_MAX][32];
    struct kh_rendezvous_member_id signal_from[SIM_SIGNALS_MAX];
    kh_time signal_at[SIM_SIGNALS_MAX];
    size_t signal_count;
};

struct sim_packet {
    bool used;
    kh_time at;
    struct kh_addr from, to;
    uint8_t data[KH_DATAGRAM_MAX];
    size_t len;
};

struct sim {
    struct kh_rendezvous_registry *registry; /* owned; NULL: the server is down */
    struct kh_addr servers[2];               /* TCP alike */
    struct kh_secret room_seed;
    struct sim_host hosts[SIM_HOSTS_MAX];
    size_t host_count;
    kh_time now;
    struct kh_rng rng;
    kh_duration delay, jitter; /* one way */
    unsigned loss, doubling;   /* per cent */
    bool ipv4_down;
    bool udp_down;
    bool tcp_down;
    bool udp_up_only;            /* it passes towards the server, nothing comes back */
    struct sim_packet *packets;  /* owned */
    struct sim_packet *captured; /* owned; towards the server */
    size_t captured_count;
    bool capturing;
    struct kh_rendezvous_registry_config registry_config;
    uint64_t to_server, to_clients; /* datagrams sent */
    uint64_t amplified;             /* answers longer than a question of someone unproven */
};

void sim_init(struct sim *sim, uint8_t seed);
void sim_fini(struct sim *sim);
void sim_start_server(struct sim *sim, uint8_t seed);
void sim_stop_server(struct sim *sim);

/* Adds a client, not joined yet; `ticket` may be NULL. */
struct sim_host *sim_add(struct sim *sim, const struct kh_rendezvous_ticket *ticket);
struct sim_host *sim_add_config(struct sim *sim, struct kh_rendezvous_client_config *config);
void sim_join(struct sim *sim, struct sim_host *host, const char *card, const char *early);
void sim_card(struct sim *sim, struct sim_host *host, const char *card);
void sim_say(struct sim *sim, struct sim_host *from, const struct sim_host *to, const char *text,
             uint64_t token);
void sim_leave(struct sim *sim, struct sim_host *host);
void sim_probe(struct sim *sim, struct sim_host *host);
void sim_doubt(struct sim *sim, struct sim_host *host);
void sim_attend(struct sim *sim, struct sim_host *host, bool attentive);
/* Gives these bytes to the server as if they came from there, and drains it. */
void sim_inject(struct sim *sim, const struct kh_addr *from, const struct kh_addr *to,
                struct kh_span data);

void sim_run(struct sim *sim, kh_duration duration);
bool sim_run_until(struct sim *sim, bool (*done)(struct sim *), kh_duration limit);

/* What `host` knows of `other`; NULL: nothing. */
const struct sim_member *sim_known(const struct sim_host *host, const struct sim_host *other);
/* Does `host` know that `other` is present, with this card? */
bool sim_sees(const struct sim_host *host, const struct sim_host *other, const char *card);
struct kh_rendezvous_registry_stats sim_stats(const struct sim *sim);

#endif
