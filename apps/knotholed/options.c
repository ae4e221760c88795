/* knotholed/options.c - reads the server's command line.
 *
 * SPDX-License-Identifier: MIT
 */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "turnserver.h"

#define PORT_DEFAULT 3478 /* RFC 8489 8.1 */

const char kh_knotholed_help[] =
    "usage: knotholed [--listen ADDR:PORT]... [--tls-cert FILE --tls-key FILE]\n"
    "                 [--turn-secret-file FILE] [--external-ip IP]... [--relay-ports LOW-HIGH]\n"
    "                 [--config FILE] [--log-level LEVEL] [--log-addresses] ...\n"
    "\n"
    "Helps members of rooms find each other, answers STUN Binding requests, and HI! to Hi!.\n"
    "It never learns what they say: rooms are sealed between their members.\n"
    "\n"
    "  --config FILE        read options from here: one a line, without dashes, value behind it\n"
    "  --listen ADDR:PORT   serve UDP and TCP here; may be repeated; port 0: the system chooses\n"
    "                       (default: [::]:3478 and 0.0.0.0:3478); two addresses of one family\n"
    "                       on one port also serve UDP on the next port, so that clients can find\n"
    "                       out what their NATs do (RFC 5780; see knothole doctor)\n"
    "  --tls-cert FILE      serve TLS too, on the same ports, with this certificate chain (PEM)\n"
    "  --tls-key FILE       and this private key (PEM); both are read again on SIGHUP\n"
    "  --turn-secret SECRET relay data for whoever has credentials made with this secret (TURN);\n"
    "                       other users of this machine can see it: prefer the file\n"
    "  --turn-secret-file FILE  the same, with the secret in the first line of FILE\n"
    "  --turn-server turn:HOST[:PORT]  send members to this TURN server (such as coturn) first;\n"
    "                       they get credentials by its shared secret, good for a day\n"
    "  --turn-server-secret-file FILE  that secret (coturn: static-auth-secret) in the first line\n"
    "                       of FILE; or --turn-server-secret SECRET, which others can see\n"
    "  --realm REALM        TURN realm (default: knothole)\n"
    "  --relay-ports LOW-HIGH  ports of relayed addresses (default: 49152-65535)\n"
    "  --external-ip IP     the public address of this machine, if a NAT is in front of it;\n"
    "                       may be repeated\n"
    "  --allow-private-peers  relay to private addresses too: for labs only\n"
    "  --log-level LEVEL    error, warn, info or debug, on stderr (default: warn)\n"
    "  --verbose, -v        the same as --log-level info; twice: debug\n"
    "  --log-addresses      write members' addresses into the log (default: only their kind)\n"
    "  --help, -h           show this and exit\n"
    "  --version            show the version and exit\n"
    "\n"
    "SIGTERM and SIGINT end it with exit code 0; SIGHUP reads the TLS files again; SIGUSR1 prints\n"
    "counters on stderr.\n"
    "Exit codes: 0 ended by signal, 1 cannot serve, 2 wrong usage.\n";

