/*
 * txnlog: the transaction log: segments log.<zxid of the first record, in hex>, preallocated with zeros so that a
 * sync overwrites blocks already written, every record checksummed. The byte format is drawn at the top of
 * txnlog_record.c.
 *
 * Used by one thread at a time (the replica's disk queue). An error of write or sync is final: the log refuses all
 * further writes with it (design: 4, lesson 8).
 */
#ifndef STORE_TXNLOG_H
#define STORE_TXNLOG_H

#include "disk.h"
#include "error.h"

#define TXNLOG_RECORD_MAX (80u * 1024u * 1024u) /* payload bytes; above TXN_DATA_MAX_LIMIT with its frame */

struct txnlog_record {
    uint64_t zxid;
    uint64_t zxid_prev;      /* the record before it in the history, 0 for the first ever */
    uint64_t zxid_committed; /* known to be committed when this was appended (lesson 13) */
    const uint8_t *payload;
    uint32_t len;
};

#define TXNLOG_SEGMENT_BYTES_DEFAULT  (UINT64_C(16) << 20)
#define TXNLOG_PREALLOC_BYTES_DEFAULT (UINT64_C(4) << 20)

struct txnlog_config {
    uint64_t segment_bytes;  /* a new segment is begun beyond this */
    uint64_t prealloc_bytes; /* zeros written ahead of the records */
};

struct txnlog;

/* Called for every valid record, oldest first; `payload` is valid during the call. Non-zero stops and is returned. */
typedef int (*txnlog_record_cb)(void *arg, const struct txnlog_record *record);

/*
 * Opens the log and replays all of it. A torn tail (damage after the durable offset that records carry) is cut off;
 * damage before it is -EBADMSG with an error that names file and offset (lesson 14). Records must form one chain
 * by zxid_prev within and across segments, else -EBADMSG. `config` NULL: defaults.
 */
int txnlog_open(struct disk *d, const struct txnlog_config *config, txnlog_record_cb cb, void *arg,
                struct txnlog **ret_log, struct error *err);
void txnlog_close(struct txnlog *log);

/* Writes records after the last one; each zxid_prev must be the zxid before. Not durable before txnlog_sync(). */
int txnlog_append(struct txnlog *log, const struct txnlog_record *records, size_t n, struct error *err);

/* One fdatasync for everything appended so far; also writes zeros ahead when few are left. */
int txnlog_sync(struct txnlog *log, struct error *err);

/* Removes every record after `zxid`, which must be in the log, or be at or before its first record's zxid_prev (then
 * the log becomes empty); durable on return. */
int txnlog_truncate(struct txnlog *log, uint64_t zxid, struct error *err);

/* Removes everything: a snapshot at `zxid` has replaced it. The next record's zxid_prev is `zxid`. Durable. */
int txnlog_reset(struct txnlog *log, uint64_t zxid, struct error *err);

/* Removes whole segments all of whose records are at or before `zxid`; the one being written always stays. */
int txnlog_purge(struct txnlog *log, uint64_t zxid, struct error *err);

/* Tells `cb` the records that follow `zxid`, at least one and about `bytes_max` at most. -ENOENT if there are none, or
 * the log does not pass through `zxid` (any more). */
int txnlog_read(struct txnlog *log, uint64_t zxid, size_t bytes_max, txnlog_record_cb cb, void *arg, struct error *err);
/* How much there is to be read after `zxid`, in whole segments. */
uint64_t txnlog_bytes_after(const struct txnlog *log, uint64_t zxid);

uint64_t txnlog_last_zxid(const struct txnlog *log); /* 0 when empty */
uint64_t txnlog_bytes(const struct txnlog *log);     /* on disk, all segments */

#endif
