/* fuzz/room.c - a room fed by a member of bad will: links, cards, signals, frames, signed nonsense.
 *
 * SPDX-License-Identifier: MIT
 *
 * The input is a script: an operation byte, a length byte (times eight), that many bytes.  What has
 * to be signed or sealed to get anywhere is signed and sealed here.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "room/card.h"
#include "room/frame.h"
#include "room/signal.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint8_t secret[KH_ROOM_SECRET_LEN] = {1};
static const struct kh_room_member_id bob = {{0xb0}};
static const struct kh_secret identity = {{42}}; /* of the member of bad will */

struct play {
    struct kh_room *room;
    struct kh_room_keys keys;
    struct kh_room_log_name name; /* of the log of bad will */
    kh_time now;
    uint64_t heard;
    uint64_t delivered;
    uint64_t said;
    bool is_member;
    bool is_open;
    bool is_blocked;
};

static void check_event(struct play *play, const struct kh_room_event *event)
{
    TEST(memcmp(&event->member, &play->name.log, sizeof event->member) == 0);
    if (event->kind == KH_ROOM_EVENT_DELIVERED) {
        play->delivered++;
        TEST(event->entry.sequence == play->delivered && play->delivered <= play->said);
        return;
    }
    if (event->kind == KH_ROOM_EVENT_PUNCH) {
        TEST(event->data.len > 0 && event->data.len <= KH_ROOM_PUNCH_MAX);
        return;
    }
    TEST(event->entry.sequence > play->heard);
    play->heard = event->entry.sequence;
    TEST(event->text_len > 0 && event->text_len <= KH_ROOM_TEXT_MAX);
    TEST(kh_text_is_showable(event->text, event->text_len, true));
    TEST(memcmp(event->entry.author, play->name.author, KH_KEY_LEN) == 0);
}

static void drain(struct play *play)
{
    struct kh_room_event event;
    struct kh_room_transmit transmit;

    while (kh_room_next_event(play->room, &event))
        check_event(play, &event);
    while (kh_room_next_transmit(play->room, &transmit)) {
        TEST(transmit.len > 0);
        TEST((transmit.via == KH_ROOM_CHANNEL) == play->is_open);
        TEST(transmit.via == KH_ROOM_CHANNEL || transmit.len <= KH_ROOM_SIGNAL_MAX);
        TEST(!play->is_open || !play->is_blocked);
    }
    TEST(kh_room_undelivered(play->room, NULL) <= play->said);
}

static void play_link(const uint8_t *data, size_t len)
{
    char text[2048 + 1];
    char again[KH_ROOM_LINK_MAX];
    struct kh_room_link link;
    struct kh_room_link back;
    struct kh_room_server server;

    memcpy(text, data, len);
    text[len] = '\0';
    if (kh_room_server_parse(text, &server) == KH_OK)
        TEST(strlen(server.host) > 0 && server.port != 0);
    if (kh_room_link_parse(text, &link) != KH_OK)
        return;
    kh_room_link_write(&link, again);
    TEST(kh_room_link_parse(again, &back) == KH_OK);
    TEST(strcmp(link.server.host, back.server.host) == 0 && link.server.port == back.server.port);
    TEST(memcmp(link.secret, back.secret, sizeof link.secret) == 0);
}

static void play_card(struct play *play, const uint8_t *data, size_t len)
{
    enum { IDENTITY_AT = 5 };
    uint8_t plain[KH_ROOM_CARD_MAX];
    uint8_t sealed[KH_ROOM_CARD_MAX];
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];
    struct kh_room_card_seal seal = {
        .keys = &play->keys, .identity = &identity, .member = &play->name.log};
    struct kh_room_claim claim = {.label = KH_ROOM_LABEL_CARD,
                                  .keys = &play->keys,
                                  .context = {play->name.log.bytes, KH_ROOM_MEMBER_LEN},
                                  .body = {plain, len}};
    struct kh_room_card card;
    struct kh_room_card back;

    if (len < IDENTITY_AT + KH_KEY_LEN || len > sizeof plain - KH_AEAD_OVERHEAD - KH_SIGNATURE_LEN)
        return;
    memcpy(plain, data, len);
    memcpy(plain + IDENTITY_AT, play->name.author, KH_KEY_LEN);
    kh_room_claim_sign(&claim, &identity, plain + len);
    kh_aead_seal(&play->keys.card, seal.nonce,
                 kh_room_associated(KH_ROOM_LABEL_CARD, seal.member, associated),
                 (struct kh_span){plain, len + KH_SIGNATURE_LEN}, sealed);
    len += KH_SIGNATURE_LEN + KH_AEAD_OVERHEAD;
    if (kh_room_open_card(play->room, seal.member, (struct kh_span){sealed, len}, &card) != KH_OK)
        return;
    len = kh_room_card_write(&card, &seal, sealed);
    TEST(len > 0);
    TEST(kh_room_open_card(play->room, seal.member, (struct kh_span){sealed, len}, &back) == KH_OK);
    TEST(memcmp(&card, &back, sizeof card) == 0);
}

static void play_channel(struct play *play, const uint8_t *data, size_t len)
{
    kh_room_handle_channel(play->room, play->now, &play->name.log, (struct kh_span){data, len});
}

