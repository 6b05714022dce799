/*
 * Reading history out of the log while it is being written, for a peer that lacks what nobody has in memory any more.
 *
 * Who reads on asks again from where the last read ended: that place is remembered, or each turn would look through
 * the segment from its beginning.
 */
#include "txnlog_int.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

void txnlog_forget_marks(struct txnlog *log)
{
    size_t i;

    for (i = 0; i < TXNLOG_MARKS; i++) {
        log->marks[i].zxid_first = 0;
    }
}

static void remember(struct txnlog *log, uint64_t zxid, uint64_t zxid_first, uint64_t offset)
{
    struct txnlog_mark *mark = &log->marks[log->next_mark];

    log->next_mark = (log->next_mark + 1) % TXNLOG_MARKS;
    mark->zxid = zxid;
    mark->zxid_first = zxid_first;
    mark->offset = offset;
}

/* Where to begin looking in a segment for what follows `zxid`. */
static uint64_t place_of(const struct txnlog *log, uint64_t zxid, uint64_t zxid_first)
{
    size_t i;

    for (i = 0; i < TXNLOG_MARKS; i++) {
        if (log->marks[i].zxid_first == zxid_first && log->marks[i].zxid == zxid) {
            return log->marks[i].offset;
        }
    }
    return SEGMENT_HEADER_BYTES;
}

/* The segment that has what follows `zxid`; n_segments when none has. */
static size_t segment_after(const struct txnlog *log, uint64_t zxid)
{
    size_t i;

    for (i = 0; i < log->n_segments; i++) {
        if (log->segments[i].zxid_prev <= zxid && zxid < log->segments[i].zxid_last) {
            return i;
        }
    }
    return log->n_segments;
}

/* Tells the records behind `zxid` in one segment; -ENOENT if it has no such place. */
static int read_segment(struct txnlog *log, uint64_t zxid_first, uint64_t zxid, size_t bytes_max, txnlog_record_cb cb,
                        void *arg, struct error *err)
{
    uint64_t offset = place_of(log, zxid, zxid_first);
    uint64_t last = zxid;
    uint64_t end = 0;
    struct txnlog_record r;
    struct scanner s;
    size_t bytes = 0;
    int rv;

    rv = scanner_open(log->disk, zxid_first, &s, err);
    if (rv != 0) {
        return rv;
    }
    while ((rv = scanner_record(&s, offset, &r, &offset, err)) == 1 && bytes < bytes_max) {
        if (r.zxid <= zxid) {
            continue;
        }
        if (r.zxid_prev != last) {
            break; /* `zxid` is not of this history */
        }
        rv = cb(arg, &r);
        if (rv != 0) {
            break;
        }
        last = r.zxid;
        end = offset;
        bytes += r.len;
    }
    scanner_close(&s);
    if (last > zxid) {
        remember(log, last, zxid_first, end);
    }
    if (rv < 0) {
        return rv;
    }
    return last > zxid ? 0 : error_set(err, -ENOENT, "the log has nothing that follows 0x%" PRIx64, zxid);
}

int txnlog_read(struct txnlog *log, uint64_t zxid, size_t bytes_max, txnlog_record_cb cb, void *arg, struct error *err)
{
    size_t i = segment_after(log, zxid);

    if (log->disk->forgets || i == log->n_segments) {
        return error_set(err, -ENOENT, "the log has nothing that follows 0x%" PRIx64, zxid);
    }
    return read_segment(log, log->segments[i].zxid_first, zxid, bytes_max, cb, arg, err);
}

uint64_t txnlog_bytes_after(const struct txnlog *log, uint64_t zxid)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < log->n_segments; i++) {
        sum += log->segments[i].zxid_last > zxid ? log->segments[i].bytes : 0;
    }
    return sum;
}
