/* sim/watch.c - what must always hold: nothing twice, forged, out of order, or sent unasked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "sim/inside.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define CONSENT_LIFETIME KH_SECONDS(30) /* RFC 7675 5.1 */
#define PROBES_MAX 200
#define CHECKS_MAX 60 /* ordinary ones, to all candidates of all members */
#define STUN_BINDING_REQUEST 0x0001
#define STUN_BINDING_SUCCESS 0x0101
#define STUN_HEADER_LEN 20

static bool is_dtls(const struct kh_datagram *datagram)
{
    return datagram->len > 0 && datagram->data[0] >= 20 && datagram->data[0] <= 63; /* RFC 7983 */
}

static bool is_binding_success(const struct kh_datagram *datagram)
{
    return datagram->len >= STUN_HEADER_LEN &&
           (datagram->data[0] << 8 | datagram->data[1]) == STUN_BINDING_SUCCESS;
}

static struct consent *find_consent(struct member *member, const struct kh_addr *local,
                                    const struct kh_addr *remote)
{
    for (size_t i = 0; i < CONSENTS_MAX; i++) {
        struct consent *consent = &member->consents[i];

        if (kh_addr_equal(&consent->remote, remote) &&
            (kh_addr_is_none(local) || kh_addr_equal(&consent->local, local)))
            return consent;
    }
    return NULL;
}

/* Two boxes that give a new port to each destination make ever new pairs: the oldest gives way. */
static struct consent *oldest_consent(struct member *member)
{
    struct consent *oldest = &member->consents[0];

    for (size_t i = 1; i < CONSENTS_MAX; i++)
        if (member->consents[i].at < oldest->at)
            oldest = &member->consents[i];
    return oldest;
}

void sim_watch_arrival(struct sim *sim, struct member *member, const struct kh_datagram *datagram)
{
    struct consent *consent;

    if (!is_binding_success(datagram))
        return;
    consent = find_consent(member, &datagram->to, &datagram->from);
    if (consent == NULL)
        consent = oldest_consent(member);
    *consent =
        (struct consent){.local = datagram->to, .remote = datagram->from, .at = sim_now(sim)};
}

static bool holds(const struct kh_datagram *datagram, const char *text)
{
    return memmem(datagram->data, datagram->len, text, strlen(text)) != NULL;
}

/* As a card spells it, length first: three letters alone come up in ciphertext now and then. */
static bool holds_name(const struct kh_datagram *datagram, const char *name)
{
    char spelt[KH_ROOM_NAME_MAX + 2];

    (void)snprintf(spelt, sizeof spelt, "%c%s", (char)strlen(name), name);
    return holds(datagram, spelt);
}

/* Is it what the relay carries, in runs whose channel is the stand-in that encrypts nothing?  The
 * runs with the real channel, which share one clock, are judged on that too. */
static bool is_plain_relayed(const struct sim *sim, const struct kh_datagram *datagram)
{
    static const uint8_t send_indication[] = {0x00, 0x16};

    if ((!sim->has_relay && !sim->elsewhere.is_told) || sim->config.one_clock ||
        datagram->len < sizeof send_indication)
        return false;
    return datagram->to.port != sim->server_addr.port || datagram->data[0] >= 0x40 ||
           memcmp(datagram->data, send_indication, sizeof send_indication) == 0;
}

static bool is_server_ip(const struct sim *sim, const struct kh_addr *addr)
{
    return kh_addr_ip_equal(addr, &sim->server_addr) ||
           kh_addr_ip_equal(addr, &sim->server_addr6) ||
           kh_addr_ip_equal(addr, &sim->elsewhere.addr);
}

/* Or does somebody else who may be known live behind the same address? */
static bool is_only_one_at(const struct sim *sim, int member)
{
    struct kh_addr addr = sim_public_addr(sim, member);

    for (int i = 0; i < sim->member_count; i++) {
        struct kh_addr other = sim_public_addr(sim, i);

        if (sim->members[i].paths != KH_NODE_PATHS_RELAY && kh_addr_ip_equal(&addr, &other))
            return false;
    }
    return true;
}

/* Who wishes to be reached through its relay only speaks to nobody else, and is known to nobody. */
static void watch_privacy(struct sim *sim, const struct member *member,
                          const struct kh_datagram *datagram)
{
    bool to_server = is_server_ip(sim, &datagram->to) &&
                     (datagram->to.port == sim->server_addr.port ||
                      datagram->to.transport != KH_UDP); /* else it is a relayed address */

    if (member->paths == KH_NODE_PATHS_RELAY && !to_server)
        sim_fail(sim, "%s sends to someone else than the server", member->name);
    for (int i = 0; i < sim->member_count; i++) {
        struct kh_addr addr = sim_public_addr(sim, i);

        if (sim->members[i].paths == KH_NODE_PATHS_RELAY && is_only_one_at(sim, i) &&
            &sim->members[i] != member && kh_addr_ip_equal(&datagram->to, &addr))
            sim_fail(sim, "%s knows where %s is", member->name, sim->members[i].name);
    }
}

/* How many places were aimed at in the latest second: at this address, and elsewhere. */
static void count_aims(const struct sim *sim, const struct member *member, const struct kh_addr *to,
                       size_t *here, size_t *elsewhere)
{
    *here = *elsewhere = 0;
    for (size_t i = 0; i < AIMS_MAX; i++) {
        const struct aim *aim = &member->aims[i];

        if (kh_addr_is_none(&aim->to) || kh_time_since(sim_now(sim), aim->at) >= KH_SECONDS(1))
            continue;
        if (kh_addr_ip_equal(&aim->to, to))
            ++*here;
        else
            ++*elsewhere;
    }
}

