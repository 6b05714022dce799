/*
 * The replica as an ensemble of one, on the crash disk: what is answered is on the disk, and what is on the disk is
 * answered once. Ensembles of several run in the simulator.
 */
#include "consensus/replica_int.h"
#include "store/session.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CALLS_MAX 3000
#define TIMEO_MS  5000

/* ---- the world ---- */

struct world {
    struct disk *disk;
    struct replica *r;
    uint64_t now_ms;
    uint64_t timer_ms;
    uint64_t random;
    struct replica_job *job;
    bool flush_wanted;
    bool stopped;
    bool keep_snapshot; /* env.snapshot does not report */
    unsigned n_jobs;
    unsigned n_snapshots;
    unsigned n_status;
    unsigned n_changes;
    unsigned n_sent;
    unsigned n_disconnects;
    struct zab_packet sent; /* the last one, without its body */
    char fatal[1024];
};

static uint64_t world_now_ms(void *arg)
{
    return ((struct world *)arg)->now_ms;
}

static int64_t world_wall_ns(void *arg)
{
    return 1700000000000000000 + (int64_t)((struct world *)arg)->now_ms * 1000000;
}

static uint64_t world_random(void *arg)
{
    return ++((struct world *)arg)->random;
}

static void world_timer(void *arg, uint64_t deadline_ms)
{
    ((struct world *)arg)->timer_ms = deadline_ms;
}

static void world_job(void *arg, struct replica_job *job)
{
    struct world *w = arg;

    assert_null(w->job);
    w->job = job;
    w->n_jobs++;
}

static void world_want_flush(void *arg)
{
    ((struct world *)arg)->flush_wanted = true;
}

static void world_send(void *arg, uint64_t sid, const struct zab_packet *packet)
{
    struct world *w = arg;

    (void)sid;
    w->sent = *packet;
    w->sent.body = NULL;
    w->n_sent++;
}

static void world_send_flush(void *arg)
{
    (void)arg;
}

static void world_disconnect(void *arg, uint64_t sid, const char *reason)
{
    (void)sid;
    assert_non_null(reason);
    ((struct world *)arg)->n_disconnects++;
}

static int world_snapshot(void *arg, const struct state *state)
{
    struct world *w = arg;

    w->n_snapshots++;
    if (!w->keep_snapshot) {
        replica_on_snapshot(w->r, snapshot_save(w->disk, state, NULL));
    }
    return 0;
}

static int world_stream_open(void *arg, uint64_t sid, const struct state *state)
{
    (void)arg;
    (void)sid;
    (void)state;
    return -EAGAIN;
}

static void world_stream(void *arg, uint64_t sid)
{
    (void)arg;
    (void)sid;
    fail();
}

static void world_fatal(void *arg, const char *text)
{
    struct world *w = arg;

    assert_string_equal(w->fatal, "");
    (void)snprintf(w->fatal, sizeof(w->fatal), "%s", text);
}

static void world_log(void *arg, const char *text)
{
    (void)arg;
    assert_null(strchr(text, '\n'));
}

static void world_stopped(void *arg)
{
    ((struct world *)arg)->stopped = true;
}

/* ---- running it ---- */

static struct replica_listener listener;

static void on_status(void *arg)
{
    ((struct world *)arg)->n_status++;
}

static void on_changed(void *arg, const struct change *change)
{
    assert_non_null(change->node);
    ((struct world *)arg)->n_changes++;
}

static int world_new_replica(struct world *w, uint64_t sid, const struct zab_server *servers, size_t n,
                             struct error *err)
{
    struct replica_env env = {
        .arg = w,
        .now_ms = world_now_ms,
        .wall_ns = world_wall_ns,
        .random = world_random,
        .timer = world_timer,
        .job = world_job,
        .want_flush = world_want_flush,
        .send = world_send,
        .send_flush = world_send_flush,
        .disconnect = world_disconnect,
        .snapshot = world_snapshot,
        .stream_open = world_stream_open,
        .stream_pull = world_stream,
        .stream_close = world_stream,
        .fatal = world_fatal,
        .log = world_log,
    };
    struct replica_config config = {
        .zab = {.sid = sid,
                .servers = servers,
                .n_servers = n,
                .tick_ms = 2000,
                .init_limit = 10,
                .sync_limit = 5,
                .peer_timeout_ms = 1000,
                .window_bytes = 1 << 20},
        .log = {.segment_bytes = 64 * 1024, .prealloc_bytes = 4096},
        .timeo_ms = TIMEO_MS,
        .data_max = TXN_DATA_MAX_DEFAULT,
        .snap_count = 100,
        .snap_bytes = 1 << 30,
        .snap_retain = 3,
    };

