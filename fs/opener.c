#include "opener.h"

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PROC_TEXT_MAX    4096  /* of stat, status and fdinfo files: we need their first lines */
#define PROC_GROUPS_MAX  65536 /* of a status file whose groups count; whoever has more is taken for a stranger */
#define PROC_PF_SIGNALED 0x400u
#define PROC_STAT_FLAGS  9 /* field of /proc/PID/stat, counted from 1 */

/*
 * A process in execve(2) holds its exec_update_lock while it closes descriptors, and so while its FLUSH waits for us.
 * Reading its /proc/PID/stat waits for that lock: daemon and process would wait for each other for ever (tried).
 * Reading the links in /proc/PID/fd waits for it too (tried). status and fdinfo are free of it, and identity comes
 * from the pidfd.
 */

/* A number of /proc/PID/stat. The command's name (field 2) may hold blanks and parentheses: count from the last ')'. */
static bool stat_field(const char *text, unsigned field, uint64_t *ret_value)
{
    const char *at = strrchr(text, ')');

    if (at == NULL) {
        return false;
    }
    for (unsigned i = 2; i < field; i++) {
        at = strchr(at + 1, ' ');
        if (at == NULL) {
            return false;
        }
    }
    *ret_value = strtoull(at + 1, NULL, 10);
    return true;
}

static bool stat_value(pid_t pid, unsigned field, uint64_t *ret_value)
{
    char text[PROC_TEXT_MAX];

    if (pid <= 0 || process_read(pid, "stat", text, sizeof(text)) != 0) {
        return false;
    }
    return stat_field(text, field, ret_value);
}

/* The pid of a process outside of our pid namespace is 0. A daemon in a pid namespace of its own whose /proc is
 * another's would look at strangers there. Asked once: it can't change namespaces, and mounts its /proc before. */
static bool can_see(pid_t pid)
{
    static enum { UNKNOWN, OURS, OTHERS } proc;
    char text[32];

    if (proc == UNKNOWN) {
        ssize_t len = readlink("/proc/self", text, sizeof(text) - 1);
        text[len < 0 ? 0 : len] = '\0';
        proc = strtol(text, NULL, 10) == getpid() ? OURS : OTHERS;
    }
    return pid > 0 && proc == OURS;
}

void opener_of(pid_t pid, struct opener *ret_opener)
{
    struct opener nobody = {0};

    *ret_opener = nobody;
    if (can_see(pid)) {
        process_of(pid, ret_opener);
    }
}

bool opener_is(const struct opener *o, pid_t pid)
{
    struct opener other;

    if (o->tgid == 0 || pid <= 0) {
        return false;
    }
    opener_of(pid, &other);
    return opener_same(o, &other);
}

bool opener_same(const struct opener *a, const struct opener *b)
{
    return a->tgid != 0 && a->tgid == b->tgid && a->identity == b->identity;
}

/* "36 35 98:0 /root /mountpoint ...": whether the mount `mnt_id`, as the process sees it, is on `dev`. One that it does
 * not see (detached, or outside its root) may well be: rather wait for RELEASE than publish half a file. */
static bool mount_is_on(pid_t pid, uint64_t mnt_id, uint64_t dev)
{
    char path[64];
    char *line = NULL;
    size_t cap = 0;
    bool same = true;
    FILE *f;
    int n = snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return true;
    }
    f = fopen(path, "re");
    if (f == NULL) {
        return true;
    }
    while (getline(&line, &cap, f) > 0) {
        unsigned long long id;
        unsigned long long parent;
        unsigned dev_major;
        unsigned dev_minor;
        if (sscanf(line, "%llu %llu %u:%u ", &id, &parent, &dev_major, &dev_minor) == 4 && id == mnt_id) {
            same = makedev(dev_major, dev_minor) == dev;
            break;
        }
    }
    free(line);
    (void)fclose(f);
    return same;
}

struct search {
    pid_t pid;
    uint64_t dev;
    uint64_t ino;
    int access;
    int found;
    bool any;
};

