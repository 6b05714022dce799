/*
 * snapshot: a state at exactly one zxid as bytes, for files (snapshot.<zxid in hex>) and for SNAP synchronization.
 *
 * The byte format is drawn at the top of snapshot.c. Each chunk carries a checksum and the trailer counts and
 * sums everything: a snapshot counts only when it is whole (design: 4, lesson 6).
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "disk.h"
#include "error.h"
#include "state.h"

/* Receives the bytes in order, at most SNAPSHOT_CHUNK_MAX at a time; non-zero stops and is returned. */
#define SNAPSHOT_CHUNK_MAX (1024 * 1024)
typedef int (*snapshot_sink)(void *arg, const uint8_t *bytes, size_t len);
int snapshot_write(const struct state *s, snapshot_sink sink, void *arg);
/* Writes the directory `top` and all below it as a state of its own: `top` is the root of that, and there are no
 * sessions. The other inode numbers are kept. */
int snapshot_write_below(const struct state *s, const struct node *top, snapshot_sink sink, void *arg);

/* Reads a state back from chunks of any size. Feed until the end, then finish. */
struct snapshot_reader;
struct snapshot_reader *snapshot_reader_new(void);
int snapshot_reader_feed(struct snapshot_reader *r, const uint8_t *bytes, size_t len, struct error *err);
/* -EBADMSG unless the snapshot was whole; on success *ret_state belongs to the caller. */
int snapshot_reader_finish(struct snapshot_reader *r, struct state **ret_state, struct error *err);
void snapshot_reader_free(struct snapshot_reader *r);

/* Writes snapshot.<zxid> durably: to a .tmp name, synced, renamed, the directory synced. */
int snapshot_save(struct disk *d, const struct state *s, struct error *err);
int snapshot_load(struct disk *d, uint64_t zxid, struct state **ret_state, struct error *err);

/* A snapshot that comes from elsewhere in pieces of any size: each is written to the disk, and read at once. -EBADMSG
 * and -EPROTO are about what came, other errors about the disk. Free it in any case; what was not finished leaves a
 * file behind, which counts for nothing and is removed by the last function. */
struct snapshot_incoming;
struct snapshot_incoming *snapshot_incoming_new(struct disk *d);
int snapshot_incoming_feed(struct snapshot_incoming *in, const uint8_t *bytes, size_t len, struct error *err);
/* It must be whole, and at `zxid`: then it is durable under its name, and the state belongs to the caller. */
int snapshot_incoming_finish(struct snapshot_incoming *in, uint64_t zxid, struct state **ret_state, struct error *err);
void snapshot_incoming_free(struct snapshot_incoming *in);
int snapshot_incoming_remove(struct disk *d);

/* The zxids of the snapshot files, newest first; the caller frees *ret_zxids. Leftover .tmp files are ignored. */
int snapshot_list(struct disk *d, uint64_t **ret_zxids, size_t *ret_n);

#endif
