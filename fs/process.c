#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uthash.h>

#define TEXT_MAX     4096   /* of status and fdinfo files: we need their first lines */
#define ENTRIES_MAX  4096   /* bytes of one getdents64 */
#define PIDFD_THREAD O_EXCL /* Linux 6.9 and later */
#define TASKS_MAX    64
#define TASK_FDS     8 /* below this number, the fdinfo of a descriptor is kept open */
#define LIMIT_PART   4 /* of the descriptors that this program may have, one in so many is for what is kept */

/* A thread that sent a request. */
struct task {
    UT_hash_handle hh; /* in the order of their use */
    pid_t pid;
    int pidfd;
    struct opener opener;
    int fdinfo; /* the directory; -1: not opened yet */
    int fds[TASK_FDS];
};

static struct task *tasks;

static int pidfd_open(pid_t pid, unsigned flags)
{
    return (int)syscall(SYS_pidfd_open, pid, flags);
}

/* Files of /proc come whole in one read; those that are longer than `text` are cut. */
static int text_read(int fd, char *text, size_t size)
{
    ssize_t len = pread(fd, text, size - 1, 0);

    if (len < 0) {
        return -errno;
    }
    text[len] = '\0';
    return 0;
}

int process_read(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    int n = snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd;
    int rv;

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    rv = text_read(fd, text, size);
    close(fd);
    return rv;
}

bool process_value(const char *text, const char *key, int base, uint64_t *ret_value)
{
    size_t key_len = strlen(key);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n') {
            line++;
        }
        if (strncmp(line, key, key_len) == 0 && line[key_len] == ':') {
            *ret_value = strtoull(line + key_len + 1, NULL, base);
            return true;
        }
    }
    return false;
}

/* ---- what is kept ---- */

static void task_free(struct task *t)
{
    HASH_DEL(tasks, t);
    close(t->pidfd);
    if (t->fdinfo >= 0) {
        close(t->fdinfo);
    }
    for (size_t i = 0; i < TASK_FDS; i++) {
        if (t->fds[i] >= 0) {
            close(t->fds[i]);
        }
    }
    free(t);
}

void process_forget_all(void)
{
    struct task *t;
    struct task *next;

    HASH_ITER(hh, tasks, t, next)
    {
        task_free(t);
    }
}

/* Room for one more, whoever was not heard of for longest goes. */
static void tasks_make_room(void)
{
    struct rlimit limit;
    size_t max = TASKS_MAX;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / LIMIT_PART < max * (TASK_FDS + 2)) {
        max = limit.rlim_cur / LIMIT_PART / (TASK_FDS + 2);
    }
    while (tasks != NULL && HASH_COUNT(tasks) >= max) {
        task_free(tasks);
    }
}

static bool task_lives(const struct task *t)
{
    return syscall(SYS_pidfd_send_signal, t->pidfd, 0, NULL, 0) == 0 || errno != ESRCH;
}

static struct task *task_find(pid_t pid)
{
    struct task *t;

    HASH_FIND(hh, tasks, &pid, sizeof(pid), t);
    if (t == NULL) {
        return NULL;
    }
    if (!task_lives(t)) {
        task_free(t);
        return NULL;
    }
    if (t->hh.next != NULL) {
        HASH_DEL(tasks, t);
        HASH_ADD(hh, tasks, pid, sizeof(t->pid), t);
    }
    return t;
}

static void task_keep(pid_t pid, int pidfd, const struct opener *opener)
{
    struct task *t;

    tasks_make_room();
    t = malloc(sizeof(*t));
    if (t == NULL) {
        abort();
    }
    t->pid = pid;
    t->pidfd = pidfd;
    t->opener = *opener;
    t->fdinfo = -1;
    for (size_t i = 0; i < TASK_FDS; i++) {
        t->fds[i] = -1;
    }
    HASH_ADD(hh, tasks, pid, sizeof(t->pid), t);
}

/* ---- which process ---- */

/* A number that no other process has or will have: the pidfd's inode number (before Linux 6.9 all have the same, and a
 * pid that is used again can't be told). 0 if it can't be seen. */
static uint64_t pidfd_identity(int pidfd)
{
    struct stat st;

    return fstat(pidfd, &st) == 0 ? st.st_ino : 0;
}

