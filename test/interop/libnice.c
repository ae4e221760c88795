/* interop/libnice.c - our ICE agent meets libnice's on loopback, in both roles.
 *
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nice/agent.h>

#include "ice/ice.h"
#include "io/clock.h"

#define LIMIT KH_SECONDS(10)

struct meeting {
    kh_time start;
    int fd;
    struct kh_addr addr;
    struct kh_ice_agent *ours;
    struct kh_ice_path path;
    bool has_path;
    bool heard_ours, heard_theirs;
    GMainContext *context;
    NiceAgent *theirs;
    guint stream;
};

static struct kh_addr addr_of(const struct sockaddr_in *in)
{
    return kh_addr_from_ip(KH_FAMILY_IPV4, (const uint8_t *)&in->sin_addr, ntohs(in->sin_port));
}

static void send_to(const struct meeting *meeting, const struct kh_datagram *datagram)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(datagram->to.port)};

    memcpy(&to.sin_addr, datagram->to.ip, 4);
    (void)sendto(meeting->fd, datagram->data, datagram->len, 0, (struct sockaddr *)&to, sizeof to);
}

static void drain(struct meeting *meeting)
{
    struct kh_datagram datagram;
    struct kh_ice_event event;

    while (kh_ice_agent_next_event(meeting->ours, &event)) {
        if (event.kind == KH_ICE_EVENT_PATH) {
            meeting->path = event.path;
            meeting->has_path = true;
        }
    }
    while (kh_ice_agent_next_transmit(meeting->ours, &datagram))
        send_to(meeting, &datagram);
}

static void on_theirs(NiceAgent *agent, guint stream, guint component, guint len, gchar *data,
                      gpointer user)
{
    struct meeting *meeting = user;

    (void)agent;
    (void)stream;
    (void)component;
    meeting->heard_ours = meeting->heard_ours || (len == 6 && memcmp(data, "\x80hello", 6) == 0);
}

static void receive(struct meeting *meeting)
{
    uint8_t data[1500];
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t len =
        recvfrom(meeting->fd, data, sizeof data, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    struct kh_datagram datagram = {.to = meeting->addr, .data = data};

    if (len <= 0)
        return;
    datagram.from = addr_of(&from);
    datagram.len = (size_t)len;
    if (!kh_ice_agent_handle_datagram(meeting->ours, kh_io_clock_now(), &datagram) && len == 6 &&
        memcmp(data, "\x80world", 6) == 0)
        meeting->heard_theirs = kh_ice_agent_is_valid(meeting->ours, &datagram.to, &datagram.from);
    drain(meeting);
}

static bool open_ours(struct meeting *meeting, enum kh_ice_role role,
                      const struct kh_ice_credentials *local)
{
    struct kh_ice_config config = {.role = role, .local = *local, .seed = {1}};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof in;
    struct kh_ice_candidate candidate = {.kind = KH_ICE_HOST};

    meeting->fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (meeting->fd < 0 || bind(meeting->fd, (struct sockaddr *)&in, sizeof in) != 0 ||
        getsockname(meeting->fd, (struct sockaddr *)&in, &len) != 0 ||
        kh_ice_agent_new(&meeting->ours, &config) != KH_OK)
        return false;
    meeting->addr = addr_of(&in);
    candidate.addr = candidate.base = meeting->addr;
    return kh_ice_agent_add_local(meeting->ours, meeting->start, &candidate) == KH_OK;
}

static bool open_theirs(struct meeting *meeting, bool controlling)
{
    NiceAddress loopback;

    meeting->context = g_main_context_new();
    meeting->theirs = nice_agent_new(meeting->context, NICE_COMPATIBILITY_RFC5245);
    g_object_set(meeting->theirs, "controlling-mode", controlling, "ice-tcp", FALSE, "upnp", FALSE,
                 NULL);
    nice_address_init(&loopback);
    if (!nice_address_set_from_string(&loopback, "127.0.0.1"))
        return false;
    nice_agent_add_local_address(meeting->theirs, &loopback);
    meeting->stream = nice_agent_add_stream(meeting->theirs, 1);
    nice_agent_attach_recv(meeting->theirs, meeting->stream, 1, meeting->context, on_theirs,
                           meeting);
    return nice_agent_gather_candidates(meeting->theirs, meeting->stream);
}

static bool tell_ours(struct meeting *meeting)
{
    struct kh_ice_credentials remote = {0};
    struct kh_ice_candidate candidate = {.kind = KH_ICE_HOST};
    gchar *ufrag = NULL, *password = NULL;
    GSList *all = nice_agent_get_local_candidates(meeting->theirs, meeting->stream, 1);
    bool ok = all != NULL &&
              nice_agent_get_local_credentials(meeting->theirs, meeting->stream, &ufrag, &password);

    if (ok) {
        const NiceCandidate *theirs = all->data;
        struct sockaddr_in in;

        (void)snprintf(remote.ufrag, sizeof remote.ufrag, "%s", ufrag);
        (void)snprintf(remote.password, sizeof remote.password, "%s", password);
        nice_address_copy_to_sockaddr(&theirs->addr, (struct sockaddr *)&in);
        candidate.addr = addr_of(&in);
        kh_ice_agent_set_remote(meeting->ours, meeting->start, &remote);
        drain(meeting);
        ok = kh_ice_agent_add_remote(meeting->ours, meeting->start, &candidate) == KH_OK;
        drain(meeting);
    }
    g_slist_free_full(all, (GDestroyNotify)nice_candidate_free);
    g_free(ufrag);
    g_free(password);
    return ok;
}

static bool tell_theirs(struct meeting *meeting, const struct kh_ice_credentials *local)
{
    NiceCandidate *candidate = nice_candidate_new(NICE_CANDIDATE_TYPE_HOST);
    GSList *all = g_slist_append(NULL, candidate);
    bool ok;

    candidate->component_id = 1;
    candidate->stream_id = meeting->stream;
    candidate->transport = NICE_CANDIDATE_TRANSPORT_UDP;
    candidate->priority = 126u << 24 | 0xffffff;
    (void)snprintf(candidate->foundation, sizeof candidate->foundation, "1");
    nice_address_set_from_string(&candidate->addr, "127.0.0.1");
    nice_address_set_port(&candidate->addr, meeting->addr.port);
    ok = nice_agent_set_remote_credentials(meeting->theirs, meeting->stream, local->ufrag,
                                           local->password) &&
         nice_agent_set_remote_candidates(meeting->theirs, meeting->stream, 1, all) == 1;
    g_slist_free_full(all, (GDestroyNotify)nice_candidate_free);
    return ok;
}

static bool is_ready(const struct meeting *meeting)
{
    return meeting->has_path && nice_agent_get_component_state(meeting->theirs, meeting->stream,
                                                               1) == NICE_COMPONENT_STATE_READY;
}

/* Both say something each time round, as any datagram may be lost. */
static bool talk(struct meeting *meeting)
{
    struct kh_datagram hello = {.from = meeting->path.local,
                                .to = meeting->path.remote,
                                .data = (const uint8_t *)"\x80hello",
                                .len = 6};
    struct pollfd wait = {.fd = meeting->fd, .events = POLLIN};

    while (kh_io_clock_now() - meeting->start < LIMIT) {
        (void)poll(&wait, 1, 5);
        receive(meeting);
        (void)g_main_context_iteration(meeting->context, FALSE);
        if (kh_ice_agent_timeout(meeting->ours) <= kh_io_clock_now()) {
            kh_ice_agent_handle_timeout(meeting->ours, kh_io_clock_now());
            drain(meeting);
        }
        if (!is_ready(meeting))
            continue;
        if (meeting->heard_ours && meeting->heard_theirs)
            return true;
        hello.to = meeting->path.remote;
        send_to(meeting, &hello);
        (void)nice_agent_send(meeting->theirs, meeting->stream, 1, 6, "\x80world");
    }
    return false;
}

static bool meet(enum kh_ice_role role)
{
    static const struct kh_ice_credentials local = {"alice", "alicealicealicealicealice"};
    struct meeting meeting = {.start = kh_io_clock_now(), .fd = -1};
    bool ok = open_ours(&meeting, role, &local) &&
              open_theirs(&meeting, role == KH_ICE_CONTROLLED) && tell_ours(&meeting) &&
              tell_theirs(&meeting, &local) && talk(&meeting);

    printf("%s - %s, %u ms\n", ok ? "ok" : "not ok",
           role == KH_ICE_CONTROLLING ? "controlling" : "controlled",
           (unsigned)((kh_io_clock_now() - meeting.start) / 1000));
    if (meeting.theirs != NULL)
        g_object_unref(meeting.theirs);
    if (meeting.context != NULL)
        g_main_context_unref(meeting.context);
    kh_ice_agent_free(meeting.ours);
    if (meeting.fd >= 0)
        (void)close(meeting.fd);
    return ok;
}

int main(void)
{
    bool controlling = meet(KH_ICE_CONTROLLING);
    bool controlled = meet(KH_ICE_CONTROLLED);

    return controlling && controlled ? 0 : 1;
}
