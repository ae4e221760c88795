/* test/sim/plain_channel.c - channel.h without DTLS and SCTP, for simulations that must repeat.
 *
 * SPDX-License-Identifier: MIT
 *
 * Linked in place of src/channel/.  No secrecy, but the same behaviour seen from above: three-way
 * opening with a claimed fingerprint, reliable ordered messages, goodbye.  All randomness comes
 * from the seed and all time from the caller, so equal seeds give equal runs.
 *
 *     hello    kind, tag of the sender, fingerprint
 *     welcome  kind, tag of the receiver, tag of the sender, fingerprint
 *     data     kind, tag of the receiver, next fragment awaited, a bit for each of the 64 after it;
 *              and, unless it only acknowledges: number, last of its message?, bytes
 *     bye      kind, tag of the receiver
 *     bye_too  kind, tag of the receiver
 */
#include "channel/channel.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/datagram.h"

enum kind { HELLO = 40, WELCOME, DATA, BYE, BYE_TOO }; /* within DTLS's range (RFC 7983) */

#define DATA_HEADER_LEN (1 + 8 + 8 + 8 + 8 + 1)
#define WINDOW 64 /* fragments in flight: as many as the bits of an acknowledgement */
#define BUFFER_LEN (1024 * 1024)
#define FIRST_WAIT KH_MILLISECONDS(150)
#define WAIT_MIN KH_MILLISECONDS(50)
#define LONGEST_WAIT KH_SECONDS(5)
#define PATIENCE KH_SECONDS(60)
#define CLOSE_PATIENCE KH_SECONDS(20)

struct kh_channel_certificate {
    uint8_t fingerprint[KH_CHANNEL_FINGERPRINT_LEN];
};

enum state { NEW, GREETING, OPEN, CLOSING, CLOSED, FAILED };

struct fragment {
    struct fragment *next;
    uint64_t number;
    kh_time sent_at;
    bool sent;
    bool due;     /* to be sent (again) */
    bool arrived; /* though an earlier one did not */
    bool last;    /* of its message */
    size_t len;
    uint8_t data[];
};

struct kh_channel {
    enum state state;
    enum kh_channel_failure failure;
    struct kh_channel_config config;
    uint8_t fingerprint[KH_CHANNEL_FINGERPRINT_LEN]; /* ours */
    kh_time now;
    uint64_t tag, peer_tag; /* the peer's is 0 until known */

    kh_time deadline; /* of GREETING and CLOSING */
    kh_time repeat_at;
    unsigned int repeats;
    kh_duration round_trip; /* smoothed; 0: not measured */

    struct fragment *first, *last; /* not acknowledged, oldest first; owned */
    uint64_t next_number;
    size_t unacknowledged;
    bool full; /* send was refused; WRITABLE is owed */
    size_t full_at;

    struct fragment *waiting[WINDOW]; /* arrived, at number % WINDOW; owned */
    uint64_t awaited;                 /* all before have arrived */
    uint64_t consumed;                /* all before have been given on; catches up at each drain */
    uint8_t *message;                 /* being put together, or given out; KH_CHANNEL_MESSAGE_MAX */
    size_t filled;
    bool given; /* the message was given out, so it is empty now */

    bool owes_greeting, owes_acknowledgement, owes_bye, owes_bye_too; /* to be transmitted */
    bool owes_open, owes_end;                                         /* events */
    uint8_t out[KH_DATAGRAM_MAX];
    struct kh_channel_stats stats;
};

/* ---- certificate: all are alike, as a simulation has no one to tell apart by key ---- */

enum kh_status kh_channel_certificate_new(struct kh_channel_certificate **out)
{
    *out = malloc(sizeof **out);
    if (*out == NULL)
        return KH_ERR_MEMORY;
    memset((*out)->fingerprint, 0x5a, sizeof(*out)->fingerprint);
    return KH_OK;
}

void kh_channel_certificate_free(struct kh_channel_certificate *certificate)
{
    free(certificate);
}

