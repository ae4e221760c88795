/* relay/guard_test.c - each spelling of an address that nobody may be relayed to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "relay/client_test.h"

/* Each is refused as permission, as channel and as target of data, by an allocation of both
 * families. */
static const char *const denied[] = {
    /* loopback: itself, IPv4-mapped, -compatible, -translated, 6to4, NAT64, Teredo, ISATAP */
    "127.0.0.1:80",
    "127.255.255.254:80",
    "[::1]:80",
    "[::ffff:127.0.0.1]:80",
    "[::127.0.0.1]:80",
    "[::ffff:0:127.0.0.1]:80",
    "[2002:7f00:1::1]:80",
    "[64:ff9b::127.0.0.1]:80",
    "[64:ff9b:1::127.0.0.1]:80",
    "[2001:0:7f00:1::5000]:80",
    "[2001:0:c000:209:0:0:80ff:fffe]:80", /* the client 127.0.0.1, each bit turned */
    "[2001:db8::5efe:127.0.0.1]:80",
    "[2001:db8::200:5efe:127.0.0.1]:80",
    /* unspecified */
    "0.0.0.0:80",
    "0.1.2.3:80",
    "[::]:80",
    "[::ffff:0.0.0.0]:80",
    "[2002::1]:80",
    "[64:ff9b::]:80",
    /* link-local */
    "169.254.169.254:80",
    "[fe80::1]:80",
    "[::ffff:169.254.169.254]:80",
    "[2002:a9fe:a9fe::]:80",
    "[64:ff9b::a9fe:a9fe]:80",
    /* private, shared, unique local, site-local, a network's own NAT64 */
    "10.0.0.1:80",
    "172.16.0.1:80",
    "172.31.255.255:80",
    "192.168.1.1:80",
    "100.64.0.1:80",
    "100.127.255.255:80",
    "192.0.0.1:80",
    "[fc00::1]:80",
    "[fd12:3456::1]:80",
    "[fec0::1]:80",
    "[::ffff:10.0.0.1]:80",
    "[::10.0.0.1]:80",
    "[2002:a00:1::]:80",
    "[64:ff9b::10.0.0.1]:80",
    "[64:ff9b:1::8.8.8.8]:80",
    "[2001:0:a00:1::5000]:80",
    /* multicast, reserved, broadcast */
    "224.0.0.1:80",
    "239.1.2.3:80",
    "240.0.0.1:80",
    "255.255.255.255:80",
    "[ff02::1]:80",
    "[ff0e::1]:80",
    "[::ffff:224.0.0.1]:80",
    "[2002:e000:1::]:80",
    "[64:ff9b::ffff:ffff]:80",
    /* the server's own addresses */
    "203.0.113.1:80",
    "203.0.113.1:3478",
    "203.0.113.1:50001",
    "203.0.113.99:80",
    "[2001:db8:1::1]:80",
    "[::ffff:203.0.113.1]:80",
    "[::203.0.113.1]:80",
    "[2002:cb00:7101::]:80",
    "[64:ff9b::203.0.113.1]:80",
    "[2001:0:cb00:7101::5000]:80",
    "[2002:cb00:7163::]:80",
    "[2001:0:c000:209:0:0:34ff:8efe]:80",
};

static const char *const fine[] = {
    "192.0.2.9:80",
    "8.8.8.8:80",
    "172.32.0.1:80",
    "100.128.0.1:80",
    "169.253.0.1:80",
    "[2001:db8::9]:80",
    "[2002:c000:209::1]:80",
    "[64:ff9b::192.0.2.9]:80",
    "[2a00::1]:80",
    "[2001:0:c000:209:0:0:3fff:fdf6]:80",
    "[2001:db8::5efe:192.0.2.9]:80",
    "[::ffff:192.0.2.9]:80",
};

static void allocate_both(void)
{
    static const uint8_t ipv6[4] = {2};
    struct request *request = begin_allocate();

    kh_stun_add(&request->writer, KH_STUN_ADDITIONAL_ADDRESS_FAMILY, ipv6, sizeof ipv6);
    assert_int_equal(send_signed(request), 0);
}

