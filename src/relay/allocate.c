/* relay/allocate.c - Allocate and Refresh (RFC 8656 7 and 8).
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <string.h>

#include "relay/machine.h"

#define LIFETIME_MIN 600u           /* RFC 8656 7.2: shorter wishes become this, the default */
#define RESERVATION KH_SECONDS(30)  /* RFC 8656 7.2 */
#define OPEN_PATIENCE KH_SECONDS(5) /* for the owner to bind a socket */
#define OPEN_TRIES_MAX 16           /* ports that other programs may have taken */
#define TRANSPORT_UDP 17            /* IANA protocol number */
#define FAMILY_IPV4 1               /* RFC 8656 18.6 */
#define FAMILY_IPV6 2
#define EVEN_PORT_RESERVE 0x80 /* RFC 8656 18.8: the R bit */

/* What an Allocate asks for. */
struct wish {
    uint8_t families[KH_RELAY_WAYS]; /* enum kh_family; 0: none */
    bool even;
    bool pair;
    const uint8_t *token; /* NULL: none */
    uint32_t lifetime;
    bool mobile;
};

static void enter(struct kh_relay_allocation *allocation, enum kh_relay_allocation_state state)
{
    allocation->state = state;
}

/* ---- the end of an allocation ---- */

void kh_relay_allocation_forget(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    for (size_t i = 0; i < KH_RELAY_WAYS; i++)
        kh_relay_way_close(relay, &allocation->ways[i]);
    kh_relay_tally_remove(&relay->users, allocation->user);
    kh_relay_tally_remove(&relay->prefixes, allocation->prefix);
    kh_relay_table_remove(&relay->table, allocation);
}

/* Forgets the allocation if nothing of it is left. */
static void settle(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    if (kh_relay_allocation_deadline(allocation) == KH_NEVER)
        kh_relay_allocation_forget(relay, allocation);
    else
        kh_relay_table_reschedule(&relay->table, allocation);
}

void kh_relay_allocation_expire(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        if (allocation->ways[i].until <= relay->now)
            kh_relay_way_close(relay, &allocation->ways[i]);
    }
    relay->stats.expiries++;
    settle(relay, allocation);
}

/* ---- reading the wish ---- */

/* RFC 8656 7.2: no less than the default, no more than we give anyone. */
static uint32_t grant_lifetime(const struct kh_relay *relay, uint32_t desired)
{
    uint32_t max = (uint32_t)(relay->config.lifetime_max / KH_SECONDS(1));
    uint32_t granted = desired < LIFETIME_MIN ? LIFETIME_MIN : desired;

    return granted > max ? max : granted;
}

static bool read_family(const struct kh_stun_message *message, uint16_t type, uint8_t *number)
{
    struct kh_stun_attribute attribute;

    if (!kh_stun_find(message, type, &attribute))
        return false;
    *number = attribute.value[0];
    return true;
}

/* Gives 0 for a number that RFC 8656 18.6 does not know. */
static uint8_t family_of(uint8_t number)
{
    if (number == FAMILY_IPV4)
        return KH_FAMILY_IPV4;
    return number == FAMILY_IPV6 ? KH_FAMILY_IPV6 : 0;
}

static bool has_family(const struct kh_relay *relay, uint8_t family)
{
    for (size_t i = 0; i < relay->config.address_count; i++) {
        if (relay->config.addresses[i].local.family == family)
            return true;
    }
    return false;
}

/* Reads which families are wished for, in the order of RFC 8656 7.2's checks; 0 or an error. */
static unsigned read_families(const struct kh_relay *relay, const struct kh_stun_message *message,
                              struct wish *wish)
{
    uint8_t number = FAMILY_IPV4;
    bool has_requested = read_family(message, KH_STUN_REQUESTED_ADDRESS_FAMILY, &number);
    uint8_t additional;
    bool has_additional = read_family(message, KH_STUN_ADDITIONAL_ADDRESS_FAMILY, &additional);

    if (wish->token != NULL && (wish->even || has_requested || has_additional))
        return KH_RELAY_BAD_REQUEST;
    if (has_requested && has_additional)
        return KH_RELAY_BAD_REQUEST;
    wish->families[0] = family_of(number);
    if (wish->families[0] == 0 || (!has_additional && !has_family(relay, wish->families[0])))
        return KH_RELAY_UNSUPPORTED_FAMILY;
    if (!has_additional)
        return 0;
    /* RFC 8656 7.2: only IPv6 can be the additional one, and a pair of ports has one family. */
    if (additional != FAMILY_IPV6 || wish->pair)
        return KH_RELAY_BAD_REQUEST;
    wish->families[1] = KH_FAMILY_IPV6;
    if (!has_family(relay, KH_FAMILY_IPV4) && !has_family(relay, KH_FAMILY_IPV6))
        return KH_RELAY_UNSUPPORTED_FAMILY;
    return 0;
}

