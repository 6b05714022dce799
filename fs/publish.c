/* Publishing: a draft becomes one transaction (design: 2.1, rules 1 to 7). */
#include "dotznodefs.h"
#include "front.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The file is deleted: what is written goes to what is left of it, for those who still have it open. */
static int publish_to_gone(struct inode *i, const struct draft *d)
{
    const uint8_t *base = i->gone_data == NULL ? NULL : i->gone_data->bytes;
    uint64_t size = draft_size(d, i->gone_len);
    uint8_t *bytes;

    assert(size <= UINT32_MAX);
    bytes = malloc(size == 0 ? 1 : size);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    (void)draft_read(d, base, i->gone_len, 0, bytes, size);
    inode_set_gone_data(i, bytes, (uint32_t)size);
    free(bytes);
    return 0;
}

/* A close that waits for another one's publishing. */
struct waiter {
    struct waiter *next;
    fuse_req_t req;
    pid_t pid;
};

void publish_wait(struct handle *h, fuse_req_t req)
{
    struct waiter *w = calloc(1, sizeof(*w));

    assert(h->closing != NULL);
    if (w == NULL) {
        abort();
    }
    w->req = req;
    w->pid = fuse_req_ctx(req)->pid;
    w->next = h->closing->waiters;
    h->closing->waiters = w;
}

static void waiters_reply(struct call *c, int err)
{
    while (c->waiters != NULL) {
        struct waiter *w = c->waiters;
        c->waiters = w->next;
        (void)fuse_reply_err(w->req, err);
        free(w);
    }
}

void publish_check_killed(struct call *c)
{
    struct waiter **at = &c->waiters;

    while (*at != NULL) {
        struct waiter *w = *at;
        if (opener_dying(w->pid)) {
            *at = w->next;
            (void)fuse_reply_err(w->req, 0);
            free(w);
        } else {
            at = &w->next;
        }
    }
    if (c->req != NULL && opener_dying(c->pid)) {
        (void)fuse_reply_err(c->req, 0);
        c->req = NULL;
        c->handle->closing = c->handle->closing == c ? NULL : c->handle->closing;
        c->handle = NULL;
        c->releasing = true;
        c->inode->n_releasing++;
    }
}

static void publish_reply(fuse_req_t req, int err, enum publish_kind kind, size_t size)
{
    if (req == NULL) {
        return;
    }
    if (err == 0 && kind == PUBLISH_WRITE) {
        (void)fuse_reply_write(req, size);
    } else {
        (void)fuse_reply_err(req, err);
    }
}

/* Nobody waits for this error: it goes to log and status. */
static void publish_lost(struct mount *m, uint64_t ino, int err)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    m->stats.publish_lost.err = err;
    m->stats.publish_lost.ino = ino;
    m->stats.publish_lost.wall_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    mount_log(m, "publish inode %llu after its close: %s", (unsigned long long)ino, strerror(err));
    dot_wake(m);
}

/* What a failed publishing means for what is still to come through the handle. */
static void publish_failed(struct mount *m, struct call *c, int err)
{
    struct handle *h = c->handle;
    bool whole = c->draft->keep == 0;

    m->stats.publish_errors++;
    if (h == NULL) {
        publish_lost(m, c->inode->ino, err);
        return;
    }
    if (err == EROFS && c->flags == PUBLISH_FSYNC && h->draft == NULL) {
        h->draft = c->draft; /* it never took effect: close tries again */
        c->draft = NULL;
        m->inodes.n_drafts++;
        return;
    }
    if (c->flags == PUBLISH_FSYNC || (c->flags == PUBLISH_WRITE && whole)) {
        h->failed = -err; /* what follows would be pieces over contents that were never published */
        handle_drop_draft(&m->inodes, h);
    }
}

static void publish_finish(struct call *c, const struct outcome *outcome)
{
    struct mount *m = c->mount;
    struct inode *i = c->inode;
    int err = outcome->err;

    if (i->gone && (err == ENOENT || err == ESTALE)) {
        err = -publish_to_gone(i, c->draft);
    }
    if (err == EROFS && c->flags == PUBLISH_FLUSH) {
        err = ETIMEDOUT; /* what a close says under `soft`: EROFS would be about the file system, not about this file */
    }
    if (c->handle != NULL && c->handle->closing == c) {
        c->handle->closing = NULL;
    }
    if (err != 0) {
        publish_failed(m, c, err);
    } else if (c->handle != NULL) {
        handle_drop_version(c->handle);
    }
    publish_reply(c->req, err, (enum publish_kind)c->flags, c->size);
    waiters_reply(c, err);
    if (c->releasing) {
        assert(i->n_releasing > 0);
        i->n_releasing--;
        park_wake(&m->park);
    }
}

static void publish_submit(struct call *c, const struct draft *d, bool keep_times, enum replica_patience patience)
{
    struct op op = {.kind = OP_WRITE,
                    .ino = c->inode->ino,
                    .keep = d->keep,
                    .size_min = d->size_min,
                    .keep_times = keep_times,
                    .n_ranges = (uint32_t)d->n_ranges};
    struct op_range *ranges = NULL;

    if (d->n_ranges > 0) {
        ranges = calloc(d->n_ranges, sizeof(ranges[0]));
        if (ranges == NULL) {
            abort();
        }
        for (size_t i = 0; i < d->n_ranges; i++) {
            ranges[i].offset = d->ranges[i].offset;
            ranges[i].len = d->ranges[i].len;
            ranges[i].bytes = d->ranges[i].bytes;
        }
    }
    op.ranges = ranges;
    call_submit(c, patience, &op);
    free(ranges);
}

void publish(struct mount *m, struct handle *h, fuse_req_t req, enum publish_kind kind, size_t size)
{
    bool closing = kind == PUBLISH_FLUSH || kind == PUBLISH_RELEASE;
    struct draft *d = handle_take_draft(&m->inodes, h);
    struct call *c;

    assert(d != NULL);
    m->stats.publishes++;
    if (h->inode->gone) {
        int rv = publish_to_gone(h->inode, d);
        handle_drop_version(h);
        draft_free(d);
        publish_reply(req, -rv, kind, size);
        return;
    }
    c = call_new(m, req, publish_finish);
    call_hold(c, h->inode->ino);
    c->draft = d;
    c->flags = kind;
    c->size = size;
    if (kind == PUBLISH_RELEASE) {
        c->releasing = true;
        c->inode->n_releasing++;
    } else {
        c->handle = h;
        c->publishing = kind == PUBLISH_FLUSH;
        h->closing = c->publishing ? c : h->closing;
    }
    publish_submit(c, d, h->keep_times, closing && !m->options.soft ? REPLICA_HARD : REPLICA_BOUNDED);
}

void publish_leftovers(struct mount *m)
{
    struct inode *i;
    struct inode *next;

    HASH_ITER(hh, m->inodes.by_ino, i, next)
    {
        for (struct handle *h = i->handles; h != NULL; h = h->next) {
            if (h->draft == NULL || h->failed != 0 || i->gone) {
                continue;
            }
            if (m->lazy && !h->opener_flushed) {
                mount_log(m, "unmounted while inode %llu was being written: its draft is dropped",
                          (unsigned long long)i->ino);
                handle_drop_draft(&m->inodes, h);
            } else {
                publish(m, h, NULL, PUBLISH_RELEASE, 0);
            }
        }
    }
}
