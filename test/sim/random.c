/* sim/random.c - the story that the seed tells.
 *
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <stdlib.h>

#include "sim/scenario.h"

#define ACTS_MAX 160
#define TROUBLE_ENDS KH_SECONDS(25)

enum act_kind {
    JOIN,
    SAY,
    LEAVE,
    VANISH,
    RETURN,
    PROBE,
    REBIND,
    CUT,
    MEND,
    CUT_UDP,
    MEND_UDP,
    STOP,
    START
};

struct act {
    kh_time at;
    enum act_kind kind;
    int who; /* member or box */
};

struct story {
    struct act acts[ACTS_MAX]; /* sorted by time */
    size_t act_count;
    int boxes[8], box_count;
    int provider; /* a box with boxes in it; -1: none yet */
    kh_time last_join;
    bool has_streams; /* so that UDP may be blocked */
    bool is_calm;     /* no trouble and nothing lost: then time is short, too */
    bool is_closed;   /* many boxes let less through than UDP, and a relay is there: all meet */
};

static void add_act(struct story *story, kh_time at, enum act_kind kind, int who)
{
    size_t i = story->act_count++;

    assert(story->act_count <= ACTS_MAX);
    for (; i > 0 && story->acts[i - 1].at > at; i--)
        story->acts[i] = story->acts[i - 1];
    story->acts[i] = (struct act){at, kind, who};
}

static struct net_line random_line(struct story *story, struct dice *dice)
{
    struct net_line line = {.delay = dice_range(dice, 500, 80000)};

    if (dice_chance(dice, 0.5))
        line.jitter = dice_below(dice, line.delay);
    if (dice_chance(dice, 0.4)) {
        /* Two lines of 16 % lose 30 % together. */
        line.loss = 0.163 * (double)dice_below(dice, 101) / 100;
        story->is_calm = false;
    }
    if (dice_chance(dice, 0.3))
        line.duplication = 0.05;
    if (dice_chance(dice, 0.2))
        line.replay = line.garble = 0.02;
    return line;
}

static int add_box(struct sim *sim, struct story *story, struct dice *dice)
{
    struct net_line line = random_line(story, dice);
    size_t kinds = 0;
    const char *kind;
    int box;

    while (nat_preset_at(kinds) != NULL)
        kinds++;
    kind = nat_preset_at((size_t)dice_below(dice, kinds))->name;
    sim_set_line(sim, &line);
    if (!dice_chance(dice, 0.2)) {
        box = sim_add_site(sim, kind);
    } else {
        if (story->provider < 0)
            story->provider = sim_add_site(sim, "cgn");
        /* What has public addresses does not stand behind a provider's NAT. */
        box = nat_preset_find(kind)->config.kind == NAT_KIND_TRANSLATOR
                  ? sim_add_inner_site(sim, story->provider, kind)
                  : story->provider;
    }
    if (story->is_closed) {
        bool is_web_only = dice_chance(dice, 0.2);

        net_set_box_passes(sim_net(sim), box, KH_UDP, !is_web_only && dice_chance(dice, 0.5));
        net_set_box_passes(sim_net(sim), box, KH_TCP, !is_web_only);
    } else if (story->has_streams && dice_chance(dice, 0.3)) {
        net_set_box_passes(sim_net(sim), box, KH_UDP, false);
    }
    story->boxes[story->box_count++] = box;
    return box;
}

static int random_realm(struct sim *sim, struct story *story, struct dice *dice)
{
    if (dice_chance(dice, 0.08))
        return NET_INTERNET;
    if (story->box_count > 0 && dice_chance(dice, 0.25))
        return story->boxes[dice_below(dice, (uint64_t)story->box_count)];
    return add_box(sim, story, dice);
}

static void add_words(struct story *story, struct dice *dice, int member, kh_time join)
{
    uint64_t count = dice_below(dice, 11);

    for (uint64_t i = 0; i < count; i++) {
        kh_time early = join > KH_SECONDS(1) && dice_chance(dice, 0.1) ? KH_SECONDS(1) : 0;

        add_act(story, join - early + dice_below(dice, KH_SECONDS(12)), SAY, member);
    }
}

static void add_member(struct sim *sim, struct story *story, struct dice *dice)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave", "erin"};
    int realm = random_realm(sim, story, dice);
    int member = sim_add_member(sim, names[sim_member_count(sim)], realm);
    kh_time join = dice_below(dice, dice_chance(dice, 0.8) ? KH_SECONDS(5) : KH_SECONDS(20));

    if (dice_chance(dice, 0.2)) {
        sim_add_ipv6(sim, member);
        if (dice_chance(dice, 0.3))
            sim_drop_ipv4(sim, member);
    }
    if (!story->is_closed && dice_chance(dice, 0.15))
        sim_set_paths(sim, member,
                      dice_chance(dice, 0.6) ? KH_NODE_PATHS_RELAY : KH_NODE_PATHS_DIRECT);
    add_act(story, join, JOIN, member);
    add_words(story, dice, member, join);
    if (join > story->last_join)
        story->last_join = join;
}

static kh_time some_time(struct dice *dice)
{
    return dice_range(dice, KH_SECONDS(2), KH_SECONDS(18));
}

