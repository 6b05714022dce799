/*
 * The transaction log: what it holds is a prefix of what was appended, at least as long as what was synced, after
 * every crash, tear and flipped bit that the crash disk can make.
 */
#include "store/le.h"
#include "store/txnlog.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#define PAYLOAD_MAX 700

static const struct txnlog_config small = {.segment_bytes = 8192, .prealloc_bytes = 4096};
static const struct txnlog_config one_segment = {.segment_bytes = 1 << 20, .prealloc_bytes = 4096};

/* The record number `i` (from 1) of the history `branch`: its zxid, length and bytes follow from these. */
static uint64_t zxid_of(unsigned branch, uint64_t i)
{
    return ((uint64_t)branch << 32) + i;
}

static uint32_t fill(uint64_t zxid, uint8_t payload[PAYLOAD_MAX])
{
    uint32_t len = (uint32_t)(zxid * 37 % PAYLOAD_MAX);

    memset(payload, (int)(zxid * 11 + (zxid >> 32)), len);
    return len;
}

/* Appends records `from`..`to` of branch 1, the first one behind `prev`. */
static int append(struct txnlog *log, uint64_t prev, uint64_t from, uint64_t to, struct error *err)
{
    static uint8_t payloads[64][PAYLOAD_MAX];
    struct txnlog_record records[64];
    size_t n;
    int rv = 0;

    while (from <= to && rv == 0) {
        for (n = 0; n < 64 && from <= to; n++, from++) {
            records[n].zxid = zxid_of(1, from);
            records[n].zxid_prev = prev;
            records[n].zxid_committed = prev;
            records[n].len = fill(records[n].zxid, payloads[n]);
            records[n].payload = payloads[n];
            prev = records[n].zxid;
        }
        rv = txnlog_append(log, records, n, err);
    }
    return rv;
}

static int append_next(struct txnlog *log, uint64_t from, uint64_t to, struct error *err)
{
    return append(log, from == 1 ? 0 : zxid_of(1, from - 1), from, to, err);
}

struct seen {
    uint64_t n;
    uint64_t first;
    uint64_t last;
};

static int check_record(void *arg, const struct txnlog_record *r)
{
    struct seen *seen = arg;
    uint8_t payload[PAYLOAD_MAX];

    assert_int_equal(r->len, fill(r->zxid, payload));
    assert_memory_equal(r->payload, payload, r->len);
    assert_int_equal(r->zxid_committed, r->zxid_prev);
    if (seen->n == 0) {
        seen->first = r->zxid;
    } else {
        assert_int_equal(r->zxid_prev, seen->last);
    }
    seen->last = r->zxid;
    seen->n++;
    return 0;
}

static int reopen(struct disk *d, const struct txnlog_config *config, struct seen *seen, struct txnlog **log,
                  struct error *err)
{
    memset(seen, 0, sizeof(*seen));
    return txnlog_open(d, config, check_record, seen, log, err);
}

static int print_name(void *arg, const char *name)
{
    char *out = arg;

    if (strncmp(name, "log.", 4) == 0 && strcmp(name, out) > 0) {
        (void)snprintf(out, 64, "%s", name);
    }
    return 0;
}

static void newest_segment(struct disk *d, char name[64])
{
    name[0] = '\0';
    assert_int_equal(d->ops->list(d, print_name, name), 0);
}

static uint64_t size_of(struct disk *d, const char *name)
{
    struct disk_file *f;
    uint64_t size;

    assert_int_equal(d->ops->open(d, name, 0, &f), 0);
    assert_int_equal(d->ops->size(f, &size), 0);
    d->ops->close(f);
    return size;
}

