/* GETATTR and SETATTR. */
#include "dotznodefs.h"
#include "front.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static void stat_set_size(struct stat *st, uint64_t size)
{
    st->st_size = (off_t)size;
    st->st_blocks = (blkcnt_t)((size + 511) / 512);
}

/* The handle whose draft the thread `pid` would see through a descriptor of the file. GETATTR names no descriptor. */
static const struct handle *draft_handle_of(const struct inode *i, pid_t pid)
{
    for (const struct handle *h = i->handles; h != NULL; h = h->next) {
        if (h->draft != NULL && opener_is(&h->opener, pid)) {
            return h;
        }
    }
    return NULL;
}

int attr_of(struct mount *m, uint64_t ino, pid_t pid, struct stat *ret_st)
{
    const struct node *n = tree_by_ino(mount_tree(m), ino);
    const struct inode *i = inode_find(&m->inodes, ino);
    const struct handle *h;

    if (n != NULL) {
        stat_of_node(n, ret_st);
    } else if (i != NULL && i->gone) {
        *ret_st = i->gone_stat;
    } else {
        return -ESTALE; /* the kernel then looks the name up again */
    }
    h = i == NULL ? NULL : draft_handle_of(i, pid);
    if (h != NULL) {
        stat_set_size(ret_st, draft_size(h->draft, (uint64_t)ret_st->st_size));
    }
    return 0;
}

/* Of a node that is gone, and not open here. */
static void reply_attr_stale(fuse_req_t req, uint64_t ino)
{
    const struct recent_node *n = recent_instead(&mount_of(req)->recent, fuse_req_ctx(req)->pid, ino);

    if (n == NULL) {
        (void)fuse_reply_err(req, ESTALE);
    } else {
        (void)fuse_reply_attr(req, &n->stat, 0);
    }
}

static void reply_attr(fuse_req_t req, uint64_t ino, const struct handle *h)
{
    struct mount *m = mount_of(req);
    struct buf *data;
    uint32_t len;
    struct stat st;
    int rv = attr_of(m, ino, fuse_req_ctx(req)->pid, &st);

    if (rv != 0) {
        reply_attr_stale(req, ino);
        return;
    }
    if (h != NULL && h->draft != NULL && inode_contents(mount_tree(m), &m->inodes, ino, &data, &len)) {
        stat_set_size(&st, draft_size(h->draft, len));
    }
    (void)fuse_reply_attr(req, &st, 0);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (dot_is(ino)) {
        dot_getattr(req, ino);
        return;
    }
    reply_attr(req, ino, fi == NULL ? NULL : handle_of(fi));
}

/* Times are nanoseconds in 64 bits: of what lies beyond, the nearest (the years 1677 and 2262). */
static int64_t ns_of(const struct timespec *ts)
{
    int64_t ns;

    if (__builtin_mul_overflow((int64_t)ts->tv_sec, 1000000000, &ns) || __builtin_add_overflow(ns, ts->tv_nsec, &ns)) {
        return ts->tv_sec < 0 ? INT64_MIN : INT64_MAX;
    }
    return ns;
}

static void setattr_op(struct op *op, uint64_t ino, const struct stat *st, int to_set)
{
    static const struct {
        int fuse;
        uint32_t mask;
    } bits[] = {
        {FUSE_SET_ATTR_MODE, SETATTR_MODE},   {FUSE_SET_ATTR_UID, SETATTR_UID},
        {FUSE_SET_ATTR_GID, SETATTR_GID},     {FUSE_SET_ATTR_SIZE, SETATTR_SIZE},
        {FUSE_SET_ATTR_ATIME, SETATTR_ATIME}, {FUSE_SET_ATTR_ATIME_NOW, SETATTR_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME, SETATTR_MTIME}, {FUSE_SET_ATTR_MTIME_NOW, SETATTR_MTIME_NOW},
    };

    op->kind = OP_SETATTR;
    op->ino = ino;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        if ((to_set & bits[i].fuse) != 0) {
            op->mask |= bits[i].mask;
        }
    }
    op->mode = st->st_mode & 07777;
    op->uid = st->st_uid;
    op->gid = st->st_gid;
    op->size = (uint64_t)st->st_size;
    op->atime_ns = ns_of(&st->st_atim);
    op->mtime_ns = ns_of(&st->st_mtim);
    if ((op->mask & SETATTR_ATIME_NOW) != 0) {
        op->mask &= ~(uint32_t)SETATTR_ATIME;
    }
    if ((op->mask & SETATTR_MTIME_NOW) != 0) {
        op->mask &= ~(uint32_t)SETATTR_MTIME;
    }
}

