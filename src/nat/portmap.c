/* nat/portmap.c - asks the default gateway to map a port of its public address to our socket.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/portmap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/outbox.h"
#include "base/ring.h"
#include "crypto/crypto.h"
#include "nat/epoch.h"
#include "nat/wire.h"

#define LIFETIME_S 600         /* modest: it outlives a killed program by no more than this */
#define LIFETIME_MAX_S 86400   /* longer than anyone may mean; a mapping is looked after daily */
#define LIFETIME_MIN_S 8       /* a shorter one ends before it may be renewed */
#define PATIENCE KH_SECONDS(1) /* for the first answer, and for a deletion's */
#define FIRST_WAIT KH_MILLISECONDS(250)
#define RENEW_MIN KH_SECONDS(4)   /* RFC 6887 11.2.1 */
#define REST_MIN KH_SECONDS(30)   /* RFC 6887 7.4: short errors are meant to last that long, … */
#define REST_MAX KH_SECONDS(1800) /* … long ones this */
#define REST KH_SECONDS(600)      /* nobody answered: the gateway may learn to */
#define OUTBOX_MAX 8              /* one round is at most three, an answer may begin another */
#define EVENTS_MAX 4              /* LOST and what follows from asking again */

enum state { STATE_NEW, STATE_ASKING, STATE_HELD, STATE_RESTING, STATE_RELEASING, STATE_ENDED };

struct protocol {
    const char *name;
    bool asked;   /* for a mapping: so there may be one to delete */
    bool refused; /* not spoken there, or it says no; until asked anew */
    bool awaited; /* a request is unanswered: what comes without one is not taken */
    bool granted;
    struct kh_nat_epoch epoch;
};

struct kh_nat_portmap {
    enum state state;
    struct kh_addr local;
    struct kh_addr gateway;
    struct protocol pcp;
    struct protocol pmp;
    struct protocol *holder; /* whose mapping we use; NULL: none */
    struct kh_nat_map_request request;
    uint32_t lifetime_s;

    /* NAT-PMP tells address and port in two answers. */
    struct kh_addr pmp_ip;
    uint16_t pmp_port;
    uint32_t pmp_lifetime_s;

    unsigned attempt;
    kh_time next_at;    /* send again, renew, or stop resting */
    kh_time ends_at;    /* ASKING, RELEASING: patience; HELD: the mapping */
    kh_time renewed_at; /* latest renewal sent */
    kh_duration rest;

    struct kh_rng rng;
    struct kh_log log;
    struct kh_outbox outbox;
    struct kh_nat_portmap_event events[EVENTS_MAX];
    struct kh_ring event_ring;
    struct kh_nat_portmap_stats stats;
};

static void enter(struct kh_nat_portmap *map, enum state state)
{
    static const char *const names[] = {"new", "asking", "held", "resting", "releasing", "ended"};

    kh_log_line(&map->log, KH_LOG_INFO, "portmap %s→%s", names[map->state], names[state]);
    map->state = state;
}

static void emit(struct kh_nat_portmap *map, enum kh_nat_portmap_event_kind kind)
{
    size_t at;

    if (!kh_ring_push(&map->event_ring, EVENTS_MAX, &at))
        assert(false);
    map->events[at] =
        (struct kh_nat_portmap_event){.kind = kind,
                                      .external = map->request.external,
                                      .lifetime = KH_SECONDS((kh_duration)map->lifetime_s)};
}

static void assert_drained(const struct kh_nat_portmap *map)
{
    assert(kh_outbox_is_empty(&map->outbox) && map->event_ring.count == 0);
}

/* ---- life ---- */