void kh_channel_certificate_fingerprint(const struct kh_channel_certificate *certificate,
                                        uint8_t out[static KH_CHANNEL_FINGERPRINT_LEN])
{
    memcpy(out, certificate->fingerprint, KH_CHANNEL_FINGERPRINT_LEN);
}

/* ---- life ---- */

static void enter(struct kh_channel *channel, enum state state)
{
    static const char *const names[] = {"new", "greeting", "open", "closing", "closed", "failed"};

    assert(state > channel->state);
    kh_log_line(&channel->config.log, KH_LOG_INFO, "channel %s→%s", names[channel->state],
                names[state]);
    channel->state = state;
    channel->repeats = 0;
    channel->repeat_at = KH_NEVER;
    channel->deadline = KH_NEVER;
    channel->owes_open = channel->owes_open || state == OPEN;
    channel->owes_end = state == CLOSED || state == FAILED;
}

enum kh_status kh_channel_new(struct kh_channel **out, const struct kh_channel_config *config)
{
    struct kh_channel *channel = calloc(1, sizeof *channel);
    struct kh_rng rng;

    if (channel == NULL)
        return KH_ERR_MEMORY;
    channel->config = *config;
    if (channel->config.datagram_max == 0)
        channel->config.datagram_max = KH_DATAGRAM_MAX;
    assert(channel->config.datagram_max <= KH_DATAGRAM_MAX);
    kh_channel_certificate_fingerprint(config->certificate, channel->fingerprint);
    kh_rng_init(&rng, config->seed);
    channel->tag = kh_rng_u64(&rng) | 1;
    kh_rng_fini(&rng);
    channel->repeat_at = KH_NEVER;
    channel->deadline = KH_NEVER;
    *out = channel;
    return KH_OK;
}

void kh_channel_free(struct kh_channel *channel)
{
    struct fragment *fragment;

    if (channel == NULL)
        return;
    while ((fragment = channel->first) != NULL) {
        channel->first = fragment->next;
        free(fragment);
    }
    for (size_t i = 0; i < WINDOW; i++)
        free(channel->waiting[i]);
    free(channel->message);
    kh_wipe(&channel->config.seed, sizeof channel->config.seed);
    free(channel);
}

/* ---- timers ---- */

static kh_duration wait_of(const struct kh_channel *channel)
{
    kh_duration first = channel->round_trip == 0 ? FIRST_WAIT : 2 * channel->round_trip + WAIT_MIN;
    kh_duration wait = first << (channel->repeats < 8 ? channel->repeats : 8);

    return wait < LONGEST_WAIT ? wait : LONGEST_WAIT;
}

static void set_repeat(struct kh_channel *channel)
{
    bool wanted = (channel->state == GREETING &&
                   (channel->config.role == KH_CHANNEL_ACTIVE || channel->peer_tag != 0)) ||
                  (channel->first != NULL && channel->first->sent) ||
                  (channel->state == CLOSING && channel->first == NULL);

    channel->repeat_at =
        wanted && channel->state < CLOSED ? kh_time_add(channel->now, wait_of(channel)) : KH_NEVER;
}

/* Sends again what the peer has not answered. */
static void repeat(struct kh_channel *channel)
{
    channel->owes_greeting = channel->state == GREETING;
    if (channel->first != NULL)
        channel->first->due = channel->first->sent;
    channel->owes_bye = channel->state == CLOSING && channel->first == NULL;
    set_repeat(channel);
}

static void greet(struct kh_channel *channel)
{
    enter(channel, GREETING);
    channel->deadline = kh_time_add(channel->now, PATIENCE);
    channel->owes_greeting = channel->config.role == KH_CHANNEL_ACTIVE;
    set_repeat(channel);
}

