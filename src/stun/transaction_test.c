/* stun/transaction_test.c - a request is sent again as RFC 8489 6.2.1 says, and only its answer
 * ends it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "stun/stun.h"

static const uint8_t id[KH_STUN_ID_LEN] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

struct scene {
    struct kh_stun_transaction transaction;
    struct kh_addr client;
    struct kh_addr server;
    uint8_t request[KH_STUN_HEADER_LEN];
    kh_time started;
};

static void start(struct scene *scene, kh_time now, const struct kh_stun_timing *timing)
{
    struct kh_stun_writer writer =
        kh_stun_begin(scene->request, sizeof scene->request, KH_STUN_REQUEST, KH_STUN_BINDING, id);
    struct kh_datagram request = {.data = scene->request, .len = kh_stun_finish(&writer)};

    scene->started = now;
    scene->client = request.from = kh_addr_ipv4(10, 0, 0, 2, 5000);
    scene->server = request.to = kh_addr_ipv4(192, 0, 2, 1, 3478);
    kh_stun_transaction_start(&scene->transaction, now, timing, &request);
}

/* True if just one datagram, the request, is waiting to be sent. */
static bool sends(struct scene *scene)
{
    struct kh_datagram out;

    if (!kh_stun_transaction_next_transmit(&scene->transaction, &out))
        return false;
    assert_true(kh_addr_equal(&out.from, &scene->client));
    assert_true(kh_addr_equal(&out.to, &scene->server));
    assert_int_equal(out.len, sizeof scene->request);
    assert_memory_equal(out.data, scene->request, out.len);
    assert_false(kh_stun_transaction_next_transmit(&scene->transaction, &out));
    return true;
}

/* Lets the transaction sleep as long as it wants, and checks that it wakes at this offset. */
static void wake_at(struct scene *scene, kh_duration milliseconds)
{
    kh_time at = scene->started + KH_MILLISECONDS(milliseconds);

    assert_true(kh_stun_transaction_timeout(&scene->transaction) == at);
    kh_stun_transaction_handle_timeout(&scene->transaction, at - 1);
    assert_false(sends(scene));
    kh_stun_transaction_handle_timeout(&scene->transaction, at);
}

/* The example of RFC 8489 6.2.1: RTO 500 ms, Rc 7, Rm 16. */
static void rfc8489_6_2_1_schedule(void **state)
{
    static const kh_duration offsets[] = {500, 1500, 3500, 7500, 15500, 31500};
    struct scene scene;

    (void)state;
    start(&scene, KH_SECONDS(7), NULL);
    assert_int_equal(scene.transaction.state, KH_STUN_TRANSACTION_WAITING);
    assert_true(sends(&scene));
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        wake_at(&scene, offsets[i]);
        assert_true(sends(&scene));
        assert_int_equal(scene.transaction.attempts, i + 2);
    }
    assert_true(scene.transaction.first_sent == KH_SECONDS(7));
    wake_at(&scene, 39500);
    assert_false(sends(&scene));
    assert_int_equal(scene.transaction.state, KH_STUN_TRANSACTION_EXPIRED);
    assert_true(kh_stun_transaction_timeout(&scene.transaction) == KH_NEVER);
}

static void rfc8489_6_2_1_timing_is_configurable(void **state)
{
    const struct kh_stun_timing timing = {.rto = KH_MILLISECONDS(100),
                                          .rto_max = KH_MILLISECONDS(300),
                                          .attempts_max = 5,
                                          .last_wait = 2};
    static const kh_duration offsets[] = {100, 300, 600, 900};
    struct scene scene;

    (void)state;
    start(&scene, 1, &timing);
    assert_true(sends(&scene));
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        wake_at(&scene, offsets[i]);
        assert_true(sends(&scene));
    }
    wake_at(&scene, 1100);
    assert_int_equal(scene.transaction.state, KH_STUN_TRANSACTION_EXPIRED);
}

static void one_attempt_waits_the_last_wait(void **state)
{
    const struct kh_stun_timing timing = {.attempts_max = 1, .last_wait = 3};
    struct scene scene;

    (void)state;
    start(&scene, 0, &timing);
    assert_true(sends(&scene));
    wake_at(&scene, 1500);
    assert_int_equal(scene.transaction.state, KH_STUN_TRANSACTION_EXPIRED);
}

/* A machine that slept sends once when it wakes, not once for each time it missed. */
static void waking_late_sends_once(void **state)
{
    struct scene scene;

    (void)state;
    start(&scene, 0, NULL);
    assert_true(sends(&scene));
    kh_stun_transaction_handle_timeout(&scene.transaction, KH_SECONDS(100));
    assert_true(sends(&scene));
    assert_int_equal(scene.transaction.attempts, 2);
    assert_true(kh_stun_transaction_timeout(&scene.transaction) == KH_SECONDS(101));
}

