/* nat/discovery.c - all questions at once, each repeated until it is answered or hopeless.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/discovery.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "nat/ports.h"
#include "stun/stun.h"

/* Silence is an answer here, so what is lost must not look like it: ten tries on a path that loses
 * one datagram of ten each way mistake one question in ten million.  RFC 8489 6.2.1 would wait half
 * a second for the first repetition; a person waits for this. */
#define ATTEMPTS_MAX 10
#define INTERVAL KH_MILLISECONDS(150)
#define PATIENCE KH_MILLISECONDS(650) /* for the answer to the last attempt */
#define LONGEST KH_MILLISECONDS(3800) /* of all together, even when the first answer came late */

#define CHANGE_PORT 0x2u /* RFC 5780 7.2 */
#define CHANGE_BOTH 0x6u
#define REQUEST_MAX 32 /* a header and CHANGE-REQUEST */

/* What each local socket is for; all of them give a sample.  The filter's one speaks to the
 * server's first address only, else an answer from another one would prove nothing. */
enum { SOCKET_FILTER, SOCKET_MAPPING, SOCKET_HAIRPIN, SOCKET_HAIRPIN_BACK };

enum aim {
    AIM_SAMPLE,      /* where does the server see this socket? */
    AIM_CHANGE_PORT, /* does an answer from its other port arrive? */
    AIM_CHANGE_BOTH, /* and one from another address? */
    AIM_OTHER_PORT,  /* where does its other port see us? */
    AIM_OTHER_IP,
    AIM_HAIRPIN, /* does what we send to our public address come back? */
};

struct probe {
    enum aim aim;
    size_t socket;
    uint8_t id[KH_STUN_ID_LEN];
    struct kh_addr to;
    unsigned attempts;
    kh_time next_at; /* of the next attempt, or of giving up */
    bool due;
    bool over;             /* answered, refused or given up */
    bool answered;         /* as it should be */
    bool refused;          /* the server cannot do that */
    struct kh_addr mapped; /* of AIM_HAIRPIN: where it came from */
};

#define PROBES_MAX (KH_NAT_SOCKETS_MAX + 6)

enum state { STATE_IDLE, STATE_ASKING, STATE_DONE };

struct kh_nat_discovery {
    enum state state;
    struct kh_nat_discovery_config config;
    struct kh_rng rng;
    kh_time end_at;
    struct kh_addr local; /* the ip that answers arrive at */
    struct kh_addr other; /* OTHER-ADDRESS; none until told */
    struct probe probes[PROBES_MAX];
    size_t probe_count;
    uint8_t request[REQUEST_MAX];
    uint64_t dropped; /* datagrams that answered nothing we asked */
};

static void enter(struct kh_nat_discovery *discovery, enum state state)
{
    discovery->state = state;
}

enum kh_status kh_nat_discovery_new(struct kh_nat_discovery **out,
                                    const struct kh_nat_discovery_config *config)
{
    struct kh_nat_discovery *discovery = calloc(1, sizeof *discovery);

    assert(config->socket_count >= KH_NAT_SOCKETS_MIN);
    assert(config->socket_count <= KH_NAT_SOCKETS_MAX);
    assert(!kh_addr_is_none(&config->server));
    if (discovery == NULL)
        return KH_ERR_MEMORY;
    discovery->config = *config;
    kh_rng_init(&discovery->rng, config->seed);
    kh_wipe(discovery->config.seed, sizeof discovery->config.seed);
    *out = discovery;
    return KH_OK;
}

void kh_nat_discovery_free(struct kh_nat_discovery *discovery)
{
    if (discovery == NULL)
        return;
    kh_rng_fini(&discovery->rng);
    free(discovery);
}

/* ---- asking ---- */

static void ask(struct kh_nat_discovery *discovery, kh_time now, enum aim aim, size_t socket,
                const struct kh_addr *to)
{
    struct probe *probe = &discovery->probes[discovery->probe_count++];

    assert(discovery->probe_count <= PROBES_MAX);
    *probe = (struct probe){.aim = aim, .socket = socket, .to = *to, .next_at = now};
    kh_rng_bytes(&discovery->rng, probe->id, sizeof probe->id);
}

static const struct probe *find_aim(const struct kh_nat_discovery *discovery, enum aim aim,
                                    size_t socket)
{
    for (size_t i = 0; i < discovery->probe_count; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (probe->aim == aim && probe->socket == socket)
            return probe;
    }
    return NULL;
}

/* Where the server sees this socket; NULL if that is not known. */
static const struct kh_addr *mapped_of(const struct kh_nat_discovery *discovery, enum aim aim,
                                       size_t socket)
{
    const struct probe *probe = find_aim(discovery, aim, socket);

    return probe != NULL && probe->answered ? &probe->mapped : NULL;
}

