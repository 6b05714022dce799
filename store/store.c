/*
 * Recovery, and what may be thrown away.
 *
 * The snapshot decides. One at zxid S is a committed state, whole and exact; the log either passes through S or it is
 * of no use behind it:
 *
 *   log:   ... -> S -> a -> b      S is a record, or the log begins right behind it: replay a, b
 *   log:   ... -> p                p < S: the log ends before the snapshot. It is dropped.
 *   log:   ... -> p -> q ...       p < S < q: another history, which never was committed: the committed one has S
 *                                  in it, and zxids are unique in it. It is dropped.
 *   log:           q -> ...        it begins behind S: what lies between is lost. That is damage.
 *
 * The second and the third are what a crash leaves between a snapshot from the leader that replaces the log and the end
 * of txnlog_reset(), so that no marker file is needed; dropping the log finishes that reset. The second is also
 * left by a peer that applied what others had committed, wrote a snapshot, and lost its own unsynced records.
 *
 * If the newest snapshot is damaged, an older one does as well, but only with a log that passes through both: a
 * log that ends before the damaged one cannot show that nothing else was lost with it.
 */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the snapshots in the directory came to. */
struct base {
    struct state *state; /* of the newest that is whole, or the empty one */
    uint64_t zxid;
    uint64_t *zxids; /* all, newest first */
    size_t n;
    size_t n_damaged;    /* of these, from the newest on */
    struct error damage; /* of the newest */
};

struct replay {
    struct state *state;
    struct error *err;
    uint64_t base;      /* the snapshot's zxid */
    uint64_t must_pass; /* the newest damaged snapshot's zxid, or 0 */
    uint64_t committed; /* the highest zxid known to be */
    uint64_t last;      /* the last record's zxid, 0 before the first */
    bool joined;        /* the log passes through the base */
    bool foreign;       /* it passes over it */
    bool passed;        /* it passes through must_pass */

    /* The window: entries[first..n), the oldest dropped while they are more than window_bytes. */
    struct store_entry *entries;
    size_t first;
    size_t n;
    size_t cap;
    size_t next; /* index of the first one that is not applied */
    size_t bytes;
    size_t window_bytes;
};

static void window_push(struct replay *rp, const struct txnlog_record *r)
{
    size_t shift = rp->first;

    if (rp->n == rp->cap && shift > rp->n / 2) {
        memmove(rp->entries, rp->entries + shift, (rp->n - shift) * sizeof(*rp->entries));
        rp->n -= shift;
        rp->next -= shift;
        rp->first = 0;
    }
    if (rp->n == rp->cap) {
        rp->cap = rp->cap > 0 ? rp->cap * 2 : 256;
        rp->entries = realloc(rp->entries, rp->cap * sizeof(*rp->entries));
        if (rp->entries == NULL) {
            abort();
        }
    }
    rp->entries[rp->n].zxid = r->zxid;
    rp->entries[rp->n].zxid_prev = r->zxid_prev;
    rp->entries[rp->n].body = buf_copy(r->payload, r->len);
    rp->n++;
    rp->bytes += r->len;
}

static void window_pop(struct replay *rp)
{
    struct store_entry *e = &rp->entries[rp->first];

    assert(rp->first < rp->next);
    rp->bytes -= e->body->len;
    buf_unref(e->body);
    rp->first++;
}

static void window_clear(struct replay *rp)
{
    rp->next = rp->n;
    while (rp->first < rp->n) {
        window_pop(rp);
    }
    free(rp->entries);
    rp->entries = NULL;
    rp->first = 0;
    rp->n = 0;
    rp->cap = 0;
    rp->next = 0;
}

static int apply_entry(struct replay *rp, const struct store_entry *e)
{
    struct txn_decoded decoded;
    struct outcome outcome;
    int rv;

    rv = txn_decode(e->body->bytes, e->body->len, &decoded);
    if (rv != 0) {
        return error_set(rp->err, rv, "the log's record 0x%" PRIx64 " holds no transaction this program knows",
                         e->zxid);
    }
    state_apply(rp->state, e->zxid, &decoded.txn, &outcome);
    txn_decoded_release(&decoded);
    return 0;
}

/* Applies what is known to be committed by now, and drops what the window need not hold any more. */
static int settle(struct replay *rp)
{
    const struct store_entry *e;
    int rv;

    for (; rp->next < rp->n && rp->entries[rp->next].zxid <= rp->committed; rp->next++) {
        e = &rp->entries[rp->next];
        rv = e->zxid > state_zxid(rp->state) ? apply_entry(rp, e) : 0;
        if (rv != 0) {
            return rv;
        }
    }
    while (rp->bytes > rp->window_bytes && rp->first < rp->next) {
        window_pop(rp);
    }
    return 0;
}

