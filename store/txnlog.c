/*
 * The log while it runs. Its bytes are drawn at the top of txnlog_record.c, its recovery in txnlog_recover.c.
 *
 * Of the last segment:
 *
 *   0     4096                    durable        end          zeroed
 *   | header | records a sync covered | records | zeros, or torn  |
 *
 * Removals go from the newest segment to the oldest (truncate, reset) or from the oldest to the newest (purge), the
 * directory synced after each: a crash in between leaves a log that only lacks an end, or a beginning, and is whole.
 */
#include "txnlog_int.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STAGE_BYTES ((size_t)1 << 20) /* staged records are written once they are this many bytes */
#define ZEROS_BYTES ((size_t)256 << 10)

static uint8_t zeros[ZEROS_BYTES]; /* never written to; not const so that it takes no room in the program */

static struct segment *last_segment(const struct txnlog *log)
{
    assert(log->n_segments > 0);
    return &log->segments[log->n_segments - 1];
}

/* The error that the log stops with. */
static int fail(struct txnlog *log, struct error *err, int rv, const char *what, uint64_t zxid_first)
{
    char name[SEGMENT_NAME_BYTES];

    assert(rv < 0);
    segment_name(zxid_first, name);
    log->failed = rv;
    (void)error_set(&log->failure, rv, "%s %s: %s", what, name, strerror(-rv));
    return error_set(err, rv, "%s", log->failure.text);
}

static int check_usable(const struct txnlog *log, struct error *err)
{
    if (log->failed == 0) {
        return 0;
    }
    return error_set(err, log->failed, "the log has stopped: %s", log->failure.text);
}

void txnlog_add_segment(struct txnlog *log, uint64_t zxid_first, uint64_t zxid_prev)
{
    struct segment seg = {.zxid_first = zxid_first, .zxid_prev = zxid_prev, .zxid_last = zxid_prev};

    if (log->n_segments == log->cap_segments) {
        log->cap_segments = log->cap_segments > 0 ? log->cap_segments * 2 : 8;
        log->segments = realloc(log->segments, log->cap_segments * sizeof(*log->segments));
        if (log->segments == NULL) {
            abort();
        }
    }
    log->segments[log->n_segments++] = seg;
}

int txnlog_open(struct disk *d, const struct txnlog_config *config, txnlog_record_cb cb, void *arg,
                struct txnlog **ret_log, struct error *err)
{
    struct txnlog *log = calloc(1, sizeof(*log));
    int rv;

    if (log == NULL) {
        abort();
    }
    log->disk = d;
    log->config.segment_bytes = TXNLOG_SEGMENT_BYTES_DEFAULT;
    log->config.prealloc_bytes = TXNLOG_PREALLOC_BYTES_DEFAULT;
    if (config != NULL) {
        log->config = *config;
    }
    rv = txnlog_recover(log, cb, arg, err);
    if (rv != 0) {
        txnlog_close(log);
        return rv;
    }
    *ret_log = log;
    return 0;
}

static void close_file(struct txnlog *log)
{
    if (log->file != NULL) {
        log->disk->ops->close(log->file);
        log->file = NULL;
    }
}

void txnlog_close(struct txnlog *log)
{
    if (log == NULL) {
        return;
    }
    close_file(log);
    free(log->segments);
    free(log->staged);
    free(log);
}

/*
 * Writes zeros up to `until`, so that later syncs overwrite blocks and need not journal new ones. This only makes
 * syncs faster: without room for zeros ahead, records still go wherever they fit.
 */
static int write_zeros(struct txnlog *log, uint64_t until)
{
    uint64_t size;
    uint64_t left;
    size_t len;
    int rv = 0;

    while (rv == 0 && log->zeroed < until) {
        left = until - log->zeroed;
        len = left < ZEROS_BYTES ? (size_t)left : ZEROS_BYTES;
        rv = log->disk->ops->pwrite(log->file, zeros, len, log->zeroed);
        if (rv == 0) {
            log->zeroed += len;
        }
    }
    if (rv == -ENOSPC || rv == -EDQUOT) {
        rv = log->disk->ops->size(log->file, &size);
        if (rv == 0 && size > log->zeroed) {
            log->zeroed = size;
        }
    }
    last_segment(log)->bytes = log->zeroed;
    return rv;
}