/* A file that is deleted but open: its attributes are this mount's own matter now. */
static void setattr_gone(struct inode *i, const struct op *op)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    i->gone_stat.st_ctim = now;
    if ((op->mask & SETATTR_MODE) != 0) {
        i->gone_stat.st_mode = (i->gone_stat.st_mode & S_IFMT) | op->mode;
    }
    inode_gone_set_id(i, op->mask);
    if ((op->mask & SETATTR_UID) != 0) {
        i->gone_stat.st_uid = op->uid;
    }
    if ((op->mask & SETATTR_GID) != 0) {
        i->gone_stat.st_gid = op->gid;
    }
    if ((op->mask & SETATTR_ATIME_NOW) != 0) {
        i->gone_stat.st_atim = now;
    } else if ((op->mask & SETATTR_ATIME) != 0) {
        i->gone_stat.st_atim = timespec_of(op->atime_ns);
    }
    if ((op->mask & SETATTR_MTIME_NOW) != 0) {
        i->gone_stat.st_mtim = now;
    } else if ((op->mask & SETATTR_MTIME) != 0) {
        i->gone_stat.st_mtim = timespec_of(op->mtime_ns);
    }
}

static void setattr_finish(struct call *c, const struct outcome *outcome)
{
    if (outcome->err == ENOENT) {
        /* Removed while the call was under way: whoever has it open finds it without links. */
        if (c->inode->gone) {
            reply_attr(c->req, c->inode->ino, NULL);
        } else {
            reply_attr_stale(c->req, c->inode->ino);
        }
        return;
    }
    if (outcome->err != 0) {
        (void)fuse_reply_err(c->req, outcome->err);
        return;
    }
    if (c->handle != NULL) {
        handle_drop_version(c->handle);
    }
    reply_attr(c->req, c->inode->ino, c->handle);
}

/* ftruncate(2) belongs to the draft, unless each call through this descriptor is a transaction of its own. True if it
 * was dealt with here (or failed, and is answered). */
static bool setattr_draft_size(fuse_req_t req, struct handle *h, const struct stat *st, bool *ret_failed)
{
    struct mount *m = mount_of(req);
    int rv;

    *ret_failed = false;
    if (h->failed != 0) {
        (void)fuse_reply_err(req, -h->failed);
        *ret_failed = true;
        return true;
    }
    if (h->draft == NULL && !h->inode->gone && ((h->flags & (O_APPEND | O_DSYNC)) != 0 || m->options.sync)) {
        return false;
    }
    rv = draft_truncate(handle_draft(&m->inodes, h), (uint64_t)st->st_size, m->options.data_max);
    if (rv != 0) {
        h->failed = rv;
        handle_drop_draft(&m->inodes, h);
        (void)fuse_reply_err(req, -rv);
        *ret_failed = true;
    }
    h->keep_times = false;
    return true;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct handle *h = fi == NULL ? NULL : handle_of(fi);
    struct inode *i = inode_find(&m->inodes, ino);
    struct op op = {0};
    uint32_t kill;
    struct call *c;
    bool failed;

    if (dot_is(ino)) {
        (void)fuse_reply_err(req, EPERM);
        return;
    }
    kill = (to_set & FUSE_SET_ATTR_SIZE) != 0 ? set_id_lost(req, ino) : 0;
    if ((to_set & FUSE_SET_ATTR_SIZE) != 0 && h != NULL && setattr_draft_size(req, h, st, &failed)) {
        if (failed) {
            return;
        }
        to_set &= ~FUSE_SET_ATTR_SIZE;
    }
    setattr_op(&op, ino, st, to_set);
    op.mask |= kill;
    if (i != NULL && i->gone) {
        setattr_gone(i, &op);
        op.mask = 0;
    }
    if (op.mask == 0) {
        reply_attr(req, ino, h);
        return;
    }
    c = call_new(m, req, setattr_finish);
    c->handle = h;
    call_hold(c, ino);
    call_submit(c, REPLICA_BOUNDED, &op);
}