static void search_fd(void *arg, const char *text)
{
    struct search *s = arg;
    uint64_t flags;
    uint64_t ino;
    uint64_t mnt_id;

    s->any = true;
    if (process_value(text, "flags", 8, &flags) && process_value(text, "ino", 10, &ino) &&
        process_value(text, "mnt_id", 10, &mnt_id) && ino == s->ino && (flags & O_ACCMODE) == (uint64_t)s->access &&
        (flags & O_PATH) == 0) {
        s->found += mount_is_on(s->pid, mnt_id, s->dev);
    }
}

int opener_fds(pid_t pid, uint64_t dev, uint64_t ino, int access, bool *ret_any)
{
    struct search s = {.pid = pid, .dev = dev, .ino = ino, .access = access};
    int rv = process_each_fd(pid, search_fd, &s);

    *ret_any = s.any;
    return rv < 0 ? rv : s.found;
}

/* Exiting: it has given up its descriptors, which is why they are flushed. Then it is not in execve(2) either. */
static bool is_exiting(const char *status)
{
    uint64_t fds;

    return process_value(status, "FDSize", 10, &fds) && fds == 0;
}

bool opener_killed(pid_t pid)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags;

    if (!can_see(pid) || process_read(pid, "status", text, sizeof(text)) != 0 || !is_exiting(text)) {
        return false;
    }
    return stat_value(pid, PROC_STAT_FLAGS, &flags) && (flags & PROC_PF_SIGNALED) != 0;
}

bool opener_dying(pid_t pid)
{
    const uint64_t kill_bit = 1ull << (SIGKILL - 1);
    char text[PROC_TEXT_MAX] = "";
    uint64_t value;

    if (!can_see(pid) || process_read(pid, "status", text, sizeof(text)) != 0) {
        return false;
    }
    return is_exiting(text) || (process_value(text, "SigPnd", 16, &value) && (value & kill_bit) != 0) ||
           (process_value(text, "ShdPnd", 16, &value) && (value & kill_bit) != 0);
}

bool opener_may_set_ids(pid_t pid, uid_t uid)
{
    const uint64_t bit = 1ull << 4; /* CAP_FSETID */
    char text[PROC_TEXT_MAX] = "";
    uint64_t caps;

    if (!can_see(pid) || process_read(pid, "status", text, sizeof(text)) != 0 ||
        !process_value(text, "CapEff", 16, &caps)) {
        return uid == 0;
    }
    return (caps & bit) != 0;
}

bool opener_in_group(pid_t pid, gid_t group)
{
    char text[PROC_GROUPS_MAX];
    const char *at;

    if (!can_see(pid) || process_read(pid, "status", text, sizeof(text)) != 0) {
        return false;
    }
    at = strstr(text, "\nGroups:");
    if (at == NULL) {
        return false;
    }
    at += strlen("\nGroups:");
    while (*at != '\n' && *at != '\0') {
        char *end;
        unsigned long id = strtoul(at, &end, 10);
        if (end == at) {
            at++; /* the blanks between */
            continue;
        }
        if (id == group) {
            return true;
        }
        at = end;
    }
    return false;
}

/* mountinfo writes blank, tab, newline and backslash as three octal digits. */
static void octal_unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
            from[3] <= '7') {
            *to = (char)(((from[1] - '0') << 6) | ((from[2] - '0') << 3) | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

int opener_mount_dev(const char *mountpoint, uint64_t *ret_dev)
{
    char *line = NULL;
    size_t cap = 0;
    int rv = -ENOENT;
    FILE *f = fopen("/proc/self/mountinfo", "re");

    if (f == NULL) {
        return -errno;
    }
    while (getline(&line, &cap, f) > 0) {
        unsigned dev_major;
        unsigned dev_minor;
        int at = 0;
        char *end;
        if (sscanf(line, "%*u %*u %u:%u %*s %n", &dev_major, &dev_minor, &at) != 2 || at == 0) {
            continue;
        }
        end = strchr(line + at, ' ');
        if (end == NULL) {
            continue;
        }
        *end = '\0';
        octal_unescape(line + at);
        if (strcmp(line + at, mountpoint) == 0) {
            *ret_dev = makedev(dev_major, dev_minor); /* the last one covers the others */
            rv = 0;
        }
    }
    free(line);
    (void)fclose(f);
    return rv;
}
