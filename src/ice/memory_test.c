/* ice/memory_test.c - an agent is made whole or not at all, and never allocates afterwards.
 *
 * SPDX-License-Identifier: MIT
 *
 * The linker puts this calloc before the library's (-Wl,--wrap=calloc).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ice/ice.h"

static unsigned calls, failing_call;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return ++calls == failing_call ? NULL : __real_calloc(count, size);
}

static void each_failing_allocation_is_reported(void **state)
{
    const struct kh_ice_config config = {.local = {"alice", "alicealicealicealicealice"}};
    struct kh_ice_agent *agent;
    enum kh_status status = KH_ERR_MEMORY;

    (void)state;
    for (failing_call = 1; failing_call <= 3; failing_call++) {
        calls = 0;
        assert_int_equal(kh_ice_agent_new(&agent, &config), KH_ERR_MEMORY);
    }
    calls = 0;
    status = kh_ice_agent_new(&agent, &config);
    assert_int_equal(status, KH_OK);
    assert_int_equal(calls, 3);
    kh_ice_agent_free(agent);
    kh_ice_agent_free(NULL);
}

static void nothing_is_allocated_after_new(void **state)
{
    const struct kh_ice_config config = {.local = {"alice", "alicealicealicealicealice"}};
    const struct kh_ice_credentials remote = {"bobbob", "bobbobbobbobbobbobbobbob"};
    struct kh_ice_candidate candidate = {.kind = KH_ICE_HOST};
    struct kh_ice_agent *agent;
    struct kh_datagram datagram;
    struct kh_ice_event event;

    (void)state;
    failing_call = 0;
    assert_int_equal(kh_ice_agent_new(&agent, &config), KH_OK);
    calls = 0;
    candidate.addr = candidate.base = kh_addr_ipv4(198, 51, 100, 10, 4000);
    assert_int_equal(kh_ice_agent_add_local(agent, 0, &candidate), KH_OK);
    candidate.addr = kh_addr_ipv4(198, 51, 100, 20, 4000);
    assert_int_equal(kh_ice_agent_add_remote(agent, 0, &candidate), KH_OK);
    kh_ice_agent_set_remote(agent, 0, &remote);
    assert_true(kh_ice_agent_next_transmit(agent, &datagram));
    assert_false(kh_ice_agent_next_transmit(agent, &datagram));
    while (kh_ice_agent_next_event(agent, &event))
        continue;
    kh_ice_agent_handle_timeout(agent, kh_ice_agent_timeout(agent));
    assert_true(kh_ice_agent_next_transmit(agent, &datagram));
    assert_int_equal(calls, 0);
    kh_ice_agent_free(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_failing_allocation_is_reported),
        cmocka_unit_test(nothing_is_allocated_after_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
