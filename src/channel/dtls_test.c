/* channel/dtls_test.c - the DTLS machine by itself: repeats, forgeries, replays, goodbyes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "channel/dtls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/datagram.h"

#define START KH_SECONDS(50)

struct pair {
    struct kh_channel_certificate *certificate[2];
    struct kh_channel_dtls *dtls[2]; /* 0 is active */
    uint8_t datagram[KH_DATAGRAM_MAX];
    size_t len;
};

static void pair_init(struct pair *pair)
{
    *pair = (struct pair){0};
    for (int i = 0; i < 2; i++)
        assert_int_equal(kh_channel_certificate_new(&pair->certificate[i]), KH_OK);
    for (int i = 0; i < 2; i++) {
        struct kh_channel_config config = {.role = i == 0 ? KH_CHANNEL_ACTIVE : KH_CHANNEL_PASSIVE,
                                           .certificate = pair->certificate[i]};

        kh_channel_certificate_fingerprint(pair->certificate[1 - i], config.remote_fingerprint);
        assert_int_equal(kh_channel_dtls_new(&pair->dtls[i], &config), KH_OK);
    }
}

static void pair_fini(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        kh_channel_dtls_free(pair->dtls[i]);
        kh_channel_certificate_free(pair->certificate[i]);
    }
}

/* Takes the next datagram of an end into pair->datagram. */
static bool take(struct pair *pair, int from)
{
    const uint8_t *data;

    if (!kh_channel_dtls_next_transmit(pair->dtls[from], &data, &pair->len))
        return false;
    memcpy(pair->datagram, data, pair->len);
    return true;
}

static unsigned int drop_all(struct pair *pair, int from)
{
    unsigned int count = 0;

    while (take(pair, from))
        count++;
    return count;
}

/* Gives bytes to an end; the length of the first packet that comes out, 0 if none does. */
static size_t give(struct pair *pair, int to, kh_time now, const uint8_t *data, size_t len)
{
    uint8_t plain[KH_CHANNEL_DTLS_PLAIN_MAX];
    size_t first;

    kh_channel_dtls_handle_datagram(pair->dtls[to], now, data, len);
    first = kh_channel_dtls_read(pair->dtls[to], plain);
    for (size_t next = first; next > 0;)
        next = kh_channel_dtls_read(pair->dtls[to], plain);
    return first;
}

static unsigned int deliver_all(struct pair *pair, int from, kh_time now)
{
    unsigned int count = 0;

    while (take(pair, from)) {
        (void)give(pair, 1 - from, now, pair->datagram, pair->len);
        count++;
    }
    return count;
}

static void shake_hands(struct pair *pair)
{
    kh_channel_dtls_start(pair->dtls[0], START);
    kh_channel_dtls_start(pair->dtls[1], START);
    /* Four flights of one datagram each (RFC 6347 4.2.4, without the cookie exchange). */
    assert_int_equal(deliver_all(pair, 0, START), 1);
    assert_int_equal(deliver_all(pair, 1, START), 1);
    assert_int_equal(deliver_all(pair, 0, START), 1);
    assert_int_equal(kh_channel_dtls_state(pair->dtls[1]), KH_CHANNEL_DTLS_OPEN);
    assert_int_equal(deliver_all(pair, 1, START), 1);
    assert_int_equal(kh_channel_dtls_state(pair->dtls[0]), KH_CHANNEL_DTLS_OPEN);
    assert_int_equal(kh_channel_dtls_timeout(pair->dtls[0]), KH_NEVER);
    assert_int_equal(kh_channel_dtls_timeout(pair->dtls[1]), KH_NEVER);
}

static void opens_in_four_flights(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    shake_hands(&pair);
    pair_fini(&pair);
}

static void encrypts_and_decrypts(void **state)
{
    static const uint8_t packet[1000] = {1, 2, 3};
    struct pair pair;

    (void)state;
    pair_init(&pair);
    shake_hands(&pair);
    kh_channel_dtls_send(pair.dtls[0], packet, sizeof packet);
    assert_true(take(&pair, 0));
    assert_int_equal(pair.len, sizeof packet + KH_CHANNEL_DTLS_OVERHEAD);
    assert_int_equal(give(&pair, 1, START, pair.datagram, pair.len), sizeof packet);
    assert_int_equal(kh_channel_dtls_dropped_malformed(pair.dtls[1]), 0);
    pair_fini(&pair);
}

