/*
 * The disk queue: everything that must become durable, in the order zab put it out, one job at a time.
 *
 *   queued --replica_flush()--> running (its thread: run) --done on the loop--> reported to zab | the replica leaves
 *
 * Appends that follow each other become one job as long as it waits: one fdatasync for all of them (group commit). An
 * error is never retried (lesson 8): what the file holds then is unknown, so the peer leaves the ensemble and
 * acknowledges nothing (replica_away.c).
 */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void job_free(struct disk_job *job)
{
    size_t i;

    if (job == NULL) {
        return;
    }
    for (i = 0; job->bodies != NULL && i < job->n; i++) {
        buf_unref(job->bodies[i]);
    }
    for (i = 0; job->entries != NULL && i < job->n; i++) {
        buf_unref(job->entries[i].body);
    }
    if (job->kind != DISK_JOB_PIECES) {
        snapshot_incoming_free(job->incoming);
    }
    if (job->store.disk != NULL) {
        store_release(&job->store);
    }
    free(job->bodies);
    free(job->records);
    free(job->entries);
    state_free(job->state);
    free(job);
}

static int run_append(struct disk_job *job)
{
    int rv;

    rv = txnlog_append(job->log, job->records, job->n, &job->err);
    if (rv != 0) {
        return error_wrap(&job->err, rv, "append to the transaction log");
    }
    rv = txnlog_sync(job->log, &job->err);
    if (rv != 0) {
        return error_wrap(&job->err, rv, "sync the transaction log");
    }
    return 0;
}

/* -EBADMSG and -EPROTO tell of what came. */
static int judge_incoming(struct disk_job *job, int rv)
{
    job->bad = rv == -EBADMSG || rv == -EPROTO;
    return rv == 0 || job->bad ? rv : error_wrap(&job->err, rv, "save the leader's snapshot");
}

static int run_pieces(struct disk_job *job)
{
    int rv = 0;
    size_t i;

    for (i = 0; i < job->n && rv == 0; i++) {
        rv = snapshot_incoming_feed(job->incoming, job->bodies[i]->bytes, job->bodies[i]->len, &job->err);
    }
    return judge_incoming(job, rv);
}

/* What can't be removed is overwritten by the next one, or removed at the next start. */
static int run_drop(struct disk_job *job)
{
    snapshot_incoming_free(job->incoming);
    job->incoming = NULL;
    (void)snapshot_incoming_remove(job->disk);
    return 0;
}

static int read_cb(void *arg, const struct txnlog_record *record)
{
    struct disk_job *job = arg;
    struct zab_entry *entry;

    if (job->n == job->cap) {
        job->cap = job->cap == 0 ? 64 : job->cap * 2;
        job->entries = replica_realloc(job->entries, job->cap, sizeof(*job->entries));
    }
    entry = &job->entries[job->n++];
    entry->zxid = record->zxid;
    entry->zxid_prev = record->zxid_prev;
    entry->body = buf_copy(record->payload, record->len);
    return 0;
}

/* Whatever is not found or can't be read, a snapshot replaces. */
static int run_read(struct disk_job *job)
{
    if (txnlog_bytes_after(job->log, job->zxid) > job->bytes_max) {
        return -ENOENT;
    }
    return txnlog_read(job->log, job->zxid, job->bytes, read_cb, job, &job->err);
}

/* The snapshot is durable before the log that it replaces goes: a crash in between leaves both. */
static int run_snapshot(struct disk_job *job)
{
    int rv;

#ifdef ZNODEFS_MUTANT_RESET_BEFORE_SNAPSHOT
    rv = txnlog_reset(job->log, job->zxid, &job->err); /* Seeded fault. */
    assert(rv != 1);
#endif
    rv = judge_incoming(job, snapshot_incoming_finish(job->incoming, job->zxid, &job->state, &job->err));
    if (rv != 0) {
        return rv;
    }
    rv = txnlog_reset(job->log, job->zxid, &job->err);
    if (rv != 0) {
        return error_wrap(&job->err, rv, "empty the transaction log");
    }
    return 0;
}

/* In the thread for the disk: touches the job, the disk and the log, nothing else of the replica. */
static void job_run(struct replica_job *base)
{
    struct disk_job *job = (struct disk_job *)base;

    switch (job->kind) {
    case DISK_JOB_APPEND:
        job->rv = run_append(job);
        return;
    case DISK_JOB_TRUNCATE:
        job->rv = txnlog_truncate(job->log, job->zxid, &job->err);
        if (job->rv != 0) {
            (void)error_wrap(&job->err, job->rv, "truncate the transaction log");
        }
        return;
    case DISK_JOB_EPOCHS:
        job->rv = epochs_save(job->disk, &job->epochs, &job->err);
        if (job->rv != 0) {
            (void)error_wrap(&job->err, job->rv, "save the epochs");
        }
        return;
    case DISK_JOB_PIECES:
        job->rv = run_pieces(job);
        return;
    case DISK_JOB_DROP:
        job->rv = run_drop(job);
        return;
    case DISK_JOB_SNAPSHOT:
        job->rv = run_snapshot(job);
        return;
    case DISK_JOB_READ:
        job->rv = run_read(job);
        return;
    case DISK_JOB_PURGE:
        job->rv = store_purge(job->disk, job->log, job->retain, &job->err);
        return;
    case DISK_JOB_RECOVER:
        job->rv = away_recover(job->disk, job->config, job->bytes, &job->store, &job->err);
        return;
    }
}

