#include "crash_disk.h"

#include "crash_file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *next;
    char *name;
    struct crash_inode *inode;
};

enum dir_op_kind {
    DIR_CREATE,
    DIR_UNLINK,
    DIR_RENAME,
};

struct dir_op {
    struct dir_op *next;
    enum dir_op_kind kind;
    char *name;
    char *to; /* of a rename, else NULL */
    struct crash_inode *inode;
};

struct crash_disk {
    struct disk base;
    uint64_t random;
    struct crash_inode *inodes; /* all, newest first */
    struct entry *seen;
    struct entry *durable;
    struct dir_op *dir_head;
    struct dir_op **dir_tail;
    uint64_t generation; /* of handles: grows with each crash */
    bool dead;
    bool dying; /* the operation under way is the one that crashes */
    uint64_t ops;
    uint64_t ops_left;
    uint64_t syncs_left;
    uint64_t fail_left; /* operations before the one that fails */
    unsigned torn_percent;
    unsigned kept_percent;
    uint64_t limit; /* of the sum of sizes */
};

struct disk_file {
    struct crash_disk *disk;
    struct crash_inode *inode;
    uint64_t generation;
};

static struct crash_disk *crash_of(struct disk *d)
{
    return (struct crash_disk *)d;
}

static char *must_copy(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL) {
        abort();
    }
    return copy;
}

/* The directory */

static struct entry **dir_find(struct entry **list, const char *name)
{
    while (*list != NULL && strcmp((*list)->name, name) != 0) {
        list = &(*list)->next;
    }
    return list;
}

static void dir_remove(struct entry **list, const char *name)
{
    struct entry **link = dir_find(list, name);
    struct entry *e = *link;

    if (e == NULL) {
        return;
    }
    *link = e->next;
    crash_inode_unref(e->inode);
    free(e->name);
    free(e);
}

static void dir_set(struct entry **list, const char *name, struct crash_inode *in)
{
    struct entry **link;
    struct entry *e;

    crash_inode_ref(in); /* first: it may be the one that the old entry holds */
    dir_remove(list, name);
    link = dir_find(list, name);
    e = crash_alloc(sizeof(*e));
    e->name = must_copy(name);
    e->inode = in;
    *link = e;
}

static void dir_clear(struct entry **list)
{
    while (*list != NULL) {
        dir_remove(list, (*list)->name);
    }
}

static void dir_apply(struct entry **list, const struct dir_op *op)
{
    struct entry *e = *dir_find(list, op->name);
    bool is_there = e != NULL && e->inode == op->inode;

    switch (op->kind) {
    case DIR_CREATE:
        dir_set(list, op->name, op->inode);
        break;
    case DIR_UNLINK:
        if (is_there) {
            dir_remove(list, op->name);
        }
        break;
    case DIR_RENAME:
        dir_set(list, op->to, op->inode);
        if (is_there) {
            dir_remove(list, op->name);
        }
        break;
    }
}

/* Makes each pending directory operation durable with a chance of `percent`, forgets the others. */
static void dir_settle(struct crash_disk *cd, unsigned percent)
{
    struct dir_op *op;

    while ((op = cd->dir_head) != NULL) {
        cd->dir_head = op->next;
        if (percent == 100 || crash_chance(&cd->random, percent)) {
            dir_apply(&cd->durable, op);
        }
        crash_inode_unref(op->inode);
        free(op->name);
        free(op->to);
        free(op);
    }
    cd->dir_tail = &cd->dir_head;
}

static void dir_do(struct crash_disk *cd, enum dir_op_kind kind, const char *name, const char *to,
                   struct crash_inode *in)
{
    struct dir_op *op = crash_alloc(sizeof(*op));

    op->kind = kind;
    op->name = must_copy(name);
    op->to = to != NULL ? must_copy(to) : NULL;
    op->inode = crash_inode_ref(in);
    *cd->dir_tail = op;
    cd->dir_tail = &op->next;
    dir_apply(&cd->seen, op);
}

