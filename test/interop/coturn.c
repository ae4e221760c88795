/* interop/coturn.c - two of our TURN clients talk to each other through coturn on loopback.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: coturn PORT USERNAME PASSWORD mobile|fixed, as its server lets allocations be (RFC 8016)
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/clock.h"
#include "turn/turn.h"

#define LIMIT KH_SECONDS(10) /* for any one thing to happen */
#define ROUNDS 300
#define SIZE_STEP 4 /* so that messages grow up to what fits a datagram of ours */

struct party {
    const char *name;
    int fd;
    struct kh_addr addr;
    struct kh_turn_client *turn;
    struct kh_addr relayed;
    unsigned events[KH_TURN_EVENT_PEER_REFUSED + 1]; /* how often each kind came */
    unsigned code;
    uint8_t heard[KH_TURN_PAYLOAD_MAX];
    size_t heard_len;
    struct kh_addr heard_from;
    unsigned heard_count;
};

struct meeting {
    struct kh_addr server;
    const char *username, *password;
    struct party parties[2];
};

static struct kh_addr addr_of(const struct sockaddr_in *in)
{
    return kh_addr_from_ip(KH_FAMILY_IPV4, (const uint8_t *)&in->sin_addr, ntohs(in->sin_port));
}

static void drain(struct party *party)
{
    struct kh_turn_event event;
    struct kh_datagram datagram;

    while (kh_turn_client_next_event(party->turn, &event)) {
        party->events[event.kind]++;
        party->code = event.code;
        if (event.kind == KH_TURN_EVENT_ALLOCATED)
            party->relayed = event.allocated.relayed4;
    }
    while (kh_turn_client_next_received(party->turn, &datagram)) {
        memcpy(party->heard, datagram.data, datagram.len);
        party->heard_len = datagram.len;
        party->heard_from = datagram.from;
        party->heard_count++;
    }
    while (kh_turn_client_next_transmit(party->turn, &datagram)) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(datagram.to.port)};

        memcpy(&to.sin_addr, datagram.to.ip, 4);
        (void)sendto(party->fd, datagram.data, datagram.len, 0, (struct sockaddr *)&to, sizeof to);
    }
}

static bool open_socket(struct party *party)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;

    party->fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (party->fd < 0 || bind(party->fd, (struct sockaddr *)&in, sizeof in) != 0 ||
        getsockname(party->fd, (struct sockaddr *)&in, &len) != 0)
        return false;
    party->addr = addr_of(&in);
    return true;
}

static bool open_party(struct party *party, const char *name, uint8_t seed)
{
    const struct kh_turn_config config = {.seed = {seed}};

    party->name = name;
    return open_socket(party) && kh_turn_client_new(&party->turn, &config) == KH_OK;
}

static void receive(struct party *party)
{
    uint8_t data[2048];
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t len =
        recvfrom(party->fd, data, sizeof data, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    struct kh_datagram datagram = {.to = party->addr, .data = data};

    if (len < 0)
        return;
    datagram.from = addr_of(&from);
    datagram.len = (size_t)len;
    (void)kh_turn_client_handle_datagram(party->turn, kh_io_clock_now(), &datagram);
    drain(party);
}

static void drive(struct meeting *meeting)
{
    struct pollfd polls[2] = {{.fd = meeting->parties[0].fd, .events = POLLIN},
                              {.fd = meeting->parties[1].fd, .events = POLLIN}};

    (void)poll(polls, 2, 10);
    for (size_t i = 0; i < 2; i++) {
        struct party *party = &meeting->parties[i];

        if ((polls[i].revents & POLLIN) != 0)
            receive(party);
        if (kh_turn_client_timeout(party->turn) <= kh_io_clock_now()) {
            kh_turn_client_handle_timeout(party->turn, kh_io_clock_now());
            drain(party);
        }
    }
}

/* Drives both until the count has reached what is wanted. */
static bool wait_for(struct meeting *meeting, const unsigned *count, unsigned wanted)
{
    kh_time start = kh_io_clock_now();

    while (*count < wanted) {
        if (kh_io_clock_now() - start > LIMIT)
            return false;
        drive(meeting);
    }
    return true;
}

static bool ask(struct meeting *meeting, struct party *party, const char *password)
{
    const struct kh_turn_request request = {
        .server = meeting->server,
        .local = party->addr,
        .username = {meeting->username, strlen(meeting->username)},
        .password = {password, strlen(password)},
        .mobile = true,
    };

    if (kh_turn_client_allocate(party->turn, kh_io_clock_now(), &request) != KH_OK)
        return false;
    drain(party);
    return true;
}

static bool is_refused_with_the_wrong_password(struct meeting *meeting)
{
    struct party *alice = &meeting->parties[0];

    return ask(meeting, alice, "wrong") &&
           wait_for(meeting, &alice->events[KH_TURN_EVENT_FAILED], 1) && alice->code == 401;
}

static bool allocates(struct meeting *meeting)
{
    for (size_t i = 0; i < 2; i++) {
        struct party *party = &meeting->parties[i];

        if (!ask(meeting, party, meeting->password) ||
            !wait_for(meeting, &party->events[KH_TURN_EVENT_ALLOCATED], 1))
            return false;
    }
    for (size_t i = 0; i < 2; i++) {
        kh_turn_client_permit(meeting->parties[i].turn, kh_io_clock_now(),
                              &meeting->parties[1 - i].relayed);
        drain(&meeting->parties[i]);
    }
    return true;
}

/* One says a message of this size; true if exactly that, once, comes out at the other's. */
static bool says(struct meeting *meeting, size_t speaker, unsigned round)
{
    struct party *from = &meeting->parties[speaker], *to = &meeting->parties[1 - speaker];
    uint8_t text[ROUNDS * SIZE_STEP];
    struct kh_datagram datagram = {
        .from = from->relayed, .to = to->relayed, .data = text, .len = round * SIZE_STEP};
    unsigned heard = to->heard_count;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i + round + speaker);
    kh_turn_client_send(from->turn, kh_io_clock_now(), &datagram);
    drain(from);
    return wait_for(meeting, &to->heard_count, heard + 1) && to->heard_count == heard + 1 &&
           kh_addr_equal(&to->heard_from, &from->relayed) && to->heard_len == datagram.len &&
           memcmp(to->heard, text, datagram.len) == 0;
}

