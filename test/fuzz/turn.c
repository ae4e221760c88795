/* fuzz/turn.c - no server, even one that knows the password, breaks a TURN
 * client's invariants.
 *
 * SPDX-License-Identifier: MIT
 *
 * The input is a list of steps: the owner's wishes, time that passes, and what
 * a server sends: answers with the right key or a wrong one, challenges, peers'
 * data, anything.
 */
#include <stdlib.h>
#include <string.h>

#include "turn/turn.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define STEPS_MAX 400
#define SENT_MAX 8      /* of the client's requests remembered, to be answered */
#define BUSY_MAX 32     /* timeouts in a row without time passing: more would be a busy loop */
#define OUTPUTS_MAX 512 /* of one step: every permission, every channel, a few more */

struct run {
    struct kh_reader input;
    struct kh_turn_client *client;
    kh_time now;
    struct kh_addr server, local, relayed;
    uint8_t sent[SENT_MAX][KH_DATAGRAM_MAX];
    size_t sent_len[SENT_MAX];
    size_t sent_count;
};

static const struct kh_span username = {"alice", 5};
static const struct kh_span password = {"secret", 6};

/* Few addresses, so that steps meet. */
static struct kh_addr an_addr(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = byte >> 1 & 15};
    uint16_t port = (uint16_t)(4000 + (byte & 1));

    if (byte >> 6 == 0)
        return kh_addr_from_ip(KH_FAMILY_IPV6, ip, port);
    return kh_addr_ipv4(203, 0, 113, byte >> 1 & 15, byte >> 6 == 1 ? 0 : port);
}

static void remember(struct run *run, const struct kh_datagram *datagram)
{
    struct kh_stun_message message;
    size_t at;

    TEST(kh_addr_equal(&datagram->to, &run->server));
    TEST(datagram->len <= KH_TURN_PAYLOAD_MAX + KH_TURN_OVERHEAD_MAX);
    if (kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK) {
        TEST(datagram->len >= 4 && datagram->data[0] >= 0x40 && datagram->data[0] < 0x50);
        return;
    }
    if (message.class != KH_STUN_REQUEST)
        return;
    TEST(datagram->len <= KH_DATAGRAM_MAX);
    at = run->sent_count++ % SENT_MAX;
    memcpy(run->sent[at], datagram->data, datagram->len);
    run->sent_len[at] = datagram->len;
}

static void drain(struct run *run)
{
    struct kh_turn_event event;
    struct kh_datagram datagram;
    unsigned events = 0, datagrams = 0, received = 0;

    while (kh_turn_client_next_event(run->client, &event)) {
        events++;
        if (event.kind == KH_TURN_EVENT_ALLOCATED) {
            TEST(kh_turn_client_state(run->client) == KH_TURN_ALLOCATED);
            run->relayed = kh_addr_is_none(&event.allocated.relayed4) ? event.allocated.relayed6
                                                                      : event.allocated.relayed4;
        } else if (event.kind != KH_TURN_EVENT_PEER_REFUSED) {
            TEST(kh_turn_client_state(run->client) == KH_TURN_IDLE);
        }
    }
    while (kh_turn_client_next_received(run->client, &datagram)) {
        received++;
        TEST(datagram.len <= KH_TURN_PAYLOAD_MAX);
        TEST(kh_turn_client_state(run->client) == KH_TURN_ALLOCATED);
    }
    while (kh_turn_client_next_transmit(run->client, &datagram)) {
        datagrams++;
        remember(run, &datagram);
    }
    TEST(events <= 2 && received <= 1 && datagrams <= OUTPUTS_MAX);
    if (kh_turn_client_state(run->client) == KH_TURN_IDLE)
        TEST(kh_turn_client_timeout(run->client) == KH_NEVER);
    else
        TEST(kh_turn_client_timeout(run->client) != KH_NEVER);
}

static void pass_time(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    kh_time due = kh_turn_client_timeout(run->client);
    unsigned busy = 0;

    if (byte < 128 && due != KH_NEVER)
        run->now = due > run->now ? due : run->now;
    else
        run->now += (kh_duration)(byte & 127) * (byte & 127) * KH_MILLISECONDS(40);
    do {
        kh_turn_client_handle_timeout(run->client, run->now);
        drain(run);
        TEST(++busy < BUSY_MAX);
    } while (kh_turn_client_timeout(run->client) <= run->now);
}