static uint64_t zeros_target(const struct txnlog *log)
{
    return (log->end + log->config.prealloc_bytes + 4095) & ~UINT64_C(4095);
}

static int write_new_segment(struct txnlog *log, uint64_t zxid_first, uint64_t zxid_prev)
{
    const struct disk_ops *ops = log->disk->ops;
    uint8_t header[SEGMENT_HEADER_BYTES];
    int rv;

    segment_header_encode(zxid_first, zxid_prev, header);
    rv = ops->pwrite(log->file, header, sizeof(header), 0);
    if (rv != 0) {
        return rv;
    }
    if (log->config.prealloc_bytes > 0) {
        rv = write_zeros(log, zeros_target(log));
        if (rv != 0) {
            return rv;
        }
    }
    /* Before any record: a bad header in front of records is damage, never a torn write. */
    rv = ops->sync(log->file);
    return rv != 0 ? rv : ops->sync_dir(log->disk);
}

static int create_segment(struct txnlog *log, uint64_t zxid_first, uint64_t zxid_prev, struct error *err)
{
    char name[SEGMENT_NAME_BYTES];
    int rv;

    segment_name(zxid_first, name);
    rv = log->disk->ops->open(log->disk, name, DISK_CREATE | DISK_EXCL, &log->file);
    if (rv != 0) {
        return fail(log, err, rv, "create", zxid_first);
    }
    txnlog_add_segment(log, zxid_first, zxid_prev);
    log->end = SEGMENT_HEADER_BYTES;
    log->durable = SEGMENT_HEADER_BYTES;
    log->zeroed = SEGMENT_HEADER_BYTES;
    last_segment(log)->bytes = SEGMENT_HEADER_BYTES;
    rv = write_new_segment(log, zxid_first, zxid_prev);
    return rv == 0 ? 0 : fail(log, err, rv, "begin", zxid_first);
}

/* Cuts the segment being written to its exact end and makes all of it durable. */
static int seal_segment(struct txnlog *log, struct error *err)
{
    struct segment *seg = last_segment(log);
    int rv;

    assert(log->staged_len == 0);
    rv = log->disk->ops->truncate(log->file, log->end);
    if (rv == 0) {
        rv = log->disk->ops->sync(log->file);
    }
    if (rv != 0) {
        return fail(log, err, rv, "seal", seg->zxid_first);
    }
    seg->bytes = log->end;
    close_file(log);
    return 0;
}

static int flush_staged(struct txnlog *log, struct error *err)
{
    int rv;

    if (log->staged_len == 0) {
        return 0;
    }
    rv = log->disk->ops->pwrite(log->file, log->staged, log->staged_len, log->end);
    if (rv != 0) {
        return fail(log, err, rv, "write", last_segment(log)->zxid_first);
    }
    log->end += log->staged_len;
    log->staged_len = 0;
    if (log->end > log->zeroed) {
        log->zeroed = log->end;
        last_segment(log)->bytes = log->end;
    }
    /* One huge record should not hold on to its memory for ever. */
    if (log->staged_cap > 4 * STAGE_BYTES) {
        free(log->staged);
        log->staged = NULL;
        log->staged_cap = 0;
    }
    return 0;
}

static void stage_reserve(struct txnlog *log, size_t more)
{
    size_t need = log->staged_len + more;

    if (need <= log->staged_cap) {
        return;
    }
    log->staged_cap = need < 65536 ? 65536 : need + need / 2;
    log->staged = realloc(log->staged, log->staged_cap);
    if (log->staged == NULL) {
        abort();
    }
}

