/* fuzz/relay.c - a relay between clients with and without credentials, peers, and a moody owner.
 *
 * SPDX-License-Identifier: MIT
 *
 * The input is a script: an operation byte, a length byte, that many bytes.  What has to be signed
 * to get anywhere is signed here.  Whatever happens, nothing leaves for a denied peer, and only
 * from addresses that are open.
 */
#include <stdlib.h>
#include <string.h>

#include "relay/guard.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define CLIENTS 4
#define OPEN_MAX 64
#define REALM "knothole"
#define USERNAME "2000000000:alice"
#define PASSWORD "uoDL/AHil9mhKpZV8sTerU3VXBM="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct play {
    struct kh_relay *relay;
    struct kh_relay_config config;
    kh_time now;
    struct kh_addr clients[CLIENTS];
    struct kh_addr server;
    struct kh_addr open[OPEN_MAX];
    size_t open_count;
    unsigned mood;      /* of the owner: every bit refuses one OPEN */
    uint8_t ticket[64]; /* given last, if any */
    size_t ticket_len;
};

static size_t find_open(const struct play *play, const struct kh_addr *addr)
{
    size_t at = 0;

    while (at < play->open_count && !kh_addr_equal(&play->open[at], addr))
        at++;
    return at;
}

static void check_transmit(const struct play *play, const struct kh_datagram *out)
{
    TEST(out->len <= KH_RELAY_DATA_MAX);
    if (kh_addr_ip_equal(&out->from, &play->server) && out->from.port == play->server.port) {
        for (size_t i = 0; i < CLIENTS; i++) {
            if (kh_addr_equal(&out->to, &play->clients[i]))
                return;
        }
        TEST(false);
    }
    TEST(find_open(play, &out->from) < play->open_count);
    TEST(kh_relay_guard_judge(&play->config, &out->from, &out->to) == KH_RELAY_PEER_FINE);
}

static void remember_ticket(struct play *play, const struct kh_datagram *out)
{
    struct kh_stun_message message;
    struct kh_stun_attribute ticket;

    if (kh_stun_parse(out->data, out->len, &message) != KH_OK || message.class != KH_STUN_SUCCESS ||
        !kh_stun_find(&message, KH_STUN_MOBILITY_TICKET, &ticket))
        return;
    TEST(ticket.len > 0 && ticket.len <= sizeof play->ticket);
    memcpy(play->ticket, ticket.value, ticket.len);
    play->ticket_len = ticket.len;
}

static void take_transmits(struct play *play)
{
    struct kh_datagram out;

    while (kh_relay_next_transmit(play->relay, &out)) {
        check_transmit(play, &out);
        remember_ticket(play, &out);
    }
}

static void drain(struct play *play)
{
    struct kh_relay_event event;
    bool ok;

    take_transmits(play);
    while (kh_relay_next_event(play->relay, &event)) {
        size_t at = find_open(play, &event.addr);

        if (event.kind == KH_RELAY_EVENT_CLOSE) {
            TEST(at < play->open_count);
            play->open[at] = play->open[--play->open_count];
            continue;
        }
        TEST(at == play->open_count);
        ok = (play->mood & 1) == 0 && play->open_count < OPEN_MAX;
        play->mood >>= 1;
        if (ok)
            play->open[play->open_count++] = event.addr;
        kh_relay_opened(play->relay, play->now, &event.addr, ok);
        take_transmits(play);
    }
    TEST(kh_relay_stats(play->relay).allocations <= play->config.allocations_max + 1);
    TEST(kh_relay_stats(play->relay).allocations <= play->open_count);
}

static void give(struct play *play, const struct kh_datagram *datagram)
{
    struct kh_stun_message message;

    if (!kh_relay_handle_datagram(play->relay, play->now, datagram) &&
        kh_stun_parse(datagram->data, datagram->len, &message) == KH_OK)
        (void)kh_relay_handle_message(play->relay, play->now, datagram, &message, NULL);
    drain(play);
}