static bool is_aimed_at(const struct sim *sim, const struct member *member,
                        const struct kh_addr *to)
{
    for (size_t i = 0; i < AIMS_MAX; i++)
        if (kh_addr_equal(&member->aims[i].to, to) &&
            kh_time_since(sim_now(sim), member->aims[i].at) < KH_SECONDS(1))
            return true;
    return false;
}

/* Nobody is a storm: never more than 200 probes in a second, and guessed ports of one address only.
 * Ordinary checks go to a few places besides. */
static void watch_aim(struct sim *sim, struct member *member, const struct kh_addr *to)
{
    size_t here, elsewhere;

    if (is_aimed_at(sim, member, to))
        return;
    member->aims[member->aim_next] = (struct aim){.to = *to, .at = sim_now(sim)};
    member->aim_next = (member->aim_next + 1) % AIMS_MAX;
    count_aims(sim, member, to, &here, &elsewhere);
    if (here + elsewhere > PROBES_MAX + CHECKS_MAX)
        sim_fail(sim, "%s checks %zu places in a second", member->name, here + elsewhere);
    if (here > CHECKS_MAX && elsewhere > CHECKS_MAX)
        sim_fail(sim, "%s guesses ports of two at a time", member->name);
}

static bool is_check(const struct kh_datagram *datagram)
{
    return datagram->len >= STUN_HEADER_LEN &&
           (datagram->data[0] << 8 | datagram->data[1]) == STUN_BINDING_REQUEST;
}

/* Only checks may go where nobody has answered one; only ciphertext may go through the server. */
void sim_watch_departure(struct sim *sim, struct member *member, const struct kh_datagram *datagram)
{
    bool to_server = is_server_ip(sim, &datagram->to);
    struct consent *consent;
    char text[KH_ADDR_TEXT_MAX];

    watch_privacy(sim, member, datagram);
    member->to_relayed += to_server && datagram->to.port != sim->server_addr.port;
    if (to_server && !is_plain_relayed(sim, datagram) &&
        (holds(datagram, "between us") || holds_name(datagram, member->name)))
        sim_fail(sim, "%s lets the server read what it says", member->name);
    if (!to_server && is_check(datagram) && datagram->to.transport == KH_UDP)
        watch_aim(sim, member, &datagram->to);
    if (to_server || !is_dtls(datagram))
        return;
    consent = find_consent(member, &datagram->from, &datagram->to);
    if (consent == NULL)
        sim_fail(sim, "%s sends to %s, which never answered a check", member->name,
                 kh_addr_text(&datagram->to, text));
    else if (kh_time_since(sim_now(sim), consent->at) > CONSENT_LIFETIME)
        sim_fail(sim, "%s sends to %s, whose consent is %llu ms old", member->name,
                 kh_addr_text(&datagram->to, text),
                 (unsigned long long)kh_time_since(sim_now(sim), consent->at) / 1000);
}

static int find_author(const struct sim *sim, const struct kh_room_entry_id *entry)
{
    for (int i = 0; i < sim->member_count; i++)
        if (memcmp(&sim->members[i].id, &entry->log, sizeof(entry->log)) == 0 &&
            memcmp(sim->members[i].public_key, entry->author, KH_KEY_LEN) == 0)
            return i;
    return -1;
}

void sim_watch_message(struct sim *sim, int member, const struct kh_node_event *event)
{
    struct member *reader = &sim->members[member];
    int author = find_author(sim, &event->entry);
    struct sim_contact *contact;
    const struct said *said;

    if (author < 0 || author == member) {
        sim_fail(sim, "%s hears what nobody said: %.*s", reader->name, (int)event->text_len,
                 event->text);
        return;
    }
    contact = &reader->contacts[author];
    if (event->entry.sequence != contact->heard + 1) {
        sim_fail(sim, "%s hears message %llu of %s after %u", reader->name,
                 (unsigned long long)event->entry.sequence, sim->members[author].name,
                 contact->heard);
        return;
    }
    contact->heard++;
    said = &sim->members[author].said[event->entry.sequence - 1];
    if (event->entry.sequence > sim->members[author].said_count ||
        strlen(said->text) != event->text_len ||
        memcmp(said->text, event->text, event->text_len) != 0)
        sim_fail(sim, "%s hears a false word of %s: %.*s", reader->name, sim->members[author].name,
                 (int)event->text_len, event->text);
    if (strcmp(event->name, sim->members[author].name) != 0)
        sim_fail(sim, "%s takes %s for %s", reader->name, sim->members[author].name, event->name);
}

void sim_watch_delivered(struct sim *sim, int member, const struct kh_node_event *event)
{
    struct member *author = &sim->members[member];

    for (int i = 0; i < sim->member_count; i++) {
        struct sim_contact *contact = &author->contacts[i];

        if (memcmp(&sim->members[i].id, &event->member, sizeof(event->member)) != 0)
            continue;
        if (sim->members[i].contacts[member].heard < event->entry.sequence)
            sim_fail(sim, "%s believes that %s has message %llu", author->name,
                     sim->members[i].name, (unsigned long long)event->entry.sequence);
        if (++contact->delivered > author->said_count)
            sim_fail(sim, "%s hears of more deliveries to %s than it said", author->name,
                     sim->members[i].name);
        return;
    }
    sim_fail(sim, "%s delivered to a stranger", author->name);
}
