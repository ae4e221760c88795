/* relay/table.h - all allocations: by 5-tuple, by relayed address, by deadline.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_RELAY_TABLE_H
#define KH_RELAY_TABLE_H

#include "relay/peers.h"
#include "relay/relay.h"

#define KH_RELAY_WAYS 2 /* RFC 8656 7.2: at most one relayed address of each family */
#define KH_RELAY_TOKEN_LEN 8

enum kh_relay_way_state {
    KH_RELAY_WAY_NONE,
    KH_RELAY_WAY_WANTED,  /* has no port yet */
    KH_RELAY_WAY_OPENING, /* the owner was asked to bind it */
    KH_RELAY_WAY_OPEN,
    KH_RELAY_WAY_FAILED, /* `error` says why */
};

/* One relayed address of an allocation. */
struct kh_relay_way {
    uint8_t state;   /* enum kh_relay_way_state */
    uint8_t address; /* index into config.addresses */
    uint8_t family;
    uint8_t tries;
    uint16_t port;
    uint16_t error;
    kh_time until; /* RFC 8656 8.2: each family has a lifetime of its own */
};

enum kh_relay_allocation_state {
    KH_RELAY_OPENING,
    KH_RELAY_LIVE,
    KH_RELAY_RESERVED, /* a port held for whoever brings the token (RFC 8656 7.2); no client */
};

/* What makes a client believe our answers. */
struct kh_relay_key {
    uint8_t bytes[KH_SHA256_LEN];
    uint8_t len;    /* KH_MD5_LEN or KH_SHA256_LEN, by the password algorithm */
    bool is_sha256; /* of MESSAGE-INTEGRITY: answers carry the kind that the request had */
};

struct kh_relay_allocation {
    enum kh_relay_allocation_state state;
    struct kh_addr client; /* the 5-tuple … */
    struct kh_addr server;
    struct kh_relay_key key;
    uint64_t username;                 /* hash of all of it: RFC 8656 5, it may not change */
    uint64_t user;                     /* hash of the part that names a person: counted by quota */
    uint64_t prefix;                   /* hash of the client's: counted by quota */
    uint8_t id[KH_STUN_ID_LEN];        /* of the Allocate: the same again is its retransmission */
    uint8_t token[KH_RELAY_TOKEN_LEN]; /* given to the client; or, RESERVED, to be brought */
    uint32_t lifetime;                 /* seconds, as the Allocate was answered */
    bool has_token;
    bool has_fingerprint;
    bool wants_pair; /* EVEN-PORT with R: the second way becomes a reservation */
    bool wants_even;
    /* RFC 8016: `serial` names the ticket it has now, 0: it wants none.  A client that came with it
     * by another 5-tuple is known by both until it says something there; `move_id` is that of the
     * Refresh it came with. */
    uint64_t serial;
    bool is_moving;
    struct kh_addr next_client;
    struct kh_addr next_server;
    uint8_t move_id[KH_STUN_ID_LEN];
    kh_time paid_until; /* token bucket of bytes */
    size_t heap_at;
    struct kh_relay_way ways[KH_RELAY_WAYS];
    struct kh_relay_peers peers;
};

struct kh_relay_tuple {
    uint64_t hash;
    struct kh_relay_allocation *allocation; /* NULL: free */
};

struct kh_relay_table {
    uint8_t hash_key[16];
    struct kh_relay_tuple *tuples; /* owned; open addressing, at most half full */
    size_t tuple_size;             /* a power of two */
    size_t tuple_count;
    size_t moving_count; /* allocations with two tuples */
    struct kh_relay_allocation **heap; /* owned, with what it points to; by deadline */
    size_t heap_size;
    size_t count;                       /* of allocations, all in the heap */
    struct kh_relay_allocation **ports; /* owned; for each address, for each port of the range */
    size_t address_count;
    uint16_t port_min;
    size_t port_count;
};

KH_MUST_USE enum kh_status kh_relay_table_init(struct kh_relay_table *table,
                                               const struct kh_relay_config *config,
                                               const uint8_t hash_key[static 16]);
void kh_relay_table_fini(struct kh_relay_table *table);

struct kh_relay_allocation *kh_relay_table_find(const struct kh_relay_table *table,
                                                const struct kh_addr *client,
                                                const struct kh_addr *server);

/* Makes an empty allocation with that deadline; NULL if memory is refused. */
struct kh_relay_allocation *kh_relay_table_add(struct kh_relay_table *table, kh_time until);
/* Enters it under its 5-tuple, for which it made room. */
void kh_relay_table_connect(struct kh_relay_table *table, struct kh_relay_allocation *allocation);
/* Enters it under a second 5-tuple too; false if memory is refused. */
bool kh_relay_table_begin_move(struct kh_relay_table *table, struct kh_relay_allocation *allocation,
                               const struct kh_addr *client, const struct kh_addr *server);
/* The second 5-tuple is its only one from now on, or the first one still. */
void kh_relay_table_end_move(struct kh_relay_table *table, struct kh_relay_allocation *allocation,
                             bool moved);
/* Forgets and frees it; its ports have to be free already. */
void kh_relay_table_remove(struct kh_relay_table *table, struct kh_relay_allocation *allocation);

/* The slot of a port at an address, NULL within it if free; NULL if out of range. */
struct kh_relay_allocation **kh_relay_table_port(const struct kh_relay_table *table, size_t address,
                                                 uint16_t port);

/* When something about it is due: the first of its ways to expire. */
kh_time kh_relay_allocation_deadline(const struct kh_relay_allocation *allocation);
void kh_relay_table_reschedule(struct kh_relay_table *table,
                               struct kh_relay_allocation *allocation);
struct kh_relay_allocation *kh_relay_table_first(const struct kh_relay_table *table);

#endif
