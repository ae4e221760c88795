/* node/world_test.h - for the tests: a few whole members and one server on a cable.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_NODE_WORLD_TEST_H
#define KH_NODE_WORLD_TEST_H

#include "node/node.h"
#include "support/cable.h"

#define WORLD_PEOPLE_MAX 4
#define WORLD_HEARD_MAX 256

struct world_heard {
    char text[40]; /* its beginning */
    size_t len;    /* of all of it */
    char name[KH_ROOM_NAME_MAX + 1];
    enum kh_room_carrier via;
    kh_time at;
};

struct person {
    struct kh_node *node; /* NULL: not (or no longer) here */
    struct kh_addr addr;
    struct kh_addr second;             /* another interface; none: it has one only */
    int count[KH_NODE_EVENT_LEFT + 1]; /* of each kind of event */
    kh_time last[KH_NODE_EVENT_LEFT + 1];
    struct world_heard heard[WORLD_HEARD_MAX];
    size_t heard_count;
    struct kh_rendezvous_ticket ticket;
    char code[40]; /* of the latest warning or error */
    struct kh_ice_path path;
    uint64_t wakes; /* by a timeout */
};

struct world {
    struct cable cable;
    struct kh_addr server_addr;
    struct kh_rendezvous_registry *registry; /* NULL: the server is down */
    struct person people[WORLD_PEOPLE_MAX];
    struct kh_addr stranger; /* who is no node, but gets letters too */
    struct cable_packet letters[16];
    size_t letter_count;
    struct kh_addr elsewhere; /* a relay that the server sends members to; none: it does not */
    bool cut_direct;          /* only the server can be reached */
    struct kh_addr cut;       /* nothing passes here */
    struct kh_addr unserved;  /* nothing passes between this one and the server */
};

struct world *world_new(kh_duration delay);
void world_free(struct world *world);
void world_start_server(struct world *world); /* it remembers nothing */
void world_stop_server(struct world *world);

/* Makes a member that has not joined yet.  Persons with the same key have the same identity. */
struct person *world_add(struct world *world, size_t index, const char *name, uint8_t key);
void world_join(struct world *world, struct person *person);
void world_say(struct world *world, struct person *person, const char *text);
void world_kill(struct person *person); /* without a goodbye */
/* Takes what the node has to give; after each input made by a test itself. */
void world_drain(struct world *world);

void world_run(struct world *world, kh_duration duration);
bool world_run_until(struct world *world, const int *count, int least, kh_duration patience);
bool world_run_until_heard(struct world *world, const struct person *person, size_t least,
                           kh_duration patience);
/* How often the person has heard this text. */
int world_times_heard(const struct person *person, const char *text);
struct kh_node_config world_config(const struct world *world, const char *name, uint8_t key);

#endif
