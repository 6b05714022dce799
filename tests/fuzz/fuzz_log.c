/*
 * Recovery from a log that anybody may have written. The input is a list of files' contents and of records:
 *
 *   u8 what: 0 a record   | u8 step of zxid, prev, committed | u8 durable | u16 length, payload
 *            1 a new segment
 *            2 damage      | u16 offset | u8 xor, in the segment last written
 *            3 cut         | u16 bytes off its end
 *            4 zeros       | u16 how many
 *            5 raw bytes   | u16 length, bytes
 *
 * Records get their checksums here. Whatever recovery takes it must take again, the same; what it has cut off must
 * never come back; and the log must go on from there.
 */
#include "input.h"

#include "store/le.h"
#include "store/store.h"
#include "store/txnlog_int.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <string.h>

#define RECORDS_MAX  512
#define SEGMENTS_MAX 16
#define GAP          64 /* where a new segment's numbers go on */

struct writer {
    struct disk *disk;
    struct disk_file *file;
    uint64_t zxid_first;
    uint64_t zxid; /* of the last record */
    uint64_t end;
    unsigned n_segments;
};

struct seen {
    uint64_t zxids[RECORDS_MAX];
    size_t n;
};

static void write_at_end(struct writer *w, const void *bytes, size_t len)
{
    REQUIRE(w->disk->ops->pwrite(w->file, bytes, len, w->end) == 0);
    w->end += len;
}

static void close_segment(struct writer *w)
{
    if (w->file != NULL) {
        REQUIRE(w->disk->ops->sync(w->file) == 0);
        w->disk->ops->close(w->file);
        w->file = NULL;
    }
}

/* `zxid` is its first record's. */
static void begin_segment(struct writer *w, uint64_t zxid, uint64_t zxid_prev)
{
    uint8_t header[SEGMENT_HEADER_BYTES];
    char name[SEGMENT_NAME_BYTES];

    close_segment(w);
    segment_name(zxid, name);
    REQUIRE(w->disk->ops->open(w->disk, name, DISK_CREATE, &w->file) == 0);
    REQUIRE(w->disk->ops->truncate(w->file, 0) == 0);
    w->zxid_first = zxid;
    w->end = 0;
    w->n_segments++;
    segment_header_encode(zxid, zxid_prev, header);
    write_at_end(w, header, sizeof(header));
}

static void add_record(struct writer *w, struct input *in)
{
    uint8_t steps = input_u8(in);
    uint64_t durable = (uint64_t)input_u8(in) * 64;
    struct txnlog_record r = {.zxid_prev = w->zxid};
    size_t len;
    uint8_t *bytes;

    r.zxid = w->zxid + 1 + (steps & 3);
    r.zxid_prev -= (steps >> 2 & 3) == 3 ? 1 : 0;
    r.zxid_committed = r.zxid - (steps >> 4);
    r.payload = input_bytes(in, input_u16(in), &len);
    r.len = (uint32_t)len;
    if (w->file == NULL) {
        begin_segment(w, r.zxid, r.zxid_prev);
    }
    bytes = malloc(record_bytes(r.len));
    REQUIRE(bytes != NULL);
    record_encode(&r, w->zxid_first, w->end, durable, bytes);
    write_at_end(w, bytes, record_bytes(r.len));
    free(bytes);
    w->zxid = r.zxid;
}

static void damage(struct writer *w, uint64_t offset, uint8_t mask)
{
    char name[SEGMENT_NAME_BYTES];

    segment_name(w->zxid_first, name);
    if (offset < w->end) {
        REQUIRE(crash_disk_flip(w->disk, name, offset, mask) == 0);
    }
}

static void add_zeros(struct writer *w, size_t len)
{
    uint8_t *zeros = calloc(1, len + 1);

    REQUIRE(zeros != NULL);
    write_at_end(w, zeros, len);
    free(zeros);
}