/* Returns 0 or an error. */
static unsigned read_wish(const struct kh_relay *relay, const struct kh_stun_message *message,
                          struct wish *wish)
{
    uint32_t value;
    struct kh_stun_attribute attribute;

    *wish = (struct wish){.lifetime = LIFETIME_MIN};
    if (!kh_stun_find_u32(message, KH_STUN_REQUESTED_TRANSPORT, &value))
        return KH_RELAY_BAD_REQUEST;
    if (value >> 24 != TRANSPORT_UDP)
        return KH_RELAY_UNSUPPORTED_TRANSPORT;
    if (kh_stun_find_u32(message, KH_STUN_LIFETIME, &value))
        wish->lifetime = value;
    wish->lifetime = grant_lifetime(relay, wish->lifetime);
    if (kh_stun_find(message, KH_STUN_EVEN_PORT, &attribute)) {
        wish->even = true;
        wish->pair = (attribute.value[0] & EVEN_PORT_RESERVE) != 0;
    }
    if (kh_stun_find(message, KH_STUN_MOBILITY_TICKET, &attribute)) {
        if (attribute.len > 0)
            return KH_RELAY_BAD_REQUEST; /* RFC 8016 3.1.1: it asks for one */
        wish->mobile = true;
    }
    if (!kh_stun_find_bytes(message, KH_STUN_RESERVATION_TOKEN, KH_RELAY_TOKEN_LEN, &wish->token))
        wish->token = NULL;
    return read_families(relay, message, wish);
}

/* ---- answering ---- */

static struct kh_relay_caller caller_of(const struct kh_relay_allocation *allocation)
{
    return (struct kh_relay_caller){.client = allocation->client,
                                    .server = allocation->server,
                                    .id = allocation->id,
                                    .method = KH_STUN_ALLOCATE,
                                    .has_fingerprint = allocation->has_fingerprint,
                                    .key = allocation->key};
}

/* RFC 8656 18.12: family, reserved, and an error as in ERROR-CODE. */
static void add_address_error(struct kh_stun_writer *writer, const struct kh_relay_way *way)
{
    uint8_t value[4] = {way->family == KH_FAMILY_IPV4 ? FAMILY_IPV4 : FAMILY_IPV6, 0,
                        (uint8_t)(way->error / 100), (uint8_t)(way->error % 100)};

    kh_stun_add(writer, KH_STUN_ADDRESS_ERROR_CODE, value, sizeof value);
}

/* The same answer each time it is asked for (RFC 8489 6.3.1). */
static void answer_allocated(struct kh_relay *relay, const struct kh_relay_allocation *allocation)
{
    struct kh_relay_caller caller = caller_of(allocation);
    struct kh_stun_writer writer = kh_relay_answer_begin(relay, &caller, KH_STUN_SUCCESS);

    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        const struct kh_relay_way *way = &allocation->ways[i];
        struct kh_addr relayed = kh_relay_way_external(relay, way);

        if (way->state == KH_RELAY_WAY_OPEN)
            kh_stun_add_addr(&writer, KH_STUN_XOR_RELAYED_ADDRESS, &relayed);
        else if (way->state == KH_RELAY_WAY_FAILED)
            add_address_error(&writer, way);
    }
    kh_stun_add_u32(&writer, KH_STUN_LIFETIME, allocation->lifetime);
    kh_stun_add_addr(&writer, KH_STUN_XOR_MAPPED_ADDRESS, &allocation->client);
    if (allocation->has_token)
        kh_stun_add(&writer, KH_STUN_RESERVATION_TOKEN, allocation->token, KH_RELAY_TOKEN_LEN);
    kh_relay_ticket_add(relay, allocation, &writer);
    kh_relay_answer_end(relay, &caller, &writer);
}

/* ---- making an allocation ---- */

static void set_caller(struct kh_relay_allocation *allocation, const struct kh_relay_caller *caller)
{
    allocation->client = caller->client;
    allocation->server = caller->server;
    allocation->key = caller->key;
    allocation->username = caller->username;
    allocation->has_fingerprint = caller->has_fingerprint;
    memcpy(allocation->id, caller->id, sizeof allocation->id);
}