static void test_append_and_reopen(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct seen seen;
    struct error err;
    uint64_t i;

    (void)state;
    assert_int_equal(reopen(d, &small, &seen, &log, &err), 0);
    assert_int_equal(txnlog_last_zxid(log), 0);
    for (i = 1; i <= 100; i += 4) {
        assert_int_equal(append_next(log, i, i + 3, &err), 0);
        assert_int_equal(txnlog_sync(log, &err), 0);
    }
    assert_int_equal(txnlog_last_zxid(log), zxid_of(1, 100));
    assert_true(txnlog_bytes(log) > 100 * 300);
    txnlog_close(log);
    assert_int_equal(reopen(d, &small, &seen, &log, &err), 0);
    assert_int_equal(seen.n, 100);
    assert_int_equal(seen.first, zxid_of(1, 1));
    assert_int_equal(append_next(log, 101, 200, &err), 0); /* several segments in one append */
    assert_int_equal(txnlog_sync(log, &err), 0);
    txnlog_close(log);
    assert_int_equal(reopen(d, NULL, &seen, &log, &err), 0);
    assert_int_equal(seen.n, 200);
    txnlog_close(log);
    crash_disk_free(d);
}

static void test_discontinuous_is_refused(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct seen seen;
    struct error err;

    (void)state;
    assert_int_equal(reopen(d, &small, &seen, &log, &err), 0);
    assert_int_equal(append_next(log, 1, 3, &err), 0);
    assert_int_equal(append(log, zxid_of(1, 2), 4, 4, &err), -EINVAL);
    assert_int_equal(append(log, zxid_of(1, 4), 4, 4, &err), -EINVAL);
    assert_int_equal(txnlog_truncate(log, zxid_of(1, 9), &err), -EINVAL);
    assert_int_equal(append_next(log, 4, 5, &err), 0); /* a refusal changes nothing */
    assert_int_equal(txnlog_reset(log, zxid_of(1, 8), &err), 0);
    assert_int_equal(append_next(log, 6, 6, &err), -EINVAL);
    assert_int_equal(append_next(log, 9, 9, &err), 0);
    txnlog_close(log);
    crash_disk_free(d);
}

/* Cuts the file at every byte of an unsynced batch: what is left is a prefix, and the log goes on from there. */
static void test_torn_at_every_byte(void **state)
{
    struct seen seen;
    struct error err;
    struct txnlog *log;
    char name[64];
    uint64_t synced_size = 0;
    uint64_t size = 0;
    uint64_t cut;

    (void)state;
    for (cut = 0; cut == 0 || cut <= size; cut = cut == 0 ? synced_size : cut + 1) {
        struct disk *d = crash_disk_new(1);
        struct disk_file *f;
        const struct txnlog_config no_zeros = {.segment_bytes = 1 << 20, .prealloc_bytes = 0};

        assert_int_equal(reopen(d, &no_zeros, &seen, &log, &err), 0);
        assert_int_equal(append_next(log, 1, 5, &err), 0);
        assert_int_equal(txnlog_sync(log, &err), 0);
        newest_segment(d, name);
        synced_size = size_of(d, name);
        assert_int_equal(append_next(log, 6, 7, &err), 0);
        size = size_of(d, name);
        txnlog_close(log);
        if (cut > 0) {
            assert_int_equal(d->ops->open(d, name, 0, &f), 0);
            assert_int_equal(d->ops->truncate(f, cut), 0);
            /* Every other time zeros stand where the rest was. */
            assert_int_equal(cut % 2 == 0 ? d->ops->truncate(f, size + 4096) : 0, 0);
            d->ops->close(f);
            assert_int_equal(reopen(d, &no_zeros, &seen, &log, &err), 0);
            assert_in_range(seen.n, 5, cut == size ? 7 : 6 + (cut % 2 == 0));
            assert_int_equal(append_next(log, seen.n + 1, 12, &err), 0);
            assert_int_equal(txnlog_sync(log, &err), 0);
            txnlog_close(log);
            assert_int_equal(reopen(d, &no_zeros, &seen, &log, &err), 0);
            assert_int_equal(seen.n, 12);
            txnlog_close(log);
        }
        crash_disk_free(d);
    }
}

/* Writes a log of three synced batches in one segment, the state that a machine leaves that just went away. */
static struct disk *three_batches(char name[64], uint64_t ends[3])
{
    struct disk *d = crash_disk_new(1);
    const struct txnlog_config no_zeros = {.segment_bytes = 1 << 20, .prealloc_bytes = 0};
    struct txnlog *log;
    struct seen seen;
    struct error err;
    uint64_t i;