    return replica_new(&config, &env, w->disk, &w->r, err);
}

static void boot(struct world *w, size_t n)
{
    static const struct zab_server servers[] = {{.sid = 1}, {.sid = 2}, {.sid = 3}};
    struct error err = {.text = ""};

    w->job = NULL;
    w->timer_ms = UINT64_MAX;
    w->stopped = false;
    w->fatal[0] = '\0';
    assert_int_equal(world_new_replica(w, 1, servers, n, &err), 0);
    listener = (struct replica_listener){.arg = w, .status = on_status, .changed = on_changed};
    replica_listen(w->r, &listener);
    replica_start(w->r);
}

static void flush(struct world *w)
{
    while (w->flush_wanted && !w->stopped) {
        w->flush_wanted = false;
        replica_flush(w->r);
    }
}

static void run_job(struct world *w)
{
    struct replica_job *job = w->job;

    assert_non_null(job);
    job->run(job);
    w->job = NULL;
    job->done(job);
}

/* Until nothing is left to do without time passing. */
static void settle(struct world *w)
{
    flush(w);
    while (w->job != NULL) {
        run_job(w);
        flush(w);
    }
}

static void advance(struct world *w, uint64_t to_ms)
{
    while (w->timer_ms <= to_ms) {
        w->now_ms = w->timer_ms > w->now_ms ? w->timer_ms : w->now_ms;
        replica_on_timer(w->r);
        settle(w);
    }
    w->now_ms = to_ms;
}

static void lead(struct world *w)
{
    struct replica_status status;

    settle(w);
    advance(w, w->now_ms + 1000);
    replica_status(w->r, &status);
    assert_true(status.quorum);
    assert_int_equal(status.role, ZAB_LEADING);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    w->disk = crash_disk_new(7);
    w->now_ms = 1000;
    w->random = 100;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    replica_free(w->r);
    crash_disk_free(w->disk);
    free(w);
    return 0;
}

static void crash(struct world *w)
{
    replica_free(w->r);
    w->r = NULL;
    w->job = NULL;
    crash_disk_crash(w->disk);
    crash_disk_restart(w->disk);
}

/* ---- calls ---- */

struct test_call {
    struct replica_call call;
    struct outcome outcome;
    unsigned n_done;
    struct world *again; /* submit once more from within done() */
};

static struct test_call calls[CALLS_MAX];

static const struct op barrier = {.kind = OP_NOP};

static void call_done(struct replica_call *call, const struct outcome *outcome)
{
    struct test_call *t = (struct test_call *)call;

    t->outcome = *outcome;
    t->n_done++;
    if (t->again != NULL) {
        struct world *w = t->again;

        t->again = NULL;
        replica_submit(w->r, call, &barrier);
    }
}

static struct test_call *call_init(size_t i, enum replica_patience patience)
{
    struct test_call *t = &calls[i];

    memset(t, 0, sizeof(*t));
    t->call.done = call_done;
    t->call.patience = patience;
    t->outcome.err = -1;
    return t;
}

static struct test_call *submit_op(struct world *w, size_t i, enum replica_patience patience, const struct op *op)
{
    struct test_call *t = call_init(i, patience);

    replica_submit(w->r, &t->call, op);
    assert_int_equal(t->n_done, 0);
    return t;
}

static struct test_call *create(struct world *w, size_t i, const char *name)
{
    struct op op = {.kind = OP_CREATE, .ino = TREE_ROOT_INO, .node_kind = NODE_FILE, .mode = 0644};

    op.name = name;
    op.name_len = strlen(name);
    op.data = (const uint8_t *)"value";
    op.data_len = 5;
    return submit_op(w, i, REPLICA_BOUNDED, &op);
}

