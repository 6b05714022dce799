/*
 * The state as a stream of bytes: a child writes a snapshot into a pipe, and whoever opened the stream takes the bytes
 * out as it has use for them. A child whose bytes nobody takes waits in its write; its memory is what changes in ours
 * meanwhile.
 *
 *   taking -- nothing there: -EAGAIN --> waiting -- bytes, end of the child: ready() --> taking
 *
 * The end of the bytes counts once the child's exit code says that they are all.
 */
#include "peer_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE_BYTES (1024 * 1024) /* few switches between the two processes; what an unprivileged one may have */

struct peer_stream {
    uv_poll_t poll; /* of the pipe's end that is read */
    struct peer *p; /* NULL once the child has ended: the peer may be gone by then */
    struct peer_child *child;
    int fd;
    void (*ready)(void *arg);
    void *arg;
    int rv; /* of the child, once it has ended */
    bool waiting;
    bool drained;     /* the pipe has ended */
    bool abandoned;   /* nobody wants to hear of it any more */
    bool poll_closed; /* the last thing that keeps it from being freed, or the child is */
};

/* ---- in the child ---- */

struct stream_task {
    const struct state *state;
    uint64_t top;
};

static int pipe_sink(void *arg, const uint8_t *bytes, size_t len)
{
    (void)arg;
    while (len > 0) {
        ssize_t n = write(PEER_CHILD_OUT_FD, bytes, len);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int stream_run(void *arg, struct error *err)
{
    const struct stream_task *task = arg;
    const struct node *top;
    int rv;

    if (task->top == 0) {
        rv = snapshot_write(task->state, pipe_sink, NULL);
    } else {
        top = tree_by_ino(state_tree(task->state), task->top);
        rv = snapshot_write_below(task->state, top, pipe_sink, NULL);
    }
    return rv == 0 ? 0 : error_set(err, rv, "write into the pipe: %s", strerror(-rv));
}

/* ---- in the parent ---- */

static void stream_free_if_done(struct peer_stream *s)
{
    if (s->poll_closed && s->child == NULL) {
        free(s);
    }
}

static void stream_closed_cb(uv_handle_t *handle)
{
    struct peer_stream *s = handle->data;

    (void)close(s->fd);
    s->poll_closed = true;
    stream_free_if_done(s);
}

static void stream_tell(struct peer_stream *s)
{
    if (s->waiting && !s->abandoned) {
        s->waiting = false;
        s->ready(s->arg);
    }
}

static void stream_ended(void *arg, int rv, const char *text)
{
    struct peer_stream *s = arg;

    if (rv != 0 && !s->abandoned) {
        peer_log(s->p, "a stream of the state ended early: %s%s%s", strerror(-rv), text[0] != '\0' ? ": " : "", text);
    }
    s->child = NULL;
    s->p = NULL;
    s->rv = rv;
    if (s->abandoned) {
        stream_free_if_done(s);
    } else if (s->drained) {
        stream_tell(s);
    }
}

static void stream_poll_cb(uv_poll_t *poll, int status, int events)
{
    struct peer_stream *s = poll->data;
    int rv = uv_poll_stop(poll);

    assert(rv == 0);
    (void)events;
    (void)status; /* whatever it is shows in the read */
    stream_tell(s);
}

static void stream_wait(struct peer_stream *s)
{
    int rv;

    s->waiting = true;
    if (!s->drained) {
        rv = uv_poll_start(&s->poll, UV_READABLE, stream_poll_cb);
        assert(rv == 0);
    }
}

ssize_t peer_stream_read(struct peer_stream *s, void *bytes, size_t len)
{
    ssize_t n = 0;

    assert(!s->waiting);
    assert(len > 0);
    while (!s->drained) {
        n = read(s->fd, bytes, len);
        if (n > 0) {
            return n;
        }
        if (n == 0) {
            s->drained = true;
        } else if (errno == EAGAIN) {
            stream_wait(s);
            return -EAGAIN;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    if (s->child != NULL) {
        stream_wait(s);
        return -EAGAIN;
    }
    return s->rv;
}

void peer_stream_close(struct peer_stream *s)
{
    s->abandoned = true;
    if (s->child != NULL) {
        peer_child_kill(s->child);
    }
    uv_close((uv_handle_t *)&s->poll, stream_closed_cb);
}

/* The pipe: our end does not block, the child's does. */
static int stream_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -errno;
    }
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) {
        int rv = -errno;

        (void)close(fds[0]);
        (void)close(fds[1]);
        return rv;
    }
    (void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_BYTES); /* refused when the user has too many: then it is smaller */
    return 0;
}

int peer_stream_open(struct peer *p, const struct state *state, uint64_t top, void (*ready)(void *arg), void *arg,
                     struct peer_stream **ret_stream)
{
    struct stream_task run = {.state = state, .top = top};
    struct peer_child_task task = {.run = stream_run, .run_arg = &run, .ended = stream_ended};
    struct peer_stream *s;
    int fds[2];
    int rv = stream_pipe(fds);

    if (rv != 0) {
        return rv;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        abort();
    }
    s->p = p;
    s->fd = fds[0];
    s->ready = ready;
    s->arg = arg;
    s->poll.data = s;
    task.ended_arg = s;
    task.out_fd = fds[1];
    rv = uv_poll_init(p->loop, &s->poll, s->fd);
    if (rv != 0) {
        (void)close(fds[0]);
        (void)close(fds[1]);
        free(s);
        return rv;
    }
    rv = peer_child_start(p, &task, &s->child);
    (void)close(fds[1]);
    if (rv != 0) {
        peer_stream_close(s);
        return rv;
    }
    *ret_stream = s;
    return 0;
}
