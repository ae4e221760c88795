/* io/gateway_linux.c - the default gateway by /proc/net/route, see proc_net(5).
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/gateway.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/sockaddr.h"

#define FLAG_UP 0x1 /* RTF_UP and RTF_GATEWAY of <linux/route.h> */
#define FLAG_GATEWAY 0x2
#define LINE_MAX_LEN 256

/* Reads one line; false if it is no default route through a gateway. */
static bool read_route(const char *line, uint32_t *gateway, unsigned *metric)
{
    uint32_t destination;
    unsigned flags;

    /* Addresses are hexadecimal words in the byte order of the machine. */
    if (sscanf(line, "%*s %8x %8x %x %*d %*u %u", &destination, gateway, &flags, metric) != 4)
        return false;
    return destination == 0 && (flags & FLAG_UP) != 0 && (flags & FLAG_GATEWAY) != 0;
}

static bool read_gateway(struct kh_addr *out)
{
    FILE *file = fopen("/proc/net/route", "re");
    unsigned lowest = UINT_MAX;
    char line[LINE_MAX_LEN];

    *out = (struct kh_addr){0};
    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        uint8_t ip[4];
        uint32_t gateway;
        unsigned metric;

        if (!read_route(line, &gateway, &metric) || (metric >= lowest && !kh_addr_is_none(out)))
            continue;
        lowest = metric;
        memcpy(ip, &gateway, sizeof ip);
        *out = kh_addr_from_ip(KH_FAMILY_IPV4, ip, 0);
    }
    (void)fclose(file);
    return !kh_addr_is_none(out);
}

/* The address that the system would send from; a connected UDP socket sends nothing. */
static bool find_local(const struct kh_addr *gateway, struct kh_addr *out)
{
    struct kh_addr to = *gateway;
    struct sockaddr_storage name;
    socklen_t len;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found = false;

    if (fd < 0)
        return false;
    to.port = 9; /* any */
    len = kh_io_sockaddr_write(&to, &name);
    if (connect(fd, (const struct sockaddr *)&name, len) == 0) {
        len = sizeof name;
        found = getsockname(fd, (struct sockaddr *)&name, &len) == 0 &&
                kh_io_sockaddr_read((const struct sockaddr *)&name, out);
    }
    close(fd);
    out->port = 0;
    return found;
}

bool kh_io_gateway_find(struct kh_io_gateway *out)
{
    return read_gateway(&out->gateway) && find_local(&out->gateway, &out->local);
}
