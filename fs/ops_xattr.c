/* Extended attributes: user.* are stored, znode.* are the znode's stat, user.znode.data is a directory's own data. */
#include "dotznodefs.h"
#include "front.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_USER  "user."
#define XATTR_ZNODE "znode."
#define XATTR_DATA  "user.znode.data"
#define NS_PER_MS   1000000
#define ZNODE_TEXT  32 /* of a znode.* value */

static bool has_prefix(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The length of the text, or -ENODATA. */
static int znode_value(const struct node *n, const char *name, char *text, size_t size)
{
    uint64_t zxid;
    uint64_t number;

    if (strcmp(name, "czxid") == 0) {
        zxid = n->czxid;
    } else if (strcmp(name, "mzxid") == 0) {
        zxid = n->mzxid;
    } else if (strcmp(name, "pzxid") == 0) {
        zxid = n->pzxid;
    } else {
        if (strcmp(name, "version") == 0) {
            number = n->version;
        } else if (strcmp(name, "cversion") == 0) {
            number = n->cversion;
        } else if (strcmp(name, "aversion") == 0) {
            number = n->aversion;
        } else if (strcmp(name, "ctime") == 0) {
            return snprintf(text, size, "%" PRId64, n->btime_ns / NS_PER_MS);
        } else if (strcmp(name, "mtime") == 0) {
            return snprintf(text, size, "%" PRId64, n->mtime_ns / NS_PER_MS);
        } else if (strcmp(name, "ephemeralOwner") == 0) {
            return snprintf(text, size, "0x0");
        } else if (strcmp(name, "dataLength") == 0) {
            number = n->data_len;
        } else if (strcmp(name, "numChildren") == 0) {
            number = n->dir == NULL ? 0 : n->dir->n_children;
        } else {
            return -ENODATA;
        }
        return snprintf(text, size, "%" PRIu64, number);
    }
    return snprintf(text, size, "0x%" PRIx64, zxid);
}

static void reply_value(fuse_req_t req, const void *value, size_t len, size_t size)
{
    if (size == 0) {
        (void)fuse_reply_xattr(req, len);
    } else if (size < len) {
        (void)fuse_reply_err(req, ERANGE);
    } else {
        (void)fuse_reply_buf(req, value, len);
    }
}

/* Of what is removed and in use here; NULL for all else. */
static struct inode *gone_inode(struct mount *m, fuse_ino_t ino)
{
    struct inode *i = inode_find(&m->inodes, ino);

    return i != NULL && i->gone ? i : NULL;
}

static void gone_getxattr(fuse_req_t req, const struct inode *i, const char *name, size_t size)
{
    const struct gone_xattr *x = gone_xattr_find(i->gone_xattrs, name);

    if (x != NULL) {
        reply_value(req, x->value, x->len, size);
    } else if (has_prefix(name, XATTR_USER) || has_prefix(name, XATTR_ZNODE)) {
        (void)fuse_reply_err(req, ENODATA);
    } else {
        (void)fuse_reply_err(req, EOPNOTSUPP);
    }
}

/* ENODATA; ERANGE; EOPNOTSUPP for namespaces that are not kept. */
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct mount *m = mount_of(req);
    const struct node *n = tree_by_ino(mount_tree(m), ino);
    const struct xattr *x;
    char text[ZNODE_TEXT];
    int len;

    if (n == NULL && gone_inode(m, ino) != NULL) {
        gone_getxattr(req, gone_inode(m, ino), name, size);
        return;
    }
    if (n == NULL) {
        (void)fuse_reply_err(req, dot_is(ino) ? ENODATA : ESTALE);
        return;
    }
    if (has_prefix(name, XATTR_ZNODE)) {
        len = znode_value(n, name + strlen(XATTR_ZNODE), text, sizeof(text));
        if (len < 0) {
            (void)fuse_reply_err(req, ENODATA);
        } else {
            reply_value(req, text, (size_t)len, size);
        }
        return;
    }
    if (strcmp(name, XATTR_DATA) == 0 && n->kind == NODE_DIR) {
        if (n->data_len == 0) {
            (void)fuse_reply_err(req, ENODATA);
        } else {
            reply_value(req, n->data->bytes, n->data_len, size);
        }
        return;
    }
    if (!has_prefix(name, XATTR_USER) || strcmp(name, XATTR_USER) == 0) {
        (void)fuse_reply_err(req, has_prefix(name, XATTR_USER) ? EINVAL : EOPNOTSUPP);
        return;
    }
    x = node_xattr(n, name);
    if (x == NULL) {
        (void)fuse_reply_err(req, ENODATA);
        return;
    }
    reply_value(req, x->value, x->len, size);
}

static size_t list_name(char *out, size_t len, const char *name)
{
    size_t size = strlen(name) + 1;

    if (out != NULL) {
        memcpy(out + len, name, size);
    }
    return len + size;
}

