/* room/card_test.c - cards come back as they went, and nothing but what a member signed does.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "room/card.h"

static const uint8_t secret[KH_ROOM_SECRET_LEN] = {1, 2, 3, 4, 5, 6, 7, 8};
static const struct kh_room_member_id alice = {{0xa1}};
static const struct kh_room_member_id bob = {{0xb0}};
static const struct kh_secret identity = {{42}};

static struct kh_room_keys keys;

static int derive(void **state)
{
    (void)state;
    kh_room_keys_derive(secret, &keys);
    return 0;
}

static struct kh_room_card make_card(void)
{
    struct kh_room_card card = {.revision = 7,
                                .name = "Alice \xc3\xa4",
                                .ufrag = "aB3+",
                                .password = "abcdefghijklmnopqrstuv",
                                .candidate_count = 3,
                                .nat = {.mapping = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                                        .filtering = KH_NAT_ADDRESS_DEPENDENT,
                                        .ports = KH_NAT_PORTS_SEQUENTIAL,
                                        .hairpin = KH_NAT_HAIRPIN_NONE,
                                        .stride = -4,
                                        .port_min = 1024,
                                        .port_max = 65535,
                                        .last_port = 40000,
                                        .translated = true},
                                .abilities = 0x80000001};

    kh_ed25519_public(&identity, card.identity);
    memset(card.fingerprint, 0xf1, sizeof card.fingerprint);
    card.candidates[0].addr = kh_addr_ipv4(192, 168, 1, 2, 5000);
    card.candidates[1].kind = KH_ROOM_CANDIDATE_MAPPED;
    card.candidates[1].addr = kh_addr_ipv4(198, 51, 100, 7, 65535);
    card.candidates[2].kind = KH_ROOM_CANDIDATE_RELAYED;
    assert_int_equal(kh_addr_parse("[2001:db8::7]:99", 0, &card.candidates[2].addr), KH_OK);
    card.candidates[2].addr.transport = KH_TCP;
    card.candidates[2].tcp = KH_ROOM_TCP_PASSIVE;
    return card;
}

static size_t seal(const struct kh_room_card *card, uint8_t out[static KH_ROOM_CARD_MAX])
{
    struct kh_room_card_seal with = {.keys = &keys, .identity = &identity, .member = &alice};

    return kh_room_card_write(card, &with, out);
}

static enum kh_status open_as(const struct kh_room_member_id *member, const uint8_t *data,
                              size_t len, struct kh_room_card *out)
{
    return kh_room_card_parse(&keys, member, (struct kh_span){data, len}, out);
}

/* Signs and seals any bytes as the body of Alice's card. */
static size_t seal_body(const uint8_t *body, size_t len, uint8_t out[static KH_ROOM_CARD_MAX])
{
    static const uint8_t nonce[KH_AEAD_NONCE_LEN];
    uint8_t plain[KH_ROOM_CARD_MAX];
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];
    struct kh_room_claim claim = {.label = KH_ROOM_LABEL_CARD,
                                  .keys = &keys,
                                  .context = {alice.bytes, sizeof alice.bytes},
                                  .body = {body, len}};

    memcpy(plain, body, len);
    kh_room_claim_sign(&claim, &identity, plain + len);
    kh_aead_seal(&keys.card, nonce, kh_room_associated(KH_ROOM_LABEL_CARD, &alice, associated),
                 (struct kh_span){plain, len + KH_SIGNATURE_LEN}, out);
    return len + KH_SIGNATURE_LEN + KH_AEAD_OVERHEAD;
}

/* Opens the seal only: what seal_body takes, to be altered by a test. */
static size_t open_body(const uint8_t *sealed, size_t len, uint8_t body[static KH_ROOM_CARD_MAX])
{
    uint8_t associated[KH_ROOM_ASSOCIATED_MAX];

    assert_true(kh_aead_open(&keys.card, kh_room_associated(KH_ROOM_LABEL_CARD, &alice, associated),
                             (struct kh_span){sealed, len}, body));
    return len - KH_AEAD_OVERHEAD - KH_SIGNATURE_LEN;
}

static void cards_survive(void **state)
{
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    card.named_count = 1;
    card.named[0] = (struct kh_room_named){"pc1.local", KH_FAMILY_IPV6, 4000};
    len = seal(&card, sealed);
    assert_int_equal(len, 28 + 64 + 74 + 9 + 5 + 23 + 1 + 7 + 7 + 19 + 11 + 14);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_OK);
    assert_memory_equal(&back, &card, sizeof card);
}

