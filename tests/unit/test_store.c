/* Recovery of a peer: which snapshot, which part of the log, what is applied and what is only a tail. */
#include "store/store.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SESSION 77

static const struct txnlog_config config = {.segment_bytes = 8192, .prealloc_bytes = 4096};
static const struct epochs promised = {.sid = 1, .accepted_epoch = 1, .accepted_from = 1, .current_epoch = 1};

static uint64_t zxid_of(uint64_t i)
{
    return i == 0 ? 0 : (UINT64_C(1) << 32) + i;
}

/* The transaction number `i` (from 1) of the one history that these tests know. */
static struct buf *body_of(uint64_t i)
{
    uint8_t data[300];
    char name[32];
    struct request r = {.seq_lowest = 1};
    struct buf *request;
    struct buf *body;

    memset(data, (int)i, sizeof(data));
    (void)snprintf(name, sizeof(name), "n%u", (unsigned)i);
    if (i == 1) {
        r.op = (struct op){.kind = OP_ENSEMBLE, .id = 4711};
    } else if (i == 2) {
        r.op = (struct op){.kind = OP_SESSION_OPEN, .ino = SESSION, .id = 1};
    } else {
        r.session = SESSION;
        r.seq = i;
        r.seq_lowest = i;
        r.op = (struct op){.kind = OP_CREATE,
                           .ino = TREE_ROOT_INO,
                           .name = name,
                           .name_len = strlen(name),
                           .node_kind = NODE_FILE,
                           .mode = 0644,
                           .data = data,
                           .data_len = sizeof(data)};
    }
    request = request_encode(&r);
    body = txn_encode((int64_t)i * 1000, TXN_DATA_MAX_DEFAULT, request->bytes, request->len);
    buf_unref(request);
    return body;
}

/* The state after the transactions 1..n. */
static struct state *state_after(uint64_t n)
{
    struct state *s = state_new();
    struct txn_decoded decoded;
    struct outcome outcome;
    uint64_t i;

    for (i = 1; i <= n; i++) {
        struct buf *body = body_of(i);

        assert_int_equal(txn_decode(body->bytes, body->len, &decoded), 0);
        state_apply(s, zxid_of(i), &decoded.txn, &outcome);
        assert_int_equal(outcome.err, 0);
        txn_decoded_release(&decoded);
        buf_unref(body);
    }
    return s;
}

static int save_snapshot(struct disk *d, uint64_t i)
{
    struct state *s = state_after(i);
    int rv = snapshot_save(d, s, NULL);

    state_free(s);
    return rv;
}

/* Appends the transactions from..to, each knowing that all but the last `lag` before it are committed. */
static int append(struct txnlog *log, uint64_t from, uint64_t to, uint64_t lag)
{
    uint64_t i;
    int rv = 0;

    for (i = from; i <= to && rv == 0; i++) {
        struct buf *body = body_of(i);
        struct txnlog_record r = {.zxid = zxid_of(i),
                                  .zxid_prev = zxid_of(i - 1),
                                  .zxid_committed = zxid_of(i > lag ? i - lag : 0),
                                  .payload = body->bytes,
                                  .len = body->len};

        rv = txnlog_append(log, &r, 1, NULL);
        buf_unref(body);
    }
    return rv != 0 ? rv : txnlog_sync(log, NULL);
}

/* A disk with promises and the log from..to. */
static struct disk *disk_with_log(uint64_t from, uint64_t to, uint64_t lag)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;

    assert_int_equal(epochs_save(d, &promised, NULL), 0);
    assert_int_equal(txnlog_open(d, &config, NULL, NULL, &log, NULL), 0);
    assert_int_equal(append(log, from, to, lag), 0);
    txnlog_close(log);
    return d;
}

/* The state is exactly that after `applied` transactions, and the window is a chain up to `logged`. */
static void check_store(const struct store *s, uint64_t applied, uint64_t logged)
{
    struct state *expected = state_after(applied);
    size_t i;

    assert_int_equal(state_zxid(s->state), zxid_of(applied));
    assert_int_equal(state_digest(s->state), state_digest(expected));
    assert_int_equal(state_digest(s->state), state_digest_slow(s->state));
    assert_int_equal(s->zxid_logged, zxid_of(logged));
    assert_true(s->n_entries >= logged - applied);
    for (i = 0; i < s->n_entries; i++) {
        struct buf *body = body_of(logged - s->n_entries + 1 + i);

        assert_int_equal(s->entries[i].zxid, zxid_of(logged - s->n_entries + 1 + i));
        assert_int_equal(s->entries[i].zxid_prev, zxid_of(logged - s->n_entries + i));
        assert_int_equal(s->entries[i].body->len, body->len);
        assert_memory_equal(s->entries[i].body->bytes, body->bytes, body->len);
        buf_unref(body);
    }
    state_free(expected);
}

