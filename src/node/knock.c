/* node/knock.c - one punch: sockets, a sample, a word to the peer, and what is sent.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <assert.h>
#include <string.h>

#define SIGNALS_WAITING_MAX 128 /* as for the room's own signals */
#define SAMPLE_FOR KH_SECONDS(2)
#define MEET_WITHIN KH_MILLISECONDS(1500) /* there and back by the server, with a repetition */
#define WORD_FRESH_FOR KH_SECONDS(1)      /* then the peer's NAT has moved on */
#define SAY_AGAIN KH_MILLISECONDS(150)    /* then after double the time, and so on */
#define TIMES_SAID_MAX 5                  /* to 2.25 s: a third of all signals may be lost */
#define KEEP_IDLE KH_SECONDS(10)          /* what won a punch, after the path left it */
#define REST_AFTER_CHANCE KH_SECONDS(1)
#define REST_AFTER_SKILL KH_MILLISECONDS(100)

static size_t sockets_of(const struct kh_punch_plan *plan)
{
    bool has_sample = plan->role == KH_PUNCH_HOLD && plan->aim == KH_PUNCH_FORETOLD;

    return plan->sockets + (has_sample ? 1 : 0);
}

void kh_node_knock_begin(struct kh_node *node, struct kh_node_neighbour *neighbour,
                         const struct kh_punch_plan *plan, const struct kh_addr *target)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_addr mapped;
    bool has_place = kh_node_own_place(node, &punch->base, &mapped);

    assert(punch->phase == PUNCH_RESTS && has_place);
    punch->with = neighbour->id;
    punch->plan = *plan;
    punch->target = *target;
    punch->socket_count = 0;
    punch->is_wished = false;
    punch->sampled_port = 0;
    punch->say_at = KH_NEVER;
    punch->direct_since = 0;
    punch->stats.begun++;
    kh_log_line(&node->log, KH_LOG_INFO, "node %s %02x%02x", kh_punch_role_name(plan->role),
                neighbour->id.bytes[0], neighbour->id.bytes[1]);
    if (plan->role != KH_PUNCH_PROBE) {
        punch->phase = PUNCH_WISHES;
        return;
    }
    /* The same ports each time: our NAT has their mappings already, while the holder's are new. */
    if (neighbour->punch.walk == 0)
        neighbour->punch.walk = kh_rng_u64(&node->rng);
    kh_punch_probe(&punch->machine, node->now, plan, &neighbour->punch.asked,
                   neighbour->punch.walk);
    neighbour->punch.asked_at = 0;
    punch->phase = PUNCH_RUNS;
}

/* ---- what is told to the peer ---- */

static bool say(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_node_punch *punch = &node->punch;
    uint8_t body[KH_PUNCH_MESSAGE_MAX];
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    size_t len;
    struct kh_room_transmit transmit = {.to = neighbour->id, .via = KH_ROOM_SIGNAL, .data = sealed};

    if (punch->say_at > node->now)
        return false;
    punch->say_at = KH_NEVER;
    if (++punch->times_said < TIMES_SAID_MAX)
        punch->say_at = kh_time_add(node->now, SAY_AGAIN << (punch->times_said - 1));
    len = kh_punch_message_write(&punch->word, body);
    transmit.len =
        kh_room_seal_punch(node->room, &neighbour->id, (struct kh_span){body, len}, sealed);
    if (!kh_node_mail_put(&node->mail, SIGNALS_WAITING_MAX, &transmit))
        node->frames_refused++;
    kh_node_prove_place(node, neighbour);
    return true;
}

static void begin_to_say(struct kh_node *node, const struct kh_punch_message *word)
{
    node->punch.word = *word;
    node->punch.times_said = 0;
    node->punch.say_at = node->now;
}

/* The mappings we expect next, seeing which one a fresh socket got.  Where inside ports are kept,
 * or shifted all alike, so are those of the other sockets. */
