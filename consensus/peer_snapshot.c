/*
 * A snapshot without a pause: a forked child has the state as it was at the fork, exact at one zxid, and writes it
 * while this process goes on. The child's exit code is the errno of what failed, and the sentence comes in a pipe.
 *
 * The child must hold nothing that others wait for: not /dev/fuse (the mount would outlive us), no socket (the
 * connection would), not dataDir's lock (a restarted peer could not start). So it closes everything, and opens its
 * own disk.
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

#define CHILD_NICE    10
#define CHILD_TEXT_FD 3

struct snapshot_child {
    uv_poll_t poll;
    struct peer *p;
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

static int child_leave_parent(const struct peer *p, int text_fd, pid_t parent)
{
    size_t i;

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        return -errno;
    }
    if (getppid() != parent) {
        return -ECANCELED; /* it died before the line above */
    }
    if (fchdir(p->dir_fd) != 0) {
        return -errno;
    }
    /* Named ones first: they must go even where close_range() is refused. */
    for (i = 0; i < p->n_close_fds; i++) {
        (void)close(p->close_fds[i]);
    }
    if (text_fd != CHILD_TEXT_FD && dup2(text_fd, CHILD_TEXT_FD) < 0) {
        return -errno;
    }
    return close_range(CHILD_TEXT_FD + 1, ~0U, 0) == 0 ? 0 : -errno;
}

static _Noreturn void child_main(const struct peer *p, const struct state *state, int text_fd, pid_t parent)
{
    struct error err = {{0}};
    struct disk *disk;
    int rv;

    child_reset_signals();
    rv = child_leave_parent(p, text_fd, parent);
    if (rv != 0) {
        _exit(-rv);
    }
    (void)setpriority(PRIO_PROCESS, 0, CHILD_NICE); /* only a courtesy */
    rv = disk_posix_new(".", false, &disk);
    if (rv == 0) {
        rv = snapshot_save(disk, state, &err);
    }
    if (rv != 0) {
        ssize_t n = write(CHILD_TEXT_FD, err.text, strlen(err.text));

        (void)n; /* then the parent has the errno alone */
    }
    _exit(rv >= -255 && rv <= 0 ? -rv : EIO);
}

/* ---- in the parent ---- */

static void child_closed_cb(uv_handle_t *handle)
{
    free(handle->data);
}

static int child_result(const struct snapshot_child *child)
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

static void child_end(struct snapshot_child *child, int rv)
{
    struct peer *p = child->p;
    char text[ERROR_MAX];
    ssize_t n;

    n = read(child->text_fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    (void)close(child->text_fd);
    (void)close(child->pidfd);
    p->child = NULL;
    uv_close((uv_handle_t *)&child->poll, child_closed_cb);
    if (p->phase != PEER_RUNNING) {
        peer_wake(p); /* which waits for this */
        return;
    }
    if (rv != 0) {
        peer_log(p, "no snapshot was written: %s%s%s", strerror(-rv), text[0] != '\0' ? ": " : "", text);
    }
    replica_on_snapshot(p->replica, rv);
}

static void child_poll_cb(uv_poll_t *poll, int status, int events)
{
    struct snapshot_child *child = poll->data;

    (void)events;
    (void)status; /* whatever it is, the child is awaited below */
    child_end(child, child_result(child));
}

/* Watches a child that runs already; on failure the child is killed and reaped. */
static int child_watch(struct peer *p, pid_t pid, int text_fd)
{
    struct snapshot_child *child = calloc(1, sizeof(*child));
    int rv;

    if (child == NULL) {
        abort();
    }
    child->p = p;
    child->text_fd = text_fd;
    child->pidfd = pidfd_open(pid, 0);
    rv = child->pidfd < 0 ? -errno : uv_poll_init(p->loop, &child->poll, child->pidfd);
    if (rv != 0) {
        goto err_after_fork;
    }
    child->poll.data = child;
    rv = uv_poll_start(&child->poll, UV_READABLE, child_poll_cb);
    assert(rv == 0);
    p->child = child;
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

int peer_snapshot_begin(struct peer *p, const struct state *state)
{
    pid_t parent = getpid();
    sigset_t all;
    sigset_t old;
    int fds[2];
    pid_t pid;
    int rv;

    if (p->child != NULL) {
        return -EBUSY;
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
        child_main(p, state, fds[1], parent);
    }
    rv = pid < 0 ? -errno : 0;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)close(fds[1]);
    if (rv == 0) {
        rv = child_watch(p, pid, fds[0]);
    }
    if (rv != 0) {
        (void)close(fds[0]);
    }
    return rv;
}

void peer_snapshot_kill(struct peer *p)
{
    if (p->child != NULL) {
        /* Gone already: then its end is about to be reported. */
        (void)pidfd_send_signal(p->child->pidfd, SIGKILL, NULL, 0);
    }
}