static int set_up_both(void **state)
{
    set_up(state);
    config.own[0] = addr_of("203.0.113.99:3478");
    config.own_count = 1;
    start_relay();
    allocate_both();
    return 0;
}

static void denied_peers_are_403(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
        struct kh_addr peer = addr_of(denied[i]);

        if (permit(&peer) != 403 || bind_channel((uint16_t)(0x4000 + i), &peer) != 403)
            fail_msg("%s is let through", denied[i]);
        indicate(&peer, "x");
        if (answer.len != 0)
            fail_msg("data leaves for %s", denied[i]);
    }
}

/* The IPv4 addresses that are denied, in each way that IPv6 has to write them. */
static void put(uint8_t *ip, size_t at, const uint8_t *inner, uint8_t turned)
{
    for (size_t i = 0; i < 4; i++)
        ip[at + i] = inner[i] ^ turned;
}

static const struct {
    const char *name;
    uint8_t head[14];
    uint8_t at, turned;
} ways[] = {
    {"mapped", {[10] = 0xff, 0xff}, 12, 0},
    {"compatible", {0}, 12, 0},
    {"translated", {[8] = 0xff, 0xff}, 12, 0},
    {"6to4", {0x20, 0x02}, 2, 0},
    {"NAT64", {0, 0x64, 0xff, 0x9b}, 12, 0},
    {"Teredo server", {0x20, 0x01}, 4, 0},
    {"Teredo client", {0x20, 0x01, 0, 0, 192, 0, 2, 9}, 12, 0xff},
    {"ISATAP", {0x20, 0x01, 0x0d, 0xb8, [8] = 2, 0, 0x5e, 0xfe}, 12, 0},
};

static const char *spell(size_t way, const uint8_t *inner, struct kh_addr *out)
{
    uint8_t ip[16] = {0};

    if (way == sizeof ways / sizeof *ways) {
        *out = kh_addr_from_ip(KH_FAMILY_IPV4, inner, 80);
        return "plain";
    }
    if (way > sizeof ways / sizeof *ways)
        return NULL;
    memcpy(ip, ways[way].head, sizeof ways[way].head);
    put(ip, ways[way].at, inner, ways[way].turned);
    *out = kh_addr_from_ip(KH_FAMILY_IPV6, ip, 80);
    return ways[way].name;
}

/* As permission, as channel, and as target of data, which is counted. */
static bool is_refused(const struct kh_addr *peer)
{
    uint64_t before = kh_relay_stats(relay).dropped_forbidden;

    if (permit(peer) != 403 || bind_channel(0x4001, peer) != 403)
        return false;
    indicate(peer, "x");
    return answer.len == 0 && kh_relay_stats(relay).dropped_forbidden == before + 1;
}

static const uint8_t kinds[][4] = {
    {127, 0, 0, 1},   {0, 0, 0, 0},         {0, 1, 2, 3},       {169, 254, 1, 2},
    {10, 1, 2, 3},    {172, 16, 9, 9},      {192, 168, 0, 254}, {100, 64, 0, 1},
    {224, 0, 0, 251}, {239, 255, 255, 250}, {240, 0, 0, 1},     {255, 255, 255, 255},
    {203, 0, 113, 1}, {203, 0, 113, 99}, /* the server's own */
};

static void every_kind_is_denied_in_every_spelling(void **state)
{
    size_t tried = 0;

    (void)state;
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        struct kh_addr peer;
        const char *name;

        for (size_t way = 0; (name = spell(way, kinds[kind], &peer)) != NULL; way++, tried++) {
            if (!is_refused(&peer))
                fail_msg("%u.%u.%u.%u, %s, is let through", kinds[kind][0], kinds[kind][1],
                         kinds[kind][2], kinds[kind][3], name);
        }
    }
    assert_int_equal(tried, 14 * 9);
    assert_int_equal(kh_relay_stats(relay).to_peers, 0);
}