    assert_int_equal(reopen(d, &no_zeros, &seen, &log, &err), 0);
    for (i = 0; i < 3; i++) {
        assert_int_equal(append_next(log, 2 * i + 1, 2 * i + 2, &err), 0);
        assert_int_equal(txnlog_sync(log, &err), 0);
        newest_segment(d, name);
        ends[i] = size_of(d, name);
    }
    txnlog_close(log);
    return d;
}

/* A flipped bit is damage, named with its file, unless it stands in the last batch, which no later record proves to
 * have been durable; wrong bytes are never handed over (check_record sees to that). */
static void test_flip_every_byte(void **state)
{
    uint64_t ends[3];
    uint64_t at;
    char name[64];
    struct disk *d = three_batches(name, ends);
    struct txnlog *log;
    struct seen seen;
    struct error err;
    int rv;

    (void)state;
    for (at = 0; at < ends[2]; at++) {
        if (at == 64) {
            at = 4080; /* the header's zeros are all alike */
        }
        assert_int_equal(crash_disk_flip(d, name, at, (uint8_t)(1u << at % 8)), 0);
        rv = reopen(d, &one_segment, &seen, &log, &err);
        if (rv == 0 && seen.n == 6) {
            /* Only padding may change unseen; the segment was not cut. */
            txnlog_close(log);
        } else if (at < ends[1]) {
            assert_int_equal(rv, -EBADMSG);
            assert_non_null(strstr(err.text, name));
            assert_non_null(strstr(err.text, "at offset"));
        } else {
            assert_int_equal(rv, 0);
            assert_in_range(seen.n, 4, 5);
            txnlog_close(log);
            crash_disk_free(d);
            d = three_batches(name, ends);
            continue;
        }
        assert_int_equal(crash_disk_flip(d, name, at, (uint8_t)(1u << at % 8)), 0);
    }
    crash_disk_free(d);
}

static void test_damage_in_an_older_segment(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct seen seen;
    struct error err;
    const char *first = "log.0000000100000001";
    uint64_t size;
    uint64_t at;

    (void)state;
    assert_int_equal(reopen(d, &small, &seen, &log, &err), 0);
    assert_int_equal(append_next(log, 1, 40, &err), 0);
    txnlog_close(log);
    size = size_of(d, first);
    assert_true(size > 8192);
    for (at = 4096; at < size; at += 101) {
        int rv;

        assert_int_equal(crash_disk_flip(d, first, at, 1), 0);
        rv = reopen(d, &small, &seen, &log, &err);
        assert_true(rv == -EBADMSG || (rv == 0 && seen.n == 40)); /* the latter in padding */
        if (rv == 0) {
            txnlog_close(log);
        }
        assert_int_equal(crash_disk_flip(d, first, at, 1), 0);
    }
    assert_int_equal(d->ops->unlink(d, first), 0);
    assert_int_equal(reopen(d, &small, &seen, &log, &err), 0); /* a purged beginning is no damage */
    txnlog_close(log);
    crash_disk_free(d);
}

/* A znode may hold a copy of a log: its records are not witnesses against a torn batch. */
static void test_a_log_inside_a_payload(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct error err;
    char name[64];
    uint64_t ends[3];
    struct disk *other = three_batches(name, ends);
    struct txnlog_record r = {.zxid = 1};
    uint8_t *bytes;
    size_t len;

    (void)state;
    assert_int_equal(disk_read_all(other, name, 1 << 20, &bytes, &len), 0);
    r.payload = bytes;
    r.len = (uint32_t)len;
    assert_int_equal(txnlog_open(d, &one_segment, NULL, NULL, &log, &err), 0);
    assert_int_equal(txnlog_append(log, &r, 1, &err), 0);
    txnlog_close(log);
    assert_int_equal(crash_disk_flip(d, "log.0000000000000001", 4096 + 4, 1), 0);
    assert_int_equal(txnlog_open(d, &one_segment, NULL, NULL, &log, &err), 0);
    assert_int_equal(txnlog_last_zxid(log), 0);
    txnlog_close(log);
    free(bytes);
    crash_disk_free(other);
    crash_disk_free(d);
}

