/* Names: making, removing and renaming nodes, and listing directories. */
#include "dotznodefs.h"
#include "front.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* `.znodefs` is ours in every directory, and nothing is made inside it. 0 or a positive errno. */
static int name_check(fuse_ino_t parent, const char *name)
{
    if (dot_is(parent)) {
        return EPERM;
    }
    if (strcmp(name, DOT_NAME) == 0) {
        return EINVAL;
    }
    return strlen(name) > TXN_NAME_MAX ? ENAMETOOLONG : 0;
}

void reply_entry_of(struct call *c, const struct outcome *outcome)
{
    struct fuse_entry_param e = {.ino = outcome->ino, .generation = 1};

    if (outcome->err != 0) {
        (void)fuse_reply_err(c->req, outcome->err);
        return;
    }
    if (S_ISDIR(c->stat.st_mode)) {
        known_add(&c->mount->known, outcome->ino);
    }
    if (attr_of(c->mount, outcome->ino, 0, &e.attr) != 0) {
        /* It was made, and is removed again already: the kernel finds that out at its next look. */
        e.attr = c->stat;
        e.attr.st_ino = outcome->ino;
    }
    (void)fuse_reply_entry(c->req, &e);
}

/* In a set-gid directory new nodes get its group, and directories its bit. */
static void inherit_group(const struct mount *m, fuse_ino_t parent, struct op *op)
{
    const struct node *dir = tree_by_ino(mount_tree(m), parent);

    if (dir != NULL && (dir->mode & S_ISGID) != 0) {
        op->gid = dir->gid;
        if (op->node_kind == NODE_DIR) {
            op->mode |= S_ISGID;
        }
    }
}

/* What the node will look like, as far as it can be told before. */
static void stat_of_op(const struct op *op, mode_t type, struct stat *ret_st)
{
    memset(ret_st, 0, sizeof(*ret_st));
    ret_st->st_mode = type | (op->mode & 07777);
    ret_st->st_nlink = type == S_IFDIR ? 2 : 1;
    ret_st->st_uid = op->uid;
    ret_st->st_gid = op->gid;
    ret_st->st_size = op->data_len;
    ret_st->st_blksize = FRONT_WRITE_MAX;
    (void)clock_gettime(CLOCK_REALTIME, &ret_st->st_mtim);
    ret_st->st_atim = ret_st->st_mtim;
    ret_st->st_ctim = ret_st->st_mtim;
}

static struct call *make_node(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, const char *target,
                              void (*finish)(struct call *, const struct outcome *))
{
    struct mount *m = mount_of(req);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct op op = {.kind = OP_CREATE,
                    .ino = parent,
                    .name = name,
                    .name_len = strlen(name),
                    .node_kind = S_ISDIR(mode)   ? NODE_DIR
                                 : S_ISLNK(mode) ? NODE_SYMLINK
                                                 : NODE_FILE,
                    .mode = mode & 07777,
                    .uid = ctx->uid,
                    .gid = ctx->gid,
                    .data = (const uint8_t *)target,
                    .data_len = target == NULL ? 0 : (uint32_t)strlen(target)};
    struct call *c;

    inherit_group(m, parent, &op);
    c = call_new(m, req, finish);
    stat_of_op(&op, mode & S_IFMT, &c->stat);
    call_submit(c, REPLICA_BOUNDED, &op);
    return c;
}

/* EPERM: only files, directories and symlinks. EINVAL: a reserved name. */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    int err = name_check(parent, name);

    (void)rdev;
    if (err == 0 && (mode & S_IFMT) != 0 && !S_ISREG(mode)) {
        err = EPERM;
    }
    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    (void)make_node(req, parent, name, S_IFREG | (mode & 07777), NULL, reply_entry_of);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    int err = name_check(parent, name);

    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    (void)make_node(req, parent, name, S_IFDIR | (mode & 07777), NULL, reply_entry_of);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    int err = name_check(parent, name);

    if (err == 0 && strlen(target) > TXN_SYMLINK_MAX) {
        err = ENAMETOOLONG;
    }
    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    (void)make_node(req, parent, name, S_IFLNK | 0777, target, reply_entry_of);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    int err = name_check(parent, name);

    (void)ino;
    (void)fuse_reply_err(req, err != 0 ? err : EPERM);
}

