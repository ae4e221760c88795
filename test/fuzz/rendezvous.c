/* fuzz/rendezvous.c - two members and a registry, on a wire that the input controls.
 *
 * SPDX-License-Identifier: MIT
 *
 * The input is a list of commands: the owner's calls, time, and what the wire does with the oldest
 * datagram on it: deliver, drop, repeat, alter, move to another sender.  Some commands write
 * messages with attributes of the input's choice under the true keys of a session, so that what
 * lies behind authentication is reached as well.
 */
#include <assert.h>
#include <string.h>

#include "rendezvous/client_state.h"
#include "rendezvous/offer.h"
#include "rendezvous/registry_state.h"

#define CLIENTS 2
#define PACKETS_MAX 32 /* what comes on top is lost, as on any wire */

struct packet {
    struct kh_addr from, to;
    uint8_t data[KH_DATAGRAM_MAX];
    size_t len;
};

struct world {
    struct kh_rendezvous_registry *registry;
    struct kh_rendezvous_client *clients[CLIENTS];
    struct kh_addr addrs[CLIENTS];
    struct kh_addr server;
    struct packet packets[PACKETS_MAX];
    struct kh_ring ring;
    kh_time now;
    struct kh_reader input;
};

static void put(struct world *world, const struct kh_datagram *datagram)
{
    size_t at;

    assert(datagram->len > 0 && datagram->len <= KH_DATAGRAM_MAX);
    if (!kh_ring_push(&world->ring, PACKETS_MAX, &at))
        return;
    world->packets[at].from = datagram->from;
    world->packets[at].to = datagram->to;
    world->packets[at].len = datagram->len;
    memcpy(world->packets[at].data, datagram->data, datagram->len);
}

static void drain_registry(struct world *world)
{
    struct kh_datagram out;

    while (kh_rendezvous_registry_next_transmit(world->registry, &out))
        put(world, &out);
}

static void drain_client(struct world *world, size_t n)
{
    struct kh_rendezvous_client_event event;
    struct kh_datagram out;
    volatile uint8_t sum = 0;

    while (kh_rendezvous_client_next_event(world->clients[n], &event)) {
        for (size_t i = 0; i < event.len; i++)
            sum = (uint8_t)(sum + event.data[i]); /* a sanitizer sees what is not ours */
    }
    while (kh_rendezvous_client_next_transmit(world->clients[n], &out)) {
        out.from = world->addrs[n];
        out.from.transport = out.to.transport;
        put(world, &out);
    }
}

/* By whatever transport. */
static bool is_there(const struct kh_addr *to, const struct kh_addr *place)
{
    return to->port == place->port && kh_addr_ip_equal(to, place);
}

static void deliver(struct world *world, const struct packet *packet)
{
    struct kh_datagram datagram = {
        .from = packet->from, .to = packet->to, .data = packet->data, .len = packet->len};
    static const struct kh_rendezvous_turn turn = {
        .servers = {{.family = KH_FAMILY_IPV4, .port = 3478, .ip = {192, 0, 2, 5}}},
        .username = "2000000000:alice",
        .password = "secret",
        .lifetime = 1};
    const struct kh_rendezvous_offer offer = {.nonce = {"nonce", 5}, .turn = &turn};
    struct kh_rendezvous_member_id member;
    struct kh_stun_message message;

    for (size_t n = 0; n < CLIENTS; n++) {
        if (!is_there(&packet->to, &world->addrs[n]))
            continue;
        kh_rendezvous_client_handle_datagram(world->clients[n], world->now, &datagram);
        drain_client(world, n);
    }
    if (!is_there(&packet->to, &world->server) ||
        kh_stun_parse(packet->data, packet->len, &message) != KH_OK)
        return;
    if (kh_rendezvous_wants_offer(&message, &member))
        kh_rendezvous_registry_offer(world->registry, &offer);
    kh_rendezvous_registry_handle_message(world->registry, world->now, &datagram, &message);
    drain_registry(world);
}