/* A request with these attributes, and the latest ticket if it says so, well signed. */
static void play_signed(struct play *play, uint16_t method, const uint8_t *data, size_t len)
{
    static const uint16_t methods[] = {KH_STUN_ALLOCATE, KH_STUN_REFRESH, KH_STUN_CREATE_PERMISSION,
                                       KH_STUN_CHANNEL_BIND};
    const struct kh_addr *client = &play->clients[len > 0 ? data[0] % CLIENTS : 0];
    uint8_t id[KH_STUN_ID_LEN] = {0};
    uint8_t bytes[1024];
    uint8_t key[KH_MD5_LEN];
    char nonce[KH_RELAY_NONCE_LEN];
    struct kh_stun_writer writer;

    if (len < 2)
        return;
    id[0] = data[1];
    writer = kh_stun_begin(bytes, sizeof bytes, KH_STUN_REQUEST, methods[method % 4], id);
    kh_write_bytes(&writer.bytes, data + 2, (len - 2) & ~(size_t)3);
    if (method & 4)
        kh_stun_add(&writer, KH_STUN_MOBILITY_TICKET, play->ticket, play->ticket_len);
    kh_relay_make_nonce(play->relay, play->now, client, nonce);
    kh_stun_add(&writer, KH_STUN_USERNAME, USERNAME, strlen(USERNAME));
    kh_stun_add(&writer, KH_STUN_REALM, REALM, strlen(REALM));
    kh_stun_add(&writer, KH_STUN_NONCE, nonce, sizeof nonce);
    kh_stun_long_term_key_md5((struct kh_span){USERNAME, strlen(USERNAME)},
                              (struct kh_span){REALM, strlen(REALM)},
                              (struct kh_span){PASSWORD, strlen(PASSWORD)}, key);
    kh_stun_add_integrity(&writer, (struct kh_span){key, sizeof key});
    give(play,
         &(struct kh_datagram){
             .from = *client, .to = play->server, .data = bytes, .len = kh_stun_finish(&writer)});
}

static struct kh_addr read_addr(const uint8_t *data, size_t len)
{
    uint8_t ip[16] = {0};

    memcpy(ip, data, len < sizeof ip ? len : sizeof ip);
    return kh_addr_from_ip(len < 8 ? KH_FAMILY_IPV4 : KH_FAMILY_IPV6, ip, 80);
}

/* The same for one peer, so that a fuzzer need not write an address XORed. */
static void play_peer(struct play *play, uint16_t method, const uint8_t *data, size_t len)
{
    uint8_t bytes[64];
    uint8_t id[KH_STUN_ID_LEN] = {0};
    struct kh_stun_writer writer;
    struct kh_addr peer;

    if (len < 4)
        return;
    id[0] = data[1];
    peer = read_addr(data + 4, len - 4);
    writer = kh_stun_begin(bytes, sizeof bytes, KH_STUN_REQUEST, KH_STUN_CREATE_PERMISSION, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &peer);
    kh_stun_add_u32(&writer, KH_STUN_CHANNEL_NUMBER, 0x40000000u | (uint32_t)data[2] << 16);
    /* Over its header, which play_signed writes itself. */
    bytes[KH_STUN_HEADER_LEN - 2] = data[0];
    bytes[KH_STUN_HEADER_LEN - 1] = data[1];
    play_signed(play, method, bytes + KH_STUN_HEADER_LEN - 2,
                writer.bytes.len - KH_STUN_HEADER_LEN + 2);
}