/* Makes sure that a segment is open which may take one more record. */
static int ready_segment(struct txnlog *log, const struct txnlog_record *r, struct error *err)
{
    int rv;

    if (log->file != NULL && log->end + log->staged_len >= log->config.segment_bytes &&
        log->end + log->staged_len > SEGMENT_HEADER_BYTES) {
        rv = flush_staged(log, err);
        if (rv == 0) {
            rv = seal_segment(log, err);
        }
        if (rv != 0) {
            return rv;
        }
    }
    return log->file != NULL ? 0 : create_segment(log, r->zxid, r->zxid_prev, err);
}

static int stage_record(struct txnlog *log, const struct txnlog_record *r, struct error *err)
{
    size_t bytes = record_bytes(r->len);
    struct segment *seg;
    int rv;

    rv = ready_segment(log, r, err);
    if (rv != 0) {
        return rv;
    }
    seg = last_segment(log);
    stage_reserve(log, bytes);
    record_encode(r, seg->zxid_first, log->end + log->staged_len, log->durable, log->staged + log->staged_len);
    log->staged_len += bytes;
    seg->zxid_last = r->zxid;
    return log->staged_len < STAGE_BYTES ? 0 : flush_staged(log, err);
}

/* A record that does not continue the history is refused before anything is written (lesson 4). */
static int check_records(const struct txnlog *log, const struct txnlog_record *records, size_t n, struct error *err)
{
    bool has_prev = log->n_segments > 0 || log->has_base;
    uint64_t prev = log->n_segments > 0 ? last_segment(log)->zxid_last : log->base;
    size_t i;

    for (i = 0; i < n; i++) {
        if (records[i].len > TXNLOG_RECORD_MAX) {
            return error_set(err, -EINVAL, "record 0x%" PRIx64 " is too large (%" PRIu32 " bytes)", records[i].zxid,
                             records[i].len);
        }
        if ((has_prev && records[i].zxid_prev != prev) || records[i].zxid <= records[i].zxid_prev) {
            return error_set(err, -EINVAL, "record 0x%" PRIx64 " continues 0x%" PRIx64 ", the log ends at 0x%" PRIx64,
                             records[i].zxid, records[i].zxid_prev, prev);
        }
        has_prev = true;
        prev = records[i].zxid;
    }
    return 0;
}

int txnlog_append(struct txnlog *log, const struct txnlog_record *records, size_t n, struct error *err)
{
    size_t i;
    int rv;

    rv = check_usable(log, err);
    if (rv == 0) {
        rv = check_records(log, records, n, err);
    }
    for (i = 0; i < n && rv == 0; i++) {
        rv = stage_record(log, &records[i], err);
    }
    return rv != 0 ? rv : flush_staged(log, err);
}

int txnlog_sync(struct txnlog *log, struct error *err)
{
    int rv;

    rv = check_usable(log, err);
    if (rv != 0 || log->file == NULL || log->durable == log->end) {
        return rv;
    }
    if (log->zeroed - log->end < log->config.prealloc_bytes / 2) {
        rv = write_zeros(log, zeros_target(log));
    }
#ifndef ZNODEFS_MUTANT_SKIP_SYNC /* Seeded fault. */
    if (rv == 0) {
        rv = log->disk->ops->sync(log->file);
    }
#endif
    if (rv != 0) {
        return fail(log, err, rv, "sync", last_segment(log)->zxid_first);
    }
    log->durable = log->end;
    return 0;
}

static int remove_segment(struct txnlog *log, size_t i, struct error *err)
{
    uint64_t zxid_first = log->segments[i].zxid_first;
    char name[SEGMENT_NAME_BYTES];
    int rv;

    segment_name(zxid_first, name);
    rv = log->disk->ops->unlink(log->disk, name);
    if (rv == 0) {
        rv = log->disk->ops->sync_dir(log->disk);
    }
    if (rv != 0) {
        return fail(log, err, rv, "remove", zxid_first);
    }
    log->n_segments--;
    memmove(&log->segments[i], &log->segments[i + 1], (log->n_segments - i) * sizeof(*log->segments));
    return 0;
}

