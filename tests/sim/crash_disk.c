#include "crash_disk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct image {
    uint8_t *bytes;
    uint64_t size;
    uint64_t cap;
};

/* A write or a truncation that no sync has covered yet. */
struct pending {
    struct pending *next;
    bool is_truncate;
    uint64_t offset; /* of a truncation: the new size */
    size_t len;
    uint8_t bytes[];
};

/* A file, alive while a directory entry, a pending directory operation or a handle counts on it. */
struct inode {
    struct inode *next;
    struct inode **prev_link;
    unsigned refs;
    struct image seen;
    struct image durable;
    struct pending *head;
    struct pending **tail;
};

struct entry {
    struct entry *next;
    char *name;
    struct inode *inode;
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
    struct inode *inode;
};

struct crash_disk {
    struct disk base;
    uint64_t random;
    struct inode *inodes; /* all, newest first */
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
    unsigned torn_percent;
    uint64_t limit; /* of the sum of sizes */
};

struct disk_file {
    struct crash_disk *disk;
    struct inode *inode;
    uint64_t generation;
};

static struct crash_disk *crash_of(struct disk *d)
{
    return (struct crash_disk *)d;
}

static void *must_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

static char *must_copy(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL) {
        abort();
    }
    return copy;
}

/* splitmix64 */
static uint64_t next_random(struct crash_disk *cd)
{
    uint64_t z = (cd->random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool chance(struct crash_disk *cd, unsigned percent)
{
    return next_random(cd) % 100 < percent;
}

/* Images */

static void image_resize(struct image *im, uint64_t size)
{
    uint64_t cap = im->cap;

    if (size > cap) {
        cap = cap * 2 > size ? cap * 2 : size;
        im->bytes = realloc(im->bytes, (size_t)cap);
        if (im->bytes == NULL) {
            abort();
        }
        im->cap = cap;
    }
    if (size > im->size) {
        memset(im->bytes + im->size, 0, (size_t)(size - im->size));
    }
    im->size = size;
}

static void image_write(struct image *im, uint64_t offset, const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    if (offset + len > im->size) {
        image_resize(im, offset + len);
    }
    memcpy(im->bytes + offset, bytes, len);
}

static void image_copy(struct image *to, const struct image *from)
{
    to->size = 0;
    image_write(to, 0, from->bytes, (size_t)from->size);
}

/* Files and what is pending for them */

static struct inode *inode_new(struct crash_disk *cd)
{
    struct inode *in = must_alloc(sizeof(*in));

    in->tail = &in->head;
    in->next = cd->inodes;
    in->prev_link = &cd->inodes;
    if (in->next != NULL) {
        in->next->prev_link = &in->next;
    }
    cd->inodes = in;
    return in;
}

static void inode_drop_pending(struct inode *in)
{
    struct pending *p;

    while ((p = in->head) != NULL) {
        in->head = p->next;
        free(p);
    }
    in->tail = &in->head;
}

static struct inode *inode_ref(struct inode *in)
{
    in->refs++;
    return in;
}

static void inode_unref(struct inode *in)
{
    assert(in->refs > 0);
    in->refs--;
    if (in->refs > 0) {
        return;
    }
    *in->prev_link = in->next;
    if (in->next != NULL) {
        in->next->prev_link = in->prev_link;
    }
    inode_drop_pending(in);
    free(in->seen.bytes);
    free(in->durable.bytes);
    free(in);
}

static void inode_add_pending(struct inode *in, bool is_truncate, uint64_t offset, const void *bytes, size_t len)
{
    struct pending *p = must_alloc(sizeof(*p) + len);

    p->is_truncate = is_truncate;
    p->offset = offset;
    p->len = len;
    if (len > 0) {
        memcpy(p->bytes, bytes, len);
    }
    *in->tail = p;
    in->tail = &p->next;
}

static void make_all_durable(struct inode *in)
{
    const struct pending *p;

    for (p = in->head; p != NULL; p = p->next) {
        if (p->is_truncate) {
            image_resize(&in->durable, p->offset);
        } else {
            image_write(&in->durable, p->offset, p->bytes, p->len);
        }
    }
    inode_drop_pending(in);
}

/* Writes the sectors of `p` that survive. */
static void tear(struct crash_disk *cd, struct inode *in, const struct pending *p, unsigned keep_percent)
{
    size_t done;
    size_t piece;

    for (done = 0; done < p->len; done += piece) {
        piece = CRASH_DISK_SECTOR - (size_t)((p->offset + done) % CRASH_DISK_SECTOR);
        if (piece > p->len - done) {
            piece = p->len - done;
        }
        if (chance(cd, keep_percent)) {
            image_write(&in->durable, p->offset + done, p->bytes + done, piece);
        }
    }
}

/* How much survives differs from file to file and crash to crash, so that seeds also visit "all" and "nothing". */
static void make_some_durable(struct crash_disk *cd, struct inode *in)
{
    unsigned keep_percent = (unsigned)(next_random(cd) % 5) * 25;
    const struct pending *p;

    for (p = in->head; p != NULL; p = p->next) {
        if (!p->is_truncate && chance(cd, cd->torn_percent)) {
            tear(cd, in, p, keep_percent);
        } else if (!chance(cd, keep_percent)) {
            continue;
        } else if (p->is_truncate) {
            image_resize(&in->durable, p->offset);
        } else {
            image_write(&in->durable, p->offset, p->bytes, p->len);
        }
    }
    inode_drop_pending(in);
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
    inode_unref(e->inode);
    free(e->name);
    free(e);
}

static void dir_set(struct entry **list, const char *name, struct inode *in)
{
    struct entry **link;
    struct entry *e;

    inode_ref(in); /* first: it may be the one that the old entry holds */
    dir_remove(list, name);
    link = dir_find(list, name);
    e = must_alloc(sizeof(*e));
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
        if (percent == 100 || chance(cd, percent)) {
            dir_apply(&cd->durable, op);
        }
        inode_unref(op->inode);
        free(op->name);
        free(op->to);
        free(op);
    }
    cd->dir_tail = &cd->dir_head;
}

static void dir_do(struct crash_disk *cd, enum dir_op_kind kind, const char *name, const char *to, struct inode *in)
{
    struct dir_op *op = must_alloc(sizeof(*op));

    op->kind = kind;
    op->name = must_copy(name);
    op->to = to != NULL ? must_copy(to) : NULL;
    op->inode = inode_ref(in);
    *cd->dir_tail = op;
    cd->dir_tail = &op->next;
    dir_apply(&cd->seen, op);
}

/* The table. An operation that changes something stands between op_begin() and op_end(). */

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
    return 0;
}

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
        dir_do(cd, DIR_CREATE, name, NULL, inode_new(cd));
        e = *dir_find(&cd->seen, name);
    }
    if (cd->dying) {
        return -EIO;
    }
    f = must_alloc(sizeof(*f));
    f->disk = cd;
    f->inode = inode_ref(e->inode);
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
    struct inode *in = f->inode;
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
    image_write(&in->seen, offset, bytes, len);
    if (len > 0) {
        inode_add_pending(in, false, offset, bytes, len);
    }
    return op_end(f->disk, rv);
}