static void play_send(struct play *play, const uint8_t *data, size_t len)
{
    uint8_t bytes[512];
    uint8_t id[KH_STUN_ID_LEN] = {0};
    struct kh_addr peer;
    struct kh_stun_writer writer;

    if (len < 1)
        return;
    peer = read_addr(data + 1, len - 1);
    writer = kh_stun_begin(bytes, sizeof bytes, KH_STUN_INDICATION, KH_STUN_SEND, id);
    kh_stun_add_addr(&writer, KH_STUN_XOR_PEER_ADDRESS, &peer);
    kh_stun_add(&writer, KH_STUN_DATA_ATTRIBUTE, data, len);
    give(play, &(struct kh_datagram){.from = play->clients[data[0] % CLIENTS],
                                     .to = play->server,
                                     .data = bytes,
                                     .len = kh_stun_finish(&writer)});
}

static void play_arrival(struct play *play, const uint8_t *data, size_t len)
{
    struct kh_addr from;

    if (len < 1 || play->open_count == 0)
        return;
    from = read_addr(data + 1, len - 1);
    give(play,
         &(struct kh_datagram){
             .from = from, .to = play->open[data[0] % play->open_count], .data = data, .len = len});
}

static void play_unreachable(struct play *play, const uint8_t *data, size_t len)
{
    struct kh_relay_unreachable error;

    if (len < 3 || play->open_count == 0)
        return;
    error = (struct kh_relay_unreachable){.local = play->open[data[0] % play->open_count],
                                          .peer = read_addr(data + 3, len - 3),
                                          .type = data[1],
                                          .code = data[2]};
    kh_relay_handle_unreachable(play->relay, play->now, &error);
    drain(play);
}

static void pass_time(struct play *play, size_t len)
{
    play->now += KH_SECONDS(len * 7);
    while (kh_relay_timeout(play->relay) <= play->now) {
        kh_relay_handle_timeout(play->relay, play->now);
        drain(play);
    }
}

static void step(struct play *play, uint8_t operation, const uint8_t *data, size_t len)
{
    switch (operation % 8) {
    case 0:
        give(play, &(struct kh_datagram){.from = play->clients[operation / 8 % CLIENTS],
                                         .to = play->server,
                                         .data = data,
                                         .len = len});
        break;
    case 1:
        play_signed(play, operation / 8, data, len);
        break;
    case 2:
        play_peer(play, operation / 8, data, len);
        break;
    case 3:
        play_send(play, data, len);
        break;
    case 4:
        play_arrival(play, data, len);
        break;
    case 5:
        play_unreachable(play, data, len);
        break;
    case 6:
        play->mood = len > 0 ? data[0] : 0;
        break;
    default:
        pass_time(play, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t ip6[16] = {0x20, 1, 0xd, 0xb8, 0, 1, [15] = 1};
    struct play play = {.now = KH_SECONDS(1), .server = kh_addr_ipv4(203, 0, 113, 1, 3478)};
    struct kh_reader reader = kh_reader_of(data, len);

    play.config = (struct kh_relay_config){.secret = {"north", 5},
                                           .address_count = 2,
                                           .allocations_max = 8,
                                           .port_min = 50000,
                                           .port_max = 50015};
    play.config.addresses[0].local = kh_addr_ipv4(203, 0, 113, 1, 0);
    play.config.addresses[0].external = kh_addr_ipv4(203, 0, 113, 2, 0);
    play.config.addresses[1].local = kh_addr_from_ip(KH_FAMILY_IPV6, ip6, 0);
    play.config.addresses[1].external = play.config.addresses[1].local;
    for (size_t i = 0; i < CLIENTS; i++)
        play.clients[i] = kh_addr_ipv4(198, 51, 100, 1, (uint16_t)(1000 + i));
    TEST(kh_relay_new(&play.relay, &play.config) == KH_OK);
    kh_relay_set_wall_clock(play.relay, play.now, 1900000000);
    while (reader.left >= 2) {
        uint8_t operation = kh_read_u8(&reader);
        size_t step_len = kh_read_u8(&reader);

        if (step_len > reader.left)
            step_len = reader.left;
        step(&play, operation, kh_read_bytes(&reader, step_len), step_len);
    }
    kh_relay_free(play.relay);
    return 0;
}