void kh_channel_start(struct kh_channel *channel, kh_time now)
{
    channel->now = now;
    if (channel->state == NEW) {
        greet(channel);
    } else if (channel->state < CLOSED) {
        if (channel->state == GREETING)
            channel->deadline = kh_time_add(now, PATIENCE);
        channel->repeats = 0;
        if (channel->repeat_at != KH_NEVER)
            repeat(channel);
    }
}

void kh_channel_handle_timeout(struct kh_channel *channel, kh_time now)
{
    channel->now = now;
    if (now >= channel->deadline) {
        channel->failure = KH_CHANNEL_FAILURE_TIMEOUT;
        enter(channel, channel->state == GREETING ? FAILED : CLOSED);
    } else if (now >= channel->repeat_at) {
        channel->repeats++;
        repeat(channel);
    }
}

/* ---- greeting ---- */

/* Takes the peer's fingerprint; false, and all is over, if it is not the one expected. */
static bool check_fingerprint(struct kh_channel *channel, const uint8_t *fingerprint)
{
    if (kh_equal(fingerprint, channel->config.remote_fingerprint, KH_CHANNEL_FINGERPRINT_LEN))
        return true;
    channel->failure = KH_CHANNEL_FAILURE_FINGERPRINT;
    enter(channel, FAILED);
    return false;
}

static bool handle_hello(struct kh_channel *channel, struct kh_reader *reader)
{
    uint64_t tag = kh_read_u64(reader);
    const uint8_t *fingerprint = kh_read_bytes(reader, KH_CHANNEL_FINGERPRINT_LEN);

    if (!kh_reader_is_done(reader) || tag == 0 || channel->config.role != KH_CHANNEL_PASSIVE ||
        channel->state > GREETING || (channel->peer_tag != 0 && channel->peer_tag != tag))
        return false;
    if (channel->state == NEW)
        greet(channel);
    if (!check_fingerprint(channel, fingerprint))
        return true;
    channel->peer_tag = tag;
    channel->owes_greeting = true;
    set_repeat(channel);
    return true;
}

static bool handle_welcome(struct kh_channel *channel, struct kh_reader *reader)
{
    uint64_t tag = kh_read_u64(reader);
    uint64_t peer_tag = kh_read_u64(reader);
    const uint8_t *fingerprint = kh_read_bytes(reader, KH_CHANNEL_FINGERPRINT_LEN);

    if (!kh_reader_is_done(reader) || tag != channel->tag || peer_tag == 0 ||
        channel->config.role != KH_CHANNEL_ACTIVE || channel->state < GREETING ||
        channel->state > CLOSING)
        return false;
    if (!check_fingerprint(channel, fingerprint))
        return true;
    if (channel->state == GREETING) {
        channel->peer_tag = peer_tag;
        enter(channel, OPEN);
    }
    channel->owes_acknowledgement = true; /* the third of three: opens the other side */
    return true;
}

/* ---- data ---- */

static void forget_first(struct kh_channel *channel)
{
    struct fragment *fragment = channel->first;

    channel->unacknowledged -= fragment->len;
    channel->first = fragment->next;
    if (channel->first == NULL)
        channel->last = NULL;
    free(fragment);
}

static void measure(struct kh_channel *channel, const struct fragment *fragment)
{
    kh_duration sample = kh_time_since(channel->now, fragment->sent_at) + 1;

    channel->round_trip =
        channel->round_trip == 0 ? sample : (7 * channel->round_trip + sample) / 8;
}

static void handle_acknowledgement(struct kh_channel *channel, uint64_t awaited, uint64_t bits)
{
    kh_time newest = 0;
    bool moved = false;

    for (struct fragment *f = channel->first; f != NULL && f->sent; f = f->next) {
        bool arrived =
            f->number < awaited || (f->number - awaited >= 1 && f->number - awaited <= 64 &&
                                    (bits >> (f->number - awaited - 1) & 1) != 0);

        if (!arrived || f->arrived)
            continue;
        f->arrived = true;
        f->due = false;
        moved = true;
        if (f->sent_at > newest)
            newest = f->sent_at;
        if (channel->repeats == 0)
            measure(channel, f);
    }
    while (channel->first != NULL && channel->first->sent && channel->first->number < awaited)
        forget_first(channel);
    /* What was sent well before something that has arrived is lost (RFC 8985 in a nutshell). */
    for (struct fragment *f = channel->first; f != NULL && f->sent; f = f->next)
        if (!f->arrived && f->sent_at + channel->round_trip / 4 < newest)
            f->due = true;
    if (!moved)
        return;
    channel->repeats = 0;
    channel->owes_bye = channel->state == CLOSING && channel->first == NULL;
    set_repeat(channel);
}

