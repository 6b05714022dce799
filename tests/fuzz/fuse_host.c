#include "fuse_host.h"

#include "consensus/peer_int.h"
#include "input.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_BYTES (2 * 1024 * 1024)
#define TURNS_MAX    100000

/* ---- what runs in threads (the linker calls __wrap_ for these functions, see fuzz_fuse.ldflags) ---- */

/* Of libuv's pool, or (`disk`) of the replica. */
struct job {
    struct job *next;
    uv_work_t *work;
    uv_work_cb run;
    uv_after_work_cb done;
    struct replica_job *disk;
};

static struct job *jobs;
static struct job **jobs_last = &jobs;

int __wrap_uv_queue_work(uv_loop_t *loop, uv_work_t *work, uv_work_cb run, uv_after_work_cb done);
int __wrap_disk_thread_start(struct disk_thread *d);
void __wrap_disk_thread_put(struct disk_thread *d, struct replica_job *disk);

static struct job *add_job(void)
{
    struct job *job = calloc(1, sizeof(*job));

    REQUIRE(job != NULL);
    *jobs_last = job;
    jobs_last = &job->next;
    return job;
}

int __wrap_uv_queue_work(uv_loop_t *loop, uv_work_t *work, uv_work_cb run, uv_after_work_cb done)
{
    struct job *job = add_job();

    work->loop = loop;
    job->work = work;
    job->run = run;
    job->done = done;
    return 0;
}

int __wrap_disk_thread_start(struct disk_thread *d)
{
    (void)d;
    return 0;
}

void __wrap_disk_thread_put(struct disk_thread *d, struct replica_job *disk)
{
    (void)d;
    add_job()->disk = disk;
}

static bool run_job(void)
{
    struct job *job = jobs;

    if (job == NULL) {
        return false;
    }
    jobs = job->next;
    if (jobs == NULL) {
        jobs_last = &jobs;
    }
    if (job->disk != NULL) {
        job->disk->run(job->disk);
        job->disk->done(job->disk);
    } else {
        job->run(job->work);
        job->done(job->work, 0);
    }
    free(job);
    return true;
}

bool fuse_host_turn(struct fuse_host *h)
{
    bool worked = run_job();

    (void)uv_run(&h->loop, UV_RUN_NOWAIT);
    return worked || jobs != NULL;
}

/* ---- start and end ---- */

static void log_cb(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static void peer_ended_cb(void *arg, const char *text)
{
    struct fuse_host *h = arg;

    REQUIRE(text == NULL); /* nothing that is asked may end a peer */
    h->peer_ended = true;
}

static void mount_ended_cb(void *arg)
{
    struct fuse_host *h = arg;

    h->mount_ended = true;
    h->report.mount = NULL;
}

static void start_peer(struct fuse_host *h)
{
    const struct peer_callbacks cb = {.ended = peer_ended_cb, .log = log_cb, .arg = h};
    const struct zab_server self = {.sid = 1};
    struct peer_config config = {
        .replica = {.zab = {.sid = 1,
                            .servers = &self,
                            .n_servers = 1,
                            .tick_ms = 2000,
                            .init_limit = 10,
                            .sync_limit = 5,
                            .peer_timeout_ms = 1000,
                            .window_bytes = 1 << 20},
                    .timeo_ms = 5000,
                    .data_max = HOST_DATA_MAX,
                    .log = {.segment_bytes = UINT64_C(64) << 20},
                    .snap_count = UINT64_C(1) << 50, /* a snapshot forks */
                    .snap_bytes = UINT64_C(1) << 50,
                    .snap_retain = 3},
        .transport = {.sid = 1},
    };
    struct error err = {.text = ""};
    struct replica_status status = {0};

    REQUIRE(peer_start(&h->loop, &config, &cb, &h->peer, &err) == 0);
    for (unsigned n = 0; n < TURNS_MAX && !(status.quorum && status.readable); n++) {
        (void)fuse_host_turn(h);
        replica_status(peer_replica(h->peer), &status);
    }
    REQUIRE(status.quorum && status.readable);
}

void fuse_host_start(struct fuse_host *h, unsigned flags)
{
    const struct mount_options options = {
        .source = "fuzz",
        .mountpoint = "(a socket)",
        .sync = (flags & HOST_SYNC) != 0,
        .strict = (flags & HOST_STRICT) != 0,
        .soft = (flags & HOST_SOFT) != 0,
        .timeo_ms = 5000,
        .data_max = HOST_DATA_MAX,
        .log = log_cb,
    };
    struct error err = {.text = ""};
    int size = SOCKET_BYTES;
    int fds[2];

    (void)signal(SIGPIPE, SIG_IGN); /* answers that come after the unmount */
    memset(h, 0, sizeof(*h));
    REQUIRE(uv_loop_init(&h->loop) == 0);
    start_peer(h);
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    for (int i = 0; i < 2; i++) {
        /* More than the default needs a privilege; what fits is enough for the sizes that are asked for. */
        (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    }
    h->fd = fds[0];
    h->report.peer = h->peer;
    REQUIRE(mount_start_on_socket(&h->loop, peer_replica(h->peer), &h->report, &options, fds[1], mount_ended_cb, h,
                                  &h->mount, &err) == 0);
    h->report.mount = h->mount;
}

void fuse_host_stop(struct fuse_host *h)
{
    unsigned n;

    REQUIRE(close(h->fd) == 0);
    for (n = 0; n < TURNS_MAX && !h->mount_ended; n++) {
        (void)fuse_host_turn(h);
        (void)uv_run(&h->loop, h->mount_ended ? UV_RUN_NOWAIT : UV_RUN_ONCE); /* its end is looked at by a timer */
    }
    REQUIRE(h->mount_ended);
    peer_stop(h->peer);
    for (n = 0; n < TURNS_MAX && !h->peer_ended; n++) {
        (void)fuse_host_turn(h);
    }
    REQUIRE(h->peer_ended && jobs == NULL);
    (void)uv_run(&h->loop, UV_RUN_DEFAULT);
    REQUIRE(uv_loop_close(&h->loop) == 0);
}
