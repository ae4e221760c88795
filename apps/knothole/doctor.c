/* knothole/doctor.c - `knothole doctor SERVER` says what network this is, and whom it reaches.
 *
 * SPDX-License-Identifier: MIT
 */
#include "doctor.h"

#include <string.h>

#include "command.h"
#include "room/room.h"
#include "runtime/resolve.h"

#define RESOLVE_MS 1000 /* for the server's name: all together stays below five seconds */

static const char help[] =
    "usage: knothole doctor SERVER [--json]\n"
    "\n"
    "Asks SERVER (HOST, HOST:PORT, http://... or https://...) what the router in front of this\n"
    "machine does, and says whom you reach directly, whom only through a server, and what to\n"
    "change.  It takes up to five seconds.  A server with two addresses can tell most.\n"
    "\n"
    "  --json        one JSON object instead of sentences; null is what could not be found out\n"
    "  --help, -h    show this and exit\n"
    "\n"
    "Exit codes: 0 there is a diagnosis, 1 cannot run, 2 wrong usage, 4 no server was reached.\n";

struct lookup {
    uv_getaddrinfo_t request;
    struct kh_runtime_addrs *out;
    uv_timer_t *timer;
};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lookup *lookup = request->data;

    if (status == 0)
        kh_runtime_resolve_choose(list, lookup->out);
    uv_freeaddrinfo(list);
    uv_timer_stop(lookup->timer);
}

static void on_too_late(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* A lookup that takes too long is left behind in its thread; the program ends soon. */
static bool resolve(const struct kh_room_server *server, struct kh_runtime_addrs *out)
{
    static struct lookup lookup;
    static uv_timer_t timer;
    uv_loop_t *loop = uv_default_loop();

    out->count = 0;
    if (kh_runtime_resolve_numeric(server, out))
        return true;
    lookup.out = out;
    lookup.timer = &timer;
    lookup.request.data = &lookup;
    if (loop == NULL || uv_timer_init(loop, &timer) != 0 ||
        kh_runtime_resolve_start(loop, &lookup.request, server, on_resolved) != 0)
        return false;
    (void)uv_timer_start(&timer, on_too_late, RESOLVE_MS, 0);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    return out->count > 0;
}

/* Reads the command line; false if it is wrong. */
static bool parse(int argc, char **argv, const char **server, bool *json)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            *json = true;
        else if (argv[i][0] == '-' || *server != NULL)
            return false;
        else
            *server = argv[i];
    }
    return *server != NULL;
}

static int tell(const struct kh_doctor_report *report, bool json)
{
    json_t *object;
    bool failed;

    if (!json) {
        kh_doctor_say(report, stdout);
        return fflush(stdout) == 0 ? KH_EXIT_OK : KH_EXIT_FAILED;
    }
    object = kh_doctor_json(report);
    failed = object == NULL || json_dumpf(object, stdout, JSON_COMPACT) != 0 || puts("") < 0;
    json_decref(object);
    return !failed && fflush(stdout) == 0 ? KH_EXIT_OK : KH_EXIT_FAILED;
}

int kh_command_doctor(int argc, char **argv)
{
    struct kh_doctor_report report;
    struct kh_room_server server;
    struct kh_runtime_addrs addrs;
    const char *name = NULL;
    bool json = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            (void)fputs(help, stdout);
            return KH_EXIT_OK;
        }
    }
    if (!parse(argc, argv, &name, &json)) {
        (void)fprintf(stderr, "knothole doctor: give one SERVER (see knothole doctor --help)\n");
        return KH_EXIT_USAGE;
    }
    if (kh_room_server_parse(name, &server) != KH_OK) {
        (void)fprintf(stderr,
                      "knothole doctor: \"%.200s\" is not a server: give HOST, HOST:PORT or "
                      "https://HOST\n",
                      name);
        return KH_EXIT_USAGE;
    }
    if (!resolve(&server, &addrs)) {
        (void)fprintf(stderr, "knothole doctor: the address of %.200s was not found\n",
                      server.host);
        return KH_EXIT_NO_SERVER;
    }
    if (!kh_doctor_examine(addrs.list, addrs.count, &report))
        return KH_EXIT_FAILED;
    if (kh_doctor_has_diagnosis(&report))
        return tell(&report, json);
    (void)fprintf(stderr,
                  "knothole doctor: %.200s does not answer, neither by UDP nor by TCP: it is not "
                  "running,\nor a firewall is in between\n",
                  server.host);
    return KH_EXIT_NO_SERVER;
}