/* A NAT changes the address or the port; a firewall neither. */
static bool is_translated(const struct kh_nat_discovery *discovery, const struct probe *probe)
{
    return !kh_addr_ip_equal(&probe->mapped, &discovery->local) ||
           probe->mapped.port != discovery->config.sockets[probe->socket].port;
}

static void ask_other_places(struct kh_nat_discovery *discovery, kh_time now)
{
    struct kh_addr other_port = discovery->config.server;
    struct kh_addr other_ip = discovery->other;

    if (kh_addr_is_none(&discovery->other) ||
        find_aim(discovery, AIM_OTHER_PORT, SOCKET_MAPPING) != NULL)
        return;
    other_port.port = discovery->other.port;
    other_ip.port = discovery->config.server.port;
    ask(discovery, now, AIM_OTHER_PORT, SOCKET_MAPPING, &other_port);
    ask(discovery, now, AIM_OTHER_IP, SOCKET_MAPPING, &other_ip);
}

/* Both ways: each datagram opens the filter for the other one. */
static void ask_ourselves(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct probe *one = find_aim(discovery, AIM_SAMPLE, SOCKET_HAIRPIN);
    const struct probe *two = find_aim(discovery, AIM_SAMPLE, SOCKET_HAIRPIN_BACK);

    if (!one->answered || !two->answered || !is_translated(discovery, one) ||
        find_aim(discovery, AIM_HAIRPIN, SOCKET_HAIRPIN) != NULL)
        return;
    ask(discovery, now, AIM_HAIRPIN, SOCKET_HAIRPIN, &two->mapped);
    ask(discovery, now, AIM_HAIRPIN, SOCKET_HAIRPIN_BACK, &one->mapped);
}

static void end_if_all_is_over(struct kh_nat_discovery *discovery)
{
    for (size_t i = 0; i < discovery->probe_count; i++) {
        if (!discovery->probes[i].over)
            return;
    }
    enter(discovery, STATE_DONE);
}

/* Makes due what has waited long enough, and ends what is hopeless. */
static void advance(struct kh_nat_discovery *discovery, kh_time now)
{
    if (discovery->state != STATE_ASKING)
        return;
    for (size_t i = 0; i < discovery->probe_count; i++) {
        struct probe *probe = &discovery->probes[i];

        if (probe->over || now < probe->next_at)
            continue;
        if (probe->attempts == ATTEMPTS_MAX) {
            probe->over = true;
            continue;
        }
        probe->due = true;
        probe->attempts++;
        probe->next_at = kh_time_add(now, probe->attempts < ATTEMPTS_MAX ? INTERVAL : PATIENCE);
    }
    end_if_all_is_over(discovery);
    if (now >= discovery->end_at)
        enter(discovery, STATE_DONE);
}

static bool is_drained(const struct kh_nat_discovery *discovery)
{
    for (size_t i = 0; i < discovery->probe_count; i++) {
        if (discovery->probes[i].due && !discovery->probes[i].over)
            return discovery->state != STATE_ASKING;
    }
    return true;
}

void kh_nat_discovery_start(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct kh_addr *server = &discovery->config.server;

    assert(discovery->state == STATE_IDLE);
    enter(discovery, STATE_ASKING);
    discovery->end_at = kh_time_add(now, LONGEST);
    for (size_t i = 0; i < discovery->config.socket_count; i++)
        ask(discovery, now, AIM_SAMPLE, i, server);
    ask(discovery, now, AIM_CHANGE_PORT, SOCKET_FILTER, server);
    ask(discovery, now, AIM_CHANGE_BOTH, SOCKET_FILTER, server);
    advance(discovery, now);
}

/* ---- answers ---- */

/* The server is asked to name another address of its own; what is not of its kind is not asked. */
static void learn_other(struct kh_nat_discovery *discovery, const struct kh_stun_message *message)
{
    const struct kh_addr *server = &discovery->config.server;
    struct kh_addr other;

    if (!kh_addr_is_none(&discovery->other) ||
        !kh_stun_find_addr(message, KH_STUN_OTHER_ADDRESS, &other))
        return;
    if (other.family == server->family && other.port != server->port && other.port != 0 &&
        !kh_addr_ip_equal(&other, server) && kh_addr_reach(&other) == kh_addr_reach(server))
        discovery->other = other;
}

static bool came_from_right_place(const struct kh_nat_discovery *discovery,
                                  const struct probe *probe, const struct kh_addr *from)
{
    const struct kh_addr *server = &discovery->config.server;

    switch (probe->aim) {
    case AIM_CHANGE_PORT:
        return kh_addr_ip_equal(from, server) && from->port != server->port;
    case AIM_CHANGE_BOTH:
        return !kh_addr_ip_equal(from, server) && from->port != server->port;
    case AIM_SAMPLE:
    case AIM_OTHER_PORT:
    case AIM_OTHER_IP:
        return kh_addr_equal(from, &probe->to);
    case AIM_HAIRPIN:
        return false; /* it is a request that comes back */
    }
    return false;
}