static void a_huge_rto_saturates(void **state)
{
    const struct kh_stun_timing timing = {.rto = KH_NEVER / 3};
    struct scene scene;

    (void)state;
    start(&scene, KH_NEVER / 2, &timing);
    assert_true(sends(&scene));
    kh_stun_transaction_handle_timeout(&scene.transaction, KH_NEVER - 5);
    assert_true(sends(&scene));
    assert_true(kh_stun_transaction_timeout(&scene.transaction) == KH_NEVER);
}

static bool matches(const struct scene *scene, enum kh_stun_class class, uint16_t method,
                    const uint8_t *answer_id, struct kh_addr from)
{
    uint8_t bytes[KH_STUN_HEADER_LEN];
    struct kh_stun_writer writer = kh_stun_begin(bytes, sizeof bytes, class, method, answer_id);
    struct kh_datagram datagram = {.from = from, .to = scene->client, .data = bytes};
    struct kh_stun_message message;

    datagram.len = kh_stun_finish(&writer);
    assert_int_equal(kh_stun_parse(bytes, datagram.len, &message), KH_OK);
    return kh_stun_transaction_matches(&scene->transaction, &datagram, &message);
}

/* RFC 8489 6.3: a response is known by its id, and comes from where the request went. */
static void rfc8489_6_3_only_the_answer_matches(void **state)
{
    uint8_t other_id[KH_STUN_ID_LEN];
    struct scene scene;

    (void)state;
    start(&scene, 0, NULL);
    assert_true(sends(&scene));
    assert_true(matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, id, scene.server));
    assert_true(matches(&scene, KH_STUN_ERROR, KH_STUN_BINDING, id, scene.server));
    assert_false(matches(&scene, KH_STUN_REQUEST, KH_STUN_BINDING, id, scene.server));
    assert_false(matches(&scene, KH_STUN_INDICATION, KH_STUN_BINDING, id, scene.server));
    assert_false(matches(&scene, KH_STUN_SUCCESS, KH_STUN_ALLOCATE, id, scene.server));
    for (size_t i = 0; i < sizeof other_id; i++) {
        memcpy(other_id, id, sizeof id);
        other_id[i] ^= 0x80;
        assert_false(matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, other_id, scene.server));
    }
    assert_false(
        matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, id, kh_addr_ipv4(192, 0, 2, 1, 3479)));
    assert_false(
        matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, id, kh_addr_ipv4(192, 0, 2, 2, 3478)));
}

static void an_ended_transaction_is_silent(void **state)
{
    struct scene scene;

    (void)state;
    start(&scene, 0, NULL);
    kh_stun_transaction_end(&scene.transaction); /* before its first attempt even left */
    assert_false(sends(&scene));
    assert_int_equal(scene.transaction.state, KH_STUN_TRANSACTION_IDLE);
    assert_true(kh_stun_transaction_timeout(&scene.transaction) == KH_NEVER);
    kh_stun_transaction_handle_timeout(&scene.transaction, KH_SECONDS(60));
    assert_false(sends(&scene));
    assert_false(matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, id, scene.server));
}

static void a_zeroed_transaction_is_idle(void **state)
{
    struct scene scene = {0};

    (void)state;
    assert_int_equal(scene.transaction.state, KH_STUN_TRANSACTION_IDLE);
    assert_false(sends(&scene));
    kh_stun_transaction_handle_timeout(&scene.transaction, KH_SECONDS(60));
    assert_false(matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, id, scene.server));
    kh_stun_transaction_end(&scene.transaction);
    assert_true(kh_stun_transaction_timeout(&scene.transaction) == KH_NEVER);
}

static void an_answer_after_the_end_comes_too_late(void **state)
{
    const struct kh_stun_timing timing = {.attempts_max = 1, .last_wait = 1};
    struct scene scene;

    (void)state;
    start(&scene, 0, &timing);
    assert_true(sends(&scene));
    wake_at(&scene, 500);
    assert_false(matches(&scene, KH_STUN_SUCCESS, KH_STUN_BINDING, id, scene.server));
}

static void starting_again_forgets_the_past(void **state)
{
    struct scene scene;

    (void)state;
    start(&scene, 0, NULL);
    assert_true(sends(&scene));
    wake_at(&scene, 500);
    assert_true(sends(&scene));
    start(&scene, KH_SECONDS(3), NULL);
    assert_int_equal(scene.transaction.attempts, 0);
    assert_true(scene.transaction.first_sent == KH_SECONDS(3));
    assert_true(sends(&scene));
    wake_at(&scene, 500);
    assert_true(sends(&scene));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc8489_6_2_1_schedule),
        cmocka_unit_test(rfc8489_6_2_1_timing_is_configurable),
        cmocka_unit_test(one_attempt_waits_the_last_wait),
        cmocka_unit_test(waking_late_sends_once),
        cmocka_unit_test(a_huge_rto_saturates),
        cmocka_unit_test(rfc8489_6_3_only_the_answer_matches),
        cmocka_unit_test(an_ended_transaction_is_silent),
        cmocka_unit_test(a_zeroed_transaction_is_idle),
        cmocka_unit_test(an_answer_after_the_end_comes_too_late),
        cmocka_unit_test(starting_again_forgets_the_past),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