static bool take_fragment(struct kh_channel *channel, struct kh_reader *reader)
{
    uint64_t number = kh_read_u64(reader);
    bool last = kh_read_u8(reader) != 0;
    size_t len = reader->left;
    const uint8_t *data = kh_read_bytes(reader, len);
    struct fragment *fragment;

    if (reader->failed || len == 0)
        return false;
    channel->owes_acknowledgement = true;
    if (number < channel->awaited || number - channel->awaited >= WINDOW ||
        channel->waiting[number % WINDOW] != NULL)
        return true; /* a repetition */
    fragment = calloc(1, sizeof *fragment + len);
    if (fragment == NULL)
        return true; /* as if it were lost */
    fragment->number = number;
    fragment->last = last;
    fragment->len = len;
    memcpy(fragment->data, data, len);
    channel->waiting[number % WINDOW] = fragment;
    while (channel->awaited - channel->consumed < WINDOW &&
           channel->waiting[channel->awaited % WINDOW] != NULL)
        channel->awaited++;
    return true;
}

static bool handle_data(struct kh_channel *channel, struct kh_reader *reader)
{
    uint64_t tag = kh_read_u64(reader);
    uint64_t awaited = kh_read_u64(reader);
    uint64_t bits = kh_read_u64(reader);

    if (reader->failed || tag != channel->tag || channel->peer_tag == 0 ||
        channel->state < GREETING || channel->state > CLOSING || awaited > channel->next_number)
        return false;
    if (channel->state == GREETING && channel->config.role == KH_CHANNEL_ACTIVE)
        return false;
    if (channel->state == GREETING)
        enter(channel, OPEN);
    handle_acknowledgement(channel, awaited, bits);
    return reader->left == 0 || take_fragment(channel, reader);
}

static bool handle_bye(struct kh_channel *channel, struct kh_reader *reader)
{
    uint64_t tag = kh_read_u64(reader);

    if (!kh_reader_is_done(reader) || tag != channel->tag || channel->state < OPEN)
        return false;
    channel->owes_bye_too = true;
    if (channel->state < CLOSED)
        enter(channel, CLOSED);
    return true;
}

static bool handle_bye_too(struct kh_channel *channel, struct kh_reader *reader)
{
    uint64_t tag = kh_read_u64(reader);

    if (!kh_reader_is_done(reader) || tag != channel->tag || channel->state != CLOSING)
        return false;
    enter(channel, CLOSED);
    return true;
}

bool kh_channel_handle_datagram(struct kh_channel *channel, kh_time now, const uint8_t *data,
                                size_t len)
{
    struct kh_reader reader = kh_reader_of(data, len);
    uint8_t kind = kh_read_u8(&reader);
    bool taken = false;

    if (len == 0 || kind < 20 || kind > 63)
        return false;
    channel->now = now;
    if (kind == HELLO)
        taken = handle_hello(channel, &reader);
    else if (kind == WELCOME)
        taken = handle_welcome(channel, &reader);
    else if (kind == DATA)
        taken = handle_data(channel, &reader);
    else if (kind == BYE)
        taken = handle_bye(channel, &reader);
    else if (kind == BYE_TOO)
        taken = handle_bye_too(channel, &reader);
    if (!taken)
        channel->stats.dropped_malformed++;
    return true;
}