/* Removes the newest segments until `keep` are left. */
static int remove_newest(struct txnlog *log, size_t keep, struct error *err)
{
    int rv;

    txnlog_forget_marks(log);
    if (keep < log->n_segments) {
        close_file(log);
    }
    while (log->n_segments > keep) {
        rv = remove_segment(log, log->n_segments - 1, err);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

/* Where the record `zxid` of a segment ends; -EINVAL if it is not there. */
static int find_end(struct txnlog *log, const struct segment *seg, uint64_t zxid, uint64_t *ret_end, struct error *err)
{
    uint64_t offset = SEGMENT_HEADER_BYTES;
    struct txnlog_record r;
    struct scanner s;
    int rv;

    rv = scanner_open(log->disk, seg->zxid_first, &s, err);
    if (rv != 0) {
        return rv;
    }
    do {
        rv = scanner_record(&s, offset, &r, &offset, err);
    } while (rv == 1 && r.zxid < zxid);
#ifdef ZNODEFS_MUTANT_TRUNCATE_TOO_FEW
    if (rv == 1 && r.zxid == zxid) {
        (void)scanner_record(&s, offset, &r, &offset, err); /* Seeded fault: one more record stays. */
        r.zxid = zxid;
    }
#endif
    scanner_close(&s);
    if (rv < 0) {
        return rv;
    }
    if (rv == 0 || r.zxid != zxid) {
        return error_set(err, -EINVAL, "truncate the log after 0x%" PRIx64 ": it has no such record", zxid);
    }
    *ret_end = offset;
    return 0;
}

/* Cuts the last segment, open or not, at `end`; it is sealed then. */
static int cut_segment(struct txnlog *log, uint64_t zxid, uint64_t end, struct error *err)
{
    struct segment *seg = last_segment(log);
    char name[SEGMENT_NAME_BYTES];
    int rv;

    if (log->file == NULL) {
        segment_name(seg->zxid_first, name);
        rv = log->disk->ops->open(log->disk, name, 0, &log->file);
        if (rv != 0) {
            return fail(log, err, rv, "open", seg->zxid_first);
        }
    }
    log->end = end;
    seg->zxid_last = zxid;
    return seal_segment(log, err);
}

int txnlog_reset(struct txnlog *log, uint64_t zxid, struct error *err)
{
    int rv;

    rv = check_usable(log, err);
    if (rv == 0) {
        rv = remove_newest(log, 0, err);
    }
    if (rv != 0) {
        return rv;
    }
    log->base = zxid;
    log->has_base = true;
    return 0;
}

int txnlog_truncate(struct txnlog *log, uint64_t zxid, struct error *err)
{
    uint64_t end = 0;
    size_t i;
    int rv;

    rv = check_usable(log, err);
    if (rv != 0) {
        return rv;
    }
    /* Where nothing is kept there is nothing to be cut: only where the history ends is remembered. */
    if (log->disk->forgets || log->n_segments == 0 || zxid <= log->segments[0].zxid_prev) {
        return txnlog_reset(log, zxid, err);
    }
    for (i = log->n_segments - 1; log->segments[i].zxid_prev >= zxid; i--) {
        assert(i > 0);
    }
    if (i + 1 == log->n_segments && log->segments[i].zxid_last == zxid) {
        return 0;
    }
    /* Before anything is removed, so that a refusal changes nothing. */
    rv = find_end(log, &log->segments[i], zxid, &end, err);
    if (rv == 0) {
        rv = remove_newest(log, i + 1, err);
    }
    if (rv != 0) {
        return rv;
    }
    return cut_segment(log, zxid, end, err);
}

int txnlog_purge(struct txnlog *log, uint64_t zxid, struct error *err)
{
    int rv;

    rv = check_usable(log, err);
    while (rv == 0 && log->n_segments > 1 && log->segments[0].zxid_last <= zxid) {
        rv = remove_segment(log, 0, err);
    }
    return rv;
}

uint64_t txnlog_last_zxid(const struct txnlog *log)
{
    return log->n_segments > 0 ? last_segment(log)->zxid_last : 0;
}

uint64_t txnlog_bytes(const struct txnlog *log)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < log->n_segments; i++) {
        sum += log->segments[i].bytes;
    }
    return sum;
}