static bool exists(const struct world *w, const char *name)
{
    return tree_lookup(replica_tree(w->r), TREE_ROOT_INO, name, strlen(name)) != NULL;
}

static void assert_done(const struct test_call *t, int err)
{
    assert_int_equal(t->n_done, 1);
    assert_int_equal(t->outcome.err, err);
}

/* ---- tests ---- */

static void test_submit(void **state)
{
    struct world *w = *state;
    struct test_call *t;

    boot(w, 1);
    assert_false(replica_readable(w->r));
    lead(w);
    assert_true(replica_readable(w->r));
    assert_int_not_equal(replica_ensemble(w->r), 0);
    assert_true(w->n_status > 0);
    t = create(w, 0, "a");
    flush(w);
    assert_int_equal(t->n_done, 0); /* it is not on the disk */
    assert_false(exists(w, "a"));
    settle(w);
    assert_done(t, 0);
    assert_int_equal(t->outcome.zxid, replica_zxid(w->r));
    assert_true(exists(w, "a"));
    assert_int_equal(w->n_changes, 1);
    t = create(w, 0, "a");
    settle(w);
    assert_done(t, EEXIST);
}

static void test_group_commit(void **state)
{
    struct world *w = *state;
    struct replica_status before;
    struct replica_status after;
    char name[16];
    size_t i;

    boot(w, 1);
    lead(w);
    replica_status(w->r, &before);
    for (i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        (void)create(w, i, name);
    }
    settle(w);
    replica_status(w->r, &after);
    for (i = 0; i < 100; i++) {
        assert_done(&calls[i], 0);
    }
    assert_int_equal(after.log_syncs - before.log_syncs, 1);
    assert_int_equal(after.txns_applied - before.txns_applied, 100);
    assert_int_equal(after.calls_outstanding, 0);
}

/* More than the window holds; and seq_lowest that was encoded long ago. */
static void test_window(void **state)
{
    struct world *w = *state;
    char name[16];
    size_t i;

    boot(w, 1);
    for (i = 0; i < CALLS_MAX; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        (void)create(w, i, name);
    }
    lead(w);
    for (i = 0; i < CALLS_MAX; i++) {
        assert_done(&calls[i], 0);
        assert_true(i == 0 || calls[i].outcome.zxid > calls[i - 1].outcome.zxid);
    }
    assert_int_equal(tree_count(replica_tree(w->r)), CALLS_MAX + 1);
}

static void test_restart(void **state)
{
    struct world *w = *state;
    uint64_t ensemble;
    uint64_t zxid;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "a");
    settle(w);
    (void)create(w, 1, "b");
    settle(w);
    assert_done(&calls[1], 0);
    ensemble = replica_ensemble(w->r);
    zxid = replica_zxid(w->r);
    (void)create(w, 2, "never");
    flush(w);
    assert_non_null(w->job); /* and never run */
    crash(w);
    boot(w, 1);
    assert_false(replica_readable(w->r)); /* "b" is logged; that it is committed is not */
    lead(w);
    assert_true(exists(w, "a"));
    assert_true(exists(w, "b"));
    assert_false(exists(w, "never"));
    assert_true(replica_zxid(w->r) > zxid);
    assert_int_equal(replica_ensemble(w->r), ensemble);
    (void)create(w, 3, "c");
    settle(w);
    assert_done(&calls[3], 0);
}

/* It leaves the ensemble, still shows what it had, and does not come back by itself. */
static void test_sync_failure(void **state)
{
    struct world *w = *state;
    struct replica_status status;
    struct test_call *t;
    unsigned told;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "before");
    settle(w);
    crash_disk_fail_sync_after(w->disk, 0);
    told = w->n_status;
    t = create(w, 1, "a");
    settle(w);
    assert_int_equal(t->n_done, 0);
    assert_string_equal(w->fatal, "");
    assert_true(w->n_status > told);
    replica_status(w->r, &status);
    assert_int_equal(status.disk_error, EIO);
    assert_string_equal(status.disk, "error");
    assert_int_equal(status.role, ZAB_LOOKING);
    assert_true(status.readable);
    assert_true(exists(w, "before"));
    assert_false(exists(w, "a"));
    advance(w, w->now_ms + 100000);
    replica_status(w->r, &status);
    assert_string_equal(status.disk, "error");
    assert_false(status.quorum);
    assert_done(t, ETIMEDOUT);
    (void)submit_op(w, 2, REPLICA_HARD, &barrier);
    settle(w);
    assert_int_equal(calls[2].n_done, 0);
    replica_stop(w->r, world_stopped, w);
    flush(w);
    assert_true(w->stopped);
    assert_done(&calls[2], EIO);
}

