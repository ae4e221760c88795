/* nat/discovery.c - all questions at once, each repeated until it is answered or hopeless.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/questions.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* RFC 8489 6.2.1 would wait half a second for the first repetition; others wait for this. */
struct pace {
    kh_duration interval;
    unsigned attempts;
    unsigned hairpin_attempts;
    kh_duration patience; /* for the answer to the last attempt */
    kh_duration longest;  /* of all together, even when the first answer came late */
    size_t attempts_max;  /* of all together */
};

/* Silence is an answer here, so what is lost must not look like it: of twenty tries on a path that
 * loses half of all datagrams each way none comes back once in three hundred times. */
static const struct pace thorough = {KH_MILLISECONDS(100),  20,      20, KH_MILLISECONDS(400),
                                     KH_MILLISECONDS(3800), SIZE_MAX};
/* A member asks while others wait for it, and each time its network changes: one filter in 150 may
 * seem stricter than it is on such a path, which costs a detour and no more. */
static const struct pace quick = {KH_MILLISECONDS(150),  3, 2, KH_MILLISECONDS(500),
                                  KH_MILLISECONDS(1500), 20};

#define CHANGE_PORT 0x2u /* RFC 5780 7.2 */
#define CHANGE_BOTH 0x6u

static const struct pace *pace_of(const struct kh_nat_discovery *discovery)
{
    return discovery->config.quick ? &quick : &thorough;
}

static void enter(struct kh_nat_discovery *discovery, enum state state)
{
    discovery->state = state;
}

/* The server names it, so it has to be of the server's kind. */
static bool is_other_place(const struct kh_addr *other, const struct kh_addr *server)
{
    return other->family == server->family && other->port != server->port && other->port != 0 &&
           kh_addr_reach(other) == kh_addr_reach(server);
}

