/* mdns/mdns_test.c - what is asked, how often, and whose answers count.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "mdns/mdns.h"

#define NOW KH_SECONDS(7)
#define NAME "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.local"
#define HOST_LEN 36
#define IN 0, 1
#define FLUSH_IN 0x80, 1
#define HEADER(answers) 0, 0, 0x84, 0, 0, 0, 0, (answers), 0, 0, 0, 0
#define LABEL_NAME 3, 'p', 'c', '1', 5, 'l', 'o', 'c', 'a', 'l', 0
#define POINTER_TO_FIRST 0xc0, 12

static struct kh_mdns mdns;

static int set_up(void **state)
{
    (void)state;
    kh_mdns_init(&mdns);
    return 0;
}

static void ask(const char *name, enum kh_family family)
{
    assert_int_equal(kh_mdns_ask(&mdns, NOW, name, family), KH_OK);
}

static unsigned drain_queries(void)
{
    struct kh_datagram out;
    unsigned count = 0;

    while (kh_mdns_next_transmit(&mdns, &out))
        count++;
    return count;
}

static void receive_from(uint16_t port, const uint8_t *data, size_t len)
{
    const struct kh_datagram in = {.from = kh_addr_ipv4(192, 168, 1, 9, port),
                                   .to = kh_addr_ipv4(192, 168, 1, 2, 40000),
                                   .data = data,
                                   .len = len};

    kh_mdns_handle_datagram(&mdns, &in);
}

static void receive(const uint8_t *data, size_t len)
{
    receive_from(KH_MDNS_PORT, data, len);
}

static void expect_no_answer(void)
{
    struct kh_mdns_answer answer;

    assert_false(kh_mdns_next_answer(&mdns, &answer));
}

static struct kh_mdns_answer expect_answer(const char *name, size_t count)
{
    struct kh_mdns_answer answer;

    assert_true(kh_mdns_next_answer(&mdns, &answer));
    assert_string_equal(answer.name, name);
    assert_int_equal(answer.addr_count, count);
    return answer;
}

static const uint8_t pc1_is_7[] = {HEADER(1), LABEL_NAME, 0, 1,   FLUSH_IN, 0, 0, 0,
                                   120,       0,          4, 192, 168,      1, 7};

static void other_names_are_not_asked_for(void **state)
{
    (void)state;
    assert_int_equal(kh_mdns_ask(&mdns, NOW, "pc1.example", KH_FAMILY_IPV4), KH_ERR_FORMAT);
    assert_int_equal(drain_queries(), 0);
}

static void both_groups_are_asked_for_a_unicast_answer(void **state)
{
    static const uint8_t tail[] = {5, 'l', 'o', 'c', 'a', 'l', 0, 0, 28, 0x80, 1};
    struct kh_addr group4 = kh_addr_ipv4(224, 0, 0, 251, 5353);
    struct kh_addr group6 = kh_mdns_group(KH_FAMILY_IPV6);
    struct kh_datagram out;
    char text[KH_ADDR_TEXT_MAX];

    (void)state;
    assert_string_equal(kh_addr_text(&group6, text), "[ff02::fb]:5353");
    ask(NAME, KH_FAMILY_IPV6);
    assert_true(kh_mdns_next_transmit(&mdns, &out));
    assert_true(kh_addr_equal(&out.to, &group4));
    assert_int_equal(out.len, 12 + 1 + HOST_LEN + sizeof tail);
    assert_memory_equal(out.data, "\0\0\0\0\0\1\0\0\0\0\0\0", 12);
    assert_int_equal(out.data[12], HOST_LEN);
    assert_memory_equal(out.data + 13, NAME, HOST_LEN);
    assert_memory_equal(out.data + 13 + HOST_LEN, tail, sizeof tail);
    assert_true(kh_mdns_next_transmit(&mdns, &out));
    assert_true(kh_addr_equal(&out.to, &group6));
    assert_false(kh_mdns_next_transmit(&mdns, &out));
}

static void three_rounds_and_a_second_are_all(void **state)
{
    static const kh_duration rounds[] = {KH_MILLISECONDS(200), KH_MILLISECONDS(500)};

    (void)state;
    assert_true(kh_mdns_timeout(&mdns) == KH_NEVER);
    ask("pc1.local", KH_FAMILY_IPV4);
    assert_int_equal(drain_queries(), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(kh_mdns_timeout(&mdns) == NOW + rounds[i]);
        kh_mdns_handle_timeout(&mdns, NOW + rounds[i] - 1);
        assert_int_equal(drain_queries(), 0);
        kh_mdns_handle_timeout(&mdns, NOW + rounds[i]);
        assert_int_equal(drain_queries(), 2);
    }
    assert_true(kh_mdns_timeout(&mdns) == NOW + KH_SECONDS(1));
    kh_mdns_handle_timeout(&mdns, NOW + KH_SECONDS(1));
    assert_int_equal(drain_queries(), 0);
    expect_answer("pc1.local", 0);
    expect_no_answer();
    assert_true(kh_mdns_timeout(&mdns) == KH_NEVER);
    receive(pc1_is_7, sizeof pc1_is_7); /* too late */
    expect_no_answer();
}