static void write_log(struct writer *w, struct input *in)
{
    const uint8_t *bytes;
    uint64_t at;
    size_t len;

    for (unsigned n = 0; in->left > 0 && n < RECORDS_MAX && w->n_segments < SEGMENTS_MAX; n++) {
        uint8_t what = (uint8_t)(input_u8(in) % 6);

        if (what == 0) {
            add_record(w, in);
        } else if (w->file == NULL) {
            w->zxid += (uint64_t)input_u8(in) % GAP;
        } else if (what == 1) {
            close_segment(w);
        } else if (what == 2) {
            at = input_u16(in);
            damage(w, at, input_u8(in));
        } else if (what == 3) {
            len = input_u16(in);
            w->end -= len < w->end ? len : w->end;
            REQUIRE(w->disk->ops->truncate(w->file, w->end) == 0);
        } else if (what == 4) {
            add_zeros(w, input_u16(in));
        } else {
            bytes = input_bytes(in, input_u16(in), &len);
            write_at_end(w, bytes, len);
        }
    }
    close_segment(w);
    REQUIRE(w->disk->ops->sync_dir(w->disk) == 0);
}

static int see(void *arg, const struct txnlog_record *r)
{
    struct seen *s = arg;

    REQUIRE(s->n < RECORDS_MAX);
    REQUIRE(s->n == 0 || r->zxid_prev == s->zxids[s->n - 1]);
    REQUIRE(r->zxid > r->zxid_prev);
    s->zxids[s->n++] = r->zxid;
    return 0;
}

static bool open_log(struct disk *d, struct seen *ret_seen, struct txnlog **ret_log)
{
    struct error err = {.text = ""};
    int rv;

    ret_seen->n = 0;
    rv = txnlog_open(d, NULL, see, ret_seen, ret_log, &err);
    REQUIRE(rv == 0 || (rv == -EBADMSG && strstr(err.text, "log.") != NULL) || rv == -EPROTO);
    return rv == 0;
}

/* What was taken once is all that is ever taken, whatever a crash does; and more can be written behind it. */
static void take_again(struct disk *d, const struct seen *first)
{
    struct txnlog_config config = {.segment_bytes = 8192, .prealloc_bytes = 0};
    struct txnlog_record r = {.payload = (const uint8_t *)"more", .len = 4};
    struct seen second;
    struct txnlog *log;

    crash_disk_restart(d);
    REQUIRE(open_log(d, &second, &log));
    REQUIRE(first->n == second.n && memcmp(first->zxids, second.zxids, first->n * sizeof(first->zxids[0])) == 0);
    txnlog_close(log);
    if (first->n + 2 > RECORDS_MAX) {
        return;
    }
    REQUIRE(txnlog_open(d, &config, NULL, NULL, &log, NULL) == 0);
    r.zxid_prev = txnlog_last_zxid(log);
    r.zxid = r.zxid_prev + 1;
    REQUIRE(r.zxid_prev == (first->n > 0 ? first->zxids[first->n - 1] : 0));
    REQUIRE(txnlog_append(log, &r, 1, NULL) == 0);
    REQUIRE(txnlog_sync(log, NULL) == 0);
    txnlog_close(log);
    crash_disk_restart(d);
    REQUIRE(open_log(d, &second, &log));
    REQUIRE(second.n == first->n + 1 && second.zxids[first->n] == r.zxid);
    txnlog_close(log);
}

/* The whole of recovery over the same log; the epochs are there. */
static void try_store(struct disk *d)
{
    struct epochs epochs = {.sid = 1, .accepted_epoch = 1, .accepted_from = 1, .current_epoch = 1};
    struct error err = {.text = ""};
    struct store s;
    uint64_t digest;
    uint64_t zxid;

    REQUIRE(epochs_save(d, &epochs, NULL) == 0);
    if (store_open(d, NULL, 0, &s, &err) != 0) {
        REQUIRE(err.text[0] != '\0');
        return;
    }
    digest = state_digest(s.state);
    zxid = s.zxid_logged;
    REQUIRE(digest == state_digest_slow(s.state) && state_zxid(s.state) <= zxid);
    store_release(&s);
    REQUIRE(store_open(d, NULL, 0, &s, &err) == 0);
    REQUIRE(digest == state_digest(s.state) && zxid == s.zxid_logged);
    store_release(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input in = {.at = bytes, .left = len};
    struct disk *d = crash_disk_new(len);
    struct writer w = {.disk = d};
    struct seen seen;
    struct txnlog *log;

    write_log(&w, &in);
    try_store(d);
    if (open_log(d, &seen, &log)) {
        txnlog_close(log);
        take_again(d, &seen);
    }
    crash_disk_free(d);
    return 0;
}
