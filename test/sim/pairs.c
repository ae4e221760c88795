/* sim/pairs.c - every kind of site meets every kind, by the best path physics allows, in time.
 *
 * SPDX-License-Identifier: MIT
 *
 * The kinds are the named boxes and some places made of them; the seed says which pair it is, so
 * consecutive seeds go through all of them.  What each pair should manage is one table, the same as
 * in lab/sites.py.  Lines take 20 ms each way.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sim/scenario.h"

#define KINDS_MAX 32
#define PAIRS_MAX (KINDS_MAX * (KINDS_MAX + 1) / 2)
#define SAMPLES_MAX 1024   /* of one pair; more seeds are run, but not measured */
#define SAMPLES_SHOWN 20   /* of one pair: fewer have no 99 % worth a line */
#define SAMPLES_JUDGED 300 /* of one way to meet: fewer are not held against its goals */

#define PATH_WITHIN KH_SECONDS(1) /* of any kind */
#define PATH_WITHOUT_UDP_WITHIN KH_SECONDS(2)
#define OPEN_WITHIN KH_SECONDS(3)
#define WATCHED_FOR KH_SECONDS(10) /* where the relay is all that is expected */
#define SPEAK_EVERY KH_MILLISECONDS(500)
#define SPEECHES_MAX 40 /* each; what is said before and after fits beside it */

/* How a box maps and filters; the order is that of the rows and columns below. */
enum class { CLASS_OPEN, CLASS_PORT, CLASS_ADDRESS, CLASS_PREDICTABLE, CLASS_RANDOM, CLASSES };

enum reach {
    REACH_ICE,
    REACH_PREDICTION,
    REACH_BIRTHDAY,
    REACH_TCP,
    REACH_LUCK,
    REACH_RELAY,
    REACHES
};

static const char *const reach_names[REACHES] = {"ICE", "prediction", "birthday",
                                                 "TCP", "luck",       "relay"};

/* After the later start: when every run must have a direct path, 0: nothing is promised; and what
 * is asked of the median and of 99 % of many runs, in milliseconds. */
static const struct {
    kh_duration within;
    uint32_t median_ms, most_ms;
} goals[REACHES] = {
    [REACH_ICE] = {KH_SECONDS(1), 500, 500},
    [REACH_PREDICTION] = {KH_SECONDS(10), 1000, 2000},
    [REACH_BIRTHDAY] = {KH_SECONDS(120), 2000, 12000},
    [REACH_TCP] = {KH_SECONDS(10), 2000, 5000},
};

/* clang-format off */
static const enum reach reaches[CLASSES][CLASSES] = {
    {REACH_ICE, REACH_ICE, REACH_ICE, REACH_ICE, REACH_ICE},
    {REACH_ICE, REACH_ICE, REACH_BIRTHDAY, REACH_PREDICTION, REACH_BIRTHDAY},
    {REACH_ICE, REACH_BIRTHDAY, REACH_BIRTHDAY, REACH_BIRTHDAY, REACH_BIRTHDAY},
    {REACH_ICE, REACH_PREDICTION, REACH_BIRTHDAY, REACH_PREDICTION, REACH_RELAY},
    {REACH_ICE, REACH_BIRTHDAY, REACH_BIRTHDAY, REACH_RELAY, REACH_RELAY},
};
/* clang-format on */

struct kind {
    const char *name;
    const char *box;
    const char *provider; /* the box around it; NULL: none */
    bool has_port;        /* its router leads one to it */
    bool has_ipv6;
    bool has_no_udp;
};

static const struct kind composed[] = {
    {.name = "carrier", .box = "port-restricted", .provider = "cgn"},
    {.name = "port-mapping", .box = "symmetric-random", .has_port = true},
    {.name = "ipv6-firewall", .box = "symmetric-random", .has_ipv6 = true},
    {.name = "udp-blocked", .box = "port-restricted", .has_no_udp = true},
};

struct pair {
    struct kind a, b;
};