static void open_and_check(struct disk *d, uint64_t applied, uint64_t logged)
{
    struct store s;
    struct error err = {.text = "stale"};
    int rv;

    rv = store_open(d, &config, 2000, &s, &err);
    if (rv != 0) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(rv, 0);
    check_store(&s, applied, logged);
    /* The log goes on where the history ends. */
    assert_int_equal(append(s.log, logged + 1, logged + 1, 1), 0);
    assert_int_equal(txnlog_truncate(s.log, zxid_of(logged), &err), 0);
    store_release(&s);
}

static void refuse(struct disk *d, int expected, const char *text)
{
    struct store s;
    struct error err = {.text = ""};

    assert_int_equal(store_open(d, &config, 2000, &s, &err), expected);
    if (strstr(err.text, text) == NULL) {
        print_error("%s\n", err.text);
    }
    assert_non_null(strstr(err.text, text));
}

static bool exists(struct disk *d, const char *name)
{
    struct disk_file *f;

    if (d->ops->open(d, name, 0, &f) != 0) {
        return false;
    }
    d->ops->close(f);
    return true;
}

static void test_empty(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct store s;
    struct error err;

    (void)state;
    assert_int_equal(store_open(d, NULL, 1000, &s, &err), 0);
    assert_int_equal(s.epochs.sid, 0);
    assert_string_equal(err.text, "");
    check_store(&s, 0, 0);
    store_release(&s);
    crash_disk_free(d);
}

/* Killed while it looked whether there is room on a full disk. */
static void test_probe_left_behind(void **state)
{
    struct disk *d = disk_with_log(1, 50, 3);
    struct disk_file *file;
    uint8_t *bytes;
    size_t len;

    (void)state;
    assert_int_equal(d->ops->open(d, "room.tmp", DISK_CREATE, &file), 0);
    assert_int_equal(d->ops->pwrite(file, "0", 1, 0), 0);
    d->ops->close(file);
    open_and_check(d, 47, 50);
    assert_int_equal(disk_read_all(d, "room.tmp", 10, &bytes, &len), -ENOENT);
    crash_disk_free(d);
}

/* Lesson 13: what is not known to be committed is the tail. */
static void test_log_only(void **state)
{
    struct disk *d = disk_with_log(1, 50, 3);
    struct store s;

    (void)state;
    open_and_check(d, 47, 50);
    assert_int_equal(store_open(d, &config, 0, &s, NULL), 0);
    assert_int_equal(s.n_entries, 3); /* however small the window */
    store_release(&s);
    assert_int_equal(store_open(d, &config, SIZE_MAX, &s, NULL), 0);
    assert_int_equal(s.n_entries, 50);
    assert_int_equal(s.epochs.accepted_epoch, 1);
    check_store(&s, 47, 50);
    store_drop_entries(&s);
    assert_int_equal(s.n_entries, 0);
    store_release(&s);
    crash_disk_free(d);
}

static void test_snapshot_and_log(void **state)
{
    struct disk *d = disk_with_log(1, 50, 20);

    (void)state;
    assert_int_equal(save_snapshot(d, 10), 0);
    open_and_check(d, 30, 50);
    assert_int_equal(save_snapshot(d, 40), 0); /* a snapshot is committed */
    open_and_check(d, 40, 50);
    assert_int_equal(save_snapshot(d, 50), 0);
    open_and_check(d, 50, 50);
    crash_disk_free(d);
}

/* The log begins exactly behind the snapshot, as after a SNAP. */
static void test_log_right_behind_snapshot(void **state)
{
    struct disk *d = disk_with_log(31, 40, 2);

    (void)state;
    assert_int_equal(save_snapshot(d, 30), 0);
    open_and_check(d, 38, 40);
    crash_disk_free(d);
}

static void test_gap_is_damage(void **state)
{
    struct disk *d = disk_with_log(31, 40, 2);

    (void)state;
    refuse(d, -EBADMSG, "the log begins at 0x10000001f");
    assert_int_equal(save_snapshot(d, 29), 0);
    refuse(d, -EBADMSG, "the newest whole snapshot is at 0x10000001d");
    crash_disk_free(d);
}

