/* peer/peer.h - one remote member: an ICE agent that finds the path, and the channel on it.
 *
 * SPDX-License-Identifier: MIT
 *
 * DTLS is accepted only from pairs that ICE validated; the channel starts on the first valid pair
 * and follows the selected path afterwards.  A path that is lost is looked for again and again,
 * ever slower, and the channel lives on meanwhile.
 *
 * The same verbs as every machine.  Drain events before datagrams: an event may make more of them.
 */
#ifndef KH_PEER_PEER_H
#define KH_PEER_PEER_H

#include "base/datagram.h"
#include "channel/channel.h"
#include "ice/ice.h"

struct kh_peer;

struct kh_peer_config {
    bool controlling; /* the larger member id: ICE controlling and DTLS active */
    struct kh_ice_credentials local;
    const struct kh_channel_certificate *certificate; /* borrowed for the peer's life */
    uint8_t remote_fingerprint[KH_CHANNEL_FINGERPRINT_LEN];
    uint8_t seed[32];
    struct kh_log log;
};

enum kh_peer_event_kind {
    KH_PEER_EVENT_PATH,     /* path: data flows along it from now on */
    KH_PEER_EVENT_OPEN,     /* messages flow */
    KH_PEER_EVENT_MESSAGE,  /* data, len: valid until the next input */
    KH_PEER_EVENT_WRITABLE, /* after KH_ERR_FULL */
    KH_PEER_EVENT_LOST,     /* no path any more; checks go on, PATH may come again */
    KH_PEER_EVENT_CLOSED,   /* the peer said goodbye */
    KH_PEER_EVENT_FAILED,   /* the channel is dead for good: `failure` */
    KH_PEER_EVENT_RESET,    /* the other side began anew: a new channel too, OPEN comes again */
};

struct kh_peer_event {
    enum kh_peer_event_kind kind;
    struct kh_ice_path path;
    enum kh_channel_failure failure;
    const uint8_t *data;
    size_t len;
};

struct kh_peer_stats {
    struct kh_ice_stats ice;
    struct kh_channel_stats channel;
    uint64_t dropped_unvalidated; /* DTLS from an address no check vouches for */
    uint64_t dropped_pathless;    /* what the channel wanted to send while there was no path */
    uint64_t retries;             /* restarts of our own because there was no path */
};

KH_MUST_USE enum kh_status kh_peer_new(struct kh_peer **out, const struct kh_peer_config *config);
void kh_peer_free(struct kh_peer *peer);

void kh_peer_set_remote(struct kh_peer *peer, kh_time now, const struct kh_ice_credentials *remote);
KH_MUST_USE enum kh_status kh_peer_add_local(struct kh_peer *peer, kh_time now,
                                             const struct kh_ice_candidate *candidate);
KH_MUST_USE enum kh_status kh_peer_add_remote(struct kh_peer *peer, kh_time now,
                                              const struct kh_ice_candidate *candidate);
void kh_peer_remove_local(struct kh_peer *peer, kh_time now, const struct kh_addr *base);
/* The peer gave this address up. */
void kh_peer_remove_remote(struct kh_peer *peer, kh_time now, const struct kh_addr *addr);
/* What was said is not acknowledged: asks at once whether the path still works. */
/* See kh_ice_agent_reconsider. */
void kh_peer_reconsider(struct kh_peer *peer, kh_time now);
void kh_peer_doubt(struct kh_peer *peer, kh_time now);
/* Checks all pairs again; local may be NULL to keep our credentials. */
void kh_peer_restart(struct kh_peer *peer, kh_time now, const struct kh_ice_credentials *local);
KH_MUST_USE enum kh_status kh_peer_send(struct kh_peer *peer, kh_time now, const uint8_t *data,
                                        size_t len);
void kh_peer_close(struct kh_peer *peer, kh_time now);

/* See kh_ice_agent_probe and kh_ice_agent_set_spare. */
bool kh_peer_probe(struct kh_peer *peer, kh_time now, const struct kh_datagram *way);
void kh_peer_set_spare(struct kh_peer *peer, kh_time now, const struct kh_addr *base);

/* False if it is neither STUN for our agent nor DTLS from one of our valid pairs. */
bool kh_peer_handle_datagram(struct kh_peer *peer, kh_time now, const struct kh_datagram *datagram);
/* The TCP connection of these two addresses ended, or could not be made. */
void kh_peer_handle_lost(struct kh_peer *peer, kh_time now, const struct kh_addr *local,
                         const struct kh_addr *remote);
void kh_peer_handle_timeout(struct kh_peer *peer, kh_time now);
bool kh_peer_next_transmit(struct kh_peer *peer, struct kh_datagram *out);
bool kh_peer_next_event(struct kh_peer *peer, struct kh_peer_event *out);
kh_time kh_peer_timeout(const struct kh_peer *peer);

bool kh_peer_is_open(const struct kh_peer *peer);
bool kh_peer_is_suspect(const struct kh_peer *peer); /* its path leaves checks unanswered */
/* See kh_ice_agent_is_at. */
bool kh_peer_is_at(const struct kh_peer *peer, const struct kh_addr *ip);
/* The path in use; NULL while there is none. */
const struct kh_ice_path *kh_peer_path(const struct kh_peer *peer);
/* Bytes accepted by send that the far side has not acknowledged yet. */
size_t kh_peer_unacknowledged(const struct kh_peer *peer);
struct kh_peer_stats kh_peer_stats(const struct kh_peer *peer);

#endif
