/* lab/natbox.c - a home router as a program: a NAT between two TUN devices, with a slow, lossy
 * line.
 *
 * SPDX-License-Identifier: MIT
 *
 * The devices lie in two network namespaces, so the box needs none of its own.  Line delay, jitter
 * and loss are on the outer side, as with a real access line: what leaves is translated first and
 * then waits, what arrives waits first.  SIGUSR1 rebinds; SIGTERM prints the counters and ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "lab/packet.h"
#include "support/dice.h"
#include "support/nat.h"

#define LINE_MAX_PACKETS 4096 /* a line of 100 Mbit/s and 400 ms holds about that many */

/* A packet on the line, in either direction. */
struct waiting {
    kh_time due;
    uint64_t order; /* of arrival: equal times keep it */
    bool inbound;
    struct packet *packet; /* owned */
};

/* What the line does to packets. */
struct line {
    kh_duration delay; /* one way */
    kh_duration jitter;
    double loss; /* 0 .. 1, of each direction */
};

struct natbox {
    struct nat *nat;
    struct line line;
    struct dice dice;
    int inside, outside; /* TUN devices */
    int timer, signals;
    struct waiting heap[LINE_MAX_PACKETS]; /* a binary heap, the earliest first */
    size_t heap_count;
    uint64_t orders;
    uint64_t lost;
    uint64_t refused; /* packets that we do not carry */
};

struct options {
    struct nat_config nat;
    struct line line;
    const char *inside; /* NETNS:DEVICE */
    const char *outside;
    uint64_t seed;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "natbox: %s: %s\n", what, strerror(errno));
    exit(1);
}

static kh_time now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (kh_time)ts.tv_sec * 1000000u + (kh_time)ts.tv_nsec / 1000u;
}

/* ---- the line ---- */

