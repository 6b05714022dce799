/*
 * The life of a mount:
 *
 *   mount_start() -> serving -- umount: the kernel says ENODEV ----------------> ending -> closing -> ended()
 *                       |                                                          ^
 *                       +-- mount_stop(): a thread unmounts -- if busy: detached --+
 *
 * While ending, drafts that close had no chance to publish are published and calls under way are waited for, at most
 * timeo.
 */
#include "mount.h"

#include "dotznodefs.h"
#include "front.h"
#include "process.h"
#include "subtree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_log.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUESTS_PER_TURN 64 /* then timers and peers have theirs */
#define END_CHECK_MS      20
#define LOG_LINE_MAX      512

static const struct fuse_lowlevel_ops mount_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .statfs = op_statfs,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .create = op_create,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .fsync = op_fsync,
    .fsyncdir = op_fsyncdir,
    .open = op_open,
    .read = op_read,
    .write = op_write,
    .flush = op_flush,
    .release = op_release,
    .poll = op_poll,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
};

/* libfuse tells why something failed by its log alone, which takes no argument. */
static struct error *session_error;

static void session_log(enum fuse_log_level level, const char *format, va_list args)
{
    if (session_error != NULL && level <= FUSE_LOG_ERR) {
        size_t len = strlen(session_error->text);
        len = len > 0 && session_error->text[len - 1] == '\n' ? 0 : len; /* the last line counts; some come in pieces */
        (void)vsnprintf(session_error->text + len, sizeof(session_error->text) - len, format, args);
        return;
    }
    (void)vfprintf(stderr, format, args);
}

void mount_log(struct mount *m, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    va_list args;

    if (m->options.log == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    m->options.log(m->options.log_arg, line);
}

int mount_fd(const struct mount *m)
{
    return m->session == NULL ? -1 : fuse_session_fd(m->session);
}

void mount_stats(const struct mount *m, struct mount_stats *ret_stats)
{
    *ret_stats = m->stats;
    ret_stats->open_files = m->inodes.n_handles;
    ret_stats->drafts = m->inodes.n_drafts;
}

/* ---- the end ---- */

static void stop_listening(struct mount *m)
{
    if (m->listener != NULL) {
        replica_unlisten(m->replica, m->listener);
        free(m->listener);
        m->listener = NULL;
    }
}

/* Closes /dev/fuse: whoever still waits there gets ENOTCONN. */
static void session_free(struct fuse_session *session)
{
    struct pollfd fd = {.fd = session != NULL ? fuse_session_fd(session) : -1};

    if (session == NULL) {
        return;
    }
    if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0) {
        /* Unmounted already: libfuse sees that too, and frees what it keeps. Else it would unmount by path, whatever
         * is there by now. */
        fuse_session_unmount(session);
    }
    fuse_session_destroy(session);
}

static void mount_free(struct mount *m)
{
    struct inode *i;
    struct inode *next;

    HASH_ITER(hh, m->inodes.by_ino, i, next)
    {
        i->n_holds++;
        while (i->handles != NULL) {
            handle_free(&m->inodes, i->handles);
        }
        i->n_holds--;
        if (i->known) {
            inode_forget(&m->inodes, i);
        } else {
            inode_put(&m->inodes, i);
        }
    }
    known_release(&m->known);
    recent_release(&m->recent);
    session_free(m->session);
    process_forget_all();
    free(m->request.mem);
    free((char *)(uintptr_t)m->options.source);
    free((char *)(uintptr_t)m->options.mountpoint);
    free(m);
}

static void mount_closed_cb(uv_handle_t *handle)
{
    struct mount *m = handle->data;

    assert(m->n_handles_uv > 0);
    m->n_handles_uv--;
    if (m->n_handles_uv > 0) {
        return;
    }
    if (m->on_ended != NULL) {
        void (*ended)(void *) = m->on_ended;
        void *arg = m->on_ended_arg;
        ended(arg);
    }
    mount_free(m);
}

static void mount_close(struct mount *m)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&m->poll, (uv_handle_t *)&m->tick, (uv_handle_t *)&m->park.timer};

    assert(!m->closing);
    m->closing = true;
    stop_listening(m);
    m->n_handles_uv = sizeof(handles) / sizeof(handles[0]);
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++) {
        handles[i]->data = m;
        uv_close(handles[i], mount_closed_cb);
    }
}

static void end_cb(uv_timer_t *timer)
{
    struct mount *m = timer->data;

    if (m->calls != NULL && uv_now(m->loop) >= m->end_ms) {
        mount_log(m, "unmounted without waiting any longer for calls under way");
        m->end_ms = UINT64_MAX;
        calls_cancel_all(m, EIO);
    }
    if (m->calls == NULL && !m->unmounting) {
        mount_close(m);
    }
}

