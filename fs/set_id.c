/*
 * Set-id bits: who changes a file's contents without CAP_FSETID takes them away (write(2), chmod(2)). With direct_io
 * the kernel does not ask for it.
 */
#include "front.h"

#include <errno.h>
#include <string.h>

static mode_t mode_of(const struct mount *m, uint64_t ino, gid_t *ret_group)
{
    const struct node *n = tree_by_ino(mount_tree(m), ino);
    const struct inode *i;

    if (n != NULL) {
        *ret_group = n->gid;
        return n->kind == NODE_FILE ? n->mode : 0;
    }
    i = inode_find(&m->inodes, ino);
    if (i == NULL || !i->gone || !S_ISREG(i->gone_stat.st_mode)) {
        return 0;
    }
    *ret_group = i->gone_stat.st_gid;
    return i->gone_stat.st_mode;
}

uint32_t set_id_lost(fuse_req_t req, uint64_t ino)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    gid_t group = 0;
    mode_t mode = mode_of(mount_of(req), ino, &group);
    uint32_t lost = 0;

    if ((mode & (S_ISUID | S_ISGID)) == 0 || opener_may_set_ids(ctx->pid, ctx->uid)) {
        return 0;
    }
    if ((mode & S_ISUID) != 0) {
        lost |= SETATTR_KILL_SUID;
    }
    /* Without the group's execute bit it was once mandatory locking: it stays for members of the group. */
    if ((mode & S_ISGID) != 0 && ((mode & S_IXGRP) != 0 || (ctx->gid != group && !opener_in_group(ctx->pid, group)))) {
        lost |= SETATTR_KILL_SGID;
    }
    return lost;
}

static void drop_finish(struct call *c, const struct outcome *outcome)
{
    c->inode->set_id_losing &= ~(uint32_t)c->flags;
    if (outcome->err != 0 && outcome->err != ENOENT) {
        mount_log(c->mount, "set-id bits of inode %llu stay after a write: %s", (unsigned long long)c->inode->ino,
                  strerror(outcome->err));
    }
}

void set_id_drop(fuse_req_t req, uint64_t ino)
{
    struct mount *m = mount_of(req);
    struct op op = {.kind = OP_SETATTR, .ino = ino, .mask = set_id_lost(req, ino)};
    struct inode *i;
    struct call *c;

    if (op.mask == 0) {
        return;
    }
    i = inode_find(&m->inodes, ino);
    if (i != NULL && i->gone) {
        inode_gone_set_id(i, op.mask);
        return;
    }
    /* However often it is written to meanwhile: writes into a draft wait for nothing, and would leave a change each. */
    op.mask &= i != NULL ? ~i->set_id_losing : op.mask;
    if (op.mask == 0) {
        return;
    }
    c = call_new(m, NULL, drop_finish);
    call_hold(c, ino);
    c->flags = (int)op.mask;
    c->inode->set_id_losing |= op.mask;
    /* It waits for a quorum however long that takes, as does the publishing behind it. */
    call_submit(c, REPLICA_HARD, &op);
}