static bool is_before(const struct waiting *a, const struct waiting *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void swap(struct waiting *a, struct waiting *b)
{
    struct waiting kept = *a;

    *a = *b;
    *b = kept;
}

static void line_push(struct natbox *box, struct waiting item)
{
    size_t at = box->heap_count++;

    box->heap[at] = item;
    for (; at > 0 && is_before(&box->heap[at], &box->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&box->heap[at], &box->heap[(at - 1) / 2]);
}

static struct waiting line_pop(struct natbox *box)
{
    struct waiting first = box->heap[0];
    size_t at = 0, child;

    box->heap[0] = box->heap[--box->heap_count];
    while ((child = 2 * at + 1) < box->heap_count) {
        if (child + 1 < box->heap_count && is_before(&box->heap[child + 1], &box->heap[child]))
            child++;
        if (!is_before(&box->heap[child], &box->heap[at]))
            break;
        swap(&box->heap[child], &box->heap[at]);
        at = child;
    }
    return first;
}

static void line_enter(struct natbox *box, kh_time now, const struct packet *packet, bool inbound)
{
    struct waiting item = {
        .due = now + box->line.delay, .order = box->orders++, .inbound = inbound};

    if (dice_chance(&box->dice, box->line.loss) || box->heap_count == LINE_MAX_PACKETS) {
        box->lost++;
        return;
    }
    if (box->line.jitter > 0)
        item.due += dice_below(&box->dice, box->line.jitter);
    item.packet = malloc(sizeof(*item.packet));
    if (item.packet == NULL)
        die("out of memory");
    *item.packet = *packet;
    line_push(box, item);
}

/* ---- the box ---- */

static void put(int device, const struct packet *packet)
{
    /* A device that is full or down loses packets, as a network does. */
    if (write(device, packet->data, packet->len) < 0 && errno != EAGAIN && errno != EIO)
        die("write");
}

static void handle_inside(struct natbox *box, kh_time now, struct packet *packet)
{
    struct nat_flow flow = packet->flow;

    switch (nat_outbound(box->nat, now, &flow)) {
    case NAT_DROP:
        return;
    case NAT_FORWARD:
        packet_rewrite(packet, &flow);
        line_enter(box, now, packet, false);
        return;
    case NAT_TURN:
        packet_rewrite(packet, &flow);
        put(box->inside, packet);
        return;
    }
}

static void leave_line(struct natbox *box, kh_time now, const struct waiting *item)
{
    struct nat_flow flow = item->packet->flow;

    if (!item->inbound) {
        put(box->outside, item->packet);
    } else if (nat_inbound(box->nat, now, &flow) == NAT_FORWARD) {
        packet_rewrite(item->packet, &flow);
        put(box->inside, item->packet);
    }
    free(item->packet);
}

static void read_device(struct natbox *box, int device)
{
    struct packet packet;
    ssize_t len;

    while ((len = read(device, packet.data, sizeof(packet.data))) > 0) {
        packet.len = (size_t)len;
        if (!packet_parse(&packet))
            box->refused++;
        else if (device == box->inside)
            handle_inside(box, now_us(), &packet);
        else
            line_enter(box, now_us(), &packet, true);
    }
    if (len < 0 && errno != EAGAIN)
        die("read");
}

static void run_line(struct natbox *box)
{
    struct itimerspec spec = {0};
    kh_time now = now_us();

    while (box->heap_count > 0 && box->heap[0].due <= now) {
        struct waiting item = line_pop(box);

        leave_line(box, now, &item);
    }
    if (box->heap_count > 0) {
        spec.it_value.tv_sec = (time_t)(box->heap[0].due / 1000000u);
        spec.it_value.tv_nsec = (long)(box->heap[0].due % 1000000u) * 1000;
    }
    if (timerfd_settime(box->timer, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
        die("timerfd_settime");
}

static void print_stats(const struct natbox *box)
{
    struct nat_stats stats = nat_stats(box->nat);

    printf("{\"forwarded\":%llu,\"turned\":%llu,\"mappings\":%llu,\"filtered\":%llu,"
           "\"unmapped\":%llu,\"no_hairpin\":%llu,\"full\":%llu,\"lost\":%llu,\"refused\":%llu}\n",
           (unsigned long long)stats.forwarded, (unsigned long long)stats.turned,
           (unsigned long long)stats.mappings_made, (unsigned long long)stats.dropped_filtered,
           (unsigned long long)stats.dropped_unmapped, (unsigned long long)stats.dropped_hairpin,
           (unsigned long long)stats.dropped_full, (unsigned long long)box->lost,
           (unsigned long long)box->refused);
    fflush(stdout);
}

/* False when it is time to end. */
static bool handle_signal(struct natbox *box)
{
    struct signalfd_siginfo info;

    if (read(box->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return true;
    if (info.ssi_signo == SIGUSR1) {
        nat_rebind(box->nat);
        return true;
    }
    print_stats(box);
    return false;
}

static void run(struct natbox *box)
{
    struct pollfd fds[] = {{.fd = box->inside, .events = POLLIN},
                           {.fd = box->outside, .events = POLLIN},
                           {.fd = box->timer, .events = POLLIN},
                           {.fd = box->signals, .events = POLLIN}};
    uint64_t ticks;

    for (;;) {
        if (poll(fds, 4, -1) < 0 && errno != EINTR)
            die("poll");
        if ((fds[2].revents & POLLIN) != 0 && read(box->timer, &ticks, sizeof(ticks)) < 0)
            ticks = 0; /* the timer was set anew meanwhile */
        run_line(box); /* before new ones come, so that old ones are not late */
        if ((fds[0].revents & POLLIN) != 0)
            read_device(box, box->inside);
        if ((fds[1].revents & POLLIN) != 0)
            read_device(box, box->outside);
        run_line(box);
        if ((fds[3].revents & POLLIN) != 0 && !handle_signal(box))
            return;
    }
}

/* ---- setting up ---- */

/* Attaches to a TUN device that exists in another network namespace. */
static int open_device(const char *place)
{
    char path[256];
    const char *colon = strchr(place, ':');
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int netns, device;

    if (colon == NULL || strlen(colon + 1) >= IFNAMSIZ || strlen(place) > 200) {
        fprintf(stderr, "natbox: %s is not NETNS:DEVICE\n", place);
        exit(2);
    }
    snprintf(path, sizeof(path), "/var/run/netns/%.*s", (int)(colon - place), place);
    netns = open(path, O_RDONLY | O_CLOEXEC);
    if (netns < 0 || setns(netns, CLONE_NEWNET) < 0)
        die(path);
    close(netns);
    memcpy(request.ifr_name, colon + 1, strlen(colon + 1) + 1);
    device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0 || ioctl(device, TUNSETIFF, &request) < 0)
        die(place);
    return device;
}

static const char usage[] =
    "usage: natbox --inside NETNS:DEV --outside NETNS:DEV [--kind NAME] [--external IP]\n"
    "              [--delay MS] [--jitter MS] [--loss 0..1] [--lifetime SECONDS] [--seed N]\n"
    "       natbox --kinds\n";

static void print_kinds(void)
{
    const struct nat_preset *preset;

    for (size_t n = 0; (preset = nat_preset_at(n)) != NULL; n++)
        printf("%s\t%d\t%s\t%s\t%s\t%d\t%s\n", preset->name, (int)preset->config.kind,
               nat_rule_name(preset->config.mapping), nat_rule_name(preset->config.filtering),
               nat_ports_name(preset->config.ports), (int)preset->config.hairpin, preset->means);
}

static _Noreturn void die_usage(void)
{
    fputs(usage, stderr);
    exit(2);
}

static void take_option(struct options *options, int option, const char *value)
{
    const struct nat_preset *preset;

    switch (option) {
    case 'i':
        options->inside = value;
        return;
    case 'o':
        options->outside = value;
        return;
    case 'k':
        preset = nat_preset_find(value);
        if (preset == NULL) {
            fprintf(stderr, "natbox: no kind %s; natbox --kinds lists them\n", value);
            exit(2);
        }
        options->nat = preset->config;
        return;
    case 'd':
        options->line.delay = (kh_duration)(atof(value) * 1000);
        return;
    case 'j':
        options->line.jitter = (kh_duration)(atof(value) * 1000);
        return;
    case 'l':
        options->line.loss = atof(value);
        return;
    case 's':
        options->seed = strtoull(value, NULL, 0);
        return;
    default:
        die_usage();
    }
}

static struct options read_options(int argc, char **argv)
{
    static const struct option names[] = {{"inside", required_argument, NULL, 'i'},
                                          {"outside", required_argument, NULL, 'o'},
                                          {"kind", required_argument, NULL, 'k'},
                                          {"external", required_argument, NULL, 'x'},
                                          {"delay", required_argument, NULL, 'd'},
                                          {"jitter", required_argument, NULL, 'j'},
                                          {"loss", required_argument, NULL, 'l'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"lifetime", required_argument, NULL, 't'},
                                          {"kinds", no_argument, NULL, 'K'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {.nat = nat_preset_find("port-restricted")->config, .seed = 1};
    struct kh_addr external = {0};
    kh_duration lifetime = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        if (option == 'K') {
            print_kinds();
            exit(0);
        } else if (option == 'x' && kh_addr_parse(optarg, 0, &external) != KH_OK) {
            die_usage();
        } else if (option == 't') {
            lifetime = KH_SECONDS(strtoul(optarg, NULL, 10));
        } else if (option != 'x') {
            take_option(&options, option, optarg);
        }
    }
    options.nat.external = external; /* last, since --kind replaces the whole of it */
    options.nat.lifetime = lifetime;
    options.nat.seed = options.seed;
    if (optind != argc || options.inside == NULL || options.outside == NULL)
        die_usage();
    return options;
}

int main(int argc, char **argv)
{
    static struct natbox box; /* the heap is too large for a stack */
    struct options options = read_options(argc, argv);
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no box outlives its lab */
    prctl(PR_SET_TIMERSLACK, 1UL);    /* else every wait is up to 50 µs late */
    if (nat_new(&box.nat, &options.nat) != KH_OK)
        die("nat");
    box.line = options.line;
    box.dice = dice_of(options.seed + 1);
    box.inside = open_device(options.inside);
    box.outside = open_device(options.outside);
    box.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    box.signals = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (box.timer < 0 || box.signals < 0)
        die("timerfd or signalfd");
    fprintf(stderr, "natbox ready\n");
    run(&box);
    while (box.heap_count > 0)
        free(line_pop(&box).packet);
    nat_free(box.nat);
    return 0;
}