static void play_signal(struct play *play, const uint8_t *data, size_t len)
{
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    struct kh_room_signal signal = {.keys = &play->keys,
                                    .from = &play->name.log,
                                    .to = len % 2 == 0 ? NULL : &bob,
                                    .identity = &identity};

    if (len == 0 || len > KH_ROOM_SIGNAL_FRAMES_MAX)
        return;
    len = kh_room_signal_write(&signal, (struct kh_span){data, len}, sealed);
    kh_room_handle_signal(play->room, play->now, &play->name.log, (struct kh_span){sealed, len});
}

static void play_sealed(struct play *play, const uint8_t *data, size_t len)
{
    kh_room_handle_signal(play->room, play->now, &play->name.log, (struct kh_span){data, len});
}

/* Well signed: the first byte says how far ahead, the second the kind, the rest is the body. */
static void play_entry(struct play *play, const uint8_t *data, size_t len)
{
    uint8_t bytes[4096];
    struct kh_writer writer = kh_writer_to(bytes, sizeof bytes);
    struct kh_room_entry entry;
    size_t begin;

    if (len < 2)
        return;
    entry = (struct kh_room_entry){.sequence = play->heard + data[0] % 16,
                                   .kind = data[1] % 4,
                                   .body = data + 2,
                                   .len = len - 2};
    kh_write_u8(&writer, KH_ROOM_FRAMES_VERSION);
    begin = kh_room_frame_entries_begin(&writer, &play->name, entry.sequence);
    kh_room_entry_write(&entry, &play->name, &play->keys, &identity, &writer);
    kh_room_frame_entries_end(&writer, begin);
    play_channel(play, bytes, writer.len);
}

/* HEAD of the log of bad will, and HAVE of Bob's, with any numbers. */
static void play_numbers(struct play *play, const uint8_t *data, size_t len)
{
    uint8_t bytes[256];
    struct kh_writer writer = kh_writer_to(bytes, sizeof bytes);
    struct kh_reader reader = kh_reader_of(data, len);
    struct kh_room_log_name bobs = {.log = bob};
    struct kh_secret bob_identity = {{7}};
    uint64_t first = kh_read_u64(&reader);

    kh_ed25519_public(&bob_identity, bobs.author);
    kh_write_u8(&writer, KH_ROOM_FRAMES_VERSION);
    kh_room_frame_head_write(&writer, &play->name, first, kh_read_u64(&reader));
    kh_room_frame_have_write(&writer, &bobs, len % 8 == 0 ? play->said : kh_read_u64(&reader));
    play_channel(play, bytes, writer.len);
}

static void play_say(struct play *play, const uint8_t *data, size_t len)
{
    struct kh_room_entry_id id;

    if (kh_room_say(play->room, play->now, 1, (const char *)data, len, &id) == KH_OK)
        play->said++;
}

static void play_member(struct play *play, size_t len)
{
    enum kh_status status = KH_OK;

    switch (len / 8 % 5) {
    case 0:
        play->is_open = play->is_member && !play->is_open;
        play->is_blocked = false;
        kh_room_set_channel(play->room, play->now, &play->name.log, play->is_open);
        break;
    case 1:
        play->is_blocked = play->is_open && !play->is_blocked;
        kh_room_set_blocked(play->room, play->now, &play->name.log, play->is_blocked);
        break;
    case 2:
        kh_room_remove_member(play->room, play->now, &play->name.log);
        play->is_member = false;
        play->is_open = false;
        play->is_blocked = false;
        break;
    case 3:
        status = kh_room_add_member(play->room, play->now, &play->name.log, play->name.author);
        play->is_member = true;
        break;
    default:
        play->now += KH_MILLISECONDS(len);
        kh_room_handle_timeout(play->room, play->now);
    }
    TEST(status == KH_OK);
}

static void step(struct play *play, uint8_t operation, const uint8_t *data, size_t len)
{
    switch (operation % 9) {
    case 0:
        play_link(data, len);
        break;
    case 1:
        play_card(play, data, len);
        break;
    case 2:
        play_channel(play, data, len);
        break;
    case 3:
        play_signal(play, data, len);
        break;
    case 4:
        play_sealed(play, data, len);
        break;
    case 5:
        play_entry(play, data, len);
        break;
    case 6:
        play_numbers(play, data, len);
        break;
    case 7:
        play_say(play, data, len);
        break;
    default:
        play_member(play, len);
    }
    drain(play);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct kh_room_config config = {.name = "Bob", .member = bob, .identity = {{7}}};
    struct play play = {.now = KH_SECONDS(1), .name = {.log = {{0x66}}}};
    struct kh_reader reader = kh_reader_of(data, len);

    memcpy(config.secret, secret, sizeof secret);
    kh_room_keys_derive(secret, &play.keys);
    kh_ed25519_public(&identity, play.name.author);
    TEST(kh_room_new(&play.room, &config) == KH_OK);
    while (reader.left >= 2) {
        uint8_t operation = kh_read_u8(&reader);
        size_t step_len = (size_t)kh_read_u8(&reader) * 8;
        const uint8_t *bytes;

        if (step_len > reader.left)
            step_len = reader.left;
        bytes = kh_read_bytes(&reader, step_len);
        step(&play, operation, bytes, step_len);
    }
    kh_room_free(play.room);
    return 0;
}
