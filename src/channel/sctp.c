/* channel/sctp.c - usrsctp without threads, driven by our time and emptied by hand.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/sctp.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <usrsctp.h>

#include "base/bytes.h"

#define PORT 5000 /* both sides, as in every WebRTC session (RFC 8841 5.1) */

#define PPID_STRING 51 /* RFC 8831 8 */
#define PPID_BINARY 53
#define PPID_STRING_EMPTY 56
#define PPID_BINARY_EMPTY 57

#define CAUSE_USER_INITIATED_ABORT 12 /* how browsers leave (RFC 9260 3.3.10.12) */

#define CHUNK_DATA 0 /* RFC 9260 3.2 */
#define CHUNK_INIT 1
#define CHUNK_SHUTDOWN 7
#define CHUNK_SHUTDOWN_ACK 8
#define CHUNK_COOKIE_ECHO 10

#define COMMON_HEADER_LEN 12 /* what usrsctp's "path MTU" of an AF_CONN address leaves out */

#define BUFFER_LEN (1024 * 1024) /* each way: 16 of the largest messages */

/* More than the burst of one input: usrsctp sends at most what the window has just gained. */
#define PACKETS_MAX 512

/* Streams to ask for: what we use, and enough for a browser page that opens more. */
#define STREAMS 16

/* The timer wheel's step.  Nothing in SCTP is finer: the shortest timer is the delayed ack. */
#define TICK KH_MILLISECONDS(10)
/* When nothing came for SILENCE, only repetitions are due, and those a second apart. */
#define TICK_SILENT KH_MILLISECONDS(100)

/* How long an acknowledgement may wait for company (RFC 9260 6.2 allows 500 ms).  Short, since the
 * other side calls a message delivered when it comes, and our polling ends soon after. */
#define ACK_DELAY_MS 50
#define ACK_PATIENCE KH_MILLISECONDS(ACK_DELAY_MS + 20)

/* RFC 9260 16 says 1 s, 1 s, 60 s.  ICE knows the path lives and drops it when not, so we may try
 * harder: lost packets come again soon, also after an outage.  That the maximum is short harms no
 * long path, since usrsctp repeats only what is older than the RTO it has measured, whatever the
 * limit. */
#define RTO_INITIAL_MS 500
#define RTO_MIN_MS 200
#define RTO_MAX_MS 1000

/* While data waits for its acknowledgement longer than this, heartbeats measure the path.  Without
 * them losses ruin usrsctp's estimate: packets sent twice cannot be measured, those whose
 * acknowledgement was lost seem slow, and at 30 % loss it ends up waiting for minutes. */
#define MEASURE_EVERY KH_MILLISECONDS(300)
#define MEASURE_SELDOM KH_SECONDS(1) /* when nothing came for SILENCE */
#define SILENCE KH_SECONDS(3)

/* When nothing was acknowledged for this long, we repeat a packet for usrsctp: a time of day set
 * back makes it think that none is old enough. */
#define STALL KH_SECONDS(10)

/* Never give up an association by counting: its owner sees the path and decides. */
#define RETRANSMISSIONS_MAX 0xffff
#define CONNECT_PATIENCE KH_SECONDS(180) /* on one path: then the peer has DTLS but no SCTP */
#define CLOSE_PATIENCE KH_SECONDS(20)    /* then the peer has left without waiting for our answer */

#define NOTIFICATION_MAX                                                                           \
    1024 /* the longest we subscribe to, with room for an ABORT chunk in it                        \
          */

struct packet {
    struct packet *next;
    size_t len;
    uint8_t data[];
};

struct kh_channel_sctp {
    enum kh_channel_sctp_state state;
    struct kh_channel_sctp_config config;
    struct socket *socket; /* NULL once CLOSED or FAILED */
    kh_time now;           /* of the last input */
    kh_time deadline;      /* of CONNECTING and CLOSING */
    kh_time ack_until;     /* a delayed acknowledgement may be waiting until here */
    size_t unacknowledged; /* as of the last input */

    /* What usrsctp wants sent, oldest first; each is owned. */
    struct packet *first, *last, *handed_out;
    size_t packet_count;

