/* Open files: OPEN, READ, WRITE, FLUSH, FSYNC, RELEASE (design: 2.1). */
#include "dotznodefs.h"
#include "front.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define BEGINNING_MAX 4096 /* bytes of a file that are its beginning: see read_reply() */

/* ---- open and release ---- */

static void open_reply(fuse_req_t req, struct handle *h)
{
    struct inodes *inodes = &mount_of(req)->inodes;
    struct fuse_file_info fi = {.fh = (uintptr_t)h, .flags = h->flags, .direct_io = 1};

    if (fuse_reply_open(req, &fi) != 0) {
        handle_free(inodes, h);
    }
}

static void open_truncated(struct call *c, const struct outcome *outcome)
{
    struct mount *m = c->mount;
    struct handle *h = c->handle;

    if (outcome->err != 0 && !h->inode->gone) {
        (void)fuse_reply_err(c->req, outcome->err);
        handle_free(&m->inodes, h);
        return;
    }
    if (h->inode->gone) {
        inode_set_gone_data(h->inode, NULL, 0); /* removed by now, and truncated nevertheless */
    }
    open_reply(c->req, h);
}

/* O_TRUNC on a descriptor that may not write, and so never publishes: a truncate(2) by itself. */
static void open_and_truncate(fuse_req_t req, struct handle *h)
{
    struct mount *m = mount_of(req);
    struct op op = {.kind = OP_SETATTR, .ino = h->inode->ino, .mask = SETATTR_SIZE | set_id_lost(req, h->inode->ino)};
    struct call *c;

    if (h->inode->gone) {
        inode_gone_set_id(h->inode, op.mask);
        inode_set_gone_data(h->inode, NULL, 0);
        open_reply(req, h);
        return;
    }
    c = call_new(m, req, open_truncated);
    c->handle = h;
    call_submit(c, REPLICA_BOUNDED, &op);
}

/* The file was removed between its LOOKUP and this OPEN. */
static void inode_set_recent(struct inode *i, const struct recent_node *n)
{
    assert(!i->gone && i->gone_data == NULL);
    i->gone = true;
    i->gone_stat = n->stat;
    i->gone_data = n->data == NULL ? NULL : buf_ref(n->data);
    i->gone_len = n->len;
}

/* EFBIG, EROFS, ... come later: at write(2) and close(2). ESTALE: the file is gone, and the kernel looks again. */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    const struct recent_node *gone = NULL;
    const struct inode *i;
    struct handle *h;

    if (dot_is(ino)) {
        dot_open(req, ino, fi);
        return;
    }
    i = inode_find(&m->inodes, ino);
    if (tree_by_ino(mount_tree(m), ino) == NULL && (i == NULL || !i->gone)) {
        gone = recent_instead(&m->recent, fuse_req_ctx(req)->pid, ino);
        if (gone == NULL) {
            (void)fuse_reply_err(req, ESTALE);
            return;
        }
    }
    h = handle_new(&m->inodes, ino, (fi->flags & O_ACCMODE) != O_RDONLY);
    if (gone != NULL) {
        inode_set_recent(h->inode, gone);
    }
    h->flags = fi->flags;
    if (h->writable) {
        opener_of(fuse_req_ctx(req)->pid, &h->opener);
    }
    if (!h->writable && (fi->flags & O_TRUNC) != 0) {
        open_and_truncate(req, h);
        return;
    }
    if ((fi->flags & O_TRUNC) != 0) {
        set_id_drop(req, ino);
        h->truncated = true;
        (void)handle_draft(&m->inodes, h);
    }
    open_reply(req, h);
}

/* An open(2) that a signal ended after its OPEN was answered: nobody got a descriptor, or closing it would have sent a
 * FLUSH, and so nobody meant the file to be empty. */
static bool open_was_given_up(const struct handle *h)
{
    return !h->lock_owner_known && h->draft->n_ranges == 0;
}

/* What is left of the draft is published; requests on the file that come later wait for that (rule 4). */
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct handle *h;

    if (dot_is(ino)) {
        dot_release(req, fi);
        return;
    }
    h = handle_of(fi);
    if (h->draft != NULL && h->failed == 0 && !open_was_given_up(h)) {
        publish(m, h, NULL, PUBLISH_RELEASE, 0);
    }
    handle_free(&m->inodes, h);
    (void)fuse_reply_err(req, 0);
}

