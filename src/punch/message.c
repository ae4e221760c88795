/* punch/message.c - what the two sides of a punch tell each other, to and from bytes.
 *
 * SPDX-License-Identifier: MIT
 *
 *     word 1 · step 2 · count 1 · ports, each 2
 */
#include "punch/punch.h"

#include <assert.h>

#define PORT_SPAN (65536 - KH_PUNCH_PORT_MIN)

size_t kh_punch_message_write(const struct kh_punch_message *message,
                              uint8_t out[static KH_PUNCH_MESSAGE_MAX])
{
    struct kh_writer writer = kh_writer_to(out, KH_PUNCH_MESSAGE_MAX);

    assert(message->port_count <= KH_PUNCH_PORTS_MAX);
    kh_write_u8(&writer, (uint8_t)message->word);
    kh_write_u16(&writer, (uint16_t)message->step);
    kh_write_u8(&writer, (uint8_t)message->port_count);
    for (size_t i = 0; i < message->port_count; i++)
        kh_write_u16(&writer, message->ports[i]);
    assert(!writer.failed);
    return writer.len;
}

enum kh_status kh_punch_message_parse(struct kh_span bytes, struct kh_punch_message *out)
{
    struct kh_reader reader = kh_reader_of(bytes.data, bytes.len);
    struct kh_punch_message message = {0};
    unsigned word = kh_read_u8(&reader);
    unsigned step;

    message.word = word == KH_PUNCH_WORD_MEET ? KH_PUNCH_WORD_MEET : KH_PUNCH_WORD_HOLD;
    step = kh_read_u16(&reader);
    message.step = (int16_t)(step > INT16_MAX ? (int)step - 0x10000 : (int)step);
    message.port_count = kh_read_u8(&reader);
    if (reader.failed || message.port_count > KH_PUNCH_PORTS_MAX)
        return KH_ERR_FORMAT;
    for (size_t i = 0; i < message.port_count; i++) {
        message.ports[i] = kh_read_u16(&reader);
        if (message.ports[i] < KH_PUNCH_PORT_MIN)
            return KH_ERR_FORMAT;
    }
    if (reader.failed || word != (unsigned)message.word ||
        (word == KH_PUNCH_WORD_MEET && message.port_count == 0))
        return KH_ERR_FORMAT;
    *out = message;
    return KH_OK;
}

void kh_punch_foretell(uint16_t port, int16_t step, uint16_t *ports, size_t count)
{
    int32_t at = port;

    for (size_t i = 0; i < count; i++) {
        at += step;
        if (at > UINT16_MAX) /* NATs begin again where ports that need no privilege begin */
            at -= PORT_SPAN;
        if (at < KH_PUNCH_PORT_MIN)
            at += PORT_SPAN;
        ports[i] = (uint16_t)at;
    }
}
