/* rendezvous/table_test.c - the registry's memory: look-ups, deadlines, departures, and its size.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <string.h>

#include "rendezvous/departed.h"
#include "rendezvous/nonce.h"
#include "rendezvous/table.h"

#define MANY 100000
#define PER_ROOM 50

static const uint8_t hash_key[16] = {1, 2, 3};
static struct kh_rendezvous_table table;

static void init(size_t members_max)
{
    assert_int_equal(kh_rendezvous_table_init(&table, members_max, hash_key), KH_OK);
}

static struct kh_rendezvous_member_id id_of(uint32_t n)
{
    struct kh_rendezvous_member_id id = {{0}};

    memcpy(id.bytes, &n, sizeof n);
    return id;
}

static struct kh_rendezvous_member *add(uint32_t room, uint32_t n, const char *card)
{
    uint8_t name[KH_RENDEZVOUS_ROOM_LEN] = {0};
    struct kh_rendezvous_member_id id = id_of(n);
    struct kh_rendezvous_member *member = NULL;

    memcpy(name, &room, sizeof room);
    assert_int_equal(
        kh_rendezvous_table_add(&table, name, &id, (struct kh_span){card, strlen(card)}, &member),
        KH_OK);
    return member;
}

static void expire_at(struct kh_rendezvous_member *member, kh_time at)
{
    member->expires_at = at;
    kh_rendezvous_table_reschedule(&table, member);
}

static void hundred_thousand_members_fit_and_leave_in_time(void **state)
{
    static char card[301];
    size_t before = mallinfo2().uordblks;
    size_t used;
    kh_time last = 0;

    (void)state;
    memset(card, 'c', sizeof card - 1);
    init(200000);
    for (uint32_t n = 0; n < MANY; n++)
        expire_at(add(n / PER_ROOM, n, card), 1 + (n * 7919u) % MANY);
    assert_int_equal(table.member_count, MANY);
    assert_int_equal(table.room_count, MANY / PER_ROOM);
    used = mallinfo2().uordblks - before;
    print_message("%zu bytes for each member, card of 300 included\n", used / MANY);
    /* An allocator that is a sanitizer's counts nothing, or more. */
    if (used > 0)
        assert_in_range(used / MANY, 1, 1536 + 300);
    for (uint32_t n = 0; n < MANY; n++) {
        struct kh_rendezvous_member_id id = id_of(n);

        assert_non_null(kh_rendezvous_table_find(&table, &id));
    }
    for (uint32_t n = 0; n < MANY; n++) {
        struct kh_rendezvous_member *first = kh_rendezvous_table_first(&table);

        assert_true(first->expires_at >= last);
        last = first->expires_at;
        kh_rendezvous_table_remove(&table, first);
    }
    assert_null(kh_rendezvous_table_first(&table));
    assert_int_equal(table.room_count, 0);
    kh_rendezvous_table_fini(&table);
}

static void limit_is_kept(void **state)
{
    static const uint8_t room[KH_RENDEZVOUS_ROOM_LEN];
    struct kh_rendezvous_member_id id = id_of(3);
    struct kh_rendezvous_member *member;

    (void)state;
    init(2);
    add(0, 1, "c");
    add(0, 2, "c");
    assert_int_equal(kh_rendezvous_table_add(&table, room, &id, (struct kh_span){"c", 1}, &member),
                     KH_ERR_FULL);
    assert_int_equal(table.member_count, 2);
    kh_rendezvous_table_fini(&table);
}

static void entries_stay_in_the_order_of_their_last_change(void **state)
{
    struct kh_rendezvous_member *a, *b, *c;

    (void)state;
    init(10);
    a = add(0, 1, "a");
    b = add(0, 2, "b");
    c = add(0, 3, "c");
    assert_int_equal(a->room->version, 3);
    kh_rendezvous_table_touch(a);
    assert_ptr_equal(a->room->first, b->entry);
    assert_ptr_equal(a->room->last, a->entry);
    assert_int_equal(a->entry->version, 4);
    assert_false(kh_rendezvous_table_set_card(c, (struct kh_span){"c", 1}));
    assert_true(kh_rendezvous_table_set_card(c, (struct kh_span){"cc", 2}));
    kh_rendezvous_table_fini(&table);
}

static void departures_are_forgotten_once_all_have_heard(void **state)
{
    struct kh_rendezvous_member *a, *b, *c;

    (void)state;
    init(10);
    a = add(0, 1, "a");
    b = add(0, 2, "b");
    c = add(0, 3, "c");
    kh_rendezvous_table_remove(&table, c); /* version 4 */
    assert_int_equal(a->room->gone, 1);
    a->push.acked = 4;
    kh_rendezvous_table_remove(&table, add(0, 4, "d")); /* versions 5 and 6; b knows nothing yet */
    assert_int_equal(a->room->gone, 2);
    a->push.acked = 6;
    b->push.acked = 6;
    kh_rendezvous_table_remove(&table, add(0, 5, "e"));
    assert_int_equal(a->room->gone, 1); /* the last one only */
    kh_rendezvous_table_fini(&table);
}

