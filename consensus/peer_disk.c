/*
 * The thread that waits for the disk: one job of the replica after the other.
 *
 *   loop:   disk_thread_put() --wanted-->              disk_done_cb(): the job's done()
 *   thread:                             the job's run() --done--^
 *
 * It is a thread of its own because those of libuv's pool may all wait for a name server, and because a semaphore wakes
 * it with less ado than the pool's lock and condition, which costs two more switches when the disk is idle.
 */
#include "peer_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void disk_main(void *arg)
{
    struct disk_thread *d = arg;

    for (;;) {
        uint64_t start_ns;
        int rv;

        uv_sem_wait(&d->wanted);
        if (d->job == NULL) {
            return;
        }
        start_ns = uv_hrtime();
        d->job->run(d->job);
        d->job_ns = uv_hrtime() - start_ns;
        __atomic_store_n(&d->ran, true, __ATOMIC_RELEASE);
        rv = uv_async_send(&d->done);
        assert(rv == 0);
    }
}

int disk_thread_start(struct disk_thread *d)
{
    int rv = uv_sem_init(&d->wanted, 0);

    if (rv != 0) {
        return rv;
    }
    rv = uv_thread_create(&d->thread, disk_main, d);
    if (rv != 0) {
        uv_sem_destroy(&d->wanted);
        return rv;
    }
    d->started = true;
    return 0;
}

void disk_thread_stop(struct disk_thread *d)
{
    int rv;

    if (!d->started) {
        return;
    }
    assert(d->job == NULL);
    uv_sem_post(&d->wanted);
    rv = uv_thread_join(&d->thread);
    assert(rv == 0);
    uv_sem_destroy(&d->wanted);
    d->started = false;
}

static void disk_done_cb(uv_async_t *done)
{
    struct disk_thread *d = done->data;
    struct replica_job *job;

    if (!__atomic_load_n(&d->ran, __ATOMIC_ACQUIRE)) {
        return;
    }
    job = d->job;
    d->ran = false;
    d->job = NULL;
    histogram_add(&d->job_times, d->job_ns);
    job->done(job);
}

void disk_thread_attach(struct disk_thread *d, uv_loop_t *loop)
{
    int rv = uv_async_init(loop, &d->done, disk_done_cb);

    assert(rv == 0);
    d->done.data = d;
}

void disk_thread_put(struct disk_thread *d, struct replica_job *job)
{
    assert(d->job == NULL);
    d->job = job;
    uv_sem_post(&d->wanted);
}
