/* support/out_of_memory_test.c - every _new, with its n-th allocation failing, for all n.
 *
 * SPDX-License-Identifier: MIT
 *
 * Linked with --wrap, so that our own allocations come through here and those of the libraries do
 * not.  A failed _new must say KH_ERR_MEMORY and leave nothing behind; the latter is for
 * AddressSanitizer to see.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/outbox.h"
#include "channel/channel.h"
#include "hub/hub.h"
#include "ice/ice.h"
#include "nat/nat.h"
#include "node/node.h"
#include "peer/peer.h"
#include "rendezvous/rendezvous.h"
#include "room/room.h"

#define ALLOCATIONS_MAX 100 /* more than any machine makes when it is born */

static long until_failure = -1; /* allocations that still succeed; negative: all of them */

void *__real_malloc(size_t len);
void *__real_calloc(size_t count, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t count, size_t len);

static bool is_refused(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}

void *__wrap_malloc(size_t len)
{
    return is_refused() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t count, size_t len)
{
    return is_refused() ? NULL : __real_calloc(count, len);
}

static struct kh_channel_certificate *certificate;

static const struct kh_ice_credentials credentials = {.ufrag = "alice",
                                                      .password = "correcthorsebatterystaple"};

static enum kh_status make_outbox(void)
{
    struct kh_outbox box;
    enum kh_status status = kh_outbox_init(&box, 4, 100);

    if (status == KH_OK)
        kh_outbox_fini(&box);
    return status;
}

static enum kh_status make_ice(void)
{
    struct kh_ice_config config = {.local = credentials};
    struct kh_ice_agent *agent = NULL;
    enum kh_status status = kh_ice_agent_new(&agent, &config);

    kh_ice_agent_free(agent);
    return status;
}

static enum kh_status make_certificate(void)
{
    struct kh_channel_certificate *one = NULL;
    enum kh_status status = kh_channel_certificate_new(&one);

    kh_channel_certificate_free(one);
    return status;
}

static enum kh_status make_channel(void)
{
    struct kh_channel_config config = {.certificate = certificate};
    struct kh_channel *channel = NULL;
    enum kh_status status = kh_channel_new(&channel, &config);

    kh_channel_free(channel);
    return status;
}

static enum kh_status make_peer(void)
{
    struct kh_peer_config config = {.local = credentials, .certificate = certificate};
    struct kh_peer *peer = NULL;
    enum kh_status status = kh_peer_new(&peer, &config);

    kh_peer_free(peer);
    return status;
}

static enum kh_status make_client(void)
{
    struct kh_rendezvous_client_config config = {
        .servers = {{.family = KH_FAMILY_IPV4, .port = 3478, .ip = {192, 0, 2, 1}}},
        .server_count = 1,
    };
    struct kh_rendezvous_client *client = NULL;
    enum kh_status status = kh_rendezvous_client_new(&client, &config);

    kh_rendezvous_client_free(client);
    return status;
}

static enum kh_status make_registry(void)
{
    struct kh_rendezvous_registry_config config = {.members_max = 100};
    struct kh_rendezvous_registry *registry = NULL;
    enum kh_status status = kh_rendezvous_registry_new(&registry, &config);

    kh_rendezvous_registry_free(registry);
    return status;
}

static enum kh_status make_hub(void)
{
    struct kh_hub_config config = {.registry = {.members_max = 100}};
    struct kh_hub *hub = NULL;
    enum kh_status status = kh_hub_new(&hub, &config);

    kh_hub_free(hub);
    return status;
}

static enum kh_status make_room(void)
{
    struct kh_room_config config = {.name = "Alice"};
    struct kh_room *room = NULL;
    enum kh_status status = kh_room_new(&room, &config);

    kh_room_free(room);
    return status;
}

static enum kh_status make_discovery(void)
{
    struct kh_nat_discovery_config config = {
        .server = {.family = KH_FAMILY_IPV4, .port = 3478, .ip = {192, 0, 2, 1}},
        .socket_count = KH_NAT_SOCKETS_MIN,
    };
    struct kh_nat_discovery *discovery = NULL;
    enum kh_status status = kh_nat_discovery_new(&discovery, &config);

    kh_nat_discovery_free(discovery);
    return status;
}

static enum kh_status make_lifetime(void)
{
    struct kh_nat_lifetime_config config = {
        .server = {.family = KH_FAMILY_IPV4, .port = 3478, .ip = {192, 0, 2, 1}}};
    struct kh_nat_lifetime *lifetime = NULL;
    enum kh_status status = kh_nat_lifetime_new(&lifetime, &config);

    kh_nat_lifetime_free(lifetime);
    return status;
}

static enum kh_status make_node(void)
{
    struct kh_node_config config = {
        .servers = {{.family = KH_FAMILY_IPV4, .port = 3478, .ip = {192, 0, 2, 1}}},
        .server_count = 1,
        .name = "Alice",
    };
    struct kh_node *node = NULL;
    enum kh_status status = kh_node_new(&node, &config);

    kh_node_free(node);
    return status;
}

static void each_allocation_may_fail(void **state)
{
    static const struct {
        const char *name;
        enum kh_status (*make)(void);
    } machines[] = {
        {"outbox", make_outbox},
        {"ice", make_ice},
        {"certificate", make_certificate},
        {"channel", make_channel},
        {"peer", make_peer},
        {"client", make_client},
        {"registry", make_registry},
        {"hub", make_hub},
        {"room", make_room},
        {"node", make_node},
        {"discovery", make_discovery},
        {"lifetime", make_lifetime},
    };

    (void)state;
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        enum kh_status status = KH_ERR_MEMORY;
        long n;

        for (n = 0; n < ALLOCATIONS_MAX && status == KH_ERR_MEMORY; n++) {
            until_failure = n;
            status = machines[i].make();
            until_failure = -1;
        }
        print_message("%s: %ld allocations\n", machines[i].name, n - 1);
        assert_int_equal(status, KH_OK);
        assert_true(n >= 2); /* the first failure was seen */
    }
}

static int set_up(void **state)
{
    (void)state;
    return kh_channel_certificate_new(&certificate) == KH_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kh_channel_certificate_free(certificate);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
