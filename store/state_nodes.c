/*
 * state_nodes: the ops that change one node: its data, its attributes, its xattrs.
 */
#include "state_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define SETATTR_ALL                                                                                                    \
    (SETATTR_MODE | SETATTR_UID | SETATTR_GID | SETATTR_SIZE | SETATTR_ATIME | SETATTR_MTIME | SETATTR_ATIME_NOW |     \
     SETATTR_MTIME_NOW | SETATTR_KILL_SUID | SETATTR_KILL_SGID)

static int get_node(const struct apply *a, struct node **ret_node)
{
    struct node *n = tree_get(a->t, a->op->ino);

    if (n == NULL) {
        return -ENOENT;
    }
    *ret_node = n;
    return 0;
}

/* A node may be larger than a limit that was lowered since: it may shrink, but not grow. */
static int check_size(const struct apply *a, const struct node *n, uint64_t size)
{
    return size > a->txn->data_max && size > n->data_len ? -EFBIG : 0;
}

/* What is left of the contents when a publish cuts them. */
static uint32_t kept_size(const struct op *op, const struct node *n)
{
#ifdef ZNODEFS_MUTANT_KEEP_OLD_TAIL
    return n->data_len; /* Seeded fault: a publish of less leaves the end of what was there. */
#endif
    return op->keep < n->data_len ? (uint32_t)op->keep : n->data_len;
}

/* The size that a publish leads to. An end beyond all numbers is too big like any other. */
static int written_size(const struct apply *a, const struct node *n, uint64_t *ret_size)
{
    const struct op *op = a->op;
    uint64_t size = kept_size(op, n);
    int rv;

    if (op->size_min > size) {
        size = op->size_min;
    }
    for (uint32_t i = 0; i < op->n_ranges; i++) {
        uint64_t end = op->ranges[i].offset + op->ranges[i].len;

        if (end < op->ranges[i].offset) {
            return -EFBIG;
        }
        /* As with write(2), nothing written at an offset does not extend. */
        if (op->ranges[i].len > 0 && end > size) {
            size = end;
        }
    }
    rv = check_size(a, n, size);
    if (rv != 0) {
        return rv;
    }
    *ret_size = size;
    return 0;
}

/* New contents in a buffer of their own: readers of the old ones keep theirs. */
static void replace_contents(const struct apply *a, struct node *n, uint32_t kept, uint32_t size)
{
    const struct op *op = a->op;
    struct buf *b;

    if (size == 0) {
        tree_set_data(a->t, n, NULL, 0, 0);
        return;
    }
    b = buf_new(size);
    b->len = size;
    if (kept > 0) {
        memcpy(b->bytes, n->data->bytes, kept);
    }
    memset(b->bytes + kept, 0, size - kept);
    for (uint32_t i = 0; i < op->n_ranges; i++) {
        if (op->ranges[i].len > 0) {
            memcpy(b->bytes + op->ranges[i].offset, op->ranges[i].bytes, op->ranges[i].len);
        }
    }
    tree_set_data(a->t, n, b, size, data_hash(b->bytes, size));
}

int apply_write(struct apply *a)
{
    struct node *n;
    uint64_t size;
    int rv;

    rv = get_node(a, &n);
    if (rv != 0) {
        return rv;
    }
    if (n->kind == NODE_SYMLINK) {
        return -EINVAL;
    }
    rv = written_size(a, n, &size);
    if (rv != 0) {
        return rv;
    }
    replace_contents(a, n, kept_size(a->op, n), (uint32_t)size);
    touch_data(a, n, !a->op->keep_times);
    tree_rehash(a->t, n);
    a->ino = n->ino;
    tell_change(a, CHANGE_DATA, n);
    return 0;
}

int apply_append(struct apply *a)
{
    const struct op *op = a->op;
    struct node *n;
    int rv;

    rv = get_node(a, &n);
    if (rv != 0) {
        return rv;
    }
    if (n->kind != NODE_FILE) {
        return n->kind == NODE_DIR ? -EISDIR : -EINVAL;
    }
    rv = check_size(a, n, (uint64_t)n->data_len + op->data_len);
    if (rv != 0) {
        return rv;
    }
    a->ino = n->ino;
    if (op->data_len == 0) {
        return 0;
    }
    tree_append_data(a->t, n, op->data, op->data_len, a->txn->data_max);
    touch_data(a, n, true);
    tree_rehash(a->t, n);
    tell_change(a, CHANGE_DATA, n);
    return 0;
}

static int check_setattr(const struct apply *a, const struct node *n)
{
    const struct op *op = a->op;

    if ((op->mask & ~(uint32_t)SETATTR_ALL) != 0) {
        return -EINVAL;
    }
    if ((op->mask & SETATTR_SIZE) == 0) {
        return 0;
    }
    if (n->kind != NODE_FILE) {
        return n->kind == NODE_DIR ? -EISDIR : -EINVAL;
    }
    return check_size(a, n, op->size);
}

