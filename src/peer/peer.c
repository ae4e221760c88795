/* peer/peer.c - joins one ICE agent and one channel: a path, and what travels on it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "peer/peer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/outbox.h"

#define OUTBOX_MAX 16 /* a handshake flight, twice: what the channel says while it is fed again */
#define HEARD_MAX 8   /* addresses of authentic checks; more than a peer tries at one moment */
#define HELD_MAX 4    /* one DTLS flight of the active side, and a repeated one */
#define HELD_LEN_MAX 1500
#define HELD_FOR                                                                                   \
    KH_SECONDS(1) /* DTLS repeats a lost flight after that anyway (RFC 6347 4.2.4.1)               \
                   */
#define SEEK_FIRST KH_SECONDS(8) /* checks have backed off to seconds by then: begin them anew */
#define LOST_FIRST KH_SECONDS(1)
#define RETRY_MAX KH_SECONDS(30)
#define RETRY_SOON KH_MILLISECONDS(20)
/* What the peer says makes us look again at once: so often, and then once a minute.  It may say
 * without end that it is where others are. */
#define NEWS_MAX 8
#define NEWS_PERIOD KH_SECONDS(60)
#define PATHLESS_TICK KH_SECONDS(1) /* nothing the channel sends can arrive: it need not hurry */

enum path_state {
    PATH_NONE,    /* no remote credentials yet */
    PATH_SEEKING, /* never had one */
    PATH_UP,
    PATH_LOST, /* the owner knows; looking again */
};

/* A way a datagram came: `from` the peer's address `to` ours. */
struct way {
    struct kh_addr from;
    struct kh_addr to;
};

struct held {
    kh_time until; /* 0: free */
    struct way way;
    size_t len;
    uint8_t data[HELD_LEN_MAX];
};

struct kh_peer {
    struct kh_ice_agent *agent;
    struct kh_channel *channel;
    struct kh_channel_config channel_config; /* of the next one; its seed is drawn anew */
    struct kh_rng rng;
    uint64_t instance; /* which agent of the other side our channel belongs to; 0: none heard */
    struct kh_outbox outbox; /* what the channel said before its latest input */
    kh_time now;             /* of the latest input: events are pulled without a time */
    enum path_state state;
    struct kh_ice_path path; /* while PATH_UP */
    kh_time retry_at;        /* KH_NEVER while PATH_NONE and PATH_UP */
    kh_duration backoff;
    bool start_due;     /* a path appeared or changed, and the channel does not know yet */
    bool lost_due;      /* an event to give */
    bool reset_due;     /* another */
    kh_time news_until; /* see NEWS_PERIOD */
    bool recheck_due;   /* the next timeout checks all pairs again */
    bool started;       /* the channel was told of a path */
    bool channel_over;  /* closed or failed */
    struct way heard[HEARD_MAX];
    size_t heard_next;
    struct held held[HELD_MAX];
    size_t held_count;
    uint64_t dropped_unvalidated;
    uint64_t dropped_pathless;
    uint64_t retries;
    struct kh_log log;
};

static const char *path_state_name(enum path_state state)
{
    static const char *const names[] = {"none", "seeking", "up", "lost"};

    assert(state <= PATH_LOST);
    return names[state];
}

static void enter(struct kh_peer *peer, enum path_state state)
{
    if (state == peer->state)
        return;
    kh_log_line(&peer->log, KH_LOG_INFO, "peer path %s→%s", path_state_name(peer->state),
                path_state_name(state));
    peer->state = state;
    switch (state) {
    case PATH_NONE:
    case PATH_UP:
        peer->retry_at = KH_NEVER;
        return;
    case PATH_SEEKING:
        peer->backoff = SEEK_FIRST;
        break;
    case PATH_LOST:
        peer->backoff = LOST_FIRST;
        break;
    }
    peer->retry_at = kh_time_add(peer->now, peer->backoff);
}

static void begin_input(struct kh_peer *peer, kh_time now)
{
    assert(kh_outbox_is_empty(&peer->outbox));
    assert(!peer->start_due && !peer->lost_due && !peer->reset_due);
    peer->now = now;
}

/* ---- life ---- */

static enum kh_status make_channel(struct kh_peer *peer, struct kh_channel **out)
{
    kh_rng_bytes(&peer->rng, peer->channel_config.seed, sizeof peer->channel_config.seed);
    return kh_channel_new(out, &peer->channel_config);
}

