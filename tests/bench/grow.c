/*
 * grow: dataDirs of an ensemble that holds many znodes, without the hours that making them through a mount takes.
 *
 *   grow COUNT SNAP_COUNT DIR...
 *
 * Each DIR becomes the dataDir of the server 1, 2, ... as a peer leaves it: COUNT files of 100 bytes below /grown, 1000
 * in a directory (/grown/D/F), then SNAP_COUNT changes, a snapshot, SNAP_COUNT changes, a snapshot, and SNAP_COUNT
 * changes in the log behind it. All through the store's own functions: the transactions are those that a mount would
 * have made.
 *
 * The contents are random letters of 64, which nothing can make smaller than three quarters of their size.
 */
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION  77
#define PAYLOAD  100
#define FILES    1000 /* in a directory */
#define BATCH    1000
#define ZXID_1   (UINT64_C(1) << 32 | 1)
#define TIME_1   INT64_C(1700000000000000000)
#define STEP_NS  INT64_C(25123) /* between two transactions */
#define DATA_MAX (1u << 20)

struct grower {
    struct state *state;
    uint64_t zxid; /* last made */
    uint64_t seq;
    uint64_t random;
    uint64_t *inos; /* of the files */
    size_t n_inos;
    struct disk **disks;
    struct txnlog **logs;
    size_t n_disks;
    struct buf *bodies[BATCH]; /* on their way to the logs */
    struct txnlog_record records[BATCH];
    size_t n_records;
    bool logging;
};

static void die(const char *what)
{
    fprintf(stderr, "grow: %s\n", what);
    exit(1);
}

/* xorshift64 (G. Marsaglia) */
static uint64_t draw(struct grower *g)
{
    g->random ^= g->random << 13;
    g->random ^= g->random >> 7;
    g->random ^= g->random << 17;
    return g->random;
}

static void draw_contents(struct grower *g, uint8_t bytes[PAYLOAD])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i;

    for (i = 0; i < PAYLOAD; i++) {
        bytes[i] = (uint8_t)letters[draw(g) >> 58];
    }
}

static void flush(struct grower *g)
{
    struct error err;
    size_t i;

    for (i = 0; i < g->n_disks; i++) {
        if (txnlog_append(g->logs[i], g->records, g->n_records, &err) != 0 || txnlog_sync(g->logs[i], &err) != 0) {
            die(err.text);
        }
    }
    for (i = 0; i < g->n_records; i++) {
        buf_unref(g->bodies[i]);
    }
    g->n_records = 0;
}

static void log_txn(struct grower *g, uint64_t zxid_prev, const struct txn *txn)
{
    struct buf *request = request_encode(&txn->request);
    struct buf *body = txn_encode(txn->time_ns, txn->data_max, request->bytes, request->len);

    buf_unref(request);
    g->bodies[g->n_records] = body;
    g->records[g->n_records++] = (struct txnlog_record){
        .zxid = g->zxid, .zxid_prev = zxid_prev, .zxid_committed = zxid_prev, .payload = body->bytes, .len = body->len};
    if (g->n_records == BATCH) {
        flush(g);
    }
}

/* One transaction, a few of which are under way at once; the inode number of what it made or changed. */
static uint64_t change(struct grower *g, const struct op *op)
{
    uint64_t zxid_prev = g->zxid;
    struct txn txn = {.data_max = DATA_MAX};
    struct outcome outcome;

    g->zxid = g->zxid == 0 ? ZXID_1 : g->zxid + 1;
    txn.time_ns = TIME_1 + (int64_t)(g->zxid - ZXID_1) * STEP_NS;
    if (op->kind != OP_ENSEMBLE && op->kind != OP_SESSION_OPEN) {
        txn.request = (struct request){.session = SESSION, .seq = ++g->seq, .seq_lowest = g->seq};
    }
    txn.request.op = *op;
    state_apply(g->state, g->zxid, &txn, &outcome);
    if (outcome.err != 0) {
        die(strerror(outcome.err));
    }
    if (g->logging) {
        log_txn(g, zxid_prev, &txn);
    }
    return outcome.ino;
}

static uint64_t make(struct grower *g, enum node_kind kind, uint64_t parent, const char *name, const uint8_t *data)
{
    struct op op = {.kind = OP_CREATE,
                    .ino = parent,
                    .name = name,
                    .name_len = strlen(name),
                    .node_kind = kind,
                    .mode = kind == NODE_DIR ? 0755 : 0644,
                    .data = data,
                    .data_len = data == NULL ? 0 : PAYLOAD};

    return change(g, &op);
}