static void move(struct run *run)
{
    struct kh_addr local = run->local;

    local.port++;
    if (kh_turn_client_move(run->client, run->now, &local))
        run->local = local;
}

static void wish(struct run *run)
{
    uint8_t byte = kh_read_u8(&run->input);
    struct kh_turn_request request = {.server = run->server,
                                      .local = run->local,
                                      .families = (enum kh_turn_families)(byte % 3),
                                      .username = username,
                                      .password = password};

    request.mobile = byte & 8;
    if (byte & 64) {
        request.realm = (struct kh_span){"realm", 5};
        request.nonce = (struct kh_span){"nonce", 5};
    }
    if (byte & 32) {
        request.algorithms[0] = byte & 16 ? KH_STUN_ALGORITHM_SHA256 : KH_STUN_ALGORITHM_MD5;
        request.algorithm_count = 1;
    }
    if (byte >= 240)
        kh_turn_client_release(run->client, run->now);
    else if (byte >= 232)
        kh_turn_client_abandon(run->client, run->now, byte & 1);
    else if (byte >= 224)
        kh_turn_client_probe(run->client, run->now);
    else if (byte >= 216)
        move(run);
    else if (kh_turn_client_state(run->client) == KH_TURN_IDLE)
        TEST(kh_turn_client_allocate(run->client, run->now, &request) == KH_OK);
}

static void say(struct run *run)
{
    static const uint8_t text[KH_TURN_PAYLOAD_MAX + 16] = "words";
    uint8_t byte = kh_read_u8(&run->input);
    const struct kh_datagram datagram = {
        .from = run->relayed,
        .to = an_addr(run),
        .data = text,
        .len = byte > 240 ? (size_t)KH_TURN_PAYLOAD_MAX - 240 + byte : byte,
    };

    if (byte == 1)
        kh_turn_client_permit(run->client, run->now, &datagram.to);
    else
        kh_turn_client_send(run->client, run->now, &datagram);
}

static void give(struct run *run, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1); /* exactly sized */
    const struct kh_datagram datagram = {
        .from = run->server, .to = run->local, .data = copy, .len = len};

    TEST(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    (void)kh_turn_client_handle_datagram(run->client, run->now, &datagram);
    free(copy);
}

/* With the key that the request was made with. */
static void sign(struct kh_stun_writer *writer, const struct kh_stun_message *request)
{
    struct kh_stun_attribute realm, algorithm;
    uint8_t key[KH_SHA256_LEN];

    if (!kh_stun_find(request, KH_STUN_REALM, &realm))
        return;
    if (kh_stun_find(request, KH_STUN_PASSWORD_ALGORITHM, &algorithm) && algorithm.value[1] == 2) {
        kh_stun_long_term_key_sha256(username, (struct kh_span){realm.value, realm.len}, password,
                                     key);
        kh_stun_add_integrity_sha256(writer, (struct kh_span){key, KH_SHA256_LEN});
        return;
    }
    kh_stun_long_term_key_md5(username, (struct kh_span){realm.value, realm.len}, password, key);
    if (request->integrity_sha256_at != 0)
        kh_stun_add_integrity_sha256(writer, (struct kh_span){key, KH_MD5_LEN});
    else
        kh_stun_add_integrity(writer, (struct kh_span){key, KH_MD5_LEN});
}

static void add_challenge(struct run *run, struct kh_stun_writer *writer)
{
    static const uint16_t numbers[] = {KH_STUN_ALGORITHM_MD5, KH_STUN_ALGORITHM_SHA256, 77};
    static const char *const nonces[] = {"nonce", "another", "obMatJos2AAAB+", "obMatJos2????+"};
    uint8_t byte = kh_read_u8(&run->input);
    const char *nonce = nonces[byte & 3];

    kh_stun_add(writer, KH_STUN_REALM, "realms", byte & 4 ? 5 : 6);
    kh_stun_add(writer, KH_STUN_NONCE, nonce, byte & 8 ? 0 : strlen(nonce));
    if (byte & 16)
        kh_stun_add_algorithms(writer, KH_STUN_PASSWORD_ALGORITHMS, numbers + (byte >> 5 & 1),
                               1 + (byte >> 6 & 1));
}