static void repeats_a_flight_at_growing_intervals(void **state)
{
    static const unsigned int waits_ms[] = {150,  225,  340,  500,  750,   1100,
                                            1700, 3400, 6800, 9000, 12000, 12000};
    kh_time due = START;
    struct pair pair;

    (void)state;
    pair_init(&pair);
    kh_channel_dtls_start(pair.dtls[0], START);
    assert_int_equal(drop_all(&pair, 0), 1);
    for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
        due += KH_MILLISECONDS(waits_ms[i]);
        assert_int_equal(kh_channel_dtls_timeout(pair.dtls[0]), due);
        kh_channel_dtls_handle_timeout(pair.dtls[0], due - 1);
        assert_int_equal(drop_all(&pair, 0), 0);
        kh_channel_dtls_handle_timeout(pair.dtls[0], due);
        assert_int_equal(drop_all(&pair, 0), 1);
    }
    assert_int_equal(kh_channel_dtls_timeout(pair.dtls[0]), START + KH_SECONDS(60));
    kh_channel_dtls_handle_timeout(pair.dtls[0], START + KH_SECONDS(60));
    assert_int_equal(kh_channel_dtls_state(pair.dtls[0]), KH_CHANNEL_DTLS_FAILED);
    assert_int_equal(kh_channel_dtls_failure(pair.dtls[0]), KH_CHANNEL_FAILURE_TIMEOUT);
    pair_fini(&pair);
}

static void repeats_at_once_on_a_new_path(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    kh_channel_dtls_start(pair.dtls[0], START);
    assert_int_equal(drop_all(&pair, 0), 1);
    kh_channel_dtls_start(pair.dtls[0], START + 5);
    assert_int_equal(drop_all(&pair, 0), 1);
    kh_channel_dtls_start(pair.dtls[0], START + 10);
    assert_int_equal(deliver_all(&pair, 0, START + 10), 1);
    assert_int_equal(drop_all(&pair, 1), 1);
    kh_channel_dtls_start(pair.dtls[1], START + 15);
    assert_int_equal(deliver_all(&pair, 1, START + 15), 1);
    assert_int_equal(deliver_all(&pair, 0, START + 15), 1);
    assert_int_equal(deliver_all(&pair, 1, START + 15), 1);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[0]), KH_CHANNEL_DTLS_OPEN);
    pair_fini(&pair);
}

/* The last flight has no timer: the server sends it again when the client repeats its own. */
static void recovers_the_lost_last_flight(void **state)
{
    struct pair pair;
    kh_time due;

    (void)state;
    pair_init(&pair);
    kh_channel_dtls_start(pair.dtls[0], START);
    (void)deliver_all(&pair, 0, START);
    (void)deliver_all(&pair, 1, START);
    (void)deliver_all(&pair, 0, START);
    assert_int_equal(drop_all(&pair, 1), 1);
    for (int i = 0; i < 5; i++) {
        due = kh_channel_dtls_timeout(pair.dtls[0]);
        assert_true(due != KH_NEVER);
        kh_channel_dtls_handle_timeout(pair.dtls[0], due);
        assert_int_equal(deliver_all(&pair, 0, due), 1);
        if (i < 4)
            assert_int_equal(drop_all(&pair, 1), 1);
    }
    assert_int_equal(deliver_all(&pair, 1, due), 1);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[0]), KH_CHANNEL_DTLS_OPEN);
    pair_fini(&pair);
}

static void ignores_alerts_in_the_clear(void **state)
{
    static const uint8_t fatal[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    struct pair pair;

    (void)state;
    pair_init(&pair);
    kh_channel_dtls_start(pair.dtls[0], START);
    (void)give(&pair, 0, START, fatal, sizeof fatal);
    (void)give(&pair, 1, START, fatal, sizeof fatal);
    assert_int_equal(kh_channel_dtls_dropped_malformed(pair.dtls[0]), 1);
    assert_int_equal(kh_channel_dtls_dropped_malformed(pair.dtls[1]), 1);
    shake_hands(&pair);
    (void)give(&pair, 0, START, fatal, sizeof fatal);
    assert_int_equal(kh_channel_dtls_dropped_malformed(pair.dtls[0]), 2);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[0]), KH_CHANNEL_DTLS_OPEN);
    pair_fini(&pair);
}