static void create_big(struct world *w, size_t i)
{
    static uint8_t data[512 * 1024];
    struct op op = {.kind = OP_CREATE, .ino = TREE_ROOT_INO, .node_kind = NODE_FILE, .name = "big", .name_len = 3};

    op.data = data;
    op.data_len = sizeof(data);
    (void)submit_op(w, i, REPLICA_HARD, &op);
}

/* It leaves, and comes back when there is room: what was asked for is done then, once. */
static void test_disk_full(void **state)
{
    struct world *w = *state;
    struct replica_status status;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "before");
    settle(w);
    crash_disk_set_free(w->disk, 4096);
    create_big(w, 1);
    settle(w);
    assert_int_equal(calls[1].n_done, 0);
    assert_string_equal(w->fatal, "");
    replica_status(w->r, &status);
    assert_string_equal(status.disk, "full");
    assert_int_equal(status.role, ZAB_LOOKING);
    assert_false(status.quorum);
    assert_true(exists(w, "before"));
    advance(w, w->now_ms + 20000);
    replica_status(w->r, &status);
    assert_string_equal(status.disk, "full"); /* it has tried */
    crash_disk_set_free(w->disk, CRASH_DISK_UNLIMITED);
    advance(w, w->now_ms + 3000);
    replica_status(w->r, &status);
    assert_string_equal(status.disk, "ok");
    assert_true(status.quorum);
    assert_done(&calls[1], 0);
    assert_true(exists(w, "before"));
    assert_true(exists(w, "big"));
    crash(w);
    boot(w, 1);
    lead(w);
    assert_true(exists(w, "big"));
}

/* Without room from the start: there is nothing to be shown, and then there is. */
static void test_disk_full_at_start(void **state)
{
    struct world *w = *state;
    struct replica_status status;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "a");
    settle(w);
    flush(w);
    (void)create(w, 1, "torn");
    flush(w);
    crash(w);
    crash_disk_set_free(w->disk, 0);
    boot(w, 1);
    settle(w);
    advance(w, w->now_ms + 10000);
    replica_status(w->r, &status);
    assert_string_equal(status.disk, "full");
    assert_false(status.quorum);
    crash_disk_set_free(w->disk, CRASH_DISK_UNLIMITED);
    advance(w, w->now_ms + 3000);
    replica_status(w->r, &status);
    assert_string_equal(status.disk, "ok");
    assert_true(status.quorum);
    assert_true(exists(w, "a"));
    (void)create(w, 2, "b");
    settle(w);
    assert_done(&calls[2], 0);
}

/* A leader that gives up and leads again hands over what is not decided: the log has it twice, the tree once. */
static void test_duplicates(void **state)
{
    struct zab_input resign = {.type = ZAB_IN_RESIGN};
    struct world *w = *state;
    struct replica_status before;
    struct replica_status after;
    char name[16];
    size_t i;

    boot(w, 1);
    lead(w);
    replica_status(w->r, &before);
    for (i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        (void)create(w, i, name);
    }
    flush(w);
    assert_true(replica_cancel(w->r, &calls[3].call, EINTR));
    replica_pump(w->r, &resign);
    replica_status(w->r, &after);
    assert_false(after.quorum);
    lead(w);
    replica_status(w->r, &after);
    for (i = 0; i < 10; i++) {
        assert_done(&calls[i], i == 3 ? EINTR : 0);
    }
    assert_int_equal(after.txns_applied - before.txns_applied, 10);
    assert_int_equal(after.znodes, 11);
    assert_true(after.elections > before.elections);
    /* In the same batch as what they repeat. */
    for (i = 0; i < 10; i++) {
        (void)submit_op(w, i, REPLICA_HARD, &barrier);
    }
    flush(w);
    replica_pump(w->r, &resign);
    lead(w);
    for (i = 0; i < 10; i++) {
        assert_done(&calls[i], 0);
    }
}