static bool talks(struct meeting *meeting)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (!says(meeting, 0, round) || !says(meeting, 1, round)) {
            printf("# lost in round %u\n", round);
            return false;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        struct kh_turn_stats stats = kh_turn_client_stats(meeting->parties[i].turn);

        printf("# %s: indications %u out %u in, channel data %u out %u in\n",
               meeting->parties[i].name, (unsigned)stats.sent_indications,
               (unsigned)stats.received_indications, (unsigned)stats.sent_channel_data,
               (unsigned)stats.received_channel_data);
        if (stats.sent_indications == 0 || stats.received_indications == 0 ||
            stats.sent_channel_data == 0 || stats.received_channel_data == 0 ||
            stats.dropped_stray + stats.dropped_unauthentic + stats.dropped_malformed != 0)
            return false;
    }
    return true;
}

static bool survives_a_refresh(struct meeting *meeting)
{
    struct party *alice = &meeting->parties[0];

    kh_turn_client_probe(alice->turn, kh_io_clock_now());
    drain(alice);
    return says(meeting, 0, 1) && says(meeting, 1, 1) &&
           kh_turn_client_state(alice->turn) == KH_TURN_ALLOCATED;
}

static bool has_moved(const struct party *party)
{
    return kh_turn_client_stats(party->turn).moves > 0;
}

/* From another socket, as from another network. */
static bool moves(struct meeting *meeting)
{
    struct party *alice = &meeting->parties[0];
    kh_time start = kh_io_clock_now();

    (void)close(alice->fd);
    if (!open_socket(alice) || !kh_turn_client_move(alice->turn, start, &alice->addr))
        return false;
    drain(alice);
    while (!has_moved(alice) && kh_io_clock_now() - start < LIMIT)
        drive(meeting);
    return has_moved(alice) && says(meeting, 0, 2) && says(meeting, 1, 2) &&
           alice->events[KH_TURN_EVENT_LOST] == 0;
}

static bool stays(struct meeting *meeting)
{
    struct party *alice = &meeting->parties[0];

    return !kh_turn_client_move(alice->turn, kh_io_clock_now(), &alice->addr) &&
           says(meeting, 0, 2) && says(meeting, 1, 2);
}

static bool gives_back(struct meeting *meeting)
{
    for (size_t i = 0; i < 2; i++) {
        struct party *party = &meeting->parties[i];

        kh_turn_client_release(party->turn, kh_io_clock_now());
        drain(party);
        if (!wait_for(meeting, &party->events[KH_TURN_EVENT_RELEASED], 1))
            return false;
    }
    return true;
}

static bool report(bool ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    return ok;
}

int main(int argc, char **argv)
{
    struct meeting meeting = {0};
    bool ok;

    if (argc != 5) {
        (void)fprintf(stderr, "usage: coturn PORT USERNAME PASSWORD mobile|fixed\n");
        return 2;
    }
    meeting.server = kh_addr_ipv4(127, 0, 0, 1, (uint16_t)strtoul(argv[1], NULL, 10));
    meeting.username = argv[2];
    meeting.password = argv[3];
    ok = open_party(&meeting.parties[0], "alice", 1) && open_party(&meeting.parties[1], "bob", 2);
    ok = ok && report(is_refused_with_the_wrong_password(&meeting), "a wrong password is refused");
    ok = ok && report(allocates(&meeting), "both get an allocation");
    ok = ok && report(talks(&meeting), "every message arrives, once and whole");
    ok = ok && report(survives_a_refresh(&meeting), "a refresh changes nothing");
    if (strcmp(argv[4], "mobile") == 0)
        ok = ok && report(moves(&meeting), "an allocation follows to another socket");
    else
        ok = ok && report(stays(&meeting), "without tickets it stays where it is");
    ok = ok && report(gives_back(&meeting), "both give it back");
    for (size_t i = 0; i < 2; i++) {
        kh_turn_client_free(meeting.parties[i].turn);
        if (meeting.parties[i].fd > 0)
            (void)close(meeting.parties[i].fd);
    }
    return ok ? 0 : 1;
}