/* Milliseconds to the direct path, of all workers; 0: not measured, UINT32_MAX: never direct. */
static uint32_t (*samples)[SAMPLES_MAX];

/* ---- which ---- */

static bool kind_at(size_t n, struct kind *out)
{
    const struct nat_preset *preset = nat_preset_at(n);
    size_t presets = 0;

    if (preset != NULL) {
        *out = (struct kind){.name = preset->name, .box = preset->name};
        return true;
    }
    while (nat_preset_at(presets) != NULL)
        presets++;
    if (n - presets >= sizeof composed / sizeof composed[0])
        return false;
    *out = composed[n - presets];
    return true;
}

static size_t kind_count(void)
{
    struct kind kind;
    size_t count = 0;

    while (kind_at(count, &kind))
        count++;
    assert(count <= KINDS_MAX);
    return count;
}

static size_t pair_count(void)
{
    size_t kinds = kind_count();

    return kinds * (kinds + 1) / 2;
}

static struct pair pair_at(size_t n)
{
    struct pair pair;
    size_t row = 0;

    for (; n > row; row++)
        n -= row + 1;
    if (!kind_at(row, &pair.a) || !kind_at(n, &pair.b))
        abort();
    return pair;
}

/* ---- what physics allows ---- */

static enum class class_of(const struct kind *kind) {
    const struct nat_config *box = &nat_preset_find(kind->box)->config;

    if (box->kind == NAT_KIND_OPEN || kind->has_port) return CLASS_OPEN;
    if (box->kind == NAT_KIND_FIREWALL ||
        box->mapping == NAT_ENDPOINT_INDEPENDENT) return box->filtering ==
            NAT_ADDRESS_AND_PORT_DEPENDENT
        ? CLASS_PORT
        : CLASS_OPEN;
    if (box->filtering != NAT_ADDRESS_AND_PORT_DEPENDENT) return CLASS_ADDRESS;
    /* The next free port after one that is kept is as good as the next in a sequence. */
    return box->ports == NAT_PORTS_SEQUENTIAL || box->ports == NAT_PORTS_PRESERVED
        ? CLASS_PREDICTABLE
        : CLASS_RANDOM;
}

/* A lenient filter does not help where the port changes with each port of the other side: an answer
 * comes from elsewhere than what was asked (docs/protocol/punching.md). */
static bool changes_with_ports(const struct kind *kind)
{
    const struct nat_config *box = &nat_preset_find(kind->box)->config;

    return class_of(kind) == CLASS_ADDRESS && box->mapping == NAT_ADDRESS_AND_PORT_DEPENDENT;
}

static bool is_in_block(const struct kind *kind)
{
    return nat_preset_find(kind->box)->config.ports == NAT_PORTS_BLOCK;
}

/* Ports are not guessed by TCP, and those that a router leads inside are for UDP. */
static bool meets_by_tcp(const struct kind *kind)
{
    const struct nat_config *box = &nat_preset_find(kind->box)->config;

    return box->kind != NAT_KIND_TRANSLATOR || box->mapping == NAT_ENDPOINT_INDEPENDENT;
}

static enum reach reach_of(const struct pair *pair)
{
    enum class a = class_of(&pair->a), b = class_of(&pair->b);
    enum reach reach = reaches[a][b];

    if (pair->a.has_ipv6 && pair->b.has_ipv6)
        return REACH_ICE;
    if (pair->a.has_no_udp || pair->b.has_no_udp)
        return meets_by_tcp(&pair->a) && meets_by_tcp(&pair->b) ? REACH_TCP : REACH_RELAY;
    if (reach == REACH_RELAY && is_in_block(&pair->a) && is_in_block(&pair->b))
        return REACH_LUCK;
    if (reach == REACH_BIRTHDAY && ((changes_with_ports(&pair->a) && b != CLASS_PORT) ||
                                    (changes_with_ports(&pair->b) && a != CLASS_PORT)))
        return REACH_LUCK;
    return reach;
}

