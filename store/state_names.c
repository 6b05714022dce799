/*
 * state_names: the ops that change directories: create, remove, rename.
 */
#include "state_int.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

static int get_dir(const struct apply *a, uint64_t ino, struct node **ret_dir)
{
    struct node *n = tree_get(a->t, ino);

    if (n == NULL) {
        return -ENOENT;
    }
    if (n->kind != NODE_DIR) {
        return -ENOTDIR;
    }
    *ret_dir = n;
    return 0;
}

static bool name_is_reserved(const char *name, size_t name_len)
{
    return name_len == strlen(STATE_RESERVED_NAME) && memcmp(name, STATE_RESERVED_NAME, name_len) == 0;
}

/* What symlink(2) says about a target, and the leader's limit about everything else. */
static int check_contents(const struct apply *a)
{
    const struct op *op = a->op;

    switch (op->node_kind) {
    case NODE_SYMLINK:
        if (op->data_len == 0) {
            return -ENOENT;
        }
        if (op->data_len > TXN_SYMLINK_MAX) {
            return -ENAMETOOLONG;
        }
        return memchr(op->data, '\0', op->data_len) == NULL ? 0 : -EINVAL;
    case NODE_FILE:
    case NODE_DIR:
        return op->data_len > a->txn->data_max ? -EFBIG : 0;
    }
    return -EINVAL;
}

static struct node *new_node(struct apply *a, const struct node *parent)
{
    const struct op *op = a->op;
    struct node *n = node_new(op->node_kind, a->t->next_ino++, op->name, op->name_len);

    n->mode = op->mode & 07777;
    n->uid = op->uid;
    n->gid = op->gid;
    if ((parent->mode & S_ISGID) != 0) {
        n->gid = parent->gid;
        n->mode |= op->node_kind == NODE_DIR ? S_ISGID : 0;
    }
    n->czxid = a->zxid;
    n->mzxid = a->zxid;
    n->pzxid = a->zxid;
    n->btime_ns = a->txn->time_ns;
    n->mtime_ns = a->txn->time_ns;
    n->ctime_ns = a->txn->time_ns;
    n->atime_ns = a->txn->time_ns;
    if (op->data_len > 0) {
        n->data = buf_copy(op->data, op->data_len);
        n->data_len = op->data_len;
        n->data_hash = data_hash(op->data, op->data_len);
    }
    return n;
}

int apply_create(struct apply *a)
{
    const struct op *op = a->op;
    struct node *parent;
    struct node *n;
    int rv;

    rv = get_dir(a, op->ino, &parent);
    if (rv != 0) {
        return rv;
    }
    rv = name_check(op->name, op->name_len);
    if (rv != 0) {
        return rv;
    }
    if (name_is_reserved(op->name, op->name_len)) {
        return -EINVAL;
    }
    if (tree_get_child(a->t, parent, op->name, op->name_len) != NULL) {
        return -EEXIST;
    }
    rv = check_contents(a);
    if (rv != 0) {
        return rv;
    }
    n = new_node(a, parent);
    tree_insert(a->t, parent, n, 0);
    touch_parent(a, parent);
    tree_rehash(a->t, parent);
    a->ino = n->ino;
    tell_change(a, CHANGE_CREATED, n);
    return 0;
}

int apply_remove(struct apply *a)
{
    const struct op *op = a->op;
    struct node *parent;
    struct node *n;
    int rv;

    rv = get_dir(a, op->ino, &parent);
    if (rv != 0) {
        return rv;
    }
    rv = name_check(op->name, op->name_len);
    if (rv != 0) {
        return rv;
    }
    n = tree_get_child(a->t, parent, op->name, op->name_len);
    if (n == NULL) {
        return -ENOENT;
    }
    if (op->node_kind == NODE_DIR && n->kind != NODE_DIR) {
        return -ENOTDIR;
    }
    if (op->node_kind != NODE_DIR && n->kind == NODE_DIR) {
        return -EISDIR;
    }
    if (n->kind == NODE_DIR && n->dir->n_children > 0) {
        return -ENOTEMPTY;
    }
    a->ino = n->ino;
    tell_change(a, CHANGE_REMOVED, n);
    tree_remove(a->t, n);
    touch_parent(a, parent);
    tree_rehash(a->t, parent);
    return 0;
}

/* What a rename is about; target is NULL when the new name is free. */
struct rename {
    struct node *source;
    struct node *target;
    struct node *old_parent;
    struct node *new_parent;
};