static void drops_what_is_replayed_altered_or_cut(void **state)
{
    static const uint8_t packet[100] = {7};
    uint8_t good[KH_DATAGRAM_MAX];
    struct pair pair;
    size_t len;

    (void)state;
    pair_init(&pair);
    shake_hands(&pair);
    kh_channel_dtls_send(pair.dtls[0], packet, sizeof packet);
    assert_true(take(&pair, 0));
    memcpy(good, pair.datagram, pair.len);
    len = pair.len;
    for (size_t i = 1; i < len; i++) {
        memcpy(pair.datagram, good, len);
        pair.datagram[i] ^= 0x10;
        assert_int_equal(give(&pair, 1, START, pair.datagram, len), 0);
    }
    for (size_t cut = 1; cut < len; cut++)
        assert_int_equal(give(&pair, 1, START, good, cut), 0);
    assert_int_equal(kh_channel_dtls_dropped_malformed(pair.dtls[1]), 2 * (len - 1));
    assert_int_equal(give(&pair, 1, START, good, len), sizeof packet);
    assert_int_equal(give(&pair, 1, START, good, len), 0);
    assert_int_equal(kh_channel_dtls_dropped_malformed(pair.dtls[1]), 2 * (len - 1) + 1);
    pair_fini(&pair);
}

static void says_goodbye_until_heard(void **state)
{
    static const uint8_t packet[100] = {7};
    struct pair pair;

    (void)state;
    pair_init(&pair);
    shake_hands(&pair);
    kh_channel_dtls_close(pair.dtls[0]);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[0]), KH_CHANNEL_DTLS_CLOSED);
    assert_int_equal(drop_all(&pair, 0), 1);
    kh_channel_dtls_send(pair.dtls[1], packet, sizeof packet);
    assert_int_equal(deliver_all(&pair, 1, START), 1);
    assert_int_equal(deliver_all(&pair, 0, START), 1);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[1]), KH_CHANNEL_DTLS_CLOSED);
    pair_fini(&pair);
}

static void refuses_a_stranger_in_mid_handshake(void **state)
{
    struct kh_channel_config config = {.role = KH_CHANNEL_ACTIVE, .remote_fingerprint = {1}};
    struct kh_channel_dtls *stray;
    struct pair pair;

    (void)state;
    pair_init(&pair);
    config.certificate = pair.certificate[0];
    assert_int_equal(kh_channel_dtls_new(&stray, &config), KH_OK);
    kh_channel_dtls_free(pair.dtls[0]);
    pair.dtls[0] = stray;
    kh_channel_dtls_start(pair.dtls[0], START);
    (void)deliver_all(&pair, 0, START);
    (void)deliver_all(&pair, 1, START);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[0]), KH_CHANNEL_DTLS_FAILED);
    assert_int_equal(kh_channel_dtls_failure(pair.dtls[0]), KH_CHANNEL_FAILURE_FINGERPRINT);
    (void)deliver_all(&pair, 0, START);
    assert_int_equal(kh_channel_dtls_state(pair.dtls[1]), KH_CHANNEL_DTLS_HANDSHAKING);
    pair_fini(&pair);
}

static void makes_certificates_that_differ(void **state)
{
    uint8_t fingerprint[2][KH_CHANNEL_FINGERPRINT_LEN];
    struct pair pair;

    (void)state;
    pair_init(&pair);
    for (int i = 0; i < 2; i++)
        kh_channel_certificate_fingerprint(pair.certificate[i], fingerprint[i]);
    assert_memory_not_equal(fingerprint[0], fingerprint[1], KH_CHANNEL_FINGERPRINT_LEN);
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_in_four_flights),
        cmocka_unit_test(encrypts_and_decrypts),
        cmocka_unit_test(repeats_a_flight_at_growing_intervals),
        cmocka_unit_test(repeats_at_once_on_a_new_path),
        cmocka_unit_test(recovers_the_lost_last_flight),
        cmocka_unit_test(ignores_alerts_in_the_clear),
        cmocka_unit_test(drops_what_is_replayed_altered_or_cut),
        cmocka_unit_test(says_goodbye_until_heard),
        cmocka_unit_test(refuses_a_stranger_in_mid_handshake),
        cmocka_unit_test(makes_certificates_that_differ),
    };

    return cmocka_run_group_tests_name("channel dtls", tests, NULL, NULL);
}
