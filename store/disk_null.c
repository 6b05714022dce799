#include "disk_null.h"

#include <errno.h>
#include <stdlib.h>

struct disk_file {
    uint64_t size;
};

static int null_open(struct disk *d, const char *name, int flags, struct disk_file **ret_file)
{
    struct disk_file *f;

    (void)d;
    (void)name;
    if ((flags & DISK_CREATE) == 0) {
        return -ENOENT;
    }
    f = calloc(1, sizeof(*f));
    if (f == NULL) {
        abort();
    }
    *ret_file = f;
    return 0;
}

static int null_pwrite(struct disk_file *f, const void *bytes, size_t len, uint64_t offset)
{
    (void)bytes;
    if (offset + len > f->size) {
        f->size = offset + len;
    }
    return 0;
}

static int null_pread(struct disk_file *f, void *bytes, size_t len, uint64_t offset, size_t *ret_len)
{
    (void)f;
    (void)bytes;
    (void)len;
    (void)offset;
    *ret_len = 0;
    return 0;
}

static int null_size(struct disk_file *f, uint64_t *ret_size)
{
    *ret_size = f->size;
    return 0;
}

static int null_sync(struct disk_file *f)
{
    (void)f;
    return 0;
}

static int null_truncate(struct disk_file *f, uint64_t size)
{
    f->size = size;
    return 0;
}

static void null_close(struct disk_file *f)
{
    free(f);
}

static int null_rename(struct disk *d, const char *from, const char *to)
{
    (void)d;
    (void)from;
    (void)to;
    return 0;
}

static int null_unlink(struct disk *d, const char *name)
{
    (void)d;
    (void)name;
    return 0;
}

static int null_sync_dir(struct disk *d)
{
    (void)d;
    return 0;
}

static int null_list(struct disk *d, disk_list_cb cb, void *arg)
{
    (void)d;
    (void)cb;
    (void)arg;
    return 0;
}

static const struct disk_ops null_ops = {
    .open = null_open,
    .pwrite = null_pwrite,
    .pread = null_pread,
    .size = null_size,
    .sync = null_sync,
    .truncate = null_truncate,
    .close = null_close,
    .rename = null_rename,
    .unlink = null_unlink,
    .sync_dir = null_sync_dir,
    .list = null_list,
};

struct disk *disk_null_new(void)
{
    struct disk *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        abort();
    }
    d->ops = &null_ops;
    d->forgets = true;
    return d;
}

void disk_null_free(struct disk *d)
{
    free(d);
}
