/* sim/main.c - runs scenarios from many seeds and prints for each failure how to repeat it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Built twice: with the plain channel, where the same seed gives the same log, and with the real
 * one (SIM_REAL), where OpenSSL and usrsctp bring randomness of their own.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/scenario.h"

#ifdef SIM_REAL
#define IS_REAL true
#else
#define IS_REAL false
#endif

#define JOBS_MAX 16
#define REPEAT_EVERY 16 /* every 16th run is done twice, and must give the same log twice */
#define NAMED_SEEDS 3   /* of each named scenario, before the random ones begin */
#define CLOSED_EVERY 5  /* of these, one in so many in networks that stop UDP */

struct options {
    const struct scenario *scenario; /* NULL: all */
    uint64_t seed;                   /* the first */
    uint64_t seeds;
    unsigned jobs;
    bool is_loud;
};

/* Shared by all workers. */
struct progress {
    uint64_t runs, failures, steps;
    kh_time virtual_time;
    uint64_t current; /* index of the run under way: whose fault a crash is */
};

struct outcome {
    bool is_ok;
    uint64_t hash;
};

static size_t scenario_count(void)
{
    size_t count = 0;

    while (scenario_at(count) != NULL)
        count++;
    return count;
}

/* The first two are made from the seed; the second takes longer. */
static const struct scenario *at_random(uint64_t index)
{
    return scenario_at(index % CLOSED_EVERY == 0 ? 1 : 0);
}

static const struct scenario *scenario_of(const struct options *options, uint64_t index)
{
    size_t count = scenario_count();
    const struct scenario *scenario;

    if (options->scenario != NULL)
        return options->scenario;
    scenario = index < NAMED_SEEDS * count ? scenario_at(index % count) : at_random(index);
    /* One that measures needs many seeds of its own. */
    return scenario->report == NULL ? scenario : at_random(index);
}

static void print_failure(const struct scenario *scenario, uint64_t seed, kh_time at,
                          const char *what)
{
    printf("FAIL %s at +%.3f s: %s\n", scenario->name, (double)at / 1e6, what);
    if (IS_REAL)
        printf("     build/test/sim/sim_real --scenario %s --seed 0x%llx\n", scenario->name,
               (unsigned long long)seed);
    else
        printf("     make sim SCENARIO=%s SEED=0x%llx\n", scenario->name, (unsigned long long)seed);
    fflush(stdout);
}

static struct outcome run_once(const struct scenario *scenario, uint64_t seed, bool is_loud,
                               struct progress *progress)
{
    static kh_time clock_start; /* of the next run: see sim.h */
    struct sim_config config = {
        .seed = seed, .one_clock = IS_REAL, .clock_start = clock_start, .is_loud = is_loud};
    struct sim *sim = sim_new(&config);
    struct outcome outcome = {.is_ok = scenario->run(sim) && sim_failure(sim) == NULL};

    outcome.hash = sim_hash(sim);
    if (!outcome.is_ok && is_loud)
        sim_explain(sim);
    if (!outcome.is_ok)
        print_failure(scenario, seed, sim_now(sim),
                      sim_failure(sim) != NULL ? sim_failure(sim)
                                               : "a question had the wrong answer");
    progress->runs++;
    progress->failures += !outcome.is_ok;
    progress->steps += sim_steps(sim);
    progress->virtual_time += sim_now(sim);
    clock_start += sim_now(sim) + KH_SECONDS(10);
    sim_free(sim);
    return outcome;
}

static void run_index(const struct options *options, uint64_t index, struct progress *progress)
{
    const struct scenario *scenario = scenario_of(options, index);
    uint64_t seed = options->seed + index;
    struct outcome first, second;

    progress->current = index;
    first = run_once(scenario, seed, options->is_loud, progress);
    if (IS_REAL || !first.is_ok || index % REPEAT_EVERY != 0)
        return;
    second = run_once(scenario, seed, false, progress);
    if (!options->is_loud && first.hash != second.hash) {
        print_failure(scenario, seed, 0, "the same seed gave two different logs");
        progress->failures++;
    }
}

