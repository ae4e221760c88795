/* fuzz/ice.c - no sequence of inputs breaks an agent's invariants, whoever knows the password.
 *
 * SPDX-License-Identifier: MIT
 *
 * The input is a list of steps: candidates come and go, time passes, the peer asks and answers
 * with the right password or the wrong one, strangers send anything.
 */
#include <stdlib.h>
#include <string.h>

#include "ice/ice.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define STEPS_MAX 400
#define SENT_MAX 8  /* of our own checks remembered, to be answered or echoed */
#define BUSY_MAX 32 /* timeouts in a row without time passing: more would be a busy loop */

struct sent {
    struct kh_addr from, to;
    uint8_t data[300];
    size_t len;
};

struct run {
    struct kh_reader input;
    struct kh_ice_agent *agent;
    struct kh_ice_credentials local, remote;
    kh_time now;
    struct sent sent[SENT_MAX];
    size_t sent_count;
    struct kh_ice_path path;
};

static const struct kh_ice_credentials some_credentials[] = {
    {"alice", "alicealicealicealicealice"},
    {"bobbob", "bobbobbobbobbobbobbobbob"},
    {"carol", "carolcarolcarolcarolcarol"},
    {"dan+/", "dandandandandandandandan+/"},
};

/* Few addresses, so that steps meet: 16 of each family and reach. */
static struct kh_addr an_addr(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8};
    uint16_t port = (uint16_t)(4000 + (byte & 1));
    struct kh_addr addr;

    switch (byte >> 5) {
    case 0:
        return kh_addr_ipv4(192, 168, 1, byte >> 1 & 15, port);
    case 1:
        return kh_addr_ipv4(127, 0, 0, 1, port);
    case 2:
        ip[15] = byte >> 1 & 15;
        return kh_addr_from_ip(KH_FAMILY_IPV6, ip, port);
    case 3:
        memcpy(ip, (const uint8_t[]){0xfe, 0x80, 0, 0}, 4);
        ip[15] = byte >> 1 & 15;
        return kh_addr_from_ip(KH_FAMILY_IPV6, ip, port);
    case 4:
        return (struct kh_addr){0};
    case 6:
        addr = kh_addr_ipv4(198, 51, 100, byte >> 1 & 15, port);
        addr.transport = KH_TCP;
        return addr;
    default:
        return kh_addr_ipv4(198, 51, 100, byte >> 1 & 15, port);
    }
}

static void drain(struct run *run)
{
    struct kh_ice_event event;
    struct kh_datagram datagram;
    unsigned events = 0, datagrams = 0;

    while (kh_ice_agent_next_event(run->agent, &event)) {
        events++;
        if (event.kind == KH_ICE_EVENT_PATH)
            run->path = event.path;
    }
    while (kh_ice_agent_next_transmit(run->agent, &datagram)) {
        struct sent *sent = &run->sent[run->sent_count++ % SENT_MAX];

        datagrams++;
        TEST(datagram.len <= sizeof sent->data && kh_stun_is_stun(datagram.data, datagram.len));
        *sent = (struct sent){.from = datagram.from, .to = datagram.to, .len = datagram.len};
        memcpy(sent->data, datagram.data, datagram.len);
    }
    TEST(events <= 8 && datagrams <= 16);
    /* What we are told to send along is always what a check vouches for. */
    if (kh_ice_agent_state(run->agent) == KH_ICE_CONNECTED)
        TEST(kh_ice_agent_is_valid(run->agent, &run->path.local, &run->path.remote));
    if (kh_ice_agent_state(run->agent) == KH_ICE_FAILED)
        TEST(kh_ice_agent_timeout(run->agent) == KH_NEVER);
}

static void pass_time(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    kh_time due = kh_ice_agent_timeout(run->agent);
    unsigned busy = 0;

    if (byte < 128 && due != KH_NEVER)
        run->now = due > run->now ? due : run->now;
    else
        run->now += (kh_duration)(byte & 127) * (byte & 127) * KH_MILLISECONDS(4);
    do {
        kh_ice_agent_handle_timeout(run->agent, run->now);
        drain(run);
        TEST(++busy < BUSY_MAX);
    } while (kh_ice_agent_timeout(run->agent) <= run->now);
}

