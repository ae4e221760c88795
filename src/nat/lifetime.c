/* nat/lifetime.c - silences of growing length, all begun at once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/lifetime.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "stun/stun.h"

#define ATTEMPTS_MAX 6 /* of ten datagrams lost each way one: a memory is missed once in 20,000 */
#define INTERVAL KH_MILLISECONDS(250)
#define PATIENCE KH_SECONDS(1) /* for the answer to the last attempt */

/* A server answers no more bytes than it got to another port, and two more addresses of IPv6 in the
 * answer are 72. */
#define SOFTWARE "Knothole asks how long a NAT remembers: answer to that port, please."

/* Just above our own keepalives of 20 s, and just below what routers are known to be set to: 30,
 * 60, 90, 120, 180, 240 and 300 s. */
static const unsigned silences_s[KH_NAT_LIFETIME_STEPS] = {5,  12,  22,  28,  58,
                                                           88, 118, 178, 238, 298};

enum phase {
    PHASE_OPENING, /* asks the server from the socket itself: where is it seen? */
    PHASE_SILENT,
    PHASE_ASKING, /* by the last socket, for an answer to the silent one */
    PHASE_OVER,
};

struct step {
    enum phase phase;
    uint8_t id[KH_STUN_ID_LEN];
    unsigned attempts;
    kh_time next_at; /* of the next attempt, of the end of the silence, or of giving up */
    kh_time spoke_at;
    bool due;
    struct kh_addr mapped;
    bool remembered;
};

struct kh_nat_lifetime {
    struct kh_nat_lifetime_config config;
    struct kh_rng rng;
    bool started;
    bool refused;
    struct step steps[KH_NAT_LIFETIME_STEPS];
    uint8_t request[128];
};

enum kh_status kh_nat_lifetime_new(struct kh_nat_lifetime **out,
                                   const struct kh_nat_lifetime_config *config)
{
    struct kh_nat_lifetime *lifetime = calloc(1, sizeof *lifetime);

    assert(!kh_addr_is_none(&config->server));
    if (lifetime == NULL)
        return KH_ERR_MEMORY;
    lifetime->config = *config;
    kh_rng_init(&lifetime->rng, config->seed);
    kh_wipe(lifetime->config.seed, sizeof lifetime->config.seed);
    *out = lifetime;
    return KH_OK;
}

void kh_nat_lifetime_free(struct kh_nat_lifetime *lifetime)
{
    if (lifetime == NULL)
        return;
    kh_rng_fini(&lifetime->rng);
    free(lifetime);
}

/* ---- time ---- */

/* A new question: new id, new attempts, the first of them at once. */
static void ask(struct kh_nat_lifetime *lifetime, kh_time now, struct step *step, enum phase phase)
{
    step->phase = phase;
    step->attempts = 0;
    step->next_at = now;
    kh_rng_bytes(&lifetime->rng, step->id, sizeof step->id);
}

static void advance_step(struct kh_nat_lifetime *lifetime, kh_time now, struct step *step)
{
    if (step->phase == PHASE_OVER || now < step->next_at)
        return;
    if (step->phase == PHASE_SILENT)
        ask(lifetime, now, step, PHASE_ASKING);
    if (step->attempts == ATTEMPTS_MAX) {
        step->phase = PHASE_OVER;
        return;
    }
    step->due = true;
    step->attempts++;
    if (step->phase == PHASE_OPENING)
        step->spoke_at = now;
    step->next_at = kh_time_add(now, step->attempts < ATTEMPTS_MAX ? INTERVAL : PATIENCE);
}

static void advance(struct kh_nat_lifetime *lifetime, kh_time now)
{
    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS && !kh_nat_lifetime_is_done(lifetime); i++)
        advance_step(lifetime, now, &lifetime->steps[i]);
}

void kh_nat_lifetime_start(struct kh_nat_lifetime *lifetime, kh_time now)
{
    assert(!lifetime->started);
    lifetime->started = true;
    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS; i++)
        ask(lifetime, now, &lifetime->steps[i], PHASE_OPENING);
    advance(lifetime, now);
}

void kh_nat_lifetime_handle_timeout(struct kh_nat_lifetime *lifetime, kh_time now)
{
    advance(lifetime, now);
}

kh_time kh_nat_lifetime_timeout(const struct kh_nat_lifetime *lifetime)
{
    kh_time timeout = KH_NEVER;

    if (!lifetime->started || kh_nat_lifetime_is_done(lifetime))
        return KH_NEVER;
    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS; i++) {
        if (lifetime->steps[i].phase != PHASE_OVER)
            timeout = kh_time_min(timeout, lifetime->steps[i].next_at);
    }
    return timeout;
}