static void foretell(const struct kh_node *node, struct kh_punch_message *out)
{
    const struct kh_node_punch *punch = &node->punch;
    const uint16_t *ours = &punch->sockets[punch->first];
    int shift = (int)punch->sampled_port - (int)punch->sockets[0];
    bool is_kept = shift == 0 || node->nat.ports == KH_NAT_PORTS_PRESERVED;
    int16_t step = node->nat.stride != 0 ? node->nat.stride : 1;

    if (punch->plan.role == KH_PUNCH_MEET) {
        out->port_count = KH_PUNCH_PORTS_MAX;
        out->step = is_kept ? 1 : step;
        if (is_kept) /* the first one is kept, the next ones are the next free */
            kh_punch_foretell((uint16_t)(ours[0] + shift - 1), 1, out->ports, out->port_count);
        else
            kh_punch_foretell(punch->sampled_port, step, out->ports, out->port_count);
        return;
    }
    out->port_count = punch->socket_count - punch->first;
    out->step = is_kept ? 0 : step;
    kh_punch_foretell(punch->sampled_port, step, out->ports, out->port_count);
    for (size_t i = 0; is_kept && i < out->port_count; i++)
        out->ports[i] = (uint16_t)(ours[i] + shift);
}

/* ---- the sample ---- */

/* Leaves before anything else does, so that the mappings made next are the next ones. */
static void ask_for_sample(struct kh_node *node)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_datagram way = {.from = punch->base, .to = punch->server};

    way.from.port = punch->sockets[0];
    kh_node_ask_mapped(node, &punch->sample, NULL, way);
    punch->wait_until = kh_time_add(node->now, SAMPLE_FOR);
}

static bool send_sample(struct kh_node *node)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_datagram request;

    if (kh_stun_transaction_timeout(&punch->sample) <= node->now)
        kh_stun_transaction_handle_timeout(&punch->sample, node->now);
    if (!kh_stun_transaction_next_transmit(&punch->sample, &request))
        return false;
    kh_outbox_push(&node->outbox, &request);
    return true;
}

bool kh_node_knock_handle_datagram(struct kh_node *node, const struct kh_datagram *datagram)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_stun_message message;
    struct kh_addr mapped;

    if (punch->phase != PUNCH_SAMPLES ||
        kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK ||
        !kh_stun_transaction_matches(&punch->sample, datagram, &message))
        return false;
    kh_stun_transaction_end(&punch->sample);
    if (message.class == KH_STUN_SUCCESS &&
        kh_stun_find_addr(&message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped))
        punch->sampled_port = mapped.port;
    return true;
}

/* ---- phases ---- */

static bool step_wish(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    static const struct kh_punch_message held = {.word = KH_PUNCH_WORD_HOLD};
    struct kh_node_punch *punch = &node->punch;
    const struct kh_punch_plan *plan = &punch->plan;
    bool samples = plan->role == KH_PUNCH_MEET || plan->aim == KH_PUNCH_FORETOLD;

    if (!punch->is_wished) {
        punch->is_wished = kh_node_sockets_want(node, KH_NODE_FOR_PUNCH, sockets_of(plan));
        return punch->is_wished;
    }
    if (!kh_node_sockets_take(node, KH_NODE_FOR_PUNCH, punch->sockets, &punch->socket_count))
        return false;
    punch->first = samples ? 1 : 0;
    punch->phase = samples ? PUNCH_SAMPLES : PUNCH_RUNS;
    if (punch->socket_count <= punch->first || (samples && kh_addr_is_none(&punch->server))) {
        punch->phase = PUNCH_WAITS; /* for nothing: the system gave us too few */
        punch->wait_until = node->now;
        return true;
    }
    kh_node_stash_peer(node, neighbour->peer);
    kh_peer_set_spare(neighbour->peer, node->now, &punch->base);
    if (samples)
        ask_for_sample(node);
    if (plan->role == KH_PUNCH_HOLD)
        kh_punch_open(&punch->machine, node->now, plan, punch->socket_count - punch->first);
    if (!samples)
        begin_to_say(node, &held);
    return true;
}

static bool step_sample(struct kh_node *node)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_punch_message message = {.word = KH_PUNCH_WORD_HOLD};

    if (punch->sampled_port == 0)
        return false;
    if (punch->plan.role == KH_PUNCH_MEET)
        message.word = KH_PUNCH_WORD_MEET;
    foretell(node, &message);
    begin_to_say(node, &message);
    punch->phase = punch->plan.role == KH_PUNCH_MEET ? PUNCH_WAITS : PUNCH_RUNS;
    punch->wait_until = kh_time_add(node->now, MEET_WITHIN);
    return true;
}

