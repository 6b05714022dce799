/*
 * tree_int: what changes the tree. For state_*.c and the snapshot reader only; everyone else includes tree.h.
 *
 * A change to a node's fields is finished by tree_rehash(), which brings the tree's digest up to date; several
 * changes to one node need one call. Functions that free a node take it out of the digest themselves.
 */
#ifndef STORE_TREE_INT_H
#define STORE_TREE_INT_H

#include "hashtable.h"
#include "tree.h"

struct tree {
    struct hashtable by_ino;
    struct hashtable by_name; /* (parent's inode number, name); the root is not in it */
    struct node *root;
    uint64_t next_ino;
    uint64_t data_bytes;
    uint64_t digest; /* the sum of all nodes' digests */
};

/* A tree without a root; tree_insert() with parent NULL gives it one. */
struct tree *tree_new(void);
void tree_free(struct tree *t);
/* Frees about `n` nodes, in no order; true when none is left. Then, or before, the tree is only good to be freed. */
bool tree_drain_some(struct tree *t, size_t n);

/* Room in the tables of an empty tree for about `count` nodes. */
void tree_reserve(struct tree *t, size_t count);

struct node *tree_get(const struct tree *t, uint64_t ino);
struct node *tree_get_child(const struct tree *t, const struct node *parent, const char *name, size_t name_len);

/* A node in no tree, all fields but kind, ino and name zero. `name_len` is at most TXN_NAME_MAX. */
struct node *node_new(enum node_kind kind, uint64_t ino, const char *name, size_t name_len);
void node_free(struct node *n);
void node_set_name(struct node *n, const char *name, size_t name_len);
uint64_t node_cookie(const struct node *n);                            /* 0 for the root */
bool node_is_below(const struct node *n, const struct node *ancestor); /* or is `ancestor` itself; O(depth) */

/* Where a node is. */
struct node_place {
    uint64_t ino;
    uint64_t parent_ino; /* 0 for a root */
    uint64_t cookie;     /* 0 for a root */
    const char *name;
    size_t name_len;
};
struct node_place node_place(const struct node *n);
/* As it is in a tree whose root is `top`, a directory at or above `n`, under the root's inode number. */
struct node_place node_place_below(const struct node *n, const struct node *top);

/* The node's part of the digest, computed from its fields. */
uint64_t node_digest(const struct node *n);
uint64_t node_digest_at(const struct node *n, const struct node_place *place);
uint64_t data_hash(const uint8_t *bytes, size_t len);

/* Puts a new node under `parent`, in a slot with the next cookie, or with `cookie` when not 0 (greater than all
 * before it). The tree owns the node from then on. */
void tree_insert(struct tree *t, struct node *parent, struct node *n, uint64_t cookie);

/* Unlinks and frees a node that has no children. */
void tree_remove(struct tree *t, struct node *n);

/* Gives `n` another parent and name, which must be free. O(1): nothing below `n` is touched. */
void tree_move(struct tree *t, struct node *n, struct node *parent, const char *name, size_t name_len);

/* Puts `n` in the place of `victim`, which has no children and is freed. */
void tree_replace(struct tree *t, struct node *n, struct node *victim);

/* Puts each node in the other's place. */
void tree_exchange(struct tree *t, struct node *a, struct node *b);

void tree_rehash(struct tree *t, struct node *n);

/* Gives `n` the data `b` (the reference is taken over; NULL when len is 0) of which `len` bytes count. */
void tree_set_data(struct tree *t, struct node *n, struct buf *b, uint32_t len, uint64_t hash);

/* Adds `len` bytes behind the node's data: in place when the buffer has room and ends where this version does,
 * so that those who hold the buffer keep the bytes they saw. `cap_max` bounds the room that is made ahead. */
void tree_append_data(struct tree *t, struct node *n, const uint8_t *bytes, uint32_t len, uint32_t cap_max);

/* Sets an xattr, keeping its place in the order when it is there already. */
void tree_set_xattr(struct tree *t, struct node *n, const char *name, size_t name_len, const uint8_t *value,
                    uint32_t len);
void tree_remove_xattr(struct tree *t, struct node *n, const struct xattr *x);
const struct xattr *node_get_xattr(const struct node *n, const char *name, size_t name_len);
uint64_t node_xattr_bytes(const struct node *n); /* names and values */
uint32_t node_xattr_count(const struct node *n);

/* dir.c: the slots of one directory. */
struct dir *dir_new(void);
void dir_free(struct dir *d);
void dir_append(struct dir *d, struct node *n, uint64_t cookie); /* 0: the next one; sets n->slot */
void dir_remove(struct dir *d, uint32_t slot);                   /* may compact: slots of other nodes change */
struct node *dir_from(const struct dir *d, uint32_t slot);       /* the first child in this slot or behind it */

#endif
