/* What all commands share: complaints, exit codes, options, and finding the mount. */
#include "znode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

#define DOT_DIR ".znodefs/"

static void put_line(const char *format, va_list args)
{
    (void)fputs("znode: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
}

void complain(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_line(format, args);
    va_end(args);
}

int complain_usage(const struct command *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_line(format, args);
    va_end(args);
    (void)fprintf(stderr, "usage: znode %s %s  (more: znode %s --help)\n", c->name, c->arguments, c->name);
    return ZNODE_USAGE;
}

int exit_of(int rv)
{
    switch (-rv) {
    case 0:
        return ZNODE_OK;
    case EROFS:
    case ETIMEDOUT:
    case EIO:
    case ENOTCONN:
        return ZNODE_NO_QUORUM;
    case ENOENT:
    case ESTALE:
        return ZNODE_ABSENT;
    case EEXIST:
    case ENOTEMPTY:
        return ZNODE_EXISTS;
    case EACCES:
    case EPERM:
    case EBUSY:
    case EFBIG:
    case E2BIG:
    case ENOSPC:
    case EDQUOT:
    case ELOOP:
    case EXDEV:
        return ZNODE_REFUSED;
    default:
        return ZNODE_USAGE;
    }
}

const char *reason(int rv)
{
    switch (-rv) {
    case EROFS:
        return "the mount is read-only, or there is no quorum";
    case ETIMEDOUT:
        return "no quorum; the change may still happen";
    case EIO:
        return "no quorum, or no state to show yet";
    case ENOTCONN:
        return "the mount's daemon is gone";
    case EFBIG:
        return "larger than a znode may be (jute.maxbuffer)";
    case ESTALE:
        return "it is gone";
    case EBADMSG:
        return "the archive is damaged here, or cut short";
    default:
        return strerror(-rv);
    }
}

void print_help(const struct command *c)
{
    (void)printf("usage: znode %s %s\n\n%s", c->name, c->arguments, c->help);
}

int next_option(const struct command *c, int argc, char **argv, const char *letters, const struct option *longs,
                int *ret_exit)
{
    int letter;

    opterr = 0;
    letter = getopt_long(argc, argv, letters, longs, NULL);
    if (letter == 'h') {
        print_help(c);
        *ret_exit = ZNODE_OK;
        return '?';
    }
    if (letter == '?' || letter == ':') {
        *ret_exit = complain_usage(c, "%s: there is no such option, or it is used otherwise", argv[optind - 1]);
        return '?';
    }
    return letter;
}

int complain_elsewhere(const char *path)
{
    complain("%s: not on a mount of znodefs", path);
    return ZNODE_USAGE;
}

int open_dot(int dir_fd, const char *name)
{
    char path[64];
    struct statfs fs;
    int fd;

    if (fstatfs(dir_fd, &fs) != 0) {
        return -errno;
    }
    if (fs.f_type != FUSE_SUPER_MAGIC) {
        return -ENOTTY;
    }
    (void)snprintf(path, sizeof(path), DOT_DIR "%s", name);
    do {
        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? -ENOTTY : -errno;
    }
    return fd;
}

int open_directory(const char *path, int *ret_exit)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rv;

    if (fd < 0) {
        rv = -errno;
        complain("%s: %s", path, reason(rv));
        *ret_exit = exit_of(rv);
        return -1;
    }
    rv = open_dot(fd, "status");
    if (rv >= 0) {
        (void)close(rv);
        return fd;
    }
    (void)close(fd);
    if (rv == -ENOTTY) {
        *ret_exit = complain_elsewhere(path);
    } else {
        complain("%s: %s", path, reason(rv));
        *ret_exit = exit_of(rv);
    }
    return -1;
}

const char *time_text(struct timespec t, char text[TIME_TEXT_MAX])
{
    struct tm tm;
    char seconds[32];

    if (gmtime_r(&t.tv_sec, &tm) == NULL || strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        (void)snprintf(text, TIME_TEXT_MAX, "@%lld", (long long)t.tv_sec);
    } else {
        (void)snprintf(text, TIME_TEXT_MAX, "%s.%09ldZ", seconds, t.tv_nsec);
    }
    return text;
}
