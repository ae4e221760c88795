/* nat/conclude.c - what the answers to a discovery's questions, and the silences, say of the NAT.
 *
 * SPDX-License-Identifier: MIT
 */
#include "nat/questions.h"

#include "nat/ports.h"

const struct probe *kh_nat_probe_find(const struct kh_nat_discovery *discovery, enum aim aim,
                                      size_t socket)
{
    for (size_t i = 0; i < discovery->probe_count; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (probe->aim == aim && probe->socket == socket)
            return probe;
    }
    return NULL;
}

const struct kh_addr *kh_nat_probe_mapped(const struct kh_nat_discovery *discovery, enum aim aim,
                                          size_t socket)
{
    const struct probe *probe = kh_nat_probe_find(discovery, aim, socket);

    return probe != NULL && probe->answered ? &probe->mapped : NULL;
}

/* A NAT changes the address or the port; a firewall neither. */
bool kh_nat_probe_is_translated(const struct kh_nat_discovery *discovery, const struct probe *probe)
{
    return !kh_addr_ip_equal(&probe->mapped, &discovery->local) ||
           probe->mapped.port != discovery->config.sockets[probe->socket].port;
}

static bool is_silent(const struct probe *probe)
{
    return probe->over && !probe->answered && !probe->refused &&
           probe->attempts == probe->attempts_max;
}

static void conclude_mapping(const struct kh_nat_discovery *discovery, struct kh_nat_behaviour *out)
{
    const struct kh_addr *first = kh_nat_probe_mapped(discovery, AIM_SAMPLE, SOCKET_MAPPING);
    const struct kh_addr *port = kh_nat_probe_mapped(discovery, AIM_OTHER_PORT, SOCKET_MAPPING);
    const struct kh_addr *ip = kh_nat_probe_mapped(discovery, AIM_OTHER_IP, SOCKET_MAPPING);

    if (first == NULL)
        return;
    out->mapping_not_by_port = port != NULL && kh_addr_equal(first, port);
    if (port != NULL && !kh_addr_equal(first, port))
        out->mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
    else if (ip != NULL && kh_addr_equal(first, ip))
        out->mapping = KH_NAT_ENDPOINT_INDEPENDENT;
    else if (ip != NULL && port != NULL)
        out->mapping = KH_NAT_ADDRESS_DEPENDENT;
}

/* Silence means a filter only where the place is known to answer when it is asked itself. */
static void conclude_filtering(const struct kh_nat_discovery *discovery,
                               struct kh_nat_behaviour *out)
{
    const struct probe *port = kh_nat_probe_find(discovery, AIM_CHANGE_PORT, SOCKET_FILTER);
    const struct probe *both = kh_nat_probe_find(discovery, AIM_CHANGE_BOTH, SOCKET_FILTER);

    if (port == NULL || kh_nat_probe_mapped(discovery, AIM_SAMPLE, SOCKET_FILTER) == NULL)
        return;
    out->filter_not_by_port = port->answered || (both != NULL && both->answered);
    if (both != NULL && both->answered)
        out->filtering = KH_NAT_ENDPOINT_INDEPENDENT;
    else if (is_silent(port) &&
             kh_nat_probe_mapped(discovery, AIM_OTHER_PORT, SOCKET_MAPPING) != NULL &&
             (both == NULL || both->over))
        out->filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT;
    else if (port->answered && both != NULL && is_silent(both) &&
             kh_nat_probe_mapped(discovery, AIM_OTHER_IP, SOCKET_MAPPING) != NULL)
        out->filtering = KH_NAT_ADDRESS_DEPENDENT;
}

static enum kh_nat_hairpin hairpin_of(const struct kh_nat_discovery *discovery)
{
    const struct probe *one = kh_nat_probe_find(discovery, AIM_HAIRPIN, SOCKET_HAIRPIN);
    const struct probe *two = kh_nat_probe_find(discovery, AIM_HAIRPIN, SOCKET_HAIRPIN_BACK);
    const struct probe *came;