static bool step_wait(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_node_punch_view *view = &neighbour->punch;

    if (view->asked_at == 0 || view->asked.word != KH_PUNCH_WORD_MEET ||
        kh_time_since(node->now, view->asked_at) > WORD_FRESH_FOR)
        return false;
    kh_punch_meet(&punch->machine, node->now, &view->asked);
    view->asked_at = 0;
    punch->phase = PUNCH_RUNS;
    return true;
}

static bool shoot(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_node_punch *punch = &node->punch;
    struct kh_datagram way = {.from = punch->base, .to = punch->target};
    struct kh_punch_shot shot;

    if (!kh_punch_next_shot(&punch->machine, node->now, &shot))
        return false;
    if (shot.socket != KH_PUNCH_MAIN) {
        assert(punch->first + shot.socket < punch->socket_count);
        way.from.port = punch->sockets[punch->first + shot.socket];
    }
    if (shot.port != 0)
        way.to.port = shot.port;
    way.ttl = shot.ttl;
    if (shot.port != 0)
        punch->stats.probes++;
    else
        punch->stats.openers++;
    if (punch->paid_until < node->now)
        punch->paid_until = node->now;
    punch->paid_until = kh_time_add(punch->paid_until, KH_NODE_PUNCH_COST);
    kh_node_stash_peer(node, neighbour->peer);
    (void)kh_peer_probe(neighbour->peer, node->now, &way);
    return true;
}

bool kh_node_knock_is_waiting_for_sockets(const struct kh_node *node)
{
    return node->punch.phase == PUNCH_WISHES && node->punch.is_wished && !node->sockets.is_answered;
}

bool kh_node_knock_step(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    switch (node->punch.phase) {
    case PUNCH_RESTS:
        break;
    case PUNCH_WISHES:
        return step_wish(node, neighbour);
    case PUNCH_SAMPLES:
        return send_sample(node) || shoot(node, neighbour) || step_sample(node);
    case PUNCH_WAITS:
        return say(node, neighbour) || step_wait(node, neighbour);
    case PUNCH_RUNS:
        return say(node, neighbour) || shoot(node, neighbour);
    }
    return false;
}

bool kh_node_knock_is_over(const struct kh_node *node)
{
    const struct kh_node_punch *punch = &node->punch;

    if (punch->phase == PUNCH_RUNS)
        return kh_punch_is_over(&punch->machine, node->now);
    return (punch->phase == PUNCH_SAMPLES || punch->phase == PUNCH_WAITS) &&
           punch->wait_until <= node->now;
}

kh_time kh_node_knock_timeout(const struct kh_node *node)
{
    const struct kh_node_punch *punch = &node->punch;

    switch (punch->phase) {
    case PUNCH_RESTS:
    case PUNCH_WISHES:
        break; /* our owner's answer is the next thing to happen */
    case PUNCH_SAMPLES:
        return kh_time_min(kh_time_min(punch->wait_until, kh_punch_timeout(&punch->machine)),
                           kh_stun_transaction_timeout(&punch->sample));
    case PUNCH_WAITS:
        return kh_time_min(punch->wait_until, punch->say_at);
    case PUNCH_RUNS:
        return kh_time_min(kh_punch_timeout(&punch->machine), punch->say_at);
    }
    return KH_NEVER;
}

/* ---- the end ---- */

/* The one kept longest for this neighbour, if two are; else the first that is free. */
static size_t place_for(const struct kh_node *node, const struct kh_room_member_id *by)
{
    size_t free_at = KH_NODE_KEPT_MAX, oldest = KH_NODE_KEPT_MAX, count = 0;

    for (size_t i = 0; i < KH_NODE_KEPT_MAX; i++) {
        bool is_free = node->punch.kept[i].port == 0;

        if (is_free && free_at == KH_NODE_KEPT_MAX)
            free_at = i;
        if (is_free || memcmp(&node->punch.kept[i].by, by, sizeof *by) != 0)
            continue;
        count++;
        if (oldest == KH_NODE_KEPT_MAX ||
            node->punch.kept[i].kept_at < node->punch.kept[oldest].kept_at)
            oldest = i;
    }
    return count < KH_NODE_KEPT_EACH ? free_at : oldest;
}

