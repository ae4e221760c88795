/* fuzz/lifetime.c - a server that answers who asks how long its NAT remembers with anything.
 *
 * SPDX-License-Identifier: MIT
 *
 * Records: a byte of time to pass (in 128 ms), one of which socket and what class, one of which
 * request's id, one of length, so many bytes of attributes.
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

#define TICK KH_MILLISECONDS(128)
#define IDS_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct play {
    struct kh_nat_lifetime *lifetime;
    struct kh_nat_lifetime_config config;
    uint8_t ids[IDS_MAX][KH_STUN_ID_LEN];
    size_t id_count;
    size_t sent;
    kh_time now;
};

static void drain(struct play *play)
{
    struct kh_datagram out;

    while (kh_nat_lifetime_next_transmit(play->lifetime, &out)) {
        TEST(kh_addr_equal(&out.to, &play->config.server) && out.len >= KH_STUN_HEADER_LEN);
        play->sent++;
        if (play->id_count < IDS_MAX)
            memcpy(play->ids[play->id_count++], out.data + 8, KH_STUN_ID_LEN);
    }
}

static void pass(struct play *play, kh_duration duration)
{
    kh_time until = play->now + duration;

    while (kh_nat_lifetime_timeout(play->lifetime) <= until) {
        kh_time at = kh_nat_lifetime_timeout(play->lifetime);

        play->now = at > play->now ? at : play->now;
        kh_nat_lifetime_handle_timeout(play->lifetime, play->now);
        drain(play);
        TEST(kh_nat_lifetime_timeout(play->lifetime) > play->now);
    }
    play->now = until;
}

static void receive(struct play *play, struct kh_reader *reader)
{
    static const enum kh_stun_class classes[] = {KH_STUN_SUCCESS, KH_STUN_ERROR, KH_STUN_REQUEST};
    unsigned what = kh_read_u8(reader);
    size_t id = kh_read_u8(reader);
    size_t attributes_len = kh_read_u8(reader);
    uint8_t message[KH_STUN_HEADER_LEN + 256];
    struct kh_stun_writer writer;
    struct kh_datagram in = {.from = play->config.server,
                             .to = play->config.sockets[what % KH_NAT_LIFETIME_SOCKETS],
                             .data = message};

    if (attributes_len > reader->left)
        attributes_len = reader->left;
    attributes_len &= ~(size_t)3;
    writer = kh_stun_begin(message, sizeof message, classes[what / KH_NAT_LIFETIME_SOCKETS % 3],
                           KH_STUN_BINDING, play->ids[id % play->id_count]);
    kh_write_bytes(&writer.bytes, kh_read_bytes(reader, attributes_len), attributes_len);
    in.len = kh_stun_finish(&writer);
    kh_nat_lifetime_handle_datagram(play->lifetime, play->now, &in);
    drain(play);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct play play;
    struct kh_reader reader = kh_reader_of(data, len);
    struct kh_nat_lifetime_result result;

    play = (struct play){.now = KH_SECONDS(1000)};
    play.config.server = kh_addr_ipv4(203, 0, 113, 1, 3478);
    for (uint16_t i = 0; i < KH_NAT_LIFETIME_SOCKETS; i++)
        play.config.sockets[i] = kh_addr_ipv4(10, 0, 0, 2, (uint16_t)(40000 + i));
    if (kh_nat_lifetime_new(&play.lifetime, &play.config) != KH_OK)
        return 0;
    kh_nat_lifetime_start(play.lifetime, play.now);
    drain(&play);
    while (reader.left > 4) {
        pass(&play, kh_read_u8(&reader) * TICK);
        receive(&play, &reader);
    }
    pass(&play, KH_NAT_LIFETIME_LONGEST + KH_SECONDS(10));
    TEST(kh_nat_lifetime_is_done(play.lifetime));
    TEST(play.sent <= 12 * KH_NAT_LIFETIME_STEPS);
    result = kh_nat_lifetime_result(play.lifetime);
    TEST(result.forgotten_s == 0 || result.forgotten_s > result.remembered_s);
    TEST(result.reached || result.remembered_s + result.forgotten_s == 0);
    kh_nat_lifetime_free(play.lifetime);
    return 0;
}
