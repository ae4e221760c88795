/* knothole/main.c - the terminal client: finds the command and runs it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct command commands[] = {
    {"chat", kh_command_chat, "LINK|SERVER   talk with everyone who has the link"},
    {"doctor", kh_command_doctor, "SERVER      say what network this is, and whom it reaches"},
    {"new", kh_command_new, " SERVER        print a link to a new room"},
};

static void print_help(FILE *out)
{
    (void)fputs("usage: knothole COMMAND ...\n\n", out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        (void)fprintf(out, "  knothole %s %s\n", commands[i].name, commands[i].summary);
    (void)fputs("\n  knothole COMMAND --help    say more about a command\n"
                "  knothole --version         show the version\n"
                "\nTalk directly through any NATs, end-to-end encrypted.  A link is the key to its "
                "room:\ngive it only to those who may read and speak there.\n",
                out);
}

/* A descriptor of ours must never take the place of a standard one that somebody closed. */
static void fill_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, which is checked */
    if (argc < 2) {
        print_help(stderr);
        return KH_EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return KH_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("knothole " KH_VERSION);
        return KH_EXIT_OK;
    }
    (void)fprintf(stderr, "knothole: there is no command \"%.80s\" (see knothole --help)\n",
                  argv[1]);
    return KH_EXIT_USAGE;
}
