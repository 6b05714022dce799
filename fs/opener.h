/*
 * opener: which process opened a file, and whether the descriptor it just closed was its last writable one of that
 * file (design: 2.1, rule 2). Everything comes from /proc; nothing here touches our own mount, which would wait for
 * ourselves.
 */
#ifndef FS_OPENER_H
#define FS_OPENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A process; pids are used again, so a number that is not belongs to it. tgid 0: it can't be seen from here. */
struct opener {
    pid_t tgid;
    uint64_t identity;
};

/* The process of the thread `pid`, as a request names it; tgid 0 if it can't be told. */
void opener_of(pid_t pid, struct opener *ret_opener);

/* Whether the thread `pid` belongs to `o`. */
bool opener_is(const struct opener *o, pid_t pid);

/* Whether both are one process, and one that can be seen. */
bool opener_same(const struct opener *a, const struct opener *b);

/* How many descriptors of the inode `ino` on the device `dev` (as in st_dev) the thread's process has that were opened
 * with `access` (O_WRONLY or O_RDWR), which nothing changes later, and so may belong to the same open file. The thread
 * that asks, because the main thread may have ended before the others: then it shows none. Negative errno when /proc
 * does not tell (-EACCES for another user's process). *ret_any: it has descriptors, of whatever; a process on its way
 * out has none. */
int opener_fds(pid_t pid, uint64_t dev, uint64_t ino, int access, bool *ret_any);

/* The thread is on its way out because a signal killed it. */
bool opener_killed(pid_t pid);

/* SIGKILL has been sent to the thread or it is on its way out: nobody will look at an answer. */
bool opener_dying(pid_t pid);

/* Whether the thread, of the user `uid`, has CAP_FSETID. Where /proc does not tell, root has it. */
bool opener_may_set_ids(pid_t pid, uid_t uid);

/* Whether `group` is among the thread's supplementary groups. */
bool opener_in_group(pid_t pid, gid_t group);

/* The device of the topmost mount at `mountpoint` (absolute, resolved), from /proc/self/mountinfo. -ENOENT: no mount.
 */
int opener_mount_dev(const char *mountpoint, uint64_t *ret_dev);

#endif
