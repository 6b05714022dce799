/* What every disk can do with the functions of its table. */
#include "disk.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBE_NAME "room.tmp"

static int write_whole(struct disk *d, const char *name, const void *bytes, size_t len)
{
    struct disk_file *file;
    int rv;

    rv = d->ops->open(d, name, DISK_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    /* What a crash left under this name goes first. */
    rv = d->ops->truncate(file, 0);
    if (rv == 0) {
        rv = d->ops->pwrite(file, bytes, len, 0);
    }
    if (rv == 0) {
        rv = d->ops->sync(file);
    }
    d->ops->close(file);
    return rv;
}

int disk_replace(struct disk *d, const char *name, const void *bytes, size_t len)
{
    char tmp[NAME_MAX + 1];
    int n;
    int rv;

    n = snprintf(tmp, sizeof(tmp), "%s.tmp", name);
    assert(n > 0 && (size_t)n < sizeof(tmp));
    rv = write_whole(d, tmp, bytes, len);
    if (rv != 0) {
        return rv;
    }
    rv = d->ops->rename(d, tmp, name);
    if (rv != 0) {
        return rv;
    }
    return d->ops->sync_dir(d);
}

static int write_zeros(struct disk *d, struct disk_file *file, size_t bytes)
{
    uint8_t zeros[4096] = {0};
    size_t at;
    int rv;

    rv = d->ops->truncate(file, 0);
    for (at = 0; at < bytes && rv == 0; at += sizeof(zeros)) {
        rv = d->ops->pwrite(file, zeros, sizeof(zeros), at);
    }
    return rv == 0 ? d->ops->sync(file) : rv;
}

int disk_probe_remove(struct disk *d)
{
    int rv = d->ops->unlink(d, PROBE_NAME);

    return rv == -ENOENT ? 0 : rv;
}

/* What statvfs(3) tells knows nothing of quotas, and holds back what is kept for root. */
int disk_probe_room(struct disk *d, size_t bytes)
{
    struct disk_file *file;
    int removed;
    int rv;

    if (d->forgets) {
        return 0;
    }
    rv = d->ops->open(d, PROBE_NAME, DISK_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = write_zeros(d, file, bytes);
    d->ops->close(file);
    removed = disk_probe_remove(d);
    return rv != 0 ? rv : removed;
}

static int read_file(struct disk *d, struct disk_file *file, size_t max, uint8_t **ret_bytes, size_t *ret_len)
{
    uint8_t *bytes;
    uint64_t size;
    size_t len;
    int rv;

    rv = d->ops->size(file, &size);
    if (rv != 0) {
        return rv;
    }
    if (size > max) {
        return -EFBIG;
    }
    bytes = malloc(size > 0 ? (size_t)size : 1);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    rv = d->ops->pread(file, bytes, (size_t)size, 0, &len);
    if (rv != 0) {
        free(bytes);
        return rv;
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return 0;
}

int disk_read_all(struct disk *d, const char *name, size_t max, uint8_t **ret_bytes, size_t *ret_len)
{
    struct disk_file *file;
    int rv;

    rv = d->ops->open(d, name, 0, &file);
    if (rv != 0) {
        return rv;
    }
    rv = read_file(d, file, max, ret_bytes, ret_len);
    d->ops->close(file);
    return rv;
}