/* The names' length; into `out` unless that is NULL. Of the node, or of what is left of one. */
static size_t list_names(const struct node *n, const struct inode *gone, char *out)
{
    size_t len = 0;

    if (n != NULL && n->kind == NODE_DIR && n->data_len > 0) {
        len = list_name(out, len, XATTR_DATA);
    }
    for (const struct xattr *x = n == NULL ? NULL : n->xattrs; x != NULL; x = x->next) {
        len = list_name(out, len, x->name);
    }
    for (const struct gone_xattr *x = gone == NULL ? NULL : gone->gone_xattrs; x != NULL; x = x->hh.next) {
        len = list_name(out, len, x->name);
    }
    return len;
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct mount *m = mount_of(req);
    const struct node *n = tree_by_ino(mount_tree(m), ino);
    const struct inode *gone = n == NULL ? gone_inode(m, ino) : NULL;
    size_t len = list_names(n, gone, NULL);
    char *names;

    if (len == 0 || size == 0 || size < len) {
        reply_value(req, NULL, len, size);
        return;
    }
    names = malloc(len);
    if (names == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    (void)list_names(n, gone, names);
    (void)fuse_reply_buf(req, names, len);
    free(names);
}

/* Of the names that may not be changed. 0 or a positive errno. */
static int change_check(fuse_ino_t ino, const struct node *n, const struct inode *gone, const char *name)
{
    if (dot_is(ino) || has_prefix(name, XATTR_ZNODE)) {
        return EPERM;
    }
    if (n == NULL && gone == NULL) {
        return ESTALE;
    }
    if (!has_prefix(name, XATTR_USER)) {
        return EOPNOTSUPP;
    }
    if (strcmp(name, XATTR_USER) == 0) {
        return EINVAL; /* a namespace is no name */
    }
    if (strcmp(name, XATTR_DATA) == 0 && (n == NULL || n->kind != NODE_DIR)) {
        return EOPNOTSUPP; /* a file's data is its contents */
    }
    return 0;
}

static void set_dir_data(fuse_req_t req, fuse_ino_t ino, const char *value, size_t size)
{
    struct op_range range = {.len = (uint32_t)size, .bytes = (const uint8_t *)value};
    struct op op = {.kind = OP_WRITE, .ino = ino, .ranges = &range, .n_ranges = size > 0 ? 1 : 0};

    call_submit(call_new(mount_of(req), req, call_finish_err), REPLICA_BOUNDED, &op);
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    struct mount *m = mount_of(req);
    const struct node *n = tree_by_ino(mount_tree(m), ino);
    struct op op = {.kind = OP_SETXATTR,
                    .ino = ino,
                    .name = name,
                    .name_len = strlen(name),
                    .data = (const uint8_t *)value,
                    .data_len = (uint32_t)size,
                    .flags = (uint32_t)flags & (XATTR_CREATE | XATTR_REPLACE)};
    struct inode *gone = n == NULL ? gone_inode(m, ino) : NULL;
    int err = change_check(ino, n, gone, name);

    if (err == 0 && size > TXN_XATTR_VALUE_MAX) {
        err = E2BIG;
    }
    if (err == 0 && gone != NULL) {
        (void)fuse_reply_err(req, gone_xattr_set(&gone->gone_xattrs, name, value, size, flags));
        return;
    }
    if (err == 0 && strcmp(name, XATTR_DATA) == 0) {
        if (n->data_len == 0 && (flags & XATTR_REPLACE) != 0) {
            err = ENODATA;
        } else if (n->data_len > 0 && (flags & XATTR_CREATE) != 0) {
            err = EEXIST;
        } else {
            set_dir_data(req, ino, value, size);
            return;
        }
    }
    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    call_submit(call_new(m, req, call_finish_err), REPLICA_BOUNDED, &op);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct mount *m = mount_of(req);
    const struct node *n = tree_by_ino(mount_tree(m), ino);
    struct op op = {.kind = OP_REMOVEXATTR, .ino = ino, .name = name, .name_len = strlen(name)};
    struct inode *gone = n == NULL ? gone_inode(m, ino) : NULL;
    int err = change_check(ino, n, gone, name);

    if (err == 0 && gone != NULL) {
        (void)fuse_reply_err(req, gone_xattr_remove(&gone->gone_xattrs, name));
        return;
    }
    if (err == 0 && strcmp(name, XATTR_DATA) == 0) {
        if (n->data_len == 0) {
            err = ENODATA;
        } else {
            set_dir_data(req, ino, NULL, 0);
            return;
        }
    }
    if (err != 0) {
        (void)fuse_reply_err(req, err);
        return;
    }
    call_submit(call_new(m, req, call_finish_err), REPLICA_BOUNDED, &op);
}
