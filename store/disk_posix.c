/* The real disk: a directory descriptor, so that a dataDir that is moved or mounted over stays the one we locked. */
#include "disk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct posix_disk {
    struct disk base;
    int dir_fd;
    int lock_fd; /* -1 without a lock */
    bool read_only;
};

struct disk_file {
    int fd;
};

static struct posix_disk *posix_of(struct disk *d)
{
    return (struct posix_disk *)d;
}

static bool name_is_plain(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int posix_open(struct disk *d, const char *name, int flags, struct disk_file **ret_file)
{
    int how = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY;
    struct disk_file *f;
    int fd;

    assert(name_is_plain(name));
    if (posix_of(d)->read_only) {
        how = (how & ~O_ACCMODE) | O_RDONLY;
        flags = 0;
    }
    how |= (flags & DISK_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & DISK_EXCL) != 0 ? O_EXCL : 0;
    do {
        fd = openat(posix_of(d)->dir_fd, name, how, 0600);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return -errno;
    }
    f = malloc(sizeof(*f));
    if (f == NULL) {
        abort();
    }
    f->fd = fd;
    *ret_file = f;
    return 0;
}

static int posix_pwrite(struct disk_file *f, const void *bytes, size_t len, uint64_t offset)
{
    const uint8_t *p = bytes;
    ssize_t n;

    while (len > 0) {
        n = pwrite(f->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            return -EIO;
        }
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int posix_pread(struct disk_file *f, void *bytes, size_t len, uint64_t offset, size_t *ret_len)
{
    uint8_t *p = bytes;
    size_t got = 0;
    ssize_t n;

    while (got < len) {
        n = pread(f->fd, p + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        got += (size_t)n;
    }
    *ret_len = got;
    return 0;
}

static int posix_size(struct disk_file *f, uint64_t *ret_size)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0) {
        return -errno;
    }
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int posix_sync(struct disk_file *f)
{
    /* Not repeated on EINTR or anything else: after a failure the kernel may have dropped the dirty pages, and a
     * second call would report success for data that is gone. */
    return fdatasync(f->fd) == 0 ? 0 : -errno;
}

static int posix_truncate(struct disk_file *f, uint64_t size)
{
    int rv;

    do {
        rv = ftruncate(f->fd, (off_t)size);
    } while (rv != 0 && errno == EINTR);
    return rv == 0 ? 0 : -errno;
}

static void posix_close(struct disk_file *f)
{
    /* Whatever had to be durable was synced; an error here tells nothing that anyone could act on. */
    (void)close(f->fd);
    free(f);
}

static int posix_rename(struct disk *d, const char *from, const char *to)
{
    int fd = posix_of(d)->dir_fd;

    assert(name_is_plain(from));
    assert(name_is_plain(to));
    if (posix_of(d)->read_only) {
        return -EROFS;
    }
    return renameat(fd, from, fd, to) == 0 ? 0 : -errno;
}

static int posix_unlink(struct disk *d, const char *name)
{
    assert(name_is_plain(name));
    if (posix_of(d)->read_only) {
        return -EROFS;
    }
    return unlinkat(posix_of(d)->dir_fd, name, 0) == 0 ? 0 : -errno;
}

static int posix_sync_dir(struct disk *d)
{
    return fsync(posix_of(d)->dir_fd) == 0 ? 0 : -errno;
}

static bool entry_is_regular(int dir_fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_REG;
    }
    return fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

static int list_entries(DIR *dir, int dir_fd, disk_list_cb cb, void *arg)
{
    struct dirent *entry;
    int rv;

    for (;;) {
        errno = 0;
        entry = readdir(dir);
        if (entry == NULL) {
            return -errno;
        }
        if (entry_is_regular(dir_fd, entry)) {
            rv = cb(arg, entry->d_name);
            if (rv != 0) {
                return rv;
            }
        }
    }
}

static int posix_list(struct disk *d, disk_list_cb cb, void *arg)
{
    DIR *dir;
    int fd;
    int rv;

    /* A descriptor of its own: the position in a directory belongs to the open file. */
    fd = openat(posix_of(d)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    dir = fdopendir(fd);
    if (dir == NULL) {
        rv = -errno;
        (void)close(fd);
        return rv;
    }
    rv = list_entries(dir, posix_of(d)->dir_fd, cb, arg);
    (void)closedir(dir);
    return rv;
}

static const struct disk_ops posix_ops = {
    .open = posix_open,
    .pwrite = posix_pwrite,
    .pread = posix_pread,
    .size = posix_size,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .close = posix_close,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
};

/* A directory just made is itself only durable once its parent is synced. */
static int sync_parent(int dir_fd)
{
    int rv;
    int fd;

    fd = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    rv = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd);
    return rv;
}

static struct disk *disk_new(int dir_fd, int lock_fd, bool read_only)
{
    struct posix_disk *pd = malloc(sizeof(*pd));

    if (pd == NULL) {
        abort();
    }
    pd->base.ops = &posix_ops;
    pd->base.forgets = false;
    pd->dir_fd = dir_fd;
    pd->lock_fd = lock_fd;
    pd->read_only = read_only;
    return &pd->base;
}

static int open_dir(const char *path, int *ret_fd)
{
    bool made;
    int fd;
    int rv;

    made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) {
        return -errno;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (made) {
        rv = sync_parent(fd);
        if (rv != 0) {
            (void)close(fd);
            return rv;
        }
    }
    *ret_fd = fd;
    return 0;
}

static int take_lock(int dir_fd, int *ret_fd)
{
    int fd;
    int rv;

    fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rv = -errno;
        (void)close(fd);
        return rv;
    }
    *ret_fd = fd;
    return 0;
}

int disk_posix_new(const char *path, bool lock, struct disk **ret_disk)
{
    int lock_fd = -1;
    int dir_fd = -1;
    int rv;

    rv = open_dir(path, &dir_fd);
    if (rv != 0) {
        return rv;
    }
    if (lock) {
        rv = take_lock(dir_fd, &lock_fd);
        if (rv != 0) {
            (void)close(dir_fd);
            return rv;
        }
    }
    *ret_disk = disk_new(dir_fd, lock_fd, false);
    return 0;
}

int disk_posix_new_read_only(const char *path, bool lock, struct disk **ret_disk)
{
    int lock_fd = -1;
    int dir_fd;
    int rv;

    dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) {
        return -errno;
    }
    if (lock) {
        lock_fd = openat(dir_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (lock_fd >= 0 && flock(lock_fd, LOCK_SH | LOCK_NB) != 0) {
        rv = -errno;
        (void)close(lock_fd);
        (void)close(dir_fd);
        return rv;
    }
    *ret_disk = disk_new(dir_fd, lock_fd, true);
    return 0;
}

void disk_posix_free(struct disk *d)
{
    struct posix_disk *pd;

    if (d == NULL) {
        return;
    }
    pd = posix_of(d);
    if (pd->lock_fd >= 0) {
        (void)close(pd->lock_fd);
    }
    (void)close(pd->dir_fd);
    free(pd);
}