static void test_newer_version(void **state)
{
    uint8_t header[4096] = "ZNODELOG";
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct error err;

    (void)state;
    le_put32(header + 8, 2);
    le_put64(header + 4088, XXH3_64bits(header, 4088));
    assert_int_equal(disk_replace(d, "log.0000000000000001", header, sizeof(header)), 0);
    assert_int_equal(txnlog_open(d, NULL, NULL, NULL, &log, &err), -EPROTO);
    assert_non_null(strstr(err.text, "version 2"));
    /* Names that are not ours are left alone. */
    assert_int_equal(disk_replace(d, "log.1", "x", 1), 0);
    assert_int_equal(d->ops->unlink(d, "log.0000000000000001"), 0);
    assert_int_equal(txnlog_open(d, NULL, NULL, NULL, &log, &err), 0);
    txnlog_close(log);
    assert_int_equal(size_of(d, "log.1"), 1);
    crash_disk_free(d);
}

static void test_a_failed_sync_is_final(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct seen seen;
    struct error err;

    (void)state;
    assert_int_equal(reopen(d, &one_segment, &seen, &log, &err), 0);
    assert_int_equal(append_next(log, 1, 3, &err), 0);
    crash_disk_fail_sync_after(d, 0);
    assert_int_equal(txnlog_sync(log, &err), -EIO);
    assert_int_equal(txnlog_sync(log, &err), -EIO);
    assert_int_equal(append_next(log, 4, 4, &err), -EIO);
    assert_int_equal(txnlog_truncate(log, 0, &err), -EIO);
    assert_int_equal(txnlog_reset(log, 0, &err), -EIO);
    assert_int_equal(txnlog_purge(log, 0, &err), -EIO);
    assert_non_null(strstr(err.text, "log.0000000100000001"));
    txnlog_close(log);
    crash_disk_free(d);
}

static void test_disk_full(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct txnlog *log;
    struct seen seen;
    struct error err;
    uint64_t i;
    int rv = 0;

    (void)state;
    assert_int_equal(reopen(d, &one_segment, &seen, &log, &err), 0);
    crash_disk_set_free(d, 4096 + 6000); /* no room for all the zeros, but for some records */
    for (i = 1; rv == 0; i++) {
        rv = append_next(log, i, i, &err);
        if (rv == 0) {
            assert_int_equal(txnlog_sync(log, &err), 0);
        }
    }
    assert_int_equal(rv, -ENOSPC);
    assert_in_range(i, 10, 30);
    assert_int_equal(txnlog_sync(log, &err), -ENOSPC);
    txnlog_close(log);
    assert_int_equal(reopen(d, &one_segment, &seen, &log, &err), 0);
    assert_int_equal(seen.n, i - 2);
    txnlog_close(log);
    crash_disk_free(d);
}

/* What the log must hold after a crash: at least `least` records, at most `most`, and a beginning no later than
 * `first`. */
struct bounds {
    uint64_t least;
    uint64_t most;
    uint64_t first;
};

typedef int (*scenario)(struct txnlog *log, struct bounds *b);

static int scenario_append(struct txnlog *log, struct bounds *b)
{
    uint64_t i;
    int rv = 0;

    for (i = 11; i <= 60 && rv == 0; i += 5) {
        b->most = i + 4;
        rv = append_next(log, i, i + 2, NULL);
        if (rv == 0) {
            rv = append_next(log, i + 3, i + 4, NULL);
        }
        if (rv == 0) {
            rv = txnlog_sync(log, NULL);
        }
        if (rv == 0) {
            b->least = i + 4;
        }
    }
    return rv;
}