/* The table. An operation that changes something stands between op_begin() and op_end(). */

static void die(struct crash_disk *cd)
{
    cd->dying = false;
    cd->dead = true;
    cd->generation++;
    cd->ops_left = CRASH_DISK_NEVER;
}

static int op_end(struct crash_disk *cd, int rv)
{
    if (cd->dying) {
        die(cd);
        return -EIO;
    }
    return rv;
}

static int op_begin(struct crash_disk *cd)
{
    if (cd->dead) {
        return -EIO;
    }
    cd->ops++;
    if (cd->ops_left == 0) {
        cd->dying = true;
    } else if (cd->ops_left != CRASH_DISK_NEVER) {
        cd->ops_left--;
    }
    if (cd->fail_left != CRASH_DISK_NEVER && cd->fail_left-- == 0) {
        cd->fail_left = CRASH_DISK_NEVER;
        return cd->dying ? op_end(cd, -EIO) : -EIO;
    }
    return 0;
}

static bool sync_fails(struct crash_disk *cd)
{
    if (cd->syncs_left == CRASH_DISK_NEVER) {
        return false;
    }
    if (cd->syncs_left > 0) {
        cd->syncs_left--;
        return false;
    }
    cd->syncs_left = CRASH_DISK_NEVER;
    return true;
}

static uint64_t bytes_free(const struct crash_disk *cd)
{
    const struct entry *e;
    uint64_t used = 0;

    for (e = cd->seen; e != NULL; e = e->next) {
        used += e->inode->seen.size;
    }
    return used < cd->limit ? cd->limit - used : 0;
}

static bool handle_works(const struct disk_file *f)
{
    return !f->disk->dead && f->generation == f->disk->generation;
}

static int crash_open_file(struct crash_disk *cd, const char *name, int flags, struct disk_file **ret_file)
{
    struct entry *e = *dir_find(&cd->seen, name);
    struct disk_file *f;

    if (e != NULL && (flags & DISK_EXCL) != 0) {
        return -EEXIST;
    }
    if (e == NULL && (flags & DISK_CREATE) == 0) {
        return -ENOENT;
    }
    if (e == NULL) {
        dir_do(cd, DIR_CREATE, name, NULL, crash_inode_new(&cd->inodes));
        e = *dir_find(&cd->seen, name);
    }
    if (cd->dying) {
        return -EIO;
    }
    f = crash_alloc(sizeof(*f));
    f->disk = cd;
    f->inode = crash_inode_ref(e->inode);
    f->generation = cd->generation;
    *ret_file = f;
    return 0;
}

static int crash_open(struct disk *d, const char *name, int flags, struct disk_file **ret_file)
{
    struct crash_disk *cd = crash_of(d);
    int rv;

    if ((flags & DISK_CREATE) == 0) {
        return cd->dead ? -EIO : crash_open_file(cd, name, flags, ret_file);
    }
    rv = op_begin(cd);
    if (rv != 0) {
        return rv;
    }
    return op_end(cd, crash_open_file(cd, name, flags, ret_file));
}

static int crash_pwrite(struct disk_file *f, const void *bytes, size_t len, uint64_t offset)
{
    struct crash_inode *in = f->inode;
    uint64_t room;
    int rv;

    if (!handle_works(f)) {
        return -EIO;
    }
    rv = op_begin(f->disk);
    if (rv != 0) {
        return rv;
    }
    room = bytes_free(f->disk);
    if (offset + len > in->seen.size && offset + len - in->seen.size > room) {
        rv = -ENOSPC;
        len = in->seen.size + room > offset ? (size_t)(in->seen.size + room - offset) : 0;
    }
    crash_inode_write(in, offset, bytes, len);
    return op_end(f->disk, rv);
}