    if (one == NULL || two == NULL)
        return KH_NAT_HAIRPIN_UNKNOWN;
    if (!one->answered && !two->answered)
        return is_silent(one) && is_silent(two) ? KH_NAT_HAIRPIN_NONE : KH_NAT_HAIRPIN_UNKNOWN;
    came = one->answered ? one : two;
    return kh_addr_ip_equal(&came->mapped, &discovery->local) ? KH_NAT_HAIRPIN_INTERNAL
                                                              : KH_NAT_HAIRPIN_EXTERNAL;
}

static bool gives_sample(const struct probe *probe)
{
    return probe->answered && probe->aim != AIM_HAIRPIN && probe->aim != AIM_CHANGE_PORT &&
           probe->aim != AIM_CHANGE_BOTH;
}

static void collect(const struct kh_nat_discovery *discovery, struct kh_nat_samples *samples)
{
    for (size_t i = 0; i < discovery->probe_count; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (!gives_sample(probe))
            continue;
        kh_nat_samples_add(samples, probe->mapped.port);
        if (probe->aim != AIM_SAMPLE)
            continue;
        samples->asked++;
        samples->preserved += probe->mapped.port == discovery->config.sockets[probe->socket].port;
    }
}

/* The other places see the main socket too, so they can say the same where their samples are the
 * only ones that came. */
static void conclude_address(const struct kh_nat_discovery *discovery, struct kh_nat_behaviour *out)
{
    for (size_t i = 0; i < discovery->probe_count && !out->reached; i++) {
        const struct probe *probe = &discovery->probes[i];

        if (!gives_sample(probe))
            continue;
        out->reached = true;
        out->public_addr = probe->mapped;
        out->translated = kh_nat_probe_is_translated(discovery, probe);
    }
}

void kh_nat_discovery_result(const struct kh_nat_discovery *discovery, struct kh_nat_behaviour *out)
{
    struct kh_nat_samples samples = {0};

    *out = (struct kh_nat_behaviour){0};
    conclude_address(discovery, out);
    conclude_mapping(discovery, out);
    conclude_filtering(discovery, out);
    out->hairpin = hairpin_of(discovery);
    collect(discovery, &samples);
    kh_nat_samples_classify(&samples, out);
}

/* Of ports counted up or down the farthest is the newest, whatever order the answers came in. */
static uint16_t last_port_of(const struct kh_nat_discovery *discovery,
                             const struct kh_nat_behaviour *behaviour, bool counts_down)
{
    if (behaviour->ports != KH_NAT_PORTS_SEQUENTIAL)
        return discovery->last_port;
    return counts_down ? behaviour->port_min : behaviour->port_max;
}

void kh_nat_discovery_class(const struct kh_nat_discovery *discovery, struct kh_nat_class *out)
{
    const struct kh_addr *first = kh_nat_probe_mapped(discovery, AIM_SAMPLE, SOCKET_MAPPING);
    struct kh_nat_behaviour behaviour;
    bool counts_down;

    kh_nat_discovery_result(discovery, &behaviour);
    *out = (struct kh_nat_class){.mapping = behaviour.mapping,
                                 .filtering = behaviour.filtering,
                                 .ports = behaviour.ports,
                                 .hairpin = behaviour.hairpin,
                                 .port_min = behaviour.port_min,
                                 .port_max = behaviour.port_max,
                                 .translated = behaviour.translated};
    /* The main socket's mapping is the oldest one. */
    counts_down = behaviour.port_min < behaviour.port_max && first != NULL &&
                  first->port == behaviour.port_max;
    out->stride = (int16_t)(counts_down ? -behaviour.stride : behaviour.stride);
    out->last_port = last_port_of(discovery, &behaviour, counts_down);
    if (behaviour.ports == KH_NAT_PORTS_BLOCK)
        kh_nat_block_guess(&behaviour, &out->port_min, &out->port_max);
    out->not_by_port =
        behaviour.mapping != KH_NAT_ADDRESS_AND_PORT_DEPENDENT && behaviour.mapping_not_by_port;
    /* One that does not look at ports is at worst one that looks at addresses. */
    if (out->filtering == KH_NAT_RULE_UNKNOWN && behaviour.filter_not_by_port)
        out->filtering = KH_NAT_ADDRESS_DEPENDENT;
    /* Nothing to depend on anything. */
    if (behaviour.reached && !behaviour.translated)
        out->mapping = KH_NAT_ENDPOINT_INDEPENDENT;
}