/* ---- reading ---- */

static void reply_draft(fuse_req_t req, const struct handle *h, size_t size, uint64_t offset)
{
    const uint8_t *base = h->version == NULL ? NULL : h->version->bytes;
    uint8_t *out = malloc(size == 0 ? 1 : size);

    if (out == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    size = draft_read(h->draft, base, h->version_len, offset, out, size);
    (void)fuse_reply_buf(req, (const char *)out, size);
    free(out);
}

static uint64_t visible_size(const struct handle *h)
{
    return h->draft != NULL ? draft_size(h->draft, h->version_len) : h->version_len;
}

static uint64_t min3(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t least = a < b ? a : b;

    return least < c ? least : c;
}

/* Whether a read begins with what was read first, from offset 0: sqlite looks at its counter of changes in the middle
 * of the header that it has read before. Who reads on in small pieces never does. */
static bool reads_beginning_again(const struct handle *h, uint64_t offset)
{
    return offset == 0 || offset < h->beginning;
}

/* One version per open file: the newest at its first read, until it reads its beginning again or a second time at the
 * end. A draft lies over it. */
static void read_reply(fuse_req_t req, struct handle *h, size_t size, uint64_t offset, bool newest)
{
    struct mount *m = mount_of(req);
    bool was_at_end = h->at_end;
    uint64_t total;

    if (newest || !h->version_held || reads_beginning_again(h, offset)) {
        handle_take_version(h, mount_tree(m), &m->inodes);
    }
    total = visible_size(h);
    if (offset == 0) {
        h->beginning = (uint32_t)min3(size, total, BEGINNING_MAX);
    }
    if (offset >= total && offset > 0 && was_at_end) {
        handle_take_version(h, mount_tree(m), &m->inodes);
        total = visible_size(h);
    }
    h->at_end = offset >= total;
    if (offset >= total) {
        (void)fuse_reply_buf(req, NULL, 0);
    } else if (h->draft != NULL) {
        reply_draft(req, h, size, offset);
    } else {
        size = size < total - offset ? size : (size_t)(total - offset);
        (void)fuse_reply_buf(req, (const char *)h->version->bytes + offset, size);
    }
}

/* Pages for mappings, also those of execve(2), which the kernel keeps and reads piece by piece, in any order: all of
 * one version, and offset 0 moves nothing on. */
static void pages_reply(fuse_req_t req, struct handle *h, size_t size, uint64_t offset)
{
    struct mount *m = mount_of(req);
    const struct inode *i = h->inode;

    handle_take_pages(h, mount_tree(m), &m->inodes);
    if (h->draft != NULL) {
        reply_draft(req, h, size, offset);
    } else if (offset >= i->pages_len) {
        (void)fuse_reply_buf(req, NULL, 0);
    } else {
        size = size < i->pages_len - offset ? size : (size_t)(i->pages_len - offset);
        (void)fuse_reply_buf(req, (const char *)i->pages->bytes + offset, size);
    }
}

static void read_finish(struct call *c, const struct outcome *outcome)
{
    if (outcome->err != 0) {
        (void)fuse_reply_err(c->req, outcome->err);
        return;
    }
    read_reply(c->req, c->handle, c->size, (uint64_t)c->offset, true);
}

/* EIO, EINTR: of the barrier that an O_DIRECT read passes first. */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct op op = {.kind = OP_NOP};
    struct call *c;

    if (dot_is(ino)) {
        dot_read(req, ino, size, offset, fi);
        return;
    }
    if (fi->lock_owner == 0) { /* read(2) always has one */
        pages_reply(req, handle_of(fi), size, (uint64_t)offset);
        return;
    }
    if ((fi->flags & O_DIRECT) == 0) {
        read_reply(req, handle_of(fi), size, (uint64_t)offset, false);
        return;
    }
    c = call_new(m, req, read_finish);
    c->handle = handle_of(fi);
    c->size = size;
    c->offset = offset;
    c->interruptible = true;
    call_submit(c, REPLICA_BARRIER, &op);
}