enum kh_status kh_peer_new(struct kh_peer **out, const struct kh_peer_config *config)
{
    struct kh_ice_config ice = {
        .role = config->controlling ? KH_ICE_CONTROLLING : KH_ICE_CONTROLLED,
        .local = config->local,
        .log = config->log,
    };
    struct kh_peer *peer = calloc(1, sizeof *peer);
    enum kh_status status;

    if (peer == NULL)
        return KH_ERR_MEMORY;
    peer->log = config->log;
    peer->retry_at = KH_NEVER;
    peer->channel_config = (struct kh_channel_config){
        .role = config->controlling ? KH_CHANNEL_ACTIVE : KH_CHANNEL_PASSIVE,
        .certificate = config->certificate,
        .log = config->log,
    };
    memcpy(peer->channel_config.remote_fingerprint, config->remote_fingerprint,
           sizeof config->remote_fingerprint);
    kh_rng_init(&peer->rng, config->seed);
    kh_rng_bytes(&peer->rng, ice.seed, sizeof ice.seed);
    status = kh_outbox_init(&peer->outbox, OUTBOX_MAX, KH_DATAGRAM_MAX);
    if (status == KH_OK)
        status = kh_ice_agent_new(&peer->agent, &ice);
    if (status == KH_OK)
        status = make_channel(peer, &peer->channel);
    kh_wipe(&ice, sizeof ice);
    if (status == KH_OK)
        *out = peer;
    else
        kh_peer_free(peer);
    return status;
}

void kh_peer_free(struct kh_peer *peer)
{
    if (peer == NULL)
        return;
    kh_channel_free(peer->channel);
    kh_ice_agent_free(peer->agent);
    kh_outbox_fini(&peer->outbox);
    kh_rng_fini(&peer->rng);
    kh_wipe(peer, sizeof *peer);
    free(peer);
}

/* ---- path ---- */

/* Brings the next retry forward: something changed that may make a path possible. */
static void retry_soon(struct kh_peer *peer)
{
    if (peer->state != PATH_LOST)
        return;
    peer->backoff = LOST_FIRST;
    peer->retry_at = kh_time_min(peer->retry_at, kh_time_add(peer->now, RETRY_SOON));
}

/* The same for what the peer says changed; but after that we go on as before. */
static void retry_for_news(struct kh_peer *peer)
{
    kh_time soon = kh_time_add(peer->now, RETRY_SOON);
    kh_time from = peer->news_until > peer->now ? peer->news_until : peer->now;

    if (peer->state != PATH_LOST || peer->retry_at <= soon ||
        kh_time_since(from, peer->now) >= NEWS_MAX * NEWS_PERIOD)
        return;
    peer->news_until = kh_time_add(from, NEWS_PERIOD);
    peer->retry_at = soon;
}

void kh_peer_set_remote(struct kh_peer *peer, kh_time now, const struct kh_ice_credentials *remote)
{
    begin_input(peer, now);
    kh_ice_agent_set_remote(peer->agent, now, remote);
    if (peer->state == PATH_NONE)
        enter(peer, PATH_SEEKING);
    retry_for_news(peer);
}

enum kh_status kh_peer_add_local(struct kh_peer *peer, kh_time now,
                                 const struct kh_ice_candidate *candidate)
{
    begin_input(peer, now);
    retry_soon(peer);
    return kh_ice_agent_add_local(peer->agent, now, candidate);
}

enum kh_status kh_peer_add_remote(struct kh_peer *peer, kh_time now,
                                  const struct kh_ice_candidate *candidate)
{
    begin_input(peer, now);
    retry_for_news(peer);
    return kh_ice_agent_add_remote(peer->agent, now, candidate);
}

void kh_peer_remove_local(struct kh_peer *peer, kh_time now, const struct kh_addr *base)
{
    begin_input(peer, now);
    kh_ice_agent_remove_local(peer->agent, now, base);
}

void kh_peer_remove_remote(struct kh_peer *peer, kh_time now, const struct kh_addr *addr)
{
    begin_input(peer, now);
    kh_ice_agent_remove_remote(peer->agent, now, addr);
}

void kh_peer_reconsider(struct kh_peer *peer, kh_time now)
{
    begin_input(peer, now);
    kh_ice_agent_reconsider(peer->agent, now);
}

void kh_peer_doubt(struct kh_peer *peer, kh_time now)
{
    begin_input(peer, now);
    kh_ice_agent_doubt(peer->agent, now);
}

void kh_peer_restart(struct kh_peer *peer, kh_time now, const struct kh_ice_credentials *local)
{
    begin_input(peer, now);
    kh_ice_agent_restart(peer->agent, now, local);
}

