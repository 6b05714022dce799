#include "export.h"

#include "consensus/peer.h"
#include "report.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct export
{
    struct mount *mount;
    struct peer_stream *stream;
    fuse_req_t req; /* the read that waits, NULL: none */
    size_t size;    /* of that read */
    off_t offset;   /* of the bytes that come next */
    bool waiting;   /* the stream will say when there is something */
};

static void export_serve(struct export *e);

static void export_ready_cb(void *arg)
{
    struct export *e = arg;

    e->waiting = false;
    if (e->req != NULL) {
        export_serve(e);
    }
}

static void export_interrupt_cb(fuse_req_t req, void *data)
{
    struct export *e = data;

    assert(e->req == req);
    e->req = NULL;
    (void)fuse_reply_err(req, EINTR);
}

int export_open(struct mount *m, uint64_t dir, struct export **ret_export)
{
    struct export *e;
    int rv;

    if (m->n_exports >= EXPORTS_MAX) {
        return -EBUSY;
    }
    if (tree_by_ino(mount_tree(m), dir) == NULL) {
        return -ESTALE;
    }
    e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return -ENOMEM;
    }
    e->mount = m;
    rv = peer_stream_open(m->report->peer, replica_state(m->replica), dir, export_ready_cb, e, &e->stream);
    if (rv != 0) {
        free(e);
        return rv;
    }
    m->n_exports++;
    *ret_export = e;
    return 0;
}

/* Answers the read with what there is, or leaves it waiting. */
static void export_serve(struct export *e)
{
    fuse_req_t req = e->req;
    char *bytes = malloc(e->size);
    ssize_t n = bytes == NULL ? -ENOMEM : peer_stream_read(e->stream, bytes, e->size);

    if (n == -EAGAIN) {
        e->waiting = true;
    } else {
        e->req = NULL;
        if (n < 0) {
            (void)fuse_reply_err(req, EIO);
        } else {
            e->offset += n;
            (void)fuse_reply_buf(req, bytes, (size_t)n);
        }
    }
    free(bytes);
}

void export_read(struct export *e, fuse_req_t req, size_t size, off_t offset)
{
    if (offset != e->offset) {
        (void)fuse_reply_err(req, ESPIPE);
        return;
    }
    if (size == 0 || size > FRONT_WRITE_MAX) {
        (void)fuse_reply_err(req, EINVAL);
        return;
    }
    if (e->req != NULL) {
        (void)fuse_reply_err(req, EBUSY);
        return;
    }
    if (fuse_req_interrupted(req)) {
        (void)fuse_reply_err(req, EINTR); /* libfuse would call back from within what is registered below */
        return;
    }
    e->req = req;
    e->size = size;
    fuse_req_interrupt_func(req, export_interrupt_cb, e);
    if (!e->waiting) {
        export_serve(e);
    }
}

void export_close(struct export *e)
{
    if (e->req != NULL) {
        (void)fuse_reply_err(e->req, EIO);
    }
    peer_stream_close(e->stream);
    assert(e->mount->n_exports > 0);
    e->mount->n_exports--;
    free(e);
}