void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
    if (dot_is(ino)) {
        dot_poll(req, ino, fi, ph);
        return;
    }
    if (ph != NULL) {
        fuse_pollhandle_destroy(ph);
    }
    (void)fuse_reply_poll(req, POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM);
}

/* ---- writing ---- */

/* An append to a file that is deleted but open. 0 or a positive errno. */
static int append_gone(struct mount *m, struct inode *i, const void *bytes, size_t size)
{
    struct draft *d = draft_new(false);
    const uint8_t *base = i->gone_data == NULL ? NULL : i->gone_data->bytes;
    int rv = draft_write(d, i->gone_len, bytes, (uint32_t)size, m->options.data_max);

    if (rv == 0) {
        uint64_t len = draft_size(d, i->gone_len);
        uint8_t *all = malloc(len);
        if (all == NULL) {
            rv = -ENOMEM;
        } else {
            (void)draft_read(d, base, i->gone_len, 0, all, len);
            inode_set_gone_data(i, all, (uint32_t)len);
            free(all);
        }
    }
    draft_free(d);
    return -rv;
}

static void append_finish(struct call *c, const struct outcome *outcome)
{
    int err = outcome->err;

    if ((err == ENOENT || err == ESTALE) && c->inode->gone) {
        err = 0; /* removed while the call was under way: appended to nothing that anybody can reach */
    }
    if (err != 0) {
        (void)fuse_reply_err(c->req, err);
        return;
    }
    handle_drop_version(c->handle);
    (void)fuse_reply_write(c->req, c->size);
}

/* One atomic append at the end as of its turn in the total order. */
static void append(fuse_req_t req, struct handle *h, const char *bytes, size_t size)
{
    struct mount *m = mount_of(req);
    struct op op = {
        .kind = OP_APPEND, .ino = h->inode->ino, .data = (const uint8_t *)bytes, .data_len = (uint32_t)size};
    struct call *c;

    h->truncated = false;
    if (h->inode->gone) {
        int err = append_gone(m, h->inode, bytes, size);
        if (err != 0) {
            (void)fuse_reply_err(req, err);
        } else {
            handle_drop_version(h);
            (void)fuse_reply_write(req, size);
        }
        return;
    }
    c = call_new(m, req, append_finish);
    call_hold(c, h->inode->ino);
    c->handle = h;
    c->size = size;
    call_submit(c, REPLICA_BOUNDED, &op);
}

/* EFBIG: beyond jute.maxbuffer; the draft is dropped, and close says so again. */
void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct handle *h = handle_of(fi);
    uint64_t at = (uint64_t)offset;
    struct draft *d;
    int rv;

    if (dot_is(ino)) {
        (void)fuse_reply_err(req, EBADF);
        return;
    }
    if (h->failed != 0 || size > FRONT_WRITE_MAX) {
        (void)fuse_reply_err(req, h->failed != 0 ? -h->failed : EINVAL);
        return;
    }
    set_id_drop(req, ino);
    if ((fi->flags & O_APPEND) != 0 && h->draft == NULL) {
        append(req, h, bytes, size);
        return;
    }
    d = handle_draft(&m->inodes, h);
    if ((fi->flags & O_APPEND) != 0) {
        struct buf *data;
        uint32_t len = 0;
        (void)inode_contents(mount_tree(m), &m->inodes, ino, &data, &len);
        at = draft_size(d, len);
    }
    rv = draft_write(d, at, bytes, (uint32_t)size, m->options.data_max);
    if (rv != 0) {
        h->failed = rv;
        handle_drop_draft(&m->inodes, h);
        (void)fuse_reply_err(req, -rv);
        return;
    }
    h->keep_times = false; /* this is later than they are */
    if ((fi->flags & O_DSYNC) != 0 || m->options.sync) {
        publish(m, h, req, PUBLISH_WRITE, size);
    } else {
        (void)fuse_reply_write(req, size);
    }
}

/* ---- flush and fsync ---- */

/* As open(2) was told, and as fdinfo shows it: descriptors that differ in it are not of one open file. */
static int access_of(const struct handle *h)
{
    return h->flags & O_ACCMODE;
}

/* How many other open files of this file, with the same access, the opener has a descriptor of, for certain: none of
 * theirs has been closed anywhere since it opened them. */