static void pass_time(struct world *world)
{
    static const kh_duration steps[] = {KH_MILLISECONDS(1), KH_MILLISECONDS(200), KH_SECONDS(2),
                                        KH_SECONDS(25),     KH_SECONDS(70),       KH_SECONDS(3700)};

    world->now += steps[kh_read_u8(&world->input) % (sizeof steps / sizeof steps[0])];
    kh_rendezvous_registry_handle_timeout(world->registry, world->now);
    drain_registry(world);
    for (size_t n = 0; n < CLIENTS; n++) {
        kh_rendezvous_client_handle_timeout(world->clients[n], world->now);
        drain_client(world, n);
    }
}

/* A short text of the input's choice. */
static struct kh_span some_bytes(struct world *world, uint8_t out[static 256])
{
    size_t len = 1 + (size_t)kh_read_u8(&world->input) % 32;

    kh_read_copy(&world->input, out, len);
    return (struct kh_span){out, len};
}

static void command_client(struct world *world, size_t n, unsigned what)
{
    struct kh_rendezvous_client *client = world->clients[n];
    uint8_t bytes[256];
    struct kh_span span = some_bytes(world, bytes);

    switch (what) {
    case 0:
        if (kh_rendezvous_client_state(client) == KH_RENDEZVOUS_LEFT)
            kh_rendezvous_client_join(client, world->now, span, span);
        break;
    case 1:
        if (kh_rendezvous_client_state(client) != KH_RENDEZVOUS_LEFT)
            kh_rendezvous_client_set_card(client, world->now, span);
        break;
    case 2:
        (void)!kh_rendezvous_client_signal(
            client, world->now, bytes[0] & 1 ? &world->clients[1 - n]->config.member : NULL, span,
            bytes[0]);
        break;
    case 3:
        if (bytes[0] < 64)
            kh_rendezvous_client_doubt(client, world->now);
        else if (bytes[0] < 128)
            kh_rendezvous_client_set_attentive(client, world->now, bytes[0] & 1);
        else
            kh_rendezvous_client_probe(client, world->now);
        break;
    case 4:
        world->addrs[n].port++;
        break;
    case 5:
        world->addrs[n].ip[3] ^= 0x80;
        break;
    default:
        kh_rendezvous_client_leave(client, world->now);
        break;
    }
    drain_client(world, n);
}

static void command_wire(struct world *world, unsigned what)
{
    struct packet packet;
    size_t at;

    if (!kh_ring_pop(&world->ring, PACKETS_MAX, &at))
        return;
    packet = world->packets[at];
    if (what == 0) /* lost */
        return;
    if (what == 1) /* altered */
        packet.data[kh_read_u16(&world->input) % packet.len] ^= kh_read_u8(&world->input);
    if (what == 2) /* from elsewhere */
        packet.from.port ^= 1;
    if (what == 3) /* twice, the second time later */
        put(world,
            &(struct kh_datagram){
                .from = packet.from, .to = packet.to, .data = packet.data, .len = packet.len});
    deliver(world, &packet);
}

/* Adds up to seven attributes that our methods know, with values of the input's choice. */
static void add_attributes(struct world *world, struct kh_stun_writer *writer)
{
    static const uint16_t types[] = {
        KH_STUN_MEMBER,
        KH_STUN_SEQUENCE,
        KH_STUN_ROOM_VERSION,
        KH_STUN_BASE_VERSION,
        KH_STUN_HIDDEN,
        KH_STUN_RELAY_NONCE,
        KH_STUN_RELAY,
        KH_STUN_CHANGE,
        KH_STUN_SEALED,
        KH_STUN_TARGET,
        KH_STUN_NONCE,
        KH_STUN_ERROR_CODE,
        KH_STUN_LIFETIME,
        KH_STUN_XOR_MAPPED_ADDRESS,
        KH_STUN_PUBLIC_KEY,
        KH_STUN_EARLY,
        KH_STUN_ROOM,
        0x7abc,
    };
    unsigned count = kh_read_u8(&world->input) % 8;

    for (unsigned i = 0; i < count && !world->input.failed; i++) {
        uint16_t type = types[kh_read_u8(&world->input) % (sizeof types / sizeof types[0])];
        size_t len = kh_read_u8(&world->input) % 64;
        const uint8_t *value = kh_read_bytes(&world->input, len);

        if (value != NULL)
            kh_stun_add(writer, type, value, len);
    }
}