static void go_live(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    kh_time until = kh_time_add(relay->now, KH_SECONDS(allocation->lifetime));

    for (size_t i = 0; i < KH_RELAY_WAYS; i++)
        allocation->ways[i].until = until;
    enter(allocation, KH_RELAY_LIVE);
    kh_relay_table_reschedule(&relay->table, allocation);
    relay->stats.allocated++;
}

/* Counts one more of this user and prefix; false if memory is refused. */
static bool count_in(struct kh_relay *relay, uint64_t user, uint64_t prefix)
{
    if (!kh_relay_tally_add(&relay->users, user))
        return false;
    if (kh_relay_tally_add(&relay->prefixes, prefix))
        return true;
    kh_relay_tally_remove(&relay->users, user);
    return false;
}

/* Moves the second way into an allocation of its own that waits for whoever brings the token.
 * Leaves no token, and closes the port, where there is no room for it. */
static void split_reservation(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    struct kh_relay_way *way = &allocation->ways[1];
    kh_time until = kh_time_add(relay->now, RESERVATION);
    struct kh_relay_allocation *reserved = NULL;
    uint16_t tail[3];

    if (count_in(relay, allocation->user, allocation->prefix)) {
        reserved = kh_relay_table_add(&relay->table, until);
        if (reserved == NULL) {
            kh_relay_tally_remove(&relay->users, allocation->user);
            kh_relay_tally_remove(&relay->prefixes, allocation->prefix);
        }
    }
    if (reserved == NULL) {
        kh_relay_way_close(relay, way);
        return;
    }
    /* The port, so that it can be found by its token, and what nobody can guess. */
    kh_rng_bytes(&relay->rng, tail, sizeof tail);
    memcpy(reserved->token, &way->port, 2);
    memcpy(reserved->token + 2, tail, sizeof tail);
    enter(reserved, KH_RELAY_RESERVED);
    reserved->user = allocation->user;
    reserved->prefix = allocation->prefix;
    reserved->ways[0] = *way;
    reserved->ways[0].until = until;
    *kh_relay_table_port(&relay->table, way->address, way->port) = reserved;
    *way = (struct kh_relay_way){0};
    memcpy(allocation->token, reserved->token, KH_RELAY_TOKEN_LEN);
    allocation->has_token = true;
    kh_relay_table_reschedule(&relay->table, reserved);
}

/* All ways were tried: answers with what came of it. */
static void conclude(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    bool is_open = allocation->ways[0].state == KH_RELAY_WAY_OPEN ||
                   allocation->ways[1].state == KH_RELAY_WAY_OPEN;

    if (allocation->wants_pair && allocation->ways[1].state != KH_RELAY_WAY_OPEN)
        is_open = false;
    if (!is_open) {
        struct kh_relay_caller caller = caller_of(allocation);

        kh_relay_refuse(relay, &caller,
                        allocation->ways[0].error != 0 ? allocation->ways[0].error
                                                       : KH_RELAY_NO_CAPACITY);
        kh_relay_allocation_forget(relay, allocation);
        return;
    }
    if (allocation->wants_pair)
        split_reservation(relay, allocation);
    go_live(relay, allocation);
    answer_allocated(relay, allocation);
}

/* Asks for the next socket, one at a time, or concludes. */
static void proceed(struct kh_relay *relay, struct kh_relay_allocation *allocation)
{
    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        struct kh_relay_way *way = &allocation->ways[i];

        if (way->state == KH_RELAY_WAY_WANTED)
            kh_relay_way_open(relay, allocation, way);
        if (way->state == KH_RELAY_WAY_OPENING)
            return;
    }
    conclude(relay, allocation);
}

/* A port was refused: another one, or in a pair two others. */
static void try_again(struct kh_relay *relay, struct kh_relay_allocation *allocation,
                      struct kh_relay_way *way)
{
    struct kh_relay_way *first = &allocation->ways[0];

    kh_relay_way_release(relay, way);
    way->state = KH_RELAY_WAY_WANTED;
    if (allocation->wants_pair && way != first) {
        kh_relay_way_close(relay, first);
        first->state = KH_RELAY_WAY_WANTED;
        way = first;
    }
    if (++way->tries >= OPEN_TRIES_MAX) {
        way->state = KH_RELAY_WAY_FAILED;
        way->error = KH_RELAY_NO_CAPACITY;
        if (allocation->wants_pair)
            allocation->ways[1].state = KH_RELAY_WAY_FAILED;
    }
}

