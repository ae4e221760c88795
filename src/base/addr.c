/* base/addr.c - comparing, classifying, reading and writing addresses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t ipv4_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct kh_addr kh_addr_ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    return (struct kh_addr){.family = KH_FAMILY_IPV4, .port = port, .ip = {a, b, c, d}};
}

struct kh_addr kh_addr_from_ip(enum kh_family family, const uint8_t *ip, uint16_t port)
{
    struct kh_addr addr = {.family = (uint8_t)family, .port = port};

    assert(family == KH_FAMILY_IPV4 || family == KH_FAMILY_IPV6);
    if (family == KH_FAMILY_IPV6 && memcmp(ip, ipv4_mapped_prefix, 12) == 0) {
        addr.family = KH_FAMILY_IPV4;
        ip += 12;
    }
    memcpy(addr.ip, ip, kh_addr_ip_len(&addr));
    return addr;
}

size_t kh_addr_ip_len(const struct kh_addr *addr)
{
    if (addr->family == KH_FAMILY_IPV4)
        return 4;
    return addr->family == KH_FAMILY_IPV6 ? 16 : 0;
}

bool kh_addr_is_none(const struct kh_addr *addr)
{
    return addr->family == KH_FAMILY_NONE;
}

bool kh_addr_ip_equal(const struct kh_addr *a, const struct kh_addr *b)
{
    return a->family == b->family && a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
}

bool kh_addr_equal(const struct kh_addr *a, const struct kh_addr *b)
{
    return a->port == b->port && a->transport == b->transport && kh_addr_ip_equal(a, b);
}

int kh_addr_compare(const struct kh_addr *a, const struct kh_addr *b)
{
    int order = memcmp(a->ip, b->ip, 16);

    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    if (order != 0)
        return order;
    if (a->port != b->port)
        return a->port < b->port ? -1 : 1;
    if (a->scope != b->scope)
        return a->scope < b->scope ? -1 : 1;
    return (int)a->transport - (int)b->transport;
}

static enum kh_addr_reach reach_of_ipv4(const uint8_t ip[static 4])
{
    if (ip[0] == 0)
        return KH_REACH_UNSPECIFIED; /* RFC 1122 3.2.1.3: all of 0.0.0.0/8 */
    if (ip[0] == 127)
        return KH_REACH_LOOPBACK;
    if (ip[0] == 169 && ip[1] == 254)
        return KH_REACH_LINK_LOCAL;
    if (ip[0] >= 224)
        return KH_REACH_MULTICAST; /* with 240/4 and broadcast: nobody to talk to either */
    if (ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) ||
        (ip[0] == 100 && (ip[1] & 0xc0) == 64))
        return KH_REACH_PRIVATE;
    return KH_REACH_GLOBAL;
}

static enum kh_addr_reach reach_of_ipv6(const uint8_t ip[static 16])
{
    static const uint8_t zero[16];

    if (memcmp(ip, zero, 15) == 0 && ip[15] <= 1)
        return ip[15] == 0 ? KH_REACH_UNSPECIFIED : KH_REACH_LOOPBACK;
    if (ip[0] == 0xff)
        return KH_REACH_MULTICAST;
    if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
        return KH_REACH_LINK_LOCAL;
    if ((ip[0] & 0xfe) == 0xfc)
        return KH_REACH_PRIVATE;
    return KH_REACH_GLOBAL;
}

enum kh_addr_reach kh_addr_reach(const struct kh_addr *addr)
{
    if (addr->family == KH_FAMILY_IPV4)
        return reach_of_ipv4(addr->ip);
    return addr->family == KH_FAMILY_IPV6 ? reach_of_ipv6(addr->ip) : KH_REACH_UNSPECIFIED;
}

/* Reads decimal digits and nothing else; -1 unless the value is within 0..65535. */
static int parse_port(const char *text)
{
    int port = 0;

    if (*text == '\0')
        return -1;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        port = port * 10 + (*text - '0');
        if (port > 65535)
            return -1;
    }
    return port;
}

static enum kh_status parse_ip(enum kh_family family, const char *text, size_t len, int port,
                               struct kh_addr *out)
{
    char ip_text[INET6_ADDRSTRLEN];
    uint8_t ip[16];

    if (len >= sizeof ip_text || port < 0)
        return KH_ERR_FORMAT;
    memcpy(ip_text, text, len);
    ip_text[len] = '\0';
    if (inet_pton(family == KH_FAMILY_IPV4 ? AF_INET : AF_INET6, ip_text, ip) != 1)
        return KH_ERR_FORMAT;
    *out = kh_addr_from_ip(family, ip, (uint16_t)port);
    return KH_OK;
}

enum kh_status kh_addr_parse(const char *text, uint16_t port_default, struct kh_addr *out)
{
    const char *colon = strchr(text, ':');
    const char *close;

    if (text[0] == '[') {
        close = strchr(text, ']');
        if (close == NULL || (close[1] != '\0' && close[1] != ':'))
            return KH_ERR_FORMAT;
        return parse_ip(KH_FAMILY_IPV6, text + 1, (size_t)(close - text - 1),
                        close[1] == ':' ? parse_port(close + 2) : port_default, out);
    }
    if (colon == NULL)
        return parse_ip(KH_FAMILY_IPV4, text, strlen(text), port_default, out);
    if (strchr(colon + 1, ':') == NULL)
        return parse_ip(KH_FAMILY_IPV4, text, (size_t)(colon - text), parse_port(colon + 1), out);
    return parse_ip(KH_FAMILY_IPV6, text, strlen(text), port_default, out);
}

char *kh_addr_ip_text(const struct kh_addr *addr, char text[static KH_ADDR_TEXT_MAX])
{
    int family = addr->family == KH_FAMILY_IPV4 ? AF_INET : AF_INET6;

    text[0] = '\0';
    if (kh_addr_is_none(addr))
        memcpy(text, "none", 5);
    else if (inet_ntop(family, addr->ip, text, KH_ADDR_TEXT_MAX) == NULL)
        text[0] = '\0';
    if (addr->scope != 0)
        (void)snprintf(text + strlen(text), KH_ADDR_TEXT_MAX - strlen(text), "%%%u", addr->scope);
    return text;
}

char *kh_addr_text(const struct kh_addr *addr, char text[static KH_ADDR_TEXT_MAX])
{
    char ip[KH_ADDR_TEXT_MAX];

    kh_addr_ip_text(addr, ip);
    (void)snprintf(text, KH_ADDR_TEXT_MAX,
                   addr->family == KH_FAMILY_IPV6 ? "[%.54s]:%u" : "%.56s:%u", ip, addr->port);
    return text;
}