    struct packet *latest; /* the latest handed out that wants an answer; NULL: all is answered */
    kh_time answered;      /* something was acknowledged, or we repeated the latest packet */
    kh_time measured;      /* a heartbeat went, or data began to wait */
    kh_time arrived;       /* a packet came */

    /* The message being put together, and a place for notifications behind it; NULL while idle. */
    uint8_t *message;
    size_t filled;
    bool skipping; /* over-long: what is left of it is thrown away */

    bool full;         /* send was refused; WRITABLE is owed */
    size_t full_at;    /* unacknowledged bytes at that time */
    bool close_wanted; /* by our user, while CONNECTING */
    bool told_open;    /* the event was given */
    bool told_end;
    enum kh_channel_failure failure;
    uint64_t dropped_malformed;
    uint64_t dropped_outbox_full;
};

/* ---- what is global in usrsctp, and therefore here ---- */

/* The exception to "no global state": usrsctp keeps one stack per process.  It exists while an
 * association does, and one thread uses it. */
static struct {
    size_t users;
    bool is_up;     /* usrsctp has not been finished, or would not be */
    kh_time ticked; /* usrsctp's timers have seen the time until here */
} stack;

static void append(struct kh_channel_sctp *sctp, struct packet *packet)
{
    packet->next = NULL;
    if (sctp->last != NULL)
        sctp->last->next = packet;
    else
        sctp->first = packet;
    sctp->last = packet;
    sctp->packet_count++;
}

static int queue_packet(void *address, void *data, size_t len, uint8_t tos, uint8_t set_df)
{
    struct kh_channel_sctp *sctp = address;
    struct packet *packet;

    (void)tos;
    (void)set_df;
    /* Called with usrsctp's locks held: nothing but queueing may happen here. */
    if (len > sctp->config.packet_max || sctp->packet_count >= PACKETS_MAX ||
        (packet = malloc(sizeof *packet + len)) == NULL) {
        sctp->dropped_outbox_full++;
        return 0;
    }
    packet->len = len;
    memcpy(packet->data, data, len);
    append(sctp, packet);
    return 0;
}

static void stack_acquire(void)
{
    if (stack.users++ > 0)
        return;
    stack.ticked = 0;
    if (stack.is_up)
        return;
    stack.is_up = true;
    usrsctp_init_nothreads(0, queue_packet, NULL);
    (void)usrsctp_sysctl_set_sctp_blackhole(2);  /* no answer to what belongs to no association */
    (void)usrsctp_sysctl_set_sctp_ecn_enable(0); /* there are no IP headers to carry it */
    (void)usrsctp_sysctl_set_sctp_asconf_enable(0); /* nor addresses to change */
    (void)usrsctp_sysctl_set_sctp_auto_asconf(0);
    (void)usrsctp_sysctl_set_sctp_auth_enable(0); /* DTLS does that */
    (void)usrsctp_sysctl_set_sctp_sendspace(BUFFER_LEN);
    (void)usrsctp_sysctl_set_sctp_recvspace(BUFFER_LEN);
    (void)usrsctp_sysctl_set_sctp_default_cc_module(SCTP_CC_HSTCP);
    (void)usrsctp_sysctl_set_sctp_init_rto_max_default(RTO_MAX_MS);
    /* 512 would refuse a thousand short messages long before the buffer is full. */
    (void)usrsctp_sysctl_set_sctp_max_chunks_on_queue(16384);
    (void)usrsctp_sysctl_set_sctp_max_burst_default(16);
}

static void stack_release(void)
{
    assert(stack.users > 0);
    if (--stack.users > 0)
        return;
    /* An endpoint just closed is freed by a timer; a second of ticks is plenty.  Now and then
     * usrsctp keeps one for good, with no timer that would send for it, and does not let itself be
     * finished: then it stays up, for to begin it anew would lose all that it holds. */
    for (int i = 0; i < 100 && stack.is_up; i++) {
        stack.is_up = usrsctp_finish() != 0;
        if (stack.is_up)
            usrsctp_handle_timers(10);
    }
}

