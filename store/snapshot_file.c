/*
 * snapshot_file: snapshots on a disk, as files snapshot.<zxid in hex>. One that has its name is whole: it was written
 * under another name and synced before.
 */
#include "snapshot_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_PREFIX "snapshot."

struct file_sink {
    struct disk *disk;
    struct disk_file *file;
    uint64_t offset;
};

void snapshot_name(char name[SNAPSHOT_NAME_MAX], uint64_t zxid, const char *suffix)
{
    (void)snprintf(name, SNAPSHOT_NAME_MAX, NAME_PREFIX "%" PRIx64 "%s", zxid, suffix);
}

static int file_sink_cb(void *arg, const uint8_t *bytes, size_t len)
{
    struct file_sink *sink = arg;
    int rv = sink->disk->ops->pwrite(sink->file, bytes, len, sink->offset);

    if (rv == 0) {
        sink->offset += len;
    }
    return rv;
}

/* Writes and syncs the file `name`; a leftover of the same name is overwritten. */
static int write_file(struct disk *d, const char *name, const struct state *s)
{
    struct file_sink sink = {.disk = d};
    int rv;

    rv = d->ops->open(d, name, DISK_CREATE, &sink.file);
    if (rv != 0) {
        return rv;
    }
    rv = d->ops->truncate(sink.file, 0);
    if (rv == 0) {
        rv = snapshot_write(s, file_sink_cb, &sink);
    }
    if (rv == 0) {
        rv = d->ops->sync(sink.file);
    }
    d->ops->close(sink.file);
    return rv;
}

int snapshot_save(struct disk *d, const struct state *s, struct error *err)
{
    char name[SNAPSHOT_NAME_MAX];
    char tmp[SNAPSHOT_NAME_MAX];
    int rv;

    if (d->forgets) {
        return 0;
    }
    snapshot_name(name, state_zxid(s), "");
    snapshot_name(tmp, state_zxid(s), ".tmp");
    rv = write_file(d, tmp, s);
    if (rv == 0) {
        rv = d->ops->rename(d, tmp, name);
    }
    if (rv != 0) {
        /* The leftover takes room that a full disk needs; if it stays, the next purge removes it. */
        (void)d->ops->unlink(d, tmp);
        return error_set(err, rv, "write %s: %s", name, strerror(-rv));
    }
    rv = d->ops->sync_dir(d);
    if (rv != 0) {
        return error_set(err, rv, "sync the directory of %s: %s", name, strerror(-rv));
    }
    return 0;
}

static int feed_file(struct disk *d, struct disk_file *file, struct snapshot_reader *r, struct error *err)
{
    uint8_t *piece = malloc(SNAPSHOT_CHUNK_MAX);
    uint64_t offset = 0;
    size_t len = SNAPSHOT_CHUNK_MAX;
    int rv = 0;

    if (piece == NULL) {
        abort();
    }
    while (rv == 0 && len == SNAPSHOT_CHUNK_MAX) {
        rv = d->ops->pread(file, piece, SNAPSHOT_CHUNK_MAX, offset, &len);
        if (rv != 0) {
            rv = error_set(err, rv, "read at offset %" PRIu64 ": %s", offset, strerror(-rv));
            break;
        }
        offset += len;
        rv = snapshot_reader_feed(r, piece, len, err);
    }
    free(piece);
    return rv;
}

int snapshot_load(struct disk *d, uint64_t zxid, struct state **ret_state, struct error *err)
{
    char name[SNAPSHOT_NAME_MAX];
    struct snapshot_reader *r;
    struct disk_file *file;
    struct state *s = NULL;
    int rv;

    snapshot_name(name, zxid, "");
    rv = d->ops->open(d, name, 0, &file);
    if (rv != 0) {
        return error_set(err, rv, "load %s: %s", name, strerror(-rv));
    }
    r = snapshot_reader_new();
    rv = feed_file(d, file, r, err);
    if (rv == 0) {
        rv = snapshot_reader_finish(r, &s, err);
    }
    if (rv == 0 && state_zxid(s) != zxid) {
        rv = error_set(err, -EBADMSG, "the header at offset 0 is of zxid 0x%" PRIx64, state_zxid(s));
        state_free(s);
    }
    snapshot_reader_free(r);
    d->ops->close(file);
    if (rv != 0) {
        return error_wrap(err, rv, "load %s", name);
    }
    *ret_state = s;
    return 0;
}

struct listing {
    uint64_t *zxids;
    size_t n;
    size_t cap;
};

/* Only names that snapshot_name() makes: lower case, no leading zero, nothing behind. */
static bool name_parse(const char *name, uint64_t *ret_zxid)
{
    char again[SNAPSHOT_NAME_MAX];
    uint64_t zxid;

    if (sscanf(name, NAME_PREFIX "%16" SCNx64, &zxid) != 1) {
        return false;
    }
    snapshot_name(again, zxid, "");
    if (strcmp(name, again) != 0) {
        return false;
    }
    *ret_zxid = zxid;
    return true;
}

static int list_cb(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t zxid;

    if (!name_parse(name, &zxid)) {
        return 0;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 8 : 2 * l->cap;
        uint64_t *zxids = realloc(l->zxids, cap * sizeof(*zxids));

        if (zxids == NULL) {
            abort();
        }
        l->zxids = zxids;
        l->cap = cap;
    }
    l->zxids[l->n++] = zxid;
    return 0;
}

static int compare_newest_first(const void *a, const void *b)
{
    uint64_t za = *(const uint64_t *)a;
    uint64_t zb = *(const uint64_t *)b;

    return za < zb ? 1 : za > zb ? -1 : 0;
}

int snapshot_list(struct disk *d, uint64_t **ret_zxids, size_t *ret_n)
{
    struct listing l = {0};
    int rv = d->ops->list(d, list_cb, &l);

    if (rv != 0) {
        free(l.zxids);
        return rv;
    }
    if (l.n > 0) {
        qsort(l.zxids, l.n, sizeof(*l.zxids), compare_newest_first);
    }
    *ret_zxids = l.zxids;
    *ret_n = l.n;
    return 0;
}