static bool take_answer(struct kh_nat_discovery *discovery, struct probe *probe,
                        const struct kh_datagram *datagram, const struct kh_stun_message *message)
{
    if (!came_from_right_place(discovery, probe, &datagram->from)) {
        /* From where we asked: an error, or a server that does not know CHANGE-REQUEST. */
        probe->refused = kh_addr_equal(&datagram->from, &probe->to) && probe->aim != AIM_HAIRPIN;
        probe->over = probe->over || probe->refused;
        return probe->refused;
    }
    if (message->class != KH_STUN_SUCCESS ||
        !kh_stun_find_addr(message, KH_STUN_XOR_MAPPED_ADDRESS, &probe->mapped))
        return false;
    probe->answered = true;
    probe->over = true;
    discovery->local = datagram->to;
    learn_other(discovery, message);
    return true;
}

/* What one of the two sockets sent to the other's public address. */
static bool take_hairpin(struct kh_nat_discovery *discovery, struct probe *probe, size_t socket,
                         const struct kh_addr *from)
{
    if (probe->aim != AIM_HAIRPIN || socket == probe->socket)
        return false;
    for (size_t i = 0; i < discovery->probe_count; i++) {
        if (discovery->probes[i].aim == AIM_HAIRPIN)
            discovery->probes[i].over = true;
    }
    probe->answered = true;
    probe->mapped = *from;
    return true;
}

static size_t socket_of(const struct kh_nat_discovery *discovery, const struct kh_addr *local)
{
    size_t i = 0;

    while (i < discovery->config.socket_count && discovery->config.sockets[i].port != local->port)
        i++;
    return i;
}

static bool take(struct kh_nat_discovery *discovery, const struct kh_datagram *datagram)
{
    size_t socket = socket_of(discovery, &datagram->to);
    struct kh_stun_message message;

    if (!kh_stun_is_stun(datagram->data, datagram->len) ||
        kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK ||
        message.method != KH_STUN_BINDING)
        return false;
    for (size_t i = 0; i < discovery->probe_count; i++) {
        struct probe *probe = &discovery->probes[i];

        if (probe->over || memcmp(probe->id, message.id, sizeof probe->id) != 0)
            continue;
        if (message.class == KH_STUN_REQUEST)
            return take_hairpin(discovery, probe, socket, &datagram->from);
        if (message.class == KH_STUN_SUCCESS || message.class == KH_STUN_ERROR)
            return socket == probe->socket && take_answer(discovery, probe, datagram, &message);
    }
    return false;
}

void kh_nat_discovery_handle_datagram(struct kh_nat_discovery *discovery, kh_time now,
                                      const struct kh_datagram *datagram)
{
    assert(is_drained(discovery));
    if (discovery->state != STATE_ASKING)
        return;
    if (!take(discovery, datagram)) {
        discovery->dropped++;
        return;
    }
    ask_other_places(discovery, now);
    ask_ourselves(discovery, now);
    advance(discovery, now);
}

/* ---- time ---- */

void kh_nat_discovery_handle_timeout(struct kh_nat_discovery *discovery, kh_time now)
{
    assert(is_drained(discovery));
    advance(discovery, now);
}

kh_time kh_nat_discovery_timeout(const struct kh_nat_discovery *discovery)
{
    kh_time at = discovery->end_at;

    if (discovery->state != STATE_ASKING)
        return KH_NEVER;
    for (size_t i = 0; i < discovery->probe_count; i++) {
        if (!discovery->probes[i].over)
            at = kh_time_min(at, discovery->probes[i].next_at);
    }
    return at;
}

static size_t write_request(struct kh_nat_discovery *discovery, const struct probe *probe)
{
    struct kh_stun_writer writer = kh_stun_begin(discovery->request, sizeof discovery->request,
                                                 KH_STUN_REQUEST, KH_STUN_BINDING, probe->id);

    if (probe->aim == AIM_CHANGE_PORT)
        kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, CHANGE_PORT);
    else if (probe->aim == AIM_CHANGE_BOTH)
        kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, CHANGE_BOTH);
    return kh_stun_finish(&writer);
}

