/*
 * daemon: into the background, with the parent waiting until the child says that it serves.
 *
 *   parent                          child
 *   daemon_fork() ----------------> goes on, with stderr
 *   waits                           daemon_ready(): serves; leaves the terminal
 *   sees that the mount answers
 *   exits 0                         ...
 *   (a child that ends before daemon_ready(): the parent exits with the child's code)
 */
#ifndef FS_DAEMON_H
#define FS_DAEMON_H

#include <stdbool.h>

struct daemon {
    int ready_fd; /* -1: in the foreground, nobody waits */
};

/* Returns in the child only. `probe` is a path that the parent reads once the child is ready, to see that it is
 * answered; NULL: none. -errno if there is no child; nothing has changed then. */
int daemon_fork(struct daemon *d, const char *probe, int exit_code_unanswered);

void daemon_ready(struct daemon *d);

#endif
