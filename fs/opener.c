#include "opener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PROC_TEXT_MAX    4096 /* of stat, status and fdinfo files: we need their first lines */
#define PROC_PF_SIGNALED 0x400u
#define PROC_STAT_FLAGS  9 /* field of /proc/PID/stat, counted from 1 */

/*
 * A process in execve(2) holds its exec_update_lock while it closes descriptors, and so while its FLUSH waits for us.
 * Reading its /proc/PID/stat waits for that lock: daemon and process would wait for each other for ever (tried).
 * Reading the links in /proc/PID/fd waits for it too (tried). status and fdinfo are free of it, and identity comes
 * from the pidfd.
 */

/* Files of /proc come whole in one read; those that are longer than `text` are cut. */
static int text_read(int dir_fd, const char *path, char *text, size_t size)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t len;
    int err;

    if (fd < 0) {
        return -errno;
    }
    len = read(fd, text, size - 1);
    err = errno;
    close(fd);
    if (len < 0) {
        return -err;
    }
    text[len] = '\0';
    return 0;
}

static int proc_read(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    int n = snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    return text_read(AT_FDCWD, path, text, size);
}

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

    if (pid <= 0 || proc_read(pid, "stat", text, sizeof(text)) != 0) {
        return false;
    }
    return stat_field(text, field, ret_value);
}

/* The number behind "KEY:" at the start of a line. */
static bool line_value(const char *text, const char *key, int base, uint64_t *ret_value)
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

/* A number that no other process has or will have: the pidfd's inode number (Linux 6.9 and later; before, all have the
 * same, and a pid that is used again can't be told). 0: `pid` is no process, but a thread or nobody. */
static uint64_t process_identity(pid_t pid)
{
    struct stat st;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int rv;

    if (fd < 0) {
        return 0;
    }
    rv = fstat(fd, &st);
    close(fd);
    return rv == 0 ? st.st_ino : 0;
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
    struct opener o = {0};
    char text[PROC_TEXT_MAX];
    uint64_t tgid;

    *ret_opener = o;
    if (!can_see(pid)) {
        return;
    }
    /* Most requests come from the main thread, and this is a tenth of the price of reading status. */
    o.tgid = pid;
    o.identity = process_identity(pid);
    if (o.identity == 0 && proc_read(pid, "status", text, sizeof(text)) == 0 && line_value(text, "Tgid", 10, &tgid)) {
        o.tgid = (pid_t)tgid;
        o.identity = process_identity(o.tgid);
    }
    if (o.identity != 0) {
        *ret_opener = o;
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

static bool fd_is_writable_of(int fdinfo, const char *name, pid_t pid, uint64_t dev, uint64_t ino)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags;
    uint64_t fd_ino;
    uint64_t mnt_id;

    if (text_read(fdinfo, name, text, sizeof(text)) != 0 || !line_value(text, "flags", 8, &flags) ||
        !line_value(text, "ino", 10, &fd_ino) || !line_value(text, "mnt_id", 10, &mnt_id)) {
        return false; /* closed meanwhile */
    }
    if (fd_ino != ino || (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) {
        return false;
    }
    return mount_is_on(pid, mnt_id, dev);
}

int opener_writable_fds(pid_t pid, uint64_t dev, uint64_t ino, bool *ret_any)
{
    char path[64];
    struct dirent *entry;
    int found = 0;
    DIR *dir;
    int n = snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);

    *ret_any = false;
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    dir = opendir(path);
    if (dir == NULL) {
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    }
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            *ret_any = true;
            found += fd_is_writable_of(dirfd(dir), entry->d_name, pid, dev, ino);
        }
        errno = 0;
    }
    n = errno == EACCES || errno == EPERM ? -errno : found;
    (void)closedir(dir);
    return n;
}

/* Exiting: it has given up its descriptors, which is why they are flushed. Then it is not in execve(2) either. */
static bool is_exiting(const char *status)
{
    uint64_t fds;

    return line_value(status, "FDSize", 10, &fds) && fds == 0;
}

bool opener_killed(pid_t pid)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags;

    if (!can_see(pid) || proc_read(pid, "status", text, sizeof(text)) != 0 || !is_exiting(text)) {
        return false;
    }
    return stat_value(pid, PROC_STAT_FLAGS, &flags) && (flags & PROC_PF_SIGNALED) != 0;
}

bool opener_dying(pid_t pid)
{
    const uint64_t kill_bit = 1ull << (SIGKILL - 1);
    char text[PROC_TEXT_MAX] = "";
    uint64_t value;

    if (!can_see(pid) || proc_read(pid, "status", text, sizeof(text)) != 0) {
        return false;
    }
    return is_exiting(text) || (line_value(text, "SigPnd", 16, &value) && (value & kill_bit) != 0) ||
           (line_value(text, "ShdPnd", 16, &value) && (value & kill_bit) != 0);
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
