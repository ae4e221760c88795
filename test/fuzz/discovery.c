/* fuzz/discovery.c - a server, and strangers, that answer a NAT discovery with anything at any
 * time.
 *
 * SPDX-License-Identifier: MIT
 *
 * The first byte: bit 0 quick; bits 1 and 2 what other place is told at first.  Then records: a
 * byte of time to pass (in 16 ms), one of where from and what class, one of which socket, one of
 * which request's id, one of length, so many bytes of attributes.  What comes out has to fit
 * together whatever comes in, and the questions may not become a storm.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "nat/nat.h"
#include "stun/stun.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

#define TICK KH_MILLISECONDS(16)
#define IDS_MAX 512

enum { QUICK = 1, OTHER_SHIFT = 1, OTHER_MASK = 3 };
enum { PLACE_MASK = 7, CLASS_SHIFT = 3, CLASS_MASK = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct play {
    struct kh_nat_discovery *discovery;
    struct kh_nat_discovery_config config;
    uint8_t ids[IDS_MAX][KH_STUN_ID_LEN]; /* of what was sent */
    size_t id_count;
    size_t sent;
    kh_time begin, now;
};

static struct kh_addr place(unsigned n)
{
    switch (n) {
    case 4:
        return kh_addr_ipv4(198, 51, 100, 7, 40000); /* ourselves, from outside */
    case 5:
        return kh_addr_ipv4(10, 0, 0, 2, 40001);
    case 6:
        return kh_addr_ipv4(192, 0, 2, 9, 9); /* a stranger */
    case 7:
        return (struct kh_addr){0};
    default:
        return kh_addr_ipv4(203, 0, 113, n < 2 ? 1 : 2, (uint16_t)(3478 + (n & 1)));
    }
}

static void drain(struct play *play)
{
    struct kh_datagram out;

    while (kh_nat_discovery_next_transmit(play->discovery, &out)) {
        TEST(out.len >= KH_STUN_HEADER_LEN && out.len <= 28 && out.to.port != 0);
        play->sent++;
        if (play->id_count < IDS_MAX)
            memcpy(play->ids[play->id_count++], out.data + 8, KH_STUN_ID_LEN);
    }
}

static void pass(struct play *play, kh_duration duration)
{
    kh_time until = play->now + duration;

    while (kh_nat_discovery_timeout(play->discovery) <= until) {
        kh_time at = kh_nat_discovery_timeout(play->discovery);

        TEST(at >= play->now);
        play->now = at;
        kh_nat_discovery_handle_timeout(play->discovery, at);
        drain(play);
        TEST(kh_nat_discovery_timeout(play->discovery) > at);
    }
    play->now = until;
}

static void receive(struct play *play, struct kh_reader *reader)
{
    static const enum kh_stun_class classes[] = {KH_STUN_REQUEST, KH_STUN_INDICATION,
                                                 KH_STUN_SUCCESS, KH_STUN_ERROR};
    unsigned from = kh_read_u8(reader);
    size_t socket = kh_read_u8(reader) % play->config.socket_count;
    size_t id = kh_read_u8(reader);
    size_t attributes_len = kh_read_u8(reader);
    uint8_t message[KH_STUN_HEADER_LEN + 256];
    struct kh_stun_writer writer;
    struct kh_datagram in = {
        .from = place(from & PLACE_MASK), .to = play->config.sockets[socket], .data = message};

    if (attributes_len > reader->left)
        attributes_len = reader->left;
    attributes_len &= ~(size_t)3;
    writer = kh_stun_begin(message, sizeof message, classes[from >> CLASS_SHIFT & CLASS_MASK],
                           KH_STUN_BINDING, play->ids[id % play->id_count]);
    kh_write_bytes(&writer.bytes, kh_read_bytes(reader, attributes_len), attributes_len);
    in.len = kh_stun_finish(&writer);
    (void)kh_nat_discovery_handle_datagram(play->discovery, play->now, &in);
    drain(play);
}

static void check_class(const struct play *play)
{
    uint8_t bytes[KH_NAT_CLASS_LEN];
    struct kh_nat_behaviour behaviour;
    struct kh_nat_class class;
    struct kh_nat_class back;

    kh_nat_discovery_result(play->discovery, &behaviour);
    TEST(behaviour.port_min <= behaviour.port_max);
    TEST(!behaviour.translated || behaviour.reached);
    kh_nat_discovery_class(play->discovery, &class);
    kh_nat_class_write(&class, bytes);
    kh_nat_class_parse(kh_nat_class_byte(&class), bytes, sizeof bytes, &back);
    TEST(kh_nat_class_equal(&class, &back));
}

static void set_up(struct play *play, unsigned flags)
{
    struct kh_nat_discovery_config *config = &play->config;

    config->server = place(0);
    config->quick = (flags & QUICK) != 0;
    config->socket_count = config->quick ? KH_NAT_SOCKETS_QUICK : KH_NAT_SOCKETS_MAX;
    for (size_t i = 0; i < config->socket_count; i++)
        config->sockets[i] = kh_addr_ipv4(10, 0, 0, 2, (uint16_t)(40000 + i));
    config->mapped = place(4);
    if ((flags >> OTHER_SHIFT & OTHER_MASK) > 0)
        config->other = place(flags >> OTHER_SHIFT & OTHER_MASK);
    play->begin = play->now = KH_SECONDS(1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct play play;
    struct kh_reader reader = kh_reader_of(data, len);

    play = (struct play){0};
    set_up(&play, kh_read_u8(&reader));
    if (kh_nat_discovery_new(&play.discovery, &play.config) != KH_OK)
        return 0;
    kh_nat_discovery_start(play.discovery, play.now);
    drain(&play);
    while (reader.left > 5) {
        pass(&play, kh_read_u8(&reader) * TICK);
        receive(&play, &reader);
        check_class(&play);
    }
    pass(&play, KH_SECONDS(4));
    TEST(kh_nat_discovery_is_done(play.discovery));
    TEST(play.sent <= (play.config.quick ? 20 : 400));
    check_class(&play);
    kh_nat_discovery_free(play.discovery);
    return 0;
}