static void set_owner_and_mode(const struct op *op, struct node *n)
{
    if ((op->mask & SETATTR_MODE) != 0) {
        n->mode = op->mode & 07777;
    }
    if ((op->mask & SETATTR_UID) != 0) {
        n->uid = op->uid;
    }
    if ((op->mask & SETATTR_GID) != 0) {
        n->gid = op->gid;
    }
    if ((op->mask & SETATTR_KILL_SUID) != 0) {
        n->mode &= (uint16_t)~S_ISUID;
    }
    if ((op->mask & SETATTR_KILL_SGID) != 0) {
        n->mode &= (uint16_t)~S_ISGID;
    }
    if ((op->mask & (SETATTR_MODE | SETATTR_UID | SETATTR_GID | SETATTR_KILL_SUID | SETATTR_KILL_SGID)) != 0) {
        n->aversion++;
    }
}

/* A time that somebody sets is taken as it is, also backwards. */
static void set_times(const struct apply *a, struct node *n)
{
    const struct op *op = a->op;

    if ((op->mask & SETATTR_ATIME_NOW) != 0) {
        n->atime_ns = a->txn->time_ns;
    } else if ((op->mask & SETATTR_ATIME) != 0) {
        n->atime_ns = op->atime_ns;
    }
    if ((op->mask & SETATTR_MTIME_NOW) != 0) {
        n->mtime_ns = a->txn->time_ns;
    } else if ((op->mask & SETATTR_MTIME) != 0) {
        n->mtime_ns = op->mtime_ns;
    }
}

int apply_setattr(struct apply *a)
{
    const struct op *op = a->op;
    struct node *n;
    int rv;

    rv = get_node(a, &n);
    if (rv != 0) {
        return rv;
    }
    rv = check_setattr(a, n);
    if (rv != 0) {
        return rv;
    }
    a->ino = n->ino;
    if (op->mask == 0) {
        return 0;
    }
    if ((op->mask & SETATTR_SIZE) != 0) {
        uint32_t kept = op->size < n->data_len ? (uint32_t)op->size : n->data_len;

        assert(op->n_ranges == 0);
        replace_contents(a, n, kept, (uint32_t)op->size);
        touch_data(a, n, true);
    }
    set_owner_and_mode(op, n);
    set_times(a, n);
    touch_ctime(a, n);
    tree_rehash(a->t, n);
    if ((op->mask & SETATTR_SIZE) != 0) {
        tell_change(a, CHANGE_DATA, n);
    }
    if ((op->mask & ~(uint32_t)SETATTR_SIZE) != 0) {
        tell_change(a, CHANGE_ATTR, n);
    }
    return 0;
}

/* As setxattr(2): ERANGE for an empty or overlong name. */
static int check_xattr_name(const struct op *op)
{
    if (op->name_len == 0 || op->name_len > TXN_NAME_MAX) {
        return -ERANGE;
    }
    return memchr(op->name, '\0', op->name_len) == NULL ? 0 : -EINVAL;
}

/* The bounds and flags of setxattr(2). */
static int check_setxattr(const struct op *op, const struct node *n)
{
    const struct xattr *old;
    uint64_t bytes;
    int rv;

    if ((op->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)) != 0) {
        return -EINVAL;
    }
    rv = check_xattr_name(op);
    if (rv != 0) {
        return rv;
    }
    if (op->data_len > TXN_XATTR_VALUE_MAX) {
        return -E2BIG;
    }
    old = node_get_xattr(n, op->name, op->name_len);
    if (old != NULL && (op->flags & XATTR_CREATE) != 0) {
        return -EEXIST;
    }
    if (old == NULL && (op->flags & XATTR_REPLACE) != 0) {
        return -ENODATA;
    }
    if (old == NULL && node_xattr_count(n) >= TXN_XATTR_COUNT_MAX) {
        return -ENOSPC;
    }
    bytes = node_xattr_bytes(n) + op->name_len + op->data_len;
    if (old != NULL) {
        bytes -= old->name_len + (uint64_t)old->len;
    }
    return bytes > TXN_XATTRS_MAX ? -ENOSPC : 0;
}

int apply_setxattr(struct apply *a)
{
    const struct op *op = a->op;
    struct node *n;
    int rv;

    rv = get_node(a, &n);
    if (rv != 0) {
        return rv;
    }
    rv = check_setxattr(op, n);
    if (rv != 0) {
        return rv;
    }
    tree_set_xattr(a->t, n, op->name, op->name_len, op->data, op->data_len);
    touch_ctime(a, n);
    tree_rehash(a->t, n);
    a->ino = n->ino;
    tell_change(a, CHANGE_XATTR, n);
    return 0;
}

int apply_removexattr(struct apply *a)
{
    const struct op *op = a->op;
    const struct xattr *x;
    struct node *n;
    int rv;

    rv = get_node(a, &n);
    if (rv != 0) {
        return rv;
    }
    rv = check_xattr_name(op);
    if (rv != 0) {
        return rv;
    }
    x = node_get_xattr(n, op->name, op->name_len);
    if (x == NULL) {
        return -ENODATA;
    }
    tree_remove_xattr(a->t, n, x);
    touch_ctime(a, n);
    tree_rehash(a->t, n);
    a->ino = n->ino;
    tell_change(a, CHANGE_XATTR, n);
    return 0;
}