/* As a mount does: the empty file is made by open(2), its contents come with close(2). */
static void publish(struct grower *g, uint64_t ino)
{
    uint8_t bytes[PAYLOAD];
    struct op_range range = {.len = PAYLOAD, .bytes = bytes};
    struct op op = {.kind = OP_WRITE, .ino = ino, .ranges = &range, .n_ranges = 1};

    draw_contents(g, bytes);
    (void)change(g, &op);
}

static void make_tree(struct grower *g, size_t count)
{
    struct op ensemble = {.kind = OP_ENSEMBLE, .id = 0x67726f77};
    struct op session = {.kind = OP_SESSION_OPEN, .ino = SESSION};
    uint64_t top;
    uint64_t dir = 0;
    char name[32];

    (void)change(g, &ensemble);
    (void)change(g, &session);
    top = make(g, NODE_DIR, TREE_ROOT_INO, "grown", NULL);
    for (g->n_inos = 0; g->n_inos < count; g->n_inos++) {
        if (g->n_inos % FILES == 0) {
            (void)snprintf(name, sizeof(name), "%zu", g->n_inos / FILES);
            dir = make(g, NODE_DIR, top, name, NULL);
        }
        (void)snprintf(name, sizeof(name), "%zu", g->n_inos % FILES);
        g->inos[g->n_inos] = make(g, NODE_FILE, dir, name, NULL);
        publish(g, g->inos[g->n_inos]);
    }
}

static void change_some(struct grower *g, size_t count)
{
    while (count-- > 0) {
        publish(g, g->inos[draw(g) % g->n_inos]);
    }
    flush(g);
}

static void save(struct grower *g)
{
    struct error err;
    size_t i;

    for (i = 0; i < g->n_disks; i++) {
        if (snapshot_save(g->disks[i], g->state, &err) != 0) {
            die(err.text);
        }
    }
}

static int ignore_record(void *arg, const struct txnlog_record *record)
{
    (void)arg;
    (void)record;
    return 0;
}

static void begin_logs(struct grower *g)
{
    struct error err;
    size_t i;

    for (i = 0; i < g->n_disks; i++) {
        struct epochs epochs = {.sid = i + 1, .accepted_epoch = 1, .accepted_from = 1, .current_epoch = 1};

        if (epochs_save(g->disks[i], &epochs, &err) != 0 ||
            txnlog_open(g->disks[i], NULL, ignore_record, NULL, &g->logs[i], &err) != 0 ||
            txnlog_reset(g->logs[i], g->zxid, &err) != 0) {
            die(err.text);
        }
    }
    g->logging = true;
}

static void open_disks(struct grower *g, char **dirs, size_t n)
{
    size_t i;

    g->disks = calloc(n, sizeof(struct disk *));
    g->logs = calloc(n, sizeof(struct txnlog *));
    if (g->disks == NULL || g->logs == NULL) {
        die("out of memory");
    }
    for (g->n_disks = 0; g->n_disks < n; g->n_disks++) {
        char path[4096];
        int len = snprintf(path, sizeof(path), "%s/znodefs", dirs[g->n_disks]);

        if (len < 0 || (size_t)len >= sizeof(path) || disk_posix_new(path, true, &g->disks[g->n_disks]) != 0) {
            die(dirs[g->n_disks]);
        }
    }
    for (i = 0; i < n; i++) {
        g->logs[i] = NULL;
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 3 ? strtoul(argv[1], NULL, 10) : 0;
    size_t snap_count = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    struct grower *g = calloc(1, sizeof(*g));
    size_t i;

    if (g == NULL || count < 1 || count > 100000000) {
        fprintf(stderr, "usage: grow COUNT SNAP_COUNT DIR...\n");
        free(g);
        return 2;
    }
    g->random = 88172645463325252u;
    g->state = state_new();
    g->inos = calloc(count, sizeof(*g->inos));
    if (g->inos == NULL) {
        die("out of memory");
    }
    open_disks(g, argv + 3, (size_t)argc - 3);
    make_tree(g, count);
    begin_logs(g);
    for (i = 0; i < 2; i++) {
        save(g);
        change_some(g, snap_count);
    }
    save(g);
    change_some(g, snap_count);
    for (i = 0; i < g->n_disks; i++) {
        txnlog_close(g->logs[i]);
        disk_posix_free(g->disks[i]);
    }
    state_free(g->state);
    free(g->inos);
    free(g->disks);
    free(g->logs);
    free(g);
    return 0;
}