/* Looks where the log stands to the snapshot, see the top. */
static int join(struct replay *rp, const struct txnlog_record *r)
{
    if (r->zxid_prev == rp->base || r->zxid == rp->base) {
        rp->joined = true;
    } else if (r->zxid > rp->base && r->zxid_prev > rp->base) {
        assert(rp->last == 0);
        return error_set(rp->err, -EBADMSG,
                         "the log begins at 0x%" PRIx64 ", behind 0x%" PRIx64 ", but the newest whole snapshot is at "
                         "0x%" PRIx64 ": remove this member's data directory and let it synchronize again from the "
                         "others, or restore it from a backup",
                         r->zxid, r->zxid_prev, rp->base);
    } else if (r->zxid > rp->base) {
        rp->foreign = true;
        window_clear(rp);
    }
    return 0;
}

static int on_record(void *arg, const struct txnlog_record *r)
{
    struct replay *rp = arg;
    int rv;

    if (!rp->joined && !rp->foreign) {
        rv = join(rp, r);
        if (rv != 0) {
            return rv;
        }
    }
    rp->last = r->zxid;
    if (rp->foreign) {
        return 0;
    }
    if (r->zxid == rp->must_pass) {
        rp->passed = true;
    }
    if (r->zxid_committed > rp->committed) {
        rp->committed = r->zxid_committed;
    }
#ifdef ZNODEFS_MUTANT_SHOW_UNCOMMITTED
    rp->committed = r->zxid; /* Seeded fault. */
#endif
    window_push(rp, r);
    return settle(rp);
}

/* Loads the newest snapshot that is whole. Only damage makes it look at an older one: a disk that cannot be read
 * or a newer version's file must not cost history. */
static int load_base(struct disk *d, struct base *b, struct error *err)
{
    struct error why = {.text = ""};
    size_t i;
    int rv;

    rv = snapshot_list(d, &b->zxids, &b->n);
    if (rv != 0) {
        return error_set(err, rv, "list the snapshots: %s", strerror(-rv));
    }
    for (i = 0; i < b->n; i++) {
        rv = snapshot_load(d, b->zxids[i], &b->state, &why);
        if (rv == 0) {
            b->zxid = b->zxids[i];
            return 0;
        }
        if (rv != -EBADMSG) {
            return error_set(err, rv, "%s", why.text);
        }
        if (b->n_damaged == 0) {
            b->damage = why;
        }
        b->n_damaged++;
    }
    b->state = state_new();
    return 0;
}

/* Gives damaged snapshots another name: purging must not count them among those that it keeps. */
static int set_damaged_aside(struct disk *d, const struct base *b, struct error *err)
{
    char from[NAME_MAX + 1];
    char to[NAME_MAX + 1];
    size_t i;
    int rv = 0;

    for (i = 0; i < b->n_damaged && rv == 0; i++) {
        (void)snprintf(from, sizeof(from), "snapshot.%" PRIx64, b->zxids[i]);
        (void)snprintf(to, sizeof(to), "damaged.snapshot.%" PRIx64, b->zxids[i]);
        rv = d->ops->rename(d, from, to);
    }
    if (rv == 0 && b->n_damaged > 0) {
        rv = d->ops->sync_dir(d);
    }
    return rv == 0 ? 0 : error_set(err, rv, "set %s aside: %s", from, strerror(-rv));
}

/* After the whole log was read: may history stand on this snapshot? Then drops a log that does not join it. */
static int check_joined(const struct replay *rp, const struct base *b, struct txnlog *log, struct error *err)
{
    if (b->n_damaged > 0 && !rp->passed) {
        (void)error_set(err, -EBADMSG, "%s", b->damage.text);
        return error_wrap(err, -EBADMSG,
                          "no older snapshot and log replace a damaged snapshot: remove this member's data directory "
                          "and let it synchronize again from the others, or restore it from a backup");
    }
    return rp->joined ? 0 : txnlog_reset(log, rp->base, err);
}

/* The epochs are written before the first record: a history without them has lost this peer's promises. */
static int load_epochs(struct store *s, struct error *err)
{
    struct epochs none = {0};
    int rv;

    rv = epochs_load(s->disk, &s->epochs, err);
    if (rv != -ENOENT) {
        return rv;
    }
    s->epochs = none;
    if (s->zxid_logged > 0) {
        return error_set(err, -EBADMSG,
                         "there is history up to 0x%" PRIx64 " but no file epochs, which holds what this member has "
                         "promised: remove this member's data directory and let it synchronize again from the others, "
                         "or restore it from a backup",
                         s->zxid_logged);
    }
    return 0;
}

static int recover(struct store *s, const struct txnlog_config *config, struct base *b, struct replay *rp,
                   struct error *err)
{
    int rv;

