#include "import.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BEYOND_ANY_FILE (1ll << 40)

void entry_free(struct entry *e)
{
    if (e == NULL) {
        return;
    }
    while (e->xattrs != NULL) {
        struct entry_xattr *x = e->xattrs;

        e->xattrs = x->next;
        free(x->name);
        free(x->value);
        free(x);
    }
    free(e->path);
    free(e->data);
    free(e->target);
    free(e);
}

/* ---- places ---- */

/* A directory below the target; "": the target itself. */
static int open_beneath(const struct target *t, const char *path, int flags)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_DIRECTORY | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
    };
    long fd;

    do {
        fd = syscall(SYS_openat2, t->fd, *path == '\0' ? "." : path, &how, sizeof(how));
    } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return fd < 0 ? -errno : (int)fd;
}

/* Makes the directories of `path` that are missing; a tar of some files need not name them. */
static int make_parents(const struct target *t, const char *path)
{
    char *part = strdup(path);
    int rv = 0;

    if (part == NULL) {
        abort();
    }
    for (char *slash = part; rv == 0 && slash != NULL;) {
        char *name = slash == part ? part : slash + 1;
        int fd;

        slash = strchr(name, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        if (name == part) {
            fd = open_beneath(t, "", O_PATH);
        } else {
            name[-1] = '\0';
            fd = open_beneath(t, part, O_PATH);
            name[-1] = '/';
        }
        rv = fd < 0 ? fd : mkdirat(fd, name, 0755) != 0 && errno != EEXIST ? -errno : 0;
        if (fd >= 0) {
            (void)close(fd);
        }
        if (slash != NULL) {
            *slash = '/';
        }
    }
    free(part);
    return rv;
}

void place_release(struct place *p)
{
    if (p->path != NULL) {
        (void)close(p->fd);
        free(p->path);
        p->path = NULL;
    }
}

/* Brings `p` to the directory that the entry is in; *ret_name is the entry's name there. */
static int place_of(const struct target *t, struct place *p, const struct entry *e, const char **ret_name)
{
    const char *slash = strrchr(e->path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - e->path);
    char *path;
    int fd;

    *ret_name = slash == NULL ? e->path : slash + 1;
    if (p->path != NULL && strlen(p->path) == len && memcmp(p->path, e->path, len) == 0) {
        return 0;
    }
    place_release(p);
    path = strndup(e->path, len);
    if (path == NULL) {
        abort();
    }
    fd = open_beneath(t, path, O_PATH);
    if (fd == -ENOENT) {
        fd = make_parents(t, path);
        fd = fd == 0 ? open_beneath(t, path, O_PATH) : fd;
    }
    if (fd < 0) {
        free(path);
        return fd;
    }
    p->path = path;
    p->fd = fd;
    return 0;
}

/* ---- attributes ---- */

static int set_xattrs(int fd, const struct entry *e, const char **ret_what)
{
    for (const struct entry_xattr *x = e->xattrs; x != NULL; x = x->next) {
        if (fsetxattr(fd, x->name, x->value, x->len, 0) != 0) {
            *ret_what = x->name;
            return -errno;
        }
    }
    return 0;
}

/* Only what differs, as each is a transaction. The owner first: it clears set-id bits. */
static int set_owner_and_mode(const struct target *t, int fd, const struct entry *e, const char **ret_what)
{
    struct stat st;

    *ret_what = "its owner and mode";
    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    if (t->own && (st.st_uid != e->uid || st.st_gid != e->gid)) {
        if (fchown(fd, e->uid, e->gid) != 0 || fstat(fd, &st) != 0) {
            return -errno;
        }
    }
    if ((st.st_mode & 07777) != (e->mode & 07777) && fchmod(fd, e->mode & 07777) != 0) {
        return -errno;
    }
    return 0;
}

/* ---- the kinds ---- */

static int make_directory(const struct target *t, struct place *p, const struct entry *e, const char **ret_what)
{
    const char *name;
    int rv;
    int fd;

    if (*e->path != '\0') {
        rv = place_of(t, p, e, &name);
        if (rv != 0) {
            return rv;
        }
        if (mkdirat(p->fd, name, (e->mode & 0777) | 0700) != 0 && errno != EEXIST) {
            return -errno;
        }
    }
    if (e->xattrs == NULL) {
        return 0;
    }
    fd = open_beneath(t, e->path, O_RDONLY);
    if (fd < 0) {
        return fd;
    }
    rv = set_xattrs(fd, e, ret_what);
    (void)close(fd);
    return rv;
}

int entry_finish_directory(const struct target *t, const struct entry *e, const char **ret_what)
{
    int fd = open_beneath(t, e->path, O_RDONLY);
    int rv;

    *ret_what = NULL;
    if (fd < 0) {
        return fd;
    }
    rv = set_owner_and_mode(t, fd, e, ret_what);
    if (rv == 0 && futimens(fd, e->times) != 0) {
        *ret_what = "its times";
        rv = -errno;
    }
    (void)close(fd);
    return rv;
}

static int write_all(int fd, const struct entry *e)
{
    size_t at = 0;

    while (at < e->len) {
        ssize_t n = write(fd, e->data + at, e->len - at);

        if (n >= 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

/* A write that fails drops what was written before it: the close publishes nothing, and waits for no quorum. */
static void drop_draft(int fd)
{
    ssize_t n = pwrite(fd, "", 1, BEYOND_ANY_FILE);

    (void)n;
}

/* Who may read it is settled before there is something to be read. The fsync publishes, as close would, but close would
 * wait for a quorum for ever. */
static int fill_file(const struct target *t, int fd, const struct entry *e, bool created, const char **ret_what)
{
    int rv = set_owner_and_mode(t, fd, e, ret_what);

    if (rv == 0) {
        rv = set_xattrs(fd, e, ret_what);
    }
    if (rv == 0 && (e->len > 0 || !created)) {
        *ret_what = NULL;
        rv = created || ftruncate(fd, 0) == 0 ? write_all(fd, e) : -errno;
        if (rv == 0 && fsync(fd) != 0) {
            rv = -errno;
        }
        if (rv != 0) {
            drop_draft(fd);
            return rv;
        }
    }
    if (rv == 0 && futimens(fd, e->times) != 0) {
        *ret_what = "its times";
        rv = -errno;
    }
    return rv;
}

static int make_file(const struct target *t, struct place *p, const struct entry *e, const char **ret_what)
{
    const int flags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    bool created = true;
    const char *name;
    int rv = place_of(t, p, e, &name);
    int fd;

    if (rv != 0) {
        return rv;
    }
    fd = openat(p->fd, name, flags | O_CREAT | O_EXCL, e->mode & 0777);
    if (fd < 0 && errno == EEXIST) {
        created = false;
        fd = openat(p->fd, name, flags);
    }
    if (fd < 0) {
        return errno == ELOOP || errno == EISDIR ? -EEXIST : -errno; /* something else has its name */
    }
    rv = fill_file(t, fd, e, created, ret_what);
    if (close(fd) != 0 && rv == 0) {
        *ret_what = NULL;
        rv = -errno;
    }
    if (rv != 0 && created) {
        (void)unlinkat(p->fd, name, 0); /* an empty file is not what was asked for */
    }
    return rv;
}

static bool is_symlink(int dir_fd, const char *name)
{
    struct stat st;

    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

static int make_symlink(const struct target *t, struct place *p, const struct entry *e, const char **ret_what)
{
    const char *name;
    struct stat st;
    int rv = place_of(t, p, e, &name);

    if (rv != 0) {
        return rv;
    }
    if (symlinkat(e->target, p->fd, name) != 0) {
        if (errno != EEXIST || !is_symlink(p->fd, name)) {
            return -errno;
        }
        if (unlinkat(p->fd, name, 0) != 0 || symlinkat(e->target, p->fd, name) != 0) {
            return -errno;
        }
    }
    *ret_what = "its owner and times";
    if (t->own && fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_uid != e->uid || st.st_gid != e->gid) &&
        fchownat(p->fd, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) != 0) {
        return -errno;
    }
    return utimensat(p->fd, name, e->times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

int entry_make(const struct target *t, struct place *p, const struct entry *e, const char **ret_what)
{
    *ret_what = NULL;
    if (S_ISDIR(e->mode)) {
        return make_directory(t, p, e, ret_what);
    }
    if (*e->path == '\0') {
        return -EISDIR;
    }
    return S_ISLNK(e->mode) ? make_symlink(t, p, e, ret_what) : make_file(t, p, e, ret_what);
}
