/*
 * gone: the extended attributes of a file or directory that was removed and is still in use on this mount. They are
 * this mount's own matter from then on, with the bounds and errors that they had before.
 */
#ifndef FS_GONE_H
#define FS_GONE_H

#include "store/tree.h"

#include <uthash.h>

struct gone_xattr {
    UT_hash_handle hh; /* in the order they were set */
    uint32_t len;
    uint8_t *value; /* owned */
    char name[];
};

/* Copies what the node has, before it is removed. */
void gone_xattrs_keep(struct gone_xattr **list, const struct node *n);
void gone_xattrs_free(struct gone_xattr **list);

/* 0 or a positive errno, as setxattr(2): EEXIST, ENODATA, ENOSPC, ERANGE, ENOMEM. */
int gone_xattr_set(struct gone_xattr **list, const char *name, const void *value, size_t len, int flags);
/* ENODATA. */
int gone_xattr_remove(struct gone_xattr **list, const char *name);
const struct gone_xattr *gone_xattr_find(struct gone_xattr *list, const char *name);

#endif