void kh_relay_allocation_opened(struct kh_relay *relay, const struct kh_addr *addr, bool ok)
{
    struct kh_relay_allocation *allocation;
    struct kh_relay_way *way = kh_relay_way_at(relay, addr, &allocation);

    /* The client may have waited too long; its CLOSE is on the way then. */
    if (way == NULL || way->state != KH_RELAY_WAY_OPENING)
        return;
    if (ok)
        way->state = KH_RELAY_WAY_OPEN;
    else
        try_again(relay, allocation, way);
    proceed(relay, allocation);
}

/* The address the client came in by, else the first of that family. */
static size_t choose_address(const struct kh_relay *relay, const struct kh_addr *server,
                             uint8_t family)
{
    size_t chosen = relay->config.address_count;

    for (size_t i = relay->config.address_count; i-- > 0;) {
        const struct kh_addr *local = &relay->config.addresses[i].local;

        if (kh_addr_ip_equal(local, server) && local->family == family)
            return i;
        if (local->family == family)
            chosen = i;
    }
    return chosen;
}

static void want_way(const struct kh_relay *relay, struct kh_relay_way *way,
                     const struct kh_addr *server, uint8_t family)
{
    size_t address = choose_address(relay, server, family);

    *way = (struct kh_relay_way){.state = KH_RELAY_WAY_WANTED,
                                 .address = (uint8_t)address,
                                 .family = family,
                                 .until = kh_time_add(relay->now, OPEN_PATIENCE)};
    if (address == relay->config.address_count) {
        way->state = KH_RELAY_WAY_FAILED;
        way->error = KH_RELAY_UNSUPPORTED_FAMILY;
        way->address = 0;
    }
}

static void create(struct kh_relay *relay, const struct kh_relay_caller *caller,
                   const struct wish *wish)
{
    kh_time until = kh_time_add(relay->now, OPEN_PATIENCE);
    uint64_t prefix = kh_relay_prefix_of(relay, &caller->client);
    struct kh_relay_allocation *allocation = NULL;

    if (kh_relay_tally_count(&relay->users, caller->user) >= relay->config.user_max ||
        kh_relay_tally_count(&relay->prefixes, prefix) >= relay->config.prefix_max) {
        kh_relay_refuse(relay, caller, KH_RELAY_QUOTA_REACHED);
        return;
    }
    if (relay->table.count < relay->config.allocations_max)
        allocation = kh_relay_table_add(&relay->table, until);
    if (allocation != NULL && !count_in(relay, caller->user, prefix)) {
        kh_relay_table_remove(&relay->table, allocation);
        allocation = NULL;
    }
    if (allocation == NULL) {
        kh_relay_refuse(relay, caller, KH_RELAY_NO_CAPACITY);
        return;
    }
    set_caller(allocation, caller);
    allocation->user = caller->user;
    allocation->prefix = prefix;
    allocation->lifetime = wish->lifetime;
    allocation->wants_even = wish->even;
    allocation->wants_pair = wish->pair;
    if (wish->mobile)
        kh_relay_ticket_renew(relay, allocation);
    want_way(relay, &allocation->ways[0], &caller->server, wish->families[0]);
    if (wish->families[1] != 0)
        want_way(relay, &allocation->ways[1], &caller->server, wish->families[1]);
    if (wish->pair)
        want_way(relay, &allocation->ways[1], &caller->server, wish->families[0]);
    kh_relay_table_connect(&relay->table, allocation);
    kh_relay_table_reschedule(&relay->table, allocation);
    proceed(relay, allocation);
}

/* ---- taking what was reserved ---- */

static struct kh_relay_allocation *find_reserved(const struct kh_relay *relay,
                                                 const uint8_t token[static KH_RELAY_TOKEN_LEN])
{
    uint16_t port;

    memcpy(&port, token, sizeof port);
    for (size_t i = 0; i < relay->config.address_count; i++) {
        struct kh_relay_allocation **slot = kh_relay_table_port(&relay->table, i, port);

        if (slot != NULL && *slot != NULL && (*slot)->state == KH_RELAY_RESERVED &&
            kh_equal((*slot)->token, token, KH_RELAY_TOKEN_LEN))
            return *slot;
    }
    return NULL;
}

static void take_reserved(struct kh_relay *relay, const struct kh_relay_caller *caller,
                          const struct wish *wish)
{
    struct kh_relay_allocation *reserved = find_reserved(relay, wish->token);
    uint64_t prefix = kh_relay_prefix_of(relay, &caller->client);

    /* Whoever reserved it takes it: a token seen by others is of no use to them. */
    if (reserved == NULL || reserved->user != caller->user ||
        !kh_relay_tally_add(&relay->prefixes, prefix)) {
        kh_relay_refuse(relay, caller, KH_RELAY_NO_CAPACITY);
        return;
    }
    kh_relay_tally_remove(&relay->prefixes, reserved->prefix);
    reserved->prefix = prefix;
    set_caller(reserved, caller);
    reserved->lifetime = wish->lifetime;
    if (wish->mobile)
        kh_relay_ticket_renew(relay, reserved);
    kh_relay_table_connect(&relay->table, reserved);
    go_live(relay, reserved);
    answer_allocated(relay, reserved);
}