/* Begins the checks anew; a network that came back is noticed no later than the backoff. */
static void retry(struct kh_peer *peer)
{
    if (peer->state == PATH_SEEKING && peer->backoff > SEEK_FIRST) {
        /* The second fruitless round: the owner should hear that there is no way at present. */
        enter(peer, PATH_LOST);
        peer->lost_due = true;
    }
    peer->retries++;
    peer->backoff = kh_time_min(peer->backoff * 2, RETRY_MAX);
    peer->retry_at = kh_time_add(peer->now, peer->backoff);
    kh_ice_agent_restart(peer->agent, peer->now, NULL);
}

/* Returns true if data flows another way than before. */
static bool take_path(struct kh_peer *peer, const struct kh_ice_path *path)
{
    bool same = peer->state == PATH_UP && kh_addr_equal(&path->local, &peer->path.local) &&
                kh_addr_equal(&path->remote, &peer->path.remote);

    peer->path = *path;
    if (same)
        return false;
    enter(peer, PATH_UP);
    peer->start_due = true;
    return true;
}

/* ---- the channel's datagrams ---- */

static bool is_same_way(const struct way *way, const struct kh_datagram *datagram)
{
    return kh_addr_equal(&way->from, &datagram->from) && kh_addr_equal(&way->to, &datagram->to);
}

static bool is_heard(const struct kh_peer *peer, const struct kh_datagram *datagram)
{
    for (size_t i = 0; i < HEARD_MAX; i++)
        if (is_same_way(&peer->heard[i], datagram))
            return true;
    return false;
}

static void hear(struct kh_peer *peer, const struct kh_datagram *datagram)
{
    if (is_heard(peer, datagram))
        return;
    peer->heard[peer->heard_next] = (struct way){datagram->from, datagram->to};
    peer->heard_next = (peer->heard_next + 1) % HEARD_MAX;
}

static void release(struct kh_peer *peer, struct held *held)
{
    assert(held->until != 0 && peer->held_count > 0);
    held->until = 0;
    peer->held_count--;
}

/* Keeps a datagram until our own check of its way is answered: the peer's check was answered first,
 * so its handshake may be one round trip ahead of us. */
static bool hold(struct kh_peer *peer, const struct kh_datagram *datagram)
{
    if (datagram->len > HELD_LEN_MAX || !is_heard(peer, datagram))
        return false;
    for (size_t i = 0; i < HELD_MAX; i++) {
        struct held *held = &peer->held[i];

        if (held->until != 0 && held->until > peer->now)
            continue;
        if (held->until != 0) {
            release(peer, held);
            peer->dropped_unvalidated++;
        }
        held->until = kh_time_add(peer->now, HELD_FOR);
        held->way = (struct way){datagram->from, datagram->to};
        held->len = datagram->len;
        memcpy(held->data, datagram->data, datagram->len);
        peer->held_count++;
        return true;
    }
    return false;
}

/* Moves what the channel wants to send out of the way of its next input. */
static void stash_channel(struct kh_peer *peer)
{
    struct kh_datagram datagram = {.from = peer->path.local, .to = peer->path.remote};

    while (kh_channel_next_transmit(peer->channel, &datagram.data, &datagram.len)) {
        if (peer->state == PATH_UP)
            kh_outbox_push(&peer->outbox, &datagram);
        else
            peer->dropped_pathless++;
    }
}

/* Gives the channel one input that waits for it; false if none does. */
static bool feed_channel(struct kh_peer *peer)
{
    if (peer->start_due) {
        peer->start_due = false;
        if (peer->channel_over)
            return true;
        stash_channel(peer);
        peer->started = true;
        kh_channel_start(peer->channel, peer->now);
        return true;
    }
    for (size_t i = 0; i < HELD_MAX && peer->held_count > 0; i++) {
        struct held *held = &peer->held[i];
        bool is_late;

        if (held->until == 0 || peer->channel_over ||
            !kh_ice_agent_is_valid(peer->agent, &held->way.to, &held->way.from))
            continue;
        is_late = held->until <= peer->now;
        release(peer, held);
        if (is_late)
            continue;
        stash_channel(peer);
        kh_channel_handle_datagram(peer->channel, peer->now, held->data, held->len);
        return true;
    }
    return false;
}

/* ---- inputs ---- */

/* The other side lost its memory (it slept too long, or gave its channel up): what we would send on
 * this channel it could not read, and DTLS has no way to say so that a stranger could not say too.
 * Its authentic check says it (RFC 8445 16.1: a tie-breaker stays for the session). */