    /* A crash may have left these. If they can't be removed they do no harm but take room. */
    (void)snapshot_incoming_remove(s->disk);
    (void)disk_probe_remove(s->disk);
    rv = load_base(s->disk, b, err);
    if (rv != 0) {
        return rv;
    }
    rp->state = b->state;
    rp->base = b->zxid;
    rp->committed = b->zxid;
    rp->must_pass = b->n_damaged > 0 ? b->zxids[0] : 0;
    rv = txnlog_open(s->disk, config, on_record, rp, &s->log, err);
    if (rv == 0) {
        rv = check_joined(rp, b, s->log, err);
    }
    if (rv != 0) {
        return rv;
    }
    s->zxid_logged = rp->joined ? rp->last : rp->base;
    rv = load_epochs(s, err);
    return rv != 0 ? rv : set_damaged_aside(s->disk, b, err);
}

/* Hands the window over; without a log that joins the snapshot there is none. */
static void take_window(struct store *s, struct replay *rp)
{
    if (!rp->joined) {
        window_clear(rp);
    }
    s->n_entries = rp->n - rp->first;
    if (s->n_entries > 0) {
        memmove(rp->entries, rp->entries + rp->first, s->n_entries * sizeof(*rp->entries));
    }
    s->entries = rp->entries;
}

int store_open(struct disk *d, const struct txnlog_config *config, size_t window_bytes, struct store *ret_store,
               struct error *err)
{
    struct store s = {.disk = d};
    struct base b = {0};
    struct error own = {.text = ""};
    struct replay rp = {.err = &own, .window_bytes = window_bytes};
    int rv;

    rv = recover(&s, config, &b, &rp, &own);
    free(b.zxids);
    if (rv != 0) {
        window_clear(&rp);
        txnlog_close(s.log);
        state_free(b.state);
        return error_set(err, rv, "%s", own.text);
    }
    s.state = b.state;
    take_window(&s, &rp);
    (void)error_set(err, 0, "%s%s", b.n_damaged > 0 ? "set aside, an older snapshot and the log replace it: " : "",
                    b.damage.text);
    *ret_store = s;
    return 0;
}

void store_drop_entries(struct store *s)
{
    size_t i;

    for (i = 0; i < s->n_entries; i++) {
        buf_unref(s->entries[i].body);
    }
    free(s->entries);
    s->entries = NULL;
    s->n_entries = 0;
}

void store_release(struct store *s)
{
    if (s == NULL) {
        return;
    }
    store_drop_entries(s);
    txnlog_close(s->log);
    s->log = NULL;
    state_free(s->state);
    s->state = NULL;
}

/* Names of snapshots to remove. */
struct doomed {
    uint64_t newest; /* whole */
    uint64_t oldest; /* that is retained */
    char (*names)[NAME_MAX + 1];
    size_t n;
};

/* Snapshots before the oldest that is retained, and half-written ones at or before the newest whole one: a later one
 * may be on its way just now. */
static int doom(void *arg, const char *name)
{
    struct doomed *list = arg;
    uint64_t zxid;
    char *end;

    if (strncmp(name, "snapshot.", 9) != 0 || strlen(name) > NAME_MAX) {
        return 0;
    }
    errno = 0;
    zxid = strtoull(name + 9, &end, 16);
    if (errno != 0 || end == name + 9) {
        return 0;
    }
    if ((*end == '\0' && zxid < list->oldest) || (strcmp(end, ".tmp") == 0 && zxid <= list->newest)) {
        list->names = realloc(list->names, (list->n + 1) * sizeof(*list->names));
        if (list->names == NULL) {
            abort();
        }
        (void)snprintf(list->names[list->n++], NAME_MAX + 1, "%s", name);
    }
    return 0;
}

static int remove_doomed(struct disk *d, struct doomed *list, struct error *err)
{
    size_t i;
    int rv;

    rv = d->ops->list(d, doom, list);
    if (rv != 0) {
        return error_set(err, rv, "list the snapshots: %s", strerror(-rv));
    }
    for (i = 0; i < list->n; i++) {
        rv = d->ops->unlink(d, list->names[i]);
        if (rv != 0) {
            return error_set(err, rv, "remove %s: %s", list->names[i], strerror(-rv));
        }
    }
    rv = list->n > 0 ? d->ops->sync_dir(d) : 0;
    return rv == 0 ? 0 : error_set(err, rv, "remove snapshots: %s", strerror(-rv));
}

int store_purge(struct disk *d, struct txnlog *log, unsigned retain, struct error *err)
{
    struct doomed list = {0};
    uint64_t *zxids;
    size_t n;
    int rv;

    rv = snapshot_list(d, &zxids, &n);
    if (rv != 0) {
        return error_set(err, rv, "list the snapshots: %s", strerror(-rv));
    }
    if (n > 0) {
        retain = retain > 0 ? retain : 1;
        list.newest = zxids[0];
        list.oldest = zxids[n > retain ? retain - 1 : n - 1];
    }
    free(zxids);
    if (n == 0) {
        return 0;
    }
    /* Snapshots first: one without the log behind it would be of no use. */
    rv = remove_doomed(d, &list, err);
    free(list.names);
    return rv != 0 ? rv : txnlog_purge(log, list.oldest, err);
}
