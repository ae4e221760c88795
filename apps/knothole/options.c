/* knothole/options.c - reads the command line of `knothole chat`.
 *
 * SPDX-License-Identifier: MIT
 */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

#define LINGER_DEFAULT_MS 30000
#define LINGER_MAX_S 1e6 /* eleven days */

const char kh_options_help[] =
    "usage: knothole chat LINK|SERVER [options]\n"
    "\n"
    "Joins the room of LINK, or makes a new room at SERVER and shows its link.\n"
    "Lines you type are messages to everyone in the room; /help lists the commands.\n"
    "\n"
    "  --name NAME          what others see (default: $USER)\n"
    "  --plain              `name: text` lines on stdout, all else on stderr\n"
    "  --json               one JSON object a line on stdout\n"
    "  --state DIR          keep identity and known names here\n"
    "                       (default: $XDG_STATE_HOME/knothole or ~/.local/state/knothole)\n"
    "  --ice all|direct|relay\n"
    "                       which paths may be used (default: all); direct: through no relay;\n"
    "                       relay: never without, so that no member learns an address of yours\n"
    "  --local-name NAME.local\n"
    "                       tell this instead of your private addresses: only who is on your\n"
    "                       network finds them (something must answer to it: avahi-daemon)\n"
    "  --no-port-mapping    do not ask the router for a port (PCP, NAT-PMP, UPnP)\n"
    "  --no-punching        do not guess ports of hard NATs; be relayed instead\n"
    "  --linger SECONDS     at the end of input, wait this long for the first member to appear\n"
    "                       (default: 30)\n"
    "  --server-udp-only    talk with the server by UDP only, never by TCP or TLS\n"
    "  --log-level LEVEL    error, warn, info or debug (default: warn)\n"
    "  --verbose, -v        the same as --log-level info; twice: debug\n"
    "  --log-addresses      write whole addresses into the log\n"
    "  --help, -h           show this and exit\n"
    "\n"
    "Without --plain and --json a terminal gets a full-screen view, all else --plain.\n"
    "Exit codes: 0 all delivered, 2 bad usage or link, 3 something undelivered, 4 no server "
    "reached,\n1 another failure.\n";

enum {
    OPTION_NAME = 256, /* beyond the letters */
    OPTION_PLAIN,
    OPTION_JSON,
    OPTION_STATE,
    OPTION_ICE,
    OPTION_LOCAL_NAME,
    OPTION_NO_PORT_MAPPING,
    OPTION_NO_PUNCHING,
    OPTION_LINGER,
    OPTION_SERVER_UDP_ONLY,
    OPTION_LOG_LEVEL,
    OPTION_LOG_ADDRESSES,
};

static const struct option long_options[] = {
    {"name", required_argument, NULL, OPTION_NAME},
    {"plain", no_argument, NULL, OPTION_PLAIN},
    {"json", no_argument, NULL, OPTION_JSON},
    {"state", required_argument, NULL, OPTION_STATE},
    {"ice", required_argument, NULL, OPTION_ICE},
    {"local-name", required_argument, NULL, OPTION_LOCAL_NAME},
    {"no-port-mapping", no_argument, NULL, OPTION_NO_PORT_MAPPING},
    {"no-punching", no_argument, NULL, OPTION_NO_PUNCHING},
    {"linger", required_argument, NULL, OPTION_LINGER},
    {"server-udp-only", no_argument, NULL, OPTION_SERVER_UDP_ONLY},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"verbose", no_argument, NULL, 'v'},
    {"log-addresses", no_argument, NULL, OPTION_LOG_ADDRESSES},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

__attribute__((format(printf, 2, 3))) static bool fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, KH_RUNTIME_WHY_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

/* Copies the name without the spaces around it; false if it is no name. */
static bool set_name(struct kh_options *out, const char *text)
{
    size_t len;

    text += strspn(text, " \t");
    len = strlen(text);
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    if (len == 0 || len > KH_RUNTIME_NAME_MAX || !kh_text_is_name(text, len))
        return false;
    memcpy(out->name, text, len);
    out->name[len] = '\0';
    return true;
}