enum kh_status kh_nat_discovery_new(struct kh_nat_discovery **out,
                                    const struct kh_nat_discovery_config *config)
{
    struct kh_nat_discovery *discovery = calloc(1, sizeof *discovery);

    assert(config->socket_count >= (config->quick ? 1 : KH_NAT_SOCKETS_MIN));
    assert(config->socket_count <= KH_NAT_SOCKETS_MAX);
    assert(!kh_addr_is_none(&config->server));
    assert(!config->quick || !kh_addr_is_none(&config->mapped));
    if (discovery == NULL)
        return KH_ERR_MEMORY;
    discovery->config = *config;
    if (is_other_place(&config->other, &config->server))
        discovery->other = config->other;
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

/* Nothing happens if there is no such socket, or if it was asked for before. */
static struct probe *ask(struct kh_nat_discovery *discovery, kh_time now, enum aim aim,
                         size_t socket, const struct kh_addr *to)
{
    const struct pace *pace = pace_of(discovery);
    struct probe *probe = &discovery->probes[discovery->probe_count];

    if (socket >= discovery->config.socket_count ||
        kh_nat_probe_find(discovery, aim, socket) != NULL)
        return NULL;
    discovery->probe_count++;
    assert(discovery->probe_count <= PROBES_MAX);
    *probe = (struct probe){.aim = aim, .socket = socket, .to = *to, .next_at = now};
    probe->attempts_max = aim == AIM_HAIRPIN ? pace->hairpin_attempts : pace->attempts;
    kh_rng_bytes(&discovery->rng, probe->id, sizeof probe->id);
    return probe;
}

static bool has_two_addresses(const struct kh_nat_discovery *discovery)
{
    return !kh_addr_ip_equal(&discovery->other, &discovery->config.server);
}

static void ask_other_places(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct kh_addr *first = kh_nat_probe_mapped(discovery, AIM_SAMPLE, SOCKET_MAPPING);
    const struct kh_addr *second = kh_nat_probe_mapped(discovery, AIM_OTHER_PORT, SOCKET_MAPPING);
    struct kh_addr other_port = discovery->config.server;
    struct kh_addr other_ip = discovery->other;

    if (kh_addr_is_none(&discovery->other))
        return;
    other_port.port = discovery->other.port;
    ask(discovery, now, AIM_OTHER_PORT, SOCKET_MAPPING, &other_port);
    if (!has_two_addresses(discovery))
        return;
    other_ip.port = discovery->config.server.port;
    ask(discovery, now, AIM_OTHER_IP, SOCKET_MAPPING, &other_ip);
    /* One sample more of how ports are chosen, where each destination gives one. */
    if (first != NULL && second != NULL && !kh_addr_equal(first, second))
        ask(discovery, now, AIM_OTHER_BOTH, SOCKET_MAPPING, &discovery->other);
}

/* A quick one asks how strict the filter is only when it lets something pass. */
static void ask_filter(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct kh_addr *server = &discovery->config.server;
    const struct probe *port = kh_nat_probe_find(discovery, AIM_CHANGE_PORT, SOCKET_FILTER);

    if (port == NULL && discovery->config.quick && kh_addr_is_none(&discovery->other))
        return;
    ask(discovery, now, AIM_CHANGE_PORT, SOCKET_FILTER, server);
    if (!discovery->config.quick ||
        (port != NULL && port->answered && has_two_addresses(discovery)))
        ask(discovery, now, AIM_CHANGE_BOTH, SOCKET_FILTER, server);
}

/* Both ways: each datagram opens the filter for the other one. */
static void ask_ourselves(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct probe *one = kh_nat_probe_find(discovery, AIM_SAMPLE, SOCKET_HAIRPIN);
    const struct probe *two = kh_nat_probe_find(discovery, AIM_SAMPLE, SOCKET_HAIRPIN_BACK);

    if (one == NULL || two == NULL || !one->answered || !two->answered ||
        !kh_nat_probe_is_translated(discovery, one))
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
    const struct pace *pace = pace_of(discovery);

    if (discovery->state != STATE_ASKING)
        return;
    for (size_t i = 0; i < discovery->probe_count; i++) {
        struct probe *probe = &discovery->probes[i];

        if (probe->over || now < probe->next_at)
            continue;
        if (probe->attempts == probe->attempts_max || discovery->attempts == pace->attempts_max) {
            probe->over = true;
            continue;
        }
        probe->due = true;
        probe->attempts++;
        discovery->attempts++;
        probe->next_at = kh_time_add(now, probe->attempts < probe->attempts_max ? pace->interval
                                                                                : pace->patience);
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

/* The main socket is known already, and where nothing is translated, so is all but the filter. */
static void start_quick(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct kh_nat_discovery_config *config = &discovery->config;
    struct probe *main = ask(discovery, now, AIM_SAMPLE, SOCKET_MAPPING, &config->server);

    main->answered = main->over = true;
    main->mapped = config->mapped;
    discovery->local = config->sockets[SOCKET_MAPPING];
    discovery->last_port = config->mapped.port;
    if (kh_addr_is_none(&discovery->other))
        ask(discovery, now, AIM_PLACES, SOCKET_MAPPING, &config->server);
    ask_other_places(discovery, now);
    ask_filter(discovery, now);
    ask(discovery, now, AIM_SAMPLE, SOCKET_FILTER, &config->server);
    for (size_t i = SOCKET_HAIRPIN;
         kh_nat_probe_is_translated(discovery, main) && i < config->socket_count; i++)
        ask(discovery, now, AIM_SAMPLE, i, &config->server);
}

static void start_thorough(struct kh_nat_discovery *discovery, kh_time now)
{
    const struct kh_addr *server = &discovery->config.server;

    for (size_t i = 0; i < discovery->config.socket_count; i++)
        ask(discovery, now, AIM_SAMPLE, i, server);
    ask(discovery, now, AIM_PLACES, SOCKET_MAPPING, server);
    ask_filter(discovery, now);
}

void kh_nat_discovery_start(struct kh_nat_discovery *discovery, kh_time now)
{
    assert(discovery->state == STATE_IDLE);
    enter(discovery, STATE_ASKING);
    discovery->end_at = kh_time_add(now, pace_of(discovery)->longest);
    if (discovery->config.quick)
        start_quick(discovery, now);
    else
        start_thorough(discovery, now);
    advance(discovery, now);
}

/* ---- answers ---- */

static void learn_other(struct kh_nat_discovery *discovery, const struct kh_stun_message *message)
{
    struct kh_addr other;

    if (kh_addr_is_none(&discovery->other) &&
        kh_stun_find_addr(message, KH_STUN_OTHER_ADDRESS, &other) &&
        is_other_place(&other, &discovery->config.server))
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
    case AIM_PLACES:
    case AIM_OTHER_PORT:
    case AIM_OTHER_IP:
    case AIM_OTHER_BOTH:
        return kh_addr_equal(from, &probe->to);
    case AIM_HAIRPIN:
        return false; /* it is a request that comes back */
    }
    return false;
}

static bool refuse(struct probe *probe)
{
    probe->refused = probe->over = true;
    return true;
}

static bool take_answer(struct kh_nat_discovery *discovery, struct probe *probe,
                        const struct kh_datagram *datagram, const struct kh_stun_message *message)
{
    bool came_from_server = kh_addr_equal(&datagram->from, &probe->to);
    struct kh_addr mapped;

    if (!came_from_right_place(discovery, probe, &datagram->from)) {
        /* From where we asked: an error, or a server that does not know CHANGE-REQUEST. */
        return came_from_server && probe->aim != AIM_HAIRPIN && refuse(probe);
    }
    if (message->class != KH_STUN_SUCCESS)
        return probe->aim == AIM_PLACES && refuse(probe);
    if (!kh_stun_find_addr(message, KH_STUN_XOR_MAPPED_ADDRESS, &mapped) || mapped.port == 0)
        return false; /* no NAT has a port 0, so this server is none, or a liar */
    probe->mapped = mapped;
    probe->answered = true;
    probe->over = true;
    discovery->local = datagram->to;
    if (probe->aim != AIM_CHANGE_PORT && probe->aim != AIM_CHANGE_BOTH)
        discovery->last_port = probe->mapped.port;
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

bool kh_nat_discovery_handle_datagram(struct kh_nat_discovery *discovery, kh_time now,
                                      const struct kh_datagram *datagram)
{
    assert(is_drained(discovery));
    if (discovery->state != STATE_ASKING)
        return false;
    if (!take(discovery, datagram)) {
        discovery->dropped++;
        return false;
    }
    ask_other_places(discovery, now);
    ask_filter(discovery, now);
    ask_ourselves(discovery, now);
    advance(discovery, now);
    return true;
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
    else if (probe->aim == AIM_PLACES)
        kh_stun_add_u32(&writer, KH_STUN_CHANGE_REQUEST, 0);
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

bool kh_nat_discovery_has_mapping(const struct kh_nat_discovery *discovery)
{
    bool asked = false;

    for (size_t i = 0; i < discovery->probe_count; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (probe->aim == AIM_CHANGE_PORT || probe->aim == AIM_CHANGE_BOTH ||
            probe->aim == AIM_HAIRPIN || probe->aim == AIM_OTHER_BOTH)
            continue;
        asked = asked || probe->aim == AIM_OTHER_PORT;
        if (!probe->over)
            return false;
    }
    return asked;
}

bool kh_nat_discovery_is_done(const struct kh_nat_discovery *discovery)
{
    return discovery->state == STATE_DONE;
}
