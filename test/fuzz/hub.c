/* fuzz/hub.c - a server fed a sequence of datagrams from strangers.
 *
 * SPDX-License-Identifier: MIT
 *
 * The input is a list of: one byte of command, two bytes of length, that many bytes of datagram.
 * Bits of the command choose the sender and the pause before it, and whether its FINGERPRINT is
 * made right, without which nothing would pass the first check.  Those of the first command choose
 * what the server offers of NAT behaviour discovery, too.
 */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "hub/hub.h"
#include "stun/stun.h"

enum { SENDER = 0x03, RIGHT = 0x04, PAUSE = 0x08, ONE_ADDRESS = 0x10, TWO_ADDRESSES = 0x20 };

/* Gives the bytes with a right header length and FINGERPRINT behind them. */
static size_t repair(const uint8_t *bytes, size_t len, uint8_t *out)
{
    struct kh_stun_writer writer = {.bytes = kh_writer_to(out, KH_DATAGRAM_MAX)};

    if (len < KH_STUN_HEADER_LEN || len > KH_DATAGRAM_MAX - 8)
        return 0;
    kh_write_bytes(&writer.bytes, bytes, len);
    kh_write_zeros(&writer.bytes, (4 - len % 4) % 4);
    kh_stun_add_fingerprint(&writer);
    return kh_stun_finish(&writer);
}

/* No answer to a stranger is longer than its question, Binding excepted. */
static void drain(struct kh_hub *hub, const struct kh_datagram *in)
{
    struct kh_datagram out;
    bool is_binding = in->len >= 2 && in->data[0] < 2 && (in->data[1] & 0xef) == 1;

    while (kh_hub_next_transmit(hub, &out)) {
        assert(out.len <= KH_DATAGRAM_MAX);
        assert(is_binding || out.len <= in->len);
        /* RESPONSE-PORT may choose another port, and then nothing is longer. */
        assert(kh_addr_equal(&out.to, &in->from) ||
               (is_binding && kh_addr_ip_equal(&out.to, &in->from) && out.len <= in->len));
    }
}

static void feed(struct kh_hub *hub, kh_time now, uint8_t command, struct kh_span bytes)
{
    uint8_t repaired[KH_DATAGRAM_MAX];
    struct kh_datagram in = {
        .from = kh_addr_ipv4(192, 0, 2, command & SENDER, 4000),
        .to = kh_addr_ipv4(203, 0, 113, 1, 3478),
        .data = bytes.data,
        .len = bytes.len,
    };

    if (command & RIGHT) {
        in.len = repair(bytes.data, bytes.len, repaired);
        in.data = repaired;
    }
    kh_hub_handle_datagram(hub, now, &in);
    drain(hub, &in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct kh_hub_config config = {.seed = {1}, .software = "Knothole"};
    struct kh_reader reader = kh_reader_of(data, len);
    kh_time now = KH_SECONDS(1000);
    struct kh_hub *hub;

    config.registry.members_max = 8;
    if (len > 0 && (data[0] & ONE_ADDRESS) != 0) {
        config.discovery[0].places[0] = kh_addr_ipv4(0, 0, 0, 0, 3478);
        config.discovery[0].places[1] = kh_addr_ipv4(0, 0, 0, 0, 65535);
    } else if (len > 0 && (data[0] & TWO_ADDRESSES) != 0) {
        for (uint16_t i = 0; i < KH_HUB_PLACES; i++)
            config.discovery[0].places[i] =
                kh_addr_ipv4(203, 0, 113, i < 2 ? 1 : 2, (uint16_t)(3478 + (i & 1)));
    }
    if (kh_hub_new(&hub, &config) != KH_OK)
        return 0;
    while (reader.left > 0 && !reader.failed) {
        uint8_t command = kh_read_u8(&reader);
        size_t claimed = kh_read_u16(&reader);
        size_t taken = claimed < reader.left ? claimed : reader.left;
        const uint8_t *bytes = kh_read_bytes(&reader, taken);

        if (command & PAUSE)
            now += KH_SECONDS(30);
        if (!reader.failed)
            feed(hub, now, command, (struct kh_span){bytes, taken});
    }
    kh_hub_free(hub);
    return 0;
}