/* What a crash inside txnlog_reset() leaves: the snapshot that replaces the log, and the log or a part of it. */
static void test_log_ends_before_snapshot(void **state)
{
    struct disk *d = disk_with_log(1, 20, 2);
    struct store s;

    (void)state;
    assert_int_equal(save_snapshot(d, 60), 0);
    open_and_check(d, 60, 60);
    assert_int_equal(store_open(d, &config, 2000, &s, NULL), 0);
    assert_int_equal(s.n_entries, 0);
    assert_int_equal(txnlog_bytes(s.log), 0);
    assert_int_equal(append(s.log, 62, 62, 1), -EINVAL);
    assert_int_equal(append(s.log, 61, 65, 1), 0);
    store_release(&s);
    open_and_check(d, 64, 65);
    crash_disk_free(d);
}

static void test_log_of_another_history(void **state)
{
    struct disk *d = disk_with_log(1, 20, 2);
    struct txnlog *log;
    struct buf *body = body_of(30);
    struct txnlog_record r = {.zxid = zxid_of(30),
                              .zxid_prev = zxid_of(20),
                              .zxid_committed = zxid_of(20),
                              .payload = body->bytes,
                              .len = body->len};

    (void)state;
    assert_int_equal(txnlog_open(d, &config, NULL, NULL, &log, NULL), 0);
    assert_int_equal(txnlog_append(log, &r, 1, NULL), 0);
    txnlog_close(log);
    buf_unref(body);
    assert_int_equal(save_snapshot(d, 25), 0);
    open_and_check(d, 25, 25);
    crash_disk_free(d);
}

static void test_older_snapshot_replaces_a_damaged_one(void **state)
{
    struct disk *d = disk_with_log(1, 50, 2);
    struct store s;
    struct error err;

    (void)state;
    assert_int_equal(save_snapshot(d, 10), 0);
    assert_int_equal(save_snapshot(d, 30), 0);
    assert_int_equal(save_snapshot(d, 40), 0);
    assert_int_equal(crash_disk_flip(d, "snapshot.100000028", 100, 1), 0);
    assert_int_equal(crash_disk_flip(d, "snapshot.10000001e", 100, 1), 0);
    assert_int_equal(store_open(d, &config, 2000, &s, &err), 0);
    assert_non_null(strstr(err.text, "snapshot.100000028"));
    check_store(&s, 48, 50);
    store_release(&s);
    assert_false(exists(d, "snapshot.100000028"));
    assert_true(exists(d, "damaged.snapshot.100000028"));
    assert_true(exists(d, "damaged.snapshot.10000001e"));
    /* Without any snapshot, a log from the very beginning does. */
    assert_int_equal(crash_disk_flip(d, "snapshot.10000000a", 100, 1), 0);
    open_and_check(d, 48, 50);
    crash_disk_free(d);
}

static void test_damaged_snapshot_without_bridge(void **state)
{
    struct disk *d = disk_with_log(1, 20, 2);

    (void)state;
    assert_int_equal(save_snapshot(d, 10), 0);
    assert_int_equal(save_snapshot(d, 30), 0);
    assert_int_equal(crash_disk_flip(d, "snapshot.10000001e", 100, 1), 0);
    refuse(d, -EBADMSG, "snapshot.10000001e");
    refuse(d, -EBADMSG, "let it synchronize again"); /* nothing was changed by the refusal */
    crash_disk_free(d);
}

static void test_history_without_epochs(void **state)
{
    struct disk *d = disk_with_log(1, 5, 2);

    (void)state;
    assert_int_equal(d->ops->unlink(d, "epochs"), 0);
    refuse(d, -EBADMSG, "no file epochs");
    crash_disk_free(d);
}

static void test_not_a_transaction(void **state)
{
    struct disk *d = disk_with_log(1, 5, 2);
    struct txnlog *log;
    struct txnlog_record r = {.zxid = zxid_of(6),
                              .zxid_prev = zxid_of(5),
                              .zxid_committed = zxid_of(6),
                              .payload = (const uint8_t *)"x",
                              .len = 1};

    (void)state;
    assert_int_equal(txnlog_open(d, &config, NULL, NULL, &log, NULL), 0);
    assert_int_equal(txnlog_append(log, &r, 1, NULL), 0);
    txnlog_close(log);
    refuse(d, -EBADMSG, "0x100000006");
    crash_disk_free(d);
}

