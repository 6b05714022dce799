/*
 * empty_fs: the yardstick: a FUSE file system that does nothing but keep one directory of files in memory. It runs as
 * znodefs does (libfuse's low-level session, one thread, direct_io, zero timeouts, O_TRUNC with OPEN, nice -10, the
 * same requests from the kernel), so that what it costs is what the kernel and libfuse cost: it makes no system call
 * but reads and writes of /dev/fuse.
 *
 * Usage: empty_fs MOUNTPOINT [N]    (stays in front, ends at umount; N: files 0 to N-1 of 100 bytes are there)
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DATA_MAX     (1024 * 1024)
#define MADE_LEN     100
#define ZNODEFS_NICE (-10)

struct file {
    char *name;
    char *data;
    size_t len;
};

static struct file *files; /* inode number is the index plus 2 */
static size_t n_files;
static size_t n_made; /* of them, those that were there from the start */
static char made[MADE_LEN];

static void fill_attr(fuse_ino_t ino, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = ino;
    st->st_blksize = DATA_MAX;
    if (ino == FUSE_ROOT_ID) {
        st->st_mode = S_IFDIR | 0755;
        st->st_nlink = 2;
    } else {
        st->st_mode = S_IFREG | 0644;
        st->st_nlink = 1;
        st->st_size = (off_t)files[ino - 2].len;
    }
}

static void fill_entry(fuse_ino_t ino, struct fuse_entry_param *e)
{
    memset(e, 0, sizeof(*e));
    e->ino = ino;
    fill_attr(ino, &e->attr);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
    conn->max_write = DATA_MAX;
}

/* Where to begin to look for a name: those that were made are in the order of their numbers. */
static size_t first_place(const char *name)
{
    char *end;
    unsigned long number = strtoul(name, &end, 10);

    return *end == '\0' && number < n_made ? number : n_made;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e;
    size_t i;

    (void)parent;
    for (i = first_place(name); i < n_files; i++) {
        if (strcmp(files[i].name, name) == 0) {
            fill_entry(i + 2, &e);
            fuse_reply_entry(req, &e);
            return;
        }
    }
    fuse_reply_err(req, ENOENT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    fill_attr(ino, &st);
    fuse_reply_attr(req, &st, 0);
}

static struct file *add_file(const char *name)
{
    struct file *grown = realloc(files, (n_files + 1) * sizeof(*files));

    if (grown == NULL) {
        abort();
    }
    files = grown;
    memset(&files[n_files], 0, sizeof(*files));
    files[n_files].name = strdup(name);
    if (files[n_files].name == NULL) {
        abort();
    }
    n_files++;
    return &files[n_files - 1];
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct fuse_entry_param e;

    (void)parent;
    (void)mode;
    add_file(name)->data = malloc(DATA_MAX);
    if (files[n_files - 1].data == NULL) {
        abort();
    }
    fill_entry(n_files + 1, &e);
    fi->direct_io = 1;
    fuse_reply_create(req, &e, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (fi->flags & O_TRUNC) {
        files[ino - 2].len = 0;
    }
    fi->direct_io = 1;
    fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    const struct file *f = &files[ino - 2];

    (void)fi;
    if ((size_t)off >= f->len) {
        fuse_reply_buf(req, NULL, 0);
    } else {
        fuse_reply_buf(req, f->data + off, f->len - (size_t)off < size ? f->len - (size_t)off : size);
    }
}

static size_t room(const struct file *f)
{
    return f->data == made ? MADE_LEN : DATA_MAX;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
    struct file *f = &files[ino - 2];

    (void)fi;
    if ((size_t)off + size > room(f)) {
        fuse_reply_err(req, EFBIG);
        return;
    }
    memcpy(f->data + off, bytes, size);
    if ((size_t)off + size > f->len) {
        f->len = (size_t)off + size;
    }
    fuse_reply_write(req, size);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, 0);
}

/* The kernel asks for security.capability before a write. */
static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    (void)ino;
    (void)name;
    (void)size;
    fuse_reply_err(req, EOPNOTSUPP);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int mask, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    if ((mask & FUSE_SET_ATTR_SIZE) && ino != FUSE_ROOT_ID && (size_t)attr->st_size <= room(&files[ino - 2])) {
        files[ino - 2].len = (size_t)attr->st_size;
    }
    fill_attr(ino, &st);
    fuse_reply_attr(req, &st, 0);
}

static const struct fuse_lowlevel_ops ops = {
    .init = op_init,
    .lookup = op_lookup,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .create = op_create,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_flush,
    .getxattr = op_getxattr,
};

static void make_files(unsigned long n)
{
    char name[32];

    for (n_made = 0; n_made < n; n_made++) {
        struct file *f;

        (void)snprintf(name, sizeof(name), "%zu", n_made);
        f = add_file(name);
        f->data = made;
        f->len = MADE_LEN;
    }
}

/* As fs/main.c does: at a higher priority than its clients a daemon is not interrupted by those it has answered, and
 * sleeps and wakes more often. */
static void raise_priority(void)
{
    errno = 0;
    if (getpriority(PRIO_PROCESS, 0) == 0 && errno == 0) {
        (void)setpriority(PRIO_PROCESS, 0, ZNODEFS_NICE);
    }
}

int main(int argc, char **argv)
{
    char *args_v[] = {argv[0], "-o", "default_permissions,fsname=empty_fs,subtype=empty_fs", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, args_v);
    struct fuse_session *se;
    int rv;

    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: empty_fs MOUNTPOINT [N]\n");
        return 1;
    }
    if (argc == 3) {
        make_files(strtoul(argv[2], NULL, 10));
    }
    se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
    if (se == NULL || fuse_set_signal_handlers(se) != 0 || fuse_session_mount(se, argv[1]) != 0) {
        return 4;
    }
    raise_priority();
    rv = fuse_session_loop(se);
    fuse_session_unmount(se);
    fuse_remove_signal_handlers(se);
    fuse_session_destroy(se);
    return rv < 0 ? 1 : 0;
}
