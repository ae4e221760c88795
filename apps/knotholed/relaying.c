/* knotholed/relaying.c - what the relay is told about this machine.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relaying.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io/interfaces.h"
#include "turnserver.h"

/* One line, of which a newline at the end is not part. */
static bool read_secret(const char *path, char *out)
{
    FILE *file = fopen(path, "r");
    char *line = NULL;

    if (file == NULL) {
        (void)fprintf(stderr, "knotholed: cannot read %s: %s\n", path, strerror(errno));
        return false;
    }
    line = fgets(out, KH_RELAY_SECRET_MAX + 2, file);
    (void)fclose(file);
    out[line == NULL ? 0 : strcspn(out, "\r\n")] = '\0';
    if (out[0] != '\0' && strlen(out) <= KH_RELAY_SECRET_MAX)
        return true;
    (void)fprintf(stderr,
                  "knotholed: the first line of %s has to be a secret of 1 to %d characters\n",
                  path, KH_RELAY_SECRET_MAX);
    return false;
}

static bool is_loopback(const struct kh_addr *addr)
{
    return kh_addr_reach(addr) == KH_REACH_LOOPBACK;
}

/* Does a client arrive at this address of ours?  *by_name: because it was asked for itself. */
static bool is_served(const struct kh_io_udp_set *udp, const struct kh_addr *addr, bool *by_name)
{
    bool served = false;

    *by_name = false;
    for (size_t i = 0; i < udp->count; i++) {
        const struct kh_addr *bound = &udp->sockets[i].addr;

        if (kh_addr_ip_equal(bound, addr))
            *by_name = served = true;
        else if (bound->family == addr->family && kh_addr_reach(bound) == KH_REACH_UNSPECIFIED)
            served = true;
    }
    return served;
}

/* The relay's own ports stay closed to peers at each address of ours. */
static void add_own(struct kh_relay_config *out, const struct kh_io_udp_set *udp,
                    const struct kh_addr *addr)
{
    for (size_t i = 0; i < udp->count && out->own_count < KH_RELAY_OWN_MAX; i++) {
        if (udp->sockets[i].addr.family != addr->family)
            continue;
        out->own[out->own_count] = *addr;
        out->own[out->own_count++].port = udp->sockets[i].addr.port;
    }
}

/* Gives the external address for the n-th local one of its family: the n-th told, or the last. */
static const struct kh_addr *external_for(const struct kh_knotholed_options *options,
                                          enum kh_family family, size_t n)
{
    const struct kh_addr *found = NULL;

    for (size_t i = 0; i < options->external_count; i++) {
        if (options->external[i].family == family) {
            found = &options->external[i];
            if (n-- == 0)
                break;
        }
    }
    return found;
}

/* Is one of this machine's own addresses named as external?  Then there is no NAT, and that one is
 * meant to be relayed from. */
static bool names_local(const struct kh_knotholed_options *options, const struct kh_addr *addr)
{
    for (size_t i = 0; i < options->external_count; i++) {
        if (kh_addr_ip_equal(&options->external[i], addr))
            return true;
    }
    return false;
}

struct machine {
    struct kh_addr addrs[KH_RELAY_OWN_MAX / KH_RELAY_ADDRESSES_MAX * 4];
    size_t count;
    bool has_named[2]; /* by family: an external address is one of addrs */
};

static size_t family_index(const struct kh_addr *addr)
{
    return addr->family == KH_FAMILY_IPV4 ? 0 : 1;
}

static void list_machine(const struct kh_knotholed_options *options, struct machine *out)
{
    *out = (struct machine){0};
    out->count = kh_io_interfaces_list(out->addrs, sizeof out->addrs / sizeof *out->addrs);
    for (size_t i = 0; i < out->count; i++) {
        if (names_local(options, &out->addrs[i]))
            out->has_named[family_index(&out->addrs[i])] = true;
    }
}

