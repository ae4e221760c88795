/* support/nat_preset.c - the boxes people have at home, at work and at their provider's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support/nat.h"

#include <string.h>

#define EI NAT_ENDPOINT_INDEPENDENT
#define AD NAT_ADDRESS_DEPENDENT
#define APD NAT_ADDRESS_AND_PORT_DEPENDENT

/* clang-format off */
static const struct nat_preset presets[] = {
    {"open", {.kind = NAT_KIND_OPEN}, "a public address and no box at all"},
    {"firewall", {.kind = NAT_KIND_FIREWALL, .filtering = APD},
     "a public address, but only answers come in"},
    {"firewall-address", {.kind = NAT_KIND_FIREWALL, .filtering = AD},
     "a public address; who was spoken to may answer from any port"},
    {"full-cone", {.mapping = EI, .filtering = EI, .hairpin = NAT_HAIRPIN_EXTERNAL},
     "one port for all, open to everyone"},
    {"full-cone-random",
     {.mapping = EI, .filtering = EI, .ports = NAT_PORTS_RANDOM, .hairpin = NAT_HAIRPIN_EXTERNAL},
     "one port for all, open to everyone, number drawn at random"},
    {"restricted-cone", {.mapping = EI, .filtering = AD},
     "one port for all; who was spoken to may answer from any port"},
    {"port-restricted", {.mapping = EI, .filtering = APD},
     "the usual home router: only answers come in"},
    {"port-restricted-random", {.mapping = EI, .filtering = APD, .ports = NAT_PORTS_RANDOM},
     "a home router that draws port numbers at random: only answers come in"},
    {"port-restricted-hairpin",
     {.mapping = EI, .filtering = APD, .hairpin = NAT_HAIRPIN_EXTERNAL},
     "the usual home router, and a good one"},
    {"hairpin-internal", {.mapping = EI, .filtering = APD, .hairpin = NAT_HAIRPIN_INTERNAL},
     "hairpins, but shows the inside address"},
    {"cgn", {.mapping = EI, .filtering = APD, .ports = NAT_PORTS_BLOCK, .block = 512,
             .hairpin = NAT_HAIRPIN_EXTERNAL},
     "a provider's NAT after RFC 6888: a block of ports per customer"},
    {"address-dependent", {.mapping = AD, .filtering = AD, .ports = NAT_PORTS_RANDOM},
     "a new port for each address spoken to"},
    {"symmetric-address-filter",
     {.mapping = APD, .filtering = AD, .ports = NAT_PORTS_RANDOM},
     "a new random port for each destination; its whole address may answer"},
    {"symmetric-open", {.mapping = APD, .filtering = EI, .ports = NAT_PORTS_RANDOM},
     "a new random port for each destination, open to everyone"},
    {"symmetric-sequential", {.mapping = APD, .filtering = APD, .ports = NAT_PORTS_SEQUENTIAL},
     "a new port for each destination, counted up by one"},
    {"symmetric-stride",
     {.mapping = APD, .filtering = APD, .ports = NAT_PORTS_SEQUENTIAL, .stride = 4},
     "a new port for each destination, counted up by four"},
    {"symmetric-preserved", {.mapping = APD, .filtering = APD},
     "its own port for the first destination, the next ones for others"},
    {"symmetric-block",
     {.mapping = APD, .filtering = APD, .ports = NAT_PORTS_BLOCK, .block = 512},
     "a new port for each destination out of a block of 512"},
    {"symmetric-random", {.mapping = APD, .filtering = APD, .ports = NAT_PORTS_RANDOM},
     "a new random port for each destination, only answers come in"},
};
/* clang-format on */

const struct nat_preset *nat_preset_at(size_t n)
{
    return n < sizeof(presets) / sizeof(presets[0]) ? &presets[n] : NULL;
}

const struct nat_preset *nat_preset_find(const char *name)
{
    const struct nat_preset *preset;

    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++)
        if (strcmp(preset->name, name) == 0)
            return preset;
    return NULL;
}

const char *nat_rule_name(enum nat_rule rule)
{
    switch (rule) {
    case NAT_ENDPOINT_INDEPENDENT:
        return "endpoint-independent";
    case NAT_ADDRESS_DEPENDENT:
        return "address-dependent";
    case NAT_ADDRESS_AND_PORT_DEPENDENT:
        return "address-and-port-dependent";
    }
    return "unknown";
}

const char *nat_ports_name(enum nat_ports ports)
{
    switch (ports) {
    case NAT_PORTS_PRESERVED:
        return "preserved";
    case NAT_PORTS_SEQUENTIAL:
        return "sequential";
    case NAT_PORTS_RANDOM:
        return "random";
    case NAT_PORTS_BLOCK:
        return "block";
    }
    return "unknown";
}
