/*
 * handle: the inodes that are open on this mount, and their open file descriptions.
 *
 * An inode is in the table while a handle is open on it or a publishing of it is under way; a directory once it is
 * removed, while the kernel knows it. When its znode is removed
 * meanwhile, the inode keeps what a local file system would: attributes (without links) and contents.
 */
#ifndef FS_HANDLE_H
#define FS_HANDLE_H

#include "draft.h"
#include "gone.h"
#include "opener.h"
#include "store/tree.h"

#include <sys/stat.h>
#include <uthash.h>

struct call;
struct handle;

struct inode {
    UT_hash_handle hh;
    uint64_t ino;
    struct handle *handles; /* the latest opened first */
    struct buf *pages;      /* the contents that mappings see, through whatever open file: the kernel keeps one set of
                             * pages. Valid if pages_held; NULL: empty */
    uint32_t pages_len;
    uint64_t pages_mzxid;
    bool pages_held;
    unsigned n_releasing;   /* publishings that RELEASE began: later requests wait for them */
    unsigned n_holds;       /* calls under way that will come back to this inode, and the kernel */
    uint32_t set_id_losing; /* SETATTR_KILL_* bits that changes under way take */
    bool known;             /* to the kernel: a directory that is gone, held until it is forgotten */
    bool gone;              /* the znode is removed; what follows is what is left of it */
    struct stat gone_stat;
    struct buf *gone_data;
    uint32_t gone_len;
    struct gone_xattr *gone_xattrs;
};

struct inodes {
    struct inode *by_ino;
    uint64_t n_handles;
    uint64_t n_drafts;
};

/* One open file description (design: 2.1, 1 to 8). */
struct handle {
    struct handle *next;
    struct handle *prev;
    struct inode *inode;
    bool writable;
    int flags; /* of open(2) */
    struct opener opener;
    uint64_t lock_owner; /* of the first FLUSH: stands for an opener that can't be seen */
    bool lock_owner_known;
    struct call *closing; /* a close that is publishing: the opener's others wait for it too */

    struct draft *draft; /* NULL: none */
    bool truncated;      /* made with O_TRUNC: the first draft is whole contents */
    bool keep_times;     /* the mtime was set after the last write to the draft */
    bool opener_flushed; /* the opener has closed its last writable descriptor */
    int failed;          /* a negative errno that close has to tell (rule 5) */

    struct buf *version; /* the contents that reads see; NULL and version_held: empty */
    uint32_t version_len;
    uint64_t version_mzxid; /* UINT64_MAX: of a file that is gone */
    bool version_held;
    bool at_end;        /* a read found the end of this version */
    uint32_t beginning; /* the last read at offset 0 got as much */
    bool mapped;        /* mappings have been given pages since this version was taken */
};

struct inode *inode_find(const struct inodes *t, uint64_t ino);
struct inode *inode_get(struct inodes *t, uint64_t ino);
/* The kernel has forgotten it. */
void inode_forget(struct inodes *t, struct inode *i);
/* Frees the inode if nothing needs it any more. */
void inode_put(struct inodes *t, struct inode *i);
/* The znode is about to be removed: keeps a copy of what it was. */
void inode_set_gone(struct inode *i, const struct node *n);
/* Takes the bits that SETATTR_KILL_* in `mask` say from what is left of its mode. */
void inode_gone_set_id(struct inode *i, uint32_t mask);
void inode_set_gone_data(struct inode *i, const uint8_t *bytes, uint32_t len);

struct handle *handle_new(struct inodes *t, uint64_t ino, bool writable);
void handle_free(struct inodes *t, struct handle *h);

/* Begins a draft if there is none. */
struct draft *handle_draft(struct inodes *t, struct handle *h);
/* Takes the draft away from the handle; NULL if there is none. */
struct draft *handle_take_draft(struct inodes *t, struct handle *h);
void handle_drop_draft(struct inodes *t, struct handle *h);

/* The mtime was set just now, here or on another mount: it survives the publishing of the drafts there are (`cp -p` and
 * tar set it before they close). What is written after that counts again. */
void inode_keep_times(struct inode *i);

/* The contents as they are now: the node's, or what is left of it; false if there is nothing left either. */
bool inode_contents(const struct tree *tree, const struct inodes *t, uint64_t ino, struct buf **ret_data,
                    uint32_t *ret_len);

/* Makes reads see the version that is the newest now. */
void handle_take_version(struct handle *h, const struct tree *tree, const struct inodes *t);
void handle_drop_version(struct handle *h);

/* Makes mappings see the version that the handle reads, unless they see a later one; once for each version it takes. */
void handle_take_pages(struct handle *h, const struct tree *tree, const struct inodes *t);

/* Of nanoseconds since 1970, or before it. */
struct timespec timespec_of(int64_t ns);

/* The attributes of a node as stat(2) shows them. */
void stat_of_node(const struct node *n, struct stat *ret_st);

#endif