/* ---- datagrams ---- */

static size_t write_request(struct kh_nat_lifetime *lifetime, const struct step *step)
{
    struct kh_stun_writer writer = kh_stun_begin(lifetime->request, sizeof lifetime->request,
                                                 KH_STUN_REQUEST, KH_STUN_BINDING, step->id);

    if (step->phase == PHASE_ASKING) {
        kh_stun_add_u32(&writer, KH_STUN_RESPONSE_PORT, (uint32_t)step->mapped.port << 16);
        kh_stun_add(&writer, KH_STUN_SOFTWARE, SOFTWARE, sizeof SOFTWARE - 1);
    }
    return kh_stun_finish(&writer);
}

bool kh_nat_lifetime_next_transmit(struct kh_nat_lifetime *lifetime, struct kh_datagram *out)
{
    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS; i++) {
        struct step *step = &lifetime->steps[i];
        size_t socket = step->phase == PHASE_ASKING ? KH_NAT_LIFETIME_STEPS : i;

        if (!step->due)
            continue;
        step->due = false;
        if (step->phase == PHASE_OVER || step->phase == PHASE_SILENT)
            continue;
        *out = (struct kh_datagram){.from = lifetime->config.sockets[socket],
                                    .to = lifetime->config.server,
                                    .data = lifetime->request,
                                    .len = write_request(lifetime, step)};
        return true;
    }
    return false;
}

static void take_opening(struct step *step, unsigned silence_s,
                         const struct kh_stun_message *message)
{
    if (message->class != KH_STUN_SUCCESS ||
        !kh_stun_find_addr(message, KH_STUN_XOR_MAPPED_ADDRESS, &step->mapped))
        return;
    step->phase = PHASE_SILENT;
    step->next_at = kh_time_add(step->spoke_at, KH_SECONDS(silence_s));
}

/* At the silent socket: it was remembered.  At the one that asked: an error, or a server that does
 * not know RESPONSE-PORT. */
static void take_answer(struct kh_nat_lifetime *lifetime, struct step *step, uint16_t port)
{
    size_t at = (size_t)(step - lifetime->steps);

    if (port == lifetime->config.sockets[at].port) {
        step->remembered = true;
        step->phase = PHASE_OVER;
    } else if (port == lifetime->config.sockets[KH_NAT_LIFETIME_STEPS].port) {
        lifetime->refused = true;
    }
}

void kh_nat_lifetime_handle_datagram(struct kh_nat_lifetime *lifetime, kh_time now,
                                     const struct kh_datagram *datagram)
{
    struct kh_stun_message message;

    if (!kh_addr_equal(&datagram->from, &lifetime->config.server) ||
        !kh_stun_is_stun(datagram->data, datagram->len) ||
        kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK ||
        message.method != KH_STUN_BINDING ||
        (message.class != KH_STUN_SUCCESS && message.class != KH_STUN_ERROR))
        return;
    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS; i++) {
        struct step *step = &lifetime->steps[i];

        if (memcmp(step->id, message.id, sizeof step->id) != 0)
            continue;
        if (step->phase == PHASE_OPENING && datagram->to.port == lifetime->config.sockets[i].port)
            take_opening(step, silences_s[i], &message);
        else if (step->phase == PHASE_ASKING)
            take_answer(lifetime, step, datagram->to.port);
    }
    advance(lifetime, now);
}

/* ---- conclusions ---- */

static bool is_known(const struct step *step)
{
    return !kh_addr_is_none(&step->mapped);
}

struct kh_nat_lifetime_result kh_nat_lifetime_result(const struct kh_nat_lifetime *lifetime)
{
    struct kh_nat_lifetime_result result = {.refused = lifetime->refused};

    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS; i++) {
        const struct step *step = &lifetime->steps[i];

        result.reached = result.reached || is_known(step);
        if (step->remembered)
            result.remembered_s = silences_s[i];
        else if (step->phase == PHASE_OVER && is_known(step) && result.forgotten_s == 0)
            result.forgotten_s = silences_s[i];
    }
    /* One that was lost on the way does not make a longer one that came unsaid. */
    if (result.forgotten_s != 0 && result.forgotten_s < result.remembered_s)
        result.forgotten_s = 0;
    return result;
}

bool kh_nat_lifetime_is_done(const struct kh_nat_lifetime *lifetime)
{
    struct kh_nat_lifetime_result result = kh_nat_lifetime_result(lifetime);

    if (result.refused || result.forgotten_s != 0)
        return true;
    for (size_t i = 0; i < KH_NAT_LIFETIME_STEPS; i++) {
        if (lifetime->steps[i].phase != PHASE_OVER)
            return false;
    }
    return true;
}