static void report(struct replica *r, enum zab_input_type type, uint64_t zxid)
{
    struct zab_input in = {.type = type, .zxid = zxid};

    replica_input(r, &in);
}

static void job_succeeded(struct replica *r, struct disk_job *job)
{
    switch (job->kind) {
    case DISK_JOB_APPEND:
        r->disk.syncs++;
        r->disk.bytes += job->bytes;
        r->disk.zxid_synced = job->zxid;
        report(r, ZAB_IN_LOG_SYNCED, job->zxid);
        return;
    case DISK_JOB_TRUNCATE:
        r->disk.zxid_synced = job->zxid;
        report(r, ZAB_IN_TRUNCATED, job->zxid);
        return;
    case DISK_JOB_EPOCHS:
        report(r, ZAB_IN_EPOCHS_SYNCED, 0);
        return;
    case DISK_JOB_PIECES:
        if (job->incoming == r->snap.incoming) {
            snap_taken(r, job->bytes);
        }
        return;
    case DISK_JOB_SNAPSHOT:
        r->disk.zxid_synced = job->zxid;
        snap_installed(r, job->state);
        job->state = NULL;
        report(r, ZAB_IN_SNAP_SYNCED, job->zxid);
        return;
    case DISK_JOB_RECOVER:
        away_recovered(r, 0, NULL, &job->store);
        return;
    case DISK_JOB_DROP:
    case DISK_JOB_READ:
    case DISK_JOB_PURGE:
        return;
    }
}

static void job_failed(struct replica *r, const struct disk_job *job)
{
    if (job->kind == DISK_JOB_PURGE) {
        /* What is kept too long does no harm; it is tried again after the next snapshot. */
        replica_log(r, "purge of old snapshots and log segments: %s", job->err.text);
        return;
    }
    if (job->bad) {
        snap_bad(r, job->err.text);
        return;
    }
    if (job->kind == DISK_JOB_RECOVER) {
        away_recovered(r, job->rv, job->err.text, NULL);
    } else {
        away_leave(r, job->rv, job->err.text);
    }
}

/* A failure is no more than that there is nothing. */
static void read_done(struct replica *r, struct disk_job *job)
{
    struct zab_input in = {.type = ZAB_IN_LOG_READ, .peer = job->peer, .read = job->read};

    if (job->rv == 0) {
        in.entries = job->entries;
        in.n_entries = job->n;
    }
    replica_pump(r, &in);
    job_free(job);
}

static void job_done(struct replica_job *base)
{
    struct disk_job *job = (struct disk_job *)base;
    struct replica *r = job->replica;

    assert(r->disk.running == job);
    r->disk.running = NULL;
    if (job->kind == DISK_JOB_READ) {
        read_done(r, job);
        return;
    }
    if (!replica_halted(r)) {
        if (job->rv == 0) {
            job_succeeded(r, job);
        } else {
            job_failed(r, job);
        }
    }
    job_free(job);
    replica_pump(r, NULL);
}

static struct disk_job *job_new(struct replica *r, enum disk_job_kind kind)
{
    struct disk_job *job = replica_alloc(sizeof(*job));

    job->job.run = job_run;
    job->job.done = job_done;
    job->replica = r;
    job->kind = kind;
    job->disk = r->store.disk;
    job->log = r->store.log;
    return job;
}

static void enqueue(struct replica *r, struct disk_job *job)
{
    if (r->disk.tail != NULL) {
        r->disk.tail->next = job;
    } else {
        r->disk.head = job;
    }
    r->disk.tail = job;
    replica_want_flush(r);
}

static struct disk_job *append_job(struct replica *r, size_t len)
{
    struct disk_job *job = r->disk.tail;

    if (job == NULL || job->kind != DISK_JOB_APPEND || job->bytes + len > REPLICA_BATCH_BYTES) {
        job = job_new(r, DISK_JOB_APPEND);
        enqueue(r, job);
    }
    if (job->n == job->cap) {
        job->cap = job->cap == 0 ? 16 : job->cap * 2;
        job->records = replica_realloc(job->records, job->cap, sizeof(*job->records));
        job->bodies = replica_realloc(job->bodies, job->cap, sizeof(struct buf *));
    }
    return job;
}

