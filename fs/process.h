/*
 * process: processes as /proc shows them. What was opened of the latest ones is kept, so that each of their closes
 * costs a few system calls and not some for each of their descriptors.
 *
 * A pidfd, and a descriptor of a file below /proc/PID, belong to that one thread: once it has ended they fail, and
 * never show another that got its number. They pin nothing of it. All this is for the loop's thread alone.
 */
#ifndef FS_PROCESS_H
#define FS_PROCESS_H

#include "opener.h"

/* The process of the thread `pid`; tgid 0 if there is none, or /proc does not tell. */
void process_of(pid_t pid, struct opener *ret_opener);

/* Calls `cb` with the text of /proc/PID/fdinfo/N for each descriptor that the thread `pid` has; one that has ended has
 * none. Negative errno when not all of them can be read (-EACCES for another user's process). */
int process_each_fd(pid_t pid, void (*cb)(void *arg, const char *text), void *arg);

/* A file of /proc/PID, cut at `size` - 1 bytes. */
int process_read(pid_t pid, const char *name, char *text, size_t size);

/* The number behind "KEY:" at the start of a line. */
bool process_value(const char *text, const char *key, int base, uint64_t *ret_value);

/* Closes all that is kept. */
void process_forget_all(void);

#endif
