/* The table of disk functions, kept by the real disk and by the one that crashes; and what a crash may take. */
#include "store/disk.h"
#include "store/disk_null.h"
#include "store/error.h"
#include "store/store.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int count_names(void *arg, const char *name)
{
    int *n = arg;

    if (strcmp(name, "lock") != 0) {
        (*n)++;
    }
    return 0;
}

static int stop_at_once(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return -EINTR;
}

static int n_files(struct disk *d)
{
    int n = 0;

    assert_int_equal(d->ops->list(d, count_names, &n), 0);
    return n;
}

/* What every disk must do alike. */
static void check_table(struct disk *d)
{
    struct disk_file *f;
    struct disk_file *g;
    uint8_t *all;
    char bytes[16];
    uint64_t size;
    size_t len;
    int n = 0;

    assert_int_equal(d->ops->open(d, "a", 0, &f), -ENOENT);
    assert_int_equal(d->ops->open(d, "a", DISK_CREATE | DISK_EXCL, &f), 0);
    assert_int_equal(d->ops->open(d, "a", DISK_CREATE | DISK_EXCL, &g), -EEXIST);
    assert_int_equal(d->ops->pwrite(f, "hello", 5, 3), 0);
    assert_int_equal(d->ops->size(f, &size), 0);
    assert_int_equal(size, 8);
    assert_int_equal(d->ops->pread(f, bytes, sizeof(bytes), 0, &len), 0);
    assert_int_equal(len, 8);
    assert_memory_equal(bytes, "\0\0\0hello", 8);
    assert_int_equal(d->ops->pread(f, bytes, sizeof(bytes), 100, &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(d->ops->truncate(f, 4), 0);
    assert_int_equal(d->ops->truncate(f, 6), 0);
    assert_int_equal(d->ops->sync(f), 0);
    assert_int_equal(d->ops->pread(f, bytes, sizeof(bytes), 0, &len), 0);
    assert_int_equal(len, 6);
    assert_memory_equal(bytes, "\0\0\0h\0\0", 6);
    d->ops->close(f);

    assert_int_equal(d->ops->rename(d, "absent", "b"), -ENOENT);
    assert_int_equal(d->ops->rename(d, "a", "b"), 0);
    assert_int_equal(d->ops->sync_dir(d), 0);
    assert_int_equal(d->ops->open(d, "a", 0, &f), -ENOENT);
    assert_int_equal(n_files(d), 1);
    assert_int_equal(d->ops->list(d, stop_at_once, &n), -EINTR);
    assert_int_equal(d->ops->unlink(d, "absent"), -ENOENT);

    assert_int_equal(disk_replace(d, "b", "new contents", 12), 0);
    assert_int_equal(disk_read_all(d, "b", 11, &all, &len), -EFBIG);
    assert_int_equal(disk_read_all(d, "b", 12, &all, &len), 0);
    assert_int_equal(len, 12);
    assert_memory_equal(all, "new contents", 12);
    free(all);
    assert_int_equal(disk_read_all(d, "absent", 12, &all, &len), -ENOENT);
    assert_int_equal(n_files(d), 1);
    assert_int_equal(d->ops->unlink(d, "b"), 0);
    assert_int_equal(d->ops->sync_dir(d), 0);
    assert_int_equal(n_files(d), 0);
}

static void test_posix_table(void **state)
{
    char dir[] = "/tmp/test_disk.XXXXXX";
    char path[64];
    struct disk *d;
    struct disk *other;

    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/znodefs", dir);
    assert_int_equal(disk_posix_new("/nonexistent/znodefs", true, &d), -ENOENT);
    assert_int_equal(disk_posix_new(path, true, &d), 0);
    assert_int_equal(disk_posix_new(path, true, &other), -EWOULDBLOCK);
    assert_int_equal(disk_posix_new(path, false, &other), 0);
    disk_posix_free(other);
    check_table(d);
    disk_posix_free(d);
    assert_int_equal(disk_posix_new(path, true, &d), 0);
    assert_int_equal(d->ops->unlink(d, "lock"), 0);
    disk_posix_free(d);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void test_crash_table(void **state)
{
    struct disk *d = crash_disk_new(1);

    (void)state;
    check_table(d);
    crash_disk_free(d);
}

/* Of a replaced file there is always the old whole or the new whole, and after it returned only the new. */
static void test_replace_survives_every_crash(void **state)
{
    static const char old_text[] = "the old text";
    char new_text[3000];
    uint8_t *all;
    size_t len;
    uint64_t k;
    int rv;

    (void)state;
    memset(new_text, 'n', sizeof(new_text));
    for (k = 0; k < 8 * 50; k++) {
        struct disk *d = crash_disk_new(k);

        assert_int_equal(disk_replace(d, "f", old_text, sizeof(old_text)), 0);
        crash_disk_crash_after(d, k % 8);
        rv = disk_replace(d, "f", new_text, sizeof(new_text));
        crash_disk_restart(d);
        assert_int_equal(disk_read_all(d, "f", 4096, &all, &len), 0);
        if (rv == 0 || len != sizeof(old_text)) {
            assert_int_equal(len, sizeof(new_text));
            assert_memory_equal(all, new_text, len);
        } else {
            assert_memory_equal(all, old_text, len);
        }
        free(all);
        crash_disk_free(d);
    }
}

/* All that a seed may do to one unsynced write is seen: it is whole, gone, or torn in sectors. */
static void test_crash_tears(void **state)
{
    uint8_t ones[4 * CRASH_DISK_SECTOR];
    bool seen[3] = {false, false, false};
    uint64_t seed;

    (void)state;
    memset(ones, 1, sizeof(ones));
    for (seed = 0; seed < 200; seed++) {
        struct disk *d = crash_disk_new(seed);
        struct disk_file *f;
        uint8_t *all;
        size_t len;
        size_t n = 0;
        size_t i;

        assert_int_equal(d->ops->open(d, "f", DISK_CREATE, &f), 0);
        assert_int_equal(d->ops->sync_dir(d), 0);
        assert_int_equal(d->ops->pwrite(f, ones, sizeof(ones), 0), 0);
        crash_disk_crash(d);
        assert_true(crash_disk_is_dead(d));
        assert_int_equal(d->ops->sync(f), -EIO);
        crash_disk_restart(d);
        assert_int_equal(d->ops->sync(f), -EIO); /* a handle of the former life */
        d->ops->close(f);
        assert_int_equal(disk_read_all(d, "f", sizeof(ones), &all, &len), 0);
        for (i = 0; i < len; i++) {
            n += all[i];
        }
        assert_int_equal(n % CRASH_DISK_SECTOR, 0);
        seen[n == 0 ? 0 : n == sizeof(ones) ? 1 : 2] = true;
        free(all);
        crash_disk_free(d);
    }
    assert_true(seen[0] && seen[1] && seen[2]);
}

static void test_crash_faults(void **state)
{
    struct disk *d = crash_disk_new(5);
    struct disk_file *f;
    uint8_t *all;
    size_t len;
    uint64_t ops;

    (void)state;
    assert_int_equal(d->ops->open(d, "f", DISK_CREATE, &f), 0);
    crash_disk_set_free(d, 10);
    assert_int_equal(d->ops->pwrite(f, "0123456", 7, 0), 0);
    assert_int_equal(d->ops->pwrite(f, "789abc", 6, 7), -ENOSPC);
    assert_int_equal(d->ops->pwrite(f, "ABCDEFGHIJ", 10, 0), 0); /* overwriting needs no room */
    assert_int_equal(d->ops->truncate(f, 5), 0);
    assert_int_equal(d->ops->pwrite(f, "fghij", 5, 5), 0);
    crash_disk_set_free(d, CRASH_DISK_UNLIMITED);
    assert_int_equal(d->ops->pwrite(f, "klmno", 5, 10), 0);
    crash_disk_fail_sync_after(d, 1);
    assert_int_equal(d->ops->sync(f), 0);
    assert_int_equal(d->ops->sync_dir(d), -EIO);
    assert_int_equal(d->ops->sync_dir(d), 0);
    assert_int_equal(crash_disk_flip(d, "f", 0, 0x20), 0);
    assert_int_equal(crash_disk_flip(d, "f", 15, 0x20), -EINVAL);
    assert_int_equal(crash_disk_flip(d, "absent", 0, 0x20), -ENOENT);
    d->ops->close(f);
    assert_int_equal(disk_read_all(d, "f", 100, &all, &len), 0);
    assert_int_equal(len, 15);
    assert_memory_equal(all, "aBCDEfghijklmno", 15);
    free(all);

    ops = crash_disk_ops(d);
    crash_disk_crash_after(d, 1);
    assert_int_equal(d->ops->sync_dir(d), 0);
    assert_int_equal(d->ops->sync_dir(d), -EIO);
    assert_int_equal(d->ops->unlink(d, "f"), -EIO);
    assert_int_equal(crash_disk_ops(d), ops + 2);
    crash_disk_free(d);
}

static void append(struct txnlog *log, uint64_t zxid, uint64_t zxid_prev)
{
    struct txnlog_record r = {.zxid = zxid, .zxid_prev = zxid_prev, .payload = (const uint8_t *)"x", .len = 1};
    struct error err;

    assert_int_equal(txnlog_append(log, &r, 1, &err), 0);
    assert_int_equal(txnlog_sync(log, &err), 0);
}

/* A store works on it: the log goes on after a truncation, a snapshot and new epochs, and nothing is ever there. */
static void test_null(void **state)
{
    struct disk *d = disk_null_new();
    struct epochs e = {.sid = 7};
    struct txnlog_config config = {.segment_bytes = 8192, .prealloc_bytes = 4096};
    struct store store;
    struct error err = {""};
    uint64_t zxid;

    (void)state;
    assert_int_equal(store_open(d, &config, 1 << 20, &store, &err), 0);
    assert_int_equal(store.epochs.sid, 0);
    assert_int_equal(epochs_save(d, &e, &err), 0);
    for (zxid = 1; zxid < 200; zxid++) {
        append(store.log, zxid, zxid - 1);
    }
    assert_int_equal(txnlog_truncate(store.log, 150, &err), 0);
    append(store.log, 300, 150);
    assert_int_equal(snapshot_save(d, store.state, &err), 0);
    assert_int_equal(txnlog_reset(store.log, 1000, &err), 0);
    append(store.log, 1001, 1000);
    assert_int_equal(store_purge(d, store.log, 3, &err), 0);
    store_release(&store);
    assert_int_equal(n_files(d), 0);
    assert_int_equal(epochs_load(d, &e, &err), -ENOENT);
    disk_null_free(d);
}

static void test_error_text(void **state)
{
    struct error err;
    char text[2 * ERROR_MAX];

    (void)state;
    assert_int_equal(error_set(NULL, -EIO, "nobody listens"), -EIO);
    assert_int_equal(error_set(&err, -EIO, "bad checksum at offset %d", 8192), -EIO);
    assert_int_equal(error_wrap(&err, -EIO, "load %s", "snapshot.300000012"), -EIO);
    assert_string_equal(err.text, "load snapshot.300000012: bad checksum at offset 8192");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(error_wrap(&err, -EIO, "%s", text), -EIO);
    assert_int_equal(strlen(err.text), ERROR_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_posix_table),
        cmocka_unit_test(test_crash_table),
        cmocka_unit_test(test_replace_survives_every_crash),
        cmocka_unit_test(test_crash_tears),
        cmocka_unit_test(test_crash_faults),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_error_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