void kh_node_knock_keep(struct kh_node *node, const struct kh_room_member_id *by, uint16_t port)
{
    size_t at = place_for(node, by);

    /* Those of members that left are kept a little, so it may be full: then it stays no longer. */
    if (at == KH_NODE_KEPT_MAX) {
        kh_node_sockets_spend(node, port);
        return;
    }
    if (node->punch.kept[at].port != 0)
        kh_node_sockets_spend(node, node->punch.kept[at].port);
    node->punch.kept[at].port = port;
    node->punch.kept[at].kept_at = node->now;
    node->punch.kept[at].idle_at = 0;
    node->punch.kept[at].by = *by;
}

static uint16_t port_in_use(const struct kh_node_neighbour *neighbour)
{
    const struct kh_ice_path *path =
        neighbour == NULL || neighbour->peer == NULL ? NULL : kh_peer_path(neighbour->peer);

    return path == NULL || path->local_kind == KH_ICE_RELAYED ? 0 : path->local.port;
}

static void forget_spares(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    if (neighbour == NULL || neighbour->peer == NULL)
        return;
    kh_node_stash_peer(node, neighbour->peer);
    kh_peer_set_spare(neighbour->peer, node->now, NULL);
}

void kh_node_knock_end(struct kh_node *node, struct kh_node_neighbour *neighbour)
{
    struct kh_node_punch *punch = &node->punch;
    bool is_by_chance = punch->plan.role != KH_PUNCH_MEET && punch->plan.aim != KH_PUNCH_FORETOLD;
    uint16_t used = port_in_use(neighbour);

    assert(punch->phase != PUNCH_RESTS);
    if (punch->phase == PUNCH_WISHES && punch->is_wished)
        (void)kh_node_sockets_take(node, KH_NODE_FOR_PUNCH, punch->sockets, &punch->socket_count);
    if (punch->socket_count > 0)
        forget_spares(node, neighbour);
    for (size_t i = 0; i < punch->socket_count; i++) {
        if (punch->sockets[i] == used)
            kh_node_knock_keep(node, &neighbour->id, used);
        else
            kh_node_sockets_spend(node, punch->sockets[i]);
    }
    punch->socket_count = 0;
    kh_log_line(&node->log, KH_LOG_INFO, "node punch %s after %u datagrams",
                used != 0 ? "won" : "over", (unsigned)punch->machine.shots);
    kh_punch_stop(&punch->machine);
    kh_stun_transaction_end(&punch->sample);
    punch->phase = PUNCH_RESTS;
    punch->rest_until = kh_time_add(node->now, is_by_chance ? REST_AFTER_CHANCE : REST_AFTER_SKILL);
}

/* Notes since when what we keep carries nothing.  Without any path it may be this one that comes
 * back; and while the sides do not agree yet, it goes to and fro. */
static void watch_kept(struct kh_node *node)
{
    for (size_t i = 0; i < KH_NODE_KEPT_MAX; i++) {
        struct kh_node_neighbour *neighbour = kh_node_find_neighbour(node, &node->punch.kept[i].by);
        bool is_pathless =
            neighbour != NULL && neighbour->peer != NULL && kh_peer_path(neighbour->peer) == NULL;

        if (node->punch.kept[i].port == 0)
            continue;
        if (is_pathless || port_in_use(neighbour) == node->punch.kept[i].port)
            node->punch.kept[i].idle_at = 0;
        else if (node->punch.kept[i].idle_at == 0)
            node->punch.kept[i].idle_at = node->now;
    }
}

bool kh_node_knock_sweep(struct kh_node *node)
{
    if (node->punch.phase != PUNCH_RESTS)
        return false;
    watch_kept(node);
    for (size_t i = 0; i < KH_NODE_KEPT_MAX; i++) {
        uint16_t port = node->punch.kept[i].port;
        kh_time idle_at = node->punch.kept[i].idle_at;

        if (port == 0 || idle_at == 0 || kh_time_since(node->now, idle_at) < KEEP_IDLE)
            continue;
        node->punch.kept[i].port = 0;
        forget_spares(node, kh_node_find_neighbour(node, &node->punch.kept[i].by));
        kh_node_sockets_spend(node, port);
        return true;
    }
    return false;
}

kh_time kh_node_knock_sweep_at(const struct kh_node *node)
{
    kh_time at = KH_NEVER;

    for (size_t i = 0; i < KH_NODE_KEPT_MAX; i++)
        if (node->punch.kept[i].port != 0 && node->punch.kept[i].idle_at != 0)
            at = kh_time_min(at, kh_time_add(node->punch.kept[i].idle_at, KEEP_IDLE));
    return at;
}
