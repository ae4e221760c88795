/* node/world_test.c - a few whole members and one server on a cable, for the tests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/world_test.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t secret[KH_ROOM_SECRET_LEN] = {"a hole in fences"};

static kh_duration judge(void *context, const struct kh_datagram *datagram)
{
    const struct world *world = context;
    bool direct = !kh_addr_equal(&datagram->from, &world->server_addr) &&
                  !kh_addr_equal(&datagram->to, &world->server_addr);

    if (world->cut_direct && direct)
        return KH_NEVER;
    if (!kh_addr_is_none(&world->unserved) && !direct &&
        (kh_addr_equal(&datagram->from, &world->unserved) ||
         kh_addr_equal(&datagram->to, &world->unserved)))
        return KH_NEVER;
    if (!kh_addr_is_none(&world->cut) && (kh_addr_ip_equal(&datagram->from, &world->cut) ||
                                          kh_addr_ip_equal(&datagram->to, &world->cut)))
        return KH_NEVER;
    return 0;
}

struct world *world_new(kh_duration delay)
{
    struct world *world = calloc(1, sizeof *world);

    assert(world != NULL);
    world->cable.now = KH_SECONDS(1000);
    world->cable.delay = delay;
    world->cable.judge = judge;
    world->cable.context = world;
    world->server_addr = kh_addr_ipv4(192, 0, 2, 1, 3478);
    world_start_server(world);
    return world;
}

void world_free(struct world *world)
{
    for (size_t i = 0; i < WORLD_PEOPLE_MAX; i++)
        kh_node_free(world->people[i].node);
    kh_rendezvous_registry_free(world->registry);
    free(world);
}

void world_start_server(struct world *world)
{
    struct kh_rendezvous_registry_config config = {.seed = {(uint8_t)(world->cable.now >> 20), 5}};
    enum kh_status status = kh_rendezvous_registry_new(&world->registry, &config);

    assert(status == KH_OK);
}

void world_stop_server(struct world *world)
{
    kh_rendezvous_registry_free(world->registry);
    world->registry = NULL;
}

/* ---- people ---- */

struct kh_node_config world_config(const struct world *world, const char *name, uint8_t key)
{
    struct kh_node_config config = {.server_count = 1, .identity = {.bytes = {key, 1}}};

    memcpy(config.secret, secret, sizeof secret);
    config.servers[0] = world->server_addr;
    memcpy(config.name, name, strlen(name) + 1);
    return config;
}

struct person *world_add(struct world *world, size_t index, const char *name, uint8_t key)
{
    struct person *person = &world->people[index];
    struct kh_node_config config = world_config(world, name, key);
    enum kh_status status;

    assert(index < WORLD_PEOPLE_MAX && person->node == NULL);
    config.seed[0] = (uint8_t)(index + 1);
    config.seed[1] = (uint8_t)(world->cable.now >> 18);
    config.ticket = person->ticket;
    person->addr = kh_addr_ipv4(203, 0, 113, (uint8_t)(index + 1), 4000);
    status = kh_node_new(&person->node, &config);
    assert(status == KH_OK);
    status = kh_node_add_addr(person->node, world->cable.now, &person->addr);
    assert(status == KH_OK);
    world_drain(world);
    return person;
}

void world_join(struct world *world, struct person *person)
{
    kh_node_join(person->node, world->cable.now);
    world_drain(world);
}

void world_say(struct world *world, struct person *person, const char *text)
{
    struct kh_room_entry_id entry;
    enum kh_status status =
        kh_node_say(person->node, world->cable.now, 1700000000000, text, strlen(text), &entry);

    assert(status == KH_OK);
    world_drain(world);
}

void world_kill(struct person *person)
{
    kh_node_free(person->node);
    person->node = NULL;
}

static void hear(struct person *person, const struct kh_node_event *event, kh_time now)
{
    struct world_heard *heard = &person->heard[person->heard_count++];

    assert(person->heard_count <= WORLD_HEARD_MAX);
    memset(heard, 0, sizeof *heard);
    heard->len = event->text_len;
    memcpy(heard->text, event->text,
           heard->len < sizeof heard->text ? heard->len : sizeof heard->text - 1);
    memcpy(heard->name, event->name, strlen(event->name) + 1);
    heard->via = event->via;
    heard->at = now;
}

static void note(struct person *person, const struct kh_node_event *event, kh_time now)
{
    person->count[event->kind]++;
    person->last[event->kind] = now;
    if (event->kind == KH_NODE_EVENT_MESSAGE)
        hear(person, event, now);
    else if (event->kind == KH_NODE_EVENT_PATH)
        person->path = event->path;
    else if (event->kind == KH_NODE_EVENT_JOINED)
        person->ticket = event->ticket;
    else if (event->kind == KH_NODE_EVENT_WARNING || event->kind == KH_NODE_EVENT_ERROR)
        memcpy(person->code, event->code, strlen(event->code) + 1);
}