static int open_elsewhere(const struct handle *closing)
{
    int n = 0;

    for (const struct handle *h = closing->inode->handles; h != NULL; h = h->next) {
        n += h != closing && access_of(h) == access_of(closing) && !h->lock_owner_known &&
             opener_same(&h->opener, &closing->opener);
    }
    return n;
}

/* Where the opener's descriptors can't be seen: shells close a copy between their open with O_TRUNC and the first
 * write, and would publish nothing at all there. What is only truncated is RELEASE's. */
static bool is_flush_of_unseen(const struct handle *h, uint64_t lock_owner)
{
    return h->lock_owner == lock_owner && (h->draft->n_ranges > 0 || h->draft->keep != 0);
}

/* Rule 2: is this FLUSH the opener closing its last writable descriptor of the file? *ret_alive: it is not exiting.
 * Those that belong to other open files for certain are none of this one. */
static bool is_last_flush(const struct mount *m, const struct handle *h, pid_t pid, uint64_t lock_owner,
                          bool *ret_alive)
{
    int fds;

    *ret_alive = false;
    if (h->opener.tgid == 0) {
        return is_flush_of_unseen(h, lock_owner);
    }
    if (!opener_is(&h->opener, pid)) {
        return false;
    }
    fds = opener_fds(pid, m->dev, h->inode->ino, access_of(h), ret_alive);
    return fds < 0 ? is_flush_of_unseen(h, lock_owner) : fds <= open_elsewhere(h);
}

/* Is somebody closing what the opener closes too, and waits there? */
static bool closes_with(const struct handle *h, pid_t pid, uint64_t lock_owner)
{
    return h->closing != NULL && (h->opener.tgid == 0 ? h->lock_owner == lock_owner : opener_is(&h->opener, pid));
}

/* Any errno of publishing. What made the draft fail is told by each close, whoever closes. */
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct handle *h = handle_of(fi);
    pid_t pid = fuse_req_ctx(req)->pid;
    bool alive;

    if (dot_is(ino)) {
        (void)fuse_reply_err(req, 0);
        return;
    }
    if (!h->lock_owner_known) {
        h->lock_owner = fi->lock_owner;
        h->lock_owner_known = true;
    }
    if (h->failed != 0) {
        (void)fuse_reply_err(req, -h->failed);
    } else if (h->draft == NULL && closes_with(h, pid, fi->lock_owner)) {
        publish_wait(h, req);
    } else if (h->draft == NULL || !is_last_flush(m, h, pid, fi->lock_owner, &alive)) {
        (void)fuse_reply_err(req, 0);
    } else if (!alive && opener_killed(pid)) {
        h->failed = -EIO; /* half of what was to be written: nobody shall see it, nor what others add */
        handle_drop_draft(&m->inodes, h);
        (void)fuse_reply_err(req, EIO);
    } else {
        h->opener_flushed = true;
        publish(m, h, req, PUBLISH_FLUSH, 0);
    }
}

static void barrier(fuse_req_t req)
{
    struct op op = {.kind = OP_NOP};
    struct call *c = call_new(mount_of(req), req, call_finish_err);

    c->interruptible = true;
    call_submit(c, REPLICA_BARRIER, &op);
}

static void fsync_finish(struct call *c, const struct outcome *outcome)
{
    if (outcome->err == 0) {
        handle_drop_version(c->handle); /* so that the next read is linearizable */
    }
    (void)fuse_reply_err(c->req, outcome->err);
}

/* Publishes the draft; without one it is a quorum barrier. */
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct op op = {.kind = OP_NOP};
    struct handle *h = handle_of(fi);
    struct call *c;

    (void)datasync;
    if (dot_is(ino)) {
        barrier(req);
        return;
    }
    if (h->failed != 0) {
        (void)fuse_reply_err(req, -h->failed);
        return;
    }
    if (h->draft != NULL) {
        publish(m, h, req, PUBLISH_FSYNC, 0);
        return;
    }
    c = call_new(m, req, fsync_finish);
    c->handle = h;
    c->interruptible = true;
    call_submit(c, REPLICA_BARRIER, &op);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    barrier(req);
}