/* As if the server were dishonest: anything, under the session's key. */
static void forge_to_client(struct world *world, size_t n)
{
    const struct kh_rendezvous_client *client = world->clients[n];
    struct packet packet = {.from = world->server, .to = world->addrs[n]};
    uint8_t transport = client->session.server.transport;
    unsigned class = kh_read_u8(&world->input) % 4;
    unsigned method = KH_STUN_JOIN + kh_read_u8(&world->input) % 5;
    const uint8_t *id = client->update.active ? client->update.id : client->signals[0].ask.id;
    struct kh_stun_writer writer = kh_stun_begin(packet.data, sizeof packet.data,
                                                 (enum kh_stun_class) class, (uint16_t)method, id);

    packet.from.transport = packet.to.transport = transport;
    add_attributes(world, &writer);
    packet.len = kh_rendezvous_finish(&writer, &client->session.keys.to_client);
    if (packet.len > 0)
        deliver(world, &packet);
}

/* As if a member were dishonest: anything, under its session's key. */
static void forge_to_server(struct world *world, size_t n)
{
    const struct kh_rendezvous_client *client = world->clients[n];
    const struct kh_rendezvous_member_id *member = &client->config.member;
    struct packet packet = {.from = world->addrs[n], .to = world->server};
    unsigned class = kh_read_u8(&world->input) % 4;
    unsigned method = KH_STUN_JOIN + kh_read_u8(&world->input) % 5;
    static const uint8_t id[KH_STUN_ID_LEN] = {7};
    struct kh_stun_writer writer = kh_stun_begin(packet.data, sizeof packet.data,
                                                 (enum kh_stun_class) class, (uint16_t)method, id);

    kh_stun_add(&writer, KH_STUN_MEMBER, member->bytes, sizeof member->bytes);
    add_attributes(world, &writer);
    packet.len = method == KH_STUN_JOIN
                     ? kh_rendezvous_finish_signed(&writer, &client->config.room_seed)
                     : kh_rendezvous_finish(&writer, &client->session.keys.to_server);
    if (packet.len > 0)
        deliver(world, &packet);
}

static void command(struct world *world)
{
    uint8_t byte = kh_read_u8(&world->input);
    size_t n = byte & 1;
    unsigned what = byte >> 4;

    switch (byte >> 1 & 7) {
    case 0:
        pass_time(world);
        return;
    case 1:
        command_client(world, n, what % 7);
        return;
    case 2:
        command_wire(world, what % 4);
        return;
    case 3:
        forge_to_client(world, n);
        return;
    case 4:
        forge_to_server(world, n);
        return;
    default:
        for (unsigned i = 0; i <= what; i++)
            command_wire(world, 4);
        return;
    }
}

static bool build(struct world *world)
{
    struct kh_rendezvous_registry_config server = {.seed = {1}, .members_max = 4};
    struct kh_rendezvous_client_config client = {.server_count = 3, .room_seed = {{2}}};

    world->server = kh_addr_ipv4(203, 0, 113, 1, 3478);
    world->now = KH_SECONDS(1000);
    for (uint8_t transport = KH_UDP; transport <= KH_TLS; transport++) {
        client.servers[transport] = world->server;
        client.servers[transport].transport = transport;
    }
    if (kh_rendezvous_registry_new(&world->registry, &server) != KH_OK)
        return false;
    for (uint8_t n = 0; n < CLIENTS; n++) {
        world->addrs[n] = kh_addr_ipv4(192, 0, 2, n, 4000);
        client.member.bytes[0] = n;
        client.seed[0] = n;
        if (kh_rendezvous_client_new(&world->clients[n], &client) != KH_OK)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct world world;
    struct kh_rendezvous_turn turn;

    (void)!kh_rendezvous_turn_parse((struct kh_span){data, len}, &turn);
    world = (struct world){.input = kh_reader_of(data, len)};
    if (build(&world)) {
        for (size_t i = 0; world.input.left > 0 && !world.input.failed && i < 300; i++)
            command(&world);
    }
    for (size_t n = 0; n < CLIENTS; n++)
        kh_rendezvous_client_free(world.clients[n]);
    kh_rendezvous_registry_free(world.registry);
    return 0;
}
