/* knothole/command.h - the commands of the terminal client; one file each.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KH_KNOTHOLE_COMMAND_H
#define KH_KNOTHOLE_COMMAND_H

enum kh_command_exit {
    KH_EXIT_OK = 0,
    KH_EXIT_FAILED = 1,      /* the machine does not let us: no sockets, no state directory */
    KH_EXIT_USAGE = 2,       /* bad usage or link */
    KH_EXIT_UNDELIVERED = 3, /* something was not delivered */
    KH_EXIT_NO_SERVER = 4,   /* no server could be reached */
};

/* argv[0] is the command's name.  Returns the program's exit code. */
int kh_command_chat(int argc, char **argv);
int kh_command_doctor(int argc, char **argv);
int kh_command_new(int argc, char **argv);

#endif