static void add_troubles(struct sim *sim, struct story *story, struct dice *dice)
{
    uint64_t boxes = (uint64_t)story->box_count, members = (uint64_t)sim_member_count(sim);
    kh_time at = some_time(dice);
    int who = (int)dice_below(dice, members);

    if (dice_chance(dice, 0.25) && boxes > 0)
        add_act(story, some_time(dice), REBIND, story->boxes[dice_below(dice, boxes)]);
    if (dice_chance(dice, 0.15) && boxes > 0) {
        int box = story->boxes[dice_below(dice, boxes)];

        add_act(story, at, CUT, box);
        add_act(story, dice_range(dice, at, TROUBLE_ENDS), MEND, box);
    }
    if (story->has_streams && dice_chance(dice, 0.3) && boxes > 0) {
        int box = story->boxes[dice_below(dice, boxes)];

        at = some_time(dice);
        add_act(story, at, CUT_UDP, box);
        add_act(story, dice_range(dice, at, TROUBLE_ENDS), MEND_UDP, box);
    }
    if (dice_chance(dice, 0.25)) {
        at = some_time(dice);
        add_act(story, at, STOP, 0);
        add_act(story, dice_range(dice, at, TROUBLE_ENDS), START, 0);
    }
    if (dice_chance(dice, 0.2)) {
        at = some_time(dice);
        add_act(story, at, dice_chance(dice, 0.5) ? LEAVE : VANISH, who);
        add_act(story, dice_range(dice, at, TROUBLE_ENDS), RETURN, who);
    } else if (dice_chance(dice, 0.1)) {
        add_act(story, some_time(dice), PROBE, who);
    }
}

static void act_member(struct sim *sim, struct story *story, const struct act *act)
{
    bool is_present = sim_is_present(sim, act->who);

    switch (act->kind) {
    case JOIN:
        sim_join(sim, act->who);
        return;
    case SAY:
        if (is_present || !sim_has_joined(sim, act->who))
            sim_say(sim, act->who);
        return;
    case LEAVE:
        if (is_present)
            sim_leave(sim, act->who);
        return;
    case VANISH:
        if (is_present)
            sim_vanish(sim, act->who);
        return;
    case RETURN:
        if (sim_is_gone(sim, act->who))
            sim_join(sim, sim_return(sim, act->who));
        return;
    case PROBE:
        if (is_present)
            sim_probe(sim, act->who);
        return;
    case REBIND:
    case CUT:
    case MEND:
    case CUT_UDP:
    case MEND_UDP:
    case STOP:
    case START:
        break;
    }
    abort(); /* not an act of a member */
    (void)story;
}

static void act(struct sim *sim, struct story *story, const struct act *act)
{
    switch (act->kind) {
    case REBIND:
        nat_rebind(net_nat(sim_net(sim), act->who));
        return;
    case CUT:
    case MEND:
        net_set_box_up(sim_net(sim), act->who, act->kind == MEND);
        return;
    case CUT_UDP:
    case MEND_UDP:
        net_set_box_passes(sim_net(sim), act->who, KH_UDP, act->kind == MEND_UDP);
        return;
    case STOP:
        sim_stop_server(sim);
        return;
    case START:
        sim_start_server(sim);
        return;
    case JOIN:
    case SAY:
    case LEAVE:
    case VANISH:
    case RETURN:
    case PROBE:
        act_member(sim, story, act);
        return;
    }
}

static bool all_is_well(struct sim *sim)
{
    return sim_all_delivered(sim) && sim_best_paths(sim);
}

static bool all_is_open(struct sim *sim)
{
    return all_is_well(sim) && sim_all_open(sim);
}

static bool play(struct sim *sim, bool is_closed)
{
    struct dice *dice = sim_dice(sim);
    struct story story = {
        .provider = -1, .is_calm = dice_chance(dice, 0.3), .is_closed = is_closed};
    bool had_troubles = !story.is_calm;
    uint64_t members = dice_range(dice, 2, 5);

    if (is_closed || dice_chance(dice, 0.5))
        sim_add_relay(sim);
    if (dice_chance(dice, 0.15))
        sim_add_relay_elsewhere(sim);
    story.has_streams = is_closed || dice_chance(dice, 0.3);
    if (story.has_streams)
        sim_add_streams(sim);
    for (uint64_t i = 0; i < members; i++)
        add_member(sim, &story, dice);
    if (had_troubles)
        add_troubles(sim, &story, dice);
    for (size_t i = 0; i < story.act_count; i++) {
        CHECK(sim_run(sim, kh_time_since(story.acts[i].at, sim_now(sim))));
        act(sim, &story, &story.acts[i]);
    }
    if (story.is_calm) {
        CHECK(sim_run(sim, kh_time_since(story.last_join + KH_SECONDS(5), sim_now(sim))));
        CHECK(sim_best_paths(sim));
    }
    CHECK(sim_run_until(sim, is_closed ? all_is_open : all_is_well, KH_SECONDS(120)));
    CHECK(sim_run(sim, KH_SECONDS(10)));
    CHECK(sim_all_delivered(sim));
    return true;
}

bool scenario_random(struct sim *sim)
{
    return play(sim, false);
}

bool scenario_random_closed(struct sim *sim)
{
    return play(sim, true);
}
