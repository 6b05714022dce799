/*
 * tree: the znodes, in memory: O(1) by inode number and by (parent, name), children in creation order.
 *
 * Read by front ends through the const functions; changed only by state_apply() (state.h), on the loop thread.
 * Inode numbers are given out by a counter that is replicated state: the same on every peer and never reused.
 */
#ifndef STORE_TREE_H
#define STORE_TREE_H

#include "buf.h"
#include "txn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_ROOT_INO    1
#define NODE_NAME_INLINE 16 /* names up to one byte less live in the node itself */

struct xattr {
    struct xattr *next;   /* in order of creation */
    const uint8_t *value; /* in the same allocation, behind the name */
    uint64_t hash;        /* of name and value, for the digest */
    uint32_t len;         /* of the value */
    uint32_t name_len;
    char name[]; /* NUL-terminated */
};

/* One slot of a directory, in order of creation. A removed child leaves node == NULL until compaction; cookies
 * of a directory strictly grow along its slots and are never reused. A node that replaces another (rename) takes
 * over its slot, as the name in the listing does; nodes that are exchanged swap slots. */
struct dir_slot {
    uint64_t cookie;
    struct node *node;
};

struct dir {
    struct dir_slot *slots;
    uint32_t n_slots; /* used, with holes */
    uint32_t cap;
    uint32_t n_children;  /* live */
    uint32_t n_subdirs;   /* live children that are directories: st_nlink is 2 + n_subdirs */
    uint64_t next_cookie; /* from 1 */
};

struct node {
    struct node *ino_next; /* hash chains */
    struct node *name_next;
    struct node *parent; /* NULL for the root */
    uint64_t ino;
    uint64_t czxid; /* ZooKeeper's stat */
    uint64_t mzxid;
    uint64_t pzxid;
    uint32_t version;
    uint32_t cversion;
    uint32_t aversion;
    uint32_t slot;    /* index in parent's slots */
    int64_t btime_ns; /* creation: ZooKeeper's ctime */
    int64_t mtime_ns; /* strictly grows with every change of the data, unless set by utimens */
    int64_t ctime_ns; /* POSIX change time */
    int64_t atime_ns;
    uint64_t data_hash; /* of a publish: hash of the data; of an append: hash(previous, appended); 0 when empty */
    uint64_t digest;    /* this node's part of the tree's digest */
    uint32_t uid;
    uint32_t gid;
    uint16_t mode; /* permission bits, 07777 */
    uint8_t kind;  /* enum node_kind */
    uint8_t name_len;
    uint32_t data_len;    /* bytes of `data` that belong to this version (the buffer may be longer: appends) */
    struct buf *data;     /* NULL when empty; data of a file or directory, or a symlink's target */
    struct xattr *xattrs; /* NULL when none */
    struct dir *dir;      /* NULL unless a directory */
    char *name;           /* NUL-terminated; in name_inline when it fits, so that a rename never moves the node */
    char name_inline[NODE_NAME_INLINE];
};

struct tree;

/* The node or NULL. Pointers to nodes are valid until the next change to the tree. */
const struct node *tree_by_ino(const struct tree *t, uint64_t ino);
const struct node *tree_lookup(const struct tree *t, uint64_t parent_ino, const char *name, size_t name_len);

/* The first child of `dir` with a cookie greater than `cookie` (0: from the start) and its cookie, or NULL at the
 * end. O(log n) plus holes, which compaction bounds. */
const struct node *tree_child_after(const struct node *dir, uint64_t cookie, uint64_t *ret_cookie);

/* The node behind `n` in a walk over `top` and all below it: every parent comes before its children, and those in slot
 * order; NULL behind the last. */
const struct node *tree_next(const struct node *top, const struct node *n);

uint64_t tree_count(const struct tree *t);      /* znodes, the root included */
uint64_t tree_data_bytes(const struct tree *t); /* bytes of data, names and xattrs */

const struct xattr *node_xattr(const struct node *n, const char *name);

/* The absolute path ("/" for the root) as snprintf would: at most `cap` bytes with the NUL are written, the length of
 * the whole path is returned; when that is `cap` or more, nothing but an empty string was written. O(depth). */
size_t node_path(const struct node *n, char *buf, size_t cap);

#endif
