/* room/vectors_test.c - docs/protocol/room.md tells the truth: each of its vectors, both ways.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "room/card.h"
#include "room/frame.h"
#include "room/signal.h"

static char *document;

static struct kh_room_keys keys;
static uint8_t secret[KH_ROOM_SECRET_LEN];
static struct kh_secret identity;
static struct kh_room_log_name alice;
static struct kh_room_member_id bob;

static int read_document(void **state)
{
    FILE *file = fopen(KH_ROOM_DOCUMENT, "rb");
    size_t len;

    (void)state;
    document = calloc(1, 1 << 17);
    if (file == NULL || document == NULL)
        return 1;
    document[0] = '\n';
    len = fread(document + 1, 1, (1 << 17) - 2, file);
    (void)fclose(file);
    return len == 0;
}

static int forget_document(void **state)
{
    (void)state;
    free(document);
    return 0;
}

/* The value behind "name " at the beginning of a line. */
static const char *value_of(const char *name, char out[static 4096])
{
    char needle[64];
    const char *at;
    size_t len;

    snprintf(needle, sizeof needle, "\n%s ", name);
    at = strstr(document, needle);
    if (at == NULL)
        fail_msg("no vector %s", name);
    at += strlen(needle);
    at += strspn(at, " ");
    len = strcspn(at, "\n");
    assert_true(len < 4096);
    memcpy(out, at, len);
    out[len] = '\0';
    return out;
}

static size_t bytes_of(const char *name, uint8_t out[static 2048])
{
    char text[4096];
    size_t len = strlen(value_of(name, text)) / 2;

    assert_true(kh_hex_parse(text, 2 * len, out, len));
    return len;
}

static void check(const char *name, const void *data, size_t len)
{
    char expected[4096];
    char got[4096];

    kh_hex_write(data, len, got);
    if (strcmp(value_of(name, expected), got) != 0)
        fail_msg("%s is %s", name, got);
}

static int read_inputs(void **state)
{
    uint8_t bytes[2048];

    (void)state;
    assert_int_equal(bytes_of("secret", bytes), sizeof secret);
    memcpy(secret, bytes, sizeof secret);
    kh_room_keys_derive(secret, &keys);
    assert_int_equal(bytes_of("alice-seed", bytes), sizeof identity);
    memcpy(identity.bytes, bytes, sizeof identity);
    kh_ed25519_public(&identity, alice.author);
    assert_int_equal(bytes_of("alice-member", bytes), sizeof alice.log);
    memcpy(alice.log.bytes, bytes, sizeof alice.log);
    assert_int_equal(bytes_of("bob-member", bytes), sizeof bob);
    memcpy(bob.bytes, bytes, sizeof bob);
    return 0;
}

static void the_link(void **state)
{
    struct kh_room_link link = {.server = {.host = "knothole.example", .port = 443, .tls = true}};
    char text[KH_ROOM_LINK_MAX];
    char expected[4096];

    (void)state;
    memcpy(link.secret, secret, sizeof secret);
    assert_string_equal(kh_room_link_write(&link, text), value_of("link", expected));
    assert_int_equal(kh_room_link_parse(expected, &link), KH_OK);
    assert_memory_equal(link.secret, secret, sizeof secret);
}

static void the_keys(void **state)
{
    struct kh_secret seed;

    (void)state;
    kh_room_derive_seed(secret, &seed);
    check("room-seed", &seed, sizeof seed);
    check("room-name", keys.room, sizeof keys.room);
    check("card-key", &keys.card, sizeof keys.card);
    check("signal-key", &keys.signal, sizeof keys.signal);
    check("alice-identity", alice.author, sizeof alice.author);
}

