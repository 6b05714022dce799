/*
 * A forked child has the state as it was at the fork, exact at one zxid, and writes it somewhere while this process
 * goes on. The child's exit code is the errno of what failed, and the sentence comes in a pipe.
 *
 * The child must hold nothing that others wait for: not /dev/fuse (the mount would outlive us), no socket (the
 * connection would), not dataDir's lock (a restarted peer could not start). So it closes everything but two pipes.
 */
#include "peer_int.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#define CHILD_NICE    10
#define CHILD_TEXT_FD 3
#define CHILD_FDS_END (PEER_CHILD_OUT_FD + 1)

struct peer_child {
    struct peer_child *next;
    struct peer_child *prev;
    uv_poll_t poll;
    struct peer *p;
    struct peer_child_task task;
    int pidfd;
    int text_fd;
};

/* ---- in the child ---- */

/* The parent's handlers would write into the parent's signal pipe. */
static void child_reset_signals(void)
{
    sigset_t none;
    int sig;

    for (sig = 1; sig < NSIG; sig++) {
        (void)signal(sig, SIG_DFL); /* refused for SIGKILL, SIGSTOP and those of the C library */
    }
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* Puts the two where they are expected; above both first, as one may stand in the other's place. */
static int child_place_fds(int text_fd, int out_fd)
{
    int text = fcntl(text_fd, F_DUPFD, CHILD_FDS_END);
    int out = out_fd < 0 ? -1 : fcntl(out_fd, F_DUPFD, CHILD_FDS_END);

    if (text < 0 || (out_fd >= 0 && out < 0)) {
        return -errno;
    }
    if (dup2(text, CHILD_TEXT_FD) < 0 || (out >= 0 && dup2(out, PEER_CHILD_OUT_FD) < 0)) {
        return -errno;
    }
    return close_range(out >= 0 ? CHILD_FDS_END : PEER_CHILD_OUT_FD, ~0U, 0) == 0 ? 0 : -errno;
}

static int child_leave_parent(const struct peer *p, int text_fd, int out_fd, pid_t parent)
{
    size_t i;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return -errno;
    }
    if (getppid() != parent) {
        return -ECANCELED; /* it died before the line above */
    }
    if (p->dir_fd >= 0 && fchdir(p->dir_fd) != 0) {
        return -errno;
    }
    /* Named ones first: they must go even where close_range() is refused. */
    for (i = 0; i < p->n_close_fds; i++) {
        (void)close(p->close_fds[i]);
    }
    return child_place_fds(text_fd, out_fd);
}

static _Noreturn void child_main(const struct peer *p, const struct peer_child_task *task, int text_fd, pid_t parent)
{
    struct error err = {{0}};
    int rv;

    child_reset_signals();
    rv = child_leave_parent(p, text_fd, task->out_fd, parent);
    if (rv != 0) {
        _exit(-rv);
    }
    (void)setpriority(PRIO_PROCESS, 0, CHILD_NICE); /* only a courtesy */
    rv = task->run(task->run_arg, &err);
    if (rv != 0) {
        ssize_t n = write(CHILD_TEXT_FD, err.text, strlen(err.text));

        (void)n; /* then the parent has the errno alone */
    }
    _exit(rv >= -255 && rv <= 0 ? -rv : EIO);
}

/* ---- in the parent ---- */

static void child_closed_cb(uv_handle_t *handle)
{
    struct peer_child *child = handle->data;

    (void)close(child->pidfd);
    free(child);
}

static int child_result(const struct peer_child *child)
{
    siginfo_t info;
    int rv;

    memset(&info, 0, sizeof(info));
    do {
        rv = waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED);
    } while (rv != 0 && errno == EINTR);
    if (rv != 0) {
        return -errno;
    }
    return info.si_code == CLD_EXITED ? -info.si_status : -EINTR;
}

static void child_poll_cb(uv_poll_t *poll, int status, int events)
{
    struct peer_child *child = poll->data;
    struct peer *p = child->p;
    char text[ERROR_MAX];
    ssize_t n;
    int rv;

    (void)events;
    (void)status; /* whatever it is, the child is awaited here */
    rv = child_result(child);
    if (rv == -EAGAIN) {
        return; /* libuv has made the pidfd non-blocking, and this was for nothing */
    }
    n = read(child->text_fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)close(child->text_fd);
    DL_DELETE(p->children, child);
    /* The pidfd is closed after the handle: another child may still have a copy of it, with which it would stay in
     * libuv's epoll set and be taken for whatever has its number next. */
    uv_close((uv_handle_t *)&child->poll, child_closed_cb);
    if (p->phase != PEER_RUNNING) {
        peer_wake(p); /* which waits for this */
    }
    child->task.ended(child->task.ended_arg, rv, text);
}

/* Watches a child that runs already; on failure the child is killed and reaped. */
static int child_watch(struct peer *p, const struct peer_child_task *task, pid_t pid, int text_fd,
                       struct peer_child **ret_child)
{
    struct peer_child *child = calloc(1, sizeof(*child));
    int rv;

    if (child == NULL) {
        abort();
    }
    child->p = p;
    child->task = *task;
    child->text_fd = text_fd;
    child->pidfd = pidfd_open(pid, 0);
    rv = child->pidfd < 0 ? -errno : uv_poll_init(p->loop, &child->poll, child->pidfd);
    if (rv != 0) {
        goto err_after_fork;
    }
    child->poll.data = child;
    rv = uv_poll_start(&child->poll, UV_READABLE, child_poll_cb);
    assert(rv == 0);
    DL_APPEND(p->children, child);
    *ret_child = child;
    return 0;

err_after_fork:
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    if (child->pidfd >= 0) {
        (void)close(child->pidfd);
    }
    free(child);
    return rv;
}

int peer_child_start(struct peer *p, const struct peer_child_task *task, struct peer_child **ret_child)
{
    pid_t parent = getpid();
    sigset_t all;
    sigset_t old;
    int fds[2];
    pid_t pid;
    int rv;

    if (p->phase != PEER_RUNNING) {
        return -ECANCELED;
    }
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        return -errno;
    }
    /* No handler may run in the child before it has dropped them. */
    (void)sigfillset(&all);
    rv = pthread_sigmask(SIG_SETMASK, &all, &old);
    assert(rv == 0);
    pid = fork();
    if (pid == 0) {
        child_main(p, task, fds[1], parent);
    }
    rv = pid < 0 ? -errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)close(fds[1]);
    if (rv == 0) {
        rv = child_watch(p, task, pid, fds[0], ret_child);
    }
    if (rv != 0) {
        (void)close(fds[0]);
    }
    return rv;
}

void peer_child_kill(struct peer_child *child)
{
    /* Gone already: then its end is about to be reported. */
    (void)pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
}

void peer_children_kill(struct peer *p)
{
    for (struct peer_child *child = p->children; child != NULL; child = child->next) {
        peer_child_kill(child);
    }
}
