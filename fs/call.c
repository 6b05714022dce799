/* Calls under way at the replica: one list, one way to be done, interrupted or given up. */
#include "front.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TICK_MS 250

static void tick_cb(uv_timer_t *timer);

static void call_unlink(struct call *c)
{
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        c->mount->calls = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
}

static void call_free(struct call *c)
{
    if (c->inode != NULL) {
        assert(c->inode->n_holds > 0);
        c->inode->n_holds--;
        inode_put(&c->mount->inodes, c->inode);
    }
    draft_free(c->draft);
    free(c);
}

struct call *call_new(struct mount *m, fuse_req_t req, void (*finish)(struct call *, const struct outcome *))
{
    struct call *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        abort();
    }
    c->mount = m;
    c->req = req;
    c->pid = req == NULL ? 0 : fuse_req_ctx(req)->pid;
    c->finish = finish;
    return c;
}

void call_hold(struct call *c, uint64_t ino)
{
    assert(c->inode == NULL);
    c->inode = inode_get(&c->mount->inodes, ino);
    c->inode->n_holds++;
}

static void call_done_cb(struct replica_call *replica_call, const struct outcome *outcome)
{
    struct call *c = (struct call *)replica_call; /* its first member */

    call_unlink(c);
    histogram_add(&c->mount->stats.change_times, uv_hrtime() - c->start_ns);
    c->finish(c, outcome);
    call_free(c);
}

static void call_interrupt_cb(fuse_req_t req, void *data)
{
    struct call *c = data;

    (void)req;
    (void)replica_cancel(c->mount->replica, &c->replica_call, EINTR);
}

void call_submit(struct call *c, enum replica_patience patience, const struct op *op)
{
    struct mount *m = c->mount;

    c->replica_call.done = call_done_cb;
    c->replica_call.patience = patience;
    c->next = m->calls;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    m->calls = c;
    c->start_ns = uv_hrtime();
    replica_submit(m->replica, &c->replica_call, op);
    if (c->interruptible && c->req != NULL) {
        fuse_req_interrupt_func(c->req, call_interrupt_cb, c);
    }
    if (!m->ended && !uv_is_active((const uv_handle_t *)&m->tick)) {
        (void)uv_timer_start(&m->tick, tick_cb, TICK_MS, TICK_MS);
        m->tick.data = m;
    }
}

void calls_cancel_all(struct mount *m, int err)
{
    for (struct call *c = m->calls; c != NULL; c = c->next) {
        (void)replica_cancel(m->replica, &c->replica_call, err);
    }
}

void calls_check_killed(struct mount *m)
{
    for (struct call *c = m->calls; c != NULL; c = c->next) {
        if (c->publishing) {
            publish_check_killed(c);
        } else if (c->req != NULL && opener_dying(c->pid)) {
            (void)replica_cancel(m->replica, &c->replica_call, EINTR);
        }
    }
}

static void tick_cb(uv_timer_t *timer)
{
    struct mount *m = timer->data;
    struct replica_status status;

    if (m->calls == NULL) {
        (void)uv_timer_stop(timer);
        return;
    }
    replica_status(m->replica, &status);
    if (!status.quorum) {
        calls_check_killed(m);
    }
}

void call_finish_err(struct call *c, const struct outcome *outcome)
{
    (void)fuse_reply_err(c->req, outcome->err);
}
