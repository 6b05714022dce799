#include "opener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PROC_TEXT_MAX    4096 /* of stat, status and fdinfo files: we need their first lines */
#define PROC_PF_EXITING  0x4u
#define PROC_PF_SIGNALED 0x400u
#define PROC_STAT_FLAGS  9 /* fields of /proc/PID/stat, counted from 1 */
#define PROC_STAT_START  22

static int text_read(int dir_fd, const char *path, char *text, size_t size)
{
    size_t len = 0;
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    while (len < size - 1) {
        ssize_t n = read(fd, text + len, size - 1 - len);
        if (n < 0) {
            int err = errno;
            close(fd);
            return -err;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    close(fd);
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

/* Most requests come from the main thread, and pidfd_open() tells that at a tenth of the price of reading status. */
static pid_t tgid_of(pid_t pid)
{
    char text[PROC_TEXT_MAX];
    uint64_t tgid;
    int fd;

    if (pid <= 0) {
        return 0;
    }
    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        close(fd);
        return pid;
    }
    if (proc_read(pid, "status", text, sizeof(text)) != 0 || !line_value(text, "Tgid", 10, &tgid)) {
        return 0;
    }
    return (pid_t)tgid;
}

void opener_of(pid_t pid, struct opener *ret_opener)
{
    struct opener o = {.tgid = tgid_of(pid)};

    if (o.tgid != 0 && !stat_value(o.tgid, PROC_STAT_START, &o.start)) {
        o.tgid = 0;
    }
    *ret_opener = o;
}

bool opener_is(const struct opener *o, pid_t pid)
{
    struct opener other;

    if (o->tgid == 0 || pid <= 0) {
        return false;
    }
    opener_of(pid, &other);
    return other.tgid == o->tgid && other.start == o->start;
}

/* "36 35 98:0 /root /mountpoint ...": whether the mount `mnt_id`, as the process sees it, is on `dev`. */
static bool mount_is_on(pid_t tgid, uint64_t mnt_id, uint64_t dev)
{
    char path[64];
    char *line = NULL;
    size_t cap = 0;
    bool same = false;
    FILE *f;
    int n = snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)tgid);

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return true;
    }
    f = fopen(path, "re");
    if (f == NULL) {
        return true; /* not telling: rather wait for RELEASE than publish half a file */
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

static bool fd_is_writable_of(int dir_fd, const char *name, const struct opener *o, uint64_t dev, uint64_t ino)
{
    char text[PROC_TEXT_MAX];
    uint64_t flags;
    uint64_t fd_ino;
    uint64_t mnt_id;

    if (text_read(dir_fd, name, text, sizeof(text)) != 0 || !line_value(text, "flags", 8, &flags) ||
        !line_value(text, "ino", 10, &fd_ino) || !line_value(text, "mnt_id", 10, &mnt_id)) {
        return false; /* closed meanwhile */
    }
    if (fd_ino != ino || (flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH) != 0) {
        return false;
    }
    return mount_is_on(o->tgid, mnt_id, dev);
}

int opener_writable_fds(const struct opener *o, uint64_t dev, uint64_t ino)
{
    char path[64];
    struct dirent *entry;
    int found = 0;
    DIR *dir;
    int n = snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)o->tgid);

    if (n < 0 || (size_t)n >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    dir = opendir(path);
    if (dir == NULL) {
        return errno == ENOENT || errno == ESRCH ? 0 : -errno;
    }
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && fd_is_writable_of(dirfd(dir), entry->d_name, o, dev, ino)) {
            found++;
        }
        errno = 0;
    }
    n = errno == EACCES || errno == EPERM ? -errno : found;
    (void)closedir(dir);
    return n;
}

bool opener_killed(pid_t pid)
{
    uint64_t flags;

    return stat_value(pid, PROC_STAT_FLAGS, &flags) && (flags & PROC_PF_SIGNALED) != 0;
}

bool opener_dying(pid_t pid)
{
    const uint64_t kill_bit = 1ull << (SIGKILL - 1);
    char text[PROC_TEXT_MAX];
    uint64_t value;

    if (pid <= 0) {
        return false;
    }
    if (proc_read(pid, "status", text, sizeof(text)) == 0 &&
        ((line_value(text, "SigPnd", 16, &value) && (value & kill_bit) != 0) ||
         (line_value(text, "ShdPnd", 16, &value) && (value & kill_bit) != 0))) {
        return true;
    }
    return stat_value(pid, PROC_STAT_FLAGS, &value) && (value & PROC_PF_EXITING) != 0;
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