static void an_answer_ends_the_question(void **state)
{
    struct kh_addr expected = kh_addr_ipv4(192, 168, 1, 7, 0);
    struct kh_mdns_answer answer;

    (void)state;
    ask("Pc1.local", KH_FAMILY_IPV4);
    ask("Pc1.local", KH_FAMILY_IPV4);
    ask("pc2.local", KH_FAMILY_IPV4);
    assert_int_equal(drain_queries(), 4);
    receive(pc1_is_7, sizeof pc1_is_7);
    answer = expect_answer("Pc1.local", 1);
    assert_true(kh_addr_equal(&answer.addrs[0], &expected));
    expect_no_answer();
    kh_mdns_handle_timeout(&mdns, NOW + KH_MILLISECONDS(200));
    assert_int_equal(drain_queries(), 2); /* pc2 is still asked for */
}

/* clang-format off */
static const uint8_t pc1_has_several[] = {
    0, 7, 0x84, 0, 0, 1, 0, 3, 0, 0, 0, 1, LABEL_NAME, 0, 28, 0x80, 1, /* the question */
    POINTER_TO_FIRST, 0, 28, IN, 0, 0, 0, 10, 0, 16,                   /* fe80::1 */
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    POINTER_TO_FIRST, 0, 16, IN, 0, 0, 0, 10, 0, 2, 1, 'x',            /* TXT */
    POINTER_TO_FIRST, 0, 28, FLUSH_IN, 0, 0, 0, 10, 0, 16,             /* fd00::2 */
    0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    POINTER_TO_FIRST, 0, 28, IN, 0, 0, 0, 10, 0, 16,                   /* the same again */
    0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
};
/* clang-format on */

/* As some answer: with the question, several records, compressed names, other types between. */
static void several_records_are_read(void **state)
{
    struct kh_mdns_answer answer;

    (void)state;
    ask("pc1.local", KH_FAMILY_IPV6);
    receive(pc1_has_several, sizeof pc1_has_several);
    answer = expect_answer("pc1.local", 2);
    assert_int_equal(answer.family, KH_FAMILY_IPV6);
    assert_int_equal(answer.addrs[0].ip[0], 0xfe);
    assert_int_equal(answer.addrs[1].ip[15], 2);
    assert_int_equal(mdns.dropped_malformed, 0);
}