static void follow_instance(struct kh_peer *peer)
{
    uint64_t instance = kh_ice_agent_remote_instance(peer->agent);
    bool is_other = peer->instance != 0 && instance != peer->instance;
    struct kh_channel *channel;

    peer->instance = instance;
    if (!is_other || !peer->started || peer->channel_over)
        return;
    if (make_channel(peer, &channel) != KH_OK)
        return; /* the old one fails by itself in the end */
    kh_log_line(&peer->log, KH_LOG_INFO, "peer began anew");
    kh_channel_free(peer->channel);
    peer->channel = channel;
    peer->started = false;
    peer->reset_due = true;
    peer->recheck_due = true; /* it knows no path either, and nobody nominated one to it */
    peer->start_due = peer->state == PATH_UP;
}

/* RFC 7983 7: what is neither STUN nor anything else on this socket. */
static bool is_dtls(const struct kh_datagram *datagram)
{
    return datagram->len > 0 && datagram->data[0] >= 20 && datagram->data[0] <= 63;
}

bool kh_peer_handle_datagram(struct kh_peer *peer, kh_time now, const struct kh_datagram *datagram)
{
    uint64_t authentic;

    begin_input(peer, now);
    authentic = kh_ice_agent_stats(peer->agent).requests_received;
    if (kh_ice_agent_handle_datagram(peer->agent, now, datagram)) {
        if (kh_ice_agent_stats(peer->agent).requests_received != authentic) {
            hear(peer, datagram);
            follow_instance(peer);
        }
        return true;
    }
    if (!is_dtls(datagram))
        return false;
    if (!kh_ice_agent_is_valid(peer->agent, &datagram->to, &datagram->from)) {
        if (hold(peer, datagram))
            return true;
        peer->dropped_unvalidated++;
        return false;
    }
    if (!peer->channel_over)
        kh_channel_handle_datagram(peer->channel, now, datagram->data, datagram->len);
    return true;
}

void kh_peer_handle_lost(struct kh_peer *peer, kh_time now, const struct kh_addr *local,
                         const struct kh_addr *remote)
{
    begin_input(peer, now);
    kh_ice_agent_handle_lost(peer->agent, now, local, remote);
}

void kh_peer_handle_timeout(struct kh_peer *peer, kh_time now)
{
    begin_input(peer, now);
    if (peer->retry_at <= now) {
        retry(peer);
    } else if (peer->recheck_due) {
        peer->recheck_due = false;
        kh_ice_agent_restart(peer->agent, now, NULL);
    } else if (kh_ice_agent_timeout(peer->agent) <= now) {
        kh_ice_agent_handle_timeout(peer->agent, now);
    }
    if (!peer->channel_over && kh_channel_timeout(peer->channel) <= now)
        kh_channel_handle_timeout(peer->channel, now);
}

bool kh_peer_probe(struct kh_peer *peer, kh_time now, const struct kh_datagram *way)
{
    begin_input(peer, now);
    return kh_ice_agent_probe(peer->agent, now, way);
}

void kh_peer_set_spare(struct kh_peer *peer, kh_time now, const struct kh_addr *base)
{
    begin_input(peer, now);
    kh_ice_agent_set_spare(peer->agent, now, base);
}

enum kh_status kh_peer_send(struct kh_peer *peer, kh_time now, const uint8_t *data, size_t len)
{
    begin_input(peer, now);
    if (peer->channel_over)
        return KH_ERR_FULL;
    return kh_channel_send(peer->channel, now, data, len);
}

void kh_peer_close(struct kh_peer *peer, kh_time now)
{
    begin_input(peer, now);
    if (!peer->channel_over)
        kh_channel_close(peer->channel, now);
}

/* ---- outputs ---- */

static bool next_channel_event(struct kh_peer *peer, struct kh_peer_event *out)
{
    static const enum kh_peer_event_kind kinds[] = {
        [KH_CHANNEL_EVENT_OPEN] = KH_PEER_EVENT_OPEN,
        [KH_CHANNEL_EVENT_MESSAGE] = KH_PEER_EVENT_MESSAGE,
        [KH_CHANNEL_EVENT_WRITABLE] = KH_PEER_EVENT_WRITABLE,
        [KH_CHANNEL_EVENT_CLOSED] = KH_PEER_EVENT_CLOSED,
        [KH_CHANNEL_EVENT_FAILED] = KH_PEER_EVENT_FAILED,
    };
    struct kh_channel_event event;

    if (!kh_channel_next_event(peer->channel, &event))
        return false;
    if (event.kind == KH_CHANNEL_EVENT_CLOSED || event.kind == KH_CHANNEL_EVENT_FAILED)
        peer->channel_over = true;
    *out = (struct kh_peer_event){
        .kind = kinds[event.kind], .failure = event.failure, .data = event.data, .len = event.len};
    return true;
}

