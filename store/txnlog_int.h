/* txnlog_int: what the sources of txnlog and store/check share. Nobody else includes this. */
#ifndef STORE_TXNLOG_INT_H
#define STORE_TXNLOG_INT_H

#include "txnlog.h"

#define SEGMENT_HEADER_BYTES 4096
#define SEGMENT_VERSION      1
#define SEGMENT_NAME_BYTES   21 /* "log.", 16 digits, NUL */
#define RECORD_HEADER_BYTES  56

/* One segment that holds at least one record. */
struct segment {
    uint64_t zxid_first;
    uint64_t zxid_prev; /* of its first record */
    uint64_t zxid_last;
    uint64_t bytes; /* the file's size */
};

/* Where a read ended. */
struct txnlog_mark {
    uint64_t zxid;       /* the record before */
    uint64_t zxid_first; /* of the segment; 0: none */
    uint64_t offset;
};

#define TXNLOG_MARKS 8

/*
 * The log is a chain of segments. Only the last can be open for appending; all before it, and the last too while
 * `file` is NULL, are sealed: cut to their exact end and durable.
 */
struct txnlog {
    struct disk *disk;
    struct txnlog_config config;
    struct segment *segments; /* oldest first */
    size_t n_segments;
    size_t cap_segments;

    struct disk_file *file; /* of the last segment, NULL: the next append begins a new one */
    uint64_t end;           /* offset behind the last record written */
    uint64_t durable;       /* offset up to which a sync has covered `file` */
    uint64_t zeroed;        /* offset up to which `file` has blocks: records, then zeros */

    uint8_t *staged; /* encoded records not yet written, to go to `end` */
    size_t staged_len;
    size_t staged_cap;

    uint64_t base; /* while empty: the zxid_prev that the next record must have, if has_base */
    bool has_base;

    struct txnlog_mark marks[TXNLOG_MARKS];
    size_t next_mark;

    int failed; /* the first error of a write or a sync, returned for ever */
    struct error failure;
};

/* Encoding */
void segment_name(uint64_t zxid_first, char name[SEGMENT_NAME_BYTES]);
/* False unless `name` is exactly what segment_name() makes. */
bool segment_name_parse(const char *name, uint64_t *ret_zxid_first);
void segment_header_encode(uint64_t zxid_first, uint64_t zxid_prev, uint8_t out[SEGMENT_HEADER_BYTES]);
/* Header, payload and padding. */
size_t record_bytes(uint32_t payload_len);
/* Writes record_bytes(r->len) bytes: the record as it stands at `offset` of the segment `zxid_first`. */
void record_encode(const struct txnlog_record *r, uint64_t zxid_first, uint64_t offset, uint64_t durable, uint8_t *out);

/* Reads one segment, a window at a time. */
struct scanner {
    struct disk *disk;
    struct disk_file *file;
    char name[SEGMENT_NAME_BYTES];
    uint64_t zxid_first; /* by its name */
    uint64_t size;
    uint64_t durable; /* the highest durable_offset of the records read so far */
    uint8_t *window;  /* bytes window_at .. window_at + window_len of the file */
    uint64_t window_at;
    size_t window_len;
    size_t window_cap;
};

int scanner_open(struct disk *d, uint64_t zxid_first, struct scanner *ret_scanner, struct error *err);
void scanner_close(struct scanner *s);

/* These return 1 for yes, 0 for no, or a negative errno (-EPROTO: a newer version's segment). */
int scanner_header(struct scanner *s, uint64_t *ret_zxid_first, uint64_t *ret_zxid_prev, struct error *err);
/* Is there a whole valid record at `offset`? Its payload is valid until the next call. */
int scanner_record(struct scanner *s, uint64_t offset, struct txnlog_record *ret_record, uint64_t *ret_next,
                   struct error *err);
/* Is everything from `offset` to the end of the file zero? */
int scanner_is_zero_from(struct scanner *s, uint64_t offset, struct error *err);
/* Does a record behind `offset` testify that the bytes at `offset` were durable once? */
int scanner_was_durable(struct scanner *s, uint64_t offset, uint64_t *ret_witness, struct error *err);

/*
 * What stands in one segment, as recovery judges it and store/check shows it. Nothing is changed by looking. On
 * -EBADMSG the fields tell how far it is good.
 */
struct segment_look {
    struct segment segment; /* zxid_last: of the last good record; bytes is not set */
    uint64_t records;
    uint64_t end;     /* behind the last good record */
    bool header_torn; /* it never became whole, and nothing is behind it */
    bool tail_torn;   /* what is behind `end` is of a batch that was torn */
};

/* The two steps. -EBADMSG: damaged, err names file and offset; -EPROTO: of a newer version. */
int segment_look_header(struct scanner *s, bool is_last, struct segment_look *ret_look, struct error *err);
/* Not called for a torn header. */
int segment_look_records(struct scanner *s, bool is_last, txnlog_record_cb cb, void *arg, struct segment_look *look,
                         struct error *err);
/* -EBADMSG: records are missing between the one that ends with `zxid_last` and this one. */
int segment_look_joins(const struct scanner *s, const struct segment_look *look, uint64_t zxid_last, struct error *err);

/* The segments' first zxids, oldest first; the caller frees *ret_zxids. */
int txnlog_list(struct disk *d, uint64_t **ret_zxids, size_t *ret_n);

/* Shared by recovery and the log itself. */
void txnlog_add_segment(struct txnlog *log, uint64_t zxid_first, uint64_t zxid_prev);
/* What was remembered for reading is no longer so: the log was cut. */
void txnlog_forget_marks(struct txnlog *log);
int txnlog_recover(struct txnlog *log, txnlog_record_cb cb, void *arg, struct error *err);

#endif