static void change_candidates(struct run *run, uint8_t what)
{
    uint8_t kind = kh_read_u8(&run->input);
    struct kh_ice_candidate candidate = {.kind = (enum kh_ice_kind)(kind % 5),
                                         .addr = an_addr(run)};

    if (candidate.addr.transport == KH_TCP)
        candidate.tcp = 1 + kind / 5u % 7;

    if (what == 0 && kind < 64) {
        kh_ice_agent_doubt(run->agent, run->now);
    } else if (what == 0 && kind < 128) {
        kh_ice_agent_remove_local(run->agent, run->now, &candidate.addr);
    } else if (what == 0) {
        kh_ice_agent_remove_remote(run->agent, run->now, &candidate.addr);
    } else if (what == 1) {
        candidate.base = candidate.kind == KH_ICE_HOST || candidate.kind == KH_ICE_RELAYED
                             ? candidate.addr
                             : an_addr(run);
        (void)!kh_ice_agent_add_local(run->agent, run->now, &candidate);
    } else {
        (void)!kh_ice_agent_add_remote(run->agent, run->now, &candidate);
    }
}

static void change_credentials(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    struct kh_ice_credentials with = some_credentials[byte & 3];

    if (byte < 64) {
        run->remote = with;
        kh_ice_agent_set_remote(run->agent, run->now, &with);
    } else if (byte < 128) {
        run->local = with;
        kh_ice_agent_restart(run->agent, run->now, &with);
    } else if (byte < 192) {
        kh_ice_agent_restart(run->agent, run->now, NULL);
    } else {
        with.ufrag[byte & 31] = (char)byte;
        kh_ice_agent_set_remote(run->agent, run->now, &with);
        run->remote = kh_ice_credentials_are_valid(&with) ? with : run->remote;
    }
}

static void give(struct run *run, struct kh_datagram *datagram)
{
    uint8_t *copy = malloc(datagram->len > 0 ? datagram->len : 1); /* exactly sized */

    TEST(copy != NULL);
    if (datagram->len > 0)
        memcpy(copy, datagram->data, datagram->len);
    datagram->data = copy;
    (void)kh_ice_agent_handle_datagram(run->agent, run->now, datagram);
    free(copy);
}

static void finish(struct run *run, struct kh_stun_writer *writer, struct kh_datagram *datagram,
                   const struct kh_ice_credentials *credentials)
{
    kh_stun_add_integrity(writer,
                          (struct kh_span){credentials->password, strlen(credentials->password)});
    kh_stun_add_fingerprint(writer);
    datagram->len = kh_stun_finish(writer);
    TEST(datagram->len != 0);
    give(run, datagram);
}

static void ask(struct run *run)
{
    uint8_t flags = kh_read_u8(&run->input);
    uint8_t value = kh_read_u8(&run->input);
    uint8_t data[300];
    uint8_t id[KH_STUN_ID_LEN] = {value};
    char username[80];
    size_t ours = strlen(run->local.ufrag), theirs = strlen(run->remote.ufrag);
    struct kh_datagram datagram = {.from = an_addr(run), .to = an_addr(run), .data = data};
    struct kh_stun_writer writer =
        kh_stun_begin(data, sizeof data, KH_STUN_REQUEST, KH_STUN_BINDING, id);

    memcpy(username, run->local.ufrag, ours);
    username[ours] = ':';
    memcpy(username + ours + 1, run->remote.ufrag, theirs);
    kh_stun_add(&writer, KH_STUN_USERNAME, username, ours + 1 + theirs);
    if ((flags & 1) == 0)
        kh_stun_add_u32(&writer, KH_STUN_PRIORITY, value * 0x01010101u);
    if ((flags & 6) != 0)
        kh_stun_add_u64(&writer, flags & 2 ? KH_STUN_ICE_CONTROLLING : KH_STUN_ICE_CONTROLLED,
                        value * 0x0101010101010101u);
    if (flags & 8)
        kh_stun_add_flag(&writer, KH_STUN_USE_CANDIDATE);
    if (flags & 16)
        kh_stun_add_u32(&writer, KH_STUN_NOMINATION, value);
    if (flags & 32)
        kh_stun_add_u32(&writer, 0x7abc, value);
    finish(run, &writer, &datagram, flags & 64 ? &run->remote : &run->local);
}

