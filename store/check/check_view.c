/* check_view: recovery cuts, removes and renames; here it is only told that it did. */
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct view {
    struct disk disk; /* first member */
    struct disk *base;
    check_view_cb cb;
    void *arg;
};

/* Implementations of disk each have their own. */
struct disk_file {
    struct view *view;
    struct disk_file *file;
    char name[NAME_MAX + 1];
};

static struct view *view_of(struct disk *d)
{
    return (struct view *)d;
}

static int view_open(struct disk *d, const char *name, int flags, struct disk_file **ret_file)
{
    struct view *v = view_of(d);
    struct disk_file *f;
    int rv;

    (void)flags; /* what is not there is not made */
    f = calloc(1, sizeof(*f));
    if (f == NULL) {
        abort();
    }
    rv = v->base->ops->open(v->base, name, 0, &f->file);
    if (rv != 0) {
        free(f);
        return rv;
    }
    f->view = v;
    (void)snprintf(f->name, sizeof(f->name), "%s", name);
    *ret_file = f;
    return 0;
}

/* Recovery writes nothing but what it has read there. */
static int view_pwrite(struct disk_file *f, const void *bytes, size_t len, uint64_t offset)
{
    (void)f;
    (void)bytes;
    (void)len;
    (void)offset;
    return 0;
}

static int view_pread(struct disk_file *f, void *bytes, size_t len, uint64_t offset, size_t *ret_len)
{
    return f->view->base->ops->pread(f->file, bytes, len, offset, ret_len);
}

static int view_size(struct disk_file *f, uint64_t *ret_size)
{
    return f->view->base->ops->size(f->file, ret_size);
}

static int view_sync(struct disk_file *f)
{
    (void)f;
    return 0;
}

static void note(const struct view *v, const char *text)
{
    v->cb(v->arg, text);
}

static int view_truncate(struct disk_file *f, uint64_t size)
{
    char text[NAME_MAX + 64];

    (void)snprintf(text, sizeof(text), "cut %s at offset %" PRIu64, f->name, size);
    note(f->view, text);
    return 0;
}

static void view_close(struct disk_file *f)
{
    f->view->base->ops->close(f->file);
    free(f);
}

static int view_rename(struct disk *d, const char *from, const char *to)
{
    char text[2 * NAME_MAX + 64];

    (void)snprintf(text, sizeof(text), "rename %s to %s", from, to);
    note(view_of(d), text);
    return 0;
}

static int view_unlink(struct disk *d, const char *name)
{
    char text[NAME_MAX + 64];

    (void)snprintf(text, sizeof(text), "remove %s", name);
    note(view_of(d), text);
    return 0;
}

static int view_sync_dir(struct disk *d)
{
    (void)d;
    return 0;
}

static int view_list(struct disk *d, disk_list_cb cb, void *arg)
{
    struct disk *base = view_of(d)->base;

    return base->ops->list(base, cb, arg);
}

static const struct disk_ops view_ops = {
    .open = view_open,
    .pwrite = view_pwrite,
    .pread = view_pread,
    .size = view_size,
    .sync = view_sync,
    .truncate = view_truncate,
    .close = view_close,
    .rename = view_rename,
    .unlink = view_unlink,
    .sync_dir = view_sync_dir,
    .list = view_list,
};

struct disk *check_view_new(struct disk *base, check_view_cb cb, void *arg)
{
    struct view *v = calloc(1, sizeof(*v));

    if (v == NULL) {
        abort();
    }
    v->disk.ops = &view_ops;
    v->base = base;
    v->cb = cb;
    v->arg = arg;
    return &v->disk;
}

void check_view_free(struct disk *view)
{
    free(view);
}