static struct fragment *cut_fragment(struct kh_channel *channel, const uint8_t *data, size_t len)
{
    struct fragment *fragment = calloc(1, sizeof *fragment + len);

    assert(fragment != NULL);
    fragment->number = channel->next_number++;
    fragment->len = len;
    memcpy(fragment->data, data, len);
    if (channel->last != NULL)
        channel->last->next = fragment;
    else
        channel->first = fragment;
    channel->last = fragment;
    channel->unacknowledged += len;
    return fragment;
}

enum kh_status kh_channel_send(struct kh_channel *channel, kh_time now, const uint8_t *data,
                               size_t len)
{
    size_t piece_max = channel->config.datagram_max - DATA_HEADER_LEN;
    struct fragment *fragment = NULL;

    assert(len > 0 && len <= KH_CHANNEL_MESSAGE_MAX);
    channel->now = now;
    if (channel->state != OPEN || channel->unacknowledged + len > BUFFER_LEN) {
        channel->full = true;
        channel->full_at = channel->unacknowledged;
        return KH_ERR_FULL;
    }
    for (size_t at = 0; at < len; at += piece_max)
        fragment = cut_fragment(channel, data + at, len - at < piece_max ? len - at : piece_max);
    fragment->last = true;
    channel->stats.messages_sent++;
    channel->stats.bytes_sent += len;
    return KH_OK;
}

void kh_channel_close(struct kh_channel *channel, kh_time now)
{
    channel->now = now;
    if (channel->state >= CLOSING)
        return;
    enter(channel, channel->state == OPEN ? CLOSING : CLOSED);
    if (channel->state != CLOSING)
        return;
    channel->deadline = kh_time_add(now, CLOSE_PATIENCE);
    channel->owes_bye = channel->first == NULL;
    set_repeat(channel);
}

/* ---- outputs ---- */

static bool write_out(struct kh_channel *channel, const struct kh_writer *writer,
                      const uint8_t **data, size_t *len)
{
    assert(!writer->failed && writer->len <= channel->config.datagram_max);
    *data = channel->out;
    *len = writer->len;
    return true;
}

static void write_greeting(struct kh_channel *channel, struct kh_writer *writer)
{
    if (channel->config.role == KH_CHANNEL_ACTIVE) {
        kh_write_u8(writer, HELLO);
        kh_write_u64(writer, channel->tag);
    } else {
        kh_write_u8(writer, WELCOME);
        kh_write_u64(writer, channel->peer_tag);
        kh_write_u64(writer, channel->tag);
    }
    kh_write_bytes(writer, channel->fingerprint, sizeof channel->fingerprint);
}

/* The next fragment to send: one that is due, else a new one if the window has room. */
static struct fragment *next_fragment(struct kh_channel *channel)
{
    struct fragment *f = channel->first;

    while (f != NULL && f->sent && !f->due)
        f = f->next;
    if (f != NULL && (f->due || f->number - channel->first->number < WINDOW))
        return f;
    return NULL;
}

static void write_data(struct kh_channel *channel, struct kh_writer *writer, struct fragment *f)
{
    uint64_t bits = 0;

    for (uint64_t i = 0; i + 1 < WINDOW; i++) {
        const struct fragment *waiting = channel->waiting[(channel->awaited + 1 + i) % WINDOW];

        /* The slot may still hold an older one that has not been given on yet. */
        if (waiting != NULL && waiting->number == channel->awaited + 1 + i)
            bits |= (uint64_t)1 << i;
    }
    kh_write_u8(writer, DATA);
    kh_write_u64(writer, channel->peer_tag);
    kh_write_u64(writer, channel->awaited);
    kh_write_u64(writer, bits);
    channel->owes_acknowledgement = false;
    if (f == NULL)
        return;
    kh_write_u64(writer, f->number);
    kh_write_u8(writer, f->last);
    kh_write_bytes(writer, f->data, f->len);
    f->due = false;
    f->sent = true;
    f->sent_at = channel->now;
    if (channel->repeat_at == KH_NEVER)
        set_repeat(channel);
}