static void odd_names_are_skipped(void **state)
{
    static const uint8_t odd[][14] = {
        {0x00, 0x10, 0x00, 'p', 'c', '1', '.', 'l', 'o', 'c', 'a', 'x'}, /* another domain */
        {0x00, 0x00, 0x00, 'p', 'c', '1', '.', 'l', 'o', 'c', 'a', 'l'}, /* port 0 */
        {0x10, 0x10, 0x00, 'p', 'c', '1', '.', 'l', 'o', 'c', 'a', 'l'}, /* another kind */
        {0x02, 0x10, 0x00, 'p', 'c', '1', '.', 'l', 'o', 'c', 'a', 'l'}, /* not by UDP */
    };
    const size_t odd_len = 12;
    uint8_t sealed[KH_ROOM_CARD_MAX], body[KH_ROOM_CARD_MAX];
    struct kh_room_card card = {.revision = 1}, back;
    size_t len;

    (void)state;
    kh_ed25519_public(&identity, card.identity);
    len = open_body(sealed, seal(&card, sealed), body);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0] + 1 + KH_ROOM_NAMED_MAX; i++) {
        body[len++] = 2;
        body[len++] = i < 4 ? (uint8_t)odd_len : i == 4 ? 2 : 12; /* the fifth is cut */
        memcpy(body + len, odd[i < 4 ? i : 1], odd_len);
        if (i > 4)
            body[len + 2] = (uint8_t)i;
        len += body[len - 1];
    }
    for (unsigned i = 0; i < 3; i++) { /* more than there is room for */
        static const uint8_t good[] = {2, 12, 0, 1, 1, 'x', 'x', 'x', '.', 'l', 'o', 'c', 'a', 'l'};

        memcpy(body + len, good, sizeof good);
        len += sizeof good;
    }
    len = seal_body(body, len, sealed);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_OK);
    assert_int_equal(back.named_count, KH_ROOM_NAMED_MAX);
    for (size_t i = 0; i < KH_ROOM_NAMED_MAX; i++) {
        assert_string_equal(back.named[i].host, "pc1.local");
        assert_int_equal(back.named[i].port, i + 5);
        assert_int_equal(back.named[i].family, KH_FAMILY_IPV4);
    }
}

static void an_empty_card_survives(void **state)
{
    struct kh_room_card card = {.revision = 1};
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    kh_ed25519_public(&identity, card.identity);
    len = seal(&card, sealed);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_OK);
    assert_memory_equal(&back, &card, sizeof card);
}

static void the_largest_card_fits(void **state)
{
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    memset(card.name, 'n', sizeof card.name - 1);
    memset(card.ufrag, 'u', sizeof card.ufrag - 1);
    memset(card.password, 'p', sizeof card.password - 1);
    card.candidate_count = KH_ROOM_CANDIDATES_MAX;
    for (size_t i = 0; i < KH_ROOM_CANDIDATES_MAX; i++)
        card.candidates[i] = (struct kh_room_candidate){.kind = KH_ROOM_CANDIDATE_RELAYED};
    for (size_t i = 0; i < KH_ROOM_CANDIDATES_MAX; i++)
        card.candidates[i].addr = kh_addr_from_ip(KH_FAMILY_IPV6, card.fingerprint, 9);
    /* ff.. would be multicast */
    for (size_t i = 0; i < KH_ROOM_CANDIDATES_MAX; i++)
        card.candidates[i].addr.ip[0] = 0x20;
    len = seal(&card, sealed);
    assert_int_equal(len, 28 + 64 + 74 + 49 + 33 + 65 + 1 + 16 * 19 + 11);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_OK);
    assert_memory_equal(&back, &card, sizeof card);
}

static void each_altered_byte_and_each_cut_is_noticed(void **state)
{
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX + 1];
    size_t len = seal(&card, sealed);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        sealed[i] ^= 1;
        assert_int_equal(open_as(&alice, sealed, len, &back), KH_ERR_AUTH);
        sealed[i] ^= 1;
        assert_int_equal(open_as(&alice, sealed, i, &back), KH_ERR_AUTH);
    }
    assert_int_equal(open_as(&alice, sealed, len + 1, &back), KH_ERR_AUTH);
    assert_int_equal(open_as(&alice, sealed, KH_ROOM_CARD_MAX + 1, &back), KH_ERR_FORMAT);
}

