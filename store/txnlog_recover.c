/*
 * Recovery of the log at start (lessons 13 and 14).
 *
 * A segment is cut to its exact end and synced before the next one is created. So in every segment but the last
 * each byte was durable once, and whatever is wrong there is damage. In the last one the first invalid place X is
 *
 *   clean end     if only zeros follow
 *   damage        if a record behind X carries a durable_offset beyond X
 *   a torn batch  otherwise: nothing behind X was ever reported durable, so nobody was told that it is there
 *
 * A header is synced before the first record is written: a bad one with nothing behind it was torn when the segment
 * was made, a bad one with anything behind it is damage. At the end the last segment is cut to its exact end and
 * synced, and the next append begins a new one: bytes of a torn batch can never be read again.
 */
#include "txnlog_int.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REWRITE_BYTES ((size_t)1 << 20)

#define MEND                                                                                                           \
    "remove this member's data directory and let it synchronize again from the others, or restore it from a backup"

static int damaged(struct error *err, const struct scanner *s, uint64_t offset, const char *what)
{
    return error_set(err, -EBADMSG, "%s is damaged at offset %" PRIu64 " (%s): " MEND, s->name, offset, what);
}

struct names {
    uint64_t *zxids;
    size_t n;
    size_t cap;
};

static int collect_name(void *arg, const char *name)
{
    struct names *names = arg;
    uint64_t zxid;

    if (!segment_name_parse(name, &zxid)) {
        return 0;
    }
    if (names->n == names->cap) {
        names->cap = names->cap > 0 ? names->cap * 2 : 16;
        names->zxids = realloc(names->zxids, names->cap * sizeof(*names->zxids));
        if (names->zxids == NULL) {
            abort();
        }
    }
    names->zxids[names->n++] = zxid;
    return 0;
}

static int compare_zxids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Hands over the records of a segment up to the first invalid place. */
static int replay(struct scanner *s, struct segment *seg, txnlog_record_cb cb, void *arg, uint64_t *ret_end,
                  struct error *err)
{
    uint64_t offset = SEGMENT_HEADER_BYTES;
    struct txnlog_record r;
    uint64_t next;
    bool is_first;
    int rv;

    for (;;) {
        rv = scanner_record(s, offset, &r, &next, err);
        if (rv < 0) {
            return rv;
        }
        if (rv == 0) {
            *ret_end = offset;
            return 0;
        }
        is_first = offset == SEGMENT_HEADER_BYTES;
        if (r.zxid_prev != (is_first ? seg->zxid_prev : seg->zxid_last) || r.zxid <= r.zxid_prev ||
            (is_first && r.zxid != seg->zxid_first)) {
            return damaged(err, s, offset, "the record does not continue the one before it");
        }
        seg->zxid_last = r.zxid;
        rv = cb != NULL ? cb(arg, &r) : 0;
        if (rv != 0) {
            return rv;
        }
        offset = next;
    }
}

/* Decides what the invalid place at `end` of the last segment is: 0 for a clean end or a torn batch. */
static int judge_tail(struct scanner *s, uint64_t end, struct error *err)
{
    uint64_t witness;
    int rv;

    rv = scanner_is_zero_from(s, end, err);
    if (rv != 0) {
        return rv < 0 ? rv : 0;
    }
    rv = scanner_was_durable(s, end, &witness, err);
    if (rv < 0) {
        return rv;
    }
    return rv == 1 ? damaged(err, s, end, "a later record shows that it was durable") : 0;
}

static int remove_file(struct txnlog *log, const char *name, struct error *err)
{
    int rv;

    rv = log->disk->ops->unlink(log->disk, name);
    if (rv == 0) {
        rv = log->disk->ops->sync_dir(log->disk);
    }
    return rv == 0 ? 0 : error_set(err, rv, "remove %s: %s", name, strerror(-rv));
}

/*
 * Writes again what no record proves to have been synced. A sync that failed in the former life may have left it in the
 * page cache, marked clean, where it can be read and a sync does nothing for it.
 */