bool kh_nat_discovery_next_transmit(struct kh_nat_discovery *discovery, struct kh_datagram *out)
{
    for (size_t i = 0; i < discovery->probe_count && discovery->state == STATE_ASKING; i++) {
        struct probe *probe = &discovery->probes[i];

        if (!probe->due)
            continue;
        probe->due = false;
        if (probe->over)
            continue;
        *out = (struct kh_datagram){.from = discovery->config.sockets[probe->socket],
                                    .to = probe->to,
                                    .data = discovery->request,
                                    .len = write_request(discovery, probe)};
        return true;
    }
    return false;
}

bool kh_nat_discovery_is_done(const struct kh_nat_discovery *discovery)
{
    return discovery->state == STATE_DONE;
}

/* ---- conclusions ---- */

static enum kh_nat_rule mapping_of(const struct kh_nat_discovery *discovery)
{
    const struct kh_addr *first = mapped_of(discovery, AIM_SAMPLE, SOCKET_MAPPING);
    const struct kh_addr *port = mapped_of(discovery, AIM_OTHER_PORT, SOCKET_MAPPING);
    const struct kh_addr *ip = mapped_of(discovery, AIM_OTHER_IP, SOCKET_MAPPING);

    if (first == NULL)
        return KH_NAT_RULE_UNKNOWN;
    if (port != NULL && !kh_addr_equal(first, port))
        return KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
    if (ip != NULL && kh_addr_equal(first, ip))
        return KH_NAT_ENDPOINT_INDEPENDENT;
    return ip != NULL && port != NULL ? KH_NAT_ADDRESS_DEPENDENT : KH_NAT_RULE_UNKNOWN;
}

/* Silence means a filter only where the place is known to answer when it is asked itself. */
static enum kh_nat_rule filtering_of(const struct kh_nat_discovery *discovery)
{
    const struct probe *port = find_aim(discovery, AIM_CHANGE_PORT, SOCKET_FILTER);
    const struct probe *both = find_aim(discovery, AIM_CHANGE_BOTH, SOCKET_FILTER);

    if (both == NULL || port == NULL || mapped_of(discovery, AIM_SAMPLE, SOCKET_FILTER) == NULL)
        return KH_NAT_RULE_UNKNOWN;
    if (both->answered)
        return KH_NAT_ENDPOINT_INDEPENDENT;
    if (both->refused || port->refused || !both->over || !port->over)
        return KH_NAT_RULE_UNKNOWN;
    if (port->answered && mapped_of(discovery, AIM_OTHER_IP, SOCKET_MAPPING) != NULL)
        return KH_NAT_ADDRESS_DEPENDENT;
    if (!port->answered && mapped_of(discovery, AIM_OTHER_PORT, SOCKET_MAPPING) != NULL)
        return KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
    return KH_NAT_RULE_UNKNOWN;
}

static enum kh_nat_hairpin hairpin_of(const struct kh_nat_discovery *discovery)
{
    const struct probe *one = find_aim(discovery, AIM_HAIRPIN, SOCKET_HAIRPIN);
    const struct probe *two = find_aim(discovery, AIM_HAIRPIN, SOCKET_HAIRPIN_BACK);
    const struct probe *came;

    if (one == NULL || two == NULL)
        return KH_NAT_HAIRPIN_UNKNOWN;
    if (!one->answered && !two->answered)
        return one->over && two->over ? KH_NAT_HAIRPIN_NONE : KH_NAT_HAIRPIN_UNKNOWN;
    came = one->answered ? one : two;
    return kh_addr_ip_equal(&came->mapped, &discovery->local) ? KH_NAT_HAIRPIN_INTERNAL
                                                              : KH_NAT_HAIRPIN_EXTERNAL;
}

static void collect(const struct kh_nat_discovery *discovery, struct kh_nat_samples *samples)
{
    for (size_t i = 0; i < discovery->probe_count; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (!probe->answered || probe->aim == AIM_HAIRPIN || probe->aim == AIM_CHANGE_PORT ||
            probe->aim == AIM_CHANGE_BOTH)
            continue;
        kh_nat_samples_add(samples, probe->mapped.port);
        if (probe->aim != AIM_SAMPLE)
            continue;
        samples->asked++;
        samples->preserved += probe->mapped.port == discovery->config.sockets[probe->socket].port;
    }
}

void kh_nat_discovery_result(const struct kh_nat_discovery *discovery, struct kh_nat_behaviour *out)
{
    struct kh_nat_samples samples = {0};

    *out = (struct kh_nat_behaviour){0};
    for (size_t i = 0; i < discovery->probe_count && !out->reached; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (probe->aim != AIM_SAMPLE || !probe->answered)
            continue;
        out->reached = true;
        out->public_addr = probe->mapped;
        out->translated = is_translated(discovery, probe);
    }
    out->mapping = mapping_of(discovery);
    out->filtering = filtering_of(discovery);
    out->hairpin = hairpin_of(discovery);
    collect(discovery, &samples);
    kh_nat_samples_classify(&samples, out);
}