static void a_card_is_good_for_its_member_and_room_only(void **state)
{
    static const uint8_t other_secret[KH_ROOM_SECRET_LEN] = {9};
    struct kh_room_keys other;
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len = seal(&card, sealed);

    (void)state;
    assert_int_equal(open_as(&bob, sealed, len, &back), KH_ERR_AUTH);
    kh_room_keys_derive(other_secret, &other);
    assert_int_equal(kh_room_card_parse(&other, &alice, (struct kh_span){sealed, len}, &back),
                     KH_ERR_AUTH);
}

/* Another member holds the room's keys too, but not Alice's identity. */
static void another_member_cannot_make_a_card_for_an_identity(void **state)
{
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    card.identity[0] ^= 1;
    len = seal(&card, sealed);
    assert_true(len > 0);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_ERR_AUTH);
}

static void extensions_of_later_versions_are_skipped(void **state)
{
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    uint8_t body[KH_ROOM_CARD_MAX];
    size_t len = open_body(sealed, seal(&card, sealed), body);

    (void)state;
    memcpy(body + len, "\x07\x03xyz\x08\x00", 7);
    assert_int_equal(open_as(&alice, sealed, seal_body(body, len + 7, sealed), &back), KH_OK);
    assert_memory_equal(&back, &card, sizeof card);
    assert_int_equal(open_as(&alice, sealed, seal_body(body, len + 4, sealed), &back),
                     KH_ERR_FORMAT);
    assert_int_equal(open_as(&alice, sealed, seal_body(body, len + 1, sealed), &back),
                     KH_ERR_FORMAT);
    body[0] = 2;
    assert_int_equal(open_as(&alice, sealed, seal_body(body, len, sealed), &back), KH_ERR_FORMAT);
}

/* The byte says all that is known: a card without the numbers, as older members write it. */
static void a_plain_class_needs_no_extension(void **state)
{
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    card.nat = (struct kh_nat_class){.mapping = KH_NAT_ENDPOINT_INDEPENDENT,
                                     .filtering = KH_NAT_ADDRESS_AND_PORT_DEPENDENT,
                                     .ports = KH_NAT_PORTS_PRESERVED,
                                     .translated = true};
    len = seal(&card, sealed);
    assert_int_equal(len, 28 + 64 + 74 + 9 + 5 + 23 + 1 + 7 + 7 + 19);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_OK);
    assert_memory_equal(&back, &card, sizeof card);
}

/* Bits 0x0e: 0x02 to be connected to, 0x06 both connect at once, 0x08 either. */
static void tcp_candidates_tell_what_they_are_good_for(void **state)
{
    static const struct {
        unsigned tcp;
        uint8_t what;
    } table[] = {
        {KH_ROOM_TCP_PASSIVE, 0x12},
        {KH_ROOM_TCP_SIMULTANEOUS, 0x16},
        {KH_ROOM_TCP_PASSIVE | KH_ROOM_TCP_SIMULTANEOUS, 0x18},
    };
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    uint8_t body[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    card.candidate_count = 1;
    card.nat = (struct kh_nat_class){0};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        card.candidates[0] = (struct kh_room_candidate){.kind = KH_ROOM_CANDIDATE_REFLEXIVE,
                                                        .addr = kh_addr_ipv4(192, 0, 2, 1, 9),
                                                        .tcp = table[i].tcp};
        card.candidates[0].addr.transport = KH_TCP;
        len = open_body(sealed, seal(&card, sealed), body);
        assert_int_equal(body[len - 7], table[i].what);
        assert_int_equal(open_as(&alice, sealed, seal(&card, sealed), &back), KH_OK);
        assert_int_equal(back.candidate_count, 1);
        assert_int_equal(back.candidates[0].tcp, table[i].tcp);
        assert_true(kh_addr_equal(&back.candidates[0].addr, &card.candidates[0].addr));
    }
}

static void candidates_nobody_can_use_are_skipped(void **state)
{
    static const uint8_t candidates[] = {
        6,                           /* of six */
        0x00, 192, 0, 2, 1, 0x00, 9, /* good */
        0x70, 192, 0, 2, 1, 0x00, 9, /* a kind of a later version */
        0x0e, 192, 0, 2, 1, 0x00, 9, /* a transport of a later version */
        0x00, 0,   0, 0, 0, 0x00, 9, /* unspecified */
        0x00, 224, 0, 0, 1, 0x00, 9, /* multicast */
        0x10, 192, 0, 2, 1, 0x00, 0, /* no port */
    };
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    uint8_t body[KH_ROOM_CARD_MAX];
    size_t len;

    (void)state;
    card.candidate_count = 0;
    card.nat = (struct kh_nat_class){0}; /* no extension: the candidates' count is the last byte */
    len = open_body(sealed, seal(&card, sealed), body);
    memcpy(body + len - 1, candidates, sizeof candidates);
    len = seal_body(body, len - 1 + sizeof candidates, sealed);
    assert_int_equal(open_as(&alice, sealed, len, &back), KH_OK);
    assert_int_equal(back.candidate_count, 1);
    assert_int_equal(back.candidates[0].addr.port, 9);
}