/* ---- the story ---- */

static int add_member(struct sim *sim, const char *name, const struct kind *kind)
{
    int provider, realm, member;

    if (kind->provider == NULL) {
        realm = sim_add_site(sim, kind->box);
    } else {
        sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(10)});
        provider = sim_add_site(sim, kind->provider);
        realm = sim_add_inner_site(sim, provider, kind->box);
        sim_set_line(sim, &(struct net_line){.delay = KH_MILLISECONDS(20)});
    }
    member = sim_add_member(sim, name, realm);
    if (kind->has_ipv6)
        sim_add_ipv6(sim, member);
    if (kind->has_no_udp)
        net_set_box_passes(sim_net(sim), realm, KH_UDP, false);
    return member;
}

static void join(struct sim *sim, int member, const struct kind *kind)
{
    sim_join(sim, member);
    if (kind->has_port)
        sim_map_port(sim, member);
}

static bool is_direct(struct sim *sim, int a, int b)
{
    const struct sim_contact *contact = sim_contact(sim, a, b);

    return contact->path_at != KH_NEVER && contact->path.local_kind != KH_ICE_RELAYED &&
           contact->path.remote_kind != KH_ICE_RELAYED;
}

/* Of Alice and Bob, who are all there is. */
static bool both_direct(struct sim *sim)
{
    return is_direct(sim, 0, 1) && is_direct(sim, 1, 0);
}

/* Lets them talk until they do so directly or the time is over. */
static bool talk_until_direct(struct sim *sim, kh_duration within)
{
    kh_time end = kh_time_add(sim_joined_at(sim, 1), within);
    unsigned count = 0;

    while (sim_failure(sim) == NULL && sim_now(sim) < end) {
        kh_duration left = kh_time_since(end, sim_now(sim));

        if (sim_run_until(sim, both_direct, left < SPEAK_EVERY ? left : SPEAK_EVERY))
            return true;
        if (count++ < SPEECHES_MAX) {
            sim_say(sim, 0);
            sim_say(sim, 1);
        }
    }
    return false;
}

static void measure(struct sim *sim, uint32_t direct_ms)
{
    size_t count = pair_count();
    size_t sample = (size_t)(sim_seed(sim) / count) % SAMPLES_MAX;

    if (samples != NULL)
        samples[sim_seed(sim) % count][sample] = direct_ms;
}

static uint32_t ms_since_both(struct sim *sim)
{
    return 1 + (uint32_t)(since_both(sim, 0, 1, sim_now(sim)) / KH_MILLISECONDS(1));
}

/* These three return what is wrong, or NULL. */
static const char *open_at_once(struct sim *sim, kh_duration within)
{
    if (!sim_run_until(sim, sim_all_open, OPEN_WITHIN))
        return "no channel in time";
    if (since_both(sim, 0, 1, sim_contact(sim, 0, 1)->path_at) > within ||
        since_both(sim, 0, 1, sim_contact(sim, 1, 0)->path_at) > within)
        return "no first path in time";
    return NULL;
}

static const char *meet_directly(struct sim *sim, enum reach reach)
{
    if (!talk_until_direct(sim, goals[reach].within))
        return "no direct path in time";
    measure(sim, ms_since_both(sim));
    return sim_run(sim, KH_SECONDS(1)) && both_direct(sim) ? NULL : "the direct path does not last";
}

/* What physics gives to the relay; luck with ports is allowed. */
static const char *stay_connected(struct sim *sim)
{
    bool was_lucky = talk_until_direct(sim, WATCHED_FOR);

    measure(sim, was_lucky ? ms_since_both(sim) : UINT32_MAX);
    return sim_all_open(sim) ? NULL : "no channel any more";
}