static void answer(struct run *run)
{
    uint8_t flags = kh_read_u8(&run->input);
    const struct sent *sent = &run->sent[kh_read_u8(&run->input) % SENT_MAX];
    uint8_t data[300];
    struct kh_datagram datagram = {.from = sent->to, .to = sent->from, .data = data};
    struct kh_addr mapped = sent->from;
    struct kh_stun_writer writer;

    if (flags & 1)
        mapped = an_addr(run);
    if (flags & 2)
        datagram.from = an_addr(run);
    writer = kh_stun_begin(data, sizeof data, flags & 4 ? KH_STUN_ERROR : KH_STUN_SUCCESS,
                           KH_STUN_BINDING, sent->data + 8);
    if (flags & 4)
        kh_stun_add_error(&writer, flags & 8 ? 487 : 400, "");
    else if ((flags & 16) == 0 && !kh_addr_is_none(&mapped))
        kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &mapped);
    if (flags & 32)
        kh_stun_add_u32(&writer, 0x7abc, 1);
    finish(run, &writer, &datagram, flags & 64 ? &run->local : &run->remote);
}

/* Anything at all, or one of our own messages echoed with a byte changed. */
static void stray(struct run *run)
{
    const struct sent *sent = &run->sent[kh_read_u8(&run->input) % SENT_MAX];
    uint8_t len = kh_read_u8(&run->input);
    struct kh_datagram datagram = {.from = an_addr(run), .to = an_addr(run)};
    uint8_t data[300];

    if (len < 128) {
        datagram.data = kh_read_bytes(&run->input, len);
        datagram.len = datagram.data != NULL ? len : 0;
    } else {
        memcpy(data, sent->data, sent->len);
        data[len] ^= kh_read_u8(&run->input);
        datagram.data = data;
        datagram.len = sent->len;
    }
    give(run, &datagram);
}

/* One of the addresses is TCP, or there could be no connection. */
static void lose(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    const struct sent *sent = &run->sent[byte % SENT_MAX];
    struct kh_addr local = sent->from.transport == KH_TCP ? sent->from : an_addr(run);
    struct kh_addr remote = sent->from.transport == KH_TCP ? sent->to : an_addr(run);

    if (byte >= 128)
        kh_ice_agent_reconsider(run->agent, run->now);
    else if (local.transport == KH_TCP)
        kh_ice_agent_handle_lost(run->agent, run->now, &local, &remote);
}

/* A punch: checks that nobody waits for, and ports that they may arrive at. */
static void spare(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    struct kh_datagram way = {.from = an_addr(run), .to = an_addr(run), .ttl = byte & 7};

    if (byte < 64)
        kh_ice_agent_set_spare(run->agent, run->now, NULL);
    else if (byte < 128)
        kh_ice_agent_set_spare(run->agent, run->now, &way.from);
    else if (!kh_addr_is_none(&way.from) && !kh_addr_is_none(&way.to))
        (void)kh_ice_agent_probe(run->agent, run->now, &way);
}

static void step(struct run *run)
{
    uint8_t what = kh_read_u8(&run->input) % 16;

    if (what < 3)
        change_candidates(run, what);
    else if (what == 3)
        change_credentials(run);
    else if (what < 8)
        ask(run);
    else if (what < 12)
        answer(run);
    else if (what == 12)
        stray(run);
    else if (what == 13)
        lose(run);
    else if (what == 14)
        spare(run);
    else
        pass_time(run);
    if (what < 15)
        drain(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run run = {.input = kh_reader_of(data, len),
                      .local = some_credentials[0],
                      .remote = some_credentials[1],
                      .now = KH_SECONDS(1)};
    struct kh_ice_config config = {.role = kh_read_u8(&run.input) & 1 ? KH_ICE_CONTROLLING
                                                                      : KH_ICE_CONTROLLED,
                                   .local = run.local};

    TEST(kh_ice_agent_new(&run.agent, &config) == KH_OK);
    for (unsigned i = 0; i < STEPS_MAX && run.input.left > 0 && !run.input.failed; i++)
        step(&run);
    kh_ice_agent_free(run.agent);
    return 0;
}