static bool set_ice(struct kh_options *out, const char *text, char *why)
{
    static const char *const names[] = {"all", "direct", "relay"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], text) == 0) {
            out->paths = (enum kh_runtime_paths)i;
            return true;
        }
    }
    return fail(why, "--ice is all, direct or relay, not \"%.80s\"", text);
}

static bool set_linger(struct kh_options *out, const char *text, char *why)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= LINGER_MAX_S))
        return fail(why, "--linger is a number of seconds, not \"%.80s\"", text);
    out->linger_ms = (uint64_t)(seconds * 1000);
    return true;
}

static bool set_log_level(struct kh_options *out, const char *text, char *why)
{
    enum kh_log_level level;

    if (kh_log_level_parse(text, &level)) {
        out->log_level = (enum kh_runtime_log_level)level;
        return true;
    }
    return fail(why, "--log-level is error, warn, info or debug, not \"%.80s\"", text);
}

static bool set_view(struct kh_options *out, enum kh_options_view view, char *why)
{
    if (out->view != KH_OPTIONS_SCREEN && out->view != view)
        return fail(why, "--plain and --json exclude each other");
    out->view = view;
    return true;
}

static bool apply(struct kh_options *out, int option, const char *value, char *why)
{
    switch (option) {
    case OPTION_NAME:
        return set_name(out, value) ||
               fail(why, "--name is 1 to %d bytes of text without characters that cannot be seen",
                    KH_RUNTIME_NAME_MAX);
    case OPTION_PLAIN:
        return set_view(out, KH_OPTIONS_PLAIN, why);
    case OPTION_JSON:
        return set_view(out, KH_OPTIONS_JSON, why);
    case OPTION_STATE:
        out->state_dir = value;
        return value[0] != '\0' || fail(why, "--state needs the name of a directory");
    case OPTION_ICE:
        return set_ice(out, value, why);
    case OPTION_LOCAL_NAME:
        out->local_name = value;
        return kh_text_is_local_name(value, strlen(value)) ||
               fail(why, "--local-name looks like my-machine.local, not \"%.80s\"", value);
    case OPTION_NO_PORT_MAPPING:
        out->no_port_mapping = true;
        return true;
    case OPTION_NO_PUNCHING:
        out->no_punching = true;
        return true;
    case OPTION_LINGER:
        return set_linger(out, value, why);
    case OPTION_SERVER_UDP_ONLY:
        out->server_udp_only = true;
        return true;
    case OPTION_LOG_LEVEL:
        return set_log_level(out, value, why);
    case OPTION_LOG_ADDRESSES:
        out->log_addresses = true;
        return true;
    case 'v':
        out->log_level =
            out->log_level < KH_RUNTIME_LOG_INFO ? KH_RUNTIME_LOG_INFO : KH_RUNTIME_LOG_DEBUG;
        return true;
    default:
        out->help = true;
        return true;
    }
}

/* Says what getopt stumbled over; an unknown letter may stand among others. */
static bool refuse(int option, char *const *argv, char *why)
{
    if (option == ':')
        return fail(why, "%.80s needs a value", argv[optind - 1]);
    if (optopt > ' ' && optopt < OPTION_NAME && optopt != 'h' && optopt != 'v')
        return fail(why, "there is no option -%c", optopt);
    return fail(why, optopt == 0 ? "there is no option %.80s" : "%.80s takes no value",
                argv[optind - 1]);
}

bool kh_options_parse(struct kh_options *out, int argc, char **argv, const char *user,
                      char why[static KH_RUNTIME_WHY_SIZE])
{
    int option;

    *out = (struct kh_options){.linger_ms = LINGER_DEFAULT_MS, .log_level = KH_RUNTIME_LOG_WARN};
    if (user == NULL || !set_name(out, user))
        (void)snprintf(out->name, sizeof out->name, "anonymous");
    optind = 0; /* glibc: start over, also when called twice */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hv", long_options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return refuse(option, argv, why);
        if (!apply(out, option, optarg, why))
            return false;
        if (out->help)
            return true;
    }
    if (optind + 1 != argc)
        return fail(why, optind == argc ? "give a LINK, or a SERVER for a new room"
                                        : "give one LINK or SERVER only");
    out->target = argv[optind];
    return true;
}