enum kh_status kh_nat_portmap_new(struct kh_nat_portmap **out,
                                  const struct kh_nat_portmap_config *config)
{
    struct kh_nat_portmap *map;

    assert(config->local.family == KH_FAMILY_IPV4 && config->local.port != 0);
    assert(config->gateway.family == KH_FAMILY_IPV4);
    map = calloc(1, sizeof *map);
    if (map == NULL)
        return KH_ERR_MEMORY;
    if (kh_outbox_init(&map->outbox, OUTBOX_MAX, KH_NAT_PCP_MAP_LEN) != KH_OK) {
        free(map);
        return KH_ERR_MEMORY;
    }
    map->local = config->local;
    map->gateway = config->gateway;
    map->gateway.port = KH_NAT_PORTMAP_PORT;
    map->pcp.name = "pcp";
    map->pmp.name = "nat-pmp";
    map->log = config->log;
    map->request.local = config->local;
    map->request.lifetime_s =
        config->lifetime == 0 ? LIFETIME_S : (uint32_t)(config->lifetime / KH_SECONDS(1));
    kh_rng_init(&map->rng, config->seed);
    /* RFC 6887 11.2: one nonce for the life of a mapping, also when it is asked for anew. */
    kh_rng_bytes(&map->rng, map->request.nonce, sizeof map->request.nonce);
    map->next_at = map->ends_at = KH_NEVER;
    *out = map;
    return KH_OK;
}

void kh_nat_portmap_free(struct kh_nat_portmap *map)
{
    if (map == NULL)
        return;
    kh_outbox_fini(&map->outbox);
    kh_rng_fini(&map->rng);
    kh_wipe(map, sizeof *map);
    free(map);
}

/* ---- asking ---- */

static void send(struct kh_nat_portmap *map, const uint8_t *data, size_t len)
{
    const struct kh_datagram datagram = {
        .from = map->local, .to = map->gateway, .data = data, .len = len};

    map->stats.requests++;
    (void)kh_outbox_push(&map->outbox, &datagram);
}

static void send_pcp(struct kh_nat_portmap *map, const struct kh_nat_map_request *request)
{
    uint8_t data[KH_NAT_PCP_MAP_LEN];

    kh_nat_pcp_write_map(request, data);
    map->pcp.asked = map->pcp.awaited = true;
    send(map, data, sizeof data);
}

static void send_pmp(struct kh_nat_portmap *map, const struct kh_nat_map_request *request)
{
    uint8_t address[KH_NAT_PMP_ADDRESS_LEN];
    uint8_t data[KH_NAT_PMP_MAP_LEN];

    if (request->lifetime_s != 0) {
        kh_nat_pmp_write_address(address);
        send(map, address, sizeof address);
    }
    kh_nat_pmp_write_map(request, data);
    map->pmp.asked = map->pmp.awaited = true;
    send(map, data, sizeof data);
}

static void rest(struct kh_nat_portmap *map, kh_time now)
{
    enter(map, STATE_RESTING);
    map->next_at = kh_time_add(now, map->rest);
    map->ends_at = KH_NEVER;
    emit(map, KH_NAT_PORTMAP_EVENT_NONE);
}

/* One more round: PCP alone at first, so that a gateway that speaks both maps once (RFC 6887
 * appendix A), then both, for one that knows only the older and drops the newer. */
static void ask(struct kh_nat_portmap *map, kh_time now)
{
    if (!map->pcp.refused)
        send_pcp(map, &map->request);
    if (!map->pmp.refused && (map->attempt > 0 || map->pcp.refused))
        send_pmp(map, &map->request);
    map->next_at = kh_time_add(now, FIRST_WAIT << map->attempt);
    map->attempt++;
}

static void begin(struct kh_nat_portmap *map, kh_time now)
{
    enter(map, STATE_ASKING);
    map->pcp.refused = map->pmp.refused = false;
    map->attempt = 0;
    map->rest = REST;
    map->ends_at = kh_time_add(now, PATIENCE);
    ask(map, now);
}

void kh_nat_portmap_start(struct kh_nat_portmap *map, kh_time now)
{
    assert_drained(map);
    assert(map->state == STATE_NEW);
    begin(map, now);
}