static uint64_t process_identity(pid_t tgid)
{
    int pidfd = pidfd_open(tgid, 0);
    uint64_t identity;

    if (pidfd < 0) {
        return 0;
    }
    identity = pidfd_identity(pidfd);
    close(pidfd);
    return identity;
}

/* Of a thread that is not the main one: /proc tells whose it is. */
static void thread_opener(pid_t pid, struct opener *ret_opener)
{
    char text[TEXT_MAX] = "";
    uint64_t tgid;

    if (process_read(pid, "status", text, sizeof(text)) == 0 && process_value(text, "Tgid", 10, &tgid)) {
        ret_opener->tgid = (pid_t)tgid;
        ret_opener->identity = process_identity((pid_t)tgid);
    }
}

void process_of(pid_t pid, struct opener *ret_opener)
{
    const struct task *t = task_find(pid);
    struct opener o = {0};
    int pidfd;

    if (t != NULL) {
        *ret_opener = t->opener;
        return;
    }
    pidfd = pidfd_open(pid, 0);
    if (pidfd >= 0) {
        o.tgid = pid;
        o.identity = pidfd_identity(pidfd);
    } else {
        pidfd = pidfd_open(pid, PIDFD_THREAD);
        thread_opener(pid, &o);
    }
    if (o.identity == 0) {
        o.tgid = 0;
    }
    *ret_opener = o;
    if (pidfd >= 0 && o.tgid != 0) {
        task_keep(pid, pidfd, &o);
    } else if (pidfd >= 0) {
        close(pidfd);
    }
}

/* ---- its descriptors ---- */

/* The directory /proc/PID/fdinfo; *ret_kept says that it stays open. */
static int fdinfo_open(struct task *t, pid_t pid, bool *ret_kept)
{
    char path[64];
    int n;
    int fd;

    *ret_kept = t != NULL;
    if (t != NULL && t->fdinfo >= 0) {
        return lseek(t->fdinfo, 0, SEEK_SET) == 0 ? t->fdinfo : -errno;
    }
    n = snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (t != NULL) {
        t->fdinfo = fd;
    }
    return fd;
}

/* What /proc/PID/fdinfo/N says now. */
static int fd_read(struct task *t, int fdinfo, const char *name, char *text, size_t size)
{
    unsigned long number = strtoul(name, NULL, 10);
    int *kept = t != NULL && number < TASK_FDS ? &t->fds[number] : NULL;
    int fd = kept != NULL ? *kept : -1;
    int rv;

    if (fd < 0) {
        fd = openat(fdinfo, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            return -errno;
        }
    }
    rv = text_read(fd, text, size);
    if (kept != NULL) {
        *kept = fd;
    } else {
        close(fd);
    }
    return rv;
}

static bool is_gone(int rv)
{
    return rv == -ENOENT || rv == -ESRCH;
}

static int read_entries(struct task *t, int fdinfo, void (*cb)(void *arg, const char *text), void *arg)
{
    union {
        struct dirent64 aligned;
        char bytes[ENTRIES_MAX];
    } entries;
    char text[TEXT_MAX];
    long len;

    while ((len = syscall(SYS_getdents64, fdinfo, entries.bytes, sizeof(entries.bytes))) > 0) {
        for (long at = 0; at < len;) {
            const struct dirent64 *entry = (const struct dirent64 *)(entries.bytes + at);
            int rv;

            at += entry->d_reclen;
            if (entry->d_name[0] == '.') {
                continue;
            }
            rv = fd_read(t, fdinfo, entry->d_name, text, sizeof(text));
            if (rv == 0) {
                cb(arg, text);
            } else if (!is_gone(rv)) {
                return rv; /* closed meanwhile is no error */
            }
        }
    }
    return len < 0 ? -errno : 0;
}

int process_each_fd(pid_t pid, void (*cb)(void *arg, const char *text), void *arg)
{
    struct task *t = task_find(pid);
    bool kept;
    int fdinfo = fdinfo_open(t, pid, &kept);
    int rv = fdinfo < 0 ? fdinfo : read_entries(t, fdinfo, cb, arg);

    if (fdinfo >= 0 && !kept) {
        close(fdinfo);
    }
    return is_gone(rv) ? 0 : rv;
}