static void create_finish(struct call *c, const struct outcome *outcome)
{
    struct mount *m = c->mount;
    struct fuse_entry_param e = {.ino = outcome->ino, .generation = 1};
    struct fuse_file_info fi = {.flags = c->flags, .direct_io = 1};
    struct handle *h;

    if (outcome->err == EEXIST && (c->flags & O_EXCL) == 0) {
        /* Another mount was first. The kernel looks again, finds it and opens it, with the checks that belong to it. */
        (void)recent_instead(&m->recent, c->pid, RECENT_NO_INO);
        (void)fuse_reply_err(c->req, ESTALE);
        return;
    }
    if (outcome->err != 0) {
        (void)fuse_reply_err(c->req, outcome->err);
        return;
    }
    h = handle_new(&m->inodes, outcome->ino, (c->flags & O_ACCMODE) != O_RDONLY);
    h->flags = c->flags;
    h->truncated = (c->flags & O_TRUNC) != 0;
    if (h->writable) {
        opener_of(c->pid, &h->opener);
    }
    if (attr_of(m, outcome->ino, 0, &e.attr) != 0) {
        e.attr = c->stat; /* removed again already, and open here */
        e.attr.st_ino = outcome->ino;
        e.attr.st_nlink = 0;
        h->inode->gone = true;
        h->inode->gone_stat = e.attr;
    }
    fi.fh = (uintptr_t)h;
    if (fuse_reply_create(c->req, &e, &fi) != 0) {
        handle_free(&m->inodes, h);
    }
}

/* ESTALE: somebody else made it meanwhile; the kernel asks again. */
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    int err = name_check(parent, name);
    struct call *c;

    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    c = make_node(req, parent, name, S_IFREG | (mode & 07777), NULL, create_finish);
    c->flags = fi->flags;
}

static void remove_node(fuse_req_t req, fuse_ino_t parent, const char *name, enum node_kind kind)
{
    struct mount *m = mount_of(req);
    struct op op = {.kind = OP_REMOVE, .ino = parent, .name = name, .name_len = strlen(name), .node_kind = kind};
    int err = name_check(parent, name);

    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    call_submit(call_new(m, req, call_finish_err), REPLICA_BOUNDED, &op);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_node(req, parent, name, NODE_FILE);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_node(req, parent, name, NODE_DIR);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
               unsigned flags)
{
    struct mount *m = mount_of(req);
    struct op op = {.kind = OP_RENAME,
                    .ino = parent,
                    .name = name,
                    .name_len = strlen(name),
                    .new_ino = new_parent,
                    .new_name = new_name,
                    .new_name_len = strlen(new_name),
                    .flags = flags};
    int err = name_check(parent, name);

    if (err == 0) {
        err = name_check(new_parent, new_name);
    }
    if (err == 0 && (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {
        err = EINVAL;
    }
    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    call_submit(call_new(m, req, call_finish_err), REPLICA_BOUNDED, &op);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    const struct node *n = dot_is(ino) ? NULL : tree_by_ino(mount_tree(m), ino);

    if (n == NULL && !dot_is(ino) && inode_find(&m->inodes, ino) == NULL) {
        (void)fuse_reply_err(req, ESTALE);
        return;
    }
    if (n != NULL && n->kind != NODE_DIR) {
        (void)fuse_reply_err(req, ENOTDIR); /* a node is of one kind for ever: READDIR need not ask again */
        return;
    }
    fi->fh = 0;
    (void)fuse_reply_open(req, fi);
}

static mode_t type_of(const struct node *n)
{
    return n->kind == NODE_DIR ? S_IFDIR : n->kind == NODE_SYMLINK ? S_IFLNK : S_IFREG;
}

/* Offsets: 1 is behind ".", 2 behind "..", and 2 + cookie behind a child. */
static size_t readdir_fill(fuse_req_t req, const struct node *dir, char *buf, size_t size, uint64_t offset)
{
    size_t len = 0;

    while (true) {
        struct stat st = {.st_ino = dir->ino, .st_mode = S_IFDIR};
        const char *name = ".";
        uint64_t next = 1;
        size_t need;

        if (offset == 1) {
            name = "..";
            next = 2;
            st.st_ino = dir->parent == NULL || dir->ino == mount_of(req)->options.root ? dir->ino : dir->parent->ino;
        } else if (offset >= 2) {
            uint64_t cookie;
            const struct node *n = tree_child_after(dir, offset - 2, &cookie);
            if (n == NULL) {
                return len;
            }
            name = n->name;
            next = cookie + 2;
            st.st_ino = n->ino;
            st.st_mode = type_of(n);
        }
        need = fuse_add_direntry(req, buf + len, size - len, name, &st, (off_t)next);
        if (need > size - len) {
            return len;
        }
        len += need;
        offset = next;
    }
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    const struct node *dir;
    char *buf;

    (void)fi;
    if (dot_is(ino)) {
        dot_readdir(req, ino, size, offset);
        return;
    }
    dir = tree_by_ino(mount_tree(mount_of(req)), ino);
    if (dir == NULL) {
        (void)fuse_reply_buf(req, NULL, 0); /* removed while it was open: it is empty, as on a disk */
        return;
    }
    buf = malloc(size == 0 ? 1 : size);
    if (buf == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    (void)fuse_reply_buf(req, buf, readdir_fill(req, dir, buf, size, (uint64_t)offset));
    free(buf);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    (void)fuse_reply_err(req, 0);
}