/* Lets usrsctp's timers see that it is `now`.  A clock that jumped back is a new test's. */
static void stack_tick(kh_time now)
{
    kh_duration elapsed = kh_time_since(now, stack.ticked) / 1000;

    if (now < stack.ticked || elapsed > INT32_MAX) {
        stack.ticked = now;
        return;
    }
    if (elapsed == 0)
        return;
    stack.ticked += elapsed * 1000;
    usrsctp_handle_timers((uint32_t)elapsed);
}

/* ---- life ---- */

static void enter(struct kh_channel_sctp *sctp, enum kh_channel_sctp_state state)
{
    assert(state >= sctp->state);
    sctp->state = state;
}

static struct sockaddr_conn address_of(struct kh_channel_sctp *sctp)
{
    return (struct sockaddr_conn){
        .sconn_family = AF_CONN, .sconn_port = htons(PORT), .sconn_addr = sctp};
}

static bool set_option(struct kh_channel_sctp *sctp, int option, const void *value, size_t len)
{
    return usrsctp_setsockopt(sctp->socket, IPPROTO_SCTP, option, value, (socklen_t)len) == 0;
}

static bool set_flag(struct kh_channel_sctp *sctp, int option, uint32_t value)
{
    return set_option(sctp, option, &value, sizeof value);
}

static bool subscribe(struct kh_channel_sctp *sctp)
{
    static const uint16_t types[] = {SCTP_ASSOC_CHANGE, SCTP_SHUTDOWN_EVENT,
                                     SCTP_STREAM_RESET_EVENT};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct sctp_event event = {.se_assoc_id = SCTP_ALL_ASSOC, .se_type = types[i], .se_on = 1};

        if (!set_option(sctp, SCTP_EVENT, &event, sizeof event))
            return false;
    }
    return true;
}

static bool set_options(struct kh_channel_sctp *sctp)
{
    uint16_t streams = (uint16_t)(sctp->config.stream + 1);
    struct sctp_initmsg init = {.sinit_num_ostreams = streams > STREAMS ? streams : STREAMS,
                                .sinit_max_instreams = streams > STREAMS ? streams : STREAMS,
                                .sinit_max_attempts = RETRANSMISSIONS_MAX,
                                .sinit_max_init_timeo = RTO_MAX_MS};
    struct sctp_rtoinfo rto = {
        .srto_initial = RTO_INITIAL_MS, .srto_max = RTO_MAX_MS, .srto_min = RTO_MIN_MS};
    struct sctp_assocparams association = {.sasoc_asocmaxrxt = RETRANSMISSIONS_MAX};
    struct sctp_sack_info ack = {.sack_delay = ACK_DELAY_MS, .sack_freq = 2};
    struct sctp_assoc_value reset = {.assoc_id = SCTP_ALL_ASSOC,
                                     .assoc_value = SCTP_ENABLE_RESET_STREAM_REQ};
    /* Closing the socket must free it at once, as its address is about to go. */
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    return usrsctp_set_non_blocking(sctp->socket, 1) == 0 &&
           usrsctp_setsockopt(sctp->socket, SOL_SOCKET, SO_LINGER, &linger,
                              (socklen_t)sizeof linger) == 0 &&
           set_option(sctp, SCTP_INITMSG, &init, sizeof init) &&
           set_option(sctp, SCTP_RTOINFO, &rto, sizeof rto) &&
           set_option(sctp, SCTP_ASSOCINFO, &association, sizeof association) &&
           set_option(sctp, SCTP_DELAYED_SACK, &ack, sizeof ack) &&
           set_option(sctp, SCTP_ENABLE_STREAM_RESET, &reset, sizeof reset) &&
           set_flag(sctp, SCTP_NODELAY, 1) && set_flag(sctp, SCTP_RECVRCVINFO, 1) &&
           set_flag(sctp, SCTP_FRAGMENT_INTERLEAVE, 0) &&
           set_flag(sctp, SCTP_PARTIAL_DELIVERY_POINT, KH_CHANNEL_MESSAGE_MAX) && subscribe(sctp);
}

