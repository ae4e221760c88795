/* room/link.c - the link that invites to a room, and the server inside it, as text.
 *
 * SPDX-License-Identifier: MIT
 */
#include "room/room.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define PORT_HTTP 80
#define PORT_HTTPS 443
#define LABEL_MAX 63 /* RFC 1035 2.3.4 */
#define CHECK_LEN 2
#define TOKEN_LEN (KH_ROOM_SECRET_LEN + CHECK_LEN)
#define TOKEN_TEXT_LEN (TOKEN_LEN / 3 * 4) /* 18 bytes fill 24 letters, no spare bits */

struct scheme {
    const char *prefix;
    uint16_t port;
    bool tls;
};

static const struct scheme schemes[] = {
    {"http://", PORT_HTTP, false},
    {"https://", PORT_HTTPS, true},
};

static const struct scheme no_scheme = {"", KH_ROOM_PORT_DEFAULT, false};

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool begins_with(const char *text, const char *prefix)
{
    while (*prefix != '\0' && to_lower(*text) == *prefix) {
        text++;
        prefix++;
    }
    return *prefix == '\0';
}

static const struct scheme *find_scheme(const char *text)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (begins_with(text, schemes[i].prefix))
            return &schemes[i];
    }
    return &no_scheme;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c) || c == '-' || c == '_';
}

static bool is_label(const char *label, size_t len)
{
    if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_name_char(label[i]))
            return false;
    }
    return true;
}

/* Tells whether a resolver would read this as a number: then it has to be a plain IPv4 address, for
 * the old spellings ("0x7f.1", "010.0.0.1") mean different places to different resolvers. */
static bool is_number_like(const char *last_label)
{
    return is_digit(last_label[0]) && strspn(last_label, "0123456789abcdefx") == strlen(last_label);
}

/* Checks a lower-case name or IPv4 address. */
static bool is_name(const char *host)
{
    const char *label = host;
    struct kh_addr addr;
    size_t len;

    for (;;) {
        len = strcspn(label, ".");
        if (!is_label(label, len))
            return false;
        if (label[len] == '\0')
            break;
        label += len + 1;
    }
    return !is_number_like(label) || kh_addr_parse(host, 0, &addr) == KH_OK;
}

/* Takes an IPv6 address without brackets; stores its canonical spelling. */
static bool take_ipv6(const char *text, size_t len, char host[static KH_ROOM_HOST_MAX + 1])
{
    char copy[KH_ADDR_TEXT_MAX];
    char canonical[KH_ADDR_TEXT_MAX];
    struct kh_addr addr;

    if (len + 3 > sizeof copy || memchr(text, ':', len) == NULL)
        return false;
    copy[0] = '[';
    memcpy(copy + 1, text, len);
    memcpy(copy + 1 + len, "]", 2);
    if (kh_addr_parse(copy, 0, &addr) != KH_OK)
        return false;
    kh_addr_ip_text(&addr, canonical);
    memcpy(host, canonical, strlen(canonical) + 1);
    return true;
}

static bool take_name(const char *text, size_t len, char host[static KH_ROOM_HOST_MAX + 1])
{
    if (len > KH_ROOM_HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\0')
            return false;
        host[i] = to_lower(text[i]);
    }
    host[len] = '\0';
    return is_name(host);
}

/* One spelling for each port: no signs, no leading zeros, no port 0. */
static bool take_port(const char *text, size_t len, uint16_t *port)
{
    unsigned value = 0;

    if (len == 0 || len > 5 || text[0] == '0')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= UINT16_MAX;
}

/* Takes "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address. */
static bool take_authority(const char *text, size_t len, struct kh_room_server *out)
{
    const char *end = text + len;
    const char *host = text;
    const char *host_end;
    bool bracket = len > 0 && text[0] == '[';

    if (bracket) {
        host++;
        host_end = memchr(text, ']', len);
        if (host_end == NULL || !take_ipv6(host, (size_t)(host_end - host), out->host))
            return false;
        host_end++;
    } else {
        host_end = memchr(text, ':', len);
        host_end = host_end == NULL ? end : host_end;
        if (host_end != end && memchr(host_end + 1, ':', (size_t)(end - host_end - 1)) != NULL)
            return take_ipv6(text, len, out->host);
        if (!take_name(host, (size_t)(host_end - host), out->host))
            return false;
    }
    if (host_end == end)
        return true;
    return *host_end == ':' && take_port(host_end + 1, (size_t)(end - host_end - 1), &out->port);
}