static int find_rename(const struct apply *a, struct rename *ret_rename)
{
    const struct op *op = a->op;
    struct rename r = {0};
    int rv;

    if ((op->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
        op->flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)) {
        return -EINVAL;
    }
    rv = get_dir(a, op->ino, &r.old_parent);
    if (rv != 0) {
        return rv;
    }
    rv = get_dir(a, op->new_ino, &r.new_parent);
    if (rv != 0) {
        return rv;
    }
    rv = name_check(op->name, op->name_len);
    if (rv != 0) {
        return rv;
    }
    rv = name_check(op->new_name, op->new_name_len);
    if (rv != 0) {
        return rv;
    }
    r.source = tree_get_child(a->t, r.old_parent, op->name, op->name_len);
    if (r.source == NULL) {
        return -ENOENT;
    }
    if (name_is_reserved(op->new_name, op->new_name_len)) {
        return -EINVAL;
    }
    r.target = tree_get_child(a->t, r.new_parent, op->new_name, op->new_name_len);
    *ret_rename = r;
    return 0;
}

/* In the order in which Linux looks, so that the errno is the one a local file system gives. */
static int check_rename(const struct rename *r, uint32_t flags)
{
    bool exchange = (flags & RENAME_EXCHANGE) != 0;

    if (r->target != NULL && (flags & RENAME_NOREPLACE) != 0) {
        return -EEXIST;
    }
    if (r->target == NULL && exchange) {
        return -ENOENT;
    }
    if (node_is_below(r->new_parent, r->source)) {
        return -EINVAL;
    }
    if (r->target == NULL || r->target == r->source) {
        return 0;
    }
    if (exchange) {
        return node_is_below(r->old_parent, r->target) ? -EINVAL : 0;
    }
    if (node_is_below(r->old_parent, r->target)) {
        return -ENOTEMPTY;
    }
    if (r->source->kind == NODE_DIR && r->target->kind != NODE_DIR) {
        return -ENOTDIR;
    }
    if (r->source->kind != NODE_DIR && r->target->kind == NODE_DIR) {
        return -EISDIR;
    }
    if (r->target->kind == NODE_DIR && r->target->dir->n_children > 0) {
        return -ENOTEMPTY;
    }
    return 0;
}

static void touch_parents(const struct apply *a, const struct rename *r)
{
    touch_parent(a, r->old_parent);
    if (r->new_parent != r->old_parent) {
        touch_parent(a, r->new_parent);
        tree_rehash(a->t, r->new_parent);
    }
    tree_rehash(a->t, r->old_parent);
}

static void do_exchange(const struct apply *a, const struct rename *r)
{
    char source_name[TXN_NAME_MAX + 1];
    char target_name[TXN_NAME_MAX + 1];

    memcpy(source_name, r->source->name, (size_t)r->source->name_len + 1);
    memcpy(target_name, r->target->name, (size_t)r->target->name_len + 1);
    tree_exchange(a->t, r->source, r->target);
    touch_ctime(a, r->source);
    touch_ctime(a, r->target);
    tree_rehash(a->t, r->source);
    tree_rehash(a->t, r->target);
    touch_parents(a, r);
    tell_renamed(a, r->source, r->old_parent->ino, source_name);
    tell_renamed(a, r->target, r->new_parent->ino, target_name);
}

static void do_rename(const struct apply *a, const struct rename *r)
{
    char old_name[TXN_NAME_MAX + 1];

    memcpy(old_name, r->source->name, (size_t)r->source->name_len + 1);
    if (r->target != NULL) {
        tell_change(a, CHANGE_REMOVED, r->target);
        tree_replace(a->t, r->source, r->target);
    } else {
        tree_move(a->t, r->source, r->new_parent, a->op->new_name, a->op->new_name_len);
    }
    touch_ctime(a, r->source);
    tree_rehash(a->t, r->source);
    touch_parents(a, r);
    tell_renamed(a, r->source, r->old_parent->ino, old_name);
}

int apply_rename(struct apply *a)
{
    struct rename r;
    int rv;

    rv = find_rename(a, &r);
    if (rv != 0) {
        return rv;
    }
    rv = check_rename(&r, a->op->flags);
    if (rv != 0) {
        return rv;
    }
    a->ino = r.source->ino;
    if (r.target == r.source) {
        return 0;
    }
    if ((a->op->flags & RENAME_EXCHANGE) != 0) {
        do_exchange(a, &r);
    } else {
        do_rename(a, &r);
    }
    return 0;
}
