/* io/upnp.c - a port of the router by UPnP-IGD, through miniupnpc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/upnp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>

#define SEARCH_MS 1000 /* SSDP lets a router wait that long before it answers */
#define PORT_SIZE 6
#define IP_SIZE 64
#define CONFLICT 718       /* ConflictInMappingEntry: somebody else has that port */
#define ONLY_PERMANENT 725 /* OnlyPermanentLeasesSupported */
#define TRIES_MAX 4        /* ports to try on a router that cannot choose one itself */
#define NAME "knothole"

struct kh_io_upnp {
    struct UPNPUrls urls;
    struct IGDdatas data;
    char local[IP_SIZE];
    char external_port[PORT_SIZE]; /* "": not mapped */
};

struct kh_io_upnp *kh_io_upnp_find(void)
{
    /* A router of version 2 answers to version 1 too, so one question does (UDA 1.1, 1.3.2). */
    static const char *const types[] = {"urn:schemas-upnp-org:device:InternetGatewayDevice:1",
                                        NULL};
    struct kh_io_upnp *upnp = calloc(1, sizeof *upnp);
    struct UPNPDev *devices;
    int error = 0;
    int found;

    if (upnp == NULL)
        return NULL;
    devices =
        upnpDiscoverDevices(types, SEARCH_MS, NULL, NULL, UPNP_LOCAL_PORT_ANY, 0, 2, &error, 0);
    found = devices == NULL ? 0
                            : UPNP_GetValidIGD(devices, &upnp->urls, &upnp->data, upnp->local,
                                               sizeof upnp->local);
    freeUPNPDevlist(devices);
    if (found == 1)
        return upnp;
    if (found != 0)
        FreeUPNPUrls(&upnp->urls);
    free(upnp);
    return NULL;
}

void kh_io_upnp_free(struct kh_io_upnp *upnp)
{
    if (upnp == NULL)
        return;
    FreeUPNPUrls(&upnp->urls);
    free(upnp);
}

static int add_at(struct kh_io_upnp *upnp, const char *port, const char *at, const char *lifetime)
{
    int error = UPNP_AddPortMapping(upnp->urls.controlURL, upnp->data.first.servicetype, at, port,
                                    upnp->local, NAME, "UDP", NULL, lifetime);

    if (error == ONLY_PERMANENT)
        error = UPNP_AddPortMapping(upnp->urls.controlURL, upnp->data.first.servicetype, at, port,
                                    upnp->local, NAME, "UDP", NULL, "0");
    if (error == UPNPCOMMAND_SUCCESS)
        (void)snprintf(upnp->external_port, sizeof upnp->external_port, "%s", at);
    return error;
}

/* IGD 2 chooses a free port by itself. */
static int add_any(struct kh_io_upnp *upnp, const char *port, const char *lifetime)
{
    char reserved[PORT_SIZE] = "";
    int error = UPNP_AddAnyPortMapping(upnp->urls.controlURL, upnp->data.first.servicetype, port,
                                       port, upnp->local, NAME, "UDP", NULL, lifetime, reserved);

    if (error == UPNPCOMMAND_SUCCESS && reserved[0] != '\0')
        (void)snprintf(upnp->external_port, sizeof upnp->external_port, "%s", reserved);
    return error;
}

static bool add(struct kh_io_upnp *upnp, uint16_t port, const char *lifetime)
{
    char inside[PORT_SIZE];
    char outside[PORT_SIZE];

    (void)snprintf(inside, sizeof inside, "%u", (unsigned)port);
    if (upnp->external_port[0] != '\0') {
        memcpy(outside, upnp->external_port, sizeof outside);
        return add_at(upnp, inside, outside, lifetime) == UPNPCOMMAND_SUCCESS;
    }
    if (strstr(upnp->data.first.servicetype, ":WANIPConnection:2") != NULL &&
        add_any(upnp, inside, lifetime) == UPNPCOMMAND_SUCCESS)
        return upnp->external_port[0] != '\0';
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        unsigned at = (port + i * 997u) % 64512 + 1024; /* far apart: neighbours sit close by */
        int error;

        (void)snprintf(outside, sizeof outside, "%u", i == 0 ? (unsigned)port : at);
        error = add_at(upnp, inside, outside, lifetime);
        if (error != CONFLICT)
            return error == UPNPCOMMAND_SUCCESS;
    }
    return false;
}

/* What a router claims to be its address; a private one is another NAT's inside. */
static bool is_possible(const struct kh_addr *addr)
{
    enum kh_addr_reach reach = kh_addr_reach(addr);

    return addr->family == KH_FAMILY_IPV4 &&
           (reach == KH_REACH_PRIVATE || reach == KH_REACH_GLOBAL);
}

bool kh_io_upnp_external(const struct kh_io_upnp *upnp, struct kh_addr *out)
{
    char external[IP_SIZE] = "";

    return UPNP_GetExternalIPAddress(upnp->urls.controlURL, upnp->data.first.servicetype,
                                     external) == UPNPCOMMAND_SUCCESS &&
           kh_addr_parse(external, 0, out) == KH_OK && is_possible(out);
}

bool kh_io_upnp_map(struct kh_io_upnp *upnp, uint16_t port, uint32_t lifetime_s,
                    struct kh_addr *local, struct kh_addr *mapped)
{
    char lifetime[12];

    (void)snprintf(lifetime, sizeof lifetime, "%u", (unsigned)lifetime_s);
    if (!add(upnp, port, lifetime))
        return false;
    if (kh_io_upnp_external(upnp, mapped) && kh_addr_parse(upnp->local, port, local) == KH_OK) {
        mapped->port = (uint16_t)strtoul(upnp->external_port, NULL, 10);
        if (mapped->port != 0)
            return true;
    }
    kh_io_upnp_unmap(upnp);
    return false;
}

void kh_io_upnp_unmap(struct kh_io_upnp *upnp)
{
    if (upnp->external_port[0] == '\0')
        return;
    (void)UPNP_DeletePortMapping(upnp->urls.controlURL, upnp->data.first.servicetype,
                                 upnp->external_port, "UDP", NULL);
    upnp->external_port[0] = '\0';
}