static bool open_socket(struct kh_channel_sctp *sctp)
{
    struct sockaddr_conn address = address_of(sctp);

    usrsctp_register_address(sctp);
    sctp->socket = usrsctp_socket(AF_CONN, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
    return sctp->socket != NULL && set_options(sctp) &&
           usrsctp_bind(sctp->socket, (struct sockaddr *)&address, sizeof address) == 0;
}

enum kh_status kh_channel_sctp_new(struct kh_channel_sctp **out,
                                   const struct kh_channel_sctp_config *config)
{
    struct kh_channel_sctp *sctp = calloc(1, sizeof *sctp);

    assert(config->packet_max >= 400);
    assert(config->stream < UINT16_MAX);
    if (sctp == NULL)
        return KH_ERR_MEMORY;
    sctp->config = *config;
    sctp->deadline = KH_NEVER;
    stack_acquire();
    if (!open_socket(sctp)) {
        kh_channel_sctp_free(sctp);
        return KH_ERR_MEMORY;
    }
    *out = sctp;
    return KH_OK;
}

static void close_socket(struct kh_channel_sctp *sctp)
{
    if (sctp->socket == NULL)
        return;
    usrsctp_close(sctp->socket);
    sctp->socket = NULL;
}

void kh_channel_sctp_free(struct kh_channel_sctp *sctp)
{
    const uint8_t *data;
    size_t len;

    if (sctp == NULL)
        return;
    close_socket(sctp);
    usrsctp_deregister_address(sctp);
    stack_release();
    while (kh_channel_sctp_next_packet(sctp, &data, &len))
        continue;
    free(sctp->latest);
    free(sctp->message);
    free(sctp);
}

/* ---- inputs ---- */

/* The path never grows and ICE watches over it: no search for a larger MTU, no heartbeats. */
static bool set_path(struct kh_channel_sctp *sctp)
{
    struct sctp_paddrparams path = {.spp_flags = SPP_HB_DISABLE | SPP_PMTUD_DISABLE,
                                    .spp_pathmaxrxt = RETRANSMISSIONS_MAX};
    struct sockaddr_conn address = address_of(sctp);

    /* Chunks fill whole words, so spare bytes of the datagram would only make usrsctp err. */
    path.spp_pathmtu = (uint32_t)((sctp->config.packet_max - COMMON_HEADER_LEN) & ~(size_t)3);
    memcpy(&path.spp_address, &address, sizeof address);
    return set_option(sctp, SCTP_PEER_ADDR_PARAMS, &path, sizeof path);
}

static void fail(struct kh_channel_sctp *sctp, enum kh_channel_failure failure)
{
    if (sctp->state >= KH_CHANNEL_SCTP_CLOSED)
        return;
    sctp->failure = failure;
    enter(sctp, KH_CHANNEL_SCTP_FAILED);
}

/* Asks usrsctp how many bytes wait or fly; keeps the last answer when there is no association. */
static void look(struct kh_channel_sctp *sctp)
{
    /* usrsctp.h leaves this option out, though the library has it (netinet/sctp.h). */
    enum { SCTP_GET_SNDBUF_USE_OPTION = 0x1101 };
    struct {
        sctp_assoc_t id;
        uint32_t send_len;
        uint32_t receive_len;
    } use = {0};
    socklen_t len = sizeof use;
    size_t before = sctp->unacknowledged;

    if (sctp->socket != NULL &&
        usrsctp_getsockopt(sctp->socket, IPPROTO_SCTP, SCTP_GET_SNDBUF_USE_OPTION, &use, &len) == 0)
        sctp->unacknowledged = use.send_len;
    if (sctp->unacknowledged < before || before == 0)
        sctp->answered = sctp->now;
    if (before == 0)
        sctp->measured = sctp->now;
    if (sctp->state == KH_CHANNEL_SCTP_OPEN && sctp->unacknowledged == 0) {
        free(sctp->latest);
        sctp->latest = NULL;
    }
}

void kh_channel_sctp_connect(struct kh_channel_sctp *sctp, kh_time now)
{
    struct sockaddr_conn address = address_of(sctp);

    assert(sctp->state == KH_CHANNEL_SCTP_NEW);
    stack_tick(now);
    sctp->now = now;
    enter(sctp, KH_CHANNEL_SCTP_CONNECTING);
    sctp->deadline = kh_time_add(now, CONNECT_PATIENCE);
    /* Answers "in progress" as an error, like connect(2); that it began, set_path proves. */
    (void)usrsctp_connect(sctp->socket, (struct sockaddr *)&address, sizeof address);
    if (!set_path(sctp))
        fail(sctp, KH_CHANNEL_FAILURE_HANDSHAKE);
}

void kh_channel_sctp_handle_packet(struct kh_channel_sctp *sctp, kh_time now, const uint8_t *data,
                                   size_t len)
{
    stack_tick(now);
    sctp->now = now;
    if (sctp->socket == NULL || len < COMMON_HEADER_LEN) {
        sctp->dropped_malformed++;
        return;
    }
    usrsctp_conninput(sctp, data, len, 0);
    sctp->ack_until = kh_time_add(now, ACK_PATIENCE);
    sctp->arrived = now;
    look(sctp);
}

static void repeat_latest(struct kh_channel_sctp *sctp)
{
    struct packet *packet = sctp->latest;

    sctp->answered = sctp->now;
    if (packet == NULL || sctp->state >= KH_CHANNEL_SCTP_CLOSED)
        return;
    sctp->latest = NULL;
    append(sctp, packet);
}

void kh_channel_sctp_repeat(struct kh_channel_sctp *sctp, kh_time now)
{
    stack_tick(now);
    sctp->now = now;
    if (sctp->state == KH_CHANNEL_SCTP_CONNECTING && !sctp->close_wanted)
        sctp->deadline = kh_time_add(now, CONNECT_PATIENCE);
    repeat_latest(sctp);
}

static bool is_busy(const struct kh_channel_sctp *sctp)
{
    return sctp->state == KH_CHANNEL_SCTP_CONNECTING || sctp->state == KH_CHANNEL_SCTP_CLOSING ||
           (sctp->state == KH_CHANNEL_SCTP_OPEN &&
            (sctp->unacknowledged > 0 || sctp->now < sctp->ack_until));
}

/* Sends a heartbeat if one is due; its answer brings usrsctp a round trip that is beyond doubt. */
static void measure(struct kh_channel_sctp *sctp)
{
    bool silent = kh_time_since(sctp->now, sctp->arrived) >= SILENCE;
    struct sctp_paddrparams path = {.spp_flags = SPP_HB_DEMAND};
    struct sockaddr_conn address = address_of(sctp);

    if (sctp->state != KH_CHANNEL_SCTP_OPEN || sctp->unacknowledged == 0 ||
        kh_time_since(sctp->now, sctp->measured) < (silent ? MEASURE_SELDOM : MEASURE_EVERY))
        return;
    sctp->measured = sctp->now;
    memcpy(&path.spp_address, &address, sizeof address);
    (void)set_option(sctp, SCTP_PEER_ADDR_PARAMS, &path, sizeof path);
}

static void give_up(struct kh_channel_sctp *sctp)
{
    if (sctp->state == KH_CHANNEL_SCTP_CONNECTING && !sctp->close_wanted)
        fail(sctp, KH_CHANNEL_FAILURE_TIMEOUT);
    else if (sctp->state < KH_CHANNEL_SCTP_CLOSED)
        enter(sctp, KH_CHANNEL_SCTP_CLOSED);
}

void kh_channel_sctp_handle_timeout(struct kh_channel_sctp *sctp, kh_time now)
{
    stack_tick(now);
    sctp->now = now;
    look(sctp);
    if (now >= sctp->deadline)
        give_up(sctp);
    measure(sctp);
    if (sctp->unacknowledged > 0 && kh_time_since(now, sctp->answered) >= STALL)
        repeat_latest(sctp);
    if (!is_busy(sctp) && sctp->filled == 0) {
        free(sctp->message);
        sctp->message = NULL;
    }
}

static bool can_send(const struct kh_channel_sctp *sctp)
{
    return (sctp->state == KH_CHANNEL_SCTP_CONNECTING || sctp->state == KH_CHANNEL_SCTP_OPEN) &&
           !sctp->close_wanted;
}

enum kh_status kh_channel_sctp_send(struct kh_channel_sctp *sctp, kh_time now, const uint8_t *data,
                                    size_t len)
{
    struct sctp_sndinfo info = {.snd_sid = sctp->config.stream, .snd_ppid = htonl(PPID_BINARY)};

    assert(len > 0 && len <= KH_CHANNEL_MESSAGE_MAX);
    stack_tick(now);
    sctp->now = now;
    look(sctp);
    if (can_send(sctp) && sctp->unacknowledged + len <= BUFFER_LEN &&
        usrsctp_sendv(sctp->socket, data, len, NULL, 0, &info, sizeof info, SCTP_SENDV_SNDINFO,
                      0) == (ssize_t)len) {
        look(sctp);
        return KH_OK;
    }
    sctp->full = true;
    sctp->full_at = sctp->unacknowledged;
    return KH_ERR_FULL;
}

static void begin_closing(struct kh_channel_sctp *sctp)
{
    enter(sctp, KH_CHANNEL_SCTP_CLOSING);
    sctp->deadline = kh_time_add(sctp->now, CLOSE_PATIENCE);
}

void kh_channel_sctp_close(struct kh_channel_sctp *sctp, kh_time now)
{
    stack_tick(now);
    sctp->now = now;
    if (sctp->state == KH_CHANNEL_SCTP_OPEN) {
        begin_closing(sctp);
        (void)usrsctp_shutdown(sctp->socket, SHUT_WR);
    } else if (sctp->state == KH_CHANNEL_SCTP_CONNECTING) {
        sctp->close_wanted = true; /* once up, for both sides may have sent something already */
        sctp->deadline = kh_time_add(now, CLOSE_PATIENCE);
    } else if (sctp->state < KH_CHANNEL_SCTP_CLOSING) {
        enter(sctp, KH_CHANNEL_SCTP_CLOSED);
    }
}

/* ---- what usrsctp has for us ---- */

static void handle_change(struct kh_channel_sctp *sctp, const struct sctp_assoc_change *change)
{
    if (change->sac_state == SCTP_COMM_UP) {
        if (sctp->state == KH_CHANNEL_SCTP_CONNECTING) {
            enter(sctp, KH_CHANNEL_SCTP_OPEN);
            sctp->deadline = KH_NEVER;
        }
        if (sctp->close_wanted)
            kh_channel_sctp_close(sctp, sctp->now);
    } else if (change->sac_state == SCTP_SHUTDOWN_COMP ||
               change->sac_error == CAUSE_USER_INITIATED_ABORT ||
               sctp->state == KH_CHANNEL_SCTP_CLOSING) {
        if (sctp->state < KH_CHANNEL_SCTP_CLOSED)
            enter(sctp, KH_CHANNEL_SCTP_CLOSED);
    } else {
        /* Lost or aborted; also a restart: no honest peer begins anew inside one DTLS session. */
        fail(sctp, KH_CHANNEL_FAILURE_ABORTED);
    }
}

/* The peer closed its data channel while the association lives on (RFC 8831 6.7). */
static void handle_reset(struct kh_channel_sctp *sctp, const struct sctp_stream_reset_event *event,
                         size_t len)
{
    size_t count = len < sizeof *event ? 0 : (len - sizeof *event) / sizeof(uint16_t);
    bool ours = count == 0; /* an empty list means all streams */

    for (size_t i = 0; i < count; i++)
        ours = ours || event->strreset_stream_list[i] == sctp->config.stream;
    if (ours && (event->strreset_flags & SCTP_STREAM_RESET_INCOMING_SSN) != 0)
        kh_channel_sctp_close(sctp, sctp->now);
}

static void handle_notification(struct kh_channel_sctp *sctp, const uint8_t *data, size_t len)
{
    union sctp_notification notification;

    memset(&notification, 0, sizeof notification);
    memcpy(&notification, data, len < sizeof notification ? len : sizeof notification);
    if (notification.sn_header.sn_type == SCTP_ASSOC_CHANGE)
        handle_change(sctp, &notification.sn_assoc_change);
    else if (notification.sn_header.sn_type == SCTP_SHUTDOWN_EVENT &&
             sctp->state == KH_CHANNEL_SCTP_OPEN)
        begin_closing(sctp); /* usrsctp answers once our data has arrived */
    else if (notification.sn_header.sn_type == SCTP_STREAM_RESET_EVENT)
        handle_reset(sctp, (const struct sctp_stream_reset_event *)(const void *)data, len);
}

/* Adds a piece; true if the message is whole and one for our user. */
static bool assemble(struct kh_channel_sctp *sctp, const struct sctp_rcvinfo *info, size_t len,
                     bool end)
{
    uint32_t ppid = ntohl(info->rcv_ppid);
    bool wanted = info->rcv_sid == sctp->config.stream &&
                  (ppid == PPID_BINARY || ppid == PPID_STRING || ppid == PPID_STRING_EMPTY ||
                   ppid == PPID_BINARY_EMPTY);

    sctp->filled += len;
    if (sctp->filled > KH_CHANNEL_MESSAGE_MAX || !wanted) {
        sctp->skipping = true;
        sctp->filled = 0;
    }
    if (!end)
        return false;
    if (sctp->skipping) {
        sctp->skipping = false;
        sctp->filled = 0;
        sctp->dropped_malformed++;
        return false;
    }
    return true;
}

/* Reads from usrsctp until a message is whole; its length, or -1 if there is none. */
static long next_message(struct kh_channel_sctp *sctp)
{
    struct sctp_rcvinfo info;
    struct sockaddr_storage from;
    socklen_t from_len, info_len;
    unsigned int type;
    ssize_t got;
    int flags;

    while (sctp->socket != NULL && sctp->state < KH_CHANNEL_SCTP_CLOSED &&
           (usrsctp_get_events(sctp->socket) & SCTP_EVENT_READ) != 0) {
        if (sctp->message == NULL)
            sctp->message = malloc(KH_CHANNEL_MESSAGE_MAX + NOTIFICATION_MAX);
        if (sctp->message == NULL)
            return -1; /* usrsctp keeps it until there is memory */
        memset(&info, 0, sizeof info);
        from_len = sizeof from;
        info_len = sizeof info;
        type = 0;
        flags = 0;
        got = usrsctp_recvv(sctp->socket, sctp->message + sctp->filled,
                            KH_CHANNEL_MESSAGE_MAX + NOTIFICATION_MAX - sctp->filled,
                            (struct sockaddr *)&from, &from_len, &info, &info_len, &type, &flags);
        if (got <= 0)
            return -1;
        if ((flags & MSG_NOTIFICATION) != 0) {
            enum kh_channel_sctp_state before = sctp->state;

            handle_notification(sctp, sctp->message + sctp->filled, (size_t)got);
            if (sctp->state != before)
                return -1;
        } else if (assemble(sctp, &info, (size_t)got, (flags & MSG_EOR) != 0)) {
            uint32_t ppid = ntohl(info.rcv_ppid);
            bool empty = ppid == PPID_STRING_EMPTY || ppid == PPID_BINARY_EMPTY;
            long whole = empty ? 0 : (long)sctp->filled;

            sctp->filled = 0;
            return whole;
        }
    }
    return -1;
}

/* ---- outputs ---- */

/* Gives each change of state that its user should know of once. */
static bool tell_state(struct kh_channel_sctp *sctp, struct kh_channel_event *out)
{
    /* DTLS has proved who the peer is and usrsctp takes messages, so our user need not wait a round
     * trip more: the first of them travel with our COOKIE ECHO (RFC 9260 5.1). */
    if (can_send(sctp) && !sctp->told_open) {
        sctp->told_open = true;
        out->kind = KH_CHANNEL_EVENT_OPEN;
        return true;
    }
    if (sctp->state < KH_CHANNEL_SCTP_CLOSED || sctp->told_end)
        return false;
    sctp->told_end = true;
    close_socket(sctp);
    out->kind =
        sctp->state == KH_CHANNEL_SCTP_FAILED ? KH_CHANNEL_EVENT_FAILED : KH_CHANNEL_EVENT_CLOSED;
    out->failure = sctp->failure;
    return true;
}

bool kh_channel_sctp_next_event(struct kh_channel_sctp *sctp, struct kh_channel_event *out)
{
    enum kh_channel_sctp_state before;
    long len;

    *out = (struct kh_channel_event){0};
    do {
        before = sctp->state;
        if (tell_state(sctp, out))
            return true;
        len = next_message(sctp);
        if (len >= 0) {
            *out = (struct kh_channel_event){
                .kind = KH_CHANNEL_EVENT_MESSAGE, .data = sctp->message, .len = (size_t)len};
            return true;
        }
    } while (sctp->state != before);
    if (sctp->full && can_send(sctp) && sctp->unacknowledged <= sctp->full_at / 2) {
        sctp->full = false;
        out->kind = KH_CHANNEL_EVENT_WRITABLE;
        return true;
    }
    return false;
}

/* True if usrsctp will send it again when nothing comes back. */
static bool wants_answer(const struct packet *packet)
{
    struct kh_reader reader = kh_reader_of(packet->data, packet->len);
    uint8_t type;
    uint16_t len;

    (void)kh_read_bytes(&reader, COMMON_HEADER_LEN);
    while (reader.left > 0 && !reader.failed) {
        type = kh_read_u8(&reader);
        (void)kh_read_u8(&reader);
        len = kh_read_u16(&reader);
        if (type == CHUNK_DATA || type == CHUNK_INIT || type == CHUNK_SHUTDOWN ||
            type == CHUNK_SHUTDOWN_ACK || type == CHUNK_COOKIE_ECHO)
            return true;
        if (len < 4)
            return false;
        (void)kh_read_bytes(&reader, (((size_t)len + 3) & ~(size_t)3) - 4);
    }
    return false;
}

/* Keeps the packet until the next one is asked for; one to be repeated, until the next of these. */
static void keep(struct kh_channel_sctp *sctp, struct packet *packet)
{
    free(sctp->handed_out);
    sctp->handed_out = NULL;
    if (packet != NULL && wants_answer(packet)) {
        free(sctp->latest);
        sctp->latest = packet;
    } else {
        sctp->handed_out = packet;
    }
}

bool kh_channel_sctp_next_packet(struct kh_channel_sctp *sctp, const uint8_t **data, size_t *len)
{
    struct packet *packet = sctp->first;

    if (packet == NULL) {
        keep(sctp, NULL);
        return false;
    }
    sctp->first = packet->next;
    if (sctp->first == NULL)
        sctp->last = NULL;
    sctp->packet_count--;
    *data = packet->data;
    *len = packet->len;
    keep(sctp, packet);
    return true;
}

bool kh_channel_sctp_has_packet(const struct kh_channel_sctp *sctp)
{
    return sctp->first != NULL;
}

static kh_duration tick_of(const struct kh_channel_sctp *sctp)
{
    bool silent = kh_time_since(sctp->now, sctp->arrived) >= SILENCE;

    return silent && sctp->state >= KH_CHANNEL_SCTP_OPEN ? TICK_SILENT : TICK;
}

kh_time kh_channel_sctp_timeout(const struct kh_channel_sctp *sctp)
{
    bool ended = sctp->state >= KH_CHANNEL_SCTP_CLOSED;

    if ((ended && !sctp->told_end) || sctp->first != NULL ||
        (!ended && (usrsctp_get_events(sctp->socket) & SCTP_EVENT_READ) != 0))
        return sctp->now;
    return is_busy(sctp) ? kh_time_add(sctp->now, tick_of(sctp)) : KH_NEVER;
}

enum kh_channel_sctp_state kh_channel_sctp_state(const struct kh_channel_sctp *sctp)
{
    return sctp->state;
}

size_t kh_channel_sctp_unacknowledged(const struct kh_channel_sctp *sctp)
{
    return sctp->unacknowledged;
}

uint64_t kh_channel_sctp_dropped_malformed(const struct kh_channel_sctp *sctp)
{
    return sctp->dropped_malformed;
}

uint64_t kh_channel_sctp_dropped_outbox_full(const struct kh_channel_sctp *sctp)
{
    return sctp->dropped_outbox_full;
}
