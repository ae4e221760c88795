/* relay/memory_test.c - what strangers cannot make us spend, and what happens when there is no
 * more.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/client_test.h"

static bool is_armed;
static bool has_failed;
static unsigned countdown; /* allocations until the one that fails */
static size_t asked;       /* how often memory was asked for */

void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

static bool fails(void)
{
    if (!is_armed || has_failed)
        return false;
    has_failed = countdown-- == 0;
    return has_failed;
}

void *__wrap_calloc(size_t count, size_t size)
{
    asked++;
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    asked++;
    return fails() ? NULL : __real_realloc(old, size);
}

static void a_relay_without_memory_is_not_made(void **state)
{
    struct kh_relay *none = NULL;
    unsigned failing = 0;

    (void)state;
    do {
        is_armed = true;
        has_failed = false;
        countdown = failing++;
        if (kh_relay_new(&none, &config) == KH_OK)
            kh_relay_free(none);
        else
            assert_true(has_failed);
        is_armed = false;
    } while (has_failed);
    assert_true(failing > 3);
}

/* Some clients, with a port in reserve each, peers and channels; returns how much was refused. */
static unsigned live(void)
{
    unsigned refused = 0;
    uint8_t reserve = 0x80;

    for (uint16_t client = 0; client < 4; client++) {
        struct request *request;
        struct kh_addr peer = bob;

        alice.port = (uint16_t)(5000 + client);
        request = begin_allocate();
        kh_stun_add(&request->writer, KH_STUN_EVEN_PORT, &reserve, 1);
        if (send_signed(request) != 0) {
            refused++;
            continue;
        }
        for (uint16_t i = 0; i < 12; i++) {
            peer.ip[3]++;
            peer.port++;
            refused += permit(&peer) == 508;
            refused += bind_channel((uint16_t)(0x4000 + i), &peer) == 508;
            indicate(&peer, "x");
        }
    }
    return refused;
}

static void what_memory_refuses_is_508_and_over(void **state)
{
    unsigned failing = 0;

    (void)state;
    do {
        unsigned refused;

        start_relay();
        is_armed = true;
        has_failed = false;
        countdown = failing++;
        refused = live();
        is_armed = false;
        /* A port that cannot be held in reserve is not promised, and that is all. */
        assert_true(refused <= 1 && (has_failed || refused == 0));
        (void)live(); /* whoever was refused is served now, the others get 437 */
        assert_true(kh_relay_stats(relay).allocations >= 4);
        pass_time(KH_SECONDS(600));
        assert_int_equal(kh_relay_stats(relay).allocations, 0);
        assert_int_equal(opened_count, 0);
    } while (has_failed);
    assert_true(failing > 30);
}

#define SPOOFED 100000

/* From ever other addresses: bare, with a password guessed, with a nonce that was given to another,
 * with a ticket made up.  All that is kept of them is what the rate of challenges counts, in a
 * table that was there before. */
static void spoofed_requests_cost_no_memory(void **state)
{
    static const char made_up[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    struct kh_relay_stats stats;
    size_t before;

    (void)state;
    before = asked;
    for (uint32_t i = 0; i < SPOOFED; i++) {
        struct request *request = i % 4 == 3 ? begin(KH_STUN_REFRESH) : begin_allocate();
        struct kh_addr mallory = kh_addr_ipv4(198, (uint8_t)(i >> 16), (uint8_t)(i >> 8),
                                              (uint8_t)i, (uint16_t)(1024 + i % 60000));
        unsigned code;

        if (i % 4 == 3)
            kh_stun_add(&request->writer, KH_STUN_MOBILITY_TICKET, made_up, 32);
        request->from = mallory;
        request->password = "guessed";
        if (i % 4 == 2) {
            request->from = alice; /* whose nonce it has, but it cannot be where she is */
            add_credentials(request);
            request->from = mallory;
        } else if (i % 4 == 1) {
            add_credentials(request);
        }
        code = send_bare(request);
        assert_true(code == 401 || code == 438 || code == 1);
    }
    stats = kh_relay_stats(relay);
    assert_int_equal(asked, before);
    assert_int_equal(stats.allocations, 0);
    assert_int_equal(opens_seen, 0);
    assert_int_equal(stats.challenges + stats.dropped_limited, SPOOFED);
    allocate(); /* and whoever has the password gets one as ever */
    assert_true(asked > before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_relay_without_memory_is_not_made),
        TEST(what_memory_refuses_is_508_and_over),
        TEST(spoofed_requests_cost_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