static void what_is_no_answer_is_ignored(void **state)
{
    uint8_t message[sizeof pc1_is_7];

    (void)state;
    ask("pc1.local", KH_FAMILY_IPV4);
    receive_from(5354, pc1_is_7, sizeof pc1_is_7);
    for (size_t at = 2; at < sizeof message; at++) {
        memcpy(message, pc1_is_7, sizeof message);
        message[at] ^= at == 2 ? 0x80 : at == 3 ? 0x03 : 0; /* a question; an error */
        if (at == 13)
            message[at] = 'q'; /* another name */
        else if (at == 24 || at == 26)
            message[at] ^= 0x03; /* another type, another class */
        else if (at == 30)
            message[at] = 0; /* a goodbye */
        else if (at == 33)
            message[at] = 127; /* ourselves */
        else if (at > 3)
            continue;
        receive(message, sizeof message);
        expect_no_answer();
    }
    receive(pc1_is_7, sizeof pc1_is_7);
    expect_answer("pc1.local", 1);
}

static void cut_messages_answer_nothing(void **state)
{
    (void)state;
    ask("pc1.local", KH_FAMILY_IPV4);
    for (size_t len = 0; len < sizeof pc1_is_7; len++)
        receive(pc1_is_7, len);
    expect_no_answer();
    assert_int_equal(mdns.dropped_malformed, sizeof pc1_is_7);
}

static void pointers_lead_backwards_or_nowhere(void **state)
{
    static const uint8_t to_itself[] = {HEADER(1), 0xc0, 12, 0, 1,  IN, 0, 0,
                                        0,         9,    0,  4, 10, 0,  0, 1};
    static const uint8_t forwards[] = {HEADER(1), 0xc0, 26, 0, 1, IN, 0, 0, 0, 9, 0, 0, LABEL_NAME};
    static const uint8_t in_a_ring[] = {HEADER(1), 1, 'a', 0xc0, 12, 0, 1, IN, 0, 0, 0, 9, 0, 0};

    (void)state;
    ask("pc1.local", KH_FAMILY_IPV4);
    receive(to_itself, sizeof to_itself);
    receive(forwards, sizeof forwards);
    receive(in_a_ring, sizeof in_a_ring);
    expect_no_answer();
    assert_int_equal(mdns.dropped_malformed, 3);
}

static void no_more_than_eight_at_a_time(void **state)
{
    char name[] = "n0.local";

    (void)state;
    for (int i = 0; i < KH_MDNS_QUESTIONS_MAX; i++, name[1]++)
        ask(name, KH_FAMILY_IPV4);
    assert_int_equal(kh_mdns_ask(&mdns, NOW, name, KH_FAMILY_IPV4), KH_ERR_FULL);
    assert_int_equal(drain_queries(), 2 * KH_MDNS_QUESTIONS_MAX);
    kh_mdns_handle_timeout(&mdns, NOW + KH_SECONDS(1)); /* late: the rounds between are made up */
    for (int i = 0; i < 3; i++) {
        (void)drain_queries();
        kh_mdns_handle_timeout(&mdns, NOW + KH_SECONDS(1));
    }
    for (int i = 0; i < KH_MDNS_QUESTIONS_MAX; i++) {
        struct kh_mdns_answer answer;

        assert_true(kh_mdns_next_answer(&mdns, &answer));
    }
    expect_no_answer();
    ask(name, KH_FAMILY_IPV4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(other_names_are_not_asked_for, set_up),
        cmocka_unit_test_setup(both_groups_are_asked_for_a_unicast_answer, set_up),
        cmocka_unit_test_setup(three_rounds_and_a_second_are_all, set_up),
        cmocka_unit_test_setup(an_answer_ends_the_question, set_up),
        cmocka_unit_test_setup(several_records_are_read, set_up),
        cmocka_unit_test_setup(what_is_no_answer_is_ignored, set_up),
        cmocka_unit_test_setup(cut_messages_answer_nothing, set_up),
        cmocka_unit_test_setup(pointers_lead_backwards_or_nowhere, set_up),
        cmocka_unit_test_setup(no_more_than_eight_at_a_time, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