/* Reads scheme and authority; returns what follows them, NULL if they do not parse. */
static const char *take_server(const char *text, struct kh_room_server *out)
{
    const struct scheme *scheme = find_scheme(text);
    const char *authority = text + strlen(scheme->prefix);
    size_t len = strcspn(authority, "/#");

    *out = (struct kh_room_server){.port = scheme->port, .tls = scheme->tls};
    return take_authority(authority, len, out) ? authority + len : NULL;
}

enum kh_status kh_room_server_parse(const char *text, struct kh_room_server *out)
{
    struct kh_room_server server;
    const char *rest = take_server(text, &server);
    bool may_end_in_slash = find_scheme(text) != &no_scheme;

    if (rest == NULL || (*rest != '\0' && !(may_end_in_slash && strcmp(rest, "/") == 0)))
        return KH_ERR_FORMAT;
    *out = server;
    return KH_OK;
}

/* Computes CRC-16/IBM-3740.  A hash would miss one slip of the finger in 65,536; a CRC of this
 * width misses none that stays within 16 bits: no wrong letter, no two neighbours swapped.  It
 * guards against accidents only; who does not know the secret gains nothing from it. */
static uint16_t check_value(const uint8_t *data, size_t len)
{
    unsigned crc = 0xffff;

    for (size_t i = 0; i < len * 8; i++) {
        unsigned bit = (unsigned)(data[i / 8] >> (7 - i % 8)) & 1u;

        crc = ((crc << 1) ^ (((crc >> 15) ^ bit) != 0 ? 0x1021u : 0u)) & 0xffffu;
    }
    return (uint16_t)crc;
}

enum kh_status kh_room_link_parse(const char *text, struct kh_room_link *out)
{
    struct kh_room_link link;
    uint8_t token[TOKEN_LEN];
    const char *rest;
    enum kh_status status = KH_ERR_AUTH;

    if (find_scheme(text) == &no_scheme)
        return KH_ERR_FORMAT;
    rest = take_server(text, &link.server);
    if (rest == NULL || strncmp(rest, "/#", 2) != 0)
        return KH_ERR_FORMAT;
    if (kh_base64url_parse(rest + 2, strlen(rest + 2), token, sizeof token) &&
        (token[KH_ROOM_SECRET_LEN] << 8 | token[KH_ROOM_SECRET_LEN + 1]) ==
            check_value(token, KH_ROOM_SECRET_LEN)) {
        memcpy(link.secret, token, sizeof link.secret);
        *out = link;
        status = KH_OK;
    }
    kh_wipe(token, sizeof token);
    kh_wipe(&link, sizeof link);
    return status;
}

char *kh_room_link_write(const struct kh_room_link *link, char text[static KH_ROOM_LINK_MAX])
{
    const struct kh_room_server *server = &link->server;
    const struct scheme *scheme = &schemes[server->tls ? 1 : 0];
    bool is_ipv6 = strchr(server->host, ':') != NULL;
    uint16_t check = check_value(link->secret, sizeof link->secret);
    uint8_t token[TOKEN_LEN];
    char token_text[TOKEN_TEXT_LEN + 1];
    char port[8] = "";
    int len;

    memcpy(token, link->secret, sizeof link->secret);
    token[KH_ROOM_SECRET_LEN] = (uint8_t)(check >> 8);
    token[KH_ROOM_SECRET_LEN + 1] = (uint8_t)check;
    kh_base64url_write(token, sizeof token, token_text);
    if (server->port != scheme->port)
        snprintf(port, sizeof port, ":%u", (unsigned)server->port);
    len = snprintf(text, KH_ROOM_LINK_MAX, "%s%s%s%s%s/#%s", scheme->prefix, is_ipv6 ? "[" : "",
                   server->host, is_ipv6 ? "]" : "", port, token_text);
    assert(len > 0 && len < KH_ROOM_LINK_MAX);
    kh_wipe(token, sizeof token);
    kh_wipe(token_text, sizeof token_text);
    return text;
}
