#include "handle.h"

#include "store/txn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S     INT64_C(1000000000)
#define STAT_BLKSIZE (1024 * 1024) /* cp, cat and stdio then write a whole znode in one call */

struct inode *inode_find(const struct inodes *t, uint64_t ino)
{
    struct inode *i;

    HASH_FIND(hh, t->by_ino, &ino, sizeof(ino), i);
    return i;
}

struct inode *inode_get(struct inodes *t, uint64_t ino)
{
    struct inode *i = inode_find(t, ino);

    if (i != NULL) {
        return i;
    }
    i = calloc(1, sizeof(*i));
    if (i == NULL) {
        abort();
    }
    i->ino = ino;
    HASH_ADD(hh, t->by_ino, ino, sizeof(i->ino), i);
    return i;
}

void inode_put(struct inodes *t, struct inode *i)
{
    if (i->handles != NULL || i->n_releasing > 0 || i->n_holds > 0) {
        return;
    }
    HASH_DEL(t->by_ino, i);
    buf_unref(i->pages);
    buf_unref(i->gone_data);
    gone_xattrs_free(&i->gone_xattrs);
    free(i);
}

void inode_forget(struct inodes *t, struct inode *i)
{
    if (!i->known) {
        return;
    }
    i->known = false;
    assert(i->n_holds > 0);
    i->n_holds--;
    inode_put(t, i);
}

void inode_set_gone(struct inode *i, const struct node *n)
{
    assert(!i->gone);
    stat_of_node(n, &i->gone_stat);
    i->gone = true;
    i->gone_stat.st_nlink = 0;
    i->gone_data = n->data == NULL ? NULL : buf_ref(n->data);
    i->gone_len = n->data_len;
    gone_xattrs_keep(&i->gone_xattrs, n);
}

void inode_gone_set_id(struct inode *i, uint32_t mask)
{
    assert(i->gone);
    if ((mask & SETATTR_KILL_SUID) != 0) {
        i->gone_stat.st_mode &= ~(mode_t)S_ISUID;
    }
    if ((mask & SETATTR_KILL_SGID) != 0) {
        i->gone_stat.st_mode &= ~(mode_t)S_ISGID;
    }
}

void inode_set_gone_data(struct inode *i, const uint8_t *bytes, uint32_t len)
{
    struct buf *data = len == 0 ? NULL : buf_copy(bytes, len);

    assert(i->gone);
    buf_unref(i->gone_data);
    i->gone_data = data;
    i->gone_len = len;
    i->gone_stat.st_size = len;
    i->gone_stat.st_blocks = ((blkcnt_t)len + 511) / 512;
}

struct handle *handle_new(struct inodes *t, uint64_t ino, bool writable)
{
    struct handle *h = calloc(1, sizeof(*h));

    if (h == NULL) {
        abort();
    }
    h->inode = inode_get(t, ino);
    h->writable = writable;
    h->next = h->inode->handles;
    if (h->next != NULL) {
        h->next->prev = h;
    }
    h->inode->handles = h;
    t->n_handles++;
    return h;
}

void handle_free(struct inodes *t, struct handle *h)
{
    handle_drop_draft(t, h);
    handle_drop_version(h);
    if (h->prev != NULL) {
        h->prev->next = h->next;
    } else {
        h->inode->handles = h->next;
    }
    if (h->next != NULL) {
        h->next->prev = h->prev;
    }
    inode_put(t, h->inode);
    assert(t->n_handles > 0);
    t->n_handles--;
    free(h);
}

struct draft *handle_draft(struct inodes *t, struct handle *h)
{
    if (h->draft == NULL) {
        h->draft = draft_new(h->truncated);
        h->truncated = false;
        h->keep_times = false;
        h->opener_flushed = false;
        t->n_drafts++;
    }
    return h->draft;
}

struct draft *handle_take_draft(struct inodes *t, struct handle *h)
{
    struct draft *d = h->draft;

    if (d != NULL) {
        assert(t->n_drafts > 0);
        t->n_drafts--;
        h->draft = NULL;
    }
    return d;
}

void handle_drop_draft(struct inodes *t, struct handle *h)
{
    draft_free(handle_take_draft(t, h));
}

void inode_keep_times(struct inode *i)
{
    for (struct handle *h = i->handles; h != NULL; h = h->next) {
        h->keep_times = true; /* of the draft there is: a new one begins without */
    }
}

bool inode_contents(const struct tree *tree, const struct inodes *t, uint64_t ino, struct buf **ret_data,
                    uint32_t *ret_len)
{
    const struct node *n = tree_by_ino(tree, ino);
    const struct inode *i;

    if (n != NULL) {
        *ret_data = n->data;
        *ret_len = n->data_len;
        return true;
    }
    i = inode_find(t, ino);
    if (i == NULL || !i->gone) {
        return false;
    }
    *ret_data = i->gone_data;
    *ret_len = i->gone_len;
    return true;
}

void handle_take_version(struct handle *h, const struct tree *tree, const struct inodes *t)
{
    const struct node *n = tree_by_ino(tree, h->inode->ino);
    struct buf *data = NULL;
    uint32_t len = 0;

    if (inode_contents(tree, t, h->inode->ino, &data, &len) && data != NULL) {
        (void)buf_ref(data);
    }
    handle_drop_version(h);
    h->version = data;
    h->version_len = data == NULL ? 0 : len;
    h->version_held = true;
    h->version_mzxid = n == NULL ? UINT64_MAX : n->mzxid;
    h->mapped = false;
}

void handle_drop_version(struct handle *h)
{
    buf_unref(h->version);
    h->version = NULL;
    h->version_len = 0;
    h->version_held = false;
    h->at_end = false;
    h->mapped = false;
}

void handle_take_pages(struct handle *h, const struct tree *tree, const struct inodes *t)
{
    struct inode *i = h->inode;

    if (h->mapped) {
        return;
    }
    if (!h->version_held) {
        handle_take_version(h, tree, t);
    }
    h->mapped = true;
    if (i->pages_held && i->pages_mzxid > h->version_mzxid) {
        return;
    }
    buf_unref(i->pages);
    i->pages = h->version == NULL ? NULL : buf_ref(h->version);
    i->pages_len = h->version_len;
    i->pages_mzxid = h->version_mzxid;
    i->pages_held = true;
}

struct timespec timespec_of(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

    if (ts.tv_nsec < 0) {
        ts.tv_sec--;
        ts.tv_nsec += NS_PER_S;
    }
    return ts;
}

static mode_t type_of(const struct node *n)
{
    switch ((enum node_kind)n->kind) {
    case NODE_DIR:
        return S_IFDIR;
    case NODE_SYMLINK:
        return S_IFLNK;
    case NODE_FILE:
        break;
    }
    return S_IFREG;
}

void stat_of_node(const struct node *n, struct stat *ret_st)
{
    memset(ret_st, 0, sizeof(*ret_st));
    ret_st->st_ino = n->ino;
    ret_st->st_mode = type_of(n) | n->mode;
    ret_st->st_nlink = n->dir == NULL ? 1 : 2 + n->dir->n_subdirs;
    ret_st->st_uid = n->uid;
    ret_st->st_gid = n->gid;
    ret_st->st_size = n->data_len;
    ret_st->st_blksize = STAT_BLKSIZE;
    ret_st->st_blocks = ((blkcnt_t)n->data_len + 511) / 512;
    ret_st->st_atim = timespec_of(n->atime_ns);
    ret_st->st_mtim = timespec_of(n->mtime_ns);
    ret_st->st_ctim = timespec_of(n->ctime_ns);
}