static void laggard_expires_when_a_departure_it_missed_is_forgotten(void **state)
{
    struct kh_rendezvous_member *a, *b;

    (void)state;
    init(10);
    a = add(0, 1, "a");
    b = add(0, 2, "b");
    for (uint32_t n = 0; n <= KH_RENDEZVOUS_GONE_MAX; n++) {
        assert_false(b->laggard);
        kh_rendezvous_table_remove(&table, add(0, 100 + n, "x"));
        a->push.acked = a->room->version;
    }
    assert_int_equal(a->room->gone, KH_RENDEZVOUS_GONE_MAX);
    assert_true(b->laggard);
    assert_false(a->laggard);
    assert_int_equal(kh_rendezvous_member_deadline(b), 0);
    assert_ptr_equal(kh_rendezvous_table_first(&table), b);
    kh_rendezvous_table_fini(&table);
}

static void queue_of_the_dirty_loses_nobody(void **state)
{
    struct kh_rendezvous_member *a, *b, *c;

    (void)state;
    init(10);
    a = add(0, 1, "a");
    b = add(0, 2, "b");
    c = add(0, 3, "c");
    kh_rendezvous_table_mark(&table, a);
    kh_rendezvous_table_mark(&table, b);
    kh_rendezvous_table_mark(&table, c);
    kh_rendezvous_table_mark(&table, a);
    kh_rendezvous_table_remove(&table, b);
    assert_ptr_equal(table.dirty_first, a);
    kh_rendezvous_table_unmark(&table, a);
    assert_ptr_equal(table.dirty_first, c);
    kh_rendezvous_table_unmark(&table, c);
    assert_null(table.dirty_first);
    assert_null(table.dirty_last);
    kh_rendezvous_table_fini(&table);
}

static void ended_stays_are_kept_for_a_nonces_life(void **state)
{
    struct kh_rendezvous_departed book;
    kh_time now = KH_SECONDS(100);

    (void)state;
    assert_int_equal(kh_rendezvous_departed_init(&book, 8, KH_SECONDS(3600)), KH_OK);
    assert_true(kh_rendezvous_departed_add(&book, now, 77));
    assert_true(kh_rendezvous_departed_add(&book, now, 0));
    assert_true(kh_rendezvous_departed_add(&book, now + KH_SECONDS(3600), 78));
    assert_true(kh_rendezvous_departed_has(&book, 77));
    assert_true(kh_rendezvous_departed_has(&book, 0));
    assert_true(kh_rendezvous_departed_add(&book, now + KH_SECONDS(7200), 79));
    assert_false(kh_rendezvous_departed_has(&book, 77));
    assert_true(kh_rendezvous_departed_has(&book, 78));
    for (uint64_t hash = 80; hash < 87; hash++)
        assert_true(kh_rendezvous_departed_add(&book, now + KH_SECONDS(7200), hash));
    assert_false(kh_rendezvous_departed_add(&book, now + KH_SECONDS(7200), 87));
    kh_rendezvous_departed_clear(&book, now + KH_SECONDS(7200));
    assert_false(kh_rendezvous_departed_has(&book, 78));
    assert_true(kh_rendezvous_departed_add(&book, now + KH_SECONDS(7200), 87));
    kh_rendezvous_departed_fini(&book);
}

static void nonce_is_bound_to_ip_and_time(void **state)
{
    struct kh_rendezvous_nonces nonces = {.secret = {{5}}, .lifetime = KH_SECONDS(3600)};
    struct kh_addr addr = kh_addr_ipv4(192, 0, 2, 1, 1000);
    struct kh_addr other_port = kh_addr_ipv4(192, 0, 2, 1, 2000);
    struct kh_addr other_ip = kh_addr_ipv4(192, 0, 2, 2, 1000);
    kh_time now = KH_SECONDS(5000);
    uint8_t nonce[KH_RENDEZVOUS_NONCE_LEN];
    struct kh_span span = {nonce, sizeof nonce};

    (void)state;
    kh_rendezvous_nonce_make(&nonces, now, &addr, nonce);
    assert_true(kh_rendezvous_nonce_check(&nonces, now, &addr, span));
    assert_true(kh_rendezvous_nonce_check(&nonces, now, &other_port, span));
    assert_false(kh_rendezvous_nonce_check(&nonces, now, &other_ip, span));
    assert_true(kh_rendezvous_nonce_check(&nonces, now + KH_SECONDS(3599), &addr, span));
    assert_false(kh_rendezvous_nonce_check(&nonces, now + KH_SECONDS(3600), &addr, span));
    assert_false(kh_rendezvous_nonce_check(&nonces, now - KH_SECONDS(1), &addr, span));
    span.len--;
    assert_false(kh_rendezvous_nonce_check(&nonces, now, &addr, span));
    span.len++;
    for (size_t i = 0; i < sizeof nonce; i++) {
        nonce[i] ^= 1;
        assert_false(kh_rendezvous_nonce_check(&nonces, now + KH_SECONDS(60), &addr, span));
        nonce[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundred_thousand_members_fit_and_leave_in_time),
        cmocka_unit_test(limit_is_kept),
        cmocka_unit_test(entries_stay_in_the_order_of_their_last_change),
        cmocka_unit_test(departures_are_forgotten_once_all_have_heard),
        cmocka_unit_test(laggard_expires_when_a_departure_it_missed_is_forgotten),
        cmocka_unit_test(queue_of_the_dirty_loses_nobody),
        cmocka_unit_test(ended_stays_are_kept_for_a_nonces_life),
        cmocka_unit_test(nonce_is_bound_to_ip_and_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
