/*
 * subtree: a mount whose root is a znode below the tree's. The kernel calls the root of every mount node 1; all other
 * node ids are the znodes' inode numbers. Requests are mapped once, as they come in, and nobody else knows of it: no
 * handler ever tells the kernel of the root's node id, because the root is nobody's child here.
 */
#ifndef FS_SUBTREE_H
#define FS_SUBTREE_H

#include "store/error.h"
#include "store/tree.h"

/* The inode number of the directory `path` ("/a/b"; NULL: the tree's root). -ENOENT: there is no such znode; -ENOTDIR:
 * it is no directory, or one of those above it is none (symlinks are not followed). err says which. */
int subtree_find(const struct tree *tree, const char *path, uint64_t *ret_ino, struct error *err);

/* Puts `root` in place of FUSE_ROOT_ID in a request of `len` bytes. */
void subtree_map(uint64_t root, uint8_t *request, size_t len);

#endif