/* Nothing comes from the kernel any more, or is listened to. */
static void mount_over(struct mount *m)
{
    if (m->ended) {
        return;
    }
    m->ended = true;
    (void)uv_poll_stop(&m->poll);
    park_clear(&m->park);
    dot_close_all(m);
    publish_leftovers(m);
    m->end_ms = uv_now(m->loop) + m->options.timeo_ms;
    m->tick.data = m;
    (void)uv_timer_start(&m->tick, end_cb, 0, END_CHECK_MS);
}

/* ---- serving ---- */

static void mount_serve(struct mount *m)
{
    for (int n = 0; n < REQUESTS_PER_TURN && !m->ended; n++) {
        int rv = fuse_session_receive_buf(m->session, &m->request);
        if (rv == -EAGAIN || rv == -EINTR) {
            return;
        }
        if (rv <= 0) {
            mount_over(m); /* ENODEV, which libfuse turns into 0 */
            return;
        }
        m->stats.requests++;
        subtree_map(m->options.root, m->request.mem, m->request.size);
        if (!park_take(&m->park, &m->request)) {
            fuse_session_process_buf(m->session, &m->request);
        }
    }
}

static void poll_cb(uv_poll_t *poll_handle, int status, int events)
{
    (void)status; /* an error of the descriptor shows in the read */
    (void)events;
    mount_serve(poll_handle->data);
}

static bool sets_mtime(const struct op *op)
{
    return op->kind == OP_SETATTR && (op->mask & (SETATTR_MTIME | SETATTR_MTIME_NOW)) != 0;
}

static void changed_cb(void *arg, const struct change *change)
{
    struct mount *m = arg;
    struct inode *i = inode_find(&m->inodes, change->node->ino);

    if (change->kind == CHANGE_ATTR && i != NULL && sets_mtime(&change->request->op)) {
        inode_keep_times(i);
    }
    if (change->kind != CHANGE_REMOVED) {
        return;
    }
    recent_add(&m->recent, change->node);
    if (known_has(&m->known, change->node->ino) && (i == NULL || !i->known)) {
        i = inode_get(&m->inodes, change->node->ino);
        i->known = true;
        i->n_holds++;
    }
    if (i != NULL && !i->gone) {
        inode_set_gone(i, change->node);
    }
}

/* The tree is another one: what is open and not in it any more is gone, without a copy of what it was. */
static void replaced_cb(void *arg)
{
    struct mount *m = arg;
    struct inode *i;
    struct inode *next;

    HASH_ITER(hh, m->inodes.by_ino, i, next)
    {
        if (!i->gone && tree_by_ino(mount_tree(m), i->ino) == NULL) {
            i->gone = true;
            i->gone_stat = (struct stat){.st_ino = i->ino, .st_mode = S_IFREG};
        }
    }
}

static void wake_cb(uv_timer_t *timer)
{
    struct park *p = timer->data;

    park_wake(p);
}

static void status_cb(void *arg)
{
    struct mount *m = arg;

    if (m->ended) {
        return;
    }
    dot_wake(m);
    if (m->park.first != NULL) {
        m->park.timer.data = &m->park; /* not from inside the replica: handlers would come back to it */
        (void)uv_timer_start(&m->park.timer, wake_cb, 0, 0);
    }
}

/* ---- the start ---- */

static int mountpoint_check(const char *mountpoint, struct error *err)
{
    struct stat st;

    if (stat(mountpoint, &st) != 0) {
        int rv = -errno;
        if (rv == -ENOTCONN) {
            return error_set(err, rv,
                             "%s: a mount whose daemon has died is in the way; detach it with: umount -l %s  (or: "
                             "fusermount3 -uz %s)",
                             mountpoint, mountpoint, mountpoint);
        }
        return error_set(err, rv, "%s: %s%s", mountpoint, strerror(-rv),
                         rv == -ENOENT ? "; create it with mkdir first" : "");
    }
    if (!S_ISDIR(st.st_mode)) {
        return error_set(err, -ENOTDIR, "%s: not a directory, so nothing can be mounted there", mountpoint);
    }
    return 0;
}

static int args_add(struct fuse_args *args, const char *option)
{
    return fuse_opt_add_arg(args, "-o") == 0 && fuse_opt_add_arg(args, option) == 0 ? 0 : -ENOMEM;
}