/* So many identities have come that this one's turn to be forgotten comes, while it asks for nothing: it takes another
 * at once, and not at the next election. */
static void test_forgotten_while_idle(void **state)
{
    struct world *w = *state;
    uint64_t i;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "a");
    settle(w);
    assert_done(&calls[0], 0);
    for (i = 1; i <= SESSIONS_MAX; i++) {
        struct op op = {.kind = OP_SESSION_OPEN, .ino = UINT64_MAX - i};
        struct request request = {.session = 0, .op = op};
        struct zab_input in = {.type = ZAB_IN_SUBMIT, .body = request_encode(&request)};

        replica_input(w->r, &in);
        buf_unref(in.body);
        if (i % 4096 == 0) {
            replica_pump(w->r, NULL);
            settle(w);
        }
    }
    (void)create(w, 1, "b");
    settle(w);
    assert_done(&calls[1], 0);
    assert_true(exists(w, "b"));
}

/* Handed over and then without a quorum: it may still happen, and whoever asked is told so. */
static void test_timed_out(void **state)
{
    struct zab_input resign = {.type = ZAB_IN_RESIGN};
    struct world *w = *state;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "a");
    flush(w);
    assert_non_null(w->job); /* it hangs, and no leader is elected before it is done */
    replica_pump(w->r, &resign);
    w->now_ms += TIMEO_MS;
    replica_on_timer(w->r);
    flush(w);
    assert_done(&calls[0], ETIMEDOUT);
    lead(w);
    assert_true(exists(w, "a"));
    assert_done(&calls[0], ETIMEDOUT);
}

static void test_digests(void **state)
{
    static struct digest_ring ring;
    uint64_t digest = 0;
    uint64_t i;

    (void)state;
    digests_clear(&ring);
    assert_false(digests_find(&ring, 1, &digest));
    for (i = 1; i <= 2 * REPLICA_DIGESTS + 5; i++) {
        digests_add(&ring, 2 * i, i);
    }
    assert_false(digests_find(&ring, 2 * (REPLICA_DIGESTS + 5), &digest));
    for (i = REPLICA_DIGESTS + 6; i <= 2 * REPLICA_DIGESTS + 5; i++) {
        assert_true(digests_find(&ring, 2 * i, &digest));
        assert_int_equal(digest, i);
        assert_false(digests_find(&ring, 2 * i + 1, &digest));
    }
}

/* One of three, alone. */
static void test_no_quorum(void **state)
{
    struct world *w = *state;
    struct test_call *bounded;
    struct test_call *hard;
    struct test_call *wait;

    boot(w, 3);
    settle(w);
    bounded = submit_op(w, 0, REPLICA_BOUNDED, &barrier);
    hard = submit_op(w, 1, REPLICA_HARD, &barrier);
    wait = submit_op(w, 2, REPLICA_BARRIER, &barrier);
    settle(w);
    advance(w, 1000 + TIMEO_MS - 1);
    assert_int_equal(bounded->n_done + hard->n_done + wait->n_done, 0);
    advance(w, 1000 + TIMEO_MS);
    assert_done(bounded, EROFS);
    assert_done(wait, EIO);
    assert_int_equal(hard->n_done, 0);
    bounded = submit_op(w, 3, REPLICA_BOUNDED, &barrier);
    settle(w);
    assert_done(bounded, EROFS); /* at once: the quorum is lost since long */
    assert_false(replica_readable(w->r));
    assert_true(replica_cancel(w->r, &hard->call, EINTR));
    assert_int_equal(hard->n_done, 0);
    settle(w);
    assert_done(hard, EINTR);
    assert_false(replica_cancel(w->r, &hard->call, EINTR));
}