static int crash_pread(struct disk_file *f, void *bytes, size_t len, uint64_t offset, size_t *ret_len)
{
    const struct crash_image *im = &f->inode->seen;

    if (!handle_works(f)) {
        return -EIO;
    }
    if (offset >= im->size) {
        len = 0;
    } else if (len > im->size - offset) {
        len = (size_t)(im->size - offset);
    }
    if (len > 0) {
        memcpy(bytes, im->bytes + offset, len);
    }
    *ret_len = len;
    return 0;
}

static int crash_size(struct disk_file *f, uint64_t *ret_size)
{
    if (!handle_works(f)) {
        return -EIO;
    }
    *ret_size = f->inode->seen.size;
    return 0;
}

static int crash_sync(struct disk_file *f)
{
    struct crash_disk *cd = f->disk;
    int rv;

    if (!handle_works(f)) {
        return -EIO;
    }
    rv = op_begin(cd);
    if (rv != 0) {
        return rv;
    }
    if (cd->dying) {
        return op_end(cd, 0);
    }
    if (sync_fails(cd)) {
        crash_inode_fail_sync(f->inode, &cd->random, cd->torn_percent);
        return op_end(cd, -EIO);
    }
    crash_inode_keep_all(f->inode);
    return op_end(cd, 0);
}

static int crash_truncate(struct disk_file *f, uint64_t size)
{
    int rv;

    if (!handle_works(f)) {
        return -EIO;
    }
    rv = op_begin(f->disk);
    if (rv != 0) {
        return rv;
    }
    crash_inode_truncate(f->inode, size);
    return op_end(f->disk, 0);
}

static void crash_close(struct disk_file *f)
{
    crash_inode_unref(f->inode);
    free(f);
}

static int crash_rename(struct disk *d, const char *from, const char *to)
{
    struct crash_disk *cd = crash_of(d);
    struct entry *e;
    int rv;

    rv = op_begin(cd);
    if (rv != 0) {
        return rv;
    }
    e = *dir_find(&cd->seen, from);
    if (e == NULL) {
        return op_end(cd, -ENOENT);
    }
    if (strcmp(from, to) != 0) {
        dir_do(cd, DIR_RENAME, from, to, e->inode);
    }
    return op_end(cd, 0);
}

static int crash_unlink(struct disk *d, const char *name)
{
    struct crash_disk *cd = crash_of(d);
    struct entry *e;
    int rv;

    rv = op_begin(cd);
    if (rv != 0) {
        return rv;
    }
    e = *dir_find(&cd->seen, name);
    if (e == NULL) {
        return op_end(cd, -ENOENT);
    }
    dir_do(cd, DIR_UNLINK, name, NULL, e->inode);
    return op_end(cd, 0);
}

static int crash_sync_dir(struct disk *d)
{
    struct crash_disk *cd = crash_of(d);
    int rv;

    rv = op_begin(cd);
    if (rv != 0) {
        return rv;
    }
    if (cd->dying) {
        return op_end(cd, 0);
    }
    if (sync_fails(cd)) {
        dir_settle(cd, 50);
        return op_end(cd, -EIO);
    }
    dir_settle(cd, 100);
    return op_end(cd, 0);
}