/* RFC 6887 11.2.1: at a random point between half and five eighths of what is left, so that the
 * mappings of one house are not renewed in step. */
static void plan_renewal(struct kh_nat_portmap *map, kh_time now)
{
    kh_duration left = map->ends_at - now;
    kh_duration wait = left / 2 + kh_rng_below(&map->rng, left / 8 + 1);

    map->next_at = kh_time_add(now, wait < RENEW_MIN ? RENEW_MIN : wait);
}

static void renew(struct kh_nat_portmap *map, kh_time now)
{
    if (map->holder == &map->pcp)
        send_pcp(map, &map->request);
    else
        send_pmp(map, &map->request);
    map->renewed_at = now;
    plan_renewal(map, now);
}

static void lose(struct kh_nat_portmap *map, kh_time now)
{
    emit(map, KH_NAT_PORTMAP_EVENT_LOST);
    map->holder->granted = false;
    map->holder = NULL;
    begin(map, now);
}

/* ---- answers ---- */

static bool is_possible(const struct kh_addr *external)
{
    enum kh_addr_reach reach = kh_addr_reach(external);

    /* A private one is another NAT's inside, where neighbours may meet. */
    return external->family == KH_FAMILY_IPV4 && external->port != 0 &&
           (reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL);
}

static void take_grant(struct kh_nat_portmap *map, kh_time now, struct protocol *protocol,
                       const struct kh_addr *external, uint32_t lifetime_s)
{
    bool is_new = map->holder == NULL || !kh_addr_equal(&map->request.external, external);

    if (!protocol->awaited || lifetime_s < LIFETIME_MIN_S)
        return;
    protocol->awaited = false;
    protocol->granted = true;
    if (map->holder != NULL && map->holder != protocol)
        return; /* the slower one: deleted at the end, else left to expire */
    map->stats.grants++;
    map->holder = protocol;
    map->lifetime_s = lifetime_s < LIFETIME_MAX_S ? lifetime_s : LIFETIME_MAX_S;
    map->request.external = *external;
    map->ends_at = kh_time_add(now, KH_SECONDS((kh_duration)map->lifetime_s));
    if (map->state != STATE_HELD)
        enter(map, STATE_HELD);
    plan_renewal(map, now);
    if (is_new)
        emit(map, KH_NAT_PORTMAP_EVENT_MAPPED);
}

/* The deletion of one protocol is answered; errors too are an end. */
static void take_deletion(struct kh_nat_portmap *map, struct protocol *protocol)
{
    protocol->granted = false;
    if (map->pcp.granted || map->pmp.granted)
        return;
    enter(map, STATE_ENDED);
    map->next_at = map->ends_at = KH_NEVER;
    emit(map, KH_NAT_PORTMAP_EVENT_RELEASED);
}

/* Not the late answer to what was asked before: that one tells a lifetime. */
static bool is_deletion(const struct kh_nat_answer *answer)
{
    return answer->result != KH_NAT_SUCCESS || answer->lifetime_s == 0;
}

/* One of the protocols will not do; the other is asked now if it was not yet. */
static void refuse(struct kh_nat_portmap *map, kh_time now, struct protocol *protocol)
{
    map->stats.refusals++;
    if (map->state != STATE_ASKING || protocol->refused)
        return; /* a mapping we hold lasts as long as was said */
    protocol->refused = true;
    kh_log_line(&map->log, KH_LOG_DEBUG, "portmap %s refused", protocol->name);
    if (map->pcp.refused && map->pmp.refused)
        rest(map, now);
    else if (protocol == &map->pcp && !map->pmp.asked)
        send_pmp(map, &map->request);
}

/* RFC 6887 7.4: how long an error lasts, within reason. */
static void note_rest(struct kh_nat_portmap *map, uint32_t lifetime_s)
{
    kh_duration rest = KH_SECONDS((kh_duration)lifetime_s);

    map->rest = rest < REST_MIN ? REST_MIN : rest > REST_MAX ? REST_MAX : rest;
}

