/*
 * snapshot_incoming: a snapshot that a leader sends, taken in as it comes: each piece goes to the disk and into the
 * state that is being built. Little is left to be done when it is whole: it is synced, and gets its name.
 *
 *   incoming.snapshot --whole, synced--> snapshot.<zxid>
 *
 * Under its first name it is evidence of nothing (design: 4, lesson 6): the next one overwrites it.
 */
#include "snapshot_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define INCOMING_NAME "incoming.snapshot"
/* What waits in the machine's memory to be written: one sync of everything at the end would take as long as all did. */
#define SYNC_BYTES (UINT64_C(32) << 20)

struct snapshot_incoming {
    struct disk *disk;
    struct disk_file *file; /* NULL before the first piece, and once it is finished */
    struct snapshot_reader *reader;
    uint64_t offset;
    uint64_t synced;
};

struct snapshot_incoming *snapshot_incoming_new(struct disk *d)
{
    struct snapshot_incoming *in = calloc(1, sizeof(*in));

    if (in == NULL) {
        abort();
    }
    in->disk = d;
    in->reader = snapshot_reader_new();
    return in;
}

static void close_file(struct snapshot_incoming *in)
{
    if (in->file != NULL) {
        in->disk->ops->close(in->file);
        in->file = NULL;
    }
}

void snapshot_incoming_free(struct snapshot_incoming *in)
{
    if (in == NULL) {
        return;
    }
    close_file(in);
    snapshot_reader_free(in->reader);
    free(in);
}

static int write_piece(struct snapshot_incoming *in, const uint8_t *bytes, size_t len)
{
    const struct disk_ops *ops = in->disk->ops;
    int rv = 0;

    if (in->file == NULL) {
        rv = ops->open(in->disk, INCOMING_NAME, DISK_CREATE, &in->file);
        if (rv == 0) {
            rv = ops->truncate(in->file, 0);
        }
    }
    if (rv == 0) {
        rv = ops->pwrite(in->file, bytes, len, in->offset);
    }
    if (rv != 0) {
        return rv;
    }
    in->offset += len;
    if (in->offset - in->synced >= SYNC_BYTES) {
        rv = ops->sync(in->file);
        in->synced = in->offset;
    }
    return rv;
}

int snapshot_incoming_feed(struct snapshot_incoming *in, const uint8_t *bytes, size_t len, struct error *err)
{
    int rv = write_piece(in, bytes, len);

    if (rv != 0) {
        return error_set(err, rv, "write %s: %s", INCOMING_NAME, strerror(-rv));
    }
    return snapshot_reader_feed(in->reader, bytes, len, err);
}

static int keep_file(struct snapshot_incoming *in, uint64_t zxid, struct error *err)
{
    const struct disk_ops *ops = in->disk->ops;
    char name[SNAPSHOT_NAME_MAX];
    int rv;

    snapshot_name(name, zxid, "");
#ifdef ZNODEFS_MUTANT_SNAPSHOT_NOT_SYNCED
    rv = 0; /* Seeded fault. */
#else
    rv = ops->sync(in->file);
#endif
    close_file(in);
    if (rv == 0) {
        rv = ops->rename(in->disk, INCOMING_NAME, name);
    }
    if (rv == 0) {
        rv = ops->sync_dir(in->disk);
    }
    return rv == 0 ? 0 : error_set(err, rv, "keep %s: %s", name, strerror(-rv));
}

int snapshot_incoming_finish(struct snapshot_incoming *in, uint64_t zxid, struct state **ret_state, struct error *err)
{
    struct state *state;
    int rv;

    rv = snapshot_reader_finish(in->reader, &state, err);
    if (rv != 0) {
        return rv;
    }
    if (state_zxid(state) != zxid) {
        rv = error_set(err, -EBADMSG, "it is at 0x%" PRIx64 ", not at the zxid that was announced, 0x%" PRIx64,
                       state_zxid(state), zxid);
    } else {
        rv = keep_file(in, zxid, err);
    }
    if (rv != 0) {
        state_free(state);
        return rv;
    }
    *ret_state = state;
    return 0;
}

int snapshot_incoming_remove(struct disk *d)
{
    int rv = d->ops->unlink(d, INCOMING_NAME);

    return rv == -ENOENT ? 0 : rv;
}