bool kh_channel_next_transmit(struct kh_channel *channel, const uint8_t **data, size_t *len)
{
    struct kh_writer writer = kh_writer_to(channel->out, sizeof channel->out);
    bool talks = channel->state == OPEN || channel->state == CLOSING;
    struct fragment *fragment = talks ? next_fragment(channel) : NULL;

    if (channel->owes_greeting && channel->state == GREETING &&
        (channel->config.role == KH_CHANNEL_ACTIVE || channel->peer_tag != 0)) {
        channel->owes_greeting = false;
        write_greeting(channel, &writer);
    } else if (talks && (fragment != NULL || channel->owes_acknowledgement)) {
        write_data(channel, &writer, fragment);
    } else if (talks && channel->owes_bye) {
        channel->owes_bye = false;
        kh_write_u8(&writer, BYE);
        kh_write_u64(&writer, channel->peer_tag);
    } else if (channel->owes_bye_too) {
        channel->owes_bye_too = false;
        kh_write_u8(&writer, BYE_TOO);
        kh_write_u64(&writer, channel->peer_tag);
    } else {
        return false;
    }
    return write_out(channel, &writer, data, len);
}

/* Moves arrived fragments into the message; true if it is whole. */
static bool assemble(struct kh_channel *channel)
{
    if (channel->given)
        channel->filled = 0;
    channel->given = false;
    while (channel->consumed < channel->awaited) {
        struct fragment *fragment = channel->waiting[channel->consumed % WINDOW];
        bool last = fragment->last;

        if (channel->message == NULL)
            channel->message = malloc(KH_CHANNEL_MESSAGE_MAX);
        assert(channel->message != NULL);
        if (channel->filled + fragment->len <= KH_CHANNEL_MESSAGE_MAX)
            memcpy(channel->message + channel->filled, fragment->data, fragment->len);
        channel->filled += fragment->len; /* beyond the limit only counted: it is dropped below */
        channel->waiting[channel->consumed % WINDOW] = NULL;
        channel->consumed++;
        free(fragment);
        if (last && channel->filled <= KH_CHANNEL_MESSAGE_MAX)
            return true;
        if (last) {
            channel->filled = 0;
            channel->stats.dropped_malformed++;
        }
    }
    return false;
}

bool kh_channel_next_event(struct kh_channel *channel, struct kh_channel_event *out)
{
    *out = (struct kh_channel_event){0};
    if (channel->owes_open) {
        channel->owes_open = false;
        out->kind = KH_CHANNEL_EVENT_OPEN;
    } else if (assemble(channel)) {
        channel->given = true;
        channel->stats.messages_received++;
        channel->stats.bytes_received += channel->filled;
        *out = (struct kh_channel_event){
            .kind = KH_CHANNEL_EVENT_MESSAGE, .data = channel->message, .len = channel->filled};
    } else if (channel->full && channel->state == OPEN &&
               channel->unacknowledged <= channel->full_at / 2) {
        channel->full = false;
        out->kind = KH_CHANNEL_EVENT_WRITABLE;
    } else if (channel->owes_end) {
        channel->owes_end = false;
        out->kind = channel->state == FAILED ? KH_CHANNEL_EVENT_FAILED : KH_CHANNEL_EVENT_CLOSED;
        out->failure = channel->state == FAILED ? channel->failure : KH_CHANNEL_FAILURE_NONE;
    } else {
        return false;
    }
    return true;
}

kh_time kh_channel_timeout(const struct kh_channel *channel)
{
    return kh_time_min(channel->repeat_at, channel->deadline);
}

bool kh_channel_is_open(const struct kh_channel *channel)
{
    return channel->state == OPEN;
}

size_t kh_channel_unacknowledged(const struct kh_channel *channel)
{
    return channel->unacknowledged;
}

struct kh_channel_stats kh_channel_stats(const struct kh_channel *channel)
{
    return channel->stats;
}