/* An agent that had a path and checks again has lost it: its interface went away. */
static bool is_loss(const struct kh_peer *peer, enum kh_ice_state state)
{
    return (state == KH_ICE_FAILED && peer->state != PATH_LOST) ||
           (state == KH_ICE_CHECKING && peer->state == PATH_UP);
}

/* Takes one event of the agent; true if it is one for our owner too. */
static bool take_agent_event(struct kh_peer *peer, const struct kh_ice_event *event,
                             struct kh_peer_event *out)
{
    bool is_news = false;

    switch (event->kind) {
    case KH_ICE_EVENT_PATH:
        is_news = take_path(peer, &event->path);
        break;
    case KH_ICE_EVENT_VALID:
        /* Data may go along any valid pair while none is selected (RFC 8445 12.1). */
        is_news = peer->state != PATH_UP && take_path(peer, &event->path);
        break;
    case KH_ICE_EVENT_STATE:
        if (!is_loss(peer, event->state))
            break;
        enter(peer, PATH_LOST);
        *out = (struct kh_peer_event){.kind = KH_PEER_EVENT_LOST};
        return true;
    }
    if (is_news)
        *out = (struct kh_peer_event){.kind = KH_PEER_EVENT_PATH, .path = peer->path};
    return is_news;
}

static bool next_path_event(struct kh_peer *peer, struct kh_peer_event *out)
{
    struct kh_ice_event event;

    if (peer->reset_due) {
        peer->reset_due = false;
        *out = (struct kh_peer_event){.kind = KH_PEER_EVENT_RESET};
        return true;
    }
    if (peer->lost_due) {
        peer->lost_due = false;
        *out = (struct kh_peer_event){.kind = KH_PEER_EVENT_LOST};
        return true;
    }
    while (kh_ice_agent_next_event(peer->agent, &event))
        if (take_agent_event(peer, &event, out))
            return true;
    return false;
}

bool kh_peer_next_event(struct kh_peer *peer, struct kh_peer_event *out)
{
    do {
        if (next_channel_event(peer, out) || next_path_event(peer, out))
            return true;
    } while (feed_channel(peer));
    return false;
}

bool kh_peer_next_transmit(struct kh_peer *peer, struct kh_datagram *out)
{
    if (kh_outbox_next(&peer->outbox, out) || kh_ice_agent_next_transmit(peer->agent, out))
        return true;
    *out = (struct kh_datagram){.from = peer->path.local, .to = peer->path.remote};
    while (kh_channel_next_transmit(peer->channel, &out->data, &out->len)) {
        if (peer->state == PATH_UP)
            return true;
        peer->dropped_pathless++;
    }
    return false;
}

kh_time kh_peer_timeout(const struct kh_peer *peer)
{
    kh_time timeout = kh_time_min(peer->retry_at, kh_ice_agent_timeout(peer->agent));
    kh_time channel;

    if (peer->recheck_due)
        return peer->now;
    if (peer->channel_over)
        return timeout;
    channel = kh_channel_timeout(peer->channel);
    if (peer->state != PATH_UP && channel < kh_time_add(peer->now, PATHLESS_TICK))
        channel = kh_time_add(peer->now, PATHLESS_TICK);
    return kh_time_min(timeout, channel);
}

/* ---- looking in ---- */

bool kh_peer_is_open(const struct kh_peer *peer)
{
    return !peer->channel_over && kh_channel_is_open(peer->channel);
}

bool kh_peer_is_suspect(const struct kh_peer *peer)
{
    return kh_ice_agent_is_suspect(peer->agent);
}

bool kh_peer_is_at(const struct kh_peer *peer, const struct kh_addr *ip)
{
    return kh_ice_agent_is_at(peer->agent, ip);
}

const struct kh_ice_path *kh_peer_path(const struct kh_peer *peer)
{
    return peer->state == PATH_UP ? &peer->path : NULL;
}

size_t kh_peer_unacknowledged(const struct kh_peer *peer)
{
    return kh_channel_unacknowledged(peer->channel);
}

struct kh_peer_stats kh_peer_stats(const struct kh_peer *peer)
{
    return (struct kh_peer_stats){
        .ice = kh_ice_agent_stats(peer->agent),
        .channel = kh_channel_stats(peer->channel),
        .dropped_unvalidated = peer->dropped_unvalidated,
        .dropped_pathless = peer->dropped_pathless,
        .retries = peer->retries,
    };
}