/* Truncates far back, across segments, and into the segment being written, going on after each. */
static int scenario_truncate(struct txnlog *log, struct bounds *b)
{
    static const uint64_t cuts[] = {55, 31, 30, 7, 1};
    uint64_t cut;
    size_t i;
    int rv;

    rv = scenario_append(log, b);
    for (i = 0; i < sizeof(cuts) / sizeof(cuts[0]) && rv == 0; i++) {
        cut = cuts[i];
        b->least = cut;
        rv = txnlog_truncate(log, zxid_of(1, cut), NULL);
        if (rv == 0) {
            b->most = cut + 3;
            rv = append_next(log, cut + 1, cut + 3, NULL);
        }
    }
    return rv;
}

static int scenario_purge(struct txnlog *log, struct bounds *b)
{
    uint64_t upto;
    int rv;

    rv = scenario_append(log, b);
    for (upto = 5; upto < 60 && rv == 0; upto += 11) {
        b->first = upto + 1;
        rv = txnlog_purge(log, zxid_of(1, upto), NULL);
    }
    return rv;
}

static int scenario_reset(struct txnlog *log, struct bounds *b)
{
    int rv;

    rv = scenario_append(log, b);
    if (rv == 0) {
        b->least = 0;
        rv = txnlog_reset(log, zxid_of(1, 60), NULL);
    }
    if (rv == 0) {
        b->most = 62;
        b->first = 61;
        rv = append_next(log, 61, 62, NULL);
    }
    if (rv == 0) {
        rv = txnlog_sync(log, NULL);
    }
    b->least = rv == 0 ? 62 : b->least;
    return rv;
}

static void check_after_crash(struct disk *d, const struct bounds *b)
{
    struct txnlog *log;
    struct seen seen;
    struct error err = {.text = ""};
    uint64_t last;
    int rv;

    rv = reopen(d, &small, &seen, &log, &err);
    if (rv != 0) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(rv, 0);
    last = seen.n > 0 ? seen.last - zxid_of(1, 0) : 0;
    assert_in_range(last, b->least, b->most);
    assert_true(seen.n == 0 || seen.first <= zxid_of(1, b->first));
    assert_int_equal(txnlog_last_zxid(log), seen.last);
    /* It goes on from there, and the next life sees that. */
    if (seen.n > 0) {
        assert_int_equal(append_next(log, last + 1, last + 2, &err), 0);
        assert_int_equal(txnlog_sync(log, &err), 0);
    }
    txnlog_close(log);
    if (seen.n > 0) {
        assert_int_equal(reopen(d, &small, &seen, &log, &err), 0);
        assert_int_equal(seen.last, zxid_of(1, last + 2));
        txnlog_close(log);
    }
}

/* Runs `run` with a crash at its operation k, for every k and some seeds. */
static void crash_everywhere(scenario run)
{
    struct bounds b;
    struct seen seen;
    struct txnlog *log;
    uint64_t k;
    uint64_t seed;
    bool done = false;
    int rv;

    for (k = 0; !done; k++) {
        for (seed = 0; seed < 8; seed++) {
            struct disk *d = crash_disk_new(k * 1000 + seed);

            b = (struct bounds){.least = 10, .most = 10, .first = 1};
            assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
            assert_int_equal(append_next(log, 1, 10, NULL), 0);
            assert_int_equal(txnlog_sync(log, NULL), 0);
            crash_disk_crash_after(d, k);
            rv = run(log, &b);
            done = rv == 0;
            txnlog_close(log);
            crash_disk_restart(d);
            check_after_crash(d, &b);
            crash_disk_free(d);
        }
    }
    assert_true(k > 20);
}

static void test_crash_while_appending(void **state)
{
    (void)state;
    crash_everywhere(scenario_append);
}

static void test_crash_while_truncating(void **state)
{
    (void)state;
    crash_everywhere(scenario_truncate);
}

static void test_crash_while_purging(void **state)
{
    (void)state;
    crash_everywhere(scenario_purge);
}

static void test_crash_while_resetting(void **state)
{
    (void)state;
    crash_everywhere(scenario_reset);
}

