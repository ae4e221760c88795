/* rendezvous/vectors_test.c - docs/protocol/rendezvous.md tells the truth: its transcript is ours.
 *
 * SPDX-License-Identifier: MIT
 *
 * A client and a registry with fixed seeds play the transcript of the document; every key and every
 * byte of every datagram must be the one written there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "rendezvous/client_state.h"
#include "rendezvous/registry_state.h"

#define DOCUMENT_MAX (1 << 17)
#define DATAGRAMS_MAX 8 /* more than any input here yields */
#define NOW KH_SECONDS(1000)

static char *document;

static int read_document(void **state)
{
    FILE *file = fopen(KH_RENDEZVOUS_DOCUMENT, "rb");
    size_t len;

    (void)state;
    document = calloc(1, DOCUMENT_MAX);
    if (file == NULL || document == NULL)
        return 1;
    document[0] = '\n';
    len = fread(document + 1, 1, DOCUMENT_MAX - 2, file);
    (void)fclose(file);
    return len == 0;
}

static int forget_document(void **state)
{
    (void)state;
    free(document);
    return 0;
}

/* Asserts that the document has a line with this name and these bytes. */
static void assert_vector(const char *name, const void *data, size_t len)
{
    char line[2 * KH_DATAGRAM_MAX + 64];
    size_t at = (size_t)snprintf(line, sizeof line, "\n%-20s ", name);

    kh_hex_write(data, len, line + at);
    memcpy(line + at + 2 * len, "\n", 2);
    if (strstr(document, line) == NULL)
        fail_msg("the document has no line%s", line);
}

/* ---- the actors ---- */

static struct kh_rendezvous_registry *registry;
static struct kh_rendezvous_client *alice, *bob;
static struct kh_addr server_addr, alice_addr, bob_addr;
static const char *next_to_alice[4]; /* names of the datagrams the server sends her next */

static void drain_alice(const char *name);

static void to_alice(const struct kh_datagram *datagram)
{
    struct kh_rendezvous_client_event event;
    const char *name = next_to_alice[0];

    assert_non_null(name);
    memmove(next_to_alice, next_to_alice + 1, 3 * sizeof next_to_alice[0]);
    assert_vector(name, datagram->data, datagram->len);
    assert_true(kh_rendezvous_client_handle_datagram(alice, NOW, datagram));
    while (kh_rendezvous_client_next_event(alice, &event))
        ;
}

static void to_bob(const struct kh_datagram *datagram);

static void drain_registry(void)
{
    static uint8_t copies[DATAGRAMS_MAX][KH_DATAGRAM_MAX];
    struct kh_datagram out[DATAGRAMS_MAX];
    size_t count = 0;

    while (kh_rendezvous_registry_next_transmit(registry, &out[count])) {
        memcpy(copies[count], out[count].data, out[count].len);
        out[count].data = copies[count];
        count++;
    }
    for (size_t i = 0; i < count; i++) {
        if (kh_addr_equal(&out[i].to, &alice_addr)) {
            to_alice(&out[i]);
            if (i + 1 < count && kh_addr_equal(&out[i + 1].to, &alice_addr))
                continue; /* what she answers waits until she has heard all */
        } else {
            to_bob(&out[i]);
        }
    }
}

static void to_server(const struct kh_datagram *datagram)
{
    struct kh_stun_message message;

    assert_int_equal(kh_stun_parse(datagram->data, datagram->len, &message), KH_OK);
    assert_true(kh_rendezvous_registry_handle_message(registry, NOW, datagram, &message));
    drain_registry();
}

/* Sends the one datagram a client has to send, under this name unless it is NULL. */
static void send_one(struct kh_rendezvous_client *client, const struct kh_addr *from,
                     const char *name)
{
    static uint8_t copy[2][KH_DATAGRAM_MAX];
    static unsigned depth;
    struct kh_datagram out;

    if (!kh_rendezvous_client_next_transmit(client, &out)) {
        assert_null(name);
        return;
    }
    out.from = *from;
    memcpy(copy[depth % 2], out.data, out.len);
    out.data = copy[depth++ % 2];
    if (name != NULL)
        assert_vector(name, out.data, out.len);
    to_server(&out);
}

static void drain_alice(const char *name)
{
    send_one(alice, &alice_addr, name);
}

static void to_bob(const struct kh_datagram *datagram)
{
    struct kh_rendezvous_client_event event;

    assert_true(kh_rendezvous_client_handle_datagram(bob, NOW, datagram));
    while (kh_rendezvous_client_next_event(bob, &event))
        ;
    send_one(bob, &bob_addr, NULL);
}

static struct kh_span text(const char *words)
{
    return (struct kh_span){words, strlen(words)};
}

