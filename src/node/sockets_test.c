/* node/sockets_test.c - spare sockets are wished for, given and given back, each exactly once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "node/inside.h"

#include <stdarg.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

static struct kh_node *make(void)
{
    struct kh_node_config config = {
        .name = "alice", .servers = {kh_addr_ipv4(203, 0, 113, 1, 3478)}, .server_count = 1};
    struct kh_node *node;

    assert_int_equal(kh_node_new(&node, &config), KH_OK);
    return node;
}

static void a_wish_is_told_once_and_answered_once(void **state)
{
    static const uint16_t ports[] = {40000, 40002};
    struct kh_node *node = make();
    struct kh_node_event event;
    uint16_t taken[KH_NODE_SOCKETS_MAX];
    size_t count = 0;

    (void)state;
    assert_true(kh_node_sockets_want(node, KH_NODE_FOR_PUNCH, 3));
    assert_false(kh_node_sockets_want(node, KH_NODE_FOR_PUNCH, 3));
    assert_true(kh_node_next_event(node, &event));
    assert_int_equal(event.kind, KH_NODE_EVENT_SOCKETS);
    assert_int_equal(event.socket_count, 3);
    assert_false(kh_node_next_event(node, &event));
    assert_false(kh_node_sockets_take(node, KH_NODE_FOR_PUNCH, taken, &count));
    kh_node_add_sockets(node, 1, ports, 2);
    assert_false(kh_node_next_event(node, &event));
    assert_true(kh_node_sockets_take(node, KH_NODE_FOR_PUNCH, taken, &count));
    assert_int_equal(count, 2);
    assert_memory_equal(taken, ports, sizeof ports);
    assert_false(kh_node_sockets_take(node, KH_NODE_FOR_PUNCH, taken, &count));
    assert_true(kh_node_sockets_want(node, KH_NODE_FOR_PUNCH, 1));
    kh_node_free(node);
}

static void what_is_spent_is_told(void **state)
{
    struct kh_node *node = make();
    struct kh_node_event event;

    (void)state;
    kh_node_sockets_spend(node, 40000);
    kh_node_sockets_spend(node, 40002);
    assert_true(kh_node_next_event(node, &event));
    assert_int_equal(event.kind, KH_NODE_EVENT_SOCKETS_SPENT);
    assert_int_equal(event.socket_count, 2);
    assert_int_equal(event.ports[0], 40000);
    assert_int_equal(event.ports[1], 40002);
    assert_false(kh_node_next_event(node, &event));
    kh_node_free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wish_is_told_once_and_answered_once),
        cmocka_unit_test(what_is_spent_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
