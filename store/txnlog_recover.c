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
static int replay(struct scanner *s, struct segment_look *look, txnlog_record_cb cb, void *arg, struct error *err)
{
    struct segment *seg = &look->segment;
    struct txnlog_record r;
    uint64_t next;
    bool is_first;
    int rv;

    for (;;) {
        rv = scanner_record(s, look->end, &r, &next, err);
        if (rv <= 0) {
            return rv;
        }
        is_first = look->end == SEGMENT_HEADER_BYTES;
        if (r.zxid_prev != seg->zxid_last || r.zxid <= r.zxid_prev || (is_first && r.zxid != seg->zxid_first)) {
            return damaged(err, s, look->end, "the record does not continue the one before it");
        }
        rv = cb != NULL ? cb(arg, &r) : 0;
        if (rv != 0) {
            return rv;
        }
        seg->zxid_last = r.zxid;
        look->records++;
        look->end = next;
    }
}

/* Decides what the invalid place at `end` of the last segment is: 0 for a clean end, 1 for a torn batch. */
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
    return rv == 1 ? damaged(err, s, end, "a later record shows that it was durable") : 1;
}

int segment_look_header(struct scanner *s, bool is_last, struct segment_look *ret_look, struct error *err)
{
    struct segment_look look = {.end = SEGMENT_HEADER_BYTES};
    struct segment *seg = &look.segment;
    int rv;

    rv = scanner_header(s, &seg->zxid_first, &seg->zxid_prev, err);
    if (rv < 0) {
        return rv;
    }
    if (rv == 0) {
        rv = is_last ? scanner_is_zero_from(s, SEGMENT_HEADER_BYTES, err) : 0;
        if (rv <= 0) {
            return rv < 0 ? rv : damaged(err, s, 0, "bad header");
        }
        look.header_torn = true;
        look.end = 0;
    } else if (seg->zxid_first != s->zxid_first) {
        return damaged(err, s, 0, "its header belongs to another name");
    }
    seg->zxid_last = seg->zxid_prev;
    *ret_look = look;
    return 0;
}

int segment_look_joins(const struct scanner *s, const struct segment_look *look, uint64_t zxid_last, struct error *err)
{
    return look->segment.zxid_prev == zxid_last ? 0 : damaged(err, s, 0, "it does not continue the segment before it");
}

int segment_look_records(struct scanner *s, bool is_last, txnlog_record_cb cb, void *arg, struct segment_look *look,
                         struct error *err)
{
    int rv;

    assert(!look->header_torn);
    rv = replay(s, look, cb, arg, err);
    if (rv != 0) {
        return rv;
    }
    if (!is_last && (look->end != s->size || look->records == 0)) {
        return damaged(err, s, look->end, "the segment was whole when the next one was begun");
    }
    rv = is_last ? judge_tail(s, look->end, err) : 0;
    if (rv < 0) {
        return rv;
    }
    look->tail_torn = rv == 1;
    return 0;
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

static int recover_open_segment(struct txnlog *log, struct scanner *s, bool is_last, txnlog_record_cb cb, void *arg,
                                struct error *err)
{
    struct segment_look look = {0};
    int rv;

    rv = segment_look_header(s, is_last, &look, err);
    if (rv != 0) {
        return rv;
    }
    if (look.header_torn) {
        return remove_file(log, s->name, err);
    }
    if (log->n_segments > 0) {
        rv = segment_look_joins(s, &look, log->segments[log->n_segments - 1].zxid_last, err);
    }
    if (rv == 0) {
        rv = segment_look_records(s, is_last, cb, arg, &look, err);
    }
    if (rv != 0) {
        return rv;
    }
    if (is_last) {
        if (look.records == 0) {
            return remove_file(log, s->name, err);
        }
        rv = seal(s, look.end, err);
        if (rv != 0) {
            return rv;
        }
    }
    txnlog_add_segment(log, look.segment.zxid_first, look.segment.zxid_prev);
    log->segments[log->n_segments - 1].zxid_last = look.segment.zxid_last;
    log->segments[log->n_segments - 1].bytes = look.end;
    return 0;
}

int txnlog_list(struct disk *d, uint64_t **ret_zxids, size_t *ret_n)
{
    struct names names = {0};
    int rv = d->ops->list(d, collect_name, &names);

    if (rv != 0) {
        free(names.zxids);
        return rv;
    }
    if (names.n > 0) {
        qsort(names.zxids, names.n, sizeof(*names.zxids), compare_zxids);
    }
    *ret_zxids = names.zxids;
    *ret_n = names.n;
    return 0;
}

int txnlog_recover(struct txnlog *log, txnlog_record_cb cb, void *arg, struct error *err)
{
    uint64_t *zxids = NULL;
    struct scanner s;
    size_t n = 0;
    int rv;

    /* A removal that a killed process did not get to sync must not come undone after we acted on it. */
    rv = log->disk->ops->sync_dir(log->disk);
    if (rv == 0) {
        rv = txnlog_list(log->disk, &zxids, &n);
    }
    if (rv != 0) {
        return error_set(err, rv, "list the log: %s", strerror(-rv));
    }
    for (size_t i = 0; i < n && rv == 0; i++) {
        rv = scanner_open(log->disk, zxids[i], &s, err);
        if (rv == 0) {
            rv = recover_open_segment(log, &s, i + 1 == n, cb, arg, err);
            scanner_close(&s);
        }
    }
    free(zxids);
    return rv;
}