void kh_relay_allocate(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    const struct kh_relay_allocation *allocation = caller->allocation;
    struct wish wish;
    unsigned error;

    if (allocation != NULL && memcmp(allocation->id, caller->id, KH_STUN_ID_LEN) == 0) {
        /* A retransmission; while the socket is being opened, the answer comes by itself. */
        if (allocation->state == KH_RELAY_LIVE)
            answer_allocated(relay, allocation);
        return;
    }
    error = allocation != NULL ? KH_RELAY_MISMATCH : read_wish(relay, caller->message, &wish);
    if (error != 0)
        kh_relay_refuse(relay, caller, error);
    else if (wish.token != NULL)
        take_reserved(relay, caller, &wish);
    else
        create(relay, caller, &wish);
}

/* ---- Refresh ---- */

/* Is it the Refresh once more that moved the allocation here? */
static bool is_move_repeated(const struct kh_relay_caller *caller)
{
    return caller->allocation->serial != 0 &&
           kh_equal(caller->allocation->move_id, caller->id, KH_STUN_ID_LEN);
}

/* Whose is it, and for whom?  Returns 0, or an error. */
static unsigned check_refresh(struct kh_relay *relay, const struct kh_relay_caller *caller,
                              uint8_t *family)
{
    struct kh_relay_allocation *allocation = caller->allocation;
    struct kh_stun_attribute ticket;
    bool has_ticket = kh_stun_find(caller->message, KH_STUN_MOBILITY_TICKET, &ticket);
    uint8_t number;

    *family = 0; /* both */
    if (allocation == NULL)
        return has_ticket ? KH_RELAY_BAD_REQUEST : KH_RELAY_MISMATCH;
    if (allocation->state != KH_RELAY_LIVE)
        return KH_RELAY_MISMATCH;
    if (read_family(caller->message, KH_STUN_REQUESTED_ADDRESS_FAMILY, &number)) {
        *family = family_of(number);
        if (*family == 0 || kh_relay_way_find(allocation, *family) == NULL)
            return KH_RELAY_FAMILY_MISMATCH;
    }
    if (caller->by_ticket)
        return kh_relay_move(relay, caller);
    /* RFC 8016 3.2.2: who has not moved needs no ticket to come back. */
    if (has_ticket)
        return is_move_repeated(caller) ? 0 : KH_RELAY_BAD_REQUEST;
    kh_relay_settle_move(relay, allocation, &caller->client, &caller->server);
    return 0;
}

static void answer_refresh(struct kh_relay *relay, const struct kh_relay_caller *caller,
                           uint32_t granted)
{
    struct kh_stun_writer writer = kh_relay_answer_begin(relay, caller, KH_STUN_SUCCESS);

    kh_stun_add_u32(&writer, KH_STUN_LIFETIME, granted);
    if (granted > 0 && (caller->by_ticket || is_move_repeated(caller)))
        kh_relay_ticket_add(relay, caller->allocation, &writer);
    kh_relay_answer_end(relay, caller, &writer);
}

void kh_relay_refresh(struct kh_relay *relay, const struct kh_relay_caller *caller)
{
    struct kh_relay_allocation *allocation = caller->allocation;
    uint32_t desired = LIFETIME_MIN;
    uint32_t granted;
    uint8_t family;
    unsigned error = check_refresh(relay, caller, &family);

    if (error != 0) {
        kh_relay_refuse(relay, caller, error);
        return;
    }
    (void)kh_stun_find_u32(caller->message, KH_STUN_LIFETIME, &desired);
    granted = desired == 0 ? 0 : grant_lifetime(relay, desired);
    answer_refresh(relay, caller, granted);
    for (size_t i = 0; i < KH_RELAY_WAYS; i++) {
        struct kh_relay_way *way = &allocation->ways[i];

        if (way->state != KH_RELAY_WAY_OPEN || (family != 0 && way->family != family))
            continue;
        way->until = kh_time_add(relay->now, KH_SECONDS(granted));
        if (granted == 0)
            kh_relay_way_close(relay, way);
    }
    settle(relay, allocation);
}