static void add_success(struct run *run, struct kh_stun_writer *writer)
{
    uint8_t byte = kh_read_u8(&run->input);
    struct kh_addr addr = an_addr(run);

    kh_stun_add_addr(writer, KH_STUN_XOR_RELAYED_ADDRESS, &addr);
    if (byte & 1) {
        addr = an_addr(run);
        kh_stun_add_addr(writer, KH_STUN_XOR_RELAYED_ADDRESS, &addr);
    }
    if (byte & 2)
        kh_stun_add_u32(writer, KH_STUN_LIFETIME, byte & 4 ? 600 : byte >> 3);
    if (byte & 8)
        kh_stun_add(writer, KH_STUN_MOBILITY_TICKET, "the ticket", byte >> 4 & 7);
    if (byte & 128)
        kh_stun_add(writer, KH_STUN_NONCE, "the next", byte >> 4 & 7);
}

static void answer(struct run *run)
{
    static const unsigned codes[] = {401, 438, 437, 403, 300, 500, 405, 441};
    size_t at = kh_read_u8(&run->input) % SENT_MAX;
    uint8_t flags = kh_read_u8(&run->input);
    bool is_error = (flags & 1) != 0;
    struct kh_stun_message request;
    struct kh_addr other;
    uint8_t data[KH_DATAGRAM_MAX];
    struct kh_stun_writer writer;

    if (kh_stun_parse(run->sent[at], run->sent_len[at], &request) != KH_OK)
        return;
    writer = kh_stun_begin(data, sizeof data, is_error ? KH_STUN_ERROR : KH_STUN_SUCCESS,
                           request.method, request.id);
    if (is_error) {
        kh_stun_add_error(&writer, codes[flags >> 1 & 7], "");
        if ((flags >> 1 & 7) < 2)
            add_challenge(run, &writer);
        other = an_addr(run);
        kh_stun_add_addr(&writer, KH_STUN_ALTERNATE_SERVER, &other);
    } else {
        add_success(run, &writer);
    }
    if (flags & 16)
        kh_stun_add_u32(&writer, 0x7abc, 1);
    if ((flags & 32) == 0)
        sign(&writer, &request);
    give(run, data, kh_stun_finish(&writer));
}

static void relay(struct run *run)
{
    static const uint8_t id[KH_STUN_ID_LEN] = "relay";
    static const uint8_t text[KH_TURN_PAYLOAD_MAX + 16];
    uint8_t flags = kh_read_u8(&run->input);
    size_t len = kh_read_u8(&run->input);
    struct kh_addr peer = an_addr(run);
    uint8_t data[2000];
    struct kh_writer channel;
    struct kh_stun_writer writer;

    if (flags & 1) {
        channel = kh_writer_to(data, sizeof data);
        kh_write_u16(&channel, (uint16_t)(0x4000 + (flags >> 4)));
        kh_write_u16(&channel, (uint16_t)(flags & 2 ? len + 1 : len));
        kh_write_zeros(&channel, len);
        give(run, data, channel.len);
        return;
    }
    writer = kh_stun_begin(data, sizeof data, KH_STUN_INDICATION, KH_STUN_DATA, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &peer);
    if (flags & 2)
        kh_stun_add_u64(&writer, KH_STUN_ICMP, len);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, text, flags & 4 ? KH_TURN_PAYLOAD_MAX + 16 : len);
    give(run, data, kh_stun_finish(&writer));
}

static void stray(struct run *run)
{
    size_t len = kh_read_u8(&run->input);
    const uint8_t *data;

    if (len > run->input.left)
        len = run->input.left;
    data = kh_read_bytes(&run->input, len);
    give(run, data, len);
}

static void step(struct run *run)
{
    uint8_t what = kh_read_u8(&run->input) % 16;

    if (what < 2)
        wish(run);
    else if (what < 5)
        say(run);
    else if (what < 9)
        answer(run);
    else if (what < 12)
        relay(run);
    else if (what == 12)
        stray(run);
    else
        pass_time(run);
    if (what < 13)
        drain(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run run = {.input = kh_reader_of(data, len),
                      .now = KH_SECONDS(1),
                      .server = kh_addr_ipv4(192, 0, 2, 1, 3478),
                      .local = kh_addr_ipv4(198, 51, 100, 7, 40000)};
    const struct kh_turn_config config = {.seed = {1}};

    if (kh_read_u8(&run.input) & 1)
        run.server.transport = run.local.transport = KH_TCP;
    TEST(kh_turn_client_new(&run.client, &config) == KH_OK);
    for (unsigned i = 0; i < STEPS_MAX && run.input.left > 0 && !run.input.failed; i++)
        step(&run);
    kh_turn_client_free(run.client);
    return 0;
}
