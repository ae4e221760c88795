/* knothole/doctor.c - `knothole doctor SERVER` says what network this is, and whom it reaches.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

#include <string.h>
#include <uv.h>

#include "command.h"
#include "io/sockaddr.h"
#include "room/room.h"

#define RESOLVE_MS 1000 /* for the server's name: all together stays below five seconds */

static const char help[] =
    "usage: knothole doctor SERVER [--json] [--lifetime]\n"
    "\n"
    "Asks SERVER (HOST, HOST:PORT, http://... or https://...) what the router in front of this\n"
    "machine does, and says whom you reach directly, whom only through a server, and what to\n"
    "change.  It takes up to five seconds.  A server with two addresses can tell most.\n"
    "\n"
    "  --json        one JSON object instead of sentences; null is what could not be found out\n"
    "  --lifetime    find out, too, how long the router remembers who is silent: takes up to five\n"
    "                minutes\n"
    "  --help, -h    show this and exit\n"
    "\n"
    "Exit codes: 0 there is a diagnosis, 1 cannot run, 2 wrong usage, 4 no server was reached.\n";

/* The addresses of a name, one of each family. */
struct lookup {
    uv_getaddrinfo_t request;
    uv_timer_t timer;
    struct kh_addr addrs[2];
    size_t count;
};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lookup *lookup = request->data;

    for (const struct addrinfo *at = status == 0 ? list : NULL; at != NULL && lookup->count < 2;
         at = at->ai_next) {
        struct kh_addr addr;

        if (kh_io_sockaddr_read(at->ai_addr, &addr) &&
            (lookup->count == 0 || lookup->addrs[0].family != addr.family))
            lookup->addrs[lookup->count++] = addr;
    }
    uv_freeaddrinfo(list);
    uv_timer_stop(&lookup->timer);
}

static void on_too_late(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* False if no address was found.  A lookup that takes too long is left behind in its thread, which
 * is why it is static; the program ends soon. */
static bool resolve(const struct kh_room_server *server, const struct lookup **out)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    static struct lookup lookup;
    uv_loop_t *loop = uv_default_loop();
    char port[8];

    *out = &lookup;
    lookup.request.data = &lookup;
    (void)snprintf(port, sizeof port, "%u", server->port);
    if (loop == NULL || uv_timer_init(loop, &lookup.timer) != 0 ||
        uv_getaddrinfo(loop, &lookup.request, on_resolved, server->host, port, &hints) != 0)
        return false;
    (void)uv_timer_start(&lookup.timer, on_too_late, RESOLVE_MS, 0);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return lookup.count > 0;
}

struct wish {
    const char *server;
    bool json;
    bool lifetime;
};

/* Reads the command line; false, having said why, if it is wrong. */
static bool parse(int argc, char **argv, struct wish *out)
{
    const char *unknown = NULL;
    int servers = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            out->json = true;
        else if (strcmp(argv[i], "--lifetime") == 0)
            out->lifetime = true;
        else if (argv[i][0] == '-')
            unknown = argv[i];
        else if (servers++ == 0)
            out->server = argv[i];
    }
    if (unknown == NULL && servers == 1)
        return true;
    if (unknown != NULL)
        (void)fprintf(stderr, "knothole doctor: there is no option %.80s", unknown);
    else
        (void)fprintf(stderr, "knothole doctor: give one SERVER");
    (void)fprintf(stderr, " (see knothole doctor --help)\n");
    return false;
}

static int tell_programs(const struct kh_doctor_report *report)
{
    json_t *object = kh_doctor_json(report);
    bool failed = object == NULL || json_dumpf(object, stdout, JSON_COMPACT) != 0 || puts("") < 0;

    json_decref(object);
    return !failed && fflush(stdout) == 0 ? KH_EXIT_OK : KH_EXIT_FAILED;
}

/* People get what is known already before they are made to wait for the rest. */
static int tell(const struct wish *wish, const struct kh_addr *server,
                struct kh_doctor_report *report)
{
    report->has_lifetime = wish->lifetime && report->udp == KH_DOCTOR_YES;
    if (!wish->json)
        kh_doctor_say(report, stdout);
    if (!wish->json && fflush(stdout) != 0)
        return KH_EXIT_FAILED;
    if (report->has_lifetime && !kh_doctor_wait(server, &report->lifetime))
        return KH_EXIT_FAILED;
    if (wish->json)
        return tell_programs(report);
    if (report->has_lifetime)
        kh_doctor_say_lifetime(&report->lifetime, stdout);
    return fflush(stdout) == 0 ? KH_EXIT_OK : KH_EXIT_FAILED;
}

/* The address by which UDP reached the server: IPv4's NAT is the one that matters. */
static const struct kh_addr *address_to_ask(const struct lookup *found,
                                            const struct kh_doctor_report *report)
{
    for (size_t i = 0; i < found->count; i++) {
        if (found->addrs[i].family == report->nat.public_addr.family)
            return &found->addrs[i];
    }
    return &found->addrs[0];
}

int kh_command_doctor(int argc, char **argv)
{
    struct kh_doctor_report report;
    struct kh_room_server server;
    const struct lookup *found;
    struct wish wish = {.server = NULL};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(help, stdout);
            return KH_EXIT_OK;
        }
    }
    if (!parse(argc, argv, &wish))
        return KH_EXIT_USAGE;
    if (kh_room_server_parse(wish.server, &server) != KH_OK) {
        (void)fprintf(stderr,
                      "knothole doctor: \"%.200s\" is not a server: give HOST, HOST:PORT or "
                      "https://HOST\n",
                      wish.server);
        return KH_EXIT_USAGE;
    }
    if (!resolve(&server, &found)) {
        (void)fprintf(stderr, "knothole doctor: the address of %.200s was not found\n",
                      server.host);
        return KH_EXIT_NO_SERVER;
    }
    if (!kh_doctor_examine(&server, found->addrs, found->count, &report))
        return KH_EXIT_FAILED;
    if (kh_doctor_has_diagnosis(&report))
        return tell(&wish, address_to_ask(found, &report), &report);
    (void)fprintf(stderr,
                  "knothole doctor: %.200s does not answer, neither by UDP nor by TCP or TLS: it "
                  "is not\nrunning, or a firewall is in between\n",
                  server.host);
    return KH_EXIT_NO_SERVER;
}
