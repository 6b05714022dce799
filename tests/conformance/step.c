#include "step.h"

#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#define BYTES_SHOWN 60
#define NAMES_MAX   4096

/* Steps are printed at once, so that what never returns is seen to be the next. Tabs and newlines part them. */
void step_text(const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        abort();
    }
    va_end(args);
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ') {
            *c = '?';
        }
    }
    (void)printf("\t%s", text);
    (void)fflush(stdout);
    free(text);
}

static const char *errno_name(int err)
{
    const char *name = strerrorname_np(err);

    return name != NULL ? name : "unknown errno";
}

long step_result(const char *text, long result)
{
    if (result == -1 && errno != 0) {
        step_text("%s = %s", text, errno_name(errno));
    } else {
        step_text("%s = %ld", text, result);
    }
    return result;
}

int step_fd(const char *text, int fd)
{
    if (fd < 0) {
        step_text("%s = %s", text, errno_name(errno));
    } else {
        step_text("%s = fd", text);
    }
    return fd;
}

static uint32_t sum_of(const unsigned char *bytes, size_t len)
{
    uint32_t sum = 2166136261u;

    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ bytes[i]) * 16777619u;
    }
    return sum;
}

void step_bytes(const char *what, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    char text[4 * BYTES_SHOWN + 1];
    size_t n = 0;

    for (size_t i = 0; i < len && i < BYTES_SHOWN; i++) {
        if (at[i] > ' ' && at[i] < 127 && at[i] != '\\') {
            text[n++] = (char)at[i];
        } else {
            n += (size_t)snprintf(text + n, sizeof(text) - n, "\\%03o", at[i]);
        }
    }
    text[n] = '\0';
    if (len > BYTES_SHOWN) {
        step_text("%s: %zu bytes, sum %08x, \"%s...\"", what, len, sum_of(at, len), text);
    } else {
        step_text("%s: %zu bytes \"%s\"", what, len, text);
    }
}

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "symlink";
    case S_IFIFO:
        return "fifo";
    case S_IFSOCK:
        return "socket";
    default:
        return "device";
    }
}

static void owner_text(char *text, size_t size, unsigned id, unsigned own)
{
    if (id == own) {
        (void)snprintf(text, size, "own"); /* so that it is one text, whoever runs the case */
    } else {
        (void)snprintf(text, size, "%u", id);
    }
}

void show_stat(const char *what, const struct stat *st)
{
    char uid[16];
    char gid[16];

    owner_text(uid, sizeof(uid), st->st_uid, getuid());
    owner_text(gid, sizeof(gid), st->st_gid, getgid());
    if (S_ISDIR(st->st_mode)) { /* its size is each file system's own matter */
        step_text("%s: directory %o %s:%s links %lu", what, st->st_mode & 07777, uid, gid, (unsigned long)st->st_nlink);
        return;
    }
    step_text("%s: %s %o %s:%s links %lu size %lld", what, kind_of(st->st_mode), st->st_mode & 07777, uid, gid,
              (unsigned long)st->st_nlink, (long long)st->st_size);
}

void show(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        step_text("lstat(%s) = %s", path, errno_name(errno));
        return;
    }
    show_stat(path, &st);
    if (S_ISLNK(st.st_mode)) {
        char target[128];
        ssize_t len = readlink(path, target, sizeof(target));
        if (len < 0) {
            step_text("readlink(%s) = %s", path, errno_name(errno));
        } else {
            step_bytes("target", target, (size_t)len);
        }
    }
}

void show_fd(const char *what, int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        step_text("fstat(%s) = %s", what, errno_name(errno));
        return;
    }
    show_stat(what, &st);
}

void show_contents(const char *path)
{
    size_t cap = 2u << 20;
    char *bytes = malloc(cap);
    int fd = open(path, O_RDONLY);
    size_t len = 0;
    ssize_t n = 0;

    if (bytes == NULL) {
        abort();
    }
    if (fd < 0) {
        step_text("open to read %s = %s", path, errno_name(errno));
        free(bytes);
        return;
    }
    while (len < cap && (n = read(fd, bytes + len, cap - len)) > 0) {
        len += (size_t)n;
    }
    if (n < 0) {
        step_text("read %s = %s", path, errno_name(errno));
    } else {
        step_bytes(path, bytes, len);
    }
    (void)close(fd);
    free(bytes);
}