static void strings_that_may_not_be_shown_are_refused(void **state)
{
    static const char *const names[] = {
        "a\nb", "a\tb", "\x1b[2J", "\xc3", "\xe2\x80\xaexyz", "Alice\xe2\x80\x8b", "Alice "};
    static const char *const ufrags[] = {"abc", "ab d", "ab=d", "ab\xc3\xa4"};
    struct kh_room_card card = make_card();
    uint8_t sealed[KH_ROOM_CARD_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        card = make_card();
        strcpy(card.name, names[i]);
        assert_int_equal(seal(&card, sealed), 0);
    }
    for (size_t i = 0; i < sizeof ufrags / sizeof ufrags[0]; i++) {
        card = make_card();
        strcpy(card.ufrag, ufrags[i]);
        assert_int_equal(seal(&card, sealed), 0);
    }
    card = make_card();
    card.password[21] = '\0';
    assert_int_equal(seal(&card, sealed), 0);
}

/* The same in a card that a member of bad will has signed and sealed itself. */
static void strings_that_may_not_be_shown_are_refused_from_others(void **state)
{
    enum { NAME_AT = 75, NAME_LEN = 8 };
    struct kh_room_card card = make_card();
    struct kh_room_card back;
    uint8_t sealed[KH_ROOM_CARD_MAX];
    uint8_t body[KH_ROOM_CARD_MAX];
    size_t len = open_body(sealed, seal(&card, sealed), body);

    (void)state;
    assert_memory_equal(body + NAME_AT, "Alice ", 6);
    for (int c = 0; c < 0x20; c++) {
        body[NAME_AT] = (uint8_t)c;
        assert_int_equal(open_as(&alice, sealed, seal_body(body, len, sealed), &back),
                         KH_ERR_FORMAT);
    }
    body[NAME_AT] = 'A';
    body[NAME_AT + NAME_LEN + 1] = ' '; /* in the ufrag */
    assert_int_equal(open_as(&alice, sealed, seal_body(body, len, sealed), &back), KH_ERR_FORMAT);
}

static void keys_differ_and_depend_on_the_secret(void **state)
{
    struct kh_room_keys other;
    struct kh_secret seed;
    uint8_t changed[KH_ROOM_SECRET_LEN];
    uint8_t public_key[KH_KEY_LEN];

    (void)state;
    memcpy(changed, secret, sizeof changed);
    changed[15] ^= 1;
    kh_room_keys_derive(changed, &other);
    kh_room_derive_seed(secret, &seed);
    kh_ed25519_public(&seed, public_key);
    assert_memory_equal(public_key, keys.room, KH_KEY_LEN);
    assert_memory_not_equal(other.room, keys.room, KH_KEY_LEN);
    assert_memory_not_equal(&other.card, &keys.card, sizeof keys.card);
    assert_memory_not_equal(&other.signal, &keys.signal, sizeof keys.signal);
    assert_memory_not_equal(&keys.card, &keys.signal, sizeof keys.card);
    assert_memory_not_equal(&keys.card, &seed, sizeof seed);
    assert_memory_not_equal(&keys.signal, &seed, sizeof seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_survive),
        cmocka_unit_test(an_empty_card_survives),
        cmocka_unit_test(odd_names_are_skipped),
        cmocka_unit_test(the_largest_card_fits),
        cmocka_unit_test(each_altered_byte_and_each_cut_is_noticed),
        cmocka_unit_test(a_card_is_good_for_its_member_and_room_only),
        cmocka_unit_test(another_member_cannot_make_a_card_for_an_identity),
        cmocka_unit_test(extensions_of_later_versions_are_skipped),
        cmocka_unit_test(a_plain_class_needs_no_extension),
        cmocka_unit_test(tcp_candidates_tell_what_they_are_good_for),
        cmocka_unit_test(candidates_nobody_can_use_are_skipped),
        cmocka_unit_test(strings_that_may_not_be_shown_are_refused),
        cmocka_unit_test(strings_that_may_not_be_shown_are_refused_from_others),
        cmocka_unit_test(keys_differ_and_depend_on_the_secret),
    };

    return cmocka_run_group_tests(tests, derive, NULL);
}