/* Recovery itself is interrupted at each of its operations. */
static void test_crash_while_recovering(void **state)
{
    struct bounds b;
    struct seen seen;
    struct txnlog *log;
    uint64_t k;
    uint64_t seed;

    (void)state;
    for (seed = 0; seed < 300; seed++) {
        struct disk *d = crash_disk_new(seed);

        b = (struct bounds){.least = 10, .most = 10, .first = 1};
        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        assert_int_equal(append_next(log, 1, 10, NULL), 0);
        assert_int_equal(txnlog_sync(log, NULL), 0);
        crash_disk_crash_after(d, seed % 40);
        (void)scenario_append(log, &b);
        txnlog_close(log);
        crash_disk_restart(d);
        for (k = 0; k < 4; k++) {
            crash_disk_crash_after(d, k);
            if (reopen(d, &small, &seen, &log, NULL) == 0) {
                txnlog_close(log);
            }
            crash_disk_restart(d);
        }
        check_after_crash(d, &b);
        crash_disk_free(d);
    }
}

/* A process is killed, the next one opens the log, and then the machine goes: what the second one saw, and may have
 * told others, stays true, although the first one synced neither its records nor its removals. */
static void test_what_was_seen_stays(void **state)
{
    struct seen seen;
    struct txnlog *log;
    uint64_t seed;
    uint64_t n;

    (void)state;
    for (seed = 0; seed < 100; seed++) {
        struct disk *d = crash_disk_new(seed);
        char name[64];

        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        assert_int_equal(append_next(log, 1, 45, NULL), 0);
        txnlog_close(log);
        if (seed % 2 == 0) {
            newest_segment(d, name);
            assert_int_equal(d->ops->unlink(d, name), 0);
        }
        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        txnlog_close(log);
        n = seen.n;
        assert_in_range(n, 1, seed % 2 == 0 ? 44 : 45);
        crash_disk_restart(d);
        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        assert_int_equal(seen.n, n);
        txnlog_close(log);
        crash_disk_free(d);
    }
}

/* After a failed sync, records may be read that can never become durable by another sync: what the next life counts
 * as logged is there after the power went, all the same. */
static void test_failed_sync_and_restart(void **state)
{
    struct seen seen;
    struct txnlog *log;
    uint64_t seed;
    uint64_t n;
    int rv;

    (void)state;
    for (seed = 0; seed < 300; seed++) {
        struct disk *d = crash_disk_new(seed);

        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        assert_int_equal(append_next(log, 1, 10, NULL), 0);
        assert_int_equal(txnlog_sync(log, NULL), 0);
        crash_disk_fail_sync_after(d, seed % 4);
        rv = append_next(log, 11, 40, NULL);
        rv = rv == 0 ? txnlog_sync(log, NULL) : rv;
        rv = rv == 0 ? append_next(log, 41, 50, NULL) : rv;
        rv = rv == 0 ? txnlog_sync(log, NULL) : rv;
        assert_int_equal(txnlog_sync(log, NULL), rv);
        txnlog_close(log);
        crash_disk_fail_sync_after(d, CRASH_DISK_NEVER);
        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        n = seen.n;
        assert_in_range(n, 10, 50);
        assert_int_equal(append_next(log, n + 1, n + 2, NULL), 0);
        assert_int_equal(txnlog_sync(log, NULL), 0);
        txnlog_close(log);
        crash_disk_restart(d);
        assert_int_equal(reopen(d, &small, &seen, &log, NULL), 0);
        assert_int_equal(seen.n, n + 2);
        txnlog_close(log);
        crash_disk_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_and_reopen),
        cmocka_unit_test(test_discontinuous_is_refused),
        cmocka_unit_test(test_torn_at_every_byte),
        cmocka_unit_test(test_flip_every_byte),
        cmocka_unit_test(test_damage_in_an_older_segment),
        cmocka_unit_test(test_a_log_inside_a_payload),
        cmocka_unit_test(test_newer_version),
        cmocka_unit_test(test_a_failed_sync_is_final),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_crash_while_appending),
        cmocka_unit_test(test_crash_while_truncating),
        cmocka_unit_test(test_crash_while_purging),
        cmocka_unit_test(test_crash_while_resetting),
        cmocka_unit_test(test_crash_while_recovering),
        cmocka_unit_test(test_what_was_seen_stays),
        cmocka_unit_test(test_failed_sync_and_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