void show_read(const char *what, int fd, size_t size, off_t offset)
{
    char *bytes = malloc(size + 1);
    ssize_t n;

    if (bytes == NULL) {
        abort();
    }
    errno = 0;
    n = offset < 0 ? read(fd, bytes, size) : pread(fd, bytes, size, offset);
    if (n < 0) {
        step_text("%s = %s", what, errno_name(errno));
    } else {
        step_bytes(what, bytes, (size_t)n);
    }
    free(bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void show_names(const char *path)
{
    char *names[NAMES_MAX];
    DIR *dir = opendir(path);
    const struct dirent *entry;
    char *text = NULL;
    size_t len = 0;
    size_t n = 0;
    FILE *out;

    if (dir == NULL) {
        step_text("opendir(%s) = %s", path, errno_name(errno));
        return;
    }
    while (n < NAMES_MAX && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            names[n++] = strdup(entry->d_name);
        }
    }
    (void)closedir(dir);
    qsort((void *)names, n, sizeof(names[0]), by_name);
    out = open_memstream(&text, &len);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(out, "%s%s", i == 0 ? "" : " ", names[i]);
        free(names[i]);
    }
    (void)fclose(out);
    step_bytes(path, text, len);
    free(text);
}

void show_same(const char *a, const char *b)
{
    struct stat of_a;
    struct stat of_b;

    if (stat(a, &of_a) != 0 || stat(b, &of_b) != 0) {
        step_text("%s and %s: %s", a, b, errno_name(errno));
        return;
    }
    step_text("%s and %s: %s", a, b, of_a.st_ino == of_b.st_ino && of_a.st_dev == of_b.st_dev ? "one node" : "two");
}

static const char *way(struct timespec before, struct timespec now)
{
    if (before.tv_sec == now.tv_sec && before.tv_nsec == now.tv_nsec) {
        return "same";
    }
    return now.tv_sec > before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec > before.tv_nsec) ? "later"
                                                                                                       : "earlier";
}

void show_times(const char *path, const struct stat *before)
{
    struct stat st;

    if (lstat(path, &st) != 0) {
        step_text("lstat(%s) = %s", path, errno_name(errno));
        return;
    }
    step_text("%s: atime %s, mtime %s, ctime %s", path, way(before->st_atim, st.st_atim),
              way(before->st_mtim, st.st_mtim), way(before->st_ctim, st.st_ctim));
}

/* ---- helpers ---- */

struct stat look(const char *path)
{
    struct stat st = {0};

    if (lstat(path, &st) != 0) {
        step_text("lstat(%s) = %s", path, errno_name(errno));
    }
    return st;
}

void tick(void)
{
    struct timespec begun;
    struct timespec now;
    int ticks = 0;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &begun);
    while (ticks < 2) {
        (void)sched_yield();
        (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_nsec != begun.tv_nsec || now.tv_sec != begun.tv_sec) {
            begun = now;
            ticks++;
        }
    }
}

int put(const char *path, const char *contents)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    size_t len = strlen(contents);
    bool written;

    if (fd < 0) {
        return -1;
    }
    written = write(fd, contents, len) == (ssize_t)len;
    return close(fd) == 0 && written ? 0 : -1;
}

char *many(char byte, size_t count)
{
    char *bytes = malloc(count + 1);

    if (bytes == NULL) {
        abort();
    }
    memset(bytes, byte, count);
    bytes[count] = '\0';
    return bytes;
}

void become(uid_t uid, gid_t gid)
{
    if (uid != 0 && geteuid() != 0 && seteuid(0) != 0) {
        step_text("seteuid(0) = %s", errno_name(errno));
    }
    if (uid == 0 && (seteuid(0) != 0 || setegid(0) != 0)) {
        step_text("back to root = %s", errno_name(errno));
    }
    if (uid != 0 && (setgroups(0, NULL) != 0 || setegid(gid) != 0 || seteuid(uid) != 0)) {
        step_text("become %u:%u = %s", uid, gid, errno_name(errno));
    }
}

void in_child(void (*child)(void *arg), void *arg)
{
    pid_t pid = fork();
    int status;

    if (pid < 0) {
        step_text("fork() = %s", errno_name(errno));
        return;
    }
    if (pid == 0) {
        child(arg);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid) {
        step_text("waitpid() = %s", errno_name(errno));
    } else if (status != 0) {
        step_text("the child ended with status %x", (unsigned)status);
    }
}