static int crash_list(struct disk *d, disk_list_cb cb, void *arg)
{
    struct crash_disk *cd = crash_of(d);
    struct entry *e;
    struct entry *next;
    int rv;

    if (cd->dead) {
        return -EIO;
    }
    for (e = cd->seen; e != NULL; e = next) {
        next = e->next; /* the callback may unlink what it was told */
        rv = cb(arg, e->name);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static const struct disk_ops crash_ops = {
    .open = crash_open,
    .pwrite = crash_pwrite,
    .pread = crash_pread,
    .size = crash_size,
    .sync = crash_sync,
    .truncate = crash_truncate,
    .close = crash_close,
    .rename = crash_rename,
    .unlink = crash_unlink,
    .sync_dir = crash_sync_dir,
    .list = crash_list,
};

/* What the header says */

struct disk *crash_disk_new(uint64_t seed)
{
    struct crash_disk *cd = crash_alloc(sizeof(*cd));

    cd->base.ops = &crash_ops;
    cd->random = seed;
    cd->dir_tail = &cd->dir_head;
    cd->ops_left = CRASH_DISK_NEVER;
    cd->syncs_left = CRASH_DISK_NEVER;
    cd->fail_left = CRASH_DISK_NEVER;
    cd->torn_percent = 50;
    cd->kept_percent = CRASH_DISK_RANDOM;
    cd->limit = CRASH_DISK_UNLIMITED;
    return &cd->base;
}

void crash_disk_free(struct disk *d)
{
    struct crash_disk *cd;

    if (d == NULL) {
        return;
    }
    cd = crash_of(d);
    dir_settle(cd, 0);
    dir_clear(&cd->seen);
    dir_clear(&cd->durable);
    assert(cd->inodes == NULL); /* else a handle is still open */
    free(cd);
}

void crash_disk_crash_after(struct disk *d, uint64_t n_ops)
{
    crash_of(d)->ops_left = n_ops;
}

void crash_disk_crash(struct disk *d)
{
    if (!crash_of(d)->dead) {
        die(crash_of(d));
    }
}

bool crash_disk_is_dead(const struct disk *d)
{
    return ((const struct crash_disk *)d)->dead;
}

void crash_disk_restart(struct disk *d)
{
    struct crash_disk *cd = crash_of(d);
    struct crash_inode *in;
    const struct entry *e;

    crash_disk_crash(d);
    for (in = cd->inodes; in != NULL; in = in->next) {
        crash_inode_keep_some(in, &cd->random, cd->torn_percent, cd->kept_percent);
        crash_inode_forget(in);
    }
    dir_settle(cd, cd->kept_percent <= 100 ? cd->kept_percent : (unsigned)(crash_random(&cd->random) % 5) * 25);
    dir_clear(&cd->seen);
    for (e = cd->durable; e != NULL; e = e->next) {
        dir_set(&cd->seen, e->name, e->inode);
    }
    cd->dead = false;
}

uint64_t crash_disk_ops(const struct disk *d)
{
    return ((const struct crash_disk *)d)->ops;
}

void crash_disk_set_torn(struct disk *d, unsigned percent)
{
    assert(percent <= 100);
    crash_of(d)->torn_percent = percent;
}

void crash_disk_set_kept(struct disk *d, unsigned percent)
{
    crash_of(d)->kept_percent = percent;
}

void crash_disk_fail_sync_after(struct disk *d, uint64_t n_syncs)
{
    crash_of(d)->syncs_left = n_syncs;
}

void crash_disk_fail_op_after(struct disk *d, uint64_t n_ops)
{
    crash_of(d)->fail_left = n_ops;
}

void crash_disk_set_free(struct disk *d, uint64_t bytes)
{
    struct crash_disk *cd = crash_of(d);
    uint64_t used;

    cd->limit = CRASH_DISK_UNLIMITED;
    if (bytes != CRASH_DISK_UNLIMITED) {
        used = CRASH_DISK_UNLIMITED - bytes_free(cd);
        cd->limit = used + bytes;
    }
}

int crash_disk_flip(struct disk *d, const char *name, uint64_t offset, uint8_t mask)
{
    struct entry *e = *dir_find(&crash_of(d)->seen, name);
    struct crash_inode *in;
    struct crash_pending *p;

    if (e == NULL) {
        return -ENOENT;
    }
    in = e->inode;
    if (offset >= in->seen.size) {
        return -EINVAL;
    }
    in->seen.bytes[offset] ^= mask;
    if (offset < in->durable.size) {
        in->durable.bytes[offset] ^= mask;
    }
    for (p = in->head; p != NULL; p = p->next) {
        if (!p->is_truncate && offset >= p->offset && offset - p->offset < p->len) {
            p->bytes[offset - p->offset] ^= mask;
        }
    }
    return 0;
}