static void test_purge(void **state)
{
    struct disk *d = disk_with_log(1, 100, 2);
    struct store s;
    struct error err;

    (void)state;
    assert_int_equal(save_snapshot(d, 30), 0);
    assert_int_equal(save_snapshot(d, 60), 0);
    assert_int_equal(save_snapshot(d, 90), 0);
    assert_int_equal(disk_replace(d, "snapshot.100000020.tmp", "x", 1), 0);
    assert_int_equal(disk_replace(d, "snapshot.100000077.tmp", "x", 1), 0);
    assert_int_equal(disk_replace(d, "snapshot.notes", "x", 1), 0);
    assert_int_equal(store_open(d, &config, 2000, &s, &err), 0);
    assert_int_equal(store_purge(d, s.log, 2, &err), 0);
    store_release(&s);
    assert_false(exists(d, "snapshot.10000001e"));
    assert_true(exists(d, "snapshot.10000003c"));
    assert_true(exists(d, "snapshot.10000005a"));
    assert_false(exists(d, "snapshot.100000020.tmp"));
    assert_true(exists(d, "snapshot.100000077.tmp")); /* may be on its way */
    assert_true(exists(d, "snapshot.notes"));
    assert_false(exists(d, "log.0000000100000001"));
    open_and_check(d, 98, 100);
    /* The older of the two is still good for everything. */
    assert_int_equal(crash_disk_flip(d, "snapshot.10000005a", 50, 1), 0);
    open_and_check(d, 98, 100);
    crash_disk_free(d);
}

/* A peer that logs, snapshots, purges, and takes a SNAP, crashed at every operation: what it acknowledged is there,
 * and the state is exactly that of the history. */
static int live(struct store *s, struct disk *d, uint64_t *acknowledged)
{
    uint64_t i;
    int rv = 0;

    for (i = 11; i <= 60 && rv == 0; i += 5) {
        rv = append(s->log, i, i + 4, 2);
        *acknowledged = rv == 0 ? i + 4 : *acknowledged;
        if (rv == 0 && i % 20 == 1) {
            rv = save_snapshot(d, i);
        }
        if (rv == 0 && i % 20 == 11) {
            rv = store_purge(d, s->log, 1, NULL);
        }
    }
    if (rv == 0) {
        rv = save_snapshot(d, 80);
    }
    if (rv == 0) {
        rv = txnlog_reset(s->log, zxid_of(80), NULL);
    }
    *acknowledged = rv == 0 ? 80 : *acknowledged;
    if (rv == 0) {
        rv = append(s->log, 81, 85, 2);
    }
    *acknowledged = rv == 0 ? 85 : *acknowledged;
    return rv;
}

static void test_crash_everywhere(void **state)
{
    struct error err;
    struct store s;
    uint64_t acknowledged;
    uint64_t applied;
    uint64_t logged;
    uint64_t seed;
    uint64_t k;
    bool done = false;

    (void)state;
    for (k = 0; !done; k++) {
        for (seed = 0; seed < 4; seed++) {
            struct disk *d = crash_disk_new(k * 1000 + seed);

            assert_int_equal(epochs_save(d, &promised, NULL), 0);
            assert_int_equal(store_open(d, &config, 2000, &s, &err), 0);
            assert_int_equal(append(s.log, 1, 10, 2), 0);
            acknowledged = 10;
            crash_disk_crash_after(d, k);
            done = live(&s, d, &acknowledged) == 0;
            store_release(&s);
            crash_disk_restart(d);
            err.text[0] = '\0';
            if (store_open(d, &config, 2000, &s, &err) != 0) {
                fail_msg("crash at %u, seed %u: %s", (unsigned)k, (unsigned)seed, err.text);
            }
            applied = state_zxid(s.state) - zxid_of(1) + 1;
            logged = s.zxid_logged - zxid_of(1) + 1;
            assert_true(logged >= acknowledged);
            assert_true(applied + 2 >= logged);
            store_release(&s);
            open_and_check(d, applied, logged);
            crash_disk_free(d);
        }
    }
    assert_true(k > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_probe_left_behind),
        cmocka_unit_test(test_log_only),
        cmocka_unit_test(test_snapshot_and_log),
        cmocka_unit_test(test_log_right_behind_snapshot),
        cmocka_unit_test(test_gap_is_damage),
        cmocka_unit_test(test_log_ends_before_snapshot),
        cmocka_unit_test(test_log_of_another_history),
        cmocka_unit_test(test_older_snapshot_replaces_a_damaged_one),
        cmocka_unit_test(test_damaged_snapshot_without_bridge),
        cmocka_unit_test(test_history_without_epochs),
        cmocka_unit_test(test_not_a_transaction),
        cmocka_unit_test(test_purge),
        cmocka_unit_test(test_crash_everywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