void disk_queue_append(struct replica *r, const struct zab_entry *entry)
{
    struct disk_job *job = append_job(r, entry->body->len);
    struct txnlog_record *record = &job->records[job->n];

    memset(record, 0, sizeof(*record));
    record->zxid = entry->zxid;
    record->zxid_prev = entry->zxid_prev;
    record->payload = entry->body->bytes;
    record->len = entry->body->len;
    job->bodies[job->n] = buf_ref(entry->body);
    job->n++;
    job->bytes += entry->body->len;
    job->zxid = entry->zxid;
    r->snap.bytes += entry->body->len;
}

void disk_queue_truncate(struct replica *r, uint64_t zxid)
{
    struct disk_job *job = job_new(r, DISK_JOB_TRUNCATE);

    job->zxid = zxid;
    enqueue(r, job);
}

void disk_queue_epochs(struct replica *r, const struct zab_output *o)
{
    struct disk_job *job = job_new(r, DISK_JOB_EPOCHS);

    job->epochs.sid = r->config.zab.sid;
    job->epochs.accepted_epoch = o->accepted_epoch;
    job->epochs.accepted_from = o->accepted_from;
    job->epochs.current_epoch = o->current_epoch;
    job->epochs.sole = o->sole;
    enqueue(r, job);
}

void disk_queue_piece(struct replica *r, struct buf *piece)
{
    struct disk_job *job = r->disk.tail;

    if (job == NULL || job->kind != DISK_JOB_PIECES || job->incoming != r->snap.incoming) {
        job = job_new(r, DISK_JOB_PIECES);
        job->incoming = r->snap.incoming;
        enqueue(r, job);
    }
    if (job->n == job->cap) {
        job->cap = job->cap == 0 ? 16 : job->cap * 2;
        job->bodies = replica_realloc(job->bodies, job->cap, sizeof(struct buf *));
    }
    job->bodies[job->n++] = buf_ref(piece);
    job->bytes += piece->len;
}

void disk_queue_drop(struct replica *r, struct snapshot_incoming *incoming)
{
    struct disk_job *job = job_new(r, DISK_JOB_DROP);

    job->incoming = incoming;
    enqueue(r, job);
}

void disk_queue_snapshot(struct replica *r, struct snapshot_incoming *incoming, uint64_t zxid)
{
    struct disk_job *job = job_new(r, DISK_JOB_SNAPSHOT);

    job->incoming = incoming;
    job->zxid = zxid;
    enqueue(r, job);
}

/* About what a snapshot of the state takes. */
static uint64_t snapshot_bytes(const struct replica *r)
{
    const struct tree *tree = state_tree(r->store.state);

    return tree_data_bytes(tree) + tree_count(tree) * 100;
}

void disk_queue_read(struct replica *r, const struct zab_output *o)
{
    struct disk_job *job = job_new(r, DISK_JOB_READ);

    job->peer = o->peer;
    job->read = o->read;
    job->zxid = o->zxid;
    job->bytes = o->bytes;
    job->bytes_max = UINT64_MAX;
    if (o->first) {
        job->bytes_max = snapshot_bytes(r) * 2 > REPLICA_DIFF_BYTES ? snapshot_bytes(r) * 2 : REPLICA_DIFF_BYTES;
    }
    enqueue(r, job);
}

void disk_queue_purge(struct replica *r)
{
    struct disk_job *job = job_new(r, DISK_JOB_PURGE);

    job->retain = r->config.snap_retain;
    enqueue(r, job);
}

void disk_queue_recover(struct replica *r)
{
    struct disk_job *job = job_new(r, DISK_JOB_RECOVER);

    job->config = r->config.log.segment_bytes != 0 ? &r->config.log : NULL;
    job->bytes = r->config.zab.window_bytes;
    enqueue(r, job);
}

/* What is known to be committed now goes with every record of the batch, so that recovery may show it (lesson 13). */
static void stamp_committed(const struct replica *r, struct disk_job *job)
{
    uint64_t zxid_committed = state_zxid(r->store.state);
    size_t i;

    for (i = 0; job->records != NULL && i < job->n; i++) {
        job->records[i].zxid_committed = zxid_committed;
    }
}

void disk_queue_start(struct replica *r)
{
    struct disk_job *job = r->disk.head;

    if (r->disk.running != NULL || job == NULL || replica_halted(r)) {
        return;
    }
    r->disk.head = job->next;
    if (r->disk.head == NULL) {
        r->disk.tail = NULL;
    }
    job->next = NULL;
    stamp_committed(r, job);
    r->disk.running = job;
    r->env.job(r->env.arg, &job->job);
}

void disk_queue_drop_all(struct replica *r)
{
    struct disk_job *job;

    assert(r->disk.running == NULL);

    while (r->disk.head != NULL) {
        job = r->disk.head;
        r->disk.head = job->next;
        job_free(job);
    }
    r->disk.tail = NULL;
}

void disk_queue_release(struct replica *r)
{
    job_free(r->disk.running);
    r->disk.running = NULL;
    disk_queue_drop_all(r);
}