/* The gateway started over, and an answer that is no grant told us: ask at once (RFC 6887 8.5, RFC
 * 6886 3.7), but not more often than renewals may come. */
static void recover(struct kh_nat_portmap *map, kh_time now, const struct protocol *protocol)
{
    if (map->state != STATE_HELD || map->holder != protocol ||
        kh_time_since(now, map->renewed_at) < RENEW_MIN)
        return;
    kh_log_line(&map->log, KH_LOG_INFO, "portmap %s lost its state", protocol->name);
    renew(map, now);
}

static bool is_our_map(const struct kh_nat_portmap *map, const struct kh_nat_answer *answer)
{
    return answer->has_map && answer->is_udp && answer->internal_port == map->local.port;
}

static bool handle_pcp(struct kh_nat_portmap *map, kh_time now, const struct kh_nat_answer *answer)
{
    bool is_map = is_our_map(map, answer) &&
                  memcmp(answer->nonce, map->request.nonce, sizeof map->request.nonce) == 0;
    bool kept;

    if (answer->result == KH_NAT_UNSUPP_VERSION) {
        /* Naming our version, it means NAT-PMP's; another one, PCP as we speak it (RFC 6887 9). */
        refuse(map, now, answer->version == KH_NAT_PCP_VERSION ? &map->pmp : &map->pcp);
        return true;
    }
    if (!is_map && answer->opcode != KH_NAT_ANNOUNCE)
        return false;
    kept = kh_nat_epoch_take_pcp(&map->pcp.epoch, now, answer->epoch_s);
    if (is_map && map->state == STATE_RELEASING) {
        if (is_deletion(answer))
            take_deletion(map, &map->pcp);
    } else if (is_map && answer->result != KH_NAT_SUCCESS) {
        note_rest(map, answer->lifetime_s);
        refuse(map, now, &map->pcp);
    } else if (is_map && answer->lifetime_s > 0 && is_possible(&answer->external)) {
        take_grant(map, now, &map->pcp, &answer->external, answer->lifetime_s);
        return true;
    }
    if (!kept)
        recover(map, now, &map->pcp);
    return true;
}

static bool take_pmp_success(struct kh_nat_portmap *map, kh_time now,
                             const struct kh_nat_answer *answer)
{
    struct kh_addr external;

    if (!answer->has_map) {
        map->pmp_ip = answer->external;
    } else if (is_our_map(map, answer) && answer->lifetime_s > 0) {
        map->pmp_port = answer->external.port;
        map->pmp_lifetime_s = answer->lifetime_s;
    } else {
        return false;
    }
    external = map->pmp_ip;
    external.port = map->pmp_port;
    if (!is_possible(&external) || map->pmp_lifetime_s == 0)
        return true; /* the other half is still to come */
    take_grant(map, now, &map->pmp, &external, map->pmp_lifetime_s);
    map->pmp_lifetime_s = 0; /* a grant is taken once */
    return true;
}

static bool handle_pmp(struct kh_nat_portmap *map, kh_time now, const struct kh_nat_answer *answer)
{
    bool kept = !answer->has_epoch || answer->result == KH_NAT_UNSUPP_VERSION ||
                kh_nat_epoch_take_pmp(&map->pmp.epoch, now, answer->epoch_s);
    bool taken = true;

    if (map->state == STATE_RELEASING) {
        taken = answer->opcode == KH_NAT_MAP &&
                (answer->result != KH_NAT_SUCCESS || is_our_map(map, answer)) &&
                is_deletion(answer);
        if (taken)
            take_deletion(map, &map->pmp);
        return taken;
    }
    if (answer->result == KH_NAT_UNSUPP_VERSION)
        refuse(map, now, &map->pcp); /* our older version cannot be meant (RFC 6886 3.5) */
    else if (answer->result != KH_NAT_SUCCESS)
        refuse(map, now, &map->pmp);
    else
        taken = take_pmp_success(map, now, answer);
    if (!kept)
        recover(map, now, &map->pmp);
    return taken;
}

