/* knotholed/turnserver.c - a TURN server elsewhere, as its operator names it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "turnserver.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/sockaddr.h"

#define SCHEME "turn:"
#define QUERY "?transport=udp"
#define PORT_DEFAULT "3478" /* RFC 7065 3.2 */
#define HOST_MAX 253

struct parts {
    char host[HOST_MAX + 1];
    char port[6];
};

static bool copy(char *out, size_t size, const char *text, size_t len)
{
    if (len == 0 || len >= size)
        return false;
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static bool is_port(const char *text)
{
    return strspn(text, "0123456789") == strlen(text) && atoi(text) >= 1 &&
           atoi(text) <= UINT16_MAX;
}

static bool split(const char *uri, struct parts *out)
{
    const char *text = uri + strlen(SCHEME);
    bool in_brackets = strncmp(uri, SCHEME "[", strlen(SCHEME "[")) == 0;
    size_t len, end;

    if (strncmp(uri, SCHEME, strlen(SCHEME)) != 0)
        return false;
    end = strcspn(text, "?");
    if (text[end] != '\0' && strcmp(text + end, QUERY) != 0)
        return false;
    if (in_brackets)
        len = strcspn(++text, "]");
    else
        len = strcspn(text, ":?");
    if (!copy(out->host, sizeof out->host, text, len) ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:") < len ||
        (in_brackets && text[len] != ']'))
        return false;
    text += len + (in_brackets ? 1 : 0);
    (void)copy(out->port, sizeof out->port, PORT_DEFAULT, strlen(PORT_DEFAULT));
    if (text[0] == '\0' || text[0] == '?')
        return true;
    return text[0] == ':' && copy(out->port, sizeof out->port, text + 1, strcspn(text + 1, "?")) &&
           is_port(out->port);
}

bool kh_knotholed_turn_server_check(const char *uri, char why[static KH_KNOTHOLED_WHY_MAX])
{
    struct parts parts;

    if (split(uri, &parts))
        return true;
    (void)snprintf(why, KH_KNOTHOLED_WHY_MAX,
                   "--turn-server needs turn:HOST or turn:HOST:PORT, by UDP, not \"%.80s\"", uri);
    return false;
}

bool kh_knotholed_turn_server_resolve(const char *uri, struct kh_addr out[static 2])
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    struct parts parts;
    size_t count = 0;

    out[0] = out[1] = (struct kh_addr){0};
    if (!split(uri, &parts) || getaddrinfo(parts.host, parts.port, &hints, &found) != 0)
        return false;
    for (const struct addrinfo *each = found; each != NULL && count < 2; each = each->ai_next) {
        struct kh_addr addr;

        if (kh_io_sockaddr_read(each->ai_addr, &addr) &&
            (count == 0 || out[0].family != addr.family))
            out[count++] = addr;
    }
    freeaddrinfo(found);
    return count > 0;
}