static void add_address(struct kh_relay_config *out, const struct kh_knotholed_options *options,
                        const struct machine *machine, const struct kh_addr *addr, bool by_name)
{
    struct kh_relay_address *each = &out->addresses[out->address_count];
    const struct kh_addr *external;
    size_t before = 0;

    for (size_t i = 0; i < out->address_count; i++) {
        if (out->addresses[i].local.family == addr->family &&
            !is_loopback(&out->addresses[i].local))
            before++;
    }
    external = external_for(options, addr->family, before);
    each->local = each->external = *addr;
    if (machine->has_named[family_index(addr)]) {
        if (!names_local(options, addr) && !is_loopback(addr) && !by_name)
            return;
    } else if (external != NULL && (by_name || is_loopback(addr) == is_loopback(external))) {
        each->external = *external;
    }
    out->address_count++;
}

static void add_addresses(struct kh_relay_config *out, const struct kh_knotholed_options *options,
                          const struct kh_io_udp_set *udp)
{
    struct machine machine;

    list_machine(options, &machine);
    for (size_t i = 0; i < machine.count; i++) {
        const struct kh_addr *addr = &machine.addrs[i];
        bool by_name;

        add_own(out, udp, addr);
        if (kh_addr_reach(addr) != KH_REACH_LINK_LOCAL && is_served(udp, addr, &by_name) &&
            out->address_count < KH_RELAY_ADDRESSES_MAX)
            add_address(out, options, &machine, addr, by_name);
    }
    /* What is listened at need not be on an interface: all of 127/8 is ours. */
    for (size_t i = 0; i < udp->count && out->address_count < KH_RELAY_ADDRESSES_MAX; i++) {
        struct kh_addr addr = udp->sockets[i].addr;
        bool is_known = kh_addr_reach(&addr) == KH_REACH_UNSPECIFIED;

        for (size_t j = 0; j < out->address_count; j++)
            is_known |= kh_addr_ip_equal(&out->addresses[j].local, &addr);
        if (is_known)
            continue;
        addr.port = 0;
        add_own(out, udp, &addr);
        add_address(out, options, &machine, &addr, true);
    }
}

bool kh_knotholed_relaying_elsewhere(const struct kh_knotholed_options *options,
                                     char secret[static KH_RELAY_SECRET_MAX + 2],
                                     struct kh_hub_turn *out)
{
    const char *text = options->turn_server_secret;

    if (options->turn_server == NULL)
        return true;
    if (!kh_knotholed_turn_server_resolve(options->turn_server, out->servers)) {
        (void)fprintf(stderr, "knotholed: %s has no address\n", options->turn_server);
        return false;
    }
    if (options->turn_server_secret_file != NULL) {
        if (!read_secret(options->turn_server_secret_file, secret))
            return false;
        text = secret;
    }
    out->secret = (struct kh_span){text, strlen(text)};
    return true;
}

bool kh_knotholed_relaying_configure(const struct kh_knotholed_options *options,
                                     const struct kh_io_udp_set *udp,
                                     char secret[static KH_RELAY_SECRET_MAX + 2],
                                     struct kh_relay_config *out)
{
    out->realm = options->realm;
    out->port_min = options->relay_port_min;
    out->port_max = options->relay_port_max;
    out->allow_private_peers = options->allow_private_peers;
    if (options->turn_secret_file != NULL) {
        if (!read_secret(options->turn_secret_file, secret))
            return false;
        out->secret = (struct kh_span){secret, strlen(secret)};
    } else if (options->turn_secret != NULL) {
        out->secret = (struct kh_span){options->turn_secret, strlen(options->turn_secret)};
    }
    add_addresses(out, options, udp);
    if (out->address_count == 0) {
        (void)fprintf(stderr, "knotholed: no address to relay from\n");
        return false;
    }
    if (options->allow_private_peers)
        (void)fprintf(stderr, "knotholed: warning: --allow-private-peers lets relayed data into "
                              "private networks\n");
    return true;
}