static pid_t start_worker(const struct options *options, uint64_t from, struct progress *progress)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid != 0)
        return pid;
    for (uint64_t index = from; index < options->seeds; index += options->jobs)
        run_index(options, index, progress);
    fflush(NULL);
    _exit(0);
}

/* A worker that died is replaced, and goes on after the run that killed it. */
static void supervise(const struct options *options, struct progress *progress)
{
    pid_t pids[JOBS_MAX];
    int status;
    pid_t pid;

    for (unsigned i = 0; i < options->jobs; i++)
        pids[i] = start_worker(options, i, &progress[i]);
    while ((pid = wait(&status)) > 0) {
        for (unsigned i = 0; i < options->jobs; i++) {
            uint64_t index = progress[i].current;

            if (pids[i] != pid || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
                continue;
            print_failure(scenario_of(options, index), options->seed + index, 0, "crashed");
            progress[i].failures++;
            pids[i] = start_worker(options, index + options->jobs, &progress[i]);
        }
    }
}

static double seconds_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int run_all(const struct options *options)
{
    double started = seconds_now();
    struct progress sum = {0};
    struct progress *progress = mmap(NULL, JOBS_MAX * sizeof(*progress), PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (progress == MAP_FAILED)
        return 1;
    if (options->scenario != NULL && options->scenario->prepare != NULL)
        options->scenario->prepare();
    if (options->seeds == 1)
        run_index(options, 0, &progress[0]);
    else
        supervise(options, progress);
    if (options->scenario != NULL && options->scenario->report != NULL)
        sum.failures += !options->scenario->report();
    for (unsigned i = 0; i < JOBS_MAX; i++) {
        sum.runs += progress[i].runs;
        sum.failures += progress[i].failures;
        sum.steps += progress[i].steps;
        sum.virtual_time += progress[i].virtual_time;
    }
    printf("%llu runs of the %s channel, %llu failed; %.1f virtual hours, %llu steps, %.1f s\n",
           (unsigned long long)sum.runs, IS_REAL ? "real" : "plain",
           (unsigned long long)sum.failures, (double)sum.virtual_time / 3.6e9,
           (unsigned long long)sum.steps, seconds_now() - started);
    return sum.failures == 0 ? 0 : 1;
}

static const struct scenario *find_scenario(const char *name)
{
    const struct scenario *scenario;

    for (size_t n = 0; (scenario = scenario_at(n)) != NULL; n++)
        if (strcmp(scenario->name, name) == 0)
            return scenario;
    fprintf(stderr, "no scenario %s; --list shows them\n", name);
    exit(2);
}

static void list(void)
{
    const struct scenario *scenario;

    for (size_t n = 0; (scenario = scenario_at(n)) != NULL; n++)
        printf("%s\n", scenario->name);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"scenario", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'c'},    {"jobs", required_argument, NULL, 'j'},
        {"list", no_argument, NULL, 'l'},           {NULL, 0, NULL, 0}};
    struct options options = {.seed = 1, .seeds = 1000, .jobs = 2};
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        if (option == 'n') {
            options.scenario = find_scenario(optarg);
        } else if (option == 's') {
            options.seed = strtoull(optarg, NULL, 0);
            options.seeds = 1;
        } else if (option == 'c') {
            options.seeds = strtoull(optarg, NULL, 0);
        } else if (option == 'j') {
            options.jobs = (unsigned)strtoul(optarg, NULL, 0);
        } else if (option == 'l') {
            list();
            return 0;
        } else {
            fputs("usage: sim_test [--scenario NAME] [--seed N] [--seeds COUNT] [--jobs N] "
                  "[--list]\n",
                  stderr);
            return 2;
        }
    }
    if (options.jobs == 0 || options.jobs > JOBS_MAX || options.seeds == 0)
        return 2;
    options.is_loud = options.seeds == 1;
    return run_all(&options);
}