static int write_again(struct scanner *s, uint64_t end)
{
    uint64_t offset = s->durable;
    uint8_t *bytes = malloc(REWRITE_BYTES);
    size_t len;
    int rv = 0;

    if (bytes == NULL) {
        abort();
    }
    for (; offset < end && rv == 0; offset += len) {
        len = end - offset < REWRITE_BYTES ? (size_t)(end - offset) : REWRITE_BYTES;
        rv = s->disk->ops->pread(s->file, bytes, len, offset, &len);
        if (rv == 0) {
            rv = len > 0 ? s->disk->ops->pwrite(s->file, bytes, len, offset) : -EIO;
        }
    }
    free(bytes);
    return rv;
}

/* Cuts the last segment to its end and makes all of it durable: what a killed process had written may still be
 * only in the page cache, and from now on it counts. */
static int seal(struct scanner *s, uint64_t end, struct error *err)
{
    int rv;

    rv = write_again(s, end);
    if (rv == 0 && s->size != end) {
        rv = s->disk->ops->truncate(s->file, end);
    }
    if (rv == 0) {
        rv = s->disk->ops->sync(s->file);
    }
    return rv == 0 ? 0 : error_set(err, rv, "cut %s at offset %" PRIu64 ": %s", s->name, end, strerror(-rv));
}

/* Checks the header; *ret_torn when it never became whole. */
static int check_header(struct txnlog *log, struct scanner *s, bool is_last, struct segment *ret_seg, bool *ret_torn,
                        struct error *err)
{
    struct segment seg = {0};
    int rv;

    rv = scanner_header(s, &seg.zxid_first, &seg.zxid_prev, err);
    if (rv < 0) {
        return rv;
    }
    *ret_torn = rv == 0;
    if (rv == 0) {
        rv = is_last ? scanner_is_zero_from(s, SEGMENT_HEADER_BYTES, err) : 0;
        if (rv < 0) {
            return rv;
        }
        return rv == 1 ? 0 : damaged(err, s, 0, "bad header");
    }
    if (seg.zxid_first != s->zxid_first) {
        return damaged(err, s, 0, "its header belongs to another name");
    }
    if (log->n_segments > 0 && seg.zxid_prev != log->segments[log->n_segments - 1].zxid_last) {
        return damaged(err, s, 0, "it does not continue the segment before it");
    }
    *ret_seg = seg;
    return 0;
}

static int recover_open_segment(struct txnlog *log, struct scanner *s, bool is_last, txnlog_record_cb cb, void *arg,
                                struct error *err)
{
    struct segment seg = {0};
    uint64_t end = 0;
    bool torn = false;
    int rv;

    rv = check_header(log, s, is_last, &seg, &torn, err);
    if (rv != 0) {
        return rv;
    }
    if (torn) {
        return remove_file(log, s->name, err);
    }
    rv = replay(s, &seg, cb, arg, &end, err);
    if (rv != 0) {
        return rv;
    }
    if (!is_last && (end != s->size || end == SEGMENT_HEADER_BYTES)) {
        return damaged(err, s, end, "the segment was whole when the next one was begun");
    }
    if (is_last) {
        rv = judge_tail(s, end, err);
        if (rv != 0) {
            return rv;
        }
        if (end == SEGMENT_HEADER_BYTES) {
            return remove_file(log, s->name, err);
        }
        rv = seal(s, end, err);
        if (rv != 0) {
            return rv;
        }
    }
    txnlog_add_segment(log, seg.zxid_first, seg.zxid_prev);
    log->segments[log->n_segments - 1].zxid_last = seg.zxid_last;
    log->segments[log->n_segments - 1].bytes = end;
    return 0;
}

int txnlog_recover(struct txnlog *log, txnlog_record_cb cb, void *arg, struct error *err)
{
    struct names names = {0};
    struct scanner s;
    size_t i;
    int rv;

    /* A removal that a killed process did not get to sync must not come undone after we acted on it. */
    rv = log->disk->ops->sync_dir(log->disk);
    if (rv == 0) {
        rv = log->disk->ops->list(log->disk, collect_name, &names);
    }
    if (rv != 0) {
        free(names.zxids);
        return error_set(err, rv, "list the log: %s", strerror(-rv));
    }
    if (names.n > 0) {
        qsort(names.zxids, names.n, sizeof(*names.zxids), compare_zxids);
    }
    for (i = 0; i < names.n && rv == 0; i++) {
        rv = scanner_open(log->disk, names.zxids[i], &s, err);
        if (rv == 0) {
            rv = recover_open_segment(log, &s, i + 1 == names.n, cb, arg, err);
            scanner_close(&s);
        }
    }
    free(names.zxids);
    return rv;
}