static void drain_person(struct world *world, struct person *person)
{
    struct kh_node_event event;
    struct kh_datagram datagram;

    while (kh_node_next_event(person->node, &event))
        note(person, &event, world->cable.now);
    while (kh_node_next_transmit(person->node, &datagram)) {
        if (kh_addr_is_none(&datagram.from)) /* as the system would choose */
            datagram.from = kh_addr_is_none(&person->second) ? person->addr : person->second;
        cable_send(&world->cable, &datagram);
    }
}

static void drain_server(struct world *world)
{
    struct kh_datagram datagram;

    while (kh_rendezvous_registry_next_transmit(world->registry, &datagram)) {
        datagram.from = world->server_addr;
        cable_send(&world->cable, &datagram);
    }
}

void world_drain(struct world *world)
{
    for (size_t i = 0; i < WORLD_PEOPLE_MAX; i++)
        if (world->people[i].node != NULL)
            drain_person(world, &world->people[i]);
    if (world->registry != NULL)
        drain_server(world);
}

/* ---- time ---- */

static void deliver_to_server(struct world *world, const struct kh_datagram *datagram)
{
    const struct kh_rendezvous_turn turn = {
        .servers = {world->elsewhere}, .username = "alice", .password = "secret", .lifetime = 60};
    const struct kh_rendezvous_offer offer = {.turn = &turn};
    struct kh_rendezvous_member_id member;
    struct kh_stun_message message;

    if (world->registry == NULL || kh_stun_parse(datagram->data, datagram->len, &message) != KH_OK)
        return;
    if (!kh_addr_is_none(&world->elsewhere) && kh_rendezvous_wants_offer(&message, &member))
        kh_rendezvous_registry_offer(world->registry, &offer);
    kh_rendezvous_registry_handle_message(world->registry, world->cable.now, datagram, &message);
}

static void deliver(struct world *world, const struct cable_packet *packet)
{
    struct kh_datagram datagram = cable_datagram(packet);

    if (kh_addr_equal(&datagram.to, &world->server_addr))
        deliver_to_server(world, &datagram);
    if (kh_addr_equal(&datagram.to, &world->stranger) && world->letter_count < 16)
        world->letters[world->letter_count++] = *packet;
    for (size_t i = 0; i < WORLD_PEOPLE_MAX; i++) {
        struct person *person = &world->people[i];

        if (person->node != NULL && (kh_addr_equal(&datagram.to, &person->addr) ||
                                     kh_addr_equal(&datagram.to, &person->second)))
            kh_node_handle_datagram(person->node, world->cable.now, &datagram);
    }
    world_drain(world);
}

static kh_time next_time(struct world *world)
{
    kh_time next = cable_next_at(&world->cable);

    if (world->registry != NULL)
        next = kh_time_min(next, kh_rendezvous_registry_timeout(world->registry));
    for (size_t i = 0; i < WORLD_PEOPLE_MAX; i++)
        if (world->people[i].node != NULL)
            next = kh_time_min(next, kh_node_timeout(world->people[i].node));
    return next;
}

static void step(struct world *world, kh_time until)
{
    kh_time next = kh_time_min(next_time(world), until);
    struct cable_packet packet;

    if (next > world->cable.now)
        world->cable.now = next;
    while (cable_take(&world->cable, &packet))
        deliver(world, &packet);
    for (size_t i = 0; i < WORLD_PEOPLE_MAX; i++) {
        struct person *person = &world->people[i];

        if (person->node == NULL || kh_node_timeout(person->node) > world->cable.now)
            continue;
        person->wakes++;
        kh_node_handle_timeout(person->node, world->cable.now);
        world_drain(world);
    }
    if (world->registry != NULL &&
        kh_rendezvous_registry_timeout(world->registry) <= world->cable.now) {
        kh_rendezvous_registry_handle_timeout(world->registry, world->cable.now);
        world_drain(world);
    }
}

void world_run(struct world *world, kh_duration duration)
{
    kh_time until = world->cable.now + duration;

    while (world->cable.now < until)
        step(world, until);
}

bool world_run_until(struct world *world, const int *count, int least, kh_duration patience)
{
    kh_time until = world->cable.now + patience;

    while (*count < least && world->cable.now < until)
        step(world, until);
    return *count >= least;
}

bool world_run_until_heard(struct world *world, const struct person *person, size_t least,
                           kh_duration patience)
{
    kh_time until = world->cable.now + patience;

    while (person->heard_count < least && world->cable.now < until)
        step(world, until);
    return person->heard_count >= least;
}

int world_times_heard(const struct person *person, const char *text)
{
    int times = 0;

    for (size_t i = 0; i < person->heard_count; i++)
        times += strcmp(person->heard[i].text, text) == 0;
    return times;
}