/* By hand, since an IPv4-mapped address of ours is IPv4 before it is written. */
static void add_mapped_loopback(struct request *request)
{
    static const uint8_t mapped[20] = {0, 2, 0, 80, 0,    0,    0,   0, 0, 0,
                                       0, 0, 0, 0,  0xff, 0xff, 127, 0, 0, 1};
    uint8_t value[20];

    memcpy(value, mapped, sizeof value);
    value[2] ^= 0x21;
    value[3] ^= 0x12;
    for (size_t i = 0; i < 16; i++)
        value[4 + i] ^= request->data[4 + i];
    kh_stun_add(&request->writer, KH_STUN_XOR_PEER_ADDRESS, value, sizeof value);
}

static void denied_peers_are_403_unmapped_too(void **state)
{
    struct request *request = begin(KH_STUN_CREATE_PERMISSION);

    (void)state;
    add_mapped_loopback(request);
    assert_int_equal(send_signed(request), 403);
    request = begin(KH_STUN_CHANNEL_BIND);
    kh_stun_add_u32(&request->writer, KH_STUN_CHANNEL_NUMBER, 0x40010000);
    add_mapped_loopback(request);
    assert_int_equal(send_signed(request), 403);
    request->writer = kh_stun_begin(request->data, sizeof request->data, KH_STUN_INDICATION,
                                    KH_STUN_SEND, (const uint8_t *)"identity-abc");
    add_mapped_loopback(request);
    kh_stun_add(&request->writer, KH_STUN_DATA_ATTRIBUTE, "x", 1);
    give(&alice, &server, request->data, kh_stun_finish(&request->writer));
    assert_int_equal(answer.len, 0);
    assert_int_equal(kh_relay_stats(relay).dropped_forbidden, 1);
}

static void all_others_are_fine(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        struct kh_addr peer = addr_of(fine[i]);

        if (permit(&peer) != 0)
            fail_msg("%s is refused", fine[i]);
        indicate(&peer, "x");
        assert_int_equal(answer.len, 1);
    }
}

static void lab_lets_private_peers_through_and_no_others(void **state)
{
    static const char *const closed[] = {
        "127.0.0.1:80", "0.0.0.0:80",        "169.254.169.254:80",     "224.0.0.1:80",
        "[::1]:80",     "203.0.113.99:3478", "[64:ff9b::127.0.0.1]:80"};
    static const char *const open[] = {"10.0.0.1:80", "[fd12::1]:80", "[2002:a00:1::]:80",
                                       "203.0.113.99:80", "203.0.113.1:80"};

    (void)state;
    config.allow_private_peers = true;
    start_relay();
    allocate_both();
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        struct kh_addr peer = addr_of(closed[i]);

        assert_int_equal(permit(&peer), 403);
    }
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        struct kh_addr peer = addr_of(open[i]);

        assert_int_equal(permit(&peer), 0);
        indicate(&peer, "x");
        assert_int_equal(answer.len, 1);
    }
}

static void lab_on_loopback_reaches_loopback_but_not_the_server(void **state)
{
    struct kh_addr peer = addr_of("127.0.0.1:3480");

    (void)state;
    config.allow_private_peers = true;
    config.addresses[0].local = config.addresses[0].external = addr_of("127.0.0.1");
    config.own[0] = addr_of("127.0.0.1:3478");
    config.address_count = 1;
    start_relay();
    allocate();
    assert_int_equal(permit(&peer), 0);
    indicate(&peer, "x");
    assert_int_equal(answer.len, 1);
    peer.port = 3478;
    assert_int_equal(permit(&peer), 403);
    indicate(&peer, "x"); /* the permission is for the IP, the server is not */
    assert_int_equal(answer.len, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_both, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(denied_peers_are_403),
        TEST(every_kind_is_denied_in_every_spelling),
        TEST(denied_peers_are_403_unmapped_too),
        TEST(all_others_are_fine),
        TEST(lab_lets_private_peers_through_and_no_others),
        TEST(lab_on_loopback_reaches_loopback_but_not_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