static void start(void)
{
    struct kh_rendezvous_registry_config server = {.members_max = 10};
    struct kh_rendezvous_client_config client = {.server_count = 1};

    server_addr = kh_addr_ipv4(203, 0, 113, 1, 3478);
    alice_addr = kh_addr_ipv4(192, 0, 2, 10, 40000);
    bob_addr = kh_addr_ipv4(198, 51, 100, 20, 50000);
    memset(server.seed, 0x55, sizeof server.seed);
    assert_int_equal(kh_rendezvous_registry_new(&registry, &server), KH_OK);
    client.servers[0] = server_addr;
    memset(client.room_seed.bytes, 0x77, sizeof client.room_seed.bytes);
    memset(client.member.bytes, 0xaa, sizeof client.member.bytes);
    memset(client.seed, 0x11, sizeof client.seed);
    assert_int_equal(kh_rendezvous_client_new(&alice, &client), KH_OK);
    memset(client.member.bytes, 0xbb, sizeof client.member.bytes);
    memset(client.seed, 0x22, sizeof client.seed);
    assert_int_equal(kh_rendezvous_client_new(&bob, &client), KH_OK);
}

static void stop(void)
{
    kh_rendezvous_client_free(alice);
    kh_rendezvous_client_free(bob);
    kh_rendezvous_registry_free(registry);
}

static void expect(const char *first, const char *second)
{
    assert_null(next_to_alice[0]);
    next_to_alice[0] = first;
    next_to_alice[1] = second;
}

static void check_keys(void)
{
    struct kh_rendezvous_binding binding = {alice->room, &alice->config.member,
                                            alice->race.public_key, registry->public_key};
    struct kh_rendezvous_keys keys;
    struct kh_secret shared;

    assert_vector("room-seed", alice->config.room_seed.bytes, KH_KEY_LEN);
    assert_vector("room", alice->room, KH_KEY_LEN);
    assert_vector("nonce-secret", registry->nonces.secret.bytes, KH_KEY_LEN);
    assert_vector("client-private", alice->race.private_key.bytes, KH_KEY_LEN);
    assert_vector("client-public", alice->race.public_key, KH_KEY_LEN);
    assert_vector("server-private", registry->private_key.bytes, KH_KEY_LEN);
    assert_vector("server-public", registry->public_key, KH_KEY_LEN);
    assert_true(kh_x25519_shared(&alice->race.private_key, registry->public_key, &shared));
    assert_vector("shared", shared.bytes, KH_KEY_LEN);
    kh_rendezvous_keys_derive(&shared, &binding, &keys);
    assert_vector("key-to-server", keys.to_server.bytes, KH_KEY_LEN);
    assert_vector("key-to-client", keys.to_client.bytes, KH_KEY_LEN);
}

static void play_joining(void)
{
    kh_rendezvous_client_join(bob, NOW, text("Bob's card"), text(""));
    send_one(bob, &bob_addr, NULL);
    kh_rendezvous_client_join(alice, NOW, text("Alice's card"), text("First words"));
    check_keys();
    expect("challenge", NULL);
    drain_alice("challenge-request");
    expect("join-answer", "push-bob");
    drain_alice("join");
    drain_alice("push-answer");
    drain_alice(NULL);
}

static void play_staying(void)
{
    kh_rendezvous_client_set_card(alice, NOW, text("Alice's new card"));
    expect("update-answer", NULL);
    drain_alice("update");
    assert_int_equal(
        kh_rendezvous_client_signal(alice, NOW, &bob->config.member, text("Hello Bob"), 1), KH_OK);
    expect("signal-answer", NULL);
    drain_alice("signal");
    assert_int_equal(kh_rendezvous_client_signal(bob, NOW, NULL, text("Hello all"), 1), KH_OK);
    expect("signal-from-bob", NULL);
    send_one(bob, &bob_addr, NULL);
}

static void play_leaving(void)
{
    kh_rendezvous_client_leave(bob, NOW);
    expect("push-gone", NULL);
    send_one(bob, &bob_addr, NULL);
    drain_alice("push-gone-answer");
    kh_rendezvous_client_leave(alice, NOW);
    expect("leave-answer", NULL);
    drain_alice("leave");
    assert_int_equal(kh_rendezvous_client_state(alice), KH_RENDEZVOUS_LEFT);
}

static void transcript_of_the_document_is_ours(void **state)
{
    (void)state;
    start();
    play_joining();
    play_staying();
    play_leaving();
    assert_null(next_to_alice[0]);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(transcript_of_the_document_is_ours)};

    return cmocka_run_group_tests(tests, read_document, forget_document);
}