bool scenario_pairs(struct sim *sim)
{
    struct pair pair = pair_at(sim_seed(sim) % pair_count());
    enum reach reach = reach_of(&pair);
    const char *wrong;
    bool has_udp = !pair.a.has_no_udp && !pair.b.has_no_udp;
    int alice, bob;

    sim_add_relay(sim);
    sim_add_streams(sim);
    alice = add_member(sim, "alice", &pair.a);
    bob = add_member(sim, "bob", &pair.b);
    join(sim, alice, &pair.a);
    CHECK(sim_run(sim, KH_SECONDS(1)));
    join(sim, bob, &pair.b);
    wrong = open_at_once(sim, has_udp ? PATH_WITHIN : PATH_WITHOUT_UDP_WITHIN);
    if (wrong == NULL)
        wrong = goals[reach].within != 0 ? meet_directly(sim, reach) : stay_connected(sim);
    if (wrong == NULL && !talk(sim, alice, bob))
        wrong = "not all is delivered";
    if (wrong != NULL)
        return sim_fail(sim, "%s x %s (%s): %s", pair.a.name, pair.b.name, reach_names[reach],
                        wrong);
    return true;
}

/* ---- the times ---- */

void scenario_pairs_prepare(void)
{
    samples = mmap(NULL, PAIRS_MAX * sizeof *samples, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (samples == MAP_FAILED)
        abort();
}

struct summary {
    uint32_t median_ms, most_ms; /* most: 99 % */
};

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Adds what was measured of a pair; returns how many that are. */
static size_t gather(size_t pair, uint32_t *out)
{
    size_t count = 0;

    for (size_t i = 0; i < SAMPLES_MAX; i++)
        if (samples[pair][i] != 0)
            out[count++] = samples[pair][i];
    return count;
}

/* Puts the times in order, too. */
static struct summary print_times(const char *name, uint32_t *times, size_t count)
{
    struct summary summary = {0};
    size_t direct = 0;

    qsort(times, count, sizeof times[0], compare);
    while (direct < count && times[direct] != UINT32_MAX)
        direct++;
    printf("%-50s %6zu of %6zu direct", name, direct, count);
    if (direct > 0) {
        summary = (struct summary){times[direct / 2], times[(direct - 1) * 99 / 100]};
        printf("; median %6.3f s, 99 %% %6.3f s, worst %6.3f s", summary.median_ms / 1e3,
               summary.most_ms / 1e3, times[direct - 1] / 1e3);
    }
    printf("\n");
    return summary;
}

/* Gathers all pairs that meet so; false if they take longer than they should. */
static bool judge(enum reach reach, uint32_t *times)
{
    struct summary summary;
    size_t count = 0;

    for (size_t i = 0; i < pair_count(); i++) {
        struct pair pair = pair_at(i);

        if (reach_of(&pair) == reach)
            count += gather(i, times + count);
    }
    if (count == 0)
        return true;
    summary = print_times(reach_names[reach], times, count);
    if (goals[reach].within == 0 || count < SAMPLES_JUDGED ||
        (summary.median_ms <= goals[reach].median_ms && summary.most_ms <= goals[reach].most_ms))
        return true;
    printf("FAIL %s: the median shall be %.1f s, and 99 %% %.1f s at most\n", reach_names[reach],
           goals[reach].median_ms / 1e3, goals[reach].most_ms / 1e3);
    return false;
}

bool scenario_pairs_report(void)
{
    uint32_t *times = calloc(PAIRS_MAX * SAMPLES_MAX, sizeof *times);
    bool is_fast = true;
    char name[80];

    if (times == NULL)
        abort();
    for (size_t i = 0; i < pair_count(); i++) {
        struct pair pair = pair_at(i);
        size_t count = gather(i, times);

        (void)snprintf(name, sizeof name, "%s x %s", pair.a.name, pair.b.name);
        if (count >= SAMPLES_SHOWN)
            print_times(name, times, count);
    }
    for (int reach = 0; reach < REACHES; reach++)
        is_fast = judge((enum reach)reach, times) && is_fast;
    free(times);
    return is_fast;
}