static int args_build(const struct mount_options *o, struct fuse_args *args)
{
    char *source = NULL; /* has commas: hosts */
    char *name;
    int rv;

    if (asprintf(&name, "fsname=%s", o->source) < 0) {
        return -ENOMEM;
    }
    rv = fuse_opt_add_arg(args, "znodefs") != 0 || fuse_opt_add_opt_escaped(&source, name) != 0 ? -ENOMEM : 0;
    free(name);
    if (rv != 0) {
        free(source);
        return rv;
    }
    rv = args_add(args, source);
    free(source);
    if (rv == 0) {
        rv = args_add(args, "default_permissions,subtype=znodefs");
    }
    if (rv == 0 && o->allow_other) {
        rv = args_add(args, "allow_other");
    }
    if (rv == 0 && o->read_only) {
        rv = args_add(args, "ro");
    }
    if (rv == 0 && o->debug) {
        rv = args_add(args, "debug");
    }
    for (size_t i = 0; rv == 0 && i < o->n_fuse_options; i++) {
        rv = args_add(args, o->fuse_options[i]);
    }
    return rv;
}

/* Makes the session; libfuse's own words go into err. */
static int session_new(struct mount *m, const struct mount_options *o, struct error *err)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct error why = {{0}};
    int rv = args_build(o, &args);

    if (rv != 0) {
        fuse_opt_free_args(&args);
        return error_set(err, rv, "mount %s: its options: %s", o->mountpoint, strerror(-rv));
    }
    fuse_set_log_func(session_log);
    session_error = &why;
    m->session = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), m);
    session_error = NULL;
    why.text[strcspn(why.text, "\n")] = '\0';
    fuse_opt_free_args(&args);
    return m->session != NULL ? 0 : error_set(err, -EINVAL, "mount %s: %s", o->mountpoint, why.text);
}

static int session_mount(struct mount *m, const struct mount_options *o, struct error *err)
{
    struct error why = {{0}};
    int rv;

    session_error = &why;
    errno = 0;
    rv = fuse_session_mount(m->session, o->mountpoint) == 0 ? 0 : errno == 0 ? -EIO : -errno;
    session_error = NULL;
    why.text[strcspn(why.text, "\n")] = '\0';
    if (rv != 0) {
        return error_set(err, rv, "mount %s: %s", o->mountpoint, why.text[0] == '\0' ? strerror(-rv) : why.text);
    }
    return 0;
}

/* Whoever has the other end of a socket pair stands for the kernel; that it is closed means what ENODEV does. */
static ssize_t socket_read(int fd, void *buf, size_t len, void *userdata)
{
    ssize_t n = read(fd, buf, len);

    (void)userdata;
    if (n != 0) {
        return n;
    }
    errno = ENODEV;
    return -1;
}

static ssize_t socket_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    (void)userdata;
    return writev(fd, iov, count);
}

static int session_take_socket(struct mount *m, int fd, struct error *err)
{
    static const struct fuse_custom_io io = {.read = socket_read, .writev = socket_writev};
    int rv = fuse_session_custom_io(m->session, &io, fd);

    return rv == 0 ? 0 : error_set(err, rv, "serve on descriptor %d: %s", fd, strerror(-rv));
}

static int session_poll(struct mount *m)
{
    int fd = fuse_session_fd(m->session);
    int flags = fcntl(fd, F_GETFL);
    int rv;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return -errno;
    }
    rv = uv_poll_init(m->loop, &m->poll, fd);
    if (rv != 0) {
        return rv;
    }
    m->poll.data = m;
    rv = uv_timer_init(m->loop, &m->tick);
    assert(rv == 0);
    rv = park_init(&m->park, m);
    assert(rv == 0);
    return 0;
}

static void listen_to_replica(struct mount *m)
{
    m->listener = calloc(1, sizeof(*m->listener));
    if (m->listener == NULL) {
        abort();
    }
    m->listener->arg = m;
    m->listener->changed = changed_cb;
    m->listener->replaced = replaced_cb;
    m->listener->status = status_cb;
    replica_listen(m->replica, m->listener);
}

/* libfuse wants to be told twice what -o max_read= says: see op_init(). 0: no bound. It checks the number itself. */
static unsigned max_read_of(const struct mount_options *o)
{
    const char word[] = "max_read=";
    unsigned max_read = 0;

    for (size_t i = 0; i < o->n_fuse_options; i++) {
        if (strncmp(o->fuse_options[i], word, strlen(word)) == 0) {
            max_read = (unsigned)strtoul(o->fuse_options[i] + strlen(word), NULL, 10);
        }
    }
    return max_read;
}

static struct mount *mount_new(uv_loop_t *loop, struct replica *replica, const struct report *report,
                               const struct mount_options *options)
{
    struct mount *m = calloc(1, sizeof(*m));

    if (m == NULL) {
        abort();
    }
    m->loop = loop;
    m->replica = replica;
    m->report = report;
    m->options = *options;
    m->options.root = options->root != 0 ? options->root : FUSE_ROOT_ID;
    m->max_read = max_read_of(options);
    m->options.fuse_options = NULL;
    m->options.n_fuse_options = 0;
    m->options.source = strdup(options->source);
    m->options.mountpoint = NULL;
    if (m->options.source == NULL) {
        abort();
    }
    return m;
}

