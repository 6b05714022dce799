/*
 * A disk that fails on demand, for LD_PRELOAD below a daemon: what the environment's FAULTY_DISK_SWITCH names is read
 * at each call, and as long as that file is there, the calls in it fail with EIO for the files in the folder
 * FAULTY_DISK_FOLDER whose names begin as it says:
 *
 *   pwrite,fdatasync log.     any of: pwrite, half (of what is written gets there), fdatasync, fsync, ftruncate, rename
 *   fdatasync                 of all files
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SWITCH_BYTES 256

typedef ssize_t pwrite_fn(int fd, const void *bytes, size_t len, off_t offset);
typedef int sync_fn(int fd);
typedef int truncate_fn(int fd, off_t len);
typedef int rename_fn(int from_dir, const char *from, int to_dir, const char *to);

int ftruncate64(int fd, off_t len);

/* dlsym() gives a pointer to data, which ISO C does not turn into one to a function; memcpy does. */
#define CALL_REAL(type, name, ...)                                                                                     \
    do {                                                                                                               \
        type *real;                                                                                                    \
        void *found = dlsym(RTLD_NEXT, name);                                                                          \
                                                                                                                       \
        if (found == NULL) {                                                                                           \
            abort();                                                                                                   \
        }                                                                                                              \
        memcpy(&real, &found, sizeof(real));                                                                           \
        return real(__VA_ARGS__);                                                                                      \
    } while (0)

/* What the switch says, split at its space; false while there is none. */
static bool read_switch(char *text, const char **ret_prefix)
{
    const char *path = getenv("FAULTY_DISK_SWITCH");
    int saved = errno;
    ssize_t n = -1;
    char *space;
    int fd = -1;

    if (path != NULL) {
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd >= 0) {
        n = read(fd, text, SWITCH_BYTES - 1);
        (void)close(fd);
    }
    errno = saved;
    if (n <= 0) {
        return false;
    }
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    space = strchr(text, ' ');
    *ret_prefix = space != NULL ? space + 1 : "";
    if (space != NULL) {
        *space = '\0';
    }
    return true;
}

static bool is_listed(const char *list, const char *call)
{
    size_t len = strlen(call);

    while (*list != '\0') {
        size_t word = strcspn(list, ",");

        if (word == len && memcmp(list, call, len) == 0) {
            return true;
        }
        list += word + (list[word] == ',' ? 1 : 0);
    }
    return false;
}

static bool fails(const char *call, const char *name)
{
    char text[SWITCH_BYTES];
    const char *prefix;

    return read_switch(text, &prefix) && is_listed(text, call) && strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The same of an open file; the folder itself has the name "". */
static bool fd_fails(const char *call, int fd)
{
    const char *folder = getenv("FAULTY_DISK_FOLDER");
    char link[64];
    char path[4096];
    size_t len;
    ssize_t n;

    if (folder == NULL || snprintf(link, sizeof(link), "/proc/self/fd/%d", fd) < 0) {
        return false;
    }
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0) {
        return false;
    }
    path[n] = '\0';
    len = strlen(folder);
    return strncmp(path, folder, len) == 0 && fails(call, path[len] == '/' ? path + len + 1 : path + len);
}

static int fail(void)
{
    errno = EIO;
    return -1;
}

static ssize_t real_pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    CALL_REAL(pwrite_fn, "pwrite64", fd, bytes, len, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset)
{
    if (fd_fails("half", fd)) {
        (void)real_pwrite(fd, bytes, len / 2, offset);
        return fail();
    }
    return fd_fails("pwrite", fd) ? fail() : real_pwrite(fd, bytes, len, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return pwrite64(fd, bytes, len, offset);
}

static int real_fdatasync(int fd)
{
    CALL_REAL(sync_fn, "fdatasync", fd);
}

int fdatasync(int fd)
{
    return fd_fails("fdatasync", fd) ? fail() : real_fdatasync(fd);
}

static int real_fsync(int fd)
{
    CALL_REAL(sync_fn, "fsync", fd);
}

int fsync(int fd)
{
    return fd_fails("fsync", fd) ? fail() : real_fsync(fd);
}

static int real_ftruncate(int fd, off_t len)
{
    CALL_REAL(truncate_fn, "ftruncate64", fd, len);
}

int ftruncate64(int fd, off_t len)
{
    return fd_fails("ftruncate", fd) ? fail() : real_ftruncate(fd, len);
}

int ftruncate(int fd, off_t len)
{
    return ftruncate64(fd, len);
}

static int real_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    CALL_REAL(rename_fn, "renameat", from_dir, from, to_dir, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return fails("rename", to) ? fail() : real_renameat(from_dir, from, to_dir, to);
}
