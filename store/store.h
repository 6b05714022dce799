/*
 * store: everything one peer keeps: recovery at start, then the parts that the replica drives.
 *
 * Recovery (lessons 13 and 14): the newest whole snapshot is loaded, the log behind it replayed; records known to be
 * committed are applied, later ones are handed over as `tail` and shown to nobody until a leader says so.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "disk.h"
#include "epochs.h"
#include "error.h"
#include "snapshot.h"
#include "state.h"
#include "txnlog.h"

/* A logged transaction kept in memory, `body` holding the encoded txn. */
struct store_entry {
    uint64_t zxid;
    uint64_t zxid_prev;
    struct buf *body;
};

struct store {
    struct disk *disk; /* borrowed */
    struct state *state;
    struct txnlog *log;
    struct epochs epochs; /* sid 0 when the dataDir was empty */
    uint64_t zxid_logged; /* last on disk, in the log or the snapshot */
    /* The newest part of the history up to zxid_logged, at most about `window_bytes`, and at least everything after
     * state_zxid(state). entries[0].zxid_prev is the base of the window. */
    struct store_entry *entries;
    size_t n_entries;
};

/*
 * -EBADMSG: damaged (err names file and offset); -EPROTO: written by a newer version. On success err->text is empty,
 * or a warning: the newest snapshot is damaged, and an older one with the log has replaced it. History without a file
 * `epochs` is refused: save the epochs before the first record or snapshot.
 */
int store_open(struct disk *d, const struct txnlog_config *config, size_t window_bytes, struct store *ret_store,
               struct error *err);

/* Frees the window once the replica has taken what it needs. */
void store_drop_entries(struct store *s);
void store_release(struct store *s);

/* Keeps the `retain` newest snapshots (at least one) and every log record after the oldest of them; removes the rest
 * and leftover temporary files of snapshots at or before the newest. */
int store_purge(struct disk *d, struct txnlog *log, unsigned retain, struct error *err);

#endif
