/* fuzz/punch.c - any two NAT classes and any message make a punch that stays within its bounds.
 *
 * SPDX-License-Identifier: MIT
 *
 * Two classes as cards carry them (a byte and an extension each), 8 bytes of seed, then a message.
 */
#include <stdlib.h>

#include "punch/punch.h"

#define TEST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_class(struct kh_reader *reader, struct kh_nat_class *out)
{
    uint8_t extension[KH_NAT_CLASS_LEN];
    uint8_t byte = kh_read_u8(reader);

    kh_read_copy(reader, extension, sizeof extension);
    kh_nat_class_parse(byte, extension, sizeof extension, out);
}

/* Runs it to its end, as fast as it wants. */
static void run(struct kh_punch *punch, size_t sockets)
{
    struct kh_punch_shot shot;
    kh_time now = KH_SECONDS(1);
    size_t probes = 0, openers = 0, in_this_second = 0;
    kh_time second = now;

    while (!kh_punch_is_over(punch, now)) {
        while (kh_punch_next_shot(punch, now, &shot)) {
            TEST(shot.socket == KH_PUNCH_MAIN || shot.socket < sockets);
            TEST(shot.port == 0 || shot.port >= KH_PUNCH_PORT_MIN);
            probes += shot.port != 0;
            openers += shot.port == 0;
            in_this_second += shot.port != 0;
        }
        TEST(in_this_second <= 200);
        TEST(kh_punch_timeout(punch) > now);
        now = kh_punch_timeout(punch);
        if (now - second >= KH_SECONDS(1)) {
            second = now;
            in_this_second = 0;
        }
    }
    TEST(probes <= KH_PUNCH_PROBES_MAX && openers <= 2 * sockets);
    TEST(now <= KH_SECONDS(1) + KH_SECONDS(20));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct kh_reader reader = kh_reader_of(data, len);
    struct kh_nat_class ours, theirs;
    struct kh_punch_plan plan, other;
    struct kh_punch_message message;
    struct kh_punch punch;
    uint64_t seed;
    size_t left;

    read_class(&reader, &ours);
    read_class(&reader, &theirs);
    seed = kh_read_u64(&reader);
    if (reader.failed)
        return 0;
    kh_punch_plan(&ours, &theirs, seed % 2 == 0, &plan);
    kh_punch_plan(&theirs, &ours, seed % 2 != 0, &other);
    TEST(plan.is_guess == other.is_guess);
    TEST(plan.is_guess || (plan.role == KH_PUNCH_HOLD) == (other.role == KH_PUNCH_PROBE));
    if (plan.role == KH_PUNCH_HOLD) {
        TEST(plan.sockets > 0 && plan.sockets <= KH_PUNCH_SOCKETS_MAX);
        kh_punch_open(&punch, KH_SECONDS(1), &plan, plan.sockets);
        run(&punch, plan.sockets);
    }
    left = reader.left;
    if (kh_punch_message_parse((struct kh_span){kh_read_bytes(&reader, left), left}, &message) !=
        KH_OK)
        return 0;
    kh_punch_plan_probe(&ours, &theirs, &plan);
    kh_punch_probe(&punch, KH_SECONDS(1), &plan, &message, seed);
    run(&punch, 0);
    if (message.port_count > 0) {
        kh_punch_meet(&punch, KH_SECONDS(1), &message);
        run(&punch, 1);
    }
    return 0;
}