/* From here on nothing fails. */
static void mount_begin(struct mount *m, void (*ended)(void *arg), void *arg)
{
    int rv = uv_poll_start(&m->poll, UV_READABLE, poll_cb);

    assert(rv == 0);
    listen_to_replica(m);
    m->on_ended = ended;
    m->on_ended_arg = arg;
}

int mount_start(uv_loop_t *loop, struct replica *replica, const struct report *report,
                const struct mount_options *options, void (*ended)(void *arg), void *arg, struct mount **ret_mount,
                struct error *err)
{
    struct mount *m;
    int rv = mountpoint_check(options->mountpoint, err);

    if (rv != 0) {
        return rv;
    }
    m = mount_new(loop, replica, report, options);
    m->options.mountpoint = realpath(options->mountpoint, NULL); /* as /proc shows it; not asked again once mounted */
    if (m->options.mountpoint == NULL) {
        rv = error_set(err, -errno, "%s: %s", options->mountpoint, strerror(errno));
        goto err_after_new;
    }
    rv = session_new(m, options, err);
    if (rv == 0) {
        rv = session_mount(m, options, err);
    }
    if (rv != 0) {
        goto err_after_new;
    }
    (void)opener_mount_dev(m->options.mountpoint, &m->dev);
    rv = session_poll(m);
    if (rv != 0) {
        rv = error_set(err, rv, "mount %s: poll /dev/fuse: %s", options->mountpoint, strerror(-rv));
        goto err_after_mount;
    }
    mount_begin(m, ended, arg);
    *ret_mount = m;
    return 0;

err_after_mount:
    fuse_session_unmount(m->session);
err_after_new:
    mount_free(m);
    return rv;
}

int mount_start_on_socket(uv_loop_t *loop, struct replica *replica, const struct report *report,
                          const struct mount_options *options, int fd, void (*ended)(void *arg), void *arg,
                          struct mount **ret_mount, struct error *err)
{
    struct mount *m = mount_new(loop, replica, report, options);
    int rv = session_new(m, options, err);

    if (rv == 0) {
        rv = session_take_socket(m, fd, err);
    }
    if (rv == 0) {
        rv = session_poll(m);
        rv = rv == 0 ? 0 : error_set(err, rv, "poll descriptor %d: %s", fd, strerror(-rv));
    }
    if (rv != 0) {
        mount_free(m);
        return rv;
    }
    mount_begin(m, ended, arg);
    *ret_mount = m;
    return 0;
}

/* ---- unmounting ---- */

/* For who may not call umount(2). */
static int fusermount(const char *flags, const char *mountpoint)
{
    char *argv[] = {(char *)(uintptr_t) "fusermount3", (char *)(uintptr_t)flags, (char *)(uintptr_t) "--",
                    (char *)(uintptr_t)mountpoint, NULL};
    int status;
    pid_t pid;
    int rv = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

    if (rv != 0) {
        return -rv;
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

/* On a thread, with the loop serving: whatever umount(2) asks the file system is answered. */
static void unmount_work(uv_work_t *work)
{
    struct mount *m = work->data;
    const char *mountpoint = m->options.mountpoint;
    uint64_t dev;

    if (opener_mount_dev(mountpoint, &dev) != 0 || dev != m->dev) {
        m->lazy = true; /* not there any more, or something else is mounted over it: leave that alone */
        return;
    }
    if (umount2(mountpoint, UMOUNT_NOFOLLOW) == 0) {
        return;
    }
    if (errno == EPERM && fusermount("-u", mountpoint) == 0) {
        return;
    }
    m->lazy = true;
    if (umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno == EPERM) {
        (void)fusermount("-uz", mountpoint); /* else it shows as not connected once we are gone */
    }
}

static void unmount_done(uv_work_t *work, int status)
{
    struct mount *m = work->data;
    struct pollfd fd = {.fd = fuse_session_fd(m->session)};

    assert(status == 0); /* never cancelled */
    m->unmounting = false;
    if (m->ended) {
        return;
    }
    mount_serve(m);
    if (poll(&fd, 1, 0) != 1 || (fd.revents & POLLERR) == 0) {
        /* Detached with files open, or a copy lives on in another mount namespace: it ends with us. */
        m->lazy = true;
    }
    mount_over(m);
}

void mount_stop(struct mount *m)
{
    int rv;

    if (m->ended || m->unmounting) {
        return;
    }
    m->unmounting = true;
    m->unmount.data = m;
    rv = uv_queue_work(m->loop, &m->unmount, unmount_work, unmount_done);
    assert(rv == 0);
}