enum {
    OPTION_LISTEN = 256, /* beyond the letters */
    OPTION_CONFIG,
    OPTION_LOG_LEVEL,
    OPTION_LOG_ADDRESSES,
    OPTION_VERSION,
    OPTION_TURN_SECRET,
    OPTION_TURN_SECRET_FILE,
    OPTION_TURN_SERVER,
    OPTION_TURN_SERVER_SECRET,
    OPTION_TURN_SERVER_SECRET_FILE,
    OPTION_REALM,
    OPTION_RELAY_PORTS,
    OPTION_EXTERNAL_IP,
    OPTION_ALLOW_PRIVATE_PEERS,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"turn-secret", required_argument, NULL, OPTION_TURN_SECRET},
    {"turn-secret-file", required_argument, NULL, OPTION_TURN_SECRET_FILE},
    {"turn-server", required_argument, NULL, OPTION_TURN_SERVER},
    {"turn-server-secret", required_argument, NULL, OPTION_TURN_SERVER_SECRET},
    {"turn-server-secret-file", required_argument, NULL, OPTION_TURN_SERVER_SECRET_FILE},
    {"realm", required_argument, NULL, OPTION_REALM},
    {"relay-ports", required_argument, NULL, OPTION_RELAY_PORTS},
    {"external-ip", required_argument, NULL, OPTION_EXTERNAL_IP},
    {"allow-private-peers", no_argument, NULL, OPTION_ALLOW_PRIVATE_PEERS},
    {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
    {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
    {"verbose", no_argument, NULL, 'v'},
    {"log-addresses", no_argument, NULL, OPTION_LOG_ADDRESSES},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

__attribute__((format(printf, 2, 3))) static bool fail(char *why, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(why, KH_KNOTHOLED_WHY_MAX, format, arguments);
    va_end(arguments);
    return false;
}

static bool add_listen(struct kh_knotholed_options *out, const char *text, char *why)
{
    if (out->listen_count == KH_IO_SOCKETS_MAX)
        return fail(why, "--listen can be given %d times at most", KH_IO_SOCKETS_MAX);
    if (kh_addr_parse(text, PORT_DEFAULT, &out->listen[out->listen_count]) != KH_OK)
        return fail(why,
                    "--listen needs an address such as 192.0.2.1:3478 or [2001:db8::1]:3478, "
                    "not \"%.80s\"",
                    text);
    out->listen_count++;
    return true;
}

static bool set_log_level(struct kh_knotholed_options *out, const char *text, char *why)
{
    return kh_log_level_parse(text, &out->log_level) ||
           fail(why, "--log-level is error, warn, info or debug, not \"%.80s\"", text);
}

#define REALM_MAX 127 /* RFC 8489 14.9 */
#define SECRET_MAX 256

static bool set_text(const char **out, const char *name, const char *text, char *why)
{
    size_t max = strcmp(name, "--realm") == 0 ? REALM_MAX : SECRET_MAX;

    if (text[0] == '\0' || strlen(text) > max)
        return fail(why, "%s takes 1 to %zu characters", name, max);
    *out = text;
    return true;
}

/* Reads a port in decimal digits; 0 if it is none.  *end is what follows. */
static uint16_t read_port(const char *text, const char **end)
{
    unsigned port = 0;

    for (; *text >= '0' && *text <= '9' && port <= UINT16_MAX; text++)
        port = 10 * port + (unsigned)(*text - '0');
    *end = text;
    return port > UINT16_MAX ? 0 : (uint16_t)port;
}

static bool set_relay_ports(struct kh_knotholed_options *out, const char *text, char *why)
{
    const char *at;

    out->relay_port_min = read_port(text, &at);
    out->relay_port_max = *at == '-' ? read_port(at + 1, &at) : 0;
    if (*at == '\0' && out->relay_port_min > 0 && out->relay_port_min <= out->relay_port_max)
        return true;
    return fail(why, "--relay-ports needs a range such as 49152-65535, not \"%.80s\"", text);
}

static bool add_external(struct kh_knotholed_options *out, const char *text, char *why)
{
    struct kh_addr *addr = &out->external[out->external_count];

    if (out->external_count == KH_KNOTHOLED_EXTERNAL_MAX)
        return fail(why, "--external-ip can be given %d times at most", KH_KNOTHOLED_EXTERNAL_MAX);
    if (kh_addr_parse(text, 0, addr) != KH_OK || addr->port != 0 ||
        kh_addr_reach(addr) == KH_REACH_UNSPECIFIED)
        return fail(why,
                    "--external-ip needs an address such as 203.0.113.1 or 2001:db8::1, not "
                    "\"%.80s\"",
                    text);
    out->external_count++;
    return true;
}

/* The name of a file, which may not exist. */
static bool set_file(const char **out, const char *name, const char *path, char *why)
{
    *out = path;
    return path[0] != '\0' || fail(why, "%s needs the name of a file", name);
}

static bool apply_relay(struct kh_knotholed_options *out, int option, const char *value, char *why)
{
    switch (option) {
    case OPTION_TURN_SECRET:
        return set_text(&out->turn_secret, "--turn-secret", value, why);
    case OPTION_TURN_SECRET_FILE:
        return set_file(&out->turn_secret_file, "--turn-secret-file", value, why);
    case OPTION_TURN_SERVER:
        out->turn_server = value;
        return kh_knotholed_turn_server_check(value, why);
    case OPTION_TURN_SERVER_SECRET:
        return set_text(&out->turn_server_secret, "--turn-server-secret", value, why);
    case OPTION_TURN_SERVER_SECRET_FILE:
        return set_file(&out->turn_server_secret_file, "--turn-server-secret-file", value, why);
    case OPTION_REALM:
        return set_text(&out->realm, "--realm", value, why);
    case OPTION_RELAY_PORTS:
        return set_relay_ports(out, value, why);
    case OPTION_EXTERNAL_IP:
        return add_external(out, value, why);
    case OPTION_ALLOW_PRIVATE_PEERS:
        out->allow_private_peers = true;
        return true;
    default:
        return false;
    }
}

static bool apply(struct kh_knotholed_options *out, int option, const char *value, char *why)
{
    switch (option) {
    case OPTION_LISTEN:
        return add_listen(out, value, why);
    case OPTION_LOG_LEVEL:
        return set_log_level(out, value, why);
    case OPTION_TLS_CERT:
        return set_file(&out->tls_cert_file, "--tls-cert", value, why);
    case OPTION_TLS_KEY:
        return set_file(&out->tls_key_file, "--tls-key", value, why);
    case OPTION_LOG_ADDRESSES:
        out->log_addresses = true;
        return true;
    case OPTION_VERSION:
        out->action = KH_KNOTHOLED_SHOW_VERSION;
        return true;
    case 'h':
        out->action = KH_KNOTHOLED_HELP;
        return true;
    case 'v':
        out->log_level = out->log_level < KH_LOG_INFO ? KH_LOG_INFO : KH_LOG_DEBUG;
        return true;
    default:
        return apply_relay(out, option, value, why);
    }
}

static void listen_by_default(struct kh_knotholed_options *out)
{
    static const uint8_t zeros[16];

    out->listen[0] = kh_addr_from_ip(KH_FAMILY_IPV6, zeros, PORT_DEFAULT);
    out->listen[1] = kh_addr_from_ip(KH_FAMILY_IPV4, zeros, PORT_DEFAULT);
    out->listen_count = 2;
    out->listen_is_default = true;
}

/* Applies the settings in the file of --config as if they stood in its place. */
static bool apply_config(struct kh_knotholed_options *out, const char *path, char *why)
{
    struct kh_knotholed_setting setting;
    char *at = out->config;
    unsigned line = 0;

    if (out->config_file != NULL)
        return fail(why, "--config can be given once");
    if (!set_file(&out->config_file, "--config", path, why) ||
        !kh_knotholed_config_read(path, out->config, why, KH_KNOTHOLED_WHY_MAX))
        return false;
    while (kh_knotholed_config_next(&at, &line, &setting)) {
        const struct option *option = long_options;
        char reason[KH_KNOTHOLED_WHY_MAX];

        while (option->name != NULL && strcmp(option->name, setting.name) != 0)
            option++;
        if (option->name == NULL || option->val == OPTION_CONFIG || option->val == 'h' ||
            option->val == OPTION_VERSION)
            return fail(why, "%.80s, line %u: there is no option \"%.40s\"", path, line,
                        setting.name);
        if ((option->has_arg == no_argument) != (setting.value[0] == '\0'))
            return fail(why, "%.80s, line %u: %s %s", path, line, option->name,
                        option->has_arg == no_argument ? "takes no value" : "needs a value");
        if (!apply(out, option->val, setting.value, reason))
            return fail(why, "%.80s, line %u: %.160s", path, line, reason);
    }
    return true;
}

/* Says what getopt stumbled over; an unknown letter may stand among others. */
static bool refuse(int option, char *const *argv, char *why)
{
    if (option == ':')
        return fail(why, "%.80s needs a value", argv[optind - 1]);
    if (optopt > ' ' && optopt < OPTION_LISTEN && optopt != 'h' && optopt != 'v')
        return fail(why, "there is no option -%c", optopt);
    return fail(why, optopt == 0 ? "there is no option %.80s" : "%.80s takes no value",
                argv[optind - 1]);
}

/* Does what was told go together? */
static bool check(const struct kh_knotholed_options *options, char *why)
{
    if (options->turn_secret != NULL && options->turn_secret_file != NULL)
        return fail(why, "--turn-secret and --turn-secret-file exclude each other");
    if (options->turn_server_secret != NULL && options->turn_server_secret_file != NULL)
        return fail(why, "--turn-server-secret and --turn-server-secret-file exclude each other");
    if ((options->turn_server == NULL) !=
        (options->turn_server_secret == NULL && options->turn_server_secret_file == NULL))
        return fail(why,
                    "--turn-server and its secret (--turn-server-secret-file) need each other");
    if ((options->tls_cert_file == NULL) != (options->tls_key_file == NULL))
        return fail(why, "%s needs %s beside it",
                    options->tls_key_file == NULL ? "--tls-cert" : "--tls-key",
                    options->tls_key_file == NULL ? "--tls-key" : "--tls-cert");
    return true;
}

bool kh_knotholed_options_parse(struct kh_knotholed_options *out, int argc, char **argv,
                                char why[static KH_KNOTHOLED_WHY_MAX])
{
    int option;

    *out = (struct kh_knotholed_options){.log_level = KH_LOG_WARN};
    optind = 0; /* glibc: start over, also when called twice */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hv", long_options, NULL)) != -1) {
        if (option == '?' || option == ':')
            return refuse(option, argv, why);
        if (option == OPTION_CONFIG ? !apply_config(out, optarg, why)
                                    : !apply(out, option, optarg, why))
            return false;
        if (out->action != KH_KNOTHOLED_SERVE)
            return true;
    }
    if (optind < argc)
        return fail(why, "\"%.80s\" is not an option", argv[optind]);
    if (!check(out, why))
        return false;
    if (out->listen_count == 0)
        listen_by_default(out);
    return true;
}