bool kh_nat_portmap_handle_datagram(struct kh_nat_portmap *map, kh_time now,
                                    const struct kh_datagram *datagram)
{
    struct kh_nat_answer answer;
    bool taken = false;

    assert_drained(map);
    /* RFC 6887 8.3, RFC 6886 3.2: from the gateway alone. */
    if (!kh_addr_equal(&datagram->from, &map->gateway))
        return false;
    if (map->state == STATE_NEW || map->state == STATE_ENDED)
        return true;
    if (kh_nat_answer_parse(datagram->data, datagram->len, &answer))
        taken = answer.version == KH_NAT_PMP_VERSION ? handle_pmp(map, now, &answer)
                                                     : handle_pcp(map, now, &answer);
    if (!taken)
        map->stats.dropped_malformed++;
    return true;
}

/* ---- time ---- */

/* Lifetime 0 and no wish deletes: RFC 6887 15.1 with erratum 3621, RFC 6886 3.4. */
static void send_deletions(struct kh_nat_portmap *map, kh_time now)
{
    struct kh_nat_map_request request = map->request;

    request.external = (struct kh_addr){0};
    request.lifetime_s = 0;
    if (map->pcp.asked && !map->pcp.refused)
        send_pcp(map, &request);
    if (map->pmp.asked && !map->pmp.refused)
        send_pmp(map, &request);
    map->next_at = kh_time_add(now, FIRST_WAIT << map->attempt);
    map->attempt++;
}

void kh_nat_portmap_release(struct kh_nat_portmap *map, kh_time now)
{
    bool is_asked = map->state == STATE_ASKING || map->pcp.granted || map->pmp.granted;

    assert_drained(map);
    if (map->state >= STATE_RELEASING)
        return;
    enter(map, STATE_RELEASING);
    map->attempt = 0;
    map->ends_at = kh_time_add(now, PATIENCE);
    if (is_asked)
        send_deletions(map, now);
    if (!map->pcp.granted && !map->pmp.granted)
        take_deletion(map, &map->pcp); /* nothing that could be waited for */
}

void kh_nat_portmap_handle_timeout(struct kh_nat_portmap *map, kh_time now)
{
    assert_drained(map);
    if (now < kh_nat_portmap_timeout(map))
        return;
    switch (map->state) {
    case STATE_ASKING:
        if (now >= map->ends_at)
            rest(map, now);
        else
            ask(map, now);
        break;
    case STATE_HELD:
        if (now >= map->ends_at)
            lose(map, now);
        else
            renew(map, now);
        break;
    case STATE_RESTING:
        begin(map, now);
        break;
    case STATE_RELEASING:
        if (now < map->ends_at) {
            send_deletions(map, now);
            break;
        }
        map->pcp.granted = map->pmp.granted = false; /* it ends with its lifetime */
        take_deletion(map, &map->pcp);
        break;
    case STATE_NEW:
    case STATE_ENDED:
        break;
    }
}

/* ---- outputs ---- */

bool kh_nat_portmap_next_event(struct kh_nat_portmap *map, struct kh_nat_portmap_event *out)
{
    size_t at;

    if (!kh_ring_pop(&map->event_ring, EVENTS_MAX, &at))
        return false;
    *out = map->events[at];
    return true;
}

bool kh_nat_portmap_next_transmit(struct kh_nat_portmap *map, struct kh_datagram *out)
{
    return kh_outbox_next(&map->outbox, out);
}

kh_time kh_nat_portmap_timeout(const struct kh_nat_portmap *map)
{
    return kh_time_min(map->next_at, map->ends_at);
}

struct kh_nat_portmap_stats kh_nat_portmap_stats(const struct kh_nat_portmap *map)
{
    return map->stats;
}
