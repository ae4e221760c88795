/* sim/stream.c - the ends of TCP connections that hosts of the virtual network know of.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define PORT_MIN 32768 /* of those the system chooses */

static void drop_waiting(struct stream *stream)
{
    for (size_t i = 0; i < stream->waiting_count; i++)
        free(stream->waiting[i].data);
    stream->waiting_count = 0;
}

void streams_fini(struct streams *streams)
{
    for (size_t i = 0; i < streams->count; i++)
        drop_waiting(&streams->list[i]);
    streams->count = 0;
}

struct stream *streams_find(struct streams *streams, int host, const struct kh_addr *local,
                            const struct kh_addr *remote)
{
    for (size_t i = 0; i < streams->count; i++) {
        struct stream *stream = &streams->list[i];

        if (stream->host == host && kh_addr_equal(&stream->local, local) &&
            kh_addr_equal(&stream->remote, remote))
            return stream;
    }
    return NULL;
}

struct stream *streams_find_id(struct streams *streams, uint64_t id)
{
    for (size_t i = 0; i < streams->count; i++)
        if (streams->list[i].id == id)
            return &streams->list[i];
    return NULL;
}

struct stream *streams_find_anonymous(struct streams *streams, int host,
                                      const struct kh_addr *remote)
{
    for (size_t i = 0; i < streams->count; i++) {
        struct stream *stream = &streams->list[i];

        if (stream->host == host && stream->is_anonymous && kh_addr_equal(&stream->remote, remote))
            return stream;
    }
    return NULL;
}

struct stream *streams_add(struct streams *streams, int host, const struct kh_addr *local,
                           const struct kh_addr *remote)
{
    struct stream *stream = &streams->list[streams->count++];

    assert(streams->count <= STREAMS_MAX);
    *stream =
        (struct stream){.host = host, .local = *local, .remote = *remote, .id = ++streams->ids};
    return stream;
}

void streams_remove(struct streams *streams, struct stream *stream)
{
    drop_waiting(stream);
    *stream = streams->list[--streams->count];
}

uint16_t streams_take_port(struct streams *streams)
{
    if (streams->last_port < PORT_MIN)
        streams->last_port = PORT_MIN;
    return streams->last_port++;
}

bool stream_wait(struct stream *stream, const uint8_t *data, size_t len)
{
    uint8_t *copy;

    if (stream->waiting_count == STREAM_WAITING_MAX)
        return false;
    copy = malloc(len + 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    stream->waiting[stream->waiting_count].data = copy;
    stream->waiting[stream->waiting_count++].len = len;
    return true;
}