static void the_card(void **state)
{
    struct kh_room_card card = {.revision = 1,
                                .name = "Alice",
                                .ufrag = "a1b2c3d4",
                                .password = "0123456789abcdefghijkl",
                                .candidate_count = 2,
                                .abilities = 1};
    struct kh_room_card back;
    struct kh_room_card_seal seal = {.keys = &keys, .identity = &identity, .member = &alice.log};
    uint8_t nonce[2048];
    uint8_t plain[KH_ROOM_CARD_MAX];
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    assert_int_equal(bytes_of("card-nonce", nonce), sizeof seal.nonce);
    memcpy(seal.nonce, nonce, sizeof seal.nonce);
    memcpy(card.identity, alice.author, sizeof card.identity);
    memset(card.fingerprint, 0xcc, sizeof card.fingerprint);
    card.candidates[0].addr = kh_addr_ipv4(192, 168, 1, 20, 40000);
    card.candidates[1].kind = KH_ROOM_CANDIDATE_REFLEXIVE;
    assert_int_equal(kh_addr_parse("[2001:db8::20]:40000", 0, &card.candidates[1].addr), KH_OK);
    len = kh_room_card_write(&card, &seal, sealed);
    assert_true(kh_aead_open(&keys.card,
                             kh_room_associated(KH_ROOM_LABEL_CARD, &alice.log, associated),
                             (struct kh_span){sealed, len}, plain));
    check("card-plain", plain, len - KH_AEAD_OVERHEAD);
    check("card-sealed", sealed, len);
    assert_int_equal(kh_room_card_parse(&keys, &alice.log, (struct kh_span){sealed, len}, &back),
                     KH_OK);
    assert_memory_equal(&back, &card, sizeof card);
}

/* HEAD, two entries and a HAVE of Bob's log, as Alice would send them to Bob. */
static struct kh_span write_frames(uint8_t out[static 1024])
{
    static const char *const texts[] = {"Hi!", "Still there?"};
    struct kh_writer writer = kh_writer_to(out, 1024);
    struct kh_room_log_name bobs = {.log = bob};
    size_t begin;

    memset(bobs.author, 0xbb, sizeof bobs.author);
    kh_write_u8(&writer, KH_ROOM_FRAMES_VERSION);
    kh_room_frame_head_write(&writer, &alice, 1, 2);
    begin = kh_room_frame_entries_begin(&writer, &alice, 1);
    for (uint64_t i = 0; i < 2; i++) {
        struct kh_room_entry entry = {.sequence = i + 1,
                                      .kind = KH_ROOM_ENTRY_TEXT,
                                      .time_ms = 1700000000000 + i,
                                      .body = (const uint8_t *)texts[i],
                                      .len = strlen(texts[i])};
        size_t at = writer.len;

        kh_room_entry_write(&entry, &alice, &keys, &identity, &writer);
        check(i == 0 ? "entry-1" : "entry-2", out + at, writer.len - at);
    }
    kh_room_frame_entries_end(&writer, begin);
    kh_room_frame_have_write(&writer, &bobs, 7);
    assert_false(writer.failed);
    return (struct kh_span){out, writer.len};
}

static void the_frames(void **state)
{
    uint8_t bytes[1024];
    struct kh_span frames = write_frames(bytes);

    (void)state;
    check("frames", frames.data, frames.len);
}

static void the_signal(void **state)
{
    uint8_t bytes[1024];
    struct kh_span frames = write_frames(bytes);
    struct kh_room_signal signal = {
        .keys = &keys, .from = &alice.log, .to = &bob, .identity = &identity};
    struct kh_room_signal_check look = {
        .keys = &keys, .from = &alice.log, .me = &bob, .identity = alice.author};
    uint8_t nonce[2048];
    uint8_t sealed[KH_ROOM_SIGNAL_MAX];
    uint8_t plain[KH_ROOM_SIGNAL_PLAIN_MAX];
    struct kh_span back;
    size_t len;

    (void)state;
    assert_int_equal(bytes_of("signal-nonce", nonce), sizeof signal.nonce);
    memcpy(signal.nonce, nonce, sizeof signal.nonce);
    len = kh_room_signal_write(&signal, frames, sealed);
    check("signal-sealed", sealed, len);
    len = kh_room_signal_open(&keys, &alice.log, (struct kh_span){sealed, len}, plain);
    check("signal-plain", plain, len);
    assert_true(kh_room_signal_verify(&look, (struct kh_span){plain, len}, &back));
    assert_int_equal(back.len, frames.len);
    assert_memory_equal(back.data, frames.data, frames.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_link, read_inputs),
        cmocka_unit_test_setup(the_keys, read_inputs),
        cmocka_unit_test_setup(the_card, read_inputs),
        cmocka_unit_test_setup(the_frames, read_inputs),
        cmocka_unit_test_setup(the_signal, read_inputs),
    };

    return cmocka_run_group_tests(tests, read_document, forget_document);
}