static int crash_pread(struct disk_file *f, void *bytes, size_t len, uint64_t offset, size_t *ret_len)
{
    const struct image *im = &f->inode->seen;

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
        make_some_durable(cd, f->inode);
        return op_end(cd, -EIO);
    }
    make_all_durable(f->inode);
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
    if (size != f->inode->seen.size) {
        image_resize(&f->inode->seen, size);
        inode_add_pending(f->inode, true, size, NULL, 0);
    }
    return op_end(f->disk, 0);
}

static void crash_close(struct disk_file *f)
{
    inode_unref(f->inode);
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
    struct crash_disk *cd = must_alloc(sizeof(*cd));

    cd->base.ops = &crash_ops;
    cd->random = seed;
    cd->dir_tail = &cd->dir_head;
    cd->ops_left = CRASH_DISK_NEVER;
    cd->syncs_left = CRASH_DISK_NEVER;
    cd->torn_percent = 50;
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
    struct inode *in;
    const struct entry *e;

    crash_disk_crash(d);
    for (in = cd->inodes; in != NULL; in = in->next) {
        make_some_durable(cd, in);
        image_copy(&in->seen, &in->durable);
    }
    dir_settle(cd, (unsigned)(next_random(cd) % 5) * 25);
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

void crash_disk_fail_sync_after(struct disk *d, uint64_t n_syncs)
{
    crash_of(d)->syncs_left = n_syncs;
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
    struct inode *in;
    struct pending *p;

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