/* What an old state shows, once its owner has waited for a leader in vain. */
static void test_readable_alone(void **state)
{
    struct world *w = *state;
    unsigned told;

    boot(w, 1);
    lead(w);
    (void)create(w, 0, "a");
    settle(w);
    (void)create(w, 1, "b"); /* its record says that "a" is committed */
    settle(w);
    crash(w);
    boot(w, 3);
    settle(w);
    told = w->n_status;
    assert_true(exists(w, "a"));
    assert_false(replica_readable(w->r));
    advance(w, w->now_ms + TIMEO_MS);
    assert_true(replica_readable(w->r));
    assert_true(w->n_status > told);
}

static void test_stop(void **state)
{
    struct world *w = *state;
    struct test_call *t;

    boot(w, 1);
    lead(w);
    t = create(w, 0, "a");
    flush(w);
    assert_non_null(w->job);
    replica_stop(w->r, world_stopped, w);
    flush(w);
    assert_done(t, EIO);
    assert_false(w->stopped); /* the job is out */
    (void)create(w, 1, "b");
    flush(w);
    assert_done(&calls[1], EIO);
    run_job(w);
    flush(w);
    assert_true(w->stopped);
}

static void test_submit_from_done(void **state)
{
    struct world *w = *state;
    struct test_call *t;

    boot(w, 1);
    lead(w);
    t = create(w, 0, "a");
    t->again = w;
    settle(w);
    assert_int_equal(t->n_done, 2);
    assert_int_equal(t->outcome.err, 0);
}

static void test_snapshots(void **state)
{
    struct world *w = *state;
    struct replica_status status;
    char name[16];
    size_t i;

    boot(w, 1);
    lead(w);
    for (i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        (void)create(w, i, name);
        settle(w);
        assert_done(&calls[i], 0);
    }
    assert_in_range(w->n_snapshots, 4, 11); /* each 50 to 100 transactions */
    replica_status(w->r, &status);
    assert_int_equal(status.snapshots, w->n_snapshots);
    crash(w);
    boot(w, 1);
    lead(w);
    for (i = 0; i < 500; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        assert_true(exists(w, name));
    }
}

/* The child is never heard of: no second one is begun, and nothing waits for it. */
static void test_snapshot_pending(void **state)
{
    struct world *w = *state;
    char name[16];
    size_t i;

    boot(w, 1);
    lead(w);
    w->keep_snapshot = true;
    for (i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        (void)create(w, i, name);
        settle(w);
        assert_done(&calls[i], 0);
    }
    assert_int_equal(w->n_snapshots, 1);
    replica_on_snapshot(w->r, -EIO);
    (void)create(w, 300, "x");
    settle(w);
    assert_int_equal(w->n_snapshots, 2);
}

static void test_other_owner(void **state)
{
    static const struct zab_server servers[] = {{.sid = 2}};
    struct world *w = *state;
    struct error err = {.text = ""};

    boot(w, 1);
    lead(w);
    replica_free(w->r);
    w->r = NULL;
    assert_int_equal(world_new_replica(w, 2, servers, 1, &err), -EXDEV);
    assert_non_null(strstr(err.text, "server 1"));
    assert_non_null(strstr(err.text, "server 2"));
}

static void test_strangers(void **state)
{
    struct zab_packet packet = {.type = ZAB_PING};
    struct world *w = *state;
    struct replica_peer_status peers[8];

    boot(w, 3);
    settle(w);
    replica_on_packet(w->r, 9, &packet);
    replica_on_peer_down(w->r, 9);
    replica_on_peer_up(w->r, 9, false);
    assert_int_equal(w->n_disconnects, 1);
    replica_on_peer_up(w->r, 9, true);
    assert_int_equal(replica_peers(w->r, peers, 8), 4);
    replica_on_peer_down(w->r, 9);
    assert_int_equal(replica_peers(w->r, peers, 8), 3);
    replica_on_peer_up(w->r, 2, false);
    replica_on_peer_up(w->r, 2, false); /* replaces the first */
    assert_int_equal(replica_peers(w->r, peers, 8), 3);
    assert_true(peers[0].self);
    assert_true(peers[1].up);
    assert_false(peers[2].up);
    assert_true(peers[1].connected_since_ns > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_submit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sync_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full_at_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_while_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timed_out, setup, teardown),
        cmocka_unit_test(test_digests),
        cmocka_unit_test_setup_teardown(test_no_quorum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readable_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submit_from_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_pending, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
    };

    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}
